/* SPDX-License-Identifier: MIT */
/* Opens a PCI function through VFIO; see pci_fn.h for what one can do with it. */
#ifndef NOMDRV_PCI_FN_VFIO_H
#define NOMDRV_PCI_FN_VFIO_H

struct nomux_ctx;
struct pci_fn;

/* 0, or what nomux_vfio_open() returns. */
int pci_fn_vfio_open(struct nomux_ctx *ctx, const char *bdf, struct pci_fn **out);

#endif /* NOMDRV_PCI_FN_VFIO_H */
