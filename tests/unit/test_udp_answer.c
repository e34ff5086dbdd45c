// SPDX-License-Identifier: MIT
/* nomudp's answers: which datagrams, how often the rest, and who is waited for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <arpa/inet.h>

#include <nomdrv/vnet.h>

#include "../../apps/nomudp/src/answer.h"
#include "../../apps/nomudp/src/peers.h"
#include "../../apps/nomudp/src/request.h"
#include "bytes.h"

#define SECOND 1000000000ull
#define MS 1000000ull

static const uint8_t mac[6] = { 0x52, 0x54, 0, 0, 0, 2 };

static struct answerer t_answerer(void)
{
	struct answerer a = { .port = 7000, .arp.per_s = 1000, .icmp.per_s = 1000 };

	assert_int_equal(nomstack_frame_self(&a.self, mac, "10.0.0.2/24"), 0);
	return a;
}

/* A datagram of @payload to @port; the device vouches for its sum. */
static struct vnet_rx t_datagram(uint8_t *f, unsigned port, const char *payload, unsigned n)
{
	uint32_t sum = 0;

	memset(f, 0, 42);
	memcpy(f, mac, 6);
	memcpy(f + 6, "\x52\x54\0\0\0\1", 6);
	put16(f + 12, 0x0800);
	put16(f + 14, 0x4500);
	put16(f + 16, 28 + n);
	f[22] = 64;
	f[23] = 17;
	put32(f + 26, 0x0a000001);
	put32(f + 30, 0x0a000002);
	for (unsigned i = 14; i < 34; i += 2)
		sum += get16(f + i);
	put16(f + 24, ~((sum & 0xffff) + (sum >> 16)) & 0xffff);
	put16(f + 34, 40000);
	put16(f + 36, port);
	put16(f + 38, 8 + n);
	memcpy(f + 42, payload, n);
	return (struct vnet_rx){ .data = f, .len = 42 + n, .flags = VNET_RX_CSUM_OK };
}

static struct vnet_rx t_arp(uint8_t *f)
{
	static const uint8_t head[10] = { 8, 6, 0, 1, 8, 0, 6, 4, 0, 1 };

	memset(f, 0xff, 6);
	memcpy(f + 6, "\x52\x54\0\0\0\1", 6);
	memcpy(f + 12, head, 10);
	memcpy(f + 22, f + 6, 6);
	put32(f + 28, 0x0a000001);
	memset(f + 32, 0, 6);
	put32(f + 38, 0x0a000002);
	return (struct vnet_rx){ .data = f, .len = 42 };
}

static void test_answer_to_requests_and_to_nothing_else(void **state)
{
	static const struct {
		const char *payload;
		unsigned bytes, port, answer;
	} cases[] = {
		{ "nRQ1tagstags", 12, 7000, 54 }, { "nRQ1tagstagsbody", 16, 7000, 58 },
		{ "nRQ1tagstag", 11, 7000, 0 }, { "nRQ1", 4, 7000, 0 }, { "", 0, 7000, 0 }, { "nRQ2tagstags", 12, 7000, 0 },
		{ "nRP1tagstags", 12, 7000, 0 },	/* a reply: never answered */
		{ "nRQ1tagstags", 12, 7001, 0 },
	};
	struct answerer a = t_answerer();
	uint8_t f[8][128];
	struct vnet_rx rx[8];
	struct nomstack_raw_answer out[8];

	memset(out, 0x5a, sizeof(out));
	for (unsigned i = 0; i < 8; i++)
		rx[i] = t_datagram(f[i], cases[i].port, cases[i].payload, cases[i].bytes);
	answer_frames(&a, 0, rx, out, 8);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(out[i].len, cases[i].answer);
	assert_memory_equal(f[1] + 42, "nRP1tagstagsbody", 16);
	assert_int_equal(a.requests, 2);
	assert_int_equal(a.bytes, 28);
	assert_int_equal(a.bad, 5);
	assert_int_equal(a.other_port, 1);
	assert_int_equal(a.kind[NOMSTACK_FRAME_UDP], 8);

	/* the answer, come back to us with its addresses turned: no request */
	rx[0] = t_datagram(f[0], 7000, "nRQ1tagstags", 12);
	answer_frames(&a, 0, rx, out, 1);
	rx[0] = t_datagram(f[0], 7000, (const char *)f[0] + 42, 12);
	answer_frames(&a, 0, rx, out, 1);
	assert_int_equal(out[0].len, 0);
}

