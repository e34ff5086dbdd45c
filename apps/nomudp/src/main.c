// SPDX-License-Identifier: MIT
/*
 * main.c - nomudp: answer datagrams, on the kernel's stack or on a device of its own
 */
#include "server.h"

#include <econ/options.h>
#include <nomdrv/vnet.h>
#include <nomux/clock.h>
#include <nomux/ctx.h>
#include <nomux/log.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define NOT_GIVEN (-1)		/* below all ranges */
#define OPT(field) offsetof(struct options, field)
static const struct econ_option table[] = {
	{ "stack", 's', ECON_OPT_STRING, OPT(stack_word), "KIND", "linux: the kernel's (default); nom: a device of our own; packet, xdp: our stack over a packet socket, an AF_XDP one", 0, 0 },
	{ "tier", 't', ECON_OPT_STRING, OPT(tier_word), "KIND", "nom, packet, xdp: raw: frames (default); native: the private stack", 0, 0 },
	{ "port", 'p', ECON_OPT_INT, OPT(port), "N", "UDP port (7000)", 1, 65535 },
	{ "ip", 'i', ECON_OPT_STRING, OPT(ip), "ADDR[/LEN]", "nom, packet, xdp: own address and prefix (required); linux: listen here only", 0, 0 },
	{ "device", 'd', ECON_OPT_STRING, OPT(device), "BDF|mmio:NAME|unix:PATH|IFNAME",
	  "nom: PCI function, platform device, or the socket of a vhost-user back-end: hosted, no lease ($NOM_DEVICE); packet, xdp: the kernel's interface", 0, 0 },
	{ "cpu", 'c', ECON_OPT_INT, OPT(cpu), "N", "linux, packet, xdp: stay on this core; nom: the reserved core to lease ($NOM_CPU; -1: any)", -1, 4095 },
	{ "w-us", 'w', ECON_OPT_INT, OPT(w_us), "N", "nom, packet, xdp: the batching delay W (0)", 0, 100000 },
	{ "large-receive", 0, ECON_OPT_FLAG, OPT(large_receive), NULL, "nom, native: the device may join datagrams that it receives", 0, 0 },
	{ "poll", 0, ECON_OPT_FLAG, OPT(poll), NULL, "nom, packet, xdp: never sleep", 0, 0 },
	{ "irq", 0, ECON_OPT_FLAG, OPT(irq), NULL, "nom, packet, xdp: sleep as soon as there is nothing to do", 0, 0 },
	{ "idle-us", 0, ECON_OPT_INT, OPT(idle_us), "N", "nom, packet, xdp: sleep after so long without work at most (10000)", 1, 10000000 },
	{ "pause", 0, ECON_OPT_STRING, OPT(pause_word), "auto|on|off", "nom, packet, xdp: PAUSE while polling; auto: not on an emulated CPU", 0, 0 },
	{ "arp-per-s", 0, ECON_OPT_INT, OPT(arp_per_s), "N", "raw: ARP answers a second, a tenth of it at once (1000)", 0, 1000000 },
	{ "icmp-per-s", 0, ECON_OPT_INT, OPT(icmp_per_s), "N", "nom, packet, xdp: echo replies likewise (1000)", 0, 1000000 },
	{ "busy-poll-us", 0, ECON_OPT_INT, OPT(busy_poll_us), "N",
	  "linux, xdp: poll the device so long in a read, or whenever there is nothing, and prefer that to interrupts; 0: leave that alone (0)", 0, 1000000 },
	{ "xdp-mode", 0, ECON_OPT_STRING, OPT(xdp_word), APP_XDP_MODES,
	  "xdp: how frames come and go; best: zero copy if the driver has it, else copy (default); others: this, or do not start", 0, 0 },
	{ "name", 0, ECON_OPT_STRING, OPT(name), "TEXT", "name on the counter page (nomudp)", 0, 0 },
	{ "help", 'h', ECON_OPT_FLAG, OPT(help), NULL, "this text", 0, 0 },
	{ NULL, 0, 0, 0, NULL, NULL, 0, 0 },
};

