// SPDX-License-Identifier: MIT
/*
 * nomstack_sys.c - what lwIP asks of the system: time, randomness, a last word
 */
#include "internal.h"
#include "lwip_hooks.h"
#include "lwip/sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static uint64_t secret[2];
static uint64_t rand_counter;

/* SipHash-2-4 of two words under the secret (Aumasson and Bernstein, 2012). */
static uint64_t siphash(uint64_t m0, uint64_t m1)
{
	uint64_t v0 = secret[0] ^ 0x736f6d6570736575, v1 = secret[1] ^ 0x646f72616e646f6d;
	uint64_t v2 = secret[0] ^ 0x6c7967656e657261, v3 = secret[1] ^ 0x7465646279746573;
	uint64_t m[3] = { m0, m1, (uint64_t)16 << 56 };
	int i, r;

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define ROUND do { \
	v0 += v1; v1 = ROTL(v1, 13); v1 ^= v0; v0 = ROTL(v0, 32); \
	v2 += v3; v3 = ROTL(v3, 16); v3 ^= v2; \
	v0 += v3; v3 = ROTL(v3, 21); v3 ^= v0; \
	v2 += v1; v1 = ROTL(v1, 17); v1 ^= v2; v2 = ROTL(v2, 32); \
} while (0)
	for (i = 0; i < 3; i++) {
		v3 ^= m[i];
		ROUND;
		ROUND;
		v0 ^= m[i];
	}
	v2 ^= 0xff;
	for (r = 0; r < 4; r++)
		ROUND;
#undef ROUND
#undef ROTL
	return v0 ^ v1 ^ v2 ^ v3;
}

void nomstack__sys_open(void)
{
	if (getrandom(secret, sizeof(secret), 0) != (ssize_t)sizeof(secret)) {
		/* No entropy source is worse than a weak one. */
		secret[0] = (uintptr_t)&secret ^ __builtin_ia32_rdtsc();
		secret[1] = __builtin_ia32_rdtsc() * 0x9e3779b97f4a7c15;
	}
}

uint32_t nomstack__rand(void)
{
	return (uint32_t)siphash(++rand_counter, 1);
}

u32_t nomstack__tcp_isn(const ip_addr_t *local_ip, u16_t local_port, const ip_addr_t *remote_ip, u16_t remote_port)
{
	uint64_t ports = (uint64_t)local_port << 32 | (uint64_t)remote_port << 16, addrs;

	if (IP_IS_V6(remote_ip)) {
		uint64_t local[2], remote[2];

		memcpy(local, ip_2_ip6(local_ip)->addr, sizeof(local));
		memcpy(remote, ip_2_ip6(remote_ip)->addr, sizeof(remote));
		/* a chain: each link takes 64 bits more in */
		addrs = siphash(siphash(remote[0], remote[1]) ^ local[0], local[1]);
		ports |= 3;
	} else {
		addrs = (uint64_t)ip4_addr_get_u32(ip_2_ip4(local_ip)) << 32 | ip4_addr_get_u32(ip_2_ip4(remote_ip));
		ports |= 2;
	}
	/* One step every 4 us, as RFC 793 has it. */
	return (u32_t)(siphash(addrs, ports) + nomstack__the->now_ns / 4000);
}

/*
 * The identification of a datagram that leaves in fragments, to an address of 4 or 16
 * bytes.  RFC 7739: nobody else can guess it, and none comes again to the same address
 * before all others have been.
 */
uint32_t nomstack__frag_id(const uint8_t *dst, unsigned bytes)
{
	static uint32_t counter;
	uint64_t a[2] = { 0 };

	memcpy(a, dst, bytes);
	return (uint32_t)siphash(a[0], ~a[1]) + ++counter;
}

/*
 * The rate of ICMP messages, as a virtual queue that empties at the knob's pace and
 * holds a tenth of a second's worth: pings of a few pass, floods are thinned.
 */
#define ICMP_BURST_NS 100000000u

u64_t nomstack__tcp_clock(void)
{
	return nomstack__the->now_ns;
}

int nomstack__icmp_allowed(void)
{
	struct nomstack *s = nomstack__the;

	if (!s->icmp_per_s)
		return 0;
	if (s->icmp_due_ns < s->now_ns)
		s->icmp_due_ns = s->now_ns;
	if (s->icmp_due_ns - s->now_ns > ICMP_BURST_NS)
		return 0;
	s->icmp_due_ns += 1000000000u / s->icmp_per_s;
	return 1;
}

u32_t sys_now(void)
{
	return nomstack__the ? (u32_t)(nomstack__the->now_ns / 1000000) : 0;
}

void nomstack__assert(const char *msg, const char *file, int line)
{
	fprintf(stderr, "stack: assertion failed, %s:%d: %s\n", file, line, msg);
	abort();
}
