// SPDX-License-Identifier: MIT
/*
 * nomux_hostile - what an application does to itself, or is done to, stays there.
 *
 * A victim counts on a core of its own and has a timer.  Beside it: an eventfd
 * written to without end, a shared page scribbled over, a timer armed in a loop,
 * notifications without end.  Judged by counts: that the victim goes on at a good
 * part of its pace in a quiet time as long (no more, for the cores are the host's),
 * that nothing reaches it that is not its own, that a storm is paused and loses
 * nothing.  How much of a core a storm gets is nomux_irq's to measure.
 *
 * Needs two reserved cores; tests/scripts/nomux_hostile boots such a guest.
 */
#include <fcntl.h>
#include <linux/nom.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <nomux/clock.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/notify.h>
#include <nomux/timer.h>
#include <nomux/upcall.h>

#include "nomux_tap.h"

#define EV_TICK		4
#define EV_STORM	5
#define EV_RING		6
#define TICK_NS		1000000
#define WINDOW_NS	150000000ULL
#define GOOD_PART	5	/* percent; the host is not ours alone */
#define PATIENCE_NS	20000000000ULL

/* What the counter on a core says, in memory shared with its judge. */
struct counter {
	volatile uint64_t loops, ticks, storms, upcalls, rings, strange, pauses;
	volatile uint64_t handle;
	volatile int stop, err;
};

static struct counter *victim, *target;
static struct nomux_core *mine;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static void sleep_ns(uint64_t ns)
{
	struct timespec t = { (time_t)(ns / 1000000000ULL), (long)(ns % 1000000000ULL) };

	nanosleep(&t, NULL);
}

static void on_tick(unsigned int event, uint64_t count, void *arg)
{
	struct counter *c = arg;

	c->ticks += count;
	nomux_timer_arm(mine, EV_TICK, TICK_NS, 0);
}

static void on_storm(unsigned int event, uint64_t count, void *arg)
{
	struct counter *c = arg;

	c->storms += count;
	c->upcalls++;
}

static void on_ring(unsigned int event, uint64_t count, void *arg)
{
	((struct counter *)arg)->rings += count;
}

static void on_strange(unsigned int event, uint64_t count, void *arg)
{
	((struct counter *)arg)->strange += count;
}

/* In a child: count on a core until told to stop; fd, if any, posts EV_STORM. */
static int count(struct counter *c, int fd, uint32_t flags)
{
	struct nomux_core_opts opts = {
		.sz = sizeof(opts), .cpu = NOMUX_CPU_ANY, .flags = flags,
		.notify_mask = 1ULL << EV_RING,
	};
	struct nom_core_binding b;
	struct nomux_ctx *nom;
	unsigned int e;
	int err;

	alarm(100);
	err = nomux_open(&nom);
	if (!err)
		err = nomux_core_claim(nom, &opts, &mine);
	for (e = 0; !err && e < NOM_NR_EVENTS; e++)
		err = nomux_on_event(mine, e, e == EV_TICK ? on_tick : e == EV_STORM ? on_storm :
				     e == EV_RING ? on_ring : on_strange, c);
	if (!err && fd >= 0)
		err = nomux_event_bind(mine, EV_STORM, fd);
	if (!err)
		err = nomux_core_enter(mine);
	if (err) {
		c->err = err;
		return 1;
	}
	nomux_unmask(mine);
	nomux_timer_arm(mine, EV_TICK, TICK_NS, 0);
	c->handle = nomux_core_handle(mine);
	while (!c->stop)
		c->loops++;
	if (!nomux_binding(mine, 0, &b))
		c->pauses = b.out_pauses;
	nomux_core_release(mine);
	nomux_close(nom);
	return 0;
}

static pid_t start(struct counter *c, int fd, uint32_t flags)
{
	uint64_t began = now_ns();
	pid_t pid;

	memset((void *)c, 0, sizeof(*c));
	pid = fork();
	if (!pid)
		_exit(count(c, fd, flags));
	while (!c->handle && !c->err && now_ns() - began < 20000000000ULL)
		sleep_ns(1000000);
	if (!c->handle) {
		printf("Bail out! no counter: %d\n", c->err);
		exit(1);
	}
	return pid;
}

