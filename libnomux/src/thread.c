// SPDX-License-Identifier: MIT
/*
 * Cooperative user threads.
 *
 * A kernel thread's scheduler is a run queue and a list of sleepers, found
 * through a thread-local pointer.  Whoever gives the core up picks the next
 * thread itself and switches to it directly: there is no scheduler thread.  A
 * thread that ends cannot free the stack it stands on; nomux_join() does.
 *
 * Deadlock: when somebody is about to block, nobody is ready and nobody
 * sleeps, then no one can ever become ready, as only threads wake threads.
 */
#include <nomux/thread.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <syslog.h>
#include <time.h>

#include <nomux/clock.h>
#include <nomux/log.h>

#include "internal.h"
#include "thread_internal.h"

#define STACK_DEFAULT	(64UL << 10)
#define STACK_MIN	(16UL << 10)
#define STACK_MAX	(1UL << 30)
#define GUARD_BYTES	NOMUX_PAGE_BYTES

void nomux__switch(void **save_sp, void *load_sp);
extern const char nomux__thread_start[];

static __thread struct sched *sched;

#ifdef __SANITIZE_ADDRESS__
/* AddressSanitizer keeps shadow state per stack and must hear of switches. */
void __sanitizer_start_switch_fiber(void **fake_save, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake, const void **bottom_old, size_t *size_old);

