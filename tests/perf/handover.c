// SPDX-License-Identifier: MIT
/*
 * nom-handover - how long a core is nobody's: from the end of one application's
 * lease to the first instruction of the next one's thread on that core
 *
 * usage: nom-handover [--tsc-counts-instructions] [--rounds N] [--table]
 *
 *	core-handover/release	the holder gives it back, another process waits
 *				in NOM_CORE_CLAIM; from the holder's NOM_CORE_LEAVE
 *	core-handover/kill	the holder spins and is killed; from kill(2).  A
 *				process in our memory: a holder's own is torn down
 *				beside, when the core is free already, and would be
 *				counted where processors take turns
 *	core-handover/affinity	Linux: a thread leaves an ordinary core by its
 *				affinity and wakes one that takes it likewise
 *
 * Prints a JSON list of {name, mechanism, instructions, ns_p50, ns_p99}, as
 * nom-micro does and with the same meaning of the counter; or a table.  Where
 * instructions are counted, also instructions_min: the round in which the least of
 * what other processors did fell into it.  Prints
 * numbers, judges nothing.  Needs one reserved core, for the last line also two
 * ordinary ones.
 *
 * By ioctls and not by libnomux, whose claim and release do more (they make and
 * unmake upcall stacks), which is no part of the way of a core.  Where the counter
 * counts instructions, it counts those of all processors: so whoever let go of a
 * core sleeps.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/futex.h>
#include <linux/nom.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <nomux/clock.h>

#define WARM_UP		5
#define SETTLE_NS	2000000

/* Shared by all processes of a run. */
struct shared {
	volatile uint64_t left;		/* counter, when the core was let go */
	volatile int waits;		/* who is about to wait: 1 or 2 */
	volatile int holds;		/* who holds the core */
	volatile int err;
	volatile unsigned int nr;
	uint64_t sample[];
};

static struct shared *sh;
static unsigned int rounds = 200;
static bool counts_instructions, as_table;
static unsigned int lines;

static uint64_t counter(void)
{
	__asm__ __volatile__("lfence" ::: "memory");
	return nomux_tsc();
}

/* Until who waits is asleep, and the core quiet. */
static void settle(void)
{
	struct timespec t = { 0, SETTLE_NS };

	nanosleep(&t, NULL);
}

static void reset(void)
{
	sh->left = 0;
	sh->waits = sh->holds = sh->err = 0;
	sh->nr = 0;
}

static void arrived(uint64_t now)
{
	if (sh->left && sh->nr < rounds + WARM_UP)
		sh->sample[sh->nr++] = now - sh->left;
	sh->left = 0;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void report(const char *name, const char *mechanism)
{
	uint64_t *s = sh->sample + WARM_UP, p50, p99;
	unsigned int n = sh->nr > WARM_UP ? sh->nr - WARM_UP : 0;

	if (sh->err || n < 10) {
		fprintf(stderr, "nom-handover: %s not measured: %s\n", name,
			strerror(sh->err ? -sh->err : ETIME));
		return;
	}
	qsort(s, n, sizeof(*s), compare);
	p50 = s[n / 2];
	p99 = s[(n - 1) * 99 / 100];
	if (as_table && counts_instructions)
		printf("%-28s %-6s %10llu %10llu instructions\n", name, mechanism,
		       (unsigned long long)p50, (unsigned long long)p99);
	else if (as_table)
		printf("%-28s %-6s %10llu %10llu ns\n", name, mechanism,
		       (unsigned long long)nomux_ticks_to_ns(p50),
		       (unsigned long long)nomux_ticks_to_ns(p99));
	else if (counts_instructions)
		printf("%s  {\"name\": \"%s\", \"mechanism\": \"%s\", \"instructions\": %llu, "
		       "\"instructions_min\": %llu, \"ns_p50\": null, \"ns_p99\": null}",
		       lines ? ",\n" : "", name, mechanism, (unsigned long long)p50,
		       (unsigned long long)s[0]);
	else
		printf("%s  {\"name\": \"%s\", \"mechanism\": \"%s\", \"instructions\": null, "
		       "\"ns_p50\": %llu, \"ns_p99\": %llu}", lines ? ",\n" : "", name, mechanism,
		       (unsigned long long)nomux_ticks_to_ns(p50),
		       (unsigned long long)nomux_ticks_to_ns(p99));
	lines++;
	fflush(stdout);
}

/* --- nom --- */

struct core {
	int nom, fd;
	void *page;
};

/* Events stay masked and no trap is claimed: nobody comes here. */
static void no_upcall(void)
{
	abort();
}

static int enter(struct core *c)
{
	static char stack[16384] __attribute__((aligned(16)));
	struct nom_core_enter e = {
		.size = sizeof(e),
		.regs = {
			.entry = (uintptr_t)no_upcall,
			.stack_lo = (uintptr_t)stack,
			.stack_hi = (uintptr_t)stack + sizeof(stack),
		},
	};

	return ioctl(c->fd, NOM_CORE_ENTER, &e) ? -errno : 0;
}

/* Wait for the core, and say when we are there. */
static int take(struct core *c, int me)
{
	struct nom_core_claim claim = {
		.size = sizeof(claim), .flags = NOM_CLAIM_WAIT, .cpu = NOM_CPU_ANY,
	};
	uint64_t now;
	int err;

	sh->waits = me;
	if (ioctl(c->nom, NOM_CORE_CLAIM, &claim))
		return sh->err = -errno;
	c->fd = claim.out_core_fd;
	c->page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	err = c->page == MAP_FAILED ? -errno : enter(c);
	now = counter();
	if (err)
		return sh->err = err;
	arrived(now);
	sh->holds = me;
	return 0;
}

static int open_nom(struct core *c)
{
	c->nom = open(NOM_DEVICE_PATH, O_RDWR | O_CLOEXEC);
	return c->nom < 0 ? (sh->err = -errno) : 0;
}

/* Two processes pass the core to and fro. */
static void player(int me)
{
	struct core core;
	unsigned int i;

	alarm(200);
	if (open_nom(&core))
		return;
	while (sh->nr < rounds + WARM_UP) {
		if (take(&core, me))
			return;
		for (i = 0; i < 5000 && sh->waits == me && sh->nr < rounds + WARM_UP; i++)
			settle();
		settle();
		sh->left = counter();
		ioctl(core.fd, NOM_CORE_LEAVE);
		settle();
		munmap(core.page, 4096);
		close(core.fd);
	}
}

static void measure_release(void)
{
	pid_t pid[2];
	int i;

	reset();
	for (i = 0; i < 2; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			player(i + 1);
			_exit(0);
		}
	}
	for (i = 0; i < 2; i++)
		waitpid(pid[i], NULL, 0);
	report("core-handover/release", "nom");
}

