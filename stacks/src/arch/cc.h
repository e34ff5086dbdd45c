/* SPDX-License-Identifier: MIT */
/*
 * cc.h - what lwIP asks of its compiler and platform: types come from
 * <stdint.h>, byte order from builtins (so that constants fold), checksums and
 * the heap from us.
 *
 * Assertions are on in the sanitized build (the one tests run) and off in the
 * release build: they cost about a tenth of a request's instructions.
 */
#ifndef NOMSTACK_ARCH_CC_H
#define NOMSTACK_ARCH_CC_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define LWIP_TIMEVAL_PRIVATE 0
#include <sys/time.h>

#define lwip_htons(x) ((u16_t)__builtin_bswap16((u16_t)(x)))
#define lwip_htonl(x) ((u32_t)__builtin_bswap32((u32_t)(x)))
#define LWIP_DONT_PROVIDE_BYTEORDER_FUNCTIONS 1

uint16_t nomstack__chksum(const void *data, int len);

/* Twice per request it is an IP header without options: five loads. */
static inline uint16_t nomstack__chksum_short(const void *data, int len)
{
	const uint8_t *p = data;
	uint32_t w[5];
	uint64_t sum;

	if (len != sizeof(w))
		return nomstack__chksum(data, len);
	__builtin_memcpy(w, p, sizeof(w));
	sum = (uint64_t)w[0] + w[1] + w[2] + w[3] + w[4];
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}
#define LWIP_CHKSUM nomstack__chksum_short

uint32_t nomstack__rand(void);
#define LWIP_RAND() nomstack__rand()

#ifndef __SANITIZE_ADDRESS__
#define LWIP_NOASSERT 1
#endif
void nomstack__assert(const char *msg, const char *file, int line) __attribute__((noreturn));
#define LWIP_PLATFORM_ASSERT(msg) nomstack__assert(msg, __FILE__, __LINE__)
#define LWIP_PLATFORM_DIAG(x) do { } while (0)

/* Functions on the way of every segment that have other, rare callers as well. */
#ifdef __SANITIZE_ADDRESS__
#define LWIP_INLINE_HOT
#else
#define LWIP_INLINE_HOT inline __attribute__((always_inline))
#endif

/* The heap: size classes in memory the device can read, see nomstack_heap.c. */
void *nomstack__heap_alloc(size_t bytes);
void *nomstack__heap_zalloc(size_t nr, size_t bytes);
void nomstack__heap_free(void *p);
#define mem_clib_malloc nomstack__heap_alloc
#define mem_clib_calloc nomstack__heap_zalloc
#define mem_clib_free nomstack__heap_free

#endif
