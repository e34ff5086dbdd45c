/* SPDX-License-Identifier: MIT */
/*
 * nd_frames.h - frames of neighbour discovery (RFC 4861) as others on the link send
 * them; each goes into the rig, and the stack is polled
 */
#ifndef TESTS_ND_FRAMES_H
#define TESTS_ND_FRAMES_H

#include "bytes.h"
#include "stack_rig.h"

#include <string.h>

static const uint8_t nd_router_mac[6] = { 2, 0, 0, 0, 0, 0x99 };

/* An ICMPv6 message whose sum is filled in. */
static inline void nd_inject(struct rig *r, const uint8_t src[16], const uint8_t dst[16], unsigned hops, uint8_t *body,
			     unsigned len)
{
	uint8_t f[RIG_FRAME];
	uint16_t sum;

	memset(body + 2, 0, 2);
	sum = t_csum6(src, dst, 58, body, len);
	memcpy(body + 2, &sum, 2);
	rig_inject(r, f, t_ip6_frame(r, f, src, dst, 58, hops, body, len), 0);
	nomstack_poll(r->s);
}

/* @src, or "::", asks who has @target. */
static inline void nd_solicit_mac(struct rig *r, const uint8_t src[16], const char *target, unsigned hops,
				  const uint8_t mac[6])
{
	uint8_t ns[32] = { 135 }, dst[16];
	static const uint8_t none[16];

	t_ip6(target, ns + 8);
	ns[24] = 1;
	ns[25] = 1;
	memcpy(ns + 26, mac, 6);
	t_ip6("ff02::1:ff00:0", dst);
	memcpy(dst + 13, ns + 8 + 13, 3);
	nd_inject(r, src, dst, hops, ns, memcmp(src, none, 16) ? 32 : 24);
}

static inline void nd_solicit_from(struct rig *r, const char *src, const char *target, const uint8_t mac[6])
{
	uint8_t s[16];

	t_ip6(src, s);
	nd_solicit_mac(r, s, target, 255, mac);
}

static inline void nd_solicit(struct rig *r, const char *src, const char *target, unsigned hops)
{
	uint8_t s[16];

	t_ip6(src, s);
	nd_solicit_mac(r, s, target, hops, r->peer_mac);
}

/* @target is at the rig's MAC, says @src. */
static inline void nd_advertise(struct rig *r, const char *src, const char *target, const char *dst, unsigned flags)
{
	uint8_t na[32] = { 136 }, s[16], d[16];

	na[4] = (uint8_t)flags;
	t_ip6(target, na + 8);
	na[24] = 2;
	na[25] = 1;
	memcpy(na + 26, r->peer_mac, 6);
	t_ip6(src, s);
	t_ip6(dst, d);
	nd_inject(r, s, d, 255, na, sizeof(na));
}

/* A router, for @life_s, and a prefix of 64 bits, on this link and for addresses. */
static inline void nd_advertise_router_from(struct rig *r, const uint8_t src[16], const uint8_t prefix[16],
					    unsigned life_s, unsigned prefix_life_s, unsigned hops)
{
	uint8_t ra[16 + 8 + 32] = { 134 }, dst[16];

	ra[4] = 64;
	put16(ra + 6, life_s);
	ra[16] = 1;
	ra[17] = 1;
	memcpy(ra + 18, nd_router_mac, 6);
	ra[24] = 3;
	ra[25] = 4;
	ra[26] = 64;
	ra[27] = 0xc0;
	put32(ra + 28, prefix_life_s);
	put32(ra + 32, prefix_life_s);
	memcpy(ra + 40, prefix, 16);
	t_ip6("ff02::1", dst);
	nd_inject(r, src, dst, hops, ra, sizeof(ra));
}

static inline void nd_advertise_router(struct rig *r, const char *src, const char *prefix, unsigned life_s,
				       unsigned prefix_life_s, unsigned hops)
{
	uint8_t s[16], p[16];

	t_ip6(src, s);
	t_ip6(prefix, p);
	nd_advertise_router_from(r, s, p, life_s, prefix_life_s, hops);
}

static inline void nd_ping(struct rig *r, const char *src, const char *dst)
{
	uint8_t echo[12] = { 128, 0, 0, 0, 0x12, 0x34, 0, 1, 'p', 'i', 'n', 'g' }, s[16], d[16];

	t_ip6(src, s);
	t_ip6(dst, d);
	nd_inject(r, s, d, 64, echo, sizeof(echo));
}

#endif
