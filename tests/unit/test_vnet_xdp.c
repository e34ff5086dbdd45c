// SPDX-License-Identifier: MIT
/*
 * vnet over an AF_XDP socket: rings that are full, frames that are not ours, the end.
 *
 * In a network namespace of its own, on one end of a veth pair, whose driver runs programs and has
 * no zero copy; the other end is a packet socket, the test's.  Rings have two slots and
 * wrap all the time.  Programs can be loaded by root only, and not by the root of a user
 * namespace.
 */
#include <arpa/inet.h>
#include <errno.h>
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

static unsigned mode, busy_us, slots = SLOTS;	/* that set_up() opens with */

static int set_up(void **state)
{
	struct vnet_opts opts = { .sz = sizeof(opts), .queue_size = slots, .arena_bytes = 4096, .xdp_mode = mode, .xdp_busy_us = busy_us };

	veth_set_up();
	assert_int_equal(vnet_open_xdp("p1", &opts, &v), 0);
	return 0;
}

static int tear_down(void **state)
{
	vnet_close(v);
	v = NULL;
	mode = busy_us = 0;
	slots = SLOTS;
	run("! ip -d link show p1 | grep xdp");	/* the program went, too */
	veth_tear_down();
	return 0;
}

/* The kernel hands over in a softirq, which a busy machine may leave to a thread. */
#define UNTIL(cond) do {						\
	int tries_;							\
									\
	for (tries_ = 0; !(cond) && tries_ < 200; tries_++)		\
		poll(NULL, 0, 10);					\
	assert_true(cond);						\
} while (0)

/* What the kernel says by itself when an interface comes up. */
static void let_go(void)
{
	struct vnet_rx rx;

	while (vnet_rx_burst(v, &rx, 1)) {
		vnet_rx_release(v, rx.id);
		vnet_rx_flush(v);
	}
}

static void full_receive_ring_loses_and_counts(void **state)
{
	struct vnet_rx rx[4 * SLOTS];
	unsigned n;

	let_go();
	for (n = 0; n < 10 * SLOTS; n++)
		from_wire(n, FRAME);
	UNTIL(vnet_rx_pending(v) == SLOTS);
	assert_int_equal(vnet_rx_room(v), 0);
	UNTIL(!vnet_check(v) && vnet_stats(v)->rx_lost >= 9 * SLOTS);
	assert_int_equal(vnet_rx_burst(v, rx, SLOTS), SLOTS);
	assert_int_equal(number_in(rx[0].data), 0);
	assert_int_equal(vnet_rx_room(v), 0);
	vnet_rx_flush(v);
	assert_int_equal(vnet_rx_room(v), SLOTS);
	for (n = 0; n < SLOTS; n++)
		vnet_rx_release(v, rx[n].id);
}

static void with_all_buffers_held_frames_are_lost_and_nothing_else(void **state)
{
	struct vnet_rx rx[2 * SLOTS], more[SLOTS];
	uint64_t lost;
	unsigned n;

	let_go();
	for (n = 0; n < 2 * SLOTS; n++) {
		from_wire(n, FRAME);
		assert_int_equal(burst(&rx[n], 1), 1);
	}
	assert_int_equal(vnet_check(v), 0);
	lost = vnet_stats(v)->rx_lost;
	from_wire(77, FRAME);
	UNTIL(!vnet_check(v) && vnet_stats(v)->rx_lost > lost);
	assert_int_equal(none(), 0);
	for (n = 0; n < 2 * SLOTS; n++)
		assert_int_equal(number_in(rx[n].data), n);
	vnet_rx_release(v, rx[1].id);
	vnet_rx_flush(v);
	from_wire(78, FRAME);
	assert_int_equal(burst(more, 1), 1);
	assert_int_equal(number_in(more[0].data), 78);
	assert_int_equal(more[0].id, rx[1].id);
	vnet_rx_release(v, more[0].id);
	for (n = 0; n < 2 * SLOTS; n++)
		if (n != 1)
			vnet_rx_release(v, rx[n].id);
}

/* 300 requests, so that all indices of rings of two go round, and those of 16 bits on them do not matter. */
static void go_to_and_fro(unsigned frames)
{
	struct vnet_rx rx;
	unsigned n;

	for (n = 0; n < frames; n++) {
		from_wire(n, FRAME);
		assert_int_equal(burst(&rx, 1), 1);
		assert_int_equal(number_in(rx.data), n);
		assert_int_equal(((uintptr_t)rx.data + 14) % 4, 0);	/* the IP header */
		vnet_rx_release(v, rx.id);
		vnet_rx_flush(v);
		assert_int_equal(copy_out(n), 0);
		vnet_tx_flush(v);
		assert_int_equal(on_wire(), n);
		vnet_tx_reap(v, NULL, NULL);
	}
}

static void best_is_copy_where_a_driver_has_no_zero_copy(void **state)
{
	assert_int_equal(vnet_xdp_mode(v), VNET_XDP_COPY);
	go_to_and_fro(300);
	assert_int_equal(vnet_stats(v)->busy_polls, 0);
}

