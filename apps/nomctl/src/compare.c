// SPDX-License-Identifier: MIT
/* nomctl compare: raw result lines to medians, profits and a table of ratios; or measure (compare_run.c). */
#include "nomctl.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
	const char *json;
	bool table, quick, no_nginx;
	double slo_scale;
	const char *base, *out, *link;
} values = { .base = "linux-default" };

#define OPT(field)	((size_t)((char *)&values.field - (char *)&values))
static const struct econ_option options[] = {
	{ "json", 'j', ECON_OPT_STRING, OPT(json), "FILE", "write the results there; - is standard output", 0, 0 },
	{ "table", 't', ECON_OPT_FLAG, OPT(table), NULL, "print the table (default without --json)", 0, 0 },
	{ "slo-scale", 's', ECON_OPT_REAL, OPT(slo_scale), "X",
	  "latencies are divided by X before valuation, as on an emulated machine;\n"
	  "                             default: the machine line's time_scale, else 1", 0.001, 4000 },
	{ "base", 'b', ECON_OPT_STRING, OPT(base), "VARIANT", "what the others are compared with (linux-default)", 0, 0 },
	{ "quick", 'q', ECON_OPT_FLAG, OPT(quick), NULL, "nhttpd, udp: one boot of each kind and fewer cells, ten minutes", 0, 0 },
	{ "no-nginx", 0, ECON_OPT_FLAG, OPT(no_nginx), NULL, "nhttpd: leave the yardstick out, and get no package for it", 0, 0 },
	{ "out", 'o', ECON_OPT_STRING, OPT(out), "DIR", "nhttpd, udp: results go there (build/report/wide, build/report/udp of the source tree)", 0, 0 },
	{ "link", 'l', ECON_OPT_STRING, OPT(link), "tap|vhost-user", "nhttpd: over this link only; udp: there is but the tap", 0, 0 },
	NOMCTL_OPTIONS_END,
};

/* --------------------------------------------------------------- reading --- */

static int read_lines(const char *path, json_t *lines)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "re") : stdin;
	char *text = NULL;
	size_t room = 0, nr = 0;
	int ret = 0;

	if (!f)
		return nomctl_fail(ECON_EXIT_INPUT, "compare: %s: %s", path, strerror(errno));
	while (!ret && getline(&text, &room, f) > 0) {
		json_error_t je;
		json_t *line;

		nr++;
		if (!text[strspn(text, " \t\r\n")])
			continue;
		line = json_loads(text, JSON_REJECT_DUPLICATES, &je);
		if (!line)
			ret = nomctl_fail(ECON_EXIT_INPUT, "compare: %s, line %zu: %s", path, nr, je.text);
		else
			json_array_append_new(lines, line);
	}
	free(text);
	if (f != stdin)
		fclose(f);
	return ret;
}

static int write_json(json_t *root)
{
	char *made = NULL;
	int ret = -1;

	if (!strcmp(values.json, "-"))
		return nomctl_print_json(json_incref(root));
	if (asprintf(&made, "%s.new", values.json) < 0)
		return nomctl_fail(ECON_EXIT_FAILED, "compare: no memory");
	errno = 0;
	if (!json_dump_file(root, made, JSON_INDENT(1) | JSON_REAL_PRECISION(9)))
		ret = rename(made, values.json);
	if (ret) {
		ret = nomctl_fail(ECON_EXIT_FAILED, "compare: cannot write %s: %s", values.json,
				  strerror(errno));
		unlink(made);
	}
	free(made);
	return ret;
}

/* ----------------------------------------------------------------- table --- */

/* Figures of the table, in order: where, title, better: 1 more, -1 less. */
static const struct row {
	const char *group, *member, *title;
	int better;
	int digits;
} rows[] = {
	{ "requests_per_s", NULL, "requests/s", 1, 0 },
	{ "latency_us", "mean", "latency, mean us", -1, 0 },
	{ "latency_us", "sd", "jitter, sd us", -1, 0 },
	{ "latency_us", "p50", "latency, p50 us", -1, 0 },
	{ "latency_us", "p99", "latency, p99 us", -1, 0 },
	{ "latency_us", "p999", "latency, p99.9 us", -1, 0 },
	{ "latency_corrected_us", "mean", "corrected: mean us", -1, 0 },
	{ "latency_corrected_us", "sd", "corrected: sd us", -1, 0 },
	{ "instructions_per_request", "user", "instructions, user", -1, 0 },
	{ "instructions_per_request", "kernel", "instructions, kernel", -1, 0 },
	{ "instructions_per_request", "+", "instructions, both", -1, 0 },
	{ "doorbells_per_request", NULL, "doorbells", -1, 3 },
	{ "interrupts_per_request", NULL, "device interrupts", -1, 3 },
	{ "syscalls_per_request", NULL, "system calls", -1, 3 },
	{ "context_switches_per_request", NULL, "context switches", -1, 3 },
	{ "profit", "penalty", "profit, penalty $/h", 1, 2 },
	{ "profit", "refund", "profit, refund $/h", 1, 2 },
	{ "profit", "bonus", "profit, bonus $/h", 1, 2 },
};

/* Its median; NAN when nothing measured it. */
static double median_of(json_t *figure)
{
	json_t *v = json_object_get(figure, "median");

	return json_is_number(v) ? json_number_value(v) : NAN;
}

static double value_of(json_t *result, const struct row *r)
{
	json_t *figure = json_object_get(result, r->group);
	double v;

	if (!r->member)
		return median_of(figure);
	if (!strcmp(r->member, "+"))
		return median_of(json_object_get(figure, "user")) +
		       median_of(json_object_get(figure, "kernel"));
	v = median_of(json_object_get(figure, r->member));
	return strcmp(r->group, "profit") ? v : v * 3600;
}

