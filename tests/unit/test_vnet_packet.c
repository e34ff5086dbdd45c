// SPDX-License-Identifier: MIT
/*
 * vnet over a packet socket: rings that are full, frames that are none, the end.
 *
 * In a network namespace of its own, on one end of a veth pair; the other end is
 * another packet socket, the test's.  Rings have two slots and wrap all the time.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <cmocka.h>

#include "veth_rig.h"

static int set_up(void **state)
{
	struct vnet_opts opts = { .sz = sizeof(opts), .queue_size = SLOTS, .arena_bytes = 4096 };

	veth_set_up();
	assert_int_equal(vnet_open_packet("p1", &opts, &v), 0);
	return 0;
}

static int tear_down(void **state)
{
	vnet_close(v);
	v = NULL;
	veth_tear_down();
	return 0;
}

static void full_receive_ring_loses_and_counts(void **state)
{
	struct vnet_rx rx[4 * SLOTS];
	unsigned n;

	while (vnet_rx_burst(v, rx, 1))
		vnet_rx_release(v, rx[0].id);
	for (n = 0; n < 10 * SLOTS; n++)
		from_wire(n, FRAME);
	assert_int_equal(vnet_rx_pending(v), SLOTS);
	assert_int_equal(vnet_rx_room(v), 0);
	assert_int_equal(vnet_check(v), 0);
	assert_true(vnet_stats(v)->rx_lost >= 9 * SLOTS);
	assert_int_equal(burst(rx, SLOTS), SLOTS);
	assert_int_equal(number_in(rx[0].data), 0);
	assert_int_equal(vnet_rx_room(v), SLOTS);
	for (n = 0; n < SLOTS; n++)
		vnet_rx_release(v, rx[n].id);
}

static void held_buffers_keep_frames_waiting_and_nothing_else(void **state)
{
	struct vnet_rx rx[2 * SLOTS], more[SLOTS];
	unsigned n;

	for (n = 0; n < 2 * SLOTS; n++) {
		from_wire(n, FRAME);
		assert_int_equal(burst(&rx[n], 1), 1);
	}
	from_wire(77, FRAME);
	assert_int_equal(burst(more, 1), 0);
	assert_true(vnet_rx_pending(v) >= 1);
	for (n = 0; n < 2 * SLOTS; n++)
		assert_int_equal(number_in(rx[n].data), n);
	vnet_rx_release(v, rx[1].id);
	assert_int_equal(burst(more, 1), 1);
	assert_int_equal(number_in(more[0].data), 77);
	vnet_rx_release(v, more[0].id);
	for (n = 0; n < 2 * SLOTS; n++)
		if (n != 1)
			vnet_rx_release(v, rx[n].id);
}

static unsigned nr_done;

static void done(void *cookie, void *arg)
{
	assert_ptr_equal(arg, &nr_done);
	vnet_rx_release(v, (uint16_t)((uintptr_t)cookie - 1));
	nr_done++;
}

static void frames_are_turned_and_their_cookies_come_back(void **state)
{
	struct vnet_rx rx;
	unsigned n;

	nr_done = 0;
	for (n = 0; n < 50; n++) {
		from_wire(n, FRAME);
		assert_int_equal(burst(&rx, 1), 1);
		assert_int_equal(vnet_tx_turn(v, rx.id, FRAME, 0, 0, (void *)((uintptr_t)rx.id + 1)), 0);
		vnet_tx_flush(v);
		assert_int_equal(on_wire(), n);
		vnet_tx_reap(v, done, &nr_done);
	}
	assert_int_equal(nr_done, 50);
	assert_int_equal(vnet_stats(v)->tx_turned, 50);
}

static void long_frames_and_others_are_counted(void **state)
{
	struct vnet_rx rx;
	uint64_t bad = vnet_stats(v)->rx_bad, others = vnet_stats(v)->rx_others;
	uint8_t f[FRAME];

	run("ip link set p0 mtu 9000 && ip link set p1 mtu 9000");
	from_wire(1, 3000);
	make(f, (const uint8_t[6]){ 2, 9, 9, 9, 9, 9 }, 2);
	assert_int_equal(burst(&rx, 1), 0);
	assert_int_equal(send(wire, f, FRAME, 0), FRAME);
	assert_int_equal(burst(&rx, 1), 0);
	from_wire(3, FRAME);
	assert_int_equal(burst(&rx, 1), 1);
	assert_int_equal(number_in(rx.data), 3);
	assert_int_equal(vnet_stats(v)->rx_bad, bad + 1);
	assert_true(vnet_stats(v)->rx_others >= others + 1);
	vnet_rx_release(v, rx.id);
}

static void sleep_is_refused_while_there_is_something(void **state)
{
	struct vnet_rx rx;

	while (vnet_rx_burst(v, &rx, 1))
		vnet_rx_release(v, rx.id);
	from_wire(1, FRAME);
	assert_int_equal(vnet_irq_arm(v), false);
	assert_int_equal(burst(&rx, 1), 1);
	vnet_rx_release(v, rx.id);
	assert_int_equal(copy_out(1), 0);
	assert_int_equal(vnet_irq_arm(v), false);
	vnet_tx_flush(v);
	assert_int_equal(on_wire(), 1);
	while (vnet_rx_burst(v, &rx, 1))
		vnet_rx_release(v, rx.id);
	assert_int_equal(vnet_irq_arm(v), true);
	vnet_irq_disarm(v);
}

static void an_mtu_that_shrank_stops_it_with_a_reason(void **state)
{
	const char *reason = NULL;

	run("ip link set p1 mtu 1000");
	assert_int_equal(vnet_check(v), -EIO);
	assert_int_equal(vnet_error(v, &reason), -EIO);
	assert_string_equal(reason, "device lost: Message too long");
	assert_int_equal(copy_out(1), -EIO);
}

static void after_a_stop_nothing_moves_and_cookies_come_back(void **state)
{
	struct vnet_rx rx, other;

	nr_done = 0;
	from_wire(1, FRAME);
	assert_int_equal(burst(&rx, 1), 1);
	assert_int_equal(vnet_tx_turn(v, rx.id, FRAME, 0, 0, (void *)((uintptr_t)rx.id + 1)), 0);
	vnet_stop(v);
	assert_int_equal(vnet_rx_pending(v), 0);
	assert_int_equal(vnet_rx_room(v), 0);
	assert_int_equal(vnet_rx_burst(v, &other, 1), 0);
	assert_int_equal(copy_out(1), -EIO);
	vnet_tx_flush(v);
	vnet_rx_flush(v);
	assert_int_equal(vnet_irq_arm(v), false);
	vnet_irq_disarm(v);
	assert_int_equal(vnet_restart(v, done, &nr_done), -EOPNOTSUPP);
	assert_int_equal(nr_done, 1);
	assert_int_equal(vnet_error(v, NULL), -ESHUTDOWN);
}

static void opening_is_refused_with_a_reason(void **state)
{
	struct vnet_opts opts = { .sz = sizeof(opts) };
	struct vnet *other = NULL;

	assert_int_equal(vnet_open_packet("p7", &opts, &other), -ENODEV);
	assert_int_equal(vnet_open_packet("lo", &opts, &other), -EPROTOTYPE);
	assert_int_equal(vnet_open_packet("a-name-that-is-too-long", &opts, &other), -ENODEV);
	opts.nr_pairs = 2;
	assert_int_equal(vnet_open_packet("p1", &opts, &other), -EOPNOTSUPP);
	opts.nr_pairs = 1;
	opts.queue_size = 3;
	assert_int_equal(vnet_open_packet("p1", &opts, &other), -EINVAL);
	run("ip link set p1 down");
	assert_int_equal(vnet_open_packet("p1", NULL, &other), -ENETDOWN);
	assert_null(other);
}

/* A namespace of our own, in which we may do what this test does; false: there is none to be had. */
static bool enter_namespace(void)
{
	char map[64];
	int uid = (int)getuid(), fd;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return false;
	fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
	snprintf(map, sizeof(map), "0 %d 1", uid);
	if (fd < 0 || write(fd, map, strlen(map)) != (ssize_t)strlen(map))
		return false;
	close(fd);
	return true;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(full_transmit_ring_is_told_and_goes_on),
		TEST(nothing_is_sent_that_makes_no_sense),
		TEST(what_filled_the_ring_while_it_was_down_leaves_later),
		TEST(full_receive_ring_loses_and_counts),
		TEST(held_buffers_keep_frames_waiting_and_nothing_else),
		TEST(frames_are_turned_and_their_cookies_come_back),
		TEST(long_frames_and_others_are_counted),
		TEST(sleep_is_refused_while_there_is_something),
		TEST(an_mtu_that_shrank_stops_it_with_a_reason),
		TEST(after_a_stop_nothing_moves_and_cookies_come_back),
		TEST(opening_is_refused_with_a_reason),
	};

	if (!enter_namespace()) {
		printf("1..0 # SKIP no network namespace on this machine\n");
		return 4;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
