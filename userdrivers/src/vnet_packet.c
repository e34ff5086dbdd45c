// SPDX-License-Identifier: MIT
/*
 * vnet on a packet socket: the data path, and opening.
 *
 * Frames are copied, both ways.  A received one leaves its slot at once, for the
 * kernel fills slots in order and would wait at one that a stack holds (a segment
 * that came out of order, say) with all others free; one to be sent is copied into
 * the slot that is next.  What a virtio ring has for free and this has not is the
 * system call: one for each vnet_tx_flush(), counted as a doorbell.
 *
 * All that crosses between the kernel and us is a slot's tp_status: whoever finds it
 * to be his may read and write the rest of the slot, and gives it away with a store
 * that releases.  Its partners are the barriers of packet_get_status() and
 * __packet_set_status() in the kernel.
 */
#include "vnet_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "vtrans_packet.h"

#define FLUSH_TRIES	64u	/* system calls for one flush: each but the last loses a frame */

static inline struct packet_dev *packet_of(const struct vnet *v)
{
	return (struct packet_dev *)v->root;
}

static inline uint32_t status_of(const struct tpacket2_hdr *h)
{
	return __atomic_load_n(&h->tp_status, __ATOMIC_ACQUIRE);
}

static inline void give(struct tpacket2_hdr *h, uint32_t status)
{
	__atomic_store_n(&h->tp_status, status, __ATOMIC_RELEASE);
}

/* --------------------------------------------------------------- receive --- */

static unsigned int packet_rx_pending(const struct vnet *v)
{
	const struct packet_dev *d = packet_of(v);
	unsigned int n;

	for (n = 0; n < d->slots && (status_of(packet_rx_slot(d, d->rx_next + n)) & TP_STATUS_USER); n++)
		;
	return n;
}

/* Ours, or everybody's; a frame with a VLAN tag, which the kernel took off, is neither. */
static bool is_for_us(const struct vnet *v, const uint8_t *f, uint32_t status)
{
	return !(status & TP_STATUS_VLAN_VALID) && ((f[0] & 1) || !memcmp(f, v->mac, 6));
}

static unsigned int packet_rx_burst(struct vnet *v, struct vnet_rx *out, unsigned int max)
{
	struct packet_dev *d = packet_of(v);
	unsigned int got = 0, n;

	for (n = 0; n < d->slots && got < max && v->rx_nr_spare; n++) {
		struct tpacket2_hdr *h = packet_rx_slot(d, d->rx_next);
		uint32_t status = status_of(h), len = h->tp_snaplen;
		const uint8_t *f = (const uint8_t *)h + h->tp_mac;
		unsigned int buf;

		if (!(status & TP_STATUS_USER))
			break;
		d->rx_next++;
		/* Longer than a slot: segments that were joined on the way, or an MTU that grew. */
		if (len < VNET_ETH_BYTES || len != h->tp_len || h->tp_mac > PACKET_RX_AT || len > PACKET_SLOT_BYTES - h->tp_mac) {
			v->stats.rx_bad++;
			give(h, TP_STATUS_KERNEL);
			continue;
		}
		if (!is_for_us(v, f, status)) {
			v->stats.rx_others++;
			give(h, TP_STATUS_KERNEL);
			continue;
		}
		buf = v->rx_spare[--v->rx_nr_spare];
		v->rx_state[buf] = VNET_BUF_HELD;
		out[got] = (struct vnet_rx){
			.data = vnet__rx_buf(v, buf) + VNET_HDR_BYTES, .len = len, .id = (uint16_t)buf,
			.flags = status & (TP_STATUS_CSUMNOTREADY | TP_STATUS_CSUM_VALID) ? VNET_RX_CSUM_OK : 0,
		};
		memcpy(out[got].data, f, len);
		give(h, TP_STATUS_KERNEL);
		v->stats.rx_bytes += len;
		v->stats.rx_csum_ok += out[got].flags & VNET_RX_CSUM_OK;
		got++;
	}
	v->stats.rx_packets += got;
	return got;
}

/* -------------------------------------------------------------- transmit --- */

/* Slots that the kernel has done with; an interface may hold them for a while after sending. */
static unsigned int reclaim(struct vnet *v)
{
	struct packet_dev *d = packet_of(v);
	unsigned int freed = 0;

	for (; d->tx_oldest != d->tx_next && status_of(packet_tx_slot(d, d->tx_oldest)) == TP_STATUS_AVAILABLE; freed++)
		d->tx_oldest++;
	v->txq.nr_free = (uint16_t)(d->slots - (d->tx_next - d->tx_oldest));
	return freed;
}

