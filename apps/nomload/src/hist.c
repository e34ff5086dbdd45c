// SPDX-License-Identifier: MIT
/* hist.c - latencies in buckets whose width grows with the value */
#include "hist.h"

#include <math.h>

/* The octave's number and the HIST_BITS bits below the leading one; small values are their own bucket. */
static unsigned bucket(uint64_t ns)
{
	unsigned shift;

	if (ns >> HIST_TOP_BITS)
		return HIST_BUCKETS - 1;
	if (ns < 1u << HIST_BITS)
		return (unsigned)ns;
	shift = 63 - __builtin_clzll(ns) - HIST_BITS;
	return (shift << HIST_BITS) + (unsigned)(ns >> shift);
}

uint64_t hist_edge(unsigned i)
{
	unsigned shift = i >> HIST_BITS;

	if (shift <= 1)
		return i;
	shift--;
	return ((((uint64_t)i & ((1u << HIST_BITS) - 1)) + (1u << HIST_BITS) + 1) << shift) - 1;
}

void hist_add(struct hist *h, uint64_t ns)
{
	double off = (double)ns - h->mean_ns;

	h->count[bucket(ns)]++;
	if (!h->nr || ns < h->min_ns)
		h->min_ns = ns;
	if (ns > h->max_ns)
		h->max_ns = ns;
	h->nr++;
	h->mean_ns += off / (double)h->nr;
	h->squares += off * ((double)ns - h->mean_ns);
}

uint64_t hist_quantile(const struct hist *h, double q)
{
	uint64_t want = (uint64_t)ceil(q * (double)h->nr), seen = 0;

	if (want < 1)
		want = 1;
	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		seen += h->count[i];
		if (seen >= want)
			return hist_edge(i) < h->max_ns ? hist_edge(i) : h->max_ns;
	}
	return h->max_ns;
}

double hist_sd(const struct hist *h)
{
	return h->nr > 1 ? sqrt(h->squares / (double)(h->nr - 1)) : 0;
}
