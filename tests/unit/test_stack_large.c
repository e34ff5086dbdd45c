// SPDX-License-Identifier: MIT
/*
 * Large receive: frames in several buffers that hold many segments, on the real
 * driver with a device that merges buffers (stack_rig_vhost.c).  The application
 * gets the same bytes as without, ACKs come as often as RFC 1122 (4.2.3.2) wants,
 * and every buffer comes back: rig_close() looks.  Then a device that joins nothing,
 * whose bursts the stack joins.
 */
#include "stack_rig.h"
#include "bytes.h"
#include "internal.h"
#include "look.h"

#include <nomstack/look_layout.h>

#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define PORT 7
#define TOTAL 400000u
#define LARGE (1ull << VIRTIO_NET_F_MRG_RXBUF | 1ull << VIRTIO_NET_F_GUEST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO6)
#define HEADERS (six ? 74u : 54u)

static bool six;		/* over IPv6 */
static struct rig rig;
static struct peer peer;
static struct seg seg;
static uint32_t got;		/* bytes the application has */
static unsigned calls;
static uint64_t frames_before;	/* rx_packets before the peer spoke */

static uint8_t content(uint32_t at)
{
	return (uint8_t)(at * 31 + (at >> 8) * 7);
}

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	return c;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	calls++;
	for (uint32_t i = 0; i < len; i++)
		t_assert(((const uint8_t *)data)[i] == content(got + i));
	got += len;
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
	nomstack_tcp_close(c);
}

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

static void begin_with(uint64_t features)
{
	got = calls = 0;
	if (six)
		rig_open6(&rig, features);
	else
		rig_open(&rig, "10.0.0.2/24", features);
	frames_before = rig_stats(&rig).rx_packets;
	t_assert((vnet_features(rig.v) & LARGE) == features);
	t_assert(nomstack_tcp_listen(rig.s, PORT, 8, &ops, NULL) == 0);
	(six ? peer_init6 : peer_init)(&peer, &rig, 40000, PORT);
	peer.rx_flags = VNET_RX_CSUM_OK;
	peer.scale = 2;
	peer_handshake(&peer);
}

static void begin(void)
{
	begin_with(LARGE);
}

/* Bytes [from, from + len) of the stream; @gso 0: as an ordinary frame. */
static bool data_at(uint32_t base, uint32_t from, uint32_t len, unsigned flags, unsigned gso)
{
	static uint8_t f[70000];
	uint8_t *t = f + HEADERS - 20;
	uint16_t sum;
	unsigned n;

	memset(t, 0, 20);
	put16(t, peer.port);
	put16(t + 2, PORT);
	put32(t + 4, base + from);
	put32(t + 8, peer.ack);
	t[12] = 5 << 4;
	t[13] = (uint8_t)(ACK | flags);
	put16(t + 14, peer.window);
	for (uint32_t i = 0; i < len; i++)
		t[20 + i] = content(from + i);
	if (!gso) {
		sum = six ? t_csum6(peer.ip6, peer.to_ip6, 6, t, 20 + len) :
			    t_csum(t, 20 + len, (PEER_IP >> 16) + (PEER_IP & 0xffff) + (RIG_IP >> 16) +
				   (RIG_IP & 0xffff) + 6 + 20 + len);
		memcpy(t + 16, &sum, 2);
	}
	n = six ? t_ip6_frame(&rig, f, peer.ip6, peer.to_ip6, 6, 64, t, 20 + len) :
		  t_ip_frame(&rig, f, PEER_IP, RIG_IP, 6, t, 20 + len);
	return gso ? rig_inject_large(&rig, f, n, gso) : rig_inject(&rig, f, n, 0);
}

/* Polls; the last ACK that came, or 0. */
static uint32_t ack_now(void)
{
	uint32_t ack = 0;

	nomstack_poll(rig.s);
	while (peer_recv(&peer, &seg))
		ack = seg.ack;
	return ack;
}

static void test_in_order(void **state)
{
	const uint32_t sizes[] = { 29200, 2920, 65160, 1461, 4000, UINT16_MAX - HEADERS };
	uint32_t base, at = 0, i;

	begin();
	base = peer.seq;
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		t_assert(data_at(base, at, sizes[i], i & 1 ? PSH : 0, 1460));
		at += sizes[i];
		t_assert(ack_now() == base + at);	/* two segments or more: at once */
		t_assert(got == at);
	}
	t_assert(rig_stats(&rig).tcp_predicted >= i);
	/* frames, not buffers: the handshake, and over IPv6 who the peer is */
	t_assert(rig_stats(&rig).rx_packets - frames_before == i + 2 + six);
	t_assert(vnet_stats(rig.v)->rx_large == i);
	rig_close(&rig);
}

