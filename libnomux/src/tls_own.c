// SPDX-License-Identifier: MIT
/*
 * User threads with thread-local storage of their own.
 *
 * The C library has no call to make a thread control block, so one is borrowed: a
 * pthread is started and parked, and while the user thread runs, %fs points to the
 * pthread's block.  When the user thread ends the pthread is let go; it ends the
 * usual way and so runs the destructors of what the user thread left in its
 * thread-local variables and pthread keys.  No block is used twice: the next
 * thread's variables have their initial values.
 *
 * The library's own thread-local pointers are carried along at each switch.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/rseq.h>

#include "kthread.h"
#include "thread_internal.h"

#define HWCAP2_FSGSBASE	(1UL << 1)
#define PARKED_STACK	(64UL << 10)

struct own_tls {
	pthread_t thread;
	uint64_t fsbase;
	uint32_t state;		/* futex: 0 starting, 1 parked, 2 let go */
};

static void futex(uint32_t *word, int op, uint32_t value)
{
	nomux__syscall5(SYS_futex, (long)(uintptr_t)word, op, value, 0, 0);
}

static void *park(void *arg)
{
	struct own_tls *o = arg;

	/* Its area would tell the user thread the CPU this pthread is parked on. */
	nomux__rseq_drop();
	o->fsbase = (uintptr_t)__builtin_thread_pointer();
	__atomic_store_n(&o->state, 1, __ATOMIC_RELEASE);
	futex(&o->state, FUTEX_WAKE_PRIVATE, 1);
	while (__atomic_load_n(&o->state, __ATOMIC_ACQUIRE) != 2)
		futex(&o->state, FUTEX_WAIT_PRIVATE, 1);
	nomux__sched_tls = NULL;	/* lent ones */
	nomux__current = NULL;
	free(o);
	return NULL;
}

int nomux__own_tls_get(struct nomux_thread *t)
{
	struct own_tls *o;
	int err;

#ifdef __SANITIZE_ADDRESS__
	return -EOPNOTSUPP;		/* it keeps its state of a thread in thread-local storage */
#endif
	if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE))
		return -EOPNOTSUPP;
	o = calloc(1, sizeof(*o));
	if (!o)
		return -ENOMEM;
	err = nomux__kthread_create(&o->thread, park, o, PARKED_STACK);
	if (err) {
		free(o);
		return err;
	}
	while (!__atomic_load_n(&o->state, __ATOMIC_ACQUIRE))
		futex(&o->state, FUTEX_WAIT_PRIVATE, 0);
	t->own_tls = o;
	t->fsbase = o->fsbase;
	return 0;
}

void nomux__own_tls_put(struct nomux_thread *t)
{
	struct own_tls *o = t->own_tls;

	t->own_tls = NULL;
	__atomic_store_n(&o->state, 2, __ATOMIC_RELEASE);
	futex(&o->state, FUTEX_WAKE_PRIVATE, 1);	/* o may be gone: then nobody waits there */
}

/*
 * Apart, so that the compiler does not use an address of the old thread-local
 * storage for the new one.
 */
__attribute__((noipa))
static void bring(struct sched *s, struct nomux_core *core)
{
	nomux__sched_tls = s;
	nomux__current = core;
}

__attribute__((noipa))
static struct nomux_core *current_core(void)
{
	return nomux__current;
}

void nomux__fs_switch(struct sched *s, const struct nomux_thread *next)
{
	struct nomux_core *core = current_core();
	uint64_t fs = next->fsbase ? next->fsbase : s->own_fsbase;

	s->fsbase = next->fsbase;
	__asm__ __volatile__("wrfsbase %0" :: "r" (fs) : "memory");
	bring(s, core);
}
