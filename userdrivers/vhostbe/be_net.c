// SPDX-License-Identifier: MIT
/* vhostbe: frames between the rings and the port; the device as a whole. */
#include "be.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <linux/virtio_config.h>

#define BIT(n)		(1ULL << (n))
#define FEATURES	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) | \
			 BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) | \
			 BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) | \
			 BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) | \
			 BIT(VIRTIO_NET_F_HOST_USO) | \
			 BIT(VIRTIO_NET_F_GUEST_USO4) | BIT(VIRTIO_NET_F_GUEST_USO6) | \
			 BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_CTRL_VQ) | \
			 BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) | \
			 BIT(VIRTIO_NET_F_CTRL_VLAN) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) | \
			 BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) | \
			 BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_MTU) | \
			 BIT(VHU_F_PROTOCOL_FEATURES))

#define FEATURES_ON	(BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_F_IN_ORDER) | BIT(VIRTIO_RING_F_INDIRECT_DESC))

static const uint8_t default_mac[6] = { 0x52, 0x54, 0x00, 0x6e, 0x6f, 0x6d };

/* ------------------------------------------------------------------ rings --- */

/* @len bytes into the parts, from byte @skip on. */
static void scatter(const struct be_part *part, int nr, uint32_t skip, const uint8_t *from,
		    uint32_t len)
{
	int i;

	for (i = 0; i < nr && len; i++) {
		uint32_t n;

		if (skip >= part[i].len) {
			skip -= part[i].len;
			continue;
		}
		n = part[i].len - skip < len ? part[i].len - skip : len;
		memcpy(part[i].va + skip, from, n);
		from += n;
		len -= n;
		skip = 0;
	}
}

/* A frame into as many chains as it takes (5.1.6.4), all but the last full; there are @avail. */
static int deliver_merged(struct vhostbe *be, const struct virtio_net_hdr_v1 *hdr,
			  const uint8_t *frame, uint32_t len, int avail)
{
	struct be_ring *r = &be->ring[BE_RXQ];
	const uint16_t start = r->last_avail;
	struct virtio_net_hdr_v1 h = *hdr;
	struct be_used used[BE_MERGE_MAX];
	struct be_part part[BE_IOV_MAX];
	uint8_t *where = NULL;
	uint32_t off = 0;
	unsigned int n = 0;

	while (off < len || !n) {
		uint32_t skip = n ? 0 : BE_HDR_BYTES, room = 0, take;
		int nr, i;

		if (n == BE_MERGE_MAX || n == (unsigned int)avail)
			break;
		nr = be_ring_peek(be, r, BE_WRITE, part, &used[n].id);
		if (nr < 0)
			return -EAGAIN;
		for (i = 0; i < nr; i++)
			room += part[i].len;
		if (!n) {
			if (part[0].len < BE_HDR_BYTES) {
				be_fail(be, "receive buffer starts with %u bytes", part[0].len);
				return -EAGAIN;
			}
			where = part[0].va;
		}
		take = room - skip < len - off ? room - skip : len - off;
		scatter(part, nr, skip, frame + off, take);
		off += take;
		used[n].written = skip + take;
		used[n].descs = r->packed ? r->peeked : 1;
		r->last_avail += used[n++].descs;
	}
	r->last_avail = start;
	if (off < len) {
		be->stats.rx_dropped++;
		return -EAGAIN;
	}
	h.num_buffers = (uint16_t)n;
	memcpy(where, &h, BE_HDR_BYTES);
	be_ring_use_all(r, used, n);
	be->stats.rx_frames++;
	return 0;
}

int be_deliver(struct vhostbe *be, const struct virtio_net_hdr_v1 *hdr, const void *frame,
	       uint32_t len)
{
	struct be_ring *r = &be->ring[BE_RXQ];
	struct be_part part[BE_IOV_MAX];
	uint64_t room = 0;
	uint16_t head;
	int n, i, avail;

	avail = !r->running || be->broken ? 0 : be_ring_avail(be, r);
	if (avail <= 0) {
		be->stats.rx_dropped++;
		return -EAGAIN;
	}
	if (be->features & BIT(VIRTIO_NET_F_MRG_RXBUF))
		return deliver_merged(be, hdr, frame, len, avail);
	n = be_ring_peek(be, r, BE_WRITE, part, &head);
	if (n < 0)
		return -EAGAIN;
	for (i = 0; i < n; i++)
		room += part[i].len;
	if (room < (uint64_t)BE_HDR_BYTES + len) {
		be->stats.rx_dropped++;
		return -EMSGSIZE;
	}
	scatter(part, n, 0, (const uint8_t *)hdr, BE_HDR_BYTES);
	scatter(part, n, BE_HDR_BYTES, frame, len);
	be_ring_use(r, head, BE_HDR_BYTES + len);
	be->stats.rx_frames++;
	return 0;
}

