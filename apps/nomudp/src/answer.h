/* SPDX-License-Identifier: MIT */
/*
 * answer.h - the responder on the raw tier: which frames are answered, and how often
 *
 * No clock and no device: time and frames are arguments, so tests and fuzzers call
 * what the server calls.
 */
#ifndef NOMUDP_ANSWER_H
#define NOMUDP_ANSWER_H

#include <nomstack/frame.h>
#include <nomstack/raw.h>

/* How many answers of a kind: at most @per_s on average, a tenth of that at once. */
struct pace {
	uint32_t per_s;		/* 0: none */
	uint64_t due_ns;	/* when the next one would be due at that pace */
	uint64_t answers, limited;
};

/**
 * struct answerer - what is answered
 * @self: who we are
 * @port: UDP port that is served
 * @offload: the device completes UDP sums
 * @arp, @icmp: their paces
 * @requests, @bytes: answered, and their payload
 * @bad: datagrams to the port that are no requests
 * @other_port: datagrams to other ports; no ICMP error says so
 * @kind: frames of each kind
 */
struct answerer {
	struct nomstack_frame_self self;
	uint16_t port;
	bool offload;
	struct pace arp, icmp;
	uint64_t requests, bytes, bad, other_port;
	uint64_t kind[NOMSTACK_FRAME_KINDS];
};

/* pace_allows - whether one more is in order at @now_ns; counts it either way */
bool pace_allows(struct pace *p, uint64_t now_ns);

/* answer_frames - for each of @nr frames an answer or none, at @now_ns */
void answer_frames(struct answerer *a, uint64_t now_ns, const struct vnet_rx *rx, struct nomstack_raw_answer *out, unsigned nr);

#endif
