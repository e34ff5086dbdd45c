// SPDX-License-Identifier: GPL-2.0
/*
 * nom: reserved memory in chunks of 2 MiB, and which of them are free.
 *
 * The kernel set ranges aside at boot (nom_mem=).  They never were in the page
 * allocator; each of their pages has a count of 1, which is ours.  They are
 * dealt out in chunks to extents (nom_extent.c); a chunk belongs to at most one.
 *
 * Chunks are numbered by address from the lowest range to the highest; what lies
 * between is in use for good, and so is what was given back to the kernel.
 *
 * PG_reserved is cleared for as long as the module is loaded.  VFIO type1 takes
 * a reserved page for device memory, which it maps without pinning, and unpins
 * no reserved page.  Without the flag it refuses windows (page frames nobody
 * counts) and pins the pages of a DMA view properly, so that a page's count says
 * whether a device, or anybody, may still write to it.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/bitmap.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include "nom_pool.h"

static_assert(NOM_CHUNK_SHIFT == PMD_SHIFT);

static phys_addr_t nom_pool_base;		/* of chunk 0 */
static unsigned int nom_pool_span;		/* chunk numbers, with the holes */

DEFINE_MUTEX(nom_pool_lock);
static unsigned long *nom_pool_used;		/* bit per chunk number */
static unsigned int nom_pool_nr;		/* chunks that are ours */
static unsigned int nom_pool_nr_taken;		/* of them, extents have */

/**
 * nom_chunk_page - the first page of a chunk
 * @chunk: its number
 */
struct page *nom_chunk_page(u32 chunk)
{
	return pfn_to_page(PHYS_PFN(nom_pool_base) + (unsigned long)chunk * NOM_CHUNK_PAGES);
}

u64 nom_pool_bytes(void)
{
	return (u64)READ_ONCE(nom_pool_nr) << NOM_CHUNK_SHIFT;
}

/**
 * nom_pool_phys - where a byte of an extent is
 * @extent: the extent
 * @offset: below its length; the caller has checked
 */
phys_addr_t nom_pool_phys(const struct nom_extent *extent, u64 offset)
{
	return nom_pool_base +
	       ((phys_addr_t)extent->chunk[offset >> NOM_CHUNK_SHIFT] << NOM_CHUNK_SHIFT) +
	       (offset & (NOM_CHUNK_BYTES - 1));
}

/**
 * nom_pool_chunk - the chunk that a page frame is in
 * @pfn: of a page of the pool
 */
u32 nom_pool_chunk(unsigned long pfn)
{
	return (pfn - PHYS_PFN(nom_pool_base)) / NOM_CHUNK_PAGES;
}

/**
 * nom_pool_nr_chunks - chunk numbers are below this
 */
unsigned int nom_pool_nr_chunks(void)
{
	return nom_pool_span;
}

/**
 * nom_pool_chunk_pinned - would somebody hold a chunk that is mapped nowhere?
 * @chunk: its number
 *
 * A hint: pins come and go.
 */
bool nom_pool_chunk_pinned(u32 chunk)
{
	struct page *page = nom_chunk_page(chunk);
	unsigned int k;

	for (k = 0; k < NOM_CHUNK_PAGES; k++, page++)
		if (page_ref_count(page) > 1 + folio_mapcount(page_folio(page)))
			return true;
	return false;
}

static bool nom_chunk_on(u32 chunk, int node)
{
	return node == NUMA_NO_NODE || page_to_nid(nom_chunk_page(chunk)) == node;
}

/**
 * nom_pool_nr_free - free chunks
 * @node: of this NUMA node, or NUMA_NO_NODE: of all
 *
 * Context: nom_pool_lock is held.
 */
unsigned int nom_pool_nr_free(int node)
{
	unsigned int nr = 0;
	unsigned long i;

	lockdep_assert_held(&nom_pool_lock);
	if (node == NUMA_NO_NODE)
		return nom_pool_nr - nom_pool_nr_taken;
	for_each_clear_bit(i, nom_pool_used, nom_pool_span)
		nr += nom_chunk_on(i, node);
	return nr;
}

/* The first of @nr free chunks in a row, or nom_pool_span. */
static unsigned long nom_pool_find_run(unsigned int nr, int node)
{
	unsigned long at = 0;
	unsigned int i;

	for (;;) {
		at = bitmap_find_next_zero_area(nom_pool_used, nom_pool_span, at, nr, 0);
		if (at + nr > nom_pool_span)
			return nom_pool_span;
		for (i = nr; i && nom_chunk_on(at + i - 1, node); i--)
			;
		if (!i)
			return at;
		at += i;	/* behind the last that is elsewhere */
	}
}

/**
 * nom_pool_get - choose an extent's chunks
 * @extent: new; so many are free
 * @node: on this NUMA node, or NUMA_NO_NODE
 *
 * One run if there is one, else whatever is free.
 *
 * Context: nom_pool_lock is held.
 */
void nom_pool_get(struct nom_extent *extent, int node)
{
	unsigned long at;
	unsigned int i;

	lockdep_assert_held(&nom_pool_lock);
	at = nom_pool_find_run(extent->nr, node);
	if (at == nom_pool_span)
		at = 0;
	for (i = 0; i < extent->nr; i++, at++) {
		do
			at = find_next_zero_bit(nom_pool_used, nom_pool_span, at);
		while (!nom_chunk_on(at, node) && ++at);
		extent->chunk[i] = at;
		__set_bit(at, nom_pool_used);
	}
	nom_pool_nr_taken += extent->nr;
}

