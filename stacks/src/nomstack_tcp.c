// SPDX-License-Identifier: MIT
/*
 * nomstack_tcp.c - the native TCP interface on lwIP's callbacks
 *
 * A struct nomstack_conn stands between an application and a struct tcp_pcb.
 * Either side may go first: when lwIP frees the PCB (reset, timeout) the
 * application is told and the conn ends; when the application closes, the PCB
 * lives on alone until TCP is done with it.  A conn that ended during a
 * callback is recycled at the end of the poll, so that code further up the
 * stack can still see that it is dead.
 *
 * Listeners are in nomstack_tcp_listen.c, output in nomstack_tcp_send.c.
 */
#include "internal.h"

#include "lwip/priv/tcp_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static err_t on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err);

int nomstack__errno(err_t err)
{
	switch (err) {
	case ERR_OK:
		return 0;
	case ERR_MEM:
	case ERR_BUF:
		return -ENOMEM;
	case ERR_RTE:
		return -ENETUNREACH;
	case ERR_USE:
		return -EADDRINUSE;
	case ERR_RST:
	case ERR_CLSD:
		return -ECONNRESET;
	case ERR_ABRT:
		return -ECONNABORTED;
	case ERR_CONN:
		return -EPIPE;
	case ERR_WOULDBLOCK:
		return -EAGAIN;
	default:
		return -EINVAL;
	}
}

/* The conn of a PCB, or NULL: an embryo's callback_arg is its listener's. */
struct nomstack_conn *nomstack__conn_of(const struct tcp_pcb *pcb)
{
	return pcb->recv == on_recv ? pcb->callback_arg : NULL;
}

static struct nomstack_conn *conn_new(struct nomstack *s, struct tcp_pcb *pcb, const struct nomstack_tcp_ops *ops)
{
	struct nomstack_conn *c = s->free_conns;

	if (!c)
		return NULL;
	s->free_conns = c->next;
	memset(c, 0, sizeof(*c));
	c->s = s;
	c->pcb = pcb;
	c->ops = ops;
	c->last_rx_ns = s->now_ns;
	c->spoke_epoch = s->epoch - 1;
	c->heard_gen = s->heard_gen - 1;
	c->answered_gen = s->answered_gen - 1;
	return c;
}

static void conn_peer_done(struct nomstack_conn *c)
{
	if (c->open) {
		c->open = false;
		c->s->nr_open--;
	}
}

/* The application's part is over; the memory comes back at the end of the poll. */
static void conn_end(struct nomstack_conn *c)
{
	conn_peer_done(c);
	c->pcb = NULL;
	c->s->st.tcp_active--;
	c->next = c->s->zombies;
	c->s->zombies = c;
}

static void conn_detach(struct nomstack_conn *c)
{
	tcp_arg(c->pcb, NULL);
	tcp_recv(c->pcb, NULL);
	tcp_sent(c->pcb, NULL);
	tcp_err(c->pcb, NULL);
}

/* lwIP must hear ERR_ABRT, and only then, when tcp_abort() was called for the
 * PCB whose callback runs. */
static bool aborted;

static err_t on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
	struct nomstack_conn *c = arg;
	struct nomstack *s = c->s;
	struct pbuf *q;

	aborted = false;
	if (!p) {
		conn_peer_done(c);
		c->ops->closed(c, c->arg, 0);
		return aborted ? ERR_ABRT : ERR_OK;
	}
	c->last_rx_ns = s->now_ns;
	nomstack__spoke(s, c);
	/* Before the application answers: the answer then carries the window. */
	if (likely(!c->paused))
		tcp_recved(pcb, p->tot_len);
	else
		c->unrecved += p->tot_len;
	for (q = p; q && c->pcb; q = q->next)
		c->ops->recv(c, c->arg, q->payload, q->len);
	/* Nearly always one frame, ours alone: what pbuf_free() would find out. */
	if (likely(!p->next && p->ref == 1 && p->flags & PBUF_FLAG_IS_CUSTOM))
		nomstack__rx_free(p);
	else
		pbuf_free(p);
	return aborted ? ERR_ABRT : ERR_OK;
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
	struct nomstack_conn *c = arg;

	aborted = false;
	c->ops->sent(c, c->arg, len);
	return aborted ? ERR_ABRT : ERR_OK;
}

