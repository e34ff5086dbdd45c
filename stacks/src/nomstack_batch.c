// SPDX-License-Identifier: MIT
/*
 * nomstack_batch.c - the batching delay W of the thesis, section 3.6
 *
 * Receive.  W = 0: what is in the ring is run through the stack at once, packet
 * by packet, and announced at the end of the burst (at most batch_max packets;
 * batch_max = 1 is run to completion in the strict sense, one doorbell a
 * packet).  W > 0: frames are taken from the ring and held here, until
 *
 *   1. the oldest has been held for W;
 *   2. the ring is half used up by held and queued frames; or
 *   3. the input has ended: nothing more is to be expected before we answer.
 *
 * Then all of them go through the stack together.
 *
 * "The input has ended" means one of:
 *   - a held segment carries FIN or RST: its connection is closed;
 *   - no connection is open, so no further data can come (a SYN, an ARP
 *     request and a datagram are not made to wait for company);
 *   - every connection that takes part has been heard: its newest held segment
 *     carries PSH, which a sender sets when nothing is left behind it.
 * A connection takes part when it has delivered data in the current or the
 * previous epoch of 10 ms: connections that are open but silent do not make
 * the others wait for W.
 *
 * Transmit.  W = 0: announced at the end of the burst.  W > 0: frames are queued
 * in the ring, unannounced, until the oldest has waited W, or three quarters of
 * the ring are in use, or every connection that takes part has been answered
 * (a send without NOMSTACK_SEND_MORE), or none is open.
 *
 * Never above W: looking happens at polls only, so a batch is let go when the
 * next poll would come too late; how far polls lie apart is tracked as a
 * decaying maximum.  A single pause longer than any before can still exceed W,
 * by that pause and not by more: delay_max_ns_* never exceeds W and gap_max_ns_*.
 */
#include "internal.h"

#include "lwip/priv/tcp_priv.h"

#include <limits.h>
#include <string.h>

#define EPOCH_NS 10000000u

#define HEARD_DATA 1
#define HEARD_PUSH 2
#define HEARD_END 4

static inline bool batches(const struct nomstack *s)
{
	return s->w_rx_ns | s->w_tx_ns;
}

/* With W = 0 nobody measures how far polls lie apart: begin with a guess on the safe side. */
void nomstack__batch_set_w(struct nomstack *s, uint64_t rx_ns, uint64_t tx_ns)
{
	if (!batches(s)) {
		s->prev_poll_ns = 0;
		s->gap_ns = (rx_ns > tx_ns ? rx_ns : tx_ns) / 8;
	}
	s->w_rx_ns = rx_ns;
	s->w_tx_ns = tx_ns;
	nomstack__batch_knobs(s);
}

/* Time has been read: track the poll interval, turn the epoch. */
void nomstack__batch_clock(struct nomstack *s)
{
	uint64_t now = s->now_ns;

	if (batches(s)) {
		if (s->prev_poll_ns) {
			uint64_t gap = now - s->prev_poll_ns;

			s->gap_ns -= s->gap_ns / 64;
			if (gap > s->gap_ns)
				s->gap_ns = gap;
		}
		s->prev_poll_ns = now;
	}
	if (unlikely(now - s->epoch_start_ns >= EPOCH_NS)) {
		/* After a long silence nobody is known to take part. */
		s->speakers_prev = now - s->epoch_start_ns < 2 * EPOCH_NS ? s->speakers_now : 0;
		s->speakers_now = 0;
		s->epoch++;
		s->epoch_start_ns = now;
	}
}

/*
 * Somebody has looked at a batch that waits since @since_ns: measure how long nobody had,
 * for an upper bound of what can come on top of W.
 */
static inline void looked(uint64_t *look_ns, uint64_t since_ns, uint64_t now_ns, uint64_t *gap_max_ns)
{
	uint64_t last_ns = *look_ns > since_ns ? *look_ns : since_ns;

	*look_ns = now_ns;
	if (now_ns - last_ns > *gap_max_ns)
		*gap_max_ns = now_ns - last_ns;
}

/*
 * nomstack_next_ns() is a look as well, unless it says that a delay is over: then the poll
 * that follows is.  When none does, the next question is one, and the delay grows without
 * the gap.
 */
