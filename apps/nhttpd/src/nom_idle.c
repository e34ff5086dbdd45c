// SPDX-License-Identifier: MIT
/*
 * nom_idle.c - when the loop sleeps, and what ends that
 *
 * The driver's automatic mode decides (vnet_auto()): to poll without work for at
 * most idle_us, and for less where the last sleeps were long.  Under load nothing
 * sleeps, an idle server polls for one turn after each timer, and one request in a
 * while costs one sleep, not idle_us of polling.
 */
#include "net_nom.h"

#include "server.h"

#include <nomdrv/vnet.h>
#include <nomstack/nomstack.h>
#include <nomux/clock.h>
#include <nomux/core.h>
#include <nomux/log.h>
#include <nomux/notify.h>
#include <nomux/upcall.h>

#include <linux/nom.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define SLEEP_MAX_NS 250000000ULL	/* knobs are looked at that often when idle */
#define SLEEP_LOOK_NS 1000000ULL	/* and questions, while somebody asks */

/* Runs on the upcall stack in the middle of anything: no SSE, no calls. */
__attribute__((target("general-regs-only")))
static void on_price_event(unsigned int event, uint64_t count, void *arg)
{
	nom.price_posts += count;
}

/* Only ends nomux_wait(); what to do is in server.stop and friends. */
__attribute__((target("general-regs-only")))
static void on_wake_event(unsigned int event, uint64_t count, void *arg)
{
}

void nom_wake(struct server *srv)
{
	uint64_t one = 1;
	int ret = nom.core ? nomux_notify(srv->nomux, nomux_core_handle(nom.core), nom.wake_event) :
		  write(nom.wake_fd, &one, sizeof(one)) < 0 ? -errno : 0;

	/* Not fatal: an idle loop looks by itself, four times a second. */
	if (ret)
		nomux_log(LOG_WARNING, "nhttpd: cannot wake the serving thread: %s", strerror(-ret));
}

void nom_alloc_events(void)
{
	nom.wake_event = nomux_event_alloc(nom.core);
	nom.price_event = nomux_event_alloc(nom.core);
	nomux_on_event(nom.core, nom.wake_event, on_wake_event, NULL);
	nomux_on_event(nom.core, nom.price_event, on_price_event, NULL);
}

/* From here on this thread lives on the leased core. */
int nom_enter_core(struct server *srv)
{
	int ret = nomux_core_enter(nom.core);

	if (ret) {
		die_message("cannot enter core %d: %s", nomux_core_cpu(nom.core), strerror(-ret));
		return EXIT_NO_CORE;
	}
	nom.irq_event = nomux_event_alloc(nom.core);
	ret = nom.irq_event < 0 ? nom.irq_event : vnet_irq_bind(nom.vnet, nom.core, nom.irq_event);
	if (ret && srv->opt->idle != IDLE_POLL) {
		die_message("--device %s: its interrupt cannot become an upcall: %s: use --poll, or a device with MSI-X",
			    srv->opt->device, strerror(-ret));
		return EXIT_DEVICE;
	}
	ret = nomux_subscribe(nom.core, nom.price_event, 1ULL << NOM_BOARD_PRICES);
	if (ret)
		nomux_log(LOG_WARNING, "nhttpd: no upcall for prices (%s): the board is looked at instead", strerror(-ret));
	nom.config_event = nomux_event_alloc(nom.core);
	ret = nom.config_event < 0 ? nom.config_event : vnet_config_bind(nom.vnet, nom.core, nom.config_event);
	if (ret && ret != -EOPNOTSUPP)	/* that: a device with one vector */
		nomux_log(LOG_WARNING, "nhttpd: no upcall for changes of the link (%s): looked at once a second instead",
			  strerror(-ret));
	nomux_unmask(nom.core);
	return EXIT_OK;
}

/* ----------------------------------------------------------------- sleep --- */

void nom_idle_bounds(void)
{
	vnet_auto_set(nom.vnet, 0, nom.idle_us * 1000);
}

static void sleep_hosted(struct server *srv, uint64_t ns)
{
	struct pollfd fds[2] = { { .fd = vnet_irq_fd(nom.vnet), .events = POLLIN }, { .fd = nom.wake_fd, .events = POLLIN } };
	struct timespec ts = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
	uint64_t drop;

	ppoll(fds, 2, &ts, NULL);
	metric_add(&srv->m, M_SYSCALLS, srv->opt->stack >= STACK_PACKET ? 1 : 2);	/* and the read of the interrupt's eventfd */
	if ((fds[1].revents & POLLIN) && read(nom.wake_fd, &drop, sizeof(drop)) > 0)
		nom.next_tick_ns = 0;
}

/* The device is gone: its interrupt, which may stay raised for good, is not looked at. */
void nom_nap(struct server *srv, uint64_t ns)
{
	struct pollfd woken = { .fd = nom.wake_fd, .events = POLLIN };
	struct timespec ts = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
	uint64_t drop;

	metric_add(&srv->m, M_SLEEPS, 1);
	metric_add(&srv->m, M_SYSCALLS, 1);
	if (nom.core) {
		nomux_mask(nom.core);
		nomux_wait(nom.core, ns);
		nomux_unmask(nom.core);
	} else if (ppoll(&woken, 1, &ts, NULL) > 0 && read(nom.wake_fd, &drop, sizeof(drop)) > 0) {
		nom.next_tick_ns = 0;
	}
}

/* Until the device, the price, a signal or a timer says so. */
static void go_to_sleep(struct server *srv, uint64_t max_ns)
{
	if (max_ns > (nom.looked_at ? SLEEP_LOOK_NS : SLEEP_MAX_NS))
		max_ns = nom.looked_at ? SLEEP_LOOK_NS : SLEEP_MAX_NS;
	if (nom.core)
		nomux_mask(nom.core);
	if (nomstack_idle_prepare(nom.stack)) {
		metric_add(&srv->m, M_SLEEPS, 1);
		if (nom.core) {
			metric_add(&srv->m, M_SYSCALLS, 1);
			nomux_wait(nom.core, max_ns);
		} else {
			sleep_hosted(srv, max_ns);
		}
		nomstack_idle_done(nom.stack);
	}
	if (nom.core)
		nomux_unmask(nom.core);
}

bool nom_idle(struct server *srv, uint64_t now_ns, uint64_t max_ns)
{
	const struct vnet_stats *v = vnet_stats(nom.vnet);
	/* A batch may be held, and ends within W: the stack would refuse to sleep. */
	bool held = nom.w_us && max_ns <= nom.w_us * 1000;
	uint64_t timeouts = v->auto_timeouts, refused = v->auto_refused;

	if (!vnet_auto(nom.vnet, now_ns, held))
		return false;
	go_to_sleep(srv, max_ns);
	vnet_auto_woke(nom.vnet, nomux_now_ns());
	if (v->auto_timeouts == timeouts && v->auto_refused == refused)
		metric_add(&srv->m, M_WAKEUPS, 1);
	metric_set(&srv->m, M_SPIN_NS, v->auto_spin_ns);
	return true;
}
