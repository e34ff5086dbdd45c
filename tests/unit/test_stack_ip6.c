// SPDX-License-Identifier: MIT
/*
 * IPv6: addresses come and are defended (RFC 4862), neighbours are found (RFC 4861),
 * TCP, UDP and ICMP work as over IPv4, on the short way as well.
 * What strangers can do with it: test_stack_ip6_strangers.c.
 */
#include "bytes.h"
#include "nd_frames.h"
#include "stack_rig.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PORT 9
#define FEATURE(bit) (1ull << (bit))
#define ROUTER "fe80::99"
#define LINK_LOCAL "fe80::5054:ff:fe00:2"	/* of the rig's MAC, 52:54:00:00:00:02 */

static struct rig rig;
static struct peer peer, peer4;
static struct rig_frame frame;
static struct seg seg;
static char buf[70000];

static struct {
	struct nomstack_conn *conn;
	unsigned accepted, bytes, closed;
	int err;
} app;

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	app.conn = c;
	app.accepted++;
	return &app;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	app.bytes += len;
	t_assert(nomstack_tcp_send(c, data, len, NOMSTACK_SEND_COPY) == 0);
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
	app.closed++;
	app.err = err;
	nomstack_tcp_close(c);
}

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

static void listen_on(uint64_t features)
{
	memset(&app, 0, sizeof(app));
	rig_open6(&rig, features);
	t_assert(nomstack_tcp_listen(rig.s, PORT, 255, &ops, NULL) == 0);
}

/* The stack's addresses, and what has become of @text; 0: it has no such address. */
static uint8_t state_of(const char *text)
{
	struct nomstack_addr a[NOMSTACK_MAX_ADDRESSES];
	unsigned n = nomstack_addresses(rig.s, a, NOMSTACK_MAX_ADDRESSES);
	char seen[NOMSTACK_ADDR_TEXT];

	while (n--) {
		nomstack_addr_text(&a[n], seen, sizeof(seen));
		if (!strcmp(seen, text))
			return a[n].state;
	}
	return 0;
}

/* What was sent, until nothing more is: neighbours that are asked for answer meanwhile. */
static void run_and_answer(unsigned ms)
{
	unsigned i;

	for (i = 0; i < ms; i += 100) {
		rig_run(&rig, 100);
		while (rig_tx_pop(&rig, &frame))
			t_assert(frame.data[20] != 6);	/* nothing of TCP */
	}
}

/* -------------------------------------------------------------- addresses --- */

/* Until the stack asks whether somebody has @text. */
static void until_asked(const char *text)
{
	uint8_t ip[16];
	unsigned i;

	t_ip6(text, ip);
	for (i = 0; i < 3000; i++) {
		rig_run(&rig, 1);
		while (rig_tx_pop_raw(&frame))
			if (frame.len == 78 && frame.data[54] == 135 && !memcmp(frame.data + 62, ip, 16))
				return;
	}
	t_assert(!"it was not asked for");
}

