// SPDX-License-Identifier: MIT
/* The controller: picks the best W, holds it, says why, replays. */
#include <econ/controller.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#define USD	1000000LL
#define TABLE	"econd/traces/table-example.json"
#define REPLAY	"econd/traces/decisions-example.json"

static struct econ_table *load(void)
{
	struct econ_table *t;
	char err[256];

	assert_int_equal(econ_table_load(TABLE, &t, err, sizeof(err)), 0);
	return t;
}

static struct econ_table *two_w(double gbps_a, double gbps_b)
{
	struct econ_table_entry e[] = {
		{ .connections = 1, .w_us = 0, .gbps = gbps_a, .latency_mean_ns = 100e3 },
		{ .connections = 1, .w_us = 20, .gbps = gbps_b, .latency_mean_ns = 100e3 },
	};
	struct econ_table *t;

	assert_int_equal(econ_table_create(e, 2, &t, NULL, 0), 0);
	return t;
}

/* Straight from the definition: the argument of the maximum, smallest W first. */
static void test_controller_picks_the_maximum(void **state)
{
	struct econ_table *t = load();
	struct econ_terms terms;

	econ_terms_thesis(&terms);
	srand(11);
	for (int round = 0; round < 3000; round++) {
		enum econ_form f = rand() % ECON_NR_FORMS;
		uint32_t connections = (uint32_t)rand() % 400, w, best_w = 0;
		int64_t price = rand() % (30 * USD), best = INT64_MIN;
		struct econ_controller *c;

		for (unsigned i = 0; i < econ_table_nr_w(t); i++) {
			struct econ_point p;
			int64_t profit;

			econ_table_point(t, connections, i, &p);
			assert_int_equal(econ_profit_ucr_per_s(f, &terms, &p, price, &profit), 0);
			if (profit > best) {
				best = profit;
				best_w = econ_table_w_us(t, i);
			}
		}
		assert_int_equal(econ_controller_create(t, &terms, f, &c), 0);
		assert_int_equal(econ_controller_step(c, price, connections, &w), 1);
		assert_int_equal(w, best_w);
		assert_int_equal(econ_controller_w_us(c), best_w);
		assert_int_equal(econ_controller_step(c, price, connections, &w), 0);
		econ_controller_destroy(c);
	}
	econ_table_destroy(t);
}

static void test_controller_prefers_the_smaller_w_when_equal(void **state)
{
	struct econ_table *t = two_w(1, 1);
	struct econ_controller *c;
	struct econ_terms terms;
	uint32_t w = 42;

	econ_terms_thesis(&terms);
	assert_int_equal(econ_controller_create(t, &terms, ECON_PENALTY, &c), 0);
	assert_int_equal(econ_controller_step(c, USD, 1, &w), 1);
	assert_int_equal(w, 0);
	econ_controller_destroy(c);
	econ_table_destroy(t);
}

static void test_controller_does_not_flap_within_the_margin(void **state)
{
	struct econ_table *t = two_w(1, 1.015);
	struct econ_controller *c;
	struct econ_terms terms;
	uint32_t w;

	econ_terms_thesis(&terms);
	assert_int_equal(econ_controller_create(t, &terms, ECON_PENALTY, &c), 0);
	/* with 0 in force, 1.5 % more is not worth the move; 2.1 % is */
	econ_controller_set_w(c, 0);
	assert_int_equal(econ_controller_step(c, USD, 1, &w), 0);
	assert_int_equal(w, 0);
	assert_int_equal(econ_controller_set_hysteresis(c, 10000), 0);
	assert_int_equal(econ_controller_step(c, USD, 1, &w), 1);
	assert_int_equal(w, 20);
	/* and back only when the price makes sending a loss: 20 loses more */
	assert_int_equal(econ_controller_step(c, 30 * USD, 1, &w), 1);
	assert_int_equal(w, 0);
	/* at the break-even price both make nothing: nothing to gain */
	assert_int_equal(econ_controller_step(c, 20 * USD, 1, &w), 0);
	assert_int_equal(econ_controller_set_hysteresis(c, 1000001), -EINVAL);
	econ_controller_destroy(c);
	econ_table_destroy(t);
}

