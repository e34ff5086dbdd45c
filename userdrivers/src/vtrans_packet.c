// SPDX-License-Identifier: MIT
/*
 * A packet socket with mapped rings in the place of a device (packet(7), and
 * Documentation/networking/packet_mmap.rst of Linux).
 *
 * The interface stays the kernel's, with its driver.  Two things keep the kernel's
 * stack from answering, too: our frames have an Ethernet address of their own, which
 * the interface is told to let in, so that to the kernel they are another station's
 * and the first thing ip_rcv() drops; and the user gives the interface no IP address
 * of ours.
 *
 * Version 2 of the rings, not 3: version 3 hands over blocks of frames, when they are
 * full or a timer of at least a millisecond says so, which is longer than a request
 * takes.  The queueing discipline is left out (PACKET_QDISC_BYPASS).  No
 * PACKET_VNET_HDR: what the kernel does for a header of ours costs a short frame more
 * than to sum it up here.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if_arp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <syslog.h>
#include <unistd.h>
#include <linux/if_ether.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "nomdrv/vnet.h"
#include "nomux/log.h"

#include "vnet_internal.h"
#include "vtrans_packet.h"

#define SLOTS_DEFAULT	1024u
#define BLOCK_BYTES	4096u	/* pages, which are always to be had */
#define SNDBUF_BYTES	(8 << 20)
#define FEATURE(n)	(1ULL << (n))

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

_Static_assert(TPACKET_ALIGN(TPACKET2_HDRLEN + 16) == PACKET_RX_AT, "tpacket_rcv(): where a received frame's IP header begins");

static struct packet_dev *to_packet(struct nomdrv_dev *dev)
{
	return (struct packet_dev *)dev;
}

static int set(int fd, int option, const void *value, socklen_t bytes)
{
	return setsockopt(fd, SOL_PACKET, option, value, bytes) ? -errno : 0;
}

/* -errno, after a line that says what @d could not have. */
static int refuse(const struct packet_dev *d, int err, const char *what)
{
	nomux_log(LOG_ERR, "vnet: packet socket on %s: %s: %s", d->name, what, strerror(-err));
	return err;
}

/* ------------------------------------------------------------- transport --- */

/* What the interface is: Ethernet, up, and its address and MTU. */
static int look_at_interface(struct packet_dev *d)
{
	struct ifreq ifr = { 0 };

	memcpy(ifr.ifr_name, d->name, sizeof(d->name));
	if (ioctl(d->fd, SIOCGIFINDEX, &ifr))
		return -errno;
	d->ifindex = ifr.ifr_ifindex;
	if (ioctl(d->fd, SIOCGIFHWADDR, &ifr))
		return -errno;
	if (ifr.ifr_hwaddr.sa_family != ARPHRD_ETHER)
		return refuse(d, -EPROTOTYPE, "it is no Ethernet interface");
	memcpy(d->mac, ifr.ifr_hwaddr.sa_data, 6);
	/* Another one, the same each time: locally administered, and a bit turned where that is so already. */
	d->mac[0] = (uint8_t)((d->mac[0] ^ 8) | 2);
	if (ioctl(d->fd, SIOCGIFMTU, &ifr))
		return -errno;
	d->mtu = (uint16_t)(ifr.ifr_mtu > (int)UINT16_MAX ? UINT16_MAX : ifr.ifr_mtu);
	/* Slots hold less than the buffers behind them. */
	if (d->mtu > PACKET_FRAME_MAX - VNET_ETH_BYTES - 4 && d->mtu <= VNET_FRAME_MAX_BYTES - VNET_ETH_BYTES - 4)
		d->mtu = PACKET_FRAME_MAX - VNET_ETH_BYTES - 4;
	if (ioctl(d->fd, SIOCGIFFLAGS, &ifr))
		return -errno;
	return ifr.ifr_flags & IFF_UP ? 0 : refuse(d, -ENETDOWN, "it is not up");
}

