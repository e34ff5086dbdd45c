// SPDX-License-Identifier: MIT
/* vnet: opening, stopping, beginning again, the end. */
#include "vnet_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <linux/virtio_config.h>

#include "nomux/log.h"

void vnet__fail(struct vnet *v, const char *fmt, ...)
{
	va_list ap;

	if (v->error)
		return;
	va_start(ap, fmt);
	vsnprintf(v->reason, sizeof(v->reason), fmt, ap);
	va_end(ap);
	v->error = -EIO;
	v->slow = true;
	nomux_log(LOG_ERR, "vnet: %s; interface stopped", v->reason);
	vnet__mq_tell_stop(v);
	nomdrv_dev_reset(v->dev);
}

static int set_up_pair(struct vnet *v)
{
	unsigned int how = (nomdrv_dev_has(v->root, VIRTIO_RING_F_EVENT_IDX) ? VRING_EVENT_IDX : 0) |
		(nomdrv_dev_has(v->root, VIRTIO_F_RING_PACKED) ? VRING_PACKED : 0) |
		(nomdrv_dev_has(v->root, VIRTIO_F_IN_ORDER) ? VRING_IN_ORDER : 0);
	struct nomdrv_queue q;
	unsigned int i;
	int err = 0;

	v->slow = v->packed = how & VRING_PACKED;
	vnet__rx_choose(v);
	v->tx_announced = v->stats.tx_packets;
	for (i = 0; !err && i < vnet__nr_queues(v); i++) {
		vring_reset(vnet__ring(v, i), how);
		vring_describe(vnet__ring(v, i), &v->mem, vnet__queue_number(v, i), &q);
		if (i == VNET_RXQ)
			q.irq = (int)nomdrv_irq_rx(v->pair);
		err = v->root->ops->queue_setup(v->root, &q);
	}
	return err;
}

static int set_up_queues(struct vnet *v)
{
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < vnet_nr_pairs(v); i++)
		err = set_up_pair(vnet_pair(v, i));
	return err;
}

static int irq_fd(const struct vnet *v, unsigned int irq)
{
	return v->root->ops->irq_fd ? v->root->ops->irq_fd(v->root, irq) : -EOPNOTSUPP;
}

/* The receive buffers of a device that has just started; none are queued with all of them held. */
static void ring_first(struct vnet *v)
{
	if (vring_queued(&v->rxq) &&
	    (v->packed ? vpacked_announce(&v->rxq) : vring_announce(&v->rxq))) {
		v->dev->ops->kick(v->dev, VNET_RXQ);
		v->stats.doorbells_rx++;
	}
}

/* From a device whose queues are set up to one that runs; only now may a doorbell ring (3.1.1). */
static int go(struct vnet *v)
{
	unsigned int i;
	int err;

	for (i = 0; i < vnet_nr_pairs(v); i++)
		vnet__rx_fill(vnet_pair(v, i));
	err = nomdrv_dev_start(v->root);
	if (err)
		return err;
	vnet__mq_started(v);
	for (i = 0; i < vnet_nr_pairs(v); i++)
		ring_first(vnet_pair(v, i));
	return vnet__ctl_restore(v);
}

int vnet_create(struct nomdrv_dev *dev, const struct vnet_opts *opts, struct vnet **out)
{
	struct vnet_opts o;
	struct vnet *v;
	unsigned int i;
	int err;

	err = vnet__opts(opts, &o);
	if (err)
		return err;
	v = calloc(1, sizeof(*v) + VNET_APART_BYTES);
	if (!v)
		return -ENOMEM;
	v->dev = v->root = dev;
	v->link_up = true;
	v->irq_fd = v->config_fd = -EOPNOTSUPP;
	vnet_auto_set(v, VNET_AUTO_MIN_NS, VNET_AUTO_MAX_NS);
	err = nomdrv_dev_probe(dev);
	if (err)
		goto err_free;
	err = vnet__negotiate(v, &o);
	if (!err)
		err = vnet__mq_create(v, o.nr_pairs);
	if (!err)
		err = vnet__alloc(v, &o);
	if (!err)
		err = set_up_queues(v);
	if (err)
		goto err_reset;
	for (i = 0; i < vnet_nr_pairs(v); i++)
		vnet_pair(v, i)->irq_fd = irq_fd(v, nomdrv_irq_rx(i));
	v->config_fd = irq_fd(v, NOMDRV_IRQ_CONFIG);
	err = go(v);
	if (err)
		goto err_reset;
	nomux_log(LOG_INFO, "vnet: %s device started, features 0x%" PRIx64
		  ", %u pairs of queues %u and %u, %u buffers, MTU %u, MAC %02x:%02x:%02x:%02x:%02x:%02x",
		  dev->ops->name, dev->features, vnet_nr_pairs(v), v->rxq.size, v->txq.size, v->rx_nr_bufs, v->mtu,
		  v->mac[0], v->mac[1], v->mac[2], v->mac[3], v->mac[4], v->mac[5]);
	*out = v;
	return 0;

err_reset:
	nomdrv_dev_reset(dev);
err_free:
	vnet__free(v);
	return err;
}

int vnet__open(struct nomdrv_dev *dev, const struct vnet_opts *o, struct vnet **out)
{
	int err = vnet_create(dev, o, out);

	if (err)
		nomdrv_dev_destroy(dev);
	return err;
}

void vnet_stop(struct vnet *v)
{
	if (v->error)
		return;
	v->error = -ESHUTDOWN;
	v->slow = true;
	snprintf(v->reason, sizeof(v->reason), "stopped by its user");
	vnet__mq_tell_stop(v);
	nomdrv_dev_reset(v->dev);
}

