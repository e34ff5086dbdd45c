// SPDX-License-Identifier: MIT
/* idle.c - when a poll loop sleeps, and what ends that */
#include <nomapp/idle.h>

#include <nomapp/app.h>
#include <nomapp/counters.h>
#include <nomdrv/vnet.h>
#include <nomux/clock.h>
#include <nomux/core.h>
#include <nomux/log.h>
#include <nomux/notify.h>
#include <nomux/upcall.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

/* Runs on the upcall stack in the middle of anything: no SSE, no calls.  It only ends nomux_wait(). */
__attribute__((target("general-regs-only")))
static void on_wake_event(unsigned int event, uint64_t count, void *arg)
{
}

int app_idle_open(struct app_idle *i)
{
	i->wake_fd = i->wake_event = -1;
	if (i->core) {
		i->wake_event = nomux_event_alloc(i->core);
		if (i->wake_event >= 0)
			nomux_on_event(i->core, (unsigned)i->wake_event, on_wake_event, NULL);
		return EXIT_OK;		/* without one the loop looks by itself, four times a second */
	}
	i->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (i->wake_fd >= 0)
		return EXIT_OK;
	die_message("cannot set up: %s", strerror(errno));
	return EXIT_OTHER;
}

void app_idle_close(struct app_idle *i)
{
	if (i->wake_fd >= 0)
		close(i->wake_fd);
	i->wake_fd = -1;
}

int app_idle_enter(struct app_idle *i, bool polls)
{
	int event, ret = nomux_core_enter(i->core);

	if (ret) {
		die_message("cannot enter core %d: %s", nomux_core_cpu(i->core), strerror(-ret));
		return EXIT_NO_CORE;
	}
	event = nomux_event_alloc(i->core);
	ret = event < 0 ? event : vnet_irq_bind(i->v, i->core, (unsigned)event);
	if (ret && !polls) {
		die_message("--device %s: its interrupt cannot become an upcall: %s: use --poll, or a device with MSI-X",
			    i->device, strerror(-ret));
		return EXIT_DEVICE;
	}
	event = nomux_event_alloc(i->core);
	ret = event < 0 ? event : vnet_config_bind(i->v, i->core, (unsigned)event);
	if (ret && ret != -EOPNOTSUPP)	/* that: a device with one vector */
		nomux_log(LOG_WARNING, "%s: no upcall for changes of the link (%s): looked at once a second instead", i->device,
			  strerror(-ret));
	return EXIT_OK;
}

void app_idle_bound(struct app_idle *i, uint64_t idle_us)
{
	vnet_auto_set(i->v, 0, idle_us * 1000);
}

int app_idle_wake(struct app_idle *i, struct nomux_ctx *ctx)
{
	uint64_t one = 1;

	if (i->core)
		return i->wake_event < 0 ? i->wake_event : nomux_notify(ctx, nomux_core_handle(i->core), (unsigned)i->wake_event);
	return write(i->wake_fd, &one, sizeof(one)) < 0 ? -errno : 0;
}

void app_idle_count(struct app_idle *i)
{
	uint64_t calls;

	if (!app_interface(i->device))
		return;
	calls = app_socket_calls(i->v);
	app_counter_add(i->syscalls, calls - i->socket_calls);
	i->socket_calls = calls;
}

/* ----------------------------------------------------------------- sleep --- */

static bool was_woken(const struct app_idle *i)
{
	uint64_t drop;

	return read(i->wake_fd, &drop, sizeof(drop)) > 0;
}

static bool sleep_hosted(struct app_idle *i, uint64_t ns)
{
	struct pollfd fds[2] = { { .fd = vnet_irq_fd(i->v), .events = POLLIN }, { .fd = i->wake_fd, .events = POLLIN } };
	struct timespec ts = { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };

	ppoll(fds, 2, &ts, NULL);
	app_counter_add(i->syscalls, app_interface(i->device) ? 1 : 2);	/* and the read of the interrupt's eventfd */
	return (fds[1].revents & POLLIN) && was_woken(i);
}

/* The device is gone: its interrupt, which may stay raised for good, is not looked at. */
bool app_idle_nap(struct app_idle *i, uint64_t ns)
{
	struct pollfd woken = { .fd = i->wake_fd, .events = POLLIN };
	struct timespec ts = { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };

	app_counter_add(i->sleeps, 1);
	app_counter_add(i->syscalls, 1);
	if (!i->core)
		return ppoll(&woken, 1, &ts, NULL) > 0 && was_woken(i);
	nomux_mask(i->core);
	nomux_wait(i->core, ns);
	nomux_unmask(i->core);
	return false;
}

/* Until the device, an event, app_idle_wake() or a timer says so. */
static bool go_to_sleep(struct app_idle *i, uint64_t max_ns)
{
	bool woken = false;

	if (i->core)
		nomux_mask(i->core);
	if (i->prepare(i->arg)) {
		app_counter_add(i->sleeps, 1);
		if (i->core) {
			app_counter_add(i->syscalls, 1);
			nomux_wait(i->core, max_ns);
		} else {
			woken = sleep_hosted(i, max_ns);
		}
		i->done(i->arg);
	}
	if (i->core)
		nomux_unmask(i->core);
	return woken;
}

bool app_idle(struct app_idle *i, uint64_t now_ns, uint64_t max_ns, bool held, bool *woken_out)
{
	const struct vnet_stats *v = vnet_stats(i->v);
	uint64_t timeouts = v->auto_timeouts, refused = v->auto_refused;

	if (!vnet_auto(i->v, now_ns, held))
		return false;
	*woken_out = go_to_sleep(i, max_ns);
	vnet_auto_woke(i->v, nomux_now_ns());
	if (v->auto_timeouts == timeouts && v->auto_refused == refused)
		app_counter_add(i->wakeups, 1);
	app_counter_set(i->spin_ns, v->auto_spin_ns);
	return true;
}
