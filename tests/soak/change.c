// SPDX-License-Identifier: MIT
/*
 * nom-soak: memory that changes under those who use it - small entries made one of
 * 2 MiB and back, parts of a grant asked for, returned and taken, reserved memory
 * given to the kernel for good.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../system/lib/kmod.h"
#include "../system/lib/kmod_nl.h"
#include "soak.h"

#define WORDS		(CHUNK / 8)
#define PAGE_WORDS	(PAGE / 8)
#define PAGES		(CHUNK / PAGE)
#define RW		(NOM_MAP_READ | NOM_MAP_WRITE)
#define PATIENCE	20000	/* of 1 ms each; a deadline is at most 8 of them away */
#define RELEASES	8	/* of 2 MiB each: the others need what is left */

static struct changes {
	int nom, sock, family, grant;
	size_t chunks;
	volatile uint64_t *w;	/* all of the grant, in its order */
	uint64_t key;
	volatile int stop;
} c;

/* ----------------------------------------------------------- 2 MiB and back --- */

/* A word in each page of the first 2 MiB, in turn; a fault ends the worker. */
static void *use(void *arg)
{
	uintptr_t turns = 0, page;

	do {
		for (page = 0; page < PAGES; page++)
			c.w[page * PAGE_WORDS + 1]++;
		if (++turns % 8 == 0)
			soak_nap(300);
	} while (!c.stop);
	return (void *)turns;
}

static int fold(void)
{
	struct nom_mem_query q = { 0 };
	unsigned int n;
	int ret;

	for (n = 2 + soak_random() % 10; n && !soak->stop; n--) {
		ret = k_range(c.grant, NOM_MEM_PROMOTE, (void *)c.w, 0, CHUNK, 0);
		if (ret)
			return soak_fail("changes: promote: %s", strerror(-ret));
		soak_nap(soak_random() % 400);
		ret = k_query(c.grant, NOM_QUERY_CLEAR_DIRTY, (void *)c.w, CHUNK, &q);
		if (ret || q.out_mapped != PAGES)
			return soak_fail("changes: query: %s, %llu pages", strerror(-ret), (unsigned long long)q.out_mapped);
		ret = k_range(c.grant, NOM_MEM_DEMOTE, (void *)c.w, 0, CHUNK, 0);
		if (ret)
			return soak_fail("changes: demote: %s", strerror(-ret));
		soak_add(SOAK_FOLDS, 1);
	}
	return 0;
}

/* No write may be lost, nor a page be missing for a moment. */
static int fold_under_use(void)
{
	pthread_t user;
	void *turns;
	size_t page;
	int ret;

	c.stop = 0;
	if (pthread_create(&user, NULL, use, NULL))
		return soak_fail("changes: no thread");
	ret = fold();
	c.stop = 1;
	pthread_join(user, &turns);
	for (page = 0; page < PAGES && !ret; page++)
		if (c.w[page * PAGE_WORDS + 1] != (uintptr_t)turns)
			ret = soak_fail("changes: page %zu was written %llu times, not %llu", page,
					(unsigned long long)c.w[page * PAGE_WORDS + 1],
					(unsigned long long)(uintptr_t)turns);
	return ret;
}

/* --------------------------------------------------- asked for, and taken --- */

static int ask(uint64_t id, uint64_t bytes, uint32_t ms)
{
	struct k_nl_req req;

	k_nl_begin(&req, c.family, NOM_GENL_CMD_RECLAIM, 0);
	k_nl_put(&req, NOM_GENL_A_HANDLE, &id, sizeof(id));
	k_nl_put(&req, NOM_GENL_A_MEM_WANTED, &bytes, sizeof(bytes));
	k_nl_put(&req, NOM_GENL_A_DEADLINE_MS, &ms, sizeof(ms));
	return k_nl_talk(c.sock, &req, NULL, NULL);
}

