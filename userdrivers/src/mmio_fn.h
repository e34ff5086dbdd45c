/* SPDX-License-Identifier: MIT */
/*
 * The registers of a virtio-mmio device as the transport needs them.
 *
 * Two implementations: nom.ko through libnomux, and the unit tests' device, whose
 * registers are a program.  Only the doorbell goes round this table: it is a
 * plain store to a mapped register.
 */
#ifndef NOMDRV_MMIO_FN_H
#define NOMDRV_MMIO_FN_H

#include <stddef.h>
#include <stdint.h>

#include "nomdrv/dev.h"

struct mmio_fn;

#define MMIO_NR_IRQS	(NOMDRV_IRQ_CONFIG + 1)	/* one wire: nothing tells which pair's queue it was */

/* All return 0 or -errno unless said otherwise. */
struct mmio_fn_ops {
	/* Once. */
	int (*map)(struct mmio_fn *fn, void **va_out, size_t *bytes_out);
	/* Mapped registers; width 1, 2 or 4 bytes, aligned. */
	uint32_t (*reg_read)(struct mmio_fn *fn, const volatile void *reg, unsigned int width);
	void (*reg_write)(struct mmio_fn *fn, volatile void *reg, uint32_t value);
	/*
	 * The interrupt signals one eventfd for used buffers, one for a changed configuration;
	 * its cause is acknowledged below this table.  Both -1: off.
	 */
	int (*irq)(struct mmio_fn *fn, int rx_fd, int config_fd);
	/* NOMDRV_IRQ_RX or _CONFIG, each to one event. */
	int (*irq_bind)(struct mmio_fn *fn, unsigned int irq, struct nomux_core *core,
			unsigned int event, int eventfd, uint64_t *count);
	void (*irq_unbind)(struct mmio_fn *fn, unsigned int irq);
	int (*dma_alloc)(struct mmio_fn *fn, size_t bytes, struct nomdrv_dma *dma_out);
	void (*dma_free)(struct mmio_fn *fn, struct nomdrv_dma *dma);
	void (*close)(struct mmio_fn *fn);
};

struct mmio_fn {
	const struct mmio_fn_ops *ops;
	char name[64];	/* for messages: of the platform device */
};

/**
 * vtrans_mmio_create - a virtio device on memory-mapped registers
 * @fn: the registers; the device's, and closed if there is none
 * @out: the device, constructed
 *
 * Return: 0 or -ENOMEM.
 */
int vtrans_mmio_create(struct mmio_fn *fn, struct nomdrv_dev **out);

#endif /* NOMDRV_MMIO_FN_H */
