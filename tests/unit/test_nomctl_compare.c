// SPDX-License-Identifier: MIT
/* nomctl compare: statistics, grouping, profits, refusals. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../apps/nomctl/src/nomctl.h"

static bool near(double a, double b)
{
	return fabs(a - b) < 1e-9 * (1 + fabs(b));
}

static void test_spread_of_known_samples(void **state)
{
	double one[] = { 7 }, even[] = { 4, 1, 3, 2 }, odd[] = { 5, 1, 4, 2, 3 };
	double outlier[] = { 10, 11, 12, 13, 1000 };
	struct nomctl_spread s = nomctl_spread(one, 1);

	assert_true(s.median == 7 && s.min == 7 && s.max == 7 && s.iqr == 0 && s.nr == 1);
	s = nomctl_spread(even, 4);
	assert_true(near(s.median, 2.5) && s.min == 1 && s.max == 4 && near(s.iqr, 1.5));
	s = nomctl_spread(odd, 5);
	assert_true(near(s.median, 3) && near(s.iqr, 2) && s.nr == 5);
	s = nomctl_spread(outlier, 5);
	assert_true(near(s.median, 12) && near(s.iqr, 2) && s.max == 1000);
}

/* Lines of JSON, one a string, NULL-ended */
static json_t *lines_of(const char *const *text)
{
	json_t *lines = json_array();

	for (; *text; text++) {
		json_t *line = json_loads(*text, 0, NULL);

		assert_non_null(line);
		json_array_append_new(lines, line);
	}
	return lines;
}

static json_t *compare(const char *const *text, double scale)
{
	json_t *lines = lines_of(text), *out;
	char err[200] = "";

	out = nomctl_compare_lines(lines, scale, err, sizeof(err));
	if (!out)
		fail_msg("%s", err);
	json_decref(lines);
	return out;
}

/* result[i].path..., a number */
static double at(json_t *root, size_t i, const char *path)
{
	json_t *v = json_array_get(json_object_get(root, "results"), i);
	char copy[128], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *key = strtok_r(copy, ".", &save); key; key = strtok_r(NULL, ".", &save))
		v = json_object_get(v, key);
	if (!json_is_number(v))
		fail_msg("result %zu has no number %s", i, path);
	return json_number_value(v);
}

#define TIME(boot, rps, mean) \
	"{\"kind\":\"time\",\"boot\":" #boot ",\"variant\":\"nom\",\"connections\":64,\"price\":1," \
	"\"requests_per_s\":" #rps ",\"bytes_per_request\":500," \
	"\"latency_us\":{\"mean\":" #mean ",\"sd\":10,\"p50\":1,\"p99\":2,\"p999\":3,\"max\":9}}"

static const char *const good[] = {
	"{\"machine\":{\"accelerator\":\"tcg\",\"time_scale\":10}}",
	TIME(1, 250000, 1000), TIME(2, 500000, 900), TIME(3, 125000, 1100),
	"{\"kind\":\"count\",\"boot\":4,\"variant\":\"nom\",\"connections\":64,\"price\":1.0,"
	"\"bytes_per_request\":500,\"instructions_per_request\":{\"user\":3000,\"kernel\":0},"
	"\"doorbells_per_request\":0.1,\"own_core\":{\"syscalls\":0}}",
	"{\"boot\":1,\"variant\":\"linux-default\",\"connections\":64,\"price\":1,"
	"\"requests_per_s\":125000,\"bytes_per_request\":500,"
	"\"latency_us\":{\"mean\":9000,\"sd\":10,\"p50\":1,\"p99\":2,\"p999\":3}}",
	NULL,
};

static void test_compare_makes_medians_with_spread(void **state)
{
	json_t *root = compare(good, 0), *result;

	assert_int_equal(json_integer_value(json_object_get(root, "runs")), 4);
	assert_int_equal(json_array_size(json_object_get(root, "results")), 2);
	assert_string_equal(json_string_value(json_object_get(json_object_get(root, "machine"),
							      "accelerator")), "tcg");
	result = json_array_get(json_object_get(root, "results"), 0);
	assert_string_equal(json_string_value(json_object_get(result, "variant")), "nom");
	assert_int_equal(json_integer_value(json_object_get(result, "connections")), 64);
	assert_true(at(root, 0, "price") == 1);
	assert_true(at(root, 0, "requests_per_s.median") == 250000);
	assert_true(at(root, 0, "requests_per_s.spread.min") == 125000);
	assert_true(at(root, 0, "requests_per_s.spread.max") == 500000);
	assert_true(at(root, 0, "requests_per_s.spread.iqr") == 187500);
	assert_true(at(root, 0, "requests_per_s.n") == 3);
	assert_true(at(root, 0, "latency_us.mean.median") == 1000);
	assert_true(at(root, 0, "latency_us.p999.median") == 3);
	/* 1.0 and 1 are one price: the counting boot is in the same result */
	assert_true(at(root, 0, "instructions_per_request.user.median") == 3000);
	assert_true(at(root, 0, "instructions_per_request.kernel.median") == 0);
	assert_true(at(root, 0, "doorbells_per_request.n") == 1);
	assert_true(at(root, 0, "own_core.syscalls.median") == 0);
	assert_true(at(root, 0, "bytes_per_request.n") == 4);
	assert_null(json_object_get(result, "boot"));
	assert_null(json_object_get(result, "kind"));
	json_decref(root);
}

