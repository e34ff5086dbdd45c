// SPDX-License-Identifier: MIT
/*
 * Mutexes between user threads.  No atomics: user threads of one kernel thread
 * never run at the same time, and are switched only where they ask for it.
 */
#include <errno.h>
#include <string.h>

#include "thread_internal.h"

/* The first user decides which kernel thread a mutex belongs to. */
static bool mutex_here(struct nomux_mutex *m, const struct nomux_thread *self)
{
	if (!m->sched)
		m->sched = self->sched;
	return m->sched == self->sched;
}

int nomux_mutex_init(struct nomux_mutex *m)
{
	if (!m)
		return -EINVAL;
	memset(m, 0, sizeof(*m));
	return 0;
}

int nomux_mutex_trylock(struct nomux_mutex *m)
{
	struct nomux_thread *self = nomux_self();

	if (!m || !self || !mutex_here(m, self))
		return -EINVAL;
	if (m->owner)
		return -EBUSY;
	m->owner = self;
	return 0;
}

int nomux_mutex_lock(struct nomux_mutex *m)
{
	struct nomux_thread *self;
	int err = nomux_mutex_trylock(m);

	if (err != -EBUSY)
		return err;
	self = nomux_self();
	if (m->owner == self)
		return -EDEADLK;
	self->next = NULL;
	if (m->tail)
		m->tail->next = self;
	else
		m->head = self;
	m->tail = self;
	self->state = THREAD_LOCKING;
	self->wait_on = m;
	return nomux__block(self);	/* unlock made us the owner, unless it fails */
}

int nomux_mutex_unlock(struct nomux_mutex *m)
{
	struct nomux_thread *self = nomux_self(), *next;

	if (!m || !self || m->owner != self)
		return -EPERM;
	next = m->head;
	m->owner = next;
	if (next) {
		m->head = next->next;
		if (!m->head)
			m->tail = NULL;
		nomux__ready(next);
	}
	return 0;
}

int nomux_mutex_destroy(struct nomux_mutex *m)
{
	if (!m)
		return -EINVAL;
	if (m->owner)
		return -EBUSY;
	memset(m, 0, sizeof(*m));
	return 0;
}

/* Take a waiter out that gives up. */
void nomux__mutex_forget(struct nomux_mutex *m, struct nomux_thread *t)
{
	struct nomux_thread **p = &m->head, *last = NULL;

	while (*p && *p != t) {
		last = *p;
		p = &last->next;
	}
	if (!*p)
		return;
	*p = t->next;
	if (m->tail == t)
		m->tail = last;
}
