// SPDX-License-Identifier: MIT
/*
 * UDP, ARP, ICMP and DHCP: what surrounds TCP.  The DHCP server is a script of
 * the test's own.
 */
#include "bytes.h"
#include "stack_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct rig rig;
static struct rig_frame frame;

static struct {
	unsigned calls;
	uint32_t len, ip_be;
	uint16_t port;
	uint8_t data[2048];
} got;

static void on_udp(struct nomstack *s, void *arg, const void *data, uint32_t len, uint32_t ip4_be, uint16_t port)
{
	assert_ptr_equal(arg, &got);
	got.calls++;
	got.len = len;
	got.ip_be = ip4_be;
	got.port = port;
	memcpy(got.data, data, len);
}

enum sum { SUM_GOOD, SUM_BAD, SUM_NONE };

static unsigned udp_frame(uint8_t *f, uint32_t src, uint16_t sport, uint32_t dst, uint16_t dport, const void *data,
			  unsigned len, enum sum how)
{
	uint8_t *u = f + 34;
	uint16_t sum;

	put16(u, sport);
	put16(u + 2, dport);
	put16(u + 4, 8 + len);
	put16(u + 6, 0);
	memmove(u + 8, data, len);
	if (how != SUM_NONE) {
		sum = t_csum(u, 8 + len, (src >> 16) + (src & 0xffff) + (dst >> 16) + (dst & 0xffff) + 17 + 8 + len);
		if (how == SUM_BAD)
			sum ^= 0x0101;
		memcpy(u + 6, &sum, 2);
	}
	return t_ip_frame(&rig, f, src, dst, 17, u, 8 + len);
}

static void send_udp(uint16_t sport, uint16_t dport, const void *data, unsigned len, enum sum how, unsigned flags)
{
	uint8_t f[RIG_FRAME];
	unsigned n = udp_frame(f, PEER_IP, sport, RIG_IP, dport, data, len, how);

	t_assert(rig_inject(&rig, f, n, flags));
	nomstack_poll(rig.s);
}

static void check_udp_sum(void)
{
	uint8_t *ip = frame.data + 14, *u = ip + 20;
	unsigned len = get16(u + 4);
	uint32_t src = get32(ip + 12), dst = get32(ip + 16);

	assert_int_equal(t_csum(ip, 20, 0), 0);
	assert_int_equal(t_csum(u, len, (src >> 16) + (src & 0xffff) + (dst >> 16) + (dst & 0xffff) + 17 + len), 0);
}

static void test_udp(void **state)
{
	for (int offload = 0; offload < 2; offload++) {
		memset(&got, 0, sizeof(got));
		rig_open(&rig, "10.0.0.2/24", (uint64_t)offload);
		assert_int_equal(nomstack_udp_bind(rig.s, 5353, on_udp, &got), 0);
		assert_int_equal(nomstack_udp_bind(rig.s, 5353, on_udp, &got), -EADDRINUSE);
		assert_int_equal(nomstack_udp_bind(rig.s, 0, on_udp, &got), -EINVAL);
		send_udp(777, 5353, "datagram", 8, SUM_GOOD, 0);
		assert_int_equal(got.calls, 1);
		assert_int_equal(got.len, 8);
		assert_memory_equal(got.data, "datagram", 8);
		assert_int_equal(got.port, 777);
		assert_int_equal(got.ip_be, __builtin_bswap32(PEER_IP));
		send_udp(777, 5353, "", 0, SUM_GOOD, 0);
		send_udp(777, 5353, "no sum", 6, SUM_NONE, 0);
		assert_int_equal(got.calls, 3);
		send_udp(777, 5353, "bad sum", 7, SUM_BAD, 0);
		assert_int_equal(got.calls, 3);
		assert_int_equal(rig_stats(&rig).drop_csum, 1);
		send_udp(777, 5353, "vouched for", 11, SUM_BAD, VNET_RX_CSUM_OK);
		assert_int_equal(got.calls, 4);

		assert_int_equal(nomstack_udp_send(rig.s, 5353, got.ip_be, got.port, "answer", 6), 0);
		nomstack_poll(rig.s);
		t_assert(rig_tx_pop(&rig, &frame));
		check_udp_sum();
		assert_int_equal(frame.csum_start, offload ? 34 : 0);
		assert_int_equal(frame.csum_offset, offload ? 6 : 0);
		assert_memory_equal(frame.data + 42, "answer", 6);
		assert_int_equal(nomstack_udp_send(rig.s, 1, got.ip_be, 1, "x", 1), -ENOENT);
		assert_int_equal(nomstack_udp_send(rig.s, 5353, got.ip_be, 1, got.data, 65494), -EMSGSIZE);
		assert_int_equal(nomstack_udp_send(rig.s, 5353, got.ip_be, 1, got.data, 1472), 0);
		assert_int_equal(nomstack_udp_send(rig.s, 5353, __builtin_bswap32(0xac100001), 1, "x", 1), -ENETUNREACH);
		rig_tx_fail(true);
		assert_int_equal(nomstack_udp_send(rig.s, 5353, got.ip_be, 1, "x", 1), -EAGAIN);
		rig_tx_fail(false);
		rig_close(&rig);
	}
}