/* The device may call large what is one segment: that ACK is delayed, as any. */
static void test_one_segment_is_one(void **state)
{
	uint32_t base;

	begin();
	base = peer.seq;
	t_assert(data_at(base, 0, 1000, PSH, 1460));
	t_assert(ack_now() == 0 && got == 1000);
	t_assert(data_at(base, 1000, 1000, PSH, 1460));
	t_assert(ack_now() == base + 2000);
	/* and one of unknown size is several */
	t_assert(data_at(base, 2000, 100, PSH, 1));
	t_assert(ack_now() == base + 2100);
	rig_close(&rig);
}

/* Bytes behind what IP calls its own are nobody's, in whatever buffer they lie. */
static void test_padding(void **state)
{
	static uint8_t f[8000], bytes[1400];
	uint32_t base, i;

	begin();
	base = peer.seq;
	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = content(i);
	peer_frame(&peer, f, ACK, base, peer.ack, bytes, sizeof(bytes));
	t_assert(rig_inject_large(&rig, f, 5000, 1400));
	ack_now();
	t_assert(got == 1400);
	t_assert(data_at(base, 1400, 100, PSH, 0));
	ack_now();
	t_assert(got == 1500);
	rig_close(&rig);
}

/* With options or FIN it goes the long way, which is no other. */
static void test_fin(void **state)
{
	uint32_t base;

	begin();
	base = peer.seq;
	t_assert(data_at(base, 0, 30000, FIN | PSH, 1460));
	t_assert(ack_now() == base + 30001 && got == 30000);
	rig_close(&rig);
}

static void test_out_of_order(void **state)
{
	uint32_t base;

	begin();
	base = peer.seq;
	t_assert(data_at(base, 14600, 14600, 0, 1460));
	t_assert(ack_now() == base);
	t_assert(got == 0);
	t_assert(data_at(base, 29200, 14600, 0, 1460));
	t_assert(ack_now() == base);
	/* what is there already, half of it, and the gap */
	t_assert(data_at(base, 7300, 14600, 0, 1460));
	ack_now();
	t_assert(data_at(base, 0, 14600, 0, 1460));
	t_assert(ack_now() == base + 43800);
	t_assert(got == 43800);
	rig_close(&rig);
}

/* Held back for W, or dealt out one at a time: no frame is torn. */
static void test_held_and_dealt_out(void **state)
{
	static const int64_t waits[] = { 0, 5000 }, batches[] = { 1, 2, 64 };
	unsigned w, b, i;

	for (w = 0; w < 2; w++) {
		for (b = 0; b < 3; b++) {
			uint32_t base, at = 0;

			begin();
			base = peer.seq;
			rig_knob(&rig, "w_rx_us", waits[w]);
			rig_knob(&rig, "batch_max", batches[b]);
			for (i = 0; i < 5; i++) {
				t_assert(data_at(base, at, 20000, i == 4 ? PSH : 0, 1460));
				at += 20000;
				t_assert(data_at(base, at, 500, i == 4 ? PSH : 0, 0));
				at += 500;
			}
			nomstack_poll(rig.s);
			if (!w && batches[b] == 1)
				t_assert(got == 20000);
			for (i = 0; i < 20; i++)
				rig_run(&rig, 1);
			t_assert(got == at);
			rig_close(&rig);
		}
	}
}

/* Any frames in any order, some of them lost: the stream arrives, and the ring does not run dry. */
static void test_random(void **state)
{
	uint64_t dice, seed;

	for (seed = 1; seed <= 30; seed++) {
		uint32_t base, next = 0, turns;

		begin();
		base = peer.seq;
		dice = seed * 0x9e3779b97f4a7c15;
		rig_knob(&rig, "w_rx_us", seed % 3 * 500);
		rig_knob(&rig, "batch_max", seed % 4 ? 64 : 1);
		for (turns = 0; turns < 20000 && got < TOTAL; turns++) {
			uint32_t len = rig_random(&dice) % 2 ? 1 + rig_random(&dice) % 60000 : 1 + rig_random(&dice) % 1460;
			uint32_t from = next, jump = rig_random(&dice) % 100 < 20 ? rig_random(&dice) % 30000 : 0;

			from += jump;
			len = from + len > next + 60000 ? 1 : len;
			if (from + len > TOTAL)
				len = from < TOTAL ? TOTAL - from : 0;
			if (len)
				data_at(base, from, len, rig_random(&dice) % 2 ? PSH : 0, len > 1460 ? 1460 : 0);
			if (!jump && rig_random(&dice) % 4)
				next = from + len;
			rig_run(&rig, 1 + (unsigned)(rig_random(&dice) % 3));
			while (peer_recv(&peer, &seg))
				if (rig_random(&dice) % 10)
					next = seg.ack - base;
		}
		t_assert(got == TOTAL);
		rig_close(&rig);
	}
}

