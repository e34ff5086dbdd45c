/* SPDX-License-Identifier: MIT */
/*
 * cores.h - several leased cores: what their data threads have in common
 *
 * Each core has a server, a stack and a queue pair of its own, and a thread that
 * never waits for another.  They meet when they start, when one of them fails, and
 * when a frame tells where a neighbour is.
 */
#ifndef NHTTPD_CORES_H
#define NHTTPD_CORES_H

#include <stdint.h>

struct server;

#define NEIGHBOUR_BYTES 64	/* of a frame that is passed on */

/* cores_ready - this core serves from now on; wait until all do.  Exit status; the first announces. */
int cores_ready(struct server *srv, const char *urls, const char *profile);

/* cores_tell - pass a frame on to all other cores; what finds no room is lost, as on a wire */
void cores_tell(struct server *srv, const void *frame, uint32_t len);

/* cores_hear - the next frame that was passed on to this core; its length, 0: none */
uint32_t cores_hear(struct server *srv, void *frame);

#endif
