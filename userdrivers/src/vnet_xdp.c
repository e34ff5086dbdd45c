// SPDX-License-Identifier: MIT
/*
 * vnet on an AF_XDP socket: the data path, and opening.
 *
 * A received frame stays in the buffer that the kernel, or the device, wrote it to, and
 * the stack has it there.  A frame to be sent goes from where it lies if that is one of these
 * buffers, as with an answer written over its request; else it is copied into a buffer of
 * its own.  Completions come in the order of sending, in all modes, so that a place in the
 * ring is all that is known of a frame.
 *
 * Each ring has one producer and one consumer; who writes an index releases what is before
 * it, who reads the other's acquires.  The partners are xskq_prod_submit(),
 * xskq_cons_release() and their readers in net/xdp/xsk_queue.h of the kernel.
 */
#include "vnet_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "vtrans_xdp.h"

#define FLUSH_TRIES	2048u	/* system calls for one flush: each but the last takes frames, or loses one */
#define FLUSH_BATCH	32u	/* frames that one takes at most (TX_BATCH_SIZE of the kernel) */

static inline struct xdp_dev *xdp_of(const struct vnet *v)
{
	return (struct xdp_dev *)v->root;
}

static inline uint32_t theirs(const uint32_t *index)
{
	return __atomic_load_n(index, __ATOMIC_ACQUIRE);
}

static inline void tell(uint32_t *index, uint32_t value)
{
	__atomic_store_n(index, value, __ATOMIC_RELEASE);
}

static inline bool wants_wakeup(const struct xdp_ring *r)
{
	return __atomic_load_n(r->flags, __ATOMIC_RELAXED) & XDP_RING_NEED_WAKEUP;
}

/* ----------------------------------------------------------------- flush --- */

/* How many the kernel has not taken yet; it is what vnet_tx_queued() tells. */
static uint32_t not_taken(struct vnet *v)
{
	struct xdp_dev *d = xdp_of(v);
	uint32_t left = d->tx_next - theirs(d->tx.consumer);

	v->txq.announced = (uint16_t)(v->txq.avail_idx - left);
	return left;
}

/*
 * In copy mode a call takes some, and says EAGAIN if there are more, and if the device has
 * no room or there is no memory, too; what it took it publishes only when it has taken all. So
 * as often as all of them need, and the rest is tried again by the next look at what came:
 * nobody tells when there is room.
 */
static void xdp_tx_flush(struct vnet *v)
{
	struct xdp_dev *d = xdp_of(v);
	unsigned int tries, again;

	tell(d->tx.producer, d->tx_next);
	d->tx_stuck = false;
	if (!wants_wakeup(&d->tx)) {
		v->stats.doorbells_suppressed++;
		v->txq.announced = v->txq.avail_idx;
		return;
	}
	again = not_taken(v) / FLUSH_BATCH + 1;
	for (tries = 0; tries < FLUSH_TRIES; tries++) {
		v->stats.doorbells_tx++;
		if (send(d->fd, NULL, 0, MSG_DONTWAIT) >= 0)
			break;
		switch (errno) {
		case EBUSY:	/* the interface dropped one; those behind it still wait */
			v->stats.tx_lost++;
			continue;
		case EAGAIN:
			if (again--)
				continue;
			d->tx_stuck = true;
			return;
		case EINTR:
		case ENOBUFS:
			d->tx_stuck = true;
			return;
		case ENETDOWN:	/* vnet_check() tells of the link, and has them leave when it is back */
			v->txq.announced = v->txq.avail_idx;
			d->kif.down = true;
			return;
		default:
			vnet__fail(v, "AF_XDP socket on %s: cannot send: %s", d->kif.name, strerror(errno));
			return;
		}
	}
	/* In copy mode the call takes them, else the driver does when it comes to it. */
	if (d->mode == VNET_XDP_ZERO_COPY)
		v->txq.announced = v->txq.avail_idx;
	else
		d->tx_stuck = not_taken(v) != 0;	/* the ring of completions was full */
}

/* --------------------------------------------------------------- receive --- */

