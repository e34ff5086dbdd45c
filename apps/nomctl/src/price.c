// SPDX-License-Identifier: MIT
/* nomctl price: what is on the board, put a price there, wait for changes. */
#include "nomctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <econ/money.h>
#include <econ/nl.h>
#include <econ/price.h>

static struct {
	bool json;
	const char *unit;
	int64_t count;
	double timeout_s;
} values;

#define OPT(field)	((size_t)((char *)&values.field - (char *)&values))
static const struct econ_option options[] = {
	{ "json", 'j', ECON_OPT_FLAG, 0, NULL, "for programs; watch prints an object a line", 0, 0 },
	{ "unit", 'u', ECON_OPT_STRING, OPT(unit), "UNIT",
	  "set: what the price is per; needed the first time", 0, 0 },
	{ "count", 'c', ECON_OPT_INT, OPT(count), "N", "watch: end after N changes", 1, 1e9 },
	{ "timeout", 't', ECON_OPT_REAL, OPT(timeout_s), "SECONDS",
	  "watch: end when there was no change for so long", 0.001, 1e6 },
	NOMCTL_OPTIONS_END,
};

static json_t *price_json(const struct econ_nl_record *r)
{
	char money[ECON_MONEY_CHARS];

	return json_pack("{s:s,s:s,s:I,s:s,s:f}", "name", r->price_name, "unit", r->price_unit,
			 "ucr", (json_int_t)r->price_ucr,
			 "usd", econ_money_format(r->price_ucr, money, sizeof(money)),
			 "age_s", (double)nomctl_age_ns(r->price_since_ns) / 1e9);
}

static int list_json(const struct econ_nl_record *r, void *arg)
{
	json_array_append_new(arg, price_json(r));
	return 0;
}

static int list_row(const struct econ_nl_record *r, void *arg)
{
	char money[ECON_MONEY_CHARS], age[24];

	nomctl_table_row(arg, "%s\t%s\t$/%s\t%s", r->price_name,
			 econ_money_format(r->price_ucr, money, sizeof(money)), r->price_unit,
			 nomctl_age(nomctl_age_ns(r->price_since_ns), age, sizeof(age)));
	return 0;
}

static int run_list(int argc, char **argv)
{
	struct nomctl_table *table;
	json_t *list;
	struct econ_nl *nl;
	int ret = econ_nl_open(&nl);

	if (ret)
		return nomctl_fail_errno(ret, "price list");
	table = nomctl_table_create("name\t>price\tunit\t>for");
	list = json_array();
	if (values.json)
		ret = econ_nl_get(nl, NOM_GENL_CMD_GET_PRICES, list_json, list);
	else
		ret = econ_nl_get(nl, NOM_GENL_CMD_GET_PRICES, list_row, table);
	econ_nl_close(nl);
	if (!ret && values.json)
		nomctl_print_json(json_incref(list));
	nomctl_table_print(table, !ret && !values.json ? stdout : NULL);
	json_decref(list);
	return ret ? nomctl_fail_errno(ret, "price list") : ECON_EXIT_OK;
}

