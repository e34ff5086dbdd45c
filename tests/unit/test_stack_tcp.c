// SPDX-License-Identifier: MIT
/*
 * TCP through the native interface, against a peer that speaks segment by
 * segment: opening, data, closing, resetting, aborting in every state, loss and
 * disorder, listeners, buffers without copy.
 */
#include "stack_rig.h"

#include "lwip/opt.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PORT 7
#define WINDOW (TCP_WND < 65535 ? TCP_WND : 65535)	/* of a peer that offers no scaling */

/* An application that records what it is told and does what it is asked. */
static struct app {
	struct nomstack_conn *c;
	unsigned accepts, closes, batch_ends, connects;
	uint32_t received, acked;
	int close_err;
	uint8_t data[1 << 18];
	/* what to do */
	bool refuse, echo, close_on_recv, abort_on_recv, close_on_fin, abort_on_fin, close_on_accept, abort_on_accept;
	bool close_on_sent, abort_on_sent, close_on_err;
} app;

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	app.accepts++;
	app.c = c;
	assert_ptr_equal(arg, &app);
	if (app.close_on_accept)
		nomstack_tcp_close(c);
	if (app.abort_on_accept)
		nomstack_tcp_abort(c);
	return app.refuse ? NULL : &app;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	assert_ptr_equal(arg, &app);
	assert_true(app.received + len <= sizeof(app.data));
	memcpy(app.data + app.received, data, len);
	app.received += len;
	if (app.echo)
		assert_int_equal(nomstack_tcp_send(c, data, len, NOMSTACK_SEND_COPY), 0);
	if (app.close_on_recv)
		nomstack_tcp_close(c);
	if (app.abort_on_recv)
		nomstack_tcp_abort(c);
}

static void on_sent(struct nomstack_conn *c, void *arg, uint32_t acked)
{
	app.acked += acked;
	if (app.close_on_sent)
		nomstack_tcp_close(c);
	if (app.abort_on_sent)
		nomstack_tcp_abort(c);
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
	app.closes++;
	app.close_err = err;
	if (!err && app.close_on_fin)
		nomstack_tcp_close(c);
	if (!err && app.abort_on_fin)
		nomstack_tcp_abort(c);
	if (err && app.close_on_err)
		nomstack_tcp_close(c);
}

static void on_batch_end(void *arg)
{
	app.batch_ends++;
}

static void on_connected(struct nomstack_conn *c, void *arg)
{
	app.connects++;
}

static const struct nomstack_tcp_ops ops = {
	.accept = on_accept, .recv = on_recv, .sent = on_sent, .closed = on_closed, .batch_end = on_batch_end,
	.connected = on_connected,
};

static struct rig rig;
static struct peer peer;
static struct seg seg;

static void begin(void)
{
	memset(&app, 0, sizeof(app));
	rig_open(&rig, "10.0.0.2/24", 0);
	assert_int_equal(nomstack_tcp_listen(rig.s, PORT, 16, &ops, &app), 0);
	peer_init(&peer, &rig, 40000, PORT);
}

static void begin_established(void)
{
	begin();
	peer_handshake(&peer);
	assert_int_equal(app.accepts, 1);
	peer_none(&peer);
}

static void expect(unsigned flags)
{
	nomstack_poll(rig.s);
	t_assert(peer_recv(&peer, &seg));
	if (seg.flags != flags)
		print_message("# segment has flags %#x, expected %#x\n", seg.flags, flags);
	t_assert(seg.flags == flags);
}