static int set_up_long(void **state)
{
	slots = 256;
	return set_up(state);
}

/* A call takes 32, and does not tell of them before it has taken all (TX_BATCH_SIZE). */
static void one_flush_takes_more_than_one_call_does(void **state)
{
	unsigned n;

	for (n = 0; n < 150; n++)
		assert_int_equal(copy_out(n), 0);
	vnet_tx_flush(v);
	assert_int_equal(vnet_tx_queued(v), 0);
	assert_int_equal(vnet_stats(v)->doorbells_tx, 5);
	for (n = 0; n < 150; n++)
		assert_int_equal(on_wire(), n);
}

static int set_up_generic(void **state)
{
	mode = VNET_XDP_GENERIC;
	return set_up(state);
}

static void generic_is_had_when_asked_for(void **state)
{
	assert_int_equal(vnet_xdp_mode(v), VNET_XDP_GENERIC);
	run("ip -d link show p1 | grep -q xdpgeneric");
	go_to_and_fro(20);
}

static int set_up_busy(void **state)
{
	busy_us = 20;
	return set_up(state);
}

static void busy_polling_looks_by_system_calls(void **state)
{
	uint64_t before;

	go_to_and_fro(20);
	let_go();
	before = vnet_stats(v)->busy_polls;
	vnet_rx_pending(v);
	assert_int_equal(vnet_stats(v)->busy_polls, before + 1);
	from_wire(1, FRAME);
	UNTIL(vnet_rx_pending(v));
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
		((uint8_t *)rx.data)[14]++;	/* it is sent from where it lies, when it is sent */
		vnet_tx_flush(v);
		assert_int_equal(on_wire(), n + 1);
		vnet_tx_reap(v, done, &nr_done);
	}
	assert_int_equal(nr_done, 50);
	assert_int_equal(vnet_stats(v)->tx_turned, 50);
}

static void frames_for_others_are_the_kernels(void **state)
{
	struct vnet_rx rx;
	uint8_t f[FRAME], own[6], last = vnet_mac(v)[5];
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(TYPE), .sll_ifindex = (int)if_nametoindex("p1") };
	int kernel = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(TYPE)), i;
	struct timeval second = { .tv_sec = 2 };

	assert_int_equal(bind(kernel, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(setsockopt(kernel, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second)), 0);
	/* each byte of the address is looked at */
	for (i = 0; i < 6; i++) {
		memcpy(own, vnet_mac(v), 6);
		own[i] = (uint8_t)(own[i] ^ 4);
		make(f, own, 2);
		assert_int_equal(send(wire, f, FRAME, 0), FRAME);
		assert_int_equal(none(), 0);
		assert_int_equal(recv(kernel, f, sizeof(f), 0), FRAME);
	}
	assert_int_equal(vnet_mac(v)[5], last);
	/* ours and a group's are not the kernel's any more */
	from_wire(3, FRAME);
	assert_int_equal(burst(&rx, 1), 1);
	assert_int_equal(number_in(rx.data), 3);
	vnet_rx_release(v, rx.id);
	make(f, (const uint8_t[6]){ 0x33, 0x33, 0, 0, 0, 1 }, 4);
	assert_int_equal(send(wire, f, FRAME, 0), FRAME);
	assert_int_equal(burst(&rx, 1), 1);
	assert_int_equal(number_in(rx.data), 4);
	vnet_rx_release(v, rx.id);
	assert_int_equal(recv(kernel, f, sizeof(f), MSG_DONTWAIT), -1);
	close(kernel);
}

