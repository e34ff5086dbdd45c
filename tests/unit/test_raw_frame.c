// SPDX-License-Identifier: MIT
/*
 * <nomstack/frame.h>: what a frame is, and its answer, against headers that are
 * put together and summed up here, 16 bits at a time.  Each frame lies at the end
 * of memory of its own, so that ASan sees a byte read behind it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <arpa/inet.h>

#include <nomdrv/vnet.h>
#include <nomstack/frame.h>
#include <nomstack/raw.h>

#include "bytes.h"

#define US	0x0a000002u
#define THEM	0x0a000001u
#define MTU	1514

static const uint8_t our_mac[6] = { 0x52, 0x54, 0, 0, 0, 2 }, their_mac[6] = { 0x52, 0x54, 0, 0, 0, 1 };
static struct nomstack_frame_self self;

static unsigned t_sum(const uint8_t *p, unsigned len, unsigned sum)
{
	for (unsigned i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (unsigned)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static unsigned t_pseudo(const uint8_t *f, unsigned bytes)
{
	return t_sum(f + 26, 8, f[23] + bytes);
}

/* Put all sums of an IPv4 frame without options right. */
static void t_fix(uint8_t *f)
{
	unsigned bytes = get16(f + 16) - 20, at = f[23] == 17 ? 40 : 36;

	put16(f + 24, 0);
	put16(f + 24, ~t_sum(f + 14, 20, 0) & 0xffff);
	put16(f + at, 0);
	put16(f + at, ~t_sum(f + 34, bytes, f[23] == 17 ? t_pseudo(f, bytes) : 0) & 0xffff);
}

static void t_ip(uint8_t *f, unsigned proto, unsigned bytes)
{
	memset(f, 0, 42);
	memcpy(f, our_mac, 6);
	memcpy(f + 6, their_mac, 6);
	put16(f + 12, 0x0800);
	put16(f + 14, 0x4500);
	put16(f + 16, 20 + bytes);
	put16(f + 18, 0x1234);
	f[22] = 61;
	f[23] = (uint8_t)proto;
	put32(f + 26, THEM);
	put32(f + 30, US);
}

/* A datagram of @n bytes; returns the frame's length. */
static unsigned t_udp(uint8_t *f, unsigned n)
{
	t_ip(f, 17, 8 + n);
	put16(f + 34, 40000);
	put16(f + 36, 7);
	put16(f + 38, 8 + n);
	for (unsigned i = 0; i < n; i++)
		f[42 + i] = (uint8_t)(i * 7 + 1);
	t_fix(f);
	return 42 + n;
}

static unsigned t_echo(uint8_t *f, unsigned n)
{
	t_ip(f, 1, 8 + n);
	f[34] = 8;
	put32(f + 38, 0xabcd0001);
	for (unsigned i = 0; i < n; i++)
		f[42 + i] = (uint8_t)i;
	t_fix(f);
	return 42 + n;
}

static unsigned t_arp(uint8_t *f)
{
	static const uint8_t head[10] = { 8, 6, 0, 1, 8, 0, 6, 4, 0, 1 };

	memset(f, 0xff, 6);
	memcpy(f + 6, their_mac, 6);
	memcpy(f + 12, head, 10);
	memcpy(f + 22, their_mac, 6);
	put32(f + 28, THEM);
	memset(f + 32, 0, 6);
	put32(f + 38, US);
	return 42;
}

static enum nomstack_frame_kind t_read(const uint8_t *f, unsigned len, unsigned flags)
{
	uint8_t *own = malloc(len ? len : 1);
	struct vnet_rx rx = { .data = own, .len = len, .flags = (uint16_t)flags };
	struct nomstack_frame out;
	enum nomstack_frame_kind kind;

	memcpy(own, f, len);
	kind = nomstack_frame_read(&rx, &self, &out);
	if (kind < NOMSTACK_FRAME_SHORT)
		assert_ptr_equal(out.eth, own);
	if (kind == NOMSTACK_FRAME_UDP) {
		assert_ptr_equal(out.payload, own + NOMSTACK_FRAME_UDP_AT);
		assert_true(out.payload_bytes <= len - NOMSTACK_FRAME_UDP_AT);
	}
	free(own);
	return kind;
}

