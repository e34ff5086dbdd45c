// SPDX-License-Identifier: MIT
/* nomctl status: resources, their owners, prices, applications - by netlink. */
#include "nomctl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <econ/money.h>
#include <econ/nl.h>

static struct {
	bool json;
} values;

static const struct econ_option options[] = {
	{ "json", 'j', ECON_OPT_FLAG, 0, NULL, "for programs", 0, 0 },
	NOMCTL_OPTIONS_END,
};

static bool has(const struct econ_nl_record *r, int attr)
{
	return r->present >> attr & 1;
}

static int add_info(const struct econ_nl_record *r, void *arg)
{
	json_t *root = arg;

	json_object_set_new(root, "abi", json_integer(r->version));
	json_object_set_new(root, "nr_cores", json_integer(r->nr_cores));
	json_object_set_new(root, "huge_map", json_boolean(r->features & NOM_FEATURE_HUGE_MAP));
	json_object_set_new(root, "memory", json_pack("{s:I,s:I,s:I,s:I}",
		"total_bytes", (json_int_t)r->mem_total_bytes,
		"free_bytes", (json_int_t)r->mem_free_bytes,
		"granted_bytes", (json_int_t)r->mem_granted_bytes,
		"quarantined_bytes", (json_int_t)r->mem_quarantined_bytes));
	return 0;
}

static int add_core(const struct econ_nl_record *r, void *arg)
{
	json_t *core = json_pack("{s:i,s:s}", "cpu", (int)r->cpu, "state",
				 nomctl_core_state(r->state));

	if (has(r, NOM_GENL_A_PID))
		json_object_update_new(core, json_pack("{s:I,s:I,s:I,s:s}",
			"handle", (json_int_t)r->handle, "pid", (json_int_t)r->pid,
			"uid", (json_int_t)r->uid, "comm", r->comm));
	if (has(r, NOM_GENL_A_EVENTS))
		json_object_update_new(core, json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}",
			"events", (json_int_t)r->events, "traps", (json_int_t)r->traps,
			"posts", (json_int_t)r->posts, "restarts", (json_int_t)r->restarts,
			"kicks", (json_int_t)r->kicks, "failed", (json_int_t)r->failed));
	json_array_append_new(arg, core);
	return 0;
}

/* A grant, or what is in quarantine after one; @arg: the status. */
static int add_grant(const struct econ_nl_record *r, void *arg)
{
	bool ended = has(r, NOM_GENL_A_MEM_QUARANTINED);
	json_t *g = json_pack("{s:I,s:I,s:I,s:s,s:I}",
		"handle", (json_int_t)r->handle, "pid", (json_int_t)r->pid,
		"uid", (json_int_t)r->uid, "comm", r->comm,
		"bytes", (json_int_t)(ended ? r->mem_quarantined_bytes : r->mem_granted_bytes));
	char bdf[32];

	if (!ended)
		json_object_set_new(g, "mapped_bytes", json_integer((json_int_t)r->mem_mapped_bytes));
	else if (has(r, NOM_GENL_A_BDF))
		json_object_set_new(g, "device", json_string(nomctl_bdf(r->bdf, bdf, sizeof(bdf))));
	json_array_append_new(json_object_get(arg, ended ? "quarantined" : "grants"), g);
	return 0;
}

/* null: no limit */
static json_t *limit(uint64_t max)
{
	return max == NOM_UNLIMITED ? json_null() : json_integer((json_int_t)max);
}

static int add_user(const struct econ_nl_record *r, void *arg)
{
	json_array_append_new(arg, json_pack("{s:I,s:b,s:I,s:o,s:I,s:o,s:I,s:o,s:I,s:o}",
		"uid", (json_int_t)r->uid, "exempt", has(r, NOM_GENL_A_EXEMPT),
		"cores", (json_int_t)r->nr_cores, "cores_max", limit(r->cores_max),
		"bytes", (json_int_t)r->mem_granted_bytes, "bytes_max", limit(r->mem_max),
		"bindings", (json_int_t)r->nr_bindings, "bindings_max", limit(r->bindings_max),
		"notify_refused", (json_int_t)r->notify_refused,
		"notify_per_s_max", limit(r->notify_max)));
	return 0;
}

