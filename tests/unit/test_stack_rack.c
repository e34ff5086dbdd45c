// SPDX-License-Identifier: MIT
/*
 * Loss detection by time (RFC 8985) on wires that lose nothing: whatever is sent again
 * is a copy too many, and the receiver counts them.  It is written from the RFCs: one ACK
 * for each segment, with SACK, and DSACK for what comes twice.
 */
#include "stack_rig.h"
#include "bytes.h"
#include "internal.h"
#include "lwip/priv/tcp_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define PORT 7
#define MSS 1460u
#define SEGS 4000u
#define ON_WIRE 1024
#define US 1000ull
#define MS 1000000ull

static struct rig rig;
static struct nomstack_conn *conn;
static uint8_t *file;		/* DMA memory, one segment: what is in it does not matter here */
static uint64_t dice;

/* The wire; all but @grain_ns can change while it works. */
static struct {
	uint64_t now_ns;	/* the real time, of which the stack sees steps of @grain_ns */
	uint64_t grain_ns, step_ns, delay_ns;
	unsigned late_one_in, lost_one_in;	/* segments with data; 0: none */
	uint64_t late_ns;	/* by at most so much */
} wire;

/* What is under way: a segment of @nr to the peer, or its ACK, made when it arrives. */
static struct flying {
	uint64_t when_ns;
	bool used, ack;
	unsigned nr;
	uint8_t frame[128];
	unsigned bytes;
} flying[ON_WIRE];

static struct {
	struct peer p;
	uint32_t base;
	unsigned next;		/* segments in order */
	bool have[SEGS];
	unsigned copies, lost;
	unsigned probes;	/* of its window */
	bool closed;
	unsigned into;		/* ACKs end so many bytes within the next segment, if it was sent */
	uint32_t most_cwnd;	/* seen */
} rx;

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	return conn = c;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len) { }
static void on_closed(struct nomstack_conn *c, void *arg, int err) { }

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

static struct flying *launch(uint64_t delay_ns)
{
	unsigned i;

	for (i = 0; i < ON_WIRE; i++)
		if (!flying[i].used) {
			memset(&flying[i], 0, sizeof(flying[i]));
			flying[i].used = true;
			flying[i].when_ns = wire.now_ns + delay_ns;
			return &flying[i];
		}
	t_assert(!"the wire is full");
	return NULL;
}

/* An ACK with its options, or a SYN: on its way after the wire's delay. */
static struct flying *answer(unsigned flags, int nr, bool copy)
{
	struct flying *f = launch(wire.delay_ns);
	uint8_t t[80] = { 0 };
	unsigned hdr = 20, blocks = 0, opt, i;
	uint32_t ack = rx.base + rx.next * MSS;
	uint16_t sum;

	if (conn && conn->pcb->snd_nxt - ack >= MSS && conn->pcb->snd_nxt - ack < SEGS * MSS)
		ack += rx.into;
	if (flags & SYN) {
		memcpy(t + hdr, "\x02\x04\x05\xb4\x01\x03\x03\x02\x01\x01\x04\x02", 12);
		hdr += 12;
	} else if (nr >= 0) {
		opt = hdr;
		hdr += 4;
		if (copy) {
			put32(t + hdr, rx.base + (unsigned)nr * MSS);
			put32(t + hdr + 4, rx.base + ((unsigned)nr + 1) * MSS);
			hdr += 8, blocks++;
		}
		for (i = rx.next; i < SEGS && blocks < 3; i++) {
			unsigned from = i;

			while (i < SEGS && rx.have[i])
				i++;
			if (i == from)
				continue;
			put32(t + hdr, rx.base + from * MSS);
			put32(t + hdr + 4, rx.base + i * MSS);
			hdr += 8, blocks++;
			if (i > rx.next + 600)
				break;
		}
		memcpy(t + opt, "\x01\x01\x05", 3);
		t[opt + 3] = (uint8_t)(2 + blocks * 8);
		if (!blocks)
			hdr = opt;
	}
	put16(t, rx.p.port);
	put16(t + 2, PORT);
	put32(t + 4, rx.p.seq);
	put32(t + 8, flags & ACK ? ack : 0);
	t[12] = (uint8_t)(hdr << 2);
	t[13] = (uint8_t)flags;
	put16(t + 14, rx.closed ? 0 : 65535);
	sum = t_csum(t, hdr, (PEER_IP >> 16) + (PEER_IP & 0xffff) + (RIG_IP >> 16) + (RIG_IP & 0xffff) + 6 + hdr);
	memcpy(t + 16, &sum, 2);
	f->ack = true;
	f->bytes = t_ip_frame(&rig, f->frame, PEER_IP, RIG_IP, 6, t, hdr);
	rx.p.seq += !!(flags & SYN);
	return f;
}

