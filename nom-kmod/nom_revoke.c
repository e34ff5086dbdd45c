// SPDX-License-Identifier: GPL-2.0
/*
 * nom: what a grant gives back, or loses, ahead of its end.
 *
 * Chunks leave in three steps, under the grant's lock: they are split off, so
 * that nothing can map them any more; windows and views that show them are
 * cleaned; then they end like a grant of their own - free, or in quarantine as
 * long as a device may write to them (nom_quarantine.c).  The offsets stay holes.
 *
 * Windows of all processes are cleaned without their mmap_lock, which an owner
 * could hold for as long as it likes: the lock of the file's mappings keeps an
 * area, and the page tables below it, for as long as it is in the tree.  The
 * costs are in proportion to the page tables the owner has made, and the file
 * is the grant's own, so no other grant's areas are looked at.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/bitmap.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/rbtree.h>
#include <linux/slab.h>
#include "nom.h"
#include "nom_trace.h"
#include "nom_window.h"

/* Pages of one page table that show what leaves. */
struct nom_hits {
	const unsigned long *chunks;	/* bit per chunk of the pool that leaves */
	unsigned long base;		/* address of the table's first page */
	DECLARE_BITMAP(pages, PTRS_PER_PTE);
};

static bool nom_leaves(const struct nom_hits *hits, unsigned long pfn)
{
	return test_bit(nom_pool_chunk(pfn), hits->chunks);
}

/* apply_to_existing_page_range(): the page table's lock is held. */
static int nom_pte_hit(pte_t *pte, unsigned long addr, void *data)
{
	struct nom_hits *hits = data;

	if (nom_leaves(hits, pte_pfn(ptep_get(pte))))
		__set_bit((addr - hits->base) >> PAGE_SHIFT, hits->pages);
	return 0;
}

static void nom_zap(struct vm_area_struct *vma, unsigned long addr, unsigned long bytes)
{
	zap_vma_ptes(vma, addr, bytes);
	nom_window_account(vma, -(s64)bytes);
}

/* Take what leaves out of [addr, next), below one entry of the 2 MiB level. */
static void nom_window_clean_piece(struct vm_area_struct *vma, struct nom_hits *hits,
				   unsigned long addr, unsigned long next)
{
	pmd_t pmd = nom_pmd_get(vma->vm_mm, addr);
	unsigned int start, end;

	if (pmd_none(pmd))
		return;
	if (pmd_leaf(pmd)) {
		if (nom_leaves(hits, pmd_pfn(pmd)))
			nom_zap(vma, addr, NOM_CHUNK_BYTES);
		return;
	}
	hits->base = addr;
	bitmap_zero(hits->pages, PTRS_PER_PTE);
	apply_to_existing_page_range(vma->vm_mm, addr, next - addr, nom_pte_hit, hits);
	for_each_set_bitrange(start, end, hits->pages, PTRS_PER_PTE)
		nom_zap(vma, addr + start * PAGE_SIZE, (unsigned long)(end - start) * PAGE_SIZE);
}

static void nom_window_clean(struct vm_area_struct *vma, struct nom_hits *hits)
{
	unsigned long addr, next;

	for (addr = vma->vm_start; addr < vma->vm_end; addr = next) {
		next = nom_piece_end(addr, vma->vm_end);
		if (!nom_pmd_find(vma->vm_mm, addr))
			next = min(vma->vm_end, ALIGN_DOWN(addr, PUD_SIZE) + PUD_SIZE);
		else
			nom_window_clean_piece(vma, hits, addr, next);
		cond_resched();
	}
}

/* All windows, whosoever they are. */
static void nom_windows_clean(struct address_space *mapping, struct nom_hits *hits)
{
	struct vm_area_struct *vma;
	struct rb_node *node;

	i_mmap_lock_read(mapping);
	for (node = rb_first_cached(&mapping->i_mmap); node; node = rb_next(node)) {
		vma = rb_entry(node, struct vm_area_struct, shared.rb);
		if (nom_vma_is_window(vma))
			nom_window_clean(vma, hits);
	}
	i_mmap_unlock_read(mapping);
}

static void nom_views_clean(struct address_space *mapping, const struct nom_extent *extent,
			    const unsigned long *gone)
{
	unsigned int start, end;

	for_each_set_bitrange(start, end, gone, extent->nr)
		unmap_mapping_range(mapping,
				    NOM_GRANT_MMAP_DMA + ((loff_t)start << NOM_CHUNK_SHIFT),
				    (loff_t)(end - start) << NOM_CHUNK_SHIFT, 1);
}

