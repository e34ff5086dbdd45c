// SPDX-License-Identifier: MIT
/*
 * vnet: options, feature choice, and what the device's configuration says.
 *
 * A value that no device may have is refused here, before any memory is shared.
 */
#include "vnet_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <syslog.h>
#include <linux/virtio_config.h>

#include "nomux/log.h"

#include "vnet_features.h"

/* What makes sense with a control queue only (5.1.3.1). */
#define CTRL_FEATURES	(1ULL << VIRTIO_NET_F_CTRL_RX | 1ULL << VIRTIO_NET_F_CTRL_VLAN | \
			 1ULL << VIRTIO_NET_F_CTRL_RX_EXTRA | 1ULL << VIRTIO_NET_F_CTRL_MAC_ADDR | \
			 1ULL << VIRTIO_NET_F_GUEST_ANNOUNCE)

#define ARENA_DEFAULT_BYTES	(16UL << 20)
#define MTU_MIN			68u
#define MTU_MAX			(VNET_FRAME_MAX_BYTES - VNET_ETH_BYTES - 4u)	/* 4: a VLAN tag */

static uint64_t with_use(enum vnet_feature_use use)
{
	uint64_t mask = 0;
	unsigned int i;

	for (i = 0; i < vnet_nr_features; i++)
		if (vnet_features_table[i].use == use)
			mask |= 1ULL << vnet_features_table[i].bit;
	return mask;
}

int vnet__opts(const struct vnet_opts *opts, struct vnet_opts *out)
{
	const uint8_t *raw = (const uint8_t *)opts;
	size_t i;

	memset(out, 0, sizeof(*out));
	if (opts) {
		if (opts->sz < sizeof(opts->sz))
			return -EINVAL;
		for (i = sizeof(*out); i < opts->sz; i++)
			if (raw[i])
				return -E2BIG;
		memcpy(out, opts, opts->sz < sizeof(*out) ? opts->sz : sizeof(*out));
	}
	out->sz = sizeof(*out);
	if (out->features_on & ~(with_use(VNET_FEATURE_ASKED) | 1ULL << VIRTIO_NET_F_MTU))
		return -EOPNOTSUPP;
	if (out->nr_pairs > NOMDRV_PAIRS_MAX ||
	    (out->nr_pairs < 2 && (out->features_on & (1ULL << VIRTIO_NET_F_MQ | 1ULL << VIRTIO_NET_F_RSS))))
		return -EINVAL;
	if (out->nr_pairs > 1)
		out->features_on |= 1ULL << VIRTIO_NET_F_CTRL_VQ | 1ULL << VIRTIO_NET_F_MQ | 1ULL << VIRTIO_NET_F_RSS;
	if (out->queue_size && (out->queue_size < 2 || out->queue_size > NOMDRV_QUEUE_MAX ||
				(out->queue_size & (out->queue_size - 1))))
		return -EINVAL;
	if (out->nr_bufs > NOMDRV_QUEUE_MAX || out->reserved[0] || out->reserved[1] ||
	    (out->mac[0] & 1) || out->xdp_mode > VNET_XDP_GENERIC || out->xdp_busy_us > 1000000 || out->xdp_busy_budget > 65535)
		return -EINVAL;
	if (!out->arena_bytes)
		out->arena_bytes = ARENA_DEFAULT_BYTES;
	if (out->arena_bytes > (1UL << 40))
		return -EINVAL;
	return 0;
}
static uint64_t wanted_features(const struct vnet_opts *o)
{
	uint64_t mask = with_use(VNET_FEATURE_USED) | o->features_on;

	return mask & ~(o->features_off & ~(1ULL << VIRTIO_F_VERSION_1));
}

/* Features that are left out although offered and wanted, for want of another one. */
static const char *needs(const struct vnet *v, unsigned int bit)
{
	const bool csum = nomdrv_dev_has(v->root, VIRTIO_NET_F_CSUM);

	switch (bit) {
	case VIRTIO_NET_F_HOST_TSO4:
	case VIRTIO_NET_F_HOST_TSO6:
	case VIRTIO_NET_F_HOST_USO:
		return csum ? NULL : "needs VIRTIO_NET_F_CSUM, which is not negotiated";
	case VIRTIO_NET_F_GUEST_TSO4:
	case VIRTIO_NET_F_GUEST_TSO6:
	case VIRTIO_NET_F_GUEST_USO4:
	case VIRTIO_NET_F_GUEST_USO6:
		return "needs VIRTIO_NET_F_MRG_RXBUF and _GUEST_CSUM, which are not both negotiated";
	}
	return NULL;
}

