// SPDX-License-Identifier: MIT
/*
 * net_linux.c - the kernel's TCP/IP: one thread, epoll, non-blocking sockets
 *
 * The in-tree side of every comparison, so it is written to be hard to beat:
 * in steady state a request costs one read(2), one write(2) and its share of
 * one epoll_wait(2).
 *
 * Edge-triggered: a level-triggered descriptor goes back on the ready list
 * with each event, and the next epoll_wait asks the socket again only to find
 * it empty.  Counted in a TCG guest, Linux 6.12.117, kernel instructions per
 * request, level- and edge-triggered: 18,736 and 18,396 with one connection,
 * 14,254 and 14,167 with 8, 13,594 and 13,482 with 64.
 *
 * A read that returns less than asked for has emptied the socket (what comes
 * later is a new edge), so no read is made to see EAGAIN; only an announced FIN
 * (EPOLLRDHUP) is read for.  EPOLLOUT is registered from the start and costs
 * nothing: its edge comes only after a write met a full buffer.
 *
 * Answers of one turn on a connection are gathered and leave by one write or
 * writev; TCP_NODELAY is inherited from the listener.  Long bodies leave by
 * sendfile(2), which copies nothing: the site lies in a memory file.
 */
#include "busy_poll.h"
#include "conn.h"
#include "house.h"
#include "server.h"
#include "site.h"

#include <nomux/clock.h>
#include <nomux/log.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <syslog.h>
#include <unistd.h>

#define NR_EVENTS 64
#define PAGE_BYTES ((size_t)4096)
#define NR_IOV 32
#define SCRATCH_BYTES 65536
#define READ_BYTES 16384
#define READS_MAX 8		/* per turn and connection, so that one cannot starve the others */
#define ROOM_BYTES (1U << 19)	/* of a body, per turn */
/*
 * From here on references to pages are cheaper than their copy.  Instructions per
 * request, counted in a TCG guest with 8 and 64 connections: at 16 KiB 27,618
 * instead of 39,695 and 41,228 instead of 45,127, at 32 KiB 30,907 instead of
 * 56,917 and 66,409 instead of 89,310.
 */
#define SENDFILE_BYTES 16384

/* conn.net_flags */
enum { NET_FINISH = 1, NET_ABORT = 2, NET_LISTED = 4, NET_HELD = 8, NET_SHUT = 16 };

/* What the socket did not take; one allocation, only when a peer does not read. */
struct backlog {
	unsigned nr, first;
	struct iovec iov[NR_IOV];
	char data[];
};

struct linux_net {
	struct server *srv;
	int epoll_fd, listen_fd, wake_fd;
	int listen6_fd;			/* -1: none; apart, so that IPv4 is not made dearer */
	bool accept_off;		/* out of kernel memory: accept again after the next tick */
	struct conn *doomed;		/* to be closed at the end of this turn */
	int site_fd;			/* memory file with the site's generations */
	char *site;			/* where it is mapped */
	size_t site_bytes;
	/* what the connection at hand has queued */
	unsigned nr_iov;
	uint32_t scratch_used;
	struct iovec iov[NR_IOV];
	char scratch[SCRATCH_BYTES];
	char in[READ_BYTES];
};

static struct linux_net net;	/* one loop per process; zeroed */

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

static void doom(struct conn *c)
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
		doom(c);
}

/* Once all was written and shut down, the kernel delivers it without us. */
static void linux_abort(struct conn *c)
{
	if (!(c->net_flags & NET_SHUT))
		c->net_flags |= NET_ABORT;
	doom(c);
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

/* Write what the connection queued, and what it queues because of that. */
static void flush(struct conn *c)
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
			doom(c);
	}
}

static const struct net_ops linux_ops = {
	.room = linux_room,
	.send = linux_send,
	.hold = linux_hold,
	.finish = linux_finish,
	.abort = linux_abort,
	.flush = flush,
};

static void flush_backlog(struct conn *c)
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
	flush(c);
}

