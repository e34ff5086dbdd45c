// SPDX-License-Identifier: MIT
/*
 * Upcalls: nothing is lost, nothing that was interrupted changes, and what
 * cannot be handled ends as the signal it would have been.
 *
 * Counts of events are asserted, never counts of upcalls: events coalesce when
 * the machine is busy.
 */
#include <linux/nom.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unwind.h>

#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/log.h>
#include <nomux/upcall.h>

#include "nomux_tap.h"

#define EV 5

unsigned long canary_spin(volatile int *stop, unsigned long *rounds);
unsigned long canary_flip(void);

static struct nomux_ctx *nom;
static volatile uint64_t got;
static volatile int stop;
static uint64_t nr_posts;
static int efd;

static void count_event(unsigned int event, uint64_t count, void *arg)
{
	got += count;
	t_clobber_registers();
}

/* What a handler compiled for SSE would do, and only with SAVE_XSTATE may. */
static void clobber_sse(unsigned int event, uint64_t count, void *arg)
{
	got += count;
	__asm__ __volatile__("pcmpeqd %%xmm0, %%xmm0\n\tpxor %%xmm7, %%xmm7\n\tpxor %%xmm15, %%xmm15"
			     ::: "memory");
}

static struct nomux_core *claim(uint32_t flags)
{
	struct nomux_core_opts opts = {
		.sz = sizeof(opts), .cpu = NOMUX_CPU_ANY, .flags = flags,
	};
	struct nomux_core *core;

	T_NEED(nomux_core_claim(nom, &opts, &core));
	return core;
}

/* Post nr_posts events at pseudo-random distances, from an ordinary core. */
static void *producer(void *arg)
{
	uint64_t one = 1, i, seed = 88172645463325252ULL;
	struct timespec nap = { .tv_nsec = 1000000 };
	volatile unsigned int n;
	int patience = 10000;

	for (i = 0; i < nr_posts; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		for (n = (seed >> 20) % 300; n; n--)
			;
		if (write(efd, &one, sizeof(one)) != sizeof(one))
			abort();
		/* Where the two cores take turns, a storm is one upcall: let it arrive. */
		for (n = 1000; i % 64 == 0 && got <= i && n; n--)
			sched_yield();
	}
	while (got != nr_posts && patience--)
		nanosleep(&nap, NULL);
	stop = 1;
	return NULL;
}

static void storm(uint32_t flags, nomux_event_fn fn, uint64_t nr, const char *what)
{
	struct nomux_core *core = claim(flags);
	struct nom_core_stats stats;
	unsigned long rounds = 0, bad;
	pthread_t thread;

	got = 0;
	stop = 0;
	nr_posts = nr;
	efd = eventfd(0, EFD_CLOEXEC);
	T_NEED(nomux_on_event(core, EV, fn, NULL));
	T_NEED(nomux_event_bind(core, EV, efd));
	T_NEED(-pthread_create(&thread, NULL, producer, NULL));
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
	bad = canary_spin(&stop, &rounds);
	pthread_join(thread, NULL);
	T_NEED(nomux_core_stats(core, &stats));
	t_is((long)got, (long)nr, what);
	t_is((long)bad, 0, "  registers, red zone, xmm and flags are as they were");
	printf("# %lu canary rounds; kernel: events=%llu restarts=%llu masked=%llu posts=%llu kicks=%llu\n",
	       rounds, (unsigned long long)stats.out_events, (unsigned long long)stats.out_restarts,
	       (unsigned long long)stats.out_masked, (unsigned long long)stats.out_posts,
	       (unsigned long long)stats.out_kicks);
	T_NEED(nomux_core_release(core));
	close(efd);
}

static volatile sig_atomic_t signals;

static void on_signal(int sig)
{
	signals++;
}

static void test_storm_with_signals(void)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR2,
	};
	struct itimerspec each = { { 0, 300000 }, { 0, 300000 } };
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	timer_t timer;

	event._sigev_un._tid = gettid();
	sigaction(SIGUSR2, &action, NULL);
	T_NEED(timer_create(CLOCK_MONOTONIC, &event, &timer));
	timer_settime(timer, 0, &each, NULL);
	storm(0, count_event, 100000, "100,000 events among signals on the same thread, none lost");
	timer_delete(timer);
	t_ok(signals >= 10, "  signals were handled meanwhile");
	printf("# %d signals\n", (int)signals);
}

