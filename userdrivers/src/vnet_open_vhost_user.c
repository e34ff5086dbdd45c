// SPDX-License-Identifier: MIT
/* vnet on vhost-user: hosted mode. */
#include "vnet_internal.h"

#include "vtrans_vhost_user.h"

int vnet_open_vhost_user(const char *socket_path, const struct vnet_opts *opts, struct vnet **out)
{
	struct nomdrv_dev *dev;
	struct vnet_opts o;
	int err;

	err = vnet__opts(opts, &o);
	if (err)
		return err;
	err = vtrans_vhost_user_create(socket_path, &o, &dev);
	return err ? err : vnet__open(dev, &o, out);
}
