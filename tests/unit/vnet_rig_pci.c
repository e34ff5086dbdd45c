// SPDX-License-Identifier: MIT
/* A virtio-net device that is a program, on PCI: capabilities and registers (virtio 1.2, 4.1). */
#include "vnet_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

static struct vnet_rig *to_rig(struct pci_fn *fn)
{
	return (struct vnet_rig *)fn;
}

/* --------------------------------------------------- configuration space --- */

static int t_config_read(struct pci_fn *fn, unsigned int off, void *buf, unsigned int len)
{
	struct vnet_rig *d = to_rig(fn);

	assert_true(off + len <= sizeof(d->cfg));
	assert_true(++d->config_reads < 200);	/* no walk without end */
	if (d->cfg_err)
		return d->cfg_err;
	memcpy(buf, d->cfg + off, len);
	if (d->twist)
		d->twist(d, buf, len);
	return 0;
}

static int t_config_write(struct pci_fn *fn, unsigned int off, const void *buf, unsigned int len)
{
	struct vnet_rig *d = to_rig(fn);
	uint16_t cmd;

	assert_true(off + len <= sizeof(d->cfg));
	memcpy(d->cfg + off, buf, len);
	memcpy(&cmd, d->cfg + PCI_COMMAND, sizeof(cmd));
	if (!(cmd & PCI_COMMAND_MASTER))
		d->running = false;
	return 0;
}

static int t_map_bar(struct pci_fn *fn, unsigned int bar, void **va_out, size_t *bytes_out)
{
	struct vnet_rig *d = to_rig(fn);

	if (d->map_err)
		return d->map_err;
	if (bar != RIG_BAR)
		return -ENOENT;
	*va_out = d->mem;
	*bytes_out = d->mem_bytes;
	return 0;
}

/* ------------------------------------------------------------- registers --- */

static uint32_t common_read(struct vnet_rig *d, unsigned int off)
{
	switch (off) {
	case VIRTIO_PCI_COMMON_DF:
		return rig_get(d, RIG_OFFERED);
	case VIRTIO_PCI_COMMON_NUMQ:
		return d->num_queues;
	case VIRTIO_PCI_COMMON_MSIX:
		return d->config_vector;
	case VIRTIO_PCI_COMMON_STATUS:
		return rig_get(d, RIG_STATUS);
	case VIRTIO_PCI_COMMON_CFGGENERATION:
		return rig_get(d, RIG_GENERATION);
	case VIRTIO_PCI_COMMON_Q_SIZE:
		return rig_get(d, RIG_Q_MAX);
	case VIRTIO_PCI_COMMON_Q_MSIX:
		return rig_queue(d, d->selected)->vector;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		return rig_get(d, RIG_Q_ON);
	case VIRTIO_PCI_COMMON_Q_NOFF:
		return rig_queue(d, d->selected)->notify_off;
	default:
		if (!d->wild)
			fail_msg("read of common register 0x%x", off);
		return 0;
	}
}

static uint32_t t_read(struct pci_fn *fn, const volatile void *reg, unsigned int width)
{
	struct vnet_rig *d = to_rig(fn);
	size_t off = (size_t)((const volatile uint8_t *)reg - d->mem);
	uint32_t v;

	assert_true(off + width <= d->mem_bytes);
	assert_int_equal(off % width, 0);
	if (rig_lies(d, width, &v))
		return v;
	if (d->moved)
		return rig_answer(d, 0, width);
	if (off < RIG_ISR_OFF)
		return rig_answer(d, common_read(d, (unsigned int)off), width);
	if (!d->wild)
		assert_true(off >= RIG_CONFIG_OFF && off < RIG_NOTIFY_OFF);
	return rig_answer(d, rig_config(d, off - RIG_CONFIG_OFF, width), width);
}

static int reg_of(unsigned int off)
{
	switch (off) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		return RIG_OFFERED_SELECT;
	case VIRTIO_PCI_COMMON_GFSELECT:
		return RIG_ACCEPTED_SELECT;
	case VIRTIO_PCI_COMMON_GF:
		return RIG_ACCEPTED;
	case VIRTIO_PCI_COMMON_STATUS:
		return RIG_STATUS;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		return RIG_Q_SELECT;
	case VIRTIO_PCI_COMMON_Q_SIZE:
		return RIG_Q_SIZE;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		return RIG_Q_ON;
	case VIRTIO_PCI_COMMON_Q_DESCLO:
		return RIG_Q_DESC;
	case VIRTIO_PCI_COMMON_Q_DESCHI:
		return RIG_Q_DESC_HIGH;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
		return RIG_Q_AVAIL;
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
		return RIG_Q_AVAIL_HIGH;
	case VIRTIO_PCI_COMMON_Q_USEDLO:
		return RIG_Q_USED;
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		return RIG_Q_USED_HIGH;
	default:
		return -1;
	}
}

