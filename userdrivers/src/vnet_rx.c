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

#include <string.h>

unsigned int vnet_rx_pending(const struct vnet *v)
{
	unsigned int n;

	if (__builtin_expect(v->slow, 0))
		return vnet__rx_pending_slow(v);
	n = vring_pending(&v->rxq);
	/* A runaway index is judged in vnet_rx_burst(): make the caller go there. */
	return n == VRING_BAD ? 1 : n;
}

unsigned int vnet_rx_room(const struct vnet *v)
{
	unsigned int n;

	if (__builtin_expect(v->slow, 0)) {
		n = vnet__rx_pending_slow(v);
		return v->error || n > vring_outstanding(&v->rxq) ? 0 : vring_outstanding(&v->rxq) - n;
	}
	n = vring_pending(&v->rxq);
	return n == VRING_BAD ? 0 : vring_outstanding(&v->rxq) - n;
}

unsigned int vnet_rx_size(const struct vnet *v)
{
	return v->rxq.size;
}

unsigned int vnet__rx_ran_ahead(struct vnet *v)
{
	if (v->packed)
		vnet__fail(v, "receive queue: device ran ahead, it marked descriptor %u used, which it was not given",
			   v->rxq.last_used & v->rxq.mask);
	else
		vnet__fail(v, "receive queue: used index ran ahead, %u announced, at %u, device says %u",
			   vring_outstanding(&v->rxq), v->rxq.last_used,
			   vb_load_used_idx(&v->rxq.used->idx));
	return 0;
}

void vnet__rx_bad_id(struct vnet *v, unsigned int at, uint32_t id)
{
	vnet__fail(v, "receive queue: used entry %u names descriptor %u, which is not outstanding",
		   (uint16_t)at, id);
}

void vnet__rx_bad_len(struct vnet *v, uint32_t len)
{
	vnet__fail(v, "receive queue: device wrote %u bytes, buffer is %u, header %u",
		   len, VNET_DESC_BYTES, VNET_HDR_BYTES);
}

_Static_assert(VIRTIO_NET_HDR_GSO_NONE == 0 && VNET_RX_CSUM_OK == 1, "vnet__rx_header_word() users");

/*
 * Written once, and compiled for buffers that are whole frames (@mrg false), and
 * for MRG_RXBUF, where it ends before the first frame that is not in one buffer, or
 * of many segments: *left_out tells that one is left.  What that costs the others
 * is the look at the number of buffers, two instructions a frame.
 *
 * What is kept in variables is what the loop needs: there are no more registers.
 */
static inline __attribute__((always_inline))
unsigned int do_take(struct vnet *v, struct vnet_rx *const out, unsigned int n, const bool mrg, unsigned int *left_out)
{
	struct virtq *const r = &v->rxq;
	const vring_used_elem_t *const ring = r->used->ring;
	struct vring_slot *const slot = r->slot;
	uint8_t *const base = v->rx_base + VNET_BUF_SKIP, *const state = v->rx_state;
	const unsigned int mask = r->mask, csum_mask = v->rx_csum_mask;
	unsigned int used = r->last_used, free_head = r->free_head;
	uint32_t bytes = 0, csum_ok = 0;
	struct vnet_rx *rx = out;

	for (; n; n--) {
		const vring_used_elem_t *e = &ring[used & mask];
		uint32_t id = vb_load_used_elem(&e->id), len = vb_load_used_elem(&e->len);
		unsigned int buf, word;
		uint8_t *hdr;

		if (__builtin_expect(id > mask || !slot[id].nr, 0)) {
			vnet__rx_bad_id(v, used, id);
			break;
		}
		buf = slot[id].user;
		hdr = base + ((size_t)buf << VNET_BUF_SHIFT);
		word = vnet__rx_header_word(hdr);
		if (mrg && __builtin_expect(vnet__rx_nr_buffers(hdr) != 1 || word >> 8, 0))
			break;
		slot[id] = (struct vring_slot){ .next = (uint16_t)free_head };
		free_head = id;
		used++;
		if (__builtin_expect(len - VNET_HDR_BYTES > VNET_FRAME_MAX_BYTES, 0)) {
			vnet__spare(v, buf);
			vnet__rx_bad_len(v, len);
			break;
		}
		len -= VNET_HDR_BYTES;
		if (__builtin_expect(len < VNET_ETH_BYTES || (!mrg && word >> 8), 0)) {
			v->stats.rx_bad++;
			vnet__spare(v, buf);
			continue;
		}
		state[buf] = VNET_BUF_HELD;
		word = (word & csum_mask) != 0;
		rx->data = hdr + VNET_HDR_BYTES;
		rx->len = len;
		rx->id = (uint16_t)buf;
		rx->flags = (uint16_t)word;
		bytes += len;
		csum_ok += word;
		rx++;
	}
	r->nr_free += (uint16_t)(used - r->last_used);
	r->last_used = (uint16_t)used;
	r->free_head = (uint16_t)free_head;
	v->stats.rx_packets += (size_t)(rx - out);
	v->stats.rx_bytes += bytes;
	v->stats.rx_csum_ok += csum_ok;
	vring_irq_quiet(r);
	*left_out = n;
	return (unsigned int)(rx - out);
}

