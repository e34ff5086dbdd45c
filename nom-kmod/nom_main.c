// SPDX-License-Identifier: GPL-2.0
/*
 * nom: /dev/nom, and the module's beginning and end.
 *
 * The module turns what the kernel reserved at boot (nom_cpus=, nom_mem=) into
 * file descriptors: a lease of a core, a grant of memory.  Whoever can open
 * /dev/nom for writing may ask for either; opening it for reading is enough to
 * see the bulletin board.  All a process holds hangs off its descriptors and,
 * for a lease, off the attached thread; so all of it comes back when the process
 * ends, however it ends.  What it may hold is limited per user (nom_limit.c).
 * Policy (who should get which core, at what price) is user space's.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>
#include "nom.h"

#define CREATE_TRACE_POINTS
#include "nom_trace.h"

struct workqueue_struct *nom_wq;

/* The ABI is what its first users were compiled with. */
static_assert(sizeof(struct nom_info) == 48);
static_assert(sizeof(struct nom_core_claim) == 48);
static_assert(sizeof(struct nom_mem_grant) == 32);
static_assert(sizeof(struct nom_notify) == 16);
static_assert(sizeof(struct nom_limits) == 80);
static_assert(sizeof(struct nom_core_enter) == 8 + sizeof(struct nom_upcall_regs));
static_assert(sizeof(struct nom_core_bind) == 16);
static_assert(sizeof(struct nom_core_timer) == 24);
static_assert(sizeof(struct nom_core_subscribe) == 16);
static_assert(sizeof(struct nom_core_wait) == 16);
static_assert(sizeof(struct nom_core_stats) == 64);
static_assert(sizeof(struct nom_core_binding) == 48);
static_assert(sizeof(struct nom_map_entry) == 32);
static_assert(sizeof(struct nom_mem_map) == 24);
static_assert(sizeof(struct nom_mem_phys) == 32);
static_assert(sizeof(struct nom_mem_release) == 32);
static_assert(sizeof(struct nom_mmio_open) == 72);
static_assert(sizeof(struct nom_mmio_irq) == 16);
static_assert(sizeof(struct nom_mem_query) == 72);
static_assert(sizeof(struct nom_mem_info) == 72);
static_assert(sizeof(struct nom_board) == 32 + NOM_BOARD_MAX_CLASSES * 24);
static_assert(sizeof(struct nom_board_core) == 24);
static_assert(sizeof(struct nom_board_memory) == 32);
static_assert(sizeof(struct nom_board_device) == 16);
static_assert(sizeof(struct nom_board_price) == 72);
static_assert(sizeof(struct nom_board_reclaim) == 32);

/**
 * nom_owner_set_current - note the calling process as owner
 * @owner: written
 */
void nom_owner_set_current(struct nom_owner *owner)
{
	owner->pid = task_tgid_nr(current);
	owner->uid = current_euid();
	get_task_comm(owner->comm, current->group_leader);
}

/**
 * nom_struct_in - fetch a size-first argument
 * @dst: kernel's struct; all of it is written on success
 * @ksize: its size
 * @min: size of the struct's first version
 * @arg: user's struct; begins with its size as a u32
 * @usize_out: how long the user says it is
 *
 * Context: process, may fault.
 * Return: 0, -EFAULT, -EINVAL (shorter than @min), -E2BIG (longer than @ksize
 * and not zero there, or longer than a page).
 */
int nom_struct_in(void *dst, size_t ksize, size_t min, const void __user *arg,
		  size_t *usize_out)
{
	u32 usize;
	int ret;

	if (get_user(usize, (const u32 __user *)arg))
		return -EFAULT;
	if (usize < min)
		return -EINVAL;
	if (usize > PAGE_SIZE)
		return -E2BIG;
	ret = copy_struct_from_user(dst, ksize, arg, usize);
	if (ret)
		return ret;
	/* another thread may have changed it between the two reads */
	*(u32 *)dst = usize;
	*usize_out = usize;
	return 0;
}

/**
 * nom_struct_out - hand a size-first argument back
 * @arg: user's struct
 * @usize: its size, from nom_struct_in()
 * @src: kernel's struct
 * @ksize: its size
 *
 * What the user's struct has beyond ours was zero and stays so.
 *
 * Return: 0 or -EFAULT.
 */
int nom_struct_out(void __user *arg, size_t usize, const void *src, size_t ksize)
{
	return copy_to_user(arg, src, min(usize, ksize)) ? -EFAULT : 0;
}

/**
 * nom_features - what this kernel and this machine offer
 *
 * Return: NOM_FEATURE_*.
 */
u64 nom_features(void)
{
	u64 features = NOM_FEATURE_MEM_PHYS | NOM_FEATURE_DMA_VIEW | NOM_FEATURE_CHANGE |
		       NOM_FEATURE_RECLAIM | NOM_FEATURE_CLAIM_WAIT | NOM_FEATURE_LIMITS |
		       NOM_FEATURE_IRQ | NOM_FEATURE_PRICE_DEL | NOM_FEATURE_DEVICE_STATE |
		       NOM_FEATURE_MEM_RELEASE | NOM_FEATURE_MMIO | NOM_FEATURE_WAIT;

	if (nom_huge_works())
		features |= NOM_FEATURE_HUGE_MAP | NOM_FEATURE_PROMOTE;
	return features;
}

