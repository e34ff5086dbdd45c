// SPDX-License-Identifier: MIT
/*
 * nomstack_rx.c - from a receive buffer into lwIP, without a copy
 *
 * lwIP's struct pbuf for a frame lives in the buffer's private area, so
 * nothing is allocated: placing a frame is filling in a few words, and freeing
 * the pbuf gives the buffer back to the ring.
 *
 * The segment that an established connection expects next, which is nearly all
 * of a busy server's input, is recognised here and given to TCP directly: one
 * look at the headers instead of three layers' (tcp_input_predicted() of our
 * patch to lwIP).  Whatever is not exactly that goes the long way, untouched.
 *
 * With large receive (VIRTIO_NET_F_MRG_RXBUF and _GUEST_TSO4 or _TSO6, which the
 * application asks for) a frame may lie in several buffers and hold many segments: a chain of
 * pbufs, one for each buffer.  TCP takes it as one segment; RFC 1122 (4.2.3.2)
 * wants an ACK for every second one, so a frame of several is acknowledged at once.
 * What the device has not joined is joined here, a burst at a time.
 *
 * Ownership: a buffer is ours from vnet_rx_burst() on; nomstack__rx_frame()
 * hands it to lwIP, which frees the pbuf when the frame was consumed or
 * dropped.  Only out-of-order TCP segments stay longer; see
 * nomstack__ooseq_limit().
 */
#include "internal.h"
#include "lwip_hooks.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/prot/ip6.h"
#include "netif/ethernet.h"

#include <string.h>

_Static_assert(sizeof(struct rx_pbuf) <= VNET_PRIV_BYTES, "lwIP's pbuf does not fit the buffer's private area");

/* The last reference to a frame is gone. */
void nomstack__rx_free(struct pbuf *p)
{
	struct rx_pbuf *rp = (struct rx_pbuf *)p;
	struct nomstack *s = nomstack__the;

	s->rx_in_stack--;
	s->rx_unposted++;
	vnet_rx_release(s->v, rp->id);
}

#define LE32(a, b, c, d) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)
#define IP_AT 14u
#define TCP_AT 34u
#define TCP6_AT 54u	/* of IPv6 */
#define DATA_AT NOMSTACK__PREDICT_MIN
#define DATA6_AT (TCP6_AT + 20)
/* TCP's offset and flags: a header of 20 bytes; ACK, perhaps PSH, and nothing else */
#define PLAIN_MASK LE32(0xff, (uint8_t)~TCP_PSH, 0, 0)
#define PLAIN LE32(0x50, TCP_ACK, 0, 0)

/* The sum of a whole segment, of @bytes, and its pseudo header. */
static __attribute__((noinline)) bool sum_is_right(const uint8_t *tcp, unsigned bytes, const uint32_t ip[5])
{
	return ((uint64_t)nomstack__chksum(tcp, (int)bytes) + ip[3] + ip[4] + lwip_htons(6) +
		lwip_htons((u16_t)bytes)) % 0xffff == 0;
}

/*
 * What predicted() below looks for, for IPv6 without extension headers: the
 * connection, or NULL.
 */
static __attribute__((noinline)) struct tcp_pcb *find6(struct nomstack *s, bool summed, const uint8_t *f,
						       unsigned len, unsigned first)
{
	const uint8_t *tcp = f + TCP6_AT;
	unsigned bytes;			/* of the segment */
	ip6_addr_t src, dst;

	/* version 6, of any class; TCP; in a frame to one station */
	if (len < DATA6_AT ||
	    (nomstack__load32(f + 12) & LE32(0xff, 0xff, 0xf0, 0)) != LE32(0x86, 0xdd, 0x60, 0) || f[0] & 1 ||
	    f[IP_AT + 6] != IP6_NEXTH_TCP)
		return NULL;
	bytes = nomstack__load32_be(f + IP_AT + 4) >> 16;
	if (bytes > len - TCP6_AT || bytes < DATA6_AT - TCP6_AT || (first != len && bytes != len - TCP6_AT))
		return NULL;
	if ((nomstack__load32(tcp + 12) & PLAIN_MASK) != PLAIN)
		return NULL;
	memcpy(src.addr, f + IP_AT + 8, sizeof(src.addr));
	memcpy(dst.addr, f + IP_AT + 24, sizeof(dst.addr));
	if (!summed &&
	    (first != len || ((uint64_t)nomstack__chksum(tcp, (int)bytes) + nomstack__chksum(f + IP_AT + 8, 32) +
			      lwip_htons(IP6_NEXTH_TCP) + lwip_htons((u16_t)bytes)) % 0xffff))
		return NULL;
	return tcp_pcb_hash_find6(&src, lwip_ntohs((u16_t)nomstack__load32(tcp)), &dst,
				  lwip_ntohs((u16_t)(nomstack__load32(tcp) >> 16)), netif_get_index(&s->netif));
}

