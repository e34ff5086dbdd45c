// SPDX-License-Identifier: MIT
/*
 * Reader-writer locks: first come, first served, and readers that stand next to
 * each other in the queue together.
 */
#include <errno.h>

#include "thread_internal.h"

int nomux_rwlock_init(struct nomux_rwlock *rw)
{
	if (!rw)
		return -EINVAL;
	*rw = (struct nomux_rwlock){ 0 };
	return 0;
}

/*
 * Give the lock to those at the head of the queue who can have it.  The queue's
 * lock is held; the chain returned is to be made ready after it.
 */
struct nomux_thread *nomux__rwlock_grant(struct nomux_rwlock *rw)
{
	struct nomux_thread *t, *chain = NULL, **end = &chain;

	while ((t = rw->q.head) && !rw->writer) {
		if (t->wait_kind == WAIT_WRITE) {
			if (rw->readers)
				break;
			rw->writer = t;
		} else {
			rw->readers++;
		}
		nomux__q_pop(&rw->q);
		*end = t;
		t->next = NULL;
		end = &t->next;
	}
	return chain;
}

static int rw_lock(struct nomux_rwlock *rw, enum wait_kind kind, bool wait)
{
	struct nomux_thread *self = nomux_self();
	int err = 0;

	if (!rw || !self || !nomux__in_domain(&rw->domain, self))
		return -EINVAL;
	nomux__enter(self->sched);
	q_lock(&rw->q, self);
	if (rw->writer == self) {
		err = wait ? -EDEADLK : -EBUSY;
	} else if (rw->writer || rw->q.head || (kind == WAIT_WRITE && rw->readers)) {
		if (wait) {
			err = nomux__wait(self, &rw->q, kind, rw, NOMUX_FOREVER);
			goto waited;	/* which unlocked */
		}
		err = -EBUSY;
	} else if (kind == WAIT_WRITE) {
		rw->writer = self;
	} else {
		rw->readers++;
	}
	q_unlock(&rw->q, self);
waited:
	nomux__leave(self);
	return err;
}

int nomux_rwlock_rdlock(struct nomux_rwlock *rw)
{
	return rw_lock(rw, WAIT_READ, true);
}

int nomux_rwlock_wrlock(struct nomux_rwlock *rw)
{
	return rw_lock(rw, WAIT_WRITE, true);
}

int nomux_rwlock_tryrdlock(struct nomux_rwlock *rw)
{
	return rw_lock(rw, WAIT_READ, false);
}

int nomux_rwlock_trywrlock(struct nomux_rwlock *rw)
{
	return rw_lock(rw, WAIT_WRITE, false);
}

int nomux_rwlock_unlock(struct nomux_rwlock *rw)
{
	struct nomux_thread *self = nomux_self(), *chain = NULL;
	int err = 0;

	if (!rw || !self || !nomux__in_domain(&rw->domain, self))
		return -EINVAL;
	nomux__enter(self->sched);
	q_lock(&rw->q, self);
	if (rw->writer == self)
		rw->writer = NULL;
	else if (!rw->writer && rw->readers)
		rw->readers--;
	else
		err = -EPERM;
	if (!err)
		chain = nomux__rwlock_grant(rw);
	q_unlock(&rw->q, self);
	nomux__ready_chain(self->sched, chain);
	nomux__leave(self);
	return err;
}

int nomux_rwlock_destroy(struct nomux_rwlock *rw)
{
	if (!rw)
		return -EINVAL;
	if (rw->writer || rw->readers || rw->q.head)
		return -EBUSY;
	*rw = (struct nomux_rwlock){ 0 };
	return 0;
}
