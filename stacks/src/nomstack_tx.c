// SPDX-License-Identifier: MIT
/*
 * nomstack_tx.c - from lwIP into the transmit ring
 *
 * Two ways, chosen per frame.  Short frames are copied into a buffer of the
 * driver's: one descriptor, and lwIP's memory is free at once.  Long ones are
 * sent from where they lie, if all of it is memory the device can read: the
 * pbuf is referenced until the device is done (lwIP looks at the reference
 * before it changes a segment for retransmission).  The border is
 * zc_min_bytes; profile.rst has the measurement.  Long ones of a connection
 * that follow each other may leave as one: nomstack_tso.c.  A datagram longer than
 * the MTU leaves in fragments: nomstack_frag.c.
 *
 * Checksum offload needs no patch: when the device has it, lwIP is told per
 * interface to leave TCP and UDP sums alone, and the pseudo header's sum is
 * put where the device continues.
 */
#include "internal.h"
#include "lwip/prot/ethernet.h"
#include "lwip/prot/ip.h"
#include "lwip/prot/ip6.h"

#include <errno.h>
#include <string.h>

#define ETH_BYTES 14
#define MAX_SEGS VNET_TX_SEG_MAX

static inline uint16_t load16(const uint8_t *p)
{
	uint16_t x;

	memcpy(&x, p, sizeof(x));
	return x;
}

static inline void store16(uint8_t *p, uint16_t x)
{
	memcpy(p, &x, sizeof(x));
}

/*
 * Put the pseudo header's sum into a TCP or UDP header and tell where the
 * device starts.  Returns 0 when the frame is neither.  lwIP lays the headers
 * of what it sends into one piece of memory.
 */
uint16_t nomstack__csum_partial(uint8_t *f, unsigned len, unsigned tot_len, uint16_t *offset_out)
{
	unsigned start, proto, i;
	uint64_t sum = 0;
	uint16_t folded;

	if (load16(f + 12) == PP_HTONS(ETHTYPE_IP) && len >= ETH_BYTES + 20) {
		start = ETH_BYTES + (f[ETH_BYTES] & 0x0fu) * 4;
		proto = f[23];
		sum = (uint64_t)nomstack__load32(f + 26) + nomstack__load32(f + 30);
	} else if (load16(f + 12) == PP_HTONS(ETHTYPE_IPV6) && len >= ETH_BYTES + IP6_HLEN) {
		/* lwIP sends TCP and UDP without extension headers */
		start = ETH_BYTES + IP6_HLEN;
		proto = f[20];
		for (i = 22; i < ETH_BYTES + IP6_HLEN; i += 4)
			sum += nomstack__load32(f + i);
	} else {
		return 0;
	}
	if (proto == IP_PROTO_TCP && len >= start + 20)
		*offset_out = 16;
	else if (proto == IP_PROTO_UDP && len >= start + 8)
		*offset_out = 6;
	else
		return 0;
	sum += lwip_htons((u16_t)proto) + (uint64_t)lwip_htons((u16_t)(tot_len - start));
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	folded = (uint16_t)((sum & 0xffff) + (sum >> 16));
	memcpy(f + start + *offset_out, &folded, sizeof(folded));
	return (uint16_t)start;
}

void nomstack__tx_done(void *cookie, void *arg)
{
	struct nomstack *s = arg;

	s->zc_outstanding--;
	if ((uintptr_t)cookie & NOMSTACK__TSO_COOKIE)
		nomstack__tso_done(s, cookie);
	else
		pbuf_free(cookie);
}

/* Collect sent frames: before timers look whether a segment is still busy. */
void nomstack__tx_reap(struct nomstack *s)
{
	vnet_tx_reap(s->v, nomstack__tx_done, s);
}

void nomstack__tx_announce(struct nomstack *s)
{
	if (s->tso.open)
		nomstack__tso_flush(s);
	s->answered_gen++;
	s->nr_answered = 0;
	if (!s->tx_waiting)
		return;		/* nothing was queued since */
	nomstack__count_size(s->batches.tx_size, s->tx_waiting);
	s->st.tx_packets += s->tx_waiting;
	s->tx_waiting = 0;
	vnet_tx_flush(s->v);
}

/*
 * A frame found no room: what is queued is announced and what was sent collected, once
 * for each frame; at the second of its @tries false, and lwIP sends it again when
 * there is room.
 */
bool nomstack__tx_make_room(struct nomstack *s, unsigned tries)
{
	if (tries) {
		s->st.tx_ring_full++;
		s->tx_blocked = true;
		return false;
	}
	nomstack__tx_announce(s);
	nomstack__tx_reap(s);
	return true;
}

/* The same as tx_short() below, for IPv6. */
static __attribute__((noinline)) int tx_short6(struct nomstack *s, const struct pbuf *p)
{
	struct vnet_seg seg = { p->payload, p->len };
	uint8_t *f = p->payload;
	uint16_t start = 0, offset = 0;

	if (p->len < ETH_BYTES + IP6_HLEN + 20 || load16(f + 12) != PP_HTONS(ETHTYPE_IPV6) || f[20] != IP_PROTO_TCP)
		return -EINVAL;
	if (s->tx_offload)
		start = nomstack__csum_partial(f, p->len, p->len, &offset);
	return vnet_tx_copy(s->v, &seg, 1, start, offset);
}

