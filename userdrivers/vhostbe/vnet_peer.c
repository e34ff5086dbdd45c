// SPDX-License-Identifier: MIT
/*
 * vnet_peer.c - nomdrv/vnet.h from the other end of the rings
 *
 * Receive: a frame is copied from the guest's transmit ring into a slot, and
 * its descriptors are the guest's again at once.  Slots are large enough for
 * what a guest leaves to be cut up; the one that was freed last is used next,
 * so that short frames stay in the cache.
 *
 * Transmit: a frame is written into the guest's receive buffers when it is
 * queued, and becomes visible when it is announced.  Its memory is free at
 * once, so "sent without a copy" only means that the stack need not copy.
 * While the guest has no buffer, frames wait here in order, as many as a tap's
 * queue would hold; a stack that is told to try again later would spin on it.
 */
#include "vnet_peer.h"

#include <nomdrv/vnet.h>

#include "be.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <linux/virtio_config.h>

#define SLOTS		512u
#define SLOT_AT		6u	/* then 12 bytes of header and 14 of Ethernet: IP is aligned */
#define SLOT_BYTES	((SLOT_AT + BE_HDR_BYTES + VHOSTBE_FRAME_MAX + 63u) & ~63u)
#define STACK_MAX	65535u	/* the longest frame a stack takes in one piece */
#define TX_ROOM		256u
#define BACKLOG		1024u
#define ARENA_BYTES	((size_t)64 << 20)
#define FEATURE(n)	(1ULL << (n))

struct waiting {
	struct virtio_net_hdr_v1 hdr;
	uint32_t len;
	uint8_t data[VNET_FRAME_MAX_BYTES];
};

struct vnet {
	struct vhostbe *be;
	uint8_t mac[6];
	/* receive */
	uint8_t *slots;
	uint8_t (*priv)[VNET_PRIV_BYTES];
	uint16_t free[SLOTS];
	bool held[SLOTS];
	unsigned int nr_free;
	struct vnet_rx queue[SLOTS];
	unsigned int head, nr;
	/* transmit */
	unsigned int tx_queued;
	void *done[TX_ROOM];
	unsigned int nr_done;
	struct waiting *backlog;
	unsigned int backlog_head, backlog_nr;
	uint8_t gather[VNET_FRAME_MAX_BYTES];
	uint8_t *arena;
	size_t arena_used;
	struct vnet_stats st;
	struct vnet_peer_stats peer;
};

static uint8_t *frame_at(struct vnet *v, uint16_t id)
{
	return v->slots + (size_t)id * SLOT_BYTES + SLOT_AT + BE_HDR_BYTES;
}

/* --------------------------------------------------------------- receive --- */

static uint8_t *port_room(struct vhostbe *be)
{
	struct vnet *v = be->port_arg;

	return v->nr_free ? frame_at(v, v->free[v->nr_free - 1]) - BE_HDR_BYTES : NULL;
}

/* The frame lies in the slot that is to be used next. */
static void push(struct vnet *v, uint32_t len, bool sum_ok)
{
	uint16_t id = v->free[--v->nr_free];

	v->held[id] = true;
	v->queue[(v->head + v->nr++) % SLOTS] = (struct vnet_rx){
		.data = frame_at(v, id), .len = len, .id = id, .flags = sum_ok ? VNET_RX_CSUM_OK : 0,
	};
	v->st.rx_csum_ok += sum_ok;
}

static bool port_tx(struct vhostbe *be, const struct virtio_net_hdr_v1 *hdr, uint8_t *frame, uint32_t len)
{
	struct vnet *v = be->port_arg;

	if (len > STACK_MAX)
		v->st.rx_bad++;
	else
		push(v, len, hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM);
	return true;
}

static const struct be_port_ops port_peer = { .cuts = true, .tx = port_tx, .room = port_room };

static void backlog_move(struct vnet *v);

unsigned int vnet_rx_pending(const struct vnet *v)
{
	return v->nr;
}

unsigned int vnet_rx_room(const struct vnet *v)
{
	return v->nr_free;
}

unsigned int vnet_rx_size(const struct vnet *v)
{
	return SLOTS;
}

unsigned int vnet_rx_burst(struct vnet *v, struct vnet_rx *out, unsigned int max)
{
	unsigned int n;

	vhostbe_poll(v->be);
	if (v->backlog_nr)
		backlog_move(v);
	for (n = 0; n < max && v->nr; n++, v->nr--) {
		out[n] = v->queue[v->head];
		v->head = (v->head + 1) % SLOTS;
		v->st.rx_packets++;
		v->st.rx_bytes += out[n].len;
	}
	return n;
}

