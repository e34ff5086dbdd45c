// SPDX-License-Identifier: MIT
/*
 * main.c - nhttpd: files over HTTP/1.1, on the kernel's stack or on its own
 *
 * Start-up: options, signals, clock, counters, price; then the stack of choice
 * runs until SIGTERM.  README.rst says which HTTP is spoken.
 */
#include "house.h"
#include "price.h"
#include "server.h"

#include <nomstack/nomstack.h>
#include <nomux/clock.h>
#include <nomux/ctx.h>
#include <nomux/log.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

int main(int argc, char **argv)
{
	static struct options opt;
	static struct server srv;
	char err[512], interface[64];
	int ret;

	app_begin("nhttpd");
	if (argc == 2 && !strcmp(argv[1], "--version")) {
		printf("nhttpd, stack profile %s\n", nomstack_profile());
		return EXIT_OK;
	}
	ret = options_parse(&opt, argc, argv, err, sizeof(err));
	if (ret < 0) {
		die_message("%s", err);
		return EXIT_USAGE;
	}
	if (ret == OPTIONS_SHOWN)
		return EXIT_OK;
	if (opt.stack >= STACK_PACKET) {	/* longer names are cut off, and no interface has one */
		snprintf(interface, sizeof(interface), "%s%s", opt.stack == STACK_XDP ? APP_XDP : APP_PACKET, opt.device);
		opt.device = interface;
	}
	house_block_signals();
	nomux_clock_init();
	srv.opt = &opt;
	srv.lim = (struct http_limits){ opt.line_bytes, opt.header_bytes, opt.header_fields };
	srv.idle_ns = opt.idle_timeout_s * 1000000000ULL;
	srv.date_s = -1;
	ret = metrics_open(&srv.m, opt.name);
	if (ret)
		nomux_log(LOG_WARNING, "nhttpd: no counter page (%s): nomctl will not see this server", strerror(-ret));
	metrics_knob(&srv.m, K_IDLE_TIMEOUT_S, "idle_timeout_s", "s",
		     "how long a silent connection is kept: fewer reconnects for more memory", 1, 3600,
		     opt.idle_timeout_s);
	/* In-tree and hosted: the board is read for its prices where there is one. */
	if ((opt.stack == STACK_LINUX || app_hosted(opt.device)) && nomux_open(&srv.nomux))
		srv.nomux = NULL;
	ret = price_open(&srv);
	if (!ret)
		ret = opt.stack == STACK_LINUX ? net_linux_run(&srv) : opt.cores > 1 ? cores_run(&srv) : net_nom_run(&srv);
	price_close(&srv);
	nomux_close(srv.nomux);
	metrics_close(&srv.m);
	return ret;
}