const char *vnet_feature_reason(const struct vnet *v, unsigned int bit)
{
	const char *lacks;
	unsigned int i;

	if (bit < 64 && v->features >> bit & 1)
		return "negotiated";
	if (bit >= 64 || !(v->root->offered >> bit & 1))
		return "the device does not offer it";
	for (i = 0; i < vnet_nr_features && vnet_features_table[i].bit != bit; i++)
		;
	if (i == vnet_nr_features || vnet_features_table[i].use == VNET_FEATURE_NO)
		return "the driver does not use it";
	lacks = needs(v, bit);
	if (!(v->wanted >> bit & 1))
		return "the application did not ask for it, or forbade it";
	return lacks ? lacks : "it does not go together with what else the device offers";
}

static bool offers(const struct nomdrv_dev *dev, uint64_t wanted, unsigned int bit)
{
	return (dev->offered & wanted) >> bit & 1;
}

/* The MTU is read before features are settled: one we cannot hold is not accepted (5.1.4.1). */
static int choose_mtu(struct vnet *v, const struct vnet_opts *o, uint64_t *wanted)
{
	uint16_t mtu;
	int err;

	v->mtu = VNET_MTU_DEFAULT;
	if (!offers(v->root, *wanted, VIRTIO_NET_F_MTU))
		return 0;
	err = v->root->ops->config_read(v->root, offsetof(struct virtio_net_config, mtu),
				       &mtu, sizeof(mtu));
	if (err)
		return err;
	if (mtu < MTU_MIN) {
		nomux_log(LOG_ERR, "vnet: device claims an MTU of %u bytes, below %u", mtu, MTU_MIN);
		return -EPROTO;
	}
	if (mtu > MTU_MAX && o->features_on >> VIRTIO_NET_F_MTU & 1)
		*wanted |= 1ULL << VIRTIO_NET_F_MRG_RXBUF & ~o->features_off;
	if (mtu > MTU_MAX && !offers(v->root, *wanted, VIRTIO_NET_F_MRG_RXBUF)) {
		nomux_log(LOG_NOTICE, "vnet: MTU %u of the device exceeds the buffers, using %u",
			  mtu, VNET_MTU_DEFAULT);
		*wanted &= ~(1ULL << VIRTIO_NET_F_MTU);
		return 0;
	}
	v->mtu = mtu;
	return 0;
}

static int choose_mac(struct vnet *v, const struct vnet_opts *o)
{
	static const uint8_t none[6];
	int err;

	if (memcmp(o->mac, none, 6)) {
		memcpy(v->mac, o->mac, 6);
		return 0;
	}
	if (nomdrv_dev_has(v->root, VIRTIO_NET_F_MAC)) {
		err = v->root->ops->config_read(v->root, offsetof(struct virtio_net_config, mac),
					       v->mac, 6);
		if (!err && ((v->mac[0] & 1) || !memcmp(v->mac, none, 6))) {
			nomux_log(LOG_ERR, "vnet: device claims the address %02x:%02x:%02x:%02x:%02x:%02x, which no interface can have",
				  v->mac[0], v->mac[1], v->mac[2], v->mac[3], v->mac[4], v->mac[5]);
			err = -EPROTO;
		}
		return err;
	}
	if (getrandom(v->mac, 6, GRND_NONBLOCK) != 6)
		return -EAGAIN;
	v->mac[0] = (uint8_t)((v->mac[0] & ~1u) | 2);	/* unicast, locally administered */
	return 0;
}

const char *vnet_no_large_receive(const struct vnet *v)
{
	uint64_t offered = v->root->offered;

	if (v->features >> VIRTIO_NET_F_GUEST_TSO4 & 1)
		return NULL;
	return !(offered >> VIRTIO_NET_F_MRG_RXBUF & 1) ? "no VIRTIO_NET_F_MRG_RXBUF" :
		!(offered >> VIRTIO_NET_F_GUEST_CSUM & 1) ? "no VIRTIO_NET_F_GUEST_CSUM" :
		!(offered >> VIRTIO_NET_F_GUEST_TSO4 & 1) ? "no VIRTIO_NET_F_GUEST_TSO4" : "not asked for";
}