static int setup(void **state)
{
	return nomstack_frame_self(&self, our_mac, "10.0.0.2/24");
}

static void test_frame_self_takes_addresses_of_stations_only(void **state)
{
	static const char *const bad[] = { "10.0.0.2", "10.0.0.2/", "10.0.0.2/0", "10.0.0.2/33", "10.0.0.2/24x", "/24",
					   "10.0.0.256/24", "10.0.0.0/24", "10.0.0.255/24", "224.0.0.1/24", "127.0.0.1/8",
					   "0.0.0.0/24", "255.255.255.255/32", "100.100.100.1000/24", "dhcp", "" };
	struct nomstack_frame_self s, before;

	memset(&s, 0x5a, sizeof(s));
	before = s;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(nomstack_frame_self(&s, our_mac, bad[i]), -EINVAL);
	assert_int_equal(nomstack_frame_self(&s, our_mac, NULL), -EINVAL);
	assert_memory_equal(&s, &before, sizeof(s));
	assert_int_equal(nomstack_frame_self(&s, our_mac, "10.0.0.2/24"), 0);
	assert_int_equal(ntohl(s.ip4_be), US);
	assert_int_equal(ntohl(s.net_be), 0x0a000000);
	assert_int_equal(ntohl(s.broadcast_be), 0x0a0000ff);
	/* a network of two has neither (RFC 3021) */
	assert_int_equal(nomstack_frame_self(&s, our_mac, "10.0.0.2/31"), 0);
	assert_int_equal(s.net_be | s.broadcast_be, 0);
}

static void test_frame_reads_what_is_asked_for(void **state)
{
	uint8_t f[MTU];
	unsigned n;

	for (n = 0; n <= 1472; n += n < 70 ? 1 : 701) {
		assert_int_equal(t_read(f, t_udp(f, n), 0), NOMSTACK_FRAME_UDP);
		assert_int_equal(t_read(f, t_echo(f, n), 0), NOMSTACK_FRAME_ECHO);
	}
	assert_int_equal(t_read(f, t_arp(f), 0), NOMSTACK_FRAME_ARP);
	memcpy(f, our_mac, 6);		/* a neighbour that asks whether we are still there */
	assert_int_equal(t_read(f, 42, 0), NOMSTACK_FRAME_ARP);
	put32(f + 28, 0);		/* a probe */
	assert_int_equal(t_read(f, 42, 0), NOMSTACK_FRAME_ARP);
}

/* Ethernet pads short frames; what pads is no part of the datagram. */
static void test_frame_padding_is_not_payload(void **state)
{
	uint8_t f[MTU] = { 0 };
	struct vnet_rx rx = { .data = f, .len = 60 };
	struct nomstack_frame out;

	t_udp(f, 3);
	assert_int_equal(nomstack_frame_read(&rx, &self, &out), NOMSTACK_FRAME_UDP);
	assert_int_equal(out.payload_bytes, 3);
	assert_int_equal(out.src_port, 40000);
	assert_int_equal(out.dst_port, 7);
	assert_int_equal(ntohl(out.src_ip_be), THEM);
	/* bytes of the IP packet behind the datagram are none either */
	t_udp(f, 3);
	put16(f + 16, 20 + 8 + 10);
	put16(f + 24, 0);
	put16(f + 24, ~t_sum(f + 14, 20, 0) & 0xffff);
	assert_int_equal(nomstack_frame_read(&rx, &self, &out), NOMSTACK_FRAME_UDP);
	assert_int_equal(out.payload_bytes, 3);
}

