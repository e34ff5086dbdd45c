// SPDX-License-Identifier: GPL-2.0
/*
 * nom: users and what each may have.
 *
 * Whoever opens /dev/nom pays: cores, bindings, memory and notifications had
 * through a descriptor are charged to the user who opened it, wherever the
 * descriptor went since, as io_uring charges a ring's creator.  So a charge needs
 * no look at credentials, and a process cannot shed one by changing its own.
 *
 * An opener with CAP_SYS_RESOURCE is counted, but not limited; the two sorts of
 * one user are two entries.  The limits are module parameters and hold for what
 * is asked for after they were written; nothing is taken away.
 *
 * Notifications are counted down from a tenth of the limit, every tenth of a
 * second anew: one locked instruction each.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/hashtable.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/user_namespace.h>
#include "nom.h"

#define NOM_NOTIFY_WINDOWS	10	/* a second */
#define NOM_NOTIFY_UNLIMITED	4096	/* handed out at once: a new limit soon holds */

static DEFINE_HASHTABLE(nom_users, 6);
static DEFINE_SPINLOCK(nom_user_lock);	/* protects nom_users; RCU callbacks take it */

/* -1: no limit */
static int nom_user_cores = -1;
static int nom_user_mem_mib = -1;
static int nom_user_bindings = 256;
static int nom_user_notify_per_s = 250000;

static int nom_limit_set(const char *val, const struct kernel_param *kp)
{
	int n, ret;

	ret = kstrtoint(val, 0, &n);
	if (ret)
		return ret;
	if (n < -1)
		return -EINVAL;
	WRITE_ONCE(*(int *)kp->arg, n);
	return 0;
}

static const struct kernel_param_ops nom_limit_ops = {
	.set = nom_limit_set,
	.get = param_get_int,
};

module_param_cb(user_cores, &nom_limit_ops, &nom_user_cores, 0644);
MODULE_PARM_DESC(user_cores, "cores a user may hold or wait for (-1: any number)");
module_param_cb(user_mem_mib, &nom_limit_ops, &nom_user_mem_mib, 0644);
MODULE_PARM_DESC(user_mem_mib, "MiB of memory a user may be granted (-1: all)");
module_param_cb(user_bindings, &nom_limit_ops, &nom_user_bindings, 0644);
MODULE_PARM_DESC(user_bindings, "eventfds a user may bind (-1: any number)");
module_param_cb(user_notify_per_s, &nom_limit_ops, &nom_user_notify_per_s, 0644);
MODULE_PARM_DESC(user_notify_per_s, "notifications a user may send in a second (-1: any number)");

static u64 nom_limit_of(enum nom_resource what)
{
	int n;

	switch (what) {
	case NOM_RES_CORES:
		n = READ_ONCE(nom_user_cores);
		break;
	case NOM_RES_BINDINGS:
		n = READ_ONCE(nom_user_bindings);
		break;
	default:
		n = READ_ONCE(nom_user_mem_mib);
		return n < 0 ? NOM_UNLIMITED : (u64)n << 20;
	}
	return n < 0 ? NOM_UNLIMITED : n;
}

/**
 * nom_user_get_current - the caller as one who pays
 *
 * Context: process, may sleep.
 * Return: the user, referenced, or NULL (no memory).
 */
struct nom_user *nom_user_get_current(void)
{
	bool exempt = ns_capable_noaudit(&init_user_ns, CAP_SYS_RESOURCE);
	kuid_t uid = current_euid();
	struct nom_user *user, *fresh;

