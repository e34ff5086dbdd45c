// SPDX-License-Identifier: MIT
/*
 * A PCI function through VFIO's container and group interface, which 6.12 has
 * for both kinds: type1 version 2 with an IOMMU, no-IOMMU without.
 */
#include <nomux/vfio.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <syslog.h>
#include <unistd.h>

#include <nomux/log.h>

#include "internal.h"
#include "vfio_internal.h"

static int vfio_open_group(struct nomux_vfio *dev)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	char path[96], number[32], name[32];
	int err;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", dev->bdf_name);
	err = nomux__sysfs_link(path, number, sizeof(number));
	if (err) {
		nomux_log(LOG_ERR, "vfio: no group, device=%s: %s", dev->bdf_name, strerror(-err));
		return err;
	}
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group/name", dev->bdf_name);
	dev->trusted = nomux__sysfs_read(path, name, sizeof(name)) > 0 &&
		       !strcmp(name, "vfio-noiommu");
	snprintf(path, sizeof(path), "/dev/vfio/%s%s", dev->trusted ? "noiommu-" : "", number);
	dev->group = open(path, O_RDWR | O_CLOEXEC);
	if (dev->group < 0) {
		err = -errno;
		nomux_log(LOG_ERR, "vfio: cannot open %s, device=%s: %s%s", path, dev->bdf_name,
			  strerror(-err), err == -EBUSY ? " (another process has it)" :
			  err == -EPERM ? " (trusted mode needs CAP_SYS_RAWIO)" : "");
		return err;
	}
	if (ioctl(dev->group, VFIO_GROUP_GET_STATUS, &status))
		return -errno;
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE)) {
		nomux_log(LOG_ERR, "vfio: other functions of its group have host drivers, "
			  "device=%s group=%s", dev->bdf_name, number);
		return -EBUSY;
	}
	return 0;
}

static int vfio_open_device(struct nomux_vfio *dev)
{
	long iommu = dev->trusted ? VFIO_NOIOMMU_IOMMU : VFIO_TYPE1v2_IOMMU;
	const char *what = "set container";

	if (ioctl(dev->group, VFIO_GROUP_SET_CONTAINER, &dev->container))
		goto err;
	what = dev->trusted ? "set no-IOMMU" : "set type1v2 IOMMU";
	if (ioctl(dev->container, VFIO_SET_IOMMU, iommu))
		goto err;
	what = "get device";
	dev->device = ioctl(dev->group, VFIO_GROUP_GET_DEVICE_FD, dev->bdf_name);
	if (dev->device < 0)
		goto err;
	return 0;
err:
	nomux_log(LOG_ERR, "vfio: cannot %s, device=%s: %s%s", what, dev->bdf_name,
		  strerror(errno), errno == EPERM && !dev->trusted ?
		  " (no interrupt remapping? see vfio_iommu_type1.allow_unsafe_interrupts)" : "");
	return -errno;
}

static int vfio_read_layout(struct nomux_vfio *dev)
{
	struct vfio_region_info region = {
		.argsz = sizeof(region), .index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	struct vfio_irq_info irq = { .argsz = sizeof(irq) };
	static const uint32_t kinds[] = { VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX };
	unsigned int i;

	if (ioctl(dev->device, VFIO_DEVICE_GET_REGION_INFO, &region))
		return -errno;
	dev->config_offset = region.offset;
	dev->config_bytes = region.size;
	for (i = 0; i < ARRAY_SIZE(kinds) && !dev->nr_irqs; i++) {
		irq.index = kinds[i];
		if (ioctl(dev->device, VFIO_DEVICE_GET_IRQ_INFO, &irq))
			continue;
		dev->irq_index = kinds[i];
		dev->nr_irqs = irq.count <= VFIO_MAX_IRQS ? irq.count : VFIO_MAX_IRQS;
	}
	dev->irq_fd = malloc((dev->nr_irqs + 1) * sizeof(*dev->irq_fd));
	if (!dev->irq_fd)
		return -ENOMEM;
	for (i = 0; i < dev->nr_irqs; i++)
		dev->irq_fd[i] = -1;
	return 0;
}

static int vfio_bus_master(struct nomux_vfio *dev, bool on)
{
	uint16_t cmd;
	int err;

	err = nomux_vfio_config_read(dev, PCI_COMMAND, &cmd, sizeof(cmd));
	if (err)
		return err;
	cmd |= PCI_COMMAND_MEMORY;
	if (on)
		cmd |= PCI_COMMAND_MASTER;
	else
		cmd &= (uint16_t)~PCI_COMMAND_MASTER;
	return nomux_vfio_config_write(dev, PCI_COMMAND, &cmd, sizeof(cmd));
}

int nomux_vfio_reset(struct nomux_vfio *dev)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };

	if (!dev)
		return -EINVAL;
	if (ioctl(dev->device, VFIO_DEVICE_GET_INFO, &info))
		return -errno;
	if (!(info.flags & VFIO_DEVICE_FLAGS_RESET))
		return -EOPNOTSUPP;
	if (ioctl(dev->device, VFIO_DEVICE_RESET))
		return -errno;
	return vfio_bus_master(dev, true);
}

