// SPDX-License-Identifier: MIT
/* A virtio-net device that is a program: what does not depend on the bus; see the header. */
#include "vnet_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sys/mman.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

char rig_said[4096];

void rig_log(int level, const char *message, void *arg)
{
	size_t len = strlen(rig_said);

	snprintf(rig_said + len, sizeof(rig_said) - len, "%s\n", message);
}

/* --------------------------------------------------------------- reading --- */

bool rig_lies(struct vnet_rig *d, unsigned int width, uint32_t *out)
{
	const uint32_t ones = UINT32_MAX >> (32 - 8 * width);

	d->reads++;
	if (d->gone_after && d->reads > d->gone_after) {
		*out = ones;
		return true;
	}
	if (d->garbage && (unsigned int)rand() % d->garbage == 0) {
		*out = (uint32_t)rand() & ones;
		return true;
	}
	return false;
}

uint32_t rig_answer(struct vnet_rig *d, uint32_t v, unsigned int width)
{
	if (d->twist)
		d->twist(d, &v, width);
	return v & UINT32_MAX >> (32 - 8 * width);
}

bool rig_hears(struct vnet_rig *d, bool resets)
{
	const bool gone = d->gone_after && d->reads >= d->gone_after;

	if (gone && resets)
		d->running = false;
	return !gone;
}

struct rig_queue *rig_queue(struct vnet_rig *d, unsigned int number)
{
	return &d->q[number < RIG_QUEUES ? number : RIG_QUEUES - 1];
}

static bool is_there(const struct vnet_rig *d)
{
	return d->selected < d->num_queues;
}

uint32_t rig_get(struct vnet_rig *d, enum rig_reg reg)
{
	const struct rig_queue *q = rig_queue(d, d->selected);

	switch (reg) {
	case RIG_OFFERED:
		return (uint32_t)(d->offered_select < 2 ? d->offered >> (32 * d->offered_select) : 0);
	case RIG_STATUS:
		return d->status;
	case RIG_GENERATION:
		if (d->generation_runs || d->generation_changes) {
			d->generation++;
			if (d->generation_changes)
				d->generation_changes--;
		}
		return d->generation;
	case RIG_Q_MAX:
		return is_there(d) ? q->size ? q->size : q->max : 0;
	case RIG_Q_ON:
		if (d->always_on)
			return 1;
		return is_there(d) && !d->never_on ? q->on : 0;
	default:
		fail_msg("register %d is only written", reg);
		return 0;
	}
}

uint32_t rig_config(struct vnet_rig *d, size_t off, unsigned int width)
{
	const size_t types = offsetof(struct virtio_net_config, supported_hash_types);
	uint32_t v = 0;

	/* 4.1.3.1, 4.2.2.2: a field of 32 bits is read as one */
	assert_true(d->wild || off < types || off >= types + 4 || width == 4);
	if (off + width <= sizeof(d->config))
		memcpy(&v, (uint8_t *)&d->config + off, width);
	else
		assert_true(d->wild);
	return v;
}

/* --------------------------------------------------------------- writing --- */

static void set64(uint64_t *at, bool high, uint32_t v)
{
	*at = high ? (*at & 0xffffffffu) | (uint64_t)v << 32 : (*at & ~0xffffffffULL) | v;
}

