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
 * all of them; a device that fails is begun again when all have let go of it.
 */
#include "cores.h"

#include "house.h"
#include "nom_open.h"
#include "post.h"
#include "price.h"
#include "server.h"

#include <nomdrv/vnet.h>
#include <nomux/clock.h>
#include <nomux/core.h>
#include <nomux/log.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define WAIT_US 1000
#define RESTART_NS 5000000000ULL	/* a core looks at the device once a second */

/* The copies of net_nom_run(), as rules.mk names them. */
int net_nom_run_core1(struct server *srv);

static int (*const run[NHTTPD_CORES])(struct server *srv) = { net_nom_run, net_nom_run_core1 };

struct cores {
	struct server *srv[NHTTPD_CORES];
	struct options opt[NHTTPD_CORES];
	struct server *all;
	struct vnet *vnet;
	unsigned nr;
	_Atomic unsigned ready;
	_Atomic int failed;		/* exit status of the first that did */
	pthread_t thread[NHTTPD_CORES];
	struct post post[NHTTPD_CORES][NHTTPD_CORES];	/* from, to */

	/* the first core writes; odd: it is being written (config_gen) */
	_Alignas(64) uint32_t config_gen;
	struct nomstack_config config;

	/* beginning the device again */
	_Alignas(64) _Atomic bool restarting;
	pthread_mutex_t lock;		/* of what follows */
	unsigned serving, arrived, round;
	int result;
	bool hopeless;			/* somebody has given up: nobody restarts it any more */
};

static void wake(struct server *srv)
{
	void (*fn)(struct server *) = atomic_load(&srv->wake);

	if (fn)
		fn(srv);
}

static void wake_others(struct server *srv)
{
	struct cores *c = srv->cores;

	for (unsigned i = 0; i < c->nr; i++)
		if (i != srv->core_nr)
			wake(c->srv[i]);
}

bool cores_over(struct server *srv)
{
	return atomic_load(&srv->cores->failed) || atomic_load(&srv->stop);
}

/* --------------------------------------------------- frames and addresses --- */

void cores_tell(struct server *srv, const void *frame, uint32_t len)
{
	struct cores *c = srv->cores;

	for (unsigned to = 0; to < c->nr; to++)
		if (to != srv->core_nr && post_put(&c->post[srv->core_nr][to], frame, len))
			wake(c->srv[to]);
}

uint32_t cores_hear(struct server *srv, void *frame)
{
	struct cores *c = srv->cores;
	uint32_t len = 0;

	for (unsigned from = 0; !len && from < c->nr; from++)
		len = post_take(&c->post[from][srv->core_nr], frame);
	return len;
}

void cores_publish(struct server *srv, const struct nomstack_config *config)
{
	struct cores *c = srv->cores;

	__atomic_store_n(&c->config_gen, c->config_gen + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);	/* odd before the words; pairs with the reader's fence */
	memcpy(&c->config, config, sizeof(c->config));
	__atomic_store_n(&c->config_gen, c->config_gen + 1, __ATOMIC_RELEASE);
	wake_others(srv);
}

bool cores_config(struct server *srv, uint32_t *gen, struct nomstack_config *out)
{
	struct cores *c = srv->cores;
	uint32_t before = __atomic_load_n(&c->config_gen, __ATOMIC_ACQUIRE);

	if (before == *gen || before & 1)
		return false;
	memcpy(out, &c->config, sizeof(*out));
	__atomic_thread_fence(__ATOMIC_ACQUIRE);	/* the words before the number; pairs with the writer's */
	if (__atomic_load_n(&c->config_gen, __ATOMIC_RELAXED) != before)
		return false;		/* the next look gets them */
	*gen = before;
	return true;
}

/* -------------------------------------------------------- a device anew --- */

bool cores_restarting(struct server *srv)
{
	return atomic_load_explicit(&srv->cores->restarting, memory_order_relaxed);
}

/* The lock is held.  True: this round is over. */
static bool round_over(struct cores *c, unsigned round)
{
	if (c->round != round || c->hopeless)
		return true;
	if (c->arrived < c->serving)
		return false;
	c->result = vnet_restart(c->vnet, NULL, NULL);	/* the stacks have taken back what it had */
	c->arrived = 0;
	c->round++;
	atomic_store(&c->restarting, false);
	return true;
}

int cores_restart(struct server *srv)
{
	struct cores *c = srv->cores;
	uint64_t end_ns = nomux_now_ns() + RESTART_NS;
	unsigned round;
	bool over;
	int ret;

	pthread_mutex_lock(&c->lock);
	round = c->round;
	c->arrived++;
	pthread_mutex_unlock(&c->lock);
	atomic_store(&c->restarting, true);
	wake_others(srv);
	for (;;) {
		pthread_mutex_lock(&c->lock);
		over = round_over(c, round);
		ret = c->hopeless ? -ECANCELED : c->result;
		if (!over && (atomic_load(&c->failed) || nomux_now_ns() >= end_ns)) {
			over = c->hopeless = true;
			ret = atomic_load(&c->failed) ? -ECANCELED : -ETIMEDOUT;
		}
		pthread_mutex_unlock(&c->lock);
		if (over)
			return ret;
		usleep(WAIT_US);
	}
}

void cores_leave(struct server *srv)
{
	struct cores *c = srv->cores;

	pthread_mutex_lock(&c->lock);
	c->serving--;		/* who waits for this one looks again by itself */
	pthread_mutex_unlock(&c->lock);
}

bool cores_stay(struct server *srv)
{
	struct cores *c = srv->cores;
	bool stay;

	if (srv->core_nr || atomic_load(&srv->stop) == STOP_NOW || atomic_load(&c->failed))
		return false;
	pthread_mutex_lock(&c->lock);
	stay = c->serving > 1;
	pthread_mutex_unlock(&c->lock);
	return stay;
}

/* ------------------------------------------------------- beginning and end --- */

int cores_ready(struct server *srv, const char *urls, const char *profile)
{
	struct cores *c = srv->cores;
	char where[384], large[96];
	int n;

	pthread_mutex_lock(&c->lock);
	c->serving++;
	pthread_mutex_unlock(&c->lock);
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

	/* The whole number is a promise about memory as well: each core has its share of it. */
	c->opt[i] = *all->opt;
	c->opt[i].max_connections = (all->opt->max_connections + c->nr - 1) / c->nr;
	srv->opt = &c->opt[i];
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
	pthread_mutex_init(&c.lock, NULL);
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
