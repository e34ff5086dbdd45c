// SPDX-License-Identifier: MIT
/* DMA memory: the allocator of set-up time. */
#include "vdma.h"

bool vdma_is_piece(const struct vdma *d, const void *p, size_t bytes)
{
	size_t off = (uintptr_t)p - (uintptr_t)d->m.va;
	size_t first = off >> NOMDRV_CHUNK_SHIFT, last = (off + bytes - 1) >> NOMDRV_CHUNK_SHIFT;
	size_t i;

	for (i = first; i < last; i++)
		if (d->m.chunk_dma[i] + NOMDRV_CHUNK_BYTES != d->m.chunk_dma[i + 1])
			return false;
	return true;
}

static void *take(struct vdma *d, size_t start, size_t bytes)
{
	if (!bytes || start > d->m.bytes || bytes > d->m.bytes - start)
		return NULL;
	d->used = start + bytes;
	return d->m.va + start;
}

static size_t aligned(const struct vdma *d, size_t align)
{
	return (d->used + align - 1) & ~(align - 1);
}

void *vdma_alloc_piece(struct vdma *d, size_t bytes, size_t align)
{
	size_t start = aligned(d, align);

	if (!bytes || bytes > NOMDRV_CHUNK_BYTES || start > d->m.bytes ||
	    bytes > d->m.bytes - start)
		return NULL;
	if (!vdma_is_piece(d, d->m.va + start, bytes))
		start = (start + NOMDRV_CHUNK_BYTES - 1) & ~(NOMDRV_CHUNK_BYTES - 1);
	return take(d, start, bytes);
}

void *vdma_alloc(struct vdma *d, size_t bytes, size_t align)
{
	return take(d, aligned(d, align), bytes);
}
