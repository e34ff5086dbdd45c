/* SPDX-License-Identifier: MIT */
/* Blocking system calls, made by a helper while the core goes on. */
#ifndef NOMUX_OFFLOAD_H
#define NOMUX_OFFLOAD_H

#include <nomux/api.h>

#define NOMUX_OFFLOAD_HELPERS	16	/* per process */

/**
 * nomux_offload - run a function on an ordinary core, and wait for it
 * @fn: may block, in the kernel too; runs on a kernel thread of its own, of
 *	which the library keeps up to NOMUX_OFFLOAD_HELPERS.  With all of them
 *	busy it waits for one.
 * @arg: passed to @fn
 * @ret_out: what @fn returned, or NULL
 *
 * Only the calling user thread waits.  errno of @fn is the helper's: return it.
 * Return: 0, -EINVAL, -EAGAIN (no kernel thread to be had), -ENOMEM.
 */
NOMUX_API int nomux_offload(long (*fn)(void *arg), void *arg, long *ret_out);

#endif /* NOMUX_OFFLOAD_H */
