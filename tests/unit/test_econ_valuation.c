// SPDX-License-Identifier: MIT
/* Equations 4.1 to 4.3: values worked by hand, edges, refusals. */
#include <econ/valuation.h>

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define USD	1000000LL

static int64_t profit(enum econ_form form, const struct econ_terms *t, double gbps,
		      double mean_us, double sd_us, int64_t price)
{
	struct econ_point p = { gbps, mean_us * 1000, sd_us * 1000 };
	int64_t out = INT64_MIN;

	assert_int_equal(econ_profit_ucr_per_s(form, t, &p, price, &out), 0);
	return out;
}

static void test_penalty_by_hand(void **state)
{
	struct econ_terms t;

	econ_terms_thesis(&t);
	/* N -> 0: T (alpha - P) */
	assert_int_equal(profit(ECON_PENALTY, &t, 2, 100, 10, 1 * USD), 38 * USD);
	/* every sample late: -T P */
	assert_int_equal(profit(ECON_PENALTY, &t, 2, 7638, 10, 1 * USD), -2 * USD);
	/* mean on the SLO: N = 1/2, X N = 50, capped at 1 */
	assert_int_equal(profit(ECON_PENALTY, &t, 1, 750, 100, 3 * USD), -3 * USD);
	/* X N below 1: L0 is 3 sd away, N = 0.0013498980316, X N = 0.13498980316 */
	assert_int_equal(profit(ECON_PENALTY, &t, 1, 450, 100, 0),
			 llround(20e6 * (1 - 0.13498980316301)));
	/* X = 2 at the mean: 1 - 2/2 */
	t.x = 2;
	assert_int_equal(profit(ECON_PENALTY, &t, 1, 750, 100, 0), 0);
	/* no penalty agreed */
	t.x = 0;
	assert_int_equal(profit(ECON_PENALTY, &t, 1, 9999, 100, 1 * USD), 19 * USD);
}

static void test_refund_by_hand(void **state)
{
	struct econ_terms t;

	econ_terms_thesis(&t);
	/* L in seconds: 10 * 0.0005 = 0.005 */
	assert_int_equal(profit(ECON_REFUND, &t, 1, 500, 0, 1 * USD), 18995000);
	/* 3 s: 30 > alpha, the refund is capped at everything */
	assert_int_equal(profit(ECON_REFUND, &t, 1, 3e6, 0, 1 * USD), -1 * USD);
	/* read as milliseconds instead */
	t.beta_ucr_per_gbit_s = 10000 * USD;
	assert_int_equal(profit(ECON_REFUND, &t, 1, 500, 0, 1 * USD), 14 * USD);
}

static void test_bonus_by_hand(void **state)
{
	struct econ_terms t;

	econ_terms_thesis(&t);
	/* 0.01 / 0.0005 s = 20 */
	assert_int_equal(profit(ECON_BONUS, &t, 1, 500, 0, 10 * USD), 30 * USD);
	t.delta_ucr_per_gbit = 5 * USD;
	assert_int_equal(profit(ECON_BONUS, &t, 1, 500, 0, 10 * USD), 15 * USD);
	/* the cap holds at latency 0, too */
	assert_int_equal(profit(ECON_BONUS, &t, 1, 0, 0, 10 * USD), 15 * USD);
	t.delta_ucr_per_gbit = 0;
	assert_int_equal(profit(ECON_BONUS, &t, 1, 500, 0, 10 * USD), 10 * USD);
}

static void test_time_scale_is_one_for_all_forms(void **state)
{
	struct econ_terms real, emulated;

	econ_terms_thesis(&real);
	emulated = real;
	emulated.time_scale_ppm = 20 * ECON_TIME_SCALE_ONE;
	for (int f = 0; f < ECON_NR_FORMS; f++)
		assert_int_equal(profit(f, &emulated, 1, 20 * 600, 20 * 55, USD),
				 profit(f, &real, 1, 600, 55, USD));
	real.time_scale_ppm = 0;	/* means 1 */
	emulated.time_scale_ppm = ECON_TIME_SCALE_ONE;
	for (int f = 0; f < ECON_NR_FORMS; f++)
		assert_int_equal(profit(f, &emulated, 1, 600, 55, USD),
				 profit(f, &real, 1, 600, 55, USD));
}

static void test_edges(void **state)
{
	struct econ_terms t;
	struct econ_point p = { 1, 0, 0 };
	int64_t out = 42;

	econ_terms_thesis(&t);
	/* sd 0: the tail is a step, and the SLO itself is still met */
	assert_int_equal(profit(ECON_PENALTY, &t, 1, 750, 0, 0), 20 * USD);
	assert_int_equal(profit(ECON_PENALTY, &t, 1, 750.001, 0, 0), 0);
	/* price 0, latency 0 */
	assert_int_equal(profit(ECON_PENALTY, &t, 1, 0, 0, 0), 20 * USD);
	assert_int_equal(profit(ECON_REFUND, &t, 1, 0, 0, 0), 20 * USD);
	/* nothing sent */
	for (int f = 0; f < ECON_NR_FORMS; f++)
		assert_int_equal(profit(f, &t, 0, 0, 0, 10 * USD), 0);
	/* an unlimited bonus at latency 0 is no number */
	assert_int_equal(econ_profit_ucr_per_s(ECON_BONUS, &t, &p, 0, &out), -EOVERFLOW);
	/* unless there is no bonus at all */
	t.gamma_ucr_s_per_gbit = 0;
	assert_int_equal(profit(ECON_BONUS, &t, 1, 0, 0, 0), 20 * USD);
	p = (struct econ_point) { 1e300, 1, 1 };
	assert_int_equal(econ_profit_ucr_per_s(ECON_PENALTY, &t, &p, 0, &out), -EOVERFLOW);
	assert_int_equal(out, 42);
}