/* One that spins until it is killed. */
static int victim(void *core)
{
	alarm(60);
	if (open_nom(core) || take(core, 1))
		_exit(1);
	for (;;)
		__asm__ __volatile__("" ::: "memory");
}

/* One that gets what the victim leaves. */
static void heir(void)
{
	struct core core;

	alarm(60);
	if (open_nom(&core) || take(&core, 2))
		_exit(1);
	_exit(0);
}

static void await(volatile int *word, int value)
{
	unsigned int i;

	for (i = 0; i < 5000 && *word != value && !sh->err; i++)
		settle();
	if (*word != value && !sh->err)
		sh->err = -ETIME;
}

static void measure_kill(void)
{
	static char stack[16384] __attribute__((aligned(16)));
	unsigned int i, n = rounds < 50 ? rounds : 50;
	struct core core;
	pid_t a, b;

	reset();
	for (i = 0; i < n + WARM_UP && !sh->err; i++) {
		sh->holds = sh->waits = 0;
		a = clone(victim, stack + sizeof(stack), CLONE_VM | SIGCHLD, &core);
		if (a < 0) {
			sh->err = -errno;
			break;
		}
		await(&sh->holds, 1);
		b = fork();
		if (!b)
			heir();
		await(&sh->waits, 2);
		settle();
		sh->left = counter();
		kill(a, SIGKILL);
		waitpid(b, NULL, 0);
		waitpid(a, NULL, 0);
		munmap(core.page, 4096);
	}
	report("core-handover/kill", "nom");
}

/* --- Linux: the same with affinities, on ordinary cores --- */

static int first, second;	/* ordinary cores */

static void move_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void linux_player(int me)
{
	volatile int *turn = &sh->holds;

	alarm(200);
	move_to(first);
	while (sh->nr < rounds + WARM_UP) {
		while (*turn != me && sh->nr < rounds + WARM_UP)
			syscall(SYS_futex, turn, FUTEX_WAIT, 3 - me, NULL, NULL, 0);
		move_to(second);
		arrived(counter());
		settle();
		sh->left = counter();
		move_to(first);
		*turn = 3 - me;
		syscall(SYS_futex, turn, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
	*turn = 3 - me;
	syscall(SYS_futex, turn, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void measure_affinity(void)
{
	cpu_set_t set;
	pid_t pid[2];
	int i;

	reset();
	sched_getaffinity(0, sizeof(set), &set);
	for (first = 0; first < CPU_SETSIZE && !CPU_ISSET(first, &set); first++)
		;
	for (second = first + 1; second < CPU_SETSIZE && !CPU_ISSET(second, &set); second++)
		;
	if (second >= CPU_SETSIZE) {
		fprintf(stderr, "nom-handover: core-handover/affinity not measured: "
			"needs two ordinary cores\n");
		return;
	}
	sh->holds = 1;
	for (i = 0; i < 2; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			linux_player(i + 1);
			_exit(0);
		}
	}
	for (i = 0; i < 2; i++)
		waitpid(pid[i], NULL, 0);
	report("core-handover/affinity", "linux");
}

static int usage(void)
{
	fprintf(stderr, "usage: nom-handover [--tsc-counts-instructions] [--rounds N] [--table]\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "tsc-counts-instructions", no_argument, NULL, 'i' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "table", no_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'i':
			counts_instructions = true;
			break;
		case 'r':
			rounds = (unsigned int)strtoul(optarg, NULL, 10);
			if (rounds < 10 || rounds > 10000)
				return usage();
			break;
		case 't':
			as_table = true;
			break;
		case 'h':
			usage();
			return 0;
		default:
			return usage();
		}
	}
	sh = mmap(NULL, sizeof(*sh) + (rounds + WARM_UP) * sizeof(uint64_t),
		  PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		return 1;
	if (nomux_clock_init() && !counts_instructions) {
		fprintf(stderr, "nom-handover: no usable time stamp counter\n");
		return 1;
	}
	if (as_table)
		printf("%-28s %-6s %10s %10s\n", "operation", "by", "p50", "p99");
	else
		printf("[\n");
	measure_release();
	measure_kill();
	measure_affinity();
	if (!as_table)
		printf("\n]\n");
	return lines ? 0 : 1;
}
