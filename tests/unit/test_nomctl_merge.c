// SPDX-License-Identifier: MIT
/* Frames of several rings in the order of time: apps/nomctl/src/merge.c. */
#include "../../apps/nomctl/src/merge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct seen {
	uint64_t when[8];
	uint8_t first[8];
	unsigned nr, most;
};

static int see(const struct nomstack_lk_frame *f, uint8_t *data, void *arg)
{
	struct seen *s = arg;

	s->when[s->nr] = f->when_ns;
	s->first[s->nr++] = data[0];
	return s->nr == s->most ? 1 : 0;
}

static void add(struct merge *m, uint64_t when_ns, uint8_t first)
{
	struct nomstack_lk_frame f = { .when_ns = when_ns, .bytes = 1, .wire_bytes = 1 };

	assert_int_equal(merge_add(&f, &first, m), 0);
}

static void test_merge_orders_and_waits(void **state)
{
	struct seen s = { .most = 8 };
	struct merge m = { 0 };

	add(&m, 30, 'c');
	add(&m, 10, 'a');
	add(&m, 30, 'd');	/* equal times: as they came */
	add(&m, 20, 'b');
	assert_int_equal(merge_take(&m, 30, see, &s), 0);
	assert_int_equal(s.nr, 2);
	add(&m, 25, 'x');	/* of a ring that was read late, but in time */
	assert_int_equal(merge_take(&m, UINT64_MAX, see, &s), 0);
	assert_int_equal(s.nr, 5);
	assert_memory_equal(s.first, "abxcd", 5);
	assert_int_equal(m.bytes, 0);
	merge_free(&m);
}

static void test_merge_ends_where_it_is_told(void **state)
{
	struct seen s = { .most = 2 };
	struct merge m = { 0 };

	for (unsigned i = 0; i < 4; i++)
		add(&m, 4 - i, (uint8_t)('a' + i));
	assert_int_equal(merge_take(&m, UINT64_MAX, see, &s), 1);
	assert_int_equal(s.nr, 2);
	s.most = 8;
	assert_int_equal(merge_take(&m, UINT64_MAX, see, &s), 0);
	assert_memory_equal(s.first, "dcba", 4);
	add(&m, 1, 'z');
	merge_free(&m);		/* what still waits goes with it */
	assert_int_equal(m.nr, 0);
}

/* Times that never come do not fill memory. */
static int count(const struct nomstack_lk_frame *f, uint8_t *data, void *arg)
{
	++*(unsigned *)arg;
	return 0;
}

static void test_merge_is_bounded(void **state)
{
	static uint8_t data[4096];
	struct nomstack_lk_frame f = { .when_ns = UINT64_MAX - 1, .bytes = sizeof(data), .wire_bytes = sizeof(data) };
	struct merge m = { 0 };
	unsigned n = 0, added = 0;

	while (!n && added < 100000) {
		assert_int_equal(merge_add(&f, data, &m), 0);
		added++;
		if (!(added % 64))
			assert_int_equal(merge_take(&m, 1, count, &n), 0);
	}
	assert_int_equal(n, added);
	assert_in_range((uint64_t)added * sizeof(data), 1 << 20, 64u << 20);
	merge_free(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_merge_orders_and_waits),
		cmocka_unit_test(test_merge_ends_where_it_is_told),
		cmocka_unit_test(test_merge_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