/* IPv4 with a header of 20 bytes, in a frame to one station. */
static inline bool is_plain4(const uint8_t *f)
{
	return (nomstack__load32(f + 12) & LE32(0xff, 0xff, 0xff, 0)) == LE32(0x08, 0x00, 0x45, 0) && !(f[0] & 1);
}

/* The same for IPv4. */
static inline __attribute__((always_inline)) struct tcp_pcb *find4(struct nomstack *s, bool summed, const uint8_t *f,
								   unsigned len, unsigned first)
{
	unsigned ip_bytes;
	uint32_t w[5];

	memcpy(w, f + IP_AT, sizeof(w));
	/* no fragment; TCP */
	if ((w[1] & LE32(0, 0, 0xbf, 0xff)) || f[IP_AT + 9] != 6)
		return NULL;
	ip_bytes = lwip_ntohs((u16_t)(w[0] >> 16));
	if (ip_bytes > len - IP_AT || ip_bytes < DATA_AT - IP_AT || (first != len && ip_bytes != len - IP_AT))
		return NULL;
	/* 65536 is 1 modulo 65535: so 16-bit words may be added up in pairs */
	if (((uint64_t)w[0] + w[1] + w[2] + w[3] + w[4]) % 0xffff)
		return NULL;
	if ((nomstack__load32(f + TCP_AT + 12) & PLAIN_MASK) != PLAIN)
		return NULL;
	if (!summed &&
	    (first != len || !sum_is_right(f + TCP_AT, ip_bytes - (TCP_AT - IP_AT), w)))
		return NULL;
	return tcp_pcb_hash_find4(w[3], lwip_ntohs((u16_t)nomstack__load32(f + TCP_AT)), w[4],
				  lwip_ntohs((u16_t)(nomstack__load32(f + TCP_AT) >> 16)),
				  netif_get_index(&s->netif));
}

/*
 * Whether the frame was a TCP segment that its connection had predicted; if so
 * it is consumed, with @p, whose other fields are set.  Offsets are those of
 * Ethernet, IP and TCP without options.  All that ethernet_input(), ip4_input()
 * and tcp_input() would have refused is refused here, so that it gets there and
 * is counted.  @first: bytes in the first of its buffers, @len if that is all.
 */
static inline __attribute__((always_inline)) bool predicted(struct nomstack *s, struct pbuf *p, uint8_t *f, unsigned len,
							    unsigned first)
{
	unsigned tcp_at, bytes;
	struct tcp_pcb *pcb;

	if (len < s->predict_min || (first != len && first < DATA6_AT))
		return false;
	if (likely(is_plain4(f))) {
		pcb = find4(s, p->flags & PBUF_FLAG_CSUM_OK, f, len, first);
		tcp_at = TCP_AT;
		bytes = (nomstack__load32_be(f + IP_AT) & 0xffff) - (DATA_AT - IP_AT);
	} else {
		pcb = find6(s, p->flags & PBUF_FLAG_CSUM_OK, f, len, first);
		tcp_at = TCP6_AT;
		bytes = (nomstack__load32_be(f + IP_AT + 4) >> 16) - (DATA6_AT - TCP6_AT);
	}
	if (unlikely(!pcb))
		return false;
	p->payload = f + tcp_at + (DATA_AT - TCP_AT);
	p->tot_len = (u16_t)bytes;
	p->len = first == len ? p->tot_len : (u16_t)(first - tcp_at - (DATA_AT - TCP_AT));
	return tcp_input_predicted(pcb, (const struct tcp_hdr *)(f + tcp_at), p);
}

