// SPDX-License-Identifier: MIT
/*
 * nomstack_share.c - several stacks behind one address
 *
 * The device hands what belongs to no flow to one queue pair, whoever it is for: an
 * answer to ARP, a router's word, an ICMP error about a segment that another stack
 * sent.  Such frames go to the application, which passes them on to its other stacks.
 * Questions do not: each would be answered by all, and whoever hears one can answer.
 *
 * The addresses are one stack's.  It asks for them, tests them and announces them; the
 * others follow, and have those that are ready.  Of router advertisements they keep
 * routers and prefixes, not what would make an address.  DHCP's answers are UDP, so a
 * device with RSS may hand them to any pair: they go to the stack that asked.
 */
#include "internal.h"

#include "lwip/tcp.h"
#include "netif/ethernet.h"

#include <errno.h>
#include <string.h>

#define ETH_BYTES 14u
#define IP_AT ETH_BYTES

#define ARP_BYTES 42u		/* Ethernet, and ARP for IPv4 (RFC 826) */
#define ARP_OP 20u
#define ARP_SENDER 28u
#define ARP_TARGET 38u

#define DHCP_CLIENT_PORT 68u	/* RFC 2131, 4.1 */

#define ICMP6_AT (IP_AT + 40u)	/* without extension headers, as RFC 4861 wants it of its messages */
#define ICMP6_PROTO 58u
#define ICMP6_ERROR_MAX 4u	/* RFC 4443, 2.1: 1 to 127; above 4 none is defined */
enum { ND_RA = 134, ND_NS = 135, ND_NA = 136, ND_REDIRECT = 137 };	/* RFC 4861, 4 */
#define RA_OPTIONS 16u
#define OPTION_PREFIX 3u	/* RFC 4861, 4.6.2: type, length / 8, bits, flags */
#define PREFIX_AUTONOMOUS 0x40u

/* Whose: nobody's else, also the other stacks', or only theirs. */
enum share { SHARE_MINE, SHARE_ALL, SHARE_THEIRS };

static unsigned be16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static enum share of_arp(const uint8_t *f, uint32_t len)
{
	if (len < ARP_BYTES)
		return SHARE_MINE;
	/* an answer, or somebody who tells about itself (RFC 5227, 3) */
	return f[ARP_OP + 1] == 2 || !memcmp(f + ARP_SENDER, f + ARP_TARGET, 4) ? SHARE_ALL : SHARE_MINE;
}

/* Destination unreachable, time exceeded, parameter problem (RFC 792). */
static bool is_icmp_error(unsigned type)
{
	return type == 3 || type == 11 || type == 12;
}

static enum share of_ip4(struct nomstack *s, uint8_t *f, uint32_t len)
{
	unsigned head = len > IP_AT ? (f[IP_AT] & 0xfu) * 4 : 0;
	uint8_t *l4 = f + IP_AT + head;

	/* whole header, eight bytes behind it, no fragment */
	if (head < 20 || len < IP_AT + head + 8 || be16(f + IP_AT + 6) & 0x3fff)
		return SHARE_MINE;
	if (f[IP_AT + 9] == 1)
		return is_icmp_error(l4[0]) ? SHARE_ALL : SHARE_MINE;
	if (!s->follows || f[IP_AT + 9] != 17 || be16(l4 + 2) != DHCP_CLIENT_PORT)
		return SHARE_MINE;
	return SHARE_THEIRS;
}

/* Duplicate address detection: who has the address answers, and who is testing it must hear. */
static bool is_test_of_a_stranger(struct nomstack *s, const uint8_t *f, uint32_t len)
{
	static const uint8_t none[16];
	unsigned i;

	if (len < ICMP6_AT + 24 || memcmp(f + IP_AT + 8, none, sizeof(none)))
		return false;
	for (i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++)
		if (ip6_addr_isvalid(netif_ip6_addr_state(&s->netif, i)) &&
		    !memcmp(netif_ip6_addr(&s->netif, i)->addr, f + ICMP6_AT + 8, 16))
			return false;
	return true;
}

static enum share of_ip6(struct nomstack *s, const uint8_t *f, uint32_t len)
{
	unsigned type;

	if (len < ICMP6_AT + 8 || f[IP_AT + 6] != ICMP6_PROTO)
		return SHARE_MINE;
	type = f[ICMP6_AT];
	if ((type && type <= ICMP6_ERROR_MAX) || type == ND_RA || type == ND_NA || type == ND_REDIRECT)
		return SHARE_ALL;
	return type == ND_NS && is_test_of_a_stranger(s, f, len) ? SHARE_ALL : SHARE_MINE;
}

