// SPDX-License-Identifier: MIT
/*
 * nom-soak: leaseholders.  Built without FPU registers: parts of it run in upcalls.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <nomux/board.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/mem.h>
#include <nomux/notify.h>
#include <nomux/timer.h>
#include <nomux/upcall.h>

#include "soak.h"

#define EV_FD		5	/* .. EV_FD + NR_FDS - 1 */
#define NR_FDS		3
#define EV_NOTIFY	9
#define EV_TIMER	10
#define EV_NEWS		11
#define PAGE		4096UL
#define CHUNK		(2UL << 20)
#define STORM_POSTS	800	/* more would only keep the core from others */
#define PATIENCE_S	20

unsigned long canary_spin(volatile int *stop, unsigned long *rounds);
unsigned long canary_flip(void);

/* ------------------------------------------------------------- storms --- */

static struct storm {
	struct nomux_ctx *nom;
	struct nomux_core *core;
	int efd[NR_FDS];
	pid_t holder;
	volatile uint64_t got[64], armed, fired;
	uint64_t sent[64];
	volatile int stop, deaf;
} s;

static void on_event(unsigned int event, uint64_t count, void *arg)
{
	s.got[event] += count;
}

/* Counts what fired and arms it again: at most one is on its way. */
static void on_timer(unsigned int event, uint64_t count, void *arg)
{
	s.fired += count;
	if (s.stop)
		return;
	if (!nomux_timer_arm(s.core, EV_TIMER, 50000 + s.fired % 7 * 30000, 0))
		s.armed++;
}

static void on_signal(int sig)
{
	soak_add(SOAK_SIGNALS, 1);
}

static bool all_came(void)
{
	unsigned int i;

	for (i = 0; i < 64; i++)
		if (s.got[i] != s.sent[i])
			return false;
	return true;
}

/* From an ordinary core: eventfds, notifications, signals, at odd distances. */
static void *post(void *arg)
{
	uint64_t handle = nomux_core_handle(s.core), n;
	volatile unsigned int wait;
	unsigned int i, which;
	time_t end;

	for (i = 0; i < STORM_POSTS && !soak->stop; i++) {
		for (wait = soak_random() % 400; wait; wait--)
			;
		which = soak_random() % (NR_FDS + 1);
		if (which < NR_FDS) {
			n = 1 + soak_random() % 3;
			s.sent[EV_FD + which] += n;
			if (write(s.efd[which], &n, sizeof(n)) != sizeof(n))
				s.deaf = 1;
		} else {
			s.sent[EV_NOTIFY]++;
			if (nomux_notify(s.nom, handle, EV_NOTIFY))
				s.deaf = 2;
		}
		if (soak_random() % 40 == 0)
			syscall(SYS_tgkill, getpid(), s.holder, SIGUSR1);
		if (i % 100 == 99)
			soak_nap(300);
	}
	for (end = time(NULL) + PATIENCE_S; !all_came() && time(NULL) < end; )
		soak_nap(1000);
	s.stop = 1;
	return NULL;
}

static int storm_round(void)
{
	unsigned long rounds = 0, bad;
	uint64_t got = 0, sent = 0;
	pthread_t poster;
	unsigned int i;
	int ret;

	s.core = soak_claim(s.nom, 0, 1ULL << EV_NOTIFY, 0);
	if (!s.core)
		return 0;
	memset(s.sent, 0, sizeof(s.sent));
	memset((void *)s.got, 0, sizeof(s.got));
	s.armed = s.fired = 0;
	s.stop = s.deaf = 0;
	s.holder = gettid();
	ret = nomux_on_event(s.core, EV_NOTIFY, on_event, NULL) ?: nomux_on_event(s.core, EV_TIMER, on_timer, NULL);
	for (i = 0; i < NR_FDS; i++) {
		s.efd[i] = eventfd(0, EFD_CLOEXEC);
		ret = ret ?: nomux_on_event(s.core, EV_FD + i, on_event, NULL) ?:
		      nomux_event_bind(s.core, EV_FD + i, s.efd[i]);
	}
	if (ret)
		return soak_fail("storm: set-up: %s", strerror(-ret));
	ret = -pthread_create(&poster, NULL, post, NULL);
	ret = ret ?: nomux_core_enter(s.core);
	if (ret)
		return soak_fail("storm: enter: %s", strerror(-ret));
	s.armed = 1;
	nomux_unmask(s.core);
	if (nomux_timer_arm(s.core, EV_TIMER, 100000, 0))
		return soak_fail("storm: the timer");
	bad = canary_spin(&s.stop, &rounds);
	pthread_join(poster, NULL);
	nomux_timer_arm(s.core, EV_TIMER, 0, 0);
	nomux_mask(s.core);
	ret = nomux_core_release(s.core);
	for (i = 0; i < NR_FDS; i++)
		close(s.efd[i]);
	for (i = 0; i < 64; i++) {
		got += s.got[i];
		sent += s.sent[i];
	}
	if (soak_counts) {		/* no SIGKILL comes between the two */
		soak_add(SOAK_POSTED, sent);
		soak_add(SOAK_RECEIVED, got);
	}
	soak_add(SOAK_TIMERS, s.fired);
	soak_add(SOAK_CANARIES, rounds);
	if (bad)
		return soak_fail("storm: register %lu changed", bad);
	if (ret)
		return soak_fail("storm: release: %s", strerror(-ret));
	if (s.deaf)
		return soak_fail("storm: a post was refused (%d)", s.deaf);
	if (!all_came())
		return soak_fail("storm: %llu events sent, %llu came", (unsigned long long)sent, (unsigned long long)got);
	if (s.fired != s.armed && s.fired + 1 != s.armed)
		return soak_fail("storm: timer armed %llu times, fired %llu times", (unsigned long long)s.armed,
				 (unsigned long long)s.fired);
	return 0;
}

