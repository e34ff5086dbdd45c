// SPDX-License-Identifier: MIT
/* Price files and traces: what is read, what is refused, when steps are due. */
#include <econ/price.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NS	1000000000ULL

static int parse(const char *text, struct econ_prices **p, char *err, size_t n)
{
	return econ_prices_parse(text, strlen(text), "p.json", p, err, n);
}

static void test_price_file_is_one_step(void **state)
{
	struct econ_prices *p;
	const struct econ_step *s;
	char err[256];

	assert_int_equal(parse("{\"prices\":[{\"name\":\"bandwidth\",\"unit\":\"Gbit\",\"usd\":1.25},"
			       "{\"name\":\"core\",\"ucr\":7}, {\"name\":\"free\",\"usd\":0}]}",
			       &p, err, sizeof(err)), 0);
	assert_false(econ_prices_is_trace(p));
	assert_int_equal(econ_prices_nr_steps(p), 1);
	s = econ_prices_step(p, 0);
	assert_int_equal(s->at_ns, 0);
	assert_int_equal(s->nr, 3);
	assert_string_equal(s->prices[0].name, "bandwidth");
	assert_string_equal(s->prices[0].unit, "Gbit");
	assert_int_equal(s->prices[0].ucr, 1250000);
	assert_string_equal(s->prices[1].unit, "");
	assert_int_equal(s->prices[1].ucr, 7);
	assert_int_equal(s->prices[2].ucr, 0);
	econ_prices_destroy(p);
}

static void test_price_errors_name_the_place(void **state)
{
#define P(more)		"{\"prices\":[{\"name\":\"a\"," more "}]}"
#define S(at)		"{\"at_s\":" at ",\"prices\":[{\"name\":\"a\",\"usd\":1}]}"
	static const struct {
		const char *text, *word;
		int ret;
	} bad[] = {
		{ "", "line 1", -EINVAL },
		{ "{\n\"prices\": [}", "line 2", -EINVAL },
		{ "[]", "object", -EINVAL },
		{ "{}", "\"prices\" or \"steps\"", -EINVAL },
		{ "{\"prices\":[],\"steps\":[]}", "\"prices\" or \"steps\"", -EINVAL },
		{ "{\"prices\":[]}", "at least one", -EINVAL },
		{ "{\"prices\":{\"a\":1}}", "at least one", -EINVAL },
		{ "{\"prices\":[3]}", "price 1: must be an object", -EINVAL },
		{ "{\"price\":[]}", "unknown key \"price\"", -EINVAL },
		{ "{\"prices\":[{\"usd\":1}]}", "price 1: \"name\"", -EINVAL },
		{ "{\"prices\":[{\"name\":\"Band width\",\"usd\":1}]}", "\"name\"", -EINVAL },
		{ "{\"prices\":[{\"name\":\"\",\"usd\":1}]}", "\"name\"", -EINVAL },
		{ "{\"prices\":[{\"name\":\"abcdefghijklmnopqrstuvwx\",\"usd\":1}]}", "\"name\"", -EINVAL },
		{ "{\"prices\":[{\"name\":\"a\\u0000b\",\"usd\":1}]}", "line 1", -EINVAL },
		{ P("\"unit\":7,\"usd\":1"), "\"unit\"", -EINVAL },
		{ P("\"unit\":\"a b\",\"usd\":1"), "\"unit\"", -EINVAL },
		{ P("\"unit\":\"G\""), "either \"usd\" or \"ucr\"", -EINVAL },
		{ P("\"usd\":1,\"ucr\":1"), "either \"usd\" or \"ucr\"", -EINVAL },
		{ P("\"uds\":1"), "unknown key \"uds\"", -EINVAL },
		{ P("\"usd\":\"1\""), "\"usd\" must be a number", -EINVAL },
		{ P("\"usd\":null"), "\"usd\" must be a number", -EINVAL },
		{ P("\"usd\":NaN"), "line 1", -EINVAL },
		{ P("\"usd\":1e999"), "line 1", -EINVAL },
		{ P("\"ucr\":1.5"), "\"ucr\" must be an integer", -EINVAL },
		{ P("\"usd\":-1"), "0 to 10^9", -ERANGE },
		{ P("\"usd\":-0.0000001"), "0 to 10^9", -ERANGE },
		{ P("\"ucr\":-1"), "0 to 10^9", -ERANGE },
		{ P("\"usd\":1000000001"), "0 to 10^9", -ERANGE },
		{ P("\"usd\":1e30"), "0 to 10^9", -ERANGE },
		{ P("\"ucr\":1000000000000001"), "0 to 10^9", -ERANGE },
		{ "{\"prices\":[{\"name\":\"a\",\"usd\":1},{\"name\":\"a\",\"usd\":2}]}",
		  "price 2: \"a\" is there twice", -EINVAL },
		{ "{\"steps\":[]}", "at least one", -EINVAL },
		{ "{\"steps\":[3]}", "step 1: must be an object", -EINVAL },
		{ "{\"steps\":[{\"prices\":[{\"name\":\"a\",\"usd\":1}]}]}", "step 1: \"at_s\"", -EINVAL },
		{ "{\"steps\":[" S("-1") "]}", "step 1: \"at_s\"", -EINVAL },
		{ "{\"steps\":[" S("1e12") "]}", "step 1: \"at_s\"", -EINVAL },
		{ "{\"steps\":[" S("5") "," S("5") "]}", "step 2: \"at_s\" is not after", -EINVAL },
		{ "{\"steps\":[" S("5") "," S("4") "]}", "step 2: \"at_s\" is not after", -EINVAL },
		{ "{\"steps\":[" S("0") ",{\"at_s\":1,\"prices\":[{\"name\":\"a\",\"usd\":-1}]}]}",
		  "step 2: price 1:", -ERANGE },
		{ "{\"steps\":[" S("0") "],\"loops\":2}", "period_s", -EINVAL },
		{ "{\"steps\":[" S("5") "],\"loops\":0,\"period_s\":5}", "period_s", -EINVAL },
		{ "{\"steps\":[" S("0") "],\"loops\":-1,\"period_s\":5}", "\"loops\"", -EINVAL },
		{ "{\"steps\":[" S("0") "],\"loops\":0,\"period_s\":1e-6}", "at least 0.001", -EINVAL },
		{ "{\"prices\":[{\"name\":\"a\",\"usd\":1}],\"loops\":2}", "need \"steps\"", -EINVAL },
	};
	struct econ_prices *p = (void *)-1L;
	char err[256];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(parse(bad[i].text, &p, err, sizeof(err)), bad[i].ret);
		if (!strstr(err, bad[i].word))
			fail_msg("\"%s\" is not in: %s", bad[i].word, err);
		assert_int_equal(strncmp(err, "p.json: ", 8), 0);
		assert_null(strchr(err, '\n'));
	}
	assert_ptr_equal(p, (void *)-1L);
}