/* Cut anywhere, nothing behind the end is read (ASan), and nothing but what is whole is taken. */
static void test_frame_cut_short_is_refused(void **state)
{
	uint8_t f[MTU];
	unsigned len, n;

	len = t_udp(f, 30);
	for (n = 0; n < len; n++)
		assert_int_equal(t_read(f, n, 0), NOMSTACK_FRAME_SHORT);
	len = t_echo(f, 30);
	for (n = 0; n < len; n++)
		assert_int_equal(t_read(f, n, 0), NOMSTACK_FRAME_SHORT);
	len = t_arp(f);
	for (n = 0; n < len; n++)
		assert_int_equal(t_read(f, n, 0), NOMSTACK_FRAME_SHORT);
}

static void test_frame_lengths_that_lie_are_refused(void **state)
{
	uint8_t f[MTU];
	unsigned ip, udp, len = t_udp(f, 30), taken = 0;

	for (ip = 0; ip < 300; ip++)
		for (udp = 0; udp < 300; udp++) {
			enum nomstack_frame_kind kind;

			t_udp(f, 30);
			put16(f + 16, ip);
			put16(f + 38, udp);
			put16(f + 24, 0);
			put16(f + 24, ~t_sum(f + 14, 20, 0) & 0xffff);
			kind = t_read(f, len, VNET_RX_CSUM_OK);
			if (ip > len - 14)
				assert_int_equal(kind, NOMSTACK_FRAME_SHORT);
			else if (ip < 28 || udp < 8 || udp > ip - 20)
				assert_int_equal(kind, NOMSTACK_FRAME_HEADER);
			else
				taken += kind == NOMSTACK_FRAME_UDP;
		}
	assert_int_equal(taken, 31 * 32 / 2);	/* IP lengths 28 to 58, and for each the datagrams that fit */
	t_udp(f, 30);
	put16(f + 38, 0xffff);
	assert_int_equal(t_read(f, len, VNET_RX_CSUM_OK), NOMSTACK_FRAME_HEADER);
}

static void test_frame_headers_that_are_not_spoken(void **state)
{
	uint8_t f[MTU];
	unsigned len = t_udp(f, 64), b;

	for (b = 0; b < 256; b++) {
		f[14] = (uint8_t)b;
		if (b == 0x45)
			continue;
		assert_int_equal(t_read(f, len, 0), b >> 4 == 4 && (b & 15) > 5 ? NOMSTACK_FRAME_OPTIONS : NOMSTACK_FRAME_HEADER);
	}
	t_udp(f, 64);
	for (b = 0; b < 256; b++) {
		f[23] = (uint8_t)b;
		put16(f + 24, 0);
		put16(f + 24, ~t_sum(f + 14, 20, 0) & 0xffff);
		if (b != 17 && b != 1)
			assert_int_equal(t_read(f, len, 0), NOMSTACK_FRAME_OTHER);
	}
	len = t_echo(f, 8);
	for (b = 0; b < 256; b++) {
		f[34] = (uint8_t)b;
		t_fix(f);
		assert_int_equal(t_read(f, len, 0), b == 8 ? NOMSTACK_FRAME_ECHO : NOMSTACK_FRAME_OTHER);
	}
	len = t_udp(f, 64);
	put16(f + 12, 0x8100);	/* a VLAN tag */
	assert_int_equal(t_read(f, len, 0), NOMSTACK_FRAME_OTHER);
	put16(f + 12, 0x86dd);
	assert_int_equal(t_read(f, len, 0), NOMSTACK_FRAME_OTHER);
}

/* All 65536 values of flags and offset: only DF and the reserved bit are none of a fragment. */
static void test_frame_fragments_are_refused(void **state)
{
	uint8_t f[MTU];
	unsigned len, v;

	for (v = 0; v < 65536; v++) {
		len = t_udp(f, 4);
		put16(f + 20, v);
		t_fix(f);
		assert_int_equal(t_read(f, len, 0), v & 0x3fff ? NOMSTACK_FRAME_FRAGMENT : NOMSTACK_FRAME_UDP);
	}
}

