// SPDX-License-Identifier: MIT
/*
 * Rules of the alternate signal stack: no upcalls there.  A handler on it may have
 * interrupted an upcall, whose frame the next one, coming from another stack, would
 * be pushed over.  Events wait until the handler returns; claimed traps are
 * signals.
 */
#include <setjmp.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "rule.h"

#define UD	6

static struct nomux_core *core;
static volatile sig_atomic_t signals, ills, upcalls_on_stack;
static sigjmp_buf back;

static void on_signal(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO | flags };

	sigaction(sig, &action, NULL);
}

static int skip_trap(struct nom_frame *frame, void *arg)
{
	rule->word[0]++;
	frame->rip += 2;
	return 0;
}

static void skip_ill(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	ills++;
	uc->uc_mcontext.gregs[REG_RIP] += 2;
}

static void trap_on_stack(int sig, siginfo_t *info, void *context)
{
	signals++;
	__asm__ volatile("ud2" ::: "memory");
}

static void post_on_stack(int sig, siginfo_t *info, void *context)
{
	uint64_t before = rule->got;

	signals++;
	rule_post(1);
	upcalls_on_stack += rule->got != before;
}

static void leave_stack(int sig, siginfo_t *info, void *context)
{
	rule_post(1);
	siglongjmp(back, 1);
}

static void signal_in_event(unsigned int event, uint64_t count, void *arg)
{
	rule->got += count;
	raise(SIGUSR1);
	t_clobber_registers();
}

static void test_traps(void)
{
	unsigned int i;

	on_signal(SIGUSR1, trap_on_stack, SA_ONSTACK);
	on_signal(SIGILL, skip_ill, SA_ONSTACK);
	raise(SIGUSR1);
	t_is(ills, 1, "a claimed trap in a handler on the alternate stack is its signal");
	t_is((long)rule->word[0], 0, "  and no upcall");
	T_NEED(nomux_on_event(core, RULE_EVENT, signal_in_event, NULL));
	for (i = 0; i < 100; i++)
		rule_post(1);
	t_is(ills, 101, "  also where the handler has interrupted an upcall");
	t_is((long)rule->got, 100, "  which goes on");
	T_NEED(nomux_on_event(core, RULE_EVENT, rule_count, NULL));
	__asm__ volatile("ud2" ::: "memory");
	t_is((long)rule->word[0], 1, "elsewhere it is an upcall again");
}

static void test_events(void)
{
	unsigned int i;

	signals = 0;
	rule->got = 0;
	on_signal(SIGUSR1, post_on_stack, SA_ONSTACK);
	for (i = 0; i < 100; i++) {
		raise(SIGUSR1);
		if (rule->got != i + 1)
			break;
	}
	t_is(upcalls_on_stack, 0, "events wait for a handler on the alternate stack");
	t_is(i, 100, "  and are handled as soon as it returns");
	on_signal(SIGUSR1, leave_stack, SA_ONSTACK);
	if (!sigsetjmp(back, 1))
		raise(SIGUSR1);
	nomux_unmask(core);
	t_is((long)rule->got, 101, "who jumps off that stack unmasks, and has it");
}

static int trap_again(struct nom_frame *frame, void *arg)
{
	rule->word[1]++;
	__asm__ volatile("ud2" ::: "memory");
	return 0;
}

static void jump_back(int sig, siginfo_t *info, void *context)
{
	siglongjmp(back, 1);
}

/* An upcall stack that is full: the handler may give up what was going on. */
static void test_double_fault(void)
{
	uint64_t depth;

	rule->got = 0;
	T_NEED(nomux_on_trap(core, UD, trap_again, NULL));
	on_signal(SIGILL, jump_back, SA_ONSTACK);
	if (!sigsetjmp(back, 1))
		__asm__ volatile("ud2" ::: "memory");
	depth = rule->word[1];
	t_ok(depth > 10, "a handler that traps for ever ends in a signal on the alternate stack");
	t_ok(nomux_masked(core), "  whose handler jumps back, with events masked");
	nomux_unmask(core);
	rule_post(10);
	t_is((long)rule->got, 10, "  unmasks them, and has them");
	if (!sigsetjmp(back, 1))
		__asm__ volatile("ud2" ::: "memory");
	t_ok(rule->word[1] == 2 * depth, "  and the whole upcall stack again");
	nomux_unmask(core);
}

static void count_signal(int sig, siginfo_t *info, void *context)
{
	volatile char frame[512];

	frame[0] = 1;
	(void)frame[0];
	signals++;
}

static int storm(void)
{
	rule_storm(60000);
	rule_wait(&rule->got, 60000);
	rule->stop = 1;
	return 0;
}

static void test_storm(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR2 };
	struct itimerspec each = { { 0, 200000 }, { 0, 200000 } };
	unsigned long rounds = 0, bad;
	timer_t timer;
	pid_t pid;

	rule_reset();
	signals = 0;
	on_signal(SIGUSR2, count_signal, SA_ONSTACK | SA_RESTART);
	event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	T_NEED(timer_create(CLOCK_MONOTONIC, &event, &timer) ? -errno : 0);
	pid = rule_child(storm);
	timer_settime(timer, 0, &each, NULL);
	bad = canary_spin(&rule->stop, &rounds);
	timer_delete(timer);
	t_is(rule_reap(pid), 0, "60,000 events among signals on the alternate stack");
	t_is((long)bad, 0, "  registers, red zone, xmm and flags are as they were");
	t_is((long)rule->got, 60000, "  and none is lost");
	printf("# %d signals\n", (int)signals);
}

int main(void)
{
	static char stack[65536];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };

	rule_begin(60);
	sigaltstack(&ss, NULL);
	core = rule_claim(0);
	T_NEED(nomux_on_trap(core, UD, skip_trap, NULL));
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
	test_traps();
	test_events();
	test_double_fault();
	test_storm();
	T_NEED(nomux_core_release(core));
	nomux_close(nom);
	return t_end();
}