/* Link-local first, after a second in which nobody has it; then what a router says. */
static void a_router_gives_addresses(void **state)
{
	static const uint8_t unspecified[16];
	uint8_t solicited[16], all_routers[16], mlr[16], link_local[16];
	unsigned dad = 0, reports = 0, routers = 0;
	struct nomstack_addr a[NOMSTACK_MAX_ADDRESSES];
	struct nomstack_conn *c;
	char text[80];
	uint32_t ip4;

	t_ip6(LINK_LOCAL, link_local);
	t_ip6("ff02::1:ff00:2", solicited);
	t_ip6("ff02::2", all_routers);
	rig_open_both(&rig, "10.0.0.2/24", "auto", NULL, 0);
	t_assert(state_of(LINK_LOCAL) == NOMSTACK_ADDR_TENTATIVE);
	rig_run(&rig, 500);
	/* not ours yet: nobody is answered */
	nd_solicit(&rig, "fe80::1", LINK_LOCAL, 255);
	rig_run(&rig, 3000);
	while (rig_tx_pop_raw(&frame)) {
		const uint8_t *ip = frame.data + 14;

		if (get16(frame.data + 12) != 0x86dd)
			continue;
		if (ip[6] == 0) {	/* hop-by-hop: a report with router alert (RFC 2710, 3) */
			t_assert(ip[7] == 1 && ip[40] == 58 && ip[42] == 5 && ip[48] == 131);
			memcpy(mlr, ip + 56, 16);
			t_assert(!memcmp(mlr, solicited, 16));
			reports++;
			continue;
		}
		t_assert(ip[6] == 58 && ip[7] == 255);
		t_assert(t_csum6(ip + 8, ip + 24, 58, ip + 40, get16(ip + 4)) == 0);
		if (ip[40] == 135 && !memcmp(ip + 8, unspecified, 16)) {
			t_assert(!memcmp(ip + 24, solicited, 16) && !memcmp(ip + 48, link_local, 16));
			t_assert(get16(ip + 4) == 24);	/* no option */
			dad++;
		}
		if (ip[40] == 133) {
			t_assert(!memcmp(ip + 24, all_routers, 16));
			routers++;
		}
		t_assert(ip[40] != 136);
	}
	t_assert(dad == 1 && reports >= 1 && routers >= 1);
	t_assert(state_of(LINK_LOCAL) == NOMSTACK_ADDR_READY);

	nd_advertise_router(&rig, ROUTER, "fd00:1::", 1800, 3600, 255);
	t_assert(state_of("fd00:1::5054:ff:fe00:2") == NOMSTACK_ADDR_TENTATIVE);
	t_assert(nomstack_tcp_connect(rig.s, "2001:db8::7", 80, &ops, NULL, &c) == -ENETUNREACH);
	rig_run(&rig, 2500);
	t_assert(state_of("fd00:1::5054:ff:fe00:2") == NOMSTACK_ADDR_READY);
	t_assert(nomstack_addresses(rig.s, a, NOMSTACK_MAX_ADDRESSES) == 3);
	t_assert(a[0].family == 4 && a[0].prefix == 24 && a[1].family == 6 && a[2].prefix == 64);
	t_assert(nomstack_address(rig.s, &ip4, NULL) == 0);

	/* and the way: packets to the world go to the router's MAC */
	while (rig_tx_pop_raw(&frame))
		;
	t_assert(nomstack_tcp_connect(rig.s, "2001:db8::7", 80, &ops, NULL, &c) == 0);
	nomstack_poll(rig.s);
	t_assert(rig_tx_pop_raw(&frame));
	t_assert(frame.data[20] == 6 && !memcmp(frame.data, nd_router_mac, 6));
	nomstack_tcp_peer(c, text, sizeof(text));
	t_assert(!strcmp(text, "[2001:db8::7]:80"));
	nomstack_tcp_abort(c);

	/* what has been announced ends: deprecated, then gone; the router likewise */
	nd_advertise_router(&rig, ROUTER, "fd00:1::", 0, 7200 + 10, 255);
	rig_run(&rig, 1100);
	t_assert(nomstack_tcp_connect(rig.s, "2001:db8::7", 80, &ops, NULL, &c) == -ENETUNREACH);
	rig_close(&rig);
}

/* A fixed address: routers are neither asked nor listened to; a gateway of its own. */
static void a_fixed_address_is_fixed(void **state)
{
	struct nomstack_conn *c;
	uint8_t router[6] = { 2, 0, 0, 0, 0, 0x42 };

	rig_open_both(&rig, NULL, "fd00::2/64", "fd00::42", 0);
	t_assert(nomstack_wait_address(rig.s, 0) == -ETIMEDOUT);
	rig_run(&rig, 3000);
	t_assert(nomstack_wait_address(rig.s, 0) == 0);
	t_assert(state_of("fd00::2") == NOMSTACK_ADDR_READY);
	while (rig_tx_pop_raw(&frame))
		t_assert(frame.data[20] != 58 || frame.data[54] != 133);
	nd_advertise_router(&rig, ROUTER, "fd00:1::", 1800, 3600, 255);
	rig_run(&rig, 2500);
	t_assert(!state_of("fd00:1::5054:ff:fe00:2"));
	/* to the gateway, whose MAC it has told us */
	nd_solicit_from(&rig, "fd00::42", "fd00::2", router);
	while (rig_tx_pop_raw(&frame))
		;
	t_assert(nomstack_tcp_connect(rig.s, "2001:db8::7", 80, &ops, NULL, &c) == 0);
	nomstack_poll(rig.s);
	t_assert(rig_tx_pop_raw(&frame));
	t_assert(frame.data[20] == 6 && !memcmp(frame.data, router, 6));
	nomstack_tcp_abort(c);
	/* no IPv4 here */
	t_assert(nomstack_tcp_connect(rig.s, "10.0.0.1", 80, &ops, NULL, &c) == -ENETUNREACH);
	rig_close(&rig);
}

