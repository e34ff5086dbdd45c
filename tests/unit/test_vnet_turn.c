// SPDX-License-Identifier: MIT
/*
 * vnet_tx_turn(): a received buffer goes back as an answer, through the real
 * rings.  Each test for split and packed rings.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "nomdrv/vnet.h"
#include "../../userdrivers/vhostbe/vhostbe.h"

#define BIT(n)	(1ULL << (n))

static uint64_t extra;
static struct vhostbe *be;
static struct vnet *v;
static unsigned int reaped;

static void t_step(void *arg)
{
	vhostbe_step(be);
}

static void t_open(uint64_t off)
{
	struct vnet_opts o = { .sz = sizeof(o), .features_off = off, .queue_size = 16, .arena_bytes = 64 << 10, .wait = t_step };
	struct vhostbe_opts b = { .sz = sizeof(b), .features_on = extra };
	char path[64];

	snprintf(path, sizeof(path), "/tmp/test_vnet_turn.%d", (int)getpid());
	assert_int_equal(vhostbe_create(path, &b, &be), 0);
	assert_int_equal(vnet_open_vhost_user(path, &o, &v), 0);
	reaped = 0;
}

static void t_close(void)
{
	assert_null(vhostbe_last_error(be));
	vnet_close(v);
	vhostbe_destroy(be);
}

static void t_done(void *cookie, void *arg)
{
	vnet_rx_release(v, (uint16_t)((uintptr_t)cookie - 1));
	reaped++;
}

/* The next received frame, of @len bytes of @fill. */
static struct vnet_rx t_receive(uint8_t fill, size_t len)
{
	uint8_t frame[2034];
	struct vnet_rx rx;

	memset(frame, fill, len);
	assert_int_equal(vhostbe_inject(be, frame, len, NULL), 0);
	assert_int_equal(vnet_rx_burst(v, &rx, 1), 1);
	assert_int_equal(rx.len, len);
	return rx;
}

static int t_turn(const struct vnet_rx *rx, uint32_t len, uint16_t start, uint16_t offset)
{
	return vnet_tx_turn(v, rx->id, len, start, offset, (void *)((uintptr_t)rx->id + 1));
}

static void test_vnet_turn_sends_what_was_written_into_the_buffer(void **state)
{
	static const size_t lens[] = { 14, 60, 117, 1514 };
	uint8_t got[2048], want[2048];
	unsigned int i;

	t_open(0);
	for (i = 0; i < 4; i++) {
		struct vnet_rx rx = t_receive(0x11, 60);
		unsigned int room = vnet_tx_room(v);

		memset(rx.data, 0x40 + (int)i, lens[i]);	/* longer than what came, too */
		memset(want, 0x40 + (int)i, lens[i]);
		assert_int_equal(t_turn(&rx, (uint32_t)lens[i], 0, 0), 0);
		assert_int_equal(room - vnet_tx_room(v), 1);
		vnet_tx_flush(v);
		vhostbe_step(be);
		assert_int_equal(vhostbe_take(be, got, sizeof(got), NULL), lens[i]);
		assert_memory_equal(got, want, lens[i]);
		vnet_tx_reap(v, t_done, NULL);
		assert_int_equal(reaped, i + 1);
		vnet_rx_flush(v);
	}
	assert_int_equal(vnet_rx_room(v), 16);
	assert_int_equal(vnet_stats(v)->tx_turned, 4);
	assert_int_equal(vnet_stats(v)->tx_copies, 0);
	t_close();
}

/* The header in the buffer was the device's; what it said of the received frame must not go out again. */
static void test_vnet_turn_writes_a_header_of_its_own(void **state)
{
	struct vhostbe_meta in = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6 }, out;
	uint8_t frame[64] = { 0 }, got[64];
	struct vnet_rx rx;

	t_open(0);
	assert_int_equal(vhostbe_inject(be, frame, sizeof(frame), &in), 0);
	assert_int_equal(vnet_rx_burst(v, &rx, 1), 1);
	assert_int_equal(t_turn(&rx, 64, 0, 0), 0);
	vnet_tx_flush(v);
	vhostbe_step(be);
	assert_int_equal(vhostbe_take(be, got, sizeof(got), &out), 64);
	assert_int_equal(out.flags, 0);
	vnet_tx_reap(v, t_done, NULL);

	rx = t_receive(0, 64);
	assert_int_equal(t_turn(&rx, 64, 34, 6), 0);
	vnet_tx_flush(v);
	vhostbe_step(be);
	assert_int_equal(vhostbe_take(be, got, sizeof(got), &out), 64);
	assert_int_equal(out.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(out.csum_start, 34);
	assert_int_equal(out.csum_offset, 6);
	assert_int_equal(vnet_stats(v)->tx_csum_offload, 1);
	vnet_tx_reap(v, t_done, NULL);
	t_close();
}