static void test_handshake_echo_close(void **state)
{
	char buf[64];

	begin();
	app.echo = app.close_on_fin = true;
	peer_send(&peer, SYN, NULL, 0);
	expect(SYN | ACK);
	assert_int_equal(seg.opt_len, 4);
	assert_int_equal(seg.opt[0], 2);
	assert_int_equal(seg.opt[2] << 8 | seg.opt[3], 1460);
	assert_int_equal(seg.window, WINDOW);
	assert_int_equal(app.accepts, 0);
	peer.ack = seg.seq + 1;
	peer_send(&peer, ACK, NULL, 0);
	nomstack_poll(rig.s);
	assert_int_equal(app.accepts, 1);
	assert_int_equal(rig_stats(&rig).tcp_active, 1);

	peer_send(&peer, ACK | PSH, "hello", 5);
	expect(ACK | PSH);
	assert_int_equal(seg.len, 5);
	assert_memory_equal(seg.data, "hello", 5);
	assert_int_equal(seg.ack, peer.seq);
	assert_int_equal(seg.window, WINDOW - 5);	/* reopened in larger steps */
	peer.ack += 5;
	peer_send(&peer, ACK | PSH, " world", 6);
	assert_int_equal(peer_recv_data(&peer, buf, sizeof(buf)), 0);
	nomstack_poll(rig.s);
	assert_int_equal(peer_recv_data(&peer, buf, sizeof(buf)), 6);
	assert_int_equal(app.received, 11);
	assert_int_equal(app.acked, 11);
	assert_true(app.batch_ends >= 3);

	peer_send(&peer, ACK | FIN, NULL, 0);
	expect(ACK | FIN);
	assert_int_equal(app.closes, 1);
	assert_int_equal(app.close_err, 0);
	peer.ack++;
	peer_send(&peer, ACK, NULL, 0);
	peer_none(&peer);
	assert_int_equal(rig_pcbs(), 0);
	assert_int_equal(rig_stats(&rig).tcp_active, 0);
	assert_int_equal(rig_stats(&rig).tcp_accepted, 1);
	rig_close(&rig);
}

static void test_half_close_keeps_sending(void **state)
{
	char buf[64];

	begin_established();
	peer_send(&peer, ACK | FIN, NULL, 0);
	expect(ACK);
	assert_int_equal(app.closes, 1);
	assert_int_equal(nomstack_tcp_send(app.c, "late", 4, NOMSTACK_SEND_COPY), 0);
	nomstack_poll(rig.s);
	assert_int_equal(peer_recv_data(&peer, buf, sizeof(buf)), 4);
	assert_int_equal(nomstack_tcp_close(app.c), 0);
	expect(ACK | FIN);
	peer.ack++;
	peer_send(&peer, ACK, NULL, 0);
	peer_none(&peer);
	assert_int_equal(rig_pcbs(), 0);
	rig_close(&rig);
}

static void test_active_close_time_wait_is_bounded(void **state)
{
	begin_established();
	assert_int_equal(nomstack_tcp_close(app.c), 0);
	expect(ACK | FIN);
	peer.ack++;
	peer_send(&peer, ACK, NULL, 0);		/* FIN-WAIT-2 */
	peer_none(&peer);
	assert_int_equal(rig_pcbs(), 1);
	peer_send(&peer, ACK | FIN, NULL, 0);	/* TIME-WAIT */
	expect(ACK);
	assert_int_equal(rig_pcbs(), 1);
	/* A lost last ACK: the FIN comes again and is acknowledged again. */
	peer_send_at(&peer, ACK | FIN, peer.seq - 1, NULL, 0);
	expect(ACK);
	rig_run(&rig, 5500);
	assert_int_equal(rig_pcbs(), 0);
	assert_int_equal(app.closes, 0);
	rig_close(&rig);
}

static void test_simultaneous_close(void **state)
{
	begin_established();
	assert_int_equal(nomstack_tcp_close(app.c), 0);
	expect(ACK | FIN);
	/* The peer's FIN crosses ours: it does not acknowledge it. */
	peer_send(&peer, ACK | FIN, NULL, 0);
	expect(ACK);
	assert_int_equal(rig_pcbs(), 1);	/* CLOSING */
	peer.ack++;
	peer_send(&peer, ACK, NULL, 0);
	peer_none(&peer);
	assert_int_equal(rig_pcbs(), 1);	/* TIME-WAIT */
	rig_run(&rig, 5500);
	assert_int_equal(rig_pcbs(), 0);
	rig_close(&rig);
}

/* Bring a connection into each state, then reset it from either side. */
enum state { ST_SYN_RCVD, ST_ESTABLISHED, ST_CLOSE_WAIT, ST_FIN_WAIT_1, ST_FIN_WAIT_2, ST_CLOSING, ST_LAST_ACK,
	     ST_TIME_WAIT, NR_STATES };

static void reach(enum state st)
{
	begin();
	peer_send(&peer, SYN, NULL, 0);
	expect(SYN | ACK);
	peer.ack = seg.seq + 1;
	if (st == ST_SYN_RCVD)
		return;
	peer_send(&peer, ACK, NULL, 0);
	nomstack_poll(rig.s);
	if (st == ST_ESTABLISHED)
		return;
	if (st == ST_CLOSE_WAIT || st == ST_LAST_ACK) {
		peer_send(&peer, ACK | FIN, NULL, 0);
		expect(ACK);
		if (st == ST_CLOSE_WAIT)
			return;
	}
	nomstack_tcp_close(app.c);
	expect(ACK | FIN);
	if (st == ST_LAST_ACK || st == ST_FIN_WAIT_1)
		return;
	if (st == ST_CLOSING) {
		peer_send(&peer, ACK | FIN, NULL, 0);
		expect(ACK);
		return;
	}
	peer.ack++;
	peer_send(&peer, ACK, NULL, 0);
	peer_none(&peer);
	if (st == ST_FIN_WAIT_2)
		return;
	peer_send(&peer, ACK | FIN, NULL, 0);
	expect(ACK);
}

