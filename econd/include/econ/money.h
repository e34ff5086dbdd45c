/* SPDX-License-Identifier: MIT */
/*
 * Money: integer micro-credits (ucr, 1 $ = 1,000,000 ucr), read and printed.
 *
 * Prices cross files, netlink, shared memory and logs; as integers they compare
 * equal on both sides and a recorded trace replays exactly.
 */
#ifndef ECON_MONEY_H
#define ECON_MONEY_H

#include <stddef.h>
#include <stdint.h>

#define ECON_UCR_PER_USD	1000000LL

/* Same bound as NOM_PRICE_MAX_UCR of <linux/nom.h>: 10^9 $ a unit. */
#define ECON_PRICE_MAX_UCR	1000000000000000LL

/* Enough for any int64_t: sign, 13 digits, point, 6 digits, NUL. */
#define ECON_MONEY_CHARS	24

/**
 * econ_money_parse - read an amount
 * @text: "1.25", "$1.25" (dollars, at most six decimals) or "1250000ucr"
 * @ucr_out: the amount in micro-credits
 *
 * Exact: no floating point on the way.  Signs are understood, exponents are
 * not.  Threads: any.
 * Return: 0, -EINVAL (not an amount, or finer than one ucr), -ERANGE.
 */
int econ_money_parse(const char *text, int64_t *ucr_out);

/**
 * econ_money_from_usd - a JSON number of dollars to micro-credits
 * @usd: dollars, rounded to the nearest ucr
 * @ucr_out: the amount
 *
 * Return: 0, -EINVAL (NaN or infinite), -ERANGE.
 */
int econ_money_from_usd(double usd, int64_t *ucr_out);

/**
 * econ_money_format - dollars with as many decimals as needed, at least two
 * @ucr: the amount
 * @buf: ECON_MONEY_CHARS bytes are always enough
 * @n: size of @buf
 *
 * Return: @buf, for use inside a printf().
 */
const char *econ_money_format(int64_t ucr, char *buf, size_t n);

/**
 * econ_price_check - is this a price?
 * @ucr: per unit
 *
 * Return: 0, -ERANGE (negative, or above ECON_PRICE_MAX_UCR).
 */
int econ_price_check(int64_t ucr);

#endif /* ECON_MONEY_H */
