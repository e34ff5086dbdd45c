// SPDX-License-Identifier: MIT
/* net_linux_open.c - the kernel's TCP/IP: sockets that are listened on */
#include "net_linux.h"

#include "busy_poll.h"
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

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

int linux_open_listener(struct server *srv, char *where, size_t where_bytes)
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

int linux_listen_add(void)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = &net.listen_fd };
	struct epoll_event ev6 = { .events = EPOLLIN, .data.ptr = &net.listen6_fd };

	if (net.listen6_fd >= 0 && epoll_ctl(net.epoll_fd, EPOLL_CTL_ADD, net.listen6_fd, &ev6) && errno != EEXIST)
		return -errno;
	return epoll_ctl(net.epoll_fd, EPOLL_CTL_ADD, net.listen_fd, &ev) && errno != EEXIST ? -errno : 0;
}

void linux_close_listeners(void)
{
	if (net.listen_fd >= 0)
		close(net.listen_fd);
	if (net.listen6_fd >= 0)
		close(net.listen6_fd);
	net.listen_fd = net.listen6_fd = -1;
}
