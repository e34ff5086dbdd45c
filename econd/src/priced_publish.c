// SPDX-License-Identifier: MIT
/*
 * What priced wants on the board, and what is there as far as it knows.
 *
 * Only differences are sent: a restarted priced leaves prices that are right
 * alone, so their "since" stays.  A price that nomctl set meanwhile stays until
 * priced's own price of that name changes.
 */
#include "priced.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <econ/money.h>
#include <econ/nl.h>

#define SLOTS_MAX	256	/* names in one run; the kernel's board holds fewer */

struct slot {
	struct econ_price want;
	bool wanted;
	bool refused;			/* the kernel said no to this very price */
	struct econ_price board;
	bool on_board;
	char why[128];
};

struct priced_publisher {
	struct econ_nl *nl;		/* NULL: dry run, or the kernel's nom is away */
	bool dry_run;
	bool away;			/* said so already */
	unsigned nr;
	struct slot slots[SLOTS_MAX];
};

static struct slot *find_slot(struct priced_publisher *p, const char *name)
{
	struct slot *s;

	for (unsigned i = 0; i < p->nr; i++)
		if (!strcmp(p->slots[i].want.name, name))
			return &p->slots[i];
	if (p->nr == SLOTS_MAX)
		return NULL;
	s = &p->slots[p->nr++];
	memset(s, 0, sizeof(*s));
	snprintf(s->want.name, sizeof(s->want.name), "%s", name);
	return s;
}

static int note_board_price(const struct econ_nl_record *r, void *arg)
{
	struct slot *s = find_slot(arg, r->price_name);

	if (!s)
		return 0;
	s->on_board = true;
	snprintf(s->board.unit, sizeof(s->board.unit), "%s", r->price_unit);
	s->board.ucr = r->price_ucr;
	return 0;
}

/* What the board has now, which may be nothing after a reload of the module. */
static int read_board(struct priced_publisher *p)
{
	for (unsigned i = 0; i < p->nr; i++) {
		p->slots[i].on_board = false;
		p->slots[i].refused = false;
	}
	return econ_nl_get(p->nl, NOM_GENL_CMD_GET_PRICES, note_board_price, p);
}

int priced_publisher_create(bool dry_run, struct priced_publisher **publisher_out)
{
	struct priced_publisher *p = calloc(1, sizeof(*p));
	int ret = 0;

	if (!p)
		return -ENOMEM;
	p->dry_run = dry_run;
	if (!dry_run)
		ret = econ_nl_open(&p->nl);
	if (!ret && p->nl)
		ret = read_board(p);
	if (ret) {
		priced_publisher_destroy(p);
		return ret;
	}
	*publisher_out = p;
	return 0;
}

void priced_publisher_destroy(struct priced_publisher *p)
{
	if (!p)
		return;
	econ_nl_close(p->nl);
	free(p);
}

void priced_publisher_want(struct priced_publisher *p, const struct econ_step *step,
			   const char *why)
{
	for (unsigned i = 0; i < step->nr; i++) {
		const struct econ_price *price = &step->prices[i];
		struct slot *s = find_slot(p, price->name);

		if (!s) {
			priced_log("price %s: left out: more than %d names", price->name, SLOTS_MAX);
			continue;
		}
		if (s->wanted && s->want.ucr == price->ucr && !strcmp(s->want.unit, price->unit))
			continue;
		s->want = *price;
		s->wanted = true;
		s->refused = false;
		snprintf(s->why, sizeof(s->why), "%s", why);
	}
}

static bool differs(const struct slot *s)
{
	return s->wanted && !s->refused &&
	       (!s->on_board || s->board.ucr != s->want.ucr ||
		(*s->want.unit && strcmp(s->board.unit, s->want.unit)));
}

static void log_change(const struct slot *s, bool dry_run)
{
	char now[ECON_MONEY_CHARS], before[ECON_MONEY_CHARS] = "-";
	const char *unit = *s->want.unit ? s->want.unit : s->board.unit;

	if (s->on_board)
		econ_money_format(s->board.ucr, before, sizeof(before));
	econ_money_format(s->want.ucr, now, sizeof(now));
	priced_log("%s%s %s -> %s $%s%s (%s)", dry_run ? "would set " : "", s->want.name, before,
		   now, *unit ? "/" : "", unit, s->why);
}

/* The kernel's nom went away, or is back. */
static int reconnect(struct priced_publisher *p)
{
	int ret = econ_nl_open(&p->nl);

	if (!ret)
		ret = read_board(p);
	if (ret) {
		econ_nl_close(p->nl);
		p->nl = NULL;
		return ret;
	}
	priced_log("the kernel's nom is back: publishing again");
	p->away = false;
	return 0;
}

static int gone(struct priced_publisher *p)
{
	if (!p->away)
		priced_log("the kernel's nom went away (module unloaded?): prices wait until it is back");
	p->away = true;
	econ_nl_close(p->nl);
	p->nl = NULL;
	return -ENODEV;
}

static int send_slot(struct priced_publisher *p, struct slot *s)
{
	const char *words;
	int ret = 0;

	if (!p->dry_run)
		ret = econ_nl_set_price(p->nl, s->want.name, s->want.unit, s->want.ucr);
	if (ret == -ENODEV)
		return gone(p);
	if (ret == -EPERM || ret == -EACCES)
		return ret;	/* about us, not about this price */
	if (ret) {
		words = econ_nl_why(p->nl);
		priced_log("price %s: refused by the kernel: %s%s%s%s", s->want.name,
			   strerror(-ret), *words ? " (" : "", words, *words ? ")" : "");
		s->refused = true;
		return ret;
	}
	log_change(s, p->dry_run);
	s->on_board = true;
	s->board.ucr = s->want.ucr;
	if (*s->want.unit)
		memcpy(s->board.unit, s->want.unit, sizeof(s->board.unit));
	return 0;
}

int priced_publisher_flush(struct priced_publisher *p)
{
	bool sent = false;
	int first = 0, ret;

	if (!p->dry_run && !p->nl) {
		ret = reconnect(p);
		if (ret)
			return ret;
	}
	for (unsigned i = 0; i < p->nr; i++) {
		if (!differs(&p->slots[i]))
			continue;
		sent = true;
		ret = send_slot(p, &p->slots[i]);
		if (ret && !first)
			first = ret;
		if (ret == -ENODEV || ret == -EPERM || ret == -EACCES)
			break;
	}
	/* A reloaded module has an empty board, and nothing else would tell. */
	if (!p->dry_run && !sent && econ_nl_get(p->nl, NOM_GENL_CMD_GET_INFO, NULL, NULL) == -ENODEV)
		return gone(p);
	return first;
}
