// SPDX-License-Identifier: MIT
/*
 * Segments that are longer than an MSS and cut up by the device: nothing of TCP
 * may show it.  A receiver written from the RFCs (SACK included) takes what the
 * device cut, loses some of it, opens and closes its window; each packet that
 * arrives is held against what was announced, and what the stack has under way
 * against its congestion window.
 *
 * Real driver, our vhost-user back-end as the device (stack_rig_vhost.c).
 */
#include "stack_rig.h"
#include "bytes.h"
#include "internal.h"
#include "lwip/priv/tcp_priv.h"

#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PORT 7
#define TOTAL 400000u
#define MOST 100		/* packets that a test looks at in one go */

static bool six;		/* over IPv6 */
static struct rig rig;
static struct nomstack_conn *conn;
static uint8_t *file;		/* DMA memory */
static uint32_t acked;		/* told to the application */
static uint64_t dice;

/* What the peer has of the stream, and what it told the stack. */
static struct {
	struct peer p;
	uint16_t mss;
	bool sack, fin;
	uint32_t base;		/* sequence number of the stream's first byte */
	uint32_t next;		/* bytes in order */
	uint32_t edge;		/* end of the window, as announced at most */
	uint8_t have[TOTAL];	/* 1: this byte is here */
	uint8_t data[TOTAL];
} rx;

/* A packet that came, in bytes of the stream. */
struct packet {
	uint32_t from, to;
	unsigned flags;
};

static struct packet came[MOST];

static uint8_t content(uint32_t at)
{
	return (uint8_t)(at * 31 + (at >> 8) * 7);
}

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	return conn = c;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len) { }

static void on_sent(struct nomstack_conn *c, void *arg, uint32_t n)
{
	acked += n;
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
	t_assert(err == 0);
}

static const struct nomstack_tcp_ops ops = {
	.accept = on_accept, .recv = on_recv, .sent = on_sent, .closed = on_closed,
};

/* A segment of the peer's without data, with the options that belong to it. */
static void tell(unsigned flags)
{
	uint8_t t[60] = { 0 }, f[RIG_FRAME];
	unsigned hdr = 20;
	uint16_t sum;
	uint32_t at;

	if (flags & SYN) {
		memcpy(t + hdr, "\x02\x04\x00\x00\x01\x03\x03\x00", 8);
		put16(t + hdr + 2, rx.mss);
		t[hdr + 7] = (uint8_t)rx.p.scale;
		hdr += 8;
		if (rx.sack) {
			memcpy(t + hdr, "\x01\x01\x04\x02", 4);
			hdr += 4;
		}
	} else if (rx.sack) {
		unsigned blocks = 0, opt = hdr;

		for (at = rx.next; at < TOTAL && at < rx.edge && blocks < 3; at++) {
			uint32_t from = at;

			while (at < TOTAL && rx.have[at])
				at++;
			if (at == from)
				continue;
			if (!blocks++) {
				memcpy(t + opt, "\x01\x01\x05\x00", 4);
				hdr += 4;
			}
			put32(t + hdr, rx.base + from);
			put32(t + hdr + 4, rx.base + at);
			hdr += 8;
		}
		if (blocks)
			t[opt + 3] = (uint8_t)(2 + blocks * 8);
	}
	put16(t, rx.p.port);
	put16(t + 2, PORT);
	put32(t + 4, rx.p.seq);
	if (flags & ACK)
		put32(t + 8, rx.base + rx.next + rx.fin);
	t[12] = (uint8_t)(hdr << 2);
	t[13] = (uint8_t)flags;
	put16(t + 14, rx.p.window);
	sum = six ? t_csum6(rx.p.ip6, rx.p.to_ip6, 6, t, hdr) :
		    t_csum(t, hdr, (PEER_IP >> 16) + (PEER_IP & 0xffff) + (RIG_IP >> 16) + (RIG_IP & 0xffff) + 6 + hdr);
	memcpy(t + 16, &sum, 2);
	rig_inject(&rig, f, six ? t_ip6_frame(&rig, f, rx.p.ip6, rx.p.to_ip6, 6, 64, t, hdr) :
				  t_ip_frame(&rig, f, PEER_IP, RIG_IP, 6, t, hdr), 0);
	rx.p.seq += !!(flags & SYN);
	if (!(flags & SYN) && rx.next + ((uint32_t)rx.p.window << rx.p.scale) > rx.edge)
		rx.edge = rx.next + ((uint32_t)rx.p.window << rx.p.scale);
}

