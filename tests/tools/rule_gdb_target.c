// SPDX-License-Identifier: MIT
/*
 * A holder for a debugger to look at: tests/scripts/rule_gdb.  A child posts
 * events; the holder traps over and over in victim() until told to stop, then says
 * what it has seen.
 */
#include <signal.h>

#include "../system/rule.h"

#define UD	6

volatile uint64_t *window;
static volatile sig_atomic_t stopping;

static void on_term(int sig)
{
	stopping = 1;
}

int on_ud(struct nom_frame *frame, void *arg);
__attribute__((noinline)) int on_ud(struct nom_frame *frame, void *arg)
{
	rule->word[0]++;
	frame->rip += 2;
	return 0;
}

uint64_t victim(uint64_t x);
__attribute__((noinline)) uint64_t victim(uint64_t x)
{
	__asm__ volatile(".globl victim_trap, victim_after\n"
			 "victim_trap: ud2\n"
			 "victim_after: inc %0" : "+r" (x));
	return x;
}

static int poster(void)
{
	rule_storm(3000);
	return 0;
}

int main(void)
{
	uint64_t calls = 0, wrong = 0;
	struct nomux_core *core;
	struct nomux_mem *mem;
	pid_t pid;
	void *va;

	rule_begin(120);
	signal(SIGTERM, on_term);
	T_NEED(nomux_mem_grant(nom, 2 << 20, &mem));
	T_NEED(nomux_mem_window(mem, 2 << 20, NULL, &va));
	T_NEED(rule_map(mem, va, 0, 4096, NOM_MAP_READ | NOM_MAP_WRITE));
	window = va;
	window[1] = 0x6e6f6d206d656d21;
	core = rule_claim(0);
	T_NEED(nomux_on_trap(core, UD, on_ud, NULL));
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
	pid = rule_child(poster);
	printf("ready\n");
	while (!stopping) {
		wrong += victim(calls) != calls + 1;
		calls++;
	}
	rule_reap(pid);
	printf("end: wrong %d, traps missed %d, events missed %d\n", (int)wrong,
	       (int)(calls - rule->word[0]), (int)(3000 - rule->got));
	nomux_core_release(core);
	nomux_mem_put(mem);
	return 0;
}
