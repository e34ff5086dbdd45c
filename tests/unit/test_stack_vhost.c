// SPDX-License-Identifier: MIT
/*
 * The whole path, hosted: stack, virtio driver, rings in shared memory, our
 * vhost-user back-end, the rig's peer.  With and without checksum offload, with
 * and without copies.
 */
#include "stack_rig.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PORT 7
#define MANY 300

static struct rig rig;
static struct peer peers[MANY];
static struct seg seg;
static uint32_t received, acked;
static struct nomstack_conn *last;

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	return last = c;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	received += len;
	assert_int_equal(nomstack_tcp_send(c, data, len, NOMSTACK_SEND_COPY), 0);
}

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

static void begin(int offload)
{
	received = acked = 0;
	rig_open(&rig, "10.0.0.2/24", (uint64_t)offload);
	assert_int_equal(nomstack_tcp_listen(rig.s, PORT, 255, &ops, NULL), 0);
}

static void test_echo_all_sizes(void **state)
{
	static char data[1460];

	for (int way = 0; way < 4; way++) {
		struct peer *p = &peers[0];

		begin(way & 1);
		rig_knob(&rig, "zc_min_bytes", way & 2 ? 0 : 2048);
		peer_init(p, &rig, 40000, PORT);
		peer_handshake(p);
		for (unsigned len = 1; len <= sizeof(data); len = len < 130 ? len + 1 : len + 133) {
			for (unsigned i = 0; i < len; i++)
				data[i] = (char)(i * 5 + len);
			peer_send(p, ACK | PSH, data, len);
			nomstack_poll(rig.s);
			t_assert(peer_recv(p, &seg));
			assert_int_equal(seg.len, len);
			assert_memory_equal(seg.data, data, len);
			assert_int_equal(seg.frame.csum_start, way & 1 ? 34 : 0);
			p->ack += len;
		}
		t_assert((rig_stats(&rig).tx_zero_copy > 0) == !!(way & 2));
		t_assert(vnet_stats(rig.v)->tx_copies > 0 || way & 2);
		peer_send(p, ACK | FIN, NULL, 0);
		nomstack_poll(rig.s);
		t_assert(peer_recv(p, &seg) && (seg.flags & FIN));
		p->ack++;
		peer_send(p, ACK, NULL, 0);
		nomstack_poll(rig.s);
		assert_int_equal(rig_pcbs(), 0);
		rig_close(&rig);
	}
}

/* More than the ring holds at once; one doorbell a batch. */
static void test_many_connections_few_doorbells(void **state)
{
	uint64_t doorbells;

	begin(1);
	for (int i = 0; i < MANY; i++) {
		peer_init(&peers[i], &rig, (uint16_t)(30000 + i), PORT);
		peer_handshake(&peers[i]);
	}
	doorbells = vnet_stats(rig.v)->doorbells_tx;
	for (int round = 0; round < 20; round++) {
		for (int base = 0; base < MANY; base += 60) {
			for (int i = base; i < base + 60; i++)
				peer_send(&peers[i], ACK | PSH, "request", 7);
			while (nomstack_poll(rig.s))
				;
			for (int i = base; i < base + 60; i++) {
				t_assert(peer_recv(&peers[i], &seg));
				assert_int_equal(seg.len, 7);
				peers[i].ack += 7;
			}
		}
	}
	doorbells = vnet_stats(rig.v)->doorbells_tx - doorbells;
	assert_int_equal(received, 20 * MANY * 7);
	t_assert(doorbells <= 20 * MANY / 30);
	rig_close(&rig);
}

static void test_bulk_without_copy(void **state)
{
	static uint8_t buf[1 << 20];
	uint32_t sent = 0, got = 0, total = 700000;
	struct peer *p = &peers[0];
	uint8_t *file;

	begin(1);
	peer_init(p, &rig, 40000, PORT);
	peer_handshake(p);
	file = nomstack_dma_alloc(rig.s, total);
	assert_non_null(file);
	for (uint32_t i = 0; i < total; i++)
		file[i] = (uint8_t)(i * 31 + (i >> 8));
	for (int i = 0; i < 20000 && got < total; i++) {
		uint32_t room = nomstack_tcp_room(last), n = total - sent;

		n = n < room ? n : room;
		if (n) {
			assert_int_equal(nomstack_tcp_send(last, file + sent, n, 0), 0);
			sent += n;
		}
		rig_run(&rig, 1);
		got += peer_recv_data(p, buf + got, sizeof(buf) - got);
	}
	assert_int_equal(got, total);
	assert_memory_equal(buf, file, total);
	nomstack_poll(rig.s);
	assert_int_equal(acked, total);
	t_assert(rig_stats(&rig).tx_zero_copy >= total / 1460);
	rig_close(&rig);
}

