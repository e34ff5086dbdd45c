// SPDX-License-Identifier: MIT
/* nom_open.c - core and device as nhttpd wants them: <nomapp/app.h> has how they are had */
#include "nom_open.h"

#include "server.h"

#include <nomdrv/vnet.h>
#include <nomstack/nomstack.h>
#include <nomux/log.h>

#include <linux/virtio_net.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#define LARGE_RECEIVE (1ULL << VIRTIO_NET_F_MRG_RXBUF | 1ULL << VIRTIO_NET_F_GUEST_TSO4 | 1ULL << VIRTIO_NET_F_GUEST_TSO6)

int nom_open_core(struct server *srv, struct nomux_core **core_out)
{
	char which[64];

	snprintf(which, sizeof(which), "reserved core number %u of %d", srv->core_nr + 1, (int)srv->opt->cores);
	return app_open_core(&srv->nomux, (int)srv->opt->cpu, ~0ULL, srv->cores ? which : NULL, core_out);
}

/* Other stations' frames only cost time; groups are let in, for not every stack has told which. */
static void tell_filter(struct vnet *v, const char *device)
{
	int ret = vnet_set_rx_mode(v, VNET_RX_MODE_ALLMULTI);

	if (ret && ret != -EOPNOTSUPP)
		nomux_log(LOG_WARNING, "nhttpd: --device %s: cannot have it filter by address: %s", device, strerror(-ret));
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
				  .nr_pairs = (unsigned)srv->opt->cores, .xdp_mode = (unsigned)srv->opt->xdp_mode,
				  .xdp_busy_us = (unsigned)(srv->opt->stack == STACK_XDP ? srv->opt->busy_poll_us : 0) };
	uint64_t optional;
	int ret;

	/*
	 * Of a vhost-user back-end no control queue is asked for: the ones that offer it
	 * leave serving it to the virtual machine's monitor, which we do not have.
	 */
	if (!app_hosted(srv->opt->device))
		opts.features_on |= 1ULL << VIRTIO_NET_F_CTRL_VQ | 1ULL << VIRTIO_NET_F_CTRL_RX |
			1ULL << VIRTIO_NET_F_GUEST_ANNOUNCE;
	if (srv->opt->cores == 1)
		opts.features_on |= 1ULL << VIRTIO_NET_F_MTU;
	if (srv->opt->large_receive != LARGE_OFF)
		opts.features_on |= LARGE_RECEIVE;
	optional = srv->opt->large_receive == LARGE_AUTO ? LARGE_RECEIVE : 0;
	ret = app_open_device(srv->nomux, srv->opt->device, &opts, optional, "lower --site-bytes", vnet_out);
	if (ret)
		return ret;
	if (srv->opt->large_receive == LARGE_ON && vnet_no_large_receive(*vnet_out)) {
		die_message("--large-receive on: the device cannot join what it receives: %s; leave the option away",
			    vnet_no_large_receive(*vnet_out));
		vnet_close(*vnet_out);
		*vnet_out = NULL;
		return EXIT_DEVICE;
	}
	tell_filter(*vnet_out, srv->opt->device);
	return EXIT_OK;
}