static int packet_tx(struct vnet *v, const struct vnet_seg *seg, unsigned int nr_seg, void *cookie)
{
	struct packet_dev *d = packet_of(v);
	uint32_t total = kif_frame_bytes(seg, nr_seg, v->tx_copy_max);
	struct tpacket2_hdr *h;

	if (!total)
		return -EINVAL;
	if ((!v->txq.nr_free && !reclaim(v)) || (cookie && d->nr_done == d->slots)) {
		v->stats.tx_full++;
		return -EAGAIN;
	}
	h = packet_tx_slot(d, d->tx_next);
	kif_frame_copy((uint8_t *)h + PACKET_TX_AT, seg, nr_seg);
	h->tp_len = total;
	give(h, TP_STATUS_SEND_REQUEST);
	d->tx_next++;
	v->txq.nr_free--;
	v->txq.avail_idx++;	/* for vnet_tx_queued() */
	if (cookie)
		v->tx_cookie[d->nr_done++] = cookie;
	v->stats.tx_packets++;
	v->stats.tx_bytes += total;
	return 0;
}

static unsigned int packet_tx_reap(struct vnet *v, vnet_tx_done_fn done, void *arg)
{
	struct packet_dev *d = packet_of(v);
	unsigned int freed = v->error ? 0 : reclaim(v), left = d->nr_done;

	/* No more than there were: @done may queue. */
	for (; left; left--) {
		void *cookie = v->tx_cookie[--d->nr_done];

		if (done)
			done(cookie, arg);
	}
	return freed;
}

static void packet_tx_flush(struct vnet *v)
{
	struct packet_dev *d = packet_of(v);
	unsigned int tries;

	for (tries = 0; tries < FLUSH_TRIES; tries++) {
		v->stats.doorbells_tx++;
		if (send(d->kif.fd, NULL, 0, MSG_DONTWAIT) >= 0)
			break;
		switch (errno) {
		case ENOBUFS:	/* the interface dropped one; those behind it still wait */
			v->stats.tx_lost++;
			continue;
		case EAGAIN:
		case EINTR:
			return;
		case ENETDOWN:	/* vnet_check() tells of the link, and has them leave when it is back */
			v->txq.announced = v->txq.avail_idx;
			d->kif.down = true;
			return;
		default:
			vnet__fail(v, "packet socket on %s: cannot send: %s", d->kif.name, strerror(errno));
			return;
		}
	}
	/* It may have taken some only, as many as the socket's buffer allowed. */
	if (status_of(packet_tx_slot(d, d->tx_next - 1)) != TP_STATUS_SEND_REQUEST)
		v->txq.announced = v->txq.avail_idx;
}

/* ------------------------------------------------------------------ idle --- */

static bool packet_irq_arm(struct vnet *v)
{
	v->rxq.armed = !vring_queued(&v->txq) && !packet_rx_pending(v);
	return v->rxq.armed;
}

static void packet_irq_disarm(struct vnet *v)
{
	v->stats.interrupts += packet_rx_pending(v) != 0;
}

static const struct vnet_path packet_path = {
	.rx_pending = packet_rx_pending,
	.rx_burst = packet_rx_burst,
	.tx = packet_tx,
	.tx_reap = packet_tx_reap,
	.tx_flush = packet_tx_flush,
	.irq_arm = packet_irq_arm,
	.irq_disarm = packet_irq_disarm,
};

/* ------------------------------------------------------------------ open --- */

int vnet_open_packet(const char *ifname, const struct vnet_opts *opts, struct vnet **out)
{
	struct packet_dev *d;
	struct vnet_opts o;
	struct vnet *v;
	int err;

	err = vnet__opts(opts, &o);
	if (err)
		return err;
	if (o.nr_pairs > 1)
		return -EOPNOTSUPP;
	err = vtrans_packet_create(ifname, &o, &d);
	if (err)
		return err;
	err = vnet_create(&d->dev, &o, &v);
	if (err) {
		nomdrv_dev_destroy(&d->dev);
		return err;
	}
	kif_take_over(v, &packet_path);
	d->v = v;
	err = kif_listen(&d->kif, v->mac);
	if (err) {
		vnet_close(v);
		return err;
	}
	*out = v;
	return 0;
}
