/* SPDX-License-Identifier: MIT */
/* What the two halves of an AF_XDP socket's interface share: vtrans_xdp.c, vnet_xdp.c. */
#ifndef NOMDRV_VTRANS_XDP_H
#define NOMDRV_VTRANS_XDP_H

#include <linux/if_xdp.h>

#include "nomdrv/dev.h"

#include "kif.h"
#include "vnet_internal.h"

/*
 * A chunk of the UMEM is a buffer of vnet's.  The kernel puts a received frame behind 256
 * bytes that belong to programs, and behind what is asked for here: two, so that the IP header
 * is aligned to 4.
 */
#define XDP_CHUNK_BYTES		VNET_BUF_BYTES
#define XDP_HEADROOM		2u
#define XDP_RX_AT		(256u + XDP_HEADROOM)
#define XDP_RX_MAX		(XDP_CHUNK_BYTES - XDP_RX_AT)

/**
 * struct xdp_ring - one of the four, mapped
 * @producer, @consumer: shared with the kernel, free-running
 * @flags: XDP_RING_NEED_WAKEUP
 * @desc: of struct xdp_desc, or of uint64_t
 * @map, @bytes: to be unmapped
 */
struct xdp_ring {
	uint32_t *producer, *consumer, *flags;
	void *desc, *map;
	size_t bytes;
};

/**
 * struct xdp_dev - an AF_XDP socket as a device
 * @kif: the interface, with a packet socket that never receives
 * @fd: the AF_XDP socket; @map_fd, @link_fd: the program's map, and what holds it on the interface
 * @slots, @mask: of each ring, a power of two, and that less one
 * @umem: vnet's buffers, @umem_bytes of them
 * @rx, @tx, @fill, @done: rings; @rx_next, @tx_next, @fill_next, @tx_oldest: our places in them,
 *	where frames [@tx_oldest, @tx_next) are not known to be sent
 * @tx_stuck: the kernel did not take all that was to leave
 * @asked: mode, as wanted; @mode: as had, see vnet_xdp_mode()
 * @busy_us, @budget: of busy polling, 0: by interrupts
 * @v: the interface, once there is one
 */
struct xdp_dev {
	struct nomdrv_dev dev;
	struct kif kif;
	int fd, map_fd, link_fd;
	unsigned int slots, mask;
	uint8_t *umem;
	size_t umem_bytes;
	struct xdp_ring rx, tx, fill, done;
	uint32_t rx_next, tx_next, fill_next, tx_oldest;
	enum vnet_xdp_mode asked, mode;
	unsigned int busy_us, budget;
	bool tx_stuck;
	struct vnet *v;
};

int vtrans_xdp_create(const char *ifname, const struct vnet_opts *o, struct xdp_dev **out);
/* Is this the device of such an interface? */
bool vtrans_is_xdp(const struct nomdrv_dev *dev);
/* Memory and rings of @v's buffers; before the other ones are used: 0 or -errno. */
int vtrans_xdp_set_up(struct xdp_dev *d, struct vnet *v);
/* Bind, and have frames to @mac and to groups come to us: 0 or -errno. */
int vtrans_xdp_listen(struct xdp_dev *d, const uint8_t mac[6]);

/*
 * xdp_prog.c.  A map of one socket, and a program that hands frames to @mac and to groups to
 * it and all others to the kernel's stack.  Descriptors, close-on-exec, or -errno.
 */
int xdp_map_create(void);
int xdp_map_set(int map_fd, int socket_fd);
int xdp_prog_load(int map_fd, const uint8_t mac[6]);
/* It stays for as long as the descriptor is open.  @generic: not in the driver, but behind its socket buffers. */
int xdp_prog_attach(int prog_fd, int ifindex, bool generic);

#endif /* NOMDRV_VTRANS_XDP_H */
