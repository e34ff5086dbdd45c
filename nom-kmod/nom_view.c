// SPDX-License-Identifier: GPL-2.0
/*
 * nom: DMA views - a grant in counted pages that get_user_pages() may pin.
 *
 * Pages are put in under the grant's lock, and none that the grant has lost: so
 * nom_revoke.c, which takes pages out under the same lock, leaves none behind.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/mm.h>
#include "nom.h"
#include "nom_window.h"

static vm_fault_t nom_dma_view_fault(struct vm_fault *vmf)
{
	struct nom_grant *grant = nom_vma_grant(vmf->vma);
	u64 offset = ((u64)vmf->pgoff << PAGE_SHIFT) - NOM_GRANT_MMAP_DMA;
	vm_fault_t ret = VM_FAULT_SIGBUS;

	mutex_lock(&grant->lock);
	if (nom_extent_has(grant->extent, offset, PAGE_SIZE))
		ret = vmf_insert_page(vmf->vma, vmf->address & PAGE_MASK,
				      pfn_to_page(PHYS_PFN(nom_pool_phys(grant->extent, offset))));
	mutex_unlock(&grant->lock);
	return ret;
}

static const struct vm_operations_struct nom_dma_view_ops = {
	.fault	= nom_dma_view_fault,
};

/**
 * nom_dma_view_mmap - map a part of a grant with counted pages
 * @grant: the grant
 * @vma: shared, offset NOM_GRANT_MMAP_DMA or more
 *
 * Return: 0, or -EINVAL (beyond the grant's end).
 */
int nom_dma_view_mmap(struct nom_grant *grant, struct vm_area_struct *vma)
{
	u64 offset = ((u64)vma->vm_pgoff << PAGE_SHIFT) - NOM_GRANT_MMAP_DMA;
	u64 bytes = vma->vm_end - vma->vm_start;
	u64 total = (u64)grant->extent->nr << NOM_CHUNK_SHIFT;

	if (offset >= total || bytes > total - offset)
		return -EINVAL;
	/* before the first page can be seen; release() reads it last */
	WRITE_ONCE(grant->extent->pinnable, true);
	vma->vm_ops = &nom_dma_view_ops;
	/* VM_MIXEDMAP: the fault handler puts pages in by itself */
	vm_flags_set(vma, VM_MIXEDMAP | VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP);
	return 0;
}
