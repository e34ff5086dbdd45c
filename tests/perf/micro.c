// SPDX-License-Identifier: MIT
/*
 * nom-micro - measure nom's mechanisms and their Linux counterparts, in one run
 * on one kernel
 *
 * usage: nom-micro [--tsc-counts-instructions] [--rounds N] [--runs N] [--only TEXT]
 *
 * Prints a JSON list of {name, mechanism, instructions, ns_p50, ns_p99, ns_spread,
 * hypervisor}.  nom's operations run on a leased core, Linux's on an ordinary one;
 * those of Linux whose name ends in "-reserved-core" run on a leased core, too, where
 * every kernel entry pays for context tracking, and otherwise as any process does.
 *
 * Each operation is measured --rounds times in each of --runs runs, in turn with
 * all others.  ns_p50 is the median of the runs' medians, ns_spread the distance
 * of the largest from the smallest of these, ns_p99 of all samples.
 *
 * In a guest under `-icount shift=0` the time stamp counter counts
 * instructions: --tsc-counts-instructions says so, and the times are null.
 * Otherwise the instructions are null.  scripts/micro makes both runs and
 * merges them.  Operations on two CPUs at once have times only.
 *
 * The cost of reading the counter twice is subtracted.  Prints numbers, judges
 * nothing.
 */
#include "micro.h"

#include <cpuid.h>
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/upcall.h>

#define RUNS_MAX	100
#define OPS_MAX		96

struct micro micro = { .rounds = 1000 };

static unsigned int runs = 5;
static uint64_t overhead;

/* What is known of an operation. */
struct result {
	const struct micro_op *op;
	uint64_t *all;			/* runs x rounds, sorted within each run */
	uint64_t median[RUNS_MAX];
	int err;
};

static struct result result[OPS_MAX];
static unsigned int nr_results;

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t quantile(const uint64_t *sorted, uint64_t n, unsigned int percent)
{
	return sorted[(n - 1) * percent / 100];
}

/* Of a sample, per operation. */
static double net(const struct micro_op *op, uint64_t v)
{
	v = v > overhead ? v - overhead : 0;
	if (!micro.counting)
		v = nomux_ticks_to_ns(v * 16) / 16.0 + 0.5;
	return op->flags & MICRO_PER_16 ? (double)v / 16 : (double)v;
}

static void measure_overhead(void)
{
	unsigned int i;
	uint64_t t;

	for (i = 0; i < micro.rounds; i++) {
		t = micro_now();
		micro.sample[i] = micro_now() - t;
	}
	qsort(micro.sample, micro.rounds, sizeof(*micro.sample), compare);
	overhead = micro.sample[micro.rounds / 2];
}

static bool skipped(const struct micro_op *op)
{
	return micro.counting && op->flags & MICRO_TIME_ONLY;
}

static void run_one(struct result *r, unsigned int run)
{
	uint64_t *to = r->all + (size_t)run * micro.rounds;

	if (r->err || skipped(r->op))
		return;
	micro.sample = to;
	r->err = r->op->fn();
	if (r->err) {
		fprintf(stderr, "nom-micro: %s not measured: %s\n", r->op->name, strerror(-r->err));
		return;
	}
	qsort(to, micro.rounds, sizeof(*to), compare);
	r->median[run] = to[micro.rounds / 2];
}

/* Those of one kind, on a core of their own. */
static int run_leased(unsigned int run, unsigned int kind)
{
	struct nomux_core_opts opts = {
		.sz = sizeof(opts), .cpu = NOMUX_CPU_ANY,
		.flags = kind == MICRO_RESERVED ? NOMUX_CORE_KEEP_RSEQ : 0,
		.notify_mask = 1ULL << MICRO_EV_NOTIFY | 1ULL << MICRO_EV_IPC | 0xffffULL << MICRO_EV_MANY,
	};
	unsigned int i;
	int err;

	err = nomux_core_claim(micro.nom, &opts, &micro.core);
	if (err)
		return err;
	if (kind == MICRO_LEASED)
		err = micro_nom_prepare(micro.core);
	if (!err)
		err = nomux_core_enter(micro.core);
	if (!err) {
		nomux_unmask(micro.core);
		for (i = 0; i < nr_results; i++)
			if (result[i].op->flags & kind)
				run_one(&result[i], run);
	}
	nomux_core_release(micro.core);
	micro.core = NULL;
	return err;
}

static int run_all(void)
{
	unsigned int run, i;
	int err = 0;

	for (run = 0; run < runs && !err; run++) {
		if (micro.nom)
			err = run_leased(run, MICRO_LEASED);
		if (micro.nom && !err)
			err = run_leased(run, MICRO_RESERVED);
		for (i = 0; i < nr_results; i++)
			if (!(result[i].op->flags & (MICRO_LEASED | MICRO_RESERVED)))
				run_one(&result[i], run);
	}
	return err;
}