/**
 * nom_pool_put - put an extent's chunks back into circulation
 * @extent: nothing can reach them
 *
 * Context: nom_pool_lock is held.
 */
void nom_pool_put(struct nom_extent *extent)
{
	unsigned int i;

	lockdep_assert_held(&nom_pool_lock);
	for (i = 0; i < extent->nr; i++)
		if (extent->chunk[i] != NOM_CHUNK_GONE)
			__clear_bit(extent->chunk[i], nom_pool_used);
	nom_pool_nr_taken -= extent->nr - extent->nr_gone;
}

/**
 * nom_pool_release - give unused reserved memory to the kernel, for good
 * @bytes: how much at most; a multiple of NOM_CHUNK_BYTES
 * @node: from this NUMA node, or NUMA_NO_NODE
 * @released_out: how much it was
 *
 * From the highest address down, so that what stays is in one piece.
 *
 * Context: process, may sleep.
 * Return: 0 if it was as much as is free, up to @bytes; else why it was not:
 * -EBUSY (somebody counts on a page), -ENOSPC (too many holes).
 */
int nom_pool_release(u64 bytes, int node, u64 *released_out)
{
	unsigned int chunk;
	phys_addr_t phys;
	u64 released = 0;
	int ret = 0;

	mutex_lock(&nom_pool_lock);
	for (chunk = nom_pool_span; chunk-- && released < bytes;) {
		if (test_bit(chunk, nom_pool_used))
			continue;
		if (!nom_chunk_on(chunk, node))
			continue;
		phys = page_to_phys(nom_chunk_page(chunk));
		ret = nom_release_mem(phys, NOM_CHUNK_BYTES);
		if (ret)
			break;
		__set_bit(chunk, nom_pool_used);
		WRITE_ONCE(nom_pool_nr, nom_pool_nr - 1);
		released += NOM_CHUNK_BYTES;
	}
	if (released)
		nom_extent_publish();
	mutex_unlock(&nom_pool_lock);
	*released_out = released;
	return ret;
}

/**
 * nom_pool_node - reserved memory of the next NUMA node that has some
 * @index: of the range to begin with; 0, then what was returned
 * @node_out: the node
 * @total_out: its bytes
 * @free_out: those that nobody was granted
 *
 * Return: where to go on, or -ENOENT (no more).
 */
int nom_pool_node(unsigned int index, int *node_out, u64 *total_out, u64 *free_out)
{
	struct nom_mem_range range, other;
	unsigned int i;

	/* a node is told of with its first range */
	for (;; index++) {
		if (nom_reserved_mem(index, &range))
			return -ENOENT;
		for (i = 0; i < index; i++)
			if (!nom_reserved_mem(i, &other) && other.nid == range.nid)
				break;
		if (i == index)
			break;
	}
	*node_out = range.nid;
	*total_out = 0;
	for (i = 0; !nom_reserved_mem(i, &other); i++)
		if (other.nid == range.nid)
			*total_out += other.size;
	mutex_lock(&nom_pool_lock);
	*free_out = (u64)nom_pool_nr_free(range.nid) << NOM_CHUNK_SHIFT;
	mutex_unlock(&nom_pool_lock);
	return index + 1;
}

static void nom_range_reserve_pages(const struct nom_mem_range *range, bool reserve)
{
	struct page *page = pfn_to_page(PHYS_PFN(range->start));
	unsigned long k;

	for (k = 0; k < PHYS_PFN(range->size); k++) {
		WARN_ON_ONCE(page_ref_count(page + k) != 1);
		if (reserve)
			SetPageReserved(page + k);
		else
			ClearPageReserved(page + k);
		cond_resched();
	}
}

/**
 * nom_pool_init - take over the reserved ranges
 *
 * Return: 0 (also when there are none) or -ENOMEM.
 */
int __init nom_pool_init(void)
{
	phys_addr_t low = PHYS_ADDR_MAX, high = 0;
	struct nom_mem_range range;
	unsigned int i;

	for (i = 0; !nom_reserved_mem(i, &range); i++) {
		low = min(low, range.start);
		high = max(high, range.start + range.size);
	}
	if (!high)
		return 0;
	if ((high - low) >> NOM_CHUNK_SHIFT > UINT_MAX)
		return -ENOMEM;
	nom_pool_base = low;
	nom_pool_span = (high - low) >> NOM_CHUNK_SHIFT;
	nom_pool_used = kvcalloc(BITS_TO_LONGS(nom_pool_span), sizeof(long), GFP_KERNEL);
	if (!nom_pool_used)
		return -ENOMEM;

	bitmap_fill(nom_pool_used, nom_pool_span);
	for (i = 0; !nom_reserved_mem(i, &range); i++) {
		bitmap_clear(nom_pool_used, (range.start - low) >> NOM_CHUNK_SHIFT,
			     range.size >> NOM_CHUNK_SHIFT);
		nom_pool_nr += range.size >> NOM_CHUNK_SHIFT;
		nom_range_reserve_pages(&range, false);
	}
	return 0;
}

void nom_pool_exit(void)
{
	struct nom_mem_range range;
	unsigned int i;

	for (i = 0; !nom_reserved_mem(i, &range); i++)
		nom_range_reserve_pages(&range, true);
	kvfree(nom_pool_used);
}
