// SPDX-License-Identifier: MIT
/* The feature table of vnet; bits without a row are not negotiated either. */
#include "vnet_features.h"
#include "nomdrv/vnet.h"

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include <stddef.h>

#define USED(f, why)	{ f, #f, VNET_FEATURE_USED, why }
#define ASKED(f, why)	{ f, #f, VNET_FEATURE_ASKED, why }
#define NO(f, why)	{ f, #f, VNET_FEATURE_NO, why }

const struct vnet_feature vnet_features_table[] = {
	USED(VIRTIO_NET_F_CSUM, "the device completes transport checksums of sent frames"),
	USED(VIRTIO_NET_F_GUEST_CSUM, "the device vouches for checksums of received frames"),
	NO(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, "offloads do not change while running"),
	USED(VIRTIO_NET_F_MTU, "the link's MTU, where the buffers hold it"),
	USED(VIRTIO_NET_F_MAC, "own address"),
	ASKED(VIRTIO_NET_F_GUEST_TSO4, "many TCP segments in one frame; with MRG_RXBUF and GUEST_CSUM only"),
	ASKED(VIRTIO_NET_F_GUEST_TSO6, "as GUEST_TSO4"),
	NO(VIRTIO_NET_F_GUEST_ECN, "no stack here speaks ECN (RFC 3168), so no peer marks segments with CWR"),
	NO(VIRTIO_NET_F_GUEST_UFO, "part of UDP fragmentation"),
	USED(VIRTIO_NET_F_HOST_TSO4, "the device cuts long frames into TCP packets; with CSUM only"),
	USED(VIRTIO_NET_F_HOST_TSO6, "as HOST_TSO4, by the frame's Ethernet type"),
	NO(VIRTIO_NET_F_HOST_ECN, "no stack here speaks ECN: none of its segments carries CWR"),
	NO(VIRTIO_NET_F_HOST_UFO, "part of UDP fragmentation"),
	ASKED(VIRTIO_NET_F_MRG_RXBUF, "a frame in several buffers; one holds a full frame of MTU 1500"),
	USED(VIRTIO_NET_F_STATUS, "link state"),
	ASKED(VIRTIO_NET_F_CTRL_VQ, "control queue, for the rows that begin with CTRL"),
	ASKED(VIRTIO_NET_F_CTRL_RX, "promiscuous, all multicast, further addresses"),
	ASKED(VIRTIO_NET_F_CTRL_VLAN, "VLANs let in one by one; none at first"),
	ASKED(VIRTIO_NET_F_CTRL_RX_EXTRA, "five more receive modes"),
	ASKED(VIRTIO_NET_F_GUEST_ANNOUNCE, "the stack is told to announce itself, after a migration"),
	ASKED(VIRTIO_NET_F_MQ, "with nr_pairs above 1: queue pairs for as many cores"),
	ASKED(VIRTIO_NET_F_CTRL_MAC_ADDR, "another address while running"),
	USED(VIRTIO_RING_F_INDIRECT_DESC, "a sent frame of four parts or more takes one descriptor of the ring"),
	USED(VIRTIO_RING_F_EVENT_IDX, "doorbells and interrupts only when the other side sleeps"),
	USED(VIRTIO_F_VERSION_1, "required: the modern device"),
	USED(VIRTIO_F_ACCESS_PLATFORM, "addresses are what VFIO says, with and without an IOMMU"),
	USED(VIRTIO_F_RING_PACKED, "one ring instead of three tables"),
	USED(VIRTIO_F_IN_ORDER, "with packed rings only: one descriptor reports a batch as sent"),
	USED(VIRTIO_F_ORDER_PLATFORM, "barriers are those of a real device"),
	NO(VIRTIO_F_SR_IOV, "physical functions only"),
	NO(VIRTIO_F_RING_RESET, "the whole device is reset"),
	ASKED(VIRTIO_NET_F_GUEST_USO4, "many UDP datagrams of one size in one frame; with MRG_RXBUF and GUEST_CSUM only"),
	ASKED(VIRTIO_NET_F_GUEST_USO6, "as GUEST_USO4"),
	USED(VIRTIO_NET_F_HOST_USO, "the device cuts long frames into UDP datagrams of one size; with CSUM only"),
	NO(VIRTIO_NET_F_HASH_REPORT, "nobody asks for a frame's hash"),
	ASKED(VIRTIO_NET_F_RSS, "with nr_pairs above 1: flows spread over the pairs by a keyed hash"),
};

const unsigned int vnet_nr_features = sizeof(vnet_features_table) / sizeof(vnet_features_table[0]);

const char *vnet_feature_name(unsigned int bit)
{
	for (unsigned int i = 0; i < vnet_nr_features; i++)
		if (vnet_features_table[i].bit == bit)
			return vnet_features_table[i].name;
	return NULL;
}
