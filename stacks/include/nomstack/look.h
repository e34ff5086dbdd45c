/* SPDX-License-Identifier: MIT */
/*
 * look.h - let others look at a stack while it works
 *
 * Optional.  A stack that is looked at answers nomctl stat (queues,
 * connections, drops by reason, all it knows about itself) and nomctl trace
 * (frames).  While nobody looks this costs one load and one compare for each
 * nomstack_look(), about once a millisecond, and nothing for a packet.
 *
 * Threads: the one that polls.
 */
#ifndef NOMSTACK_LOOK_H
#define NOMSTACK_LOOK_H

#include <nomstack/nomstack.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * nomstack_look_open - offer a stack to be looked at
 * @s: the stack
 * @nr: which of the process's stacks it is: 0, 1, ...; where they share a device, the number
 *	of its queue pair: queues are shown as rx<nr> and tx<nr>
 *
 * Makes /dev/shm/nom-<pid>.look, or nom-<pid>-<nr>.look from 1 on (mode 0600, 1.1 MiB), removed by
 * nomstack_close().  Set-up time: makes system calls.
 *
 * Return: 0, -EBUSY (it is offered), -EINVAL (@nr), -ENOSPC or another -errno of /dev/shm: the
 * stack works without.
 */
NOMSTACK_API int nomstack_look_open(struct nomstack *s, unsigned nr);

/**
 * nomstack_look - answer a question, if there is one
 * @s: the stack
 *
 * Call it every millisecond or so, not from a callback.  A question is answered
 * with one slice of bounded length (128 connections at most).
 *
 * Return: true while somebody looks: come back within a millisecond, if nothing
 * else is to be done.
 */
NOMSTACK_API bool nomstack_look(struct nomstack *s);

#ifdef __cplusplus
}
#endif

#endif
