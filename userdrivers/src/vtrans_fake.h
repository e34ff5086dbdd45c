/* SPDX-License-Identifier: MIT */
/*
 * A transport without a device: the test plays it.
 *
 * The struct is open: a test sets what the device offers, makes any function
 * fail, and reads and writes the rings as the device would.  Not part of
 * libnomdrv.
 */
#ifndef NOMDRV_VTRANS_FAKE_H
#define NOMDRV_VTRANS_FAKE_H

#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "nomdrv/dev.h"

/* Functions that can be told to fail. */
enum vtrans_fake_op {
	FAKE_NONE, FAKE_PROBE, FAKE_SET_FEATURES, FAKE_CONFIG_READ, FAKE_QUEUE_SIZE,
	FAKE_DMA_ALLOC, FAKE_QUEUE_SETUP, FAKE_START, FAKE_STATUS, FAKE_NR_OPS,
};

#define FAKE_NR_QUEUES	(2 * NOMDRV_PAIRS_MAX + 9)	/* room for a few pairs more than the driver uses */

/**
 * struct vtrans_fake - the device
 * @offered: its features; @accepted: the driver's
 * @config: its configuration space
 * @queue_size: what it says
 * @status_bits: what it says; an error if negative
 * @fail_op, @fail_skip, @fail_err: the (skip + 1)th call of this function fails
 * @queue: the rings, from queue_setup on
 * @kicks: doorbells rung
 * @resets, @dma_live, @started: what the driver did
 * @dma: the memory; chunks lie in descending order for the device, so that no
 *	two are contiguous, unless @contiguous
 */
struct vtrans_fake {
	struct nomdrv_dev dev;
	uint64_t offered, accepted;
	struct virtio_net_config config;
	unsigned int queue_size[FAKE_NR_QUEUES];
	int status_bits;
	enum vtrans_fake_op fail_op;
	unsigned int fail_skip;
	int fail_err;
	bool contiguous;
	struct nomdrv_queue queue[FAKE_NR_QUEUES];
	unsigned int nr_queues;
	unsigned int kicks[FAKE_NR_QUEUES];
	int irq_fd;	/* an eventfd of the test's, which stays its own; negative: none */
	int more_irq_fd[NOMDRV_NR_IRQS];	/* those of further interrupts */
	unsigned int resets;
	bool dma_live, started, resetting;
	bool *destroyed;	/* set when the driver destroys the device; may be NULL */
	struct nomdrv_dma dma;
	void *map;
	size_t map_bytes;
};

/* A well-behaved device of 8 entries per queue; destroyed by nomdrv_dev_destroy(). */
struct vtrans_fake *vtrans_fake_create(void);

/* Address for the device to here; NULL when it is none. */
void *vtrans_fake_va(const struct vtrans_fake *f, uint64_t dma);

static inline struct vring_desc *vtrans_fake_desc(struct vtrans_fake *f, unsigned int q)
{
	return f->queue[q].desc;
}

static inline struct vring_avail *vtrans_fake_avail(struct vtrans_fake *f, unsigned int q)
{
	return f->queue[q].avail;
}

static inline struct vring_used *vtrans_fake_used(struct vtrans_fake *f, unsigned int q)
{
	return f->queue[q].used;
}

static inline struct vring_packed_desc *vtrans_fake_packed(struct vtrans_fake *f, unsigned int q)
{
	return f->queue[q].desc;
}

/* Packed: the device marks the descriptor at free-running index @at used, as (id, len). */
void vtrans_fake_use_packed(struct vtrans_fake *f, unsigned int q, unsigned int at, uint32_t id,
			    uint32_t len);

/* The device says: entry at its used index is (id, len), and moves the index on. */
void vtrans_fake_use(struct vtrans_fake *f, unsigned int q, uint32_t id, uint32_t len);

#endif /* NOMDRV_VTRANS_FAKE_H */
