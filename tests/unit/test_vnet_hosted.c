// SPDX-License-Identifier: MIT
/*
 * vnet against the vhost-user back-end: the real rings, through real shared
 * memory, one thread playing both sides.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "fds.h"
#include "vnet_pair.h"

#define BIT(n)	(1ULL << (n))

/* What this pass through the tests has besides: nothing, packed rings, those in order. */
static uint64_t extra;

static const uint8_t own_mac[6] = { 0x52, 0x54, 0x00, 0x6e, 0x6f, 0x6d };

static void t_step(void *arg)
{
	vhostbe_step(arg);
}

static void t_open(struct pair *p, const struct vnet_opts *vo, const struct vhostbe_opts *bo)
{
	struct vnet_opts o = { .sz = sizeof(o) };
	struct vhostbe_opts b = { .sz = sizeof(b) };

	if (vo)
		o = *vo;
	if (bo)
		b = *bo;
	b.features_on |= extra;
	if (!o.arena_bytes)
		o.arena_bytes = 64 << 10;
	pair_open(p, "test_vnet_hosted", &b, &o);
	assert_true(vhostbe_running(p->be));
	assert_int_equal(vnet_features(p->v) & (BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_F_IN_ORDER)), extra);
}

static void t_close(struct pair *p)
{
	vnet_close(p->v);
	vhostbe_destroy(p->be);
	assert_int_equal(access(p->path, F_OK), -1);
}

/* A frame whose bytes depend on @tag. */
static size_t t_frame(uint8_t *buf, unsigned int tag, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		buf[i] = (uint8_t)(tag * 31 + i);
	return len;
}

static void t_expect_rx(struct vnet *v, unsigned int tag, size_t len)
{
	uint8_t want[2048];
	struct vnet_rx rx;

	assert_int_equal(vnet_rx_burst(v, &rx, 1), 1);
	assert_int_equal(rx.len, t_frame(want, tag, len));
	assert_memory_equal(rx.data, want, len);
	assert_int_equal(((uintptr_t)rx.data + 14) % 4, 0);
	vnet_rx_release(v, rx.id);
}

static void test_vnet_open_takes_what_the_device_says(void **state)
{
	struct vhostbe_opts bo = { .sz = sizeof(bo), .mtu = 1400 };
	unsigned int fds = t_nr_fds();
	struct pair p;
	uint64_t f;

	t_open(&p, NULL, &bo);
	f = vnet_features(p.v);
	assert_memory_equal(vnet_mac(p.v), own_mac, 6);
	assert_int_equal(vnet_mtu(p.v), 1400);
	assert_true(f & BIT(VIRTIO_F_VERSION_1));
	assert_true(f & BIT(VIRTIO_NET_F_CSUM));
	assert_true(f & BIT(VIRTIO_NET_F_GUEST_CSUM));
	assert_true(f & BIT(VIRTIO_RING_F_EVENT_IDX));
	assert_int_equal(f, vhostbe_features(p.be));
	assert_int_equal(vnet_rx_size(p.v), 256);
	assert_int_equal(vnet_rx_room(p.v), 256);
	assert_int_equal(vnet_tx_room(p.v), 256);
	assert_true(vnet_link_up(p.v));
	assert_int_equal(vnet_error(p.v, NULL), 0);
	t_close(&p);
	assert_int_equal(t_nr_fds(), fds);
}

static void test_vnet_open_without_backend_fails_cleanly(void **state)
{
	unsigned int fds = t_nr_fds();
	struct vnet *v = (void *)0x1;

	assert_int_equal(vnet_open_vhost_user("/tmp/no-such-socket", NULL, &v), -ENOENT);
	assert_ptr_equal(v, (void *)0x1);
	assert_int_equal(t_nr_fds(), fds);
}

static void test_vnet_opts_are_checked(void **state)
{
	struct { struct vnet_opts o; uint64_t tail; } big = { 0 };
	struct vnet_opts o = { .sz = sizeof(o), .queue_size = 3 };
	struct vnet *v = NULL;

	assert_int_equal(vnet_open_vhost_user("/x", &o, &v), -EINVAL);
	o.queue_size = 65536;
	assert_int_equal(vnet_open_vhost_user("/x", &o, &v), -EINVAL);
	o.queue_size = 0;
	o.mac[0] = 1;
	assert_int_equal(vnet_open_vhost_user("/x", &o, &v), -EINVAL);
	o.mac[0] = 0;
	o.reserved[1] = 1;
	assert_int_equal(vnet_open_vhost_user("/x", &o, &v), -EINVAL);
	o.reserved[1] = 0;
	o.sz = 4;
	assert_int_equal(vnet_open_vhost_user("/x", &o, &v), -EINVAL);
	big.o.sz = sizeof(big);
	assert_int_equal(vnet_open_vhost_user("/no", &big.o, &v), -ENOENT);
	big.tail = 1;
	assert_int_equal(vnet_open_vhost_user("/no", &big.o, &v), -E2BIG);
	assert_null(v);
}

static void test_vnet_too_few_buffers_are_refused(void **state)
{
	struct vnet_opts o = { .sz = sizeof(o), .queue_size = 64, .nr_bufs = 63 };
	struct vnet *v = NULL;
	struct vhostbe *be;
	char path[64];

	snprintf(path, sizeof(path), "/tmp/test_vnet_few.%d", (int)getpid());
	assert_int_equal(vhostbe_create(path, NULL, &be), 0);
	o.wait = t_step;
	o.wait_arg = be;
	assert_int_equal(vnet_open_vhost_user(path, &o, &v), -EINVAL);
	assert_null(v);
	vhostbe_destroy(be);
}

static void test_vnet_receives(void **state)
{
	uint8_t buf[2048];
	struct pair p;
	size_t len;

	t_open(&p, NULL, NULL);
	for (len = 14; len <= 1514; len += 100) {
		t_frame(buf, (unsigned int)len, len);
		assert_int_equal(vhostbe_inject(p.be, buf, len, NULL), 0);
		assert_int_equal(vnet_rx_pending(p.v), 1);
		assert_int_equal(vnet_rx_room(p.v), 255);
		t_expect_rx(p.v, (unsigned int)len, len);
		vnet_rx_flush(p.v);
		assert_int_equal(vnet_rx_room(p.v), 256);
	}
	assert_int_equal(vnet_stats(p.v)->rx_packets, 16);
	assert_int_equal(vnet_stats(p.v)->rx_bad, 0);
	t_close(&p);
}

