// SPDX-License-Identifier: MIT
/* Terms files: what is read, what is refused and by what name. */
#include <econ/valuation.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int parse(const char *text, struct econ_terms *t, enum econ_form *f, char *err, size_t n)
{
	return econ_terms_parse(text, strlen(text), "t.json", t, f, err, n);
}

static void test_terms_absent_keys_are_the_thesis(void **state)
{
	struct econ_terms t, thesis;
	enum econ_form f = ECON_REFUND;

	econ_terms_thesis(&thesis);
	memset(&t, 0xff, sizeof(t));
	assert_int_equal(parse("{}", &t, &f, NULL, 0), 0);
	assert_int_equal(t.alpha_ucr_per_gbit, thesis.alpha_ucr_per_gbit);
	assert_int_equal(t.beta_ucr_per_gbit_s, thesis.beta_ucr_per_gbit_s);
	assert_int_equal(t.gamma_ucr_s_per_gbit, 10000);
	assert_true(t.delta_ucr_per_gbit == ECON_INFINITE);
	assert_int_equal(t.slo_ns, 750000);
	assert_int_equal(t.time_scale_ppm, ECON_TIME_SCALE_ONE);
	assert_int_equal(f, ECON_REFUND);
}

static void test_terms_every_key(void **state)
{
	struct econ_terms t;
	enum econ_form f;

	assert_int_equal(parse("{\"alpha\": 1.5, \"beta\": 2, \"gamma\": 0.25, \"delta\": 3, \"x\": 7,"
			       " \"slo_us\": 100.5, \"time_scale\": 12.5, \"form\": \"bonus\","
			       " \"comment\": \"c\"}", &t, &f, NULL, 0), 0);
	assert_int_equal(t.alpha_ucr_per_gbit, 1500000);
	assert_int_equal(t.beta_ucr_per_gbit_s, 2000000);
	assert_int_equal(t.gamma_ucr_s_per_gbit, 250000);
	assert_int_equal(t.delta_ucr_per_gbit, 3000000);
	assert_true(t.x == 7);
	assert_int_equal(t.slo_ns, 100500);
	assert_int_equal(t.time_scale_ppm, 12500000);
	assert_int_equal(f, ECON_BONUS);
	assert_int_equal(parse("{\"delta\": \"infinite\", \"form\": \"penalty\"}", &t, NULL, NULL, 0), 0);
	assert_true(t.delta_ucr_per_gbit == ECON_INFINITE);
}

static void test_terms_errors_name_the_key(void **state)
{
	static const struct {
		const char *text, *word;
	} bad[] = {
		{ "", "line 1" }, { "[]", "object" }, { "{\"alpha\": \n 1,}", "line 2" },
		{ "{\"alfa\": 1}", "alfa" }, { "{\"alpha\": \"1\"}", "alpha" },
		{ "{\"alpha\": -1}", "alpha" }, { "{\"beta\": 1e30}", "beta" },
		{ "{\"delta\": \"none\"}", "delta" }, { "{\"x\": 1}", "x must" },
		{ "{\"x\": true}", "\"x\"" }, { "{\"slo_us\": 0}", "slo_us" },
		{ "{\"time_scale\": 0}", "time_scale" }, { "{\"time_scale\": 5000}", "time_scale" },
		{ "{\"form\": \"tax\"}", "form" }, { "{\"x\": 2, \"x\": 3}", "duplicate" },
	};
	struct econ_terms t;
	enum econ_form f = ECON_BONUS;
	char err[256];

	memset(&t, 0x5a, sizeof(t));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(parse(bad[i].text, &t, &f, err, sizeof(err)), -EINVAL);
		if (!strstr(err, bad[i].word))
			fail_msg("\"%s\" is not in: %s", bad[i].word, err);
		assert_int_equal(strncmp(err, "t.json: ", 8), 0);
		assert_null(strchr(err, '\n'));
	}
	assert_int_equal(f, ECON_BONUS);
	assert_int_equal(t.slo_ns, 0x5a5a5a5a5a5a5a5aULL);
}

static void test_terms_files_of_the_tree_load(void **state)
{
	struct econ_terms t, thesis;
	enum econ_form f;
	char err[256];

	econ_terms_thesis(&thesis);
	for (int i = 0; i < ECON_NR_FORMS; i++) {
		char path[64];

		snprintf(path, sizeof(path), "econd/terms/%s.json", econ_form_name(i));
		assert_int_equal(econ_terms_load(path, &t, &f, err, sizeof(err)), 0);
		assert_int_equal(f, i);
		assert_int_equal(t.alpha_ucr_per_gbit, thesis.alpha_ucr_per_gbit);
		assert_int_equal(t.beta_ucr_per_gbit_s, thesis.beta_ucr_per_gbit_s);
		assert_int_equal(t.gamma_ucr_s_per_gbit, thesis.gamma_ucr_s_per_gbit);
		assert_true(t.delta_ucr_per_gbit == thesis.delta_ucr_per_gbit);
		assert_true(t.x == thesis.x);
		assert_int_equal(t.slo_ns, thesis.slo_ns);
	}
	assert_int_equal(econ_terms_load("/nonexistent/t", &t, &f, err, sizeof(err)), -ENOENT);
	assert_non_null(strstr(err, "/nonexistent/t"));
	assert_int_equal(econ_terms_load("/", &t, &f, err, sizeof(err)), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_terms_absent_keys_are_the_thesis),
		cmocka_unit_test(test_terms_every_key),
		cmocka_unit_test(test_terms_errors_name_the_key),
		cmocka_unit_test(test_terms_files_of_the_tree_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
