// SPDX-License-Identifier: MIT
/*
 * virtio over PCI, modern interface (virtio 1.2, section 4.1).
 *
 * Where the registers are is vpci_caps.c's: a doorbell is a bare store to an address
 * computed from what that found and what the device says of the queue, and must
 * never land elsewhere.
 *
 * Legacy registers are not driven.  A transitional device is used through its
 * modern half, one without that half is refused with the reason.
 *
 * Interrupts: MSI-X vector 0 belongs to the receive queue, vector 1 to changes of
 * the configuration (a device with a single vector has none for those), further
 * ones to the receive queues of further pairs.  They are set up before the queue is
 * enabled and signal an eventfd from then on; the other queues have none.
 */
#include "pci_fn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>

#include "nomdrv/dev.h"
#include "nomux/log.h"

#include "internal.h"
#include "vpci_caps.h"

#define VENDOR_VIRTIO		0x1af4
#define DEVICE_MODERN_NET	(0x1040 + VIRTIO_ID_NET)
#define DEVICE_LEGACY_NET	0x1000
#define RESET_TIMEOUT_NS	2000000000LL
#define CONFIG_TRIES		16
#define GONE			0xff	/* a status that no device has */

struct vpci {
	struct nomdrv_dev dev;
	struct pci_fn *fn;
	struct vpci_caps at;
	unsigned int nr_queues;
	volatile uint16_t **doorbell;	/* by queue number; the control queue's may be a high one */
	unsigned int nr_doorbells;
	int irq_fd[NOMDRV_NR_IRQS];
};

static struct vpci *to_vpci(struct nomdrv_dev *dev)
{
	return (struct vpci *)dev;
}

