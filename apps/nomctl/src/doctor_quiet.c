// SPDX-License-Identifier: MIT
/* nomctl doctor's look at the reserved cores: does anything but the holder run there? */
#include "nomctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <econ/nl.h>

#include "quiet.h"

#define CORES_MAX	64

struct watch {
	struct econ_nl_record before, after;
	struct quiet *quiet;
	int error;
};

struct cores {
	size_t nr;
	struct watch of[CORES_MAX];
};

static int keep_before(const struct econ_nl_record *r, void *arg)
{
	struct cores *c = arg;

	if (c->nr < CORES_MAX && r->state != NOM_CORE_OFFLINE)
		c->of[c->nr++].before = *r;
	return 0;
}

static int keep_after(const struct econ_nl_record *r, void *arg)
{
	struct cores *c = arg;

	for (size_t i = 0; i < c->nr; i++)
		if (c->of[i].before.cpu == r->cpu)
			c->of[i].after = *r;
	return 0;
}

/* Origins in a row, as far as they fit; the first ones are the first that came. */
static void name_origins(const struct quiet *q, char *buf, size_t n)
{
	const struct quiet_origin *o;
	size_t used = 0;

	buf[0] = '\0';
	for (unsigned i = 0; (o = quiet_origin(q, i)) && used < n; i++)
		used += (size_t)snprintf(buf + used, n - used, "%s%s (%" PRIu64 ")", used ? "; " : "",
					 o->text, o->count);
}

static void judge(struct watch *w, double seconds, bool trace, nomctl_quiet_fn fn, void *arg)
{
	bool same = w->before.handle == w->after.handle && w->before.state == w->after.state;
	char holder[64] = "nobody", noise[640], found[800], advice[1200] = "";
	int loud;

	if (w->before.handle)
		snprintf(holder, sizeof(holder), "%s, pid %u", w->before.comm, w->before.pid);
	/*
	 * Each post of a timer's is one timer interrupt, and posts are not told apart
	 * here: so many of those the lease may have asked for.
	 */
	loud = w->error ? w->error :
	       quiet_end(w->quiet, w->after.kicks - w->before.kicks, w->after.posts - w->before.posts);
	if (loud < 0) {
		snprintf(found, sizeof(found), "cannot be watched: %s", strerror(-loud));
		fn(w->before.cpu, NOMCTL_QUIET_UNKNOWN, found,
		   loud == -EOPNOTSUPP ? "this kernel has no trace events (CONFIG_ENABLE_DEFAULT_TRACERS): leave --trace out" :
		   loud == -EACCES || loud == -EPERM ? "--trace wants root" : "", arg);
	} else if (!same) {
		fn(w->before.cpu, NOMCTL_QUIET_UNKNOWN, "changed hands while it was watched", "", arg);
	} else if (!loud) {
		snprintf(found, sizeof(found), "quiet for %.3g s (%s)", seconds, holder);
		fn(w->before.cpu, NOMCTL_QUIET, found, "", arg);
	} else {
		snprintf(found, sizeof(found), "noise in %.3g s (%s): %s", seconds, holder,
			 quiet_text(w->quiet, noise, sizeof(noise)));
		if (trace)
			name_origins(w->quiet, advice, sizeof(advice));
		else
			snprintf(advice, sizeof(advice), "as root, nomctl doctor --trace says where it comes from (and interrupts every core to do so)");
		fn(w->before.cpu, NOMCTL_QUIET_NOISE, found, advice, arg);
	}
}

int nomctl_quiet_cores(struct econ_nl *nl, double seconds, bool trace, nomctl_quiet_fn fn, void *arg)
{
	struct timespec t = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };
	struct cores *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return -ENOMEM;
	ret = econ_nl_get(nl, NOM_GENL_CMD_GET_CORES, keep_before, c);
	for (size_t i = 0; i < c->nr && !ret; i++) {
		struct watch *w = &c->of[i];

		ret = quiet_open(w->before.cpu, (pid_t)w->before.pid, &w->quiet);
	}
	/* all trace events on before the first look: each interrupts all of them */
	for (size_t i = 0; i < c->nr && !ret && trace; i++)
		c->of[i].error = quiet_trace(c->of[i].quiet);
	for (size_t i = 0; i < c->nr && !ret; i++)
		if (!c->of[i].error)
			c->of[i].error = quiet_begin(c->of[i].quiet);
	if (!ret)
		nanosleep(&t, NULL);
	if (!ret)
		ret = econ_nl_get(nl, NOM_GENL_CMD_GET_CORES, keep_after, c);
	for (size_t i = 0; i < c->nr && !ret; i++)
		if (!c->of[i].error)
			c->of[i].error = quiet_look(c->of[i].quiet);
	for (size_t i = 0; i < c->nr; i++) {
		if (!ret)
			judge(&c->of[i], seconds, trace, fn, arg);
		quiet_close(c->of[i].quiet);
	}
	free(c);
	return ret;
}
