// SPDX-License-Identifier: MIT
/* nomctl stat: an application's counters, or those of the leases, and how fast they grow. */
#include "nomctl.h"
#include "look.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <nomux/peek.h>

static struct {
	bool json;
	double interval_s;
	int64_t count;
	struct nomctl_sections want;
} values = { .count = 1, .want = { .watch_ms = 100, .timeout_ms = 2000 } };

#define OPT(field)	((size_t)((char *)&values.field - (char *)&values))
static const struct econ_option options[] = {
	{ "json", 'j', ECON_OPT_FLAG, 0, NULL,
	  "for programs: an object of numbers; with --interval one a line", 0, 0 },
	{ "interval", 'i', ECON_OPT_REAL, OPT(interval_s), "SECONDS",
	  "look twice, so far apart, and give rates", 0.001, 86400 },
	{ "count", 'c', ECON_OPT_INT, OPT(count), "N",
	  "with --interval: so many times; 0 until interrupted (1)", 0, 1e9 },
	{ "queues", 'q', ECON_OPT_FLAG, OPT(want.queues), NULL, "the stack's queues", 0, 0 },
	{ "drops", 'd', ECON_OPT_FLAG, OPT(want.drops), NULL, "what the stack dropped, by reason", 0, 0 },
	{ "connections", 'n', ECON_OPT_FLAG, OPT(want.connections), NULL, "each connection, in the manner of ss", 0, 0 },
	{ "dump", 'D', ECON_OPT_FLAG, OPT(want.dump), NULL, "all that the stack knows about itself, and each connection", 0, 0 },
	{ "watch-ms", 'w', ECON_OPT_INT, OPT(want.watch_ms), "MS",
	  "before connections are read, measure their round trips for so long; 0: do not (100)", 0, 1000 },
	{ "timeout-ms", 't', ECON_OPT_INT, OPT(want.timeout_ms), "MS", "wait so long for each answer (2000)", 1, 600000 },
	NOMCTL_OPTIONS_END,
};

#define ENTRIES_MAX	512

struct snapshot {
	uint64_t at_ns;
	size_t nr;
	struct entry {
		char name[40], unit[24];
		enum nomux_counter_kind kind;
		uint64_t value;
	} entries[ENTRIES_MAX];
};

static int keep_counter(const char *name, const char *unit, enum nomux_counter_kind kind,
			uint64_t value, void *arg)
{
	struct snapshot *s = arg;
	struct entry *e = &s->entries[s->nr];

	if (s->nr == ENTRIES_MAX)
		return 1;
	snprintf(e->name, sizeof(e->name), "%s", name);
	snprintf(e->unit, sizeof(e->unit), "%s", unit);
	e->kind = kind;
	e->value = value;
	s->nr++;
	return 0;
}

/* -ENOENT once the application is gone: its page is still mapped, and frozen. */
static int take(struct nomux_peek *peek, pid_t pid, struct snapshot *s)
{
	int ret;

	if (kill(pid, 0) && errno == ESRCH)
		return -ENOENT;
	s->nr = 0;
	ret = nomux_peek_counters(peek, keep_counter, s);
	s->at_ns = nomctl_now_ns();
	return ret < 0 ? ret : 0;
}

/* Per second; counters only, and only if it is the same counter as before. */
static bool rate(const struct snapshot *then, const struct snapshot *now, size_t i, double *out)
{
	const struct entry *a = &then->entries[i], *b = &now->entries[i];

	if (i >= then->nr || b->kind != NOMUX_COUNTER || strcmp(a->name, b->name) ||
	    b->value < a->value || now->at_ns <= then->at_ns)
		return false;
	*out = (double)(b->value - a->value) / ((double)(now->at_ns - then->at_ns) / 1e9);
	return true;
}

static json_t *numbers(const struct snapshot *s)
{
	json_t *object = json_object();

	for (size_t i = 0; i < s->nr; i++)
		json_object_set_new(object, s->entries[i].name,
				    json_integer((json_int_t)s->entries[i].value));
	return object;
}

static void print_rates_json(const struct snapshot *then, const struct snapshot *now)
{
	json_t *rates = json_object(), *root;
	double v;

	for (size_t i = 0; i < now->nr; i++)
		if (rate(then, now, i, &v))
			json_object_set_new(rates, now->entries[i].name, json_real(v));
	root = json_pack("{s:f,s:o,s:o}", "interval_s", (double)(now->at_ns - then->at_ns) / 1e9,
			 "values", numbers(now), "per_s", rates);
	json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
	json_decref(root);
	putchar('\n');
}

