// SPDX-License-Identifier: MIT
/*
 * nomstack_look_facts.c - what the stack knows about itself, as rows of text
 *
 * Queues, drops by reason, knobs, the state of W, neighbours.  One group is one
 * slice (the cursor is its number), so each is of one moment.
 */
#include "look.h"

#include "lwip/etharp.h"
#include "lwip/priv/nd6_priv.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/stats.h"

#include <linux/virtio_net.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

_Static_assert(ARP_TABLE_SIZE <= NOMSTACK__LOOK_ROWS, "neighbours do not fit into a slice");

/* A slice that is being filled. */
struct facts {
	struct nomstack *s;
	const char *group;
	struct nomstack_lk_fact *out;
	unsigned nr, max;
};

static struct nomstack_lk_fact *fact(struct facts *f, const char *name)
{
	struct nomstack_lk_fact *row;

	if (f->nr == f->max)
		return NULL;
	row = &f->out[f->nr++];
	memset(row, 0, sizeof(*row));
	snprintf(row->group, sizeof(row->group), "%s", f->group);
	snprintf(row->name, sizeof(row->name), "%s", name);
	return row;
}

static void number(struct facts *f, const char *name, uint64_t value, const char *unit)
{
	struct nomstack_lk_fact *row = fact(f, name);

	if (!row)
		return;
	row->value = value;
	snprintf(row->unit, sizeof(row->unit), "%s", unit);
}

__attribute__((format(printf, 3, 4)))
static void text(struct facts *f, const char *name, const char *fmt, ...)
{
	struct nomstack_lk_fact *row = fact(f, name);
	va_list ap;

	if (!row)
		return;
	row->is_text = 1;
	va_start(ap, fmt);
	vsnprintf(row->text, sizeof(row->text), fmt, ap);
	va_end(ap);
}

#define MAC_FMT "%02x:%02x:%02x:%02x:%02x:%02x"
#define MAC_ARG(m) (m)[0], (m)[1], (m)[2], (m)[3], (m)[4], (m)[5]

static void addresses6(struct facts *f)
{
	static const char *const states[] = {
		[NOMSTACK_ADDR_TENTATIVE] = "tentative", [NOMSTACK_ADDR_READY] = "ready",
		[NOMSTACK_ADDR_DEPRECATED] = "deprecated", [NOMSTACK_ADDR_DUPLICATE] = "duplicate",
	};
	struct nomstack_addr a[NOMSTACK_MAX_ADDRESSES];
	char ip[NOMSTACK_ADDR_TEXT], name[16];
	unsigned i, nr = nomstack_addresses(f->s, a, NOMSTACK_MAX_ADDRESSES), n = 0;

	for (i = 0; i < nr; i++) {
		if (a[i].family != 6)
			continue;
		snprintf(name, sizeof(name), "address6.%u", n++);
		text(f, name, "%s/%u", nomstack_addr_text(&a[i], ip, sizeof(ip)), a[i].prefix);
		snprintf(name, sizeof(name), "address6.%u.is", n - 1);
		text(f, name, "%s", states[a[i].state]);
	}
	if (f->s->ip6.on)
		text(f, "address6_from", "%s", f->s->ip6.autoconf ? "routers" : "fixed");
}

/* Those in use, by their names in the specification. */
static void features(struct facts *f)
{
	for (unsigned bit = 0; bit < 64; bit++) {
		const char *name = vnet_features(f->s->v) >> bit & 1 ? vnet_feature_name(bit) : NULL;
		char row[40];

		if (!name)
			continue;
		snprintf(row, sizeof(row), "feature.%u", bit);
		text(f, row, "%s", name);
	}
}

