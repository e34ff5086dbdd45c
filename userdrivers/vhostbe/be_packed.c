// SPDX-License-Identifier: MIT
/*
 * vhostbe: device side of a packed ring (virtio 1.2, section 2.8).
 *
 * As everywhere here, each word is loaded once, checked and then used.  With
 * IN_ORDER, the chains of a transmit batch are written down as one (2.8.5),
 * which is all that this feature is for.
 */
#include "be.h"

#include <stdlib.h>

#define AVAIL	(1u << VRING_PACKED_DESC_F_AVAIL)
#define USED	(1u << VRING_PACKED_DESC_F_USED)
#define WRAP	(1u << VRING_PACKED_EVENT_F_WRAP_CTR)

static bool wrap(const struct be_ring *r, unsigned int idx)
{
	return !(idx & r->num);
}

static struct vring_packed_desc *at(const struct be_ring *r, unsigned int idx)
{
	return &r->pdesc[idx & (r->num - 1)];
}

/* Flags of the descriptor at @idx if it is available, or -1; pairs with the driver's release of them. */
static int available(const struct be_ring *r, unsigned int idx)
{
	uint16_t flags = __atomic_load_n(&at(r, idx)->flags, __ATOMIC_ACQUIRE);

	return (flags & (AVAIL | USED)) == (wrap(r, idx) ? AVAIL : USED) ? flags : -1;
}

/* Chains, counted; where one starts has to be walked to. */
int be_packed_avail(struct vhostbe *be, struct be_ring *r)
{
	unsigned int idx = r->last_avail, end = idx + r->num;
	int n = 0;

	while (idx != end) {
		int flags = available(r, idx);

		if (flags < 0)
			break;
		while ((flags & VRING_DESC_F_NEXT) && ++idx != end)
			flags = __atomic_load_n(&at(r, idx)->flags, __ATOMIC_RELAXED);
		if (idx == end) {
			be_fail(be, "chain without an end in a ring of %u", r->num);
			return -1;
		}
		idx++;
		n++;
	}
	return n;
}

int be_packed_peek(struct vhostbe *be, struct be_ring *r, enum be_dir dir, struct be_part *part,
		   uint16_t *id)
{
	const struct vring_packed_desc *table = NULL;
	unsigned int idx = r->last_avail, in_table = 0, nr = 0;
	int n = 0, descs = 0;

	for (;;) {
		const struct vring_packed_desc *d = table ? &table[in_table] : at(r, idx);
		uint64_t addr = __atomic_load_n(&d->addr, __ATOMIC_RELAXED);
		uint32_t len = __atomic_load_n(&d->len, __ATOMIC_RELAXED);
		uint16_t flags = __atomic_load_n(&d->flags, __ATOMIC_RELAXED);

		if (n == BE_IOV_MAX || descs == (int)r->num) {
			be_fail(be, "chain at %u: longer than %d", r->last_avail & (r->num - 1), n);
			return -1;
		}
		if (!table) {
			*id = __atomic_load_n(&d->id, __ATOMIC_RELAXED);
			descs++;
			/* 2.8.7: a table takes one descriptor of the ring; in it, only WRITE means something. */
			if ((flags & (VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT)) == VRING_DESC_F_INDIRECT) {
				table = be_table(be, addr, len, &nr);
				if (!table)
					return -1;
				continue;
			}
		} else {
			flags &= VRING_DESC_F_WRITE;
		}
		if ((flags & VRING_DESC_F_INDIRECT) ||
		    (dir != BE_BOTH && !(flags & VRING_DESC_F_WRITE) != (dir == BE_READ))) {
			be_fail(be, "descriptor %u: flags 0x%x in a %s ring", idx & (r->num - 1), flags,
				dir == BE_WRITE ? "receive" : "transmit or control");
			return -1;
		}
		part[n].va = be_guest(be, addr, len);
		part[n].len = len;
		part[n].write = flags & VRING_DESC_F_WRITE;
		if (!part[n].va || !len) {
			be_fail(be, "descriptor %u: %u bytes at 0x%llx", idx & (r->num - 1), len,
				(unsigned long long)addr);
			return -1;
		}
		n++;
		if (table ? ++in_table == nr : !(flags & VRING_DESC_F_NEXT))
			break;
		idx += !table;
	}
	r->peeked = (uint16_t)descs;
	return n;
}

