/* SPDX-License-Identifier: MIT */
/*
 * Valuation functions: what a server earns at a given throughput, latency,
 * jitter and price of bandwidth.  Thesis chapter 4, equations 4.1 to 4.3:
 *
 *   penalty  U = T * (alpha * (1 - min(1, X * N(L0, L, sd))) - P)
 *   refund   U = T * (max(0, alpha - beta * L) - P)
 *   bonus    U = T * (alpha + min(gamma / L, delta) - P)
 *
 * N(L0, L, sd) is the probability that a normally distributed latency with mean
 * L and standard deviation sd exceeds L0; with sd 0 it is 1 if L > L0, else 0.
 *
 * Units.  T in Gbit/s (10^9 bit/s), P, alpha and delta in $/Gbit, U in $/s.
 * Section 6.4 gives gamma in "$/(Gbit s)"; gamma / L is $/Gbit only if gamma is
 * $ s/Gbit and L is in seconds.  beta is given as "$10/Gbit", the unit of L left
 * out; here L is in seconds in both, so beta is $/(Gbit s).  (Who reads the
 * thesis as L in milliseconds for the refund writes beta as 10,000.)
 *
 * The machine's time scale.  On an emulated machine everything takes longer by
 * some factor; an SLO of 750 us means nothing there.  @time_scale_ppm divides L
 * and sd once, before any of the three functions sees them, which for the
 * penalty is the same as multiplying the SLO.  It must be stated wherever
 * profits are.
 *
 * The utility axiom, and where it needs care (tests/unit/test_econ_axiom.c):
 * - "weakly increasing in throughput" is meant at the same *total* cost T * P,
 *   latency and jitter.  At a fixed unit price above what a unit earns, more
 *   throughput loses more; that is no violation.
 * - "weakly decreasing in jitter": when L > L0, more jitter makes N smaller
 *   (towards 1/2).  With X >= 2 the penalty is total there anyway and the axiom
 *   holds; with 0 < X < 2 the function would pay for jitter, so such an X is
 *   refused.
 */
#ifndef ECON_VALUATION_H
#define ECON_VALUATION_H

#include <stddef.h>
#include <stdint.h>

enum econ_form {
	ECON_PENALTY,		/* equation 4.1 */
	ECON_REFUND,		/* equation 4.2 */
	ECON_BONUS,		/* equation 4.3 */
	ECON_NR_FORMS,
};

#define ECON_INFINITE		INT64_MAX	/* delta_ucr_per_gbit without limit */
#define ECON_TIME_SCALE_ONE	1000000U	/* time_scale_ppm of a real machine */

/**
 * struct econ_terms - a business arrangement, with users and provider
 * @alpha_ucr_per_gbit: what users pay; 0 .. ECON_PRICE_MAX_UCR
 * @beta_ucr_per_gbit_s: refund per second of mean latency; same range
 * @gamma_ucr_s_per_gbit: bonus times seconds of mean latency; same range
 * @delta_ucr_per_gbit: most the bonus may be, or ECON_INFINITE
 * @x: penalty factor; 0 or >= 2, finite
 * @slo_ns: L0, the highest latency the SLA allows, in unscaled time; > 0
 * @time_scale_ppm: latencies are divided by this / 1,000,000; 0 means 1,000,000
 */
struct econ_terms {
	int64_t alpha_ucr_per_gbit;
	int64_t beta_ucr_per_gbit_s;
	int64_t gamma_ucr_s_per_gbit;
	int64_t delta_ucr_per_gbit;
	double x;
	uint64_t slo_ns;
	uint32_t time_scale_ppm;
};

/**
 * struct econ_point - how a server runs
 * @throughput_gbps: T, outgoing, in Gbit/s; >= 0, finite
 * @latency_mean_ns: L as measured, not scaled; >= 0, finite
 * @latency_sd_ns: jitter as measured, not scaled; >= 0, finite
 */
struct econ_point {
	double throughput_gbps;
	double latency_mean_ns;
	double latency_sd_ns;
};

/**
 * econ_terms_thesis - the terms of thesis section 6.4
 * @terms: alpha 20, beta 10, gamma 0.01, delta infinite, X 100, SLO 750 us,
 *	time scale 1
 */
void econ_terms_thesis(struct econ_terms *terms);

/**
 * econ_terms_check - are these terms ones the functions can honour?
 * @terms: to be checked
 * @err: gets one line naming the field that is wrong; may be NULL
 * @n: size of @err
 *
 * Return: 0, -EINVAL.
 */
int econ_terms_check(const struct econ_terms *terms, char *err, size_t n);

/**
 * econ_profit_ucr_per_s - U of one of the three forms
 * @form: which
 * @terms: the arrangement
 * @point: how the server runs
 * @price_ucr_per_gbit: P, >= 0
 * @profit_out: in micro-credits a second, rounded to nearest; may be negative
 *
 * Pure; threads: any; no allocation.
 * Return: 0, -EINVAL (unknown form, bad terms, NaN, infinite or negative
 * values), -EOVERFLOW (unbounded: a bonus with infinite delta at latency 0; or
 * more than an int64_t holds).  @profit_out is untouched on error.
 */
int econ_profit_ucr_per_s(enum econ_form form, const struct econ_terms *terms,
			  const struct econ_point *point,
			  int64_t price_ucr_per_gbit, int64_t *profit_out);

/**
 * econ_revenue_ucr_per_s - the same without the provider's charge (P = 0)
 *
 * profit = revenue - T * P, up to rounding.  Errors as above.
 */
int econ_revenue_ucr_per_s(enum econ_form form, const struct econ_terms *terms,
			   const struct econ_point *point, int64_t *revenue_out);

/**
 * econ_slo_violation - N(L0, L, sd) of the penalty form, time scale applied
 * @terms: gives L0 and the time scale
 * @point: gives L and sd
 * @probability_out: 0 .. 1
 *
 * Return: 0, -EINVAL.
 */
int econ_slo_violation(const struct econ_terms *terms, const struct econ_point *point,
		       double *probability_out);

/** econ_form_name - "penalty", "refund", "bonus"; NULL for anything else */
const char *econ_form_name(enum econ_form form);

/** econ_form_parse - the reverse; 0 or -EINVAL */
int econ_form_parse(const char *name, enum econ_form *form_out);

/**
 * econ_terms_parse - terms from JSON text
 * @text: object with any of alpha, beta, gamma, delta (number or "infinite"),
 *	x, slo_us, time_scale, form; dollars, microseconds and plain factors.  What
 *	is absent keeps its value of section 6.4.  An unknown key is an error.
 * @len: bytes of @text
 * @name: what to call it in messages, a file name
 * @terms_out: the terms
 * @form_out: the form; untouched if the text has none.  May be NULL.
 * @err: gets one line on failure; may be NULL
 * @n: size of @err
 *
 * Return: 0, -EINVAL.
 */
int econ_terms_parse(const char *text, size_t len, const char *name,
		     struct econ_terms *terms_out, enum econ_form *form_out,
		     char *err, size_t n);

/**
 * econ_terms_load - econ_terms_parse() of a file; also -errno of reading it
 */
int econ_terms_load(const char *path, struct econ_terms *terms_out,
		    enum econ_form *form_out, char *err, size_t n);

#endif /* ECON_VALUATION_H */