static void the_stack(struct facts *f)
{
	struct nomstack *s = f->s;
	const uint8_t *mac = vnet_mac(s->v);
	const char *reason = NULL;
	char ip[IP4ADDR_STRLEN_MAX];
	struct nomstack_stats st;
	uint32_t ip4;
	unsigned prefix = 0;

	text(f, "profile", "%s", nomstack_profile());
	nomstack_address(s, &ip4, &prefix);
	text(f, "address", "%s/%u", ip4addr_ntoa_r(netif_ip4_addr(&s->netif), ip, sizeof(ip)), prefix);
	text(f, "gateway", "%s", ip4addr_ntoa_r(netif_ip4_gw(&s->netif), ip, sizeof(ip)));
	text(f, "address_from", "%s", s->dhcp ? "dhcp" : s->follows ? "another stack" : "fixed");
	number(f, "device_restarts", vnet_stats(s->v)->restarts, "restarts");
	addresses6(f);
	text(f, "mac", MAC_FMT, MAC_ARG(mac));
	text(f, "device", "%s", vnet_error(s->v, &reason) && reason ? reason : "running");
	text(f, "features", "%llx", (unsigned long long)vnet_features(s->v));
	features(f);
	text(f, "offload.tso4", "%s", vnet_feature_reason(s->v, VIRTIO_NET_F_HOST_TSO4));
	text(f, "offload.tso6", "%s", vnet_feature_reason(s->v, VIRTIO_NET_F_HOST_TSO6));
	text(f, "offload.uso", "%s", vnet_feature_reason(s->v, VIRTIO_NET_F_HOST_USO));
	text(f, "large_receive", "%s%s", vnet_no_large_receive(s->v) ? "off: " : "on",
	     vnet_no_large_receive(s->v) ? vnet_no_large_receive(s->v) : "");
	number(f, "mtu", s->netif.mtu, "bytes");
	nomstack_stats(s, &st);
	number(f, "connections", st.tcp_active, "connections");
	number(f, "peers_open", s->nr_open, "connections");
	number(f, "connections_max", NOMSTACK__MAX_CONNS, "connections");
	number(f, "accepted", st.tcp_accepted, "connections");
	number(f, "refused", st.tcp_refused, "connections");
	number(f, "retransmits", st.tcp_retransmits, "segments");
	number(f, "predicted", st.tcp_predicted, "segments");
	number(f, "pmtu_lowered", tcp_pmtu_stats.lowered, "messages");
	number(f, "pmtu_refused_quote", tcp_pmtu_stats.bad_quote, "messages");
	number(f, "pmtu_refused_connection", tcp_pmtu_stats.no_connection, "messages");
	number(f, "pmtu_refused_sequence", tcp_pmtu_stats.bad_sequence, "messages");
	number(f, "pmtu_refused_small", tcp_pmtu_stats.too_small, "messages");
	number(f, "pmtu_refused_no_change", tcp_pmtu_stats.not_smaller, "messages");
	number(f, "drop_arp", st.drop_arp, "packets");
	number(f, "drop_nd", st.drop_nd, "packets");
	number(f, "drop_icmp", st.drop_icmp, "packets");
	number(f, "drop_fragment", st.drop_fragment, "packets");
	number(f, "arp_requests", st.arp_requests, "requests");
	number(f, "timers_run", st.timers_run, "timers");
	number(f, "heap_used", nomstack__heap_used(), "blocks");
}

static uint64_t total(const uint64_t *bins, unsigned nr)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < nr; i++)
		sum += bins[i];
	return sum;
}

/* A stack has one queue in each direction: those of its pair. */
static void rx_queue(struct facts *f)
{
	struct nomstack *s = f->s;
	const struct vnet_stats *v = vnet_stats(s->v);

	number(f, "size", vnet_rx_size(s->v), "buffers");
	number(f, "room", vnet_rx_room(s->v), "buffers");
	number(f, "pending", vnet_rx_pending(s->v), "packets");
	number(f, "held_for_w", s->hold_nr - s->hold_head, "packets");
	number(f, "out_of_order", s->rx_in_stack, "packets");
	number(f, "unposted", s->rx_unposted, "buffers");
	number(f, "packets", v->rx_packets, "packets");
	number(f, "bytes", v->rx_bytes, "bytes");
	number(f, "batches", total(s->batches.rx_size, NOMSTACK_SIZE_BINS), "batches");
	number(f, "doorbells", v->doorbells_rx, "doorbells");
	number(f, "interrupts", v->interrupts, "interrupts");
	number(f, "csum_ok", v->rx_csum_ok, "packets");
	number(f, "merged", v->rx_merged, "packets");
	number(f, "large", v->rx_large, "packets");
	number(f, "joined", s->rx_joined, "packets");
	number(f, "delay_max", s->st.delay_max_ns_rx, "ns");
	number(f, "gap_max", s->st.gap_max_ns_rx, "ns");
}