static void test_trace_plays_in_time_order(void **state)
{
	static const uint64_t due[] = { 0, 60 * NS, 120 * NS, 180 * NS, 240 * NS, 300 * NS };
	struct econ_cursor c = { 0 };
	struct econ_prices *p;
	char err[256];
	uint64_t at;

	assert_int_equal(parse("{\"steps\":[" S("0") "," S("60") "],\"period_s\":120,\"loops\":3}",
			       &p, err, sizeof(err)), 0);
	assert_true(econ_prices_is_trace(p));
	for (size_t i = 0; i < 6; i++) {
		assert_int_equal(econ_cursor_next(p, &c, &at), 1);
		assert_int_equal(at, due[i]);
		assert_int_equal(c.step, i % 2);
		econ_cursor_advance(p, &c);
	}
	assert_int_equal(econ_cursor_next(p, &c, &at), 0);
	econ_prices_destroy(p);
}

static void test_trace_once_by_default_and_without_end(void **state)
{
	struct econ_cursor c = { 0 };
	struct econ_prices *p;
	uint64_t at;

	assert_int_equal(parse("{\"steps\":[" S("0.5") "]}", &p, NULL, 0), 0);
	assert_int_equal(econ_cursor_next(p, &c, &at), 1);
	assert_int_equal(at, NS / 2);
	econ_cursor_advance(p, &c);
	assert_int_equal(econ_cursor_next(p, &c, &at), 0);
	econ_prices_destroy(p);

	c = (struct econ_cursor) { 0 };
	assert_int_equal(parse("{\"steps\":[" S("0") "],\"loops\":0,\"period_s\":2}", &p, NULL, 0), 0);
	for (uint64_t i = 0; i < 1000; i++) {
		assert_int_equal(econ_cursor_next(p, &c, &at), 1);
		assert_int_equal(at, i * 2 * NS);
		econ_cursor_advance(p, &c);
	}
	econ_prices_destroy(p);
}

