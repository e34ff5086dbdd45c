// SPDX-License-Identifier: MIT
/*
 * raw_cost - what a datagram costs on the raw tier and on the native one, in instructions
 *
 * usage: raw-cost raw|native [REQUESTS [BATCH [BYTES [PEERS [KNOB VALUE]]]]]
 *
 * A request of nomudp(1) with BYTES of payload and its reply, BATCH of them per poll,
 * of PEERS that ask in turn: of one, answers leave as one frame where the device cuts
 * it up (VIRTIO_NET_F_HOST_USO), which KNOB "uso_max" bounds.
 * The real driver on split rings with all offloads; at the other end our vhost-user
 * device, which polls: no doorbell (a system call in hosted mode) is counted, and
 * neither is the device.  raw: what nomudp does with frames; native: nomstack_udp_*(),
 * and a copy to answer from.
 *
 * Prints the number of requests served.  Count instructions from outside, of the
 * function measured(): tests/reach/stack.
 */
#include <nomdrv/vnet.h>
#include <nomstack/nomstack.h>
#include <nomstack/raw.h>

#include "../../apps/nomudp/src/answer.h"
#include "../../apps/nomudp/src/request.h"
#include "../../userdrivers/vhostbe/vhostbe.h"

#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PORT 7000

static struct vhostbe *be;
static struct nomstack_raw *raw;
static struct nomstack *stack;
static struct vnet *vnet;
static struct answerer answerer = { .port = PORT, .offload = true };
static uint64_t now = 1000000000;

static void step(void *arg) { vhostbe_step(be); }
static uint64_t clock_fn(void *arg) { return now; }

static void on_frames(void *arg, const struct vnet_rx *rx, struct nomstack_raw_answer *a, unsigned nr)
{
	answer_frames(&answerer, now, rx, a, nr);
}

static void on_datagram(struct nomstack *s, void *arg, const void *data, uint32_t len, uint32_t ip4_be, uint16_t port)
{
	static uint8_t reply[1472];
	uint32_t bytes;

	memcpy(reply, data, len);
	bytes = request_answer(reply, len);
	if (bytes)
		nomstack_udp_send(s, PORT, ip4_be, port, reply, bytes);
}

/* What is counted. */
__attribute__((noinline)) void measured(void);
void measured(void)
{
	if (raw)
		nomstack_raw_poll(raw, now);
	else
		nomstack_poll(stack);
}

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* From 10.0.0.1, @port, to 10.0.0.2:7000; the device vouches for the datagram's sum. */
static unsigned request(uint8_t *f, unsigned bytes, unsigned port)
{
	unsigned sum = 0;

	memset(f, 0, 42 + bytes);
	memcpy(f, "\x52\x54\0\0\0\2\x52\x54\0\0\0\1\x08\0\x45\0", 16);
	put16(f + 16, 28 + bytes);
	memcpy(f + 20, "\x40\0\x40\x11\0\0\x0a\0\0\1\x0a\0\0\2", 14);
	for (unsigned i = 14; i < 34; i += 2)
		sum += (unsigned)f[i] << 8 | f[i + 1];
	put16(f + 24, ~((sum & 0xffff) + (sum >> 16)) & 0xffff);
	put16(f + 34, port);
	put16(f + 36, PORT);
	put16(f + 38, 8 + bytes);
	memcpy(f + 42, REQUEST_MAGIC, 4);
	return 42 + bytes;
}

static void inject(const uint8_t *f, unsigned len)
{
	struct vhostbe_meta meta = { .flags = VIRTIO_NET_HDR_F_DATA_VALID };

	if (vhostbe_inject(be, f, len, &meta)) {
		fprintf(stderr, "raw-cost: no receive buffer\n");
		exit(1);
	}
}

/* How many replies came. */
static unsigned drain(void)
{
	uint8_t f[2048];
	unsigned nr = 0;

	vhostbe_step(be);
	while (vhostbe_take(be, f, sizeof(f), NULL) >= 0)
		nr += f[23] == 17 && !memcmp(f + 42, REPLY_MAGIC, 4);
	return nr;
}

static int open_all(bool is_raw)
{
	struct vhostbe_opts bo = { .sz = sizeof(bo), .mac = { 0x52, 0x54, 0, 0, 0, 2 }, .flags = VHOSTBE_BUSY };
	struct nomstack_opts so = { .sz = sizeof(so), .ip4 = "10.0.0.2/24", .now_ns = clock_fn };
	struct nomstack_raw_opts ro = { .sz = sizeof(ro), .frames = on_frames };
	struct vnet_opts vo = { .sz = sizeof(vo), .wait = step };
	char path[64];

	snprintf(path, sizeof(path), "/tmp/raw_cost.%d", (int)getpid());
	if (vhostbe_create(path, &bo, &be) || vnet_open_vhost_user(path, &vo, &ro.vnet))
		return 1;
	so.vnet = vnet = ro.vnet;
	if (is_raw)
		return nomstack_frame_self(&answerer.self, vnet_mac(ro.vnet), so.ip4) || nomstack_raw_open(&ro, &raw);
	return nomstack_open(&so, &stack) || nomstack_udp_bind(stack, PORT, on_datagram, NULL);
}

/* A neighbour's question: the native tier knows where answers go from then on. */
static unsigned arp(uint8_t *f)
{
	memcpy(f, "\xff\xff\xff\xff\xff\xff\x52\x54\0\0\0\1\x08\6\0\1\x08\0\6\4\0\1\x52\x54\0\0\0\1\x0a\0\0\1\0\0\0\0\0\0\x0a\0\0\2", 42);
	return 42;
}

int main(int argc, char **argv)
{
	unsigned requests = argc > 2 ? (unsigned)atoi(argv[2]) : 20000, batch = argc > 3 ? (unsigned)atoi(argv[3]) : 1;
	unsigned bytes = argc > 4 ? (unsigned)atoi(argv[4]) : 32, served = 0, nr = 0;
	unsigned peers = argc > 5 ? (unsigned)atoi(argv[5]) : 1;
	uint8_t f[2048];

	if (argc < 2 || (strcmp(argv[1], "raw") && strcmp(argv[1], "native")) || !batch || batch > 64 || bytes < REQUEST_MIN_BYTES || bytes > 1472 || !peers || peers > 1000) {
		fprintf(stderr, "usage: raw-cost raw|native [REQUESTS [BATCH [BYTES [PEERS [KNOB VALUE]]]]]\n");
		return 2;
	}
	if (open_all(argv[1][0] == 'r'))
		return 1;
	if (argc > 7 && raw && nomstack_raw_knob_set(raw, argv[6], atoi(argv[7]))) {
		fprintf(stderr, "raw-cost: no knob %s, or not %s\n", argv[6], argv[7]);
		return 2;
	}
	inject(f, arp(f));
	if (raw)
		nomstack_raw_poll(raw, now);
	else
		nomstack_poll(stack);
	drain();
	while (nr < requests) {
		for (unsigned k = 0; k < batch; k++, nr++)
			inject(f, request(f, bytes, 40000 + nr % peers));
		now += batch * 10000;	/* 100,000 requests/s */
		measured();
		served += drain();
	}
	fprintf(stderr, "raw-cost: %llu frames to the device, %llu of them to be cut up\n",
		(unsigned long long)vnet_stats(vnet)->tx_packets, (unsigned long long)vnet_stats(vnet)->tx_uso);
	printf("%u\n", served);
	return served == nr ? 0 : 1;
}
