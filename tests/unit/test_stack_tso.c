// SPDX-License-Identifier: MIT
/*
 * Segmentation offload, hosted: stack, virtio driver, rings, and a device that
 * cuts long frames up (userdrivers/vhostbe/be_tso.c, which shares nothing
 * with the stack).  The rig's peer checks each packet that arrives as it would
 * any other: sums, lengths, sequence numbers.
 */
#include "stack_rig.h"

#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define PORT 7
#define MSS (six ? 1440u : 1460u)
#define TOTAL 600000u

static bool six;		/* over IPv6 */
static struct rig rig;
static struct seg seg;
static uint32_t acked;
static struct nomstack_conn *conn[4];
static unsigned nr_conn;
static uint8_t *file;
static uint8_t got[TOTAL];

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	return conn[nr_conn++] = c;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len) { }

static void on_sent(struct nomstack_conn *c, void *arg, uint32_t n)
{
	acked += n;
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
	if (!err)
		nomstack_tcp_close(c);
}

static const struct nomstack_tcp_ops ops = {
	.accept = on_accept, .recv = on_recv, .sent = on_sent, .closed = on_closed,
};

/* Connections whose peers acknowledge by hand, and a file in DMA memory. */
static void begin(struct peer *p, unsigned nr, int offload)
{
	acked = 0;
	nr_conn = 0;
	if (six)
		rig_open6(&rig, (uint64_t)offload);
	else
		rig_open(&rig, "10.0.0.2/24", (uint64_t)offload);
	assert_int_equal(nomstack_tcp_listen(rig.s, PORT, 255, &ops, NULL), 0);
	for (unsigned i = 0; i < nr; i++) {
		(six ? peer_init6 : peer_init)(&p[i], &rig, (uint16_t)(40000 + i), PORT);
		peer_handshake(&p[i]);
	}
	assert_int_equal(nr_conn, nr);
	file = nomstack_dma_alloc(rig.s, TOTAL);
	assert_non_null(file);
	for (uint32_t i = 0; i < TOTAL; i++)
		file[i] = (uint8_t)(i * 31 + (i >> 8));
}

static uint32_t feed(struct nomstack_conn *c, uint32_t sent, unsigned flags)
{
	uint32_t room = nomstack_tcp_room(c), n = TOTAL - sent;

	n = n < room ? n : room;
	if (n)
		assert_int_equal(nomstack_tcp_send(c, file + sent, n, flags), 0);
	return sent + n;
}

/* A whole file; returns doorbells. */
static uint64_t transfer(struct peer *p, unsigned flags)
{
	uint64_t doorbells = vnet_stats(rig.v)->doorbells_tx;
	uint32_t sent = 0, have = 0;

	for (int i = 0; i < 20000 && have < TOTAL; i++) {
		sent = feed(conn[0], sent, flags);
		rig_run(&rig, 1);
		have += peer_recv_data(p, got + have, TOTAL - have);
	}
	assert_int_equal(have, TOTAL);
	assert_memory_equal(got, file, TOTAL);
	nomstack_poll(rig.s);
	assert_int_equal(acked, TOTAL);
	return vnet_stats(rig.v)->doorbells_tx - doorbells;
}

static void test_file_leaves_in_long_frames(void **state)
{
	for (unsigned flags = 0; flags <= NOMSTACK_SEND_COPY; flags += NOMSTACK_SEND_COPY) {
		uint64_t frames;
		struct peer p;

		begin(&p, 1, 1);
		frames = vnet_stats(rig.v)->tx_packets;
		transfer(&p, flags);
		frames = vnet_stats(rig.v)->tx_packets - frames;
		/* With 64 KiB under way and all of it acknowledged at once, at most
		 * a few frames for each 44 segments; a start of slow ones. */
		t_assert(frames < TOTAL / MSS / 8);
		assert_int_equal(rig_stats(&rig).tx_long, vnet_stats(rig.v)->tx_tso);
		assert_int_equal(rig_stats(&rig).tx_joined, rig_device_pieces());
		t_assert(rig_device_pieces() > TOTAL / MSS * 9 / 10);
		rig_close(&rig);
	}
}

