// SPDX-License-Identifier: MIT
/*
 * What strangers can make the stack hold, forget or say is bounded, and what is
 * dropped for it is counted: the ARP cache, what waits for it, ICMP, fragments.
 * Each flood runs beside a connection that must not notice.
 */
#include "bytes.h"
#include "stack_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PORT 9
#define CACHE 64		/* entries of the ARP cache (lwipopts.h), half of them waiting at most */
#define STRANGER 0x0a000064u	/* 10.0.0.100, the first of many that do not exist */

static struct rig rig;
static struct peer peer;
static struct rig_frame frame;
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

static void on_udp(struct nomstack *s, void *arg, const void *data, uint32_t len, uint32_t ip4_be, uint16_t port)
{
	datagrams++;
}

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

/* A connection that is in use; the network is a large one. */
static void begin(void)
{
	datagrams = 0;
	rig_open(&rig, "10.0.0.2/16", 0);
	t_assert(nomstack_tcp_listen(rig.s, PORT, 255, &ops, NULL) == 0);
	t_assert(nomstack_udp_bind(rig.s, 53, on_udp, NULL) == 0);
	peer_init(&peer, &rig, 3000, PORT);
	peer_handshake(&peer);
}

struct seen {
	unsigned arp_requests, arp_replies, icmp, answers, other;
};

static struct seen seen;

/* All that the stack has sent; nobody answers its ARP requests. */
static void collect(void)
{
	struct seg s;

	while (rig_tx_pop_raw(&frame)) {
		if (get16(frame.data + 12) == 0x0806) {
			seen.arp_requests += get16(frame.data + 20) == 1;
			seen.arp_replies += get16(frame.data + 20) == 2;
			continue;
		}
		s.frame = frame;
		if (frame.data[23] == 1) {
			seen.icmp++;
		} else if (peer_parse(&peer, &s) && s.len == 5) {
			seen.answers++;
			peer.ack = s.seq + s.len;
		} else {
			seen.other++;
		}
	}
}

/* The connection goes on, at once and without asking for the peer's address. */
static void still_there(void)
{
	unsigned answers, requests;

	collect();	/* what was not acknowledged may have been sent again */
	answers = seen.answers;
	requests = seen.arp_requests;
	peer_send(&peer, ACK | PSH, "hello", 5);
	nomstack_poll(rig.s);
	collect();
	t_assert(seen.answers == answers + 1);
	t_assert(seen.arp_requests == requests);
}

static void end(void)
{
	collect();
	rig_close(&rig);
}

/* ------------------------------------------------------------------- ARP --- */

/* 10,000 neighbours ask who we are. */
static void neighbours_in_use_stay(void **state)
{
	uint8_t mac[6] = { 2, 0, 0, 0, 0, 0 };
	unsigned i;

	begin();
	memset(&seen, 0, sizeof(seen));
	for (i = 0; i < 10000; i++) {
		put16(mac + 4, i);
		rig_arp(&rig, STRANGER + i, mac);
		collect();
		if (i % 500 == 499) {
			rig_run(&rig, 1000);
			still_there();
		}
	}
	t_assert(seen.arp_replies == 10000);	/* they are answered all the same */
	/* even after a while of silence: who was never spoken to goes first */
	rig_run(&rig, 20000);
	for (i = 0; i < 2 * CACHE; i++) {
		put16(mac + 4, i);
		rig_arp(&rig, STRANGER + i, mac);
	}
	still_there();
	t_assert(rig_stats(&rig).drop_arp == 0);
	end();
}

/* As many neighbours in use as the cache holds: one more is not noted, and does no harm. */
static void a_full_cache_is_full(void **state)
{
	uint8_t mac[6] = { 2, 0, 0, 0, 0, 0 };
	unsigned i;

	begin();
	for (i = 0; i < CACHE; i++) {
		put16(mac + 4, i);
		rig_arp(&rig, STRANGER + i, mac);
		nomstack_udp_send(rig.s, 53, __builtin_bswap32(STRANGER + i), 1000, "x", 1);
		nomstack_poll(rig.s);
		collect();
	}
	memset(&seen, 0, sizeof(seen));
	/* the peer and 63 of them are in it */
	t_assert(rig_stats(&rig).drop_arp >= 1);
	t_assert(nomstack_udp_send(rig.s, 53, __builtin_bswap32(STRANGER + CACHE - 1), 1000, "x", 1) != 0);
	still_there();
	/* who is not spoken to for ten seconds gives way; the peer is, and stays */
	for (i = 0; i < 12; i++) {
		rig_run(&rig, 1000);
		still_there();
	}
	for (i = CACHE; i < 2 * CACHE - 1; i++) {
		put16(mac + 4, i);
		rig_arp(&rig, STRANGER + i, mac);
		t_assert(nomstack_udp_send(rig.s, 53, __builtin_bswap32(STRANGER + i), 1000, "x", 1) == 0);
		nomstack_poll(rig.s);
		still_there();
	}
	end();
}

