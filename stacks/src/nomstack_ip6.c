// SPDX-License-Identifier: MIT
/*
 * nomstack_ip6.c - what IPv6 addresses the interface has, and where its router is
 *
 * Three ways to be configured: not at all (every IPv6 frame is dropped), with a
 * fixed address, or by router advertisements (RFC 4862).  In the latter two the
 * link-local address comes first, made of the MAC; each address is used when
 * nobody else has claimed it for a second (duplicate address detection).
 *
 * With a fixed address routers are not listened to: what they say could only add
 * addresses that nobody asked for, and anybody on the link can say it.
 */
#include "internal.h"
#include "lwip_hooks.h"

#include "lwip/ethip6.h"
#include "lwip/nd6.h"
#include "lwip/priv/nd6_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX_BITS 64	/* lwIP knows networks of this size only */

static int parse_ip6(const char *text, ip6_addr_t *out)
{
	struct nomstack_addr a;
	ip_addr_t ip;

	if (nomstack_addr_parse(text, &a) || a.family != 6)
		return -EINVAL;
	nomstack__addr_to_lwip(&a, &ip);
	if (ip6_addr_isany(ip_2_ip6(&ip)) || ip6_addr_ismulticast(ip_2_ip6(&ip)) ||
	    ip6_addr_isloopback(ip_2_ip6(&ip)) || ip6_addr_isipv4mappedipv6(ip_2_ip6(&ip)))
		return -EINVAL;
	*out = *ip_2_ip6(&ip);
	return 0;
}

/* Fills @cfg; nothing else is changed.  Return: 0 or -EINVAL. */
int nomstack__ip6_parse(const struct nomstack_opts *o, struct ip6_config *cfg)
{
	char text[NOMSTACK_ADDR_TEXT], *end;
	const char *slash;
	size_t n;

	memset(cfg, 0, sizeof(*cfg));
	if (!o->ip6)
		return o->gateway6 ? -EINVAL : 0;
	cfg->on = true;
	if (!strcmp(o->ip6, "auto")) {
		cfg->autoconf = true;
		return o->gateway6 ? -EINVAL : 0;
	}
	slash = strchr(o->ip6, '/');
	n = slash ? (size_t)(slash - o->ip6) : 0;
	if (!slash || n >= sizeof(text) || strtoul(slash + 1, &end, 10) != PREFIX_BITS || *end)
		return -EINVAL;
	memcpy(text, o->ip6, n);
	text[n] = 0;
	if (parse_ip6(text, &cfg->addr))
		return -EINVAL;
	cfg->has_addr = true;
	if (o->gateway6) {
		if (parse_ip6(o->gateway6, &cfg->gateway))
			return -EINVAL;
		cfg->has_gateway = true;
	}
	return 0;
}

/* In the interface's init function. */
void nomstack__ip6_netif_init(struct nomstack *s, struct netif *n)
{
	n->output_ip6 = ethip6_output;
	if (s->ip6.on)
		n->flags |= NETIF_FLAG_MLD6;
	reachable_time = LWIP_ND6_REACHABLE_TIME;	/* what a router said to an earlier stack is over */
}

/* Before the interface goes up. */
void nomstack__ip6_start(struct nomstack *s)
{
	if (!s->ip6.on)
		return;
	if (!s->follows)
		netif_create_ip6_linklocal_address(&s->netif, 1);
	if (!s->follows && s->ip6.has_addr && !ip6_addr_cmp(&s->ip6.addr, netif_ip6_addr(&s->netif, 0)))
		netif_add_ip6_address(&s->netif, &s->ip6.addr, NULL);
	netif_set_ip6_autoconfig_enabled(&s->netif, s->ip6.autoconf);
}

/* It is up, whereupon lwIP would ask for routers. */
void nomstack__ip6_started(struct nomstack *s)
{
	if (!s->ip6.autoconf || s->follows)
		s->netif.rs_count = 0;
}

const ip6_addr_t *nomstack__ip6_gateway(struct netif *netif, const ip6_addr_t *dest)
{
	struct nomstack *s = netif->state;

	return s->ip6.has_gateway ? &s->ip6.gateway : NULL;
}

/* Whether there is an address to send from, and a way to @dest. */
bool nomstack__ip6_routed(struct nomstack *s, const ip6_addr_t *dest)
{
	const ip_addr_t *src = ip6_select_source_address(&s->netif, dest);
	unsigned i;

	if (!src)
		return false;
	if (ip6_addr_islinklocal(dest))
		return true;
	if (ip6_addr_islinklocal(ip_2_ip6(src)))
		return false;
	if (s->ip6.has_gateway || nd6_find_route(dest))
		return true;
	for (i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++)
		if (ip6_addr_isvalid(netif_ip6_addr_state(&s->netif, i)) && netif_ip6_addr_isstatic(&s->netif, i) &&
		    ip6_addr_netcmp(dest, netif_ip6_addr(&s->netif, i)))
			return true;
	return false;
}