/* ------------------------------------------------------------ traps --- */

static volatile unsigned int uds, pfs, depth_max, depth;
static char *lazy;

static int on_ud(struct nom_frame *frame, void *arg)
{
	uds++;
	depth++;
	if (depth > depth_max)
		depth_max = depth;
	if (arg)
		lazy[4096 * uds] = 1;	/* a page fault inside */
	depth--;
	frame->gprs[NOMUX_GPR_R12] = 0x1234;
	frame->rip += 2;
	return 0;
}

static int on_pf(struct nom_frame *frame, void *arg)
{
	depth++;
	if (depth > depth_max)
		depth_max = depth;
	pfs++;
	depth--;
	return mprotect((void *)(frame->cr2 & ~4095UL), 4096, PROT_READ | PROT_WRITE) ? -1 : 0;
}

static void ud_in_event(unsigned int event, uint64_t count, void *arg)
{
	got += count;
	__asm__ __volatile__("ud2" ::: "memory", "r12");
}

static int flip(struct nom_frame *frame, void *arg)
{
	unsigned int i;

	for (i = NOMUX_GPR_RAX; i <= NOMUX_GPR_R15; i++)
		frame->gprs[i] ^= 1;
	frame->rip += 2;
	t_clobber_registers();
	return 0;
}

