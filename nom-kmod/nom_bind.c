// SPDX-License-Identifier: GPL-2.0
/*
 * nom: bindings - eventfds that post events to a lease.
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
 *
 * A masked binding leaves the counter where it is.  What stands between the
 * eventfd and the lease's events otherwise is nom_storm.c; what is behind it, if
 * it is a device's, nom_irq.c.
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

/* Move the eventfd's counter over; its queue's lock is held.  Inlined for the wake. */
static __always_inline void nom_bind_drain(struct nom_bind *bind)
{
	u64 count;

	eventfd_ctx_do_read(bind->ctx, &count);
	if (!count)
		return;
	bind->nr_events += count;
	trace_nom_event(bind->lease->handle, bind->event, count, "eventfd");
	if (nom_storm_post(bind->lease, bind->event, count))
		nom_irq_pause(bind);
}

/* Interrupts off, queue's lock held; often in a device's interrupt handler. */
static int nom_bind_wake(wait_queue_entry_t *wait, unsigned int mode, int sync,
			 void *key)
{
	struct nom_bind *bind = container_of(wait, struct nom_bind, wait);
	__poll_t what = key_to_poll(key);
	int taken = 0;

	if (what & EPOLLIN) {
		bind->nr_signals++;
		if (!bind->masked) {
			nom_bind_drain(bind);
			taken = 1;
		}
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
	nom_irq_unregister(bind);
	eventfd_ctx_put(bind->ctx);
	nom_limit_uncharge(bind->lease->user, NOM_RES_BINDINGS, 1);
	list_del(&bind->link);
	bind->lease->nr_binds--;
	kfree(bind);
}

static void nom_bind_reap(struct work_struct *work)
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
 * nom_bind_create - let an eventfd post an event
 * @lease: not ended, its lock held
 * @event: below NOM_NR_EVENTS
 * @fd: the caller's descriptor
 *
 * A counter that is already there is posted at once.
 *
 * Return: 0, -EBADF, -EINVAL, -EEXIST, -ENOSPC, -EDQUOT, -ENOMEM.
 */
int nom_bind_create(struct nom_lease *lease, unsigned int event, int fd)
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
	ret = nom_limit_charge(lease->user, NOM_RES_BINDINGS, 1);
	if (ret)
		goto err_ctx;
	ret = -ENOMEM;
	bind = kzalloc(sizeof(*bind), GFP_KERNEL_ACCOUNT);
	if (!bind)
		goto err_charge;

	bind->lease = lease;
	bind->event = event;
	bind->ctx = ctx;
	init_waitqueue_func_entry(&bind->wait, nom_bind_wake);
	init_poll_funcptr(&bind->poll, nom_bind_enqueue);
	list_add_tail(&bind->link, &lease->binds);
	lease->nr_binds++;

	if (vfs_poll(file, &bind->poll) & EPOLLIN) {
		spin_lock_irq(&bind->queue->lock);
		nom_bind_drain(bind);
		spin_unlock_irq(&bind->queue->lock);
	}
	fput(file);
	nom_irq_register(bind);
	return 0;

err_charge:
	nom_limit_uncharge(lease->user, NOM_RES_BINDINGS, 1);
err_ctx:
	eventfd_ctx_put(ctx);
out_file:
	fput(file);
	return ret;
}

/* Return: the binding of (event, fd), or an ERR_PTR. */
static struct nom_bind *nom_bind_find(struct nom_lease *lease, unsigned int event, int fd)
{
	struct nom_bind *bind, *found = ERR_PTR(-ENOENT);
	struct eventfd_ctx *ctx;

	lockdep_assert_held(&lease->lock);
	ctx = eventfd_ctx_fdget(fd);
	if (IS_ERR(ctx))
		return ERR_CAST(ctx);
	list_for_each_entry(bind, &lease->binds, link) {
		if (bind->ctx == ctx && bind->event == event) {
			found = bind;
			break;
		}
	}
	eventfd_ctx_put(ctx);
	return found;
}

/**
 * nom_bind_end - take a binding away
 * @lease: its lock held
 * @event: what it posts
 * @fd: the caller's descriptor of the eventfd
 *
 * Return: 0, -EBADF, -EINVAL, -ENOENT.
 */
int nom_bind_end(struct nom_lease *lease, unsigned int event, int fd)
{
	struct nom_bind *bind = nom_bind_find(lease, event, fd);

	if (IS_ERR(bind))
		return PTR_ERR(bind);
	nom_bind_destroy(bind);
	return 0;
}

/**
 * nom_bind_mask - hold a binding's events back, or let them come
 * @lease: its lock held
 * @event: what it posts
 * @fd: the caller's descriptor of the eventfd
 * @mask: hold back
 *
 * When it has returned, nothing is posted until the mask is taken away; what came
 * meanwhile is posted then.  Either may be done twice.
 *
 * Return: 0, -EBADF, -EINVAL, -ENOENT.
 */
int nom_bind_mask(struct nom_lease *lease, unsigned int event, int fd, bool mask)
{
	struct nom_bind *bind = nom_bind_find(lease, event, fd);

	if (IS_ERR(bind))
		return PTR_ERR(bind);
	spin_lock_irq(&bind->queue->lock);
	bind->masked = mask;
	if (!mask)
		nom_bind_drain(bind);
	spin_unlock_irq(&bind->queue->lock);
	nom_irq_mask(bind, mask);
	return 0;
}

/**
 * nom_bind_describe - look at a binding
 * @lease: its lock held
 * @index: from 0 on
 * @out: all out_* fields are written
 *
 * Return: 0 or -ENOENT (past the last).
 */
int nom_bind_describe(struct nom_lease *lease, unsigned int index,
		      struct nom_core_binding *out)
{
	struct nom_bind *bind;

	lockdep_assert_held(&lease->lock);
	list_for_each_entry(bind, &lease->binds, link) {
		if (index--)
			continue;
		out->out_event = bind->event;
		out->out_irq = READ_ONCE(bind->irq.nr);
		out->out_flags = (bind->masked ? NOM_BINDING_MASKED : 0) |
				 (list_empty(&bind->irq.quiet) ? 0 : NOM_BINDING_PAUSED) |
				 (READ_ONCE(bind->irq.affine) ? NOM_BINDING_AFFINE : 0);
		out->out_signals = READ_ONCE(bind->nr_signals);
		out->out_events = READ_ONCE(bind->nr_events);
		out->out_pauses = READ_ONCE(bind->irq.nr_pauses);
		return 0;
	}
	return -ENOENT;
}

/**
 * nom_bind_end_all - a lease ends
 * @lease: marked ended, its lock held
 */
void nom_bind_end_all(struct nom_lease *lease)
{
	struct nom_bind *bind, *next;

	lockdep_assert_held(&lease->lock);
	list_for_each_entry_safe(bind, next, &lease->binds, link)
		nom_bind_destroy(bind);
}

/**
 * nom_bind_init - part of a lease's construction
 * @lease: zeroed
 */
void nom_bind_init(struct nom_lease *lease)
{
	INIT_LIST_HEAD(&lease->binds);
	INIT_WORK(&lease->reap, nom_bind_reap);
}