int vhostbe_inject(struct vhostbe *be, const void *frame, size_t len,
		   const struct vhostbe_meta *meta)
{
	struct virtio_net_hdr_v1 hdr = { .num_buffers = 1 };
	int err;

	if (len > VHOSTBE_FRAME_MAX)
		return -EMSGSIZE;
	if (meta && (be->features & BIT(VIRTIO_NET_F_GUEST_CSUM))) {
		hdr.flags = meta->flags;
		hdr.csum_start = meta->csum_start;
		hdr.csum_offset = meta->csum_offset;
		hdr.gso_type = meta->gso_type;
		hdr.gso_size = meta->gso_size;
		hdr.hdr_len = meta->hdr_len;
	}
	err = be_deliver(be, &hdr, frame, (uint32_t)len);
	if (!err)
		be_ring_publish(be, &be->ring[BE_RXQ]);
	if (be->broken)
		be_disconnect(be);
	return err;
}

/* A frame to the port, cut up for a port that does not do it: 1 or 0 (full). */
static int to_port(struct vhostbe *be, const struct virtio_net_hdr_v1 *hdr, uint8_t *frame,
		   uint32_t len)
{
	const struct virtio_net_hdr_v1 plain = { .num_buffers = 0 };
	unsigned int i, n;

	if (!hdr->gso_type || (hdr->gso_type == VIRTIO_NET_HDR_GSO_UDP_L4 ? be->port_cuts_udp : be->port->cuts))
		return be->port->tx(be, hdr, frame, len);
	n = be_tso_pieces(hdr, len);
	if (be->fifo_len + n > BE_FIFO_FRAMES)
		return 0;
	be->stats.tx_pieces += n;
	for (i = 0; i < n; i++)	/* what is refused on the way is lost, as on a wire */
		be->port->tx(be, &plain, be->piece,
			     be_tso_piece(hdr, frame, len, i, be->piece));
	return 1;
}

/* One frame out of the transmit ring: 1, 0 (the port is full), or -1. */
static int transmit(struct vhostbe *be, struct be_ring *r)
{
	struct virtio_net_hdr_v1 hdr;
	struct be_part part[BE_IOV_MAX];
	uint8_t *to = be->port->room ? be->port->room(be) : be->bounce;
	uint32_t len = 0;
	uint16_t head;
	int n, i;

	if (!to)
		return 0;
	n = be_ring_peek(be, r, BE_READ, part, &head);
	if (n < 0)
		return -1;
	for (i = 0; i < n; i++) {
		if (part[i].len > sizeof(be->bounce) - len) {
			be_fail(be, "frame longer than %zu bytes", sizeof(be->bounce));
			return -1;
		}
		memcpy(to + len, part[i].va, part[i].len);
		len += part[i].len;
	}
	if (len < BE_HDR_BYTES + 14) {
		be_fail(be, "frame of %u bytes, header included", len);
		return -1;
	}
	memcpy(&hdr, to, BE_HDR_BYTES);
	if ((hdr.gso_type == VIRTIO_NET_HDR_GSO_TCPV4 && !(be->features & BIT(VIRTIO_NET_F_HOST_TSO4))) ||
	    (hdr.gso_type == VIRTIO_NET_HDR_GSO_TCPV6 && !(be->features & BIT(VIRTIO_NET_F_HOST_TSO6))) ||
	    (hdr.gso_type == VIRTIO_NET_HDR_GSO_UDP_L4 && !(be->features & BIT(VIRTIO_NET_F_HOST_USO))) ||
	    (hdr.flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM) ||
	    (hdr.flags && !(be->features & BIT(VIRTIO_NET_F_CSUM)))) {
		be_fail(be, "header flags 0x%x, gso 0x%x were not negotiated", hdr.flags, hdr.gso_type);
		return -1;
	}
	if (hdr.flags && (uint32_t)hdr.csum_start + hdr.csum_offset + 2 > len - BE_HDR_BYTES) {
		be_fail(be, "checksum at %u + %u in a frame of %u", hdr.csum_start, hdr.csum_offset,
			len - BE_HDR_BYTES);
		return -1;
	}
	if (hdr.gso_type) {
		const char *fault;

		/* 5.1.6.2.2: without GUEST_HDRLEN it is a hint; Linux puts what is linear there. */
		if (be->flags & VHOSTBE_LENIENT)
			hdr.hdr_len = (uint16_t)be_tso_headers(&hdr, to + BE_HDR_BYTES, len - BE_HDR_BYTES);
		fault = be_tso_fault(&hdr, to + BE_HDR_BYTES, len - BE_HDR_BYTES);

		if (fault) {
			be_fail(be, "segmentation %s", fault);
			return -1;
		}
	}
	if (!to_port(be, &hdr, to + BE_HDR_BYTES, len - BE_HDR_BYTES))
		return 0;
	be_ring_use(r, head, 0);
	be->stats.tx_frames++;
	return 1;
}

