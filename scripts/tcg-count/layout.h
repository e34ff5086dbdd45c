/* SPDX-License-Identifier: MIT */
/*
 * What tcg-count shows to the host: one shared file, written live.
 *
 * Every 64-bit word has one writer (the thread of its vCPU), only grows and is
 * stored whole, so a reader may take it at any time.  A figure is the
 * difference of two readings taken while the guest is quiet; scripts/lib/count.py
 * reads this layout and must follow it.
 *
 * "busy" and "idle" are decided by the guest: it executes a NOP with a magic
 * displacement, `0f 1f 80 K 4d 4f 4e` (nopl 0x4e4f4dKK(%rax)), at a cost of one
 * instruction and no trap:
 *
 *   K = 0x10   this vCPU starts busy work     K = 0x11   it is polling idly again
 *   K = 0x12   this vCPU rings a doorbell
 *
 * A sleep is told from what the processor does: the kernel halts it (hlt) and later it
 * executes in ring 3 again.  Each kernel instruction of a sleep is in one of three sums:
 *
 *   ring 3 | COUNT_DOZE | hlt | COUNT_REST | hlt | COUNT_WAKE | ring 3 | ... doorbell
 *                                                 \____________ COUNT_ANSWER ____/
 *
 * A wake whose busy work ends without a doorbell has no answer.
 * COUNT_REST is what did not end the sleep: timers, say, or work that others sent.  Wakes
 * and answers count where a device's interrupt came meanwhile (the symbol
 * common_interrupt, if it was given): that is what ended the sleep, as far as the processor
 * can tell.  The other wakes stand apart.
 */
#ifndef TCG_COUNT_LAYOUT_H
#define TCG_COUNT_LAYOUT_H

#include <stdint.h>

#define COUNT_MAGIC	0x544e43474f4d4f4eull	/* "NOMOGCNT" */
#define COUNT_VERSION	2
#define COUNT_VCPUS	8
#define COUNT_SYMBOLS	24
#define COUNT_NAME	40

enum count_word {
	COUNT_USER_IDLE,	/* ring 3 instructions outside busy brackets */
	COUNT_USER_BUSY,
	COUNT_KERNEL_IDLE,	/* addresses in the upper half */
	COUNT_KERNEL_BUSY,
	COUNT_BEGIN,		/* busy brackets opened */
	COUNT_END,
	COUNT_DOORBELL,
	COUNT_HALTS,			/* hlt executed, first of a sleep */
	COUNT_DOZE,			/* ring 0 instructions from ring 3 to that */
	COUNT_RESTS,			/* further hlt of the same sleep */
	COUNT_REST,			/* ring 0 instructions between two of these */
	COUNT_WAKES,			/* sleeps that an interrupt of a device ended */
	COUNT_WAKE,			/* their ring 0 instructions from hlt to the first of ring 3 */
	COUNT_WAKES_OTHER,		/* sleeps that something else ended */
	COUNT_WAKE_OTHER,
	COUNT_ANSWERS,			/* doorbells rung for the first time after such a wake */
	COUNT_ANSWER_KERNEL,		/* ring 0 instructions from hlt to that */
	COUNT_ANSWER_USER,		/* and of ring 3 */
	COUNT_WORDS = 24
};

struct count_vcpu {
	uint64_t word[COUNT_WORDS];
	uint64_t symbol[COUNT_SYMBOLS];	/* executions of the instruction at a symbol's address */
	/* State, not counters. */
	uint64_t busy;
	uint64_t sleep;			/* enum of tcg-count.c */
	uint64_t device;		/* a device's interrupt came since the halt */
	uint64_t kernel;		/* instructions since ring 3, or since a later halt */
	uint64_t woken_kernel;		/* since the halt that a device ended, up to the last of ring 3 */
	uint64_t woken_user;
	uint64_t pad[2];		/* vCPUs do not share cache lines */
};

struct count_file {
	uint64_t magic;
	uint32_t version, bytes;	/* bytes: of this struct */
	uint32_t nr_vcpus, nr_symbols;	/* slots; vCPUs that never ran stay zero */
	uint64_t pad[5];
	char name[COUNT_SYMBOLS][COUNT_NAME];
	struct count_vcpu vcpu[COUNT_VCPUS];
};

#endif
