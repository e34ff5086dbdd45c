// SPDX-License-Identifier: MIT
/*
 * What strangers can make the stack hold, forget, believe or say with IPv6 is
 * bounded, and what is dropped for it is counted: neighbours, routers, prefixes,
 * redirects, path MTUs, extension headers, fragments, ICMPv6.  Floods run beside a
 * connection that must not notice.
 */
#include "bytes.h"
#include "nd_frames.h"
#include "stack_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PORT 9
#define CACHE 64		/* LWIP_ND6_NUM_NEIGHBORS, half of them waiting at most */

static struct rig rig;
static struct peer peer;
static struct rig_frame frame;
static struct seg seg;
static const uint8_t *const ip = frame.data + 14;
static unsigned datagrams;

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

static void on_udp(struct nomstack *s, void *arg, const void *data, uint32_t len, const struct nomstack_addr *from,
		   uint16_t port)
{
	datagrams++;
}

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

static void begin(void)
{
	datagrams = 0;
	rig_open6(&rig, 0);
	t_assert(nomstack_tcp_listen(rig.s, PORT, 255, &ops, NULL) == 0);
	t_assert(nomstack_udp_bind_any(rig.s, 53, on_udp, NULL) == 0);
	peer_init6(&peer, &rig, 3000, PORT);
	peer_handshake(&peer);
}

static struct {
	unsigned solicitations, advertisements, errors, answers;
} seen;

/* All that the stack has sent; nobody but the peer answers what it asks. */
static void collect(void)
{
	struct seg s;

	while (rig_tx_pop_raw(&frame)) {
		s.frame = frame;
		if (get16(frame.data + 12) != 0x86dd)
			continue;
		if (ip[6] == 58) {
			seen.solicitations += ip[40] == 135;
			seen.advertisements += ip[40] == 136;
			seen.errors += ip[40] < 128 || ip[40] == 129;
		} else if (peer_parse(&peer, &s) && s.len == 5) {
			seen.answers++;
			peer.ack = s.seq + s.len;
		}
	}
}

/* The connection goes on, at once and without asking for the peer. */
static void still_there(void)
{
	unsigned answers, asked;

	collect();
	answers = seen.answers;
	asked = seen.solicitations;
	peer_send(&peer, ACK | PSH, "hello", 5);
	nomstack_poll(rig.s);
	collect();
	t_assert(seen.answers == answers + 1 && seen.solicitations == asked);
	peer_send(&peer, ACK, NULL, 0);
	nomstack_poll(rig.s);
}

/* fd00::1:N: on the link, and nobody. */
static void stranger(unsigned n, uint8_t out[16])
{
	t_ip6("fd00::1:0", out);
	put32(out + 12, 0x10000 + n);
}

/* ------------------------------------------------------------- neighbours --- */

/* 10,000 neighbours ask who we are. */
static void neighbours_in_use_stay(void **state)
{
	uint8_t mac[6] = { 2, 0, 0, 0, 0, 0 }, src[16];
	struct nomstack_stats st;
	unsigned i;

	begin();
	memset(&seen, 0, sizeof(seen));
	for (i = 0; i < 10000; i++) {
		put16(mac + 4, i);
		stranger(i, src);
		nd_solicit_mac(&rig, src, "fd00::2", 255, mac);
		collect();
		if (i % 500 == 499) {
			rig_run(&rig, 1000);
			/* as often as in life a connection vouches for nobody: probed, it answers */
			nd_advertise(&rig, PEER_IP6, PEER_IP6, RIG_IP6, 0x60);
			still_there();
		}
	}
	st = rig_stats(&rig);
	/* each is answered while there is room for its address; the cache is that of an instant */
	t_assert(seen.advertisements >= 9000 && seen.advertisements + st.drop_nd >= 10000);
	collect();
	rig_close(&rig);
}

