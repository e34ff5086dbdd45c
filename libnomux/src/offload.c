// SPDX-License-Identifier: MIT
/*
 * Helpers that make blocking calls for user threads.
 *
 * A request lies on the caller's stack.  A helper that is done with one sends it
 * to the inbox of the caller's scheduler, which wakes the caller; a core that
 * sleeps is woken by an event (nomux__kick()).
 */
#include <nomux/offload.h>

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "kthread.h"
#include "thread_internal.h"

#define HELPER_STACK	(256UL << 10)

struct request {
	struct work work;	/* first: fn finds the request by it */
	struct request *next;
	struct nomux_thread *thread;
	struct sched *home;
	struct nomux_waitq q;
	long (*fn)(void *);
	void *arg;
	long ret;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;
static struct request *first, **last = &first;
static unsigned int nr_helpers, nr_idle, nr_queued;

/* On the caller's core, hence not before the caller has left its stack. */
static void complete(struct sched *s, struct work *w)
{
	struct request *r = (struct request *)(void *)w;
	struct nomux_thread *t = r->thread;

	q_lock(&r->q, t);
	nomux__q_pop(&r->q);
	q_unlock(&r->q, t);
	nomux__ready(s, t);		/* and r may be gone */
}

static void *helper(void *arg)
{
	struct request *r;

	pthread_mutex_lock(&lock);
	for (;;) {
		while (!first) {
			nr_idle++;
			pthread_cond_wait(&more, &lock);
			nr_idle--;
		}
		r = first;
		first = r->next;
		if (!first)
			last = &first;
		nr_queued--;
		pthread_mutex_unlock(&lock);
		r->ret = r->fn(r->arg);
		nomux__post_work(r->home, &r->work);
		pthread_mutex_lock(&lock);
	}
	return NULL;
}

/* Locked.  A failure matters only if there is nobody at all. */
static int more_helpers(void)
{
	pthread_t thread;
	int err;

	if (nr_idle > nr_queued || nr_helpers == NOMUX_OFFLOAD_HELPERS)
		return 0;
	err = nomux__kthread_create(&thread, helper, NULL, HELPER_STACK);
	if (!err)
		nr_helpers++;
	return nr_helpers ? 0 : err;
}

static int submit(struct request *r)
{
	int err;

	pthread_mutex_lock(&lock);
	err = more_helpers();
	if (!err) {
		r->next = NULL;
		*last = r;
		last = &r->next;
		nr_queued++;
		pthread_cond_signal(&more);
	}
	pthread_mutex_unlock(&lock);
	return err;
}

int nomux_offload(long (*fn)(void *arg), void *arg, long *ret_out)
{
	struct nomux_thread *self = nomux_self();
	struct request r = { .work.fn = complete, .fn = fn, .arg = arg, .thread = self };
	int err;

	if (!fn)
		return -EINVAL;
	if (!self)
		return -ENOMEM;
	r.home = self->sched;
	nomux__enter(self->sched);
	err = submit(&r);
	if (!err) {
		q_lock(&r.q, self);
		nomux__wait(self, &r.q, WAIT_OFFLOAD, NULL, NOMUX_FOREVER);
	}
	nomux__leave(self);
	if (!err && ret_out)
		*ret_out = r.ret;
	return err;
}
