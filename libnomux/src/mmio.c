// SPDX-License-Identifier: MIT
/*
 * A virtio device without PCI, through nom.ko's driver nom-mmio.
 *
 * The order at the end: registers unmapped and descriptor closed, upon which the
 * kernel resets the device, then the grants, which are not held up by it any more.
 */
#include <nomux/mmio.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <syslog.h>
#include <unistd.h>

#include <nomux/log.h>
#include <nomux/mem.h>

#include "internal.h"

#define MMIO_DRIVER	"nom-mmio"

struct mmio_dma {
	struct mmio_dma *next;
	struct nomux_mem *mem;
	void *va;
	uint64_t *phys_2m;
};

struct nomux_mmio {
	struct nomux_ctx *ctx;
	char name[NOM_MMIO_NAME_MAX];
	bool give_back;			/* we took it from another driver */
	int fd;
	void *map;			/* whole pages */
	size_t map_bytes;
	uint32_t offset;		/* of the registers, in the first of them */
	uint64_t bytes;
	struct mmio_dma *dma;
};

/* A name goes into paths of sysfs. */
static int check_name(const char *name)
{
	if (!name || !name[0] || name[0] == '.' || strchr(name, '/'))
		return -EINVAL;
	return strlen(name) < NOM_MMIO_NAME_MAX ? 0 : -ENAMETOOLONG;
}

static int take(const char *name, char *old_driver, size_t n)
{
	int err;

	err = nomux__bus_driver("platform", name, old_driver, n);
	if (err) {
		nomux_log(LOG_ERR, MMIO_DRIVER ": no such platform device, device=%s: "
			  "see /sys/bus/platform/devices", name);
		return err;
	}
	if (access("/sys/bus/platform/drivers/" MMIO_DRIVER, F_OK)) {
		nomux_log(LOG_ERR, MMIO_DRIVER ": not there, device=%s: nom.ko is not loaded, or is too old",
			  name);
		return -ENOENT;
	}
	if (!strcmp(old_driver, MMIO_DRIVER))
		return 0;
	return nomux__bus_take("platform", name, MMIO_DRIVER, old_driver);
}

static int open_device(struct nomux_ctx *ctx, const char *name, struct nom_mmio_open *o)
{
	*o = (struct nom_mmio_open){ .size = sizeof(*o) };
	snprintf(o->name, sizeof(o->name), "%s", name);
	return ioctl(ctx->fd, NOM_MMIO_OPEN, o) ? -errno : 0;
}

static int map_registers(struct nomux_mmio *dev)
{
	dev->map_bytes = ALIGN_UP(dev->offset + dev->bytes, NOMUX_PAGE_BYTES);
	dev->map = mmap(NULL, dev->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, dev->fd, 0);
	if (dev->map == MAP_FAILED) {
		dev->map = NULL;
		return -errno;
	}
	return 0;
}

static void dma_destroy(struct mmio_dma *d)
{
	nomux_mem_put(d->mem);
	free(d->phys_2m);
	free(d);
}

/* Undo as much as was done; also the normal end. */
static void teardown(struct nomux_mmio *dev)
{
	int err;

	if (dev->map)
		munmap(dev->map, dev->map_bytes);
	if (dev->fd >= 0)
		close(dev->fd);
	while (dev->dma) {
		struct mmio_dma *d = dev->dma;

		dev->dma = d->next;
		dma_destroy(d);
	}
	if (dev->give_back) {
		err = nomux__bus_give_back("platform", dev->name, MMIO_DRIVER);
		if (err)
			nomux_log(LOG_WARNING, MMIO_DRIVER ": cannot give it back to its driver, device=%s: %s",
				  dev->name, strerror(-err));
	}
	free(dev);
}

