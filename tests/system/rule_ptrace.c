// SPDX-License-Identifier: MIT
/*
 * Rules of ptrace: a tracer sees a holder as any other thread.  It stops it in
 * the middle of a storm, steps through deliveries, handlers and returns, has its
 * own breakpoints, reads and writes registers and nom's memory, and leaves
 * without a trace.
 */
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>

#include "rule.h"

/* Of the library's stub; a debugger would have them from the symbol table. */
extern const char nomux__upcall_entry[];

#define UD	6
#define BP	3

static int status_of(pid_t pid)
{
	int status = 0;

	return waitpid(pid, &status, __WALL) == pid ? status : -1;
}

static bool stopped_by(pid_t pid, int sig)
{
	int status = status_of(pid);

	if (WIFSTOPPED(status) && WSTOPSIG(status) == sig)
		return true;
	printf("# status %x, wanted a stop by %d\n", (unsigned int)status, sig);
	return false;
}

static uint64_t rip_of(pid_t pid)
{
	struct user_regs_struct regs = { .rip = 0 };

	ptrace(PTRACE_GETREGS, pid, 0, &regs);
	return regs.rip;
}

static int nothing(struct nom_frame *frame, void *arg)
{
	rule->word[0]++;
	frame->rip += 2;
	return 0;
}

/* ------------------------------------------------- attach in a storm --- */

static int storm_process(void)
{
	rule_storm(10000);
	return 0;
}

static void test_attach(void)
{
	struct user_regs_struct regs;
	unsigned int i, stops = 0;
	pid_t pid, poster;

	rule_reset();
	pid = rule_child(rule_spinning_holder);
	rule_wait_phase(1);
	poster = rule_child(storm_process);
	T_NEED(ptrace(PTRACE_SEIZE, pid, 0, 0) ? -errno : 0);
	for (i = 0; i < 100; i++) {
		ptrace(PTRACE_INTERRUPT, pid, 0, 0);
		stops += WIFSTOPPED(status_of(pid));
		ptrace(PTRACE_GETREGS, pid, 0, &regs);
		ptrace(PTRACE_SETREGS, pid, 0, &regs);
		ptrace(PTRACE_CONT, pid, 0, 0);
	}
	t_is(stops, 100, "a holder is stopped 100 times by its tracer, in a storm");
	ptrace(PTRACE_INTERRUPT, pid, 0, 0);
	status_of(pid);
	t_is(ptrace(PTRACE_DETACH, pid, 0, 0), 0, "the tracer detaches");
	T_NEED(ptrace(PTRACE_ATTACH, pid, 0, 0) ? -errno : 0);
	t_ok(stopped_by(pid, SIGSTOP), "attaches in the other way");
	ptrace(PTRACE_DETACH, pid, 0, 0);
	rule_reap(poster);
	t_ok(rule_wait(&rule->got, 10000), "and all 10,000 events are handled");
	rule->stop = 1;
	t_is(rule_reap(pid), 0, "  with the registers as they were");
	t_is((long)rule->got, 10000, "  none twice");
}

/* ---------------------------------------------------- single-stepping --- */

extern const char step_ud[], step_after[];

__attribute__((noinline)) static uint64_t stepped_code(void)
{
	uint64_t sum;

	__asm__ volatile("mov $3, %%ebx\n\t"
			 "stc\n"
			 "step_ud: ud2\n"
			 "step_after: adc $4, %%rbx\n\t"
			 "mov %%rbx, %0" : "=r" (sum) :: "rbx", "cc");
	return sum;
}

static int stepped_holder(void)
{
	struct nomux_core *core = rule_claim(0);
	uint64_t sum;

	T_NEED(nomux_on_trap(core, UD, nothing, NULL));
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
	sum = stepped_code();
	if (rule->word[0] != 1)
		return 101;
	nomux_core_release(core);
	return (int)sum;
}

/* Step until rip is there; the number of steps, or -1. */
static int step_to(pid_t pid, const char *where, int most)
{
	int n;

	for (n = 1; n <= most; n++) {
		if (ptrace(PTRACE_SINGLESTEP, pid, 0, 0) || !stopped_by(pid, SIGTRAP))
			return -1;
		if (rip_of(pid) == (uintptr_t)where)
			return n;
	}
	return -1;
}

