// SPDX-License-Identifier: MIT
/*
 * bulk_cost - what a MiB costs in driver and stack, in instructions
 *
 * usage: bulk-cost [-6] [TIMES [PACKETS [KNOB VALUE]]]
 *
 * -6: over IPv6, where packets hold 1440 bytes.
 *
 * The application sends 1 MiB from DMA memory without a copy, TIMES in a row on
 * one connection.  The peer acknowledges every PACKETS packets, as one that takes
 * them one by one (2) or many at a time (44) does, and at the end of what came.
 * KNOB "upload": the peer sends 1 MiB instead, in bursts of PACKETS, with VALUE 1
 * joined by the device (large receive) and with 0 singly; the application takes
 * it and answers with a byte at the end.
 *
 * The real driver with all offloads; at the other end our vhost-user device,
 * which polls and cuts long frames up.  Only nomstack_poll() is counted.
 *
 * Prints the number of MiB.  Count instructions from outside, with
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

#define BYTES (1u << 20)
#define ACK 16
#define MSS (cost_peer_six ? 1440u : 1460u)
#define HEADERS (cost_peer_six ? 74 : 54)

static struct vhostbe *be;
static struct nomstack *stack;
static struct nomstack_conn *conn;
static uint64_t now = 1000000000;
static uint8_t *file;
static uint32_t queued = BYTES, acked;
static unsigned packets = 44;
static bool uploads, large;

static void step(void *arg) { vhostbe_step(be); }
static uint64_t clock_fn(void *arg) { return now; }
static void *on_accept(struct nomstack_conn *c, void *arg) { return conn = c; }
static void on_closed(struct nomstack_conn *c, void *arg, int err) { }
static void feed(void)
{
	uint32_t room;

	while (queued < BYTES && (room = nomstack_tcp_room(conn))) {
		uint32_t n = BYTES - queued < room ? BYTES - queued : room;

		if (nomstack_tcp_send(conn, file + queued, n, 0))
			return;
		queued += n;
	}
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	if (uploads) {
		acked += len;
		if (acked == BYTES)
			nomstack_tcp_send(c, file, 1, NOMSTACK_SEND_COPY);
		return;
	}
	queued = acked = 0;
	feed();
}

static void on_sent(struct nomstack_conn *c, void *arg, uint32_t n)
{
	if (uploads)
		return;
	acked += n;
	feed();
}

static void inject(const uint8_t *frame, unsigned len)
{
	struct vhostbe_meta meta = { .flags = VIRTIO_NET_HDR_F_DATA_VALID };

	if (vhostbe_inject(be, frame, len, &meta)) {
		fprintf(stderr, "bulk-cost: no receive buffer\n");
		exit(1);
	}
}

/* What is counted. */
__attribute__((noinline)) void measured(void);
void measured(void)
{
	nomstack_poll(stack);
}

static void counted_ack(void)
{
	uint8_t f[COST_PEER_FRAME];

	inject(f, cost_peer_frame(f, 0, ACK, 0));
	now += 10000;
	measured();
}

/* 1 MiB of the peer's. */
static void upload(void)
{
	static uint8_t f[70000];
	uint32_t left, i, n = 0;

	acked = 0;
	for (left = BYTES; left; ) {
		for (i = 0; i < packets && left; i += large ? packets : 1, left -= n) {
			uint32_t most = MSS * (large ? packets : 1);
			struct vhostbe_meta meta = { .flags = VIRTIO_NET_HDR_F_DATA_VALID };

			n = left < most ? left : most;
			if (n > MSS)
				meta = (struct vhostbe_meta){
					.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					.csum_start = (uint16_t)(HEADERS - 20), .csum_offset = 16,
					.gso_type = cost_peer_six ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4,
					.hdr_len = HEADERS, .gso_size = (uint16_t)MSS,
				};
			if (vhostbe_inject(be, f, cost_peer_frame(f, 0, 24, n), &meta)) {
				fprintf(stderr, "bulk-cost: no receive buffer\n");
				exit(1);
			}
		}
		now += 10000;
		measured();
		vhostbe_step(be);
		while (vhostbe_take(be, f, sizeof(f), NULL) >= 0)
			cost_peer_take(f, HEADERS);
	}
	measured();
}

/* What the device has for the peer; false: nothing. */
static bool drain(void)
{
	uint8_t buf[COST_PEER_FRAME];
	unsigned nr = 0;
	int n;

	vhostbe_step(be);
	while ((n = vhostbe_take(be, buf, sizeof(buf), NULL)) >= 0) {
		cost_peer_take(buf, (unsigned)n);
		if (++nr % packets == 0)
			counted_ack();
	}
	if (nr % packets)
		counted_ack();
	return nr;
}

