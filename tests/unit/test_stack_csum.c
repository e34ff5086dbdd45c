// SPDX-License-Identifier: MIT
/*
 * Checksums: our function against the definition, and offload in both
 * directions, on and off.
 */
#include "stack_rig.h"

#include "internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PORT 7

static struct rig rig;
static struct peer peer;
static struct seg seg;
static unsigned received;
static bool answer;

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	return c;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	received += len;
	if (answer)
		nomstack_tcp_send(c, data, len, NOMSTACK_SEND_COPY);
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
}

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

static void begin(uint64_t features)
{
	rig_open(&rig, "10.0.0.2/24", features);
	received = 0;
	answer = false;
	assert_int_equal(nomstack_tcp_listen(rig.s, PORT, 255, &ops, NULL), 0);
	peer_init(&peer, &rig, 40000, PORT);
	peer_handshake(&peer);
}

/* Every length and alignment up to a frame, random and extreme contents. */
static void test_sum_equals_definition(void **state)
{
	static uint8_t buf[1600 + 16];
	uint64_t x = 99;

	for (int fill = 0; fill < 4; fill++) {
		for (size_t i = 0; i < sizeof(buf); i++)
			buf[i] = fill == 0 ? 0 : fill == 1 ? 0xff : (uint8_t)rig_random(&x);
		for (unsigned len = 0; len <= 1600; len = len < 130 ? len + 1 : len + 37)
			for (unsigned at = 0; at < 9; at++) {
				uint16_t want = (uint16_t)~t_csum(buf + at, len, 0);
				uint16_t have = nomstack__chksum(buf + at, (int)len);
				uint16_t shorter = nomstack__chksum_short(buf + at, (int)len);

				/* 0 and 0xffff are the same number in one's complement. */
				t_assert(have == want || (have | want) == 0xffff);
				t_assert(shorter == have || (have | shorter) == 0xffff);
				t_assert((have == 0) == (shorter == 0));
			}
	}
}

static void test_receive_flag_skips_the_check(void **state)
{
	for (int offload = 0; offload < 2; offload++) {
		begin((uint64_t)offload);
		/* Unflagged and wrong: dropped, whatever the device can do. */
		peer.bad_csum = true;
		peer_send_at(&peer, ACK | PSH, peer.seq, "wrong", 5);
		nomstack_poll(rig.s);
		assert_int_equal(received, 0);
		assert_int_equal(rig_stats(&rig).drop_csum, 1);
		/* Flagged: the sum is not looked at. */
		peer.rx_flags = VNET_RX_CSUM_OK;
		peer_send_at(&peer, ACK | PSH, peer.seq, "vouch", 5);
		nomstack_poll(rig.s);
		assert_int_equal(received, 5);
		/* The flag belongs to the packet, not to its buffer. */
		peer.seq += 5;
		peer.rx_flags = 0;
		for (int i = 0; i < 2 * RIG_BUFS; i++) {
			peer_send_at(&peer, ACK | PSH, peer.seq, "wrong", 5);
			nomstack_poll(rig.s);
		}
		assert_int_equal(received, 5);
		assert_int_equal(rig_stats(&rig).drop_csum, 1 + 2 * RIG_BUFS);
		peer.bad_csum = false;
		peer_send(&peer, ACK | PSH, "right", 5);
		nomstack_poll(rig.s);
		assert_int_equal(received, 10);
		rig_close(&rig);
	}
}

/* The flag never covers the IP header. */
static void test_ip_sum_is_always_checked(void **state)
{
	uint8_t f[RIG_FRAME];
	unsigned n;

	begin(1);
	n = peer_frame(&peer, f, ACK | PSH, peer.seq, peer.ack, "hello", 5);
	f[24] ^= 0x10;
	t_assert(rig_inject(&rig, f, n, VNET_RX_CSUM_OK));
	nomstack_poll(rig.s);
	assert_int_equal(received, 0);
	assert_int_equal(rig_stats(&rig).drop_csum, 1);
	rig_close(&rig);
}

/* The peer checks every sum it gets; here that they come from the right place.
 * Odd lengths, copies and zero copies. */
static void test_transmit(void **state)
{
	static char data[1461];

	for (int offload = 0; offload < 2; offload++)
		for (int zc = 0; zc < 2; zc++) {
			begin((uint64_t)offload);
			answer = true;
			rig_knob(&rig, "zc_min_bytes", zc ? 0 : 2048);
			for (unsigned len = 1; len <= 1460; len = len * 2 + 1) {
				for (unsigned i = 0; i < len; i++)
					data[i] = (char)(i * 3 + len);
				peer_send(&peer, ACK | PSH, data, len);
				nomstack_poll(rig.s);
				t_assert(peer_recv(&peer, &seg));
				assert_int_equal(seg.len, len);
				assert_memory_equal(seg.data, data, len);
				assert_int_equal(seg.frame.csum_start, offload ? 34 : 0);
				assert_int_equal(seg.frame.csum_offset, offload ? 16 : 0);
				assert_int_equal(seg.frame.zero_copy, zc);
				peer.ack += len;
			}
			/* Resets of unknown ports are built elsewhere in lwIP. */
			peer.dport = 999;
			peer_send(&peer, SYN, NULL, 0);
			nomstack_poll(rig.s);
			t_assert(peer_recv(&peer, &seg));
			t_assert(seg.flags & RST);
			rig_close(&rig);
		}
}

/* A retransmission has its sum computed anew, not added to the old one. */
static void test_retransmission_has_a_right_sum(void **state)
{
	for (int offload = 0; offload < 2; offload++)
		for (int zc = 0; zc < 2; zc++) {
			unsigned n = 0;

			begin((uint64_t)offload);
			answer = true;
			rig_knob(&rig, "zc_min_bytes", zc ? 0 : 2048);
			peer_send(&peer, ACK | PSH, "again and again", 15);
			nomstack_poll(rig.s);
			rig_run(&rig, 20000);
			while (peer_recv(&peer, &seg))
				n += seg.len == 15;
			t_assert(n >= 3);
			rig_close(&rig);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sum_equals_definition),
		cmocka_unit_test(test_receive_flag_skips_the_check),
		cmocka_unit_test(test_ip_sum_is_always_checked),
		cmocka_unit_test(test_transmit),
		cmocka_unit_test(test_retransmission_has_a_right_sum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
