// SPDX-License-Identifier: MIT
/*
 * nomstack_stack.c - opening, closing, and the loop
 *
 * One poll is: read the clock once; take a batch of frames, if the batching
 * delay lets one go; run each through lwIP and the application to completion;
 * timers that are due; what the application queued elsewhere; announce.
 *
 * lwIP is initialised once per process and emptied on close, so that a process
 * may open a stack again, on another device or the same.
 */
#include "internal.h"

#include <nomux/clock.h>

#include "lwip/dhcp.h"
#include "lwip/etharp.h"
#include "lwip/init.h"
#include "lwip/ip.h"
#include "lwip/stats.h"
#include "lwip/timeouts.h"
#include "lwip/priv/tcp_priv.h"
#include "netif/ethernet.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS 1000000u
#define FEATURE(bit) (1ull << (bit))

struct nomstack *nomstack__the;

static uint64_t default_clock(void *arg)
{
	return nomux_now_ns();
}

static err_t device_netif_init(struct netif *n)
{
	struct nomstack *s = n->state;
	unsigned mtu = vnet_mtu(s->v);

	n->name[0] = 'n';
	n->name[1] = 'm';
	n->output = etharp_output;
	n->linkoutput = nomstack__tx_frame;
	n->mtu = (u16_t)(mtu > NOMSTACK_MTU_MAX ? NOMSTACK_MTU_MAX : mtu);
	n->hwaddr_len = ETH_HWADDR_LEN;
	memcpy(n->hwaddr, vnet_mac(s->v), ETH_HWADDR_LEN);
	n->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
	nomstack__ip6_netif_init(s, n);
	NETIF_SET_CHECKSUM_CTRL(n, s->tx_offload ?
				NETIF_CHECKSUM_ENABLE_ALL & ~(NETIF_CHECKSUM_GEN_TCP | NETIF_CHECKSUM_GEN_UDP) :
				NETIF_CHECKSUM_ENABLE_ALL);
	return ERR_OK;
}

/* "10.0.0.2/24" */
static int parse_prefix(const char *text, ip4_addr_t *addr, ip4_addr_t *mask)
{
	const char *slash = text ? strchr(text, '/') : NULL;
	char ip[IP4ADDR_STRLEN_MAX], *end;
	unsigned long bits;

	if (!slash || (size_t)(slash - text) >= sizeof(ip))
		return -EINVAL;
	memcpy(ip, text, (size_t)(slash - text));
	ip[slash - text] = 0;
	bits = strtoul(slash + 1, &end, 10);
	if (!slash[1] || *end || bits < 1 || bits > 32 || !ip4addr_aton(ip, addr) || !ip4_addr_get_u32(addr))
		return -EINVAL;
	ip4_addr_set_u32(mask, lwip_htonl((u32_t)(0xffffffffu << (32 - bits))));
	return 0;
}

