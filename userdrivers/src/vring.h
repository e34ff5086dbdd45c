/* SPDX-License-Identifier: MIT */
/*
 * A virtqueue, driver's side: what split and packed rings have in common.
 *
 * The data path of each is in a header of its own, as inline functions, and
 * vnet compiles its own functions once for each: nothing is called through a
 * pointer.  Which ring it is has been settled at negotiation.
 *
 * Chains, owners and free lists live in struct vring_slot, in ordinary memory
 * that the device cannot reach.
 *
 * Indices are free-running 16-bit counters; the ring position is the index
 * masked by size - 1.  They wrap at 65536, which twice the size divides.
 */
#ifndef NOMDRV_VRING_H
#define NOMDRV_VRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/virtio_ring.h>

#include "vbarrier.h"

struct nomdrv_queue;
struct vdma;

#define VRING_NONE	0xffffu		/* no descriptor; sizes end at 32768 */
#define VRING_BAD	UINT32_MAX	/* the device broke the protocol */

/* How a ring is to be used; what was negotiated. */
#define VRING_EVENT_IDX	(1u << 0)
#define VRING_PACKED	(1u << 1)
#define VRING_IN_ORDER	(1u << 2)	/* packed rings only */

/**
 * struct vring_slot - private state of a descriptor (split) or of an id (packed)
 * @next: following descriptor of a chain or of the free list
 * @tail: last of the chain, in a head; the id itself in a packed ring
 * @nr: descriptors of the chain, in an outstanding head; else 0
 * @user: for the owner of the ring (receive: the buffer)
 */
struct vring_slot {
	uint16_t next, tail, nr, user;
};

/**
 * struct virtq - a ring
 * @desc, @avail, @used: split: shared with the device
 * @pdesc, @driver_event, @device_event: packed: the same memory
 * @slot: private, one for each descriptor
 * @size: entries; @mask: size - 1
 * @avail_idx: next index to fill; ahead of what is announced
 * @announced: the device knows of what is before it
 * @last_used: next index to take
 * @free_head: first free descriptor or id, VRING_NONE when there is none
 * @nr_free: free descriptors
 * @far: split: used_event while interrupts are off
 * @first_flags: packed: flags that announce what is queued
 * @event_idx: VIRTIO_RING_F_EVENT_IDX was negotiated
 * @in_order: packed: VIRTIO_F_IN_ORDER was negotiated
 * @armed: interrupts are on
 *
 * A split ring counts chains, a packed one descriptors.
 */
struct virtq {
	union {
		vring_desc_t *desc;
		struct vring_packed_desc *pdesc;
	};
	union {
		struct vring_avail *avail;
		struct vring_packed_desc_event *driver_event;
	};
	union {
		struct vring_used *used;
		struct vring_packed_desc_event *device_event;
	};
	struct vring_slot *slot;
	uint16_t size, mask;
	uint16_t avail_idx, announced, last_used;
	uint16_t free_head, nr_free;
	uint16_t far, first_flags;
	bool event_idx, in_order, armed;
};

/* Allocates the slots and lays the three parts out in DMA memory; -ENOMEM. */
int vring_create(struct virtq *r, unsigned int size, struct vdma *mem);
void vring_destroy(struct virtq *r);
/* All empty, interrupts off; before the queue is enabled.  @how: VRING_*. */
void vring_reset(struct virtq *r, unsigned int how);
/* For the transport. */
void vring_describe(const struct virtq *r, const struct vdma *mem, unsigned int index,
		    struct nomdrv_queue *out);
/* Bytes of DMA memory that vring_create() takes, alignment included. */
size_t vring_bytes(unsigned int size);

/* A free descriptor (or id); the caller has looked at nr_free. */
static inline unsigned int vring_get(struct virtq *r)
{
	unsigned int d = r->free_head;

	r->free_head = r->slot[d].next;
	r->nr_free--;
	return d;
}

/* A chain that was taken goes back to the free list, most recent first. */
static inline void vring_put(struct virtq *r, unsigned int head)
{
	struct vring_slot *s = &r->slot[head];

	r->slot[s->tail].next = r->free_head;
	r->free_head = (uint16_t)head;
	r->nr_free += s->nr;
	s->nr = 0;
}

static inline unsigned int vring_queued(const struct virtq *r)
{
	return (uint16_t)(r->avail_idx - r->announced);
}

/* What is announced and not taken yet. */
static inline unsigned int vring_outstanding(const struct virtq *r)
{
	return (uint16_t)(r->announced - r->last_used);
}

#endif /* NOMDRV_VRING_H */
