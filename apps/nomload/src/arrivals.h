/* SPDX-License-Identifier: MIT */
/*
 * arrivals.h - when requests are due, whatever the server does
 *
 * Constant: the i-th is due at i / rate, without rounding errors adding up.
 * Poisson: the gaps are exponential; the same seed gives the same gaps.
 */
#ifndef NOMLOAD_ARRIVALS_H
#define NOMLOAD_ARRIVALS_H

#include <stdbool.h>
#include <stdint.h>

struct arrivals {
	bool poisson;
	double rate;		/* a second, above 0 */
	uint64_t nr, seed;	/* given out so far; state of the generator */
	double at_s;		/* of the last one, Poisson */
};

void arrivals_init(struct arrivals *a, bool poisson, double rate, uint64_t seed);

/* arrivals_next - ns from the start at which the next request is due; never before the last one */
uint64_t arrivals_next(struct arrivals *a);

#endif
