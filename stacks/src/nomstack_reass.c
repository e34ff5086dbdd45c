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
#include "reass.h"
#include "lwip_hooks.h"

#include "lwip/icmp.h"
#include "lwip/icmp6.h"
#include "lwip/inet_chksum.h"
#include "lwip/stats.h"
#include "lwip/timeouts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void timer_set(struct nomstack *s);

/* ------------------------------------------------------------- datagrams --- */

static void slot_free(struct reass *r, struct reass_slot *d)
{
	if (d->state == REASS_OPEN)
		r->st.dropped += d->nr;
	d->state = REASS_FREE;
}

/* It is told apart from one that never was: what comes of it later is dropped. */
void nomstack__reass_refuse(struct reass *r, struct reass_slot *d, uint64_t *why)
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

struct reass_slot *nomstack__reass_find(struct reass *r, const struct reass_key *key)
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

struct reass_slot *nomstack__reass_take(struct nomstack *s, const struct reass_key *key)
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

struct pbuf *nomstack__reass_whole(struct nomstack *s, struct reass_slot *d)
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
