// SPDX-License-Identifier: MIT
/* nom_open.c - core and device, and what to say when one cannot be had */
#include "nom_open.h"

#include "server.h"

#include <nomdrv/vnet.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/log.h>

#include <linux/nom.h>
#include <linux/virtio_net.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

int nom_open_core(struct server *srv, struct nomux_core **core_out)
{
	struct nomux_core_opts opts = { .sz = sizeof(opts), .cpu = (int)srv->opt.cpu };
	struct nom_info info = { .size = sizeof(info) };
	int ret = nomux_open(&srv->nomux);

	if (ret) {
		die_message("cannot open %s: %s: %s", NOM_DEVICE_PATH, strerror(-ret),
			    ret == -ENOENT ? "this kernel has no nom; boot the patched kernel and load nom.ko, or use --stack linux" :
			    ret == -EPERM || ret == -EACCES ? "run as root, or as a user that may open it" :
			    ret == -EPROTO ? "kernel module and this program are of different versions; build both from one tree" :
			    "see the kernel log");
		return EXIT_NO_NOM;
	}
	ret = nomux_core_claim(srv->nomux, &opts, core_out);
	if (ret) {
		char which[32] = "a reserved core";

		if (srv->opt.cpu >= 0)
			snprintf(which, sizeof(which), "core %d", (int)srv->opt.cpu);
		die_message("cannot lease %s: %s: %s", which, strerror(-ret),
			    ret == -EBUSY ? "held by another program (nomctl status shows by whom)" :
			    ret == -ENOENT ? "not reserved; boot with nom_cpus=LIST (nomctl doctor shows what is missing)" :
			    "nomctl doctor shows what is missing");
		return EXIT_NO_CORE;
	}
	if (!nomux_info(srv->nomux, &info) && !info.out_mem_bytes) {
		die_message("this kernel has reserved no memory for DMA: boot with nom_mem=SIZE, 128M say");
		return EXIT_NO_MEMORY;
	}
	return EXIT_OK;
}

int nom_open_device(struct server *srv, struct vnet **vnet_out)
{
	struct vnet_opts opts = { .sz = sizeof(opts) };
	const char *device = srv->opt.device, *advice = "see the lines above";
	bool hosted = !strncmp(device, "unix:", 5);
	char bdf[32];
	int ret;

	/* the raw tier allocates nothing: the driver's own buffers are all it needs */
	opts.arena_bytes = srv->opt.tier == TIER_RAW ? 4096 : 0;
	if (srv->opt.large_receive)
		opts.features_on = 1ULL << VIRTIO_NET_F_MRG_RXBUF | 1ULL << VIRTIO_NET_F_GUEST_USO4 | 1ULL << VIRTIO_NET_F_GUEST_USO6;
	if (hosted) {
		ret = vnet_open_vhost_user(device + 5, &opts, vnet_out);
	} else {
		/* "00:03.0" is short for "0000:00:03.0" */
		snprintf(bdf, sizeof(bdf), "%s%s", strlen(device) == 7 ? "0000:" : "", device);
		ret = vnet_open_vfio(srv->nomux, bdf, &opts, vnet_out);
	}
	switch (ret) {
	case 0:
		if (srv->opt.large_receive && !(vnet_features(*vnet_out) & 1ULL << VIRTIO_NET_F_GUEST_USO4))
			nomux_log(LOG_NOTICE, "nomudp: --large-receive: no datagrams come joined (VIRTIO_NET_F_GUEST_USO4: %s)",
				  vnet_feature_reason(*vnet_out, VIRTIO_NET_F_GUEST_USO4));
		return EXIT_OK;
	case -ENOENT:
	case -ENODEV:
	case -ECONNREFUSED:
		advice = hosted ? "no vhost-user back-end listens there; start one (nom-vhost-backend --socket PATH --tap IFNAME)" :
			 "no such PCI function, or not a virtio-net device (nomctl status, lspci -D)";
		break;
	case -EBUSY:
		advice = "held by another program or driver (nomctl status shows by whom)";
		break;
	case -EPERM:
	case -EACCES:
		advice = "taking a device away from the kernel needs root";
		break;
	case -EOPNOTSUPP:
		advice = "only modern virtio (QEMU: disable-legacy=on), and without an IOMMU vfio.enable_unsafe_noiommu_mode=1";
		break;
	case -ENOMEM:
		die_message("--device %s: %s: boot with more nom_mem=, or end other nom programs (nomctl status)", device, strerror(ENOMEM));
		return EXIT_NO_MEMORY;
	}
	die_message("--device %s: %s: %s", device, strerror(-ret), advice);
	return EXIT_DEVICE;
}
