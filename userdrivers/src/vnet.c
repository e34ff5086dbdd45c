// SPDX-License-Identifier: MIT
/*
 * vnet: opening, feature choice, memory, the end.
 *
 * All memory the device may reach is one allocation, laid out once: rings,
 * receive buffers, transmit buffers, and the arena of vnet_dma_alloc().
 */
#include "vnet_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
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
#define CTLQ_SIZE		64u	/* a command takes two, and there is one at a time */
#define MTU_MIN			68u
#define MTU_MAX			(VNET_FRAME_MAX_BYTES - VNET_ETH_BYTES - 4u)	/* 4: a VLAN tag */

void vnet__fail(struct vnet *v, const char *fmt, ...)
{
	va_list ap;

	if (v->error)
		return;
	va_start(ap, fmt);
	vsnprintf(v->reason, sizeof(v->reason), fmt, ap);
	va_end(ap);
	v->error = -EIO;
	v->slow = v->rx_slow = true;
	nomux_log(LOG_ERR, "vnet: %s; interface stopped", v->reason);
	nomdrv_dev_reset(v->dev);
}

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
	if (out->features_on & ~with_use(VNET_FEATURE_ASKED))
		return -EOPNOTSUPP;
	if (out->queue_size && (out->queue_size < 2 || out->queue_size > NOMDRV_QUEUE_MAX ||
				(out->queue_size & (out->queue_size - 1))))
		return -EINVAL;
	if (out->nr_bufs > NOMDRV_QUEUE_MAX || out->reserved[0] || out->reserved[1] ||
	    (out->mac[0] & 1))
		return -EINVAL;
	if (!out->arena_bytes)
		out->arena_bytes = ARENA_DEFAULT_BYTES;
	if (out->arena_bytes > (1UL << 40))
		return -EINVAL;
	return 0;
}

/* -------------------------------------------------------------- features --- */

static uint64_t wanted_features(const struct vnet_opts *o)
{
	uint64_t mask = with_use(VNET_FEATURE_USED) | o->features_on;

	return mask & ~(o->features_off & ~(1ULL << VIRTIO_F_VERSION_1));
}

static bool offers(const struct nomdrv_dev *dev, uint64_t wanted, unsigned int bit)
{
	return (dev->offered & wanted) >> bit & 1;
}

