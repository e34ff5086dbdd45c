// SPDX-License-Identifier: MIT
/* arrivals.c - when requests are due, whatever the server does */
#include "arrivals.h"

#include <math.h>

void arrivals_init(struct arrivals *a, bool poisson, double rate, uint64_t seed)
{
	*a = (struct arrivals){ .poisson = poisson, .rate = rate, .seed = seed };
}

/* splitmix64: small, and good enough that no seed is a bad one */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

uint64_t arrivals_next(struct arrivals *a)
{
	double u;

	if (!a->poisson)
		return (uint64_t)((double)a->nr++ / a->rate * 1e9);
	a->nr++;
	u = (double)((draw(&a->seed) >> 11) + 1) * 0x1p-53;	/* above 0, at most 1 */
	a->at_s -= log(u) / a->rate;
	return (uint64_t)(a->at_s * 1e9);
}