static void test_answer_storm_of_questions_is_bounded(void **state)
{
	struct answerer a = t_answerer();
	struct nomstack_raw_answer out;
	uint8_t f[64];
	uint64_t now;
	unsigned answers = 0;

	for (unsigned i = 0; i < 100000; i++) {		/* at once */
		struct vnet_rx rx = t_arp(f);

		answer_frames(&a, SECOND, &rx, &out, 1);
		answers += out.len == 42;
	}
	assert_int_equal(answers, 101);		/* a tenth of a second's worth, and the first */
	assert_int_equal(a.arp.answers, 101);
	assert_int_equal(a.arp.limited, 100000 - 101);
	answers = 0;
	for (now = SECOND; now < 3 * SECOND; now += 20000) {	/* for two seconds */
		struct vnet_rx rx = t_arp(f);

		answer_frames(&a, now, &rx, &out, 1);
		answers += out.len == 42;
	}
	assert_in_range(answers, 1999, 2001);
	/* requests are not counted against it */
	for (unsigned i = 0; i < 5000; i++) {
		struct vnet_rx rx = t_datagram(f, 7000, "nRQ1tagstags", 12);

		answer_frames(&a, now, &rx, &out, 1);
		assert_int_equal(out.len, 54);
	}
}

static void test_answer_pace_of_nought_is_never(void **state)
{
	struct pace p = { .per_s = 0 };

	for (uint64_t now = 0; now < 10 * SECOND; now += SECOND)
		assert_false(pace_allows(&p, now));
	assert_int_equal(p.limited, 10);
	p = (struct pace){ .per_s = 1 };
	assert_true(pace_allows(&p, 5 * SECOND));
	assert_false(pace_allows(&p, 5 * SECOND + SECOND / 2));
	assert_true(pace_allows(&p, 6 * SECOND));
}

static void test_peers_all_are_heard(void **state)
{
	static struct peers p;
	uint64_t now = SECOND;

	memset(&p, 0, sizeof(p));
	assert_false(peers_all_heard(&p));
	/* two take part: the first of each batch waits for the second, once both are known */
	peers_hear(&p, now, 1, 1000, true);
	assert_true(peers_all_heard(&p));
	peers_hear(&p, now, 1, 1001, true);
	assert_false(peers_all_heard(&p));
	peers_hear(&p, now, 1, 1000, false);
	assert_true(peers_all_heard(&p));
	for (unsigned i = 0; i < 100; i++) {
		now += MS;
		peers_hear(&p, now, 1, 1000, true);
		assert_false(peers_all_heard(&p));
		peers_hear(&p, now, 1, 1000, false);	/* the same one again is nobody new */
		assert_false(peers_all_heard(&p));
		peers_hear(&p, now, 1, 1001, false);
		assert_true(peers_all_heard(&p));
	}
	/* one falls silent: after two epochs nobody waits for it */
	for (unsigned i = 0; i < 25; i++)
		peers_hear(&p, now += MS, 1, 1000, true);
	assert_true(peers_all_heard(&p));
	/* after a long silence nobody is waited for */
	peers_hear(&p, now, 1, 1001, false);
	peers_hear(&p, now += 5 * SECOND, 1, 1000, true);
	assert_true(peers_all_heard(&p));
}

/* More than there are slots: they are counted more than once, which makes for waiting up to W and nothing worse. */
static void test_peers_more_than_slots(void **state)
{
	static struct peers p;

	memset(&p, 0, sizeof(p));
	for (unsigned batch = 0; batch < 3; batch++)
		for (unsigned i = 0; i < 3 * PEERS_SLOTS; i++)
			peers_hear(&p, SECOND + batch, htonl(0x0a000000 + i), 7, i == 0);
	assert_true(p.heard <= 3 * PEERS_SLOTS);
	assert_true(p.now >= PEERS_SLOTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answer_to_requests_and_to_nothing_else),
		cmocka_unit_test(test_answer_storm_of_questions_is_bounded),
		cmocka_unit_test(test_answer_pace_of_nought_is_never),
		cmocka_unit_test(test_peers_all_are_heard),
		cmocka_unit_test(test_peers_more_than_slots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
