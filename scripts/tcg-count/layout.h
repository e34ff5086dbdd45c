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
 */
#ifndef TCG_COUNT_LAYOUT_H
#define TCG_COUNT_LAYOUT_H

#include <stdint.h>

#define COUNT_MAGIC	0x544e43474f4d4f4eull	/* "NOMOGCNT" */
#define COUNT_VERSION	1
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
	COUNT_WORDS = 8
};

struct count_vcpu {
	uint64_t word[COUNT_WORDS];
	uint64_t symbol[COUNT_SYMBOLS];	/* executions of the instruction at a symbol's address */
	uint64_t busy;			/* state, not a counter */
	uint64_t pad[7];		/* vCPUs do not share cache lines */
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