#define complain(p, fmt, ...) \
	nomux_log(LOG_ERR, "virtio-pci: " fmt ", device=%s", ##__VA_ARGS__, (p)->fn->name)

/* ------------------------------------------------------------- registers --- */

#define COMMON(field)	offsetof(struct virtio_pci_common_cfg, field)

static uint32_t rd(struct vpci *p, unsigned int off, unsigned int width)
{
	return p->fn->ops->mmio_read(p->fn, p->at.common.base + off, width);
}

static void wr(struct vpci *p, unsigned int off, unsigned int width, uint32_t value)
{
	p->fn->ops->mmio_write(p->fn, p->at.common.base + off, width, value);
}

/* 4.1.3.1: 64-bit fields are written as two halves. */
static void wr64(struct vpci *p, unsigned int off, uint64_t value)
{
	wr(p, off, 4, (uint32_t)value);
	wr(p, off + 4, 4, (uint32_t)(value >> 32));
}

static uint8_t get_status(struct vpci *p)
{
	return (uint8_t)rd(p, COMMON(device_status), 1);
}

static void add_status(struct vpci *p, uint8_t bits)
{
	wr(p, COMMON(device_status), 1, get_status(p) | bits);
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/*
 * 4.1.4.3.2: after writing 0, wait until 0 is read.  All ones is what a bus
 * returns for a function that is no longer there: nothing to wait for.
 */
static int reset_wait(struct vpci *p)
{
	int64_t end = now_ns() + RESET_TIMEOUT_NS;
	uint8_t status;

	wr(p, COMMON(device_status), 1, 0);
	while ((status = get_status(p))) {
		if (status == GONE) {
			complain(p, "the function is gone: all bits of its registers read as one");
			return -EIO;
		}
		if (now_ns() > end) {
			complain(p, "reset does not finish, status 0x%x", status);
			return -ETIMEDOUT;
		}
		usleep(100);
	}
	return 0;
}

/* ------------------------------------------------------------- operations --- */

static int identify(struct vpci *p)
{
	uint16_t id[2], subsystem = 0;
	int err;

	err = vpci_cfg_read(p->fn, PCI_VENDOR_ID, id, sizeof(id));
	if (!err)
		err = vpci_cfg_read(p->fn, PCI_SUBSYSTEM_ID, &subsystem, sizeof(subsystem));
	if (err)
		return err;
	if (id[0] == VENDOR_VIRTIO && id[1] == DEVICE_MODERN_NET)
		return 0;
	if (id[0] == VENDOR_VIRTIO && id[1] == DEVICE_LEGACY_NET && subsystem == VIRTIO_ID_NET)
		return 0;
	complain(p, "%04x:%04x is not a virtio network device", id[0], id[1]);
	return -ENODEV;
}

/*
 * Memory and bus mastering on, INTx off: without MSI-X nobody would acknowledge it.
 * The bus is taken away also where it cannot be read what else is on.
 */
static int set_command(struct vpci *p, bool master)
{
	uint16_t cmd = 0;
	int err;

	err = vpci_cfg_read(p->fn, PCI_COMMAND, &cmd, sizeof(cmd));
	if (err && master)
		return err;
	cmd |= PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE;
	cmd = master ? cmd | PCI_COMMAND_MASTER : cmd & ~PCI_COMMAND_MASTER;
	return p->fn->ops->config_write(p->fn, PCI_COMMAND, &cmd, sizeof(cmd));
}

static int vpci_probe(struct nomdrv_dev *dev, uint64_t *offered_out)
{
	struct vpci *p = to_vpci(dev);
	int err;

	err = identify(p);
	if (!err)
		err = vpci_caps_find(p->fn, &p->at);
	if (err)
		return err;
	/* Not on the bus before it has forgotten what it was told before. */
	err = set_command(p, false);
	if (!err)
		err = reset_wait(p);
	if (!err)
		err = set_command(p, true);
	if (err)
		return err;
	add_status(p, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	add_status(p, VIRTIO_CONFIG_S_DRIVER);
	wr(p, COMMON(device_feature_select), 4, 0);
	*offered_out = rd(p, COMMON(device_feature), 4);
	wr(p, COMMON(device_feature_select), 4, 1);
	*offered_out |= (uint64_t)rd(p, COMMON(device_feature), 4) << 32;
	return 0;
}

static int vpci_set_features(struct nomdrv_dev *dev, uint64_t features)
{
	struct vpci *p = to_vpci(dev);

	wr(p, COMMON(guest_feature_select), 4, 0);
	wr(p, COMMON(guest_feature), 4, (uint32_t)features);
	wr(p, COMMON(guest_feature_select), 4, 1);
	wr(p, COMMON(guest_feature), 4, (uint32_t)(features >> 32));
	add_status(p, VIRTIO_CONFIG_S_FEATURES_OK);
	if (!(get_status(p) & VIRTIO_CONFIG_S_FEATURES_OK)) {
		complain(p, "the device refuses features 0x%llx", (unsigned long long)features);
		return -EOPNOTSUPP;
	}
	p->nr_queues = rd(p, COMMON(num_queues), 2);	/* QEMU makes further ones when MQ is accepted */
	return 0;
}

/* 4.1.3.1 asks for accesses as wide as the field: two bytes for a u16, else byte by byte. */
static void read_field(struct vpci *p, unsigned int off, uint8_t *buf, unsigned int len)
{
	unsigned int i;
	uint32_t v;

	if ((len == 2 || len == 4) && !(off & (len - 1))) {
		v = p->fn->ops->mmio_read(p->fn, p->at.config.base + off, len);
		memcpy(buf, &v, len);
		return;
	}
	for (i = 0; i < len; i++)
		buf[i] = (uint8_t)p->fn->ops->mmio_read(p->fn, p->at.config.base + off + i, 1);
}

static int vpci_config_read(struct nomdrv_dev *dev, unsigned int off, void *buf, unsigned int len)
{
	struct vpci *p = to_vpci(dev);
	unsigned int tries;

	if (off > p->at.config.len || len > p->at.config.len - off) {
		complain(p, "configuration space of %u bytes has no field at %u", p->at.config.len, off);
		return -EPROTO;
	}
	for (tries = 0; tries < CONFIG_TRIES; tries++) {
		uint32_t gen = rd(p, COMMON(config_generation), 1);

		read_field(p, off, buf, len);
		if (rd(p, COMMON(config_generation), 1) == gen)
			return 0;
	}
	complain(p, "configuration space changed in each of %u reads", tries);
	return -EPROTO;
}

static int vpci_queue_size(struct nomdrv_dev *dev, unsigned int index, unsigned int *size_out)
{
	struct vpci *p = to_vpci(dev);

	*size_out = 0;
	if (index >= p->nr_queues)
		return 0;
	wr(p, COMMON(queue_select), 2, index);
	*size_out = rd(p, COMMON(queue_size), 2);
	return 0;
}

/* What a vector has to be written into: the register of the queue selected, or the device's. */
static unsigned int vector_reg(unsigned int irq)
{
	return irq == NOMDRV_IRQ_CONFIG ? COMMON(msix_config) : COMMON(queue_msix_vector);
}

/* An eventfd on vector @irq, and that vector where it belongs; without one: polling only. */
static void route_irq(struct vpci *p, unsigned int irq)
{
	int *fd = &p->irq_fd[irq];
	int err = -EOPNOTSUPP;

	if (*fd >= 0) {	/* a restart: somebody may be bound to it */
		wr(p, vector_reg(irq), 2, irq);
		if (rd(p, vector_reg(irq), 2) != irq)
			complain(p, "no interrupt %u after the restart", irq);
		return;
	}
	if (p->fn->ops->nr_irqs(p->fn) > (int)irq) {
		*fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		err = *fd < 0 ? -errno : p->fn->ops->irq(p->fn, irq, *fd);
		if (!err) {
			wr(p, vector_reg(irq), 2, irq);
			if (rd(p, vector_reg(irq), 2) == irq)
				return;
			p->fn->ops->irq(p->fn, irq, -1);
			err = -ENOSPC;
		}
		if (*fd >= 0)
			close(*fd);
	}
	*fd = -1;
	wr(p, vector_reg(irq), 2, VIRTIO_MSI_NO_VECTOR);
	nomux_log(irq == NOMDRV_IRQ_CONFIG ? LOG_INFO : LOG_WARNING,
		  "virtio-pci: no interrupt for %s, polling only, vector=%u, device=%s: %s",
		  irq == NOMDRV_IRQ_CONFIG ? "changes of the configuration" : "received frames", irq, p->fn->name,
		  strerror(-err));
}

/* Room for the doorbell of queue @index. */
static int grow_doorbells(struct vpci *p, unsigned int index)
{
	volatile uint16_t **more;

	if (index < p->nr_doorbells)
		return 0;
	more = calloc(index + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	if (p->nr_doorbells)
		memcpy(more, p->doorbell, p->nr_doorbells * sizeof(*more));
	free(p->doorbell);
	p->doorbell = more;
	p->nr_doorbells = index + 1;
	return 0;
}

static int vpci_queue_setup(struct nomdrv_dev *dev, const struct nomdrv_queue *q)
{
	struct vpci *p = to_vpci(dev);
	uint64_t off;
	int err;

	wr(p, COMMON(queue_select), 2, q->index);
	if (rd(p, COMMON(queue_enable), 2)) {
		complain(p, "queue %u is enabled after a reset", q->index);
		return -EPROTO;
	}
	off = (uint64_t)rd(p, COMMON(queue_notify_off), 2) * p->at.notify_mult;
	if (off + 2 > p->at.notify.len) {
		complain(p, "queue %u: doorbell at 0x%llx exceeds the %u bytes there are", q->index,
			 (unsigned long long)off, p->at.notify.len);
		return -EPROTO;
	}
	err = grow_doorbells(p, q->index);
	if (err)
		return err;
	p->doorbell[q->index] = (volatile uint16_t *)(p->at.notify.base + off);
	wr(p, COMMON(queue_size), 2, q->size);
	wr64(p, COMMON(queue_desc_lo), q->desc_dma);
	wr64(p, COMMON(queue_avail_lo), q->avail_dma);
	wr64(p, COMMON(queue_used_lo), q->used_dma);
	if (q->irq == NOMDRV_IRQ_RX)
		route_irq(p, NOMDRV_IRQ_CONFIG);
	if (q->irq >= 0)
		route_irq(p, (unsigned int)q->irq);
	else
		wr(p, COMMON(queue_msix_vector), 2, VIRTIO_MSI_NO_VECTOR);
	wr(p, COMMON(queue_enable), 2, 1);
	return 0;
}

static int vpci_start(struct nomdrv_dev *dev)
{
	struct vpci *p = to_vpci(dev);
	uint8_t status;

	add_status(p, VIRTIO_CONFIG_S_DRIVER_OK);
	status = get_status(p);
	if ((status & VIRTIO_CONFIG_S_NEEDS_RESET) || !(status & VIRTIO_CONFIG_S_DRIVER_OK)) {
		complain(p, "the device does not start, status 0x%x", status);
		return -EIO;
	}
	return 0;
}

static void irq_off(struct vpci *p)
{
	unsigned int i;

	for (i = 0; i < NOMDRV_NR_IRQS; i++) {
		if (p->irq_fd[i] < 0)
			continue;
		p->fn->ops->irq(p->fn, i, -1);
		close(p->irq_fd[i]);
		p->irq_fd[i] = -1;
	}
}

/* A device that does not finish its reset loses the bus instead. */
static int vpci_reset(struct nomdrv_dev *dev)
{
	struct vpci *p = to_vpci(dev);
	int err;

	err = reset_wait(p);
	if (err)
		set_command(p, false);
	return err;
}

static int vpci_status(struct nomdrv_dev *dev)
{
	uint8_t status = get_status(to_vpci(dev));

	return status == GONE ? -EIO : status;
}

static void vpci_kick(struct nomdrv_dev *dev, unsigned int index)
{
	/* A NOP that tells an instruction counter (scripts/tcg-count): the frames leave. */
	__asm__ __volatile__(".byte 0x0f,0x1f,0x80,0x12,0x4d,0x4f,0x4e" ::: "memory");
	*to_vpci(dev)->doorbell[index] = (uint16_t)index;
}

static int vpci_irq_fd(struct nomdrv_dev *dev, unsigned int irq)
{
	int fd = to_vpci(dev)->irq_fd[irq];

	return fd < 0 ? -EOPNOTSUPP : fd;
}

static int vpci_irq_bind(struct nomdrv_dev *dev, unsigned int irq, struct nomux_core *core,
			 unsigned int event, uint64_t *count)
{
	struct vpci *p = to_vpci(dev);

	return p->fn->ops->irq_bind(p->fn, irq, core, event, p->irq_fd[irq], count);
}

static void vpci_irq_unbind(struct nomdrv_dev *dev, unsigned int irq)
{
	struct vpci *p = to_vpci(dev);

	p->fn->ops->irq_unbind(p->fn, irq);
}

static int vpci_dma_alloc(struct nomdrv_dev *dev, size_t bytes, struct nomdrv_dma *dma_out)
{
	struct vpci *p = to_vpci(dev);

	return p->fn->ops->dma_alloc(p->fn, bytes, dma_out);
}

static void vpci_dma_free(struct nomdrv_dev *dev, struct nomdrv_dma *dma)
{
	struct vpci *p = to_vpci(dev);

	p->fn->ops->dma_free(p->fn, dma);
}

static void vpci_destroy(struct nomdrv_dev *dev)
{
	struct vpci *p = to_vpci(dev);

	irq_off(p);
	free(p->doorbell);
	p->fn->ops->close(p->fn);
	free(p);
}

static const struct nomdrv_trans_ops vpci_ops = {
	.name = "virtio-pci",
	.probe = vpci_probe,
	.set_features = vpci_set_features,
	.config_read = vpci_config_read,
	.queue_size = vpci_queue_size,
	.queue_setup = vpci_queue_setup,
	.start = vpci_start,
	.reset = vpci_reset,
	.status = vpci_status,
	.kick = vpci_kick,
	.dma_alloc = vpci_dma_alloc,
	.dma_free = vpci_dma_free,
	.destroy = vpci_destroy,
	.irq_fd = vpci_irq_fd,
	.irq_bind = vpci_irq_bind,
	.irq_unbind = vpci_irq_unbind,
};

int vtrans_pci_modern_create(struct pci_fn *fn, struct nomdrv_dev **out)
{
	struct vpci *p = calloc(1, sizeof(*p));
	unsigned int i;

	if (!p) {
		fn->ops->close(fn);
		return -ENOMEM;
	}
	nomdrv_dev_init(&p->dev, &vpci_ops);
	p->fn = fn;
	for (i = 0; i < NOMDRV_NR_IRQS; i++)
		p->irq_fd[i] = -1;
	*out = &p->dev;
	return 0;
}
