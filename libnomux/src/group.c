// SPDX-License-Identifier: MIT
/*
 * Groups: cores that share user threads by stealing.
 *
 * Each core has a ring of ready threads that others may take; it takes from the
 * front itself, so threads run in the order they became ready.  A core without
 * work takes half of another's ring in one compare-and-swap.  What has to stay on
 * its core lies in the scheduler's own list, and is sent there by its inbox.
 *
 * Who makes work and who goes to sleep must not miss each other:
 *
 *	a core with new work			a core without
 *	--------------------			--------------
 *	add to the ring				nr_sleeping++, nr_searching--
 *	full barrier				full barrier (both are locked)
 *	nobody searching, somebody		look at all rings and inboxes again
 *	sleeping? kick one
 *
 * While somebody searches nobody needs a kick; the last one to stop searching,
 * for it has found work, kicks another in its place if there is more.
 */
#include <linux/futex.h>
#include <stdlib.h>
#include <syslog.h>

#include <nomux/clock.h>
#include <nomux/log.h>

#include "thread_internal.h"

#define SPIN_NS_DEFAULT	20000
#define ALERT_LOOKS	64	/* some microseconds */

int nomux_group_create(const struct nomux_group_opts *opts, struct nomux_group **out)
{
	struct nomux_group_opts o = { .sz = sizeof(o) };
	struct nomux_group *g;

	if (!out)
		return -EINVAL;
	if (opts) {
		if (opts->sz < sizeof(opts->sz) || opts->sz > 4096)
			return -EINVAL;
		memcpy(&o, opts, opts->sz < sizeof(o) ? opts->sz : sizeof(o));
	}
	g = aligned_alloc(64, ALIGN_UP(sizeof(*g), 64UL));
	if (!g)
		return -ENOMEM;
	memset(g, 0, sizeof(*g));
	g->spin_ns = o.spin_ns ? o.spin_ns : SPIN_NS_DEFAULT;
	*out = g;
	return 0;
}

int nomux_group_destroy(struct nomux_group *g)
{
	bool busy;

	if (!g)
		return -EINVAL;
	spin_lock(&g->lock);
	busy = g->nr_inside || g->alive;
	spin_unlock(&g->lock);
	if (busy)
		return -EBUSY;
	free(g);
	return 0;
}

/* ------------------------------------------------------------ the rings --- */

static bool ring_push(struct ring *r, struct nomux_thread *t)
{
	uint32_t head = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE), tail = r->tail;

	if (tail - head == RING_SLOTS)
		return false;
	__atomic_store_n(&r->slot[tail % RING_SLOTS], t, __ATOMIC_RELAXED);
	/* What the thread and its slot hold is seen by who sees the new tail. */
	__atomic_store_n(&r->tail, tail + 1, __ATOMIC_RELEASE);
	return true;
}

static struct nomux_thread *ring_take(struct ring *r)
{
	uint32_t head = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
	struct nomux_thread *t;

