// SPDX-License-Identifier: MIT
/*
 * Several stacks behind one address: what one of them hears about neighbours is told
 * to the application, and learnt from it.
 */
#include "bytes.h"
#include "nd_frames.h"
#include "stack_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>

#define US 0x0a000002u		/* 10.0.0.2 */
#define NEW 0x0a000037u		/* 10.0.0.55: nobody knows it */

static const uint8_t new_mac[6] = { 2, 0, 0, 0, 0x55, 1 };
static struct rig rig;
static struct rig_frame frame;
static uint8_t told[NOMSTACK_SHARE_BYTES];
static unsigned nr_told, told_bytes;

static void on_neighbour(void *arg, const void *f, uint32_t len)
{
	t_assert(arg == &rig && len <= sizeof(told));
	memcpy(told, f, len);
	told_bytes = len;
	nr_told++;
}

static void on_udp(struct nomstack *s, void *arg, const void *data, uint32_t len, uint32_t ip4_be, uint16_t port)
{
}

/* RFC 826: @sender, at new_mac, asks for @target (1) or answers it (2); padded as on a wire. */
static unsigned arp(uint8_t *f, unsigned op, uint32_t sender, uint32_t target)
{
	memset(f, 0, 60);
	memset(f, 0xff, 6);
	memcpy(f + 6, new_mac, 6);
	memcpy(f + 12, "\x08\x06\0\1\x08\0\6\4", 8);
	put16(f + 20, op);
	memcpy(f + 22, new_mac, 6);
	put32(f + 28, sender);
	put32(f + 38, target);
	return 60;
}

static void hear(const uint8_t *f, unsigned len)
{
	t_assert(rig_inject(&rig, f, len, 0));
	nomstack_poll(rig.s);
}

/* Frames sent, by kind; ARP is not answered. */
static void sent(unsigned *requests, unsigned *replies, unsigned *datagrams)
{
	*requests = *replies = *datagrams = 0;
	while (rig_tx_pop_raw(&frame)) {
		if (get16(frame.data + 12) != 0x0806) {
			++*datagrams;
			t_assert(!memcmp(frame.data, new_mac, 6));
		} else if (get16(frame.data + 20) == 1) {
			++*requests;
		} else {
			++*replies;
		}
	}
}

static void begin(void)
{
	unsigned a, b, c;

	rig_open(&rig, "10.0.0.2/24", 0);
	t_assert(nomstack_udp_bind(rig.s, 53, on_udp, NULL) == 0);
	nomstack_on_neighbour(rig.s, on_neighbour, &rig);
	nr_told = 0;
	sent(&a, &b, &c);
}

static void what_tells_of_a_neighbour_is_passed_on(void **state)
{
	unsigned requests, replies, datagrams, len;
	uint8_t f[128];

	begin();
	len = arp(f, 2, NEW, US);
	hear(f, len);
	t_assert(nr_told == 1 && told_bytes == 42 && !memcmp(told, f, 42));
	len = arp(f, 1, NEW, NEW);	/* it announces itself */
	hear(f, len);
	t_assert(nr_told == 2 && !memcmp(told, f, 42));
	/* A question is answered by whom it came to, and by nobody else. */
	len = arp(f, 1, NEW, US);
	hear(f, len);
	sent(&requests, &replies, &datagrams);
	t_assert(nr_told == 2 && replies == 1);
	/* Nor is anything else passed on, or a frame that ends too early. */
	arp(f, 2, NEW, US);
	hear(f, 41);
	put16(f + 12, 0x0800);
	hear(f, 60);
	t_assert(nr_told == 2);
	nomstack_on_neighbour(rig.s, NULL, NULL);
	len = arp(f, 2, NEW, US);
	hear(f, len);
	t_assert(nr_told == 2);
	rig_close(&rig);
}

static void what_another_heard_is_learnt(void **state)
{
	unsigned requests, replies, datagrams;
	uint8_t f[128];

	begin();
	t_assert(nomstack_udp_send(rig.s, 53, htonl(NEW), 9, "hello", 5) == 0);
	nomstack_poll(rig.s);
	sent(&requests, &replies, &datagrams);
	t_assert(requests == 1 && !datagrams);
	arp(f, 2, NEW, US);
	t_assert(nomstack_neighbour(rig.s, f, 13) == -EINVAL);
	t_assert(nomstack_neighbour(rig.s, f, NOMSTACK_SHARE_BYTES + 1) == -EINVAL);
	t_assert(nomstack_neighbour(rig.s, f, 20) == 0);	/* lwIP drops it, as from the wire */
	sent(&requests, &replies, &datagrams);
	t_assert(!datagrams);
	t_assert(nomstack_neighbour(rig.s, f, 42) == 0);
	sent(&requests, &replies, &datagrams);
	t_assert(datagrams == 1 && !requests);	/* what waited is on its way, at once */
	t_assert(nr_told == 0);			/* and it is not told again, without end */
	t_assert(nomstack_udp_send(rig.s, 53, htonl(NEW), 9, "hello", 5) == 0);
	nomstack_poll(rig.s);
	sent(&requests, &replies, &datagrams);
	t_assert(datagrams == 1 && !requests);
	rig_close(&rig);
}

