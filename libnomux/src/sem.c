// SPDX-License-Identifier: MIT
/*
 * Semaphores, also posted from outside.
 *
 * An upcall handler may have interrupted the very code that holds the queue's
 * lock, and another kernel thread knows nothing of this one's threads.  Posts to
 * an external semaphore therefore only count up (handoff) and send the semaphore
 * to the inbox of a scheduler of its domain, which does the posting.
 */
#include <errno.h>

#include "thread_internal.h"

#define COUNT_MAX (UINT64_MAX / 2)

_Static_assert(sizeof(((struct nomux_sem *)0)->work) == sizeof(struct work), "room for work");

static struct work *work_of(struct nomux_sem *s)
{
	return (struct work *)(void *)s->work;
}

static struct nomux_sem *sem_of(struct work *w)
{
	return (struct nomux_sem *)(void *)((char *)w - offsetof(struct nomux_sem, work));
}

/* Busy.  Shared: in a group. */
static int post(struct sched *s, struct nomux_sem *sem, uint64_t n, bool shared)
{
	struct nomux_thread *t, *chain = NULL, **end = &chain;
	int err = 0;

	if (shared)
		spin_lock(&sem->q.lock);
	while (n && (t = nomux__q_pop(&sem->q))) {
		*end = t;
		t->next = NULL;
		end = &t->next;
		n--;
	}
	if (sem->count > COUNT_MAX - n)
		err = -EOVERFLOW;
	else
		sem->count += n;
	if (shared)
		spin_unlock(&sem->q.lock);
	nomux__ready_chain(s, chain);
	return err;
}

static void take_handoff(struct sched *s, struct work *w)
{
	struct nomux_sem *sem = sem_of(w);
	uint64_t n = __atomic_exchange_n(&sem->handoff, 0, __ATOMIC_ACQ_REL);

	post(s, sem, n, sem->in_group);
}

int nomux_sem_init(struct nomux_sem *sem, uint64_t count, uint32_t flags)
{
	struct nomux_thread *self;

	if (!sem || count > COUNT_MAX)
		return -EINVAL;
	if (flags & ~NOMUX_SEM_EXTERNAL)
		return -EOPNOTSUPP;
	*sem = (struct nomux_sem){ .count = count, .flags = flags };
	if (flags & NOMUX_SEM_EXTERNAL) {
		self = nomux_self();
		if (!self)
			return -ENOMEM;
		sem->domain = self->domain;
		sem->in_group = self->group != NULL;
		work_of(sem)->fn = take_handoff;
	}
	return 0;
}

int nomux_sem_wait(struct nomux_sem *sem, uint64_t timeout_ns)
{
	struct nomux_thread *self = nomux_self();
	int err = 0;

	if (!sem || !self || !nomux__in_domain(&sem->domain, self))
		return -EINVAL;
	nomux__enter(self->sched);
	q_lock(&sem->q, self);
	if (sem->count) {
		sem->count--;
	} else if (!timeout_ns) {
		err = -EAGAIN;
	} else {
		err = nomux__wait(self, &sem->q, sem->flags & NOMUX_SEM_EXTERNAL ?
				  WAIT_SEM_EXTERNAL : WAIT_SEM, sem, timeout_ns);
		goto waited;		/* which unlocked */
	}
	q_unlock(&sem->q, self);
waited:
	nomux__leave(self);
	return err;
}

/* From anywhere. */
static void post_external(struct nomux_sem *sem)
{
	if (__atomic_fetch_add(&sem->handoff, 1, __ATOMIC_ACQ_REL))
		return;			/* on its way already */
	if (sem->in_group)
		nomux__group_post(sem->domain, work_of(sem));
	else
		nomux__post_work(sem->domain, work_of(sem));
}

int nomux_sem_post(struct nomux_sem *sem)
{
	struct nomux_thread *self;
	int err;

	if (!sem)
		return -EINVAL;
	if (sem->flags & NOMUX_SEM_EXTERNAL) {
		post_external(sem);
		return 0;
	}
	will_write(sem);
	self = nomux_self();
	if (!self || !nomux__in_domain(&sem->domain, self))
		return -EINVAL;
	nomux__enter(self->sched);
	err = post(self->sched, sem, 1, self->group != NULL);
	nomux__leave(self);
	return err;
}

int nomux_sem_destroy(struct nomux_sem *sem)
{
	if (!sem)
		return -EINVAL;
	if (sem->q.head || __atomic_load_n(&sem->handoff, __ATOMIC_ACQUIRE))
		return -EBUSY;
	*sem = (struct nomux_sem){ 0 };
	return 0;
}
