/* SPDX-License-Identifier: MIT */
/*
 * hist.h - latencies in buckets whose width grows with the value
 *
 * Each octave has 2^HIST_BITS buckets of one width, so a value read back is
 * never below the one put in and at most 1/2^HIST_BITS of it above: 0.8 %,
 * from a nanosecond to 2^HIST_TOP_BITS of them.  Mean, deviation and extremes
 * do not go through the buckets: they are those of the values themselves.
 */
#ifndef NOMLOAD_HIST_H
#define NOMLOAD_HIST_H

#include <stdint.h>

#define HIST_BITS	7
#define HIST_TOP_BITS	42	/* 73 minutes; what is longer counts as that */
#define HIST_BUCKETS	((HIST_TOP_BITS - HIST_BITS + 1) << HIST_BITS)

struct hist {
	uint64_t count[HIST_BUCKETS];
	uint64_t nr, min_ns, max_ns;
	double mean_ns, squares;	/* running (Welford): no large sums that swallow small differences */
};

void hist_add(struct hist *h, uint64_t ns);

/**
 * hist_quantile - the smallest latency that the part @q of all does not exceed
 * @h: the histogram
 * @q: 0 to 1
 *
 * Return: upper edge of its bucket, but never above the longest; 0 when empty.
 */
uint64_t hist_quantile(const struct hist *h, double q);

/* hist_sd - standard deviation in ns; 0 below two values */
double hist_sd(const struct hist *h);

/* hist_edge - the largest value that falls into bucket @i */
uint64_t hist_edge(unsigned i);

#endif