/* A price that wobbles around a tie: with the margin W stays, without it each
 * wobble is a change.  T = 1 at value 10 against T = 2 at value 6: equal at P = 2. */
static void test_controller_wobbling_price(void **state)
{
	const struct econ_table_entry e[] = {
		{ .connections = 1, .w_us = 0, .gbps = 1, .latency_mean_ns = 1000e3 },
		{ .connections = 1, .w_us = 20, .gbps = 2, .latency_mean_ns = 1400e3 },
	};
	struct econ_table *t;
	struct econ_terms terms;
	int changes[2] = { 0, 0 };

	econ_terms_thesis(&terms);
	terms.beta_ucr_per_gbit_s = 10000 * USD;
	assert_int_equal(econ_table_create(e, 2, &t, NULL, 0), 0);
	for (int margin = 0; margin < 2; margin++) {
		struct econ_controller *c;
		uint32_t w;

		assert_int_equal(econ_controller_create(t, &terms, ECON_REFUND, &c), 0);
		if (!margin)
			econ_controller_set_hysteresis(c, 0);
		for (int i = 0; i < 100; i++)
			changes[margin] += econ_controller_step(c, i % 2 ? 2010000 : 1990000, 1, &w);
		econ_controller_destroy(c);
	}
	assert_int_equal(changes[0], 100);
	assert_int_equal(changes[1], 1);
	econ_table_destroy(t);
}

static void test_controller_without_a_table_holds(void **state)
{
	struct econ_controller *c;
	struct econ_terms terms;
	char line[ECON_EXPLAIN_CHARS];
	uint32_t w = 42;

	econ_terms_thesis(&terms);
	assert_int_equal(econ_controller_create(NULL, &terms, ECON_BONUS, &c), 0);
	assert_int_equal(econ_controller_explain(c, line, sizeof(line)), -EINVAL);
	assert_int_equal(econ_controller_step(c, USD, 64, &w), 1);
	assert_int_equal(w, 0);
	econ_controller_set_w(c, 15);
	assert_int_equal(econ_controller_step(c, 2 * USD, 64, &w), 0);
	assert_int_equal(w, 15);
	assert_true(econ_controller_explain(c, line, sizeof(line)) > 0);
	assert_non_null(strstr(line, "no measured table"));
	assert_non_null(strstr(line, "2.00 $/Gbit"));
	econ_controller_destroy(c);
}

static void test_controller_bad_price_changes_nothing(void **state)
{
	struct econ_table *t = load();
	struct econ_controller *c;
	struct econ_terms terms;
	uint32_t w, before;

	econ_terms_thesis(&terms);
	assert_int_equal(econ_controller_create(t, &terms, ECON_PENALTY, &c), 0);
	assert_int_equal(econ_controller_step(c, USD, 64, &before), 1);
	w = 4242;
	assert_int_equal(econ_controller_step(c, -1, 64, &w), -ERANGE);
	assert_int_equal(econ_controller_step(c, INT64_MAX, 64, &w), -ERANGE);
	assert_int_equal(w, 4242);
	assert_int_equal(econ_controller_w_us(c), before);
	assert_int_equal(econ_controller_set_form(c, ECON_NR_FORMS), -EINVAL);
	econ_controller_destroy(c);
	terms.x = 1;
	c = NULL;
	assert_int_equal(econ_controller_create(t, &terms, ECON_PENALTY, &c), -EINVAL);
	assert_null(c);
	econ_table_destroy(t);
}

