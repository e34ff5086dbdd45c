// SPDX-License-Identifier: MIT
/*
 * net_nom.c - a private TCP/IP stack on a network device of our own
 *
 * Two places to run.  In a guest with nom: a PCI function through VFIO, the
 * data thread on a leased core, interrupts and prices as upcalls.  Hosted
 * (--device unix:PATH): the same code as an ordinary process on a vhost-user
 * back-end.
 *
 * The loop makes no system call while there is work.  Its idle turns look at
 * two things only, the receive ring and the stack's next deadline, so that
 * whatever touches a packet lies between the markers BUSY_BEGIN and BUSY_END:
 * NOPs that tell an instruction counter (scripts/tcg-count) work from waiting.
 * A busy stretch ends with a poll that found nothing, and that poll counts.
 */
#include "conn.h"
#include "house.h"
#include "nom_open.h"
#include "price.h"
#include "server.h"
#include "site.h"

#include <nomdrv/vnet.h>
#include <nomstack/look.h>
#include <nomstack/nomstack.h>
#include <nomux/clock.h>
#include <nomux/core.h>
#include <nomux/log.h>
#include <nomux/notify.h>
#include <nomux/upcall.h>

#include <linux/nom.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define BUSY_BEGIN() __asm__ __volatile__(".byte 0x0f,0x1f,0x80,0x10,0x4d,0x4f,0x4e" ::: "memory")
#define BUSY_END() __asm__ __volatile__(".byte 0x0f,0x1f,0x80,0x11,0x4d,0x4f,0x4e" ::: "memory")

#define TICK_NS 1000000ULL
#define STATS_NS 10000000ULL
#define CHECK_NS 1000000000ULL
#define SLEEP_MAX_NS 100000000ULL	/* knobs are looked at that often when idle */
#define SLEEP_LOOK_NS 1000000ULL	/* and questions, while somebody asks */
#define FLUSH_NS 50000000ULL		/* after the last connection: its FIN is on its way */

/* conn.net_flags */
enum { NET_FINISH = 1, NET_LISTED = 2 };

static struct nom_net {
	struct nomux_core *core;	/* NULL: hosted */
	struct vnet *vnet;
	struct nomstack *stack;
	struct conn *doomed;		/* slots to be freed after this poll */
	int wake_fd;			/* hosted */
	int wake_event, price_event, irq_event;
	volatile uint64_t price_posts;	/* upcall adds */
	uint64_t price_seen;
	bool pause, broken, w_said, looked_at;
	uint64_t w_us;
	uint64_t gap_ns;		/* how far turns of the loop lie apart, decaying maximum */
	uint64_t idle_us;
	uint64_t next_tick_ns, next_stats_ns, next_check_ns;
} net;

/* ------------------------------------------------- what conn.c asks for --- */