/* lwIP's view of a buffer; its payload and lengths are the caller's to set. */
static inline struct pbuf *place(struct nomstack *s, const struct vnet_rx *rx)
{
	struct rx_pbuf *rp = vnet_rx_priv(s->v, rx->id);
	struct pbuf *p = &rp->pc.pbuf;

	s->rx_in_stack++;
	/* What pbuf_alloced_custom() does, without its checks. */
	if (unlikely(!rp->pc.custom_free_function)) {
		/* a buffer's first frame; none of this changes any more */
		rp->id = rx->id;
		rp->pc.custom_free_function = nomstack__rx_free;
		p->type_internal = (u8_t)PBUF_REF;
		p->if_idx = NETIF_NO_INDEX;
	}
	p->next = NULL;
	p->flags = PBUF_FLAG_IS_CUSTOM | (rx->flags & VNET_RX_CSUM_OK ? PBUF_FLAG_CSUM_OK : 0);
	p->ref = 1;
	return p;
}

static inline void input(struct nomstack *s, struct pbuf *p)
{
	/* What it says is lost, or here in part, must not look busy. */
	if (unlikely(s->zc_outstanding))
		nomstack__tx_reap(s);
	if (unlikely(s->share_fn) && nomstack__share(s, p)) {
		pbuf_free(p);
		return;
	}
	if (unlikely(!s->ip6.on && p->len >= IP_AT && !memcmp((const uint8_t *)p->payload + 12, "\x86\xdd", 2))) {
		s->st.drop_proto++;
		s->drop_ip6_off++;
		pbuf_free(p);
		return;
	}
	if (unlikely(ethernet_input(p, &s->netif) != ERR_OK))
		pbuf_free(p);
}

/* The same for others: a frame that lies in no buffer of the driver's. */
void nomstack__rx_input(struct nomstack *s, struct pbuf *p)
{
	input(s, p);
}

_Static_assert(VNET_FRAME_MAX_BYTES <= UINT16_MAX, "a pbuf's length holds a frame of one buffer");

/* Two callers, and still no call in the one that matters. */
static inline __attribute__((always_inline)) void one_buffer(struct nomstack *s, const struct vnet_rx *rx)
{
	unsigned len = rx->len;
	struct pbuf *p = place(s, rx);

	if (likely(predicted(s, p, rx->data, len, len)))
		return;
	p->payload = rx->data;
	p->tot_len = p->len = (u16_t)len;
	input(s, p);
}

/* A frame in one buffer, of one segment. */
void nomstack__rx_frame(struct nomstack *s, const struct vnet_rx *rx)
{
	one_buffer(s, rx);
}

/*
 * Several segments came as one: the next ACK is due at once, as it is when a second
 * segment meets a delayed one.  How many there are is the device's word, which
 * can do no more harm than an ACK.
 */
static void acknowledge_at_once(struct nomstack *s, const struct vnet_rx *rx, unsigned bytes)
{
	const uint8_t *f = rx->data;
	const unsigned at = f[12] == 0x86 && f[13] == 0xdd ? DATA6_AT : DATA_AT;
	struct nomstack_conn *c;

	if (bytes <= at + vnet_rx_gso_bytes(rx))
		return;
	nomstack__hear(rx, bytes, &c);
	if (c && c->pcb)
		tcp_set_flags(c->pcb, TF_ACK_DELAY);
}

/* A frame in several buffers, or of several segments; returns how many buffers. */
static unsigned parts(struct nomstack *s, const struct vnet_rx *rx)
{
	unsigned nr = 1, total = rx->len, left, i;
	struct pbuf *first, *p, *last;

	while (rx[nr - 1].flags & VNET_RX_MORE)
		total += rx[nr++].len;
	s->st.rx_packets -= nr - 1;	/* the batch was counted in buffers */
	/* lwIP counts the Ethernet header, too.  Linux sends none that long; if one does, TCP sends parts. */
	if (unlikely(total > UINT16_MAX)) {
		s->st.drop_proto++;
		s->rx_unposted += nr;
		for (i = 0; i < nr; i++)
			vnet_rx_release(s->v, rx[i].id);
		return nr;
	}
	if (rx->flags & VNET_RX_LARGE) {
		if (nomstack__is_uso(rx)) {
			nomstack__rx_uso(s, rx, nr, total);
			return nr;
		}
		acknowledge_at_once(s, rx, total);
	}
	first = last = place(s, rx);
	for (i = 1, left = total - rx->len; i < nr; i++, last = p) {
		p = place(s, &rx[i]);
		p->payload = rx[i].data;
		p->len = (u16_t)rx[i].len;
		p->tot_len = (u16_t)left;
		left -= rx[i].len;
		last->next = p;
	}
	if (predicted(s, first, rx->data, total, rx->len))
		return nr;
	first->payload = rx->data;
	first->len = (u16_t)rx->len;
	first->tot_len = (u16_t)total;
	input(s, first);
	return nr;
}

