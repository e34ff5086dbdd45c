// SPDX-License-Identifier: MIT
/*
 * nom-load's open loop with a clock and a server that only the test turns: a
 * stall must appear in the percentiles however few connections there are, and
 * every request that was due must be in one of the sums.
 */
#include "../../apps/nomload/src/load.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MS	1000000ULL
#define START	(5000 * MS)
#define NR_MAX	4096

static struct load l;

/* One worker, first come, first served; at stall_at it does nothing for stall_ns. */
static struct {
	uint64_t service_ns, stall_at, stall_ns, busy_until;
	unsigned queue[NR_MAX], head, nr;
	bool good, silent;
} server;

static int fresh(void **state)
{
	memset(&server, 0, sizeof(server));
	server.good = true;
	return 0;
}

static int done(void **state)
{
	load_destroy(&l);
	return 0;
}

static void begin(unsigned links, unsigned depth, uint64_t warm_ms, uint64_t run_ms, double rate)
{
	struct load_plan plan = {
		.links = links, .depth = depth, .warm_ns = warm_ms * MS, .run_ns = run_ms * MS, .drain_ns = 200 * MS, .late_ns = MS / 10,
	};

	assert_int_equal(load_create(&l, &plan, false, rate, 1), 0);
	for (unsigned i = 0; i < links; i++)
		load_up(&l, i, 0);
	load_start(&l, START);
}

static void server_take(unsigned link, uint64_t now)
{
	if (!server.nr)
		server.busy_until = now + server.service_ns;
	server.queue[(server.head + server.nr++) % NR_MAX] = link;
	assert_true(server.nr <= NR_MAX);
}

/* When the server's next answer leaves; the stall moves what would end in it. */
static uint64_t server_next(void)
{
	uint64_t at = server.busy_until;

	if (!server.nr || server.silent)
		return UINT64_MAX;
	if (server.stall_ns && at >= START + server.stall_at && at < START + server.stall_at + server.stall_ns)
		at = START + server.stall_at + server.stall_ns;
	return at;
}

static void server_answer(uint64_t now)
{
	unsigned link = server.queue[server.head];

	server.head = (server.head + 1) % NR_MAX;
	server.nr--;
	server.busy_until = now + server.service_ns;
	load_answer(&l, link, now, server.good, 100);
}

/* Returns when it was over, from the start. */
static uint64_t run(void)
{
	uint64_t now = START;
	unsigned link;

	while (!load_over(&l, now)) {
		uint64_t wake, next;

		while (load_next(&l, now, &link))
			server_take(link, now);
		wake = load_wake_ns(&l);
		next = server_next();
		assert_true(wake >= now && next >= now);
		now = next < wake ? next : wake;
		if (now == next)
			server_answer(now);
	}
	load_finish(&l, now);
	assert_int_equal(l.due, l.sent + l.unsent);
	assert_int_equal(l.sent, l.answers + l.bad_status + l.lost + l.unanswered);
	assert_int_equal(l.hist.nr, l.due - l.lost - l.bad_status);
	return now - START;
}

static void test_idle_server(void **state)
{
	server.service_ns = MS / 5;
	begin(4, 1, 0, 1000, 1000);
	assert_int_equal(run(), 1000 * MS);	/* nothing left to drain */
	assert_int_equal(l.due, 1000);
	assert_int_equal(l.answers, 1000);
	assert_int_equal(l.answers_in_time, 1000);
	assert_int_equal(l.waited, 0);
	assert_int_equal(l.late, 0);
	assert_int_equal(l.hist.max_ns, MS / 5);
	assert_int_equal(l.hist.min_ns, MS / 5);
}

/* 100 of 1000 requests are due while the server stalls; a closed loop on 2 connections would have sent 2. */
static void test_stall_is_seen(void **state)
{
	server.service_ns = MS / 5;
	server.stall_at = 500 * MS;
	server.stall_ns = 100 * MS;
	begin(2, 1, 0, 1000, 1000);
	run();
	assert_int_equal(l.answers, 1000);
	assert_true(l.hist.max_ns >= 99 * MS && l.hist.max_ns <= 101 * MS);
	assert_in_range(hist_quantile(&l.hist, 0.99), 88 * MS, 95 * MS);
	assert_in_range(hist_quantile(&l.hist, 0.95), 50 * MS, 62 * MS);
	assert_in_range(hist_quantile(&l.hist, 0.5), MS / 5, MS / 4);
	assert_true(l.waited >= 100);
	assert_int_equal(l.late, 0);	/* the server's fault, not the generator's */
}

