/* SPDX-License-Identifier: MIT */
/*
 * The scheduler of user threads, as the files of threads, locks and timers see
 * it.
 *
 * Who may touch what:
 *
 *	A scheduler (struct sched) belongs to its kernel thread.  Other kernel
 *	threads touch only its inbox, its ring (to steal), its asleep word, and,
 *	with its heap_lock, its heaps.
 *
 *	An upcall handler may interrupt all of this.  Scheduler code therefore runs
 *	with sched.busy set, and a handler that finds it set leaves a note
 *	(resched, timers_due) that nomux__leave() looks at.  What handlers do in
 *	any case is to push work to an inbox, which is lock-free.
 *
 *	A wait queue is protected by its lock, which is taken in groups only: user
 *	threads of one kernel thread cannot race.
 *
 * A thread's domain is what it shares locks with: its scheduler, or its group.
 * The wait queue's lock, where there is one, is held until a thread that blocks
 * has left its stack (sched.after), so that nobody can start it too early.
 */
#ifndef NOMUX_THREAD_INTERNAL_H
#define NOMUX_THREAD_INTERNAL_H

#include <errno.h>
#include <string.h>

#include <nomux/group.h>
#include <nomux/sync.h>
#include <nomux/thread.h>
#include <nomux/timer.h>
#include <nomux/tls.h>

#include "heap.h"
#include "internal.h"

#define THREAD_MAGIC	0x4452485421584d4eULL
#define NAME_BYTES	16

enum wait_kind {
	WAIT_NONE,		/* ready or running */
	WAIT_SLEEP,
	WAIT_JOIN,
	WAIT_MUTEX,
	WAIT_READ,
	WAIT_WRITE,
	WAIT_COND,
	WAIT_SEM,
	WAIT_SEM_EXTERNAL,
	WAIT_SEND,
	WAIT_RECV,
	WAIT_OFFLOAD,
};

struct sched;

/* Something to be done by a scheduler, pushed by anybody. */
struct work {
	struct work *next;
	void (*fn)(struct sched *s, struct work *w);
};

struct tls_slot {
	uint32_t seq;		/* of the key when the value was set */
	void *value;
};

struct own_tls;

struct nomux_thread {
	/* one cache line: all that another core needs to wake it */
	struct nomux_thread *next;	/* run queue or wait queue */
	struct nomux_thread *prev;	/* wait queue */
	struct sched *sched;		/* where it runs, or ran last */
	struct nomux_group *group;
	struct work wake;
	uint32_t flags;			/* NOMUX_THREAD_* */
	int wait_err;			/* what the blocking call returns */
	bool started;
	bool queued;			/* waits; whoever clears it makes it ready */
	/* its own core's */
	void *sp;			/* while not running */
	uint64_t fsbase;		/* 0: the kernel thread's */
	void *domain;
	bool done;			/* has left its stack; under joinq.lock */
	bool detached;			/* likewise */
	bool expiring;			/* its timeout is being handled */
	enum wait_kind wait_kind;
	void *wait_on;
	struct nomux_waitq *wait_q;
	void *wait_item;		/* channel: the item of who waits */
	struct heap_node timeout;
	struct nomux_waitq joinq;	/* at most one */
	int exit_err;			/* what nomux_join() returns */
	unsigned int no_preempt;	/* nomux_preempt_off() */
	void (*fn)(void *);
	void *arg;
	struct own_tls *own_tls;
	char *stack;			/* mapping, its guard page first; NULL: kernel thread's */
	size_t stack_bytes;
	uint64_t magic;
	struct nomux_thread *all_next, **all_link;
	char name[NAME_BYTES];
	uint64_t tls_set;		/* bit per key with a value */
	struct tls_slot tls[NOMUX_TLS_KEYS];
	/* sanitizers only */
	void *fake_stack, *tsan_fiber;
	const void *san_bottom;
	size_t san_bytes;
};

/*
 * Ready threads that other cores may take: the owner adds at tail, everybody
 * takes at head by compare-and-swap.
 */
#define RING_SLOTS	256

struct ring {
	uint32_t head __attribute__((aligned(64)));
	uint32_t tail __attribute__((aligned(64)));	/* written by the owner */
	struct nomux_thread *slot[RING_SLOTS];
};

/* What is left to do for a thread once its stack has been left. */
enum after {
	AFTER_NOTHING,
	AFTER_UNLOCK,		/* sched.after_lock */
	AFTER_REQUEUE,		/* it is ready */
	AFTER_EXIT,		/* it has ended */
};

/* How a scheduler's core sleeps, and so how it is woken. */
enum asleep { AWAKE, ASLEEP_FUTEX, ASLEEP_CORE };

