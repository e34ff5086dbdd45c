// SPDX-License-Identifier: MIT
/*
 * vnet: transmit.
 *
 * A frame is one chain of descriptors.  The head's own buffer holds the virtio
 * header and, behind it, what is copied: the whole frame (vnet_tx_copy()) or a
 * short first segment (vnet_tx()).  A copy of some 60 bytes of protocol
 * headers costs less than the device's work for one more descriptor.
 *
 * Free descriptors of a split ring are linked through vring_slot.next; a chain
 * is taken from the front of that list and so is linked already.  Those of a
 * packed ring follow each other.  Long chains take one descriptor, which names a
 * table of them.  The functions that queue a frame are written
 * once, with the kind of ring as a constant, and compiled for each.
 */
#include "vnet_internal.h"

#include <errno.h>
#include <string.h>

/* Whether the sum lies in a frame of @len bytes, and was negotiated. */
static inline bool csum_valid(const struct vnet *v, uint32_t len, uint16_t start, uint16_t offset)
{
	return !start || (v->tx_csum && (uint32_t)start + offset + 2 <= len);
}

/* struct virtio_net_hdr_v1 in two stores: it lies at a multiple of 2 only. */
static inline void write_hdr(struct vnet *v, uint8_t *p, uint16_t csum_start, uint16_t csum_offset,
			     uint64_t gso)
{
	uint64_t first = (uint64_t)csum_start << 48 | gso;
	uint32_t second = csum_offset;

	if (csum_start) {
		first |= VIRTIO_NET_HDR_F_NEEDS_CSUM;
		v->stats.tx_csum_offload++;
	}
	memcpy(p, &first, sizeof(first));
	memcpy(p + 8, &second, sizeof(second));
}

_Static_assert(offsetof(struct virtio_net_hdr_v1, flags) == 0 &&
	       offsetof(struct virtio_net_hdr_v1, gso_type) == 1 &&
	       offsetof(struct virtio_net_hdr_v1, hdr_len) == 2 &&
	       offsetof(struct virtio_net_hdr_v1, gso_size) == 4 &&
	       offsetof(struct virtio_net_hdr_v1, csum_start) == 6 &&
	       offsetof(struct virtio_net_hdr_v1, csum_offset) == 8 &&
	       VIRTIO_NET_HDR_GSO_NONE == 0, "write_hdr() knows the layout");

/* Descriptors for [addr, addr + len): 2 where physical memory breaks off at 2 MiB. */
static inline unsigned int pieces(const struct vnet *v, const uint8_t *addr, uint32_t len)
{
	size_t off = (uintptr_t)addr - (uintptr_t)v->mem.m.va;

	if (__builtin_expect((off >> NOMDRV_CHUNK_SHIFT) ==
			     ((off + len - 1) >> NOMDRV_CHUNK_SHIFT), 1))
		return 1;
	return vdma_is_piece(&v->mem, addr, len) ? 1 : 2;
}

/* Bytes from @addr to the next such break. */
static inline uint32_t to_break(const struct vnet *v, const uint8_t *addr)
{
	size_t off = (uintptr_t)addr - (uintptr_t)v->mem.m.va;

	return (uint32_t)(NOMDRV_CHUNK_BYTES - (off & (NOMDRV_CHUNK_BYTES - 1)));
}

#define ALWAYS	static inline __attribute__((always_inline))

/* One piece of the chain @head into descriptor @d; returns the next one of the chain. */
ALWAYS unsigned int put_piece(struct vnet *v, unsigned int head, unsigned int d, const uint8_t *addr,
			      uint32_t len, bool last, const bool packed)
{
	struct virtq *r = &v->txq;
	unsigned int next;

	if (packed)
		return vpacked_set(r, d, head, vdma_addr(&v->mem, addr), len,
				   last ? 0 : VRING_DESC_F_NEXT);
	next = r->slot[d].next;
	vring_set(r, d, vdma_addr(&v->mem, addr), len, last ? 0 : VRING_DESC_F_NEXT,
		  last ? 0 : next);
	return next;
}

