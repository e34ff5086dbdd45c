// SPDX-License-Identifier: MIT
/*
 * nom-load - load an HTTP server at a set rate, and say how long requests took
 *
 * wrk is a closed loop: a server that stalls is asked less.  Here requests are
 * due when a clock says so; latency counts from then.  load.h has the method.
 */
#include "command.h"

#include <stdarg.h>
#include <string.h>

#include <econ/options.h>

static void usage(FILE *out)
{
	fprintf(out, "usage: nom-load (--rate N | --closed) [options] http://ADDRESS[:PORT]/PATH | udp://ADDRESS[:PORT]\n"
		"Load an HTTP server, or nomudp, at a set rate; one JSON object on standard output.\n\n");
	command_help(out);
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

int main(int argc, char **argv)
{
	static struct load load;
	struct net_result net;
	struct command c;
	char err[200];
	int ret;

	if (command_read(&c, argc - 1, argv + 1, err, sizeof(err))) {
		command_free(&c);
		return fail(ECON_EXIT_USAGE, "%s", err);
	}
	if (c.help) {
		usage(stdout);
		return ECON_EXIT_OK;
	}
	ret = command_load(&c, &load);
	if (ret)
		return fail(ECON_EXIT_FAILED, "%s", strerror(-ret));
	ret = (c.to.udp ? net_udp_run : net_run)(&load, &c.to, &net, err, sizeof(err));
	if (ret)
		ret = fail(ECON_EXIT_FAILED, "%s:%u: %s", c.to.host, c.to.port, err);
	else
		command_print(stdout, &c, &load, &net, NULL);
	if (!ret && !load.answers)
		ret = fail(ECON_EXIT_FAILED, "no request was answered: %s", net.first_trouble ? net.first_trouble : "the server is silent");
	load_destroy(&load);
	command_free(&c);
	return ret;
}