static void test_vnet_drops_runts(void **state)
{
	uint8_t buf[64];
	struct vnet_rx rx;
	struct pair p;

	t_open(&p, NULL, NULL);
	t_frame(buf, 1, sizeof(buf));
	assert_int_equal(vhostbe_inject(p.be, buf, 13, NULL), 0);
	assert_int_equal(vhostbe_inject(p.be, buf, 14, NULL), 0);
	assert_int_equal(vnet_rx_burst(p.v, &rx, 1), 0);
	assert_int_equal(vnet_stats(p.v)->rx_bad, 1);
	assert_int_equal(vnet_error(p.v, NULL), 0);
	t_expect_rx(p.v, 1, 14);
	vnet_rx_flush(p.v);
	assert_int_equal(vnet_rx_room(p.v), 256);
	t_close(&p);
}

static void test_vnet_sends_copies(void **state)
{
	uint8_t a[20], b[1000], got[2048];
	struct vnet_seg seg[2] = { { a, sizeof(a) }, { b, sizeof(b) } };
	struct pair p;

	t_open(&p, NULL, NULL);
	t_frame(a, 1, sizeof(a));
	t_frame(b, 2, sizeof(b));
	assert_int_equal(vnet_tx_copy(p.v, seg, 2, 0, 0), 0);
	memset(a, 0xff, sizeof(a));	/* free at return */
	assert_int_equal(vnet_tx_queued(p.v), 1);
	assert_int_equal(vnet_tx_room(p.v), 255);
	vhostbe_step(p.be);
	assert_int_equal(vhostbe_take(p.be, got, sizeof(got), NULL), -EAGAIN);
	vnet_tx_flush(p.v);
	assert_int_equal(vnet_tx_queued(p.v), 0);
	vhostbe_step(p.be);
	assert_int_equal(vhostbe_take(p.be, got, sizeof(got), NULL), 1020);
	t_frame(a, 1, sizeof(a));
	assert_memory_equal(got, a, sizeof(a));
	assert_memory_equal(got + 20, b, sizeof(b));
	assert_int_equal(vnet_tx_reap(p.v, NULL, NULL), 1);
	assert_int_equal(vnet_tx_room(p.v), 256);
	t_close(&p);
}

static void t_done(void *cookie, void *arg)
{
	(*(unsigned int *)cookie)++;
	(*(unsigned int *)arg)++;
}

static void test_vnet_sends_without_copy_and_returns_the_cookie_once(void **state)
{
	unsigned int cookie = 0, calls = 0;
	uint8_t head[54], got[2048], *body;
	struct vnet_seg seg[3];
	struct vnet_tx tx = { .seg = seg, .nr_seg = 3, .cookie = &cookie };
	struct pair p;

	t_open(&p, NULL, NULL);
	body = vnet_dma_alloc(p.v, 1400, 64);
	assert_non_null(body);
	assert_true(vnet_dma_contains(p.v, body, 1400));
	assert_false(vnet_dma_contains(p.v, head, 1));
	t_frame(head, 1, sizeof(head));
	t_frame(body, 2, 1400);
	seg[0] = (struct vnet_seg){ head, sizeof(head) };
	seg[1] = (struct vnet_seg){ body, 1000 };
	seg[2] = (struct vnet_seg){ body + 1000, 400 };
	assert_int_equal(vnet_tx(p.v, &tx), 0);
	assert_int_equal(vnet_tx_room(p.v), 253);	/* the head went beside the header */
	vnet_tx_flush(p.v);
	assert_int_equal(vnet_tx_reap(p.v, t_done, &calls), 0);
	vhostbe_step(p.be);
	assert_int_equal(vnet_tx_reap(p.v, t_done, &calls), 3);
	assert_int_equal(vnet_tx_reap(p.v, t_done, &calls), 0);
	assert_int_equal(cookie, 1);
	assert_int_equal(calls, 1);
	assert_int_equal(vhostbe_take(p.be, got, sizeof(got), NULL), 1454);
	assert_memory_equal(got, head, sizeof(head));
	assert_memory_equal(got + 54, body, 1400);
	assert_int_equal(vnet_tx_room(p.v), 256);
	/* A copied frame in the same descriptor does not bring it back. */
	assert_int_equal(vnet_tx_copy(p.v, seg, 1, 0, 0), 0);
	vnet_tx_flush(p.v);
	vhostbe_step(p.be);
	assert_int_equal(vnet_tx_reap(p.v, t_done, &calls), 1);
	assert_int_equal(calls, 1);
	t_close(&p);
}

static void test_vnet_tx_refuses_what_it_cannot_send(void **state)
{
	uint8_t outside[200] = { 0 };
	struct vnet_seg seg[VNET_TX_SEG_MAX + 1];
	struct vnet_tx tx = { .seg = seg, .nr_seg = 1 };
	struct pair p;
	uint8_t *mem;
	unsigned int i;

	t_open(&p, NULL, NULL);
	mem = vnet_dma_alloc(p.v, 4096, 64);
	for (i = 0; i <= VNET_TX_SEG_MAX; i++)
		seg[i] = (struct vnet_seg){ mem, 60 };
	seg[0] = (struct vnet_seg){ outside, 200 };
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	seg[0] = (struct vnet_seg){ mem, 13 };
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	assert_int_equal(vnet_tx_copy(p.v, seg, 1, 0, 0), -EINVAL);
	seg[0] = (struct vnet_seg){ mem, 1519 };	/* MTU, Ethernet header, VLAN tag: 1518 */
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	assert_int_equal(vnet_tx_copy(p.v, seg, 1, 0, 0), -EINVAL);
	seg[0] = (struct vnet_seg){ mem, 60 };
	tx.nr_seg = 0;
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	tx.nr_seg = VNET_TX_SEG_MAX + 1;
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	tx.nr_seg = 1;
	tx.csum_start = 34;
	tx.csum_offset = 25;	/* 34 + 25 + 2 > 60 */
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	assert_int_equal(vnet_tx_copy(p.v, seg, 1, 34, 25), -EINVAL);
	seg[1] = (struct vnet_seg){ mem, 0 };
	tx.csum_start = 0;
	tx.nr_seg = 2;
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	/* After all that nothing has changed. */
	assert_int_equal(vnet_tx_room(p.v), 256);
	assert_int_equal(vnet_tx_queued(p.v), 0);
	assert_int_equal(vnet_stats(p.v)->tx_packets, 0);
	t_close(&p);
}

