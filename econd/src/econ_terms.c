// SPDX-License-Identifier: MIT
/* A business arrangement from JSON text. */
#include <econ/valuation.h>

#include <errno.h>
#include <math.h>
#include <string.h>

#include <econ/money.h>

#include "econ_json.h"

/* Absent: leave *ucr alone. */
static int get_money(json_t *root, const char *key, const struct econ_err *err, int64_t *ucr)
{
	json_t *v = json_object_get(root, key);

	if (!v)
		return 0;
	if (!json_is_number(v) || econ_money_from_usd(json_number_value(v), ucr))
		return econ_err_set(err, -EINVAL, "\"%s\" must be a number of dollars", key);
	return 0;
}

static int get_delta(json_t *root, const struct econ_err *err, int64_t *ucr)
{
	json_t *v = json_object_get(root, "delta");

	if (v && json_is_string(v)) {
		if (strcmp(json_string_value(v), "infinite"))
			return econ_err_set(err, -EINVAL,
					    "\"delta\" must be a number or \"infinite\"");
		*ucr = ECON_INFINITE;
		return 0;
	}
	return get_money(root, "delta", err, ucr);
}

static int get_factors(json_t *root, const struct econ_err *err, struct econ_terms *t)
{
	json_t *x = json_object_get(root, "x");
	json_t *slo = json_object_get(root, "slo_us");
	json_t *scale = json_object_get(root, "time_scale");
	double v;

	if (x) {
		if (!json_is_number(x))
			return econ_err_set(err, -EINVAL, "\"x\" must be a number");
		t->x = json_number_value(x);
	}
	if (slo) {
		v = json_number_value(slo);
		if (!json_is_number(slo) || !(v >= 0.001) || !(v <= 1e12))
			return econ_err_set(err, -EINVAL,
					    "\"slo_us\" must be 0.001 to 10^12 microseconds");
		t->slo_ns = (uint64_t)llround(v * 1000);
	}
	if (scale) {
		v = json_number_value(scale);
		if (!json_is_number(scale) || !(v >= 0.001) || !(v <= 4000))
			return econ_err_set(err, -EINVAL,
					    "\"time_scale\" must be 0.001 to 4000");
		t->time_scale_ppm = (uint32_t)llround(v * ECON_TIME_SCALE_ONE);
	}
	return 0;
}

static int get_form(json_t *root, const struct econ_err *err, enum econ_form *form_out)
{
	json_t *v = json_object_get(root, "form");
	enum econ_form form;

	if (!v)
		return 0;
	if (econ_form_parse(json_string_value(v), &form))
		return econ_err_set(err, -EINVAL,
				    "\"form\" must be \"penalty\", \"refund\" or \"bonus\"");
	if (form_out)
		*form_out = form;
	return 0;
}

static int terms_from_json(json_t *root, const struct econ_err *err, struct econ_terms *t,
			   enum econ_form *form)
{
	static const char *const keys[] = {
		"alpha", "beta", "gamma", "delta", "x", "slo_us", "time_scale", "form",
		"comment", NULL,
	};
	char why[128];
	const char *unknown;
	int ret;

	if (!json_is_object(root))
		return econ_err_set(err, -EINVAL, "must be an object");
	unknown = econ_json_unknown(root, keys);
	if (unknown)
		return econ_err_set(err, -EINVAL, "unknown key \"%s\"", unknown);
	ret = get_money(root, "alpha", err, &t->alpha_ucr_per_gbit);
	if (!ret)
		ret = get_money(root, "beta", err, &t->beta_ucr_per_gbit_s);
	if (!ret)
		ret = get_money(root, "gamma", err, &t->gamma_ucr_s_per_gbit);
	if (!ret)
		ret = get_delta(root, err, &t->delta_ucr_per_gbit);
	if (!ret)
		ret = get_factors(root, err, t);
	if (!ret && econ_terms_check(t, why, sizeof(why)))
		ret = econ_err_set(err, -EINVAL, "%s", why);
	if (!ret)
		ret = get_form(root, err, form);
	return ret;
}

int econ_terms_parse(const char *text, size_t len, const char *name,
		     struct econ_terms *terms_out, enum econ_form *form_out,
		     char *err, size_t n)
{
	struct econ_err e = { name, err, n };
	struct econ_terms terms;
	json_t *root;
	int ret = econ_json_parse(text, len, &e, &root);

	if (ret)
		return ret;
	econ_terms_thesis(&terms);
	ret = terms_from_json(root, &e, &terms, form_out);
	if (!ret)
		*terms_out = terms;
	json_decref(root);
	return ret;
}