static void test_unknown_udp_port_is_unreachable(void **state)
{
	rig_open(&rig, "10.0.0.2/24", 0);
	send_udp(777, 9, "x", 1, SUM_GOOD, 0);
	t_assert(rig_tx_pop(&rig, &frame));
	assert_int_equal(frame.data[23], 1);
	assert_int_equal(frame.data[34], 3);	/* ICMP: destination unreachable, */
	assert_int_equal(frame.data[35], 3);	/* port */
	rig_close(&rig);
}

static void test_ping(void **state)
{
	uint8_t f[RIG_FRAME], body[1480] = { 8, 0 };
	uint16_t sum;

	rig_open(&rig, "10.0.0.2/24", 1);
	for (unsigned len = 8; len <= 1480; len += 368) {
		body[2] = body[3] = 0;
		memset(body + 8, (int)len, len - 8);
		sum = t_csum(body, len, 0);
		memcpy(body + 2, &sum, 2);
		t_assert(rig_inject(&rig, f, t_ip_frame(&rig, f, PEER_IP, RIG_IP, 1, body, len), 0));
		nomstack_poll(rig.s);
		t_assert(rig_tx_pop(&rig, &frame));
		assert_int_equal(frame.data[34], 0);
		assert_int_equal(t_csum(frame.data + 34, len, 0), 0);
		assert_int_equal(t_csum(frame.data + 14, 20, 0), 0);
		assert_memory_equal(frame.data + 42, body + 8, len - 8);
		assert_int_equal(rig_device().rx_held, 0);
	}
	/* A wrong sum is not answered, whatever the device says: it never looks at ICMP. */
	body[3] ^= 1;
	t_assert(rig_inject(&rig, f, t_ip_frame(&rig, f, PEER_IP, RIG_IP, 1, body, 64), VNET_RX_CSUM_OK));
	nomstack_poll(rig.s);
	t_assert(!rig_tx_pop(&rig, &frame));
	assert_int_equal(rig_stats(&rig).drop_csum, 1);
	rig_close(&rig);
}

static void test_arp(void **state)
{
	uint8_t f[60] = { 0 };

	rig_open(&rig, "10.0.0.2/24", 0);
	/* Asked for our address: answered; for another's: silence. */
	for (int mine = 0; mine < 2; mine++) {
		memset(f, 0xff, 6);
		memcpy(f + 6, rig.peer_mac, 6);
		put16(f + 12, 0x0806);
		put16(f + 14, 1);
		put16(f + 16, 0x0800);
		f[18] = 6;
		f[19] = 4;
		put16(f + 20, 1);
		memcpy(f + 22, rig.peer_mac, 6);
		put32(f + 28, PEER_IP);
		put32(f + 38, mine ? RIG_IP : RIG_IP + 7);
		t_assert(rig_inject(&rig, f, sizeof(f), 0));
		nomstack_poll(rig.s);
		t_assert(rig_tx_pop(&rig, &frame) == mine);
	}
	assert_int_equal(get16(frame.data + 20), 2);
	assert_memory_equal(frame.data + 22, vnet_mac(rig.v), 6);
	assert_int_equal(get32(frame.data + 28), RIG_IP);
	/* We ask before we send to a stranger, once, and then deliver. */
	assert_int_equal(nomstack_udp_bind(rig.s, 5353, on_udp, &got), 0);
	assert_int_equal(nomstack_udp_send(rig.s, 5353, __builtin_bswap32(PEER_IP + 50), 1, "hi", 2), 0);
	nomstack_poll(rig.s);
	t_assert(rig_tx_pop(&rig, &frame));
	assert_int_equal(rig.arp_requests, 1);
	assert_memory_equal(frame.data + 42, "hi", 2);
	t_assert(rig_stats(&rig).arp_requests >= 1);
	/* Nobody answers: it is given up, nothing is held. */
	assert_int_equal(nomstack_udp_send(rig.s, 5353, __builtin_bswap32(PEER_IP + 51), 1, "hi", 2), 0);
	for (int i = 0; i < 20; i++)
		rig_run(&rig, 1000);
	while (rig_tx_pop_raw(&frame))
		;
	rig_close(&rig);
}

/* ------------------------------------------------------------------ DHCP --- */

#define SERVER_IP 0x0a0000feu
#define OFFERED_IP 0x0a000037u

static struct {
	unsigned discovers, requests, releases;
	bool silent, refuse;
	uint32_t lease_s;
} server;

static unsigned option(const uint8_t *d, unsigned len, unsigned code, const uint8_t **val)
{
	unsigned i = 240;

	while (i + 1 < len && d[i] != 255) {
		if (d[i] == 0) {
			i++;
			continue;
		}
		if (d[i] == code) {
			*val = d + i + 2;
			return d[i + 1];
		}
		i += 2u + d[i + 1];
	}
	return 0;
}