static void doom(struct conn *c)
{
	if (c->net_flags & NET_LISTED)
		return;
	c->net_flags |= NET_LISTED;
	c->next = net.doomed;
	net.doomed = c;
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

static void *on_accept(struct nomstack_conn *t, void *arg)
{
	struct server *srv = arg;
	struct conn *c = conn_open(srv);

	if (!c) {
		metric_add(&srv->m, M_REFUSED, 1);
		return NULL;
	}
	c->sock.ptr = t;
	if (!srv->opt->sink)
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

/* -------------------------------------------------------------- upcalls --- */

/* Runs on the upcall stack in the middle of anything: no SSE, no calls. */
__attribute__((target("general-regs-only")))
static void on_price_event(unsigned int event, uint64_t count, void *arg)
{
	net.price_posts += count;
}

/* Only ends nomux_wait(); what to do is in server.stop and friends. */
__attribute__((target("general-regs-only")))
static void on_wake_event(unsigned int event, uint64_t count, void *arg)
{
}

static void nom_wake(struct server *srv)
{
	uint64_t one = 1;
	int ret = net.core ? nomux_notify(srv->nomux, nomux_core_handle(net.core), net.wake_event) :
		  write(net.wake_fd, &one, sizeof(one)) < 0 ? -errno : 0;

	/* Not fatal: an idle loop looks by itself, ten times a second. */
	if (ret)
		nomux_log(LOG_WARNING, "nhttpd: cannot wake the serving thread: %s", strerror(-ret));
}

/* ----------------------------------------------------- knobs and counters --- */

static void set_w(struct server *srv, int64_t w_us)
{
	int ret = nomstack_knob_set(net.stack, "w_us", w_us);

	if (ret) {
		if (!net.w_said)
			nomux_log(LOG_ERR, "nhttpd: the stack refuses W = %lld us: %s; W stays %llu us", (long long)w_us,
				  strerror(-ret), (unsigned long long)net.w_us);
		net.w_said = true;
		price_set_w(srv, net.w_us);
		return;
	}
	net.w_us = w_us;
	metric_set(&srv->m, M_W_US, w_us);
	metrics_show_knob(&srv->m, K_STACK, w_us);
}

static void take_knobs(struct server *srv)
{
	const struct nomstack_knob *k;
	unsigned nr;
	int64_t v;

	k = nomstack_knobs(&nr);
	for (unsigned i = 0; i < nr && i < STACK_KNOBS_MAX; i++) {
		if (!metrics_take(&srv->m, K_STACK + i, &v))
			continue;
		if (!strcmp(k[i].name, "w_us")) {
			set_w(srv, v);
			price_set_w(srv, net.w_us);
		} else if (!nomstack_knob_set(net.stack, k[i].name, v)) {
			metrics_show_knob(&srv->m, K_STACK + i, v);
			if (!nomstack_knob_get(net.stack, "w_us", &v)) {
				net.w_us = v;
				metric_set(&srv->m, M_W_US, v);
			}
		}
	}
	if (metrics_take(&srv->m, K_IDLE_US, &v))
		net.idle_us = v;
}

static int offer_knobs(struct server *srv)
{
	const struct nomstack_knob *k;
	unsigned nr;
	int ret = 0;

	k = nomstack_knobs(&nr);
	for (unsigned i = 0; !ret && i < nr && i < STACK_KNOBS_MAX; i++)
		ret = metrics_knob(&srv->m, K_STACK + i, k[i].name, k[i].unit, k[i].effect, k[i].min, k[i].max, k[i].def);
	if (!ret && srv->opt->idle == IDLE_AUTO)
		ret = metrics_knob(&srv->m, K_IDLE_US, "idle_us", "us",
				   "how long to poll without work before sleeping: latency of the next request for CPU time",
				   1, 10000000, srv->opt->idle_us);
	if (ret)
		nomux_log(LOG_ERR, "nhttpd: cannot offer a knob: %s", strerror(-ret));
	return ret;
}

static void show_stats(struct server *srv)
{
	const struct vnet_stats *v = vnet_stats(net.vnet);
	struct metrics *m = &srv->m;
	struct nomstack_stats s;

	nomstack_stats(net.stack, &s);
	metric_set(m, M_RX_PACKETS, v->rx_packets);
	metric_set(m, M_TX_PACKETS, v->tx_packets);
	metric_set(m, M_RX_BATCHES, s.rx_batches);
	metric_set(m, M_TX_BATCHES, s.tx_batches);
	metric_set(m, M_DOORBELLS_RX, v->doorbells_rx);
	metric_set(m, M_DOORBELLS_TX, v->doorbells_tx);
	metric_set(m, M_INTERRUPTS, v->interrupts);
	metric_set(m, M_RX_BAD, v->rx_bad);
	metric_set(m, M_DROPS, s.drop_csum + s.drop_mem + s.drop_proto);
	metric_set(m, M_DROP_ARP, s.drop_arp);
	metric_set(m, M_DROP_ICMP, s.drop_icmp);
	metric_set(m, M_DROP_FRAGMENT, s.drop_fragment);
	metric_set(m, M_RETRANSMITS, s.tcp_retransmits);
	metric_set(m, M_PREDICTED, s.tcp_predicted);
	metric_set(m, M_TX_ZERO_COPY, s.tx_zero_copy);
	metric_set(m, M_TX_LONG, s.tx_long);
	metric_set(m, M_TX_JOINED, s.tx_joined);
	metric_set(m, M_DELAY_RX, s.delay_max_ns_rx);
	metric_set(m, M_DELAY_TX, s.delay_max_ns_tx);
}

/* ------------------------------------------------------------------ loop --- */

static void bury(void)
{
	while (net.doomed) {
		struct conn *c = net.doomed;

		net.doomed = c->next;
		conn_gone(c);
	}
}

/* Once a millisecond.  Return: true when the loop shall end. */
static bool tick(struct server *srv, uint64_t now_ns)
{
	uint32_t w_us;
	bool end;

	net.next_tick_ns = now_ns + TICK_NS;
	end = server_tick(srv, now_ns);
	if (net.price_posts != net.price_seen || price_board_changed(srv)) {
		net.price_seen = net.price_posts;
		metric_set(&srv->m, M_PRICE_UPCALLS, net.price_seen);
		price_read(srv);
	}
	if (metrics_knobs_changed(&srv->m))
		take_knobs(srv);
	net.looked_at = nomstack_look(net.stack);
	if (now_ns >= net.next_stats_ns) {
		net.next_stats_ns = now_ns + STATS_NS;
		show_stats(srv);
		if (price_decide(srv, srv->nr_open, &w_us))
			set_w(srv, w_us);
	}
	if (now_ns >= net.next_check_ns) {
		const char *reason = "no reason given";
		char why[160];

		net.next_check_ns = now_ns + CHECK_NS;
		if (vnet_check(net.vnet)) {
			vnet_error(net.vnet, &reason);
			snprintf(why, sizeof(why), "%s", reason);	/* the next try has its own */
			if (nomstack_restart(net.stack)) {
				die_message("--device %s: the device failed: %s", srv->opt->device, why);
				net.broken = true;
				return true;
			}
		}
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
		nr = nomstack_poll(net.stack);
		if (net.doomed)
			bury();
		srv->now_ns = nomux_now_ns();
		if (srv->now_ns >= net.next_tick_ns)
			end = tick(srv, srv->now_ns);
	} while (nr && !end);
	metric_add(&srv->m, M_POLLS, 1);
	BUSY_END();
	return end;
}

static void sleep_hosted(struct server *srv, uint64_t ns)
{
	struct pollfd fds[2] = { { .fd = vnet_irq_fd(net.vnet), .events = POLLIN }, { .fd = net.wake_fd, .events = POLLIN } };
	struct timespec ts = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
	uint64_t drop;

	ppoll(fds, 2, &ts, NULL);
	metric_add(&srv->m, M_SYSCALLS, 2);	/* and the read of the interrupt's eventfd */
	if ((fds[1].revents & POLLIN) && read(net.wake_fd, &drop, sizeof(drop)) > 0)
		net.next_tick_ns = 0;
}

/* Nothing to do: until the device, the price, a signal or a timer says so. */
static void idle_sleep(struct server *srv, uint64_t max_ns)
{
	if (max_ns > (net.looked_at ? SLEEP_LOOK_NS : SLEEP_MAX_NS))
		max_ns = net.looked_at ? SLEEP_LOOK_NS : SLEEP_MAX_NS;
	if (net.core)
		nomux_mask(net.core);
	if (nomstack_idle_prepare(net.stack)) {
		metric_add(&srv->m, M_SLEEPS, 1);
		if (net.core) {
			metric_add(&srv->m, M_SYSCALLS, 1);
			nomux_wait(net.core, max_ns);
		} else {
			sleep_hosted(srv, max_ns);
		}
		nomstack_idle_done(net.stack);
	}
	if (net.core)
		nomux_unmask(net.core);
}

/*
 * With W > 0 the stack lets a batch go a little before its delay ends, since
 * the next look might come too late: be there in time.
 */
static bool due(uint64_t turn_ns, uint64_t *next_ns_out)
{
	uint64_t next_ns = nomstack_next_ns(net.stack);

	*next_ns_out = next_ns;
	if (!net.w_us)
		return next_ns == 0;
	net.gap_ns -= net.gap_ns / 64;
	if (turn_ns > net.gap_ns)
		net.gap_ns = turn_ns;
	return next_ns <= 2 * net.gap_ns;
}

static void loop(struct server *srv)
{
	const bool may_sleep = srv->opt->idle != IDLE_POLL;
	uint64_t last_ns = nomux_now_ns(), idle_since_ns = last_ns;

	for (;;) {
		uint64_t now_ns = nomux_now_ns(), turn_ns = now_ns - last_ns, next_ns = 0;
		bool asked;

		last_ns = now_ns;
		if (now_ns >= net.next_tick_ns) {
			bool end;

			BUSY_BEGIN();
			end = tick(srv, now_ns);
			BUSY_END();
			if (end)
				return;
		}
		asked = vnet_rx_pending(net.vnet);
		if (asked || due(turn_ns, &next_ns)) {
			/* The stack tells how late it may be called from how late it was. */
			if (net.w_us)
				nomstack_idle_done(net.stack);
			if (work(srv, now_ns))
				return;
			last_ns = srv->now_ns;
			/* A timer is no reason to expect more, and TCP's is due four times a second. */
			if (asked)
				idle_since_ns = last_ns;
		} else if (may_sleep && now_ns - idle_since_ns >= net.idle_us * 1000) {
			idle_sleep(srv, next_ns);
			last_ns = nomux_now_ns();	/* the sleep was no turn */
		} else if (net.pause) {
			__builtin_ia32_pause();
		}
	}
}

/* --------------------------------------------------------------- set-up --- */

/* From here on this thread lives on the leased core. */
static int enter_core(struct server *srv)
{
	int ret = nomux_core_enter(net.core);

	if (ret) {
		die_message("cannot enter core %d: %s", nomux_core_cpu(net.core), strerror(-ret));
		return EXIT_NO_CORE;
	}
	net.irq_event = nomux_event_alloc(net.core);
	ret = net.irq_event < 0 ? net.irq_event : vnet_irq_bind(net.vnet, net.core, net.irq_event);
	if (ret && srv->opt->idle != IDLE_POLL) {
		die_message("--device %s: its interrupt cannot become an upcall: %s: use --poll, or a device with MSI-X",
			    srv->opt->device, strerror(-ret));
		return EXIT_DEVICE;
	}
	ret = nomux_subscribe(net.core, net.price_event, 1ULL << NOM_BOARD_PRICES);
	if (ret)
		nomux_log(LOG_WARNING, "nhttpd: no upcall for prices (%s): the board is looked at instead", strerror(-ret));
	nomux_unmask(net.core);
	return EXIT_OK;
}

static int setup(struct server *srv)
{
	bool hosted = !strncmp(srv->opt->device, "unix:", 5);
	size_t bytes = srv->opt->site_bytes;
	void *mem[2];
	int ret;

	/* What a peer can have on its way when it is held; uploads are worth a larger window. */
	srv->in_bytes = srv->lim.header_bytes + 1 + (srv->opt->sink ? nomstack_tcp_window() : NOMSTACK_WINDOW_MIN);
	if (conn_table_create(srv)) {
		die_message("no memory for %lld connections: lower --max-connections",
			    (long long)srv->opt->max_connections);
		return EXIT_OTHER;
	}
	ret = hosted ? EXIT_OK : nom_open_core(srv, &net.core);
	if (ret)
		return ret;
	if (net.core) {
		net.wake_event = nomux_event_alloc(net.core);
		net.price_event = nomux_event_alloc(net.core);
		nomux_on_event(net.core, net.wake_event, on_wake_event, NULL);
		nomux_on_event(net.core, net.price_event, on_price_event, NULL);
	}
	ret = nom_open_device(srv, &net.vnet);
	if (!ret)
		ret = nom_open_stack(srv, net.vnet, &net.stack);
	if (ret)
		return ret;
	mem[0] = nomstack_dma_alloc(net.stack, bytes);
	mem[1] = nomstack_dma_alloc(net.stack, bytes);
	if (!mem[0] || !mem[1]) {
		die_message("--site-bytes %zu: not so much DMA memory left: lower it, or boot with more nom_mem=", bytes);
		return EXIT_NO_MEMORY;
	}
	return server_load_site(srv, mem[0], mem[1], bytes);
}

static int start(struct server *srv)
{
	char ip[INET_ADDRSTRLEN] = "?", where[160];
	uint32_t ip_be = 0;
	int ret;

	offer_knobs(srv);
	ret = nomstack_look_open(net.stack);
	if (ret)
		nomux_log(LOG_WARNING, "nhttpd: nomctl cannot look at the stack: no file in /dev/shm: %s", strerror(-ret));
	price_read(srv);
	set_w(srv, srv->opt->w_us >= 0 ? srv->opt->w_us : 0);
	net.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (net.wake_fd < 0) {
		die_message("cannot set up: %s", strerror(errno));
		return EXIT_OTHER;
	}
	ret = house_start(srv);
	if (!ret && net.core)
		ret = enter_core(srv);
	if (ret)
		return ret;
	atomic_store(&srv->wake, nom_wake);
	server_tick(srv, nomux_now_ns());
	ret = nomstack_tcp_listen(net.stack, srv->opt->port, 255, &tcp_ops, srv);
	if (ret) {
		die_message("cannot listen on port %d: %s", (int)srv->opt->port, strerror(-ret));
		return EXIT_ADDRESS;
	}
	nomstack_address(net.stack, &ip_be, NULL);
	inet_ntop(AF_INET, &ip_be, ip, sizeof(ip));
	if (net.core)
		snprintf(where, sizeof(where), "http://%s:%d/, core %d, device %s", ip, (int)srv->opt->port,
			 nomux_core_cpu(net.core), srv->opt->device);
	else
		snprintf(where, sizeof(where), "http://%s:%d/, hosted, device %s", ip, (int)srv->opt->port, srv->opt->device);
	server_announce(srv, where);
	return EXIT_OK;
}

/* Everything goes back, in the reverse order, whatever was reached. */
static void teardown(struct server *srv)
{
	atomic_store(&srv->wake, NULL);
	if (net.stack) {
		uint64_t end_ns = nomux_now_ns() + FLUSH_NS;

		nomstack_tcp_unlisten(net.stack, srv->opt->port);
		while (!net.broken && nomux_now_ns() < end_ns)
			nomstack_poll(net.stack);
		bury();
		show_stats(srv);
	}
	nomstack_close(net.stack);
	vnet_close(net.vnet);
	nomux_core_release(net.core);	/* this thread is back on ordinary cores */
	net.core = NULL;
	house_stop(srv);
	if (net.wake_fd >= 0)
		close(net.wake_fd);
	conn_table_destroy(srv);
	server_free_site(srv);
}

int net_nom_run(struct server *srv)
{
	int ret;

	net.wake_fd = -1;
	net.idle_us = srv->opt->idle == IDLE_IRQ ? 0 : srv->opt->idle_us;
	net.pause = srv->opt->pause == PAUSE_ON || (srv->opt->pause == PAUSE_AUTO && !nom_emulated_cpu());
	srv->net = &nom_ops;
	ret = setup(srv);
	if (!ret)
		ret = start(srv);
	if (!ret) {
		loop(srv);
		ret = net.broken ? EXIT_DEVICE : EXIT_OK;
	}
	teardown(srv);
	return ret;
}
