// SPDX-License-Identifier: MIT
/*
 * nom-threads-cost - what user threads cost, beside pthreads, in one run
 *
 * usage: nom-threads-cost [--json] [--only TEXT] [--not TEXT]... [--runs N]
 *                         [--samples N] [--batch N]
 *                         [--tsc-counts-instructions]
 *
 * Runs on any kernel.  Every operation is measured in --runs runs (5), nom's and
 * Linux's in turn, of --samples samples (100) each, a sample being the mean of
 * --batch operations in a row (200).  p50: median of the runs' medians, with the
 * smallest and the largest; p99: of all samples.
 *
 * --json prints a list of {name, mechanism, instructions, ns_p50, ns_p99}, as
 * nom-micro does.  In a guest under `-icount shift=0` the time stamp counter counts
 * instructions (both cores'); --tsc-counts-instructions says so.  Natively
 *	valgrind --tool=callgrind build/bin/nom-threads-cost --only NAME ...
 * counts them: difference of two --samples, by the operations in between.
 *
 * Prints numbers, judges nothing.
 */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#include "thread_cost.h"

static struct {
	unsigned int runs, samples, batch;
	bool json, counts_instructions;
	const char *only, *not[8];
	unsigned int nr_not;
} opt = { .runs = 5, .samples = 100, .batch = 200 };

static uint64_t *sample;	/* of one side's run: ticks per batch */

void cost_need(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "nom-threads-cost: %s: %s\n", what, strerror(err < 0 ? -err : err));
	exit(1);
}

unsigned int cost_samples(void)
{
	return opt.samples;
}

unsigned int cost_batch(void)
{
	return opt.batch;
}

void cost_sample(unsigned int i, uint64_t ticks)
{
	sample[i] = ticks;
}

static cpu_set_t allowed;

void cost_pin(unsigned int nth)
{
	cpu_set_t set;
	int cpu;

	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || nth--)
			continue;
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		cost_need(sched_setaffinity(0, sizeof(set), &set) ? errno : 0, "pin to a CPU");
		return;
	}
}

/* ---------------------------------------------------------- statistics --- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

struct side {
	const char *mechanism;
	void (*fn)(void);
	double *all;		/* runs x samples, per operation */
	double *medians;	/* of the runs */
};

static double quantile(const double *sorted, unsigned int n, unsigned int percent)
{
	return sorted[(uint64_t)(n - 1) * percent / 100];
}

static void run_side(struct side *s, unsigned int run, unsigned int per_batch)
{
	double *v = s->all + (size_t)run * opt.samples;
	unsigned int i;

	s->fn();
	for (i = 0; i < opt.samples; i++) {
		v[i] = opt.counts_instructions ? (double)sample[i] : (double)nomux_ticks_to_ns(sample[i]);
		v[i] /= per_batch;
	}
	qsort(v, opt.samples, sizeof(*v), compare);
	s->medians[run] = quantile(v, opt.samples, 50);
}

static unsigned int lines;

static void print_json(const char *name, const struct side *s)
{
	double p50 = quantile(s->medians, opt.runs, 50), p99 = quantile(s->all, opt.runs * opt.samples, 99);

	printf("%s  {\"name\": \"thread/%s\", \"mechanism\": \"%s\", ", lines++ ? ",\n" : "", name,
	       s->mechanism);
	if (opt.counts_instructions)
		printf("\"instructions\": %.0f, \"ns_p50\": null, \"ns_p99\": null}", p50);
	else
		printf("\"instructions\": null, \"ns_p50\": %.1f, \"ns_p99\": %.1f}", p50, p99);
}

static void print_side(const struct side *s)
{
	printf(" %9.1f %8.1f..%-8.1f %9.1f", quantile(s->medians, opt.runs, 50), s->medians[0],
	       s->medians[opt.runs - 1], quantile(s->all, opt.runs * opt.samples, 99));
}

