// SPDX-License-Identifier: MIT
/* nom_knobs.c - knobs and counters of the private stack, as nomctl sees them */
#include "net_nom.h"

#include "price.h"
#include "server.h"

#include <nomdrv/vnet.h>
#include <nomstack/nomstack.h>
#include <nomux/log.h>

#include <string.h>
#include <syslog.h>

/* The values in force, of all: W is three knobs, and who sets one changes another. */
static void show_knobs(struct server *srv)
{
	const struct nomstack_knob *k;
	unsigned nr;
	int64_t v;

	k = nomstack_knobs(&nr);
	for (unsigned i = 0; i < nr && i < STACK_KNOBS_MAX; i++)
		if (!nomstack_knob_get(nom.stack, k[i].name, &v))
			metrics_show_knob(&srv->m, K_STACK + i, v);
	if (!nomstack_knob_get(nom.stack, "w_us", &v))
		nom.w_us = (uint64_t)v;
	metric_set(&srv->m, M_W_US, nom.w_us);
}

void nom_set_w(struct server *srv, int64_t w_us)
{
	int ret = nomstack_knob_set(nom.stack, "w_us", w_us);

	if (ret) {
		if (!nom.w_said)
			nomux_log(LOG_ERR, "nhttpd: the stack refuses W = %lld us: %s; W stays %llu us", (long long)w_us,
				  strerror(-ret), (unsigned long long)nom.w_us);
		nom.w_said = true;
		price_set_w(srv, nom.w_us);
		return;
	}
	show_knobs(srv);
}

void nom_take_knobs(struct server *srv)
{
	const struct nomstack_knob *k;
	uint64_t w_us = nom.w_us;
	bool set = false;
	unsigned nr;
	int64_t v;

	k = nomstack_knobs(&nr);
	for (unsigned i = 0; i < nr && i < STACK_KNOBS_MAX; i++) {
		if (!metrics_take(&srv->m, K_STACK + i, &v))
			continue;
		nomstack_knob_set(nom.stack, k[i].name, v);	/* in its range, which the page has looked at */
		set = true;
	}
	if (set)
		show_knobs(srv);
	if (nom.w_us != w_us)
		price_set_w(srv, nom.w_us);
	if (metrics_take(&srv->m, K_IDLE_US, &v)) {
		nom.idle_us = v;
		app_idle_bound(&nom.idle, nom.idle_us);
	}
}

int nom_offer_knobs(struct server *srv)
{
	const struct nomstack_knob *k;
	unsigned nr;
	int ret = 0;

	k = nomstack_knobs(&nr);
	for (unsigned i = 0; !ret && i < nr && i < STACK_KNOBS_MAX; i++)
		ret = metrics_knob(&srv->m, K_STACK + i, k[i].name, k[i].unit, k[i].effect, k[i].min, k[i].max, k[i].def);
	if (!ret && srv->opt->idle == IDLE_AUTO)
		ret = metrics_knob(&srv->m, K_IDLE_US, "idle_us", "us",
				   "how long to poll without work before sleeping, at most: latency of the next request for CPU time",
				   1, 10000000, srv->opt->idle_us);
	if (ret)
		nomux_log(LOG_ERR, "nhttpd: cannot offer a knob: %s", strerror(-ret));
	return ret;
}

void nom_show_stats(struct server *srv)
{
	const struct vnet_stats *v = vnet_stats(nom.vnet);
	struct metrics *m = &srv->m;
	struct nomstack_stats s;

	app_idle_count(&nom.idle);
	nomstack_stats(nom.stack, &s);
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
	metric_set(m, M_DROP_ND, s.drop_nd);
	metric_set(m, M_DROP_ICMP, s.drop_icmp);
	metric_set(m, M_DROP_FRAGMENT, s.drop_fragment);
	metric_set(m, M_RETRANSMITS, s.tcp_retransmits);
	metric_set(m, M_PREDICTED, s.tcp_predicted);
	metric_set(m, M_TX_ZERO_COPY, s.tx_zero_copy);
	metric_set(m, M_TX_LONG, s.tx_long);
	metric_set(m, M_TX_RING_FULL, s.tx_ring_full);
	metric_set(m, M_TX_JOINED, s.tx_joined);
	metric_set(m, M_DELAY_RX, s.delay_max_ns_rx);
	metric_set(m, M_DELAY_TX, s.delay_max_ns_tx);
	metric_set(m, M_RESTARTS, v->restarts);
	metric_set(m, M_RX_LOST, v->rx_lost);
	metric_set(m, M_TX_LOST, v->tx_lost);
	metric_set(m, M_BUSY_POLLS, v->busy_polls);
	metric_set(m, M_XDP_MODE, vnet_xdp_mode(nom.vnet));
}
