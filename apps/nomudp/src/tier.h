/* SPDX-License-Identifier: MIT */
/*
 * tier.h - the two ways to answer on a device of our own, as net_nom.c sees them
 *
 * All are called by the data thread, after open() and until close().
 */
#ifndef NOMUDP_TIER_H
#define NOMUDP_TIER_H

#include <nomstack/nomstack.h>

struct server;
struct vnet;

struct tier_ops {
	/* An exit status; its message is printed. */
	int (*open)(struct server *srv, struct vnet *v);
	void (*close)(void);
	/* Frames handled, as nomstack_poll(). */
	unsigned (*poll)(uint64_t now_ns);
	/* ns until it needs attention, UINT64_MAX: only a frame can be the reason */
	uint64_t (*next_ns)(uint64_t now_ns);
	bool (*idle_prepare)(void);
	void (*idle_done)(void);
	int (*restart)(void);
	/* Our address to all, with the next frames; 0 or -errno. */
	int (*announce)(void);
	/* Answers who looks at the stack, as nomstack_look(); NULL: there is none to look at. */
	bool (*look)(void);
	const struct nomstack_knob *(*knobs)(unsigned *nr_out);
	int (*knob_set)(const char *name, int64_t v);
	int (*knob_get)(const char *name, int64_t *out);
	/* Its counters onto the page. */
	void (*show)(struct server *srv);
};

extern const struct tier_ops tier_raw, tier_native;

#endif
