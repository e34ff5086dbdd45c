/* SPDX-License-Identifier: MIT */
/*
 * vnet_peer.h - nomdrv/vnet.h from the other end of the rings
 *
 * A stack that is linked with this instead of the driver lives where a guest's
 * device is: what the guest transmits it receives, and what it transmits lands
 * in the guest's receive buffers.  One copy each way, in the thread that polls;
 * no packet passes through a kernel.
 *
 * What a host with a tap would do, this does: checksums that the guest left
 * open are not computed but vouched for, those of its own frames are left open
 * if the guest takes that (GUEST_CSUM), and a frame that the guest left to be
 * cut up (HOST_TSO4) is received in one piece.
 *
 * The whole of nomdrv/vnet.h that a stack calls is here; what belongs to a
 * driver alone (opening, control queue, interrupts as upcalls) is not.
 */
#ifndef VNET_PEER_H
#define VNET_PEER_H

#include <stdint.h>

struct vnet;
struct vhostbe;

/** struct vnet_peer_stats - monotone counters besides those of vnet_stats() */
struct vnet_peer_stats {
	uint64_t tx_lost;	/* frames lost: no rings ran, or a buffer was too short */
	uint64_t tx_waited;	/* frames that waited for a buffer of the guest's */
};

/**
 * vnet_peer_create - an interface at this device's other end
 * @be: the device, to be stepped by the caller; it becomes this interface's (its port)
 * @mac: the interface's own address, not the one that the device offers
 * @out: the interface; give back with vnet_peer_destroy(), before the device
 *
 * Polling takes frames from the transmit ring by vhostbe_poll().  For messages
 * and doorbells the caller calls vhostbe_step() about once a millisecond, and
 * before it sleeps.  Sleep with vhostbe_wait_fd() between vnet_irq_arm() and
 * vnet_irq_disarm(), as a stack's idle functions call them.
 *
 * Return: 0 or -ENOMEM.
 */
int vnet_peer_create(struct vhostbe *be, const uint8_t mac[6], struct vnet **out);
void vnet_peer_destroy(struct vnet *v);

const struct vnet_peer_stats *vnet_peer_stats(const struct vnet *v);

#endif /* VNET_PEER_H */
