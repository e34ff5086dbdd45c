/* SPDX-License-Identifier: MIT */
/*
 * server.h - what all parts of nhttpd share
 *
 * Two threads.  The *data thread* owns connections, counters, knobs and the
 * site in force; with the nom stack it runs on the leased core.  The *house
 * thread* (house.c) stays on ordinary cores: signals, ledger, rescans.  They
 * meet only in the atomics of struct server.  With --cores there is a data thread, and
 * a struct server, for each core (cores.c).
 */
#ifndef NHTTPD_SERVER_H
#define NHTTPD_SERVER_H

#include "http_date.h"
#include "http_parse.h"
#include "http_reply.h"
#include "metrics.h"
#include "options.h"

#include <nomapp/app.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct conn;
struct cores;
struct net_ops;
struct nomux_ctx;
struct nomux_core;
struct price;
struct site;
struct vnet;

enum stop { STOP_NO, STOP_DRAIN, STOP_NOW };

struct server {
	const struct options *opt;
	struct http_limits lim;
	struct metrics m;
	struct nomux_ctx *nomux;	/* NULL: this kernel has no nom (linux stack, hosted) */

	/* data thread: time */
	uint64_t now_ns;		/* of this turn of the loop */
	int64_t date_s;			/* second shown in @date, Unix time */
	char date[HTTP_DATE_BYTES];
	uint64_t next_sweep_ns;
	uint64_t drain_until_ns;	/* 0: not draining */

	/* data thread: connections */
	const struct net_ops *net;
	struct conn *conn;		/* nr_slots of them */
	struct conn *free;
	char *in;			/* nr_slots * in_bytes */
	uint32_t in_bytes;
	uint32_t nr_slots, nr_open, high_water;
	uint64_t idle_ns;		/* knob idle_timeout_s */
	char scratch[HTTP_ERROR_MAX];

	/* data thread: site */
	struct site *site;

	/* between the threads */
	_Atomic int64_t wall_offset_ns;		/* house writes: CLOCK_REALTIME - nomux_now_ns() */
	_Atomic int stop;			/* house writes: enum stop */
	_Atomic(struct site *) next_site;	/* house puts, data takes */
	_Atomic(struct site *) old_site;	/* data puts, house takes: nobody refers to it */
	_Atomic int64_t price_ucr;		/* who reads the board writes: see price.h */
	void (*_Atomic wake)(struct server *srv);	/* house calls: the data thread looks at @stop soon */

	struct price *price;			/* NULL until price_open() */

	/* several cores (cores.c): this one's place among them; NULL where it is the only one */
	struct cores *cores;
	unsigned core_nr;
	struct nomux_core *core_lease;
	struct vnet *core_vnet;

	/* house thread: two pieces of memory, of which one holds the site in force */
	void *site_mem[2];
	size_t site_mem_bytes;
	int (*empty_mem)(void *mem, size_t bytes);	/* NULL, or before another site is read into it */
};

/**
 * server_tick - bring time, date, stop request and site up to date
 * @srv: the server
 * @now_ns: nomux_now_ns()
 *
 * Data thread, about once a millisecond, and before the first request.  Runs
 * the sweep of timeouts when it is due.
 *
 * Return: true: the loop shall end (drained, or told to stop at once).
 */
bool server_tick(struct server *srv, uint64_t now_ns);

/* net_linux.c, net_nom.c: run until stopped; return an exit status. */
int net_linux_run(struct server *srv);
int net_nom_run(struct server *srv);
/* cores.c: the same on options.cores leased cores; counters and page are @all's. */
int cores_run(struct server *all);

/* Says on standard output that requests are answered, and where; once. */
void server_announce(struct server *srv, const char *where);

/*
 * Memory for the site's two generations comes from the stack (DMA memory) or
 * from mmap; afterwards the site can be loaded.  Return: exit status.
 */
int server_load_site(struct server *srv, void *mem0, void *mem1, size_t bytes);
void server_free_site(struct server *srv);

/* conn_table.c */
int conn_table_create(struct server *srv);
void conn_table_destroy(struct server *srv);

#endif
