/* SPDX-License-Identifier: MIT */
/*
 * Cooperative user threads: many stacks on one kernel thread.
 *
 * Every kernel thread has its own run queue (so every leased core has); a user
 * thread stays where it was created and is switched only inside the calls
 * below, in about 20 instructions and without the kernel.  Works with and
 * without nom.  When all threads sleep the core sleeps: in nomux_wait() on a
 * leased core, in nanosleep(2) elsewhere.
 *
 * User threads share the kernel thread's errno, thread-local variables and
 * floating-point control words.
 *
 * A call that would block for ever, since no thread is left that could end the
 * wait, logs who waits for what and returns -EDEADLK.
 */
#ifndef NOMUX_THREAD_H
#define NOMUX_THREAD_H

#include <nomux/api.h>

struct nomux_thread;

/**
 * struct nomux_thread_opts - how to make a thread
 * @sz: sizeof(struct nomux_thread_opts)
 * @stack_bytes: 0 for the default of 64 KiB; rounded up to pages.  Below it
 *	lies a guard page: an overflow is a fault, not silent corruption.
 * @name: for messages, cut at 15 characters, or NULL
 */
struct nomux_thread_opts {
	size_t sz;
	size_t stack_bytes;
	const char *name;
};

/**
 * nomux_thread_create - start a user thread on the calling kernel thread
 * @fn: its body; it ends when @fn returns
 * @arg: passed to @fn
 * @opts: options, or NULL
 * @out: the thread; must be given to nomux_join(), which frees it
 *
 * The new thread is ready; it runs when the caller yields or blocks.
 * Return: 0, -ENOMEM, -EINVAL.
 */
NOMUX_API int nomux_thread_create(void (*fn)(void *), void *arg,
				  const struct nomux_thread_opts *opts,
				  struct nomux_thread **out);

/** nomux_yield - let the other ready threads run */
NOMUX_API void nomux_yield(void);

/**
 * nomux_join - wait until a thread has ended, and free it
 * @t: a thread of this kernel thread, not joined by another
 *
 * Return: 0, -EDEADLK (it cannot end any more, or is the caller), -EINVAL
 * (another kernel thread's, or joined already); @t lives on after an error.
 */
NOMUX_API int nomux_join(struct nomux_thread *t);

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
 * struct nomux_mutex - a lock between user threads of one kernel thread
 *
 * The caller owns the memory.  Waiters get it in the order they came.  All
 * fields are private.
 */
struct nomux_mutex {
	struct nomux_thread *owner;
	struct nomux_thread *head;
	struct nomux_thread *tail;
	void *sched;
};

/** nomux_mutex_init - make an unlocked mutex; Return: 0 */
NOMUX_API int nomux_mutex_init(struct nomux_mutex *m);

/**
 * nomux_mutex_lock - lock, waiting for the owner
 * @m: mutex
 *
 * Return: 0, -EDEADLK (the caller owns it, or nobody is left to unlock it),
 * -EINVAL (used from another kernel thread).
 */
NOMUX_API int nomux_mutex_lock(struct nomux_mutex *m);

/** nomux_mutex_trylock - lock if it is free; Return: 0, -EBUSY, -EINVAL */
NOMUX_API int nomux_mutex_trylock(struct nomux_mutex *m);

/** nomux_mutex_unlock - hand it to the next waiter; Return: 0, -EPERM (not the owner) */
NOMUX_API int nomux_mutex_unlock(struct nomux_mutex *m);

/** nomux_mutex_destroy - end of use; Return: 0, -EBUSY (locked) */
NOMUX_API int nomux_mutex_destroy(struct nomux_mutex *m);

#endif /* NOMUX_THREAD_H */
