// SPDX-License-Identifier: MIT
/* tier_raw.c - answers on frames */
#include "answer.h"
#include "peers.h"
#include "request.h"
#include "server.h"
#include "tier.h"

#include <nomdrv/vnet.h>
#include <nomstack/raw.h>
#include <nomux/log.h>

#include <linux/virtio_net.h>

#include <errno.h>
#include <string.h>
#include <syslog.h>

static struct nomstack_raw *raw;
static struct answerer answerer;
static struct peers peers;
static uint64_t poll_ns;

static void on_frames(void *arg, const struct vnet_rx *rx, struct nomstack_raw_answer *a, unsigned nr)
{
	answer_frames(&answerer, poll_ns, rx, a, nr);
}

/*
 * Looked at without checking sums, which is done when the frame is answered: who lies
 * here makes others wait for less or more of W, and never for longer.
 */
static bool on_held(void *arg, const struct vnet_rx *rx, unsigned nr, bool first)
{
	bool rest = false;

	for (unsigned i = 0; i < nr; i++) {
		const uint8_t *f = rx[i].data;
		uint32_t ip;

		/* what is no datagram without options is not made to wait for company */
		if (rx[i].len < NOMSTACK_FRAME_UDP_AT || f[12] != 8 || f[13] || f[14] != 0x45 || f[23] != 17) {
			rest = true;
			continue;
		}
		memcpy(&ip, f + 26, sizeof(ip));
		peers_hear(&peers, poll_ns, ip, (uint16_t)(f[34] << 8 | f[35]), first);
		first = false;
	}
	return rest || peers_all_heard(&peers);
}

static int raw_announce(void)
{
	uint8_t announcement[NOMSTACK_FRAME_ARP_BYTES];

	nomstack_frame_announce(announcement, &answerer.self);
	return nomstack_raw_send(raw, announcement, sizeof(announcement));
}

static int raw_open(struct server *srv, struct vnet *v)
{
	struct nomstack_raw_opts opts = { .sz = sizeof(opts), .vnet = v, .frames = on_frames, .ended = on_held };
	int ret;

	ret = nomstack_frame_self(&answerer.self, vnet_mac(v), srv->opt.ip);
	if (ret) {
		die_message("--ip %s: must be ADDR/LEN, a station's: 10.0.0.2/24", srv->opt.ip);
		return EXIT_USAGE;
	}
	answerer.port = (uint16_t)srv->opt.port;
	answerer.offload = vnet_features(v) & 1ull << VIRTIO_NET_F_CSUM;
	answerer.arp.per_s = (uint32_t)srv->opt.arp_per_s;
	answerer.icmp.per_s = (uint32_t)srv->opt.icmp_per_s;
	ret = nomstack_raw_open(&opts, &raw);
	if (ret) {
		die_message("cannot open the raw tier: %s", strerror(-ret));
		return ret == -ENOMEM ? EXIT_NO_MEMORY : EXIT_DEVICE;
	}
	if (!(vnet_features(v) & 1ull << VIRTIO_NET_F_HOST_USO))
		nomux_log(LOG_NOTICE, "nomudp: each answer leaves as a frame of its own (VIRTIO_NET_F_HOST_USO: %s)",
			  vnet_feature_reason(v, VIRTIO_NET_F_HOST_USO));
	raw_announce();
	return EXIT_OK;
}

static void raw_close(void)
{
	nomstack_raw_close(raw);
	raw = NULL;
}

static unsigned raw_poll(uint64_t now_ns)
{
	poll_ns = now_ns;
	return nomstack_raw_poll(raw, now_ns);
}

static uint64_t raw_next_ns(uint64_t now_ns)
{
	return nomstack_raw_next_ns(raw, now_ns);
}

static bool raw_idle_prepare(void)
{
	return nomstack_raw_idle_prepare(raw);
}

static void raw_idle_done(void)
{
	nomstack_raw_idle_done(raw);
}

static int raw_restart(void)
{
	return nomstack_raw_restart(raw);
}

static int raw_knob_set(const char *name, int64_t v)
{
	return nomstack_raw_knob_set(raw, name, v);
}

static int raw_knob_get(const char *name, int64_t *out)
{
	return nomstack_raw_knob_get(raw, name, out);
}

static void raw_show(struct server *srv)
{
	const struct nomstack_raw_stats *s = nomstack_raw_stats(raw);
	const struct answerer *a = &answerer;
	struct metrics *m = &srv->m;

	metric_set(m, M_REQUESTS, a->requests);
	metric_set(m, M_BYTES, a->bytes);
	metric_set(m, M_BAD, a->bad);
	metric_set(m, M_OTHER_PORT, a->other_port);
	metric_set(m, M_UNSENT, s->ring_full + s->refused);
	metric_set(m, M_ARP, a->arp.answers);
	metric_set(m, M_ARP_LIMITED, a->arp.limited);
	metric_set(m, M_ICMP, a->icmp.answers);
	metric_set(m, M_ICMP_LIMITED, a->icmp.limited);
	metric_set(m, M_RX_BATCHES, s->batches);
	metric_set(m, M_TX_BATCHES, s->announcements);
	metric_set(m, M_DELAY_RX, s->delay_max_ns);
	metric_set(m, M_TX_LONG, s->tx_long);
	metric_set(m, M_TX_JOINED, s->tx_joined);
	for (unsigned i = NOMSTACK_FRAME_SHORT; i < NOMSTACK_FRAME_KINDS; i++)
		metric_set(m, M_KIND + i - NOMSTACK_FRAME_SHORT, a->kind[i]);
}

const struct tier_ops tier_raw = {
	.open = raw_open, .close = raw_close, .poll = raw_poll, .next_ns = raw_next_ns,
	.idle_prepare = raw_idle_prepare, .idle_done = raw_idle_done, .restart = raw_restart, .announce = raw_announce,
	.knobs = nomstack_raw_knobs, .knob_set = raw_knob_set, .knob_get = raw_knob_get, .show = raw_show,
};
