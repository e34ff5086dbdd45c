// SPDX-License-Identifier: GPL-2.0
/*
 * nom: leases of reserved cores.
 *
 * A lease is born by NOM_CORE_CLAIM as a file descriptor.  One thread may enter
 * it; the core kernel then moves that thread to the core and delivers upcalls to
 * it.  Lifetime:
 *
 *	claimed    ended by the last close of the descriptor
 *	entered    ended by the core kernel's detached(): leave, exit, exec, kill
 *	ended      the core is free; descriptor and mappings of the shared page
 *		   live on, and every ioctl but NOM_CORE_STATS says -ENXIO
 *
 * An entered lease does not end with its descriptor, since mappings of the
 * shared page keep the file open anyway; and a dead thread's core must not wait
 * for other processes that inherited the descriptor.
 *
 * nom_upcall.ref counts the descriptor and the attached thread (the latter is
 * the core kernel's).  The slot table is read under RCU by whoever posts, in any
 * context, and written under nom_slot_lock.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/anon_inodes.h>
#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "nom.h"
#include "nom_trace.h"

#define NOM_HANDLE_CPU_BITS	16

struct nom_slot {
	unsigned int cpu;
	struct nom_lease __rcu *lease;
};

static struct nom_slot *nom_slots;	/* by index, as on the board */
static unsigned int nom_nr_slots;
static u64 nom_generation;		/* of the next lease, from 1 on */
static int nom_cpuhp_state;

/* Protects the slots' lease pointers, leases' owners, nom_generation, and that
 * the board's core records follow them in order.
 */
static DEFINE_MUTEX(nom_slot_lock);

static struct nom_slot *nom_slot_of(unsigned int cpu)
{
	unsigned int i;

	for (i = 0; i < nom_nr_slots; i++)
		if (nom_slots[i].cpu == cpu)
			return &nom_slots[i];
	return NULL;
}

static void nom_slot_publish(struct nom_slot *slot, unsigned int state,
			     const struct nom_lease *lease)
{
	struct nom_board_core core = { .cpu = slot->cpu, .state = state };

	lockdep_assert_held(&nom_slot_lock);
	if (lease) {
		core.handle = lease->handle;
		core.pid = lease->owner.pid;
		core.uid = from_kuid_munged(&init_user_ns, lease->owner.uid);
	}
	trace_nom_lease(slot->cpu, core.handle, state);
	nom_board_core(slot - nom_slots, &core);
}

/* ------------------------------------------------------------- the end --- */

static void nom_lease_free(struct rcu_head *rcu)
{
	struct nom_lease *lease = container_of(rcu, struct nom_lease, rcu);

	put_page(lease->page);
	kfree(lease);
}

/* nom_upcall_ops.release: any context but hard interrupts. */
static void nom_lease_release(struct nom_upcall *u)
{
	struct nom_lease *lease = container_of(u, struct nom_lease, u);

	call_rcu(&lease->rcu, nom_lease_free);
}

/* Take away all that can post, then free the core.  Once per lease. */
static void nom_lease_end(struct nom_lease *lease)
{
	struct nom_slot *slot = &nom_slots[lease->index];

	mutex_lock(&lease->lock);
	if (lease->ended) {
		mutex_unlock(&lease->lock);
		return;
	}
	lease->ended = true;
	WRITE_ONCE(lease->sub, 0);
	nom_event_teardown(lease);
	mutex_unlock(&lease->lock);

	mutex_lock(&nom_slot_lock);
	RCU_INIT_POINTER(slot->lease, NULL);
	nom_slot_publish(slot, cpu_online(slot->cpu) ? NOM_CORE_FREE : NOM_CORE_OFFLINE,
			 NULL);
	mutex_unlock(&nom_slot_lock);
}

/* nom_upcall_ops.detached: process context, the thread that was attached. */
static void nom_lease_detached(struct nom_upcall *u)
{
	nom_lease_end(container_of(u, struct nom_lease, u));
}

static const struct nom_upcall_ops nom_lease_ops = {
	.owner		= THIS_MODULE,
	.detached	= nom_lease_detached,
	.release	= nom_lease_release,
};

/* ------------------------------------------------- a lease's descriptor --- */

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

static int nom_ioctl_core_enter(struct nom_lease *lease, void __user *arg)
{
	struct nom_slot *slot = &nom_slots[lease->index];
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
	ret = nom_attach(&lease->u, &enter.regs);
	if (ret) {
		mutex_lock(&lease->lock);
		lease->attached = false;
		mutex_unlock(&lease->lock);
		return ret;
	}

	mutex_lock(&nom_slot_lock);
	nom_owner_set_current(&lease->owner);
	nom_slot_publish(slot, NOM_CORE_RUNNING, lease);
	mutex_unlock(&nom_slot_lock);
	return 0;
}

