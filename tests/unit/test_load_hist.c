// SPDX-License-Identifier: MIT
/* nom-load's histogram and arrivals: the stated precision, and the stated rate. */
#include "../../apps/nomload/src/arrivals.h"
#include "../../apps/nomload/src/hist.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct hist h;

static int fresh(void **state)
{
	memset(&h, 0, sizeof(h));
	return 0;
}

/* Every bucket's edge falls into that bucket, and the next value into the next one. */
static void test_edges(void **state)
{
	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		memset(&h, 0, sizeof(h));
		hist_add(&h, hist_edge(i));
		assert_int_equal(h.count[i], 1);
		if (i + 1 < HIST_BUCKETS) {
			hist_add(&h, hist_edge(i) + 1);
			assert_int_equal(h.count[i + 1], 1);
		}
	}
}

static void test_precision(void **state)
{
	for (uint64_t v = 1; v < 1ULL << HIST_TOP_BITS; v += 1 + v / 97) {
		memset(&h, 0, sizeof(h));
		hist_add(&h, v);
		hist_add(&h, 1ULL << HIST_TOP_BITS);	/* so that the longest does not bound the first */
		assert_true(hist_quantile(&h, 0.5) >= v);
		assert_true((double)(hist_quantile(&h, 0.5) - v) <= (double)v / (1 << HIST_BITS));
	}
}

static void test_quantiles(void **state)
{
	for (uint64_t v = 1; v <= 100; v++)
		hist_add(&h, v);
	assert_int_equal(hist_quantile(&h, 0), 1);
	assert_int_equal(hist_quantile(&h, 0.5), 50);
	assert_int_equal(hist_quantile(&h, 0.99), 99);
	assert_int_equal(hist_quantile(&h, 0.991), 100);
	assert_int_equal(hist_quantile(&h, 1), 100);
	assert_true(fabs(h.mean_ns - 50.5) < 1e-9);
	assert_true(fabs(hist_sd(&h) - 29.011491975882016) < 1e-9);
}

static void test_bounds(void **state)
{
	assert_int_equal(hist_quantile(&h, 0.5), 0);
	assert_true(hist_sd(&h) == 0);
	hist_add(&h, UINT64_MAX);
	hist_add(&h, 0);
	assert_int_equal(h.min_ns, 0);
	assert_int_equal(h.count[HIST_BUCKETS - 1], 1);
	assert_true(h.max_ns == UINT64_MAX);
	hist_add(&h, 1000000);
	assert_int_equal(hist_quantile(&h, 0.5), hist_quantile(&h, 0.66));
}

/* The longest is given exactly, not as its bucket's edge. */
static void test_longest_is_exact(void **state)
{
	hist_add(&h, 1000000);
	assert_int_equal(hist_quantile(&h, 0.999), 1000000);
}

static void test_constant(void **state)
{
	struct arrivals a;
	uint64_t at = 0;

	arrivals_init(&a, false, 3, 0);
	for (int i = 0; i <= 3000000; i++)
		at = arrivals_next(&a);
	assert_int_equal(at, 1000000ULL * 1000000000);	/* no rounding error has added up */
}

static void test_poisson(void **state)
{
	double mean = 0, squares = 0;
	uint64_t last = 0, gap, at = 0;
	struct arrivals a, b;

	arrivals_init(&a, true, 1000, 7);
	arrivals_init(&b, true, 1000, 7);
	for (int i = 0; i < 200000; i++) {
		at = arrivals_next(&a);
		assert_int_equal(at, arrivals_next(&b));
		assert_true(at >= last);
		gap = at - last;
		last = at;
		mean += (double)gap / 200000;
		squares += (double)gap * (double)gap / 200000;
	}
	assert_true(fabs(mean - 1e6) < 1e4);
	/* of an exponential distribution, deviation and mean are the same */
	assert_true(fabs(sqrt(squares - mean * mean) / mean - 1) < 0.02);
	arrivals_init(&b, true, 1000, 8);
	assert_int_not_equal(arrivals_next(&b), at);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_edges, fresh),
		cmocka_unit_test_setup(test_precision, fresh),
		cmocka_unit_test_setup(test_quantiles, fresh),
		cmocka_unit_test_setup(test_bounds, fresh),
		cmocka_unit_test_setup(test_longest_is_exact, fresh),
		cmocka_unit_test(test_constant),
		cmocka_unit_test(test_poisson),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
