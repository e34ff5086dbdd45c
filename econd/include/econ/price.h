/* SPDX-License-Identifier: MIT */
/*
 * Price files and price traces: what priced publishes, and when.
 *
 * A price file holds the prices in force:
 *
 *   { "prices": [ { "name": "bandwidth", "unit": "Gbit", "usd": 1.0 } ] }
 *
 * A trace holds steps in time order; each names the prices that change then:
 *
 *   { "steps": [ { "at_s": 0,  "prices": [ ... ] },
 *                { "at_s": 60, "prices": [ ... ] } ],
 *     "period_s": 120, "loops": 3 }
 *
 * "loops" (1 if absent, 0: without end) plays the steps again every "period_s".
 * A price is "usd" (a number, rounded to 1/1,000,000) or "ucr" (an integer).
 * "comment" is allowed at the top; any other unknown key is an error: a
 * misspelt "usd" must not become a price of nothing.
 *
 * Pure but for econ_prices_load(); time is an argument.
 */
#ifndef ECON_PRICE_H
#define ECON_PRICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ECON_PRICE_NAME_MAX	24	/* NUL included; NOM_PRICE_NAME_MAX */
#define ECON_PRICES_MAX		64	/* prices in a file or step */
#define ECON_STEPS_MAX		10000	/* steps in a trace */
#define ECON_AT_MAX_S		31536000.0	/* a year */

struct econ_price {
	char name[ECON_PRICE_NAME_MAX];		/* [a-z0-9_.-]+ */
	char unit[ECON_PRICE_NAME_MAX];		/* printable; "" if the file has none */
	int64_t ucr;				/* per unit, 0 .. ECON_PRICE_MAX_UCR */
};

struct econ_step {
	uint64_t at_ns;				/* since the trace began */
	unsigned nr;
	const struct econ_price *prices;
};

struct econ_prices;		/* a file or a trace; a file is a trace of one step at 0 */

/**
 * econ_prices_parse - a price file or trace from JSON text
 * @text: see above
 * @len: bytes of @text
 * @name: what to call it in messages, a file name
 * @prices_out: free with econ_prices_destroy()
 * @err: gets one line naming line, step or price; may be NULL
 * @n: size of @err
 *
 * Return: 0, -EINVAL (malformed), -ERANGE (a price negative or too high), -E2BIG,
 * -ENOMEM.
 */
int econ_prices_parse(const char *text, size_t len, const char *name,
		      struct econ_prices **prices_out, char *err, size_t n);

/** econ_prices_load - econ_prices_parse() of a file; also -errno of reading it */
int econ_prices_load(const char *path, struct econ_prices **prices_out, char *err, size_t n);

/** econ_prices_destroy - NULL is fine */
void econ_prices_destroy(struct econ_prices *prices);

/** econ_prices_is_trace - has it steps? */
bool econ_prices_is_trace(const struct econ_prices *prices);

/** econ_prices_nr_steps - at least 1 */
unsigned econ_prices_nr_steps(const struct econ_prices *prices);

/** econ_prices_step - the @i-th step, @i < econ_prices_nr_steps() */
const struct econ_step *econ_prices_step(const struct econ_prices *prices, unsigned i);

/**
 * struct econ_cursor - a place in a trace being played
 * @step: next step to be published
 * @loop: rounds finished
 */
struct econ_cursor {
	unsigned step;
	uint64_t loop;
};

/**
 * econ_cursor_next - when is the next step due?
 * @prices: the trace
 * @cursor: zeroed at the start
 * @at_ns_out: time since the trace began
 *
 * Return: 1, or 0 at the trace's end.
 */
int econ_cursor_next(const struct econ_prices *prices, const struct econ_cursor *cursor,
		     uint64_t *at_ns_out);

/** econ_cursor_advance - past the step that econ_cursor_next() announced */
void econ_cursor_advance(const struct econ_prices *prices, struct econ_cursor *cursor);

/**
 * econ_cursor_seek - a place from which playing forward to @at_ns is short
 * @prices: the trace
 * @cursor: set to the start of the round before the one @at_ns is in, so that
 *	playing its steps leaves the same prices in force as playing all
 * @at_ns: time since the trace began
 *
 * Return: the round @at_ns is in, 0 ..
 */
uint64_t econ_cursor_seek(const struct econ_prices *prices, struct econ_cursor *cursor,
			  uint64_t at_ns);

/** econ_price_name_check - 0, or -EINVAL if this cannot be a price's name */
int econ_price_name_check(const char *name);

/** econ_price_unit_check - 0, or -EINVAL if this cannot be a unit */
int econ_price_unit_check(const char *unit);

#endif /* ECON_PRICE_H */
