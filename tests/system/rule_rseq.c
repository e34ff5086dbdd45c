// SPDX-License-Identifier: MIT
/*
 * Rules of restartable sequences: an upcall aborts the one it interrupts, as a
 * signal does, if the registration was kept; else there is none, until the lease
 * ends.
 */
#include <linux/rseq.h>
#include <stddef.h>
#include <sys/rseq.h>
#include <sys/syscall.h>

#include "rule.h"

static struct rseq *area(void)
{
	return (struct rseq *)(void *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

/*
 * Counts to the bound inside a critical section; an interruption starts it over.
 * Returns how often that was; the section cannot end with a count that was not
 * made in one go, which *torn would tell.
 */
static uint64_t sequence(uint64_t bound, volatile uint64_t *torn)
{
	uint64_t aborts = 0, done = 0;
	struct rseq *rs = area();

	__asm__ volatile(
		".pushsection __rseq_cs, \"aw\"\n\t"
		".balign 32\n"
		"3:	.long 0, 0\n\t"
		".quad 1f, 2f - 1f, 4f\n\t"
		".popsection\n\t"
		"jmp 5f\n\t"
		".byte 0x0f, 0xb9, 0x3d\n\t"
		".long 0x53053053\n"
		"4:	inc %[aborts]\n"		/* aborted */
		"5:	lea 3b(%%rip), %%rax\n\t"
		"mov %%rax, %[cs]\n\t"
		"xor %%ecx, %%ecx\n"
		"1:	inc %%rcx\n\t"
		"cmp %[bound], %%rcx\n\t"
		"jb 1b\n\t"
		"mov %%rcx, %[done]\n"
		"2:\n\t"
		"movq $0, %[cs]"
		: [aborts] "+r" (aborts), [done] "=&r" (done), [cs] "+m" (rs->rseq_cs)
		: [bound] "r" (bound)
		: "rax", "rcx", "cc", "memory");
	*torn += done != bound;
	return aborts;
}

static int kept(void)
{
	struct nomux_core *core = rule_hold(NOMUX_CORE_KEEP_RSEQ);
	uint64_t aborts = 0;

	rule->word[1] = area()->cpu_id;
	rule->word[2] = (uint64_t)nomux_core_cpu(core);
	rule->phase = 1;
	while (!rule->stop)
		aborts += sequence(20000, &rule->word[3]);
	rule->word[4] = aborts;
	nomux_core_release(core);
	rule->word[5] = area()->cpu_id;
	rule->word[6] = (uint64_t)sched_getcpu();
	return 0;
}

static int dropped(void)
{
	struct nomux_core *core = rule_hold(0);

	/* the kernel refuses to take away what is not registered */
	rule->word[1] = (uint64_t)syscall(SYS_rseq, area(), 32, RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
	nomux_core_release(core);
	rule->word[2] = area()->cpu_id;
	rule->word[3] = (uint64_t)sched_getcpu();
	return 0;
}

int main(void)
{
	pid_t pid;

	rule_begin(30);
	if (!__rseq_size) {
		printf("1..0 # SKIP the C library registers no restartable sequences\n");
		return T_SKIP;
	}
	pid = rule_child(kept);
	rule_wait_phase(1);
	rule_storm(5000);
	t_ok(rule_wait(&rule->got, 5000), "5,000 events over restartable sequences");
	rule->stop = 1;
	t_is(rule_reap(pid), 0, "  handled");
	t_is((long)rule->word[1], (long)rule->word[2], "the holder's cpu_id is the core");
	t_is((long)rule->word[3], 0, "no sequence was finished that an upcall had interrupted");
	t_ok(rule->word[4] > 0, "those that were began again");
	printf("# %llu did\n", (unsigned long long)rule->word[4]);
	t_is((long)rule->word[5], (long)rule->word[6], "after the lease cpu_id is where the thread runs");

	rule_reset();
	t_is(rule_reap(rule_child(dropped)), 0, "without NOMUX_CORE_KEEP_RSEQ");
	t_is((long)rule->word[1], -1, "  nothing is registered during the lease");
	t_is((long)rule->word[2], (long)rule->word[3], "  it is afterwards");
	nomux_close(nom);
	return t_end();
}