static void test_controller_set_by_hand(void **state)
{
	struct econ_table *t = load();
	struct econ_controller *c;
	struct econ_terms terms;
	char line[ECON_EXPLAIN_CHARS];
	uint32_t w;

	econ_terms_thesis(&terms);
	assert_int_equal(econ_controller_create(t, &terms, ECON_PENALTY, &c), 0);
	econ_controller_set_w(c, 33);		/* nobody measured 33 us */
	assert_int_equal(econ_controller_step(c, USD, 64, &w), 1);
	assert_true(w != 33);
	assert_true(econ_controller_explain(c, line, sizeof(line)) > 0);
	assert_non_null(strstr(line, "33 us was never measured"));
	econ_controller_destroy(c);
	econ_table_destroy(t);
}

static void test_controller_explains_with_its_inputs(void **state)
{
	static const char *const words[] = {
		"W 0 -> 20 us", "penalty", "price 1.00 $/Gbit", "1 connections", "expect",
		"Gbit/s", "latency 100.0 sd 0.0 us", "profit 38.00 $/s", "0 us would make 19.00 $/s",
	};
	struct econ_table *t = two_w(1, 2);
	struct econ_controller *c;
	struct econ_terms terms;
	char line[ECON_EXPLAIN_CHARS];
	uint32_t w;
	int len;

	econ_terms_thesis(&terms);
	assert_int_equal(econ_controller_create(t, &terms, ECON_PENALTY, &c), 0);
	econ_controller_set_w(c, 0);
	assert_int_equal(econ_controller_step(c, USD, 1, &w), 1);
	len = econ_controller_explain(c, line, sizeof(line));
	assert_int_equal(len, strlen(line));
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		assert_non_null(strstr(line, words[i]));
	assert_null(strchr(line, '\n'));
	for (int n = 0; n <= len; n++)
		assert_int_equal(econ_controller_explain(c, line, (size_t)n), -EINVAL);
	econ_controller_destroy(c);
	econ_table_destroy(t);
}

/* A recorded trace of (price, connections) replays to the recorded decisions. */
static void test_controller_replays_a_recorded_trace(void **state)
{
	struct econ_table *t = load();
	json_error_t je;
	json_t *root = json_load_file(REPLAY, 0, &je), *run;
	size_t i, steps = 0, changes = 0;

	assert_non_null(root);
	json_array_foreach(json_object_get(root, "runs"), i, run) {
		struct econ_controller *c;
		struct econ_terms terms;
		enum econ_form form;
		json_t *step;
		size_t k;

		econ_terms_thesis(&terms);
		terms.time_scale_ppm = (uint32_t)json_integer_value(
			json_object_get(run, "time_scale_ppm"));
		assert_int_equal(econ_form_parse(json_string_value(json_object_get(run, "form")),
						 &form), 0);
		assert_int_equal(econ_controller_create(t, &terms, form, &c), 0);
		json_array_foreach(json_object_get(run, "steps"), k, step) {
			int price, connections, w_us, changed;
			uint32_t w;

			assert_int_equal(json_unpack(step, "[i,i,i,i]", &price, &connections, &w_us,
						     &changed), 0);
			assert_int_equal(econ_controller_step(c, price, (uint32_t)connections, &w),
					 changed);
			assert_int_equal(w, w_us);
			steps++;
			changes += (size_t)changed;
		}
		econ_controller_destroy(c);
	}
	json_decref(root);
	econ_table_destroy(t);
	/* the trace is worth replaying */
	assert_true(steps >= 100);
	assert_true(changes >= 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_controller_picks_the_maximum),
		cmocka_unit_test(test_controller_prefers_the_smaller_w_when_equal),
		cmocka_unit_test(test_controller_does_not_flap_within_the_margin),
		cmocka_unit_test(test_controller_wobbling_price),
		cmocka_unit_test(test_controller_without_a_table_holds),
		cmocka_unit_test(test_controller_bad_price_changes_nothing),
		cmocka_unit_test(test_controller_set_by_hand),
		cmocka_unit_test(test_controller_explains_with_its_inputs),
		cmocka_unit_test(test_controller_replays_a_recorded_trace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
