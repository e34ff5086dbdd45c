// SPDX-License-Identifier: MIT
/*
 * net_nom.c - a device of our own: the loop, the core, the end
 *
 * In a guest with nom a PCI function through VFIO, the data thread on a leased core;
 * hosted (--device unix:PATH) an ordinary process on a vhost-user back-end; and with
 * --stack packet or xdp one on an interface of the kernel's.
 *
 * <nomapp/loop.h> has what its loop shares with nhttpd's.
 */
#include "server.h"
#include "tier.h"

#include <nomapp/idle.h>
#include <nomapp/link.h>
#include <nomapp/loop.h>
#include <nomapp/mend.h>
#include <nomdrv/vnet.h>
#include <nomux/clock.h>
#include <nomux/core.h>
#include <nomux/log.h>
#include <nomux/upcall.h>

#include <linux/virtio_net.h>

#include <stdio.h>
#include <string.h>
#include <syslog.h>

#define TICK_NS 1000000ULL
#define SHOW_NS 10000000ULL
#define SLEEP_MAX_NS 100000000ULL	/* the request to stop, and knobs, are looked at that often when idle */
#define SLEEP_LOOK_NS 1000000ULL	/* and questions, while somebody asks */

static struct {
	struct nomux_core *core;	/* NULL: hosted */
	struct vnet *v;
	const struct tier_ops *tier;
	struct app_idle idle;
	struct app_link link;
	uint64_t w_us, gap_ns;
	uint64_t next_tick_ns, next_show_ns;
	uint64_t polls;
	bool opened, broken, looked_at;
} net;

/* ----------------------------------------------------- knobs and counters --- */

static const struct nomstack_knob idle_knob = {
	"idle_us", "us", "how long to poll without work before sleeping, at most: latency of the next request for CPU time", 1, 10000000, 10000,
};

static int offer_knobs(struct server *srv)
{
	unsigned nr;
	const struct nomstack_knob *k = net.tier->knobs(&nr);
	int ret = 0;

	for (unsigned i = 0; !ret && i < nr; i++)
		ret = metrics_knob(&srv->m, &k[i]);
	if (!ret && srv->opt.idle == IDLE_AUTO)
		ret = metrics_knob(&srv->m, &idle_knob);
	return ret;
}

/* The values in force, of all: W is three knobs on the native tier, and who sets one changes another. */
static void show_knobs(struct server *srv)
{
	unsigned nr;
	const struct nomstack_knob *k = net.tier->knobs(&nr);
	int64_t v;

	for (unsigned i = 0; i < nr; i++)
		if (!net.tier->knob_get(k[i].name, &v))
			metrics_show_knob(&srv->m, i, v);
	if (!net.tier->knob_get("w_us", &v))
		net.w_us = (uint64_t)v;
	metric_set(&srv->m, M_W_US, net.w_us);
}

static void set_knob(struct server *srv, const char *name, int64_t v)
{
	int ret = net.tier->knob_set(name, v);

	if (ret)
		nomux_log(LOG_ERR, "nomudp: knob %s = %lld: %s", name, (long long)v, strerror(-ret));
	show_knobs(srv);
}

static void set_idle(struct server *srv, uint64_t us)
{
	unsigned nr;

	net.tier->knobs(&nr);
	metrics_show_knob(&srv->m, nr, (int64_t)us);
	app_idle_bound(&net.idle, us);
}

static void take_knobs(struct server *srv)
{
	unsigned nr;
	const struct nomstack_knob *k = net.tier->knobs(&nr);
	int64_t v;

	for (unsigned i = 0; i < nr; i++)
		if (metrics_take(&srv->m, i, &v))
			set_knob(srv, k[i].name, v);
	if (metrics_take(&srv->m, nr, &v))
		set_idle(srv, (uint64_t)v);
}

static void show(struct server *srv)
{
	const struct vnet_stats *v = vnet_stats(net.v);
	struct metrics *m = &srv->m;

	net.tier->show(srv);
	metric_set(m, M_POLLS, net.polls);
	app_idle_count(&net.idle);
	metric_set(m, M_RX_PACKETS, v->rx_packets);
	metric_set(m, M_TX_PACKETS, v->tx_packets);
	metric_set(m, M_DOORBELLS_RX, v->doorbells_rx);
	metric_set(m, M_DOORBELLS_TX, v->doorbells_tx);
	metric_set(m, M_INTERRUPTS, v->interrupts);
	metric_set(m, M_RX_BAD, v->rx_bad);
	metric_set(m, M_RX_OTHERS, v->rx_others);
	metric_set(m, M_RX_LOST, v->rx_lost);
	metric_set(m, M_TX_LOST, v->tx_lost);
	metric_set(m, M_RESTARTS, v->restarts);
	metric_set(m, M_BUSY_POLLS, v->busy_polls);
	metric_set(m, M_XDP_MODE, vnet_xdp_mode(net.v));
}

