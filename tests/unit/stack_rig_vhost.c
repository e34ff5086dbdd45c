// SPDX-License-Identifier: MIT
/*
 * stack_rig_vhost.c - the rig on the real driver: virtio rings in shared memory
 * and our vhost-user back-end at the other end, one thread playing both
 */
#include "stack_rig.h"

#include "../../userdrivers/vhostbe/vhostbe.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct vhostbe *be;
static struct rig *the_rig;
uint64_t rig_features_off;
static uint16_t mtu;

static void step(void *arg)
{
	vhostbe_step(be);
}

uint64_t rig_device_pieces(void)
{
	return vhostbe_stats(be)->tx_pieces;
}

void rig_device_mtu(uint16_t bytes)
{
	mtu = bytes;
}

/* @features 0: no offload in either direction; large receive is asked for if it is named. */
struct vnet *rig_device_open(struct rig *r, uint64_t features, unsigned tx_ring)
{
	struct vhostbe_opts bo = { .sz = sizeof(bo), .mac = { 0x52, 0x54, 0, 0, 0, 2 }, .mtu = mtu };
	struct vnet_opts vo = { .sz = sizeof(vo), .wait = step };
	struct vnet *v;
	char path[64];

	vo.features_on = features & (1ull << VIRTIO_NET_F_MRG_RXBUF | 1ull << VIRTIO_NET_F_GUEST_TSO4 |
				     1ull << VIRTIO_NET_F_GUEST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_USO4 |
				     1ull << VIRTIO_NET_F_GUEST_USO6);
	if (mtu)
		vo.features_on |= 1ull << VIRTIO_NET_F_MTU;
	if (!features)
		vo.features_off = 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM;
	vo.features_off |= rig_features_off;
	snprintf(path, sizeof(path), "/tmp/stack_rig.%d", (int)getpid());
	t_assert(vhostbe_create(path, &bo, &be) == 0);
	t_assert(vnet_open_vhost_user(path, &vo, &v) == 0);
	the_rig = r;
	return v;
}

void rig_device_replace(void)
{
	struct vhostbe_opts bo = { .sz = sizeof(bo), .mac = { 0x52, 0x54, 0, 0, 0, 2 } };
	char path[64];

	vhostbe_destroy(be);
	snprintf(path, sizeof(path), "/tmp/stack_rig.%d", (int)getpid());
	t_assert(vhostbe_create(path, &bo, &be) == 0);
}

void rig_device_quiet(struct rig *r)
{
	vhostbe_step(be);
}

void rig_device_close(struct rig *r)
{
	vhostbe_step(be);
	t_assert(vnet_error(r->v, NULL) == 0);
	t_assert(vnet_rx_room(r->v) + vnet_rx_pending(r->v) == vnet_rx_size(r->v));
	vnet_tx_reap(r->v, NULL, NULL);
	t_assert(vnet_tx_queued(r->v) == 0);
	t_assert(vhostbe_last_error(be) == NULL);
	vnet_close(r->v);
	vhostbe_destroy(be);
	the_rig = NULL;
}

bool rig_inject_large(struct rig *r, const void *frame, unsigned len, unsigned gso_bytes)
{
	const bool six = ((const uint8_t *)frame)[12] == 0x86;
	struct vhostbe_meta meta = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = six ? 54 : 34, .csum_offset = 16,
		.gso_type = six ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4, .hdr_len = six ? 74 : 54,
		.gso_size = (uint16_t)gso_bytes,
	};
	int rc;

	vhostbe_step(be);
	rc = vhostbe_inject(be, frame, len, &meta);
	t_assert(rc == 0 || rc == -EAGAIN);
	return rc == 0;
}

bool rig_inject_datagrams(struct rig *r, const void *frame, unsigned len, unsigned gso_bytes, unsigned header_flags)
{
	struct vhostbe_meta meta = {
		.flags = (uint8_t)header_flags, .csum_start = 0xffff, .csum_offset = 0xffff,	/* not believed */
		.gso_type = 5, .hdr_len = 1, .gso_size = (uint16_t)gso_bytes,
	};
	int rc;

	vhostbe_step(be);
	rc = vhostbe_inject(be, frame, len, &meta);
	t_assert(rc == 0 || rc == -EAGAIN);
	return rc == 0;
}

/* VNET_RX_CSUM_OK is the device's word: the frame's sum is known to be right. */
bool rig_inject(struct rig *r, const void *frame, unsigned len, unsigned flags)
{
	struct vhostbe_meta meta = { .flags = VIRTIO_NET_HDR_F_DATA_VALID };
	int rc;

	vhostbe_step(be);
	rc = vhostbe_inject(be, frame, len, flags & VNET_RX_CSUM_OK ? &meta : NULL);
	t_assert(rc == 0 || rc == -EAGAIN);
	return rc == 0;
}

bool rig_tx_pop_raw(struct rig_frame *out)
{
	struct vhostbe_meta meta;
	int n;

	vhostbe_step(be);
	n = vhostbe_take(be, out->data, sizeof(out->data), &meta);
	if (n < 0)
		return false;
	memset(out, 0, offsetof(struct rig_frame, data));
	out->len = (uint16_t)n;
	if (meta.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		out->csum_start = meta.csum_start;
		out->csum_offset = meta.csum_offset;
		t_assert(vhostbe_csum_complete(out->data, out->len, meta.csum_start, meta.csum_offset));
	}
	return true;
}
