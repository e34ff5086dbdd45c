// SPDX-License-Identifier: MIT
/*
 * A group on two leased cores: threads are stolen, wake each other across cores
 * (also one that sleeps), take locks, are preempted, and make upcalls meanwhile.
 *
 * Needs two reserved cores; tests/scripts/nomux_two_cores boots such a guest.
 */
#include <linux/nom.h>
#include <pthread.h>
#include <sched.h>

#include <nomux/clock.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/group.h>
#include <nomux/offload.h>
#include <nomux/preempt.h>
#include <nomux/sync.h>
#include <nomux/thread.h>
#include <nomux/upcall.h>

#include "nomux_tap.h"

#define CORES		2
#define WORKERS		16
#define TURNS		2000
#define PASSES		300

static struct nomux_group *g;
static struct nomux_core *core[CORES];
static struct nomux_thread_stats stats[CORES];
static uint64_t quantum_ns;
static int bad;

static void check(bool good)
{
	if (!good)
		__atomic_fetch_add(&bad, 1, __ATOMIC_RELAXED);
}

static pthread_barrier_t entered;

static void *run_core(void *arg)
{
	intptr_t i = (intptr_t)arg;

	check(!nomux_core_enter(core[i]));
	nomux_unmask(core[i]);
	pthread_barrier_wait(&entered);
	if (quantum_ns)
		check(!nomux_preempt_start(quantum_ns));
	check(!nomux_group_run(g));
	stats[i].sz = sizeof(stats[i]);
	nomux_thread_stats(&stats[i]);
	check(!nomux_core_release(core[i]));
	return NULL;
}

static struct nomux_ctx *nom;

/* The lease ends with each run: what was bound to it must be bound anew. */
static void run_group(void)
{
	pthread_t thread[CORES];
	intptr_t i;

	pthread_barrier_init(&entered, NULL, CORES);
	for (i = 0; i < CORES; i++)
		T_NEED(nomux_core_claim(nom, NULL, &core[i]));
	for (i = 0; i < CORES; i++)
		T_NEED(-pthread_create(&thread[i], NULL, run_core, (void *)i));
	for (i = 0; i < CORES; i++)
		pthread_join(thread[i], NULL);
}

static struct nomux_thread *spawn(void (*fn)(void *), void *arg, uint32_t flags)
{
	struct nomux_thread_opts opts = { .sz = sizeof(opts), .flags = flags, .group = g };
	struct nomux_thread *t;

	T_NEED(nomux_thread_create(fn, arg, &opts, &t));
	return t;
}

/* --------------------------------------------------------------- stealing --- */

static struct nomux_mutex m;
static uint64_t total;
static uint32_t cpus;		/* mask of those that worked */

static void worker(void *arg)
{
	uint64_t limit = nomux_now_ns() + 20000000000ULL;
	uint32_t seen = 0;
	int i;

	for (i = 0; i < TURNS || (__builtin_popcount(seen) < CORES && nomux_now_ns() < limit); i++) {
		check(!nomux_mutex_lock(&m));
		total += i < TURNS;
		check(!nomux_mutex_unlock(&m));
		seen = __atomic_or_fetch(&cpus, 1U << nomux_core_cpu(nomux_core_current()),
					 __ATOMIC_RELAXED);
		if (i % 16 == 0)
			nomux_yield();
	}
}

static void test_stealing(void)
{
	struct nomux_thread *t[WORKERS];
	int i;

	for (i = 0; i < WORKERS; i++)
		t[i] = spawn(worker, NULL, i % 2 ? NOMUX_THREAD_MIGRATE : 0);
	run_group();
	for (i = 0; i < WORKERS; i++)
		T_NEED(nomux_join(t[i]));
	t_is((long)total, WORKERS * TURNS, "threads on two cores under one mutex");
	t_is(__builtin_popcount(cpus), 2, "  both cores worked");
	t_ok(stats[0].steals + stats[1].steals > 0, "  by stealing");
}

/* ------------------------------------------------------------ cross wakes --- */

static struct nomux_sem sem[2];
static unsigned int met;
static int on_cpu[2];

static void pass(void *arg)
{
	intptr_t me = (intptr_t)arg;
	uint64_t limit = nomux_now_ns() + 20000000000ULL;

	__atomic_fetch_add(&met, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&met, __ATOMIC_SEQ_CST) < 2 && nomux_now_ns() < limit)
		;			/* so each has a core of its own */
	on_cpu[me] = nomux_core_cpu(nomux_core_current());
	for (int i = 0; i < PASSES; i++) {
		if (me || i)
			check(!nomux_sem_wait(&sem[me], NOMUX_FOREVER));
		if (i % 10 == 0)
			nomux_sleep_ns(300000);	/* the other core falls asleep */
		check(!nomux_sem_post(&sem[!me]));
	}
	if (!me)
		check(!nomux_sem_wait(&sem[0], NOMUX_FOREVER));
}

