/* SPDX-License-Identifier: MIT */
/* options.h - the command line, from one table: parsing, ranges, --help */
#ifndef NHTTPD_OPTIONS_H
#define NHTTPD_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

enum stack { STACK_LINUX, STACK_NOM, STACK_PACKET, STACK_XDP };	/* from STACK_PACKET on: an interface of the kernel's */
#ifndef NHTTPD_CORES
#define NHTTPD_CORES 2	/* rules.mk links as many copies of the stack */
#endif

enum idle { IDLE_AUTO, IDLE_POLL, IDLE_IRQ };
enum pause { PAUSE_AUTO, PAUSE_ON, PAUSE_OFF };
enum large { LARGE_AUTO, LARGE_ON, LARGE_OFF };

/* Numbers are int64_t, so that one table entry form serves all. */
struct options {
	const char *root, *ip, *gateway, *device, *name, *sink;
	const char *ip6, *gateway6;
	const char *ledger, *table, *terms, *policy;
	int64_t stack, port;
	int64_t max_connections, idle_timeout_s, drain_timeout_s;
	int64_t line_bytes, header_bytes, header_fields, site_bytes;
	int64_t cpu, cores, busy_poll_us, xdp_mode;
	int64_t idle, idle_us, pause;
	int64_t large_receive;
	int64_t w_us, price_ucr;
};

enum { OPTIONS_RUN = 0, OPTIONS_SHOWN = 1 };

/**
 * options_parse - read the command line
 * @opt: filled in, defaults included
 * @argc: as main() has it
 * @argv: strings are borrowed
 * @err: one line when it fails
 * @err_bytes: room there
 *
 * Return: OPTIONS_RUN, OPTIONS_SHOWN (--help or --version was printed), or
 * -EINVAL.
 */
int options_parse(struct options *opt, int argc, char **argv, char *err, size_t err_bytes);

/* options_names - the @i-th option's name without dashes, or NULL: for tests */
const char *options_name(unsigned i);

#endif