int nomstack_open(const struct nomstack_opts *o, struct nomstack **out)
{
	static bool lwip_ready;
	struct nomstack_opts opts = { 0 };
	struct ip6_config ip6;
	ip4_addr_t addr = { 0 }, mask = { 0 }, gw = { 0 };
	struct nomstack *s;
	const uint8_t *rest;
	size_t i;
	int rc;

	if (!o || o->sz < offsetof(struct nomstack_opts, gateway))
		return -EINVAL;
	for (rest = (const uint8_t *)o, i = sizeof(opts); i < o->sz; i++)
		if (rest[i])
			return -E2BIG;
	memcpy(&opts, o, o->sz < sizeof(opts) ? o->sz : sizeof(opts));
	if (!opts.vnet || (!opts.ip4 && !opts.ip6))
		return -EINVAL;
	rc = nomstack__ip6_parse(&opts, &ip6);
	if (rc)
		return rc;
	if (opts.ip4 && strcmp(opts.ip4, "dhcp") && !opts.follows) {
		rc = parse_prefix(opts.ip4, &addr, &mask);
		if (rc)
			return rc;
		if (opts.gateway && !ip4addr_aton(opts.gateway, &gw))
			return -EINVAL;
	}
	if (nomstack__the)
		return -EBUSY;
	if (vnet_error(opts.vnet, NULL))
		return -EIO;

	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->v = opts.vnet;
	s->ip4 = opts.ip4;
	s->follows = opts.follows;
	s->ip6 = ip6;
	s->ring_size = vnet_rx_size(s->v);
	s->tx_size = vnet_tx_room(s->v);
	s->hold_cap = s->ring_size > NOMSTACK__BATCH_LIMIT ? s->ring_size : NOMSTACK__BATCH_LIMIT;
	s->ooseq_share = s->ring_size / 4;
	s->predict_min = NOMSTACK__PREDICT_MIN;
	rc = nomstack__reass_open(s);
	if (rc)
		goto err_free;
	s->hold = calloc(s->hold_cap, sizeof(*s->hold));
	s->conns = calloc(NOMSTACK__MAX_CONNS, sizeof(*s->conns));
	rc = -ENOMEM;
	if (!s->hold || !s->conns)
		goto err_free;
	for (i = NOMSTACK__MAX_CONNS; i-- > 0; ) {
		s->conns[i].next = s->free_conns;
		s->free_conns = &s->conns[i];
	}
	rc = nomstack__heap_open(s->v);
	if (rc)
		goto err_free;

	s->now_fn = opts.now_ns ? opts.now_ns : default_clock;
	s->now_arg = opts.now_arg;
	if (!opts.now_ns)
		nomux_clock_init();	/* without an invariant counter it falls back by itself */
	s->now_ns = nomstack__clock(s);
	s->epoch_start_ns = s->now_ns;
	s->epoch = s->heard_gen = s->answered_gen = 1;
	s->tx_offload = vnet_features(s->v) & FEATURE(VIRTIO_NET_F_CSUM);
	s->tso4 = vnet_features(s->v) & FEATURE(VIRTIO_NET_F_HOST_TSO4);
	s->tso6 = vnet_features(s->v) & FEATURE(VIRTIO_NET_F_HOST_TSO6);
	s->cuts = s->tso4 || s->tso6;
	s->uso4 = vnet_features(s->v) & FEATURE(VIRTIO_NET_F_GUEST_USO4);
	s->uso6 = vnet_features(s->v) & FEATURE(VIRTIO_NET_F_GUEST_USO6);
	s->rx_merges = vnet_features(s->v) & FEATURE(VIRTIO_NET_F_MRG_RXBUF);
	s->burst_min = s->rx_merges ? VNET_RX_SEG_MAX : 1;
	nomstack__tso_open(s);
	{
		const struct nomstack_knob *k;
		unsigned nr;

		k = nomstack_knobs(&nr);
		for (i = 0; i < nr; i++)
			nomstack_knob_set(s, k[i].name, k[i].def);
	}
	nomstack__the = s;
	nomstack__sys_open();
	if (!lwip_ready) {
		lwip_init();
		lwip_ready = true;
	}
	tcp_pmtu_reset();
	sys_restart_timeouts();
	s->timer_ns = 0;
	memset(&lwip_stats.link, 0, sizeof(lwip_stats.link));
	memset(&lwip_stats.etharp, 0, sizeof(lwip_stats.etharp));
	memset(&lwip_stats.ip, 0, sizeof(lwip_stats.ip));
	memset(&lwip_stats.icmp, 0, sizeof(lwip_stats.icmp));
	memset(&lwip_stats.ip6, 0, sizeof(lwip_stats.ip6));
	memset(&lwip_stats.icmp6, 0, sizeof(lwip_stats.icmp6));
	memset(&lwip_stats.nd6, 0, sizeof(lwip_stats.nd6));
	memset(&lwip_stats.mld6, 0, sizeof(lwip_stats.mld6));
	memset(&lwip_stats.udp, 0, sizeof(lwip_stats.udp));
	memset(&lwip_stats.tcp, 0, sizeof(lwip_stats.tcp));

	netif_add(&s->netif, &addr, &mask, &gw, s, device_netif_init, ethernet_input);
	netif_set_default(&s->netif);
	if (opts.hostname)
		netif_set_hostname(&s->netif, opts.hostname);
	nomstack__ip6_start(s);
	netif_set_up(&s->netif);
	nomstack__ip6_started(s);
	if (opts.ip4 && !strcmp(opts.ip4, "dhcp") && !opts.follows) {
		s->dhcp = true;
		if (dhcp_start(&s->netif) != ERR_OK) {
			nomstack_close(s);
			return -ENOMEM;
		}
	}
	nomstack__tx_announce(s);
	*out = s;
	return 0;

err_free:
	nomstack__reass_close(s);
	free(s->conns);
	free(s->hold);
	free(s);
	return rc;
}

