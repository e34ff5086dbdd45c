// SPDX-License-Identifier: GPL-2.0
/*
 * nom: storms - events that come without end.
 *
 * A device gone wild, or a process that writes to an eventfd in a loop, could
 * keep a leased core in upcalls for ever.  So what others post to a lease is
 * looked at every NOM_STORM_HITS times.  If it came closer together than
 * storm_gap_ns on average, then it took at most the time that has passed since
 * the last look, and the lease has peace until that time is no more than
 * storm_share_pct of all.  That bounds the share whatever an upcall costs on this
 * machine, without measuring it:
 *
 *	share <= max(storm_share_pct, cost of an upcall / storm_gap_ns)
 *
 * In the pause counts go on, in @held, and are posted at its end: events
 * coalesce, none is lost.  Interrupts of devices that fire meanwhile are switched
 * off until then (nom_irq.c), for to be taken and not delivered costs, too.
 *
 * The account is the lease's, not the binding's: many vectors of one device must
 * not get more than one.  Exempt are the timer, what the holder posts to itself,
 * what comes before anybody has entered, and notifications, which have a limit of
 * their own (nom_limit.c).
 *
 *	CPU 0: nom_storm_hold()			CPU 1: nom_storm_end()
 *	held[event] += n, held_events |= bit	paused = false
 *	smp_mb()				smp_mb()
 *	paused? no: post what is held		post what is held
 *
 * One of them at least sees the other; the exchange with 0 decides who posts.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/hrtimer.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/spinlock.h>
#include "nom.h"
#include "nom_trace.h"

#define NOM_STORM_PAUSE_MIN_NS	1000

static unsigned int nom_storm_gap_ns = 5000;
static unsigned int nom_storm_share_pct = 50;

static int nom_storm_share_set(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, 1, 100);
}

static const struct kernel_param_ops nom_storm_share_ops = {
	.set = nom_storm_share_set,
	.get = param_get_uint,
};

module_param_named(storm_gap_ns, nom_storm_gap_ns, uint, 0644);
MODULE_PARM_DESC(storm_gap_ns, "events closer together than this on average are a storm (0: none is)");
module_param_cb(storm_share_pct, &nom_storm_share_ops, &nom_storm_share_pct, 0644);
MODULE_PARM_DESC(storm_share_pct, "share of a leased core's time that a storm gets, 1 to 100");

static void nom_storm_post_held(struct nom_lease *lease)
{
	struct nom_storm *s = &lease->storm;
	unsigned long events = atomic64_xchg(&s->held_events, 0);
	unsigned int event;
	u64 n;

	for_each_set_bit(event, &events, NOM_NR_EVENTS) {
		n = atomic64_xchg(&s->held[event], 0);
		if (n)
			nom_post(&lease->u, event, n);
	}
}

/**
 * nom_storm_hold - keep a post until the pause ends
 * @lease: was seen in a pause
 * @event: below NOM_NR_EVENTS
 * @n: how often it occurred
 *
 * Context: any but NMI.
 */
void nom_storm_hold(struct nom_lease *lease, unsigned int event, u64 n)
{
	struct nom_storm *s = &lease->storm;

	atomic64_add(n, &s->held[event]);
	atomic64_or(BIT_ULL(event), &s->held_events);
	/* pairs with the one in nom_storm_end() */
	smp_mb__after_atomic();
	if (!READ_ONCE(s->paused))
		nom_storm_post_held(lease);
}

static void nom_storm_end(struct nom_lease *lease)
{
	struct nom_storm *s = &lease->storm;
	unsigned long flags;

	raw_spin_lock_irqsave(&s->lock, flags);
	WRITE_ONCE(s->paused, false);
	s->hits = 0;
	s->since = ktime_get_ns();
	nom_irq_resume(lease);
	raw_spin_unlock_irqrestore(&s->lock, flags);
	/* pairs with the one in nom_storm_hold() */
	smp_mb();
	nom_storm_post_held(lease);
}

static enum hrtimer_restart nom_storm_fire(struct hrtimer *timer)
{
	nom_storm_end(container_of(timer, struct nom_lease, storm.resume));
	return HRTIMER_NORESTART;
}

/**
 * nom_storm_look - the hits are full: begin a pause if they came too fast
 * @lease: alive
 *
 * Context: any but NMI.
 * Return: whether there is a pause.
 */
bool nom_storm_look(struct nom_lease *lease)
{
	struct nom_storm *s = &lease->storm;
	unsigned int share = READ_ONCE(nom_storm_share_pct);
	unsigned long flags;
	u64 now, took, pause;
	bool ret;

	raw_spin_lock_irqsave(&s->lock, flags);
	now = ktime_get_ns();
	took = now - s->since;
	s->since = now;
	s->hits = 0;
	if (!s->paused && !s->stopped && share < 100 &&
	    took < (u64)NOM_STORM_HITS * READ_ONCE(nom_storm_gap_ns)) {
		pause = took * (100 - share) / share;
		WRITE_ONCE(s->paused, true);
		s->nr_pauses++;
		hrtimer_start(&s->resume,
			      ns_to_ktime(max_t(u64, pause, NOM_STORM_PAUSE_MIN_NS)),
			      HRTIMER_MODE_REL_PINNED_HARD);
		trace_nom_event(lease->handle, 0, s->nr_pauses, "storm");
	}
	ret = s->paused;
	raw_spin_unlock_irqrestore(&s->lock, flags);
	return ret;
}

/**
 * nom_storm_flush - end a pause before its time
 * @lease: alive
 *
 * On return no source that was quiet before the call is so any more.
 *
 * Context: process.
 */
void nom_storm_flush(struct nom_lease *lease)
{
	hrtimer_cancel(&lease->storm.resume);
	nom_storm_end(lease);
}

/**
 * nom_storm_stop - no more pauses
 * @lease: marked ended; readers of the slot table may still post to it
 */
void nom_storm_stop(struct nom_lease *lease)
{
	struct nom_storm *s = &lease->storm;

	raw_spin_lock_irq(&s->lock);
	s->stopped = true;
	raw_spin_unlock_irq(&s->lock);
	nom_storm_flush(lease);
}

/**
 * nom_storm_init - part of a lease's construction
 * @lease: zeroed
 */
void nom_storm_init(struct nom_lease *lease)
{
	struct nom_storm *s = &lease->storm;

	raw_spin_lock_init(&s->lock);
	INIT_LIST_HEAD(&s->quiet);
	s->since = ktime_get_ns();
	hrtimer_init(&s->resume, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	s->resume.function = nom_storm_fire;
}
