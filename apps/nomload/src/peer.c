// SPDX-License-Identifier: MIT
/*
 * peer.c - the load's connections on a stack of our own at the other end of a guest's rings
 *
 * The TCP is lwIP through nomstack, as in the applications it loads: a client of
 * our own would have been a second implementation to trust.  A request is
 * written into the guest's receive buffers when it is due, and an answer ends
 * when its last byte has been taken from the transmit ring, all in this thread:
 * no socket, no interrupt and no other process lies between.
 */
#include "peer.h"

#include "take.h"

#include <nomstack/nomstack.h>
#include <nomux/clock.h>

#include "vhostbe.h"
#include "vnet_peer.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#define MS		1000000ULL
#define STEP_NS		MS		/* messages and doorbells are looked at that often */
#define LINK_NS		(5000 * MS)	/* for a driver to bring the rings up */
#define CONNECT_NS	(5000 * MS)	/* for all connections, at the start */
#define CONNECT_MAX	32		/* under way at a time: the receive ring and ARP's queue are short */
#define RETRY_NS	(100 * MS)
#define CLOSE_NS	(200 * MS)	/* for the last segments of closed connections */
#define REQUEST_BYTES	2048
#define TOGETHER_MAX	65535

enum state { DOWN, CONNECTING, UP };

struct conn {
	struct peer *p;
	struct nomstack_conn *c;	/* not DOWN */
	enum state state;
	uint64_t tried_ns;
	unsigned unsent;		/* requests of the load that are not queued yet */
	struct answer answer;
};

struct peer {
	struct vhostbe *be;
	struct vnet *v;
	struct nomstack *s;
	volatile sig_atomic_t *stop;
	uint64_t step_ns;
	/* of a run */
	struct load *load;
	struct net_result *result;
	const struct net_target *to;
	struct conn *conn;
	unsigned nr_up, nr_down, nr_connecting, together;
	bool started;
	char *requests;			/* @together of them */
	size_t request_bytes;
};

/* -------------------------------------------------------------- connections --- */

/* Its connection is gone already, or is to be reset. */
static void conn_drop(struct conn *k, bool reset)
{
	struct peer *p = k->p;

	if (k->state == DOWN)
		return;
	if (reset)
		nomstack_tcp_abort(k->c);
	p->nr_up -= k->state == UP;
	p->nr_connecting -= k->state == CONNECTING;
	p->nr_down++;
	k->state = DOWN;
	k->c = NULL;
	k->unsent = 0;
	load_down(p->load, (unsigned)(k - p->conn));
}

/* What the connection has room for. */
static void conn_send(struct conn *k)
{
	struct peer *p = k->p;

	while (k->unsent) {
		unsigned n = k->unsent < p->together ? k->unsent : p->together;
		uint32_t room = nomstack_tcp_room(k->c);

		if (n * p->request_bytes > room)
			n = (unsigned)(room / p->request_bytes);
		if (!n || nomstack_tcp_send(k->c, p->requests, (uint32_t)(n * p->request_bytes), NOMSTACK_SEND_COPY))
			return;		/* sent() comes back to it; a broken connection says so in closed() */
		k->unsent -= n;
	}
}

/* Requests that are due, those of one connection together. */
static void send_due(struct peer *p)
{
	struct conn *last = NULL;
	unsigned i;

	while (load_next(p->load, nomux_now_ns(), &i)) {
		struct conn *k = &p->conn[i];

		if (last && last != k)
			conn_send(last);
		last = k;
		k->unsent++;
	}
	if (last)
		conn_send(last);
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	struct conn *k = arg;
	struct peer *p = k->p;
	const char *why;
	enum take took = take(p->load, (unsigned)(k - p->conn), &k->answer, data, len, nomux_now_ns(), &why);

	if (took == TAKE_BAD) {
		p->result->protocol++;
		if (!p->result->first_trouble)
			p->result->first_trouble = why;
	}
	if (took != TAKE_MORE)
		conn_drop(k, true);
	else if (p->started)
		send_due(p);	/* at once, so that the answer's acknowledgement goes with it */
}

static void on_sent(struct nomstack_conn *c, void *arg, uint32_t acked)
{
	conn_send(arg);
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
	struct conn *k = arg;
	struct peer *p = k->p;

	if (k->state == CONNECTING) {
		p->result->refused++;
		if (!p->result->first_trouble)
			p->result->first_trouble = strerrordesc_np(-err);
	}
	conn_drop(k, !err);
}

