// SPDX-License-Identifier: MIT
/*
 * nom_open_stack.c - the stack, and what to say when it cannot be had
 *
 * Apart from nom_open.c because there is one of it for each core (rules.mk).
 */
#include "nom_open.h"

#include "server.h"

#include <nomstack/nomstack.h>

#include <errno.h>
#include <signal.h>
#include <string.h>

#define DHCP_MS 15000

/* SIGTERM while waiting for the DHCP server: nobody else listens yet. */
static bool term_pending(void)
{
	sigset_t set;

	return !sigpending(&set) && (sigismember(&set, SIGTERM) || sigismember(&set, SIGINT));
}

int nom_open_stack(struct server *srv, struct vnet *vnet, struct nomstack **stack_out)
{
	/* Where IPv6's neighbours are is not passed on between cores. */
	const char *ip6 = srv->opt->ip6 ? srv->opt->ip6 : srv->cores ? "off" : "auto";
	struct nomstack_opts opts = {
		.sz = sizeof(opts), .vnet = vnet, .ip4 = srv->opt->ip, .gateway = srv->opt->gateway,
		.hostname = srv->opt->name, .ip6 = strcmp(ip6, "off") ? ip6 : NULL, .gateway6 = srv->opt->gateway6,
	};
	int ret = nomstack_open(&opts, stack_out);

	if (ret) {
		die_message("cannot open the network stack: %s%s", strerror(-ret),
			    ret == -EINVAL ? ": --ip takes ADDR/LEN (10.0.0.2/24) or dhcp, --gateway an address, --ip6 ADDR/64, auto or off, --gateway6 an address, with a fixed one only" :
			    ret == -ENOMEM ? ": boot with more nom_mem=" : "");
		return ret == -EINVAL ? EXIT_USAGE : ret == -ENOMEM ? EXIT_NO_MEMORY : EXIT_DEVICE;
	}
	for (int ms = 0; ; ms += 200) {
		ret = nomstack_wait_address(*stack_out, 200);
		if (ret != -ETIMEDOUT || ms >= DHCP_MS || term_pending())
			break;
	}
	if (!ret)
		return EXIT_OK;
	if (ret == -ETIMEDOUT)
		die_message(srv->opt->ip ?
			    "no DHCP server answered in %d s: give a fixed address with --ip ADDR/LEN" :
			    "no IPv6 address in %d s: no router announces one, or another node has it: give a fixed one with --ip6 ADDR/64",
			    DHCP_MS / 1000);
	else
		die_message("--device %s: the device failed while asking for an address", srv->opt->device);
	return ret == -ETIMEDOUT ? EXIT_ADDRESS : EXIT_DEVICE;
}
