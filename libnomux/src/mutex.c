// SPDX-License-Identifier: MIT
/*
 * Mutexes between user threads.
 *
 * The word owner says it all as long as nobody waits: taken and given back by
 * compare-and-swap, which within one kernel thread needs no lock prefix: the only
 * one to come in between is an upcall that switches threads.  Bit 0 says that
 * there may be waiters, then unlock goes by the queue and hands the mutex over.
 */
#include <errno.h>

#include "thread_internal.h"

#define WAITERS 1UL

static inline bool mutex_cas(struct nomux_mutex *m, const struct nomux_thread *self,
			     uintptr_t old, uintptr_t new)
{
	if (!self->group)
		return cas_local(&m->owner, old, new);
	return __atomic_compare_exchange_n(&m->owner, &old, new, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
}

int nomux_mutex_init(struct nomux_mutex *m)
{
	if (!m)
		return -EINVAL;
	*m = (struct nomux_mutex){ 0 };
	return 0;
}

static int lock_slow(struct nomux_mutex *m, struct nomux_thread *self)
{
	uintptr_t owner;
	int err;

	nomux__enter(self->sched);
	q_lock(&m->q, self);
	for (;;) {
		owner = __atomic_load_n(&m->owner, __ATOMIC_RELAXED);
		if (!owner && mutex_cas(m, self, 0, (uintptr_t)self)) {
			q_unlock(&m->q, self);
			err = 0;
			break;
		}
		if (owner && ((owner & WAITERS) || mutex_cas(m, self, owner, owner | WAITERS))) {
			/* unlock makes us the owner, unless the wait fails */
			err = nomux__wait(self, &m->q, WAIT_MUTEX, m, NOMUX_FOREVER);
			break;
		}
	}
	nomux__leave(self);
	return err;
}

int nomux_mutex_trylock(struct nomux_mutex *m)
{
	struct nomux_thread *self = nomux_self();

	if (!m || !self || !nomux__in_domain(&m->domain, self))
		return -EINVAL;
	return mutex_cas(m, self, 0, (uintptr_t)self) ? 0 : -EBUSY;
}

int nomux_mutex_lock(struct nomux_mutex *m)
{
	struct nomux_thread *self = nomux_self();

	if (!m || !self || !nomux__in_domain(&m->domain, self))
		return -EINVAL;
	if (mutex_cas(m, self, 0, (uintptr_t)self))
		return 0;
	if ((__atomic_load_n(&m->owner, __ATOMIC_RELAXED) & ~WAITERS) == (uintptr_t)self)
		return -EDEADLK;
	return lock_slow(m, self);
}

int nomux_mutex_unlock(struct nomux_mutex *m)
{
	struct nomux_thread *self = nomux_self(), *next;

	if (!m || !self)
		return -EPERM;
	if (mutex_cas(m, self, (uintptr_t)self, 0))
		return 0;
	if ((__atomic_load_n(&m->owner, __ATOMIC_RELAXED) & ~WAITERS) != (uintptr_t)self)
		return -EPERM;
	nomux__enter(self->sched);
	q_lock(&m->q, self);
	next = nomux__q_pop(&m->q);
	__atomic_store_n(&m->owner, (uintptr_t)next | (m->q.head ? WAITERS : 0), __ATOMIC_RELEASE);
	q_unlock(&m->q, self);
	if (next)
		nomux__ready(self->sched, next);
	nomux__leave(self);
	return 0;
}

int nomux_mutex_destroy(struct nomux_mutex *m)
{
	if (!m)
		return -EINVAL;
	if (m->owner)
		return -EBUSY;
	*m = (struct nomux_mutex){ 0 };
	return 0;
}
