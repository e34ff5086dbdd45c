/* SPDX-License-Identifier: MIT */
/* The vhost-user front-end as a virtio device; see nomdrv/dev.h. */
#ifndef NOMDRV_VTRANS_VHOST_USER_H
#define NOMDRV_VTRANS_VHOST_USER_H

struct nomdrv_dev;
struct vnet_opts;

/*
 * A device, constructed; connects when probed.  Of @o: queue_size, wait,
 * wait_arg.  0, -ENOMEM, or -ENAMETOOLONG (107 bytes is a Unix socket's limit).
 */
int vtrans_vhost_user_create(const char *path, const struct vnet_opts *o, struct nomdrv_dev **out);

#endif /* NOMDRV_VTRANS_VHOST_USER_H */
