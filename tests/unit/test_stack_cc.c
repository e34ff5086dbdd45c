// SPDX-License-Identifier: MIT
/*
 * Congestion control under a controlled clock: what the congestion window does
 * with each ACK, against the equations of RFC 9438 (CUBIC) and RFC 5681 and 6582
 * (NewReno), which are written down here once more, in floating point and in
 * segments.
 *
 * The path is a queue: what the stack sends arrives at once, unless the test
 * loses it, and its ACK a round trip later.  The application has always more to
 * send, unless a test says otherwise.
 */
#include "stack_rig.h"
#include "internal.h"

#include "lwip/priv/tcp_priv.h"

#include <linux/virtio_net.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PORT 9
#define MSS 1460
#define C 0.4
#define BETA 0.7
#define ALPHA (3 * (1 - BETA) / (1 + BETA))
#define MAX_ACKS 8192
#define MAX_GAPS 512

static struct rig rig;
static struct peer peer;
static struct nomstack_conn *conn;
static const uint8_t *file;
static bool greedy;		/* the application sends all it can */

/* ------------------------------------------------------------------ path --- */

static unsigned rtt_ms;
static unsigned lose_nr;		/* of the segments to come, so many are lost */
static bool lose_all;
static struct { uint64_t due_ms; uint32_t ack; } acks[MAX_ACKS];
static unsigned ack_head, ack_tail;
static uint32_t early[MAX_GAPS];	/* arrived behind a gap */
static unsigned nr_early;

/* The RFC's variables, in segments and seconds. */
static struct {
	double cwnd, w_max, k, origin, w_est, prior, t, last_s;
	bool stage;
	unsigned checked;
} ref;

static bool cubic;

static uint64_t now_ms(void)
{
	return rig.now_ns / 1000000;
}

static double segs(uint32_t bytes)
{
	return (double)bytes / MSS;
}

static double w_cubic(double t)
{
	return C * (t - ref.k) * (t - ref.k) * (t - ref.k) + ref.origin;
}

static void ref_stage(void)
{
	ref.stage = true;
	ref.t = 0;
	ref.last_s = (double)now_ms() / 1000;
	ref.w_est = ref.cwnd;
	if (ref.w_max > ref.cwnd) {
		ref.origin = ref.w_max;
		ref.k = cbrt((ref.w_max - ref.cwnd) / C);
	} else {
		ref.origin = ref.cwnd;
		ref.k = 0;
	}
}

/* Sections 4.2 to 4.5, for an ACK in congestion avoidance while the window is what bounds the flow. */
static void ref_acked(double acked, double rtt)
{
	double now = (double)now_ms() / 1000, target;

	ref.t += now - ref.last_s;
	ref.last_s = now;
	ref.w_est += (ref.w_est < ref.prior ? ALPHA : 1) * acked / ref.cwnd;
	if (w_cubic(ref.t) < ref.w_est) {
		ref.cwnd = ref.w_est > ref.cwnd ? ref.w_est : ref.cwnd;
		return;
	}
	target = w_cubic(ref.t + rtt);
	target = target < ref.cwnd ? ref.cwnd : target > 1.5 * ref.cwnd ? 1.5 * ref.cwnd : target;
	ref.cwnd += (target - ref.cwnd) / ref.cwnd * acked;
}

static void ref_lost(bool timeout)
{
	if (timeout)
		ref.w_max = 0;
	else if (ref.cwnd < ref.w_max)
		ref.w_max = ref.cwnd * (1 + BETA) / 2;
	else
		ref.w_max = ref.cwnd;
	ref.prior = ref.cwnd;
	ref.stage = false;
}

static void push(void)
{
	uint32_t room;

	while (greedy && (room = nomstack_tcp_room(conn)) >= MSS)
		t_assert(nomstack_tcp_send(conn, file, room / MSS * MSS, 0) == 0);
}

