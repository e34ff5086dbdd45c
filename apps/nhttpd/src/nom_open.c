// SPDX-License-Identifier: MIT
/*
 * nom_open.c - core and device, and what to say when one cannot be had
 *
 * One message for each failure: what failed, why, and what to do about it; and
 * one exit status for each kind.
 */
#include "nom_open.h"

#include "server.h"

#include <nomdrv/vnet.h>
#include <nomstack/nomstack.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/log.h>

#include <linux/nom.h>
#include <linux/virtio_net.h>

#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#define LARGE_RECEIVE (1ULL << VIRTIO_NET_F_MRG_RXBUF | 1ULL << VIRTIO_NET_F_GUEST_TSO4 | 1ULL << VIRTIO_NET_F_GUEST_TSO6)

/* An emulated CPU leaves its translated code for PAUSE, for microseconds. */
bool nom_emulated_cpu(void)
{
	unsigned eax, ebx, ecx, edx;
	char id[13] = "";

	__cpuid(1, eax, ebx, ecx, edx);
	if (!(ecx & (1u << 31)))
		return false;
	__cpuid(0x40000000, eax, ebx, ecx, edx);
	memcpy(id, &ebx, 4);
	memcpy(id + 4, &ecx, 4);
	memcpy(id + 8, &edx, 4);
	return !strcmp(id, "TCGTCGTCGTCG");
}

