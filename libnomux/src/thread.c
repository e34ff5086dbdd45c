// SPDX-License-Identifier: MIT
/*
 * The life of a user thread: made, started, ended, joined or detached, freed.
 *
 * A thread that ends cannot free the stack it stands on, nor may anybody else
 * before it has left it: that it is done is said by whoever runs next on its
 * core (sched.after, nomux__thread_finish()).
 */
#include <errno.h>

#include "stack.h"
#include "thread_internal.h"

extern const char nomux__thread_start[];

#define FLAGS_KNOWN (NOMUX_THREAD_MIGRATE | NOMUX_THREAD_OWN_TLS | NOMUX_THREAD_DETACHED)

#ifdef __SANITIZE_THREAD__
void *__tsan_create_fiber(unsigned int flags);
void __tsan_destroy_fiber(void *fiber);
#define san_create(t)	((t)->tsan_fiber = __tsan_create_fiber(0))
#define san_destroy(t)	__tsan_destroy_fiber((t)->tsan_fiber)
#else
#define san_create(t)	do { } while (0)
#define san_destroy(t)	do { } while (0)
#endif

void nomux__all_add(struct nomux_thread **all, struct nomux_thread *t)
{
	t->all_next = *all;
	t->all_link = all;
	if (*all)
		(*all)->all_link = &t->all_next;
	*all = t;
}

void nomux__all_del(struct nomux_thread *t)
{
	*t->all_link = t->all_next;
	if (t->all_next)
		t->all_next->all_link = t->all_link;
}

const char *nomux_thread_name(const struct nomux_thread *t)
{
	return t->name;
}

/* It is done and nobody waits for it any more. */
static void thread_free(struct sched *s, struct nomux_thread *t)
{
	san_destroy(t);
	if (!t->group) {
		nomux__all_del(t);
		t->sched->nr_threads--;
	}
	nomux__stack_put(s, t);
}

/* Off its stack: who waits for the end may have it. */
void nomux__thread_finish(struct sched *s, struct nomux_thread *t)
{
	struct nomux_group *g = t->group;
	struct nomux_thread *joiner;
	bool detached;

	if (t->own_tls)
		nomux__own_tls_put(t);
	if (g)
		nomux__group_thread_gone(g, t);
	q_lock(&t->joinq, t);
	t->done = true;
	detached = t->detached;
	joiner = nomux__q_pop(&t->joinq);
	if (g)
		spin_unlock(&t->joinq.lock);	/* the last access, unless detached */
	if (joiner)
		nomux__ready(s, joiner);
	if (detached)
		thread_free(s, t);
}

void nomux__thread_exit(struct nomux_thread *self)
{
	struct sched *s;
	struct nomux_thread *next;

	if (self->tls_set)
		nomux__tls_end(self);	/* calls back; may switch */
	s = self->sched;
	nomux__enter(s);
	/* A joiner of ours is the natural next one, and perhaps the only one. */
	if (!s->group && self->joinq.head)
		nomux__ready(s, nomux__q_pop(&self->joinq));
	next = nomux__pick(s, self);
	if (!next) {
		/* All others are blocked: the kernel thread's own is told. */
		nomux__deadlock_report(s->all);
		nomux__give_up(s, &s->main, -EDEADLK);
		next = &s->main;
	}
	s->after = AFTER_EXIT;
	nomux__switch_to(s, next);
	__builtin_trap();		/* nobody switches to a thread that is done */
}

/* First function on a new stack. */
static void thread_main(void *arg)
{
	struct nomux_thread *self = arg;

	nomux__arrive(self);
	self->started = true;
	nomux__leave(self);
	self->fn(self->arg);
	nomux__thread_exit(self);
}

/* What nomux__switch() pops: r15 r14 r13 r12 rbx rbp, and the return address. */
static void stack_prepare(struct nomux_thread *t)
{
	uint64_t *sp = (uint64_t *)(void *)t;

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
	if (out->flags & ~FLAGS_KNOWN)
		return -EOPNOTSUPP;
	if (!out->stack_bytes)
		out->stack_bytes = STACK_DEFAULT;
	if (out->stack_bytes < STACK_MIN || out->stack_bytes > STACK_MAX)
		return -EINVAL;
	out->stack_bytes = ALIGN_UP(out->stack_bytes, NOMUX_PAGE_BYTES);
	return 0;
}

static void thread_init(struct nomux_thread *t, const struct nomux_thread_opts *o, struct sched *s,
			struct nomux_group *g)
{
	const char *name = o->name ? o->name : "thread";
	size_t i;

