// SPDX-License-Identifier: MIT
/*
 * What no sane peer sends: truncated at every length, lying about lengths,
 * wrong sums, fragments, the land attack, noise.  Each costs bounded work (at
 * most one answer, no memory kept), and the connection beside it goes on.
 *
 * The rig poisons what lies behind a frame, so that reading beyond it is a
 * sanitizer report; rig_close() counts what is left.
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

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	return c;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	volatile uint8_t sum = 0;

	for (uint32_t i = 0; i < len; i++)
		sum += ((const uint8_t *)data)[i];
	received += len;
	nomstack_tcp_send(c, data, len, NOMSTACK_SEND_COPY);
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
	if (!err)
		nomstack_tcp_close(c);
}

static void on_udp(struct nomstack *s, void *arg, const void *data, uint32_t len, uint32_t ip4_be, uint16_t port)
{
	nomstack_udp_send(s, 9, ip4_be, port, data, len);
}

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

static void begin(void)
{
	rig_open(&rig, "10.0.0.2/24", 0);
	received = 0;
	assert_int_equal(nomstack_tcp_listen(rig.s, PORT, 64, &ops, NULL), 0);
	assert_int_equal(nomstack_udp_bind(rig.s, 9, on_udp, NULL), 0);
	peer_init(&peer, &rig, 40000, PORT);
	peer_handshake(&peer);
}

/* Send it, count the answers, let none pile up. */
static unsigned feed(const void *frame, unsigned len, unsigned flags)
{
	struct rig_device_counts d;
	unsigned answers = 0;

	t_assert(rig_inject(&rig, frame, len, flags));
	nomstack_poll(rig.s);
	while (rig_tx_pop_raw(&seg.frame))
		answers++;
	d = rig_device();
	t_assert(d.rx_held <= RIG_BUFS / 4);
	return answers;
}

static void still_works(void)
{
	char buf[8];

	peer_send(&peer, ACK | PSH, "alive?", 6);
	nomstack_poll(rig.s);
	assert_int_equal(peer_recv_data(&peer, buf, sizeof(buf)), 6);
	assert_memory_equal(buf, "alive?", 6);
}

static void ip_sum(uint8_t *f)
{
	uint16_t sum;
	unsigned hdr = (f[14] & 15) * 4u;

	f[24] = f[25] = 0;
	sum = t_csum(f + 14, hdr, 0);
	memcpy(f + 24, &sum, 2);
}

/* Whole, correct frames of every protocol we know. */
static unsigned sample(int what, uint8_t *f)
{
	uint8_t body[1480] = { 0 };
	uint16_t sum;

	switch (what) {
	case 0:
		return peer_frame(&peer, f, ACK | PSH, peer.seq, peer.ack, "some data here", 14);
	case 1: {
		struct peer other = peer;

		other.port = 41000;
		return peer_frame(&other, f, SYN, 1, 0, NULL, 0);
	}
	case 2:		/* UDP, no sum */
		memcpy(body, "\x03\x09\x00\x09\x00\x18\x00\x00", 8);
		return t_ip_frame(&rig, f, PEER_IP, RIG_IP, 17, body, 24);
	case 3:		/* ping */
		body[0] = 8;
		sum = t_csum(body, 40, 0);
		memcpy(body + 2, &sum, 2);
		return t_ip_frame(&rig, f, PEER_IP, RIG_IP, 1, body, 40);
	case 4:		/* ARP request */
		memset(f, 0, 60);
		memcpy(f, vnet_mac(rig.v), 6);
		memcpy(f + 6, rig.peer_mac, 6);
		memcpy(f + 12, "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01", 10);
		memcpy(f + 22, rig.peer_mac, 6);
		memcpy(f + 28, "\x0a\x00\x00\x01", 4);
		memcpy(f + 38, "\x0a\x00\x00\x02", 4);
		return 60;
	case 5:		/* IP and TCP with options */
		peer_frame(&peer, f, ACK | PSH, peer.seq, peer.ack, "\x01\x01\x08\x0a" "01234567" "payload", 19);
		f[46] = 8 << 4;		/* 12 bytes of options: NOP NOP timestamp */
		f[50] = f[51] = 0;
		sum = t_csum(f + 34, 39, 0x0a00 + 1 + 0x0a00 + 2 + 6 + 39);
		memcpy(f + 50, &sum, 2);
		return 34 + 39;
	case 6:		/* UDP to somebody else, whose port might be DHCP's */
		memcpy(body, "\x00\x43\x00\x44\x00\x18\x00\x00", 8);
		return t_ip_frame(&rig, f, PEER_IP, RIG_IP ^ 0xff, 17, body, 24);
	default:
		return 0;
	}
}

