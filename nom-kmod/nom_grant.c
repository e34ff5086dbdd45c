// SPDX-License-Identifier: GPL-2.0
/*
 * nom: a grant - an extent of reserved memory as a file descriptor.
 *
 * Descriptors, windows and DMA views all hold the file; the file's release is
 * therefore the moment when no processor can reach the memory any more.  What
 * devices can do then is the pool's to judge.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/anon_inodes.h>
#include <linux/bitmap.h>
#include <linux/capability.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/numa.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "nom.h"

static int nom_grant_fop_release(struct inode *inode, struct file *file)
{
	struct nom_grant *grant = file->private_data;

	nom_extent_give_back(grant->extent);
	mutex_destroy(&grant->lock);
	kfree(grant);
	return 0;
}

static int nom_grant_fop_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct nom_grant *grant = file->private_data;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_pgoff == NOM_GRANT_MMAP_WINDOW >> PAGE_SHIFT)
		return nom_window_mmap(grant, vma);
	if (vma->vm_pgoff >= NOM_GRANT_MMAP_DMA >> PAGE_SHIFT)
		return nom_dma_view_mmap(grant, vma);
	return -EINVAL;
}

/* Who is to be told, with a reference; or NULL and why not. */
static struct device *nom_phys_device(const struct nom_mem_phys *phys, int *err_out)
{
	struct pci_dev *pdev;

	if (phys->flags & NOM_PHYS_MMIO) {
		*err_out = -EBADF;
		return nom_mmio_get((int)phys->bdf);
	}
	pdev = nom_device_get(phys->bdf, err_out);
	return pdev ? &pdev->dev : NULL;
}

static int nom_ioctl_mem_phys(struct nom_grant *grant, void __user *arg)
{
	struct nom_mem_phys phys;
	struct device *dev;
	size_t usize;
	int ret;

	if (!capable(CAP_SYS_RAWIO))
		return -EPERM;
	ret = nom_struct_in(&phys, sizeof(phys), sizeof(phys), arg, &usize);
	if (ret)
		return ret;
	if (phys.flags & ~NOM_PHYS_MMIO)
		return -EOPNOTSUPP;
	if (phys.reserved || !IS_ALIGNED(phys.offset, NOM_CHUNK_BYTES) ||
	    phys.offset >> NOM_CHUNK_SHIFT >= grant->extent->nr)
		return -EINVAL;

	dev = nom_phys_device(&phys, &ret);
	if (!dev)
		return ret;
	/* what is told stays the grant's until it is noted who knows */
	mutex_lock(&grant->lock);
	ret = -ENXIO;
	if (nom_extent_has(grant->extent, phys.offset, NOM_CHUNK_BYTES))
		ret = nom_quarantine_tell(grant->extent, dev);
	if (!ret)
		phys.out_phys = nom_pool_phys(grant->extent, phys.offset);
	mutex_unlock(&grant->lock);
	put_device(dev);
	return ret ?: nom_struct_out(arg, usize, &phys, sizeof(phys));
}

static int nom_ioctl_mem_info(struct nom_grant *grant, void __user *arg)
{
	const struct nom_extent *extent = grant->extent;
	struct nom_grant_info info;
	unsigned long *held = NULL;
	struct nom_mem_info mi;
	u64 words = 0;
	unsigned int i;
	size_t usize;
	int ret;

	ret = nom_struct_in(&mi, sizeof(mi), sizeof(mi), arg, &usize);
	if (ret)
		return ret;
	if (mi.flags)
		return -EOPNOTSUPP;
	if (mi.held)
		words = min_t(u64, mi.nr_held, BITS_TO_LONGS(extent->nr));
	if (words) {
		held = bitmap_zalloc(extent->nr, GFP_KERNEL_ACCOUNT);
		if (!held)
			return -ENOMEM;
	}
	/* one lock for both: bits and numbers are of one moment */
	mutex_lock(&grant->lock);
	for (i = 0; held && i < extent->nr; i++)
		if (extent->chunk[i] != NOM_CHUNK_GONE)
			__set_bit(i, held);
	nom_extent_info(extent, &info);
	mutex_unlock(&grant->lock);
	if (held && copy_to_user(u64_to_user_ptr(mi.held), held, words * sizeof(long)))
		ret = -EFAULT;
	bitmap_free(held);
	if (ret)
		return ret;
	mi.out_id = info.id;
	mi.out_offsets = (u64)extent->nr << NOM_CHUNK_SHIFT;
	mi.out_bytes = info.bytes;
	mi.out_mapped = info.mapped_bytes;
	mi.out_wanted = info.wanted_bytes;
	mi.out_deadline_ns = info.deadline_ns;
	return nom_struct_out(arg, usize, &mi, sizeof(mi));
}

static noinline long nom_grant_ioctl_any(struct nom_grant *grant, unsigned int cmd,
					 void __user *arg)
{
	switch (cmd) {
	case NOM_MEM_UNMAP:
		return nom_ioctl_mem_unmap(grant, arg);
	case NOM_MEM_PHYS:
		return nom_ioctl_mem_phys(grant, arg);
	case NOM_MEM_PROTECT:
		return nom_ioctl_mem_protect(grant, arg);
	case NOM_MEM_QUERY:
		return nom_ioctl_mem_query(grant, arg);
	case NOM_MEM_PROMOTE:
		return nom_ioctl_mem_promote(grant, arg);
	case NOM_MEM_DEMOTE:
		return nom_ioctl_mem_demote(grant, arg);
	case NOM_MEM_RETURN:
		return nom_ioctl_mem_return(grant, arg);
	case NOM_MEM_INFO:
		return nom_ioctl_mem_info(grant, arg);
	}
	return -ENOTTY;
}

