/* SPDX-License-Identifier: MIT */
/* nom-fail-nth: the operations that are swept (fail-ops.c), and what sweeps them. */
#ifndef FAIL_H
#define FAIL_H

#include <stdbool.h>
#include "../system/lib/kmod_pci.h"

extern int fail_nom, fail_family, fail_group;
extern struct k_pci fail_nic;		/* bound to vfio-pci; bdf 0: there is none */
extern char fail_mmio[];		/* of a device in nom-mmio's hands; "": there is none */

struct fail_op {
	const char *name;
	void (*prepare)(void);		/* once */
	long (*run)(void);
	void (*undo)(void);		/* after a success */
	void (*clean)(void);		/* once */
	void (*again)(void);		/* after a failure, too: what cannot be used twice */
	bool (*check)(long ret);	/* what must hold after run, and before undo */
	bool talks;			/* answers to a failed request may be left in w.sock */
	bool hears;			/* @check looks at what came to w.listener */
	bool lasts;			/* a success changes the world for good */
	bool nic;			/* wants fail_nic */
	bool mmio;			/* wants fail_mmio */
	bool maps_device;		/* remap_pfn_range() says EINVAL when it cannot note the caching */
};

extern const struct fail_op fail_ops[];
extern const unsigned int fail_nr_ops;

/* What is left over from the call before is not the next one's. */
void fail_fresh(const struct fail_op *o);

#endif
