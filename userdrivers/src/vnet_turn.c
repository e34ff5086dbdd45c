// SPDX-License-Identifier: MIT
/*
 * vnet: transmit from a receive buffer.
 *
 * The virtio header of a received frame lies before it in the same buffer, and
 * so does room for the one of a frame to be sent: they have the same size.  An
 * answer written over its request therefore leaves as one descriptor, which
 * names header and frame together, and nothing is copied.  Several answers that the
 * device is to cut apart again (vnet_tx_turn_cut()) take one each for the same reason, or from
 * four on one together, with a table.
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
	seg.addr = vnet__rx_buf(v, id) + v->rx_turn_at;
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

static inline __attribute__((always_inline))
int do_cut(struct vnet *v, const struct vnet_turn *part, unsigned int nr, uint16_t csum_start, uint16_t csum_offset,
	   uint16_t gso_bytes, uint16_t hdr_bytes, void *cookie, const bool packed)
{
	struct virtq *const r = &v->txq;
	uint32_t total = 0, second;
	unsigned int head, tail, d, i;
	const bool tabled = vnet__tx_tabled(v, nr);
	uint64_t first;
	uint8_t *f;

	/* First everything that can be wrong, then act. */
	if (!nr || nr > VNET_USO_MAX || nr > r->size || part[0].at || !csum_start || !gso_bytes)
		return -EINVAL;
	for (i = 0; i < nr; i++) {
		const struct vnet_turn *p = &part[i];

		if (__builtin_expect(p->id >= v->rx_nr_bufs || v->rx_state[p->id] != VNET_BUF_HELD, 0))
			nomdrv__bug(__func__, "a held buffer", p->id);
		if (!p->len || p->at > VNET_FRAME_MAX_BYTES || p->len > (uint32_t)(VNET_FRAME_MAX_BYTES - p->at))
			return -EINVAL;
		total += p->len;
	}
	f = vnet__rx_buf(v, part[0].id) + VNET_HDR_BYTES;
	if (total > VNET_TSO_MAX_BYTES ||
	    !vnet__gso_ok(v, f, part[0].len, total, csum_start, csum_offset, gso_bytes, hdr_bytes))
		return -EINVAL;
	if ((tabled ? 1 : nr) > r->nr_free) {
		v->stats.tx_full++;
		return -EAGAIN;
	}

	/* struct virtio_net_hdr_v1, as write_hdr() in vnet_tx.c has it */
	first = vnet__gso_word(f, csum_offset, gso_bytes, hdr_bytes) | VIRTIO_NET_HDR_F_NEEDS_CSUM | (uint64_t)csum_start << 48;
	second = csum_offset;
	memcpy(f - VNET_HDR_BYTES, &first, sizeof(first));
	memcpy(f - VNET_HDR_BYTES + sizeof(first), &second, sizeof(second));
	head = tail = packed ? vpacked_id(r) : r->free_head;
	d = packed ? r->avail_idx : head;
	for (i = 0; i < nr; i++) {
		uint64_t addr = v->rx_dma[part[i].id] + (i ? VNET_HDR_BYTES + part[i].at : 0);
		uint32_t len = part[i].len + (i ? 0 : VNET_HDR_BYTES);
		uint16_t more = i + 1 < nr ? VRING_DESC_F_NEXT : 0;
		unsigned int next;

		if (tabled) {
			vnet__table_set(vnet__tx_table(v, head), i, nr, addr, len, packed);
			continue;
		}
		tail = d;
		if (packed) {
			d = vpacked_set(r, d, head, addr, len, more);
			continue;
		}
		next = r->slot[d].next;
		vring_set(r, d, addr, len, more, more ? next : 0);
		d = next;
	}
	v->tx_cookie[head] = cookie;
	if (tabled) {
		vnet__table_post(v, head, nr, packed);
	} else if (packed) {
		vpacked_post(r, head, nr);
	} else {
		r->free_head = (uint16_t)d;
		r->nr_free -= (uint16_t)nr;
		vring_post(r, head, tail, nr);
	}
	v->stats.tx_packets++;
	v->stats.tx_bytes += total;
	v->stats.tx_turned++;
	v->stats.tx_csum_offload++;
	++*(csum_offset == VNET_CSUM_UDP ? &v->stats.tx_uso : &v->stats.tx_tso);
	return 0;
}

__attribute__((noinline))
static int cut_slow(struct vnet *v, const struct vnet_turn *part, unsigned int nr, uint16_t csum_start,
		    uint16_t csum_offset, uint16_t gso_bytes, uint16_t hdr_bytes, void *cookie)
{
	return v->error ? -EIO : v->path ? -EINVAL : do_cut(v, part, nr, csum_start, csum_offset, gso_bytes, hdr_bytes, cookie, true);
}

int vnet_tx_turn_cut(struct vnet *v, const struct vnet_turn *part, unsigned int nr, uint16_t csum_start,
		     uint16_t csum_offset, uint16_t gso_bytes, uint16_t hdr_bytes, void *cookie)
{
	if (__builtin_expect(v->slow, 0))
		return cut_slow(v, part, nr, csum_start, csum_offset, gso_bytes, hdr_bytes, cookie);
	return do_cut(v, part, nr, csum_start, csum_offset, gso_bytes, hdr_bytes, cookie, false);
}
