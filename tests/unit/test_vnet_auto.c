// SPDX-License-Identifier: MIT
/*
 * Automatic mode under a clock of the test's: a loop as applications have it,
 * against the back-end, and frames that arrive at times that are known.
 *
 * A turn takes TURN_NS, a frame FRAME_NS more, to fall asleep and be woken
 * WAKE_NS.  While the loop sleeps the clock goes on to the next arrival, and the
 * interrupt must be there then: one that is not is a wake-up that was lost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "nomdrv/vnet.h"
#include "../../userdrivers/vhostbe/vhostbe.h"

#define TURN_NS		200
#define FRAME_NS	1000
#define WAKE_NS		5000
#define MS		1000000ULL
#define TIMER_NS	(100 * MS)	/* the longest sleep */

static uint64_t extra;

/* The world: the loop's account of time, and what is to arrive. */
struct world {
	struct vhostbe *be;
	struct vnet *v;
	char path[64];
	uint64_t now, awake, next;
	uint64_t (*gap)(struct world *w);	/* from one arrival to the next */
	uint64_t param;
	unsigned int sent, got;
	uint64_t lateness;	/* of all frames: arrival to receipt */
	uint64_t due[64];
};

static void t_step(void *arg)
{
	vhostbe_step(((struct world *)arg)->be);
}

static void t_open(struct world *w)
{
	struct vnet_opts o = { .sz = sizeof(o), .arena_bytes = 8192, .wait = t_step, .wait_arg = w };
	struct vhostbe_opts b = { .sz = sizeof(b), .features_on = extra };

	*w = (struct world){ .now = 1 };
	snprintf(w->path, sizeof(w->path), "/tmp/test_vnet_auto.%d", (int)getpid());
	assert_int_equal(vhostbe_create(w->path, &b, &w->be), 0);
	assert_int_equal(vnet_open_vhost_user(w->path, &o, &w->v), 0);
}

static void t_close(struct world *w)
{
	assert_int_equal(vnet_error(w->v, NULL), 0);
	vnet_close(w->v);
	vhostbe_destroy(w->be);
}

/* Everything that is due by now arrives. */
static void t_arrive(struct world *w)
{
	static const uint8_t frame[64];

	while (w->next <= w->now) {
		assert_int_equal(vhostbe_inject(w->be, frame, sizeof(frame), NULL), 0);
		w->due[w->sent++ % 64] = w->next;
		w->next += w->gap(w);
	}
}

static void t_spend(struct world *w, uint64_t ns)
{
	w->now += ns;
	w->awake += ns;
	t_arrive(w);
}

static void t_turn(struct world *w)
{
	struct vnet_rx rx[32];
	unsigned int n = vnet_rx_burst(w->v, rx, 32), i;

	for (i = 0; i < n; i++) {
		w->lateness += w->now - w->due[w->got++ % 64];
		vnet_rx_release(w->v, rx[i].id);
	}
	vnet_rx_flush(w->v);
	t_spend(w, TURN_NS + n * FRAME_NS);
}

