// SPDX-License-Identifier: MIT
/* nomctl tune: an application's knobs, listed and set while it runs. */
#include "look.h"
#include "nomctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <nomux/peek.h>

static struct {
	bool json;
	int64_t timeout_ms;
} values = { .timeout_ms = 2000 };

static const struct econ_option options[] = {
	{ "json", 'j', ECON_OPT_FLAG, 0, NULL, "for programs", 0, 0 },
	{ "timeout-ms", 't', ECON_OPT_INT, (char *)&values.timeout_ms - (char *)&values, "MS",
	  "wait so long for the application to take the value (2000)", 1, 600000 },
	NOMCTL_OPTIONS_END,
};

static int knob_json(const char *name, const char *unit, const char *effect, int64_t min,
		     int64_t max, int64_t def, int64_t now, void *arg)
{
	json_array_append_new(arg, json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:s}", "name", name,
		"unit", unit, "value", (json_int_t)now, "min", (json_int_t)min,
		"max", (json_int_t)max, "default", (json_int_t)def, "effect", effect));
	return 0;
}

static int knob_row(const char *name, const char *unit, const char *effect, int64_t min,
		    int64_t max, int64_t def, int64_t now, void *arg)
{
	nomctl_table_row(arg, "%s\t%" PRId64 "\t%s\t%" PRId64 "\t%" PRId64 "..%" PRId64 "\t%s", name,
			 now, unit, def, min, max, effect);
	return 0;
}

/* Row "profile" of group "stack", printable: others wrote it. */
static int find_profile(const void *row, void *arg)
{
	const struct nomstack_lk_fact *f = row;
	char *profile = arg;

	if (strncmp(f->group, "stack", sizeof(f->group)) || strncmp(f->name, "profile", sizeof(f->name)) || !f->is_text)
		return 0;
	memcpy(profile, f->text, sizeof(f->text));
	profile[sizeof(f->text) - 1] = '\0';
	for (; *profile; profile++)
		if (*profile < ' ' || *profile > '~')
			*profile = '?';
	return 1;
}

/*
 * What the application's own stack was built with; its defaults are those of the
 * table.  Return: 1 found, 0 it has no such stack, -errno.
 */
static int ask_profile(pid_t pid, char profile[sizeof(((struct nomstack_lk_fact *)0)->text)])
{
	struct nomctl_look *look;
	int ret = nomctl_look_open(pid, 0, &look);

	if (ret)
		return ret == -ENOENT ? 0 : ret;
	ret = nomctl_look_rows(look, NOMSTACK_ASK_FACTS, sizeof(struct nomstack_lk_fact), (unsigned)values.timeout_ms,
			       find_profile, profile);
	nomctl_look_close(look);
	return ret;
}

static int list_knobs(struct nomux_peek *peek, pid_t pid)
{
	char profile[sizeof(((struct nomstack_lk_fact *)0)->text)] = "";
	int found = ask_profile(pid, profile);
	struct nomctl_table *table;
	json_t *list;

	if (values.json) {
		list = json_array();
		nomux_peek_knobs(peek, knob_json, list);
		return nomctl_print_json(json_pack("{s:o,s:o}", "profile", found > 0 ? json_string(profile) : json_null(),
						   "knobs", list));
	}
	table = nomctl_table_create("knob\t>value\tunit\t>default\trange\teffect");
	nomux_peek_knobs(peek, knob_row, table);
	nomctl_table_print(table, stdout);
	if (found > 0)
		printf("\nstack profile: %s\n", profile);
	else if (found < 0)
		printf("\nstack profile: not known: %s\n", strerror(-found));
	return ECON_EXIT_OK;
}

/* The range, for a message that says what would have been right. */
struct range {
	const char *name;
	int64_t min, max;
	char unit[32];
	bool found;
	char all[256];
};

static int find_range(const char *name, const char *unit, const char *effect, int64_t min,
		      int64_t max, int64_t def, int64_t now, void *arg)
{
	struct range *r = arg;
	size_t len = strlen(r->all);

	snprintf(r->all + len, sizeof(r->all) - len, "%s%s", len ? ", " : "", name);
	if (strcmp(name, r->name))
		return 0;
	r->found = true;
	r->min = min;
	r->max = max;
	snprintf(r->unit, sizeof(r->unit), "%s", unit);
	return 0;
}

static int set_knob(struct nomux_peek *peek, const char *app, const char *name, const char *text)
{
	struct range r = { .name = name };
	long long value;
	char *end;
	int ret;

	nomux_peek_knobs(peek, find_range, &r);
	if (!r.found)
		return nomctl_fail(ECON_EXIT_NOT_FOUND, "%s has no knob \"%s\" (it has: %s)", app, name,
				   *r.all ? r.all : "none");
	errno = 0;
	value = strtoll(text, &end, 0);
	if (errno || !*text || *end)
		return nomctl_fail(ECON_EXIT_USAGE, "%s: \"%s\" is not an integer", name, text);
	ret = value < r.min || value > r.max ? -ERANGE :
	      nomux_peek_knob_request(peek, name, value, (unsigned)values.timeout_ms);
	switch (ret) {
	case 0:
		return ECON_EXIT_OK;
	case -ERANGE:
		return nomctl_fail(ECON_EXIT_USAGE, "%s must be %" PRId64 " to %" PRId64 " %s, not %lld",
				   name, r.min, r.max, r.unit, value);
	case -EBUSY:
		return nomctl_fail(ECON_EXIT_BUSY, "%s: somebody else is setting it: try again", name);
	case -ETIMEDOUT:
		return nomctl_fail(ECON_EXIT_FAILED, "%s: %s did not look within %" PRId64 " ms; it may still take the value later",
				   name, app, values.timeout_ms);
	default:
		return nomctl_fail_errno(ret, name);
	}
}

/* KNOB VALUE, or KNOB=VALUE, any number of either */
static int set_all(struct nomux_peek *peek, const char *app, int argc, char **argv)
{
	int ret = 0;

	for (int i = 0; i < argc && !ret;) {
		char *equals = strchr(argv[i], '=');

		if (equals) {
			*equals = '\0';
			ret = set_knob(peek, app, argv[i], equals + 1);
			i++;
		} else if (i + 1 < argc) {
			ret = set_knob(peek, app, argv[i], argv[i + 1]);
			i += 2;
		} else {
			ret = nomctl_fail(ECON_EXIT_USAGE, "%s: to which value?", argv[i]);
		}
	}
	return ret;
}

static int run_tune(int argc, char **argv)
{
	struct nomux_peek *peek;
	pid_t pid;
	int ret = nomctl_app_open(argv[0], &peek, &pid);

	if (ret)
		return ret;
	ret = argc == 1 ? list_knobs(peek, pid) : set_all(peek, argv[0], argc - 1, argv + 1);
	nomux_peek_close(peek);
	return ret;
}

static const struct nomctl_action actions[] = {
	{ NULL, "APP [KNOB VALUE | KNOB=VALUE]...", "Lists an application's knobs, or sets them while it runs.  APP is a name or a process id.", 1, -1, run_tune },
	NOMCTL_ACTIONS_END,
};

const struct nomctl_verb nomctl_tune = {
	"tune", "an application's knobs", actions, options, &values, 0,
};
