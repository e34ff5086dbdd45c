// SPDX-License-Identifier: MIT
/*
 * nomstack_frame.c - Ethernet frames from strangers, and answers in their place
 *
 * Needs nothing of lwIP.  Only headers without options are taken, so every field
 * has a place that is known before the first byte is read, and one look at the
 * length says which may be read:
 *
 *	0 Ethernet 14 IPv4 34 UDP or ICMP 42
 *
 * Sums are added up in memory byte order, in units of 32 bits: 65536 is 1 modulo
 * 65535, so 16-bit words may be added up in pairs (RFC 1071).
 */
#include <nomstack/frame.h>
#include <nomstack/raw.h>
#include <nomdrv/vnet.h>

#include "arch/cc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define IP_AT 14u
#define L4_AT 34u
#define DATA_AT NOMSTACK_FRAME_UDP_AT
#define PROTO_ICMP 1
#define PROTO_UDP 17

/* Four bytes as they lie in memory, and as one word of it. */
#define WORD(a, b, c, d) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

static inline uint32_t load32(const uint8_t *p)
{
	uint32_t x;

	memcpy(&x, p, sizeof(x));
	return x;
}

static inline uint16_t load16(const uint8_t *p)
{
	uint16_t x;

	memcpy(&x, p, sizeof(x));
	return x;
}

static inline void store32(uint8_t *p, uint32_t x)
{
	memcpy(p, &x, sizeof(x));
}

static inline void store16(uint8_t *p, uint16_t x)
{
	memcpy(p, &x, sizeof(x));
}

/* A sum of some words to 16 bits. */
static inline uint16_t fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)(sum + (sum >> 16));
}

/* RFC 1122, 3.2.1.3: 0/8, 127/8, groups, and from there up to the limited broadcast. */
static inline bool may_answer(uint32_t ip_be, const struct nomstack_frame_self *self)
{
	uint8_t first = (uint8_t)ip_be;

	return first && first < 224 && first != 127 && ip_be != self->ip4_be && ip_be != self->broadcast_be &&
	       ip_be != self->net_be;
}

int nomstack_frame_self(struct nomstack_frame_self *self, const uint8_t mac[6], const char *ip4)
{
	struct nomstack_frame_self who = { 0 };
	const char *slash = ip4 ? strchr(ip4, '/') : NULL;
	char text[INET_ADDRSTRLEN], *end;
	unsigned long bits;
	uint32_t mask;

	if (!slash || (size_t)(slash - ip4) >= sizeof(text))
		return -EINVAL;
	memcpy(text, ip4, (size_t)(slash - ip4));
	text[slash - ip4] = 0;
	bits = strtoul(slash + 1, &end, 10);
	if (!slash[1] || *end || bits < 1 || bits > 32 || inet_pton(AF_INET, text, &who.ip4_be) != 1)
		return -EINVAL;
	if (bits < 31) {
		mask = htonl(0xffffffffu << (32 - bits));
		who.net_be = who.ip4_be & mask;
		who.broadcast_be = who.ip4_be | ~mask;
	}
	if (!may_answer(who.ip4_be, &(struct nomstack_frame_self){ .net_be = who.net_be, .broadcast_be = who.broadcast_be }))
		return -EINVAL;
	memcpy(who.mac, mac, 6);
	*self = who;
	return 0;
}

const char *nomstack_frame_kind_name(enum nomstack_frame_kind kind)
{
	static const char *const names[NOMSTACK_FRAME_KINDS] = {
		"udp", "echo", "arp", "short", "other", "not_ours", "header", "options", "fragment", "sum", "source",
	};

	return (unsigned)kind < NOMSTACK_FRAME_KINDS ? names[kind] : NULL;
}

/* -------------------------------------------------------------------- read --- */

static inline bool to_us(const uint8_t *f, const struct nomstack_frame_self *self)
{
	return load32(f) == load32(self->mac) && load16(f + 4) == load16(self->mac + 4);
}

/* RFC 826: a question of a station for our address, to us or to all. */
static enum nomstack_frame_kind read_arp(uint8_t *f, uint32_t len, const struct nomstack_frame_self *self,
					 struct nomstack_frame *out)
{
	static const uint8_t kind[8] = { 0, 1, 8, 0, 6, 4, 0, 1 };	/* Ethernet, IPv4, request */
	uint32_t from;