ALWAYS unsigned int put_seg(struct vnet *v, unsigned int head, unsigned int d,
			    const struct vnet_seg *s, bool last, unsigned int *tail,
			    const bool packed)
{
	const uint8_t *addr = s->addr;
	uint32_t len = s->len;

	if (pieces(v, addr, len) == 2) {
		uint32_t first = to_break(v, addr);

		d = put_piece(v, head, d, addr, first, false, packed);
		addr += first;
		len -= first;
	}
	*tail = d;
	return put_piece(v, head, d, addr, len, last, packed);
}

/* The chain @head, of @need pieces, by way of a table: what do_tx() would put into the ring. */
ALWAYS void put_table(struct vnet *v, const struct vnet_tx *tx, unsigned int head, uint32_t first, unsigned int need,
		      const bool packed)
{
	vring_desc_t *table = vnet__tx_table(v, head);
	unsigned int i, at = 0;

	vnet__table_set(table, at++, need, vdma_addr(&v->mem, vnet__tx_buf(v, head)), VNET_HDR_BYTES + first, packed);
	for (i = first ? 1 : 0; i < tx->nr_seg; i++) {
		const uint8_t *addr = tx->seg[i].addr;
		uint32_t len = tx->seg[i].len;

		if (pieces(v, addr, len) == 2) {
			uint32_t n = to_break(v, addr);

			vnet__table_set(table, at++, need, vdma_addr(&v->mem, addr), n, packed);
			addr += n;
			len -= n;
		}
		vnet__table_set(table, at++, need, vdma_addr(&v->mem, addr), len, packed);
	}
	vnet__table_post(v, head, need, packed);
}

/* Out of the way of short frames. */
__attribute__((noinline))
static void put_table_split(struct vnet *v, const struct vnet_tx *tx, unsigned int head, uint32_t first, unsigned int need)
{
	put_table(v, tx, head, first, need, false);
}

__attribute__((noinline))
static void put_table_packed(struct vnet *v, const struct vnet_tx *tx, unsigned int head, uint32_t first, unsigned int need)
{
	put_table(v, tx, head, first, need, true);
}

ALWAYS int do_tx(struct vnet *v, const struct vnet_tx *tx, const bool packed)
{
	struct virtq *r = &v->txq;
	const struct vnet_seg *seg = tx->seg;
	const bool gso = tx->gso_bytes;
	unsigned int nr_seg = tx->nr_seg, need = 1, head, tail, d, i;
	bool tabled;
	uint32_t total = 0, first = 0;
	uint8_t *buf;

	/* First everything that can be wrong, then act. */
	if (!nr_seg || nr_seg > (gso ? VNET_TSO_SEG_MAX : VNET_TX_SEG_MAX))
		return -EINVAL;
	if (seg[0].len <= VNET_TX_INLINE_BYTES)
		first = seg[0].len;
	for (i = 0; i < nr_seg; i++) {
		uint32_t len = seg[i].len;

		if (!len || len > VNET_TSO_MAX_BYTES)	/* so that the total cannot wrap */
			return -EINVAL;
		total += len;
		if (!i && first)
			continue;
		if (!vdma_contains(&v->mem, seg[i].addr, len))
			return -EINVAL;
		need += pieces(v, seg[i].addr, len);
	}
	if (total < VNET_ETH_BYTES || total > (gso ? VNET_TSO_MAX_BYTES : v->tx_frame_max) ||
	    need > r->size || !csum_valid(v, total, tx->csum_start, tx->csum_offset) ||
	    (gso && !(tx->hdr_bytes == seg[0].len &&
		      vnet__gso_ok(v, seg[0].addr, seg[0].len, total, tx->csum_start, tx->csum_offset,
				   tx->gso_bytes, tx->hdr_bytes))))
		return -EINVAL;
	tabled = vnet__tx_tabled(v, need);
	if ((tabled ? 1 : need) > r->nr_free) {
		v->stats.tx_full++;
		return -EAGAIN;
	}

	head = tail = packed ? vpacked_id(r) : r->free_head;
	buf = vnet__tx_buf(v, head);
	write_hdr(v, buf, tx->csum_start, tx->csum_offset,
		  gso ? vnet__gso_word(seg[0].addr, tx->csum_offset, tx->gso_bytes, tx->hdr_bytes) : 0);
	if (first)
		memcpy(buf + VNET_HDR_BYTES, seg[0].addr, first);
	v->tx_cookie[head] = tx->cookie;
	if (tabled) {
		if (packed)
			put_table_packed(v, tx, head, first, need);
		else
			put_table_split(v, tx, head, first, need);
		goto queued;
	}
	d = put_piece(v, head, packed ? r->avail_idx : head, buf, VNET_HDR_BYTES + first, need == 1,
		      packed);
	for (i = first ? 1 : 0; i < nr_seg; i++)
		d = put_seg(v, head, d, &seg[i], i + 1 == nr_seg, &tail, packed);
	if (packed) {
		vpacked_post(r, head, need);
	} else {
		r->free_head = (uint16_t)d;
		r->nr_free -= (uint16_t)need;
		vring_post(r, head, tail, need);
	}
queued:
	v->stats.tx_packets++;
	v->stats.tx_bytes += total;
	if (gso)
		++*(tx->csum_offset == VNET_CSUM_UDP ? &v->stats.tx_uso : &v->stats.tx_tso);
	return 0;
}

