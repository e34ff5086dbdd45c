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

	nom_pool_give_back(grant->extent);
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

static int nom_ioctl_mem_phys(struct nom_grant *grant, void __user *arg)
{
	struct nom_mem_phys phys;
	struct pci_dev *pdev;
	size_t usize;
	int ret;

	if (!capable(CAP_SYS_RAWIO))
		return -EPERM;
	ret = nom_struct_in(&phys, sizeof(phys), sizeof(phys), arg, &usize);
	if (ret)
		return ret;
	if (phys.flags)
		return -EOPNOTSUPP;
	if (phys.reserved || !IS_ALIGNED(phys.offset, NOM_CHUNK_BYTES) ||
	    phys.offset >> NOM_CHUNK_SHIFT >= grant->extent->nr)
		return -EINVAL;

	pdev = nom_device_get(phys.bdf, &ret);
	if (!pdev)
		return ret;
	ret = nom_pool_tell(grant->extent, pdev);
	pci_dev_put(pdev);
	if (ret)
		return ret;
	phys.out_phys = nom_pool_phys(grant->extent, phys.offset);
	return nom_struct_out(arg, usize, &phys, sizeof(phys));
}

static long nom_grant_fop_ioctl(struct file *file, unsigned int cmd, unsigned long ptr)
{
	struct nom_grant *grant = file->private_data;
	void __user *arg = (void __user *)ptr;

	switch (cmd) {
	case NOM_MEM_MAP:
		return nom_ioctl_mem_map(grant, arg, true);
	case NOM_MEM_UNMAP:
		return nom_ioctl_mem_map(grant, arg, false);
	case NOM_MEM_PHYS:
		return nom_ioctl_mem_phys(grant, arg);
	}
	return -ENOTTY;
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

	ret = nom_struct_in(&g, sizeof(g), sizeof(g), arg, &usize);
	if (ret)
		return ret;
	if (g.flags)
		return -EOPNOTSUPP;
	if (g.reserved || !g.bytes || !IS_ALIGNED(g.bytes, NOM_CHUNK_BYTES))
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
	ret = nom_pool_take(g.bytes, &grant->extent);
	if (ret)
		goto err_grant;
	grant->extent->user = nom_user_get(user);	/* gives the charge back */

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		ret = fd;
		goto err_extent;
	}
	file = anon_inode_getfile("[nom-grant]", &nom_grant_fops, grant, O_RDWR);
	if (IS_ERR(file)) {
		ret = PTR_ERR(file);
		goto err_fd;
	}
	g.out_grant_fd = fd;
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
	nom_pool_give_back(grant->extent);
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
	ret = nom_pool_release(r.bytes, r.node, &r.out_bytes);
	if (!r.out_bytes)
		return ret ?: -ENOMEM;
	return nom_struct_out(arg, usize, &r, sizeof(r));
}
