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
 * Control messages are synchronous.  With REPLY_ACK each is acknowledged;
 * without, a GET_FEATURES after the last one is as good: the back-end works
 * them off in order.
 */
#include "vtrans_vhost_user.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "nomdrv/dev.h"
#include "nomdrv/vnet.h"
#include "nomux/log.h"

#include "internal.h"
#include "vhost_user_msg.h"

#define NR_QUEUES		3
#define GUEST_BASE		(1ULL << 32)
#define REPLY_TIMEOUT_NS	5000000000LL
#define QUEUE_SIZE_DEFAULT	256
#define BIT(n)			(1ULL << (n))
#define PACKED_BASE		0x80008000u	/* both positions 0, both wrap counters 1 */

/* What lies in configuration space, which a back-end need not have. */
#define CONFIG_FEATURES		(BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_MTU) | \
				 BIT(VIRTIO_NET_F_STATUS))

struct vhu_front {
	struct nomdrv_dev dev;
	char path[108];
	unsigned int queue_size;
	void (*wait)(void *arg);
	void *wait_arg;
	int sock;
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

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* -------------------------------------------------------------- messages --- */

/* Wait until the socket is readable or writable; the caller loops and sets the bound. */
static void wait_a_bit(struct vhu_front *f, short events)
{
	struct pollfd pfd = { .fd = f->sock, .events = events };

	if (f->wait)
		f->wait(f->wait_arg);
	else
		poll(&pfd, 1, 100);
}

static int send_msg(struct vhu_front *f, struct vhu_msg *m, uint32_t request, uint32_t size, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = VHU_WIRE(m), .iov_len = VHU_HDR_BYTES + size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int64_t end = now_ns() + REPLY_TIMEOUT_NS;
	struct cmsghdr *c;

	if (f->sock < 0)
		return -ENOTCONN;
	m->request = request;
	m->size = size;
	m->flags |= VHU_FLAG_VERSION;
	if (fd >= 0) {
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	for (;;) {
		ssize_t n = sendmsg(f->sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n == (ssize_t)iov.iov_len)
			return 0;
		if (n >= 0)
			return -EPROTO;	/* a stream socket takes messages this small whole or not */
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		if (now_ns() > end)
			return -ETIMEDOUT;
		wait_a_bit(f, POLLOUT);
	}
}

static int recv_all(struct vhu_front *f, void *buf, size_t len)
{
	int64_t end = now_ns() + REPLY_TIMEOUT_NS;
	size_t done = 0;

	while (done < len) {
		ssize_t n = recv(f->sock, (char *)buf + done, len - done, MSG_DONTWAIT);

		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		if (!n)
			return -ECONNRESET;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		if (now_ns() > end)
			return -ETIMEDOUT;
		wait_a_bit(f, POLLIN);
	}
	return 0;
}

/* The reply to @request, with a payload of at least @min bytes. */
static int recv_reply(struct vhu_front *f, struct vhu_msg *m, uint32_t request, uint32_t min)
{
	int err;

	err = recv_all(f, VHU_WIRE(m), VHU_HDR_BYTES);
	if (err)
		return err;
	if (m->request != request || !(m->flags & VHU_FLAG_REPLY) ||
	    (m->flags & VHU_FLAG_VERSION_MASK) != VHU_FLAG_VERSION ||
	    m->size < min || m->size > VHU_PAYLOAD_MAX) {
		nomux_log(LOG_ERR, "vhost-user: bad reply to request %u: request %u, flags 0x%x, size %u, socket=%s",
			  request, m->request, m->flags, m->size, f->path);
		return -EPROTO;
	}
	return recv_all(f, &m->u, m->size);
}

static int get_u64(struct vhu_front *f, uint32_t request, uint64_t *out)
{
	struct vhu_msg m = { 0 };
	int err;

	err = send_msg(f, &m, request, 0, -1);
	if (!err)
		err = recv_reply(f, &m, request, sizeof(m.u.u64));
	if (!err)
		*out = m.u.u64;
	return err;
}

/* A request without a reply of its own. */
static int set_msg(struct vhu_front *f, struct vhu_msg *m, uint32_t request, uint32_t size, int fd)
{
	bool ack = f->protocol & BIT(VHU_PROTOCOL_F_REPLY_ACK);
	int err;

	m->flags = ack ? VHU_FLAG_NEED_REPLY : 0;
	err = send_msg(f, m, request, size, fd);
	if (err || !ack)
		return err;
	err = recv_reply(f, m, request, sizeof(m->u.u64));
	if (!err && m->u.u64) {
		nomux_log(LOG_ERR, "vhost-user: request %u refused with %llu, socket=%s", request,
			  (unsigned long long)m->u.u64, f->path);
		err = -EPROTO;
	}
	return err;
}

static int set_u64(struct vhu_front *f, uint32_t request, uint64_t v, int fd)
{
	struct vhu_msg m = { .u.u64 = v };

	return set_msg(f, &m, request, sizeof(m.u.u64), fd);
}

static int set_state(struct vhu_front *f, uint32_t request, unsigned int index, unsigned int num)
{
	struct vhu_msg m = { .u.state = { .index = index, .num = num } };

	return set_msg(f, &m, request, sizeof(m.u.state), -1);
}

/* ------------------------------------------------------------- operations --- */

static void disconnect(struct vhu_front *f)
{
	if (f->sock >= 0)
		close(f->sock);
	f->sock = -1;
	f->protocol = 0;
	f->has_protocol = false;
	memset(f->running, 0, sizeof(f->running));
}

static int connect_to(struct vhu_front *f)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int err;

	disconnect(f);
	memcpy(addr.sun_path, f->path, sizeof(f->path));
	f->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (f->sock < 0)
		return -errno;
	if (connect(f->sock, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return 0;
	err = -errno;
	nomux_log(LOG_ERR, "vhost-user: no back-end, socket=%s: %s", f->path, strerror(-err));
	disconnect(f);
	return err;
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
	f->has_protocol = true;
	return 0;
}

static int front_probe(struct nomdrv_dev *dev, uint64_t *offered_out)
{
	struct vhu_front *f = to_front(dev);
	struct vhu_msg m = { 0 };
	uint64_t offered;
	int err;

	err = connect_to(f);
	if (err)
		return err;
	err = get_u64(f, VHU_GET_FEATURES, &offered);
	if (!err && (offered & BIT(VHU_F_PROTOCOL_FEATURES)))
		err = agree_protocol(f);
	if (!err)
		err = set_msg(f, &m, VHU_SET_OWNER, 0, -1);
	if (err) {
		nomux_log(LOG_ERR, "vhost-user: the back-end does not answer as it should, socket=%s: %s",
			  f->path, strerror(-err));
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

	return set_msg(f, &m, VHU_SET_MEM_TABLE, 8 + sizeof(struct vhu_mem_region), f->mem_fd);
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
	err = send_msg(f, &m, VHU_GET_CONFIG, VHU_CONFIG_HDR_BYTES + len, -1);
	if (!err)
		err = recv_reply(f, &m, VHU_GET_CONFIG, VHU_CONFIG_HDR_BYTES);
	if (err)
		return err;
	if (m.size != VHU_CONFIG_HDR_BYTES + len || m.u.config.offset != off ||
	    m.u.config.size != len) {
		nomux_log(LOG_ERR, "vhost-user: asked for %u bytes of configuration at %u, got %u at %u, socket=%s",
			  len, off, m.u.config.size, m.u.config.offset, f->path);
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
	if (*fd >= 0)
		close(*fd);
	*fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return *fd < 0 ? -errno : 0;
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
		err = set_msg(f, &m, VHU_SET_VRING_ADDR, sizeof(m.u.addr), -1);
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
		err = send_msg(f, &m, VHU_GET_VRING_BASE, sizeof(m.u.state), -1);
		if (!err)
			err = recv_reply(f, &m, VHU_GET_VRING_BASE, sizeof(m.u.state));
	}
	disconnect(f);
	return err;
}

static int front_status(struct nomdrv_dev *dev)
{
	struct vhu_front *f = to_front(dev);
	char c;

	if (f->sock < 0 || recv(f->sock, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
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

	if (strlen(path) >= sizeof(f->path))
		return -ENAMETOOLONG;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	nomdrv_dev_init(&f->dev, &front_ops);
	memcpy(f->path, path, strlen(path) + 1);
	f->queue_size = o->queue_size ? o->queue_size : QUEUE_SIZE_DEFAULT;
	f->wait = o->wait;
	f->wait_arg = o->wait_arg;
	f->sock = f->mem_fd = -1;
	for (i = 0; i < NR_QUEUES; i++)
		f->kick_fd[i] = f->call_fd[i] = -1;
	*out = &f->dev;
	return 0;
}