static void tx_queue(struct facts *f)
{
	struct nomstack *s = f->s;
	const struct vnet_stats *v = vnet_stats(s->v);

	number(f, "size", s->tx_size, "descriptors");
	number(f, "room", vnet_tx_room(s->v), "descriptors");
	number(f, "held_for_w", vnet_tx_queued(s->v), "frames");
	number(f, "zero_copy_out", s->zc_outstanding, "frames");
	number(f, "packets", v->tx_packets, "packets");
	number(f, "bytes", v->tx_bytes, "bytes");
	number(f, "batches", total(s->batches.tx_size, NOMSTACK_SIZE_BINS), "batches");
	number(f, "doorbells", v->doorbells_tx, "doorbells");
	number(f, "zero_copy", s->st.tx_zero_copy, "packets");
	number(f, "csum_offload", v->tx_csum_offload, "packets");
	number(f, "long", s->st.tx_long, "frames");
	number(f, "joined", s->st.tx_joined, "segments");
	number(f, "delay_max", s->st.delay_max_ns_tx, "ns");
	number(f, "gap_max", s->st.gap_max_ns_tx, "ns");
}

/* From 1 on, twice as wide each time. */
static void sizes(struct facts *f, const uint64_t *bins)
{
	char name[32];

	for (unsigned i = 0; i < NOMSTACK_SIZE_BINS; i++) {
		snprintf(name, sizeof(name), i ? "%u to %u" : "%u", 1u << i, (2u << i) - 1);
		number(f, name, bins[i], "batches");
	}
}

static void delays(struct facts *f, const uint64_t *bins)
{
	char name[32];

	for (unsigned i = 0; i < NOMSTACK_DELAY_BINS; i++) {
		snprintf(name, sizeof(name), i < 2 ? "%u us" : i < NOMSTACK_DELAY_BINS - 1 ? "%u to %u us" :
			 "%u us and more", i ? 1u << (i - 1) : 0, (1u << i) - 1);
		number(f, name, bins[i], "batches");
	}
}

static void rx_size(struct facts *f)
{
	sizes(f, f->s->batches.rx_size);
}

static void tx_size(struct facts *f)
{
	sizes(f, f->s->batches.tx_size);
}

static void rx_delay(struct facts *f)
{
	delays(f, f->s->batches.rx_delay);
}

static void tx_delay(struct facts *f)
{
	delays(f, f->s->batches.tx_delay);
}

/*
 * Each lost packet under one reason; the sums are those of struct nomstack_stats.  What is
 * lost besides is counted in another unit: connections, datagrams of several packets, requests.
 */