/* One per kernel thread, made when that first uses user threads. */
struct sched {
	struct nomux_thread *current;
	struct nomux_thread *head, *tail;	/* ready, for this core only; first in, first out */
	struct work *inbox;			/* last in first */
	uint32_t busy;
	bool resched, timers_due;		/* notes of upcall handlers */
	bool in_upcall;				/* busy on behalf of the timers' upcall */
	bool counted_asleep;			/* in the group's nr_sleeping */
	bool preempting;			/* the upcall returns into nomux__preempted() */
	enum after after;
	uint32_t *after_lock;
	struct nomux_thread *from;		/* switched away from last */
	uint64_t fsbase;			/* loaded; 0: the kernel thread's */
	uint64_t own_fsbase;
	struct nomux_group *group;
	struct heap sleepers;			/* threads; served when the scheduler runs */
	struct heap timers;			/* nomux_timer; served in an upcall */
	uint32_t heap_lock;
	uint32_t turn;				/* of looking at ring and list */
	uint64_t external;			/* threads that wait for something from outside */
	struct nomux_thread *stacks;		/* free ones of the default size */
	unsigned int nr_stacks;
	unsigned int nr_threads;		/* private ones, without main */
	struct nomux_thread *all;		/* private ones, with main */
	/* waking */
	uint32_t asleep __attribute__((aligned(64)));	/* enum asleep; others set it to AWAKE */
	int kick_fd;
	uint64_t kick_core;			/* handle of the lease kick_fd is bound to */
	unsigned int kick_event;
	/* timers on a leased core */
	uint64_t timer_core;			/* handle of the lease timer_event belongs to */
	unsigned int timer_event;
	uint64_t armed_ns;			/* the kernel's timer, UINT64_MAX: not */
	/* preemption */
	uint64_t quantum_ns;
	struct nomux_timer *quantum;
	uint64_t quantum_switches;		/* seen when the quantum began */
	/* read by the watcher of stalls */
	uint64_t switches;
	uint64_t stall_switches, stall_since_ns;
	bool stall_told;
	int tid;
	struct sched *next_sched;
	struct nomux_thread_stats stats;
	uint32_t fence;
	struct ring ring;
	struct nomux_thread main;
};

struct nomux_group {
	uint32_t lock;				/* workers coming and leaving, all */
	unsigned int nr_inside;			/* cores in nomux_group_run() */
	unsigned int nr_slots;			/* of worker[] in use */
	uint32_t round;				/* futex: all have left */
	bool done;				/* they are leaving */
	struct sched *worker[NOMUX_GROUP_CORES];
	struct nomux_thread *all;
	uint64_t spin_ns;
	struct work *inbox __attribute__((aligned(64)));
	uint32_t nr_sleeping __attribute__((aligned(64)));
	uint32_t nr_searching;
	uint32_t nr_woken;			/* times a core slept no more; wraps */
	uint64_t alive;
	uint64_t external;
};

/* ------------------------------------------------------------- locking --- */

/*
 * Fetch a cache line that another core wrote, to write it: one transfer instead of
 * two.  With these a wake across cores takes 20 % less.
 */
static inline void will_write(const void *p)
{
	__asm__ __volatile__("prefetchw %0" :: "m" (*(const char *)p));
}

void nomux__spin_slow(uint32_t *lock);

static inline void spin_lock(uint32_t *lock)
{
	if (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE))
		nomux__spin_slow(lock);
}