static void test_reset_by_peer_in_every_state(void **state)
{
	for (enum state st = 0; st < NR_STATES; st++) {
		bool told = st == ST_ESTABLISHED || st == ST_CLOSE_WAIT;

		reach(st);
		app.closes = 0;
		peer_send_at(&peer, RST | ACK, peer.seq, NULL, 0);
		peer_none(&peer);
		/* RFC 1337: a reset does not shorten TIME-WAIT. */
		assert_int_equal(rig_pcbs(), st == ST_TIME_WAIT);
		assert_int_equal(app.closes, told);
		if (told)
			assert_int_equal(app.close_err, -ECONNRESET);
		rig_close(&rig);
	}
}

static void test_reset_outside_sequence_is_challenged(void **state)
{
	begin_established();
	peer_send_at(&peer, RST, peer.seq + 100, NULL, 0);	/* in the window: challenge ACK */
	expect(ACK);
	assert_int_equal(seg.ack, peer.seq);
	peer_send_at(&peer, RST, peer.seq - 1000, NULL, 0);	/* outside: silence */
	peer_none(&peer);
	assert_int_equal(rig_pcbs(), 1);
	assert_int_equal(app.closes, 0);
	rig_close(&rig);
}

static void test_abort_in_every_state(void **state)
{
	/* The application holds a connection in two states only. */
	for (int i = 0; i < 2; i++) {
		reach(i ? ST_CLOSE_WAIT : ST_ESTABLISHED);
		app.closes = 0;
		nomstack_tcp_abort(app.c);
		nomstack_poll(rig.s);
		expect(RST | ACK);
		assert_int_equal(seg.seq, peer.ack);
		assert_int_equal(app.closes, 0);
		assert_int_equal(rig_pcbs(), 0);
		rig_close(&rig);
	}
	/* What remains is aborted by closing the stack: rig_close() counts. */
	for (enum state st = 0; st < NR_STATES; st++) {
		reach(st);
		rig_close(&rig);
	}
}

static void test_close_and_abort_inside_callbacks(void **state)
{
	struct {
		const char *name;
		bool *what;
		bool data, fin, answers_rst;
	} cases[] = {
		{ "close in recv", &app.close_on_recv, true, false, false },
		{ "abort in recv", &app.abort_on_recv, true, false, true },
		{ "close at fin", &app.close_on_fin, false, true, false },
		{ "abort at fin", &app.abort_on_fin, false, true, true },
		{ "close in recv, data and fin", &app.close_on_recv, true, true, false },
		{ "abort in recv, data and fin", &app.abort_on_recv, true, true, true },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool rst = false, fin = false;

		begin_established();
		*cases[i].what = true;
		peer_send(&peer, ACK | PSH | (cases[i].fin ? FIN : 0), "data", cases[i].data ? 4 : 0);
		nomstack_poll(rig.s);
		while (peer_recv(&peer, &seg)) {
			rst |= !!(seg.flags & RST);
			fin |= !!(seg.flags & FIN);
		}
		if (rst != cases[i].answers_rst || fin == cases[i].answers_rst)
			print_message("# %s: rst %d, fin %d\n", cases[i].name, rst, fin);
		assert_int_equal(rst, cases[i].answers_rst);
		assert_int_equal(fin, !cases[i].answers_rst);
		assert_int_equal(rig_stats(&rig).tcp_active, 0);
		rig_close(&rig);
	}

	for (int i = 0; i < 2; i++) {
		begin_established();
		*(i ? &app.abort_on_sent : &app.close_on_sent) = true;
		assert_int_equal(nomstack_tcp_send(app.c, "bye", 3, NOMSTACK_SEND_COPY), 0);
		expect(ACK | PSH);
		peer.ack += 3;
		peer_send(&peer, ACK, NULL, 0);
		expect(i ? RST | ACK : FIN | ACK);
		assert_int_equal(rig_stats(&rig).tcp_active, 0);
		rig_close(&rig);
	}

	for (int i = 0; i < 3; i++) {
		begin();
		*(i == 0 ? &app.refuse : i == 1 ? &app.close_on_accept : &app.abort_on_accept) = true;
		peer_handshake(&peer);
		expect(i == 1 ? FIN | ACK : RST | ACK);
		assert_int_equal(rig_stats(&rig).tcp_active, 0);
		assert_int_equal(rig_stats(&rig).tcp_refused, i == 0);
		rig_close(&rig);
	}

	/* closed() may call close for tidiness; nothing happens twice. */
	begin_established();
	app.close_on_err = true;
	peer_send(&peer, RST | ACK, NULL, 0);
	peer_none(&peer);
	assert_int_equal(app.closes, 1);
	assert_int_equal(rig_stats(&rig).tcp_active, 0);
	rig_close(&rig);
}

