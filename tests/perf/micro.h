/* SPDX-License-Identifier: MIT */
/*
 * nom-micro: what one upcall costs, beside what Linux offers for the same.
 *
 * The two halves (micro_nom.c, micro_linux.c) fill the same table; micro.c
 * prints it.
 */
#ifndef MICRO_H
#define MICRO_H

#include <stdint.h>

#include <nomux/clock.h>

struct micro {
	unsigned int rounds;
	uint64_t *sample;	/* rounds */
	volatile uint64_t begun;	/* counter, when the operation was started */
	volatile uint64_t arrived;	/* counter, in the handler's first instructions */
};

extern struct micro micro;

/* The counter, after all that stands before it. */
static inline uint64_t micro_now(void)
{
	__asm__ __volatile__("lfence" ::: "memory");
	return nomux_tsc();
}

/* Add a line to the report from micro.sample. */
void micro_report(const char *name, const char *mechanism);
/* A line that could not be measured, with the reason on stderr. */
void micro_missing(const char *name, const char *why, int err);

int micro_run_nom(void);
void micro_run_linux(void);

#endif /* MICRO_H */