static int run_set(int argc, char **argv)
{
	struct econ_nl *nl;
	int64_t ucr;
	int ret;

	if (econ_price_name_check(argv[0]))
		return nomctl_fail(ECON_EXIT_USAGE, "price set: \"%s\" cannot be a name: 1 to %d of a-z 0-9 _ . -",
				   argv[0], ECON_PRICE_NAME_MAX - 1);
	if (values.unit && (!*values.unit || econ_price_unit_check(values.unit)))
		return nomctl_fail(ECON_EXIT_USAGE, "price set: \"%s\" cannot be a unit: 1 to %d printable characters",
				   values.unit, ECON_PRICE_NAME_MAX - 1);
	ret = econ_money_parse(argv[1], &ucr);
	if (ret == -EINVAL)
		return nomctl_fail(ECON_EXIT_USAGE, "price set: \"%s\" is not an amount: 1.25, $1.25 or 1250000ucr",
				   argv[1]);
	if (ret || econ_price_check(ucr))
		return nomctl_fail(ECON_EXIT_USAGE, "price set: \"%s\": a price must be 0 to 10^9 $", argv[1]);
	ret = econ_nl_open(&nl);
	if (ret)
		return nomctl_fail_errno(ret, "price set");
	ret = econ_nl_set_price(nl, argv[0], values.unit, ucr);
	if (ret && *econ_nl_why(nl))
		ret = nomctl_fail(ECON_EXIT_FAILED, "price set %s: %s%s", argv[0], econ_nl_why(nl),
				  ret == -ENOENT ? " (--unit)" : "");
	else if (ret == -EPERM)
		ret = nomctl_fail(ECON_EXIT_PERMISSION, "price set: needs CAP_NET_ADMIN: run as root");
	else if (ret)
		ret = nomctl_fail_errno(ret, "price set");
	econ_nl_close(nl);
	return ret;
}

static int run_del(int argc, char **argv)
{
	struct econ_nl *nl;
	int ret;

	if (econ_price_name_check(argv[0]))
		return nomctl_fail(ECON_EXIT_USAGE, "price del: \"%s\" cannot be a name", argv[0]);
	ret = econ_nl_open(&nl);
	if (ret)
		return nomctl_fail_errno(ret, "price del");
	ret = econ_nl_del_price(nl, argv[0]);
	if (ret == -ENOENT)
		ret = nomctl_fail(ECON_EXIT_NOT_FOUND, "price del %s: no such price on the board", argv[0]);
	else if (ret == -EPERM)
		ret = nomctl_fail(ECON_EXIT_PERMISSION, "price del: needs CAP_NET_ADMIN: run as root");
	else if (ret)
		ret = nomctl_fail_errno(ret, "price del");
	econ_nl_close(nl);
	return ret;
}

static int on_change(const struct econ_nl_record *r, void *arg)
{
	char money[ECON_MONEY_CHARS];
	int64_t *left = arg;

	if (r->cmd != NOM_GENL_CMD_PRICE_NTF && r->cmd != NOM_GENL_CMD_PRICE_DEL_NTF)
		return 0;
	if (values.json) {
		json_t *j = price_json(r);

		if (r->cmd == NOM_GENL_CMD_PRICE_DEL_NTF)
			json_object_set_new(j, "removed", json_true());
		json_dumpf(j, stdout, JSON_COMPACT);
		json_decref(j);
		putchar('\n');
	} else if (r->cmd == NOM_GENL_CMD_PRICE_DEL_NTF) {
		printf("%s removed\n", r->price_name);
	} else {
		printf("%s %s $/%s\n", r->price_name,
		       econ_money_format(r->price_ucr, money, sizeof(money)), r->price_unit);
	}
	fflush(stdout);
	return *left > 0 && --*left == 0;	/* 1 ends the watch */
}

static int run_watch(int argc, char **argv)
{
	int64_t left = values.count;
	struct econ_nl *nl;
	int ret = econ_nl_open(&nl);

	if (ret)
		return nomctl_fail_errno(ret, "price watch");
	ret = econ_nl_watch(nl, on_change, &left,
			    values.timeout_s ? (int)(values.timeout_s * 1000) : -1);
	econ_nl_close(nl);
	return ret < 0 && ret != -EINTR ? nomctl_fail_errno(ret, "price watch") : ECON_EXIT_OK;
}

static const struct nomctl_action actions[] = {
	{ "list", "", "prices on the board", 0, 0, run_list },
	{ "set", "NAME AMOUNT", "put a price on the board: 1.25, $1.25 or 1250000ucr", 2, 2, run_set },
	{ "del", "NAME", "take a price off the board", 1, 1, run_del },
	{ "watch", "", "a line for each change", 0, 0, run_watch },
	NOMCTL_ACTIONS_END,
};

const struct nomctl_verb nomctl_price = {
	"price", "prices on the bulletin board", actions, options, &values, 0,
};
