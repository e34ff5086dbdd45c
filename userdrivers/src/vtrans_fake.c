// SPDX-License-Identifier: MIT
/* A transport without a device; see the header. */
#include "vtrans_fake.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <linux/virtio_config.h>

#define BASE	(1ULL << 40)

static struct vtrans_fake *to_fake(struct nomdrv_dev *dev)
{
	return (struct vtrans_fake *)dev;
}

static int fails(struct vtrans_fake *f, enum vtrans_fake_op op)
{
	if (f->fail_op != op)
		return 0;
	if (f->fail_skip) {
		f->fail_skip--;
		return 0;
	}
	return f->fail_err;
}

static int fake_probe(struct nomdrv_dev *dev, uint64_t *offered_out)
{
	struct vtrans_fake *f = to_fake(dev);

	f->nr_queues = 0;
	f->accepted = 0;
	*offered_out = f->offered;
	return fails(f, FAKE_PROBE);
}

static int fake_set_features(struct nomdrv_dev *dev, uint64_t features)
{
	to_fake(dev)->accepted = features;
	return fails(to_fake(dev), FAKE_SET_FEATURES);
}

static int fake_config_read(struct nomdrv_dev *dev, unsigned int off, void *buf, unsigned int len)
{
	struct vtrans_fake *f = to_fake(dev);
	int err = fails(f, FAKE_CONFIG_READ);

	if (!err)
		memcpy(buf, (uint8_t *)&f->config + off, len);
	return err;
}

static int fake_queue_size(struct nomdrv_dev *dev, unsigned int index, unsigned int *size_out)
{
	struct vtrans_fake *f = to_fake(dev);

	/* As QEMU does: more than three are there when MQ is accepted, not before. */
	*size_out = index < 3 || (index < FAKE_NR_QUEUES && (f->accepted >> VIRTIO_NET_F_MQ & 1)) ?
		f->queue_size[index] : 0;
	return fails(f, FAKE_QUEUE_SIZE);
}

static int fake_queue_setup(struct nomdrv_dev *dev, const struct nomdrv_queue *queue)
{
	struct vtrans_fake *f = to_fake(dev);

	if (queue->index >= FAKE_NR_QUEUES)
		abort();	/* it has no size: nobody may ask for it */
	f->queue[queue->index] = *queue;
	f->nr_queues++;
	return fails(f, FAKE_QUEUE_SETUP);
}

static int fake_start(struct nomdrv_dev *dev)
{
	struct vtrans_fake *f = to_fake(dev);
	int err = fails(f, FAKE_START);

	f->started = !err;
	return err;
}

static int fake_reset(struct nomdrv_dev *dev)
{
	struct vtrans_fake *f = to_fake(dev);

	/* No transport can do two at once; give a second thread the time to try. */
	if (__atomic_exchange_n(&f->resetting, true, __ATOMIC_ACQ_REL))
		abort();
	sched_yield();
	f->started = false;
	f->resets++;
	__atomic_store_n(&f->resetting, false, __ATOMIC_RELEASE);
	return 0;
}

static int fake_status(struct nomdrv_dev *dev)
{
	struct vtrans_fake *f = to_fake(dev);
	int err = fails(f, FAKE_STATUS);

	return err ? err : f->status_bits;
}

static void fake_kick(struct nomdrv_dev *dev, unsigned int index)
{
	to_fake(dev)->kicks[index]++;
}

