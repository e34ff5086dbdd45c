// SPDX-License-Identifier: MIT
/*
 * nom-load - load an HTTP server at a set rate, and say how long requests took
 *
 * wrk is a closed loop: a server that stalls is asked less.  Here requests are
 * due when a clock says so; latency counts from then.  load.h has the method.
 */
#include "net.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <econ/options.h>

#define REQUESTS_MAX	1e9	/* rate times seconds */

static struct {
	double rate, seconds, warm_s, drain_s, late_us;
	int64_t connections, depth, seed;
	const char *arrivals;
	bool buckets, help;
} o = { .seconds = 2, .drain_s = 1, .late_us = 100, .connections = 64, .depth = 1, .seed = 1, .arrivals = "poisson" };

#define OPT(field)	((size_t)((char *)&o.field - (char *)&o))
static const struct econ_option table[] = {
	{ "rate", 'r', ECON_OPT_REAL, OPT(rate), "N", "requests a second that are due (required)", 0.1, 1e7 },
	{ "seconds", 's', ECON_OPT_REAL, OPT(seconds), "S", "measured time (2)", 0.01, 3600 },
	{ "warm-up", 'w', ECON_OPT_REAL, OPT(warm_s), "S", "load before that, not measured (0)", 0, 3600 },
	{ "drain", 'd', ECON_OPT_REAL, OPT(drain_s), "S", "time for answers after that (1)", 0, 60 },
	{ "connections", 'c', ECON_OPT_INT, OPT(connections), "N", "kept alive (64)", 1, 60000 },
	{ "depth", 'p', ECON_OPT_INT, OPT(depth), "N", "most requests under way on each (1: no pipelining)", 1, LOAD_DEPTH_MAX },
	{ "arrivals", 'a', ECON_OPT_STRING, OPT(arrivals), "KIND", "poisson or constant (poisson)", 0, 0 },
	{ "seed", 0, ECON_OPT_INT, OPT(seed), "N", "of poisson: the same seed, the same arrivals (1)", 0, 9007199254740992 },
	{ "late-us", 0, ECON_OPT_REAL, OPT(late_us), "US", "sent later than that for no reason of the server's counts as late (100)", 0, 1e6 },
	{ "buckets", 'b', ECON_OPT_FLAG, OPT(buckets), NULL, "print the histogram's buckets as well", 0, 0 },
	{ "help", 'h', ECON_OPT_FLAG, OPT(help), NULL, "this text", 0, 0 },
	{ NULL, 0, 0, 0, NULL, NULL, 0, 0 },
};

static void usage(FILE *out)
{
	fprintf(out, "usage: nom-load --rate N [options] http://ADDRESS[:PORT]/PATH\n"
		"Load an HTTP server at a set rate; one JSON object on standard output.\n\n");
	econ_options_help(out, table);
	fprintf(out, "\nExit: 0 ok, 1 no connection or no answer, 2 usage.\n");
}

static int fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int fail(int code, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "nom-load: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return code;
}

/* @url is cut to pieces. */
static int read_url(char *url, struct net_target *to, char **path_out)
{
	char *host = url + strlen("http://"), *slash, *colon, *end;

	if (strncmp(url, "http://", strlen("http://")))
		return -EINVAL;
	slash = strchr(host, '/');
	if (strpbrk(url, " \r\n") || slash == host)
		return -EINVAL;
	*path_out = strdup(slash ? slash : "/");
	if (!*path_out)
		return -ENOMEM;
	if (slash)
		*slash = '\0';
	*to = (struct net_target){ .host = host, .path = *path_out, .port = 80 };
	colon = strchr(host, ':');
	if (!colon)
		return 0;
	*colon = '\0';
	to->port = (unsigned)strtoul(colon + 1, &end, 10);
	return end == colon + 1 || *end || to->port < 1 || to->port > 65535 ? -EINVAL : 0;
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
	return json_pack("{s:I,s:I,s:I,s:I}", "status", (json_int_t)l->bad_status, "lost", (json_int_t)l->lost,
			 "protocol", (json_int_t)net->protocol, "refused", (json_int_t)net->refused);
}