static void test_unknown_port_is_reset(void **state)
{
	begin();
	peer.dport = 4444;
	peer_send(&peer, SYN, NULL, 0);
	expect(RST | ACK);
	assert_int_equal(seg.ack, peer.seq);
	peer_send(&peer, ACK, "x", 1);
	expect(RST | ACK);
	peer_send(&peer, RST, NULL, 0);		/* never answer a reset */
	peer_none(&peer);
	assert_int_equal(rig_stats(&rig).tcp_refused, 1);
	/* An ACK to a listener without a connection. */
	peer.dport = PORT;
	peer_send(&peer, ACK, NULL, 0);
	expect(RST | ACK);
	rig_close(&rig);
}

static void test_listen_overflow_and_recovery(void **state)
{
	struct peer p[20];

	begin();
	assert_int_equal(nomstack_tcp_listen(rig.s, 8, 10, &ops, &app), 0);
	for (int i = 0; i < 20; i++) {
		peer_init(&p[i], &rig, (uint16_t)(41000 + i), 8);
		peer_send(&p[i], SYN, NULL, 0);
		nomstack_poll(rig.s);
		t_assert(peer_recv(&p[i], &seg));
		p[i].ack = seg.seq + 1;
	}
	/* The oldest ten gave way, without a word. */
	assert_int_equal(rig_stats(&rig).tcp_refused, 10);
	assert_int_equal(rig_pcbs(), 10);
	/* One completes: there is room for one more. */
	peer_send(&p[19], ACK, NULL, 0);
	nomstack_poll(rig.s);
	assert_int_equal(app.accepts, 1);
	peer_send_at(&p[0], SYN, p[0].seq - 1, NULL, 0);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&p[0], &seg));
	assert_int_equal(rig_stats(&rig).tcp_refused, 10);
	peer_send_at(&p[1], SYN, p[1].seq - 1, NULL, 0);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&p[1], &seg));
	assert_int_equal(rig_stats(&rig).tcp_refused, 11);
	/* One is reset by its peer: again room for one. */
	peer_send(&p[18], RST | ACK, NULL, 0);
	nomstack_poll(rig.s);
	peer_send_at(&p[2], SYN, p[2].seq - 1, NULL, 0);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&p[2], &seg));
	assert_int_equal(rig_stats(&rig).tcp_refused, 11);
	/* The half-open ones give up by themselves. */
	rig_run(&rig, 21000);
	while (rig_tx_pop(&rig, &seg.frame))
		;
	assert_int_equal(rig_pcbs(), 1);
	peer_send_at(&p[13], SYN, p[13].seq - 1, NULL, 0);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&p[13], &seg));
	rig_close(&rig);
}

static void test_unlisten_and_rebind(void **state)
{
	struct peer half;

	begin_established();
	peer_init(&half, &rig, 40001, PORT);
	peer_send(&half, SYN, NULL, 0);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&half, &seg));
	assert_int_equal(nomstack_tcp_listen(rig.s, PORT, 1, &ops, &app), -EADDRINUSE);
	assert_int_equal(nomstack_tcp_unlisten(rig.s, 99), -ENOENT);
	assert_int_equal(nomstack_tcp_unlisten(rig.s, PORT), 0);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&half, &seg));
	t_assert(seg.flags & RST);
	/* The accepted connection goes on; a new one is refused. */
	app.echo = true;
	peer_send(&peer, ACK | PSH, "still", 5);
	expect(ACK | PSH);
	peer.ack += 5;
	half.seq--;
	peer_send(&half, SYN, NULL, 0);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&half, &seg));
	t_assert(seg.flags & RST);
	/* Listen again while the old connection still uses the port. */
	assert_int_equal(nomstack_tcp_listen(rig.s, PORT, 4, &ops, &app), 0);
	half.seq += 1000;
	peer_handshake(&half);
	assert_int_equal(app.accepts, 2);
	rig_close(&rig);
}

