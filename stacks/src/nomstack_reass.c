// SPDX-License-Identifier: MIT
/*
 * nomstack_reass.c - datagrams are put together from their fragments
 *
 * Reassembly is where a host holds memory for strangers, so all of it is bounded: a
 * fixed number of datagrams, a share of them for one source, fragments in each, a short
 * life.  A datagram is one buffer, as long as a packet can be, and a bit for each of its
 * blocks of 8 bytes.  A fragment is copied to where it belongs, and its receive buffer is
 * the device's again.  So there is no list to walk, nothing of the ring is held, the
 * application gets its data in one piece, and nothing that decides lies where a device
 * could write after it was looked at.  (lwIP's own code keeps a sorted list of frames,
 * with its pointers in them.)
 *
 * Work for a fragment: a look at each datagram's key, a bit for each 8 bytes, the copy.
 *
 * What is refused, and why:
 * - All but UDP and ICMP.  TCP never sends fragments (it cuts segments to the path's MTU),
 *   and they are how filters were deceived (RFC 1858, RFC 3128).
 * - Overlaps: the whole datagram, with all that is still to come of it (RFC 5722, RFC 8200,
 *   4.5; the same for IPv4, where RFC 791 let the last one win).  What says again what is
 *   there already is a duplicate, and does nothing.
 * - Two different ends, data behind the end, too many fragments: the whole datagram.
 *
 * Who gives way: at the share of its source, that source's oldest; else the oldest.
 */
#include "internal.h"
#include "lwip_hooks.h"

#include "lwip/icmp.h"
#include "lwip/icmp6.h"
#include "lwip/inet_chksum.h"
#include "lwip/prot/ip.h"
#include "lwip/prot/ip4.h"
#include "lwip/prot/ip6.h"
#include "lwip/stats.h"
#include "lwip/timeouts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ETH_BYTES 14u
#define FRAG6_BYTES 8u
#define IP4_DATA_MAX (65535u - IP_HLEN)
#define IP6_DATA_MAX (65535u - IP6_HLEN)	/* lwIP has 16 bits for a packet with its header */
#define NR_SLOTS NOMSTACK_REASS_DATAGRAMS	/* signed: a profile may have none, and nothing is less than 0u */
#define REASS_DATA_BYTES 65520u			/* what a packet can carry, in whole blocks */
#define REASS_BLOCKS (REASS_DATA_BYTES / 8)	/* offsets count blocks of 8 bytes */
#define REASS_HEAD_BYTES 64u			/* Ethernet, IPv6 and fragment header: an answer goes out in place */

/* Whose fragments belong together: RFC 791, 3.2; RFC 8200, 4.5. */
struct reass_key {
	uint8_t src[16], dst[16];	/* of IPv4 the first four bytes, others are 0 */
	uint32_t id;
	uint8_t family;			/* 4 or 6 */
	uint8_t proto;			/* IPv4 only, else 0: there the first fragment says it */
	uint8_t zero[2];		/* keys are compared as bytes */
};

enum reass_state {
	REASS_FREE,
	REASS_OPEN,			/* takes fragments */
	REASS_REFUSED,			/* contradicts itself: the rest of it is dropped, until its time is over */
	REASS_GIVEN,			/* whole, or quoted in an error: lwIP has it */
};

/* One datagram, and lwIP's view of it: @pc is the first, so that lwIP can free it by its address. */
struct reass_slot {
	struct pbuf_custom pc;
	uint64_t born_ns;
	struct reass_key key;
	enum reass_state state;
	unsigned nr;			/* fragments in it */
	unsigned blocks;		/* of 8 bytes that are there */
	unsigned end;			/* bytes of the whole, 0: the last fragment has not come */
	unsigned top;			/* where the farthest fragment ends */
	unsigned first_bytes;		/* data of the first fragment, 0: it has not come */
	uint8_t header[40];		/* its IP header */
	uint8_t next;			/* what is in an IPv6 datagram: its fragment header's word */
	uint64_t map[REASS_BLOCKS / 64 + 1];	/* blocks that are there */
	uint8_t room[REASS_HEAD_BYTES + REASS_DATA_BYTES];
};