/* As many neighbours in use as the cache holds: one more is not noted, and does no harm. */
static void a_full_cache_is_full(void **state)
{
	struct nomstack_addr to = { .family = 6 };
	unsigned i;

	begin();
	for (i = 0; i < CACHE - 1; i++) {
		stranger(i, to.bytes);
		t_assert(nomstack_udp_send_to(rig.s, 53, &to, 1000, "x", 1) == 0);
		nomstack_poll(rig.s);
		while (rig_tx_pop(&rig, &frame))	/* who answers */
			;
	}
	t_assert(rig_stats(&rig).drop_nd == 0);
	stranger(CACHE, to.bytes);
	t_assert(nomstack_udp_send_to(rig.s, 53, &to, 1000, "x", 1) != 0);
	nd_solicit(&rig, "fd00::77", RIG_IP6, 255);
	t_assert(rig_stats(&rig).drop_nd == 2);
	still_there();
	for (i = 0; i < CACHE - 1; i++) {		/* all are still known */
		stranger(i, to.bytes);
		t_assert(nomstack_udp_send_to(rig.s, 53, &to, 1000, "x", 1) == 0);
	}
	nomstack_flush(rig.s);
	still_there();
	/* unused for ten seconds, they give way */
	rig_run(&rig, 11000);
	still_there();
	stranger(CACHE, to.bytes);
	t_assert(nomstack_udp_send_to(rig.s, 53, &to, 1000, "x", 1) == 0);
	collect();
	rig_close(&rig);
}

/* Datagrams to 10,000 that do not exist: few are asked for at a time, and three times each. */
static void who_does_not_exist_is_asked_for_in_turn(void **state)
{
	struct nomstack_addr to = { .family = 6 };
	unsigned i, sent = 0;

	begin();
	memset(&seen, 0, sizeof(seen));
	for (i = 0; i < 10000; i++) {
		stranger(i, to.bytes);
		sent += nomstack_udp_send_to(rig.s, 53, &to, 1000, "x", 1) == 0;
		nomstack_poll(rig.s);
		if (i % 1000 == 999)
			still_there();
	}
	collect();
	t_assert(sent == CACHE / 2 && seen.solicitations == CACHE / 2);
	t_assert(rig_stats(&rig).drop_nd == 10000 - CACHE / 2);
	rig_run(&rig, 5000);
	collect();
	t_assert(seen.solicitations == 3 * CACHE / 2);
	/* they are forgotten, with the packet that waited, and others get a turn */
	t_assert(rig_stats(&rig).drop_nd == 10000);
	t_assert(nomstack_udp_send_to(rig.s, 53, &to, 1000, "x", 1) == 0);
	/* one packet waits, the newest */
	t_assert(nomstack_udp_send_to(rig.s, 53, &to, 1000, "yy", 2) == 0);
	t_assert(rig_stats(&rig).drop_nd == 10001);
	rig_run(&rig, 4000);
	collect();
	rig_close(&rig);
}

/* ---------------------------------------------------------------- routers --- */

static unsigned addresses(void)
{
	struct nomstack_addr a[NOMSTACK_MAX_ADDRESSES];

	return nomstack_addresses(rig.s, a, NOMSTACK_MAX_ADDRESSES);
}

/* 1,000 routers with a prefix each. */
static void routers_are_few(void **state)
{
	uint8_t src[16], prefix[16];
	struct nomstack_conn *c;
	uint64_t dropped;
	unsigned i;

	rig_open_both(&rig, "10.0.0.2/24", "auto", NULL, 0);
	rig_run(&rig, 3000);
	t_ip6("fe80::99", src);
	t_ip6("fd00:1::", prefix);
	for (i = 0; i < 1000; i++) {
		put16(src + 10, i);
		put16(prefix + 6, i);
		nd_advertise_router_from(&rig, src, prefix, 1800, 3600, 255);
	}
	dropped = rig_stats(&rig).drop_nd;
	t_assert(dropped >= 998);
	rig_run(&rig, 3000);
	t_assert(addresses() <= 1 + 4);
	t_assert(nomstack_tcp_connect(rig.s, "2001:db8::7", 80, &ops, NULL, &c) == 0);
	nomstack_tcp_abort(c);
	collect();
	rig_close(&rig);
}

