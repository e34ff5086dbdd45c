// SPDX-License-Identifier: MIT
/*
 * nom-soak: everything at once - events, faults, churn of leases, signals, kills,
 * hot-plug - until the time is over; then all must be as it was.
 *
 * Usage: nom-soak [--seconds N] [--seed S] [--only WORKER]
 * TAP.  The console is for whoever started the guest: tests/soak/run.
 */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <nomux/core.h>
#include <nomux/ctx.h>

#include "../fuzz/aftermath.h"
#include "../system/lib/kmod.h"
#include "soak.h"

#define GIVE_UP_S	60	/* for workers to end once they are told */

struct soak *soak;
bool soak_counts;
static uint64_t rng;

#define STAYS(what)	{ .name = #what, .run = soak_##what }
#define KILLED(what)	{ .name = #what "-killed", .run = soak_##what, .doomed = true }
static struct worker {
	const char *name;
	int (*run)(void);
	bool doomed;		/* killed at odd times, and started anew */
	pid_t pid;
	uint64_t lives;
} workers[] = {
	STAYS(storm), STAYS(faults), STAYS(watcher), STAYS(churn), STAYS(grants), STAYS(plug_devices),
	STAYS(plug_cores), STAYS(prices), STAYS(snapshots), STAYS(dumps), STAYS(changes), STAYS(release),
	KILLED(storm), KILLED(faults), KILLED(churn), KILLED(grants), KILLED(dumps), KILLED(doomed),
	KILLED(changes),
};
#define NR_WORKERS (sizeof(workers) / sizeof(workers[0]))

static const char *const names[SOAK_NR_COUNTS] = {
	"events posted", "events received", "timers", "signals at holders", "canary rounds", "page faults", "traps",
	"leases", "kills", "grants", "maps", "news of the board", "devices moved", "cores taken offline",
	"cores that stayed", "prices set", "snapshots", "netlink records", "folds to 2 MiB", "2 MiB returned",
	"2 MiB taken", "2 MiB released",
};

