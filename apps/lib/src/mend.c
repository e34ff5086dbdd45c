// SPDX-License-Identifier: MIT
/* mend.c - a device that failed: try to bring it up again, for a while */
#include <nomapp/mend.h>

#include <nomapp/app.h>
#include <nomdrv/vnet.h>
#include <nomux/clock.h>
#include <nomux/log.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#define MS UINT64_C(1000000)

/*
 * Time for a supervisor to start a back-end again, and less than a peer's first minute
 * of repeating: what is sent in 10 s of silence is repeated at 1, 3 and 7 s.
 */
#define GIVE_UP_NS (10000 * MS)
#define PAUSE_FIRST_NS (100 * MS)
#define PAUSE_MOST_NS (2000 * MS)

static void pause_ns(const struct app_mend *m, uint64_t ns)
{
	uint64_t now_ns = nomux_now_ns(), end_ns = now_ns + ns;

	/* an event of another kind may end a nap early */
	for (; now_ns < end_ns && !m->stopping(m->arg); now_ns = nomux_now_ns())
		m->nap(m->arg, end_ns - now_ns);
}

int app_mend(const struct app_mend *m, struct vnet *v)
{
	const uint64_t since_ns = nomux_now_ns(), unsure = vnet_stats(v)->tx_unsure;
	const char *reason = "no reason given";
	uint64_t wait_ns = PAUSE_FIRST_NS, for_ns;
	unsigned tries = 1;
	char why[160];
	int ret;

	vnet_error(v, &reason);
	snprintf(why, sizeof(why), "%s", reason);	/* the next try has its own */
	if (!m->quiet)
		nomux_log(LOG_WARNING, "%s: the device has failed: %s: it is restarted, with tries for %" PRIu64 " s; connections wait",
			  m->device, why, GIVE_UP_NS / (1000 * MS));
	for (;; tries++) {
		ret = m->restart(m->arg);
		for_ns = nomux_now_ns() - since_ns;
		if (!ret || ret == -ECANCELED || for_ns >= GIVE_UP_NS)
			break;
		pause_ns(m, wait_ns < GIVE_UP_NS - for_ns ? wait_ns : GIVE_UP_NS - for_ns);
		if (m->stopping(m->arg)) {
			nomux_log(LOG_WARNING, "%s: asked to stop while the device is gone: %s", m->device, why);
			return -ECANCELED;
		}
		wait_ns = 2 * wait_ns < PAUSE_MOST_NS ? 2 * wait_ns : PAUSE_MOST_NS;
	}
	if (!ret && !m->quiet)
		nomux_log(LOG_WARNING, "%s: the device is back after %" PRIu64 " ms, %u tries; %" PRIu64
			  " frames that it had may be lost, and what came meanwhile", m->device, for_ns / MS, tries,
			  vnet_stats(v)->tx_unsure - unsure);
	if (ret)
		die_message("--device %s: the device failed: %s; not back after %u tries in %" PRIu64 " ms: %s", m->device,
			    why, tries, for_ns / MS, strerror(-ret));
	return ret;
}