static void measure(const struct cost *c)
{
	struct side side[2] = {
		{ .mechanism = "nom", .fn = c->nom }, { .mechanism = "linux", .fn = c->linux_fn },
	};
	unsigned int r, i;

	for (i = 0; i < 2; i++) {
		side[i].all = calloc((size_t)opt.runs * opt.samples, sizeof(double));
		side[i].medians = calloc(opt.runs, sizeof(double));
		if (!side[i].all || !side[i].medians)
			cost_need(ENOMEM, "memory");
	}
	for (r = 0; r < opt.runs; r++)
		for (i = 0; i < 2; i++)
			if (side[i].fn)
				run_side(&side[i], r, c->per_batch * opt.batch);
	if (!opt.json)
		printf("%-16s %6s", c->name, c->target_ns);
	for (i = 0; i < 2; i++) {
		if (side[i].fn) {
			qsort(side[i].medians, opt.runs, sizeof(double), compare);
			qsort(side[i].all, (size_t)opt.runs * opt.samples, sizeof(double), compare);
			if (opt.json)
				print_json(c->name, &side[i]);
			else
				print_side(&side[i]);
		}
		free(side[i].all);
		free(side[i].medians);
	}
	if (!opt.json)
		printf("\n");
}

static bool wanted(const struct cost *c)
{
	unsigned int i;

	for (i = 0; i < opt.nr_not; i++)
		if (strstr(c->name, opt.not[i]))
			return false;
	if (opt.only && !strstr(c->name, opt.only))
		return false;
	if ((unsigned int)CPU_COUNT(&allowed) >= c->cpus)
		return true;
	fprintf(stderr, "nom-threads-cost: %s needs %u CPUs\n", c->name, c->cpus);
	return false;
}

static int usage(FILE *to)
{
	fprintf(to, "usage: nom-threads-cost [--json] [--only TEXT] [--not TEXT]... [--runs N]\n"
		"                        [--samples N] [--batch N] [--tsc-counts-instructions]\n");
	return to == stderr ? 2 : 0;
}

static bool number(const char *text, unsigned int min, unsigned int max, unsigned int *out)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	if (*end || end == text || v < min || v > max)
		return false;
	*out = (unsigned int)v;
	return true;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "only", required_argument, NULL, 'o' },
		{ "not", required_argument, NULL, 'n' },
		{ "runs", required_argument, NULL, 'r' },
		{ "samples", required_argument, NULL, 's' },
		{ "batch", required_argument, NULL, 'b' },
		{ "tsc-counts-instructions", no_argument, NULL, 'i' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const struct cost *c;
	bool good = true;
	int opt_c;

	while (good && (opt_c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt_c) {
		case 'j':
			opt.json = true;
			break;
		case 'o':
			opt.only = optarg;
			break;
		case 'n':
			good = opt.nr_not < 8;
			if (good)
				opt.not[opt.nr_not++] = optarg;
			break;
		case 'r':
			good = number(optarg, 1, 100, &opt.runs);
			break;
		case 's':
			good = number(optarg, 2, 100000, &opt.samples);
			break;
		case 'b':
			good = number(optarg, 1, 100000, &opt.batch);
			break;
		case 'i':
			opt.counts_instructions = true;
			break;
		case 'h':
			return usage(stdout);
		default:
			good = false;
		}
	}
	if (!good || optind != argc)
		return usage(stderr);
	sample = calloc(opt.samples, sizeof(*sample));
	if (!sample)
		return 1;
	if (nomux_clock_init() && !opt.counts_instructions) {
		fprintf(stderr, "nom-threads-cost: no usable time stamp counter\n");
		return 1;
	}
	cost_need(sched_getaffinity(0, sizeof(allowed), &allowed) ? errno : 0, "CPUs");
	cost_pin(0);
	if (opt.json)
		printf("[\n");
	else
		printf("%-16s %6s %9s %18s %9s %9s %18s %9s\n", opt.counts_instructions ?
		       "instructions" : "ns", "target", "nom p50", "runs", "p99", "linux p50", "runs", "p99");
	for (c = cost_table; c->name; c++)
		if (wanted(c))
			measure(c);
	if (opt.json)
		printf("\n]\n");
	free(sample);
	return 0;
}
