// SPDX-License-Identifier: MIT
/*
 * Rules of 5-level paging: windows, upcall stack and faults above 2^47 are like
 * those below.
 */
#include "rule.h"

#define PF	14
#define HIGH	(1UL << 50)

static struct nomux_mem *mem;
static volatile uint64_t fault_at;

static int map_page(struct nom_frame *frame, void *arg)
{
	fault_at = frame->cr2;
	return rule_map(mem, (void *)(frame->cr2 & ~4095UL), 0, 4096,
			NOM_MAP_READ | NOM_MAP_WRITE) == 1 ? 0 : -1;
}

int main(void)
{
	volatile uint64_t *word;
	struct nomux_core *core;
	void *va, *p;

	rule_begin(20);
	p = mmap((void *)HIGH, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p != (void *)HIGH) {
		printf("1..0 # SKIP no addresses above 2^47 here: no 5-level paging\n");
		return T_SKIP;
	}
	T_NEED(nomux_mem_grant(nom, 4 << 20, &mem));
	t_is(nomux_mem_window(mem, 8 << 20, (void *)(HIGH + (2UL << 20)), &va), 0, "a window above 2^47");
	t_ok(va == (void *)(HIGH + (2UL << 20)), "  where it was wanted");
	core = rule_claim(0);
	T_NEED(nomux_on_trap(core, PF, map_page, NULL));
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
	word = (volatile uint64_t *)((char *)va + 4096 + 8);
	*word = 42;
	t_ok(fault_at == (uintptr_t)word, "a fault there is an upcall, with all of the address");
	t_is((long)*word, 42, "  whose page is mapped");
	t_is(rule_map(mem, (char *)va + (4 << 20), 2 << 20, 2 << 20,
		      NOM_MAP_READ | NOM_MAP_WRITE | NOM_MAP_HUGE), rule_huge() ? 1 : -EOPNOTSUPP,
	     "a 2 MiB page, too, where the kernel has them");
	word = (volatile uint64_t *)((char *)va + (4 << 20));
	*word = 43;
	t_is((long)*word, 43, "  can be written");
	rule_post(100);
	t_is((long)rule->got, 100, "events are handled");
	T_NEED(nomux_core_release(core));
	nomux_mem_put(mem);
	nomux_close(nom);
	return t_end();
}
