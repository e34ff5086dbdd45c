// SPDX-License-Identifier: GPL-2.0
/*
 * nom: the holder sleeps until an event is posted.
 *
 * ppoll(2) does it too, but costs a request that meets a sleeping application dearly:
 * the event interrupts the call, is delivered by an upcall on the way out, and the call is
 * begun once more, only to find out that it is over.  Here the kernel unmasks
 * events for the length of the sleep and no longer, so nothing is delivered: the
 * application finds the bits when it has returned.
 *
 *	CPU 0: nom_post()			CPU 1: nom_wait()
 *	count[event] += n, pending |= bit	vif = 1
 *	smp_mb()				TASK_INTERRUPTIBLE, smp_mb()
 *	vif? notify and wake the holder		pending? do not sleep
 *
 * One of them at least sees the other.
 *
 * The timer is the lease's own.  It is pinned: that of an ordinary sleep on a core in
 * nohz_full is armed on a core with ticks; at expiry that core wakes this one, which then
 * spins until the other has left the timer's function.  And it is lazy: who is woken by
 * an event leaves it armed, since to stop it means to program the clock, in a guest an exit to the
 * hypervisor, right in the way of the event.  If it expires where nobody sleeps, it
 * does nothing; where somebody sleeps for longer, it goes on until then.  So a core that
 * slept meets one interrupt more, at the end of the time for which it would have slept.
 *
 * Timer and holder are on one core; the fields need no lock, only an order in which an
 * interrupt between any two lines finds them right. A core that goes down for a suspend leaves its
 * timer with another one: there it ends a sleep early at most, and the next is timed here again.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/hrtimer.h>
#include <linux/ktime.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include "nom.h"

/* Hard interrupt context, on the holder's core; after a suspend, which moves timers, once elsewhere. */
static enum hrtimer_restart nom_wait_fire(struct hrtimer *timer)
{
	struct nom_lease *lease = container_of(timer, struct nom_lease, sleep.timer);
	struct nom_sleep *s = &lease->sleep;
	struct task_struct *sleeper = READ_ONCE(s->sleeper);

	if (!sleeper || s->until == KTIME_MAX)
		return HRTIMER_NORESTART;
	/* Not where nom_sleep() may start it meanwhile. */
	if (s->until > hrtimer_cb_get_time(timer) && smp_processor_id() == lease->u.cpu) {
		hrtimer_set_expires(timer, s->until);
		return HRTIMER_RESTART;
	}
	wake_up_process(sleeper);
	return HRTIMER_NORESTART;
}

/* Until s->until, or a wake-up; the state is set. */
static void nom_sleep(struct nom_sleep *s)
{
	WRITE_ONCE(s->sleeper, current);
	barrier();	/* from here on it is for us that the timer fires */
	if (s->until != KTIME_MAX &&
	    (!hrtimer_is_queued(&s->timer) || s->until < hrtimer_get_expires(&s->timer)))
		hrtimer_start(&s->timer, s->until, HRTIMER_MODE_ABS_PINNED_HARD);
	schedule();
	WRITE_ONCE(s->sleeper, NULL);
}

/**
 * nom_wait - sleep until an event is pending, a signal comes or a time is over
 * @lease: any
 * @ns: longest sleep; beyond the clock's range: no bound
 *
 * Context: a system call; sleeps.
 * Return: 0, -EINTR (a signal), -ENXIO (current is not in the lease's core).
 */
int nom_wait(struct nom_lease *lease, u64 ns)
{
	struct nom_shared *sh = lease->u.shared;

	if (nom_current() != &lease->u)
		return -ENXIO;

	lease->sleep.until = ns > KTIME_MAX ? KTIME_MAX : ktime_add_safe(ktime_get(), ns_to_ktime(ns));
	WRITE_ONCE(sh->vif, 1);
	/* a full barrier; its partner is in nom_post() */
	set_current_state(TASK_INTERRUPTIBLE);
	if (ns && !READ_ONCE(sh->pending))
		nom_sleep(&lease->sleep);
	__set_current_state(TASK_RUNNING);
	WRITE_ONCE(sh->vif, 0);
	return task_sigpending(current) ? -EINTR : 0;
}

/**
 * nom_wait_stop - for good
 * @lease: marked ended; its holder, if there was one, sleeps no more
 */
void nom_wait_stop(struct nom_lease *lease)
{
	hrtimer_cancel(&lease->sleep.timer);
}

/**
 * nom_wait_init - part of a lease's construction
 * @lease: zeroed
 */
void nom_wait_init(struct nom_lease *lease)
{
	hrtimer_init(&lease->sleep.timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_PINNED_HARD);
	lease->sleep.timer.function = nom_wait_fire;
}
