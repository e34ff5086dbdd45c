/* SPDX-License-Identifier: MIT */
/*
 * A clock without system calls: CLOCK_MONOTONIC's time, computed from the time
 * stamp counter.  Works with and without nom.
 *
 * nomux_clock_init() measures the counter's frequency for 20 ms against
 * CLOCK_MONOTONIC.  The two clocks then drift apart by the error of that
 * measurement (below 100 ppm) and by NTP's slewing: good for delays and
 * deadlines, not for time stamps that another machine will compare.
 */
#ifndef NOMUX_CLOCK_H
#define NOMUX_CLOCK_H

#include <nomux/api.h>

/* Read by the inline functions; written once, by nomux_clock_init(). */
struct nomux_clock {
	uint64_t tsc_base;	/* counter value at ns_base */
	uint64_t ns_base;	/* CLOCK_MONOTONIC, nanoseconds */
	uint64_t mult;		/* ns = (ticks * mult) >> shift */
	uint32_t shift;
	uint32_t ready;
	uint64_t tsc_hz;
};
NOMUX_API extern struct nomux_clock nomux_clock;

/**
 * nomux_clock_init - calibrate; the first call does the work
 *
 * Threads: any.  May take 20 ms.  nomux_open() and nomux_core_enter() call it.
 * Return: 0, -EOPNOTSUPP (no invariant time stamp counter: nomux_now_ns()
 * then falls back to clock_gettime()).
 */
NOMUX_API int nomux_clock_init(void);

/* For nomux_now_ns() before nomux_clock_init() and without a usable counter. */
NOMUX_API uint64_t nomux__now_ns_slow(void);

/**
 * nomux_tsc - the time stamp counter, ticks
 *
 * Not ordered against the loads and stores around it.
 */
static inline uint64_t nomux_tsc(void)
{
	uint32_t lo, hi;

	__asm__ __volatile__("rdtsc" : "=a" (lo), "=d" (hi));
	return (uint64_t)hi << 32 | lo;
}

/**
 * nomux_tsc_hz - the counter's frequency in hertz, 0 before nomux_clock_init()
 */
static inline uint64_t nomux_tsc_hz(void)
{
	return nomux_clock.tsc_hz;
}

/**
 * nomux_ticks_to_ns - a difference of two nomux_tsc(), in nanoseconds
 * @ticks: any 64-bit value; the product is 128 bits wide
 */
static inline uint64_t nomux_ticks_to_ns(uint64_t ticks)
{
	return (uint64_t)(((unsigned __int128)ticks * nomux_clock.mult) >> nomux_clock.shift);
}

/**
 * nomux_now_ns - nanoseconds of a clock like CLOCK_MONOTONIC
 *
 * Threads: any, upcall handlers included.  No system call once
 * nomux_clock_init() has returned 0.  Never goes backwards on one core.
 */
static inline uint64_t nomux_now_ns(void)
{
	uint64_t ticks;

	if (__builtin_expect(!nomux_clock.ready, 0))
		return nomux__now_ns_slow();
	ticks = nomux_tsc() - nomux_clock.tsc_base;
	if (__builtin_expect((int64_t)ticks < 0, 0))
		ticks = 0;	/* another core's counter may lag by a few ticks */
	return nomux_clock.ns_base + nomux_ticks_to_ns(ticks);
}

#endif /* NOMUX_CLOCK_H */