/* An address that another has is not used; one that we have is kept, whoever claims it. */
static void a_duplicate_is_not_used(void **state)
{
	rig_open_both(&rig, "10.0.0.2/24", "fd00::2/64", NULL, 0);
	t_assert(nomstack_tcp_listen(rig.s, PORT, 255, &ops, NULL) == 0);
	until_asked("fd00::2");
	t_assert(state_of("fd00::2") == NOMSTACK_ADDR_TENTATIVE);
	nd_advertise(&rig, "fd00::2", "fd00::2", "ff02::1", 0x20);
	t_assert(state_of("fd00::2") == NOMSTACK_ADDR_DUPLICATE);
	rig_run(&rig, 5000);
	t_assert(state_of("fd00::2") == NOMSTACK_ADDR_DUPLICATE);
	while (rig_tx_pop_raw(&frame))
		;
	nd_solicit(&rig, "fe80::1", "fd00::2", 255);
	peer_init6(&peer, &rig, 3000, PORT);
	peer_send(&peer, SYN, NULL, 0);
	nomstack_poll(rig.s);
	t_assert(!rig_tx_pop_raw(&frame));

	/* ours: stays, and who asks whether it is free is told that it is not */
	t_assert(state_of(LINK_LOCAL) == NOMSTACK_ADDR_READY);
	nd_advertise(&rig, LINK_LOCAL, LINK_LOCAL, "ff02::1", 0x20);
	t_assert(state_of(LINK_LOCAL) == NOMSTACK_ADDR_READY);
	nd_solicit(&rig, "::", LINK_LOCAL, 255);
	t_assert(rig_tx_pop_raw(&frame));
	t_assert(frame.data[54] == 136 && frame.data[14 + 24] == 0xff);
	rig_close(&rig);
}

/* Two that want the same address at the same time: neither gets it. */
static void who_asks_at_the_same_time_ends_it(void **state)
{
	rig_open_both(&rig, "10.0.0.2/24", "fd00::2/64", NULL, 0);
	until_asked("fd00::2");
	nd_solicit(&rig, "::", "fd00::2", 255);
	t_assert(state_of("fd00::2") == NOMSTACK_ADDR_DUPLICATE);
	rig_close(&rig);
}

/* ------------------------------------------------------------- neighbours --- */

static void who_asks_for_us_is_answered(void **state)
{
	const uint8_t *ip = frame.data + 14;
	uint8_t us[16], asker[16];

	t_ip6("fd00::2", us);
	t_ip6("fd00::77", asker);
	rig_open6(&rig, 0);
	nd_solicit(&rig, "fd00::77", "fd00::2", 255);
	t_assert(rig_tx_pop_raw(&frame));
	t_assert(ip[6] == 58 && ip[7] == 255 && ip[40] == 136 && ip[44] == 0x60);
	t_assert(!memcmp(ip + 8, us, 16) && !memcmp(ip + 24, asker, 16) && !memcmp(ip + 48, us, 16));
	t_assert(ip[64] == 2 && ip[65] == 1 && !memcmp(ip + 66, vnet_mac(rig.v), 6));
	t_assert(t_csum6(ip + 8, ip + 24, 58, ip + 40, get16(ip + 4)) == 0);
	/* from another link (a router would have lowered it), or for another: no */
	nd_solicit(&rig, "fd00::77", "fd00::2", 64);
	nd_solicit(&rig, "fd00::77", "fd00::3", 255);
	t_assert(!rig_tx_pop_raw(&frame));
	rig_close(&rig);
}

