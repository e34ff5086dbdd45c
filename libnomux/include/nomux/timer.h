/* SPDX-License-Identifier: MIT */
/*
 * Timers.
 *
 * Below: as many as an application likes, each with a callback.  They share the
 * one timer of the lease, which is armed anew only when the earliest deadline
 * changes: no tick, and no system call for a timer behind the first.
 *
 * nomux_timer_arm() is that one timer itself.
 */
#ifndef NOMUX_TIMER_H
#define NOMUX_TIMER_H

#include <nomux/api.h>

struct nomux_core;
struct nomux_timer;

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
 * Return: 0, -EINVAL, -EOPNOTSUPP, -ENXIO, -EBUSY (nomux_timer_set() uses it).
 */
NOMUX_API int nomux_timer_arm(struct nomux_core *core, unsigned int event,
			      uint64_t ns, unsigned int flags);

/**
 * typedef nomux_timer_fn - a timer has come due
 * @t: the timer, which may be set again; destroying it is for threads
 * @arg: what was given to nomux_timer_create()
 *
 * On a leased core it runs in an upcall, with the rules of handlers
 * (<nomux/upcall.h>); elsewhere whenever the kernel thread's scheduler runs: in
 * nomux_yield(), before a sleep, after one.
 */
typedef void (*nomux_timer_fn)(struct nomux_timer *t, void *arg);

/**
 * nomux_timer_create - make a timer
 * @fn: callback
 * @arg: passed to it
 * @out: the timer; give back with nomux_timer_destroy()
 *
 * Return: 0, -EINVAL, -ENOMEM.
 */
NOMUX_API int nomux_timer_create(nomux_timer_fn fn, void *arg, struct nomux_timer **out);

/**
 * nomux_timer_set - let a timer come due once
 * @t: timer; what it was set to before is forgotten
 * @ns: nanoseconds from now, or of nomux_now_ns() with NOMUX_TIMER_ABS
 * @flags: NOMUX_TIMER_ABS or 0
 *
 * It will come due on the calling kernel thread.  No system call unless it is
 * now the earliest there.
 *
 * Threads: user threads and timers' callbacks; one at a time for each timer.
 * Return: 0, -EINVAL, -EOPNOTSUPP (an unknown flag), -EBUSY (the application
 * armed the lease's timer itself), -ENOSPC (the lease has no event left),
 * -ENOMEM.
 */
NOMUX_API int nomux_timer_set(struct nomux_timer *t, uint64_t ns, unsigned int flags);

/**
 * nomux_timer_cancel - let a timer not come due
 * @t: timer
 *
 * Return: 0, -ENOENT (it was not set, or has come due), -EINVAL.
 */
NOMUX_API int nomux_timer_cancel(struct nomux_timer *t);

/** nomux_timer_destroy - cancel and free it; NULL is fine */
NOMUX_API void nomux_timer_destroy(struct nomux_timer *t);

#endif /* NOMUX_TIMER_H */
