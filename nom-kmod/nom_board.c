// SPDX-License-Identifier: GPL-2.0
/*
 * nom: the bulletin board - what there is, who holds it, what it costs.
 *
 * A few pages that every opener of /dev/nom may map read-only, and that nobody
 * but this file writes.  A reader takes no lock and makes no system call: it
 * copies between two equal, even values of the sequence word (the layout and
 * the reader's side are in the uapi header, the pairing of barriers in
 * Documentation/memory-ordering.rst).
 *
 * Each change of a class raises the class's change count, posts to the leases
 * that subscribed to it and goes to netlink's "changes" group - in this order,
 * so that whoever is told finds the news on the board.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#include "nom.h"

#define NOM_BOARD_MAX_DEVICES	64
#define NOM_BOARD_MAX_PRICES	64
#define NOM_BOARD_MAX_RECLAIMS	64

/* Writers only.  Process context everywhere; critical sections are short. */
static DEFINE_SPINLOCK(nom_board_lock);
static struct nom_board *nom_board;
static size_t nom_board_len;

static void *nom_board_record(enum nom_board_class class, unsigned int index)
{
	const struct nom_board_section *s = &nom_board->section[class];

	return (void *)nom_board + s->offset + (size_t)index * s->stride;
}

/* The sequence word is odd from begin to end. */
static void nom_board_begin(void)
{
	lockdep_assert_held(&nom_board_lock);
	WRITE_ONCE(nom_board->seq, nom_board->seq + 1);
	/* odd before the data; partner: the reader's second look at seq */
	smp_wmb();
}

static void nom_board_end(enum nom_board_class class)
{
	WRITE_ONCE(nom_board->section[class].changes,
		   nom_board->section[class].changes + 1);
	WRITE_ONCE(nom_board->updated_ns, ktime_get_ns());
	/* the data before even; partner: the reader's first look at seq */
	smp_wmb();
	WRITE_ONCE(nom_board->seq, nom_board->seq + 1);
}

/**
 * nom_board_core - publish the state of a reserved core
 * @index: its record
 * @core: what to write there
 */
void nom_board_core(unsigned int index, const struct nom_board_core *core)
{
	spin_lock(&nom_board_lock);
	nom_board_begin();
	memcpy(nom_board_record(NOM_BOARD_CORES, index), core, sizeof(*core));
	nom_board_end(NOM_BOARD_CORES);
	spin_unlock(&nom_board_lock);

	nom_lease_post_class(NOM_BOARD_CORES);
	nom_netlink_ntf_core(core);
}

/**
 * nom_board_memory - publish how much memory is where
 * @memory: what to write
 */
void nom_board_memory(const struct nom_board_memory *memory)
{
	spin_lock(&nom_board_lock);
	nom_board_begin();
	memcpy(nom_board_record(NOM_BOARD_MEMORY, 0), memory, sizeof(*memory));
	nom_board_end(NOM_BOARD_MEMORY);
	spin_unlock(&nom_board_lock);

	nom_lease_post_class(NOM_BOARD_MEMORY);
	nom_netlink_ntf_memory(memory);
}

/*
 * The record that begins with @key, or -ENOENT.  A name's key is as long as the
 * name with its end.
 */
static int nom_board_find(enum nom_board_class class, const void *key, size_t bytes)
{
	unsigned int i;

	lockdep_assert_held(&nom_board_lock);
	for (i = 0; i < nom_board->section[class].nr; i++)
		if (!memcmp(nom_board_record(class, i), key, bytes))
			return i;
	return -ENOENT;
}

static_assert(!offsetof(struct nom_board_device, bdf));
static_assert(!offsetof(struct nom_board_price, name));
static_assert(!offsetof(struct nom_board_reclaim, grant));

/* Records stay without gaps: the last one moves to where one went. */
static void nom_board_drop(enum nom_board_class class, unsigned int index)
{
	struct nom_board_section *s = &nom_board->section[class];

	nom_board_begin();
	memcpy(nom_board_record(class, index), nom_board_record(class, s->nr - 1), s->stride);
	/* who remembers the place of a price finds that it is gone */
	memset(nom_board_record(class, s->nr - 1), 0, s->stride);
	WRITE_ONCE(s->nr, s->nr - 1);
	nom_board_end(class);
}

