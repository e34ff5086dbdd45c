// SPDX-License-Identifier: MIT
/*
 * Calibration of the time stamp counter against CLOCK_MONOTONIC.
 *
 * Each end of the measured interval is the tightest of several readings
 * (counter, clock, counter), so that a preemption between the two does not
 * count; what stays is half the width of the tightest bracket at each end, a
 * few tens of nanoseconds in 20 ms on hardware.
 */
#include <nomux/clock.h>

#include <cpuid.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "internal.h"

#define CAL_NS		20000000ULL
#define CAL_READINGS	16
#define CLOCK_SHIFT	32

struct nomux_clock nomux_clock;
static pthread_mutex_t clock_lock = PTHREAD_MUTEX_INITIALIZER;
static int clock_err;

uint64_t nomux__now_ns_slow(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/*
 * Does the counter run at a constant rate on all cores?  CPUID says so on
 * hardware; an emulated CPU may not, then the kernel's own choice decides.
 */
static bool tsc_usable(void)
{
	unsigned int a, b, c, d;
	char source[32];

	if (__get_cpuid(0x80000007, &a, &b, &c, &d) && (d & (1U << 8)))
		return true;
	if (nomux__sysfs_read("/sys/devices/system/clocksource/clocksource0/current_clocksource",
			      source, sizeof(source)) < 0)
		return false;
	/* "tsc-early" in the first seconds after boot: the same counter, its rate
	 * not refined yet. */
	return strcmp(source, "tsc") == 0 || strcmp(source, "tsc-early") == 0;
}

static void read_both(uint64_t *tsc_out, uint64_t *ns_out)
{
	uint64_t best = UINT64_MAX, t0, t1, ns;
	int i;

	*tsc_out = *ns_out = 0;

	for (i = 0; i < CAL_READINGS; i++) {
		t0 = nomux_tsc();
		ns = nomux__now_ns_slow();
		t1 = nomux_tsc();
		if (t1 - t0 >= best)
			continue;
		best = t1 - t0;
		*tsc_out = t0 + (t1 - t0) / 2;
		*ns_out = ns;
	}
}

static int calibrate(void)
{
	struct timespec nap = { .tv_nsec = CAL_NS };
	uint64_t tsc0, ns0, tsc1, ns1;

	if (!tsc_usable())
		return -EOPNOTSUPP;
	read_both(&tsc0, &ns0);
	clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
	read_both(&tsc1, &ns1);
	if (tsc1 <= tsc0 || ns1 < ns0 + CAL_NS / 10)
		return -EOPNOTSUPP;
	nomux_clock.mult = (uint64_t)(((unsigned __int128)(ns1 - ns0) << CLOCK_SHIFT) /
				      (tsc1 - tsc0));
	nomux_clock.shift = CLOCK_SHIFT;
	nomux_clock.tsc_hz = (uint64_t)((unsigned __int128)(tsc1 - tsc0) * 1000000000ULL /
					(ns1 - ns0));
	nomux_clock.tsc_base = tsc1;
	nomux_clock.ns_base = ns1;
	return 0;
}

int nomux_clock_init(void)
{
	int err;

	if (__atomic_load_n(&nomux_clock.ready, __ATOMIC_ACQUIRE))
		return 0;
	pthread_mutex_lock(&clock_lock);
	if (!nomux_clock.ready && !clock_err) {
		clock_err = calibrate();
		if (!clock_err)		/* pairs with the acquire above */
			__atomic_store_n(&nomux_clock.ready, 1, __ATOMIC_RELEASE);
	}
	err = clock_err;
	pthread_mutex_unlock(&clock_lock);
	return err;
}