static uint8_t state_of(u8_t lwip)
{
	if (ip6_addr_istentative(lwip))
		return NOMSTACK_ADDR_TENTATIVE;
	if (ip6_addr_isduplicated(lwip))
		return NOMSTACK_ADDR_DUPLICATE;
	return lwip == IP6_ADDR_DEPRECATED ? NOMSTACK_ADDR_DEPRECATED : NOMSTACK_ADDR_READY;
}

unsigned nomstack_addresses(struct nomstack *s, struct nomstack_addr *out, unsigned max)
{
	unsigned i, n = 0, prefix;
	uint32_t ip4;

	if (n < max && !nomstack_address(s, &ip4, &prefix)) {
		nomstack__addr_from_lwip(netif_ip_addr4(&s->netif), &out[n]);
		out[n].prefix = (uint8_t)prefix;
		out[n++].state = NOMSTACK_ADDR_READY;
	}
	for (i = 0; i < LWIP_IPV6_NUM_ADDRESSES && n < max; i++) {
		if (ip6_addr_isinvalid(netif_ip6_addr_state(&s->netif, i)))
			continue;
		nomstack__addr_from_lwip(netif_ip_addr6(&s->netif, i), &out[n]);
		out[n].prefix = PREFIX_BITS;
		out[n++].state = state_of(netif_ip6_addr_state(&s->netif, i));
	}
	return n;
}

/* Whether there is an address of the kind that was asked for. */
bool nomstack__ip6_ready(struct nomstack *s)
{
	unsigned i;

	for (i = s->ip6.has_addr || s->ip6.autoconf ? 1 : 0; i < LWIP_IPV6_NUM_ADDRESSES; i++)
		if (ip6_addr_isvalid(netif_ip6_addr_state(&s->netif, i)))
			return true;
	/* a fixed one that is link-local itself */
	return s->ip6.has_addr && ip6_addr_islinklocal(&s->ip6.addr) &&
	       ip6_addr_isvalid(netif_ip6_addr_state(&s->netif, 0));
}

_Static_assert(LWIP_IPV6_NUM_ADDRESSES <= NOMSTACK_MAX_IP6, "more addresses than can be told");

void nomstack__ip6_config(struct nomstack *s, struct nomstack_config *out)
{
	unsigned i;

	for (i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++) {
		u8_t state = netif_ip6_addr_state(&s->netif, i);

		if (!ip6_addr_isvalid(state))
			continue;
		nomstack__addr_from_lwip(netif_ip_addr6(&s->netif, i), &out->ip6[i]);
		out->ip6[i].prefix = PREFIX_BITS;
		out->ip6[i].state = state_of(state);
		out->ip6_fixed |= (uint32_t)!!netif_ip6_addr_isstatic(&s->netif, i) << i;
	}
}

/* What is told ends when it is told: no lifetime of it runs out here. */
void nomstack__ip6_follow(struct nomstack *s, const struct nomstack_config *c)
{
	struct netif *n = &s->netif;
	ip_addr_t ip;
	s8_t i;

	for (i = 0; s->ip6.on && i < LWIP_IPV6_NUM_ADDRESSES; i++) {
		if (nomstack__addr_to_lwip(&c->ip6[i], &ip) || !IP_IS_V6_VAL(ip)) {
			netif_ip6_addr_set_state(n, i, IP6_ADDR_INVALID);
			continue;
		}
		ip6_addr_assign_zone(ip_2_ip6(&ip), IP6_UNICAST, n);
		if (!ip6_addr_cmp(ip_2_ip6(&ip), netif_ip6_addr(n, i))) {
			netif_ip6_addr_set_state(n, i, IP6_ADDR_INVALID);
			netif_ip6_addr_set(n, i, ip_2_ip6(&ip));
		}
		netif_ip6_addr_set_valid_life(n, i, c->ip6_fixed >> i & 1 ? IP6_ADDR_LIFE_STATIC : IP6_ADDR_LIFE_INFINITE);
		netif_ip6_addr_set_pref_life(n, i, IP6_ADDR_LIFE_INFINITE);
		netif_ip6_addr_set_state(n, i, c->ip6[i].state == NOMSTACK_ADDR_DEPRECATED ? IP6_ADDR_DEPRECATED :
					 IP6_ADDR_PREFERRED);
	}
}
