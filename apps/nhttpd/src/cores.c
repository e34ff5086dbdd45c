// SPDX-License-Identifier: MIT
/*
 * cores.c - nhttpd on several leased cores: one device, a queue pair and a stack each
 *
 * lwIP's state is globals, so the stack and what drives it are linked once for each
 * core, under names of their own (rules.mk): the code of one core is that of a
 * server that has no other, and no word is written by two.  Steering spreads the
 * connections: the device, by a hash where it can.
 *
 * This thread is the first core's and starts the others.  The first that fails ends
 * all of them.
 */
#include "cores.h"

#include "house.h"
#include "nom_open.h"
#include "price.h"
#include "server.h"

#include <nomdrv/vnet.h>
#include <nomux/core.h>
#include <nomux/log.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define WAIT_US 1000
#define SLOTS 16	/* neighbours that may wait to be heard of; a power of two */

/* The copies of net_nom_run(), as rules.mk names them. */
int net_nom_run_core1(struct server *srv);

static int (*const run[NHTTPD_CORES])(struct server *srv) = { net_nom_run, net_nom_run_core1 };

/* Frames from one core to another: one writer, one reader. */
struct post {
	_Alignas(64) uint32_t put;	/* the writer's; released after the slot */
	_Alignas(64) uint32_t taken;	/* the reader's; released when it is done with the slot */
	uint8_t len[SLOTS];
	uint8_t frame[SLOTS][NEIGHBOUR_BYTES];
};

struct cores {
	struct server *srv[NHTTPD_CORES];
	struct server *all;
	struct vnet *vnet;
	unsigned nr;
	_Atomic unsigned ready;
	_Atomic int failed;		/* exit status of the first that did */
	pthread_t thread[NHTTPD_CORES];
	struct post post[NHTTPD_CORES][NHTTPD_CORES];	/* from, to */
};

/* ------------------------------------------------------------- neighbours --- */

static void wake(struct server *srv)
{
	void (*fn)(struct server *) = atomic_load(&srv->wake);

	if (fn)
		fn(srv);
}

void cores_tell(struct server *srv, const void *frame, uint32_t len)
{
	struct cores *c = srv->cores;

	for (unsigned to = 0; to < c->nr; to++) {
		struct post *p = &c->post[srv->core_nr][to];
		uint32_t put = p->put;

		if (to == srv->core_nr || len > NEIGHBOUR_BYTES ||
		    put - __atomic_load_n(&p->taken, __ATOMIC_ACQUIRE) == SLOTS)
			continue;
		memcpy(p->frame[put % SLOTS], frame, len);
		p->len[put % SLOTS] = (uint8_t)len;
		__atomic_store_n(&p->put, put + 1, __ATOMIC_RELEASE);
		wake(c->srv[to]);
	}
}

uint32_t cores_hear(struct server *srv, void *frame)
{
	struct cores *c = srv->cores;

	for (unsigned from = 0; from < c->nr; from++) {
		struct post *p = &c->post[from][srv->core_nr];
		uint32_t taken = p->taken, len;

		if (taken == __atomic_load_n(&p->put, __ATOMIC_ACQUIRE))
			continue;
		len = p->len[taken % SLOTS];
		memcpy(frame, p->frame[taken % SLOTS], len);
		__atomic_store_n(&p->taken, taken + 1, __ATOMIC_RELEASE);
		return len;
	}
	return 0;
}

/* ------------------------------------------------------- beginning and end --- */

int cores_ready(struct server *srv, const char *urls, const char *profile)
{
	struct cores *c = srv->cores;
	char where[384], large[96];
	int n;

	atomic_fetch_add(&c->ready, 1);
	while (atomic_load(&c->ready) < c->nr) {
		if (atomic_load(&c->failed))
			return EXIT_OTHER;	/* the other one has said why */
		usleep(WAIT_US);
	}
	if (srv->core_nr)
		return EXIT_OK;
	n = snprintf(where, sizeof(where), "%.100s, cores", urls);
	for (unsigned i = 0; i < c->nr; i++)
		n += snprintf(where + n, sizeof(where) - (size_t)n, "%s %d", i ? " and" : "",
			      nomux_core_cpu(c->srv[i]->core_lease));
	snprintf(where + n, sizeof(where) - (size_t)n, ", device %s, steering %s, %s, profile %s", srv->opt->device,
		 vnet_steering(c->vnet) == VNET_STEER_RSS ? "by hash" : "automatic",
		 nom_large_text(srv, c->vnet, large, sizeof(large)), profile);
	server_announce(srv, where);
	return EXIT_OK;
}

/* A core whose thread has ended, for whatever reason, ends the others. */
static int serve(struct server *srv)
{
	struct cores *c = srv->cores;
	int none = 0, ret = run[srv->core_nr](srv);

	if (ret)
		atomic_compare_exchange_strong(&c->failed, &none, ret);
	for (unsigned i = 0; ret && i < c->nr; i++) {
		atomic_store(&c->srv[i]->stop, STOP_NOW);
		wake(c->srv[i]);
	}
	return ret;
}

static void *thread_main(void *arg)
{
	serve(arg);
	return NULL;
}

static int make_server(struct cores *c, unsigned i)
{
	static struct server servers[NHTTPD_CORES];
	struct server *srv = &servers[i], *all = c->all;
	int ret;

	srv->opt = all->opt;
	srv->lim = all->lim;
	srv->idle_ns = all->idle_ns;
	srv->date_s = -1;
	srv->cores = c;
	srv->core_nr = i;
	srv->nomux = all->nomux;
	c->srv[i] = srv;
	ret = metrics_open_core(&srv->m, &all->m, i);
	if (ret)
		nomux_log(LOG_WARNING, "nhttpd: no counters of core %u: %s", i, strerror(-ret));
	if (i)
		c->srv[i - 1]->m.next = &srv->m;
	ret = price_open(srv);
	if (!ret)
		ret = nom_open_core(srv, &srv->core_lease);
	all->nomux = srv->nomux;
	return ret;
}

/* Leases of all cores, then the device: nothing has been touched when one is refused. */
static int open_all(struct cores *c)
{
	int ret = EXIT_OK;

	c->nr = (unsigned)c->all->opt->cores;
	for (unsigned i = 0; !ret && i < c->nr; i++)
		ret = make_server(c, i);
	if (!ret)
		ret = nom_open_device(c->all, &c->vnet);
	for (unsigned i = 0; !ret && i < c->nr; i++)
		c->srv[i]->core_vnet = vnet_pair(c->vnet, i);
	if (!ret)
		ret = house_start(c->all, c->srv, c->nr);
	return ret;
}

int cores_run(struct server *all)
{
	static struct cores c;
	unsigned started = 1;
	int ret;

	c.all = all;
	ret = open_all(&c);
	if (!ret) {
		for (; !ret && started < c.nr; started++)
			ret = pthread_create(&c.thread[started], NULL, thread_main, c.srv[started]);
		if (ret) {
			die_message("cannot start a thread: %s", strerror(ret));
			atomic_store(&c.failed, EXIT_OTHER);
			started--;
		}
		serve(c.srv[0]);
		for (unsigned i = 1; i < started; i++)
			pthread_join(c.thread[i], NULL);
		ret = atomic_load(&c.failed);
	} else {
		for (unsigned i = 0; i < NHTTPD_CORES; i++)
			if (c.srv[i])
				nomux_core_release(c.srv[i]->core_lease);
	}
	house_stop(all);
	vnet_close(c.vnet);
	for (unsigned i = 0; i < NHTTPD_CORES; i++)
		if (c.srv[i])
			price_close(c.srv[i]);
	return ret;
}