static int make_rings(struct packet_dev *d)
{
	struct tpacket_req req = {
		.tp_block_size = BLOCK_BYTES, .tp_block_nr = d->slots / (BLOCK_BYTES / PACKET_SLOT_BYTES),
		.tp_frame_size = PACKET_SLOT_BYTES, .tp_frame_nr = d->slots,
	};
	int version = TPACKET_V2, one = 1, bytes = SNDBUF_BYTES, err;

	err = set(d->fd, PACKET_VERSION, &version, sizeof(version));
	if (!err)
		err = set(d->fd, PACKET_IGNORE_OUTGOING, &one, sizeof(one));
	if (!err)
		err = set(d->fd, PACKET_QDISC_BYPASS, &one, sizeof(one));
	/* A frame that the interface does not take is dropped, and does not stop those behind it. */
	if (!err)
		err = set(d->fd, PACKET_LOSS, &one, sizeof(one));
	if (err)
		return refuse(d, err, "an option is missing (Linux 4.20 has all)");
	err = set(d->fd, PACKET_RX_RING, &req, sizeof(req));
	if (!err)
		err = set(d->fd, PACKET_TX_RING, &req, sizeof(req));
	if (err)
		return refuse(d, err, "no rings");
	/* Frames in the ring count; without the right to raise it the ring is used less far. */
	if (setsockopt(d->fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)))
		setsockopt(d->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	d->map_bytes = 2 * (size_t)d->slots * PACKET_SLOT_BYTES;
	d->map = mmap(NULL, d->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, d->fd, 0);
	if (d->map == MAP_FAILED) {
		d->map = NULL;
		return refuse(d, -errno, "rings cannot be mapped");
	}
	return 0;
}

static int packet_probe(struct nomdrv_dev *dev, uint64_t *offered_out)
{
	struct packet_dev *d = to_packet(dev);
	int err;

	/* Protocol 0: nothing is received before it is bound, to one interface. */
	d->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (d->fd < 0)
		return -errno;
	err = look_at_interface(d);
	if (!err)
		err = make_rings(d);
	*offered_out = FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VIRTIO_NET_F_MTU) | FEATURE(VIRTIO_NET_F_MAC) |
		FEATURE(VIRTIO_NET_F_STATUS);
	return err;
}

static int packet_set_features(struct nomdrv_dev *dev, uint64_t features)
{
	return 0;
}

/* By index, for an interface can be given another name. */
static int ask(struct packet_dev *d, unsigned long what, struct ifreq *ifr)
{
	memset(ifr, 0, sizeof(*ifr));
	ifr->ifr_ifindex = d->ifindex;
	return ioctl(d->fd, SIOCGIFNAME, ifr) || ioctl(d->fd, what, ifr) ? -errno : 0;
}

static int packet_config_read(struct nomdrv_dev *dev, unsigned int off, void *buf, unsigned int len)
{
	struct packet_dev *d = to_packet(dev);
	struct virtio_net_config c = { .mtu = d->mtu };
	struct ifreq ifr;

	memcpy(c.mac, d->mac, 6);
	if (!ask(d, SIOCGIFFLAGS, &ifr) && (ifr.ifr_flags & IFF_UP) && (ifr.ifr_flags & IFF_RUNNING))
		c.status = VIRTIO_NET_S_LINK_UP;
	if (off > sizeof(c) || len > sizeof(c) - off)
		return -EINVAL;
	memcpy(buf, (uint8_t *)&c + off, len);
	return 0;
}

static int packet_queue_size(struct nomdrv_dev *dev, unsigned int index, unsigned int *size_out)
{
	*size_out = index <= VNET_TXQ ? to_packet(dev)->slots : 0;
	return 0;
}

static int packet_queue_setup(struct nomdrv_dev *dev, const struct nomdrv_queue *queue)
{
	return 0;
}

static int packet_start(struct nomdrv_dev *dev)
{
	struct packet_dev *d = to_packet(dev);
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = d->ifindex };

	return bind(d->fd, (struct sockaddr *)&at, sizeof(at)) ? refuse(d, -errno, "cannot bind") : 0;
}

static int packet_reset(struct nomdrv_dev *dev)
{
	struct packet_dev *d = to_packet(dev);

	if (d->map)
		munmap(d->map, d->map_bytes);
	d->map = NULL;
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
	return 0;
}

