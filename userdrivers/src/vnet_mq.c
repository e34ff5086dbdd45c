// SPDX-License-Identifier: MIT
/*
 * vnet: several queue pairs on one device, and which frame goes to which.
 *
 * Each pair is a struct vnet of its own: rings, buffers, arena, counters and
 * interrupt, so that its data path is that of a single pair, instruction by
 * instruction, and shares no word that is written with another's.  What pairs
 * have in common is the device; each sees it through a "view" that turns its
 * own queue numbers into the device's.  A doorbell costs one more call that way,
 * and a single pair, which has no view, nothing.
 *
 * The only thing that two pairs may do to the device at once is to stop it.
 * That takes a lock: it is the end of the data path, not a part of it.  The
 * others learn of it at their next vnet_check().
 *
 * Steering (virtio 1.2, 5.1.6.5.5 to 5.1.6.5.7): by a keyed hash of addresses and
 * ports where the device can (RSS), else automatically, where a flow's frames
 * come to the pair that sent its last one.  Only TCP and UDP are hashed: what
 * belongs to no flow (ARP, ICMP, fragments) comes to pair 0.  The key is random,
 * or a peer could choose ports that all lead to one core.
 */
#include "vnet_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <syslog.h>

#include "nomux/log.h"

#define KEY_BYTES	40u	/* of Toeplitz, for the longest input: two IPv6 addresses and ports */
#define TABLE_ENTRIES	128u	/* what each device with RSS has at least (5.1.4.1) */
#define PAIRS_CLAIM_MAX	0x8000u	/* virtio 1.2, 5.1.4.1 */

#define HASHED	(VIRTIO_NET_RSS_HASH_TYPE_TCPv4 | VIRTIO_NET_RSS_HASH_TYPE_UDPv4 | \
		 VIRTIO_NET_RSS_HASH_TYPE_TCPv6 | VIRTIO_NET_RSS_HASH_TYPE_UDPv6)

/* A device as one of its pairs sees it. */
struct view {
	struct nomdrv_dev dev;
	struct vnet_mq *mq;
	unsigned int pair;
};

/**
 * struct vnet_mq - what the pairs of a device share
 * @root: the device; @ops: of its views
 * @nr, @pair: pairs that are used
 * @max: pairs that the device says it has: where its control queue is
 * @hash_types, @key: RSS; types 0: automatic
 * @lock: the device is being stopped
 * @stopped: 0, or 1 + the pair that stopped it; @error and @reason were written before
 */
struct vnet_mq {
	struct nomdrv_dev *root;
	struct nomdrv_trans_ops ops;
	unsigned int nr, max;
	uint32_t hash_types;
	uint8_t key[KEY_BYTES];
	struct vnet *pair[NOMDRV_PAIRS_MAX];
	struct view view[NOMDRV_PAIRS_MAX];
	pthread_mutex_t lock;
	unsigned int stopped;
	int error;
	char reason[160];
};

/* ------------------------------------------------------------------ views --- */

static struct view *to_view(struct nomdrv_dev *dev)
{
	return (struct view *)dev;
}

static unsigned int number(const struct vnet_mq *mq, unsigned int pair, unsigned int index)
{
	return index == VNET_CTLQ ? 2 * mq->max : 2 * pair + index;
}

static void view_kick(struct nomdrv_dev *dev, unsigned int index)
{
	struct view *w = to_view(dev);

	w->mq->root->ops->kick(w->mq->root, number(w->mq, w->pair, index));
}

static int view_reset(struct nomdrv_dev *dev)
{
	struct vnet_mq *mq = to_view(dev)->mq;
	int err;

	pthread_mutex_lock(&mq->lock);
	err = nomdrv_dev_reset(mq->root);
	pthread_mutex_unlock(&mq->lock);
	return err;
}

static int view_status(struct nomdrv_dev *dev)
{
	struct nomdrv_dev *root = to_view(dev)->mq->root;

	return root->ops->status(root);
}

static int view_config_read(struct nomdrv_dev *dev, unsigned int off, void *buf, unsigned int len)
{
	struct nomdrv_dev *root = to_view(dev)->mq->root;

	return root->ops->config_read(root, off, buf, len);
}

static unsigned int view_irq(struct view *w, unsigned int irq)
{
	return irq == NOMDRV_IRQ_RX ? nomdrv_irq_rx(w->pair) : irq;
}

static int view_irq_bind(struct nomdrv_dev *dev, unsigned int irq, struct nomux_core *core,
			 unsigned int event, uint64_t *count)
{
	struct nomdrv_dev *root = to_view(dev)->mq->root;

	return root->ops->irq_bind(root, view_irq(to_view(dev), irq), core, event, count);
}