static void t_write(struct pci_fn *fn, volatile void *reg, unsigned int width, uint32_t v)
{
	struct vnet_rig *d = to_rig(fn);
	unsigned int off = (unsigned int)((volatile uint8_t *)reg - d->mem);
	uint16_t vector = d->refuse_vector ? VIRTIO_MSI_NO_VECTOR : (uint16_t)v;
	int which = reg_of(off);

	assert_true(off + width <= d->mem_bytes);
	assert_int_equal(off % width, 0);
	if (!rig_hears(d, off == VIRTIO_PCI_COMMON_STATUS && !v))
		return;
	/* The status comes first: who looks for it elsewhere was told so. */
	if (width == 1 && off != VIRTIO_PCI_COMMON_STATUS) {
		assert_true(d->wild);
		d->moved = true;
	}
	if (d->moved)
		return;
	if (off == VIRTIO_PCI_COMMON_MSIX) {
		d->config_vector = vector;
	} else if (off == VIRTIO_PCI_COMMON_Q_MSIX) {
		assert_true(!rig_queue(d, d->selected)->on || d->wild);
		rig_queue(d, d->selected)->vector = vector;
	} else {
		assert_true(which >= 0);
		rig_set(d, (enum rig_reg)which, v);
	}
}

/* ------------------------------------------------------------ interrupts --- */

static int t_nr_irqs(struct pci_fn *fn)
{
	return to_rig(fn)->nr_irqs;
}

static int t_irq(struct pci_fn *fn, unsigned int vector, int eventfd)
{
	struct vnet_rig *d = to_rig(fn);

	assert_true(vector < NOMDRV_NR_IRQS && (eventfd < 0 || (int)vector < d->nr_irqs));
	if (eventfd >= 0 && d->irq_err)
		return d->irq_err;
	d->irq_sets++;
	d->irq_fd[vector] = eventfd;
	return 0;
}

static int t_irq_bind(struct pci_fn *fn, unsigned int vector, struct nomux_core *core,
		      unsigned int event, int eventfd, uint64_t *count)
{
	rig_bound(to_rig(fn), vector, eventfd, count, event);
	return 0;
}

static void t_irq_unbind(struct pci_fn *fn, unsigned int vector)
{
	assert_true(to_rig(fn)->irq_fd[vector] >= 0);
	to_rig(fn)->irq_count[vector] = NULL;
}

static int t_dma_alloc(struct pci_fn *fn, size_t bytes, struct nomdrv_dma *out)
{
	return rig_dma_alloc(to_rig(fn), bytes, out);
}

static void t_dma_free(struct pci_fn *fn, struct nomdrv_dma *dma)
{
	rig_dma_free(to_rig(fn), dma);
}

static void t_close(struct pci_fn *fn)
{
	rig_close(to_rig(fn));
}

const struct pci_fn_ops rig_pci_ops = {
	.config_read = t_config_read, .config_write = t_config_write, .map_bar = t_map_bar,
	.mmio_read = t_read, .mmio_write = t_write,
	.nr_irqs = t_nr_irqs, .irq = t_irq, .irq_bind = t_irq_bind, .irq_unbind = t_irq_unbind,
	.dma_alloc = t_dma_alloc, .dma_free = t_dma_free, .close = t_close,
};

/* ------------------------------------------------------------- beginning --- */

struct virtio_pci_notify_cap *rig_cap(struct vnet_rig *d, unsigned int at)
{
	return (void *)(d->cfg + at);
}

void rig_put16(struct vnet_rig *d, unsigned int off, uint16_t v)
{
	memcpy(d->cfg + off, &v, 2);
}

static void put_cap(struct vnet_rig *d, uint8_t at, uint8_t next, uint8_t type, uint32_t offset,
		    uint32_t length)
{
	struct virtio_pci_notify_cap cap = {
		.cap = {
			.cap_vndr = PCI_CAP_ID_VNDR, .cap_next = next,
			.cap_len = type == VIRTIO_PCI_CAP_NOTIFY_CFG ? 20 : 16,
			.cfg_type = type, .bar = RIG_BAR, .offset = offset, .length = length,
		},
		.notify_off_multiplier = RIG_MULT,
	};

	memcpy(d->cfg + at, &cap, cap.cap.cap_len);
}

void rig_init_pci(struct vnet_rig *d)
{
	unsigned int i;

	rig_init(d);
	d->is_pci = true;
	d->fn.pci.ops = &rig_pci_ops;
	strcpy(d->fn.pci.name, "test");
	d->mem_bytes = RIG_BAR_BYTES;
	d->mem = calloc(1, d->mem_bytes);
	rig_put16(d, PCI_VENDOR_ID, 0x1af4);
	rig_put16(d, PCI_DEVICE_ID, 0x1041);
	rig_put16(d, PCI_STATUS, PCI_STATUS_CAP_LIST);
	d->cfg[PCI_CAPABILITY_LIST] = RIG_CAP_COMMON;
	put_cap(d, RIG_CAP_COMMON, RIG_CAP_NOTIFY, VIRTIO_PCI_CAP_COMMON_CFG, 0, 0x38);
	put_cap(d, RIG_CAP_NOTIFY, RIG_CAP_CONFIG, VIRTIO_PCI_CAP_NOTIFY_CFG, RIG_NOTIFY_OFF, 0x1000);
	put_cap(d, RIG_CAP_CONFIG, RIG_CAP_MSIX, VIRTIO_PCI_CAP_DEVICE_CFG, RIG_CONFIG_OFF, 0x1000);
	d->cfg[RIG_CAP_MSIX] = PCI_CAP_ID_MSIX;
	for (i = 0; i < RIG_QUEUES; i++)
		d->q[i].notify_off = (uint16_t)i;
}