/* The peer is known: by ARP, or as with IPv6 from one question and one answer. */
static void meet(void)
{
	uint8_t f[COST_PEER_FRAME];

	if (!cost_peer_six) {
		inject(f, cost_peer_arp(f));
		nomstack_poll(stack);
		return;
	}
	for (unsigned i = 0; i < 4; i++) {	/* nobody else has our address */
		now += 1000000000;
		nomstack_poll(stack);
	}
	inject(f, cost_peer_nd(f, false));
	nomstack_poll(stack);
	inject(f, cost_peer_nd(f, true));
	nomstack_poll(stack);
	vhostbe_step(be);
	while (vhostbe_take(be, f, sizeof(f), NULL) >= 0)
		;
}

int main(int argc, char **argv)
{
	bool six = argc > 1 && !strcmp(argv[1], "-6");
	unsigned times, i, idle;
	int n;
	struct vhostbe_opts bo = { .sz = sizeof(bo), .mac = { 0x52, 0x54, 0, 0, 0, 2 }, .flags = VHOSTBE_BUSY };
	struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .sent = on_sent, .closed = on_closed };
	struct vnet_opts vo = { .sz = sizeof(vo), .wait = step };
	struct nomstack_opts so = { .sz = sizeof(so), .ip4 = "10.0.0.2/24", .ip6 = six ? "fd00::2/64" : NULL, .now_ns = clock_fn };
	uint8_t f[COST_PEER_FRAME];
	struct vnet *v;
	char path[64];

	argc -= six;
	argv += six;
	times = argc > 1 ? (unsigned)atoi(argv[1]) : 20;
	cost_peer_six = six;
	if (argc > 2)
		packets = (unsigned)atoi(argv[2]);
	uploads = argc > 4 && !strcmp(argv[3], "upload");
	large = uploads && atoi(argv[4]);
	if (large)
		vo.features_on = 1ull << VIRTIO_NET_F_MRG_RXBUF | 1ull << VIRTIO_NET_F_GUEST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO6;
	if (!times || !packets || packets > 44) {
		fprintf(stderr, "usage: bulk-cost [-6] [TIMES [PACKETS [KNOB VALUE]]]\n");
		return 2;
	}
	snprintf(path, sizeof(path), "/tmp/bulk_cost.%d", (int)getpid());
	if (vhostbe_create(path, &bo, &be) || vnet_open_vhost_user(path, &vo, &v))
		return 1;
	so.vnet = v;
	if (nomstack_open(&so, &stack) || nomstack_tcp_listen(stack, 80, 255, &ops, NULL))
		return 1;
	if (argc > 4 && !uploads && nomstack_knob_set(stack, argv[3], atoi(argv[4]))) {
		fprintf(stderr, "bulk-cost: no knob %s, or not %s\n", argv[3], argv[4]);
		return 2;
	}
	file = nomstack_dma_alloc(stack, BYTES);
	if (!file)
		return 1;
	meet();
	inject(f, cost_peer_frame(f, 0, 2, 0));
	nomstack_poll(stack);
	vhostbe_step(be);
	while ((n = vhostbe_take(be, f, sizeof(f), NULL)) >= 0)
		cost_peer_take(f, (unsigned)n);
	inject(f, cost_peer_frame(f, 0, ACK, 0));
	nomstack_poll(stack);
	for (i = 0; i < times; i++) {
		if (uploads) {
			upload();
			if (acked != BYTES) {
				fprintf(stderr, "bulk-cost: %u of %u bytes arrived\n", acked, BYTES);
				return 1;
			}
			continue;
		}
		/* A request, whose receipt begins the answer. */
		inject(f, cost_peer_frame(f, 0, 24, 1));
		now += 10000;
		measured();
		for (idle = 0; acked < BYTES && idle < 20000; idle++) {
			if (drain()) {
				idle = 0;
				continue;
			}
			now += 1000000;
			measured();
		}
		if (acked != BYTES) {
			fprintf(stderr, "bulk-cost: %u of %u bytes were acknowledged\n", acked, BYTES);
			return 1;
		}
	}
	printf("%u\n", times);
	fprintf(stderr, "bulk-cost: %llu frames to the device, %llu of them to be cut up\n",
		(unsigned long long)vnet_stats(v)->tx_packets, (unsigned long long)vnet_stats(v)->tx_tso);
	nomstack_close(stack);
	vnet_close(v);
	vhostbe_destroy(be);
	return 0;
}
