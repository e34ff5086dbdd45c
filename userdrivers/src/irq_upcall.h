/* SPDX-License-Identifier: MIT */
/* An interrupt's eventfd bound to an event of a leased core: the same for every bus. */
#ifndef NOMDRV_IRQ_UPCALL_H
#define NOMDRV_IRQ_UPCALL_H

#include <stdint.h>

struct nomux_core;

/* A binding, or none while @core is NULL. */
struct irq_upcall {
	struct nomux_core *core;
	unsigned int event;
	int eventfd;
};

/* @count is advanced from the upcall.  0, or what nomux_on_event() and nomux_event_bind() return. */
int irq_upcall_bind(struct irq_upcall *u, struct nomux_core *core, unsigned int event, int eventfd,
		    uint64_t *count);
/* Also for one that is not bound. */
void irq_upcall_unbind(struct irq_upcall *u);

#endif /* NOMDRV_IRQ_UPCALL_H */