/* ------------------------------------------------------------ followers --- */

#define LINK_LOCAL "fe80::5054:ff:fe00:2"
#define GLOBAL "fd00:1::5054:ff:fe00:2"
#define ROUTER "fe80::77"
#define STRANGER "fe80::99"

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	return &rig;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
}

static unsigned nr_closed;

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
	nr_closed++;
}

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

/* Of ARP (0), and of ICMPv6 by type, of 135 the tests of an address; MLD's reports (143, 131) may be said by each. */
static unsigned sent_kind(unsigned icmp6_type)
{
	unsigned n = 0;

	while (rig_tx_pop_raw(&frame)) {
		unsigned type = get16(frame.data + 12);

		n += type == 0x0806 ? !icmp6_type : type == 0x86dd && frame.data[20] == 58 && frame.data[54] == icmp6_type &&
			(icmp6_type != 135 || !memcmp(frame.data + 22, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16));
	}
	return n;
}

static void put_address(struct nomstack_config *c, unsigned i, const char *text)
{
	t_assert(nomstack_addr_parse(text, &c->ip6[i]) == 0);
	c->ip6[i].prefix = 64;
	c->ip6[i].state = NOMSTACK_ADDR_READY;
}

static struct nomstack_config leader(void)
{
	struct nomstack_config c = { .ip4_be = htonl(US), .mask_be = htonl(0xffffff00), .gateway_be = htonl(PEER_IP) };

	put_address(&c, 0, LINK_LOCAL);
	put_address(&c, 1, GLOBAL);
	return c;
}

static void begin_following(void)
{
	rig_open_follower(&rig);
	nomstack_on_neighbour(rig.s, on_neighbour, &rig);
	nr_told = nr_closed = 0;
}

static void a_follower_has_what_it_is_told(void **state)
{
	struct nomstack_addr a[NOMSTACK_MAX_ADDRESSES];
	struct nomstack_config c = leader(), seen;
	struct peer p, p6;

	begin_following();
	rig_run(&rig, 5000);
	while (rig_tx_pop_raw(&frame))
		t_assert(!"it asks, tests or announces");
	t_assert(nomstack_addresses(rig.s, a, NOMSTACK_MAX_ADDRESSES) == 0);
	t_assert(nomstack_wait_address(rig.s, 0) == -ETIMEDOUT);

	nomstack_follow(rig.s, &c);
	rig_run(&rig, 3000);
	t_assert(sent_kind(0) == 0);	/* the leader has announced it */
	t_assert(nomstack_addresses(rig.s, a, NOMSTACK_MAX_ADDRESSES) == 3 && a[1].state == NOMSTACK_ADDR_READY &&
		 a[2].state == NOMSTACK_ADDR_READY);
	nomstack_config(rig.s, &seen);
	t_assert(!memcmp(&seen, &c, sizeof(c)));
	t_assert(nomstack_tcp_listen(rig.s, 80, 8, &ops, NULL) == 0);
	peer_init(&p, &rig, 4000, 80);
	peer_handshake(&p);
	nomstack_follow(rig.s, &c);	/* the same again: nothing happens to anybody */
	peer_init6(&p6, &rig, 4001, 80);
	t_ip6(GLOBAL, p6.to_ip6);
	t_ip6("fd00:1::1", p6.ip6);
	rig_run(&rig, 10);
	t_assert(nr_closed == 0);

	c.ip4_be = htonl(US + 1);	/* another lease: connections of the old address end, as at the leader */
	c.ip6[1] = (struct nomstack_addr){ 0 };
	nomstack_follow(rig.s, &c);
	rig_run(&rig, 10);
	t_assert(nr_closed == 1);
	t_assert(nomstack_addresses(rig.s, a, NOMSTACK_MAX_ADDRESSES) == 2 && a[0].bytes[3] == (US + 1) % 256);
	rig_close(&rig);
}