static void san_leave(struct nomux_thread *from, const struct nomux_thread *to)
{
	__sanitizer_start_switch_fiber(from->state == THREAD_DONE ? NULL : &from->fake_stack,
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
#else
static void san_leave(struct nomux_thread *from, const struct nomux_thread *to) { }
static void san_arrive(struct nomux_thread *self, struct nomux_thread *from) { }
#endif

/* Who was switched away from last; for the sanitizer's sake only. */
static __thread struct nomux_thread *switched_from;

static void all_add(struct sched *s, struct nomux_thread *t)
{
	t->all_next = s->all;
	t->all_link = &s->all;
	if (s->all)
		s->all->all_link = &t->all_next;
	s->all = t;
}

static void all_del(struct nomux_thread *t)
{
	*t->all_link = t->all_next;
	if (t->all_next)
		t->all_next->all_link = t->all_link;
}

static pthread_key_t sched_key;
static pthread_once_t sched_once = PTHREAD_ONCE_INIT;

static void sched_make_key(void)
{
	pthread_key_create(&sched_key, free);	/* without a key: a leak per kernel thread */
}

struct sched *nomux__sched(void)
{
	struct sched *s = sched;

	if (s)
		return s;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	nomux_clock_init();
	snprintf(s->main.name, sizeof(s->main.name), "main");
	s->main.sched = s;
	s->main.state = THREAD_RUNNING;
	s->current = &s->main;
	all_add(s, &s->main);
	pthread_once(&sched_once, sched_make_key);
	pthread_setspecific(sched_key, s);
	sched = s;
	return s;
}

struct nomux_thread *nomux_self(void)
{
	struct sched *s = nomux__sched();

	return s ? s->current : NULL;
}

const char *nomux_thread_name(const struct nomux_thread *t)
{
	return t->name;
}

void nomux__ready(struct nomux_thread *t)
{
	struct sched *s = t->sched;

	t->state = THREAD_READY;
	t->wait_on = NULL;
	t->next = NULL;
	if (s->tail)
		s->tail->next = t;
	else
		s->head = t;
	s->tail = t;
}

static struct nomux_thread *take_ready(struct sched *s)
{
	struct nomux_thread *t = s->head;

	if (!t)
		return NULL;
	s->head = t->next;
	if (!s->head)
		s->tail = NULL;
	return t;
}

/* Move sleepers whose time has come to the run queue. */
static void wake_sleepers(struct sched *s)
{
	struct nomux_thread *t;
	uint64_t now;

	if (!s->sleepers)
		return;
	now = nomux_now_ns();
	while ((t = s->sleepers) && t->wake_ns <= now) {
		s->sleepers = t->next;
		t->wait_err = 0;
		nomux__ready(t);
	}
}

/* Nothing to run until wake_ns: let the core sleep. */
static void idle_until(uint64_t wake_ns)
{
	struct nomux_core *core = nomux_core_current();
	uint64_t now = nomux_now_ns(), ns;
	struct timespec ts;

	if (wake_ns <= now)
		return;
	ns = wake_ns - now;
	if (core) {
		nomux_wait(core, ns);
		return;
	}
	ts.tv_sec = (time_t)(ns / 1000000000ULL);
	ts.tv_nsec = (long)(ns % 1000000000ULL);
	nanosleep(&ts, NULL);
}

static void switch_to(struct nomux_thread *next)
{
	struct sched *s = next->sched;
	struct nomux_thread *self = s->current;

	next->state = THREAD_RUNNING;
	if (next == self)
		return;
	s->current = next;
	switched_from = self;
	san_leave(self, next);
	nomux__switch(&self->sp, next->sp);
	san_arrive(self, switched_from);	/* back again, some time later */
}

/* The next thread to run, or NULL when there can never be one. */
static struct nomux_thread *pick(struct sched *s)
{
	struct nomux_thread *t;

	for (;;) {
		wake_sleepers(s);
		t = take_ready(s);
		if (t || !s->sleepers)
			return t;
		idle_until(s->sleepers->wake_ns);
	}
}

static const char *waits_for(const struct nomux_thread *t)
{
	const struct nomux_mutex *m = t->wait_on;

	if (t->state == THREAD_JOINING)
		return ((const struct nomux_thread *)t->wait_on)->name;
	return m->owner ? m->owner->name : "nobody";
}

static void report_deadlock(const struct sched *s)
{
	const struct nomux_thread *t;

	nomux_log(LOG_ERR, "nomux: deadlock, every user thread waits for another:");
	for (t = s->all; t; t = t->all_next)
		if (t->state == THREAD_JOINING || t->state == THREAD_LOCKING)
			nomux_log(LOG_ERR, "nomux:   %s=%p waits for %s of %s", t->name,
				  (const void *)t,
				  t->state == THREAD_JOINING ? "the end" : "a mutex",
				  waits_for(t));
}

/* A blocked thread shall not wait any longer: undo what it queued for. */
static void give_up(struct nomux_thread *t)
{
	if (t->state == THREAD_LOCKING)
		nomux__mutex_forget(t->wait_on, t);
	else if (t->state == THREAD_JOINING)
		((struct nomux_thread *)t->wait_on)->joiner = NULL;
	t->wait_on = NULL;
	t->wait_err = -EDEADLK;
}

int nomux__block(struct nomux_thread *self)
{
	struct nomux_thread *next = pick(self->sched);

	self->wait_err = 0;
	if (!next) {
		report_deadlock(self->sched);
		give_up(self);
		self->state = THREAD_RUNNING;
		return -EDEADLK;
	}
	switch_to(next);
	return self->wait_err;
}

/* First function on a new stack. */
static void thread_main(void *arg)
{
	struct nomux_thread *self = arg, *next;
	struct sched *s = self->sched;

	san_arrive(self, switched_from);
	self->fn(self->arg);
	self->state = THREAD_DONE;
	if (self->joiner) {
		self->joiner->wait_err = 0;
		nomux__ready(self->joiner);
	}
	next = pick(s);
	if (!next) {
		/* All others are blocked: the kernel thread's own is told. */
		report_deadlock(s);
		give_up(&s->main);
		next = &s->main;
	}
	switch_to(next);
	__builtin_trap();		/* nobody switches to a thread that is done */
}

static int stack_map(struct nomux_thread *t, size_t bytes)
{
	char *p;

	p = mmap(NULL, bytes + GUARD_BYTES, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	if (mprotect(p, GUARD_BYTES, PROT_NONE)) {
		munmap(p, bytes + GUARD_BYTES);
		return -ENOMEM;
	}
	t->stack = p;
	t->stack_bytes = bytes + GUARD_BYTES;
	t->san_bottom = p + GUARD_BYTES;
	t->san_bytes = bytes;
	return 0;
}

/* What nomux__switch() pops: r15 r14 r13 r12 rbx rbp, and the return address. */
static void stack_prepare(struct nomux_thread *t)
{
	uint64_t *sp = (uint64_t *)(void *)(t->stack + t->stack_bytes);

	*--sp = 0;			/* alignment: %rsp % 16 == 0 at thread_start */
	*--sp = 0;
	*--sp = (uintptr_t)nomux__thread_start;
	*--sp = 0;			/* rbp: end of frame-pointer chains */
	*--sp = (uintptr_t)thread_main;	/* rbx */
	*--sp = (uintptr_t)t;		/* r12 */
	*--sp = 0;
	*--sp = 0;
	*--sp = 0;
	t->sp = sp;
}

static int opts_read(const struct nomux_thread_opts *in, struct nomux_thread_opts *out)
{
	*out = (struct nomux_thread_opts){ .sz = sizeof(*out) };
	if (in) {
		if (in->sz < offsetof(struct nomux_thread_opts, name) || in->sz > 4096)
			return -EINVAL;
		memcpy(out, in, in->sz < sizeof(*out) ? in->sz : sizeof(*out));
	}
	if (!out->stack_bytes)
		out->stack_bytes = STACK_DEFAULT;
	if (out->stack_bytes < STACK_MIN || out->stack_bytes > STACK_MAX)
		return -EINVAL;
	out->stack_bytes = ALIGN_UP(out->stack_bytes, NOMUX_PAGE_BYTES);
	return 0;
}

int nomux_thread_create(void (*fn)(void *), void *arg, const struct nomux_thread_opts *opts,
			struct nomux_thread **out)
{
	struct nomux_thread_opts o;
	struct nomux_thread *t;
	struct sched *s;
	int err;

	if (!fn || !out)
		return -EINVAL;
	err = opts_read(opts, &o);
	if (err)
		return err;
	s = nomux__sched();
	t = calloc(1, sizeof(*t));
	if (!s || !t) {
		free(t);
		return -ENOMEM;
	}
	err = stack_map(t, o.stack_bytes);
	if (err) {
		free(t);
		return err;
	}
	snprintf(t->name, sizeof(t->name), "%s", o.name ? o.name : "thread");
	t->fn = fn;
	t->arg = arg;
	t->sched = s;
	stack_prepare(t);
	all_add(s, t);
	nomux__ready(t);
	*out = t;
	return 0;
}

void nomux_yield(void)
{
	struct sched *s = nomux__sched();

	if (!s)
		return;
	wake_sleepers(s);
	if (!s->head)
		return;
	nomux__ready(s->current);
	switch_to(take_ready(s));
}

int nomux_join(struct nomux_thread *t)
{
	struct nomux_thread *self = nomux_self();
	int err;

	if (!t || !self || t->sched != self->sched || t == &t->sched->main)
		return -EINVAL;
	if (t == self)
		return -EDEADLK;
	if (t->joiner)
		return -EINVAL;
	if (t->state != THREAD_DONE) {
		t->joiner = self;
		self->state = THREAD_JOINING;
		self->wait_on = t;
		err = nomux__block(self);
		if (err)
			return err;
	}
	all_del(t);
	munmap(t->stack, t->stack_bytes);
	free(t);
	return 0;
}

void nomux_sleep_ns(uint64_t ns)
{
	struct nomux_thread *self = nomux_self(), **p;

	if (!ns || !self) {
		nomux_yield();
		return;
	}
	self->wake_ns = nomux_now_ns() + ns;
	if (self->wake_ns < ns)
		self->wake_ns = UINT64_MAX;
	for (p = &self->sched->sleepers; *p && (*p)->wake_ns <= self->wake_ns; p = &(*p)->next)
		;
	self->next = *p;
	*p = self;
	self->state = THREAD_SLEEPING;
	nomux__block(self);
}
