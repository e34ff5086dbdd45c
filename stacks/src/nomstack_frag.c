// SPDX-License-Identifier: MIT
/*
 * nomstack_frag.c - a datagram longer than the MTU leaves in fragments (RFC 791, RFC 8200)
 *
 * Only what an application sends by nomstack_udp_send() and the answer to an echo request
 * are that long: TCP's segments never are.  The frame is cut here, where all of its headers
 * are there, and not in lwIP, whose fragments refer to the application's memory and leave
 * one by one.  These are copied into the driver's buffers, all of them or none, so that
 * nobody puts half a datagram's parts into a full ring.
 */
#include "internal.h"

#include "lwip/inet_chksum.h"
#include "lwip/nd6.h"
#include "lwip/prot/ethernet.h"
#include "lwip/prot/ip.h"
#include "lwip/prot/ip4.h"
#include "lwip/prot/ip6.h"

#include <string.h>

#define ETH_BYTES 14u
#define FRAG6_BYTES 8u

struct cut {
	bool v6;
	unsigned head;			/* bytes of Ethernet and IP header in the whole */
	unsigned step;			/* data in each fragment but the last */
	uint32_t id;
};

static void store16_be(uint8_t *p, unsigned x)
{
	p[0] = (uint8_t)(x >> 8);
	p[1] = (uint8_t)x;
}

static bool is_v6(const uint8_t *f)
{
	return f[12] == 0x86 && f[13] == 0xdd;
}

/* Whether a frame longer than the MTU is one to be cut: TCP's are as long as TCP wants them. */
bool nomstack__frag_wanted(const struct pbuf *p)
{
	const uint8_t *f = p->payload;

	if (is_v6(f))
		return p->len >= ETH_BYTES + IP6_HLEN &&
		       (f[ETH_BYTES + 6] == IP6_NEXTH_UDP || f[ETH_BYTES + 6] == IP6_NEXTH_ICMP6);
	return p->len >= ETH_BYTES + IP_HLEN && f[12] == 8 && !f[13] && f[14] == 0x45 &&
	       (f[ETH_BYTES + 9] == IP_PROTO_UDP || f[ETH_BYTES + 9] == IP_PROTO_ICMP);
}

static void plan(struct nomstack *s, const struct pbuf *p, struct cut *c)
{
	const uint8_t *f = p->payload;
	unsigned mtu = s->netif.mtu, most = sizeof(s->bounce) - ETH_BYTES, data_at;

	c->v6 = is_v6(f);
	c->head = ETH_BYTES + (c->v6 ? IP6_HLEN : IP_HLEN);
	if (c->v6) {
		ip6_addr_t to;

		memset(&to, 0, sizeof(to));
		memcpy(to.addr, f + ETH_BYTES + 24, sizeof(to.addr));
		mtu = LWIP_MIN(mtu, nd6_get_destination_mtu(&to, &s->netif));
		c->id = nomstack__frag_id(f + ETH_BYTES + 24, 16);
	} else {
		c->id = nomstack__frag_id(f + ETH_BYTES + 16, 4);
	}
	data_at = c->head - ETH_BYTES + (c->v6 ? FRAG6_BYTES : 0);
	c->step = (LWIP_MIN(mtu, most) - data_at) & ~7u;
}

/* Headers of the fragment with @n bytes from @at; returns their length. */
static unsigned headers(const struct cut *c, const uint8_t *whole, uint8_t *f, unsigned at, unsigned n, bool more)
{
	uint8_t *ip = f + ETH_BYTES, *frag = f + c->head;
	uint16_t sum;

	memcpy(f, whole, c->head);
	if (c->v6) {
		store16_be(ip + 4, FRAG6_BYTES + n);
		ip[6] = IP6_NEXTH_FRAGMENT;
		frag[0] = whole[ETH_BYTES + 6];
		frag[1] = 0;
		store16_be(frag + 2, at | more);
		store16_be(frag + 4, c->id >> 16);
		store16_be(frag + 6, c->id & 0xffff);
		return c->head + FRAG6_BYTES;
	}
	store16_be(ip + 2, IP_HLEN + n);
	store16_be(ip + 4, c->id & 0xffff);
	store16_be(ip + 6, at / 8 | (more ? IP_MF : 0));
	memset(ip + 10, 0, 2);
	sum = inet_chksum(ip, IP_HLEN);
	memcpy(ip + 10, &sum, sizeof(sum));
	return c->head;
}

/*
 * @p: a frame that nomstack__frag_wanted(), borrowed, whose sums are complete.
 * ERR_MEM with tx_blocked: the ring has no room for all of it, nothing was sent.
 */
err_t nomstack__tx_fragments(struct nomstack *s, const struct pbuf *p)
{
	unsigned bytes, nr, at, tries;
	struct cut c;

	plan(s, p, &c);
	bytes = p->tot_len - c.head;
	nr = (bytes + c.step - 1) / c.step;
	for (tries = 0; vnet_tx_room(s->v) < nr; tries++)
		if (!nomstack__tx_make_room(s, tries))
			return ERR_MEM;
	for (at = 0; at < bytes; at += c.step) {
		unsigned n = LWIP_MIN(bytes - at, c.step);
		struct vnet_seg seg = { s->bounce, 0 };

		seg.len = headers(&c, p->payload, s->bounce, at, n, at + n < bytes);
		seg.len += pbuf_copy_partial(p, s->bounce + seg.len, (u16_t)n, (u16_t)(c.head + at));
		if (vnet_tx_copy(s->v, &seg, 1, 0, 0))
			return ERR_IF;		/* the device failed meanwhile */
		s->reass.st.sent++;
		nomstack__tx_queued(s);
	}
	return ERR_OK;
}
