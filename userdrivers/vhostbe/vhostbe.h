/* SPDX-License-Identifier: MIT */
/*
 * vhostbe: a small virtio-net device that speaks vhost-user (back-end).
 *
 * It exists so that drivers and stacks run and are tested without a virtual
 * machine: embedded in a test, where one thread plays both sides, or as the
 * program nom-vhost-backend; and so that a load generator may sit directly at
 * the other end of a guest's rings (vnet_peer.h).  One connection at a time,
 * one queue pair, rings split or packed.
 *
 * It treats its front-end as hostile: messages, memory tables, ring addresses,
 * indices and chains are checked, and a front-end that breaks the protocol loses its connection (vhostbe_last_error() says why).
 * One thing it cannot guard against is a front-end that truncates shared
 * memory under it.
 *
 *	vhostbe_create("/tmp/sock", NULL, &be);
 *	opts.wait = step; opts.wait_arg = be;	// calls vhostbe_step()
 *	vnet_open_vhost_user("/tmp/sock", &opts, &v);
 *	vhostbe_inject(be, frame, len, NULL);	// v receives it
 *	vnet_tx_copy(v, ...); vnet_tx_flush(v);
 *	vhostbe_step(be);
 *	n = vhostbe_take(be, buf, sizeof(buf), &meta);
 */
#ifndef VHOSTBE_H
#define VHOSTBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vhostbe;

#define VHOSTBE_FRAME_MAX	65593u	/* bytes, Ethernet header included */

/**
 * struct vhostbe_opts - what device to be
 * @sz: sizeof(struct vhostbe_opts)
 * @features_off: mask of virtio features not to offer
 * @mac: address that the device offers; zero: 52:54:00:6e:6f:6d
 * @mtu: MTU that it offers; 0: 1500
 * @flags: VHOSTBE_*
 * @features_on: mask of virtio features to offer besides those that it always
 *	has: RING_PACKED, IN_ORDER, INDIRECT_DESC
 */
struct vhostbe_opts {
	size_t sz;
	uint64_t features_off;
	uint8_t mac[6];
	uint16_t mtu;
	uint32_t flags;
	uint64_t features_on;
};

#define VHOSTBE_BUSY	(1u << 0)	/* poll the transmit ring: no doorbells wanted */
/*
 * Packed rings: ask for a doorbell before the ring is emptied and not again
 * afterwards, so that the event lies behind what was taken, as with QEMU when a
 * send has been waiting for its peer.
 */
#define VHOSTBE_ASKS_EARLY	(1u << 1)
/* hdr_len of a frame to be cut up is a hint, as the specification has it and Linux takes it; else it must be right. */
#define VHOSTBE_LENIENT		(1u << 2)

/**
 * struct vhostbe_meta - what the virtio header says about a frame
 * @flags: VIRTIO_NET_HDR_F_*
 * @csum_start, @csum_offset: with NEEDS_CSUM
 * @gso_type, @hdr_len, @gso_size: of a frame of several segments; injected only
 */
struct vhostbe_meta {
	uint8_t flags;
	uint16_t csum_start, csum_offset;
	uint8_t gso_type;
	uint16_t hdr_len, gso_size;
};

/** struct vhostbe_stats - monotone counters */
struct vhostbe_stats {
	uint64_t connections;	/* accepted */
	uint64_t protocol_errors;	/* connections dropped for cause */
	uint64_t kicks_rx, kicks_tx;	/* doorbells seen (coalesced writes count each) */
	uint64_t calls;		/* interrupts sent */
	uint64_t tx_frames;	/* sent by the front-end */
	uint64_t tx_pieces;	/* packets that were cut from some of them */
	uint64_t rx_frames;	/* delivered to it */
	uint64_t rx_dropped;	/* for want of buffers, or too long for one */
};

/**
 * vhostbe_create - listen for a front-end
 * @path: Unix socket, replaced if it exists as one, removed at destroy
 * @opts: options or NULL
 * @out: the device
 *
 * Threads: one; nothing runs outside of vhostbe_step().
 * Return: 0 or -errno.
 */
int vhostbe_create(const char *path, const struct vhostbe_opts *opts, struct vhostbe **out);
void vhostbe_destroy(struct vhostbe *be);

/**
 * vhostbe_step - do all there is to do, without blocking
 *
 * Accepts, answers messages, serves doorbells, moves frames to and from the
 * port.  Return: messages and frames handled, 0: nothing to do.
 */
unsigned int vhostbe_step(struct vhostbe *be);

