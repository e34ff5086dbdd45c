/* SPDX-License-Identifier: MIT */
/* What the two halves of a packet socket's interface share: vtrans_packet.c, vnet_packet.c. */
#ifndef NOMDRV_VTRANS_PACKET_H
#define NOMDRV_VTRANS_PACKET_H

#include <linux/if_packet.h>

#include "nomdrv/dev.h"

#include "kif.h"

struct vnet;
struct vnet_opts;

/*
 * A slot holds the kernel's header and one frame.  Received ones begin behind header,
 * address and padding, sent ones right behind the header.
 */
#define PACKET_SLOT_BYTES	2048u
#define PACKET_TX_AT		((uint32_t)(TPACKET2_HDRLEN - sizeof(struct sockaddr_ll)))
#define PACKET_RX_AT		80u	/* at most; the kernel says where for each frame */
#define PACKET_FRAME_MAX	(PACKET_SLOT_BYTES - PACKET_RX_AT)

/**
 * struct packet_dev - a packet socket as a device
 * @kif: the interface; its socket is the one with the rings
 * @slots: of each ring, a power of two
 * @map, @map_bytes: both rings, the receive ring first
 * @rx_next: slot that is received into next, free-running
 * @tx_next, @tx_oldest: slots written and not known to be sent: [oldest, next), free-running
 * @nr_done: cookies in vnet.tx_cookie that are to be handed back
 * @v: the interface, once there is one
 */
struct packet_dev {
	struct nomdrv_dev dev;
	struct kif kif;
	unsigned int slots;
	uint8_t *map;
	size_t map_bytes;
	unsigned int rx_next, tx_next, tx_oldest, nr_done;
	struct vnet *v;
};

int vtrans_packet_create(const char *ifname, const struct vnet_opts *o, struct packet_dev **out);

static inline struct tpacket2_hdr *packet_rx_slot(const struct packet_dev *d, unsigned int i)
{
	return (struct tpacket2_hdr *)(d->map + (size_t)(i & (d->slots - 1)) * PACKET_SLOT_BYTES);
}

static inline struct tpacket2_hdr *packet_tx_slot(const struct packet_dev *d, unsigned int i)
{
	return packet_rx_slot(d, i) + (size_t)d->slots * PACKET_SLOT_BYTES / sizeof(struct tpacket2_hdr);
}

#endif /* NOMDRV_VTRANS_PACKET_H */
