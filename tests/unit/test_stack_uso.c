// SPDX-License-Identifier: MIT
/*
 * Received frames of several UDP datagrams (VIRTIO_NET_F_GUEST_USO4, _USO6), on the
 * real driver with a device that joins them (stack_rig_vhost.c): each datagram reaches
 * the application as it was sent, from whatever buffers; what a hostile device says of
 * a frame gets it dropped; and every buffer comes back: rig_close() looks.
 */
#include "stack_rig.h"
#include "bytes.h"

#include "look.h"

#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define PORT 7
#define FROM 40000
#define MERGE (1ull << VIRTIO_NET_F_MRG_RXBUF)
#define ASKED (MERGE | 1ull << VIRTIO_NET_F_GUEST_USO4 | 1ull << VIRTIO_NET_F_GUEST_USO6)
#define HEADERS (six ? 62u : 42u)
#define SUM VIRTIO_NET_HDR_F_NEEDS_CSUM

static bool six, any_from;	/* over IPv6; senders and their ports are of any kind */
static struct rig rig;
static uint8_t frame[70000];
static unsigned nr_got, lens[80];
static uint32_t got;		/* bytes */

static uint8_t content(uint32_t at)
{
	return (uint8_t)(at * 31 + (at >> 8) * 7);
}

static void on_datagram(struct nomstack *s, void *arg, const void *data, uint32_t len, const struct nomstack_addr *from,
			uint16_t port)
{
	t_assert((port == FROM || any_from) && from->family == (six ? 6 : 4));
	t_assert(nr_got < 80);
	for (uint32_t i = 0; i < len; i++)
		t_assert(((const uint8_t *)data)[i] == content(got + i));
	lens[nr_got++] = len;
	got += len;
	/* and an answer, while the others are still to be looked at */
	if (len >= 12 && len <= 1400)
		t_assert(nomstack_udp_send_to(s, PORT, from, port, data, len) == 0 || any_from);
}

static void begin(uint64_t features)
{
	if (six)
		rig_open6(&rig, features);
	else
		rig_open(&rig, "10.0.0.2/24", features);
	t_assert(nomstack_udp_bind_any(rig.s, PORT, on_datagram, NULL) == 0);
	nr_got = 0;
	got = 0;
}

/* @payload bytes behind headers as of one datagram; the frame's length. */
static unsigned make(unsigned payload)
{
	uint8_t *u = frame + HEADERS - 8, us[16], peer[16];

	put16(u, FROM);
	put16(u + 2, PORT);
	put16(u + 4, 8 + payload);
	put16(u + 6, 0x1234);		/* of the pseudo header, as far as anybody looks */
	for (unsigned i = 0; i < payload; i++)
		u[8 + i] = content(i);
	if (!six)
		return t_ip_frame(&rig, frame, PEER_IP, RIG_IP, 17, u, 8 + payload);
	t_ip6(PEER_IP6, peer);
	t_ip6(RIG_IP6, us);
	return t_ip6_frame(&rig, frame, peer, us, 17, 64, u, 8 + payload);
}

/* Datagrams that came of a frame of so many bytes in so large pieces. */
static unsigned split(unsigned payload, unsigned each)
{
	struct rig_frame f;

	nr_got = 0;
	got = 0;
	t_assert(rig_inject_datagrams(&rig, frame, make(payload), each, SUM));
	nomstack_poll(rig.s);
	while (rig_tx_pop(&rig, &f))
		;
	return nr_got;
}

static void test_each_comes_as_it_was(void **state)
{
	static const struct { unsigned payload, each; } in[] = {
		{ 100, 100 }, { 200, 100 }, { 250, 100 }, { 64, 1 }, { 1, 1 }, { 30 * 1400, 1400 }, { 44 * 1472 - 1, 1472 },
		{ 64 * 1000, 1000 }, { 63 * 1000 + 1, 1000 }, { 1992, 1992 }, { 3 * 1972, 1972 }, { 500, 1000 }, { 12, 65535 },
	};

	begin(ASKED);
	t_assert((vnet_features(rig.v) & ASKED) == ASKED);
	for (unsigned i = 0; i < sizeof(in) / sizeof(in[0]); i++) {
		unsigned payload = in[i].payload, each = in[i].each;

		if (six && each == 1992)
			payload = each = 1972;
		t_assert(split(payload, each) == (payload + each - 1) / each);
		t_assert(got == payload);
		for (unsigned k = 0; k < nr_got; k++)
			t_assert(lens[k] == (k + 1 < nr_got || payload % each == 0 ? each : payload % each));
	}
	t_assert(rig_stats(&rig).drop_proto == 0);
	rig_close(&rig);
}

/* Their number is what counts as received. */
static void test_counted_one_by_one(void **state)
{
	uint64_t before;

	begin(ASKED);
	split(100, 100);		/* now the peer is known to the stack */
	before = rig_stats(&rig).rx_packets;
	t_assert(split(30 * 1400, 1400) == 30);
	t_assert(rig_stats(&rig).rx_packets - before == 30);
	t_assert(vnet_stats(rig.v)->rx_large == 2);
	rig_close(&rig);
}

/* Of what nomctl stat --drops lists. */
static uint64_t dropped_as(const char *name)
{
	static struct nomstack_lk_fact row[NOMSTACK__LOOK_ROWS];
	uint64_t cursor = 0;

	while (cursor != NOMSTACK_LK_END) {
		unsigned nr = nomstack__look_facts(rig.s, cursor, row, NOMSTACK__LOOK_ROWS, &cursor);

		for (unsigned i = 0; i < nr; i++)
			if (!strcmp(row[i].group, "drop") && !strcmp(row[i].name, name))
				return row[i].value;
	}
	t_assert(!"no such reason");
	return 0;
}

