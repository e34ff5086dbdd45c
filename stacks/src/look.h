/* SPDX-License-Identifier: MIT */
/* look.h - what the files that let others look at the stack share */
#ifndef NOMSTACK_LOOK_INTERNAL_H
#define NOMSTACK_LOOK_INTERNAL_H

#include "internal.h"

#include <nomstack/look_layout.h>

/* Work per question: some ten microseconds. */
#define NOMSTACK__LOOK_ROWS	128u
#define NOMSTACK__LOOK_BUCKETS	1024u

/* Round trips of a connection, measured while somebody looks. */
struct rtt {
	uint32_t gen;			/* look.rtt_gen, or nothing here is valid */
	uint64_t key;			/* whose it is: slots of conns are used again */
	uint32_t seq_end;		/* an acknowledgment of this ends the measurement */
	uint32_t seq_max;		/* sent up to here */
	uint64_t sent_ns;		/* 0: none under way */
	uint32_t rtt_us, min_us;	/* 0: none yet */
	bool sent;			/* seq_max is valid */
};

struct look {
	unsigned nr;			/* of the stack in its process, and of its queue pair */
	struct nomstack_lk_header *hdr;
	uint8_t *window, *ring;
	int fd;				/* holds the lock that says we live */
	uint64_t seen;			/* ask_seq that was answered last */
	uint64_t busy_until_ns;		/* somebody looks: more questions to come */
	/* taps */
	uint64_t trace_until_ns, rtt_until_ns;	/* 0: off */
	uint32_t snap_bytes;
	uint64_t head, lost;		/* the file has copies of them */
	uint32_t rtt_gen;
	struct rtt *rtt;		/* by index of conns */
	char path[40];
};

/* nomstack_look_conns.c, nomstack_look_facts.c: fill @out with at most @max rows
 * from @cursor on.  Return: how many. */
unsigned nomstack__look_conns(struct nomstack *s, uint64_t cursor, struct nomstack_lk_conn *out, unsigned max,
			      uint64_t *next_out);
unsigned nomstack__look_facts(struct nomstack *s, uint64_t cursor, struct nomstack_lk_fact *out, unsigned max,
			      uint64_t *next_out);

/* lwip_all.c: the first PCB of a bucket, 0 to TCP_PCB_HASH_SIZE - 1 */
struct tcp_pcb *nomstack__hash_chain(unsigned bucket);

/* nomstack_tap.c */
void nomstack__tap_set(struct nomstack *s);	/* after trace_until_ns or rtt_until_ns changed */
const struct rtt *nomstack__tap_rtt(struct nomstack *s, const struct nomstack_conn *c);

#endif
