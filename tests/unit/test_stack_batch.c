// SPDX-License-Identifier: MIT
/*
 * The batching delay W with a clock that only the test turns: never above W,
 * and let go early by ring occupancy and by end of input.
 */
#include "stack_rig.h"

#include <nomux/page_layout.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PORT 7
#define US 1000u
#define N 8

static struct rig rig;
static struct peer peer[N];
static struct seg seg;
static unsigned received, batch_ends;
static uint64_t received_ns;
static bool answer;

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	return c;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	received++;
	received_ns = rig.now_ns;
	if (answer)
		assert_int_equal(nomstack_tcp_send(c, "answer", 6, NOMSTACK_SEND_COPY), 0);
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
	if (!err)
		nomstack_tcp_close(c);
}

static void on_batch_end(void *arg)
{
	batch_ends++;
}

static const struct nomstack_tcp_ops ops = {
	.accept = on_accept, .recv = on_recv, .closed = on_closed, .batch_end = on_batch_end,
};

static void tick(unsigned us)
{
	rig.now_ns += us * (uint64_t)US;
	nomstack_poll(rig.s);
}

static void drain(void)
{
	while (rig_tx_pop_raw(&seg.frame))
		;
}

static void request(int i)
{
	peer_send(&peer[i], ACK | PSH, "request", 7);
}

/* @n connections open, all of which have spoken: they take part. */
static void begin(int n)
{
	rig_open(&rig, "10.0.0.2/24", 0);
	received = batch_ends = 0;
	answer = false;
	assert_int_equal(nomstack_tcp_listen(rig.s, PORT, 255, &ops, NULL), 0);
	for (int i = 0; i < n; i++) {
		peer_init(&peer[i], &rig, (uint16_t)(40000 + i), PORT);
		peer_handshake(&peer[i]);
		request(i);
		nomstack_poll(rig.s);
	}
	drain();
	/* Time between polls settles at 1 us. */
	for (int i = 0; i < 1000; i++)
		tick(1);
	received = batch_ends = 0;
}

static void test_zero_delivers_at_once(void **state)
{
	begin(2);
	answer = true;
	request(0);
	nomstack_poll(rig.s);
	assert_int_equal(received, 1);
	assert_int_equal(rig_tx_waiting(), 1);
	assert_int_equal(rig_stats(&rig).delay_max_ns_rx, 0);
	assert_int_equal(rig_stats(&rig).delay_max_ns_tx, 0);
	rig_close(&rig);
}

/* W = 0: one doorbell for what one poll found; batch_max = 1: one for each. */
static void test_batch_max(void **state)
{
	for (int strict = 0; strict < 2; strict++) {
		unsigned flushes, polls = 0;

		begin(N);
		answer = true;
		if (strict)
			rig_knob(&rig, "batch_max", 1);
		flushes = rig_device().tx_flushes;
		for (int i = 0; i < N; i++)
			request(i);
		while (nomstack_poll(rig.s))
			polls++;
		assert_int_equal(received, N);
		assert_int_equal(polls, strict ? N : 1);
		assert_int_equal(rig_device().tx_flushes - flushes, strict ? N : 1);
		assert_int_equal(batch_ends, polls);
		rig_close(&rig);
	}
}

/* Two take part, one has spoken: it waits for the other, and W at most. */
static void test_receive_waits_for_w_and_no_longer(void **state)
{
	static const unsigned steps[] = { 1, 3, 7, 10, 33 };

	for (size_t k = 0; k < sizeof(steps) / sizeof(steps[0]); k++) {
		uint64_t seen;

		begin(2);
		rig_knob(&rig, "w_rx_us", 100);
		for (int i = 0; i < 200; i++)
			tick(steps[k]);
		request(0);
		request(1);			/* keeps both among those who take part */
		tick(steps[k]);
		received = 0;
		request(0);
		tick(steps[k]);
		seen = rig.now_ns;
		assert_int_equal(received, 0);
		t_assert(nomstack_next_ns(rig.s) == 100 * US);
		t_assert(!nomstack_idle_prepare(rig.s));
		for (int i = 0; i < 300 && !received; i++)
			tick(steps[k]);
		assert_int_equal(received, 1);
		/* Not above W, and not more than two polls before it. */
		t_assert(received_ns - seen <= 100 * US);
		t_assert(received_ns - seen + 2 * steps[k] * US > 100 * US);
		t_assert(rig_stats(&rig).delay_max_ns_rx <= 100 * US);
		t_assert(rig_stats(&rig).delay_max_ns_rx > 0);
		rig_close(&rig);
	}
}

