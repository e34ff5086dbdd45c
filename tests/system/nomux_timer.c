// SPDX-License-Identifier: MIT
/*
 * On a leased core: 10,000 timers on the kernel's one, calls handed to a helper,
 * posts from other cores to a core that sleeps, threads with storage of their own.
 */
#include <linux/nom.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <nomux/clock.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/guard.h>
#include <nomux/offload.h>
#include <nomux/sync.h>
#include <nomux/thread.h>
#include <nomux/timer.h>
#include <nomux/upcall.h>

#include "nomux_tap.h"

#define TIMERS		10000
#define SPREAD_NS	200000000ULL

static struct nomux_core *core;

static uint64_t monotonic(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/* ---------------------------------------------------------------- timers --- */

static struct one {
	struct nomux_timer *t;
	uint64_t due_ns, fired_ns;
	unsigned int fired;
} one[TIMERS];

static volatile unsigned int nr_fired, out_of_order;
static volatile uint64_t last_due;

static void on_timer(struct nomux_timer *t, void *arg)
{
	struct one *o = arg;

	o->fired_ns = nomux_now_ns();
	o->fired++;
	nr_fired++;
	out_of_order += o->due_ns < last_due;
	last_due = o->due_ns;
}

static void set_all(uint64_t base)
{
	uint64_t x = 12345;
	unsigned int i;

	last_due = 0;
	for (i = 0; i < TIMERS; i++) {
		x = x * 6364136223846793005ULL + 1442695040888963407ULL;
		one[i].due_ns = base + (x >> 33) % SPREAD_NS;
		one[i].fired = 0;
		T_NEED(nomux_timer_set(one[i].t, one[i].due_ns, NOMUX_TIMER_ABS));
	}
}

static void test_many(void)
{
	struct nomux_thread_stats a = { .sz = sizeof(a) }, b = { .sz = sizeof(b) };
	unsigned int i, early = 0, twice = 0, cancelled = 0, late = 0;
	uint64_t base, lead = 300000000, worst = 0, limit;
	int64_t apart;

	for (i = 0; i < TIMERS; i++)
		T_NEED(nomux_timer_create(on_timer, &one[i], &one[i].t));
	do {				/* set all before the first comes due */
		T_NEED(nomux_thread_stats(&a));
		base = nomux_now_ns() + lead;
		set_all(base);
		lead *= 3;
	} while (nomux_now_ns() > base);
	nr_fired = out_of_order = 0;
	T_NEED(nomux_thread_stats(&b));
	/* The minimum of a random sequence is replaced about ln(10,000) times. */
	t_ok(b.timer_arms - a.timer_arms < 60, "10,000 timers set, the kernel's armed less than 60 times");
	printf("# %llu arms\n", (unsigned long long)(b.timer_arms - a.timer_arms));
	for (i = 0; i < TIMERS; i += 10)
		cancelled += nomux_timer_cancel(one[i].t) == 0;
	t_is(cancelled, TIMERS / 10, "a tenth is cancelled in time");
	t_is(nomux_timer_cancel(one[0].t), -ENOENT, "  once each");
	limit = nomux_now_ns() + 20000000000ULL;
	while (nr_fired < TIMERS - cancelled && nomux_now_ns() < limit)
		;			/* busy: upcalls only, no scheduler */
	t_is(nr_fired, TIMERS - cancelled, "the others come due, in upcalls");
	for (i = 0; i < TIMERS; i++) {
		twice += one[i].fired > 1 || (i % 10 == 0 && one[i].fired);
		if (!one[i].fired)
			continue;
		early += one[i].fired_ns < one[i].due_ns;
		late += one[i].fired_ns > one[i].due_ns + 1000000000ULL;
		if (one[i].fired_ns - one[i].due_ns > worst)
			worst = one[i].fired_ns - one[i].due_ns;
	}
	t_is(twice, 0, "  once each, none that was cancelled");
	t_is(early, 0, "  none early");
	t_is(late, 0, "  none a second late");
	t_is(out_of_order, 0, "  in order");
	apart = (int64_t)(nomux_now_ns() - monotonic());
	t_ok(apart > -10000000 && apart < 10000000, "  by CLOCK_MONOTONIC's time");
	T_NEED(nomux_thread_stats(&b));
	t_ok(b.timer_arms - a.timer_arms <= nr_fired + 80, "  with at most one arm each");
	printf("# worst %llu us late, %llu arms, clocks %lld ns apart\n", (unsigned long long)worst / 1000,
	       (unsigned long long)(b.timer_arms - a.timer_arms), (long long)apart);
	for (i = 0; i < TIMERS; i++)
		nomux_timer_destroy(one[i].t);
}

static unsigned int again;

static void set_again(struct nomux_timer *t, void *arg)
{
	if (++again < 100)
		nomux_timer_set(t, 100000, 0);
}

static void nap(void *arg)
{
	nomux_sleep_ns(2000000);
}

/* A timer that sets itself, while threads sleep and so the core does. */
static void test_periodic_while_idle(void)
{
	struct nomux_timer *t;
	struct nomux_thread *th;
	int rounds = 0;

	T_NEED(nomux_timer_create(set_again, NULL, &t));
	T_NEED(nomux_timer_set(t, 1, 0));
	while (again < 100 && rounds++ < 1000) {
		T_NEED(nomux_thread_create(nap, NULL, NULL, &th));
		T_NEED(nomux_join(th));
	}
	t_is(again, 100, "a callback sets its timer again, 100 times, on a core that sleeps");
	nomux_timer_destroy(t);
}

/* --------------------------------------------------------------- offload --- */

static int fd[2];

struct call {
	long ret;
	volatile bool cpu_known;
	int cpu;
	char buf[8];
};

static long blocking_read(void *arg)
{
	struct call *c = arg;

	c->cpu = sched_getcpu();
	c->cpu_known = true;
	return read(fd[0], c->buf, sizeof(c->buf));
}

static void offloader(void *arg)
{
	struct call *c = arg;
	long ret = -1;

	c->ret = nomux_offload(blocking_read, c, &ret) ? -1 : ret;
}

static void test_offload(void)
{
	struct call c = { .ret = -2 };
	struct nomux_thread *t;
	unsigned int turns = 0;
	uint64_t until;

	if (pipe(fd))
		exit(1);
	T_NEED(nomux_thread_create(offloader, &c, NULL, &t));
	until = nomux_now_ns() + 10000000000ULL;
	while ((turns < 1000 || !c.cpu_known) && nomux_now_ns() < until) {
		nomux_yield();
		turns++;
	}
	t_ok(c.ret == -2 && turns >= 1000 && c.cpu_known, "the core goes on while a thread's read(2) blocks");
	if (write(fd[1], "hello", 5) != 5)
		exit(1);
	T_NEED(nomux_join(t));		/* asleep meanwhile: the helper wakes the core */
	t_ok(c.ret == 5 && !memcmp(c.buf, "hello", 5), "  and gets its answer");
	t_ok(c.cpu != nomux_core_cpu(core), "  read on another core");
	close(fd[0]);
	close(fd[1]);
	t_is(nomux_offload(NULL, NULL, NULL), -EINVAL, "no function is refused");
}

/* ---------------------------------------------------- woken from elsewhere --- */

#define POSTS 200
static struct nomux_sem sem;

static void *poster(void *arg)
{
	struct timespec pause = { .tv_nsec = 200000 };

	for (int i = 0; i < POSTS; i++) {
		nomux_sem_post(&sem);
		if (i % 4 == 0)
			nanosleep(&pause, NULL);
	}
	return NULL;
}

static void test_woken(pthread_t (*start)(void *(*fn)(void *)))
{
	struct nomux_thread_stats a = { .sz = sizeof(a) }, b = { .sz = sizeof(b) };
	pthread_t thread;
	int got = 0;

	T_NEED(nomux_sem_init(&sem, 0, NOMUX_SEM_EXTERNAL));
	T_NEED(nomux_thread_stats(&a));
	thread = start(poster);
	while (got < POSTS && !nomux_sem_wait(&sem, 5000000000ULL))
		got++;
	pthread_join(thread, NULL);
	T_NEED(nomux_thread_stats(&b));
	t_is(got, POSTS, "posts from another core wake one that sleeps");
	t_ok(b.idles > a.idles, "  and it did sleep");
	T_NEED(nomux_sem_destroy(&sem));
}

static cpu_set_t ordinary;

/* A pthread must not inherit the leased core. */
static pthread_t start_ordinary(void *(*fn)(void *))
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(ordinary), &ordinary);
	T_NEED(-pthread_create(&thread, &attr, fn, NULL));
	pthread_attr_destroy(&attr);
	return thread;
}

