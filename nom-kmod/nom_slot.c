// SPDX-License-Identifier: GPL-2.0
/*
 * nom: slots - which reserved core has which lease, and who waits for one.
 *
 * A slot is a reserved core.  The table's lease pointers are read under RCU by
 * whoever posts, in any context, and written under nom_slot_lock, together with
 * the core's record on the bulletin board.
 *
 * Who waits stands in one queue, whichever core it wants.  A core that becomes
 * free goes to the first in the queue that takes it, directly: it is never free
 * in between, so nobody can come first who came last.  A waiter lies on its own
 * stack; it is off the queue when @served is set, and is not touched after that.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/cred.h>
#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include "nom.h"
#include "nom_trace.h"

#define NOM_HANDLE_CPU_BITS	16

struct nom_slot {
	unsigned int cpu;
	bool online;			/* false from the beginning of its unplugging on */
	struct nom_lease __rcu *lease;
};

struct nom_waiter {
	struct list_head link;
	struct nom_lease *lease;	/* without a core as yet */
	struct task_struct *task;
	s32 cpu;
	bool served;
};

static struct nom_slot *nom_slots;	/* by index, as on the board */
static unsigned int nom_nr_slots;
static u64 nom_generation;		/* of the next lease, from 1 on */
static LIST_HEAD(nom_waiters);		/* in the order of asking */
static int nom_cpuhp_state;

/* Protects the slots' lease pointers, leases' owners, nom_generation, nom_waiters,
 * and that the board's core records follow them in order.
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

/* --------------------------------------------------------------- claim --- */

static void nom_slot_give(struct nom_slot *slot, struct nom_lease *lease)
{
	lockdep_assert_held(&nom_slot_lock);
	nom_upcall_init(&lease->u, &nom_lease_ops, slot->cpu, page_address(lease->page));
	lease->index = slot - nom_slots;
	lease->handle = ++nom_generation << NOM_HANDLE_CPU_BITS | slot->cpu;
	rcu_assign_pointer(slot->lease, lease);
}

/* The slot is nobody's: let the first in the queue have it, or nobody. */
static void nom_slot_offer(struct nom_slot *slot)
{
	struct nom_waiter *w;
	struct nom_lease *lease;
	struct task_struct *task;

	lockdep_assert_held(&nom_slot_lock);
	list_for_each_entry(w, &nom_waiters, link) {
		if (w->cpu != NOM_CPU_ANY && (u32)w->cpu != slot->cpu)
			continue;
		lease = w->lease;
		task = get_task_struct(w->task);
		list_del(&w->link);
		nom_slot_give(slot, lease);
		/* the waiter may be gone from here on; partner: nom_slot_wait() */
		smp_store_release(&w->served, true);
		/* before the board: it takes a while to wake up, the board, too */
		wake_up_process(task);
		put_task_struct(task);
		nom_slot_publish(slot, NOM_CORE_LEASED, lease);
		return;
	}
	nom_slot_publish(slot, slot->online ? NOM_CORE_FREE : NOM_CORE_OFFLINE,
			 NULL);
}

static int nom_slot_find(s32 cpu, struct nom_slot **slot_out)
{
	unsigned int i;
	int ret = -ENOENT;

	lockdep_assert_held(&nom_slot_lock);
	for (i = 0; i < nom_nr_slots; i++) {
		if (cpu != NOM_CPU_ANY && (u32)cpu != nom_slots[i].cpu)
			continue;
		if (!nom_slots[i].online)
			continue;
		ret = -EBUSY;
		if (rcu_access_pointer(nom_slots[i].lease))
			continue;
		*slot_out = &nom_slots[i];
		return 0;
	}
	return ret;
}

static int nom_slot_wait(struct nom_waiter *w, u64 deadline_ns)
{
	ktime_t deadline = ns_to_ktime(deadline_ns);
	int ret;

	for (;;) {
		set_current_state(TASK_INTERRUPTIBLE);
		/* partner: nom_slot_offer() */
		ret = 0;
		if (smp_load_acquire(&w->served))
			break;
		ret = -ERESTARTSYS;
		if (signal_pending(current))
			break;
		ret = -ETIMEDOUT;
		if (!schedule_hrtimeout_range(deadline_ns ? &deadline : NULL, 0,
					      HRTIMER_MODE_ABS))
			break;
	}
	__set_current_state(TASK_RUNNING);
	if (ret) {
		mutex_lock(&nom_slot_lock);
		if (w->served)
			ret = 0;	/* just in time */
		else
			list_del(&w->link);
		mutex_unlock(&nom_slot_lock);
	}
	if (!ret) {
		/* a core that comes online serves us before it takes threads */
		cpus_read_lock();
		cpus_read_unlock();
	}
	return ret;
}

