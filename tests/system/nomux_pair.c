// SPDX-License-Identifier: MIT
/*
 * Two leases in one process, a thread on each: upcalls of one never touch the
 * other, and they wake each other by notification.
 *
 * Needs two reserved cores; tests/scripts/nomux_two_cores boots such a guest.
 */
#include <linux/nom.h>
#include <pthread.h>
#include <sched.h>

#include <nomux/clock.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/notify.h>
#include <nomux/thread.h>
#include <nomux/timer.h>
#include <nomux/upcall.h>

#include "nomux_tap.h"

#define EV_BALL		3
#define EV_TICK		4
#define PASSES		10000
#define TRAPS		1000

static struct nomux_ctx *nom;

struct side {
	struct nomux_core *core;
	struct side *other;
	pthread_t thread;
	int cpu, err;
	volatile uint64_t balls;
	uint64_t ticks, traps, strangers;
	struct nomux_core *volatile seen;
};

static void on_ball(unsigned int event, uint64_t count, void *arg)
{
	struct side *s = arg;

	s->balls += count;
	s->strangers += nomux_core_current() != s->core;
}

static void on_tick(unsigned int event, uint64_t count, void *arg)
{
	struct side *s = arg;

	s->ticks += count;
	s->strangers += nomux_core_current() != s->core;
	nomux_timer_arm(s->core, event, 70000, 0);
}

static int on_ud(struct nom_frame *frame, void *arg)
{
	struct side *s = arg;

	s->traps++;
	s->strangers += nomux_core_current() != s->core;
	frame->rip += 2;
	return 0;
}

static void nap(void *arg)
{
	nomux_sleep_ns(1000000);
}

static void play(struct side *s, bool first)
{
	struct nomux_thread *t;
	uint64_t i;

	if (first)
		s->err = nomux_notify(nom, nomux_core_handle(s->other->core), EV_BALL);
	for (i = 1; i <= PASSES && !s->err; i++) {
		nomux_mask(s->core);
		while (s->balls < i)
			nomux_wait(s->core, UINT64_MAX);
		nomux_unmask(s->core);
		if (i % (PASSES / TRAPS) == 0)
			__asm__ __volatile__("ud2" ::: "memory");
		if (!first || i < PASSES)
			s->err = nomux_notify(nom, nomux_core_handle(s->other->core), EV_BALL);
	}
	/* Each has user threads of its own. */
	if (!s->err)
		s->err = nomux_thread_create(nap, NULL, NULL, &t);
	if (!s->err)
		s->err = nomux_join(t);
}

static pthread_barrier_t both_entered, both_done;

static void *run(void *arg)
{
	struct side *s = arg;

	s->err = nomux_core_enter(s->core);
	pthread_barrier_wait(&both_entered);
	if (s->err || s->other->err)
		return NULL;
	nomux_unmask(s->core);
	s->cpu = sched_getcpu();
	s->err = nomux_timer_arm(s->core, EV_TICK, 70000, 0);
	if (!s->err)
		play(s, s < s->other);
	pthread_barrier_wait(&both_done);
	nomux_core_release(s->core);
	return NULL;
}

static int setup_side(struct side *s)
{
	struct nomux_core_opts opts = {
		.sz = sizeof(opts), .cpu = NOMUX_CPU_ANY, .notify_mask = 1ULL << EV_BALL,
	};
	int err = nomux_core_claim(nom, &opts, &s->core);

	if (!err)
		err = nomux_on_event(s->core, EV_BALL, on_ball, s);
	if (!err)
		err = nomux_on_event(s->core, EV_TICK, on_tick, s);
	if (!err)
		err = nomux_on_trap(s->core, 6, on_ud, s);
	return err;
}

int main(void)
{
	struct side side[2] = { { .other = &side[1] }, { .other = &side[0] } };
	struct nom_info info;
	uint64_t begun;
	int i, err;

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
	pthread_barrier_init(&both_entered, NULL, 2);
	pthread_barrier_init(&both_done, NULL, 2);
	for (i = 0; i < 2; i++)
		T_NEED(setup_side(&side[i]));
	t_ok(nomux_core_cpu(side[0].core) != nomux_core_cpu(side[1].core) &&
	     nomux_core_handle(side[0].core) != nomux_core_handle(side[1].core),
	     "one process claims two cores");
	begun = nomux_now_ns();
	for (i = 0; i < 2; i++)
		T_NEED(-pthread_create(&side[i].thread, NULL, run, &side[i]));
	for (i = 0; i < 2; i++)
		pthread_join(side[i].thread, NULL);
	t_ok(side[0].err == 0 && side[1].err == 0, "a thread on each, no call failed");
	printf("# errors: %d %d\n", side[0].err, side[1].err);
	t_ok(side[0].cpu != side[1].cpu && side[0].cpu > 0 && side[1].cpu > 0, "on different cores");
	t_ok(side[0].balls == PASSES && side[1].balls == PASSES,
	     "10,000 times back and forth by notification, asleep in between");
	printf("# %llu and %llu in %llu ms\n", (unsigned long long)side[0].balls,
	       (unsigned long long)side[1].balls, (unsigned long long)(nomux_now_ns() - begun) / 1000000);
	t_ok(side[0].traps == TRAPS && side[1].traps == TRAPS, "1,000 traps on each");
	t_ok(side[0].ticks > 0 && side[1].ticks > 0, "timers on both");
	t_is((long)(side[0].strangers + side[1].strangers), 0, "no handler ran on the other's core");
	nomux_close(nom);
	return t_end();
}
