// SPDX-License-Identifier: GPL-2.0
/*
 * nom: the interrupt behind a bound eventfd.
 *
 * VFIO registers each MSI vector as an irq-bypass producer whose token is the
 * vector's eventfd; a binding is the consumer of the same token.  When they meet
 * we learn the interrupt's number, whichever came first.  VFIO's handler stays
 * what runs (nothing is bypassed); what the number is good for:
 *
 *	affinity	the interrupt comes to the leased core, and goes back to
 *			the ordinary cores when one of the two goes
 *	switching off	by NOM_CORE_MASK, and by a storm's pause
 *
 * Off means disable_irq(), which is lazy: the next interrupt is still taken,
 * noted as pending and then masked at the device; when the interrupt is on again,
 * the pending one is delivered.  So none is lost, and one is taken at most.
 * An MSI without mask bits cannot be silenced at its source.  Off means for it to
 * go to the ordinary cores, where its eventfd is counted and nothing posted.  Such
 * a move takes milliseconds, so after a storm it does not come back: not before it
 * is bound anew.
 *
 * Both reasons for being off are bits under the lease's storm lock, which irq
 * handlers take.  A producer that goes, in VFIO's context and under the bypass
 * manager's mutex, finds its interrupt on again.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/cpumask.h>
#include <linux/eventfd.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqbypass.h>
#include <linux/msi.h>
#include "nom.h"

static struct cpumask nom_irq_ordinary __ro_after_init;	/* cores nobody can lease */

static struct nom_lease *nom_irq_lease(struct nom_irq *irq)
{
	return container_of(irq, struct nom_bind, irq)->lease;
}

/* Let it be quiet on the leased core, or not any more. */
static void nom_irq_switch(struct nom_lease *lease, struct nom_irq *irq, bool on)
{
	lockdep_assert_held(&lease->storm.lock);
	if (irq->can_mask && on)
		enable_irq(irq->nr);
	else if (irq->can_mask)
		disable_irq_nosync(irq->nr);
	else if (irq->affine)
		irq_set_affinity(irq->nr, on ? cpumask_of(lease->u.cpu) : &nom_irq_ordinary);
}

static void nom_irq_off(struct nom_lease *lease, struct nom_irq *irq, unsigned int why)
{
	lockdep_assert_held(&lease->storm.lock);
	if (irq->nr && !irq->off)
		nom_irq_switch(lease, irq, false);
	irq->off |= why;
}

static void nom_irq_on(struct nom_lease *lease, struct nom_irq *irq, unsigned int why)
{
	lockdep_assert_held(&lease->storm.lock);
	if (!(irq->off & why))
		return;
	irq->off &= ~why;
	if (irq->nr && !irq->off)
		nom_irq_switch(lease, irq, true);
}

static bool nom_irq_can_mask(unsigned int nr)
{
	struct msi_desc *desc = irq_get_msi_desc(nr);

	return !desc || desc->pci.msi_attrib.can_mask;
}

/* The bypass manager's mutex is held. */
static int nom_irq_add_producer(struct irq_bypass_consumer *consumer,
				struct irq_bypass_producer *producer)
{
	struct nom_irq *irq = container_of(consumer, struct nom_irq, consumer);
	struct nom_lease *lease = nom_irq_lease(irq);

	raw_spin_lock_irq(&lease->storm.lock);
	irq->affine = !irq_set_affinity(producer->irq, cpumask_of(lease->u.cpu));
	irq->can_mask = nom_irq_can_mask(producer->irq);
	irq->nr = producer->irq;
	if (irq->off)
		nom_irq_switch(lease, irq, false);
	raw_spin_unlock_irq(&lease->storm.lock);
	return 0;
}

/* Likewise; VFIO frees the interrupt when we have returned. */
static void nom_irq_del_producer(struct irq_bypass_consumer *consumer,
				 struct irq_bypass_producer *producer)
{
	struct nom_irq *irq = container_of(consumer, struct nom_irq, consumer);
	struct nom_lease *lease = nom_irq_lease(irq);
	const struct cpumask *mask = irq_get_affinity_mask(producer->irq);