/* One ACK arrives; what it does to the window must be what the RFC says. */
static void deliver(uint32_t ack)
{
	struct tcp_pcb *pcb = conn->pcb, was = *pcb;
	uint32_t acked, flight = was.snd_nxt - was.lastack;

	peer.ack = ack;
	peer_send(&peer, ACK, NULL, 0);
	nomstack_poll(rig.s);
	push();
	nomstack_poll(rig.s);
	acked = pcb->lastack - was.lastack;
	if (!(was.flags & TF_INFR) && pcb->flags & TF_INFR) {
		ref.cwnd = segs(was.cwnd);
		ref_lost(false);
		return;
	}
	if (!acked || pcb->flags & TF_INFR)
		return;
	if (was.flags & TF_INFR) {
		t_assert(pcb->cwnd == pcb->ssthresh);	/* RFC 6582, section 3.2, step 3 */
		ref.cwnd = segs(pcb->cwnd);
		ref_stage();
		return;
	}
	if (was.cwnd < was.ssthresh) {
		/* slow start: RFC 5681, section 3.1; RFC 3465 with L = 2, or 1 after a timeout */
		t_assert(pcb->cwnd - was.cwnd == (acked < 2 * MSS ? acked : was.flags & TF_RTO ? MSS : 2 * MSS) ||
			 was.flags & TF_RTO);
		ref.cwnd = segs(pcb->cwnd);
		return;
	}
	if (!cubic)
		return;
	if (!ref.stage)
		ref_stage();
	if (flight + MSS <= was.cwnd) {
		t_assert(pcb->cwnd == was.cwnd);	/* not what bounds it: no growth, and no time */
		ref.last_s = (double)now_ms() / 1000;
		return;
	}
	ref_acked(segs(acked), (double)rtt_ms / 1000);
	ref.checked++;
	if (fabs(ref.cwnd - segs(pcb->cwnd)) > 1 + 0.01 * ref.cwnd)
		fail_msg("t %.3f: cwnd %.2f segments, the RFC has %.2f (K %.3f, W_max %.2f, W_est %.2f)", ref.t,
			 segs(pcb->cwnd), ref.cwnd, ref.k, ref.origin, ref.w_est);
}

/* The peer's end: in order or not, each segment is acknowledged. */
static void arrive(const struct seg *s)
{
	static uint32_t next;
	unsigned i;

	if (s->flags & SYN) {
		next = s->seq + 1;
		return;
	}
	if (!s->len)
		return;
	if (lose_all || lose_nr) {
		lose_nr -= !lose_all;
		return;
	}
	if (s->seq == next) {
		next += s->len;
		for (i = 0; i < nr_early; i++)
			if (early[i] == next) {
				next += MSS;
				early[i] = early[--nr_early];
				i = -1u;
			}
	} else if ((int32_t)(s->seq - next) > 0) {
		for (i = 0; i < nr_early && early[i] != s->seq; i++)
			;
		if (i == nr_early) {
			t_assert(nr_early < MAX_GAPS && s->len == MSS);
			early[nr_early++] = s->seq;
		}
	}
	acks[ack_tail].due_ms = now_ms() + rtt_ms;
	acks[ack_tail].ack = next;
	ack_tail = (ack_tail + 1) % MAX_ACKS;
	t_assert(ack_tail != ack_head);
}

static void run(unsigned ms)
{
	static struct seg s;

	while (ms--) {
		rig_run(&rig, 1);
		for (;;) {
			while (peer_recv(&peer, &s))
				arrive(&s);
			if (ack_head == ack_tail || acks[ack_head].due_ms > now_ms())
				break;
			deliver(acks[ack_head].ack);
			ack_head = (ack_head + 1) % MAX_ACKS;
		}
	}
}

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	conn = c;
	return &rig;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
	conn = NULL;
}

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