	if (len < NOMSTACK_FRAME_ARP_BYTES)
		return NOMSTACK_FRAME_SHORT;
	if (memcmp(f + 14, kind, sizeof(kind)))
		return NOMSTACK_FRAME_OTHER;
	if (load32(f + 38) != self->ip4_be || !((f[0] & 1) || to_us(f, self)))
		return NOMSTACK_FRAME_NOT_OURS;
	from = load32(f + 28);
	/* The answer goes to the address within: it must be a station's.  A sender of 0 probes (RFC 5227). */
	if ((f[22] & 1) || !(load32(f + 22) | load16(f + 26)) || (from && !may_answer(from, self)))
		return NOMSTACK_FRAME_SOURCE;
	*out = (struct nomstack_frame){ .eth = f, .src_ip_be = from };
	return NOMSTACK_FRAME_ARP;
}

/* Not IPv4 without options: what else it is. */
static __attribute__((noinline, cold)) enum nomstack_frame_kind
read_other(uint8_t *f, uint32_t len, const struct nomstack_frame_self *self, struct nomstack_frame *out)
{
	if (f[12] == 8 && f[13] == 6)
		return read_arp(f, len, self, out);
	if (f[12] != 8 || f[13] != 0)
		return NOMSTACK_FRAME_OTHER;
	if (len < DATA_AT)
		return NOMSTACK_FRAME_SHORT;
	if (f[IP_AT] >> 4 != 4 || (f[IP_AT] & 15) < 5)
		return NOMSTACK_FRAME_HEADER;
	return NOMSTACK_FRAME_OPTIONS;
}

enum nomstack_frame_kind nomstack_frame_read(const struct vnet_rx *rx, const struct nomstack_frame_self *self,
					     struct nomstack_frame *out)
{
	uint8_t *f = rx->data;
	uint32_t len = rx->len, w[5], ip_bytes, l4_bytes;

	if (len < IP_AT + 2)
		return NOMSTACK_FRAME_SHORT;
	if (len < DATA_AT || (load32(f + 12) & WORD(0xff, 0xff, 0xff, 0)) != WORD(8, 0, 0x45, 0))
		return read_other(f, len, self, out);
	if (!to_us(f, self))
		return NOMSTACK_FRAME_NOT_OURS;
	memcpy(w, f + IP_AT, sizeof(w));
	ip_bytes = ntohs((uint16_t)(w[0] >> 16));
	if (ip_bytes > len - IP_AT)
		return NOMSTACK_FRAME_SHORT;
	if (ip_bytes < 20)
		return NOMSTACK_FRAME_HEADER;
	if (((uint64_t)w[0] + w[1] + w[2] + w[3] + w[4]) % 0xffff)
		return NOMSTACK_FRAME_SUM;
	if (w[4] != self->ip4_be)
		return NOMSTACK_FRAME_NOT_OURS;
	/* more fragments, or an offset */
	if (w[1] & WORD(0, 0, 0x3f, 0xff))
		return NOMSTACK_FRAME_FRAGMENT;
	if ((f[6] & 1) || !may_answer(w[3], self))
		return NOMSTACK_FRAME_SOURCE;
	l4_bytes = ip_bytes - 20;
	*out = (struct nomstack_frame){ .eth = f, .src_ip_be = w[3] };
	if (f[IP_AT + 9] == PROTO_UDP) {
		uint32_t bytes;

		if (l4_bytes < 8)
			return NOMSTACK_FRAME_HEADER;
		bytes = ntohs(load16(f + L4_AT + 4));
		if (bytes < 8 || bytes > l4_bytes)
			return NOMSTACK_FRAME_HEADER;
		if (!(rx->flags & VNET_RX_CSUM_OK) && load16(f + L4_AT + 6) &&
		    ((uint64_t)nomstack__chksum(f + L4_AT, (int)bytes) + w[3] + w[4] + htons(PROTO_UDP) + htons((uint16_t)bytes)) % 0xffff)
			return NOMSTACK_FRAME_SUM;
		out->src_port = ntohs(load16(f + L4_AT));
		out->dst_port = ntohs(load16(f + L4_AT + 2));
		/* RFC 768: no port to answer to */
		if (!out->src_port)
			return NOMSTACK_FRAME_SOURCE;
		out->payload = f + DATA_AT;
		out->payload_bytes = bytes - 8;
		return NOMSTACK_FRAME_UDP;
	}
	if (f[IP_AT + 9] != PROTO_ICMP)
		return NOMSTACK_FRAME_OTHER;
	if (l4_bytes < 8)
		return NOMSTACK_FRAME_HEADER;
	if (load16(f + L4_AT) != WORD(8, 0, 0, 0))	/* an echo request */
		return NOMSTACK_FRAME_OTHER;
	if (nomstack__chksum(f + L4_AT, (int)l4_bytes) % 0xffff)
		return NOMSTACK_FRAME_SUM;
	out->payload_bytes = l4_bytes - 8;
	return NOMSTACK_FRAME_ECHO;
}