_Static_assert(NOMSTACK_REASS_DATAGRAMS <= 64, "each fragment looks at all datagrams");
_Static_assert(REASS_HEAD_BYTES >= ETH_BYTES + IP6_HLEN + FRAG6_BYTES && REASS_HEAD_BYTES % 8 == 0,
	       "an answer's headers do not fit in front of the data");
_Static_assert(IP4_DATA_MAX <= REASS_DATA_BYTES && IP6_DATA_MAX <= REASS_DATA_BYTES, "a packet's data does not fit");
_Static_assert(offsetof(struct reass_slot, pc) == 0, "lwIP frees by this address");

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

static void timer_set(struct nomstack *s);

/* ------------------------------------------------------------- datagrams --- */

static void slot_free(struct reass *r, struct reass_slot *d)
{
	if (d->state == REASS_OPEN)
		r->st.dropped += d->nr;
	d->state = REASS_FREE;
}

/* It is told apart from one that never was: what comes of it later is dropped. */
static void slot_refuse(struct reass *r, struct reass_slot *d, uint64_t *why)
{
	(*why)++;
	r->st.dropped += d->nr;
	d->state = REASS_REFUSED;
}

static bool held(const struct reass_slot *d)
{
	return d->state == REASS_OPEN || d->state == REASS_REFUSED;
}

/* An attacker has a network of IPv6 to take addresses from as easily as one of IPv4's addresses. */
static bool same_source(const struct reass_key *a, const struct reass_key *b)
{
	return a->family == b->family && !memcmp(a->src, b->src, a->family == 6 ? 8 : 4);
}

/* Which of two goes first: one that is refused already, then the older one. */
static bool goes_before(const struct reass_slot *a, const struct reass_slot *b)
{
	if (!b)
		return true;
	if (a->state != b->state)
		return a->state == REASS_REFUSED;
	return a->born_ns < b->born_ns;
}

static struct reass_slot *find(struct reass *r, const struct reass_key *key)
{
	for (int i = 0; i < NR_SLOTS; i++)
		if (held(&r->slots[i]) && !memcmp(&r->slots[i].key, key, sizeof(*key)))
			return &r->slots[i];
	return NULL;
}

/* Make room for one more of this source (NULL: of anybody); at most @max are held then. */
static void give_way(struct reass *r, const struct reass_key *source, unsigned max, uint64_t *why)
{
	for (;;) {
		struct reass_slot *first = NULL;
		unsigned nr = 0;

		for (int i = 0; i < NR_SLOTS; i++) {
			struct reass_slot *d = &r->slots[i];

			if (!held(d) || (source && !same_source(&d->key, source)))
				continue;
			nr++;
			if (goes_before(d, first))
				first = d;
		}
		if (nr < max || !first)
			return;
		*why += first->state == REASS_OPEN;
		slot_free(r, first);
	}
}

static struct reass_slot *slot_take(struct nomstack *s, const struct reass_key *key)
{
	struct reass *r = &s->reass;

	give_way(r, key, r->share < r->max ? r->share : r->max, &r->st.source_share);
	give_way(r, NULL, r->max, &r->st.gave_way);
	for (int i = 0; i < NR_SLOTS; i++) {
		struct reass_slot *d = &r->slots[i];

		if (d->state != REASS_FREE)
			continue;
		memset(d, 0, offsetof(struct reass_slot, room));
		d->key = *key;
		d->state = REASS_OPEN;
		d->born_ns = s->now_ns;
		timer_set(s);
		return d;
	}
	return NULL;		/* lwIP has not yet given back what it was given: not while one packet goes through it */
}

/* lwIP has let go of it. */
static void on_free(struct pbuf *p)
{
	((struct reass_slot *)p)->state = REASS_FREE;
}

/* What begins @bytes in front of the data, headers included, as lwIP's. */
static struct pbuf *slot_give(struct nomstack *s, struct reass_slot *d, unsigned head, unsigned data)
{
	struct pbuf *p = &d->pc.pbuf;

