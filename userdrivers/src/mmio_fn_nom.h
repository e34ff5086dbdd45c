/* SPDX-License-Identifier: MIT */
/* Opens a virtio device without PCI through nom.ko; see mmio_fn.h for what one can do with it. */
#ifndef NOMDRV_MMIO_FN_NOM_H
#define NOMDRV_MMIO_FN_NOM_H

struct mmio_fn;
struct nomux_ctx;

/* 0, or what nomux_mmio_open() returns. */
int mmio_fn_nom_open(struct nomux_ctx *ctx, const char *name, struct mmio_fn **out);

#endif /* NOMDRV_MMIO_FN_NOM_H */
