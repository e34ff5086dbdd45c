// SPDX-License-Identifier: MIT
/*
 * Sleeping without losing a wake-up.
 *
 * nomux_wait() has a call of its own, NOM_CORE_WAIT: events are masked when it is called and
 * when it returns, and the kernel looks at what is pending when it has unmasked
 * them.  No upcall comes, and none is lost.
 *
 * To wait for descriptors as well takes ppoll(2), which knows nothing of that: the kernel
 * interrupts a system call of a thread that has events unmasked.
 * So the thread must unmask, see that nothing is pending, and sleep; an event
 * between the look and the system call would be handled, and the sleep begun
 * all the same.
 *
 * The way out is that the sleep's length lies in memory (core->wait_ts) and
 * that whoever handles events sets it to zero.  ppoll(2) reads it after the
 * kernel was entered.  Hence, for an event after the unmasking:
 *
 *	before the system call	the upcall zeroes wait_ts: ppoll returns at once
 *	in it			it is interrupted; should it be restarted, the
 *				upcall runs first and zeroes wait_ts likewise
 *
 * It holds as well when the upcall came on top of a signal handler, of which a
 * check of the interrupted instruction pointer would know nothing.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#include <nomux/log.h>

#include "internal.h"

/* "For ever" must be in memory, too: 68 years. */
#define WAIT_FOREVER_S 0x7fffffffL

void nomux__wait_fds(struct nomux_core *core, uint64_t max_ns, struct pollfd *fds, unsigned int nr)
{
	struct nom_shared *sh = nomux_core_shared(core);
	bool was_masked = nomux_masked(core);

	nomux_mask(core);
	core->wait_ts.tv_sec = max_ns == UINT64_MAX ? WAIT_FOREVER_S :
						      (long)(max_ns / 1000000000ULL);
	core->wait_ts.tv_nsec = max_ns == UINT64_MAX ? 0 : (long)(max_ns % 1000000000ULL);

	/* Order of vif and pending as in nomux_unmask(). */
	__atomic_exchange_n(&sh->vif, 1, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&sh->pending, __ATOMIC_RELAXED))
		nomux__syscall5(SYS_ppoll, (long)(uintptr_t)fds, nr,
				(long)(uintptr_t)&core->wait_ts, 0, 8);
	nomux_mask(core);

	if (__atomic_load_n(&sh->pending, __ATOMIC_RELAXED))
		nomux__run_events(core);
	if (!was_masked)
		nomux_unmask(core);
}

/* It works all the same, but costs a request that meets a sleeping application dearly. */
static void tell_of_ppoll(const struct nomux_core *core, long err)
{
	static bool told;

	if (!__atomic_exchange_n(&told, true, __ATOMIC_RELAXED))
		nomux_log(LOG_WARNING, "nomux: no NOM_CORE_WAIT, sleeps are by ppoll(2) and cost more, cpu=%d: %s%s", core->cpu,
			  strerror((int)-err), err == -ENOTTY ? "; nom.ko is older than this library" : "");
}

void nomux_wait(struct nomux_core *core, uint64_t max_ns)
{
	struct nom_core_wait wait = { .size = sizeof(wait), .ns = max_ns };
	struct nom_shared *sh = nomux_core_shared(core);
	bool was_masked = nomux_masked(core);
	long ret = 0;

	nomux_mask(core);
	if (!__atomic_load_n(&sh->pending, __ATOMIC_RELAXED))
		ret = nomux__syscall3(SYS_ioctl, core->fd, NOM_CORE_WAIT, (long)(uintptr_t)&wait);
	/* A module that has no such call, or a core that was left: it is to sleep all the same. */
	if (ret && ret != -EINTR) {
		tell_of_ppoll(core, ret);
		nomux__wait_fds(core, max_ns, NULL, 0);
	}
	if (__atomic_load_n(&sh->pending, __ATOMIC_RELAXED))
		nomux__run_events(core);
	if (!was_masked)
		nomux_unmask(core);
}
