/* SPDX-License-Identifier: MIT */
/*
 * A PCI function, driven from user space through VFIO.
 *
 * With an IOMMU (the function has a real group) DMA goes through VFIO's type1
 * version 2 back-end.  Without one this is *trusted mode*: VFIO's no-IOMMU
 * groups and physical addresses from nom grants; it needs CAP_SYS_RAWIO, and a
 * wrong address written to the device can overwrite any memory.
 *
 * A function that another driver holds is taken over when the caller may
 * (root), and given back to that driver by nomux_vfio_close().  After a
 * kill -9 it stays with vfio-pci; nomux_vfio_restore() gives it back then.
 *
 * Threads: one at a time per device.
 */
#ifndef NOMUX_VFIO_H
#define NOMUX_VFIO_H

#include <nomux/api.h>

struct nomux_ctx;
struct nomux_vfio;

/**
 * nomux_vfio_open - acquire a PCI function
 * @ctx: context (borrowed until nomux_vfio_close()); DMA memory comes from it
 * @bdf: "0000:00:03.0"
 * @dev_out: the device: reset, bus mastering on, interrupts off
 *
 * Return: 0, -EINVAL (malformed @bdf), -ENODEV (no such function), -EBUSY
 * (bound to another driver and may not be rebound, or its group is in use),
 * -EPERM or -EACCES, -ENOENT (no vfio-pci driver), -EOPNOTSUPP (no IOMMU, and
 * trusted mode is not enabled).
 * The log line names the function and what to do.
 */
NOMUX_API int nomux_vfio_open(struct nomux_ctx *ctx, const char *bdf,
			      struct nomux_vfio **dev_out);

/**
 * nomux_vfio_close - stop the device, free its DMA memory, give it back
 * @dev: device, or NULL
 *
 * Order: interrupts off, bus mastering off and device closed, DMA memory
 * freed, previous driver bound again.
 */
NOMUX_API void nomux_vfio_close(struct nomux_vfio *dev);

/**
 * nomux_vfio_restore - give a function at vfio-pci back to its usual driver
 * @bdf: "0000:00:03.0"
 *
 * For a function whose user was killed.
 * Return: 0 (also when it is not at vfio-pci), -EBUSY (in use), -ENODEV,
 * -EPERM, -EINVAL.
 */
NOMUX_API int nomux_vfio_restore(const char *bdf);

/** nomux_vfio_trusted - true without an IOMMU */
NOMUX_API bool nomux_vfio_trusted(const struct nomux_vfio *dev);

/** nomux_vfio_bdf - number of the function, as struct nom_mem_phys takes it */
NOMUX_API uint32_t nomux_vfio_bdf(const struct nomux_vfio *dev);

/**
 * nomux_vfio_map_bar - map a memory BAR
 * @dev: device, undoes the mapping at close
 * @bar: 0 .. 5
 * @va_out: start; volatile accesses of the register's width only
 * @bytes_out: length
 *
 * Return: 0, -ENOENT (no such BAR), -EOPNOTSUPP (an I/O port BAR, or one that
 * cannot be mapped), -EINVAL.
 */
NOMUX_API int nomux_vfio_map_bar(struct nomux_vfio *dev, unsigned int bar,
				 void **va_out, size_t *bytes_out);

/**
 * nomux_vfio_config_read - read configuration space
 * @dev: device
 * @off: offset in bytes
 * @buf: little-endian bytes
 * @len: how many
 *
 * Return: 0, -EINVAL, -EIO.
 */
NOMUX_API int nomux_vfio_config_read(struct nomux_vfio *dev, unsigned int off,
				     void *buf, unsigned int len);

/** nomux_vfio_config_write - write configuration space; see _read() */
NOMUX_API int nomux_vfio_config_write(struct nomux_vfio *dev, unsigned int off,
				      const void *buf, unsigned int len);

/** nomux_vfio_nr_irqs - MSI-X vectors, else MSI vectors, of the device */
NOMUX_API int nomux_vfio_nr_irqs(struct nomux_vfio *dev);

/**
 * nomux_vfio_irq - let an interrupt vector signal an eventfd
 * @dev: device
 * @vector: 0 .. nomux_vfio_nr_irqs() - 1; MSI-X, else MSI
 * @eventfd: its target, or -1 for none
 *
 * With nomux_event_bind() of the same eventfd the interrupt is an upcall.
 * Return: 0, -EINVAL, -ENOSPC.
 */
NOMUX_API int nomux_vfio_irq(struct nomux_vfio *dev, unsigned int vector, int eventfd);

/**
 * nomux_vfio_reset - function level reset; bus mastering is on afterwards
 * @dev: device
 *
 * Return: 0, -EOPNOTSUPP.
 */
NOMUX_API int nomux_vfio_reset(struct nomux_vfio *dev);

/**
 * nomux_vfio_dma_alloc - memory that the application and the device share
 * @dev: device
 * @bytes: > 0; rounded up to a multiple of 2 MiB
 * @va_out: start, aligned to 2 MiB, mapped with 2 MiB pages, zeroed
 * @dma_2m_out: address for the device of every 2 MiB chunk: physical in
 *	trusted mode, else I/O virtual (contiguous).  Belongs to the allocation.
 * @nr_out: number of chunks
 *
 * Return: 0, -ENOMEM, -EPERM, -EINVAL.
 */
NOMUX_API int nomux_vfio_dma_alloc(struct nomux_vfio *dev, size_t bytes, void **va_out,
				   uint64_t **dma_2m_out, size_t *nr_out);

/**
 * nomux_vfio_dma_free - give DMA memory back
 * @dev: device, which must not use it any more
 * @va: as nomux_vfio_dma_alloc() gave it
 *
 * In trusted mode the memory stays quarantined until the device is closed.
 */
NOMUX_API void nomux_vfio_dma_free(struct nomux_vfio *dev, void *va);

#endif /* NOMUX_VFIO_H */
