// SPDX-License-Identifier: MIT
/*
 * vnet on VFIO.  In a file of its own, so that programs of hosted mode link
 * without libnomux's kernel half.
 */
#include "vnet_internal.h"

#include <syslog.h>
#include <linux/virtio_config.h>

#include "nomux/log.h"

#include "pci_fn.h"
#include "pci_fn_vfio.h"

int vnet_open_vfio(struct nomux_ctx *ctx, const char *bdf, const struct vnet_opts *opts,
		   struct vnet **out)
{
	struct nomdrv_dev *dev;
	struct vnet_opts o;
	struct pci_fn *fn;
	int err;

	err = vnet__opts(opts, &o);
	if (err)
		return err;
	/*
	 * With a packed ring QEMU 7.2's device stops sending once a whole ring was
	 * announced at a time; why is not known.  Every device has split rings.
	 */
	o.features_off |= 1ULL << VIRTIO_F_RING_PACKED;
	err = pci_fn_vfio_open(ctx, bdf, &fn);
	if (err)
		return err;
	err = vtrans_pci_modern_create(fn, &dev);
	if (err) {
		fn->ops->close(fn);
		return err;
	}
	err = vnet_create(dev, &o, out);
	if (err)
		nomdrv_dev_destroy(dev);
	else if (dev->offered >> VIRTIO_F_RING_PACKED & 1)
		nomux_log(LOG_NOTICE, "vnet: %s offers packed rings, driven with split ones", bdf);
	return err;
}