static int nom_ioctl_core_leave(struct nom_lease *lease)
{
	if (nom_current() != &lease->u)
		return -ENXIO;
	return nom_detach();
}

static void nom_lease_stats(const struct nom_lease *lease, struct nom_core_stats *out)
{
	out->out_events = READ_ONCE(lease->u.nr_events);
	out->out_traps = READ_ONCE(lease->u.nr_traps);
	out->out_restarts = READ_ONCE(lease->u.nr_restarts);
	out->out_masked = READ_ONCE(lease->u.nr_masked);
	out->out_posts = READ_ONCE(lease->u.nr_posts);
	out->out_kicks = READ_ONCE(lease->u.nr_kicks);
	out->out_failed = READ_ONCE(lease->u.nr_failed);
}

static int nom_ioctl_core_stats(struct nom_lease *lease, void __user *arg)
{
	struct nom_core_stats stats;
	size_t usize;
	int ret;

	ret = nom_struct_in(&stats, sizeof(stats), sizeof(stats), arg, &usize);
	if (ret)
		return ret;
	if (stats.flags)
		return -EOPNOTSUPP;
	nom_lease_stats(lease, &stats);
	return nom_struct_out(arg, usize, &stats, sizeof(stats));
}

static int nom_ioctl_core_bind(struct nom_lease *lease, void __user *arg, bool bind)
{
	struct nom_core_bind b;
	size_t usize;
	int ret;

	ret = nom_struct_in(&b, sizeof(b), sizeof(b), arg, &usize);
	if (ret)
		return ret;
	if (b.flags)
		return -EOPNOTSUPP;
	if (b.event >= NOM_NR_EVENTS)
		return -EINVAL;

	mutex_lock(&lease->lock);
	if (lease->ended)
		ret = -ENXIO;
	else if (bind)
		ret = nom_event_bind(lease, b.event, b.fd);
	else
		ret = nom_event_unbind(lease, b.event, b.fd);
	mutex_unlock(&lease->lock);
	return ret;
}

static int nom_ioctl_core_timer(struct nom_lease *lease, void __user *arg)
{
	struct nom_core_timer t;
	size_t usize;
	int ret;

	ret = nom_struct_in(&t, sizeof(t), sizeof(t), arg, &usize);
	if (ret)
		return ret;
	if (t.flags & ~NOM_TIMER_ABS)
		return -EOPNOTSUPP;
	if (t.event >= NOM_NR_EVENTS || t.reserved)
		return -EINVAL;

	mutex_lock(&lease->lock);
	ret = lease->ended ? -ENXIO : nom_event_timer(lease, &t);
	mutex_unlock(&lease->lock);
	return ret;
}

static int nom_ioctl_core_subscribe(struct nom_lease *lease, void __user *arg)
{
	struct nom_core_subscribe s;
	size_t usize;
	int ret;

	ret = nom_struct_in(&s, sizeof(s), sizeof(s), arg, &usize);
	if (ret)
		return ret;
	if (s.classes >> NOM_BOARD_NR_CLASSES)
		return -EOPNOTSUPP;
	if (s.event >= NOM_NR_EVENTS)
		return -EINVAL;

	mutex_lock(&lease->lock);
	if (lease->ended)
		ret = -ENXIO;
	else
		WRITE_ONCE(lease->sub, (u64)s.event << 32 | s.classes);
	mutex_unlock(&lease->lock);
	return ret;
}

