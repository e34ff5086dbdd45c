// SPDX-License-Identifier: MIT
/* command.c - one load as its options name it, and its figures as JSON */
#include "command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <econ/options.h>

#define REQUESTS_MAX	1e9	/* rate times seconds */

#define OPT(field)	offsetof(struct command, field)
static const struct econ_option table[] = {
	{ "rate", 'r', ECON_OPT_REAL, OPT(rate), "N", "requests a second that are due (required, but for --closed)", 0.1, 1e7 },
	{ "closed", 0, ECON_OPT_FLAG, OPT(closed), NULL, "a closed loop: --depth requests together on each connection, again when all are answered", 0, 0 },
	{ "seconds", 's', ECON_OPT_REAL, OPT(seconds), "S", "measured time (2)", 0.01, 3600 },
	{ "warm-up", 'w', ECON_OPT_REAL, OPT(warm_s), "S", "load before that, not measured (0)", 0, 3600 },
	{ "drain", 'd', ECON_OPT_REAL, OPT(drain_s), "S", "time for answers after that (1)", 0, 60 },
	{ "connections", 'c', ECON_OPT_INT, OPT(connections), "N", "kept alive (64)", 1, 60000 },
	{ "depth", 'p', ECON_OPT_INT, OPT(depth), "N", "most requests under way on each (1: no pipelining)", 1, LOAD_DEPTH_MAX },
	{ "arrivals", 'a', ECON_OPT_STRING, OPT(arrivals), "KIND", "poisson or constant (poisson)", 0, 0 },
	{ "seed", 0, ECON_OPT_INT, OPT(seed), "N", "of poisson: the same seed, the same arrivals (1)", 0, 9007199254740992 },
	{ "late-us", 0, ECON_OPT_REAL, OPT(late_us), "US", "sent later than that for no reason of the server's counts as late (100)", 0, 1e6 },
	{ "bytes", 0, ECON_OPT_INT, OPT(bytes), "N", "udp: of each request's payload (32)", 12, 1472 },
	{ "timeout-ms", 0, ECON_OPT_REAL, OPT(timeout_ms), "MS", "udp: not answered after that, a request is lost (200)", 1, 60000 },
	{ "buckets", 'b', ECON_OPT_FLAG, OPT(buckets), NULL, "print the histogram's buckets as well", 0, 0 },
	{ "help", 'h', ECON_OPT_FLAG, OPT(help), NULL, "this text", 0, 0 },
	{ NULL, 0, 0, 0, NULL, NULL, 0, 0 },
};

void command_help(FILE *out)
{
	econ_options_help(out, table);
}

/* @url is cut to pieces. */
static int read_url(char *url, struct net_target *to, char **path_out)
{
	bool udp = !strncmp(url, "udp://", strlen("udp://"));
	char *host = url + strlen(udp ? "udp://" : "http://"), *slash, *colon, *end;

	if (!udp && strncmp(url, "http://", strlen("http://")))
		return -EINVAL;
	slash = strchr(host, '/');
	if (strpbrk(url, " \r\n") || slash == host || !*host)
		return -EINVAL;
	*path_out = strdup(slash ? slash : "/");
	if (!*path_out)
		return -ENOMEM;
	if (slash)
		*slash = '\0';
	*to = (struct net_target){ .host = host, .path = *path_out, .port = udp ? 7000 : 80, .udp = udp };
	if (udp && slash && slash[1])
		return -EINVAL;		/* nothing is named */
	colon = strchr(host, ':');
	if (!colon)
		return 0;
	*colon = '\0';
	to->port = (unsigned)strtoul(colon + 1, &end, 10);
	return end == colon + 1 || *end || to->port < 1 || to->port > 65535 ? -EINVAL : 0;
}

