// SPDX-License-Identifier: MIT
/*
 * Linux's half of nom-micro: how an ordinary process is told of an invalid
 * instruction, maps a page at a fault, and hears of an event, today.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "micro.h"

#define PAGE 4096UL

static void handle(int sig, void (*fn)(int, siginfo_t *, void *))
{
	struct sigaction action = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO };

	sigaction(sig, &action, NULL);
}

static void on_ill(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	uc->uc_mcontext.gregs[REG_RIP] += 2;
}

static void measure_sigill(void)
{
	unsigned int i;
	uint64_t t;

	handle(SIGILL, on_ill);
	for (i = 0; i < micro.rounds; i++) {
		t = micro_now();
		__asm__ __volatile__("ud2" ::: "memory");
		micro.sample[i] = micro_now() - t;
	}
	signal(SIGILL, SIG_DFL);
	micro_report("invalid-instruction/sigill", "linux");
}

/* ---------------------------------------------------------- page faults --- */

static char *pages_map(int prot)
{
	char *p = mmap(NULL, PAGE * micro.rounds, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	madvise(p, PAGE * micro.rounds, MADV_NOHUGEPAGE);
	return p;
}

static void touch_all(char *p, const char *name)
{
	unsigned int i;
	uint64_t t;

	for (i = 0; i < micro.rounds; i++) {
		t = micro_now();
		*(volatile char *)(p + PAGE * i) = 1;
		micro.sample[i] = micro_now() - t;
	}
	micro_report(name, "linux");
}

static void measure_anonymous(void)
{
	char *p = pages_map(PROT_READ | PROT_WRITE);

	if (!p)
		return;
	touch_all(p, "page-fault-map/kernel-anonymous");
	munmap(p, PAGE * micro.rounds);
}

static void on_segv(int sig, siginfo_t *info, void *context)
{
	mprotect((void *)((uintptr_t)info->si_addr & ~(PAGE - 1)), PAGE, PROT_READ | PROT_WRITE);
}

/* The page is there already: only the protection changes, which favours Linux. */
static void measure_sigsegv(void)
{
	char *p = pages_map(PROT_READ | PROT_WRITE);

	if (!p)
		return;
	memset(p, 1, PAGE * micro.rounds);
	mprotect(p, PAGE * micro.rounds, PROT_NONE);
	handle(SIGSEGV, on_segv);
	touch_all(p, "page-fault-map/sigsegv-mprotect");
	signal(SIGSEGV, SIG_DFL);
	munmap(p, PAGE * micro.rounds);
}

static int uffd = -1;

static int uffd_open(uint64_t features, char *p, const char *name)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	struct uffdio_register range = {
		.range = { (uintptr_t)p, PAGE * micro.rounds },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &range)) {
		micro_missing(name, "userfaultfd", errno);
		if (uffd >= 0)
			close(uffd);
		return -1;
	}
	return 0;
}

static void uffd_zero_page(uintptr_t address)
{
	struct uffdio_zeropage zero = { .range = { address & ~(PAGE - 1), PAGE } };

	ioctl(uffd, UFFDIO_ZEROPAGE, &zero);
}

static void on_bus(int sig, siginfo_t *info, void *context)
{
	uffd_zero_page((uintptr_t)info->si_addr);
}

/* Reads, as the page that is mapped is the shared zero page. */
static void read_all(const char *p, const char *name)
{
	unsigned int i;
	uint64_t t;

	for (i = 0; i < micro.rounds; i++) {
		t = micro_now();
		(void)*(const volatile char *)(p + PAGE * i);
		micro.sample[i] = micro_now() - t;
	}
	micro_report(name, "linux");
}

static void measure_uffd_sigbus(void)
{
	const char *name = "page-fault-map/userfaultfd-sigbus";
	char *p = pages_map(PROT_READ | PROT_WRITE);

	if (!p)
		return;
	if (!uffd_open(UFFD_FEATURE_SIGBUS, p, name)) {
		handle(SIGBUS, on_bus);
		read_all(p, name);
		signal(SIGBUS, SIG_DFL);
		close(uffd);
	}
	munmap(p, PAGE * micro.rounds);
}