static unsigned int take_frames(struct vnet *v, struct vnet_rx *out, unsigned int max, unsigned int pending)
{
	unsigned int left;

	return do_take(v, out, pending < max ? pending : max, false, &left);
}

/* Where it ends early, for an error, too, vnet__rx_burst_mrg() knows what to do. */
static unsigned int take_mrg(struct vnet *v, struct vnet_rx *out, unsigned int max, unsigned int pending)
{
	unsigned int left, got = do_take(v, out, pending < max ? pending : max, true, &left);

	return __builtin_expect(left, 0) ? vnet__rx_burst_mrg(v, out, max, got) : got;
}

void vnet__rx_choose(struct vnet *v)
{
	v->rx_take = v->rx_mrg ? take_mrg : take_frames;
}

/* Apart, so that the common case below is small enough to be inlined. */
__attribute__((noinline))
static unsigned int burst_slow(struct vnet *v, struct vnet_rx *out, unsigned int max)
{
	return v->rx_mrg ? vnet__rx_burst_mrg(v, out, max, 0) : vnet__rx_burst_slow(v, out, max);
}

unsigned int vnet_rx_burst(struct vnet *v, struct vnet_rx *out, unsigned int max)
{
	unsigned int n;

	if (__builtin_expect(v->slow, 0))
		return burst_slow(v, out, max);
	n = vring_pending(&v->rxq);
	if (!n)
		return 0;
	if (__builtin_expect(n == VRING_BAD, 0))
		return vnet__rx_ran_ahead(v);
	return v->rx_take(v, out, max, n);
}

void vnet_rx_release(struct vnet *v, uint16_t id)
{
	if (__builtin_expect(id >= v->rx_nr_bufs || v->rx_state[id] != VNET_BUF_HELD, 0))
		nomdrv__bug(__func__, "a held buffer", id);
	vnet__spare(v, id);
}

void *vnet_rx_priv(struct vnet *v, uint16_t id)
{
	return v->rx_priv + (size_t)id * VNET_PRIV_BYTES;
}

/* Length and flags of a receive descriptor never change: vnet__rx_fill() sets them. */
__attribute__((noinline))
static void post_spares(struct vnet *v, unsigned int n)
{
	struct virtq *const r = &v->rxq;
	struct vring_slot *const slot = r->slot;
	uint16_t *const avail = r->avail->ring, *spares = v->rx_spare + v->rx_nr_spare;
	vring_desc_t *const desc = r->desc;
	const uint64_t *const dma = v->rx_dma;
	uint8_t *const state = v->rx_state;
	const unsigned int mask = r->mask;
	unsigned int d = r->free_head, idx = r->avail_idx, i;

	for (i = n; i; i--) {
		unsigned int buf = *--spares, next = slot[d].next;

		state[buf] = VNET_BUF_POSTED;
		desc[d].addr = dma[buf];
		slot[d] = (struct vring_slot){ .tail = (uint16_t)d, .nr = 1, .user = (uint16_t)buf };
		avail[idx++ & mask] = (uint16_t)d;
		d = next;
	}
	r->free_head = (uint16_t)d;
	r->avail_idx = (uint16_t)idx;
	r->nr_free -= (uint16_t)n;
	v->rx_nr_spare -= (uint16_t)n;
}

static inline unsigned int postable(const struct vnet *v)
{
	return v->rx_nr_spare < v->rxq.nr_free ? v->rx_nr_spare : v->rxq.nr_free;
}

__attribute__((noinline))
static void flush_slow(struct vnet *v, unsigned int n)
{
	if (v->error)
		return;
	if (v->path) {
		v->path->rx_flush(v, n);
		return;
	}
	vnet__rx_post_packed(v, n);
	vnet__announce(v, VNET_RXQ, &v->stats.doorbells_rx);
}

/* Frequent and mostly empty-handed: no prologue before it is clear that there is work. */
void vnet_rx_flush(struct vnet *v)
{
	unsigned int n = postable(v);

	if (!n)
		return;
	if (__builtin_expect(v->slow, 0)) {
		flush_slow(v, n);
		return;
	}
	post_spares(v, n);
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

	for (i = 0; !v->packed && i < v->rxq.size; i++)
		vring_set(&v->rxq, i, 0, VNET_DESC_BYTES, VRING_DESC_F_WRITE, 0);
	for (i = 0; i < v->rx_nr_bufs; i++)
		v->rx_dma[i] = vdma_addr(&v->mem, vnet__rx_buf(v, i));
	v->rx_nr_spare = 0;
	for (i = v->rx_nr_bufs; i-- > 0;)
		if (v->rx_state[i] != VNET_BUF_HELD)
			vnet__spare(v, i);
	if (v->packed)
		vnet__rx_post_packed(v, postable(v));
	else
		post_spares(v, postable(v));
}
