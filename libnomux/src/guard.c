// SPDX-License-Identifier: MIT
/*
 * Overflows of user threads' stacks.
 *
 * The fault is handled on the upcall stack, so there is room to think.  Either the
 * thread is ended: it resumes at the top of its stack, in nomux__guard_exit(),
 * where it is an ordinary thread again and may log; or nobody takes the trap, and
 * the line is part of what nomux__upcall_unhandled() says.
 */
#include <nomux/guard.h>

#include <errno.h>
#include <syslog.h>

#include <nomux/log.h>

#include "stack.h"
#include "thread_internal.h"

#define TRAP_PF 14

void nomux__guard_exit(void);

struct nomux_thread *nomux_guard_hit(const struct nom_frame *frame)
{
	struct sched *s = nomux__sched_tls;
	struct nomux_thread *t = s ? s->current : NULL;

	if (frame->vector != TRAP_PF || !t || !t->stack)
		return NULL;
	return frame->cr2 - (uintptr_t)t->stack < GUARD_BYTES ? t : NULL;
}

char *nomux__guard_describe(char *p, const struct nom_frame *frame)
{
	const struct nomux_thread *t = nomux_guard_hit(frame);

	if (!t)
		return p;
	p = nomux__put_str(p, "nomux: user thread overflowed its stack, thread=");
	p = nomux__put_str(p, t->name);
	p = nomux__put_str(p, " stack_bytes=");
	p = nomux__put_hex(p, t->stack_bytes);
	p = nomux__put_str(p, " guard=");
	p = nomux__put_hex(p, (uintptr_t)t->stack);
	return nomux__put_str(p, "; ");
}

void nomux__guard_exit(void)
{
	struct nomux_thread *self = nomux__sched_tls->current;

	nomux_log(LOG_ERR, "nomux: user thread overflowed its stack, thread=%s stack_bytes=%#zx "
		  "guard=%p; ended", self->name, self->stack_bytes, (void *)self->stack);
	self->exit_err = -EFAULT;
	nomux__thread_exit(self);
}

static int on_fault(struct nom_frame *frame, void *arg)
{
	struct nomux_core *core = arg;
	struct nomux_thread *t = nomux_guard_hit(frame);

	/* A scheduler left in its midst could not go on. */
	if (!t || !core->guard_fn || t->sched->busy)
		return -EFAULT;
	if (core->guard_fn(t, frame->cr2, core->guard_arg))
		return -EFAULT;
	frame->rsp = (uintptr_t)t - 8;		/* as after a call */
	frame->rip = (uintptr_t)nomux__guard_exit;
	return 0;
}

int nomux_guard_claim(struct nomux_core *core, nomux_guard_fn fn, void *arg)
{
	int err;

	if (!core)
		return -EINVAL;
	if (core->holder || core->trap[TRAP_PF].fn)
		return -EBUSY;
	err = nomux_on_trap(core, TRAP_PF, on_fault, core);
	if (err)
		return err;
	core->guard_fn = fn;
	core->guard_arg = arg;
	return 0;
}
