// SPDX-License-Identifier: MIT
/*
 * What a frame costs the driver, for tests/perf/vnet-cost, which runs this
 * under callgrind and counts the instructions below each turn_*() function.
 *
 *	vnet_cost rx|rx-large|tx-copy|tx-zero-copy|tx-long|idle BATCH [packed] [merged] [indirect] [parts=N]
 *
 * tx-long: frames of headers and N parts, for the device to cut up, with "indirect"
 * as it has them of one that reads tables.
 * "merged" negotiates MRG_RXBUF and GUEST_TSO4, which rx-large needs: frames of
 * LARGE_LEN bytes.
 *
 * The device polls, so no doorbell (a system call in hosted mode) is counted;
 * prints the frames that the counted turns moved.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "nomdrv/vnet.h"
#include "../../userdrivers/vhostbe/vhostbe.h"

#define FRAMES	32768
#define LEN	60	/* a small request with its headers, or an ACK */
#define LARGE_LEN	60000

static struct vhostbe *be;
static struct vnet *v;
static unsigned int batch, most;	/* frames offered a turn; most structs wanted of a burst */
static unsigned int parts;		/* of a long frame */
static uint8_t *mem;

/* Ethernet, IPv4, TCP; what a device that cuts it up looks at */
static const uint8_t tcp_head[54] = { [12] = 8, [14] = 0x45, [23] = 6, [46] = 0x50 };

static void step(void *arg)
{
	vhostbe_step(be);
}

__attribute__((noinline)) void turn_rx(void);
__attribute__((noinline)) void turn_tx_copy(void);
__attribute__((noinline)) void turn_tx_zero_copy(void);
__attribute__((noinline)) void turn_idle(void);

void turn_rx(void)
{
	struct vnet_rx rx[64];
	unsigned int i, n = vnet_rx_burst(v, rx, most);

	for (i = 0; i < n; i++)
		vnet_rx_release(v, rx[i].id);
	vnet_rx_flush(v);
}

void turn_tx_copy(void)
{
	struct vnet_seg seg = { mem, LEN };
	unsigned int i;

	vnet_tx_reap(v, NULL, NULL);
	for (i = 0; i < batch; i++)
		vnet_tx_copy(v, &seg, 1, 34, 16);
	vnet_tx_flush(v);
}

static void done(void *cookie, void *arg)
{
}

/* Headers of 54 bytes, and a body from DMA memory. */
void turn_tx_zero_copy(void)
{
	struct vnet_seg seg[2] = { { mem, 54 }, { mem + 64, 1000 } };
	struct vnet_tx tx = { .seg = seg, .nr_seg = 2, .csum_start = 34, .csum_offset = 16,
			      .cookie = mem };
	unsigned int i;

	vnet_tx_reap(v, done, NULL);
	for (i = 0; i < batch; i++)
		vnet_tx(v, &tx);
	vnet_tx_flush(v);
}

/* As many frames, each of headers and @parts pieces, for the device to cut up. */
__attribute__((noinline)) void turn_tx_long(void);
void turn_tx_long(void)
{
	struct vnet_seg seg[VNET_TSO_SEG_MAX] = { { mem, 54 } };
	struct vnet_tx tx = { .seg = seg, .nr_seg = parts + 1, .csum_start = 34, .csum_offset = 16,
			      .gso_bytes = 1000, .hdr_bytes = 54, .cookie = mem };
	unsigned int i;

	for (i = 1; i <= parts; i++)
		seg[i] = (struct vnet_seg){ mem + 64, 1000 };
	vnet_tx_reap(v, done, NULL);
	for (i = 0; i < batch; i++)
		vnet_tx(v, &tx);
	vnet_tx_flush(v);
}

/* A loop's turn with nothing to do. */
void turn_idle(void)
{
	struct vnet_rx rx[64];

	vnet_rx_burst(v, rx, most);
	vnet_rx_flush(v);
	vnet_tx_reap(v, done, NULL);
	vnet_tx_flush(v);
}

int main(int argc, char **argv)
{
	struct vhostbe_opts bo = { .sz = sizeof(bo), .flags = VHOSTBE_BUSY };
	struct vnet_opts o = { .sz = sizeof(o), .arena_bytes = 64 << 10, .wait = step };
	static uint8_t frame[LARGE_LEN], buf[2048];
	const struct vhostbe_meta meta = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34,
		.csum_offset = 16, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 1460, .hdr_len = 54 };
	unsigned int i, n, frames = FRAMES;
	bool large = argc > 1 && !strcmp(argv[1], "rx-large");
	char path[64];

	if (argc < 3)
		return 2;
	for (i = 3; i < (unsigned int)argc; i++) {
		if (!strcmp(argv[i], "packed"))
			bo.features_on |= 1ULL << VIRTIO_F_RING_PACKED | 1ULL << VIRTIO_F_IN_ORDER;
		else if (!strcmp(argv[i], "indirect"))
			bo.features_on |= 1ULL << VIRTIO_RING_F_INDIRECT_DESC;
		else if (!strncmp(argv[i], "parts=", 6))
			parts = (unsigned int)atoi(argv[i] + 6);
		else if (!strcmp(argv[i], "merged"))
			o.features_on = 1ULL << VIRTIO_NET_F_MRG_RXBUF | 1ULL << VIRTIO_NET_F_GUEST_TSO4;
		else
			return 2;
	}
	if ((batch = (unsigned int)atoi(argv[2])) < 1 || batch > 64)
		return 2;
	snprintf(path, sizeof(path), "/tmp/vnet_cost.%d", (int)getpid());
	if (vhostbe_create(path, &bo, &be) || vnet_open_vhost_user(path, &o, &v))
		return 1;
	mem = vnet_dma_alloc(v, 2048, 64);
	if (!strcmp(argv[1], "tx-long") != (parts >= 1 && parts < VNET_TSO_SEG_MAX))
		return 2;
	memcpy(mem, tcp_head, sizeof(tcp_head));
	mem[16] = (uint8_t)((40 + parts * 1000) >> 8);
	mem[17] = (uint8_t)(40 + parts * 1000);
	most = o.features_on && batch < VNET_RX_SEG_MAX ? VNET_RX_SEG_MAX : batch;
	if (large || parts)
		frames = FRAMES / (large ? 32 : 256);
	for (n = 0; n < frames; n += batch) {
		if (large || !strcmp(argv[1], "rx")) {
			for (i = 0; i < batch; i++)
				if (vhostbe_inject(be, frame, large ? LARGE_LEN : LEN, large ? &meta : NULL))
					return 1;
			turn_rx();
		} else if (!strcmp(argv[1], "tx-copy")) {
			turn_tx_copy();
		} else if (!strcmp(argv[1], "tx-zero-copy")) {
			turn_tx_zero_copy();
		} else if (!strcmp(argv[1], "tx-long")) {
			turn_tx_long();
		} else {
			turn_idle();
		}
		vhostbe_step(be);
		while (vhostbe_take(be, buf, sizeof(buf), NULL) >= 0)
			;
	}
	printf("%u\n", n);
	n = (unsigned int)(vnet_stats(v)->rx_packets + vnet_stats(v)->tx_packets);
	vnet_close(v);
	vhostbe_destroy(be);
	return strcmp(argv[1], "idle") && n < frames;
}