/* A neighbour that moves is followed; one that is silent is asked, then forgotten. */
static void neighbours_are_followed(void **state)
{
	unsigned asked;

	listen_on(0);
	peer_init6(&peer, &rig, 3000, PORT);
	peer_handshake(&peer);
	rig.peer_mac[5] = 0x55;
	nd_advertise(&rig, PEER_IP6, PEER_IP6, RIG_IP6, 0x60);
	peer_send(&peer, ACK | PSH, "hello", 5);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&peer, &seg) && seg.len == 5);	/* which looks at the MAC */
	peer.ack += seg.len;
	peer_send(&peer, ACK, NULL, 0);
	nomstack_poll(rig.s);
	/* 30 s later it is doubted, asked by name, and answers */
	rig_run(&rig, 31000);
	asked = rig.solicitations;
	peer_send(&peer, ACK | PSH, "hello", 5);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&peer, &seg));
	peer.ack += seg.len;
	peer_send(&peer, ACK, NULL, 0);
	run_and_answer(7000);
	t_assert(rig.solicitations == asked + 1);
	/* and does not: the next packet looks for it anew */
	rig_run(&rig, 31000);
	rig.mute6 = true;
	peer_send(&peer, ACK | PSH, "hello", 5);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&peer, &seg));
	peer.ack += seg.len;
	peer_send(&peer, ACK, NULL, 0);
	run_and_answer(12000);
	rig.mute6 = false;
	peer_send(&peer, ACK | PSH, "hello", 5);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&peer, &seg) && seg.len == 5);
	rig_close(&rig);
}

/* -------------------------------------------------------------------- TCP --- */

static void requests(struct peer *p, unsigned nr)
{
	unsigned i;

	for (i = 0; i < nr; i++) {
		peer_send(p, ACK | PSH, "a request", 9);
		nomstack_poll(rig.s);
		t_assert(peer_recv(p, &seg));
		t_assert(seg.len == 9 && !memcmp(seg.data, "a request", 9) && seg.flags == (ACK | PSH));
		p->ack += seg.len;
	}
}

/* One listener, both versions at the same time; what is usual takes the short way. */
static void a_listener_has_both(void **state)
{
	uint64_t features[] = { 0, FEATURE(VIRTIO_NET_F_CSUM) };
	struct nomstack_addr a;
	uint64_t predicted;
	char text[60];
	uint16_t port;
	unsigned i;

	for (i = 0; i < 2; i++) {
		listen_on(features[i]);
		peer_init6(&peer, &rig, 3000, PORT);
		peer_init(&peer4, &rig, 3000, PORT);
		peer_handshake(&peer);
		t_assert(app.accepted == 1);
		nomstack_tcp_peer(app.conn, text, sizeof(text));
		assert_string_equal(text, "[fd00::1]:3000");
		t_assert(nomstack_tcp_peer_addr(app.conn, &a, &port) == 0);
		t_assert(a.family == 6 && port == 3000 && !memcmp(a.bytes, peer.ip6, 16));
		peer_handshake(&peer4);
		t_assert(app.accepted == 2);
		nomstack_tcp_peer(app.conn, text, sizeof(text));
		assert_string_equal(text, "10.0.0.1:3000");
		requests(&peer, 5);
		predicted = rig_stats(&rig).tcp_predicted;
		requests(&peer, 50);
		t_assert(rig_stats(&rig).tcp_predicted == predicted + 50);
		requests(&peer4, 50);
		t_assert(rig_stats(&rig).tcp_predicted == predicted + 100);
		/* a wrong sum is seen */
		peer.bad_csum = true;
		peer_send_at(&peer, ACK | PSH, peer.seq, "x", 1);
		peer_none(&peer);
		t_assert(rig_stats(&rig).drop_csum == 1);
		peer.bad_csum = false;
		peer_send(&peer, ACK | FIN, NULL, 0);
		nomstack_poll(rig.s);
		t_assert(peer_recv(&peer, &seg));
		t_assert(app.closed == 1);
		rig_close(&rig);
	}
}

/* RFC 6528: who sees the numbers of his own connections knows nothing of his neighbours',
 * however much their addresses have in common. */
