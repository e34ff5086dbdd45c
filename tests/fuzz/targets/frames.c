// SPDX-License-Identifier: MIT
/*
 * frames.c - libFuzzer target: Ethernet frames into the stack
 *
 * An input is a byte of options and frames: a byte of flags, a length, the bytes.
 * A frame may have its sums and its destination put right, so that what is behind
 * those checks is reached, too.
 *
 * What must hold besides memory safety: the application's callbacks come in
 * order (app.c), nothing is left when the stack is closed (fuzz_close), and it
 * answers a ping afterwards: no frame may silence it.
 */
#include "device.h"

#include <nomstack/look.h>
#include <nomstack/look_layout.h>

#include "internal.h"
#include "look.h"

#include "lwip/dhcp.h"
#include "lwip/priv/tcp_priv.h"

#include <linux/virtio_net.h>
#include <string.h>

#define FRAMES_MAX 64

#define OPT_CSUM	1	/* the device has checksum offload */
#define OPT_TSO		2	/* and segmentation */
#define OPT_LOOK	4	/* somebody looks: taps are on */
#define OPT_DHCP	8	/* the stack asks for its address */
#define OPT_IP6		16	/* it has a fixed one of IPv6 */
#define OPT_IP6_AUTO	32	/* or listens to routers */

#define F_TIME		0x0f
#define F_SUMS		0x10	/* put sums right */
#define F_TO_US		0x20	/* and the destination */
#define F_CSUM_OK	0x40	/* the device vouches for it */
#define F_HOLD		0x80	/* more comes in the same batch */

#define DHCP_AT		(14 + 20 + 8)	/* of the message, without IP options */

/* A DHCP answer is for us if transaction and hardware address are ours: nobody
 * guesses those. */
static void answer_dhcp(struct nomstack *s, uint8_t *f, unsigned len)
{
	const struct dhcp *d = netif_dhcp_data(&s->netif);

	if (!d || len < DHCP_AT + 34 || f[14] != 0x45 || f[23] != 17)
		return;
	memcpy(f + DHCP_AT + 4, &(uint32_t){ lwip_htonl(d->xid) }, 4);
	memcpy(f + DHCP_AT + 28, "\x52\x54\x00\x00\x00\x02", 6);
	memcpy(f + 30, "\xff\xff\xff\xff", 4);
}

/* An acknowledgment of 0 is one of all that was sent: nobody guesses our numbers. */
static void acknowledge(uint8_t *f, unsigned len)
{
	struct frame_tcp seen;
	struct tcp_pcb *pcb;
	uint8_t *t;

	if (!nomstack__frame_tcp(f, len, &seen))
		return;
	t = f + (seen.tcp - f);
	if (!(t[13] & TCP_ACK) || memcmp(t + 8, "\0\0\0", 4))
		return;
	pcb = nomstack__frame_pcb(&seen, true);
	if (pcb)
		memcpy(t + 8, &(uint32_t){ lwip_htonl(pcb->snd_nxt) }, 4);
}

static void ping(struct nomstack *s)
{
	static const uint8_t body[42] =
		"\x52\x54\x00\x00\x00\x02\x52\x54\x00\x00\x00\x01\x08\x00"
		"\x45\x00\x00\x1c\x00\x00\x00\x00\x40\x01\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02"
		"\x08\x00\x00\x00\x12\x34\x00\x01";
	const uint8_t *answer = NULL;
	uint8_t f[42];
	unsigned len;

	memcpy(f, body, sizeof(f));
	fuzz_fix_sums(f, sizeof(f));
	/* The ring may be full of what the peer is still to be sent, and frames be
	 * held for W: time passes. */
	for (int i = 0; i < 5 && !answer; i++) {
		fuzz_turn(s, 200000000);
		fuzz_sent(NULL);
		fuzz_inject(f, sizeof(f), 0);
		fuzz_turn(s, 0);
		fuzz_turn(s, 100000000);
		answer = fuzz_sent(&len);
	}
	FUZZ_ASSERT(answer);
}

/* What the file of nomstack_look_open() would have asked for, without the file's cost. */
static struct look taps;
static struct nomstack_lk_header taps_header;
static uint8_t taps_ring[NOMSTACK_LK_RING];
static struct rtt taps_rtt[NOMSTACK__MAX_CONNS];

static void look_on(struct nomstack *s)
{
	taps = (struct look){ .hdr = &taps_header, .ring = taps_ring, .rtt = taps_rtt, .rtt_gen = taps.rtt_gen + 1,
			      .trace_until_ns = UINT64_MAX, .rtt_until_ns = UINT64_MAX, .snap_bytes = 200 };
	taps_header.tail = taps_header.head = 0;
	s->look = &taps;
	nomstack__tap_set(s);
}

static void look_off(struct nomstack *s)
{
	static struct nomstack_lk_conn rows[NOMSTACK__LOOK_ROWS];
	static struct nomstack_lk_fact facts[NOMSTACK__LOOK_ROWS];
	uint64_t next = 0;

	do {
		nomstack__look_conns(s, next, rows, NOMSTACK__LOOK_ROWS, &next);
	} while (next != NOMSTACK_LK_END);
	for (next = 0; next != NOMSTACK_LK_END;)
		nomstack__look_facts(s, next, facts, NOMSTACK__LOOK_ROWS, &next);
	taps.trace_until_ns = taps.rtt_until_ns = 0;
	nomstack__tap_set(s);
	s->look = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned options = take8(&in);
	struct nomstack *s = fuzz_open((options & OPT_CSUM ? 1ull << VIRTIO_NET_F_CSUM : 0) |
				       (options & OPT_TSO ? 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_HOST_TSO4 | 1ull << VIRTIO_NET_F_HOST_TSO6 : 0),
				       options & OPT_DHCP, options & OPT_IP6_AUTO ? "auto" :
				       options & OPT_IP6 ? "fd00::2/64" : NULL);

	if (options & OPT_LOOK)
		look_on(s);
	for (unsigned n = 0; in.left && n < FRAMES_MAX; n++) {
		uint8_t f[VNET_FRAME_MAX_BYTES];
		unsigned flags = take8(&in), len = take16(&in) % (sizeof(f) + 1);

		if (len > in.left)
			len = (unsigned)in.left;
		if (len) {
			memcpy(f, in.at, len);
			in.at += len;
			in.left -= len;
		}
		if (flags & F_TO_US && len >= 34) {
			memcpy(f, "\x52\x54\x00\x00\x00\x02\x52\x54\x00\x00\x00\x01", 12);
			if (f[12] == 8 && f[13] == 0) {
				memcpy(f + 30, "\x0a\x00\x00\x02", 4);
				acknowledge(f, len);
			}
			if (f[12] == 0x86 && f[13] == 0xdd && len >= 54 && f[38] != 0xff) {
				memcpy(f + 38, options & OPT_IP6_AUTO ? OUR_LINK_LOCAL6 : OUR_IP6, 16);
				acknowledge(f, len);
			}
			if (options & OPT_DHCP)
				answer_dhcp(s, f, len);
		}
		if (flags & F_SUMS)
			fuzz_fix_sums(f, len);
		fuzz_inject(f, len, flags & F_CSUM_OK ? VNET_RX_CSUM_OK : 0);
		if (!(flags & F_HOLD))
			fuzz_turn(s, fuzz_time(flags & F_TIME));
	}
	fuzz_turn(s, 0);
	if (options & OPT_LOOK)
		look_off(s);
	if (!(options & OPT_DHCP))
		ping(s);
	fuzz_close(s);
	return 0;
}
