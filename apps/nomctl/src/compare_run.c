// SPDX-License-Identifier: MIT
/*
 * nomctl compare nhttpd, udp: the comparisons that measure, from a source tree.
 *
 * The measuring is scripts/compare-nhttpd's, which boots guests for it.  This
 * sees to it that what it compares with is there, and says so; runs it; has
 * the page made and the table printed.
 */
#include "nomctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Run a command; its exit status, or 128 and the signal's number; -errno when it does not start. */
static int run(const char *const *argv)
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (!child) {
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	if (child < 0)
		return -errno;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int step_failed(const char *what, int ret)
{
	if (ret < 0)
		return nomctl_fail(ECON_EXIT_FAILED, "compare: %s: %s", what, strerror(-ret));
	return ret ? nomctl_fail(ECON_EXIT_FAILED, "compare: %s failed with %d, see above", what, ret) : 0;
}

static int step(const char *what, const char *const *argv)
{
	return step_failed(what, run(argv));
}

int nomctl_compare_run(bool quick, bool nginx, const char *link, const char *out)
{
	char *measure = nomctl_tree("scripts/compare-nhttpd"), *report = nomctl_tree("scripts/report-wide");
	char *deps = nomctl_tree("scripts/install-deps"), *to = out ? strdup(out) : nomctl_tree("build/report/wide");
	const char *words[10];
	int n = 0, ret = 0, made;

	if (!measure || !report || !deps || !to || access(measure, X_OK)) {
		ret = nomctl_fail(ECON_EXIT_FAILED, "compare: nhttpd needs the source tree, whose scripts boot guests for it");
		goto out;
	}
	if (nginx)
		ret = step("getting nginx, the yardstick (--no-nginx leaves it out)", (const char *[]){ deps, "--wide", NULL });
	if (ret)
		goto out;
	words[n++] = measure;
	words[n++] = "--wide";
	words[n++] = "--out";
	words[n++] = to;
	if (quick)
		words[n++] = "--quick";
	if (!nginx)
		words[n++] = "--no-nginx";
	if (link) {
		words[n++] = "--link";
		words[n++] = link;
	}
	words[n] = NULL;
	ret = run(words);
	/* 1: some cells have failed, and the page shows the others; else what lies there is of an earlier run */
	made = ret == 0 || ret == 1 ? step("scripts/report-wide", (const char *[]){ report, "--out", to, "--table", NULL }) : 0;
	ret = step_failed("scripts/compare-nhttpd", ret);
	ret = ret ? ret : made;
out:
	free(measure);
	free(report);
	free(deps);
	free(to);
	return ret;
}

int nomctl_compare_udp(bool quick, const char *out)
{
	char *measure = nomctl_tree("scripts/compare-udp"), *to = out ? strdup(out) : nomctl_tree("build/report/udp");
	int ret;

	if (!measure || !to || access(measure, X_OK))
		ret = nomctl_fail(ECON_EXIT_FAILED, "compare: udp needs the source tree, whose scripts boot guests for it");
	else
		ret = step("scripts/compare-udp", (const char *[]){ measure, "--out", to, quick ? "--quick" : NULL, NULL });
	free(measure);
	free(to);
	return ret;
}
