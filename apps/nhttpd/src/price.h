/* SPDX-License-Identifier: MIT */
/*
 * price.h - the price of bandwidth, and the batching delay that fits it
 *
 * The nom stack's data thread reads the price from the bulletin board (a few
 * loads) when an upcall or the board's counter says it changed, and lets the
 * controller pick W.  Over the in-tree stack there is no W to pick; the house
 * thread reads the price once a second, for the ledger.
 *
 * When the price disappears, or none was ever published, the last one stays in
 * force (--price-ucr at first), and that is said once.  Zero is a price.
 */
#ifndef NHTTPD_PRICE_H
#define NHTTPD_PRICE_H

#include <stdbool.h>
#include <stdint.h>

struct econ_table;
struct econ_terms;
struct price;
struct server;

/* price_open - load terms and table, make the controller.  Return: exit status. */
int price_open(struct server *srv);
void price_close(struct server *srv);

/**
 * price_read - look at the board, whoever the caller is
 *
 * One thread.  No system call.  Return: true when the price changed.
 */
bool price_read(struct server *srv);

/* price_adaptive - is W picked by the controller? */
bool price_adaptive(const struct server *srv);

/**
 * price_decide - let the controller decide; data thread
 * @connections: load now
 * @w_us_out: W to use, when true is returned
 */
bool price_decide(struct server *srv, uint32_t connections, uint32_t *w_us_out);

/* price_set_w - W was set by hand */
void price_set_w(struct server *srv, uint32_t w_us);

/* price_board_changed - one load and one compare; for a poll loop */
bool price_board_changed(struct server *srv);

/* For the ledger. */
const struct econ_terms *price_terms(const struct server *srv);
int price_form(const struct server *srv);
bool price_expected(const struct server *srv, uint32_t connections, uint32_t w_us, double *mean_ns_out,
		    double *sd_ns_out);

#endif
