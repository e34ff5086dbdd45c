/* SPDX-License-Identifier: MIT */
/*
 * A PCI function as the virtio transport needs it.
 *
 * Two implementations: VFIO through libnomux, and the unit tests' function,
 * whose registers are a program.  Only the doorbell goes round this table: it
 * is a plain store to a mapped register.
 */
#ifndef NOMDRV_PCI_FN_H
#define NOMDRV_PCI_FN_H

#include <stddef.h>
#include <stdint.h>

struct nomdrv_dev;
struct nomdrv_dma;
struct nomux_core;
struct pci_fn;

/* All return 0 or -errno unless said otherwise. */
struct pci_fn_ops {
	int (*config_read)(struct pci_fn *fn, unsigned int off, void *buf, unsigned int len);
	int (*config_write)(struct pci_fn *fn, unsigned int off, const void *buf, unsigned int len);
	/* The same BAR may be asked for more than once. */
	int (*map_bar)(struct pci_fn *fn, unsigned int bar, void **va_out, size_t *bytes_out);
	/* Registers in a mapped BAR; width 1, 2 or 4 bytes, aligned. */
	uint32_t (*mmio_read)(struct pci_fn *fn, const volatile void *reg, unsigned int width);
	void (*mmio_write)(struct pci_fn *fn, volatile void *reg, unsigned int width, uint32_t value);
	int (*nr_irqs)(struct pci_fn *fn);
	int (*irq)(struct pci_fn *fn, unsigned int vector, int eventfd);
	/* Vectors below NOMDRV_NR_IRQS, each to one event. */
	int (*irq_bind)(struct pci_fn *fn, unsigned int vector, struct nomux_core *core,
			unsigned int event, int eventfd, uint64_t *count);
	void (*irq_unbind)(struct pci_fn *fn, unsigned int vector);
	int (*dma_alloc)(struct pci_fn *fn, size_t bytes, struct nomdrv_dma *dma_out);
	void (*dma_free)(struct pci_fn *fn, struct nomdrv_dma *dma);
	void (*close)(struct pci_fn *fn);
};

struct pci_fn {
	const struct pci_fn_ops *ops;
	char name[32];	/* for messages: the address */
};

/**
 * vtrans_pci_modern_create - a virtio device on a PCI function
 * @fn: the function; the device's, and closed if there is none
 * @out: the device, constructed
 *
 * Return: 0 or -ENOMEM.
 */
int vtrans_pci_modern_create(struct pci_fn *fn, struct nomdrv_dev **out);

#endif /* NOMDRV_PCI_FN_H */
