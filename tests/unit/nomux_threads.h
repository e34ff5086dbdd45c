/* SPDX-License-Identifier: MIT */
/* What the tests of user threads share: start, join, a trace, counted log lines. */
#ifndef NOMUX_THREADS_H
#define NOMUX_THREADS_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <nomux/clock.h>
#include <nomux/log.h>
#include <nomux/thread.h>

#define MS 1000000ULL

static char trace[256];

static inline void mark(char c)
{
	size_t n = strlen(trace);

	if (n + 1 < sizeof(trace)) {
		trace[n] = c;
		trace[n + 1] = '\0';
	}
}

static inline int clear_trace(void **state)
{
	trace[0] = '\0';
	return 0;
}

static inline struct nomux_thread *start_opts(void (*fn)(void *), void *arg, const char *name,
					      uint32_t flags, struct nomux_group *g)
{
	struct nomux_thread_opts opts = {
		.sz = sizeof(opts), .name = name, .flags = flags, .group = g,
	};
	struct nomux_thread *t = NULL;

	assert_int_equal(nomux_thread_create(fn, arg, &opts, &t), 0);
	return t;
}

static inline struct nomux_thread *start(void (*fn)(void *), void *arg)
{
	return start_opts(fn, arg, NULL, 0, NULL);
}

static inline void join(struct nomux_thread *t)
{
	assert_int_equal(nomux_join(t), 0);
}

static int log_lines;
static char log_last[512];

static inline void count_lines(int level, const char *msg, void *arg)
{
	log_lines++;
	snprintf(log_last, sizeof(log_last), "%s", msg);
}

static inline void log_quiet(void)
{
	log_lines = 0;
	log_last[0] = '\0';
	nomux_set_log_fn(count_lines, NULL);
}

static inline void log_normal(void)
{
	nomux_set_log_fn(NULL, NULL);
}

#endif /* NOMUX_THREADS_H */
