// SPDX-License-Identifier: MIT
/* net.c - the load's connections: one thread, epoll, a timer for the next request */
#include "net.h"

#include "net_wait.h"
#include "take.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define NR_EVENTS	256
#define CONNECT_NS	5000000000ULL	/* for all of them, at the start */
#define RETRY_NS	100000000ULL
#define LOOK_NS		10000000ULL	/* broken connections are looked at that often */
#define READ_BYTES	(256 << 10)
#define REQUEST_BYTES	2048

enum state { DOWN, CONNECTING, UP };

struct conn {
	int fd;
	enum state state;
	uint64_t tried_ns;
	size_t unsent;		/* bytes of requests that the socket did not take yet */
	size_t sent_of_first;	/* of the request that is partly sent */
	struct answer answer;
};

struct net {
	struct load *load;
	struct net_result *result;
	struct sockaddr_in to;
	struct conn *conn;
	struct net_wait wait;
	unsigned nr_down, nr_up;
	uint64_t look_ns;
	bool started;
	char request[REQUEST_BYTES];
	size_t request_bytes;
	char *in;
};

/* -------------------------------------------------------------- connections --- */

static void conn_drop(struct net *n, unsigned i)
{
	struct conn *c = &n->conn[i];

	if (c->state == DOWN)
		return;
	n->nr_up -= c->state == UP;
	n->nr_down++;
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->state = DOWN;
	load_down(n->load, i);
}

static int conn_open(struct net *n, unsigned i, uint64_t now_ns)
{
	struct conn *c = &n->conn[i];
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u32 = i };
	int one = 1, ret;

	memset(&c->answer, 0, sizeof(c->answer));
	c->unsent = c->sent_of_first = 0;
	c->tried_ns = now_ns;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if ((connect(c->fd, (struct sockaddr *)&n->to, sizeof(n->to)) && errno != EINPROGRESS) ||
	    epoll_ctl(n->wait.epoll_fd, EPOLL_CTL_ADD, c->fd, &ev)) {
		ret = -errno;
		close(c->fd);
		c->fd = -1;
		return ret;
	}
	c->state = CONNECTING;
	n->nr_down--;
	return 0;
}

/* As much of the requests under way as the socket takes; -errno when the connection is broken */
static int conn_send(struct net *n, struct conn *c)
{
	while (c->unsent) {
		ssize_t done = send(c->fd, n->request + c->sent_of_first, n->request_bytes - c->sent_of_first, MSG_NOSIGNAL);

		if (done < 0)
			return errno == EAGAIN ? 0 : -errno;
		c->unsent -= (size_t)done;
		c->sent_of_first = (c->sent_of_first + (size_t)done) % n->request_bytes;
	}
	return 0;
}

static void conn_take(struct net *n, unsigned i, size_t bytes, uint64_t now_ns)
{
	const char *why;
	enum take took = take(n->load, i, &n->conn[i].answer, n->in, bytes, now_ns, &why);

	if (took == TAKE_MORE)
		return;
	if (took == TAKE_BAD) {
		n->result->protocol++;
		if (!n->result->first_trouble)
			n->result->first_trouble = why;
	}
	conn_drop(n, i);
}

static void conn_receive(struct net *n, unsigned i)
{
	struct conn *c = &n->conn[i];

	while (c->state == UP) {
		ssize_t got = recv(c->fd, n->in, READ_BYTES, 0);

		if (got < 0 && errno == EAGAIN)
			return;
		if (got <= 0)
			conn_drop(n, i);
		else
			conn_take(n, i, (size_t)got, net_clock_ns());
	}
}

static void conn_event(struct net *n, unsigned i, uint32_t events)
{
	struct conn *c = &n->conn[i];
	socklen_t len = sizeof(int);
	int err = 0;

	if (c->state == CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
		getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len);
		if (err) {
			n->result->refused++;
			if (!n->result->first_trouble)
				n->result->first_trouble = strerrordesc_np(err);
			conn_drop(n, i);
			return;
		}
		c->state = UP;
		n->nr_up++;
		n->result->reconnects += n->started;
		load_up(n->load, i, net_clock_ns());
	}
	if (c->state != UP)
		return;
	if ((events & EPOLLOUT) && conn_send(n, c)) {
		conn_drop(n, i);
		return;
	}
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		conn_receive(n, i);
}

/* --------------------------------------------------------------------- loop --- */

static void send_due(struct net *n)
{
	unsigned i;

	while (load_next(n->load, net_clock_ns(), &i)) {
		n->conn[i].unsent += n->request_bytes;
		if (conn_send(n, &n->conn[i]))
			conn_drop(n, i);
	}
}