/* Each of these says something that must not be believed. */
static void lies_of_routers_are_not_believed(void **state)
{
	uint8_t ra[16 + 32] = { 134 }, src[16], dst[16];
	struct nomstack_conn *c;
	unsigned before, i;

	rig_open_both(&rig, "10.0.0.2/24", "auto", NULL, 0);
	rig_run(&rig, 3000);
	before = addresses();
	nd_advertise_router(&rig, "fe80::99", "fd00:1::", 1800, 3600, 64);	/* from beyond a router */
	nd_advertise_router(&rig, "fd00:1::99", "fd00:1::", 1800, 3600, 255);	/* not link-local */
	t_assert(rig_stats(&rig).drop_proto == 2);
	nd_advertise_router(&rig, "fe80::99", "ff02::", 0, 3600, 255);
	nd_advertise_router(&rig, "fe80::99", "::", 0, 3600, 255);
	nd_advertise_router(&rig, "fe80::99", "fe80::", 0, 3600, 255);
	t_assert(addresses() == before);
	t_assert(nomstack_tcp_connect(rig.s, "2001:db8::7", 80, &ops, NULL, &c) != 0);	/* lifetime 0 */
	/* options: none of length 0, none beyond the end; nothing of such a message counts */
	t_ip6("fe80::99", src);
	t_ip6("ff02::1", dst);
	put16(ra + 6, 1800);
	for (i = 0; i < 3; i++) {
		ra[16] = 3;
		ra[17] = (uint8_t[]){ 0, 5, 3 }[i];	/* the last leaves 8 bytes of zeros */
		ra[18] = 64;
		ra[19] = 0xc0;
		put32(ra + 20, 3600);
		put32(ra + 24, 3600);
		t_ip6("fd00:2::", ra + 32);
		nd_inject(&rig, src, dst, 255, ra, sizeof(ra));
	}
	t_assert(addresses() == before && rig_stats(&rig).drop_proto == 5);
	t_assert(nomstack_tcp_connect(rig.s, "2001:db8::7", 80, &ops, NULL, &c) != 0);
	collect();
	rig_close(&rig);
}

/* Options of length 0, or that lead out of the packet: such a message is none. */
static void malformed_options_are_no_message(void **state)
{
	uint8_t ns[32] = { 135 }, na[32] = { 136 }, src[16];
	static const uint8_t lengths[] = { 0, 2, 255 };
	unsigned i;

	begin();
	collect();
	memset(&seen, 0, sizeof(seen));
	t_ip6("fd00::77", src);
	t_ip6(RIG_IP6, ns + 8);
	memcpy(ns + 24, "\x01\x01\x02\x00\x00\x00\x00\x77", 8);
	t_ip6(PEER_IP6, na + 8);
	na[4] = 0x60;
	memcpy(na + 24, "\x02\x01\x02\x00\x00\x00\x00\x66", 8);
	for (i = 0; i < sizeof(lengths); i++) {
		ns[25] = na[25] = lengths[i];
		nd_inject(&rig, src, peer.to_ip6, 255, ns, sizeof(ns));
		nd_inject(&rig, peer.ip6, peer.to_ip6, 255, na, sizeof(na));
	}
	/* cut short: eight bytes are the least that an option has */
	ns[25] = na[25] = 1;
	for (i = 1; i < 8; i++) {
		nd_inject(&rig, src, peer.to_ip6, 255, ns, 24 + i);
		nd_inject(&rig, peer.ip6, peer.to_ip6, 255, na, 24 + i);
	}
	for (i = 4; i < 24; i++)
		nd_inject(&rig, peer.ip6, peer.to_ip6, 255, na, i);
	collect();
	t_assert(seen.advertisements == 0);
	t_assert(rig_stats(&rig).drop_proto == 2 * (3 + 7) + 20);
	still_there();			/* at the MAC that it had */
	nd_inject(&rig, src, peer.to_ip6, 255, ns, sizeof(ns));
	collect();
	t_assert(seen.advertisements == 1);
	rig_close(&rig);
}