static void arrive(unsigned nr)
{
	bool copy = rx.have[nr];

	rx.copies += copy;
	rx.have[nr] = true;
	while (rx.next < SEGS && rx.have[rx.next])
		rx.next++;
	answer(ACK, (int)nr, copy);
}

/* One step of time: what is due arrives at either end, and the stack polls. */
static void step(void)
{
	static struct seg s;
	unsigned i;

	wire.now_ns += wire.step_ns;
	rig.now_ns = wire.now_ns - wire.now_ns % wire.grain_ns;
	for (i = 0; i < ON_WIRE; i++) {
		if (!flying[i].used || flying[i].when_ns > wire.now_ns)
			continue;
		flying[i].used = false;
		if (flying[i].ack)
			t_assert(rig_inject(&rig, flying[i].frame, flying[i].bytes, 0));
		else
			arrive(flying[i].nr);
	}
	nomstack_poll(rig.s);
	if (conn) {
		t_assert(conn->pcb->rack.gone <= conn->pcb->snd_nxt - conn->pcb->lastack);
		if (conn->pcb->cwnd > rx.most_cwnd)
			rx.most_cwnd = conn->pcb->cwnd;
	}
	while (peer_recv(&rx.p, &s)) {
		uint64_t delay_ns = wire.delay_ns;
		unsigned nr = (s.seq - rx.base) / MSS;

		if (s.flags & SYN) {
			rx.base = s.seq + 1;
			answer(ACK, -1, false)->when_ns += wire.delay_ns;	/* for both ways */
		}
		if (!s.len)
			continue;
		if (s.len == 1) {
			rx.probes++;
			continue;
		}
		t_assert(s.len == MSS && (s.seq - rx.base) % MSS == 0 && nr < SEGS);
		if (wire.lost_one_in && rig_random(&dice) % wire.lost_one_in == 0) {
			rx.lost++;
			continue;
		}
		if (wire.late_one_in && rig_random(&dice) % wire.late_one_in == 0)
			delay_ns += 1 + rig_random(&dice) % wire.late_ns;
		launch(delay_ns)->nr = nr;
	}
}

static void run_for(uint64_t ns)
{
	uint64_t end = wire.now_ns + ns;

	while (wire.now_ns < end)
		step();
}

static void begin(uint64_t seed, uint64_t grain_ns, uint64_t step_ns, uint64_t delay_ns)
{
	memset(&rx, 0, sizeof(rx));
	memset(&wire, 0, sizeof(wire));
	memset(flying, 0, sizeof(flying));
	dice = seed * 1000003;
	conn = NULL;
	rig_open(&rig, "10.0.0.2/24", 0);
	t_assert(nomstack_tcp_listen(rig.s, PORT, 8, &ops, NULL) == 0);
	file = nomstack_dma_alloc(rig.s, MSS);
	t_assert(file);
	memset(file, 'x', MSS);
	wire.now_ns = rig.now_ns;
	wire.grain_ns = grain_ns;
	wire.step_ns = step_ns;
	wire.delay_ns = delay_ns;
	peer_init(&rx.p, &rig, 40000, PORT);
	answer(SYN, -1, false);
	while (!conn)
		step();
	run_for(2 * delay_ns);
}

static void send_until(unsigned nr)
{
	static unsigned sent;
	uint64_t end = wire.now_ns + 600000 * MS;

	if (!rx.next)
		sent = 0;
	while (rx.next < nr) {
		while (sent < nr && nomstack_tcp_room(conn) >= MSS && !nomstack_tcp_send(conn, file, MSS, 0))
			sent++;
		step();
		t_assert(wire.now_ns < end);
	}
}

