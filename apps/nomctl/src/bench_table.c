// SPDX-License-Identifier: MIT
/*
 * nomctl bench: the table, and the targets beside what was seen.
 *
 * A result's name is job/how.  Results of one job stand together, each of nom's
 * with the ratio to the cheapest of Linux's; a name that nom and Linux share is
 * a job of its own.
 */
#include "nomctl.h"

#include <stdlib.h>
#include <string.h>

#include "bench.h"

static const char *text(const json_t *result, const char *key)
{
	const char *s = json_string_value(json_object_get(result, key));

	return s ? s : "";
}

static bool is_nom(const json_t *result)
{
	return !strcmp(text(result, "mechanism"), "nom");
}

/* A figure, or -1 when it was not measured. */
static double figure(const json_t *result, const char *key)
{
	const json_t *v = json_object_get(result, key);

	return json_is_number(v) ? json_number_value(v) : -1;
}

static const json_t *find(json_t *list, const char *name, bool nom)
{
	size_t i;
	json_t *r;

	json_array_foreach(list, i, r)
		if (!strcmp(text(r, "name"), name) && is_nom(r) == nom)
			return r;
	return NULL;
}

/* Length of the name's part that names its job. */
static size_t job_length(json_t *list, const json_t *result)
{
	const char *name = text(result, "name"), *slash = strchr(name, '/');

	if (!slash || find(list, name, !is_nom(result)))
		return strlen(name);
	return (size_t)(slash - name);
}

static bool same_job(json_t *list, const json_t *a, const json_t *b)
{
	size_t n = job_length(list, a);

	return n == job_length(list, b) && !strncmp(text(a, "name"), text(b, "name"), n);
}

/* The cheapest of Linux for the job of @result, by @key; NULL: none. */
static const json_t *cheapest(json_t *list, const json_t *result, const char *key)
{
	const json_t *best = NULL;
	size_t i;
	json_t *r;

	json_array_foreach(list, i, r)
		if (!is_nom(r) && figure(r, key) >= 0 && same_job(list, r, result) &&
		    (!best || figure(r, key) < figure(best, key)))
			best = r;
	return best;
}

static const char *shown(const json_t *result, const char *key, char *buf, size_t n)
{
	double v = figure(result, key);

	if (v < 0)
		return "-";
	snprintf(buf, n, v < 10 && v != (double)(long)v ? "%.1f" : "%.0f", v);
	return buf;
}

/* How many times cheaper than Linux: by instructions, else (~) by time. */
static const char *ratio(json_t *list, const json_t *result, char *buf, size_t n)
{
	bool counted = figure(result, "instructions") >= 0;
	const char *key = counted ? "instructions" : "ns_p50";
	const json_t *best = is_nom(result) ? cheapest(list, result, key) : NULL;
	double own = figure(result, key);

	if (!best || own < 0)
		return "";
	if (own < 1)
		own = 1;
	snprintf(buf, n, "%s%.1fx", counted ? "" : "~", figure(best, key) / own);
	return buf;
}

static void add_result(struct nomctl_table *t, json_t *list, const json_t *r)
{
	size_t job = job_length(list, r);
	const char *how = text(r, "name") + job;
	char a[32], b[32], c[32], d[32], e[32];

	nomctl_table_row(t, "  %s\t%s\t%s\t%s\t%s\t%s\t%s", *how == '/' ? how + 1 : "", text(r, "mechanism"),
			 shown(r, "instructions", a, sizeof(a)), ratio(list, r, b, sizeof(b)),
			 shown(r, "ns_p50", c, sizeof(c)), shown(r, "ns_spread", d, sizeof(d)),
			 shown(r, "ns_p99", e, sizeof(e)));
}

static void print_results(json_t *list)
{
	struct nomctl_table *t = nomctl_table_create(
		"what\tby\t>instructions\t>cheaper\t>p50 ns\t>spread\t>p99 ns");
	size_t i, k, n;
	json_t *r, *s;

	json_array_foreach(list, i, r) {
		bool seen = false;

		for (k = 0; k < i && !seen; k++)
			seen = same_job(list, json_array_get(list, k), r);
		if (seen)
			continue;
		n = job_length(list, r);
		nomctl_table_row(t, "%.*s", (int)n, text(r, "name"));
		json_array_foreach(list, k, s)
			if (same_job(list, s, r))
				add_result(t, list, s);
	}
	nomctl_table_print(t, stdout);
}

/* -------------------------------------------------------------- targets --- */

/*
 * What was promised.  Against Linux: @times the instructions of the cheapest of
 * @rivals (names, or a job).  Absolute: at most @instructions, or @ns.
 */
struct target {
	const char *what;
	const char *nom;
	const char *rivals[3];
	double times;
	double instructions, ns;
	bool hardware;		/* in time, where no CPU is emulated */
};

#define SIGNALS		{ "event-same-core/tgkill", "event-same-core/pipe-sigio" }