/* The PCB is gone already. */
static void on_err(void *arg, err_t err)
{
	struct nomstack_conn *c = arg;
	int rc = nomstack__errno(err);

	if (!c)
		return;
	if (err == ERR_ABRT && c->s->in_timers)
		rc = -ETIMEDOUT;
	else if (err == ERR_RST && c->connecting)
		rc = -ECONNREFUSED;
	conn_peer_done(c);
	c->pcb = NULL;
	c->ops->closed(c, c->arg, rc);
	conn_end(c);
}

static void conn_knobs(struct nomstack_conn *c)
{
	if (c->s->nagle)
		tcp_nagle_enable(c->pcb);
	else
		tcp_nagle_disable(c->pcb);
	if (c->s->keepalive_ms) {
		c->pcb->keep_idle = c->s->keepalive_ms;
		ip_set_option(c->pcb, SOF_KEEPALIVE);
	} else {
		ip_reset_option(c->pcb, SOF_KEEPALIVE);
	}
}

/* A knob of all connections was turned. */
void nomstack__tcp_knobs(struct nomstack *s)
{
	unsigned i;

	for (i = 0; i < NOMSTACK__MAX_CONNS; i++)
		if (s->conns[i].pcb)
			conn_knobs(&s->conns[i]);
}

static void conn_attach(struct nomstack_conn *c)
{
	tcp_arg(c->pcb, c);
	tcp_recv(c->pcb, on_recv);
	tcp_sent(c->pcb, c->ops->sent ? on_sent : NULL);
	tcp_err(c->pcb, on_err);
	conn_knobs(c);
	c->s->st.tcp_active++;
}

/* Of a listener, which is @arg. */
err_t nomstack__on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
	struct listener *l = arg;
	struct nomstack *s;
	struct nomstack_conn *c;

	if (!l || err != ERR_OK || !pcb)
		return ERR_VAL;
	s = l->s;
	c = conn_new(s, pcb, l->ops);
	if (!c) {
		s->st.tcp_refused++;
		return ERR_MEM;
	}
	conn_attach(c);
	c->open = true;
	s->nr_open++;
	aborted = false;
	c->arg = l->ops->accept(c, l->arg);
	if (!c->pcb)
		return aborted ? ERR_ABRT : ERR_OK;
	if (!c->arg) {
		conn_detach(c);
		conn_end(c);
		s->st.tcp_refused++;
		return ERR_VAL;		/* lwIP resets it */
	}
	s->st.tcp_accepted++;
	return ERR_OK;
}

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t err)
{
	struct nomstack_conn *c = arg;

	c->connecting = false;
	c->open = true;
	c->s->nr_open++;
	c->last_rx_ns = c->s->now_ns;
	aborted = false;
	if (c->ops->connected)
		c->ops->connected(c, c->arg);
	return aborted ? ERR_ABRT : ERR_OK;
}

int nomstack_tcp_connect(struct nomstack *s, const char *ip, uint16_t port, const struct nomstack_tcp_ops *ops,
			 void *arg, struct nomstack_conn **out)
{
	struct nomstack_conn *c;
	struct nomstack_addr to;
	struct tcp_pcb *pcb;
	ip_addr_t addr;
	err_t err;

	if (!port || !ops || !ops->recv || !ops->closed || nomstack_addr_parse(ip, &to) ||
	    nomstack__addr_to_lwip(&to, &addr) || ip_addr_isany_val(addr) || ip_addr_ismulticast(&addr) ||
	    (IP_IS_V6_VAL(addr) && ip6_addr_isipv4mappedipv6(ip_2_ip6(&addr))))
		return -EINVAL;
	if (IP_IS_V6_VAL(addr) && !nomstack__ip6_routed(s, ip_2_ip6(&addr)))
		return -ENETUNREACH;
	if (!IP_IS_V6_VAL(addr) && !ip4_addr_netcmp(ip_2_ip4(&addr), netif_ip4_addr(&s->netif), netif_ip4_netmask(&s->netif)) &&
	    ip4_addr_isany_val(*netif_ip4_gw(&s->netif)))
		return -ENETUNREACH;
	pcb = tcp_new_ip_type(IP_GET_TYPE(&addr));
	if (!pcb)
		return -ENOMEM;
	c = conn_new(s, pcb, ops);
	if (!c) {
		tcp_abort(pcb);
		return -ENOMEM;
	}
	conn_attach(c);
	c->arg = arg;
	c->connecting = true;
	err = tcp_connect(pcb, &addr, port, on_connected);
	if (err != ERR_OK) {
		conn_detach(c);
		tcp_abort(pcb);
		conn_end(c);
		return nomstack__errno(err);
	}
	*out = c;
	return 0;
}

