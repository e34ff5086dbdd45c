// SPDX-License-Identifier: MIT
/*
 * virtio over vhost-user, front-end: hosted mode.
 *
 * The device is another program (or another part of the same one); memory is a
 * memfd that it maps, doorbells and interrupts are eventfds.  So the rings and
 * everything above them run natively, under sanitizers and profilers, without
 * a virtual machine.
 *
 * Descriptors carry "guest" addresses starting at GUEST_BASE, which is not
 * where the memory is mapped here: a missing translation shows at once.
 *
 * With REPLY_ACK each message is acknowledged; without, a GET_FEATURES after the
 * last one is as good: the back-end works them off in order.
 */
#include "vtrans_vhost_user.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <syslog.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "nomdrv/dev.h"
#include "nomdrv/vnet.h"
#include "nomux/log.h"

#include "internal.h"
#include "vhost_user_msg.h"
#include "vhost_user_sock.h"

#define NR_QUEUES		3
#define GUEST_BASE		(1ULL << 32)
#define QUEUE_SIZE_DEFAULT	256
#define BIT(n)			(1ULL << (n))
#define PACKED_BASE		0x80008000u	/* both positions 0, both wrap counters 1 */

/* What lies in configuration space, which a back-end need not have. */
#define CONFIG_FEATURES		(BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_MTU) | \
				 BIT(VIRTIO_NET_F_STATUS))

struct vhu_front {
	struct nomdrv_dev dev;
	struct vhu_sock sock;
	unsigned int queue_size;
	uint64_t protocol;	/* VHU_PROTOCOL_F_* in use */
	bool has_protocol;
	int kick_fd[NR_QUEUES];
	int call_fd[NR_QUEUES];
	bool running[NR_QUEUES];
	int mem_fd;	/* for a back-end that comes back */
	struct vhu_mem_region mem;
};

static struct vhu_front *to_front(struct nomdrv_dev *dev)
{
	return (struct vhu_front *)dev;
}

/* -------------------------------------------------------------- messages --- */

static int get_u64(struct vhu_front *f, uint32_t request, uint64_t *out)
{
	struct vhu_msg m = { 0 };
	int err;

	err = vhu_sock_ask(&f->sock, &m, request, 0, sizeof(m.u.u64));
	if (!err)
		*out = m.u.u64;
	return err;
}

static int set_u64(struct vhu_front *f, uint32_t request, uint64_t v, int fd)
{
	struct vhu_msg m = { .u.u64 = v };

	return vhu_sock_tell(&f->sock, &m, request, sizeof(m.u.u64), fd);
}

static int set_state(struct vhu_front *f, uint32_t request, unsigned int index, unsigned int num)
{
	struct vhu_msg m = { .u.state = { .index = index, .num = num } };

	return vhu_sock_tell(&f->sock, &m, request, sizeof(m.u.state), -1);
}

/* ------------------------------------------------------------- operations --- */

static void disconnect(struct vhu_front *f)
{
	vhu_sock_close(&f->sock);
	f->protocol = 0;
	f->has_protocol = false;
	memset(f->running, 0, sizeof(f->running));
}

static int agree_protocol(struct vhu_front *f)
{
	uint64_t offered, use = BIT(VHU_PROTOCOL_F_REPLY_ACK) | BIT(VHU_PROTOCOL_F_CONFIG);
	int err;

	err = get_u64(f, VHU_GET_PROTOCOL_FEATURES, &offered);
	if (err)
		return err;
	use &= offered;
	err = set_u64(f, VHU_SET_PROTOCOL_FEATURES, use, -1);
	if (err)
		return err;
	f->protocol = use;
	f->sock.ack = use & BIT(VHU_PROTOCOL_F_REPLY_ACK);
	f->has_protocol = true;
	return 0;
}

static int front_probe(struct nomdrv_dev *dev, uint64_t *offered_out)
{
	struct vhu_front *f = to_front(dev);
	struct vhu_msg m = { 0 };
	uint64_t offered;
	int err;

	disconnect(f);
	err = vhu_sock_connect(&f->sock);
	if (err)
		return err;
	err = get_u64(f, VHU_GET_FEATURES, &offered);
	if (!err && (offered & BIT(VHU_F_PROTOCOL_FEATURES)))
		err = agree_protocol(f);
	if (!err)
		err = vhu_sock_tell(&f->sock, &m, VHU_SET_OWNER, 0, -1);
	if (err) {
		disconnect(f);
		return err;
	}
	offered &= ~BIT(VHU_F_PROTOCOL_FEATURES);
	if (!(f->protocol & BIT(VHU_PROTOCOL_F_CONFIG)))
		offered &= ~CONFIG_FEATURES;
	*offered_out = offered;
	return 0;
}