/* Busy polling: the driver looks for frames while we are in the system call. */
static unsigned int look(struct xdp_dev *d)
{
	unsigned int n = theirs(d->rx.producer) - d->rx_next;

	if (n || !d->busy_us)
		return n;
	d->v->stats.busy_polls++;
	recv(d->fd, NULL, 0, MSG_DONTWAIT);
	return theirs(d->rx.producer) - d->rx_next;
}

static unsigned int xdp_rx_pending(const struct vnet *v)
{
	return look(xdp_of(v));
}

static unsigned int xdp_rx_burst(struct vnet *v, struct vnet_rx *out, unsigned int max)
{
	struct xdp_dev *d = xdp_of(v);
	const struct xdp_desc *ring = d->rx.desc;
	const size_t base = (size_t)(v->rx_base - d->umem);
	unsigned int n, got = 0;

	if (__builtin_expect(d->tx_stuck, 0)) {
		xdp_tx_flush(v);
		if (v->error)	/* the rings are gone */
			return 0;
	}
	n = look(d);
	for (; n && got < max; n--) {
		const struct xdp_desc *e = &ring[d->rx_next & d->mask];
		uint64_t at = e->addr - base;
		uint32_t len = e->len;
		unsigned int buf = (unsigned int)(at >> VNET_BUF_SHIFT);

		if (at >> VNET_BUF_SHIFT >= v->rx_nr_bufs || v->rx_state[buf] != VNET_BUF_POSTED ||
		    (at & (VNET_BUF_BYTES - 1)) != XDP_RX_AT || len > XDP_RX_MAX) {
			vnet__fail(v, "AF_XDP socket on %s: a frame of %u bytes at 0x%llx of our memory, where none can be", d->kif.name, len,
				   (unsigned long long)e->addr);
			return got;
		}
		d->rx_next++;
		v->rxq.last_used++;
		v->rxq.nr_free++;
		if (len < VNET_ETH_BYTES) {
			v->stats.rx_bad++;
			vnet__spare(v, buf);
			continue;
		}
		v->rx_state[buf] = VNET_BUF_HELD;
		out[got++] = (struct vnet_rx){ .data = d->umem + e->addr, .len = len, .id = (uint16_t)buf };
		v->stats.rx_bytes += len;
	}
	tell(d->rx.consumer, d->rx_next);
	v->stats.rx_packets += got;
	return got;
}

/* @n spare buffers to be received into. */
static void xdp_rx_flush(struct vnet *v, unsigned int n)
{
	struct xdp_dev *d = xdp_of(v);
	uint64_t *ring = d->fill.desc;
	const size_t base = (size_t)(v->rx_base - d->umem);

	v->rxq.nr_free -= (uint16_t)n;
	v->rxq.avail_idx += (uint16_t)n;
	v->rxq.announced = v->rxq.avail_idx;
	while (n--) {
		unsigned int buf = v->rx_spare[--v->rx_nr_spare];

		v->rx_state[buf] = VNET_BUF_POSTED;
		ring[d->fill_next++ & d->mask] = base + ((size_t)buf << VNET_BUF_SHIFT);
	}
	tell(d->fill.producer, d->fill_next);
	/* A driver that ran dry waits to be told. */
	if (wants_wakeup(&d->fill) && !d->busy_us) {
		v->stats.doorbells_rx++;
		recv(d->fd, NULL, 0, MSG_DONTWAIT);
	}
}

/* -------------------------------------------------------------- transmit --- */

static inline bool lies_in_chunk(const struct xdp_dev *d, const struct vnet_seg *s)
{
	size_t at = (uintptr_t)s->addr - (uintptr_t)d->umem;

	return at < d->umem_bytes && (at & (XDP_CHUNK_BYTES - 1)) + s->len <= XDP_CHUNK_BYTES;
}

