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
 */
#include "net_linux.h"

#include "conn.h"
#include "house.h"
#include "server.h"
#include "site.h"

#include <nomux/clock.h>
#include <nomux/log.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <syslog.h>
#include <unistd.h>

#define PAGE_BYTES ((size_t)4096)
#define READS_MAX 8		/* per turn and connection, so that one cannot starve the others */

struct linux_net net;

static void read_input(struct conn *c, uint32_t events)
{
	for (int i = 0; i < READS_MAX; i++) {
		uint32_t room = conn_in_room(c);
		ssize_t n;

		if (room > READ_BYTES)
			room = READ_BYTES;
		if (c->net_flags & (NET_HELD | NET_LISTED) || !room)
			return;		/* linux_flush() calls again */
		metric_add(&c->srv->m, M_SYSCALLS, 1);
		n = read(c->sock.fd, net.in, room);
		if (n > 0) {
			conn_input(c, net.in, n);
			linux_flush(c);
			if ((uint32_t)n < room && !(events & (EPOLLRDHUP | EPOLLHUP)))
				return;
		} else if (n == 0) {
			conn_eof(c);
			linux_flush(c);
			if (c->phase == CONN_CLOSING && !c->backlog)
				linux_doom(c);
			return;
		} else if (errno == EAGAIN) {
			return;
		} else if (errno != EINTR) {
			metric_add(&c->srv->m, M_RESETS, 1);
			c->srv->net->abort(c);
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
		c->srv->net->abort(c);
		return;
	}
	if ((events & EPOLLOUT) && c->backlog)
		linux_flush_backlog(c);
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
			c->srv->net->abort(c);
			continue;
		}
		conn_start(c);
		linux_flush(c);
	}
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
			if (srv->drain_until_ns)
				linux_close_listeners();
			if (net.accept_off && net.listen_fd >= 0 && !linux_listen_add())
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
		ret = linux_open_listener(srv, where, where_bytes);
	if (!ret && linux_listen_add()) {
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
	linux_close_listeners();
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
