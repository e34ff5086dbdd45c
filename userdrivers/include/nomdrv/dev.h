/* SPDX-License-Identifier: MIT */
/*
 * A virtio device as its driver sees it, whatever carries it.
 *
 * One transport is one const table of functions.  A device class (vnet) calls
 * them in the order of the life cycle below and owns everything else: feature
 * choice, rings, buffers.
 *
 *	constructed --probe--> reset --start--> started --reset--> stopped
 *	                         ^                                    |
 *	                         +--------------- probe --------------+
 *
 * nomdrv_dev_*() assert the state; a transport need not check it again.
 */
#ifndef NOMDRV_DEV_H
#define NOMDRV_DEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nomdrv_dev;
struct nomux_core;

#define NOMDRV_QUEUE_MAX	32768	/* entries; virtio 1.2, 2.7 */
#define NOMDRV_CHUNK_SHIFT	21	/* DMA memory is contiguous in chunks of 2 MiB */
#define NOMDRV_CHUNK_BYTES	(1UL << NOMDRV_CHUNK_SHIFT)

/**
 * enum nomdrv_state - where in its life a device is
 * @NOMDRV_CONSTRUCTED: allocated, hardware untouched
 * @NOMDRV_RESET: found, reset, acknowledged, offered features read
 * @NOMDRV_STARTED: DRIVER_OK; the device may read and write DMA memory
 * @NOMDRV_STOPPED: reset after having been started; it may not any more
 */
enum nomdrv_state {
	NOMDRV_CONSTRUCTED,
	NOMDRV_RESET,
	NOMDRV_STARTED,
	NOMDRV_STOPPED,
};

/*
 * Interrupts that a driver may have; also their MSI-X vectors: of a single
 * receive queue, of the configuration, and of further receive queues.
 */
#define NOMDRV_PAIRS_MAX	16
enum nomdrv_irq { NOMDRV_IRQ_RX, NOMDRV_IRQ_CONFIG, NOMDRV_NR_IRQS = 1 + NOMDRV_PAIRS_MAX };

/* The interrupt of the receive queue of pair @pair. */
static inline unsigned int nomdrv_irq_rx(unsigned int pair)
{
	return pair ? NOMDRV_IRQ_CONFIG + pair : NOMDRV_IRQ_RX;
}

/**
 * struct nomdrv_queue - where a ring lies
 * @index: number of the queue, the device's
 * @irq: the interrupt it has, or -1
 * @size: entries, a power of two
 * @desc, @avail, @used: the three parts, here; of a packed ring: descriptors,
 *	driver's and device's event
 * @desc_dma, @avail_dma, @used_dma: and for the device
 */
struct nomdrv_queue {
	unsigned int index;
	int irq;
	unsigned int size;
	void *desc, *avail, *used;
	uint64_t desc_dma, avail_dma, used_dma;
};

/**
 * struct nomdrv_dma - memory shared with the device
 * @va: its start here, aligned to 2 MiB where the transport can
 * @bytes: length, a multiple of 2 MiB
 * @chunk_dma: address for the device of each 2 MiB chunk
 */
struct nomdrv_dma {
	uint8_t *va;
	size_t bytes;
	uint64_t *chunk_dma;
};

/**
 * struct nomdrv_trans_ops - a transport
 *
 * Control functions return 0 or -errno and may sleep; only @kick is called on
 * the data path.  All but those marked optional are required, which
 * nomdrv_dev_init() checks.
 */
struct nomdrv_trans_ops {
	const char *name;

	/* Find the device, reset it, set ACKNOWLEDGE and DRIVER, read the features offered. */
	int (*probe)(struct nomdrv_dev *dev, uint64_t *offered_out);
	/* Write the features and have the device confirm them (FEATURES_OK). */
	int (*set_features)(struct nomdrv_dev *dev, uint64_t features);
	/* Read device configuration space; -EPROTO when it never held still or has no such field. */
	int (*config_read)(struct nomdrv_dev *dev, unsigned int off, void *buf, unsigned int len);
	/* Entries of a queue as the device says, unchecked; 0: no such queue.  Features are settled before. */
	int (*queue_size)(struct nomdrv_dev *dev, unsigned int index, unsigned int *size_out);
	/* Tell where the ring is and enable the queue; the one with NOMDRV_IRQ_RX brings NOMDRV_IRQ_CONFIG, too. */
	int (*queue_setup)(struct nomdrv_dev *dev, const struct nomdrv_queue *queue);
	/* DRIVER_OK. */
	int (*start)(struct nomdrv_dev *dev);
	/* Back to reset; on return, even a failed one, the device has let go of DMA memory. */
	int (*reset)(struct nomdrv_dev *dev);
	/* Device status bits (VIRTIO_CONFIG_S_...), or -EIO when the device is lost. */
	int (*status)(struct nomdrv_dev *dev);
	/* Data path: one doorbell; never fails or sleeps. */
	void (*kick)(struct nomdrv_dev *dev, unsigned int index);
	/* Memory for everything, before set_up of queues; once. */
	int (*dma_alloc)(struct nomdrv_dev *dev, size_t bytes, struct nomdrv_dma *dma_out);
	void (*dma_free)(struct nomdrv_dev *dev, struct nomdrv_dma *dma);
	/* Free the device itself; it has been reset. */
	void (*destroy)(struct nomdrv_dev *dev);

	/* Optional; NULL: polling only.  Eventfd of an interrupt, -EOPNOTSUPP: there is none. */
	int (*irq_fd)(struct nomdrv_dev *dev, unsigned int irq);
	/* Optional, both or none; NULL: no upcalls.  @count is advanced from the upcall. */
	int (*irq_bind)(struct nomdrv_dev *dev, unsigned int irq, struct nomux_core *core,
			unsigned int event, uint64_t *count);
	void (*irq_unbind)(struct nomdrv_dev *dev, unsigned int irq);
};

/**
 * struct nomdrv_dev - first member of every transport's device
 * @ops: the transport
 * @state: see above; written by nomdrv_dev_*() only
 * @offered: features the device offers
 * @features: features negotiated
 */
struct nomdrv_dev {
	const struct nomdrv_trans_ops *ops;
	enum nomdrv_state state;
	uint64_t offered;
	uint64_t features;
};

/** nomdrv_dev_init - construct; aborts when a required function is missing */
void nomdrv_dev_init(struct nomdrv_dev *dev, const struct nomdrv_trans_ops *ops);

/** nomdrv_dev_probe - constructed or stopped -> reset */
int nomdrv_dev_probe(struct nomdrv_dev *dev);

/**
 * nomdrv_dev_negotiate - choose features, state reset
 * @dev: the device
 * @wanted: features the driver knows how to use
 * @required: those it cannot do without
 *
 * Return: 0, -EOPNOTSUPP (a required one is missing, or FEATURES_OK refused).
 */
int nomdrv_dev_negotiate(struct nomdrv_dev *dev, uint64_t wanted, uint64_t required);

/** nomdrv_dev_start - reset -> started */
int nomdrv_dev_start(struct nomdrv_dev *dev);

/** nomdrv_dev_reset - any state but constructed; started becomes stopped */
int nomdrv_dev_reset(struct nomdrv_dev *dev);

/** nomdrv_dev_destroy - reset if need be and free */
void nomdrv_dev_destroy(struct nomdrv_dev *dev);

/** nomdrv_dev_has - whether feature bit number @bit was negotiated */
static inline bool nomdrv_dev_has(const struct nomdrv_dev *dev, unsigned int bit)
{
	return (dev->features >> bit) & 1;
}

#endif /* NOMDRV_DEV_H */
