// SPDX-License-Identifier: MIT
/* A vhost-user back-end that is a program; see the header. */
#include "vhu_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <linux/virtio_config.h>

#define BIT(n)	(1ULL << (n))

void vhu_rig_hang_up(struct vhu_rig *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	s->hang_up = false;
	memset(s->q, 0, sizeof(s->q));
	memset(&s->mem, 0, sizeof(s->mem));
}

static void reply(struct vhu_rig *s, struct vhu_msg *m, uint32_t size)
{
	size_t bytes = VHU_HDR_BYTES + size;

	m->flags = VHU_FLAG_VERSION | VHU_FLAG_REPLY;
	m->size = size;
	if (s->twist)
		s->twist(s, m, &bytes);
	if (bytes && send(s->fd, VHU_WIRE(m), bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
		s->hang_up = true;	/* it is gone */
	if (s->hang_up)
		vhu_rig_hang_up(s);
}

static struct vhu_rig_queue *queue(struct vhu_rig *s, unsigned int index)
{
	assert_true(index < VHU_RIG_QUEUES);
	return &s->q[index];
}

/* What a ring is made of lies in the memory that was shared. */
static void check_ring(const struct vhu_rig *s, const struct vhu_rig_queue *q)
{
	const uint64_t start = s->mem.user_addr, end = start + s->mem.bytes;

	assert_true(q->size >= 2);
	assert_true(q->addr.desc_user_addr >= start && q->addr.desc_user_addr + 16 * q->size <= end);
	assert_true(q->addr.avail_user_addr >= start && q->addr.avail_user_addr < end);
	assert_true(q->addr.used_user_addr >= start && q->addr.used_user_addr < end);
}

/* A request that has no reply of its own. */
static void take(struct vhu_rig *s, const struct vhu_msg *m)
{
	struct vhu_rig_queue *q;

	switch (m->request) {
	case VHU_SET_FEATURES:
		s->accepted = m->u.u64;
		break;
	case VHU_SET_MEM_TABLE:
		assert_int_equal(m->u.mem.nr, 1);
		s->mem = m->u.mem.region[0];
		break;
	case VHU_SET_VRING_NUM:
		queue(s, m->u.state.index)->size = m->u.state.num;
		break;
	case VHU_SET_VRING_ADDR:
		queue(s, m->u.addr.index)->addr = m->u.addr;
		break;
	case VHU_SET_VRING_KICK:
		q = queue(s, (unsigned int)m->u.u64 & VHU_VRING_INDEX_MASK);
		check_ring(s, q);
		q->on = true;
		q->at = 0;
		break;
	}
}

static void get_config(struct vhu_rig *s, struct vhu_msg *m)
{
	const uint32_t off = m->u.config.offset, len = m->u.config.size;

	assert_true(m->size == VHU_CONFIG_HDR_BYTES + len && len <= sizeof(s->config) && off <= sizeof(s->config) - len);
	memcpy(m->u.config.data, (uint8_t *)&s->config + off, len);
	reply(s, m, m->size);
}

static void answer(struct vhu_rig *s, struct vhu_msg *m)
{
	switch (m->request) {
	case VHU_GET_FEATURES:
		m->u.u64 = s->offered;
		reply(s, m, 8);
		return;
	case VHU_GET_PROTOCOL_FEATURES:
		m->u.u64 = s->protocol;
		reply(s, m, 8);
		return;
	case VHU_GET_CONFIG:
		get_config(s, m);
		return;
	case VHU_GET_VRING_BASE:
		queue(s, m->u.state.index)->on = false;
		reply(s, m, sizeof(m->u.state));
		return;
	}
	take(s, m);
	if (m->flags & VHU_FLAG_NEED_REPLY) {
		m->u.u64 = 0;
		reply(s, m, 8);
	}
}

void vhu_rig_serve(void *rig)
{
	struct vhu_rig *s = rig;
	char control[256];
	struct vhu_msg m = { 0 };
	struct iovec iov = { VHU_WIRE(&m), VHU_HDR_BYTES };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *c;

	if (s->fd < 0)
		s->fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (s->fd < 0 || recvmsg(s->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != VHU_HDR_BYTES)
		return;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS) {
		int fd;

		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		close(fd);
	}
	assert_true(m.size <= VHU_PAYLOAD_MAX);
	if (m.size)
		assert_int_equal(recv(s->fd, &m.u, m.size, MSG_WAITALL), m.size);
	s->served++;
	answer(s, &m);
}

bool vhu_rig_connected(struct vhu_rig *s)
{
	struct pollfd pfd = { .fd = s->fd, .events = POLLIN };

	if (s->fd >= 0 && poll(&pfd, 1, 0) == 1 && (pfd.revents & POLLHUP))
		vhu_rig_hang_up(s);
	return s->fd >= 0;
}

void *vhu_rig_va(const struct vhu_rig *s, uint64_t addr, size_t bytes)
{
	uint64_t off = addr - s->mem.guest_addr;

	return off <= s->mem.bytes && bytes <= s->mem.bytes - off ? (void *)(uintptr_t)(s->mem.user_addr + off) : NULL;
}

void vhu_rig_begin(struct vhu_rig *s)
{
	static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 0 };	/* an address that can be */
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	*s = (struct vhu_rig){ .fd = -1 };
	s->offered = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_MTU) | BIT(VIRTIO_NET_F_STATUS) |
		BIT(VHU_F_PROTOCOL_FEATURES);
	s->protocol = BIT(VHU_PROTOCOL_F_REPLY_ACK) | BIT(VHU_PROTOCOL_F_CONFIG);
	memcpy(s->config.mac, mac, sizeof(mac));
	s->config.mtu = 1280;
	snprintf(s->path, sizeof(s->path), "/tmp/vhu_rig.%d", (int)getpid());
	strcpy(a.sun_path, s->path);
	unlink(s->path);
	s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->listen_fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(s->listen_fd, 1), 0);
}

void vhu_rig_end(struct vhu_rig *s)
{
	vhu_rig_hang_up(s);
	close(s->listen_fd);
	unlink(s->path);
}
