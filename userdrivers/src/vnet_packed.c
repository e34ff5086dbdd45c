// SPDX-License-Identifier: MIT
/*
 * vnet: the data path of packed rings, and of a stopped interface.
 *
 * The functions of vnet_rx.c and vnet_tx.c ask one question, "slow?", and come
 * here if so: neither a stop nor the second kind of ring costs the first kind
 * an instruction.  Nor does what has no rings of virtio at all (struct vnet_path).  What is queued for transmit is in vnet_tx.c for both.
 */
#include "vnet_internal.h"

#include <string.h>

unsigned int vnet__rx_pending_slow(const struct vnet *v)
{
	const struct virtq *r = &v->rxq;
	unsigned int left = vring_outstanding(r), n;

	if (v->error)
		return 0;
	if (v->path)
		return v->path->rx_pending(v);
	if (!left)	/* a lie, if anything: have the caller come and look */
		return vpacked_is_used(r, r->last_used);
	for (n = 0; n < left && vpacked_is_used(r, r->last_used + n); n++)
		;
	return n;
}

unsigned int vnet__rx_burst_slow(struct vnet *v, struct vnet_rx *out, unsigned int max)
{
	struct virtq *const r = &v->rxq;
	unsigned int got = 0, n;

	if (v->path)
		return v->error ? 0 : v->path->rx_burst(v, out, max);
	for (n = 0; !v->error && n < max && vpacked_is_used(r, r->last_used); n++) {
		uint32_t len, csum_ok;
		unsigned int id, buf;
		uint16_t word;
		uint8_t *hdr;

		if (!vring_outstanding(r)) {
			vnet__rx_ran_ahead(v);
			break;
		}
		id = vpacked_peek(r, &len);
		/* Lengths are not known of buffers that are skipped: none may be. */
		if (id == VRING_BAD || (r->in_order && id != (r->last_used & r->mask))) {
			vnet__rx_bad_id(v, r->last_used & r->mask, id == VRING_BAD ? len : id);
			break;
		}
		buf = r->slot[id].user;
		vpacked_take(r, id);
		vring_put(r, id);
		if (len - VNET_HDR_BYTES > VNET_FRAME_MAX_BYTES) {
			vnet__spare(v, buf);
			vnet__rx_bad_len(v, len);
			break;
		}
		len -= VNET_HDR_BYTES;
		hdr = vnet__rx_buf(v, buf);
		memcpy(&word, hdr, sizeof(word));	/* flags and gso_type, once */
		if (len < VNET_ETH_BYTES || word >> 8) {
			v->stats.rx_bad++;
			vnet__spare(v, buf);
			continue;
		}
		v->rx_state[buf] = VNET_BUF_HELD;
		csum_ok = (word & v->rx_csum_mask) != 0;
		out[got++] = (struct vnet_rx){
			.data = hdr + VNET_HDR_BYTES, .len = len, .id = (uint16_t)buf,
			.flags = (uint16_t)csum_ok,
		};
		v->stats.rx_bytes += len;
		v->stats.rx_csum_ok += csum_ok;
	}
	v->stats.rx_packets += got;
	return got;
}

void vnet__rx_post_packed(struct vnet *v, unsigned int n)
{
	struct virtq *const r = &v->rxq;

	while (n--) {
		unsigned int buf = v->rx_spare[--v->rx_nr_spare], id = vpacked_id(r);

		v->rx_state[buf] = VNET_BUF_POSTED;
		r->slot[id].user = (uint16_t)buf;
		vpacked_set(r, r->avail_idx, id, v->rx_dma[buf], VNET_DESC_BYTES, VRING_DESC_F_WRITE);
		vpacked_post(r, id, 1);
	}
}

/* The chain @id goes back to the caller; returns its descriptors. */
static unsigned int reap_chain(struct vnet *v, unsigned int id, vnet_tx_done_fn done, void *arg)
{
	struct virtq *r = &v->txq;
	void *cookie = v->tx_cookie[id];
	unsigned int nr = r->slot[id].nr;

	vpacked_take(r, id);
	vring_put(r, id);
	if (cookie && done)
		done(cookie, arg);
	return nr;
}

unsigned int vnet__tx_reap_slow(struct vnet *v, vnet_tx_done_fn done, void *arg)
{
	struct virtq *r = &v->txq;
	unsigned int freed = 0, left = vring_outstanding(r);

	if (v->path)
		return v->path->tx_reap(v, done, arg);
	/* No more than were outstanding at first: @done may queue and announce, without end. */
	while (!v->error && freed < left && vpacked_is_used(r, r->last_used)) {
		unsigned int id, next = r->last_used & r->mask;
		uint32_t len;

		id = vpacked_peek(r, &len);
		/* In order, the chains before the one that is named are done, too. */
		for (; r->in_order && id != VRING_BAD && next != id; next = r->last_used & r->mask) {
			if (!vring_outstanding(r) || v->error)
				break;
			freed += reap_chain(v, next, done, arg);
		}
		if (v->error)	/* @done queued a frame and met the end */
			break;
		if (id == VRING_BAD || (r->in_order && (next != id || !vring_outstanding(r)))) {
			vnet__fail(v, "transmit queue: used entry %u names descriptor %u, which is not outstanding",
				   r->last_used & r->mask, id == VRING_BAD ? len : id);
			break;
		}
		freed += reap_chain(v, id, done, arg);
	}
	/* Marked used, though nothing is outstanding: as a used index that ran ahead. */
	if (!v->error && !left && vpacked_is_used(r, r->last_used))
		vnet__fail(v, "transmit queue: device ran ahead, it marked descriptor %u used, which it was not given",
			   r->last_used & r->mask);
	return v->error ? freed + vnet__reap_stopped(v, done, arg) : freed;
}
