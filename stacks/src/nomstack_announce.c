// SPDX-License-Identifier: MIT
/* nomstack_announce.c - tell the network where our address is */
#include "internal.h"
#include "lwip/etharp.h"

#include <errno.h>

int nomstack_announce(struct nomstack *s)
{
	err_t err;

	if (!ip4_addr_get_u32(netif_ip4_addr(&s->netif)))
		return -EADDRNOTAVAIL;
	err = etharp_gratuitous(&s->netif);
	nomstack__tx_announce(s);
	return err == ERR_OK ? 0 : -EAGAIN;
}
