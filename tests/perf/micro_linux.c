// SPDX-License-Identifier: MIT
/*
 * Linux's half of nom-micro: how an ordinary process is told of an invalid
 * instruction, maps a page at a fault, or reads a small fact, today.
 *
 * Some also run on a leased core, with no trap claimed: what the core costs.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "micro.h"

#define PAGE	4096UL
#define AHEAD	16

static void on_ill(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	uc->uc_mcontext.gregs[REG_RIP] += 2;
}

static int sigill(void)
{
	unsigned int i;
	uint64_t t;

	micro_handle(SIGILL, on_ill);
	for (i = 0; i < micro.rounds; i++) {
		t = micro_now();
		__asm__ __volatile__("ud2" ::: "memory");
		micro.sample[i] = micro_now() - t;
	}
	signal(SIGILL, SIG_DFL);
	return 0;
}

/* ---------------------------------------------------------- page faults --- */

static unsigned int ahead = 1;	/* pages a handler maps */

static size_t area_bytes(void)
{
	return PAGE * ahead * micro.rounds;
}

static char *area_map(int fd)
{
	char *p = mmap(NULL, area_bytes(), PROT_READ | PROT_WRITE,
		       fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return NULL;
	madvise(p, area_bytes(), MADV_NOHUGEPAGE);
	return p;
}

/* Each @ahead pages one fault; a sample is all of them. */
static void touch(char *p, bool write)
{
	unsigned int i, k;
	uint64_t t;

	for (i = 0; i < micro.rounds; i++) {
		volatile char *at = p + PAGE * ahead * i;

		t = micro_now();
		for (k = 0; k < ahead; k++) {
			if (write)
				at[PAGE * k] = 1;
			else
				(void)at[PAGE * k];
		}
		micro.sample[i] = micro_now() - t;
	}
}

static int kernel_anonymous(void)
{
	char *p = area_map(-1);

	if (!p)
		return -errno;
	touch(p, true);
	munmap(p, area_bytes());
	return 0;
}

static void on_segv(int sig, siginfo_t *info, void *context)
{
	mprotect((void *)((uintptr_t)info->si_addr & ~(PAGE - 1)), PAGE * ahead, PROT_READ | PROT_WRITE);
}

/* The page is there already: only the protection changes, which favours Linux. */
static int sigsegv_mprotect(void)
{
	char *p = area_map(-1);

	if (!p)
		return -errno;
	memset(p, 1, area_bytes());
	mprotect(p, area_bytes(), PROT_NONE);
	micro_handle(SIGSEGV, on_segv);
	touch(p, true);
	signal(SIGSEGV, SIG_DFL);
	munmap(p, area_bytes());
	return 0;
}

static int uffd = -1;

static int uffd_open(uint64_t features, uint64_t mode, char *p)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	struct uffdio_register range = { .range = { (uintptr_t)p, area_bytes() }, .mode = mode };
	int err;

	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0)
		return -errno;
	if (!ioctl(uffd, UFFDIO_API, &api) && !ioctl(uffd, UFFDIO_REGISTER, &range))
		return 0;
	err = -errno;
	close(uffd);
	return err;
}

static void uffd_zero_page(uintptr_t address)
{
	struct uffdio_zeropage zero = { .range = { address & ~(PAGE - 1), PAGE * ahead } };

	ioctl(uffd, UFFDIO_ZEROPAGE, &zero);
}

static void on_bus_zero(int sig, siginfo_t *info, void *context)
{
	uffd_zero_page((uintptr_t)info->si_addr);
}

static char page_content[PAGE] __attribute__((aligned(4096)));

static void on_bus_copy(int sig, siginfo_t *info, void *context)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)info->si_addr & ~(PAGE - 1), .src = (uintptr_t)page_content, .len = PAGE,
	};

	ioctl(uffd, UFFDIO_COPY, &copy);
}

static void on_bus_continue(int sig, siginfo_t *info, void *context)
{
	struct uffdio_continue more = {
		.range = { (uintptr_t)info->si_addr & ~(PAGE - 1), PAGE * ahead },
	};

	ioctl(uffd, UFFDIO_CONTINUE, &more);
}

static int uffd_sigbus(void (*handler)(int, siginfo_t *, void *), bool write)
{
	char *p = area_map(-1);
	int err;

	if (!p)
		return -errno;
	err = uffd_open(UFFD_FEATURE_SIGBUS, UFFDIO_REGISTER_MODE_MISSING, p);
	if (!err) {
		micro_handle(SIGBUS, handler);
		touch(p, write);
		signal(SIGBUS, SIG_DFL);
		close(uffd);
	}
	munmap(p, area_bytes());
	return err;
}