/* Undo as much as was done; also the normal end. */
static void vfio_teardown(struct nomux_vfio *dev)
{
	unsigned int i;

	if (dev->device >= 0) {
		if (dev->irqs_on) {
			struct vfio_irq_set off = {
				.argsz = sizeof(off), .index = dev->irq_index,
				.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
			};

			ioctl(dev->device, VFIO_DEVICE_SET_IRQS, &off);
		}
		vfio_bus_master(dev, false);
	}
	for (i = 0; i < VFIO_NR_BARS; i++)
		if (dev->bar[i].va)
			munmap(dev->bar[i].va, dev->bar[i].bytes);
	nomux__vfio_dma_free_all(dev, false);
	if (dev->device >= 0)
		close(dev->device);
	if (dev->group >= 0)
		close(dev->group);
	if (dev->container >= 0)
		close(dev->container);
	/* Not before the device is closed: until then it could still reach it. */
	nomux__vfio_dma_free_all(dev, true);
	if (dev->give_back) {
		int err = nomux__pci_give_back(dev->bdf_name);

		if (err)
			nomux_log(LOG_WARNING, "vfio: cannot give it back to its driver, "
				  "device=%s: %s", dev->bdf_name, strerror(-err));
	}
	free(dev->irq_fd);
	free(dev);
}

int nomux_vfio_open(struct nomux_ctx *ctx, const char *bdf, struct nomux_vfio **dev_out)
{
	struct nomux_vfio *dev;
	char old_driver[64];
	uint32_t number;
	int err;

	if (!ctx || !dev_out)
		return -EINVAL;
	err = nomux__pci_parse(bdf, &number);
	if (err) {
		nomux_log(LOG_ERR, "vfio: not a PCI address like 0000:00:03.0: %s",
			  bdf ? bdf : "(null)");
		return err;
	}
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return -ENOMEM;
	dev->ctx = ctx;
	dev->bdf = number;
	snprintf(dev->bdf_name, sizeof(dev->bdf_name), "%s", bdf);
	dev->container = dev->group = dev->device = -1;

	err = nomux__pci_take(bdf, old_driver, sizeof(old_driver));
	if (err)
		goto err_teardown;
	dev->give_back = strcmp(old_driver, "vfio-pci") != 0;
	dev->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (dev->container < 0) {
		err = -errno;
		nomux_log(LOG_ERR, "vfio: cannot open /dev/vfio/vfio: %s", strerror(-err));
		goto err_teardown;
	}
	err = vfio_open_group(dev);
	if (err)
		goto err_teardown;
	err = vfio_open_device(dev);
	if (err)
		goto err_teardown;
	err = vfio_read_layout(dev);
	if (err)
		goto err_teardown;
	err = nomux_vfio_reset(dev);
	if (err == -EOPNOTSUPP)
		err = vfio_bus_master(dev, true);
	if (err) {
		nomux_log(LOG_ERR, "vfio: cannot reset, device=%s: %s", bdf, strerror(-err));
		goto err_teardown;
	}
	*dev_out = dev;
	return 0;

err_teardown:
	vfio_teardown(dev);
	return err;
}

void nomux_vfio_close(struct nomux_vfio *dev)
{
	if (dev)
		vfio_teardown(dev);
}

/* Open or not?  The kernel lets a group be opened once. */
static int vfio_in_use(const char *bdf)
{
	struct nomux_vfio dev = { .container = -1, .group = -1, .device = -1 };
	int err;

	snprintf(dev.bdf_name, sizeof(dev.bdf_name), "%s", bdf);
	err = vfio_open_group(&dev);
	if (dev.group >= 0)
		close(dev.group);
	return err;
}