static long nom_lease_fop_ioctl(struct file *file, unsigned int cmd, unsigned long ptr)
{
	struct nom_lease *lease = file->private_data;
	void __user *arg = (void __user *)ptr;

	switch (cmd) {
	case NOM_CORE_ENTER:
		return nom_ioctl_core_enter(lease, arg);
	case NOM_CORE_LEAVE:
		return nom_ioctl_core_leave(lease);
	case NOM_CORE_BIND:
		return nom_ioctl_core_bind(lease, arg, true);
	case NOM_CORE_UNBIND:
		return nom_ioctl_core_bind(lease, arg, false);
	case NOM_CORE_TIMER:
		return nom_ioctl_core_timer(lease, arg);
	case NOM_CORE_SUBSCRIBE:
		return nom_ioctl_core_subscribe(lease, arg);
	case NOM_CORE_STATS:
		return nom_ioctl_core_stats(lease, arg);
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

/* --------------------------------------------------------------- claim --- */

static int nom_lease_create(u64 notify_mask, struct nom_lease **lease_out)
{
	struct nom_lease *lease;

	lease = kzalloc(sizeof(*lease), GFP_KERNEL_ACCOUNT);
	if (!lease)
		return -ENOMEM;
	lease->page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!lease->page) {
		kfree(lease);
		return -ENOMEM;
	}
	mutex_init(&lease->lock);
	lease->notify_mask = notify_mask;
	nom_owner_set_current(&lease->owner);
	nom_event_init(lease);
	*lease_out = lease;
	return 0;
}

/* Find a free slot and put the lease there; the count is 1, the caller's. */
static int nom_lease_claim(struct nom_lease *lease, s32 cpu)
{
	struct nom_slot *slot = NULL;
	unsigned int i;
	int ret;

	cpus_read_lock();
	mutex_lock(&nom_slot_lock);
	ret = -ENOENT;
	for (i = 0; i < nom_nr_slots; i++) {
		if (cpu != NOM_CPU_ANY && (u32)cpu != nom_slots[i].cpu)
			continue;
		if (!cpu_online(nom_slots[i].cpu))
			continue;
		ret = -EBUSY;
		if (rcu_access_pointer(nom_slots[i].lease))
			continue;
		slot = &nom_slots[i];
		break;
	}
	if (!slot)
		goto out;

	nom_upcall_init(&lease->u, &nom_lease_ops, slot->cpu, page_address(lease->page));
	lease->index = i;
	lease->handle = ++nom_generation << NOM_HANDLE_CPU_BITS | slot->cpu;
	rcu_assign_pointer(slot->lease, lease);
	nom_slot_publish(slot, NOM_CORE_LEASED, lease);
	ret = 0;
out:
	mutex_unlock(&nom_slot_lock);
	cpus_read_unlock();
	return ret;
}

/**
 * nom_ioctl_core_claim - ioctl(NOM_CORE_CLAIM)
 * @arg: struct nom_core_claim
 *
 * Return: as in the uapi header.
 */
int nom_ioctl_core_claim(void __user *arg)
{
	struct nom_core_claim claim;
	struct nom_lease *lease;
	struct file *file;
	size_t usize;
	int fd, ret;

	ret = nom_struct_in(&claim, sizeof(claim), sizeof(claim), arg, &usize);
	if (ret)
		return ret;
	if (claim.flags)
		return -EOPNOTSUPP;

	ret = nom_lease_create(claim.notify_mask, &lease);
	if (ret)
		return ret;
	ret = nom_lease_claim(lease, claim.cpu);
	if (ret) {
		nom_lease_free(&lease->rcu);	/* nobody has seen it */
		return ret;
	}

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		ret = fd;
		goto err_end;
	}
	file = anon_inode_getfile("[nom-core]", &nom_lease_fops, lease, O_RDWR);
	if (IS_ERR(file)) {
		ret = PTR_ERR(file);
		goto err_fd;
	}
	claim.out_core_fd = fd;
	claim.out_handle = lease->handle;
	ret = nom_struct_out(arg, usize, &claim, sizeof(claim));
	if (ret) {
		put_unused_fd(fd);
		fput(file);		/* ends the lease, it is the last reference */
		return ret;
	}
	fd_install(fd, file);
	return 0;

err_fd:
	put_unused_fd(fd);
err_end:
	nom_lease_end(lease);
	nom_put(&lease->u);
	return ret;
}

/* -------------------------------------------------------------- others --- */

/**
 * nom_ioctl_notify - ioctl(NOM_NOTIFY): post an event to somebody's lease
 * @arg: struct nom_notify
 *
 * Allowed to the lease's own user, and to CAP_KILL, for events that the lease
 * opened to it.
 *
 * Return: as in the uapi header.
 */
int nom_ioctl_notify(void __user *arg)
{
	struct nom_lease *lease;
	struct nom_notify n;
	struct nom_slot *slot;
	size_t usize;
	int ret;

	ret = nom_struct_in(&n, sizeof(n), sizeof(n), arg, &usize);
	if (ret)
		return ret;
	if (n.event >= NOM_NR_EVENTS)
		return -EINVAL;
	slot = nom_slot_of(n.handle & (BIT(NOM_HANDLE_CPU_BITS) - 1));
	if (!slot)
		return -ENOENT;

	rcu_read_lock();
	lease = rcu_dereference(slot->lease);
	if (!lease || lease->handle != n.handle) {
		ret = -ENOENT;
	} else if (!(lease->notify_mask & BIT_ULL(n.event)) ||
		   !(uid_eq(current_euid(), lease->owner.uid) || capable(CAP_KILL))) {
		ret = -EPERM;
	} else {
		trace_nom_event(n.handle, n.event, 1, "notify");
		nom_post(&lease->u, n.event, 1);
	}
	rcu_read_unlock();
	return ret;
}

