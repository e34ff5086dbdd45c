// SPDX-License-Identifier: MIT
/*
 * The scheduler: run queues, switching, what comes from outside, sleep.
 *
 * A kernel thread's scheduler is found through a thread-local pointer.  Whoever
 * gives the core up picks the next thread itself and switches to it directly:
 * there is no scheduler thread.  In a group a core that finds nothing switches to
 * the kernel thread's own context, nomux_group_run(), which looks further: a
 * thread that other cores may start must not stand on its stack meanwhile.
 *
 * Deadlock: when somebody is about to block, nobody is ready, nobody sleeps and
 * nobody waits for something from outside, then no one can ever become ready.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <unistd.h>

#include <nomux/clock.h>
#include <nomux/log.h>

#include "thread_internal.h"

/* How long to sleep when nothing can end the sleep. */
#define BLIND_NAP_NS	1000000

void nomux__switch(void **save_sp, void *load_sp);

__thread struct sched *nomux__sched_tls __attribute__((tls_model("initial-exec")));

/* ---------------------------------------------------------- sanitizers --- */

#if defined(__SANITIZE_ADDRESS__)
/* AddressSanitizer keeps shadow state per stack and must hear of switches. */
void __sanitizer_start_switch_fiber(void **fake_save, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake, const void **bottom_old, size_t *size_old);

static void san_leave(struct sched *s, struct nomux_thread *from, const struct nomux_thread *to)
{
	__sanitizer_start_switch_fiber(s->after == AFTER_EXIT ? NULL : &from->fake_stack,
				       to->san_bottom, to->san_bytes);
}

/* Runs on the new stack; tells what the stack left behind was, if new to us. */
static void san_arrive(struct nomux_thread *self, struct nomux_thread *from)
{
	const void *bottom;
	size_t bytes;

	__sanitizer_finish_switch_fiber(self->fake_stack, &bottom, &bytes);
	if (from && !from->san_bottom) {
		from->san_bottom = bottom;
		from->san_bytes = bytes;
	}
}
#elif defined(__SANITIZE_THREAD__)
void *__tsan_get_current_fiber(void);
void __tsan_switch_to_fiber(void *fiber, unsigned int flags);

static void san_leave(struct sched *s, struct nomux_thread *from, const struct nomux_thread *to)
{
	if (!from->tsan_fiber)
		from->tsan_fiber = __tsan_get_current_fiber();
	__tsan_switch_to_fiber(to->tsan_fiber, 0);
}

static void san_arrive(struct nomux_thread *self, struct nomux_thread *from) { }
#else
static void san_leave(struct sched *s, struct nomux_thread *from, const struct nomux_thread *to) { }
static void san_arrive(struct nomux_thread *self, struct nomux_thread *from) { }
#endif

/* ---------------------------------------------------- a kernel thread's --- */

static pthread_key_t sched_key;
static int sched_key_err;
static pthread_once_t sched_once = PTHREAD_ONCE_INIT;

static struct sched *unused;
static uint32_t unused_lock;

/*
 * The kernel thread ends.  Somebody who sent it work may be about to look whether
 * it sleeps: so the memory stays a scheduler's, and its eventfd open.
 */
static void sched_put(void *arg)
{
	struct sched *s = arg;

	nomux__stall_unregister(s);
	nomux__stacks_drain(s);
	free(s->quantum);
	nomux__sched_tls = NULL;
	spin_lock(&unused_lock);
	s->next_sched = unused;
	unused = s;
	spin_unlock(&unused_lock);
}

/* All of it, or what is used again: all but what such a late kick reads. */
static void sched_clear(struct sched *s, bool again)
{
	size_t from = offsetof(struct sched, asleep), to = offsetof(struct sched, kick_core);

	if (again) {
		memset(s, 0, from);
		memset((char *)s + to, 0, sizeof(*s) - to);
		return;
	}
	memset(s, 0, sizeof(*s));
	s->kick_fd = -1;
}

static struct sched *sched_get(void)
{
	struct sched *s;
	bool again;

	spin_lock(&unused_lock);
	s = unused;
	if (s)
		unused = s->next_sched;
	spin_unlock(&unused_lock);
	again = s != NULL;
	if (!again)
		s = aligned_alloc(64, ALIGN_UP(sizeof(*s), 64UL));
	if (s)
		sched_clear(s, again);
	return s;
}

static void sched_make_key(void)
{
	nomux__preempt_init();
	sched_key_err = pthread_key_create(&sched_key, sched_put);
}