static int packet_status(struct nomdrv_dev *dev)
{
	struct packet_dev *d = to_packet(dev);
	struct tpacket_stats st = { 0 };
	socklen_t bytes = sizeof(st);
	struct ifreq ifr;
	int err, dropped;

	/* Reading clears: drops since the last time, and the error of an interface that went down. */
	if (!getsockopt(d->fd, SOL_PACKET, PACKET_STATISTICS, &st, &bytes) && d->v)
		d->v->stats.rx_lost += st.tp_drops;
	bytes = sizeof(dropped);
	getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &dropped, &bytes);
	err = ask(d, SIOCGIFMTU, &ifr);
	if (err)
		return err;
	return ifr.ifr_mtu < d->mtu ? -EMSGSIZE : VIRTIO_CONFIG_S_DRIVER_OK;
}

static void packet_kick(struct nomdrv_dev *dev, unsigned int index)
{
}

static int packet_dma_alloc(struct nomdrv_dev *dev, size_t bytes, struct nomdrv_dma *out)
{
	size_t nr = bytes >> NOMDRV_CHUNK_SHIFT, i;
	uint8_t *va = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (va == MAP_FAILED)
		return -errno;
	*out = (struct nomdrv_dma){ .va = va, .bytes = bytes, .chunk_dma = calloc(nr, sizeof(*out->chunk_dma)) };
	if (!out->chunk_dma) {
		munmap(va, bytes);
		*out = (struct nomdrv_dma){ 0 };
		return -ENOMEM;
	}
	for (i = 0; i < nr; i++)
		out->chunk_dma[i] = (uintptr_t)va + (i << NOMDRV_CHUNK_SHIFT);
	return 0;
}

static void packet_dma_free(struct nomdrv_dev *dev, struct nomdrv_dma *dma)
{
	munmap(dma->va, dma->bytes);
	free(dma->chunk_dma);
	*dma = (struct nomdrv_dma){ 0 };
}

static void packet_destroy(struct nomdrv_dev *dev)
{
	packet_reset(dev);
	free(dev);
}

static int packet_irq_fd(struct nomdrv_dev *dev, unsigned int irq)
{
	return irq == NOMDRV_IRQ_RX ? to_packet(dev)->fd : -EOPNOTSUPP;
}

static const struct nomdrv_trans_ops packet_ops = {
	.name = "packet",
	.probe = packet_probe,
	.set_features = packet_set_features,
	.config_read = packet_config_read,
	.queue_size = packet_queue_size,
	.queue_setup = packet_queue_setup,
	.start = packet_start,
	.reset = packet_reset,
	.status = packet_status,
	.kick = packet_kick,
	.dma_alloc = packet_dma_alloc,
	.dma_free = packet_dma_free,
	.destroy = packet_destroy,
	.irq_fd = packet_irq_fd,
};

int vtrans_packet_create(const char *ifname, const struct vnet_opts *o, struct packet_dev **out)
{
	struct packet_dev *d;

	if (strlen(ifname) >= IFNAMSIZ)
		return -ENODEV;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	nomdrv_dev_init(&d->dev, &packet_ops);
	memcpy(d->name, ifname, strlen(ifname));
	/* At least a block of each ring. */
	d->slots = !o->queue_size ? SLOTS_DEFAULT : o->queue_size;
	d->fd = -1;
	*out = d;
	return 0;
}

int vtrans_packet_listen(struct packet_dev *d, const uint8_t mac[6])
{
	struct packet_mreq own = { .mr_ifindex = d->ifindex, .mr_type = PACKET_MR_UNICAST, .mr_alen = 6 };
	struct packet_mreq groups = { .mr_ifindex = d->ifindex, .mr_type = PACKET_MR_ALLMULTI };
	int err;

	memcpy(own.mr_address, mac, 6);
	err = set(d->fd, PACKET_ADD_MEMBERSHIP, &own, sizeof(own));
	if (!err)
		err = set(d->fd, PACKET_ADD_MEMBERSHIP, &groups, sizeof(groups));
	return err ? refuse(d, err, "it does not let our address in") : 0;
}
