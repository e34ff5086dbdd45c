// SPDX-License-Identifier: MIT
/* The check of headers against library: each difference is found and named. */
#include <nomux/abi.h>

#include "nomux_threads.h"

static void test_same(void **state)
{
	assert_int_equal(nomux_abi_check(), 0);
}

static void test_each_difference(void **state)
{
	size_t words = (sizeof(struct nomux_abi) - offsetof(struct nomux_abi, version)) / 4 - 1, i;

	log_quiet();
	for (i = 0; i < words; i++) {	/* without the reserved one */
		struct nomux_abi abi = NOMUX_ABI_HERE;

		(&abi.version)[i]++;
		assert_int_equal(nomux__abi_check(&abi), -EPROTO);
		assert_int_equal(log_lines, i + 1);
	}
	assert_non_null(strstr(log_last, "struct nom_shared"));
	log_normal();
}

static void test_other_lengths(void **state)
{
	struct nomux_abi abi = NOMUX_ABI_HERE;

	abi.sz = offsetof(struct nomux_abi, sem_bytes);	/* an older program: less to compare */
	abi.sem_bytes = 0;
	assert_int_equal(nomux__abi_check(&abi), 0);
	abi.sz = 2 * sizeof(abi);			/* a newer one: what we know fits */
	abi.sem_bytes = sizeof(struct nomux_sem);
	assert_int_equal(nomux__abi_check(&abi), 0);
	abi.sz = 0;
	assert_int_equal(nomux__abi_check(&abi), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_each_difference),
		cmocka_unit_test(test_other_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
