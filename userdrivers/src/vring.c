// SPDX-License-Identifier: MIT
/*
 * A virtqueue: making, emptying and describing one; the data path is in the
 * headers.  A packed ring needs less than a split one and takes the same
 * three pieces of memory, so that which it is may be settled later.
 */
#include "vring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nomdrv/dev.h"

#include "internal.h"
#include "vdma.h"
#include "vring_packed.h"
#include "vring_split.h"

/*
 * The avail and the used part get cache lines (and, as it happens, pages) of
 * their own: one side writes each, and sharing a line would bounce it.  So do the
 * slots, for what follows them may be another thread's.
 */
#define PART_ALIGN	64

static size_t desc_bytes(unsigned int size)
{
	return size * sizeof(vring_desc_t);
}

static size_t avail_bytes(unsigned int size)
{
	return sizeof(struct vring_avail) + (size + 1) * sizeof(uint16_t);
}

static size_t used_bytes(unsigned int size)
{
	return sizeof(struct vring_used) + size * sizeof(vring_used_elem_t) + sizeof(uint16_t);
}

size_t vring_bytes(unsigned int size)
{
	return desc_bytes(size) + avail_bytes(size) + used_bytes(size) + 3 * PART_ALIGN;
}

int vring_create(struct virtq *r, unsigned int size, struct vdma *mem)
{
	if (size < 2 || size > NOMDRV_QUEUE_MAX || (size & (size - 1)))
		nomdrv__bug(__func__, "a valid size", (long)size);
	memset(r, 0, sizeof(*r));
	r->desc = vdma_alloc_piece(mem, desc_bytes(size), PART_ALIGN);
	r->avail = vdma_alloc_piece(mem, avail_bytes(size), PART_ALIGN);
	r->used = vdma_alloc_piece(mem, used_bytes(size), PART_ALIGN);
	if (!r->desc || !r->avail || !r->used)
		return -ENOMEM;
	r->slot = calloc(1, size * sizeof(*r->slot) + PART_ALIGN);
	if (!r->slot)
		return -ENOMEM;
	r->size = (uint16_t)size;
	r->mask = (uint16_t)(size - 1);
	vring_reset(r, 0);
	return 0;
}

void vring_destroy(struct virtq *r)
{
	free(r->slot);
	r->slot = NULL;
}

void vring_reset(struct virtq *r, unsigned int how)
{
	unsigned int i;

	memset(r->desc, 0, desc_bytes(r->size));
	memset(r->avail, 0, avail_bytes(r->size));
	memset(r->used, 0, used_bytes(r->size));
	for (i = 0; i < r->size; i++)
		r->slot[i] = (struct vring_slot){
			.next = i + 1u < r->size ? (uint16_t)(i + 1) : (uint16_t)VRING_NONE,
		};
	r->free_head = 0;
	r->nr_free = r->size;
	r->avail_idx = r->announced = r->last_used = 0;
	r->event_idx = how & VRING_EVENT_IDX;
	r->in_order = how & VRING_IN_ORDER;
	if (how & VRING_PACKED)
		vpacked_irq_off(r);
	else
		vring_irq_off(r);
}

void vring_describe(const struct virtq *r, const struct vdma *mem, unsigned int index,
		    struct nomdrv_queue *out)
{
	*out = (struct nomdrv_queue){
		.index = index,
		.irq = -1,
		.size = r->size,
		.desc = r->desc, .desc_dma = vdma_addr(mem, r->desc),
		.avail = r->avail, .avail_dma = vdma_addr(mem, r->avail),
		.used = r->used, .used_dma = vdma_addr(mem, r->used),
	};
}
