/* SPDX-License-Identifier: MIT */
/*
 * What the tests of Documentation/rules.rst share: a holder that counts events
 * into memory its parent can see, somebody who posts them, and bounded waits.
 */
#ifndef RULE_H
#define RULE_H

#include <fcntl.h>
#include <linux/nom.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include <nomux/board.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/mem.h>
#include <nomux/upcall.h>

#include "nomux_tap.h"

#define RULE_EVENT	5
#define RULE_NOTIFY	9	/* may be posted by NOM_NOTIFY */

/* Shared by a test and its children; words are written by one side only. */
struct rule {
	volatile uint64_t got;		/* events handled */
	volatile uint64_t notified;	/* of them RULE_NOTIFY */
	volatile uint64_t rounds;	/* the holder's loop turned */
	volatile int phase;		/* how far the holder is */
	volatile int stop;		/* the holder shall end its loop */
	volatile uint64_t handle;	/* of the lease */
	volatile uint64_t word[8];	/* a test's own */
};

unsigned long canary_spin(volatile int *stop, unsigned long *rounds);

static struct nomux_ctx *nom;
static struct rule *rule;
static int rule_fd;			/* the eventfd that posts RULE_EVENT */

static inline void rule_count(unsigned int event, uint64_t count, void *arg)
{
	rule->got += count;
	if (event == RULE_NOTIFY)
		rule->notified += count;
}

/* Start, or skip: no /dev/nom here. */
static inline void rule_begin(unsigned int deadline_s)
{
	int err;

	t_start(deadline_s);
	err = nomux_open(&nom);
	if (err) {
		printf("1..0 # SKIP no /dev/nom: %s\n", strerror(-err));
		exit(T_SKIP);
	}
	rule = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	rule_fd = eventfd(0, EFD_CLOEXEC);
	T_NEED(rule == MAP_FAILED || rule_fd < 0 ? -errno : 0);
}

/* Before each subject: counts from 0. */
static inline void rule_reset(void)
{
	memset((void *)rule, 0, sizeof(*rule));
}

/* Lease the core and bind the eventfd; to be entered by the caller. */
static inline struct nomux_core *rule_claim(uint32_t flags)
{
	struct nomux_core_opts opts = {
		.sz = sizeof(opts), .cpu = NOMUX_CPU_ANY, .flags = flags,
		.notify_mask = 1ULL << RULE_NOTIFY,
	};
	struct nomux_core *core;

	T_NEED(nomux_core_claim(nom, &opts, &core));
	T_NEED(nomux_on_event(core, RULE_EVENT, rule_count, NULL));
	T_NEED(nomux_on_event(core, RULE_NOTIFY, rule_count, NULL));
	T_NEED(nomux_event_bind(core, RULE_EVENT, rule_fd));
	rule->handle = nomux_core_handle(core);
	return core;
}

/* The same, entered, events unmasked. */
static inline struct nomux_core *rule_hold(uint32_t flags)
{
	struct nomux_core *core = rule_claim(flags);

	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
	return core;
}

static inline void rule_sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&ts, &ts))
		;
}

static inline int rule_map(struct nomux_mem *mem, void *va, uint64_t offset, uint64_t bytes,
			   uint32_t flags)
{
	struct nom_map_entry e = {
		.va = (uintptr_t)va, .offset = offset, .bytes = bytes, .flags = flags,
	};

	return nomux_mem_map(mem, &e, 1);
}

/* NOM_MAP_HUGE, or 0 on a kernel without (PREEMPT_RT). */
static inline uint32_t rule_huge(void)
{
	struct nom_info info;

	T_NEED(nomux_info(nom, &info));
	return info.out_features & NOM_FEATURE_HUGE_MAP ? NOM_MAP_HUGE : 0;
}

/* Post n events, one a write. */
static inline void rule_post(uint64_t n)
{
	uint64_t one = 1;

	while (n--)
		if (write(rule_fd, &one, sizeof(one)) != sizeof(one))
			abort();
}

/* Likewise, at pseudo-random distances. */
static inline void rule_storm(uint64_t n)
{
	uint64_t seed = 88172645463325252ULL;
	volatile unsigned int pause;

	while (n--) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		for (pause = (seed >> 20) % 300; pause; pause--)
			;
		rule_post(1);
	}
}

/* Until the word is at least that, 10 s at most. */
static inline bool rule_wait(const volatile uint64_t *word, uint64_t value)
{
	int patience = 10000;

	while (*word < value && patience--)
		rule_sleep_ms(1);
	return *word >= value;
}

static inline bool rule_wait_phase(int phase)
{
	int patience = 10000;

	while (rule->phase < phase && patience--)
		rule_sleep_ms(1);
	return rule->phase >= phase;
}

static inline pid_t rule_child(int (*fn)(void))
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		alarm(60);
		_exit(fn());
	}
	T_NEED(pid < 0 ? -errno : 0);
	return pid;
}

/* A child's exit status, or 1000 + the signal that ended it. */
static inline int rule_reap(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static inline struct nom_board_core rule_board(void)
{
	static uint64_t board[65536 / 8];
	const struct nom_board_core *core;
	struct nom_board_core none = { .state = 99 };

	if (nomux_board_snapshot(nom, board, sizeof(board)))
		return none;
	core = nomux_board_record((const struct nom_board *)board, sizeof(board), NOM_BOARD_CORES,
				  0, sizeof(*core));
	return core ? *core : none;
}

/* The core is nobody's, within 5 s. */
static inline bool rule_core_free(void)
{
	int patience = 5000;

	while (patience--) {
		if (rule_board().state == NOM_CORE_FREE)
			return true;
		rule_sleep_ms(1);
	}
	return false;
}

/* The holder of most tests: counts events, spins, checks its registers. */
static inline int rule_spinning_holder(void)
{
	struct nomux_core *core = rule_hold(0);
	unsigned long rounds = 0, bad;

	rule->phase = 1;
	bad = canary_spin(&rule->stop, &rounds);
	rule->rounds = rounds;
	nomux_mask(core);
	if (nomux_core_release(core))
		return 100;
	return (int)bad;
}

#endif /* RULE_H */
