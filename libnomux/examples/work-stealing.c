// SPDX-License-Identifier: MIT
/*
 * work-stealing - one tree of user threads, as many cores as there are
 *
 *	scripts/run-guest --smp 3 --nom-cpus 1-2 -- work-stealing
 *
 * Counts the ways to put N queens on a board of N x N: each thread places one queen
 * and makes a thread for every place the next may have.  All threads are born on the
 * core whose thread made them; cores without work steal.  Uses every reserved core
 * it can lease; without nom, ordinary kernel threads (-c says how many).
 *
 * usage: work-stealing [-n QUEENS] [-c CORES]
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/group.h>
#include <nomux/thread.h>
#include <nomux/upcall.h>

#define MAX_CORES	8
#define MAX_QUEENS	14
#define ALONE_BELOW	5	/* rows left that are not worth a thread each */

static unsigned int queens = 9;
static struct nomux_group *group;

static void check(int err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "work-stealing: %s: %s\n", what, strerror(-err));
	exit(1);
}

/* --------------------------------------------------------------- the work --- */

/* Bits are columns; the diagonals move by one with each row. */
struct board {
	unsigned int row, taken, left, right;
	unsigned long ways;
};

static unsigned int free_columns(const struct board *b)
{
	return ((1U << queens) - 1) & ~(b->taken | b->left | b->right);
}

static struct board put(const struct board *b, unsigned int column)
{
	return (struct board){ .row = b->row + 1, .taken = b->taken | column,
			       .left = (b->left | column) << 1, .right = (b->right | column) >> 1 };
}

static unsigned long count_alone(const struct board *b)
{
	unsigned int columns = free_columns(b);
	unsigned long ways = 0;
	struct board next;

	if (b->row == queens)
		return 1;
	for (; columns; columns &= columns - 1) {
		next = put(b, columns & -columns);
		ways += count_alone(&next);
	}
	return ways;
}

static void count(void *arg)
{
	struct board *b = arg, next[MAX_QUEENS];
	struct nomux_thread *thread[MAX_QUEENS];
	unsigned int columns = free_columns(b), n = 0, i;
	int err;

	if (queens - b->row < ALONE_BELOW) {
		b->ways = count_alone(b);
		return;
	}
	for (; columns; columns &= columns - 1, n++) {
		next[n] = put(b, columns & -columns);
		err = nomux_thread_create(count, &next[n], NULL, &thread[n]);
		if (err == -ENOMEM) {	/* too many at once: do it here */
			next[n].ways = count_alone(&next[n]);
			thread[n] = NULL;
			continue;
		}
		check(err, "a thread");
	}
	b->ways = 0;
	for (i = 0; i < n; i++) {
		if (thread[i])
			check(nomux_join(thread[i]), "join");
		b->ways += next[i].ways;
	}
}

/* -------------------------------------------------------------- the cores --- */

struct core {
	pthread_t thread;
	struct nomux_core *lease;	/* NULL: an ordinary core will do */
	struct nomux_thread_stats stats;
};

static void *work(void *arg)
{
	struct core *c = arg;

	if (c->lease) {
		check(nomux_core_enter(c->lease), "enter the core");
		nomux_unmask(c->lease);
	}
	check(nomux_group_run(group), "run the group");
	c->stats.sz = sizeof(c->stats);
	nomux_thread_stats(&c->stats);
	nomux_core_release(c->lease);
	return NULL;
}

int main(int argc, char **argv)
{
	struct core core[MAX_CORES] = { 0 };
	struct board board = { 0 };
	struct nomux_thread_opts opts = { .sz = sizeof(opts), .name = "first" };
	struct nomux_ctx *nom = NULL;
	struct nomux_thread *first;
	unsigned long stolen = 0;
	int cores = 2, leased = 0, i, c;

	while ((c = getopt(argc, argv, "n:c:")) != -1) {
		if (c == 'n' && atoi(optarg) > 0 && atoi(optarg) <= MAX_QUEENS) {
			queens = (unsigned int)atoi(optarg);
		} else if (c == 'c' && atoi(optarg) > 0 && atoi(optarg) <= MAX_CORES) {
			cores = atoi(optarg);
		} else {
			fprintf(stderr, "usage: work-stealing [-n QUEENS] [-c CORES]\n");
			return 2;
		}
	}
	if (!nomux_open(&nom)) {
		while (leased < MAX_CORES && !nomux_core_claim(nom, NULL, &core[leased].lease))
			leased++;
		if (leased)
			cores = leased;
	}

	check(nomux_group_create(NULL, &group), "a group");
	opts.group = group;
	check(nomux_thread_create(count, &board, &opts, &first), "the first thread");
	for (i = 0; i < cores; i++)
		check(-pthread_create(&core[i].thread, NULL, work, &core[i]), "a kernel thread");
	for (i = 0; i < cores; i++)
		pthread_join(core[i].thread, NULL);
	check(nomux_join(first), "join the first thread");

	printf("%u queens: %lu ways\n", queens, board.ways);
	for (i = 0; i < cores; i++) {
		printf("core %d (%s): %llu switches, %llu threads stolen\n", i,
		       leased ? "leased" : "ordinary", (unsigned long long)core[i].stats.switches,
		       (unsigned long long)core[i].stats.steals);
		stolen += core[i].stats.steals;
	}
	printf("every core worked: %s\n", stolen || cores == 1 ? "yes" : "no");
	nomux_group_destroy(group);
	nomux_close(nom);
	return 0;
}