static void test_without_the_device_or_the_knob(void **state)
{
	for (int offload = 0; offload <= 1; offload++) {
		struct peer p;

		begin(&p, 1, offload);
		if (offload)
			rig_knob(&rig, "tso_max", 1);
		transfer(&p, 0);
		assert_int_equal(rig_stats(&rig).tx_long, 0);
		assert_int_equal(rig_device_pieces(), 0);
		rig_close(&rig);
	}
}

static void test_knob_bounds_the_frame(void **state)
{
	struct peer p;

	begin(&p, 1, 1);
	rig_knob(&rig, "tso_max", 3);
	transfer(&p, 0);
	t_assert(rig_stats(&rig).tx_long > TOTAL / MSS / 4);
	t_assert(rig_stats(&rig).tx_joined <= 3 * rig_stats(&rig).tx_long);
	rig_close(&rig);
}

/* Two connections in turn: nothing of one gets into the other's frames. */
/* Two connections at a time; each gets all of it, in order. */
static void both_get_the_file(struct peer *p)
{
	uint32_t sent[2] = { 0, 0 }, have[2] = { 0, 0 };

	for (int i = 0; i < 20000 && have[0] + have[1] < 2 * TOTAL; i++) {
		for (int c = 0; c < 2; c++)
			sent[c] = feed(conn[c], sent[c], 0);
		rig_run(&rig, 1);
		while (rig_tx_pop(&rig, &seg.frame)) {
			int c = peer_parse(&p[0], &seg) ? 0 : 1;

			t_assert(c == 0 || peer_parse(&p[1], &seg));
			assert_int_equal(seg.seq, p[c].ack);
			assert_memory_equal(seg.data, file + have[c], seg.len);
			have[c] += seg.len;
			p[c].ack += seg.len;
		}
		for (int c = 0; c < 2; c++)
			peer_send(&p[c], ACK, NULL, 0);
	}
	assert_int_equal(have[0] + have[1], 2 * TOTAL);
}

static void test_connections_are_not_mixed(void **state)
{
	struct peer p[2];

	begin(p, 2, 1);
	both_get_the_file(p);
	nomstack_poll(rig.s);
	t_assert(rig_stats(&rig).tx_long > 0);
	rig_close(&rig);
}

/*
 * PSH, and FIN, stand in a frame's last packet only.  What was pushed and is followed
 * by more before it leaves needs no PSH of its own (RFC 9293, 3.9.1.2).
 */
static void test_push_and_fin_come_last(void **state)
{
	uint32_t have = 0;
	unsigned pushes = 0;
	struct peer p;

	begin(&p, 1, 1);
	for (uint32_t sent = 0; sent < TOTAL; sent = feed(conn[0], sent, 0)) {
		rig_run(&rig, 1);
		peer_recv_data(&p, got, TOTAL);
	}
	rig_run(&rig, 1);
	peer_recv_data(&p, got, TOTAL);
	rig_run(&rig, 1);
	/* The window is open now: 10 segments, then 5 and the end. */
	assert_int_equal(nomstack_tcp_send(conn[0], file, 10 * MSS, 0), 0);
	assert_int_equal(nomstack_tcp_send(conn[0], file, 5 * MSS, 0), 0);
	assert_int_equal(nomstack_tcp_close(conn[0]), 0);
	rig_run(&rig, 1);
	while (peer_recv(&p, &seg)) {
		assert_int_equal(seg.seq, p.ack + have);
		have += seg.len;
		if (seg.flags & PSH)
			pushes++;
		if (have < 15 * MSS)
			assert_false(seg.flags & FIN);
		if (have < 15 * MSS)
			assert_false(seg.flags & PSH);
	}
	assert_int_equal(have, 15 * MSS);
	assert_int_equal(pushes, 1);
	t_assert(seg.flags & FIN);
	p.ack += have + 1;
	peer_send(&p, ACK | FIN, NULL, 0);
	rig_run(&rig, 1);
	rig_close(&rig);
}