#define NR_SAMPLES 7

static void test_truncated_at_every_length(void **state)
{
	uint8_t f[RIG_FRAME];

	begin();
	for (int what = 0; what < NR_SAMPLES; what++) {
		unsigned n = sample(what, f), len;

		for (len = 14; len < n; len++) {
			/* ARP is padded: 42 bytes are enough. */
			unsigned answers = feed(f, len, VNET_RX_CSUM_OK);

			t_assert(answers <= (what == 4 && len >= 42));
		}
	}
	assert_int_equal(received, 0);
	assert_int_equal(rig_stats(&rig).tcp_active, 1);
	t_assert(rig_stats(&rig).drop_proto > 0);
	still_works();
	rig_close(&rig);
}

/* Truncated, with IP's total length telling the truth about it. */
static void test_truncated_with_honest_ip_length(void **state)
{
	uint8_t f[RIG_FRAME], g[RIG_FRAME];

	begin();
	for (int what = 0; what < NR_SAMPLES; what++) {
		unsigned n = sample(what, f), len;

		if (what == 4)
			continue;
		for (len = 34; len < n; len++) {
			memcpy(g, f, n);
			g[16] = (uint8_t)((len - 14) >> 8);
			g[17] = (uint8_t)(len - 14);
			ip_sum(g);
			t_assert(feed(g, len, 0) <= 1);
			t_assert(feed(g, len, what == 0 || what == 5 ? 0 : VNET_RX_CSUM_OK) <= 1);
		}
	}
	assert_int_equal(received, 0);
	still_works();
	rig_close(&rig);
}

static void test_every_header_byte_every_value(void **state)
{
	uint8_t f[RIG_FRAME], g[RIG_FRAME];
	struct nomstack_stats st;

	begin();
	for (int what = 0; what < NR_SAMPLES; what++) {
		unsigned n = sample(what, f), at, end = n < 74 ? n : 74;

		for (at = 12; at < end; at++)
			for (int v = 0; v < 256; v++) {
				/* A changed ARP answer may also free a waiting packet. */
				unsigned most = what == 4 ? 2 : 1;

				memcpy(g, f, n);
				g[at] = (uint8_t)v;
				t_assert(feed(g, n, 0) <= most);
				if (what != 4 && at >= 14 && at < 34 && at != 24 && at != 25) {
					/* The same with the header's sum put right. */
					if ((g[14] & 15) >= 5 && (g[14] & 15) * 4u <= n - 14) {
						ip_sum(g);
						t_assert(feed(g, n, 0) <= 1);
					}
				}
			}
	}
	st = rig_stats(&rig);
	t_assert(st.drop_csum > 1000);
	t_assert(st.ip_bad > 1000);
	t_assert(st.drop_proto > 1000);
	rig_close(&rig);
}

static void test_fragments_are_dropped(void **state)
{
	uint8_t f[RIG_FRAME];
	struct rig_device_counts d;

	begin();
	for (int what = 0; what < 4; what++)
		for (int k = 0; k < 600; k++) {
			unsigned n = sample(what, f);

			f[20] = (uint8_t)(k & 1 ? 0x20 : 0);	/* more fragments, and/or an offset */
			f[21] = (uint8_t)(k >> 1);
			if (!f[20] && !f[21])
				continue;
			f[18] = (uint8_t)k;
			ip_sum(f);
			assert_int_equal(feed(f, n, 0), 0);
		}
	d = rig_device();
	assert_int_equal(d.rx_held, 0);
	assert_int_equal(received, 0);
	still_works();
	rig_close(&rig);
}

/* From our own address and port to itself: it must not answer for ever. */
static void test_land(void **state)
{
	struct peer land;
	uint8_t f[RIG_FRAME];

	begin();
	for (int flags = 0; flags < 64; flags++) {
		unsigned answers;

		peer_init(&land, &rig, PORT, PORT);
		land.ip = RIG_IP;
		land.ack = 77;
		answers = feed(f, peer_frame(&land, f, (unsigned)flags, 1000, 77, NULL, 0), 0);
		/* It asks who has our address at most; nothing goes back in. */
		t_assert(answers <= 1);
		for (int i = 0; i < 5; i++)
			rig_run(&rig, 10);
		while (rig_tx_pop_raw(&seg.frame))
			;
	}
	rig_run(&rig, 30000);
	while (rig_tx_pop_raw(&seg.frame))
		;
	t_assert(rig_pcbs() == 1);
	still_works();
	rig_close(&rig);
}

