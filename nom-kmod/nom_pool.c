// SPDX-License-Identifier: GPL-2.0
/*
 * nom: reserved memory in chunks of 2 MiB, and the quarantine.
 *
 * The kernel set ranges aside at boot (nom_mem=).  They never were in the page
 * allocator; each of their pages has a count of 1, which is ours.  They are
 * dealt out in chunks; an extent is the list of chunks behind one grant, and a
 * chunk belongs to at most one extent.  What a grant gives back or loses ahead of
 * its end becomes an extent of its own, and ends as one.
 *
 * Chunks are numbered by address from the lowest range to the highest; what lies
 * between is in use for good, and so is what was given back to the kernel.
 *
 * PG_reserved is cleared for as long as the module is loaded.  VFIO type1 takes
 * a reserved page for device memory, which it maps without pinning, and unpins
 * no reserved page.  Without the flag it refuses windows (page frames nobody
 * counts) and pins the pages of a DMA view properly, so that a page's count says
 * whether a device, or anybody, may still write to it.
 *
 * Quarantine: an extent that ends stays out of circulation while
 *
 *   - one of its pages that were shown in a DMA view is still pinned, or
 *   - a function that was told its addresses (NOM_MEM_PHYS) is bound to
 *     vfio-pci and has bus mastering enabled.  Once seen otherwise - VFIO turns
 *     it off when the device's descriptor is closed - it has forgotten.
 *
 * Nothing signals either change, so a work item looks every few milliseconds,
 * for as long as there is something in quarantine.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/bitmap.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/workqueue.h>
#include "nom.h"
#include "nom_trace.h"

#define NOM_QUARANTINE_POLL_MS	20

static_assert(NOM_CHUNK_SHIFT == PMD_SHIFT);

static phys_addr_t nom_pool_base;		/* of chunk 0 */
static unsigned int nom_pool_span;		/* chunk numbers, with the holes */

/* Protects all below, every extent's @link and @told, and the order in which
 * the board hears of changes.
 */
static DEFINE_MUTEX(nom_pool_lock);
static unsigned long *nom_pool_used;		/* bit per chunk number */
static unsigned int nom_pool_nr;		/* chunks that are ours */
static unsigned int nom_pool_nr_granted;
static unsigned int nom_pool_nr_quarantined;
static u64 nom_pool_last_id;
static LIST_HEAD(nom_pool_granted);		/* by ascending id */
static LIST_HEAD(nom_pool_quarantined);

static void nom_pool_look(struct work_struct *work);
static DECLARE_DELAYED_WORK(nom_pool_work, nom_pool_look);

/* Chunks that it has. */
static unsigned int nom_extent_nr(const struct nom_extent *extent)
{
	return extent->nr - extent->nr_gone;
}

static u64 nom_extent_bytes(const struct nom_extent *extent)
{
	return (u64)nom_extent_nr(extent) << NOM_CHUNK_SHIFT;
}

static struct page *nom_chunk_page(u32 chunk)
{
	return pfn_to_page(PHYS_PFN(nom_pool_base) + (unsigned long)chunk * NOM_CHUNK_PAGES);
}

