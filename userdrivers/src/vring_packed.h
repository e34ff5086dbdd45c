/* SPDX-License-Identifier: MIT */
/*
 * Packed virtqueue, driver's side (virtio 1.2, section 2.8).
 *
 * One ring of descriptors, written by both: the driver fills one in, the
 * device writes id and length over it when done.  Whose it is say two bits,
 * AVAIL and USED, against a counter that flips with each lap; here it is the
 * bit of the free-running index above the position.
 *
 * A batch is announced by the flags of its first descriptor, which are held
 * back until then: the device looks no further than the first one that is
 * not its own.  So, as with a split ring, an announcement is one store.
 *
 * Nothing is read back from a descriptor but what the device may write: id,
 * length, flags.  They are believed within these bounds:
 *   - it may mark used what was announced and not yet taken, no more;
 *   - the id is below the ring's size and names an outstanding chain, one not
 *     longer than all that is outstanding.
 *
 * With IN_ORDER a chain's id is the position of its head; the device may mark
 * several chains used by one descriptor that names the last.
 */
#ifndef NOMDRV_VRING_PACKED_H
#define NOMDRV_VRING_PACKED_H

#include "vring.h"

#define VPACKED_AVAIL	(1u << VRING_PACKED_DESC_F_AVAIL)
#define VPACKED_USED	(1u << VRING_PACKED_DESC_F_USED)
#define VPACKED_WRAP	(1u << VRING_PACKED_EVENT_F_WRAP_CTR)

/* 2.8.1: the wrap counter is 1 in the first lap. */
static inline bool vpacked_wrap(const struct virtq *r, unsigned int idx)
{
	return !(idx & r->size);
}

static inline uint16_t vpacked_avail_flags(const struct virtq *r, unsigned int idx)
{
	return vpacked_wrap(r, idx) ? VPACKED_AVAIL : VPACKED_USED;
}

/* Descriptor at index @idx; returns the index after it. */
static inline unsigned int vpacked_set(struct virtq *r, unsigned int idx, unsigned int id,
				       uint64_t dma, uint32_t len, unsigned int flags)
{
	struct vring_packed_desc *p = &r->pdesc[idx & r->mask];

	p->addr = dma;
	p->len = len;
	p->id = (uint16_t)id;
	flags |= vpacked_avail_flags(r, idx);
	if (idx == r->announced)
		r->first_flags = (uint16_t)flags;
	else
		p->flags = (uint16_t)flags;
	return (uint16_t)(idx + 1);
}

/* The id of the next chain; the caller has looked at nr_free. */
static inline unsigned int vpacked_id(const struct virtq *r)
{
	return r->in_order ? r->avail_idx & r->mask : r->free_head;
}

/* Queue the chain @id of @nr descriptors that vpacked_set() wrote. */
static inline void vpacked_post(struct virtq *r, unsigned int id, unsigned int nr)
{
	struct vring_slot *s = &r->slot[id];

	r->free_head = s->next;
	r->nr_free -= (uint16_t)nr;
	s->tail = (uint16_t)id;
	s->nr = (uint16_t)nr;
	r->avail_idx += (uint16_t)nr;
}

/*
 * 2.8.10: the device's event against the indices @old to @now, modulo two laps.
 *
 * The device asks to be rung for when the descriptor at the event is made
 * available.  It may lie within what is announced, or still ahead: quiet then.
 * It must not lie behind, but QEMU lets it: when a send that waited for its
 * peer is done, virtio-net asks at the descriptor it looks at next, takes all
 * that it finds, and does not ask again (seen in 7.2; with a split ring taking
 * moves the event).  Nothing announced later passes such an event, neither by
 * the specification's arithmetic nor by Linux's, and the queue stands still.  So
 * only an event ahead keeps the doorbell quiet; see userdrivers.rst.
 */
static inline bool vpacked_need_event(const struct virtq *r, uint16_t off_wrap, uint16_t now,
				      uint16_t old)
{
	unsigned int laps = 2u * r->size - 1;
	unsigned int event = (off_wrap & r->mask) | (off_wrap & VPACKED_WRAP ? 0 : r->size);
	unsigned int ahead = (event - old) & laps;

	return ahead < (uint16_t)(now - old) || ahead >= r->size;
}

/*
 * Announce what is queued.  Returns whether the device wants a doorbell.
 * Only call with something queued.
 */
static inline bool vpacked_announce(struct virtq *r)
{
	uint16_t old = r->announced, now = r->avail_idx;
	uint32_t event;

	vb_store_desc_flags(&r->pdesc[old & r->mask].flags, r->first_flags);
	r->announced = now;
	vb_full();
	event = vb_load_packed_event(r->device_event);
	switch (event >> 16 & 3) {
	case VRING_PACKED_EVENT_FLAG_ENABLE:
		return true;
	case VRING_PACKED_EVENT_FLAG_DESC:
		return !r->event_idx || vpacked_need_event(r, (uint16_t)event, now, old);
	default:
		return false;
	}
}

/* Whether the device says that it has used the descriptor at @idx; orders what it wrote before. */
static inline bool vpacked_is_used(const struct virtq *r, unsigned int idx)
{
	uint16_t flags = vb_load_desc_flags(&r->pdesc[idx & r->mask].flags);

	return (flags & (VPACKED_AVAIL | VPACKED_USED)) ==
		(vpacked_wrap(r, idx) ? VPACKED_AVAIL | VPACKED_USED : 0);
}

/*
 * Take the next used chain; vpacked_is_used() was true.  Returns its id and the
 * bytes written, or VRING_BAD with the id in *len_out.  IN_ORDER: the id may be
 * that of a later chain; the caller takes those before it, too.
 */
static inline unsigned int vpacked_peek(const struct virtq *r, uint32_t *len_out)
{
	const struct vring_packed_desc *p = &r->pdesc[r->last_used & r->mask];
	uint32_t id = vb_load_event(&p->id);

	if (__builtin_expect(id >= r->size || !r->slot[id].nr ||
			     r->slot[id].nr > vring_outstanding(r), 0)) {
		*len_out = id;
		return VRING_BAD;
	}
	*len_out = vb_load_used_elem(&p->len);
	return id;
}

/* The chain @id is taken. */
static inline void vpacked_take(struct virtq *r, unsigned int id)
{
	r->last_used += r->slot[id].nr;
}

/* Interrupts off: here that is a flag, also with EVENT_IDX. */
static inline void vpacked_irq_off(struct virtq *r)
{
	r->armed = false;
	vb_store_event(&r->driver_event->flags, VRING_PACKED_EVENT_FLAG_DISABLE);
}

/* As vring_irq_on(). */
static inline bool vpacked_irq_on(struct virtq *r)
{
	r->armed = true;
	vb_store_event(&r->driver_event->off_wrap,
		       (uint16_t)((r->last_used & r->mask) |
				  (vpacked_wrap(r, r->last_used) ? VPACKED_WRAP : 0)));
	vb_store_packed_flags(&r->driver_event->flags, r->event_idx ?
			      VRING_PACKED_EVENT_FLAG_DESC : VRING_PACKED_EVENT_FLAG_ENABLE);
	vb_full();
	if (!vpacked_is_used(r, r->last_used))
		return true;
	vpacked_irq_off(r);
	return false;
}

#endif /* NOMDRV_VRING_PACKED_H */
