// SPDX-License-Identifier: MIT
/*
 * The MTU of paths (RFC 1191, RFC 8201): what a router says is believed of what is
 * on its way, within bounds, and whatever it says the bytes arrive as they were.
 *
 * A narrow link stands between stack and peer: it drops what is too long and says
 * so, quoting as much as a router must.  Real driver, our vhost-user back-end as
 * the device (stack_rig_vhost.c), which cuts long frames up in half of the runs.
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
#define TOTAL 300000u
#define ROUTER_IP 0x0a000009u
#define AGE_MS 600000u

static struct rig rig;
static struct nomstack_conn *conn;
static uint8_t *file;		/* DMA memory */
static uint8_t got[TOTAL], have[TOTAL];

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	return conn = c;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len) { }
static void on_closed(struct nomstack_conn *c, void *arg, int err) { }

static void on_datagram(struct nomstack *s, void *arg, const void *data, uint32_t len, uint32_t ip4_be, uint16_t port) { }

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

static void begin(bool six, uint64_t features)
{
	uint32_t i;

	if (six)
		rig_open6(&rig, features);
	else
		rig_open(&rig, "10.0.0.2/24", features);
	t_assert(nomstack_tcp_listen(rig.s, PORT, 8, &ops, NULL) == 0);
	file = nomstack_dma_alloc(rig.s, TOTAL);
	t_assert(file);
	for (i = 0; i < TOTAL; i++)
		file[i] = (uint8_t)(i * 31 + (i >> 8) * 7);
}

static void connect_peer(struct peer *p, bool six, uint16_t port)
{
	if (six)
		peer_init6(p, &rig, port, PORT);
	else
		peer_init(p, &rig, port, PORT);
	peer_handshake(p);
}

static void forget(struct peer *p)
{
	struct seg seg;

	peer_send(p, RST | ACK, NULL, 0);
	rig_run(&rig, 1);
	while (peer_recv(p, &seg))
		;
}

/* A router's message: @mtu passes, and the packet at @ip, of which @n bytes are quoted, does not. */
static void say(uint32_t mtu, const uint8_t *ip, unsigned n)
{
	uint8_t f[RIG_FRAME], m[8 + 600] = { 0 }, src[16];
	uint16_t sum;

	memcpy(m + 8, ip, n);
	if (ip[0] >> 4 == 6) {
		m[0] = 2;
		put32(m + 4, mtu);
		t_ip6("fd00::9", src);
		sum = t_csum6(src, ip + 8, 58, m, 8 + n);
		memcpy(m + 2, &sum, 2);
		n = t_ip6_frame(&rig, f, src, ip + 8, 58, 64, m, 8 + n);
	} else {
		m[0] = 3, m[1] = 4;
		put16(m + 6, mtu);
		sum = t_csum(m, 8 + n, 0);
		memcpy(m + 2, &sum, 2);
		n = t_ip_frame(&rig, f, ROUTER_IP, RIG_IP, 1, m, 8 + n);
	}
	t_assert(rig_inject(&rig, f, n, 0));
	nomstack_poll(rig.s);
}

static unsigned ip_bytes(const uint8_t *ip)
{
	return ip[0] >> 4 == 6 ? 40 + get16(ip + 4) : get16(ip + 2);
}

static unsigned mss_now(void)
{
	return tcp_mss(conn->pcb);
}

/* The stack has one full segment on its way: the packet in @seg. */
static void one_on_its_way(struct peer *p, struct seg *seg)
{
	struct seg more;

	t_assert(nomstack_tcp_send(conn, file, 1460, NOMSTACK_SEND_COPY) == 0);
	nomstack_poll(rig.s);
	t_assert(peer_recv(p, seg));
	while (peer_recv(p, &more))
		;
}

