// SPDX-License-Identifier: MIT
/* server.c - what all parts of nhttpd share: time, stop, site, messages */
#include "server.h"

#include "conn.h"
#include "site.h"

#include <nomux/clock.h>
#include <nomux/log.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define SWEEP_NS 250000000ULL

void server_announce(struct server *srv, const char *where)
{
	static const char *const stacks[] = { "linux", "nom", "packet", "xdp" };

	printf("nhttpd: serving %u files of %s, %s, stack %s, pid %d\n", site_nr_files(srv->site), srv->opt->root,
	       where, stacks[srv->opt->stack], (int)getpid());
	fflush(stdout);
	if (!nomux_clock.ready)
		nomux_log(LOG_WARNING, "nhttpd: no usable time stamp counter: the clock is asked of the kernel instead");
}

int server_load_site(struct server *srv, void *mem0, void *mem1, size_t bytes)
{
	char err[512];
	int ret;

	srv->site_mem[0] = mem0;
	srv->site_mem[1] = mem1;
	srv->site_mem_bytes = bytes;
	ret = site_load(srv->opt->root, mem0, bytes, &srv->site, err, sizeof(err));
	if (ret) {
		die_message("%s", err);
		return EXIT_ROOT;
	}
	metric_set(&srv->m, M_SITE_FILES, site_nr_files(srv->site));
	metric_set(&srv->m, M_SITE_BYTES, site_bytes(srv->site));
	return EXIT_OK;
}

void server_free_site(struct server *srv)
{
	site_free(atomic_exchange(&srv->next_site, NULL));
	site_free(atomic_exchange(&srv->old_site, NULL));
	site_free(srv->site);
	srv->site = NULL;
}

static void update_date(struct server *srv)
{
	int64_t offset = atomic_load_explicit(&srv->wall_offset_ns, memory_order_relaxed);
	int64_t now_s = ((int64_t)srv->now_ns + offset) / 1000000000;

	if (now_s == srv->date_s)
		return;
	srv->date_s = now_s;
	http_date_format(srv->date, now_s);
}

/* A rescan is ready: new requests get the new files. */
static void take_site(struct server *srv)
{
	struct site *fresh = atomic_exchange_explicit(&srv->next_site, NULL, memory_order_acquire);
	struct site *old = srv->site;

	srv->site = fresh;
	metric_set(&srv->m, M_SITE_FILES, site_nr_files(fresh));
	metric_set(&srv->m, M_SITE_BYTES, site_bytes(fresh));
	metric_add(&srv->m, M_RESCANS, 1);
	if (site_put(old))
		atomic_store_explicit(&srv->old_site, old, memory_order_release);
}

bool server_tick(struct server *srv, uint64_t now_ns)
{
	int stop = atomic_load_explicit(&srv->stop, memory_order_relaxed);

	srv->now_ns = now_ns;
	update_date(srv);
	if (__builtin_expect(atomic_load_explicit(&srv->next_site, memory_order_relaxed) != NULL, 0))
		take_site(srv);
	if (__builtin_expect(stop != STOP_NO, 0)) {
		if (!srv->drain_until_ns) {
			srv->drain_until_ns = now_ns + 1 + srv->opt->drain_timeout_s * 1000000000ULL;
			conn_close_idle(srv);
		}
		if (stop == STOP_NOW || now_ns >= srv->drain_until_ns) {
			if (srv->nr_open)
				nomux_log(LOG_WARNING, "nhttpd: stopping with %u connections still open", srv->nr_open);
			conn_abort_all(srv);
			return true;
		}
		if (!srv->nr_open)
			return true;
	}
	if (now_ns >= srv->next_sweep_ns) {
		int64_t idle_s;

		if (metrics_take(&srv->m, K_IDLE_TIMEOUT_S, &idle_s))
			srv->idle_ns = idle_s * 1000000000ULL;
		srv->next_sweep_ns = now_ns + SWEEP_NS;
		conn_sweep(srv);
	}
	return false;
}