struct sched *nomux__sched_make(void)
{
	struct sched *s;

	pthread_once(&sched_once, sched_make_key);
	if (sched_key_err)
		return NULL;
	s = sched_get();
	if (!s)
		return NULL;
	if (pthread_setspecific(sched_key, s)) {
		sched_put(s);
		return NULL;
	}
	nomux_clock_init();
	memcpy(s->main.name, "main", 5);
	s->main.sched = s;
	s->main.domain = s;
	s->main.started = true;
	s->main.magic = THREAD_MAGIC;
	s->current = &s->main;
	s->own_fsbase = (uintptr_t)__builtin_thread_pointer();
	s->armed_ns = UINT64_MAX;
	s->tid = (int)nomux__syscall3(SYS_gettid, 0, 0, 0);
	nomux__all_add(&s->all, &s->main);
	nomux__stall_register(s);
	nomux__sched_tls = s;
	return s;
}

struct nomux_thread *nomux_self(void)
{
	struct sched *s = nomux__sched();

	return s ? s->current : NULL;
}

int nomux_thread_stats(struct nomux_thread_stats *out)
{
	struct sched *s = nomux__sched();
	size_t sz;

	if (!out || out->sz < sizeof(out->sz) || out->sz > 4096)
		return -EINVAL;
	if (!s)
		return -ENOMEM;
	sz = out->sz;
	s->stats.switches = s->switches;
	s->stats.sz = sz;
	memcpy(out, &s->stats, sz < sizeof(s->stats) ? sz : sizeof(s->stats));
	return 0;
}

/* A lock's holder that was itself descheduled needs a core, perhaps ours. */
void nomux__spin_slow(uint32_t *lock)
{
	unsigned int n = 0;

	do {
		while (__atomic_load_n(lock, __ATOMIC_RELAXED)) {
			__builtin_ia32_pause();
			if (++n % 1024 == 0)
				nomux__syscall3(SYS_sched_yield, 0, 0, 0);
		}
	} while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE));
}

/* --------------------------------------------------------- ready queues --- */

void nomux__push_list(struct sched *s, struct nomux_thread *t)
{
	t->next = NULL;
	if (s->tail)
		s->tail->next = t;
	else
		s->head = t;
	s->tail = t;
}

static struct nomux_thread *take_list(struct sched *s)
{
	struct nomux_thread *t = s->head;

	if (!t)
		return NULL;
	s->head = t->next;
	if (!s->head)
		s->tail = NULL;
	return t;
}

void nomux__ready(struct sched *s, struct nomux_thread *t)
{
	if (!t->group)
		nomux__push_list(s, t);
	else
		nomux__group_push(s, t);
}

void nomux__ready_chain(struct sched *s, struct nomux_thread *t)
{
	struct nomux_thread *next;

	for (; t; t = next) {
		next = t->next;
		nomux__ready(s, t);
	}
}

/* What this core has; a group's list and ring take turns. */
struct nomux_thread *nomux__take_local(struct sched *s)
{
	struct nomux_thread *t;

	if (!s->group)
		return take_list(s);
	if (s->turn++ & 1) {
		t = take_list(s);
		return t ? t : nomux__group_take(s);
	}
	t = nomux__group_take(s);
	return t ? t : take_list(s);
}

/* ------------------------------------------------------------ switching --- */

/* What is left to do for the thread that was here before. */
static void after_switch(struct sched *s)
{
	struct nomux_thread *from = s->from;
	enum after after = s->after;

	s->after = AFTER_NOTHING;
	switch (after) {
	case AFTER_NOTHING:
		break;
	case AFTER_UNLOCK:
		spin_unlock(s->after_lock);
		break;
	case AFTER_REQUEUE:
		nomux__ready(s, from);
		break;
	case AFTER_EXIT:
		nomux__thread_finish(s, from);
		break;
	}
}

void nomux__arrive(struct nomux_thread *self)
{
	struct sched *s = self->sched;	/* written by who switched to us: this core's */

	san_arrive(self, s->from);
	if (s->after != AFTER_NOTHING)
		after_switch(s);
}

void nomux__switch_to(struct sched *s, struct nomux_thread *next)
{
	struct nomux_thread *self = s->current;

	next->sched = s;
	s->current = next;
	s->from = self;
	__atomic_store_n(&s->switches, s->switches + 1, __ATOMIC_RELAXED);
	san_leave(s, self, next);
	if (next->fsbase != s->fsbase)
		nomux__fs_switch(s, next);
	nomux__switch(&self->sp, next->sp);
	nomux__arrive(self);		/* back again, some time later, perhaps elsewhere */
}

