// SPDX-License-Identifier: MIT
/*
 * path_cost - what a request costs in driver and stack, in instructions
 *
 * usage: path-cost [-6] [CONNECTIONS [REQUESTS [BATCH [BYTES [KNOB VALUE]]]]]
 *
 * KNOB "large": VALUE 1 asks the device for large receive.
 *
 * A request of BYTES and an answer of as many, on established connections,
 * round robin, BATCH of them per poll.  The real driver on split rings with all
 * offloads; at the other end our vhost-user device, which polls: no doorbell (a
 * system call in hosted mode) is counted, and neither is the device.  The
 * application answers what it is asked and does nothing else.
 *
 * Prints the number of requests served.  Count instructions from outside, with
 * tests/perf/stack-cost.sh (callgrind, function measured()).
 */
#include <nomstack/nomstack.h>
#include <nomdrv/vnet.h>

#include "../../userdrivers/vhostbe/vhostbe.h"
#include "cost_peer.h"

#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct vhostbe *be;
static struct nomstack *stack;
static uint64_t now = 1000000000;
static uint8_t bytes[1400];

static void step(void *arg) { vhostbe_step(be); }
static uint64_t clock_fn(void *arg) { return now; }
static void *on_accept(struct nomstack_conn *c, void *arg) { return arg; }
static void on_closed(struct nomstack_conn *c, void *arg, int err) { }

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	nomstack_tcp_send(c, bytes, len, NOMSTACK_SEND_COPY);
}

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

static void inject(const uint8_t *frame, unsigned len)
{
	struct vhostbe_meta meta = { .flags = VIRTIO_NET_HDR_F_DATA_VALID };

	if (vhostbe_inject(be, frame, len, &meta)) {
		fprintf(stderr, "path-cost: no receive buffer\n");
		exit(1);
	}
}

/* What is counted. */
__attribute__((noinline)) void measured(void);
void measured(void)
{
	nomstack_poll(stack);
}

static void drain(void)
{
	uint8_t buf[COST_PEER_FRAME];
	int n;

	vhostbe_step(be);
	while ((n = vhostbe_take(be, buf, sizeof(buf), NULL)) >= 0)
		cost_peer_take(buf, (unsigned)n);
}

/* The peer is known, and IPv6's addresses are ours. */
static void meet(void)
{
	uint8_t f[COST_PEER_FRAME];

	if (!cost_peer_six) {
		inject(f, cost_peer_arp(f));
		nomstack_poll(stack);
		return;
	}
	for (unsigned i = 0; i < 4; i++) {
		now += 1000000000;
		nomstack_poll(stack);
	}
	inject(f, cost_peer_nd(f, false));
	nomstack_poll(stack);
	inject(f, cost_peer_nd(f, true));
	nomstack_poll(stack);
}

static unsigned number(int argc, char **argv, int i, unsigned otherwise)
{
	return argc > i ? (unsigned)atoi(argv[i]) : otherwise;
}

int main(int argc, char **argv)
{
	bool six = argc > 1 && !strcmp(argv[1], "-6");
	unsigned conns, requests, batch, len;
	struct vhostbe_opts bo = { .sz = sizeof(bo), .mac = { 0x52, 0x54, 0, 0, 0, 2 }, .flags = VHOSTBE_BUSY };
	struct vnet_opts vo = { .sz = sizeof(vo), .wait = step };
	struct nomstack_opts so = { .sz = sizeof(so), .ip4 = "10.0.0.2/24", .ip6 = six ? "fd00::2/64" : NULL,
				    .now_ns = clock_fn };
	uint8_t f[COST_PEER_FRAME];
	unsigned i, k, n;
	struct vnet *v;
	char path[64];

	argc -= six;
	argv += six;
	conns = number(argc, argv, 1, 1);
	requests = number(argc, argv, 2, 20000);
	batch = number(argc, argv, 3, 1);
	len = number(argc, argv, 4, 1);
	if (!conns || conns > COST_PEER_CONNS || !batch || batch > 64 || !len || len > sizeof(bytes)) {
		fprintf(stderr, "usage: path-cost [-6] [CONNECTIONS [REQUESTS [BATCH [BYTES [KNOB VALUE]]]]]\n");
		return 2;
	}
	snprintf(path, sizeof(path), "/tmp/path_cost.%d", (int)getpid());
	if (argc > 6 && !strcmp(argv[5], "large") && atoi(argv[6]))
		vo.features_on = 1ull << VIRTIO_NET_F_MRG_RXBUF | 1ull << VIRTIO_NET_F_GUEST_TSO4;
	if (vhostbe_create(path, &bo, &be) || vnet_open_vhost_user(path, &vo, &v))
		return 1;
	so.vnet = v;
	cost_peer_answer = len;
	cost_peer_six = six;
	if (nomstack_open(&so, &stack) || nomstack_tcp_listen(stack, 80, 255, &ops, bytes))
		return 1;
	if (argc > 6 && strcmp(argv[5], "large") && nomstack_knob_set(stack, argv[5], atoi(argv[6]))) {
		fprintf(stderr, "path-cost: no knob %s, or not %s\n", argv[5], argv[6]);
		return 2;
	}
	meet();
	for (i = 0; i < conns; i++) {
		inject(f, cost_peer_frame(f, i, 2, 0));
		nomstack_poll(stack);
		drain();
		inject(f, cost_peer_frame(f, i, 16, 0));
		nomstack_poll(stack);
	}
	drain();
	cost_peer_served = 0;
	for (i = 0, n = 0; n < requests; ) {
		for (k = 0; k < batch; k++, n++, i = (i + 1) % conns)
			inject(f, cost_peer_frame(f, i, 24, len));
		now += batch * 10000;	/* 100,000 requests/s: timers take their share */
		measured();
		drain();
	}
	printf("%u\n", cost_peer_served);
	nomstack_close(stack);
	vnet_close(v);
	vhostbe_destroy(be);
	return cost_peer_served == n ? 0 : 1;
}
