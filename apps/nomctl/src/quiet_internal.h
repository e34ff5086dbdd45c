/* SPDX-License-Identifier: MIT */
/* Inside of quiet: quiet.c counts, quiet_trace.c asks the trace events. */
#ifndef QUIET_INTERNAL_H
#define QUIET_INTERNAL_H

#include <stddef.h>

#include "quiet.h"

struct quiet_row {
	enum quiet_kind kind;
	char name[24];
	char text[64];
	uint64_t count;
};

struct quiet_task {
	pid_t tid, tgid;
	char comm[32];
	unsigned int cpu;		/* where it ran last */
	uint64_t started;
	uint64_t voluntary, forced;	/* switches */
};

struct quiet_sample {
	struct quiet_row *rows;
	size_t nr_rows;
	struct quiet_task *tasks;
	size_t nr_tasks;
};

struct quiet {
	unsigned int cpu;
	pid_t holder;
	struct quiet_sample before, after;
	bool looked;
	struct quiet_noise *noise;
	size_t nr_noise;
	struct quiet_origin *origins;
	size_t nr_origins;
	char trace[96];			/* our instance in tracefs, "" if none */
};

/* A zeroed element at the end of a list, or NULL. */
void *quiet_grow(void **list, size_t *nr, size_t bytes);
int quiet_read(int dir, const char *path, char *buf, size_t n);

/*
 * The core's column in the head line of /proc/interrupts and /proc/softirqs, and how
 * many there are (of cores online, or possible); -1: not there.
 */
int quiet_column(const char *head, unsigned int cpu, int *columns_out);
/* Take a row apart, in place; false: it has no columns. */
bool quiet_row(char *line, int column, int columns, struct quiet_row *row);

/* Take quiet_trace()'s instance down, if there is one, and keep what it saw. */
int quiet_trace_end(struct quiet *q);

/* Count one line of a trace; exposed for its test. */
int quiet_trace_line(struct quiet *q, char *line);

#endif /* QUIET_INTERNAL_H */
