/* SPDX-License-Identifier: MIT */
/*
 * cost_peer.h - the clients of stack_cost and path_cost: what they send, what
 * they make of the answers.  One thread; not counted.
 */
#ifndef COST_PEER_H
#define COST_PEER_H

#include <stdbool.h>

#define COST_PEER_CONNS 16000	/* most connections */
#define COST_PEER_PORT 10000u	/* of the first connection */
#define COST_PEER_FRAME 2048	/* bytes of a frame buffer */

/* The answer's length in bytes, by which a frame is known for one. */
extern unsigned cost_peer_answer;
/* The clients speak IPv6. */
extern bool cost_peer_six;
/* Answers seen. */
extern unsigned cost_peer_served;

/** cost_peer_arp - the peer announces itself; returns the frame's length */
unsigned cost_peer_arp(unsigned char *f);

/** cost_peer_nd - the same for IPv6: @proof false: it asks for us; true: it hears us */
unsigned cost_peer_nd(unsigned char *f, bool proof);

/**
 * cost_peer_frame - the next segment of a connection
 * @f: room for COST_PEER_FRAME bytes
 * @conn: which, from 0
 * @flags: of the TCP header
 * @len: payload, bytes
 *
 * Acknowledges all that cost_peer_take() has seen.  Return: the frame's length.
 */
unsigned cost_peer_frame(unsigned char *f, unsigned conn, unsigned flags, unsigned len);

/** cost_peer_take - a frame that the stack sent */
void cost_peer_take(const unsigned char *f, unsigned len);

#endif
