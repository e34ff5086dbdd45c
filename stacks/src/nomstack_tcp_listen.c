// SPDX-License-Identifier: MIT
/* nomstack_tcp_listen.c - listeners: ports, and what all connections of one port have in common */
#include "internal.h"

#include "lwip/priv/tcp_priv.h"

#include <errno.h>

#define BACKLOG_MAX TCP_DEFAULT_LISTEN_BACKLOG

int nomstack_tcp_listen(struct nomstack *s, uint16_t port, unsigned backlog, const struct nomstack_tcp_ops *ops,
			void *arg)
{
	struct listener *l = NULL;
	struct tcp_pcb *pcb, *lpcb;
	err_t err;
	unsigned i;

	if (!port || !backlog || !ops || !ops->accept || !ops->recv || !ops->closed)
		return -EINVAL;
	for (i = 0; i < NOMSTACK_MAX_LISTENERS; i++) {
		if (s->listeners[i].pcb && s->listeners[i].port == port)
			return -EADDRINUSE;
		if (!s->listeners[i].pcb && !l)
			l = &s->listeners[i];
	}
	if (!l)
		return -ENOMEM;
	pcb = tcp_new_ip_type(IPADDR_TYPE_ANY);	/* of both versions */
	if (!pcb)
		return -ENOMEM;
	ip_set_option(pcb, SOF_REUSEADDR);
	err = tcp_bind(pcb, IP_ANY_TYPE, port);
	if (err != ERR_OK) {
		tcp_abort(pcb);
		return nomstack__errno(err);
	}
	lpcb = tcp_listen_with_backlog_and_err(pcb, (u8_t)(backlog > BACKLOG_MAX ? BACKLOG_MAX : backlog), &err);
	if (!lpcb) {
		tcp_abort(pcb);
		return nomstack__errno(err);
	}
	*l = (struct listener){ .pcb = lpcb, .ops = ops, .arg = arg, .s = s, .port = port };
	if (ops->batch_end)
		s->batch_end_mask |= 1u << (l - s->listeners);
	tcp_arg(lpcb, l);
	tcp_accept(lpcb, nomstack__on_accept);
	return 0;
}

static void listener_close(struct listener *l)
{
	l->s->batch_end_mask &= ~(1u << (l - l->s->listeners));
	tcp_arg(l->pcb, NULL);
	tcp_close(l->pcb);
	l->pcb = NULL;
}

int nomstack_tcp_unlisten(struct nomstack *s, uint16_t port)
{
	struct tcp_pcb *pcb, *next;
	unsigned i;

	for (i = 0; i < NOMSTACK_MAX_LISTENERS; i++) {
		if (!s->listeners[i].pcb || s->listeners[i].port != port)
			continue;
		listener_close(&s->listeners[i]);
		for (pcb = tcp_active_pcbs; pcb; pcb = next) {
			next = pcb->next;
			if (pcb->state == SYN_RCVD && pcb->local_port == port && !pcb->listener)
				tcp_abort(pcb);
		}
		return 0;
	}
	return -ENOENT;
}

void nomstack__listeners_close(struct nomstack *s)
{
	unsigned i;

	for (i = 0; i < NOMSTACK_MAX_LISTENERS; i++)
		if (s->listeners[i].pcb)
			listener_close(&s->listeners[i]);
}

void nomstack__tcp_batch_end(struct nomstack *s)
{
	unsigned mask;

	for (mask = s->batch_end_mask; mask; mask &= mask - 1) {
		struct listener *l = &s->listeners[__builtin_ctz(mask)];

		if (l->pcb)
			l->ops->batch_end(l->arg);
	}
}
