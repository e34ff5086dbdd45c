// SPDX-License-Identifier: MIT
/* Who drives a PCI function: take it to vfio-pci and give it back. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include <nomux/log.h>
#include <nomux/vfio.h>

#include "internal.h"

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

/* VFIO refuses a function without IOMMU at probe, so look before. */
static int check_noiommu(const char *bdf)
{
	char path[96], group[32], value[8];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", bdf);
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
	int err;

	err = nomux__bus_driver("pci", bdf, old_driver, n);
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
	return err ? err : nomux__bus_take("pci", bdf, VFIO_DRIVER, old_driver);
}

int nomux__pci_give_back(const char *bdf)
{
	return nomux__bus_give_back("pci", bdf, VFIO_DRIVER);
}
