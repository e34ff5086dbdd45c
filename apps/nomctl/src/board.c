// SPDX-License-Identifier: MIT
/*
 * nomctl board: the bulletin board as an application sees it, from the mapping
 * of /dev/nom and not by netlink: what is printed is one consistent snapshot.
 */
#include "nomctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <econ/money.h>
#include <nomux/board.h>
#include <nomux/ctx.h>

static struct {
	bool json;
	double watch_s;
} values;

static const struct econ_option options[] = {
	{ "json", 'j', ECON_OPT_FLAG, 0, NULL, "for programs; with --watch one object a line", 0, 0 },
	{ "watch", 'w', ECON_OPT_REAL, (char *)&values.watch_s - (char *)&values, "SECONDS",
	  "again every so often, until interrupted", 0.01, 86400 },
	NOMCTL_OPTIONS_END,
};

/* A record of the snapshot as JSON. */
static json_t *core_json(const void *record)
{
	const struct nom_board_core *c = record;

	return json_pack("{s:I,s:s,s:I,s:I,s:I}", "cpu", (json_int_t)c->cpu, "state",
			 nomctl_core_state(c->state), "handle", (json_int_t)c->handle,
			 "pid", (json_int_t)c->pid, "uid", (json_int_t)c->uid);
}

static json_t *memory_json(const void *record)
{
	const struct nom_board_memory *m = record;

	return json_pack("{s:I,s:I,s:I,s:I}", "total_bytes", (json_int_t)m->total_bytes,
			 "free_bytes", (json_int_t)m->free_bytes,
			 "granted_bytes", (json_int_t)m->granted_bytes,
			 "quarantined_bytes", (json_int_t)m->quarantined_bytes);
}

static json_t *device_json(const void *record)
{
	const struct nom_board_device *d = record;
	char bdf[32], id[16];

	snprintf(id, sizeof(id), "%04x:%04x", d->vendor, d->device);
	return json_pack("{s:s,s:s,s:I,s:s}", "bdf", nomctl_bdf(d->bdf, bdf, sizeof(bdf)), "id", id,
			 "class", (json_int_t)d->class_code,
			 "state", d->state == NOM_DEVICE_LEAVING ? "leaving" : "present");
}

static json_t *price_json(const void *record)
{
	const struct nom_board_price *p = record;
	char name[NOM_PRICE_NAME_MAX + 1], unit[NOM_PRICE_NAME_MAX + 1];

	snprintf(name, sizeof(name), "%.*s", NOM_PRICE_NAME_MAX, p->name);
	snprintf(unit, sizeof(unit), "%.*s", NOM_PRICE_NAME_MAX, p->unit);
	return json_pack("{s:s,s:s,s:I,s:I,s:I}", "name", name, "unit", unit,
			 "ucr", (json_int_t)p->price_ucr, "since_ns", (json_int_t)p->since_ns,
			 "changes", (json_int_t)p->changes);
}

static const struct {
	const char *name;
	size_t bytes;
	json_t *(*json)(const void *record);
} classes[NOM_BOARD_NR_CLASSES] = {
	[NOM_BOARD_CORES] = { "cores", sizeof(struct nom_board_core), core_json },
	[NOM_BOARD_MEMORY] = { "memory", sizeof(struct nom_board_memory), memory_json },
	[NOM_BOARD_DEVICES] = { "devices", sizeof(struct nom_board_device), device_json },
	[NOM_BOARD_PRICES] = { "prices", sizeof(struct nom_board_price), price_json },
};