static void print_table(const struct snapshot *then, const struct snapshot *now)
{
	struct nomctl_table *t = nomctl_table_create(then ? "counter\t>value\t>per second\tunit" :
							    "counter\t>value\tunit");
	double v;

	for (size_t i = 0; i < now->nr; i++) {
		const struct entry *e = &now->entries[i];

		if (!then)
			nomctl_table_row(t, "%s\t%" PRIu64 "\t%s", e->name, e->value, e->unit);
		else if (rate(then, now, i, &v))
			nomctl_table_row(t, "%s\t%" PRIu64 "\t%.1f\t%s", e->name, e->value, v, e->unit);
		else
			nomctl_table_row(t, "%s\t%" PRIu64 "\t\t%s", e->name, e->value, e->unit);
	}
	nomctl_table_print(t, stdout);
}

static int repeat(struct nomux_peek *peek, pid_t pid, struct snapshot *then, struct snapshot *now)
{
	struct timespec t = { (time_t)values.interval_s,
			      (long)((values.interval_s - (double)(time_t)values.interval_s) * 1e9) };
	int ret = take(peek, pid, then);

	for (int64_t i = 0; !ret && (!values.count || i < values.count); i++) {
		if (nanosleep(&t, NULL))
			return 0;
		ret = take(peek, pid, now);
		if (ret)
			break;
		if (values.json)
			print_rates_json(then, now);
		else
			print_table(then, now);
		if (fflush(stdout))
			return 0;
		*then = *now;
	}
	return ret;
}

/* Has a part of the stack been asked for? */
static bool asked(void)
{
	return values.want.queues || values.want.drops || values.want.connections || values.want.dump;
}

static int run_sections(const char *app)
{
	struct nomctl_looks looks;
	pid_t pid;
	int ret;

	if (values.interval_s)
		return nomctl_fail(ECON_EXIT_USAGE, "stat: --interval is for counters, not for parts of the stack");
	ret = nomctl_app_look(app, &looks, &pid);
	if (ret)
		return ret;
	ret = nomctl_stat_stack(&looks, app, &values.want, values.json);
	nomctl_looks_close(&looks);
	return ret;
}

/* Unasked, a short look at the stack, if the application has one. */
static int add_sections(const char *app, pid_t pid)
{
	struct nomctl_sections want = values.want;
	struct nomctl_looks looks;
	int ret = nomctl_looks_open(pid, &looks);

	if (ret)
		return ret == -ENOENT ? ECON_EXIT_OK : nomctl_look_fail(ret, app);
	want.queues = want.drops = want.few = true;
	ret = nomctl_stat_stack(&looks, app, &want, false);
	nomctl_looks_close(&looks);
	return ret;
}

static int run_stat(int argc, char **argv)
{
	static struct snapshot then, now;
	struct nomux_peek *peek;
	pid_t pid;
	int ret;

	if (!argc)
		return asked() ? nomctl_fail(ECON_EXIT_USAGE, "stat: of which application?") :
				 nomctl_stat_leases(values.json, values.interval_s, values.count);
	if (asked())
		return run_sections(argv[0]);
	ret = nomctl_app_open(argv[0], &peek, &pid);

	if (ret)
		return ret;
	if (values.interval_s) {
		ret = repeat(peek, pid, &then, &now);
	} else {
		ret = take(peek, pid, &now);
		if (!ret && values.json)
			nomctl_print_json(numbers(&now));
		else if (!ret)
			print_table(NULL, &now);
		if (!ret && !values.json) {
			ret = add_sections(argv[0], pid);
			if (ret) {
				nomux_peek_close(peek);
				return ret;
			}
		}
	}
	nomux_peek_close(peek);
	if (ret == -ENOENT || ret == -EPROTO)
		return nomctl_fail(ECON_EXIT_NOT_FOUND, "%s: its page %s", argv[0],
				   ret == -ENOENT ? "is gone: the application ended" : "is malformed");
	return ret ? nomctl_fail_errno(ret, "reading counters") : ECON_EXIT_OK;
}

static const struct nomctl_action actions[] = {
	{ NULL, "[APP]", "Counters of a running application, by name or process id, with its stack's queues, drops and first connections; without one, what the kernel counts of each lease.", 0, 1, run_stat },
	NOMCTL_ACTIONS_END,
};

const struct nomctl_verb nomctl_stat = {
	"stat", "an application's counters, or the leases'", actions, options, &values, 0,
};