/* The MTU is read before features are settled: one we cannot hold is not accepted (5.1.4.1). */
static int choose_mtu(struct vnet *v, uint64_t *wanted)
{
	uint16_t mtu;
	int err;

	v->mtu = VNET_MTU_DEFAULT;
	if (!offers(v->dev, *wanted, VIRTIO_NET_F_MTU))
		return 0;
	err = v->dev->ops->config_read(v->dev, offsetof(struct virtio_net_config, mtu),
				       &mtu, sizeof(mtu));
	if (err)
		return err;
	if (mtu < MTU_MIN) {
		nomux_log(LOG_ERR, "vnet: device claims an MTU of %u bytes, below %u", mtu, MTU_MIN);
		return -EPROTO;
	}
	if (mtu > MTU_MAX && !offers(v->dev, *wanted, VIRTIO_NET_F_MRG_RXBUF)) {
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
	if (nomdrv_dev_has(v->dev, VIRTIO_NET_F_MAC)) {
		err = v->dev->ops->config_read(v->dev, offsetof(struct virtio_net_config, mac),
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

static int negotiate(struct vnet *v, const struct vnet_opts *o)
{
	uint64_t wanted = wanted_features(o);
	int err;

	/* A device that cuts a frame up has to sum the pieces (5.1.3.1). */
	if (!offers(v->dev, wanted, VIRTIO_NET_F_CSUM))
		wanted &= ~(1ULL << VIRTIO_NET_F_HOST_TSO4 | 1ULL << VIRTIO_NET_F_HOST_TSO6);
	/* Large frames come with partial sums, and in many buffers: ours hold 2 KiB. */
	if (!offers(v->dev, wanted, VIRTIO_NET_F_GUEST_CSUM) ||
	    !offers(v->dev, wanted, VIRTIO_NET_F_MRG_RXBUF))
		wanted &= ~(1ULL << VIRTIO_NET_F_GUEST_TSO4 | 1ULL << VIRTIO_NET_F_GUEST_TSO6);
	if (!offers(v->dev, wanted, VIRTIO_NET_F_CTRL_VQ))
		wanted &= ~CTRL_FEATURES;
	/* The request to announce is a bit of the status. */
	if (!offers(v->dev, wanted, VIRTIO_NET_F_STATUS))
		wanted &= ~(1ULL << VIRTIO_NET_F_GUEST_ANNOUNCE);
	/* A split ring would have to hand out descriptors in order (2.7.9); ours reuses the last freed. */
	if (!offers(v->dev, wanted, VIRTIO_F_RING_PACKED))
		wanted &= ~(1ULL << VIRTIO_F_IN_ORDER);

	err = choose_mtu(v, &wanted);
	if (!err)
		err = nomdrv_dev_negotiate(v->dev, wanted, 1ULL << VIRTIO_F_VERSION_1);
	if (!err)
		err = choose_mac(v, o);
	if (err)
		return err;
	v->tx_csum = nomdrv_dev_has(v->dev, VIRTIO_NET_F_CSUM);
	v->tx_tso = nomdrv_dev_has(v->dev, VIRTIO_NET_F_HOST_TSO4);
	v->tx_tso6 = nomdrv_dev_has(v->dev, VIRTIO_NET_F_HOST_TSO6);
	v->rx_mrg = nomdrv_dev_has(v->dev, VIRTIO_NET_F_MRG_RXBUF);
	v->rx_gso = (uint8_t)(1u << VIRTIO_NET_HDR_GSO_NONE |
		nomdrv_dev_has(v->dev, VIRTIO_NET_F_GUEST_TSO4) << VIRTIO_NET_HDR_GSO_TCPV4 |
		nomdrv_dev_has(v->dev, VIRTIO_NET_F_GUEST_TSO6) << VIRTIO_NET_HDR_GSO_TCPV6);
	v->rx_csum_mask = nomdrv_dev_has(v->dev, VIRTIO_NET_F_GUEST_CSUM) ?
		VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID : 0;
	v->tx_frame_max = v->mtu + VNET_ETH_BYTES + 4;
	v->tx_copy_max = v->tx_frame_max < VNET_FRAME_MAX_BYTES ? v->tx_frame_max : VNET_FRAME_MAX_BYTES;
	return 0;
}

/* ---------------------------------------------------------------- memory --- */

/* The control queue is the last one, behind a single pair (5.1.2). */
static unsigned int nr_queues(const struct vnet *v)
{
	return nomdrv_dev_has(v->dev, VIRTIO_NET_F_CTRL_VQ) ? VNET_NR_QUEUES : VNET_CTLQ;
}

static struct virtq *ring_of(struct vnet *v, unsigned int index)
{
	return index == VNET_RXQ ? &v->rxq : index == VNET_TXQ ? &v->txq : &v->ctl->q;
}

static int queue_size(struct vnet *v, unsigned int index, const struct vnet_opts *o,
		      unsigned int *size_out)
{
	unsigned int size = 0;
	int err;

	err = v->dev->ops->queue_size(v->dev, index, &size);
	if (err)
		return err;
	if (size < 2 || size > NOMDRV_QUEUE_MAX || (size & (size - 1))) {
		nomux_log(LOG_ERR, "vnet: queue %u: size %u is not a power of two from 2 to %u",
			  index, size, NOMDRV_QUEUE_MAX);
		return -EPROTO;
	}
	*size_out = o->queue_size && o->queue_size < size ? o->queue_size : size;
	return 0;
}

static int alloc_private(struct vnet *v)
{
	v->rx_dma = calloc(v->rx_nr_bufs, sizeof(*v->rx_dma));
	v->rx_state = calloc(v->rx_nr_bufs, sizeof(*v->rx_state));
	v->rx_spare = calloc(v->rx_nr_bufs, sizeof(*v->rx_spare));
	v->rx_priv = aligned_alloc(64, (size_t)v->rx_nr_bufs * VNET_PRIV_BYTES);
	v->tx_cookie = calloc(v->txq.size, sizeof(*v->tx_cookie));
	if (!v->rx_dma || !v->rx_state || !v->rx_spare || !v->rx_priv || !v->tx_cookie)
		return -ENOMEM;
	memset(v->rx_priv, 0, (size_t)v->rx_nr_bufs * VNET_PRIV_BYTES);
	return 0;
}

static int alloc_memory(struct vnet *v, const struct vnet_opts *o)
{
	unsigned int size[VNET_NR_QUEUES] = { 0 };
	size_t bytes;
	unsigned int i, bufs, longest;
	int err;

	for (i = 0; i < nr_queues(v); i++) {
		err = queue_size(v, i, o, &size[i]);
		if (err)
			return err;
	}
	bufs = o->nr_bufs ? o->nr_bufs : 2 * size[VNET_RXQ];
	if (bufs > NOMDRV_QUEUE_MAX)
		bufs = NOMDRV_QUEUE_MAX;
	if (bufs < size[VNET_RXQ]) {
		nomux_log(LOG_ERR, "vnet: %u receive buffers are fewer than the queue's %u entries",
			  bufs, size[VNET_RXQ]);
		return -EINVAL;
	}
	longest = v->rx_gso != 1u << VIRTIO_NET_HDR_GSO_NONE ? VNET_RX_LARGE_MAX_BYTES : v->tx_frame_max;
	if (v->rx_mrg && size[VNET_RXQ] < (longest + VNET_HDR_BYTES + VNET_DESC_BYTES - 1) / VNET_DESC_BYTES) {
		nomux_log(LOG_ERR, "vnet: a receive queue of %u entries cannot take a frame of %u bytes",
			  size[VNET_RXQ], longest);
		return -EINVAL;
	}
	v->rx_nr_bufs = (uint16_t)bufs;

	/* Each ring part may skip to the next chunk: a part is 512 KiB at most. */
	if (size[VNET_CTLQ] > CTLQ_SIZE)
		size[VNET_CTLQ] = CTLQ_SIZE;
	bytes = vring_bytes(size[VNET_RXQ]) + vring_bytes(size[VNET_TXQ]) + vring_bytes(CTLQ_SIZE) +
		(size_t)(bufs + size[VNET_TXQ] + 2) * VNET_BUF_BYTES + 6 * (512UL << 10) +
		VNET_CTL_BYTES + o->arena_bytes;
	bytes = (bytes + NOMDRV_CHUNK_BYTES - 1) & ~(NOMDRV_CHUNK_BYTES - 1);
	err = v->dev->ops->dma_alloc(v->dev, bytes, &v->mem.m);
	if (err) {
		nomux_log(LOG_ERR, "vnet: no %zu MiB of DMA memory: %s", bytes >> 20, strerror(-err));
		return err;
	}
	err = vring_create(&v->rxq, size[VNET_RXQ], &v->mem);
	if (!err)
		err = vring_create(&v->txq, size[VNET_TXQ], &v->mem);
	if (!err && size[VNET_CTLQ])
		err = vnet__ctl_create(v, o, size[VNET_CTLQ]);
	if (err)
		return err;
	/* Aligned to their size, buffers of 2 KiB never straddle a chunk. */
	v->rx_base = vdma_alloc(&v->mem, (size_t)bufs * VNET_BUF_BYTES, VNET_BUF_BYTES);
	v->tx_base = vdma_alloc(&v->mem, (size_t)size[VNET_TXQ] * VNET_BUF_BYTES, VNET_BUF_BYTES);
	if (!v->rx_base || !v->tx_base)
		return -ENOMEM;
	return alloc_private(v);
}

static void free_all(struct vnet *v)
{
	free(v->tx_cookie);
	free(v->rx_priv);
	free(v->rx_spare);
	free(v->rx_state);
	free(v->rx_dma);
	if (v->ctl)
		vring_destroy(&v->ctl->q);
	free(v->ctl);
	vring_destroy(&v->txq);
	vring_destroy(&v->rxq);
	if (v->mem.m.va)
		v->dev->ops->dma_free(v->dev, &v->mem.m);
	free(v);
}

/* ------------------------------------------------------------- life cycle --- */

static int set_up_queues(struct vnet *v)
{
	unsigned int how = (nomdrv_dev_has(v->dev, VIRTIO_RING_F_EVENT_IDX) ? VRING_EVENT_IDX : 0) |
		(nomdrv_dev_has(v->dev, VIRTIO_F_RING_PACKED) ? VRING_PACKED : 0) |
		(nomdrv_dev_has(v->dev, VIRTIO_F_IN_ORDER) ? VRING_IN_ORDER : 0);
	struct nomdrv_queue q;
	unsigned int i;
	int err = 0;

	v->slow = v->packed = how & VRING_PACKED;
	v->rx_slow = v->packed || v->rx_mrg;
	v->tx_announced = v->stats.tx_packets;
	for (i = 0; !err && i < nr_queues(v); i++) {
		vring_reset(ring_of(v, i), how);
		vring_describe(ring_of(v, i), &v->mem, i, &q);
		err = v->dev->ops->queue_setup(v->dev, &q);
	}
	return err;
}

/* From a device whose queues are set up to one that runs; only now may a doorbell ring (3.1.1). */
static int go(struct vnet *v)
{
	int err;

	vnet__rx_fill(v);
	err = nomdrv_dev_start(v->dev);
	if (err)
		return err;
	/* None are queued after a restart with all of them held. */
	if (vring_queued(&v->rxq) &&
	    (v->packed ? vpacked_announce(&v->rxq) : vring_announce(&v->rxq))) {
		v->dev->ops->kick(v->dev, VNET_RXQ);
		v->stats.doorbells_rx++;
	}
	return vnet__ctl_restore(v);
}

int vnet_create(struct nomdrv_dev *dev, const struct vnet_opts *opts, struct vnet **out)
{
	struct vnet_opts o;
	struct vnet *v;
	int err;

	err = vnet__opts(opts, &o);
	if (err)
		return err;
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->dev = dev;
	v->link_up = true;
	v->irq_fd = v->config_fd = -EOPNOTSUPP;
	vnet_auto_set(v, VNET_AUTO_MIN_NS, VNET_AUTO_MAX_NS);
	err = nomdrv_dev_probe(dev);
	if (err)
		goto err_free;
	err = negotiate(v, &o);
	if (!err)
		err = alloc_memory(v, &o);
	if (!err)
		err = set_up_queues(v);
	if (err)
		goto err_reset;
	if (dev->ops->irq_fd)
		v->irq_fd = dev->ops->irq_fd(dev);
	if (dev->ops->config_fd)
		v->config_fd = dev->ops->config_fd(dev);
	err = go(v);
	if (err)
		goto err_reset;
	nomux_log(LOG_INFO, "vnet: %s device started, features 0x%" PRIx64
		  ", queues %u and %u, %u buffers, MTU %u, MAC %02x:%02x:%02x:%02x:%02x:%02x",
		  dev->ops->name, dev->features, v->rxq.size, v->txq.size, v->rx_nr_bufs, v->mtu,
		  v->mac[0], v->mac[1], v->mac[2], v->mac[3], v->mac[4], v->mac[5]);
	*out = v;
	return 0;

err_reset:
	nomdrv_dev_reset(dev);
err_free:
	free_all(v);
	return err;
}

void vnet_stop(struct vnet *v)
{
	if (v->error)
		return;
	v->error = -ESHUTDOWN;
	v->slow = v->rx_slow = true;
	snprintf(v->reason, sizeof(v->reason), "stopped by its user");
	nomdrv_dev_reset(v->dev);
}

/* Whether the device, just probed again, is one that what we have fits. */
static int same_device(struct vnet *v, uint64_t features)
{
	const struct nomdrv_trans_ops *ops = v->dev->ops;
	unsigned int size = 0, i;
	uint16_t mtu;
	int err;

	if (features & ~v->dev->offered) {
		snprintf(v->reason, sizeof(v->reason), "restart: features 0x%" PRIx64 " are no longer offered",
			 features & ~v->dev->offered);
		return -EPROTO;
	}
	for (i = 0; i < (v->ctl ? VNET_NR_QUEUES : VNET_CTLQ); i++) {
		const struct virtq *r = ring_of(v, i);

		err = ops->queue_size(v->dev, i, &size);
		if (!err && (size < r->size || size > NOMDRV_QUEUE_MAX)) {
			snprintf(v->reason, sizeof(v->reason), "restart: queue %u has %u entries, had %u", i,
				 size, r->size);
			err = -EPROTO;
		}
		if (err)
			return err;
	}
	if (!(features >> VIRTIO_NET_F_MTU & 1))
		return 0;
	err = ops->config_read(v->dev, offsetof(struct virtio_net_config, mtu), &mtu, sizeof(mtu));
	if (!err && mtu < v->mtu) {
		snprintf(v->reason, sizeof(v->reason), "restart: MTU is %u, was %u", mtu, v->mtu);
		err = -EPROTO;
	}
	return err;
}

int vnet_restart(struct vnet *v, vnet_tx_done_fn done, void *arg)
{
	uint64_t features = v->dev->features ? v->dev->features : v->features;
	int err;

	v->features = features;
	vnet_stop(v);
	v->error = -EIO;	/* until it runs; @done cannot queue */
	vnet__reap_stopped(v, done, arg);
	snprintf(v->reason, sizeof(v->reason), "restart: the device cannot be brought up again");
	err = nomdrv_dev_probe(v->dev);
	if (!err)
		err = same_device(v, features);
	if (!err)
		err = nomdrv_dev_negotiate(v->dev, features, features);
	if (!err)
		err = set_up_queues(v);
	if (!err) {
		v->error = 0;
		v->irq_empty = 0;
		err = go(v);
	}
	if (err) {
		if (v->dev->state != NOMDRV_CONSTRUCTED)
			nomdrv_dev_reset(v->dev);
		v->error = -EIO;
		v->slow = v->rx_slow = true;
		nomux_log(LOG_ERR, "vnet: %s: %s; interface stopped", v->reason, strerror(-err));
		return err;
	}
	v->stats.restarts++;
	nomux_log(LOG_NOTICE, "vnet: %s device restarted", v->dev->ops->name);
	return 0;
}

void vnet_close(struct vnet *v)
{
	struct nomdrv_dev *dev;

	if (!v)
		return;
	dev = v->dev;
	nomdrv_dev_reset(dev);
	vnet_irq_unbind(v);
	vnet_config_unbind(v);
	free_all(v);
	nomdrv_dev_destroy(dev);
}

const uint8_t *vnet_mac(const struct vnet *v)
{
	return v->mac;
}

unsigned int vnet_mtu(const struct vnet *v)
{
	return v->mtu;
}

uint64_t vnet_features(const struct vnet *v)
{
	return v->dev->features;
}

bool vnet_link_up(const struct vnet *v)
{
	return v->link_up;
}

void *vnet_dma_alloc(struct vnet *v, size_t bytes, size_t align)
{
	if (!align || (align & (align - 1)) || align > 4096)
		return NULL;
	return vdma_alloc(&v->mem, bytes, align);
}

bool vnet_dma_contains(const struct vnet *v, const void *p, size_t bytes)
{
	return vdma_contains(&v->mem, p, bytes);
}

static void read_status(struct vnet *v)
{
	unsigned int what = 0;
	uint16_t status;
	bool up;

	if (v->dev->ops->config_read(v->dev, offsetof(struct virtio_net_config, status), &status,
				     sizeof(status)))
		return;
	up = status & VIRTIO_NET_S_LINK_UP;
	if (up != v->link_up)
		what |= VNET_EVENT_LINK;
	v->link_up = up;
	if ((status & VIRTIO_NET_S_ANNOUNCE) && nomdrv_dev_has(v->dev, VIRTIO_NET_F_GUEST_ANNOUNCE))
		what |= VNET_EVENT_ANNOUNCE;
	if (what && v->event_fn)
		v->event_fn(what, v->event_arg);
}

int vnet_check(struct vnet *v)
{
	int status;

	if (v->error)
		return v->error;
	status = v->dev->ops->status(v->dev);
	if (status < 0)
		vnet__fail(v, "device lost: %s", strerror(-status));
	else if (status & VIRTIO_CONFIG_S_NEEDS_RESET)
		vnet__fail(v, "device asks for a reset, status 0x%x", (unsigned int)status);
	if (v->error)
		return v->error;
	if (nomdrv_dev_has(v->dev, VIRTIO_NET_F_STATUS))
		read_status(v);
	return v->error;
}

void vnet_on_event(struct vnet *v, vnet_event_fn fn, void *arg)
{
	v->event_fn = fn;
	v->event_arg = arg;
}

int vnet_error(const struct vnet *v, const char **reason_out)
{
	if (reason_out)
		*reason_out = v->error ? v->reason : NULL;
	return v->error;
}

const struct vnet_stats *vnet_stats(const struct vnet *v)
{
	return &v->stats;
}
