/* SPDX-License-Identifier: MIT */
/* The lease's one-shot timer, which posts an event. */
#ifndef NOMUX_TIMER_H
#define NOMUX_TIMER_H

#include <nomux/api.h>

struct nomux_core;

#define NOMUX_TIMER_ABS	(1U << 0)	/* @ns is a point in time, not a delay */

/**
 * nomux_timer_arm - post an event after a delay or at a time
 * @core: lease, entered
 * @event: 0 .. NOM_NR_EVENTS - 1
 * @ns: nanoseconds from now, or of CLOCK_MONOTONIC with NOMUX_TIMER_ABS; a
 *	delay of 0 disarms
 * @flags: NOMUX_TIMER_ABS or 0
 *
 * There is one timer per lease; arming replaces what was armed.
 *
 * Threads: the holder, upcall handlers included.  One system call.
 * Return: 0, -EINVAL, -EOPNOTSUPP, -ENXIO.
 */
NOMUX_API int nomux_timer_arm(struct nomux_core *core, unsigned int event,
			      uint64_t ns, unsigned int flags);

#endif /* NOMUX_TIMER_H */
