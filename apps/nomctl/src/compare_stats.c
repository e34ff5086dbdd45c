// SPDX-License-Identifier: MIT
/*
 * Raw result lines to the object of compare.json.
 *
 * A raw line is one measurement: of one boot, one variant ("nom",
 * "linux-default"), one number of connections, one price.  Lines of the same
 * variant, connections and price make one result; every figure in it is the
 * median over its lines, with min, max and interquartile range beside it.  A line
 * need not have every figure: boots that count instructions do not time.
 */
#include "nomctl.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <econ/money.h>
#include <econ/valuation.h>

#define DEPTH_MAX	4

/* ----------------------------------------------------------- statistics --- */

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* Linear between the two nearest ranks; @values sorted */
static double quantile(const double *values, size_t nr, double q)
{
	double at = q * (double)(nr - 1);
	size_t i = (size_t)at;

	if (i + 1 >= nr)
		return values[nr - 1];
	return values[i] + (values[i + 1] - values[i]) * (at - (double)i);
}

struct nomctl_spread nomctl_spread(double *values, size_t nr)
{
	qsort(values, nr, sizeof(*values), compare_doubles);
	return (struct nomctl_spread) {
		.median = quantile(values, nr, 0.5),
		.min = values[0],
		.max = values[nr - 1],
		.iqr = quantile(values, nr, 0.75) - quantile(values, nr, 0.25),
		.nr = nr,
	};
}

static json_t *spread_json(const struct nomctl_spread *s)
{
	return json_pack("{s:f,s:{s:f,s:f,s:f},s:I}", "median", s->median, "spread",
			 "min", s->min, "max", s->max, "iqr", s->iqr, "n", (json_int_t)s->nr);
}

/* --------------------------------------------------------------- a line --- */

/* What says where a line belongs, and is no figure. */
static const char *const identity[] = { "kind", "boot", "variant", "connections", "price", NULL };

static bool in_list(const char *const *list, const char *word)
{
	for (; *list; list++)
		if (!strcmp(*list, word))
			return true;
	return false;
}

/* One line on what is wrong with line @i, or NULL */
static const char *line_trouble(json_t *line)
{
	json_t *connections = json_object_get(line, "connections");
	json_t *price = json_object_get(line, "price");

	if (!json_is_object(line))
		return "not an object";
	if (!json_is_string(json_object_get(line, "variant")))
		return "\"variant\" must be a string";
	if (!json_is_integer(connections) || json_integer_value(connections) < 1)
		return "\"connections\" must be an integer above 0";
	if (!json_is_number(price) || !(json_number_value(price) >= 0))
		return "\"price\" must be a number of dollars per Gbit, not below 0";
	if (!json_is_integer(json_object_get(line, "boot")) &&
	    !json_is_string(json_object_get(line, "boot")))
		return "\"boot\" must say which boot";
	return NULL;
}

static bool same_cell(json_t *a, json_t *b)
{
	return json_equal(json_object_get(a, "variant"), json_object_get(b, "variant")) &&
	       json_equal(json_object_get(a, "connections"), json_object_get(b, "connections")) &&
	       json_number_value(json_object_get(a, "price")) ==
	       json_number_value(json_object_get(b, "price"));
}

static bool get_number(json_t *object, const char *key, double *out)
{
	json_t *v = json_object_get(object, key);

	if (!json_is_number(v))
		return false;
	*out = json_number_value(v);
	return isfinite(*out);
}

/* ----------------------------------------------------------------- profit --- */

/* @line made richer by "profit", in $ a second, when it says what that needs. */
static int add_profit(json_t *line, const struct econ_terms *terms)
{
	double rate, bytes, price, mean, sd;
	json_t *latency = json_object_get(line, "latency_us"), *profit;
	struct econ_point point;
	int64_t price_ucr, ucr;

	if (!get_number(line, "requests_per_s", &rate) ||
	    !get_number(line, "bytes_per_request", &bytes) ||
	    !get_number(latency, "mean", &mean) || !get_number(latency, "sd", &sd) ||
	    !get_number(line, "price", &price))
		return 0;
	point = (struct econ_point) { rate * bytes * 8 / 1e9, mean * 1000, sd * 1000 };
	if (econ_money_from_usd(price, &price_ucr))
		return -EINVAL;
	profit = json_object();
	for (int f = 0; f < ECON_NR_FORMS; f++) {
		int ret = econ_profit_ucr_per_s(f, terms, &point, price_ucr, &ucr);

		if (ret) {
			json_decref(profit);
			return ret;
		}
		json_object_set_new(profit, econ_form_name(f),
				    json_real((double)ucr / ECON_UCR_PER_USD));
	}
	return json_object_set_new(line, "profit", profit);
}

/* -------------------------------------------------------------- a result --- */

/* The median of one figure over the lines that have it, objects member by member. */
static json_t *summarise(json_t **parts, size_t nr, int depth)
{
	double values[nr ? nr : 1];
	size_t numbers = 0, objects = 0;
	struct nomctl_spread s;
	json_t *sum;

	for (size_t i = 0; i < nr; i++) {
		if (json_is_number(parts[i]) && isfinite(json_number_value(parts[i])))
			values[numbers++] = json_number_value(parts[i]);
		objects += json_is_object(parts[i]);
	}
	if (numbers) {
		s = nomctl_spread(values, numbers);
		return spread_json(&s);
	}
	if (!objects || depth == DEPTH_MAX)
		return NULL;
	sum = json_object();
	for (size_t i = 0; i < nr; i++) {
		const char *key;
		json_t *v;

		json_object_foreach(parts[i], key, v) {
			json_t *members[nr], *member;

			if (json_object_get(sum, key))
				continue;
			for (size_t k = 0; k < nr; k++)
				members[k] = json_object_get(parts[k], key);
			member = summarise(members, nr, depth + 1);
			if (member)
				json_object_set_new(sum, key, member);
		}
	}
	return sum;
}

