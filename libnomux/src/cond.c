// SPDX-License-Identifier: MIT
/*
 * Condition variables.  Lock order: the condition's queue, then the mutex's.
 */
#include <errno.h>

#include "thread_internal.h"

int nomux_cond_init(struct nomux_cond *c)
{
	if (!c)
		return -EINVAL;
	*c = (struct nomux_cond){ 0 };
	return 0;
}

int nomux_cond_wait(struct nomux_cond *c, struct nomux_mutex *m, uint64_t timeout_ns)
{
	struct nomux_thread *self = nomux_self();
	int err, lock_err;

	if (!c || !m || !self || !nomux__in_domain(&c->domain, self))
		return -EINVAL;
	nomux__enter(self->sched);
	q_lock(&c->q, self);
	/* With the queue locked: a signal after this finds us in it. */
	err = nomux_mutex_unlock(m);
	if (err) {
		q_unlock(&c->q, self);
		nomux__leave(self);
		return err;
	}
	nomux__enter(self->sched);	/* unlock has left */
	err = nomux__wait(self, &c->q, WAIT_COND, c, timeout_ns);
	nomux__leave(self);
	lock_err = nomux_mutex_lock(m);
	return lock_err ? -ENOLCK : err;
}

static int wake(struct nomux_cond *c, bool all)
{
	struct nomux_thread *self = nomux_self(), *t, *chain = NULL, **end = &chain;

	if (!c || !self || !nomux__in_domain(&c->domain, self))
		return -EINVAL;
	if (!self->group && !c->q.head)
		return 0;
	nomux__enter(self->sched);
	q_lock(&c->q, self);
	while ((t = nomux__q_pop(&c->q))) {
		*end = t;
		t->next = NULL;
		end = &t->next;
		if (!all)
			break;
	}
	q_unlock(&c->q, self);
	nomux__ready_chain(self->sched, chain);
	nomux__leave(self);
	return 0;
}

int nomux_cond_signal(struct nomux_cond *c)
{
	return wake(c, false);
}

int nomux_cond_broadcast(struct nomux_cond *c)
{
	return wake(c, true);
}

int nomux_cond_destroy(struct nomux_cond *c)
{
	if (!c)
		return -EINVAL;
	if (c->q.head)
		return -EBUSY;
	*c = (struct nomux_cond){ 0 };
	return 0;
}
