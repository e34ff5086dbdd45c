// SPDX-License-Identifier: MIT
/* The W that makes the most profit now.  Contract: econ/controller.h. */
#include <econ/controller.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <econ/money.h>

#define NO_INDEX	UINT32_MAX	/* W in force is not in the table */

struct econ_controller {
	const struct econ_table *table;		/* borrowed; NULL: hold W */
	struct econ_terms terms;
	enum econ_form form;
	uint32_t hysteresis_ppm;
	uint32_t w_us;				/* in force */
	bool decided;				/* w_us means something */
	bool stepped;				/* so does last */

	/* The last step, for econ_controller_explain(). */
	struct {
		int64_t price_ucr;
		uint32_t connections;
		uint32_t old_w_us;
		uint32_t best_w_us;
		struct econ_point point;	/* expected with the W in force */
		int64_t profit;			/* with the W in force */
		int64_t best_profit;
		int64_t old_profit;
		bool old_known;			/* the old W was in the table */
		bool first;
	} last;
};

int econ_controller_create(const struct econ_table *table, const struct econ_terms *terms,
			   enum econ_form form, struct econ_controller **controller_out)
{
	struct econ_controller *c;

	if (!econ_form_name(form) || econ_terms_check(terms, NULL, 0))
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->table = table;
	c->terms = *terms;
	c->form = form;
	c->hysteresis_ppm = ECON_HYSTERESIS_PPM;
	*controller_out = c;
	return 0;
}

void econ_controller_destroy(struct econ_controller *controller)
{
	free(controller);
}

int econ_controller_set_hysteresis(struct econ_controller *controller, uint32_t ppm)
{
	if (ppm > 1000000)
		return -EINVAL;
	controller->hysteresis_ppm = ppm;
	return 0;
}

void econ_controller_set_w(struct econ_controller *controller, uint32_t w_us)
{
	controller->w_us = w_us;
	controller->decided = true;
}

uint32_t econ_controller_w_us(const struct econ_controller *controller)
{
	return controller->w_us;
}

int econ_controller_set_form(struct econ_controller *controller, enum econ_form form)
{
	if (!econ_form_name(form))
		return -EINVAL;
	controller->form = form;
	return 0;
}

/* Profits as magnitudes: |INT64_MIN| fits. */
static uint64_t magnitude(int64_t v)
{
	return v < 0 ? -(uint64_t)v : (uint64_t)v;
}

/* Is @best enough above @now?  A share of the larger magnitude, so that profits
 * near zero do not make the margin vanish. */
static bool worth_moving(const struct econ_controller *c, int64_t best, int64_t now)
{
	uint64_t size = magnitude(best) > magnitude(now) ? magnitude(best) : magnitude(now);
	uint64_t gain = (uint64_t)best - (uint64_t)now;

	if (best <= now)
		return false;
	return (unsigned __int128)gain * 1000000 > (unsigned __int128)size * c->hysteresis_ppm;
}

static int step_without_table(struct econ_controller *c, int64_t price, uint32_t connections,
			      uint32_t *w_us_out)
{
	bool first = !c->decided;

	c->last.first = first;
	c->last.price_ucr = price;
	c->last.connections = connections;
	c->last.old_w_us = c->w_us;
	c->decided = c->stepped = true;
	*w_us_out = c->w_us;
	return first;
}

