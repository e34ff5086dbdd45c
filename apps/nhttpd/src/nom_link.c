// SPDX-License-Identifier: MIT
/*
 * nom_link.c - the device's health, its link, and requests to announce ourselves
 *
 * <nomapp/link.h> looks at all three; here is what is done about them, by one core or by several.
 */
#include "net_nom.h"

#include "cores.h"
#include "server.h"

#include <nomapp/mend.h>
#include <nomstack/nomstack.h>

static int announce(void *arg)
{
	return nomstack_announce(nom.stack);
}

void nom_link_open(struct server *srv)
{
	uint64_t *const *word = srv->m.word;

	nom.link = (struct app_link){
		.v = nom.vnet, .device = srv->opt->device, .announce = srv->core_nr ? NULL : announce,	/* several cores have one address */
		.up = word[M_LINK_UP], .changes = word[M_LINK_CHANGES], .announcements = word[M_ANNOUNCEMENTS],
	};
	app_link_open(&nom.link);
}

/* Of several cores none may begin the device again under the others. */
static int restart(void *arg)
{
	struct server *srv = arg;
	int ret;

	if (!srv->cores)
		return nomstack_restart(nom.stack);
	nomstack_restart_begin(nom.stack);
	ret = cores_restart(srv);
	if (!ret)
		nomstack_restart_end(nom.stack);
	return ret;
}

static bool stopping(void *arg)
{
	struct server *srv = arg;

	return atomic_load_explicit(&srv->stop, memory_order_relaxed) != STOP_NO;
}

static void nap(void *arg, uint64_t ns)
{
	nom_nap(arg, ns);
}

bool nom_link_tick(struct server *srv, uint64_t now_ns)
{
	struct app_mend mend = {
		.device = srv->opt->device, .quiet = srv->core_nr, .restart = restart, .stopping = stopping, .nap = nap, .arg = srv,
	};

	if (!app_link_failed(&nom.link, now_ns, srv->cores && cores_restarting(srv)))
		return true;
	if (app_mend(&mend, nom.vnet))
		return false;
	nom_show_stats(srv);
	return true;
}