/* One poll, in which at most one segment of the peer's is looked at. */
static void poll_once(void)
{
	struct tcp_pcb *pcb = tcp_active_pcbs;
	uint32_t sent = pcb->snd_nxt;

	nomstack_poll(rig.s);
	pcb = tcp_active_pcbs;
	if (pcb && pcb->snd_nxt != sent)
		/* what has arrived behind holes is not under way, and a probe may be one segment more */
		t_assert(pcb->snd_nxt - pcb->lastack <= pcb->cwnd + pcb->rack.gone + !!(pcb->flags & TF_FIN) +
			 (pcb->rack.tlp ? pcb->mss : 0));
}

static void tell_and_poll(void)
{
	tell(ACK);
	poll_once();
}

/* The next packet from the device, held against all rules; false: none. */
static bool packet(struct packet *out)
{
	static struct seg s;

	while (peer_recv(&rx.p, &s)) {
		uint32_t at = s.seq - rx.base;

		t_assert(!(s.flags & (SYN | RST)));
		if (!s.len && !(s.flags & FIN))
			continue;
		t_assert(s.len <= rx.mss);
		t_assert(at + s.len <= TOTAL);
		t_assert(at + s.len <= rx.edge || s.len == 1);
		for (unsigned i = 0; i < s.len; i++)
			t_assert(s.data[i] == content(at + i));
		*out = (struct packet){ at, at + s.len, s.flags };
		return true;
	}
	return false;
}

static void keep(const struct packet *p)
{
	memset(rx.have + p->from, 1, p->to - p->from);
	while (rx.next < TOTAL && rx.have[rx.next])
		rx.next++;
	if (p->flags & FIN && p->to == rx.next)
		rx.fin = true;
}

/* All packets that are there, into @came; none is kept. */
static unsigned packets(void)
{
	unsigned n = 0;

	while (packet(&came[n]))
		t_assert(++n < MOST);
	return n;
}

/* The next packet comes within @ms; into came[0]. */
static void await(unsigned ms)
{
	for (; !packet(&came[0]); ms--) {
		t_assert(ms > 0);
		rig_run(&rig, 1);
	}
}

static void begin(uint16_t mss, uint16_t window, unsigned scale, bool sack)
{
	static struct seg s;

	acked = 0;
	conn = NULL;
	memset(&rx, 0, sizeof(rx));
	if (six)
		rig_open6(&rig, 1);
	else
		rig_open(&rig, "10.0.0.2/24", 1);
	t_assert(nomstack_tcp_listen(rig.s, PORT, 8, &ops, NULL) == 0);
	file = nomstack_dma_alloc(rig.s, TOTAL);
	for (uint32_t i = 0; i < TOTAL; i++)
		file[i] = content(i);
	(six ? peer_init6 : peer_init)(&rx.p, &rig, 40000, PORT);
	rx.p.window = window;
	rx.p.scale = scale;
	rx.mss = mss;
	rx.sack = sack;
	tell(SYN);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&rx.p, &s) && s.flags == (SYN | ACK));
	rx.base = s.seq + 1;
	tell(ACK);
	nomstack_poll(rig.s);
	t_assert(conn);
}

static void end(void)
{
	nomstack_tcp_abort(conn);
	rig_close(&rig);
}

static uint32_t queue(uint32_t from, uint32_t n, unsigned flags)
{
	t_assert(nomstack_tcp_room(conn) >= n);
	t_assert(nomstack_tcp_send(conn, file + from, n, flags) == 0);
	return from + n;
}

/* So that the congestion window is no longer what bounds: @mss * 40 and more. */
static uint32_t warm_up(void)
{
	uint32_t sent = 0;
	struct packet p;

	while (tcp_active_pcbs->cwnd < 40u * rx.mss) {
		sent = queue(sent, rx.mss, 0);
		poll_once();
		t_assert(packet(&p));
		keep(&p);
		tell_and_poll();
	}
	t_assert(acked == sent);
	return sent;
}

/* ------------------------------------------------------------------ tests --- */

