// SPDX-License-Identifier: MIT
/* The measured table: reading, refusing, interpolating, saving. */
#include <econ/table.h>

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int parse(const char *text, struct econ_table **t, char *err, size_t n)
{
	return econ_table_parse(text, strlen(text), "m.json", t, err, n);
}

#define E(c, w, rps, lat)	{ .connections = c, .w_us = w, .requests_per_s = rps,	\
	.gbps = (rps) * 1e-6, .latency_mean_ns = lat, .latency_sd_ns = (lat) / 10.0 }

static void test_table_reads_both_shapes(void **state)
{
	static const char *const shapes[] = {
		"[{\"connections\":1,\"w_us\":0,\"requests_per_s\":1000,\"bytes_per_request\":125,"
		"\"latency_mean_ns\":5,\"latency_sd_ns\":1}]",
		"{\"machine\":\"m\",\"measured_unix_s\":7,\"entries\":[{\"connections\":1,\"w_us\":0,"
		"\"gbps\":0.001,\"latency_mean_ns\":5,\"latency_sd_ns\":1}]}",
	};
	struct econ_table *t;
	struct econ_point p;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(parse(shapes[i], &t, NULL, 0), 0);
		assert_int_equal(econ_table_nr_w(t), 1);
		assert_int_equal(econ_table_point(t, 1, 0, &p), 0);
		assert_true(fabs(p.throughput_gbps - 0.001) < 1e-15);
		assert_true(p.latency_mean_ns == 5 && p.latency_sd_ns == 1);
		assert_int_equal(econ_table_point(t, 1, 1, &p), -EINVAL);
		econ_table_destroy(t);
	}
}

static void test_table_errors_name_line_or_entry(void **state)
{
#define OK0	"{\"connections\":1,\"w_us\":0,\"gbps\":1,\"latency_mean_ns\":5,\"latency_sd_ns\":1}"
#define OK1	"{\"connections\":1,\"w_us\":9,\"gbps\":1,\"latency_mean_ns\":5,\"latency_sd_ns\":1}"
	static const struct {
		const char *text, *word;
		int ret;
	} bad[] = {
		{ "", "line 1", -EINVAL },
		{ "[" OK0 ",\n\n" OK0 " x]", "line 3", -EINVAL },
		{ "[" OK0 ",", "line 1", -EINVAL },
		{ "7", "line 1", -EINVAL },
		{ "[]", "no entries", -EINVAL },
		{ "{}", "entries", -EINVAL },
		{ "{\"entries\":{}}", "entries", -EINVAL },
		{ "{\"entries\":[" OK0 "],\"maschine\":\"m\"}", "maschine", -EINVAL },
		{ "{\"entries\":[" OK0 "],\"measured_unix_s\":-1}", "measured_unix_s", -EINVAL },
		{ "{\"entries\":[" OK0 "],\"machine\":1}", "machine", -EINVAL },
		{ "[" OK0 ",3]", "entry 1", -EINVAL },
		{ "[" OK0 ",{\"connections\":1}]", "entry 1: \"w_us\" is missing", -EINVAL },
		{ "[{\"connections\":0,\"w_us\":0}]", "entry 0: \"connections\"", -EINVAL },
		{ "[{\"connections\":1.5,\"w_us\":0}]", "entry 0: \"connections\"", -EINVAL },
		{ "[{\"connections\":1,\"w_us\":-1}]", "entry 0: \"w_us\"", -EINVAL },
		{ "[{\"connections\":1,\"w_us\":2000000}]", "entry 0: \"w_us\"", -EINVAL },
		{ "[{\"connections\":1,\"w_us\":100001}]", "entry 0: \"w_us\" is 100001, and no stack can be set to more than 100000", -EINVAL },
		{ "[{\"connections\":1,\"w_us\":0}]", "requests_per_s", -EINVAL },
		{ "[{\"connections\":1,\"w_us\":0,\"requests_per_s\":1}]", "bytes_per_request", -EINVAL },
		{ "[{\"connections\":1,\"w_us\":0,\"gbps\":-1}]", "gbps", -EINVAL },
		{ "[{\"connections\":1,\"w_us\":0,\"gbps\":\"1\"}]", "gbps", -EINVAL },
		{ "[{\"connections\":1,\"w_us\":0,\"gbps\":1}]", "latency_mean_ns", -EINVAL },
		{ "[{\"connections\":1,\"w_us\":0,\"gbps\":1,\"latency_mean_ns\":1}]", "latency_sd_ns",
		  -EINVAL },
		{ "[{\"connections\":1,\"w_us\":0,\"gbps\":1e999}]", "line 1", -EINVAL },
		{ "[{\"connections\":1,\"w_us\":0,\"latency\":1}]", "unknown key \"latency\"", -EINVAL },
		{ "[" OK0 "," OK1 "," OK0 "]", "1 connections with W 0 us: twice", -EEXIST },
	};
	struct econ_table *t = (void *)-1L;
	char err[256];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(parse(bad[i].text, &t, err, sizeof(err)), bad[i].ret);
		if (!strstr(err, bad[i].word))
			fail_msg("\"%s\" is not in: %s", bad[i].word, err);
		assert_int_equal(strncmp(err, "m.json: ", 8), 0);
	}
	assert_ptr_equal(t, (void *)-1L);
}

