// SPDX-License-Identifier: GPL-2.0
/*
 * nom: the timer of a lease - one, one-shot, to the nanosecond.
 *
 * Many timers are the application's business: it keeps them in a heap or a wheel
 * and arms this one for the earliest.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/hrtimer.h>
#include "nom.h"
#include "nom_trace.h"

/* Hard interrupt context. */
static enum hrtimer_restart nom_timer_fire(struct hrtimer *timer)
{
	struct nom_lease *lease = container_of(timer, struct nom_lease, timer);

	trace_nom_event(lease->handle, lease->timer_event, 1, "timer");
	nom_post(&lease->u, lease->timer_event, 1);
	return HRTIMER_NORESTART;
}

/**
 * nom_timer_arm - arm, re-arm or disarm the lease's timer
 * @lease: not ended, its lock held
 * @t: checked by the caller
 *
 * Pinned to the caller's core, so that the holder's timer fires where the
 * holder runs, and hard, so that it posts from the interrupt itself.
 *
 * Return: 0 or -EINVAL (beyond the clock's range).
 */
int nom_timer_arm(struct nom_lease *lease, const struct nom_core_timer *t)
{
	lockdep_assert_held(&lease->lock);
	if (t->ns > KTIME_MAX)
		return -EINVAL;
	hrtimer_cancel(&lease->timer);
	if (!t->ns && !(t->flags & NOM_TIMER_ABS))
		return 0;
	lease->timer_event = t->event;
	hrtimer_start(&lease->timer, ns_to_ktime(t->ns),
		      t->flags & NOM_TIMER_ABS ? HRTIMER_MODE_ABS_PINNED_HARD :
						 HRTIMER_MODE_REL_PINNED_HARD);
	return 0;
}

/**
 * nom_timer_stop - for good
 * @lease: marked ended, its lock held
 */
void nom_timer_stop(struct nom_lease *lease)
{
	lockdep_assert_held(&lease->lock);
	hrtimer_cancel(&lease->timer);
}

/**
 * nom_timer_init - part of a lease's construction
 * @lease: zeroed
 */
void nom_timer_init(struct nom_lease *lease)
{
	hrtimer_init(&lease->timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	lease->timer.function = nom_timer_fire;
}