static const char *shown(double v, int digits, char *buf, size_t n)
{
	if (isnan(v))
		return "-";
	snprintf(buf, n, "%.*f", digits, v);
	return buf;
}

/* How many times better than the base; "-" where a ratio says nothing. */
static const char *ratio(double base, double v, int better, char *buf, size_t n)
{
	double x = better > 0 ? v / base : base / v;

	if (isnan(base) || isnan(v) || (!v && !base))
		return "-";
	if (base < 0 || v < 0)
		return v > base ? "gain" : "loss";
	if (isinf(x))
		return better > 0 ? "from 0" : "to 0";
	if (x >= 1000)
		return ">1000x";
	snprintf(buf, n, "%.2fx", x);
	return buf;
}

static void print_pair(json_t *base, json_t *other)
{
	const char *name = json_string_value(json_object_get(other, "variant"));
	struct nomctl_table *t;
	char heads[160], a[32], b[32], c[32];

	snprintf(heads, sizeof(heads), "%d connections, %g $/Gbit\t>%s\t>%s\t>better",
		 (int)json_integer_value(json_object_get(other, "connections")),
		 json_number_value(json_object_get(other, "price")), values.base, name);
	t = nomctl_table_create(heads);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		double x = base ? value_of(base, &rows[i]) : NAN, y = value_of(other, &rows[i]);

		if (isnan(x) && isnan(y))
			continue;
		nomctl_table_row(t, "  %s\t%s\t%s\t%s", rows[i].title,
				 shown(x, rows[i].digits, a, sizeof(a)),
				 shown(y, rows[i].digits, b, sizeof(b)),
				 ratio(x, y, rows[i].better, c, sizeof(c)));
	}
	nomctl_table_print(t, stdout);
	putchar('\n');
}

static json_t *find_base(json_t *results, json_t *other)
{
	size_t i;
	json_t *r;

	json_array_foreach(results, i, r)
		if (!strcmp(json_string_value(json_object_get(r, "variant")), values.base) &&
		    json_equal(json_object_get(r, "connections"), json_object_get(other, "connections")) &&
		    json_number_value(json_object_get(r, "price")) ==
		    json_number_value(json_object_get(other, "price")))
			return r;
	return NULL;
}

static void print_table(json_t *root)
{
	json_t *results = json_object_get(root, "results"), *r;
	size_t i;

	printf("medians over %d boots; profits at time scale %g\n\n",
	       (int)json_integer_value(json_object_get(root, "runs")),
	       json_number_value(json_object_get(json_object_get(root, "terms"), "time_scale")));
	json_array_foreach(results, i, r)
		if (strcmp(json_string_value(json_object_get(r, "variant")), values.base))
			print_pair(find_base(results, r), r);
}

static int run_compare(int argc, char **argv)
{
	json_t *lines, *root = NULL;
	char err[200];
	int ret = 0;

	if (values.link && strcmp(values.link, "tap") && strcmp(values.link, "vhost-user"))
		return nomctl_fail(ECON_EXIT_USAGE, "compare: --link %s: there are tap and vhost-user", values.link);
	/* A file of that name can be given as ./nhttpd, ./udp. */
	if (!strcmp(argv[0], "udp")) {
		if (argc > 1 || values.json || values.table || values.slo_scale || values.no_nginx)
			return nomctl_fail(ECON_EXIT_USAGE, "compare udp measures: it takes --quick, --link and --out, and no files");
		if (values.link && strcmp(values.link, "tap"))
			return nomctl_fail(ECON_EXIT_USAGE, "compare udp: --link vhost-user: nom-peer, which is the device and the clients behind it there, asks over HTTP only; datagrams are measured over the tap");
		return nomctl_compare_udp(values.quick, values.out);
	}
	if (!strcmp(argv[0], "nhttpd")) {
		if (argc > 1 || values.json || values.table || values.slo_scale)
			return nomctl_fail(ECON_EXIT_USAGE, "compare nhttpd measures: it takes --quick, --no-nginx, --link and --out, and no files");
		return nomctl_compare_run(values.quick, !values.no_nginx, values.link, values.out);
	}
	if (values.quick || values.no_nginx || values.out || values.link)
		return nomctl_fail(ECON_EXIT_USAGE, "compare: --quick, --no-nginx, --link and --out are for `compare nhttpd` and `compare udp`");
	lines = json_array();
	for (int i = 0; i < argc && !ret; i++)
		ret = read_lines(argv[i], lines);
	if (!ret) {
		root = nomctl_compare_lines(lines, values.slo_scale, err, sizeof(err));
		if (!root)
			ret = nomctl_fail(ECON_EXIT_INPUT, "compare: %s%s: %s", argv[0],
					  argc > 1 ? " and others" : "", err);
	}
	if (!ret && values.json)
		ret = write_json(root);
	if (!ret && (values.table || !values.json))
		print_table(root);
	json_decref(root);
	json_decref(lines);
	return ret;
}

static const struct nomctl_action actions[] = {
	{ NULL, "nhttpd|udp|RESULTS.jsonl...", "Medians over boots with their spread, and profits under the terms of thesis 6.4;\n"
	  "  or `nhttpd`, `udp`: measure nhttpd, or nomudp, on nom beside the in-tree stack at its best.", 1, -1, run_compare },
	NOMCTL_ACTIONS_END,
};

const struct nomctl_verb nomctl_compare = {
	"compare", "raw results to medians, profits and ratios", actions, options, &values, 0,
};
