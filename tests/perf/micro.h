/* SPDX-License-Identifier: MIT */
/*
 * nom-micro: what nom's mechanisms cost, beside what Linux offers for the job.
 *
 *	micro.c			options, statistics, the list that is printed
 *	micro_nom.c		traps, memory, events, timer, board, threads: nom's
 *	micro_linux.c		traps and memory: Linux's
 *	micro_linux_events.c	events, timers, threads: Linux's
 *	micro_ipc.c		messages and wake-ups, both
 *
 * An operation fills micro.sample[0 .. rounds) with what each round took, in
 * ticks of the counter.
 */
#ifndef MICRO_H
#define MICRO_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include <nomux/clock.h>

struct nomux_core;
struct nomux_ctx;

struct micro {
	unsigned int rounds;
	uint64_t *sample;	/* rounds */
	volatile uint64_t begun;	/* counter, when the operation was started */
	volatile uint64_t arrived;	/* counter, in the handler's first instructions */
	int cpu;		/* the ordinary one this began on */
	bool counting;		/* the counter counts instructions, of all CPUs */
	struct nomux_ctx *nom;	/* NULL: no nom here */
	struct nomux_core *core;	/* of MICRO_LEASED operations */
};

extern struct micro micro;

/* Where an operation runs, and what it can be measured in. */
enum {
	MICRO_LEASED = 1 << 0,	/* on a leased core, entered, events unmasked; else on an ordinary one */
	MICRO_TIME_ONLY = 1 << 1,	/* two CPUs at once: instructions of both would be counted */
	MICRO_PER_16 = 1 << 2,	/* a sample is 16 operations */
	MICRO_NOM = 1 << 3,	/* needs nom, on whichever core */
	MICRO_RESERVED = 1 << 4,	/* Linux's, on a leased core: no trap is nom's, rseq as it was */
};

/* name: job/how */
struct micro_op {
	const char *name, *mechanism;
	unsigned int flags;
	int (*fn)(void);	/* 0 or -errno */
};

/* Ended by an entry without name. */
extern const struct micro_op micro_nom_ops[], micro_linux_ops[], micro_linux_event_ops[], micro_ipc_ops[];

#define MICRO_TRAP_UD	6
#define MICRO_TRAP_PF	14
#define MICRO_EV_WRITE	3
#define MICRO_EV_NOTIFY	4
#define MICRO_EV_IPC	5
#define MICRO_EV_TIMER	6
#define MICRO_EV_MANY	16	/* and the 15 behind it */

/* Handlers of the lease; before nomux_core_enter(). */
int micro_nom_prepare(struct nomux_core *core);

/* The counter, after all that stands before it. */
static inline uint64_t micro_now(void)
{
	__asm__ __volatile__("lfence" ::: "memory");
	return nomux_tsc();
}

static inline void micro_handle(int sig, void (*fn)(int, siginfo_t *, void *))
{
	struct sigaction action = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO };

	sigaction(sig, &action, NULL);
}

#define MICRO_4(x)	x; x; x; x
#define MICRO_16(x)	MICRO_4(MICRO_4(x))

#endif /* MICRO_H */