static void revive(struct net *n, uint64_t now_ns)
{
	n->look_ns = now_ns + LOOK_NS;
	for (unsigned i = 0; n->nr_down && i < n->load->plan.links; i++)
		if (n->conn[i].state == DOWN && now_ns >= n->conn[i].tried_ns + RETRY_NS && conn_open(n, i, now_ns))
			n->result->refused++;
}

static void wait_events(struct net *n)
{
	struct epoll_event ev[NR_EVENTS];
	int nr = epoll_wait(n->wait.epoll_fd, ev, NR_EVENTS, -1);

	for (int k = 0; k < nr; k++) {
		if (ev[k].data.u32 == NET_WAIT_TIMER) {
			if (!net_wait_rang(&n->wait))
				return;
		} else {
			conn_event(n, ev[k].data.u32, ev[k].events);
		}
	}
}

static int connect_all(struct net *n, char *err, size_t bytes)
{
	unsigned links = n->load->plan.links;
	uint64_t end_ns = net_clock_ns() + CONNECT_NS;
	int ret;

	for (unsigned i = 0; i < links; i++) {
		ret = conn_open(n, i, net_clock_ns());
		if (ret) {
			snprintf(err, bytes, "connection %u of %u: %s", i + 1, links, strerror(-ret));
			return ret;
		}
	}
	while (n->nr_up < links && !n->nr_down && net_clock_ns() < end_ns) {
		net_wait_until(&n->wait, end_ns);
		wait_events(n);
	}
	if (n->nr_up == links)
		return 0;
	snprintf(err, bytes, "%u of %u connections were made: %s", n->nr_up, links,
		 n->result->first_trouble ? n->result->first_trouble : "no answer within 5 s");
	return -ECONNREFUSED;
}

static void run(struct net *n)
{
	n->started = true;
	load_start(n->load, net_clock_ns());
	for (;;) {
		uint64_t now_ns, wake_ns;

		send_due(n);
		now_ns = net_clock_ns();
		if (load_over(n->load, now_ns))
			break;
		if (n->nr_down && now_ns >= n->look_ns)
			revive(n, now_ns);
		wake_ns = load_wake_ns(n->load);
		if (n->nr_down && n->look_ns < wake_ns)
			wake_ns = n->look_ns;
		net_wait_until(&n->wait, wake_ns > now_ns ? wake_ns : now_ns + 1);
		wait_events(n);
	}
	load_finish(n->load, net_clock_ns());
}

static int raise_descriptors(unsigned links, char *err, size_t bytes)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) || lim.rlim_cur >= links + 16)
		return 0;
	lim.rlim_cur = links + 16;
	if (lim.rlim_max < lim.rlim_cur)
		lim.rlim_max = lim.rlim_cur;
	if (!setrlimit(RLIMIT_NOFILE, &lim))
		return 0;
	snprintf(err, bytes, "%u connections need as many descriptors: raise ulimit -n", links);
	return -EMFILE;
}

static int setup(struct net *n, const struct net_target *to, char *err, size_t bytes)
{
	int len = snprintf(n->request, sizeof(n->request), "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", to->path, to->host), ret;

	if (len >= (int)sizeof(n->request)) {
		snprintf(err, bytes, "the path is too long");
		return -EINVAL;
	}
	n->request_bytes = (size_t)len;
	n->to = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)to->port) };
	if (inet_pton(AF_INET, to->host, &n->to.sin_addr) != 1) {
		snprintf(err, bytes, "%s is not an IPv4 address", to->host);
		return -EINVAL;
	}
	n->conn = calloc(n->load->plan.links, sizeof(*n->conn));
	n->in = malloc(READ_BYTES);
	ret = n->conn && n->in ? net_wait_open(&n->wait) : -ENOMEM;
	if (ret) {
		snprintf(err, bytes, "cannot set up: %s", strerror(-ret));
		return ret;
	}
	n->nr_down = n->load->plan.links;
	return raise_descriptors(n->load->plan.links, err, bytes);
}

int net_run(struct load *l, const struct net_target *to, struct net_result *out, char *err, size_t bytes)
{
	struct net n = { .load = l, .result = out, .wait = NET_WAIT_INIT };
	int ret;

	memset(out, 0, sizeof(*out));
	ret = setup(&n, to, err, bytes);
	if (!ret)
		ret = connect_all(&n, err, bytes);
	if (!ret)
		run(&n);
	for (unsigned i = 0; n.conn && i < l->plan.links; i++)
		conn_drop(&n, i);
	net_wait_close(&n.wait);
	free(n.conn);
	free(n.in);
	return ret;
}
