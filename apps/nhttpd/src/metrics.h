/* SPDX-License-Identifier: MIT */
/*
 * metrics.h - the counters and knobs nomctl sees, for both stacks
 *
 * Words live on the application's page (nomux/page.h): the data thread adds
 * with plain stores, everybody else reads.  One table names them all, so that
 * `nomctl stat` and the ledger cannot disagree about what there is.
 */
#ifndef NHTTPD_METRICS_H
#define NHTTPD_METRICS_H

#include <nomapp/counters.h>

#include <stdbool.h>
#include <stdint.h>

enum metric {
	M_REQUESTS, M_BYTES, M_2XX, M_3XX, M_4XX, M_5XX,
	M_CONNECTIONS, M_ACCEPTED, M_REFUSED, M_TIMEOUTS, M_RESETS,
	M_SITE_FILES, M_SITE_BYTES, M_RESCANS,
	M_W_US, M_PRICE, M_PRICE_UPCALLS, M_DECISIONS,
	M_POLLS, M_SLEEPS, M_SYSCALLS,
	M_RX_PACKETS, M_TX_PACKETS, M_RX_BATCHES, M_TX_BATCHES,
	M_DOORBELLS_RX, M_DOORBELLS_TX, M_INTERRUPTS,
	M_RX_BAD, M_DROPS, M_DROP_ARP, M_DROP_ND, M_DROP_ICMP, M_DROP_FRAGMENT, M_RETRANSMITS, M_PREDICTED, M_TX_ZERO_COPY, M_TX_LONG,
	M_TX_RING_FULL, M_TX_JOINED,
	M_DELAY_RX, M_DELAY_TX,
	M_WAKEUPS, M_SPIN_NS, M_LINK_UP, M_LINK_CHANGES, M_ANNOUNCEMENTS, M_RESTARTS,
	M_RX_LOST, M_TX_LOST, M_XDP_MODE, M_BUSY_POLLS,
	NR_METRICS,
};

#define STACK_KNOBS_MAX 16

/* The stack's own knobs follow K_STACK in the order of its table. */
enum knob_id { K_IDLE_TIMEOUT_S, K_IDLE_US, K_STACK, NR_KNOBS = K_STACK + STACK_KNOBS_MAX };

/*
 * With several cores each has words of its own, "core1.http.requests", and the house
 * thread keeps the sums under the plain names.  Knobs are on the page once: who takes
 * a request gives it to those after it (@next).
 */
struct metrics {
	uint64_t *word[NR_METRICS];
	struct nomux_page *page;	/* NULL: no page could be made, counters are private */
	int knob[NR_KNOBS];		/* ids on the page, -1: not offered */
	uint64_t private_word[NR_METRICS];
	struct metrics *next;
	int64_t given[NR_KNOBS];
	uint64_t given_mask;		/* bit i: given[i] is to be taken; who gives sets it, who takes clears it */
};

/**
 * metrics_open - make the page and its counters
 * @m: filled in
 * @app_name: shown by nomctl
 *
 * Return: 0, or -errno of the page; counters work then too, unseen.
 */
int metrics_open(struct metrics *m, const char *app_name);
void metrics_close(struct metrics *m);

/**
 * metrics_open_core - the words of one core
 * @m: filled in
 * @all: open; has the page
 * @core: 0 for the first, which takes requests for knobs from the page
 *
 * Return: 0, or -errno of the page; counters work then too, unseen.
 */
int metrics_open_core(struct metrics *m, struct metrics *all, unsigned core);

/* metrics_sum - the words of @nr cores, added up (or their greatest, for what is no sum) in @all */
void metrics_sum(struct metrics *all, struct metrics *const *cores, unsigned nr);

/* metrics_knob - offer a knob; its range comes from whoever owns it */
int metrics_knob(struct metrics *m, enum knob_id id, const char *name, const char *unit, const char *effect,
		 int64_t min, int64_t max, int64_t value);

/* metrics_take - was a new value requested?  Data thread. */
bool metrics_take(struct metrics *m, enum knob_id id, int64_t *value_out);
bool metrics_knobs_changed(const struct metrics *m);
void metrics_show_knob(struct metrics *m, enum knob_id id, int64_t value);

static inline void metric_add(struct metrics *m, enum metric i, uint64_t n)
{
	app_counter_add(m->word[i], n);
}

static inline void metric_set(struct metrics *m, enum metric i, uint64_t v)
{
	app_counter_set(m->word[i], v);
}

static inline uint64_t metric_get(const struct metrics *m, enum metric i)
{
	return app_counter_get(m->word[i]);
}

#endif
