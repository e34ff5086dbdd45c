// SPDX-License-Identifier: MIT
/*
 * kernel-cost - what an ordinary program pays for ordinary things, for comparing
 * kernels: tests/perf/off-on
 *
 * usage: kernel-cost [--rounds N]
 *
 * Runs on any kernel and knows nothing of nom.  Prints "name median" lines, in ticks
 * of the time stamp counter: under `run-guest --icount` they are instructions of the
 * guest.  What is timed includes lfence and rdtsc, the same for every kernel.
 */
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <x86intrin.h>

#define ROUNDS_MAX	10000
#define WARM_UP		20

static unsigned int rounds = 1000;
static uint64_t sample[ROUNDS_MAX];

static uint64_t counter(void)
{
	_mm_lfence();
	return __rdtsc();
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void measure(const char *name, void (*once)(void))
{
	unsigned int i;
	uint64_t began;

	for (i = 0; i < WARM_UP; i++)
		once();
	for (i = 0; i < rounds; i++) {
		began = counter();
		once();
		sample[i] = counter() - began;
	}
	qsort(sample, rounds, sizeof(*sample), compare);
	printf("%s %llu\n", name, (unsigned long long)sample[rounds / 2]);
}

static void call(void)
{
	syscall(SYS_getppid);
}

static char *fresh;

static void touch(void)
{
	*fresh = 1;
	fresh += 4096;
}

static void skip_ud2(int sig, siginfo_t *info, void *ucontext)
{
	((ucontext_t *)ucontext)->uc_mcontext.gregs[REG_RIP] += 2;
}

static void trap(void)
{
	__asm__ __volatile__("ud2" ::: "memory");
}

static void own_signal(void)
{
	raise(SIGUSR1);
}

static void nothing(int sig)
{
}

static void affinity(void)
{
	static cpu_set_t set[2];
	static unsigned int turn;

	if (!turn)
		sched_getaffinity(0, sizeof(set[0]), &set[0]);
	sched_setaffinity(0, sizeof(set[0]), &set[0]);
	turn++;
}

static int to_peer[2], from_peer[2];

static void ping_pong(void)
{
	char c = 0;

	if (write(to_peer[1], &c, 1) != 1 || read(from_peer[0], &c, 1) != 1)
		abort();
}

static void fork_wait(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
}

static void measure_ping_pong(void)
{
	pid_t pid;
	char c;

	if (pipe(to_peer) || pipe(from_peer))
		abort();
	pid = fork();
	if (!pid) {
		close(to_peer[1]);
		while (read(to_peer[0], &c, 1) == 1 && write(from_peer[1], &c, 1) == 1)
			;
		_exit(0);
	}
	measure("pipes-there-and-back", ping_pong);
	close(to_peer[1]);
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = skip_ud2, .sa_flags = SA_SIGINFO };
	size_t bytes;
	cpu_set_t one;

	if (argc == 3 && !strcmp(argv[1], "--rounds"))
		rounds = (unsigned int)strtoul(argv[2], NULL, 10);
	else if (argc != 1)
		rounds = 0;
	if (rounds < 10 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: kernel-cost [--rounds 10..%d]\n", ROUNDS_MAX);
		return 2;
	}
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	bytes = (rounds + WARM_UP) * 4096UL;
	fresh = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fresh == MAP_FAILED || madvise(fresh, bytes, MADV_NOHUGEPAGE)) {
		perror("kernel-cost: memory");
		return 1;
	}
	sigaction(SIGILL, &sa, NULL);
	signal(SIGUSR1, nothing);

	measure("system-call", call);
	measure("anonymous-fault", touch);
	measure("ud2-by-sigill", trap);
	measure("signal-to-oneself", own_signal);
	measure("sched-setaffinity", affinity);
	measure_ping_pong();
	measure("fork-exit-wait", fork_wait);
	return 0;
}
