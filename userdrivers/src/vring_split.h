/* SPDX-License-Identifier: MIT */
/*
 * Split virtqueue, driver's side (virtio 1.2, section 2.7).
 *
 * Three parts are shared with the device: it reads desc and avail, it writes
 * used.  Nothing that decides anything here is ever read back from desc or
 * avail (see vring.h).  So a device that scribbles over the rings can lose
 * frames but not lead the driver astray.
 *
 * What used says is believed within these bounds:
 *   - its index may advance by no more than what was announced and not yet
 *     taken: (announced - last_used), all modulo 65536;
 *   - an id is below the ring's size and names the head of an outstanding
 *     chain.
 * Everything else is a broken device: the functions return it, the caller
 * stops.
 *
 * Indices are free-running 16-bit counters; the ring position is the index
 * masked by size - 1.  They wrap at 65536, which size divides.
 */
#ifndef NOMDRV_VRING_SPLIT_H
#define NOMDRV_VRING_SPLIT_H

#include "vring.h"

static inline uint16_t *vring_used_event_word(struct virtq *r)
{
	return &r->avail->ring[r->size];
}

static inline const uint16_t *vring_avail_event_word(const struct virtq *r)
{
	return (const uint16_t *)&r->used->ring[r->size];
}

static inline void vring_set(struct virtq *r, unsigned int d, uint64_t dma, uint32_t len,
			     uint16_t flags, unsigned int next)
{
	vring_desc_t *p = &r->desc[d];

	p->addr = dma;
	p->len = len;
	p->flags = flags;
	p->next = (uint16_t)next;
}

/* Queue the chain @head .. @tail of @nr descriptors; the device learns of it at vring_announce(). */
static inline void vring_post(struct virtq *r, unsigned int head, unsigned int tail,
			      unsigned int nr)
{
	struct vring_slot *s = &r->slot[head];

	s->tail = (uint16_t)tail;
	s->nr = (uint16_t)nr;
	r->avail->ring[r->avail_idx & r->mask] = (uint16_t)head;
	r->avail_idx++;
}

/*
 * Announce what is queued.  Returns whether the device wants a doorbell.
 * Only call with something queued.
 */
static inline bool vring_announce(struct virtq *r)
{
	uint16_t old = r->announced, now = r->avail_idx;

	vb_store_avail_idx(&r->avail->idx, now);
	r->announced = now;
	vb_full();
	if (r->event_idx)
		return vring_need_event(vb_load_event(vring_avail_event_word(r)), now, old);
	return !(vb_load_event(&r->used->flags) & VRING_USED_F_NO_NOTIFY);
}

/* Used entries not taken, at most the outstanding ones; VRING_BAD when the index ran away. */
static inline unsigned int vring_pending(const struct virtq *r)
{
	unsigned int n = (uint16_t)(vb_load_used_idx(&r->used->idx) - r->last_used);

	return n <= vring_outstanding(r) ? n : VRING_BAD;
}

/*
 * The loops of vnet_rx_burst() and vnet_rx_flush() do what vring_take(),
 * vring_put(), vring_get() and vring_post() do with the ring's fields in
 * registers: each store to memory that may alias them would have them loaded
 * again (130 instructions a frame against 105).
 *
 * Take the next used entry; vring_pending() was not 0.  Returns the head and
 * the bytes written, or VRING_BAD with the id in *len_out.
 */
static inline unsigned int vring_take(struct virtq *r, uint32_t *len_out)
{
	const vring_used_elem_t *e = &r->used->ring[r->last_used & r->mask];
	uint32_t id = vb_load_used_elem(&e->id);

	if (__builtin_expect(id >= r->size || !r->slot[id].nr, 0)) {
		*len_out = id;
		return VRING_BAD;
	}
	*len_out = vb_load_used_elem(&e->len);
	r->last_used++;
	return id;
}

/*
 * Interrupts off.  With EVENT_IDX "off" is an index half a turn ahead, which
 * must move along before the device comes near it.  An index just taken would
 * do as well if the device were the slower side; but a driver that polls may
 * take an entry before the device has looked whether to interrupt for it, and
 * would then be interrupted at each batch.
 */
static inline void vring_irq_off(struct virtq *r)
{
	r->armed = false;
	r->far = (uint16_t)(r->last_used + 0x8000);
	if (r->event_idx)
		vb_store_event(vring_used_event_word(r), r->far);
	else
		vb_store_event(&r->avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
}

/* Keep interrupts off as the indices move: once per 16384 entries, a store. */
static inline void vring_irq_quiet(struct virtq *r)
{
	if ((uint16_t)(r->far - r->last_used) < 0x4000 && !r->armed)
		vring_irq_off(r);
}

/*
 * Interrupt at the next used entry.  False, and interrupts off, when one has
 * come since the last look.
 */
static inline bool vring_irq_on(struct virtq *r)
{
	r->armed = true;
	if (r->event_idx)
		vb_store_event(vring_used_event_word(r), r->last_used);
	else
		vb_store_event(&r->avail->flags, 0);
	vb_full();
	if (vb_load_used_idx(&r->used->idx) == r->last_used)
		return true;
	vring_irq_off(r);
	return false;
}

#endif /* NOMDRV_VRING_SPLIT_H */