static void tcp_forbids_cutting(void **state)
{
	struct rig_frame f;
	struct peer p;
	struct seg seg;
	unsigned nr = 0;

	begin(false, 0);
	connect_peer(&p, false, 4000);
	one_on_its_way(&p, &seg);
	t_assert(get16(seg.frame.data + 20) == 0x4000);
	t_assert(nomstack_tcp_send(conn, file, 8, NOMSTACK_SEND_COPY) == 0);
	nomstack_poll(rig.s);
	while (rig_tx_pop(&rig, &f))
		t_assert(get16(f.data + 20) == 0x4000 && ++nr);
	t_assert(nr);
	p.ack = seg.seq + seg.len + 8;
	peer_send(&p, ACK, file, 1460);
	peer_send(&p, ACK, file, 1460);
	rig_run(&rig, 300);
	for (nr = 0; rig_tx_pop(&rig, &f); nr++)
		t_assert(get16(f.data + 20) == 0x4000);
	t_assert(nr);
	/* a datagram may be cut: nobody would hear of it */
	t_assert(nomstack_udp_bind(rig.s, 53, on_datagram, NULL) == 0);
	t_assert(nomstack_udp_send(rig.s, 53, __builtin_bswap32(PEER_IP), 53, "name", 4) == 0);
	nomstack_flush(rig.s);
	t_assert(rig_tx_pop(&rig, &f) && f.data[23] == 17 && get16(f.data + 20) == 0);
	forget(&p);
	rig_close(&rig);
}

/* What is believed, of a connection with an MTU of 1500. */
static void mtu_has_bounds(void **state)
{
	static const struct {
		uint32_t mtu;
		unsigned mss, mss6;
	} says[] = {
		{ 1, 1460, 1440 }, { 68, 1460, 1440 }, { 551, 1460, 1440 }, { 1501, 1460, 1440 }, { 9000, 1460, 1440 },
		{ 65535, 1460, 1440 }, { 1500, 1460, 1440 }, { 1499, 1459, 1439 }, { 1400, 1360, 1340 },
		{ 1450, 1360, 1340 }, { 1280, 1240, 1220 }, { 1279, 1239, 1220 }, { 552, 512, 1220 }, { 551, 512, 1220 },
		{ 600, 512, 1220 },
	};
	struct peer p;
	struct seg seg;
	unsigned i, six;

	for (six = 0; six < 2; six++) {
		begin(six, 0);
		connect_peer(&p, six, 4000);
		one_on_its_way(&p, &seg);
		for (i = 0; i < sizeof(says) / sizeof(says[0]); i++) {
			say(says[i].mtu, seg.frame.data + 14, (six ? 40 : 20) + 8);
			assert_int_equal(mss_now(), six ? says[i].mss6 : says[i].mss);
		}
		/* and with more than 16 bits, or none, of IPv6 */
		if (six) {
			say(0, seg.frame.data + 14, 48);
			say(65536 + 1250, seg.frame.data + 14, 48);
			assert_int_equal(mss_now(), 1220);
		}
		t_assert(tcp_pmtu_stats.lowered == (six ? 3 : 5) && tcp_pmtu_stats.too_small && tcp_pmtu_stats.not_smaller);
		t_assert(!tcp_pmtu_stats.bad_quote && !tcp_pmtu_stats.no_connection && !tcp_pmtu_stats.bad_sequence);
		forget(&p);
		rig_close(&rig);
	}
}

/* RFC 1191, 7.1: the next plateau below the packet's length, and at last the floor. */
static void router_names_no_mtu(void **state)
{
	static const unsigned mss[] = { 1452, 966, 512, 512 };
	uint8_t quote[28];
	struct peer p;
	struct seg seg;
	unsigned i;

	begin(false, 0);
	connect_peer(&p, false, 4000);
	one_on_its_way(&p, &seg);
	memcpy(quote, seg.frame.data + 14, sizeof(quote));
	for (i = 0; i < sizeof(mss) / sizeof(mss[0]); i++) {
		say(0, quote, sizeof(quote));
		assert_int_equal(mss_now(), mss[i]);
		put16(quote + 2, mss[i] + 40);
	}
	t_assert(tcp_pmtu_stats.lowered == 3 && tcp_pmtu_stats.not_smaller == 1);
	forget(&p);
	rig_close(&rig);
}