static void drops(struct facts *f)
{
	const struct stats_ *l = &lwip_stats;
	struct nomstack *s = f->s;
	struct nomstack_fragments fr;
	struct nomstack_stats st;

	nomstack_stats(s, &st);
	nomstack_fragments(s, &fr);
	number(f, "device.unusable", vnet_stats(s->v)->rx_bad, "packets");
	number(f, "frame.too_long", s->st.drop_proto - s->drop_ip6_off - s->drop_uso, "packets");
	number(f, "frame.unknown_type", (uint64_t)l->link.drop + l->link.lenerr, "packets");
	number(f, "arp.malformed", (uint64_t)l->etharp.proterr + l->etharp.lenerr, "packets");
	number(f, "arp.limited", st.drop_arp, "packets");
	number(f, "ip.malformed", (uint64_t)l->ip.lenerr + l->ip.opterr + l->ip.err, "packets");
	number(f, "ip.unknown_protocol", l->ip.proterr, "packets");
	number(f, "ip.checksum", l->ip.chkerr, "packets");
	number(f, "ip6.off", s->drop_ip6_off, "packets");
	number(f, "ip6.malformed", st.ip6_bad - l->ip6.proterr, "packets");
	number(f, "ip6.unknown_protocol", l->ip6.proterr, "packets");
	number(f, "fragment.timed_out", fr.timed_out, "datagrams");
	number(f, "fragment.gave_way", fr.gave_way, "datagrams");
	number(f, "fragment.source_share", fr.source_share, "datagrams");
	number(f, "fragment.overlap", fr.overlap, "datagrams");
	number(f, "fragment.contradiction", fr.contradiction, "datagrams");
	number(f, "fragment.too_many", fr.too_many, "datagrams");
	number(f, "fragment.of_a_refused_one", fr.rest, "fragments");
	number(f, "fragment.malformed", fr.malformed, "fragments");
	number(f, "fragment.too_long", fr.too_long, "fragments");
	number(f, "fragment.protocol", fr.protocol, "fragments");
	number(f, "fragment.off", fr.off, "fragments");
	number(f, "icmp.malformed", (uint64_t)l->icmp.lenerr + l->icmp.proterr, "packets");
	number(f, "icmp.checksum", (uint64_t)l->icmp.chkerr + l->icmp6.chkerr, "packets");
	number(f, "icmp.limited", st.drop_icmp, "packets");
	number(f, "icmp6.malformed", (uint64_t)l->icmp6.lenerr + l->icmp6.proterr, "packets");
	number(f, "nd.malformed", (uint64_t)l->nd6.lenerr + l->nd6.proterr + l->mld6.lenerr + l->mld6.proterr, "packets");
	number(f, "nd.limited", st.drop_nd, "packets");
	number(f, "udp.malformed", l->udp.lenerr, "packets");
	number(f, "udp.impossible_join", s->drop_uso, "packets");
	number(f, "udp.no_port", l->udp.proterr, "packets");
	number(f, "udp.checksum", l->udp.chkerr, "packets");
	number(f, "tcp.malformed", l->tcp.lenerr, "segments");
	number(f, "tcp.no_connection", l->tcp.proterr, "segments");
	number(f, "tcp.checksum", l->tcp.chkerr, "segments");
	number(f, "tcp.refused", st.tcp_refused, "connections");
	number(f, "tcp.out_of_order", s->st.ooseq_dropped, "segments");
	number(f, "memory.link", (uint64_t)l->link.memerr + l->etharp.memerr, "packets");
	number(f, "memory.ip", (uint64_t)l->ip.memerr + l->icmp.memerr + l->ip6.memerr + l->icmp6.memerr +
	       l->nd6.memerr + l->mld6.memerr, "packets");
	number(f, "memory.udp", l->udp.memerr, "packets");
	number(f, "memory.tcp", l->tcp.memerr, "segments");
	number(f, "memory.heap", nomstack__heap_failures(), "requests");
	number(f, "tx.ring_full", s->st.tx_ring_full, "frames");
}

static void knobs(struct facts *f)
{
	const struct nomstack_knob *k;
	unsigned nr, i;
	int64_t v;

	k = nomstack_knobs(&nr);
	for (i = 0; i < nr; i++)
		if (!nomstack_knob_get(f->s, k[i].name, &v))
			number(f, k[i].name, (uint64_t)v, k[i].unit);
}

/* What W waits for; nomstack_batch.c says what the words mean. */
static void batching(struct facts *f)
{
	const struct nomstack *s = f->s;

	number(f, "taking_part", s->speakers_prev > s->speakers_now ? s->speakers_prev : s->speakers_now, "connections");
	number(f, "heard", s->nr_heard, "connections");
	number(f, "answered", s->nr_answered, "connections");
	number(f, "poll_interval_max", s->gap_ns, "ns");
	number(f, "receive_batch_age", s->hold_nr ? s->now_ns - s->hold_since_ns : 0, "ns");
	number(f, "transmit_batch_age", s->tx_waiting ? s->now_ns - s->tx_since_ns : 0, "ns");
	number(f, "transmit_ring_met_full", s->tx_blocked, "");
}

static void fragments(struct facts *f)
{
	struct nomstack_fragments st;

	nomstack_fragments(f->s, &st);
	number(f, "held", st.held, "datagrams");
	number(f, "received", st.received, "fragments");
	number(f, "completed", st.completed, "datagrams");
	number(f, "duplicates", st.duplicates, "fragments");
	number(f, "dropped", st.dropped, "fragments");
	number(f, "sent", st.sent, "fragments");
}

