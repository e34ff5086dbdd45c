// SPDX-License-Identifier: MIT
/*
 * net_udp.c - the load's datagrams: requests of nomudp(1), one thread, epoll, a timer
 *
 * A connection of the load is a request under way.  Datagrams get lost: what has
 * not been answered in time is given up and counted as lost, and an answer that
 * comes after that is a stray one; the tag in each tells whose it is.  Connections
 * share NR_SOCKETS sockets, so that a server sees as many senders.
 */
#include "net.h"

#include "net_wait.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define NR_SOCKETS	64
#define HEAD_BYTES	12	/* what it is, and a tag: connection and number */
#define BYTES_MAX	1472
#define FIRST_NS	5000000000ULL	/* for the first answer */
#define AGAIN_NS	100000000ULL
#define LOOK_NS		10000000ULL	/* at what is overdue */
#define RCVBUF_BYTES	(1 << 20)

struct request {
	uint64_t sent_ns;
	uint32_t number;
	bool under_way;
};

struct net {
	struct load *load;
	struct net_result *result;
	const struct net_target *to;
	struct request *request;	/* one for each connection */
	int fd[NR_SOCKETS];
	struct net_wait wait;
	unsigned nr_sockets;
	uint64_t look_ns;
	uint8_t out[BYTES_MAX], in[2048];
};

static void trouble(struct net *n, const char *why)
{
	if (!n->result->first_trouble)
		n->result->first_trouble = why;
}

/* A socket's error: a port that nobody listens on says so once, on whatever is called next. */
static void socket_error(struct net *n, int err)
{
	n->result->refused++;
	trouble(n, strerrordesc_np(err));
}

static void send_request(struct net *n, unsigned i, uint64_t now_ns)
{
	struct request *r = &n->request[i];
	uint32_t tag[2] = { i, ++r->number };

	memcpy(n->out + 4, tag, sizeof(tag));
	r->sent_ns = now_ns;
	r->under_way = true;
	/* what does not get out is lost like any other, and given up as that */
	if (send(n->fd[i % n->nr_sockets], n->out, n->to->bytes, 0) < 0 && errno != EAGAIN && errno != ENOBUFS)
		socket_error(n, errno);
}

/* Which request under way this answers; false: none, or it is no answer. */
static bool whose(struct net *n, size_t bytes, unsigned *i_out)
{
	uint32_t tag[2];

	if (bytes != n->to->bytes || memcmp(n->in, "nRP1", 4) || memcmp(n->in + HEAD_BYTES, n->out + HEAD_BYTES, bytes - HEAD_BYTES)) {
		n->result->protocol++;
		trouble(n, "a datagram that is no answer");
		return false;
	}
	memcpy(tag, n->in + 4, sizeof(tag));
	if (tag[0] >= n->load->plan.links || !n->request[tag[0]].under_way || n->request[tag[0]].number != tag[1]) {
		n->result->stray++;
		return false;
	}
	*i_out = tag[0];
	n->request[tag[0]].under_way = false;
	return true;
}

/* One datagram; false: there is none. */
static bool receive(struct net *n, unsigned socket, unsigned *i_out, bool *answered)
{
	ssize_t got = recv(n->fd[socket], n->in, sizeof(n->in), MSG_DONTWAIT);

	*answered = got >= 0 && whose(n, (size_t)got, i_out);
	if (got < 0 && errno != EAGAIN)
		socket_error(n, errno);
	return got >= 0;
}

/* As many as the socket's connections may have under way, and no longer than that. */
static void receive_all(struct net *n, unsigned socket)
{
	unsigned most = 1 + (n->load->plan.links - 1) / n->nr_sockets, i;
	bool answered;

	while (most-- && receive(n, socket, &i, &answered))
		if (answered)
			load_answer(n->load, i, net_clock_ns(), true, n->to->bytes);
}

static void wait_events(struct net *n)
{
	struct epoll_event ev[NR_SOCKETS + 1];
	int nr = epoll_wait(n->wait.epoll_fd, ev, NR_SOCKETS + 1, -1);

	for (int k = 0; k < nr; k++) {
		if (ev[k].data.u32 != NET_WAIT_TIMER) {
			receive_all(n, ev[k].data.u32);
			continue;
		}
		if (!net_wait_rang(&n->wait))
			return;
	}
}