	raw_spin_lock_irq(&lease->storm.lock);
	if (irq->off)
		nom_irq_switch(lease, irq, true);
	irq->nr = 0;
	/* to the leased core it may be on its way only; or somebody sent it elsewhere */
	if (irq->affine && mask && (cpumask_equal(mask, cpumask_of(lease->u.cpu)) ||
				    cpumask_equal(mask, &nom_irq_ordinary)))
		irq_set_affinity(producer->irq, &nom_irq_ordinary);
	irq->affine = false;
	raw_spin_unlock_irq(&lease->storm.lock);
}

/**
 * nom_irq_register - learn of the interrupt behind a binding, now or later
 * @bind: complete; its eventfd may be a device's or not
 *
 * An eventfd that another lease has bound keeps its interrupt there; this
 * binding does without affinity.
 */
void nom_irq_register(struct nom_bind *bind)
{
	struct nom_irq *irq = &bind->irq;

	INIT_LIST_HEAD(&irq->quiet);
	irq->consumer.token = bind->ctx;
	irq->consumer.add_producer = nom_irq_add_producer;
	irq->consumer.del_producer = nom_irq_del_producer;
	irq->registered = !irq_bypass_register_consumer(&irq->consumer);
}

/**
 * nom_irq_unregister - give the interrupt back
 * @bind: its eventfd no longer wakes it
 *
 * Context: process, may sleep.
 */
void nom_irq_unregister(struct nom_bind *bind)
{
	if (bind->irq.registered)
		irq_bypass_unregister_consumer(&bind->irq.consumer);
	/* the pause's list must not know it when it is freed */
	nom_storm_flush(bind->lease);
}

/**
 * nom_irq_mask - switch the interrupt of a binding off or on
 * @bind: binding
 * @mask: off
 */
void nom_irq_mask(struct nom_bind *bind, bool mask)
{
	struct nom_lease *lease = bind->lease;

	raw_spin_lock_irq(&lease->storm.lock);
	if (mask)
		nom_irq_off(lease, &bind->irq, NOM_IRQ_OFF_MASK);
	else
		nom_irq_on(lease, &bind->irq, NOM_IRQ_OFF_MASK);
	raw_spin_unlock_irq(&lease->storm.lock);
}

/**
 * nom_irq_pause - switch the interrupt of a binding off until the pause ends
 * @bind: has just fired
 *
 * Context: often the interrupt's own handler, interrupts off.
 */
void nom_irq_pause(struct nom_bind *bind)
{
	struct nom_lease *lease = bind->lease;
	struct nom_irq *irq = &bind->irq;
	unsigned long flags;

	raw_spin_lock_irqsave(&lease->storm.lock, flags);
	if (lease->storm.paused && list_empty(&irq->quiet)) {
		list_add(&irq->quiet, &lease->storm.quiet);
		irq->nr_pauses++;
		nom_irq_off(lease, irq, NOM_IRQ_OFF_STORM);
		if (!irq->can_mask)
			irq->affine = false;	/* banished */
	}
	raw_spin_unlock_irqrestore(&lease->storm.lock, flags);
}

/**
 * nom_irq_resume - the pause is over
 * @lease: its storm lock held
 */
void nom_irq_resume(struct nom_lease *lease)
{
	struct nom_irq *irq, *next;

	lockdep_assert_held(&lease->storm.lock);
	list_for_each_entry_safe(irq, next, &lease->storm.quiet, quiet) {
		list_del_init(&irq->quiet);
		nom_irq_on(lease, irq, NOM_IRQ_OFF_STORM);
	}
}

void __init nom_irq_init(void)
{
	cpumask_andnot(&nom_irq_ordinary, cpu_possible_mask, nom_reserved_cpus());
}