__attribute__((noinline))
static int tx_slow(struct vnet *v, const struct vnet_tx *tx)
{
	if (v->path && !v->error)
		return !tx->nr_seg || tx->nr_seg > VNET_TX_SEG_MAX || tx->csum_start || tx->gso_bytes ? -EINVAL :
		       v->path->tx(v, tx->seg, tx->nr_seg, tx->cookie);
	return v->error ? -EIO : do_tx(v, tx, true);
}

int vnet_tx(struct vnet *v, const struct vnet_tx *tx)
{
	return __builtin_expect(v->slow, 0) ? tx_slow(v, tx) : do_tx(v, tx, false);
}

ALWAYS int do_tx_copy(struct vnet *v, const struct vnet_seg *seg, unsigned int nr_seg,
		      uint16_t csum_start, uint16_t csum_offset, const bool packed)
{
	struct virtq *const r = &v->txq;
	uint64_t total = 0;
	unsigned int i, d;
	uint8_t *buf, *p;

	if (nr_seg - 1u >= VNET_TX_SEG_MAX)
		return -EINVAL;
	for (i = 0; i < nr_seg; i++) {
		if (!seg[i].len)
			return -EINVAL;
		total += seg[i].len;
	}
	if (total - VNET_ETH_BYTES > v->tx_copy_max - VNET_ETH_BYTES ||
	    !csum_valid(v, (uint32_t)total, csum_start, csum_offset))
		return -EINVAL;
	if (!r->nr_free) {
		v->stats.tx_full++;
		return -EAGAIN;
	}

	d = packed ? vpacked_id(r) : vring_get(r);
	buf = vnet__tx_buf(v, d);
	write_hdr(v, buf, csum_start, csum_offset, 0);
	p = buf + VNET_HDR_BYTES;
	for (i = 0; i < nr_seg; i++) {
		memcpy(p, seg[i].addr, seg[i].len);
		p += seg[i].len;
	}
	v->tx_cookie[d] = NULL;
	if (packed) {
		vpacked_set(r, r->avail_idx, d, vdma_addr(&v->mem, buf),
			    VNET_HDR_BYTES + (uint32_t)total, 0);
		vpacked_post(r, d, 1);
	} else {
		vring_set(r, d, vdma_addr(&v->mem, buf), VNET_HDR_BYTES + (uint32_t)total, 0, 0);
		vring_post(r, d, d, 1);
	}
	v->stats.tx_packets++;
	v->stats.tx_bytes += total;
	v->stats.tx_copies++;
	return 0;
}

__attribute__((noinline))
static int tx_copy_slow(struct vnet *v, const struct vnet_seg *seg, unsigned int nr_seg,
			uint16_t csum_start, uint16_t csum_offset)
{
	int err;

	if (v->path && !v->error) {
		err = nr_seg - 1u >= VNET_TX_SEG_MAX || csum_start ? -EINVAL : v->path->tx(v, seg, nr_seg, NULL);
		v->stats.tx_copies += !err;
		return err;
	}
	return v->error ? -EIO : do_tx_copy(v, seg, nr_seg, csum_start, csum_offset, true);
}