static json_t *board_json(const struct nom_board *b, size_t bytes)
{
	json_t *root = json_pack("{s:I,s:I,s:I,s:I}", "version", (json_int_t)b->version,
				 "bytes", (json_int_t)b->bytes, "seq", (json_int_t)b->seq,
				 "updated_ns", (json_int_t)b->updated_ns);

	for (unsigned c = 0; c < NOM_BOARD_NR_CLASSES && c < b->nr_classes; c++) {
		json_t *section = json_object(), *list = json_array();
		const void *record;

		for (unsigned i = 0; (record = nomux_board_record(b, bytes, c, i, classes[c].bytes)); i++)
			json_array_append_new(list, classes[c].json(record));
		json_object_set_new(section, "changes", json_integer((json_int_t)b->section[c].changes));
		json_object_set_new(section, "max", json_integer(b->section[c].max));
		json_object_set_new(section, "records", list);
		json_object_set_new(root, classes[c].name, section);
	}
	return root;
}

/* Key=value, one record a line: the board has no secrets and no prose. */
static void print_record(json_t *record)
{
	const char *key;
	json_t *v;

	printf("   ");
	json_object_foreach(record, key, v) {
		if (json_is_string(v))
			printf(" %s=%s", key, json_string_value(v));
		else
			printf(" %s=%" PRId64, key, (int64_t)json_integer_value(v));
	}
	putchar('\n');
}

static void print_board(json_t *root, uint64_t updated_ns)
{
	char age[24];

	printf("board: version %" PRId64 ", %" PRId64 " bytes, sequence %" PRId64 ", changed %s ago\n",
	       (int64_t)json_integer_value(json_object_get(root, "version")),
	       (int64_t)json_integer_value(json_object_get(root, "bytes")),
	       (int64_t)json_integer_value(json_object_get(root, "seq")),
	       nomctl_age(nomctl_age_ns(updated_ns), age, sizeof(age)));
	for (unsigned c = 0; c < NOM_BOARD_NR_CLASSES; c++) {
		json_t *section = json_object_get(root, classes[c].name), *record;
		json_t *list = json_object_get(section, "records");
		size_t i;

		if (!section)
			continue;
		printf("  %s: %zu of %" PRId64 ", %" PRId64 " changes\n", classes[c].name,
		       json_array_size(list),
		       (int64_t)json_integer_value(json_object_get(section, "max")),
		       (int64_t)json_integer_value(json_object_get(section, "changes")));
		json_array_foreach(list, i, record)
			print_record(record);
	}
}

static int show(struct nomux_ctx *ctx, struct nom_board *copy, size_t bytes)
{
	json_t *root;
	int ret = nomux_board_snapshot(ctx, copy, bytes);

	if (ret)
		return nomctl_fail(econ_exit_code(ret), "board: %s",
				   ret == -EAGAIN ? "it keeps changing while being read: try again" :
				   ret == -EPROTO ? "the mapping holds no board of a known version" :
				   strerror(-ret));
	root = board_json(copy, bytes);
	if (values.json && !values.watch_s)
		return nomctl_print_json(root);
	if (values.json) {
		json_dumpf(root, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		print_board(root, copy->updated_ns);
	}
	json_decref(root);
	return ECON_EXIT_OK;
}

static int run_board(int argc, char **argv)
{
	struct nomux_ctx *ctx;
	struct nom_board *copy;
	size_t bytes;
	int ret = nomux_open(&ctx);

	if (ret)
		return nomctl_fail_errno(ret == -ENOENT ? -ENODEV : ret, "board");
	bytes = nomux_board_bytes(ctx);
	copy = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
	ret = copy ? show(ctx, copy, bytes) : nomctl_fail_errno(-ENOMEM, "board");
	while (!ret && values.watch_s) {
		struct timespec t = { (time_t)values.watch_s,
				      (long)((values.watch_s - (double)(time_t)values.watch_s) * 1e9) };

		if (fflush(stdout) || nanosleep(&t, NULL))
			break;
		ret = show(ctx, copy, bytes);
	}
	free(copy);
	nomux_close(ctx);
	return ret;
}

static const struct nomctl_action actions[] = {
	{ NULL, "", "One consistent snapshot of the bulletin board's mapping.", 0, 0, run_board },
	NOMCTL_ACTIONS_END,
};

const struct nomctl_verb nomctl_board = {
	"board", "dump the bulletin board as applications see it", actions, options, &values, 0,
};