static void test_bad_arguments(void **state)
{
	struct nomstack_opts o = { .sz = sizeof(o), .vnet = NULL, .ip4 = "10.0.0.2/24" };
	struct nomstack_tcp_ops none = { 0 };
	struct nomstack *second = NULL;
	struct nomstack_conn *c;
	static const char *const bad[] = { "10.0.0.2", "10.0.0.2/", "10.0.0.2/33", "10.0.0.2/0", "x/24", "10.0.0/24x",
					   "0.0.0.0/8", "" };
	struct { struct nomstack_opts o; uint64_t more; } grown;

	begin_established();
	assert_int_equal(nomstack_open(&o, &second), -EINVAL);
	o.vnet = rig.v;
	assert_int_equal(nomstack_open(&o, &second), -EBUSY);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		o.ip4 = bad[i];
		assert_int_equal(nomstack_open(&o, &second), -EINVAL);
	}
	o.ip4 = "10.0.0.2/24";
	o.gateway = "nowhere";
	assert_int_equal(nomstack_open(&o, &second), -EINVAL);
	o.gateway = NULL;
	o.sz = 4;
	assert_int_equal(nomstack_open(&o, &second), -EINVAL);
	memset(&grown, 0, sizeof(grown));
	grown.o = o;
	grown.o.sz = sizeof(grown);
	assert_int_equal(nomstack_open(&grown.o, &second), -EBUSY);
	grown.more = 1;
	assert_int_equal(nomstack_open(&grown.o, &second), -E2BIG);
	assert_null(second);

	assert_int_equal(nomstack_tcp_listen(rig.s, 0, 1, &ops, &app), -EINVAL);
	assert_int_equal(nomstack_tcp_listen(rig.s, 80, 0, &ops, &app), -EINVAL);
	assert_int_equal(nomstack_tcp_listen(rig.s, 80, 1, &none, &app), -EINVAL);
	for (int i = 1; i < NOMSTACK_MAX_LISTENERS; i++)
		assert_int_equal(nomstack_tcp_listen(rig.s, (uint16_t)(100 + i), 1000, &ops, &app), 0);
	assert_int_equal(nomstack_tcp_listen(rig.s, 99, 1, &ops, &app), -ENOMEM);
	assert_int_equal(nomstack_tcp_connect(rig.s, "x", 1, &ops, &app, &c), -EINVAL);
	assert_int_equal(nomstack_tcp_connect(rig.s, "10.0.0.1", 0, &ops, &app, &c), -EINVAL);
	assert_int_equal(nomstack_tcp_connect(rig.s, "172.16.0.1", 80, &ops, &app, &c), -ENETUNREACH);
	assert_int_equal(nomstack_tcp_send(app.c, "x", 1, 64), -EOPNOTSUPP);
	assert_int_equal(nomstack_tcp_send(app.c, "x", NOMSTACK_SEND_MAX + 1, NOMSTACK_SEND_COPY), -EMSGSIZE);
	assert_int_equal(nomstack_tcp_send(app.c, "x", 0, NOMSTACK_SEND_COPY), 0);
	rig_close(&rig);
}

static void test_connect(void **state)
{
	struct nomstack_conn *c;
	char text[32];

	begin();
	app.echo = true;
	assert_int_equal(nomstack_tcp_connect(rig.s, "10.0.0.1", 5000, &ops, &app, &c), 0);
	nomstack_poll(rig.s);
	peer.port = 5000;
	do
		t_assert(rig_tx_pop(&rig, &seg.frame));
	while (seg.frame.data[23] != 6);
	peer.dport = (uint16_t)(seg.frame.data[34] << 8 | seg.frame.data[35]);
	peer.ack = ((uint32_t)seg.frame.data[38] << 24 | seg.frame.data[39] << 16 | seg.frame.data[40] << 8 |
		    seg.frame.data[41]) + 1;
	assert_int_equal(seg.frame.data[47], SYN);
	peer_send(&peer, SYN | ACK, NULL, 0);
	expect(ACK);
	assert_int_equal(app.connects, 1);
	nomstack_tcp_peer(c, text, sizeof(text));
	assert_string_equal(text, "10.0.0.1:5000");
	peer_send(&peer, ACK | PSH, "ping", 4);
	expect(ACK | PSH);
	assert_int_equal(seg.len, 4);
	peer.ack += 4;
	nomstack_tcp_close(c);
	expect(FIN | ACK);

	/* Refused. */
	assert_int_equal(nomstack_tcp_connect(rig.s, "10.0.0.1", 5001, &ops, &app, &c), 0);
	nomstack_poll(rig.s);
	t_assert(rig_tx_pop(&rig, &seg.frame));
	peer.port = 5001;
	peer.dport = (uint16_t)(seg.frame.data[34] << 8 | seg.frame.data[35]);
	peer.ack = ((uint32_t)seg.frame.data[38] << 24 | seg.frame.data[39] << 16 | seg.frame.data[40] << 8 |
		    seg.frame.data[41]) + 1;
	peer_send_at(&peer, RST | ACK, 0, NULL, 0);
	nomstack_poll(rig.s);
	assert_int_equal(app.closes, 1);
	assert_int_equal(app.close_err, -ECONNREFUSED);

	/* Nobody there: gives up by itself. */
	assert_int_equal(nomstack_tcp_connect(rig.s, "10.0.0.1", 5002, &ops, &app, &c), 0);
	rig_run(&rig, 260000);
	assert_int_equal(app.closes, 2);
	assert_int_equal(app.close_err, -ETIMEDOUT);
	rig_close(&rig);
}

