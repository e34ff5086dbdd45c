// SPDX-License-Identifier: MIT
/* price.c - the price of bandwidth, and the batching delay that fits it */
#include "price.h"

#include "server.h"

#include <econ/controller.h>
#include <econ/table.h>
#include <econ/valuation.h>
#include <nomux/board.h>
#include <nomux/log.h>

#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#define PRICE_NAME "bandwidth"

struct price {
	struct econ_terms terms;
	enum econ_form form;
	struct econ_table *table;
	struct econ_controller *controller;	/* NULL: W is not ours to pick */
	uint64_t seen;				/* board's change counter at the last read */
	uint32_t connections;			/* at the last decision */
	bool decided;
	bool missing_said;
};

int price_open(struct server *srv)
{
	const struct options *opt = srv->opt;
	struct price *p = calloc(1, sizeof(*p));
	char err[512];

	if (!p) {
		die_message("out of memory");
		return EXIT_OTHER;
	}
	srv->price = p;
	atomic_store(&srv->price_ucr, opt->price_ucr);
	metric_set(&srv->m, M_PRICE, opt->price_ucr);
	econ_terms_thesis(&p->terms);
	p->form = ECON_PENALTY;
	if (opt->terms && econ_terms_load(opt->terms, &p->terms, &p->form, err, sizeof(err))) {
		die_message("--terms: %s", err);
		return EXIT_ECON;
	}
	if (opt->policy && econ_form_parse(opt->policy, &p->form)) {
		die_message("--policy %s: must be one of penalty|refund|bonus", opt->policy);
		return EXIT_USAGE;
	}
	if (opt->table && econ_table_load(opt->table, &p->table, err, sizeof(err))) {
		die_message("--table: %s", err);
		return EXIT_ECON;
	}
	if (opt->stack == STACK_LINUX || !p->table || opt->w_us >= 0)
		return EXIT_OK;
	if (econ_controller_create(p->table, &p->terms, p->form, &p->controller)) {
		die_message("--table %s, --terms %s: cannot make a controller of them", opt->table,
			    opt->terms ? opt->terms : "of thesis 6.4");
		return EXIT_ECON;
	}
	return EXIT_OK;
}

void price_close(struct server *srv)
{
	struct price *p = srv->price;

	if (!p)
		return;
	econ_controller_destroy(p->controller);
	econ_table_destroy(p->table);
	free(p);
	srv->price = NULL;
}

bool price_board_changed(struct server *srv)
{
	return srv->nomux && nomux_board_changes(srv->nomux, NOM_BOARD_PRICES) != srv->price->seen;
}

bool price_read(struct server *srv)
{
	struct price *p = srv->price;
	struct nom_board_price now;
	int ret = -1;

	if (srv->nomux) {
		p->seen = nomux_board_changes(srv->nomux, NOM_BOARD_PRICES);
		ret = nomux_board_price(srv->nomux, PRICE_NAME, &now);
	}
	if (ret) {
		if (!p->missing_said)
			nomux_log(p->controller || srv->opt->ledger ? LOG_WARNING : LOG_INFO,
				  "price: nobody publishes \"" PRICE_NAME "\"; %lld ucr per Gbit stay in force",
				  (long long)atomic_load(&srv->price_ucr));
		p->missing_said = true;
		return false;
	}
	if (p->missing_said)
		nomux_log(LOG_NOTICE, "price: \"" PRICE_NAME "\" is published again");
	p->missing_said = false;
	if (now.price_ucr < 0 || now.price_ucr == atomic_load(&srv->price_ucr))
		return false;
	atomic_store(&srv->price_ucr, now.price_ucr);
	metric_set(&srv->m, M_PRICE, now.price_ucr);
	p->decided = false;
	return true;
}

bool price_adaptive(const struct server *srv)
{
	return srv->price->controller != NULL;
}

bool price_decide(struct server *srv, uint32_t connections, uint32_t *w_us_out)
{
	struct price *p = srv->price;
	int ret;

	if (!p->controller || (p->decided && connections == p->connections))
		return false;
	p->decided = true;
	p->connections = connections;
	ret = econ_controller_step(p->controller, atomic_load(&srv->price_ucr), connections, w_us_out);
	if (ret <= 0)
		return false;
	metric_add(&srv->m, M_DECISIONS, 1);
	return true;
}

void price_set_w(struct server *srv, uint32_t w_us)
{
	if (srv->price->controller)
		econ_controller_set_w(srv->price->controller, w_us);
}

const struct econ_terms *price_terms(const struct server *srv)
{
	return &srv->price->terms;
}

int price_form(const struct server *srv)
{
	return srv->price->form;
}

/* The table is never written after price_open(): any thread may read it. */
bool price_expected(const struct server *srv, uint32_t connections, uint32_t w_us, double *mean_ns_out,
		    double *sd_ns_out)
{
	const struct price *p = srv->price;
	struct econ_point point;

	if (!p->table)
		return false;
	for (unsigned i = 0; i < econ_table_nr_w(p->table); i++) {
		if (econ_table_w_us(p->table, i) != w_us)
			continue;
		if (econ_table_point(p->table, connections, i, &point))
			return false;
		*mean_ns_out = point.latency_mean_ns;
		*sd_ns_out = point.latency_sd_ns;
		return true;
	}
	return false;	/* nobody measured this W */
}
