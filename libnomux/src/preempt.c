// SPDX-License-Identifier: MIT
/*
 * Switching user threads in their midst.
 *
 * An upcall handler cannot switch threads itself: it stands on the core's upcall
 * stack, of which there is one.  It lets the upcall return elsewhere: the frame is
 * rewritten to resume at nomux__preempt_entry on the thread's own stack, with the
 * old rip below the red zone.  That saves all registers there and yields like any
 * other call.  (Copying the frame to the thread and resuming threads from frames
 * would do as well, but needs a second kind of switch and its return path.)
 *
 * From the rewriting on the scheduler counts as busy, until nomux__preempted().
 */
#include <nomux/preempt.h>

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdlib.h>

#include <nomux/clock.h>

#include "stack.h"
#include "thread_internal.h"

extern const char nomux__preempt_entry[], nomux__preempt_end[];
void nomux__preempted(void);

#define QUANTUM_MIN_NS	10000ULL
#define QUANTUM_MAX_NS	1000000000ULL
#define RED_ZONE	128
#define STACK_NEEDED	4096	/* besides the extended state */

/* Code of the main program, where nobody holds locks of the C library. */
static uintptr_t text_lo, text_hi;

static int first_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	int i;

	for (i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type != PT_LOAD || !(p->p_flags & PF_X))
			continue;
		text_lo = info->dlpi_addr + p->p_vaddr;
		text_hi = text_lo + p->p_memsz;
	}
	return 1;			/* the program itself comes first */
}

void nomux__preempt_init(void)
{
	dl_iterate_phdr(first_object, NULL);
}

static bool preemptible(struct sched *s, const struct nomux_core *core)
{
	const struct nom_frame *f = core->frame;
	const struct nomux_thread *t = s->current;
	uintptr_t rip, rsp;

	if (!f || !f->vif || t->no_preempt || (s->busy && !s->in_upcall))
		return false;
	rip = f->rip;
	rsp = f->rsp;
	if (rip < text_lo || rip >= text_hi ||
	    (rip >= (uintptr_t)nomux__preempt_entry && rip < (uintptr_t)nomux__preempt_end))
		return false;
	if (rsp - (uintptr_t)core < NOMUX_REGION_BYTES)
		return false;		/* in a handler, which an upcall interrupted */
	return !t->stack || rsp - (uintptr_t)t->stack - GUARD_BYTES >
			    nomux__xstate_bytes + STACK_NEEDED;
}

static int resched(struct sched *s, struct nomux_core *core)
{
	uint64_t *slot;

	if (s->preempting)
		return 1;
	if (!preemptible(s, core)) {
		s->resched = true;
		return 0;
	}
	slot = (uint64_t *)(uintptr_t)(core->frame->rsp - RED_ZONE - sizeof(*slot));
	*slot = core->frame->rip;
	core->frame->rsp = (uintptr_t)slot;
	core->frame->rip = (uintptr_t)nomux__preempt_entry;
	s->preempting = true;
	nomux__enter(s);
	return 1;
}

int nomux_resched(void)
{
	struct nomux_core *core = nomux_core_current();
	struct sched *s = nomux__sched_tls;

	return core && s ? resched(s, core) : -EINVAL;
}

/* Called by nomux__preempt_entry, all registers saved, the scheduler busy. */
void nomux__preempted(void)
{
	struct sched *s = nomux__sched_tls;
	struct nomux_thread *self = s->current;
	int saved = errno;

	s->preempting = false;
	s->resched = false;
	s->stats.preemptions++;
	/* Pinned: so this is still the core, and the thread-local storage, it was. */
	nomux__yield_busy(self, true);
	nomux__leave(self);
	errno = saved;
}

void nomux__resched_noted(void)
{
	struct sched *s = nomux__sched_tls;

	if (s && s->resched && !s->busy && !s->in_upcall)
		nomux__notes(s->current);
}

/* -------------------------------------------------------------- quantum --- */

static bool somebody_ready(const struct sched *s)
{
	return s->head || s->ring.head != s->ring.tail || s->inbox ||
	       (any_sleepers(s) && nomux__heap_first_ns(&s->sleepers) <= nomux_now_ns());
}

static void on_quantum(struct nomux_timer *t, void *arg)
{
	struct nomux_core *core = nomux_core_current();
	struct sched *s = arg;
	uint64_t next = s->quantum_ns;

	if (!core || !next)
		return;
	if (s->switches == s->quantum_switches && somebody_ready(s) && !resched(s, core)) {
		next /= 8;		/* in a call of the C library, say: not for long */
		if (next < QUANTUM_MIN_NS)
			next = QUANTUM_MIN_NS;
	}
	s->quantum_switches = s->switches;
	nomux_timer_set(t, next, 0);
}

void nomux__quantum_arm(struct sched *s, bool on)
{
	if (!on) {
		nomux_timer_cancel(s->quantum);
		return;
	}
	s->quantum_switches = s->switches;
	nomux_timer_set(s->quantum, s->quantum_ns, 0);
}

int nomux_preempt_start(uint64_t quantum_ns)
{
	struct sched *s = nomux__sched();
	int err = 0;

	if (quantum_ns < QUANTUM_MIN_NS || quantum_ns > QUANTUM_MAX_NS)
		return -EINVAL;
	if (!s)
		return -ENOMEM;
	if (!nomux_core_current())
		return -EOPNOTSUPP;
	if (!s->quantum)
		err = nomux_timer_create(on_quantum, s, &s->quantum);
	if (err)
		return err;
	s->quantum_switches = s->switches;
	s->quantum_ns = quantum_ns;	/* before the timer: it may come due at once */
	err = nomux_timer_set(s->quantum, quantum_ns, 0);
	if (err)
		s->quantum_ns = 0;
	return err;
}

int nomux_preempt_stop(void)
{
	struct sched *s = nomux__sched();

	if (!s || !s->quantum_ns)
		return -EINVAL;
	s->quantum_ns = 0;
	nomux_timer_cancel(s->quantum);
	return 0;
}

void nomux_preempt_off(void)
{
	struct nomux_thread *self = nomux_self();

	if (self)
		self->no_preempt++;
}

void nomux_preempt_on(void)
{
	struct nomux_thread *self = nomux_self();

	if (self && self->no_preempt && !--self->no_preempt && self->sched->resched)
		nomux__notes(self);
}
