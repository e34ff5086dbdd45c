// SPDX-License-Identifier: MIT
/* The verdicts of nomctl bench micro: against whom, and which side of the bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../apps/nomctl/src/bench.h"

static json_t *list;

static void add(const char *name, const char *mechanism, int instructions, double ns, const char *hypervisor)
{
	json_t *r = json_pack("{s:s, s:s, s:s}", "name", name, "mechanism", mechanism, "hypervisor", hypervisor);

	json_object_set_new(r, "instructions", instructions < 0 ? json_null() : json_integer(instructions));
	json_object_set_new(r, "ns_p50", ns < 0 ? json_null() : json_real(ns));
	json_array_append_new(list, r);
}

static int setup(void **state)
{
	list = json_array();
	return 0;
}

static int teardown(void **state)
{
	json_decref(list);
	return 0;
}

/* The verdict on the target whose text begins so. */
static struct bench_verdict verdict(const char *what)
{
	struct bench_verdict v;
	size_t i;

	for (i = 0; bench_target(list, i, &v); i++)
		if (!strncmp(v.what, what, strlen(what)))
			return v;
	fail_msg("no such target: %s", what);
	return v;
}

static void test_ratio_at_its_bound(void **state)
{
	add("invalid-instruction/upcall", "nom", 100, -1, "TCG");
	add("invalid-instruction/sigill", "linux", 400, -1, "TCG");
	assert_string_equal(verdict("trap").verdict, "reached");
	assert_string_equal(verdict("trap").wanted, "4x");
	assert_string_equal(verdict("trap").seen, "4.0x: 100, 400");
	json_array_clear(list);
	add("invalid-instruction/upcall", "nom", 100, -1, "TCG");
	add("invalid-instruction/sigill", "linux", 399, -1, "TCG");
	assert_string_equal(verdict("trap").verdict, "MISSED");
}

static void test_cheapest_of_the_job(void **state)
{
	add("page-fault-map/upcall", "nom", 100, -1, "TCG");
	add("page-fault-map/a", "linux", 500, -1, "TCG");
	add("page-fault-map/b", "linux", 199, -1, "TCG");
	/* another job, although its name begins the same; not counted; nom's own */
	add("page-fault-map-16-ahead/c", "linux", 10, -1, "TCG");
	add("page-fault-map/d", "linux", -1, 1, "TCG");
	add("page-fault-map/e", "nom", 5, -1, "TCG");
	assert_string_equal(verdict("page fault and map, against").seen, "1.9x: 100, 199");
	assert_string_equal(verdict("page fault and map, against").verdict, "MISSED");
}

static void test_signals_only(void **state)
{
	add("event-same-core/notify", "nom", 100, -1, "TCG");
	add("event-same-core/tgkill", "linux", 300, -1, "TCG");
	add("event-same-core/tgkill-reserved-core", "linux", 250, -1, "TCG");
	add("event-same-core/pipe-write-read", "linux", 50, -1, "TCG");
	assert_string_equal(verdict("  through the kernel").verdict, "reached");
	assert_string_equal(verdict("  through the kernel, both").verdict, "MISSED");
}

static void test_absolute(void **state)
{
	add("board-read/changes", "nom", 60, 1000, "TCG");
	add("board-read/price", "nom", 61, 1, "TCG");
	assert_string_equal(verdict("board: did").verdict, "reached");
	assert_string_equal(verdict("board: a price").verdict, "MISSED");
	json_array_clear(list);
	add("board-read/changes", "nom", -1, 21, "KVM");	/* not counted: by time */
	add("board-read/price", "nom", -1, 20, "KVM");
	assert_string_equal(verdict("board: did").verdict, "MISSED");
	assert_string_equal(verdict("board: a price").verdict, "reached");
}

static void test_time_is_judged_on_hardware_only(void **state)
{
	add("event-same-core/eventfd-write", "nom", 1000, 100, "TCG");
	assert_string_equal(verdict("interrupt").verdict, "not judged: emulated");
	json_array_clear(list);
	add("event-same-core/eventfd-write", "nom", 1000, 501, "KVM");
	assert_string_equal(verdict("interrupt").verdict, "MISSED");
	json_array_clear(list);
	add("event-same-core/eventfd-write", "nom", 1000, 500, "none");
	assert_string_equal(verdict("interrupt").verdict, "reached");
}

static void test_nothing_to_judge(void **state)
{
	assert_string_equal(verdict("trap").verdict, "not measured");
	add("invalid-instruction/upcall", "nom", -1, 10, "TCG");
	assert_string_equal(verdict("trap").verdict, "not counted");
	add("invalid-instruction/sigill", "linux", 400, 10, "TCG");
	assert_string_equal(verdict("trap").verdict, "not counted");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ratio_at_its_bound, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cheapest_of_the_job, setup, teardown),
		cmocka_unit_test_setup_teardown(test_signals_only, setup, teardown),
		cmocka_unit_test_setup_teardown(test_absolute, setup, teardown),
		cmocka_unit_test_setup_teardown(test_time_is_judged_on_hardware_only, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_to_judge, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