void vnet_rx_release(struct vnet *v, uint16_t id)
{
	if (id >= SLOTS || !v->held[id])
		abort();	/* the caller's bug, as the driver has it */
	v->held[id] = false;
	v->free[v->nr_free++] = id;
}

void *vnet_rx_priv(struct vnet *v, uint16_t id)
{
	return v->priv[id];
}

void vnet_rx_flush(struct vnet *v)
{
}

/* -------------------------------------------------------------- transmit --- */

/* The parts of a frame in one piece, and its length; NULL: too long. */
static uint8_t *gathered(struct vnet *v, const struct vnet_seg *seg, unsigned int nr, uint32_t *len_out)
{
	uint32_t len = 0;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (seg[i].len > sizeof(v->gather) - len)
			return NULL;
		memcpy(v->gather + len, seg[i].addr, seg[i].len);
		len += seg[i].len;
	}
	*len_out = len;
	return v->gather;
}

/* Into the guest's buffers; false: there are none now. */
static bool into_guest(struct vnet *v, const struct virtio_net_hdr_v1 *hdr, const uint8_t *f, uint32_t len)
{
	int err;

	if (be_ring_avail(v->be, &v->be->ring[BE_RXQ]) == 0)
		return false;
	err = be_deliver(v->be, hdr, f, len);
	if (err == -EAGAIN)
		return false;
	v->tx_queued += !err;	/* one too long for a buffer is lost, as on a wire */
	v->peer.tx_lost += err != 0;
	return true;
}

/* What waits, as far as there is room for it now. */
static void backlog_move(struct vnet *v)
{
	while (v->backlog_nr) {
		struct waiting *w = &v->backlog[v->backlog_head];

		if (!vhostbe_running(v->be))
			v->peer.tx_lost++;
		else if (!into_guest(v, &w->hdr, w->data, w->len))
			break;
		v->backlog_head = (v->backlog_head + 1) % BACKLOG;
		v->backlog_nr--;
	}
	vnet_tx_flush(v);
}

static int deliver(struct vnet *v, const struct vnet_seg *seg, unsigned int nr, uint16_t csum_start, uint16_t csum_offset)
{
	struct virtio_net_hdr_v1 hdr = { .num_buffers = 1 };
	uint32_t len;
	uint8_t *f = gathered(v, seg, nr, &len);
	struct waiting *w;

	if (!f || len < 14 || (csum_start && (uint32_t)csum_start + csum_offset + 2 > len))
		return -EINVAL;
	if (v->backlog_nr == BACKLOG) {
		v->st.tx_full++;
		return -EAGAIN;
	}
	v->st.tx_packets++;
	v->st.tx_bytes += len;
	v->st.tx_csum_offload += csum_start != 0;
	if (!vhostbe_running(v->be)) {
		v->peer.tx_lost++;		/* as without a carrier */
		return 0;
	}
	if (csum_start && (v->be->features & FEATURE(VIRTIO_NET_F_GUEST_CSUM))) {
		hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		hdr.csum_start = csum_start;
		hdr.csum_offset = csum_offset;
	} else if (csum_start) {
		vhostbe_csum_complete(f, len, csum_start, csum_offset);
	}
	if (!v->backlog_nr && into_guest(v, &hdr, f, len))
		return 0;
	w = &v->backlog[(v->backlog_head + v->backlog_nr++) % BACKLOG];
	w->hdr = hdr;
	w->len = len;
	memcpy(w->data, f, len);
	v->peer.tx_waited++;
	return 0;
}

int vnet_tx(struct vnet *v, const struct vnet_tx *tx)
{
	int err;

	if (tx->gso_bytes)
		return -EINVAL;		/* not among the features */
	if (tx->cookie && v->nr_done == TX_ROOM)
		return -EAGAIN;
	err = deliver(v, tx->seg, tx->nr_seg, tx->csum_start, tx->csum_offset);
	if (!err && tx->cookie)
		v->done[v->nr_done++] = tx->cookie;
	return err;
}

int vnet_tx_copy(struct vnet *v, const struct vnet_seg *seg, unsigned int nr_seg, uint16_t csum_start, uint16_t csum_offset)
{
	v->st.tx_copies++;
	return deliver(v, seg, nr_seg, csum_start, csum_offset);
}

unsigned int vnet_tx_reap(struct vnet *v, vnet_tx_done_fn done, void *arg)
{
	unsigned int n = 0;

	for (; v->nr_done; n++) {
		void *cookie = v->done[--v->nr_done];

		if (done)
			done(cookie, arg);
	}
	return n;
}

/* What has no room is told by -EAGAIN: the guest's buffers are not ours to count. */
unsigned int vnet_tx_room(const struct vnet *v)
{
	return TX_ROOM;
}