static void test_step(void)
{
	struct user_regs_struct regs;
	uint64_t before;
	pid_t pid;
	int n;

	rule_reset();
	pid = rule_child(stepped_holder);
	t_ok(stopped_by(pid, SIGSTOP), "a traced holder stops");
	t_ok(step_to(pid, step_ud, 3000) > 0, "  and is stepped to an instruction that traps");
	before = rule->word[0];
	ptrace(PTRACE_SINGLESTEP, pid, 0, 0);
	stopped_by(pid, SIGTRAP);
	ptrace(PTRACE_GETREGS, pid, 0, &regs);
	t_is((long)(regs.rip - (uintptr_t)nomux__upcall_entry), 0,
	     "one step leads to the first instruction of the upcall entry");
	n = step_to(pid, step_after, 3000);
	t_ok(n > 20, "more steps, through the handler, to the instruction behind the trap");
	printf("# %d steps\n", n);
	t_is((long)(rule->word[0] - before), 1, "  the handler ran once");
	ptrace(PTRACE_GETREGS, pid, 0, &regs);
	t_is((long)regs.rbx, 3, "  registers are as they were");
	t_is((long)(regs.eflags & 0x101), 1, "  flags, too, and TF is not among them");
	rule_post(3);
	n = step_to(pid, nomux__upcall_entry, 2);
	t_ok(n >= 0, "an event that came meanwhile: the next step leads into its upcall");
	ptrace(PTRACE_CONT, pid, 0, 0);
	t_is(rule_reap(pid), 3 + 4 + 1, "continued, it goes on as if never stepped");
	t_is((long)rule->got, 3, "  and has handled the events");
}

/* --------------------------------------------------------- breakpoints --- */

__attribute__((noinline)) static void probed(unsigned int event, uint64_t count, void *arg)
{
	rule->got += count;
}

static int breakpoint_holder(void)
{
	struct nomux_core *core = rule_claim(0);

	T_NEED(nomux_on_trap(core, BP, nothing, NULL));
	T_NEED(nomux_on_event(core, RULE_EVENT, probed, NULL));
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
	rule_post(1);			/* the tracer's int3 is there */
	rule_post(1);			/* its hardware breakpoint */
	raise(SIGSTOP);			/* and detaches */
	__asm__ volatile("int3; nop; nop" ::: "memory");	/* our own */
	nomux_core_release(core);
	return (int)rule->word[0];
}

static void test_breakpoints(void)
{
	struct user_regs_struct regs;
	long word;
	pid_t pid;

	rule_reset();
	pid = rule_child(breakpoint_holder);
	stopped_by(pid, SIGSTOP);
	word = ptrace(PTRACE_PEEKTEXT, pid, probed, 0);
	ptrace(PTRACE_POKETEXT, pid, probed, (word & ~0xffL) | 0xcc);
	ptrace(PTRACE_CONT, pid, 0, 0);
	t_ok(stopped_by(pid, SIGTRAP), "a breakpoint in a handler stops for the tracer");
	t_is((long)(rip_of(pid) - (uintptr_t)probed), 1, "  there");
	t_is((long)rule->word[0], 0, "  though #BP is claimed");
	ptrace(PTRACE_POKETEXT, pid, probed, word);
	ptrace(PTRACE_GETREGS, pid, 0, &regs);
	regs.rip = (uintptr_t)probed;
	ptrace(PTRACE_SETREGS, pid, 0, &regs);

	ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[0]), probed);
	if (ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), 1))
		t_ok(false, "no hardware breakpoint: %s", strerror(errno));
	ptrace(PTRACE_SINGLESTEP, pid, 0, 0);		/* away from it */
	stopped_by(pid, SIGTRAP);
	ptrace(PTRACE_CONT, pid, 0, 0);
	t_ok(stopped_by(pid, SIGTRAP), "a hardware breakpoint in a handler, too");
	t_is((long)(rip_of(pid) - (uintptr_t)probed), 0, "  there");
	t_is((long)rule->got, 1, "  the first event having been handled");
	ptrace(PTRACE_GETREGS, pid, 0, &regs);
	t_is((long)regs.rsi, 1, "  registers are the handler's");
	regs.rsi = 41;
	ptrace(PTRACE_SETREGS, pid, 0, &regs);
	ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), 0);
	ptrace(PTRACE_CONT, pid, 0, 0);
	stopped_by(pid, SIGSTOP);
	t_is((long)rule->got, 42, "  and what the tracer changes is what the handler gets");
	ptrace(PTRACE_DETACH, pid, 0, 0);
	t_is(rule_reap(pid), 1, "without a tracer, the holder's int3 is its own upcall");
}

/* ---------------------------------------------------------------- memory --- */

static int memory_holder(void)
{
	struct nomux_core *core = rule_hold(0);
	struct nomux_mem *mem;
	volatile uint64_t *window;
	void *va;
	bool good;

	T_NEED(nomux_mem_grant(nom, 2 << 20, &mem));
	T_NEED(nomux_mem_window(mem, 2 << 20, NULL, &va));
	window = va;
	T_NEED(rule_map(mem, va, 0, 4096, NOM_MAP_READ | NOM_MAP_WRITE));
	T_NEED(rule_map(mem, (char *)va + 4096, 4096, 4096, NOM_MAP_READ));
	window[0] = 0x1122334455667788;
	rule->word[1] = (uintptr_t)va;
	rule->word[2] = (uintptr_t)nomux_core_shared(core);
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
	good = window[0] == 0x8877665544332211 && window[512] == 0;
	nomux_core_release(core);
	nomux_mem_put(mem);
	return good ? 0 : 1;
}

