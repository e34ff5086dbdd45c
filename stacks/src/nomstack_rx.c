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
 * Ownership: a buffer is ours from vnet_rx_burst() on; nomstack__rx_frame()
 * hands it to lwIP, which frees the pbuf when the frame was consumed or
 * dropped.  Only out-of-order TCP segments stay longer; see
 * nomstack__ooseq_limit().
 */
#include "internal.h"
#include "lwip_hooks.h"
#include "lwip/priv/tcp_priv.h"
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
#define DATA_AT NOMSTACK__PREDICT_MIN

/* The sum of a whole segment, of @bytes, and its pseudo header. */
static __attribute__((noinline)) bool sum_is_right(const uint8_t *tcp, unsigned bytes, const uint32_t ip[5])
{
	return ((uint64_t)nomstack__chksum(tcp, (int)bytes) + ip[3] + ip[4] + lwip_htons(6) +
		lwip_htons((u16_t)bytes)) % 0xffff == 0;
}

/*
 * Whether the frame was a TCP segment that its connection had predicted; if so
 * it is consumed, with @p, whose other fields are set.  Offsets are those of
 * Ethernet, IPv4 and TCP without options.  All that ethernet_input(), ip4_input()
 * and tcp_input() would have refused is refused here, so that it gets there and
 * is counted.
 */
static bool predicted(struct nomstack *s, struct pbuf *p, uint8_t *f, unsigned len)
{
	unsigned ip_bytes;
	struct tcp_pcb *pcb;
	ip_addr_t src, dst;
	uint32_t w[5];

	if (len < s->predict_min)
		return false;
	/* IPv4 with a header of 20 bytes, in a frame to one station */
	memcpy(w, f + IP_AT, sizeof(w));
	if ((nomstack__load32(f + 12) & LE32(0xff, 0xff, 0xff, 0)) != LE32(0x08, 0x00, 0x45, 0) || f[0] & 1)
		return false;
	/* no fragment; TCP */
	if ((w[1] & LE32(0, 0, 0xbf, 0xff)) || f[IP_AT + 9] != 6)
		return false;
	ip_bytes = lwip_ntohs((u16_t)(w[0] >> 16));
	if (ip_bytes > len - IP_AT || ip_bytes < DATA_AT - IP_AT)
		return false;
	/* 65536 is 1 modulo 65535: so 16-bit words may be added up in pairs */
	if (((uint64_t)w[0] + w[1] + w[2] + w[3] + w[4]) % 0xffff)
		return false;
	/* a header of 20 bytes; ACK, perhaps PSH, and nothing else */
	if ((nomstack__load32(f + TCP_AT + 12) & LE32(0xff, (uint8_t)~TCP_PSH, 0, 0)) != LE32(0x50, TCP_ACK, 0, 0))
		return false;
	if (!(p->flags & PBUF_FLAG_CSUM_OK) && !sum_is_right(f + TCP_AT, ip_bytes - (TCP_AT - IP_AT), w))
		return false;
	ip_addr_copy_from_ip4(src, (ip4_addr_t){ w[3] });
	ip_addr_copy_from_ip4(dst, (ip4_addr_t){ w[4] });
	pcb = tcp_pcb_hash_find(&src, lwip_ntohs((u16_t)nomstack__load32(f + TCP_AT)), &dst,
				lwip_ntohs((u16_t)(nomstack__load32(f + TCP_AT) >> 16)), netif_get_index(&s->netif));
	if (unlikely(!pcb))
		return false;
	p->payload = f + DATA_AT;
	p->tot_len = p->len = (u16_t)(ip_bytes - (DATA_AT - IP_AT));
	return tcp_input_predicted(pcb, (const struct tcp_hdr *)(f + TCP_AT), p);
}

void nomstack__rx_frame(struct nomstack *s, const struct vnet_rx *rx)
{
	struct rx_pbuf *rp = vnet_rx_priv(s->v, rx->id);
	struct pbuf *p = &rp->pc.pbuf;

	if (unlikely(rx->len > UINT16_MAX)) {
		s->st.drop_proto++;
		s->rx_unposted++;
		vnet_rx_release(s->v, rx->id);
		return;
	}
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
	if (likely(predicted(s, p, rx->data, rx->len)))
		return;
	if (unlikely(s->share_fn))
		nomstack__share(s, rx->data, rx->len);
	p->payload = rx->data;
	p->tot_len = p->len = (u16_t)rx->len;
	if (unlikely(ethernet_input(p, &s->netif) != ERR_OK))
		pbuf_free(p);
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
