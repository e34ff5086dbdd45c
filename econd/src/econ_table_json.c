// SPDX-License-Identifier: MIT
/* A measured table from and to JSON text. */
#include <econ/table.h>

#include <errno.h>
#include <stdlib.h>

#include "econ_json.h"
#include "econ_table.h"

static int get_number(json_t *entry, size_t i, const char *key, const struct econ_err *err,
		      double *out)
{
	json_t *v = json_object_get(entry, key);

	if (!v)
		return econ_err_set(err, -EINVAL, "entry %zu: \"%s\" is missing", i, key);
	*out = json_number_value(v);
	if (!json_is_number(v) || !(*out >= 0))
		return econ_err_set(err, -EINVAL, "entry %zu: \"%s\" must be a number >= 0", i, key);
	return 0;
}

static int get_count(json_t *entry, size_t i, const char *key, json_int_t min, json_int_t max,
		     const struct econ_err *err, uint32_t *out)
{
	json_t *v = json_object_get(entry, key);

	if (!v)
		return econ_err_set(err, -EINVAL, "entry %zu: \"%s\" is missing", i, key);
	if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
		return econ_err_set(err, -EINVAL, "entry %zu: \"%s\" must be an integer %lld to %lld",
				    i, key, (long long)min, (long long)max);
	*out = (uint32_t)json_integer_value(v);
	return 0;
}

static int get_throughput(json_t *j, size_t i, const struct econ_err *err,
			  struct econ_table_entry *e)
{
	double bytes;
	int ret;

	if (json_object_get(j, "gbps")) {
		ret = get_number(j, i, "gbps", err, &e->gbps);
		if (!ret && json_object_get(j, "requests_per_s"))
			ret = get_number(j, i, "requests_per_s", err, &e->requests_per_s);
		return ret;
	}
	ret = get_number(j, i, "requests_per_s", err, &e->requests_per_s);
	if (!ret)
		ret = get_number(j, i, "bytes_per_request", err, &bytes);
	if (!ret)
		e->gbps = e->requests_per_s * bytes * 8 / 1e9;
	return ret;
}

static int get_entry(json_t *j, size_t i, const struct econ_err *err,
		     struct econ_table_entry *e)
{
	static const char *const keys[] = {
		"connections", "w_us", "requests_per_s", "bytes_per_request", "gbps",
		"latency_mean_ns", "latency_sd_ns", "comment", NULL,
	};
	const char *unknown;
	int ret;

	if (!json_is_object(j))
		return econ_err_set(err, -EINVAL, "entry %zu: must be an object", i);
	unknown = econ_json_unknown(j, keys);
	if (unknown)
		return econ_err_set(err, -EINVAL, "entry %zu: unknown key \"%s\"", i, unknown);
	ret = get_count(j, i, "connections", 1, ECON_TABLE_MAX_CONNECTIONS, err, &e->connections);
	if (!ret && json_integer_value(json_object_get(j, "w_us")) > ECON_TABLE_MAX_W_US)
		ret = econ_err_set(err, -EINVAL, "entry %zu: \"w_us\" is %lld, and no stack can be set to more than %d", i,
				   (long long)json_integer_value(json_object_get(j, "w_us")), ECON_TABLE_MAX_W_US);
	if (!ret)
		ret = get_count(j, i, "w_us", 0, ECON_TABLE_MAX_W_US, err, &e->w_us);
	if (!ret)
		ret = get_throughput(j, i, err, e);
	if (!ret)
		ret = get_number(j, i, "latency_mean_ns", err, &e->latency_mean_ns);
	if (!ret)
		ret = get_number(j, i, "latency_sd_ns", err, &e->latency_sd_ns);
	return ret;
}

static int get_entries(json_t *list, const struct econ_err *err, struct econ_table **table_out)
{
	struct econ_table_entry *entries;
	size_t i, nr = json_array_size(list);
	json_t *j;
	int ret = 0;

	if (nr > ECON_TABLE_MAX_ENTRIES)
		return econ_err_set(err, -E2BIG, "more than %d entries", ECON_TABLE_MAX_ENTRIES);
	entries = calloc(nr + 1, sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	json_array_foreach(list, i, j) {
		ret = get_entry(j, i, err, &entries[i]);
		if (ret)
			break;
	}
	if (!ret)
		ret = econ__table_create(entries, nr, err, table_out);
	free(entries);
	return ret;
}

static int table_from_json(json_t *root, const struct econ_err *err,
			   struct econ_table **table_out)
{
	static const char *const keys[] = {
		"machine", "measured_unix_s", "entries", "comment", NULL,
	};
	json_t *machine, *when, *list;
	const char *unknown;
	int ret;

	if (json_is_array(root))
		return get_entries(root, err, table_out);
	if (!json_is_object(root))
		return econ_err_set(err, -EINVAL, "must be a list or an object");
	unknown = econ_json_unknown(root, keys);
	if (unknown)
		return econ_err_set(err, -EINVAL, "unknown key \"%s\"", unknown);
	machine = json_object_get(root, "machine");
	when = json_object_get(root, "measured_unix_s");
	list = json_object_get(root, "entries");
	if (!json_is_array(list))
		return econ_err_set(err, -EINVAL, "\"entries\" must be a list");
	if (machine && !json_is_string(machine))
		return econ_err_set(err, -EINVAL, "\"machine\" must be a string");
	if (when && (!json_is_integer(when) || json_integer_value(when) < 0))
		return econ_err_set(err, -EINVAL, "\"measured_unix_s\" must be an integer >= 0");
	ret = get_entries(list, err, table_out);
	if (!ret)
		econ_table_stamp(*table_out, json_string_value(machine),
				 (uint64_t)json_integer_value(when));
	return ret;
}

int econ_table_parse(const char *text, size_t len, const char *name,
		     struct econ_table **table_out, char *err, size_t n)
{
	struct econ_err e = { name, err, n };
	json_t *root;
	int ret = econ_json_parse(text, len, &e, &root);

	if (ret)
		return ret;
	ret = table_from_json(root, &e, table_out);
	json_decref(root);
	return ret;
}

char *econ__table_dump(const struct econ_table *t)
{
	json_t *root = json_object(), *list = json_array();
	char *text = NULL;

	if (*t->machine)
		json_object_set_new(root, "machine", json_string(t->machine));
	if (t->measured_unix_s)
		json_object_set_new(root, "measured_unix_s",
				    json_integer((json_int_t)t->measured_unix_s));
	for (size_t i = 0; i < t->nr; i++) {
		const struct econ_table_entry *e = &t->entries[i];

		json_array_append_new(list, json_pack("{s:I,s:I,s:f,s:f,s:f,s:f}",
			"connections", (json_int_t)e->connections,
			"w_us", (json_int_t)e->w_us,
			"requests_per_s", e->requests_per_s, "gbps", e->gbps,
			"latency_mean_ns", e->latency_mean_ns,
			"latency_sd_ns", e->latency_sd_ns));
	}
	if (!json_object_set_new(root, "entries", list) &&
	    json_array_size(list) == t->nr)
		text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(12));
	json_decref(root);
	return text;
}
