/* SPDX-License-Identifier: MIT */
/*
 * The measured table: throughput, latency and jitter of a server for every
 * (number of connections, batching delay W) somebody measured.  Thesis 6.1:
 * applications "know the throughput, latency, and jitter they expect to achieve
 * for different settings of the batching delay"; the table is how they know.
 *
 * File: JSON, either a list of entries or an object
 *
 *   { "machine": "tcg 6.12.95 2 cores", "measured_unix_s": 1790000000,
 *     "entries": [
 *       { "connections": 1, "w_us": 0, "requests_per_s": 9000,
 *         "bytes_per_request": 420, "latency_mean_ns": 110000,
 *         "latency_sd_ns": 9000 }, ... ] }
 *
 * An entry gives "gbps" or else "requests_per_s" with "bytes_per_request" (both
 * count what goes out).  The entries must be a full grid: each W at each number
 * of connections, none twice.  A hole would make the controller compare a
 * measurement with a guess.
 */
#ifndef ECON_TABLE_H
#define ECON_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include <econ/valuation.h>

#define ECON_TABLE_MAX_ENTRIES		4096
#define ECON_TABLE_MAX_W		64	/* distinct W: bounds a controller's step */
#define ECON_TABLE_MAX_CONNECTIONS	1000000
#define ECON_TABLE_MAX_W_US		100000	/* the end of the stack's knob w_us: a longer W cannot be set */

struct econ_table;

/**
 * struct econ_table_entry - one measurement
 * @connections: 1 .. ECON_TABLE_MAX_CONNECTIONS
 * @w_us: batching delay, 0 .. ECON_TABLE_MAX_W_US
 * @requests_per_s: >= 0; 0 if only @gbps was measured
 * @gbps: outgoing throughput, 10^9 bit/s, >= 0
 * @latency_mean_ns: >= 0, unscaled
 * @latency_sd_ns: >= 0, unscaled
 */
struct econ_table_entry {
	uint32_t connections;
	uint32_t w_us;
	double requests_per_s;
	double gbps;
	double latency_mean_ns;
	double latency_sd_ns;
};

/**
 * econ_table_create - a table from measurements in memory (a copy is made)
 * @entries: in any order
 * @nr: 1 .. ECON_TABLE_MAX_ENTRIES
 * @table_out: destroy with econ_table_destroy()
 * @err: gets one line naming the entry that is wrong; may be NULL
 * @n: size of @err
 *
 * Return: 0, -EINVAL (bad number, hole in the grid), -EEXIST (a pair twice),
 * -E2BIG (too many entries or distinct W), -ENOMEM.
 */
int econ_table_create(const struct econ_table_entry *entries, size_t nr,
		      struct econ_table **table_out, char *err, size_t n);

/**
 * econ_table_parse - a table from JSON text
 * @text: see the top of this file
 * @len: bytes of @text
 * @name: what to call it in messages, a file name
 *
 * The rest, and the errors, as econ_table_create(); syntax errors name the line.
 */
int econ_table_parse(const char *text, size_t len, const char *name,
		     struct econ_table **table_out, char *err, size_t n);

/** econ_table_load - econ_table_parse() of a file; also -errno of reading it */
int econ_table_load(const char *path, struct econ_table **table_out, char *err, size_t n);

/**
 * econ_table_save - write a table as JSON, by a rename, so no reader sees half
 *
 * Return: 0, or -errno of writing.
 */
int econ_table_save(const struct econ_table *table, const char *path, char *err, size_t n);

/** econ_table_destroy - free a table; NULL is fine */
void econ_table_destroy(struct econ_table *table);

/**
 * econ_table_stamp - say where and when a table made in memory was measured
 * @machine: copied, cut at 127 bytes; may be NULL
 * @measured_unix_s: CLOCK_REALTIME seconds, 0: unknown
 */
void econ_table_stamp(struct econ_table *table, const char *machine,
		      uint64_t measured_unix_s);

/**
 * econ_table_stale - was this measured elsewhere, or too long ago?
 * @table: the table
 * @machine: this machine, compared with the table's; NULL: do not compare
 * @now_unix_s: CLOCK_REALTIME seconds
 * @max_age_s: 0: any age will do
 * @err: gets the reason; may be NULL
 * @n: size of @err
 *
 * A table that does not say is not stale.
 * Return: 0, -ESTALE.
 */
int econ_table_stale(const struct econ_table *table, const char *machine,
		     uint64_t now_unix_s, uint64_t max_age_s, char *err, size_t n);

/** econ_table_nr_w - number of distinct W, 1 .. ECON_TABLE_MAX_W */
unsigned econ_table_nr_w(const struct econ_table *table);

/** econ_table_w_us - the @i-th distinct W, ascending; @i < econ_table_nr_w() */
uint32_t econ_table_w_us(const struct econ_table *table, unsigned i);

/** econ_table_range - fewest and most connections measured */
void econ_table_range(const struct econ_table *table, uint32_t *min_out, uint32_t *max_out);

/**
 * econ_table_point - what to expect at this load with the @i-th W
 * @table: the table
 * @connections: load; linear between measured neighbours, the nearest measured
 *	one outside the range (no extrapolation); 0 counts as 1
 * @i: index of W
 * @point_out: the expectation
 *
 * Work: a binary search.  Threads: any.  Return: 0, -EINVAL.
 */
int econ_table_point(const struct econ_table *table, uint32_t connections, unsigned i,
		     struct econ_point *point_out);

#endif /* ECON_TABLE_H */
