/* SPDX-License-Identifier: MIT */
/* veth_rig.h - vnet on one end of a veth pair, and the test on the other */
#ifndef TESTS_VETH_RIG_H
#define TESTS_VETH_RIG_H

#include <stdint.h>

#include "nomdrv/vnet.h"

#define SLOTS 2u	/* of the rings, which wrap all the time */
#define TYPE 0x88b5	/* IEEE 802: local experiments */
#define FRAME 100u

extern struct vnet *v;
extern int wire;	/* the other end, a packet socket */

void run(const char *command);	/* asserts that it succeeds */
/* The pair p0 and p1; the test is on p0, and @v is for the caller to open on p1. */
void veth_set_up(void);
void veth_tear_down(void);

/* A frame of the experimental type with @n in it, to @to. */
void make(uint8_t *f, const uint8_t to[6], unsigned n);
unsigned number_in(const uint8_t *f);
void from_wire(unsigned n, uint32_t len);
/* Frames of the experimental type, for up to two seconds; others (the kernel announces itself) are let go. */
unsigned burst(struct vnet_rx *out, unsigned max);
unsigned none(void);	/* nothing comes, for a tenth of one */
unsigned on_wire(void);
int copy_out(unsigned n);

/* Tests. */
void full_transmit_ring_is_told_and_goes_on(void **state);
void nothing_is_sent_that_makes_no_sense(void **state);
void what_filled_the_ring_while_it_was_down_leaves_later(void **state);

#endif
