// SPDX-License-Identifier: MIT
/*
 * nom-micro - measure the three kinds of upcall and their Linux counterparts,
 * in one run on one kernel
 *
 * usage: nom-micro [--tsc-counts-instructions] [--rounds N]
 *
 * Prints a JSON list of {name, mechanism, instructions, ns_p50, ns_p99}.  nom's
 * operations are measured on a leased core, Linux's on an ordinary one: on a
 * reserved core every kernel entry pays for context tracking.
 *
 * In a guest under `-icount shift=0` the time stamp counter counts
 * instructions: --tsc-counts-instructions says so, and the times are null.
 * Otherwise the instructions are null.  scripts/micro makes both runs and
 * merges them.
 *
 * The cost of reading the counter twice is subtracted.  Prints numbers, judges
 * nothing.
 */
#include "micro.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct micro micro = { .rounds = 2000 };
static bool counts_instructions;
static uint64_t overhead;
static unsigned int lines;

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t quantile(unsigned int percent)
{
	uint64_t v = micro.sample[(uint64_t)(micro.rounds - 1) * percent / 100];

	return v > overhead ? v - overhead : 0;
}

void micro_report(const char *name, const char *mechanism)
{
	qsort(micro.sample, micro.rounds, sizeof(*micro.sample), compare);
	printf("%s  {\"name\": \"%s\", \"mechanism\": \"%s\", ", lines++ ? ",\n" : "", name, mechanism);
	if (counts_instructions)
		printf("\"instructions\": %llu, \"ns_p50\": null, \"ns_p99\": null}",
		       (unsigned long long)quantile(50));
	else
		printf("\"instructions\": null, \"ns_p50\": %llu, \"ns_p99\": %llu}",
		       (unsigned long long)nomux_ticks_to_ns(quantile(50)),
		       (unsigned long long)nomux_ticks_to_ns(quantile(99)));
}

void micro_missing(const char *name, const char *why, int err)
{
	fprintf(stderr, "nom-micro: %s not measured: %s: %s\n", name, why, strerror(err));
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

static int usage(void)
{
	fprintf(stderr, "usage: nom-micro [--tsc-counts-instructions] [--rounds N]\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "tsc-counts-instructions", no_argument, NULL, 'i' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c, err;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'i':
			counts_instructions = true;
			break;
		case 'r':
			micro.rounds = (unsigned int)strtoul(optarg, NULL, 10);
			if (micro.rounds < 10 || micro.rounds > 100000)
				return usage();
			break;
		case 'h':
			usage();
			return 0;
		default:
			return usage();
		}
	}
	micro.sample = calloc(micro.rounds, sizeof(*micro.sample));
	if (!micro.sample)
		return 1;
	err = nomux_clock_init();
	if (err && !counts_instructions) {
		fprintf(stderr, "nom-micro: no usable time stamp counter: %s\n", strerror(-err));
		return 1;
	}
	measure_overhead();
	printf("[\n");
	err = micro_run_nom();
	if (err)
		fprintf(stderr, "nom-micro: nom not measured: %s\n", strerror(-err));
	micro_run_linux();
	printf("\n]\n");
	free(micro.sample);
	return err ? 1 : 0;
}