	fresh = kzalloc(sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	if (!fresh)
		return NULL;
	fresh->uid = uid;
	fresh->exempt = exempt;
	fresh->notify_window = jiffies - HZ;
	refcount_set(&fresh->ref, 1);

	spin_lock_irq(&nom_user_lock);
	hash_for_each_possible(nom_users, user, node, __kuid_val(uid)) {
		if (uid_eq(user->uid, uid) && user->exempt == exempt) {
			refcount_inc(&user->ref);
			goto out;
		}
	}
	user = fresh;
	fresh = NULL;
	hash_add(nom_users, &user->node, __kuid_val(uid));
out:
	spin_unlock_irq(&nom_user_lock);
	kfree(fresh);
	return user;
}

/**
 * nom_user_get - one more reference
 * @user: referenced by the caller
 */
struct nom_user *nom_user_get(struct nom_user *user)
{
	refcount_inc(&user->ref);
	return user;
}

/**
 * nom_user_put - drop a reference
 * @user: a user, or NULL
 *
 * Context: any but hard interrupts.
 */
void nom_user_put(struct nom_user *user)
{
	unsigned long flags;

	if (!user || !refcount_dec_and_lock_irqsave(&user->ref, &nom_user_lock, &flags))
		return;
	hash_del(&user->node);
	spin_unlock_irqrestore(&nom_user_lock, flags);
	kfree(user);
}

/**
 * nom_limit_charge - let a user have more of something, if the limit allows
 * @user: who pays
 * @what: of what
 * @n: how much
 *
 * Return: 0 or -EDQUOT.
 */
int nom_limit_charge(struct nom_user *user, enum nom_resource what, u64 n)
{
	u64 max = user->exempt ? NOM_UNLIMITED : nom_limit_of(what);
	s64 used = atomic64_read(&user->used[what]);

	do {
		if (n > max || used > max - n)
			return -EDQUOT;
	} while (!atomic64_try_cmpxchg(&user->used[what], &used, used + n));
	return 0;
}

/**
 * nom_limit_uncharge - take a charge back
 * @user: who paid
 * @what: of what
 * @n: how much
 */
void nom_limit_uncharge(struct nom_user *user, enum nom_resource what, u64 n)
{
	WARN_ON_ONCE(atomic64_sub_return(n, &user->used[what]) < 0);
}

/**
 * nom_limit_refill - the slow part of nom_limit_notify()
 * @user: whose count of notifications has run out
 *
 * Return: whether the user may send another one.
 */
bool nom_limit_refill(struct nom_user *user)
{
	unsigned long began = READ_ONCE(user->notify_window), now = jiffies;
	int limit = READ_ONCE(nom_user_notify_per_s), left;

	if (user->exempt || limit < 0) {
		atomic_set(&user->notify_left, NOM_NOTIFY_UNLIMITED);
		return true;
	}
	if (time_before(now, began + HZ / NOM_NOTIFY_WINDOWS))
		goto refuse;
	if (cmpxchg(&user->notify_window, began, now) == began) {
		left = DIV_ROUND_UP(limit, NOM_NOTIFY_WINDOWS);
		atomic_set(&user->notify_left, left - 1);
		if (left)
			return true;
	} else if (atomic_dec_return(&user->notify_left) >= 0) {
		return true;
	}
refuse:
	atomic64_inc(&user->notify_refused);
	return false;
}

/**
 * nom_limit_describe - what a user has, and may have
 * @user: the user
 * @out: all but size is written
 */
void nom_limit_describe(struct nom_user *user, struct nom_limits *out)
{
	int notify = READ_ONCE(nom_user_notify_per_s);

	out->flags = 0;
	out->out_uid = from_kuid_munged(&init_user_ns, user->uid);
	out->out_exempt = user->exempt;
	out->out_cores = atomic64_read(&user->used[NOM_RES_CORES]);
	out->out_bindings = atomic64_read(&user->used[NOM_RES_BINDINGS]);
	out->out_mem_bytes = atomic64_read(&user->used[NOM_RES_MEM]);
	out->out_notify_refused = atomic64_read(&user->notify_refused);
	out->out_cores_max = nom_limit_of(NOM_RES_CORES);
	out->out_bindings_max = nom_limit_of(NOM_RES_BINDINGS);
	out->out_mem_bytes_max = nom_limit_of(NOM_RES_MEM);
	out->out_notify_per_s_max = notify < 0 ? NOM_UNLIMITED : notify;
}

/**
 * nom_limit_describe_nth - the users who have /dev/nom open, or something of it
 * @nth: from 0 on, in no particular order
 * @out: all but size is written
 *
 * Return: 0 or -ENOENT (past the last).
 */
int nom_limit_describe_nth(unsigned int nth, struct nom_limits *out)
{
	struct nom_user *user;
	unsigned int bucket;
	int ret = -ENOENT;

	spin_lock_irq(&nom_user_lock);
	hash_for_each(nom_users, bucket, user, node) {
		if (nth--)
			continue;
		nom_limit_describe(user, out);
		ret = 0;
		break;
	}
	spin_unlock_irq(&nom_user_lock);
	return ret;
}
