/* SPDX-License-Identifier: MIT */
/* Inside of a measured table, for its reader and writer of JSON. */
#ifndef ECON_TABLE_PRIVATE_H
#define ECON_TABLE_PRIVATE_H

#include <econ/table.h>

#include "econ_json.h"

struct econ_table {
	char machine[128];		/* "" : not known */
	uint64_t measured_unix_s;	/* 0: not known */
	size_t nr;			/* nr_rows * nr_w */
	size_t nr_rows;			/* distinct numbers of connections */
	unsigned nr_w;
	struct econ_table_entry entries[];	/* by connections, then W */
};

int econ__table_create(const struct econ_table_entry *entries, size_t nr,
		       const struct econ_err *err, struct econ_table **table_out);

/* The table as JSON text; free() it.  NULL: no memory. */
char *econ__table_dump(const struct econ_table *table);

#endif
