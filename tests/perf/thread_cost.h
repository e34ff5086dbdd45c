/* SPDX-License-Identifier: MIT */
/* nom-threads-cost: the operations measured, and what they report to. */
#ifndef THREAD_COST_H
#define THREAD_COST_H

#include <stdbool.h>
#include <stdint.h>

#include <nomux/clock.h>

/*
 * A side measures cost_samples() samples of cost_batch() rounds each and tells the
 * ticks of each by cost_sample().
 */
struct cost {
	const char *name;
	const char *target_ns;		/* of nom's side, as text */
	unsigned int per_batch;		/* operations in a round */
	unsigned int cpus;		/* it needs */
	void (*nom)(void);
	void (*linux_fn)(void);		/* or NULL: Linux has nothing like it */
};

extern const struct cost cost_table[];	/* ends with a NULL name */

unsigned int cost_samples(void);
unsigned int cost_batch(void);
void cost_sample(unsigned int i, uint64_t ticks);
void cost_pin(unsigned int nth);	/* of the CPUs the program may use */
void cost_need(int err, const char *what);

/* The counter, after all that stands before it. */
static inline uint64_t cost_now(void)
{
	__asm__ __volatile__("lfence" ::: "memory");
	return nomux_tsc();
}

/* Time `op` in batches. */
#define COST_LOOP(op) do {							\
	for (unsigned int cost_i = 0; cost_i < cost_samples(); cost_i++) {	\
		uint64_t cost_begun = cost_now();				\
		for (unsigned int cost_j = 0; cost_j < cost_batch(); cost_j++) {	\
			op;							\
		}								\
		cost_sample(cost_i, cost_now() - cost_begun);			\
	}									\
} while (0)

#endif /* THREAD_COST_H */
