// SPDX-License-Identifier: MIT
/*
 * Timers: many, on one timer of the kernel's.
 *
 * On a leased core that one is armed to the earliest deadline, by the difference
 * to now (so that the drift of nomux_now_ns() does not add up), and only when
 * something earlier comes: a timer that was cancelled costs an upcall that finds
 * nothing due and arms again.  Elsewhere the scheduler looks when it runs.
 *
 * Upcalls come in the middle of scheduler code: then a note is left (timers_due).
 */
#include <nomux/timer.h>

#include <errno.h>
#include <stdlib.h>

#include <nomux/clock.h>

#include "thread_internal.h"

#define TIMER_MAGIC	0x52454d4954584d4eULL

struct nomux_timer {
	uint64_t magic;
	struct heap_node node;
	struct sched *sched;		/* where it is set, or was */
	nomux_timer_fn fn;
	void *arg;
};

static struct nomux_timer *timer_of(struct heap_node *n)
{
	return (struct nomux_timer *)(void *)((char *)n - offsetof(struct nomux_timer, node));
}

/* A group's thread may cancel on one core what it set on another. */
static void heap_lock(struct sched *s)
{
	spin_lock(&s->heap_lock);
}

static void heap_unlock(struct sched *s)
{
	spin_unlock(&s->heap_lock);
}

int nomux_timer_create(nomux_timer_fn fn, void *arg, struct nomux_timer **out)
{
	struct nomux_timer *t;

	if (!fn || !out)
		return -EINVAL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->magic = TIMER_MAGIC;
	t->fn = fn;
	t->arg = arg;
	*out = t;
	return 0;
}

/* Busy, or in the timers' own upcall. */
static void take_due(struct sched *s)
{
	uint64_t now = nomux_now_ns(), end = s->timers.seq;
	struct heap_node *n;

	for (;;) {
		heap_lock(s);
		n = s->timers.root;
		/* What callbacks set to be due at once waits for the next time. */
		n = n && n->seq < end ? nomux__heap_take(&s->timers, now) : NULL;
		heap_unlock(s);
		if (!n)
			return;
		s->stats.timer_fired++;
		timer_of(n)->fn(timer_of(n), timer_of(n)->arg);
	}
}

/* The lease's timer shall fire no later than the first of ours. */
void nomux__timers_arm(struct sched *s)
{
	struct nomux_core *core = nomux_core_current();
	uint64_t first = nomux__heap_first_ns(&s->timers), now;

	if (!core || s->timer_core != core->handle || first >= s->armed_ns)
		return;
	now = nomux_now_ns();
	s->armed_ns = first;
	s->stats.timer_arms++;
	nomux__timer_arm_kernel(core, s->timer_event, first > now ? first - now : 1, 0);
}

void nomux__timers_run(struct sched *s)
{
	take_due(s);
	nomux__timers_arm(s);
}

static void on_timer(unsigned int event, uint64_t count, void *arg)
{
	struct sched *s = arg;

	s->armed_ns = UINT64_MAX;
	if (s->busy) {
		s->timers_due = true;
		return;
	}
	nomux__enter(s);		/* what callbacks call must not switch threads here */
	s->in_upcall = true;
	nomux__timers_run(s);
	s->in_upcall = false;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (!s->preempting)
		__atomic_store_n(&s->busy, 0, __ATOMIC_RELAXED);
}

/* On a leased core: an event for our use of its timer. */
static int timer_event(struct sched *s)
{
	struct nomux_core *core = nomux_core_current();
	int event;

	if (!core) {
		s->timer_core = 0;
		return 0;
	}
	if (s->timer_core == core->handle)
		return 0;
	if (core->timer_used)
		return -EBUSY;
	event = nomux_event_alloc(core);
	if (event < 0)
		return event;
	nomux_on_event(core, (unsigned int)event, on_timer, s);
	core->timer_shared = true;
	s->timer_event = (unsigned int)event;
	s->armed_ns = UINT64_MAX;
	s->timer_core = core->handle;
	return 0;
}

static bool timer_del(struct nomux_timer *t)
{
	struct sched *s = t->sched;
	bool was;

	if (!s)
		return false;
	heap_lock(s);
	was = t->node.in;
	if (was)
		nomux__heap_del(&s->timers, &t->node);
	heap_unlock(s);
	return was;
}

/* Callbacks come here with the scheduler busy already, and leave it so. */
static void timer_enter(struct sched *s, uint32_t *was_busy)
{
	*was_busy = s->busy;
	nomux__enter(s);
}

static void timer_leave(struct sched *s, uint32_t was_busy)
{
	if (!was_busy)
		nomux__leave(s->current);
}

int nomux_timer_set(struct nomux_timer *t, uint64_t ns, unsigned int flags)
{
	struct sched *s = nomux__sched();
	uint64_t when = ns;
	uint32_t was_busy;
	int err;

	if (!t || t->magic != TIMER_MAGIC)
		return -EINVAL;
	if (flags & ~NOMUX_TIMER_ABS)
		return -EOPNOTSUPP;
	if (!s)
		return -ENOMEM;
	if (!(flags & NOMUX_TIMER_ABS)) {
		when = nomux_now_ns() + ns;
		if (when < ns)
			when = UINT64_MAX - 1;
	}
	timer_enter(s, &was_busy);
	err = timer_event(s);
	if (!err) {
		timer_del(t);
		t->sched = s;
		heap_lock(s);
		nomux__heap_add(&s->timers, &t->node, when);
		heap_unlock(s);
		nomux__timers_arm(s);
	}
	timer_leave(s, was_busy);
	return err;
}

int nomux_timer_cancel(struct nomux_timer *t)
{
	struct sched *s = nomux__sched();
	uint32_t was_busy;
	bool was;

	if (!t || t->magic != TIMER_MAGIC || !s)
		return -EINVAL;
	timer_enter(s, &was_busy);
	was = timer_del(t);
	timer_leave(s, was_busy);
	return was ? 0 : -ENOENT;
}

void nomux_timer_destroy(struct nomux_timer *t)
{
	if (!t || t->magic != TIMER_MAGIC)
		return;
	nomux_timer_cancel(t);
	t->magic = 0;
	free(t);
}
