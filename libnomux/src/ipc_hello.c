// SPDX-License-Identifier: MIT
/*
 * Setting a channel up: short messages of one size over a unix socket, the
 * first with the memory's descriptor.
 *
 * The peer may say anything, or nothing: each wait has the deadline of the
 * whole set-up, no more is read than one message, and descriptors that were not
 * asked for are closed.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ipc_internal.h"

#define FDS_MAX 8	/* how many a peer may send in vain; more are dropped by the kernel */

uint64_t nomux__ipc_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* 0 when the socket is ready, -ETIMEDOUT. */
static int await(int sock, short events, uint64_t deadline_ns)
{
	struct pollfd p = { .fd = sock, .events = events };
	uint64_t now = nomux__ipc_clock_ns();
	struct timespec ts;
	int n;

	if (now >= deadline_ns)
		return -ETIMEDOUT;
	now = deadline_ns - now;
	ts.tv_sec = (time_t)(now / 1000000000u);
	ts.tv_nsec = (long)(now % 1000000000u);
	n = ppoll(&p, 1, &ts, NULL);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	if (p.revents & POLLNVAL)
		return -EBADF;
	return n ? 0 : -ETIMEDOUT;
}

static bool again(ssize_t n)
{
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

int nomux__ipc_say(int sock, const struct ipc_hello *h, int fd, uint64_t deadline_ns)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)h, sizeof(*h) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;
	ssize_t n;
	int err;

	if (fd >= 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	for (;;) {
		n = sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (!again(n))
			break;
		err = await(sock, POLLOUT, deadline_ns);
		if (err)
			return err;
	}
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	return n == (ssize_t)sizeof(*h) ? 0 : -EPROTO;	/* so little fits, or the socket is odd */
}

/* Descriptors of one message: the first is kept, if there is none yet. */
static void take_fds(struct msghdr *msg, int *fd_out)
{
	struct cmsghdr *c;
	size_t i, n;
	int fd;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (fd_out && *fd_out < 0)
				*fd_out = fd;
			else
				close(fd);
		}
	}
}

int nomux__ipc_hear(int sock, struct ipc_hello *h, int *fd_out, uint64_t deadline_ns)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	size_t have = 0;
	ssize_t n;
	int err;

	while (have < sizeof(*h)) {
		struct iovec iov = { (char *)h + have, sizeof(*h) - have };
		struct msghdr msg = {
			.msg_iov = &iov, .msg_iovlen = 1,
			.msg_control = control.bytes, .msg_controllen = sizeof(control.bytes),
		};

		n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (again(n)) {
			err = await(sock, POLLIN, deadline_ns);
			if (err)
				return err;
			continue;
		}
		if (n < 0)
			return errno == ECONNRESET ? -EPIPE : -errno;
		take_fds(&msg, fd_out);
		if (!n)
			return -EPIPE;
		if (msg.msg_flags & MSG_TRUNC)
			return -EPROTO;
		have += (size_t)n;
	}
	if (h->magic != IPC_MAGIC || h->version != IPC_VERSION || h->bytes != sizeof(*h))
		return -EPROTO;
	/* An errno, not a length: what the peer refuses with is given to the caller. */
	return h->err <= 0 && h->err > -4096 ? h->err : -EPROTO;
}
