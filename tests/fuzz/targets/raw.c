// SPDX-License-Identifier: MIT
/*
 * raw.c - libFuzzer target: Ethernet frames into the raw tier's reader and nomudp's answers
 *
 * An input is a byte of options and frames: a byte of flags, a length, the bytes.
 * Each frame ends where its memory does, so that a byte read or written behind it is
 * found: answers are no longer than their questions.
 *
 * What must hold besides memory safety: an answer goes back where its question came
 * from, to one station; it is no longer than a datagram may be; its sums are right;
 * and it is no question that we would answer.
 */
#include "device.h"

#include <nomstack/frame.h>
#include <nomstack/raw.h>

#include "../../../apps/nomudp/src/answer.h"
#include "../../../apps/nomudp/src/peers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FRAMES_MAX 64
#define OPT_OFFLOAD 1

#define F_SUMS 0x10	/* put sums right */
#define F_TO_US 0x20	/* and the destination */
#define F_CSUM_OK 0x40	/* the device vouches for it */

void fuzz_fail(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

static unsigned sum(const uint8_t *p, unsigned len, unsigned s)
{
	for (unsigned i = 0; i < len; i++)
		s += i & 1 ? p[i] : (unsigned)p[i] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return s;
}

static void store(uint8_t *p, unsigned s)
{
	p[0] = (uint8_t)(~s >> 8);
	p[1] = (uint8_t)~s;
}

/* IPv4 without options, as far as its lengths are sane. */
static void fix_sums(uint8_t *f, unsigned len)
{
	unsigned bytes, at;

	if (len < 34 || f[12] != 8 || f[13] || f[14] != 0x45)
		return;
	f[24] = f[25] = 0;
	store(f + 24, sum(f + 14, 20, 0));
	bytes = ((unsigned)f[16] << 8 | f[17]) - 20;
	at = f[23] == 17 ? 40 : 36;
	if (bytes > len - 34 || bytes < 8)
		return;
	f[at] = f[at + 1] = 0;
	store(f + at, sum(f + 34, bytes, f[23] == 17 ? sum(f + 26, 8, 17 + bytes) : 0));
}

static void check_answer(const uint8_t *asked, const uint8_t *f, const struct nomstack_raw_answer *a, const struct answerer *who)
{
	FUZZ_ASSERT(a->len >= 42 && a->len <= 1514);
	FUZZ_ASSERT(!(f[0] & 1) && !memcmp(f + 6, who->self.mac, 6));
	if (f[13] == 6) {
		FUZZ_ASSERT(f[21] == 2 && !memcmp(f + 32, asked + 22, 10) && !memcmp(f, asked + 22, 6));
		return;
	}
	FUZZ_ASSERT(!memcmp(f, asked + 6, 6) && !memcmp(f + 26, asked + 30, 4) && !memcmp(f + 30, asked + 26, 4));
	FUZZ_ASSERT(sum(f + 14, 20, 0) == 0xffff);
	FUZZ_ASSERT(((unsigned)f[16] << 8 | f[17]) == a->len - 14);
	if (f[23] == 1) {
		FUZZ_ASSERT(f[34] == 0 && sum(f + 34, a->len - 34, 0) == 0xffff && !a->csum_start);
		return;
	}
	FUZZ_ASSERT(f[23] == 17 && !memcmp(f + 34, asked + 36, 2) && !memcmp(f + 36, asked + 34, 2));
	if (a->csum_start)
		FUZZ_ASSERT(who->offload && a->csum_start == 34 && a->csum_offset == 6);
	else
		FUZZ_ASSERT(sum(f + 34, a->len - 34, sum(f + 26, 8, 17 + a->len - 34)) == 0xffff && (f[40] | f[41]));
}

/* The answer, sent back to us with its addresses turned once more: nothing to be answered. */
static void check_no_loop(struct answerer *a, uint8_t *f, const struct nomstack_raw_answer *answer)
{
	struct vnet_rx rx = { .data = f, .len = answer->len, .flags = VNET_RX_CSUM_OK };
	struct nomstack_raw_answer again;
	uint8_t swap[6];

	memcpy(swap, f, 6);
	memcpy(f, f + 6, 6);
	memcpy(f + 6, swap, 6);
	memcpy(swap, f + 26, 4);
	memcpy(f + 26, f + 30, 4);
	memcpy(f + 30, swap, 4);
	f[36] = 7000 >> 8;
	f[37] = 7000 & 255;
	answer_frames(a, 0, &rx, &again, 1);
	FUZZ_ASSERT(!again.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t mac[6] = { 0x52, 0x54, 0, 0, 0, 2 };
	static struct peers peers;
	struct input in = { data, size };
	struct answerer a = { .port = 7000, .arp.per_s = 1000, .icmp.per_s = 1000 };
	uint64_t now = 1000000000, heard = 0;

	a.offload = take8(&in) & OPT_OFFLOAD;
	FUZZ_ASSERT(!nomstack_frame_self(&a.self, mac, "10.0.0.2/24"));
	memset(&peers, 0, sizeof(peers));
	for (unsigned n = 0; in.left && n < FRAMES_MAX; n++) {
		uint8_t *own, asked[VNET_FRAME_MAX_BYTES], flags = take8(&in);
		unsigned len = take16(&in) % (VNET_FRAME_MAX_BYTES + 1);
		struct nomstack_raw_answer out = { 99999, 99, 99 };
		struct vnet_rx rx = { .flags = flags & F_CSUM_OK ? VNET_RX_CSUM_OK : 0 };

		if (len > in.left)
			len = (unsigned)in.left;
		own = malloc(len ? len : 1);
		if (len)
			memcpy(own, in.at, len);
		in.at += len;
		in.left -= len;
		if (flags & F_TO_US && len >= 34) {
			memcpy(own, "\x52\x54\x00\x00\x00\x02\x52\x54\x00\x00\x00\x01", 12);
			if (own[12] == 8 && own[13] == 0)
				memcpy(own + 30, "\x0a\x00\x00\x02", 4);
		}
		if (flags & F_SUMS)
			fix_sums(own, len);
		memcpy(asked, own, len);
		rx.data = own;
		rx.len = len;
		now += (uint64_t)(flags & 15) * 1000000;
		answer_frames(&a, now, &rx, &out, 1);
		if (out.len) {
			FUZZ_ASSERT(out.len <= len);
			check_answer(asked, own, &out, &a);
			check_no_loop(&a, own, &out);
		}
		peers_hear(&peers, now, (uint32_t)len, flags, !(flags & 1));
		heard += peers_all_heard(&peers);
		free(own);
	}
	FUZZ_ASSERT(heard <= FRAMES_MAX);
	return 0;
}