void nomstack_close(struct nomstack *s)
{
	unsigned i;

	if (!s)
		return;
	nomstack__look_close(s);
	for (i = s->hold_head; i < s->hold_nr; i++)
		vnet_rx_release(s->v, s->hold[i].id);
	nomstack__tcp_close_all(s);
	nomstack__udp_close_all(s);
	if (s->dhcp) {
		dhcp_release_and_stop(&s->netif);
		dhcp_cleanup(&s->netif);
	}
	netif_set_down(&s->netif);
	netif_remove(&s->netif);
	nomstack__tx_announce(s);
	/* What the device still reads from our heap: give it a moment. */
	for (i = 0; i < 100000 && s->zc_outstanding; i++)
		nomstack__tx_reap(s);
	vnet_rx_flush(s->v);
	nomstack__reass_close(s);
	nomstack__heap_close();
	nomstack__the = NULL;
	free(s->conns);
	free(s->hold);
	free(s);
}

static void run_timers(struct nomstack *s)
{
	bool due;

	if (likely(s->now_ns < s->timer_ns))
		return;
	s->timer_ns = s->now_ns - s->now_ns % NS_PER_MS + NS_PER_MS;
	due = !sys_timeouts_sleeptime();
	if (!due && !s->timers_left && !tcp_rtx_is_due())
		return;
	/* A segment the device has sent must not look busy to a retransmission. */
	nomstack__tx_reap(s);
	s->in_timers = true;
	if (due) {
		s->st.timers_run++;
		sys_check_timeouts();
	} else {
		tcp_tmr_more();		/* of thousands of connections the next ones */
	}
	tcp_rtx_run(TCP_TMR_SLICE);
	s->in_timers = false;
	s->timers_left = tcp_tmr_pending() || tcp_rtx_is_due();
	if (s->timers_left)
		s->timer_ns = 0;
}

unsigned nomstack_poll(struct nomstack *s)
{
	unsigned i, nr;

	s->now_ns = nomstack__clock(s);
	nomstack__batch_clock(s);
	nr = nomstack__batch_take(s);
	s->in_poll = true;
	if (nr) {
		if (unlikely(s->tap))
			nomstack__tap_rx(s, &s->hold[s->hold_head], nr);
		for (i = 0; i < nr; i++) {
			const struct vnet_rx *rx = &s->hold[s->hold_head + i];

			if (unlikely((rx->len >= NOMSTACK__BULK_BYTES && i + 1 < nr) || rx->flags & (VNET_RX_MORE | VNET_RX_LARGE))) {
				nomstack__rx_bulk(s, rx, nr - i);
				break;
			}
			nomstack__rx_frame(s, rx);
		}
		nomstack__batch_done(s, nr);
		if (s->batch_end_mask)
			nomstack__tcp_batch_end(s);
	}
	run_timers(s);
	s->in_poll = false;
	if (s->dirty || s->zombies || s->tx_blocked)
		nomstack__tcp_flush(s);
	nomstack__batch_tx(s);
	if (s->zc_outstanding || vnet_tx_room(s->v) < s->tx_size / 2)
		nomstack__tx_reap(s);
	/* New buffers in batches; at once when there is nothing else to do. */
	if (s->rx_unposted && (!nr || s->rx_unposted >= s->ring_size / 8)) {
		s->rx_unposted = 0;
		vnet_rx_flush(s->v);
	}
	return nr;
}

void nomstack_flush(struct nomstack *s)
{
	s->now_ns = nomstack__clock(s);
	if (s->dirty || s->zombies || s->tx_blocked)
		nomstack__tcp_flush(s);
	nomstack__tx_announce(s);
}

uint64_t nomstack_next_ns(struct nomstack *s)
{
	uint64_t now = nomstack__clock(s), next, timer;
	u32_t ms;

	if (s->dirty || s->zombies || s->timers_left)
		return 0;
	next = nomstack__batch_next_ns(s, now);
	s->now_ns = now;
	timer = tcp_rtx_wait();
	next = timer < next ? timer : next;
	ms = sys_timeouts_sleeptime();
	if (ms == SYS_TIMEOUTS_SLEEPTIME_INFINITE)
		return next;
	timer = ms ? (uint64_t)ms * NS_PER_MS - now % NS_PER_MS : 0;
	return timer < next ? timer : next;
}

