/* SPDX-License-Identifier: MIT */
/* take.h - what came on a connection, as answers to the load's requests */
#ifndef NOMLOAD_TAKE_H
#define NOMLOAD_TAKE_H

#include "answer.h"
#include "load.h"

enum take { TAKE_MORE, TAKE_CLOSE, TAKE_BAD };

/**
 * take - bytes of connection @i
 * @l: the load
 * @i: the connection
 * @a: its answer so far
 * @data: what came
 * @n: how much
 * @now_ns: when
 * @why_out: static text, with TAKE_BAD
 *
 * Return: TAKE_MORE; TAKE_CLOSE: the server will not answer on this connection
 * again; TAKE_BAD: it is no answer.  After the last two the connection is to be
 * dropped.
 */
enum take take(struct load *l, unsigned i, struct answer *a, const char *data, size_t n, uint64_t now_ns, const char **why_out);

#endif
