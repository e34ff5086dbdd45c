// SPDX-License-Identifier: MIT
/* One line of the ledger from its inputs; fields: econ/ledger.h. */
#include <econ/ledger.h>

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <econ/money.h>

#define APP_CHARS	64

/* A name that cannot break out of its JSON string. */
static void clean_name(const char *app, char out[APP_CHARS])
{
	size_t i;

	for (i = 0; app && app[i] && i < APP_CHARS - 1; i++) {
		char c = app[i];

		out[i] = c < ' ' || c > '~' || c == '"' || c == '\\' ? '?' : c;
	}
	out[i] = '\0';
}

/* micro-credits a second, over an interval */
static int over_interval(int64_t ucr_per_s, uint64_t interval_ns, int64_t *ucr_out)
{
	__int128 v = (__int128)ucr_per_s * (__int128)interval_ns / 1000000000;

	if (v > INT64_MAX || v < INT64_MIN)
		return -EOVERFLOW;
	*ucr_out = (int64_t)v;
	return 0;
}

struct result {
	bool known;
	int64_t revenue_ucr, cost_ucr, profit_ucr;
};

static int settle(const struct econ_ledger_line *l, const struct econ_terms *terms,
		  enum econ_form form, double gbps, struct result *r)
{
	struct econ_point point = { gbps, l->latency_mean_ns, l->latency_sd_ns };
	double cost = (double)l->bytes * 8 / 1e9 * (double)l->price_ucr_per_gbit;
	int64_t per_s;
	int ret;

	if (!(cost < 0x1p62))
		return -EOVERFLOW;
	r->cost_ucr = llround(cost);
	r->known = l->latency_known || !l->bytes;
	if (!r->known)
		return 0;
	if (!l->latency_known)
		point.latency_mean_ns = point.latency_sd_ns = 0;
	ret = econ_revenue_ucr_per_s(form, terms, &point, &per_s);
	if (!ret)
		ret = over_interval(per_s, l->interval_ns, &r->revenue_ucr);
	r->profit_ucr = r->revenue_ucr - r->cost_ucr;
	return ret;
}

static const char *money_or_null(bool known, int64_t ucr, char *buf, size_t n)
{
	return known ? econ_money_format(ucr, buf, n) : "null";
}

int econ_ledger_format(const struct econ_ledger_line *l, const struct econ_terms *terms,
		       enum econ_form form, char *buf, size_t n)
{
	char price[ECON_MONEY_CHARS], revenue[ECON_MONEY_CHARS], cost[ECON_MONEY_CHARS];
	char profit[ECON_MONEY_CHARS], mean[32] = "null", sd[32] = "null", app[APP_CHARS];
	struct result r = { 0 };
	double interval_s, gbps;
	int ret, len;

	if (!l->interval_ns || econ_price_check(l->price_ucr_per_gbit) ||
	    !econ_form_name(form) || econ_terms_check(terms, NULL, 0))
		return -EINVAL;
	interval_s = (double)l->interval_ns / 1e9;
	gbps = (double)l->bytes * 8 / 1e9 / interval_s;
	ret = settle(l, terms, form, gbps, &r);
	if (ret)
		return ret;
	if (l->latency_known) {
		snprintf(mean, sizeof(mean), "%.3f", l->latency_mean_ns / 1000);
		snprintf(sd, sizeof(sd), "%.3f", l->latency_sd_ns / 1000);
	}
	clean_name(l->app, app);
	len = snprintf(buf, n,
		"{\"time_s\": %" PRIu64 ".%03u, \"interval_s\": %.6f, \"app\": \"%s\", "
		"\"form\": \"%s\", \"price_usd_per_gbit\": %s, \"connections\": %" PRIu32 ", "
		"\"requests\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"gbps\": %.9g, "
		"\"w_us\": %" PRIu32 ", \"latency_mean_us\": %s, \"latency_sd_us\": %s, "
		"\"time_scale\": %g, \"revenue_usd\": %s, \"cost_usd\": %s, \"profit_usd\": %s}\n",
		l->time_unix_ns / 1000000000, (unsigned)(l->time_unix_ns / 1000000 % 1000),
		interval_s, app, econ_form_name(form),
		econ_money_format(l->price_ucr_per_gbit, price, sizeof(price)),
		l->connections, l->requests, l->bytes, gbps, l->w_us, mean, sd,
		terms->time_scale_ppm ? terms->time_scale_ppm / 1e6 : 1.0,
		money_or_null(r.known, r.revenue_ucr, revenue, sizeof(revenue)),
		econ_money_format(r.cost_ucr, cost, sizeof(cost)),
		money_or_null(r.known, r.profit_ucr, profit, sizeof(profit)));
	return len < 0 || (size_t)len >= n ? -ENOSPC : len;
}
