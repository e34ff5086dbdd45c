// SPDX-License-Identifier: MIT
/*
 * Waiting: in a queue, for a time, or both.
 *
 * Who takes a thread out of what it waits for (clears queued, under the queue's
 * lock) makes it ready; so of a waker and a timeout exactly one does.  A timeout
 * that has begun to be handled may touch the thread for a moment longer: the
 * thread waits for that (expiring) before it goes on and perhaps away.
 */
#include <syslog.h>

#include <nomux/clock.h>
#include <nomux/log.h>

#include "thread_internal.h"

void nomux__q_add(struct nomux_waitq *q, struct nomux_thread *t)
{
	t->next = NULL;
	t->prev = q->tail;
	if (q->tail)
		q->tail->next = t;
	else
		q->head = t;
	q->tail = t;
}

void nomux__q_del(struct nomux_waitq *q, struct nomux_thread *t)
{
	if (t->prev)
		t->prev->next = t->next;
	else
		q->head = t->next;
	if (t->next)
		t->next->prev = t->prev;
	else
		q->tail = t->prev;
}

struct nomux_thread *nomux__q_pop(struct nomux_waitq *q)
{
	struct nomux_thread *t = q->head;

	if (!t)
		return NULL;
	will_write(t);
	nomux__q_del(q, t);
	t->queued = false;
	return t;
}

static struct nomux_thread *thread_of(struct heap_node *n)
{
	return (struct nomux_thread *)(void *)((char *)n - offsetof(struct nomux_thread, timeout));
}

/* The heap of a group's core is read by threads that other cores woke. */
static void heap_lock(struct sched *s)
{
	if (s->group)
		spin_lock(&s->heap_lock);
}

static void heap_unlock(struct sched *s)
{
	if (s->group)
		spin_unlock(&s->heap_lock);
}

static void timeout_start(struct sched *s, struct nomux_thread *t, uint64_t ns)
{
	uint64_t when = nomux_now_ns() + ns;

	if (when < ns)
		when = UINT64_MAX - 1;
	heap_lock(s);
	nomux__heap_add(&s->sleepers, &t->timeout, when);
	heap_unlock(s);
}

static void timeout_stop(struct sched *s, struct nomux_thread *t)
{
	heap_lock(s);
	if (t->timeout.in)
		nomux__heap_del(&s->sleepers, &t->timeout);
	heap_unlock(s);
	while (__atomic_load_n(&t->expiring, __ATOMIC_ACQUIRE))
		__builtin_ia32_pause();
}

/* Its queue's lock is held, and it is queued. */
static struct nomux_thread *take_out(struct nomux_thread *t, int err)
{
	if (t->wait_q)
		nomux__q_del(t->wait_q, t);
	t->queued = false;
	t->wait_err = err;
	if (t->wait_kind == WAIT_WRITE)		/* readers behind it may go */
		return nomux__rwlock_grant(t->wait_on);
	return NULL;
}

bool nomux__give_up(struct sched *s, struct nomux_thread *t, int err)
{
	struct nomux_waitq *q = t->wait_q;
	struct nomux_thread *others = NULL;
	bool mine;

	if (q)
		q_lock(q, t);
	mine = t->queued;
	if (mine)
		others = take_out(t, err);
	if (q)
		q_unlock(q, t);
	nomux__ready_chain(s, others);
	return mine;
}

void nomux__expire(struct sched *s)
{
	uint64_t now = nomux_now_ns();
	struct heap_node *n;
	struct nomux_thread *t;
	bool mine;

	while (nomux__heap_first_ns(&s->sleepers) <= now) {
		heap_lock(s);
		n = nomux__heap_take(&s->sleepers, now);
		t = n ? thread_of(n) : NULL;
		if (t)
			__atomic_store_n(&t->expiring, true, __ATOMIC_RELAXED);
		heap_unlock(s);
		if (!t)
			return;
		mine = nomux__give_up(s, t, t->wait_kind == WAIT_SLEEP ? 0 : -ETIMEDOUT);
		__atomic_store_n(&t->expiring, false, __ATOMIC_RELEASE);
		if (mine)
			nomux__ready(s, t);
	}
}

static bool is_external(enum wait_kind kind)
{
	return kind == WAIT_SEM_EXTERNAL || kind == WAIT_OFFLOAD;
}

static void count_external(struct sched *s, int64_t n)
{
	if (s->group)
		__atomic_fetch_add(&s->group->external, (uint64_t)n, __ATOMIC_SEQ_CST);
	else
		s->external += (uint64_t)n;
}

int nomux__wait(struct nomux_thread *self, struct nomux_waitq *q, enum wait_kind kind, void *on,
		uint64_t timeout_ns)
{
	struct sched *s = self->sched;
	struct nomux_thread *next;

	self->wait_on = on;
	self->wait_q = q;
	self->wait_err = 0;
	self->queued = true;
	self->wait_kind = kind;
	if (q)
		nomux__q_add(q, self);
	if (timeout_ns != NOMUX_FOREVER)
		timeout_start(s, self, timeout_ns);
	if (is_external(kind))
		count_external(s, 1);

	next = nomux__pick(s, self);
	if (!next) {
		nomux__deadlock_report(s->all);
		nomux__give_up(s, self, -EDEADLK);
	} else if (next != self) {
		if (q && s->group) {
			s->after = AFTER_UNLOCK;
			s->after_lock = &q->lock;
		}
		nomux__switch_to(s, next);
	}

	if (timeout_ns != NOMUX_FOREVER)
		timeout_stop(s, self);
	if (is_external(kind))
		count_external(self->sched, -1);
	self->wait_kind = WAIT_NONE;
	return self->wait_err;
}

void nomux_sleep_ns(uint64_t ns)
{
	struct nomux_thread *self = nomux_self();

	if (!ns || !self) {
		nomux_yield();
		return;
	}
	nomux__enter(self->sched);
	nomux__wait(self, NULL, WAIT_SLEEP, NULL, ns == UINT64_MAX ? ns - 1 : ns);
	nomux__leave(self);
}
