// SPDX-License-Identifier: MIT
/*
 * Who drives a PCI function: take it to vfio-pci and give it back, by sysfs.
 *
 * Taking sets driver_override and lets the kernel probe; giving back clears it
 * and does the same, after which the kernel chooses the driver it would have
 * chosen at boot.  So nothing need be remembered for a process that was killed.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include <nomux/log.h>
#include <nomux/vfio.h>

#include "internal.h"

#define PCI_DEVICES	"/sys/bus/pci/devices/"
#define PCI_PROBE	"/sys/bus/pci/drivers_probe"
#define VFIO_DRIVER	"vfio-pci"
#define NOIOMMU_SWITCH	"/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"

int nomux__pci_parse(const char *bdf, uint32_t *bdf_out)
{
	unsigned int domain, bus, dev, fn;
	char canonical[16];

	if (!bdf || sscanf(bdf, "%4x:%2x:%2x.%1x", &domain, &bus, &dev, &fn) != 4 ||
	    dev > 31 || fn > 7)
		return -EINVAL;
	snprintf(canonical, sizeof(canonical), "%04x:%02x:%02x.%x", domain & 0xffff, bus & 0xff,
		 dev, fn);
	if (strcmp(canonical, bdf))
		return -EINVAL;
	*bdf_out = domain << 16 | bus << 8 | dev << 3 | fn;
	return 0;
}

static void device_path(char *path, size_t n, const char *bdf, const char *file)
{
	snprintf(path, n, PCI_DEVICES "%s/%s", bdf, file);
}

/* Name of the driver, "" for none. */
int nomux__pci_driver(const char *bdf, char *name, size_t n)
{
	char path[96];
	int err;

	device_path(path, sizeof(path), bdf, "");
	if (access(path, F_OK))
		return -ENODEV;
	device_path(path, sizeof(path), bdf, "driver");
	err = nomux__sysfs_link(path, name, n);
	if (err == -ENOENT) {
		name[0] = '\0';
		return 0;
	}
	return err;
}

static int pci_unbind(const char *bdf)
{
	char path[96];
	int err;

	device_path(path, sizeof(path), bdf, "driver/unbind");
	err = nomux__sysfs_write(path, bdf);
	return err == -ENOENT ? 0 : err;
}

static int pci_override(const char *bdf, const char *driver)
{
	char path[96];

	device_path(path, sizeof(path), bdf, "driver_override");
	return nomux__sysfs_write(path, driver);
}

/* VFIO refuses a function without IOMMU at probe, so look before. */
static int check_noiommu(const char *bdf)
{
	char path[96], group[32], value[8];

	device_path(path, sizeof(path), bdf, "iommu_group");
	if (!nomux__sysfs_link(path, group, sizeof(group)))
		return 0;
	if (nomux__sysfs_read(NOIOMMU_SWITCH, value, sizeof(value)) > 0 && value[0] == 'Y')
		return 0;
	nomux_log(LOG_ERR,
		  "vfio: no IOMMU, and trusted mode is off, device=%s: echo 1 > " NOIOMMU_SWITCH
		  " (or boot with vfio.enable_unsafe_noiommu_mode=1)", bdf);
	return -EOPNOTSUPP;
}

int nomux__pci_take(const char *bdf, char *old_driver, size_t n)
{
	char now[64];
	int err;

	err = nomux__pci_driver(bdf, old_driver, n);
	if (err) {
		nomux_log(LOG_ERR, "vfio: no such PCI function, device=%s", bdf);
		return err;
	}
	if (access("/sys/bus/pci/drivers/" VFIO_DRIVER, F_OK)) {
		nomux_log(LOG_ERR, "vfio: the kernel has no vfio-pci driver, device=%s: "
			  "modprobe vfio-pci, or build it (CONFIG_VFIO_PCI)", bdf);
		return -ENOENT;
	}
	if (!strcmp(old_driver, VFIO_DRIVER))
		return 0;
	err = check_noiommu(bdf);
	if (err)
		return err;

	err = pci_override(bdf, VFIO_DRIVER);
	if (err) {
		nomux_log(LOG_ERR, "vfio: bound to %s and may not be rebound, device=%s: %s; "
			  "run as root, or bind it to vfio-pci before",
			  old_driver[0] ? old_driver : "no driver", bdf, strerror(-err));
		return old_driver[0] ? -EBUSY : err;
	}
	err = pci_unbind(bdf);
	if (!err)
		err = nomux__sysfs_write(PCI_PROBE, bdf);
	if (!err && (nomux__pci_driver(bdf, now, sizeof(now)) || strcmp(now, VFIO_DRIVER)))
		err = -EBUSY;
	if (err) {
		nomux_log(LOG_ERR, "vfio: cannot take it from %s, device=%s: %s",
			  old_driver[0] ? old_driver : "nobody", bdf, strerror(-err));
		nomux__pci_give_back(bdf);
		return err;
	}
	nomux_log(LOG_INFO, "vfio: taken from %s, device=%s",
		  old_driver[0] ? old_driver : "nobody", bdf);
	return 0;
}

int nomux__pci_give_back(const char *bdf)
{
	char now[64];
	int err;

	err = nomux__pci_driver(bdf, now, sizeof(now));
	if (err)
		return err;
	err = pci_override(bdf, "\n");
	if (err)
		return err;
	if (!strcmp(now, VFIO_DRIVER)) {
		err = pci_unbind(bdf);
		if (err)
			return err;
	}
	/* Finding no driver is not an error: it may have had none at boot. */
	return nomux__sysfs_write(PCI_PROBE, bdf);
}
