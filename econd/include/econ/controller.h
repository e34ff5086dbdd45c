/* SPDX-License-Identifier: MIT */
/*
 * The controller: picks the batching delay W that makes the most profit at the
 * present price and load, from a measured table.  Pure: no clock, file or
 * socket, so a recorded trace replays to the same decisions.
 *
 * Not flapping: a W in force is left only for one that makes more than
 * @hysteresis_ppm of it more; of equal ones the smallest W wins.
 */
#ifndef ECON_CONTROLLER_H
#define ECON_CONTROLLER_H

#include <stddef.h>
#include <stdint.h>

#include <econ/table.h>
#include <econ/valuation.h>

#define ECON_HYSTERESIS_PPM	20000	/* 2 %: above the noise of a quiet machine */

struct econ_controller;

/**
 * econ_controller_create - a controller with W not yet decided
 * @table: borrowed, must live as long as the controller.  NULL: nothing was
 *	measured; W then stays what econ_controller_set_w() says (0 at first),
 *	and econ_controller_explain() says why.
 * @terms: copied
 * @form: what to maximise
 * @controller_out: destroy with econ_controller_destroy()
 *
 * Return: 0, -EINVAL (bad terms or form), -ENOMEM.
 */
int econ_controller_create(const struct econ_table *table, const struct econ_terms *terms,
			   enum econ_form form, struct econ_controller **controller_out);

/** econ_controller_destroy - free; the table stays.  NULL is fine. */
void econ_controller_destroy(struct econ_controller *controller);

/**
 * econ_controller_step - decide for the present price and load
 * @controller: the controller; one thread at a time
 * @price_ucr_per_gbit: of bandwidth, now
 * @connections: open now; 0 counts as 1
 * @w_us_out: the W to use; always set on success
 *
 * Work: one valuation per distinct W (at most ECON_TABLE_MAX_W); no allocation.
 * Return: 1 (W is another than before, or the first one), 0 (same), -ERANGE (not
 * a price; the W in force stays, @w_us_out is untouched), -EOVERFLOW.
 */
int econ_controller_step(struct econ_controller *controller, int64_t price_ucr_per_gbit,
			 uint32_t connections, uint32_t *w_us_out);

/**
 * econ_controller_explain - the last decision in one line, with its inputs
 * @controller: after at least one step
 * @buf: ECON_EXPLAIN_CHARS bytes are enough
 * @n: size of @buf
 *
 * Return: length written, or -EINVAL.
 */
int econ_controller_explain(const struct econ_controller *controller, char *buf, size_t n);

#define ECON_EXPLAIN_CHARS	512

/** econ_controller_set_hysteresis - 0 .. 1,000,000 ppm; 0 or -EINVAL */
int econ_controller_set_hysteresis(struct econ_controller *controller, uint32_t ppm);

/**
 * econ_controller_set_w - W was set by hand (nomctl tune)
 * @w_us: now in force; the next step compares with it.  Need not be in the table.
 */
void econ_controller_set_w(struct econ_controller *controller, uint32_t w_us);

/** econ_controller_w_us - the W in force */
uint32_t econ_controller_w_us(const struct econ_controller *controller);

/** econ_controller_set_form - change what is maximised; 0 or -EINVAL */
int econ_controller_set_form(struct econ_controller *controller, enum econ_form form);

#endif /* ECON_CONTROLLER_H */
