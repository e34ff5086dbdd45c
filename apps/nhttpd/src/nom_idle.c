// SPDX-License-Identifier: MIT
/*
 * nom_idle.c - when the loop sleeps, and what ends that
 *
 * <nomapp/idle.h> has both; here is what they are for nhttpd: prices end a sleep, too, and
 * who asks for a look at the stack is answered sooner.
 */
#include "net_nom.h"

#include "server.h"

#include <nomdrv/vnet.h>
#include <nomstack/nomstack.h>
#include <nomux/core.h>
#include <nomux/log.h>
#include <nomux/notify.h>
#include <nomux/upcall.h>

#include <linux/nom.h>

#include <string.h>
#include <syslog.h>

#define SLEEP_MAX_NS 250000000ULL	/* knobs are looked at that often when idle */
#define SLEEP_LOOK_NS 1000000ULL	/* and questions, while somebody asks */

/* Runs on the upcall stack in the middle of anything: no SSE, no calls. */
__attribute__((target("general-regs-only")))
static void on_price_event(unsigned int event, uint64_t count, void *arg)
{
	nom.price_posts += count;
}

void nom_wake(struct server *srv)
{
	int ret = app_idle_wake(&nom.idle, srv->nomux);

	/* Not fatal: an idle loop looks by itself, four times a second. */
	if (ret)
		nomux_log(LOG_WARNING, "nhttpd: cannot wake the serving thread: %s", strerror(-ret));
}

static bool prepare(void *arg)
{
	return nomstack_idle_prepare(nom.stack);
}

static void done(void *arg)
{
	nomstack_idle_done(nom.stack);
}

int nom_idle_open(struct server *srv)
{
	uint64_t *const *word = srv->m.word;

	nom.idle = (struct app_idle){
		.v = nom.vnet, .device = srv->opt->device, .core = nom.core, .prepare = prepare, .done = done,
		.sleeps = word[M_SLEEPS], .wakeups = word[M_WAKEUPS], .syscalls = word[M_SYSCALLS], .spin_ns = word[M_SPIN_NS],
	};
	app_idle_bound(&nom.idle, nom.idle_us);
	if (nom.core) {
		nom.price_event = nomux_event_alloc(nom.core);
		nomux_on_event(nom.core, nom.price_event, on_price_event, NULL);
	}
	return app_idle_open(&nom.idle);
}

/* From here on this thread lives on the leased core. */
int nom_enter_core(struct server *srv)
{
	int ret = app_idle_enter(&nom.idle, srv->opt->idle == IDLE_POLL);

	if (ret)
		return ret;
	ret = nomux_subscribe(nom.core, nom.price_event, 1ULL << NOM_BOARD_PRICES);
	if (ret)
		nomux_log(LOG_WARNING, "nhttpd: no upcall for prices (%s): the board is looked at instead", strerror(-ret));
	nomux_unmask(nom.core);
	return EXIT_OK;
}

void nom_nap(struct server *srv, uint64_t ns)
{
	if (app_idle_nap(&nom.idle, ns))
		nom.next_tick_ns = 0;
}

bool nom_idle(struct server *srv, uint64_t now_ns, uint64_t max_ns)
{
	/* A batch may be held, and ends within W: the stack would refuse to sleep. */
	bool held = nom.w_us && max_ns <= nom.w_us * 1000, woken;

	if (max_ns > (nom.looked_at ? SLEEP_LOOK_NS : SLEEP_MAX_NS))
		max_ns = nom.looked_at ? SLEEP_LOOK_NS : SLEEP_MAX_NS;
	if (!app_idle(&nom.idle, now_ns, max_ns, held, &woken))
		return false;
	if (woken)
		nom.next_tick_ns = 0;
	return true;
}
