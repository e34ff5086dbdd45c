// SPDX-License-Identifier: MIT
/* Equations 4.1 to 4.3 of the thesis.  Units and edges: econ/valuation.h. */
#include <econ/valuation.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <econ/money.h>

static const char *const form_names[ECON_NR_FORMS] = {
	[ECON_PENALTY] = "penalty",
	[ECON_REFUND] = "refund",
	[ECON_BONUS] = "bonus",
};

const char *econ_form_name(enum econ_form form)
{
	return (unsigned)form < ECON_NR_FORMS ? form_names[form] : NULL;
}

int econ_form_parse(const char *name, enum econ_form *form_out)
{
	for (unsigned i = 0; name && i < ECON_NR_FORMS; i++) {
		if (!strcmp(name, form_names[i])) {
			*form_out = (enum econ_form)i;
			return 0;
		}
	}
	return -EINVAL;
}

void econ_terms_thesis(struct econ_terms *terms)
{
	*terms = (struct econ_terms) {
		.alpha_ucr_per_gbit = 20 * ECON_UCR_PER_USD,
		.beta_ucr_per_gbit_s = 10 * ECON_UCR_PER_USD,
		.gamma_ucr_s_per_gbit = ECON_UCR_PER_USD / 100,
		.delta_ucr_per_gbit = ECON_INFINITE,
		.x = 100,
		.slo_ns = 750000,
		.time_scale_ppm = ECON_TIME_SCALE_ONE,
	};
}

static int bad_term(char *err, size_t n, const char *what)
{
	if (err && n)
		snprintf(err, n, "%s", what);
	return -EINVAL;
}

int econ_terms_check(const struct econ_terms *t, char *err, size_t n)
{
	if (econ_price_check(t->alpha_ucr_per_gbit))
		return bad_term(err, n, "alpha must be 0 to 10^9 $/Gbit");
	if (econ_price_check(t->beta_ucr_per_gbit_s))
		return bad_term(err, n, "beta must be 0 to 10^9 $/(Gbit s)");
	if (econ_price_check(t->gamma_ucr_s_per_gbit))
		return bad_term(err, n, "gamma must be 0 to 10^9 $ s/Gbit");
	if (t->delta_ucr_per_gbit != ECON_INFINITE && econ_price_check(t->delta_ucr_per_gbit))
		return bad_term(err, n, "delta must be 0 to 10^9 $/Gbit, or infinite");
	if (!isfinite(t->x) || !(t->x == 0 || t->x >= 2))
		return bad_term(err, n,
				"x must be 0 or at least 2 (between, the penalty would reward jitter)");
	if (!t->slo_ns)
		return bad_term(err, n, "the SLO must be above 0");
	return 0;
}

static int check_point(const struct econ_point *p)
{
	/* !(a >= 0) also catches NaN */
	if (!(p->throughput_gbps >= 0) || !isfinite(p->throughput_gbps) ||
	    !(p->latency_mean_ns >= 0) || !isfinite(p->latency_mean_ns) ||
	    !(p->latency_sd_ns >= 0) || !isfinite(p->latency_sd_ns))
		return -EINVAL;
	return 0;
}

static double time_scale(const struct econ_terms *t)
{
	return t->time_scale_ppm ? t->time_scale_ppm / (double)ECON_TIME_SCALE_ONE : 1.0;
}

/* N(L0, L, sd): the tail of a normal distribution above L0. */
static double normal_tail(double l0, double mean, double sd)
{
	if (sd == 0)
		return mean > l0 ? 1 : 0;
	return 0.5 * erfc((l0 - mean) / (sd * M_SQRT2));
}

static double violation(const struct econ_terms *t, const struct econ_point *p)
{
	double scale = time_scale(t);

	return normal_tail((double)t->slo_ns, p->latency_mean_ns / scale,
			   p->latency_sd_ns / scale);
}

int econ_slo_violation(const struct econ_terms *terms, const struct econ_point *point,
		       double *probability_out)
{
	if (econ_terms_check(terms, NULL, 0) || check_point(point))
		return -EINVAL;
	*probability_out = violation(terms, point);
	return 0;
}

/* min(gamma / L, delta); infinite only at L = 0 with an infinite delta */
static double bonus_ucr(const struct econ_terms *t, double latency_s)
{
	double bonus = t->gamma_ucr_s_per_gbit ? (double)t->gamma_ucr_s_per_gbit / latency_s : 0;

	if (t->delta_ucr_per_gbit == ECON_INFINITE)
		return bonus;
	return fmin(bonus, (double)t->delta_ucr_per_gbit);
}

/* What users pay per Gbit, in ucr: the bracket of each equation without - P. */
static double value_ucr_per_gbit(enum econ_form form, const struct econ_terms *t,
				 const struct econ_point *p)
{
	double alpha = (double)t->alpha_ucr_per_gbit;
	double latency_s = p->latency_mean_ns / time_scale(t) / 1e9;

	switch (form) {
	case ECON_PENALTY:
		return alpha * (1 - fmin(1, t->x * violation(t, p)));
	case ECON_REFUND:
		return fmax(0, alpha - (double)t->beta_ucr_per_gbit_s * latency_s);
	default:
		return alpha + bonus_ucr(t, latency_s);
	}
}

int econ_profit_ucr_per_s(enum econ_form form, const struct econ_terms *terms,
			  const struct econ_point *point, int64_t price_ucr_per_gbit,
			  int64_t *profit_out)
{
	double profit;

	if ((unsigned)form >= ECON_NR_FORMS || price_ucr_per_gbit < 0 ||
	    econ_terms_check(terms, NULL, 0) || check_point(point))
		return -EINVAL;
	/* Nothing sent earns and costs nothing, whatever a Gbit would be worth. */
	if (point->throughput_gbps == 0) {
		*profit_out = 0;
		return 0;
	}
	profit = point->throughput_gbps *
		 (value_ucr_per_gbit(form, terms, point) - (double)price_ucr_per_gbit);
	if (!(fabs(profit) < 0x1p63))
		return -EOVERFLOW;
	*profit_out = llround(profit);
	return 0;
}

int econ_revenue_ucr_per_s(enum econ_form form, const struct econ_terms *terms,
			   const struct econ_point *point, int64_t *revenue_out)
{
	return econ_profit_ucr_per_s(form, terms, point, 0, revenue_out);
}