int nom_open_core(struct server *srv, struct nomux_core **core_out)
{
	struct nomux_core_opts core_opts = { .sz = sizeof(core_opts), .cpu = srv->opt->cpu };
	struct nom_info info = { .size = sizeof(info) };
	int ret = srv->nomux ? 0 : nomux_open(&srv->nomux);

	if (ret) {
		die_message("cannot open %s: %s: %s", NOM_DEVICE_PATH, strerror(-ret),
			    ret == -ENOENT ? "this kernel has no nom; boot the patched kernel and load nom.ko, or use --stack linux" :
			    ret == -EPERM || ret == -EACCES ? "run as root, or as a user that may open it" :
			    ret == -EPROTO ? "kernel module and this program are of different versions; build both from one tree" :
			    "see the kernel log");
		return EXIT_NO_NOM;
	}
	core_opts.notify_mask = ~0ULL;
	ret = nomux_core_claim(srv->nomux, &core_opts, core_out);
	if (ret) {
		char which[64] = "a reserved core";

		if (srv->cores)
			snprintf(which, sizeof(which), "reserved core number %u of %d", srv->core_nr + 1, (int)srv->opt->cores);
		if (srv->opt->cpu >= 0)
			snprintf(which, sizeof(which), "core %d", (int)srv->opt->cpu);
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

/* Other stations' frames only cost time; groups are let in, for not every stack has told which. */
static void tell_filter(struct vnet *v, const char *device)
{
	int ret = vnet_set_rx_mode(v, VNET_RX_MODE_ALLMULTI);

	if (ret && ret != -EOPNOTSUPP)
		nomux_log(LOG_WARNING, "nhttpd: --device %s: cannot have it filter by address: %s", device, strerror(-ret));
}

static int open_device(struct server *srv, const struct vnet_opts *opts, struct vnet **vnet_out)
{
	const char *device = srv->opt->device;
	char bdf[32];

	if (!strncmp(device, "unix:", 5))
		return vnet_open_vhost_user(device + 5, opts, vnet_out);
	if (!strncmp(device, "mmio:", 5))
		return vnet_open_mmio(srv->nomux, device + 5, opts, vnet_out);
	/* "00:03.0" is short for "0000:00:03.0" */
	snprintf(bdf, sizeof(bdf), "%s%s", strlen(device) == 7 ? "0000:" : "", device);
	return vnet_open_vfio(srv->nomux, bdf, opts, vnet_out);
}

const char *nom_large_text(const struct server *srv, const struct vnet *vnet, char *buf, size_t n)
{
	const char *why = vnet_no_large_receive(vnet);

	/* What the driver was not asked for: by the option, or because nom_open_device() could not. */
	if (why && !strncmp(why, "not", 3))
		why = srv->opt->large_receive == LARGE_OFF ? "--large-receive off" : "the receive queue is too short";
	snprintf(buf, n, "large receive %s%s%s%s", why ? "off" : "on", why ? " (" : "", why ? why : "", why ? ")" : "");
	return buf;
}

int nom_open_device(struct server *srv, struct vnet **vnet_out)
{
	struct vnet_opts opts = { .sz = sizeof(opts), .arena_bytes = nomstack_arena_bytes() + 2 * (size_t)srv->opt->site_bytes,
				  .nr_pairs = (unsigned)srv->opt->cores };
	const char *device = srv->opt->device, *advice = "see the lines above";
	int ret;

	/*
	 * Of a vhost-user back-end no control queue is asked for: the ones that offer it
	 * leave serving it to the virtual machine's monitor, which we do not have.
	 */
	if (strncmp(device, "unix:", 5))
		opts.features_on |= 1ULL << VIRTIO_NET_F_CTRL_VQ | 1ULL << VIRTIO_NET_F_CTRL_RX |
			1ULL << VIRTIO_NET_F_GUEST_ANNOUNCE;
	if (srv->opt->cores == 1)
		opts.features_on |= 1ULL << VIRTIO_NET_F_MTU;
	if (srv->opt->large_receive != LARGE_OFF)
		opts.features_on |= LARGE_RECEIVE;
	ret = open_device(srv, &opts, vnet_out);
	/* A receive queue that cannot take such a frame is the one thing wrong with these options. */
	if (ret == -EINVAL && srv->opt->large_receive == LARGE_AUTO) {
		opts.features_on &= ~LARGE_RECEIVE;
		ret = open_device(srv, &opts, vnet_out);
	}
	if (!ret && srv->opt->large_receive == LARGE_ON && vnet_no_large_receive(*vnet_out)) {
		die_message("--large-receive on: the device cannot join what it receives: %s; leave the option away",
			    vnet_no_large_receive(*vnet_out));
		vnet_close(*vnet_out);
		*vnet_out = NULL;
		return EXIT_DEVICE;
	}
	if (!ret) {
		tell_filter(*vnet_out, device);
		return EXIT_OK;
	}
	if ((ret == -ENOENT || ret == -ECONNREFUSED) && !strncmp(device, "unix:", 5))
		advice = "no vhost-user back-end listens there; start one (nom-vhost-backend --socket PATH --tap IFNAME)";
	switch (ret) {
	case -ENOENT:
	case -ENODEV:
		if (!strncmp(device, "mmio:", 5))
			advice = "no such device in /sys/bus/platform/devices, or not a virtio-net device";
		else if (strncmp(device, "unix:", 5))
			advice = "no such PCI function, or not a virtio-net device (nomctl status, lspci -D)";
		break;
	case -EBUSY:
		advice = "held by another program or driver (nomctl status shows by whom)";
		break;
	case -EPERM:
	case -EACCES:
		advice = "taking a device away from the kernel needs root";
		break;
	case -EOPNOTSUPP:
		advice = srv->opt->cores > 1 ?
			"see the lines above: it needs a queue pair for each core (QEMU: queues=N at the netdev, mq=on,vectors=2N+2)" :
			"only modern virtio (QEMU: disable-legacy=on; without PCI -global virtio-mmio.force-legacy=false), and without an IOMMU vfio.enable_unsafe_noiommu_mode=1";
		break;
	case -ENOMEM:
		die_message("--device %s: %s: %zu bytes of DMA memory are not free: boot with more nom_mem=, end other nom programs (nomctl status), or lower --site-bytes",
			    device, strerror(ENOMEM), opts.arena_bytes);
		return EXIT_NO_MEMORY;
	}
	die_message("--device %s: %s: %s", device, strerror(-ret), advice);
	return EXIT_DEVICE;
}
