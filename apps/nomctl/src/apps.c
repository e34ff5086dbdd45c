// SPDX-License-Identifier: MIT
/* Running applications, found by the pages they publish. */
#include "nomctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <nomux/peek.h>

struct search {
	const char *name;
	pid_t found;
	unsigned nr;
	char all[256];		/* every application seen, for the message */
	char same[256];		/* pids of those of this name */
};

static void append(char *to, size_t n, const char *text)
{
	size_t len = strlen(to);

	snprintf(to + len, n - len, "%s%s", len ? ", " : "", text);
}

static int note_app(pid_t pid, const char *app_name, void *arg)
{
	struct search *s = arg;
	char text[64];

	snprintf(text, sizeof(text), "%s (%d)", app_name, (int)pid);
	append(s->all, sizeof(s->all), text);
	if (strcmp(app_name, s->name))
		return 0;
	snprintf(text, sizeof(text), "%d", (int)pid);
	append(s->same, sizeof(s->same), text);
	s->found = pid;
	s->nr++;
	return 0;
}

static int find_pid(const char *app, pid_t *pid_out)
{
	struct search s = { .name = app };
	char *end;
	long pid = strtol(app, &end, 10);
	int ret;

	if (*app && !*end && pid > 0 && pid <= INT32_MAX) {
		*pid_out = (pid_t)pid;
		return ECON_EXIT_OK;
	}
	ret = nomux_peek_list(note_app, &s);
	if (ret)
		return nomctl_fail_errno(ret, "looking for applications in /dev/shm");
	if (s.nr > 1)
		return nomctl_fail(ECON_EXIT_NOT_FOUND, "%s: %u run under this name, give a process id: %s",
				   app, s.nr, s.same);
	if (!s.nr)
		return nomctl_fail(ECON_EXIT_NOT_FOUND, "%s: no such application runs (running: %s)",
				   app, *s.all ? s.all : "none");
	*pid_out = s.found;
	return ECON_EXIT_OK;
}

int nomctl_app_open(const char *app, struct nomux_peek **peek_out, pid_t *pid_out)
{
	int ret = find_pid(app, pid_out);

	if (ret)
		return ret;
	ret = nomux_peek_open(*pid_out, peek_out);
	switch (ret) {
	case 0:
		return ECON_EXIT_OK;
	case -ENOENT:
		return nomctl_fail(ECON_EXIT_NOT_FOUND, "process %d: not there, or not an application of nom",
				   (int)*pid_out);
	case -EACCES:
	case -EPERM:
		return nomctl_fail(ECON_EXIT_PERMISSION, "process %d: another user's: run as that user or root",
				   (int)*pid_out);
	case -EPROTO:
		return nomctl_fail(ECON_EXIT_FAILED, "process %d: its page /dev/shm/nom-%d is malformed, or of another version",
				   (int)*pid_out, (int)*pid_out);
	default:
		return nomctl_fail_errno(ret, "reading the application's page");
	}
}

static int add_app(pid_t pid, const char *app_name, void *arg)
{
	json_array_append_new(arg, json_pack("{s:i,s:s}", "pid", (int)pid, "name", app_name));
	return 0;
}

json_t *nomctl_apps(void)
{
	json_t *list = json_array();

	nomux_peek_list(add_app, list);
	return list;
}