static void begin(bool with_cubic, unsigned ms)
{
	rig_open(&rig, "10.0.0.2/24", 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM);
	rig_knob(&rig, "cc", with_cubic);
	cubic = with_cubic;
	rtt_ms = ms;
	memset(&ref, 0, sizeof(ref));
	lose_nr = nr_early = 0;
	lose_all = false;
	ack_head = ack_tail = 0;
	file = nomstack_dma_alloc(rig.s, 64 << 10);
	t_assert(file && nomstack_tcp_listen(rig.s, PORT, 8, &ops, NULL) == 0);
	peer_init(&peer, &rig, 3000, PORT);
	peer.scale = 7;
	peer.window = 0xffff;
	peer_handshake(&peer);
	{
		struct seg syn = { .flags = SYN, .seq = peer.ack - 1 };

		arrive(&syn);
	}
	/* The handshake took no time: a timeout that knows no more would come before the ACKs do. */
	conn->pcb->rtt = (u64_t)ms * 1000000;
	greedy = true;
	push();
}

static void end(void)
{
	greedy = false;
	rig_close(&rig);
}

static struct tcp_pcb *pcb_of(void)
{
	t_assert(conn && conn->pcb);
	return conn->pcb;
}

/* Slow start up to so many segments (0: where it is), one loss there, and to the end of the recovery. */
static void lose_at(unsigned segments)
{
	unsigned i;

	if (segments)
		pcb_of()->ssthresh = segments * MSS;
	for (i = 0; i < 100000 && pcb_of()->cwnd < segments * MSS; i++)
		run(1);
	t_assert(pcb_of()->cwnd >= segments * MSS && !(pcb_of()->flags & TF_INFR));
	lose_nr = 1;
	for (i = 0; i < 100000 && !(pcb_of()->flags & TF_INFR); i++)
		run(1);
	for (i = 0; i < 100000 && pcb_of()->flags & TF_INFR; i++)
		run(1);
	t_assert(!(pcb_of()->flags & (TF_INFR | TF_RTO)));
}

/* ----------------------------------------------------------------- tests --- */

/* RFC 5681, 3.1 and 3.2: half of it is left, and a segment more with each round trip. */
static void newreno_halves_and_grows_by_one(void **state)
{
	uint32_t from;
	unsigned i;

	begin(false, 100);
	lose_at(64);
	t_assert(pcb_of()->cwnd == pcb_of()->ssthresh);
	t_assert(fabs(segs(pcb_of()->ssthresh) - ref.prior / 2) < 1);
	run(300);	/* the queue is full again */
	from = pcb_of()->cwnd;
	for (i = 1; i <= 40; i++) {
		run(100);
		if (fabs(segs(pcb_of()->cwnd - from) - i) > 1.5)
			fail_msg("after %u round trips: %.2f segments more", i, segs(pcb_of()->cwnd - from));
	}
	end();
}

/* Section 4: deep below W_max it is fast, around it slow, beyond it fast again; each ACK is checked. */
static void cubic_grows_as_the_equations_say(void **state)
{
	double w_max, k, at_k, before, after;

	begin(true, 400);
	lose_at(100);
	w_max = ref.w_max;
	k = ref.k;
	/* 4.6: beta of what was under way; it was all of the window */
	t_assert(fabs(segs(pcb_of()->ssthresh) - BETA * w_max) < 3);
	t_assert(fabs(k - cbrt(w_max * (1 - BETA) / C)) < 0.2 && fabs(pcb_of()->cubic.k_ms - 1000 * k) <= 2);
	t_assert(fabs(segs(pcb_of()->cubic.w_max) - w_max) < 0.01);
	before = segs(pcb_of()->cwnd);
	run((unsigned)(1000 * k) - 1000);
	at_k = segs(pcb_of()->cwnd);
	t_assert(at_k - before > 0.9 * (w_max - before) && at_k < w_max + 1);	/* most of it, early */
	run(2000);
	after = segs(pcb_of()->cwnd);
	t_assert(fabs(after - w_max) < 0.03 * w_max);	/* the plateau */
	run(3000);
	t_assert(segs(pcb_of()->cwnd) > w_max + 10);	/* and beyond */
	print_message("# W_max %.1f, K %.2f s: %.1f a second before K, %.1f after, %u ACKs checked\n", w_max, k, at_k,
		      after, ref.checked);
	t_assert(ref.checked > 1000);
	end();
}

