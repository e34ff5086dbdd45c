// SPDX-License-Identifier: MIT
/* A device of nom.ko's driver nom-mmio: libnomux does the work, this fits it to mmio_fn.h. */
#include "mmio_fn_nom.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "nomdrv/dev.h"
#include "nomux/mmio.h"

#include "irq_upcall.h"
#include "mmio_fn.h"

struct fn_nom {
	struct mmio_fn fn;
	struct nomux_mmio *dev;
	struct irq_upcall bound[MMIO_NR_IRQS];
};

static struct fn_nom *to_nom(struct mmio_fn *fn)
{
	return (struct fn_nom *)fn;
}

static int fn_map(struct mmio_fn *fn, void **va_out, size_t *bytes_out)
{
	nomux_mmio_regs(to_nom(fn)->dev, va_out, bytes_out);
	return 0;
}

static uint32_t fn_reg_read(struct mmio_fn *fn, const volatile void *reg, unsigned int width)
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

static void fn_reg_write(struct mmio_fn *fn, volatile void *reg, uint32_t value)
{
	*(volatile uint32_t *)reg = value;
}

static int fn_irq(struct mmio_fn *fn, int rx_fd, int config_fd)
{
	return nomux_mmio_irq(to_nom(fn)->dev, rx_fd, config_fd);
}

static int fn_irq_bind(struct mmio_fn *fn, unsigned int irq, struct nomux_core *core,
		       unsigned int event, int eventfd, uint64_t *count)
{
	return irq_upcall_bind(&to_nom(fn)->bound[irq], core, event, eventfd, count);
}

static void fn_irq_unbind(struct mmio_fn *fn, unsigned int irq)
{
	irq_upcall_unbind(&to_nom(fn)->bound[irq]);
}

static int fn_dma_alloc(struct mmio_fn *fn, size_t bytes, struct nomdrv_dma *dma_out)
{
	uint64_t *chunk_dma;
	size_t nr;
	void *va;
	int err;

	err = nomux_mmio_dma_alloc(to_nom(fn)->dev, bytes, &va, &chunk_dma, &nr);
	if (err)
		return err;
	*dma_out = (struct nomdrv_dma){
		.va = va,
		.bytes = nr << NOMDRV_CHUNK_SHIFT,
		.chunk_dma = chunk_dma,
	};
	return 0;
}

static void fn_dma_free(struct mmio_fn *fn, struct nomdrv_dma *dma)
{
	nomux_mmio_dma_free(to_nom(fn)->dev, dma->va);
	*dma = (struct nomdrv_dma){ 0 };
}

static void fn_close(struct mmio_fn *fn)
{
	struct fn_nom *f = to_nom(fn);

	nomux_mmio_close(f->dev);
	free(f);
}

static const struct mmio_fn_ops nom_fn_ops = {
	.map = fn_map,
	.reg_read = fn_reg_read,
	.reg_write = fn_reg_write,
	.irq = fn_irq,
	.irq_bind = fn_irq_bind,
	.irq_unbind = fn_irq_unbind,
	.dma_alloc = fn_dma_alloc,
	.dma_free = fn_dma_free,
	.close = fn_close,
};

int mmio_fn_nom_open(struct nomux_ctx *ctx, const char *name, struct mmio_fn **out)
{
	struct fn_nom *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	f->fn.ops = &nom_fn_ops;
	snprintf(f->fn.name, sizeof(f->fn.name), "%s", name ? name : "(null)");
	err = nomux_mmio_open(ctx, name, &f->dev);
	if (err) {
		free(f);
		return err;
	}
	*out = &f->fn;
	return 0;
}
