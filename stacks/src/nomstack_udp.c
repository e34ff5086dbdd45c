// SPDX-License-Identifier: MIT
/*
 * nomstack_udp.c - datagrams: a port, a callback, a send
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

#define UDP_MAX_BYTES (1500 - 28)

static void on_udp(void *arg, struct udp_pcb *pcb, struct pbuf *p, const ip_addr_t *addr, u16_t port)
{
	struct udp_bind *u = arg;

	/* One buffer holds a frame, so the chain has one link. */
	u->fn(u->s, u->arg, p->payload, p->len, ip4_addr_get_u32(ip_2_ip4(addr)), port);
	pbuf_free(p);
}

int nomstack_udp_bind(struct nomstack *s, uint16_t port, nomstack_udp_fn fn, void *arg)
{
	struct udp_bind *u = NULL;
	struct udp_pcb *pcb;
	unsigned i;

	if (!port || !fn)
		return -EINVAL;
	for (i = 0; i < NOMSTACK_MAX_UDP; i++) {
		if (s->udps[i].pcb && s->udps[i].port == port)
			return -EADDRINUSE;
		if (!s->udps[i].pcb && !u)
			u = &s->udps[i];
	}
	if (!u)
		return -ENOMEM;
	pcb = udp_new();
	if (!pcb)
		return -ENOMEM;
	if (udp_bind(pcb, IP_ADDR_ANY, port) != ERR_OK) {
		udp_remove(pcb);
		return -EADDRINUSE;
	}
	*u = (struct udp_bind){ .pcb = pcb, .fn = fn, .arg = arg, .s = s, .port = port };
	udp_recv(pcb, on_udp, u);
	return 0;
}

int nomstack_udp_send(struct nomstack *s, uint16_t local_port, uint32_t ip4_be, uint16_t port, const void *data,
		      uint32_t len)
{
	ip_addr_t addr;
	struct pbuf *p;
	unsigned i;
	err_t err;

	if (len > UDP_MAX_BYTES)
		return -EMSGSIZE;
	for (i = 0; i < NOMSTACK_MAX_UDP; i++)
		if (s->udps[i].pcb && s->udps[i].port == local_port)
			break;
	if (i == NOMSTACK_MAX_UDP)
		return -ENOENT;
	p = pbuf_alloc(PBUF_TRANSPORT, (u16_t)len, PBUF_RAM);
	if (!p)
		return -ENOMEM;
	memcpy(p->payload, data, len);
	memset(&addr, 0, sizeof(addr));
	ip4_addr_set_u32(ip_2_ip4(&addr), ip4_be);
	s->tx_blocked = false;
	err = udp_sendto(s->udps[i].pcb, p, &addr, port);
	pbuf_free(p);
	if (err == ERR_MEM && s->tx_blocked)
		return -EAGAIN;
	return nomstack__errno(err);
}

void nomstack__udp_close_all(struct nomstack *s)
{
	unsigned i;

	for (i = 0; i < NOMSTACK_MAX_UDP; i++)
		if (s->udps[i].pcb)
			udp_remove(s->udps[i].pcb);
}
