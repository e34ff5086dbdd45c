// SPDX-License-Identifier: MIT
/*
 * DMA memory: a grant, mapped here in 2 MiB pages, and made known to the
 * device - by its physical addresses in trusted mode, else by an entry in the
 * IOMMU.
 *
 * Order in trusted mode: the device is at vfio-pci before the kernel tells
 * physical addresses for it (it checks), and it is closed, and thereby unable
 * to master the bus, before the grants go back (vfio.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <syslog.h>

#include <nomux/log.h>

#include "internal.h"
#include "vfio_internal.h"

/* I/O virtual addresses: from low ones up (some devices reach few bits) ... */
#define IOVA_FIRST	NOMUX_HUGE_BYTES
#define IOVA_END	(1ULL << 38)
/* ... around the window that x86 keeps for interrupt messages. */
#define MSI_START	0xfee00000ULL
#define MSI_END		0xff000000ULL

int nomux__dma_window(struct nomux_ctx *ctx, struct nomux_mem *mem, const char *device, void **va_out)
{
	struct nom_map_entry e = {
		.bytes = nomux_mem_bytes(mem), .flags = NOM_MAP_READ | NOM_MAP_WRITE,
	};
	int ret;

	ret = nomux_mem_window(mem, e.bytes, NULL, va_out);
	if (ret)
		return ret;
	e.va = (uintptr_t)*va_out;
	if (ctx->info.out_features & NOM_FEATURE_HUGE_MAP)
		e.flags |= NOM_MAP_HUGE;
	else
		nomux_log(LOG_NOTICE, "nomux: this kernel maps 4 KiB pages only, device=%s", device);
	ret = nomux_mem_map(mem, &e, 1);
	return ret < 0 ? ret : 0;
}

static int iova_take(struct nomux_vfio *dev, size_t bytes, uint64_t *iova_out)
{
	uint64_t iova = dev->next_iova ? dev->next_iova : IOVA_FIRST;

	if (iova < MSI_END && iova + bytes > MSI_START)
		iova = ALIGN_UP(MSI_END, NOMUX_HUGE_BYTES);
	if (bytes > IOVA_END - iova)
		return -ENOSPC;
	dev->next_iova = iova + bytes;
	*iova_out = iova;
	return 0;
}

/*
 * Nobody can pin what a window maps, and type1 pins: it gets the grant's other
 * view.  The view stays for as long as the IOMMU has the entry.
 */
static int dma_address_iommu(struct nomux_vfio *dev, struct vfio_dma *d)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.size = d->bytes,
	};
	uint64_t iova;
	size_t i;
	int err;

	err = iova_take(dev, d->bytes, &iova);
	if (err)
		return err;
	d->view = nomux__mem_dma_view(d->mem);
	if (!d->view)
		return -errno;
	map.vaddr = (uintptr_t)d->view;
	map.iova = iova;
	if (ioctl(dev->container, VFIO_IOMMU_MAP_DMA, &map)) {
		err = -errno;
		if (err == -ENOMEM)
			nomux_log(LOG_ERR, "vfio: pinned memory counts against ulimit -l, "
				  "device=%s bytes=%zu", dev->bdf_name, d->bytes);
		munmap(d->view, d->bytes);
		return err;
	}
	for (i = 0; i < d->bytes / NOMUX_HUGE_BYTES; i++)
		d->dma_2m[i] = iova + i * NOMUX_HUGE_BYTES;
	return 0;
}

static int dma_address_trusted(struct nomux_vfio *dev, struct vfio_dma *d)
{
	size_t i;
	int err;

	for (i = 0; i < d->bytes / NOMUX_HUGE_BYTES; i++) {
		err = nomux_mem_phys(d->mem, i * NOMUX_HUGE_BYTES, dev->bdf, &d->dma_2m[i]);
		if (err)
			return err;
	}
	return 0;
}

int nomux_vfio_dma_alloc(struct nomux_vfio *dev, size_t bytes, void **va_out,
			 uint64_t **dma_2m_out, size_t *nr_out)
{
	struct vfio_dma *d;
	int err;

	if (!dev || !va_out || !dma_2m_out || !nr_out || !bytes || bytes > (1UL << 40))
		return -EINVAL;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->bytes = ALIGN_UP(bytes, NOMUX_HUGE_BYTES);
	d->dma_2m = calloc(d->bytes / NOMUX_HUGE_BYTES, sizeof(*d->dma_2m));
	if (!d->dma_2m) {
		err = -ENOMEM;
		goto err_free;
	}
	err = nomux_mem_grant(dev->ctx, d->bytes, &d->mem);
	if (err)
		goto err_free;
	err = nomux__dma_window(dev->ctx, d->mem, dev->bdf_name, &d->va);
	if (err)
		goto err_put;
	err = dev->trusted ? dma_address_trusted(dev, d) : dma_address_iommu(dev, d);
	if (err) {
		nomux_log(LOG_ERR, "vfio: cannot make memory known, device=%s bytes=%zu: %s",
			  dev->bdf_name, d->bytes, strerror(-err));
		goto err_put;
	}
	d->next = dev->dma;
	dev->dma = d;
	*va_out = d->va;
	*dma_2m_out = d->dma_2m;
	*nr_out = d->bytes / NOMUX_HUGE_BYTES;
	return 0;

err_put:
	nomux_mem_put(d->mem);
err_free:
	free(d->dma_2m);
	free(d);
	return err;
}

static void dma_destroy(struct nomux_vfio *dev, struct vfio_dma *d, bool device_closed)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .iova = d->dma_2m[0], .size = d->bytes,
	};

	if (!dev->trusted && !device_closed && ioctl(dev->container, VFIO_IOMMU_UNMAP_DMA, &unmap))
		nomux_log(LOG_WARNING, "vfio: cannot unmap DMA, device=%s iova=0x%llx: %s",
			  dev->bdf_name, (unsigned long long)unmap.iova, strerror(errno));
	if (d->view)
		munmap(d->view, d->bytes);
	nomux_mem_put(d->mem);
	free(d->dma_2m);
	free(d);
}

void nomux_vfio_dma_free(struct nomux_vfio *dev, void *va)
{
	struct vfio_dma **p, *d;

	if (!dev || !va)
		return;
	for (p = &dev->dma; (d = *p); p = &d->next) {
		if (d->va != va)
			continue;
		*p = d->next;
		dma_destroy(dev, d, false);
		return;
	}
}

/*
 * What is left at the end: IOMMU entries go while the container is open, memory
 * of a trusted device after the device has been closed.
 */
void nomux__vfio_dma_free_all(struct nomux_vfio *dev, bool device_closed)
{
	struct vfio_dma *d;

	if (dev->trusted && !device_closed)
		return;
	while ((d = dev->dma)) {
		dev->dma = d->next;
		dma_destroy(dev, d, device_closed);
	}
}