static void on_connected(struct nomstack_conn *c, void *arg)
{
	struct conn *k = arg;
	struct peer *p = k->p;

	k->state = UP;
	p->nr_connecting--;
	p->nr_up++;
	p->result->reconnects += p->started;
	load_up(p->load, (unsigned)(k - p->conn), nomux_now_ns());
}

static const struct nomstack_tcp_ops ops = {
	.recv = on_recv, .sent = on_sent, .closed = on_closed, .connected = on_connected,
};

static int conn_open(struct conn *k, uint64_t now_ns)
{
	struct peer *p = k->p;
	int ret;

	memset(&k->answer, 0, sizeof(k->answer));
	k->tried_ns = now_ns;
	ret = nomstack_tcp_connect(p->s, p->to->host, (uint16_t)p->to->port, &ops, k, &k->c);
	if (ret)
		return ret;
	k->state = CONNECTING;
	p->nr_down--;
	p->nr_connecting++;
	return 0;
}

/* --------------------------------------------------------------------- loop --- */

/* One turn; whether anything was done. */
static bool turn(struct peer *p)
{
	unsigned n;
	uint64_t now_ns = nomux_now_ns();

	if (now_ns >= p->step_ns) {
		p->step_ns = now_ns + STEP_NS;
		vhostbe_step(p->be);
	}
	n = nomstack_poll(p->s);
	if (p->started)
		send_due(p);
	nomstack_flush(p->s);
	return n;
}

/* For who shares this processor, the virtual machine's interrupts first of all. */
static void turn_or_yield(struct peer *p)
{
	if (!turn(p))
		sched_yield();
}

static int connect_all(struct peer *p, char *err, size_t bytes)
{
	unsigned links = p->load->plan.links, i = 0;
	uint64_t end_ns = nomux_now_ns() + LINK_NS;
	int ret;

	while (!vhostbe_running(p->be) && nomux_now_ns() < end_ns && !*p->stop)
		turn_or_yield(p);
	if (!vhostbe_running(p->be)) {
		snprintf(err, bytes, "no driver runs the device's rings%s%s", peer_trouble(p) ? "; the last connection was dropped: " : "",
			 peer_trouble(p) ? peer_trouble(p) : "");
		return *p->stop ? -EINTR : -ENETDOWN;
	}
	end_ns = nomux_now_ns() + CONNECT_NS;
	while (p->nr_up < links && !p->result->refused && nomux_now_ns() < end_ns && !*p->stop) {
		/* The first one alone: it asks for the server's address on the link. */
		while (i < links && p->nr_connecting < (p->nr_up ? CONNECT_MAX : 1)) {
			ret = conn_open(&p->conn[i], nomux_now_ns());
			if (ret) {
				snprintf(err, bytes, "connection %u of %u: %s", i + 1, links, strerror(-ret));
				return ret;
			}
			i++;
		}
		turn_or_yield(p);
	}
	if (p->nr_up == links)
		return 0;
	snprintf(err, bytes, "%u of %u connections were made: %s", p->nr_up, links,
		 p->result->first_trouble ? p->result->first_trouble : "no answer within 5 s");
	return *p->stop ? -EINTR : -ECONNREFUSED;
}

static void revive(struct peer *p)
{
	uint64_t now_ns = nomux_now_ns();

	for (unsigned i = 0; p->nr_down && i < p->load->plan.links; i++)
		if (p->conn[i].state == DOWN && now_ns >= p->conn[i].tried_ns + RETRY_NS && conn_open(&p->conn[i], now_ns)) {
			p->conn[i].tried_ns = now_ns;
			p->result->refused++;
		}
}

static void run(struct peer *p)
{
	load_start(p->load, nomux_now_ns());
	p->started = true;
	while (!load_over(p->load, nomux_now_ns()) && !*p->stop) {
		turn_or_yield(p);
		if (p->nr_down)
			revive(p);
	}
	p->started = false;
	load_finish(p->load, nomux_now_ns());
}

/* Orderly, and a moment for what that takes: the next load finds a server without old connections. */
static void close_all(struct peer *p)
{
	uint64_t end_ns = nomux_now_ns() + CLOSE_NS;

	for (unsigned i = 0; i < p->load->plan.links; i++) {
		struct conn *k = &p->conn[i];

		if (k->state == CONNECTING)
			nomstack_tcp_abort(k->c);
		else if (k->state == UP)
			nomstack_tcp_close(k->c);
		k->state = DOWN;
	}
	while (nomux_now_ns() < end_ns && !*p->stop)
		turn_or_yield(p);
}