static int stop(struct counter *c, pid_t pid)
{
	int status;

	c->stop = 1;
	return waitpid(pid, &status, 0) == pid ? status : -1;
}

static int set_param(const char *name, const char *value)
{
	char path[96];
	int fd, err = 0;

	snprintf(path, sizeof(path), "/sys/module/nom/parameters/%s", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		err = -errno;
	close(fd);
	return err;
}

struct window {
	uint64_t target, victim, ticks, storms, upcalls, rings, ns;
};

/*
 * What happens while fn() is called again and again: for a window of time, and
 * until enough was counted to judge by.
 */
static struct window watch(void (*fn)(void *), void *arg, const volatile uint64_t *enough_of)
{
	uint64_t began = now_ns(), enough = enough_of ? *enough_of + 100 : 0;
	struct window w = {
		target->loops, victim->loops, victim->ticks, target->storms, target->upcalls,
		victim->rings, 0,
	};

	for (w.ns = 0; w.ns < WINDOW_NS || (enough_of && *enough_of < enough && w.ns < PATIENCE_NS);
	     w.ns = now_ns() - began)
		fn(arg);
	w.target = target->loops - w.target;
	w.victim = victim->loops - w.victim;
	w.ticks = victim->ticks - w.ticks;
	w.storms = target->storms - w.storms;
	w.upcalls = target->upcalls - w.upcalls;
	w.rings = victim->rings - w.rings;
	return w;
}

static struct window quiet;

/* A count of a window, beside that of a quiet window as long. */
static unsigned int percent(const struct window *w, uint64_t part, uint64_t of_quiet)
{
	uint64_t whole = of_quiet * (w->ns / 1000) / (quiet.ns / 1000);

	return whole ? (unsigned int)(part * 100 / whole) : 0;
}

/* The victim had its core and its timer as in the quiet window. */
static void unharmed(const struct window *w, const char *while_what)
{
	t_ok(percent(w, w->victim, quiet.victim) >= GOOD_PART, "%s: the victim counts on (%u %% of quiet)",
	     while_what, percent(w, w->victim, quiet.victim));
	t_ok(percent(w, w->ticks, quiet.ticks) >= GOOD_PART, "%s: the victim's timer comes (%llu of %llu)",
	     while_what, (unsigned long long)w->ticks, (unsigned long long)quiet.ticks);
	t_ok(!victim->strange && !victim->storms, "%s: nothing strange comes to the victim",
	     while_what);
}

static void put(void *fd)
{
	uint64_t one = 1;
	int i;

	for (i = 0; i < 100; i++)
		if (write(*(int *)fd, &one, sizeof(one)) != sizeof(one))
			return;
}

/* --- an eventfd that is written to without end --- */

static void storm(void)
{
	int bound = eventfd(0, EFD_CLOEXEC), other = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), i;
	uint64_t written = 0, began;
	struct window w;
	pid_t pid;

	pid = start(target, bound, 0);
	sleep_ns(WINDOW_NS / 4);
	/* as busy a writer, but of an eventfd that nobody has bound */
	quiet = watch(put, &other, &victim->ticks);
	t_ok(quiet.target > 1000 && quiet.victim > 1000 && quiet.ticks >= 100,
	     "in a quiet window both count (%llu, %llu) and ticks come (%llu)",
	     (unsigned long long)quiet.target, (unsigned long long)quiet.victim,
	     (unsigned long long)quiet.ticks);

	w = watch(put, &bound, &target->upcalls);
	t_ok(percent(&w, w.target, quiet.target) >= GOOD_PART,
	     "a storm leaves its target a good part of the core (%u %%, %llu upcalls)",
	     percent(&w, w.target, quiet.target), (unsigned long long)w.upcalls);
	t_ok(w.upcalls >= 100 && w.upcalls * 2 < w.storms, "and comes in lumps (%llu of %llu)",
	     (unsigned long long)w.upcalls, (unsigned long long)w.storms);
	unharmed(&w, "a storm");

	sleep_ns(20000000);
	written = target->storms;
	for (i = 0; i < 1000; i++)
		put(&bound);
	written += 1000ULL * 100;
	began = now_ns();
	while (target->storms < written && now_ns() - began < 5000000000ULL)
		sleep_ns(1000000);
	t_ok(target->storms == written, "of a hundred thousand none is lost (%lld)",
	     (long long)(written - target->storms));

	t_is(set_param("storm_gap_ns", "0"), 0, "without protection");
	w = watch(put, &bound, &target->upcalls);
	t_is(set_param("storm_gap_ns", "5000"), 0, "and with it again");
	printf("# unprotected the target keeps %u %% (%llu upcalls)\n",
	       percent(&w, w.target, quiet.target), (unsigned long long)w.upcalls);
	t_is(stop(target, pid), 0, "the target of the storm ends well");
	t_ok(target->pauses > 10, "it was given peace %llu times",
	     (unsigned long long)target->pauses);
	close(bound), close(other);
}

