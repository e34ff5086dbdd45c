// SPDX-License-Identifier: MIT
/*
 * vnet: receive with MRG_RXBUF - a frame in one or several buffers, for both
 * kinds of ring (virtio 1.2, 5.1.6.4).
 *
 * The first buffer's header says how many there are.  The device has to fill
 * all but the last to the end and to use them together, so that a frame is
 * there as a whole or not at all; a device that does otherwise has broken the
 * protocol, and nothing of its frame is handed up.  So the bounds are:
 *   - 1 to VNET_RX_SEG_MAX buffers, all of them used and outstanding;
 *   - all but the last written to the end, the last by no more than it has,
 *     and by at least a byte;
 *   - VNET_RX_LARGE_MAX_BYTES altogether.
 *
 * The header lies where the device may change it: each word is read once by who
 * acts on it.
 *
 * Most frames take one buffer and hold one packet even so; those of a split ring are
 * taken by the loop that is there for them (vnet_rx.c), which comes here with the first
 * that is not so, and the rest of the burst.
 */
#include "vnet_internal.h"

/* Used buffers that are there, as far as @want. */
static inline unsigned int used_now(const struct vnet *v, unsigned int pending, unsigned int want)
{
	const struct virtq *r = &v->rxq;
	unsigned int n, left;

	if (!v->packed)
		return pending < want ? pending : want;
	left = vring_outstanding(r);
	for (n = 0; n < want && n < left && vpacked_is_used(r, r->last_used + n); n++)
		;
	return n;
}

/* The next used entry; VRING_BAD when it names nothing that is outstanding, with the id in *len_out. */
static inline unsigned int look(const struct vnet *v, uint32_t *len_out)
{
	const struct virtq *r = &v->rxq;
	const vring_used_elem_t *e;
	unsigned int id;

	if (v->packed) {
		id = vpacked_peek(r, len_out);
		/* Lengths are not known of buffers that are skipped: none may be. */
		if (id != VRING_BAD && r->in_order && id != (r->last_used & r->mask)) {
			*len_out = id;
			return VRING_BAD;
		}
		return id;
	}
	e = &r->used->ring[r->last_used & r->mask];
	id = vb_load_used_elem(&e->id);
	if (__builtin_expect(id > r->mask || !r->slot[id].nr, 0)) {
		*len_out = id;
		return VRING_BAD;
	}
	*len_out = vb_load_used_elem(&e->len);
	return id;
}

static inline void take(struct vnet *v, unsigned int id)
{
	struct virtq *r = &v->rxq;

	if (v->packed)
		vpacked_take(r, id);
	else
		r->last_used++;
	vring_put(r, id);
}

static void drop(struct vnet *v, const uint16_t *buf, unsigned int nr)
{
	v->stats.rx_bad++;
	while (nr--)
		vnet__spare(v, buf[nr]);
}

/* What the first buffer's header must not say. */
__attribute__((cold, noinline))
static int bad_number(struct vnet *v, unsigned int nr, unsigned int there)
{
	if (!nr || nr > VNET_RX_SEG_MAX)
		vnet__fail(v, "receive queue: device says that a frame takes %u buffers, 1 to %u can be",
			   nr, VNET_RX_SEG_MAX);
	else
		vnet__fail(v, "receive queue: device says that a frame takes %u buffers and has used %u",
			   nr, there);
	return -1;
}

/*
 * The next frame into @out.  Returns its buffers, 0 when it was dropped, -1 when
 * it does not fit or the device broke the protocol.  A buffer taken from a
 * broken device is neither held nor spare: vnet_restart() finds it.
 */
