/* SPDX-License-Identifier: MIT */
/* kmod_pci: a virtio network device for the module's tests, and its drivers. */
#ifndef KMOD_TEST_PCI_H
#define KMOD_TEST_PCI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct k_pci {
	char slot[32];		/* 0000:00:03.0 */
	uint32_t bdf;
	char driver[64];	/* what it had when it was found; "": none */
};

/* the last virtio network device there is, not one that vfio-pci has */
bool k_pci_find(struct k_pci *dev);
/* QEMU's educational device: it copies up to 4 KiB between memory and itself */
bool k_pci_find_edu(struct k_pci *dev);
/* unbind it and bind it to driver; "": to none; -errno */
int k_pci_move(const struct k_pci *dev, const char *driver);
int k_pci_group(const struct k_pci *dev, char *out, size_t bytes);
/* before it is bound to vfio-pci: does an IOMMU stand behind it? */
bool k_pci_has_iommu(const struct k_pci *dev);
/* a function for trusted mode; NULL, or why there is none, for a skip */
const char *k_pci_trusted(struct k_pci *dev);

/* the function in user space's hands, through VFIO's no-IOMMU mode; -errno */
struct k_vfio {
	int container, group, device;
	off_t config;
};
int k_vfio_open(const struct k_pci *dev, struct k_vfio *v);
void k_vfio_close(struct k_vfio *v);
int k_vfio_bus_master(struct k_vfio *v, bool on);
/* let MSI-X vector 0 signal an eventfd; the device itself need not know */
int k_vfio_irq(struct k_vfio *v, int eventfd);

#endif