/* SYNs with addresses of neighbours that do not exist: our answers wait for them. */
static void spoofed_neighbours_are_bounded(void **state)
{
	struct nomstack_stats st;
	struct peer liar;
	unsigned i, second;
	uint8_t f[RIG_FRAME];

	begin();
	memset(&seen, 0, sizeof(seen));
	for (second = 0; second < 20; second++) {
		for (i = 0; i < 200; i++) {
			peer_init(&liar, &rig, (uint16_t)(1000 + i), PORT);
			liar.ip = STRANGER + second * 200 + i;
			rig_inject(&rig, f, peer_frame(&liar, f, SYN, 1, 0, NULL, 0), 0);
			rig_run(&rig, 5);
		}
		still_there();
	}
	st = rig_stats(&rig);
	print_message("# 4000 spoofed SYNs: %u ARP requests in 20 s, %u dropped\n", seen.arp_requests,
		      (unsigned)st.drop_arp);
	/* half of the cache may wait, for five seconds, and is asked for once a second */
	t_assert(seen.arp_requests <= CACHE / 2 * (20 + 1));
	t_assert(seen.arp_requests >= CACHE / 2);
	t_assert(st.drop_arp > 3000);
	rig_run(&rig, 30000);
	collect();
	still_there();
	end();
}

/* One packet waits for a neighbour, the newest; who never answers costs it. */
static void one_packet_waits(void **state)
{
	const uint32_t to = __builtin_bswap32(STRANGER);
	uint8_t mac[6] = { 2, 0, 0, 0, 0, 1 };
	uint64_t before;
	unsigned i;

	begin();
	before = rig_stats(&rig).drop_arp;
	for (i = 0; i < 5; i++)
		t_assert(nomstack_udp_send(rig.s, 53, to, (uint16_t)(2000 + i), "x", 1) == 0);
	nomstack_poll(rig.s);
	memset(&seen, 0, sizeof(seen));
	collect();
	t_assert(seen.arp_requests == 1 && seen.other == 0);
	t_assert(rig_stats(&rig).drop_arp == before + 4);
	rig_arp(&rig, STRANGER, mac);
	nomstack_poll(rig.s);
	t_assert(rig_tx_pop_raw(&frame) && frame.data[23] == 17);
	t_assert(get16(frame.data + 36) == 2004);	/* the last one */
	collect();
	/* the next neighbour never answers */
	t_assert(nomstack_udp_send(rig.s, 53, __builtin_bswap32(STRANGER + 1), 2000, "x", 1) == 0);
	rig_run(&rig, 10000);
	t_assert(rig_stats(&rig).drop_arp == before + 5);
	end();
}

/* ------------------------------------------------------------------ ICMP --- */

static void ping(unsigned seq)
{
	uint8_t f[RIG_FRAME], icmp[64] = { 8, 0 };
	uint16_t sum;

	put16(icmp + 6, seq);
	sum = t_csum(icmp, sizeof(icmp), 0);
	memcpy(icmp + 2, &sum, 2);
	rig_inject(&rig, f, t_ip_frame(&rig, f, PEER_IP, RIG_IP, 1, icmp, sizeof(icmp)), 0);
}

/* A datagram to a port that nobody has. */
static void knock(unsigned port)
{
	uint8_t f[RIG_FRAME], udp[16] = { 0 };

	put16(udp, 1000);
	put16(udp + 2, port);
	put16(udp + 4, sizeof(udp));
	rig_inject(&rig, f, t_ip_frame(&rig, f, PEER_IP, RIG_IP, 17, udp, sizeof(udp)), 0);
}