static int tell_memory(struct vhu_front *f)
{
	struct vhu_msg m = { .u.mem = { .nr = 1, .region = { f->mem } } };

	return vhu_sock_tell(&f->sock, &m, VHU_SET_MEM_TABLE, 8 + sizeof(struct vhu_mem_region), f->mem_fd);
}

static int front_set_features(struct nomdrv_dev *dev, uint64_t features)
{
	struct vhu_front *f = to_front(dev);
	int err;

	if (f->has_protocol)
		features |= BIT(VHU_F_PROTOCOL_FEATURES);
	err = set_u64(f, VHU_SET_FEATURES, features, -1);
	/* In a restart the memory is there already. */
	return err || f->mem_fd < 0 ? err : tell_memory(f);
}

static int front_config_read(struct nomdrv_dev *dev, unsigned int off, void *buf, unsigned int len)
{
	struct vhu_front *f = to_front(dev);
	struct vhu_msg m = { .u.config = { .offset = off, .size = len } };
	int err;

	if (len > VHU_CONFIG_BYTES_MAX)
		return -EINVAL;
	err = vhu_sock_ask(&f->sock, &m, VHU_GET_CONFIG, VHU_CONFIG_HDR_BYTES + len, VHU_CONFIG_HDR_BYTES);
	if (err)
		return err;
	if (m.size != VHU_CONFIG_HDR_BYTES + len || m.u.config.offset != off ||
	    m.u.config.size != len) {
		nomux_log(LOG_ERR, "vhost-user: asked for %u bytes of configuration at %u, got %u at %u, socket=%s",
			  len, off, m.u.config.size, m.u.config.offset, f->sock.path);
		vhu_sock_close(&f->sock);
		return -EPROTO;
	}
	memcpy(buf, m.u.config.data, len);
	return 0;
}

/* The protocol cannot say: the front-end chooses. */
static int front_queue_size(struct nomdrv_dev *dev, unsigned int index, unsigned int *size_out)
{
	*size_out = index < NR_QUEUES ? to_front(dev)->queue_size : 0;
	return 0;
}

static int front_dma_alloc(struct nomdrv_dev *dev, size_t bytes, struct nomdrv_dma *dma_out)
{
	struct vhu_front *f = to_front(dev);
	size_t nr = bytes >> NOMDRV_CHUNK_SHIFT, i;
	uint64_t *chunk_dma;
	int fd, err;
	void *va;

	fd = memfd_create("nomdrv", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	chunk_dma = calloc(nr, sizeof(*chunk_dma));
	if (!chunk_dma || ftruncate(fd, (off_t)bytes)) {
		err = -ENOMEM;
		goto err_close;
	}
	va = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (va == MAP_FAILED) {
		err = -errno;
		goto err_close;
	}
	f->mem = (struct vhu_mem_region){
		.guest_addr = GUEST_BASE, .bytes = bytes, .user_addr = (uintptr_t)va,
	};
	f->mem_fd = fd;
	err = tell_memory(f);
	if (err)
		goto err_unmap;
	for (i = 0; i < nr; i++)
		chunk_dma[i] = GUEST_BASE + (i << NOMDRV_CHUNK_SHIFT);
	*dma_out = (struct nomdrv_dma){ .va = va, .bytes = bytes, .chunk_dma = chunk_dma };
	return 0;

err_unmap:
	munmap(va, bytes);
	f->mem_fd = -1;
err_close:
	free(chunk_dma);
	close(fd);
	return err;
}

static void front_dma_free(struct nomdrv_dev *dev, struct nomdrv_dma *dma)
{
	struct vhu_front *f = to_front(dev);

	munmap(dma->va, dma->bytes);
	close(f->mem_fd);
	f->mem_fd = -1;
	free(dma->chunk_dma);
	*dma = (struct nomdrv_dma){ 0 };
}

static int new_eventfd(int *fd)
{
	int err;

	if (*fd >= 0)
		close(*fd);
	*fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (*fd >= 0)
		return 0;
	err = -errno;
	nomux_log(LOG_ERR, "vhost-user: no eventfd: %s", strerror(-err));
	return err;
}

static int front_queue_setup(struct nomdrv_dev *dev, const struct nomdrv_queue *q)
{
	struct vhu_front *f = to_front(dev);
	struct vhu_msg m = { .u.addr = {
		.index = q->index,
		.desc_user_addr = (uintptr_t)q->desc,
		.avail_user_addr = (uintptr_t)q->avail,
		.used_user_addr = (uintptr_t)q->used,
	} };
	int err;

	err = new_eventfd(&f->kick_fd[q->index]);
	if (!err && f->call_fd[q->index] < 0)	/* somebody may be waiting for that one */
		err = new_eventfd(&f->call_fd[q->index]);
	if (!err)
		err = set_state(f, VHU_SET_VRING_NUM, q->index, q->size);
	if (!err)
		err = set_state(f, VHU_SET_VRING_BASE, q->index,
				nomdrv_dev_has(dev, VIRTIO_F_RING_PACKED) ? PACKED_BASE : 0);
	if (!err)
		err = vhu_sock_tell(&f->sock, &m, VHU_SET_VRING_ADDR, sizeof(m.u.addr), -1);
	if (!err)
		err = set_u64(f, VHU_SET_VRING_CALL, q->index, f->call_fd[q->index]);
	if (!err)
		err = set_u64(f, VHU_SET_VRING_KICK, q->index, f->kick_fd[q->index]);
	if (!err)
		f->running[q->index] = true;
	return err;
}

static int front_start(struct nomdrv_dev *dev)
{
	struct vhu_front *f = to_front(dev);
	unsigned int i;
	uint64_t unused;
	int err = 0;

	/* Without protocol features a ring runs as soon as it has a kick descriptor. */
	for (i = 0; f->has_protocol && !err && i < NR_QUEUES; i++)
		if (f->running[i])
			err = set_state(f, VHU_SET_VRING_ENABLE, i, 1);
	return err ? err : get_u64(f, VHU_GET_FEATURES, &unused);
}

/*
 * GET_VRING_BASE stops a ring, and its reply says that the back-end is done
 * with it.  One that does not reply loses the connection; it must then let go
 * of the memory, which stays mapped on its side only.
 */
static int front_reset(struct nomdrv_dev *dev)
{
	struct vhu_front *f = to_front(dev);
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < NR_QUEUES; i++) {
		struct vhu_msg m = { .u.state = { .index = i } };

		if (!f->running[i])
			continue;
		err = vhu_sock_ask(&f->sock, &m, VHU_GET_VRING_BASE, sizeof(m.u.state), sizeof(m.u.state));
	}
	disconnect(f);
	return err;
}