int command_read(struct command *c, int argc, char **argv, char *err, size_t n)
{
	int nr;

	*c = (struct command){ .seconds = 2, .drain_s = 1, .late_us = 100, .connections = 64, .depth = 1, .seed = 1, .arrivals = "poisson",
				.bytes = 32, .timeout_ms = 200 };
	nr = econ_options_parse(table, c, argc, argv, 0, err, n);
	if (nr < 0)
		return -EINVAL;
	if (c->help)
		return 0;
	if (nr != 1)
		snprintf(err, n, "one address is wanted: http://IPV4[:PORT]/PATH or udp://IPV4[:PORT]");
	else if (strcmp(c->arrivals, "poisson") && strcmp(c->arrivals, "constant"))
		snprintf(err, n, "--arrivals %s: must be poisson or constant", c->arrivals);
	else if (c->closed && c->rate)
		snprintf(err, n, "--rate is of an open loop: not with --closed");
	else if (!c->closed && !c->rate)
		snprintf(err, n, "--rate is missing: how many requests a second?");
	else if (c->rate * (c->seconds + c->warm_s) > REQUESTS_MAX)
		snprintf(err, n, "more than %g requests: lower --rate or --seconds", REQUESTS_MAX);
	else if (read_url(argv[0], &c->to, &c->path))
		snprintf(err, n, "the address must be http://IPV4[:PORT]/PATH or udp://IPV4[:PORT]");
	else if (c->to.udp && c->depth != 1)
		snprintf(err, n, "--depth is of connections: with udp, let there be more of them");
	else {
		c->to.bytes = (unsigned)c->bytes;
		c->to.timeout_ns = (uint64_t)(c->timeout_ms * 1e6);
		return 0;
	}
	return -EINVAL;
}

void command_free(struct command *c)
{
	free(c->path);
	c->path = NULL;
}

int command_load(const struct command *c, struct load *l)
{
	struct load_plan plan = {
		.links = (unsigned)c->connections, .depth = (unsigned)c->depth, .warm_ns = (uint64_t)(c->warm_s * 1e9),
		.run_ns = (uint64_t)(c->seconds * 1e9), .drain_ns = (uint64_t)(c->drain_s * 1e9), .late_ns = (uint64_t)(c->late_us * 1e3),
		.closed = c->closed,
	};

	return load_create(l, &plan, !strcmp(c->arrivals, "poisson"), c->rate, (uint64_t)c->seed);
}

static json_t *us(double ns)
{
	return json_real(ns / 1000);
}

static json_t *latency(const struct hist *h)
{
	return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "mean", us(h->mean_ns), "sd", us(hist_sd(h)),
			 "min", us((double)h->min_ns), "p50", us((double)hist_quantile(h, 0.5)),
			 "p90", us((double)hist_quantile(h, 0.9)), "p99", us((double)hist_quantile(h, 0.99)),
			 "p999", us((double)hist_quantile(h, 0.999)), "max", us((double)h->max_ns));
}

static json_t *buckets(const struct hist *h)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		if (h->count[i])
			json_array_append_new(list, json_pack("[o,I]", us((double)hist_edge(i)), (json_int_t)h->count[i]));
	return list;
}

static json_t *errors(const struct load *l, const struct net_result *net)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I}", "status", (json_int_t)l->bad_status, "lost", (json_int_t)l->lost,
			 "protocol", (json_int_t)net->protocol, "refused", (json_int_t)net->refused, "stray", (json_int_t)net->stray);
}

void command_print(FILE *file, const struct command *c, const struct load *l, const struct net_result *net, json_t *extra)
{
	bool poisson = !c->closed && !strcmp(c->arrivals, "poisson");
	json_t *out = json_pack("{s:f,s:f,s:s,s:I,s:I,s:I,s:f}", "rate", c->rate, "seconds", c->seconds,
				"arrivals", c->closed ? "closed loop" : c->arrivals,
				"seed", (json_int_t)(poisson ? c->seed : 0), "connections", (json_int_t)c->connections,
				"depth", (json_int_t)c->depth, "precision", 1.0 / (1 << HIST_BITS));
	json_t *more = json_pack("{s:f,s:f,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:I,s:f,s:o,s:o}",
				 "offered_per_s", (double)l->due / c->seconds, "achieved_per_s", (double)l->answers_in_time / c->seconds,
				 "due", (json_int_t)l->due, "sent", (json_int_t)l->sent, "answers", (json_int_t)l->answers,
				 "unsent", (json_int_t)l->unsent, "unanswered", (json_int_t)l->unanswered,
				 "waited", (json_int_t)l->waited, "late", (json_int_t)l->late,
				 "late_max_us", (double)l->late_max_ns / 1000, "reconnects", (json_int_t)net->reconnects,
				 "bytes_per_answer", l->answers ? (double)l->bytes / (double)l->answers : 0,
				 "errors", errors(l, net), "latency_us", latency(&l->hist));

	json_object_update(out, more);
	json_decref(more);
	if (extra)
		json_object_update(out, extra);
	json_decref(extra);
	if (c->buckets)
		json_object_set_new(out, "buckets_us", buckets(&l->hist));
	json_dumpf(out, file, JSON_COMPACT | JSON_REAL_PRECISION(9));
	fputc('\n', file);
	fflush(file);
	json_decref(out);
}