/* A trace shows the frame whole, as far as it keeps frames, whatever buffers it lay in. */
static void test_traced_whole(void **state)
{
	static const uint32_t keep[] = { 4096, 1000 };
	static uint8_t ring[NOMSTACK_LK_RING];
	struct nomstack_lk_header hdr;
	struct nomstack_lk_frame f;
	struct look look;
	uint32_t base, i, k;

	for (k = 0; k < 2; k++) {
		begin();
		base = peer.seq;
		memset(&hdr, 0, sizeof(hdr));
		look = (struct look){ .hdr = &hdr, .ring = ring, .trace_until_ns = UINT64_MAX, .snap_bytes = keep[k] };
		rig.s->look = &look;
		rig.s->tap = true;
		t_assert(data_at(base, 0, 10000, PSH, 1460));
		nomstack_poll(rig.s);
		t_assert(got == 10000);
		memcpy(&f, ring, sizeof(f));
		t_assert(f.wire_bytes == 10000 + HEADERS && f.bytes == keep[k]);
		for (i = 0; i < keep[k] - HEADERS; i++)
			t_assert(ring[sizeof(f) + HEADERS + i] == content(i));
		/* one frame, and not one for each buffer */
		t_assert(look.head == ((sizeof(f) + keep[k] + 7) & ~7ull));
		rig.s->look = NULL;
		rig.s->tap = false;
		rig_close(&rig);
	}
}

/* A buffer each: what small frames were, they are. */
static void test_small_frames(void **state)
{
	uint32_t base, i;

	begin();
	base = peer.seq;
	for (i = 0; i < 600; i++) {
		t_assert(data_at(base, i * 100, 100, PSH, 0));
		ack_now();
	}
	t_assert(got == 60000 && calls == 600);
	t_assert(vnet_stats(rig.v)->rx_large == 0 && vnet_stats(rig.v)->rx_merged == 0);
	rig_close(&rig);
}

static int over_ip6(void **state)
{
	six = true;
	return 0;
}

/* Polls; how many ACKs came, the last one's number in *ack_out. */
static unsigned acks_now(uint32_t *ack_out)
{
	unsigned nr = 0;

	nomstack_poll(rig.s);
	for (; peer_recv(&peer, &seg); nr++)
		*ack_out = seg.ack;
	return nr;
}

static void burst(uint32_t base, uint32_t from, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		t_assert(data_at(base, from + i * 1460, 1460, i + 1 == nr ? PSH : 0, 0));
}

static void test_burst_is_joined(void **state)
{
	uint32_t base, ack = 0;

	begin_with(0);
	base = peer.seq;
	burst(base, 0, 20);
	t_assert(acks_now(&ack) == 1 && ack == base + 29200);
	t_assert(got == 29200 && calls == 20 && rig.s->rx_joined == 20);
	/* a segment alone is one: its ACK waits for company */
	burst(base, 29200, 1);
	t_assert(acks_now(&ack) == 0 && got == 30660 && rig.s->rx_joined == 20);
	burst(base, 30660, 2);
	t_assert(acks_now(&ack) == 1 && ack == base + 33580 && rig.s->rx_joined == 22);
	/* the last may be short */
	t_assert(data_at(base, 33580, 1460, 0, 0) && data_at(base, 35040, 7, PSH, 0));
	t_assert(acks_now(&ack) == 1 && ack == base + 35047 && rig.s->rx_joined == 24);
	t_assert(rig_stats(&rig).tcp_predicted >= 4);
	rig_close(&rig);
}

/* 44 at a time at most, and no more than a pbuf's length holds. */
static void test_long_bursts_are_joined_in_parts(void **state)
{
	uint32_t base, ack = 0;

	begin_with(0);
	base = peer.seq;
	burst(base, 0, 60);
	t_assert(acks_now(&ack) == 2 && ack == base + 60 * 1460 && got == 60 * 1460 && rig.s->rx_joined == 60);
	rig_close(&rig);
}

