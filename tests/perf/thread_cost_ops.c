// SPDX-License-Identifier: MIT
/* The operations nom-threads-cost measures, in pairs. */
#include "thread_cost.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <nomux/chan.h>
#include <nomux/group.h>
#include <nomux/offload.h>
#include <nomux/sync.h>
#include <nomux/thread.h>
#include <nomux/timer.h>

static volatile bool stop;

static struct nomux_thread *spawn(void (*fn)(void *), void *arg, uint32_t flags)
{
	struct nomux_thread_opts opts = { .sz = sizeof(opts), .flags = flags };
	struct nomux_thread *t = NULL;

	cost_need(nomux_thread_create(fn, arg, &opts, &t), "a user thread");
	return t;
}

static pthread_t spawn_pthread(void *(*fn)(void *), void *arg)
{
	pthread_t t;

	cost_need(pthread_create(&t, NULL, fn, arg), "a pthread");
	return t;
}

/* --------------------------------------------------------------- yield --- */

static void yielder(void *arg)
{
	while (!stop)
		nomux_yield();
}

static void run_yield(uint32_t flags)
{
	struct nomux_thread *t;

	stop = false;
	t = spawn(yielder, NULL, flags);
	nomux_yield();
	COST_LOOP(nomux_yield());	/* there and back */
	stop = true;
	nomux_join(t);
}

static void nom_yield(void)
{
	run_yield(0);
}

static void nom_yield_own_tls(void)
{
	run_yield(NOMUX_THREAD_OWN_TLS);
}

static void *pthread_yielder(void *arg)
{
	while (!stop)
		sched_yield();
	return NULL;
}

static void linux_yield(void)
{
	pthread_t t;

	stop = false;
	t = spawn_pthread(pthread_yielder, NULL);	/* on this CPU, too */
	sched_yield();
	COST_LOOP(sched_yield());
	stop = true;
	pthread_join(t, NULL);
}

/* --------------------------------------------------------- create, join --- */

static void nothing(void *arg) { }

static void *pthread_nothing(void *arg)
{
	return NULL;
}

static void nom_create(void)
{
	COST_LOOP(nomux_join(spawn(nothing, NULL, 0)));
}

static void nom_create_own_tls(void)
{
	COST_LOOP(nomux_join(spawn(nothing, NULL, NOMUX_THREAD_OWN_TLS)));
}

static void linux_create(void)
{
	COST_LOOP(pthread_join(spawn_pthread(pthread_nothing, NULL), NULL));
}

/* ---------------------------------------------------------------- mutex --- */

static struct nomux_mutex nom_m;
static pthread_mutex_t linux_m = PTHREAD_MUTEX_INITIALIZER;

static void lock_loop(void *arg)
{
	nomux_mutex_init(&nom_m);
	COST_LOOP(nomux_mutex_lock(&nom_m); nomux_mutex_unlock(&nom_m));
}

static void nom_mutex(void)
{
	lock_loop(NULL);
}

/* Run one thread in a group of one core. */
static struct nomux_group *group;

static void *group_core(void *arg)
{
	cost_pin((unsigned int)(uintptr_t)arg);
	cost_need(nomux_group_run(group), "a group");
	return NULL;
}

static void in_group(void (*fn)(void *))
{
	struct nomux_thread_opts opts = { .sz = sizeof(opts), .flags = NOMUX_THREAD_DETACHED };

	cost_need(nomux_group_create(NULL, &group), "a group");
	opts.group = group;
	cost_need(nomux_thread_create(fn, NULL, &opts, NULL), "a user thread");
	pthread_join(spawn_pthread(group_core, NULL), NULL);
	nomux_group_destroy(group);
}

static void nom_mutex_group(void)
{
	in_group(lock_loop);
}

static void linux_mutex(void)
{
	COST_LOOP(pthread_mutex_lock(&linux_m); pthread_mutex_unlock(&linux_m));
}

/* ----------------------------------------------------------------- wake --- */

static struct nomux_cond nom_c[2];
static pthread_cond_t linux_c[2] = { PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER };
static unsigned int turn;

static void nom_pass(unsigned int me)
{
	turn = !me;
	nomux_cond_signal(&nom_c[!me]);
	while (turn != me && !stop)
		nomux_cond_wait(&nom_c[me], &nom_m, NOMUX_FOREVER);
}

