// SPDX-License-Identifier: MIT
/*
 * open.c - a core and a device, and what to say when one cannot be had
 *
 * One message for each failure: what failed, why, and what to do about it; and one
 * exit status for each kind.
 */
#include <nomapp/app.h>

#include <nomdrv/vnet.h>
#include <nomux/core.h>
#include <nomux/ctx.h>

#include <linux/nom.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int open_nom(struct nomux_ctx **ctx)
{
	int ret = *ctx ? 0 : nomux_open(ctx);

	if (!ret)
		return EXIT_OK;
	die_message("cannot open %s: %s: %s", NOM_DEVICE_PATH, strerror(-ret),
		    ret == -ENOENT ? "this kernel has no nom; boot the patched kernel and load nom.ko, or use --stack linux" :
		    ret == -EPERM || ret == -EACCES ? "run as root, or as a user that may open it" :
		    ret == -EPROTO ? "kernel module and this program are of different versions; build both from one tree" :
		    "see the kernel log");
	return EXIT_NO_NOM;
}

int app_open_core(struct nomux_ctx **ctx, int cpu, uint64_t notify_mask, const char *which, struct nomux_core **core_out)
{
	struct nomux_core_opts opts = { .sz = sizeof(opts), .cpu = cpu, .notify_mask = notify_mask };
	struct nom_info info = { .size = sizeof(info) };
	char number[32] = "a reserved core";
	int ret = open_nom(ctx);

	if (ret)
		return ret;
	ret = nomux_core_claim(*ctx, &opts, core_out);
	if (ret) {
		if (cpu >= 0)
			snprintf(number, sizeof(number), "core %d", cpu);
		die_message("cannot lease %s: %s: %s", which ? which : number, strerror(-ret),
			    ret == -EBUSY ? "held by another program (nomctl status shows by whom)" :
			    ret == -ENOENT ? "not reserved; boot with nom_cpus=LIST (nomctl doctor shows what is missing)" :
			    "nomctl doctor shows what is missing");
		return EXIT_NO_CORE;
	}
	if (!nomux_info(*ctx, &info) && !info.out_mem_bytes) {
		die_message("this kernel has reserved no memory for DMA: boot with nom_mem=SIZE, 128M say");
		return EXIT_NO_MEMORY;
	}
	return EXIT_OK;
}

enum bus { BUS_PCI, BUS_MMIO, BUS_VHOST_USER, BUS_PACKET, BUS_XDP };

static const char *const unknown[] = {
	[BUS_PCI] = "no such PCI function, or not a virtio-net device (nomctl status, lspci -D)",
	[BUS_MMIO] = "no such device in /sys/bus/platform/devices, or not a virtio-net device",
	[BUS_VHOST_USER] = "no vhost-user back-end listens there; start one (nom-vhost-backend --socket PATH --tap IFNAME)",
	[BUS_PACKET] = "no such network interface (ip link)",
	[BUS_XDP] = "no such network interface (ip link)",
};

static const char *const xdp_texts[] = {
	[VNET_XDP_BEST] = "no device of its own", [VNET_XDP_ZERO_COPY] = "no device of its own, AF_XDP with zero copy",
	[VNET_XDP_COPY] = "no device of its own, AF_XDP in copy mode", [VNET_XDP_GENERIC] = "no device of its own, AF_XDP in generic mode",
};

const char *app_interface_text(const struct vnet *vnet)
{
	return xdp_texts[vnet_xdp_mode(vnet)];
}

int app_xdp_mode(const char *word)
{
	return app_choice(APP_XDP_MODES, word);	/* in the order of enum vnet_xdp_mode */
}

uint64_t app_socket_calls(const struct vnet *vnet)
{
	const struct vnet_stats *v = vnet_stats(vnet);

	return v->doorbells_tx + v->doorbells_rx + v->busy_polls;
}

static const char *packet_advice(int err)
{
	switch (err) {
	case -EAFNOSUPPORT:
		return "this kernel has no packet sockets: it is built without CONFIG_PACKET";
	case -EPERM:
		return "packet sockets need CAP_NET_RAW: run as root";
	case -ENODEV:
		return unknown[BUS_PACKET];
	case -ENETDOWN:
		return "the interface is down: ip link set IFNAME up";
	default:
		return "see the lines above";
	}
}

