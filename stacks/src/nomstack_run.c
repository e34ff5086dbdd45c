// SPDX-License-Identifier: MIT
/* nomstack_run.c - answers that leave as one frame for the device to cut up: raw_run.h */
#include "raw_run.h"

#include <arpa/inet.h>
#include <errno.h>

#define IP_AT 14u
#define UDP_AT 34u
#define DATA_AT NOMSTACK_FRAME_UDP_AT
#define LAST UINT16_MAX		/* no buffer: the driver has 32768 at most */

/* In a buffer's private area: the next one of the same frame. */
struct link {
	uint16_t next;
};

static inline uint16_t load16(const uint8_t *p)
{
	uint16_t x;

	memcpy(&x, p, sizeof(x));
	return x;
}

static inline void store16(uint8_t *p, uint16_t x)
{
	memcpy(p, &x, sizeof(x));
}

/* 16-bit words from @p on, added up; @bytes is even. */
static uint32_t words(const uint8_t *p, unsigned bytes, uint32_t sum)
{
	for (unsigned i = 0; i < bytes; i += 2)
		sum += load16(p + i);
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)(sum + (sum >> 16));
}

/* A datagram of IPv4 without options, no fragment, whole, its sum left to the device. */
static bool is_datagram(const uint8_t *f, const struct nomstack_raw_answer *a)
{
	return a->csum_start == UDP_AT && a->csum_offset == 6 && a->len > DATA_AT &&
	       load16(f + 12) == htons(0x0800) && f[IP_AT] == 0x45 && f[IP_AT + 9] == 17 &&
	       !(load16(f + IP_AT + 6) & htons(0x3fff)) && load16(f + IP_AT + 2) == htons((uint16_t)(a->len - IP_AT)) &&
	       load16(f + UDP_AT + 4) == htons((uint16_t)(a->len - UDP_AT));
}

/* Headers that differ in lengths and sums only: to the type of service, fragment to protocol, addresses and ports. */
static bool same_way(const uint8_t *f, const uint8_t *g)
{
	return !memcmp(f, g, IP_AT + 2) && !memcmp(f + IP_AT + 6, g + IP_AT + 6, 4) && !memcmp(f + IP_AT + 12, g + IP_AT + 12, 12);
}

unsigned raw_run_length(const struct vnet_rx *rx, const struct nomstack_raw_answer *a, unsigned nr)
{
	const uint32_t each = a->len - DATA_AT;
	const unsigned room = each <= RAW_RUN_COPY_BYTES ? VNET_FRAME_MAX_BYTES : VNET_TSO_MAX_BYTES;
	const uint8_t *f = rx->data;
	unsigned n, most;

	if (!is_datagram(f, a))
		return 1;
	most = (room - DATA_AT) / each;
	if (most > nr)
		most = nr;
	for (n = 1; n < most; n++) {
		if (a[n].len > a->len || !is_datagram(rx[n].data, &a[n]) || !same_way(f, rx[n].data))
			break;
		if (a[n].len < a->len)
			return n + 1;	/* the last */
	}
	return n;
}

/* Lengths and pseudo header of the whole, from which the device makes each one's. */
static void set_lengths(uint8_t *f, uint32_t bytes)
{
	store16(f + IP_AT + 2, htons((uint16_t)(bytes - IP_AT)));
	store16(f + IP_AT + 10, 0);
	store16(f + IP_AT + 10, (uint16_t)~fold(words(f + IP_AT, 20, 0)));
	store16(f + UDP_AT + 4, htons((uint16_t)(bytes - UDP_AT)));
	store16(f + UDP_AT + 6, fold(words(f + IP_AT + 12, 8, htons(17) + (uint32_t)htons((uint16_t)(bytes - UDP_AT)))));
}

void raw_run_make(struct raw_run *run, struct vnet *v, const struct vnet_rx *rx, const struct nomstack_raw_answer *a, unsigned nr)
{
	const uint32_t each = a->len - DATA_AT;
	const bool copy = each <= RAW_RUN_COPY_BYTES;
	struct link *link = vnet_rx_priv(v, rx->id);
	uint32_t bytes = a->len;
	uint8_t *f = rx->data;

	for (unsigned i = 1; i < nr; i++) {
		const uint32_t n = a[i].len - DATA_AT;

		if (copy) {
			memcpy(f + bytes, (const uint8_t *)rx[i].data + DATA_AT, n);
			vnet_rx_release(v, rx[i].id);
		} else {
			run->part[i] = (struct vnet_turn){ rx[i].id, DATA_AT, n };
			link->next = rx[i].id;
			link = vnet_rx_priv(v, rx[i].id);
		}
		bytes += n;
	}
	link->next = LAST;
	run->part[0] = (struct vnet_turn){ rx->id, 0, copy ? bytes : a->len };
	run->held = copy ? 1 : nr;
	run->each = (uint16_t)each;
	set_lengths(f, bytes);
}

int raw_run_send(const struct raw_run *run, struct vnet *v)
{
	return vnet_tx_turn_cut(v, run->part, run->held, UDP_AT, 6, run->each, DATA_AT,
				(void *)(RAW_RUN_COOKIE | run->part[0].id));
}

unsigned raw_run_release(struct vnet *v, uint16_t first)
{
	unsigned n = 0;

	for (uint16_t next; first != LAST; first = next, n++) {
		next = ((const struct link *)vnet_rx_priv(v, first))->next;
		vnet_rx_release(v, first);
	}
	return n;
}
