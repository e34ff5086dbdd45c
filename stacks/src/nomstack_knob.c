// SPDX-License-Identifier: MIT
/*
 * nomstack_knob.c - the live knobs, one table for setting, reading and help
 *
 * What they are worth after nomstack_open() is the profile's to say: NOMSTACK_* of
 * its lwipopts.h.
 */
#include "internal.h"

#include "lwip/priv/tcp_priv.h"

#include <errno.h>
#include <string.h>

#define US 1000
#define NS_PER_S 1000000000u
#define W_MAX_US 100000
#define KEEPALIVE_MAX_S 86400
#define ICMP_MAX 1000000
#define REASS_MAX_S 60	/* RFC 1122, 3.3.2; RFC 8200, 4.5 */
#define REASS_MIN (NOMSTACK_REASS_DATAGRAMS > 0)

enum { W_US, W_RX_US, W_TX_US, BATCH_MAX, ZC_MIN_BYTES, TSO_MAX, RX_JOIN_MAX, NAGLE, KEEPALIVE_S, CC, ICMP_PER_S, REASS_MAX, REASS_SHARE, REASS_S };

/* Data that is held for W, its ACK delayed, and that held for W: RFC 9293, 3.8.6.3, allows half a second. */
_Static_assert(TCP_FAST_INTERVAL + 2 * (W_MAX_US / 1000) <= 500, "a W that is too long for delayed acknowledgments");

static const struct nomstack_knob knobs[] = {
	[W_US] = { "w_us", "us",
		"batching delay W, receive and transmit: more throughput for more latency and jitter",
		0, W_MAX_US, NOMSTACK_W_US },
	[W_RX_US] = { "w_rx_us", "us", "batching delay of received packets only", 0, W_MAX_US, NOMSTACK_W_US },
	[W_TX_US] = { "w_tx_us", "us", "batching delay of sent packets only", 0, W_MAX_US, NOMSTACK_W_US },
	[BATCH_MAX] = { "batch_max", "packets",
		"packets run through the stack before answers are announced: 1 is strict run to completion, more saves doorbells",
		1, NOMSTACK__BATCH_LIMIT, NOMSTACK_BATCH_MAX },
	[ZC_MIN_BYTES] = { "zc_min_bytes", "bytes",
		"frames at least this long are sent from where they lie, shorter ones are copied into one descriptor",
		0, 2048, NOMSTACK_ZC_MIN_BYTES },
	[TSO_MAX] = { "tso_max", "segments",
		"segments that leave as one frame for the device to cut up, 1: none; more makes long answers cheaper",
		1, NOMSTACK__TSO_MAX, NOMSTACK_TSO_MAX },
	[RX_JOIN_MAX] = { "rx_join_max", "segments",
		"received segments that the stack joins where the device did not, 1: none; more makes uploads cheaper, and ACKs fewer",
		1, NOMSTACK__JOIN_MAX, NOMSTACK__JOIN_MAX },
	[NAGLE] = { "nagle", "",
		"1: small data waits while some is unacknowledged (RFC 896): fewer packets for latency",
		0, 1, NOMSTACK_NAGLE },
	[KEEPALIVE_S] = { "keepalive_s", "s",
		"probe a peer that has been silent for this long, give it up 60 s later; 0: never",
		0, KEEPALIVE_MAX_S, NOMSTACK_KEEPALIVE_S },
	[CC] = { "cc", "",
		"congestion control of all connections, 0: NewReno (RFC 6582), 1: CUBIC (RFC 9438), faster where round trips are long",
		TCP_CC_NEWRENO, TCP_CC_CUBIC, NOMSTACK_CC },
	[ICMP_PER_S] = { "icmp_per_s", "1/s",
		"echo replies and ICMP errors sent per second, bursts of a tenth of that; 0: none. Less is less work for floods",
		0, ICMP_MAX, 1000 },
	[REASS_MAX] = { "reass_max", "datagrams",
		"datagrams that wait for their fragments, the oldest gives way to a new one; 0: fragments are dropped",
		0, NOMSTACK_REASS_DATAGRAMS, NOMSTACK_REASS_DATAGRAMS },
	[REASS_SHARE] = { "reass_share", "datagrams",
		"of them, those of one source (IPv6: one /64): less is less for one attacker, more for many hosts behind one address",
		REASS_MIN, NOMSTACK_REASS_DATAGRAMS, (NOMSTACK_REASS_DATAGRAMS + 1) / 2 },
	[REASS_S] = { "reass_s", "s",
		"how long a datagram waits for its fragments: more for slow paths, less for who loses many or is attacked",
		1, REASS_MAX_S, 5 },
};

