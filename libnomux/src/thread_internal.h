/* SPDX-License-Identifier: MIT */
/* The scheduler of user threads, as thread.c and mutex.c see it. */
#ifndef NOMUX_THREAD_INTERNAL_H
#define NOMUX_THREAD_INTERNAL_H

#include <nomux/thread.h>

enum thread_state {
	THREAD_READY,		/* in the run queue */
	THREAD_RUNNING,
	THREAD_SLEEPING,	/* in the list of sleepers, until wake_ns */
	THREAD_JOINING,		/* waits for wait_on to end */
	THREAD_LOCKING,		/* in the queue of the mutex wait_on */
	THREAD_DONE,
};

struct nomux_thread {
	void *sp;			/* while not running */
	struct nomux_thread *next;	/* in the run queue, sleepers or a mutex's queue */
	struct sched *sched;
	enum thread_state state;
	int wait_err;			/* what the blocking call returns */
	uint64_t wake_ns;
	void *wait_on;			/* thread or mutex */
	struct nomux_thread *joiner;
	void (*fn)(void *);
	void *arg;
	char *stack;			/* mapping, its guard page included; NULL: kernel thread's */
	size_t stack_bytes;
	struct nomux_thread *all_next, **all_link;
	char name[16];
	/* sanitizers only */
	void *fake_stack;
	const void *san_bottom;
	size_t san_bytes;
};

/* One per kernel thread, made when that first uses user threads. */
struct sched {
	struct nomux_thread *current;
	struct nomux_thread *head, *tail;	/* ready, first in first out */
	struct nomux_thread *sleepers;		/* by wake_ns */
	struct nomux_thread *all;
	struct nomux_thread main;
};

struct sched *nomux__sched(void);
void nomux__ready(struct nomux_thread *t);
/*
 * Give the core up; state and wait_on are set.  Return: what woke us, or
 * -EDEADLK when nobody is left to do so: then the caller is running and has to
 * leave the queue it is in.
 */
int nomux__block(struct nomux_thread *self);
void nomux__mutex_forget(struct nomux_mutex *m, struct nomux_thread *t);

#endif /* NOMUX_THREAD_INTERNAL_H */