static int add_device(const struct econ_nl_record *r, void *arg)
{
	char bdf[32], id[16], class_code[16];

	snprintf(id, sizeof(id), "%04x:%04x", r->vendor, r->device);
	snprintf(class_code, sizeof(class_code), "%06x", r->class_code & 0xffffff);
	json_array_append_new(arg, json_pack("{s:s,s:s,s:s,s:b}",
		"bdf", nomctl_bdf(r->bdf, bdf, sizeof(bdf)), "id", id, "class", class_code,
		"leaving", r->state == 1 + NOM_DEVICE_LEAVING));
	return 0;
}

static int add_price(const struct econ_nl_record *r, void *arg)
{
	json_array_append_new(arg, json_pack("{s:s,s:s,s:I,s:f}",
		"name", r->price_name, "unit", r->price_unit, "ucr", (json_int_t)r->price_ucr,
		"age_s", (double)nomctl_age_ns(r->price_since_ns) / 1e9));
	return 0;
}

/* Each list of the status, the query that fills it, and how. */
static const struct {
	const char *key;
	enum nom_genl_cmd cmd;
	econ_nl_fn add;
} lists[] = {
	{ "cores", NOM_GENL_CMD_GET_CORES, add_core },
	{ "devices", NOM_GENL_CMD_GET_DEVICES, add_device },
	{ "prices", NOM_GENL_CMD_GET_PRICES, add_price },
	{ "users", NOM_GENL_CMD_GET_USERS, add_user },
};

static int collect(struct econ_nl *nl, json_t *root)
{
	int ret = econ_nl_get(nl, NOM_GENL_CMD_GET_INFO, add_info, root);

	json_object_set_new(root, "grants", json_array());
	json_object_set_new(root, "quarantined", json_array());
	if (!ret)
		ret = econ_nl_get(nl, NOM_GENL_CMD_GET_GRANTS, add_grant, root);
	for (size_t i = 0; !ret && i < sizeof(lists) / sizeof(*lists); i++) {
		json_t *list = json_array();

		json_object_set_new(root, lists[i].key, list);
		ret = econ_nl_get(nl, lists[i].cmd, lists[i].add, list);
	}
	json_object_set_new(root, "applications", nomctl_apps());
	return ret;
}

/* ---------------------------------------------------------- for people --- */

