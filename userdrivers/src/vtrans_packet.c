// SPDX-License-Identifier: MIT
/*
 * A packet socket with mapped rings in the place of a device (packet(7), and
 * Documentation/networking/packet_mmap.rst of Linux).
 *
 * Version 2 of the rings, not 3: version 3 hands over blocks of frames, when they are
 * full or a timer of at least a millisecond says so, which is longer than a request
 * takes.  The queueing discipline is left out (PACKET_QDISC_BYPASS).  No
 * PACKET_VNET_HDR: what the kernel does for a header of ours costs a short frame more
 * than to sum it up here.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <syslog.h>
#include <unistd.h>
#include <linux/if_ether.h>
#include <linux/virtio_config.h>

#include "nomdrv/vnet.h"
#include "nomux/log.h"

#include "vnet_internal.h"
#include "vtrans_packet.h"

#define SLOTS_DEFAULT	1024u
#define BLOCK_BYTES	4096u	/* pages, which are always to be had */
#define SNDBUF_BYTES	(8 << 20)

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

/* ------------------------------------------------------------- transport --- */

static int make_rings(struct packet_dev *d)
{
	struct tpacket_req req = {
		.tp_block_size = BLOCK_BYTES, .tp_block_nr = d->slots / (BLOCK_BYTES / PACKET_SLOT_BYTES),
		.tp_frame_size = PACKET_SLOT_BYTES, .tp_frame_nr = d->slots,
	};
	int version = TPACKET_V2, one = 1, bytes = SNDBUF_BYTES, err;

	err = set(d->kif.fd, PACKET_VERSION, &version, sizeof(version));
	if (!err)
		err = set(d->kif.fd, PACKET_IGNORE_OUTGOING, &one, sizeof(one));
	if (!err)
		err = set(d->kif.fd, PACKET_QDISC_BYPASS, &one, sizeof(one));
	/* A frame that the interface does not take is dropped, and does not stop those behind it. */
	if (!err)
		err = set(d->kif.fd, PACKET_LOSS, &one, sizeof(one));
	if (err)
		return kif_refuse(&d->kif, err, "an option is missing (Linux 4.20 has all)");
	err = set(d->kif.fd, PACKET_RX_RING, &req, sizeof(req));
	if (!err)
		err = set(d->kif.fd, PACKET_TX_RING, &req, sizeof(req));
	if (err)
		return kif_refuse(&d->kif, err, "no rings");
	/* Frames in the ring count; without the right to raise it the ring is used less far. */
	if (setsockopt(d->kif.fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)))
		setsockopt(d->kif.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	d->map_bytes = 2 * (size_t)d->slots * PACKET_SLOT_BYTES;
	d->map = mmap(NULL, d->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, d->kif.fd, 0);
	if (d->map == MAP_FAILED) {
		d->map = NULL;
		return kif_refuse(&d->kif, -errno, "rings cannot be mapped");
	}
	return 0;
}

static int packet_probe(struct nomdrv_dev *dev, uint64_t *offered_out)
{
	struct packet_dev *d = to_packet(dev);
	int err;

	/* Protocol 0: nothing is received before it is bound, to one interface. */
	d->kif.fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (d->kif.fd < 0)
		return -errno;
	err = kif_look(&d->kif, PACKET_FRAME_MAX);
	if (!err)
		err = make_rings(d);
	*offered_out = kif_features();
	return err;
}

static int packet_set_features(struct nomdrv_dev *dev, uint64_t features)
{
	return 0;
}

static int packet_config_read(struct nomdrv_dev *dev, unsigned int off, void *buf, unsigned int len)
{
	return kif_config_read(&to_packet(dev)->kif, off, buf, len);
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
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = d->kif.ifindex };

	return bind(d->kif.fd, (struct sockaddr *)&at, sizeof(at)) ? kif_refuse(&d->kif, -errno, "cannot bind") : 0;
}

static int packet_reset(struct nomdrv_dev *dev)
{
	struct packet_dev *d = to_packet(dev);

	if (d->map)
		munmap(d->map, d->map_bytes);
	d->map = NULL;
	kif_close(&d->kif);
	return 0;
}

static int packet_status(struct nomdrv_dev *dev)
{
	struct packet_dev *d = to_packet(dev);
	struct tpacket_stats st = { 0 };
	socklen_t bytes = sizeof(st);
	int err, dropped;

	/* Reading clears: drops since the last time, and the error of an interface that went down. */
	if (!getsockopt(d->kif.fd, SOL_PACKET, PACKET_STATISTICS, &st, &bytes) && d->v)
		d->v->stats.rx_lost += st.tp_drops;
	bytes = sizeof(dropped);
	getsockopt(d->kif.fd, SOL_SOCKET, SO_ERROR, &dropped, &bytes);
	err = kif_status(&d->kif);
	if (!err && d->v)
		kif_send_on(&d->kif, d->v);
	return err ? err : VIRTIO_CONFIG_S_DRIVER_OK;
}

static void packet_kick(struct nomdrv_dev *dev, unsigned int index)
{
}

static int packet_dma_alloc(struct nomdrv_dev *dev, size_t bytes, struct nomdrv_dma *out)
{
	return kif_dma_alloc(bytes, out);
}

static void packet_dma_free(struct nomdrv_dev *dev, struct nomdrv_dma *dma)
{
	kif_dma_free(dma);
}

static void packet_destroy(struct nomdrv_dev *dev)
{
	packet_reset(dev);
	free(dev);
}

static int packet_irq_fd(struct nomdrv_dev *dev, unsigned int irq)
{
	return irq == NOMDRV_IRQ_RX ? to_packet(dev)->kif.fd : -EOPNOTSUPP;
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
	struct kif kif;
	int err = kif_init(&kif, "packet socket", ifname);

	if (err)
		return err;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	nomdrv_dev_init(&d->dev, &packet_ops);
	d->kif = kif;
	/* At least a block of each ring. */
	d->slots = !o->queue_size ? SLOTS_DEFAULT : o->queue_size;
	*out = d;
	return 0;
}
