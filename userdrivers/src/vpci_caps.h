/* SPDX-License-Identifier: MIT */
/*
 * Where a PCI function has the registers of its modern virtio interface
 * (virtio 1.2, 4.1.4).
 */
#ifndef NOMDRV_VPCI_CAPS_H
#define NOMDRV_VPCI_CAPS_H

#include <stdbool.h>
#include <stdint.h>

struct pci_fn;

/* A register block: where it is, and how long. */
struct vpci_block {
	volatile uint8_t *base;
	uint32_t len;
};

/**
 * struct vpci_caps - what the vendor capabilities say
 * @common, @notify, @config: each within its BAR, aligned as its registers need
 * @notify_mult: bytes between two doorbells
 * @any: there are capabilities of virtio
 */
struct vpci_caps {
	struct vpci_block common, notify, config;
	uint32_t notify_mult;
	bool any;
};

/*
 * All three blocks; without one of them an error, and its reason in the log.
 * 0, -EPROTO (nonsense, or a block is missing), -EOPNOTSUPP (a legacy device), or what
 * reading and mapping give.
 */
int vpci_caps_find(struct pci_fn *fn, struct vpci_caps *out);

/* The function's configuration space; says so if it cannot. */
int vpci_cfg_read(struct pci_fn *fn, unsigned int off, void *buf, unsigned int len);

#endif /* NOMDRV_VPCI_CAPS_H */