/* Let the chunks of @gone go; they are there, and the grant's lock is held. */
static int nom_grant_lose(struct nom_grant *grant, const unsigned long *gone,
			  unsigned int nr, const char *why)
{
	struct nom_extent *extent = grant->extent, *part;
	struct address_space *mapping = extent->file->f_mapping;
	unsigned long *chunks;
	struct nom_hits *hits;
	unsigned int i;
	int ret;

	lockdep_assert_held(&grant->lock);
	chunks = kvcalloc(BITS_TO_LONGS(nom_pool_nr_chunks()), sizeof(long), GFP_KERNEL);
	hits = kzalloc(sizeof(*hits), GFP_KERNEL);
	ret = chunks && hits ? nom_extent_split(extent, gone, nr, &part) : -ENOMEM;
	if (ret)
		goto out;

	for (i = 0; i < part->nr; i++)
		__set_bit(part->chunk[i], chunks);
	hits->chunks = chunks;
	if (atomic64_read(&extent->mapped))
		nom_windows_clean(mapping, hits);
	if (extent->pinnable)
		nom_views_clean(mapping, extent, gone);
	trace_nom_grant(extent->id, (u64)nr << NOM_CHUNK_SHIFT, why);
	nom_extent_part_ends(extent, part);
out:
	kfree(hits);
	kvfree(chunks);
	return ret;
}

/* --------------------------------------------------- the owner gives --- */

static int nom_return_entry(struct nom_grant *grant, const struct nom_map_entry *e)
{
	u64 total = (u64)grant->extent->nr << NOM_CHUNK_SHIFT;
	unsigned int first, nr;
	unsigned long *gone;
	int ret;

	if (e->flags)
		return -EOPNOTSUPP;
	if (e->va || e->reserved || !e->bytes || (e->offset | e->bytes) & (NOM_CHUNK_BYTES - 1) ||
	    e->offset >= total || e->bytes > total - e->offset)
		return -EINVAL;
	if (!nom_extent_has(grant->extent, e->offset, e->bytes))
		return -ENXIO;
	first = e->offset >> NOM_CHUNK_SHIFT;
	nr = e->bytes >> NOM_CHUNK_SHIFT;
	gone = bitmap_zalloc(grant->extent->nr, GFP_KERNEL_ACCOUNT);
	if (!gone)
		return -ENOMEM;
	bitmap_set(gone, first, nr);
	ret = nom_grant_lose(grant, gone, nr, "returned");
	bitmap_free(gone);
	return ret;
}

static int nom_batch_return(struct nom_grant *grant, const struct nom_map_entry *e,
			    unsigned int nr, u32 *done)
{
	unsigned int i;
	int ret = 0;

	mutex_lock(&grant->lock);
	for (i = 0; i < nr && !ret; i++) {
		ret = nom_return_entry(grant, &e[i]);
		*done += !ret;
	}
	mutex_unlock(&grant->lock);
	return ret;
}

/**
 * nom_ioctl_mem_return - ioctl(NOM_MEM_RETURN)
 * @grant: the descriptor's
 * @arg: struct nom_mem_map
 *
 * Return: as in the uapi header.
 */
int nom_ioctl_mem_return(struct nom_grant *grant, void __user *arg)
{
	return nom_for_batches(grant, arg, nom_batch_return);
}

/* ------------------------------------------------- the kernel takes --- */

/*
 * Which chunks go: from the end, first those that nobody has pinned, since a
 * pinned one goes into quarantine and helps nobody.
 */
static unsigned int nom_revoke_choose(const struct nom_extent *extent, unsigned int nr,
				      unsigned long *gone)
{
	unsigned int pass, i, k = 0;

	for (pass = 0; pass < 2; pass++)
		for (i = extent->nr; i-- && k < nr;) {
			cond_resched();
			if (extent->chunk[i] == NOM_CHUNK_GONE || test_bit(i, gone) ||
			    (!pass && nom_pool_chunk_pinned(extent->chunk[i])))
				continue;
			__set_bit(i, gone);
			k++;
		}
	return k;
}

/**
 * nom_revoke - take from a grant what it owes
 * @grant: the grant
 *
 * What its owner returns meanwhile has the grant's lock, too, and counts.
 *
 * Context: process; the grant's file is held.
 * Return: 0 or -ENOMEM, nothing changed.
 */
int nom_revoke(struct nom_grant *grant)
{
	struct nom_extent *extent = grant->extent;
	unsigned long *gone;
	unsigned int nr;
	int ret = 0;

	gone = bitmap_zalloc(extent->nr, GFP_KERNEL);
	if (!gone)
		return -ENOMEM;
	mutex_lock(&grant->lock);
	nr = nom_revoke_choose(extent, nom_reclaim_owed(extent) >> NOM_CHUNK_SHIFT, gone);
	if (nr)
		ret = nom_grant_lose(grant, gone, nr, "revoked");
	mutex_unlock(&grant->lock);
	bitmap_free(gone);
	return ret;
}
