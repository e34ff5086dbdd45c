// SPDX-License-Identifier: MIT
/*
 * Threads switched in their midst, on a leased core: by time, by handlers, and when
 * they overflow their stacks.
 */
#include <linux/nom.h>
#include <pthread.h>
#include <sys/wait.h>

#include <nomux/clock.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/guard.h>
#include <nomux/log.h>
#include <nomux/preempt.h>
#include <nomux/sync.h>
#include <nomux/thread.h>
#include <nomux/timer.h>
#include <nomux/upcall.h>

#include "nomux_tap.h"

#define EV		1
#define QUANTUM_NS	200000ULL
#define SPINNERS	4

static struct nomux_ctx *nom;
static struct nomux_core *core;

/* ------------------------------------------------------------------ by time --- */

struct spinner {
	uint64_t id, rounds;
	uint64_t wrong;
	int errno_wrong;
	volatile bool seen;
};

static struct spinner spin[SPINNERS];
static volatile unsigned int nr_seen;

/*
 * All registers that a switch at any instruction must not lose: general ones, SSE,
 * the red zone, flags.  One turn of it is a few instructions, so that most
 * switches fall in here.
 */
static uint64_t one_turn(uint64_t id)
{
	uint64_t bad = 0;

	__asm__ __volatile__(
		"movq	%[id], %%xmm0\n\t"
		"movq	%[id], %%xmm15\n\t"
		"mov	%[id], %%r8\n\t"
		"mov	%[id], %%r9\n\t"
		"mov	%[id], %%r12\n\t"
		"mov	%[id], %%r15\n\t"
		"mov	%[id], %%rsi\n\t"
		"mov	%[id], -8(%%rsp)\n\t"
		"mov	%[id], -120(%%rsp)\n\t"
		"mov	$200, %%ecx\n\t"
		"stc\n"
		"1:\n\t"
		"lea	-1(%%rcx), %%rcx\n\t"	/* leaves the flags alone */
		"jrcxz	2f\n\t"
		"jmp	1b\n"
		"2:\n\t"
		"adc	$0, %[bad]\n\t"
		"dec	%[bad]\n\t"		/* the carry was there */
		"xor	%[id], %%r8\n\t"
		"or	%%r8, %[bad]\n\t"
		"xor	%[id], %%r9\n\t"
		"or	%%r9, %[bad]\n\t"
		"xor	%[id], %%r12\n\t"
		"or	%%r12, %[bad]\n\t"
		"xor	%[id], %%r15\n\t"
		"or	%%r15, %[bad]\n\t"
		"xor	%[id], %%rsi\n\t"
		"or	%%rsi, %[bad]\n\t"
		"mov	-8(%%rsp), %%r8\n\t"
		"xor	%[id], %%r8\n\t"
		"or	%%r8, %[bad]\n\t"
		"mov	-120(%%rsp), %%r8\n\t"
		"xor	%[id], %%r8\n\t"
		"or	%%r8, %[bad]\n\t"
		"movq	%%xmm0, %%r8\n\t"
		"xor	%[id], %%r8\n\t"
		"or	%%r8, %[bad]\n\t"
		"movq	%%xmm15, %%r8\n\t"
		"xor	%[id], %%r8\n\t"
		"or	%%r8, %[bad]\n\t"
		: [bad] "+r" (bad) : [id] "r" (id)
		: "rcx", "rsi", "r8", "r9", "r12", "r15", "memory", "cc");
	return bad;
}

/* Never yields; ends when all have run. */
static void spinner(void *arg)
{
	struct spinner *s = arg;

	errno = (int)s->id;
	s->seen = true;
	nr_seen++;
	do {
		s->wrong += one_turn(0x9e3779b97f4a7c15ULL * s->id) != 0;
		s->errno_wrong += errno != (int)s->id;
		s->rounds++;
	} while (nr_seen < SPINNERS || s->rounds < 20000);
}

