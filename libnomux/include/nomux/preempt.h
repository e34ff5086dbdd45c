/* SPDX-License-Identifier: MIT */
/*
 * Switching user threads from upcall handlers, and by time.
 *
 * A thread that an upcall interrupts can be made to give the core up: the
 * library lets the upcall return into a few instructions of its own, which save
 * all registers on the thread's stack and yield.  It goes on later as if nothing
 * had happened.
 *
 * That must not happen while the thread holds what others need and do not know
 * how to wait for: a lock of the C library (malloc, stdio) above all.  So
 * threads are switched only while they execute the main program's own code with
 * events unmasked and outside of nomux_preempt_off(); in other places they give
 * the core up at their next call of the scheduler.  Programs that link the C
 * library statically need nomux_preempt_off() around its calls.
 */
#ifndef NOMUX_PREEMPT_H
#define NOMUX_PREEMPT_H

#include <nomux/api.h>

/**
 * nomux_preempt_start - let no thread keep the core longer than a quantum
 * @quantum_ns: 10 us .. 1 s
 *
 * While more than one thread is ready, one timer upcall per quantum.
 *
 * Threads: user threads of a leased core; concerns this core.
 * Return: 0, -EOPNOTSUPP (not on a leased core), -EINVAL, -ENOSPC (no event
 * number is free), -ENOMEM, -EBUSY (the application armed the timer itself).
 */
NOMUX_API int nomux_preempt_start(uint64_t quantum_ns);

/** nomux_preempt_stop - back to switching on request only; Return: 0, -EINVAL (was not on) */
NOMUX_API int nomux_preempt_stop(void);

/** nomux_preempt_off - not the calling thread, from here on; nests */
NOMUX_API void nomux_preempt_off(void);

/** nomux_preempt_on - undo one nomux_preempt_off() */
NOMUX_API void nomux_preempt_on(void);

/**
 * nomux_resched - from an upcall handler: switch threads when it returns
 *
 * For a handler that made a thread ready (nomux_sem_post()) which shall run now.
 * If the interrupted thread cannot be switched where it stands it gives the core
 * up at its next call of the scheduler.
 *
 * Return: 1 (switches on return), 0 (later), -EINVAL (not on a leased core).
 */
NOMUX_API int nomux_resched(void);

#endif /* NOMUX_PREEMPT_H */