/* Packets cut from long frames get lost: they are sent again, and all arrives. */
static void test_loss(void **state)
{
	uint32_t sent = 0, have = 0;
	uint64_t x = 77;
	struct peer p;

	begin(&p, 1, 1);
	for (int i = 0; i < 100000 && have < TOTAL; i++) {
		bool news = false;

		sent = feed(conn[0], sent, 0);
		rig_run(&rig, 1);
		while (peer_recv(&p, &seg)) {
			news = true;
			if (seg.seq != p.ack || rig_random(&x) % 40 == 0)
				continue;	/* lost, or behind what was */
			memcpy(got + have, seg.data, seg.len);
			have += seg.len;
			p.ack += seg.len;
		}
		if (news)
			for (int dup = 0; dup < 4; dup++)
				peer_send(&p, ACK, NULL, 0);
	}
	assert_int_equal(have, TOTAL);
	assert_memory_equal(got, file, TOTAL);
	t_assert(rig_stats(&rig).tcp_retransmits > 5);
	t_assert(rig_stats(&rig).tx_long > 0);
	rig_close(&rig);
}

/* Held back by W, what is queued in several polls still leaves together. */
static void test_with_batching_delay(void **state)
{
	uint64_t frames;
	struct peer p;

	begin(&p, 1, 1);
	transfer(&p, 0);
	rig_knob(&rig, "w_tx_us", 10000);
	frames = vnet_stats(rig.v)->tx_packets;
	for (int i = 0; i < 5; i++) {
		assert_int_equal(nomstack_tcp_send(conn[0], file + i * MSS, MSS, NOMSTACK_SEND_MORE), 0);
		rig_run(&rig, 1);
	}
	peer_none(&p);
	rig_run(&rig, 20);
	assert_int_equal(peer_recv_data(&p, got, TOTAL), 5 * MSS);
	assert_memory_equal(got, file, 5 * MSS);
	assert_int_equal(vnet_stats(rig.v)->tx_packets - frames, 1);
	rig_close(&rig);
}

/* A device that cuts up one version of IP is given none of the other. */
static void test_versions_are_apart(void **state)
{
	static const uint64_t off[2] = { 1ull << VIRTIO_NET_F_HOST_TSO4, 1ull << VIRTIO_NET_F_HOST_TSO6 };

	for (int other = 0; other < 2; other++) {
		struct peer p;

		rig_features_off = off[six == other];
		begin(&p, 1, 1);
		transfer(&p, 0);
		t_assert((rig_device_pieces() > 0) == !other);
		t_assert((rig_stats(&rig).tx_long > 0) == !other);
		rig_close(&rig);
		rig_features_off = 0;
	}
}

/* What two connections send at a time, one of each version, is not joined across. */
static void test_both_versions_at_a_time(void **state)
{
	struct peer p[2];

	begin(p, 1, 1);
	if (!six) {	/* else it is done already, the other way round */
		rig_close(&rig);
		return;
	}
	peer_init(&p[1], &rig, 40000, PORT);
	peer_handshake(&p[1]);
	assert_int_equal(nr_conn, 2);
	both_get_the_file(p);
	assert_int_equal(rig_stats(&rig).tx_joined, rig_device_pieces());
	t_assert(rig_device_pieces() > 2 * TOTAL / 1460 * 8 / 10);
	nomstack_poll(rig.s);
	rig_close(&rig);
}

static int over_ip6(void **state)
{
	six = true;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file_leaves_in_long_frames),
		cmocka_unit_test(test_without_the_device_or_the_knob),
		cmocka_unit_test(test_knob_bounds_the_frame),
		cmocka_unit_test(test_connections_are_not_mixed),
		cmocka_unit_test(test_push_and_fin_come_last),
		cmocka_unit_test(test_loss),
		cmocka_unit_test(test_with_batching_delay),
		cmocka_unit_test(test_versions_are_apart),
		cmocka_unit_test(test_both_versions_at_a_time),
	};
	int failed = cmocka_run_group_tests_name("IPv4", tests, NULL, NULL);

	return failed + cmocka_run_group_tests_name("IPv6", tests, over_ip6, NULL);
}