static void end(void)
{
	nomstack_tcp_abort(conn);
	rig_close(&rig);
}

/* All segments of the stream, of which some are late and some lost; with five seeds. */
static void streams(uint64_t grain_ns, uint64_t late_ns, unsigned lost_one_in, unsigned most_copies, unsigned most_us)
{
	unsigned seed;

	for (seed = 1; seed <= 5; seed++) {
		uint64_t start_ns;
		unsigned us;

		begin(seed, grain_ns, grain_ns == 1 ? US : 10 * US, 20 * US);
		wire.late_one_in = late_ns ? 20 : 0;
		wire.late_ns = late_ns;
		wire.lost_one_in = lost_one_in;
		start_ns = wire.now_ns;
		send_until(SEGS);
		us = (unsigned)((wire.now_ns - start_ns) / US);
		print_message("# %u segments, %u lost, %u copies, %u us\n", SEGS, rx.lost, rx.copies, us);
		t_assert(!!rx.lost == !!lost_one_in);
		t_assert(rx.copies <= most_copies);
		t_assert(us <= most_us);
		end();
	}
}

/* A round trip of 40 us; one segment in 20 is late by up to 300. */
static void late_on_a_fast_wire(void **state)
{
	streams(1, 300 * US, 0, 20, 10000);
}

/* Some are lost as well: that is found out as soon as before, and the wait for what is late costs no more than copies. */
static void late_and_lost_on_a_fast_wire(void **state)
{
	streams(1, 300 * US, 100, 30, 27000);
	streams(1, 30 * US, 100, 10, 16000);
}

static void lost_on_a_fast_wire(void **state)
{
	streams(1, 0, 100, 0, 16000);
}

/* By the stack's clock a round trip takes no time, mostly. */
static void late_by_a_coarse_clock(void **state)
{
	streams(MS, 300 * US, 0, 60, 12000);
}

/* One segment a second, for @s seconds. */
static void trickle(unsigned s)
{
	while (s--) {
		send_until(rx.next + 1);
		run_for(1000 * MS);
	}
}

/* A receiver may take a part of a segment; what of it is acknowledged is not missing, nor under way. */
static void acknowledged_in_the_middle(void **state)
{
	unsigned seed;

	for (seed = 1; seed <= 5; seed++) {
		begin(seed, 1, 500 * US, 10 * MS);
		rx.into = 700;
		wire.lost_one_in = 5;
		send_until(SEGS);
		print_message("# %u lost, %u copies, cwnd %u at most\n", rx.lost, rx.copies, rx.most_cwnd);
		t_assert(rx.most_cwnd < 1 << 20);
		end();
	}
}

/* All is to be sent again, but the interface still reads some of it: what is known of the rest stays known. */
static void what_cannot_be_sent_again_is_not_forgotten(void **state)
{
	struct tcp_pcb *pcb;
	unsigned i;

	begin(1, 1, 500 * US, 10 * MS);
	trickle(10);
	pcb = conn->pcb;
	wire.lost_one_in = 1;
	for (i = 0; i < 3; i++)
		t_assert(!nomstack_tcp_send(conn, file, MSS, 0));
	run_for(5 * MS);
	rx.have[rx.next + 1] = true;
	answer(ACK, 0, false);
	run_for(11 * MS);
	t_assert(pcb->rack.sacked == MSS && pcb->unacked->next->flags & TF_SEG_SACKED);
	pbuf_ref(pcb->unacked->next->next->p);
	t_assert(tcp_rexmit_rto_prepare(pcb) == ERR_VAL);
	t_assert(pcb->rack.sacked == MSS && pcb->unacked->next->flags & TF_SEG_SACKED);
	pbuf_free(pcb->unacked->next->next->p);
	t_assert(tcp_rexmit_rto_prepare(pcb) == ERR_OK);
	t_assert(!pcb->unacked && !pcb->rack.sacked && !(pcb->unsent->next->flags & TF_SEG_SACKED));
	end();
}