static void test_table_wants_a_full_grid(void **state)
{
	const struct econ_table_entry hole_last[] = { E(1, 0, 1, 1), E(1, 9, 1, 1), E(8, 0, 1, 1) };
	const struct econ_table_entry hole_first[] = { E(1, 0, 1, 1), E(8, 0, 1, 1), E(8, 9, 1, 1) };
	const struct econ_table_entry other_w[] = { E(1, 0, 1, 1), E(1, 9, 1, 1), E(8, 0, 1, 1),
						    E(8, 7, 1, 1) };
	struct econ_table *t;
	char err[256];

	assert_int_equal(econ_table_create(hole_last, 3, &t, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "8 connections"));
	assert_int_equal(econ_table_create(hole_first, 3, &t, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "8 connections"));
	assert_int_equal(econ_table_create(other_w, 4, &t, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "8 connections"));
}

static void test_table_is_bounded(void **state)
{
	static struct econ_table_entry many[ECON_TABLE_MAX_ENTRIES + 1];
	struct econ_table *t;

	for (unsigned i = 0; i <= ECON_TABLE_MAX_ENTRIES; i++)
		many[i] = (struct econ_table_entry)E(i / 2 + 1, i % 2, 1, 1);
	assert_int_equal(econ_table_create(many, ECON_TABLE_MAX_ENTRIES + 1, &t, NULL, 0), -E2BIG);
	assert_int_equal(econ_table_create(many, ECON_TABLE_MAX_ENTRIES, &t, NULL, 0), 0);
	econ_table_destroy(t);
	for (unsigned i = 0; i <= ECON_TABLE_MAX_W; i++)
		many[i] = (struct econ_table_entry)E(1, i, 1, 1);
	assert_int_equal(econ_table_create(many, ECON_TABLE_MAX_W + 1, &t, NULL, 0), -E2BIG);
	assert_int_equal(econ_table_create(many, 0, &t, NULL, 0), -EINVAL);
	many[0].gbps = NAN;
	assert_int_equal(econ_table_create(many, 2, &t, NULL, 0), -EINVAL);
}

static void test_table_interpolates_in_connections(void **state)
{
	/* in no order */
	const struct econ_table_entry e[] = {
		E(64, 20, 4000, 800), E(1, 0, 1000, 100), E(64, 0, 3000, 700), E(1, 20, 900, 140),
		E(10, 0, 2000, 300), E(10, 20, 1900, 320),
	};
	struct econ_table *t;
	struct econ_point p;
	uint32_t min, max;

	assert_int_equal(econ_table_create(e, 6, &t, NULL, 0), 0);
	assert_int_equal(econ_table_nr_w(t), 2);
	assert_int_equal(econ_table_w_us(t, 0), 0);
	assert_int_equal(econ_table_w_us(t, 1), 20);
	econ_table_range(t, &min, &max);
	assert_int_equal(min, 1);
	assert_int_equal(max, 64);
#define AT(c, i, lat) do {							\
	assert_int_equal(econ_table_point(t, c, i, &p), 0);			\
	assert_true(fabs(p.latency_mean_ns - (lat)) < 1e-9);			\
	assert_true(fabs(p.latency_sd_ns - (lat) / 10.0) < 1e-9);		\
} while (0)
	AT(1, 0, 100);
	AT(1, 1, 140);
	AT(10, 0, 300);
	AT(64, 1, 800);
	AT(4, 0, 100 + 200 * 3 / 9.0);
	AT(37, 1, 320 + 480 * 27 / 54.0);
	/* outside: the nearest measured load, never a guess beyond it */
	AT(0, 0, 100);
	AT(65, 0, 700);
	AT(UINT32_MAX, 1, 800);
