// SPDX-License-Identifier: GPL-2.0
/*
 * nom: a lease of a reserved core, and its descriptor.
 *
 * A lease is born by NOM_CORE_CLAIM (nom_claim.c), gets a core (nom_slot.c), and
 * one thread may enter it; the core kernel then moves that thread to the core and
 * delivers upcalls to it.  Lifetime:
 *
 *	claimed    ended by the last close of the descriptor
 *	entered    ended by the core kernel's detached(): leave, exit, exec, kill
 *	ended      the core is somebody else's; descriptor and mappings of the
 *		   shared page live on, and every ioctl but NOM_CORE_STATS says
 *		   -ENXIO
 *
 * An entered lease does not end with its descriptor, since mappings of the
 * shared page keep the file open anyway; and a dead thread's core must not wait
 * for other processes that inherited the descriptor.
 *
 * nom_upcall.ref counts the descriptor and the attached thread (the latter is
 * the core kernel's).
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/anon_inodes.h>
#include <linux/compat.h>
#include <linux/cpu.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/user_namespace.h>
#include "nom.h"

#define NOM_ATTACH_TRIES	16	/* attempts to unplug the core, one after the other */

/* ------------------------------------------------- beginning and end --- */

static void nom_lease_free(struct rcu_head *rcu)
{
	struct nom_lease *lease = container_of(rcu, struct nom_lease, rcu);

	put_page(lease->page);
	nom_user_put(lease->user);
	kfree(lease);
}

/* nom_upcall_ops.release: any context but hard interrupts. */
static void nom_lease_release(struct nom_upcall *u)
{
	struct nom_lease *lease = container_of(u, struct nom_lease, u);

	call_rcu(&lease->rcu, nom_lease_free);
}

/**
 * nom_lease_create - make a lease that has no core yet
 * @user: who pays for a core
 * @claim: checked by the caller
 * @lease_out: the lease
 *
 * Return: 0, -EDQUOT, -EINVAL (no such user), -ENOMEM.
 */
int nom_lease_create(struct nom_user *user, const struct nom_core_claim *claim,
		     struct nom_lease **lease_out)
{
	struct nom_lease *lease;
	int ret;

	ret = nom_limit_charge(user, NOM_RES_CORES, 1);
	if (ret)
		return ret;
	ret = -ENOMEM;
	lease = kzalloc(sizeof(*lease), GFP_KERNEL_ACCOUNT);
	if (!lease)
		goto err_charge;
	lease->page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!lease->page)
		goto err_lease;
	lease->notify_uid = make_kuid(current_user_ns(), claim->notify_uid);
	ret = -EINVAL;
	if (claim->flags & NOM_CLAIM_NOTIFY_UID && !uid_valid(lease->notify_uid))
		goto err_page;

	mutex_init(&lease->lock);
	lease->user = nom_user_get(user);
	lease->claim_flags = claim->flags;
	lease->notify_mask = claim->notify_mask;
	nom_owner_set_current(&lease->owner);
	nom_bind_init(lease);
	nom_timer_init(lease);
	nom_wait_init(lease);
	nom_storm_init(lease);
	*lease_out = lease;
	return 0;

err_page:
	put_page(lease->page);
err_lease:
	kfree(lease);
err_charge:
	nom_limit_uncharge(user, NOM_RES_CORES, 1);
	return ret;
}

/**
 * nom_lease_discard - undo nom_lease_create()
 * @lease: got no core; nobody has seen it
 */
void nom_lease_discard(struct nom_lease *lease)
{
	nom_limit_uncharge(lease->user, NOM_RES_CORES, 1);
	nom_lease_free(&lease->rcu);
}

/**
 * nom_lease_end - take away all that can post, then give the core on
 * @lease: has, or had, a core; a second call does nothing
 */
void nom_lease_end(struct nom_lease *lease)
{
	mutex_lock(&lease->lock);
	if (lease->ended) {
		mutex_unlock(&lease->lock);
		return;
	}
	lease->ended = true;
	WRITE_ONCE(lease->sub, 0);
	nom_timer_stop(lease);
	nom_wait_stop(lease);
	nom_bind_end_all(lease);
	nom_storm_stop(lease);
	mutex_unlock(&lease->lock);

	nom_limit_uncharge(lease->user, NOM_RES_CORES, 1);
	nom_slot_free(lease);
}

/* nom_upcall_ops.detached: process context, the thread that was attached. */
static void nom_lease_detached(struct nom_upcall *u)
{
	nom_lease_end(container_of(u, struct nom_lease, u));
}

const struct nom_upcall_ops nom_lease_ops = {
	.owner		= THIS_MODULE,
	.detached	= nom_lease_detached,
	.release	= nom_lease_release,
};

/* -------------------------------------------------------- descriptor --- */

