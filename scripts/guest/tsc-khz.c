// SPDX-License-Identifier: MIT
/*
 * tsc-khz - print this machine's time stamp counter frequency, in kHz
 *
 * An emulated guest reads the host's counter, but calibrates it against an
 * emulated timer: on a busy host it has been seen to find a seventh of the
 * frequency, and its clock then runs seven times too fast.  The runner tells the
 * guest's kernel instead (tsc_early_khz=).
 *
 * The median of several windows: being interrupted between the two clocks spoils
 * a window, seldom most of them.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define WINDOWS		5
#define WINDOW_NS	10000000

/* Both clocks at one moment, as near as a few tries bring them. */
static void both(uint64_t *tsc, uint64_t *ns)
{
	uint64_t best = UINT64_MAX;
	int i;

	for (i = 0; i < 20; i++) {
		struct timespec now;
		uint64_t before = __rdtsc(), after;

		clock_gettime(CLOCK_MONOTONIC_RAW, &now);
		after = __rdtsc();
		if (after - before >= best)
			continue;
		best = after - before;
		*tsc = before + best / 2;
		*ns = now.tv_sec * 1000000000ull + now.tv_nsec;
	}
}

int main(void)
{
	const struct timespec window = { .tv_nsec = WINDOW_NS };
	uint64_t tsc0, ns0, tsc1, ns1, khz[WINDOWS];
	int i, j;

	for (i = 0; i < WINDOWS; i++) {
		both(&tsc0, &ns0);
		nanosleep(&window, NULL);
		both(&tsc1, &ns1);
		khz[i] = (tsc1 - tsc0) * 1000000 / (ns1 - ns0);
	}
	/* the median, by insertion */
	for (i = 1; i < WINDOWS; i++)
		for (j = i; j && khz[j] < khz[j - 1]; j--) {
			uint64_t swap = khz[j];

			khz[j] = khz[j - 1];
			khz[j - 1] = swap;
		}
	printf("%llu\n", (unsigned long long)khz[WINDOWS / 2]);
	return 0;
}
