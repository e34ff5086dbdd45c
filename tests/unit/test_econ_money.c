// SPDX-License-Identifier: MIT
/* Amounts of money read and printed, exactly. */
#include <econ/money.h>

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_money_reads_dollars_and_ucr(void **state)
{
	static const struct {
		const char *text;
		int64_t ucr;
	} good[] = {
		{ "0", 0 }, { "1", 1000000 }, { "$1", 1000000 }, { "1.25", 1250000 },
		{ "$.5", 500000 }, { "10.", 10000000 }, { "0.000001", 1 },
		{ "-3.5", -3500000 }, { "-$3", -3000000 }, { "+2", 2000000 },
		{ "1250000ucr", 1250000 }, { "-7ucr", -7 },
		{ "9223372036854775807ucr", INT64_MAX }, { "9223372036854.775807", INT64_MAX },
	};
	int64_t ucr;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_int_equal(econ_money_parse(good[i].text, &ucr), 0);
		assert_true(ucr == good[i].ucr);
	}
}

static void test_money_refuses_junk(void **state)
{
	static const char *const junk[] = {
		"", "$", ".", "-", "1e3", "0x10", "1.2.3", "1,000", " 1", "1 ", "nan", "inf",
		"0.0000001", "1.5ucr", "$5ucr", "ucr", "1$", "--1", "12ucrx",
	};
	int64_t ucr = 42;

	for (size_t i = 0; i < sizeof(junk) / sizeof(*junk); i++)
		assert_int_equal(econ_money_parse(junk[i], &ucr), -EINVAL);
	assert_int_equal(econ_money_parse(NULL, &ucr), -EINVAL);
	assert_int_equal(econ_money_parse("9223372036854775808ucr", &ucr), -ERANGE);
	assert_int_equal(econ_money_parse("9223372036855", &ucr), -ERANGE);
	assert_int_equal(econ_money_parse("99999999999999999999999999", &ucr), -ERANGE);
	assert_int_equal(ucr, 42);
}

static void test_money_prints_what_it_reads(void **state)
{
	char buf[ECON_MONEY_CHARS];
	int64_t ucr;

	assert_string_equal(econ_money_format(0, buf, sizeof(buf)), "0.00");
	assert_string_equal(econ_money_format(1, buf, sizeof(buf)), "0.000001");
	assert_string_equal(econ_money_format(-1500000, buf, sizeof(buf)), "-1.50");
	assert_string_equal(econ_money_format(1234567, buf, sizeof(buf)), "1.234567");
	assert_string_equal(econ_money_format(INT64_MIN, buf, sizeof(buf)),
			    "-9223372036854.775808");

	srand(7);
	for (int i = 0; i < 10000; i++) {
		int64_t v = (((int64_t)rand() << 31) ^ rand()) >> (rand() % 60);

		v = rand() % 2 ? v : -v;
		assert_int_equal(econ_money_parse(econ_money_format(v, buf, sizeof(buf)), &ucr), 0);
		assert_true(ucr == v);
	}
}

static void test_money_from_json_numbers(void **state)
{
	int64_t ucr = 42;

	assert_int_equal(econ_money_from_usd(0.1, &ucr), 0);
	assert_int_equal(ucr, 100000);
	assert_int_equal(econ_money_from_usd(-2.5, &ucr), 0);
	assert_int_equal(ucr, -2500000);
	assert_int_equal(econ_money_from_usd(NAN, &ucr), -EINVAL);
	assert_int_equal(econ_money_from_usd(INFINITY, &ucr), -EINVAL);
	assert_int_equal(econ_money_from_usd(1e300, &ucr), -ERANGE);
	assert_int_equal(ucr, -2500000);
}

static void test_price_bounds(void **state)
{
	assert_int_equal(econ_price_check(0), 0);
	assert_int_equal(econ_price_check(ECON_PRICE_MAX_UCR), 0);
	assert_int_equal(econ_price_check(-1), -ERANGE);
	assert_int_equal(econ_price_check(ECON_PRICE_MAX_UCR + 1), -ERANGE);
	assert_int_equal(econ_price_check(INT64_MIN), -ERANGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_money_reads_dollars_and_ucr),
		cmocka_unit_test(test_money_refuses_junk),
		cmocka_unit_test(test_money_prints_what_it_reads),
		cmocka_unit_test(test_money_from_json_numbers),
		cmocka_unit_test(test_price_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