#define NR_KNOBS (sizeof(knobs) / sizeof(knobs[0]))

const char *nomstack_profile(void)
{
	return NOMSTACK_PROFILE_NAME;
}

const struct nomstack_knob *nomstack_knobs(unsigned *nr_out)
{
	*nr_out = NR_KNOBS;
	return knobs;
}

static int find(const char *name)
{
	unsigned i;

	for (i = 0; i < NR_KNOBS; i++)
		if (!strcmp(knobs[i].name, name))
			return (int)i;
	return -ENOENT;
}

int nomstack_knob_set(struct nomstack *s, const char *name, int64_t v)
{
	int i = find(name);

	if (i < 0)
		return i;
	if (v < knobs[i].min || v > knobs[i].max)
		return -ERANGE;
	switch (i) {
	case W_US:
		nomstack__batch_set_w(s, (uint64_t)v * US, (uint64_t)v * US);
		break;
	case W_RX_US:
		nomstack__batch_set_w(s, (uint64_t)v * US, s->w_tx_ns);
		break;
	case W_TX_US:
		nomstack__batch_set_w(s, s->w_rx_ns, (uint64_t)v * US);
		break;
	case BATCH_MAX:
		s->batch_max = (unsigned)v;
		nomstack__batch_knobs(s);
		break;
	case ZC_MIN_BYTES:
		s->zc_min_bytes = (unsigned)v;
		break;
	case TSO_MAX:
		s->tso_max = (unsigned)v;
		tcp_tso_segs = s->cuts ? (u16_t)v : 1;
		break;
	case RX_JOIN_MAX:
		s->rx_join_max = (unsigned)v;
		break;
	case NAGLE:
		s->nagle = v;
		nomstack__tcp_knobs(s);
		break;
	case KEEPALIVE_S:
		s->keepalive_ms = (uint32_t)v * 1000;
		nomstack__tcp_knobs(s);
		break;
	case CC:
		tcp_set_congestion_control((u8_t)v);
		break;
	case ICMP_PER_S:
		s->icmp_per_s = (uint32_t)v;
		break;
	case REASS_MAX:
		nomstack__reass_knobs(s, (unsigned)v, s->reass.share, s->reass.life_ns);
		break;
	case REASS_SHARE:
		nomstack__reass_knobs(s, s->reass.max, (unsigned)v, s->reass.life_ns);
		break;
	case REASS_S:
		nomstack__reass_knobs(s, s->reass.max, s->reass.share, (uint64_t)v * NS_PER_S);
		break;
	}
	return 0;
}

int nomstack_knob_get(struct nomstack *s, const char *name, int64_t *out)
{
	int i = find(name);

	if (i < 0)
		return i;
	switch (i) {
	case W_US:
		*out = (int64_t)((s->w_rx_ns > s->w_tx_ns ? s->w_rx_ns : s->w_tx_ns) / US);
		break;
	case W_RX_US:
		*out = (int64_t)(s->w_rx_ns / US);
		break;
	case W_TX_US:
		*out = (int64_t)(s->w_tx_ns / US);
		break;
	case BATCH_MAX:
		*out = s->batch_max;
		break;
	case ZC_MIN_BYTES:
		*out = s->zc_min_bytes;
		break;
	case TSO_MAX:
		*out = s->tso_max;
		break;
	case RX_JOIN_MAX:
		*out = s->rx_join_max;
		break;
	case NAGLE:
		*out = s->nagle;
		break;
	case KEEPALIVE_S:
		*out = s->keepalive_ms / 1000;
		break;
	case CC:
		*out = tcp_cc ? TCP_CC_CUBIC : TCP_CC_NEWRENO;
		break;
	case ICMP_PER_S:
		*out = s->icmp_per_s;
		break;
	case REASS_MAX:
		*out = s->reass.max;
		break;
	case REASS_SHARE:
		*out = s->reass.share;
		break;
	case REASS_S:
		*out = (int64_t)(s->reass.life_ns / NS_PER_S);
		break;
	}
	return 0;
}