static void test_retransmission(void **state)
{
	begin_established();
	assert_int_equal(nomstack_tcp_send(app.c, "lost", 4, NOMSTACK_SEND_COPY), 0);
	expect(ACK | PSH);
	rig_run(&rig, 4000);
	t_assert(peer_recv(&peer, &seg));
	assert_int_equal(seg.len, 4);
	assert_int_equal(seg.seq, peer.ack);
	assert_true(rig_stats(&rig).tcp_retransmits >= 1);
	peer.ack += 4;
	peer_send(&peer, ACK, NULL, 0);
	while (peer_recv(&peer, &seg))
		;
	nomstack_poll(rig.s);
	assert_int_equal(app.acked, 4);
	rig_run(&rig, 10000);
	peer_none(&peer);
	rig_close(&rig);
}

static void test_peer_vanishes(void **state)
{
	begin_established();
	assert_int_equal(nomstack_tcp_send(app.c, "anyone?", 7, NOMSTACK_SEND_COPY), 0);
	for (int i = 0; i < 2000 && !app.closes; i++) {
		rig_run(&rig, 1000);
		while (rig_tx_pop_raw(&seg.frame))
			;
	}
	assert_int_equal(app.closes, 1);
	assert_int_equal(app.close_err, -ETIMEDOUT);
	assert_int_equal(rig_pcbs(), 0);
	rig_close(&rig);
}

static void test_disorder_is_reassembled(void **state)
{
	char text[1000];
	uint32_t base;

	begin_established();
	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 7);
	base = peer.seq;
	/* Ten pieces, last first, with overlaps of 20 bytes. */
	for (int i = 9; i >= 0; i--) {
		peer_send_at(&peer, ACK | PSH, base + (uint32_t)i * 100, text + i * 100, i == 9 ? 100 : 120);
		nomstack_poll(rig.s);
	}
	assert_int_equal(app.received, 1000);
	assert_memory_equal(app.data, text, 1000);
	peer.seq = base + 1000;
	while (peer_recv(&peer, &seg))
		;
	assert_int_equal(rig_device().rx_held, 0);
	rig_close(&rig);
}

/* A peer that leaves a hole and fills up behind it cannot hold the ring. */
static void test_disorder_cannot_starve_the_ring(void **state)
{
	struct peer p[8];
	struct rig_device_counts d;
	char byte = 'x';

	begin();
	for (int i = 0; i < 8; i++) {
		peer_init(&p[i], &rig, (uint16_t)(40010 + i), PORT);
		peer_handshake(&p[i]);
	}
	for (int n = 1; n <= 200; n++)
		for (int i = 0; i < 8; i++) {
			peer_send_at(&p[i], ACK, p[i].seq + (uint32_t)n * 2, &byte, 1);
			nomstack_poll(rig.s);
			d = rig_device();
			t_assert(d.rx_held <= RIG_BUFS / 4);
			while (rig_tx_pop_raw(&seg.frame))
				;
		}
	t_assert(rig_stats(&rig).ooseq_dropped > 0);
	/* The service still works. */
	app.echo = true;
	peer_send(&p[7], ACK | PSH, "in order", 8);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&p[7], &seg));
	p[7].ack += seg.len;
	peer_send(&p[7], ACK, NULL, 0);
	/* Silence frees what is held. */
	rig_run(&rig, 60000);
	assert_int_equal(rig_device().rx_held, 0);
	rig_close(&rig);
}