static void collect(const struct micro_op *ops, const char *only)
{
	for (; ops->name; ops++) {
		if (only && !strstr(ops->name, only))
			continue;
		if (ops->flags & (MICRO_LEASED | MICRO_RESERVED | MICRO_NOM) && !micro.nom)
			continue;
		if (nr_results == OPS_MAX)
			abort();
		result[nr_results].op = ops;
		result[nr_results].all = calloc((size_t)runs * micro.rounds, sizeof(uint64_t));
		if (!result[nr_results++].all)
			abort();
	}
}

/* What we run on, by its own account. */
static const char *hypervisor(void)
{
	static char name[13];
	unsigned int a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & 1u << 31))
		return "none";
	__cpuid(0x40000000, a, b, c, d);
	memcpy(name, &b, 4);
	memcpy(name + 4, &c, 4);
	memcpy(name + 8, &d, 4);
	if (!strncmp(name, "TCGTCG", 6))
		return "TCG";
	return !strncmp(name, "KVMKVM", 6) ? "KVM" : "other";
}

static void print_result(struct result *r, bool first)
{
	uint64_t n = (uint64_t)runs * micro.rounds;
	const struct micro_op *op = r->op;
	bool none = skipped(op);

	qsort(r->median, runs, sizeof(*r->median), compare);
	qsort(r->all, n, sizeof(*r->all), compare);
	printf("%s  {\"name\": \"%s\", \"mechanism\": \"%s\", ", first ? "" : ",\n", op->name, op->mechanism);
	if (none)
		printf("\"instructions\": null, \"ns_p50\": null, \"ns_p99\": null, \"ns_spread\": null");
	else if (micro.counting)
		printf("\"instructions\": %.0f, \"ns_p50\": null, \"ns_p99\": null, \"ns_spread\": null",
		       net(op, quantile(r->median, runs, 50)));
	else
		printf("\"instructions\": null, \"ns_p50\": %.1f, \"ns_p99\": %.1f, \"ns_spread\": %.1f",
		       net(op, quantile(r->median, runs, 50)), net(op, quantile(r->all, n, 99)),
		       net(op, r->median[runs - 1]) - net(op, r->median[0]));
	printf(", \"hypervisor\": \"%s\"}", hypervisor());
}

static unsigned int number(const char *text, unsigned int min, unsigned int max)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	return *end || v < min || v > max ? 0 : (unsigned int)v;
}

static int usage(FILE *to)
{
	fprintf(to, "usage: nom-micro [--tsc-counts-instructions] [--rounds 10..10000] [--runs 1..%d] [--only TEXT]\n",
		RUNS_MAX);
	return to == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "tsc-counts-instructions", no_argument, NULL, 'i' },
		{ "rounds", required_argument, NULL, 'n' },
		{ "runs", required_argument, NULL, 'r' },
		{ "only", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *only = NULL;
	unsigned int i, printed = 0;
	cpu_set_t here;
	int c, err;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'i':
			micro.counting = true;
			break;
		case 'n':
			micro.rounds = number(optarg, 10, 10000);
			break;
		case 'r':
			runs = number(optarg, 1, RUNS_MAX);
			break;
		case 'o':
			only = optarg;
			break;
		case 'h':
			return usage(stdout);
		default:
			return usage(stderr);
		}
	}
	if (!micro.rounds || !runs || optind < argc)
		return usage(stderr);
	micro.sample = calloc(micro.rounds, sizeof(*micro.sample));
	if (!micro.sample)
		return 1;
	err = nomux_clock_init();
	if (err && !micro.counting) {
		fprintf(stderr, "nom-micro: no usable time stamp counter: %s\n", strerror(-err));
		return 1;
	}
	err = nomux_open(&micro.nom);
	if (err)
		fprintf(stderr, "nom-micro: nom not measured: %s\n", strerror(-err));
	/* threads that wake each other on one core stay there */
	CPU_ZERO(&here);
	micro.cpu = sched_getcpu();
	CPU_SET((size_t)micro.cpu, &here);
	sched_setaffinity(0, sizeof(here), &here);
	measure_overhead();
	free(micro.sample);

	collect(micro_nom_ops, only);
	collect(micro_ipc_ops, only);
	collect(micro_linux_ops, only);
	collect(micro_linux_event_ops, only);
	if (!err)
		err = run_all();
	else
		run_all();
	printf("[\n");
	for (i = 0; i < nr_results; i++) {
		if (!result[i].err)
			print_result(&result[i], !printed++);
		free(result[i].all);
	}
	printf("\n]\n");
	if (err)
		fprintf(stderr, "nom-micro: %s\n", strerror(-err));
	if (micro.nom)
		nomux_close(micro.nom);
	return err ? 1 : 0;
}
