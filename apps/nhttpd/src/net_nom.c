// SPDX-License-Identifier: MIT
/*
 * net_nom.c - a private TCP/IP stack on a network device of our own
 *
 * Two places to run.  In a guest with nom: a PCI function through VFIO, the
 * data thread on a leased core, interrupts and prices as upcalls.  Hosted
 * (--device unix:PATH): the same code as an ordinary process on a vhost-user
 * back-end, or with --stack packet or xdp on an interface of the kernel's.
 *
 * The loop makes no system call while there is work; <nomapp/loop.h> has its marks.
 */
#include "net_nom.h"

#include "conn.h"
#include "cores.h"
#include "house.h"
#include "nom_open.h"
#include "price.h"
#include "server.h"
#include "site.h"

#include <nomapp/loop.h>
#include <nomdrv/vnet.h>
#include <nomstack/look.h>
#include <nomstack/nomstack.h>
#include <nomux/clock.h>
#include <nomux/core.h>
#include <nomux/log.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#define JOINED_MAX 65535		/* bytes that come in one go */
#define TICK_NS 1000000ULL
#define STATS_NS 10000000ULL
#define FLUSH_NS 50000000ULL		/* after the last connection: its FIN is on its way */

/* conn.net_flags */
enum { NET_FINISH = 1, NET_LISTED = 2 };

struct nom_net nom;

/* ------------------------------------------------- what conn.c asks for --- */

static void doom(struct conn *c)
{
	if (c->net_flags & NET_LISTED)
		return;
	c->net_flags |= NET_LISTED;
	c->next = nom.doomed;
	nom.doomed = c;
}

static uint32_t nom_room(struct conn *c)
{
	return c->sock.ptr ? nomstack_tcp_room(c->sock.ptr) : 0;
}

static int nom_send(struct conn *c, const void *data, uint32_t len, unsigned flags)
{
	if (!c->sock.ptr)
		return -EPIPE;
	return nomstack_tcp_send(c->sock.ptr, data, len, (flags & SEND_COPY ? NOMSTACK_SEND_COPY : 0) |
				 (flags & SEND_MORE ? NOMSTACK_SEND_MORE : 0));
}

static void nom_hold(struct conn *c, bool hold)
{
	if (c->sock.ptr)
		nomstack_tcp_pause(c->sock.ptr, hold);
}

static void nom_abort(struct conn *c)
{
	struct nomstack_conn *t = c->sock.ptr;

	c->sock.ptr = NULL;
	if (t)
		nomstack_tcp_abort(t);
	doom(c);
}

/*
 * The stack delivers what is queued and lets the peer finish; but what it
 * sends without a copy has to stay where it is until then, so a connection
 * that still refers to the site waits for the acknowledgment.
 */
static void nom_finish(struct conn *c)
{
	struct nomstack_conn *t = c->sock.ptr;

	if (c->gen && c->pending) {
		c->net_flags |= NET_FINISH;
		return;
	}
	c->sock.ptr = NULL;
	if (t)
		nomstack_tcp_close(t);
	doom(c);
}

static void nom_flush(struct conn *c)
{
}

static const struct net_ops nom_ops = {
	.room = nom_room,
	.send = nom_send,
	.hold = nom_hold,
	.finish = nom_finish,
	.abort = nom_abort,
	.flush = nom_flush,
};

/* ------------------------------------------------ what the stack tells --- */

/*
 * Uploads are worth the whole window where the device joins segments.  Where each packet
 * takes a buffer of its own, what a few peers then send at once is more than the
 * receive ring and a host's queue before it hold, and most of it comes twice.
 */
static bool wide_window(const struct server *srv)
{
	return srv->opt->sink && !vnet_no_large_receive(nom.vnet);
}

static void *on_accept(struct nomstack_conn *t, void *arg)
{
	struct server *srv = arg;
	struct conn *c = conn_open(srv);

	if (!c) {
		metric_add(&srv->m, M_REFUSED, 1);
		return NULL;
	}
	c->sock.ptr = t;
	if (!wide_window(srv))
		nomstack_tcp_small_window(t);
	conn_start(c);
	return c;
}

static void on_recv(struct nomstack_conn *t, void *arg, const void *data, uint32_t len)
{
	conn_input(arg, data, len);
}

static void on_sent(struct nomstack_conn *t, void *arg, uint32_t acked)
{
	struct conn *c = arg;

	conn_sent(c, acked);
	if ((c->net_flags & NET_FINISH) && !c->pending)
		nom_finish(c);
}

static void on_closed(struct nomstack_conn *t, void *arg, int err)
{
	struct conn *c = arg;

	if (!err) {
		conn_eof(c);
		return;
	}
	metric_add(&c->srv->m, M_RESETS, 1);
	c->sock.ptr = NULL;
	c->phase = CONN_CLOSING;
	doom(c);
}

static const struct nomstack_tcp_ops tcp_ops = {
	.accept = on_accept,
	.recv = on_recv,
	.sent = on_sent,
	.closed = on_closed,
};