	/* Memory of an earlier thread, perhaps: all but stack and tls[] starts anew. */
	t->sched = s;
	t->group = g;
	t->domain = g ? (void *)g : (void *)s;
	t->fsbase = 0;
	t->flags = o->flags;
	t->started = false;
	t->done = false;
	t->detached = o->flags & NOMUX_THREAD_DETACHED;
	t->queued = false;
	t->expiring = false;
	t->wait_kind = WAIT_NONE;
	t->timeout.in = false;
	t->joinq = (struct nomux_waitq){ 0 };
	t->exit_err = 0;
	t->no_preempt = 0;
	t->own_tls = NULL;
	t->tls_set = 0;
	t->magic = THREAD_MAGIC;
	for (i = 0; i < NAME_BYTES - 1 && name[i]; i++)
		t->name[i] = name[i];
	t->name[i] = '\0';
	t->fake_stack = NULL;
	t->san_bottom = t->stack + GUARD_BYTES;
	t->san_bytes = t->stack_bytes;
}

/* A pool belongs to its kernel thread, and its handlers do not use it: no lock. */
static int thread_make(struct sched *s, const struct nomux_thread_opts *o, struct nomux_group *g,
		       struct nomux_thread **out)
{
	struct nomux_thread *t = nomux__stack_get(s, o->stack_bytes);
	int err;

	if (!t)
		return -ENOMEM;
	thread_init(t, o, s, g);
	if (o->flags & NOMUX_THREAD_OWN_TLS) {
		err = nomux__own_tls_get(t);
		if (err) {
			nomux__stack_put(s, t);
			return err;
		}
	}
	san_create(t);
	stack_prepare(t);
	*out = t;
	return 0;
}

int nomux_thread_create(void (*fn)(void *), void *arg, const struct nomux_thread_opts *opts,
			struct nomux_thread **out)
{
	struct nomux_thread *t, *self;
	struct nomux_thread_opts o;
	struct nomux_group *g;
	struct sched *s;
	int err;

	err = opts_read(opts, &o);
	if (err)
		return err;
	if (!fn || (!out && !(o.flags & NOMUX_THREAD_DETACHED)))
		return -EINVAL;
	s = nomux__sched();
	if (!s)
		return -ENOMEM;
	self = s->current;
	g = o.group ? o.group : self->group;
	nomux__enter(s);
	err = thread_make(s, &o, g, &t);
	if (!err) {
		t->fn = fn;
		t->arg = arg;
		if (out)
			*out = t;	/* before it can run elsewhere */
		if (g) {
			nomux__group_thread_born(g, t);
		} else {
			nomux__all_add(&s->all, t);
			s->nr_threads++;
			nomux__push_list(s, t);
		}
	}
	nomux__leave(self);
	return err;
}

static bool thread_valid(const struct nomux_thread *t)
{
	return t && t->magic == THREAD_MAGIC && t->stack;
}

int nomux_join(struct nomux_thread *t)
{
	struct nomux_thread *self = nomux_self();
	int err = 0;

	if (!self || !thread_valid(t))
		return -EINVAL;
	if (t == self)
		return -EDEADLK;
	nomux__enter(self->sched);
	q_lock(&t->joinq, t);
	if (t->detached || t->joinq.head) {
		err = -EINVAL;
	} else if (t->done) {
		/* Nothing of it is used by anybody any more: any thread may free a group's. */
		if (!t->group && t->domain != self->domain)
			err = -EINVAL;
	} else if (t->domain != self->domain) {
		err = -EINVAL;
	} else {
		err = nomux__wait(self, &t->joinq, WAIT_JOIN, t, NOMUX_FOREVER);
		goto waited;		/* which unlocked */
	}
	q_unlock(&t->joinq, t);
waited:
	if (!err) {
		err = t->exit_err;
		thread_free(self->sched, t);
	}
	nomux__leave(self);
	return err;
}

int nomux_detach(struct nomux_thread *t)
{
	struct nomux_thread *self = nomux_self();
	bool done = false;
	int err = 0;

	if (!self || !thread_valid(t) || (!t->group && t->domain != self->domain))
		return -EINVAL;
	nomux__enter(self->sched);
	q_lock(&t->joinq, t);
	if (t->detached || t->joinq.head)
		err = -EINVAL;
	else
		t->detached = true;
	done = t->done;
	q_unlock(&t->joinq, t);
	if (!err && done)
		thread_free(self->sched, t);
	nomux__leave(self);
	return err;
}