static void sleep_is_refused_while_there_is_something(void **state)
{
	struct vnet_rx rx;

	let_go();
	from_wire(1, FRAME);
	UNTIL(vnet_rx_pending(v));
	assert_int_equal(vnet_irq_arm(v), false);
	assert_int_equal(burst(&rx, 1), 1);
	vnet_rx_release(v, rx.id);
	assert_int_equal(copy_out(1), 0);
	assert_int_equal(vnet_irq_arm(v), false);
	vnet_tx_flush(v);
	assert_int_equal(on_wire(), 1);
	let_go();
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

/* Before the place of its own frame is the kernel's again: what is queued here has to wait. */
static void done_and_answer(void *cookie, void *arg)
{
	done(cookie, arg);
	assert_int_equal(copy_out(2), 0);
	vnet_tx_flush(v);
}

static void an_interface_that_goes_while_frames_wait_stops_it(void **state)
{
	const char *reason = NULL;
	struct vnet_rx rx;
	unsigned n;

	nr_done = 0;
	for (n = 0; n < SLOTS; n++) {
		from_wire(n, FRAME);
		assert_int_equal(burst(&rx, 1), 1);
		assert_int_equal(vnet_tx_turn(v, rx.id, FRAME, 0, 0, (void *)((uintptr_t)rx.id + 1)), 0);
	}
	vnet_tx_flush(v);
	for (n = 0; n < SLOTS; n++)
		on_wire();
	vnet_tx_reap(v, done_and_answer, &nr_done);
	assert_int_equal(nr_done, SLOTS);
	assert_true(vnet_tx_queued(v) > 0);
	run("ip link del p1");
	assert_int_equal(vnet_rx_burst(v, &rx, 1), 0);
	assert_int_equal(vnet_error(v, &reason), -EIO);
	assert_string_equal(reason, "AF_XDP socket on p1: cannot send: No such device or address");
	run("ip link add p0 type veth peer name p1");	/* tear_down() takes one away */
}

static void opening_is_refused_with_a_reason(void **state)
{
	struct vnet_opts opts = { .sz = sizeof(opts) };
	struct vnet *other = NULL;

	assert_int_equal(vnet_open_xdp("p7", &opts, &other), -ENODEV);
	assert_int_equal(vnet_open_xdp("lo", &opts, &other), -EPROTOTYPE);
	assert_int_equal(vnet_open_xdp("a-name-that-is-too-long", &opts, &other), -ENODEV);
	opts.nr_pairs = 2;
	assert_int_equal(vnet_open_xdp("p1", &opts, &other), -EOPNOTSUPP);
	opts.nr_pairs = 1;
	opts.xdp_mode = VNET_XDP_GENERIC + 1;
	assert_int_equal(vnet_open_xdp("p1", &opts, &other), -EINVAL);
	opts.xdp_mode = VNET_XDP_BEST;
	assert_int_equal(vnet_open_xdp("p1", &opts, &other), -EBUSY);	/* set_up() has it, and keeps it */
	vnet_close(v);
	v = NULL;
	opts.xdp_mode = VNET_XDP_ZERO_COPY;
	assert_int_equal(vnet_open_xdp("p1", &opts, &other), -EOPNOTSUPP);
	opts.xdp_mode = VNET_XDP_BEST;
	run("ip link add q0 numrxqueues 2 numtxqueues 2 type veth peer name q1 numrxqueues 2 numtxqueues 2 && ip link set q0 up && ip link set q1 up && "
	    "ethtool -L q1 rx 2 tx 2");
	assert_int_equal(vnet_open_xdp("q1", &opts, &other), -EOPNOTSUPP);
	run("ethtool -L q0 rx 1 tx 1 && ethtool -L q1 rx 1 tx 1");
	assert_int_equal(vnet_open_xdp("q1", &opts, &other), 0);
	vnet_close(other);
	other = NULL;
	run("ip link del q0 && ip link set p1 mtu 1773");
	assert_int_equal(vnet_open_xdp("p1", &opts, &other), -EMSGSIZE);
	run("ip link set p1 mtu 1500");
	opts.queue_size = 3;
	assert_int_equal(vnet_open_xdp("p1", &opts, &other), -EINVAL);
	run("ip link set p1 down");
	assert_int_equal(vnet_open_xdp("p1", NULL, &other), -ENETDOWN);
	assert_null(other);
}

/* A namespace of our own, in which we may do what this test does; false: there is none to be had. */
static bool enter_namespace(void)
{
	struct vnet *probe = NULL;
	int err;

	if (getuid() || unshare(CLONE_NEWNET))
		return false;
	run("ip link add p0 type veth peer name p1 && ip link set p0 up && ip link set p1 up");
	err = vnet_open_xdp("p1", NULL, &probe);
	vnet_close(probe);
	run("ip link del p0");
	return err != -EAFNOSUPPORT && err != -EPERM;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(full_transmit_ring_is_told_and_goes_on),
		TEST(nothing_is_sent_that_makes_no_sense),
		TEST(what_filled_the_ring_while_it_was_down_leaves_later),
		TEST(full_receive_ring_loses_and_counts),
		TEST(with_all_buffers_held_frames_are_lost_and_nothing_else),
		cmocka_unit_test_setup_teardown(one_flush_takes_more_than_one_call_does, set_up_long, tear_down),
		TEST(best_is_copy_where_a_driver_has_no_zero_copy),
		cmocka_unit_test_setup_teardown(generic_is_had_when_asked_for, set_up_generic, tear_down),
		cmocka_unit_test_setup_teardown(busy_polling_looks_by_system_calls, set_up_busy, tear_down),
		TEST(frames_are_turned_and_their_cookies_come_back),
		TEST(frames_for_others_are_the_kernels),
		TEST(sleep_is_refused_while_there_is_something),
		TEST(an_mtu_that_shrank_stops_it_with_a_reason),
		TEST(after_a_stop_nothing_moves_and_cookies_come_back),
		TEST(an_interface_that_goes_while_frames_wait_stops_it),
		TEST(opening_is_refused_with_a_reason),
	};

	if (!enter_namespace()) {
		printf("1..0 # SKIP no AF_XDP here: it needs root, a network namespace, CONFIG_XDP_SOCKETS and CONFIG_BPF_SYSCALL\n");
		return 4;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
