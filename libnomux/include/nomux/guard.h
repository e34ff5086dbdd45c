/* SPDX-License-Identifier: MIT */
/*
 * What happens when a user thread overflows its stack, and when one keeps the
 * core.
 */
#ifndef NOMUX_GUARD_H
#define NOMUX_GUARD_H

#include <nomux/api.h>

struct nom_frame;
struct nomux_core;
struct nomux_thread;

/**
 * typedef nomux_guard_fn - a thread has overflowed its stack
 * @t: the thread
 * @address: what it touched, in the guard page
 * @arg: what was given to nomux_guard_claim()
 *
 * An upcall handler, with its rules (<nomux/upcall.h>).
 * Return: 0 to end the thread (its nomux_join() returns -EFAULT; locks it holds
 * stay locked), < 0 for SIGSEGV.
 */
typedef int (*nomux_guard_fn)(struct nomux_thread *t, uint64_t address, void *arg);

/**
 * nomux_guard_claim - report overflows of user threads' stacks on a core
 * @core: lease, not yet entered
 * @fn: decides what becomes of the thread; NULL: SIGSEGV
 * @arg: passed to @fn
 *
 * Claims page faults.  A hit is logged with the thread's name.  An application
 * that handles page faults itself calls nomux_guard_hit() instead.  Without a
 * leased core the guard page gives SIGSEGV.
 *
 * Return: 0, -EINVAL, -EBUSY (entered already, or page faults have a handler),
 * -EOPNOTSUPP (this kernel offers no page fault upcalls).
 */
NOMUX_API int nomux_guard_claim(struct nomux_core *core, nomux_guard_fn fn, void *arg);

/**
 * nomux_guard_hit - from a page fault handler: is it a stack's overflow?
 * @frame: as the handler got it
 *
 * Logs a line if so.
 * Return: the thread, or NULL: not in the running thread's guard page.
 */
NOMUX_API struct nomux_thread *nomux_guard_hit(const struct nom_frame *frame);

/**
 * struct nomux_stall - a thread that does not give the core up
 * @name: of the thread
 * @tid: its kernel thread
 * @ns: for how long at least
 */
struct nomux_stall {
	char name[16];
	int tid;
	uint64_t ns;
};

/**
 * nomux_stall_watch - report threads that keep a core without a break
 * @ns: from when on; 1 ms .. 1 h; 0 ends the watch
 * @fn: gets each report, or NULL: a line in the log.  Called by the watcher.
 * @arg: passed to @fn
 *
 * The watcher is a kernel thread on an ordinary core that looks at every
 * scheduler of the process; what it watches pays nothing.  One report per stall.
 *
 * Threads: any, one at a time.
 * Return: 0, -EINVAL, -EAGAIN (no more kernel threads).
 */
NOMUX_API int nomux_stall_watch(uint64_t ns, void (*fn)(const struct nomux_stall *, void *),
				void *arg);

#endif /* NOMUX_GUARD_H */
