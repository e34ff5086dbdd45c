// SPDX-License-Identifier: MIT
/* veth_rig.c - see veth_rig.h; in a network namespace of the test's own */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <linux/if_packet.h>
#include <cmocka.h>

#include "veth_rig.h"

struct vnet *v;
int wire = -1;

void run(const char *command)
{
	if (system(command))
		fail_msg("%s", command);
}

void veth_set_up(void)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(TYPE) };
	struct timeval second = { .tv_sec = 5 };

	run("ip link add p0 type veth peer name p1 && ip link set p0 up && ip link set p1 up");
	wire = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(TYPE));
	at.sll_ifindex = (int)if_nametoindex("p0");
	assert_int_equal(bind(wire, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(setsockopt(wire, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second)), 0);
}

void veth_tear_down(void)
{
	close(wire);
	run("ip link del p0");
}

/* A frame of the experimental type with @n in it, to @to. */
void make(uint8_t *f, const uint8_t to[6], unsigned n)
{
	memset(f, 0, FRAME);
	memcpy(f, to, 6);
	f[6] = 2;
	f[12] = TYPE >> 8;
	f[13] = TYPE & 255;
	memcpy(f + 14, &n, sizeof(n));
}

unsigned number_in(const uint8_t *f)
{
	unsigned n;

	memcpy(&n, f + 14, sizeof(n));
	return n;
}

void from_wire(unsigned n, uint32_t len)
{
	uint8_t f[4000];

	make(f, vnet_mac(v), n);
	assert_int_equal(send(wire, f, len, 0), len);
}

/* Frames of the experimental type, waited for @tries times 10 ms; others (the kernel announces itself) are let go. */
static unsigned wait_for(struct vnet_rx *out, unsigned max, unsigned tries)
{
	unsigned got = 0, i, n;
	struct vnet_rx rx[SLOTS];

	while (got < max) {
		struct pollfd fd = { .fd = vnet_irq_fd(v), .events = POLLIN };

		n = vnet_rx_burst(v, rx, max - got < SLOTS ? max - got : SLOTS);
		for (i = 0; i < n; i++) {
			const uint8_t *f = rx[i].data;

			if (f[12] == TYPE >> 8 && f[13] == (TYPE & 255))
				out[got++] = rx[i];
			else
				vnet_rx_release(v, rx[i].id);
		}
		vnet_rx_flush(v);
		if (n)
			continue;
		if (!tries--)
			break;
		poll(&fd, 1, 10);
	}
	return got;
}

unsigned burst(struct vnet_rx *out, unsigned max)
{
	return wait_for(out, max, 200);
}

/* Nothing comes. */
unsigned none(void)
{
	struct vnet_rx rx;

	return wait_for(&rx, 1, 10);
}

unsigned on_wire(void)
{
	uint8_t f[2048];

	assert_int_equal(recv(wire, f, sizeof(f), 0), FRAME);
	return number_in(f);
}

int copy_out(unsigned n)
{
	static const uint8_t all[6] = { 255, 255, 255, 255, 255, 255 };
	uint8_t f[FRAME];
	struct vnet_seg seg[2] = { { f, 20 }, { f + 20, FRAME - 20 } };

	make(f, all, n);
	return vnet_tx_copy(v, seg, 2, 0, 0);
}

void full_transmit_ring_is_told_and_goes_on(void **state)
{
	unsigned n, i;

	for (n = 0; n < 100; n += SLOTS) {
		for (i = 0; i < SLOTS; i++)
			assert_int_equal(copy_out(n + i), 0);
		assert_int_equal(vnet_tx_room(v), 0);
		assert_int_equal(vnet_tx_queued(v), SLOTS);
		assert_int_equal(copy_out(1000), -EAGAIN);
		vnet_tx_flush(v);
		assert_int_equal(vnet_tx_queued(v), 0);
		for (i = 0; i < SLOTS; i++)
			assert_int_equal(on_wire(), n + i);
		vnet_tx_reap(v, NULL, NULL);
		assert_int_equal(vnet_tx_room(v), SLOTS);
	}
	assert_int_equal(vnet_stats(v)->tx_full, 100 / SLOTS);
	assert_int_equal(vnet_stats(v)->tx_packets, 100);
	assert_int_equal(vnet_stats(v)->doorbells_tx, 100 / SLOTS);
}

void nothing_is_sent_that_makes_no_sense(void **state)
{
	uint8_t f[2048] = { 0 };
	struct vnet_seg seg = { f, 13 }, none = { f, 0 };
	struct vnet_tx tx = { .seg = &seg, .nr_seg = 1 };

	assert_int_equal(vnet_tx_copy(v, &seg, 1, 0, 0), -EINVAL);
	assert_int_equal(vnet_tx_copy(v, &none, 1, 0, 0), -EINVAL);
	assert_int_equal(vnet_tx_copy(v, &seg, 0, 0, 0), -EINVAL);
	assert_int_equal(vnet_tx_copy(v, &seg, VNET_TX_SEG_MAX + 1, 0, 0), -EINVAL);
	seg.len = vnet_mtu(v) + 19;
	assert_int_equal(vnet_tx(v, &tx), -EINVAL);
	seg.len = 60;
	tx.csum_start = 34;	/* not among the features */
	assert_int_equal(vnet_tx(v, &tx), -EINVAL);
	tx.csum_start = 0;
	tx.gso_bytes = 1000;
	assert_int_equal(vnet_tx(v, &tx), -EINVAL);
	tx.gso_bytes = 0;
	tx.nr_seg = 0;
	assert_int_equal(vnet_tx(v, &tx), -EINVAL);
	assert_int_equal(vnet_tx_queued(v), 0);
	assert_int_equal(vnet_stats(v)->tx_packets, 0);
}

void what_filled_the_ring_while_it_was_down_leaves_later(void **state)
{
	unsigned n;

	run("ip link set p1 down");
	for (n = 0; n < SLOTS; n++)
		assert_int_equal(copy_out(n), 0);
	vnet_tx_flush(v);
	assert_int_equal(vnet_tx_queued(v), 0);	/* nobody is kept from sleeping */
	vnet_tx_reap(v, NULL, NULL);
	assert_int_equal(copy_out(n), -EAGAIN);
	assert_int_equal(vnet_check(v), 0);
	run("ip link set p1 up");
	assert_int_equal(vnet_check(v), 0);
	for (n = 0; n < SLOTS; n++)
		assert_int_equal(on_wire(), n);
	vnet_tx_reap(v, NULL, NULL);
	assert_int_equal(copy_out(n), 0);
	vnet_tx_flush(v);
	assert_int_equal(on_wire(), n);
}
