// SPDX-License-Identifier: MIT
/*
 * nomstack_tap.c - frames, looked at on their way
 *
 * Two lookers: the trace copies frames into the ring of the look file, the
 * other measures round trips.  While both are off nothing of this is called:
 * received batches ask one flag of the stack, and for sent frames the
 * interface's output function is another.
 *
 * Frames are seen as lwIP sees them: received ones when their batch is let go,
 * sent ones one by one, before the device joins or cuts or sums them.
 *
 * A round trip is timed for one segment of a connection at a time, from when it
 * is queued to the poll that takes its acknowledgment (W is part of it, as are
 * the peer's delayed ACKs), and not for data that was sent twice (Karn).
 */
#include "look.h"

#include "lwip/priv/tcp_priv.h"

#include <string.h>

#define ETH_BYTES 14
#define HEADERS_MAX (ETH_BYTES + 60 + 60)	/* longest of IPv4 and TCP */

/* ------------------------------------------------------------ the ring --- */

/* Copy into the ring at *@at, which advances; @n is at most the ring's size. */
static void put(struct look *l, uint64_t *at, const void *from, uint32_t n)
{
	uint32_t place = (uint32_t)(*at & (NOMSTACK_LK_RING - 1)), first = NOMSTACK_LK_RING - place;

	if (first > n)
		first = n;
	memcpy(l->ring + place, from, first);
	memcpy(l->ring, (const uint8_t *)from + first, n - first);
	*at += n;
}

/* Room for a frame, of which @bytes are kept?  The reader's word is only compared. */
static bool has_room(struct look *l, uint32_t bytes)
{
	uint64_t need = sizeof(struct nomstack_lk_frame) + ((bytes + 7u) & ~7u);
	uint64_t used = l->head - __atomic_load_n(&l->hdr->tail, __ATOMIC_ACQUIRE);

	if (used <= NOMSTACK_LK_RING && NOMSTACK_LK_RING - used >= need)
		return true;
	l->lost++;
	__atomic_store_n(&l->hdr->lost, l->lost, __ATOMIC_RELAXED);
	return false;
}

/* The frame is in the ring: let it be seen.  Pairs with the reader's load of head. */
static void publish(struct look *l, uint64_t at)
{
	l->head = (at + 7) & ~7ull;
	__atomic_store_n(&l->hdr->head, l->head, __ATOMIC_RELEASE);
}

static void trace_rx(struct nomstack *s, const struct vnet_rx *rx)
{
	struct look *l = s->look;
	struct nomstack_lk_frame f = { .wire_bytes = rx->len, .when_ns = s->now_ns };
	const struct vnet_rx *part = rx;
	uint64_t at = l->head;
	uint32_t left, n;

	while (part++->flags & VNET_RX_MORE)
		f.wire_bytes += part->len;
	if (rx->flags & VNET_RX_CSUM_OK)
		f.flags |= NOMSTACK_LK_FRAME_CSUM;
	left = f.bytes = f.wire_bytes < l->snap_bytes ? f.wire_bytes : l->snap_bytes;
	if (!has_room(l, f.bytes))
		return;
	put(l, &at, &f, sizeof(f));
	for (; left; left -= n, rx++) {
		n = rx->len < left ? rx->len : left;
		put(l, &at, rx->data, n);
	}
	publish(l, at);
}

static void trace_tx(struct nomstack *s, const struct pbuf *p, uint64_t now_ns)
{
	struct look *l = s->look;
	struct nomstack_lk_frame f = { .wire_bytes = p->tot_len, .when_ns = now_ns, .flags = NOMSTACK_LK_FRAME_TX };
	uint64_t at = l->head;
	uint32_t left;

	if (s->tx_offload)
		f.flags |= NOMSTACK_LK_FRAME_CSUM;
	left = f.bytes = p->tot_len < l->snap_bytes ? p->tot_len : l->snap_bytes;
	if (!has_room(l, f.bytes))
		return;
	put(l, &at, &f, sizeof(f));
	for (; left && p; p = p->next) {
		uint32_t n = p->len < left ? p->len : left;

		put(l, &at, p->payload, n);
		left -= n;
	}
	publish(l, at);
}

/* --------------------------------------------------------- round trips --- */

/* What is of interest in a TCP segment, in host byte order. */
struct seen {
	uint32_t seq, ack, next;	/* next: seq behind it */
	bool has_ack, syn;
	struct nomstack_conn *c;
};

