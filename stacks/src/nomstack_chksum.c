// SPDX-License-Identifier: MIT
/*
 * nomstack_chksum.c - the Internet checksum (RFC 1071), 64 bits at a time
 *
 * The one's complement sum does not care in which unit it is added up, as long
 * as carries come back in and the result is folded: 8 bytes a step are right.
 * Used where the device offers no offload, and for IP headers.
 */
#include "internal.h"

#include <string.h>

static inline uint64_t add_carry(uint64_t sum, uint64_t x)
{
	sum += x;
	return sum + (sum < x);
}

static inline uint64_t load64(const uint8_t *p)
{
	uint64_t x;

	memcpy(&x, p, sizeof(x));
	return x;
}

/* The sum of @len bytes, not inverted, in memory byte order, any alignment. */
uint16_t nomstack__chksum(const void *data, int len)
{
	const uint8_t *p = data;
	uint64_t sum = 0, sum2 = 0, tail = 0;

	for (; len >= 32; p += 32, len -= 32) {
		sum = add_carry(sum, load64(p));
		sum2 = add_carry(sum2, load64(p + 8));
		sum = add_carry(sum, load64(p + 16));
		sum2 = add_carry(sum2, load64(p + 24));
	}
	for (; len >= 8; p += 8, len -= 8)
		sum = add_carry(sum, load64(p));
	if (len > 0) {
		if (len & 4) {
			uint32_t x;

			memcpy(&x, p, sizeof(x));
			sum = add_carry(sum, x);
			p += 4;
		}
		memcpy(&tail, p, (size_t)len & 3);
		sum = add_carry(sum, tail);
	}
	sum = add_carry(sum, sum2);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}