void server_announce(struct server *srv, const char *where)
{
	static const char *const stacks[] = { "linux", "nom", "packet", "xdp" };

	printf("nomudp: answering %s, stack %s%s, pid %d\n", where, stacks[srv->opt.stack],
	       srv->opt.stack == STACK_LINUX ? "" : srv->opt.tier == TIER_RAW ? ", raw tier" : ", native tier", (int)getpid());
	fflush(stdout);
}

static void *signals_main(void *arg)
{
	struct server *srv = arg;
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (!sigwait(&set, &sig))
		atomic_store(&srv->stop, true);
	return NULL;
}

int server_signals(struct server *srv)
{
	pthread_t thread;
	int ret = pthread_create(&thread, NULL, signals_main, srv);

	if (ret) {
		die_message("cannot start a thread: %s", strerror(ret));
		return EXIT_OTHER;
	}
	pthread_detach(thread);		/* it ends with the process, or a signal later than need be */
	return EXIT_OK;
}

static int usage_error(const char *what)
{
	die_message("%s: see nomudp --help", what);
	return EXIT_USAGE;
}

/* nomctl run tells device and core by its environment. */
static int take_environment(struct options *o)
{
	const char *cpu = getenv("NOM_CPU");
	char *end;

	if (o->stack != STACK_NOM)
		return EXIT_OK;
	if (!o->device)
		o->device = getenv("NOM_DEVICE");
	if (o->cpu >= 0 || !cpu)
		return EXIT_OK;
	o->cpu = strtol(cpu, &end, 10);
	return *cpu && !*end && o->cpu >= 0 && o->cpu < 4096 ? EXIT_OK : usage_error("NOM_CPU is no core's number");
}

/* What was given and would have no effect. */
static const char *without_effect(const struct options *o)
{
	if (o->stack == STACK_LINUX && (o->tier_word || o->device || o->w_us != NOT_GIVEN || o->poll || o->irq))
		return "--tier, --device, --w-us, --poll and --irq mean nothing with --stack linux";
	if (o->stack == STACK_LINUX && (o->idle_us != NOT_GIVEN || o->pause_word || o->arp_per_s != NOT_GIVEN || o->icmp_per_s != NOT_GIVEN))
		return "--idle-us, --pause, --arp-per-s and --icmp-per-s mean nothing with --stack linux";
	if (o->stack != STACK_LINUX && o->stack != STACK_XDP && o->busy_poll_us)
		return "--busy-poll-us means nothing without --stack linux or xdp";
	if (o->stack != STACK_XDP && o->xdp_word)
		return "--xdp-mode means nothing without --stack xdp";
	if (o->tier == TIER_NATIVE && o->arp_per_s != NOT_GIVEN)
		return "--arp-per-s means nothing with --tier native, whose stack has bounds of its own";
	if (o->idle_us != NOT_GIVEN && (o->poll || o->irq))
		return "--idle-us means nothing with --poll, which never sleeps, or --irq, which never waits to sleep";
	return NULL;
}

static void defaults(struct options *o)
{
	if (o->w_us == NOT_GIVEN)
		o->w_us = 0;
	if (o->idle_us == NOT_GIVEN)
		o->idle_us = 10000;
	if (o->arp_per_s == NOT_GIVEN)
		o->arp_per_s = 1000;
	if (o->icmp_per_s == NOT_GIVEN)
		o->icmp_per_s = 1000;
}