/* Doorbells since last time; the descriptor is non-blocking or we polled it. */
static uint64_t drain_kick(struct be_ring *r)
{
	struct pollfd pfd = { .fd = r->kick_fd, .events = POLLIN };
	uint64_t n = 0;

	if (poll(&pfd, 1, 0) != 1 || read(r->kick_fd, &n, sizeof(n)) != (ssize_t)sizeof(n))
		return 0;
	return n;
}

static unsigned int serve_tx(struct vhostbe *be)
{
	struct be_ring *r = &be->ring[BE_TXQ];
	const bool early = r->packed && (be->flags & VHOSTBE_ASKS_EARLY);
	unsigned int done = 0;
	int n;

	if (early)
		be_ring_kicks_on(be, r);
	for (;;) {
		n = be_ring_avail(be, r);
		while (n > 0 && transmit(be, r) > 0) {
			n--;
			done++;
		}
		if (be->broken)
			return done;
		be_ring_publish(be, r);
		if (n > 0)	/* the port is full: come back unasked */
			return done;
		r->kicked = be->flags & VHOSTBE_BUSY;
		if (early || !be_ring_kicks_on(be, r))
			return done;
	}
}

unsigned int be_net_step(struct vhostbe *be)
{
	struct be_ring *rx = &be->ring[BE_RXQ], *tx = &be->ring[BE_TXQ];
	unsigned int done = 0;
	uint64_t n;

	if (!vhostbe_running(be))
		return 0;
	n = drain_kick(rx);
	be->stats.kicks_rx += n;
	n = drain_kick(tx);
	be->stats.kicks_tx += n;
	if (n)
		tx->kicked = true;
	if (tx->kicked)
		done += serve_tx(be);
	if (!be->broken && be->ring[BE_CTLQ].running && drain_kick(&be->ring[BE_CTLQ]))
		done += be_serve_commands(be);
	if (!be->broken && be->port->poll)
		done += be->port->poll(be);
	if (!be->broken && rx->running)
		be_ring_publish(be, rx);
	if (be->broken) {
		be_disconnect(be);
		done++;
	}
	return done;
}

/* ------------------------------------------------------------- the device --- */

unsigned int vhostbe_step(struct vhostbe *be)
{
	unsigned int done = be_ctl_step(be);

	return done + be_net_step(be);
}

unsigned int vhostbe_poll(struct vhostbe *be)
{
	unsigned int done;

	if (!vhostbe_running(be))
		return 0;
	done = serve_tx(be);
	if (be->broken) {
		be_disconnect(be);
		done++;
	}
	return done;
}

void vhostbe_busy(struct vhostbe *be, bool busy)
{
	struct be_ring *tx = &be->ring[BE_TXQ];

	if (busy)
		be->flags |= VHOSTBE_BUSY;
	else
		be->flags &= ~VHOSTBE_BUSY;
	tx->kicked = true;	/* look once more, and then ask for doorbells */
	if (tx->running && busy)
		be_ring_kicks_off(tx);
}

void vhostbe_wait(struct vhostbe *be, int timeout_ms)
{
	vhostbe_wait_fd(be, -1, timeout_ms);
}