	d->state = REASS_GIVEN;
	d->pc.custom_free_function = on_free;
	p->next = NULL;
	p->payload = d->room + REASS_HEAD_BYTES - head;
	p->len = p->tot_len = (u16_t)(head + data);
	/* Headers may be put in front; and it does not outlive the packet's way through: who queues it copies. */
	p->type_internal = PBUF_TYPE_FLAG_STRUCT_DATA_CONTIGUOUS | PBUF_TYPE_FLAG_DATA_VOLATILE |
			   PBUF_TYPE_ALLOC_SRC_MASK_STD_MEMP_PBUF;
	p->flags = PBUF_FLAG_IS_CUSTOM;		/* no device vouches for the sum of a whole */
	p->ref = 1;
	p->if_idx = netif_get_index(&s->netif);
	return p;
}

static struct pbuf *whole(struct nomstack *s, struct reass_slot *d)
{
	uint8_t *data = d->room + REASS_HEAD_BYTES;
	unsigned n = d->end;
	uint16_t x;

	s->reass.st.completed++;
	if (d->key.family == 6) {
		uint8_t *ip = data - IP6_HLEN;

		memcpy(ip, d->header, IP6_HLEN);
		x = lwip_htons((u16_t)n);
		memcpy(ip + 4, &x, sizeof(x));
		ip[6] = d->next;
		return slot_give(s, d, IP6_HLEN, n);
	} else {
		uint8_t *ip = data - IP_HLEN;

		/* options were of use on the way, if at all */
		memcpy(ip, d->header, IP_HLEN);
		ip[0] = 0x45;
		x = lwip_htons((u16_t)(IP_HLEN + n));
		memcpy(ip + 2, &x, sizeof(x));
		memset(ip + 6, 0, 2);
		memset(ip + 10, 0, 2);
		x = inet_chksum(ip, IP_HLEN);
		memcpy(ip + 10, &x, sizeof(x));
		return slot_give(s, d, IP_HLEN, n);
	}
}

