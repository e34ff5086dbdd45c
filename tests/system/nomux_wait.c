// SPDX-License-Identifier: MIT
/*
 * nomux_wait() loses no wake-up.
 *
 * In lock-step: the other side posts an event only after the last one was
 * acknowledged, at a pseudo-random distance, so that it falls now before the
 * sleeper looks, now between look and sleep, now into the sleep.  A wake-up
 * that got lost would leave both sides waiting: the deadline tells.
 */
#include <linux/nom.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>

#include <nomux/clock.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/notify.h>
#include <nomux/timer.h>
#include <nomux/upcall.h>

#include "../../libnomux/src/internal.h"
#include "nomux_tap.h"

#define EV		7
#define PATIENCE_NS	20000000000ULL

static struct nomux_ctx *nom;
static struct nomux_core *core;
static volatile uint64_t got, acked;
static volatile bool gave_up;
static int efd = -1;

struct job {
	uint64_t nr;
	unsigned int spread;	/* of the distance, loop turns */
	bool notify;		/* else eventfd */
	bool fds;		/* sleep as one does who waits for descriptors as well: ppoll(2) */
};

static void count_event(unsigned int event, uint64_t count, void *arg)
{
	got += count;
}

static void post(const struct job *job)
{
	uint64_t one = 1;

	if (job->notify ? nomux_notify(nom, nomux_core_handle(core), EV) :
			  write(efd, &one, sizeof(one)) != sizeof(one))
		abort();
}

static void *poster(void *arg)
{
	const struct job *job = arg;
	uint64_t seed = 2463534242ULL, i, since;
	volatile unsigned int n;

	for (i = 1; i <= job->nr && !gave_up; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		n = (seed >> 20) % job->spread;
		if (i % 32 == 0)
			n += 20 * job->spread;	/* long enough to be asleep for sure */
		while (n)
			n--;
		post(job);
		since = nomux_now_ns();
		while (acked < i) {
			if (nomux_now_ns() - since < PATIENCE_NS)
				continue;
			printf("# lost at %llu of %llu: got %llu\n", (unsigned long long)i,
			       (unsigned long long)job->nr, (unsigned long long)got);
			gave_up = true;
			post(job);	/* let the sleeper see that it is over */
			break;
		}
	}
	return NULL;
}

static long sleeps(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw;
}

static void lockstep(struct job *job, const char *what)
{
	uint64_t begun = nomux_now_ns();
	long slept = sleeps();
	pthread_t thread;

	got = acked = 0;
	gave_up = false;
	T_NEED(-pthread_create(&thread, NULL, poster, job));
	while (acked < job->nr && !gave_up) {
		nomux_mask(core);
		while (got == acked && !gave_up) {
			if (job->fds)
				nomux__wait_fds(core, UINT64_MAX, NULL, 0);
			else
				nomux_wait(core, UINT64_MAX);
		}
		nomux_unmask(core);
		acked = got;
	}
	pthread_join(thread, NULL);
	t_ok(!gave_up && got == job->nr, "%s", what);
	slept = sleeps() - slept;
	t_ok(slept > (long)job->nr / 100, "  it did sleep");
	printf("# %llu in %llu ms, %ld of them asleep\n", (unsigned long long)job->nr,
	       (unsigned long long)(nomux_now_ns() - begun) / 1000000, slept);
}

static volatile sig_atomic_t signals;

static void on_signal(int sig)
{
	signals++;
}

static timer_t signal_timer(long ns)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR2 };
	struct itimerspec each = { { 0, ns }, { 0, ns } };
	struct sigaction action = { .sa_handler = on_signal };
	timer_t timer;

	event._sigev_un._tid = gettid();
	sigaction(SIGUSR2, &action, NULL);
	T_NEED(timer_create(CLOCK_MONOTONIC, &event, &timer));
	timer_settime(timer, 0, &each, NULL);
	return timer;
}