int soak_fail(const char *fmt, ...)
{
	int was = 0;
	va_list ap;

	if (__atomic_compare_exchange_n(&soak->failed, &was, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
		va_start(ap, fmt);
		vsnprintf(soak->why, sizeof(soak->why), fmt, ap);
		va_end(ap);
	}
	soak->stop = 1;
	return 1;
}

uint32_t soak_random(void)	/* xorshift; each process has its own */
{
	uint64_t x = __atomic_load_n(&rng, __ATOMIC_RELAXED);

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	__atomic_store_n(&rng, x, __ATOMIC_RELAXED);
	return x >> 20;
}

void soak_nap(unsigned int us)
{
	struct timespec ts = { us / 1000000, us % 1000000 * 1000L };

	nanosleep(&ts, NULL);
}

struct nomux_core *soak_claim(struct nomux_ctx *nom, uint64_t traps, uint64_t notify, uint32_t flags)
{
	struct nomux_core_opts opts = {
		.sz = sizeof(opts), .cpu = NOMUX_CPU_ANY, .trap_mask = traps, .notify_mask = notify, .flags = flags,
	};
	struct nomux_core *core;
	int ret;

	while (!soak->stop) {
		ret = nomux_core_claim(nom, &opts, &core);
		if (!ret) {
			soak_add(SOAK_LEASES, 1);
			return core;
		}
		if (ret != -EBUSY && ret != -ENOENT) {	/* ENOENT: all are offline */
			soak_fail("claim: %s", strerror(-ret));
			return NULL;
		}
		soak_nap(500 + soak_random() % 3000);
	}
	return NULL;
}

static void start(struct worker *w, uint64_t seed)
{
	fflush(NULL);
	w->pid = fork();
	if (w->pid < 0)
		t_bail("fork: %s", strerror(errno));
	if (w->pid) {
		w->lives++;
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	rng = ((seed + (w - workers)) * 0x9e3779b97f4a7c15ULL ^ w->lives << 32) | 1;
	soak_counts = !w->doomed;
	_exit(w->run());
}

/* Whoever ended: as expected, or why not. */
static void reap(uint64_t seed)
{
	struct worker *w;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (w = workers; w < workers + NR_WORKERS; w++) {
			if (w->pid != pid)
				continue;
			w->pid = 0;
			if (WIFSIGNALED(status) && !(w->doomed && WTERMSIG(status) == SIGKILL))
				soak_fail("%s: killed by signal %d", w->name, WTERMSIG(status));
			else if (WIFEXITED(status) && WEXITSTATUS(status))
				soak_fail("%s: exit status %d", w->name, WEXITSTATUS(status));
			else if (WIFEXITED(status) && !soak->stop)
				soak_fail("%s: ended before its time", w->name);
			if (!soak->stop)
				start(w, seed);
		}
}

static unsigned int left(void)
{
	unsigned int i, n = 0;

	for (i = 0; i < NR_WORKERS; i++)
		n += workers[i].pid != 0;
	return n;
}

static void told(const char *when)
{
	unsigned int i;

	for (i = 0; i < SOAK_NR_COUNTS; i++)
		t_diag("%s %-20s %12llu", when, names[i], (unsigned long long)soak->count[i]);
}

static void soak_for(unsigned int seconds, uint64_t seed, const char *only)
{
	time_t end = time(NULL) + seconds, next = time(NULL) + 60;
	struct worker *w;

	for (w = workers; w < workers + NR_WORKERS; w++)
		if (!only || !strcmp(only, w->name))
			start(w, seed);
	while (time(NULL) < end && !soak->stop) {
		w = &workers[soak_random() % NR_WORKERS];
		if (w->doomed && w->pid && soak_random() % 3 == 0) {
			kill(w->pid, SIGKILL);
			soak_add(SOAK_KILLS, 1);
		}
		reap(seed);
		if (time(NULL) >= next) {
			t_diag("%ld s left: %llu events, %llu leases, %llu kills", (long)(end - time(NULL)),
			       (unsigned long long)soak->count[SOAK_RECEIVED],
			       (unsigned long long)soak->count[SOAK_LEASES], (unsigned long long)soak->count[SOAK_KILLS]);
			next += 60;
		}
		soak_nap(30000);
	}
	soak->stop = 1;
	for (end = time(NULL) + GIVE_UP_S; left() && time(NULL) < end; soak_nap(10000))
		reap(seed);
	for (w = workers; w < workers + NR_WORKERS; w++)
		if (w->pid) {
			soak_fail("%s: does not end", w->name);
			kill(w->pid, SIGKILL);
		}
	for (end = time(NULL) + GIVE_UP_S; left() && time(NULL) < end; soak_nap(10000))
		reap(seed);
	t_ok(!left(), "every process ended, if need be by SIGKILL");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", 1, NULL, 's' }, { "seed", 1, NULL, 'S' }, { "only", 1, NULL, 'o' }, { 0 },
	};
	unsigned int seconds = 60, i;
	const char *only = NULL;
	uint64_t seed = 1;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 's': seconds = strtoul(optarg, NULL, 0); break;
		case 'S': seed = strtoull(optarg, NULL, 0); break;
		case 'o': only = optarg; break;
		default: return 2;
		}
	}
	soak = mmap(NULL, sizeof(*soak), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (soak == MAP_FAILED)
		t_bail("no memory");
	soak->seconds = seconds;
	close(k_open(O_RDWR));
	rng = seed * 2 + 1;
	t_diag("seed %llu, %u s", (unsigned long long)seed, seconds);
	soak_for(seconds, seed, only);
	told("");
	t_ok(!soak->failed, "nothing went wrong: %s", soak->failed ? soak->why : "storms, faults, watchers, churn, readers");
	t_eq((long)soak->count[SOAK_RECEIVED], (long)soak->count[SOAK_POSTED], "events received are those posted");
	for (i = 0; i < SOAK_NR_COUNTS && !only; i++)
		if (!soak->count[i])
			t_ok(false, "there were %s", names[i]);
	fz_aftermath();
	return t_done();
}
