/* SPDX-License-Identifier: MIT */
/*
 * peer.h - the load's connections on a stack of our own at the other end of a guest's rings
 *
 * One thread; it polls while a load runs, and gives the processor away whenever
 * it finds nothing (sched_yield()).  Between loads it sleeps.
 */
#ifndef NOMLOAD_PEER_H
#define NOMLOAD_PEER_H

#include "net.h"

#include <signal.h>
#include <stdint.h>

struct peer;

/**
 * struct peer_opts - who to be
 * @socket: Unix socket to listen at for the virtual machine
 * @ip4: own address, "10.0.0.1/24"
 * @mac: own address on the link
 * @packed: offer packed rings, too
 * @stop: ends everything soon after it is set; by a signal
 */
struct peer_opts {
	const char *socket, *ip4;
	uint8_t mac[6];
	bool packed;
	volatile sig_atomic_t *stop;
};

/* peer_create - 0 or -errno, with one line in @err */
int peer_create(const struct peer_opts *o, struct peer **out, char *err, size_t n);
void peer_destroy(struct peer *p);

/* peer_wait - serve the link until @fd can be read (true) or it is to stop (false) */
bool peer_wait(struct peer *p, int fd);

/**
 * peer_run - connect, run the whole schedule, close
 *
 * As net_run(), on this link; -EINTR when it is to stop.
 */
int peer_run(struct peer *p, struct load *l, const struct net_target *to, struct net_result *out, char *err, size_t n);

/* struct peer_link - what passed through the rings since the start, for one line of figures */
struct peer_link {
	uint64_t to_guest, from_guest;	/* frames */
	uint64_t interrupts, doorbells;	/* sent to the guest; rung by it */
	uint64_t lost, waited;		/* frames without a guest to take them; that waited for a buffer of its */
	uint64_t retransmits;		/* segments sent again */
	uint64_t protocol_errors;	/* connections of the virtual machine that were dropped for cause */
	uint64_t features;		/* that the guest has accepted */
};

void peer_link(struct peer *p, struct peer_link *out);

/* peer_trouble - why the virtual machine's connection was dropped, or NULL */
const char *peer_trouble(const struct peer *p);

#endif
