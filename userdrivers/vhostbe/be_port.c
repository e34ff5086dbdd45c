// SPDX-License-Identifier: MIT
/* vhostbe: ports - the queue of tests, echo, a datagram socket, a TAP interface. */
#include "be.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <linux/if_tun.h>

#ifndef TUN_F_USO4		/* headers older than Linux 6.2 */
#define TUN_F_USO4	0x20
#define TUN_F_USO6	0x40
#endif
#define USO_RX	(1ULL << VIRTIO_NET_F_GUEST_USO4 | 1ULL << VIRTIO_NET_F_GUEST_USO6)
#define BURST	64	/* frames taken from a descriptor in one step */

bool vhostbe_csum_complete(void *frame, size_t len, uint16_t csum_start, uint16_t csum_offset)
{
	const uint8_t *p = frame;
	uint32_t sum = 0;
	uint16_t v;
	size_t i;

	if ((size_t)csum_start + csum_offset + 2 > len)
		return false;
	/* The field holds the pseudo header's sum, which belongs in here. */
	for (i = csum_start; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	if (i < len)
		sum += (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	v = (uint16_t)~sum;
	/* UDP: 0 means "no checksum", so the other form of zero (RFC 768). */
	if (!v && csum_offset == 6)
		v = 0xffff;
	((uint8_t *)frame)[csum_start + csum_offset] = (uint8_t)(v >> 8);
	((uint8_t *)frame)[csum_start + csum_offset + 1] = (uint8_t)v;
	return true;
}

/* ------------------------------------------------------------------ queue --- */

static bool queue_tx(struct vhostbe *be, const struct virtio_net_hdr_v1 *hdr, uint8_t *frame,
		     uint32_t len)
{
	struct be_frame *f;

	if (be->fifo_len == BE_FIFO_FRAMES)
		return false;
	f = malloc(sizeof(*f) + len);
	if (!f)
		return false;
	f->next = NULL;
	f->meta = (struct vhostbe_meta){
		.flags = hdr->flags, .csum_start = hdr->csum_start, .csum_offset = hdr->csum_offset,
	};
	f->len = len;
	memcpy(f->data, frame, len);
	*be->fifo_tail = f;
	be->fifo_tail = &f->next;
	be->fifo_len++;
	return true;
}

const struct be_port_ops be_port_queue = { .tx = queue_tx };

int vhostbe_take(struct vhostbe *be, void *buf, size_t cap, struct vhostbe_meta *meta)
{
	struct be_frame *f = be->fifo;
	int len;

	if (!f)
		return -EAGAIN;
	if (f->len > cap)
		return -EMSGSIZE;
	len = (int)f->len;
	memcpy(buf, f->data, f->len);
	if (meta)
		*meta = f->meta;
	else if (f->meta.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		vhostbe_csum_complete(buf, f->len, f->meta.csum_start, f->meta.csum_offset);
	be->fifo = f->next;
	if (!be->fifo)
		be->fifo_tail = &be->fifo;
	be->fifo_len--;
	free(f);
	return len;
}

void be_fifo_clear(struct vhostbe *be)
{
	while (be->fifo) {
		struct be_frame *f = be->fifo;

		be->fifo = f->next;
		free(f);
	}
	be->fifo_tail = &be->fifo;
	be->fifo_len = 0;
}

void be_set_port(struct vhostbe *be, const struct be_port_ops *ops, int fd, bool own)
{
	if (be->own_port_fd)
		close(be->port_fd);
	be_fifo_clear(be);
	be->port = ops;
	be->port_cuts_udp = false;
	be->port_fd = fd;
	be->own_port_fd = own;
}

/* ------------------------------------------------------------------- echo --- */

static bool echo_tx(struct vhostbe *be, const struct virtio_net_hdr_v1 *hdr, uint8_t *frame,
		    uint32_t len)
{
	struct virtio_net_hdr_v1 back = { .num_buffers = 1 };
	uint8_t mac[6];

	memcpy(mac, frame, 6);
	memcpy(frame, frame + 6, 6);
	memcpy(frame + 6, mac, 6);
	if (be->features & (1ULL << VIRTIO_NET_F_GUEST_CSUM)) {
		back.flags = hdr->flags;
		back.csum_start = hdr->csum_start;
		back.csum_offset = hdr->csum_offset;
	} else if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		vhostbe_csum_complete(frame, len, hdr->csum_start, hdr->csum_offset);
	}
	be_deliver(be, &back, frame, len);	/* no buffer: dropped, as on a wire */
	return true;
}

static const struct be_port_ops be_port_echo = { .tx = echo_tx };

void vhostbe_port_echo(struct vhostbe *be)
{
	be_set_port(be, &be_port_echo, -1, false);
}

/* --------------------------------------------------------------- datagram --- */

static bool fd_tx(struct vhostbe *be, const struct virtio_net_hdr_v1 *hdr, uint8_t *frame,
		  uint32_t len)
{
	if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		vhostbe_csum_complete(frame, len, hdr->csum_start, hdr->csum_offset);
	return send(be->port_fd, frame, len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno != EAGAIN;
}

static unsigned int fd_poll(struct vhostbe *be)
{
	struct virtio_net_hdr_v1 hdr = { .num_buffers = 1 };
	unsigned int n;

	for (n = 0; n < BURST; n++) {
		ssize_t len = recv(be->port_fd, be->bounce, VHOSTBE_FRAME_MAX, MSG_DONTWAIT);

		if (len < 14)
			break;
		be_deliver(be, &hdr, be->bounce, (uint32_t)len);
	}
	return n;
}

static const struct be_port_ops be_port_fd = { .tx = fd_tx, .poll = fd_poll };

int vhostbe_port_fd(struct vhostbe *be, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK))
		return -errno;
	be_set_port(be, &be_port_fd, fd, false);
	return 0;
}

/* -------------------------------------------------------------------- TAP --- */

static bool tap_tx(struct vhostbe *be, const struct virtio_net_hdr_v1 *hdr, uint8_t *frame,
		   uint32_t len)
{
	struct virtio_net_hdr_v1 out = *hdr;
	struct iovec iov[2] = { { &out, BE_HDR_BYTES }, { frame, len } };

	out.num_buffers = 0;
	/* A frame that the interface refuses (down, say) is lost, as on a wire. */
	return writev(be->port_fd, iov, 2) >= 0 || errno != EAGAIN;
}

static unsigned int tap_poll(struct vhostbe *be)
{
	unsigned int n;

	for (n = 0; n < BURST; n++) {
		struct virtio_net_hdr_v1 hdr;
		ssize_t len = read(be->port_fd, be->bounce, sizeof(be->bounce));

		if (len < (ssize_t)(BE_HDR_BYTES + 14))
			break;
		memcpy(&hdr, be->bounce, BE_HDR_BYTES);
		hdr.num_buffers = 1;
		be_deliver(be, &hdr, be->bounce + BE_HDR_BYTES, (uint32_t)len - BE_HDR_BYTES);
	}
	return n;
}

/* Partial checksums and long frames may come in only if the driver takes them. */
static void tap_features(struct vhostbe *be)
{
	unsigned int offload = 0;

	if (be->features & (1ULL << VIRTIO_NET_F_GUEST_CSUM)) {
		offload = TUN_F_CSUM;
		if (be->features & (1ULL << VIRTIO_NET_F_GUEST_TSO4))
			offload |= TUN_F_TSO4;
		if (be->features & (1ULL << VIRTIO_NET_F_GUEST_TSO6))
			offload |= TUN_F_TSO6;
		if ((be->features & USO_RX) == USO_RX)	/* the kernel knows both together only */
			offload |= TUN_F_USO4 | TUN_F_USO6;
	}
	if (ioctl(be->port_fd, TUNSETOFFLOAD, offload))
		be_fail(be, "the TAP interface refuses offloads 0x%x", offload);
}

static const struct be_port_ops be_port_tap = {
	.cuts = true, .tx = tap_tx, .poll = tap_poll, .features = tap_features,
};

int vhostbe_port_tap(struct vhostbe *be, const char *ifname)
{
	int hdr_bytes = BE_HDR_BYTES;
	struct ifreq ifr;
	int fd, err;

	if (strlen(ifname) >= sizeof(ifr.ifr_name))
		return -ENAMETOOLONG;
	memset(&ifr, 0, sizeof(ifr));
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ifr.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	memcpy(ifr.ifr_name, ifname, strlen(ifname) + 1);
	if (ioctl(fd, TUNSETIFF, &ifr) || ioctl(fd, TUNSETVNETHDRSZ, &hdr_bytes) ||
	    ioctl(fd, TUNSETOFFLOAD, 0)) {
		err = -errno;
		close(fd);
		return err;
	}
	be_set_port(be, &be_port_tap, fd, true);
	/* Linux cuts up datagrams, and joins them, from 6.2 on: else we do the one, and offer the other to nobody. */
	be->port_cuts_udp = !ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6);
	if (!be->port_cuts_udp)
		be->offered &= ~USO_RX;
	else if (ioctl(fd, TUNSETOFFLOAD, 0))
		be->port_cuts_udp = false;
	if (be->has_features)
		tap_features(be);
	return 0;
}
