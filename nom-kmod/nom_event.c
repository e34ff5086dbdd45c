// SPDX-License-Identifier: GPL-2.0
/*
 * nom: what posts events to a lease - bound eventfds and the timer.
 *
 * A bound eventfd has us first on its wait queue, as KVM's irqfd does it:
 * whoever signals the eventfd (VFIO in a device's interrupt handler, a write(2))
 * calls nom_bind_wake() with the queue's lock held and interrupts off.  It moves
 * the eventfd's counter into the event's count and posts.  No thread is woken,
 * nothing is read.
 *
 * A binding holds a reference on the eventfd's context, not on its file.  When
 * the last descriptor of the eventfd is closed, the queue is told EPOLLHUP; the
 * binding is marked dead there and taken away by a work item, because to leave
 * the queue needs the lock that the caller holds.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include "nom.h"
#include "nom_trace.h"

/**
 * struct nom_bind - an eventfd that posts an event
 * @link: in lease->binds, under lease->lock
 * @lease: outlives the binding, which nom_lease_end() takes away
 * @event: what is posted; constant
 * @dead: its eventfd is closed; set under the queue's lock
 * @ctx: the eventfd, with a reference
 * @wait: our entry on its wait queue
 * @queue: that queue; lives as long as @ctx
 * @poll: only for the moment of binding
 */
struct nom_bind {
	struct list_head link;
	struct nom_lease *lease;
	unsigned int event;
	bool dead;
	struct eventfd_ctx *ctx;
	wait_queue_entry_t wait;
	wait_queue_head_t *queue;
	poll_table poll;
};

/* Move the eventfd's counter over; its queue's lock is held. */
static void nom_bind_drain(struct nom_bind *bind, const char *source)
{
	u64 count;

	eventfd_ctx_do_read(bind->ctx, &count);
	if (!count)
		return;
	trace_nom_event(bind->lease->handle, bind->event, count, source);
	nom_post(&bind->lease->u, bind->event, count);
}

/* Interrupts off, queue's lock held; often in a device's interrupt handler. */
static int nom_bind_wake(wait_queue_entry_t *wait, unsigned int mode, int sync,
			 void *key)
{
	struct nom_bind *bind = container_of(wait, struct nom_bind, wait);
	__poll_t what = key_to_poll(key);
	int taken = 0;

	if (what & EPOLLIN) {
		nom_bind_drain(bind, "eventfd");
		taken = 1;
	}
	if (what & EPOLLHUP && !bind->dead) {
		WRITE_ONCE(bind->dead, true);
		/* the lease outlives the work: one reference, if it was queued */
		nom_get(&bind->lease->u);
		if (!queue_work(nom_wq, &bind->lease->reap))
			nom_put(&bind->lease->u);
	}
	return taken;
}

static void nom_bind_enqueue(struct file *file, wait_queue_head_t *queue,
			     poll_table *poll)
{
	struct nom_bind *bind = container_of(poll, struct nom_bind, poll);

	bind->queue = queue;
	add_wait_queue_priority(queue, &bind->wait);
}

static void nom_bind_destroy(struct nom_bind *bind)
{
	u64 count;

	/* what came between the last wake-up and now would be lost: post it */
	eventfd_ctx_remove_wait_queue(bind->ctx, &bind->wait, &count);
	if (count)
		nom_post(&bind->lease->u, bind->event, count);
	eventfd_ctx_put(bind->ctx);
	list_del(&bind->link);
	bind->lease->nr_binds--;
	kfree(bind);
}

static void nom_event_reap(struct work_struct *work)
{
	struct nom_lease *lease = container_of(work, struct nom_lease, reap);
	struct nom_bind *bind, *next;

	mutex_lock(&lease->lock);
	list_for_each_entry_safe(bind, next, &lease->binds, link)
		if (READ_ONCE(bind->dead))
			nom_bind_destroy(bind);
	mutex_unlock(&lease->lock);
	nom_put(&lease->u);
}

/**
 * nom_event_bind - let an eventfd post an event
 * @lease: not ended, its lock held
 * @event: below NOM_NR_EVENTS
 * @fd: the caller's descriptor
 *
 * A counter that is already there is posted at once.
 *
 * Return: 0, -EBADF, -EINVAL, -EEXIST, -ENOSPC, -ENOMEM.
 */
