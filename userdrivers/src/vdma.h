/* SPDX-License-Identifier: MIT */
/*
 * DMA memory: addresses for the device, and a bump allocator over it.
 *
 * One range here, chunks of 2 MiB for the device.  Neighbouring chunks may or
 * may not be neighbours for the device; what must be contiguous for it (rings,
 * buffers) does not cross a boundary where they are not.
 */
#ifndef NOMDRV_VDMA_H
#define NOMDRV_VDMA_H

#include "nomdrv/dev.h"

struct vdma {
	struct nomdrv_dma m;
	size_t used;	/* bytes handed out, gaps included */
};

/* Memory the device sees as one piece; at most 2 MiB; zeroed once, never freed; NULL: used up. */
void *vdma_alloc_piece(struct vdma *d, size_t bytes, size_t align);
/* Any size; the device may see a break at each 2 MiB. */
void *vdma_alloc(struct vdma *d, size_t bytes, size_t align);
/* Whether the bytes from @p on are one piece for the device. */
bool vdma_is_piece(const struct vdma *d, const void *p, size_t bytes);

static inline bool vdma_contains(const struct vdma *d, const void *p, size_t bytes)
{
	size_t off = (uintptr_t)p - (uintptr_t)d->m.va;

	return off < d->m.bytes && bytes <= d->m.bytes - off;
}

/* Address for the device; @p is inside. */
static inline uint64_t vdma_addr(const struct vdma *d, const void *p)
{
	size_t off = (uintptr_t)p - (uintptr_t)d->m.va;

	return d->m.chunk_dma[off >> NOMDRV_CHUNK_SHIFT] + (off & (NOMDRV_CHUNK_BYTES - 1));
}

#endif /* NOMDRV_VDMA_H */
