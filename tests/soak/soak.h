/* SPDX-License-Identifier: MIT */
/*
 * nom-soak: everything at once, for long.
 *
 *	soak.c		the supervisor: starts workers, kills some, judges the end
 *	holders.c	leaseholders: storms of events, faults and traps, watchers, churn
 *	memory.c	grants, windows, maps
 *	change.c	promotion, reclaim, memory released to the kernel
 *	world.c		what changes around them: devices, cores, prices; readers
 *
 * A worker is a process.  It runs until soak->stop and returns 0, or calls
 * soak_fail() with what was wrong.  Those that are killed are not judged; the
 * kernel is, by what they leave behind.
 */
#ifndef NOM_SOAK_H
#define NOM_SOAK_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <linux/nom.h>

enum soak_count {
	SOAK_POSTED, SOAK_RECEIVED, SOAK_TIMERS, SOAK_SIGNALS, SOAK_CANARIES, SOAK_FAULTS, SOAK_TRAPS,
	SOAK_LEASES, SOAK_KILLS, SOAK_GRANTS, SOAK_MAPS, SOAK_NEWS, SOAK_DEVICES, SOAK_CORES_OFF,
	SOAK_CORES_KEPT, SOAK_PRICES, SOAK_SNAPSHOTS, SOAK_DUMPS, SOAK_FOLDS, SOAK_RETURNED, SOAK_TAKEN,
	SOAK_RELEASED, SOAK_NR_COUNTS
};

struct soak {
	volatile int stop;
	volatile int failed;
	unsigned int seconds;		/* how long, by plan */
	char why[400];			/* of the first that failed */
	uint64_t count[SOAK_NR_COUNTS];
};
extern struct soak *soak;
extern bool soak_counts;	/* this worker is not one of those that get killed */

static inline void soak_add(enum soak_count what, uint64_t n)
{
	__atomic_fetch_add(&soak->count[what], n, __ATOMIC_RELAXED);
}

/* From any worker, not from an upcall handler; the first one is told. */
int soak_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void soak_nap(unsigned int us);
uint32_t soak_random(void);
/* until it is granted, or all is over (NULL, -errno in *err): a core is hard to get here */
struct nomux_ctx;
struct nomux_core;
struct nomux_core *soak_claim(struct nomux_ctx *nom, uint64_t traps, uint64_t notify, uint32_t flags);

/* Each a worker's main(). */
int soak_storm(void);
int soak_faults(void);
int soak_watcher(void);
int soak_churn(void);
int soak_doomed(void);
int soak_grants(void);
int soak_changes(void);
int soak_release(void);
int soak_plug_devices(void);
int soak_plug_cores(void);
int soak_prices(void);
int soak_snapshots(void);
int soak_dumps(void);

#endif