bool vhostbe_wait_fd(struct vhostbe *be, int fd, int timeout_ms)
{
	struct pollfd pfd[6];
	nfds_t n = 0;
	bool room = be->ring[BE_RXQ].running;

	if (be->ring[BE_TXQ].running && be->ring[BE_TXQ].kicked)
		timeout_ms = be->flags & VHOSTBE_BUSY ? 0 : 1;	/* unfinished work */
	pfd[n++] = (struct pollfd){ .fd = fd, .events = POLLIN };	/* below 0: none */
	pfd[n++] = (struct pollfd){ .fd = be->sock >= 0 ? be->sock : be->listen_fd, .events = POLLIN };
	if (be->ring[BE_TXQ].running)
		pfd[n++] = (struct pollfd){ .fd = be->ring[BE_TXQ].kick_fd, .events = POLLIN };
	if (room)
		pfd[n++] = (struct pollfd){ .fd = be->ring[BE_RXQ].kick_fd, .events = POLLIN };
	if (be->ring[BE_CTLQ].running)
		pfd[n++] = (struct pollfd){ .fd = be->ring[BE_CTLQ].kick_fd, .events = POLLIN };
	if (be->port_fd >= 0 && room)
		pfd[n++] = (struct pollfd){ .fd = be->port_fd, .events = POLLIN };
	return poll(pfd, n, timeout_ms) > 0 && pfd[0].revents;
}

bool vhostbe_running(const struct vhostbe *be)
{
	return be->ring[BE_RXQ].running && be->ring[BE_TXQ].running;
}

uint64_t vhostbe_features(const struct vhostbe *be)
{
	return be->features & ~BIT(VHU_F_PROTOCOL_FEATURES);
}

const char *vhostbe_last_error(const struct vhostbe *be)
{
	return be->error[0] ? be->error : NULL;
}

const struct vhostbe_stats *vhostbe_stats(const struct vhostbe *be)
{
	return &be->stats;
}

void vhostbe_set_link(struct vhostbe *be, bool up)
{
	be->config.status = (uint16_t)((be->config.status & ~VIRTIO_NET_S_LINK_UP) |
				       (up ? VIRTIO_NET_S_LINK_UP : 0));
}

void vhostbe_announce(struct vhostbe *be)
{
	be->config.status |= VIRTIO_NET_S_ANNOUNCE;
}

const struct vhostbe_rx *vhostbe_rx_state(const struct vhostbe *be)
{
	return &be->rx_state;
}

static int listen_at(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct stat st;
	int fd, err;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	if (!lstat(path, &st) && S_ISSOCK(st.st_mode))
		unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (!bind(fd, (struct sockaddr *)&addr, sizeof(addr)) && !listen(fd, 4))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

int vhostbe_create(const char *path, const struct vhostbe_opts *opts, struct vhostbe **out)
{
	struct vhostbe_opts o = { 0 };
	static const uint8_t none[6];
	struct vhostbe *be;
	unsigned int i;
	int fd;

	if (opts)
		memcpy(&o, opts, opts->sz < sizeof(o) ? opts->sz : sizeof(o));
	be = calloc(1, sizeof(*be));
	if (!be)
		return -ENOMEM;
	fd = listen_at(path);
	if (fd < 0) {
		free(be);
		return fd;
	}
	be->listen_fd = fd;
	strcpy(be->path, path);
	be->sock = be->port_fd = -1;
	be->flags = o.flags;
	be->offered = (FEATURES | (o.features_on & FEATURES_ON)) & ~o.features_off;
	memcpy(be->config.mac, memcmp(o.mac, none, 6) ? o.mac : default_mac, 6);
	be->config.mtu = o.mtu ? o.mtu : 1500;
	vhostbe_set_link(be, true);
	for (i = 0; i < BE_NR_QUEUES; i++)
		be->ring[i].kick_fd = be->ring[i].call_fd = -1;
	be->port = &be_port_queue;
	be->fifo_tail = &be->fifo;
	*out = be;
	return 0;
}

void vhostbe_destroy(struct vhostbe *be)
{
	if (!be)
		return;
	be_disconnect(be);
	close(be->listen_fd);
	unlink(be->path);
	if (be->own_port_fd)
		close(be->port_fd);
	be_fifo_clear(be);
	free(be);
}