static void serve(void)
{
	while (rig_tx_pop(&rig, &frame)) {
		uint8_t f[RIG_FRAME], m[300] = { 0 };
		const uint8_t *d = frame.data + 42, *v = NULL;
		unsigned len = frame.len - 42u, type, n;

		if (get16(frame.data + 12) != 0x0800 || frame.data[23] != 17 || get16(frame.data + 36) != 67)
			continue;
		check_udp_sum();
		t_assert(option(d, len, 53, &v) == 1);
		type = v[0];
		server.discovers += type == 1;
		if (type == 3) {
			server.requests++;
			t_assert(option(d, len, 12, &v) == 3 && !memcmp(v, "rig", 3));
		}
		if (server.silent || (type != 1 && type != 3))
			continue;
		m[0] = 2;
		m[1] = 1;
		m[2] = 6;
		memcpy(m + 4, d + 4, 4);
		put32(m + 16, OFFERED_IP);
		put32(m + 20, SERVER_IP);
		memcpy(m + 28, d + 28, 16);
		put32(m + 236, 0x63825363);
		n = 240;
		m[n++] = 53;
		m[n++] = 1;
		m[n++] = type == 1 ? 2 : server.refuse ? 6 : 5;
		m[n++] = 54;
		m[n++] = 4;
		put32(m + n, SERVER_IP);
		n += 4;
		m[n++] = 51;
		m[n++] = 4;
		put32(m + n, server.lease_s);
		n += 4;
		m[n++] = 1;
		m[n++] = 4;
		put32(m + n, 0xffffff00);
		n += 4;
		m[n++] = 3;
		m[n++] = 4;
		put32(m + n, SERVER_IP);
		n += 4;
		m[n++] = 255;
		n = udp_frame(f, SERVER_IP, 67, OFFERED_IP, 68, m, sizeof(m), SUM_GOOD);
		t_assert(rig_inject(&rig, f, n, 0));
	}
}

static void dhcp_run(unsigned ms)
{
	while (ms--) {
		rig_run(&rig, 1);
		serve();
	}
}

static void test_dhcp(void **state)
{
	uint32_t ip = 1;
	unsigned prefix;

	memset(&server, 0, sizeof(server));
	server.lease_s = 600;
	server.silent = true;
	rig_open(&rig, "dhcp", 0);
	assert_int_equal(nomstack_address(rig.s, &ip, NULL), -EADDRNOTAVAIL);
	assert_int_equal(nomstack_wait_address(rig.s, 0), -ETIMEDOUT);
	/* Nobody answers at first: it goes on asking. */
	dhcp_run(20000);
	t_assert(server.discovers >= 3);
	server.silent = false;
	dhcp_run(70000);
	assert_int_equal(nomstack_wait_address(rig.s, 0), 0);
	assert_int_equal(nomstack_address(rig.s, &ip, &prefix), 0);
	assert_int_equal(ip, __builtin_bswap32(OFFERED_IP));
	assert_int_equal(prefix, 24);
	/* Renewed at half the lease; lwIP looks once a minute. */
	server.requests = 0;
	dhcp_run(361000);
	t_assert(server.requests >= 1);
	assert_int_equal(nomstack_address(rig.s, &ip, NULL), 0);
	/* The server changes its mind: the address is given up. */
	server.refuse = true;
	server.lease_s = 0;
	dhcp_run(800000);
	assert_int_equal(nomstack_wait_address(rig.s, 0), -ETIMEDOUT);
	server.refuse = false;
	server.lease_s = 3600;
	dhcp_run(30000);
	assert_int_equal(nomstack_wait_address(rig.s, 0), 0);
	/* Given back at the end, when the server's hardware address is known. */
	assert_int_equal(nomstack_udp_bind(rig.s, 5353, on_udp, &got), 0);
	assert_int_equal(nomstack_udp_send(rig.s, 5353, __builtin_bswap32(SERVER_IP), 9, "x", 1), 0);
	dhcp_run(10);
	rig_close(&rig);
	while (rig_tx_pop_raw(&frame))
		if (frame.data[23] == 17 && get16(frame.data + 36) == 67) {
			const uint8_t *v = NULL;

			t_assert(option(frame.data + 42, frame.len - 42u, 53, &v) == 1);
			server.releases += v[0] == 7;
		}
	assert_int_equal(server.releases, 1);
}

/* The timeout is real even where the clock only moves by being looked at. */
static void test_wait_address_times_out(void **state)
{
	rig_open(&rig, "dhcp", 0);
	rig.clock_step_ns = 50000;
	assert_int_equal(nomstack_wait_address(rig.s, 3000), -ETIMEDOUT);
	rig.clock_step_ns = 0;
	while (rig_tx_pop_raw(&frame))
		;
	rig_close(&rig);
	rig_open(&rig, "10.0.0.2/24", 0);
	assert_int_equal(nomstack_wait_address(rig.s, 0), 0);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_udp),
		cmocka_unit_test(test_unknown_udp_port_is_unreachable),
		cmocka_unit_test(test_ping),
		cmocka_unit_test(test_arp),
		cmocka_unit_test(test_dhcp),
		cmocka_unit_test(test_wait_address_times_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
