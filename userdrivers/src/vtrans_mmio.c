// SPDX-License-Identifier: MIT
/*
 * virtio over memory-mapped registers (virtio 1.2, section 4.2), version 2.
 *
 * There is nothing to find: the registers are where the firmware said, and all
 * queues have one doorbell.  So what a device can lie about is less than with
 * PCI: it is what the registers say.
 *
 * Version 1, the legacy interface, is refused with the reason: its rings are in
 * the guest's byte order and its headers are of another length.
 *
 * There is one interrupt, with a register for its cause, which whoever takes the
 * interrupt reads and acknowledges: the kernel's part of the mmio_fn.  It signals
 * one of two eventfds, as the two vectors of a PCI function do.
 *
 * Nothing like bus mastering can be taken from a device that does not finish its
 * reset.  Its queues are switched off one by one then, and nom.ko keeps the memory
 * in quarantine for as long as the device says DRIVER_OK (nom_mmio.c).
 */
#include "mmio_fn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>

#include "nomdrv/dev.h"
#include "nomux/log.h"

#include "internal.h"

#define MAGIC			0x74726976	/* "virt", little-endian */
#define VERSION_LEGACY		1
#define VERSION_MODERN		2
#define QUEUES_MAX		64	/* more than any driver here asks for */
#define RESET_TIMEOUT_NS	2000000000LL
#define CONFIG_TRIES		16
#define GONE			UINT32_MAX	/* what a bus returns where nothing is */

struct vmmio {
	struct nomdrv_dev dev;
	struct mmio_fn *fn;
	volatile uint8_t *base;	/* NULL before the first probe */
	uint32_t config_len;
	uint64_t queues;	/* a bit for each that was enabled since the last reset */
	bool irq_on;
	int irq_fd[MMIO_NR_IRQS];
};

static struct vmmio *to_vmmio(struct nomdrv_dev *dev)
{
	return (struct vmmio *)dev;
}