static void test_bad_points_and_prices_are_refused(void **state)
{
	static const double bad[] = { NAN, INFINITY, -INFINITY, -1 };
	struct econ_terms t;
	struct econ_point p;
	int64_t out = 42;
	double n = 42;

	econ_terms_thesis(&t);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		for (int field = 0; field < 3; field++) {
			p = (struct econ_point) { 1, 1000, 1000 };
			if (field == 0)
				p.throughput_gbps = bad[i];
			else if (field == 1)
				p.latency_mean_ns = bad[i];
			else
				p.latency_sd_ns = bad[i];
			for (int f = 0; f < ECON_NR_FORMS; f++)
				assert_int_equal(econ_profit_ucr_per_s(f, &t, &p, 1, &out), -EINVAL);
			assert_int_equal(econ_slo_violation(&t, &p, &n), -EINVAL);
		}
	}
	p = (struct econ_point) { 1, 1000, 1000 };
	assert_int_equal(econ_profit_ucr_per_s(ECON_PENALTY, &t, &p, -1, &out), -EINVAL);
	assert_int_equal(econ_profit_ucr_per_s(ECON_NR_FORMS, &t, &p, 1, &out), -EINVAL);
	assert_int_equal(econ_profit_ucr_per_s((enum econ_form)-1, &t, &p, 1, &out), -EINVAL);
	assert_int_equal(out, 42);
}

static void test_bad_terms_are_refused_by_name(void **state)
{
	struct econ_terms good, t;
	struct econ_point p = { 1, 1000, 1000 };
	char err[128];
	int64_t out;

#define REFUSED(field, value, word) do {					\
	t = good;								\
	t.field = (value);							\
	assert_int_equal(econ_terms_check(&t, err, sizeof(err)), -EINVAL);	\
	assert_non_null(strstr(err, word));					\
	assert_int_equal(econ_profit_ucr_per_s(ECON_PENALTY, &t, &p, 0, &out),	\
			 -EINVAL);						\
} while (0)
	econ_terms_thesis(&good);
	assert_int_equal(econ_terms_check(&good, err, sizeof(err)), 0);
	REFUSED(alpha_ucr_per_gbit, -1, "alpha");
	REFUSED(beta_ucr_per_gbit_s, -1, "beta");
	REFUSED(gamma_ucr_s_per_gbit, INT64_MIN, "gamma");
	REFUSED(delta_ucr_per_gbit, -1, "delta");
	REFUSED(delta_ucr_per_gbit, INT64_MAX - 1, "delta");
	REFUSED(x, NAN, "x must");
	REFUSED(x, INFINITY, "x must");
	REFUSED(x, -100, "x must");
	REFUSED(x, 1.0, "x must");
	REFUSED(slo_ns, 0, "SLO");
#undef REFUSED
}

static void test_names_of_forms(void **state)
{
	enum econ_form form;

	for (int f = 0; f < ECON_NR_FORMS; f++) {
		assert_int_equal(econ_form_parse(econ_form_name(f), &form), 0);
		assert_int_equal(form, f);
	}
	assert_null(econ_form_name(ECON_NR_FORMS));
	assert_int_equal(econ_form_parse("Penalty", &form), -EINVAL);
	assert_int_equal(econ_form_parse(NULL, &form), -EINVAL);
}

static void test_violation_is_the_normal_tail(void **state)
{
	/* textbook values of the upper tail, at z = 0, 1, 2, 3, -1 */
	static const struct {
		double mean_us, tail;
	} known[] = {
		{ 750, 0.5 }, { 650, 0.158655253931457 }, { 550, 0.0227501319481792 },
		{ 450, 0.00134989803163009 }, { 850, 0.841344746068543 },
	};
	struct econ_terms t;

	econ_terms_thesis(&t);
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		struct econ_point p = { 1, known[i].mean_us * 1000, 100000 };
		double n;

		assert_int_equal(econ_slo_violation(&t, &p, &n), 0);
		assert_true(fabs(n - known[i].tail) < 1e-12);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_penalty_by_hand),
		cmocka_unit_test(test_refund_by_hand),
		cmocka_unit_test(test_bonus_by_hand),
		cmocka_unit_test(test_time_scale_is_one_for_all_forms),
		cmocka_unit_test(test_edges),
		cmocka_unit_test(test_bad_points_and_prices_are_refused),
		cmocka_unit_test(test_bad_terms_are_refused_by_name),
		cmocka_unit_test(test_names_of_forms),
		cmocka_unit_test(test_violation_is_the_normal_tail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
