// SPDX-License-Identifier: MIT
/* options.c - the command line, from one table: parsing, ranges, --help */
#include "options.h"

#include <nomapp/app.h>
#include <nomdrv/vnet.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { TEXT, NUMBER, CHOICE, SET };
enum { LINUX = 1, NOM = 2, BOTH = 3 };

#define AT(field) offsetof(struct options, field)

static const struct option_def {
	const char *name;
	const char *arg;	/* shown in help; CHOICE: the words, separated by '|' */
	enum kind kind;
	unsigned stacks;
	size_t at;
	int64_t min, max;	/* SET: min is what is stored */
	int64_t def;
	const char *help;
} table[] = {
	{ "root", "DIR", TEXT, BOTH, AT(root), 0, 0, 0, "serve the files below DIR (required)" },
	{ "stack", "linux|nom|packet|xdp", CHOICE, BOTH, AT(stack), 0, 0, STACK_LINUX,
	  "the kernel's TCP/IP, or a private one on a device of our own, or over a packet socket or an AF_XDP one" },
	{ "port", "N", NUMBER, BOTH, AT(port), 1, 65535, 80, "TCP port" },
	{ "ip", "ADDR[/LEN]|dhcp", TEXT, BOTH, AT(ip), 0, 0, 0,
	  "nom: IPv4 address of the interface with prefix length, or dhcp (this or --ip6 is required); linux: listen here only, an address of either version" },
	{ "gateway", "ADDR", TEXT, NOM, AT(gateway), 0, 0, 0, "default gateway" },
	{ "ip6", "auto|off|ADDR/64", TEXT, NOM, AT(ip6), 0, 0, 0,
	  "IPv6: by router advertisements (default), none, or a fixed address; a link-local one besides" },
	{ "gateway6", "ADDR", TEXT, NOM, AT(gateway6), 0, 0, 0, "router of a fixed IPv6 address" },
	{ "device", "BDF|mmio:NAME|unix:PATH|IFNAME", TEXT, NOM, AT(device), 0, 0, 0,
	  "PCI function, 0000:00:03.0, platform device without PCI, mmio:LNRO0005:00, or the socket of a vhost-user back-end: hosted, no lease; packet, xdp: an interface of the kernel's (required)" },
	{ "cpu", "N", NUMBER, BOTH, AT(cpu), -1, 4095, -1,
	  "linux, packet, xdp: pin the serving thread; nom: the reserved core to lease; -1: any" },
	{ "cores", "N", NUMBER, NOM, AT(cores), 1, NHTTPD_CORES, 1,
	  "leased cores, each with a stack, a queue pair of the device and connections of its own" },
	{ "max-connections", "N", NUMBER, BOTH, AT(max_connections), 1, 65536, 1024,
	  "connections at once, an equal share for each core; others are told 503" },
	{ "idle-timeout-s", "N", NUMBER, BOTH, AT(idle_timeout_s), 1, 3600, 30,
	  "between requests, for a whole header block, and without progress of an answer" },
	{ "drain-timeout-s", "N", NUMBER, BOTH, AT(drain_timeout_s), 0, 3600, 5,
	  "after SIGTERM: time for requests under way" },
	{ "line-bytes", "N", NUMBER, BOTH, AT(line_bytes), 64, 65536, 4096, "longest request line; beyond it 414" },
	{ "header-bytes", "N", NUMBER, BOTH, AT(header_bytes), 128, 65536, 8192, "longest header block; beyond it 431" },
	{ "header-fields", "N", NUMBER, BOTH, AT(header_fields), 1, 1000, 100, "most field lines; beyond it 431" },
	{ "site-bytes", "N", NUMBER, BOTH, AT(site_bytes), 4096, 1LL << 36, 4 << 20,
	  "memory for the files (taken twice: a rescan loads beside the old ones)" },
	{ "w-us", "N", NUMBER, NOM, AT(w_us), -1, 100000, -1, "fix the batching delay W; -1: the profile's (0), or what --policy picks" },
	{ "policy", "penalty|refund|bonus", TEXT, BOTH, AT(policy), 0, 0, 0,
	  "valuation of the ledger; nom with --table: W is picked to maximise it" },
	{ "table", "FILE", TEXT, BOTH, AT(table), 0, 0, 0, "measured table: throughput and latency by connections and W" },
	{ "terms", "FILE", TEXT, BOTH, AT(terms), 0, 0, 0, "terms of the valuation; default: those of thesis 6.4" },
	{ "price-ucr", "N", NUMBER, BOTH, AT(price_ucr), 0, 1000000000000000LL, 0,
	  "price of bandwidth per Gbit, in micro-credits, until one is published" },
	{ "ledger", "FILE", TEXT, BOTH, AT(ledger), 0, 0, 0, "append a JSON line a second; - is standard output" },
	{ "poll", NULL, SET, NOM, AT(idle), IDLE_POLL, 0, 0, "never sleep" },
	{ "irq", NULL, SET, NOM, AT(idle), IDLE_IRQ, 0, 0, "sleep until the device's interrupt as soon as there is nothing to do" },
	{ "auto", NULL, SET, NOM, AT(idle), IDLE_AUTO, 0, 0, "poll, and sleep after --idle-us without work (default)" },
	{ "idle-us", "N", NUMBER, NOM, AT(idle_us), 1, 10000000, 10000, "see --auto" },
	{ "pause", "auto|on|off", CHOICE, NOM, AT(pause), 0, 0, PAUSE_AUTO,
	  "PAUSE instruction in the poll loop; auto: not on an emulated CPU" },
	{ "large-receive", "auto|on|off", CHOICE, NOM, AT(large_receive), 0, 0, LARGE_AUTO,
	  "the device joins segments that it receives; auto: where it can; on: or do not start" },
	{ "sink", "PATH", TEXT, BOTH, AT(sink), 0, 0, 0,
	  "read what is PUT or POSTed to PATH, at most 64 MiB each, throw it away and answer 204" },
	{ "busy-poll-us", "N", NUMBER, BOTH, AT(busy_poll_us), 0, 1000000, 0,
	  "linux, xdp: poll the device that long in epoll_wait and reads, or whenever there is nothing, and prefer that to interrupts; 0: leave that alone" },
	{ "xdp-mode", APP_XDP_MODES, CHOICE, NOM, AT(xdp_mode), 0, 0, VNET_XDP_BEST,
	  "xdp: how frames come and go; best: zero copy if the driver has it, else copy; others: this, or do not start" },
	{ "name", "TEXT", TEXT, BOTH, AT(name), 0, 0, 0, "name on the counter page and in the ledger (nhttpd)" },
};