static void read_input(struct conn *c, uint32_t events)
{
	for (int i = 0; i < READS_MAX; i++) {
		uint32_t room = conn_in_room(c);
		ssize_t n;

		if (room > READ_BYTES)
			room = READ_BYTES;
		if (c->net_flags & (NET_HELD | NET_LISTED) || !room)
			return;		/* flush() calls again */
		metric_add(&c->srv->m, M_SYSCALLS, 1);
		n = read(c->sock.fd, net.in, room);
		if (n > 0) {
			conn_input(c, net.in, n);
			flush(c);
			if ((uint32_t)n < room && !(events & (EPOLLRDHUP | EPOLLHUP)))
				return;
		} else if (n == 0) {
			conn_eof(c);
			flush(c);
			if (c->phase == CONN_CLOSING && !c->backlog)
				doom(c);
			return;
		} else if (errno == EAGAIN) {
			return;
		} else if (errno != EINTR) {
			metric_add(&c->srv->m, M_RESETS, 1);
			linux_abort(c);
			return;
		}
	}
	/* More may wait: have epoll report this descriptor again. */
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c };

	metric_add(&c->srv->m, M_SYSCALLS, 1);
	epoll_ctl(net.epoll_fd, EPOLL_CTL_MOD, c->sock.fd, &ev);
}

static void bury(void)
{
	while (net.doomed) {
		struct conn *c = net.doomed;
		struct linger reset = { .l_onoff = 1 };

		net.doomed = c->next;
		if (c->net_flags & NET_ABORT)
			setsockopt(c->sock.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(c->sock.fd);
		free(c->backlog);
		c->backlog = NULL;
		conn_gone(c);
	}
}

static void conn_event(struct conn *c, uint32_t events)
{
	bool was_held = c->net_flags & NET_HELD;

	if (events & EPOLLERR) {
		metric_add(&c->srv->m, M_RESETS, 1);
		linux_abort(c);
		return;
	}
	if ((events & EPOLLOUT) && c->backlog)
		flush_backlog(c);
	if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) || was_held)
		read_input(c, events);
}

static void accept_some(struct server *srv, int listen_fd)
{
	for (int i = 0; i < NR_EVENTS; i++) {
		struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };
		struct conn *c;
		int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		metric_add(&srv->m, M_SYSCALLS, 1);
		if (fd < 0) {
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			if (errno != EAGAIN) {
				nomux_log(LOG_WARNING, "nhttpd: accept: %s; pausing", strerror(errno));
				epoll_ctl(net.epoll_fd, EPOLL_CTL_DEL, net.listen_fd, NULL);
				epoll_ctl(net.epoll_fd, EPOLL_CTL_DEL, net.listen6_fd, NULL);
				net.accept_off = true;
			}
			return;
		}
		c = conn_open(srv);
		if (!c) {	/* even the spare slots are taken: only a reset is left */
			metric_add(&srv->m, M_REFUSED, 1);
			close(fd);
			continue;
		}
		c->sock.fd = fd;
		ev.data.ptr = c;
		if (epoll_ctl(net.epoll_fd, EPOLL_CTL_ADD, fd, &ev)) {
			linux_abort(c);
			continue;
		}
		conn_start(c);
		flush(c);
	}
}

static int listen_add(void)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = &net.listen_fd };
	struct epoll_event ev6 = { .events = EPOLLIN, .data.ptr = &net.listen6_fd };

	if (net.listen6_fd >= 0 && epoll_ctl(net.epoll_fd, EPOLL_CTL_ADD, net.listen6_fd, &ev6) && errno != EEXIST)
		return -errno;
	return epoll_ctl(net.epoll_fd, EPOLL_CTL_ADD, net.listen_fd, &ev) && errno != EEXIST ? -errno : 0;
}