/**
 * nom_lease_post_class - tell subscribers that a class of the board changed
 * @class: which
 */
void nom_lease_post_class(enum nom_board_class class)
{
	struct nom_lease *lease;
	unsigned int i;
	u64 sub;

	rcu_read_lock();
	for (i = 0; i < nom_nr_slots; i++) {
		lease = rcu_dereference(nom_slots[i].lease);
		if (!lease)
			continue;
		sub = READ_ONCE(lease->sub);
		if (!(sub & BIT_ULL(class)))
			continue;
		trace_nom_event(lease->handle, sub >> 32, 1, "board");
		nom_post(&lease->u, sub >> 32, 1);
	}
	rcu_read_unlock();
}

/**
 * nom_lease_describe - who holds a core, and what it did, for netlink
 * @index: of the core
 * @owner_out: written when leased
 * @stats_out: likewise
 *
 * Return: 0 or -ENOENT (not leased).
 */
int nom_lease_describe(unsigned int index, struct nom_owner *owner_out,
		       struct nom_core_stats *stats_out)
{
	struct nom_lease *lease;
	int ret = -ENOENT;

	mutex_lock(&nom_slot_lock);
	lease = rcu_dereference_protected(nom_slots[index].lease,
					  lockdep_is_held(&nom_slot_lock));
	if (lease) {
		*owner_out = lease->owner;
		nom_lease_stats(lease, stats_out);
		ret = 0;
	}
	mutex_unlock(&nom_slot_lock);
	return ret;
}

unsigned int nom_lease_nr_cores(void)
{
	return nom_nr_slots;
}

/* ------------------------------------------------------------- hotplug --- */

static int nom_cpu_online(unsigned int cpu)
{
	struct nom_slot *slot = nom_slot_of(cpu);

	if (!slot)
		return 0;
	mutex_lock(&nom_slot_lock);
	if (!rcu_access_pointer(slot->lease))
		nom_slot_publish(slot, NOM_CORE_FREE, NULL);
	mutex_unlock(&nom_slot_lock);
	return 0;
}

/* A leased core stays: its holder may run nowhere else. */
static int nom_cpu_offline(unsigned int cpu)
{
	struct nom_slot *slot = nom_slot_of(cpu);
	int ret = 0;

	if (!slot)
		return 0;
	mutex_lock(&nom_slot_lock);
	if (rcu_access_pointer(slot->lease))
		ret = -EBUSY;
	else
		nom_slot_publish(slot, NOM_CORE_OFFLINE, NULL);
	mutex_unlock(&nom_slot_lock);
	return ret;
}

/**
 * nom_lease_init - make the slots of the reserved cores, and the board
 *
 * Return: 0 or -errno.
 */
int __init nom_lease_init(void)
{
	const struct cpumask *reserved = nom_reserved_cpus();
	unsigned int cpu, i = 0;
	int ret;

	BUILD_BUG_ON(NR_CPUS > 1 << NOM_HANDLE_CPU_BITS);
	nom_nr_slots = cpumask_weight(reserved);
	nom_slots = kcalloc(nom_nr_slots, sizeof(*nom_slots), GFP_KERNEL);
	if (!nom_slots)
		return -ENOMEM;
	for_each_cpu(cpu, reserved)
		nom_slots[i++].cpu = cpu;

	ret = nom_board_init(nom_nr_slots, nom_pool_bytes());
	if (ret)
		goto err_slots;

	mutex_lock(&nom_slot_lock);
	for (i = 0; i < nom_nr_slots; i++)
		nom_slot_publish(&nom_slots[i], NOM_CORE_OFFLINE, NULL);
	mutex_unlock(&nom_slot_lock);

	/* calls nom_cpu_online() for every core that is */
	ret = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "nom:online", nom_cpu_online,
				nom_cpu_offline);
	if (ret < 0)
		goto err_board;
	nom_cpuhp_state = ret;
	return 0;

err_board:
	nom_board_exit();
err_slots:
	kfree(nom_slots);
	return ret;
}

void nom_lease_exit(void)
{
	cpuhp_remove_state_nocalls(nom_cpuhp_state);
	nom_board_exit();
	kfree(nom_slots);
}