static void quotes_are_checked(void **state)
{
	static const struct {
		unsigned at, bits;	/* of the quoted packet, turned over */
		const uint32_t *counter;
	} wrong[] = {
		{ 0, 0x10, &tcp_pmtu_stats.bad_quote },		/* version */
		{ 0, 0x01, &tcp_pmtu_stats.bad_quote },		/* a header of 16 bytes */
		{ 0, 0x0a, &tcp_pmtu_stats.bad_quote },		/* one of 60, more than there is */
		{ 6, 0x01, &tcp_pmtu_stats.bad_quote },		/* a later fragment */
		{ 7, 0x01, &tcp_pmtu_stats.bad_quote },
		{ 9, 0x17, &tcp_pmtu_stats.bad_quote },		/* UDP */
		{ 15, 0x04, &tcp_pmtu_stats.no_connection },	/* from another address, */
		{ 19, 0x04, &tcp_pmtu_stats.no_connection },	/* to another one, */
		{ 21, 0x01, &tcp_pmtu_stats.no_connection },	/* other ports */
		{ 23, 0x01, &tcp_pmtu_stats.no_connection },
		{ 24, 0x80, &tcp_pmtu_stats.bad_sequence },	/* half the space away */
		{ 26, 0x20, &tcp_pmtu_stats.bad_sequence },	/* 8 KiB away */
	};
	uint8_t quote[28];
	struct peer p;
	struct seg seg;
	unsigned i, n;
	uint32_t before;

	begin(false, 0);
	connect_peer(&p, false, 4000);
	one_on_its_way(&p, &seg);
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		memcpy(quote, seg.frame.data + 14, sizeof(quote));
		quote[wrong[i].at] ^= (uint8_t)wrong[i].bits;
		before = *wrong[i].counter;
		say(1400, quote, sizeof(quote));
		t_assert(*wrong[i].counter == before + 1 && mss_now() == 1460);
	}
	for (n = 0; n < 28; n++) {
		before = tcp_pmtu_stats.bad_quote;
		say(1400, seg.frame.data + 14, n);
		t_assert(tcp_pmtu_stats.bad_quote == before + 1 && mss_now() == 1460);
	}
	t_assert(!tcp_pmtu_stats.lowered);
	/* the last byte on its way, and the one behind */
	memcpy(quote, seg.frame.data + 14, sizeof(quote));
	put32(quote + 24, seg.seq + 1460);
	say(1400, quote, sizeof(quote));
	t_assert(mss_now() == 1460);
	put32(quote + 24, seg.seq + 1459);
	say(1400, quote, sizeof(quote));
	t_assert(mss_now() == 1360);
	forget(&p);
	rig_close(&rig);
}

/* Bytes of the longest segment of a new connection. */
static unsigned longest(struct peer *p, bool six, uint16_t port)
{
	unsigned mss;

	connect_peer(p, six, port);
	mss = mss_now();
	forget(p);
	return mss;
}

/* For ten minutes, for this peer only, and not for what the peer is told. */
static void later_connections_heed_it(void **state)
{
	struct peer p, q;
	struct seg seg;
	unsigned six;

	for (six = 0; six < 2; six++) {
		begin(six, 0);
		connect_peer(&p, six, 4000);
		one_on_its_way(&p, &seg);
		say(1300, seg.frame.data + 14, (six ? 40 : 20) + 8);
		forget(&p);
		assert_int_equal(longest(&p, six, 4001), six ? 1240 : 1260);
		/* the peer hears of the interface's */
		peer_init(&q, &rig, 4002, PORT);
		if (six)
			peer_init6(&q, &rig, 4002, PORT);
		peer_send(&q, SYN, NULL, 0);
		nomstack_poll(rig.s);
		t_assert(peer_recv(&q, &seg) && seg.opt[0] == 2 && get16(seg.opt + 2) == (six ? 1440 : 1460));
		forget(&q);
		if (!six) {
			peer_init(&q, &rig, 4003, PORT);
			q.ip = PEER_IP + 7;
			rig_arp(&rig, q.ip, rig.peer_mac);
			peer_handshake(&q);
			assert_int_equal(mss_now(), 1460);
			forget(&q);
		}
		rig_run(&rig, 1000);
		rig.now_ns += (uint64_t)(AGE_MS - 10000) * 1000000;
		assert_int_equal(longest(&p, six, 4004), six ? 1240 : 1260);
		rig.now_ns += 10000ull * 1000000;
		assert_int_equal(longest(&p, six, 4005), six ? 1440 : 1460);
		rig_close(&rig);
	}
	/* and a stack that is opened anew knows nothing */
	begin(false, 0);
	assert_int_equal(longest(&p, false, 4000), 1460);
	rig_close(&rig);
}

