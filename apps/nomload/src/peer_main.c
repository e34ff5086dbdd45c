// SPDX-License-Identifier: MIT
/*
 * nom-peer - a virtual machine's network device and the clients behind it
 *
 * The device is vhost-user, the clients are nom-load's: each line of standard
 * input is a load, its figures are a line of standard output.
 */
#include "command.h"
#include "peer.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <econ/options.h>

#define LINE_BYTES	4096
#define WORDS_MAX	64

static volatile sig_atomic_t stop;

static struct {
	const char *ip4, *mac;
	bool packed, help;
} o = { .ip4 = "10.0.0.1/24", .mac = "52:54:00:6e:6f:fe" };

#define OPT(field)	((size_t)((char *)&o.field - (char *)&o))
static const struct econ_option table[] = {
	{ "ip", 'i', ECON_OPT_STRING, OPT(ip4), "A/N", "own address and prefix (10.0.0.1/24)", 0, 0 },
	{ "mac", 'm', ECON_OPT_STRING, OPT(mac), "MAC", "own address on the link (52:54:00:6e:6f:fe)", 0, 0 },
	{ "packed", 0, ECON_OPT_FLAG, OPT(packed), NULL, "offer packed rings, too", 0, 0 },
	{ "help", 'h', ECON_OPT_FLAG, OPT(help), NULL, "this text", 0, 0 },
	{ NULL, 0, 0, 0, NULL, NULL, 0, 0 },
};

static void usage(FILE *out)
{
	fprintf(out, "usage: nom-peer [options] SOCKET\n"
		"Be a virtual machine's network device (vhost-user) and load the server in it.\n\n");
	econ_options_help(out, table);
	fprintf(out, "\nEach line of standard input is a load, as nom-load takes it:\n\n");
	command_help(out);
	fprintf(out, "\nExit: 0 at the end of input or on SIGTERM, 1 cannot start, 2 usage.\n");
}

static int fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int fail(int code, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "nom-peer: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return code;
}

static void on_signal(int sig)
{
	stop = 1;
}

static void answer_error(const char *text)
{
	json_t *out = json_pack("{s:s}", "error", text);

	json_dumpf(out, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
	json_decref(out);
}

static json_t *link_figures(struct peer *p, const struct peer_link *before)
{
	struct peer_link now;

	peer_link(p, &now);
	return json_pack("{s:{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}}", "link",
			 "to_guest", (json_int_t)(now.to_guest - before->to_guest),
			 "from_guest", (json_int_t)(now.from_guest - before->from_guest),
			 "interrupts", (json_int_t)(now.interrupts - before->interrupts),
			 "doorbells", (json_int_t)(now.doorbells - before->doorbells),
			 "lost", (json_int_t)(now.lost - before->lost),
			 "waited", (json_int_t)(now.waited - before->waited),
			 "retransmits", (json_int_t)(now.retransmits - before->retransmits),
			 "protocol_errors", (json_int_t)(now.protocol_errors - before->protocol_errors),
			 "features", (json_int_t)now.features);
}

static void serve(struct peer *p, char *line)
{
	static struct load load;
	char *words[WORDS_MAX], *save, *word, err[200];
	struct peer_link before;
	struct net_result net;
	struct command c;
	int nr = 0;

	for (word = strtok_r(line, " \t", &save); word && nr < WORDS_MAX; word = strtok_r(NULL, " \t", &save))
		words[nr++] = word;
	if (!nr)
		return;
	if (command_read(&c, nr, words, err, sizeof(err)) || c.help) {
		answer_error(c.help ? "--help is of the command line" : err);
	} else if (c.to.udp) {
		answer_error("datagrams are nom-load's");
	} else if (command_load(&c, &load)) {
		answer_error("no memory for this load");
	} else {
		peer_link(p, &before);
		if (peer_run(p, &load, &c.to, &net, err, sizeof(err)))
			answer_error(stop ? "interrupted" : err);
		else if (!load.answers)
			answer_error(net.first_trouble ? net.first_trouble : "no request was answered");
		else
			command_print(stdout, &c, &load, &net, link_figures(p, &before));
		load_destroy(&load);
	}
	command_free(&c);
}

/* Loads, one after the other, until there are no more. */
static int serve_input(struct peer *p)
{
	static char in[LINE_BYTES];
	size_t have = 0;

	while (peer_wait(p, STDIN_FILENO)) {
		ssize_t got = read(STDIN_FILENO, in + have, sizeof(in) - have);
		char *line = in, *end;

		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got <= 0)
			break;
		have += (size_t)got;
		while ((end = memchr(line, '\n', have - (size_t)(line - in)))) {
			*end = '\0';
			serve(p, line);
			line = end + 1;
		}
		have -= (size_t)(line - in);
		memmove(in, line, have);
		if (have == sizeof(in))
			return fail(ECON_EXIT_USAGE, "a line of more than %d bytes", LINE_BYTES);
	}
	if (peer_trouble(p))
		fail(0, "a virtual machine's connection was dropped: %s", peer_trouble(p));
	return ECON_EXIT_OK;
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = on_signal };
	struct peer_opts po = { .stop = &stop };
	unsigned mac[6];
	struct peer *p;
	char err[200];
	int nr, ret, n = 0;

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
	if (sscanf(o.mac, "%2x:%2x:%2x:%2x:%2x:%2x%n", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5], &n) != 6 || o.mac[n] || mac[0] & 1)
		return fail(ECON_EXIT_USAGE, "--mac %s: must be a station's address", o.mac);
	for (n = 0; n < 6; n++)
		po.mac[n] = (uint8_t)mac[n];
	po.socket = argv[1];
	po.ip4 = o.ip4;
	po.packed = o.packed;
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
	if (peer_create(&po, &p, err, sizeof(err)))
		return fail(ECON_EXIT_FAILED, "%s", err);
	ret = serve_input(p);
	peer_destroy(p);
	return ret;
}