static int nom_lease_fop_release(struct inode *inode, struct file *file)
{
	struct nom_lease *lease = file->private_data;
	bool attached;

	mutex_lock(&lease->lock);
	attached = lease->attached;
	mutex_unlock(&lease->lock);
	if (!attached)
		nom_lease_end(lease);
	nom_put(&lease->u);
	return 0;
}

static int nom_lease_fop_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct nom_lease *lease = file->private_data;

	if (vma->vm_pgoff || vma->vm_end - vma->vm_start != PAGE_SIZE ||
	    !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;
	/* a child has no business with its parent's virtual interrupt flag */
	vm_flags_mod(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP, VM_MAYEXEC);
	return vm_insert_page(vma, vma->vm_start, lease->page);
}

/*
 * Somebody who tries to unplug a claimed core closes it to attachment until this
 * module's callback refuses (or, when it comes back, has offered it): -EBUSY for as
 * long as that takes.  The lock waits for the end of it.
 */
static int nom_lease_attach(struct nom_lease *lease, const struct nom_upcall_regs *regs)
{
	int ret, tries = NOM_ATTACH_TRIES;

	do {
		ret = nom_attach(&lease->u, regs);
		if (ret != -EBUSY || nom_current())
			break;
		cpus_read_lock();
		cpus_read_unlock();
	} while (--tries);
	return ret;
}

static int nom_ioctl_core_enter(struct nom_lease *lease, void __user *arg)
{
	struct nom_core_enter enter;
	size_t usize;
	int ret;

	ret = nom_struct_in(&enter, sizeof(enter), sizeof(enter), arg, &usize);
	if (ret)
		return ret;
	if (enter.flags || in_compat_syscall())
		return -EOPNOTSUPP;

	mutex_lock(&lease->lock);
	if (lease->ended)
		ret = -ENXIO;
	else if (lease->attached || nom_current())
		ret = -EBUSY;
	else
		lease->attached = true;
	mutex_unlock(&lease->lock);
	if (ret)
		return ret;

	/* not under the lock: to attach may have to wait for the core */
	ret = nom_lease_attach(lease, &enter.regs);
	if (ret) {
		mutex_lock(&lease->lock);
		lease->attached = false;
		mutex_unlock(&lease->lock);
		return ret;
	}

	nom_slot_enter(lease);
	return 0;
}

static int nom_ioctl_core_leave(struct nom_lease *lease)
{
	if (nom_current() != &lease->u)
		return -ENXIO;
	return nom_detach();
}

static int nom_ioctl_core_wait(struct nom_lease *lease, void __user *arg)
{
	struct nom_core_wait wait;
	size_t usize;
	int ret;

	ret = nom_struct_in(&wait, sizeof(wait), sizeof(wait), arg, &usize);
	if (ret)
		return ret;
	if (wait.flags)
		return -EOPNOTSUPP;
	return nom_wait(lease, wait.ns);
}

/**
 * nom_lease_stats - the counters of a lease
 * @lease: alive, or ended
 * @out: all out_* fields are written
 */
void nom_lease_stats(const struct nom_lease *lease, struct nom_core_stats *out)
{
	out->out_events = READ_ONCE(lease->u.nr_events);
	out->out_traps = READ_ONCE(lease->u.nr_traps);
	out->out_restarts = READ_ONCE(lease->u.nr_restarts);
	out->out_masked = READ_ONCE(lease->u.nr_masked);
	out->out_posts = READ_ONCE(lease->u.nr_posts);
	out->out_kicks = READ_ONCE(lease->u.nr_kicks);
	out->out_failed = READ_ONCE(lease->u.nr_failed);
}

/*
 * The other commands each have a struct, of which the first version is the present
 * one.  They are done with the lease locked and not ended, but for the last.
 */
union nom_lease_arg {
	struct nom_core_bind bind;
	struct nom_core_binding binding;
	struct nom_core_timer timer;
	struct nom_core_subscribe subscribe;
	struct nom_core_stats stats;
};

static int nom_check_bind(const union nom_lease_arg *a)
{
	if (a->bind.flags)
		return -EOPNOTSUPP;
	return a->bind.event < NOM_NR_EVENTS ? 0 : -EINVAL;
}

static int nom_do_bind(struct nom_lease *lease, union nom_lease_arg *a)
{
	return nom_bind_create(lease, a->bind.event, a->bind.fd);
}

static int nom_do_unbind(struct nom_lease *lease, union nom_lease_arg *a)
{
	return nom_bind_end(lease, a->bind.event, a->bind.fd);
}

static int nom_do_mask(struct nom_lease *lease, union nom_lease_arg *a)
{
	return nom_bind_mask(lease, a->bind.event, a->bind.fd, true);
}

static int nom_do_unmask(struct nom_lease *lease, union nom_lease_arg *a)
{
	return nom_bind_mask(lease, a->bind.event, a->bind.fd, false);
}

static int nom_check_binding(const union nom_lease_arg *a)
{
	return a->binding.flags ? -EOPNOTSUPP : 0;
}

