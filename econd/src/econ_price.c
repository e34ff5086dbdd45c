// SPDX-License-Identifier: MIT
/* Price files and traces from JSON text; the place in a trace being played. */
#include <econ/price.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <econ/money.h>

#include "econ_json.h"

struct econ_prices {
	bool trace;
	uint64_t period_ns;		/* 0 unless the steps are played again */
	uint64_t loops;			/* 0: without end */
	unsigned nr;
	struct econ_step *steps;	/* each owns its prices */
};

int econ_price_name_check(const char *name)
{
	size_t len = strlen(name);

	if (!len || len >= ECON_PRICE_NAME_MAX ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") != len)
		return -EINVAL;
	return 0;
}

int econ_price_unit_check(const char *unit)
{
	size_t len = strlen(unit);

	if (len >= ECON_PRICE_NAME_MAX)
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if (unit[i] <= ' ' || unit[i] > '~')
			return -EINVAL;
	return 0;
}

/* One price.  @where: "step 3, price 1" */
static int get_amount(json_t *j, const char *where, const struct econ_err *err, int64_t *ucr)
{
	json_t *usd = json_object_get(j, "usd"), *raw = json_object_get(j, "ucr");
	int ret = 0;

	if (!usd == !raw)
		return econ_err_set(err, -EINVAL, "%s: give either \"usd\" or \"ucr\"", where);
	if (raw) {
		if (!json_is_integer(raw))
			return econ_err_set(err, -EINVAL, "%s: \"ucr\" must be an integer", where);
		*ucr = json_integer_value(raw);
	} else {
		if (!json_is_number(usd))
			return econ_err_set(err, -EINVAL, "%s: \"usd\" must be a number", where);
		ret = econ_money_from_usd(json_number_value(usd), ucr);
		/* -0.0000001 rounds to 0, yet is no price */
		if (!ret && json_number_value(usd) < 0)
			ret = -ERANGE;
	}
	if (ret || econ_price_check(*ucr))
		return econ_err_set(err, -ERANGE, "%s: a price must be 0 to 10^9 $", where);
	return 0;
}

static int get_price(json_t *j, const char *where, const struct econ_err *err,
		     struct econ_price *price)
{
	static const char *const keys[] = { "name", "unit", "usd", "ucr", "comment", NULL };
	const char *name, *unit, *unknown;

	if (!json_is_object(j))
		return econ_err_set(err, -EINVAL, "%s: must be an object", where);
	unknown = econ_json_unknown(j, keys);
	if (unknown)
		return econ_err_set(err, -EINVAL, "%s: unknown key \"%s\"", where, unknown);
	name = json_string_value(json_object_get(j, "name"));
	if (!name || econ_price_name_check(name))
		return econ_err_set(err, -EINVAL,
				    "%s: \"name\" must be 1 to %d of a-z 0-9 _ . -", where,
				    ECON_PRICE_NAME_MAX - 1);
	unit = "";
	if (json_object_get(j, "unit"))
		unit = json_string_value(json_object_get(j, "unit"));
	if (!unit || econ_price_unit_check(unit))
		return econ_err_set(err, -EINVAL,
				    "%s: \"unit\" must be at most %d printable characters", where,
				    ECON_PRICE_NAME_MAX - 1);
	strcpy(price->name, name);
	strcpy(price->unit, unit);
	return get_amount(j, where, err, &price->ucr);
}

static int get_prices(json_t *list, const char *step, const struct econ_err *err,
		      struct econ_step *out)
{
	struct econ_price *prices;
	size_t i, nr = json_array_size(list);
	json_t *j;
	int ret = 0;

	if (!json_is_array(list) || !nr)
		return econ_err_set(err, -EINVAL, "%s\"prices\" must be a list of at least one", step);
	if (nr > ECON_PRICES_MAX)
		return econ_err_set(err, -E2BIG, "%smore than %d prices", step, ECON_PRICES_MAX);
	prices = calloc(nr, sizeof(*prices));
	if (!prices)
		return -ENOMEM;
	json_array_foreach(list, i, j) {
		char where[64];

		snprintf(where, sizeof(where), "%sprice %zu", step, i + 1);
		ret = get_price(j, where, err, &prices[i]);
		for (size_t k = 0; !ret && k < i; k++)
			if (!strcmp(prices[k].name, prices[i].name))
				ret = econ_err_set(err, -EINVAL, "%s: \"%s\" is there twice",
						   where, prices[i].name);
		if (ret) {
			free(prices);
			return ret;
		}
	}
	out->prices = prices;
	out->nr = (unsigned)nr;
	return 0;
}

static int get_time(json_t *v, const char *what, const struct econ_err *err, uint64_t *ns)
{
	double s = json_number_value(v);

	if (!json_is_number(v) || !(s >= 0) || !(s <= ECON_AT_MAX_S))
		return econ_err_set(err, -EINVAL, "%s must be a number of seconds, 0 to %g", what,
				    ECON_AT_MAX_S);
	*ns = (uint64_t)llround(s * 1e9);
	return 0;
}

static int get_step(json_t *j, size_t i, const struct econ_err *err, struct econ_prices *p)
{
	static const char *const keys[] = { "at_s", "prices", "comment", NULL };
	struct econ_step *step = &p->steps[i];
	const char *unknown;
	char where[64];
	int ret;

	snprintf(where, sizeof(where), "step %zu: ", i + 1);
	if (!json_is_object(j))
		return econ_err_set(err, -EINVAL, "%smust be an object", where);
	unknown = econ_json_unknown(j, keys);
	if (unknown)
		return econ_err_set(err, -EINVAL, "%sunknown key \"%s\"", where, unknown);
	snprintf(where, sizeof(where), "step %zu: \"at_s\"", i + 1);
	ret = get_time(json_object_get(j, "at_s"), where, err, &step->at_ns);
	if (ret)
		return ret;
	if (i && step->at_ns <= p->steps[i - 1].at_ns)
		return econ_err_set(err, -EINVAL, "step %zu: \"at_s\" is not after the step before",
				    i + 1);
	snprintf(where, sizeof(where), "step %zu: ", i + 1);
	return get_prices(json_object_get(j, "prices"), where, err, step);
}

static int get_repeat(json_t *root, const struct econ_err *err, struct econ_prices *p)
{
	json_t *loops = json_object_get(root, "loops"), *period = json_object_get(root, "period_s");
	int ret;

	p->loops = 1;
	if (loops) {
		if (!json_is_integer(loops) || json_integer_value(loops) < 0 ||
		    json_integer_value(loops) > 1000000)
			return econ_err_set(err, -EINVAL,
					    "\"loops\" must be an integer 0 to 1,000,000 (0: without end)");
		p->loops = (uint64_t)json_integer_value(loops);
	}
	if (period) {
		ret = get_time(period, "\"period_s\"", err, &p->period_ns);
		if (ret)
			return ret;
		if (p->period_ns < 1000000)
			return econ_err_set(err, -EINVAL, "\"period_s\" must be at least 0.001");
	}
	if (p->loops != 1 && (!period || p->period_ns <= p->steps[p->nr - 1].at_ns))
		return econ_err_set(err, -EINVAL,
				    "\"loops\" needs a \"period_s\" later than the last step");
	return 0;
}

static int get_trace(json_t *root, const struct econ_err *err, struct econ_prices *p)
{
	json_t *list = json_object_get(root, "steps"), *j;
	size_t i, nr = json_array_size(list);
	int ret;

	if (!json_is_array(list) || !nr)
		return econ_err_set(err, -EINVAL, "\"steps\" must be a list of at least one");
	if (nr > ECON_STEPS_MAX)
		return econ_err_set(err, -E2BIG, "more than %d steps", ECON_STEPS_MAX);
	p->steps = calloc(nr, sizeof(*p->steps));
	if (!p->steps)
		return -ENOMEM;
	p->trace = true;
	json_array_foreach(list, i, j) {
		p->nr = (unsigned)i + 1;	/* what destroy has to look at */
		ret = get_step(j, i, err, p);
		if (ret)
			return ret;
	}
	return get_repeat(root, err, p);
}

static int get_file(json_t *root, const struct econ_err *err, struct econ_prices *p)
{
	if (json_object_get(root, "loops") || json_object_get(root, "period_s"))
		return econ_err_set(err, -EINVAL, "\"loops\" and \"period_s\" need \"steps\"");
	p->steps = calloc(1, sizeof(*p->steps));
	if (!p->steps)
		return -ENOMEM;
	p->nr = 1;
	p->loops = 1;
	return get_prices(json_object_get(root, "prices"), "", err, p->steps);
}

int econ_prices_parse(const char *text, size_t len, const char *name,
		      struct econ_prices **prices_out, char *err, size_t n)
{
	static const char *const keys[] = {
		"prices", "steps", "loops", "period_s", "comment", NULL,
	};
	struct econ_err e = { name, err, n };
	struct econ_prices *p;
	const char *unknown;
	json_t *root;
	int ret = econ_json_parse(text, len, &e, &root);

	if (ret)
		return ret;
	p = calloc(1, sizeof(*p));
	unknown = econ_json_unknown(root, keys);
	if (!p)
		ret = -ENOMEM;
	else if (!json_is_object(root))
		ret = econ_err_set(&e, -EINVAL, "must be an object");
	else if (unknown)
		ret = econ_err_set(&e, -EINVAL, "unknown key \"%s\"", unknown);
	else if (!json_object_get(root, "steps") == !json_object_get(root, "prices"))
		ret = econ_err_set(&e, -EINVAL, "give either \"prices\" or \"steps\"");
	else
		ret = json_object_get(root, "steps") ? get_trace(root, &e, p) : get_file(root, &e, p);
	json_decref(root);
	if (ret) {
		econ_prices_destroy(p);
		return ret;
	}
	*prices_out = p;
	return 0;
}

void econ_prices_destroy(struct econ_prices *prices)
{
	if (!prices)
		return;
	for (unsigned i = 0; prices->steps && i < prices->nr; i++)
		free((void *)prices->steps[i].prices);
	free(prices->steps);
	free(prices);
}

bool econ_prices_is_trace(const struct econ_prices *prices)
{
	return prices->trace;
}

unsigned econ_prices_nr_steps(const struct econ_prices *prices)
{
	return prices->nr;
}

const struct econ_step *econ_prices_step(const struct econ_prices *prices, unsigned i)
{
	return &prices->steps[i];
}

int econ_cursor_next(const struct econ_prices *p, const struct econ_cursor *c,
		     uint64_t *at_ns_out)
{
	if (p->loops && c->loop >= p->loops)
		return 0;
	/* Its end, after 584 years, is that of nanoseconds in 64 bits. */
	return !__builtin_mul_overflow(c->loop, p->period_ns, at_ns_out) &&
	       !__builtin_add_overflow(*at_ns_out, p->steps[c->step].at_ns, at_ns_out);
}

void econ_cursor_advance(const struct econ_prices *p, struct econ_cursor *c)
{
	if (++c->step == p->nr) {
		c->step = 0;
		c->loop++;
	}
}

uint64_t econ_cursor_seek(const struct econ_prices *p, struct econ_cursor *c, uint64_t at_ns)
{
	uint64_t loop = p->period_ns && p->loops != 1 ? at_ns / p->period_ns : 0;

	if (p->loops && loop > p->loops)
		loop = p->loops;
	c->step = 0;
	c->loop = loop ? loop - 1 : 0;
	return loop;
}
