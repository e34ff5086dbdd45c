// SPDX-License-Identifier: MIT
/* nomctl stat without an application: upcalls and posts of each lease, by netlink. */
#include "nomctl.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include <econ/nl.h>

#define LEASES_MAX	64
#define BINDINGS_MAX	1024

static const struct {
	const char *name;
	int attr;
	size_t offset;
} counters[] = {
#define COUNTER(a, f)	{ #f, NOM_GENL_A_##a, offsetof(struct econ_nl_record, f) }
	COUNTER(EVENTS, events),
	COUNTER(TRAPS, traps),
	COUNTER(POSTS, posts),
	COUNTER(KICKS, kicks),
	COUNTER(RESTARTS, restarts),
	COUNTER(FAILED, failed),
};
#define NR_COUNTERS	(sizeof(counters) / sizeof(*counters))

struct leases {
	uint64_t at_ns;
	size_t nr;
	struct econ_nl_record of[LEASES_MAX];
	size_t nr_bindings;
	struct binding {
		uint64_t handle, signals, events, pauses;
		uint32_t event, irq, flags;
	} bindings[BINDINGS_MAX];
};

static uint64_t value(const struct econ_nl_record *r, size_t c)
{
	return *(const uint64_t *)(const void *)((const char *)r + counters[c].offset);
}

static int keep_lease(const struct econ_nl_record *r, void *arg)
{
	struct leases *l = arg;

	if (r->handle && l->nr < LEASES_MAX)
		l->of[l->nr++] = *r;
	return 0;
}

static int keep_binding(const struct econ_nl_record *r, void *arg)
{
	struct leases *l = arg;

	if (l->nr_bindings < BINDINGS_MAX)
		l->bindings[l->nr_bindings++] = (struct binding){
			.handle = r->handle, .signals = r->signals, .events = r->events,
			.pauses = r->pauses, .event = r->event, .irq = r->irq, .flags = r->flags,
		};
	return 0;
}

static int take(struct econ_nl *nl, struct leases *l)
{
	int ret;

	l->nr = l->nr_bindings = 0;
	l->at_ns = nomctl_now_ns();
	ret = econ_nl_get(nl, NOM_GENL_CMD_GET_CORES, keep_lease, l);
	return ret ? ret : econ_nl_get(nl, NOM_GENL_CMD_GET_BINDINGS, keep_binding, l);
}

/* Signals a second; a binding is known by its event and interrupt, which may be shared. */
static double signal_rate(const struct leases *then, const struct leases *now, const struct binding *b)
{
	double s = (double)(now->at_ns - then->at_ns) / 1e9;

	for (size_t i = 0; i < then->nr_bindings; i++) {
		const struct binding *a = &then->bindings[i];

		if (a->handle == b->handle && a->event == b->event && a->irq == b->irq &&
		    a->signals <= b->signals)
			return (double)(b->signals - a->signals) / s;
	}
	return (double)b->signals / s;
}

static json_t *bindings_json(const struct leases *then, const struct leases *now, uint64_t handle)
{
	json_t *list = json_array();

	for (size_t i = 0; i < now->nr_bindings; i++) {
		const struct binding *b = &now->bindings[i];
		json_t *j;

		if (b->handle != handle)
			continue;
		j = json_pack("{s:i,s:i,s:b,s:b,s:b,s:I,s:I,s:I}", "event", (int)b->event,
			      "irq", (int)b->irq, "masked", b->flags & NOM_BINDING_MASKED ? 1 : 0,
			      "paused", b->flags & NOM_BINDING_PAUSED ? 1 : 0,
			      "affine", b->flags & NOM_BINDING_AFFINE ? 1 : 0,
			      "signals", (json_int_t)b->signals, "events", (json_int_t)b->events,
			      "pauses", (json_int_t)b->pauses);
		if (then)
			json_object_set_new(j, "signals_per_s", json_real(signal_rate(then, now, b)));
		json_array_append_new(list, j);
	}
	return list;
}

static void print_bindings(const struct leases *then, const struct leases *now)
{
	struct nomctl_table *t = nomctl_table_create(
		then ? ">CPU\t>event\t>irq\t>signals\t>events\t>pauses\tstate\t>signals per second" :
		       ">CPU\t>event\t>irq\t>signals\t>events\t>pauses\tstate");

	for (size_t i = 0; i < now->nr_bindings; i++) {
		const struct binding *b = &now->bindings[i];
		const char *state = b->flags & NOM_BINDING_MASKED ? "masked" :
				    b->flags & NOM_BINDING_PAUSED ? "paused" :
				    b->flags & NOM_BINDING_AFFINE ? "affine" : "";
		char rate_text[32] = "";

		if (then)
			snprintf(rate_text, sizeof(rate_text), "\t%.1f", signal_rate(then, now, b));
		/* a handle ends with its core's number */
		nomctl_table_row(t, "%u\t%u\t%u\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%s%s",
				 (unsigned)(b->handle & 0xffff), b->event, b->irq, b->signals,
				 b->events, b->pauses, state, rate_text);
	}
	if (now->nr_bindings)
		putchar('\n');
	nomctl_table_print(t, now->nr_bindings ? stdout : NULL);
}

