// SPDX-License-Identifier: MIT
/*
 * Datagrams are put together from fragments in any order, once and as they were sent; what
 * contradicts itself is refused whole; and what strangers can make the stack hold for it, and
 * for how long, is bounded, whatever they send.  nomstack_reass.c says why.
 *
 * Each end of a test checks the books: fragments that came are those that were dropped and
 * those of completed datagrams; and rig_close() that no buffer is held.
 */
#include "fragments.h"
#include "stack_rig.h"

#include "lwip/opt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PORT 53
#define STEP 1480

static struct rig rig;
static struct peer peer;
static struct rig_frame frame;
static struct t_datagram dg, other;
static const struct t_datagram *wanted;
static const unsigned most = NOMSTACK_REASS_DATAGRAMS, share = (NOMSTACK_REASS_DATAGRAMS + 1) / 2;
static unsigned delivered, answers;
static uint64_t completed_fragments;	/* of datagrams that the test saw completed */

static void on_udp(struct nomstack *s, void *arg, const void *data, uint32_t len, const struct nomstack_addr *from,
		   uint16_t port)
{
	t_assert(port == 1000);
	t_assert(from->family == (wanted->v6 ? 6 : 4));
	t_assert(len == wanted->len - 8 && !memcmp(data, wanted->body + 8, len));
	delivered++;
}

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	return &rig;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	t_assert(nomstack_tcp_send(c, data, len, NOMSTACK_SEND_COPY) == 0);
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
}

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

static struct nomstack_fragments fragments(void)
{
	struct nomstack_fragments st;

	nomstack_fragments(rig.s, &st);
	return st;
}

static unsigned errors, echoes;

static void collect(void)
{
	struct seg s;

	while (rig_tx_pop(&rig, &frame)) {
		const uint8_t *ip = frame.data + 14;

		s.frame = frame;
		if (get16(frame.data + 12) == 0x0800 && ip[9] == T_ICMP)
			ip[20] == 11 || ip[20] == 3 ? errors++ : echoes++;
		else if (get16(frame.data + 12) == 0x86dd && ip[6] == T_ICMP6 && ip[40] < 128)
			errors++;
		else if (peer_parse(&peer, &s) && s.len == 5) {
			answers++;
			peer.ack = s.seq + s.len;
		}
	}
}

static void begin(void)
{
	struct nomstack_addr to;

	rig_open6(&rig, 0);
	t_assert(nomstack_udp_bind_any(rig.s, PORT, on_udp, NULL) == 0);
	t_assert(nomstack_tcp_listen(rig.s, 9, 255, &ops, NULL) == 0);
	peer_init(&peer, &rig, 3000, 9);
	peer_handshake(&peer);
	/* both sides know where the other is, over IPv6 as well */
	t_assert(nomstack_addr_parse(PEER_IP6, &to) == 0);
	t_assert(nomstack_udp_send_to(rig.s, PORT, &to, 9, "x", 1) == 0);
	nomstack_poll(rig.s);
	collect();
	delivered = answers = errors = echoes = 0;
	completed_fragments = 0;
	wanted = &dg;
}

/* The connection that runs beside it notices nothing. */
static void still_there(void)
{
	unsigned had;

	collect();
	had = answers;
	peer_send(&peer, ACK | PSH, "hello", 5);
	nomstack_poll(rig.s);
	collect();
	t_assert(answers == had + 1);
	t_assert(rig_device().rx_held == 0);
}

static void end(void)
{
	struct nomstack_fragments st;

	rig_run(&rig, 61000);
	still_there();
	st = fragments();
	t_assert(st.held == 0);
	t_assert(st.received == st.dropped + completed_fragments);
	t_assert(rig_stats(&rig).drop_fragment == st.dropped);
	rig_close(&rig);
}

/* What was sent came, just once; in so many fragments. */
static void came(unsigned nr)
{
	t_assert(delivered == 1);
	delivered = 0;
	completed_fragments += nr;
}

/* ----------------------------------------------------------------- right --- */