/* Take the record that begins with @key off the board; @out is how it last stood. */
static int nom_board_take(enum nom_board_class class, const void *key, size_t bytes, void *out)
{
	int i;

	spin_lock(&nom_board_lock);
	i = nom_board_find(class, key, bytes);
	if (i >= 0) {
		memcpy(out, nom_board_record(class, i), nom_board->section[class].stride);
		nom_board_drop(class, i);
	}
	spin_unlock(&nom_board_lock);
	if (i < 0)
		return i;
	nom_lease_post_class(class);
	return 0;
}

/**
 * nom_board_device_add - publish a function that user space may drive
 * @device: its record; one that is there already stays as it is
 */
void nom_board_device_add(const struct nom_board_device *device)
{
	struct nom_board_section *s = &nom_board->section[NOM_BOARD_DEVICES];

	spin_lock(&nom_board_lock);
	if (nom_board_find(NOM_BOARD_DEVICES, &device->bdf, sizeof(device->bdf)) >= 0) {
		spin_unlock(&nom_board_lock);
		return;
	}
	if (s->nr == s->max) {
		spin_unlock(&nom_board_lock);
		pr_warn_once("the board has room for %u devices; others are usable, but not shown\n",
			     NOM_BOARD_MAX_DEVICES);
		return;
	}
	nom_board_begin();
	memcpy(nom_board_record(NOM_BOARD_DEVICES, s->nr), device, sizeof(*device));
	WRITE_ONCE(s->nr, s->nr + 1);
	nom_board_end(NOM_BOARD_DEVICES);
	spin_unlock(&nom_board_lock);

	nom_lease_post_class(NOM_BOARD_DEVICES);
	nom_netlink_ntf_device(device, true);
}

/**
 * nom_board_device_leaving - a function is about to be taken from user space
 * @bdf: which; unknown ones are ignored
 *
 * Whoever drives it is told before it is off the board, because the removal
 * waits until the driver's user has closed it.
 */
void nom_board_device_leaving(u32 bdf)
{
	struct nom_board_device *d;
	struct nom_board_device copy;
	int i;

	spin_lock(&nom_board_lock);
	i = nom_board_find(NOM_BOARD_DEVICES, &bdf, sizeof(bdf));
	if (i < 0) {
		spin_unlock(&nom_board_lock);
		return;
	}
	d = nom_board_record(NOM_BOARD_DEVICES, i);
	nom_board_begin();
	d->state = NOM_DEVICE_LEAVING;
	nom_board_end(NOM_BOARD_DEVICES);
	memcpy(&copy, d, sizeof(copy));
	spin_unlock(&nom_board_lock);

	nom_lease_post_class(NOM_BOARD_DEVICES);
	nom_netlink_ntf_device(&copy, true);
}

/**
 * nom_board_device_del - take a function off the board
 * @bdf: which; unknown ones are ignored
 */
void nom_board_device_del(u32 bdf)
{
	struct nom_board_device device;

	if (!nom_board_take(NOM_BOARD_DEVICES, &bdf, sizeof(bdf), &device))
		nom_netlink_ntf_device(&device, false);
}

/**
 * nom_board_price_set - publish a price
 * @name: what is priced; checked by the caller
 * @unit: per what, or NULL: as before
 * @price_ucr: micro-credits per unit; checked by the caller
 *
 * Setting the price that stands already changes nothing and tells nobody.
 *
 * Return: 0, -ENOENT (new name and no unit), -EINVAL (other unit than before),
 * -ENOSPC (no room for another name).
 */