/* A neighbour says that it is the better way to our peer. */
static void redirects_are_not_followed(void **state)
{
	uint8_t rd[48] = { 137 }, src[16];

	begin();
	t_ip6("fe80::66", rd + 8);
	t_ip6(PEER_IP6, rd + 24);
	rd[40] = 2;
	rd[41] = 1;
	memset(rd + 42, 0x66, 6);
	t_ip6("fe80::1", src);
	nd_inject(&rig, src, peer.to_ip6, 255, rd, sizeof(rd));
	t_assert(rig_stats(&rig).drop_nd == 1);
	still_there();		/* which looks at the MAC */
	rig_close(&rig);
}

/* The MSS that a peer's SYN is answered with data of. */
static unsigned longest_segment(uint16_t port)
{
	static uint8_t data[4000];
	struct peer p;
	unsigned most = 0;

	peer_init6(&p, &rig, port, PORT);
	peer_handshake(&p);
	peer_send(&p, ACK | PSH, data, 1400);
	peer_send(&p, ACK | PSH, data, 1400);
	nomstack_poll(rig.s);
	while (peer_recv(&p, &seg)) {
		if (seg.len > most)
			most = seg.len;
		p.ack = seg.seq + seg.len;
	}
	peer_send(&p, RST | ACK, NULL, 0);
	nomstack_poll(rig.s);
	return most;
}

/*
 * Who knows two addresses and no segment that is on its way lowers nothing (RFC 8201,
 * 6; what a router says of one that is, test_stack_pmtu.c has).
 */
static void path_mtu_is_not_for_strangers(void **state)
{
	static const struct {
		unsigned mtu;
		const char *from;	/* of the packet it is about */
	} says[] = { { 1300, RIG_IP6 }, { 1300, "fd00::77" }, { 1280, RIG_IP6 }, { 0, RIG_IP6 }, { 68, RIG_IP6 } };
	uint8_t ptb[8 + 40 + 20], src[16];
	unsigned i, next;

	begin();
	t_ip6("fe80::1", src);
	t_assert(longest_segment(5000) == 1400);
	for (i = 0; i < sizeof(says) / sizeof(says[0]); i++) {
		for (next = 0; next < 60; next += 6) {
			memset(ptb, 0, sizeof(ptb));
			ptb[0] = 2;
			put32(ptb + 4, says[i].mtu);
			put32(ptb + 8, 0x60000000);
			ptb[14] = (uint8_t)next;	/* TCP among them */
			t_ip6(says[i].from, ptb + 16);
			t_ip6(PEER_IP6, ptb + 32);
			put16(ptb + 48, PORT);
			put16(ptb + 50, 5000);
			nd_inject(&rig, src, peer.to_ip6, 64, ptb, sizeof(ptb));
		}
		t_assert(longest_segment((uint16_t)(5001 + i)) == 1400);
	}
	rig_close(&rig);
}

/* ------------------------------------------------------ extension headers --- */

/* A datagram to port 53 behind @ext, whose first header is of type @first. */
static unsigned behind(uint8_t *f, unsigned first, const uint8_t *ext, unsigned n)
{
	uint8_t body[1400], u[12];
	uint16_t sum;

	put16(u, 4000);
	put16(u + 2, 53);
	put16(u + 4, 12);
	put16(u + 6, 0);
	memcpy(u + 8, "name", 4);
	sum = t_csum6(peer.ip6, peer.to_ip6, 17, u, 12);
	memcpy(u + 6, &sum, 2);
	memcpy(body, ext, n);
	memcpy(body + n, u, 12);
	return t_ip6_frame(&rig, f, peer.ip6, peer.to_ip6, first, 64, body, n + 12);
}

static void inject(const uint8_t *f, unsigned n)
{
	t_assert(rig_inject(&rig, f, n, 0));
	nomstack_poll(rig.s);
}

#define HBH 0
#define ROUTING 43
#define FRAGMENT 44
#define DEST 60
#define UDP 17