static void test_frame_every_flipped_bit_is_seen(void **state)
{
	uint8_t f[MTU];
	unsigned len, i, bit;

	len = t_udp(f, 13);
	for (i = 14; i < len; i++)
		for (bit = 0; bit < 8; bit++) {
			enum nomstack_frame_kind kind;

			t_udp(f, 13);
			f[i] ^= (uint8_t)(1 << bit);
			kind = t_read(f, len, 0);
			assert_true(kind >= NOMSTACK_FRAME_SHORT);
			if (i >= 42)
				assert_int_equal(kind, NOMSTACK_FRAME_SUM);
		}
	len = t_echo(f, 13);
	for (i = 34; i < len; i++)
		for (bit = 0; bit < 8; bit++) {
			t_echo(f, 13);
			f[i] ^= (uint8_t)(1 << bit);
			assert_true(t_read(f, len, 0) >= NOMSTACK_FRAME_SHORT);
		}
	/* the device's word stands for UDP's sum, and for no other */
	t_udp(f, 13);
	f[50] ^= 1;
	assert_int_equal(t_read(f, 55, VNET_RX_CSUM_OK), NOMSTACK_FRAME_UDP);
	t_echo(f, 13);
	f[50] ^= 1;
	assert_int_equal(t_read(f, 55, VNET_RX_CSUM_OK), NOMSTACK_FRAME_SUM);
	t_udp(f, 13);
	f[24] ^= 1;
	assert_int_equal(t_read(f, 55, VNET_RX_CSUM_OK), NOMSTACK_FRAME_SUM);
	/* a sender that computes none */
	t_udp(f, 13);
	put16(f + 40, 0);
	f[50] ^= 1;
	assert_int_equal(t_read(f, 55, 0), NOMSTACK_FRAME_UDP);
}

static void test_frame_sources_that_are_nobodys_are_refused(void **state)
{
	static const uint32_t bad[] = { 0, 0x00ffffff, 0x7f000001, 0xe0000001, 0xefffffff, 0xf0000000, 0xffffffff, US,
					0x0a0000ff, 0x0a000000 };
	uint8_t f[MTU];
	unsigned i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		t_udp(f, 4);
		put32(f + 26, bad[i]);
		t_fix(f);
		assert_int_equal(t_read(f, 46, 0), NOMSTACK_FRAME_SOURCE);
		t_echo(f, 4);
		put32(f + 26, bad[i]);
		t_fix(f);
		assert_int_equal(t_read(f, 46, 0), NOMSTACK_FRAME_SOURCE);
		t_arp(f);
		put32(f + 28, bad[i]);
		assert_int_equal(t_read(f, 42, 0), bad[i] ? NOMSTACK_FRAME_SOURCE : NOMSTACK_FRAME_ARP);
	}
	t_udp(f, 4);
	f[6] |= 1;		/* a group's Ethernet address */
	assert_int_equal(t_read(f, 46, 0), NOMSTACK_FRAME_SOURCE);
	t_udp(f, 4);
	put16(f + 34, 0);	/* no port to answer to */
	t_fix(f);
	assert_int_equal(t_read(f, 46, 0), NOMSTACK_FRAME_SOURCE);
	t_arp(f);
	memset(f + 22, 0xff, 6);	/* answers to all, for the asking */
	assert_int_equal(t_read(f, 42, 0), NOMSTACK_FRAME_SOURCE);
	memset(f + 22, 0, 6);
	assert_int_equal(t_read(f, 42, 0), NOMSTACK_FRAME_SOURCE);
}

static void test_frame_to_others_is_not_ours(void **state)
{
	uint8_t f[MTU];
	unsigned i;

	for (i = 0; i < 6; i++) {
		t_udp(f, 4);
		f[i] ^= 2;
		assert_int_equal(t_read(f, 46, 0), NOMSTACK_FRAME_NOT_OURS);
	}
	t_echo(f, 4);
	memset(f, 0xff, 6);	/* to all: would be an amplifier */
	assert_int_equal(t_read(f, 46, 0), NOMSTACK_FRAME_NOT_OURS);
	t_udp(f, 4);
	put32(f + 30, 0x0a0000ff);
	t_fix(f);
	assert_int_equal(t_read(f, 46, 0), NOMSTACK_FRAME_NOT_OURS);
	t_arp(f);
	put32(f + 38, 0x0a000003);
	assert_int_equal(t_read(f, 42, 0), NOMSTACK_FRAME_NOT_OURS);
	t_arp(f);
	memcpy(f, "\x52\x54\0\0\0\3", 6);
	assert_int_equal(t_read(f, 42, 0), NOMSTACK_FRAME_NOT_OURS);
	t_arp(f);
	f[21] = 2;		/* an answer: nobody asked */
	assert_int_equal(t_read(f, 42, 0), NOMSTACK_FRAME_OTHER);
}

