// SPDX-License-Identifier: MIT
/*
 * A wire that loses, doubles, delays and reorders frames in both directions,
 * with fixed seeds.  Streams that are echoed across it arrive whole, whatever
 * the batching delay and whether frames are copied or sent from where they lie.
 */
#include "stack_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PORT 7
#define CONNS 4
#define TOTAL 60000u
#define MSS 1000u
#define WINDOW 8u
#define LATE 64

/* The stack's side: echoes through a buffer, as room allows. */
struct echo {
	struct nomstack_conn *c;
	uint32_t have, sent, acked;
	uint8_t *data;		/* DMA memory, large enough for all of the stream */
	bool copy, fin;
};

static struct rig rig;
static struct echo echoes[CONNS];
static unsigned nr_echoes;

/* The peer's side: go-back-N, cumulative acknowledgements. */
struct end {
	struct peer p;
	uint32_t una, nxt, got;	/* stream offsets: acknowledged, sent, received */
	uint32_t base, rbase;	/* their sequence numbers */
	uint64_t progress_ns;
	uint8_t in[TOTAL];
	bool fin_sent, fin_seen;
};

static struct end ends[CONNS];

static uint8_t stream(unsigned who, uint32_t at)
{
	return (uint8_t)(at * 13 + (at >> 9) + who * 71);
}

static void push(struct echo *e)
{
	while (e->c && e->sent < e->have) {
		uint32_t n = e->have - e->sent, room = nomstack_tcp_room(e->c);

		n = n < room ? n : room;
		if (!n || nomstack_tcp_send(e->c, e->data + e->sent, n, e->copy ? NOMSTACK_SEND_COPY : 0))
			return;
		e->sent += n;
	}
	if (e->c && e->fin && e->sent == e->have) {
		nomstack_tcp_close(e->c);
		e->c = NULL;
	}
}

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	struct echo *e = &echoes[nr_echoes++];

	e->c = c;
	return e;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	struct echo *e = arg;

	t_assert(e->have + len <= TOTAL);
	memcpy(e->data + e->have, data, len);
	e->have += len;
	push(e);
}

static void on_sent(struct nomstack_conn *c, void *arg, uint32_t acked)
{
	struct echo *e = arg;

	e->acked += acked;
	t_assert(e->acked <= e->sent);
	push(e);
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
	struct echo *e = arg;

	t_assert(err == 0);
	e->fin = true;
	push(e);
}

static const struct nomstack_tcp_ops ops = {
	.accept = on_accept, .recv = on_recv, .sent = on_sent, .closed = on_closed,
};

/* ------------------------------------------------------------------- wire --- */

static uint64_t dice;
static struct late { uint8_t f[RIG_FRAME]; unsigned len; uint64_t when_ns; } late[LATE];

static void deliver(const uint8_t *f, unsigned len)
{
	rig_inject(&rig, f, len, 0);	/* a full ring loses it: part of the game */
}

/* To the stack: lost, doubled, late, or all well. */
static void wire(const uint8_t *f, unsigned len)
{
	unsigned fate = (unsigned)(rig_random(&dice) % 100);

	if (fate < 8)
		return;
	if (fate < 13)
		deliver(f, len);
	if (fate < 23) {
		struct late *l = &late[rig_random(&dice) % LATE];

		if (!l->len) {
			memcpy(l->f, f, len);
			l->len = len;
			l->when_ns = rig.now_ns + rig_random(&dice) % 30000000;
			return;
		}
	}
	deliver(f, len);
}

static void wire_late(void)
{
	for (unsigned i = 0; i < LATE; i++)
		if (late[i].len && late[i].when_ns <= rig.now_ns) {
			deliver(late[i].f, late[i].len);
			late[i].len = 0;
		}
}

static void end_segment(unsigned i, unsigned flags, uint32_t at, unsigned len)
{
	struct end *e = &ends[i];
	uint8_t f[RIG_FRAME], data[MSS];

	for (unsigned k = 0; k < len; k++)
		data[k] = stream(i, at + k);
	e->p.ack = e->rbase + e->got + e->fin_seen;
	wire(f, peer_frame(&e->p, f, flags | ACK, e->base + at, e->p.ack, data, len));
}