/* Bytes that the peer may send again, told at once; lwIP takes only 16 bits of them. */
static void give_back(struct tcp_pcb *pcb, uint32_t bytes)
{
	u16_t last = (u16_t)(bytes < UINT16_MAX ? bytes : UINT16_MAX);

	pcb->rcv_wnd += bytes - last;
	if (last)
		tcp_recved(pcb, last);
}

int nomstack_tcp_close(struct nomstack_conn *c)
{
	struct tcp_pcb *pcb = c->pcb;

	if (!pcb)
		return 0;	/* closing from closed(): it is over already */
	/* Bytes not yet given back, and the peer's FIN while its last data is
	 * being delivered, would turn our FIN into a reset. */
	give_back(pcb, TCP_WND_MAX(pcb) - pcb->rcv_wnd);
	nomstack__answered(c->s, c);
	conn_detach(c);
	if (tcp_close(pcb) != ERR_OK) {
		if (tcp_input_pcb == pcb)
			aborted = true;
		tcp_abort(pcb);
		conn_end(c);
		return -ENOMEM;
	}
	conn_end(c);
	return 0;
}

void nomstack_tcp_abort(struct nomstack_conn *c)
{
	struct tcp_pcb *pcb = c->pcb;

	if (!pcb)
		return;
	conn_detach(c);
	if (tcp_input_pcb == pcb)
		aborted = true;
	tcp_abort(pcb);
	conn_end(c);
}

void nomstack_tcp_pause(struct nomstack_conn *c, bool paused)
{
	c->paused = paused;
	if (!paused && c->unrecved && c->pcb) {
		give_back(c->pcb, c->unrecved);
		c->unrecved = 0;
	}
}

void nomstack_tcp_small_window(struct nomstack_conn *c)
{
#if TCP_WND > NOMSTACK_WINDOW_MIN	/* else the profile's is small enough */
	struct tcp_pcb *pcb = c->pcb;

	if (!pcb || pcb->rcv_wnd <= NOMSTACK_WINDOW_MIN)
		return;
	pcb->rcv_wnd = pcb->rcv_ann_wnd = NOMSTACK_WINDOW_MIN;
	/* lwIP notes what it would have liked to announce; a SYN's window has 16 bits */
	pcb->rcv_ann_right_edge = pcb->rcv_nxt + NOMSTACK_WINDOW_MIN;
#endif
}

uint32_t nomstack_tcp_window(void)
{
	return TCP_WND;
}

void nomstack_tcp_peer(struct nomstack_conn *c, char *buf, size_t n)
{
	char text[NOMSTACK_ADDR_TEXT];
	struct nomstack_addr a;
	uint16_t port;

	if (!n)
		return;
	if (nomstack_tcp_peer_addr(c, &a, &port)) {
		snprintf(buf, n, "?");
		return;
	}
	nomstack_addr_text(&a, text, sizeof(text));
	snprintf(buf, n, a.family == 6 ? "[%s]:%u" : "%s:%u", text, port);
}

int nomstack_tcp_peer_addr(struct nomstack_conn *c, struct nomstack_addr *addr_out, uint16_t *port_out)
{
	if (!c->pcb)
		return -ENOTCONN;
	nomstack__addr_from_lwip(&c->pcb->remote_ip, addr_out);
	*port_out = c->pcb->remote_port;
	return 0;
}

uint64_t nomstack_tcp_idle_ns(struct nomstack_conn *c)
{
	uint64_t ns = c->s->now_ns - c->last_rx_ns;

	return c->pcb ? ns : 0;
}

/* End of a poll: send what was queued outside lwIP's input path, recycle. */
void nomstack__tcp_flush(struct nomstack *s)
{
	struct nomstack_conn *c;

	nomstack__tcp_push(s);
	while (!s->in_poll && (c = s->zombies)) {
		s->zombies = c->next;
		c->next = s->free_conns;
		s->free_conns = c;
	}
}

void nomstack__tcp_close_all(struct nomstack *s)
{
	nomstack__listeners_close(s);
	while (tcp_active_pcbs) {
		struct nomstack_conn *c = nomstack__conn_of(tcp_active_pcbs);

		tcp_err(tcp_active_pcbs, NULL);
		if (c)
			c->pcb = NULL;
		tcp_abort(tcp_active_pcbs);
	}
	while (tcp_tw_pcbs)
		tcp_abort(tcp_tw_pcbs);
	while (tcp_bound_pcbs)
		tcp_abort(tcp_bound_pcbs);
}