static void loop(struct server *srv)
{
	struct epoll_event ev[NR_EVENTS];
	uint64_t next_tick_ns = 0;	/* 0: at once */

	for (;;) {
		/* With nobody connected nothing is due until the house thread wakes us. */
		int timeout_ms = !next_tick_ns ? 0 : srv->nr_open || srv->drain_until_ns || net.accept_off ? 250 : -1;
		int n = epoll_wait(net.epoll_fd, ev, NR_EVENTS, timeout_ms);
		uint64_t now_ns = nomux_now_ns();

		metric_add(&srv->m, M_SYSCALLS, 1);
		srv->now_ns = now_ns;
		if (now_ns >= next_tick_ns || n <= 0) {
			next_tick_ns = now_ns + 1000000;
			if (server_tick(srv, now_ns))
				return;
			if (srv->drain_until_ns && net.listen_fd >= 0) {
				close(net.listen_fd);
				net.listen_fd = -1;
				if (net.listen6_fd >= 0)
					close(net.listen6_fd);
				net.listen6_fd = -1;
			}
			if (net.accept_off && net.listen_fd >= 0 && !listen_add())
				net.accept_off = false;
			bury();
		}
		for (int i = 0; i < n; i++) {
			uint64_t drop;

			if (ev[i].data.ptr == &net.listen_fd) {
				if (net.listen_fd >= 0)
					accept_some(srv, net.listen_fd);
			} else if (ev[i].data.ptr == &net.listen6_fd) {
				if (net.listen6_fd >= 0)
					accept_some(srv, net.listen6_fd);
			} else if (ev[i].data.ptr == &net.wake_fd) {
				if (read(net.wake_fd, &drop, sizeof(drop)) > 0)
					next_tick_ns = 0;
			} else {
				conn_event(ev[i].data.ptr, ev[i].events);
			}
		}
		bury();
	}
}

static void linux_wake(struct server *srv)
{
	uint64_t one = 1;

	if (write(net.wake_fd, &one, sizeof(one)) < 0)
		nomux_log(LOG_ERR, "nhttpd: cannot wake the serving thread: %s", strerror(errno));
}

/* A descriptor for each connection, and some for ourselves. */
static int raise_descriptors(struct server *srv)
{
	struct rlimit lim;
	rlim_t need = srv->nr_slots + 64;

	if (getrlimit(RLIMIT_NOFILE, &lim))
		return 0;
	if (lim.rlim_cur >= need)
		return 0;
	lim.rlim_cur = need;
	if (lim.rlim_max < need)
		lim.rlim_max = need;	/* root may */
	if (!setrlimit(RLIMIT_NOFILE, &lim))
		return 0;
	die_message("--max-connections %lld needs %llu descriptors, and this process may not open so many: raise ulimit -n, or allow fewer connections",
		    (long long)srv->opt->max_connections, (unsigned long long)need);
	return EXIT_OTHER;
}

/* One address, one socket; *@fd_out is set as soon as there is one. */
static int listen_at(struct server *srv, const struct sockaddr *addr, socklen_t bytes, const char *ip, int *fd_out)
{
	const struct options *opt = srv->opt;
	int one = 1, busy_us = opt->busy_poll_us, fd, ret;

	fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		die_message("cannot make a socket: %s", strerror(errno));
		return EXIT_OTHER;
	}
	*fd_out = fd;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (addr->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	ret = busy_us ? busy_poll_set(net.epoll_fd, fd, busy_us) : 0;
	if (ret) {
		die_message("--busy-poll-us %d: %s: needs CAP_NET_ADMIN, and Linux 6.9 or later with CONFIG_NET_RX_BUSY_POLL",
			    busy_us, strerror(-ret));
		return EXIT_OTHER;
	}
	if (bind(fd, addr, bytes) || listen(fd, 4096)) {
		int err = errno;

		die_message("cannot listen on %s port %d: %s%s", ip, (int)opt->port, strerror(err),
			    err == EADDRINUSE ? ": another server has it (ss -ltnp shows which); stop it or give another --port" :
			    err == EACCES ? ": ports below 1024 need root or CAP_NET_BIND_SERVICE; give another --port" :
			    err == EADDRNOTAVAIL ? ": no interface of this machine has that address (ip addr shows them)" : "");
		return EXIT_ADDRESS;
	}
	return EXIT_OK;
}