/* What is acknowledged of a segment is the application's again; the rest goes again, a packet at a time. */
static void test_partial_ack_and_timeout(void **state)
{
	uint32_t at, before;

	begin(1000, 65535, 0, false);
	at = warm_up();
	queue(at, 20000, 0);
	poll_once();
	t_assert(packets() == 20);
	t_assert(rig_stats(&rig).tx_long == 1);
	poll_once();			/* the device is done with it */
	before = acked;
	rx.next = at + 7300;
	tell_and_poll();
	t_assert(acked - before == 7300);
	t_assert(tcp_active_pcbs->unacked->len == 20000 - 7300);
	await(5000);
	t_assert(came[0].from == at + 7300 && came[0].to == at + 8300);
	t_assert(packets() == 0);
	t_assert(tcp_active_pcbs->cwnd == 1000);
	/* It was the first alone that was lost. */
	rx.next = at + 20000;
	tell_and_poll();
	t_assert(acked == at + 20000);
	end();
}

/* Packets in the middle of a segment are lost: they are sent again at once, and nothing else is. */
static void test_sack_of_parts(void **state)
{
	uint32_t at;
	unsigned n, i;

	begin(1000, 65535, 0, true);
	at = warm_up();
	queue(at, 30000, 0);
	poll_once();
	n = packets();
	t_assert(n == 30 && rig_stats(&rig).tx_long == 1);
	for (i = 0; i < n; i++) {
		if (i == 4 || i == 11 || i == 12 || i == 20)
			continue;
		keep(&came[i]);
		tell_and_poll();
	}
	/* No ACK has told of the others: it was SACK that did. */
	t_assert(packets() == 4);
	t_assert(came[0].from == at + 4000 && came[1].from == at + 11000);
	t_assert(came[2].from == at + 12000 && came[3].from == at + 20000);
	for (i = 0; i < 4; i++) {
		t_assert(came[i].to == came[i].from + 1000);
		keep(&came[i]);
	}
	tell_and_poll();
	t_assert(acked == at + 30000 && rig_stats(&rig).tcp_retransmits == 4);
	end();
}

/* The same with a peer that takes many packets at a time: one block stands for many. */
static void test_sack_of_many(void **state)
{
	uint32_t at;
	unsigned n, i;

	begin(1000, 65535, 0, true);
	at = warm_up();
	queue(at, 30000, 0);
	poll_once();
	n = packets();
	t_assert(n == 30);
	for (i = 0; i < n; i++)
		if (i != 4 && i != 11)
			keep(&came[i]);
	/* It tells of both at once, and nothing that follows makes them lost again. */
	tell_and_poll();
	t_assert(packets() == 2 && came[0].from == at + 4000 && came[0].to == at + 5000);
	t_assert(came[1].from == at + 11000 && came[1].to == at + 12000);
	for (i = 0; i < 4; i++)
		tell_and_poll();
	t_assert(packets() == 0);
	t_assert(rig_stats(&rig).tcp_retransmits == 2);
	end();
}

/* Without SACK, the same loss: NewReno's partial ACK tells of the second. */
static void test_two_losses_without_sack(void **state)
{
	struct packet p;
	uint32_t at;
	unsigned n, i, again = 0;

	begin(1000, 65535, 0, false);
	at = warm_up();
	queue(at, 30000, 0);
	poll_once();
	n = packets();
	t_assert(n == 30);
	for (i = 0; i < n; i++) {
		if (i == 4 || i == 11)
			continue;
		keep(&came[i]);
		tell_and_poll();
	}
	for (i = 0; i < 20 && rx.next < at + 30000; i++) {
		while (packet(&p)) {
			t_assert(p.from == at + 4000 || p.from == at + 11000);
			t_assert(p.to == p.from + 1000);
			again++;
			keep(&p);
			tell_and_poll();
		}
		rig_run(&rig, 1);
	}
	t_assert(rx.next == at + 30000 && again == 2);
	end();
}

/* A window of some packets takes whole packets; one of less than a packet is used after a while. */
static void test_windows(void **state)
{
	uint32_t at;
	unsigned n, i;

	begin(1000, 65535, 0, false);
	at = warm_up();
	rx.p.window = 3700;
	rx.edge = 0;
	tell_and_poll();
	queue(at, 30000, 0);
	poll_once();
	n = packets();
	t_assert(n == 3 && came[2].to == at + 3000);
	for (i = 0; i < n; i++)
		keep(&came[i]);
	/* closed */
	rx.p.window = 0;
	tell_and_poll();
	t_assert(packets() == 0);
	await(10000);
	t_assert(came[0].from == at + 3000 && came[0].to == at + 3001);	/* a probe */
	/* less than a packet: not at once */
	rx.p.window = 400;
	tell_and_poll();
	t_assert(packets() == 0);
	await(10000);
	t_assert(came[0].from == at + 3000 && came[0].to == at + 3400);
	keep(&came[0]);
	rx.p.window = 65535;
	tell_and_poll();
	n = packets();
	t_assert(n == 27 && came[0].from == at + 3400 && came[26].to == at + 30000);
	end();
}