/* ------------------------------------------------------------------ loop --- */

static int restart(void *arg)
{
	return net.tier->restart();
}

static bool stopping(void *arg)
{
	struct server *srv = arg;

	return atomic_load_explicit(&srv->stop, memory_order_relaxed);
}

/* Without the device.  Nothing wakes this thread for a signal: look that often. */
static void nap(void *arg, uint64_t ns)
{
	app_idle_nap(&net.idle, ns < SLEEP_MAX_NS ? ns : SLEEP_MAX_NS);
}

static int announce_address(void *arg)
{
	return net.tier->announce();
}

/* A device that failed is brought up again; true when that does not help. */
static bool device_is_gone(struct server *srv, uint64_t now_ns)
{
	struct app_mend mend = { .device = srv->opt.device, .restart = restart, .stopping = stopping, .nap = nap, .arg = srv };

	if (!app_link_failed(&net.link, now_ns, false) || !app_mend(&mend, net.v))
		return false;
	net.broken = !stopping(srv);
	return true;
}

/* Once a millisecond.  True when the loop shall end. */
static bool tick(struct server *srv, uint64_t now_ns)
{
	net.next_tick_ns = now_ns + TICK_NS;
	if (atomic_load_explicit(&srv->stop, memory_order_relaxed))
		return true;
	net.looked_at = net.tier->look && net.tier->look();
	if (now_ns >= net.next_show_ns) {
		net.next_show_ns = now_ns + SHOW_NS;
		show(srv);
		take_knobs(srv);
	}
	return device_is_gone(srv, now_ns);
}

/* From the first frame to the first poll without any; under load that may be never. */
static bool work(struct server *srv, uint64_t *now_ns)
{
	bool end = false;
	unsigned nr;

	BUSY_BEGIN();
	do {
		nr = net.tier->poll(*now_ns);
		*now_ns = nomux_now_ns();
		if (*now_ns >= net.next_tick_ns)
			end = tick(srv, *now_ns);
	} while (nr && !end);
	net.polls++;
	BUSY_END();
	return end;
}

static bool prepare(void *arg)
{
	show(arg);
	return net.tier->idle_prepare();
}

static void done(void *arg)
{
	net.tier->idle_done();
}

/* A turn without work. */
static bool idle(uint64_t now_ns, uint64_t max_ns)
{
	/* A batch may be held, and ends within W: the tier would refuse to sleep. */
	bool held = net.w_us && max_ns <= net.w_us * 1000, woken;

	if (max_ns > (net.looked_at ? SLEEP_LOOK_NS : SLEEP_MAX_NS))
		max_ns = net.looked_at ? SLEEP_LOOK_NS : SLEEP_MAX_NS;
	return app_idle(&net.idle, now_ns, max_ns, held, &woken);
}

static bool is_due(uint64_t now_ns, uint64_t turn_ns, uint64_t *next_ns_out)
{
	*next_ns_out = net.tier->next_ns(now_ns);
	return app_due(*next_ns_out, net.w_us, turn_ns, &net.gap_ns);
}

static void loop(struct server *srv)
{
	const bool may_sleep = srv->opt.idle != IDLE_POLL;
	uint64_t last_ns = nomux_now_ns();

	for (;;) {
		uint64_t now_ns = nomux_now_ns(), turn_ns = now_ns - last_ns, next_ns = 0;

		last_ns = now_ns;
		if (now_ns >= net.next_tick_ns) {
			bool end;

			BUSY_BEGIN();
			end = tick(srv, now_ns);
			BUSY_END();
			if (end)
				return;
		}
		if (vnet_rx_pending(net.v) || is_due(now_ns, turn_ns, &next_ns)) {
			/* The tier tells how late it may be called from how late it was. */
			if (net.w_us)
				net.tier->idle_done();
			if (work(srv, &now_ns))
				return;
			last_ns = now_ns;
		} else if (may_sleep && idle(now_ns, next_ns)) {
			last_ns = nomux_now_ns();	/* the sleep was no turn */
		} else if (srv->opt.pause) {
			__builtin_ia32_pause();
		}
	}
}

/* --------------------------------------------------------------- set-up --- */