/* Fault handlers map: that is not to pay for the others' stack frames. */
static long nom_grant_fop_ioctl(struct file *file, unsigned int cmd, unsigned long ptr)
{
	void __user *arg = (void __user *)ptr;

	if (likely(cmd == NOM_MEM_MAP))
		return nom_ioctl_mem_map(file->private_data, arg);
	return nom_grant_ioctl_any(file->private_data, cmd, arg);
}

static const struct file_operations nom_grant_fops = {
	.owner			= THIS_MODULE,
	.release		= nom_grant_fop_release,
	.unlocked_ioctl		= nom_grant_fop_ioctl,
	.compat_ioctl		= compat_ptr_ioctl,
	.mmap			= nom_grant_fop_mmap,
	.get_unmapped_area	= thp_get_unmapped_area,
};

/**
 * nom_grant_of - the grant that a file is
 * @file: of nom_ioctl_mem_grant()
 */
struct nom_grant *nom_grant_of(struct file *file)
{
	return file->private_data;
}

/**
 * nom_ioctl_mem_grant - ioctl(NOM_MEM_GRANT)
 * @user: who pays
 * @arg: struct nom_mem_grant
 *
 * Return: as in the uapi header.
 */
int nom_ioctl_mem_grant(struct nom_user *user, void __user *arg)
{
	struct nom_grant *grant;
	struct nom_mem_grant g;
	struct file *file;
	size_t usize;
	int fd, ret;

	ret = nom_struct_in(&g, sizeof(g), offsetofend(struct nom_mem_grant, node), arg,
			    &usize);
	if (ret)
		return ret;
	if (g.flags & ~NOM_GRANT_NODE)
		return -EOPNOTSUPP;
	if (!g.bytes || !IS_ALIGNED(g.bytes, NOM_CHUNK_BYTES) ||
	    g.node > (g.flags & NOM_GRANT_NODE ? INT_MAX : 0))
		return -EINVAL;

	if (g.bytes > nom_pool_bytes())
		return -ENOMEM;
	ret = nom_limit_charge(user, NOM_RES_MEM, g.bytes);
	if (ret)
		return ret;
	ret = -ENOMEM;
	grant = kzalloc(sizeof(*grant), GFP_KERNEL_ACCOUNT);
	if (!grant)
		goto err_charge;
	mutex_init(&grant->lock);
	ret = nom_extent_take(g.bytes, g.flags & NOM_GRANT_NODE ? (int)g.node : NUMA_NO_NODE,
			    &grant->extent);
	if (ret)
		goto err_grant;
	grant->extent->user = nom_user_get(user);	/* gives the charge back */

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		ret = fd;
		goto err_extent;
	}
	/* an inode, and so an i_mmap, of its own: nom_revoke.c looks through that */
	file = anon_inode_create_getfile("[nom-grant]", &nom_grant_fops, grant, O_RDWR, NULL);
	if (IS_ERR(file)) {
		ret = PTR_ERR(file);
		goto err_fd;
	}
	nom_extent_show(grant->extent, file);
	g.out_grant_fd = fd;
	g.out_id = grant->extent->id;
	ret = nom_struct_out(arg, usize, &g, sizeof(g));
	if (ret) {
		put_unused_fd(fd);
		fput(file);		/* gives the extent back */
		return ret;
	}
	fd_install(fd, file);
	return 0;

err_fd:
	put_unused_fd(fd);
err_extent:
	nom_extent_give_back(grant->extent);
	kfree(grant);
	return ret;
err_grant:
	kfree(grant);
err_charge:
	nom_limit_uncharge(user, NOM_RES_MEM, g.bytes);
	return ret;
}

/**
 * nom_ioctl_mem_release - ioctl(NOM_MEM_RELEASE)
 * @arg: struct nom_mem_release
 *
 * Return: as in the uapi header.
 */
int nom_ioctl_mem_release(void __user *arg)
{
	struct nom_mem_release __user *u = arg;
	struct nom_mem_release r;
	size_t usize;
	int ret;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	ret = nom_struct_in(&r, sizeof(r), sizeof(r), arg, &usize);
	if (ret)
		return ret;
	if (r.flags)
		return -EOPNOTSUPP;
	if (r.reserved || !r.bytes || !IS_ALIGNED(r.bytes, NOM_CHUNK_BYTES) ||
	    r.node < NUMA_NO_NODE || r.node >= MAX_NUMNODES)
		return -EINVAL;
	/* there is no way back: who cannot be told loses nothing */
	if (put_user(0, &u->out_bytes))
		return -EFAULT;
	ret = nom_pool_release(r.bytes, r.node, &r.out_bytes);
	if (!r.out_bytes)
		return ret ?: -ENOMEM;
	return put_user(r.out_bytes, &u->out_bytes);
}
