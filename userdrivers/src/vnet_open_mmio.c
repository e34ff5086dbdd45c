// SPDX-License-Identifier: MIT
/* vnet on a virtio device without PCI; a file of its own for the reason of vnet_open_vfio.c. */
#include "vnet_internal.h"

#include "mmio_fn.h"
#include "mmio_fn_nom.h"

int vnet_open_mmio(struct nomux_ctx *ctx, const char *name, const struct vnet_opts *opts,
		   struct vnet **out)
{
	struct nomdrv_dev *dev;
	struct vnet_opts o;
	struct mmio_fn *fn;
	int err;

	err = vnet__opts(opts, &o);	/* before a device changes hands */
	if (err)
		return err;
	err = mmio_fn_nom_open(ctx, name, &fn);
	if (!err)
		err = vtrans_mmio_create(fn, &dev);
	return err ? err : vnet__open(dev, &o, out);
}