/* A frame of @payload bytes behind TCP/IPv4 headers, as a stack would lay it out. */
static void t_tso_headers(uint8_t *h, uint32_t payload)
{
	memset(h, 0, 54);
	memcpy(h, "\x52\x54\0\0\0\1\x52\x54\0\0\0\2\x08\x00\x45", 15);
	h[16] = (uint8_t)((40 + payload) >> 8);
	h[17] = (uint8_t)(40 + payload);
	h[23] = 6;
	h[46] = 0x50;
	h[47] = 0x18;
}

static void test_vnet_segmentation_is_left_to_the_device(void **state)
{
	uint8_t head[54], got[2048];
	struct vnet_seg seg[2] = { { head, sizeof(head) } };
	struct vnet_tx tx = { .seg = seg, .nr_seg = 2, .csum_start = 34, .csum_offset = 16,
		.gso_bytes = 1000, .hdr_bytes = 54 };
	struct pair p;
	uint8_t *mem;
	uint32_t i;

	t_open(&p, NULL, NULL);
	mem = vnet_dma_alloc(p.v, 65496, 64);
	assert_non_null(mem);
	for (i = 0; i < 65496; i++)
		mem[i] = (uint8_t)(i * 7);
	seg[1] = (struct vnet_seg){ mem, 4321 };
	t_tso_headers(head, 4321);
	assert_int_equal(vnet_tx(p.v, &tx), 0);
	vnet_tx_flush(p.v);
	vhostbe_step(p.be);
	assert_null(vhostbe_last_error(p.be));
	for (i = 0; i < 5; i++) {
		uint32_t n = i < 4 ? 1000 : 321;

		assert_int_equal(vhostbe_take(p.be, got, sizeof(got), NULL), 54 + n);
		assert_memory_equal(got + 54, mem + 1000 * i, n);
		assert_int_equal(got[40] << 8 | got[41], 1000 * i);
		assert_int_equal(got[47], i < 4 ? 0x10 : 0x18);
	}
	assert_int_equal(vhostbe_take(p.be, got, sizeof(got), NULL), -EAGAIN);
	assert_int_equal(vnet_stats(p.v)->tx_tso, 1);
	assert_int_equal(vnet_stats(p.v)->doorbells_tx, 1);

	/* The longest there is goes, one byte more does not. */
	seg[1].len = 65496;
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	seg[1].len = 65495;
	t_tso_headers(head, 65495);
	assert_int_equal(vnet_tx(p.v, &tx), 0);
	tx.hdr_bytes = 53;
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	tx.hdr_bytes = 54;
	tx.csum_start = 0;
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	tx.csum_start = 54;	/* not within the headers */
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	tx.csum_start = 34;
	tx.gso_bytes = 0;	/* without: as long as the MTU allows */
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	tx.gso_bytes = 1000;
	tx.nr_seg = 1;		/* no payload */
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	tx.nr_seg = VNET_TSO_SEG_MAX + 1;
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	assert_int_equal(vnet_tx_queued(p.v), 1);
	t_close(&p);
}

static void test_vnet_segmentation_of_ipv6(void **state)
{
	struct vhostbe_opts bo = { .sz = sizeof(bo), .features_off = BIT(VIRTIO_NET_F_HOST_TSO6) };
	uint8_t head[74] = { 0 }, got[2048];
	struct vnet_seg seg[2] = { { head, sizeof(head) } };
	struct vnet_tx tx = { .seg = seg, .nr_seg = 2, .csum_start = 54, .csum_offset = 16,
		.gso_bytes = 1000, .hdr_bytes = 74 };
	uint32_t i, k, sum;
	struct pair p;
	uint8_t *mem;

	memcpy(head, "\x52\x54\0\0\0\1\x52\x54\0\0\0\2\x86\xdd\x60", 15);
	head[18] = (20 + 2500) >> 8;
	head[19] = (20 + 2500) & 0xff;
	head[20] = 6;
	head[22] = 0xfe;
	head[23] = 0x80;
	head[38] = 0xfe;
	head[39] = 0x80;
	head[53] = 1;
	head[66] = 0x50;
	/* The pseudo header's sum: two addresses, length, protocol. */
	sum = 0xfe80 * 2 + 1 + 20 + 2500 + 6;
	sum = (sum & 0xffff) + (sum >> 16);
	head[70] = (uint8_t)(sum >> 8);
	head[71] = (uint8_t)sum;
	t_open(&p, NULL, NULL);
	mem = vnet_dma_alloc(p.v, 2500, 64);
	for (i = 0; i < 2500; i++)
		mem[i] = (uint8_t)(i * 7);
	seg[1] = (struct vnet_seg){ mem, 2500 };
	assert_int_equal(vnet_tx(p.v, &tx), 0);
	vnet_tx_flush(p.v);
	vhostbe_step(p.be);
	assert_null(vhostbe_last_error(p.be));
	for (i = 0; i < 3; i++) {
		uint32_t n = i < 2 ? 1000 : 500;

		assert_int_equal(vhostbe_take(p.be, got, sizeof(got), NULL), 74 + n);
		assert_memory_equal(got + 74, mem + 1000 * i, n);
		assert_int_equal(got[18] << 8 | got[19], 20 + n);
		assert_int_equal(got[60] << 8 | got[61], 1000 * i);
		/* Over pseudo header and segment the sum is all ones. */
		for (sum = 0xfe80 * 2 + 1 + 20 + n + 6, k = 54; k < 74 + n; k += 2)
			sum += (uint32_t)(got[k] << 8 | got[k + 1]);
		while (sum >> 16)
			sum = (sum & 0xffff) + (sum >> 16);
		assert_int_equal(sum, 0xffff);
	}
	t_close(&p);
	t_open(&p, NULL, &bo);
	seg[1].addr = vnet_dma_alloc(p.v, 2500, 64);
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	t_close(&p);
}