static void test_bounds(void)
{
	uint64_t t, woken;

	nomux_mask(core);
	t = nomux_now_ns();
	nomux_wait(core, 5000000);
	t = nomux_now_ns() - t;
	t_ok(t >= 4900000, "with nothing to wait for it sleeps as long as it may");
	printf("# asked for 5000000 ns, slept %llu\n", (unsigned long long)t);
	t_ok(nomux_masked(core), "and returns with events masked");
	/* The first sleep's timer is still armed when an event has ended that; the next ends in time. */
	T_NEED(nomux_timer_arm(core, EV, 1000000, 0));
	nomux_wait(core, 400000000);
	t = nomux_now_ns();
	nomux_wait(core, 3000000);
	woken = nomux_now_ns() - t;
	t_ok(woken >= 2900000 && woken < 300000000, "a shorter sleep after a longer one that an event ended");
	printf("# asked for 3000000 ns, slept %llu\n", (unsigned long long)woken);
	T_NEED(nomux_timer_arm(core, EV, 1000000, 0));
	nomux_wait(core, 20000000);
	t = nomux_now_ns();
	nomux_wait(core, 60000000);
	woken = nomux_now_ns() - t;
	t_ok(woken >= 59000000, "a longer one is not ended by the timer of the one before");
	printf("# asked for 60000000 ns, slept %llu\n", (unsigned long long)woken);
	nomux_unmask(core);
	nomux_wait(core, 1000);
	t_ok(!nomux_masked(core), "or unmasked, if they were");

	nomux_mask(core);
	got = 0;
	t = nomux_now_ns();
	T_NEED(nomux_timer_arm(core, EV, 3000000, 0));
	while (!got)
		nomux_wait(core, UINT64_MAX);
	woken = nomux_now_ns() - t;
	t_ok(woken >= 3000000, "the timer wakes a sleeper");
	printf("# after %llu ns\n", (unsigned long long)woken);
	nomux_unmask(core);

	/* Pending before the call: no sleep at all. */
	nomux_mask(core);
	got = 0;
	T_NEED(nomux_notify(nom, nomux_core_handle(core), EV));
	t_is((long)got, 0, "an event while masked is not handled yet");
	nomux_wait(core, UINT64_MAX);
	t_is((long)got, 1, "it ends a wait before that begins, and is handled by it");
	nomux_unmask(core);
}

int main(void)
{
	struct nomux_core_opts opts = {
		.sz = sizeof(opts), .cpu = NOMUX_CPU_ANY, .notify_mask = 1ULL << EV,
	};
	struct job by_eventfd = { .nr = 10000, .spread = 400 };
	struct job by_notify = { .nr = 10000, .spread = 1000, .notify = true };
	struct job among_signals = { .nr = 3000, .spread = 1000 };
	struct job in_ppoll = { .nr = 5000, .spread = 400, .fds = true };
	struct job in_ppoll_among_signals = { .nr = 500, .spread = 1000, .fds = true };
	timer_t timer;
	int err;

	t_start(170);
	err = nomux_open(&nom);
	if (err) {
		printf("1..0 # SKIP no /dev/nom: %s\n", strerror(-err));
		return T_SKIP;
	}
	T_NEED(nomux_core_claim(nom, &opts, &core));
	efd = eventfd(0, EFD_CLOEXEC);
	T_NEED(nomux_on_event(core, EV, count_event, NULL));
	T_NEED(nomux_event_bind(core, EV, efd));
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);

	test_bounds();
	lockstep(&by_eventfd, "10,000 wake-ups by an eventfd, none lost");
	lockstep(&by_notify, "10,000 wake-ups by notification, none lost");
	lockstep(&in_ppoll, "5,000 wake-ups in ppoll(2), none lost");
	timer = signal_timer(200000);
	lockstep(&among_signals, "3,000 wake-ups among signals on the sleeper, none lost");
	lockstep(&in_ppoll_among_signals, "500 of those among signals, none lost");
	timer_delete(timer);
	t_ok(signals >= 10, "  signals were handled meanwhile");
	printf("# %d signals\n", (int)signals);

	T_NEED(nomux_core_release(core));
	nomux_close(nom);
	return t_end();
}