/*
 * A run of segments that a device did not join: of one connection, IPv4, each with the
 * headers that it would be predicted by, in sequence, and with the same acknowledgment
 * and window.  They go to TCP as one, as they would have come with large receive,
 * and are acknowledged as one: it saves most of TCP's input and of the ACKs.  Each is
 * checked as it would be alone.  Returns how many frames were consumed, 0: none.
 */
static unsigned join(struct nomstack *s, const struct vnet_rx *rx, unsigned nr)
{
	const struct tcp_hdr *hdr = NULL;
	unsigned n, i, total = 0, bytes = 0;
	struct tcp_pcb *pcb = NULL;
	struct pbuf *p, *next;
	uint16_t len[NOMSTACK__JOIN_MAX];		/* read once: the device can write there */
	uint32_t seq = 0;

	for (n = 0; n < nr && n < s->rx_join_max; n++, total += bytes, seq += bytes) {
		const uint8_t *f = rx[n].data;
		const struct tcp_hdr *h = (const struct tcp_hdr *)(f + TCP_AT);
		struct tcp_pcb *of;

		if ((rx[n].flags & (VNET_RX_MORE | VNET_RX_LARGE)) || rx[n].len < s->predict_min || !is_plain4(f))
			break;
		of = find4(s, rx[n].flags & VNET_RX_CSUM_OK, f, rx[n].len, rx[n].len);
		bytes = (nomstack__load32_be(f + IP_AT) & 0xffff) - (DATA_AT - IP_AT);
		if (!of || !bytes || bytes > rx[n].len - DATA_AT || total + bytes > UINT16_MAX)
			break;
		len[n] = (uint16_t)bytes;
		if (!n) {
			pcb = of;
			hdr = h;
			seq = lwip_ntohl(h->seqno);
		} else if (of != pcb || lwip_ntohl(h->seqno) != seq || h->ackno != hdr->ackno || h->wnd != hdr->wnd) {
			break;
		}
	}
	if (n < 2)
		return 0;
	for (i = n, next = NULL, total = 0; i--; next = p) {
		p = place(s, &rx[i]);
		p->payload = (uint8_t *)rx[i].data + DATA_AT;
		p->len = len[i];
		total += len[i];
		p->tot_len = (u16_t)total;
		p->next = next;
	}
	tcp_set_flags(pcb, TF_ACK_DELAY);	/* the next ACK is due at once */
	if (likely(tcp_input_predicted(pcb, hdr, next))) {
		s->rx_joined += n;
		return n;
	}
	/* As it has not predicted them, each by itself: they are placed anew. */
	s->rx_in_stack -= n;
	for (i = 0; i < n; i++)
		one_buffer(s, &rx[i]);
	return n;
}

/*
 * A burst from the first frame on that may be one of many, or is more than a packet: apart
 * from the loop for small requests, which then has registers enough.
 */
__attribute__((noinline)) void nomstack__rx_bulk(struct nomstack *s, const struct vnet_rx *rx, unsigned nr)
{
	unsigned i, n;

	for (i = 0; i < nr; i += n) {
		if (rx[i].flags & (VNET_RX_MORE | VNET_RX_LARGE)) {
			n = parts(s, &rx[i]);
			continue;
		}
		n = 0;
		/* a look at addresses and ports first: most often another connection's comes next */
		if (rx[i].len >= NOMSTACK__BULK_BYTES && i + 1 < nr && rx[i + 1].len >= NOMSTACK__PREDICT_MIN &&
		    !memcmp((uint8_t *)rx[i].data + IP_AT + 12, (uint8_t *)rx[i + 1].data + IP_AT + 12, 12))
			n = join(s, &rx[i], nr - i);
		if (!n) {
			one_buffer(s, &rx[i]);
			n = 1;
		}
	}
}

/*
 * The segment that asks is still counted in rx_in_stack, as are all that wait.
 * At the limit the answer is 0: lwIP drops what this connection has queued.
 */
u16_t nomstack__ooseq_limit(void)
{
	struct nomstack *s = nomstack__the;

	if (s->rx_in_stack <= s->ooseq_share)
		return UINT16_MAX;
	s->st.ooseq_dropped++;
	return 0;
}