int vnet_tx_copy(struct vnet *v, const struct vnet_seg *seg, unsigned int nr_seg,
		 uint16_t csum_start, uint16_t csum_offset)
{
	if (__builtin_expect(v->slow, 0))
		return tx_copy_slow(v, seg, nr_seg, csum_start, csum_offset);
	return do_tx_copy(v, seg, nr_seg, csum_start, csum_offset, false);
}

/* After a stop no used entry comes any more: everything outstanding is the caller's. */
unsigned int vnet__reap_stopped(struct vnet *v, vnet_tx_done_fn done, void *arg)
{
	struct virtq *r = &v->txq;
	unsigned int before = r->nr_free, d;

	for (d = 0; d < r->size; d++) {
		void *cookie = v->tx_cookie[d];

		if (!r->slot[d].nr)
			continue;
		vring_put(r, d);
		v->stats.tx_unsure++;
		v->tx_cookie[d] = NULL;
		if (cookie && done)
			done(cookie, arg);
	}
	return r->nr_free - before;
}

__attribute__((noinline))
static unsigned int reap(struct vnet *v, unsigned int n, vnet_tx_done_fn done, void *arg)
{
	struct virtq *r = &v->txq;
	unsigned int freed = 0;

	while (n--) {
		unsigned int head;
		void *cookie;
		uint32_t len;

		head = vring_take(r, &len);
		if (__builtin_expect(head == VRING_BAD, 0)) {
			vnet__fail(v, "transmit queue: used entry %u names descriptor %u, which is not outstanding",
				   r->last_used, len);
			return freed + vnet__reap_stopped(v, done, arg);
		}
		cookie = v->tx_cookie[head];
		freed += r->slot[head].nr;
		vring_put(r, head);
		if (!cookie || !done)
			continue;
		done(cookie, arg);
		if (__builtin_expect(v->error, 0))	/* it queued a frame and met the end */
			break;
	}
	vring_irq_quiet(r);
	return freed;
}

unsigned int vnet_tx_reap(struct vnet *v, vnet_tx_done_fn done, void *arg)
{
	struct virtq *r = &v->txq;
	unsigned int n;

	if (__builtin_expect(v->slow, 0))
		return vnet__tx_reap_slow(v, done, arg);
	n = vring_pending(r);
	if (!n)
		return 0;
	if (__builtin_expect(n == VRING_BAD, 0)) {
		vnet__fail(v, "transmit queue: used index ran ahead, %u announced, at %u, device says %u",
			   vring_outstanding(r), r->last_used, vb_load_used_idx(&r->used->idx));
		return vnet__reap_stopped(v, done, arg);
	}
	return reap(v, n, done, arg);
}

unsigned int vnet_tx_room(const struct vnet *v)
{
	return v->error ? 0 : v->txq.nr_free;
}

bool vnet_tx_fits(const struct vnet *v, unsigned int need)
{
	unsigned int room = vnet_tx_room(v);

	/* It may turn out shorter than @need, and too short for a table. */
	return room >= need || (vnet__tx_tabled(v, need) && room >= v->tx_table_min - 1u);
}

unsigned int vnet_tx_queued(const struct vnet *v)
{
	/* A packed ring counts descriptors. */
	return v->packed ? (unsigned int)(v->stats.tx_packets - v->tx_announced) : vring_queued(&v->txq);
}

__attribute__((noinline))
static void flush_slow(struct vnet *v)
{
	if (v->error)
		return;
	if (v->path) {
		v->path->tx_flush(v);
		return;
	}
	v->tx_announced = v->stats.tx_packets;
	vnet__announce(v, VNET_TXQ, &v->stats.doorbells_tx);
}

void vnet_tx_flush(struct vnet *v)
{
	if (!vring_queued(&v->txq))
		return;
	if (__builtin_expect(v->slow, 0)) {
		flush_slow(v);
		return;
	}
	if (vring_announce(&v->txq)) {
		v->dev->ops->kick(v->dev, VNET_TXQ);
		v->stats.doorbells_tx++;
	} else {
		v->stats.doorbells_suppressed++;
	}
}
