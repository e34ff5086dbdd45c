/* SPDX-License-Identifier: MIT */
/*
 * Command-line options from one table: parsing and help read the same rows, so
 * they cannot drift apart.  Shared by priced and nomctl.
 */
#ifndef ECON_OPTIONS_H
#define ECON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum econ_option_kind {
	ECON_OPT_FLAG,		/* bool, no argument */
	ECON_OPT_STRING,	/* const char *, points into argv */
	ECON_OPT_INT,		/* int64_t within min .. max */
	ECON_OPT_REAL,		/* double within min .. max */
};

/**
 * struct econ_option - one row; a row with @name NULL ends the table
 * @name: long name without "--"
 * @letter: short name, or 0
 * @kind: type of the variable
 * @offset: offsetof() of the variable in the caller's struct
 * @arg: what the argument is called in the help
 * @help: one line
 * @min: least value of a number
 * @max: greatest
 */
struct econ_option {
	const char *name;
	char letter;
	enum econ_option_kind kind;
	size_t offset;
	const char *arg;
	const char *help;
	double min, max;
};

#define ECON_OPTIONS_STOP	(1U << 0)	/* the first operand ends the options */

/**
 * econ_options_parse - read options, move operands to the front
 * @table: rows
 * @values: the struct the offsets are into; defaults set by the caller
 * @argc: number of @argv
 * @argv: without the program's name; reordered, operands first
 * @flags: ECON_OPTIONS_STOP
 * @err: gets one line on failure
 * @n: size of @err
 *
 * "--" ends the options and is dropped.  "-5" is an operand, not an option.
 * Return: number of operands, or -EINVAL.
 */
int econ_options_parse(const struct econ_option *table, void *values, int argc, char **argv,
		       unsigned flags, char *err, size_t n);

/** econ_options_help - the rows, one line each */
void econ_options_help(FILE *out, const struct econ_option *table);

/* Exit codes of priced and nomctl, the same in both. */
enum econ_exit {
	ECON_EXIT_OK = 0,
	ECON_EXIT_FAILED = 1,		/* something that should work did not */
	ECON_EXIT_USAGE = 2,		/* the command line is wrong */
	ECON_EXIT_NO_NOM = 3,		/* this kernel has no nom */
	ECON_EXIT_PERMISSION = 4,	/* not allowed to this user */
	ECON_EXIT_INPUT = 5,		/* an input file is missing or malformed */
	ECON_EXIT_BUSY = 6,		/* somebody else holds it */
	ECON_EXIT_NOT_FOUND = 7,	/* no such application, device, price, knob */
};

/** econ_exit_code - the exit code that says -errno best */
int econ_exit_code(int err);

#endif /* ECON_OPTIONS_H */