/* Headers of UDP over either version of IP, with the pseudo header's sum; returns their length. */
static uint16_t t_uso_headers(uint8_t *h, bool six, uint32_t payload)
{
	uint32_t udp = 8 + payload, at = six ? 54 : 34, sum = 17 + udp, i;

	memset(h, 0, 62);
	memcpy(h, "\x52\x54\0\0\0\1\x52\x54\0\0\0\2", 12);
	memcpy(h + 12, six ? "\x86\xdd\x60" : "\x08\x00\x45", 3);
	memcpy(h + (six ? 22 : 26), "\x0a\1\2\3\x0b\4\5\6", 8);
	h[six ? 20 : 23] = 17;
	h[six ? 18 : 16] = (uint8_t)((udp + (six ? 0 : 20)) >> 8);
	h[six ? 19 : 17] = (uint8_t)(udp + (six ? 0 : 20));
	for (i = six ? 22 : 26; i < at; i += 2)
		sum += (uint32_t)h[i] << 8 | h[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	h[at + 4] = (uint8_t)(udp >> 8);
	h[at + 5] = (uint8_t)udp;
	h[at + 6] = (uint8_t)(sum >> 8);
	h[at + 7] = (uint8_t)sum;
	return (uint16_t)(at + 8);
}

static void test_vnet_datagrams_are_left_to_the_device(void **state)
{
	uint8_t head[62], got[2048];
	struct vnet_seg seg[2] = { { head, 0 } };
	struct vnet_tx tx = { .seg = seg, .nr_seg = 2, .csum_offset = 6, .gso_bytes = 1000 };
	struct pair p;
	uint8_t *mem;
	uint32_t i, k, round;

	t_open(&p, NULL, NULL);
	mem = vnet_dma_alloc(p.v, 65536, 64);
	for (i = 0; i < 65536; i++)
		mem[i] = (uint8_t)(i * 7 + (i >> 8));
	for (round = 0; round < 2; round++) {
		bool six = round;
		uint32_t hdr = t_uso_headers(head, six, 4321), at = hdr - 8;

		seg[0].len = tx.hdr_bytes = (uint16_t)hdr;
		tx.csum_start = (uint16_t)at;
		seg[1] = (struct vnet_seg){ mem, 4321 };
		assert_int_equal(vnet_tx(p.v, &tx), 0);
		vnet_tx_flush(p.v);
		vhostbe_step(p.be);
		assert_null(vhostbe_last_error(p.be));
		for (i = 0; i < 5; i++) {
			uint32_t n = i < 4 ? 1000 : 321, sum = 17 + 8 + n;

			assert_int_equal(vhostbe_take(p.be, got, sizeof(got), NULL), hdr + n);
			assert_memory_equal(got + hdr, mem + 1000 * i, n);
			assert_int_equal(got[at + 4] << 8 | got[at + 5], 8 + n);
			for (k = six ? 22 : 26; k < hdr + n; k++)
				sum += k & 1 ? got[k] : (uint32_t)got[k] << 8;
			while (sum >> 16)
				sum = (sum & 0xffff) + (sum >> 16);
			assert_int_equal(sum, 0xffff);
		}
		assert_int_equal(vhostbe_take(p.be, got, sizeof(got), NULL), -EAGAIN);
		assert_int_equal(vnet_stats(p.v)->tx_uso, round + 1);
	}
	assert_int_equal(vnet_stats(p.v)->tx_tso, 0);

	/* 64 datagrams, not one byte more; and what makes no sense */
	tx.hdr_bytes = t_uso_headers(head, false, 64 * 100 + 1);
	tx.csum_start = 34;
	seg[0].len = 42;
	tx.gso_bytes = 100;
	seg[1].len = 64 * 100 + 1;
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	seg[1].len = 64 * 100;
	t_uso_headers(head, false, 64 * 100);
	tx.hdr_bytes = 43;
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	tx.hdr_bytes = 42;
	tx.csum_start = 33;
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	tx.csum_start = 34;
	tx.csum_offset = 7;
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	tx.csum_offset = 16;	/* as of TCP, whose header would be longer */
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	tx.csum_offset = 6;
	tx.nr_seg = 1;
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	tx.nr_seg = 2;
	assert_int_equal(vnet_tx(p.v, &tx), 0);
	vnet_tx_flush(p.v);
	vhostbe_step(p.be);
	for (i = 0; i < 64; i++)
		assert_int_equal(vhostbe_take(p.be, got, sizeof(got), NULL), 142);
	t_close(&p);

	t_open(&p, NULL, &(struct vhostbe_opts){ .sz = sizeof(struct vhostbe_opts), .features_off = BIT(VIRTIO_NET_F_HOST_USO) });
	assert_string_equal(vnet_feature_reason(p.v, VIRTIO_NET_F_HOST_USO), "the device does not offer it");
	seg[1].addr = vnet_dma_alloc(p.v, 64 * 100, 64);
	assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
	t_close(&p);
}

static void test_vnet_checksum_offload_both_ways(void **state)
{
	struct vhostbe_meta meta;
	uint8_t buf[64], got[2048];
	struct vnet_seg seg = { buf, sizeof(buf) };
	struct vnet_rx rx[3];
	struct pair p;

	t_open(&p, NULL, NULL);
	memset(buf, 0, sizeof(buf));
	buf[34] = 0x12;
	buf[35] = 0x34;
	buf[50] = 0xab;	/* a pseudo header's sum, say */
	assert_int_equal(vnet_tx_copy(p.v, &seg, 1, 34, 16), 0);
	assert_int_equal(vnet_tx_copy(p.v, &seg, 1, 34, 16), 0);
	vnet_tx_flush(p.v);
	vhostbe_step(p.be);
	assert_int_equal(vhostbe_take(p.be, got, sizeof(got), &meta), 64);
	assert_int_equal(meta.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(meta.csum_start, 34);
	assert_int_equal(meta.csum_offset, 16);
	assert_int_equal(got[50], 0xab);
	assert_int_equal(vhostbe_take(p.be, got, sizeof(got), NULL), 64);
	/* 0x1234 + 0xab00 = 0xbd34, complement 0x42cb */
	assert_int_equal(got[50] << 8 | got[51], 0x42cb);
	assert_int_equal(vnet_stats(p.v)->tx_csum_offload, 2);

	meta = (struct vhostbe_meta){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34,
				      .csum_offset = 16 };
	assert_int_equal(vhostbe_inject(p.be, buf, 64, &meta), 0);
	meta = (struct vhostbe_meta){ .flags = VIRTIO_NET_HDR_F_DATA_VALID };
	assert_int_equal(vhostbe_inject(p.be, buf, 64, &meta), 0);
	assert_int_equal(vhostbe_inject(p.be, buf, 64, NULL), 0);
	assert_int_equal(vnet_rx_burst(p.v, rx, 3), 3);
	assert_int_equal(rx[0].flags, VNET_RX_CSUM_OK);
	assert_int_equal(rx[1].flags, VNET_RX_CSUM_OK);
	assert_int_equal(rx[2].flags, 0);
	assert_int_equal(vnet_stats(p.v)->rx_csum_ok, 2);
	t_close(&p);
}

/* TSO without CSUM makes no sense to the specification, and is not asked for. */
static void test_vnet_no_segmentation_without_checksums(void **state)
{
	struct vhostbe_opts bo = { .sz = sizeof(bo), .features_off = 1ull << VIRTIO_NET_F_CSUM };
	struct vnet_opts vo = { .sz = sizeof(vo), .features_off = 1ull << VIRTIO_NET_F_CSUM };
	int round;

	for (round = 0; round < 2; round++) {
		uint8_t head[54];
		struct vnet_seg seg[2] = { { head, sizeof(head) } };
		struct vnet_tx tx = { .seg = seg, .nr_seg = 2, .csum_start = 34, .csum_offset = 16,
			.gso_bytes = 1000, .hdr_bytes = 54 };
		struct pair p;

		t_open(&p, round ? &vo : NULL, round ? NULL : &bo);
		assert_false(vnet_features(p.v) & 1ull << VIRTIO_NET_F_HOST_TSO4);
		seg[1] = (struct vnet_seg){ vnet_dma_alloc(p.v, 4000, 64), 4000 };
		t_tso_headers(head, 4000);
		assert_int_equal(vnet_tx(p.v, &tx), -EINVAL);
		t_close(&p);
	}
}

static void test_vnet_without_offloads_refuses_them(void **state)
{
	struct vnet_opts o = { .sz = sizeof(o), .features_off = BIT(VIRTIO_NET_F_CSUM) |
			       BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_RING_F_EVENT_IDX) |
			       BIT(VIRTIO_F_VERSION_1) };
	uint8_t buf[64] = { 0 };
	struct vnet_seg seg = { buf, sizeof(buf) };
	struct pair p;

	t_open(&p, &o, NULL);
	/* VERSION_1 cannot be turned off. */
	assert_int_equal(vnet_features(p.v) & (o.features_off & ~BIT(VIRTIO_F_VERSION_1)), 0);
	assert_true(vnet_features(p.v) & BIT(VIRTIO_F_VERSION_1));
	assert_int_equal(vnet_tx_copy(p.v, &seg, 1, 34, 16), -EINVAL);
	assert_int_equal(vnet_tx_copy(p.v, &seg, 1, 0, 0), 0);
	t_close(&p);
}

static void test_vnet_legacy_backend_is_refused(void **state)
{
	struct vhostbe_opts bo = { .sz = sizeof(bo), .features_off = BIT(VIRTIO_F_VERSION_1) };
	unsigned int fds = t_nr_fds();
	struct vnet_opts o = { .sz = sizeof(o) };
	struct vnet *v = NULL;
	struct vhostbe *be;
	char path[64];

	snprintf(path, sizeof(path), "/tmp/test_vnet_legacy.%d", (int)getpid());
	assert_int_equal(vhostbe_create(path, &bo, &be), 0);
	o.wait = t_step;
	o.wait_arg = be;
	assert_int_equal(vnet_open_vhost_user(path, &o, &v), -EOPNOTSUPP);
	assert_null(v);
	vhostbe_destroy(be);
	assert_int_equal(t_nr_fds(), fds);
}

/* Both indices past 65536, out of step with each other. */
static void t_wrap(unsigned int queue_size, uint64_t features_off)
{
	struct vnet_opts o = { .sz = sizeof(o), .queue_size = queue_size,
			       .features_off = features_off };
	unsigned int i, j, sent = 0, taken = 0;
	uint8_t buf[64], got[2048];
	struct vnet_seg seg = { buf, sizeof(buf) };
	struct pair p;

	t_open(&p, &o, NULL);
	for (i = 0; i < 67000; i += 3) {
		for (j = 0; j < 3; j++) {
			t_frame(buf, i + j, sizeof(buf));
			assert_int_equal(vhostbe_inject(p.be, buf, sizeof(buf), NULL), 0);
			assert_int_equal(vnet_tx_copy(p.v, &seg, 1, 0, 0), 0);
			sent++;
		}
		vnet_tx_flush(p.v);
		for (j = 0; j < 3; j++)
			t_expect_rx(p.v, i + j, sizeof(buf));
		vnet_rx_flush(p.v);
		vhostbe_step(p.be);
		vnet_tx_reap(p.v, NULL, NULL);
		while (vhostbe_take(p.be, got, sizeof(got), NULL) == 64) {
			t_frame(buf, taken++, sizeof(buf));
			assert_memory_equal(got, buf, sizeof(buf));
		}
	}
	assert_int_equal(sent, taken);
	assert_int_equal(vnet_error(p.v, NULL), 0);
	assert_int_equal(vhostbe_stats(p.be)->calls, 0);	/* polling: no interrupt, ever */
	assert_int_equal(vnet_tx_room(p.v), queue_size);
	assert_int_equal(vnet_rx_room(p.v), queue_size);
	t_close(&p);
}

static void test_vnet_indices_wrap_around(void **state)
{
	t_wrap(4, 0);
	t_wrap(256, 0);
	t_wrap(256, BIT(VIRTIO_RING_F_EVENT_IDX));
}

static void test_vnet_all_buffers_held_starves_and_recovers(void **state)
{
	struct vnet_opts o = { .sz = sizeof(o), .queue_size = 8, .nr_bufs = 20 };
	unsigned int i, n = 0;
	struct vnet_rx rx[32];
	uint8_t buf[64];
	struct pair p;

	t_open(&p, &o, NULL);
	for (i = 0; i < 40; i++) {
		int err;

		t_frame(buf, i, sizeof(buf));
		err = vhostbe_inject(p.be, buf, sizeof(buf), NULL);
		assert_int_equal(err, i < 20 ? 0 : -EAGAIN);
		n += vnet_rx_burst(p.v, rx + n, 32 - n);
		vnet_rx_flush(p.v);	/* spares keep the ring full until they run out */
		assert_int_equal(vnet_rx_room(p.v), 20 - n < 8 ? 20 - n : 8);
	}
	assert_int_equal(n, 20);
	for (i = 0; i < n; i++) {
		unsigned int j;

		assert_int_equal(((uint8_t *)rx[i].data)[0], (uint8_t)(i * 31));
		for (j = 0; j < i; j++)
			assert_int_not_equal(rx[i].id, rx[j].id);
		/* private areas are apart, and not in the device's reach */
		assert_false(vnet_dma_contains(p.v, vnet_rx_priv(p.v, rx[i].id), 1));
		memset(vnet_rx_priv(p.v, rx[i].id), (int)i, VNET_PRIV_BYTES);
	}
	for (i = 0; i < n; i++)
		assert_int_equal(*((uint8_t *)vnet_rx_priv(p.v, rx[i].id) + VNET_PRIV_BYTES - 1), i);
	for (i = 0; i < n; i += 2)	/* any order */
		vnet_rx_release(p.v, rx[i].id);
	for (i = 1; i < n; i += 2)
		vnet_rx_release(p.v, rx[i].id);
	assert_int_equal(vnet_rx_room(p.v), 0);	/* not before the flush */
	vnet_rx_flush(p.v);
	assert_int_equal(vnet_rx_room(p.v), 8);
	t_frame(buf, 7, sizeof(buf));
	assert_int_equal(vhostbe_inject(p.be, buf, sizeof(buf), NULL), 0);
	t_expect_rx(p.v, 7, sizeof(buf));
	t_close(&p);
}

static void test_vnet_full_transmit_ring_says_so(void **state)
{
	struct vnet_opts o = { .sz = sizeof(o), .queue_size = 16 };
	unsigned int cookie = 0, calls = 0, i;
	uint8_t buf[64];
	struct vnet_seg seg[2] = { { buf, sizeof(buf) } };
	struct vnet_tx tx = { .seg = seg, .nr_seg = 2, .cookie = &cookie };
	struct pair p;

	t_open(&p, &o, NULL);
	t_frame(buf, 1, sizeof(buf));
	seg[1] = (struct vnet_seg){ vnet_dma_alloc(p.v, 500, 64), 500 };
	for (i = 0; i < 7; i++)
		assert_int_equal(vnet_tx(p.v, &tx), 0);
	assert_int_equal(vnet_tx_copy(p.v, seg, 1, 0, 0), 0);
	assert_int_equal(vnet_tx_room(p.v), 1);
	assert_int_equal(vnet_tx(p.v, &tx), -EAGAIN);	/* needs two */
	assert_int_equal(vnet_tx_copy(p.v, seg, 1, 0, 0), 0);
	assert_int_equal(vnet_tx_copy(p.v, seg, 1, 0, 0), -EAGAIN);
	assert_int_equal(vnet_stats(p.v)->tx_full, 2);
	vnet_tx_flush(p.v);
	vhostbe_step(p.be);
	assert_int_equal(vnet_tx_reap(p.v, t_done, &calls), 16);
	assert_int_equal(calls, 7);
	assert_int_equal(vnet_tx_room(p.v), 16);
	assert_int_equal(vnet_tx(p.v, &tx), 0);
	t_close(&p);
}

static void test_vnet_one_doorbell_per_batch(void **state)
{
	uint8_t buf[64];
	struct vnet_seg seg = { buf, sizeof(buf) };
	unsigned int i, round;
	struct pair p;

	t_open(&p, NULL, NULL);
	vhostbe_step(p.be);
	t_frame(buf, 1, sizeof(buf));
	for (round = 1; round <= 5; round++) {
		for (i = 0; i < 32; i++)
			assert_int_equal(vnet_tx_copy(p.v, &seg, 1, 0, 0), 0);
		vnet_tx_flush(p.v);
		vnet_tx_flush(p.v);	/* nothing new: nothing rings */
		vhostbe_step(p.be);
		vnet_tx_reap(p.v, NULL, NULL);
		assert_int_equal(vnet_stats(p.v)->doorbells_tx, round);
		assert_int_equal(vhostbe_stats(p.be)->kicks_tx, round);
		assert_int_equal(vhostbe_stats(p.be)->tx_frames, round * 32);
	}
	t_close(&p);
}

/*
 * A device that asked for a doorbell and then took frames unasked: its event
 * lies behind, and nothing that is announced from now on passes it.  Also whole
 * rings at a time, where each event has been passed at some time.
 */
static void test_vnet_rings_for_an_event_that_is_behind(void **state)
{
	static const unsigned int batches[] = { 1, 1, 3, 256, 256, 1, 255, 256, 128, 200, 256, 256 };
	struct vhostbe_opts bo = { .sz = sizeof(bo), .flags = VHOSTBE_ASKS_EARLY };
	uint8_t buf[64], got[64];
	struct vnet_seg seg = { buf, sizeof(buf) };
	unsigned int b, i, nr = 0, taken = 0;
	struct pair p;

	t_open(&p, NULL, &bo);
	for (b = 0; b < sizeof(batches) / sizeof(batches[0]); b++) {
		for (i = 0; i < batches[b]; i++) {
			t_frame(buf, nr++, sizeof(buf));
			assert_int_equal(vnet_tx_copy(p.v, &seg, 1, 0, 0), 0);
		}
		vnet_tx_flush(p.v);
		vhostbe_step(p.be);
		while (vhostbe_take(p.be, got, sizeof(got), NULL) == 64) {
			t_frame(buf, taken++, sizeof(buf));
			assert_memory_equal(got, buf, sizeof(buf));
		}
		assert_int_equal(taken, nr);
		assert_int_equal(vnet_tx_reap(p.v, NULL, NULL), batches[b]);
		assert_int_equal(vnet_stats(p.v)->doorbells_tx, b + 1);
	}
	t_close(&p);
}

static void t_busy(uint64_t features_off)
{
	struct vhostbe_opts bo = { .sz = sizeof(bo), .flags = VHOSTBE_BUSY };
	struct vnet_opts o = { .sz = sizeof(o), .features_off = features_off };
	uint8_t buf[64], got[64];
	struct vnet_seg seg = { buf, sizeof(buf) };
	unsigned int i;
	struct pair p;

	t_open(&p, &o, &bo);
	t_frame(buf, 1, sizeof(buf));
	for (i = 0; i < 100; i++) {
		assert_int_equal(vnet_tx_copy(p.v, &seg, 1, 0, 0), 0);
		vnet_tx_flush(p.v);
		vhostbe_step(p.be);
		vnet_tx_reap(p.v, NULL, NULL);
		assert_int_equal(vhostbe_take(p.be, got, sizeof(got), NULL), 64);
	}
	assert_int_equal(vnet_stats(p.v)->doorbells_tx, 0);
	assert_int_equal(vnet_stats(p.v)->doorbells_suppressed, 100);
	t_close(&p);
}

static void test_vnet_no_doorbell_for_a_polling_device(void **state)
{
	t_busy(0);
	t_busy(BIT(VIRTIO_RING_F_EVENT_IDX));
}

static bool t_readable(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}

static void t_sleep_and_wake(uint64_t features_off)
{
	struct vnet_opts o = { .sz = sizeof(o), .features_off = features_off };
	uint8_t buf[64];
	struct pair p;
	int fd;

	t_open(&p, &o, NULL);
	fd = vnet_irq_fd(p.v);
	assert_true(fd >= 0);
	t_frame(buf, 1, sizeof(buf));
	/* polling: none */
	assert_int_equal(vhostbe_inject(p.be, buf, sizeof(buf), NULL), 0);
	assert_false(t_readable(fd));
	/* a frame that came before arming: do not sleep, and none for it later */
	assert_false(vnet_irq_arm(p.v));
	assert_false(t_readable(fd));
	t_expect_rx(p.v, 1, sizeof(buf));
	/* armed: exactly one, for the first frame only */
	assert_true(vnet_irq_arm(p.v));
	assert_false(t_readable(fd));
	assert_int_equal(vhostbe_inject(p.be, buf, sizeof(buf), NULL), 0);
	assert_true(t_readable(fd));
	vnet_irq_disarm(p.v);
	assert_false(t_readable(fd));
	assert_int_equal(vnet_stats(p.v)->interrupts, 1);
	/* off again */
	assert_int_equal(vhostbe_inject(p.be, buf, sizeof(buf), NULL), 0);
	assert_false(t_readable(fd));
	vnet_irq_disarm(p.v);	/* harmless */
	t_expect_rx(p.v, 1, sizeof(buf));
	t_expect_rx(p.v, 1, sizeof(buf));
	assert_int_equal(vhostbe_stats(p.be)->calls, 1);
	assert_int_equal(vnet_irq_bind(p.v, NULL, 1), -EOPNOTSUPP);
	t_close(&p);
}

static void test_vnet_sleeps_and_wakes(void **state)
{
	t_sleep_and_wake(0);
	t_sleep_and_wake(BIT(VIRTIO_RING_F_EVENT_IDX));
}

static void test_vnet_lost_backend_stops_the_driver(void **state)
{
	unsigned int cookie = 0, calls = 0;
	const char *why = NULL;
	uint8_t buf[64];
	struct vnet_seg seg = { buf, sizeof(buf) };
	struct vnet_tx tx = { .seg = &seg, .nr_seg = 1, .cookie = &cookie };
	struct vnet_opts o = { .sz = sizeof(o) };
	struct vnet_rx rx;
	struct vhostbe *be;
	struct vnet *v;
	char path[64];

	snprintf(path, sizeof(path), "/tmp/test_vnet_lost.%d", (int)getpid());
	assert_int_equal(vhostbe_create(path, NULL, &be), 0);
	o.wait = t_step;
	o.wait_arg = be;
	assert_int_equal(vnet_open_vhost_user(path, &o, &v), 0);
	t_frame(buf, 1, sizeof(buf));
	assert_int_equal(vnet_tx(v, &tx), 0);
	assert_int_equal(vnet_check(v), 0);
	vhostbe_destroy(be);
	assert_int_equal(vnet_check(v), -EIO);
	assert_int_equal(vnet_error(v, &why), -EIO);
	assert_non_null(strstr(why, "lost"));
	assert_int_equal(vnet_tx(v, &tx), -EIO);
	assert_int_equal(vnet_rx_burst(v, &rx, 1), 0);
	assert_int_equal(vnet_tx_reap(v, t_done, &calls), 1);
	assert_int_equal(cookie, 1);
	assert_int_equal(vnet_tx_reap(v, t_done, &calls), 0);
	vnet_close(v);
}

static void test_vnet_stop_returns_cookies(void **state)
{
	unsigned int cookie = 0, calls = 0, i;
	uint8_t buf[64];
	struct vnet_seg seg = { buf, sizeof(buf) };
	struct vnet_tx tx = { .seg = &seg, .nr_seg = 1, .cookie = &cookie };
	struct pair p;

	t_open(&p, NULL, NULL);
	t_frame(buf, 1, sizeof(buf));
	for (i = 0; i < 3; i++)
		assert_int_equal(vnet_tx(p.v, &tx), 0);
	vnet_tx_flush(p.v);
	vnet_stop(p.v);
	assert_int_equal(vnet_error(p.v, NULL), -ESHUTDOWN);
	assert_false(vhostbe_running(p.be));
	assert_int_equal(vnet_tx_reap(p.v, t_done, &calls), 3);
	assert_int_equal(cookie, 3);
	assert_int_equal(vnet_tx(p.v, &tx), -EIO);
	assert_false(vnet_irq_arm(p.v));
	vnet_tx_flush(p.v);
	vnet_rx_flush(p.v);
	t_close(&p);
}

static void test_vnet_link_state_follows_check(void **state)
{
	struct pair p;

	t_open(&p, NULL, NULL);
	vhostbe_set_link(p.be, false);
	assert_true(vnet_link_up(p.v));
	assert_int_equal(vnet_check(p.v), 0);
	assert_false(vnet_link_up(p.v));
	vhostbe_set_link(p.be, true);
	assert_int_equal(vnet_check(p.v), 0);
	assert_true(vnet_link_up(p.v));
	t_close(&p);
}

static void test_vnet_can_be_opened_again(void **state)
{
	struct pair p;
	uint8_t buf[64];
	struct vnet_opts o = { .sz = sizeof(o) };

	t_open(&p, NULL, NULL);
	vnet_close(p.v);
	o.wait = t_step;
	o.wait_arg = p.be;
	assert_int_equal(vnet_open_vhost_user(p.path, &o, &p.v), 0);
	t_frame(buf, 9, sizeof(buf));
	assert_int_equal(vhostbe_inject(p.be, buf, sizeof(buf), NULL), 0);
	t_expect_rx(p.v, 9, sizeof(buf));
	assert_int_equal(vhostbe_stats(p.be)->connections, 2);
	t_close(&p);
}

static void test_vnet_echo_and_datagram_ports(void **state)
{
	uint8_t buf[64], got[64];
	struct vnet_seg seg = { buf, sizeof(buf) };
	struct vnet_rx rx;
	struct pair p;
	int sv[2];

	t_open(&p, NULL, NULL);
	t_frame(buf, 3, sizeof(buf));
	vhostbe_port_echo(p.be);
	assert_int_equal(vnet_tx_copy(p.v, &seg, 1, 34, 16), 0);
	vnet_tx_flush(p.v);
	vhostbe_step(p.be);
	assert_int_equal(vnet_rx_burst(p.v, &rx, 1), 1);
	assert_int_equal(rx.flags, VNET_RX_CSUM_OK);	/* partial, from the same host */
	assert_memory_equal(rx.data, buf + 6, 6);
	assert_memory_equal((uint8_t *)rx.data + 6, buf, 6);
	assert_memory_equal((uint8_t *)rx.data + 12, buf + 12, 52);
	vnet_rx_release(p.v, rx.id);

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), 0);
	assert_int_equal(vhostbe_port_fd(p.be, sv[0]), 0);
	assert_int_equal(vnet_tx_copy(p.v, &seg, 1, 0, 0), 0);
	vnet_tx_flush(p.v);
	vhostbe_step(p.be);
	assert_int_equal(recv(sv[1], got, sizeof(got), MSG_DONTWAIT), 64);
	assert_memory_equal(got, buf, 64);
	assert_int_equal(send(sv[1], got, 64, 0), 64);
	vhostbe_step(p.be);
	t_expect_rx(p.v, 3, 64);
	t_close(&p);
	close(sv[0]);
	close(sv[1]);
}

