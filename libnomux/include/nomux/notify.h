/* SPDX-License-Identifier: MIT */
/* Notifications: post an event to somebody else's lease. */
#ifndef NOMUX_NOTIFY_H
#define NOMUX_NOTIFY_H

#include <nomux/api.h>

struct nomux_ctx;

/**
 * nomux_notify - post an event to a lease
 * @ctx: context
 * @handle: nomux_core_handle() of the target, as its owner or the bulletin
 *	board tells it
 * @event: an event of the target's notify_mask
 *
 * To the lease of the caller itself no system call is made: the handler runs
 * before this returns, on the caller's stack, as in nomux_unmask(); masked, when
 * events are unmasked.  The kernel's counters do not see such a notification.
 *
 * Threads: any, upcall handlers included.  One system call, never blocks.
 * Return: 0, -ENOENT (no such lease, or it has ended), -EPERM (another user's,
 * or not in its notify_mask), -EAGAIN (your user has sent as many as it may for
 * now), -EINVAL.
 */
NOMUX_API int nomux_notify(struct nomux_ctx *ctx, uint64_t handle, unsigned int event);

#endif /* NOMUX_NOTIFY_H */