/* What came is read, and answered with @payload bytes that only we know. */
static struct nomstack_raw_answer t_answer(uint8_t *f, unsigned len, unsigned payload, bool offload)
{
	struct vnet_rx rx = { .data = f, .len = len };
	struct nomstack_raw_answer a = { 99, 99, 99 };
	struct nomstack_frame in;

	assert_int_equal(nomstack_frame_read(&rx, &self, &in), NOMSTACK_FRAME_UDP);
	for (unsigned i = 0; i < payload; i++)
		in.payload[i] = (uint8_t)(i * 13 + payload);
	nomstack_frame_answer_udp(&in, payload, offload, &a);
	return a;
}

static void t_expect_headers(const uint8_t *f, unsigned proto, unsigned bytes)
{
	assert_memory_equal(f, their_mac, 6);
	assert_memory_equal(f + 6, our_mac, 6);
	assert_int_equal(get16(f + 12), 0x0800);
	assert_int_equal(get16(f + 14), 0x4500);
	assert_int_equal(get16(f + 16), 20 + bytes);
	assert_int_equal(get16(f + 18), 0);
	assert_int_equal(get16(f + 20), 0x4000);
	assert_int_equal(f[22], 64);
	assert_int_equal(f[23], proto);
	assert_int_equal(get32(f + 26), US);
	assert_int_equal(get32(f + 30), THEM);
	assert_int_equal(t_sum(f + 14, 20, 0), 0xffff);
}

static void test_frame_answers_a_datagram(void **state)
{
	uint8_t f[2048];
	unsigned n;

	for (n = 0; n <= 1472; n += n < 70 ? 1 : 701) {
		struct nomstack_raw_answer a = t_answer(f, t_udp(f, 20), n, false);

		assert_int_equal(a.len, 42 + n);
		assert_int_equal(a.csum_start | a.csum_offset, 0);
		t_expect_headers(f, 17, 8 + n);
		assert_int_equal(get16(f + 34), 7);
		assert_int_equal(get16(f + 36), 40000);
		assert_int_equal(get16(f + 38), 8 + n);
		assert_int_not_equal(get16(f + 40), 0);
		assert_int_equal(t_sum(f + 34, 8 + n, t_pseudo(f, 8 + n)), 0xffff);

		a = t_answer(f, t_udp(f, 20), n, true);
		assert_int_equal(a.len, 42 + n);
		assert_int_equal(a.csum_start, 34);
		assert_int_equal(a.csum_offset, 6);
		t_expect_headers(f, 17, 8 + n);
		assert_int_equal(get16(f + 40), t_pseudo(f, 8 + n));
	}
	assert_int_equal(t_answer(f, t_udp(f, 20), 1472, false).len, 1514);
	t_udp(f, 20);
	{
		struct vnet_rx rx = { .data = f, .len = 62 };
		struct nomstack_raw_answer a = { 99, 99, 99 };
		struct nomstack_frame in;

		nomstack_frame_read(&rx, &self, &in);
		nomstack_frame_answer_udp(&in, 1473, false, &a);
		assert_int_equal(a.len, 0);
		nomstack_frame_answer_udp(&in, UINT32_MAX, false, &a);
		assert_int_equal(a.len, 0);
	}
}

