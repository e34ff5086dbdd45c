// SPDX-License-Identifier: MIT
/*
 * nomstack_reass_piece.c - a fragment: what it says of itself, and its place in its datagram
 *
 * nomstack_reass.c says what is refused, and why.
 */
#include "reass.h"
#include "lwip_hooks.h"

#include <string.h>

/* What a fragment says of itself, read once: the device may write over it. */
struct piece {
	struct reass_key key;
	unsigned off, len;
	unsigned data_at;		/* in the pbuf */
	unsigned most;			/* data that a packet of this kind can carry */
	bool more;
	uint8_t next;			/* IPv6: its fragment header's word */
	uint8_t header[40];
};

/* How many of @n blocks from @at are there. */
static unsigned map_count(const struct reass_slot *d, unsigned at, unsigned n)
{
	unsigned nr = 0;

	while (n) {
		unsigned bit = at % 64, take = 64 - bit < n ? 64 - bit : n;
		uint64_t mask = (take == 64 ? ~0ull : (1ull << take) - 1) << bit;

		nr += (unsigned)__builtin_popcountll(d->map[at / 64] & mask);
		at += take;
		n -= take;
	}
	return nr;
}

static void map_set(struct reass_slot *d, unsigned at, unsigned n)
{
	while (n) {
		unsigned bit = at % 64, take = 64 - bit < n ? 64 - bit : n;

		d->map[at / 64] |= (take == 64 ? ~0ull : (1ull << take) - 1) << bit;
		at += take;
		n -= take;
	}
}

/* Whether there is one end, and nothing behind it. */
static bool fits(const struct reass_slot *d, const struct piece *f)
{
	unsigned end = f->off + f->len;

	if (f->more)
		return !d->end || end < d->end;
	return d->end ? d->end == end : d->top <= end;
}

/* The datagram, if @f was what it lacked; @p is borrowed. */
static struct pbuf *put(struct nomstack *s, struct reass_slot *d, const struct piece *f, struct pbuf *p)
{
	struct reass *r = &s->reass;
	unsigned at = f->off / 8, n = (f->len + 7) / 8, there = map_count(d, at, n);
	uint8_t *to = d->room + REASS_HEAD_BYTES + f->off;

	if (!fits(d, f)) {
		r->st.dropped++;
		nomstack__reass_refuse(r, d, &r->st.contradiction);
		return NULL;
	}
	if (there) {
		r->st.dropped++;
		/* RFC 8200, 4.5: the network may double a fragment; but it must not change one */
		if (there == n && (f->more || d->end) && !pbuf_memcmp(p, (u16_t)f->data_at, to, (u16_t)f->len))
			r->st.duplicates++;
		else
			nomstack__reass_refuse(r, d, &r->st.overlap);
		return NULL;
	}
	if (d->nr == NOMSTACK_REASS_FRAGMENTS) {
		r->st.dropped++;
		nomstack__reass_refuse(r, d, &r->st.too_many);
		return NULL;
	}
	pbuf_copy_partial(p, to, (u16_t)f->len, (u16_t)f->data_at);
	map_set(d, at, n);
	d->blocks += n;
	d->nr++;
	if (f->off + f->len > d->top)
		d->top = f->off + f->len;
	if (!f->more)
		d->end = f->off + f->len;
	if (!f->off) {
		d->first_bytes = f->len;
		d->next = f->next;
		memcpy(d->header, f->header, sizeof(d->header));
	}
	return d->end && d->blocks == (d->end + 7) / 8 ? nomstack__reass_whole(s, d) : NULL;
}

/* All checks of the fragment by itself are here; @p is consumed. */
static struct pbuf *take(struct nomstack *s, const struct piece *f, bool known, struct pbuf *p)
{
	struct reass *r = &s->reass;
	struct reass_slot *d;
	struct pbuf *done = NULL;
	uint64_t *why = NULL;

	r->st.received++;
	if (!r->max)
		why = &r->st.off;
	else if (!known)
		why = &r->st.protocol;
	else if (!f->len || (f->more && f->len % 8) || f->data_at + f->len > p->tot_len)
		why = &r->st.malformed;
	else if (f->off + f->len > f->most)
		why = &r->st.too_long;
	if (why) {
		(*why)++;
		r->st.dropped++;
		pbuf_free(p);
		return NULL;
	}
	d = nomstack__reass_find(r, &f->key);
	if (d && d->state == REASS_REFUSED) {
		r->st.rest++;
		r->st.dropped++;
	} else {
		if (!d)
			d = nomstack__reass_take(s, &f->key);
		if (d)
			done = put(s, d, f, p);
		else
			r->st.dropped++;
	}
	pbuf_free(p);
	return done;
}

/* LWIP_HOOK_IP4_FRAGMENT: @p is at an IP header that ip4_input() has checked, and as long as it says. */
struct pbuf *nomstack__ip4_fragment(struct pbuf *p, struct netif *inp)
{
	struct nomstack *s = inp->state;
	struct piece f = { .key.family = 4, .most = IP4_DATA_MAX };
	unsigned hlen, len, off;
	uint8_t *h = f.header;

	memcpy(h, p->payload, IP_HLEN);
	hlen = (h[0] & 15u) * 4;
	len = (unsigned)h[2] << 8 | h[3];
	off = (unsigned)h[6] << 8 | h[7];
	f.off = (off & IP_OFFMASK) * 8;
	f.more = off & IP_MF;
	f.data_at = hlen;
	f.len = len > hlen ? len - hlen : 0;
	f.key.proto = h[9];
	f.key.id = (uint32_t)h[4] << 8 | h[5];
	memcpy(f.key.src, h + 12, 4);
	memcpy(f.key.dst, h + 16, 4);
	return take(s, &f, h[9] == IP_PROTO_UDP || h[9] == IP_PROTO_ICMP, p);
}

/*
 * LWIP_HOOK_IP6_FRAGMENT: @p is at a fragment header behind @ip6hdr, and as long as that
 * says.  Headers between the two have had their effect, and are not kept.
 */
struct pbuf *nomstack__ip6_fragment(struct pbuf *p, const struct ip6_hdr *ip6hdr)
{
	struct nomstack *s = nomstack__the;
	struct piece f = { .key.family = 6, .most = IP6_DATA_MAX, .data_at = FRAG6_BYTES };
	uint8_t frag[FRAG6_BYTES];
	unsigned off;

	memcpy(frag, p->payload, sizeof(frag));
	memcpy(f.header, ip6hdr, IP6_HLEN);
	off = (unsigned)frag[2] << 8 | frag[3];
	f.off = off & IP6_FRAG_OFFSET_MASK;
	f.more = off & IP6_FRAG_MORE_FLAG;
	f.len = p->tot_len - FRAG6_BYTES;
	f.next = frag[0];
	memcpy(&f.key.id, frag + 4, sizeof(f.key.id));
	memcpy(f.key.src, f.header + 8, 16);
	memcpy(f.key.dst, f.header + 24, 16);
	return take(s, &f, frag[0] == IP6_NEXTH_UDP || frag[0] == IP6_NEXTH_ICMP6, p);
}
