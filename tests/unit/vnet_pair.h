/* SPDX-License-Identifier: MIT */
/* vnet_pair.h - the real driver and our vhost-user back-end, one thread playing both */
#ifndef TESTS_VNET_PAIR_H
#define TESTS_VNET_PAIR_H

#include "nomdrv/vnet.h"
#include "../../userdrivers/vhostbe/vhostbe.h"

struct pair {
	struct vhostbe *be;
	struct vnet *v;
	char path[64];
};

/* @name tells the sockets of tests apart; @o gets its wait function here. */
void pair_open(struct pair *p, const char *name, const struct vhostbe_opts *b, struct vnet_opts *o);
void pair_step(void *arg);	/* a wait function; @arg: where the pointer to the back-end lies */
void pair_close(struct pair *p);	/* asserts that neither has anything to complain of */

#endif
