// SPDX-License-Identifier: MIT
/*
 * The measured table: a full grid of connections x W, sorted, interpolated
 * linearly in connections.  Linear, since a closed-loop server's throughput and
 * latency both grow smoothly with connections between two measured loads, and
 * anything cleverer would invent extremes nobody measured.
 */
#include <econ/table.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "econ_json.h"
#include "econ_table.h"

static int bad_entry(const struct econ_table_entry *e)
{
	return e->connections < 1 || e->connections > ECON_TABLE_MAX_CONNECTIONS ||
	       e->w_us > ECON_TABLE_MAX_W_US ||
	       !(e->requests_per_s >= 0) || !isfinite(e->requests_per_s) ||
	       !(e->gbps >= 0) || !isfinite(e->gbps) ||
	       !(e->latency_mean_ns >= 0) || !isfinite(e->latency_mean_ns) ||
	       !(e->latency_sd_ns >= 0) || !isfinite(e->latency_sd_ns);
}

/* By connections, then W: row-major order of the grid. */
static int compare_entries(const void *a, const void *b)
{
	const struct econ_table_entry *x = a, *y = b;

	if (x->connections != y->connections)
		return x->connections < y->connections ? -1 : 1;
	return x->w_us < y->w_us ? -1 : x->w_us > y->w_us;
}

/* The entries are sorted; is each row the first row's W again? */
static int check_grid(struct econ_table *t, const struct econ_err *err)
{
	const struct econ_table_entry *e = t->entries;

	while (t->nr_w < t->nr && e[t->nr_w].connections == e[0].connections)
		t->nr_w++;
	for (size_t i = 1; i < t->nr; i++)
		if (!compare_entries(&e[i - 1], &e[i]))
			return econ_err_set(err, -EEXIST, "%u connections with W %u us: twice",
					    e[i].connections, e[i].w_us);
	if (t->nr_w > ECON_TABLE_MAX_W)
		return econ_err_set(err, -E2BIG, "more than %d different W", ECON_TABLE_MAX_W);
	for (size_t i = 0; i < t->nr; i++) {
		const struct econ_table_entry *row = &e[i - i % t->nr_w];

		if (e[i].connections != row->connections || e[i].w_us != e[i % t->nr_w].w_us)
			return econ_err_set(err, -EINVAL,
					    "every W must be measured at every number of connections; at %u connections the list of W differs from that at %u",
					    row->connections, e[0].connections);
	}
	if (t->nr % t->nr_w)
		return econ_err_set(err, -EINVAL,
				    "every W must be measured at every number of connections; some are missing at %u connections",
				    e[t->nr - 1].connections);
	t->nr_rows = t->nr / t->nr_w;
	return 0;
}

int econ__table_create(const struct econ_table_entry *entries, size_t nr,
		       const struct econ_err *err, struct econ_table **table_out)
{
	struct econ_table *t;
	int ret;

	if (!nr)
		return econ_err_set(err, -EINVAL, "no entries");
	if (nr > ECON_TABLE_MAX_ENTRIES)
		return econ_err_set(err, -E2BIG, "more than %d entries", ECON_TABLE_MAX_ENTRIES);
	for (size_t i = 0; i < nr; i++)
		if (bad_entry(&entries[i]))
			return econ_err_set(err, -EINVAL, "entry %zu: a number is out of range", i);
	t = calloc(1, sizeof(*t) + nr * sizeof(*entries));
	if (!t)
		return -ENOMEM;
	t->nr = nr;
	memcpy(t->entries, entries, nr * sizeof(*entries));
	qsort(t->entries, nr, sizeof(*entries), compare_entries);
	ret = check_grid(t, err);
	if (ret) {
		free(t);
		return ret;
	}
	*table_out = t;
	return 0;
}

int econ_table_create(const struct econ_table_entry *entries, size_t nr,
		      struct econ_table **table_out, char *err, size_t n)
{
	struct econ_err e = { "table", err, n };

	return econ__table_create(entries, nr, &e, table_out);
}

void econ_table_destroy(struct econ_table *table)
{
	free(table);
}

void econ_table_stamp(struct econ_table *table, const char *machine, uint64_t measured_unix_s)
{
	snprintf(table->machine, sizeof(table->machine), "%s", machine ? machine : "");
	table->measured_unix_s = measured_unix_s;
}

int econ_table_stale(const struct econ_table *t, const char *machine, uint64_t now_unix_s,
		     uint64_t max_age_s, char *err, size_t n)
{
	struct econ_err e = { "table", err, n };

	if (machine && *t->machine && strcmp(machine, t->machine))
		return econ_err_set(&e, -ESTALE, "measured on \"%s\", this is \"%s\"",
				    t->machine, machine);
	if (max_age_s && t->measured_unix_s && now_unix_s > t->measured_unix_s &&
	    now_unix_s - t->measured_unix_s > max_age_s)
		return econ_err_set(&e, -ESTALE, "measured %llu s ago, more than %llu",
				    (unsigned long long)(now_unix_s - t->measured_unix_s),
				    (unsigned long long)max_age_s);
	return 0;
}

unsigned econ_table_nr_w(const struct econ_table *table)
{
	return table->nr_w;
}

uint32_t econ_table_w_us(const struct econ_table *table, unsigned i)
{
	return table->entries[i].w_us;
}

void econ_table_range(const struct econ_table *t, uint32_t *min_out, uint32_t *max_out)
{
	*min_out = t->entries[0].connections;
	*max_out = t->entries[t->nr - 1].connections;
}

static double mix(double a, double b, double share_of_b)
{
	return a + (b - a) * share_of_b;
}

int econ_table_point(const struct econ_table *t, uint32_t connections, unsigned i,
		     struct econ_point *point_out)
{
	const struct econ_table_entry *a, *b;
	size_t low = 0, high = t->nr_rows - 1;
	double share = 0;

	if (i >= t->nr_w)
		return -EINVAL;
	if (!connections)
		connections = 1;
	/* The last row at or below @connections (or the first), and the next. */
	while (low < high) {
		size_t mid = (low + high + 1) / 2;

		if (t->entries[mid * t->nr_w].connections <= connections)
			low = mid;
		else
			high = mid - 1;
	}
	a = b = &t->entries[low * t->nr_w + i];
	if (low + 1 < t->nr_rows && connections > a->connections) {
		b = a + t->nr_w;
		share = (double)(connections - a->connections) /
			(double)(b->connections - a->connections);
	}
	point_out->throughput_gbps = mix(a->gbps, b->gbps, share);
	point_out->latency_mean_ns = mix(a->latency_mean_ns, b->latency_mean_ns, share);
	point_out->latency_sd_ns = mix(a->latency_sd_ns, b->latency_sd_ns, share);
	return 0;
}
