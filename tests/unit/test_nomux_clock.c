// SPDX-License-Identifier: MIT
/* The clock without system calls follows CLOCK_MONOTONIC; messages keep their threshold. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <nomux/clock.h>
#include <nomux/log.h>

static uint64_t monotonic(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/* How far off, at the least disturbed of several looks. */
static int64_t offset_ns(void)
{
	int64_t best = INT64_MAX, off;
	uint64_t width = UINT64_MAX, t0, t1, ns;
	int i;

	for (i = 0; i < 100; i++) {
		t0 = monotonic();
		ns = nomux_now_ns();
		t1 = monotonic();
		if (t1 - t0 >= width)
			continue;
		width = t1 - t0;
		off = (int64_t)(ns - t0);
		best = off;
	}
	return best;
}

static void test_works_before_init(void **state)
{
	int64_t off = (int64_t)(nomux_now_ns() - monotonic());

	assert_int_equal(nomux_tsc_hz(), 0);
	assert_true(llabs(off) < 100000000);
}

static void test_follows_monotonic(void **state)
{
	struct timespec nap = { .tv_nsec = 300000000 };
	int64_t before, after;

	if (nomux_clock_init()) {
		print_message("no usable time stamp counter here\n");
		skip();
	}
	assert_int_equal(nomux_clock_init(), 0);
	assert_true(nomux_tsc_hz() > 1000000);
	before = offset_ns();
	nanosleep(&nap, NULL);
	after = offset_ns();
	assert_true(llabs(before) < 1000000);
	/* 0.3 s at 100 ppm is 30 us; ten times that for a busy machine. */
	assert_true(llabs(after - before) < 300000);
}

static void test_never_backwards(void **state)
{
	uint64_t last = nomux_now_ns(), now;
	int i;

	for (i = 0; i < 1000000; i++) {
		now = nomux_now_ns();
		assert_true(now >= last);
		last = now;
	}
}

static void test_wide_products(void **state)
{
	uint64_t year_ticks;

	if (!nomux_tsc_hz())
		skip();
	year_ticks = nomux_tsc_hz() * 86400 * 365;
	assert_true(nomux_ticks_to_ns(year_ticks) / 1000000000ULL - 86400ULL * 365 + 5000 < 10000);
}

static char last_line[600];
static int nr_lines;

static void keep(int level, const char *msg, void *arg)
{
	assert_ptr_equal(arg, &nr_lines);
	nr_lines++;
	strcpy(last_line, msg);
}

static void test_log(void **state)
{
	char big[1000];

	nomux_set_log_fn(keep, &nr_lines);
	errno = 77;
	nomux_log(LOG_ERR, "part: %s, object=%d: %s", "failed", 5, "why");
	assert_int_equal(errno, 77);
	assert_string_equal(last_line, "part: failed, object=5: why");
	nomux_log(LOG_DEBUG, "not at the default threshold");
	assert_int_equal(nr_lines, 1);
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	nomux_log(LOG_ERR, "%s", big);
	assert_int_equal(strlen(last_line), 511);
	nomux_set_log_fn(NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_works_before_init),
		cmocka_unit_test(test_follows_monotonic),
		cmocka_unit_test(test_never_backwards),
		cmocka_unit_test(test_wide_products),
		cmocka_unit_test(test_log),
	};

	unsetenv("NOMUX_LOG");
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
