/* SPDX-License-Identifier: MIT */
/*
 * A virtio device without PCI, driven from user space through nom.ko's driver
 * nom-mmio: registers at an address that firmware or the command line told.
 *
 * Always *trusted mode*: it needs CAP_SYS_RAWIO, and a wrong address written to
 * the device can overwrite any memory.  The page mapped for a device may hold
 * the registers of others.
 *
 * A device that another driver holds is taken over when the caller may (root),
 * and given back by nomux_mmio_close().  After a kill -9 the kernel has reset it
 * and it stays with nom-mmio; nomux_mmio_restore() gives it back then.
 *
 * Threads: one at a time per device.
 */
#ifndef NOMUX_MMIO_H
#define NOMUX_MMIO_H

#include <nomux/api.h>

struct nomux_ctx;
struct nomux_mmio;

/**
 * nomux_mmio_open - acquire a device
 * @ctx: context (borrowed until nomux_mmio_close()); DMA memory comes from it
 * @name: as in /sys/bus/platform/devices, "LNRO0005:00"
 * @dev_out: the device, as its last driver left it; interrupt off
 *
 * Return: 0, -EINVAL (malformed @name), -ENODEV (no such device), -EBUSY (bound
 * to another driver and may not be rebound, or another process has it), -EPERM
 * or -EACCES, -ENOENT (nom.ko without nom-mmio), -ENAMETOOLONG.
 * The log line names the device and what to do.
 */
NOMUX_API int nomux_mmio_open(struct nomux_ctx *ctx, const char *name, struct nomux_mmio **dev_out);

/**
 * nomux_mmio_close - have it reset, free its DMA memory, give it back
 * @dev: device, or NULL
 */
NOMUX_API void nomux_mmio_close(struct nomux_mmio *dev);

/**
 * nomux_mmio_restore - give a device at nom-mmio back to its usual driver
 * @ctx: context
 * @name: "LNRO0005:00"
 *
 * For a device whose user was killed.
 * Return: 0 (also when it is not at nom-mmio), -EBUSY (in use), -ENODEV, -EPERM,
 * -EINVAL.
 */
NOMUX_API int nomux_mmio_restore(struct nomux_ctx *ctx, const char *name);

/**
 * nomux_mmio_regs - the registers, mapped
 * @dev: device, undoes the mapping at close
 * @va_out: start; volatile accesses of the register's width only
 * @bytes_out: length
 */
NOMUX_API void nomux_mmio_regs(struct nomux_mmio *dev, void **va_out, size_t *bytes_out);

/**
 * nomux_mmio_irq - let the interrupt signal eventfds
 * @dev: device
 * @rx_fd: for used buffers, -1: none
 * @config_fd: for a changed configuration, -1: none
 *
 * The kernel acknowledges the cause.  With nomux_event_bind() of the same eventfd
 * the interrupt is an upcall; that of @rx_fd comes to the leased core then.
 * Return: 0, -ENXIO (it has no interrupt), -EBUSY (another driver has it), -EBADF,
 * -EINVAL.
 */
NOMUX_API int nomux_mmio_irq(struct nomux_mmio *dev, int rx_fd, int config_fd);

/**
 * nomux_mmio_dma_alloc - memory that the application and the device share
 * @dev: device
 * @bytes: > 0; rounded up to a multiple of 2 MiB
 * @va_out: start, aligned to 2 MiB, mapped with 2 MiB pages, zeroed
 * @phys_2m_out: physical address of every 2 MiB.  Belongs to the allocation.
 * @nr_out: number of those
 *
 * Return: 0, -ENOMEM, -EPERM, -EINVAL.
 */
NOMUX_API int nomux_mmio_dma_alloc(struct nomux_mmio *dev, size_t bytes, void **va_out,
				   uint64_t **phys_2m_out, size_t *nr_out);

/**
 * nomux_mmio_dma_free - give DMA memory back
 * @dev: device
 * @va: as nomux_mmio_dma_alloc() gave it
 *
 * While the device runs it stays quarantined, at most until it is closed.
 */
NOMUX_API void nomux_mmio_dma_free(struct nomux_mmio *dev, void *va);

#endif /* NOMUX_MMIO_H */