/* A year again and again: time does not begin anew in the 585th. */
static void test_trace_without_end_ends_before_time_wraps(void **state)
{
	struct econ_cursor c = { 0 };
	struct econ_prices *p;
	uint64_t at, last = 0;
	unsigned n;

	assert_int_equal(parse("{\"steps\":[" S("2") "," S("40") "],\"loops\":0,\"period_s\":31536000}", &p, NULL, 0), 0);
	for (n = 0; n < 2000 && econ_cursor_next(p, &c, &at); n++) {
		assert_true(!n || at > last);
		last = at;
		econ_cursor_advance(p, &c);
	}
	assert_int_equal(n, 585 * 2);
	econ_prices_destroy(p);
}

/* Seeking and playing the rest leaves the prices that playing all leaves. */
static void test_trace_seek_is_the_same_as_playing(void **state)
{
	struct econ_prices *p;

	assert_int_equal(parse("{\"steps\":[{\"at_s\":1,\"prices\":[{\"name\":\"a\",\"ucr\":1}]},"
			       "{\"at_s\":3,\"prices\":[{\"name\":\"a\",\"ucr\":2},"
			       "{\"name\":\"b\",\"ucr\":3}]}],\"period_s\":5,\"loops\":4}",
			       &p, NULL, 0), 0);
	for (uint64_t to = 0; to < 30 * NS; to += NS / 4) {
		int64_t seen[2][2] = { { -1, -1 }, { -1, -1 } };

		for (int seek = 0; seek < 2; seek++) {
			struct econ_cursor c = { 0 };
			uint64_t at;

			if (seek)
				econ_cursor_seek(p, &c, to);
			while (econ_cursor_next(p, &c, &at) && at <= to) {
				const struct econ_step *s = econ_prices_step(p, c.step);

				for (unsigned i = 0; i < s->nr; i++)
					seen[seek][s->prices[i].name[0] - 'a'] = s->prices[i].ucr;
				econ_cursor_advance(p, &c);
			}
		}
		assert_memory_equal(seen[0], seen[1], sizeof(seen[0]));
	}
	econ_prices_destroy(p);
}

static void test_samples_of_the_tree_load(void **state)
{
	static const char *const samples[] = { "price-step", "price-saw", "prices" };
	struct econ_prices *p;
	char path[64], err[256];

	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "econd/traces/%s.json", samples[i]);
		assert_int_equal(econ_prices_load(path, &p, err, sizeof(err)), 0);
		econ_prices_destroy(p);
	}
	assert_int_equal(econ_prices_load("/nonexistent", &p, err, sizeof(err)), -ENOENT);
	assert_non_null(strstr(err, "/nonexistent: No such file"));
	assert_int_equal(econ_prices_load("/dev/zero", &p, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "not a regular file"));
}

static void test_price_survives_damaged_files(void **state)
{
	static const char good[] = "{\"steps\":[" S("0") "," S("60") "],\"period_s\":120,\"loops\":3}";
	char text[sizeof(good)], err[64];
	struct econ_prices *p;

	srand(4);
	for (int round = 0; round < 20000; round++) {
		size_t len = sizeof(good) - 1;

		memcpy(text, good, sizeof(good));
		if (round % 2)
			len = (size_t)rand() % len;
		for (int k = rand() % 4; k >= 0; k--)
			text[(size_t)rand() % (sizeof(good) - 1)] = (char)rand();
		if (!econ_prices_parse(text, len, "p", &p, err, sizeof(err))) {
			for (unsigned s = 0; s < econ_prices_nr_steps(p); s++)
				assert_in_range(econ_prices_step(p, s)->prices[0].ucr, 0,
						1000000000000000);
			econ_prices_destroy(p);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_price_file_is_one_step),
		cmocka_unit_test(test_price_errors_name_the_place),
		cmocka_unit_test(test_trace_plays_in_time_order),
		cmocka_unit_test(test_trace_once_by_default_and_without_end),
		cmocka_unit_test(test_trace_without_end_ends_before_time_wraps),
		cmocka_unit_test(test_trace_seek_is_the_same_as_playing),
		cmocka_unit_test(test_samples_of_the_tree_load),
		cmocka_unit_test(test_price_survives_damaged_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