/**
 * vhostbe_poll - look at the transmit ring only, without a system call
 *
 * For who polls: vhostbe_step() is needed now and then as well, for messages.
 * Return: frames handled.
 */
unsigned int vhostbe_poll(struct vhostbe *be);

/** vhostbe_busy - from now on poll the transmit ring (VHOSTBE_BUSY), or ask for doorbells */
void vhostbe_busy(struct vhostbe *be, bool busy);

/** vhostbe_wait - sleep until a step has something to do, at most @timeout_ms (-1: no bound) */
void vhostbe_wait(struct vhostbe *be, int timeout_ms);

/** vhostbe_wait_fd - the same, or until @fd can be read (below 0: none); returns whether it can */
bool vhostbe_wait_fd(struct vhostbe *be, int fd, int timeout_ms);

/** vhostbe_running - a front-end is connected and both rings run */
bool vhostbe_running(const struct vhostbe *be);

/** vhostbe_features - features the front-end accepted */
uint64_t vhostbe_features(const struct vhostbe *be);

/** vhostbe_last_error - why the last connection was dropped for cause, or NULL */
const char *vhostbe_last_error(const struct vhostbe *be);

const struct vhostbe_stats *vhostbe_stats(const struct vhostbe *be);

#define VHOSTBE_ADDR_MAX	64

/**
 * struct vhostbe_rx - what the front-end has asked for on the control queue
 * @commands, @refused: answered with OK, with ERR
 * @mac: address that was set, or zero
 * @mode: bit n: command n of class RX is on (VIRTIO_NET_CTRL_RX_...)
 * @nr_unicast, @nr_multicast, @addr: address table, groups last
 * @vlan: bit map
 * @acks: announcements acknowledged
 *
 * Remembered, not acted upon: frames are injected by a test.
 */
struct vhostbe_rx {
	unsigned int commands, refused, acks;
	uint8_t mac[6], mode;
	unsigned int nr_unicast, nr_multicast;
	uint8_t addr[VHOSTBE_ADDR_MAX][6];
	uint8_t vlan[512];
};

const struct vhostbe_rx *vhostbe_rx_state(const struct vhostbe *be);

/** vhostbe_announce - ask to be announced, until the front-end acknowledges it */
void vhostbe_announce(struct vhostbe *be);

/** vhostbe_set_link - what the link status in configuration space says; up at first */
void vhostbe_set_link(struct vhostbe *be, bool up);

/* ------------------------------------------------------------------ port --- */
/*
 * Where frames come from and go to; one at a time.  At first it is the queue:
 * vhostbe_inject() and vhostbe_take().
 */

/**
 * vhostbe_inject - deliver a frame to the front-end
 * @meta: header flags, or NULL for none
 *
 * Return: 0, -EAGAIN (no buffer: the front-end is slow or absent), -EMSGSIZE
 * (longer than its buffer).  Works with every port.
 */
int vhostbe_inject(struct vhostbe *be, const void *frame, size_t len,
		   const struct vhostbe_meta *meta);

/**
 * vhostbe_take - the next frame the front-end has sent (queue port)
 * @buf: room for @cap bytes
 * @meta: its header flags, or NULL: the checksum is completed if need be
 *
 * Up to 1024 frames are kept; the rest waits in the ring.  A frame that the
 * driver left to be cut up comes as the packets it makes.
 * Return: its length, -EAGAIN (none), -EMSGSIZE (@cap is too small; kept).
 */
int vhostbe_take(struct vhostbe *be, void *buf, size_t cap, struct vhostbe_meta *meta);

/** vhostbe_port_echo - send each frame back, Ethernet addresses swapped; checksum stays partial */
void vhostbe_port_echo(struct vhostbe *be);

/**
 * vhostbe_port_fd - frames are datagrams of a socket
 * @fd: borrowed, made non-blocking; checksums are completed on the way out
 */
int vhostbe_port_fd(struct vhostbe *be, int fd);

/**
 * vhostbe_port_tap - frames go to a TAP interface, checksum offload included
 * @ifname: existing or to be made; with virtio headers (IFF_VNET_HDR)
 *
 * Return: 0 or -errno (-EPERM: needs CAP_NET_ADMIN in its network namespace).
 */
int vhostbe_port_tap(struct vhostbe *be, const char *ifname);

/** vhostbe_csum_complete - do what NEEDS_CSUM asks for; false when outside of the frame */
bool vhostbe_csum_complete(void *frame, size_t len, uint16_t csum_start, uint16_t csum_offset);

#endif /* VHOSTBE_H */