static void test_by_time(void)
{
	struct nomux_thread_stats a = { .sz = sizeof(a) }, b = { .sz = sizeof(b) };
	struct nomux_thread *t[SPINNERS];
	uint64_t wrong = 0;
	int errno_wrong = 0;
	unsigned int i;

	T_NEED(nomux_thread_stats(&a));
	for (i = 0; i < SPINNERS; i++) {
		spin[i].id = i + 1;
		T_NEED(nomux_thread_create(spinner, &spin[i], NULL, &t[i]));
	}
	T_NEED(nomux_preempt_start(QUANTUM_NS));
	for (i = 0; i < SPINNERS; i++) {
		T_NEED(nomux_join(t[i]));
		wrong += spin[i].wrong;
		errno_wrong += spin[i].errno_wrong;
	}
	T_NEED(nomux_preempt_stop());
	T_NEED(nomux_thread_stats(&b));
	t_ok(nr_seen == SPINNERS, "threads that never yield take turns");
	t_ok(b.preemptions - a.preemptions >= SPINNERS - 1, "  by preemption");
	t_is((long)wrong, 0, "  and lose no register, flag or red zone");
	t_is(errno_wrong, 0, "  nor errno");
	printf("# %llu preemptions, %llu arms of the kernel's timer\n",
	       (unsigned long long)(b.preemptions - a.preemptions),
	       (unsigned long long)(b.timer_arms - a.timer_arms));
}

static volatile bool flag;

static void set_flag(void *arg)
{
	flag = true;
}

static void test_off(void)
{
	uint64_t until = nomux_now_ns() + 20 * QUANTUM_NS;
	struct nomux_thread *t;

	flag = false;
	nomux_preempt_off();		/* first: starting may be a moment late already */
	T_NEED(nomux_thread_create(set_flag, NULL, NULL, &t));
	T_NEED(nomux_preempt_start(QUANTUM_NS));
	while (nomux_now_ns() < until)
		;
	t_ok(!flag, "nomux_preempt_off() holds it off");
	nomux_preempt_on();
	until = nomux_now_ns() + 5000 * QUANTUM_NS;
	while (!flag && nomux_now_ns() < until)
		;
	t_ok(flag, "  until nomux_preempt_on()");
	T_NEED(nomux_preempt_stop());
	T_NEED(nomux_join(t));
}

/* -------------------------------------------------------------- by handlers --- */

static struct nomux_sem sem;
static volatile unsigned int woken;
static volatile int resched_said;

static void waiter(void *arg)
{
	for (;;) {
		if (nomux_sem_wait(&sem, NOMUX_FOREVER) || flag)
			return;
		woken++;
	}
}

static void on_event(unsigned int event, uint64_t count, void *arg)
{
	nomux_sem_post(&sem);
	resched_said = nomux_resched();
}

/* The handler wakes a thread, which runs before the interrupted one goes on. */
static void test_by_handler(void)
{
	unsigned int at_once = 0, i;
	struct nomux_thread *t;
	uint64_t until;

	flag = false;
	T_NEED(nomux_sem_init(&sem, 0, NOMUX_SEM_EXTERNAL));
	T_NEED(nomux_thread_create(waiter, NULL, NULL, &t));
	nomux_yield();
	for (i = 0; i < 100; i++) {
		unsigned int before = woken;

		resched_said = -99;
		T_NEED(nomux_timer_arm(core, EV, 100000, 0));
		until = nomux_now_ns() + 2000000000ULL;
		while (resched_said == -99 && nomux_now_ns() < until)
			;
		/* No call of the scheduler here: if it ran, the handler switched. */
		at_once += woken == before + 1;
		nomux_yield();
	}
	t_ok(at_once >= 90, "a handler switches to the thread it woke");
	t_is(woken, 100, "  which misses no post");
	printf("# %u of 100 at once\n", at_once);
	flag = true;
	nomux_sem_post(&sem);
	T_NEED(nomux_join(t));
	T_NEED(nomux_sem_destroy(&sem));
}

/* With events masked the handler runs in nomux_unmask(): that switches, then. */
static void test_handler_in_unmask(void)
{
	struct nomux_thread *t;
	unsigned int before;
	uint64_t until;

	flag = false;
	T_NEED(nomux_sem_init(&sem, 0, NOMUX_SEM_EXTERNAL));
	T_NEED(nomux_thread_create(waiter, NULL, NULL, &t));
	nomux_yield();
	before = woken;
	nomux_mask(core);
	T_NEED(nomux_timer_arm(core, EV, 1000, 0));
	until = nomux_now_ns() + 2000000000ULL;
	while (!(__atomic_load_n(&nomux_core_shared(core)->pending, __ATOMIC_RELAXED) & (1ULL << EV)) &&
	       nomux_now_ns() < until)
		;
	nomux_unmask(core);
	t_is(woken - before, 1, "so does one that runs in nomux_unmask()");
	flag = true;
	nomux_sem_post(&sem);
	T_NEED(nomux_join(t));
	T_NEED(nomux_sem_destroy(&sem));
}

/* ----------------------------------------------------------------- overflow --- */