static void nom_waker(void *arg)
{
	nomux_mutex_lock(&nom_m);
	while (!stop)
		nom_pass(1);
	nomux_mutex_unlock(&nom_m);
}

static void nom_cond(void)
{
	struct nomux_thread *t;

	stop = false;
	turn = 1;
	nomux_mutex_init(&nom_m);
	t = spawn(nom_waker, NULL, 0);
	nomux_mutex_lock(&nom_m);
	nom_pass(0);
	COST_LOOP(nom_pass(0));
	stop = true;
	nomux_cond_signal(&nom_c[1]);
	nomux_mutex_unlock(&nom_m);
	nomux_join(t);
}

static void linux_pass(unsigned int me)
{
	turn = !me;
	pthread_cond_signal(&linux_c[!me]);
	while (turn != me && !stop)
		pthread_cond_wait(&linux_c[me], &linux_m);
}

static void *linux_waker(void *arg)
{
	pthread_mutex_lock(&linux_m);
	while (!stop)
		linux_pass(1);
	pthread_mutex_unlock(&linux_m);
	return NULL;
}

static void linux_cond(void)
{
	pthread_t t;

	stop = false;
	turn = 1;
	pthread_mutex_lock(&linux_m);
	t = spawn_pthread(linux_waker, NULL);
	linux_pass(0);
	COST_LOOP(linux_pass(0));
	stop = true;
	pthread_cond_signal(&linux_c[1]);
	pthread_mutex_unlock(&linux_m);
	pthread_join(t, NULL);
}

/* ------------------------------------------------------- across two cores --- */

static struct nomux_sem nom_s[2];
static sem_t linux_s[2];
static unsigned int met;

/* Both are running: so they are on different cores, where they then stay. */
static void meet(void)
{
	__atomic_fetch_add(&met, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&met, __ATOMIC_SEQ_CST) < 2)
		__builtin_ia32_pause();
}

static void nom_echo(void *arg)
{
	meet();
	for (;;) {
		nomux_sem_wait(&nom_s[1], NOMUX_FOREVER);
		if (stop)
			break;
		nomux_sem_post(&nom_s[0]);
	}
}

static void nom_ping(void *arg)
{
	meet();
	COST_LOOP(nomux_sem_post(&nom_s[1]); nomux_sem_wait(&nom_s[0], NOMUX_FOREVER));
	stop = true;
	nomux_sem_post(&nom_s[1]);
}

static void nom_cross(void)
{
	struct nomux_group_opts gopts = { .sz = sizeof(gopts), .spin_ns = 1000000 };
	struct nomux_thread_opts opts = { .sz = sizeof(opts), .flags = NOMUX_THREAD_DETACHED };
	pthread_t core[2];
	intptr_t i;

	stop = false;
	met = 0;
	cost_need(nomux_group_create(&gopts, &group), "a group");
	nomux_sem_init(&nom_s[0], 0, 0);
	nomux_sem_init(&nom_s[1], 0, 0);
	opts.group = group;
	cost_need(nomux_thread_create(nom_echo, NULL, &opts, NULL), "a user thread");
	cost_need(nomux_thread_create(nom_ping, NULL, &opts, NULL), "a user thread");
	for (i = 0; i < 2; i++)
		core[i] = spawn_pthread(group_core, (void *)i);
	for (i = 0; i < 2; i++)
		pthread_join(core[i], NULL);
	nomux_group_destroy(group);
}

static void *linux_echo(void *arg)
{
	cost_pin(1);
	meet();
	for (;;) {
		sem_wait(&linux_s[1]);
		if (stop)
			return NULL;
		sem_post(&linux_s[0]);
	}
}

static void linux_cross(void)
{
	pthread_t t;

	stop = false;
	met = 0;
	sem_init(&linux_s[0], 0, 0);
	sem_init(&linux_s[1], 0, 0);
	t = spawn_pthread(linux_echo, NULL);
	meet();
	COST_LOOP(sem_post(&linux_s[1]); sem_wait(&linux_s[0]));
	stop = true;
	sem_post(&linux_s[1]);
	pthread_join(t, NULL);
}

/* ------------------------------------------------------------- channels --- */

#define ROOM 64

static struct nomux_chan *chan;

static void drain(void *arg)
{
	uint64_t v;

	while (!nomux_chan_recv(chan, &v, NOMUX_FOREVER))
		;
}

