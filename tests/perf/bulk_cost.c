// SPDX-License-Identifier: MIT
/*
 * bulk_cost - what a MiB costs in driver and stack, in instructions
 *
 * usage: bulk-cost [-6] [TIMES [PACKETS [KNOB VALUE]...]]
 *
 * -6: over IPv6, where packets hold 1440 bytes.
 *
 * The application sends 1 MiB from DMA memory without a copy, TIMES in a row on
 * each connection.  The peer acknowledges every PACKETS packets, as one that takes
 * them one by one (2) or many at a time (44) does, and at the end of what came.
 * The device looks at the ring between polls, so that all of a poll has to fit.
 *
 * KNOB "connections", "ring": how many connections, all at a time, entries of the
 * queues; "copied", "packed", "indirect", with VALUE 1: what is sent is copied, so
 * that each packet is a part of its frame; rings are packed; the device reads
 * indirect tables.  Others are the stack's.
 *
 * KNOB "upload": the peer sends 1 MiB instead, in bursts of PACKETS, with VALUE 1
 * joined by the device (large receive) and with 0 singly; the application takes
 * it and answers with a byte at the end.
 *
 * The real driver with all offloads; at the other end our vhost-user device,
 * which polls and cuts long frames up.  Only nomstack_poll() is counted.
 *
 * Prints the number of MiB, and on stderr what became of them.  Count instructions from outside, with
 * tests/perf/stack-cost.sh (callgrind, function measured()).
 */
#include <nomstack/nomstack.h>
#include <nomdrv/vnet.h>

#include "../../userdrivers/vhostbe/vhostbe.h"
#include "cost_peer.h"

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BYTES (1u << 20)
#define FLOWS_MAX 64
#define ACK 16
#define MSS (cost_peer_six ? 1440u : 1460u)
#define HEADERS (cost_peer_six ? 74 : 54)

static struct vhostbe *be;
static struct nomstack *stack;
/* A connection: bytes given to the stack, acknowledged; packets that the peer has not acknowledged. */
static struct flow {
	struct nomstack_conn *conn;
	uint32_t queued, acked;
	unsigned packets;
} flows[FLOWS_MAX];
static unsigned nr_flows = 1, accepted;
static uint64_t now = 1000000000;
static uint8_t *file;
static unsigned packets = 44;
static bool uploads, large, copied;

static void step(void *arg) { vhostbe_step(be); }
static uint64_t clock_fn(void *arg) { return now; }
static void on_closed(struct nomstack_conn *c, void *arg, int err) { }

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	flows[accepted].conn = c;
	flows[accepted].queued = BYTES;
	return &flows[accepted++];
}

static void feed(struct flow *w)
{
	uint32_t room;

	while (w->queued < BYTES && (room = nomstack_tcp_room(w->conn))) {
		uint32_t n = BYTES - w->queued < room ? BYTES - w->queued : room;

		if (nomstack_tcp_send(w->conn, file + w->queued, n, copied ? NOMSTACK_SEND_COPY : 0))
			return;
		w->queued += n;
	}
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	struct flow *w = arg;

	if (uploads) {
		w->acked += len;
		if (w->acked == BYTES)
			nomstack_tcp_send(c, file, 1, NOMSTACK_SEND_COPY);
		return;
	}
	w->queued = w->acked = 0;
	feed(w);
}

