// SPDX-License-Identifier: GPL-2.0
/*
 * nom: reserved memory in chunks of 2 MiB, and the quarantine.
 *
 * The kernel set one range aside at boot (nom_mem=).  It never was in the page
 * allocator; each of its pages has a count of 1, which is ours.  The range is
 * dealt out in chunks; an extent is the list of chunks behind one grant, and a
 * chunk belongs to at most one extent.
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

static phys_addr_t nom_pool_base;
static unsigned int nom_pool_nr;		/* chunks */

/* Protects all below, every extent's @link and @told, and the order in which
 * the board hears of changes.
 */
static DEFINE_MUTEX(nom_pool_lock);
static unsigned long *nom_pool_used;		/* bit per chunk */
static unsigned int nom_pool_nr_granted;
static unsigned int nom_pool_nr_quarantined;
static u64 nom_pool_last_id;
static LIST_HEAD(nom_pool_granted);		/* by ascending id */
static LIST_HEAD(nom_pool_quarantined);

static void nom_pool_look(struct work_struct *work);
static DECLARE_DELAYED_WORK(nom_pool_work, nom_pool_look);

static u64 nom_extent_bytes(const struct nom_extent *extent)
{
	return (u64)extent->nr << NOM_CHUNK_SHIFT;
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
	return (u64)nom_pool_nr << NOM_CHUNK_SHIFT;
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

/* One run if there is one, else whatever is free.  The caller knows it suffices. */
static void nom_pool_pick(struct nom_extent *extent)
{
	unsigned long at;
	unsigned int i;

	lockdep_assert_held(&nom_pool_lock);
	at = bitmap_find_next_zero_area(nom_pool_used, nom_pool_nr, 0, extent->nr, 0);
	for (i = 0; i < extent->nr; i++) {
		if (at + extent->nr <= nom_pool_nr)
			extent->chunk[i] = at + i;
		else
			extent->chunk[i] = find_first_zero_bit(nom_pool_used, nom_pool_nr);
		__set_bit(extent->chunk[i], nom_pool_used);
	}
}

static void nom_extent_free(struct nom_extent *extent)
{
	struct nom_told *told, *next;

	list_for_each_entry_safe(told, next, &extent->told, link) {
		pci_dev_put(told->pdev);
		kfree(told);
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
		__clear_bit(extent->chunk[i], nom_pool_used);
	list_del(&extent->link);
}

/**
 * nom_pool_take - make an extent of zeroed memory
 * @bytes: a multiple of NOM_CHUNK_BYTES, > 0
 * @extent_out: the extent, the caller's
 *
 * Zeroes outside of every lock.
 *
 * Context: process, may sleep.
 * Return: 0, -ENOMEM, -EINTR (the caller is being killed).
 */
int nom_pool_take(u64 bytes, struct nom_extent **extent_out)
{
	struct nom_extent *extent;
	unsigned int i;

	if (bytes >> NOM_CHUNK_SHIFT > nom_pool_nr)
		return -ENOMEM;
	extent = kzalloc(sizeof(*extent), GFP_KERNEL_ACCOUNT);
	if (!extent)
		return -ENOMEM;
	extent->nr = bytes >> NOM_CHUNK_SHIFT;
	extent->chunk = kvcalloc(extent->nr, sizeof(*extent->chunk), GFP_KERNEL_ACCOUNT);
	if (!extent->chunk) {
		kfree(extent);
		return -ENOMEM;
	}
	INIT_LIST_HEAD(&extent->told);
	nom_owner_set_current(&extent->owner);

	mutex_lock(&nom_pool_lock);
	if (extent->nr > nom_pool_nr - nom_pool_nr_granted - nom_pool_nr_quarantined) {
		mutex_unlock(&nom_pool_lock);
		nom_extent_free(extent);
		return -ENOMEM;
	}
	nom_pool_pick(extent);
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

static bool nom_extent_is_pinned(const struct nom_extent *extent)
{
	struct page *page;
	unsigned int i, k;

	if (!extent->pinnable)
		return false;
	for (i = 0; i < extent->nr; i++) {
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

/**
 * nom_pool_give_back - end an extent
 * @extent: no descriptor and no mapping refers to it any more
 *
 * Its memory is free at once, or in quarantine; then the module stays, too.
 */
void nom_pool_give_back(struct nom_extent *extent)
{
	mutex_lock(&nom_pool_lock);
	nom_pool_nr_granted -= extent->nr;
	if (nom_extent_is_held(extent)) {
		trace_nom_grant(extent->id, nom_extent_bytes(extent), "quarantined");
		__module_get(THIS_MODULE);
		nom_pool_nr_quarantined += extent->nr;
		list_move_tail(&extent->link, &nom_pool_quarantined);
		queue_delayed_work(nom_wq, &nom_pool_work,
				   msecs_to_jiffies(NOM_QUARANTINE_POLL_MS));
		extent = NULL;
	} else {
		trace_nom_grant(extent->id, nom_extent_bytes(extent), "freed");
		nom_pool_recycle(extent);
	}
	nom_pool_publish();
	mutex_unlock(&nom_pool_lock);
	if (extent)
		nom_extent_free(extent);
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
		nom_pool_nr_quarantined -= extent->nr;
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
 * nom_pool_describe - the next grant, for netlink
 * @after: id of the one before, 0 for the first
 * @id_out: its id
 * @bytes_out: its length
 * @mapped_out: bytes mapped in windows
 * @owner_out: whoever asked for it
 *
 * Return: 0 or -ENOENT (no more).
 */
int nom_pool_describe(u64 after, u64 *id_out, u64 *bytes_out, u64 *mapped_out,
		      struct nom_owner *owner_out)
{
	struct nom_extent *extent;
	int ret = -ENOENT;

	mutex_lock(&nom_pool_lock);
	list_for_each_entry(extent, &nom_pool_granted, link) {
		if (extent->id <= after)
			continue;
		*id_out = extent->id;
		*bytes_out = nom_extent_bytes(extent);
		*mapped_out = atomic64_read(&extent->mapped);
		*owner_out = extent->owner;
		ret = 0;
		break;
	}
	mutex_unlock(&nom_pool_lock);
	return ret;
}

static void nom_extent_held_by(struct nom_extent *extent, struct nom_held *held)
{
	struct nom_told *told;

	memset(held, 0, sizeof(*held));
	held->pinned = nom_extent_is_pinned(extent);
	list_for_each_entry(told, &extent->told, link) {
		if (told->clear || held->told)
			continue;
		held->told = true;
		held->bdf = nom_device_bdf(told->pdev);
	}
}

/**
 * nom_pool_describe_quarantined - the next piece of memory in quarantine
 * @after: id of the one before, 0 for the first
 * @id_out: the id its grant had
 * @bytes_out: its length
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
		*bytes_out = nom_extent_bytes(next);
		*owner_out = next->owner;
		nom_extent_held_by(next, held_out);
	}
	mutex_unlock(&nom_pool_lock);
	return next ? 0 : -ENOENT;
}

static void nom_pool_reserve_pages(bool reserve)
{
	unsigned int i, k;
	struct page *page;

	for (i = 0; i < nom_pool_nr; i++) {
		page = nom_chunk_page(i);
		for (k = 0; k < NOM_CHUNK_PAGES; k++) {
			WARN_ON_ONCE(page_ref_count(page + k) != 1);
			if (reserve)
				SetPageReserved(page + k);
			else
				ClearPageReserved(page + k);
		}
		cond_resched();
	}
}

/**
 * nom_pool_init - take over the reserved range
 *
 * Return: 0 (also when there is none) or -ENOMEM.
 */
int __init nom_pool_init(void)
{
	phys_addr_t bytes;

	nom_pool_base = nom_reserved_mem(&bytes);
	if (bytes && !IS_ALIGNED(nom_pool_base, NOM_CHUNK_BYTES)) {
		pr_warn("reserved memory at %pa is not aligned to 2 MiB: not used\n",
			&nom_pool_base);
		bytes = 0;
	}
	nom_pool_nr = bytes >> NOM_CHUNK_SHIFT;
	nom_pool_used = bitmap_zalloc(nom_pool_nr, GFP_KERNEL);
	if (!nom_pool_used)
		return -ENOMEM;
	nom_pool_reserve_pages(false);
	return 0;
}

void nom_pool_exit(void)
{
	cancel_delayed_work_sync(&nom_pool_work);
	nom_pool_reserve_pages(true);
	bitmap_free(nom_pool_used);
}