/* --------------------------------------------------- storage of their own --- */

static __thread int mine = 42;

struct owner {
	int id, bad;
};

static void own(void *arg)
{
	struct owner *o = arg;

	o->bad = mine != 42;
	mine = o->id;
	errno = o->id;
	for (int i = 0; i < 100; i++) {
		nomux_yield();
		o->bad += mine != o->id || errno != o->id;
	}
	o->bad += nomux_core_current() != core;	/* the library's own came along */
	o->bad += sched_getcpu() != nomux_core_cpu(core);
}

static void test_own_tls(void)
{
	struct nomux_thread_opts opts = { .sz = sizeof(opts), .flags = NOMUX_THREAD_OWN_TLS };
	struct owner o[8] = { 0 };
	struct nomux_thread *t[8];
	int i, err, bad = 0;

	for (i = 0; i < 8; i++) {
		o[i].id = i + 100;
		err = nomux_thread_create(own, &o[i], &opts, &t[i]);
		if (err == -EOPNOTSUPP) {
			printf("ok %d - threads have their own storage # SKIP no FSGSBASE\n", ++t_ran);
			return;
		}
		T_NEED(err);
	}
	for (i = 0; i < 8; i++) {
		T_NEED(nomux_join(t[i]));
		bad += o[i].bad;
	}
	t_is(bad, 0, "errno and __thread variables are each thread's own");
	t_is(mine, 42, "  and not the kernel thread's");
}

/* ------------------------------------------------------------------ stalls --- */

static volatile bool stalled;
static char stalled_name[16];

static void on_stall(const struct nomux_stall *s, void *arg)
{
	memcpy(stalled_name, s->name, sizeof(stalled_name));
	stalled = true;
}

static void hog(void *arg)
{
	uint64_t limit = nomux_now_ns() + 10000000000ULL;

	while (!stalled && nomux_now_ns() < limit)
		;
}

static void test_stall(void)
{
	struct nomux_thread_opts opts = { .sz = sizeof(opts), .name = "hog" };
	struct nomux_thread *t;

	T_NEED(nomux_stall_watch(20000000, on_stall, NULL));
	T_NEED(nomux_thread_create(hog, NULL, &opts, &t));
	T_NEED(nomux_join(t));
	t_ok(stalled && !strcmp(stalled_name, "hog"), "a thread that keeps the core is reported");
	T_NEED(nomux_stall_watch(0, NULL, NULL));
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
	sched_getaffinity(0, sizeof(ordinary), &ordinary);
	T_NEED(nomux_core_claim(nom, NULL, &core));
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
	test_many();
	test_periodic_while_idle();
	test_offload();
	test_woken(start_ordinary);
	test_own_tls();
	test_stall();
	T_NEED(nomux_core_release(core));
	nomux_close(nom);
	return t_end();
}