/* What is gone is gone from the window, and the rest is as it was. */
static int look(uint64_t held)
{
	size_t i, at;
	bool there;

	for (i = 0; i < c.chunks; i++) {
		there = held >> i & 1;
		if (k_touch((volatile char *)&c.w[i * WORDS], false) != (there ? 0 : SIGBUS))
			return soak_fail("changes: 2 MiB that are %s can%s be read", there ? "there" : "gone",
					 there ? "not" : "");
		if (!there && k_map1(c.grant, (void *)&c.w[i * WORDS], i * CHUNK, PAGE, RW) != -ENXIO)
			return soak_fail("changes: 2 MiB that are gone can be mapped");
		for (at = i * WORDS; there && at < (i + 1) * WORDS; at += PAGE_WORDS)
			if (c.w[at] != (c.key ^ at))
				return soak_fail("changes: word %zu changed", at);
	}
	return 0;
}

/*
 * A notice asks for a part.  The second 2 MiB are returned, or not, at about the
 * deadline; what is missing then is taken from the end.  The first stay.
 */
static int lose(void)
{
	size_t wanted = 1 + soak_random() % (c.chunks - 2), left;
	unsigned int patience = PATIENCE;
	struct nom_mem_info mi = { 0 };
	uint64_t held = 0;
	bool gave = false;
	int ret;

	if (k_mem_info(c.grant, &mi))
		return soak_fail("changes: info");
	ret = ask(mi.out_id, wanted * CHUNK, soak_random() % 8);
	if (ret)
		return soak_fail("changes: ask: %s", strerror(-ret));
	if (soak_random() % 2) {
		soak_nap(soak_random() % 8000);
		ret = k_range(c.grant, NOM_MEM_RETURN, NULL, CHUNK, CHUNK, 0);
		if (ret && ret != -ENXIO)	/* taken already */
			return soak_fail("changes: return: %s", strerror(-ret));
		gave = !ret;
	}
	mi.held = (uintptr_t)&held;
	mi.nr_held = 1;
	do {
		ret = k_mem_info(c.grant, &mi);
		if (!ret && __builtin_popcountll(held) * CHUNK != mi.out_bytes)
			return soak_fail("changes: pieces %#llx, but %llu bytes", (unsigned long long)held,
					 (unsigned long long)mi.out_bytes);
		if (mi.out_wanted)
			soak_nap(1000);
	} while (!ret && mi.out_wanted && patience--);
	if (ret || mi.out_wanted)
		return soak_fail("changes: a notice stands long after its deadline");
	left = mi.out_bytes / CHUNK;
	/* what came too late to count has left as well */
	if (left + wanted != c.chunks && !(gave && left + wanted + 1 == c.chunks))
		return soak_fail("changes: %zu of %zu left, %zu wanted, %d returned", left, c.chunks, wanted, gave);
	if (!(held & 1))
		return soak_fail("changes: the first 2 MiB were taken, not the last");
	soak_add(SOAK_RETURNED, gave);
	soak_add(SOAK_TAKEN, c.chunks - left - gave);
	k_catch();
	ret = look(held);
	signal(SIGBUS, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
	return ret;
}

static int change_round(void)
{
	size_t at, bytes;
	void *window;
	int ret;

	c.chunks = 3 + soak_random() % 2;
	c.key = (uint64_t)soak_random() << 32 | getpid();
	c.grant = k_grant(c.nom, c.chunks * CHUNK);
	if (c.grant == -ENOMEM) {		/* others have it all just now */
		soak_nap(2000);
		return 0;
	}
	if (c.grant < 0)
		return soak_fail("changes: grant: %s", strerror(-c.grant));
	bytes = (c.chunks + 1) * CHUNK;
	window = k_window(c.grant, bytes, PROT_READ | PROT_WRITE);
	if (window == MAP_FAILED)
		return soak_fail("changes: window: %s", strerror(errno));
	c.w = (volatile uint64_t *)(((uintptr_t)window + CHUNK - 1) & ~(CHUNK - 1));
	ret = k_map1(c.grant, (void *)c.w, 0, c.chunks * CHUNK, RW | NOM_MAP_TRACK);
	if (ret)
		return soak_fail("changes: map: %s", strerror(-ret));
	for (at = 0; at < c.chunks * WORDS; at += PAGE_WORDS) {
		if (c.w[at] || c.w[at + 1])
			return soak_fail("changes: fresh memory holds %#llx", (unsigned long long)c.w[at]);
		c.w[at] = c.key ^ at;
	}
	ret = fold_under_use();
	if (!ret && !soak->stop)
		ret = lose();
	munmap(window, bytes);
	close(c.grant);
	return ret;
}

int soak_changes(void)
{
	int group, ret;

	c.nom = k_open(O_RDWR);
	c.sock = k_nl_open(&c.family, &group);
	ret = c.sock < 0 ? soak_fail("changes: netlink") : 0;
	while (!soak->stop && !ret) {
		ret = change_round();
		soak_nap(soak_random() % 5000);
	}
	return ret;
}

/* ------------------------------------------------------ given to the kernel --- */

static const struct nom_board *board;

static uint64_t total_bytes(void)
{
	struct nom_board_memory m;

	return k_board_read(board, NOM_BOARD_MEMORY, 0, &m, sizeof(m)) ? 0 : m.total_bytes;
}

/* The machine's, as the kernel counts it, or 0. */
static unsigned long mem_total_bytes(void)
{
	unsigned long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	if (f && fgets(line, sizeof(line), f) && sscanf(line, "MemTotal: %lu", &kib) != 1)
		kib = 0;
	if (f)
		fclose(f);
	return kib * 1024;
}

/* The kernel hands out first what it got last: nobody may write to that now. */
static int use_as_kernels(void)
{
	uint64_t key = soak_random();
	volatile uint64_t *p;
	size_t i;

	p = mmap(NULL, 2 * CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return soak_fail("release: no memory");
	for (i = 0; i < 2 * WORDS; i += 64)
		p[i] = key ^ i;
	soak_nap(20000);
	for (i = 0; i < 2 * WORDS; i += 64)
		if (p[i] != (key ^ i))
			return soak_fail("release: word %zu of the kernel's memory changed", i);
	munmap((void *)p, 2 * CHUNK);
	return 0;
}

/* Nobody else releases, so sizes are exact; 1: there was nothing free. */
static int release_one(int nom)
{
	struct nom_mem_release r = { .size = sizeof(r), .bytes = CHUNK, .node = NOM_NODE_ANY };
	uint64_t board_before = total_bytes();
	unsigned long before = mem_total_bytes();
	int ret = k_ioctl(nom, NOM_MEM_RELEASE, &r);

	if (ret == -ENOMEM) {
		if (total_bytes() == board_before)
			return 1;
		soak_fail("release: nothing was free, and the board's total changed");
		return -1;
	}
	if (ret || r.out_bytes != CHUNK) {
		soak_fail("release: %s, %llu bytes", strerror(-ret), (unsigned long long)r.out_bytes);
		return -1;
	}
	if (total_bytes() != board_before - CHUNK || mem_total_bytes() != before + CHUNK) {
		soak_fail("release: the board has %llu bytes after %llu, the kernel %lu after %lu",
			  (unsigned long long)total_bytes(), (unsigned long long)board_before, mem_total_bytes(), before);
		return -1;
	}
	soak_add(SOAK_RELEASED, 1);
	return 0;
}

/* All over the time of the soak; what is gone must stay so. */
int soak_release(void)
{
	int nom = k_open(O_RDWR), ret = 0;
	time_t start = time(NULL);
	unsigned int nr = 0;
	uint64_t total;

	board = k_board(nom);
	total = total_bytes();
	while (!soak->stop && !ret) {
		if (nr < RELEASES && time(NULL) >= start + (time_t)soak->seconds * nr / RELEASES) {
			ret = release_one(nom);
			if (ret < 0)
				return 1;
			if (!ret) {
				nr++;
				total -= CHUNK;
			}
		}
		if (total_bytes() != total)
			return soak_fail("release: %llu bytes are reserved, not %llu", (unsigned long long)total_bytes(),
					 (unsigned long long)total);
		ret = use_as_kernels();
		soak_nap(80000);
	}
	return ret;
}