static void test_overload(void **state)
{
	server.service_ns = MS;		/* 1000 a second */
	begin(8, 1, 0, 1000, 2000);
	run();
	assert_int_equal(l.due, 2000);
	assert_in_range(l.answers_in_time, 998, 1001);
	assert_in_range(l.unsent, 780, 800);	/* 200 ms to drain */
	assert_true(l.hist.max_ns >= 590 * MS);
	assert_in_range(hist_quantile(&l.hist, 0.5), 300 * MS, 420 * MS);
}

static void test_warm_up_is_forgotten(void **state)
{
	server.service_ns = MS / 5;
	server.stall_at = 50 * MS;
	server.stall_ns = 40 * MS;
	begin(4, 1, 200, 300, 1000);
	run();
	assert_int_equal(l.due, 300);
	assert_int_equal(l.answers, 300);
	assert_int_equal(l.hist.max_ns, MS / 5);
}

static void test_silent_server(void **state)
{
	server.silent = true;
	begin(3, 2, 0, 100, 1000);
	run();
	assert_int_equal(l.due, 100);
	assert_int_equal(l.sent, 6);
	assert_int_equal(l.unanswered, 6);
	assert_int_equal(l.hist.min_ns, 300 * MS - 99 * MS);
	assert_int_equal(l.hist.max_ns, 300 * MS);
}

/* A second request goes to another connection while one is free. */
static void test_depth_spreads_first(void **state)
{
	unsigned link[4];

	begin(2, 2, 0, 100, 1000);
	for (int i = 0; i < 4; i++)
		assert_true(load_next(&l, START + 50 * MS, &link[i]));
	assert_false(load_next(&l, START + 50 * MS, link));
	assert_int_not_equal(link[0], link[1]);
	assert_int_not_equal(link[2], link[3]);
}

static void test_bad_status(void **state)
{
	server.good = false;
	server.service_ns = MS / 5;
	begin(2, 1, 0, 100, 1000);
	run();
	assert_int_equal(l.bad_status, 100);
	assert_int_equal(l.answers, 0);
}

static void test_broken_connection(void **state)
{
	unsigned link, other;

	begin(2, 1, 0, 10, 1000);
	assert_true(load_next(&l, START, &link));
	load_down(&l, link);
	assert_int_equal(l.lost, 1);
	assert_true(load_next(&l, START + MS, &other));
	assert_int_not_equal(link, other);
	assert_false(load_next(&l, START + 2 * MS, &other));
	load_up(&l, link, START + 3 * MS);
	assert_true(load_next(&l, START + 3 * MS, &other));
	assert_int_equal(link, other);
	load_answer(&l, link, START + 4 * MS, true, 1);
	assert_int_equal(l.hist.max_ns, 2 * MS);	/* due at 2 ms, no connection before 3 ms */
	assert_int_equal(l.waited, 1);
}

/* With a connection free, sending late is the generator's own fault. */
static void test_late_generator(void **state)
{
	unsigned link;

	begin(1, 1, 0, 10, 1000);
	assert_true(load_next(&l, START + 3 * MS, &link));
	assert_int_equal(l.late, 1);
	assert_int_equal(l.late_max_ns, 3 * MS);
	assert_int_equal(l.waited, 0);
	load_answer(&l, link, START + 8 * MS, true, 1);
	assert_int_equal(l.hist.max_ns, 8 * MS);	/* and in the latency all the same */
}

static void test_refused_plans(void **state)
{
	struct load_plan plan = { .links = 1, .depth = 1, .run_ns = 1 };

	for (int i = 0; i < 4; i++) {
		struct load_plan bad = plan;

		if (i == 0)
			bad.links = 0;
		else if (i == 1)
			bad.depth = 0;
		else if (i == 2)
			bad.depth = LOAD_DEPTH_MAX + 1;
		else
			bad.run_ns = 0;
		assert_int_equal(load_create(&l, &bad, false, 1, 1), -EINVAL);
	}
	assert_int_equal(load_create(&l, &plan, false, 0, 1), -EINVAL);
	assert_int_equal(load_create(&l, &plan, false, -1, 1), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_idle_server, fresh, done),
		cmocka_unit_test_setup_teardown(test_stall_is_seen, fresh, done),
		cmocka_unit_test_setup_teardown(test_overload, fresh, done),
		cmocka_unit_test_setup_teardown(test_warm_up_is_forgotten, fresh, done),
		cmocka_unit_test_setup_teardown(test_silent_server, fresh, done),
		cmocka_unit_test_setup_teardown(test_depth_spreads_first, fresh, done),
		cmocka_unit_test_setup_teardown(test_bad_status, fresh, done),
		cmocka_unit_test_setup_teardown(test_broken_connection, fresh, done),
		cmocka_unit_test_setup_teardown(test_late_generator, fresh, done),
		cmocka_unit_test(test_refused_plans),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
