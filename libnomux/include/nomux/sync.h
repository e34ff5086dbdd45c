/* SPDX-License-Identifier: MIT */
/*
 * Mutexes, reader-writer locks, condition variables and semaphores between user
 * threads.
 *
 * The caller owns the memory; all fields are private.  Zeroed memory is an
 * initialised object (a semaphore of 0).  The first user decides to which
 * kernel thread or group an object belongs; others get -EINVAL.  Waiters are
 * served in the order they came.  Only NOMUX_SEM_EXTERNAL semaphores may be
 * posted from elsewhere: upcall handlers, timers, other kernel threads.
 *
 * Every call that may wait can also return -EDEADLK, see <nomux/thread.h>.
 */
#ifndef NOMUX_SYNC_H
#define NOMUX_SYNC_H

#include <nomux/api.h>

struct nomux_thread;

/* Threads that wait, first in first out.  Private. */
struct nomux_waitq {
	struct nomux_thread *head;
	struct nomux_thread *tail;
	uint32_t lock;		/* taken in groups only */
	uint32_t reserved;
};

/* ------------------------------------------------------------- mutexes --- */

struct nomux_mutex {
	uintptr_t owner;	/* thread; bit 0: somebody waits */
	void *domain;
	struct nomux_waitq q;
};

/** nomux_mutex_init - make an unlocked mutex; Return: 0, -EINVAL (NULL) */
NOMUX_API int nomux_mutex_init(struct nomux_mutex *m);

/**
 * nomux_mutex_lock - lock, waiting for the owner
 * @m: mutex
 *
 * Return: 0, -EDEADLK (the caller owns it, or nobody is left to unlock it),
 * -EINVAL (another kernel thread's or group's).
 */
NOMUX_API int nomux_mutex_lock(struct nomux_mutex *m);

/** nomux_mutex_trylock - lock if it is free; Return: 0, -EBUSY, -EINVAL */
NOMUX_API int nomux_mutex_trylock(struct nomux_mutex *m);

/** nomux_mutex_unlock - hand it to the next waiter; Return: 0, -EPERM (not the owner) */
NOMUX_API int nomux_mutex_unlock(struct nomux_mutex *m);

/** nomux_mutex_destroy - end of use; Return: 0, -EBUSY (locked), -EINVAL */
NOMUX_API int nomux_mutex_destroy(struct nomux_mutex *m);

/* ------------------------------------------------- reader-writer locks --- */

struct nomux_rwlock {
	struct nomux_thread *writer;
	void *domain;
	uint64_t readers;
	struct nomux_waitq q;
};

/** nomux_rwlock_init - make an unlocked lock; Return: 0, -EINVAL (NULL) */
NOMUX_API int nomux_rwlock_init(struct nomux_rwlock *rw);

/**
 * nomux_rwlock_rdlock - share the lock with other readers
 * @rw: lock
 *
 * Waits behind writers that came before, so writers do not starve; a thread
 * that reads already must not call it again.
 * Return: 0, -EDEADLK (the caller is the writer), -EINVAL.
 */
NOMUX_API int nomux_rwlock_rdlock(struct nomux_rwlock *rw);

/** nomux_rwlock_wrlock - have the lock alone; Return: 0, -EDEADLK, -EINVAL */
NOMUX_API int nomux_rwlock_wrlock(struct nomux_rwlock *rw);

/** nomux_rwlock_tryrdlock - read if that needs no wait; Return: 0, -EBUSY, -EINVAL */
NOMUX_API int nomux_rwlock_tryrdlock(struct nomux_rwlock *rw);

/** nomux_rwlock_trywrlock - write if that needs no wait; Return: 0, -EBUSY, -EINVAL */
NOMUX_API int nomux_rwlock_trywrlock(struct nomux_rwlock *rw);

/**
 * nomux_rwlock_unlock - give a read or write lock back
 * @rw: lock
 *
 * Readers are counted, not known by name: that the caller is one is not checked.
 * Return: 0, -EPERM (not locked, or written by another), -EINVAL.
 */