void nomstack__batch_asked(struct nomstack *s, uint64_t now_ns, uint64_t next_ns)
{
	bool over = !next_ns;

	if (over && !s->said_over) {
		s->said_over = true;
		return;
	}
	s->said_over = over;
	if (s->hold_nr)
		looked(&s->look_rx_ns, s->hold_since_ns, now_ns, &s->st.gap_max_ns_rx);
	if (s->tx_waiting)
		looked(&s->look_tx_ns, s->tx_since_ns, now_ns, &s->st.gap_max_ns_tx);
}

/* Whether what has waited since @since may wait for another poll. */
static inline bool may_wait(const struct nomstack *s, uint64_t since_ns, uint64_t w_ns)
{
	return s->now_ns - since_ns + s->gap_ns <= w_ns;
}

static uint32_t expected_speakers(const struct nomstack *s)
{
	uint32_t n = s->speakers_prev > s->speakers_now ? s->speakers_prev : s->speakers_now;

	return n < s->nr_open ? n : s->nr_open;
}

/* Look at a held frame of @bytes, whose headers are in @rx, trusting no length in it. */
unsigned nomstack__hear(const struct vnet_rx *rx, unsigned bytes, struct nomstack_conn **c_out)
{
	const uint8_t *f = rx->data;
	struct frame_tcp t;
	struct tcp_pcb *pcb;
	unsigned heard = 0;

	*c_out = NULL;
	if (!nomstack__frame_tcp(f, rx->len, &t) || (unsigned)(t.tcp - f) + t.bytes > bytes)
		return 0;
	if (t.tcp[13] & (TCP_FIN | TCP_RST))
		heard |= HEARD_END;
	if (t.bytes > t.hdr_bytes)
		heard |= HEARD_DATA | (t.tcp[13] & TCP_PSH ? HEARD_PUSH : 0);
	if (!heard)
		return 0;
	pcb = nomstack__frame_pcb(&t, true);
	if (!pcb)
		return 0;
	*c_out = nomstack__conn_of(pcb);
	return heard;
}

static unsigned frame_bytes(const struct vnet_rx *rx)
{
	unsigned bytes = rx->len;

	while (rx++->flags & VNET_RX_MORE)
		bytes += rx->len;
	return bytes;
}

static void hold(struct nomstack *s, unsigned from)
{
	struct nomstack_conn *c;

	for (; from < s->hold_nr; from++) {
		unsigned heard = nomstack__hear(&s->hold[from], frame_bytes(&s->hold[from]), &c);
		bool push = heard & HEARD_PUSH;

		while (s->hold[from].flags & VNET_RX_MORE)
			from++;
		if (heard & HEARD_END)
			s->hold_ends = true;
		if (!c || !(heard & HEARD_DATA))
			continue;
		if (c->heard_gen != s->heard_gen) {
			c->heard_gen = s->heard_gen;
			c->heard_push = false;
		}
		if (push != c->heard_push) {
			c->heard_push = push;
			s->nr_heard += push ? 1 : -1u;
		}
	}
}

static bool let_go(struct nomstack *s)
{
	/* Half the ring: the device can still fill the other half. */
	if (s->hold_nr + s->rx_in_stack + vnet_rx_pending(s->v) >= s->ring_size / 2 ||
	    vnet_rx_room(s->v) < s->ring_size / 4)
		return true;
	if (s->hold_ends || !s->nr_open || (s->nr_heard && s->nr_heard >= expected_speakers(s)))
		return true;
	return !may_wait(s, s->hold_since_ns, s->w_rx_ns);
}

static void count_delay(uint64_t *bins, uint64_t *max_ns, uint64_t ns)
{
	unsigned us = ns < UINT64_C(1000) << NOMSTACK_DELAY_BINS ? (unsigned)(ns / 1000) : UINT_MAX;
	unsigned bin = us ? 32 - (unsigned)__builtin_clz(us) : 0;

	bins[bin < NOMSTACK_DELAY_BINS ? bin : NOMSTACK_DELAY_BINS - 1]++;
	if (ns > *max_ns)
		*max_ns = ns;
}