int soak_storm(void)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	int ret = nomux_open(&s.nom);

	if (ret)
		return soak_fail("storm: open: %s", strerror(-ret));
	sigaction(SIGUSR1, &sa, NULL);
	while (!soak->stop && !ret)
		ret = storm_round();
	return ret;
}

/* ----------------------------------------------------- faults and traps --- */

static struct faults {
	struct nomux_mem *mem;
	unsigned char *window;
	size_t pages;
	volatile uint64_t faults, traps;
	volatile int refused;
} f;

/* Map the page that was touched; which page of the grant is a fixed permutation. */
static int on_pf(struct nom_frame *frame, void *arg)
{
	uint64_t page = (frame->cr2 - (uintptr_t)f.window) / PAGE;
	struct nom_map_entry e = {
		.va = frame->cr2 & ~(PAGE - 1), .offset = page * 7 % f.pages * PAGE, .bytes = PAGE,
		.flags = NOM_MAP_READ | NOM_MAP_WRITE,
	};

	f.faults++;
	if (page >= f.pages || nomux_mem_map(f.mem, &e, 1) != 1) {
		f.refused = 1;
		return -EFAULT;
	}
	return 0;
}

static int flip(struct nom_frame *frame, void *arg)
{
	unsigned int i;

	f.traps++;
	for (i = 0; i < 15; i++)
		frame->gprs[i] ^= 1;
	frame->rip += 2;
	return 0;
}

static int fault_round(struct nomux_ctx *nom)
{
	struct nomux_core *core = soak_claim(nom, 1ULL << 14 | 1ULL << 6, 0, 0);
	struct nom_map_entry e;
	unsigned long bad = 0;
	unsigned int turn;
	size_t i, step;
	void *va;
	int ret;

	if (!core)
		return 0;
	f.pages = 2 * CHUNK / PAGE - 1;		/* prime to 7 */
	ret = nomux_mem_grant(nom, 2 * CHUNK, &f.mem);
	if (ret == -ENOMEM) {			/* others have it all just now */
		nomux_core_release(core);
		soak_nap(1000);
		return 0;
	}
	ret = ret ?: nomux_mem_window(f.mem, 2 * CHUNK, NULL, &va);
	f.window = va;
	ret = ret ?: nomux_on_trap(core, 14, on_pf, NULL) ?: nomux_on_trap(core, 6, flip, NULL) ?:
	      nomux_core_enter(core);
	if (ret)
		return soak_fail("faults: set-up: %s", strerror(-ret));
	for (turn = 0; turn < 2 && !soak->stop; turn++) {
		step = 1 + soak_random() % 5;
		for (i = 0; i < f.pages; i += step) {
			unsigned char want = turn ? (i * 7 % f.pages) & 0xff : 0;
			unsigned char is = f.window[i * PAGE];

			/* zeroed when granted; later what an earlier turn left, if it came by */
			if (is && is != want)
				return soak_fail("faults: page %zu holds %u", i, is);
			f.window[i * PAGE] = (i * 7 % f.pages) & 0xff;
			if (i % 16 == 0)
				bad |= canary_flip();
		}
		e = (struct nom_map_entry){ .va = (uintptr_t)f.window, .bytes = 2 * CHUNK };
		if (nomux_mem_unmap(f.mem, &e, 1) != 1)
			return soak_fail("faults: unmap");
	}
	ret = nomux_core_release(core);
	nomux_mem_put(f.mem);
	soak_add(SOAK_FAULTS, f.faults);
	soak_add(SOAK_TRAPS, f.traps);
	f.faults = f.traps = 0;
	if (bad)
		return soak_fail("faults: registers did not come back from a trap");
	return ret || f.refused ? soak_fail("faults: release, or a map in the handler") : 0;
}

int soak_faults(void)
{
	struct nomux_ctx *nom;
	int ret = nomux_open(&nom);

	if (ret)
		return soak_fail("faults: open: %s", strerror(-ret));
	while (!soak->stop && !ret)
		ret = fault_round(nom);
	return ret;
}