int nom_board_price_set(const char *name, const char *unit, s64 price_ucr)
{
	struct nom_board_section *s = &nom_board->section[NOM_BOARD_PRICES];
	struct nom_board_price *p;
	struct nom_board_price copy;
	bool is_new;
	int i;

	spin_lock(&nom_board_lock);
	i = nom_board_find(NOM_BOARD_PRICES, name, strlen(name) + 1);
	is_new = i < 0;
	if (is_new)
		i = s->nr;
	if (is_new && !unit) {
		spin_unlock(&nom_board_lock);
		return -ENOENT;
	}
	if (is_new && s->nr == s->max) {
		spin_unlock(&nom_board_lock);
		return -ENOSPC;
	}
	p = nom_board_record(NOM_BOARD_PRICES, i);
	if (!is_new && unit && strcmp(p->unit, unit)) {
		spin_unlock(&nom_board_lock);
		return -EINVAL;
	}
	if (!is_new && p->price_ucr == price_ucr) {
		spin_unlock(&nom_board_lock);
		return 0;
	}

	nom_board_begin();
	if (is_new) {
		memset(p, 0, sizeof(*p));
		strscpy(p->name, name, sizeof(p->name));
		strscpy(p->unit, unit, sizeof(p->unit));
		WRITE_ONCE(s->nr, s->nr + 1);
	}
	p->price_ucr = price_ucr;
	p->since_ns = ktime_get_ns();
	p->changes++;
	nom_board_end(NOM_BOARD_PRICES);
	memcpy(&copy, p, sizeof(copy));
	spin_unlock(&nom_board_lock);

	nom_lease_post_class(NOM_BOARD_PRICES);
	nom_netlink_ntf_price(&copy, true);
	return 0;
}

/**
 * nom_board_price_del - take a price off the board
 * @name: what is priced
 *
 * Return: 0 or -ENOENT.
 */
int nom_board_price_del(const char *name)
{
	struct nom_board_price price;
	int ret;

	ret = nom_board_take(NOM_BOARD_PRICES, name, strlen(name) + 1, &price);
	if (!ret)
		nom_netlink_ntf_price(&price, false);
	return ret;
}

/**
 * nom_board_reclaim_room - is there room for another reclaim notice?
 *
 * Return: 0 or -ENOSPC.
 */
int nom_board_reclaim_room(void)
{
	const struct nom_board_section *s = &nom_board->section[NOM_BOARD_RECLAIM];

	return READ_ONCE(s->nr) < s->max ? 0 : -ENOSPC;
}

/**
 * nom_board_reclaim_set - publish a reclaim notice, or how it stands
 * @reclaim: the notice; if its grant has none, there is room
 *
 * Context: notices are made and changed by one task at a time (nom_pool_lock).
 */
void nom_board_reclaim_set(const struct nom_board_reclaim *reclaim)
{
	struct nom_board_section *s = &nom_board->section[NOM_BOARD_RECLAIM];
	int i;

	spin_lock(&nom_board_lock);
	i = nom_board_find(NOM_BOARD_RECLAIM, &reclaim->grant, sizeof(reclaim->grant));
	if (i < 0)
		i = s->nr;
	if (WARN_ON_ONCE(i == s->max)) {
		spin_unlock(&nom_board_lock);
		return;
	}
	nom_board_begin();
	memcpy(nom_board_record(NOM_BOARD_RECLAIM, i), reclaim, sizeof(*reclaim));
	WRITE_ONCE(s->nr, max_t(u32, s->nr, i + 1));
	nom_board_end(NOM_BOARD_RECLAIM);
	spin_unlock(&nom_board_lock);

	nom_lease_post_class(NOM_BOARD_RECLAIM);
	nom_netlink_ntf_reclaim(reclaim, NOM_RECLAIM_ASKED);
}

/**
 * nom_board_reclaim_del - take a reclaim notice off the board
 * @grant: whose
 * @state: what became of it
 */
void nom_board_reclaim_del(u64 grant, enum nom_reclaim_state state)
{
	struct nom_board_reclaim reclaim;

	if (nom_board_take(NOM_BOARD_RECLAIM, &grant, sizeof(grant), &reclaim))
		return;
	reclaim.bytes = 0;
	nom_netlink_ntf_reclaim(&reclaim, state);
}

static int nom_board_get(enum nom_board_class class, unsigned int index,
			 void *out, size_t bytes)
{
	int ret = -ENOENT;

	spin_lock(&nom_board_lock);
	if (index < nom_board->section[class].nr) {
		memcpy(out, nom_board_record(class, index), bytes);
		ret = 0;
	}
	spin_unlock(&nom_board_lock);
	return ret;
}

int nom_board_get_core(unsigned int index, struct nom_board_core *out)
{
	return nom_board_get(NOM_BOARD_CORES, index, out, sizeof(*out));
}