static void nom_pool_publish(void)
{
	struct nom_board_memory memory = {
		.total_bytes = nom_pool_bytes(),
		.granted_bytes = (u64)nom_pool_nr_granted << NOM_CHUNK_SHIFT,
		.quarantined_bytes = (u64)nom_pool_nr_quarantined << NOM_CHUNK_SHIFT,
	};

	lockdep_assert_held(&nom_pool_lock);
	memory.free_bytes = memory.total_bytes - memory.granted_bytes -
			    memory.quarantined_bytes;
	nom_board_memory(&memory);
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
 * nom_extent_has - are all of these bytes there?
 * @extent: the extent; its grant's lock is held
 * @offset: first byte
 * @bytes: how many, > 0
 */
bool nom_extent_has(const struct nom_extent *extent, u64 offset, u64 bytes)
{
	u64 i, last = (offset + bytes - 1) >> NOM_CHUNK_SHIFT;

	if (last >= extent->nr)
		return false;
	for (i = offset >> NOM_CHUNK_SHIFT; i <= last; i++)
		if (extent->chunk[i] == NOM_CHUNK_GONE)
			return false;
	return true;
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

/* Free chunks, of one node or of all. */
static unsigned int nom_pool_nr_free(int node)
{
	unsigned int nr = 0;
	unsigned long i;

	lockdep_assert_held(&nom_pool_lock);
	if (node == NUMA_NO_NODE)
		return nom_pool_nr - nom_pool_nr_granted - nom_pool_nr_quarantined;
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

/* One run if there is one, else whatever is free.  The caller knows it suffices. */
static void nom_pool_pick(struct nom_extent *extent, int node)
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
}

static void nom_extent_free(struct nom_extent *extent)
{
	struct nom_told *told, *next;

	list_for_each_entry_safe(told, next, &extent->told, link) {
		pci_dev_put(told->pdev);
		kfree(told);
	}
	if (extent->user) {
		nom_limit_uncharge(extent->user, NOM_RES_MEM, nom_extent_bytes(extent));
		nom_user_put(extent->user);
	}
	kvfree(extent->chunk);
	kfree(extent);
}

/* Put an extent's chunks back into circulation. */
static void nom_pool_recycle(struct nom_extent *extent)
{
	unsigned int i;

	lockdep_assert_held(&nom_pool_lock);
	for (i = 0; i < extent->nr; i++)
		if (extent->chunk[i] != NOM_CHUNK_GONE)
			__clear_bit(extent->chunk[i], nom_pool_used);
	list_del(&extent->link);
}

static struct nom_extent *nom_extent_alloc(unsigned int nr)
{
	struct nom_extent *extent = kzalloc(sizeof(*extent), GFP_KERNEL_ACCOUNT);

	if (!extent)
		return NULL;
	extent->nr = nr;
	extent->chunk = kvcalloc(nr, sizeof(*extent->chunk), GFP_KERNEL_ACCOUNT);
	if (!extent->chunk) {
		kfree(extent);
		return NULL;
	}
	INIT_LIST_HEAD(&extent->link);
	INIT_LIST_HEAD(&extent->told);
	return extent;
}

/**
 * nom_pool_take - make an extent of zeroed memory
 * @bytes: a multiple of NOM_CHUNK_BYTES, > 0
 * @node: from this NUMA node, or NUMA_NO_NODE
 * @extent_out: the extent, the caller's
 *
 * Zeroes outside of every lock.
 *
 * Context: process, may sleep.
 * Return: 0, -ENOMEM, -EINTR (the caller is being killed).
 */
int nom_pool_take(u64 bytes, int node, struct nom_extent **extent_out)
{
	struct nom_extent *extent;
	unsigned int i;

	if (bytes >> NOM_CHUNK_SHIFT > nom_pool_span)
		return -ENOMEM;
	extent = nom_extent_alloc(bytes >> NOM_CHUNK_SHIFT);
	if (!extent)
		return -ENOMEM;
	nom_owner_set_current(&extent->owner);

	mutex_lock(&nom_pool_lock);
	if (extent->nr > nom_pool_nr_free(node)) {
		mutex_unlock(&nom_pool_lock);
		nom_extent_free(extent);
		return -ENOMEM;
	}
	nom_pool_pick(extent, node);
	nom_pool_nr_granted += extent->nr;
	extent->id = ++nom_pool_last_id;
	list_add_tail(&extent->link, &nom_pool_granted);
	nom_pool_publish();
	mutex_unlock(&nom_pool_lock);

	for (i = 0; i < extent->nr; i++) {
		if (fatal_signal_pending(current)) {
			nom_pool_give_back(extent);
			return -EINTR;
		}
		/* quadwords: an emulator takes a string store by the element */
		memset64(page_address(nom_chunk_page(extent->chunk[i])), 0,
			 NOM_CHUNK_BYTES / sizeof(u64));
		cond_resched();
	}
	trace_nom_grant(extent->id, bytes, "granted");
	*extent_out = extent;
	return 0;
}

static void nom_extent_describe(const struct nom_extent *extent, struct nom_grant_info *out)
{
	lockdep_assert_held(&nom_pool_lock);
	out->id = extent->id;
	out->bytes = nom_extent_bytes(extent);
	out->mapped_bytes = atomic64_read(&extent->mapped);
	out->wanted_bytes = extent->wanted_bytes;
	out->deadline_ns = extent->deadline_ns;
	out->owner = extent->owner;
}

static bool nom_extent_is_pinned(const struct nom_extent *extent)
{
	struct page *page;
	unsigned int i, k;

	if (!extent->pinnable)
		return false;
	for (i = 0; i < extent->nr; i++) {
		if (extent->chunk[i] == NOM_CHUNK_GONE)
			continue;
		page = nom_chunk_page(extent->chunk[i]);
		for (k = 0; k < NOM_CHUNK_PAGES; k++)
			if (page_ref_count(page + k) != 1)
				return true;
	}
	/* all that was written through the pins is ahead of the next zeroing */
	smp_mb();
	return false;
}

static bool nom_extent_is_reachable(struct nom_extent *extent)
{
	struct nom_told *told;
	bool ret = false;

	lockdep_assert_held(&nom_pool_lock);
	list_for_each_entry(told, &extent->told, link) {
		if (!told->clear)
			told->clear = !nom_device_masters_bus(told->pdev);
		if (!told->clear)
			ret = true;
	}
	return ret;
}

static bool nom_extent_is_held(struct nom_extent *extent)
{
	return nom_extent_is_reachable(extent) || nom_extent_is_pinned(extent);
}

/* The memory of an extent is free, or in quarantine; which also keeps the module. */
static struct nom_extent *nom_pool_retire(struct nom_extent *extent)
{
	lockdep_assert_held(&nom_pool_lock);
	nom_pool_nr_granted -= nom_extent_nr(extent);
	if (!nom_extent_is_held(extent)) {
		trace_nom_grant(extent->id, nom_extent_bytes(extent), "freed");
		nom_pool_recycle(extent);
		return extent;
	}
	trace_nom_grant(extent->id, nom_extent_bytes(extent), "quarantined");
	__module_get(THIS_MODULE);
	nom_pool_nr_quarantined += nom_extent_nr(extent);
	list_move_tail(&extent->link, &nom_pool_quarantined);
	queue_delayed_work(nom_wq, &nom_pool_work, msecs_to_jiffies(NOM_QUARANTINE_POLL_MS));
	return NULL;
}

/**
 * nom_pool_give_back - end an extent
 * @extent: no descriptor and no mapping refers to it any more
 */
void nom_pool_give_back(struct nom_extent *extent)
{
	mutex_lock(&nom_pool_lock);
	nom_reclaim_end(extent);
	extent = nom_pool_retire(extent);
	nom_pool_publish();
	mutex_unlock(&nom_pool_lock);
	if (extent)
		nom_extent_free(extent);
}

/**
 * nom_pool_split - let a part of an extent go
 * @extent: a grant's, whose lock is held
 * @gone: bit per chunk of it, all of which are there
 * @nr: bits set
 * @part_out: the part; nothing may map it when nom_pool_part_ends() is called
 *
 * Return: 0 or -ENOMEM, nothing changed.
 */
int nom_pool_split(struct nom_extent *extent, const unsigned long *gone, unsigned int nr,
		   struct nom_extent **part_out)
{
	struct nom_extent *part = nom_extent_alloc(nr);
	struct nom_told *told, *copy;
	unsigned int i, k = 0;
	int ret = 0;

	if (!part)
		return -ENOMEM;
	mutex_lock(&nom_pool_lock);
	list_for_each_entry(told, &extent->told, link) {
		copy = kzalloc(sizeof(*copy), GFP_KERNEL_ACCOUNT);
		if (!copy) {
			ret = -ENOMEM;
			goto out;
		}
		copy->pdev = pci_dev_get(told->pdev);
		list_add(&copy->link, &part->told);
	}
	part->id = extent->id;
	part->owner = extent->owner;
	part->pinnable = extent->pinnable;
	if (extent->user)
		part->user = nom_user_get(extent->user);	/* who pays until it is free */
	for_each_set_bit(i, gone, extent->nr) {
		part->chunk[k++] = extent->chunk[i];
		extent->chunk[i] = NOM_CHUNK_GONE;
	}
	extent->nr_gone += nr;
out:
	mutex_unlock(&nom_pool_lock);
	if (ret)
		nom_extent_free(part);
	else
		*part_out = part;
	return ret;
}

/**
 * nom_pool_part_ends - what was split off is mapped nowhere any more
 * @extent: what it was split off; its grant's lock is held
 * @part: from nom_pool_split()
 */
void nom_pool_part_ends(struct nom_extent *extent, struct nom_extent *part)
{
	mutex_lock(&nom_pool_lock);
	nom_reclaim_met(extent, nom_extent_bytes(part));
	part = nom_pool_retire(part);
	nom_pool_publish();
	mutex_unlock(&nom_pool_lock);
	if (part)
		nom_extent_free(part);
}

/* Work item: let go what nothing can reach any more. */
static void nom_pool_look(struct work_struct *work)
{
	struct nom_extent *extent, *next;
	bool changed = false;

	mutex_lock(&nom_pool_lock);
	list_for_each_entry_safe(extent, next, &nom_pool_quarantined, link) {
		if (nom_extent_is_held(extent))
			continue;
		trace_nom_grant(extent->id, nom_extent_bytes(extent), "unquarantined");
		nom_pool_nr_quarantined -= nom_extent_nr(extent);
		nom_pool_recycle(extent);
		nom_extent_free(extent);
		changed = true;
		/* nom_pool_exit() waits for this function */
		module_put(THIS_MODULE);
	}
	if (changed)
		nom_pool_publish();
	if (!list_empty(&nom_pool_quarantined))
		queue_delayed_work(nom_wq, &nom_pool_work,
				   msecs_to_jiffies(NOM_QUARANTINE_POLL_MS));
	mutex_unlock(&nom_pool_lock);
}

/**
 * nom_pool_tell - note that a function learns addresses of an extent
 * @extent: the extent
 * @pdev: the function; takes a reference of its own
 *
 * Return: 0 or -ENOMEM.
 */
int nom_pool_tell(struct nom_extent *extent, struct pci_dev *pdev)
{
	struct nom_told *told, *fresh;

	fresh = kzalloc(sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	if (!fresh)
		return -ENOMEM;
	fresh->pdev = pci_dev_get(pdev);

	mutex_lock(&nom_pool_lock);
	list_for_each_entry(told, &extent->told, link)
		if (told->pdev == pdev)
			goto known;
	list_add(&fresh->link, &extent->told);
	fresh = NULL;
known:
	mutex_unlock(&nom_pool_lock);
	if (fresh) {
		pci_dev_put(fresh->pdev);
		kfree(fresh);
	}
	return 0;
}

/**
 * nom_pool_device_gone - a function left vfio-pci, or the machine
 * @pdev: it has no reach into memory that ended before
 */
void nom_pool_device_gone(struct pci_dev *pdev)
{
	struct nom_extent *extent;
	struct nom_told *told;

	mutex_lock(&nom_pool_lock);
	list_for_each_entry(extent, &nom_pool_quarantined, link)
		list_for_each_entry(told, &extent->told, link)
			if (told->pdev == pdev)
				told->clear = true;
	if (!list_empty(&nom_pool_quarantined))
		mod_delayed_work(nom_wq, &nom_pool_work, 0);
	mutex_unlock(&nom_pool_lock);
}

/**
 * nom_pool_show - from here on an extent can be found by its id
 * @extent: the extent
 * @file: its grant; it ends the extent when it is released
 */
void nom_pool_show(struct nom_extent *extent, struct file *file)
{
	mutex_lock(&nom_pool_lock);
	extent->file = file;
	mutex_unlock(&nom_pool_lock);
}

/**
 * nom_pool_find - find a grant's extent
 * @id: its id
 *
 * Context: nom_pool_call()'s function.
 * Return: the extent, or NULL.
 */
struct nom_extent *nom_pool_find(u64 id)
{
	struct nom_extent *extent;

	lockdep_assert_held(&nom_pool_lock);
	list_for_each_entry(extent, &nom_pool_granted, link)
		if (extent->id == id)
			return extent->file ? extent : NULL;
	return NULL;
}

/**
 * nom_pool_next - the granted extent after another
 * @extent: the other, or NULL for the first
 *
 * Context: nom_pool_call()'s function.
 * Return: the extent, or NULL.
 */
struct nom_extent *nom_pool_next(struct nom_extent *extent)
{
	lockdep_assert_held(&nom_pool_lock);
	if (!extent)
		return list_first_entry_or_null(&nom_pool_granted, struct nom_extent, link);
	return list_is_last(&extent->link, &nom_pool_granted) ? NULL : list_next_entry(extent, link);
}

/**
 * nom_pool_call - run a function while no grant comes or goes
 * @fn: may use nom_pool_find() and nom_pool_next()
 * @arg: passed to it
 *
 * Return: what @fn does.
 */
int nom_pool_call(int (*fn)(void *arg), void *arg)
{
	int ret;

	mutex_lock(&nom_pool_lock);
	ret = fn(arg);
	mutex_unlock(&nom_pool_lock);
	return ret;
}

/**
 * nom_pool_describe - the next grant, for netlink
 * @after: id of the one before, 0 for the first
 * @out: written
 *
 * Return: 0 or -ENOENT (no more).
 */
int nom_pool_describe(u64 after, struct nom_grant_info *out)
{
	struct nom_extent *extent;
	int ret = -ENOENT;

	mutex_lock(&nom_pool_lock);
	list_for_each_entry(extent, &nom_pool_granted, link) {
		if (extent->id <= after)
			continue;
		nom_extent_describe(extent, out);
		ret = 0;
		break;
	}
	mutex_unlock(&nom_pool_lock);
	return ret;
}

static void nom_extent_held_by(struct nom_extent *extent, struct nom_held *held)
{
	struct nom_told *told;

	held->pinned |= nom_extent_is_pinned(extent);
	list_for_each_entry(told, &extent->told, link) {
		if (told->clear || held->told)
			continue;
		held->told = true;
		held->bdf = nom_device_bdf(told->pdev);
	}
}

/**
 * nom_pool_describe_quarantined - what the next grant has left in quarantine
 * @after: id of the one before, 0 for the first
 * @id_out: the grant's id
 * @bytes_out: how much; a grant that lost memory piece by piece has several extents
 * @owner_out: whoever had asked for it
 * @held_out: what it waits for, as of the last look
 *
 * Return: 0 or -ENOENT (no more).
 */
int nom_pool_describe_quarantined(u64 after, u64 *id_out, u64 *bytes_out,
				  struct nom_owner *owner_out, struct nom_held *held_out)
{
	struct nom_extent *extent, *next = NULL;

	mutex_lock(&nom_pool_lock);
	/* the list is by the time of the grant's end */
	list_for_each_entry(extent, &nom_pool_quarantined, link)
		if (extent->id > after && (!next || extent->id < next->id))
			next = extent;
	if (next) {
		*id_out = next->id;
		*bytes_out = 0;
		*owner_out = next->owner;
		memset(held_out, 0, sizeof(*held_out));
		list_for_each_entry(extent, &nom_pool_quarantined, link) {
			if (extent->id != next->id)
				continue;
			*bytes_out += nom_extent_bytes(extent);
			nom_extent_held_by(extent, held_out);
		}
	}
	mutex_unlock(&nom_pool_lock);
	return next ? 0 : -ENOENT;
}

/**
 * nom_pool_info - the same of one grant
 * @extent: the extent
 * @out: written
 */
void nom_pool_info(const struct nom_extent *extent, struct nom_grant_info *out)
{
	mutex_lock(&nom_pool_lock);
	nom_extent_describe(extent, out);
	mutex_unlock(&nom_pool_lock);
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
		nom_pool_publish();
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

	cancel_delayed_work_sync(&nom_pool_work);
	for (i = 0; !nom_reserved_mem(i, &range); i++)
		nom_range_reserve_pages(&range, true);
	kvfree(nom_pool_used);
}