static void give_up(struct net *n, uint64_t now_ns)
{
	n->look_ns = now_ns + LOOK_NS;
	for (unsigned i = 0; i < n->load->plan.links; i++) {
		if (!n->request[i].under_way || now_ns - n->request[i].sent_ns < n->to->timeout_ns)
			continue;
		n->request[i].under_way = false;
		load_down(n->load, i);
		load_up(n->load, i, now_ns);
	}
}

static void run(struct net *n)
{
	uint64_t now_ns = net_clock_ns();
	unsigned i;

	load_start(n->load, now_ns);
	for (i = 0; i < n->load->plan.links; i++)
		load_up(n->load, i, now_ns);
	for (;;) {
		uint64_t wake_ns;

		while (now_ns = net_clock_ns(), load_next(n->load, now_ns, &i))
			send_request(n, i, now_ns);
		if (load_over(n->load, now_ns))
			break;
		if (now_ns >= n->look_ns)
			give_up(n, now_ns);
		wake_ns = load_wake_ns(n->load);
		if (n->look_ns < wake_ns)
			wake_ns = n->look_ns;
		net_wait_until(&n->wait, wake_ns > now_ns ? wake_ns : now_ns + 1);
		wait_events(n);
	}
	load_finish(n->load, net_clock_ns());
}

/* Somebody answers; Ethernet addresses are known from then on. */
static int first_answer(struct net *n, char *err, size_t bytes)
{
	uint64_t start_ns = net_clock_ns(), again_ns = start_ns, now_ns = start_ns;
	bool answered = false;
	unsigned i;

	for (; now_ns - start_ns < FIRST_NS; now_ns = net_clock_ns()) {
		if (now_ns >= again_ns) {
			again_ns = now_ns + AGAIN_NS;
			send_request(n, 0, now_ns);
		}
		net_wait_until(&n->wait, again_ns);
		epoll_wait(n->wait.epoll_fd, &(struct epoll_event){ 0 }, 1, AGAIN_NS / 1000000);
		while (receive(n, 0, &i, &answered))
			if (answered)
				return 0;
	}
	snprintf(err, bytes, "no answer within 5 s: %s", n->result->first_trouble ? n->result->first_trouble : "the server is silent");
	return -ETIMEDOUT;
}

static int open_sockets(struct net *n)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)n->to->port) };
	int bytes = RCVBUF_BYTES;

	if (inet_pton(AF_INET, n->to->host, &to.sin_addr) != 1)
		return -EINVAL;
	for (unsigned i = 0; i < n->nr_sockets; i++) {
		struct epoll_event ev = { .events = EPOLLIN, .data.u32 = i };

		n->fd[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (n->fd[i] < 0 || connect(n->fd[i], (struct sockaddr *)&to, sizeof(to)) ||
		    epoll_ctl(n->wait.epoll_fd, EPOLL_CTL_ADD, n->fd[i], &ev))
			return -errno;
		setsockopt(n->fd[i], SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	}
	return 0;
}

static int setup(struct net *n)
{
	int ret;

	memcpy(n->out, "nRQ1", 4);
	for (unsigned i = HEAD_BYTES; i < n->to->bytes; i++)
		n->out[i] = (uint8_t)i;
	n->request = calloc(n->load->plan.links, sizeof(*n->request));
	ret = n->request ? net_wait_open(&n->wait) : -ENOMEM;
	return ret ? ret : open_sockets(n);
}

int net_udp_run(struct load *l, const struct net_target *to, struct net_result *out, char *err, size_t bytes)
{
	struct net n = { .load = l, .to = to, .result = out, .wait = NET_WAIT_INIT };
	int ret;

	memset(out, 0, sizeof(*out));
	memset(n.fd, -1, sizeof(n.fd));
	n.nr_sockets = l->plan.links < NR_SOCKETS ? l->plan.links : NR_SOCKETS;
	ret = setup(&n);
	if (ret)
		snprintf(err, bytes, "cannot set up: %s", strerror(-ret));
	else
		ret = first_answer(&n, err, bytes);
	if (!ret)
		run(&n);
	for (unsigned i = 0; i < NR_SOCKETS; i++)
		if (n.fd[i] >= 0)
			close(n.fd[i]);
	net_wait_close(&n.wait);
	free(n.request);
	return ret;
}
