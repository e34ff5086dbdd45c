// SPDX-License-Identifier: MIT
/*
 * price-watch - print every change of a price, while a core is busy with
 * something else.
 *
 *	scripts/run-guest -- sh -c 'price-watch -n 1 & sleep 1; nomctl price set bandwidth 10 --unit Gbit'
 *
 * The bulletin board is memory that the kernel writes and everybody reads; a
 * subscription turns a change into an upcall.  Between two changes this program
 * makes no system call: it works (here: counts), and the price comes to it.
 */
#include <errno.h>
#include <limits.h>
#include <linux/nom.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nomux/board.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/upcall.h>

#define EVENT_PRICES	1
#define NR_PRICES	32

static void check(int err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "price-watch: %s: %s\n", what, strerror(-err));
	exit(1);
}

/* Handlers do little: what changed is for the program to read when it suits. */
static void prices_changed(unsigned int event, uint64_t count, void *arg)
{
	*(volatile uint64_t *)arg += count;
}

/* Print the prices that are not as we last saw them; returns how many. */
static int print_changes(struct nomux_ctx *nom, void *board, uint64_t *seen)
{
	size_t bytes = nomux_board_bytes(nom);
	const struct nom_board_price *p;
	int changed = 0;
	unsigned int i;

	check(nomux_board_snapshot(nom, board, bytes), "snapshot");
	for (i = 0; i < NR_PRICES; i++) {
		p = nomux_board_record(board, bytes, NOM_BOARD_PRICES, i, sizeof(*p));
		if (!p || p->changes == seen[i])
			continue;
		seen[i] = p->changes;
		printf("%s: %lld.%06lld per %s\n", p->name, (long long)p->price_ucr / 1000000,
		       (long long)p->price_ucr % 1000000, p->unit);
		changed++;
	}
	fflush(stdout);
	return changed;
}

int main(int argc, char **argv)
{
	/* price-watch [-n CHANGES]: how many to wait for; without, for ever. */
	long left = argc == 3 && !strcmp(argv[1], "-n") ? strtol(argv[2], NULL, 10) : LONG_MAX;
	uint64_t seen[NR_PRICES] = { 0 }, handled = 0, work = 0;
	volatile uint64_t posted = 0;
	struct nomux_core *core;
	struct nomux_ctx *nom;
	void *board;

	check(nomux_open(&nom), "open /dev/nom");
	board = malloc(nomux_board_bytes(nom));
	check(board ? 0 : -ENOMEM, "memory for the board");
	check(nomux_core_claim(nom, NULL, &core), "claim a core");
	check(nomux_on_event(core, EVENT_PRICES, prices_changed, (void *)&posted), "handler");
	check(nomux_subscribe(core, EVENT_PRICES, 1UL << NOM_BOARD_PRICES), "subscribe");
	check(nomux_core_enter(core), "enter the core");
	nomux_unmask(core);

	print_changes(nom, board, seen);	/* what there is already */
	printf("watching\n");
	fflush(stdout);
	while (left > 0) {
		work++;				/* the real work would stand here */
		if (posted == handled)		/* one load, no system call */
			continue;
		handled = posted;
		left -= print_changes(nom, board, seen);
	}
	printf("work went on meanwhile: %s\n", work > 1 ? "yes" : "no");

	free(board);
	check(nomux_core_release(core), "release the core");
	nomux_close(nom);
	return 0;
}
