/* SPDX-License-Identifier: MIT */
/*
 * quiet: what disturbed a reserved core between two moments, by the kernel's own
 * accounting.  Used by nomctl doctor and by tests; needs libc and /proc only.
 *
 *	quiet_open(cpu, pid, &q);
 *	quiet_begin(q);
 *	...
 *	quiet_end(q, kicks, timers);
 *	for (i = 0; quiet_noise(q, i); i++)
 *		...
 *
 * Counted are all rows of /proc/interrupts and /proc/softirqs, the holder's
 * context switches (any other task's turn on the core is one), and the turns of
 * the tasks that ran there last.  That is complete, and costs the core nothing:
 * the reader looks from another one.  Call sites are not in these files; the
 * kernel's trace events know them.  To switch those on and off interrupts every
 * core, the quiet ones too, so it has to be asked for.
 */
#ifndef QUIET_H
#define QUIET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct quiet;

enum quiet_kind {
	QUIET_INTERRUPT,	/* a row of /proc/interrupts */
	QUIET_SOFTIRQ,		/* a row of /proc/softirqs */
	QUIET_SWITCHED,		/* the holder was taken off its core */
	QUIET_TASK,		/* another task ran there */
};

/**
 * struct quiet_noise - one kind of disturbance
 * @kind: where it was counted
 * @what: the row and what it stands for, or the task: "CAL Function call interrupts"
 * @count: how often it happened
 * @ours: so many of them are the lease's own events
 */
struct quiet_noise {
	enum quiet_kind kind;
	char what[96];
	uint64_t count;
	uint64_t ours;
};

/* One origin, as the kernel's trace events tell it. */
struct quiet_origin {
	char text[200];		/* "IPI from insmod-81: text_poke_bp_batch, do_sync_core" */
	uint64_t count;
};

/**
 * quiet_open - prepare to watch a core
 * @cpu: the core
 * @holder: process that leases it, 0 if none does
 * @out: the watch
 *
 * Return: 0, -ENOMEM.
 */
int quiet_open(unsigned int cpu, pid_t holder, struct quiet **out);
void quiet_close(struct quiet *q);

/**
 * quiet_trace - from now to quiet_end(), learn call sites, too
 * @q: the watch, not begun
 *
 * Disturbs every core here, and again in quiet_end().
 *
 * Return: 0, -EOPNOTSUPP (this kernel has no trace events), -errno of tracefs.
 */
int quiet_trace(struct quiet *q);

/**
 * quiet_begin - look for the first time
 * @q: the watch
 *
 * Return: 0, -ENOENT (no such core in /proc/interrupts), -errno of /proc.
 */
int quiet_begin(struct quiet *q);

/**
 * quiet_look - look for the last time, ahead of quiet_end()
 * @q: begun
 *
 * For who watches several cores: to end one watch may disturb the others.
 *
 * Return: as quiet_begin().
 */
int quiet_look(struct quiet *q);

/**
 * quiet_end - look again, unless quiet_look() did, and compare
 * @q: begun
 * @kicks: interrupts that the lease's own events sent to the core meanwhile
 * @timers: timer interrupts that the lease asked for, but for those of its sleeps
 *
 * Return: how many kinds of noise are not the lease's own, or -errno.
 */
int quiet_end(struct quiet *q, uint64_t kicks, uint64_t timers);

/* Everything that happened, the lease's own included; NULL past the end. */
const struct quiet_noise *quiet_noise(const struct quiet *q, unsigned int i);
const struct quiet_origin *quiet_origin(const struct quiet *q, unsigned int i);

/* "3 CAL Function call interrupts, 1 task kworker/1:0-21" of what is not ours, or "". */
const char *quiet_text(const struct quiet *q, char *buf, size_t n);

#endif /* QUIET_H */