static void write_used(struct be_ring *r, unsigned int idx, uint16_t id, uint32_t written)
{
	struct vring_packed_desc *d = at(r, idx);

	__atomic_store_n(&d->id, id, __ATOMIC_RELAXED);
	__atomic_store_n(&d->len, written, __ATOMIC_RELAXED);
	/* 2.8.22: buffer, id and length before the flags; pairs with the driver's acquire of them. */
	__atomic_store_n(&d->flags, (uint16_t)(wrap(r, idx) ? AVAIL | USED : 0), __ATOMIC_RELEASE);
}

void be_packed_use(struct be_ring *r, uint16_t id, uint32_t written)
{
	if (!r->in_order) {
		write_used(r, r->used_idx, id, written);
	} else {
		if (!r->batch++)
			r->batch_at = r->used_idx;
		r->batch_id = id;
	}
	r->used_idx += r->peeked;
	r->last_avail += r->peeked;
}

/* The driver looks at the first one's flags first: they are written last. */
void be_packed_use_all(struct be_ring *r, const struct be_used *used, unsigned int n)
{
	unsigned int at = r->used_idx, i;

	for (i = 0; i < n; i++)
		at += used[i].descs;
	r->last_avail += (uint16_t)(at - r->used_idx);
	r->used_idx = (uint16_t)at;
	for (i = n; i-- > 0;) {
		at -= used[i].descs;
		write_used(r, at, used[i].id, used[i].written);
	}
}

bool be_packed_publish(struct be_ring *r, uint16_t old)
{
	unsigned int laps = 2 * r->num - 1, event;
	uint32_t word;

	if (r->batch)
		write_used(r, r->batch_at, r->batch_id, 0);
	r->batch = 0;
	/* 2.8.10: the flags before the driver's event; pairs with its barrier when it arms. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	word = __atomic_load_n((const uint32_t *)(const void *)r->driver_event, __ATOMIC_RELAXED);
	switch (word >> 16 & 3) {
	case VRING_PACKED_EVENT_FLAG_ENABLE:
		return true;
	case VRING_PACKED_EVENT_FLAG_DESC:
		event = (word & (r->num - 1)) | (word & WRAP ? 0 : r->num);
		return !r->event_idx || ((r->used_idx - event - 1u) & laps) <
			(uint16_t)(r->used_idx - old);
	default:
		return false;
	}
}

bool be_packed_kicks_on(struct be_ring *r)
{
	uint32_t word = VRING_PACKED_EVENT_FLAG_ENABLE;

	if (r->event_idx)
		word = VRING_PACKED_EVENT_FLAG_DESC << 16 | (r->last_avail & (r->num - 1)) |
			(wrap(r, r->last_avail) ? WRAP : 0);
	__atomic_store_n((uint32_t *)(void *)r->device_event, word, __ATOMIC_RELAXED);
	/* 2.8.10: pairs with the driver's barrier between flags and device event. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return available(r, r->last_avail) >= 0;
}

void be_packed_kicks_off(struct be_ring *r)
{
	__atomic_store_n(&r->device_event->flags, VRING_PACKED_EVENT_FLAG_DISABLE, __ATOMIC_RELAXED);
}

uint32_t be_packed_base(const struct be_ring *r)
{
	uint32_t avail = (r->last_avail & (r->num - 1)) | (wrap(r, r->last_avail) ? 0x8000u : 0);
	uint32_t used = (r->used_idx & (r->num - 1)) | (wrap(r, r->used_idx) ? 0x8000u : 0);

	return used << 16 | avail;
}

void be_packed_set_base(struct be_ring *r, uint32_t base)
{
	r->last_avail = (uint16_t)((base & (r->num - 1)) | (base & 0x8000u ? 0 : r->num));
	base >>= 16;
	r->used_idx = (uint16_t)((base & (r->num - 1)) | (base & 0x8000u ? 0 : r->num));
}