/* More peers than the table holds: the newest are known, and nothing grows. */
static void the_table_is_bounded(void **state)
{
	unsigned i, known = 0;
	ip4_addr_t gateway;
	struct peer p;
	struct seg seg;

	begin(false, 0);
	ip4_addr_set_u32(&gateway, lwip_htonl(PEER_IP));
	netif_set_gw(&rig.s->netif, &gateway);
	for (i = 0; i < 400; i++) {
		peer_init(&p, &rig, 4000, PORT);
		p.ip = 0x0a000100u + i;
		peer_handshake(&p);
		one_on_its_way(&p, &seg);
		say(1300, seg.frame.data + 14, 28);
		assert_int_equal(mss_now(), 1260);
		forget(&p);
		rig_run(&rig, 2);
	}
	for (i = 400; i-- > 0; ) {
		peer_init(&p, &rig, 4001, PORT);
		p.ip = 0x0a000100u + i;
		peer_handshake(&p);
		known += mss_now() == 1260;
		if (i == 399)
			t_assert(known == 1);
		forget(&p);
	}
	t_assert(known > 4 * TCP_PMTU_SETS / 2 && known <= 4 * TCP_PMTU_SETS);
	rig_close(&rig);
}

/*
 * A file through a link that becomes narrower as it goes, and loses one packet in
 * @loss.  All of it arrives as it was; once a router has spoken nothing longer is
 * sent of what was not sent before, and no timeout is waited for unless packets
 * were lost.
 */
static void through_a_narrow_link(bool six, bool offload, bool copy, unsigned loss)
{
	static const unsigned widths[] = { 1500, 1400, 1281, 1280 };
	uint64_t dice = 88172645463325252ull;
	uint32_t sent = 0, base, next = 0;
	unsigned width = 0, ms, dropped = 0;
	struct peer p;
	struct seg seg;

	begin(six, offload ? 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM : 0);
	connect_peer(&p, six, 4000);
	base = p.ack;
	memset(have, 0, sizeof(have));
	memset(got, 0, sizeof(got));
	for (ms = 0; next < TOTAL && ms < (loss ? 600000 : 3000); ms++) {
		uint32_t room = nomstack_tcp_room(conn), n = TOTAL - sent < room ? TOTAL - sent : room;

		if (n && !nomstack_tcp_send(conn, file + sent, n, copy ? NOMSTACK_SEND_COPY : 0))
			sent += n;
		rig_run(&rig, 1);
		width = next < TOTAL / 8 ? 0 : next < TOTAL / 2 ? 1 : next < TOTAL * 3 / 4 ? 2 : 3;
		while (rig_tx_pop(&rig, &seg.frame)) {
			const uint8_t *ip = seg.frame.data + 14;
			uint32_t at, i;

			if (!peer_parse(&p, &seg))
				continue;
			if (ip_bytes(ip) > widths[width]) {
				dropped++;
				say(widths[width], ip, (six ? 40 : 20) + 8);
				continue;
			}
			if (loss && rig_random(&dice) % loss == 0)
				continue;
			at = seg.seq - base;
			t_assert(at + seg.len <= TOTAL);
			for (i = 0; i < seg.len; i++) {
				t_assert(seg.data[i] == file[at + i]);
				have[at + i] = 1;
			}
			while (next < TOTAL && have[next])
				next++;
			p.ack = base + next;
			if (seg.len)
				peer_send(&p, ACK, NULL, 0);
		}
	}
	assert_int_equal(next, TOTAL);
	t_assert(dropped >= 3 && tcp_pmtu_stats.lowered == 3);
	t_assert((rig_device_pieces() > 0) == !!offload);
	assert_int_equal(mss_now(), six ? 1220 : 1240);
	rig_run(&rig, 2);
	t_assert(tcp_sndqueuelen(conn->pcb) == 0);
	forget(&p);
	rig_close(&rig);
}

static void files_pass(void **state)
{
	unsigned i;

	for (i = 0; i < 8; i++) {
		print_message("# %s, %s, %s\n", i & 1 ? "IPv6" : "IPv4", i & 2 ? "offload" : "no offload",
			      i & 4 ? "copied" : "in place");
		through_a_narrow_link(i & 1, i & 2, i & 4, 0);
		through_a_narrow_link(i & 1, i & 2, i & 4, 40);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp_forbids_cutting),
		cmocka_unit_test(mtu_has_bounds),
		cmocka_unit_test(router_names_no_mtu),
		cmocka_unit_test(quotes_are_checked),
		cmocka_unit_test(later_connections_heed_it),
		cmocka_unit_test(the_table_is_bounded),
		cmocka_unit_test(files_pass),
	};

	return cmocka_run_group_tests_name("stack_pmtu", tests, NULL, NULL);
}
