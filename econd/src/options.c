// SPDX-License-Identifier: MIT
/* Command-line options from one table. */
#include <econ/options.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct econ_option *find(const struct econ_option *table, const char *name,
				      size_t len, char letter)
{
	for (; table->name; table++) {
		if (name && strlen(table->name) == len && !strncmp(table->name, name, len))
			return table;
		if (!name && letter && table->letter == letter)
			return table;
	}
	return NULL;
}

static int bad(char *err, size_t n, const char *what, const char *name)
{
	snprintf(err, n, what, name);
	return -EINVAL;
}

static int store_number(const struct econ_option *o, void *at, const char *text, char *err,
			size_t n)
{
	char *end;
	double v;

	errno = 0;
	if (o->kind == ECON_OPT_INT) {
		long long i = strtoll(text, &end, 0);

		v = (double)i;
		if (!errno && *text && !*end && v >= o->min && v <= o->max)
			*(int64_t *)at = i;
		else
			errno = ERANGE;
	} else {
		v = strtod(text, &end);
		if (!errno && *text && !*end && isfinite(v) && v >= o->min && v <= o->max)
			*(double *)at = v;
		else
			errno = ERANGE;
	}
	if (errno) {
		snprintf(err, n, "--%s must be a number %g to %g, not \"%s\"", o->name, o->min,
			 o->max, text);
		return -EINVAL;
	}
	return 0;
}

static int store(const struct econ_option *o, void *values, const char *text, char *err, size_t n)
{
	void *at = (char *)values + o->offset;

	switch (o->kind) {
	case ECON_OPT_FLAG:
		*(bool *)at = true;
		return 0;
	case ECON_OPT_STRING:
		*(const char **)at = text;
		return 0;
	default:
		return store_number(o, at, text, err, n);
	}
}

static bool is_operand(const char *arg)
{
	return arg[0] != '-' || !arg[1] || (arg[1] >= '0' && arg[1] <= '9') || arg[1] == '.';
}

/* argv[i] is an option; returns how many words it took, or -EINVAL. */
static int take(const struct econ_option *table, void *values, int argc, char **argv, int i,
		char *err, size_t n)
{
	const char *arg = argv[i], *value = NULL;
	const struct econ_option *o;
	int words = 1;

	if (arg[1] == '-') {
		size_t len = strcspn(arg + 2, "=");

		o = find(table, arg + 2, len, 0);
		if (arg[2 + len])
			value = arg + 2 + len + 1;
	} else {
		o = find(table, NULL, 0, arg[1]);
		if (arg[2])
			value = arg + 2;
	}
	if (!o)
		return bad(err, n, "unknown option %s", arg);
	if (o->kind == ECON_OPT_FLAG && value)
		return bad(err, n, "--%s takes no argument", o->name);
	if (o->kind != ECON_OPT_FLAG && !value) {
		if (i + 1 >= argc)
			return bad(err, n, "--%s needs an argument", o->name);
		value = argv[i + 1];
		words = 2;
	}
	return store(o, values, value, err, n) ? -EINVAL : words;
}

int econ_options_parse(const struct econ_option *table, void *values, int argc, char **argv,
		       unsigned flags, char *err, size_t n)
{
	int i = 0, operands = 0;

	while (i < argc) {
		int words;

		if (!strcmp(argv[i], "--")) {
			i++;
			break;
		}
		if (is_operand(argv[i])) {
			if (flags & ECON_OPTIONS_STOP)
				break;
			argv[operands++] = argv[i++];
			continue;
		}
		words = take(table, values, argc, argv, i, err, n);
		if (words < 0)
			return words;
		i += words;
	}
	while (i < argc)
		argv[operands++] = argv[i++];
	return operands;
}

void econ_options_help(FILE *out, const struct econ_option *table)
{
	for (; table->name; table++) {
		char left[64], letter[8] = "    ";

		if (table->letter)
			snprintf(letter, sizeof(letter), "-%c, ", table->letter);
		snprintf(left, sizeof(left), "%s--%s%s%s", letter, table->name,
			 table->kind == ECON_OPT_FLAG ? "" : " ", table->arg ? table->arg : "");
		fprintf(out, "  %-26s %s\n", left, table->help);
	}
}

int econ_exit_code(int err)
{
	switch (err) {
	case 0:
		return ECON_EXIT_OK;
	case -ENODEV:
		return ECON_EXIT_NO_NOM;
	case -EPERM:
	case -EACCES:
		return ECON_EXIT_PERMISSION;
	case -EBUSY:
	case -EADDRINUSE:
		return ECON_EXIT_BUSY;
	case -ENOENT:
		return ECON_EXIT_NOT_FOUND;
	default:
		return ECON_EXIT_FAILED;
	}
}