#define NR (sizeof(table) / sizeof(table[0]))

const char *options_name(unsigned i)
{
	return i < NR ? table[i].name : NULL;
}

static int bad(char *err, size_t err_bytes, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int bad(char *err, size_t err_bytes, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, err_bytes, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static void help(void)
{
	printf("usage: nhttpd --root DIR [--stack linux] [OPTION]...\n"
	       "       nhttpd --root DIR --stack nom --device BDF --ip ADDR/LEN [OPTION]...\n"
	       "       nhttpd --root DIR --stack packet|xdp --device IFNAME --ip ADDR/LEN [OPTION]...\n\n"
	       "An HTTP/1.1 server for files, on the kernel's stack or on a private one.\n\n");
	for (unsigned i = 0; i < NR; i++) {
		const struct option_def *d = &table[i];
		char left[48];

		snprintf(left, sizeof(left), "--%s %s", d->name, d->arg ? d->arg : "");
		printf("  %-32s %s%s", left, d->stacks == NOM ? "(nom) " : d->stacks == LINUX ? "(linux) " : "", d->help);
		if (d->kind == NUMBER)
			printf(" (%lld..%lld, default %lld)", (long long)d->min, (long long)d->max, (long long)d->def);
		printf("\n");
	}
	printf("  %-32s the profile that the private stack was built with\n", "--version");
	printf("  %-32s this text\n\nSIGTERM drains and ends, SIGHUP reads the files again.  See nhttpd(1).\n", "--help");
}

static int set(struct options *opt, const struct option_def *d, const char *value, char *err, size_t n)
{
	int64_t *number = (int64_t *)((char *)opt + d->at);
	long long v;
	char *end;

	switch (d->kind) {
	case TEXT:
		*(const char **)((char *)opt + d->at) = value;
		return 0;
	case SET:
		*number = d->min;
		return 0;
	case CHOICE:
		v = app_choice(d->arg, value);
		if (v < 0)
			return bad(err, n, "--%s %s: must be one of %s", d->name, value, d->arg);
		break;
	default:
		errno = 0;
		v = strtoll(value, &end, 10);
		if (errno || end == value || *end || v < d->min || v > d->max)
			return bad(err, n, "--%s %s: must be a number from %lld to %lld", d->name, value,
				   (long long)d->min, (long long)d->max);
	}
	*number = v;
	return 0;
}

static bool is_given(const uint8_t *given, const char *name)
{
	for (unsigned i = 0; i < NR; i++)
		if (!strcmp(table[i].name, name))
			return given[i];
	return false;
}

/* Rules that need more than one option. */
static int check(const struct options *opt, const uint8_t *given, char *err, size_t n)
{
	unsigned here = opt->stack == STACK_LINUX ? LINUX : NOM;
	static const char *const stacks[] = { "linux", "nom", "packet", "xdp" };
	const char *stack = stacks[opt->stack];

	if (!opt->root)
		return bad(err, n, "--root is missing: name the directory to serve");
	for (unsigned i = 0; i < NR; i++)
		if (given[i] && !(table[i].stacks & here))
			return bad(err, n, "--%s means nothing with --stack %s", table[i].name, stack);
	if (opt->stack >= STACK_PACKET && (!opt->device || strchr(opt->device, ':')))
		return bad(err, n, "--stack %s needs --device: a network interface of the kernel's (ip link)", stack);
	if (opt->stack >= STACK_PACKET && (opt->cores > 1 || opt->large_receive == LARGE_ON))
		return bad(err, n, "--cores and --large-receive on mean nothing with --stack %s", stack);
	if (opt->stack != STACK_XDP && opt->xdp_mode != VNET_XDP_BEST)
		return bad(err, n, "--xdp-mode means nothing with --stack %s", stack);
	if (here == NOM && opt->stack != STACK_XDP && opt->busy_poll_us)
		return bad(err, n, "--busy-poll-us means nothing with --stack %s", stack);
	if (here == NOM && !opt->device)
		return bad(err, n, "--stack nom needs --device: a PCI function (lspci -D), mmio:NAME or unix:PATH");
	if (opt->stack == STACK_NOM && app_interface(opt->device))
		return bad(err, n, "an interface of the kernel's is no device of our own: --stack packet or xdp, --device IFNAME");
	if (here == NOM && !opt->ip && (!opt->ip6 || !strcmp(opt->ip6, "off")))
		return bad(err, n, "--stack %s needs --ip: ADDR/LEN or dhcp, or --ip6: ADDR/64 or auto", stack);
	if (opt->cores > 1 && !strncmp(opt->device, "unix:", 5))
		return bad(err, n, "--cores %lld: hosted mode has one queue pair; give a PCI function to --device",
			   (long long)opt->cores);
	if (opt->cores > 1 && opt->cpu >= 0)
		return bad(err, n, "--cpu names one core, --cores leases any: give one of them");
	if (is_given(given, "poll") + is_given(given, "irq") + is_given(given, "auto") > 1)
		return bad(err, n, "--poll, --irq and --auto contradict each other: give one of them");
	if (is_given(given, "idle-us") && opt->idle != IDLE_AUTO)
		return bad(err, n, "--idle-us means nothing with --poll, which never sleeps, or --irq, which never waits to sleep");
	if (opt->line_bytes > opt->header_bytes)
		return bad(err, n, "--line-bytes %lld is more than --header-bytes %lld, which it is part of",
			   (long long)opt->line_bytes, (long long)opt->header_bytes);
	if (opt->policy && app_choice("penalty|refund|bonus", opt->policy) < 0)
		return bad(err, n, "--policy %s: must be one of penalty|refund|bonus", opt->policy);
	if (here == NOM && opt->w_us >= 0 && opt->table)
		return bad(err, n, "--w-us fixes W, --table lets it be picked: give one of them");
	if (here == NOM && opt->policy && !opt->table && !opt->ledger)
		return bad(err, n, "--policy needs --table to pick W by, or --ledger to show its profit in");
	return 0;
}

int options_parse(struct options *opt, int argc, char **argv, char *err, size_t err_bytes)
{
	uint8_t given[NR] = { 0 };

	memset(opt, 0, sizeof(*opt));
	opt->name = "nhttpd";
	for (unsigned i = 0; i < NR; i++)
		if (table[i].kind == NUMBER || table[i].kind == CHOICE)
			*(int64_t *)((char *)opt + table[i].at) = table[i].def;
	for (int a = 1; a < argc; a++) {
		const char *arg = argv[a], *eq, *value = NULL;
		unsigned i;
		int ret;

		if (!strcmp(arg, "--help") || !strcmp(arg, "-h")) {
			help();
			return OPTIONS_SHOWN;
		}
		if (strncmp(arg, "--", 2))
			return bad(err, err_bytes, "unexpected argument \"%s\": see nhttpd --help", arg);
		eq = strchr(arg, '=');
		for (i = 0; i < NR; i++)
			if (strlen(table[i].name) == (eq ? (size_t)(eq - arg) : strlen(arg)) - 2 &&
			    !strncmp(arg + 2, table[i].name, strlen(table[i].name)))
				break;
		if (i == NR)
			return bad(err, err_bytes, "unknown option %s: see nhttpd --help", arg);
		if (table[i].kind != SET) {
			value = eq ? eq + 1 : a + 1 < argc ? argv[++a] : NULL;
			if (!value || !*value)
				return bad(err, err_bytes, "--%s needs a value: %s", table[i].name, table[i].arg);
		} else if (eq) {
			return bad(err, err_bytes, "--%s takes no value", table[i].name);
		}
		ret = set(opt, &table[i], value, err, err_bytes);
		if (ret)
			return ret;
		given[i] = 1;
	}
	return check(opt, given, err, err_bytes);
}
