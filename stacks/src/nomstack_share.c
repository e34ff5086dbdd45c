// SPDX-License-Identifier: MIT
/*
 * nomstack_share.c - neighbours, for several stacks behind one address
 *
 * The device hands an answer to ARP to one queue pair, whoever asked.  What tells
 * where a neighbour is goes to the application, which passes it on to its other
 * stacks.  Questions do not: each would be answered by all.
 */
#include "internal.h"
#include "netif/ethernet.h"

#include <errno.h>
#include <string.h>

#define ARP_BYTES 42u	/* Ethernet, and ARP for IPv4 (RFC 826) */
#define AT_OP 20u
#define AT_SENDER 28u
#define AT_TARGET 38u

void nomstack__share(struct nomstack *s, const uint8_t *f, uint32_t len)
{
	if (len < ARP_BYTES || f[12] != 0x08 || f[13] != 0x06)
		return;
	/* an answer, or somebody who tells about itself (RFC 5227, 3) */
	if (f[AT_OP + 1] == 2 || !memcmp(f + AT_SENDER, f + AT_TARGET, 4))
		s->share_fn(s->share_arg, f, ARP_BYTES);
}

void nomstack_on_neighbour(struct nomstack *s, nomstack_neighbour_fn fn, void *arg)
{
	s->share_fn = fn;
	s->share_arg = arg;
}

int nomstack_neighbour(struct nomstack *s, const void *frame, uint32_t len)
{
	nomstack_neighbour_fn fn = s->share_fn;
	struct pbuf *p;

	if (len != ARP_BYTES)
		return -EINVAL;
	p = pbuf_alloc(PBUF_RAW, (u16_t)len, PBUF_RAM);
	if (!p)
		return -ENOMEM;
	memcpy(p->payload, frame, len);
	s->share_fn = NULL;	/* it is known where it comes from */
	if (ethernet_input(p, &s->netif) != ERR_OK)
		pbuf_free(p);
	s->share_fn = fn;
	nomstack__tx_announce(s);	/* what waited for this */
	return 0;
}
