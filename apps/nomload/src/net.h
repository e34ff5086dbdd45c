/* SPDX-License-Identifier: MIT */
/* net.h - the load's connections: one thread, epoll, a timer for the next request */
#ifndef NOMLOAD_NET_H
#define NOMLOAD_NET_H

#include "load.h"

#include <stddef.h>

struct net_target {
	const char *host, *path;	/* host: dotted, IPv4 */
	unsigned port;
};

struct net_result {
	uint64_t reconnects, refused;	/* connections made anew; attempts at that which failed */
	uint64_t protocol;		/* connections dropped because what came was no answer */
	const char *first_trouble;	/* why, static text, or NULL */
};

/**
 * net_run - connect, run the whole schedule, close
 * @l: created, not started
 * @to: the server
 * @out: what became of the connections
 * @err: one line on failure
 * @n: room there
 *
 * Nothing is due before all connections are up.  One that breaks later is made
 * anew, at most once in RETRY_NS.
 *
 * Return: 0, or -errno when a connection cannot be made at the start.
 */
int net_run(struct load *l, const struct net_target *to, struct net_result *out, char *err, size_t n);

#endif
