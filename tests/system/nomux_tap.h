/* SPDX-License-Identifier: MIT */
/*
 * TAP for libnomux's tests in the guest, and a deadline: a test that hangs dies
 * by SIGALRM, with a plan that was not kept.
 */
#ifndef NOMUX_TAP_H
#define NOMUX_TAP_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define T_SKIP 4

static int t_ran, t_failed;

static inline void t_start(unsigned int deadline_s)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	alarm(deadline_s);
}

__attribute__((format(printf, 2, 3)))
static inline bool t_ok(bool good, const char *fmt, ...)
{
	va_list ap;

	printf("%s %d - ", good ? "ok" : "not ok", ++t_ran);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	t_failed += !good;
	return good;
}

/* An int result that must be exactly this; the message tells what it was. */
static inline bool t_is(long got, long want, const char *what)
{
	bool good = t_ok(got == want, "%s", what);

	if (!good)
		printf("# got %ld, wanted %ld\n", got, want);
	return good;
}

/* For what a test cannot go on without. */
#define T_NEED(call) do {							\
	long t_ret = (call);							\
	if (t_ret < 0) {							\
		printf("not ok %d - %s: %s\n", ++t_ran, #call, strerror((int)-t_ret));	\
		exit(1);							\
	}									\
} while (0)

/* What a handler may do to the registers at worst; restoring them is the stub's. */
static inline void t_clobber_registers(void)
{
	__asm__ __volatile__("mov $-1, %%rax; mov %%rax, %%rcx; mov %%rax, %%rdx; mov %%rax, %%rsi\n\t"
			     "mov %%rax, %%rdi; mov %%rax, %%r8; mov %%rax, %%r9; mov %%rax, %%r10\n\t"
			     "mov %%rax, %%r11; std; cld; stc"
			     ::: "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11",
				 "cc", "memory");
}

static inline int t_end(void)
{
	printf("1..%d\n", t_ran);
	return t_failed ? 1 : 0;
}

#endif /* NOMUX_TAP_H */