/* A sum that comes out as 0 goes out as its other form: 0 would mean that there is none. */
static void test_frame_answer_never_has_a_sum_of_zero(void **state)
{
	unsigned v, ones = 0;
	uint8_t f[2048];

	for (v = 0; v < 65536; v++) {
		struct vnet_rx rx = { .data = f, .len = t_udp(f, 2) };
		struct nomstack_raw_answer a;
		struct nomstack_frame in;

		nomstack_frame_read(&rx, &self, &in);
		put16(in.payload, v);
		nomstack_frame_answer_udp(&in, 2, false, &a);
		assert_int_not_equal(get16(f + 40), 0);
		ones += get16(f + 40) == 0xffff;
	}
	assert_int_equal(ones, 1);
}

static void test_frame_answers_an_echo_request(void **state)
{
	uint8_t f[2048], want[2048];
	unsigned n, id;

	for (n = 0; n <= 1472; n += n < 70 ? 1 : 701)
		for (id = 0; id < 65536; id += n ? 65536 : 1) {
			struct vnet_rx rx = { .data = f, .len = t_echo(f, n) };
			struct nomstack_raw_answer a;
			struct nomstack_frame in;

			put16(f + 38, id);
			t_fix(f);
			memcpy(want, f, rx.len);
			assert_int_equal(nomstack_frame_read(&rx, &self, &in), NOMSTACK_FRAME_ECHO);
			nomstack_frame_answer_echo(&in, &a);
			assert_int_equal(a.len, 42 + n);
			t_expect_headers(f, 1, 8 + n);
			assert_int_equal(get16(f + 34), 0);
			assert_memory_equal(f + 38, want + 38, 4 + n);
			assert_int_equal(t_sum(f + 34, 8 + n, 0), 0xffff);
		}
}

static void test_frame_answers_who_has(void **state)
{
	static const uint8_t head[10] = { 8, 6, 0, 1, 8, 0, 6, 4, 0, 2 };
	struct nomstack_raw_answer a;
	struct nomstack_frame in;
	uint8_t f[64];
	struct vnet_rx rx = { .data = f, .len = t_arp(f) };

	nomstack_frame_read(&rx, &self, &in);
	nomstack_frame_answer_arp(&in, &self, &a);
	assert_int_equal(a.len, 42);
	assert_memory_equal(f, their_mac, 6);
	assert_memory_equal(f + 6, our_mac, 6);
	assert_memory_equal(f + 12, head, 10);
	assert_memory_equal(f + 22, our_mac, 6);
	assert_int_equal(get32(f + 28), US);
	assert_memory_equal(f + 32, their_mac, 6);
	assert_int_equal(get32(f + 38), THEM);

	nomstack_frame_announce(f, &self);
	assert_int_equal(f[0] & f[5], 0xff);
	assert_int_equal(f[21], 1);
	assert_int_equal(get32(f + 28), US);
	assert_int_equal(get32(f + 38), US);
}

static void test_frame_kinds_have_names(void **state)
{
	for (unsigned i = 0; i < NOMSTACK_FRAME_KINDS; i++)
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(nomstack_frame_kind_name(i), nomstack_frame_kind_name(k));
	assert_null(nomstack_frame_kind_name(NOMSTACK_FRAME_KINDS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frame_self_takes_addresses_of_stations_only),
		cmocka_unit_test(test_frame_reads_what_is_asked_for),
		cmocka_unit_test(test_frame_padding_is_not_payload),
		cmocka_unit_test(test_frame_cut_short_is_refused),
		cmocka_unit_test(test_frame_lengths_that_lie_are_refused),
		cmocka_unit_test(test_frame_headers_that_are_not_spoken),
		cmocka_unit_test(test_frame_fragments_are_refused),
		cmocka_unit_test(test_frame_every_flipped_bit_is_seen),
		cmocka_unit_test(test_frame_sources_that_are_nobodys_are_refused),
		cmocka_unit_test(test_frame_to_others_is_not_ours),
		cmocka_unit_test(test_frame_answers_a_datagram),
		cmocka_unit_test(test_frame_answer_never_has_a_sum_of_zero),
		cmocka_unit_test(test_frame_answers_an_echo_request),
		cmocka_unit_test(test_frame_answers_who_has),
		cmocka_unit_test(test_frame_kinds_have_names),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
