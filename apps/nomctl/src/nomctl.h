/* SPDX-License-Identifier: MIT */
/*
 * Inside of nomctl.  A verb is a row: name, options, actions.  Parsing, help and
 * the synopsis read the same rows, so they cannot drift apart.
 */
#ifndef NOMCTL_H
#define NOMCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <jansson.h>

#include <econ/options.h>

/**
 * struct nomctl_action - what a verb does
 * @name: first operand that chooses it, or NULL: the verb's only action
 * @args: the operands, for the help
 * @help: one line
 * @min: least number of operands, @name not counted
 * @max: most of them, -1: any number
 * @run: returns an exit code (enum econ_exit)
 */
struct nomctl_action {
	const char *name;
	const char *args;
	const char *help;
	int min, max;
	int (*run)(int argc, char **argv);
};

/**
 * struct nomctl_verb - a row of nomctl's table
 * @name: the word on the command line
 * @help: one line
 * @actions: ended by a row with @run NULL
 * @options: ended by a row with name NULL
 * @values: what the options are stored into, defaults set
 * @flags: ECON_OPTIONS_STOP
 */
struct nomctl_verb {
	const char *name;
	const char *help;
	const struct nomctl_action *actions;
	const struct econ_option *options;
	void *values;
	unsigned flags;
};

extern const struct nomctl_verb nomctl_doctor, nomctl_status, nomctl_board, nomctl_price;
extern const struct nomctl_verb nomctl_run, nomctl_tune, nomctl_stat, nomctl_compare;
extern const struct nomctl_verb nomctl_bench, nomctl_memory, nomctl_trace;

#define NOMCTL_OPTIONS_END	{ NULL, 0, 0, 0, NULL, NULL, 0, 0 }
#define NOMCTL_ACTIONS_END	{ NULL, NULL, NULL, 0, 0, NULL }

/* ---------------------------------------------------------------- out.c --- */

/* "nomctl: ..." on standard error; returns @code. */
int nomctl_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The message and exit code for -errno of the kernel's side. */
int nomctl_fail_errno(int err, const char *doing);

/* An object or list on standard output; drops the reference. */
int nomctl_print_json(json_t *value);

struct nomctl_table;	/* rows of text, printed with aligned columns */

/* @heads: titles separated by tabs; a leading '>' aligns a column to the right */
struct nomctl_table *nomctl_table_create(const char *heads);
/* Cells in one string, separated by tabs (which no application's string has). */
void nomctl_table_row(struct nomctl_table *table, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Print and free; @out NULL: free only. */
void nomctl_table_print(struct nomctl_table *table, FILE *out);

/* "12.0 MiB" */
const char *nomctl_bytes(uint64_t bytes, char *buf, size_t n);
/* "0000:00:03.0" of a number as in struct nom_board_device */
const char *nomctl_bdf(uint32_t bdf, char *buf, size_t n);
/* "3 min" of nanoseconds */
const char *nomctl_age(uint64_t ns, char *buf, size_t n);
const char *nomctl_core_state(uint32_t state);

/* ---------------------------------------------------------------- sys.c --- */

/* First bytes of a small file, without the last newline; length or -errno. */
int nomctl_read(const char *path, char *buf, size_t n);
int nomctl_write(const char *path, const char *text);
/* Last component of a symbolic link. */
int nomctl_link(const char *path, char *buf, size_t n);
/* A directory of the source tree, found from where this program is; NULL if it
 * is not in one.  free() it. */
char *nomctl_tree(const char *below);
uint64_t nomctl_now_ns(void);
/* CLOCK_MONOTONIC age of a board's time. */
uint64_t nomctl_age_ns(uint64_t since_ns);
/* Does a program of this name stand in PATH? */
bool nomctl_in_path(const char *program);

/* --------------------------------------------------------------- apps.c --- */

struct nomux_peek;

/* The page of an application, by name or process id; exit code, message said. */
int nomctl_app_open(const char *app, struct nomux_peek **peek_out, pid_t *pid_out);
/* Running applications as [{"pid": 1, "name": "x"}] */
json_t *nomctl_apps(void);

/* ---------------------------------------------------------- stat_stack.c --- */

struct nomctl_looks;

/* The look at an application's stacks, by name or process id; exit code, message said. */
int nomctl_app_look(const char *app, struct nomctl_looks *out, pid_t *pid_out);

/* The message and exit code for -errno of look.h's functions. */
int nomctl_look_fail(int err, const char *app);

/**
 * struct nomctl_sections - what of a stack is wanted
 * @queues, @drops, @connections: each section
 * @few: not many connections, if @connections is not set
 * @dump: all of it
 * @watch_ms: measure round trips for so long before connections are read
 * @timeout_ms: for each answer of the application
 */
struct nomctl_sections {
	bool queues, drops, connections, few, dump;
	int64_t watch_ms, timeout_ms;
};

/* Ask and print; exit code. */
int nomctl_stat_stack(const struct nomctl_looks *looks, const char *app, const struct nomctl_sections *want, bool json);

/* --------------------------------------------------------- stat_leases.c --- */

/* What the kernel counts of each lease; interval 0: once and no rates; exit code. */
int nomctl_stat_leases(bool json, double interval_s, int64_t count);

/* ----------------------------------------------------- compare_stats.c --- */

/* Median, least, greatest, interquartile range; sorts @values.  @nr > 0 */
struct nomctl_spread {
	double median, min, max, iqr;
	size_t nr;
};
struct nomctl_spread nomctl_spread(double *values, size_t nr);

/**
 * nomctl_compare_lines - raw lines to the object of compare.json
 * @lines: list of parsed lines
 * @time_scale: of the valuation, or 0: what the machine line says, else 1
 * @err: one line on failure
 *
 * Return: new object, or NULL.
 */
json_t *nomctl_compare_lines(json_t *lines, double time_scale, char *err, size_t n);

/* ------------------------------------------------------- compare_run.c --- */

/* Measure widely, in guests: one boot of each kind or many, with Debian's nginx or
 * without; results below @out, NULL: build/report/wide.  Exit code. */
int nomctl_compare_run(bool quick, bool nginx, const char *link, const char *out);

/* The same of a responder to datagrams; NULL: build/report/udp. */
int nomctl_compare_udp(bool quick, const char *out);

/* ------------------------------------------------------ doctor_quiet.c --- */

struct econ_nl;

enum nomctl_quiet { NOMCTL_QUIET, NOMCTL_QUIET_NOISE, NOMCTL_QUIET_UNKNOWN };

typedef void (*nomctl_quiet_fn)(unsigned cpu, enum nomctl_quiet verdict, const char *found,
				const char *advice, void *arg);

/**
 * nomctl_quiet_cores - watch all reserved cores, and say what ran there
 * @nl: to ask who holds them, and what their leases' own events are
 * @seconds: how long
 * @trace: name the origins, which disturbs the cores before and after
 * @fn: called for each core that is online
 *
 * Return: 0 or -errno.
 */
int nomctl_quiet_cores(struct econ_nl *nl, double seconds, bool trace, nomctl_quiet_fn fn, void *arg);

#endif /* NOMCTL_H */
