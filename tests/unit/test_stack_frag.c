// SPDX-License-Identifier: MIT
/*
 * What is longer than the MTU leaves in fragments that the peer can put together: answers to
 * pings, and datagrams of the application.  All of them or none; with whole sums whatever the
 * device offers; and without a reference to the application's memory.
 */
#include "fragments.h"
#include "stack_rig.h"

#include "lwip/opt.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PORT 53
#define LONGEST (65535 - 14 - 20 - 8)	/* of UDP; 20 less for IPv6 */
#define CSUM (1ull << VIRTIO_NET_F_CSUM)

static struct rig rig;
static struct rig_frame frame;
static struct t_datagram dg, got;

/* An echo, from where it lies: in a receive buffer, or where it was put together. */
static void on_udp(struct nomstack *s, void *arg, const void *data, uint32_t len, const struct nomstack_addr *from,
		   uint16_t port)
{
	t_assert(nomstack_udp_send_to(s, PORT, from, port, data, len) == 0);
}

static void begin(uint64_t features)
{
	struct nomstack_addr to;

	rig_open6(&rig, features);
	t_assert(nomstack_udp_bind_any(rig.s, PORT, on_udp, NULL) == 0);
	t_assert(nomstack_addr_parse(PEER_IP6, &to) == 0);
	t_assert(nomstack_udp_send_to(rig.s, PORT, &to, 9, "x", 1) == 0);
	nomstack_poll(rig.s);
	t_assert(rig_tx_pop(&rig, &frame));	/* which has told where PEER_IP6 is */
}

/* One datagram in fragments, or whole, of at most @mtu bytes each, into @got; returns how many. */
static unsigned gather(unsigned mtu)
{
	unsigned nr = 0, off, n, head;
	bool more = true;

	memset(&got, 0, sizeof(got));
	while (more) {
		const uint8_t *ip = frame.data + 14;

		t_assert(rig_tx_pop(&rig, &frame));
		t_assert(frame.len <= 14 + mtu);
		t_assert(!memcmp(frame.data, rig.peer_mac, 6));
		if (ip[0] >> 4 == 6) {
			got.v6 = true;
			n = get16(ip + 4);
			t_assert(n + 54 == frame.len);
			head = 40;
			got.proto = ip[6];
			off = 0;
			more = false;
			if (ip[6] == 44) {
				t_assert(!nr || (got.id == get32(ip + 44) && ip[40] == got.body[T_DATAGRAM_MAX - 1]));
				got.proto = ip[40];
				got.id = get32(ip + 44);
				off = get16(ip + 42) & ~7u;
				more = ip[43] & 1;
				t_assert(ip[41] == 0 && !(ip[43] & 6));
				head += 8;
				n -= 8;
				got.body[T_DATAGRAM_MAX - 1] = ip[40];
			}
			memcpy(got.src6, ip + 8, 16);
			memcpy(got.dst6, ip + 24, 16);
		} else {
			t_assert(ip[0] == 0x45 && t_csum(ip, 20, 0) == 0);
			head = 20;
			n = get16(ip + 2) - 20;
			t_assert(n + 34 == frame.len);
			t_assert(!nr || got.id == get16(ip + 4));
			t_assert(!(ip[6] & 0xc0));	/* routers may cut it further */
			got.id = get16(ip + 4);
			got.proto = ip[9];
			got.src = get32(ip + 12);
			got.dst = get32(ip + 16);
			off = 8 * (get16(ip + 6) & 0x1fff);
			more = ip[6] & 0x20;
		}
		t_assert(off == got.len && (!more || n % 8 == 0));
		t_assert(!frame.zero_copy || (!off && !more));
		memcpy(got.body + off, ip + head, n);
		got.len += n;
		nr++;
	}
	return nr;
}

/* What came back is @dg, turned round; its sum is right. */
static void is_the_answer(unsigned sum_at)
{
	uint16_t sum;

	t_assert(got.v6 == dg.v6 && got.proto == dg.proto && got.len == dg.len);
	t_assert(!memcmp(got.body + 8, dg.body + 8, dg.len - 8));
	if (dg.v6)
		t_assert(!memcmp(got.src6, dg.dst6, 16) && !memcmp(got.dst6, dg.src6, 16));
	else
		t_assert(got.src == dg.dst && got.dst == dg.src);
	memcpy(&sum, got.body + sum_at, 2);
	t_datagram_sum(&got, sum_at);
	t_assert(!memcmp(&sum, got.body + sum_at, 2));
}

static unsigned least(unsigned len, bool v6)
{
	unsigned step = v6 ? 1448 : 1480;

	return len <= (v6 ? 1460 : 1480) ? 1 : (len + step - 1) / step;
}

