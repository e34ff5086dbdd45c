// SPDX-License-Identifier: MIT
/*
 * User threads on a leased core: they switch while upcalls come, keep their
 * registers, and when all of them sleep, the core sleeps.
 */
#include <linux/nom.h>
#include <sys/resource.h>

#include <nomux/clock.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/thread.h>
#include <nomux/timer.h>
#include <nomux/upcall.h>

#include "nomux_tap.h"

#define EV		1
#define NR_THREADS	20
#define TURNS		20000
#define RIPPLE_NS	50000

static struct nomux_core *core;
static volatile uint64_t ticks;
static volatile bool ticking;

static void tick(unsigned int event, uint64_t count, void *arg)
{
	ticks += count;
	if (ticking)
		nomux_timer_arm(core, EV, RIPPLE_NS, 0);
}

struct worker {
	uint64_t id, turns, sum;
};

/* Sums that come out only if nothing of a thread is lost in switches and upcalls. */
static void work(void *arg)
{
	struct worker *w = arg;
	uint64_t a = w->id, b = 1, i;

	for (i = 0; i < TURNS; i++) {
		a = a * 6364136223846793005ULL + b;
		b ^= a >> 7;
		if (i % 4 == 0)
			nomux_yield();
	}
	w->sum = a ^ b;
	w->turns = i;
}

static uint64_t alone(uint64_t id)
{
	uint64_t a = id, b = 1, i;

	for (i = 0; i < TURNS; i++) {
		a = a * 6364136223846793005ULL + b;
		b ^= a >> 7;
	}
	return a ^ b;
}

static void test_switching(void)
{
	struct worker w[NR_THREADS] = { 0 };
	struct nomux_thread *t[NR_THREADS];
	unsigned int i, right = 0;
	uint64_t begun, ns;

	ticking = true;
	T_NEED(nomux_timer_arm(core, EV, RIPPLE_NS, 0));
	begun = nomux_now_ns();
	for (i = 0; i < NR_THREADS; i++) {
		w[i].id = i + 17;
		T_NEED(nomux_thread_create(work, &w[i], NULL, &t[i]));
	}
	for (i = 0; i < NR_THREADS; i++) {
		T_NEED(nomux_join(t[i]));
		right += w[i].turns == TURNS && w[i].sum == alone(w[i].id);
	}
	ns = nomux_now_ns() - begun;
	ticking = false;
	T_NEED(nomux_timer_arm(core, EV, 0, 0));
	t_is(right, NR_THREADS, "20 threads switch 5,000 times each, none loses anything");
	t_ok(ticks > 0, "  with upcalls in between");
	printf("# %llu upcalls' events, %llu ns per switch and work\n", (unsigned long long)ticks,
	       (unsigned long long)(ns / (NR_THREADS * TURNS / 4)));
}

static void nap(void *arg)
{
	for (int i = 0; i < 50; i++)
		nomux_sleep_ns((uint64_t)(uintptr_t)arg);
}

static void test_core_sleeps(void)
{
	struct rusage before, after;
	struct nomux_thread *a, *b;
	uint64_t begun, ns;
	long cpu_us;

	T_NEED(nomux_thread_create(nap, (void *)2000000UL, NULL, &a));
	T_NEED(nomux_thread_create(nap, (void *)3000000UL, NULL, &b));
	getrusage(RUSAGE_THREAD, &before);
	begun = nomux_now_ns();
	T_NEED(nomux_join(a));
	T_NEED(nomux_join(b));
	ns = nomux_now_ns() - begun;
	getrusage(RUSAGE_THREAD, &after);
	cpu_us = (after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000L +
		 after.ru_utime.tv_usec - before.ru_utime.tv_usec +
		 (after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000000L +
		 after.ru_stime.tv_usec - before.ru_stime.tv_usec;
	t_ok(ns >= 150000000, "two sleepers take as long as the longer");
	t_ok(after.ru_nvcsw - before.ru_nvcsw >= 50, "the core slept with them");
	t_ok((uint64_t)cpu_us * 1000 < ns / 2, "  and was not busy meanwhile");
	printf("# %llu us, of it %ld us on the CPU, %ld sleeps\n", (unsigned long long)ns / 1000,
	       cpu_us, after.ru_nvcsw - before.ru_nvcsw);
}

int main(void)
{
	struct nomux_ctx *nom;
	int err;

	t_start(100);
	err = nomux_open(&nom);
	if (err) {
		printf("1..0 # SKIP no /dev/nom: %s\n", strerror(-err));
		return T_SKIP;
	}
	T_NEED(nomux_core_claim(nom, NULL, &core));
	T_NEED(nomux_on_event(core, EV, tick, NULL));
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
	test_switching();
	test_core_sleeps();
	T_NEED(nomux_core_release(core));
	nomux_close(nom);
	return t_end();
}