static void test_vnet_turn_refuses_what_cannot_be_sent(void **state)
{
	struct vnet_rx rx;

	t_open(0);
	rx = t_receive(0, 64);
	assert_int_equal(t_turn(&rx, 13, 0, 0), -EINVAL);
	assert_int_equal(t_turn(&rx, 1519, 0, 0), -EINVAL);	/* MTU 1500, and a VLAN tag */
	assert_int_equal(t_turn(&rx, 64, 34, 29), -EINVAL);
	assert_int_equal(t_turn(&rx, UINT32_MAX, 0, 0), -EINVAL);
	assert_int_equal(t_turn(&rx, 64, 34, 28), 0);
	t_close();

	t_open(BIT(VIRTIO_NET_F_CSUM));
	rx = t_receive(0, 64);
	assert_int_equal(t_turn(&rx, 64, 34, 6), -EINVAL);	/* never negotiated */
	assert_int_equal(t_turn(&rx, 64, 0, 0), 0);
	t_close();
}

static void test_vnet_turn_says_when_the_ring_is_full(void **state)
{
	struct vnet_rx rx[17];
	unsigned int i;

	t_open(0);
	for (i = 0; i < 17; i++) {
		rx[i] = t_receive((uint8_t)i, 64);
		vnet_rx_flush(v);
	}
	for (i = 0; i < 16; i++)
		assert_int_equal(t_turn(&rx[i], 64, 0, 0), 0);
	assert_int_equal(t_turn(&rx[16], 64, 0, 0), -EAGAIN);
	assert_int_equal(vnet_stats(v)->tx_full, 1);
	vnet_tx_flush(v);
	vhostbe_step(be);
	vnet_tx_reap(v, t_done, NULL);
	assert_int_equal(reaped, 16);
	assert_int_equal(t_turn(&rx[16], 64, 0, 0), 0);
	t_close();
}

/* A buffer that the device reads when it is reset comes back once, by its cookie. */
static void test_vnet_turn_comes_back_from_a_stopped_device(void **state)
{
	struct vnet_rx rx;

	t_open(0);
	rx = t_receive(1, 64);
	assert_int_equal(t_turn(&rx, 64, 0, 0), 0);
	vnet_tx_flush(v);
	vnet_stop(v);
	assert_int_equal(t_turn(&rx, 64, 0, 0), -EIO);
	vnet_tx_reap(v, t_done, NULL);
	vnet_tx_reap(v, t_done, NULL);
	assert_int_equal(reaped, 1);
	vnet_close(v);
	vhostbe_destroy(be);
}

/* A datagram's headers in a received buffer, and @len bytes of it. */
static struct vnet_turn t_datagram(const struct vnet_rx *rx, uint32_t len, uint32_t all)
{
	uint8_t *f = rx->data;

	memset(f, 0, 42);
	memcpy(f + 12, "\x08\x00\x45", 3);
	f[23] = 17;
	f[16] = (uint8_t)((28 + all) >> 8);
	f[17] = (uint8_t)(28 + all);
	f[38] = (uint8_t)((8 + all) >> 8);
	f[39] = (uint8_t)(8 + all);
	return (struct vnet_turn){ rx->id, 0, 42 + len };
}

static void test_vnet_turn_several_buffers_as_one_frame(void **state)
{
	struct vnet_turn part[4];
	struct vnet_rx rx[4];
	uint8_t got[2048];
	unsigned int i, k;

	t_open(0);
	for (i = 0; i < 4; i++) {
		rx[i] = t_receive((uint8_t)(i + 1), 542);
		vnet_rx_flush(v);
		part[i] = (struct vnet_turn){ rx[i].id, 42, i < 3 ? 500 : 77 };
	}
	part[0] = t_datagram(&rx[0], 500, 3 * 500 + 77);
	assert_int_equal(vnet_tx_turn_cut(v, part, 4, 34, 6, 500, 42, (void *)((uintptr_t)rx[0].id + 1)), 0);
	assert_int_equal(vnet_tx_room(v), 16 - 4);
	vnet_tx_flush(v);
	vhostbe_step(be);
	assert_null(vhostbe_last_error(be));
	for (i = 0; i < 4; i++) {
		unsigned int n = i < 3 ? 500 : 77;

		assert_int_equal(vhostbe_take(be, got, sizeof(got), NULL), 42 + n);
		assert_int_equal(got[38] << 8 | got[39], 8 + n);
		for (k = 42; k < 42 + n; k++)
			assert_int_equal(got[k], i + 1);
	}
	assert_int_equal(vnet_stats(v)->tx_uso, 1);
	assert_int_equal(vnet_stats(v)->tx_packets, 1);
	/* one cookie for all; the others are the caller's to release */
	assert_int_equal(vnet_tx_reap(v, t_done, NULL), 4);
	assert_int_equal(reaped, 1);
	for (i = 1; i < 4; i++)
		vnet_rx_release(v, rx[i].id);
	assert_int_equal(vnet_tx_room(v), 16);
	t_close();
}

