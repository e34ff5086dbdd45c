// SPDX-License-Identifier: MIT
/*
 * nomctl bench: measure nom itself.
 *
 * The measuring is somebody else's: nom-micro, a program that runs where nom
 * runs, or scripts/micro, which boots guests for it.  Both print one JSON list
 * of {name, mechanism, instructions, ns_p50, ns_p99, ...}; this checks it, shows
 * it, and keeps it.  nom-micro by itself cannot count instructions: null.
 */
#include "nomctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

static struct {
	bool json;
	const char *out, *input;
} values;

#define OPT(field)	((size_t)((char *)&values.field - (char *)&values))
static const struct econ_option options[] = {
	{ "json", 'j', ECON_OPT_FLAG, OPT(json), NULL,
	  "JSON on standard output, and in build/report/micro.json of the source tree", 0, 0 },
	{ "out", 'o', ECON_OPT_STRING, OPT(out), "FILE", "write the JSON there", 0, 0 },
	{ "input", 'i', ECON_OPT_STRING, OPT(input), "FILE", "show what was measured before", 0, 0 },
	NOMCTL_OPTIONS_END,
};

/* Here if nom is here, else a guest of the source tree. */
static int find_command(char **command_out, const char **option_out)
{
	char *script = nomctl_tree("scripts/micro");

	if (!access("/dev/nom", F_OK)) {
		char *program = nomctl_tree("build/bin/nom-micro");

		if (program && !access(program, X_OK))
			*command_out = program;
		else if (nomctl_in_path("nom-micro"))
			*command_out = strdup("nom-micro");
		else
			return nomctl_fail(ECON_EXIT_FAILED, "bench: nom-micro is not in PATH: make user builds it");
	} else if (script && !access(script, X_OK)) {
		*command_out = strdup(script);
		*option_out = "--json";
	} else {
		return nomctl_fail(ECON_EXIT_NO_NOM, "bench: this kernel has no nom, and there is no source tree to boot one from");
	}
	free(script);
	return *command_out ? 0 : nomctl_fail(ECON_EXIT_FAILED, "bench: no memory");
}

/* What the command printed, as JSON. */
static json_t *measure(const char *command, const char *option, int *ret)
{
	int pipe_fds[2], status;
	json_error_t je;
	json_t *list = NULL;
	pid_t child;
	FILE *f;

	*ret = ECON_EXIT_FAILED;
	if (pipe2(pipe_fds, O_CLOEXEC)) {
		nomctl_fail(0, "bench: %s", strerror(errno));
		return NULL;
	}
	fflush(NULL);
	child = fork();
	if (!child) {
		dup2(pipe_fds[1], STDOUT_FILENO);
		execlp(command, command, option, NULL);
		_exit(127);
	}
	close(pipe_fds[1]);
	f = fdopen(pipe_fds[0], "re");
	if (f) {
		list = json_loadf(f, 0, &je);
		fclose(f);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) ||
	    WEXITSTATUS(status)) {
		nomctl_fail(0, "bench: %s failed", command);
	} else if (!list) {
		nomctl_fail(0, "bench: %s printed no JSON: %s", command, je.text);
	} else {
		*ret = 0;
		return list;
	}
	json_decref(list);
	return NULL;
}

static bool number_or_null(json_t *v)
{
	return json_is_number(v) || json_is_null(v);
}

static bool is_result(json_t *r)
{
	const char *mechanism = json_string_value(json_object_get(r, "mechanism"));

	return json_string_value(json_object_get(r, "name")) && mechanism &&
	       (!strcmp(mechanism, "nom") || !strcmp(mechanism, "linux")) &&
	       number_or_null(json_object_get(r, "instructions")) &&
	       number_or_null(json_object_get(r, "ns_p50")) &&
	       number_or_null(json_object_get(r, "ns_p99"));
}

static int check_results(json_t *list)
{
	size_t i;
	json_t *r;

	if (!json_array_size(list))
		return nomctl_fail(ECON_EXIT_FAILED, "bench: nothing was measured");
	json_array_foreach(list, i, r)
		if (!is_result(r))
			return nomctl_fail(ECON_EXIT_FAILED, "bench: result %zu lacks name, mechanism, instructions, ns_p50 or ns_p99",
					   i + 1);
	return 0;
}

static int keep(json_t *list)
{
	char *dir = nomctl_tree("build/report"), *path = nomctl_tree("build/report/micro.json");
	const char *to = values.out ? values.out : path;
	int ret = 0;

	if (!values.out && dir)
		mkdir(dir, 0777);
	errno = 0;
	/* outside a tree, standard output is all there is */
	if (to && json_dump_file(list, to, JSON_INDENT(1) | JSON_REAL_PRECISION(9)))
		ret = nomctl_fail(ECON_EXIT_FAILED, "bench: cannot write %s: %s", to, strerror(errno));
	free(dir);
	free(path);
	return ret;
}

static json_t *measured_before(const char *path, int *ret)
{
	json_error_t je;
	json_t *list = json_load_file(path, 0, &je);

	*ret = list ? 0 : nomctl_fail(ECON_EXIT_INPUT, "bench: %s: %s", path, je.text);
	return list;
}

static json_t *measure_now(int *ret)
{
	const char *option = NULL;
	char *command = NULL;
	json_t *list = NULL;

	*ret = find_command(&command, &option);
	if (!*ret)
		list = measure(command, option, ret);
	free(command);
	return list;
}

static int run_micro(int argc, char **argv)
{
	json_t *list;
	int ret;

	list = values.input ? measured_before(values.input, &ret) : measure_now(&ret);
	if (!list)
		return ret;
	ret = check_results(list);
	if (!ret && (values.json || values.out))
		ret = keep(list);
	if (!ret && values.json)
		ret = nomctl_print_json(json_incref(list));
	else if (!ret)
		bench_print(list);
	json_decref(list);
	return ret;
}

static const struct nomctl_action actions[] = {
	{ "micro", "", "nom's mechanisms beside Linux's: instructions and time of each", 0, 0, run_micro },
	NOMCTL_ACTIONS_END,
};

const struct nomctl_verb nomctl_bench = {
	"bench", "measure nom itself", actions, options, &values, 0,
};