static void on_sent(struct nomstack_conn *c, void *arg, uint32_t n)
{
	struct flow *w = arg;

	if (uploads)
		return;
	w->acked += n;
	feed(w);
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

static void ack(struct flow *w)
{
	uint8_t f[COST_PEER_FRAME];

	w->packets = 0;
	inject(f, cost_peer_frame(f, (unsigned)(w - flows), ACK, 0));
}

static void counted_turn(void)
{
	now += 10000;
	measured();
}

/* 1 MiB of the peer's. */
static void upload(void)
{
	static uint8_t f[70000];
	uint32_t left, i, n = 0;

	flows[0].acked = 0;
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
	unsigned i, nr = 0;
	int n;

	vhostbe_step(be);
	for (; (n = vhostbe_take(be, buf, sizeof(buf), NULL)) >= 0; nr++) {
		const uint8_t *tcp = buf + HEADERS - 20;
		struct flow *w = &flows[(unsigned)(tcp[2] << 8 | tcp[3]) - COST_PEER_PORT];

		cost_peer_take(buf, (unsigned)n);
		if (++w->packets == packets) {
			ack(w);
			counted_turn();
		}
	}
	/* What is left: of all in one turn, so that all go on sending in it. */
	for (i = 0, n = 0; i < nr_flows; i++)
		if (flows[i].packets) {
			ack(&flows[i]);
			n++;
		}
	if (n > 0)
		counted_turn();
	return nr;
}

static unsigned unfinished(void)
{
	unsigned i, nr = 0;

	for (i = 0; i < nr_flows; i++)
		nr += flows[i].acked < BYTES;
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
	const char *knob = NULL;
	unsigned times, i, k, idle;
	int n, knob_value = 0;
	struct vhostbe_opts bo = { .sz = sizeof(bo), .mac = { 0x52, 0x54, 0, 0, 0, 2 }, .flags = VHOSTBE_BUSY };
	struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .sent = on_sent, .closed = on_closed };
	struct vnet_opts vo = { .sz = sizeof(vo), .wait = step };
	struct nomstack_opts so = { .sz = sizeof(so), .ip4 = "10.0.0.2/24", .ip6 = six ? "fd00::2/64" : NULL, .now_ns = clock_fn };
	uint8_t f[COST_PEER_FRAME];
	struct nomstack_stats st;
	struct vnet *v;
	char path[64];

	argc -= six;
	argv += six;
	times = argc > 1 ? (unsigned)atoi(argv[1]) : 20;
	cost_peer_six = six;
	if (argc > 2)
		packets = (unsigned)atoi(argv[2]);
	for (i = 3; i + 1 < (unsigned)argc; i += 2) {
		int value = atoi(argv[i + 1]);

		if (!strcmp(argv[i], "upload")) {
			uploads = true;
			large = value;
		} else if (!strcmp(argv[i], "connections")) {
			nr_flows = (unsigned)value;
		} else if (!strcmp(argv[i], "ring")) {
			vo.queue_size = (unsigned)value;
		} else if (!strcmp(argv[i], "copied")) {
			copied = value;
		} else if (!strcmp(argv[i], "packed")) {
			bo.features_on |= value ? 1ull << VIRTIO_F_RING_PACKED | 1ull << VIRTIO_F_IN_ORDER : 0;
		} else if (!strcmp(argv[i], "indirect")) {
			bo.features_on |= value ? 1ull << VIRTIO_RING_F_INDIRECT_DESC : 0;
		} else {
			knob = argv[i];
			knob_value = value;
		}
	}
	if (large)
		vo.features_on |= 1ull << VIRTIO_NET_F_MRG_RXBUF | 1ull << VIRTIO_NET_F_GUEST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO6;
	if (!times || !packets || packets > 44 || !nr_flows || nr_flows > FLOWS_MAX || (uploads && nr_flows > 1)) {
		fprintf(stderr, "usage: bulk-cost [-6] [TIMES [PACKETS [KNOB VALUE]...]]\n");
		return 2;
	}
	snprintf(path, sizeof(path), "/tmp/bulk_cost.%d", (int)getpid());
	if (vhostbe_create(path, &bo, &be) || vnet_open_vhost_user(path, &vo, &v))
		return 1;
	so.vnet = v;
	if (nomstack_open(&so, &stack) || nomstack_tcp_listen(stack, 80, 255, &ops, NULL))
		return 1;
	if (knob && nomstack_knob_set(stack, knob, knob_value)) {
		fprintf(stderr, "bulk-cost: no knob %s, or not %d\n", knob, knob_value);
		return 2;
	}
	file = nomstack_dma_alloc(stack, BYTES);
	if (!file)
		return 1;
	meet();
	for (i = 0; i < nr_flows; i++) {
		inject(f, cost_peer_frame(f, i, 2, 0));
		nomstack_poll(stack);
		vhostbe_step(be);
		while ((n = vhostbe_take(be, f, sizeof(f), NULL)) >= 0)
			cost_peer_take(f, (unsigned)n);
		inject(f, cost_peer_frame(f, i, ACK, 0));
		nomstack_poll(stack);
	}
	for (i = 0; i < times; i++) {
		if (uploads) {
			upload();
			if (flows[0].acked != BYTES) {
				fprintf(stderr, "bulk-cost: %u of %u bytes arrived\n", flows[0].acked, BYTES);
				return 1;
			}
			continue;
		}
		/* A request of each, whose receipt begins the answer. */
		for (k = 0; k < nr_flows; k++)
			inject(f, cost_peer_frame(f, k, 24, 1));
		counted_turn();
		for (idle = 0; unfinished() && idle < 20000; idle++) {
			if (drain()) {
				idle = 0;
				continue;
			}
			now += 1000000;
			measured();
		}
		if (unfinished()) {
			fprintf(stderr, "bulk-cost: %u of %u answers were not acknowledged\n", unfinished(), nr_flows);
			return 1;
		}
	}
	printf("%u\n", times * nr_flows);
	nomstack_stats(stack, &st);
	fprintf(stderr, "bulk-cost: %llu frames to the device, %llu of them to be cut up; %llu times no room in the ring, for %llu frames\n",
		(unsigned long long)vnet_stats(v)->tx_packets, (unsigned long long)vnet_stats(v)->tx_tso,
		(unsigned long long)vnet_stats(v)->tx_full, (unsigned long long)st.tx_ring_full);
	nomstack_close(stack);
	vnet_close(v);
	vhostbe_destroy(be);
	return 0;
}