/* Figures every result has, null where nothing measured them. */
static const char *const always[] = {
	"requests_per_s", "latency_us", "instructions_per_request", "doorbells_per_request",
	"interrupts_per_request", "syscalls_per_request", "context_switches_per_request", "profit",
	NULL,
};

static json_t *result_of(json_t **lines, size_t nr)
{
	json_t *sum = summarise(lines, nr, 0), *result = json_object();
	const char *key;
	json_t *v;

	for (int i = 0; identity[i]; i++)
		json_object_del(sum, identity[i]);
	json_object_set(result, "variant", json_object_get(lines[0], "variant"));
	json_object_set(result, "connections", json_object_get(lines[0], "connections"));
	json_object_set(result, "price", json_object_get(lines[0], "price"));
	for (int i = 0; always[i]; i++) {
		v = json_object_get(sum, always[i]);
		json_object_set_new(result, always[i], v ? json_incref(v) : json_null());
	}
	json_object_foreach(sum, key, v)
		if (!in_list(always, key))
			json_object_set(result, key, v);
	json_decref(sum);
	return result;
}

/* Results in the order of their first lines. */
static json_t *results_of(json_t *lines)
{
	size_t nr = json_array_size(lines);
	json_t *results = json_array(), *cell[nr ? nr : 1];
	bool used[nr ? nr : 1];

	memset(used, 0, sizeof(used));
	for (size_t i = 0; i < nr; i++) {
		size_t n = 0;

		if (used[i])
			continue;
		for (size_t k = i; k < nr; k++) {
			json_t *line = json_array_get(lines, k);

			if (used[k] || !same_cell(json_array_get(lines, i), line))
				continue;
			used[k] = true;
			cell[n++] = line;
		}
		json_array_append_new(results, result_of(cell, n));
	}
	return results;
}

/* --------------------------------------------------------------- the whole --- */

#define LINES_MAX	20000

static json_t *terms_json(const struct econ_terms *t)
{
	return json_pack("{s:f,s:f,s:f,s:s,s:f,s:f,s:f,s:s}",
			 "alpha_usd_per_gbit", (double)t->alpha_ucr_per_gbit / ECON_UCR_PER_USD,
			 "beta_usd_per_gbit_s", (double)t->beta_ucr_per_gbit_s / ECON_UCR_PER_USD,
			 "gamma_usd_s_per_gbit", (double)t->gamma_ucr_s_per_gbit / ECON_UCR_PER_USD,
			 "delta_usd_per_gbit", "infinite", "x", t->x,
			 "slo_us", (double)t->slo_ns / 1000,
			 "time_scale", t->time_scale_ppm / (double)ECON_TIME_SCALE_ONE,
			 "profit_unit", "$ per second; latencies divided by time_scale first");
}

static bool seen_boot(json_t *boots, json_t *boot)
{
	size_t i;
	json_t *b;

	json_array_foreach(boots, i, b)
		if (json_equal(b, boot))
			return true;
	return false;
}

/* Split into the machine line and measurements; profit added to a copy of these. */
static int sort_lines(json_t *lines, json_t *machine, json_t *good, json_t *boots,
		      char *err, size_t n)
{
	size_t i;
	json_t *line;

	json_array_foreach(lines, i, line) {
		json_t *about = json_object_get(line, "machine");
		const char *trouble;

		if (json_is_object(about)) {
			json_object_update_missing(machine, about);
			continue;
		}
		trouble = line_trouble(line);
		if (trouble) {
			snprintf(err, n, "entry %zu: %s", i + 1, trouble);
			return -EINVAL;
		}
		if (!seen_boot(boots, json_object_get(line, "boot")))
			json_array_append(boots, json_object_get(line, "boot"));
		json_array_append_new(good, json_copy(line));
	}
	if (!json_array_size(good)) {
		snprintf(err, n, "no measurements");
		return -EINVAL;
	}
	if (json_array_size(good) > LINES_MAX) {
		snprintf(err, n, "more than %d measurements", LINES_MAX);
		return -E2BIG;
	}
	return 0;
}

static int value_lines(json_t *machine, json_t *good, double time_scale, struct econ_terms *terms,
		       char *err, size_t n)
{
	size_t i;
	json_t *line;

	if (!time_scale && !get_number(machine, "time_scale", &time_scale))
		time_scale = 1;
	if (!(time_scale >= 0.001) || !(time_scale <= 4000)) {
		snprintf(err, n, "the time scale must be 0.001 to 4000");
		return -EINVAL;
	}
	econ_terms_thesis(terms);
	terms->time_scale_ppm = (uint32_t)llround(time_scale * ECON_TIME_SCALE_ONE);
	json_object_set_new(machine, "time_scale", json_real(time_scale));
	json_array_foreach(good, i, line) {
		if (add_profit(line, terms)) {
			snprintf(err, n, "measurement %zu: no profit can be made of its figures", i + 1);
			return -EINVAL;
		}
	}
	return 0;
}

json_t *nomctl_compare_lines(json_t *lines, double time_scale, char *err, size_t n)
{
	json_t *machine = json_object(), *good = json_array(), *boots = json_array(), *out = NULL;
	struct econ_terms terms;

	if (!sort_lines(lines, machine, good, boots, err, n) &&
	    !value_lines(machine, good, time_scale, &terms, err, n))
		out = json_pack("{s:O,s:I,s:o,s:o}", "machine", machine,
				"runs", (json_int_t)json_array_size(boots),
				"terms", terms_json(&terms), "results", results_of(good));
	json_decref(machine);
	json_decref(good);
	json_decref(boots);
	return out;
}