static void end_take(unsigned i, const struct seg *s)
{
	struct end *e = &ends[i];
	uint32_t acked = s->ack - e->base, at = s->seq - e->rbase;

	if (!(s->flags & ACK) || s->flags & (RST | SYN)) {
		/* What comes late to a connection that is over is reset. */
		t_assert(!(s->flags & RST) || (e->fin_seen && e->fin_sent));
		return;
	}
	if (acked > e->una && acked <= TOTAL + 1) {
		e->una = acked < TOTAL ? acked : TOTAL;
		e->progress_ns = rig.now_ns;
		if (e->nxt < e->una)
			e->nxt = e->una;
	}
	if (!s->len && !(s->flags & FIN))
		return;
	/* In order only; what is beyond a gap comes again. */
	if (at <= e->got && at + s->len > e->got) {
		uint32_t skip = e->got - at;

		t_assert(at + s->len <= TOTAL);
		memcpy(e->in + e->got, s->data + skip, s->len - skip);
		e->got = at + s->len;
	}
	if (s->flags & FIN && at + s->len == e->got)
		e->fin_seen = true;
	end_segment(i, 0, e->nxt + e->fin_sent, 0);
}

static void end_work(unsigned i)
{
	struct end *e = &ends[i];

	if (rig.now_ns - e->progress_ns > 400000000) {
		e->nxt = e->una;
		e->progress_ns = rig.now_ns;
		if (e->fin_sent)
			end_segment(i, FIN, TOTAL, 0);
	}
	while (e->nxt < TOTAL && e->nxt < e->una + WINDOW * MSS) {
		uint32_t n = TOTAL - e->nxt < MSS ? TOTAL - e->nxt : MSS;

		end_segment(i, PSH, e->nxt, n);
		e->nxt += n;
	}
	if (e->nxt == TOTAL && !e->fin_sent && e->una == TOTAL) {
		e->fin_sent = true;
		end_segment(i, FIN, TOTAL, 0);
	}
}

static void run_once(uint64_t seed, bool copy, int64_t w_us, bool offload)
{
	static struct seg s;
	unsigned done = 0, i;
	uint64_t start_ns;

	rig_open(&rig, "10.0.0.2/24", offload);
	assert_int_equal(nomstack_tcp_listen(rig.s, PORT, 16, &ops, NULL), 0);
	memset(echoes, 0, sizeof(echoes));
	memset(ends, 0, sizeof(ends));
	memset(late, 0, sizeof(late));
	nr_echoes = 0;
	dice = seed;
	rig_knob(&rig, "zc_min_bytes", copy ? 2048 : 0);
	for (i = 0; i < CONNS; i++) {
		struct end *e = &ends[i];

		echoes[i].copy = copy;
		echoes[i].data = nomstack_dma_alloc(rig.s, TOTAL);
		assert_non_null(echoes[i].data);
		peer_init(&e->p, &rig, (uint16_t)(40000 + i), PORT);
		peer_handshake(&e->p);
		e->base = e->p.seq;
		e->rbase = e->p.ack;
		e->progress_ns = rig.now_ns;
	}
	assert_int_equal(nr_echoes, CONNS);
	rig_knob(&rig, "w_us", w_us);
	start_ns = rig.now_ns;
	while (done < CONNS && rig.now_ns - start_ns < 1200000000000ull) {
		rig.now_ns += 200000;
		wire_late();
		for (i = 0; i < CONNS; i++)
			end_work(i);
		nomstack_poll(rig.s);
		while (rig_tx_pop(&rig, &s.frame)) {
			if (rig_random(&dice) % 100 < 8)
				continue;
			i = (unsigned)(s.frame.data[36] << 8 | s.frame.data[37]) - 40000;
			t_assert(i < CONNS);
			t_assert(peer_parse(&ends[i].p, &s));
			end_take(i, &s);
		}
		for (i = 0, done = 0; i < CONNS; i++)
			done += ends[i].got == TOTAL && ends[i].fin_seen;
	}
	assert_int_equal(done, CONNS);
	for (i = 0; i < CONNS; i++)
		for (uint32_t k = 0; k < TOTAL; k++)
			t_assert(ends[i].in[k] == stream(i, k));
	t_assert(rig_stats(&rig).tcp_retransmits > 0);
	rig_close(&rig);
}

static void test_copied(void **state)
{
	for (uint64_t seed = 1; seed <= 6; seed++)
		run_once(seed * 1000003, true, 0, seed & 1);
}

static void test_zero_copy(void **state)
{
	for (uint64_t seed = 1; seed <= 6; seed++)
		run_once(seed * 1000033, false, 0, seed & 1);
}

static void test_with_batching_delay(void **state)
{
	for (uint64_t seed = 1; seed <= 6; seed++)
		run_once(seed * 1000037, seed & 2, (int64_t)seed * 700, seed & 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copied),
		cmocka_unit_test(test_zero_copy),
		cmocka_unit_test(test_with_batching_delay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
