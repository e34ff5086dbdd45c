// SPDX-License-Identifier: MIT
/*
 * nomstack_look_conns.c - the table of connections, a slice at a time
 *
 * By bucket of the hash table over PCBs: lists change between two slices, a
 * bucket's number does not.  A chain is never cut, unless it alone is longer
 * than a slice; so nothing is shown twice, and what was open all the time is
 * shown.
 */
#include "look.h"

#include "lwip/priv/tcp_priv.h"

#include <string.h>

#define BUCKET_SHIFT 16		/* cursor: 1 + bucket << 16 + place in its chain */

#define SAME(ours, lwips) _Static_assert((int)NOMSTACK_LK_##ours == (int)lwips, "names of states")
SAME(CLOSED, CLOSED);
SAME(LISTEN, LISTEN);
SAME(SYN_SENT, SYN_SENT);
SAME(SYN_RECEIVED, SYN_RCVD);
SAME(ESTABLISHED, ESTABLISHED);
SAME(FIN_WAIT_1, FIN_WAIT_1);
SAME(FIN_WAIT_2, FIN_WAIT_2);
SAME(CLOSE_WAIT, CLOSE_WAIT);
SAME(CLOSING, CLOSING);
SAME(LAST_ACK, LAST_ACK);
SAME(TIME_WAIT, TIME_WAIT);

static void fill_w(const struct nomstack *s, struct nomstack_lk_conn *row)
{
	row->w_rx_us = (uint32_t)(s->w_rx_ns / 1000);
	row->w_tx_us = (uint32_t)(s->w_tx_ns / 1000);
}

static void fill_ip(const ip_addr_t *ip, uint32_t *first, uint32_t rest[3])
{
	*first = ip_2_ip6(ip)->addr[0];		/* which is where IPv4's lies */
	if (IP_IS_V6_VAL(*ip))
		memcpy(rest, &ip_2_ip6(ip)->addr[1], 12);
}

_Static_assert(offsetof(ip6_addr_t, addr) == offsetof(ip4_addr_t, addr), "first words of addresses");

static void fill_listener(const struct nomstack *s, const struct tcp_pcb_listen *l, struct nomstack_lk_conn *row)
{
	memset(row, 0, sizeof(*row));
	fill_ip(&l->local_ip, &row->local_ip, row->local_ip6);
	if (IP_IS_ANY_TYPE_VAL(l->local_ip))
		row->flags |= NOMSTACK_LK_F_IP_ANY;
	row->local_port = l->local_port;
	row->state = NOMSTACK_LK_LISTEN;
	row->recv_q = l->accepts_pending;
	row->send_q = l->backlog;
	fill_w(s, row);
}

static void fill_app(struct nomstack *s, const struct nomstack_conn *c, struct nomstack_lk_conn *row)
{
	const struct rtt *rtt = nomstack__tap_rtt(s, c);

	row->flags |= NOMSTACK_LK_F_APP;
	if (c->paused)
		row->flags |= NOMSTACK_LK_F_PAUSED;
	if (s->epoch - c->spoke_epoch <= 1)
		row->flags |= NOMSTACK_LK_F_SPEAKS;
	row->recv_q = c->unrecved;
	row->idle_ms = (uint32_t)((s->now_ns - c->last_rx_ns) / 1000000);
	if (!rtt || !rtt->rtt_us)
		return;
	/* Of each segment while somebody watches, not of one in 8 ms. */
	row->rtt_us = rtt->rtt_us;
	row->rtt_min_us = rtt->min_us;
	row->flags |= NOMSTACK_LK_F_RTT;
}

/* At least one: 0 means unknown. */
static uint32_t us(uint64_t ns)
{
	return ns < 1000 ? 1 : ns / 1000 < UINT32_MAX ? (uint32_t)(ns / 1000) : UINT32_MAX;
}

