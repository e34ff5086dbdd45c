// SPDX-License-Identifier: MIT
/*
 * net_linux.c - the kernel's stack: recvmmsg and sendmmsg, one socket
 *
 * What a programmer would write who wants much of it: whole batches with two
 * system calls, answers in the buffers of their requests, a large receive buffer,
 * and the device polled in the read where --busy-poll-us asks for it.  Blocking, so
 * that an idle server sleeps; now and then it wakes to look whether to end.
 */
#include "request.h"
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef SO_PREFER_BUSY_POLL
#define SO_PREFER_BUSY_POLL 69
#define SO_BUSY_POLL_BUDGET 70
#endif

#define BATCH 64
#define ROOM 2048
#define RCVBUF_BYTES (4 << 20)
#define LOOK_US 100000		/* at the request to stop, when idle */
#define BUDGET 64		/* packets a poll of the device */

static struct {
	struct mmsghdr in[BATCH], out[BATCH];
	struct iovec iov[BATCH];
	struct sockaddr_in from[BATCH];
	uint8_t data[BATCH][ROOM];
} batch;

static int open_socket(struct server *srv, int *fd_out)
{
	const struct options *o = &srv->opt;
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)o->port) };
	struct timeval look = { .tv_usec = LOOK_US };
	int bytes = RCVBUF_BYTES, one = 1, budget = BUDGET, us = (int)o->busy_poll_us, fd;

	if (o->ip && inet_pton(AF_INET, o->ip, &at.sin_addr) != 1) {
		die_message("--ip %s: not an IPv4 address", o->ip);
		return EXIT_USAGE;
	}
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &look, sizeof(look)) || bind(fd, (struct sockaddr *)&at, sizeof(at))) {
		die_message("cannot listen on UDP port %d: %s", (int)o->port, strerror(errno));
		if (fd >= 0)
			close(fd);
		return EXIT_ADDRESS;
	}
	/* as root beyond net.core.rmem_max; else as much as that allows */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	if (us && (setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &us, sizeof(us)) ||
		   setsockopt(fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, &one, sizeof(one)) ||
		   setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET, &budget, sizeof(budget)))) {
		die_message("--busy-poll-us %d: %s", us, strerror(errno));
		close(fd);
		return EXIT_OTHER;
	}
	*fd_out = fd;
	return EXIT_OK;
}

static void send_all(struct server *srv, int fd, unsigned nr)
{
	for (unsigned sent = 0; sent < nr;) {
		int n = sendmmsg(fd, batch.out + sent, nr - sent, 0);

		metric_add(&srv->m, M_SYSCALLS, 1);
		if (n > 0) {
			sent += (unsigned)n;
			continue;
		}
		/* the first of them cannot be sent: the others may */
		metric_add(&srv->m, M_UNSENT, 1);
		sent++;
	}
}

static void serve(struct server *srv, int fd, unsigned nr)
{
	uint64_t bytes = 0;
	unsigned answers = 0, bad = 0;

	for (unsigned i = 0; i < nr; i++) {
		uint32_t len = batch.in[i].msg_len, reply;

		reply = batch.in[i].msg_hdr.msg_flags & MSG_TRUNC ? 0 : request_answer(batch.data[i], len);
		batch.in[i].msg_hdr.msg_namelen = sizeof(batch.from[i]);
		batch.in[i].msg_hdr.msg_flags = 0;
		if (!reply) {
			bad++;
			continue;
		}
		batch.out[answers].msg_hdr.msg_name = &batch.from[i];
		batch.out[answers].msg_hdr.msg_iov[0] = (struct iovec){ batch.data[i], reply };
		answers++;
		bytes += reply;
	}
	send_all(srv, fd, answers);
	metric_add(&srv->m, M_REQUESTS, answers);
	metric_add(&srv->m, M_BYTES, bytes);
	metric_add(&srv->m, M_BAD, bad);
}

static int loop(struct server *srv, int fd)
{
	static struct iovec out_iov[BATCH];

	for (unsigned i = 0; i < BATCH; i++) {
		batch.iov[i] = (struct iovec){ batch.data[i], ROOM };
		batch.in[i].msg_hdr = (struct msghdr){ .msg_name = &batch.from[i], .msg_namelen = sizeof(batch.from[i]),
						       .msg_iov = &batch.iov[i], .msg_iovlen = 1 };
		batch.out[i].msg_hdr = (struct msghdr){ .msg_namelen = sizeof(batch.from[i]), .msg_iov = &out_iov[i], .msg_iovlen = 1 };
	}
	while (!atomic_load_explicit(&srv->stop, memory_order_relaxed)) {
		int nr = recvmmsg(fd, batch.in, BATCH, MSG_WAITFORONE, NULL);

		metric_add(&srv->m, M_SYSCALLS, 1);
		if (nr > 0) {
			serve(srv, fd, (unsigned)nr);
		} else if (errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED) {
			die_message("cannot receive: %s", strerror(errno));
			return EXIT_OTHER;
		}
	}
	return EXIT_OK;
}

int net_linux_run(struct server *srv)
{
	char where[64];
	int fd, ret = open_socket(srv, &fd);

	if (ret)
		return ret;
	ret = server_signals(srv);
	if (!ret)
		ret = app_pin((int)srv->opt.cpu);
	if (!ret) {
		snprintf(where, sizeof(where), "udp://%s:%d/", srv->opt.ip ? srv->opt.ip : "0.0.0.0", (int)srv->opt.port);
		server_announce(srv, where);
		ret = loop(srv, fd);
	}
	close(fd);
	return ret;
}