static void view_irq_unbind(struct nomdrv_dev *dev, unsigned int irq)
{
	struct nomdrv_dev *root = to_view(dev)->mq->root;

	root->ops->irq_unbind(root, view_irq(to_view(dev), irq));
}

/* What a running pair asks its device for; the rest is done with the device itself. */
static struct nomdrv_trans_ops view_ops(const struct nomdrv_dev *root)
{
	struct nomdrv_trans_ops ops = *root->ops;

	ops.kick = view_kick;
	ops.reset = view_reset;
	ops.status = view_status;
	ops.config_read = view_config_read;
	if (ops.irq_bind) {
		ops.irq_bind = view_irq_bind;
		ops.irq_unbind = view_irq_unbind;
	}
	return ops;
}

void vnet__mq_started(struct vnet *v)
{
	unsigned int i;

	if (!v->mq)
		return;
	v->mq->stopped = 0;
	for (i = 0; i < v->mq->nr; i++) {
		v->mq->view[i].dev.state = NOMDRV_STARTED;
		v->mq->view[i].dev.offered = v->root->offered;
		v->mq->view[i].dev.features = v->root->features;
	}
}

/* --------------------------------------------------------------- stopping --- */

void vnet__mq_tell_stop(struct vnet *v)
{
	struct vnet_mq *mq = v->mq;

	if (!mq)
		return;
	pthread_mutex_lock(&mq->lock);
	if (!mq->stopped) {
		mq->error = v->error;
		snprintf(mq->reason, sizeof(mq->reason), "%s", v->reason);
		__atomic_store_n(&mq->stopped, 1 + v->pair, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&mq->lock);
}

void vnet__mq_look(struct vnet *v)
{
	struct vnet_mq *mq = v->mq;
	unsigned int by;

	if (!mq || v->error)
		return;
	by = __atomic_load_n(&mq->stopped, __ATOMIC_ACQUIRE);
	if (!by)
		return;
	v->error = mq->error;
	v->slow = true;
	snprintf(v->reason, sizeof(v->reason), "queue pair %u: %.120s", by - 1, mq->reason);
	nomdrv_dev_reset(v->dev);
}

/* -------------------------------------------------------------- steering --- */

#define CONFIG(field)	offsetof(struct virtio_net_config, field), sizeof(((struct virtio_net_config *)0)->field)

static int read_config(struct vnet *v, void *out, unsigned int off, unsigned int bytes)
{
	return v->root->ops->config_read(v->root, off, out, bytes);
}

/* 5.1.4.1, 5.1.6.5.7: what RSS has to have. */
static int choose_rss(struct vnet *v, struct vnet_mq *mq, uint64_t *wanted)
{
	uint32_t types;
	uint16_t entries;
	uint8_t key_bytes;
	int err;

	if (!((v->root->offered & *wanted) >> VIRTIO_NET_F_RSS & 1))
		return 0;
	err = read_config(v, &key_bytes, CONFIG(rss_max_key_size));
	if (!err)
		err = read_config(v, &entries, CONFIG(rss_max_indirection_table_length));
	if (!err)
		err = read_config(v, &types, CONFIG(supported_hash_types));
	if (err)
		return err;
	if (key_bytes < KEY_BYTES || entries < TABLE_ENTRIES) {
		nomux_log(LOG_ERR, "vnet: device claims RSS with keys of %u bytes and tables of %u entries, below %u and %u",
			  key_bytes, entries, KEY_BYTES, TABLE_ENTRIES);
		return -EPROTO;
	}
	if (!(types & VIRTIO_NET_RSS_HASH_TYPE_TCPv4)) {
		nomux_log(LOG_NOTICE, "vnet: device hashes no TCP (types 0x%x): automatic steering instead of RSS", types);
		*wanted &= ~(1ULL << VIRTIO_NET_F_RSS);
		return 0;
	}
	mq->hash_types = types & HASHED;
	return getrandom(mq->key, sizeof(mq->key), GRND_NONBLOCK) == (ssize_t)sizeof(mq->key) ? 0 : -EAGAIN;
}

static uint8_t *put16(uint8_t *p, unsigned int value)
{
	p[0] = (uint8_t)value;
	p[1] = (uint8_t)(value >> 8);
	return p + 2;
}

/* struct virtio_net_rss_config, whose table has no fixed length. */
static int tell_rss(struct vnet *v)
{
	const struct vnet_mq *mq = v->mq;
	uint8_t data[4 + 2 + 2 + 2 * TABLE_ENTRIES + 2 + 1 + KEY_BYTES], *p = data;
	unsigned int i;

	p = put16(p, mq->hash_types & 0xffff);
	p = put16(p, mq->hash_types >> 16);
	p = put16(p, TABLE_ENTRIES - 1);
	p = put16(p, 0);	/* unclassified: pair 0 */
	for (i = 0; i < TABLE_ENTRIES; i++)
		p = put16(p, i % mq->nr);
	p = put16(p, mq->nr);
	*p++ = KEY_BYTES;
	memcpy(p, mq->key, KEY_BYTES);
	return vnet__command(v, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, data, sizeof(data));
}

int vnet__mq_steer(struct vnet *v)
{
	uint8_t pairs[2];
	int err;

	if (!v->mq)
		return 0;
	put16(pairs, v->mq->nr);
	err = vnet_steering(v) == VNET_STEER_RSS ? tell_rss(v) :
		vnet__command(v, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, pairs, sizeof(pairs));
	if (err == -EREMOTEIO)
		nomux_log(LOG_ERR, "vnet: device refuses to use %u queue pairs with %s steering", v->mq->nr,
			  vnet_steering(v) == VNET_STEER_RSS ? "RSS" : "automatic");
	return err;
}

/* -------------------------------------------------------- making, unmaking --- */

/* Called with the device reset, before features are settled.  A failure is undone by vnet__free(). */
int vnet__mq_choose(struct vnet *v, const struct vnet_opts *o, uint64_t *wanted)
{
	const uint64_t needed = 1ULL << VIRTIO_NET_F_MQ | 1ULL << VIRTIO_NET_F_CTRL_VQ;
	uint16_t max;
	int err;

	if (o->nr_pairs < 2)
		return 0;
	if ((v->root->offered & *wanted & needed) != needed) {
		nomux_log(LOG_ERR, "vnet: %u queue pairs wanted, the device has one (no VIRTIO_NET_F_MQ; with QEMU: queues=%u at the netdev, mq=on)",
			  o->nr_pairs, o->nr_pairs);
		return -EOPNOTSUPP;
	}
	err = read_config(v, &max, CONFIG(max_virtqueue_pairs));
	if (err)
		return err;
	/* The control queue follows the last pair, and a queue's number has 16 bits. */
	if (!max || max >= PAIRS_CLAIM_MAX) {
		nomux_log(LOG_ERR, "vnet: device claims %u queue pairs, not 1 to %u", max, PAIRS_CLAIM_MAX - 1);
		return -EPROTO;
	}
	if (max < o->nr_pairs) {
		nomux_log(LOG_ERR, "vnet: %u queue pairs wanted, the device has %u", o->nr_pairs, max);
		return -EOPNOTSUPP;
	}
	v->mq = calloc(1, sizeof(*v->mq));
	if (!v->mq)
		return -ENOMEM;
	pthread_mutex_init(&v->mq->lock, NULL);
	v->mq->root = v->root;
	v->mq->nr = 1;		/* the others are made when features are settled */
	v->mq->max = max;
	v->mq->pair[0] = v;
	return choose_rss(v, v->mq, wanted);
}

/* The other pairs, as the first one is: nothing is allocated yet but @v. */
int vnet__mq_create(struct vnet *v, unsigned int nr)
{
	struct vnet_mq *mq = v->mq;
	unsigned int i;

	if (!mq)
		return 0;
	mq->ops = view_ops(v->root);
	for (i = 0; i < nr; i++) {
		struct view *w = &mq->view[i];
		struct vnet *p = i ? calloc(1, sizeof(*p) + VNET_APART_BYTES) : v;

		if (!p)
			return -ENOMEM;
		if (i)
			*p = *v;
		nomdrv_dev_init(&w->dev, &mq->ops);
		w->mq = mq;
		w->pair = i;
		p->pair = i;
		mq->pair[i] = p;
		mq->nr = i + 1;
	}
	for (i = 0; i < nr; i++)
		mq->pair[i]->dev = &mq->view[i].dev;
	return 0;
}

void vnet__mq_destroy(struct vnet *v)
{
	unsigned int i;

	if (!v->mq)
		return;
	for (i = 1; i < v->mq->nr; i++)
		free(v->mq->pair[i]);
	pthread_mutex_destroy(&v->mq->lock);
	free(v->mq);
	v->mq = NULL;
}

unsigned int vnet__queue_number(const struct vnet *v, unsigned int index)
{
	return v->mq ? number(v->mq, v->pair, index) : index;
}

/* ----------------------------------------------------------------- asking --- */

unsigned int vnet_nr_pairs(const struct vnet *v)
{
	return v->mq ? v->mq->nr : 1;
}

struct vnet *vnet_pair(struct vnet *v, unsigned int i)
{
	if (i >= vnet_nr_pairs(v))
		return NULL;
	return v->mq ? v->mq->pair[i] : v;
}

enum vnet_steering vnet_steering(const struct vnet *v)
{
	if (!v->mq)
		return VNET_STEER_ONE;
	return v->features >> VIRTIO_NET_F_RSS & 1 ? VNET_STEER_RSS : VNET_STEER_AUTO;
}