static void test_pause_closes_the_window(void **state)
{
	static char chunk[1460];
	unsigned n = 0;

	begin_established();
	nomstack_tcp_pause(app.c, true);
	for (int i = 0; i < 60; i++) {
		peer_send(&peer, ACK | PSH, chunk, sizeof(chunk));
		nomstack_poll(rig.s);
		while (peer_recv(&peer, &seg))
			;
		if (app.received == n)
			break;
		n = app.received;
	}
	assert_int_equal(n, WINDOW);
	t_assert(seg.window == 0);
	nomstack_tcp_pause(app.c, false);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&peer, &seg));
	assert_int_equal(seg.window, WINDOW);
	/* Closing while paused is an orderly close. */
	peer.seq = seg.ack;
	nomstack_tcp_pause(app.c, true);
	peer_send(&peer, ACK | PSH, "last", 4);
	nomstack_poll(rig.s);
	nomstack_tcp_close(app.c);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&peer, &seg));
	t_assert((seg.flags & (FIN | RST)) == FIN);
	rig_close(&rig);
}

static void test_bulk_with_backpressure(void **state)
{
	static uint8_t buf[1 << 20];
	uint8_t *file;
	uint32_t sent = 0, got = 0, total = 600000;

	begin_established();
	file = nomstack_dma_alloc(rig.s, total);
	assert_non_null(file);
	for (uint32_t i = 0; i < total; i++)
		file[i] = (uint8_t)(i * 31 + (i >> 8));
	for (int i = 0; i < 5000 && got < total; i++) {
		uint32_t room = nomstack_tcp_room(app.c), n = total - sent;

		n = n < room ? n : room;
		if (n) {
			assert_int_equal(nomstack_tcp_send(app.c, file + sent, n, 0), 0);
			sent += n;
		} else if (sent < total) {
			assert_int_equal(nomstack_tcp_send(app.c, file, 65535, 0), -EAGAIN);
		}
		rig_run(&rig, 1);
		got += peer_recv_data(&peer, buf + got, sizeof(buf) - got);
	}
	assert_int_equal(got, total);
	assert_memory_equal(buf, file, total);
	nomstack_poll(rig.s);
	assert_int_equal(app.acked, total);
	t_assert(rig_stats(&rig).tx_zero_copy > total / 1460 - 2);
	rig_close(&rig);
}

/* Header copied, body from where it lies, one segment; and memory no device
 * can read is copied on the way out. */
static void test_send_more_joins_segments(void **state)
{
	static const char outside[] = "body in ordinary memory";
	char *body;

	begin_established();
	body = nomstack_dma_alloc(rig.s, 1200);
	memset(body, 'b', 1200);
	assert_int_equal(nomstack_tcp_send(app.c, "header ", 7, NOMSTACK_SEND_COPY | NOMSTACK_SEND_MORE), 0);
	assert_int_equal(nomstack_tcp_send(app.c, "more ", 5, NOMSTACK_SEND_COPY | NOMSTACK_SEND_MORE), 0);
	assert_int_equal(nomstack_tcp_send(app.c, body, 1200, 0), 0);
	expect(ACK | PSH);
	assert_int_equal(seg.len, 1212);
	assert_memory_equal(seg.data, "header more bbbb", 16);
	assert_true(seg.frame.zero_copy);
	peer.ack += 1212;
	peer_send(&peer, ACK, NULL, 0);
	nomstack_poll(rig.s);
	assert_int_equal(app.acked, 1212);

	rig_knob(&rig, "zc_min_bytes", 0);
	assert_int_equal(nomstack_tcp_send(app.c, outside, sizeof(outside), 0), 0);
	expect(ACK | PSH);
	assert_int_equal(seg.len, sizeof(outside));
	assert_memory_equal(seg.data, outside, sizeof(outside));
	assert_false(seg.frame.zero_copy);
	rig_close(&rig);
}

/* More pieces than a frame may have: put together, nothing lost. */
static void test_many_small_pieces(void **state)
{
	static const char piece[] = "a piece of twenty b.";
	char *dma, buf[4000];
	unsigned i, n = 0;

	for (int in_dma = 0; in_dma < 2; in_dma++) {
		begin_established();
		rig_knob(&rig, "zc_min_bytes", 0);
		dma = nomstack_dma_alloc(rig.s, 20);
		memcpy(dma, piece, 20);
		for (i = 0; i < 100; i++)
			assert_int_equal(nomstack_tcp_send(app.c, in_dma ? dma : piece, 20,
							   i < 99 ? NOMSTACK_SEND_MORE : 0), 0);
		nomstack_poll(rig.s);
		n = peer_recv_data(&peer, buf, sizeof(buf));
		assert_int_equal(n, 2000);
		for (i = 0; i < 100; i++)
			assert_memory_equal(buf + i * 20, piece, 20);
		rig_close(&rig);
	}
}

