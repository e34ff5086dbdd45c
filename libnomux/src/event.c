// SPDX-License-Identifier: MIT
/* Event numbers, their handlers and what posts them. */
#include <errno.h>
#include <sys/ioctl.h>

#include <nomux/notify.h>
#include <nomux/timer.h>
#include <nomux/upcall.h>

#include "internal.h"

_Static_assert(NOMUX_TIMER_ABS == NOM_TIMER_ABS, "flags go to the kernel as they are");

int nomux_on_event(struct nomux_core *core, unsigned int event, nomux_event_fn fn, void *arg)
{
	if (!core || event >= NOM_NR_EVENTS)
		return -EINVAL;
	/* An upcall between the stores must not see the new fn with the old arg. */
	__atomic_store_n(&core->event[event].fn, NULL, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	core->event[event].arg = arg;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(&core->event[event].fn, fn, __ATOMIC_RELAXED);
	return 0;
}

int nomux_on_trap(struct nomux_core *core, unsigned int trapnr, nomux_trap_fn fn, void *arg)
{
	uint64_t bit;

	if (!core || trapnr >= NOMUX_NR_TRAPS)
		return -EINVAL;
	bit = 1ULL << trapnr;
	if (!(core->ctx->info.out_traps & bit))
		return -EOPNOTSUPP;
	if (!(core->trap_mask & bit)) {
		if (core->holder)
			return -EBUSY;
		core->trap_mask |= bit;
	}
	core->trap[trapnr].fn = NULL;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	core->trap[trapnr].arg = arg;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	core->trap[trapnr].fn = fn;
	return 0;
}

int nomux_event_alloc(struct nomux_core *core)
{
	int event;

	if (!core)
		return -EINVAL;
	for (event = NOM_NR_EVENTS - 1; event >= 0; event--) {
		if ((core->events_used & (1ULL << event)) || core->event[event].fn)
			continue;
		core->events_used |= 1ULL << event;
		return event;
	}
	return -ENOSPC;
}

void nomux_event_free(struct nomux_core *core, unsigned int event)
{
	if (!core || event >= NOM_NR_EVENTS)
		return;
	nomux_on_event(core, event, NULL, NULL);
	core->events_used &= ~(1ULL << event);
}

uint64_t nomux_event_dropped(const struct nomux_core *core)
{
	return __atomic_load_n(&core->dropped, __ATOMIC_RELAXED);
}

static int core_bind(struct nomux_core *core, unsigned int event, int eventfd, unsigned long cmd)
{
	struct nom_core_bind bind = {
		.size = sizeof(bind), .event = event, .fd = eventfd,
	};

	if (!core || event >= NOM_NR_EVENTS)
		return -EINVAL;
	return ioctl(core->fd, cmd, &bind) ? -errno : 0;
}

int nomux_event_bind(struct nomux_core *core, unsigned int event, int eventfd)
{
	return core_bind(core, event, eventfd, NOM_CORE_BIND);
}

int nomux_event_unbind(struct nomux_core *core, unsigned int event, int eventfd)
{
	return core_bind(core, event, eventfd, NOM_CORE_UNBIND);
}

int nomux_event_mask(struct nomux_core *core, unsigned int event, int eventfd)
{
	return core_bind(core, event, eventfd, NOM_CORE_MASK);
}

int nomux_event_unmask(struct nomux_core *core, unsigned int event, int eventfd)
{
	return core_bind(core, event, eventfd, NOM_CORE_UNMASK);
}

int nomux_binding(struct nomux_core *core, unsigned int index, struct nom_core_binding *out)
{
	struct nom_core_binding b = { .size = sizeof(b), .index = index };

	if (!core || !out)
		return -EINVAL;
	if (ioctl(core->fd, NOM_CORE_BINDING, &b))
		return -errno;
	*out = b;
	return 0;
}

int nomux_subscribe(struct nomux_core *core, unsigned int event, uint64_t class_mask)
{
	struct nom_core_subscribe sub = {
		.size = sizeof(sub), .event = event, .classes = class_mask,
	};

	if (!core || event >= NOM_NR_EVENTS)
		return -EINVAL;
	return ioctl(core->fd, NOM_CORE_SUBSCRIBE, &sub) ? -errno : 0;
}

int nomux__timer_arm_kernel(struct nomux_core *core, unsigned int event, uint64_t ns,
			    unsigned int flags)
{
	struct nom_core_timer timer = {
		.size = sizeof(timer), .event = event, .flags = flags, .ns = ns,
	};

	return (int)nomux__syscall3(SYS_ioctl, core->fd, NOM_CORE_TIMER, (long)(uintptr_t)&timer);
}

int nomux_timer_arm(struct nomux_core *core, unsigned int event, uint64_t ns, unsigned int flags)
{
	if (!core || event >= NOM_NR_EVENTS)
		return -EINVAL;
	if (core->timer_shared)
		return -EBUSY;
	core->timer_used = ns || (flags & NOMUX_TIMER_ABS);
	return nomux__timer_arm_kernel(core, event, ns, flags);
}

/*
 * To the lease of the caller itself, in ring 3: what the kernel's nom_post()
 * does, and what it would then interrupt us for.  Nobody but this thread can be
 * on this core, so there is nobody to interrupt.
 */
static int notify_self(struct nomux_core *core, unsigned int event)
{
	struct nom_shared *sh = nomux_core_shared(core);

	if (!(core->notify_mask & (1ULL << event)))
		return -EPERM;
	__atomic_fetch_add(&sh->count[event], 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_or(&sh->pending, 1ULL << event, __ATOMIC_SEQ_CST);
	if (!nomux_masked(core))
		nomux__unmask_slow(core);
	return 0;
}

int nomux_notify(struct nomux_ctx *ctx, uint64_t handle, unsigned int event)
{
	struct nom_notify notify = {
		.size = sizeof(notify), .event = event, .handle = handle,
	};
	struct nomux_core *self = nomux__current;

	if (!ctx || event >= NOM_NR_EVENTS)
		return -EINVAL;
	/* After fork() the child finds zeroes there, after a lost lease no holder. */
	if (self && self->handle == handle && self->holder && self->magic == NOMUX_CORE_MAGIC)
		return notify_self(self, event);
	return (int)nomux__syscall3(SYS_ioctl, ctx->fd, NOM_NOTIFY, (long)(uintptr_t)&notify);
}
