/* SPDX-License-Identifier: MIT */
/* Kernel threads of the library's own, on ordinary cores. */
#ifndef NOMUX_KTHREAD_H
#define NOMUX_KTHREAD_H

#include <pthread.h>
#include <stddef.h>

/*
 * Start a detached pthread with all signals blocked, on the CPUs that the caller
 * was allowed before it entered a leased core.  Return: 0, -EAGAIN, -ENOMEM.
 */
int nomux__kthread_create(pthread_t *thread, void *(*fn)(void *), void *arg, size_t stack_bytes);

#endif /* NOMUX_KTHREAD_H */
