// SPDX-License-Identifier: MIT
/* The ledger: fields, arithmetic, hostile names, a full disk. */
#include <econ/ledger.h>

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

static const struct econ_ledger_line sample = {
	.time_unix_ns = 1700000000123456789ULL,
	.interval_ns = 2000000000,
	.app = "nhttpd",
	.price_ucr_per_gbit = 1000000,
	.connections = 64,
	.w_us = 20,
	.requests = 1000,
	.bytes = 250000000,		/* 2 Gbit in 2 s */
	.latency_known = true,
	.latency_mean_ns = 100000,
	.latency_sd_ns = 10000,
};

static json_t *format(const struct econ_ledger_line *l, const struct econ_terms *t,
		      enum econ_form f)
{
	char buf[ECON_LEDGER_CHARS];
	json_error_t je;
	json_t *j;
	int len = econ_ledger_format(l, t, f, buf, sizeof(buf));

	assert_true(len > 0);
	assert_int_equal(strlen(buf), len);
	assert_ptr_equal(strchr(buf, '\n'), buf + len - 1);
	j = json_loads(buf, JSON_REJECT_DUPLICATES, &je);
	assert_non_null(j);
	assert_int_equal(json_object_size(j), 16);
	return j;
}

static double number(json_t *j, const char *key)
{
	json_t *v = json_object_get(j, key);

	assert_true(json_is_number(v));
	return json_number_value(v);
}

static void test_ledger_fields(void **state)
{
	struct econ_terms t;
	json_t *j;

	econ_terms_thesis(&t);
	j = format(&sample, &t, ECON_PENALTY);
	assert_true(fabs(number(j, "time_s") - 1700000000.123) < 1e-3);
	assert_true(number(j, "interval_s") == 2);
	assert_string_equal(json_string_value(json_object_get(j, "app")), "nhttpd");
	assert_string_equal(json_string_value(json_object_get(j, "form")), "penalty");
	assert_true(number(j, "price_usd_per_gbit") == 1);
	assert_true(number(j, "connections") == 64);
	assert_true(number(j, "requests") == 1000);
	assert_true(number(j, "bytes") == 250000000);
	assert_true(fabs(number(j, "gbps") - 1) < 1e-9);
	assert_true(number(j, "w_us") == 20);
	assert_true(number(j, "latency_mean_us") == 100);
	assert_true(number(j, "latency_sd_us") == 10);
	assert_true(number(j, "time_scale") == 1);
	/* 1 Gbit/s for 2 s: 40 $ earned, 2 $ paid */
	assert_true(fabs(number(j, "revenue_usd") - 40) < 1e-5);
	assert_true(fabs(number(j, "cost_usd") - 2) < 1e-5);
	assert_true(fabs(number(j, "profit_usd") - 38) < 1e-5);
	json_decref(j);
}

static void test_ledger_unknown_latency_is_null(void **state)
{
	struct econ_ledger_line l = sample;
	struct econ_terms t;
	json_t *j;

	econ_terms_thesis(&t);
	l.latency_known = false;
	l.latency_mean_ns = NAN;
	j = format(&l, &t, ECON_BONUS);
	assert_true(json_is_null(json_object_get(j, "latency_mean_us")));
	assert_true(json_is_null(json_object_get(j, "revenue_usd")));
	assert_true(json_is_null(json_object_get(j, "profit_usd")));
	assert_true(fabs(number(j, "cost_usd") - 2) < 1e-5);
	json_decref(j);
	/* nothing was sent: nothing earned, whatever the latency */
	l.bytes = l.requests = 0;
	j = format(&l, &t, ECON_BONUS);
	assert_true(number(j, "revenue_usd") == 0);
	assert_true(number(j, "profit_usd") == 0);
	json_decref(j);
}

