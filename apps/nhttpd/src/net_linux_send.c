// SPDX-License-Identifier: MIT
/*
 * net_linux_send.c - the kernel's TCP/IP: what goes out
 *
 * Answers of one turn on a connection are gathered and leave by one write or
 * writev; TCP_NODELAY is inherited from the listener.  Long bodies leave by
 * sendfile(2), which copies nothing: the site lies in a memory file.
 */
#include "net_linux.h"

#include "conn.h"
#include "server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM_BYTES (1U << 19)	/* of a body, per turn */
/*
 * From here on references to pages are cheaper than their copy.  Instructions per
 * request, counted in a TCG guest with 8 and 64 connections: at 16 KiB 27,618
 * instead of 39,695 and 41,228 instead of 45,127, at 32 KiB 30,907 instead of
 * 56,917 and 66,409 instead of 89,310.
 */
#define SENDFILE_BYTES 16384

static uint32_t linux_room(struct conn *c)
{
	if (c->backlog || net.nr_iov >= NR_IOV - 2 || SCRATCH_BYTES - net.scratch_used < 2 * CONN_ROOM_MIN)
		return 0;
	return ROOM_BYTES;
}

static int linux_send(struct conn *c, const void *data, uint32_t len, unsigned flags)
{
	struct iovec *last = net.nr_iov ? &net.iov[net.nr_iov - 1] : NULL;

	if (flags & SEND_COPY) {
		data = memcpy(net.scratch + net.scratch_used, data, len);
		net.scratch_used += len;
		if (last && (char *)last->iov_base + last->iov_len == data) {
			last->iov_len += len;
			return 0;
		}
	}
	net.iov[net.nr_iov++] = (struct iovec){ (void *)data, len };
	return 0;
}

void linux_doom(struct conn *c)
{
	if (c->net_flags & NET_LISTED)
		return;
	c->net_flags |= NET_LISTED;
	c->next = net.doomed;
	net.doomed = c;
}

static void linux_hold(struct conn *c, bool hold)
{
	c->net_flags = hold ? c->net_flags | NET_HELD : c->net_flags & ~NET_HELD;
}

/* Nothing may be queued for another connection while this one is looked at. */
static void linux_finish(struct conn *c)
{
	c->net_flags |= NET_FINISH;
	if (!net.nr_iov && !c->backlog && !c->linger)
		linux_doom(c);
}

/* Once all was written and shut down, the kernel delivers it without us. */
static void linux_abort(struct conn *c)
{
	if (!(c->net_flags & NET_SHUT))
		c->net_flags |= NET_ABORT;
	linux_doom(c);
}

static bool in_scratch(const void *p)
{
	return (const char *)p >= net.scratch && (const char *)p < net.scratch + SCRATCH_BYTES;
}

/* The socket is full: keep the rest, and of it a copy of what lies in scratch. */
static void keep_backlog(struct conn *c, unsigned first)
{
	struct backlog *b;
	size_t bytes = 0, at = 0;

	for (unsigned i = first; i < net.nr_iov; i++)
		bytes += in_scratch(net.iov[i].iov_base) ? net.iov[i].iov_len : 0;
	b = malloc(sizeof(*b) + bytes);
	if (!b) {
		c->srv->net->abort(c);
		return;
	}
	b->first = b->nr = 0;
	for (unsigned i = first; i < net.nr_iov; i++) {
		struct iovec v = net.iov[i];

		if (in_scratch(v.iov_base)) {
			v.iov_base = memcpy(b->data + at, v.iov_base, v.iov_len);
			at += v.iov_len;
		}
		b->iov[b->nr++] = v;
	}
	c->backlog = b;
}

/* Take @n written bytes off the front.  Return: index of the first vector left. */
static unsigned consume(struct iovec *iov, unsigned first, unsigned nr, size_t n)
{
	while (first < nr && n >= iov[first].iov_len) {
		n -= iov[first].iov_len;
		first++;
	}
	if (first < nr) {
		iov[first].iov_base = (char *)iov[first].iov_base + n;
		iov[first].iov_len -= n;
	}
	return first;
}

static bool by_sendfile(const struct iovec *v)
{
	const char *p = v->iov_base;

	return v->iov_len >= SENDFILE_BYTES && p >= net.site && p < net.site + net.site_bytes;
}

/* One system call for the first vectors of a list.  @want: the bytes it was to write. */
static ssize_t write_some(struct conn *c, struct iovec *iov, unsigned nr, size_t *want)
{
	struct msghdr msg = { .msg_iov = iov };
	unsigned k = 0;

	metric_add(&c->srv->m, M_SYSCALLS, 1);
	if (by_sendfile(iov)) {
		off_t at = (char *)iov->iov_base - net.site;

		*want = iov->iov_len;
		return sendfile(c->sock.fd, net.site_fd, &at, iov->iov_len);
	}
	for (*want = 0; k < nr && !by_sendfile(&iov[k]); k++)
		*want += iov[k].iov_len;
	if (k < nr) {	/* a header block leaves with the beginning of its body */
		msg.msg_iovlen = k;
		return sendmsg(c->sock.fd, &msg, MSG_MORE);
	}
	return nr == 1 ? write(c->sock.fd, iov->iov_base, iov->iov_len) : writev(c->sock.fd, iov, nr);
}

/*
 * Write vectors from *@first on, which becomes the first one left.  Return: bytes
 * that the socket took; -1: the connection is lost.
 */
static ssize_t write_iov(struct conn *c, struct iovec *iov, unsigned *first, unsigned nr)
{
	ssize_t n, done = 0;
	size_t want;

	while (*first < nr) {
		n = write_some(c, iov + *first, nr - *first, &want);
		if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS && errno != ENOMEM) {
			metric_add(&c->srv->m, M_RESETS, 1);
			c->srv->net->abort(c);
			return -1;
		}
		if (n <= 0)
			break;
		done += n;
		*first = consume(iov, *first, nr, n);
		if ((size_t)n < want)
			break;
	}
	return done;
}

void linux_flush(struct conn *c)
{
	while (net.nr_iov && !(c->net_flags & NET_ABORT)) {
		unsigned first = 0;
		ssize_t n = write_iov(c, net.iov, &first, net.nr_iov);

		if (n < 0)
			break;
		if (first < net.nr_iov)
			keep_backlog(c, first);
		net.nr_iov = 0;
		net.scratch_used = 0;
		conn_sent(c, n);
	}
	net.nr_iov = 0;
	net.scratch_used = 0;
	if ((c->net_flags & (NET_FINISH | NET_ABORT | NET_SHUT)) == NET_FINISH && !c->backlog) {
		/*
		 * close(2) with unread input resets the connection, which may
		 * destroy the answer on its way; where the peer may still be
		 * sending, only this direction is closed, for a while.
		 */
		if (c->linger && !c->eof && !shutdown(c->sock.fd, SHUT_WR))
			c->net_flags |= NET_SHUT;
		else
			linux_doom(c);
	}
}

const struct net_ops linux_ops = {
	.room = linux_room,
	.send = linux_send,
	.hold = linux_hold,
	.finish = linux_finish,
	.abort = linux_abort,
	.flush = linux_flush,
};

void linux_flush_backlog(struct conn *c)
{
	struct backlog *b = c->backlog;
	ssize_t n = write_iov(c, b->iov, &b->first, b->nr);

	if (n < 0)
		return;
	if (b->first == b->nr) {
		free(b);
		c->backlog = NULL;
	}
	conn_sent(c, n);
	linux_flush(c);
}