static void pings_are_answered(void **state)
{
	static const unsigned sizes[] = { 56, 1452, 1453, 1472, 1473, 4000, 8000, 32000, 65455 };
	unsigned v6, i;

	begin(0);
	for (v6 = 0; v6 < 2; v6++)
		for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			t_datagram_init(&dg, v6, 0, 5);
			t_datagram_ping(&dg, sizes[i], i);
			if (least(dg.len, v6) == 1) {
				uint8_t f[RIG_FRAME];
				unsigned n = v6 ? t_ip6_frame(&rig, f, dg.src6, dg.dst6, dg.proto, 64, dg.body, dg.len) :
						  t_ip_frame(&rig, f, dg.src, dg.dst, dg.proto, dg.body, dg.len);

				t_assert(rig_inject(&rig, f, n, 0));
				nomstack_poll(rig.s);
			} else {
				t_fragments_all(&rig, &dg, 1448);
			}
			t_assert(gather(1500) == least(dg.len, v6));
			t_assert(got.body[0] == (v6 ? 129 : 0));
			is_the_answer(2);
			rig_run(&rig, 10);
		}
	/* a long one is one message of the rate's */
	t_assert(rig_stats(&rig).drop_icmp == 0);
	rig_knob(&rig, "icmp_per_s", 0);
	t_fragments_all(&rig, &dg, 1448);
	t_assert(!rig_tx_pop(&rig, &frame) && rig_stats(&rig).drop_icmp == 1);
	rig_close(&rig);
}

static void datagrams_are_echoed(void **state)
{
	static const unsigned sizes[] = { 1453, 1473, 3000, 8000, LONGEST - 20, LONGEST };
	static const uint64_t features[] = { 0, CSUM };
	unsigned v6, i, k;

	for (k = 0; k < 2; k++) {
		begin(features[k]);
		for (v6 = 0; v6 < 2; v6++)
			for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]) - v6; i++) {
				t_datagram_init(&dg, v6, 0, 5 + i);
				t_datagram_udp(&dg, PORT, sizes[i], i);
				t_fragments_all(&rig, &dg, 1200);
				t_assert(gather(1500) == least(dg.len, v6));
				is_the_answer(6);
				t_assert(got.body[6] || got.body[7]);
				rig_run(&rig, 1);
			}
		rig_close(&rig);
	}
}

static void the_longest_that_may_be_sent(void **state)
{
	static uint8_t data[65536];
	struct nomstack_addr to;

	begin(0);
	t_assert(nomstack_addr_parse("10.0.0.1", &to) == 0);
	t_assert(nomstack_udp_send_to(rig.s, PORT, &to, 9, data, LONGEST + 1) == -EMSGSIZE);
	t_assert(nomstack_udp_send(rig.s, PORT, __builtin_bswap32(PEER_IP), 9, data, LONGEST + 1) == -EMSGSIZE);
	t_assert(nomstack_udp_send(rig.s, PORT, __builtin_bswap32(PEER_IP), 9, data, LONGEST) == 0);
	nomstack_poll(rig.s);
	t_assert(gather(1500) == least(LONGEST + 8, false) && got.len == LONGEST + 8);
	t_assert(nomstack_addr_parse(PEER_IP6, &to) == 0);
	t_assert(nomstack_udp_send_to(rig.s, PORT, &to, 9, data, LONGEST - 19) == -EMSGSIZE);
	rig_run(&rig, 10);
	t_assert(nomstack_udp_send_to(rig.s, PORT, &to, 9, data, 3000) == 0);
	nomstack_poll(rig.s);
	t_assert(gather(1500) == 3);
	t_assert(nomstack_udp_send_to(rig.s, PORT, &to, 9, data, LONGEST - 20) == 0);
	nomstack_poll(rig.s);
	t_assert(gather(1500) == least(LONGEST - 12, true));
	rig_close(&rig);
}

/* A ring that has no room for all of it gets none of it. */
static void all_or_none(void **state)
{
	static uint8_t data[8000];
	unsigned i;

	rig_open_opts(&rig, "10.0.0.2/24", 0, 8);
	rig_arp(&rig, PEER_IP, rig.peer_mac);
	while (rig_tx_pop_raw(&frame))
		;
	t_assert(nomstack_udp_bind_any(rig.s, PORT, on_udp, NULL) == 0);
	rig_tx_hold(true);		/* the device is slow: 6 of its 8 descriptors, then none */
	t_assert(nomstack_udp_send(rig.s, PORT, __builtin_bswap32(PEER_IP), 9, data, sizeof(data)) == 0);
	for (i = 0; i < 5; i++)
		t_assert(nomstack_udp_send(rig.s, PORT, __builtin_bswap32(PEER_IP), 9, data, sizeof(data)) == -EAGAIN);
	t_assert(gather(1500) == 6 && !rig_tx_pop_raw(&frame));
	t_assert(rig_stats(&rig).tx_ring_full == 5);
	/* a short one still fits */
	t_assert(nomstack_udp_send(rig.s, PORT, __builtin_bswap32(PEER_IP), 9, data, 1000) == 0);
	rig_tx_hold(false);
	nomstack_poll(rig.s);
	t_assert(gather(1500) == 1);
	t_assert(nomstack_udp_send(rig.s, PORT, __builtin_bswap32(PEER_IP), 9, data, sizeof(data)) == 0);
	nomstack_poll(rig.s);
	t_assert(gather(1500) == 6);
	rig_close(&rig);
}

