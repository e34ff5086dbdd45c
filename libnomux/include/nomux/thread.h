/* SPDX-License-Identifier: MIT */
/*
 * User threads: many stacks on one kernel thread, or on a group of them.
 *
 * Every kernel thread has its own run queue (so every leased core has), and a
 * user thread stays where it was created; a group (<nomux/group.h>) shares its
 * threads between several cores.  Threads are switched inside the calls of this
 * library, in about 20 instructions and without the kernel, and at other places
 * only when that was asked for (<nomux/preempt.h>).  Works with and without
 * nom.  When all threads sleep the core sleeps: in nomux_wait() on a leased
 * core, in futex(2) elsewhere.
 *
 * User threads share the kernel thread's errno and thread-local variables,
 * unless made with NOMUX_THREAD_OWN_TLS, and its floating-point control words.
 *
 * A call that would block for ever, since no thread is left that could end the
 * wait, logs who waits for what and returns -EDEADLK.  Who waits for something
 * that comes from outside (NOMUX_SEM_EXTERNAL, nomux_offload()) is no deadlock.
 *
 * Locks, semaphores and channels between threads: <nomux/sync.h>,
 * <nomux/chan.h>.  Variables per thread: <nomux/tls.h>.
 */
#ifndef NOMUX_THREAD_H
#define NOMUX_THREAD_H

#include <nomux/api.h>

struct nomux_group;
struct nomux_thread;

#define NOMUX_FOREVER	UINT64_MAX	/* a timeout that never comes */

/*
 * Cores of the group may steal the thread also after it has started.  What it
 * calls must not keep the address of thread-local data (errno is such) over a
 * call that switches; with NOMUX_THREAD_OWN_TLS it may.
 */
#define NOMUX_THREAD_MIGRATE	(1U << 0)
/*
 * errno, __thread variables and what the C library keeps per thread are the
 * user thread's own: it runs with the thread pointer (%fs) of a parked
 * pthread.  Costs a pthread_create(3) per thread and some 10 ns per switch.
 */
#define NOMUX_THREAD_OWN_TLS	(1U << 1)
/* Nobody will join it: as if by nomux_detach(). */
#define NOMUX_THREAD_DETACHED	(1U << 2)

/**
 * struct nomux_thread_opts - how to make a thread
 * @sz: sizeof(struct nomux_thread_opts)
 * @stack_bytes: 0 for the default of 64 KiB; rounded up to pages.  Below it
 *	lies a guard page: an overflow is a fault, not silent corruption.
 * @name: for messages, cut at 15 characters, or NULL
 * @flags: NOMUX_THREAD_*
 * @group: where it runs; NULL: where the caller runs
 */
struct nomux_thread_opts {
	size_t sz;
	size_t stack_bytes;
	const char *name;
	uint32_t flags;
	struct nomux_group *group;
};

/**
 * nomux_thread_create - start a user thread
 * @fn: its body; it ends when @fn returns
 * @arg: passed to @fn
 * @opts: options, or NULL
 * @out: the thread; must be given to nomux_join() or nomux_detach().  May be
 *	NULL with NOMUX_THREAD_DETACHED.
 *
 * The new thread is ready; on the caller's core it runs when the caller yields
 * or blocks.
 * Return: 0, -ENOMEM, -EINVAL, -EOPNOTSUPP (an unknown flag; OWN_TLS where the
 * CPU or the kernel has no FSGSBASE), -EAGAIN (OWN_TLS: no more pthreads).
 */
NOMUX_API int nomux_thread_create(void (*fn)(void *), void *arg,
				  const struct nomux_thread_opts *opts,
				  struct nomux_thread **out);

/** nomux_yield - let the other ready threads run */
NOMUX_API void nomux_yield(void);

/**
 * nomux_join - wait until a thread has ended, and free it
 * @t: a thread of this kernel thread or group (or one that has ended), not
 *	detached, not joined by another
 *
 * Return: 0, -EDEADLK (it cannot end any more, or is the caller), -EINVAL
 * (another kernel thread's, joined by another, or detached); @t lives on after
 * these.  -EFAULT: it overflowed its stack and was ended (nomux_guard_claim());
 * it is freed.
 */
NOMUX_API int nomux_join(struct nomux_thread *t);

/**
 * nomux_detach - let a thread free itself when it ends
 * @t: a thread that nobody joins; not to be used after this call
 *
 * Return: 0, -EINVAL (joined or detached already, or a kernel thread's own).
 */
NOMUX_API int nomux_detach(struct nomux_thread *t);

/**
 * nomux_sleep_ns - let others run for a time
 * @ns: nanoseconds; 0 is nomux_yield()
 */
NOMUX_API void nomux_sleep_ns(uint64_t ns);

/** nomux_self - the running user thread (the kernel thread itself has one, too) */
NOMUX_API struct nomux_thread *nomux_self(void);

/** nomux_thread_name - its name, "main" or "thread" by default */
NOMUX_API const char *nomux_thread_name(const struct nomux_thread *t);

/**
 * struct nomux_thread_stats - what the scheduler of a kernel thread has done
 * @sz: sizeof(struct nomux_thread_stats)
 * @switches: from one user thread to another
 * @steals: threads taken from other cores of the group
 * @idles: how often the core went to sleep
 * @kicks: how often it woke another core from its sleep
 * @preemptions: threads switched in their midst
 * @timer_arms: times the kernel's timer was armed (nomux_timer_set())
 * @timer_fired: timers that came due
 */
struct nomux_thread_stats {
	size_t sz;
	uint64_t switches;
	uint64_t steals;
	uint64_t idles;
	uint64_t kicks;
	uint64_t preemptions;
	uint64_t timer_arms;
	uint64_t timer_fired;
};

/**
 * nomux_thread_stats - counters of the calling kernel thread's scheduler
 * @out: @sz set by the caller, the rest filled in as far as @sz reaches
 *
 * Return: 0, -EINVAL, -ENOMEM.
 */
NOMUX_API int nomux_thread_stats(struct nomux_thread_stats *out);

#endif /* NOMUX_THREAD_H */