static int check(struct options *o)
{
	static char interface[64];		/* longer names are cut off, and no interface has one */
	int stack = app_choice("linux|nom|packet|xdp", o->stack_word), tier = app_choice("raw|native", o->tier_word ? o->tier_word : "raw");
	int pause = app_choice("auto|on|off", o->pause_word ? o->pause_word : "auto");

	if (stack < 0)
		return usage_error("--stack must be linux, nom, packet or xdp");
	if (tier < 0)
		return usage_error("--tier must be raw or native");
	if (pause < 0)
		return usage_error("--pause must be auto, on or off");
	if (o->poll && o->irq)
		return usage_error("--poll and --irq are opposites: give one of them");
	o->stack = stack;
	o->tier = tier;
	o->idle = o->poll ? IDLE_POLL : o->irq ? IDLE_IRQ : IDLE_AUTO;
	o->pause = pause == 1 || (pause == 0 && !app_emulated_cpu());
	if (without_effect(o))
		return usage_error(without_effect(o));
	defaults(o);
	o->xdp_mode = o->xdp_word ? app_xdp_mode(o->xdp_word) : VNET_XDP_BEST;
	if (o->xdp_mode < 0)
		return usage_error("--xdp-mode must be " APP_XDP_MODES);
	if (take_environment(o))
		return EXIT_USAGE;
	if (stack == STACK_NOM && !o->device)
		return usage_error("--stack nom needs --device: a PCI function (lspci -D), mmio:NAME or unix:PATH");
	if (stack == STACK_NOM && app_interface(o->device))
		return usage_error("an interface of the kernel's is no device of our own: --stack packet or xdp, --device IFNAME");
	if (stack >= STACK_PACKET && (!o->device || strchr(o->device, ':')))
		return usage_error("--stack packet and xdp need --device: a network interface of the kernel's (ip link)");
	if (stack >= STACK_PACKET) {
		snprintf(interface, sizeof(interface), "%s%s", stack == STACK_XDP ? APP_XDP : APP_PACKET, o->device);
		o->device = interface;
	}
	if (stack != STACK_LINUX && !o->ip)
		return usage_error(stack == STACK_NOM ? "--stack nom needs --ip ADDR/LEN" : "--stack packet and xdp need --ip ADDR/LEN");
	if (o->large_receive && (stack != STACK_NOM || tier == TIER_RAW))
		return usage_error("--large-receive is for --stack nom --tier native: a raw answer lies in the buffer of its request");
	if (stack != STACK_LINUX && tier == TIER_RAW && !strcmp(o->ip, "dhcp"))
		return usage_error("--ip dhcp needs the stack: --tier native");
	return EXIT_OK;
}

int main(int argc, char **argv)
{
	static struct server srv = { .opt = {
		.stack_word = "linux", .name = "nomudp", .port = 7000, .cpu = -1, .w_us = NOT_GIVEN,
		.idle_us = NOT_GIVEN, .arp_per_s = NOT_GIVEN, .icmp_per_s = NOT_GIVEN,
	} };
	char err[200];
	sigset_t set;
	int ret;

	app_begin("nomudp");
	ret = econ_options_parse(table, &srv.opt, argc - 1, argv + 1, 0, err, sizeof(err));
	if (ret)
		return usage_error(ret < 0 ? err : "it takes no operands");
	if (srv.opt.help) {
		printf("usage: nomudp [--stack linux] [OPTION]...\n"
		       "       nomudp --stack nom --device BDF --ip ADDR/LEN [OPTION]...\n"
		       "       nomudp --stack packet|xdp --device IFNAME --ip ADDR/LEN [OPTION]...\n\n"
		       "Answer datagrams, on the kernel's stack or on a device of its own.\n\n");
		econ_options_help(stdout, table);
		printf("\nSIGTERM ends it.  See nomudp(1).\n");
		return EXIT_OK;
	}
	ret = check(&srv.opt);
	if (ret)
		return ret;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	nomux_clock_init();
	ret = metrics_open(&srv.m, srv.opt.name);
	if (ret)
		nomux_log(LOG_WARNING, "nomudp: no counter page (%s): nomctl will not see this server", strerror(-ret));
	ret = srv.opt.stack == STACK_LINUX ? net_linux_run(&srv) : net_nom_run(&srv);
	nomux_close(srv.nomux);
	metrics_close(&srv.m);
	return ret;
}