static bool t_interrupted(const struct world *w)
{
	struct pollfd pfd = { .fd = vnet_irq_fd(w->v), .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}

static void t_sleep(struct world *w)
{
	uint64_t timer = w->now + TIMER_NS;

	if (vnet_irq_arm(w->v)) {
		w->now = w->next < timer ? w->next : timer;
		t_arrive(w);
		assert_int_equal(t_interrupted(w), w->now < timer);
		t_spend(w, WAKE_NS);
	}
	vnet_irq_disarm(w->v);
	vnet_auto_woke(w->v, w->now);
}

static void t_run(struct world *w, uint64_t ns)
{
	uint64_t end = w->now + ns;

	while (w->now < end) {
		t_turn(w);
		if (vnet_auto(w->v, w->now, false))
			t_sleep(w);
	}
}

/* The share of the core that was used, in thousandths, from here on. */
static unsigned int t_share(struct world *w, uint64_t ns)
{
	uint64_t awake = w->awake, from = w->now;

	t_run(w, ns);
	return (unsigned int)((w->awake - awake) * 1000 / (w->now - from));
}

static uint64_t t_even(struct world *w)
{
	return w->param;
}

static uint64_t t_never(struct world *w)
{
	return UINT64_MAX / 2;
}

static void t_even_load(struct world *w, uint64_t gap)
{
	w->gap = gap ? t_even : t_never;
	w->param = gap;
	w->next = gap ? w->now + gap : UINT64_MAX / 2;
}

static void test_auto_idle_uses_next_to_nothing(void **state)
{
	const struct vnet_stats *s;
	struct world w;

	t_open(&w);
	s = vnet_stats(w.v);
	t_even_load(&w, 0);
	assert_int_equal(s->auto_spin_ns, VNET_AUTO_MAX_NS);
	assert_int_equal(t_share(&w, 10000 * MS), 0);
	/* Ten sleeps a second, each ended by the timer. */
	assert_in_range(s->auto_sleeps, 99, 101);
	assert_int_equal(s->auto_timeouts, s->auto_sleeps);
	assert_int_equal(s->auto_refused, 0);
	assert_int_equal(s->auto_spin_ns, VNET_AUTO_MIN_NS);
	assert_true(s->auto_asleep_ns > 9990 * MS);
	assert_int_equal(s->interrupts, 0);
	t_close(&w);
}

static void test_auto_polls_under_load(void **state)
{
	static const uint64_t gaps[] = { 2000, 5000, 10000, 20000, 40000 };
	unsigned int i;

	for (i = 0; i < sizeof(gaps) / sizeof(gaps[0]); i++) {
		const struct vnet_stats *s;
		uint64_t sleeps, irqs;
		unsigned int got;
		struct world w;

		t_open(&w);
		s = vnet_stats(w.v);
		t_even_load(&w, 0);	/* asleep at first, and of the opinion that polling does not pay */
		t_run(&w, 1000 * MS);
		t_even_load(&w, gaps[i]);
		t_run(&w, 1 * MS);	/* it learns from the first few */
		sleeps = s->auto_sleeps;
		irqs = s->interrupts;
		assert_in_range(sleeps, 10, 10 + 8);
		w.lateness = 0;
		got = w.got;
		assert_int_equal(t_share(&w, 100 * MS), 1000);
		assert_int_equal(s->auto_sleeps, sleeps);
		assert_int_equal(s->interrupts, irqs);
		/* Nobody waits for longer than a turn with a frame. */
		assert_true(w.lateness <= (uint64_t)(w.got - got) * (TURN_NS + FRAME_NS));
		t_close(&w);
	}
}

static void test_auto_sleeps_between_rare_frames(void **state)
{
	static const uint64_t gaps[] = { 300000, MS, 10 * MS };
	unsigned int i;

	for (i = 0; i < sizeof(gaps) / sizeof(gaps[0]); i++) {
		const struct vnet_stats *s;
		uint64_t sleeps;
		unsigned int share, got;
		struct world w;

		t_open(&w);
		s = vnet_stats(w.v);
		t_even_load(&w, gaps[i]);
		t_run(&w, 20 * gaps[i]);
		sleeps = s->auto_sleeps;
		got = w.got;
		w.lateness = 0;
		share = t_share(&w, 500 * gaps[i]);
		/* A frame costs a wake-up, itself, and two or three turns. */
		assert_true(share <= (WAKE_NS + FRAME_NS + 4 * TURN_NS) * 1000 / gaps[i] + 1);
		assert_in_range(s->auto_sleeps - sleeps, 499, 501);
		assert_in_range(w.got - got, 499, 501);
		assert_int_equal(s->auto_timeouts, 0);
		assert_true(w.lateness <= (uint64_t)(w.got - got) * (WAKE_NS + TURN_NS));
		t_close(&w);
	}
}

/* Gaps at which polling costs the most: never more than twice what the better of the two costs. */
static void test_auto_costs_at_most_twice_the_best(void **state)
{
	uint64_t gap;

	for (gap = 5000; gap < 400000; gap += gap / 7) {
		uint64_t poll = gap, sleep = WAKE_NS + FRAME_NS + 4 * TURN_NS, best, cost, awake;
		struct world w;

		t_open(&w);
		assert_int_equal(vnet_auto_set(w.v, 0, WAKE_NS), 0);	/* what a sleep costs here */
		t_even_load(&w, gap);
		t_run(&w, 100 * gap);
		awake = w.awake;
		t_run(&w, 500 * gap);
		cost = (w.awake - awake) / 500;
		best = poll < sleep ? poll : sleep;
		if (cost > 2 * best + TURN_NS)
			fail_msg("gap %llu: %llu ns a frame, at best %llu", (unsigned long long)gap,
				 (unsigned long long)cost, (unsigned long long)best);
		t_close(&w);
	}
}

/* 20 ms of load, 80 ms of none. */
static uint64_t t_bursts(struct world *w)
{
	return w->next % (100 * MS) < 20 * MS ? 5000 : 100 * MS - w->next % (100 * MS);
}

static void test_auto_follows_bursts(void **state)
{
	const struct vnet_stats *s;
	unsigned int share;
	struct world w;

	t_open(&w);
	s = vnet_stats(w.v);
	w.gap = t_bursts;
	w.next = w.now;
	t_run(&w, 1000 * MS);
	share = t_share(&w, 10000 * MS);
	assert_in_range(share, 199, 205);
	/* A few sleeps for each burst while it learns, and one long one. */
	assert_in_range(s->auto_sleeps, 110, 110 * 4);
	t_even_load(&w, 0);
	t_run(&w, MS);
	assert_int_equal(w.sent, w.got);
	t_close(&w);
}

static void test_auto_frame_that_comes_before_arming(void **state)
{
	static const uint8_t frame[64];
	const struct vnet_stats *s;
	struct world w;

	t_open(&w);
	s = vnet_stats(w.v);
	t_even_load(&w, 0);
	t_run(&w, 1000 * MS);
	assert_int_equal(s->auto_spin_ns, 0);
	while (!vnet_auto(w.v, w.now, false))
		t_turn(&w);
	assert_int_equal(vhostbe_inject(w.be, frame, sizeof(frame), NULL), 0);
	assert_false(vnet_irq_arm(w.v));
	vnet_irq_disarm(w.v);
	vnet_auto_woke(w.v, w.now);
	assert_int_equal(s->auto_refused, 1);
	assert_true(s->auto_spin_ns > 0);	/* to have polled would have paid */
	assert_false(vnet_auto(w.v, w.now, false));
	t_close(&w);
}

static void test_auto_bounds(void **state)
{
	const struct vnet_stats *s;
	unsigned int i;
	struct world w;

	t_open(&w);
	s = vnet_stats(w.v);
	assert_int_equal(vnet_auto_set(w.v, 2, 1), -EINVAL);
	assert_int_equal(s->auto_spin_ns, VNET_AUTO_MAX_NS);

	assert_int_equal(vnet_auto_set(w.v, UINT64_MAX, UINT64_MAX), 0);	/* poll only */
	t_even_load(&w, 0);
	assert_int_equal(t_share(&w, MS), 1000);
	w.now += 1000000 * MS;
	assert_false(vnet_auto(w.v, w.now, false));
	assert_int_equal(s->auto_sleeps, 0);

	assert_int_equal(vnet_auto_set(w.v, 0, 0), 0);	/* interrupts only */
	t_even_load(&w, 10000);
	t_run(&w, 1 * MS);
	assert_in_range(s->auto_sleeps, 95, 105);
	assert_int_equal(s->auto_spin_ns, 0);

	assert_int_equal(vnet_auto_set(w.v, 3000, 3000), 0);	/* no adaption */
	t_run(&w, 10 * MS);
	assert_int_equal(s->auto_spin_ns, 3000);
	t_even_load(&w, 0);
	t_run(&w, 1000 * MS);
	assert_int_equal(s->auto_spin_ns, 3000);

	/* Whoever is busy does not sleep, however long nothing comes. */
	for (i = 0; i < 1000; i++) {
		assert_false(vnet_auto(w.v, w.now, true));
		w.now += MS;
	}
	t_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_auto_idle_uses_next_to_nothing),
		cmocka_unit_test(test_auto_polls_under_load),
		cmocka_unit_test(test_auto_sleeps_between_rare_frames),
		cmocka_unit_test(test_auto_costs_at_most_twice_the_best),
		cmocka_unit_test(test_auto_follows_bursts),
		cmocka_unit_test(test_auto_frame_that_comes_before_arming),
		cmocka_unit_test(test_auto_bounds),
	};
	int failed = cmocka_run_group_tests_name("split", tests, NULL, NULL);

	extra = 1ULL << VIRTIO_F_RING_PACKED;
	return failed + cmocka_run_group_tests_name("packed", tests, NULL, NULL);
}