static void extension_headers_are_bounded(void **state)
{
	/* @error: code of the parameter problem that answers, -1: none; @at: what it points to */
	static const struct {
		unsigned first, n;
		uint8_t ext[64];
		bool delivered;
		int error, at;
	} cases[] = {
		{ HBH, 8, { UDP, 0, 1, 4 }, true, -1, 0 },			/* PadN */
		{ HBH, 8, { UDP, 0, 5, 2, 0, 0, 0, 0 }, true, -1, 0 },		/* router alert, two Pad1 */
		{ DEST, 8, { UDP, 0, 1, 4 }, true, -1, 0 },
		{ HBH, 16, { DEST, 0, 1, 4, 0, 0, 0, 0, UDP, 0, 1, 4 }, true, -1, 0 },
		{ ROUTING, 8, { UDP, 0, 0, 0 }, true, -1, 0 },			/* no segment left */
		{ ROUTING, 24, { UDP, 2, 0, 1 }, false, 0, 42 },		/* one */
		{ ROUTING, 24, { UDP, 2, 2, 1 }, false, 0, 42 },		/* mobility's, neither */
		{ FRAGMENT, 8, { UDP, 0, 0, 0, 1, 2, 3, 4 }, true, -1, 0 },	/* in one piece (RFC 6946) */
		{ FRAGMENT, 8, { UDP, 0, 0, 1, 1, 2, 3, 4 }, false, 0, 4 },	/* first of several, not of whole blocks */
		{ FRAGMENT, 8, { UDP, 0, 0, 8, 1, 2, 3, 4 }, false, -1, 0 },	/* last of several */
		/* unknown options, by what their type demands: skip, discard, tell, tell */
		{ DEST, 8, { UDP, 0, 0x1e, 4 }, true, -1, 0 },
		{ DEST, 8, { UDP, 0, 0x5e, 4 }, false, -1, 0 },
		{ DEST, 8, { UDP, 0, 0x9e, 4 }, false, 2, 42 },
		{ HBH, 8, { UDP, 0, 0xde, 4 }, false, 2, 42 },
		{ DEST, 24, { UDP, 2, 0xc9, 16 }, false, 2, 42 },		/* home address */
		{ HBH, 8, { UDP, 0, 0xc2, 4 }, false, 2, 42 },			/* jumbogram */
		/* lengths that lead out of the header, out of the packet */
		{ DEST, 8, { UDP, 0, 1, 5 }, false, -1, 0 },
		{ DEST, 8, { UDP, 0, 1, 3, 0, 0, 0, 1 }, false, -1, 0 },
		{ DEST, 8, { UDP, 9, 1, 4 }, false, -1, 0 },
		{ DEST, 8, { UDP, 255, 1, 4 }, false, -1, 0 },
		{ HBH, 8, { FRAGMENT, 0, 1, 4 }, false, 0, 4 },		/* the datagram, read as one of several */
		/* hop-by-hop comes first or not at all */
		{ DEST, 16, { HBH, 0, 1, 4, 0, 0, 0, 0, UDP, 0, 1, 4 }, false, 1, 40 },
		/* too many headers; options */
		{ DEST, 32, { DEST, 0, 1, 4, 0, 0, 0, 0, DEST, 0, 1, 4, 0, 0, 0, 0, DEST, 0, 1, 4, 0, 0, 0, 0,
			      UDP, 0, 1, 4 }, true, -1, 0 },
		{ DEST, 40, { DEST, 0, 1, 4, 0, 0, 0, 0, DEST, 0, 1, 4, 0, 0, 0, 0, DEST, 0, 1, 4, 0, 0, 0, 0,
			      DEST, 0, 1, 4, 0, 0, 0, 0, UDP, 0, 1, 4 }, false, -1, 0 },
		{ DEST, 16, { UDP, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 4 }, false, -1, 0 },
		/* nothing follows, or nothing we know */
		{ DEST, 8, { 59, 0, 1, 4 }, false, -1, 0 },
		{ DEST, 8, { 200, 0, 1, 4 }, false, 1, 40 },
	};
	struct nomstack_fragments fr;
	uint8_t f[1514], long_pad[272] = { UDP, 31, 1, 252 }, ext[64];
	unsigned i, n, fragments = 0;

	begin();
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned got = datagrams;

		rig_run(&rig, 10);
		collect();
		inject(f, behind(f, cases[i].first, cases[i].ext, cases[i].n));
		if ((datagrams == got + 1) != cases[i].delivered)
			print_message("case %u\n", i);
		t_assert((datagrams == got + 1) == cases[i].delivered);
		if (cases[i].error >= 0) {
			t_assert(rig_tx_pop(&rig, &frame));
			t_assert(ip[40] == 4 && ip[41] == cases[i].error);
			t_assert((int)get32(ip + 44) == cases[i].at);
			/* what is quoted is the packet, from its IPv6 header on */
			t_assert(ip[48] >> 4 == 6 && !memcmp(ip + 48, f + 14, 40 + cases[i].n));
		}
		t_assert(!rig_tx_pop(&rig, &frame));
	}
	nomstack_fragments(rig.s, &fr);
	t_assert(fr.received == 1 && fr.held == 1 && rig_stats(&rig).drop_fragment == 0);
	/* all of them together: 256 bytes */
	inject(f, behind(f, DEST, long_pad, 256));
	n = datagrams;
	long_pad[1] = 32;
	long_pad[256] = 1;
	long_pad[257] = 6;
	inject(f, behind(f, DEST, long_pad, 264));
	t_assert(datagrams == n);
	/* cut anywhere: nothing is read that is not there (the rig poisons it) */
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned whole = behind(f, cases[i].first, cases[i].ext, cases[i].n), cut;

		for (cut = 14; cut < whole; cut++) {
			put16(f + 18, whole - 54);
			inject(f, cut);		/* as it was sent */
			if (cut >= 54) {
				put16(f + 18, cut - 54);
				inject(f, cut);	/* as if it had been meant so */
			}
			collect();
		}
	}
	/* neighbour discovery in a fragment, even in one piece (RFC 6980) */
	fragments = (unsigned)rig_stats(&rig).drop_fragment;
	memset(ext, 0, sizeof(ext));
	ext[0] = 58;
	ext[8] = 135;
	t_ip6(RIG_IP6, ext + 16);
	n = t_ip6_frame(&rig, f, peer.ip6, peer.to_ip6, FRAGMENT, 255, ext, 8 + 24);
	inject(f, n);
	t_assert(rig_stats(&rig).drop_fragment == fragments + 1);
	rig_run(&rig, 100);
	still_there();
	rig_close(&rig);
}