static int front_status(struct nomdrv_dev *dev)
{
	if (!vhu_sock_alive(&to_front(dev)->sock))
		return -EIO;
	return VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |
		VIRTIO_CONFIG_S_DRIVER_OK;
}

static void front_kick(struct nomdrv_dev *dev, unsigned int index)
{
	static const uint64_t one = 1;
	ssize_t n;

	/* Fails only when 2^64 - 1 doorbells wait: the back-end will look. */
	n = write(to_front(dev)->kick_fd[index], &one, sizeof(one));
	(void)n;
}

static int front_irq_fd(struct nomdrv_dev *dev, unsigned int irq)
{
	return irq == NOMDRV_IRQ_RX ? to_front(dev)->call_fd[0] : -EOPNOTSUPP;
}

static void front_destroy(struct nomdrv_dev *dev)
{
	struct vhu_front *f = to_front(dev);
	unsigned int i;

	disconnect(f);
	for (i = 0; i < NR_QUEUES; i++) {
		if (f->kick_fd[i] >= 0)
			close(f->kick_fd[i]);
		if (f->call_fd[i] >= 0)
			close(f->call_fd[i]);
	}
	free(f);
}

static const struct nomdrv_trans_ops front_ops = {
	.name = "vhost-user",
	.probe = front_probe,
	.set_features = front_set_features,
	.config_read = front_config_read,
	.queue_size = front_queue_size,
	.queue_setup = front_queue_setup,
	.start = front_start,
	.reset = front_reset,
	.status = front_status,
	.kick = front_kick,
	.dma_alloc = front_dma_alloc,
	.dma_free = front_dma_free,
	.destroy = front_destroy,
	.irq_fd = front_irq_fd,
};

int vtrans_vhost_user_create(const char *path, const struct vnet_opts *o, struct nomdrv_dev **out)
{
	struct vhu_front *f;
	unsigned int i;

	if (strlen(path) >= sizeof(f->sock.path))
		return -ENAMETOOLONG;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	nomdrv_dev_init(&f->dev, &front_ops);
	memcpy(f->sock.path, path, strlen(path) + 1);
	f->queue_size = o->queue_size ? o->queue_size : QUEUE_SIZE_DEFAULT;
	f->sock.wait = o->wait;
	f->sock.wait_arg = o->wait_arg;
	f->sock.fd = f->mem_fd = -1;
	for (i = 0; i < NR_QUEUES; i++)
		f->kick_fd[i] = f->call_fd[i] = -1;
	*out = &f->dev;
	return 0;
}