static const struct target targets[] = {
	{ .what = "trap, against a signal", .nom = "invalid-instruction/upcall",
	  .times = 4, .rivals = { "invalid-instruction/" } },
	{ .what = "page fault and map, against the cheapest", .nom = "page-fault-map/upcall",
	  .times = 2, .rivals = { "page-fault-map/" } },
	{ .what = "  both on a reserved core", .nom = "page-fault-map/upcall",
	  .times = 2, .rivals = { "page-fault-map/userfaultfd-sigbus-reserved-core" } },
	{ .what = "  16 pages ahead, a page, against the same", .nom = "page-fault-map-16-ahead/upcall",
	  .times = 5, .rivals = { "page-fault-map/" } },
	{ .what = "event, same core, in ring 3, against a signal", .nom = "event-same-core/notify-oneself",
	  .times = 3, .rivals = SIGNALS },
	{ .what = "  through the kernel", .nom = "event-same-core/notify", .times = 3, .rivals = SIGNALS },
	{ .what = "  through the kernel, both on a reserved core", .nom = "event-same-core/notify",
	  .times = 3, .rivals = { "event-same-core/tgkill-reserved-core" } },
	{ .what = "message one way, polled, against a futex wake", .nom = "ipc-one-way/nomux-ipc",
	  .times = 3, .rivals = { "ipc-one-way/futex-wake" } },
	{ .what = "board: did a class change", .nom = "board-read/changes", .instructions = 60, .ns = 20 },
	{ .what = "board: a price", .nom = "board-read/price", .instructions = 60, .ns = 20 },
	{ .what = "interrupt upcall (from the eventfd on)", .nom = "event-same-core/eventfd-write",
	  .ns = 500, .hardware = true },
	{ .what = "page fault and map", .nom = "page-fault-map/upcall", .ns = 1000, .hardware = true },
};

/* The cheapest of those a target names; -1: none was counted. */
static double rival(json_t *list, const struct target *t)
{
	double best = -1, v;
	size_t i, k, n;
	json_t *r;

	json_array_foreach(list, i, r) {
		v = figure(r, "instructions");
		for (k = 0; k < 3 && t->rivals[k]; k++) {
			n = strlen(t->rivals[k]);
			/* a job ends with its slash, a name is whole */
			if (is_nom(r) || v < 0 || strncmp(text(r, "name"), t->rivals[k], n) ||
			    (t->rivals[k][n - 1] != '/' && text(r, "name")[n]))
				continue;
			if (best < 0 || v < best)
				best = v;
		}
	}
	return best;
}

static const char *verdict(bool reached)
{
	return reached ? "reached" : "MISSED";
}

static void judge(json_t *list, const struct target *t, const json_t *r, struct bench_verdict *v)
{
	double count = figure(r, "instructions"), ns = figure(r, "ns_p50"), other;

	if (t->times > 0) {
		other = rival(list, t);
		snprintf(v->wanted, sizeof(v->wanted), "%.0fx", t->times);
		if (count < 0 || other < 0)
			return;
		/* rounded down: "3.0x", and missed, would puzzle who reads it */
		snprintf(v->seen, sizeof(v->seen), "%.1fx: %.0f, %.0f",
			 (double)(int64_t)(10 * other / (count < 1 ? 1 : count)) / 10, count, other);
		v->verdict = verdict(other >= t->times * count);
	} else if (t->hardware) {
		snprintf(v->wanted, sizeof(v->wanted), "%.0f ns on hardware", t->ns);
		if (ns < 0)
			return;
		snprintf(v->seen, sizeof(v->seen), "%.0f ns", ns);
		if (!strcmp(text(r, "hypervisor"), "KVM") || !strcmp(text(r, "hypervisor"), "none"))
			v->verdict = verdict(ns <= t->ns);
		else
			v->verdict = "not judged: emulated";
	} else {
		snprintf(v->wanted, sizeof(v->wanted), "%.0f instructions or %.0f ns", t->instructions, t->ns);
		if (count < 0 && ns < 0)
			return;
		if (count >= 0)
			snprintf(v->seen, sizeof(v->seen), "%.0f", count);
		else
			snprintf(v->seen, sizeof(v->seen), "%.1f ns", ns);
		v->verdict = verdict(count >= 0 ? count <= t->instructions : ns <= t->ns);
	}
}

bool bench_target(json_t *list, size_t i, struct bench_verdict *out)
{
	const json_t *r;

	if (i >= sizeof(targets) / sizeof(targets[0]))
		return false;
	*out = (struct bench_verdict){ .what = targets[i].what, .seen = "-", .verdict = "not counted" };
	r = find(list, targets[i].nom, true);
	if (r)
		judge(list, &targets[i], r, out);
	else
		out->verdict = "not measured";
	return true;
}

void bench_print(json_t *list)
{
	struct nomctl_table *t = nomctl_table_create("target\twanted\tseen\t");
	struct bench_verdict v;
	size_t i;

	print_results(list);
	printf("\ncheaper: times the instructions (~: the time) of the cheapest of Linux for the job.\n"
	       "Linux's on an ordinary core, where nothing else is said; nom's on a leased one.\n\n");
	for (i = 0; bench_target(list, i, &v); i++)
		nomctl_table_row(t, "%s\t%s\t%s\t%s", v.what, v.wanted, v.seen, v.verdict);
	nomctl_table_print(t, stdout);
}
