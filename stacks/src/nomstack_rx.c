// SPDX-License-Identifier: MIT
/*
 * nomstack_rx.c - from a receive buffer into lwIP, without a copy
 *
 * lwIP's struct pbuf for a frame lives in the buffer's private area, so
 * nothing is allocated: placing a frame is filling in a few words, and freeing
 * the pbuf gives the buffer back to the ring.
 *
 * Ownership: a buffer is ours from vnet_rx_burst() on; nomstack__rx_frame()
 * hands it to lwIP, which frees the pbuf when the frame was consumed or
 * dropped.  Only out-of-order TCP segments stay longer; see
 * nomstack__ooseq_limit().
 */
#include "internal.h"
#include "lwip_hooks.h"
#include "netif/ethernet.h"

_Static_assert(sizeof(struct rx_pbuf) <= VNET_PRIV_BYTES, "lwIP's pbuf does not fit the buffer's private area");

static void rx_free(struct pbuf *p)
{
	struct rx_pbuf *rp = (struct rx_pbuf *)p;
	struct nomstack *s = nomstack__the;

	s->rx_in_stack--;
	s->rx_unposted++;
	vnet_rx_release(s->v, rp->id);
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
	rp->id = rx->id;
	rp->pc.custom_free_function = rx_free;
	/* What pbuf_alloced_custom() does, without its checks. */
	p->next = NULL;
	p->payload = rx->data;
	p->tot_len = p->len = (u16_t)rx->len;
	p->type_internal = (u8_t)PBUF_REF;
	p->flags = PBUF_FLAG_IS_CUSTOM | (rx->flags & VNET_RX_CSUM_OK ? PBUF_FLAG_CSUM_OK : 0);
	p->ref = 1;
	p->if_idx = NETIF_NO_INDEX;
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