/* Wrong sums are dropped unless the device vouches for them. */
static void test_checksum_flags(void **state)
{
	struct peer *p = &peers[0];

	begin(1);
	peer_init(p, &rig, 40000, PORT);
	peer_handshake(p);
	p->bad_csum = true;
	peer_send_at(p, ACK | PSH, p->seq, "wrong", 5);
	nomstack_poll(rig.s);
	assert_int_equal(received, 0);
	assert_int_equal(rig_stats(&rig).drop_csum, 1);
	p->rx_flags = VNET_RX_CSUM_OK;
	peer_send(p, ACK | PSH, "vouch", 5);
	nomstack_poll(rig.s);
	assert_int_equal(received, 5);
	rig_close(&rig);
}

/* Noise through the real rings. */
static void test_noise(void **state)
{
	uint8_t f[1514];
	uint64_t x = 2024;

	begin(1);
	peer_init(&peers[0], &rig, 40000, PORT);
	peer_handshake(&peers[0]);
	rig_knob(&rig, "w_rx_us", 10);
	for (int i = 0; i < 20000; i++) {
		unsigned n = 14 + (unsigned)(rig_random(&x) % 1500);

		if (i & 1) {
			for (unsigned b = 0; b + 8 <= n; b += 8) {
				uint64_t r = rig_random(&x);

				memcpy(f + b, &r, 8);
			}
			memcpy(f + 12, "\x08\x00\x45", 3);
		} else {
			n = peer_frame(&peers[0], f, (unsigned)(rig_random(&x) % 64), peers[0].seq, peers[0].ack, "x", 1);
			f[rig_random(&x) % n] = (uint8_t)rig_random(&x);
		}
		memcpy(f, vnet_mac(rig.v), 6);
		rig_inject(&rig, f, n, (unsigned)(rig_random(&x) & 1));
		rig.now_ns += 5000;
		nomstack_poll(rig.s);
		while (rig_tx_pop_raw(&seg.frame))
			;
	}
	rig_close(&rig);
}

/* Sleep, be woken by the call eventfd, find the packet. */
static void test_idle_and_wake(void **state)
{
	struct peer *p = &peers[0];
	struct pollfd pfd;

	begin(1);
	peer_init(p, &rig, 40000, PORT);
	peer_handshake(p);
	while (nomstack_poll(rig.s))
		;
	t_assert(nomstack_idle_prepare(rig.s));
	pfd = (struct pollfd){ vnet_irq_fd(rig.v), POLLIN, 0 };
	assert_int_equal(poll(&pfd, 1, 0), 0);
	peer_send(p, ACK | PSH, "wake", 4);
	assert_int_equal(poll(&pfd, 1, 1000), 1);
	nomstack_idle_done(rig.s);
	nomstack_poll(rig.s);
	assert_int_equal(received, 4);
	/* A packet that is there already: no sleep. */
	peer_send(p, ACK | PSH, "more", 4);
	t_assert(!nomstack_idle_prepare(rig.s));
	nomstack_poll(rig.s);
	assert_int_equal(received, 8);
	rig_close(&rig);
}

/* The device breaks with data under way in both directions; the connection goes on. */
static void test_connection_outlives_the_device(void **state)
{
	struct peer *p = &peers[0];
	static char data[1000];
	unsigned round, ms;

	begin(1);
	rig_knob(&rig, "zc_min_bytes", 0);
	peer_init(p, &rig, 40000, PORT);
	peer_handshake(p);
	for (round = 0; round < 4; round++) {
		memset(data, 'a' + (int)round, sizeof(data));
		peer_send(p, ACK | PSH, data, sizeof(data));
		nomstack_poll(rig.s);	/* the answer is with the device that now dies */
		rig_device_replace();
		assert_int_equal(vnet_check(rig.v), -EIO);
		assert_int_equal(nomstack_restart(rig.s), 0);
		for (ms = 0; ms < 10000 && !peer_recv(p, &seg); ms += 100)
			rig_run(&rig, 100);
		assert_true(ms < 10000);	/* it was sent again */
		assert_int_equal(seg.len, sizeof(data));
		assert_memory_equal(seg.data, data, sizeof(data));
		p->ack += seg.len;
		peer_send(p, ACK, NULL, 0);
		nomstack_poll(rig.s);
		assert_int_equal(received, (round + 1) * sizeof(data));
		assert_int_equal(acked, (round + 1) * sizeof(data));
	}
	assert_int_equal(vnet_stats(rig.v)->restarts, 4);
	peer_send(p, RST | ACK, NULL, 0);
	nomstack_poll(rig.s);
	rig_run(&rig, 10);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_echo_all_sizes),
		cmocka_unit_test(test_many_connections_few_doorbells),
		cmocka_unit_test(test_bulk_without_copy),
		cmocka_unit_test(test_checksum_flags),
		cmocka_unit_test(test_noise),
		cmocka_unit_test(test_idle_and_wake),
		cmocka_unit_test(test_connection_outlives_the_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