/* "Copied" means copied, also of what the device could read where it lies. */
static void memory_is_free_at_once(void **state)
{
	uint8_t *data;

	begin(CSUM);
	data = nomstack_dma_alloc(rig.s, 8000);
	t_assert(data);
	memset(data, 1, 8000);
	t_assert(nomstack_udp_send(rig.s, PORT, __builtin_bswap32(PEER_IP), 9, data, 8000) == 0);
	memset(data, 2, 8000);
	nomstack_poll(rig.s);
	t_assert(gather(1500) == 6);
	t_assert(got.body[8] == 1 && got.body[8007] == 1 && got.len == 8008);
	t_assert(rig_stats(&rig).tx_zero_copy == 0);
	rig_close(&rig);
}

/* RFC 7739: no two of a destination alike, and one destination tells nothing of another's. */
static void ids_cannot_be_guessed(void **state)
{
	static uint8_t seen[65536], data[2000];
	unsigned i, first[2], apart = 0;

	begin(0);
	for (i = 0; i < 3000; i++) {
		t_assert(nomstack_udp_send(rig.s, PORT, __builtin_bswap32(PEER_IP), 9, data, sizeof(data)) == 0);
		nomstack_poll(rig.s);
		t_assert(gather(1500) == 2);
		t_assert(!seen[got.id & 0xffff]);
		seen[got.id & 0xffff] = 1;
	}
	for (i = 0; i < 12; i++) {	/* neighbours in use that the smallest profile has room for */
		rig_arp(&rig, 0x0a000064 + i, rig.peer_mac);
		while (rig_tx_pop(&rig, &frame))
			;
		t_assert(nomstack_udp_send(rig.s, PORT, __builtin_bswap32(0x0a000064 + i), 9, data, sizeof(data)) == 0);
		nomstack_poll(rig.s);
		t_assert(gather(1500) == 2);
		first[i & 1] = got.id;
		apart += i && (first[0] > first[1] ? first[0] - first[1] : first[1] - first[0]) > 100;
	}
	t_assert(apart > 8);
	rig_close(&rig);
}

/* RFC 8201: of a path whose MTU is known to be less. */
static void a_path_has_its_mtu(void **state)
{
	uint8_t body[8 + 48] = { 2 };
	struct nomstack_addr to;
	static uint8_t data[8000], src[16], dst[16], f[RIG_FRAME];
	uint16_t sum;

	begin(0);
	t_assert(nomstack_addr_parse(PEER_IP6, &to) == 0);
	t_assert(nomstack_udp_send_to(rig.s, PORT, &to, 9, data, sizeof(data)) == 0);
	nomstack_poll(rig.s);
	t_assert(gather(1500) == 6);
	/* packet too big, of what was sent */
	put32(body + 4, 1300);
	memcpy(body + 8, frame.data + 14, 48);
	t_ip6(PEER_IP6, src);
	t_ip6(RIG_IP6, dst);
	sum = t_csum6(src, dst, T_ICMP6, body, sizeof(body));
	memcpy(body + 2, &sum, 2);
	t_assert(rig_inject(&rig, f, t_ip6_frame(&rig, f, src, dst, T_ICMP6, 64, body, sizeof(body)), 0));
	nomstack_poll(rig.s);
	t_assert(nomstack_udp_send_to(rig.s, PORT, &to, 9, data, sizeof(data)) == 0);
	nomstack_poll(rig.s);
	t_assert(gather(1300) == 7);
	rig_close(&rig);
}

/* A neighbour that is not known yet: what fits into a block of the heap waits, and is cut then. */
static void who_is_asked_for_first(void **state)
{
	static uint8_t data[8000];

	begin(0);
	t_assert(nomstack_udp_send(rig.s, PORT, __builtin_bswap32(0x0a000064), 9, data, 8000) == -ENOMEM);
	t_assert(nomstack_udp_send(rig.s, PORT, __builtin_bswap32(0x0a000065), 9, data, 3000) == 0);
	nomstack_poll(rig.s);
	t_assert(gather(1500) == 3 && got.len == 3008);	/* rig_tx_pop() has answered */
	t_assert(nomstack_udp_send(rig.s, PORT, __builtin_bswap32(0x0a000064), 9, data, 8000) == 0);
	nomstack_poll(rig.s);
	t_assert(gather(1500) == 6);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_longest_that_may_be_sent),
		cmocka_unit_test(all_or_none),
		cmocka_unit_test(memory_is_free_at_once),
		cmocka_unit_test(ids_cannot_be_guessed),
		cmocka_unit_test(a_path_has_its_mtu),
		cmocka_unit_test(who_is_asked_for_first),
		/* where the profile puts fragments together */
		cmocka_unit_test(pings_are_answered),
		cmocka_unit_test(datagrams_are_echoed),
	};

	return _cmocka_run_group_tests("frag", tests, NOMSTACK_REASS_DATAGRAMS ? 8 : 6, NULL, NULL);
}
