// SPDX-License-Identifier: MIT
/* Kernel threads of the library's own. */
#include "kthread.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <unistd.h>

#include "internal.h"

int nomux__kthread_create(pthread_t *thread, void *(*fn)(void *), void *arg, size_t stack_bytes)
{
	long min = sysconf(_SC_THREAD_STACK_MIN);
	sigset_t all, old;
	pthread_attr_t attr;
	int err;

	if (pthread_attr_init(&attr))
		return -ENOMEM;
	if (min > 0 && (size_t)min > stack_bytes)
		stack_bytes = (size_t)min;
	pthread_attr_setstacksize(&attr, stack_bytes);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	/*
	 * Made on a leased core, it runs on ordinary ones: the kernel lets nobody but the
	 * holder in (Documentation/rules.rst, fork and clone).
	 */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(thread, &attr, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return err == ENOMEM ? -ENOMEM : err ? -EAGAIN : 0;
}
