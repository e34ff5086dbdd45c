// SPDX-License-Identifier: MIT
/* nomctl: look at nom, set prices, start and tune applications, compare results. */
#include "nomctl.h"

#include <errno.h>
#include <string.h>

static const struct nomctl_verb *const verbs[] = {
	&nomctl_doctor, &nomctl_status, &nomctl_board, &nomctl_price, &nomctl_memory, &nomctl_run,
	&nomctl_tune, &nomctl_stat, &nomctl_trace, &nomctl_compare, &nomctl_bench, NULL,
};

static void synopsis(FILE *out, const struct nomctl_verb *v)
{
	for (const struct nomctl_action *a = v->actions; a->run; a++)
		fprintf(out, "  nomctl %s%s%s%s%s%s\n", v->name, a->name ? " " : "",
			a->name ? a->name : "", v->options->name ? " [options]" : "",
			*a->args ? " " : "", a->args);
}

static void help_all(FILE *out)
{
	fprintf(out, "usage: nomctl VERB [options] [operands]\n\n");
	for (int i = 0; verbs[i]; i++)
		fprintf(out, "  %-8s %s\n", verbs[i]->name, verbs[i]->help);
	fprintf(out, "\nnomctl VERB --help says more.\n"
		"Exit: 0 ok, 1 failed, 2 usage, 3 no nom in this kernel, 4 not permitted,\n"
		"5 bad input file, 6 busy, 7 not found; run passes its command's own code through.\n");
}

static void help_verb(FILE *out, const struct nomctl_verb *v)
{
	fprintf(out, "%s - %s\n\n", v->name, v->help);
	synopsis(out, v);
	fprintf(out, "\n");
	for (const struct nomctl_action *a = v->actions; a->run; a++)
		if (a->name)
			fprintf(out, "  %-26s %s\n", a->name, a->help);
		else if (a->help)
			fprintf(out, "  %s\n", a->help);
	if (v->options->name) {
		fprintf(out, "\n");
		econ_options_help(out, v->options);
	}
}

static int usage(const struct nomctl_verb *v, const char *what)
{
	fprintf(stderr, "nomctl %s: %s\n", v->name, what);
	synopsis(stderr, v);
	return ECON_EXIT_USAGE;
}

/* The action the first operand names; *used operands belong to its name. */
static const struct nomctl_action *find_action(const struct nomctl_verb *v, int argc, char **argv,
					       int *used)
{
	*used = 0;
	if (!v->actions->name)
		return v->actions;
	for (const struct nomctl_action *a = v->actions; a->run && argc; a++) {
		if (!strcmp(a->name, argv[0])) {
			*used = 1;
			return a;
		}
	}
	return NULL;
}

static int run_verb(const struct nomctl_verb *v, int argc, char **argv)
{
	const struct nomctl_action *a;
	char err[160];
	int used;

	for (int i = 0; i < argc && strcmp(argv[i], "--"); i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			help_verb(stdout, v);
			return ECON_EXIT_OK;
		}
		/* what follows is another program's business */
		if ((v->flags & ECON_OPTIONS_STOP) && argv[i][0] != '-')
			break;
	}
	argc = econ_options_parse(v->options, v->values, argc, argv, v->flags, err, sizeof(err));
	if (argc < 0)
		return usage(v, err);
	a = find_action(v, argc, argv, &used);
	if (!a)
		return usage(v, argc ? "no such action" : "say what to do");
	argc -= used;
	argv += used;
	if (argc < a->min)
		return usage(v, "an operand is missing");
	if (a->max >= 0 && argc > a->max)
		return usage(v, "too many operands");
	return a->run(argc, argv);
}

int main(int argc, char **argv)
{
	int ret;

	if (argc < 2) {
		help_all(stderr);
		return ECON_EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		help_all(stdout);
		return ECON_EXIT_OK;
	}
	for (int i = 0; verbs[i]; i++) {
		if (strcmp(verbs[i]->name, argv[1]))
			continue;
		ret = run_verb(verbs[i], argc - 2, argv + 2);
		if (fflush(stdout) && errno != EPIPE && ret == ECON_EXIT_OK)
			return nomctl_fail(ECON_EXIT_FAILED, "cannot write the output: %m");
		return ret;
	}
	nomctl_fail(0, "no such verb: %s (nomctl --help lists them)", argv[1]);
	return ECON_EXIT_USAGE;
}