static void icmp_has_a_rate(void **state)
{
	uint64_t sent = 0;
	unsigned i, k;

	begin();
	memset(&seen, 0, sizeof(seen));
	/* ten a second for ten seconds: all are answered */
	for (i = 0; i < 100; i++) {
		ping(i);
		rig_run(&rig, 100);
	}
	collect();
	t_assert(seen.icmp == 100 && rig_stats(&rig).drop_icmp == 0);
	/* 20,000 a second, pings and knocks at closed doors, for two seconds */
	memset(&seen, 0, sizeof(seen));
	for (i = 0; i < 2000; i++) {
		for (k = 0; k < 20; k++, sent++)
			k & 1 ? ping(k) : knock(1000 + i);
		rig_run(&rig, 1);
		if (i % 100 == 0)
			still_there();
		else
			collect();
	}
	print_message("# %u ICMP messages for %u\n", seen.icmp, (unsigned)sent);
	t_assert(seen.icmp >= 2000 && seen.icmp <= 2000 + 100 + 2);	/* the rate, and a burst */
	t_assert(rig_stats(&rig).drop_icmp == sent - seen.icmp);
	/* the knob is live */
	rig_run(&rig, 1000);
	memset(&seen, 0, sizeof(seen));
	rig_knob(&rig, "icmp_per_s", 0);
	ping(1);
	knock(7);
	rig_run(&rig, 10);
	collect();
	t_assert(seen.icmp == 0);
	rig_knob(&rig, "icmp_per_s", 3);
	for (i = 0; i < 100; i++) {
		ping(i);
		rig_run(&rig, 100);
	}
	collect();
	t_assert(seen.icmp >= 30 && seen.icmp <= 32);
	still_there();
	end();
}

/* ------------------------------------------------------------- fragments --- */

static void fragment(unsigned proto, unsigned id, unsigned offset, bool more, unsigned len)
{
	uint8_t f[RIG_FRAME], body[1480];
	uint16_t sum;
	unsigned n;

	memset(body, 0x45, len);
	n = t_ip_frame(&rig, f, PEER_IP, RIG_IP, proto, body, len);
	put16(f + 18, id);
	put16(f + 20, offset / 8 | (more ? 0x2000 : 0));
	memset(f + 24, 0, 2);
	sum = t_csum(f + 14, 20, 0);
	memcpy(f + 24, &sum, 2);
	t_assert(rig_inject(&rig, f, n, VNET_RX_CSUM_OK));
	nomstack_poll(rig.s);
}

/*
 * With reass_max 0 none is put together, whatever they look like: no buffer is held, nothing is
 * said, each is counted.  test_stack_reass has what is held otherwise.
 */
static void fragments_hold_nothing(void **state)
{
	static const uint8_t protos[] = { 1, 6, 17, 99 };
	uint64_t x = 7;
	unsigned i, n = 0;

	begin();
	rig_knob(&rig, "reass_max", 0);
	memset(&seen, 0, sizeof(seen));
	for (i = 0; i < 4; i++, n += 8) {
		fragment(protos[i], i, 0, true, 1480);		/* an honest beginning */
		fragment(protos[i], i, 1480, false, 100);	/* and its end */
		fragment(protos[i], 10 + i, 0, true, 8);	/* the transport's header cut in two */
		fragment(protos[i], 10 + i, 8, false, 64);
		fragment(protos[i], 20 + i, 65528, false, 1400);	/* beyond the longest packet */
		fragment(protos[i], 30 + i, 16, false, 64);	/* two that overlap */
		fragment(protos[i], 30 + i, 8, true, 64);
		fragment(protos[i], 40 + i, 800, true, 0);	/* an empty one */
	}
	for (i = 0; i < 20000; i++, n++) {
		fragment(protos[rig_random(&x) % 4], (unsigned)rig_random(&x) & 0xffff,
			 8 * (1 + (unsigned)rig_random(&x) % 8000), rig_random(&x) & 1, (unsigned)rig_random(&x) % 1480);
		t_assert(rig_device().rx_held == 0);
		if (i % 1000 == 0)
			still_there();
	}
	t_assert(rig_stats(&rig).drop_fragment == n);
	t_assert(datagrams == 0 && seen.icmp == 0 && seen.other == 0);
	still_there();
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(neighbours_in_use_stay),
		cmocka_unit_test(a_full_cache_is_full),
		cmocka_unit_test(spoofed_neighbours_are_bounded),
		cmocka_unit_test(one_packet_waits),
		cmocka_unit_test(icmp_has_a_rate),
		cmocka_unit_test(fragments_hold_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