static void test_vnet_turn_refuses_what_cannot_be_cut(void **state)
{
	struct vnet_turn part[VNET_USO_MAX + 1];
	struct vnet_rx rx[2];
	unsigned int i;

	t_open(0);
	for (i = 0; i < 2; i++)
		rx[i] = t_receive(1, 542);
	part[0] = t_datagram(&rx[0], 500, 1000);
	for (i = 1; i <= VNET_USO_MAX; i++)
		part[i] = (struct vnet_turn){ rx[1].id, 42, 500 };
#define CUT(nr, start, offset, gso, hdr) vnet_tx_turn_cut(v, part, nr, start, offset, gso, hdr, NULL)
	assert_int_equal(CUT(0, 34, 6, 500, 42), -EINVAL);
	assert_int_equal(CUT(VNET_USO_MAX + 1, 34, 6, 500, 42), -EINVAL);
	assert_int_equal(CUT(17, 34, 6, 500, 42), -EINVAL);	/* the ring has 16 */
	assert_int_equal(CUT(2, 0, 6, 500, 42), -EINVAL);
	assert_int_equal(CUT(2, 34, 6, 0, 42), -EINVAL);
	assert_int_equal(CUT(2, 34, 6, 15, 42), -EINVAL);	/* 67 datagrams */
	assert_int_equal(CUT(2, 34, 6, 500, 41), -EINVAL);
	assert_int_equal(CUT(2, 34, 5, 500, 42), -EINVAL);
	assert_int_equal(CUT(2, 34, 16, 500, 42), -EINVAL);
	assert_int_equal(CUT(2, 42, 6, 500, 50), 0);		/* options are the caller's business */
	part[1].len = 0;
	assert_int_equal(CUT(2, 34, 6, 500, 42), -EINVAL);
	part[1].len = VNET_FRAME_MAX_BYTES - 41;
	assert_int_equal(CUT(2, 34, 6, 500, 42), -EINVAL);
	part[1].len = 500;
	part[1].at = VNET_FRAME_MAX_BYTES + 1;
	assert_int_equal(CUT(2, 34, 6, 500, 42), -EINVAL);
	part[1].at = 42;
	part[0].at = 1;
	assert_int_equal(CUT(2, 34, 6, 500, 42), -EINVAL);
	part[0].at = 0;
	part[0].len = 41;					/* headers in two */
	assert_int_equal(CUT(2, 34, 6, 500, 42), -EINVAL);
	part[0].len = 542;
	assert_int_equal(vnet_tx_queued(v), 1);
	for (i = 0; i < 7; i++)
		assert_int_equal(CUT(2, 34, 6, 500, 42), 0);
	assert_int_equal(CUT(2, 34, 6, 500, 42), -EAGAIN);
	vnet_stop(v);
	assert_int_equal(CUT(2, 34, 6, 500, 42), -EIO);
	vnet_close(v);
	vhostbe_destroy(be);

	t_open(BIT(VIRTIO_NET_F_HOST_USO));
	rx[0] = t_receive(1, 542);
	part[0] = t_datagram(&rx[0], 500, 500);
	assert_int_equal(CUT(1, 34, 6, 100, 42), -EINVAL);
	t_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vnet_turn_sends_what_was_written_into_the_buffer),
		cmocka_unit_test(test_vnet_turn_writes_a_header_of_its_own),
		cmocka_unit_test(test_vnet_turn_refuses_what_cannot_be_sent),
		cmocka_unit_test(test_vnet_turn_says_when_the_ring_is_full),
		cmocka_unit_test(test_vnet_turn_comes_back_from_a_stopped_device),
		cmocka_unit_test(test_vnet_turn_several_buffers_as_one_frame),
		cmocka_unit_test(test_vnet_turn_refuses_what_cannot_be_cut),
	};
	int failed = cmocka_run_group_tests_name("split", tests, NULL, NULL);

	extra = BIT(VIRTIO_F_RING_PACKED);
	failed += cmocka_run_group_tests_name("packed", tests, NULL, NULL);
	extra |= BIT(VIRTIO_F_IN_ORDER);
	return failed + cmocka_run_group_tests_name("packed, in order", tests, NULL, NULL);
}