/* --- a process that scribbles over its own shared page --- */

static volatile int scribbling = 1;

static void *scribble(void *arg)
{
	volatile uint32_t *page = arg;
	uint32_t x = 12345;

	while (scribbling) {
		x = x * 1103515245 + 12345;
		page[x >> 22] = x;
		page[0] = x & 1;		/* vif: unmasked every other time */
		page[2] = x, page[3] = ~x;	/* pending */
		page[4] = x;			/* flags */
		page[1] = x;			/* cpu */
	}
	return NULL;
}

/* The scribbler's holder: events, timers, traps, in spite of it. */
static int scribbled(uint64_t seed)
{
	struct nomux_core_opts opts = { .sz = sizeof(opts), .cpu = NOMUX_CPU_ANY,
					.notify_mask = ~0ULL };
	struct nomux_ctx *nom;
	pthread_t thread;
	int i;

	alarm(60);
	if (nomux_open(&nom) || nomux_core_claim(nom, &opts, &mine))
		return 99;
	for (i = 0; i < NOM_NR_EVENTS; i++)
		nomux_on_event(mine, (unsigned int)i, on_strange, (void *)target);
	if (pthread_create(&thread, NULL, scribble, nomux_core_shared(mine)) ||
	    nomux_core_enter(mine))
		return 98;
	target->handle = nomux_core_handle(mine);
	nomux_unmask(mine);
	for (i = 0; !target->stop; i++) {
		nomux_timer_arm(mine, (unsigned int)i % NOM_NR_EVENTS, 2000 + seed, 0);
		target->loops++;
	}
	scribbling = 0;
	pthread_join(thread, NULL);
	nomux_core_release(mine);
	return 0;
}

static struct nomux_ctx *judge;

static void ring_target(void *unused)
{
	int i;

	for (i = 0; i < 20; i++)
		nomux_notify(judge, target->handle, (unsigned int)i);
}

static void scribbler(void)
{
	uint64_t began = now_ns();
	int status, killed = 0;
	struct window w;
	pid_t pid;

	memset((void *)target, 0, sizeof(*target));
	pid = fork();
	if (!pid)
		_exit(scribbled(7));
	while (!target->handle && now_ns() - began < 5000000000ULL &&
	       waitpid(pid, &status, WNOHANG) == 0)
		sleep_ns(1000000);
	t_ok(target->handle, "a holder's page is scribbled over");
	w = watch(ring_target, NULL, NULL);
	target->stop = 1;
	began = now_ns();
	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (now_ns() - began > 2000000000ULL && !killed++)
			kill(pid, SIGKILL);
		sleep_ns(1000000);
	}
	printf("# it got as far as %llu loops, and ended with status %#x\n",
	       (unsigned long long)target->loops, status);
	t_ok(!status || (WIFSIGNALED(status) && (WTERMSIG(status) == SIGSEGV ||
	     WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGBUS)),
	     "it harms itself at worst");
	unharmed(&w, "scribbling");
}