int econ_controller_step(struct econ_controller *c, int64_t price_ucr_per_gbit,
			 uint32_t connections, uint32_t *w_us_out)
{
	int64_t profit[ECON_TABLE_MAX_W];
	uint32_t best = 0, now = NO_INDEX, choice, w_us, nr;
	bool first = !c->decided;
	int ret;

	if (econ_price_check(price_ucr_per_gbit))
		return -ERANGE;
	if (!c->table)
		return step_without_table(c, price_ucr_per_gbit, connections, w_us_out);

	nr = econ_table_nr_w(c->table);
	for (uint32_t i = 0; i < nr; i++) {
		struct econ_point point;

		ret = econ_table_point(c->table, connections, i, &point);
		if (!ret)
			ret = econ_profit_ucr_per_s(c->form, &c->terms, &point,
						    price_ucr_per_gbit, &profit[i]);
		if (ret)
			return ret;
		if (profit[i] > profit[best])
			best = i;
		if (!first && econ_table_w_us(c->table, i) == c->w_us)
			now = i;
	}
	choice = now != NO_INDEX && !worth_moving(c, profit[best], profit[now]) ? now : best;
	w_us = econ_table_w_us(c->table, choice);

	c->last.price_ucr = price_ucr_per_gbit;
	c->last.connections = connections;
	c->last.old_w_us = c->w_us;
	c->last.best_w_us = econ_table_w_us(c->table, best);
	econ_table_point(c->table, connections, choice, &c->last.point);
	c->last.profit = profit[choice];
	c->last.best_profit = profit[best];
	c->last.old_known = now != NO_INDEX;
	c->last.old_profit = now != NO_INDEX ? profit[now] : 0;
	c->last.first = first;

	ret = first || w_us != c->w_us;
	c->decided = c->stepped = true;
	c->w_us = w_us;
	*w_us_out = w_us;
	return ret;
}

/* What became of W, and why. */
static int explain_choice(const struct econ_controller *c, char *buf, size_t n)
{
	char money[ECON_MONEY_CHARS];

	if (c->last.first)
		return snprintf(buf, n, "W %u us at first", c->w_us);
	if (c->w_us != c->last.old_w_us && c->last.old_known)
		return snprintf(buf, n, "W %u -> %u us (%u us would make %s $/s)",
				c->last.old_w_us, c->w_us, c->last.old_w_us,
				econ_money_format(c->last.old_profit, money, sizeof(money)));
	if (c->w_us != c->last.old_w_us)
		return snprintf(buf, n, "W %u -> %u us (%u us was never measured)",
				c->last.old_w_us, c->w_us, c->last.old_w_us);
	if (c->last.best_w_us != c->w_us)
		return snprintf(buf, n, "W stays %u us (%u us would make %s $/s, within %g %%)",
				c->w_us, c->last.best_w_us,
				econ_money_format(c->last.best_profit, money, sizeof(money)),
				c->hysteresis_ppm / 1e4);
	return snprintf(buf, n, "W stays %u us, the best", c->w_us);
}

int econ_controller_explain(const struct econ_controller *c, char *buf, size_t n)
{
	char price[ECON_MONEY_CHARS], profit[ECON_MONEY_CHARS];
	int len, more;

	if (!c->stepped || !n)
		return -EINVAL;
	econ_money_format(c->last.price_ucr, price, sizeof(price));
	if (!c->table) {
		len = snprintf(buf, n,
			       "W stays %u us: no measured table; price %s $/Gbit, %u connections",
			       c->w_us, price, c->last.connections);
		return len < 0 || (size_t)len >= n ? -EINVAL : len;
	}
	len = explain_choice(c, buf, n);
	if (len < 0 || (size_t)len >= n)
		return -EINVAL;
	more = snprintf(buf + len, n - (size_t)len,
			": %s, price %s $/Gbit, %u connections: expect %.6g Gbit/s, latency %.1f sd %.1f us (time scale %g), profit %s $/s",
			econ_form_name(c->form), price, c->last.connections,
			c->last.point.throughput_gbps, c->last.point.latency_mean_ns / 1000,
			c->last.point.latency_sd_ns / 1000,
			c->terms.time_scale_ppm ? c->terms.time_scale_ppm / 1e6 : 1.0,
			econ_money_format(c->last.profit, profit, sizeof(profit)));
	if (more < 0 || (size_t)more >= n - (size_t)len)
		return -EINVAL;
	return len + more;
}
