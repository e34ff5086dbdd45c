// SPDX-License-Identifier: MIT
/*
 * vhostbe: device side of a ring; split ones (virtio 1.2, section 2.7) here,
 * packed ones in be_packed.c.
 *
 * Everything in the ring may change under our hands: each word is loaded once,
 * checked and then used.
 */
#include "be.h"

#include <stdlib.h>
#include <unistd.h>
#include <linux/virtio_config.h>

static uint16_t load16(const void *p)
{
	return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED);
}

static void store16(void *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)p, v, __ATOMIC_RELAXED);
}

static const void *used_event(const struct be_ring *r)
{
	return &r->avail->ring[r->num];
}

static void *avail_event(const struct be_ring *r)
{
	return &r->used->ring[r->num];
}

int be_ring_start(struct vhostbe *be, struct be_ring *r)
{
	uint64_t n = r->num;

	r->packed = be->features & (1ULL << VIRTIO_F_RING_PACKED);
	r->in_order = r->packed && (be->features & (1ULL << VIRTIO_F_IN_ORDER)) &&
		r == &be->ring[BE_TXQ];
	/* The parts of a packed ring are smaller, and take the same bounds for it. */
	r->desc = be_user(be, r->addr.desc_user_addr, n * sizeof(*r->desc));
	r->avail = be_user(be, r->addr.avail_user_addr, sizeof(*r->avail) + (n + 1) * 2);
	r->used = be_user(be, r->addr.used_user_addr,
			  sizeof(*r->used) + n * sizeof(vring_used_elem_t) + 2);
	if (!r->desc || !r->avail || !r->used) {
		be_fail(be, "ring of %u entries lies outside of memory", r->num);
		return -1;
	}
	if ((uintptr_t)r->desc % 16 || (uintptr_t)r->avail % 2 || (uintptr_t)r->used % 4) {
		be_fail(be, "ring is not aligned");
		return -1;
	}
	if (!(be->features & (1ULL << VIRTIO_F_VERSION_1))) {
		be_fail(be, "ring starts without VIRTIO_F_VERSION_1");
		return -1;
	}
	if (r->packed) {
		r->pdesc = (void *)(uintptr_t)r->desc;
		r->driver_event = (const void *)r->avail;
		r->device_event = (void *)r->used;
		if ((uintptr_t)r->driver_event % 4) {
			be_fail(be, "ring is not aligned");
			return -1;
		}
	}
	r->event_idx = be->features & (1ULL << VIRTIO_RING_F_EVENT_IDX);
	r->signalled = r->used_idx;
	r->running = true;
	if (be->flags & VHOSTBE_BUSY)
		be_ring_kicks_off(r);
	return 0;
}

void be_ring_stop(struct be_ring *r)
{
	r->running = false;
	r->desc = NULL;
	r->avail = NULL;
	r->used = NULL;
}

int be_ring_avail(struct vhostbe *be, struct be_ring *r)
{
	unsigned int n;
	uint16_t idx;

	if (r->packed)
		return be_packed_avail(be, r);
	/* 2.7.13.3: pairs with the driver's release of avail->idx. */
	idx = __atomic_load_n(&r->avail->idx, __ATOMIC_ACQUIRE);
	n = (uint16_t)(idx - r->last_avail);
	if (n <= r->num)
		return (int)n;
	be_fail(be, "avail index %u is %u ahead of a ring of %u", idx, n, r->num);
	return -1;
}

const void *be_table(struct vhostbe *be, uint64_t addr, uint32_t len, unsigned int *nr)
{
	const void *t = be_guest(be, addr, len);

	/* Both kinds of descriptor have 16 bytes. */
	*nr = len / sizeof(struct vring_desc);
	if (!(be->features & (1ULL << VIRTIO_RING_F_INDIRECT_DESC)) || !t || !*nr || *nr > 32768 ||
	    len % sizeof(struct vring_desc) || (uintptr_t)t % 8) {
		be_fail(be, "indirect flags, with a table of %u bytes at 0x%llx", len, (unsigned long long)addr);
		return NULL;
	}
	return t;
}

