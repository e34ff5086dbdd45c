/* SPDX-License-Identifier: MIT */
/* nomctl bench: between measuring (bench.c) and showing (bench_table.c). */
#ifndef NOMCTL_BENCH_H
#define NOMCTL_BENCH_H

#include <jansson.h>
#include <stdbool.h>

/* A target beside what was seen. */
struct bench_verdict {
	const char *what;
	char wanted[48], seen[64];
	const char *verdict;	/* "reached", "MISSED", or why there is none */
};

/* Judge target number @i of the list of results; false: there is no such target. */
bool bench_target(json_t *list, size_t i, struct bench_verdict *out);

/* Table of the results, grouped by job, and of the targets. */
void bench_print(json_t *list);

#endif