static const char *xdp_advice(int err)
{
	switch (err) {
	case -EAFNOSUPPORT:
		return "this kernel has no AF_XDP sockets: it is built without CONFIG_XDP_SOCKETS";
	case -EPERM:
		return "AF_XDP needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF: run as root";
	case -EMSGSIZE:
		return "give the interface a smaller MTU: ip link set IFNAME mtu 1500";
	default:
		return packet_advice(err);
	}
}

static const char *advice(int err, enum bus bus, unsigned nr_pairs)
{
	if (bus == BUS_PACKET)
		return packet_advice(err);
	if (bus == BUS_XDP)
		return xdp_advice(err);
	switch (err) {
	case -ENOENT:
	case -ENODEV:
		return unknown[bus];
	case -ECONNREFUSED:
		return bus == BUS_VHOST_USER ? unknown[bus] : "see the lines above";
	case -EBUSY:
		return "held by another program or driver (nomctl status shows by whom)";
	case -EPERM:
	case -EACCES:
		return "taking a device away from the kernel needs root";
	case -EOPNOTSUPP:
		return nr_pairs > 1 ?
			"see the lines above: it needs a queue pair for each core (QEMU: queues=N at the netdev, mq=on,vectors=2N+2)" :
			"only modern virtio (QEMU: disable-legacy=on; without PCI -global virtio-mmio.force-legacy=false), and without an IOMMU vfio.enable_unsafe_noiommu_mode=1";
	default:
		return "see the lines above";
	}
}

static enum bus bus_of(const char *device)
{
	return !strncmp(device, APP_PACKET, strlen(APP_PACKET)) ? BUS_PACKET :
	       !strncmp(device, APP_XDP, strlen(APP_XDP)) ? BUS_XDP : app_hosted(device) ? BUS_VHOST_USER :
	       !strncmp(device, "mmio:", 5) ? BUS_MMIO : BUS_PCI;
}

static int open_on(enum bus bus, struct nomux_ctx *ctx, const char *device, const struct vnet_opts *opts,
		   struct vnet **vnet_out)
{
	char bdf[32];

	switch (bus) {
	case BUS_PACKET:
		return vnet_open_packet(device + strlen(APP_PACKET), opts, vnet_out);
	case BUS_XDP:
		return vnet_open_xdp(device + strlen(APP_XDP), opts, vnet_out);
	case BUS_VHOST_USER:
		return vnet_open_vhost_user(device + 5, opts, vnet_out);
	case BUS_MMIO:
		return vnet_open_mmio(ctx, device + 5, opts, vnet_out);
	default:
		/* "00:03.0" is short for "0000:00:03.0" */
		snprintf(bdf, sizeof(bdf), "%s%s", strlen(device) == 7 ? "0000:" : "", device);
		return vnet_open_vfio(ctx, bdf, opts, vnet_out);
	}
}

int app_open_device(struct nomux_ctx *ctx, const char *device, const struct vnet_opts *opts, uint64_t optional,
		    const char *less, struct vnet **vnet_out)
{
	enum bus bus = bus_of(device);
	struct vnet_opts without = *opts;
	int ret = open_on(bus, ctx, device, opts, vnet_out);

	/* the one thing that can be wrong with a server's options */
	if (ret == -EINVAL && opts->features_on & optional) {
		without.features_on &= ~optional;
		ret = open_on(bus, ctx, device, &without, vnet_out);
	}
	if (!ret)
		return EXIT_OK;
	if (ret == -ENOMEM) {
		die_message("--device %s: %s: %zu bytes of DMA memory are not free: boot with more nom_mem=, %send other nom programs (nomctl status)%s%s",
			    device, strerror(ENOMEM), opts->arena_bytes, less ? "" : "or ", less ? ", or " : "", less ? less : "");
		return EXIT_NO_MEMORY;
	}
	die_message("--device %s: %s: %s", device, strerror(-ret), advice(ret, bus, opts->nr_pairs));
	return EXIT_DEVICE;
}