static void test_ledger_hostile_name_stays_in_its_string(void **state)
{
	struct econ_ledger_line l = sample;
	char long_name[300];
	struct econ_terms t;
	json_t *j;

	econ_terms_thesis(&t);
	l.app = "a\", \"profit_usd\": 9e9, \"x\": \"\n\\\x01\xff";
	j = format(&l, &t, ECON_PENALTY);
	assert_true(number(j, "profit_usd") < 100);
	json_decref(j);
	memset(long_name, 'n', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = '\0';
	l.app = long_name;
	j = format(&l, &t, ECON_PENALTY);
	assert_int_equal(strlen(json_string_value(json_object_get(j, "app"))), 63);
	json_decref(j);
	l.app = NULL;
	j = format(&l, &t, ECON_PENALTY);
	json_decref(j);
}

static void test_ledger_refuses_nonsense(void **state)
{
	struct econ_ledger_line l = sample;
	char buf[ECON_LEDGER_CHARS];
	struct econ_terms t;

	econ_terms_thesis(&t);
	l.interval_ns = 0;
	assert_int_equal(econ_ledger_format(&l, &t, 0, buf, sizeof(buf)), -EINVAL);
	l = sample;
	l.price_ucr_per_gbit = -1;
	assert_int_equal(econ_ledger_format(&l, &t, 0, buf, sizeof(buf)), -EINVAL);
	l = sample;
	l.latency_mean_ns = NAN;
	assert_int_equal(econ_ledger_format(&l, &t, 0, buf, sizeof(buf)), -EINVAL);
	l = sample;
	assert_int_equal(econ_ledger_format(&l, &t, ECON_NR_FORMS, buf, sizeof(buf)), -EINVAL);
	assert_int_equal(econ_ledger_format(&l, &t, 0, buf, 100), -ENOSPC);
	l.bytes = UINT64_MAX;
	l.price_ucr_per_gbit = 1000000000000000;
	l.interval_ns = UINT64_MAX;
	assert_int_equal(econ_ledger_format(&l, &t, 0, buf, sizeof(buf)), -EOVERFLOW);
}

static void test_ledger_file_appends_lines(void **state)
{
	char path[] = "/tmp/nom-ledger-XXXXXX", text[4 * ECON_LEDGER_CHARS];
	struct econ_ledger *l;
	struct econ_terms t;
	int fd = mkstemp(path), lines = 0;
	FILE *f;

	assert_true(fd >= 0);
	close(fd);
	econ_terms_thesis(&t);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(econ_ledger_open(path, &t, ECON_REFUND, &l), 0);
		assert_int_equal(econ_ledger_write(l, &sample), 0);
		assert_int_equal(econ_ledger_write(l, &sample), 0);
		econ_ledger_close(l);
	}
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(text, sizeof(text), f)) {
		json_t *j = json_loads(text, 0, NULL);

		assert_non_null(j);
		json_decref(j);
		lines++;
	}
	fclose(f);
	unlink(path);
	assert_int_equal(lines, 4);
	assert_int_equal(econ_ledger_open("/nonexistent/l", &t, 0, &l), -ENOENT);
	t.x = 1;
	assert_int_equal(econ_ledger_open(path, &t, 0, &l), -EINVAL);
}

static void test_ledger_full_disk_is_an_error_and_goes_on(void **state)
{
	struct econ_ledger *l;
	struct econ_terms t;

	econ_terms_thesis(&t);
	if (access("/dev/full", W_OK))
		skip();
	assert_int_equal(econ_ledger_open("/dev/full", &t, 0, &l), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(econ_ledger_write(l, &sample), -ENOSPC);
	econ_ledger_close(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ledger_fields),
		cmocka_unit_test(test_ledger_unknown_latency_is_null),
		cmocka_unit_test(test_ledger_hostile_name_stays_in_its_string),
		cmocka_unit_test(test_ledger_refuses_nonsense),
		cmocka_unit_test(test_ledger_file_appends_lines),
		cmocka_unit_test(test_ledger_full_disk_is_an_error_and_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
