// SPDX-License-Identifier: MIT
/* A virtio-net device that is a program, without PCI: its registers (virtio 1.2, 4.2.2). */
#include "vnet_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <linux/virtio_mmio.h>

static struct vnet_rig *to_rig(struct mmio_fn *fn)
{
	return (struct vnet_rig *)fn;
}

static int t_map(struct mmio_fn *fn, void **va_out, size_t *bytes_out)
{
	struct vnet_rig *d = to_rig(fn);

	if (d->map_err)
		return d->map_err;
	*va_out = d->mem;
	*bytes_out = d->mem_bytes;
	return 0;
}

static uint32_t control(struct vnet_rig *d, unsigned int off)
{
	switch (off) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return d->magic;
	case VIRTIO_MMIO_VERSION:
		return d->version;
	case VIRTIO_MMIO_DEVICE_ID:
		return d->id;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return rig_get(d, RIG_OFFERED);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return rig_get(d, RIG_Q_MAX);
	case VIRTIO_MMIO_QUEUE_READY:
		return rig_get(d, RIG_Q_ON);
	case VIRTIO_MMIO_STATUS:
		return rig_get(d, RIG_STATUS);
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return rig_get(d, RIG_GENERATION);
	default:
		fail_msg("read of register 0x%x", off);
		return 0;
	}
}

static uint32_t t_read(struct mmio_fn *fn, const volatile void *reg, unsigned int width)
{
	struct vnet_rig *d = to_rig(fn);
	size_t off = (size_t)((const volatile uint8_t *)reg - d->mem);
	uint32_t v;

	assert_true(off + width <= d->mem_bytes);
	assert_int_equal(off % width, 0);
	if (rig_lies(d, width, &v))
		return v;
	if (off < VIRTIO_MMIO_CONFIG) {
		assert_int_equal(width, 4);	/* 4.2.2.2 */
		return rig_answer(d, control(d, (unsigned int)off), 4);
	}
	return rig_answer(d, rig_config(d, off - VIRTIO_MMIO_CONFIG, width), width);
}

static int reg_of(unsigned int off)
{
	switch (off) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		return RIG_OFFERED_SELECT;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		return RIG_ACCEPTED_SELECT;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		return RIG_ACCEPTED;
	case VIRTIO_MMIO_STATUS:
		return RIG_STATUS;
	case VIRTIO_MMIO_QUEUE_SEL:
		return RIG_Q_SELECT;
	case VIRTIO_MMIO_QUEUE_NUM:
		return RIG_Q_SIZE;
	case VIRTIO_MMIO_QUEUE_READY:
		return RIG_Q_ON;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
		return RIG_Q_DESC;
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		return RIG_Q_DESC_HIGH;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
		return RIG_Q_AVAIL;
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		return RIG_Q_AVAIL_HIGH;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
		return RIG_Q_USED;
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		return RIG_Q_USED_HIGH;
	default:
		fail_msg("write of register 0x%x", off);
		return -1;
	}
}

/* What is left of a device that does not finish its reset. */
static bool has_queues(const struct vnet_rig *d)
{
	unsigned int i;

	for (i = 0; i < RIG_QUEUES; i++)
		if (d->q[i].on)
			return true;
	return false;
}

static void t_write(struct mmio_fn *fn, volatile void *reg, uint32_t v)
{
	struct vnet_rig *d = to_rig(fn);
	unsigned int off = (unsigned int)((volatile uint8_t *)reg - d->mem);

	assert_int_equal(off % 4, 0);
	if (!rig_hears(d, (off == VIRTIO_MMIO_STATUS || off == VIRTIO_MMIO_QUEUE_READY) && !v))
		return;
	rig_set(d, (enum rig_reg)reg_of(off), v);
	if (off == VIRTIO_MMIO_QUEUE_READY && !has_queues(d))
		d->running = false;
}

static int t_irq(struct mmio_fn *fn, int rx_fd, int config_fd)
{
	struct vnet_rig *d = to_rig(fn);

	if (d->irq_err && rx_fd >= 0)
		return d->irq_err;
	d->irq_sets++;
	d->irq_fd[NOMDRV_IRQ_RX] = rx_fd;
	d->irq_fd[NOMDRV_IRQ_CONFIG] = config_fd;
	return 0;
}

static int t_irq_bind(struct mmio_fn *fn, unsigned int irq, struct nomux_core *core,
		      unsigned int event, int eventfd, uint64_t *count)
{
	assert_true(irq < MMIO_NR_IRQS);
	rig_bound(to_rig(fn), irq, eventfd, count, event);
	return 0;
}

static void t_irq_unbind(struct mmio_fn *fn, unsigned int irq)
{
	assert_true(to_rig(fn)->irq_fd[irq] >= 0);
	to_rig(fn)->irq_count[irq] = NULL;
}

static int t_dma_alloc(struct mmio_fn *fn, size_t bytes, struct nomdrv_dma *out)
{
	return rig_dma_alloc(to_rig(fn), bytes, out);
}

static void t_dma_free(struct mmio_fn *fn, struct nomdrv_dma *dma)
{
	rig_dma_free(to_rig(fn), dma);
}

static void t_close(struct mmio_fn *fn)
{
	rig_close(to_rig(fn));
}

const struct mmio_fn_ops rig_mmio_ops = {
	.map = t_map, .reg_read = t_read, .reg_write = t_write, .irq = t_irq,
	.irq_bind = t_irq_bind, .irq_unbind = t_irq_unbind,
	.dma_alloc = t_dma_alloc, .dma_free = t_dma_free, .close = t_close,
};

void rig_init_mmio(struct vnet_rig *d)
{
	rig_init(d);
	d->fn.mmio.ops = &rig_mmio_ops;
	strcpy(d->fn.mmio.name, "test");
	d->mem_bytes = RIG_SLOT_BYTES;
	d->mem = calloc(1, d->mem_bytes);
	d->magic = 0x74726976;
	d->version = 2;
	d->id = 1;
}