/* Busy.  Pinned: not to be stolen, its registers may hold addresses of this core's data. */
void nomux__yield_busy(struct nomux_thread *self, bool pinned)
{
	struct sched *s = self->sched;
	struct nomux_thread *next;

	nomux__serve(s);
	if (!s->group) {
		if (!s->head)
			return;
		nomux__push_list(s, self);
		nomux__switch_to(s, take_list(s));
		return;
	}
	next = nomux__take_local(s);
	if (!next)
		return;
	if (pinned)
		nomux__push_list(s, self);	/* nobody else looks there */
	else
		s->after = AFTER_REQUEUE;
	nomux__switch_to(s, next);
}

void nomux_yield(void)
{
	struct sched *s = nomux__sched();
	struct nomux_thread *self;

	if (!s)
		return;
	self = s->current;
	nomux__enter(s);
	nomux__yield_busy(self, false);
	nomux__leave(self);
}

/* What handlers left to do while the scheduler was busy. */
void nomux__notes(struct nomux_thread *self)
{
	struct sched *s = self->sched;

	if (s->timers_due) {
		nomux__enter(s);
		s->timers_due = false;
		nomux__timers_run(s);
		nomux__leave(self);
	} else if (s->resched && !self->no_preempt) {
		nomux__enter(s);
		s->resched = false;
		nomux__yield_busy(self, false);
		nomux__leave(self);
	}
}

/* ---------------------------------------------------- from outside, idle --- */

void nomux__inbox_push(struct work **inbox, struct work *w)
{
	w->next = NULL;			/* a guess, without fetching the line to read it first */
	while (!__atomic_compare_exchange_n(inbox, &w->next, w, true, __ATOMIC_SEQ_CST,
					    __ATOMIC_RELAXED))
		;
}

void nomux__post_work(struct sched *s, struct work *w)
{
	nomux__inbox_push(&s->inbox, w);
	nomux__kick(s);
}

/* Oldest first: the order in which it was pushed. */
static void run_inbox(struct sched *s, struct work **inbox)
{
	struct work *w = __atomic_exchange_n(inbox, NULL, __ATOMIC_ACQUIRE), *rev = NULL, *next;

	for (; w; w = next) {
		will_write(w);
		next = w->next;
		w->next = rev;
		rev = w;
	}
	for (; rev; rev = next) {
		next = rev->next;	/* fn may give the memory away */
		rev->fn(s, rev);
	}
}

void nomux__serve(struct sched *s)
{
	if (__atomic_load_n(&s->inbox, __ATOMIC_RELAXED))
		run_inbox(s, &s->inbox);
	if (s->group && __atomic_load_n(&s->group->inbox, __ATOMIC_RELAXED))
		run_inbox(s, &s->group->inbox);
	if (any_sleepers(s))
		nomux__expire(s);
	if (nomux__heap_first_ns(&s->timers) != UINT64_MAX && !s->timer_core)	/* else an upcall sees to them */
		nomux__timers_run(s);
}

static uint64_t next_deadline(const struct sched *s)
{
	uint64_t a = nomux__heap_first_ns(&s->sleepers), b;

	b = s->timer_core ? UINT64_MAX : nomux__heap_first_ns(&s->timers);
	return a < b ? a : b;
}

static void futex_wait(uint32_t *word, uint32_t value, uint64_t ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(ns / 1000000000ULL), .tv_nsec = (long)(ns % 1000000000ULL),
	};

	nomux__syscall5(SYS_futex, (long)(uintptr_t)word, FUTEX_WAIT_PRIVATE, value,
			ns == UINT64_MAX ? 0 : (long)(uintptr_t)&ts, 0);
}

/* The event only ends nomux_wait(). */
static void on_kick(unsigned int event, uint64_t count, void *arg) { }

/*
 * A core asleep in nomux_wait() is woken by an event; any thread can post it
 * through an eventfd.
 */
