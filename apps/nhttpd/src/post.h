/* SPDX-License-Identifier: MIT */
/*
 * post.h - frames from one core to another: one writer, one reader, no lock
 */
#ifndef NHTTPD_POST_H
#define NHTTPD_POST_H

#include <nomstack/nomstack.h>

#include <stdbool.h>
#include <stdint.h>

#define POST_SLOTS 16	/* frames that may wait to be heard of; a power of two */

struct post {
	_Alignas(64) uint32_t put;	/* the writer's; released after the slot */
	_Alignas(64) uint32_t taken;	/* the reader's; released when it is done with the slot */
	uint16_t len[POST_SLOTS];
	uint8_t frame[POST_SLOTS][NOMSTACK_SHARE_BYTES];
};

/* post_put - false: no room, or too long; the frame is lost, as on a wire */
bool post_put(struct post *p, const void *frame, uint32_t len);

/* post_take - the next frame; @frame has NOMSTACK_SHARE_BYTES.  Return: its length, 0: none. */
uint32_t post_take(struct post *p, void *frame);

#endif
