// SPDX-License-Identifier: MIT
/* The socket to a vhost-user back-end; see the header. */
#include "vhost_user_sock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "nomux/log.h"

#include "vhost_user_msg.h"

#define REPLY_TIMEOUT_NS	5000000000LL

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

void vhu_sock_close(struct vhu_sock *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	s->ack = false;
}

/* -EAGAIN: others wait to be accepted, and no more may. */
static int try_connect(struct vhu_sock *s)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	memcpy(addr.sun_path, s->path, sizeof(s->path));
	return connect(s->fd, (struct sockaddr *)&addr, sizeof(addr)) ? -errno : 0;
}

int vhu_sock_connect(struct vhu_sock *s)
{
	int64_t end = now_ns() + REPLY_TIMEOUT_NS;
	int err;

	vhu_sock_close(s);
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	err = s->fd < 0 ? -errno : try_connect(s);
	while (err == -EAGAIN && now_ns() < end) {
		if (s->wait)
			s->wait(s->wait_arg);
		else
			usleep(10000);
		err = try_connect(s);
	}
	if (!err)
		return 0;
	nomux_log(LOG_ERR, "vhost-user: no back-end, socket=%s: %s", s->path, strerror(-err));
	vhu_sock_close(s);
	return err;
}

bool vhu_sock_alive(struct vhu_sock *s)
{
	ssize_t n;
	char c;

	if (s->fd < 0)
		return false;
	n = recv(s->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* Wait until the socket is readable or writable; the caller loops and sets the bound. */
static void wait_a_bit(struct vhu_sock *s, short events)
{
	struct pollfd pfd = { .fd = s->fd, .events = events };

	if (s->wait)
		s->wait(s->wait_arg);
	else
		poll(&pfd, 1, 100);
}

static int send_msg(struct vhu_sock *s, struct vhu_msg *m, uint32_t request, uint32_t size, int fd, int64_t end)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = VHU_WIRE(m), .iov_len = VHU_HDR_BYTES + size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

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
		ssize_t n = sendmsg(s->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n == (ssize_t)iov.iov_len)
			return 0;
		if (n >= 0)
			return -EPROTO;	/* a stream socket takes messages this small whole or not */
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		if (now_ns() > end)
			return -ETIMEDOUT;
		wait_a_bit(s, POLLOUT);
	}
}

static int recv_all(struct vhu_sock *s, void *buf, size_t len, int64_t end)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = recv(s->fd, (char *)buf + done, len - done, MSG_DONTWAIT);

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
		wait_a_bit(s, POLLIN);
	}
	return 0;
}

/* The reply to @request, with a payload of at least @min bytes. */
static int recv_reply(struct vhu_sock *s, struct vhu_msg *m, uint32_t request, uint32_t min, int64_t end)
{
	int err;

	err = recv_all(s, VHU_WIRE(m), VHU_HDR_BYTES, end);
	if (err)
		return err;
	if (m->request != request || !(m->flags & VHU_FLAG_REPLY) ||
	    (m->flags & VHU_FLAG_VERSION_MASK) != VHU_FLAG_VERSION ||
	    m->size < min || m->size > VHU_PAYLOAD_MAX) {
		nomux_log(LOG_ERR, "vhost-user: bad reply to request %u: request %u, flags 0x%x, size %u, socket=%s",
			  request, m->request, m->flags, m->size, s->path);
		return -EPROTO;
	}
	return recv_all(s, &m->u, m->size, end);
}

/* The first thing that goes wrong is the last: where the next message begins is not known any more. */
static int broken(struct vhu_sock *s, uint32_t request, int err)
{
	nomux_log(LOG_ERR, "vhost-user: the back-end does not answer request %u as it should, connection closed, socket=%s: %s",
		  request, s->path, strerror(-err));
	vhu_sock_close(s);
	return err;
}

int vhu_sock_ask(struct vhu_sock *s, struct vhu_msg *m, uint32_t request, uint32_t size, uint32_t min)
{
	int64_t end = now_ns() + REPLY_TIMEOUT_NS;
	int err;

	if (s->fd < 0)
		return -ENOTCONN;
	err = send_msg(s, m, request, size, -1, end);
	if (!err)
		err = recv_reply(s, m, request, min, end);
	return err ? broken(s, request, err) : 0;
}

int vhu_sock_tell(struct vhu_sock *s, struct vhu_msg *m, uint32_t request, uint32_t size, int fd)
{
	int64_t end = now_ns() + REPLY_TIMEOUT_NS;
	int err;

	if (s->fd < 0)
		return -ENOTCONN;
	m->flags = s->ack ? VHU_FLAG_NEED_REPLY : 0;
	err = send_msg(s, m, request, size, fd, end);
	if (!err && s->ack)
		err = recv_reply(s, m, request, sizeof(m->u.u64), end);
	if (err)
		return broken(s, request, err);
	if (!s->ack || !m->u.u64)
		return 0;
	nomux_log(LOG_ERR, "vhost-user: request %u refused with %llu, socket=%s", request,
		  (unsigned long long)m->u.u64, s->path);
	return -EPROTO;
}
