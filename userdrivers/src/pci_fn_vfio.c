// SPDX-License-Identifier: MIT
/* A PCI function through VFIO: libnomux does the work, this fits it to pci_fn.h. */
#include "pci_fn_vfio.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "nomdrv/dev.h"
#include "nomux/vfio.h"

#include "irq_upcall.h"
#include "pci_fn.h"

struct fn_vfio {
	struct pci_fn fn;
	struct nomux_vfio *dev;
	struct irq_upcall bound[NOMDRV_NR_IRQS];
};

static struct fn_vfio *to_vfio(struct pci_fn *fn)
{
	return (struct fn_vfio *)fn;
}

static int vfio_config_read(struct pci_fn *fn, unsigned int off, void *buf, unsigned int len)
{
	return nomux_vfio_config_read(to_vfio(fn)->dev, off, buf, len);
}

static int vfio_config_write(struct pci_fn *fn, unsigned int off, const void *buf, unsigned int len)
{
	return nomux_vfio_config_write(to_vfio(fn)->dev, off, buf, len);
}

static int vfio_map_bar(struct pci_fn *fn, unsigned int bar, void **va_out, size_t *bytes_out)
{
	return nomux_vfio_map_bar(to_vfio(fn)->dev, bar, va_out, bytes_out);
}

static uint32_t vfio_mmio_read(struct pci_fn *fn, const volatile void *reg, unsigned int width)
{
	switch (width) {
	case 1:
		return *(const volatile uint8_t *)reg;
	case 2:
		return *(const volatile uint16_t *)reg;
	default:
		return *(const volatile uint32_t *)reg;
	}
}

static void vfio_mmio_write(struct pci_fn *fn, volatile void *reg, unsigned int width, uint32_t value)
{
	switch (width) {
	case 1:
		*(volatile uint8_t *)reg = (uint8_t)value;
		break;
	case 2:
		*(volatile uint16_t *)reg = (uint16_t)value;
		break;
	default:
		*(volatile uint32_t *)reg = value;
	}
}

static int vfio_nr_irqs(struct pci_fn *fn)
{
	return nomux_vfio_nr_irqs(to_vfio(fn)->dev);
}

static int vfio_irq(struct pci_fn *fn, unsigned int vector, int eventfd)
{
	return nomux_vfio_irq(to_vfio(fn)->dev, vector, eventfd);
}

static int vfio_irq_bind(struct pci_fn *fn, unsigned int vector, struct nomux_core *core,
			 unsigned int event, int eventfd, uint64_t *count)
{
	return irq_upcall_bind(&to_vfio(fn)->bound[vector], core, event, eventfd, count);
}

static void vfio_irq_unbind(struct pci_fn *fn, unsigned int vector)
{
	irq_upcall_unbind(&to_vfio(fn)->bound[vector]);
}

static int vfio_dma_alloc(struct pci_fn *fn, size_t bytes, struct nomdrv_dma *dma_out)
{
	struct fn_vfio *f = to_vfio(fn);
	uint64_t *chunk_dma;
	size_t nr;
	void *va;
	int err;

	err = nomux_vfio_dma_alloc(f->dev, bytes, &va, &chunk_dma, &nr);
	if (err)
		return err;
	*dma_out = (struct nomdrv_dma){
		.va = va,
		.bytes = nr << NOMDRV_CHUNK_SHIFT,
		.chunk_dma = chunk_dma,
	};
	return 0;
}

static void vfio_dma_free(struct pci_fn *fn, struct nomdrv_dma *dma)
{
	nomux_vfio_dma_free(to_vfio(fn)->dev, dma->va);
	*dma = (struct nomdrv_dma){ 0 };
}

static void vfio_close(struct pci_fn *fn)
{
	struct fn_vfio *f = to_vfio(fn);

	nomux_vfio_close(f->dev);
	free(f);
}

static const struct pci_fn_ops vfio_fn_ops = {
	.config_read = vfio_config_read,
	.config_write = vfio_config_write,
	.map_bar = vfio_map_bar,
	.mmio_read = vfio_mmio_read,
	.mmio_write = vfio_mmio_write,
	.nr_irqs = vfio_nr_irqs,
	.irq = vfio_irq,
	.irq_bind = vfio_irq_bind,
	.irq_unbind = vfio_irq_unbind,
	.dma_alloc = vfio_dma_alloc,
	.dma_free = vfio_dma_free,
	.close = vfio_close,
};

int pci_fn_vfio_open(struct nomux_ctx *ctx, const char *bdf, struct pci_fn **out)
{
	struct fn_vfio *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	f->fn.ops = &vfio_fn_ops;
	snprintf(f->fn.name, sizeof(f->fn.name), "%s", bdf);
	err = nomux_vfio_open(ctx, bdf, &f->dev);
	if (err) {
		free(f);
		return err;
	}
	*out = &f->fn;
	return 0;
}
