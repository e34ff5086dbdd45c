// SPDX-License-Identifier: MIT
/*
 * nomstack_tso.c - frames that the device cuts up (VIRTIO_NET_F_HOST_TSO4, _TSO6)
 *
 * What is sent without a copy lwIP keeps in segments of up to tso_max packets
 * (our patch "Let segments be longer than an MSS"), which need one chain and one
 * passage through the host.  What follows them, and what was copied, comes in
 * segments of its own and is joined here on its way out: a long data segment
 * waits until a frame comes that does not continue it, or until the poll
 * announces.  Nothing is copied but the headers of the first; the others' are
 * left out, since the device makes them anew.
 *
 * What may be joined is what the device will make again, bit by bit (the IP
 * identification aside): the same connection, acknowledgement, window and
 * options, sequence numbers without a gap, all but the last of equal length,
 * PSH and FIN in the last only.
 *
 * IPv4 without options and IPv6 without extension headers, which is what lwIP
 * sends TCP in; where TCP begins is all that tells them apart here.
 */
#include "internal.h"
#include "lwip/inet_chksum.h"
#include "lwip/prot/ethernet.h"
#include "lwip/prot/ip.h"
#include "lwip/prot/ip6.h"
#include "lwip/prot/tcp.h"

#include <string.h>

#define ETH_BYTES	14
#define AT_IP_BYTES	16	/* offsets in a frame of IPv4: total length, */
#define AT_IP_SUM	24
#define AT_IP6_BYTES	18	/* of IPv6: payload length */
#define TCP_AT		(ETH_BYTES + 20)
#define TCP6_AT		(ETH_BYTES + IP6_HLEN)
#define AT_SEQ		4	/* offsets in TCP's header; the addresses lie before it */
#define AT_ACK		8
#define AT_OFFSET	12
#define AT_FLAGS	13
#define AT_WINDOW	14
#define AT_OPTIONS	20