/* ------------------------------------------------------------------ loop --- */

static void bury(void)
{
	while (nom.doomed) {
		struct conn *c = nom.doomed;

		nom.doomed = c->next;
		conn_gone(c);
	}
}

/* Once a millisecond.  Return: true when the loop shall end. */
static bool tick(struct server *srv, uint64_t now_ns)
{
	uint32_t w_us;
	bool end;

	nom.next_tick_ns = now_ns + TICK_NS;
	end = server_tick(srv, now_ns);
	if (nom.price_posts != nom.price_seen || price_board_changed(srv)) {
		nom.price_seen = nom.price_posts;
		metric_set(&srv->m, M_PRICE_UPCALLS, nom.price_seen);
		price_read(srv);
	}
	if (metrics_knobs_changed(&srv->m))
		nom_take_knobs(srv);
	if (srv->cores) {
		nom_share_tick(srv, now_ns);
		end = end && !cores_stay(srv);
	}
	nom.looked_at = nomstack_look(nom.stack);
	if (now_ns >= nom.next_stats_ns) {
		nom.next_stats_ns = now_ns + STATS_NS;
		nom_show_stats(srv);
		if (price_decide(srv, srv->nr_open, &w_us))
			nom_set_w(srv, w_us);
	}
	if (!nom_link_tick(srv, now_ns)) {
		nom.broken = true;
		return true;
	}
	bury();
	return end;
}

/*
 * Work, from the first packet to the first poll without any; under load that
 * may be never, so the ticks happen in here as well.
 */
static bool work(struct server *srv, uint64_t now_ns)
{
	bool end = false;
	unsigned nr;

	BUSY_BEGIN();
	srv->now_ns = now_ns;
	do {
		nr = nomstack_poll(nom.stack);
		if (nom.doomed)
			bury();
		srv->now_ns = nomux_now_ns();
		if (srv->now_ns >= nom.next_tick_ns)
			end = tick(srv, srv->now_ns);
	} while (nr && !end);
	metric_add(&srv->m, M_POLLS, 1);
	BUSY_END();
	return end;
}

static bool due(uint64_t turn_ns, uint64_t *next_ns_out)
{
	*next_ns_out = nomstack_next_ns(nom.stack);
	return app_due(*next_ns_out, nom.w_us, turn_ns, &nom.gap_ns);
}

static void loop(struct server *srv)
{
	const bool may_sleep = srv->opt->idle != IDLE_POLL;
	uint64_t last_ns = nomux_now_ns();

	for (;;) {
		uint64_t now_ns = nomux_now_ns(), turn_ns = now_ns - last_ns, next_ns = 0;

		last_ns = now_ns;
		/* What came is answered first; the tick, due after each longer sleep, is then done in work(). */
		if (now_ns >= nom.next_tick_ns && !vnet_rx_pending(nom.vnet)) {
			bool end;

			BUSY_BEGIN();
			end = tick(srv, now_ns);
			BUSY_END();
			if (end)
				return;
		}
		if (vnet_rx_pending(nom.vnet) || due(turn_ns, &next_ns)) {
			/* The stack tells how late it may be called from how late it was. */
			if (nom.w_us)
				nomstack_idle_done(nom.stack);
			if (work(srv, now_ns))
				return;
			last_ns = srv->now_ns;
		} else if (may_sleep && nom_idle(srv, now_ns, next_ns)) {
			last_ns = nomux_now_ns();	/* the sleep was no turn */
		} else if (nom.pause) {
			__builtin_ia32_pause();
		}
	}
}

/* --------------------------------------------------------------- set-up --- */

static int setup(struct server *srv)
{
	bool hosted = app_hosted(srv->opt->device);
	size_t bytes = srv->opt->site_bytes;
	void *mem[2];
	int ret;

	nom.core = srv->core_lease;
	nom.vnet = srv->core_vnet;
	ret = hosted || nom.core ? EXIT_OK : nom_open_core(srv, &nom.core);
	if (ret)
		return ret;
	ret = nom.vnet ? EXIT_OK : nom_open_device(srv, &nom.vnet);
	if (!ret)
		ret = nom_idle_open(srv);
	if (ret)
		return ret;
	/*
	 * What a peer can have on its way when it is held; and the rest of the segments that
	 * were joined and of which one had it held: their window has been opened again.
	 */
	srv->in_bytes = srv->lim.header_bytes + 1 + JOINED_MAX +
		(wide_window(srv) ? nomstack_tcp_window() : NOMSTACK_WINDOW_MIN);
	if (conn_table_create(srv)) {
		die_message("no memory for %lld connections: lower --max-connections",
			    (long long)srv->opt->max_connections);
		return EXIT_OTHER;
	}
	ret = nom_open_stack(srv, nom.vnet, &nom.stack);
	if (ret)
		return ret;
	mem[0] = nomstack_dma_alloc(nom.stack, bytes);
	mem[1] = nomstack_dma_alloc(nom.stack, bytes);
	if (!mem[0] || !mem[1]) {
		die_message("--site-bytes %zu: not so much DMA memory left: lower it, or boot with more nom_mem=", bytes);
		return EXIT_NO_MEMORY;
	}
	return server_load_site(srv, mem[0], mem[1], bytes);
}