static char logged[512];

static void keep_log(int level, const char *msg, void *arg)
{
	strncpy(logged, msg, sizeof(logged) - 1);
}

static uint64_t overflow_at;
static bool end_it = true;

static int on_overflow(struct nomux_thread *t, uint64_t address, void *arg)
{
	overflow_at = address;
	return end_it ? 0 : -1;
}

static volatile int endless = 1;

static int recurse(int depth)
{
	volatile char frame[1024];

	frame[0] = (char)depth;
	if (!endless)
		return 0;
	return recurse(depth + 1) + frame[depth % 1024];
}

static void run_recursion(void *arg)
{
	*(volatile int *)arg = recurse(0);
}

static void test_overflow(void)
{
	struct nomux_thread_opts opts = { .sz = sizeof(opts), .name = "deep", .stack_bytes = 32768 };
	struct nomux_thread *t;
	int sum, i;

	nomux_set_log_fn(keep_log, NULL);
	for (i = 0; i < 3; i++) {
		logged[0] = '\0';
		T_NEED(nomux_thread_create(run_recursion, &sum, &opts, &t));
		t_is(nomux_join(t), -EFAULT, "a thread that overflows its stack is ended");
	}
	nomux_set_log_fn(NULL, NULL);
	t_ok(strstr(logged, "overflowed its stack, thread=deep") && overflow_at,
	     "  with a report of its name and the guard");
	printf("# %s\n", logged);
}

/* In a process of its own: it dies by SIGSEGV. */
static int die_by_overflow(void)
{
	struct nomux_thread_opts opts = { .sz = sizeof(opts), .name = "doomed", .stack_bytes = 32768 };
	struct nomux_thread *t;
	int sum;

	if (nomux_open(&nom) || nomux_core_claim(nom, NULL, &core) ||
	    nomux_guard_claim(core, NULL, NULL) || nomux_core_enter(core))
		return 1;
	nomux_unmask(core);
	if (nomux_thread_create(run_recursion, &sum, &opts, &t))
		return 2;
	nomux_join(t);
	return 3;
}

static void test_overflow_kills(void)
{
	char line[512] = "";
	int fd[2], status;
	pid_t pid;

	if (pipe(fd))
		exit(1);
	pid = fork();
	if (!pid) {
		dup2(fd[1], STDERR_FILENO);
		_exit(die_by_overflow());
	}
	close(fd[1]);
	waitpid(pid, &status, 0);
	if (read(fd[0], line, sizeof(line) - 1) < 0)
		line[0] = '\0';
	close(fd[0]);
	t_ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "without a handler it is SIGSEGV");
	t_ok(strstr(line, "overflowed its stack, thread=doomed") && strstr(line, "unhandled trap"),
	     "  with the report before");
	printf("# status %#x, %s", status, line);
}

static void test_misuse(void)
{
	t_is(nomux_preempt_start(1), -EINVAL, "a quantum of 1 ns is refused");
	t_is(nomux_preempt_stop(), -EINVAL, "stopping what is not on, too");
	t_is(nomux_guard_claim(core, NULL, NULL), -EBUSY, "claiming the guard on an entered core, too");
	t_is(nomux_guard_claim(NULL, NULL, NULL), -EINVAL, "  and on none");
	t_is(nomux_timer_arm(core, EV, 1000, 0), -EBUSY,
	     "the lease's timer is refused once nomux_timer_set() uses it");
}

int main(void)
{
	int err;

	t_start(100);
	err = nomux_open(&nom);
	if (err) {
		printf("1..0 # SKIP no /dev/nom: %s\n", strerror(-err));
		return T_SKIP;
	}
	nomux_close(nom);
	test_overflow_kills();		/* before we hold the core */
	T_NEED(nomux_open(&nom));
	t_is(nomux_preempt_start(QUANTUM_NS), -EOPNOTSUPP, "no preemption without a leased core");
	t_is(nomux_resched(), -EINVAL, "  nor switching from handlers");
	T_NEED(nomux_core_claim(nom, NULL, &core));
	T_NEED(nomux_on_event(core, EV, on_event, NULL));
	T_NEED(nomux_guard_claim(core, on_overflow, NULL));
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
	test_by_handler();
	test_handler_in_unmask();
	T_NEED(nomux_timer_arm(core, EV, 0, 0));
	test_by_time();
	test_off();
	test_overflow();
	test_misuse();
	T_NEED(nomux_core_release(core));
	nomux_close(nom);
	return t_end();
}