static json_int_t number(json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static const char *text(json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s ? s : "";
}

static void print_cores(json_t *root)
{
	struct nomctl_table *t = nomctl_table_create(
		">CPU\tstate\t>pid\tcommand\t>events\t>traps\t>posts\t>kicks\t>restarts\t>failed");
	size_t i;
	json_t *c;

	json_array_foreach(json_object_get(root, "cores"), i, c) {
		if (json_object_get(c, "pid"))
			nomctl_table_row(t, "%" PRId64 "\t%s\t%" PRId64 "\t%s\t%" PRId64 "\t%" PRId64
					 "\t%" PRId64 "\t%" PRId64 "\t%" PRId64 "\t%" PRId64,
					 (int64_t)number(c, "cpu"), text(c, "state"),
					 (int64_t)number(c, "pid"), text(c, "comm"),
					 (int64_t)number(c, "events"), (int64_t)number(c, "traps"),
					 (int64_t)number(c, "posts"), (int64_t)number(c, "kicks"),
					 (int64_t)number(c, "restarts"), (int64_t)number(c, "failed"));
		else
			nomctl_table_row(t, "%" PRId64 "\t%s\t-\t\t\t\t\t\t\t", (int64_t)number(c, "cpu"),
					 text(c, "state"));
	}
	if (i)
		nomctl_table_print(t, stdout);
	else
		printf("no reserved cores: boot with nom_cpus=LIST\n");
}

static void print_memory(json_t *root)
{
	json_t *m = json_object_get(root, "memory"), *g;
	char a[24], b[24], c[24], d[24];
	size_t i;

	if (!number(m, "total_bytes")) {
		printf("\nno reserved memory: boot with nom_mem=SIZE\n");
		return;
	}
	printf("\nmemory: %s reserved, %s free, %s granted, %s quarantined\n",
	       nomctl_bytes((uint64_t)number(m, "total_bytes"), a, sizeof(a)),
	       nomctl_bytes((uint64_t)number(m, "free_bytes"), b, sizeof(b)),
	       nomctl_bytes((uint64_t)number(m, "granted_bytes"), c, sizeof(c)),
	       nomctl_bytes((uint64_t)number(m, "quarantined_bytes"), d, sizeof(d)));
	json_array_foreach(json_object_get(root, "grants"), i, g)
		printf("  %s, %s mapped: pid %" PRId64 " (%s)\n",
		       nomctl_bytes((uint64_t)number(g, "bytes"), a, sizeof(a)),
		       nomctl_bytes((uint64_t)number(g, "mapped_bytes"), b, sizeof(b)),
		       (int64_t)number(g, "pid"), text(g, "comm"));
	json_array_foreach(json_object_get(root, "quarantined"), i, g)
		printf("  %s in quarantine after pid %" PRId64 " (%s), until %s%s\n",
		       nomctl_bytes((uint64_t)number(g, "bytes"), a, sizeof(a)),
		       (int64_t)number(g, "pid"), text(g, "comm"),
		       *text(g, "device") ? text(g, "device") : "nobody has it pinned",
		       *text(g, "device") ? " is off the bus" : "");
}

/* "2 of 4", or "2" without a limit */
static const char *of_limit(json_t *user, const char *used, const char *max, bool bytes, char *buf,
			    size_t n)
{
	json_t *m = json_object_get(user, max);
	char a[24], b[24];

	if (bytes) {
		nomctl_bytes((uint64_t)number(user, used), a, sizeof(a));
		nomctl_bytes((uint64_t)json_integer_value(m), b, sizeof(b));
	} else {
		snprintf(a, sizeof(a), "%" PRId64, (int64_t)number(user, used));
		snprintf(b, sizeof(b), "%" PRId64, (int64_t)json_integer_value(m));
	}
	snprintf(buf, n, json_is_integer(m) ? "%s of %s" : "%s", a, b);
	return buf;
}

static void print_users(json_t *root)
{
	char a[64], b[64], c[64];
	size_t i;
	json_t *u;

	printf("\nusers:%s\n", json_array_size(json_object_get(root, "users")) ? "" : " none");
	json_array_foreach(json_object_get(root, "users"), i, u)
		printf("  %" PRId64 "%s: cores %s, memory %s, bindings %s, %" PRId64 " notifications refused\n",
		       (int64_t)number(u, "uid"),
		       json_is_true(json_object_get(u, "exempt")) ? " (exempt)" : "",
		       of_limit(u, "cores", "cores_max", false, a, sizeof(a)),
		       of_limit(u, "bytes", "bytes_max", true, b, sizeof(b)),
		       of_limit(u, "bindings", "bindings_max", false, c, sizeof(c)),
		       (int64_t)number(u, "notify_refused"));
}

static void print_rest(json_t *root)
{
	char money[ECON_MONEY_CHARS], age[24];
	size_t i;
	json_t *v;

	printf("\ndevices at vfio-pci:%s\n",
	       json_array_size(json_object_get(root, "devices")) ? "" : " none");
	json_array_foreach(json_object_get(root, "devices"), i, v)
		printf("  %s  %s  class %s%s\n", text(v, "bdf"), text(v, "id"), text(v, "class"),
		       json_is_true(json_object_get(v, "leaving")) ? "  leaving" : "");
	printf("\nprices:%s\n", json_array_size(json_object_get(root, "prices")) ? "" : " none");
	json_array_foreach(json_object_get(root, "prices"), i, v)
		printf("  %s %s $/%s, for %s\n", text(v, "name"),
		       econ_money_format(number(v, "ucr"), money, sizeof(money)), text(v, "unit"),
		       nomctl_age((uint64_t)(json_real_value(json_object_get(v, "age_s")) * 1e9), age,
				  sizeof(age)));
	printf("\napplications:%s\n",
	       json_array_size(json_object_get(root, "applications")) ? "" : " none");
	json_array_foreach(json_object_get(root, "applications"), i, v)
		printf("  %s (%" PRId64 ")\n", text(v, "name"), (int64_t)number(v, "pid"));
}

static int run_status(int argc, char **argv)
{
	json_t *root = json_object();
	struct econ_nl *nl;
	int ret = econ_nl_open(&nl);

	if (!ret) {
		ret = collect(nl, root);
		econ_nl_close(nl);
	}
	if (ret) {
		json_decref(root);
		return nomctl_fail_errno(ret, "status");
	}
	if (values.json)
		return nomctl_print_json(root);
	print_cores(root);
	print_memory(root);
	print_users(root);
	print_rest(root);
	json_decref(root);
	return ECON_EXIT_OK;
}

static const struct nomctl_action actions[] = {
	{ NULL, "", "Cores, memory and devices with who holds them; prices; applications.", 0, 0, run_status },
	NOMCTL_ACTIONS_END,
};

const struct nomctl_verb nomctl_status = {
	"status", "resources, owners, prices", actions, options, &values, 0,
};