int nom_event_bind(struct nom_lease *lease, unsigned int event, int fd)
{
	struct nom_bind *bind, *other;
	struct eventfd_ctx *ctx;
	struct file *file;
	int ret;

	lockdep_assert_held(&lease->lock);
	file = fget(fd);
	if (!file)
		return -EBADF;
	ctx = eventfd_ctx_fileget(file);
	if (IS_ERR(ctx)) {
		ret = PTR_ERR(ctx);
		goto out_file;
	}
	/* we sit on the queue exclusively: a second binding would never be woken */
	ret = -EEXIST;
	list_for_each_entry(other, &lease->binds, link)
		if (other->ctx == ctx)
			goto err_ctx;
	ret = -ENOSPC;
	if (lease->nr_binds == NOM_BINDINGS_MAX)
		goto err_ctx;
	ret = -ENOMEM;
	bind = kzalloc(sizeof(*bind), GFP_KERNEL_ACCOUNT);
	if (!bind)
		goto err_ctx;

	bind->lease = lease;
	bind->event = event;
	bind->ctx = ctx;
	init_waitqueue_func_entry(&bind->wait, nom_bind_wake);
	init_poll_funcptr(&bind->poll, nom_bind_enqueue);
	list_add_tail(&bind->link, &lease->binds);
	lease->nr_binds++;

	if (vfs_poll(file, &bind->poll) & EPOLLIN) {
		spin_lock_irq(&bind->queue->lock);
		nom_bind_drain(bind, "eventfd");
		spin_unlock_irq(&bind->queue->lock);
	}
	fput(file);
	return 0;

err_ctx:
	eventfd_ctx_put(ctx);
out_file:
	fput(file);
	return ret;
}

/**
 * nom_event_unbind - take a binding away
 * @lease: its lock held
 * @event: what it posts
 * @fd: the caller's descriptor of the eventfd
 *
 * Return: 0, -EBADF, -EINVAL, -ENOENT.
 */
int nom_event_unbind(struct nom_lease *lease, unsigned int event, int fd)
{
	struct nom_bind *bind, *next;
	struct eventfd_ctx *ctx;
	int ret = -ENOENT;

	lockdep_assert_held(&lease->lock);
	ctx = eventfd_ctx_fdget(fd);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);

	list_for_each_entry_safe(bind, next, &lease->binds, link) {
		if (bind->ctx == ctx && bind->event == event) {
			nom_bind_destroy(bind);
			ret = 0;
			break;
		}
	}
	eventfd_ctx_put(ctx);
	return ret;
}

/* Hard interrupt context. */
static enum hrtimer_restart nom_timer_fire(struct hrtimer *timer)
{
	struct nom_lease *lease = container_of(timer, struct nom_lease, timer);

	trace_nom_event(lease->handle, lease->timer_event, 1, "timer");
	nom_post(&lease->u, lease->timer_event, 1);
	return HRTIMER_NORESTART;
}

/**
 * nom_event_timer - arm, re-arm or disarm the lease's timer
 * @lease: not ended, its lock held
 * @t: checked by the caller
 *
 * Pinned to the caller's core, so that the holder's timer fires where the
 * holder runs, and hard, so that it posts from the interrupt itself.
 *
 * Return: 0 or -EINVAL (beyond the clock's range).
 */
int nom_event_timer(struct nom_lease *lease, const struct nom_core_timer *t)
{
	lockdep_assert_held(&lease->lock);
	if (t->ns > KTIME_MAX)
		return -EINVAL;
	hrtimer_cancel(&lease->timer);
	if (!t->ns && !(t->flags & NOM_TIMER_ABS))
		return 0;
	lease->timer_event = t->event;
	hrtimer_start(&lease->timer, ns_to_ktime(t->ns),
		      t->flags & NOM_TIMER_ABS ? HRTIMER_MODE_ABS_PINNED_HARD :
						 HRTIMER_MODE_REL_PINNED_HARD);
	return 0;
}

/**
 * nom_event_teardown - stop all that posts
 * @lease: marked ended, its lock held
 */
void nom_event_teardown(struct nom_lease *lease)
{
	struct nom_bind *bind, *next;

	lockdep_assert_held(&lease->lock);
	hrtimer_cancel(&lease->timer);
	list_for_each_entry_safe(bind, next, &lease->binds, link)
		nom_bind_destroy(bind);
}

/**
 * nom_event_init - part of a lease's construction
 * @lease: zeroed
 */
void nom_event_init(struct nom_lease *lease)
{
	INIT_LIST_HEAD(&lease->binds);
	INIT_WORK(&lease->reap, nom_event_reap);
	hrtimer_init(&lease->timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	lease->timer.function = nom_timer_fire;
}