/* A router heard at a follower: passed on whole, and learnt from, but it makes no address. */
static void a_followers_router_makes_no_address(void **state)
{
	struct nomstack_addr a[NOMSTACK_MAX_ADDRESSES];
	struct nomstack_config c = leader();
	struct nomstack_conn *conn;
	static uint8_t router[NOMSTACK_SHARE_BYTES];
	unsigned len;

	c.ip6[1] = (struct nomstack_addr){ 0 };
	begin_following();
	nomstack_follow(rig.s, &c);
	nd_advertise_router(&rig, ROUTER, "fd00:1::", 1800, 3600, 255);
	nomstack_poll(rig.s);
	t_assert(nr_told == 1 && told[14 + 40] == 134 && told[14 + 40 + 27] == 0xc0);
	memcpy(router, told, len = told_bytes);
	rig_run(&rig, 3000);
	t_assert(nomstack_addresses(rig.s, a, NOMSTACK_MAX_ADDRESSES) == 2);	/* IPv4, link-local */
	put_address(&c, 1, GLOBAL);
	nomstack_follow(rig.s, &c);
	t_assert(sent_kind(135) == 0);
	t_assert(nomstack_tcp_connect(rig.s, "2001:db8::7", 80, &ops, NULL, &conn) == 0);
	nomstack_poll(rig.s);
	t_assert(rig_tx_pop_raw(&frame) && !memcmp(frame.data, nd_router_mac, 6));	/* and its way */
	nomstack_tcp_abort(conn);
	rig_close(&rig);

	/* the same, passed on by another stack */
	begin_following();
	nomstack_follow(rig.s, &c);
	t_assert(nomstack_neighbour(rig.s, router, len) == 0);
	t_assert(nr_told == 0);
	t_assert(nomstack_tcp_connect(rig.s, "2001:db8::7", 80, &ops, NULL, &conn) == 0);
	nomstack_tcp_abort(conn);
	rig_close(&rig);
}

/* UDP to DHCP's client is another stack's: nobody answers it here. */
static void dhcp_goes_to_who_asked(void **state)
{
	uint8_t udp[8 + 300] = { 0, 67, 0, 68 }, f[600];
	struct nomstack_config c = leader();
	unsigned len;

	put16(udp + 4, sizeof(udp));
	put16(udp + 6, 0x1234);		/* what a host leaves to the device */
	begin_following();
	nomstack_follow(rig.s, &c);
	while (rig_tx_pop_raw(&frame))
		;
	len = t_ip_frame(&rig, f, PEER_IP, US, 17, udp, sizeof(udp));
	t_assert(rig_inject(&rig, f, len, VNET_RX_CSUM_OK));
	nomstack_poll(rig.s);
	t_assert(nr_told == 1 && told_bytes == len && get16(told + 36) == 68);
	t_assert(get16(told + 40) == 0);	/* vouched for, and now without a sum: it would be wrong */
	put16(udp + 2, 69);
	len = t_ip_frame(&rig, f, PEER_IP, US, 17, udp, sizeof(udp));
	t_assert(rig_inject(&rig, f, len, VNET_RX_CSUM_OK));
	t_assert(rig_inject(&rig, f, 40, VNET_RX_CSUM_OK));
	nomstack_poll(rig.s);
	t_assert(nr_told == 1);
	while (rig_tx_pop_raw(&frame))
		t_assert(get16(frame.data + 12) == 0x0806 || frame.data[23] != 17);
	rig_close(&rig);
}

static void errors_and_tests_are_passed_on(void **state)
{
	struct nomstack_config c = leader();
	uint8_t icmp[8 + 28] = { 3, 4 }, f[200];
	unsigned len;

	begin_following();
	nomstack_follow(rig.s, &c);
	len = t_ip_frame(&rig, f, PEER_IP, US, 1, icmp, sizeof(icmp));
	hear(f, len);
	t_assert(nr_told == 1 && told_bytes == len && !memcmp(told, f, len));
	icmp[0] = 8;			/* a ping is a question */
	len = t_ip_frame(&rig, f, PEER_IP, US, 1, icmp, sizeof(icmp));
	hear(f, len);
	t_assert(nr_told == 1);
	/* Somebody tests an address: ours is defended here, and by nobody else */
	while (rig_tx_pop_raw(&frame))
		;
	nd_solicit(&rig, "::", GLOBAL, 255);
	nomstack_poll(rig.s);
	t_assert(nr_told == 1 && sent_kind(136) == 1);
	/* one that the leader may be testing is told */
	nd_solicit(&rig, "::", STRANGER, 255);
	nomstack_poll(rig.s);
	t_assert(nr_told == 2 && sent_kind(136) == 0);
	nd_advertise(&rig, STRANGER, STRANGER, "ff02::1", 0x20);
	nomstack_poll(rig.s);
	t_assert(nr_told == 3);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_tells_of_a_neighbour_is_passed_on),
		cmocka_unit_test(what_another_heard_is_learnt),
		cmocka_unit_test(a_follower_has_what_it_is_told),
		cmocka_unit_test(a_followers_router_makes_no_address),
		cmocka_unit_test(dhcp_goes_to_who_asked),
		cmocka_unit_test(errors_and_tests_are_passed_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
