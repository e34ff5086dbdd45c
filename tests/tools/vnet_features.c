// SPDX-License-Identifier: MIT
/*
 * Prints vnet's feature matrix as a table in reST, for Documentation/:
 *
 *	build/bin/tests/vnet_features
 *
 * test_vnet_features fails when the documentation differs from it.
 */
#include <stdio.h>

#include "../../userdrivers/src/vnet_features.h"

int main(void)
{
	unsigned int i;

	printf(".. list-table::\n   :header-rows: 1\n\n   * - feature\n     - bit\n     - used\n     - reason\n");
	for (i = 0; i < vnet_nr_features; i++) {
		const struct vnet_feature *f = &vnet_features_table[i];

		printf("   * - %s\n     - %u\n     - %s\n     - %s\n", f->name, f->bit,
		       vnet_feature_mark(f->use), f->why);
	}
	return 0;
}