static void nom_channel(void)
{
	struct nomux_thread *t;
	uint64_t v = 1;

	cost_need(nomux_chan_create(sizeof(v), ROOM, &chan), "a channel");
	t = spawn(drain, NULL, 0);
	COST_LOOP(nomux_chan_send(chan, &v, NOMUX_FOREVER));
	nomux_chan_close(chan);
	nomux_join(t);
	nomux_chan_destroy(chan);
}

/* What one would write with pthreads. */
static struct {
	uint64_t ring[ROOM];
	unsigned int first, nr;
	pthread_mutex_t m;
	pthread_cond_t room, item;
} queue = { .m = PTHREAD_MUTEX_INITIALIZER, .room = PTHREAD_COND_INITIALIZER,
	    .item = PTHREAD_COND_INITIALIZER };

static void queue_send(uint64_t v)
{
	pthread_mutex_lock(&queue.m);
	while (queue.nr == ROOM)
		pthread_cond_wait(&queue.room, &queue.m);
	queue.ring[(queue.first + queue.nr++) % ROOM] = v;
	pthread_cond_signal(&queue.item);
	pthread_mutex_unlock(&queue.m);
}

static void *queue_drain(void *arg)
{
	uint64_t v = 1;

	while (v) {
		pthread_mutex_lock(&queue.m);
		while (!queue.nr)
			pthread_cond_wait(&queue.item, &queue.m);
		v = queue.ring[queue.first];
		queue.first = (queue.first + 1) % ROOM;
		queue.nr--;
		pthread_cond_signal(&queue.room);
		pthread_mutex_unlock(&queue.m);
	}
	return NULL;
}

static void linux_channel(void)
{
	pthread_t t = spawn_pthread(queue_drain, NULL);

	COST_LOOP(queue_send(1));
	queue_send(0);
	pthread_join(t, NULL);
}

/* --------------------------------------------------------------- timers --- */

#define TIMERS 10000

static void on_timer(struct nomux_timer *t, void *arg) { }

static uint64_t far(unsigned int i)
{
	return 3600000000000ULL + (uint64_t)(i * 2654435761U);
}

static void nom_timer(void)
{
	static struct nomux_timer *t[TIMERS];
	unsigned int i, n = 0;

	for (i = 0; i < TIMERS; i++) {
		cost_need(nomux_timer_create(on_timer, NULL, &t[i]), "a timer");
		cost_need(nomux_timer_set(t[i], far(i), 0), "a timer");
	}
	COST_LOOP(n = (n + 1) % TIMERS; nomux_timer_set(t[n], far(n * 7), 0));
	for (i = 0; i < TIMERS; i++)
		nomux_timer_destroy(t[i]);
}

static void linux_timer(void)
{
	struct itimerspec at = { .it_value.tv_sec = 3600 };
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);

	cost_need(fd < 0 ? errno : 0, "a timerfd");
	COST_LOOP(at.it_value.tv_nsec = (at.it_value.tv_nsec + 7919) % 1000000000;
		  timerfd_settime(fd, 0, &at, NULL));
	close(fd);
}

/* -------------------------------------------------------------- offload --- */

static long no_call(void *arg)
{
	return 0;
}

static void nom_offload(void)
{
	COST_LOOP(nomux_offload(no_call, NULL, NULL));
}

const struct cost cost_table[] = {
	{ "yield", "60", 2, 1, nom_yield, linux_yield },
	{ "yield-own-tls", "-", 2, 1, nom_yield_own_tls, linux_yield },
	{ "create-join", "300", 1, 1, nom_create, linux_create },
	{ "create-own-tls", "-", 1, 1, nom_create_own_tls, linux_create },
	{ "mutex", "15", 1, 1, nom_mutex, linux_mutex },
	{ "mutex-in-group", "15", 1, 1, nom_mutex_group, linux_mutex },
	{ "cond-wake", "-", 2, 1, nom_cond, linux_cond },
	{ "cross-core-wake", "400", 2, 2, nom_cross, linux_cross },
	{ "channel", "-", 1, 1, nom_channel, linux_channel },
	{ "timer-10000", "-", 1, 1, nom_timer, linux_timer },
	{ "offload", "-", 1, 1, nom_offload, NULL },
	{ 0 },
};