int be_ring_peek(struct vhostbe *be, struct be_ring *r, enum be_dir dir, struct be_part *part,
		 uint16_t *head)
{
	const struct vring_desc *table;
	unsigned int nr = r->num;
	uint16_t d;
	int n = 0;

	if (r->packed)
		return be_packed_peek(be, r, dir, part, head);
	table = r->desc;
	d = load16(&r->avail->ring[r->last_avail & (r->num - 1)]);
	*head = d;
	for (;;) {
		struct vring_desc copy;

		if (d >= nr || n == BE_IOV_MAX) {
			be_fail(be, "chain at %u: descriptor %u of %u, after %d", *head, d, nr, n);
			return -1;
		}
		copy.addr = __atomic_load_n(&table[d].addr, __ATOMIC_RELAXED);
		copy.len = __atomic_load_n(&table[d].len, __ATOMIC_RELAXED);
		copy.flags = load16(&table[d].flags);
		copy.next = load16(&table[d].next);
		/* 2.7.5.3: a table ends a chain, holds no other, and WRITE says nothing about it. */
		if ((copy.flags & ~VRING_DESC_F_WRITE) == VRING_DESC_F_INDIRECT && table == r->desc) {
			table = be_table(be, copy.addr, copy.len, &nr);
			if (!table)
				return -1;
			d = 0;
			continue;
		}
		if ((copy.flags & VRING_DESC_F_INDIRECT) ||
		    (dir != BE_BOTH && !(copy.flags & VRING_DESC_F_WRITE) != (dir == BE_READ))) {
			be_fail(be, "descriptor %u: flags 0x%x in a %s ring", d, copy.flags,
				dir == BE_WRITE ? "receive" : "transmit or control");
			return -1;
		}
		part[n].va = be_guest(be, copy.addr, copy.len);
		part[n].len = copy.len;
		part[n].write = copy.flags & VRING_DESC_F_WRITE;
		if (!part[n].va || !copy.len) {
			be_fail(be, "descriptor %u: %u bytes at 0x%llx", d, copy.len,
				(unsigned long long)copy.addr);
			return -1;
		}
		n++;
		if (!(copy.flags & VRING_DESC_F_NEXT))
			return n;
		d = copy.next;
	}
}

void be_ring_use(struct be_ring *r, uint16_t head, uint32_t written)
{
	vring_used_elem_t *e;

	if (r->packed) {
		be_packed_use(r, head, written);
		return;
	}
	e = &r->used->ring[r->used_idx & (r->num - 1)];
	__atomic_store_n(&e->id, head, __ATOMIC_RELAXED);
	__atomic_store_n(&e->len, written, __ATOMIC_RELAXED);
	r->used_idx++;
	r->last_avail++;
}

void be_ring_use_all(struct be_ring *r, const struct be_used *used, unsigned int n)
{
	unsigned int i;

	if (r->packed) {
		be_packed_use_all(r, used, n);
		return;
	}
	for (i = 0; i < n; i++)
		be_ring_use(r, used[i].id, used[i].written);
}

void be_ring_publish(struct vhostbe *be, struct be_ring *r)
{
	static const uint64_t one = 1;
	uint16_t now = r->used_idx, old = r->signalled;
	bool call;

	if (now == old)
		return;
	r->signalled = now;
	/* 2.7.14: pairs with the driver's acquire of used->idx. */
	if (!r->packed)
		__atomic_store_n(&r->used->idx, now, __ATOMIC_RELEASE);
	/* 2.7.7: used->idx before used_event; pairs with the driver's barrier when it arms. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (r->packed)
		call = be_packed_publish(r, old);
	else if (r->event_idx)
		call = vring_need_event(load16(used_event(r)), now, old);
	else
		call = !(load16(&r->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	if (!call || r->call_fd < 0)
		return;
	if (write(r->call_fd, &one, sizeof(one)) == (ssize_t)sizeof(one))
		be->stats.calls++;
}

bool be_ring_kicks_on(struct vhostbe *be, struct be_ring *r)
{
	if (be->flags & VHOSTBE_BUSY)
		return false;
	if (r->packed)
		return be_packed_kicks_on(r);
	if (r->event_idx)
		store16(avail_event(r), r->last_avail);
	else
		store16(&r->used->flags, 0);
	/* 2.7.10: pairs with the driver's barrier between avail->idx and avail_event. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return load16(&r->avail->idx) != r->last_avail;
}

void be_ring_kicks_off(struct be_ring *r)
{
	if (r->packed)
		be_packed_kicks_off(r);
	else if (r->event_idx)
		store16(avail_event(r), (uint16_t)(r->last_avail + 0x8000));
	else
		store16(&r->used->flags, VRING_USED_F_NO_NOTIFY);
}
