/* SPDX-License-Identifier: MIT */
/*
 * metrics.h - the counters and knobs nomctl sees
 *
 * Words live on the application's page (nomux/page.h).  The data thread counts in
 * memory of its own and shows the sums every 10 ms and before it sleeps, so that a
 * request costs no store to a page that others read; what happens once in a while is counted there.
 */
#ifndef NOMUDP_METRICS_H
#define NOMUDP_METRICS_H

#include <nomapp/counters.h>
#include <nomstack/frame.h>

enum metric {
	M_REQUESTS, M_BYTES, M_BAD, M_OTHER_PORT, M_UNSENT,
	M_ARP, M_ARP_LIMITED, M_ICMP, M_ICMP_LIMITED,
	M_W_US, M_POLLS, M_SLEEPS, M_WAKEUPS, M_SPIN_NS, M_SYSCALLS,
	M_LINK_UP, M_LINK_CHANGES, M_ANNOUNCEMENTS,
	M_RX_PACKETS, M_TX_PACKETS, M_RX_BATCHES, M_TX_BATCHES,
	M_DOORBELLS_RX, M_DOORBELLS_TX, M_INTERRUPTS, M_RX_BAD, M_RX_OTHERS, M_RX_LOST, M_TX_LOST, M_RESTARTS, M_XDP_MODE, M_BUSY_POLLS,
	M_TX_LONG, M_TX_JOINED,
	M_STACK_DROPS, M_DELAY_RX,
	M_KIND,		/* one for each kind of frame, from NOMSTACK_FRAME_SHORT on */
	NR_METRICS = M_KIND + NOMSTACK_FRAME_KINDS - NOMSTACK_FRAME_SHORT,
};

#define KNOBS_MAX 18

struct metrics {
	uint64_t *word[NR_METRICS];
	struct nomux_page *page;	/* NULL: none could be made, counters are private */
	int knob[KNOBS_MAX];		/* ids on the page */
	unsigned nr_knobs;
	uint64_t private_word[NR_METRICS];
};

/* metrics_open - make the page; 0, or -errno: counters work then too, unseen */
int metrics_open(struct metrics *m, const char *app_name);
void metrics_close(struct metrics *m);

/* metrics_knob - offer the next knob, at its default; 0 or -errno */
int metrics_knob(struct metrics *m, const struct nomstack_knob *k);

/* metrics_take - was a new value of the @i-th knob requested?  What has become of it is to be shown. */
bool metrics_take(struct metrics *m, unsigned i, int64_t *value_out);
void metrics_show_knob(struct metrics *m, unsigned i, int64_t value);

static inline void metric_set(struct metrics *m, enum metric i, uint64_t v)
{
	app_counter_set(m->word[i], v);
}

static inline void metric_add(struct metrics *m, enum metric i, uint64_t n)
{
	app_counter_add(m->word[i], n);
}

#endif