int vnet__negotiate(struct vnet *v, const struct vnet_opts *o)
{
	uint64_t wanted = wanted_features(o);
	int err;

	v->wanted = wanted;
	/* A device that cuts a frame up has to sum the pieces (5.1.3.1). */
	if (!offers(v->root, wanted, VIRTIO_NET_F_CSUM))
		wanted &= ~(1ULL << VIRTIO_NET_F_HOST_TSO4 | 1ULL << VIRTIO_NET_F_HOST_TSO6 |
			    1ULL << VIRTIO_NET_F_HOST_USO);
	/* Large frames come with partial sums, and in many buffers: ours hold 2 KiB. */
	if (!offers(v->root, wanted, VIRTIO_NET_F_GUEST_CSUM) ||
	    !offers(v->root, wanted, VIRTIO_NET_F_MRG_RXBUF))
		wanted &= ~(1ULL << VIRTIO_NET_F_GUEST_TSO4 | 1ULL << VIRTIO_NET_F_GUEST_TSO6 |
			    1ULL << VIRTIO_NET_F_GUEST_USO4 | 1ULL << VIRTIO_NET_F_GUEST_USO6);
	if (!offers(v->root, wanted, VIRTIO_NET_F_CTRL_VQ))
		wanted &= ~CTRL_FEATURES;
	/* The request to announce is a bit of the status. */
	if (!offers(v->root, wanted, VIRTIO_NET_F_STATUS))
		wanted &= ~(1ULL << VIRTIO_NET_F_GUEST_ANNOUNCE);
	/* A split ring would have to hand out descriptors in order (2.7.9); ours reuses the last freed. */
	if (!offers(v->root, wanted, VIRTIO_F_RING_PACKED))
		wanted &= ~(1ULL << VIRTIO_F_IN_ORDER);

	err = choose_mtu(v, o, &wanted);
	if (!err)
		err = vnet__mq_choose(v, o, &wanted);
	if (!err)
		err = nomdrv_dev_negotiate(v->root, wanted, 1ULL << VIRTIO_F_VERSION_1);
	if (!err)
		err = choose_mac(v, o);
	if (err)
		return err;
	v->features = v->root->features;
	v->tx_csum = nomdrv_dev_has(v->root, VIRTIO_NET_F_CSUM);
	v->tx_tso = nomdrv_dev_has(v->root, VIRTIO_NET_F_HOST_TSO4);
	v->tx_tso6 = nomdrv_dev_has(v->root, VIRTIO_NET_F_HOST_TSO6);
	v->tx_uso = nomdrv_dev_has(v->root, VIRTIO_NET_F_HOST_USO);
	v->tx_table_min = nomdrv_dev_has(v->root, VIRTIO_RING_F_INDIRECT_DESC) ? VNET_TABLE_MIN : VNET_TABLE_NONE;
	v->rx_mrg = nomdrv_dev_has(v->root, VIRTIO_NET_F_MRG_RXBUF);
	v->rx_gso = (uint8_t)(1u << VIRTIO_NET_HDR_GSO_NONE |
		nomdrv_dev_has(v->root, VIRTIO_NET_F_GUEST_TSO4) << VIRTIO_NET_HDR_GSO_TCPV4 |
		nomdrv_dev_has(v->root, VIRTIO_NET_F_GUEST_TSO6) << VIRTIO_NET_HDR_GSO_TCPV6 |
		(nomdrv_dev_has(v->root, VIRTIO_NET_F_GUEST_USO4) ||
		 nomdrv_dev_has(v->root, VIRTIO_NET_F_GUEST_USO6)) << VIRTIO_NET_HDR_GSO_UDP_L4);
	v->rx_csum_mask = nomdrv_dev_has(v->root, VIRTIO_NET_F_GUEST_CSUM) ?
		VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID : 0;
	v->tx_frame_max = v->mtu + VNET_ETH_BYTES + 4;
	v->tx_copy_max = v->tx_frame_max < VNET_FRAME_MAX_BYTES ? v->tx_frame_max : VNET_FRAME_MAX_BYTES;
	return 0;
}