static void test_batch_goes_together(void **state)
{
	uint64_t seen;

	begin(4);
	rig_knob(&rig, "w_rx_us", 50);
	request(0);
	tick(1);
	seen = rig.now_ns;
	tick(10);
	request(1);
	tick(10);
	request(2);
	tick(10);
	assert_int_equal(received, 0);
	for (int i = 0; i < 100 && !received; i++)
		tick(1);
	/* The oldest decides: the younger ones go with it. */
	assert_int_equal(received, 3);
	assert_int_equal(batch_ends, 1);
	t_assert(received_ns - seen <= 50 * US);
	rig_close(&rig);
}

static void test_end_of_input_all_have_spoken(void **state)
{
	begin(4);
	rig_knob(&rig, "w_rx_us", 10000);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(received, 0);
		request(i);
		tick(1);
	}
	assert_int_equal(received, 4);
	t_assert(rig_stats(&rig).delay_max_ns_rx < 10 * US);
	/* The same connection twice is not two. */
	received = 0;
	request(0);
	request(0);
	request(1);
	request(2);
	tick(1);
	assert_int_equal(received, 0);
	request(3);
	tick(1);
	assert_int_equal(received, 5);
	rig_close(&rig);
}

/* More follows (no PSH): the connection has not finished speaking. */
static void test_end_of_input_needs_push(void **state)
{
	begin(1);
	rig_knob(&rig, "w_rx_us", 1000);
	peer_send(&peer[0], ACK, "first part", 10);
	tick(1);
	assert_int_equal(received, 0);
	peer_send(&peer[0], ACK, "second", 6);
	tick(1);
	assert_int_equal(received, 0);
	peer_send(&peer[0], ACK | PSH, "last", 4);
	tick(1);
	assert_int_equal(received, 3);
	/* PSH, and then more without: open again. */
	received = 0;
	peer_send(&peer[0], ACK | PSH, "a", 1);
	peer_send(&peer[0], ACK, "b", 1);
	tick(1);
	assert_int_equal(received, 0);
	for (int i = 0; i < 1001; i++)
		tick(1);
	assert_int_equal(received, 2);
	t_assert(rig_stats(&rig).delay_max_ns_rx <= 1000 * US);
	rig_close(&rig);
}

static void test_end_of_input_connection_closed(void **state)
{
	for (int rst = 0; rst < 2; rst++) {
		begin(3);
		rig_knob(&rig, "w_rx_us", 10000);
		request(0);
		tick(1);
		assert_int_equal(received, 0);
		peer_send(&peer[1], (rst ? RST : FIN) | ACK, NULL, 0);
		tick(1);
		assert_int_equal(received, 1);
		rig_close(&rig);
	}
}

/* Without connections nothing waits: neither the SYN nor ARP. */
static void test_no_connection_no_wait(void **state)
{
	begin(0);
	rig_knob(&rig, "w_us", 10000);
	peer_init(&peer[0], &rig, 40000, PORT);
	peer_send(&peer[0], SYN, NULL, 0);
	tick(1);
	t_assert(peer_recv(&peer[0], &seg));
	assert_int_equal(seg.flags, SYN | ACK);
	rig_close(&rig);
}

/* Open but silent connections do not count; after a silence the first who
 * speaks is not delayed. */
static void test_silent_connections_do_not_hold_others_up(void **state)
{
	begin(N);
	rig_knob(&rig, "w_rx_us", 5000);
	rig_run(&rig, 100);
	request(3);
	tick(1);
	assert_int_equal(received, 1);
	request(3);
	tick(1);
	assert_int_equal(received, 2);
	rig_close(&rig);
}

static void test_ring_occupancy_ends_the_wait(void **state)
{
	unsigned n = 0;

	begin(2);
	rig_knob(&rig, "w_rx_us", 100000);
	rig_knob(&rig, "batch_max", 256);
	while (!received && n < RIG_BUFS) {
		peer_send(&peer[0], ACK, "x", 1);
		n++;
		tick(1);
	}
	assert_int_equal(n, RIG_BUFS / 2);
	assert_int_equal(received, n);
	rig_close(&rig);
}

/* A batch larger than batch_max is finished poll by poll, without new waiting
 * and without losing order. */