/* ------------------------------------------------------------------ ICMPv6 --- */

static void answers_have_a_rate(void **state)
{
	unsigned i;

	begin();
	rig_knob(&rig, "icmp_per_s", 100);
	rig_run(&rig, 1000);
	collect();
	memset(&seen, 0, sizeof(seen));
	for (i = 0; i < 2000; i++) {
		nd_ping(&rig, PEER_IP6, RIG_IP6);
		if (i % 2)
			rig_run(&rig, 1);
		collect();
	}
	/* a burst of a tenth, and a second at 100 */
	t_assert(seen.errors >= 100 && seen.errors <= 115);
	t_assert(rig_stats(&rig).drop_icmp == 2000 - seen.errors);
	rig_knob(&rig, "icmp_per_s", 0);
	nd_ping(&rig, PEER_IP6, RIG_IP6);
	i = seen.errors;
	collect();
	t_assert(seen.errors == i);
	/* solicitations are answered all the same: without it nobody would find us */
	nd_solicit(&rig, PEER_IP6, RIG_IP6, 255);
	i = seen.advertisements;
	collect();
	t_assert(seen.advertisements == i + 1);
	still_there();
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(neighbours_in_use_stay),
		cmocka_unit_test(a_full_cache_is_full),
		cmocka_unit_test(who_does_not_exist_is_asked_for_in_turn),
		cmocka_unit_test(routers_are_few),
		cmocka_unit_test(lies_of_routers_are_not_believed),
		cmocka_unit_test(malformed_options_are_no_message),
		cmocka_unit_test(redirects_are_not_followed),
		cmocka_unit_test(path_mtu_is_not_for_strangers),
		cmocka_unit_test(extension_headers_are_bounded),
		cmocka_unit_test(answers_have_a_rate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