/* A segment the device still reads is neither changed nor sent again. */
static void test_zero_copy_segment_stays_until_sent(void **state)
{
	begin_established();
	rig_knob(&rig, "zc_min_bytes", 0);
	rig_tx_hold(true);
	assert_int_equal(nomstack_tcp_send(app.c, "slow device", 11, NOMSTACK_SEND_COPY), 0);
	expect(ACK | PSH);
	assert_true(seg.frame.zero_copy);
	rig_run(&rig, 8000);
	peer_none(&peer);
	rig_tx_hold(false);
	rig_run(&rig, 8000);
	t_assert(peer_recv(&peer, &seg));
	assert_int_equal(seg.len, 11);
	/* Acknowledged while in the ring: the memory goes back when reaped. */
	peer.ack += 11;
	rig_tx_hold(true);
	assert_int_equal(nomstack_tcp_send(app.c, "again", 5, NOMSTACK_SEND_COPY), 0);
	nomstack_poll(rig.s);
	peer.ack += 5;
	peer_send(&peer, ACK, NULL, 0);
	nomstack_poll(rig.s);
	assert_int_equal(app.acked, 16);
	rig_close(&rig);
}

static void test_full_ring_delays_and_recovers(void **state)
{
	char buf[64];

	begin_established();
	rig_tx_fail(true);
	assert_int_equal(nomstack_tcp_send(app.c, "patience", 8, NOMSTACK_SEND_COPY), 0);
	nomstack_poll(rig.s);
	t_assert(rig_stats(&rig).tx_ring_full > 0);
	peer_none(&peer);
	rig_tx_fail(false);
	rig_run(&rig, 2);		/* at once, not after a retransmission timeout */
	assert_int_equal(peer_recv_data(&peer, buf, sizeof(buf)), 8);
	rig_close(&rig);
}

static void test_stats_and_idle(void **state)
{
	uint64_t idle;

	begin_established();
	peer_send(&peer, ACK | PSH, "x", 1);
	nomstack_poll(rig.s);
	rig_run(&rig, 3000);
	idle = nomstack_tcp_idle_ns(app.c);
	t_assert(idle >= 2500000000u && idle <= 3500000000u);
	t_assert(rig_stats(&rig).timers_run > 0);
	t_assert(nomstack_next_ns(rig.s) <= 250000000);
	t_assert(nomstack_idle_prepare(rig.s));
	nomstack_idle_done(rig.s);
	peer_send(&peer, ACK | PSH, "y", 1);
	t_assert(!nomstack_idle_prepare(rig.s));
	nomstack_poll(rig.s);
	assert_int_equal(app.received, 2);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handshake_echo_close),
		cmocka_unit_test(test_half_close_keeps_sending),
		cmocka_unit_test(test_active_close_time_wait_is_bounded),
		cmocka_unit_test(test_simultaneous_close),
		cmocka_unit_test(test_reset_by_peer_in_every_state),
		cmocka_unit_test(test_reset_outside_sequence_is_challenged),
		cmocka_unit_test(test_abort_in_every_state),
		cmocka_unit_test(test_close_and_abort_inside_callbacks),
		cmocka_unit_test(test_unknown_port_is_reset),
		cmocka_unit_test(test_listen_overflow_and_recovery),
		cmocka_unit_test(test_unlisten_and_rebind),
		cmocka_unit_test(test_bad_arguments),
		cmocka_unit_test(test_connect),
		cmocka_unit_test(test_retransmission),
		cmocka_unit_test(test_peer_vanishes),
		cmocka_unit_test(test_disorder_is_reassembled),
		cmocka_unit_test(test_disorder_cannot_starve_the_ring),
		cmocka_unit_test(test_pause_closes_the_window),
		cmocka_unit_test(test_bulk_with_backpressure),
		cmocka_unit_test(test_send_more_joins_segments),
		cmocka_unit_test(test_many_small_pieces),
		cmocka_unit_test(test_zero_copy_segment_stays_until_sent),
		cmocka_unit_test(test_full_ring_delays_and_recovers),
		cmocka_unit_test(test_stats_and_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