/* "http://10.0.0.2:80/, http://[fd00::2]:80/": all addresses, ready or about to be. */
static void list_addresses(const struct server *srv, char *buf, size_t n)
{
	struct nomstack_addr a[NOMSTACK_MAX_ADDRESSES];
	unsigned nr = nomstack_addresses(nom.stack, a, NOMSTACK_MAX_ADDRESSES);
	char ip[NOMSTACK_ADDR_TEXT];
	size_t at = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < nr && at < n; i++)
		at += (size_t)snprintf(buf + at, n - at, a[i].family == 6 ? "%shttp://[%s]:%d/" : "%shttp://%s:%d/",
				       i ? ", " : "", nomstack_addr_text(&a[i], ip, sizeof(ip)), (int)srv->opt->port);
}

static int start(struct server *srv)
{
	static struct server *self;
	char where[704], urls[512], large[96];
	int64_t w_us = 0;
	int ret;

	nom_offer_knobs(srv);
	nom_link_open(srv);
	ret = nomstack_look_open(nom.stack, srv->core_nr);
	if (ret)
		nomux_log(LOG_WARNING, "nhttpd: nomctl cannot look at the stack: no file in /dev/shm: %s", strerror(-ret));
	price_read(srv);
	nomstack_knob_get(nom.stack, "w_us", &w_us);	/* the profile's */
	nom_set_w(srv, srv->opt->w_us >= 0 ? srv->opt->w_us : w_us);
	self = srv;
	ret = srv->cores ? EXIT_OK : house_start(srv, &self, 1);
	if (!ret && nom.core)
		ret = nom_enter_core(srv);
	if (!ret && srv->opt->stack >= STACK_PACKET)
		ret = app_pin((int)srv->opt->cpu);
	if (ret)
		return ret;
	atomic_store(&srv->wake, nom_wake);
	server_tick(srv, nomux_now_ns());
	ret = nomstack_tcp_listen(nom.stack, srv->opt->port, 255, &tcp_ops, srv);
	if (ret) {
		die_message("cannot listen on port %d: %s", (int)srv->opt->port, strerror(-ret));
		return EXIT_ADDRESS;
	}
	list_addresses(srv, urls, sizeof(urls));
	nom_large_text(srv, nom.vnet, large, sizeof(large));
	if (srv->cores) {
		nom.joined = true;
		return cores_ready(srv, urls, nomstack_profile());
	}
	if (nom.core)
		snprintf(where, sizeof(where), "%s, core %d, device %s, %s, profile %s", urls, nomux_core_cpu(nom.core),
			 srv->opt->device, large, nomstack_profile());
	else
		snprintf(where, sizeof(where), "%s, %s, device %s, %s, profile %s", urls,
			 srv->opt->stack >= STACK_PACKET ? app_interface_text(nom.vnet) : "hosted", srv->opt->device, large, nomstack_profile());
	server_announce(srv, where);
	return EXIT_OK;
}

/* Everything goes back, in the reverse order, whatever was reached. */
static void teardown(struct server *srv)
{
	atomic_store(&srv->wake, NULL);
	if (nom.stack) {
		uint64_t end_ns = nomux_now_ns() + FLUSH_NS;

		nomstack_tcp_unlisten(nom.stack, srv->opt->port);
		while (!nom.broken && nomux_now_ns() < end_ns)
			nomstack_poll(nom.stack);
		bury();
		nom_show_stats(srv);
	}
	nomstack_close(nom.stack);
	if (srv->cores && nom.vnet) {
		/* The device is all cores', and closed when the last has gone. */
		vnet_irq_unbind(nom.vnet);
		vnet_config_unbind(nom.vnet);
		if (nom.joined)
			cores_leave(srv);
	} else {
		vnet_close(nom.vnet);
	}
	nomux_core_release(nom.core);	/* this thread is back on ordinary cores */
	nom.core = NULL;
	if (!srv->cores)
		house_stop(srv);
	app_idle_close(&nom.idle);
	conn_table_destroy(srv);
	server_free_site(srv);
}

int net_nom_run(struct server *srv)
{
	int ret;

	nom.idle.wake_fd = nom.price_event = -1;
	nom.idle_us = srv->opt->idle == IDLE_IRQ ? 0 : srv->opt->idle_us;
	nom.pause = srv->opt->pause == PAUSE_ON || (srv->opt->pause == PAUSE_AUTO && !app_emulated_cpu());
	srv->net = &nom_ops;
	ret = setup(srv);
	if (!ret)
		ret = start(srv);
	if (!ret) {
		loop(srv);
		/* told to stop while the device was gone: that is what it does */
		ret = nom.broken && !atomic_load(&srv->stop) ? EXIT_DEVICE : EXIT_OK;
	}
	teardown(srv);
	return ret;
}
