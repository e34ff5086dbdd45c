// SPDX-License-Identifier: MIT
/*
 * nomstack_udp.c - datagrams: a port, a callback, a send
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

/* lwIP counts a frame in 16 bits, with Ethernet's header. */
#define UDP_MAX_BYTES (UINT16_MAX - 14 - 28)
#define UDP6_MAX_BYTES (UINT16_MAX - 14 - 48)

static void on_udp(void *arg, struct udp_pcb *pcb, struct pbuf *p, const ip_addr_t *addr, u16_t port)
{
	struct udp_bind *u = arg;

	/* One buffer holds a frame, and one all of a datagram's fragments: the chain has one link. */
	if (u->fn) {
		u->fn(u->s, u->arg, p->payload, p->len, ip4_addr_get_u32(ip_2_ip4(addr)), port);
	} else {
		struct nomstack_addr from;

		nomstack__addr_from_lwip(addr, &from);
		u->any_fn(u->s, u->arg, p->payload, p->len, &from, port);
	}
	pbuf_free(p);
}

static struct udp_bind *find(struct nomstack *s, uint16_t port)
{
	unsigned i;

	for (i = 0; i < NOMSTACK_MAX_UDP; i++)
		if (s->udps[i].pcb && s->udps[i].port == port)
			return &s->udps[i];
	return NULL;
}

/* @how: one of its callbacks is set. */
static int bind_port(struct nomstack *s, uint16_t port, struct udp_bind how)
{
	struct udp_bind *u = NULL;
	struct udp_pcb *pcb;
	unsigned i;

	if (!port || (!how.fn && !how.any_fn))
		return -EINVAL;
	if (find(s, port))
		return -EADDRINUSE;
	for (i = 0; i < NOMSTACK_MAX_UDP && !u; i++)
		if (!s->udps[i].pcb)
			u = &s->udps[i];
	if (!u)
		return -ENOMEM;
	pcb = udp_new_ip_type(how.fn ? IPADDR_TYPE_V4 : IPADDR_TYPE_ANY);
	if (!pcb)
		return -ENOMEM;
	if (udp_bind(pcb, how.fn ? IP4_ADDR_ANY : IP_ANY_TYPE, port) != ERR_OK) {
		udp_remove(pcb);
		return -EADDRINUSE;
	}
	*u = how;
	u->pcb = pcb;
	u->s = s;
	u->port = port;
	udp_recv(pcb, on_udp, u);
	return 0;
}

int nomstack_udp_bind(struct nomstack *s, uint16_t port, nomstack_udp_fn fn, void *arg)
{
	return bind_port(s, port, (struct udp_bind){ .fn = fn, .arg = arg });
}

int nomstack_udp_bind_any(struct nomstack *s, uint16_t port, nomstack_udp_any_fn fn, void *arg)
{
	return bind_port(s, port, (struct udp_bind){ .any_fn = fn, .arg = arg });
}

static int send_to(struct nomstack *s, struct udp_bind *u, const ip_addr_t *addr, uint16_t port, const void *data,
		   uint32_t len)
{
	u16_t offload = s->netif.chksum_flags;
	struct pbuf *p;
	err_t err;

	if (unlikely(len + (IP_IS_V6(addr) ? 48u : 28u) > s->netif.mtu)) {
		/* Fragments are copied from where it lies, and no device sums up what it sees in parts. */
		p = pbuf_alloc(PBUF_RAW, (u16_t)len, PBUF_REF);
		if (!p)
			return -ENOMEM;
		p->payload = (void *)(uintptr_t)data;
		s->netif.chksum_flags |= NETIF_CHECKSUM_GEN_UDP;
	} else {
		p = pbuf_alloc(PBUF_TRANSPORT, (u16_t)len, PBUF_RAM);
		if (!p)
			return -ENOMEM;
		memcpy(p->payload, data, len);
	}
	s->tx_blocked = false;
	err = udp_sendto(u->pcb, p, addr, port);
	s->netif.chksum_flags = offload;
	pbuf_free(p);
	if (err == ERR_MEM && s->tx_blocked)
		return -EAGAIN;
	return nomstack__errno(err);
}

int nomstack_udp_send(struct nomstack *s, uint16_t local_port, uint32_t ip4_be, uint16_t port, const void *data,
		      uint32_t len)
{
	struct udp_bind *u = find(s, local_port);
	ip_addr_t addr;

	if (len > UDP_MAX_BYTES)
		return -EMSGSIZE;
	if (!u)
		return -ENOENT;
	memset(&addr, 0, sizeof(addr));
	ip_addr_set_ip4_u32_val(addr, ip4_be);
	return send_to(s, u, &addr, port, data, len);
}

int nomstack_udp_send_to(struct nomstack *s, uint16_t local_port, const struct nomstack_addr *to, uint16_t port,
			 const void *data, uint32_t len)
{
	struct udp_bind *u = find(s, local_port);
	ip_addr_t addr;

	if (nomstack__addr_to_lwip(to, &addr))
		return -EINVAL;
	if (len > (to->family == 6 ? UDP6_MAX_BYTES : UDP_MAX_BYTES))
		return -EMSGSIZE;
	if (!u)
		return -ENOENT;
	if (to->family == 6) {
		if (u->fn || ip6_addr_isany(ip_2_ip6(&addr)) || ip6_addr_ismulticast(ip_2_ip6(&addr)) ||
		    ip6_addr_isipv4mappedipv6(ip_2_ip6(&addr)))
			return -EINVAL;
		if (!nomstack__ip6_routed(s, ip_2_ip6(&addr)))
			return -ENETUNREACH;
	}
	return send_to(s, u, &addr, port, data, len);
}

void nomstack__udp_close_all(struct nomstack *s)
{
	unsigned i;

	for (i = 0; i < NOMSTACK_MAX_UDP; i++)
		if (s->udps[i].pcb)
			udp_remove(s->udps[i].pcb);
}
