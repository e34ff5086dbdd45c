// SPDX-License-Identifier: MIT
/* The feature table, and that Documentation/userdrivers.rst shows this one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "nomdrv/vnet.h"
#include "../../userdrivers/src/vnet_features.h"

static void test_features_have_one_row_each(void **state)
{
	uint64_t seen = 0;
	unsigned int i;

	assert_true(vnet_nr_features > 20);
	for (i = 0; i < vnet_nr_features; i++) {
		assert_true(vnet_features_table[i].bit < 64);
		assert_false(seen >> vnet_features_table[i].bit & 1);
		seen |= 1ULL << vnet_features_table[i].bit;
		assert_non_null(vnet_features_table[i].why);
	}
}

/* A frame larger than a buffer must not come unless asked for: what would allow it is not used by itself. */
static void test_features_that_need_large_buffers_are_not_taken_unasked(void **state)
{
	static const unsigned int off[] = {
		VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_UFO,
		VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_GUEST_USO4, VIRTIO_NET_F_GUEST_USO6,
	};
	unsigned int i, k;

	for (i = 0; i < vnet_nr_features; i++)
		for (k = 0; k < sizeof(off) / sizeof(off[0]); k++)
			if (vnet_features_table[i].bit == off[k])
				assert_int_not_equal(vnet_features_table[i].use, VNET_FEATURE_USED);
}

static void test_features_are_documented_as_they_are(void **state)
{
	FILE *f = fopen("Documentation/userdrivers.rst", "r");
	static char text[65536];
	unsigned int i;
	size_t n;

	assert_non_null(f);	/* run from the top of the tree */
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	for (i = 0; i < vnet_nr_features; i++) {
		const struct vnet_feature *r = &vnet_features_table[i];
		char row[512];

		snprintf(row, sizeof(row), "   * - %s\n     - %u\n     - %s\n     - %s\n", r->name, r->bit,
			 vnet_feature_mark(r->use), r->why);
		if (!strstr(text, row))
			fail_msg("Documentation/userdrivers.rst lacks this row; build/bin/tests/vnet_features prints the table:\n%s",
				 row);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_features_have_one_row_each),
		cmocka_unit_test(test_features_that_need_large_buffers_are_not_taken_unasked),
		cmocka_unit_test(test_features_are_documented_as_they_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