bool vnet_tx_fits(const struct vnet *v, unsigned int need)
{
	return vnet_tx_room(v) >= need;
}

unsigned int vnet_tx_queued(const struct vnet *v)
{
	return v->tx_queued;
}

void vnet_tx_flush(struct vnet *v)
{
	struct be_ring *r = &v->be->ring[BE_RXQ];

	if (v->tx_queued && r->running)
		be_ring_publish(v->be, r);
	v->tx_queued = 0;
}

/* ------------------------------------------------------------------ idle --- */

bool vnet_irq_arm(struct vnet *v)
{
	if (v->nr || v->backlog_nr)
		return false;
	vhostbe_busy(v->be, false);
	vhostbe_poll(v->be);
	if (!v->nr)
		return true;
	vhostbe_busy(v->be, true);
	return false;
}

void vnet_irq_disarm(struct vnet *v)
{
	vhostbe_busy(v->be, true);
}

/* ---------------------------------------------------------------- facts --- */

const uint8_t *vnet_mac(const struct vnet *v)
{
	return v->mac;
}

unsigned int vnet_mtu(const struct vnet *v)
{
	return 1500;
}

const char *vnet_no_large_receive(const struct vnet *v)
{
	return "not asked for";
}

/* Sums that are left open: to the guest, or completed in deliver() when it takes none. */
uint64_t vnet_features(const struct vnet *v)
{
	return FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VIRTIO_NET_F_CSUM) | FEATURE(VIRTIO_NET_F_GUEST_CSUM);
}

const char *vnet_feature_reason(const struct vnet *v, unsigned int bit)
{
	return bit < 64 && vnet_features(v) >> bit & 1 ? "negotiated" : "not used at this end of the rings";
}

int vnet_error(const struct vnet *v, const char **reason_out)
{
	if (reason_out)
		*reason_out = NULL;
	return 0;
}

int vnet_restart(struct vnet *v, vnet_tx_done_fn done, void *arg)
{
	return -EOPNOTSUPP;	/* the guest restarts its device, not its peer */
}

const struct vnet_stats *vnet_stats(const struct vnet *v)
{
	return &v->st;
}

const struct vnet_peer_stats *vnet_peer_stats(const struct vnet *v)
{
	return &v->peer;
}

void *vnet_dma_alloc(struct vnet *v, size_t bytes, size_t align)
{
	size_t at = (v->arena_used + align - 1) & ~(align - 1);

	if (at > ARENA_BYTES || bytes > ARENA_BYTES - at)
		return NULL;
	v->arena_used = at + bytes;
	return v->arena + at;
}

bool vnet_dma_contains(const struct vnet *v, const void *p, size_t bytes)
{
	size_t at = (size_t)((const uint8_t *)p - v->arena);

	return at < ARENA_BYTES && bytes <= ARENA_BYTES - at;
}

int vnet_peer_create(struct vhostbe *be, const uint8_t mac[6], struct vnet **out)
{
	struct vnet *v = calloc(1, sizeof(*v));
	unsigned int i;

	if (!v)
		return -ENOMEM;
	v->be = be;
	memcpy(v->mac, mac, 6);
	/* Pages that are never written to are never there. */
	v->slots = aligned_alloc(64, (size_t)SLOTS * SLOT_BYTES);
	v->priv = aligned_alloc(64, (size_t)SLOTS * VNET_PRIV_BYTES);
	v->arena = aligned_alloc(4096, ARENA_BYTES);
	v->backlog = calloc(BACKLOG, sizeof(*v->backlog));
	if (!v->slots || !v->priv || !v->arena || !v->backlog) {
		free(v->backlog);
		free(v->arena);
		free(v->priv);
		free(v->slots);
		free(v);
		return -ENOMEM;
	}
	memset(v->priv, 0, (size_t)SLOTS * VNET_PRIV_BYTES);
	memset(v->arena, 0, ARENA_BYTES);
	for (i = 0; i < SLOTS; i++)
		v->free[v->nr_free++] = (uint16_t)(SLOTS - 1 - i);
	be_set_port(be, &port_peer, -1, false);
	be->port_arg = v;
	/* A stack at this end takes datagrams one by one, where they are put for it. */
	be->offered &= ~FEATURE(VIRTIO_NET_F_HOST_USO);
	vhostbe_busy(be, true);
	*out = v;
	return 0;
}

void vnet_peer_destroy(struct vnet *v)
{
	if (!v)
		return;
	be_set_port(v->be, &be_port_queue, -1, false);
	v->be->port_arg = NULL;
	free(v->backlog);
	free(v->arena);
	free(v->priv);
	free(v->slots);
	free(v);
}