/* The same loss, with ten times the round trip: the same window after the same time. */
static void cubic_does_not_depend_on_round_trips(void **state)
{
	double at[2];
	unsigned i;

	for (i = 0; i < 2; i++) {
		begin(true, i ? 600 : 300);
		lose_at(100);
		t_assert(fabs(ref.w_max - 100) < 6);
		run(7000);
		at[i] = segs(pcb_of()->cwnd) - ref.w_max;
		end();
	}
	print_message("# 7 s after: %.1f and %.1f above W_max\n", at[0], at[1]);
	t_assert(fabs(at[0] - at[1]) < 6);
}

/* Section 4.7: a loss below the last W_max leaves room for others; one above it does not. */
static void cubic_converges_fast(void **state)
{
	double cwnd;

	begin(true, 400);
	lose_at(100);
	cwnd = segs(pcb_of()->cwnd);
	run(1200);
	t_assert(segs(pcb_of()->cwnd) < ref.w_max);
	lose_at(0);
	cwnd = ref.prior;
	t_assert(fabs(segs(pcb_of()->cubic.w_max) - cwnd * (1 + BETA) / 2) < 0.01);
	/* above: run beyond it first */
	run(9000);
	t_assert(segs(pcb_of()->cwnd) > ref.w_max);
	lose_at(0);
	t_assert(fabs(segs(pcb_of()->cubic.w_max) - ref.prior) < 0.01);
	run(4000);
	end();
}

/* Section 4.3: on a short path it grows as Reno would: alpha a round trip until where it was, then one. */
static void cubic_is_friendly_to_reno(void **state)
{
	double from, prior, grown;
	unsigned i;

	begin(true, 4);
	lose_at(30);
	prior = ref.prior;
	run(12);
	from = segs(pcb_of()->cwnd);
	for (i = 1; i <= 10; i++)
		run(4);
	grown = segs(pcb_of()->cwnd) - from;
	print_message("# 10 round trips: %.2f segments more, alpha is %.3f\n", grown, ALPHA);
	t_assert(fabs(grown - 10 * ALPHA) < 1.5);
	for (i = 0; i < 1000 && segs(pcb_of()->cwnd) < prior + 1; i++)
		run(4);
	from = segs(pcb_of()->cwnd);
	run(80);
	grown = segs(pcb_of()->cwnd) - from;
	print_message("# beyond, 20 round trips: %.2f\n", grown);
	t_assert(fabs(grown - 20) < 2.5);
	end();
}

/* Section 4.8: slow start to beta of it, then from there, as if the plateau were there. */
static void cubic_starts_anew_after_a_timeout(void **state)
{
	struct tcp_pcb *pcb, was;
	uint32_t flight;
	double from;
	unsigned i;

	begin(true, 400);
	lose_at(60);
	run(2000);
	pcb = pcb_of();
	lose_all = true;
	for (i = 0; i < 60000 && !(pcb->flags & TF_RTO); i++)
		run(1);
	t_assert(pcb->flags & TF_RTO);
	flight = pcb->snd_nxt - pcb->lastack;
	t_assert(pcb->cwnd == MSS);
	t_assert(fabs((double)pcb->ssthresh - BETA * flight) <= 1);
	/* RFC 5681, 3.1: a second one for the same segment leaves ssthresh where it is */
	was = *pcb;
	for (i = 0; i < 60000 && pcb->nrtx == was.nrtx; i++)
		run(1);
	t_assert(pcb->nrtx == was.nrtx + 1);
	t_assert(pcb->ssthresh == was.ssthresh && pcb->cubic.prior == was.cubic.prior && pcb->cwnd == MSS);
	lose_all = false;
	t_assert(pcb->cubic.w_max == 0 && !pcb->cubic.epoch);
	ref.prior = segs(pcb->cubic.prior);
	ref.w_max = 0;
	ref.stage = false;
	for (i = 0; i < 60000 && pcb->cwnd < pcb->ssthresh; i++)
		run(1);
	for (i = 0; i < 5000 && !pcb->cubic.epoch; i++)
		run(1);
	t_assert(pcb->cubic.epoch && pcb->cubic.k_ms == 0);
	t_assert(pcb->cubic.origin >= pcb->ssthresh && pcb->cubic.origin < pcb->ssthresh + 3 * MSS);
	from = segs(pcb->cwnd);
	ref.checked = 0;
	run(5000);
	print_message("# 5 s on: %.1f of C t^3 = %.1f\n", segs(pcb->cwnd) - from, C * 125);
	t_assert(ref.checked > 300);
	t_assert(fabs(segs(pcb->cwnd) - from - C * 125) < 0.25 * C * 125);
	end();
}

