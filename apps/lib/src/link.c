// SPDX-License-Identifier: MIT
/* link.c - a device's link, its requests to be announced, and its health */
#include <nomapp/link.h>

#include <nomapp/app.h>
#include <nomapp/counters.h>
#include <nomdrv/vnet.h>
#include <nomux/log.h>

#include <string.h>
#include <syslog.h>

#define CHECK_NS 1000000000ULL

static void announce(struct app_link *l)
{
	int ret = l->announce(l->arg);

	if (ret)
		nomux_log(LOG_WARNING, "%s: cannot announce the address: %s", l->device, strerror(-ret));
	else
		app_counter_add(l->announcements, 1);
}

/* Called from vnet_check(). */
static void on_event(unsigned int what, void *arg)
{
	struct app_link *l = arg;
	bool up = vnet_link_up(l->v);
	int ret;

	if (what & VNET_EVENT_LINK) {
		nomux_log(up ? LOG_NOTICE : LOG_WARNING, "%s: the link is %s", l->device,
			  up ? "up again" : "down: nothing is sent or received");
		app_counter_set(l->up, up);
		app_counter_add(l->changes, 1);
	}
	if (l->announce && ((what & VNET_EVENT_ANNOUNCE) || ((what & VNET_EVENT_LINK) && up)))
		announce(l);
	if (what & VNET_EVENT_ANNOUNCE) {
		ret = vnet_announce_ack(l->v);
		if (ret)
			nomux_log(LOG_WARNING, "%s: the device does not take the answer to its request to announce: %s", l->device,
				  strerror(-ret));
	}
}

void app_link_open(struct app_link *l)
{
	app_counter_set(l->up, vnet_link_up(l->v));
	if (!vnet_link_up(l->v))
		nomux_log(LOG_WARNING, "%s: the link is down", l->device);
	vnet_on_event(l->v, on_event, l);
}

bool app_link_failed(struct app_link *l, uint64_t now_ns, bool at_once)
{
	if (!vnet_config_changed(l->v)) {
		if (now_ns < l->next_ns && !at_once)
			return vnet_error(l->v, NULL);
		vnet_check(l->v);
	}
	l->next_ns = now_ns + CHECK_NS;
	return vnet_error(l->v, NULL);
}
