// SPDX-License-Identifier: MIT
/* Messages: a threshold, a receiver that can be replaced, stderr by default. */
#include <nomux/log.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <syslog.h>
#include <unistd.h>

#include "internal.h"

#define LOG_BYTES 512

/* One writev(2), so that lines of several threads and processes stay whole. */
static void log_stderr(int level, const char *msg, void *arg)
{
	struct iovec iov[2] = {
		{ (void *)(uintptr_t)msg, strlen(msg) },
		{ (void *)(uintptr_t)"\n", 1 },
	};

	if (writev(STDERR_FILENO, iov, 2) < 0)
		return;		/* nowhere left to say so */
}

static nomux_log_fn log_fn = log_stderr;
static void *log_arg;
static int log_max = -1;	/* unknown until the environment was read */

static int log_threshold(void)
{
	int max = __atomic_load_n(&log_max, __ATOMIC_RELAXED);
	const char *env;

	if (max >= 0)
		return max;
	env = getenv("NOMUX_LOG");
	max = LOG_WARNING;
	if (env && env[0] >= '0' && env[0] <= '7' && !env[1])
		max = env[0] - '0';
	__atomic_store_n(&log_max, max, __ATOMIC_RELAXED);
	return max;
}

void nomux_set_log_fn(nomux_log_fn fn, void *arg)
{
	log_fn = fn ? fn : log_stderr;
	log_arg = fn ? arg : NULL;
}

void nomux__log_line(int level, const char *msg)
{
	int saved = errno;

	if (level <= log_threshold())
		log_fn(level, msg, log_arg);
	errno = saved;
}

void nomux_log(int level, const char *fmt, ...)
{
	char line[LOG_BYTES];
	int saved = errno;
	va_list ap;

	if (level > log_threshold())
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	nomux__log_line(level, line);
	errno = saved;
}
