// SPDX-License-Identifier: MIT
/*
 * nomstack_heap.c - lwIP's heap: size classes in memory the device can read
 *
 * lwIP's own heap is a first-fit list: its cost grows with the number of
 * segments in flight, and it lies where no device reaches.  Here the memory is
 * one range of the device's DMA arena, cut into slabs of 64 KiB; a slab serves
 * one size class, a free block is the head of its class's list.  Allocation and
 * release are a few instructions each, whatever is in flight.
 *
 * A slab never changes its class.  When a class is exhausted and no slab is
 * left, the next larger class helps out.
 *
 * In the sanitized build free blocks are poisoned, so that a use after release
 * is caught as with malloc().
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

#if !MEM_LIBC_MALLOC && !MEM_CUSTOM_ALLOCATOR
#error "this heap is not used: set MEM_LIBC_MALLOC (lwIP 2.1) or MEM_CUSTOM_ALLOCATOR (2.2) in lwipopts.h"
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

#define SLAB_BYTES ((size_t)64 << 10)
#define HEAP_BYTES_MAX ((size_t)NOMSTACK_HEAP_BYTES)
#define DRIVER_BYTES ((size_t)8 << 20)	/* a driver with larger rings still fits */
#define HEAP_BYTES_MIN ((size_t)512 << 10)
#define MAX_SLABS (HEAP_BYTES_MAX / SLAB_BYTES)
#define NR_CLASSES 6

/* SEGMENT_CLASS: a segment of TCP_MSS with all headers and struct pbuf. */
#define SEGMENT_CLASS 4
static const uint16_t class_bytes[NR_CLASSES] = { 128, 256, 512, 1024, 1728, 4096 };

struct block {
	struct block *next;
};

static struct {
	uint8_t *base;
	size_t nr_slabs, nr_slabs_used;
	struct block *free[NR_CLASSES];
	uint8_t slab_class[MAX_SLABS];
	/* first class that holds (n * 64) bytes, n counted from 1 */
	uint8_t class_of[4096 / 64 + 1];
	size_t used_blocks;
	uint64_t failures;
} heap;

int nomstack__heap_open(struct vnet *v)
{
	size_t bytes, i;
	unsigned c;

	memset(&heap, 0, sizeof(heap));
	for (bytes = HEAP_BYTES_MAX; bytes >= HEAP_BYTES_MIN; bytes /= 2) {
		heap.base = vnet_dma_alloc(v, bytes, 4096);
		if (heap.base)
			break;
	}
	if (!heap.base)
		return -ENOMEM;
	heap.nr_slabs = bytes / SLAB_BYTES;
	for (i = 0, c = 0; i <= 4096 / 64; i++) {
		while (i * 64 > class_bytes[c])
			c++;
		heap.class_of[i] = (uint8_t)c;
	}
	ASAN_POISON_MEMORY_REGION(heap.base, bytes);
	return 0;
}

size_t nomstack_arena_bytes(void)
{
	return HEAP_BYTES_MAX + DRIVER_BYTES;
}

void nomstack__heap_close(void)
{
	if (heap.base)
		ASAN_UNPOISON_MEMORY_REGION(heap.base, heap.nr_slabs * SLAB_BYTES);
	heap.base = NULL;
	heap.nr_slabs = 0;
	memset(heap.free, 0, sizeof(heap.free));
}

/* Cut a fresh slab into blocks of a class; blocks of 64-byte alignment. */
static bool heap_grow(unsigned c)
{
	size_t slab = heap.nr_slabs_used, size = class_bytes[c], off;
	uint8_t *p;

	if (slab >= heap.nr_slabs)
		return false;
	heap.nr_slabs_used++;
	heap.slab_class[slab] = (uint8_t)c;
	p = heap.base + slab * SLAB_BYTES;
	for (off = 0; off + size <= SLAB_BYTES; off += size) {
		struct block *b = (struct block *)(p + off);

		ASAN_UNPOISON_MEMORY_REGION(b, sizeof(*b));
		b->next = heap.free[c];
		heap.free[c] = b;
		ASAN_POISON_MEMORY_REGION(b, sizeof(*b));
	}
	return true;
}

static void *heap_slow(unsigned c, size_t bytes);

static inline void *heap_take(unsigned c, size_t bytes)
{
	struct block *b = heap.free[c];

	ASAN_UNPOISON_MEMORY_REGION(b, bytes < sizeof(*b) ? sizeof(*b) : bytes);
	heap.free[c] = b->next;
	heap.used_blocks++;
	return b;
}

void *nomstack__heap_alloc(size_t bytes)
{
	unsigned c;

	if (unlikely(bytes > class_bytes[NR_CLASSES - 1]))
		return heap_slow(NR_CLASSES, bytes);
	c = heap.class_of[(bytes + 63) / 64];
	if (unlikely(!heap.free[c]))
		return heap_slow(c, bytes);
	return heap_take(c, bytes);
}

static void *heap_slow(unsigned c, size_t bytes)
{
	for (; c < NR_CLASSES; c++)
		if (heap.free[c] || heap_grow(c))
			return heap_take(c, bytes);
	heap.failures++;
	return NULL;
}

void *nomstack__heap_zalloc(size_t nr, size_t bytes)
{
	void *p;

	if (__builtin_mul_overflow(nr, bytes, &bytes))
		return NULL;
	p = nomstack__heap_alloc(bytes);
	if (p)
		memset(p, 0, bytes);
	return p;
}

void nomstack__heap_free(void *p)
{
	struct block *b = p;
	unsigned c;

	if (unlikely(!b || !heap.base))
		return;
	c = heap.slab_class[(size_t)((uint8_t *)p - heap.base) / SLAB_BYTES];
	ASAN_UNPOISON_MEMORY_REGION(b, sizeof(*b));
	b->next = heap.free[c];
	heap.free[c] = b;
	heap.used_blocks--;
	ASAN_POISON_MEMORY_REGION(b, class_bytes[c]);
}

size_t nomstack__heap_used(void)
{
	return heap.used_blocks;
}

size_t nomstack__heap_segments(void)
{
	return heap.nr_slabs * (SLAB_BYTES / class_bytes[SEGMENT_CLASS]);
}

uint64_t nomstack__heap_failures(void)
{
	return heap.failures;
}