/* What does not go on where the last one ended, or says something else, begins anew. */
static void test_what_differs_is_not_joined(void **state)
{
	uint32_t base, ack = 0;

	begin_with(0);
	base = peer.seq;
	burst(base, 0, 3);
	peer.window -= 100;
	burst(base, 3 * 1460, 3);
	t_assert(acks_now(&ack) == 2 && ack == base + 6 * 1460 && got == 6 * 1460 && rig.s->rx_joined == 6);
	/* a gap: the second run waits, and is asked for by duplicate ACKs */
	burst(base, 7 * 1460, 3);
	t_assert(acks_now(&ack) >= 3 && ack == base + 6 * 1460 && got == 6 * 1460 && rig.s->rx_joined == 6);
	burst(base, 6 * 1460, 1);
	acks_now(&ack);
	t_assert(ack == base + 10 * 1460 && got == 10 * 1460);
	/* all of it again, and on */
	burst(base, 8 * 1460, 5);
	acks_now(&ack);
	t_assert(got == 13 * 1460 && ack >= base + 12 * 1460);	/* three new ones, each by itself */
	rig_close(&rig);
}

/* A sum that is wrong in the middle of a run: what is before it counts, what is behind waits. */
static void test_spoilt_segment_ends_a_run(void **state)
{
	static uint8_t f[1600], bytes[1460];
	uint32_t base, ack = 0, i;
	uint64_t bad;

	begin_with(0);
	base = peer.seq;
	bad = rig_stats(&rig).drop_csum;
	burst(base, 0, 3);
	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = content(3 * 1460 + i);
	i = peer_frame(&peer, f, ACK, base + 3 * 1460, peer.ack, bytes, sizeof(bytes));
	f[700] ^= 1;
	t_assert(rig_inject(&rig, f, i, 0));
	burst(base, 4 * 1460, 3);
	acks_now(&ack);
	t_assert(got == 3 * 1460 && ack == base + 3 * 1460 && rig_stats(&rig).drop_csum == bad + 1);
	burst(base, 3 * 1460, 1);
	acks_now(&ack);
	t_assert(got == 7 * 1460 && ack == base + 7 * 1460);
	rig_close(&rig);
}

/* Runs of any length, torn, doubled and out of order: the stream arrives. */
static void test_random_bursts(void **state)
{
	uint64_t joined = 0;

	for (uint64_t round = 1; round <= 30; round++) {
		uint64_t dice = round * 0x9e3779b97f4a7c15;
		uint32_t base, next = 0, turns;

		begin_with(0);
		base = peer.seq;
		rig_knob(&rig, "w_rx_us", round % 3 * 500);
		for (turns = 0; turns < 20000 && got < TOTAL; turns++) {
			uint32_t from = next + (rig_random(&dice) % 100 < 15 ? rig_random(&dice) % 6000 : 0), nr = rig_random(&dice) % 40;

			for (; nr && from < TOTAL && from < next + 50000; nr--) {
				uint32_t len = rig_random(&dice) % 10 ? 1460 : 1 + rig_random(&dice) % 1460;

				len = from + len > TOTAL ? TOTAL - from : len;
				if (rig_random(&dice) % 50)
					data_at(base, from, len, nr % 5 ? 0 : PSH, 0);
				from += rig_random(&dice) % 60 ? len : len / 2;
			}
			rig_run(&rig, 1 + (unsigned)(rig_random(&dice) % 3));
			while (peer_recv(&peer, &seg))
				next = seg.ack - base;
		}
		t_assert(got == TOTAL);
		joined += rig.s->rx_joined;
		rig_close(&rig);
	}
	t_assert(joined > 30 * 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_order),
		cmocka_unit_test(test_one_segment_is_one),
		cmocka_unit_test(test_padding),
		cmocka_unit_test(test_fin),
		cmocka_unit_test(test_out_of_order),
		cmocka_unit_test(test_held_and_dealt_out),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_traced_whole),
		cmocka_unit_test(test_small_frames),
	};
	const struct CMUnitTest bursts[] = {
		cmocka_unit_test(test_burst_is_joined),
		cmocka_unit_test(test_long_bursts_are_joined_in_parts),
		cmocka_unit_test(test_what_differs_is_not_joined),
		cmocka_unit_test(test_spoilt_segment_ends_a_run),
		cmocka_unit_test(test_random_bursts),
	};
	int failed = cmocka_run_group_tests_name("IPv4", tests, NULL, NULL);

	failed += cmocka_run_group_tests_name("the stack joins, IPv4", bursts, NULL, NULL);
	return failed + cmocka_run_group_tests_name("IPv6", tests, over_ip6, NULL);
}
