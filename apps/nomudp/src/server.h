/* SPDX-License-Identifier: MIT */
/*
 * server.h - what all parts of nomudp share
 *
 * One data thread does all the serving; the signals' thread sleeps until one comes.
 */
#ifndef NOMUDP_SERVER_H
#define NOMUDP_SERVER_H

#include "metrics.h"

#include <nomapp/app.h>

#include <stdatomic.h>

enum stack { STACK_LINUX, STACK_NOM, STACK_PACKET, STACK_XDP };	/* from STACK_PACKET on: an interface of the kernel's */
enum tier { TIER_RAW, TIER_NATIVE };
enum idle { IDLE_AUTO, IDLE_POLL, IDLE_IRQ };

/**
 * struct options - the command line; see main.c
 */
struct options {
	const char *stack_word, *tier_word, *ip, *device, *name, *pause_word, *xdp_word;
	int64_t port, cpu, idle_us, busy_poll_us, w_us, arp_per_s, icmp_per_s;
	bool poll, irq, help, large_receive;
	enum stack stack;
	enum tier tier;
	enum idle idle;
	int xdp_mode;
	bool pause;
};

struct server {
	struct options opt;
	struct metrics m;
	struct nomux_ctx *nomux;	/* NULL: not needed, or this kernel has none */
	_Atomic bool stop;		/* the signals' thread writes */
};

/* net_linux.c, net_nom.c: serve until stopped; an exit status */
int net_linux_run(struct server *srv);
int net_nom_run(struct server *srv);

/* Says on standard output that requests are answered, and where. */
void server_announce(struct server *srv, const char *where);

/* Start the thread that takes SIGTERM and SIGINT: an exit status.  Called on an ordinary core. */
int server_signals(struct server *srv);

#endif
