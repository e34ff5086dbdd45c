// SPDX-License-Identifier: MIT
/*
 * Dispatch of upcalls.  Called by the stub in the middle of anything: this
 * file is compiled with -mgeneral-regs-only, calls nothing that is not
 * reentrant, and takes no locks.
 */
#include <errno.h>
#include <stdint.h>
#include <syslog.h>

#include "internal.h"

/* What stub.S and the inline functions of <nomux/upcall.h> have built in. */
_Static_assert(offsetof(struct nomux_core, flags) == 0, "stub.S: CORE_FLAGS");
_Static_assert(offsetof(struct nomux_core, xsave_bytes) == 8, "stub.S: CORE_XSAVE_BYTES");
_Static_assert(offsetof(struct nomux_core, xsave_mask) == 16, "stub.S: CORE_XSAVE_MASK");
_Static_assert(sizeof(struct nomux_core) <= NOMUX_CORE_SHARED_OFFSET, "core overlaps its page");
_Static_assert(offsetof(struct nom_shared, vif) == 0, "stub.S: SH_VIF");
_Static_assert(offsetof(struct nom_shared, pending) == 8, "stub.S: SH_PENDING");
_Static_assert(offsetof(struct nom_frame, vector) == 0, "stub.S: F_VECTOR");
_Static_assert(offsetof(struct nom_frame, vif) == 24, "stub.S: F_VIF");
_Static_assert(offsetof(struct nom_frame, gprs) == 32, "stub.S: F_RAX");
_Static_assert(offsetof(struct nom_frame, rip) == 152, "stub.S: F_RIP");
_Static_assert(offsetof(struct nom_frame, rflags) == 168, "stub.S: F_RFLAGS");
_Static_assert(offsetof(struct nom_frame, rsp) == 176, "stub.S: F_RSP");
_Static_assert(sizeof(struct nom_frame) == 192, "stub.S: frame");
_Static_assert(NOMUX_REGION_BYTES == 0x40000, "stub.S: REGION");
_Static_assert(NOMUX_CORE_SAVE_XSTATE == 1, "stub.S: FLAG_SAVE_XSTATE");
_Static_assert(NOM_VECTOR_EVENT == 256, "stub.S: VECTOR_EVENT");

#define TRAP_BP 3

/*
 * The kernel adds to count before it sets the bit of pending, so that a bit
 * taken here finds its count.  A post between the two xchg's leaves the bit
 * set with nothing to count: that is the count of zero skipped below.  Inlined
 * in the upcall, where a frame of its own would cost every sixth instruction.
 */
static inline __attribute__((always_inline)) void run_events(struct nomux_core *core)
{
	struct nom_shared *sh = nomux_core_shared(core);
	uint64_t pending = __atomic_exchange_n(&sh->pending, 0, __ATOMIC_SEQ_CST);

	core->wait_ts = (struct timespec){ 0 };	/* no sleep begins now: wait.c */
	while (pending) {
		unsigned int event = (unsigned int)__builtin_ctzll(pending);
		const struct nomux_event_slot *slot = &core->event[event];
		uint64_t count = __atomic_exchange_n(&sh->count[event], 0, __ATOMIC_SEQ_CST);

		pending &= pending - 1;
		if (!count)
			continue;
		if (slot->fn)
			slot->fn(event, count, slot->arg);
		else
			core->dropped += count;
	}
}

void nomux__run_events(struct nomux_core *core)
{
	run_events(core);
}

/* Apart, so that traps have no registers to save for it. */
static __attribute__((noinline)) int upcall_events(struct nom_frame *frame, struct nomux_core *core)
{
	core->frame = frame;	/* events do not nest */
	run_events(core);
	core->frame = NULL;
	return 0;
}

int nomux__upcall(struct nom_frame *frame, struct nomux_core *core)
{
	const struct nomux_trap_slot *slot;

	if (frame->vector == NOM_VECTOR_EVENT)
		return upcall_events(frame, core);
	slot = &core->trap[frame->vector % NOMUX_NR_TRAPS];
	if (!slot->fn)
		return -ENOENT;
	return slot->fn(frame, slot->arg);
}

void nomux__unmask_slow(struct nomux_core *core)
{
	struct nom_shared *sh = nomux_core_shared(core);

	do {
		nomux_mask(core);
		nomux__run_events(core);
		__atomic_exchange_n(&sh->vif, 1, __ATOMIC_SEQ_CST);
	} while (__atomic_load_n(&sh->pending, __ATOMIC_RELAXED));
	nomux__resched_noted();
}

char *nomux__put_str(char *p, const char *s)
{
	while (*s)
		*p++ = *s++;
	return p;
}

char *nomux__put_hex(char *p, uint64_t v)
{
	int shift = 60;

	p = nomux__put_str(p, "0x");
	while (shift > 0 && !(v >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		*p++ = "0123456789abcdef"[(v >> shift) & 15];
	return p;
}

/*
 * Nobody handled this trap.  Say so, leave the core and run the instruction
 * again: the trap is now an ordinary one, and its signal (and the core dump, and
 * a debugger) sees the thread exactly where it stood.
 */
int nomux__upcall_unhandled(struct nom_frame *frame, struct nomux_core *core)
{
	char line[320], *p = line;

	p = nomux__guard_describe(p, frame);
	p = nomux__put_str(p, "nomux: unhandled trap, leaving the core, vector=");
	p = nomux__put_hex(p, frame->vector);
	p = nomux__put_str(p, " error=");
	p = nomux__put_hex(p, frame->error_code);
	p = nomux__put_str(p, " address=");
	p = nomux__put_hex(p, frame->cr2);
	p = nomux__put_str(p, " rip=");
	p = nomux__put_hex(p, frame->rip);
	p = nomux__put_str(p, " rsp=");
	p = nomux__put_hex(p, frame->rsp);
	*p = '\0';
	nomux__log_line(LOG_ERR, line);

	nomux__syscall3(SYS_ioctl, core->fd, NOM_CORE_LEAVE, 0);
	core->holder = 0;
	if (frame->vector == TRAP_BP)
		frame->rip--;		/* int3 traps behind itself */
	return 0;
}