static int setup(struct peer *p, char *err, size_t bytes)
{
	char request[REQUEST_BYTES];
	int len = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", p->to->path, p->to->host);
	unsigned links = p->load->plan.links;

	if (len >= (int)sizeof(request)) {
		snprintf(err, bytes, "the path is too long");
		return -EINVAL;
	}
	p->request_bytes = (size_t)len;
	p->together = TOGETHER_MAX / (unsigned)len < p->load->plan.depth ? TOGETHER_MAX / (unsigned)len : p->load->plan.depth;
	p->requests = malloc(p->together * p->request_bytes);
	p->conn = calloc(links, sizeof(*p->conn));
	if (!p->requests || !p->conn) {
		snprintf(err, bytes, "no memory for %u connections", links);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < p->together; i++)
		memcpy(p->requests + i * p->request_bytes, request, p->request_bytes);
	for (unsigned i = 0; i < links; i++)
		p->conn[i].p = p;
	p->nr_up = p->nr_connecting = 0;
	p->nr_down = links;
	return 0;
}

int peer_run(struct peer *p, struct load *l, const struct net_target *to, struct net_result *out, char *err, size_t bytes)
{
	int ret;

	memset(out, 0, sizeof(*out));
	p->load = l;
	p->to = to;
	p->result = out;
	ret = setup(p, err, bytes);
	if (!ret)
		ret = connect_all(p, err, bytes);
	if (!ret)
		run(p);
	if (p->conn)
		close_all(p);
	free(p->conn);
	free(p->requests);
	p->conn = NULL;
	p->requests = NULL;
	p->load = NULL;
	return ret ? ret : *p->stop ? -EINTR : 0;
}

bool peer_wait(struct peer *p, int fd)
{
	while (!*p->stop) {
		uint64_t next_ns;
		bool ready;

		if (vhostbe_step(p->be) + nomstack_poll(p->s))
			continue;
		if (!nomstack_idle_prepare(p->s))
			continue;
		next_ns = nomstack_next_ns(p->s);
		ready = vhostbe_wait_fd(p->be, fd, next_ns < 1000 * MS ? (int)((next_ns + MS - 1) / MS) : 1000);
		nomstack_idle_done(p->s);
		if (ready)
			return true;
	}
	return false;
}

/* ---------------------------------------------------------------- the whole --- */

int peer_create(const struct peer_opts *o, struct peer **out, char *err, size_t bytes)
{
	struct vhostbe_opts bo = {
		.sz = sizeof(bo), .flags = VHOSTBE_LENIENT,
		.features_on = 1ULL << VIRTIO_RING_F_INDIRECT_DESC | (o->packed ? 1ULL << VIRTIO_F_RING_PACKED : 0),
	};
	struct nomstack_opts so = { .sz = sizeof(so), .ip4 = o->ip4 };
	struct peer *p = calloc(1, sizeof(*p));
	int ret = -ENOMEM;

	if (!p)
		return ret;
	p->stop = o->stop;
	ret = vhostbe_create(o->socket, &bo, &p->be);
	if (ret) {
		snprintf(err, bytes, "%s: %s", o->socket, strerror(-ret));
		goto err_free;
	}
	ret = vnet_peer_create(p->be, o->mac, &p->v);
	if (ret) {
		snprintf(err, bytes, "%s", strerror(-ret));
		goto err_device;
	}
	so.vnet = p->v;
	ret = nomstack_open(&so, &p->s);
	if (ret) {
		snprintf(err, bytes, "%s: %s", o->ip4, ret == -EINVAL ? "must be ADDRESS/PREFIX" : strerror(-ret));
		goto err_vnet;
	}
	*out = p;
	return 0;

err_vnet:
	vnet_peer_destroy(p->v);
err_device:
	vhostbe_destroy(p->be);
err_free:
	free(p);
	return ret;
}

void peer_destroy(struct peer *p)
{
	nomstack_close(p->s);
	vnet_peer_destroy(p->v);
	vhostbe_destroy(p->be);
	free(p);
}

void peer_link(struct peer *p, struct peer_link *out)
{
	const struct vhostbe_stats *b = vhostbe_stats(p->be);
	struct nomstack_stats st;

	nomstack_stats(p->s, &st);
	*out = (struct peer_link){
		.to_guest = b->rx_frames, .from_guest = b->tx_frames, .interrupts = b->calls, .doorbells = b->kicks_tx + b->kicks_rx,
		.lost = vnet_peer_stats(p->v)->tx_lost, .waited = vnet_peer_stats(p->v)->tx_waited, .retransmits = st.tcp_retransmits,
		.protocol_errors = b->protocol_errors, .features = vhostbe_features(p->be),
	};
}

const char *peer_trouble(const struct peer *p)
{
	return vhostbe_last_error(p->be);
}