static void fill(struct nomstack *s, const struct tcp_pcb *pcb, struct nomstack_lk_conn *row)
{
	const struct nomstack_conn *c = nomstack__conn_of(pcb);
	const struct tcp_seg *seg;

	memset(row, 0, sizeof(*row));
	fill_ip(&pcb->local_ip, &row->local_ip, row->local_ip6);
	fill_ip(&pcb->remote_ip, &row->remote_ip, row->remote_ip6);
	if (IP_IS_V6_VAL(pcb->remote_ip))
		row->flags |= NOMSTACK_LK_F_IP6;
	row->local_port = pcb->local_port;
	row->remote_port = pcb->remote_port;
	row->state = (uint8_t)pcb->state;
	row->retries = pcb->nrtx;
	row->dupacks = pcb->dupacks;
	row->mss = pcb->mss;
	row->rto_ms = (uint32_t)(tcp_rtx_rto(pcb) / 1000000);
	row->cwnd = pcb->cwnd;
	row->ssthresh = pcb->ssthresh;
	row->snd_wnd = pcb->snd_wnd;
	row->rcv_wnd = pcb->rcv_wnd;
#if LWIP_WND_SCALE
	row->snd_scale = pcb->snd_scale;
	row->rcv_scale = pcb->rcv_scale;
#endif
	row->resent = pcb->resent;
	if (pcb->rtt) {
		row->rtt_us = us(pcb->rtt);
		row->rtt_min_us = us(pcb->rtt_min);
		row->flags |= NOMSTACK_LK_F_RTT;
	}
	fill_w(s, row);
	if (pcb->state == TIME_WAIT)
		return;		/* what its sender had is over */
	/* A FIN that went with the last data is in snd_nxt, but not in snd_lbb. */
	row->send_q = (TCP_SEQ_GT(pcb->snd_nxt, pcb->snd_lbb) ? pcb->snd_nxt : pcb->snd_lbb) - pcb->lastack;
	row->unacked = pcb->snd_nxt - pcb->lastack;
	/* Few: all connections together may hold a quarter of the ring. */
	for (seg = pcb->ooseq; seg; seg = seg->next)
		row->ooseq += seg->len;
	if (pcb->flags & TF_INFR)
		row->flags |= NOMSTACK_LK_F_RECOVERY;
	if (c)
		fill_app(s, c, row);
}

/* Whole chain of @bucket from place @from on; Return: rows, more than @max: too long. */
static unsigned fill_chain(struct nomstack *s, unsigned bucket, unsigned from, struct nomstack_lk_conn *out,
			   unsigned max)
{
	const struct tcp_pcb *pcb;
	unsigned n = 0, at = 0;

	for (pcb = nomstack__hash_chain(bucket); pcb; pcb = pcb->hash_next) {
		if (at++ < from)
			continue;
		if (n == max)
			return max + 1;
		fill(s, pcb, &out[n++]);
	}
	return n;
}

unsigned nomstack__look_conns(struct nomstack *s, uint64_t cursor, struct nomstack_lk_conn *out, unsigned max,
			      uint64_t *next_out)
{
	unsigned n = 0, got, looked = 0;
	uint64_t bucket;
	unsigned from;

	*next_out = NOMSTACK_LK_END;
	if (!cursor) {
		const struct tcp_pcb_listen *l;

		for (l = tcp_listen_pcbs.listen_pcbs; l && n < max; l = l->next)
			fill_listener(s, l, &out[n++]);
		cursor = 1;
	}
	bucket = (cursor - 1) >> BUCKET_SHIFT;
	from = (unsigned)(cursor - 1) & ((1u << BUCKET_SHIFT) - 1);
	for (; bucket < TCP_PCB_HASH_SIZE; bucket++, from = 0) {
		*next_out = 1 + (bucket << BUCKET_SHIFT) + from;
		if (looked++ == NOMSTACK__LOOK_BUCKETS)
			return n;
		got = fill_chain(s, (unsigned)bucket, from, out + n, max - n);
		if (got > max - n) {
			if (n)
				return n;	/* begin the next slice with it */
			*next_out += max;
			return max;
		}
		n += got;
	}
	*next_out = NOMSTACK_LK_END;
	return n;
}