/* What no honest device says. */
static void test_lies_get_a_frame_dropped(void **state)
{
	static const struct { unsigned payload, each; } in[] = {
		{ 1000, 0 }, { 65, 1 }, { 64 * 900 + 1, 900 }, { 5000, 5000 }, { 3000, 2500 }, { 60000, 65535 }, { 1993, 1993 },
	};
	unsigned drops = 0, n, at = HEADERS - 8;

	begin(ASKED);
	for (unsigned i = 0; i < sizeof(in) / sizeof(in[0]); i++) {
		t_assert(split(in[i].payload, in[i].each) == 0);
		t_assert(rig_stats(&rig).drop_proto == ++drops);
	}
	/* no word for the sum */
	t_assert(rig_inject_datagrams(&rig, frame, make(1000), 100, 0));
	nomstack_poll(rig.s);
	t_assert(nr_got == 0 && rig_stats(&rig).drop_proto == ++drops);
	/* lengths that are not those of what came: of UDP, of IP, of the frame */
	for (unsigned k = 0; k < 4; k++) {
		n = make(1000);
		if (k == 0)
			put16(frame + at + 4, 1007);
		else if (k == 1)
			put16(frame + (six ? 18 : 16), six ? 1007 : 1027);
		else if (k == 2)
			n += 5000;
		else
			n -= 500;
		t_assert(rig_inject_datagrams(&rig, frame, n, 100, SUM));
		nomstack_poll(rig.s);
		t_assert(nr_got == 0 && rig_stats(&rig).drop_proto == ++drops);
	}
	/* nothing behind the headers; a fragment */
	t_assert(rig_inject_datagrams(&rig, frame, make(0), 100, SUM));
	nomstack_poll(rig.s);
	t_assert(nr_got == 0 && rig_stats(&rig).drop_proto == ++drops);
	if (!six) {
		n = make(1000);
		frame[20] = 0x20;
		t_assert(rig_inject_datagrams(&rig, frame, n, 100, SUM));
		nomstack_poll(rig.s);
		t_assert(nr_got == 0 && rig_stats(&rig).drop_proto == ++drops);
	}
	t_assert(dropped_as("udp.impossible_join") == drops && dropped_as("frame.too_long") == 0);
	/* and after all that it works */
	t_assert(split(1000, 100) == 10);
	t_assert(vnet_error(rig.v, NULL) == 0);
	rig_close(&rig);
}

/* Headers cut off anywhere, and any bytes in them: nothing but what the peer sent is delivered. */
static void test_random_headers(void **state)
{
	struct rig_frame f;
	uint64_t dice = 4711;

	any_from = true;
	begin(ASKED);
	for (unsigned i = 0; i < 3000; i++) {
		unsigned payload = 1 + rig_random(&dice) % 3000, n = make(payload);

		if (rig_random(&dice) % 2)
			frame[14 + rig_random(&dice) % (HEADERS - 14)] ^= (uint8_t)(1u << rig_random(&dice) % 8);
		if (rig_random(&dice) % 4 == 0)
			n = 14 + rig_random(&dice) % (n - 14);
		nr_got = 0;
		got = 0;
		rig_inject_datagrams(&rig, frame, n, (unsigned)(rig_random(&dice) % 4 ? 1 + rig_random(&dice) % 2000 : rig_random(&dice)),
				     rig_random(&dice) % 8 ? SUM : (unsigned)(rig_random(&dice) & 0xff));
		nomstack_poll(rig.s);
		while (rig_tx_pop(&rig, &f))
			;
	}
	any_from = false;
	t_assert(vnet_error(rig.v, NULL) == 0);
	rig_close(&rig);
}

/* Who did not ask gets none, even from a device that sends them. */
static void test_not_unless_asked_for(void **state)
{
	static const uint64_t other[] = { MERGE, MERGE | 1ull << VIRTIO_NET_F_GUEST_TSO4, 0 };

	for (unsigned i = 0; i < 3; i++) {
		begin(other[i] ? other[i] : 1);
		t_assert(!(vnet_features(rig.v) & (ASKED & ~MERGE)));
		t_assert(rig_inject_datagrams(&rig, frame, make(1000), 100, SUM));
		nomstack_poll(rig.s);
		t_assert(nr_got == 0);
		t_assert(vnet_stats(rig.v)->rx_bad == 1);
		rig_close(&rig);
	}
	/* of one version, none of the other */
	begin(MERGE | 1ull << (six ? VIRTIO_NET_F_GUEST_USO4 : VIRTIO_NET_F_GUEST_USO6));
	t_assert(split(1000, 100) == 0);
	t_assert(rig_stats(&rig).drop_proto == 1);
	rig_close(&rig);
}

static int over_ip6(void **state)
{
	six = true;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_comes_as_it_was),
		cmocka_unit_test(test_counted_one_by_one),
		cmocka_unit_test(test_lies_get_a_frame_dropped),
		cmocka_unit_test(test_random_headers),
		cmocka_unit_test(test_not_unless_asked_for),
	};
	int failed = cmocka_run_group_tests_name("IPv4", tests, NULL, NULL);

	return failed + cmocka_run_group_tests_name("IPv6", tests, over_ip6, NULL);
}
