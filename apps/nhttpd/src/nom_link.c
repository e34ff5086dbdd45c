// SPDX-License-Identifier: MIT
/*
 * nom_link.c - the device's health, its link, and requests to announce ourselves
 *
 * The device signals changes by an interrupt of its own, which ends a sleep; once a
 * second it is looked at anyway.  A link that is down stops nothing: what is sent is
 * lost as on a wire that was cut, and TCP repeats it.  When it is back the switch
 * behind it may be another one, so our address is announced.
 */
#include "net_nom.h"

#include "cores.h"
#include "server.h"

#include <nomdrv/vnet.h>
#include <nomstack/nomstack.h>
#include <nomux/log.h>

#include <stdio.h>
#include <string.h>
#include <syslog.h>

#define CHECK_NS 1000000000ULL

static void announce(struct server *srv)
{
	int ret = nomstack_announce(nom.stack);

	if (ret)
		nomux_log(LOG_WARNING, "nhttpd: cannot announce the address: %s", strerror(-ret));
	else
		metric_add(&srv->m, M_ANNOUNCEMENTS, 1);
}

/* Called from vnet_check(), between two polls of the stack. */
static void on_event(unsigned int what, void *arg)
{
	struct server *srv = arg;
	bool up = vnet_link_up(nom.vnet);
	int ret;

	if (what & VNET_EVENT_LINK) {
		nomux_log(up ? LOG_NOTICE : LOG_WARNING, "nhttpd: the link of %s is %s", srv->opt->device,
			  up ? "up again" : "down: nothing is sent or received");
		metric_set(&srv->m, M_LINK_UP, up);
		metric_add(&srv->m, M_LINK_CHANGES, 1);
	}
	/* Several cores have one address: the first one's. */
	if (!srv->core_nr && ((what & VNET_EVENT_ANNOUNCE) || ((what & VNET_EVENT_LINK) && up)))
		announce(srv);
	if (what & VNET_EVENT_ANNOUNCE) {
		ret = vnet_announce_ack(nom.vnet);
		if (ret)
			nomux_log(LOG_WARNING, "nhttpd: the device does not take the answer to its request to announce: %s",
				  strerror(-ret));
	}
}

void nom_link_open(struct server *srv)
{
	metric_set(&srv->m, M_LINK_UP, vnet_link_up(nom.vnet));
	if (!vnet_link_up(nom.vnet))
		nomux_log(LOG_WARNING, "nhttpd: the link of %s is down", srv->opt->device);
	vnet_on_event(nom.vnet, on_event, srv);
}

/* Of several cores none may begin the device again under the others. */
static int restart(struct server *srv)
{
	int ret;

	if (!srv->cores)
		return nomstack_restart(nom.stack);
	nomstack_restart_begin(nom.stack);
	ret = cores_restart(srv);
	if (!ret)
		nomstack_restart_end(nom.stack);
	return ret;
}

bool nom_link_tick(struct server *srv, uint64_t now_ns)
{
	const char *reason = "no reason given";
	char why[160];

	if (!vnet_config_changed(nom.vnet)) {
		if (now_ns < nom.next_check_ns && !(srv->cores && cores_restarting(srv)))
			return true;
		vnet_check(nom.vnet);
	}
	nom.next_check_ns = now_ns + CHECK_NS;
	if (!vnet_error(nom.vnet, &reason))
		return true;
	snprintf(why, sizeof(why), "%s", reason);	/* the next try has its own */
	if (!restart(srv))
		return true;
	die_message("--device %s: the device failed: %s", srv->opt->device, why);
	return false;
}