static void *uffd_thread(void *arg)
{
	struct uffd_msg msg;
	unsigned int i;

	for (i = 0; i < micro.rounds; i++) {	/* one message a page */
		if (read(uffd, &msg, sizeof(msg)) != (ssize_t)sizeof(msg))
			break;
		uffd_zero_page((uintptr_t)msg.arg.pagefault.address);
	}
	return NULL;
}

static void measure_uffd_thread(void)
{
	const char *name = "page-fault-map/userfaultfd-thread";
	char *p = pages_map(PROT_READ | PROT_WRITE);
	pthread_t thread;

	if (!p)
		return;
	if (!uffd_open(0, p, name)) {
		if (!pthread_create(&thread, NULL, uffd_thread, NULL)) {
			read_all(p, name);
			pthread_join(thread, NULL);
		}
		close(uffd);
	}
	munmap(p, PAGE * micro.rounds);
}

/* --------------------------------------------------------------- events --- */

static void on_event(int sig, siginfo_t *info, void *context)
{
	micro.arrived = nomux_tsc();
}

static void measure_tgkill(void)
{
	pid_t pid = getpid(), tid = gettid();
	unsigned int i;

	handle(SIGUSR1, on_event);
	for (i = 0; i < micro.rounds; i++) {
		micro.begun = micro_now();
		syscall(SYS_tgkill, pid, tid, SIGUSR1);
		micro.sample[i] = micro.arrived - micro.begun;
	}
	signal(SIGUSR1, SIG_DFL);
	micro_report("event-same-core/tgkill", "linux");
}

static int pipe_open(int fd[2], bool sigio)
{
	struct f_owner_ex owner = { F_OWNER_TID, gettid() };

	if (pipe2(fd, O_CLOEXEC | O_NONBLOCK))
		return -1;
	if (!sigio)
		return 0;
	return fcntl(fd[0], F_SETOWN_EX, &owner) ||
	       fcntl(fd[0], F_SETFL, O_NONBLOCK | O_ASYNC) ? -1 : 0;
}

/* A byte through a pipe that signals its reader: to the handler's first instructions. */
static void measure_sigio(void)
{
	unsigned int i;
	char byte = 0;
	int fd[2];

	if (pipe_open(fd, true))
		return micro_missing("event-same-core/sigio", "pipe", errno);
	handle(SIGIO, on_event);
	for (i = 0; i < micro.rounds; i++) {
		micro.begun = micro_now();
		if (write(fd[1], &byte, 1) != 1)
			break;
		micro.sample[i] = micro.arrived - micro.begun;
		if (read(fd[0], &byte, 1) != 1)
			break;
	}
	signal(SIGIO, SIG_DFL);
	micro_report("event-same-core/pipe-sigio", "linux");
	close(fd[0]);
	close(fd[1]);
}

/* The cheapest there is without a handler: write a byte, read it again. */
static void measure_pipe(void)
{
	unsigned int i;
	char byte = 0;
	uint64_t t;
	int fd[2];

	if (pipe_open(fd, false))
		return micro_missing("event-same-core/pipe", "pipe", errno);
	for (i = 0; i < micro.rounds; i++) {
		t = micro_now();
		if (write(fd[1], &byte, 1) != 1 || read(fd[0], &byte, 1) != 1)
			break;
		micro.sample[i] = micro_now() - t;
	}
	micro_report("event-same-core/pipe-write-read", "linux");
	close(fd[0]);
	close(fd[1]);
}

void micro_run_linux(void)
{
	measure_sigill();
	measure_anonymous();
	measure_sigsegv();
	measure_uffd_sigbus();
	measure_uffd_thread();
	measure_tgkill();
	measure_sigio();
	measure_pipe();
}