static void reset(struct vnet_rig *d)
{
	unsigned int i;

	d->resets++;
	if (d->stuck_reset && (d->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	for (i = 0; i < RIG_QUEUES; i++) {
		d->q[i].on = d->q[i].size = 0;
		d->q[i].vector = VIRTIO_MSI_NO_VECTOR;
	}
	d->config_vector = VIRTIO_MSI_NO_VECTOR;
	d->status = 0;
	d->running = false;
}

static void set_status(struct vnet_rig *d, uint32_t v)
{
	if (!v) {
		reset(d);
		return;
	}
	if (d->keep_features_ok_clear)
		v &= ~(uint32_t)VIRTIO_CONFIG_S_FEATURES_OK;
	if (d->refuse_start && (v & VIRTIO_CONFIG_S_DRIVER_OK))
		v |= VIRTIO_CONFIG_S_NEEDS_RESET;
	if (v & VIRTIO_CONFIG_S_DRIVER_OK)
		d->running = true;
	if ((v & VIRTIO_CONFIG_S_DRIVER_OK) && !d->garbage && !d->wild) {	/* the queues first */
		assert_int_equal(d->q[0].on, 1);
		assert_int_equal(d->q[1].on, 1);
		assert_int_equal(d->q[2].on, d->accepted >> VIRTIO_NET_F_CTRL_VQ & 1);
		assert_true(v & VIRTIO_CONFIG_S_FEATURES_OK);
	}
	d->status = v;
}

/* Each part lies in the driver's memory, whatever the device said before. */
static void check_ring(const struct vnet_rig *d, const struct rig_queue *q)
{
	bool packed = d->accepted >> VIRTIO_F_RING_PACKED & 1;

	assert_true(q->size >= 2 && !(q->size & (q->size - 1)));
	assert_non_null(rig_va(d, q->desc, 16 * q->size));
	assert_non_null(rig_va(d, q->avail, packed ? 4 : 6 + 2 * q->size));
	assert_non_null(rig_va(d, q->used, packed ? 4 : 6 + 8 * q->size));
}

static void queue_on(struct vnet_rig *d, struct rig_queue *q, uint32_t v)
{
	if (v && !d->garbage)
		check_ring(d, q);
	q->on = v;
	q->at = 0;
}

void rig_set(struct vnet_rig *d, enum rig_reg reg, uint32_t v)
{
	struct rig_queue *q = rig_queue(d, d->selected);

	if (reg > RIG_Q_SELECT) {
		assert_true(is_there(d) || d->wild);
		if (reg != RIG_Q_ON && !d->wild)
			assert_int_equal(q->on, 0);	/* 4.1.4.3.2, 4.2.3.2: before it is enabled */
	}
	switch (reg) {
	case RIG_OFFERED_SELECT:
		d->offered_select = v;
		break;
	case RIG_ACCEPTED_SELECT:
		d->accepted_select = v;
		break;
	case RIG_ACCEPTED:
		set64(&d->accepted, d->accepted_select == 1, v);
		break;
	case RIG_STATUS:
		set_status(d, v);
		break;
	case RIG_Q_SELECT:
		d->selected = v;
		break;
	case RIG_Q_SIZE:
		q->size = v;
		break;
	case RIG_Q_ON:
		queue_on(d, q, v);
		break;
	case RIG_Q_DESC:
	case RIG_Q_DESC_HIGH:
		set64(&q->desc, reg == RIG_Q_DESC_HIGH, v);
		break;
	case RIG_Q_AVAIL:
	case RIG_Q_AVAIL_HIGH:
		set64(&q->avail, reg == RIG_Q_AVAIL_HIGH, v);
		break;
	case RIG_Q_USED:
	case RIG_Q_USED_HIGH:
		set64(&q->used, reg == RIG_Q_USED_HIGH, v);
		break;
	default:
		fail_msg("register %d is only read", reg);
	}
}

/* ---------------------------------------------------------------- memory --- */

void *rig_va(const struct vnet_rig *d, uint64_t dma, size_t bytes)
{
	uint64_t off = dma - RIG_DMA_BASE;

	return off <= d->dma.bytes && bytes <= d->dma.bytes - off ? d->dma.va + off : NULL;
}

/* Zero pages, made as they are touched; around them none: who strays gets a signal. */
int rig_dma_alloc(struct vnet_rig *d, size_t bytes, struct nomdrv_dma *out)
{
	size_t nr = bytes >> NOMDRV_CHUNK_SHIFT, i;

	assert_false(d->dma_live);
	d->map_bytes = bytes + 2 * NOMDRV_CHUNK_BYTES;
	d->map = mmap(NULL, d->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(d->map != MAP_FAILED);
	out->va = (uint8_t *)(((uintptr_t)d->map + NOMDRV_CHUNK_BYTES) & ~(NOMDRV_CHUNK_BYTES - 1));
	assert_int_equal(mprotect(out->va, bytes, PROT_READ | PROT_WRITE), 0);
	out->bytes = bytes;
	out->chunk_dma = calloc(nr, sizeof(uint64_t));
	for (i = 0; i < nr; i++)
		out->chunk_dma[i] = RIG_DMA_BASE + (i << NOMDRV_CHUNK_SHIFT);
	d->dma = *out;
	d->dma_live = true;
	return 0;
}

bool rig_let_go(const struct vnet_rig *d)
{
	return !d->running || (d->stuck_reset && d->lied);
}

void rig_dma_free(struct vnet_rig *d, struct nomdrv_dma *dma)
{
	assert_true(rig_let_go(d));
	assert_int_equal(munmap(d->map, d->map_bytes), 0);
	free(dma->chunk_dma);
	*dma = (struct nomdrv_dma){ 0 };
	d->dma = *dma;
	d->dma_live = false;
}

/* ------------------------------------------------------------ interrupts --- */

void rig_bound(struct vnet_rig *d, unsigned int irq, int eventfd, uint64_t *count, unsigned int event)
{
	assert_true(irq < NOMDRV_NR_IRQS);
	assert_int_equal(eventfd, d->irq_fd[irq]);
	d->irq_count[irq] = count;
	*count += event;	/* as if that many came */
}

/* ------------------------------------------------------- beginning, end --- */

void rig_init(struct vnet_rig *d)
{
	static const uint8_t mac[6] = { 0x52, 0x54, 0, 9, 8, 7 };
	unsigned int i;

	memset(d, 0, sizeof(*d));
	d->offered = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS) |
		BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4);
	d->num_queues = 3;
	d->q[0].max = 16;
	d->q[1].max = 32;
	d->q[2].max = 64;
	d->q[0].on = d->q[1].on = 1;
	d->status = 0xf;
	d->nr_irqs = 3;
	for (i = 0; i < NOMDRV_NR_IRQS; i++)
		d->irq_fd[i] = -1;
	for (i = 0; i < RIG_QUEUES; i++)
		d->q[i].vector = VIRTIO_MSI_NO_VECTOR;
	d->config_vector = VIRTIO_MSI_NO_VECTOR;
	memcpy(d->config.mac, mac, 6);
	d->config.status = VIRTIO_NET_S_LINK_UP;
	rig_said[0] = 0;
}

int rig_open(struct vnet_rig *d, struct vnet **v)
{
	struct nomdrv_dev *dev;
	int err;

	d->opts.sz = sizeof(d->opts);
	if (!d->opts.arena_bytes)
		d->opts.arena_bytes = 4096;
	err = d->is_pci ? vtrans_pci_modern_create(&d->fn.pci, &dev) : vtrans_mmio_create(&d->fn.mmio, &dev);
	assert_int_equal(err, 0);
	err = vnet_create(dev, &d->opts, v);
	if (err)
		nomdrv_dev_destroy(dev);
	return err;
}

void rig_close(struct vnet_rig *d)
{
	unsigned int i;

	assert_false(d->dma_live);
	for (i = 0; i < NOMDRV_NR_IRQS; i++)
		assert_true(d->irq_fd[i] == -1 && !d->irq_count[i]);
	d->closed++;
}

void rig_free(struct vnet_rig *d)
{
	assert_int_equal(d->closed, 1);
	free(d->mem);
	d->mem = NULL;
}

void rig_refused(struct vnet_rig *d, int want, const char *why)
{
	struct vnet *v = NULL;

	assert_int_equal(rig_open(d, &v), want);
	assert_null(v);
	if (!strstr(rig_said, why))
		fail_msg("said \"%s\", not \"%s\"", rig_said, why);
	rig_free(d);
}

void rig_end(struct vnet_rig *d, struct vnet *v)
{
	vnet_close(v);
	assert_int_equal(d->status, 0);
	rig_free(d);
}