/* Whether the device, just probed again, is one that what we have fits. */
static int same_queues(struct vnet *v, struct vnet *first)
{
	unsigned int size = 0, i, number;
	int err = 0;

	for (i = 0; !err && i < (v->ctl ? VNET_NR_QUEUES : VNET_CTLQ); i++) {
		const struct virtq *r = vnet__ring(v, i);

		number = vnet__queue_number(v, i);
		err = v->root->ops->queue_size(v->root, number, &size);
		if (!err && (size < r->size || size > NOMDRV_QUEUE_MAX)) {
			snprintf(first->reason, sizeof(first->reason), "restart: queue %u has %u entries, had %u",
				 number, size, r->size);
			err = -EPROTO;
		}
	}
	return err;
}

static int same_device(struct vnet *v, uint64_t features)
{
	const struct nomdrv_trans_ops *ops = v->root->ops;
	uint16_t mtu;
	int err;

	if (features & ~v->root->offered) {
		snprintf(v->reason, sizeof(v->reason), "restart: features 0x%" PRIx64 " are no longer offered",
			 features & ~v->root->offered);
		return -EPROTO;
	}
	if (!(features >> VIRTIO_NET_F_MTU & 1))
		return 0;
	err = ops->config_read(v->root, offsetof(struct virtio_net_config, mtu), &mtu, sizeof(mtu));
	if (!err && mtu < v->mtu) {
		snprintf(v->reason, sizeof(v->reason), "restart: MTU is %u, was %u", mtu, v->mtu);
		err = -EPROTO;
	}
	return err;
}

int vnet_restart(struct vnet *v, vnet_tx_done_fn done, void *arg)
{
	struct nomdrv_dev *root = v->root;
	struct vnet *p;
	unsigned int i;
	int err;

	if (v->pair)
		nomdrv__bug(__func__, "the first pair", (long)v->pair);
	if (v->path) {
		vnet_stop(v);
		v->path->tx_reap(v, done, arg);
		return -EOPNOTSUPP;
	}
	for (i = 0; i < vnet_nr_pairs(v); i++)
		vnet_stop(vnet_pair(v, i));
	for (i = 0; i < vnet_nr_pairs(v); i++) {
		p = vnet_pair(v, i);
		p->error = -EIO;	/* until it runs; @done cannot queue */
		vnet__reap_stopped(p, done, arg);
	}
	snprintf(v->reason, sizeof(v->reason), "restart: the device cannot be brought up again");
	err = nomdrv_dev_probe(root);
	if (!err)
		err = same_device(v, v->features);
	if (!err)
		err = nomdrv_dev_negotiate(root, v->features, v->features);
	for (i = 0; !err && i < vnet_nr_pairs(v); i++)	/* which there are is known only now */
		err = same_queues(vnet_pair(v, i), v);
	if (!err)
		err = set_up_queues(v);
	if (!err) {
		for (i = 0; i < vnet_nr_pairs(v); i++) {
			p = vnet_pair(v, i);
			p->error = 0;
			p->irq_empty = 0;
		}
		err = go(v);
	}
	if (err) {
		if (root->state != NOMDRV_CONSTRUCTED)
			nomdrv_dev_reset(root);
		for (i = 0; i < vnet_nr_pairs(v); i++) {
			p = vnet_pair(v, i);
			if (p != v)
				snprintf(p->reason, sizeof(p->reason), "%s", v->reason);
			p->error = -EIO;
			p->slow = true;
		}
		nomux_log(LOG_ERR, "vnet: %s: %s; interface stopped", v->reason, strerror(-err));
		return err;
	}
	for (i = 0; i < vnet_nr_pairs(v); i++)
		vnet_pair(v, i)->stats.restarts++;
	nomux_log(LOG_NOTICE, "vnet: %s device restarted", root->ops->name);
	return 0;
}

void vnet_close(struct vnet *v)
{
	struct nomdrv_dev *dev;
	unsigned int i;

	if (!v)
		return;
	if (v->pair)
		nomdrv__bug(__func__, "the first pair", (long)v->pair);
	dev = v->root;
	nomdrv_dev_reset(dev);
	for (i = 0; i < vnet_nr_pairs(v); i++)
		vnet_irq_unbind(vnet_pair(v, i));
	vnet_config_unbind(v);
	vnet__free(v);
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

/* False: the device did not let it be read. */
static bool read_status(struct vnet *v)
{
	unsigned int what = 0;
	uint16_t status;
	bool up;

	if (v->dev->ops->config_read(v->dev, offsetof(struct virtio_net_config, status), &status,
				     sizeof(status)))
		return false;
	up = status & VIRTIO_NET_S_LINK_UP;
	if (up != v->link_up)
		what |= VNET_EVENT_LINK;
	v->link_up = up;
	if ((status & VIRTIO_NET_S_ANNOUNCE) && !v->pair && nomdrv_dev_has(v->dev, VIRTIO_NET_F_GUEST_ANNOUNCE))
		what |= VNET_EVENT_ANNOUNCE;
	if (what && v->event_fn)
		v->event_fn(what, v->event_arg);
	return true;
}

static void judge_status(struct vnet *v)
{
	int status = v->dev->ops->status(v->dev);

	if (status < 0)
		vnet__fail(v, "device lost: %s", strerror(-status));
	else if (status & VIRTIO_CONFIG_S_NEEDS_RESET)
		vnet__fail(v, "device asks for a reset, status 0x%x", (unsigned int)status);
}

int vnet_check(struct vnet *v)
{
	vnet__mq_look(v);
	if (!v->error)
		judge_status(v);
	/* A back-end that does not answer is lost with that. */
	if (!v->error && nomdrv_dev_has(v->dev, VIRTIO_NET_F_STATUS) && !read_status(v))
		judge_status(v);
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