static void test_compare_missing_figures_are_null(void **state)
{
	static const char *const keys[] = {
		"instructions_per_request", "doorbells_per_request", "interrupts_per_request",
		"syscalls_per_request", "context_switches_per_request",
	};
	json_t *root = compare(good, 0);
	json_t *linux_result = json_array_get(json_object_get(root, "results"), 1);

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		assert_true(json_is_null(json_object_get(linux_result, keys[i])));
	assert_true(json_is_object(json_object_get(linux_result, "profit")));
	json_decref(root);
}

/* 250,000 requests of 500 bytes are 1 Gbit/s; latency 1000 us scaled by 10 is 100. */
static void test_compare_profits_by_hand(void **state)
{
	json_t *root = compare(good, 0);

	assert_true(near(at(root, 0, "profit.penalty.median"), 19));
	assert_true(near(at(root, 0, "profit.penalty.spread.max"), 38));
	assert_true(near(at(root, 0, "profit.refund.median"), 18.999));
	assert_true(near(at(root, 0, "profit.bonus.median"), 20 + 0.01 / 100e-6 - 1));
	/* 9000 us / 10 is late: only the cost is left */
	assert_true(near(at(root, 1, "profit.penalty.median"), -0.5));
	assert_true(near(json_number_value(json_object_get(json_object_get(root, "terms"),
							    "time_scale")), 10));
	json_decref(root);
	/* the option beats the machine line; unscaled, 1000 us is late */
	root = compare(good, 1);
	assert_true(near(at(root, 0, "profit.penalty.median"), -1));
	assert_true(near(json_number_value(json_object_get(json_object_get(root, "machine"),
							    "time_scale")), 1));
	json_decref(root);
}

static void test_compare_refuses_junk_by_entry(void **state)
{
	static const struct {
		const char *line, *word;
	} bad[] = {
		{ "{\"machine\":{}}", "no measurements" },
		{ "[1]", "entry 2: not an object" },
		{ "{\"boot\":1,\"connections\":1,\"price\":1}", "entry 2: \"variant\"" },
		{ "{\"boot\":1,\"variant\":\"nom\",\"connections\":0,\"price\":1}", "\"connections\"" },
		{ "{\"boot\":1,\"variant\":\"nom\",\"connections\":1.5,\"price\":1}", "\"connections\"" },
		{ "{\"boot\":1,\"variant\":\"nom\",\"connections\":1,\"price\":-1}", "\"price\"" },
		{ "{\"boot\":1,\"variant\":\"nom\",\"connections\":1}", "\"price\"" },
		{ "{\"variant\":\"nom\",\"connections\":1,\"price\":1}", "\"boot\"" },
		{ "{\"boot\":1,\"variant\":\"nom\",\"connections\":1,\"price\":1,\"requests_per_s\":-5,"
		  "\"bytes_per_request\":1,\"latency_us\":{\"mean\":1,\"sd\":1}}", "no profit" },
		{ "{\"boot\":1,\"variant\":\"nom\",\"connections\":1,\"price\":1,\"requests_per_s\":5,"
		  "\"bytes_per_request\":1,\"latency_us\":{\"mean\":0,\"sd\":1}}", "no profit" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		const char *text[] = { "{\"machine\":{}}", bad[i].line, NULL };
		json_t *lines = lines_of(text);
		char err[200] = "";

		assert_null(nomctl_compare_lines(lines, 0, err, sizeof(err)));
		if (!strstr(err, bad[i].word))
			fail_msg("\"%s\" is not in: %s", bad[i].word, err);
		json_decref(lines);
	}
}

static void test_compare_refuses_a_mad_time_scale(void **state)
{
	const char *text[] = { "{\"machine\":{\"time_scale\":-3}}", good[1], NULL };
	json_t *lines = lines_of(text);
	char err[200] = "";

	assert_null(nomctl_compare_lines(lines, 0, err, sizeof(err)));
	assert_non_null(strstr(err, "time scale"));
	json_decref(lines);
}

/* Figures nobody foresaw, and of mixed kinds, neither crash nor mix. */
static void test_compare_takes_unknown_figures(void **state)
{
	static const char *const text[] = {
		"{\"boot\":1,\"variant\":\"a\",\"connections\":1,\"price\":1,\"x\":1,\"y\":{\"z\":{\"u\":{\"v\":{\"w\":1}}}},"
		"\"note\":\"hot\",\"list\":[1]}",
		"{\"boot\":2,\"variant\":\"a\",\"connections\":1,\"price\":1,\"x\":{\"deep\":2},\"y\":3,\"note\":null}",
		NULL,
	};
	json_t *root = compare(text, 0);

	assert_true(at(root, 0, "x.median") == 1);
	assert_true(at(root, 0, "y.median") == 3);
	assert_null(json_object_get(json_array_get(json_object_get(root, "results"), 0), "note"));
	json_decref(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spread_of_known_samples),
		cmocka_unit_test(test_compare_makes_medians_with_spread),
		cmocka_unit_test(test_compare_missing_figures_are_null),
		cmocka_unit_test(test_compare_profits_by_hand),
		cmocka_unit_test(test_compare_refuses_junk_by_entry),
		cmocka_unit_test(test_compare_refuses_a_mad_time_scale),
		cmocka_unit_test(test_compare_takes_unknown_figures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
