/* SPDX-License-Identifier: MIT */
/*
 * link.h - a device's link, its requests to be announced, and its health
 *
 * The device signals changes by an interrupt of its own, which ends a sleep; once a
 * second it is looked at anyway.  A link that is down stops nothing: what is sent is
 * lost as on a wire that was cut.  When it is back the switch behind it may be
 * another one, so our address is announced.
 *
 * Threads: the loop's.
 */
#ifndef NOMAPP_LINK_H
#define NOMAPP_LINK_H

#include <stdbool.h>
#include <stdint.h>

struct vnet;

/**
 * struct app_link - whose link
 * @v: the device
 * @device: as --device names it
 * @announce: tell the network of our address, with the next frames; 0 or -errno.  NULL: another
 *	thread does, which has a queue pair of the same device
 * @arg: for it
 * @up, @changes, @announcements: counters: 1 or 0; and how many
 * @next_ns: app_link_failed()'s own
 */
struct app_link {
	struct vnet *v;
	const char *device;
	int (*announce)(void *arg);
	void *arg;
	uint64_t *up, *changes, *announcements;
	uint64_t next_ns;
};

/* app_link_open - hear of the link and of requests to announce; before the first app_link_failed() */
void app_link_open(struct app_link *l);

/**
 * app_link_failed - look at the device when it has signalled a change, and once a second
 * @l: open
 * @now_ns: nomux_now_ns()
 * @at_once: look in any case
 *
 * Between two polls of the stack.  Logs a line when the link has changed.
 *
 * Return: the device has failed; see <nomapp/mend.h>.
 */
bool app_link_failed(struct app_link *l, uint64_t now_ns, bool at_once);

#endif
