// SPDX-License-Identifier: MIT
/*
 * nom-vhost-backend: the test device as a program.
 *
 *	nom-vhost-backend --socket PATH (--tap IFNAME | --echo) [--no-csum] [--busy]
 *		[--packed] [--mtu N]
 *
 * Runs until SIGINT or SIGTERM; then prints its counters, one "name value" a
 * line.  A front-end may come and go.
 */
#include "../../../userdrivers/vhostbe/vhostbe.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	stop = 1;
}

static void usage(FILE *to)
{
	fprintf(to, "usage: nom-vhost-backend --socket PATH (--tap IFNAME | --echo) [--no-csum] [--busy] [--packed]\n"
		"	[--mtu N]\n"
		"A virtio-net device for tests, over vhost-user.\n"
		"  --socket PATH   Unix socket to listen at\n"
		"  --tap IFNAME    frames go to a TAP interface (needs CAP_NET_ADMIN)\n"
		"  --echo          frames come back\n"
		"  --no-csum       offer no checksum offload\n"
		"  --busy          poll the transmit ring instead of asking for doorbells\n"
		"  --packed        offer packed rings, used in order\n"
		"  --mtu N         MTU to offer, 68 to 65535; 1500 unless said\n"
		"exit: 0, 1 could not start, 2 usage\n");
}

static void print_stats(const struct vhostbe *be)
{
	const struct vhostbe_stats *s = vhostbe_stats(be);

	printf("connections %llu\nprotocol_errors %llu\nkicks_rx %llu\nkicks_tx %llu\ncalls %llu\n"
	       "tx_frames %llu\nrx_frames %llu\nrx_dropped %llu\n",
	       (unsigned long long)s->connections, (unsigned long long)s->protocol_errors,
	       (unsigned long long)s->kicks_rx, (unsigned long long)s->kicks_tx,
	       (unsigned long long)s->calls, (unsigned long long)s->tx_frames,
	       (unsigned long long)s->rx_frames, (unsigned long long)s->rx_dropped);
}

static int run(struct vhostbe *be)
{
	uint64_t errors = 0;

	while (!stop) {
		if (!vhostbe_step(be))
			vhostbe_wait(be, 1000);
		if (vhostbe_stats(be)->protocol_errors != errors) {
			errors = vhostbe_stats(be)->protocol_errors;
			fprintf(stderr, "nom-vhost-backend: connection dropped: %s\n",
				vhostbe_last_error(be));
		}
	}
	print_stats(be);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "tap", required_argument, NULL, 't' },
		{ "echo", no_argument, NULL, 'e' },
		{ "no-csum", no_argument, NULL, 'n' },
		{ "busy", no_argument, NULL, 'b' },
		{ "packed", no_argument, NULL, 'p' },
		{ "mtu", required_argument, NULL, 'm' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct sigaction sa = { .sa_handler = on_signal };
	struct vhostbe_opts opts = { .sz = sizeof(opts) };
	const char *path = NULL, *tap = NULL;
	unsigned long mtu;
	struct vhostbe *be;
	char *end;
	int echo = 0, c, err;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 's':
			path = optarg;
			break;
		case 't':
			tap = optarg;
			break;
		case 'e':
			echo = 1;
			break;
		case 'n':
			opts.features_off |= 1ULL << VIRTIO_NET_F_CSUM | 1ULL << VIRTIO_NET_F_GUEST_CSUM;
			break;
		case 'b':
			opts.flags |= VHOSTBE_BUSY;
			break;
		case 'p':
			opts.features_on |= 1ULL << VIRTIO_F_RING_PACKED | 1ULL << VIRTIO_F_IN_ORDER;
			break;
		case 'm':
			mtu = strtoul(optarg, &end, 10);
			if (end == optarg || *end || mtu < 68 || mtu > 65535) {
				usage(stderr);
				return 2;
			}
			opts.mtu = (uint16_t)mtu;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (!path || !tap == !echo || optind < argc) {
		usage(stderr);
		return 2;
	}
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	err = vhostbe_create(path, &opts, &be);
	if (err) {
		fprintf(stderr, "nom-vhost-backend: cannot listen at %s: %s\n", path, strerror(-err));
		return 1;
	}
	if (echo)
		vhostbe_port_echo(be);
	else
		err = vhostbe_port_tap(be, tap);
	if (err)
		fprintf(stderr, "nom-vhost-backend: no TAP interface %s: %s\n", tap, strerror(-err));
	else
		err = run(be);
	vhostbe_destroy(be);
	return err ? 1 : 0;
}