static int xdp_tx(struct vnet *v, const struct vnet_seg *seg, unsigned int nr_seg, void *cookie)
{
	struct xdp_dev *d = xdp_of(v);
	uint32_t total = kif_frame_bytes(seg, nr_seg, v->tx_copy_max), slot = d->tx_next & d->mask;
	struct xdp_desc *e = (struct xdp_desc *)d->tx.desc + slot;
	const uint8_t *f;

	if (!total)
		return -EINVAL;
	if (!v->txq.nr_free) {
		v->stats.tx_full++;
		return -EAGAIN;
	}
	if (nr_seg == 1 && cookie && lies_in_chunk(d, seg)) {
		f = seg->addr;
	} else {
		uint8_t *to = vnet__tx_buf(v, slot);

		kif_frame_copy(to, seg, nr_seg);
		f = to;
	}
	*e = (struct xdp_desc){ .addr = (uint64_t)(f - d->umem), .len = total };
	v->tx_cookie[slot] = cookie;
	d->tx_next++;
	v->txq.nr_free--;
	v->txq.avail_idx++;	/* for vnet_tx_queued() */
	v->stats.tx_packets++;
	v->stats.tx_bytes += total;
	return 0;
}

static unsigned int xdp_tx_reap(struct vnet *v, vnet_tx_done_fn done, void *arg)
{
	struct xdp_dev *d = xdp_of(v);
	/* After a stop nothing completes any more: all is the caller's. */
	unsigned int n = v->error ? d->tx_next - d->tx_oldest : theirs(d->done.producer) - d->tx_oldest, left;

	for (left = n; left; left--) {
		unsigned int slot = d->tx_oldest++ & d->mask;
		void *cookie = v->tx_cookie[slot];

		v->txq.nr_free++;
		v->tx_cookie[slot] = NULL;
		v->stats.tx_unsure += v->error != 0;
		if (cookie && done)
			done(cookie, arg);
	}
	if (!v->error && n)
		tell(d->done.consumer, d->tx_oldest);
	return n;
}

/* ------------------------------------------------------------------ idle --- */

static bool xdp_irq_arm(struct vnet *v)
{
	v->rxq.armed = !vring_queued(&v->txq) && !xdp_rx_pending(v);
	return v->rxq.armed;
}

static void xdp_irq_disarm(struct vnet *v)
{
	struct xdp_dev *d = xdp_of(v);

	v->stats.interrupts += theirs(d->rx.producer) != d->rx_next;
}

static const struct vnet_path xdp_path = {
	.rx_pending = xdp_rx_pending,
	.rx_burst = xdp_rx_burst,
	.rx_flush = xdp_rx_flush,
	.tx = xdp_tx,
	.tx_reap = xdp_tx_reap,
	.tx_flush = xdp_tx_flush,
	.irq_arm = xdp_irq_arm,
	.irq_disarm = xdp_irq_disarm,
};

/* ------------------------------------------------------------------ open --- */

int vnet_open_xdp(const char *ifname, const struct vnet_opts *opts, struct vnet **out)
{
	struct xdp_dev *d;
	struct vnet_opts o;
	struct vnet *v;
	int err;

	err = vnet__opts(opts, &o);
	if (err)
		return err;
	if (o.nr_pairs > 1)
		return -EOPNOTSUPP;
	err = vtrans_xdp_create(ifname, &o, &d);
	if (err)
		return err;
	err = vnet_create(&d->dev, &o, &v);
	if (err) {
		nomdrv_dev_destroy(&d->dev);
		return err;
	}
	kif_take_over(v, &xdp_path);
	v->rx_turn_at = XDP_RX_AT - VNET_BUF_SKIP;
	v->rxq.nr_free = v->rxq.size;
	v->rxq.avail_idx = v->rxq.announced = v->rxq.last_used = 0;
	err = vtrans_xdp_set_up(d, v);
	if (!err) {
		vnet_rx_flush(v);
		err = vtrans_xdp_listen(d, v->mac);
	}
	if (err) {
		vnet_close(v);
		return err;
	}
	*out = v;
	return 0;
}

enum vnet_xdp_mode vnet_xdp_mode(const struct vnet *v)
{
	return vtrans_is_xdp(v->root) ? xdp_of(v)->mode : VNET_XDP_BEST;
}
