/* SPDX-License-Identifier: MIT */
/* A VFIO device, as vfio.c and vfio_dma.c see it. */
#ifndef NOMUX_VFIO_INTERNAL_H
#define NOMUX_VFIO_INTERNAL_H

#include <linux/vfio.h>

#include <nomux/mem.h>
#include <nomux/vfio.h>

#define VFIO_NR_BARS	6
#define VFIO_MAX_IRQS	2048

struct vfio_dma {
	struct vfio_dma *next;
	struct nomux_mem *mem;
	void *va;			/* the window, 2 MiB pages */
	void *view;			/* what the IOMMU has pinned */
	size_t bytes;
	uint64_t *dma_2m;
};

struct nomux_vfio {
	struct nomux_ctx *ctx;
	char bdf_name[16];
	uint32_t bdf;
	bool trusted;			/* no IOMMU */
	bool give_back;			/* we took it from another driver */
	int container, group, device;
	uint64_t config_offset, config_bytes;
	struct {
		void *va;
		size_t bytes;
	} bar[VFIO_NR_BARS];
	uint32_t irq_index;		/* VFIO_PCI_MSIX_IRQ_INDEX or _MSI_ */
	uint32_t nr_irqs;
	bool irqs_on;
	int32_t *irq_fd;		/* per vector, -1: none */
	struct vfio_dma *dma;
	uint64_t next_iova;
};

void nomux__vfio_dma_free_all(struct nomux_vfio *dev, bool device_closed);

#endif /* NOMUX_VFIO_INTERNAL_H */