NOMUX_API int nomux_rwlock_unlock(struct nomux_rwlock *rw);

/** nomux_rwlock_destroy - end of use; Return: 0, -EBUSY (locked), -EINVAL */
NOMUX_API int nomux_rwlock_destroy(struct nomux_rwlock *rw);

/* ------------------------------------------------- condition variables --- */

struct nomux_cond {
	void *domain;
	struct nomux_waitq q;
};

/** nomux_cond_init - make a condition variable; Return: 0, -EINVAL (NULL) */
NOMUX_API int nomux_cond_init(struct nomux_cond *c);

/**
 * nomux_cond_wait - unlock a mutex, wait for a signal, lock it again
 * @c: condition
 * @m: mutex of the caller
 * @timeout_ns: longest wait, or NOMUX_FOREVER
 *
 * A signal given after the unlocking is not missed.  Nobody is woken without
 * one, but another thread may lock @m first: look at the condition again.
 * Return: 0, -ETIMEDOUT, -EDEADLK; the mutex is locked.  -EPERM (not the
 * owner), -EINVAL: nothing was done.  -ENOLCK: nobody is left to unlock the
 * mutex; it is not locked by the caller.
 */
NOMUX_API int nomux_cond_wait(struct nomux_cond *c, struct nomux_mutex *m, uint64_t timeout_ns);

/** nomux_cond_signal - wake the longest waiter, if any; Return: 0, -EINVAL */
NOMUX_API int nomux_cond_signal(struct nomux_cond *c);

/** nomux_cond_broadcast - wake all waiters; Return: 0, -EINVAL */
NOMUX_API int nomux_cond_broadcast(struct nomux_cond *c);

/** nomux_cond_destroy - end of use; Return: 0, -EBUSY (somebody waits), -EINVAL */
NOMUX_API int nomux_cond_destroy(struct nomux_cond *c);

/* ---------------------------------------------------------- semaphores --- */

struct nomux_sem {
	uint64_t count;
	void *domain;
	struct nomux_waitq q;
	uint32_t flags;
	uint32_t in_group;
	uint64_t handoff;	/* external posts on their way; atomic */
	void *work[2];
};

/* nomux_sem_post() may be called from anywhere, upcall handlers included. */
#define NOMUX_SEM_EXTERNAL	(1U << 0)

/**
 * nomux_sem_init - make a semaphore
 * @s: memory
 * @count: units it starts with
 * @flags: NOMUX_SEM_EXTERNAL or 0
 *
 * An external one belongs to the caller's kernel thread or group at once.
 * Return: 0, -EINVAL, -EOPNOTSUPP (an unknown flag), -ENOMEM.
 */
NOMUX_API int nomux_sem_init(struct nomux_sem *s, uint64_t count, uint32_t flags);

/**
 * nomux_sem_wait - take a unit
 * @s: semaphore
 * @timeout_ns: longest wait; 0: only if there is one; or NOMUX_FOREVER
 *
 * Return: 0, -EAGAIN (none, and @timeout_ns is 0), -ETIMEDOUT, -EINVAL.
 */
NOMUX_API int nomux_sem_wait(struct nomux_sem *s, uint64_t timeout_ns);

/**
 * nomux_sem_post - add a unit, wake the longest waiter
 * @s: semaphore
 *
 * External: takes effect when the waiters' core comes by its scheduler, at once
 * if it is idle.  From a handler use nomux_resched() as well if the thread shall
 * run when the handler returns.
 * Return: 0, -EINVAL (another kernel thread's, and not external), -EOVERFLOW.
 */
NOMUX_API int nomux_sem_post(struct nomux_sem *s);

/** nomux_sem_destroy - end of use; Return: 0, -EBUSY (waiters, posts under way), -EINVAL */
NOMUX_API int nomux_sem_destroy(struct nomux_sem *s);

#endif /* NOMUX_SYNC_H */