/* The same lease, not merely the same core. */
static const struct econ_nl_record *find(const struct leases *l, uint64_t handle)
{
	for (size_t i = 0; l && i < l->nr; i++)
		if (l->of[i].handle == handle)
			return &l->of[i];
	return NULL;
}

static double rate(const struct leases *then, const struct leases *now, size_t i, size_t c)
{
	const struct econ_nl_record *before = find(then, now->of[i].handle);

	/* a lease that was not there before began at 0 */
	return (double)(value(&now->of[i], c) - (before ? value(before, c) : 0)) /
	       ((double)(now->at_ns - then->at_ns) / 1e9);
}

static json_t *lease_json(const struct leases *then, const struct leases *now, size_t i)
{
	const struct econ_nl_record *r = &now->of[i];
	json_t *values = json_object(), *rates = json_object();
	json_t *lease = json_pack("{s:i,s:s,s:I,s:I,s:I,s:s,s:o}", "cpu", (int)r->cpu, "state",
				  nomctl_core_state(r->state), "handle", (json_int_t)r->handle,
				  "pid", (json_int_t)r->pid, "uid", (json_int_t)r->uid,
				  "comm", r->comm, "values", values);

	for (size_t c = 0; c < NR_COUNTERS; c++) {
		json_object_set_new(values, counters[c].name, json_integer((json_int_t)value(r, c)));
		if (then)
			json_object_set_new(rates, counters[c].name, json_real(rate(then, now, i, c)));
	}
	json_object_set_new(lease, "bindings", bindings_json(then, now, r->handle));
	if (then)
		json_object_set(lease, "per_s", rates);
	json_decref(rates);
	return lease;
}

static void print_json(const struct leases *then, const struct leases *now)
{
	json_t *list = json_array();

	for (size_t i = 0; i < now->nr; i++)
		json_array_append_new(list, lease_json(then, now, i));
	if (!then) {
		nomctl_print_json(list);
		return;
	}
	json_dumpf(list, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
	json_decref(list);
	putchar('\n');
}

static void print_table(const struct leases *then, const struct leases *now)
{
	struct nomctl_table *t = nomctl_table_create(
		then ? ">CPU\t>pid\tcommand\tcounter\t>value\t>per second" :
		       ">CPU\t>pid\tcommand\tcounter\t>value");

	for (size_t i = 0; i < now->nr; i++) {
		const struct econ_nl_record *r = &now->of[i];

		for (size_t c = 0; c < NR_COUNTERS; c++) {
			if (then)
				nomctl_table_row(t, "%u\t%u\t%s\t%s\t%" PRIu64 "\t%.1f", r->cpu, r->pid,
						 r->comm, counters[c].name, value(r, c),
						 rate(then, now, i, c));
			else
				nomctl_table_row(t, "%u\t%u\t%s\t%s\t%" PRIu64, r->cpu, r->pid,
						 r->comm, counters[c].name, value(r, c));
		}
	}
	nomctl_table_print(t, now->nr ? stdout : NULL);
	if (!now->nr)
		printf("no leases\n");
	print_bindings(then, now);
}

int nomctl_stat_leases(bool json, double interval_s, int64_t count)
{
	static struct leases a, b;
	struct leases *then = &a, *now = &b, *other;
	struct timespec t = { (time_t)interval_s,
			      (long)((interval_s - (double)(time_t)interval_s) * 1e9) };
	struct econ_nl *nl;
	int ret = econ_nl_open(&nl);

	if (ret)
		return nomctl_fail_errno(ret, "stat");
	ret = take(nl, then);
	if (!ret && !interval_s)
		json ? print_json(NULL, then) : print_table(NULL, then);
	for (int64_t i = 0; !ret && interval_s && (!count || i < count); i++) {
		if (nanosleep(&t, NULL))
			break;
		ret = take(nl, now);
		if (ret)
			break;
		json ? print_json(then, now) : print_table(then, now);
		if (fflush(stdout))
			break;
		other = then;
		then = now;
		now = other;
	}
	econ_nl_close(nl);
	return ret ? nomctl_fail_errno(ret, "stat") : ECON_EXIT_OK;
}