/* From addresses nobody has: broadcast, multicast, loopback, zero. */
static void test_impossible_addresses(void **state)
{
	static const uint32_t bad[] = { 0xffffffff, 0x0a0000ff, 0xe0000001, 0x7f000001, 0, 0x0a000000 };
	uint8_t f[RIG_FRAME];

	begin();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		for (int what = 0; what < 6; what++) {
			struct peer p = peer;
			unsigned n;

			if (what == 4)
				continue;
			p.ip = bad[i];
			p.port = 42000;
			if (what < 2) {
				n = peer_frame(&p, f, what ? SYN : ACK, 1, 1, NULL, 0);
			} else {
				n = sample(what, f);
				f[26] = (uint8_t)(bad[i] >> 24);
				f[27] = (uint8_t)(bad[i] >> 16);
				f[28] = (uint8_t)(bad[i] >> 8);
				f[29] = (uint8_t)bad[i];
				ip_sum(f);
			}
			t_assert(feed(f, n, 0) <= 1);
			/* To such an address. */
			n = sample(what, f);
			f[30] = (uint8_t)(bad[i] >> 24);
			f[31] = (uint8_t)(bad[i] >> 16);
			f[32] = (uint8_t)(bad[i] >> 8);
			f[33] = (uint8_t)bad[i];
			ip_sum(f);
			t_assert(feed(f, n, VNET_RX_CSUM_OK) <= 1);
		}
	still_works();
	rig_run(&rig, 60000);
	while (rig_tx_pop_raw(&seg.frame))
		;
	rig_close(&rig);
}

static void test_options_of_all_lengths(void **state)
{
	uint8_t f[RIG_FRAME], opts[40];
	uint64_t x = 31337;
	uint16_t sum;

	begin();
	for (int i = 0; i < 20000; i++) {
		struct peer p = peer;
		unsigned words = 5 + (unsigned)(rig_random(&x) % 11), n;
		unsigned len = words * 4 - 20;

		for (unsigned k = 0; k < len; k++)
			opts[k] = (uint8_t)(rig_random(&x) % (i & 1 ? 256 : 9));
		p.port = (uint16_t)(43000 + i % 50);
		n = peer_frame(&p, f, i & 2 ? ACK : ACK | PSH, p.seq, p.ack, opts, len);
		f[46] = (uint8_t)(words << 4);
		if (i % 3 == 0)
			f[47] = SYN;
		f[50] = f[51] = 0;
		sum = t_csum(f + 34, 20 + len, 0x0a00 + 1 + 0x0a00 + 2 + 6 + 20 + len);
		memcpy(f + 50, &sum, 2);
		t_assert(feed(f, n, 0) <= 1);
	}
	rig_run(&rig, 25000);
	while (rig_tx_pop_raw(&seg.frame))
		;
	still_works();
	rig_close(&rig);
}

/* One byte a segment, asked for at the start or in the middle. */
static void test_tiny_mss(void **state)
{
	uint8_t f[RIG_FRAME], big[1000] = { 0 };
	struct peer p;
	uint16_t sum;
	unsigned n, got = 0;

	begin();
	p = peer;
	p.port = 43999;
	n = peer_frame(&p, f, SYN, 5000, 0, NULL, 0);
	f[56] = 0;
	f[57] = 1;
	f[50] = f[51] = 0;
	sum = t_csum(f + 34, 24, 0x0a00 + 1 + 0x0a00 + 2 + 6 + 24);
	memcpy(f + 50, &sum, 2);
	t_assert(rig_inject(&rig, f, n, 0));
	nomstack_poll(rig.s);
	t_assert(peer_recv(&p, &seg));
	p.seq = 5001;
	p.ack = seg.seq + 1;
	peer_send(&p, ACK | PSH, big, sizeof(big));
	nomstack_poll(rig.s);
	while (peer_recv(&p, &seg))
		got++;
	t_assert(got >= 1 && got <= 12);

	/* In the middle it means nothing. */
	memcpy(big, "\x02\x04\x00\x01", 4);
	n = peer_frame(&peer, f, ACK | PSH, peer.seq, peer.ack, big, 1000);
	f[46] = 6 << 4;
	f[50] = f[51] = 0;
	sum = t_csum(f + 34, 1020, 0x0a00 + 1 + 0x0a00 + 2 + 6 + 1020);
	memcpy(f + 50, &sum, 2);
	t_assert(rig_inject(&rig, f, n, 0));
	nomstack_poll(rig.s);
	t_assert(peer_recv(&peer, &seg));
	assert_int_equal(seg.len, 996);
	rig_close(&rig);
}

