/* SPDX-License-Identifier: MIT */
/* command.h - one load as its options name it, and its figures as JSON: what nom-load and nom-peer share */
#ifndef NOMLOAD_COMMAND_H
#define NOMLOAD_COMMAND_H

#include "net.h"

#include <stdio.h>

#include <jansson.h>

/* A load: options, then the address; kept in the words it was read from. */
struct command {
	double rate, seconds, warm_s, drain_s, late_us, timeout_ms;
	int64_t connections, depth, seed, bytes;
	const char *arrivals;
	bool closed, buckets, help;
	struct net_target to;
	char *path;		/* of @to, ours */
};

/**
 * command_read - read a load
 * @c: filled in; give back with command_free(), whatever the result
 * @argc: number of @argv
 * @argv: options and one address; its words are cut to pieces
 * @err: one line on failure
 * @n: room there
 *
 * Return: 0 (with @c->help: nothing else was looked at), or -EINVAL.
 */
int command_read(struct command *c, int argc, char **argv, char *err, size_t n);
void command_free(struct command *c);

/* command_help - the options, one line each */
void command_help(FILE *out);

/* command_load - the load that it means; as load_create() */
int command_load(const struct command *c, struct load *l);

/* command_print - one JSON object, in one line; @more: further members, or NULL (taken) */
void command_print(FILE *out, const struct command *c, const struct load *l, const struct net_result *net, json_t *more);

#endif
