// SPDX-License-Identifier: MIT
/*
 * vring.c - libFuzzer target: what a device writes into rings, headers, status
 * and configuration, against the driver
 *
 * The programs, the device and what must hold are test_vnet_fuzz.c's; here the
 * programs come from libFuzzer, which sees the driver's coverage.
 */
#define main test_vnet_fuzz_main
#include "../../unit/test_vnet_fuzz.c"
#undef main

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	nomux_set_log_fn(quiet, NULL);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct program p;
	char why[160];

	p.len = (unsigned int)(size < BYTES_MAX ? size : BYTES_MAX) / STEP_BYTES * STEP_BYTES;
	if (!p.len)
		return 0;
	memcpy(p.b, data, p.len);
	t_run(&p, why, sizeof(why));
	return 0;
}
