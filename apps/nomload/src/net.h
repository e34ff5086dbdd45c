/* SPDX-License-Identifier: MIT */
/* net.h - the load's connections: one thread, epoll, a timer for the next request */
#ifndef NOMLOAD_NET_H
#define NOMLOAD_NET_H

#include "load.h"

#include <stddef.h>

struct net_target {
	const char *host, *path;	/* host: dotted, IPv4; path: HTTP's */
	unsigned port;
	bool udp;		/* datagrams: net_udp_run() */
	unsigned bytes;		/* of each of them, 12 to 1472 */
	uint64_t timeout_ns;	/* after which one is given up */
};

struct net_result {
	uint64_t reconnects, refused;	/* connections made anew; attempts at that which failed */
	uint64_t protocol;		/* connections dropped because what came was no answer */
	uint64_t stray;			/* datagrams that came after they had been given up, or twice */
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

/**
 * net_udp_run - the same with datagrams to a nomudp(1)
 *
 * Nothing is due before one has been answered.  The plan's depth is 1; a request
 * that is given up counts as lost, and its connection takes the next.
 *
 * Return: as net_run(); -ETIMEDOUT: nobody answers.
 */
int net_udp_run(struct load *l, const struct net_target *to, struct net_result *out, char *err, size_t n);

#endif