int nomux_vfio_restore(const char *bdf)
{
	char driver[64];
	uint32_t number;
	int err;

	err = nomux__pci_parse(bdf, &number);
	if (!err)
		err = nomux__bus_driver("pci", bdf, driver, sizeof(driver));
	if (err || strcmp(driver, "vfio-pci"))
		return err;
	/* An unbind of a device in use would wait for its user. */
	err = vfio_in_use(bdf);
	if (err)
		return err;
	return nomux__pci_give_back(bdf);
}

bool nomux_vfio_trusted(const struct nomux_vfio *dev)
{
	return dev->trusted;
}

uint32_t nomux_vfio_bdf(const struct nomux_vfio *dev)
{
	return dev->bdf;
}

int nomux_vfio_map_bar(struct nomux_vfio *dev, unsigned int bar, void **va_out, size_t *bytes_out)
{
	struct vfio_region_info region = { .argsz = sizeof(region), .index = bar };
	void *p;

	if (!dev || bar >= VFIO_NR_BARS || !va_out || !bytes_out)
		return -EINVAL;
	if (!dev->bar[bar].va) {
		if (ioctl(dev->device, VFIO_DEVICE_GET_REGION_INFO, &region))
			return -errno;
		if (!region.size)
			return -ENOENT;
		if (!(region.flags & VFIO_REGION_INFO_FLAG_MMAP))
			return -EOPNOTSUPP;
		p = mmap(NULL, region.size, PROT_READ | PROT_WRITE, MAP_SHARED, dev->device,
			 (off_t)region.offset);
		if (p == MAP_FAILED)
			return -errno;
		dev->bar[bar].va = p;
		dev->bar[bar].bytes = region.size;
	}
	*va_out = dev->bar[bar].va;
	*bytes_out = dev->bar[bar].bytes;
	return 0;
}

static bool config_range_ok(const struct nomux_vfio *dev, unsigned int off, const void *buf,
			    unsigned int len)
{
	return dev && buf && len && off < dev->config_bytes && len <= dev->config_bytes - off;
}

int nomux_vfio_config_read(struct nomux_vfio *dev, unsigned int off, void *buf, unsigned int len)
{
	if (!config_range_ok(dev, off, buf, len))
		return -EINVAL;
	if (pread(dev->device, buf, len, (off_t)(dev->config_offset + off)) != (ssize_t)len)
		return -EIO;
	return 0;
}

int nomux_vfio_config_write(struct nomux_vfio *dev, unsigned int off, const void *buf,
			    unsigned int len)
{
	if (!config_range_ok(dev, off, buf, len))
		return -EINVAL;
	if (pwrite(dev->device, buf, len, (off_t)(dev->config_offset + off)) != (ssize_t)len)
		return -EIO;
	return 0;
}

int nomux_vfio_nr_irqs(struct nomux_vfio *dev)
{
	return (int)dev->nr_irqs;
}

static int set_irqs(struct nomux_vfio *dev, uint32_t start, uint32_t count, const int32_t *fds)
{
	size_t bytes = sizeof(struct vfio_irq_set) + count * sizeof(*fds);
	struct vfio_irq_set *set = calloc(1, bytes);
	int err;

	if (!set)
		return -ENOMEM;
	set->argsz = (uint32_t)bytes;
	set->flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	set->index = dev->irq_index;
	set->start = start;
	set->count = count;
	memcpy(set->data, fds, count * sizeof(*fds));
	err = ioctl(dev->device, VFIO_DEVICE_SET_IRQS, set) < 0 ? -errno : 0;
	free(set);
	return err;
}

/*
 * The first use turns all vectors on, with nobody listening to the others: the
 * kernel cannot add MSI vectors, and not every device MSI-X ones, later.
 */
int nomux_vfio_irq(struct nomux_vfio *dev, unsigned int vector, int eventfd)
{
	int32_t old;
	int err;

	if (!dev || vector >= dev->nr_irqs || eventfd < -1)
		return -EINVAL;
	if (eventfd < 0 && !dev->irqs_on)
		return 0;
	old = dev->irq_fd[vector];
	dev->irq_fd[vector] = eventfd;
	if (dev->irqs_on)
		err = set_irqs(dev, vector, 1, &dev->irq_fd[vector]);
	else
		err = set_irqs(dev, 0, dev->nr_irqs, dev->irq_fd);
	if (err)
		dev->irq_fd[vector] = old;
	else
		dev->irqs_on = true;
	return err;
}
