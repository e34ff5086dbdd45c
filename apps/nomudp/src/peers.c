// SPDX-License-Identifier: MIT
/* peers.c - who is asking, so that nobody waits for those who have been heard */
#include "peers.h"

#define EPOCH_NS 10000000u

static void turn_epoch(struct peers *p, uint64_t now_ns)
{
	if (p->epoch && now_ns - p->epoch_start_ns < EPOCH_NS)
		return;
	/* after a long silence nobody is known to take part */
	p->before = p->epoch && now_ns - p->epoch_start_ns < 2 * EPOCH_NS ? p->now : 0;
	p->now = 0;
	p->epoch++;
	p->epoch_start_ns = now_ns;
}

void peers_hear(struct peers *p, uint64_t now_ns, uint32_t ip_be, uint16_t port, bool first)
{
	uint64_t key = (uint64_t)ip_be << 16 | port;
	/* Fibonacci hashing: the upper bits of a product know all lower ones of its factors */
	unsigned i = (unsigned)(key * 0x9e3779b97f4a7c15u >> 54);

	if (first) {
		turn_epoch(p, now_ns);
		p->batch++;
		p->heard = 0;
	}
	if (p->slot[i].key != key) {
		p->slot[i].key = key;
		p->slot[i].epoch = p->epoch - 1;
		p->slot[i].batch = p->batch - 1;
	}
	if (p->slot[i].epoch != p->epoch) {
		p->slot[i].epoch = p->epoch;
		p->now++;
	}
	if (p->slot[i].batch != p->batch) {
		p->slot[i].batch = p->batch;
		p->heard++;
	}
}

bool peers_all_heard(const struct peers *p)
{
	return p->heard && p->heard >= p->now && p->heard >= p->before;
}