static void test_vnet_arena_has_its_size(void **state)
{
	struct vnet_opts o = { .sz = sizeof(o), .arena_bytes = 3 << 20 };
	uint8_t *a, *b;
	struct pair p;

	t_open(&p, &o, NULL);
	a = vnet_dma_alloc(p.v, 3 << 19, 4096);
	b = vnet_dma_alloc(p.v, 3 << 19, 1);
	assert_non_null(a);
	assert_non_null(b);
	assert_int_equal((uintptr_t)a % 4096, 0);
	assert_true(a + (3 << 19) <= b);
	assert_true(vnet_dma_contains(p.v, b, 3 << 19));
	memset(a, 1, 3 << 19);
	memset(b, 2, 3 << 19);
	assert_null(vnet_dma_alloc(p.v, 64 << 20, 1));
	assert_null(vnet_dma_alloc(p.v, 0, 1));
	assert_null(vnet_dma_alloc(p.v, 1, 3));
	assert_null(vnet_dma_alloc(p.v, 1, 8192));
	assert_false(vnet_dma_contains(p.v, b, SIZE_MAX));
	t_close(&p);
}

/* The back-end goes away and comes back; the interface lives on, in the same memory. */
static void test_vnet_restart_with_a_new_backend(void **state)
{
	struct vhostbe_opts bo = { .sz = sizeof(bo), .features_on = extra };
	unsigned int fds, round;
	uint8_t buf[2048];
	struct vnet_seg seg = { buf, 100 };
	struct pair p;
	int irq_fd;

	t_open(&p, NULL, NULL);
	fds = t_nr_fds();
	irq_fd = vnet_irq_fd(p.v);
	for (round = 1; round < 6; round++) {
		vhostbe_destroy(p.be);
		assert_int_equal(vnet_check(p.v), -EIO);
		assert_int_equal(vnet_restart(p.v, NULL, NULL), -ENOENT);	/* nobody there yet */
		assert_int_equal(vhostbe_create(p.path, &bo, &p.be), 0);
		assert_int_equal(vnet_restart(p.v, NULL, NULL), 0);
		assert_int_equal(vnet_irq_fd(p.v), irq_fd);
		assert_int_equal(t_nr_fds(), fds);
		t_frame(buf, round, 300);
		assert_int_equal(vhostbe_inject(p.be, buf, 300, NULL), 0);
		t_expect_rx(p.v, round, 300);
		t_frame(buf, round, 100);
		assert_int_equal(vnet_tx_copy(p.v, &seg, 1, 0, 0), 0);
		vnet_tx_flush(p.v);
		vhostbe_step(p.be);
		assert_int_equal(vhostbe_take(p.be, buf, sizeof(buf), NULL), 100);
		assert_int_equal(vnet_stats(p.v)->restarts, round);
	}
	t_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vnet_restart_with_a_new_backend),
		cmocka_unit_test(test_vnet_open_takes_what_the_device_says),
		cmocka_unit_test(test_vnet_open_without_backend_fails_cleanly),
		cmocka_unit_test(test_vnet_opts_are_checked),
		cmocka_unit_test(test_vnet_too_few_buffers_are_refused),
		cmocka_unit_test(test_vnet_receives),
		cmocka_unit_test(test_vnet_drops_runts),
		cmocka_unit_test(test_vnet_sends_copies),
		cmocka_unit_test(test_vnet_sends_without_copy_and_returns_the_cookie_once),
		cmocka_unit_test(test_vnet_tx_refuses_what_it_cannot_send),
		cmocka_unit_test(test_vnet_segmentation_is_left_to_the_device),
		cmocka_unit_test(test_vnet_segmentation_of_ipv6),
		cmocka_unit_test(test_vnet_datagrams_are_left_to_the_device),
		cmocka_unit_test(test_vnet_no_segmentation_without_checksums),
		cmocka_unit_test(test_vnet_checksum_offload_both_ways),
		cmocka_unit_test(test_vnet_without_offloads_refuses_them),
		cmocka_unit_test(test_vnet_legacy_backend_is_refused),
		cmocka_unit_test(test_vnet_indices_wrap_around),
		cmocka_unit_test(test_vnet_all_buffers_held_starves_and_recovers),
		cmocka_unit_test(test_vnet_full_transmit_ring_says_so),
		cmocka_unit_test(test_vnet_one_doorbell_per_batch),
		cmocka_unit_test(test_vnet_rings_for_an_event_that_is_behind),
		cmocka_unit_test(test_vnet_no_doorbell_for_a_polling_device),
		cmocka_unit_test(test_vnet_sleeps_and_wakes),
		cmocka_unit_test(test_vnet_lost_backend_stops_the_driver),
		cmocka_unit_test(test_vnet_stop_returns_cookies),
		cmocka_unit_test(test_vnet_link_state_follows_check),
		cmocka_unit_test(test_vnet_can_be_opened_again),
		cmocka_unit_test(test_vnet_echo_and_datagram_ports),
		cmocka_unit_test(test_vnet_arena_has_its_size),
	};

	int failed = cmocka_run_group_tests_name("split", tests, NULL, NULL);

	extra = BIT(VIRTIO_F_RING_PACKED);
	failed += cmocka_run_group_tests_name("packed", tests, NULL, NULL);
	extra |= BIT(VIRTIO_F_IN_ORDER);
	return failed + cmocka_run_group_tests_name("packed, in order", tests, NULL, NULL);
}
