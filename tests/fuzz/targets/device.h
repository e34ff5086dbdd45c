/* SPDX-License-Identifier: MIT */
/*
 * device.h - the stack on a device of memory, for libFuzzer targets
 *
 * Small and quick to make anew for each input, so that inputs do not depend on
 * each other: a heap of 512 KiB, which an input can exhaust, 64 receive buffers,
 * behind each frame poison.  Clock and randomness are the target's.
 */
#ifndef TESTS_FUZZ_DEVICE_H
#define TESTS_FUZZ_DEVICE_H

#include <nomdrv/vnet.h>
#include <nomstack/nomstack.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OUR_IP	0x0a000002u
#define PEER_IP	0x0a000001u
#define OUR_IP6	"\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02"
#define OUR_LINK_LOCAL6 "\xfe\x80\0\0\0\0\0\0\x50\x54\0\xff\xfe\0\0\x02"

/* Bytes of an input, zeroes behind its end. */
struct input {
	const uint8_t *at;
	size_t left;
};

static inline uint8_t take8(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->at++;
}

static inline uint16_t take16(struct input *in)
{
	uint16_t low = take8(in);

	return (uint16_t)(low | take8(in) << 8);
}

/* A stack that listens on TCP 80 and UDP 7; what its application does is in app.c.
 * @dhcp: it has no address yet, and asks for one
 * @ip6: "auto", or "fd00::2/64"; its addresses are ready.  NULL: no IPv6 */
struct nomstack *fuzz_open(uint64_t features, bool dhcp, const char *ip6);

/* Closes it, and aborts when anything is left: a bug as bad as a crash. */
void fuzz_close(struct nomstack *s);

/* A frame for the stack; dropped without a buffer. */
void fuzz_inject(const void *frame, unsigned len, unsigned flags);

/* One poll, @ns later. */
void fuzz_turn(struct nomstack *s, uint64_t ns);

/* How far the clock goes on for one of 16 codes, ns: from nothing to minutes. */
uint64_t fuzz_time(unsigned code);

/* Frames that the stack sent: the last one, NULL if none since last asked. */
const uint8_t *fuzz_sent(unsigned *len_out);

/* Write the sums that a frame should have: IPv4, TCP, UDP, ICMP of both versions, as far
 * as its lengths are sane. */
void fuzz_fix_sums(uint8_t *frame, unsigned len);

#define FUZZ_ASSERT(x) do { if (!(x)) fuzz_fail(#x, __FILE__, __LINE__); } while (0)
void fuzz_fail(const char *what, const char *file, int line) __attribute__((noreturn));

/* app.c */
extern const struct nomstack_tcp_ops fuzz_app;
void fuzz_app_reset(struct nomstack *s);
/* What the application does unasked: one of 16 things to one of its connections. */
void fuzz_app_act(unsigned what, unsigned which, unsigned bytes);
unsigned fuzz_app_open(void);		/* connections it has */

#endif