static void test_traps(void)
{
	struct nomux_core *core = claim(0);
	unsigned int i;
	uint64_t one = 1;

	lazy = mmap(NULL, 4096 * 1024, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	efd = eventfd(0, EFD_CLOEXEC);
	got = 0;
	T_NEED(nomux_on_trap(core, 6, on_ud, core));
	T_NEED(nomux_on_trap(core, 14, on_pf, NULL));
	T_NEED(nomux_on_event(core, EV, ud_in_event, NULL));
	T_NEED(nomux_event_bind(core, EV, efd));
	T_NEED(nomux_core_enter(core));
	t_is(nomux_on_trap(core, 0, on_ud, NULL), -EBUSY, "a trap not claimed before entering: EBUSY");
	nomux_unmask(core);

	uint64_t r12 = 1;

	__asm__ __volatile__("mov $1, %%r12d\n\tud2\n\tmov %%r12, %0" : "=r" (r12) :: "r12", "memory");
	t_is((long)r12, 0x1234, "a handler changes a register of what it interrupted");
	T_NEED(nomux_on_trap(core, 6, flip, NULL));
	t_is((long)canary_flip(), 0, "and any other of them");
	T_NEED(nomux_on_trap(core, 6, on_ud, core));
	for (i = 0; i < 100; i++)
		__asm__ __volatile__("ud2" ::: "memory", "r12");
	t_is(uds, 101, "101 invalid instructions handled");
	t_is(pfs, 101, "a page fault inside each of their handlers, handled too");
	t_ok(!nomux_masked(core), "events are unmasked after traps, as before");
	nomux_mask(core);
	__asm__ __volatile__("ud2" ::: "memory", "r12");
	t_ok(nomux_masked(core), "and masked, if they were");
	nomux_unmask(core);
	uds = 0;
	for (i = 0; i < 200; i++)
		if (write(efd, &one, sizeof(one)) != sizeof(one))
			abort();
	t_is((long)got, 200, "200 events of the same core, each handled before the write returns");
	t_is(uds, 200, "a trap inside each event handler");
	t_is(depth_max, 2, "handlers nested as deep as expected");
	T_NEED(nomux_core_release(core));
	close(efd);
	munmap(lazy, 4096 * 1024);
}

static void test_masking(void)
{
	struct nomux_core *core = claim(0);
	struct nom_core_stats before, after;
	uint64_t one = 1;
	unsigned int i;

	efd = eventfd(0, EFD_CLOEXEC);
	got = 0;
	T_NEED(nomux_on_event(core, EV, count_event, NULL));
	T_NEED(nomux_event_bind(core, EV, efd));
	T_NEED(nomux_core_enter(core));
	T_NEED(nomux_core_stats(core, &before));
	for (i = 0; i < 1000; i++)
		if (write(efd, &one, sizeof(one)) != sizeof(one))
			abort();
	t_is((long)got, 0, "masked events wait");
	nomux_unmask(core);
	t_is((long)got, 1000, "unmasking handles all 1,000 before it returns");
	T_NEED(nomux_core_stats(core, &after));
	t_is((long)(after.out_events - before.out_events), 0, "  without an upcall");
	T_NEED(nomux_on_event(core, EV, NULL, NULL));
	for (i = 0; i < 7; i++)
		if (write(efd, &one, sizeof(one)) != sizeof(one))
			abort();
	t_is((long)nomux_event_dropped(core), 7, "events without a handler are counted");
	T_NEED(nomux_event_unbind(core, EV, efd));
	t_is(nomux_event_unbind(core, EV, efd), -ENOENT, "unbinding twice: ENOENT");
	T_NEED(nomux_core_release(core));
	close(efd);
}

/* ------------------------------------------- traps that nobody handles --- */

static void *poison_page;
extern const char poison_insn[];

static void on_segv(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;

	_exit(info->si_addr == poison_page &&
	      uc->uc_mcontext.gregs[REG_RIP] == (greg_t)poison_insn &&
	      uc->uc_mcontext.gregs[REG_R13] == 0x5a5a ? 42 : 43);
}

static int refuse(struct nom_frame *frame, void *arg)
{
	return -1;
}

static void quiet(int level, const char *msg, void *arg)
{
	*(int *)arg += strstr(msg, "unhandled trap") != NULL;
}

static int wait_child(pid_t pid)
{
	int status;

	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void test_unhandled(void)
{
	struct sigaction action = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO };
	pid_t pid;

	poison_page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		struct nomux_core *core = claim(0);
		int logged = 0;

		nomux_set_log_fn(quiet, &logged);
		sigaction(SIGSEGV, &action, NULL);
		T_NEED(nomux_on_trap(core, 14, refuse, NULL));
		T_NEED(nomux_core_enter(core));
		nomux_unmask(core);
		__asm__ __volatile__("mov $0x5a5a, %%r13d\n"
				     "poison_insn: movb $1, (%0)"
				     :: "r" (poison_page) : "r13", "memory");
		_exit(44);
	}
	t_is(wait_child(pid), 42, "a refused page fault is SIGSEGV, with the address and the registers");

	pid = fork();
	if (!pid) {
		struct nomux_core *core = claim(0);
		int logged = 0;

		nomux_set_log_fn(quiet, &logged);
		T_NEED(nomux_on_trap(core, 6, refuse, NULL));
		T_NEED(nomux_core_enter(core));
		__asm__ __volatile__("ud2");
		_exit(44);
	}
	t_is(wait_child(pid), 1000 + SIGILL, "a refused invalid instruction is SIGILL");

	pid = fork();
	if (!pid) {
		struct nomux_core *core = claim(0);

		T_NEED(nomux_core_enter(core));
		*(volatile char *)poison_page = 1;
		_exit(44);
	}
	t_is(wait_child(pid), 1000 + SIGSEGV, "a fault that was not claimed is SIGSEGV");
	munmap(poison_page, 4096);
}

/* --------------------------------------------------------- backtraces --- */

static unsigned int frames_seen;
static bool saw_victim, saw_main;
static uintptr_t victim_lo, victim_hi;
static uintptr_t r13_seen;

int main(void);

static _Unwind_Reason_Code frame_seen(struct _Unwind_Context *context, void *arg)
{
	uintptr_t ip = _Unwind_GetIP(context);

	frames_seen++;
	if (ip >= victim_lo && ip < victim_hi) {
		saw_victim = true;
		r13_seen = _Unwind_GetGR(context, 13);
	}
	saw_main |= _Unwind_FindEnclosingFunction((void *)ip) == (void *)main;
	return _URC_NO_REASON;
}