static void test_small_mss(void **state)
{
	const uint16_t full = six ? 1440 : 1460, sizes[] = { 536, 88, full, (uint16_t)(full - 1) };
	unsigned i, n, k;

	for (i = 0; i < 4; i++) {
		uint32_t at, mss = sizes[i], bytes = 20 * mss + 17;

		begin(sizes[i], 65535, 0, false);
		at = warm_up();
		queue(at, bytes, 0);
		poll_once();
		n = packets();
		t_assert(n == 21);
		for (k = 0; k < n; k++)
			t_assert(came[k].to - came[k].from == (k < 20 ? mss : 17) &&
				 !(came[k].flags & PSH) == (k < 20));
		t_assert(rig_stats(&rig).tx_long == 1 && rig_stats(&rig).tx_joined == 21);
		end();
	}
}

/* The knob holds at once, also for what is queued. */
static void test_knob_is_live(void **state)
{
	uint32_t at, pieces;

	begin(1000, 65535, 0, false);
	at = warm_up();
	rx.p.window = 0;
	rx.edge = 0;
	tell_and_poll();
	queue(at, 12000, 0);
	poll_once();
	t_assert(packets() == 0);
	rig_knob(&rig, "tso_max", 5);
	rx.p.window = 7000;
	tell_and_poll();
	t_assert(packets() == 7);
	t_assert(rig_stats(&rig).tx_long == 2 && rig_stats(&rig).tx_joined == 7);
	rig_knob(&rig, "tso_max", 1);
	pieces = (uint32_t)rig_device_pieces();
	rx.next = at + 7000;
	rx.p.window = 65535;
	tell_and_poll();
	t_assert(packets() == 5);
	t_assert(rig_device_pieces() == pieces);
	end();
}

/* The crumb at the end of a long segment waits as one of its own would (RFC 896). */
static void test_nagle(void **state)
{
	uint32_t at;

	begin(1000, 65535, 0, false);
	at = warm_up();
	rig_knob(&rig, "nagle", 1);
	at = queue(at, 300, 0);
	poll_once();
	t_assert(packets() == 1);
	queue(at, 3500, 0);
	poll_once();
	t_assert(packets() == 3 && came[2].to == at + 3000);
	rx.next = at;
	tell_and_poll();
	t_assert(packets() == 0);	/* some is unacknowledged still */
	rx.next = at + 3000;
	tell_and_poll();
	t_assert(packets() == 1 && came[0].to == at + 3500);
	end();
}

/* Memory out of the device's reach is sent in packets, and so is what is copied: never read by the device. */
static void test_other_memory(void **state)
{
	static uint8_t here[20000];
	uint32_t at;

	begin(1000, 65535, 0, false);
	at = warm_up();
	memcpy(here, file + at, sizeof(here));
	t_assert(nomstack_tcp_send(conn, here, 10500, 0) == 0);
	/* appended to what the device cannot read */
	t_assert(nomstack_tcp_send(conn, file + at + 10500, 5500, 0) == 0);
	poll_once();
	t_assert(packets() == 16);
	t_assert(tcp_active_pcbs->unacked->len == 1000);
	end();

	/* between two pieces that it can read */
	begin(1000, 65535, 0, false);
	at = warm_up();
	rig_knob(&rig, "tso_max", 3);
	at = queue(at, 9500, 0);
	memcpy(here, file + at, sizeof(here));
	t_assert(nomstack_tcp_send(conn, here, 300, 0) == 0);
	queue(at + 300, 2200, 0);
	poll_once();
	t_assert(packets() == 12);
	end();
}

/* A head that was copied and a body that is not leave as one frame, and come as one stream. */
static void test_head_and_body(void **state)
{
	uint64_t frames;
	uint32_t at;

	begin(1000, 65535, 0, false);
	at = warm_up();
	frames = vnet_stats(rig.v)->tx_packets;
	at = queue(at, 200, NOMSTACK_SEND_COPY | NOMSTACK_SEND_MORE);
	queue(at, 20000, 0);
	poll_once();
	t_assert(packets() == 21);
	t_assert(vnet_stats(rig.v)->tx_packets - frames == 1);
	end();
}

