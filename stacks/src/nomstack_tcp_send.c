// SPDX-License-Identifier: MIT
/*
 * nomstack_tcp_send.c - what a connection may queue, and when it leaves
 *
 * lwIP sends by itself after it has processed a segment; what is sent on other
 * connections meanwhile is put on a list and goes out at the end of the poll.
 */
#include "internal.h"

#include "lwip/priv/tcp_priv.h"

#include <errno.h>

static void conn_dirty(struct nomstack_conn *c)
{
	/* lwIP itself sends for the connection whose segment it processes. */
	if (c->dirty || tcp_input_pcb == c->pcb)
		return;
	c->dirty = true;
	c->dirty_next = c->s->dirty;
	c->s->dirty = c;
}

/*
 * A connection may queue as many segments as an eighth of those that are free
 * (dynamic thresholds, Choudhury and Hahne 1998): a few connections get all they
 * want, hundreds share.  The least for each connection, and for some hundred that
 * may come, is not counted as free, so that who has nothing queued finds room.
 * Every segment has one block of the heap; of copied ones, which are one pbuf
 * instead of two, a connection can have twice as many.
 */
#define SHARE 8
#define SHARE_MIN 3	/* of full size: what an answer may take that an application does not stream */
#define RESERVE (2 * SHARE_MIN)
#define RESERVE_CONNS (MEMP_NUM_TCP_PCB < 2048 ? MEMP_NUM_TCP_PCB / 4 : 512)

static unsigned segments_allowed(const struct nomstack *s)
{
	size_t all = nomstack__heap_segments(), taken = nomstack__heap_used(), share;

	if (all > MEMP_NUM_TCP_SEG)
		all = MEMP_NUM_TCP_SEG;
	taken += RESERVE * (s->st.tcp_active > RESERVE_CONNS ? s->st.tcp_active : RESERVE_CONNS);
	share = all > taken ? (all - taken) / SHARE : 0;
	return share < SHARE_MIN ? SHARE_MIN : share < TCP_SND_QUEUELEN ? (unsigned)share : TCP_SND_QUEUELEN;
}

uint32_t nomstack_tcp_room(struct nomstack_conn *c)
{
	uint32_t room, queue, most, least, mss;

	if (!c->pcb)
		return 0;
	most = segments_allowed(c->s);
	mss = tcp_mss(c->pcb) < TCP_MSS ? tcp_mss(c->pcb) : TCP_MSS;	/* of what is copied */
	least = SHARE_MIN * TCP_MSS / mss;	/* more where they are small */
	/* A piece sent without a copy takes up to two pbufs per segment, and lwIP
	 * stops two short of its limit. */
	most = 2 * (most > least ? most : least);
	most = most < TCP_SND_QUEUELEN - 3 ? most : TCP_SND_QUEUELEN - 3;
	queue = tcp_sndqueuelen(c->pcb);
	room = queue < most ? (most - queue) / 2 * mss : 0;
	if (room > tcp_sndbuf(c->pcb))
		room = tcp_sndbuf(c->pcb);
	return room < NOMSTACK_SEND_MAX ? room : NOMSTACK_SEND_MAX;
}

/* Whether @len bytes more, if the device can read them, may make segments longer than TCP_MSS. */
static bool long_segments(const struct tcp_pcb *pcb, uint32_t len)
{
	return tcp_mss(pcb) > TCP_MSS || (tcp_tso_segs > 1 && (len > tcp_mss(pcb) || pcb->unsent));
}

int nomstack_tcp_send(struct nomstack_conn *c, const void *data, uint32_t len, unsigned flags)
{
	u8_t apiflags = 0;
	err_t err;

	if (unlikely(flags & ~(unsigned)(NOMSTACK_SEND_COPY | NOMSTACK_SEND_MORE)))
		return -EOPNOTSUPP;
	if (unlikely(!c->pcb))
		return -EPIPE;
	if (unlikely(len > NOMSTACK_SEND_MAX))
		return -EMSGSIZE;
	if (!(flags & NOMSTACK_SEND_MORE))
		nomstack__answered(c->s, c);
	if (unlikely(!len))
		return 0;
	if (likely(flags == NOMSTACK_SEND_COPY)) {
		err = tcp_write_answer(c->pcb, data, (u16_t)len);
	} else {
		if (flags & NOMSTACK_SEND_COPY)
			apiflags |= TCP_WRITE_FLAG_COPY;
		else if (long_segments(c->pcb, len) && vnet_dma_contains(c->s->v, data, len))
			apiflags |= TCP_WRITE_FLAG_INPLACE |
				((IP_IS_V6_VAL(c->pcb->remote_ip) ? c->s->tso6 : c->s->tso4) ? TCP_WRITE_FLAG_TSO : 0);
		if (flags & NOMSTACK_SEND_MORE)
			apiflags |= TCP_WRITE_FLAG_MORE;
		err = tcp_write(c->pcb, data, (u16_t)len, apiflags);
	}
	if (unlikely(err != ERR_OK))
		return err == ERR_CONN ? -EPIPE : -EAGAIN;
	conn_dirty(c);
	return 0;
}

/* End of a poll: send what was queued outside lwIP's input path. */
void nomstack__tcp_push(struct nomstack *s)
{
	struct nomstack_conn *c;

	while ((c = s->dirty)) {
		s->dirty = c->dirty_next;
		c->dirty = false;
		if (c->pcb)
			tcp_output(c->pcb);
	}
	if (unlikely(s->tx_blocked) && vnet_tx_room(s->v) >= s->tx_size / 4) {
		s->tx_blocked = false;
		tcp_txnow();
	}
}