/* Whether this kernel has IPv6: not all do. */
static bool has_ip6(void)
{
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* At --ip, or at all addresses of both versions. */
static int open_listener(struct server *srv, char *where, size_t where_bytes)
{
	const struct options *opt = srv->opt;
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(opt->port) };
	struct sockaddr_in6 addr6 = { .sin6_family = AF_INET6, .sin6_port = htons(opt->port) };
	char ip[64] = "0.0.0.0";
	int ret;

	if (opt->ip)
		snprintf(ip, sizeof(ip), "%.*s", (int)strcspn(opt->ip, "/"), opt->ip);
	if (inet_pton(AF_INET6, ip, &addr6.sin6_addr) == 1) {
		snprintf(where, where_bytes, "http://[%s]:%d/", ip, (int)opt->port);
		return listen_at(srv, (struct sockaddr *)&addr6, sizeof(addr6), ip, &net.listen_fd);
	}
	if (inet_pton(AF_INET, ip, &addr.sin_addr) != 1) {
		die_message("--ip %s: not an IP address", opt->ip);
		return EXIT_USAGE;
	}
	snprintf(where, where_bytes, "http://%s:%d/", ip, (int)opt->port);
	ret = listen_at(srv, (struct sockaddr *)&addr, sizeof(addr), ip, &net.listen_fd);
	if (ret || opt->ip || !has_ip6())
		return ret;
	snprintf(where, where_bytes, "http://%s:%d/, http://[::]:%d/", ip, (int)opt->port, (int)opt->port);
	return listen_at(srv, (struct sockaddr *)&addr6, sizeof(addr6), "::", &net.listen6_fd);
}

/* Two generations of the site in a memory file, of which pages exist that are used. */
static int map_site(size_t bytes)
{
	void *mem = MAP_FAILED;

	net.site_fd = memfd_create("nhttpd-site", MFD_CLOEXEC);
	if (net.site_fd >= 0 && !ftruncate(net.site_fd, (off_t)bytes))
		mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, net.site_fd, 0);
	if (mem == MAP_FAILED)
		return -errno;
	net.site = mem;
	net.site_bytes = bytes;
	return 0;
}

/* A peer that reads slowly may still be sent its pages: whoever loads anew gets other ones. */
static int linux_empty_mem(void *mem, size_t bytes)
{
	return madvise(mem, bytes, MADV_REMOVE) ? -errno : 0;
}

static int setup(struct server *srv, char *where, size_t where_bytes)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = &net.wake_fd };
	size_t bytes = srv->opt->site_bytes, pages = (bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	int ret;

	ret = raise_descriptors(srv);
	if (ret)
		return ret;
	srv->in_bytes = srv->lim.header_bytes + 1 > READ_BYTES ? srv->lim.header_bytes + 1 : READ_BYTES;
	net.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	net.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (net.epoll_fd < 0 || net.wake_fd < 0 || map_site(2 * pages) || conn_table_create(srv) ||
	    epoll_ctl(net.epoll_fd, EPOLL_CTL_ADD, net.wake_fd, &ev)) {
		die_message("cannot set up: %s", strerror(errno));
		return EXIT_OTHER;
	}
	srv->empty_mem = linux_empty_mem;
	ret = server_load_site(srv, net.site, net.site + pages, bytes);
	if (!ret)
		ret = open_listener(srv, where, where_bytes);
	if (!ret && listen_add()) {
		die_message("cannot set up: %s", strerror(errno));
		ret = EXIT_OTHER;
	}
	return ret;
}

int net_linux_run(struct server *srv)
{
	static struct server *self;
	char where[128];
	int ret;

	net.srv = self = srv;
	net.epoll_fd = net.listen_fd = net.listen6_fd = net.wake_fd = net.site_fd = -1;
	srv->net = &linux_ops;
	srv->nr_slots = srv->opt->max_connections + CONN_SPARE;
	ret = setup(srv, where, sizeof(where));
	if (!ret)
		ret = house_start(srv, &self, 1);
	if (!ret) {
		ret = app_pin((int)srv->opt->cpu);		/* this thread only: the house thread exists already */
		if (ret)
			house_stop(srv);
	}
	if (!ret) {
		atomic_store(&srv->wake, linux_wake);
		server_tick(srv, nomux_now_ns());
		server_announce(srv, where);
		loop(srv);
		bury();
		atomic_store(&srv->wake, NULL);
		house_stop(srv);
	}
	if (net.listen_fd >= 0)
		close(net.listen_fd);
	if (net.listen6_fd >= 0)
		close(net.listen6_fd);
	if (net.epoll_fd >= 0)
		close(net.epoll_fd);
	if (net.wake_fd >= 0)
		close(net.wake_fd);
	conn_table_destroy(srv);
	server_free_site(srv);
	if (net.site)
		munmap(net.site, net.site_bytes);
	if (net.site_fd >= 0)
		close(net.site_fd);
	return ret;
}
