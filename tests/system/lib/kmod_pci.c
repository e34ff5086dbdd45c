// SPDX-License-Identifier: MIT
/* kmod_pci: see kmod_pci.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include "kmod_pci.h"

#define DEVICES	"/sys/bus/pci/devices"

static int put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static int attr(const char *dev, const char *name, char *out, size_t bytes)
{
	char path[256];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), DEVICES "/%s/%s", dev, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, out, bytes - 1);
	close(fd);
	out[n < 0 ? 0 : n] = 0;
	return n < 0 ? -EIO : 0;
}

static int link_name(const char *dev, const char *name, char *out, size_t bytes)
{
	char path[256], target[256];
	const char *last;
	ssize_t n;

	snprintf(path, sizeof(path), DEVICES "/%s/%s", dev, name);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	target[n] = 0;
	last = strrchr(target, '/');
	last = last ? last + 1 : target;
	if (strlen(last) >= bytes)
		return -ENAMETOOLONG;
	strcpy(out, last);
	return 0;
}

/* The last function whose attributes begin so and that vfio-pci does not have. */
static bool find(struct k_pci *dev, const char *vendor, const char *name, const char *value)
{
	unsigned int domain, bus, slot, fn;
	DIR *d = opendir(DEVICES);
	char text[32], driver[64];
	struct dirent *e;

	memset(dev, 0, sizeof(*dev));
	while (d && (e = readdir(d))) {
		if (attr(e->d_name, "vendor", text, sizeof(text)) || strncmp(text, vendor, 6) ||
		    attr(e->d_name, name, text, sizeof(text)) || strncmp(text, value, 6))
			continue;
		if (link_name(e->d_name, "driver", driver, sizeof(driver)))
			driver[0] = 0;
		if (strcmp(e->d_name, dev->slot) > 0 && strcmp(driver, "vfio-pci")) {
			snprintf(dev->slot, sizeof(dev->slot), "%.31s", e->d_name);
			strcpy(dev->driver, driver);
		}
	}
	if (d)
		closedir(d);
	if (!dev->slot[0] || sscanf(dev->slot, "%x:%x:%x.%x", &domain, &bus, &slot, &fn) != 4)
		return false;
	dev->bdf = domain << 16 | bus << 8 | slot << 3 | fn;
	return true;
}

bool k_pci_find(struct k_pci *dev)
{
	return find(dev, "0x1af4", "class", "0x0200");
}

bool k_pci_find_edu(struct k_pci *dev)
{
	return find(dev, "0x1234", "device", "0x11e8");
}

int k_pci_move(const struct k_pci *dev, const char *driver)
{
	char path[128], now[64];
	int ret;

	if (!link_name(dev->slot, "driver", now, sizeof(now))) {
		snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/unbind", now);
		ret = put_text(path, dev->slot);
		if (ret)
			return ret;
	}
	snprintf(path, sizeof(path), DEVICES "/%s/driver_override", dev->slot);
	ret = put_text(path, strcmp(driver, "vfio-pci") ? "\n" : driver);
	if (ret || !driver[0])
		return ret;
	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/bind", driver);
	return put_text(path, dev->slot);
}

int k_pci_group(const struct k_pci *dev, char *out, size_t bytes)
{
	return link_name(dev->slot, "iommu_group", out, bytes);
}

bool k_pci_has_iommu(const struct k_pci *dev)
{
	char group[32];

	return !k_pci_group(dev, group, sizeof(group));
}

const char *k_pci_trusted(struct k_pci *dev)
{
	if (!k_pci_find(dev))
		return "no virtio network device here: boot with --nics 1";
	if (access("/sys/bus/pci/drivers/vfio-pci", F_OK))
		return "this kernel has no vfio-pci";
	if (k_pci_has_iommu(dev))
		return "an IOMMU is there, and so no trusted mode: see kmod_iommu";
	return NULL;
}

int k_vfio_open(const struct k_pci *dev, struct k_vfio *v)
{
	struct vfio_region_info r = { .argsz = sizeof(r), .index = VFIO_PCI_CONFIG_REGION_INDEX };
	char path[64], group[32];
	int ret;

	ret = k_pci_group(dev, group, sizeof(group));
	if (ret)
		return ret;
	snprintf(path, sizeof(path), "/dev/vfio/noiommu-%s", group);
	v->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	v->group = open(path, O_RDWR | O_CLOEXEC);
	if (v->container < 0 || v->group < 0)
		return -errno;
	if (ioctl(v->group, VFIO_GROUP_SET_CONTAINER, &v->container) ||
	    ioctl(v->container, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU))
		return -errno;
	v->device = ioctl(v->group, VFIO_GROUP_GET_DEVICE_FD, dev->slot);
	if (v->device < 0 || ioctl(v->device, VFIO_DEVICE_GET_REGION_INFO, &r))
		return -errno;
	v->config = r.offset;
	return 0;
}

void k_vfio_close(struct k_vfio *v)
{
	close(v->device), close(v->group), close(v->container);
}

int k_vfio_bus_master(struct k_vfio *v, bool on)
{
	uint16_t cmd;

	if (pread(v->device, &cmd, 2, v->config + PCI_COMMAND) != 2)
		return -errno;
	cmd = on ? cmd | PCI_COMMAND_MASTER : cmd & ~PCI_COMMAND_MASTER;
	if (pwrite(v->device, &cmd, 2, v->config + PCI_COMMAND) != 2)
		return -errno;
	return 0;
}

int k_vfio_irq(struct k_vfio *v, int eventfd)
{
	struct {
		struct vfio_irq_set set;
		int32_t fd;
	} irq = {
		.set = { .argsz = sizeof(irq), .index = VFIO_PCI_MSIX_IRQ_INDEX, .count = 1,
			 .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER },
		.fd = eventfd,
	};

	return ioctl(v->device, VFIO_DEVICE_SET_IRQS, &irq) ? -errno : 0;
}
