// SPDX-License-Identifier: MIT
/*
 * nomctl doctor: is everything there, and if not, what to do.
 *
 * Checks are rows of two tables; each says ok, warn or FAIL with one line of what
 * was found and, unless ok, one of what to do.  On a machine whose kernel has nom
 * it looks at that machine; elsewhere at a host that is to run the guest.
 */
#include "doctor.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

static const char *const level_names[] = { "ok", "warn", "FAIL", "skip" };

#define ON_HOST		(1U << 0)
#define ON_NOM		(1U << 1)	/* a machine that runs nom */

static struct {
	bool json, host, guest, trace;
	double seconds;
} values = { .seconds = 1 };

#define OPT(field)	((size_t)((char *)&values.field - (char *)&values))
static const struct econ_option options[] = {
	{ "json", 'j', ECON_OPT_FLAG, OPT(json), NULL, "for programs", 0, 0 },
	{ "host", 0, ECON_OPT_FLAG, OPT(host), NULL, "check this machine as a host for the guest", 0, 0 },
	{ "guest", 0, ECON_OPT_FLAG, OPT(guest), NULL, "check this machine as one that runs nom", 0, 0 },
	{ "seconds", 's', ECON_OPT_REAL, OPT(seconds), "SECONDS", "watch the reserved cores for so long (1)", 0.1, 86400 },
	{ "trace", 0, ECON_OPT_FLAG, OPT(trace), NULL, "name what disturbs them by trace events, which does so, too", 0, 0 },
	NOMCTL_OPTIONS_END,
};

void doctor_find(struct finding *f, enum level level, const char *fmt, ...)
{
	va_list ap;

	f->level = level;
	va_start(ap, fmt);
	vsnprintf(f->found, sizeof(f->found), fmt, ap);
	va_end(ap);
}

void doctor_advise(struct finding *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->advice, sizeof(f->advice), fmt, ap);
	va_end(ap);
}

static int keep_info(const struct econ_nl_record *r, void *arg)
{
	((struct machine *)arg)->info = *r;
	return 0;
}

static int count_price(const struct econ_nl_record *r, void *arg)
{
	((struct machine *)arg)->nr_prices++;
	return 0;
}

static void look(struct machine *m)
{
	m->nl_error = econ_nl_open(&m->nl);
	if (m->nl_error)
		return;
	m->nl_error = econ_nl_get(m->nl, NOM_GENL_CMD_GET_INFO, keep_info, m);
	econ_nl_get(m->nl, NOM_GENL_CMD_GET_PRICES, count_price, m);
}

/* A host, unless something of nom is here. */
static unsigned where_are_we(const struct machine *m)
{
	char cmdline[4096] = "";

	if (values.host || values.guest)
		return (values.host ? ON_HOST : 0) | (values.guest ? ON_NOM : 0);
	nomctl_read("/proc/cmdline", cmdline, sizeof(cmdline));
	return m->nl || strstr(cmdline, "nom_cpus=") || !access("/sys/module/nom", F_OK) ? ON_NOM :
											ON_HOST;
}

struct report {
	json_t *list;
	unsigned nr[4];		/* by level */
};

static void report(const char *name, const struct finding *f, struct report *r)
{
	r->nr[f->level]++;
	if (values.json) {
		json_array_append_new(r->list, json_pack("{s:s,s:s,s:s,s:s}", "check", name, "level",
						      level_names[f->level], "found", f->found,
						      "advice", f->advice));
		return;
	}
	printf("%-5s %-15s %s\n", level_names[f->level], name, f->found);
	if (*f->advice)
		printf("%-5s %-15s %s\n", "", "", f->advice);
	fflush(stdout);
}

static void report_core(unsigned cpu, enum nomctl_quiet verdict, const char *found,
			const char *advice, void *arg)
{
	static const enum level levels[] = {
		[NOMCTL_QUIET] = OK, [NOMCTL_QUIET_NOISE] = WARN, [NOMCTL_QUIET_UNKNOWN] = SKIPPED,
	};
	struct finding f = { .level = levels[verdict] };
	char name[16];

	snprintf(name, sizeof(name), "core %u", cpu);
	snprintf(f.found, sizeof(f.found), "%s", found);
	snprintf(f.advice, sizeof(f.advice), "%s", advice);
	report(name, &f, arg);
}

static void run_checks(const struct doctor_check *check, struct machine *m, struct report *r)
{
	for (; check->name; check++) {
		struct finding f = { .level = OK };

		check->run(m, &f);
		report(check->name, &f, r);
	}
}

static int run_doctor(int argc, char **argv)
{
	struct report r = { .list = json_array() };
	struct machine m = { 0 };
	unsigned where;

	look(&m);
	where = where_are_we(&m);
	if (!values.json)
		printf("checking this machine as %s\n", where == ON_HOST ? "a host for the guest" :
		       where == ON_NOM ? "one that runs nom" : "a host, and as one that runs nom");
	if (where & ON_HOST)
		run_checks(doctor_host, &m, &r);
	if (where & ON_NOM)
		run_checks(doctor_nom, &m, &r);
	if (m.nl && (where & ON_NOM))
		nomctl_quiet_cores(m.nl, values.seconds, values.trace, report_core, &r);
	econ_nl_close(m.nl);
	if (values.json)
		nomctl_print_json(json_incref(r.list));
	else
		printf("%u ok, %u warnings, %u failures\n", r.nr[OK], r.nr[WARN], r.nr[FAIL]);
	json_decref(r.list);
	return r.nr[FAIL] ? ECON_EXIT_FAILED : ECON_EXIT_OK;
}

static const struct nomctl_action actions[] = {
	{ NULL, "", "Says ok, warn or FAIL for each thing, and what to do; ends with 1 if any FAIL.", 0, 0, run_doctor },
	NOMCTL_ACTIONS_END,
};

const struct nomctl_verb nomctl_doctor = {
	"doctor", "is everything there, and if not, what to do", actions, options, &values, 0,
};
