// SPDX-License-Identifier: MIT
/*
 * vnet: sleeping and waking.
 *
 * Interrupts are off while the caller polls.  Before it sleeps it arms, and
 * vring_irq_on() looks at the ring once more behind a full barrier: either the
 * device saw the request before it looked whether to interrupt, or the driver
 * sees the frame.  On a leased core events are masked around the sequence, so
 * an upcall cannot slip in between the last look and the sleep:
 *
 *	nomux_mask(core);
 *	if (vnet_irq_arm(v))
 *		nomux_wait(core, max_ns);
 *	vnet_irq_disarm(v);
 *	nomux_unmask(core);
 */
#include "vnet_internal.h"

#include <errno.h>
#include <unistd.h>

int vnet_irq_bind(struct vnet *v, struct nomux_core *core, unsigned int event)
{
	int err;

	if (!v->dev->ops->irq_bind || v->irq_fd < 0)
		return -EOPNOTSUPP;
	if (v->irq_bound)
		return -EBUSY;
	err = v->dev->ops->irq_bind(v->dev, NOMDRV_IRQ_RX, core, event, &v->stats.interrupts);
	if (!err)
		v->irq_bound = true;
	return err;
}

void vnet_irq_unbind(struct vnet *v)
{
	if (!v->irq_bound)
		return;
	v->irq_bound = false;
	v->dev->ops->irq_unbind(v->dev, NOMDRV_IRQ_RX);
}

int vnet_config_bind(struct vnet *v, struct nomux_core *core, unsigned int event)
{
	int err;

	if (!v->dev->ops->irq_bind || v->config_fd < 0)
		return -EOPNOTSUPP;
	if (v->config_bound)
		return -EBUSY;
	err = v->dev->ops->irq_bind(v->dev, NOMDRV_IRQ_CONFIG, core, event, &v->stats.config_interrupts);
	if (!err)
		v->config_bound = true;
	return err;
}

void vnet_config_unbind(struct vnet *v)
{
	if (!v->config_bound)
		return;
	v->config_bound = false;
	v->dev->ops->irq_unbind(v->dev, NOMDRV_IRQ_CONFIG);
}

int vnet_config_fd(struct vnet *v)
{
	return v->config_fd;
}

bool vnet_config_changed(struct vnet *v)
{
	uint64_t n;

	if (!v->config_bound && v->config_fd >= 0 &&
	    read(v->config_fd, &n, sizeof(n)) == (ssize_t)sizeof(n))
		v->stats.config_interrupts += n;
	n = __atomic_load_n(&v->stats.config_interrupts, __ATOMIC_RELAXED);
	if (n == v->config_seen)
		return false;
	v->config_seen = n;
	vnet_check(v);
	return true;
}

int vnet_irq_fd(struct vnet *v)
{
	return v->irq_fd;
}

bool vnet_irq_arm(struct vnet *v)
{
	bool sleep = !v->error && (v->path ? v->path->irq_arm(v) : v->packed ? vpacked_irq_on(&v->rxq) : vring_irq_on(&v->rxq));

	v->idle.refused = !sleep;
	return sleep;
}

/* A device that interrupts without end would keep the core awake for nothing. */
static void judge_interrupts(struct vnet *v)
{
	uint64_t irqs = v->stats.interrupts - v->irq_seen, frames = v->stats.rx_packets + v->stats.rx_bad;

	v->irq_seen = v->stats.interrupts;
	if (frames != v->rx_seen || vnet_rx_pending(v)) {
		v->rx_seen = frames;
		v->irq_empty = 0;
	} else if (irqs >= VNET_IRQ_EMPTY_MAX - v->irq_empty) {
		vnet__fail(v, "interrupts without end: %u in a row and nothing received",
			   VNET_IRQ_EMPTY_MAX);
	} else {
		v->irq_empty += (unsigned int)irqs;
	}
}

void vnet_irq_disarm(struct vnet *v)
{
	uint64_t n;

	if (!v->rxq.armed)
		return;
	if (v->path) {
		v->rxq.armed = false;
		if (!v->error)
			v->path->irq_disarm(v);
		return;
	}
	if (v->packed)
		vpacked_irq_off(&v->rxq);
	else
		vring_irq_off(&v->rxq);
	/* Bound to an upcall, the kernel drains the eventfd and the handler counts. */
	if (!v->irq_bound && v->irq_fd >= 0 && read(v->irq_fd, &n, sizeof(n)) == (ssize_t)sizeof(n))
		v->stats.interrupts += n;
	if (!v->error)
		judge_interrupts(v);
}