static void test_released_batch_is_finished(void **state)
{
	begin(2);
	rig_knob(&rig, "w_rx_us", 100);
	rig_knob(&rig, "batch_max", 16);
	for (int i = 0; i < 50; i++)
		peer_send(&peer[0], ACK, "x", 1);
	nomstack_poll(rig.s);
	assert_int_equal(received, 0);
	for (int i = 0; i < 200 && !received; i++)
		tick(1);
	assert_int_equal(received, 16);
	assert_int_equal(nomstack_next_ns(rig.s), 0);
	assert_int_equal(nomstack_poll(rig.s), 16);
	assert_int_equal(nomstack_poll(rig.s), 16);
	assert_int_equal(nomstack_poll(rig.s), 2);
	assert_int_equal(received, 50);
	assert_int_equal(nomstack_poll(rig.s), 0);
	rig_close(&rig);
}

/* Batches in a histogram, from bin @from on. */
static uint64_t count(const uint64_t *bins, unsigned nr, unsigned from)
{
	uint64_t n = 0;

	for (; from < nr; from++)
		n += bins[from];
	return n;
}

/* Each batch stands in the bin of its size, and with W > 0 in that of its delay. */
static void test_histograms(void **state)
{
	struct nomstack_batches was, is;

	begin(8);
	answer = true;
	nomstack_batches(rig.s, &was);
	for (unsigned n = 1; n <= 8; n++) {
		for (unsigned i = 0; i < n; i++)
			request((int)i);
		nomstack_poll(rig.s);
		drain();
		nomstack_batches(rig.s, &is);
		for (unsigned bin = 0; bin < NOMSTACK_SIZE_BINS; bin++) {
			unsigned mine = bin == (n >= 8 ? 3 : n >= 4 ? 2 : n >= 2 ? 1 : 0);

			assert_int_equal(is.rx_size[bin] - was.rx_size[bin], mine);
			assert_int_equal(is.tx_size[bin] - was.tx_size[bin], mine);
		}
		was = is;
	}
	assert_int_equal(count(is.rx_delay, NOMSTACK_DELAY_BINS, 0), 0);
	assert_int_equal(count(is.tx_delay, NOMSTACK_DELAY_BINS, 0), 0);

	rig_knob(&rig, "w_us", 100);
	for (int i = 0; i < 1000; i++)
		tick(1);
	request(0);				/* and seven that take part are silent */
	for (int i = 0; i < 300; i++)
		tick(1);
	drain();
	nomstack_batches(rig.s, &is);
	assert_int_equal(is.rx_delay[7] - was.rx_delay[7], 1);	/* 64 to 127 us */
	assert_int_equal(is.tx_delay[7] - was.tx_delay[7], 1);
	assert_int_equal(count(is.rx_delay, NOMSTACK_DELAY_BINS, 0), 1);
	assert_int_equal(count(is.tx_delay, NOMSTACK_DELAY_BINS, 0), 1);
	assert_int_equal(rig_stats(&rig).rx_batches, count(is.rx_size, NOMSTACK_SIZE_BINS, 0));
	assert_int_equal(rig_stats(&rig).tx_batches, count(is.tx_size, NOMSTACK_SIZE_BINS, 0));
	rig_close(&rig);
}

/* The last bins have no end. */
static void test_histograms_have_room_for_all(void **state)
{
	struct nomstack_batches was, is;

	begin(2);
	rig_knob(&rig, "batch_max", 256);
	for (int i = 0; i < 100; i++)
		peer_send(&peer[0], ACK, "x", 1);
	nomstack_batches(rig.s, &was);
	nomstack_poll(rig.s);
	nomstack_batches(rig.s, &is);
	assert_int_equal(is.rx_size[6] - was.rx_size[6], 1);
	rig_knob(&rig, "w_rx_us", 100);
	request(0);
	nomstack_poll(rig.s);
	rig.now_ns += UINT64_C(3600000000000);	/* descheduled for an hour */
	nomstack_poll(rig.s);
	nomstack_batches(rig.s, &is);
	assert_int_equal(is.rx_delay[NOMSTACK_DELAY_BINS - 1], 1);
	drain();
	rig_close(&rig);
}