/* Section 4.2 and 5.8: who does not use the window is given no larger one, and no time passes for it. */
static void an_idle_application_gains_nothing(void **state)
{
	uint32_t cwnd, t;
	unsigned i;

	begin(true, 400);
	lose_at(100);
	run(1000);
	greedy = false;
	run(4000);	/* what was queued goes out */
	t_assert(pcb_of()->unacked == NULL);
	cwnd = pcb_of()->cwnd;
	t = pcb_of()->cubic.t_ms;
	for (i = 0; i < 50; i++) {
		t_assert(nomstack_tcp_send(conn, file, MSS, 0) == 0);
		run(400);
	}
	t_assert(pcb_of()->cwnd == cwnd);
	t_assert(pcb_of()->cubic.t_ms == t);
	/* it goes on from there: no leap for 24 s of silence */
	greedy = true;
	push();
	ref.checked = 0;
	run(1500);
	t_assert(ref.checked > 50);
	t_assert(segs(pcb_of()->cwnd) < segs(cwnd) + 30);
	end();
}

/* The knob is live, in both directions, and a change makes no window jump. */
static void the_knob_is_live(void **state)
{
	uint32_t cwnd;
	int64_t v;

	begin(false, 400);
	lose_at(60);
	run(1200);
	t_assert(nomstack_knob_get(rig.s, "cc", &v) == 0 && v == 0);
	t_assert(nomstack_knob_set(rig.s, "cc", 2) == -34 /* ERANGE */);
	cwnd = pcb_of()->cwnd;
	rig_knob(&rig, "cc", 1);
	t_assert(nomstack_knob_get(rig.s, "cc", &v) == 0 && v == 1);
	t_assert(pcb_of()->cwnd == cwnd);
	cubic = true;
	ref.cwnd = segs(cwnd);
	ref.w_max = ref.prior = 0;
	ref.stage = false;
	run(4000);
	t_assert(ref.checked > 200);
	t_assert(segs(pcb_of()->cwnd - cwnd) > 15);	/* C t^3, where Reno has 10 */
	rig_knob(&rig, "cc", 0);
	cubic = false;
	cwnd = pcb_of()->cwnd;
	run(4000);
	t_assert(fabs(segs(pcb_of()->cwnd - cwnd) - 10) < 1.5);
	/* a loss now is halved again */
	lose_at(0);
	t_assert(fabs(segs(pcb_of()->ssthresh) - ref.prior / 2) < 1);
	t_assert(pcb_of()->cubic.w_max == 0);
	end();
	/* the next stack starts with the default */
	begin(false, 100);
	t_assert(nomstack_knob_get(rig.s, "cc", &v) == 0 && v == 0);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(newreno_halves_and_grows_by_one),
		cmocka_unit_test(cubic_grows_as_the_equations_say),
		cmocka_unit_test(cubic_does_not_depend_on_round_trips),
		cmocka_unit_test(cubic_converges_fast),
		cmocka_unit_test(cubic_is_friendly_to_reno),
		cmocka_unit_test(cubic_starts_anew_after_a_timeout),
		cmocka_unit_test(an_idle_application_gains_nothing),
		cmocka_unit_test(the_knob_is_live),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