static inline void spin_unlock(uint32_t *lock)
{
	__atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

static inline void q_lock(struct nomux_waitq *q, const struct nomux_thread *self)
{
	if (self->group)
		spin_lock(&q->lock);
}

static inline void q_unlock(struct nomux_waitq *q, const struct nomux_thread *self)
{
	if (self->group)
		spin_unlock(&q->lock);
}

/*
 * Compare and swap against upcalls on the same core only: without the lock
 * prefix it is one instruction all the same, at a third of the price.
 */
static inline bool cas_local(uintptr_t *p, uintptr_t old, uintptr_t new)
{
#ifdef __SANITIZE_THREAD__
	return __atomic_compare_exchange_n(p, &old, new, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
#else
	bool same;

	__asm__ __volatile__("cmpxchg %3, %1" : "=@ccz" (same), "+m" (*p), "+a" (old)
			     : "r" (new) : "memory");
	return same;
#endif
}

static inline bool any_sleepers(const struct sched *s)
{
	return nomux__heap_first_ns(&s->sleepers) != UINT64_MAX;
}

/* ------------------------------------------------------------- sched.c --- */

extern __thread struct sched *nomux__sched_tls __attribute__((tls_model("initial-exec")));
struct sched *nomux__sched_make(void);

static inline struct sched *nomux__sched(void)
{
	struct sched *s = nomux__sched_tls;

	return __builtin_expect(s != NULL, 1) ? s : nomux__sched_make();
}

/* Scheduler code begins: upcall handlers keep off. */
static inline void nomux__enter(struct sched *s)
{
	__atomic_store_n(&s->busy, 1, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

void nomux__notes(struct nomux_thread *self);

/* It ends, perhaps on another core than it began on. */
static inline void nomux__leave(struct nomux_thread *self)
{
	struct sched *s = self->sched;

	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(&s->busy, 0, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (__builtin_expect(s->resched | s->timers_due, 0))
		nomux__notes(self);
}

/* A lock object belongs to the domain of its first user. */
static inline bool nomux__in_domain(void **domain, const struct nomux_thread *self)
{
	void *d = __atomic_load_n(domain, __ATOMIC_RELAXED), *none = NULL;

	if (__builtin_expect(d == self->domain, 1))
		return true;
	return !d && (__atomic_compare_exchange_n(domain, &none, self->domain, false,
						  __ATOMIC_RELAXED, __ATOMIC_RELAXED) ||
		      none == self->domain);
}

/* Make a thread ready, from scheduler s.  It may run before this returns. */
void nomux__ready(struct sched *s, struct nomux_thread *t);
/* ... each of a chain linked by next. */
void nomux__ready_chain(struct sched *s, struct nomux_thread *t);
void nomux__push_list(struct sched *s, struct nomux_thread *t);
void nomux__switch_to(struct sched *s, struct nomux_thread *next);
void nomux__arrive(struct nomux_thread *self);
void nomux__yield_busy(struct nomux_thread *self, bool pinned);
/* Run what came from outside, and whose time has come. */
void nomux__serve(struct sched *s);
/* The next thread of this core, or NULL; private: idles until there is one or never can be. */
struct nomux_thread *nomux__pick(struct sched *s, const struct nomux_thread *self);
/* What this core has; a group's list and ring take turns. */
struct nomux_thread *nomux__take_local(struct sched *s);
/* Sleep until kicked or the next deadline; looks once more for work first. */
void nomux__idle(struct sched *s);
/* Push work; any context.  True: the inbox was empty. */
void nomux__inbox_push(struct work **inbox, struct work *w);
void nomux__post_work(struct sched *s, struct work *w);
/* Wake a core that sleeps; after a full barrier. */
bool nomux__kick(struct sched *s);
int nomux__kick_prepare(struct sched *s);

/* ------------------------------------------------------------- waitq.c --- */

void nomux__q_add(struct nomux_waitq *q, struct nomux_thread *t);
void nomux__q_del(struct nomux_waitq *q, struct nomux_thread *t);
/* Take the first out: the caller has to make it ready, after unlocking. */
struct nomux_thread *nomux__q_pop(struct nomux_waitq *q);
/*
 * Wait in q, which is locked (NULL: just sleep), and is unlocked on return.
 * Busy on entry and on return.  Return: what woke us, -ETIMEDOUT, -EDEADLK.
 */
int nomux__wait(struct nomux_thread *self, struct nomux_waitq *q, enum wait_kind kind, void *on,
		uint64_t timeout_ns);
/* A blocked thread shall not wait any longer; false: somebody else woke it. */
bool nomux__give_up(struct sched *s, struct nomux_thread *t, int err);
void nomux__expire(struct sched *s);

/* ------------------------------------------------ the nouns, each a file --- */

struct nomux_thread *nomux__stack_get(struct sched *s, size_t bytes);
void nomux__stack_put(struct sched *s, struct nomux_thread *t);
void nomux__stacks_drain(struct sched *s);

void nomux__thread_finish(struct sched *s, struct nomux_thread *t);
void nomux__all_add(struct nomux_thread **all, struct nomux_thread *t);
void nomux__all_del(struct nomux_thread *t);
void nomux__thread_exit(struct nomux_thread *self) __attribute__((noreturn));

struct nomux_thread *nomux__rwlock_grant(struct nomux_rwlock *rw);

void nomux__tls_end(struct nomux_thread *t);
int nomux__own_tls_get(struct nomux_thread *t);
void nomux__own_tls_put(struct nomux_thread *t);
void nomux__fs_switch(struct sched *s, const struct nomux_thread *next);

void nomux__deadlock_report(const struct nomux_thread *all);

void nomux__group_post(struct nomux_group *g, struct work *w);
void nomux__group_push(struct sched *s, struct nomux_thread *t);
struct nomux_thread *nomux__group_take(struct sched *s);
bool nomux__group_stay_awake(struct sched *s);
void nomux__group_thread_born(struct nomux_group *g, struct nomux_thread *t);
void nomux__group_thread_gone(struct nomux_group *g, struct nomux_thread *t);

void nomux__timers_run(struct sched *s);
void nomux__timers_arm(struct sched *s);
void nomux__preempt_init(void);
void nomux__quantum_arm(struct sched *s, bool on);

/* The core goes to sleep, or wakes: no quantum is running meanwhile. */
static inline void nomux__quantum_begin(struct sched *s)
{
	if (s->quantum_ns)
		nomux__quantum_arm(s, true);
}

static inline void nomux__quantum_end(struct sched *s)
{
	if (s->quantum_ns)
		nomux__quantum_arm(s, false);
}

void nomux__stall_register(struct sched *s);
void nomux__stall_unregister(struct sched *s);
void nomux__stall_memory_lock(void);
void nomux__stall_memory_unlock(void);

#endif /* NOMUX_THREAD_INTERNAL_H */