int nom_board_get_device(unsigned int index, struct nom_board_device *out)
{
	return nom_board_get(NOM_BOARD_DEVICES, index, out, sizeof(*out));
}

int nom_board_get_price(unsigned int index, struct nom_board_price *out)
{
	return nom_board_get(NOM_BOARD_PRICES, index, out, sizeof(*out));
}

void nom_board_get_memory(struct nom_board_memory *out)
{
	nom_board_get(NOM_BOARD_MEMORY, 0, out, sizeof(*out));
}

size_t nom_board_bytes(void)
{
	return nom_board_len;
}

/**
 * nom_board_mmap - map the board, for reading and nothing else
 * @vma: from the first page; a part of the board is all right
 *
 * Return: 0, -EPERM (asks to write or execute), -EINVAL.
 */
int nom_board_mmap(struct vm_area_struct *vma)
{
	if (vma->vm_flags & (VM_WRITE | VM_EXEC))
		return -EPERM;
	/* MAP_SHARED of a read-only descriptor leaves only VM_MAYSHARE */
	if (!(vma->vm_flags & VM_MAYSHARE) || vma->vm_pgoff)
		return -EINVAL;
	vm_flags_clear(vma, VM_MAYWRITE | VM_MAYEXEC);
	return remap_vmalloc_range(vma, nom_board, 0);
}

static u32 nom_board_lay_out(enum nom_board_class class, u32 offset, u32 stride,
			     u32 nr, u32 max)
{
	struct nom_board_section *s = &nom_board->section[class];

	s->offset = offset;
	s->stride = stride;
	s->nr = nr;
	s->max = max;
	return offset + stride * max;
}

/**
 * nom_board_init - make the board
 * @nr_cores: reserved cores; their records are the caller's to fill in
 * @mem_bytes: reserved memory
 *
 * Return: 0 or -ENOMEM.
 */
int nom_board_init(unsigned int nr_cores, u64 mem_bytes)
{
	struct nom_board_memory memory = {
		.total_bytes = mem_bytes,
		.free_bytes = mem_bytes,
	};
	u32 end;

	nom_board_len = PAGE_ALIGN(sizeof(struct nom_board) +
				   nr_cores * sizeof(struct nom_board_core) +
				   sizeof(struct nom_board_memory) +
				   NOM_BOARD_MAX_DEVICES * sizeof(struct nom_board_device) +
				   NOM_BOARD_MAX_PRICES * sizeof(struct nom_board_price) +
				   NOM_BOARD_MAX_RECLAIMS * sizeof(struct nom_board_reclaim));
	nom_board = vmalloc_user(nom_board_len);
	if (!nom_board)
		return -ENOMEM;

	nom_board->magic = NOM_BOARD_MAGIC;
	nom_board->version = NOM_BOARD_VERSION;
	nom_board->bytes = nom_board_len;
	nom_board->nr_classes = NOM_BOARD_NR_CLASSES;
	nom_board->updated_ns = ktime_get_ns();

	end = sizeof(struct nom_board);
	end = nom_board_lay_out(NOM_BOARD_CORES, end, sizeof(struct nom_board_core),
				nr_cores, nr_cores);
	end = nom_board_lay_out(NOM_BOARD_MEMORY, end, sizeof(memory), 1, 1);
	end = nom_board_lay_out(NOM_BOARD_DEVICES, end, sizeof(struct nom_board_device),
				0, NOM_BOARD_MAX_DEVICES);
	end = nom_board_lay_out(NOM_BOARD_PRICES, end, sizeof(struct nom_board_price),
				0, NOM_BOARD_MAX_PRICES);
	end = nom_board_lay_out(NOM_BOARD_RECLAIM, end, sizeof(struct nom_board_reclaim),
				0, NOM_BOARD_MAX_RECLAIMS);
	if (WARN_ON(end > nom_board_len)) {
		nom_board_exit();
		return -ENOMEM;
	}
	memcpy(nom_board_record(NOM_BOARD_MEMORY, 0), &memory, sizeof(memory));
	return 0;
}

void nom_board_exit(void)
{
	vfree(nom_board);
	nom_board = NULL;
}