/* RFC 1624: a 16-bit word of what is summed has lost @bits. */
static void sum_loses(uint8_t *sum, unsigned bits)
{
	uint32_t x = (~be16(sum) & 0xffffu) + (~bits & 0xffffu);

	x = (x & 0xffff) + (x >> 16);
	x = ~((x & 0xffff) + (x >> 16)) & 0xffff;
	sum[0] = (uint8_t)(x >> 8);
	sum[1] = (uint8_t)x;
}

/* A router's prefixes without the leave to make addresses of them: those are another stack's. */
static void follow_router(uint8_t *f, uint32_t len)
{
	uint32_t at = ICMP6_AT + RA_OPTIONS;

	if (len < at || be16(f + 12) != 0x86dd || f[IP_AT + 6] != ICMP6_PROTO || f[ICMP6_AT] != ND_RA)
		return;
	for (; at + 8 <= len && f[at + 1]; at += f[at + 1] * 8u) {
		if (f[at] != OPTION_PREFIX || !(f[at + 3] & PREFIX_AUTONOMOUS))
			continue;
		f[at + 3] &= (uint8_t)~PREFIX_AUTONOMOUS;
		sum_loses(f + ICMP6_AT + 2, PREFIX_AUTONOMOUS);
	}
}

/* Return: the frame was others' alone, and is not looked at here. */
bool nomstack__share(struct nomstack *s, struct pbuf *p)
{
	uint8_t *f = p->payload;
	enum share share = SHARE_MINE;
	uint32_t len = p->len;

	if (len < ETH_BYTES || len != p->tot_len || len > NOMSTACK_SHARE_BYTES)
		return false;
	switch (be16(f + 12)) {
	case 0x0806:
		share = of_arp(f, len);
		len = ARP_BYTES;
		break;
	case 0x0800:
		share = of_ip4(s, f, len);
		break;
	case 0x86dd:
		share = of_ip6(s, f, len);
		break;
	}
	/*
	 * The other stack checks sums anew.  One of UDP that the device vouches for need
	 * not be in the datagram: RFC 768 lets it say so.
	 */
	if (share == SHARE_THEIRS && p->flags & PBUF_FLAG_CSUM_OK)
		memset(f + IP_AT + (f[IP_AT] & 0xfu) * 4 + 6, 0, 2);
	if (share != SHARE_MINE)
		s->share_fn(s->share_arg, f, len);
	if (s->follows)
		follow_router(f, len);
	return share == SHARE_THEIRS;
}

void nomstack_on_neighbour(struct nomstack *s, nomstack_neighbour_fn fn, void *arg)
{
	s->share_fn = fn;
	s->share_arg = arg;
}

int nomstack_neighbour(struct nomstack *s, const void *frame, uint32_t len)
{
	struct pbuf *p;

	if (len < ETH_BYTES || len > NOMSTACK_SHARE_BYTES)
		return -EINVAL;
	p = pbuf_alloc(PBUF_RAW, (u16_t)len, PBUF_RAM);
	if (!p)
		return -ENOMEM;
	memcpy(p->payload, frame, len);
	if (s->follows)
		follow_router(p->payload, len);
	s->in_poll = true;	/* callbacks may be running */
	if ((!s->ip6.on && be16((const uint8_t *)frame + 12) == 0x86dd) || ethernet_input(p, &s->netif) != ERR_OK)
		pbuf_free(p);
	s->in_poll = false;
	nomstack__tx_announce(s);	/* what waited for this */
	return 0;
}

void nomstack_config(struct nomstack *s, struct nomstack_config *out)
{
	memset(out, 0, sizeof(*out));
	out->ip4_be = ip4_addr_get_u32(netif_ip4_addr(&s->netif));
	if (out->ip4_be) {
		out->mask_be = ip4_addr_get_u32(netif_ip4_netmask(&s->netif));
		out->gateway_be = ip4_addr_get_u32(netif_ip4_gw(&s->netif));
	}
	nomstack__ip6_config(s, out);
}

void nomstack_follow(struct nomstack *s, const struct nomstack_config *c)
{
	const ip4_addr_t addr = { c->ip4_be }, mask = { c->mask_be }, gateway = { c->gateway_be };

	s->in_poll = true;	/* callbacks may be running */
	/* The other stack has announced them: lwIP says nothing about an interface whose link is down. */
	s->netif.flags &= (u8_t)~NETIF_FLAG_LINK_UP;
	netif_set_addr(&s->netif, &addr, &mask, &gateway);
	nomstack__ip6_follow(s, c);
	s->netif.flags |= NETIF_FLAG_LINK_UP;
	s->in_poll = false;
	nomstack__tx_announce(s);
}
