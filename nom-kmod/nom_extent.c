// SPDX-License-Identifier: GPL-2.0
/*
 * nom: extents - the list of chunks behind one grant, from the asking to the end.
 *
 * What a grant gives back or loses ahead of its end becomes an extent of its own,
 * and ends as one: free again, or in quarantine (nom_quarantine.c).
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include "nom_pool.h"
#include "nom_trace.h"

/* Under nom_pool_lock. */
static LIST_HEAD(nom_granted);			/* by ascending id */
static unsigned int nom_granted_nr;		/* chunks */
static u64 nom_granted_last_id;

/**
 * nom_extent_publish - tell the board how much memory is where
 *
 * Context: nom_pool_lock is held.
 */
void nom_extent_publish(void)
{
	struct nom_board_memory memory = {
		.total_bytes = nom_pool_bytes(),
		.granted_bytes = (u64)nom_granted_nr << NOM_CHUNK_SHIFT,
		.quarantined_bytes = (u64)nom_quarantine_nr() << NOM_CHUNK_SHIFT,
	};

	lockdep_assert_held(&nom_pool_lock);
	memory.free_bytes = memory.total_bytes - memory.granted_bytes -
			    memory.quarantined_bytes;
	nom_board_memory(&memory);
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
 * nom_extent_free - an extent that has no memory, or never had any
 * @extent: in no list
 */
void nom_extent_free(struct nom_extent *extent)
{
	struct nom_told *told, *next;

	list_for_each_entry_safe(told, next, &extent->told, link) {
		put_device(told->dev);
		kfree(told);
	}
	if (extent->user) {
		nom_limit_uncharge(extent->user, NOM_RES_MEM, nom_extent_bytes(extent));
		nom_user_put(extent->user);
	}
	kvfree(extent->chunk);
	kfree(extent);
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
 * nom_extent_take - make an extent of zeroed memory
 * @bytes: a multiple of NOM_CHUNK_BYTES, > 0
 * @node: from this NUMA node, or NUMA_NO_NODE
 * @extent_out: the extent, the caller's
 *
 * Zeroes outside of every lock.
 *
 * Context: process, may sleep.
 * Return: 0, -ENOMEM, -EINTR (the caller is being killed).
 */
int nom_extent_take(u64 bytes, int node, struct nom_extent **extent_out)
{
	struct nom_extent *extent;
	unsigned int i;

	if (bytes >> NOM_CHUNK_SHIFT > nom_pool_nr_chunks())
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
	nom_pool_get(extent, node);
	nom_granted_nr += extent->nr;
	extent->id = ++nom_granted_last_id;
	list_add_tail(&extent->link, &nom_granted);
	nom_extent_publish();
	mutex_unlock(&nom_pool_lock);

	for (i = 0; i < extent->nr; i++) {
		if (fatal_signal_pending(current)) {
			nom_extent_give_back(extent);
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

/* The memory of an extent is free, or in quarantine. */
static struct nom_extent *nom_extent_retire(struct nom_extent *extent)
{
	lockdep_assert_held(&nom_pool_lock);
	list_del_init(&extent->link);
	nom_granted_nr -= nom_extent_nr(extent);
	if (nom_quarantine_keep(extent))
		return NULL;
	trace_nom_grant(extent->id, nom_extent_bytes(extent), "freed");
	nom_pool_put(extent);
	return extent;
}

/**
 * nom_extent_give_back - end an extent
 * @extent: no descriptor and no mapping refers to it any more
 */
void nom_extent_give_back(struct nom_extent *extent)
{
	mutex_lock(&nom_pool_lock);
	nom_reclaim_end(extent);
	extent = nom_extent_retire(extent);
	nom_extent_publish();
	mutex_unlock(&nom_pool_lock);
	if (extent)
		nom_extent_free(extent);
}

/**
 * nom_extent_split - let a part of an extent go
 * @extent: a grant's, whose lock is held
 * @gone: bit per chunk of it, all of which are there
 * @nr: bits set
 * @part_out: the part; nothing may map it when nom_extent_part_ends() is called
 *
 * Return: 0 or -ENOMEM, nothing changed.
 */
int nom_extent_split(struct nom_extent *extent, const unsigned long *gone, unsigned int nr,
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
		copy->dev = get_device(told->dev);
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
 * nom_extent_part_ends - what was split off is mapped nowhere any more
 * @extent: what it was split off; its grant's lock is held
 * @part: from nom_extent_split()
 */
void nom_extent_part_ends(struct nom_extent *extent, struct nom_extent *part)
{
	mutex_lock(&nom_pool_lock);
	nom_reclaim_met(extent, nom_extent_bytes(part));
	part = nom_extent_retire(part);
	nom_extent_publish();
	mutex_unlock(&nom_pool_lock);
	if (part)
		nom_extent_free(part);
}

/**
 * nom_extent_show - from here on an extent can be found by its id
 * @extent: the extent
 * @file: its grant; it ends the extent when it is released
 */
void nom_extent_show(struct nom_extent *extent, struct file *file)
{
	mutex_lock(&nom_pool_lock);
	extent->file = file;
	mutex_unlock(&nom_pool_lock);
}

/**
 * nom_extent_find - find a grant's extent
 * @id: its id
 *
 * Context: nom_extent_call()'s function.
 * Return: the extent, or NULL.
 */
struct nom_extent *nom_extent_find(u64 id)
{
	struct nom_extent *extent;

	lockdep_assert_held(&nom_pool_lock);
	list_for_each_entry(extent, &nom_granted, link)
		if (extent->id == id)
			return extent->file ? extent : NULL;
	return NULL;
}

/**
 * nom_extent_next - the granted extent after another
 * @extent: the other, or NULL for the first
 *
 * Context: nom_extent_call()'s function.
 * Return: the extent, or NULL.
 */
struct nom_extent *nom_extent_next(struct nom_extent *extent)
{
	lockdep_assert_held(&nom_pool_lock);
	if (!extent)
		return list_first_entry_or_null(&nom_granted, struct nom_extent, link);
	return list_is_last(&extent->link, &nom_granted) ? NULL : list_next_entry(extent, link);
}

/**
 * nom_extent_call - run a function while no grant comes or goes
 * @fn: may use nom_extent_find() and nom_extent_next()
 * @arg: passed to it
 *
 * Return: what @fn does.
 */
int nom_extent_call(int (*fn)(void *arg), void *arg)
{
	int ret;

	mutex_lock(&nom_pool_lock);
	ret = fn(arg);
	mutex_unlock(&nom_pool_lock);
	return ret;
}

static void nom_extent_fill(const struct nom_extent *extent, struct nom_grant_info *out)
{
	lockdep_assert_held(&nom_pool_lock);
	out->id = extent->id;
	out->bytes = nom_extent_bytes(extent);
	out->mapped_bytes = atomic64_read(&extent->mapped);
	out->wanted_bytes = extent->wanted_bytes;
	out->deadline_ns = extent->deadline_ns;
	out->owner = extent->owner;
}

/**
 * nom_extent_describe - the next grant, for netlink
 * @after: id of the one before, 0 for the first
 * @out: written
 *
 * Return: 0 or -ENOENT (no more).
 */
int nom_extent_describe(u64 after, struct nom_grant_info *out)
{
	struct nom_extent *extent;
	int ret = -ENOENT;

	mutex_lock(&nom_pool_lock);
	list_for_each_entry(extent, &nom_granted, link) {
		if (extent->id <= after)
			continue;
		nom_extent_fill(extent, out);
		ret = 0;
		break;
	}
	mutex_unlock(&nom_pool_lock);
	return ret;
}

/**
 * nom_extent_info - the same of one grant
 * @extent: the extent
 * @out: written
 */
void nom_extent_info(const struct nom_extent *extent, struct nom_grant_info *out)
{
	mutex_lock(&nom_pool_lock);
	nom_extent_fill(extent, out);
	mutex_unlock(&nom_pool_lock);
}
