/* SPDX-License-Identifier: MIT */
/*
 * Upcalls: the kernel calls the application.
 *
 * There are two sorts.  *Events* (0 .. 63) say that something happened: a
 * device interrupt, the timer, a notification, a changed price.  They can be
 * masked, and coalesce: a handler gets the exact number of times its event was
 * posted since it last ran.  *Traps* are the x86 exceptions an application has
 * claimed, a page fault say; they cannot be masked.
 *
 * Handlers run on the core's own upcall stack, with events masked, in the
 * middle of whatever the thread was doing.  They must not use FPU or SSE
 * registers: compile their file with -mgeneral-regs-only, or claim the core
 * with NOMUX_CORE_SAVE_XSTATE.  They must not call what is not reentrant
 * (malloc, stdio), as a signal handler must not; nor, without saved state, the C
 * library's memcpy(), memset() and string functions, which use SSE.
 */
#ifndef NOMUX_UPCALL_H
#define NOMUX_UPCALL_H

#include <asm/nom.h>
#include <nomux/api.h>

struct nomux_core;

/**
 * typedef nomux_event_fn - handles an event
 * @event: its number
 * @count: how often it was posted since the handler last ran, >= 1
 * @arg: what was given to nomux_on_event()
 */
typedef void (*nomux_event_fn)(unsigned int event, uint64_t count, void *arg);

/**
 * typedef nomux_trap_fn - handles a trap
 * @frame: what was interrupted; the handler may change rip, rflags, rsp and
 *	gprs[] (NOMUX_GPR_*), which the thread then resumes with
 * @arg: what was given to nomux_on_trap()
 *
 * Return: 0 to resume at frame->rip (unchanged: the instruction runs again),
 * < 0 when this was not ours: the library logs what it was and gives the trap
 * to the thread as the signal it would have been.
 */
typedef int (*nomux_trap_fn)(struct nom_frame *frame, void *arg);

/* Indices of nom_frame.gprs[], in the order the stub stores them. */
enum {
	NOMUX_GPR_RAX, NOMUX_GPR_RDX, NOMUX_GPR_RCX, NOMUX_GPR_RBX, NOMUX_GPR_RBP,
	NOMUX_GPR_RSI, NOMUX_GPR_RDI, NOMUX_GPR_R8, NOMUX_GPR_R9, NOMUX_GPR_R10,
	NOMUX_GPR_R11, NOMUX_GPR_R12, NOMUX_GPR_R13, NOMUX_GPR_R14, NOMUX_GPR_R15,
};

/**
 * nomux_on_event - set the handler of an event
 * @core: lease
 * @event: 0 .. NOM_NR_EVENTS - 1
 * @fn: handler, or NULL: the event is counted (nomux_event_dropped()) and
 *	dropped
 * @arg: passed to it
 *
 * Threads: the holder, or any before nomux_core_enter(); not while the event
 * is unmasked and bound to something that fires.
 * Return: 0, -EINVAL.
 */
NOMUX_API int nomux_on_event(struct nomux_core *core, unsigned int event,
			     nomux_event_fn fn, void *arg);

/**
 * nomux_on_trap - set the handler of an x86 exception
 * @core: lease
 * @trapnr: 14 for #PF, 6 for #UD, ...: a bit of NOM_TRAPS_SUPPORTED
 * @fn: handler, or NULL: the trap becomes its signal
 * @arg: passed to it
 *
 * Before nomux_core_enter() this claims the trap; afterwards it can only
 * replace the handler of a trap that was claimed.
 *
 * Return: 0, -EINVAL, -EOPNOTSUPP (the kernel does not offer this trap),
 * -EBUSY (entered already without claiming it).
 */
NOMUX_API int nomux_on_trap(struct nomux_core *core, unsigned int trapnr,
			    nomux_trap_fn fn, void *arg);

/**
 * nomux_event_alloc - find an event number that is not in use
 * @core: lease
 *
 * Takes the highest free one, so that small numbers stay for those who choose
 * by hand.  In use means: given out here, or given a handler.
 * Return: the number, -ENOSPC.
 */
NOMUX_API int nomux_event_alloc(struct nomux_core *core);

/** nomux_event_free - give a number of nomux_event_alloc() back */
NOMUX_API void nomux_event_free(struct nomux_core *core, unsigned int event);

/** nomux_event_dropped - posts of events that had no handler */
NOMUX_API uint64_t nomux_event_dropped(const struct nomux_core *core);

/**
 * nomux_event_bind - let an eventfd post an event
 * @core: lease
 * @event: 0 .. NOM_NR_EVENTS - 1
 * @eventfd: its counter is drained into the event's count: a read(2) of it
 *	will find nothing
 *
 * The interrupt of a bound device vector (nomux_vfio_irq()) comes to this core.
 *
 * Return: 0, -EBADF, -EINVAL (not an eventfd), -EEXIST (bound already),
 * -ENOSPC, -EDQUOT (your limit of bindings), -ENXIO.
 */
NOMUX_API int nomux_event_bind(struct nomux_core *core, unsigned int event, int eventfd);