static int frame(struct vnet *v, unsigned int pending, struct vnet_rx *out, unsigned int max)
{
	uint16_t buf[VNET_RX_SEG_MAX];
	unsigned int id, i, there, word = 0, nr = 1;
	uint32_t len, total = 0, csum_ok;

	for (i = 0; i < nr; i++) {
		uint8_t *p;

		id = look(v, &len);
		if (__builtin_expect(id == VRING_BAD, 0)) {
			vnet__rx_bad_id(v, v->rxq.last_used & v->rxq.mask, len);
			return -1;
		}
		buf[i] = v->rxq.slot[id].user;
		p = vnet__rx_buf(v, buf[i]);
		if (!i) {
			word = vnet__rx_header_word(p);
			nr = vnet__rx_nr_buffers(p);
			if (__builtin_expect(nr - 1u >= VNET_RX_SEG_MAX, 0))
				return bad_number(v, nr, 0);
			if (nr > max)
				return -1;
			there = nr == 1 ? 1 : used_now(v, pending, nr);
			if (__builtin_expect(there < nr, 0))
				return bad_number(v, nr, there);
		}
		if (__builtin_expect(len > VNET_DESC_BYTES || len < (i ? 1 : VNET_HDR_BYTES), 0)) {
			vnet__rx_bad_len(v, len);
			return -1;
		}
		if (__builtin_expect(len != VNET_DESC_BYTES && i + 1 < nr, 0)) {
			vnet__fail(v, "receive queue: device wrote %u of %u bytes of buffer %u and went on in the next",
				   len, VNET_DESC_BYTES, i);
			return -1;
		}
		take(v, id);
		out[i] = (struct vnet_rx){
			.data = p, .len = len, .id = buf[i], .flags = i + 1 < nr ? VNET_RX_MORE : 0,
		};
		total += len;
	}
	total -= VNET_HDR_BYTES;
	if (__builtin_expect(total > VNET_RX_LARGE_MAX_BYTES, 0)) {
		vnet__fail(v, "receive queue: device wrote a frame of %u bytes, %u can be", total,
			   VNET_RX_LARGE_MAX_BYTES);
		return -1;
	}
	if (__builtin_expect(total < VNET_ETH_BYTES || !vnet__rx_gso_ok(v, word), 0)) {
		drop(v, buf, nr);
		return 0;
	}
	for (i = 0; i < nr; i++)
		v->rx_state[buf[i]] = VNET_BUF_HELD;
	csum_ok = (word & v->rx_csum_mask) != 0;
	out[0].data = (uint8_t *)out[0].data + VNET_HDR_BYTES;
	out[0].len -= VNET_HDR_BYTES;
	out[0].flags |= (uint16_t)((csum_ok ? VNET_RX_CSUM_OK : 0) | (word >> 8 ? VNET_RX_LARGE : 0));
	v->stats.rx_packets++;
	v->stats.rx_bytes += total;
	v->stats.rx_csum_ok += csum_ok;
	v->stats.rx_large += word >> 8 != 0;
	v->stats.rx_merged += nr > 1;
	return (int)nr;
}

_Static_assert((VNET_RX_LARGE_MAX_BYTES + sizeof(struct virtio_net_hdr_v1) + VNET_DESC_BYTES - 1) /
	       VNET_DESC_BYTES == VNET_RX_SEG_MAX, "buffers of the longest frame");

unsigned int vnet__rx_burst_mrg(struct vnet *v, struct vnet_rx *out, unsigned int max, unsigned int got)
{
	struct virtq *const r = &v->rxq;
	unsigned int pending = 0;

	if (v->error)
		return got;
	if (__builtin_expect(max < VNET_RX_SEG_MAX, 0))
		nomdrv__bug(__func__, "room for the longest frame", (long)max);
	if (!v->packed) {
		pending = vring_pending(r);
		if (__builtin_expect(pending == VRING_BAD, 0)) {
			vnet__rx_ran_ahead(v);
			return got;
		}
	}
	while (!v->error) {
		uint16_t at = r->last_used;
		unsigned int room = max - got;
		int n;

		if (v->packed ? !vpacked_is_used(r, at) : !pending)
			break;
		if (v->packed && !vring_outstanding(r)) {
			vnet__rx_ran_ahead(v);
			break;
		}
		if (!room)
			break;
		n = frame(v, pending, out + got, room);
		if (n < 0)
			break;
		got += (unsigned int)n;
		pending -= (uint16_t)(r->last_used - at);
	}
	if (!v->packed)
		vring_irq_quiet(r);
	return got;
}
