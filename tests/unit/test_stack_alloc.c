// SPDX-License-Identifier: MIT
/*
 * No memory is allocated on the data path: connections are opened, served, paused,
 * disturbed and closed by stack and driver with what was taken when they were opened.
 * Counted by AddressSanitizer's own hooks, between begin and end of nomstack_poll()
 * and of the application's calls; what the tests' peer and device allocate does not count.
 */
#include "stack_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lwip/memp.h"
#include "lwip/stats.h"

#define PORT 7
#define CONNS 40
#define BULK (200u << 10)

int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t), void (*on_free)(const volatile void *));

static struct rig rig;
static struct peer peers[CONNS];
static struct seg seg;
static volatile bool counting;		/* volatile: a compiler knows that malloc() looks at nothing of ours */
static volatile unsigned allocated, freed;
static uint32_t received;
static struct nomstack_conn *last;

static void on_malloc(const volatile void *p, size_t bytes)
{
	allocated += counting;
}

static void on_free(const volatile void *p)
{
	freed += counting && p;
}

static unsigned poll_counted(void)
{
	unsigned did;

	counting = true;
	did = nomstack_poll(rig.s);
	counting = false;
	return did;
}

static void run_counted(unsigned ms)
{
	while (ms--) {
		rig.now_ns += 1000000;
		poll_counted();
	}
}

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	return last = c;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	received += len;
	assert_int_equal(nomstack_tcp_send(c, data, len, NOMSTACK_SEND_COPY), 0);
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
	if (!err)
		nomstack_tcp_close(c);
}

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

static void shake(struct peer *p)
{
	peer_send(p, SYN, NULL, 0);
	poll_counted();
	t_assert(peer_recv(p, &seg) && (seg.flags & (SYN | ACK)) == (SYN | ACK));
	p->ack = seg.seq + 1;
	peer_send(p, ACK, NULL, 0);
	poll_counted();
}

static void serve(struct peer *p, unsigned flags, const void *data, unsigned len)
{
	peer_send(p, flags, data, len);
	poll_counted();
	while (peer_recv(p, &seg))
		p->ack = seg.seq + seg.len + !!(seg.flags & FIN);
}

static void life_of_connections(void)
{
	for (int i = 0; i < CONNS; i++) {
		peer_init(&peers[i], &rig, (uint16_t)(30000 + i), PORT);
		shake(&peers[i]);
	}
	for (int round = 0; round < 20; round++)
		for (int i = 0; i < CONNS; i++)
			serve(&peers[i], ACK | PSH, "a request", 9);
	assert_int_equal(received, 20 * CONNS * 9);
	/* A hole, and what fills it. */
	peer_send_at(&peers[0], ACK | PSH, peers[0].seq + 4, "late", 4);
	poll_counted();
	assert_int_equal(received, 20 * CONNS * 9);
	serve(&peers[0], ACK | PSH, "hole", 4);
	assert_int_equal(received, 20 * CONNS * 9 + 8);
	peers[0].seq += 4;
	/* Answers that nobody acknowledges are sent again. */
	peer_send(&peers[1], ACK | PSH, "again", 5);
	run_counted(3000);
	t_assert(rig_stats(&rig).tcp_retransmits > 0);
	while (peer_recv(&peers[1], &seg))
		peers[1].ack = seg.seq + seg.len;
	/* Half are closed, half reset. */
	for (int i = 0; i < CONNS; i++) {
		serve(&peers[i], i & 1 ? ACK | FIN : ACK | RST, NULL, 0);
		if (i & 1)
			serve(&peers[i], ACK, NULL, 0);
	}
	run_counted(6000);
	assert_int_equal(rig_pcbs(), 0);
}

static void test_no_allocation_in_the_life_of_a_connection(void **state)
{
	static const int w_us[] = { 0, 50 };

	for (unsigned i = 0; i < 2; i++) {
		received = allocated = freed = 0;
		rig_open(&rig, "10.0.0.2/24", 1);
		assert_int_equal(nomstack_tcp_listen(rig.s, PORT, 255, &ops, NULL), 0);
		rig_knob(&rig, "w_us", w_us[i]);
		rig.clock_step_ns = w_us[i] ? 30000 : 0;	/* W is over within two looks at the clock */
		rig_arp(&rig, PEER_IP, rig.peer_mac);
		nomstack_poll(rig.s);
		if (!w_us[i]) {
			life_of_connections();
		} else {
			peer_init(&peers[0], &rig, 30000, PORT);
			shake(&peers[0]);
			for (int round = 0; round < 500; round++) {
				peer_send(&peers[0], ACK, "held", 4);
				run_counted(1);
				while (peer_recv(&peers[0], &seg))
					peers[0].ack = seg.seq + seg.len;
			}
			assert_int_equal(received, 500 * 4);
			peer_send(&peers[0], RST | ACK, NULL, 0);
			run_counted(1);
		}
		assert_int_equal(allocated, 0);
		assert_int_equal(freed, 0);
		rig.clock_step_ns = 0;
		rig_close(&rig);
	}
}

/* What is sent without a copy, and what is joined for the device to cut up. */
static void test_no_allocation_in_bulk(void **state)
{
	static uint8_t buf[BULK];
	uint32_t sent = 0, got = 0;
	uint8_t *file;

	rig_open(&rig, "10.0.0.2/24", 1);
	assert_int_equal(nomstack_tcp_listen(rig.s, PORT, 255, &ops, NULL), 0);
	file = nomstack_dma_alloc(rig.s, BULK);
	assert_non_null(file);
	memset(file, 'x', BULK);
	peer_init(&peers[0], &rig, 40000, PORT);
	peer_handshake(&peers[0]);
	allocated = freed = 0;
	for (unsigned i = 0; i < 20000 && got < BULK; i++) {
		uint32_t room, n;

		counting = true;
		room = nomstack_tcp_room(last);
		n = BULK - sent < room ? BULK - sent : room;
		if (n)
			assert_int_equal(nomstack_tcp_send(last, file + sent, n, 0), 0);
		counting = false;
		sent += n;
		run_counted(1);
		got += peer_recv_data(&peers[0], buf + got, BULK - got);
	}
	assert_int_equal(got, BULK);
	assert_int_equal(allocated, 0);
	assert_int_equal(freed, 0);
	peer_send(&peers[0], RST | ACK, NULL, 0);
	nomstack_poll(rig.s);
	rig_close(&rig);
}

/* The hooks do count. */
static void test_allocations_are_seen(void **state)
{
	void *volatile p;

	allocated = freed = 0;
	counting = true;
	p = malloc(100);
	free(p);
	counting = false;
	assert_int_equal(allocated, 1);
	assert_int_equal(freed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_allocations_are_seen),
		cmocka_unit_test(test_no_allocation_in_the_life_of_a_connection),
		cmocka_unit_test(test_no_allocation_in_bulk),
	};

	if (!__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
