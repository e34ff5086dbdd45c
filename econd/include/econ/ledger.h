/* SPDX-License-Identifier: MIT */
/*
 * The ledger: what an application earned and paid, one JSON line a second.
 *
 * econ_ledger_format() is pure.  econ_ledger_write() does file I/O: call it from
 * a thread on a housekeeping core, never on the data path; the data path only
 * adds to counters, which the writer reads and subtracts.
 *
 * Fields of a line, in this order:
 *   time_s                  CLOCK_REALTIME, seconds, three decimals
 *   interval_s              what the line covers
 *   app                     name
 *   form                    "penalty" | "refund" | "bonus"
 *   price_usd_per_gbit      in force at the end of the interval
 *   connections             open at the end of the interval
 *   requests, bytes         in the interval; bytes are outgoing payload
 *   gbps                    bytes * 8 / interval, 10^9 bit/s
 *   w_us                    batching delay at the end of the interval
 *   latency_mean_us, latency_sd_us   as measured, or null
 *   time_scale              latencies were divided by it before valuation
 *   revenue_usd, cost_usd, profit_usd   of the interval.  cost is gbps * price *
 *                           interval; revenue and profit are null when the
 *                           latency is not known and something was sent
 */
#ifndef ECON_LEDGER_H
#define ECON_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <econ/valuation.h>

/**
 * struct econ_ledger_line - inputs of one line
 * @time_unix_ns: CLOCK_REALTIME at the end of the interval
 * @interval_ns: > 0
 * @app: at most 63 bytes are kept; anything not printable ASCII becomes '?'
 * @price_ucr_per_gbit: >= 0
 * @connections: open
 * @w_us: batching delay
 * @requests: in the interval
 * @bytes: outgoing, in the interval
 * @latency_known: the next two are meant
 * @latency_mean_ns: unscaled
 * @latency_sd_ns: unscaled
 */
struct econ_ledger_line {
	uint64_t time_unix_ns;
	uint64_t interval_ns;
	const char *app;
	int64_t price_ucr_per_gbit;
	uint32_t connections;
	uint32_t w_us;
	uint64_t requests;
	uint64_t bytes;
	bool latency_known;
	double latency_mean_ns;
	double latency_sd_ns;
};

#define ECON_LEDGER_CHARS	768

/**
 * econ_ledger_format - one line, newline included
 * @line: inputs
 * @terms: arrangement
 * @form: which valuation
 * @buf: ECON_LEDGER_CHARS bytes are enough
 * @n: size of @buf
 *
 * Return: length, -EINVAL, -EOVERFLOW, -ENOSPC (@buf too small).
 */
int econ_ledger_format(const struct econ_ledger_line *line, const struct econ_terms *terms,
		       enum econ_form form, char *buf, size_t n);

struct econ_ledger;

/**
 * econ_ledger_open - append to a file, made if absent (mode 0644)
 * @path: file, or "-" for standard output
 * @terms: copied
 * @form: which valuation
 * @ledger_out: close with econ_ledger_close()
 *
 * Return: 0, -EINVAL, -errno of open(2).
 */
int econ_ledger_open(const char *path, const struct econ_terms *terms, enum econ_form form,
		     struct econ_ledger **ledger_out);

/**
 * econ_ledger_write - append one line with one write(2)
 *
 * After a failed or short write (no space) the next line starts on a line of its
 * own; nothing is retried.  Threads: one at a time, housekeeping only.
 * Return: 0, or as econ_ledger_format() and write(2).
 */
int econ_ledger_write(struct econ_ledger *ledger, const struct econ_ledger_line *line);

/** econ_ledger_close - NULL is fine */
void econ_ledger_close(struct econ_ledger *ledger);

#endif /* ECON_LEDGER_H */
