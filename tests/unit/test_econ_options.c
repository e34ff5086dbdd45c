// SPDX-License-Identifier: MIT
/* Option tables: what is understood, what is refused, what help shows. */
#include <econ/options.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct values {
	bool flag;
	const char *text;
	int64_t number;
	double real;
};

static const struct econ_option table[] = {
	{ "flag", 'f', ECON_OPT_FLAG, offsetof(struct values, flag), NULL, "a flag", 0, 0 },
	{ "text", 't', ECON_OPT_STRING, offsetof(struct values, text), "TEXT", "a text", 0, 0 },
	{ "number", 'n', ECON_OPT_INT, offsetof(struct values, number), "N", "a number", -5, 100 },
	{ "real", 0, ECON_OPT_REAL, offsetof(struct values, real), "X", "a real", 0.5, 10 },
	{ NULL, 0, 0, 0, NULL, NULL, 0, 0 },
};

/* @words: separated by blanks */
static int parse(const char *words, unsigned flags, struct values *v, char **argv, char *err)
{
	static char copy[256];
	char *save = NULL;
	int argc = 0;

	snprintf(copy, sizeof(copy), "%s", words);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	memset(v, 0, sizeof(*v));
	err[0] = '\0';
	return econ_options_parse(table, v, argc, argv, flags, err, 128);
}

static void test_options_every_form(void **state)
{
	static const char *const forms[] = {
		"-f -t x -n 7 --real 2.5 a b", "a --flag b --text x --number=7 --real=2.5",
		"-f a -tx b -n7 --real 2.5", "--text=x -f --number 7 --real 2.5 -- a b",
	};
	char *argv[32], err[128];
	struct values v;

	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		assert_int_equal(parse(forms[i], 0, &v, argv, err), 2);
		assert_string_equal(argv[0], "a");
		assert_string_equal(argv[1], "b");
		assert_true(v.flag);
		assert_string_equal(v.text, "x");
		assert_int_equal(v.number, 7);
		assert_true(v.real == 2.5);
	}
}

static void test_options_operands(void **state)
{
	char *argv[32], err[128];
	struct values v;

	/* negative numbers and a lone dash are operands */
	assert_int_equal(parse("set -5 - -.5 -f", 0, &v, argv, err), 4);
	assert_true(v.flag);
	/* after -- everything is */
	assert_int_equal(parse("-- -f --text", 0, &v, argv, err), 2);
	assert_false(v.flag);
	/* the command's own options are not ours */
	assert_int_equal(parse("-f cmd -t --bogus", ECON_OPTIONS_STOP, &v, argv, err), 3);
	assert_string_equal(argv[0], "cmd");
	assert_string_equal(argv[2], "--bogus");
	assert_null(v.text);
	assert_int_equal(parse("", 0, &v, argv, err), 0);
	/* an argument may look like an option */
	assert_int_equal(parse("--text -f", 0, &v, argv, err), 0);
	assert_string_equal(v.text, "-f");
	assert_int_equal(parse("--number -5", 0, &v, argv, err), 0);
	assert_int_equal(v.number, -5);
}

static void test_options_refuse(void **state)
{
	static const struct {
		const char *words, *in_message;
	} bad[] = {
		{ "--bogus", "--bogus" }, { "-x", "-x" }, { "--fla", "--fla" },
		{ "--flags", "--flags" }, { "--flag=1", "takes no argument" }, { "-f1", "takes no argument" },
		{ "--text", "needs an argument" }, { "-n", "needs an argument" },
		{ "-n x", "--number must be" }, { "-n 101", "-5 to 100" }, { "-n -6", "-5 to 100" },
		{ "-n 7x", "--number" }, { "--number=", "--number" }, { "--number=99999999999999999999", "--number" },
		{ "--real 0.4", "0.5 to 10" }, { "--real nan", "--real" }, { "--real inf", "--real" },
		{ "--real 1e999", "--real" }, { "--real=", "--real" },
	};
	char *argv[32], err[128];
	struct values v;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(parse(bad[i].words, 0, &v, argv, err), -EINVAL);
		if (!strstr(err, bad[i].in_message))
			fail_msg("\"%s\" is not in: %s", bad[i].in_message, err);
	}
}

static void test_help_has_every_row(void **state)
{
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	econ_options_help(f, table);
	fclose(f);
	for (const struct econ_option *o = table; o->name; o++) {
		assert_non_null(strstr(text, o->name));
		assert_non_null(strstr(text, o->help));
	}
	assert_non_null(strstr(text, "-n, --number N"));
	free(text);
}

static void test_exit_codes(void **state)
{
	assert_int_equal(econ_exit_code(0), ECON_EXIT_OK);
	assert_int_equal(econ_exit_code(-ENODEV), ECON_EXIT_NO_NOM);
	assert_int_equal(econ_exit_code(-EPERM), ECON_EXIT_PERMISSION);
	assert_int_equal(econ_exit_code(-EACCES), ECON_EXIT_PERMISSION);
	assert_int_equal(econ_exit_code(-EBUSY), ECON_EXIT_BUSY);
	assert_int_equal(econ_exit_code(-ENOENT), ECON_EXIT_NOT_FOUND);
	assert_int_equal(econ_exit_code(-EIO), ECON_EXIT_FAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options_every_form),
		cmocka_unit_test(test_options_operands),
		cmocka_unit_test(test_options_refuse),
		cmocka_unit_test(test_help_has_every_row),
		cmocka_unit_test(test_exit_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
