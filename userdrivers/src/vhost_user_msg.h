/* SPDX-License-Identifier: MIT */
/*
 * vhost-user messages on the wire, as far as both our ends speak them.
 *
 * The protocol is QEMU's docs/interop/vhost-user.rst; unlike the virtio rings
 * it has no header in the kernel, so the numbers stand here.  Ring state and
 * addresses are the kernel's structs of <linux/vhost_types.h>.
 *
 * A message is a header of 12 bytes and a payload; file descriptors travel
 * beside it (SCM_RIGHTS).  All fields are in the host's byte order.
 */
#ifndef NOMDRV_VHOST_USER_MSG_H
#define NOMDRV_VHOST_USER_MSG_H

#include <stdint.h>
#include <linux/vhost_types.h>

enum vhu_request {
	VHU_GET_FEATURES = 1,
	VHU_SET_FEATURES = 2,
	VHU_SET_OWNER = 3,
	VHU_SET_MEM_TABLE = 5,
	VHU_SET_VRING_NUM = 8,
	VHU_SET_VRING_ADDR = 9,
	VHU_SET_VRING_BASE = 10,
	VHU_GET_VRING_BASE = 11,
	VHU_SET_VRING_KICK = 12,
	VHU_SET_VRING_CALL = 13,
	VHU_SET_VRING_ERR = 14,
	VHU_GET_PROTOCOL_FEATURES = 15,
	VHU_SET_PROTOCOL_FEATURES = 16,
	VHU_SET_VRING_ENABLE = 18,
	VHU_GET_CONFIG = 24,
};

#define VHU_FLAG_VERSION	0x1u
#define VHU_FLAG_VERSION_MASK	0x3u
#define VHU_FLAG_REPLY		(1u << 2)
#define VHU_FLAG_NEED_REPLY	(1u << 3)

/* Among the device features; never negotiated with the device itself. */
#define VHU_F_PROTOCOL_FEATURES	30

#define VHU_PROTOCOL_F_REPLY_ACK	3
#define VHU_PROTOCOL_F_CONFIG		9

#define VHU_VRING_INDEX_MASK	0xffu
#define VHU_VRING_NOFD		(1u << 8)
#define VHU_MEM_REGIONS_MAX	8
#define VHU_CONFIG_BYTES_MAX	256

struct vhu_mem_region {
	uint64_t guest_addr;	/* what descriptors hold */
	uint64_t bytes;
	uint64_t user_addr;	/* what SET_VRING_ADDR holds: the front-end's pointers */
	uint64_t mmap_offset;
};

struct vhu_mem {
	uint32_t nr;
	uint32_t padding;
	struct vhu_mem_region region[VHU_MEM_REGIONS_MAX];
};

struct vhu_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t data[VHU_CONFIG_BYTES_MAX];
};

/*
 * The header's 12 bytes would misalign the payload: a word that is never sent
 * comes first, and what is sent starts at VHU_WIRE().
 */
struct vhu_msg {
	uint32_t unsent;
	uint32_t request;
	uint32_t flags;
	uint32_t size;	/* of the payload */
	union {
		uint64_t u64;
		struct vhost_vring_state state;
		struct vhost_vring_addr addr;
		struct vhu_mem mem;
		struct vhu_config config;
	} u;
};

#define VHU_WIRE(m)		((void *)&(m)->request)
#define VHU_HDR_BYTES		12u
#define VHU_PAYLOAD_MAX		((uint32_t)sizeof(((struct vhu_msg *)0)->u))
#define VHU_CONFIG_HDR_BYTES	12u

_Static_assert(__builtin_offsetof(struct vhu_msg, u) -
	       __builtin_offsetof(struct vhu_msg, request) == VHU_HDR_BYTES, "vhost-user header");
_Static_assert(sizeof(struct vhost_vring_addr) == 40, "vhost-user ring addresses");

#endif /* NOMDRV_VHOST_USER_MSG_H */