/* 100,000 frames of noise, and of real frames with some bytes changed. */
static void test_noise(void **state)
{
	static const uint64_t seeds[] = { 1, 0xdeadbeef, 0x123456789abcdef, 42 };
	uint8_t f[RIG_FRAME];

	for (size_t k = 0; k < sizeof(seeds) / sizeof(seeds[0]); k++) {
		uint64_t x = seeds[k];
		unsigned answers = 0;

		begin();
		rig_knob(&rig, "w_rx_us", k == 3 ? 20 : 0);
		for (int i = 0; i < 25000; i++) {
			unsigned n;

			if (i & 1) {
				n = 14 + (unsigned)(rig_random(&x) % 1500);
				for (unsigned b = 0; b < n; b += 8) {
					uint64_t r = rig_random(&x);

					memcpy(f + b, &r, 8);
				}
				if (i & 2)
					memcpy(f, vnet_mac(rig.v), 6);
				if (i & 4)
					memcpy(f + 12, "\x08\x00\x45", 3);
			} else {
				n = sample((int)(rig_random(&x) % NR_SAMPLES), f);
				for (unsigned b = (unsigned)(rig_random(&x) % 4); b > 0; b--)
					f[rig_random(&x) % n] = (uint8_t)rig_random(&x);
				if (rig_random(&x) % 2 && (f[14] & 15) >= 5 && (f[14] & 15) * 4u <= n - 14)
					ip_sum(f);
				if (rig_random(&x) % 8 == 0)
					n = 14 + (unsigned)(rig_random(&x) % (n - 13));
			}
			rig.now_ns += 10000;
			/* Timers add retransmissions of what was half opened. */
			answers += feed(f, n, rig_random(&x) & 1 ? VNET_RX_CSUM_OK : 0);
		}
		t_assert(answers <= 25000);
		/* What was half opened gives up; the backlog is free again. */
		for (int i = 0; i < 25; i++) {
			rig_run(&rig, 1000);
			while (rig_tx_pop_raw(&seg.frame))
				;
		}
		/* A fresh connection is served, whatever happened to the old one. */
		rig_knob(&rig, "w_rx_us", 0);
		rig_arp(&rig, PEER_IP, rig.peer_mac);
		peer_init(&peer, &rig, 50000, PORT);
		peer_handshake(&peer);
		still_works();
		rig_close(&rig);
	}
}

/* A flood of SYNs: the backlog bounds what is kept, and time frees it. */
static void test_syn_flood(void **state)
{
	uint8_t f[RIG_FRAME];
	uint64_t x = 7;
	struct peer p;

	begin();
	for (int i = 0; i < 5000; i++) {
		p = peer;
		p.ip = 0x0a000000 | (uint32_t)(10 + rig_random(&x) % 200);
		p.port = (uint16_t)rig_random(&x);
		feed(f, peer_frame(&p, f, SYN, (uint32_t)rig_random(&x), 0, NULL, 0), 0);
		t_assert(rig_pcbs() <= 1 + 64);
	}
	t_assert(rig_stats(&rig).tcp_refused >= 4000);
	still_works();
	rig_run(&rig, 25000);
	while (rig_tx_pop_raw(&seg.frame))
		;
	assert_int_equal(rig_pcbs(), 1);
	still_works();
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_truncated_at_every_length),
		cmocka_unit_test(test_truncated_with_honest_ip_length),
		cmocka_unit_test(test_every_header_byte_every_value),
		cmocka_unit_test(test_fragments_are_dropped),
		cmocka_unit_test(test_land),
		cmocka_unit_test(test_impossible_addresses),
		cmocka_unit_test(test_options_of_all_lengths),
		cmocka_unit_test(test_tiny_mss),
		cmocka_unit_test(test_noise),
		cmocka_unit_test(test_syn_flood),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