#define complain(p, fmt, ...) \
	nomux_log(LOG_ERR, "virtio-mmio: " fmt ", device=%s", ##__VA_ARGS__, (p)->fn->name)

/* ------------------------------------------------------------- registers --- */

/* 4.2.2.2: control registers are read and written as 32 bits. */
static uint32_t rd(struct vmmio *p, unsigned int off)
{
	return p->fn->ops->reg_read(p->fn, p->base + off, 4);
}

static void wr(struct vmmio *p, unsigned int off, uint32_t value)
{
	p->fn->ops->reg_write(p->fn, p->base + off, value);
}

static void wr64(struct vmmio *p, unsigned int low, uint64_t value)
{
	wr(p, low, (uint32_t)value);
	wr(p, low + 4, (uint32_t)(value >> 32));
}

static void add_status(struct vmmio *p, uint32_t bits)
{
	wr(p, VIRTIO_MMIO_STATUS, rd(p, VIRTIO_MMIO_STATUS) | bits);
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* 2.4.2: after writing 0, wait until 0 is read; not for what is gone. */
static int reset_wait(struct vmmio *p)
{
	int64_t end = now_ns() + RESET_TIMEOUT_NS;
	uint32_t status;

	wr(p, VIRTIO_MMIO_STATUS, 0);
	while ((status = rd(p, VIRTIO_MMIO_STATUS))) {
		if (status == GONE) {
			complain(p, "the device is gone: all bits of its registers read as one");
			return -EIO;
		}
		if (now_ns() > end) {
			complain(p, "reset does not finish, status 0x%x", status);
			return -ETIMEDOUT;
		}
		usleep(100);
	}
	p->queues = 0;
	return 0;
}

/* ------------------------------------------------------------- operations --- */

static int map_registers(struct vmmio *p)
{
	size_t bytes;
	void *va;
	int err;

	if (p->base)
		return 0;
	err = p->fn->ops->map(p->fn, &va, &bytes);
	if (err) {
		complain(p, "cannot map the registers: %s", strerror(-err));
		return err;
	}
	if (bytes < VIRTIO_MMIO_CONFIG || ((uintptr_t)va & 3)) {
		complain(p, "%zu bytes at %p are not the registers of a device", bytes, va);
		return -EPROTO;
	}
	p->base = va;
	p->config_len = (uint32_t)(bytes - VIRTIO_MMIO_CONFIG);
	return 0;
}

/* 4.2.2.2: in this order, and nothing else is touched before they are right. */
static int identify(struct vmmio *p)
{
	uint32_t magic = rd(p, VIRTIO_MMIO_MAGIC_VALUE), version, id;

	if (magic != MAGIC) {
		complain(p, "not a virtio device: magic 0x%08x", magic);
		return -ENODEV;
	}
	version = rd(p, VIRTIO_MMIO_VERSION);
	if (version == VERSION_LEGACY) {
		complain(p, "a legacy device, version 1; with QEMU, use -global virtio-mmio.force-legacy=false");
		return -EOPNOTSUPP;
	}
	if (version != VERSION_MODERN) {
		complain(p, "version %u is unknown, 2 is what is driven", version);
		return -EOPNOTSUPP;
	}
	id = rd(p, VIRTIO_MMIO_DEVICE_ID);
	if (!id) {
		complain(p, "an empty slot, device id 0");
		return -ENODEV;
	}
	if (id != VIRTIO_ID_NET) {
		complain(p, "device id %u is not a network device", id);
		return -ENODEV;
	}
	return 0;
}

static int vmmio_probe(struct nomdrv_dev *dev, uint64_t *offered_out)
{
	struct vmmio *p = to_vmmio(dev);
	int err;

	err = map_registers(p);
	if (!err)
		err = identify(p);
	if (!err)
		err = reset_wait(p);
	if (err)
		return err;
	add_status(p, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	add_status(p, VIRTIO_CONFIG_S_DRIVER);
	wr(p, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	*offered_out = rd(p, VIRTIO_MMIO_DEVICE_FEATURES);
	wr(p, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	*offered_out |= (uint64_t)rd(p, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
	return 0;
}

static int vmmio_set_features(struct nomdrv_dev *dev, uint64_t features)
{
	struct vmmio *p = to_vmmio(dev);

	wr(p, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	wr(p, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
	wr(p, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	wr(p, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
	add_status(p, VIRTIO_CONFIG_S_FEATURES_OK);
	if (!(rd(p, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK)) {
		complain(p, "the device refuses features 0x%llx", (unsigned long long)features);
		return -EOPNOTSUPP;
	}
	return 0;
}

/* 4.2.2.2 asks for accesses as wide as the field: 16 or 32 bits, else byte by byte. */
static void read_field(struct vmmio *p, unsigned int off, uint8_t *buf, unsigned int len)
{
	volatile uint8_t *at = p->base + VIRTIO_MMIO_CONFIG + off;
	unsigned int i;
	uint32_t v;

	if ((len == 2 || len == 4) && !(off & (len - 1))) {
		v = p->fn->ops->reg_read(p->fn, at, len);
		memcpy(buf, &v, len);
		return;
	}
	for (i = 0; i < len; i++)
		buf[i] = (uint8_t)p->fn->ops->reg_read(p->fn, at + i, 1);
}

static int vmmio_config_read(struct nomdrv_dev *dev, unsigned int off, void *buf, unsigned int len)
{
	struct vmmio *p = to_vmmio(dev);
	unsigned int tries;

	if (off > p->config_len || len > p->config_len - off) {
		complain(p, "configuration space of %u bytes has no field at %u", p->config_len, off);
		return -EPROTO;
	}
	for (tries = 0; tries < CONFIG_TRIES; tries++) {
		uint32_t gen = rd(p, VIRTIO_MMIO_CONFIG_GENERATION);

		read_field(p, off, buf, len);
		if (rd(p, VIRTIO_MMIO_CONFIG_GENERATION) == gen)
			return 0;
	}
	complain(p, "configuration space changed in each of %u reads", tries);
	return -EPROTO;
}

static int vmmio_queue_size(struct nomdrv_dev *dev, unsigned int index, unsigned int *size_out)
{
	struct vmmio *p = to_vmmio(dev);

	*size_out = 0;
	if (index >= QUEUES_MAX)
		return 0;
	wr(p, VIRTIO_MMIO_QUEUE_SEL, index);
	*size_out = rd(p, VIRTIO_MMIO_QUEUE_NUM_MAX);
	return 0;
}

static void irq_off(struct vmmio *p)
{
	unsigned int i;

	if (p->irq_on)
		p->fn->ops->irq(p->fn, -1, -1);
	p->irq_on = false;
	for (i = 0; i < MMIO_NR_IRQS; i++) {
		if (p->irq_fd[i] >= 0)
			close(p->irq_fd[i]);
		p->irq_fd[i] = -1;
	}
}

/* Both eventfds behind the interrupt; without: polling only. */
static void set_up_irq(struct vmmio *p)
{
	int err = 0;
	unsigned int i;

	if (p->irq_on)	/* a restart: somebody may be bound to it */
		return;
	for (i = 0; i < MMIO_NR_IRQS && !err; i++) {
		p->irq_fd[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (p->irq_fd[i] < 0)
			err = -errno;
	}
	if (!err)
		err = p->fn->ops->irq(p->fn, p->irq_fd[NOMDRV_IRQ_RX], p->irq_fd[NOMDRV_IRQ_CONFIG]);
	p->irq_on = !err;
	if (!err)
		return;
	irq_off(p);
	nomux_log(LOG_WARNING, "virtio-mmio: no interrupt, polling only, device=%s: %s", p->fn->name,
		  strerror(-err));
}

static int vmmio_queue_setup(struct nomdrv_dev *dev, const struct nomdrv_queue *q)
{
	struct vmmio *p = to_vmmio(dev);

	if (q->index >= QUEUES_MAX)
		return -EINVAL;
	wr(p, VIRTIO_MMIO_QUEUE_SEL, q->index);
	if (rd(p, VIRTIO_MMIO_QUEUE_READY)) {
		complain(p, "queue %u is ready after a reset", q->index);
		return -EPROTO;
	}
	wr(p, VIRTIO_MMIO_QUEUE_NUM, q->size);
	wr64(p, VIRTIO_MMIO_QUEUE_DESC_LOW, q->desc_dma);
	wr64(p, VIRTIO_MMIO_QUEUE_AVAIL_LOW, q->avail_dma);
	wr64(p, VIRTIO_MMIO_QUEUE_USED_LOW, q->used_dma);
	if (q->irq == NOMDRV_IRQ_RX)
		set_up_irq(p);
	p->queues |= 1ULL << q->index;
	wr(p, VIRTIO_MMIO_QUEUE_READY, 1);
	/* The register reads as it was written, and a queue that is not there as 0. */
	if (rd(p, VIRTIO_MMIO_QUEUE_READY) != 1) {
		complain(p, "queue %u does not become ready", q->index);
		return -EPROTO;
	}
	return 0;
}

static int vmmio_start(struct nomdrv_dev *dev)
{
	struct vmmio *p = to_vmmio(dev);
	uint32_t status;

	add_status(p, VIRTIO_CONFIG_S_DRIVER_OK);
	status = rd(p, VIRTIO_MMIO_STATUS);
	if (status == GONE || (status & VIRTIO_CONFIG_S_NEEDS_RESET) || !(status & VIRTIO_CONFIG_S_DRIVER_OK)) {
		complain(p, "the device does not start, status 0x%x", status);
		return -EIO;
	}
	return 0;
}

/*
 * A device that does not finish its reset loses its queues instead (4.2.2.2); also one
 * that seems to be gone, for that is no more than what a register said.
 */
static int vmmio_reset(struct nomdrv_dev *dev)
{
	struct vmmio *p = to_vmmio(dev);
	unsigned int i;
	int err;

	err = reset_wait(p);
	for (i = 0; err && i < QUEUES_MAX; i++) {
		if (!(p->queues >> i & 1))
			continue;
		wr(p, VIRTIO_MMIO_QUEUE_SEL, i);
		wr(p, VIRTIO_MMIO_QUEUE_READY, 0);
		rd(p, VIRTIO_MMIO_QUEUE_READY);	/* "to ensure synchronization" */
	}
	p->queues = 0;
	return err;
}

static int vmmio_status(struct nomdrv_dev *dev)
{
	uint32_t status = rd(to_vmmio(dev), VIRTIO_MMIO_STATUS);

	return status == GONE ? -EIO : (int)(status & 0xff);
}

static void vmmio_kick(struct nomdrv_dev *dev, unsigned int index)
{
	*(volatile uint32_t *)(to_vmmio(dev)->base + VIRTIO_MMIO_QUEUE_NOTIFY) = index;
}

static int vmmio_irq_fd(struct nomdrv_dev *dev, unsigned int irq)
{
	int fd = irq < MMIO_NR_IRQS ? to_vmmio(dev)->irq_fd[irq] : -1;

	return fd < 0 ? -EOPNOTSUPP : fd;
}

static int vmmio_irq_bind(struct nomdrv_dev *dev, unsigned int irq, struct nomux_core *core,
			  unsigned int event, uint64_t *count)
{
	struct vmmio *p = to_vmmio(dev);

	if (irq >= MMIO_NR_IRQS)
		return -EOPNOTSUPP;
	return p->fn->ops->irq_bind(p->fn, irq, core, event, p->irq_fd[irq], count);
}

static void vmmio_irq_unbind(struct nomdrv_dev *dev, unsigned int irq)
{
	struct vmmio *p = to_vmmio(dev);

	if (irq < MMIO_NR_IRQS)
		p->fn->ops->irq_unbind(p->fn, irq);
}

static int vmmio_dma_alloc(struct nomdrv_dev *dev, size_t bytes, struct nomdrv_dma *dma_out)
{
	struct vmmio *p = to_vmmio(dev);

	return p->fn->ops->dma_alloc(p->fn, bytes, dma_out);
}

static void vmmio_dma_free(struct nomdrv_dev *dev, struct nomdrv_dma *dma)
{
	struct vmmio *p = to_vmmio(dev);

	p->fn->ops->dma_free(p->fn, dma);
}

static void vmmio_destroy(struct nomdrv_dev *dev)
{
	struct vmmio *p = to_vmmio(dev);

	irq_off(p);
	p->fn->ops->close(p->fn);
	free(p);
}

static const struct nomdrv_trans_ops vmmio_ops = {
	.name = "virtio-mmio",
	.probe = vmmio_probe,
	.set_features = vmmio_set_features,
	.config_read = vmmio_config_read,
	.queue_size = vmmio_queue_size,
	.queue_setup = vmmio_queue_setup,
	.start = vmmio_start,
	.reset = vmmio_reset,
	.status = vmmio_status,
	.kick = vmmio_kick,
	.dma_alloc = vmmio_dma_alloc,
	.dma_free = vmmio_dma_free,
	.destroy = vmmio_destroy,
	.irq_fd = vmmio_irq_fd,
	.irq_bind = vmmio_irq_bind,
	.irq_unbind = vmmio_irq_unbind,
};

int vtrans_mmio_create(struct mmio_fn *fn, struct nomdrv_dev **out)
{
	struct vmmio *p = calloc(1, sizeof(*p));

	if (!p) {
		fn->ops->close(fn);
		return -ENOMEM;
	}
	nomdrv_dev_init(&p->dev, &vmmio_ops);
	p->fn = fn;
	p->irq_fd[NOMDRV_IRQ_RX] = p->irq_fd[NOMDRV_IRQ_CONFIG] = -1;
	*out = &p->dev;
	return 0;
}