static void sequence_numbers_know_whole_addresses(void **state)
{
	uint32_t seen[128];
	unsigned bit, i, n = 0;

	listen_on(0);
	for (bit = 0; bit < 128; bit++) {
		peer_init6(&peer, &rig, 3000, PORT);
		peer.ip6[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (peer.ip6[0] == 0xff || (peer.ip6[0] & 0xfe) != 0xfc || memcmp(peer.ip6, peer.to_ip6, 8) != 0)
			continue;		/* on this link, so that the answer comes at once */
		peer_send(&peer, SYN, NULL, 0);
		nomstack_poll(rig.s);
		t_assert(peer_recv(&peer, &seg) && seg.flags == (SYN | ACK));
		for (i = 0; i < n; i++)
			t_assert((uint32_t)(seen[i] - seg.seq + 1000) > 2000);
		seen[n++] = seg.seq;
		peer_send(&peer, RST, NULL, 0);
		nomstack_poll(rig.s);
	}
	t_assert(n == 64);
	rig_close(&rig);
}

/* Answers of many segments, sent from where they lie: none is longer than the link takes. */
static void long_answers(uint64_t features)
{
	unsigned got = 0, most = 0;
	uint8_t *data;

	listen_on(features);
	peer_init6(&peer, &rig, 3000, PORT);
	peer_handshake(&peer);
	data = nomstack_dma_alloc(rig.s, 60000);
	memset(data, 'x', 60000);
	t_assert(nomstack_tcp_send(app.conn, data, 60000, 0) == 0);
	nomstack_flush(rig.s);
	while (got < 60000) {
		t_assert(peer_recv(&peer, &seg));
		t_assert(seg.frame.len <= 1514);
		if (seg.frame.len > most)
			most = seg.frame.len;
		if (seg.seq != peer.ack)
			continue;
		got += seg.len;
		peer.ack += seg.len;
		peer_send(&peer, ACK, NULL, 0);
		nomstack_poll(rig.s);
	}
	t_assert(most == 1514);		/* and full: 1440 bytes of data */
	t_assert(rig_stats(&rig).tx_zero_copy > 30);
	rig_close(&rig);
}

static void long_answers_fit(void **state)
{
	long_answers(FEATURE(VIRTIO_NET_F_CSUM));
}

/* A device that cuts segments of IPv4 is given none of IPv6 to cut. */
static void long_answers_fit_beside_segmentation(void **state)
{
	long_answers(FEATURE(VIRTIO_NET_F_CSUM) | FEATURE(VIRTIO_NET_F_HOST_TSO4));
}

/* Held by W, let go when all have spoken, of either version. */
static void the_batching_delay_hears_both(void **state)
{
	listen_on(0);
	peer_init6(&peer, &rig, 3000, PORT);
	peer_init(&peer4, &rig, 3000, PORT);
	peer_handshake(&peer);
	peer_handshake(&peer4);
	requests(&peer, 1);
	requests(&peer4, 1);
	rig_knob(&rig, "w_rx_us", 50000);
	peer_send(&peer, ACK | PSH, "1", 1);
	nomstack_poll(rig.s);
	t_assert(!peer_recv(&peer, &seg));	/* peer4 may follow */
	peer_send(&peer4, ACK | PSH, "2", 1);
	nomstack_poll(rig.s);
	t_assert(app.bytes == 20);
	rig_close(&rig);
}

static void connects_by_name_of_six(void **state)
{
	struct nomstack_conn *c;

	listen_on(0);
	t_assert(nomstack_tcp_connect(rig.s, "::", 80, &ops, NULL, &c) == -EINVAL);
	t_assert(nomstack_tcp_connect(rig.s, "ff02::1", 80, &ops, NULL, &c) == -EINVAL);
	t_assert(nomstack_tcp_connect(rig.s, "::ffff:10.0.0.1", 80, &ops, NULL, &c) == -EINVAL);
	t_assert(nomstack_tcp_connect(rig.s, "2001:db8::7", 80, &ops, NULL, &c) == -ENETUNREACH);
	t_assert(nomstack_tcp_connect(rig.s, PEER_IP6, 80, &ops, &app, &c) == 0);
	nomstack_poll(rig.s);
	t_assert(rig_tx_pop(&rig, &frame));
	peer_init6(&peer, &rig, 80, (uint16_t)get16(frame.data + 54));
	seg.frame = frame;
	t_assert(peer_parse(&peer, &seg) && seg.flags == SYN);
	peer.ack = seg.seq + 1;
	peer_send(&peer, SYN | ACK, NULL, 0);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&peer, &seg) && seg.flags == ACK);
	requests(&peer, 3);
	rig_close(&rig);
}