	do {
		if (head == r->tail)
			return NULL;
		/* The slot is not written again before head has passed it. */
		t = __atomic_load_n(&r->slot[head % RING_SLOTS], __ATOMIC_RELAXED);
	} while (!__atomic_compare_exchange_n(&r->head, &head, head + 1, false, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
	return t;
}

static bool ring_empty(const struct ring *r)
{
	return __atomic_load_n(&r->head, __ATOMIC_ACQUIRE) ==
	       __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
}

/* Half of a ring, to another core's; returns the first to run. */
static struct nomux_thread *ring_steal(struct ring *from, struct ring *to, unsigned int *nr)
{
	struct nomux_thread *batch[RING_SLOTS / 2];
	uint32_t head, n, i;

	head = __atomic_load_n(&from->head, __ATOMIC_ACQUIRE);
	do {
		n = __atomic_load_n(&from->tail, __ATOMIC_ACQUIRE) - head;
		n -= n / 2;
		if (!n || n > RING_SLOTS / 2)	/* the latter: head is an old one */
			return NULL;
		for (i = 0; i < n; i++)
			batch[i] = __atomic_load_n(&from->slot[(head + i) % RING_SLOTS],
						   __ATOMIC_RELAXED);
	} while (!__atomic_compare_exchange_n(&from->head, &head, head + n, false, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
	for (i = 1; i < n; i++)		/* ours is empty, or we would not steal */
		ring_push(to, batch[i]);
	*nr = n;
	return batch[0];
}

struct nomux_thread *nomux__group_take(struct sched *s)
{
	return ring_take(&s->ring);
}

/* --------------------------------------------------------------- waking --- */

static struct sched *worker_of(struct nomux_group *g, unsigned int i)
{
	return __atomic_load_n(&g->worker[i], __ATOMIC_ACQUIRE);
}

static unsigned int nr_slots(struct nomux_group *g)
{
	return __atomic_load_n(&g->nr_slots, __ATOMIC_ACQUIRE);
}

/* After a full barrier. */
static void kick_one(struct nomux_group *g, struct sched *self)
{
	unsigned int i, n;

	if (!__atomic_load_n(&g->nr_sleeping, __ATOMIC_RELAXED) ||
	    __atomic_load_n(&g->nr_searching, __ATOMIC_RELAXED))
		return;
	n = nr_slots(g);
	for (i = 0; i < n; i++) {
		struct sched *s = worker_of(g, i);

		if (s && nomux__kick(s)) {
			if (self)
				self->stats.kicks++;
			return;
		}
	}
}

static void kick_all(struct nomux_group *g)
{
	unsigned int i, n = nr_slots(g);

	for (i = 0; i < n; i++)
		if (worker_of(g, i))
			nomux__kick(worker_of(g, i));
}

static bool movable(const struct nomux_thread *t)
{
	return !t->started || (t->flags & NOMUX_THREAD_MIGRATE);
}

static void come_home(struct sched *s, struct work *w)
{
	nomux__push_list(s, (struct nomux_thread *)(void *)
			 ((char *)w - offsetof(struct nomux_thread, wake)));
}

/* s: this core's. */
void nomux__group_push(struct sched *s, struct nomux_thread *t)
{
	if (!movable(t)) {
		if (t->sched == s) {
			nomux__push_list(s, t);
		} else {
			struct sched *home = t->sched;

			t->wake.fn = come_home;
			nomux__inbox_push(&home->inbox, &t->wake);
			if (nomux__kick(home))
				s->stats.kicks++;
		}
		return;
	}
	if (!ring_push(&s->ring, t)) {
		nomux__push_list(s, t);	/* 256 others are to be had */
		return;
	}
	__atomic_fetch_or(&s->fence, 0, __ATOMIC_SEQ_CST);
	kick_one(s->group, s);	/* t may have ended by now */
}

/* Work for any core of the group, from anywhere. */
void nomux__group_post(struct nomux_group *g, struct work *w)
{
	struct sched *s = nomux__sched_tls;

	if (s && s->group == g) {
		nomux__inbox_push(&s->inbox, w);	/* we come by soon */
		return;
	}
	nomux__inbox_push(&g->inbox, w);
	kick_one(g, NULL);
}

static void come_in(struct sched *s, struct work *w)
{
	nomux__group_push(s, (struct nomux_thread *)(void *)
			  ((char *)w - offsetof(struct nomux_thread, wake)));
}

void nomux__group_thread_born(struct nomux_group *g, struct nomux_thread *t)
{
	struct sched *s = nomux__sched_tls;
	bool here = s->group == g;

	spin_lock(&g->lock);
	nomux__all_add(&g->all, t);
	__atomic_fetch_add(&g->alive, 1, __ATOMIC_RELAXED);
	if (!here) {
		t->wake.fn = come_in;
		nomux__inbox_push(&g->inbox, &t->wake);
	}
	spin_unlock(&g->lock);
	if (here)
		nomux__group_push(s, t);
	else
		kick_one(g, NULL);
}

void nomux__group_thread_gone(struct nomux_group *g, struct nomux_thread *t)
{
	bool last;

	spin_lock(&g->lock);
	nomux__all_del(t);
	last = __atomic_sub_fetch(&g->alive, 1, __ATOMIC_RELAXED) == 0;
	if (last)
		__atomic_store_n(&g->done, true, __ATOMIC_SEQ_CST);
	spin_unlock(&g->lock);
	if (last)
		kick_all(g);
}

/* ------------------------------------------------------------- searching --- */

static struct nomux_thread *steal(struct sched *s)
{
	struct nomux_group *g = s->group;
	unsigned int n = nr_slots(g), first = s->turn++, i, got = 0;

	for (i = 0; i < n; i++) {
		struct sched *victim = worker_of(g, (first + i) % n);
		struct nomux_thread *t;

		if (!victim || victim == s)
			continue;
		t = ring_steal(&victim->ring, &s->ring, &got);
		if (t) {
			s->stats.steals += got;
			return t;
		}
	}
	return NULL;
}

/* What this core can run now. */
static struct nomux_thread *look(struct sched *s)
{
	struct nomux_thread *t;

	nomux__serve(s);
	t = nomux__take_local(s);
	return t ? t : steal(s);
}

/* Work that any core may take. */
static bool work_to_have(struct nomux_group *g)
{
	unsigned int i, n = nr_slots(g);

	if (__atomic_load_n(&g->inbox, __ATOMIC_RELAXED))
		return true;
	for (i = 0; i < n; i++) {
		struct sched *s = worker_of(g, i);

		if (s && !ring_empty(&s->ring))
			return true;
	}
	return false;
}

static bool leaving(struct nomux_group *g)
{
	return __atomic_load_n(&g->done, __ATOMIC_ACQUIRE);
}

/* All cores sleep, or are about to, and none has stopped since @woken was read. */
static bool all_sleep(struct nomux_group *g, uint32_t woken)
{
	return __atomic_load_n(&g->nr_sleeping, __ATOMIC_SEQ_CST) == g->nr_inside &&
	       __atomic_load_n(&g->nr_woken, __ATOMIC_SEQ_CST) == woken;
}

/* The core runs again: before it takes any work, see check_deadlock(). */
static void count_awake(struct sched *s)
{
	__atomic_fetch_sub(&s->group->nr_sleeping, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&s->group->nr_woken, 1, __ATOMIC_SEQ_CST);
	s->counted_asleep = false;
}

/*
 * All cores are about to sleep, we last: is there anything that could end that?
 * The others' lists are empty, or they would not sleep; their heaps stand still.
 * One that is woken meanwhile takes its work out of sight, so whether there was
 * one is asked again at the end: who woke before @woken was read is seen to sleep
 * no more, or has gone to sleep again, and what it did is seen, too.
 *
 * True: a thread was told.  We are awake from then on, while the lock is held yet,
 * lest another core that comes here takes the next thread for one too many.
 */
static bool check_deadlock(struct sched *s)
{
	struct nomux_group *g = s->group;
	uint32_t woken = __atomic_load_n(&g->nr_woken, __ATOMIC_SEQ_CST);
	struct nomux_thread *t, *victim = NULL;
	unsigned int i;

	spin_lock(&g->lock);
	if (!all_sleep(g, woken) ||
	    __atomic_load_n(&g->external, __ATOMIC_SEQ_CST) || !g->alive || work_to_have(g))
		goto out;
	for (i = 0; i < g->nr_slots; i++)
		if (any_sleepers(g->worker[i]) ||
		    __atomic_load_n(&g->worker[i]->inbox, __ATOMIC_SEQ_CST))
			goto out;
	if (!all_sleep(g, woken))
		goto out;
	/* The youngest one: it stands first. */
	for (t = g->all; t && !victim; t = t->all_next)
		if (t->wait_kind != WAIT_NONE)
			victim = t;
	if (victim) {
		nomux__deadlock_report(g->all);
		count_awake(s);
	}
out:
	spin_unlock(&g->lock);
	if (victim && nomux__give_up(s, victim, -EDEADLK))
		nomux__ready(s, victim);
	return victim != NULL;
}

/* The core counts as sleeping: is there a reason not to? */
bool nomux__group_stay_awake(struct sched *s)
{
	struct nomux_group *g = s->group;

	if (work_to_have(g) || leaving(g))
		return true;
	return __atomic_load_n(&g->nr_sleeping, __ATOMIC_SEQ_CST) ==
	       __atomic_load_n(&g->nr_inside, __ATOMIC_RELAXED) && check_deadlock(s);
}

static void sleep_until_work(struct sched *s)
{
	struct nomux_group *g = s->group;

	s->counted_asleep = true;
	__atomic_fetch_add(&g->nr_sleeping, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_sub(&g->nr_searching, 1, __ATOMIC_SEQ_CST);
	nomux__idle(s);
	__atomic_fetch_add(&g->nr_searching, 1, __ATOMIC_SEQ_CST);
	if (s->counted_asleep)
		count_awake(s);
}

/*
 * Nothing here: look around, for a while with open eyes.  At first without saying
 * so: two threads that wake each other across cores would pass nr_searching to and
 * fro, which took a third of the wake-up.
 */
static struct nomux_thread *search(struct sched *s)
{
	struct nomux_group *g = s->group;
	struct nomux_thread *t = NULL;
	uint64_t until;
	unsigned int i;

	for (i = 0; i < ALERT_LOOKS && !leaving(g); i++) {
		__builtin_ia32_pause();
		t = look(s);
		if (t)
			return t;
	}
	until = nomux_now_ns() + g->spin_ns;
	__atomic_fetch_add(&g->nr_searching, 1, __ATOMIC_SEQ_CST);
	while (!leaving(g)) {
		t = look(s);
		if (t)
			break;
		if (nomux_now_ns() < until) {
			__builtin_ia32_pause();
			continue;
		}
		sleep_until_work(s);
		until = nomux_now_ns() + g->spin_ns;
	}
	if (!__atomic_sub_fetch(&g->nr_searching, 1, __ATOMIC_SEQ_CST) && t && work_to_have(g))
		kick_one(g, s);
	return t;
}

/* ----------------------------------------------------- coming and leaving --- */

static int join_group(struct nomux_group *g, struct sched *s)
{
	unsigned int i;
	uint32_t round;
	bool empty;

	for (;;) {
		spin_lock(&g->lock);
		if (!g->done)
			break;
		round = g->round;
		spin_unlock(&g->lock);
		nomux__syscall5(SYS_futex, (long)(uintptr_t)&g->round, FUTEX_WAIT_PRIVATE, round, 0, 0);
	}
	for (i = 0; i < NOMUX_GROUP_CORES && g->worker[i]; i++)
		;
	empty = !g->alive;	/* once unlocked, a thread may be born */
	if (empty || i == NOMUX_GROUP_CORES) {
		spin_unlock(&g->lock);
		return empty ? 1 : -EBUSY;
	}
	s->group = g;
	__atomic_store_n(&g->worker[i], s, __ATOMIC_RELEASE);
	if (i == g->nr_slots)
		__atomic_store_n(&g->nr_slots, i + 1, __ATOMIC_RELEASE);
	__atomic_store_n(&g->nr_inside, g->nr_inside + 1, __ATOMIC_RELAXED);
	spin_unlock(&g->lock);
	return 0;
}

/* Nobody goes before all do: others may look at what is ours. */
static void leave_group(struct nomux_group *g, struct sched *s)
{
	uint32_t round;
	unsigned int i;

	spin_lock(&g->lock);
	round = g->round;
	__atomic_store_n(&g->nr_inside, g->nr_inside - 1, __ATOMIC_RELAXED);
	if (!g->nr_inside) {
		for (i = 0; i < g->nr_slots; i++)
			__atomic_store_n(&g->worker[i], NULL, __ATOMIC_RELAXED);
		__atomic_store_n(&g->nr_slots, 0, __ATOMIC_RELEASE);
		__atomic_store_n(&g->done, false, __ATOMIC_RELAXED);
		__atomic_store_n(&g->round, round + 1, __ATOMIC_SEQ_CST);
		nomux__syscall3(SYS_futex, (long)(uintptr_t)&g->round, FUTEX_WAKE_PRIVATE, INT32_MAX);
	}
	spin_unlock(&g->lock);
	while (__atomic_load_n(&g->round, __ATOMIC_ACQUIRE) == round)
		nomux__syscall5(SYS_futex, (long)(uintptr_t)&g->round, FUTEX_WAIT_PRIVATE, round, 0, 0);
	s->group = NULL;
}

int nomux_group_run(struct nomux_group *g)
{
	struct sched *s = nomux__sched();
	struct nomux_thread *t;
	int err;

	if (!g)
		return -EINVAL;
	if (!s)
		return -ENOMEM;
	if (s->group || s->current != &s->main || s->nr_threads)
		return -EBUSY;
	err = join_group(g, s);
	if (err)
		return err < 0 ? err : 0;
	nomux__enter(s);
	nomux__quantum_begin(s);
	while (!leaving(g)) {
		t = look(s);
		if (!t) {
			nomux__quantum_end(s);
			t = search(s);
			nomux__quantum_begin(s);
		}
		if (t)
			nomux__switch_to(s, t);
	}
	nomux__quantum_end(s);
	leave_group(g, s);
	nomux__leave(&s->main);
	return 0;
}
