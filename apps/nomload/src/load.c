// SPDX-License-Identifier: MIT
/* load.c - who sends what when, and what it took: no clock, no socket */
#include "load.h"

#include <errno.h>
#include <stdlib.h>

static uint64_t end_ns(const struct load *l)
{
	return l->plan.warm_ns + l->plan.run_ns;
}

static bool measured(const struct load *l, uint64_t due_ns)
{
	return due_ns >= l->plan.warm_ns && due_ns < end_ns(l);
}

int load_create(struct load *l, const struct load_plan *plan, bool poisson, double rate, uint64_t seed)
{
	if (!plan->links || !plan->depth || plan->depth > LOAD_DEPTH_MAX || !plan->run_ns || !(rate > 0 || plan->closed))
		return -EINVAL;
	*l = (struct load){ .plan = *plan };
	l->link = calloc(plan->links, sizeof(*l->link));
	l->ring = calloc(plan->links, sizeof(*l->ring));
	if (!l->link || !l->ring) {
		load_destroy(l);
		return -ENOMEM;
	}
	if (!plan->closed) {
		arrivals_init(&l->arrivals, poisson, rate, seed);
		l->next_ns = arrivals_next(&l->arrivals);
	}
	return 0;
}

void load_destroy(struct load *l)
{
	free(l->link);
	free(l->ring);
	l->link = NULL;
	l->ring = NULL;
}

void load_start(struct load *l, uint64_t now_ns)
{
	l->start_ns = now_ns;
	for (unsigned i = 0; i < l->plan.links; i++)
		l->link[i].free_ns = 0;
}

static void list(struct load *l, unsigned i, uint64_t since_ns)
{
	struct load_link *k = &l->link[i];

	/* In a closed loop, what is sent together is waited for together. */
	if (k->listed || !k->up || (l->plan.closed ? k->nr : k->nr == l->plan.depth))
		return;
	k->listed = true;
	k->free_ns = since_ns;
	l->ring[(l->ring_head + l->ring_nr++) % l->plan.links] = i;
}

void load_up(struct load *l, unsigned i, uint64_t now_ns)
{
	l->link[i].up = true;
	list(l, i, l->start_ns ? now_ns - l->start_ns : 0);
}

void load_down(struct load *l, unsigned i)
{
	struct load_link *k = &l->link[i];

	for (; k->nr; k->nr--, k->head = (k->head + 1) % LOAD_DEPTH_MAX) {
		l->lost += measured(l, k->due_ns[k->head]);
		l->under_way--;
	}
	k->up = false;		/* load_next() drops it from the ring when it comes to it */
}

/* The connection that has been free longest, taken off the ring; -1: none is */
static int take_link(struct load *l)
{
	while (l->ring_nr) {
		unsigned i = l->ring[l->ring_head];

		l->ring_head = (l->ring_head + 1) % l->plan.links;
		l->ring_nr--;
		l->link[i].listed = false;
		if (l->link[i].up)
			return (int)i;
	}
	return -1;
}

/* A closed loop sends on this connection next, too: until its depth is reached. */
static void list_first(struct load *l, unsigned i)
{
	if (l->link[i].nr == l->plan.depth)
		return;
	l->ring_head = (l->ring_head + l->plan.links - 1) % l->plan.links;
	l->ring[l->ring_head] = i;
	l->ring_nr++;
	l->link[i].listed = true;
}

/* Whose fault is it that a request goes out after it was due? */
static void judge(struct load *l, uint64_t at_ns, uint64_t free_ns)
{
	uint64_t could_ns = free_ns > l->next_ns ? free_ns : l->next_ns;
	uint64_t by_ns = at_ns - could_ns;

	l->waited += free_ns > l->next_ns;
	if (by_ns <= l->plan.late_ns)
		return;
	l->late++;
	if (by_ns > l->late_max_ns)
		l->late_max_ns = by_ns;
}

bool load_next(struct load *l, uint64_t now_ns, unsigned *i_out)
{
	uint64_t at_ns = now_ns - l->start_ns;
	struct load_link *k;
	int i;

	if (l->plan.closed)
		l->next_ns = at_ns < end_ns(l) ? at_ns : end_ns(l);
	if (l->next_ns > at_ns || l->next_ns >= end_ns(l) || at_ns >= end_ns(l) + l->plan.drain_ns)
		return false;
	i = take_link(l);
	if (i < 0)
		return false;
	k = &l->link[i];
	k->due_ns[(k->head + k->nr++) % LOAD_DEPTH_MAX] = l->next_ns;
	l->under_way++;
	if (measured(l, l->next_ns)) {
		l->due++;
		l->sent++;
		judge(l, at_ns, k->free_ns);
	}
	if (l->plan.closed) {
		list_first(l, (unsigned)i);
	} else {
		list(l, (unsigned)i, k->free_ns);
		l->next_ns = arrivals_next(&l->arrivals);
	}
	*i_out = (unsigned)i;
	return true;
}

void load_answer(struct load *l, unsigned i, uint64_t now_ns, bool good, uint64_t bytes)
{
	struct load_link *k = &l->link[i];
	uint64_t at_ns = now_ns - l->start_ns, due_ns = k->due_ns[k->head];

	k->head = (k->head + 1) % LOAD_DEPTH_MAX;
	k->nr--;
	l->under_way--;
	l->answers_in_time += measured(l, at_ns) && good;
	if (measured(l, due_ns)) {
		l->answers += good;
		l->bad_status += !good;
		l->bytes += bytes;
		if (good)
			hist_add(&l->hist, at_ns - due_ns);
	}
	list(l, i, at_ns);
}

uint64_t load_wake_ns(const struct load *l)
{
	uint64_t over_ns = l->start_ns + end_ns(l) + l->plan.drain_ns;

	if (l->next_ns >= end_ns(l) && !l->under_way)
		return l->start_ns + end_ns(l);
	/* A closed loop sends what it can at once; without a free connection only an answer can change anything. */
	if (l->plan.closed && l->next_ns < end_ns(l))
		return l->start_ns + end_ns(l);
	return l->ring_nr && l->next_ns < end_ns(l) ? l->start_ns + l->next_ns : over_ns;
}

bool load_over(const struct load *l, uint64_t now_ns)
{
	uint64_t at_ns = now_ns - l->start_ns;

	return at_ns >= end_ns(l) + l->plan.drain_ns || (at_ns >= end_ns(l) && l->next_ns >= end_ns(l) && !l->under_way);
}

void load_finish(struct load *l, uint64_t now_ns)
{
	uint64_t at_ns = now_ns - l->start_ns;

	for (unsigned i = 0; i < l->plan.links; i++) {
		struct load_link *k = &l->link[i];

		for (; k->nr; k->nr--, k->head = (k->head + 1) % LOAD_DEPTH_MAX) {
			if (!measured(l, k->due_ns[k->head]))
				continue;
			l->unanswered++;
			hist_add(&l->hist, at_ns - k->due_ns[k->head]);
		}
	}
	l->under_way = 0;
	if (l->plan.closed)
		return;
	for (; l->next_ns < end_ns(l); l->next_ns = arrivals_next(&l->arrivals)) {
		if (!measured(l, l->next_ns))
			continue;
		l->due++;
		l->unsent++;
		hist_add(&l->hist, at_ns - l->next_ns);
	}
}
