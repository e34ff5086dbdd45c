// SPDX-License-Identifier: MIT
/*
 * nom-load's closed loop with a clock and a server that only the test turns:
 * each connection has as many requests under way as the depth says, sends the
 * next when all are answered, and sends nothing when the time is up.
 */
#include "../../apps/nomload/src/load.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MS	1000000ULL
#define START	(7000 * MS)
#define LINKS	8

static struct load l;
static uint64_t now;
static unsigned open_on[LINKS], order[1024], nr_order;

static void begin(unsigned links, unsigned depth, uint64_t warm_ms, uint64_t run_ms)
{
	struct load_plan plan = {
		.links = links, .depth = depth, .warm_ns = warm_ms * MS, .run_ns = run_ms * MS, .drain_ns = 50 * MS, .closed = true,
	};

	memset(open_on, 0, sizeof(open_on));
	nr_order = 0;
	now = START;
	assert_int_equal(load_create(&l, &plan, false, 0, 0), 0);
	for (unsigned i = 0; i < links; i++)
		load_up(&l, i, 0);
	load_start(&l, START);
}

/* Everything that may be sent now; how much that is. */
static unsigned send_all(void)
{
	unsigned i, nr = 0;

	while (load_next(&l, now, &i)) {
		assert_true(i < l.plan.links);
		open_on[i]++;
		assert_true(open_on[i] <= l.plan.depth);
		if (nr_order < 1024)
			order[nr_order++] = i;
		nr++;
	}
	return nr;
}

static void answer(unsigned i)
{
	open_on[i]--;
	load_answer(&l, i, now, true, 10);
}

static void test_one_connection_counts_its_round_trips(void **state)
{
	begin(1, 1, 0, 100);
	while (!load_over(&l, now)) {
		assert_int_equal(send_all(), now < START + 100 * MS);
		if (!open_on[0])
			break;
		assert_true(load_wake_ns(&l) >= now);
		now += MS;
		answer(0);
	}
	assert_true(load_over(&l, now));
	load_finish(&l, now);
	assert_int_equal(l.sent, 100);
	assert_int_equal(l.answers, 100);
	/* the last one ended as the time did: not in it */
	assert_int_equal(l.answers_in_time, 99);
	assert_int_equal(l.hist.nr, 100);
	assert_int_equal(l.hist.min_ns, MS);
	assert_int_equal(l.hist.max_ns, MS);
	assert_int_equal(l.waited + l.late + l.unsent + l.unanswered, 0);
	load_destroy(&l);
}

static void test_requests_of_one_connection_go_together(void **state)
{
	unsigned i, k;

	begin(4, 3, 0, 100);
	assert_int_equal(send_all(), 12);
	for (i = 0; i < 4; i++)
		for (k = 0; k < 3; k++)
			assert_int_equal(order[3 * i + k], i);
	now += MS;
	answer(2);
	assert_int_equal(send_all(), 0);	/* two are still open */
	answer(1);
	answer(2);
	now += MS;
	answer(2);
	nr_order = 0;
	assert_int_equal(send_all(), 3);
	assert_int_equal(order[0] + order[1] + order[2], 6);
	assert_int_equal(l.hist.nr, 4);
	assert_int_equal(l.hist.min_ns, MS);
	assert_int_equal(l.hist.max_ns, 2 * MS);
	now += 200 * MS;
	assert_int_equal(send_all(), 0);
	assert_true(load_over(&l, now));
	load_finish(&l, now);
	assert_int_equal(l.unanswered, 11);
	assert_int_equal(l.sent, l.answers + l.unanswered);
	load_destroy(&l);
}

static void test_warm_up_is_sent_and_forgotten(void **state)
{
	begin(2, 1, 10, 20);
	while (!load_over(&l, now)) {
		send_all();
		now += MS;
		for (unsigned i = 0; i < 2; i++)
			if (open_on[i])
				answer(i);
	}
	load_finish(&l, now);
	assert_int_equal(l.sent, 40);
	assert_int_equal(l.answers, 40);
	assert_int_equal(l.hist.nr, 40);
	load_destroy(&l);
}

static void test_lost_connection_sends_again_when_it_is_up(void **state)
{
	begin(2, 2, 0, 100);
	assert_int_equal(send_all(), 4);
	load_down(&l, 0);
	open_on[0] = 0;
	assert_int_equal(l.lost, 2);
	assert_int_equal(send_all(), 0);
	load_up(&l, 0, now);
	assert_int_equal(send_all(), 2);
	now += 100 * MS;
	answer(0);
	answer(0);
	answer(1);
	assert_int_equal(send_all(), 0);
	assert_false(load_over(&l, now));	/* one is under way: drained */
	assert_true(load_wake_ns(&l) > now);
	answer(1);
	assert_int_equal(send_all(), 0);
	assert_true(load_over(&l, now));
	load_finish(&l, now);
	assert_int_equal(l.sent, l.answers + l.lost);
	load_destroy(&l);
}

static void test_rate_is_of_an_open_loop_only(void **state)
{
	struct load_plan plan = { .links = 1, .depth = 1, .run_ns = MS };

	assert_int_equal(load_create(&l, &plan, false, 0, 0), -EINVAL);
	plan.closed = true;
	assert_int_equal(load_create(&l, &plan, false, 0, 0), 0);
	load_destroy(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_connection_counts_its_round_trips),
		cmocka_unit_test(test_requests_of_one_connection_go_together),
		cmocka_unit_test(test_warm_up_is_sent_and_forgotten),
		cmocka_unit_test(test_lost_connection_sends_again_when_it_is_up),
		cmocka_unit_test(test_rate_is_of_an_open_loop_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
