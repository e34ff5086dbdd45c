/* SPDX-License-Identifier: MIT */
/*
 * cores.h - several leased cores: what their data threads have in common
 *
 * Each core has a server, a stack and a queue pair of its own, and a thread that waits
 * for no other while it serves.  They meet when they start, when the device has to be
 * begun again, and when a frame, or a new address, concerns all of them.  The first
 * core's stack has the addresses, and ends last.
 */
#ifndef NHTTPD_CORES_H
#define NHTTPD_CORES_H

#include <stdbool.h>
#include <stdint.h>

struct nomstack_config;
struct server;

/* cores_ready - this core serves from now on; wait until all do.  Exit status; the first announces. */
int cores_ready(struct server *srv, const char *urls, const char *profile);

/* cores_over - one of them has failed, or all shall stop: nothing is worth waiting for */
bool cores_over(struct server *srv);

/* cores_tell - pass a frame on to all other cores; what finds no room is lost, as on a wire */
void cores_tell(struct server *srv, const void *frame, uint32_t len);

/* cores_hear - the next frame for this core, of NOMSTACK_SHARE_BYTES at most; its length, 0: none */
uint32_t cores_hear(struct server *srv, void *frame);

/* cores_publish - the addresses have changed; the first core's */
void cores_publish(struct server *srv, const struct nomstack_config *c);

/* cores_config - have they since @gen, which is kept here (0 at first)?  Fills @out if so. */
bool cores_config(struct server *srv, uint32_t *gen, struct nomstack_config *out);

/* cores_restarting - the device was stopped by another core: look at it */
bool cores_restarting(struct server *srv);

/**
 * cores_restart - begin the device again, together
 * @srv: of a core whose stack has called nomstack_restart_begin()
 *
 * Waits until all cores that serve have come here; the last one restarts the device.
 * Return: 0, as vnet_restart(), -ETIMEDOUT (a core does not come), -ECANCELED (one has failed).
 */
int cores_restart(struct server *srv);

/* cores_leave - this core's stack is closed, and its queue pair no longer used */
void cores_leave(struct server *srv);

/* cores_stay - the first core answers who asks for the address until all others have left */
bool cores_stay(struct server *srv);

#endif