/* Zero pages, made as they are touched; around them none: who strays gets a signal. */
static uint8_t *map_guarded(struct vtrans_fake *f, size_t bytes)
{
	uint8_t *va;

	f->map_bytes = bytes + 2 * NOMDRV_CHUNK_BYTES;
	f->map = mmap(NULL, f->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (f->map == MAP_FAILED)
		return NULL;
	va = (uint8_t *)(((uintptr_t)f->map + NOMDRV_CHUNK_BYTES) & ~(NOMDRV_CHUNK_BYTES - 1));
	if (!mprotect(va, bytes, PROT_READ | PROT_WRITE))
		return va;
	munmap(f->map, f->map_bytes);
	return NULL;
}

static int fake_dma_alloc(struct nomdrv_dev *dev, size_t bytes, struct nomdrv_dma *dma_out)
{
	struct vtrans_fake *f = to_fake(dev);
	size_t nr = bytes >> NOMDRV_CHUNK_SHIFT, i;
	int err = fails(f, FAKE_DMA_ALLOC);

	if (err)
		return err;
	f->dma.bytes = bytes;
	f->dma.chunk_dma = calloc(nr, sizeof(uint64_t));
	if (!f->dma.chunk_dma)
		return -ENOMEM;
	f->dma.va = map_guarded(f, bytes);
	if (!f->dma.va) {
		free(f->dma.chunk_dma);
		return -ENOMEM;
	}
	for (i = 0; i < nr; i++)
		f->dma.chunk_dma[i] = BASE + ((f->contiguous ? i : nr - i) << NOMDRV_CHUNK_SHIFT);
	f->dma_live = true;
	*dma_out = f->dma;
	return 0;
}

static void fake_dma_free(struct nomdrv_dev *dev, struct nomdrv_dma *dma)
{
	struct vtrans_fake *f = to_fake(dev);

	if (f->started)
		abort();	/* the device would still write to it */
	munmap(f->map, f->map_bytes);
	free(dma->chunk_dma);
	*dma = (struct nomdrv_dma){ 0 };
	f->dma_live = false;
}

static void fake_destroy(struct nomdrv_dev *dev)
{
	struct vtrans_fake *f = to_fake(dev);

	if (f->started || f->dma_live)
		abort();
	if (f->destroyed)
		*f->destroyed = true;
	free(f);
}

static int fake_irq_fd(struct nomdrv_dev *dev, unsigned int irq)
{
	struct vtrans_fake *f = to_fake(dev);

	return irq == NOMDRV_IRQ_RX ? f->irq_fd : f->more_irq_fd[irq];
}

static const struct nomdrv_trans_ops fake_ops = {
	.name = "fake",
	.probe = fake_probe,
	.set_features = fake_set_features,
	.config_read = fake_config_read,
	.queue_size = fake_queue_size,
	.queue_setup = fake_queue_setup,
	.start = fake_start,
	.reset = fake_reset,
	.status = fake_status,
	.kick = fake_kick,
	.dma_alloc = fake_dma_alloc,
	.dma_free = fake_dma_free,
	.destroy = fake_destroy,
	.irq_fd = fake_irq_fd,
};

struct vtrans_fake *vtrans_fake_create(void)
{
	static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };
	struct vtrans_fake *f = calloc(1, sizeof(*f));
	unsigned int i;

	if (!f)
		abort();
	nomdrv_dev_init(&f->dev, &fake_ops);
	f->offered = 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_NET_F_MAC |
		1ULL << VIRTIO_NET_F_STATUS | 1ULL << VIRTIO_NET_F_MTU |
		1ULL << VIRTIO_NET_F_CSUM | 1ULL << VIRTIO_NET_F_GUEST_CSUM;
	memcpy(f->config.mac, mac, 6);
	f->config.mtu = 1500;
	f->config.status = VIRTIO_NET_S_LINK_UP;
	f->queue_size[0] = f->queue_size[1] = f->queue_size[2] = 8;
	f->fail_err = -ENXIO;
	f->irq_fd = -EOPNOTSUPP;
	for (i = 0; i < NOMDRV_NR_IRQS; i++)
		f->more_irq_fd[i] = -EOPNOTSUPP;
	return f;
}

void *vtrans_fake_va(const struct vtrans_fake *f, uint64_t dma)
{
	size_t i;

	for (i = 0; i < f->dma.bytes >> NOMDRV_CHUNK_SHIFT; i++)
		if (dma - f->dma.chunk_dma[i] < NOMDRV_CHUNK_BYTES)
			return f->dma.va + (i << NOMDRV_CHUNK_SHIFT) + (dma - f->dma.chunk_dma[i]);
	return NULL;
}

void vtrans_fake_use(struct vtrans_fake *f, unsigned int q, uint32_t id, uint32_t len)
{
	struct vring_used *u = vtrans_fake_used(f, q);
	uint16_t idx = u->idx;

	u->ring[idx & (f->queue[q].size - 1)].id = id;
	u->ring[idx & (f->queue[q].size - 1)].len = len;
	__atomic_store_n(&u->idx, (uint16_t)(idx + 1), __ATOMIC_RELEASE);
}

void vtrans_fake_use_packed(struct vtrans_fake *f, unsigned int q, unsigned int at, uint32_t id,
			    uint32_t len)
{
	struct vring_packed_desc *d = &vtrans_fake_packed(f, q)[at & (f->queue[q].size - 1)];
	uint16_t both = 1u << VRING_PACKED_DESC_F_AVAIL | 1u << VRING_PACKED_DESC_F_USED;

	d->id = (uint16_t)id;
	d->len = len;
	__atomic_store_n(&d->flags, at & f->queue[q].size ? 0 : both, __ATOMIC_RELEASE);
}
