// SPDX-License-Identifier: MIT
/* Interrupts as upcalls; see irq_upcall.h. */
#include "irq_upcall.h"

#include <stddef.h>

#include "nomux/upcall.h"

/* In the upcall: no floating point, no SSE. */
__attribute__((target("general-regs-only")))
static void count_interrupt(unsigned int event, uint64_t count, void *arg)
{
	*(uint64_t *)arg += count;
}

int irq_upcall_bind(struct irq_upcall *u, struct nomux_core *core, unsigned int event, int eventfd,
		    uint64_t *count)
{
	int err;

	err = nomux_on_event(core, event, count_interrupt, count);
	if (err)
		return err;
	err = nomux_event_bind(core, event, eventfd);
	if (err) {
		nomux_on_event(core, event, NULL, NULL);
		return err;
	}
	*u = (struct irq_upcall){ .core = core, .event = event, .eventfd = eventfd };
	return 0;
}

void irq_upcall_unbind(struct irq_upcall *u)
{
	if (!u->core)
		return;
	nomux_event_unbind(u->core, u->event, u->eventfd);
	nomux_on_event(u->core, u->event, NULL, NULL);
	u->core = NULL;
}
