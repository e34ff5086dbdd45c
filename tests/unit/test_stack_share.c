// SPDX-License-Identifier: MIT
/*
 * Several stacks behind one address: what one of them hears about neighbours is told
 * to the application, and learnt from it.
 */
#include "bytes.h"
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
static uint8_t told[64];
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
	t_assert(nomstack_neighbour(rig.s, f, 41) == -EINVAL);
	t_assert(nomstack_neighbour(rig.s, f, 60) == -EINVAL);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_tells_of_a_neighbour_is_passed_on),
		cmocka_unit_test(what_another_heard_is_learnt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
