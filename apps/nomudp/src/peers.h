/* SPDX-License-Identifier: MIT */
/*
 * peers.h - who is asking, so that nobody waits for those who have been heard
 *
 * With W above 0 a batch is held for company.  It need not be held any longer once
 * all who take part have asked: those who were heard in the current or the previous
 * epoch of 10 ms, as in the stack (Documentation/stacks.rst), by address and port.
 * One request under way for each is supposed; who sends several at a time is
 * answered sooner than need be, nobody later.
 */
#ifndef NOMUDP_PEERS_H
#define NOMUDP_PEERS_H

#include <stdbool.h>
#include <stdint.h>

#define PEERS_SLOTS 1024	/* whose hash falls together push each other out, and count anew */

struct peers {
	struct {
		uint64_t key;		/* address and port, never 0 */
		uint32_t epoch, batch;	/* when last heard */
	} slot[PEERS_SLOTS];
	uint64_t epoch_start_ns;
	uint32_t epoch, batch;
	uint32_t now, before;		/* heard in this epoch, and in the one before */
	uint32_t heard;			/* in this batch */
};

/* peers_hear - a request of @ip_be, @port in the batch that is held; @first: it begins with it */
void peers_hear(struct peers *p, uint64_t now_ns, uint32_t ip_be, uint16_t port, bool first);

/* peers_all_heard - have all who take part been heard in this batch? */
bool peers_all_heard(const struct peers *p);

#endif
