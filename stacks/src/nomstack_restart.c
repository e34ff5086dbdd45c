// SPDX-License-Identifier: MIT
/*
 * nomstack_restart.c - a device that broke is brought up again
 *
 * Nothing of the stack changes: what the device had comes back as sent, and if
 * it was not, TCP sends it again.
 */
#include "internal.h"

int nomstack_restart(struct nomstack *s)
{
	int err = vnet_restart(s->v, nomstack__tx_done, s);

	if (!err)
		nomstack_restart_end(s);
	return err;
}

void nomstack_restart_begin(struct nomstack *s)
{
	vnet_stop(s->v);
	nomstack__tx_reap(s);
}

void nomstack_restart_end(struct nomstack *s)
{
	s->rx_unposted = 0;	/* the driver has posted all there were */
}