/* Read only, as the page that is mapped is the shared zero page: the cheapest. */
static int uffd_sigbus_zero(void)
{
	return uffd_sigbus(on_bus_zero, false);
}

static int uffd_sigbus_copy(void)
{
	return uffd_sigbus(on_bus_copy, true);
}

/* The page exists, in a memfd: it is only mapped, as a grant's is. */
static int uffd_sigbus_continue(void)
{
	int fd = memfd_create("micro", MFD_CLOEXEC), err = -ENOMEM;
	char *p, *other;

	if (fd < 0 || ftruncate(fd, (off_t)area_bytes()))
		return -errno;
	other = area_map(fd);
	p = area_map(fd);
	if (other && p) {
		memset(other, 1, area_bytes());
		err = uffd_open(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MINOR_SHMEM, UFFDIO_REGISTER_MODE_MINOR, p);
	}
	if (!err) {
		micro_handle(SIGBUS, on_bus_continue);
		touch(p, true);
		signal(SIGBUS, SIG_DFL);
		close(uffd);
	}
	if (p)
		munmap(p, area_bytes());
	if (other)
		munmap(other, area_bytes());
	close(fd);
	return err;
}

static void *uffd_server(void *arg)
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

static int uffd_thread(void)
{
	char *p = area_map(-1);
	pthread_t thread;
	int err;

	if (!p)
		return -errno;
	err = uffd_open(0, UFFDIO_REGISTER_MODE_MISSING, p);
	if (!err) {
		err = -pthread_create(&thread, NULL, uffd_server, NULL);
		if (!err) {
			touch(p, false);
			pthread_join(thread, NULL);
		}
		close(uffd);
	}
	munmap(p, area_bytes());
	return err;
}

static int with_ahead(int (*fn)(void))
{
	int err;

	ahead = AHEAD;
	err = fn();
	ahead = 1;
	return err;
}

static int sigsegv_mprotect_ahead(void)
{
	return with_ahead(sigsegv_mprotect);
}

static int uffd_sigbus_zero_ahead(void)
{
	return with_ahead(uffd_sigbus_zero);
}

static int uffd_sigbus_continue_ahead(void)
{
	return with_ahead(uffd_sigbus_continue);
}

/* ------------------------------------------------------------- a price --- */

/* A number kept in a file in memory that is open already. */
static int pread_file(void)
{
	int fd = memfd_create("micro", MFD_CLOEXEC);
	char text[16];
	unsigned int i;
	uint64_t t;

	if (fd < 0 || pwrite(fd, "0.123456", 9, 0) != 9)
		return -errno;
	for (i = 0; i < micro.rounds; i++) {
		t = micro_now();
		MICRO_16((void)!pread(fd, text, sizeof(text), 0));
		micro.sample[i] = micro_now() - t;
	}
	close(fd);
	return 0;
}

const struct micro_op micro_linux_ops[] = {
	{ "invalid-instruction/sigill", "linux", 0, sigill },
	{ "invalid-instruction/sigill-reserved-core", "linux", MICRO_RESERVED, sigill },
	{ "page-fault-map/sigsegv-mprotect", "linux", 0, sigsegv_mprotect },
	{ "page-fault-map/userfaultfd-sigbus", "linux", 0, uffd_sigbus_zero },
	{ "page-fault-map/userfaultfd-sigbus-reserved-core", "linux", MICRO_RESERVED, uffd_sigbus_zero },
	{ "page-fault-map/userfaultfd-sigbus-copy", "linux", 0, uffd_sigbus_copy },
	{ "page-fault-map/userfaultfd-sigbus-continue", "linux", 0, uffd_sigbus_continue },
	{ "page-fault-map/userfaultfd-thread", "linux", 0, uffd_thread },
	{ "page-fault-map/kernel-anonymous", "linux", 0, kernel_anonymous },
	{ "page-fault-map-16-ahead/sigsegv-mprotect", "linux", MICRO_PER_16, sigsegv_mprotect_ahead },
	{ "page-fault-map-16-ahead/userfaultfd-sigbus", "linux", MICRO_PER_16, uffd_sigbus_zero_ahead },
	{ "page-fault-map-16-ahead/userfaultfd-sigbus-continue", "linux", MICRO_PER_16, uffd_sigbus_continue_ahead },
	{ "board-read/pread-memfd", "linux", MICRO_PER_16, pread_file },
	{ 0 },
};