/* -------------------------------------------------------------- UDP, ICMP --- */

static struct nomstack_addr from;
static unsigned datagrams;

static void on_any(struct nomstack *s, void *arg, const void *data, uint32_t len, const struct nomstack_addr *a,
		   uint16_t port)
{
	datagrams++;
	from = *a;
	t_assert(nomstack_udp_send_to(s, 53, a, port, data, len) == 0);
}

static void datagram(const char *src, const char *dst, bool sum)
{
	uint8_t f[200], u[12], s[16], d[16];
	uint16_t x;

	t_ip6(src, s);
	t_ip6(dst, d);
	put16(u, 4000);
	put16(u + 2, 53);
	put16(u + 4, 12);
	put16(u + 6, 0);
	memcpy(u + 8, "name", 4);
	x = t_csum6(s, d, 17, u, 12);
	if (sum)
		memcpy(u + 6, &x, 2);
	rig_inject(&rig, f, t_ip6_frame(&rig, f, s, d, 17, 64, u, 12), 0);
	nomstack_poll(rig.s);
}

static void datagrams_go_both_ways(void **state)
{
	struct nomstack_addr a;
	uint64_t features[] = { 0, FEATURE(VIRTIO_NET_F_CSUM) };
	unsigned i;

	for (i = 0; i < 2; i++) {
		const uint8_t *ip = frame.data + 14;

		rig_open6(&rig, features[i]);
		datagrams = 0;
		t_assert(nomstack_udp_bind_any(rig.s, 53, NULL, NULL) == -EINVAL);
		t_assert(nomstack_udp_bind_any(rig.s, 53, on_any, NULL) == 0);
		t_assert(nomstack_udp_bind_any(rig.s, 53, on_any, NULL) == -EADDRINUSE);
		datagram(PEER_IP6, RIG_IP6, true);
		t_assert(datagrams == 1 && from.family == 6);
		t_assert(rig_tx_pop(&rig, &frame));
		t_assert(ip[6] == 17 && get16(ip + 42) == 4000 && !memcmp(ip + 48, "name", 4));
		t_assert(t_csum6(ip + 8, ip + 24, 17, ip + 40, 12) == 0);
		/* no sum is a wrong sum (RFC 8200, 8.1) */
		datagram(PEER_IP6, RIG_IP6, false);
		t_assert(datagrams == 1 && rig_stats(&rig).drop_csum == 1);
		t_assert(nomstack_addr_parse("fd00::1", &a) == 0);
		t_assert(nomstack_udp_send_to(rig.s, 53, &a, 1, buf, 65474) == -EMSGSIZE);
		t_assert(nomstack_udp_send_to(rig.s, 53, &a, 1, buf, 1452) == 0);
		t_assert(nomstack_udp_send_to(rig.s, 54, &a, 1, buf, 1) == -ENOENT);
		t_assert(nomstack_addr_parse("10.0.0.1", &a) == 0);
		t_assert(nomstack_udp_send_to(rig.s, 53, &a, 1, buf, 1472) == 0);
		t_assert(nomstack_addr_parse("2001:db8::1", &a) == 0);
		t_assert(nomstack_udp_send_to(rig.s, 53, &a, 1, buf, 1) == -ENETUNREACH);
		rig_close(&rig);
	}
}