/* ------------------------------------------------------------- fragments --- */

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
		slot_refuse(r, d, &r->st.contradiction);
		return NULL;
	}
	if (there) {
		r->st.dropped++;
		/* RFC 8200, 4.5: the network may double a fragment; but it must not change one */
		if (there == n && (f->more || d->end) && !pbuf_memcmp(p, (u16_t)f->data_at, to, (u16_t)f->len))
			r->st.duplicates++;
		else
			slot_refuse(r, d, &r->st.overlap);
		return NULL;
	}
	if (d->nr == NOMSTACK_REASS_FRAGMENTS) {
		r->st.dropped++;
		slot_refuse(r, d, &r->st.too_many);
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
	return d->end && d->blocks == (d->end + 7) / 8 ? whole(s, d) : NULL;
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
	d = find(r, &f->key);
	if (d && d->state == REASS_REFUSED) {
		r->st.rest++;
		r->st.dropped++;
	} else {
		if (!d)
			d = slot_take(s, &f->key);
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

/* ------------------------------------------------------------------ time --- */

/*
 * RFC 1122, 3.3.2, and RFC 8200, 4.5: the source is told, if the first fragment has come.
 * Not of what went to many, nor of ICMP but questions (RFC 1122, 3.2.2).
 */
static void tell(struct nomstack *s, struct reass_slot *d)
{
	uint8_t *data = d->room + REASS_HEAD_BYTES;
	struct pbuf *p;

	if (d->key.family == 6) {
		uint8_t *frag = data - FRAG6_BYTES;
		ip6_addr_t src, dst;

		memset(&src, 0, sizeof(src));
		memset(&dst, 0, sizeof(dst));
		memcpy(src.addr, d->key.src, sizeof(src.addr));
		memcpy(dst.addr, d->key.dst, sizeof(dst.addr));
		if ((d->next == IP6_NEXTH_ICMP6 && data[0] != ICMP6_TYPE_EREQ) || ip6_addr_ismulticast(&dst) ||
		    ip6_addr_isany(&src))
			return;
		if (!nomstack__icmp_allowed()) {
			ICMP6_STATS_INC(icmp6.limited);
			return;
		}
		memcpy(frag - IP6_HLEN, d->header, IP6_HLEN);
		frag[-IP6_HLEN + 6] = IP6_NEXTH_FRAGMENT;
		memset(frag, 0, FRAG6_BYTES);
		frag[0] = d->next;
		frag[3] = IP6_FRAG_MORE_FLAG;
		memcpy(frag + 4, &d->key.id, sizeof(d->key.id));
		p = slot_give(s, d, IP6_HLEN + FRAG6_BYTES, d->first_bytes);
		icmp6_time_exceeded_with_addrs(p, ICMP6_TE_FRAG, &src, &dst);
	} else {
		uint32_t dst = nomstack__load32(d->key.dst);

		if ((d->key.proto == IP_PROTO_ICMP && data[0] != ICMP_ECHO) ||
		    dst != ip4_addr_get_u32(netif_ip4_addr(&s->netif)))
			return;
		memcpy(data - IP_HLEN, d->header, IP_HLEN);
		data[-IP_HLEN] = 0x45;
		p = slot_give(s, d, IP_HLEN, d->first_bytes);
		icmp_time_exceeded(p, ICMP_TE_FRAG);
	}
	pbuf_free(p);
}

static void on_timer(void *arg)
{
	struct nomstack *s = arg;
	struct reass *r = &s->reass;

	r->timed = false;
	for (int i = 0; i < NR_SLOTS; i++) {
		struct reass_slot *d = &r->slots[i];

		if (!held(d) || s->now_ns - d->born_ns < r->life_ns)
			continue;
		if (d->state == REASS_OPEN) {
			r->st.timed_out++;
			r->st.dropped += d->nr;
			if (d->first_bytes)
				tell(s, d);
		}
		d->state = REASS_FREE;
	}
	timer_set(s);
}

/* One timer, for the oldest, while there is one: who holds nothing is not woken. */
static void timer_set(struct nomstack *s)
{
	struct reass *r = &s->reass;
	const struct reass_slot *oldest = NULL;
	uint64_t age, ms;

	if (r->timed)
		return;
	for (int i = 0; i < NR_SLOTS; i++)
		if (held(&r->slots[i]) && (!oldest || r->slots[i].born_ns < oldest->born_ns))
			oldest = &r->slots[i];
	if (!oldest)
		return;
	age = s->now_ns - oldest->born_ns;
	ms = age < r->life_ns ? (r->life_ns - age) / 1000000 + 1 : 1;
	sys_timeout((u32_t)ms, on_timer, s);
	r->timed = true;
}

void nomstack__reass_knobs(struct nomstack *s, unsigned max, unsigned share, uint64_t life_ns)
{
	struct reass *r = &s->reass;

	r->max = max;
	r->share = share;
	r->life_ns = life_ns;
	give_way(r, NULL, max + 1, &r->st.gave_way);
	if (r->timed) {
		sys_untimeout(on_timer, s);
		r->timed = false;
		timer_set(s);
	}
}

/* ----------------------------------------------------------- life, looks --- */

/* All memory there will be, and all of its pages: a fragment causes no fault. */
int nomstack__reass_open(struct nomstack *s)
{
	struct reass *r = &s->reass;
	size_t bytes = (size_t)NR_SLOTS * sizeof(*r->slots);

	if (!NR_SLOTS)
		return 0;
	r->slots = malloc(bytes);
	if (!r->slots)
		return -ENOMEM;
	for (size_t i = 0; i < bytes; i += 4096)
		((volatile uint8_t *)r->slots)[i] = 0;
	for (int i = 0; i < NR_SLOTS; i++)
		r->slots[i].state = REASS_FREE;
	return 0;
}

void nomstack__reass_close(struct nomstack *s)
{
	if (s->reass.timed)
		sys_untimeout(on_timer, s);
	s->reass.timed = false;
	free(s->reass.slots);
	s->reass.slots = NULL;
}

void nomstack_fragments(struct nomstack *s, struct nomstack_fragments *out)
{
	*out = s->reass.st;
	out->held = 0;
	for (int i = 0; i < NR_SLOTS; i++)
		out->held += s->reass.slots[i].state == REASS_OPEN;
}
