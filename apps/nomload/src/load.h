/* SPDX-License-Identifier: MIT */
/*
 * load.h - who sends what when, and what it took: no clock, no socket
 *
 * An open loop: a request is due when the arrivals say so.  It goes to the
 * connection that has been free longest; when none is free it waits here, and
 * its latency counts from when it was due all the same, so that a server that
 * stalls cannot keep the requests of that time out of the figures (coordinated
 * omission).  Nothing is queued: what waits is the next of the arrivals.
 *
 * Or a closed loop: a connection whose requests are all answered sends the next
 * at once, as many together as the depth says, and their latencies count from
 * then.  What a stalling server keeps from being asked is in no figure; that is
 * what a closed loop means, and it is not corrected.
 *
 * The schedule has three parts: warm-up, whose requests are sent and forgotten;
 * the measured time; and a time to drain, in which nothing new is due.  What is
 * still unanswered after that, or could not even be sent, enters the histogram
 * with the time it has waited so far, and is counted.
 */
#ifndef NOMLOAD_LOAD_H
#define NOMLOAD_LOAD_H

#include "arrivals.h"
#include "hist.h"

#define LOAD_DEPTH_MAX	64

struct load_plan {
	unsigned links, depth;	/* connections; requests under way on each */
	uint64_t warm_ns, run_ns, drain_ns;
	bool closed;
	uint64_t late_ns;	/* sent later than that with a free connection: the generator's own fault */
};

struct load_link {
	uint64_t due_ns[LOAD_DEPTH_MAX];	/* of requests under way, oldest first, from the start */
	unsigned head, nr;
	uint64_t free_ns;	/* since when it could take one */
	bool up, listed;
};

struct load {
	struct load_plan plan;
	struct arrivals arrivals;
	struct hist hist;
	struct load_link *link;
	unsigned *ring, ring_head, ring_nr;	/* links that can take a request, longest free first */
	uint64_t start_ns, next_ns;	/* next_ns: of the next request due, from the start */
	unsigned under_way;

	/* Of requests due in the measured time, except where noted. */
	uint64_t due, sent, answers, bad_status, lost, unsent, unanswered;
	uint64_t answers_in_time;	/* answers that came in the measured time */
	uint64_t waited;		/* sent later because no connection was free */
	uint64_t late, late_max_ns;	/* sent later although one was */
	uint64_t bytes;
};

/* load_create - 0, or -EINVAL, -ENOMEM; a closed loop has no arrivals, and the rest is not looked at */
int load_create(struct load *l, const struct load_plan *plan, bool poisson, double rate, uint64_t seed);
void load_destroy(struct load *l);

/* load_start - the schedule begins at @now_ns, which all later times must not be before */
void load_start(struct load *l, uint64_t now_ns);

/* load_up - connection @i can take requests */
void load_up(struct load *l, unsigned i, uint64_t now_ns);

/* load_down - connection @i is gone; what was under way on it is lost */
void load_down(struct load *l, unsigned i);

/**
 * load_next - a request to be sent now
 * @l: the load
 * @now_ns: the time
 * @i_out: on which connection
 *
 * Counts it as sent: if it cannot be, call load_down().
 *
 * Return: true when there is one; call again until there is none.
 */
bool load_next(struct load *l, uint64_t now_ns, unsigned *i_out);

/* load_answer - the oldest request of connection @i is answered */
void load_answer(struct load *l, unsigned i, uint64_t now_ns, bool good, uint64_t bytes);

/* load_wake_ns - when to look again, should nothing be received before */
uint64_t load_wake_ns(const struct load *l);

/* load_over - nothing more will come, or its time is up */
bool load_over(const struct load *l, uint64_t now_ns);

/* load_finish - count what is still open; call once, after load_over() */
void load_finish(struct load *l, uint64_t now_ns);

#endif