/* @len bytes of a frame are at @f, trusted in nothing.  False: no segment of a conn. */
static bool see(const uint8_t *f, unsigned len, bool received, struct seen *out)
{
	struct tcp_pcb *pcb;
	struct frame_tcp t;

	if (!nomstack__frame_tcp(f, len, &t))
		return false;
	pcb = nomstack__frame_pcb(&t, received);
	out->c = pcb ? nomstack__conn_of(pcb) : NULL;
	if (!out->c)
		return false;
	out->seq = nomstack__load32_be(t.tcp + 4);
	out->ack = nomstack__load32_be(t.tcp + 8);
	out->has_ack = t.tcp[13] & TCP_ACK;
	out->syn = t.tcp[13] & TCP_SYN;
	out->next = out->seq + (t.bytes - t.hdr_bytes) + !!(t.tcp[13] & (TCP_SYN | TCP_FIN));
	return true;
}

static bool is_of(const struct rtt *r, const struct look *l, const struct nomstack_conn *c)
{
	return r->gen == l->rtt_gen && c->pcb && r->key == c->pcb->hash_key;
}

/* The conn's place, made new when it was another's. */
static struct rtt *place_of(struct nomstack *s, struct nomstack_conn *c)
{
	struct look *l = s->look;
	struct rtt *r = &l->rtt[c - s->conns];

	if (is_of(r, l, c))
		return r;
	memset(r, 0, sizeof(*r));
	r->gen = l->rtt_gen;
	r->key = c->pcb->hash_key;
	return r;
}

const struct rtt *nomstack__tap_rtt(struct nomstack *s, const struct nomstack_conn *c)
{
	struct look *l = s->look;
	const struct rtt *r = &l->rtt[c - s->conns];

	return is_of(r, l, c) ? r : NULL;
}

static void rtt_tx(struct nomstack *s, const struct pbuf *p, uint64_t now_ns)
{
	uint8_t head[HEADERS_MAX];
	struct seen seg;
	struct rtt *r;

	if (!see(head, pbuf_copy_partial(p, head, sizeof(head), 0), false, &seg) || seg.next == seg.seq)
		return;
	r = place_of(s, seg.c);
	/* The first to be seen may be old: only what comes after it is known to be new. */
	if (r->sent && TCP_SEQ_LT(seg.seq, r->seq_max)) {
		r->sent_ns = 0;
	} else if (!r->sent_ns && (r->sent || !seg.c->pcb->nrtx)) {
		r->sent_ns = now_ns;
		r->seq_end = seg.next;
	}
	if (!r->sent || TCP_SEQ_GT(seg.next, r->seq_max))
		r->seq_max = seg.next;
	r->sent = true;
}

static void rtt_rx(struct nomstack *s, const struct vnet_rx *rx)
{
	struct seen seg;
	uint32_t us;
	struct rtt *r;

	if (!see(rx->data, rx->len, true, &seg) || !seg.has_ack)
		return;
	r = place_of(s, seg.c);
	if (!r->sent_ns || TCP_SEQ_LT(seg.ack, r->seq_end) || TCP_SEQ_GT(seg.ack, r->seq_max))
		return;
	us = (uint32_t)((s->now_ns - r->sent_ns) / 1000);
	r->sent_ns = 0;
	us += !us;			/* 0 means unknown */
	/* RFC 6298, 2.2 and 2.3: an eighth of the difference */
	r->rtt_us = r->rtt_us ? (uint32_t)((r->rtt_us * 7ull + us) / 8) : us;
	if (!r->min_us || us < r->min_us)
		r->min_us = us;
}

/* ---------------------------------------------------------------- taps --- */

void nomstack__tap_rx(struct nomstack *s, const struct vnet_rx *rx, unsigned nr)
{
	struct look *l = s->look;
	unsigned i;

	for (i = 0; i < nr; i++) {
		if (l->trace_until_ns)
			trace_rx(s, &rx[i]);
		if (l->rtt_until_ns)
			rtt_rx(s, &rx[i]);
		while (rx[i].flags & VNET_RX_MORE)
			i++;
	}
}

/* In the place of nomstack__tx_frame() while somebody looks. */
static err_t tap_tx(struct netif *netif, struct pbuf *p)
{
	struct nomstack *s = netif->state;
	struct look *l = s->look;
	uint64_t now_ns = nomstack__clock(s);
	err_t err = nomstack__tx_frame(netif, p);

	if (err != ERR_OK)
		return err;		/* it will come again */
	if (l->trace_until_ns)
		trace_tx(s, p, now_ns);
	if (l->rtt_until_ns)
		rtt_tx(s, p, now_ns);
	return ERR_OK;
}

void nomstack__tap_set(struct nomstack *s)
{
	struct look *l = s->look;

	s->tap = l->trace_until_ns || l->rtt_until_ns;
	s->netif.linkoutput = s->tap ? tap_tx : nomstack__tx_frame;
}
