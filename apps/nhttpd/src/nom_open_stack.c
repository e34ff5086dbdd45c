// SPDX-License-Identifier: MIT
/*
 * nom_open_stack.c - the stack, and what to say when it cannot be had
 *
 * Apart from nom_open.c because there is one of it for each core (rules.mk).
 */
#include "nom_open.h"

#include "cores.h"
#include "net_nom.h"
#include "server.h"

#include <nomstack/nomstack.h>
#include <nomux/clock.h>

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

/* Of several cores the first one asks, and the others hear from it; frames for each may come to any. */
static int wait_with_others(struct server *srv, struct nomstack *stack)
{
	uint64_t end_ns = nomux_now_ns() + DHCP_MS * 1000000ULL;
	int ret;

	nom_share_open(srv);
	do {
		ret = nomstack_wait_address(stack, 1);
		nom.next_config_ns = 0;
		nom_share_tick(srv, nomux_now_ns());
		if (ret != -ETIMEDOUT)
			return ret;
	} while (!cores_over(srv) && (srv->core_nr || nomux_now_ns() < end_ns));
	return srv->core_nr || cores_over(srv) ? -ECANCELED : -ETIMEDOUT;
}

static int wait_alone(struct nomstack *stack)
{
	int ret;

	for (int ms = 0; ; ms += 200) {
		ret = nomstack_wait_address(stack, 200);
		if (ret != -ETIMEDOUT || ms >= DHCP_MS || term_pending())
			return ret;
	}
}

int nom_open_stack(struct server *srv, struct vnet *vnet, struct nomstack **stack_out)
{
	const char *ip6 = srv->opt->ip6 ? srv->opt->ip6 : "auto";
	struct nomstack_opts opts = {
		.sz = sizeof(opts), .vnet = vnet, .ip4 = srv->opt->ip, .gateway = srv->opt->gateway,
		.hostname = srv->opt->name, .ip6 = strcmp(ip6, "off") ? ip6 : NULL, .gateway6 = srv->opt->gateway6,
		.follows = srv->core_nr > 0,
	};
	int ret = nomstack_open(&opts, stack_out);

	if (ret) {
		die_message("cannot open the network stack: %s%s", strerror(-ret),
			    ret == -EINVAL ? ": --ip takes ADDR/LEN (10.0.0.2/24) or dhcp, --gateway an address, --ip6 ADDR/64, auto or off, --gateway6 an address, with a fixed one only" :
			    ret == -ENOMEM ? ": boot with more nom_mem=" : "");
		return ret == -EINVAL ? EXIT_USAGE : ret == -ENOMEM ? EXIT_NO_MEMORY : EXIT_DEVICE;
	}
	ret = srv->cores ? wait_with_others(srv, *stack_out) : wait_alone(*stack_out);
	if (!ret)
		return EXIT_OK;
	if (ret == -ECANCELED)
		return EXIT_ADDRESS;	/* who asked has said why, or was told to stop */
	if (ret == -ETIMEDOUT)
		die_message(srv->opt->ip ?
			    "no DHCP server answered in %d s: give a fixed address with --ip ADDR/LEN" :
			    "no IPv6 address in %d s: no router announces one, or another node has it: give a fixed one with --ip6 ADDR/64",
			    DHCP_MS / 1000);
	else
		die_message("--device %s: the device failed while asking for an address", srv->opt->device);
	return ret == -ETIMEDOUT ? EXIT_ADDRESS : EXIT_DEVICE;
}
