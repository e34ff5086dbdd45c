/* SPDX-License-Identifier: MIT */
/*
 * vhu_rig.h - a vhost-user back-end that is a program: for the front-end's tests
 *
 * It answers as it should, one message a call, and knows where the rings are.
 * A test makes it answer otherwise with @twist.  The front-end is in the same
 * process, so memory is where the front-end says; as long as it is connected.
 */
#ifndef TESTS_VHU_RIG_H
#define TESTS_VHU_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/virtio_net.h>

#include "../../userdrivers/src/vhost_user_msg.h"

#define VHU_RIG_QUEUES	3

/**
 * struct vhu_rig_queue - a ring
 * @size, @addr: as told; @on: there is a descriptor to kick it with
 * @at: for whoever plays the device: its position, free-running
 */
struct vhu_rig_queue {
	unsigned int size, at;
	struct vhost_vring_addr addr;
	bool on;
};

/**
 * struct vhu_rig - the back-end
 * @fd: the connection, -1: none
 * @offered, @protocol, @config: of its device
 * @twist: given a reply and how many bytes of it will be sent; may change both, and
 *	set @hang_up
 * @served: messages
 */
struct vhu_rig {
	int listen_fd, fd;
	char path[64];
	uint64_t offered, protocol, accepted;
	struct virtio_net_config config;
	struct vhu_mem_region mem;
	struct vhu_rig_queue q[VHU_RIG_QUEUES];
	void (*twist)(struct vhu_rig *s, struct vhu_msg *m, size_t *bytes);
	bool hang_up;
	unsigned int served;
};

void vhu_rig_begin(struct vhu_rig *s);
/* Takes a connection if there is none, and a message if there is one; for vnet_opts.wait, with the rig as its argument. */
void vhu_rig_serve(void *rig);
void vhu_rig_hang_up(struct vhu_rig *s);
void vhu_rig_end(struct vhu_rig *s);

/* Whether the front-end is there, and so its memory. */
bool vhu_rig_connected(struct vhu_rig *s);
/* What a descriptor means; NULL: not all of it lies in the front-end's memory. */
void *vhu_rig_va(const struct vhu_rig *s, uint64_t addr, size_t bytes);

#endif /* TESTS_VHU_RIG_H */