/* How frames are to be taken, after a knob has changed. */
void nomstack__batch_knobs(struct nomstack *s)
{
	/* A burst of the driver's takes a whole frame: fewer are dealt out from what is held. */
	s->hold_way = s->w_rx_ns || s->batch_max < s->burst_min;
}

/*
 * Take frames from the ring, decide, and say how many of s->hold (from
 * hold_head on) are to run through the stack in this poll.
 */
unsigned nomstack__batch_take(struct nomstack *s)
{
	unsigned n, from;

	/* W = 0, and nothing left: what comes goes on at once. */
	if (likely(!s->hold_way && !s->hold_nr)) {
		n = vnet_rx_burst(s->v, s->hold, s->batch_max);
		if (n) {
			s->hold_since_ns = s->now_ns;
			s->hold_nr = n;
			s->released = true;
			nomstack__count_size(s->batches.rx_size, n);
			s->st.rx_packets += n;
		}
		return n;
	}
	if (!s->released) {
		from = s->hold_nr;
		n = s->hold_cap - from < s->burst_min ? 0 : vnet_rx_burst(s->v, s->hold + from, s->hold_cap - from);
		if (n && !from)
			s->hold_since_ns = s->now_ns;
		s->hold_nr = from + n;
		if (!s->hold_nr)
			return 0;
		if (s->w_rx_ns) {
			s->said_over = false;
			looked(&s->look_rx_ns, s->hold_since_ns, s->now_ns, &s->st.gap_max_ns_rx);
			hold(s, from);
			if (!let_go(s))
				return 0;
		}
		if (s->w_rx_ns || s->now_ns > s->hold_since_ns)
			count_delay(s->batches.rx_delay, &s->st.delay_max_ns_rx, s->now_ns - s->hold_since_ns);
		s->released = true;
		nomstack__count_size(s->batches.rx_size, s->hold_nr);
		s->st.rx_packets += s->hold_nr;
	}
	n = s->hold_nr - s->hold_head;
	if (n > s->batch_max) {
		n = s->batch_max;
		/* no frame is torn */
		while (s->hold[s->hold_head + n - 1].flags & VNET_RX_MORE)
			n++;
	}
	return n;
}

/* @nr frames went through the stack. */
void nomstack__batch_done(struct nomstack *s, unsigned nr)
{
	s->hold_head += nr;
	if (s->hold_head < s->hold_nr)
		return;
	s->hold_head = s->hold_nr = 0;
	s->released = false;
	s->hold_ends = false;
	s->heard_gen++;
	s->nr_heard = 0;
}

/* End of a poll: announce what is queued, or let it wait. */
void nomstack__batch_tx(struct nomstack *s)
{
	if (!s->tx_waiting)
		return;
	if (s->w_tx_ns) {
		s->now_ns = nomstack__clock(s);
		s->said_over = false;
		looked(&s->look_tx_ns, s->tx_since_ns, s->now_ns, &s->st.gap_max_ns_tx);
		if (vnet_tx_room(s->v) >= s->tx_size / 4 && s->nr_open &&
		    !(s->nr_answered && s->nr_answered >= expected_speakers(s)) &&
		    may_wait(s, s->tx_since_ns, s->w_tx_ns))
			return;
		count_delay(s->batches.tx_delay, &s->st.delay_max_ns_tx, s->now_ns - s->tx_since_ns);
	}
	nomstack__tx_announce(s);
}

void nomstack_batches(struct nomstack *s, struct nomstack_batches *out)
{
	*out = s->batches;
}

/* ns until a delay ends; UINT64_MAX when nothing waits. */
uint64_t nomstack__batch_next_ns(const struct nomstack *s, uint64_t now_ns)
{
	uint64_t next = UINT64_MAX, end;

	if (s->released)
		return 0;
	if (s->hold_nr) {
		end = s->hold_since_ns + s->w_rx_ns;
		next = end > now_ns ? end - now_ns : 0;
	}
	if (s->tx_waiting) {
		end = s->tx_since_ns + s->w_tx_ns;
		end = end > now_ns ? end - now_ns : 0;
		next = end < next ? end : next;
	}
	return next;
}
