/* SPDX-License-Identifier: MIT */
/*
 * A lease of a reserved core, and the thread that runs on it.
 *
 *	nomux_core_claim()	the core is ours; nobody runs there
 *	nomux_on_event(), nomux_on_trap(), nomux_event_bind() ...
 *	nomux_core_enter()	this thread moves to the core, events masked
 *	nomux_unmask()		upcalls arrive from here on
 *	...
 *	nomux_core_release()	back to the ordinary cores; the lease ends
 *
 * The lease also ends when the thread that entered exits, execs or is killed.
 * A process may hold several leases, one per thread; a thread at most one.
 */
#ifndef NOMUX_CORE_H
#define NOMUX_CORE_H

#include <nomux/api.h>

struct nom_core_stats;
struct nomux_core;
struct nomux_ctx;

/**
 * struct nomux_core_opts - how to hold a core
 * @sz: sizeof(struct nomux_core_opts)
 * @cpu: the CPU wanted, or NOMUX_CPU_ANY
 * @trap_mask: bit per x86 exception whose handling the application takes
 *	over; see NOM_TRAPS_SUPPORTED of <asm/nom.h>.  A nomux_on_trap() call
 *	before nomux_core_enter() adds its bit by itself.
 * @notify_mask: bit per event that other processes may post (nomux_notify())
 * @stack_bytes: upcall stack, 0 for the default of 64 KiB; at most 192 KiB
 * @flags: NOMUX_CORE_*
 * @notify_uid: with NOMUX_CORE_NOTIFY_UID: one more user who may notify
 * @deadline_ns: with NOMUX_CORE_WAIT: nomux_now_ns() at which to give up, 0 for
 *	never
 */
struct nomux_core_opts {
	size_t sz;
	int cpu;
	uint64_t trap_mask;
	uint64_t notify_mask;
	size_t stack_bytes;
	uint32_t flags;
	uint32_t notify_uid;
	uint64_t deadline_ns;
};

#define NOMUX_CPU_ANY	(-1)

/*
 * Save and restore the FPU, SSE and AVX registers around handlers, so that
 * they may be compiled without -mgeneral-regs-only.  Costs some 200 ns.
 */
#define NOMUX_CORE_SAVE_XSTATE	(1U << 0)
/*
 * Leave the thread's restartable sequences (rseq(2), which glibc registers)
 * on.  By default nomux_core_enter() takes the registration away and
 * nomux_core_release() puts it back: a thread that stays on its core needs
 * none, and each upcall would pay about 85 instructions for it.
 */
#define NOMUX_CORE_KEEP_RSEQ	(1U << 1)
/*
 * If no core is free, sleep until one is.  Who waits is served in the order of
 * asking, by whoever gives a core back; a signal handler without SA_RESTART ends
 * the wait.
 */
#define NOMUX_CORE_WAIT		(1U << 2)
/* Besides the caller's user, notify_uid may post the events of notify_mask. */
#define NOMUX_CORE_NOTIFY_UID	(1U << 3)
/* All who may open /dev/nom for writing may post the events of notify_mask. */
#define NOMUX_CORE_NOTIFY_ANY	(1U << 4)

/**
 * nomux_core_claim - lease a reserved core
 * @ctx: context (borrowed until nomux_core_release())
 * @opts: options, or NULL: any core, no traps, no notifications
 * @core_out: the lease; give back with nomux_core_release()
 *
 * Threads: any.
 * Return: 0, -EBUSY (all, or the one wanted, are leased), -ENOENT (not a
 * reserved core, or there are none: boot with nom_cpus=), -EDQUOT (your limit of
 * cores), -ETIMEDOUT and -EINTR (while waiting), -EINVAL, -EOPNOTSUPP (a trap
 * this kernel does not offer, an unknown flag).
 */
NOMUX_API int nomux_core_claim(struct nomux_ctx *ctx, const struct nomux_core_opts *opts,
			       struct nomux_core **core_out);

/**
 * nomux_core_enter - move the calling thread to the core
 * @core: lease
 *
 * Events are masked until the first nomux_unmask(); traps arrive at once.
 *
 * Threads: the calling thread becomes the lease's holder; all later calls on
 * @core come from it, except nomux_core_cpu(), _handle() and _stats().
 * Return: 0, -EBUSY (a thread is attached, or this thread holds another
 * lease), -ENXIO (the lease has ended), -EOPNOTSUPP (user shadow stack), -EAGAIN
 * (somebody changed the thread's affinity at the same moment).
 */
NOMUX_API int nomux_core_enter(struct nomux_core *core);

/**
 * nomux_core_release - leave the core, end the lease, free @core
 * @core: lease, or NULL
 *
 * Threads: the holder, or any thread if nobody has entered.  The caller goes
 * on, on the CPUs that its affinity and its cpuset give it.  Not from an upcall
 * handler.
 * Return: 0, -EBUSY (another thread is attached).
 */
NOMUX_API int nomux_core_release(struct nomux_core *core);

/**
 * nomux_core_current - the lease the calling thread has entered, or NULL
 */
NOMUX_API struct nomux_core *nomux_core_current(void);

/** nomux_core_cpu - number of the leased CPU */
NOMUX_API int nomux_core_cpu(const struct nomux_core *core);

/** nomux_core_handle - names this lease to others: nomux_notify(), nomctl */
NOMUX_API uint64_t nomux_core_handle(const struct nomux_core *core);

/**
 * nomux_core_stats - the kernel's counters of this lease
 * @core: lease
 * @out: see struct nom_core_stats of <linux/nom.h>
 *
 * Threads: any.  One system call.
 */
NOMUX_API int nomux_core_stats(struct nomux_core *core, struct nom_core_stats *out);

#endif /* NOMUX_CORE_H */