int nomux__kick_prepare(struct sched *s)
{
	struct nomux_core *core = nomux_core_current();
	int event, err;

	if (!core || s->kick_core == nomux_core_handle(core))
		return 0;
	if (s->kick_fd < 0)
		s->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->kick_fd < 0)
		return -errno;
	event = nomux_event_alloc(core);
	if (event < 0)
		return event;
	nomux_on_event(core, (unsigned int)event, on_kick, s);
	err = nomux_event_bind(core, (unsigned int)event, s->kick_fd);
	if (err) {
		nomux_event_free(core, (unsigned int)event);
		return err;
	}
	s->kick_event = (unsigned int)event;
	s->kick_core = nomux_core_handle(core);
	return 0;
}

/*
 * Order: asleep is stored, then what there may be to do is read; who makes work
 * writes that and then reads asleep.  Both have a full barrier in between (here
 * the exchange, there a locked instruction), so one of them sees the other.
 */
static bool sleep_begins(struct sched *s, enum asleep how)
{
	__atomic_exchange_n(&s->asleep, how, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&s->inbox, __ATOMIC_RELAXED) &&
	    !(s->group && nomux__group_stay_awake(s)))
		return true;
	__atomic_store_n(&s->asleep, AWAKE, __ATOMIC_RELAXED);
	return false;
}

static void idle_on_core(struct sched *s, struct nomux_core *core, uint64_t ns)
{
	bool was_masked = nomux_masked(core);
	int err = nomux__kick_prepare(s);

	if (err && ns > BLIND_NAP_NS) {
		nomux_log(LOG_WARNING, "nomux: no event to wake the core by, it looks every ms, "
			  "cpu=%d: %s", nomux_core_cpu(core), strerror(-err));
		ns = BLIND_NAP_NS;
	}
	nomux_mask(core);
	if (sleep_begins(s, ASLEEP_CORE) && !s->timers_due)
		nomux_wait(core, ns);
	__atomic_store_n(&s->asleep, AWAKE, __ATOMIC_RELAXED);
	if (!was_masked)
		nomux_unmask(core);
	if (s->timers_due) {
		s->timers_due = false;
		nomux__timers_run(s);
	}
}

void nomux__idle(struct sched *s)
{
	struct nomux_core *core = nomux_core_current();
	uint64_t now = nomux_now_ns(), until = next_deadline(s), ns;

	if (until <= now)
		return;
	ns = until == UINT64_MAX ? UINT64_MAX : until - now;
	s->stats.idles++;
	if (core) {
		idle_on_core(s, core, ns);
		return;
	}
	if (sleep_begins(s, ASLEEP_FUTEX))
		futex_wait(&s->asleep, ASLEEP_FUTEX, ns);
	__atomic_store_n(&s->asleep, AWAKE, __ATOMIC_RELAXED);
}

bool nomux__kick(struct sched *s)
{
	static const uint64_t one = 1;
	enum asleep how;

	if (__atomic_load_n(&s->asleep, __ATOMIC_RELAXED) == AWAKE || s == nomux__sched_tls)
		return false;
	how = __atomic_exchange_n(&s->asleep, AWAKE, __ATOMIC_SEQ_CST);
	if (how == ASLEEP_FUTEX)
		nomux__syscall3(SYS_futex, (long)(uintptr_t)&s->asleep, FUTEX_WAKE_PRIVATE, 1);
	else if (how == ASLEEP_CORE)
		nomux__syscall3(SYS_write, s->kick_fd, (long)(uintptr_t)&one, sizeof(one));
	return how != AWAKE;
}

static struct nomux_thread *pick_private(struct sched *s)
{
	struct nomux_thread *t;

	for (;;) {
		nomux__serve(s);
		t = take_list(s);
		if (t)
			return t;
		if (!any_sleepers(s) && !s->external)
			return NULL;
		nomux__quantum_end(s);
		nomux__idle(s);
		nomux__quantum_begin(s);
	}
}

/*
 * In a group the caller still stands on its stack and holds the lock of what it
 * waits for: it must not run work, which may want that lock or start the caller.
 */
static struct nomux_thread *pick_group(struct sched *s)
{
	struct nomux_thread *t;

	if (__atomic_load_n(&s->inbox, __ATOMIC_RELAXED) ||
	    __atomic_load_n(&s->group->inbox, __ATOMIC_RELAXED) ||
	    (any_sleepers(s) && nomux__heap_first_ns(&s->sleepers) <= nomux_now_ns()))
		return &s->main;
	t = nomux__take_local(s);
	return t ? t : &s->main;
}

struct nomux_thread *nomux__pick(struct sched *s, const struct nomux_thread *self)
{
	return s->group ? pick_group(s) : pick_private(s);
}
