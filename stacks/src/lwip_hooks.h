/* SPDX-License-Identifier: MIT */
/*
 * lwip_hooks.h - functions of ours that lwIP calls (LWIP_HOOK_FILENAME)
 */
#ifndef NOMSTACK_LWIP_HOOKS_H
#define NOMSTACK_LWIP_HOOKS_H

#include "lwip/ip_addr.h"

/* Initial sequence numbers of RFC 6528: a clock plus a keyed hash of the
 * four-tuple, so that they can neither be guessed nor repeat. */
u32_t nomstack__tcp_isn(const ip_addr_t *local_ip, u16_t local_port, const ip_addr_t *remote_ip, u16_t remote_port);
#define LWIP_HOOK_TCP_ISN nomstack__tcp_isn

/* Out-of-order segments lie in the receive ring's buffers.  What all
 * connections together may hold of them is a share of the ring; beyond it
 * segments are dropped (the peer sends them again). */
u16_t nomstack__ooseq_limit(void);
#define TCP_OOSEQ_PBUFS_LIMIT(pcb) nomstack__ooseq_limit()

/* Whether one more ICMP message may be sent: knob icmp_per_s. */
int nomstack__icmp_allowed(void);
#define LWIP_HOOK_ICMP_ANSWER nomstack__icmp_allowed

/* The router of a fixed address of IPv6; NULL: one that has announced itself, or none. */
struct netif;
const ip6_addr_t *nomstack__ip6_gateway(struct netif *netif, const ip6_addr_t *dest);
#define LWIP_HOOK_ND6_GET_GW nomstack__ip6_gateway

/* Fragments of IP: NULL, or the datagram that this one made whole.  All of it is private
 * memory then, @p was consumed. */
struct pbuf;
struct ip6_hdr;
struct pbuf *nomstack__ip4_fragment(struct pbuf *p, struct netif *inp);
struct pbuf *nomstack__ip6_fragment(struct pbuf *p, const struct ip6_hdr *ip6hdr);
#define LWIP_HOOK_IP4_FRAGMENT nomstack__ip4_fragment
#define LWIP_HOOK_IP6_FRAGMENT nomstack__ip6_fragment

/* ns, of the poll that runs: when segments are sent and their acknowledgments seen. */
u64_t nomstack__tcp_clock(void);
#define LWIP_HOOK_TCP_CLOCK nomstack__tcp_clock

#endif