static ssize_t vm_read(pid_t pid, uint64_t addr, uint64_t *out)
{
	struct iovec local = { out, 8 }, remote = { (void *)addr, 8 };

	return process_vm_readv(pid, &local, 1, &remote, 1, 0);
}

static void test_memory(void)
{
	uint64_t word = 0;
	char path[64];
	char *window;
	pid_t pid;
	int fd;

	rule_reset();
	pid = rule_child(memory_holder);
	stopped_by(pid, SIGSTOP);
	window = (char *)rule->word[1];
	t_ok(ptrace(PTRACE_PEEKDATA, pid, window, 0) == 0x1122334455667788,
	     "PTRACE_PEEKDATA reads a window's memory");
	t_is(ptrace(PTRACE_POKEDATA, pid, window, 0x8877665544332211), 0,
	     "PTRACE_POKEDATA writes it");
	errno = 0;
	t_ok(ptrace(PTRACE_POKEDATA, pid, window + 4096, 1) == -1 && errno,
	     "  not where it is mapped for reading");
	errno = 0;
	t_ok(ptrace(PTRACE_PEEKDATA, pid, window + 8192, 0) == -1 && errno,
	     "  and reads nothing where nothing is mapped");
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDONLY);
	t_ok(pread(fd, &word, 8, (off_t)(uintptr_t)window) == 8 && word == 0x8877665544332211,
	     "/proc/PID/mem reads a window's memory");
	close(fd);
	t_is((long)(ptrace(PTRACE_PEEKDATA, pid, rule->word[2] + 16 + 8, 0) & 0xffffffff),
	     NOM_ABI_MAGIC, "and the page shared with the kernel");
	t_is(vm_read(pid, rule->word[1], &word), -1,
	     "process_vm_readv(2) does not read a window");
	t_is(errno, EFAULT, "  EFAULT");
	t_is(vm_read(pid, rule->word[2], &word), 8, "  but the shared page");
	ptrace(PTRACE_DETACH, pid, 0, 0);
	t_is(rule_reap(pid), 0, "the holder finds what the tracer wrote, and no more");
}

/* --------------------------------------------------- PTRACE_SYSCALL --- */

static int calling_holder(void)
{
	struct nomux_core *core = rule_hold(0);
	unsigned int i;
	long parent = getppid();

	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
	for (i = 0; i < 300; i++)
		if (syscall(SYS_getppid) != parent)
			return 102;
	raise(SIGSTOP);
	nomux_core_release(core);
	return 0;
}

static int storm_500(void)
{
	rule_storm(500);
	return 0;
}

static void test_syscalls(void)
{
	unsigned int getppids = 0;
	struct user_regs_struct regs;
	pid_t pid, poster;
	int status;

	rule_reset();
	pid = rule_child(calling_holder);
	stopped_by(pid, SIGSTOP);
	ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD);
	poster = rule_child(storm_500);
	for (;;) {
		ptrace(PTRACE_SYSCALL, pid, 0, 0);
		status = status_of(pid);
		if (!WIFSTOPPED(status) || WSTOPSIG(status) != (SIGTRAP | 0x80))
			break;
		ptrace(PTRACE_GETREGS, pid, 0, &regs);
		getppids += regs.orig_rax == SYS_getppid;
	}
	t_is(getppids, 600, "PTRACE_SYSCALL stops at the entry and exit of each call, in a storm");
	rule_reap(poster);
	ptrace(PTRACE_DETACH, pid, 0, 0);
	t_is(rule_reap(pid), 0, "  whose results are right");
	t_is((long)rule->got, 500, "  and no event is lost");
}

/* ----------------------------------------------------- the tracer's end --- */

static pid_t tracee;

static int tracer_that_dies(void)
{
	if (ptrace(PTRACE_SEIZE, tracee, 0, rule->word[3] ? PTRACE_O_EXITKILL : 0))
		return 1;
	ptrace(PTRACE_INTERRUPT, tracee, 0, 0);
	status_of(tracee);
	kill(getpid(), SIGKILL);
	return 2;
}

static void test_tracer_ends(void)
{
	rule_reset();
	tracee = rule_child(rule_spinning_holder);
	rule_wait_phase(1);
	t_is(rule_reap(rule_child(tracer_that_dies)), 1000 + SIGKILL,
	     "a tracer that has stopped a holder is killed");
	rule_storm(1000);
	t_ok(rule_wait(&rule->got, 1000), "  the holder goes on");
	rule->word[3] = 1;
	rule_reap(rule_child(tracer_that_dies));
	t_is(rule_reap(tracee), 1000 + SIGKILL, "with PTRACE_O_EXITKILL the holder dies with it");
	t_ok(rule_core_free(), "  and the core is free");
}

int main(void)
{
	rule_begin(60);
	test_attach();
	test_step();
	test_breakpoints();
	test_memory();
	test_syscalls();
	test_tracer_ends();
	nomux_close(nom);
	return t_end();
}
