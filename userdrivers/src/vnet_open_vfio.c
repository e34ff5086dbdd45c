// SPDX-License-Identifier: MIT
/*
 * vnet on VFIO.  In a file of its own, so that programs of hosted mode link
 * without libnomux's kernel half.
 */
#include "vnet_internal.h"

#include "pci_fn.h"
#include "pci_fn_vfio.h"

int vnet_open_vfio(struct nomux_ctx *ctx, const char *bdf, const struct vnet_opts *opts,
		   struct vnet **out)
{
	struct nomdrv_dev *dev;
	struct vnet_opts o;
	struct pci_fn *fn;
	int err;

	err = vnet__opts(opts, &o);	/* before a function changes hands */
	if (err)
		return err;
	err = pci_fn_vfio_open(ctx, bdf, &fn);
	if (!err)
		err = vtrans_pci_modern_create(fn, &dev);
	return err ? err : vnet__open(dev, &o, out);
}
