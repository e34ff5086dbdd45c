// SPDX-License-Identifier: MIT
/*
 * hello-upcall - a program that runs on a leased core and handles its own
 * invalid instructions, page faults and timer.
 *
 *	scripts/run-guest -- hello-upcall
 *
 * Handlers run in the middle of anything else, so they stay away from the FPU
 * and SSE registers: this file is compiled with -mgeneral-regs-only.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/mem.h>
#include <nomux/timer.h>
#include <nomux/upcall.h>

enum { TRAP_UD = 6, TRAP_PF = 14 };	/* x86's numbers: invalid instruction, page fault */
#define EVENT_TICK	0		/* any number below 64 will do */
#define PAGE_BYTES	4096UL
#define WINDOW_BYTES	(64UL << 20)
#define TICK_NS		1000000

static void check(int err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "hello-upcall: %s: %s\n", what, strerror(-err));
	exit(1);
}

/* ud2 is two bytes long: go on behind it. */
static int invalid_instruction(struct nom_frame *frame, void *arg)
{
	*(unsigned int *)arg += 1;
	frame->rip += 2;
	return 0;
}

struct memory {
	struct nomux_mem *grant;
	char *window;
	uint64_t used_bytes;
	unsigned int faults;
};

/* A page of the window is touched for the first time: map the next free one. */
static int page_fault(struct nom_frame *frame, void *arg)
{
	struct memory *m = arg;
	struct nom_map_entry page = {
		.va = frame->cr2 & ~(PAGE_BYTES - 1), .offset = m->used_bytes,
		.bytes = PAGE_BYTES, .flags = NOM_MAP_READ | NOM_MAP_WRITE,
	};

	if (frame->cr2 - (uintptr_t)m->window >= WINDOW_BYTES)
		return -1;		/* not our window: a bug, to be reported as such */
	if (nomux_mem_map(m->grant, &page, 1) != 1)
		return -1;
	m->used_bytes += PAGE_BYTES;
	m->faults++;
	return 0;			/* the instruction runs again, and succeeds */
}

struct clock {
	struct nomux_core *core;
	volatile uint64_t ticks;
};

static void tick(unsigned int event, uint64_t count, void *arg)
{
	struct clock *clock = arg;

	clock->ticks += count;
	nomux_timer_arm(clock->core, event, TICK_NS, 0);
}

int main(void)
{
	unsigned int invalid = 0;
	struct memory memory = { 0 };
	struct clock clock = { 0 };
	struct nomux_core *core;
	struct nomux_ctx *nom;
	unsigned long i;

	check(nomux_open(&nom), "open /dev/nom");
	check(nomux_core_claim(nom, NULL, &clock.core), "claim a core");
	core = clock.core;
	check(nomux_on_trap(core, TRAP_UD, invalid_instruction, &invalid), "claim #UD");
	check(nomux_on_trap(core, TRAP_PF, page_fault, &memory), "claim #PF");
	check(nomux_on_event(core, EVENT_TICK, tick, &clock), "handle ticks");
	check(nomux_core_enter(core), "enter the core");
	nomux_unmask(core);
	printf("on core %d, ours alone\n", nomux_core_cpu(core));

	__asm__ __volatile__("ud2" ::: "memory");
	printf("an invalid instruction was skipped by its handler (%u)\n", invalid);

	check(nomux_mem_grant(nom, 2UL << 20, &memory.grant), "grant of 2 MiB");
	check(nomux_mem_window(memory.grant, WINDOW_BYTES, NULL, (void **)&memory.window), "window");
	for (i = 0; i < 100; i++)	/* far apart: address space costs nothing */
		strcpy(memory.window + i * 128 * PAGE_BYTES, "hello");
	printf("%u page faults, each handled by mapping a page of our own\n", memory.faults);

	check(nomux_timer_arm(core, EVENT_TICK, TICK_NS, 0), "arm the timer");
	for (i = 0; clock.ticks < 10; i++)
		;			/* the application's own work would stand here */
	nomux_timer_arm(core, EVENT_TICK, 0, 0);
	printf("10 timer upcalls while the program counted to a number it likes\n");

	check(nomux_core_release(core), "release the core");
	nomux_mem_put(memory.grant);
	nomux_close(nom);
	return 0;
}
