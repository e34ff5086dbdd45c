// SPDX-License-Identifier: GPL-2.0
/*
 * nom: NOM_CORE_CLAIM and NOM_NOTIFY - what /dev/nom does with leases of which
 * the caller has no descriptor.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/uidgid.h>
#include <linux/user_namespace.h>
#include "nom.h"
#include "nom_trace.h"

#define NOM_CLAIM_KNOWN	(NOM_CLAIM_WAIT | NOM_CLAIM_NOTIFY_UID | NOM_CLAIM_NOTIFY_ANY)

static_assert(offsetof(struct nom_core_claim, deadline_ns) == NOM_CORE_CLAIM_SIZE_V1);

static int nom_claim_check(const struct nom_core_claim *c)
{
	if (c->flags & ~NOM_CLAIM_KNOWN)
		return -EOPNOTSUPP;
	if (c->reserved || c->deadline_ns > KTIME_MAX)
		return -EINVAL;
	if (c->deadline_ns && !(c->flags & NOM_CLAIM_WAIT))
		return -EINVAL;
	if (c->notify_uid && !(c->flags & NOM_CLAIM_NOTIFY_UID))
		return -EINVAL;
	return 0;
}

/**
 * nom_ioctl_core_claim - ioctl(NOM_CORE_CLAIM)
 * @user: who pays
 * @arg: struct nom_core_claim
 *
 * Return: as in the uapi header.
 */
int nom_ioctl_core_claim(struct nom_user *user, void __user *arg)
{
	struct nom_core_claim claim;
	struct nom_lease *lease;
	struct file *file;
	size_t usize;
	int fd, ret;

	ret = nom_struct_in(&claim, sizeof(claim), NOM_CORE_CLAIM_SIZE_V1, arg, &usize);
	if (ret)
		return ret;
	ret = nom_claim_check(&claim);
	if (ret)
		return ret;

	ret = nom_lease_create(user, &claim, &lease);
	if (ret)
		return ret;
	ret = nom_slot_claim(lease, claim.cpu, claim.flags & NOM_CLAIM_WAIT,
			     claim.deadline_ns);
	if (ret) {
		nom_lease_discard(lease);
		return ret;
	}

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		ret = fd;
		goto err_end;
	}
	file = nom_lease_file(lease);
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

/* The lease's own user, whom its claim let in, and CAP_KILL: as for signals. */
static bool nom_notify_may(const struct nom_lease *lease, unsigned int event)
{
	kuid_t uid = current_euid();

	if (!(lease->notify_mask & BIT_ULL(event)))
		return false;
	return uid_eq(uid, lease->owner.uid) ||
	       lease->claim_flags & NOM_CLAIM_NOTIFY_ANY ||
	       (lease->claim_flags & NOM_CLAIM_NOTIFY_UID &&
		uid_eq(uid, lease->notify_uid)) ||
	       capable(CAP_KILL);
}

static long nom_notify(struct nom_user *user, unsigned int event, u64 handle)
{
	struct nom_lease *lease;
	long ret = 0;

	if (unlikely(event >= NOM_NR_EVENTS))
		return -EINVAL;

	rcu_read_lock();
	lease = nom_slot_lease(handle);
	if (!lease) {
		ret = -ENOENT;
	} else if (!nom_notify_may(lease, event)) {
		ret = -EPERM;
	} else if (!nom_limit_notify(user)) {
		ret = -EAGAIN;
	} else {
		trace_nom_event(handle, event, 1, "notify");
		nom_post(&lease->u, event, 1);
	}
	rcu_read_unlock();
	return ret;
}

static noinline long nom_notify_odd_size(struct nom_user *user, void __user *arg)
{
	struct nom_notify n;
	size_t usize;
	int ret;

	ret = nom_struct_in(&n, sizeof(n), sizeof(n), arg, &usize);
	return ret ?: nom_notify(user, n.event, n.handle);
}

/**
 * nom_ioctl_notify - ioctl(NOM_NOTIFY): post an event to somebody's lease
 * @user: who pays
 * @arg: struct nom_notify
 *
 * The usual size goes by plain loads into registers: a string move, and a frame
 * that the compiler guards, cost more for so little.
 *
 * Return: as in the uapi header.
 */
long nom_ioctl_notify(struct nom_user *user, void __user *arg)
{
	struct nom_notify __user *u = arg;
	u32 size, event;
	u64 handle;

	if (!user_read_access_begin(u, sizeof(*u)))
		return -EFAULT;
	unsafe_get_user(size, &u->size, efault);
	unsafe_get_user(event, &u->event, efault);
	unsafe_get_user(handle, &u->handle, efault);
	user_read_access_end();
	if (likely(size == sizeof(*u)))
		return nom_notify(user, event, handle);
	return nom_notify_odd_size(user, arg);
efault:
	user_read_access_end();
	return -EFAULT;
}
