// SPDX-License-Identifier: MIT
/*
 * vnet: receive.
 *
 * A buffer is spare, posted (the device may write to it) or held (the caller
 * reads it), and goes round in that order.  A descriptor belongs to a buffer
 * only while it is posted, so there may be more buffers than descriptors.
 * Spare buffers are a stack: the one released last is posted first and is
 * still in the cache.
 */
#include "vnet_internal.h"

#include <errno.h>

unsigned int vnet_rx_pending(const struct vnet *v)
{
	unsigned int n = vring_pending(&v->rxq);

	/* A runaway index is judged in vnet_rx_burst(): make the caller go there. */
	return v->error ? 0 : n == VRING_BAD ? 1 : n;
}

unsigned int vnet_rx_room(const struct vnet *v)
{
	unsigned int n = vring_pending(&v->rxq);

	return v->error || n == VRING_BAD ? 0 : vring_outstanding(&v->rxq) - n;
}

unsigned int vnet_rx_size(const struct vnet *v)
{
	return v->rxq.size;
}

static inline void spare(struct vnet *v, unsigned int buf)
{
	v->rx_state[buf] = VNET_BUF_SPARE;
	v->rx_spare[v->rx_nr_spare++] = (uint16_t)buf;
}

unsigned int vnet_rx_burst(struct vnet *v, struct vnet_rx *out, unsigned int max)
{
	struct vring_split *r = &v->rxq;
	unsigned int n = vring_pending(r), got = 0;
	uint64_t bytes = 0, csum_ok = 0;

	if (__builtin_expect(!n || v->error, 0))
		return 0;
	if (__builtin_expect(n == VRING_BAD, 0)) {
		vnet__fail(v, "receive queue: used index ran ahead, %u announced, at %u, device says %u",
			   vring_outstanding(r), r->last_used, vb_load_used_idx(&r->used->idx));
		return 0;
	}
	if (n > max)
		n = max;
	while (n--) {
		const struct virtio_net_hdr_v1 *hdr;
		unsigned int head, buf;
		uint8_t flags;
		uint32_t len;

		head = vring_take(r, &len);
		if (__builtin_expect(head == VRING_BAD, 0)) {
			vnet__fail(v, "receive queue: used entry %u names descriptor %u, which is not outstanding",
				   r->last_used, len);
			break;
		}
		buf = r->slot[head].user;
		vring_put(r, head);
		if (__builtin_expect(len - VNET_HDR_BYTES > VNET_FRAME_MAX_BYTES, 0)) {
			spare(v, buf);
			vnet__fail(v, "receive queue: device wrote %u bytes, buffer is %u, header %u",
				   len, VNET_DESC_BYTES, VNET_HDR_BYTES);
			break;
		}
		len -= VNET_HDR_BYTES;
		hdr = (const void *)vnet__rx_buf(v, buf);
		if (__builtin_expect(len < VNET_ETH_BYTES ||
				     hdr->gso_type != VIRTIO_NET_HDR_GSO_NONE, 0)) {
			v->stats.rx_bad++;
			spare(v, buf);
			continue;
		}
		flags = (hdr->flags & v->rx_csum_mask) ? VNET_RX_CSUM_OK : 0;
		v->rx_state[buf] = VNET_BUF_HELD;
		*out++ = (struct vnet_rx){
			.data = (uint8_t *)(uintptr_t)hdr + VNET_HDR_BYTES,
			.len = len,
			.id = (uint16_t)buf,
			.flags = flags,
		};
		bytes += len;
		csum_ok += flags;
		got++;
	}
	v->stats.rx_packets += got;
	v->stats.rx_bytes += bytes;
	v->stats.rx_csum_ok += csum_ok;
	vring_irq_quiet(r);
	return got;
}

void vnet_rx_release(struct vnet *v, uint16_t id)
{
	if (__builtin_expect(id >= v->rx_nr_bufs || v->rx_state[id] != VNET_BUF_HELD, 0))
		nomdrv__bug(__func__, "a held buffer", id);
	spare(v, id);
}

void *vnet_rx_priv(struct vnet *v, uint16_t id)
{
	return v->rx_priv + (size_t)id * VNET_PRIV_BYTES;
}

static void post_spares(struct vnet *v)
{
	struct vring_split *r = &v->rxq;

	while (v->rx_nr_spare && r->nr_free) {
		unsigned int buf = v->rx_spare[--v->rx_nr_spare], d = vring_get(r);

		v->rx_state[buf] = VNET_BUF_POSTED;
		r->slot[d].user = (uint16_t)buf;
		vring_set(r, d, vdma_addr(&v->mem, vnet__rx_buf(v, buf)), VNET_DESC_BYTES,
			  VRING_DESC_F_WRITE, 0);
		vring_post(r, d, d, 1);
	}
}

void vnet_rx_flush(struct vnet *v)
{
	if (!v->rx_nr_spare || v->error)
		return;
	post_spares(v);
	if (!vring_queued(&v->rxq))
		return;
	if (vring_announce(&v->rxq)) {
		v->dev->ops->kick(v->dev, VNET_RXQ);
		v->stats.doorbells_rx++;
	} else {
		v->stats.doorbells_suppressed++;
	}
}

void vnet__rx_fill(struct vnet *v)
{
	unsigned int i;

	v->rx_nr_spare = 0;
	for (i = v->rx_nr_bufs; i-- > 0;)
		spare(v, i);
	post_spares(v);
}