/**
 * nomux_event_unbind - take a binding away
 * @core: lease
 * @event: as bound
 * @eventfd: as bound
 *
 * Return: 0, -ENOENT, -EBADF, -ENXIO.
 */
NOMUX_API int nomux_event_unbind(struct nomux_core *core, unsigned int event, int eventfd);

struct nom_core_binding;

/**
 * nomux_event_mask - hold the events of one binding back
 * @core: lease
 * @event: as bound
 * @eventfd: as bound
 *
 * For a driver that polls: the device's interrupt is disabled at its source and
 * costs the core nothing.  One system call, unlike nomux_mask(), which holds
 * back all events of the core.
 * Return: 0, -ENOENT, -EBADF, -ENXIO.
 */
NOMUX_API int nomux_event_mask(struct nomux_core *core, unsigned int event, int eventfd);

/**
 * nomux_event_unmask - let the events of one binding come again
 * @core: lease
 * @event: as bound
 * @eventfd: as bound
 *
 * What came meanwhile is posted now.
 * Return: 0, -ENOENT, -EBADF, -ENXIO.
 */
NOMUX_API int nomux_event_unmask(struct nomux_core *core, unsigned int event, int eventfd);

/**
 * nomux_binding - look at one binding: its interrupt, its counters
 * @core: lease
 * @index: from 0 on, in the order of binding
 * @out: see struct nom_core_binding of <linux/nom.h>
 *
 * Threads: any.
 * Return: 0, -ENOENT (past the last), -ENXIO.
 */
NOMUX_API int nomux_binding(struct nomux_core *core, unsigned int index,
			    struct nom_core_binding *out);

/**
 * nomux_subscribe - post an event when the bulletin board changes
 * @core: lease
 * @event: 0 .. NOM_NR_EVENTS - 1
 * @class_mask: bit per enum nom_board_class; 0 unsubscribes
 *
 * One subscription per lease; a new one replaces it.
 * Return: 0, -EINVAL, -ENXIO.
 */
NOMUX_API int nomux_subscribe(struct nomux_core *core, unsigned int event, uint64_t class_mask);

/**
 * nomux_wait - sleep until an event was handled
 * @core: lease, entered by the caller
 * @max_ns: longest sleep in nanoseconds; UINT64_MAX: no bound
 *
 * For the idle path: the core halts meanwhile.  Works like sigsuspend(2): call
 * it with events masked, after having found that there is nothing to do.  An
 * event that came since the masking ends the wait at once, so no wake-up is
 * lost; handlers of all pending events have run before it returns, and events
 * are masked again.  (Called with events unmasked it returns with them
 * unmasked; a check made before the call then races with the handler.)
 *
 *	nomux_mask(core);
 *	while (!work)
 *		nomux_wait(core, UINT64_MAX);
 *	nomux_unmask(core);
 *
 * May return early, after a signal say.  One system call.
 */
NOMUX_API void nomux_wait(struct nomux_core *core, uint64_t max_ns);

/*
 * The inline functions below know that the page shared with the kernel lies at
 * a fixed distance behind the handle: part of the library's ABI.
 */
#define NOMUX_CORE_SHARED_OFFSET	4096

/** nomux_core_shared - the page shared with the kernel, see <asm/nom.h> */
static inline struct nom_shared *nomux_core_shared(struct nomux_core *core)
{
	return (struct nom_shared *)(void *)((char *)(void *)core + NOMUX_CORE_SHARED_OFFSET);
}

/* Runs handlers of pending events; events are masked on entry, not on return. */
NOMUX_API void nomux__unmask_slow(struct nomux_core *core);

/**
 * nomux_mask - no event upcalls from here on
 * @core: lease, entered by the caller
 *
 * One store: the only writer that could race is an upcall on this very thread,
 * and that leaves the flag as it found it.
 */
static inline void nomux_mask(struct nomux_core *core)
{
	__atomic_store_n(&nomux_core_shared(core)->vif, 0, __ATOMIC_RELAXED);
	__asm__ __volatile__("" ::: "memory");
}

/**
 * nomux_unmask - event upcalls may come again
 * @core: lease, entered by the caller
 *
 * Events posted while they were masked are handled before it returns, on the
 * caller's stack.
 *
 * The xchg orders the store of vif before the load of pending; its partner is
 * the kernel's locked or of pending followed by its load of vif.
 */
static inline void nomux_unmask(struct nomux_core *core)
{
	struct nom_shared *sh = nomux_core_shared(core);

	__atomic_exchange_n(&sh->vif, 1, __ATOMIC_SEQ_CST);
	if (__builtin_expect(__atomic_load_n(&sh->pending, __ATOMIC_RELAXED) != 0, 0))
		nomux__unmask_slow(core);
}

/** nomux_masked - are events masked? */
static inline bool nomux_masked(struct nomux_core *core)
{
	return __atomic_load_n(&nomux_core_shared(core)->vif, __ATOMIC_RELAXED) == 0;
}

#endif /* NOMUX_UPCALL_H */