static int unwind(struct nom_frame *frame, void *arg)
{
	_Unwind_Backtrace(frame_seen, NULL);
	frame->rip += 2;
	return 0;
}

extern const char victim_insn[], victim_end[];

/* What gdb does: through the handler and the stub to the code that trapped. */
static void test_backtrace(void)
{
	struct nomux_core *core = claim(NOMUX_CORE_SAVE_XSTATE);	/* the unwinder may use SSE */

	victim_lo = (uintptr_t)victim_insn;
	victim_hi = (uintptr_t)victim_end;
	T_NEED(nomux_on_trap(core, 6, unwind, NULL));
	T_NEED(nomux_core_enter(core));
	__asm__ __volatile__("mov $0x1d1d, %%r13d\n"
			     "victim_insn: ud2\n"
			     "victim_end: nop" ::: "r13", "memory");
	t_ok(saw_victim && saw_main, "a handler's backtrace leads to what it interrupted and to main");
	t_is((long)r13_seen, 0x1d1d, "  with the registers that had");
	printf("# %u frames\n", frames_seen);
	T_NEED(nomux_core_release(core));
}

/* ------------------------------------------------------------ the lease --- */

static void test_lease(void)
{
	struct nomux_core_opts opts = { .sz = sizeof(opts), .cpu = 0 };
	struct nomux_core *core, *second;
	cpu_set_t before, after;
	pid_t pid;

	t_is(nomux_core_claim(nom, &opts, &core), -ENOENT, "a core that is not reserved: ENOENT");
	opts.cpu = NOMUX_CPU_ANY;
	opts.trap_mask = 1ULL << 2;
	t_is(nomux_core_claim(nom, &opts, &core), -EOPNOTSUPP, "a trap that cannot be had: EOPNOTSUPP");
	opts.trap_mask = 0;
	opts.flags = 1U << 31;
	t_is(nomux_core_claim(nom, &opts, &core), -EOPNOTSUPP, "an unknown flag: EOPNOTSUPP");
	opts.flags = 0;
	opts.stack_bytes = 1 << 20;
	t_is(nomux_core_claim(nom, &opts, &core), -EINVAL, "too large a stack: EINVAL");

	sched_getaffinity(0, sizeof(before), &before);
	core = claim(0);
	t_is(nomux_core_claim(nom, NULL, &second), -EBUSY, "the only core, again: EBUSY");
	t_ok(nomux_core_current() == NULL, "claiming is not entering");
	T_NEED(nomux_core_enter(core));
	t_is(sched_getcpu(), nomux_core_cpu(core), "after entering, the thread runs on the core");
	t_is(nomux_core_enter(core), -EBUSY, "entering twice: EBUSY");
	t_ok(nomux_core_current() == core, "the thread knows its lease");
	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(nomux_core_current() == NULL && nomux_core_release(core) == -EINVAL &&
		      sched_getcpu() != 1 ? 0 : 1);
	t_is(wait_child(pid), 0, "a child after fork has no lease, and no handle to it");
	T_NEED(nomux_core_release(core));
	sched_getaffinity(0, sizeof(after), &after);
	t_ok(CPU_EQUAL(&before, &after), "after release the thread has its CPUs back");
	t_ok(*(volatile int *)((char *)__builtin_thread_pointer() + __rseq_offset + 4) >= 0,
	     "and its restartable sequences");
	core = claim(NOMUX_CORE_KEEP_RSEQ);
	T_NEED(nomux_core_enter(core));
	T_NEED(nomux_core_release(core));
	t_ok(true, "the core can be leased again");
}

int main(void)
{
	int err;

	t_start(150);
	err = nomux_open(&nom);
	if (err) {
		printf("1..0 # SKIP no /dev/nom: %s\n", strerror(-err));
		return T_SKIP;
	}
	test_lease();
	test_traps();
	test_masking();
	test_unhandled();
	test_backtrace();
	storm(0, count_event, 200000, "200,000 events at random distances, none lost");
	storm(NOMUX_CORE_SAVE_XSTATE, clobber_sse, 50000,
	      "50,000 events with handlers that use SSE, none lost");
	test_storm_with_signals();
	nomux_close(nom);
	return t_end();
}