static const unsigned sizes[] = { 1473, 1481, 2952, 2953, 4000, 8000, 65000, 65455 };

static void any_order(void **state)
{
	static const unsigned steps[] = { 1480, 1232, 1024 };
	uint64_t x = 11;
	unsigned order[80], i, k, m, n;

	begin();
	for (k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
		for (m = 0; m < 12; m++) {
			bool v6 = m & 1;
			unsigned step = steps[m / 2 % 3];

			if (v6 && step > 1448)
				step = 1448;
			t_datagram_init(&dg, v6, T_UDP, k << 8 | m);
			t_datagram_udp(&dg, PORT, sizes[k], m);
			n = t_fragments_of(&dg, step);
			if (n > NOMSTACK_REASS_FRAGMENTS)
				continue;
			for (i = 0; i < n; i++)
				order[i] = m < 4 ? i : n - 1 - i;	/* in order, reversed */
			for (i = n - 1; m >= 6 && i > 0; i--) {		/* shuffled */
				unsigned j = (unsigned)rig_random(&x) % (i + 1), t = order[i];

				order[i] = order[j];
				order[j] = t;
			}
			for (i = 0; i < n; i++) {
				t_assert(delivered == 0);
				t_fragment(&rig, &dg, order[i] * step, step);
				t_assert(rig_device().rx_held == 0);
			}
			came(n);
		}
	t_assert(fragments().dropped == 0 && fragments().held == 0);
	end();
}

/* The longest packet there can be, of UDP over either version. */
static void the_longest(void **state)
{
	unsigned v6;

	begin();
	for (v6 = 0; v6 < 2; v6++) {
		t_datagram_init(&dg, v6, T_UDP, v6);
		t_datagram_udp(&dg, PORT, v6 ? 65535 - 40 - 8 : 65535 - 20 - 8, 3);
		t_fragments_all(&rig, &dg, 1448);
		came(t_fragments_of(&dg, 1448));
	}
	end();
}

/* Many that are under way at a time, of either version, with ids alike. */
static void interleaved(void **state)
{
	static struct t_datagram many[4];
	unsigned i, off;

	begin();
	rig_knob(&rig, "reass_share", most);
	for (i = 0; i < 4; i++) {
		t_datagram_init(&many[i], i & 1, T_UDP, 7 + i / 2);
		t_datagram_udp(&many[i], PORT, 4000, i);
	}
	for (off = 0; off < 4008; off += 1448)
		for (i = 0; i < 4; i++) {
			wanted = &many[i];
			t_fragment(&rig, &many[i], off, 1448);
			if (off + 1448 >= 4008)
				came(3);
		}
	wanted = &dg;
	end();
}

/* The network may double what it carries. */
static void duplicates(void **state)
{
	unsigned v6, i;

	begin();
	for (v6 = 0; v6 < 2; v6++) {
		t_datagram_init(&dg, v6, T_UDP, 9);
		t_datagram_udp(&dg, PORT, 4003, 1);
		t_fragment(&rig, &dg, 2896, 1448);
		for (i = 0; i < 3; i++)
			t_fragment(&rig, &dg, 2896, 1448);	/* the last one */
		/* the same bytes, but not the same fragment: that is an overlap, which the network does not make */
		t_fragment_data(&rig, &dg, dg.body, 0, 16, true);
		t_fragment_data(&rig, &dg, dg.body + 8, 8, 16, true);
		t_assert(fragments().overlap == v6 + 1 && fragments().held == 0);
		rig_run(&rig, 6000);
		/* each twice, but the one that completes it */
		t_fragment(&rig, &dg, 0, 1448);
		t_fragment(&rig, &dg, 0, 1448);
		t_fragment(&rig, &dg, 2896, 1448);
		t_fragment(&rig, &dg, 2896, 1448);
		/* a part of what is there, and the same */
		t_fragment_data(&rig, &dg, dg.body + 8, 8, 64, true);
		t_fragment(&rig, &dg, 1448, 1448);
		came(3);
	}
	t_assert(fragments().duplicates == 2 * (3 + 3));
	end();
}

/* ----------------------------------------------------------- contradictory --- */

/* The three parts but for @what, which goes wrong; nothing of it is delivered, now or later. */
static void spoilt(bool v6, unsigned what)
{
	static uint8_t lie[STEP];

	memset(lie, 0x55, sizeof(lie));
	switch (what) {
	case 0:		/* the same place, other bytes */
		t_fragment(&rig, &dg, 0, 1448);
		t_fragment_data(&rig, &dg, lie, 0, 1448, true);
		break;
	case 1:		/* over the end of what is there */
		t_fragment(&rig, &dg, 0, 1448);
		t_fragment_data(&rig, &dg, dg.body + 1440, 1440, 1448, true);
		break;
	case 2:		/* over the beginning of what is there */
		t_fragment(&rig, &dg, 1448, 1448);
		t_fragment_data(&rig, &dg, dg.body, 0, 1456, true);
		break;
	case 3:		/* around it */
		t_fragment_data(&rig, &dg, dg.body + 800, 800, 8, true);
		t_fragment(&rig, &dg, 0, 1448);
		break;
	case 4:		/* within it */
		t_fragment(&rig, &dg, 0, 1448);
		t_fragment_data(&rig, &dg, lie, 800, 8, true);
		break;
	case 5:		/* one byte of its last 8 */
		t_fragment(&rig, &dg, 2896, 1448);
		lie[0] = (uint8_t)(dg.body[dg.len & ~7u] + 1);
		t_fragment_data(&rig, &dg, lie, dg.len & ~7u, dg.len % 8, false);
		break;
	case 6:		/* an end in the middle, of which another followed */
		t_fragment(&rig, &dg, 0, 1448);
		t_fragment(&rig, &dg, 1448, 1448);
		t_fragment_data(&rig, &dg, dg.body + 1448, 1448, 1448, false);
		break;
	case 7:		/* two ends */
		t_fragment(&rig, &dg, 2896, 1448);
		t_fragment_data(&rig, &dg, dg.body + 2904, 2904, 8, false);
		break;
	case 8:		/* data behind the end */
		t_fragment(&rig, &dg, 2896, 1448);
		t_fragment_data(&rig, &dg, lie, 4344, 8, true);
		break;
	case 9:		/* an end before data */
		t_fragment_data(&rig, &dg, lie, 4344, 8, true);
		t_fragment(&rig, &dg, 2896, 1448);
		break;
	}
	/* all of it, again: RFC 8200 has no part of such a datagram used, nor what comes later */
	t_fragments_all(&rig, &dg, 1448);
	t_assert(delivered == 0);
}

static void contradictions_refuse_the_datagram(void **state)
{
	struct nomstack_fragments st;
	unsigned what, v6;

	begin();
	for (v6 = 0; v6 < 2; v6++)
		for (what = 0; what <= 9; what++) {
			t_datagram_init(&dg, v6, T_UDP, 100 + what);
			t_datagram_udp(&dg, PORT, 4003, what);
			st = fragments();
			spoilt(v6, what);
			t_assert(fragments().overlap + fragments().contradiction == st.overlap + st.contradiction + 1);
			t_assert(fragments().rest >= st.rest + 3);
			t_assert(fragments().held == 0);
			/* its time over, the id may be used again */
			rig_run(&rig, 5100);
			t_fragments_all(&rig, &dg, 1448);
			came(3);
			still_there();
		}
	t_assert(errors == 0 && fragments().timed_out == 0);
	end();
}

/* A fragment that is none by itself: dropped, whatever else is held. */
static void malformed_ones(void **state)
{
	uint8_t f[RIG_FRAME];
	struct nomstack_fragments st;
	unsigned v6, n, k;

	begin();
	for (v6 = 0; v6 < 2; v6++) {
		t_datagram_init(&dg, v6, T_UDP, 5);
		t_datagram_udp(&dg, PORT, 4003, 5);
		t_fragment(&rig, &dg, 0, 1448);
		st = fragments();
		collect();
		errors = 0;
		t_fragment_data(&rig, &dg, dg.body, 1448, 0, true);	/* empty */
		t_fragment_data(&rig, &dg, dg.body, 1448, 0, false);
		t_assert(fragments().malformed == st.malformed + 2);
		t_fragment_data(&rig, &dg, dg.body, 1448, 1443, true);	/* in the middle, not of whole blocks */
		t_fragment_data(&rig, &dg, dg.body, 65528, 1448, false);	/* behind the longest packet */
		t_fragment_data(&rig, &dg, dg.body, 65528, 8, true);
		collect();
		if (v6) {
			/* RFC 8200, 4.5: the source is told what is wrong */
			t_assert(errors == 3 && fragments().malformed == st.malformed + 2 &&
				 fragments().too_long == st.too_long);
		} else {
			t_assert(errors == 0 && fragments().malformed == st.malformed + 3);
			t_assert(fragments().too_long == st.too_long + 2);
		}
		/* a packet of 65536 bytes */
		t_fragment_data(&rig, &dg, dg.body, v6 ? 65488 : 65512, v6 ? 8 : 4, false);
		t_assert(fragments().too_long == st.too_long + (v6 ? 1 : 3));
		/* cut anywhere, nothing is read that is not there */
		for (k = 14; k < 80; k++) {
			n = t_fragment_frame(&rig, f, &dg, dg.body + 1448, 1448, 1448, true);
			t_assert(n > k);
			t_assert(rig_inject(&rig, f, k, 0));
			nomstack_poll(rig.s);
		}
		t_fragment(&rig, &dg, 1448, 1448);
		t_fragment(&rig, &dg, 2896, 1448);
		came(3);
	}
	end();
}

/* The pointers of the two parameter problems (RFC 8200, 4.5). */
static void parameter_problems(void **state)
{
	const uint8_t *ip = frame.data + 14;

	begin();
	t_datagram_init(&dg, true, T_UDP, 5);
	t_datagram_udp(&dg, PORT, 4003, 5);
	t_fragment_data(&rig, &dg, dg.body, 1448, 1443, true);
	t_assert(rig_tx_pop(&rig, &frame) && ip[40] == 4 && ip[41] == 0 && get32(ip + 44) == 4);
	t_fragment_data(&rig, &dg, dg.body, 65528, 1448, true);
	t_assert(rig_tx_pop(&rig, &frame) && ip[40] == 4 && ip[41] == 0 && get32(ip + 44) == 42);
	end();
}

static void only_udp_and_icmp(void **state)
{
	uint8_t f[RIG_FRAME], body[64] = { 0 };
	unsigned proto, v6, nr = 0, n;

	begin();
	for (v6 = 0; v6 < 2; v6++)
		for (proto = 0; proto < 256; proto++) {
			if (proto == T_UDP || proto == (v6 ? T_ICMP6 : T_ICMP))
				continue;
			t_datagram_init(&dg, v6, proto, proto);
			dg.len = 4000;
			t_fragments_all(&rig, &dg, 1448);
			nr += 3;
			t_assert(fragments().protocol == nr && fragments().held == 0);
		}
	/* RFC 1858, 2.1 and 3128: TCP's header cut in two, or overwritten by the second one */
	t_datagram_init(&dg, false, 6, 1);
	peer_frame(&peer, f, SYN, 1, 0, NULL, 0);
	memcpy(body, f + 34, 24);
	n = rig_pcbs();
	t_fragment_data(&rig, &dg, body, 0, 8, true);
	t_fragment_data(&rig, &dg, body + 8, 8, 16, false);
	t_fragment_data(&rig, &dg, body, 0, 16, true);
	t_fragment_data(&rig, &dg, body + 8, 8, 16, false);
	t_assert(rig_pcbs() == n && fragments().protocol == nr + 4);
	t_assert(fragments().received == fragments().protocol);
	/* RFC 6980: what of neighbour discovery came in fragments is whole, and not taken */
	t_datagram_init(&dg, true, T_ICMP6, 77);
	memset(dg.body, 0, 64);
	dg.len = 64;
	dg.body[0] = 136;
	t_datagram_sum(&dg, 2);
	t_fragments_all(&rig, &dg, 32);
	t_assert(fragments().completed == 1);
	completed_fragments = 2;
	t_assert(rig_stats(&rig).drop_fragment == fragments().dropped + 1);
	rig_run(&rig, 100);
	still_there();
	rig_close(&rig);
}

/* The sum is of the whole: no device vouched for that. */
static void the_sum_is_checked(void **state)
{
	unsigned v6;

	begin();
	for (v6 = 0; v6 < 2; v6++) {
		t_datagram_init(&dg, v6, T_UDP, 1);
		t_datagram_udp(&dg, PORT, 3000, 1);
		dg.body[2000] ^= 1;
		t_fragments_all(&rig, &dg, 1448);
		completed_fragments += 3;
	}
	t_assert(delivered == 0 && rig_stats(&rig).drop_csum == 2);
	end();
}

/* ---------------------------------------------------------------- bounds --- */

static void fragments_of_one_are_bounded(void **state)
{
	unsigned i;

	begin();
	t_datagram_init(&dg, false, T_UDP, 3);
	t_datagram_udp(&dg, PORT, (NOMSTACK_REASS_FRAGMENTS + 1) * 8 - 8, 3);
	t_fragments_all(&rig, &dg, 8);
	t_assert(delivered == 0 && fragments().too_many == 1);
	dg.id++;
	t_datagram_udp(&dg, PORT, NOMSTACK_REASS_FRAGMENTS * 8 - 8, 3);
	t_fragments_all(&rig, &dg, 8);
	came(NOMSTACK_REASS_FRAGMENTS);
	/* a byte is enough for the last one */
	for (i = 1; i < 8; i++) {
		dg.id++;
		t_datagram_udp(&dg, PORT, i, i);
		t_fragments_all(&rig, &dg, 8);
		came(2);
	}
	end();
}

/* A new datagram is always taken; of who has his share his own oldest gives way. */
static void a_source_has_its_share(void **state)
{
	unsigned v6, i;

	begin();
	for (v6 = 0; v6 < 2; v6++) {
		struct nomstack_fragments st = fragments();

		/* an honest one waits for its second half */
		t_datagram_init(&dg, v6, T_UDP, 1);
		t_datagram_udp(&dg, PORT, 2000, 1);
		t_fragment(&rig, &dg, 0, 1448);
		/* the attacker, with all addresses of its network */
		for (i = 0; i < 1000; i++) {
			t_datagram_init(&other, v6, T_UDP, i);
			t_datagram_udp(&other, PORT, 3000, 1);
			other.src = 0x0a0000c8;
			t_ip6("2001:db8::", other.src6);
			put32(other.src6 + 12, i);
			t_datagram_sum(&other, 6);
			t_fragment(&rig, &other, 0, 1448);
		}
		t_assert(fragments().held == 1 + share);
		t_assert(fragments().source_share == st.source_share + 1000 - share);
		t_assert(fragments().gave_way == st.gave_way);
		t_fragment(&rig, &dg, 1448, 1448);
		came(2);
		/* its newest are those that are held */
		wanted = &other;
		t_fragment(&rig, &other, 1448, 1448);
		t_fragment(&rig, &other, 2896, 1448);
		came(3);
		wanted = &dg;
		rig_run(&rig, 5100);
		t_assert(fragments().held == 0);
	}
	end();
}

static void from_host(unsigned host)
{
	t_datagram_init(&dg, false, T_UDP, 1);
	dg.src = 0x0a000064 + host;
	t_datagram_udp(&dg, PORT, 2000, host);
}

static void the_oldest_gives_way(void **state)
{
	unsigned i;

	begin();
	for (i = 0; i < 3 * most; i++) {
		from_host(i);
		t_fragment(&rig, &dg, 0, 1448);
		rig_run(&rig, 1);
	}
	t_assert(fragments().held == most && fragments().gave_way == 2 * most && fragments().source_share == 0);
	for (i = 2 * most; i < 3 * most; i++) {
		from_host(i);
		t_fragment(&rig, &dg, 1448, 1448);
		came(2);
	}
	t_assert(fragments().held == 0);
	end();
}

/* One that is refused gives way before one that still may be completed. */
static void refused_ones_go_first(void **state)
{
	unsigned i;

	begin();
	rig_knob(&rig, "reass_max", 2);
	t_datagram_init(&dg, false, T_UDP, 1);
	t_datagram_udp(&dg, PORT, 2000, 1);
	t_fragment(&rig, &dg, 0, 1448);
	rig_run(&rig, 1);
	for (i = 0; i < 10; i++) {
		t_datagram_init(&other, false, T_UDP, i);
		t_datagram_udp(&other, PORT, 2000, 1);
		other.src = 0x0a000064 + i;
		t_fragment(&rig, &other, 0, 1448);
		t_fragment_data(&rig, &other, other.body + 8, 0, 8, true);
		t_assert(fragments().overlap == i + 1);
	}
	t_fragment(&rig, &dg, 1448, 1448);
	came(2);
	t_assert(fragments().gave_way == 0);
	end();
}

/* Floods of every kind beside a connection and a client who asks every millisecond. */
static void floods_hold_little(void **state)
{
	uint64_t x = 5;
	unsigned i, honest = 0;
	struct nomstack_fragments st;

	begin();
	rig_knob(&rig, "icmp_per_s", 10);
	t_datagram_init(&dg, false, T_UDP, 0);
	t_datagram_udp(&dg, PORT, 4000, 3);
	for (i = 0; i < 30000; i++) {
		t_datagram_init(&other, rig_random(&x) & 1, T_UDP, (unsigned)rig_random(&x) & 0xffff);
		other.src = 0x0a000000 + (unsigned)(rig_random(&x) & 0xff);
		if (other.src == RIG_IP || !(other.src & 0xff) || (other.src & 0xff) == 0xff || other.src == PEER_IP)
			other.src = 0x0a000064;
		put32(other.src6 + 4, (uint32_t)rig_random(&x));
		other.len = 65000;
		t_fragment(&rig, &other, 8 * ((unsigned)rig_random(&x) % 8000), 8 * (1 + (unsigned)rig_random(&x) % 180));
		t_assert(rig_device().rx_held == 0);
		t_assert(fragments().held <= most);
		if (i % 20 == 0) {
			rig_run(&rig, 1);
			dg.id++;
			t_fragments_all(&rig, &dg, STEP);
			honest++;
			came(3);
		}
		if (i % 1000 == 0)
			still_there();
	}
	st = fragments();
	print_message("# %u honest datagrams completed; held at the end %u, given up %u for room, %u at a share, %u late\n",
		      honest, (unsigned)st.held, (unsigned)st.gave_way, (unsigned)st.source_share, (unsigned)st.timed_out);
	end();
}

/* ------------------------------------------------------------------ time --- */

/* The source is told, once, of what it asked; with the beginning of it. */
static void time_runs_out(void **state)
{
	const uint8_t *ip = frame.data + 14;
	unsigned v6;

	begin();
	for (v6 = 0; v6 < 2; v6++) {
		t_datagram_init(&dg, v6, T_UDP, 0x1234);
		t_datagram_udp(&dg, PORT, 4000, 3);
		t_fragment(&rig, &dg, 0, 1448);
		rig_run(&rig, 2000);
		t_fragment(&rig, &dg, 1448, 1448);	/* gives no time */
		rig_run(&rig, 2990);
		t_assert(fragments().held == 1);
		collect();
		t_assert(errors == 0);
		rig_run(&rig, 12);
		t_assert(fragments().held == 0 && fragments().timed_out == 2 * v6 + 1);
		t_assert(rig_tx_pop(&rig, &frame));
		if (v6) {
			t_assert(ip[6] == T_ICMP6 && ip[40] == 3 && ip[41] == 1);
			t_assert(!memcmp(ip + 24, dg.src6, 16) && !memcmp(ip + 8, dg.dst6, 16));
			t_assert(t_csum6(ip + 8, ip + 24, T_ICMP6, ip + 40, get16(ip + 4)) == 0);
			t_assert(ip[48 + 6] == 44 && ip[48 + 40] == T_UDP && get16(ip + 48 + 42) == 1 &&
				 get32(ip + 48 + 44) == 0x1234);
			t_assert(!memcmp(ip + 48 + 48, dg.body, get16(ip + 4) - 8 - 48));
			t_assert(get16(ip + 4) + 40 <= 1280);
		} else {
			t_assert(ip[9] == T_ICMP && ip[20] == 11 && ip[21] == 1);
			t_assert(get32(ip + 16) == PEER_IP && t_csum(ip + 20, get16(ip + 2) - 20, 0) == 0);
			t_assert(get16(ip + 28 + 4) == 0x1234 && get16(ip + 28 + 6) == 0x2000 && ip[28 + 9] == T_UDP);
			t_assert(get16(ip + 28 + 2) == 1468 && !memcmp(ip + 48, dg.body, 8));
		}
		t_assert(!rig_tx_pop(&rig, &frame));
		/* what comes too late begins anew, and is in vain */
		t_fragment(&rig, &dg, 2896, 1448);
		t_assert(delivered == 0 && fragments().held == 1);
		rig_run(&rig, 5002);
		t_assert(fragments().held == 0);
		collect();
		t_assert(errors == 0);		/* its beginning had not come */
	}
	end();
}

/* Nobody is told of what went to many, or was itself no question; nor more often than icmp_per_s. */
static void silent_ends(void **state)
{
	unsigned v6, i;

	begin();
	for (v6 = 0; v6 < 2; v6++) {
		t_datagram_init(&dg, v6, T_UDP, 1);
		t_datagram_udp(&dg, PORT, 4000, 3);
		dg.dst = 0x0a0000ff;
		t_ip6("ff02::1", dg.dst6);
		t_fragment(&rig, &dg, 0, 1448);
		t_datagram_init(&dg, v6, T_UDP, 2);
		t_datagram_ping(&dg, 4000, 3);
		dg.body[0] = v6 ? 1 : 3;		/* an error */
		t_fragment(&rig, &dg, 0, 1448);
		dg.id = 3;
		dg.body[0] = v6 ? 129 : 0;		/* an answer */
		t_fragment(&rig, &dg, 0, 1448);
	}
	t_assert(fragments().held == 6);
	rig_run(&rig, 5002);
	collect();
	t_assert(fragments().held == 0 && errors == 0 && rig_stats(&rig).drop_icmp == 0);
	rig_knob(&rig, "icmp_per_s", 0);
	for (i = 0; i < 2; i++) {
		t_datagram_init(&dg, i, T_UDP, 9);
		t_datagram_udp(&dg, PORT, 4000, 3);
		t_fragment(&rig, &dg, 0, 1448);
	}
	rig_run(&rig, 5002);
	collect();
	t_assert(errors == 0 && rig_stats(&rig).drop_icmp == 2);
	end();
}

/* A timer while something is held, and only then: who sleeps is not woken for it. */
static void one_timer(void **state)
{
	uint64_t next;

	begin();
	rig_run(&rig, 10);
	next = nomstack_next_ns(rig.s);
	t_assert(next > 0);
	rig_knob(&rig, "reass_s", 1);
	t_datagram_init(&dg, false, T_UDP, 9);
	t_datagram_udp(&dg, PORT, 4000, 3);
	for (unsigned i = 0; i < 100; i++) {
		dg.id++;
		t_fragment(&rig, &dg, 1448, 1448);
	}
	t_assert(nomstack_next_ns(rig.s) <= 1001000000);
	/* the knob is live, in both directions */
	rig_knob(&rig, "reass_s", 60);
	rig_run(&rig, 30000);
	t_assert(fragments().held == share);
	rig_knob(&rig, "reass_s", 1);
	rig_run(&rig, 2);
	t_assert(fragments().held == 0);
	end();
}

static void knobs_are_live(void **state)
{
	unsigned i, nr = 0;
	int64_t v;

	begin();
	t_assert(nomstack_knob_set(rig.s, "reass_max", most + 1) != 0 && nomstack_knob_set(rig.s, "reass_max", -1) != 0);
	t_assert(nomstack_knob_set(rig.s, "reass_share", 0) != 0 && nomstack_knob_set(rig.s, "reass_s", 0) != 0);
	t_assert(nomstack_knob_set(rig.s, "reass_s", 61) != 0);
	t_assert(nomstack_knob_get(rig.s, "reass_max", &v) == 0 && v == most);
	t_assert(nomstack_knob_get(rig.s, "reass_share", &v) == 0 && v == share);
	t_assert(nomstack_knob_get(rig.s, "reass_s", &v) == 0 && v == 5);
	rig_knob(&rig, "reass_share", most);
	t_datagram_init(&dg, false, T_UDP, 9);
	t_datagram_udp(&dg, PORT, 4000, 3);
	for (i = 0; i < most; i++) {
		dg.id = i;
		t_fragment(&rig, &dg, 0, STEP);
		rig_run(&rig, 1);
	}
	t_assert(fragments().held == most);
	/* less: the oldest go at once */
	rig_knob(&rig, "reass_max", 2);
	t_assert(fragments().held == 2 && fragments().gave_way == most - 2);
	t_fragment(&rig, &dg, STEP, STEP);
	t_fragment(&rig, &dg, 2 * STEP, STEP);
	came(3);
	/* none: as if there were no reassembly, and nobody is told */
	rig_knob(&rig, "reass_max", 0);
	t_assert(fragments().held == 0);
	for (i = 0; i < 10; i++, nr += 3)
		t_fragments_all(&rig, &dg, STEP);
	t_assert(delivered == 0 && fragments().off == nr);
	rig_knob(&rig, "reass_max", 1);
	t_fragments_all(&rig, &dg, STEP);
	came(3);
	t_assert(errors == 0);
	end();
}

/* Where the profile has none. */
static void profile_without(void **state)
{
	unsigned v6;

	begin();
	t_assert(nomstack_knob_set(rig.s, "reass_max", 1) != 0);
	for (v6 = 0; v6 < 2; v6++) {
		t_datagram_init(&dg, v6, T_UDP, 1);
		t_datagram_udp(&dg, PORT, 4000, 3);
		t_fragments_all(&rig, &dg, 1448);
	}
	t_assert(delivered == 0 && fragments().off == 6 && fragments().dropped == 6);
	end();
}

int main(void)
{
	const struct CMUnitTest without[] = { cmocka_unit_test(profile_without) };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_order),
		cmocka_unit_test(the_longest),
		cmocka_unit_test(interleaved),
		cmocka_unit_test(duplicates),
		cmocka_unit_test(contradictions_refuse_the_datagram),
		cmocka_unit_test(malformed_ones),
		cmocka_unit_test(parameter_problems),
		cmocka_unit_test(only_udp_and_icmp),
		cmocka_unit_test(the_sum_is_checked),
		cmocka_unit_test(fragments_of_one_are_bounded),
		cmocka_unit_test(a_source_has_its_share),
		cmocka_unit_test(the_oldest_gives_way),
		cmocka_unit_test(refused_ones_go_first),
		cmocka_unit_test(floods_hold_little),
		cmocka_unit_test(time_runs_out),
		cmocka_unit_test(silent_ends),
		cmocka_unit_test(one_timer),
		cmocka_unit_test(knobs_are_live),
	};

	return most ? cmocka_run_group_tests(tests, NULL, NULL) : cmocka_run_group_tests(without, NULL, NULL);
}