/*
 * The usual frame of a busy server: an answer of TCP in one short piece, over
 * IPv4 without options, when the ring has room.  0, or what says that it has to
 * go the long way.
 */
static inline int tx_short(struct nomstack *s, const struct pbuf *p)
{
	uint8_t *f = p->payload;
	struct vnet_seg seg = { f, p->len };
	uint32_t half;
	uint64_t sum;

	/* bytes 12 to 14 and 23: IPv4, header of 20 bytes, TCP */
	if (p->len < ETH_BYTES + 40 || (nomstack__load32(f + 12) & 0xffffff) != 0x450008 || f[23] != IP_PROTO_TCP)
		return tx_short6(s, p);
	if (!s->tx_offload)
		return vnet_tx_copy(s->v, &seg, 1, 0, 0);
	/* 65536 is 1 modulo 65535: words may be added up in pairs. */
	sum = (uint64_t)nomstack__load32(f + 26) + nomstack__load32(f + 30) +
	      lwip_htons((u16_t)(IP_PROTO_TCP + p->len - (ETH_BYTES + 20)));
	half = (uint32_t)sum + (uint32_t)(sum >> 32);
	half += half < (uint32_t)sum;
	/* one half plus the other, with the carry, is in the upper one */
	store16(f + 50, (uint16_t)((half + (half << 16 | half >> 16)) >> 16));
	return vnet_tx_copy(s->v, &seg, 1, ETH_BYTES + 20, 16);
}

/* Any frame. */
static __attribute__((noinline)) err_t tx_any(struct nomstack *s, struct pbuf *p)
{
	struct vnet_seg seg[MAX_SEGS];
	uint16_t csum_start = 0, csum_offset = 0;
	uint8_t *head = p->payload;
	bool copy = p->tot_len < s->zc_min_bytes && p->tot_len <= VNET_FRAME_MAX_BYTES;
	struct pbuf *q;
	unsigned n = 0, cut, tries;
	int rc;

	cut = s->tx_offload ? nomstack__tso_wanted(p) : 0;
	for (tries = 0; s->cuts && unlikely(s->tso.open || !copy || cut); tries++) {
		if (nomstack__tso_add(s, p, cut))
			return nomstack__tx_queued(s);
		if (likely(!cut))
			break;
		/* Only the device can cut it: make room, or wait for it. */
		if (!nomstack__tx_make_room(s, tries))
			return ERR_MEM;
	}
	if (unlikely(p->tot_len > s->netif.mtu + ETH_BYTES) && nomstack__frag_wanted(p))
		return nomstack__tx_fragments(s, p);
	if (unlikely(head[12] == 0x08 && head[13] == 0x06 && p->len >= 42 && head[21] == 1))
		s->st.arp_requests++;
	if (s->tx_offload)
		csum_start = nomstack__csum_partial(head, p->len, p->tot_len, &csum_offset);

	for (q = p; q; q = q->next) {
		if (!q->len)
			continue;
		if (unlikely(n == MAX_SEGS)) {
			/* Many small pieces sent without a copy: put them together. */
			if (p->tot_len > sizeof(s->bounce))
				return ERR_BUF;
			pbuf_copy_partial(p, s->bounce, p->tot_len, 0);
			seg[0] = (struct vnet_seg){ s->bounce, p->tot_len };
			n = 1;
			copy = true;
			break;
		}
		seg[n].addr = q->payload;
		seg[n].len = q->len;
		n++;
		if (!copy && !vnet_dma_contains(s->v, q->payload, q->len))
			copy = true;
	}
	for (tries = 0; ; tries++) {
		if (copy) {
			rc = vnet_tx_copy(s->v, seg, n, csum_start, csum_offset);
		} else {
			struct vnet_tx tx = {
				.seg = seg, .nr_seg = n, .csum_start = csum_start,
				.csum_offset = csum_offset, .cookie = p,
			};

			rc = vnet_tx(s->v, &tx);
		}
		if (likely(rc == 0))
			break;
		if (rc != -EAGAIN)
			s->tx_blocked = true;	/* stopped */
		if (rc != -EAGAIN || !nomstack__tx_make_room(s, tries))
			return ERR_MEM;
	}
	if (!copy) {
		pbuf_ref(p);
		s->zc_outstanding++;
		s->st.tx_zero_copy++;
	}
	return nomstack__tx_queued(s);
}

/* netif->linkoutput: @p is a whole frame, borrowed. */
err_t nomstack__tx_frame(struct netif *netif, struct pbuf *p)
{
	struct nomstack *s = netif->state;

	/* Most frames are short and meet nothing that is open. */
	if (likely(p->tot_len < s->zc_min_bytes && !p->next && !s->tso.open) && likely(!tx_short(s, p)))
		return nomstack__tx_queued(s);
	return tx_any(s, p);
}
