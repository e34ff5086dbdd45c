/* SPDX-License-Identifier: MIT */
/*
 * merge.h - frames of several stacks, in the order of their times
 *
 * Each ring is in order by itself; what one stack has seen may lie in its ring a little
 * later than what another saw after it.  So frames wait until nothing older can come.
 */
#ifndef NOMCTL_MERGE_H
#define NOMCTL_MERGE_H

#include "look.h"

struct merge_frame {
	struct nomstack_lk_frame frame;
	uint64_t nr;		/* as they came: orders equal times */
	uint8_t *data;
};

struct merge {
	struct merge_frame *of;
	size_t nr, room, bytes;
	uint64_t came;
};

/* merge_add - keep a copy; for nomctl_look_frames().  0 or -ENOMEM. */
int merge_add(const struct nomstack_lk_frame *f, uint8_t *data, void *merge);

/**
 * merge_take - hand out what is older than @until_ns, in order
 * @until_ns: of the frames' clock.  When much waits (frames of a stack that gives times
 *	to come, say) all is handed out, whatever this says.
 * @fn: as for nomctl_look_frames(); other than 0: the end, and that frame is taken
 *
 * Return: 0, or what @fn returned.
 */
int merge_take(struct merge *m, uint64_t until_ns, nomctl_look_frame_fn fn, void *arg);

void merge_free(struct merge *m);

#endif