/* How the driver decides between polling and sleeping: vnet_auto(). */
static void idling(struct facts *f)
{
	const struct vnet_stats *v = vnet_stats(f->s->v);

	number(f, "sleeps", v->auto_sleeps, "sleeps");
	number(f, "refused", v->auto_refused, "sleeps");
	number(f, "timeouts", v->auto_timeouts, "sleeps");
	number(f, "asleep", v->auto_asleep_ns, "ns");
	number(f, "polls_before", v->auto_spin_ns, "ns");
}

static void neighbours(struct facts *f)
{
	char ip[IP4ADDR_STRLEN_MAX];
	struct eth_addr *mac;
	struct netif *netif;
	ip4_addr_t *addr;
	size_t i;

	for (i = 0; i < ARP_TABLE_SIZE; i++)
		if (etharp_get_entry(i, &addr, &netif, &mac))
			text(f, ip4addr_ntoa_r(addr, ip, sizeof(ip)), MAC_FMT, MAC_ARG(mac->addr));
}

static void neighbours6(struct facts *f)
{
	static const char *const states[] = {
		[ND6_INCOMPLETE] = "asked for", [ND6_REACHABLE] = "reachable", [ND6_STALE] = "stale",
		[ND6_DELAY] = "delay", [ND6_PROBE] = "probe",
	};
	enum { NAME_MAX_BYTES = sizeof(((struct nomstack_lk_fact *)0)->name) - 1 };
	char ip[NOMSTACK_ADDR_TEXT];
	const char *shown;
	unsigned i;

	for (i = 0; i < LWIP_ND6_NUM_NEIGHBORS; i++) {
		const struct nd6_neighbor_cache_entry *n = &neighbor_cache[i];
		struct nomstack_addr a = { .family = 6 };

		if (n->state == ND6_NO_ENTRY)
			continue;
		memcpy(a.bytes, n->next_hop_address.addr, sizeof(a.bytes));
		nomstack_addr_text(&a, ip, sizeof(ip));
		/* all but the longest fit: of those the end, which tells neighbours apart */
		shown = strlen(ip) > NAME_MAX_BYTES ? ip + strlen(ip) - NAME_MAX_BYTES : ip;
		if (n->state == ND6_INCOMPLETE)
			text(f, shown, "%s", states[n->state]);
		else
			text(f, shown, MAC_FMT ", %s%s", MAC_ARG(n->lladdr), states[n->state],
			     n->isrouter ? ", router" : "");
	}
}

static void ports(struct facts *f)
{
	struct nomstack *s = f->s;
	char name[32];
	unsigned i;

	for (i = 0; i < NOMSTACK_MAX_UDP; i++) {
		if (!s->udps[i].pcb)
			continue;
		snprintf(name, sizeof(name), "%u", s->udps[i].port);
		text(f, name, "bound");
	}
}

static const struct {
	const char *name;		/* with the number of the stack's queue pair in it, where it is a queue's */
	void (*fill)(struct facts *f);
} groups[] = {
	{ "stack", the_stack },
	{ "rx%u", rx_queue },
	{ "tx%u", tx_queue },
	{ "rx%u.size", rx_size },
	{ "tx%u.size", tx_size },
	{ "rx%u.delay", rx_delay },
	{ "tx%u.delay", tx_delay },
	{ "drop", drops },
	{ "knob", knobs },
	{ "batching", batching },
	{ "fragments", fragments },
	{ "idle", idling },
	{ "arp", neighbours },
	{ "nd", neighbours6 },
	{ "udp", ports },
};

#define NR_GROUPS (sizeof(groups) / sizeof(groups[0]))

unsigned nomstack__look_facts(struct nomstack *s, uint64_t cursor, struct nomstack_lk_fact *out, unsigned max,
			      uint64_t *next_out)
{
	char group[sizeof(out->group)];
	struct facts f = { .s = s, .group = group, .out = out, .max = max };

	*next_out = NOMSTACK_LK_END;
	if (cursor >= NR_GROUPS)
		return 0;
	snprintf(group, sizeof(group), groups[cursor].name, s->look ? s->look->nr : 0);
	groups[cursor].fill(&f);
	if (cursor + 1 < NR_GROUPS)
		*next_out = cursor + 1;
	return f.nr;
}
