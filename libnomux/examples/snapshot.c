// SPDX-License-Identifier: MIT
/*
 * snapshot - copy all of a program's data as it is at one instant, while the
 * program goes on changing it.
 *
 *	scripts/run-guest -- snapshot
 *
 * The data is a bank: accounts between which money is moved.  Taking the snapshot
 * is one call that makes all of it read-only.  From then on a write to a page is an
 * upcall, which copies the page as it was, makes it writable again and lets the
 * write go on; what is not written meanwhile is copied at leisure.  The copy holds
 * exactly what the bank had at the instant of the call: no money is missing, none is
 * there twice, and nothing that came later is in it.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/mem.h>
#include <nomux/upcall.h>

enum { TRAP_PF = 14 };
#define PAGE_BYTES	4096UL
#define NR_PAGES	1024U
#define BYTES		(NR_PAGES * PAGE_BYTES)
#define RICH		1000
#define SNAPSHOTS	5
#define TRANSFERS	20000U	/* before each snapshot */
#define SPARE_EVERY	64	/* transfers between two pages copied at leisure */

/* A page of the bank. */
struct account {
	uint64_t money;
	uint64_t last;		/* number of the transfer that touched it last */
	char paper[PAGE_BYTES - 16];
};

struct bank {
	struct nomux_mem *mem;
	struct account *live;	/* window */
	struct account *copy;
	bool copied[NR_PAGES];
	unsigned int left;	/* pages not copied yet; 0: no snapshot under way */
	unsigned int next;	/* where to look for one, at leisure */
	unsigned long faults, spared;
	uint64_t transfers;
};

static void check(int err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "snapshot: %s: %s\n", what, strerror(-err));
	exit(1);
}

static int protect(struct bank *b, unsigned int page, unsigned int nr, uint32_t flags)
{
	struct nom_map_entry e = { .va = (uintptr_t)&b->live[page], .bytes = nr * PAGE_BYTES,
				   .flags = flags };

	return nomux_mem_protect(b->mem, &e, 1);
}

/* As it was at the instant: nobody has written to it since, or we would know. */
static int copy_page(struct bank *b, unsigned int page)
{
	const uint64_t *from = (const uint64_t *)(const void *)&b->live[page];
	uint64_t *to = (uint64_t *)(void *)&b->copy[page];
	unsigned int i;

	for (i = 0; i < PAGE_BYTES / sizeof(*to); i++)	/* no memcpy(): it uses SSE */
		to[i] = from[i];
	b->copied[page] = true;
	b->left--;
	return protect(b, page, 1, NOM_MAP_READ | NOM_MAP_WRITE);
}

static int write_fault(struct nom_frame *frame, void *arg)
{
	struct bank *b = arg;
	unsigned long page = (frame->cr2 - (uintptr_t)b->live) / PAGE_BYTES;

	if (frame->cr2 < (uintptr_t)b->live || page >= NR_PAGES || b->copied[page])
		return -1;		/* a bug, to be reported as such */
	b->faults++;
	return copy_page(b, (unsigned int)page) == 1 ? 0 : -1;
}

/* The program's work.  Between its two halves money is on its way. */
static void transfer(struct bank *b, unsigned int from, unsigned int to)
{
	uint64_t sum = b->live[from].money / 2;

	b->transfers++;
	b->live[from].money -= sum;
	b->live[from].last = b->transfers;
	b->live[to].money += sum;
	b->live[to].last = b->transfers;
}

static unsigned int draw(void)
{
	static uint64_t seed = 88172645463325252ULL;

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned int)(seed >> 33) % NR_PAGES;
}

static void work(struct bank *b, unsigned int nr)
{
	while (nr--) {
		transfer(b, draw(), draw());
		if (!b->left || nr % SPARE_EVERY)
			continue;
		while (b->copied[b->next])
			b->next++;
		b->spared++;
		check(copy_page(b, b->next), "copy a page");
	}
}

/* One instant: when this returns, all that was written is in it, and nothing else. */
static void take_snapshot(struct bank *b)
{
	memset(b->copied, 0, sizeof(b->copied));
	b->left = NR_PAGES;
	b->next = 0;
	check(protect(b, 0, NR_PAGES, NOM_MAP_READ), "protect the bank");
}

static bool is_of_one_instant(const struct bank *b, uint64_t instant)
{
	uint64_t money = 0, newest = 0;
	unsigned int i;

	for (i = 0; i < NR_PAGES; i++) {
		money += b->copy[i].money;
		if (b->copy[i].last > newest)
			newest = b->copy[i].last;
	}
	return money == (uint64_t)NR_PAGES * RICH && newest == instant;
}

int main(void)
{
	struct nom_map_entry all = { .bytes = BYTES, .flags = NOM_MAP_READ | NOM_MAP_WRITE };
	struct bank *b = calloc(1, sizeof(*b));
	struct nomux_core *core;
	struct nomux_ctx *nom;
	unsigned int i;
	int ret = 0;

	b->copy = aligned_alloc(PAGE_BYTES, BYTES);
	memset(b->copy, 0, BYTES);
	check(nomux_open(&nom), "open /dev/nom");
	check(nomux_core_claim(nom, NULL, &core), "claim a core");
	check(nomux_mem_grant(nom, BYTES, &b->mem), "grant");
	check(nomux_mem_window(b->mem, BYTES, NULL, (void **)&b->live), "window");
	all.va = (uintptr_t)b->live;
	check(nomux_mem_map(b->mem, &all, 1), "map");
	check(nomux_on_trap(core, TRAP_PF, write_fault, b), "claim #PF");
	check(nomux_core_enter(core), "enter the core");

	for (i = 0; i < NR_PAGES; i++)
		b->live[i].money = RICH;
	for (i = 0; i < SNAPSHOTS; i++) {
		uint64_t instant;
		bool good;

		work(b, TRANSFERS);
		instant = b->transfers;
		take_snapshot(b);
		while (b->left)
			work(b, SPARE_EVERY);
		good = is_of_one_instant(b, instant);
		printf("snapshot %u: at transfer %llu, done %llu later, %s\n", i,
		       (unsigned long long)instant, (unsigned long long)(b->transfers - instant),
		       good ? "of one instant" : "WRONG");
		ret |= !good;
	}
	printf("%lu pages copied by upcalls, %lu at leisure\n", b->faults, b->spared);
	check(nomux_core_release(core), "release the core");
	nomux_mem_put(b->mem);
	nomux_close(nom);
	free(b->copy);
	free(b);
	return ret;
}