static void pings_are_answered(void **state)
{
	const uint8_t *ip = frame.data + 14;

	rig_open6(&rig, FEATURE(VIRTIO_NET_F_CSUM));
	nd_ping(&rig, PEER_IP6, RIG_IP6);
	t_assert(rig_tx_pop(&rig, &frame));
	t_assert(ip[40] == 129 && !memcmp(ip + 44, "\x12\x34\x00\x01", 4));
	t_assert(t_csum6(ip + 8, ip + 24, 58, ip + 40, get16(ip + 4)) == 0);
	/* a port that nobody has: RFC 4443, 3.1; what is quoted begins with the IP header */
	datagram(PEER_IP6, RIG_IP6, true);
	t_assert(rig_tx_pop(&rig, &frame));
	t_assert(ip[40] == 1 && ip[41] == 4 && ip[48] >> 4 == 6 && get16(ip + 88 + 2) == 53);
	/* not to many */
	nd_ping(&rig, PEER_IP6, "ff02::1");
	t_assert(!rig_tx_pop(&rig, &frame));
	rig_close(&rig);
}

/* --------------------------------------------------------------- the rest --- */

static void without_ip6_it_is_not_there(void **state)
{
	struct nomstack_conn *c;

	memset(&app, 0, sizeof(app));
	rig_open(&rig, "10.0.0.2/24", 0);
	t_assert(nomstack_tcp_listen(rig.s, PORT, 255, &ops, NULL) == 0);
	rig_run(&rig, 3000);
	peer_init6(&peer, &rig, 3000, PORT);
	peer_send(&peer, SYN, NULL, 0);
	nd_ping(&rig, PEER_IP6, "ff02::1");
	nd_solicit(&rig, "fd00::77", "fd00::2", 255);
	t_assert(!rig_tx_pop_raw(&frame) && rig_stats(&rig).drop_proto == 3);
	t_assert(nomstack_tcp_connect(rig.s, PEER_IP6, 80, &ops, &app, &c) == -ENETUNREACH);
	rig_close(&rig);
}

static void bad_options_are_refused(void **state)
{
	static const struct {
		const char *ip4, *ip6, *gateway6;
	} bad[] = {
		{ NULL, NULL, NULL }, { NULL, "fd00::2", NULL }, { NULL, "fd00::2/63", NULL },
		{ NULL, "fd00::2/64x", NULL }, { NULL, "::/64", NULL }, { NULL, "::1/64", NULL },
		{ NULL, "ff02::5/64", NULL }, { NULL, "10.0.0.2/64", NULL }, { NULL, "auto", "fd00::1" },
		{ "10.0.0.2/24", NULL, "fd00::1" }, { NULL, "fd00::2/64", "10.0.0.1" }, { NULL, "fd00::2/64", "x" },
		{ NULL, "fd00:0000:0000:0000:0000:0000:0000:0000:0000:0002/64", NULL },
	};
	struct nomstack_opts o = { .sz = sizeof(o) };
	struct nomstack *s;
	struct nomstack_addr a;
	unsigned i;

	rig_open(&rig, "10.0.0.2/24", 0);
	o.vnet = rig.v;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		o.ip4 = bad[i].ip4;
		o.ip6 = bad[i].ip6;
		o.gateway6 = bad[i].gateway6;
		t_assert(nomstack_open(&o, &s) == -EINVAL);
	}
	t_assert(nomstack_addr_parse("fe80::1%eth0", &a) == -EINVAL);
	t_assert(nomstack_addr_parse("", &a) == -EINVAL);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_router_gives_addresses),
		cmocka_unit_test(a_fixed_address_is_fixed),
		cmocka_unit_test(a_duplicate_is_not_used),
		cmocka_unit_test(who_asks_at_the_same_time_ends_it),
		cmocka_unit_test(who_asks_for_us_is_answered),
		cmocka_unit_test(neighbours_are_followed),
		cmocka_unit_test(a_listener_has_both),
		cmocka_unit_test(sequence_numbers_know_whole_addresses),
		cmocka_unit_test(long_answers_fit),
		cmocka_unit_test(long_answers_fit_beside_segmentation),
		cmocka_unit_test(the_batching_delay_hears_both),
		cmocka_unit_test(connects_by_name_of_six),
		cmocka_unit_test(datagrams_go_both_ways),
		cmocka_unit_test(pings_are_answered),
		cmocka_unit_test(without_ip6_it_is_not_there),
		cmocka_unit_test(bad_options_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