/* ------------------------------------------------------------- watchers --- */

static volatile uint64_t news;

static void on_news(unsigned int event, uint64_t count, void *arg)
{
	news += count;
}

#define CLASSES	(1ULL << NOM_BOARD_CORES | 1ULL << NOM_BOARD_DEVICES | 1ULL << NOM_BOARD_PRICES)

static uint64_t changes(struct nomux_ctx *nom)
{
	return nomux_board_changes(nom, NOM_BOARD_CORES) + nomux_board_changes(nom, NOM_BOARD_DEVICES) +
	       nomux_board_changes(nom, NOM_BOARD_PRICES);
}

/* An event for each change while subscribed, neither more nor less. */
static int watch_round(struct nomux_ctx *nom)
{
	struct nomux_core *core = soak_claim(nom, 0, 0, 0);
	uint64_t before, begun, ended, after;
	unsigned int patience;
	int ret;

	if (!core)
		return 0;
	news = 0;
	ret = nomux_on_event(core, EV_NEWS, on_news, NULL) ?: nomux_core_enter(core);
	if (ret)
		return soak_fail("watcher: enter: %s", strerror(-ret));
	nomux_unmask(core);
	before = changes(nom);
	ret = nomux_subscribe(core, EV_NEWS, CLASSES);
	begun = changes(nom);
	for (patience = 300 + soak_random() % 1000; patience && !soak->stop; patience--)
		nomux_wait(core, 1000000);
	ended = changes(nom);
	/* whoever changed the board may not have posted yet */
	for (patience = 0; patience < 2000 && news < ended - begun; patience++)
		nomux_wait(core, 1000000);
	ret = ret ?: nomux_subscribe(core, EV_NEWS, 0);
	after = changes(nom);
	nomux_mask(core);
	ret = nomux_core_release(core) ?: ret;
	soak_add(SOAK_NEWS, news);
	if (ret)
		return soak_fail("watcher: %s", strerror(-ret));
	if (news < ended - begun || news > after - before)
		return soak_fail("watcher: %llu events of %llu to %llu changes", (unsigned long long)news,
				 (unsigned long long)(ended - begun), (unsigned long long)(after - before));
	return 0;
}

int soak_watcher(void)
{
	struct nomux_ctx *nom;
	int ret = nomux_open(&nom);

	if (ret)
		return soak_fail("watcher: open: %s", strerror(-ret));
	while (!soak->stop && !ret)
		ret = watch_round(nom);
	return ret;
}

/* ---------------------------------------------------------------- churn --- */

static struct nomux_ctx *churn_nom;

static void *churn_thread(void *arg)
{
	struct nomux_core *core;
	unsigned int i;
	int ret = 0;

	while (!soak->stop && !ret) {
		core = soak_claim(churn_nom, 0, 0, 0);
		if (!core)
			break;
		if (soak_random() % 4) {
			ret = nomux_core_enter(core);
			if (!ret)
				nomux_unmask(core);
			for (i = soak_random() % 4; i && !ret; i--)
				ret = nomux_timer_arm(core, EV_TIMER, 1000 + soak_random() % 100000, 0);
		}
		ret = nomux_core_release(core) ?: ret;
		if (ret)
			soak_fail("churn: %s", strerror(-ret));
		soak_nap(soak_random() % 2000);
	}
	return (void *)(intptr_t)ret;
}

int soak_churn(void)
{
	void *a = NULL, *b = NULL;
	pthread_t other;
	int ret = nomux_open(&churn_nom);

	if (ret || pthread_create(&other, NULL, churn_thread, NULL))
		return soak_fail("churn: set-up");
	a = churn_thread(NULL);
	pthread_join(other, &b);
	return a || b;
}

/* Holds a core, memory and a timer in the middle of things until it is killed. */
int soak_doomed(void)
{
	struct nom_map_entry e = { .bytes = CHUNK, .flags = NOM_MAP_READ | NOM_MAP_WRITE | NOM_MAP_HUGE };
	struct nomux_core *core;
	struct nomux_ctx *nom;
	struct nomux_mem *mem;
	void *va;

	if (nomux_open(&nom))
		return soak_fail("doomed: open");
	core = soak_claim(nom, 1ULL << 14, 0, 0);
	if (!core)
		return 0;
	s.core = core;
	nomux_on_event(core, EV_TIMER, on_timer, NULL);
	if (!nomux_mem_grant(nom, CHUNK, &mem) && !nomux_mem_window(mem, 2 * CHUNK, NULL, &va)) {
		e.va = (uintptr_t)va;
		nomux_mem_map(mem, &e, 1);
	}
	if (nomux_core_enter(core))
		return soak_fail("doomed: enter");
	nomux_unmask(core);
	nomux_timer_arm(core, EV_TIMER, 20000, 0);
	while (!soak->stop)
		;
	return 0;
}
