// SPDX-License-Identifier: MIT
/*
 * vnet: transmit from a receive buffer.
 *
 * The virtio header of a received frame lies before it in the same buffer, and
 * so does room for the one of a frame to be sent: they have the same size.  An
 * answer written over its request therefore leaves as one descriptor, which
 * names header and frame together, and nothing is copied.
 */
#include "vnet_internal.h"

#include <errno.h>

static inline __attribute__((always_inline))
int do_turn(struct vnet *v, uint16_t id, uint32_t len, uint16_t csum_start, uint16_t csum_offset,
	    void *cookie, const bool packed)
{
	struct virtq *const r = &v->txq;
	struct virtio_net_hdr_v1 hdr = {
		.flags = csum_start ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0,
		.csum_start = csum_start, .csum_offset = csum_offset,
	};
	unsigned int d;

	if (__builtin_expect(id >= v->rx_nr_bufs || v->rx_state[id] != VNET_BUF_HELD, 0))
		nomdrv__bug(__func__, "a held buffer", id);
	if (len < VNET_ETH_BYTES || len > v->tx_frame_max || len > VNET_FRAME_MAX_BYTES ||
	    (csum_start && (!v->tx_csum || (uint32_t)csum_start + csum_offset + 2 > len)))
		return -EINVAL;
	if (!r->nr_free) {
		v->stats.tx_full++;
		return -EAGAIN;
	}

	memcpy(vnet__rx_buf(v, id), &hdr, sizeof(hdr));
	d = packed ? vpacked_id(r) : vring_get(r);
	v->tx_cookie[d] = cookie;
	if (packed) {
		vpacked_set(r, r->avail_idx, d, v->rx_dma[id], VNET_HDR_BYTES + len, 0);
		vpacked_post(r, d, 1);
	} else {
		vring_set(r, d, v->rx_dma[id], VNET_HDR_BYTES + len, 0, 0);
		vring_post(r, d, d, 1);
	}
	v->stats.tx_packets++;
	v->stats.tx_bytes += len;
	v->stats.tx_turned++;
	v->stats.tx_csum_offload += csum_start != 0;
	return 0;
}

__attribute__((noinline))
static int turn_slow(struct vnet *v, uint16_t id, uint32_t len, uint16_t csum_start,
		     uint16_t csum_offset, void *cookie)
{
	struct vnet_seg seg = { .len = len };
	int err;

	if (v->error)
		return -EIO;
	if (!v->path)
		return do_turn(v, id, len, csum_start, csum_offset, cookie, true);
	if (id >= v->rx_nr_bufs || v->rx_state[id] != VNET_BUF_HELD)
		nomdrv__bug(__func__, "a held buffer", id);
	if (csum_start || len > VNET_FRAME_MAX_BYTES)
		return -EINVAL;
	seg.addr = vnet__rx_buf(v, id) + VNET_HDR_BYTES;
	err = v->path->tx(v, &seg, 1, cookie);
	v->stats.tx_turned += !err;
	return err;
}

int vnet_tx_turn(struct vnet *v, uint16_t id, uint32_t len, uint16_t csum_start,
		 uint16_t csum_offset, void *cookie)
{
	if (__builtin_expect(v->slow, 0))
		return turn_slow(v, id, len, csum_start, csum_offset, cookie);
	return do_turn(v, id, len, csum_start, csum_offset, cookie, false);
}