/* No memory to cut a segment: it waits, and goes on when there is some. */
static void test_no_memory_to_cut(void **state)
{
	struct pbuf *taken = NULL, *p;
	uint32_t at;

	begin(1000, 65535, 0, false);
	at = warm_up();
	t_assert(tcp_active_pcbs->cwnd < 44000);
	queue(at, 44000, 0);
	while ((p = pbuf_alloc(PBUF_RAW, 1, PBUF_ROM))) {
		p->payload = taken;
		taken = p;
	}
	poll_once();
	t_assert(packets() == 0);
	rig_run(&rig, 3000);
	t_assert(packets() == 0);
	while ((p = taken)) {
		taken = p->payload;
		pbuf_free(p);
	}
	await(60000);
	t_assert(came[0].from == at && came[0].to == at + 1000);
	end();
}

/* ---------------------------------------------------------- random peers --- */

static unsigned chance(unsigned n)
{
	return (unsigned)(rig_random(&dice) % n);
}

static void stream(uint64_t seed)
{
	static const uint16_t sizes[] = { 1460, 536, 88, 1000 };
	unsigned loss = seed % 3 * 4, nagle = seed % 7 == 0, wait = 0, turns;
	uint32_t sent = 0;
	struct packet p;

	dice = seed * 0x9e3779b97f4a7c15 + 1;
	begin(sizes[seed % 4], (uint16_t)(seed % 5 == 4 ? 3000 : 65535), seed % 2 * 3, seed / 2 % 2);
	rig_knob(&rig, "nagle", nagle);
	rig_knob(&rig, "cc", seed / 4 % 2);
	for (turns = 0; turns < 3000000 && !rx.fin; turns++) {
		/* the application */
		while (conn && sent < TOTAL && !chance(3)) {
			uint32_t n = chance(4) ? 1 + chance(65535) : 1 + chance(3000), room = nomstack_tcp_room(conn);

			n = n < room ? n : room;
			n = n < TOTAL - sent ? n : TOTAL - sent;
			if (!n)
				break;
			sent = queue(sent, n, (chance(4) ? 0 : NOMSTACK_SEND_COPY) | (chance(3) ? 0 : NOMSTACK_SEND_MORE));
		}
		if (conn && sent == TOTAL) {
			nomstack_tcp_close(conn);
			conn = NULL;
		}
		if (!chance(200))
			rig_knob(&rig, "tso_max", 1 + chance(44));
		rig.now_ns += 100000;
		poll_once();
		/* the wire and the peer */
		while (packet(&p)) {
			if (chance(100) < loss || p.to > rx.edge)
				continue;
			keep(&p);
			if (p.from > rx.next || ++wait > chance(12)) {
				wait = 0;
				if (seed % 5 > 2)
					rx.p.window = (uint16_t)(chance(20) ? chance(65536) : 0);
				if (chance(100) >= loss / 2)
					tell_and_poll();
			}
		}
		if (!chance(50)) {
			if (seed % 5 > 2 && rx.p.window < 2000)
				rx.p.window = (uint16_t)chance(65536);
			tell_and_poll();
			rig_run(&rig, chance(40));
		}
	}
	if (!rx.fin)
		fail_msg("seed %llu: %u of %u bytes", (unsigned long long)seed, rx.next, TOTAL);
	t_assert(rx.next == TOTAL);
	tell(ACK);
	rig_run(&rig, 10);
	t_assert(tcp_active_pcbs->state == FIN_WAIT_2);
	rig_close(&rig);
}

static void test_random(void **state)
{
	for (uint64_t seed = 1; seed <= 60; seed++)
		stream(seed);
}

static int over_ip6(void **state)
{
	six = true;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_partial_ack_and_timeout),
		cmocka_unit_test(test_sack_of_parts),
		cmocka_unit_test(test_sack_of_many),
		cmocka_unit_test(test_two_losses_without_sack),
		cmocka_unit_test(test_windows),
		cmocka_unit_test(test_small_mss),
		cmocka_unit_test(test_knob_is_live),
		cmocka_unit_test(test_nagle),
		cmocka_unit_test(test_other_memory),
		cmocka_unit_test(test_head_and_body),
		cmocka_unit_test(test_no_memory_to_cut),
		cmocka_unit_test(test_random),
	};
	int failed = cmocka_run_group_tests_name("IPv4", tests, NULL, NULL);

	return failed + cmocka_run_group_tests_name("IPv6", tests, over_ip6, NULL);
}