/* ------------------------------------------------------------------ answer --- */

static inline void turn_ethernet(uint8_t *f)
{
	uint8_t us[6];

	memcpy(us, f, 6);
	memcpy(f, f + 6, 6);
	memcpy(f + 6, us, 6);
}

/* Ethernet and IP header of an answer with @bytes of IP. */
static inline void turn_ip(uint8_t *f, uint32_t bytes, uint8_t proto)
{
	uint32_t src = load32(f + 26), dst = load32(f + 30);
	const uint32_t first = WORD(0x45, 0, bytes >> 8, bytes & 255), second = WORD(0, 0, 0x40, 0);
	const uint32_t third = WORD(64, proto, 0, 0);

	turn_ethernet(f);
	store32(f + 14, first);
	store32(f + 18, second);
	store32(f + 22, third | (uint32_t)(uint16_t)~fold((uint64_t)first + second + third + src + dst) << 16);
	store32(f + 26, dst);
	store32(f + 30, src);
}

void nomstack_frame_answer_udp(const struct nomstack_frame *in, uint32_t payload_bytes, bool offload,
			       struct nomstack_raw_answer *out)
{
	uint32_t bytes = payload_bytes + 8, ports;
	uint8_t *f = in->eth;
	uint64_t pseudo;
	uint16_t sum;

	*out = (struct nomstack_raw_answer){ 0 };
	if (payload_bytes > NOMSTACK_FRAME_UDP_MAX)
		return;
	turn_ip(f, bytes + 20, PROTO_UDP);
	ports = load32(f + L4_AT);
	store32(f + L4_AT, ports >> 16 | ports << 16);
	pseudo = (uint64_t)load32(f + 26) + load32(f + 30) + htons(PROTO_UDP) + htons((uint16_t)bytes);
	store16(f + L4_AT + 4, htons((uint16_t)bytes));
	if (offload) {
		/* the device goes on from the pseudo header's */
		store16(f + L4_AT + 6, fold(pseudo));
		out->csum_start = L4_AT;
		out->csum_offset = 6;
	} else {
		store16(f + L4_AT + 6, 0);
		sum = (uint16_t)~fold(pseudo + nomstack__chksum(f + L4_AT, (int)bytes));
		store16(f + L4_AT + 6, sum ? sum : 0xffff);	/* RFC 768: 0 is none */
	}
	out->len = DATA_AT + payload_bytes;
}

void nomstack_frame_answer_echo(const struct nomstack_frame *in, struct nomstack_raw_answer *out)
{
	uint8_t *f = in->eth;
	uint32_t bytes = in->payload_bytes + 8, sum;

	turn_ip(f, bytes + 20, PROTO_ICMP);
	/* type 8 becomes 0, and what the sum lacks then is added to it (RFC 1624) */
	f[L4_AT] = 0;
	sum = load16(f + L4_AT + 2) + WORD(8, 0, 0, 0);
	store16(f + L4_AT + 2, (uint16_t)(sum + (sum >> 16)));
	*out = (struct nomstack_raw_answer){ .len = L4_AT + bytes };
}

void nomstack_frame_answer_arp(const struct nomstack_frame *in, const struct nomstack_frame_self *self,
			       struct nomstack_raw_answer *out)
{
	uint8_t *f = in->eth;

	memcpy(f, f + 22, 6);
	memcpy(f + 6, self->mac, 6);
	f[21] = 2;
	memcpy(f + 32, f + 22, 10);	/* who asked, Ethernet and IP */
	memcpy(f + 22, self->mac, 6);
	store32(f + 28, self->ip4_be);
	*out = (struct nomstack_raw_answer){ .len = NOMSTACK_FRAME_ARP_BYTES };
}

void nomstack_frame_announce(uint8_t f[NOMSTACK_FRAME_ARP_BYTES], const struct nomstack_frame_self *self)
{
	static const uint8_t head[10] = { 8, 6, 0, 1, 8, 0, 6, 4, 0, 1 };

	memset(f, 0xff, 6);
	memcpy(f + 6, self->mac, 6);
	memcpy(f + 12, head, sizeof(head));
	memcpy(f + 22, self->mac, 6);
	store32(f + 28, self->ip4_be);
	memset(f + 32, 0, 6);
	store32(f + 38, self->ip4_be);
}
