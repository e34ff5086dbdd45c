// SPDX-License-Identifier: MIT
/*
 * test_stack_churn.c - very many short connections, and floods of half ones
 *
 * What must stay: counters that balance, PCBs within their bound, nothing left
 * behind (rig_close), and a way in for somebody who means it.
 */
#include "stack_rig.h"

#include "lwip/opt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PORT 80
#define CONNS 100000
#define PCBS MEMP_NUM_TCP_PCB
#define BACKLOG 16

static struct rig rig;
static struct peer peer;
static struct seg seg;
static unsigned accepts, closes, resets, got;
static bool close_first;

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	accepts++;
	return &rig;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	got += len;
	assert_int_equal(nomstack_tcp_send(c, data, len, NOMSTACK_SEND_COPY), 0);
	if (close_first)
		nomstack_tcp_close(c);
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
	if (err) {
		resets++;
		return;
	}
	closes++;
	nomstack_tcp_close(c);
}

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

static void begin(unsigned backlog)
{
	rig_open(&rig, "10.0.0.2/24", 0);
	accepts = closes = resets = got = 0;
	assert_int_equal(nomstack_tcp_listen(rig.s, PORT, backlog, &ops, NULL), 0);
}

/* Take what came; returns the flags of all of it. */
static unsigned take(void)
{
	unsigned flags = 0;

	nomstack_poll(rig.s);
	while (peer_recv(&peer, &seg)) {
		flags |= seg.flags;
		if (seg.seq == peer.ack)
			peer.ack += seg.len + !!(seg.flags & FIN);
	}
	return flags;
}

/* A request, an answer, and one of three ends. */
static void one(unsigned i)
{
	peer_init(&peer, &rig, (uint16_t)(1024 + i % 60000), PORT);
	peer.seq = i * 1000;
	close_first = i % 3 == 1;
	peer_handshake(&peer);
	peer_send(&peer, ACK | PSH, "?", 1);
	t_assert(take() & PSH);
	switch (i % 3) {
	case 0:				/* the peer closes: CLOSE-WAIT, LAST-ACK */
		peer_send(&peer, FIN | ACK, NULL, 0);
		t_assert(take() & FIN);
		peer_send(&peer, ACK, NULL, 0);
		break;
	case 1:				/* we do: FIN-WAIT, TIME-WAIT */
		peer_send(&peer, FIN | ACK, NULL, 0);
		break;
	case 2:				/* a reset */
		peer_send(&peer, RST, NULL, 0);
		break;
	}
	take();
}

static void test_hundred_thousand_connections(void **state)
{
	struct nomstack_stats st;
	unsigned i, most = 0;

	begin(255);
	for (i = 0; i < CONNS; i++) {
		one(i);
		rig.now_ns += 200000;	/* more in TIME-WAIT at once than there are PCBs */
		if (i % 1024 == 0 && rig_pcbs() > most)
			most = rig_pcbs();
	}
	st = rig_stats(&rig);
	assert_int_equal(accepts, CONNS);
	assert_int_equal(st.tcp_accepted, CONNS);
	assert_int_equal(st.tcp_active, 0);
	assert_int_equal(st.tcp_refused, 0);
	assert_int_equal(st.tcp_retransmits, 0);
	assert_int_equal(st.drop_mem, 0);
	assert_int_equal(got, CONNS);
	assert_int_equal(closes, (CONNS + 2) / 3);
	assert_int_equal(resets, CONNS / 3);
	/* A third of 20,000 would be in TIME-WAIT at a time, were there the PCBs. */
	t_assert(most > (PCBS < 6000 ? PCBS * 3 / 4 : 6000) && most <= PCBS);
	rig_run(&rig, 6000);
	assert_int_equal(rig_pcbs(), 0);
	rig_close(&rig);
}

/* SYNs that nobody follows up: the oldest give way, so a client gets in. */
static void test_syn_flood(void **state)
{
	unsigned i;

	begin(BACKLOG);
	for (i = 0; i < 1000; i++) {
		peer_init(&peer, &rig, (uint16_t)(1024 + i), PORT);
		peer_send(&peer, SYN, NULL, 0);
		t_assert(take() & SYN);
		t_assert(rig_pcbs() <= BACKLOG);
	}
	assert_int_equal(rig_stats(&rig).tcp_refused, 1000 - BACKLOG);
	peer_init(&peer, &rig, 60000, PORT);
	peer_handshake(&peer);
	assert_int_equal(accepts, 1);
	/* Between SYN and ACK of a client come BACKLOG - 1 others: still in. */
	{
		struct peer client;

		peer_init(&client, &rig, 60001, PORT);
		peer_send(&client, SYN, NULL, 0);
		nomstack_poll(rig.s);
		t_assert(peer_recv(&client, &seg));
		client.ack = seg.seq + 1;
		for (i = 0; i < BACKLOG - 1; i++) {
			peer_init(&peer, &rig, (uint16_t)(3000 + i), PORT);
			peer_send(&peer, SYN, NULL, 0);
			t_assert(take() & SYN);
		}
		peer_send(&client, ACK, NULL, 0);
		nomstack_poll(rig.s);
	}
	assert_int_equal(accepts, 2);
	rig_run(&rig, 25000);
	assert_int_equal(rig_pcbs(), 2);
	rig_close(&rig);
}

/* All PCBs are in use: half-open ones give way, established ones do not. */
static void test_pcbs_exhausted(void **state)
{
	unsigned i;

	begin(255);
	for (i = 0; i < PCBS - 8; i++) {
		peer_init(&peer, &rig, (uint16_t)(1024 + i), PORT);
		peer_handshake(&peer);
	}
	for (i = 0; i < 100; i++) {
		peer_init(&peer, &rig, (uint16_t)(10000 + i), PORT);
		peer_send(&peer, SYN, NULL, 0);
		t_assert(take() & SYN);
	}
	assert_int_equal(rig_pcbs(), PCBS);
	peer_init(&peer, &rig, 60000, PORT);
	peer_handshake(&peer);
	assert_int_equal(accepts, PCBS - 8 + 1);
	assert_int_equal(resets, 0);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hundred_thousand_connections),
		cmocka_unit_test(test_syn_flood),
		cmocka_unit_test(test_pcbs_exhausted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