static int nom_do_binding(struct nom_lease *lease, union nom_lease_arg *a)
{
	return nom_bind_describe(lease, a->binding.index, &a->binding);
}

static int nom_check_timer(const union nom_lease_arg *a)
{
	if (a->timer.flags & ~NOM_TIMER_ABS)
		return -EOPNOTSUPP;
	return a->timer.event < NOM_NR_EVENTS && !a->timer.reserved ? 0 : -EINVAL;
}

static int nom_do_timer(struct nom_lease *lease, union nom_lease_arg *a)
{
	return nom_timer_arm(lease, &a->timer);
}

static int nom_check_subscribe(const union nom_lease_arg *a)
{
	if (a->subscribe.classes >> NOM_BOARD_NR_CLASSES)
		return -EOPNOTSUPP;
	return a->subscribe.event < NOM_NR_EVENTS ? 0 : -EINVAL;
}

static int nom_do_subscribe(struct nom_lease *lease, union nom_lease_arg *a)
{
	WRITE_ONCE(lease->sub, (u64)a->subscribe.event << 32 | a->subscribe.classes);
	return 0;
}

static int nom_check_stats(const union nom_lease_arg *a)
{
	return a->stats.flags ? -EOPNOTSUPP : 0;
}

static int nom_do_stats(struct nom_lease *lease, union nom_lease_arg *a)
{
	nom_lease_stats(lease, &a->stats);
	return 0;
}

#define NOM_CALL_ANSWERS	(1U << 0)	/* the struct goes back */
#define NOM_CALL_ENDED_TOO	(1U << 1)

/* Inlined, so that arming the timer makes no indirect call. */
static __always_inline int nom_lease_call(struct nom_lease *lease, void __user *arg, size_t size,
		int (*check)(const union nom_lease_arg *a),
		int (*run)(struct nom_lease *lease, union nom_lease_arg *a), unsigned int flags)
{
	union nom_lease_arg a;
	size_t usize;
	int ret;

	ret = nom_struct_in(&a, size, size, arg, &usize) ?: check(&a);
	if (ret)
		return ret;
	mutex_lock(&lease->lock);
	ret = lease->ended && !(flags & NOM_CALL_ENDED_TOO) ? -ENXIO : run(lease, &a);
	mutex_unlock(&lease->lock);
	return ret || !(flags & NOM_CALL_ANSWERS) ? ret : nom_struct_out(arg, usize, &a, size);
}

static long nom_lease_fop_ioctl(struct file *file, unsigned int cmd, unsigned long ptr)
{
	struct nom_lease *lease = file->private_data;
	void __user *arg = (void __user *)ptr;
	union nom_lease_arg *a;		/* for its sizes */

	switch (cmd) {
	case NOM_CORE_WAIT:
		return nom_ioctl_core_wait(lease, arg);
	case NOM_CORE_ENTER:
		return nom_ioctl_core_enter(lease, arg);
	case NOM_CORE_LEAVE:
		return nom_ioctl_core_leave(lease);
	case NOM_CORE_BIND:
		return nom_lease_call(lease, arg, sizeof(a->bind), nom_check_bind, nom_do_bind, 0);
	case NOM_CORE_UNBIND:
		return nom_lease_call(lease, arg, sizeof(a->bind), nom_check_bind, nom_do_unbind, 0);
	case NOM_CORE_MASK:
		return nom_lease_call(lease, arg, sizeof(a->bind), nom_check_bind, nom_do_mask, 0);
	case NOM_CORE_UNMASK:
		return nom_lease_call(lease, arg, sizeof(a->bind), nom_check_bind, nom_do_unmask, 0);
	case NOM_CORE_BINDING:
		return nom_lease_call(lease, arg, sizeof(a->binding), nom_check_binding,
				      nom_do_binding, NOM_CALL_ANSWERS);
	case NOM_CORE_TIMER:
		return nom_lease_call(lease, arg, sizeof(a->timer), nom_check_timer,
				      nom_do_timer, 0);
	case NOM_CORE_SUBSCRIBE:
		return nom_lease_call(lease, arg, sizeof(a->subscribe), nom_check_subscribe,
				      nom_do_subscribe, 0);
	case NOM_CORE_STATS:
		return nom_lease_call(lease, arg, sizeof(a->stats), nom_check_stats,
				      nom_do_stats, NOM_CALL_ANSWERS | NOM_CALL_ENDED_TOO);
	}
	return -ENOTTY;
}

static const struct file_operations nom_lease_fops = {
	.owner		= THIS_MODULE,
	.release	= nom_lease_fop_release,
	.unlocked_ioctl	= nom_lease_fop_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.mmap		= nom_lease_fop_mmap,
};

/**
 * nom_lease_file - a file for a lease
 * @lease: has a core; the file takes over the caller's reference
 *
 * Return: the file or an ERR_PTR.
 */
struct file *nom_lease_file(struct nom_lease *lease)
{
	return anon_inode_getfile("[nom-core]", &nom_lease_fops, lease, O_RDWR);
}
