/* SPDX-License-Identifier: MIT */
/* kmod_mmio: a virtio device without PCI for the module's tests. */
#ifndef KMOD_TEST_MMIO_H
#define KMOD_TEST_MMIO_H

#include <stdbool.h>

#include <linux/nom.h>

/* the first one there is, in nom-mmio's hands; false: there is none */
bool k_mmio_find(char name[NOM_MMIO_NAME_MAX]);
/* its descriptor, or -errno */
int k_mmio_open(int nom, const char *name, struct nom_mmio_open *how);
/* eventfds, -1: none */
int k_mmio_irq(int fd, int rx, int config);

#endif