/* The probe before a timeout cannot be sent, nor what the timeout sends: that it was tried counts all the same. */
static void without_a_way_timeouts_go_on(void **state)
{
	struct tcp_pcb *pcb;
	unsigned i;

	begin(1, 1, 500 * US, 10 * MS);
	trickle(10);
	pcb = conn->pcb;
	wire.lost_one_in = 1;
	for (i = 0; i < 2; i++)
		t_assert(!nomstack_tcp_send(conn, file, MSS, 0));
	run_for(5 * MS);
	netif_set_down(&rig.s->netif);
	run_for(3000 * MS);
	print_message("# %u timeouts\n", pcb->nrtx);
	t_assert(pcb->nrtx >= 3);
	netif_set_up(&rig.s->netif);
	end();
}

/* A probe of a closed window may take all of a segment, which was then never sent as such. */
static void a_window_probe_is_no_round_trip(void **state)
{
	uint64_t before;

	begin(1, 1, 500 * US, 10 * MS);
	trickle(10);
	before = conn->pcb->rtt;
	t_assert(before < 25 * MS);
	rx.closed = true;
	answer(ACK, -1, false);
	run_for(20 * MS);
	t_assert(!nomstack_tcp_send(conn, file, 1, 0));
	while (!rx.probes)
		step();
	rx.closed = false;
	rx.base++;
	answer(ACK, -1, false);
	run_for(20 * MS);
	t_assert(!conn->pcb->unsent && !conn->pcb->unacked);
	print_message("# round trip %u us, before %u\n", (unsigned)(conn->pcb->rtt / US), (unsigned)(before / US));
	t_assert(conn->pcb->rtt == before);
	end();
}

static void round_trip(uint64_t ns)
{
	wire.delay_ns = ns / 2;
}

/* RFC 8985, 6.2, step 1: what counts is the least round trip of the last minutes. */
static void paths_become_longer(void **state)
{
	begin(1, 1, 500 * US, 1 * MS);
	trickle(10);
	t_assert(conn->pcb->rtt_min <= 4 * MS);
	round_trip(80 * MS);
	trickle(100);
	t_assert(conn->pcb->rtt_min <= 4 * MS);
	trickle(200);
	t_assert(conn->pcb->rtt_min >= 80 * MS && conn->pcb->rtt_min <= 84 * MS);
	/* a quarter of it is waited for */
	wire.late_one_in = 20;
	wire.late_ns = 15 * MS;
	send_until(SEGS);
	print_message("# %u copies\n", rx.copies);
	t_assert(rx.copies <= 20);
	end();
}

static void paths_become_shorter(void **state)
{
	begin(1, 1, 500 * US, 40 * MS);
	trickle(10);
	t_assert(conn->pcb->rtt_min >= 80 * MS);
	round_trip(20 * MS);
	trickle(2);
	t_assert(conn->pcb->rtt_min >= 20 * MS && conn->pcb->rtt_min <= 24 * MS);
	/* what was measured before a long silence tells nothing */
	round_trip(80 * MS);
	trickle(200);
	t_assert(conn->pcb->rtt_min <= 24 * MS);
	wire.step_ns = 100 * MS;
	run_for(400000 * MS);
	wire.step_ns = 500 * US;
	trickle(1);
	t_assert(conn->pcb->rtt_min >= 80 * MS);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(late_on_a_fast_wire),
		cmocka_unit_test(late_and_lost_on_a_fast_wire),
		cmocka_unit_test(lost_on_a_fast_wire),
		cmocka_unit_test(late_by_a_coarse_clock),
		cmocka_unit_test(acknowledged_in_the_middle),
		cmocka_unit_test(what_cannot_be_sent_again_is_not_forgotten),
		cmocka_unit_test(without_a_way_timeouts_go_on),
		cmocka_unit_test(a_window_probe_is_no_round_trip),
		cmocka_unit_test(paths_become_longer),
		cmocka_unit_test(paths_become_shorter),
	};

	return cmocka_run_group_tests_name("stack_rack", tests, NULL, NULL);
}