static int nom_ioctl_get_info(void __user *arg)
{
	struct nom_info info;
	size_t usize;
	int ret;

	ret = nom_struct_in(&info, sizeof(info), sizeof(info), arg, &usize);
	if (ret)
		return ret;
	if (info.flags)
		return -EOPNOTSUPP;

	info.out_version = NOM_ABI_VERSION;
	info.out_nr_cores = nom_lease_nr_cores();
	info.out_features = nom_features();
	info.out_mem_bytes = nom_pool_bytes();
	info.out_board_bytes = nom_board_bytes();
	info.out_traps = NOM_TRAPS_SUPPORTED;
	return nom_struct_out(arg, usize, &info, sizeof(info));
}

static int nom_ioctl_get_limits(struct nom_user *user, void __user *arg)
{
	struct nom_limits limits;
	size_t usize;
	int ret;

	ret = nom_struct_in(&limits, sizeof(limits), sizeof(limits), arg, &usize);
	if (ret)
		return ret;
	if (limits.flags)
		return -EOPNOTSUPP;
	nom_limit_describe(user, &limits);
	return nom_struct_out(arg, usize, &limits, sizeof(limits));
}

static noinline long nom_ioctl_any(struct file *file, unsigned int cmd, void __user *arg)
{
	struct nom_user *user = file->private_data;

	switch (cmd) {
	case NOM_GET_INFO:
		return nom_ioctl_get_info(arg);
	case NOM_GET_LIMITS:
		return nom_ioctl_get_limits(user, arg);
	case NOM_CORE_CLAIM:
	case NOM_MEM_GRANT:
	case NOM_MEM_RELEASE:
	case NOM_MMIO_OPEN:
	case NOM_NOTIFY:
		if (!(file->f_mode & FMODE_WRITE))
			return -EPERM;
		break;
	default:
		return -ENOTTY;
	}

	switch (cmd) {
	case NOM_CORE_CLAIM:
		return nom_ioctl_core_claim(user, arg);
	case NOM_MEM_GRANT:
		return nom_ioctl_mem_grant(user, arg);
	case NOM_MEM_RELEASE:
		return nom_ioctl_mem_release(arg);
	case NOM_MMIO_OPEN:
		return nom_ioctl_mmio_open(arg);
	default:
		return nom_ioctl_notify(user, arg);
	}
}

/* What comes often is not to pay for the others' stack frames. */
static long nom_ioctl(struct file *file, unsigned int cmd, unsigned long ptr)
{
	void __user *arg = (void __user *)ptr;

	if (likely(cmd == NOM_NOTIFY && file->f_mode & FMODE_WRITE))
		return nom_ioctl_notify(file->private_data, arg);
	return nom_ioctl_any(file, cmd, arg);
}

static int nom_open(struct inode *inode, struct file *file)
{
	struct nom_user *user = nom_user_get_current();

	if (!user)
		return -ENOMEM;
	file->private_data = user;
	return nonseekable_open(inode, file);
}

static int nom_release(struct inode *inode, struct file *file)
{
	nom_user_put(file->private_data);
	return 0;
}

static int nom_mmap(struct file *file, struct vm_area_struct *vma)
{
	return nom_board_mmap(vma);
}

static const struct file_operations nom_fops = {
	.owner		= THIS_MODULE,
	.open		= nom_open,
	.release	= nom_release,
	.unlocked_ioctl	= nom_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.mmap		= nom_mmap,
};

/* Root's until a udev rule says otherwise, see 90-nom.rules. */
static struct miscdevice nom_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "nom",
	.fops	= &nom_fops,
	.mode	= 0600,
};

static int __init nom_init(void)
{
	int ret;

	nom_irq_init();
	nom_wq = alloc_workqueue("nom", WQ_UNBOUND, 0);
	if (!nom_wq)
		return -ENOMEM;
	ret = nom_pool_init();
	if (ret)
		goto err_wq;
	ret = nom_slot_init();
	if (ret)
		goto err_pool;
	ret = nom_netlink_init();
	if (ret)
		goto err_slot;
	ret = nom_device_init();
	if (ret)
		goto err_netlink;
	ret = nom_mmio_init();
	if (ret)
		goto err_device;
	ret = nom_sysfs_init(&nom_misc.groups);
	if (ret)
		goto err_mmio;
	ret = misc_register(&nom_misc);
	if (ret)
		goto err_sysfs;
	nom_debugfs_init();

	pr_info("%u reserved cores, %llu MiB reserved memory\n",
		nom_lease_nr_cores(), nom_pool_bytes() >> 20);
	if (!nom_lease_nr_cores())
		pr_info("no cores to lease: boot with nom_cpus=LIST\n");
	if (!nom_pool_bytes())
		pr_info("no memory to grant: boot with nom_mem=SIZE\n");
	return 0;

err_sysfs:
	nom_sysfs_exit();
err_mmio:
	nom_mmio_exit();
err_device:
	nom_device_exit();
err_netlink:
	nom_netlink_exit();
err_slot:
	nom_slot_exit();
err_pool:
	nom_pool_exit();
err_wq:
	destroy_workqueue(nom_wq);
	return ret;
}

static void __exit nom_exit(void)
{
	nom_debugfs_exit();
	misc_deregister(&nom_misc);
	nom_sysfs_exit();
	nom_mmio_exit();
	nom_device_exit();
	nom_netlink_exit();
	nom_slot_exit();
	nom_reclaim_exit();
	nom_quarantine_exit();
	nom_pool_exit();
	destroy_workqueue(nom_wq);
	/* leases are freed after a grace period, by code that goes with us */
	rcu_barrier();
}

module_init(nom_init);
module_exit(nom_exit);

MODULE_DESCRIPTION("nom: leases of reserved cores, grants of reserved memory");
MODULE_AUTHOR("the nom authors");
MODULE_LICENSE("GPL");
