// SPDX-License-Identifier: GPL-2.0
/*
 * nom: the quarantine - memory that ended while somebody may still write to it.
 *
 * An extent that ends stays out of circulation while
 *
 *   - one of its pages that were shown in a DMA view is still pinned, or
 *   - a function that was told its addresses (NOM_MEM_PHYS) is bound to
 *     vfio-pci and has bus mastering enabled.  Once seen otherwise - VFIO turns
 *     it off when the device's descriptor is closed - it has forgotten.
 *   - a device without PCI that was told runs; it is reset when it is closed
 *     (nom_mmio.c).
 *
 * Nothing signals either change, so a work item looks every few milliseconds,
 * for as long as there is something in quarantine.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/workqueue.h>
#include "nom_pool.h"
#include "nom_trace.h"

#define NOM_QUARANTINE_POLL_MS	20

/* Under nom_pool_lock. */
static LIST_HEAD(nom_quarantined);		/* by the time of the end */
static unsigned int nom_quarantined_nr;		/* chunks */

static void nom_quarantine_look(struct work_struct *work);
static DECLARE_DELAYED_WORK(nom_quarantine_work, nom_quarantine_look);

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

static bool nom_told_reaches(const struct nom_told *told)
{
	return dev_is_pci(told->dev) ? nom_device_masters_bus(to_pci_dev(told->dev)) :
				       nom_mmio_runs(told->dev);
}

static bool nom_extent_is_reachable(struct nom_extent *extent)
{
	struct nom_told *told;
	bool ret = false;

	lockdep_assert_held(&nom_pool_lock);
	list_for_each_entry(told, &extent->told, link) {
		if (!told->clear)
			told->clear = !nom_told_reaches(told);
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
 * nom_quarantine_keep - an extent ends: may its memory go on?
 * @extent: in no list
 *
 * What is kept also keeps the module.
 *
 * Context: nom_pool_lock is held.
 * Return: false if it may; else the extent is the quarantine's.
 */
bool nom_quarantine_keep(struct nom_extent *extent)
{
	lockdep_assert_held(&nom_pool_lock);
	if (!nom_extent_is_held(extent))
		return false;
	trace_nom_grant(extent->id, nom_extent_bytes(extent), "quarantined");
	__module_get(THIS_MODULE);
	nom_quarantined_nr += nom_extent_nr(extent);
	list_add_tail(&extent->link, &nom_quarantined);
	queue_delayed_work(nom_wq, &nom_quarantine_work, msecs_to_jiffies(NOM_QUARANTINE_POLL_MS));
	return true;
}

/**
 * nom_quarantine_nr - chunks in quarantine
 *
 * Context: nom_pool_lock is held.
 */
unsigned int nom_quarantine_nr(void)
{
	lockdep_assert_held(&nom_pool_lock);
	return nom_quarantined_nr;
}

/* Work item: let go what nothing can reach any more. */
static void nom_quarantine_look(struct work_struct *work)
{
	struct nom_extent *extent, *next;
	bool changed = false;

	mutex_lock(&nom_pool_lock);
	list_for_each_entry_safe(extent, next, &nom_quarantined, link) {
		if (nom_extent_is_held(extent))
			continue;
		trace_nom_grant(extent->id, nom_extent_bytes(extent), "unquarantined");
		nom_quarantined_nr -= nom_extent_nr(extent);
		list_del(&extent->link);
		nom_pool_put(extent);
		nom_extent_free(extent);
		changed = true;
		/* nom_quarantine_exit() waits for this function */
		module_put(THIS_MODULE);
	}
	if (changed)
		nom_extent_publish();
	if (!list_empty(&nom_quarantined))
		queue_delayed_work(nom_wq, &nom_quarantine_work,
				   msecs_to_jiffies(NOM_QUARANTINE_POLL_MS));
	mutex_unlock(&nom_pool_lock);
}

/**
 * nom_quarantine_tell - note that a device learns addresses of an extent
 * @extent: the extent
 * @dev: the device; takes a reference of its own
 *
 * Return: 0 or -ENOMEM.
 */
int nom_quarantine_tell(struct nom_extent *extent, struct device *dev)
{
	struct nom_told *told, *fresh;

	fresh = kzalloc(sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	if (!fresh)
		return -ENOMEM;
	fresh->dev = get_device(dev);

	mutex_lock(&nom_pool_lock);
	list_for_each_entry(told, &extent->told, link)
		if (told->dev == dev)
			goto known;
	list_add(&fresh->link, &extent->told);
	fresh = NULL;
known:
	mutex_unlock(&nom_pool_lock);
	if (fresh) {
		put_device(fresh->dev);
		kfree(fresh);
	}
	return 0;
}

/**
 * nom_quarantine_device_gone - a device left user space's driver, or the machine
 * @dev: it has no reach into memory that ended before
 */
void nom_quarantine_device_gone(struct device *dev)
{
	struct nom_extent *extent;
	struct nom_told *told;

	mutex_lock(&nom_pool_lock);
	list_for_each_entry(extent, &nom_quarantined, link)
		list_for_each_entry(told, &extent->told, link)
			if (told->dev == dev)
				told->clear = true;
	if (!list_empty(&nom_quarantined))
		mod_delayed_work(nom_wq, &nom_quarantine_work, 0);
	mutex_unlock(&nom_pool_lock);
}

static void nom_extent_held_by(struct nom_extent *extent, struct nom_held *held)
{
	struct nom_told *told;

	held->pinned |= nom_extent_is_pinned(extent);
	list_for_each_entry(told, &extent->told, link) {
		if (told->clear || held->told)
			continue;
		held->told = true;
		held->mmio = !dev_is_pci(told->dev);
		if (!held->mmio)
			held->bdf = nom_device_bdf(to_pci_dev(told->dev));
	}
}

/**
 * nom_quarantine_describe - what the next grant has left in quarantine
 * @after: id of the one before, 0 for the first
 * @id_out: the grant's id
 * @bytes_out: how much; a grant that lost memory piece by piece has several extents
 * @owner_out: whoever had asked for it
 * @held_out: what it waits for, as of the last look
 *
 * Return: 0 or -ENOENT (no more).
 */
int nom_quarantine_describe(u64 after, u64 *id_out, u64 *bytes_out,
				  struct nom_owner *owner_out, struct nom_held *held_out)
{
	struct nom_extent *extent, *next = NULL;

	mutex_lock(&nom_pool_lock);
	/* the list is by the time of the grant's end */
	list_for_each_entry(extent, &nom_quarantined, link)
		if (extent->id > after && (!next || extent->id < next->id))
			next = extent;
	if (next) {
		*id_out = next->id;
		*bytes_out = 0;
		*owner_out = next->owner;
		memset(held_out, 0, sizeof(*held_out));
		list_for_each_entry(extent, &nom_quarantined, link) {
			if (extent->id != next->id)
				continue;
			*bytes_out += nom_extent_bytes(extent);
			nom_extent_held_by(extent, held_out);
		}
	}
	mutex_unlock(&nom_pool_lock);
	return next ? 0 : -ENOENT;
}

void nom_quarantine_exit(void)
{
	cancel_delayed_work_sync(&nom_quarantine_work);
}