/* When to sleep, and what ends that; of the link and requests to announce our address. */
static int open_idle(struct server *srv)
{
	uint64_t *const *word = srv->m.word;

	net.idle = (struct app_idle){
		.v = net.v, .device = srv->opt.device, .core = net.core, .prepare = prepare, .done = done, .arg = srv,
		.sleeps = word[M_SLEEPS], .wakeups = word[M_WAKEUPS], .syscalls = word[M_SYSCALLS], .spin_ns = word[M_SPIN_NS],
	};
	net.link = (struct app_link){
		.v = net.v, .device = srv->opt.device, .announce = announce_address,
		.up = word[M_LINK_UP], .changes = word[M_LINK_CHANGES], .announcements = word[M_ANNOUNCEMENTS],
	};
	app_link_open(&net.link);
	return app_idle_open(&net.idle);
}

/* From here on this thread lives on the leased core. */
static int enter_core(struct server *srv)
{
	int ret = app_idle_enter(&net.idle, srv->opt.idle == IDLE_POLL);

	if (!ret)
		nomux_unmask(net.core);
	return ret;
}

static int setup(struct server *srv)
{
	/* the raw tier allocates nothing: the driver's own buffers are all it needs */
	struct vnet_opts opts = { .sz = sizeof(opts), .arena_bytes = srv->opt.tier == TIER_RAW ? 4096 : 0,
				   .xdp_mode = (unsigned)srv->opt.xdp_mode, .xdp_busy_us = (unsigned)(srv->opt.stack == STACK_XDP ? srv->opt.busy_poll_us : 0) };
	int ret = app_hosted(srv->opt.device) ? EXIT_OK : app_open_core(&srv->nomux, (int)srv->opt.cpu, 0, NULL, &net.core);

	/* Of a vhost-user back-end no control queue is asked for, as in nhttpd. */
	if (!app_hosted(srv->opt.device))
		opts.features_on |= 1ULL << VIRTIO_NET_F_CTRL_VQ | 1ULL << VIRTIO_NET_F_GUEST_ANNOUNCE;
	if (srv->opt.large_receive)
		opts.features_on |= 1ULL << VIRTIO_NET_F_MRG_RXBUF | 1ULL << VIRTIO_NET_F_GUEST_USO4 | 1ULL << VIRTIO_NET_F_GUEST_USO6;
	if (!ret)
		ret = app_open_device(srv->nomux, srv->opt.device, &opts, 0, NULL, &net.v);
	if (!ret && srv->opt.large_receive && !(vnet_features(net.v) & 1ULL << VIRTIO_NET_F_GUEST_USO4))
		nomux_log(LOG_NOTICE, "nomudp: --large-receive: no datagrams come joined (VIRTIO_NET_F_GUEST_USO4: %s)",
			  vnet_feature_reason(net.v, VIRTIO_NET_F_GUEST_USO4));
	if (!ret)
		ret = server_signals(srv);
	if (!ret && srv->opt.stack >= STACK_PACKET)
		ret = app_pin((int)srv->opt.cpu);
	if (!ret)
		ret = net.tier->open(srv, net.v);
	if (ret)
		return ret;
	net.opened = true;
	ret = open_idle(srv);
	if (ret)
		return ret;
	ret = offer_knobs(srv);
	if (ret)
		nomux_log(LOG_ERR, "nomudp: cannot offer a knob: %s", strerror(-ret));
	set_knob(srv, "w_us", srv->opt.w_us);
	set_idle(srv, srv->opt.idle == IDLE_IRQ ? 0 : (uint64_t)srv->opt.idle_us);
	return net.core ? enter_core(srv) : EXIT_OK;
}

static void announce(struct server *srv)
{
	char where[240], core[64];

	snprintf(core, sizeof(core), "%s", srv->opt.stack >= STACK_PACKET ? app_interface_text(net.v) : "hosted");
	if (net.core)
		snprintf(core, sizeof(core), "core %d", nomux_core_cpu(net.core));
	snprintf(where, sizeof(where), "udp://%.*s:%d/, %s, device %s", (int)strcspn(srv->opt.ip, "/"), srv->opt.ip,
		 (int)srv->opt.port, core, srv->opt.device);
	server_announce(srv, where);
}

int net_nom_run(struct server *srv)
{
	int ret;

	net.tier = srv->opt.tier == TIER_RAW ? &tier_raw : &tier_native;
	net.idle.wake_fd = -1;
	ret = setup(srv);
	if (!ret) {
		announce(srv);
		loop(srv);
		ret = net.broken ? EXIT_DEVICE : EXIT_OK;
	}
	/* Everything goes back, in the reverse order, whatever was reached. */
	if (net.opened)
		show(srv);
	net.tier->close();
	vnet_close(net.v);
	nomux_core_release(net.core);
	app_idle_close(&net.idle);
	return ret;
}