int nomux_mmio_open(struct nomux_ctx *ctx, const char *name, struct nomux_mmio **dev_out)
{
	struct nom_mmio_open o;
	struct nomux_mmio *dev;
	char old_driver[64];
	int err;

	if (!ctx || !dev_out)
		return -EINVAL;
	err = check_name(name);
	if (err)
		return err;
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return -ENOMEM;
	dev->ctx = ctx;
	dev->fd = -1;
	snprintf(dev->name, sizeof(dev->name), "%s", name);
	err = take(name, old_driver, sizeof(old_driver));
	if (err)
		goto err_teardown;
	dev->give_back = strcmp(old_driver, MMIO_DRIVER) != 0;
	err = open_device(ctx, name, &o);
	if (err) {
		nomux_log(LOG_ERR, MMIO_DRIVER ": cannot open, device=%s: %s%s", name, strerror(-err),
			  err == -EBUSY ? " (another process has it)" :
			  err == -EPERM ? " (trusted mode needs CAP_SYS_RAWIO)" : "");
		goto err_teardown;
	}
	dev->fd = o.out_fd;
	dev->offset = o.out_offset;
	dev->bytes = o.out_bytes;
	err = map_registers(dev);
	if (err) {
		nomux_log(LOG_ERR, MMIO_DRIVER ": cannot map the registers, device=%s: %s", name,
			  strerror(-err));
		goto err_teardown;
	}
	*dev_out = dev;
	return 0;

err_teardown:
	teardown(dev);
	return err;
}

void nomux_mmio_close(struct nomux_mmio *dev)
{
	if (dev)
		teardown(dev);
}

int nomux_mmio_restore(struct nomux_ctx *ctx, const char *name)
{
	struct nom_mmio_open o;
	char driver[64];
	int err;

	if (!ctx)
		return -EINVAL;
	err = check_name(name);
	if (!err)
		err = nomux__bus_driver("platform", name, driver, sizeof(driver));
	if (err || strcmp(driver, MMIO_DRIVER))
		return err;
	/* An unbind of a device in use would wait for its user. */
	err = open_device(ctx, name, &o);
	if (err)
		return err;
	close(o.out_fd);
	return nomux__bus_give_back("platform", name, MMIO_DRIVER);
}

void nomux_mmio_regs(struct nomux_mmio *dev, void **va_out, size_t *bytes_out)
{
	*va_out = (uint8_t *)dev->map + dev->offset;
	*bytes_out = dev->bytes;
}

int nomux_mmio_irq(struct nomux_mmio *dev, int rx_fd, int config_fd)
{
	struct nom_mmio_irq i = { .size = sizeof(i), .rx_fd = rx_fd, .config_fd = config_fd };

	if (!dev)
		return -EINVAL;
	return ioctl(dev->fd, NOM_MMIO_IRQ, &i) ? -errno : 0;
}

int nomux_mmio_dma_alloc(struct nomux_mmio *dev, size_t bytes, void **va_out,
			 uint64_t **phys_2m_out, size_t *nr_out)
{
	struct mmio_dma *d;
	size_t nr, i;
	int err;

	if (!dev || !va_out || !phys_2m_out || !nr_out || !bytes || bytes > (1UL << 40))
		return -EINVAL;
	nr = ALIGN_UP(bytes, NOMUX_HUGE_BYTES) / NOMUX_HUGE_BYTES;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->phys_2m = calloc(nr, sizeof(*d->phys_2m));
	err = d->phys_2m ? nomux_mem_grant(dev->ctx, bytes, &d->mem) : -ENOMEM;
	if (!err)
		err = nomux__dma_window(dev->ctx, d->mem, dev->name, &d->va);
	for (i = 0; i < nr && !err; i++)
		err = nomux__mem_phys(d->mem, i * NOMUX_HUGE_BYTES, NOM_PHYS_MMIO, (uint32_t)dev->fd,
				      &d->phys_2m[i]);
	if (err) {
		nomux_log(LOG_ERR, MMIO_DRIVER ": no memory for it, device=%s bytes=%zu: %s", dev->name,
			  bytes, strerror(-err));
		dma_destroy(d);
		return err;
	}
	d->next = dev->dma;
	dev->dma = d;
	*va_out = d->va;
	*phys_2m_out = d->phys_2m;
	*nr_out = nr;
	return 0;
}

void nomux_mmio_dma_free(struct nomux_mmio *dev, void *va)
{
	struct mmio_dma **at, *d;

	if (!dev)
		return;
	for (at = &dev->dma; *at; at = &(*at)->next) {
		d = *at;
		if (d->va != va)
			continue;
		*at = d->next;
		dma_destroy(d);
		return;
	}
}
