// SPDX-License-Identifier: MIT
/* house.c - the house thread: signals, ledger, rescans, the wall clock */
#include "house.h"

#include "price.h"
#include "server.h"
#include "site.h"

#include <econ/ledger.h>
#include <nomux/clock.h>
#include <nomux/log.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#define SECOND_NS 1000000000ULL
/*
 * A retired site's memory may still be read by the device when the last
 * acknowledgment has come (a retransmission on its way out).
 */
#define REUSE_AFTER_NS (2 * SECOND_NS)
#define RETRY_NS 100000000ULL		/* a rescan that has to wait for that */

static struct {
	pthread_t thread;
	struct econ_ledger *ledger;
	bool running, ledger_failed;
	_Atomic bool end;
	struct server **core;		/* who serves: the server itself, or one for each core */
	struct metrics *words[NHTTPD_CORES];	/* theirs */
	unsigned nr;
	struct {
		bool rescan;
		int in_use;		/* site_mem[] of the site in force, or about to be */
		bool spare;		/* the other one is free */
		uint64_t spare_at_ns;
	} site[NHTTPD_CORES];
	uint64_t last_ns, last_requests, last_bytes;
} house;

static void signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
}

void house_block_signals(void)
{
	sigset_t set;

	signals(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

void house_clock(struct server *srv)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	atomic_store(&srv->wall_offset_ns, (int64_t)(ts.tv_sec * SECOND_NS + ts.tv_nsec) - (int64_t)nomux_now_ns());
}

static void wake(struct server *srv)
{
	void (*fn)(struct server *) = atomic_load(&srv->wake);

	if (fn)
		fn(srv);
}

static void ledger_line(struct server *srv)
{
	uint64_t now_ns = nomux_now_ns();
	uint64_t requests = metric_get(&srv->m, M_REQUESTS), bytes = metric_get(&srv->m, M_BYTES);
	struct econ_ledger_line line = {
		.time_unix_ns = now_ns + atomic_load(&srv->wall_offset_ns),
		.interval_ns = now_ns - house.last_ns,
		.app = srv->opt->name,
		.price_ucr_per_gbit = atomic_load(&srv->price_ucr),
		.connections = metric_get(&srv->m, M_CONNECTIONS),
		.w_us = metric_get(&srv->m, M_W_US),
		.requests = requests - house.last_requests,
		.bytes = bytes - house.last_bytes,
	};
	int ret;

	house.last_ns = now_ns;
	house.last_requests = requests;
	house.last_bytes = bytes;
	if (!house.ledger || !line.interval_ns)
		return;
	/* The table was measured on one core. */
	line.latency_known = price_expected(srv, line.connections / house.nr, line.w_us, &line.latency_mean_ns,
					    &line.latency_sd_ns);
	ret = econ_ledger_write(house.ledger, &line);
	if (ret && !house.ledger_failed)
		nomux_log(LOG_ERR, "ledger: cannot write %s: %s; serving goes on", srv->opt->ledger, strerror(-ret));
	house.ledger_failed = ret != 0;
}

/* Load the files again beside the ones in force, for core @i. */
static void rescan(unsigned i)
{
	struct server *srv = house.core[i];
	struct site *old = atomic_exchange_explicit(&srv->old_site, NULL, memory_order_acquire), *fresh;
	char err[512];
	int ret;

	if (old) {
		site_free(old);
		house.site[i].spare = true;
		house.site[i].spare_at_ns = nomux_now_ns() + REUSE_AFTER_NS;
	}
	if (!house.site[i].rescan || !house.site[i].spare || nomux_now_ns() < house.site[i].spare_at_ns)
		return;		/* the last rescan's predecessor is still being sent: later */
	if (srv->cores && !atomic_load(&srv->wake))
		return;		/* it has not read them for the first time yet */
	house.site[i].rescan = false;
	ret = srv->empty_mem ? srv->empty_mem(srv->site_mem[!house.site[i].in_use], srv->site_mem_bytes) : 0;
	if (ret) {
		nomux_log(LOG_ERR, "rescan: cannot empty the memory for it: %s; the files read before stay in force",
			  strerror(-ret));
		return;
	}
	if (site_load(srv->opt->root, srv->site_mem[!house.site[i].in_use], srv->site_mem_bytes, &fresh, err, sizeof(err))) {
		nomux_log(LOG_ERR, "rescan: %s; the files read before stay in force", err);
		return;
	}
	house.site[i].in_use = !house.site[i].in_use;
	house.site[i].spare = false;
	nomux_log(LOG_NOTICE, "rescan: %u files, %zu bytes", site_nr_files(fresh), site_bytes(fresh));
	atomic_store_explicit(&srv->next_site, fresh, memory_order_release);
	wake(srv);
}

static bool rescan_waits(void)
{
	for (unsigned i = 0; i < house.nr; i++)
		if (house.site[i].rescan)
			return true;
	return false;
}

static void take_signal(int sig)
{
	for (unsigned i = 0; i < house.nr; i++) {
		struct server *srv = house.core[i];
		int stop = atomic_load(&srv->stop);

		if (sig == SIGHUP) {
			house.site[i].rescan = true;
			continue;
		}
		/* The first one drains, the second one means now. */
		atomic_store(&srv->stop, stop == STOP_NO ? STOP_DRAIN : STOP_NOW);
		wake(srv);
	}
}

static void *house_main(void *arg)
{
	struct server *srv = arg;
	uint64_t next_ns = nomux_now_ns() + SECOND_NS;
	sigset_t set;

	signals(&set);
	while (!atomic_load(&house.end)) {
		uint64_t now_ns = nomux_now_ns();
		uint64_t sleep_ns = now_ns < next_ns ? next_ns - now_ns : 0;
		struct timespec ts;
		int sig;

		if (sleep_ns > RETRY_NS && (house.nr > 1 || rescan_waits()))
			sleep_ns = RETRY_NS;
		ts = (struct timespec){ sleep_ns / SECOND_NS, sleep_ns % SECOND_NS };
		sig = sigtimedwait(&set, NULL, &ts);
		if (sig > 0 && !atomic_load(&house.end))
			take_signal(sig);
		for (unsigned i = 0; i < house.nr; i++)
			rescan(i);
		if (house.nr > 1)
			metrics_sum(&srv->m, house.words, house.nr);
		/* With nobody connected the epoll loop sleeps until told to look. */
		if (srv->opt->stack == STACK_LINUX && metrics_knobs_changed(&srv->m))
			wake(srv);
		if (nomux_now_ns() < next_ns)
			continue;
		next_ns += SECOND_NS;
		if (nomux_now_ns() > next_ns + SECOND_NS)
			next_ns = nomux_now_ns() + SECOND_NS;	/* suspended, or starved */
		for (unsigned i = 0; i < house.nr; i++)
			house_clock(house.core[i]);
		if (house.nr > 1) {
			house_clock(srv);
			atomic_store(&srv->price_ucr, atomic_load(&house.core[0]->price_ucr));
		}
		if (srv->opt->stack == STACK_LINUX)
			price_read(srv);
		ledger_line(srv);
	}
	return NULL;
}

int house_start(struct server *srv, struct server **core, unsigned nr)
{
	int ret;

	house.core = core;
	house.nr = nr;
	house_clock(srv);
	for (unsigned i = 0; i < nr; i++) {
		house_clock(core[i]);
		house.words[i] = &core[i]->m;
		house.site[i].spare = true;
	}
	if (srv->opt->ledger) {
		ret = econ_ledger_open(srv->opt->ledger, price_terms(srv), price_form(srv), &house.ledger);
		if (ret) {
			die_message("--ledger %s: %s", srv->opt->ledger, strerror(-ret));
			return EXIT_ECON;
		}
	}
	if (srv->opt->stack == STACK_LINUX)
		price_read(srv);
	house.last_ns = nomux_now_ns();
	ret = pthread_create(&house.thread, NULL, house_main, srv);
	if (ret) {
		die_message("cannot start a thread: %s", strerror(ret));
		econ_ledger_close(house.ledger);
		house.ledger = NULL;
		return EXIT_OTHER;
	}
	house.running = true;
	return EXIT_OK;
}

void house_stop(struct server *srv)
{
	if (!house.running)
		return;
	atomic_store(&house.end, true);
	pthread_kill(house.thread, SIGHUP);	/* ends its sleep */
	pthread_join(house.thread, NULL);
	house.running = false;
	if (house.nr > 1)
		metrics_sum(&srv->m, house.words, house.nr);
	ledger_line(srv);
	econ_ledger_close(house.ledger);
	house.ledger = NULL;
}