static void test_transmit_waits_for_w_and_no_longer(void **state)
{
	static const unsigned steps[] = { 1, 4, 9, 25 };

	for (size_t k = 0; k < sizeof(steps) / sizeof(steps[0]); k++) {
		unsigned flushes;
		uint64_t queued;

		begin(2);
		answer = true;
		rig_knob(&rig, "w_tx_us", 100);
		for (int i = 0; i < 200; i++)
			tick(steps[k]);
		request(0);
		request(1);
		tick(steps[k]);
		drain();
		flushes = rig_device().tx_flushes;
		request(0);
		tick(steps[k]);
		queued = rig.now_ns;
		t_assert(rig_device().tx_queued == 1);
		t_assert(nomstack_next_ns(rig.s) == 100 * US);
		for (int i = 0; i < 300 && !rig_tx_waiting(); i++)
			tick(steps[k]);
		assert_int_equal(rig_device().tx_flushes, flushes + 1);
		t_assert(rig_tx_pop_raw(&seg.frame));
		t_assert(seg.frame.when_ns - queued <= 100 * US);
		t_assert(seg.frame.when_ns - queued + 2 * steps[k] * US > 100 * US);
		t_assert(rig_stats(&rig).delay_max_ns_tx <= 100 * US);
		t_assert(rig_stats(&rig).delay_max_ns_tx > 0);
		rig_close(&rig);
	}
}

static void test_transmit_ends_when_all_are_answered(void **state)
{
	begin(4);
	answer = true;
	rig_knob(&rig, "w_tx_us", 10000);
	for (int i = 0; i < 4; i++) {
		request(i);
		tick(1);
	}
	/* begin() answered nobody, so these four are one batch. */
	assert_int_equal(rig_device().tx_queued, 0);
	assert_int_equal(rig_tx_waiting(), 4);
	drain();
	for (int i = 0; i < 3; i++) {
		request(i);
		tick(1);
	}
	assert_int_equal(rig_tx_waiting(), 0);
	assert_int_equal(rig_device().tx_queued, 3);
	request(3);
	tick(1);
	assert_int_equal(rig_tx_waiting(), 4);
	rig_close(&rig);
}

static void test_transmit_ring_nearly_full_ends_the_wait(void **state)
{
	unsigned n = 0;

	begin(2);
	rig_knob(&rig, "w_tx_us", 100000);
	assert_int_equal(nomstack_udp_bind(rig.s, 99, NULL, NULL), -EINVAL);
	drain();
	/* Acknowledgements pile up: every second segment brings one. */
	while (!rig_tx_waiting() && n < 2000) {
		peer_send(&peer[0], ACK, "x", 1);
		n++;
		tick(1);
	}
	t_assert(rig_tx_waiting() > 256 * 3 / 4 && rig_tx_waiting() <= 256 * 3 / 4 + 2);
	rig_close(&rig);
}

/* The knob is live, in both directions, also while frames are held. */
static void test_live_changes(void **state)
{
	int64_t v;

	begin(2);
	rig_knob(&rig, "w_us", 10000);
	assert_int_equal(nomstack_knob_get(rig.s, "w_rx_us", &v), 0);
	assert_int_equal(v, 10000);
	assert_int_equal(nomstack_knob_get(rig.s, "w_tx_us", &v), 0);
	assert_int_equal(v, 10000);
	request(0);
	tick(1);
	assert_int_equal(received, 0);
	rig_knob(&rig, "w_us", 0);
	tick(1);
	assert_int_equal(received, 1);
	rig_knob(&rig, "w_rx_us", 5);
	assert_int_equal(nomstack_knob_get(rig.s, "w_us", &v), 0);
	assert_int_equal(v, 5);
	assert_int_equal(nomstack_knob_set(rig.s, "w_us", -1), -ERANGE);
	assert_int_equal(nomstack_knob_set(rig.s, "w_us", 100001), -ERANGE);
	assert_int_equal(nomstack_knob_set(rig.s, "batch_max", 0), -ERANGE);
	assert_int_equal(nomstack_knob_set(rig.s, "no such", 0), -ENOENT);
	assert_int_equal(nomstack_knob_get(rig.s, "no such", &v), -ENOENT);
	assert_int_equal(nomstack_knob_get(rig.s, "w_us", &v), 0);
	assert_int_equal(v, 5);
	rig_close(&rig);
}