bool nomstack_idle_prepare(struct nomstack *s)
{
	if (s->dirty || s->zombies || s->tx_blocked)
		nomstack__tcp_flush(s);
	nomstack__tx_announce(s);
	s->rx_unposted = 0;
	vnet_rx_flush(s->v);
	if (s->zc_outstanding)
		nomstack__tx_reap(s);
	if (s->hold_nr || s->tx_blocked || s->timers_left)
		return false;
	return vnet_irq_arm(s->v);
}

void nomstack_idle_done(struct nomstack *s)
{
	vnet_irq_disarm(s->v);
	s->prev_poll_ns = 0;	/* the sleep was no poll interval */
}

int nomstack_address(struct nomstack *s, uint32_t *ip4_be_out, unsigned *prefix_out)
{
	uint32_t ip = ip4_addr_get_u32(netif_ip4_addr(&s->netif));
	uint32_t mask = ip4_addr_get_u32(netif_ip4_netmask(&s->netif));

	if (prefix_out)
		*prefix_out = (unsigned)__builtin_popcount(mask);
	*ip4_be_out = ip;
	return ip ? 0 : -EADDRNOTAVAIL;
}

int nomstack_wait_address(struct nomstack *s, unsigned timeout_ms)
{
	uint64_t end = nomstack__clock(s) + (uint64_t)timeout_ms * NS_PER_MS;
	uint32_t ip;

	for (;;) {
		nomstack_poll(s);
		if (!s->ip4 ? nomstack__ip6_ready(s) :
		    s->dhcp ? dhcp_supplied_address(&s->netif) : !nomstack_address(s, &ip, NULL))
			return 0;
		if (vnet_error(s->v, NULL))
			return -EIO;
		if (s->now_ns >= end)
			return -ETIMEDOUT;
	}
}

void *nomstack_dma_alloc(struct nomstack *s, size_t bytes)
{
	return vnet_dma_alloc(s->v, bytes, 64);
}

void nomstack_stats(struct nomstack *s, struct nomstack_stats *out)
{
	const struct stats_ *l = &lwip_stats;

	*out = s->st;
	for (unsigned i = 0; i < NOMSTACK_SIZE_BINS; i++) {
		out->rx_batches += s->batches.rx_size[i];
		out->tx_batches += s->batches.tx_size[i];
	}
	out->tx_packets += s->tx_waiting;
	out->tcp_refused += l->tcp.refused;
	out->tcp_retransmits = l->tcp.rexmit;
	out->tcp_predicted = l->tcp.predicted;
	out->drop_arp = l->etharp.limited;
	out->drop_nd = l->nd6.limited;
	out->drop_icmp = (uint64_t)l->icmp.limited + l->icmp6.limited;
	out->drop_fragment = (uint64_t)l->ip.limited + l->ip6.limited + s->reass.st.dropped;
	out->drop_csum = (uint64_t)l->ip.chkerr + l->icmp.chkerr + l->icmp6.chkerr + l->udp.chkerr + l->tcp.chkerr;
	out->drop_mem = (uint64_t)l->link.memerr + l->etharp.memerr + l->ip.memerr + l->icmp.memerr + l->ip6.memerr +
			l->icmp6.memerr + l->nd6.memerr + l->mld6.memerr + l->udp.memerr + l->tcp.memerr +
			nomstack__heap_failures();
	out->ip_bad = (uint64_t)l->ip.lenerr + l->ip.chkerr + l->ip.opterr + l->ip.err + l->ip.proterr;
	out->ip6_bad = (uint64_t)l->ip6.lenerr + l->ip6.opterr + l->ip6.err + l->ip6.proterr;
	out->drop_proto = s->st.drop_proto + s->reass.st.dropped + l->link.drop + l->link.lenerr + l->etharp.proterr + l->etharp.lenerr +
			  out->ip_bad - l->ip.chkerr + out->ip6_bad + l->icmp.lenerr + l->icmp.proterr +
			  l->icmp6.lenerr + l->icmp6.proterr + l->nd6.lenerr + l->nd6.proterr + l->mld6.lenerr +
			  l->mld6.proterr + l->udp.lenerr +
			  l->udp.proterr + l->tcp.lenerr + l->tcp.proterr;
}