/**
 * nom_slot_claim - find a core for a lease
 * @lease: new; on success it is in the table, its count is 1, the caller's
 * @cpu: reserved core or NOM_CPU_ANY
 * @wait: until there is one
 * @deadline_ns: for waiting, CLOCK_MONOTONIC; 0 for none
 *
 * Return: 0, -ENOENT, -EBUSY, -ETIMEDOUT, -ERESTARTSYS.
 */
int nom_slot_claim(struct nom_lease *lease, s32 cpu, bool wait, u64 deadline_ns)
{
	struct nom_waiter w = { .lease = lease, .task = current, .cpu = cpu };
	struct nom_slot *slot;
	int ret;

	cpus_read_lock();
	mutex_lock(&nom_slot_lock);
	ret = nom_slot_find(cpu, &slot);
	if (!ret) {
		nom_slot_give(slot, lease);
		nom_slot_publish(slot, NOM_CORE_LEASED, lease);
	} else if (ret == -EBUSY && wait) {
		list_add_tail(&w.link, &nom_waiters);
	}
	mutex_unlock(&nom_slot_lock);
	cpus_read_unlock();
	if (ret == -EBUSY && wait)
		ret = nom_slot_wait(&w, deadline_ns);
	return ret;
}

/**
 * nom_slot_enter - a thread is on the core now
 * @lease: attached to current
 */
void nom_slot_enter(struct nom_lease *lease)
{
	mutex_lock(&nom_slot_lock);
	nom_owner_set_current(&lease->owner);
	nom_slot_publish(&nom_slots[lease->index], NOM_CORE_RUNNING, lease);
	mutex_unlock(&nom_slot_lock);
}

/**
 * nom_slot_free - the core of a lease that has ended goes on to the next
 * @lease: nothing posts to it any more but readers of the table
 */
void nom_slot_free(struct nom_lease *lease)
{
	struct nom_slot *slot = &nom_slots[lease->index];

	mutex_lock(&nom_slot_lock);
	RCU_INIT_POINTER(slot->lease, NULL);
	nom_slot_offer(slot);
	mutex_unlock(&nom_slot_lock);
}

/* -------------------------------------------------------------- look up --- */

/**
 * nom_slot_lease - the lease that a handle names
 * @handle: as users know it
 *
 * Context: RCU reader.
 * Return: the lease, as long as the reader reads, or NULL.
 */
struct nom_lease *nom_slot_lease(u64 handle)
{
	struct nom_slot *slot = nom_slot_of(handle & (BIT(NOM_HANDLE_CPU_BITS) - 1));
	struct nom_lease *lease = slot ? rcu_dereference(slot->lease) : NULL;

	return lease && lease->handle == handle ? lease : NULL;
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
		nom_storm_post(lease, sub >> 32, 1);
	}
	rcu_read_unlock();
}

/* The lease of a slot, referenced, or NULL. */
static struct nom_lease *nom_slot_get(unsigned int index)
{
	struct nom_lease *lease;

	mutex_lock(&nom_slot_lock);
	lease = rcu_dereference_protected(nom_slots[index].lease,
					  lockdep_is_held(&nom_slot_lock));
	if (lease)
		nom_get(&lease->u);
	mutex_unlock(&nom_slot_lock);
	return lease;
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
	struct nom_lease *lease = nom_slot_get(index);

	if (!lease)
		return -ENOENT;
	mutex_lock(&nom_slot_lock);
	*owner_out = lease->owner;
	mutex_unlock(&nom_slot_lock);
	nom_lease_stats(lease, stats_out);
	nom_put(&lease->u);
	return 0;
}

/**
 * nom_lease_describe_binding - a binding of whoever holds a core, for netlink
 * @index: of the core
 * @nth: of its bindings, from 0 on
 * @out: all out_* fields are written
 *
 * Return: 0 or -ENOENT (not leased; past the last).
 */
int nom_lease_describe_binding(unsigned int index, unsigned int nth,
			       struct nom_core_binding *out)
{
	struct nom_lease *lease = nom_slot_get(index);
	int ret;

	if (!lease)
		return -ENOENT;
	mutex_lock(&lease->lock);
	ret = nom_bind_describe(lease, nth, out);
	mutex_unlock(&lease->lock);
	nom_put(&lease->u);
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
	slot->online = true;
	if (!rcu_access_pointer(slot->lease))
		nom_slot_offer(slot);
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
	if (rcu_access_pointer(slot->lease)) {
		ret = -EBUSY;
	} else {
		slot->online = false;
		nom_slot_publish(slot, NOM_CORE_OFFLINE, NULL);
	}
	mutex_unlock(&nom_slot_lock);
	return ret;
}

/**
 * nom_slot_init - make the slots of the reserved cores, and the board
 *
 * Return: 0 or -errno.
 */
int __init nom_slot_init(void)
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

void nom_slot_exit(void)
{
	cpuhp_remove_state_nocalls(nom_cpuhp_state);
	nom_board_exit();
	kfree(nom_slots);
}
