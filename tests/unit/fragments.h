/* SPDX-License-Identifier: MIT */
/*
 * fragments.h - datagrams in fragments as a peer sends and reads them (RFC 791, RFC 8200),
 * written from the RFCs; each fragment goes into the rig, and the stack is polled
 */
#ifndef TESTS_FRAGMENTS_H
#define TESTS_FRAGMENTS_H

#include "bytes.h"
#include "stack_rig.h"

#include <string.h>

#define T_UDP 17
#define T_ICMP 1
#define T_ICMP6 58
#define T_DATAGRAM_MAX 65535

/* A datagram whole: what is behind the IP header. */
struct t_datagram {
	bool v6;
	uint32_t src, dst;		/* of IPv4 */
	uint8_t src6[16], dst6[16];
	unsigned proto, id, len;
	uint8_t body[T_DATAGRAM_MAX];
};

static inline uint32_t t_fragment_pseudo(const struct t_datagram *d)
{
	return (d->src >> 16) + (d->src & 0xffff) + (d->dst >> 16) + (d->dst & 0xffff) + d->proto + d->len;
}

/* The sum that @body has room for at @at, made anew. */
static inline void t_datagram_sum(struct t_datagram *d, unsigned at)
{
	uint16_t sum;

	memset(d->body + at, 0, 2);
	if (d->v6)
		sum = t_csum6(d->src6, d->dst6, d->proto, d->body, d->len);
	else
		sum = t_csum(d->body, d->len, d->proto == T_ICMP ? 0 : t_fragment_pseudo(d));
	memcpy(d->body + at, &sum, 2);
}

static inline void t_datagram_init(struct t_datagram *d, bool v6, unsigned proto, unsigned id)
{
	d->v6 = v6;
	d->proto = proto;
	d->id = id;
	d->src = PEER_IP;
	d->dst = RIG_IP;
	t_ip6(PEER_IP6, d->src6);
	t_ip6(RIG_IP6, d->dst6);
}

static inline uint8_t t_datagram_byte(unsigned i, unsigned salt)
{
	return (uint8_t)(i * 7 + (i >> 8) * 13 + salt);
}

/* UDP from port 1000 to @port with @bytes of data that tells what it is. */
static inline void t_datagram_udp(struct t_datagram *d, unsigned port, unsigned bytes, unsigned salt)
{
	d->proto = T_UDP;
	d->len = 8 + bytes;
	put16(d->body, 1000);
	put16(d->body + 2, port);
	put16(d->body + 4, d->len);
	for (unsigned i = 0; i < bytes; i++)
		d->body[8 + i] = t_datagram_byte(i, salt);
	t_datagram_sum(d, 6);
}

/* An echo request with @bytes of data. */
static inline void t_datagram_ping(struct t_datagram *d, unsigned bytes, unsigned salt)
{
	d->proto = d->v6 ? T_ICMP6 : T_ICMP;
	d->len = 8 + bytes;
	memset(d->body, 0, 8);
	d->body[0] = d->v6 ? 128 : 8;
	put16(d->body + 6, salt);
	for (unsigned i = 0; i < bytes; i++)
		d->body[8 + i] = t_datagram_byte(i, salt);
	t_datagram_sum(d, 2);
}

/* A frame with @len bytes of @data as the part from @off on. */
static inline unsigned t_fragment_frame(struct rig *r, uint8_t *f, const struct t_datagram *d, const uint8_t *data,
					unsigned off, unsigned len, bool more)
{
	uint8_t ext[RIG_FRAME];
	uint16_t sum;
	unsigned n;

	if (d->v6) {
		ext[0] = (uint8_t)d->proto;
		ext[1] = 0;
		put16(ext + 2, (off & ~7u) | more);
		put32(ext + 4, d->id);
		memcpy(ext + 8, data, len);
		return t_ip6_frame(r, f, d->src6, d->dst6, 44, 64, ext, 8 + len);
	}
	n = t_ip_frame(r, f, d->src, d->dst, d->proto, data, len);
	put16(f + 18, d->id);
	put16(f + 20, off / 8 | (more ? 0x2000 : 0));
	memset(f + 24, 0, 2);
	sum = t_csum(f + 14, 20, 0);
	memcpy(f + 24, &sum, 2);
	return n;
}

static inline void t_fragment_data(struct rig *r, const struct t_datagram *d, const uint8_t *data, unsigned off,
				   unsigned len, bool more)
{
	uint8_t f[RIG_FRAME];
	unsigned n = t_fragment_frame(r, f, d, data, off, len, more);

	t_assert(rig_inject(r, f, n, VNET_RX_CSUM_OK));
	nomstack_poll(r->s);
}

/* The part of @d from @off on, of @len bytes or what is left. */
static inline void t_fragment(struct rig *r, const struct t_datagram *d, unsigned off, unsigned len)
{
	bool more = off + len < d->len;

	t_fragment_data(r, d, d->body + off, off, more ? len : d->len - off, more);
}

static inline unsigned t_fragments_of(const struct t_datagram *d, unsigned step)
{
	return (d->len + step - 1) / step;
}

static inline void t_fragments_all(struct rig *r, const struct t_datagram *d, unsigned step)
{
	for (unsigned off = 0; off < d->len; off += step)
		t_fragment(r, d, off, step);
}

#endif