/* --- timers and notifications without end --- */

static int flood_timers(void)
{
	struct nomux_ctx *nom;

	alarm(60);
	if (nomux_open(&nom) || nomux_core_claim(nom, NULL, &mine))
		return 99;
	nomux_on_event(mine, EV_TICK, on_strange, (void *)target);
	if (nomux_core_enter(mine))
		return 98;
	nomux_unmask(mine);
	target->handle = nomux_core_handle(mine);
	while (!target->stop) {
		nomux_timer_arm(mine, EV_TICK, 1, 0);
		target->loops++;
	}
	nomux_core_release(mine);
	return 0;
}

static void idle(void *unused)
{
	sleep_ns(1000000);
}

static void timers(void)
{
	uint64_t began = now_ns();
	struct window w;
	pid_t pid;

	memset((void *)target, 0, sizeof(*target));
	pid = fork();
	if (!pid)
		_exit(flood_timers());
	while (!target->handle && now_ns() - began < 5000000000ULL)
		sleep_ns(1000000);
	w = watch(idle, NULL, &target->strange);
	t_ok(w.target > 100 && target->strange >= 100, "timers of 1 ns are armed (%llu) and fire (%llu)",
	     (unsigned long long)w.target, (unsigned long long)target->strange);
	unharmed(&w, "a flood of timers");
	t_is(stop(target, pid), 0, "who armed them ends well");
}

static int flood_notifications(struct counter *c)
{
	struct nomux_ctx *nom;
	uint64_t refused = 0;
	int err;

	alarm(60);
	if (setgid(990) || setuid(1001) || nomux_open(&nom))
		return 99;
	while (!c->stop) {
		err = nomux_notify(nom, victim->handle, EV_RING);
		if (err && err != -EAGAIN)
			return 97;
		refused += err == -EAGAIN;
		c->loops++;
		c->ticks = refused;
	}
	return 0;
}

static void notifications(void)
{
	uint64_t began, tenths;
	struct window w;
	pid_t pid;

	t_is(set_param("user_notify_per_s", "2000"), 0, "2,000 notifications a second");
	memset((void *)target, 0, sizeof(*target));
	pid = fork();
	if (!pid)
		_exit(flood_notifications(target));
	while (!target->loops)
		sleep_ns(1000000);
	began = now_ns();
	w = watch(idle, NULL, &victim->rings);
	tenths = (now_ns() - began) / 100000000;
	t_ok(w.rings > 0 && w.rings <= 200 * (tenths + 3),
	     "of a flood (%llu) the limit comes through (%llu)", (unsigned long long)w.target,
	     (unsigned long long)w.rings);
	t_ok(target->ticks > w.rings, "the others are refused (%llu)",
	     (unsigned long long)target->ticks);
	unharmed(&w, "a flood of notifications");
	t_is(stop(target, pid), 0, "who sent them ends well");
	t_is(set_param("user_notify_per_s", "250000"), 0, "the limit is set back");
}

int main(void)
{
	struct nom_info info;
	pid_t pid;

	t_start(200);
	if (nomux_open(&judge)) {
		printf("1..0 # SKIP no /dev/nom\n");
		return T_SKIP;
	}
	T_NEED(nomux_info(judge, &info));
	if (info.out_nr_cores < 2) {
		printf("1..0 # SKIP one reserved core: see tests/scripts/nomux_hostile\n");
		return T_SKIP;
	}
	if (chown(NOM_DEVICE_PATH, 0, 990) || chmod(NOM_DEVICE_PATH, 0660))
		return 1;
	victim = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	target = victim + 4;
	pid = start(victim, -1, NOMUX_CORE_NOTIFY_ANY);
	storm();
	scribbler();
	timers();
	notifications();
	t_is(stop(victim, pid), 0, "the victim ends well");
	nomux_close(judge);
	return t_end();
}