static void test_cross_wakes(void)
{
	struct nomux_thread *t[2];
	intptr_t i;

	for (i = 0; i < 2; i++)
		t[i] = spawn(pass, (void *)i, 0);
	run_group();
	for (i = 0; i < 2; i++)
		T_NEED(nomux_join(t[i]));
	t_ok(on_cpu[0] != on_cpu[1], "two threads, each on its core");
	t_ok(stats[0].idles + stats[1].idles > 0, "  wake each other, also from sleep");
	t_ok(stats[0].kicks + stats[1].kicks > 0, "  by an event");
	printf("# idles %llu %llu, kicks %llu %llu\n", (unsigned long long)stats[0].idles,
	       (unsigned long long)stats[1].idles, (unsigned long long)stats[0].kicks,
	       (unsigned long long)stats[1].kicks);
}

/* --------------------------------------------------- own storage, migrating --- */

static __thread uint64_t mine = 7;

struct wanderer {
	uint64_t id;
	int bad, moved;
};

static void wander(void *arg)
{
	struct wanderer *w = arg;
	int first = nomux_core_cpu(nomux_core_current()), i;

	w->bad = mine != 7;
	mine = w->id;
	for (i = 0; i < TURNS; i++) {
		nomux_yield();
		w->bad += mine != w->id;
		w->moved += nomux_core_cpu(nomux_core_current()) != first;
	}
}

static void test_wandering(void)
{
	struct wanderer w[6] = { 0 };
	struct nomux_thread *t[6];
	int i, wrong = 0, moved = 0;

	for (i = 0; i < 6; i++) {
		w[i].id = (uint64_t)i + 100;
		t[i] = spawn(wander, &w[i], NOMUX_THREAD_MIGRATE | NOMUX_THREAD_OWN_TLS);
	}
	run_group();
	for (i = 0; i < 6; i++) {
		T_NEED(nomux_join(t[i]));
		wrong += w[i].bad;
		moved += w[i].moved;
	}
	t_is(wrong, 0, "threads keep their own storage on whichever core they run");
	printf("# %d turns on another core than the first\n", moved);
}

/* ------------------------------------------------------- preempted, offload --- */

static volatile uint64_t spun[4];

static void spin(void *arg)
{
	volatile uint64_t *mine_spun = arg;
	uint64_t limit = nomux_now_ns() + 20000000000ULL;
	unsigned int i, seen = 0;

	while (seen < 4 && nomux_now_ns() < limit) {
		++*mine_spun;
		for (i = 0, seen = 0; i < 4; i++)
			seen += spun[i] > 0;
	}
	check(seen == 4);
}

static long helper_cpu(void *arg)
{
	return sched_getcpu();
}

static void hand_over(void *arg)
{
	long cpu = -1;

	for (int i = 0; i < 50; i++) {
		check(!nomux_offload(helper_cpu, NULL, &cpu));
		check(cpu != nomux_core_cpu(nomux_core_current()));
	}
}

static void test_preempted(void)
{
	struct nomux_thread *t[4];
	int i;

	quantum_ns = 500000;
	for (i = 0; i < 4; i++)		/* four that never yield, on two cores */
		t[i] = spawn(spin, (void *)(uintptr_t)&spun[i], 0);
	run_group();
	for (i = 0; i < 4; i++)
		T_NEED(nomux_join(t[i]));
	t_ok(stats[0].preemptions + stats[1].preemptions >= 2, "four spinning threads share two cores");
	quantum_ns = 0;
	for (i = 0; i < 4; i++)
		t[i] = spawn(hand_over, NULL, i % 2 ? NOMUX_THREAD_MIGRATE : 0);
	run_group();
	for (i = 0; i < 4; i++)
		T_NEED(nomux_join(t[i]));
	t_is(bad, 0, "calls handed over run on ordinary cores; nothing else went wrong");
}

int main(void)
{
	struct nom_info info;
	int err;

	t_start(120);
	err = nomux_open(&nom);
	if (err) {
		printf("1..0 # SKIP no /dev/nom: %s\n", strerror(-err));
		return T_SKIP;
	}
	T_NEED(nomux_info(nom, &info));
	if (info.out_nr_cores < 2) {
		printf("1..0 # SKIP one reserved core: see tests/scripts/nomux_two_cores\n");
		return T_SKIP;
	}
	T_NEED(nomux_group_create(NULL, &g));
	test_stealing();
	test_cross_wakes();
	test_wandering();
	test_preempted();
	t_is(nomux_group_destroy(g), 0, "the group is empty at last");
	nomux_close(nom);
	return t_end();
}