#undef AT
	assert_true(fabs(p.throughput_gbps - 4000e-6) < 1e-12);
	econ_table_destroy(t);
}

static void test_table_survives_saving(void **state)
{
	char path[] = "/tmp/nom-table-XXXXXX", err[256];
	struct econ_table *a, *b;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(econ_table_load("econd/traces/table-example.json", &a, err, sizeof(err)), 0);
	assert_int_equal(econ_table_save(a, path, err, sizeof(err)), 0);
	assert_int_equal(econ_table_load(path, &b, err, sizeof(err)), 0);
	assert_int_equal(econ_table_nr_w(a), econ_table_nr_w(b));
	for (unsigned i = 0; i < econ_table_nr_w(a); i++) {
		for (uint32_t c = 1; c < 400; c += 7) {
			struct econ_point p, q;

			assert_int_equal(econ_table_point(a, c, i, &p), 0);
			assert_int_equal(econ_table_point(b, c, i, &q), 0);
			assert_true(fabs(p.throughput_gbps - q.throughput_gbps) < 1e-9);
			assert_true(fabs(p.latency_mean_ns - q.latency_mean_ns) < 1e-3);
		}
	}
	assert_int_equal(econ_table_stale(b, "example", 1700000100, 3600, err, sizeof(err)), 0);
	econ_table_destroy(b);
	assert_int_equal(econ_table_save(a, "/nonexistent/t.json", err, sizeof(err)), -ENOENT);
	assert_non_null(strstr(err, "/nonexistent/t.json"));
	econ_table_destroy(a);
	unlink(path);
}

static void test_table_absent_or_stale(void **state)
{
	struct econ_table *t;
	char err[256];

	assert_int_equal(econ_table_load("/nonexistent.json", &t, err, sizeof(err)), -ENOENT);
	assert_non_null(strstr(err, "/nonexistent.json: No such file"));
	assert_int_equal(econ_table_load("econd/traces/table-example.json", &t, err, sizeof(err)), 0);
	assert_int_equal(econ_table_stale(t, NULL, 1900000000, 0, err, sizeof(err)), 0);
	assert_int_equal(econ_table_stale(t, "kvm", 1700000000, 0, err, sizeof(err)), -ESTALE);
	assert_non_null(strstr(err, "example"));
	assert_int_equal(econ_table_stale(t, "example", 1700003601, 3600, err, sizeof(err)), -ESTALE);
	assert_non_null(strstr(err, "3601 s ago"));
	/* a clock set back is not an age */
	assert_int_equal(econ_table_stale(t, "example", 1600000000, 3600, err, sizeof(err)), 0);
	econ_table_stamp(t, NULL, 0);
	assert_int_equal(econ_table_stale(t, "kvm", 1900000000, 1, err, sizeof(err)), 0);
	econ_table_destroy(t);
}

/* Whatever is cut off or flipped, the parser says no or gives a valid table. */
static void test_table_survives_damaged_files(void **state)
{
	static const char good[] = "{\"machine\":\"m\",\"entries\":[" OK0 "," OK1 "]}";
	char text[sizeof(good)];
	struct econ_table *t;
	char err[64];

	srand(3);
	for (int round = 0; round < 20000; round++) {
		size_t len = sizeof(good) - 1;

		memcpy(text, good, sizeof(good));
		if (round % 2)
			len = (size_t)rand() % len;
		for (int k = rand() % 4; k >= 0; k--)
			text[(size_t)rand() % (sizeof(good) - 1)] = (char)rand();
		if (!econ_table_parse(text, len, "m", &t, err, sizeof(err))) {
			assert_in_range(econ_table_nr_w(t), 1, 2);
			econ_table_destroy(t);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table_reads_both_shapes),
		cmocka_unit_test(test_table_errors_name_line_or_entry),
		cmocka_unit_test(test_table_wants_a_full_grid),
		cmocka_unit_test(test_table_is_bounded),
		cmocka_unit_test(test_table_interpolates_in_connections),
		cmocka_unit_test(test_table_survives_saving),
		cmocka_unit_test(test_table_absent_or_stale),
		cmocka_unit_test(test_table_survives_damaged_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