static void store16be(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* Where TCP begins in a frame that the device may be given to cut up; 0: in none such. */
static unsigned tcp_at(const struct nomstack *s, const uint8_t *f, unsigned len)
{
	if (len < TCP_AT + AT_OPTIONS)
		return 0;
	if (f[12] == 0x08 && f[13] == 0x00)
		return s->tso4 && f[ETH_BYTES] == 0x45 && f[ETH_BYTES + 9] == IP_PROTO_TCP ? TCP_AT : 0;
	if (f[12] != 0x86 || f[13] != 0xdd || len < TCP6_AT + AT_OPTIONS)
		return 0;
	return s->tso6 && f[ETH_BYTES] >> 4 == 6 && f[ETH_BYTES + 6] == IP6_NEXTH_TCP ? TCP6_AT : 0;
}

/* Bytes of headers if @p is a data segment that may be joined, with TCP at @at, else 0. */
static unsigned headers(const struct pbuf *p, unsigned at)
{
	const uint8_t *tcp = (const uint8_t *)p->payload + at;
	unsigned bytes;

	if (!at || (tcp[AT_FLAGS] & ~(TCP_PSH | TCP_FIN)) != TCP_ACK)
		return 0;
	bytes = at + (tcp[AT_OFFSET] >> 4) * 4u;
	if (bytes < at + AT_OPTIONS || bytes > p->len || bytes >= p->tot_len || bytes > VNET_TX_INLINE_BYTES)
		return 0;
	return bytes;
}

/* Whether the device would make @f, with @payload bytes in packets of @mss, out of what is open. */
static bool continues(const struct tso *t, const uint8_t *f, unsigned at, unsigned hdr_bytes, unsigned payload,
		      unsigned mss)
{
	const uint8_t *tcp = f + at, *head = t->hdr + at;
	const unsigned addrs = at == TCP_AT ? 8 : 32;	/* bytes of both, before TCP's header */

	return !t->last && at == t->tcp_at && hdr_bytes == t->hdr_bytes && (mss == t->mss || payload < t->mss) &&
	       nomstack__load32_be(tcp + AT_SEQ) == t->next_seq &&
	       !memcmp(tcp - addrs, head - addrs, addrs + AT_SEQ) &&
	       !memcmp(tcp + AT_ACK, head + AT_ACK, AT_OFFSET - AT_ACK) &&
	       !memcmp(tcp + AT_WINDOW, head + AT_WINDOW, 2) &&
	       !memcmp(tcp + AT_OPTIONS, head + AT_OPTIONS, hdr_bytes - at - AT_OPTIONS);
}

/* The data of @p, behind the headers, as segments; false: too many, or out of the device's reach. */
static bool add_data(struct nomstack *s, struct tso *t, struct pbuf *p, unsigned hdr_bytes)
{
	unsigned nr = t->nr_seg, skip = hdr_bytes;
	uint32_t len = t->seg[nr - 1].len;
	struct pbuf *q;

	for (q = p; q; q = q->next, skip = 0) {
		const uint8_t *data = (const uint8_t *)q->payload + skip;
		struct vnet_seg *before = &t->seg[nr - 1];

		if (q->len == skip)
			continue;
		if (!vnet_dma_contains(s->v, data, q->len - skip))
			goto undo;
		/* Not into seg[0]: that is the copy of the headers. */
		if (nr > 1 && (const uint8_t *)before->addr + before->len == data) {
			before->len += q->len - skip;
			continue;
		}
		/* Each segment may take two descriptors, and the headers take one. */
		if (nr == VNET_TSO_SEG_MAX || !vnet_tx_fits(s->v, 2 * nr + 1))
			goto undo;
		t->seg[nr++] = (struct vnet_seg){ data, q->len - skip };
	}
	t->nr_seg = nr;
	return true;

undo:
	t->seg[t->nr_seg - 1].len = len;
	return false;
}

/*
 * Take a frame of lwIP's to be sent with those that follow it; @cut, if not 0: it
 * is long, for packets of so many bytes.  False: it must go by itself, or if it is
 * long, later; whatever was open has been sent, so that order is kept.
 */
bool nomstack__tso_add(struct nomstack *s, struct pbuf *p, unsigned cut)
{
	struct tso *t = &s->tso;
	const uint8_t *f = p->payload;
	unsigned at = tcp_at(s, f, p->len), hdr_bytes = headers(p, at), payload = p->tot_len - hdr_bytes;
	unsigned mss = cut ? cut : payload, packets = cut ? (payload + cut - 1) / cut : 1;
	struct tso_batch *b;

	if (t->open && (!hdr_bytes || !continues(t, f, at, hdr_bytes, payload, mss) ||
			t->packets + packets > s->tso_max || t->open->nr == NOMSTACK__TSO_MAX ||
			t->hdr_bytes + t->bytes + payload > VNET_TSO_MAX_BYTES ||
			!add_data(s, t, p, hdr_bytes)))
		nomstack__tso_flush(s);
	b = t->open;
	if (!b) {
		/* Short frames are copied; a batch that starts with one gains little. */
		if (!hdr_bytes || !t->free || (!cut && (p->tot_len < s->zc_min_bytes || s->tso_max == 1)))
			return false;
		memcpy(t->hdr, f, hdr_bytes);
		t->seg[0] = (struct vnet_seg){ t->hdr, hdr_bytes };
		t->nr_seg = 1;
		if (!add_data(s, t, p, hdr_bytes))
			return false;
		b = t->free;
		t->free = b->next;
		t->open = b;
		b->nr = 0;
		t->bytes = t->packets = 0;
		t->mss = (uint16_t)mss;
		t->hdr_bytes = (uint16_t)hdr_bytes;
		t->tcp_at = (uint16_t)at;
	}
	pbuf_ref(p);
	b->p[b->nr++] = p;
	t->bytes += payload;
	t->packets += packets;
	t->next_seq = nomstack__load32_be(f + at + AT_SEQ) + payload;
	t->hdr[at + AT_FLAGS] |= f[at + AT_FLAGS];
	t->last = t->bytes % t->mss || f[at + AT_FLAGS] & (TCP_PSH | TCP_FIN);
	return true;
}

static void batch_free(struct nomstack *s, struct tso_batch *b)
{
	while (b->nr)
		pbuf_free(b->p[--b->nr]);
	b->next = s->tso.free;
	s->tso.free = b;
}

/* A cookie of ours came back from the device. */
void nomstack__tso_done(struct nomstack *s, void *cookie)
{
	batch_free(s, (struct tso_batch *)((uintptr_t)cookie & ~(uintptr_t)NOMSTACK__TSO_COOKIE));
}

/* What IP says of its length is that of the whole (virtio 1.2, 5.1.6.2). */
static void set_ip_bytes(struct tso *t)
{
	uint16_t sum;

	if (t->tcp_at == TCP6_AT) {
		store16be(t->hdr + AT_IP6_BYTES, t->hdr_bytes - TCP6_AT + t->bytes);
		return;
	}
	store16be(t->hdr + AT_IP_BYTES, t->hdr_bytes - ETH_BYTES + t->bytes);
	memset(t->hdr + AT_IP_SUM, 0, sizeof(sum));
	sum = inet_chksum(t->hdr + ETH_BYTES, 20);
	memcpy(t->hdr + AT_IP_SUM, &sum, sizeof(sum));
}

/* Send what is open. */
void nomstack__tso_flush(struct nomstack *s)
{
	struct tso *t = &s->tso;
	struct tso_batch *b = t->open;
	struct vnet_tx tx = { .seg = t->seg, .nr_seg = t->nr_seg };

	if (!b)
		return;
	t->open = NULL;
	tx.cookie = (void *)((uintptr_t)b | NOMSTACK__TSO_COOKIE);
	if (t->packets > 1) {
		tx.gso_bytes = t->mss;
		tx.hdr_bytes = t->hdr_bytes;
		set_ip_bytes(t);
	}
	tx.csum_start = nomstack__csum_partial(t->hdr, t->hdr_bytes, t->hdr_bytes + t->bytes,
					       &tx.csum_offset);
	/* There was room for it when it was opened, and nothing was queued since. */
	if (unlikely(vnet_tx(s->v, &tx))) {
		s->st.tx_ring_full += t->packets;	/* lost; lwIP will send them again */
		batch_free(s, b);
		return;
	}
	if (t->packets > 1) {
		s->st.tx_joined += t->packets;
		s->st.tx_long++;
	}
	s->st.tx_zero_copy += t->packets;
	s->zc_outstanding++;
}

void nomstack__tso_open(struct nomstack *s)
{
	struct tso *t = &s->tso;
	unsigned i;

	t->open = t->free = NULL;
	for (i = 0; i < NOMSTACK__TSO_BATCHES; i++) {
		t->batch[i].nr = 0;
		t->batch[i].next = t->free;
		t->free = &t->batch[i];
	}
}
