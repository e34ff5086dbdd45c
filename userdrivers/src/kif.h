/* SPDX-License-Identifier: MIT */
/* An interface of the kernel's, in the place of a device: what a packet socket and an AF_XDP one have in common. */
#ifndef NOMDRV_KIF_H
#define NOMDRV_KIF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <net/if.h>

#include "nomdrv/dev.h"
#include "nomdrv/vnet.h"

/**
 * struct kif - the interface
 * @kind: of socket that is had on it, for messages
 * @name: when it was opened, for messages; @ifindex: what counts
 * @fd: a packet socket: to ask through, and to hold the membership of kif_listen()
 * @mac: that our frames have, not the interface's own
 * @mtu: when it was opened, as far as buffers hold it
 * @down: it was, when something was to be sent, which waits
 */
struct kif {
	const char *kind;
	char name[IFNAMSIZ];
	int ifindex, fd;
	uint8_t mac[6];
	uint16_t mtu;
	bool down;
};

/* -ENODEV: no interface can have such a name. */
int kif_init(struct kif *k, const char *kind, const char *name);
/* -errno, after a line that says what could not be had. */
int kif_refuse(const struct kif *k, int err, const char *what);
/*
 * What it is: Ethernet, up, its address and MTU.  With @frame_max, the longest frame
 * that has room, the MTU is cut to that.
 */
int kif_look(struct kif *k, uint32_t frame_max);
/* Have it let frames to @mac and to groups in. */
int kif_listen(const struct kif *k, const uint8_t mac[6]);
/* 0, or why it is not any more what it was. */
int kif_status(const struct kif *k);
/* Send what has waited while it was down: with no room left nobody else would try. */
void kif_send_on(struct kif *k, struct vnet *v);
void kif_close(struct kif *k);

/* For struct nomdrv_trans_ops. */
uint64_t kif_features(void);
int kif_config_read(const struct kif *k, unsigned int off, void *buf, unsigned int len);
int kif_dma_alloc(size_t bytes, struct nomdrv_dma *out);
void kif_dma_free(struct nomdrv_dma *dma);

/* Bytes of a frame to be sent, 0: it cannot be one of at most @max. */
uint32_t kif_frame_bytes(const struct vnet_seg *seg, unsigned int nr_seg, uint32_t max);
/* Its bytes, in a row. */
void kif_frame_copy(uint8_t *to, const struct vnet_seg *seg, unsigned int nr_seg);
/* Instead of the virtio rings that vnet_create() made: all buffers are spare. */
struct vnet_path;
void kif_take_over(struct vnet *v, const struct vnet_path *path);

#endif /* NOMDRV_KIF_H */