static void print(const struct load *l, const struct net_result *net, bool poisson)
{
	json_t *out = json_pack("{s:f,s:f,s:s,s:I,s:I,s:I,s:f}", "rate", o.rate, "seconds", o.seconds, "arrivals", o.arrivals,
				"seed", (json_int_t)(poisson ? o.seed : 0), "connections", (json_int_t)o.connections,
				"depth", (json_int_t)o.depth, "precision", 1.0 / (1 << HIST_BITS));
	json_t *more = json_pack("{s:f,s:f,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:I,s:f,s:o,s:o}",
				 "offered_per_s", (double)l->due / o.seconds, "achieved_per_s", (double)l->answers_in_time / o.seconds,
				 "due", (json_int_t)l->due, "sent", (json_int_t)l->sent, "answers", (json_int_t)l->answers,
				 "unsent", (json_int_t)l->unsent, "unanswered", (json_int_t)l->unanswered,
				 "waited", (json_int_t)l->waited, "late", (json_int_t)l->late,
				 "late_max_us", (double)l->late_max_ns / 1000, "reconnects", (json_int_t)net->reconnects,
				 "bytes_per_answer", l->answers ? (double)l->bytes / (double)l->answers : 0,
				 "errors", errors(l, net), "latency_us", latency(&l->hist));

	json_object_update(out, more);
	json_decref(more);
	if (o.buckets)
		json_object_set_new(out, "buckets_us", buckets(&l->hist));
	json_dumpf(out, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
	putchar('\n');
	json_decref(out);
}

int main(int argc, char **argv)
{
	static struct load load;
	struct net_result net;
	struct net_target to;
	struct load_plan plan;
	char err[200], *path = NULL;
	bool poisson;
	int nr, ret;

	nr = econ_options_parse(table, &o, argc - 1, argv + 1, 0, err, sizeof(err));
	if (nr < 0)
		return fail(ECON_EXIT_USAGE, "%s", err);
	if (o.help) {
		usage(stdout);
		return ECON_EXIT_OK;
	}
	if (nr != 1) {
		usage(stderr);
		return ECON_EXIT_USAGE;
	}
	poisson = !strcmp(o.arrivals, "poisson");
	if (!poisson && strcmp(o.arrivals, "constant"))
		return fail(ECON_EXIT_USAGE, "--arrivals %s: must be poisson or constant", o.arrivals);
	if (!o.rate)
		return fail(ECON_EXIT_USAGE, "--rate is missing: how many requests a second?");
	if (o.rate * (o.seconds + o.warm_s) > REQUESTS_MAX)
		return fail(ECON_EXIT_USAGE, "more than %g requests: lower --rate or --seconds", REQUESTS_MAX);
	if (read_url(argv[1], &to, &path)) {
		free(path);
		return fail(ECON_EXIT_USAGE, "the address must be http://IPV4[:PORT]/PATH");
	}
	plan = (struct load_plan){
		.links = (unsigned)o.connections, .depth = (unsigned)o.depth, .warm_ns = (uint64_t)(o.warm_s * 1e9),
		.run_ns = (uint64_t)(o.seconds * 1e9), .drain_ns = (uint64_t)(o.drain_s * 1e9), .late_ns = (uint64_t)(o.late_us * 1e3),
	};
	ret = load_create(&load, &plan, poisson, o.rate, (uint64_t)o.seed);
	if (ret)
		return fail(ECON_EXIT_FAILED, "%s", strerror(-ret));
	ret = net_run(&load, &to, &net, err, sizeof(err));
	if (ret)
		ret = fail(ECON_EXIT_FAILED, "%s:%u: %s", to.host, to.port, err);
	else
		print(&load, &net, poisson);
	if (!ret && !load.answers)
		ret = fail(ECON_EXIT_FAILED, "no request was answered: %s", net.first_trouble ? net.first_trouble : "the server is silent");
	load_destroy(&load);
	free(path);
	return ret;
}
