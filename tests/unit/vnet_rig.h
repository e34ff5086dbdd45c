/* SPDX-License-Identifier: MIT */
/*
 * vnet_rig.h - a virtio-net device that is a program, behind registers
 *
 * What the registers mean is the same on either bus (vnet_rig.c); where they lie
 * is the bus's (vnet_rig_pci.c, vnet_rig_mmio.c).  The device is well-behaved and
 * watches the driver's order of things; a test sets one of the lies below, or
 * answers each read itself (@twist).
 */
#ifndef TESTS_VNET_RIG_H
#define TESTS_VNET_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/virtio_net.h>

#include "nomdrv/dev.h"
#include "nomdrv/vnet.h"
#include "../../userdrivers/src/mmio_fn.h"
#include "../../userdrivers/src/pci_fn.h"

#define BIT(n)		(1ULL << (n))
#define RIG_QUEUES	34	/* of further ones there is one, whatever its number */

/* PCI: what lies where in the BAR, and in configuration space. */
#define RIG_BAR		4
#define RIG_BAR_BYTES	0x4000
#define RIG_ISR_OFF	0x1000
#define RIG_CONFIG_OFF	0x2000
#define RIG_NOTIFY_OFF	0x3000
#define RIG_MULT	4
#define RIG_CAP_COMMON	0x40
#define RIG_CAP_NOTIFY	0x50
#define RIG_CAP_CONFIG	0x64
#define RIG_CAP_MSIX	0x74

#define RIG_SLOT_BYTES	0x200	/* of registers without PCI */

/* Where the device sees the memory. */
#define RIG_DMA_BASE	0x123400000000ULL

/* What registers of either bus are for; vnet_rig.c knows no others. */
enum rig_reg {
	RIG_OFFERED, RIG_OFFERED_SELECT, RIG_ACCEPTED, RIG_ACCEPTED_SELECT, RIG_STATUS, RIG_GENERATION,
	RIG_Q_SELECT, RIG_Q_MAX, RIG_Q_SIZE, RIG_Q_ON,
	RIG_Q_DESC, RIG_Q_DESC_HIGH, RIG_Q_AVAIL, RIG_Q_AVAIL_HIGH, RIG_Q_USED, RIG_Q_USED_HIGH,
};

/**
 * struct rig_queue - a queue as the device knows it
 * @max: entries that it can have; @size: what the driver made of it, 0: not yet
 * @on: enabled, or ready; @vector, @notify_off: PCI only
 * @at: for whoever plays the device: its position, free-running
 */
struct rig_queue {
	uint32_t max, size, on;
	uint16_t vector, notify_off;
	uint64_t desc, avail, used;
	unsigned int at;
};

/**
 * struct vnet_rig - the device
 * @mem: BAR, or registers: a plain array, of which only doorbells are written
 * @cfg: PCI configuration space
 * @opts: handed to vnet_create(), but for sz and an arena_bytes of 0
 * @wild: where the driver looks and what it may do cannot be foreseen, for the tables lie
 * @moved: it looks elsewhere, and nothing that it writes is understood
 * @lied: for whoever sets @twist: a read did not give what is
 * @running: DRIVER_OK was written, and nothing since that takes the memory away
 */
struct vnet_rig {
	union {
		struct pci_fn pci;
		struct mmio_fn mmio;
	} fn;
	bool is_pci;
	uint8_t *mem;
	size_t mem_bytes;
	uint8_t cfg[256];
	uint32_t magic, version, id;
	uint64_t offered, accepted;
	uint32_t offered_select, accepted_select, selected, status, generation, num_queues;
	struct rig_queue q[RIG_QUEUES];
	uint16_t config_vector;
	struct virtio_net_config config;
	struct vnet_opts opts;
	/* lies */
	bool keep_features_ok_clear, stuck_reset, refuse_vector, generation_runs, refuse_start;
	bool never_on, always_on, wild, moved, lied;
	unsigned int generation_changes;	/* that many reads see a change */
	unsigned int gone_after;	/* that many register reads, then all ones; 0: never */
	unsigned int garbage;		/* one register read in so many is random; 0: none */
	int nr_irqs, map_err, irq_err, cfg_err;
	void (*twist)(struct vnet_rig *d, void *value, unsigned int bytes);	/* each read's value */
	/* what happened */
	unsigned int resets, irq_sets, closed, config_reads, reads;
	int irq_fd[NOMDRV_NR_IRQS];
	uint64_t *irq_count[NOMDRV_NR_IRQS];	/* bound: what an interrupt adds to */
	bool dma_live, running;
	struct nomdrv_dma dma;
	void *map;
	size_t map_bytes;
};

/* What the driver has said since rig_init_*(). */
extern char rig_said[4096];
void rig_log(int level, const char *message, void *arg);

/* A well-behaved device, as its last driver left it. */
void rig_init_pci(struct vnet_rig *d);
void rig_init_mmio(struct vnet_rig *d);
int rig_open(struct vnet_rig *d, struct vnet **v);
/* The end of a device that rig_open() was tried on; the interface is closed. */
void rig_free(struct vnet_rig *d);
/* Opening fails with @want and says @why, and nothing stays behind. */
void rig_refused(struct vnet_rig *d, int want, const char *why);
/* Closes, and nothing stays behind. */
void rig_end(struct vnet_rig *d, struct vnet *v);

/* A descriptor in memory that is the driver's; NULL: not all of it lies there. */
void *rig_va(const struct vnet_rig *d, uint64_t dma, size_t bytes);
struct rig_queue *rig_queue(struct vnet_rig *d, unsigned int number);
/* PCI: a capability. */
struct virtio_pci_notify_cap *rig_cap(struct vnet_rig *d, unsigned int at);
void rig_put16(struct vnet_rig *d, unsigned int off, uint16_t v);

/* For the buses. */
extern const struct pci_fn_ops rig_pci_ops;
extern const struct mmio_fn_ops rig_mmio_ops;
void rig_init(struct vnet_rig *d);
uint32_t rig_get(struct vnet_rig *d, enum rig_reg reg);
void rig_set(struct vnet_rig *d, enum rig_reg reg, uint32_t v);
/* Configuration space of the device. */
uint32_t rig_config(struct vnet_rig *d, size_t off, unsigned int width);
/* Called with each register read; true: *out is what it gives. */
bool rig_lies(struct vnet_rig *d, unsigned int width, uint32_t *out);
/* ... and with what it gives otherwise. */
uint32_t rig_answer(struct vnet_rig *d, uint32_t v, unsigned int width);
/* Whether a write gets to the device; one that @resets, or takes a queue away, has been tried in any case. */
bool rig_hears(struct vnet_rig *d, bool resets);
/*
 * It has been told to reset, or has lost the bus or its queues, or does not finish its
 * reset and says that it has.
 */
bool rig_let_go(const struct vnet_rig *d);
int rig_dma_alloc(struct vnet_rig *d, size_t bytes, struct nomdrv_dma *out);
void rig_dma_free(struct vnet_rig *d, struct nomdrv_dma *dma);
void rig_bound(struct vnet_rig *d, unsigned int irq, int eventfd, uint64_t *count, unsigned int event);
void rig_close(struct vnet_rig *d);

#endif /* TESTS_VNET_RIG_H */
