// SPDX-License-Identifier: MIT
/* nomctl's reading and writing of text: tables, numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../apps/nomctl/src/nomctl.h"

static void test_table_aligns_columns(void **state)
{
	struct nomctl_table *t = nomctl_table_create("name\t>value\tunit");
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	nomctl_table_row(t, "%s\t%d\t%s", "a", 1, "us");
	nomctl_table_row(t, "longer µs\t-12345\tx|y");
	nomctl_table_row(t, "short");
	nomctl_table_print(t, f);
	fclose(f);
	assert_string_equal(text,
			    "name        value  unit\n"
			    "a               1  us\n"
			    "longer µs  -12345  x|y\n"
			    "short              \n");
	free(text);
	/* many rows, none printed: nothing leaks */
	t = nomctl_table_create("a\tb");
	for (int i = 0; i < 100; i++)
		nomctl_table_row(t, "%d\t%d", i, i);
	nomctl_table_print(t, NULL);
}

static void test_numbers_for_people(void **state)
{
	char buf[32];

	assert_string_equal(nomctl_bytes(0, buf, sizeof(buf)), "0 B");
	assert_string_equal(nomctl_bytes(1536, buf, sizeof(buf)), "1.5 KiB");
	assert_string_equal(nomctl_bytes(256ULL << 20, buf, sizeof(buf)), "256.0 MiB");
	assert_string_equal(nomctl_bytes(UINT64_MAX, buf, sizeof(buf)), "16777216.0 TiB");
	assert_string_equal(nomctl_bdf(0x0018, buf, sizeof(buf)), "0000:00:03.0");
	assert_string_equal(nomctl_bdf(0x1234ff9f, buf, sizeof(buf)), "1234:ff:13.7");
	assert_string_equal(nomctl_age(1500000000, buf, sizeof(buf)), "1.5 s");
	assert_string_equal(nomctl_age(180000000000, buf, sizeof(buf)), "3 min");
	assert_string_equal(nomctl_core_state(2), "running");
	assert_string_equal(nomctl_core_state(77), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table_aligns_columns),
		cmocka_unit_test(test_numbers_for_people),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