static void test_knob_table_is_complete(void **state)
{
	static const char *const names[] = { "w_us", "w_rx_us", "w_tx_us", "batch_max", "zc_min_bytes", "tso_max", "rx_join_max",
					     "nagle", "keepalive_s", "cc", "icmp_per_s", "reass_max", "reass_share",
					     "reass_s" };
	const struct nomstack_knob *k;
	unsigned nr, i, j;
	int64_t v;

	begin(0);
	k = nomstack_knobs(&nr);
	assert_int_equal(nr, sizeof(names) / sizeof(names[0]));
	for (i = 0; i < nr; i++) {
		for (j = 0; j < nr && strcmp(names[j], k[i].name); j++)
			;
		t_assert(j < nr);
		/* what an application's page has room for */
		t_assert(strlen(k[i].effect) < sizeof(((struct nomux_pl_knob *)0)->effect));
		t_assert(k[i].unit && k[i].min <= k[i].def && k[i].def <= k[i].max);
		assert_int_equal(nomstack_knob_get(rig.s, k[i].name, &v), 0);
		assert_int_equal(v, k[i].def);
		assert_int_equal(nomstack_knob_set(rig.s, k[i].name, k[i].max), 0);
		assert_int_equal(nomstack_knob_get(rig.s, k[i].name, &v), 0);
		assert_int_equal(v, k[i].max);
		assert_int_equal(nomstack_knob_set(rig.s, k[i].name, k[i].max + 1), -ERANGE);
		assert_int_equal(nomstack_knob_set(rig.s, k[i].name, k[i].min), 0);
	}
	rig_close(&rig);
}

/* Random traffic, random steps below a known maximum: W is never exceeded in
 * either direction, nothing is lost, nothing stays. */
static void test_never_above_w_random(void **state)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		uint64_t x = seed * 7919, w = 20 + seed * 13;
		struct nomstack_batches b;
		unsigned sent = 0;

		begin(N);
		answer = true;
		for (int i = 0; i < 300; i++)
			tick(5);
		rig_knob(&rig, "w_us", (int64_t)w);
		for (int i = 0; i < 2000; i++) {
			unsigned n = (unsigned)(rig_random(&x) % 10), who = (unsigned)(rig_random(&x) % N);

			if (n < 4) {
				request((int)who);
				sent++;
			}
			tick(5);
			while (peer_recv(&peer[rig_random(&x) % N], &seg))
				;
		}
		for (int i = 0; i < 500; i++)
			tick(5);
		drain();
		assert_int_equal(received, sent);
		t_assert(rig_stats(&rig).delay_max_ns_rx <= w * US);
		t_assert(rig_stats(&rig).delay_max_ns_tx <= w * US);
		nomstack_batches(rig.s, &b);
		for (unsigned i = 1; i < NOMSTACK_DELAY_BINS; i++)
			if (1u << (i - 1) > w)
				assert_int_equal(b.rx_delay[i] + b.tx_delay[i], 0);
		assert_int_equal(rig_device().rx_held, 0);
		assert_int_equal(rig_device().tx_queued, 0);
		rig_close(&rig);
	}
}

/* Frames that lie about their lengths are held and let go like others. */
static void test_held_frames_are_not_trusted(void **state)
{
	uint64_t x = 4242;

	begin(2);
	rig_knob(&rig, "w_rx_us", 50);
	for (int i = 0; i < 20000; i++) {
		uint8_t f[RIG_FRAME];
		unsigned n = peer_frame(&peer[0], f, ACK | PSH, peer[0].seq, peer[0].ack, "data", 4);

		for (unsigned k = 0; k < 3; k++)
			f[rig_random(&x) % n] = (uint8_t)rig_random(&x);
		n -= (unsigned)(rig_random(&x) % 20);
		if (n < 14)
			n = 14;
		rig_inject(&rig, f, n, 0);
		tick(1);
		drain();
	}
	for (int i = 0; i < 100; i++)
		tick(1);
	drain();
	t_assert(rig_stats(&rig).delay_max_ns_rx <= 50 * US);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zero_delivers_at_once),
		cmocka_unit_test(test_batch_max),
		cmocka_unit_test(test_receive_waits_for_w_and_no_longer),
		cmocka_unit_test(test_batch_goes_together),
		cmocka_unit_test(test_end_of_input_all_have_spoken),
		cmocka_unit_test(test_end_of_input_needs_push),
		cmocka_unit_test(test_end_of_input_connection_closed),
		cmocka_unit_test(test_no_connection_no_wait),
		cmocka_unit_test(test_silent_connections_do_not_hold_others_up),
		cmocka_unit_test(test_ring_occupancy_ends_the_wait),
		cmocka_unit_test(test_released_batch_is_finished),
		cmocka_unit_test(test_histograms),
		cmocka_unit_test(test_histograms_have_room_for_all),
		cmocka_unit_test(test_transmit_waits_for_w_and_no_longer),
		cmocka_unit_test(test_transmit_ends_when_all_are_answered),
		cmocka_unit_test(test_transmit_ring_nearly_full_ends_the_wait),
		cmocka_unit_test(test_live_changes),
		cmocka_unit_test(test_knob_table_is_complete),
		cmocka_unit_test(test_never_above_w_random),
		cmocka_unit_test(test_held_frames_are_not_trusted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
