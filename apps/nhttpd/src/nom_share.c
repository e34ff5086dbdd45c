// SPDX-License-Identifier: MIT
/*
 * nom_share.c - one address for the stacks of several cores
 *
 * The first core's stack asks for addresses, tests and announces them; the others have
 * what it has.  What the device hands to one queue pair and concerns all, the stack
 * that hears it passes on.  Both are looked at once a millisecond.
 */
#include "net_nom.h"

#include "cores.h"
#include "post.h"
#include "server.h"

#include <nomstack/nomstack.h>

#include <string.h>

#define CONFIG_NS 100000000ULL		/* an address changes once in a lease */
#define HEAR_MAX (2 * POST_SLOTS)	/* a turn's: the other core may be flooded */

static void on_neighbour(void *arg, const void *frame, uint32_t len)
{
	cores_tell(arg, frame, len);
}

void nom_share_open(struct server *srv)
{
	nomstack_on_neighbour(nom.stack, on_neighbour, srv);
}

static void publish(struct server *srv, uint64_t now_ns)
{
	static struct nomstack_config last;
	struct nomstack_config now;

	if (now_ns < nom.next_config_ns)
		return;
	nom.next_config_ns = now_ns + CONFIG_NS;
	nomstack_config(nom.stack, &now);
	if (!memcmp(&now, &last, sizeof(now)))
		return;
	last = now;
	cores_publish(srv, &now);
}

void nom_share_tick(struct server *srv, uint64_t now_ns)
{
	uint8_t frame[NOMSTACK_SHARE_BYTES];
	struct nomstack_config config;
	uint32_t len;

	for (unsigned i = 0; i < HEAR_MAX && (len = cores_hear(srv, frame)); i++)
		nomstack_neighbour(nom.stack, frame, len);	/* without memory it is lost, as on a wire */
	if (!srv->core_nr)
		publish(srv, now_ns);
	else if (cores_config(srv, &nom.config_gen, &config))
		nomstack_follow(nom.stack, &config);
}
