// SPDX-License-Identifier: MIT
/*
 * vnet: memory.
 *
 * All that the device may reach is one allocation, laid out once: for each pair
 * rings, receive buffers, transmit buffers, and the arena of vnet_dma_alloc().
 */
#include "vnet_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "nomux/log.h"

#define CTLQ_SIZE		64u	/* a command takes two, and there is one at a time */

/* The control queue is the last one (5.1.2), and of the first pair here. */
unsigned int vnet__nr_queues(const struct vnet *v)
{
	return !v->pair && nomdrv_dev_has(v->root, VIRTIO_NET_F_CTRL_VQ) ? VNET_NR_QUEUES : VNET_CTLQ;
}

struct virtq *vnet__ring(struct vnet *v, unsigned int index)
{
	return index == VNET_RXQ ? &v->rxq : index == VNET_TXQ ? &v->txq : &v->ctl->q;
}

static int queue_size(struct vnet *v, unsigned int index, const struct vnet_opts *o,
		      unsigned int *size_out)
{
	unsigned int size = 0;
	int err;

	index = vnet__queue_number(v, index);
	err = v->root->ops->queue_size(v->root, index, &size);
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

static void *zeroed(size_t nr, size_t bytes)
{
	return calloc(1, nr * bytes + VNET_APART_BYTES);
}

static int alloc_private(struct vnet *v)
{
	v->rx_dma = zeroed(v->rx_nr_bufs, sizeof(*v->rx_dma));
	v->rx_state = zeroed(v->rx_nr_bufs, sizeof(*v->rx_state));
	v->rx_spare = zeroed(v->rx_nr_bufs, sizeof(*v->rx_spare));
	v->rx_priv = aligned_alloc(64, (size_t)v->rx_nr_bufs * VNET_PRIV_BYTES);
	v->tx_cookie = zeroed(v->txq.size, sizeof(*v->tx_cookie));
	if (!v->rx_dma || !v->rx_state || !v->rx_spare || !v->rx_priv || !v->tx_cookie)
		return -ENOMEM;
	memset(v->rx_priv, 0, (size_t)v->rx_nr_bufs * VNET_PRIV_BYTES);
	return 0;
}

/* What a pair needs: entries of its queues, and memory. */
struct needs {
	unsigned int queue[VNET_NR_QUEUES];
	size_t bytes;
};

static int find_needs(struct vnet *v, const struct vnet_opts *o, struct needs *n)
{
	unsigned int i, bufs, longest, *size = n->queue;
	int err;

	for (i = 0; i < vnet__nr_queues(v); i++) {
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
	n->bytes = vring_bytes(size[VNET_RXQ]) + vring_bytes(size[VNET_TXQ]) + vring_bytes(CTLQ_SIZE) +
		(size_t)(bufs + size[VNET_TXQ] + 2) * VNET_BUF_BYTES + 6 * (512UL << 10) +
		VNET_CTL_BYTES + o->arena_bytes;
	n->bytes = (n->bytes + NOMDRV_CHUNK_BYTES - 1) & ~(NOMDRV_CHUNK_BYTES - 1);
	return 0;
}

/* Rings, buffers and what goes with them, in the memory that is @v's own. */
static int lay_out(struct vnet *v, const struct vnet_opts *o, const struct needs *n)
{
	const unsigned int *size = n->queue;
	int err;

	err = vring_create(&v->rxq, size[VNET_RXQ], &v->mem);
	if (!err)
		err = vring_create(&v->txq, size[VNET_TXQ], &v->mem);
	if (!err && size[VNET_CTLQ])
		err = vnet__ctl_create(v, o, size[VNET_CTLQ]);
	if (err)
		return err;
	/* Aligned to their size, buffers of 2 KiB never straddle a chunk. */
	v->rx_base = vdma_alloc(&v->mem, (size_t)v->rx_nr_bufs * VNET_BUF_BYTES, VNET_BUF_BYTES);
	v->tx_base = vdma_alloc(&v->mem, (size_t)size[VNET_TXQ] * VNET_BUF_BYTES, VNET_BUF_BYTES);
	if (!v->rx_base || !v->tx_base)
		return -ENOMEM;
	return alloc_private(v);
}

/* One allocation for all pairs; each has a range of it, whole chunks, to itself. */
int vnet__alloc(struct vnet *v, const struct vnet_opts *o)
{
	struct needs needs[NOMDRV_PAIRS_MAX] = { 0 };
	unsigned int i, nr = vnet_nr_pairs(v);
	size_t bytes = 0, at = 0;
	int err;

	for (i = 0; i < nr; i++) {
		err = find_needs(vnet_pair(v, i), o, &needs[i]);
		if (err)
			return err;
		bytes += needs[i].bytes;
	}
	err = v->root->ops->dma_alloc(v->root, bytes, &v->dma);
	if (err) {
		nomux_log(LOG_ERR, "vnet: no %zu MiB of DMA memory: %s", bytes >> 20, strerror(-err));
		return err;
	}
	for (i = 0; !err && i < nr; i++) {
		struct vnet *p = vnet_pair(v, i);

		p->mem.m = (struct nomdrv_dma){
			.va = v->dma.va + at,
			.bytes = i + 1 < nr ? needs[i].bytes : v->dma.bytes - at,
			.chunk_dma = v->dma.chunk_dma + (at >> NOMDRV_CHUNK_SHIFT),
		};
		at += needs[i].bytes;
		err = lay_out(p, o, &needs[i]);
	}
	return err;
}

static void free_private(struct vnet *v)
{
	free(v->tx_cookie);
	free(v->rx_priv);
	free(v->rx_spare);
	free(v->rx_state);
	free(v->rx_dma);
	vring_destroy(&v->txq);
	vring_destroy(&v->rxq);
}

void vnet__free(struct vnet *v)
{
	unsigned int i;

	for (i = 0; i < vnet_nr_pairs(v); i++)
		free_private(vnet_pair(v, i));
	if (v->ctl)
		vring_destroy(&v->ctl->q);
	free(v->ctl);
	if (v->dma.va)
		v->root->ops->dma_free(v->root, &v->dma);
	vnet__mq_destroy(v);
	free(v);
}
