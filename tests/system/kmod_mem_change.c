// SPDX-License-Identifier: MIT
/*
 * kmod_mem_change: what is mapped in a window changes - its protection, what is
 * known of accesses to it, and the size of its entries - while a thread on the
 * reserved core uses it: that one must see neither more nor less than was meant.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "lib/kmod.h"

#define RW	(NOM_MAP_READ | NOM_MAP_WRITE)
#define RO	NOM_MAP_READ
#define HUGE	NOM_MAP_HUGE
#define TRACK	NOM_MAP_TRACK
#define FILL	NOM_MAP_FILL
#define YOUNG	NOM_QUERY_CLEAR_YOUNG
#define DIRTY	NOM_QUERY_CLEAR_DIRTY

static int nom, grant;
static char *w;

static int protect(void *va, uint64_t bytes, uint32_t flags)
{
	return k_range(grant, NOM_MEM_PROTECT, va, 0, bytes, flags);
}

static int promote(void *va, uint64_t bytes, uint32_t flags)
{
	return k_range(grant, NOM_MEM_PROMOTE, va, 0, bytes, flags);
}

static int demote(void *va, uint64_t bytes)
{
	return k_range(grant, NOM_MEM_DEMOTE, va, 0, bytes, 0);
}

static uint64_t mapped(void)
{
	struct nom_mem_info mi = { 0 };

	return k_mem_info(grant, &mi) ? ~0ULL : mi.out_mapped;
}

static void fresh(uint64_t grant_bytes, uint64_t window_bytes, int prot)
{
	grant = k_grant(nom, grant_bytes);
	w = k_window(grant, window_bytes, prot);
	if (grant < 0 || w == MAP_FAILED)
		t_bail("no grant or no window");
}

static void done(uint64_t window_bytes)
{
	munmap(w, window_bytes);
	close(grant);
}

/* --- a thread on the reserved core: bumps a word in each page of a range --- */

static struct {
	pthread_t thread;
	char *base;
	unsigned int pages;
	bool reads;
	volatile bool stop;
	volatile unsigned long rounds, faults;
	volatile int ret;
} user;

K_HANDLER static int count_fault(struct nom_frame *f)
{
	if (f->vector != 14)
		return 1;
	user.faults++;
	return user.stop;		/* again, until it succeeds */
}

static void *use(void *unused)
{
	struct k_lease l;
	unsigned int i;

	if (k_claim(nom, NOM_CPU_ANY, 0, &l) || k_enter(&l, 1ULL << 14)) {
		user.ret = 1;
		return NULL;
	}
	while (!user.stop) {
		for (i = 0; i < user.pages && !user.stop; i++) {
			volatile uint64_t *p = (void *)(user.base + i * PAGE);

			if (user.reads)
				(void)*p;
			else
				*p += 1;
		}
		user.rounds++;
	}
	k_leave(&l);
	munmap(l.sh, PAGE);
	close(l.fd);
	return NULL;
}

static bool went_on(void *since)
{
	return user.rounds > *(unsigned long *)since + 1 || user.ret;
}

/* Whether the thread does a round from here on. */
static bool user_goes_on(void)
{
	unsigned long since = user.rounds;

	return t_wait(went_on, &since, 20000) && !user.ret;
}

static void user_start(char *base, unsigned int pages, bool reads)
{
	memset(&user, 0, sizeof(user));
	user.base = base;
	user.pages = pages;
	user.reads = reads;
	k_on_trap = count_fault;
	pthread_create(&user.thread, NULL, use, NULL);
	t_ok(user_goes_on(), "(a thread on the reserved core uses %u pages)", pages);
}

static void user_end(void)
{
	user.stop = true;
	pthread_join(user.thread, NULL);
}

/* --- protection --- */

static void protection(void)
{
	static struct nom_map_entry e[NOM_MAP_MAX];
	unsigned int i, wrong = 0;
	uint32_t nr;
	char *r, *anon;

	fresh(2 * CHUNK, 4 * CHUNK, PROT_READ | PROT_WRITE);
	t_eq(k_map1(grant, w, 0, 16 * PAGE, RW), 0, "map 16 pages");
	for (i = 0; i < 16; i++)
		w[i * PAGE] = i + 1;
	t_eq(protect(w, 8 * PAGE, RO), 0, "eight of them read-only");
	t_eq(k_touch(w, true), SIGBUS, "the first is not written");
	t_eq(k_touch(w + 7 * PAGE, true), SIGBUS, "nor the last");
	t_eq(k_touch(w + 7 * PAGE, false), 0, "but read");
	t_eq(w[7 * PAGE], 8, "what was there is there");
	t_eq(k_touch(w + 8 * PAGE, true), 0, "the others are written");
	t_eq(protect(w, 8 * PAGE, RW), 0, "and back");
	t_eq(k_touch(w, true), 0, "the first is written");
	t_eq(protect(w + 12 * PAGE, CHUNK, RO), 0, "more than is mapped, across page tables");
	t_eq(k_touch(w + 15 * PAGE, true), SIGBUS, "what is mapped is protected");
	t_eq(k_touch(w + 16 * PAGE, false), SIGBUS, "what is not stays so");
	t_eq(mapped(), 16 * PAGE, "nothing came or went");

	t_eq(k_map1(grant, w + 2 * CHUNK, CHUNK, CHUNK, RW | HUGE), 0, "map 2 MiB");
	w[2 * CHUNK + 5] = 55;
	t_eq(protect(w + 2 * CHUNK, PAGE, RO), -EINVAL, "a part of it");
	t_eq(protect(w + 2 * CHUNK, CHUNK, RO), 0, "all of it");
	t_eq(k_touch(w + 3 * CHUNK - 1, true), SIGBUS, "it is not written");
	t_eq(w[2 * CHUNK + 5], 55, "but read");
	t_eq(protect(w, 4 * CHUNK, RW), 0, "all of the window");
	t_eq(k_touch(w + 3 * CHUNK - 1, true), 0, "2 MiB are written");
	t_eq(k_touch(w + 15 * PAGE, true), 0, "so are 4 KiB");

	for (i = 0; i < NOM_MAP_MAX; i++)
		e[i] = (struct nom_map_entry){ .va = (uintptr_t)w + CHUNK + i * PAGE,
					       .offset = i * PAGE, .bytes = PAGE, .flags = RW };
	t_eq(k_array(grant, NOM_MEM_MAP, e, NOM_MAP_MAX, &nr), 0, "map 512 pages");
	for (i = 0; i < NOM_MAP_MAX; i++)
		e[i].flags = i % 3 ? RW : RO;
	t_eq(k_array(grant, NOM_MEM_PROTECT, e, NOM_MAP_MAX, &nr), 0, "protect every third of 512");
	t_eq(nr, NOM_MAP_MAX, "all done");
	for (i = 0; i < NOM_MAP_MAX; i++)
		wrong += k_touch(w + CHUNK + i * PAGE, true) != (i % 3 ? 0 : SIGBUS);
	t_eq(wrong, 0, "each as it should be");
	e[300].va++;
	t_eq(k_array(grant, NOM_MEM_PROTECT, e, NOM_MAP_MAX, &nr), -EINVAL, "the 301st is bad");
	t_eq(nr, 300, "300 are done");

	r = k_window(grant, CHUNK, PROT_READ);
	anon = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	t_eq(k_map1(grant, r, 0, PAGE, RO), 0, "a page of a read-only window");
	t_eq(protect(r, PAGE, RW), -EPERM, "made writable");
	t_eq(k_touch(r, true), SIGSEGV, "it is not");
	t_eq(protect(w, PAGE, RO | NOM_MAP_EXEC), -EPERM, "executable in a window that is not");
	t_eq(protect(w, PAGE, NOM_MAP_WRITE), -EINVAL, "write without read");
	t_eq(protect(w, 0, RO), -EINVAL, "no bytes");
	t_eq(protect(w, PAGE + 1, RO), -EINVAL, "length not aligned");
	t_eq(protect(w, PAGE, RO | TRACK), -EOPNOTSUPP, "a flag of map's");
	t_eq(protect(anon, PAGE, RO), -EFAULT, "not a window");
	t_eq(protect(w + 4 * CHUNK - PAGE, 2 * PAGE, RO), -EFAULT, "across the window's end");
	t_eq(protect(w, ~0ULL << 12, RO), -EFAULT, "2^64 bytes");
	t_eq(k_touch(w, true), 0, "nothing was changed by all this");
	munmap(r, CHUNK), munmap(anon, CHUNK);
	done(4 * CHUNK);
}

static void protection_of_others(void)
{
	unsigned long since;
	uint64_t sum[2];

	fresh(CHUNK, CHUNK, PROT_READ | PROT_WRITE);
	k_map1(grant, w, 0, 4 * PAGE, RW);
	user_start(w, 4, false);
	t_eq(user.faults, 0, "it meets no fault");
	t_eq(protect(w, 4 * PAGE, RO), 0, "its pages become read-only");
	sum[0] = *(uint64_t *)w + *(uint64_t *)(w + PAGE);
	since = user.rounds;
	t_sleep_ms(50);
	sum[1] = *(uint64_t *)w + *(uint64_t *)(w + PAGE);
	t_ok(sum[0] == sum[1] && user.rounds <= since + 1, "it writes no more from then on");
	t_ok(user.faults > 0, "but gets upcalls: %lu", user.faults);
	t_eq(protect(w, 4 * PAGE, RW), 0, "and writable again");
	t_ok(user_goes_on(), "it goes on");
	user_end();
	done(CHUNK);
}

/* --- what was touched --- */

static uint64_t mapped_bits[8192], young_bits[8192], dirty_bits[8192];

static struct nom_mem_query q = {
	.mapped = (uintptr_t)mapped_bits, .young = (uintptr_t)young_bits, .dirty = (uintptr_t)dirty_bits,
};

/* Is exactly this set, and are the counts those of the bits? */
static bool bits_are(uint64_t m, uint64_t y, uint64_t d)
{
	return mapped_bits[0] == m && young_bits[0] == y && dirty_bits[0] == d &&
	       q.out_mapped == (uint64_t)__builtin_popcountll(m) &&
	       q.out_young == (uint64_t)__builtin_popcountll(y) &&
	       q.out_dirty == (uint64_t)__builtin_popcountll(d);
}

static void tracking(void)
{
	struct nom_mem_query other = { .young = 0xffff800000000000 };
	char *anon;

	fresh(4 * CHUNK, 96 * MIB, PROT_READ | PROT_WRITE);
	t_eq(k_map1(grant, w, 0, 8 * PAGE, RW | TRACK), 0, "map eight pages, tracked");
	t_eq(k_query(grant, 0, w, 64 * PAGE, &q), 0, "ask");
	t_ok(bits_are(0xff, 0, 0), "none is touched");
	k_touch(w + PAGE, false);
	k_touch(w + 3 * PAGE, true);
	t_eq(k_query(grant, 0, w, 64 * PAGE, &q), 0, "read one, write one");
	t_ok(bits_are(0xff, 0x0a, 0x08), "so it says: young %#lx, dirty %#lx",
	     (long)young_bits[0], (long)dirty_bits[0]);
	t_eq(k_query(grant, DIRTY, w, 64 * PAGE, &q), 0, "clear dirty");
	t_ok(bits_are(0xff, 0x0a, 0x08), "it says what was");
	t_eq(k_query(grant, YOUNG, w, 64 * PAGE, &q), 0, "clear young");
	t_ok(bits_are(0xff, 0x0a, 0), "dirty is clear");
	t_eq(k_query(grant, 0, w, 64 * PAGE, &q), 0, "ask");
	t_ok(bits_are(0xff, 0, 0), "both are clear");
	k_touch(w + 3 * PAGE, true);
	k_touch(w + PAGE, false);
	t_eq(k_query(grant, YOUNG | DIRTY, w, 64 * PAGE, &q), 0, "touch the same again");
	t_ok(bits_are(0xff, 0x0a, 0x08), "that is seen: no processor goes by the old bits");

	t_eq(k_map1(grant, w + 8 * PAGE, 0, PAGE, RW), 0, "map without tracking");
	t_eq(k_map1(grant, w + 9 * PAGE, 0, PAGE, RO), 0, "likewise, read-only");
	t_eq(k_map1(grant, w + 10 * PAGE, 0, PAGE, RO | TRACK), 0, "read-only, tracked");
	t_eq(k_query(grant, 0, w, 64 * PAGE, &q), 0, "ask");
	t_ok(bits_are(0x7ff, 0x300, 0x100), "young and dirty, young, neither");
	k_touch(w + 10 * PAGE, false);
	t_eq(protect(w + 8 * PAGE, PAGE, RO), 0, "protect the dirty one");
	t_eq(k_query(grant, 0, w, 64 * PAGE, &q), 0, "ask");
	t_ok(bits_are(0x7ff, 0x700, 0x100), "it still is dirty, and the third is young");

	/* far apart: in other pieces, other page tables */
	k_map1(grant, w + 40 * MIB + 3 * PAGE, 0, PAGE, RW | TRACK);
	k_map1(grant, w + 96 * MIB - PAGE, 0, PAGE, RW | TRACK);
	k_touch(w + 40 * MIB + 3 * PAGE, true);
	k_touch(w + 96 * MIB - PAGE, true);
	memset(dirty_bits, 0xff, sizeof(dirty_bits));
	t_eq(k_query(grant, 0, w, 96 * MIB, &q), 0, "ask about 96 MiB");
	t_ok(q.out_mapped == 13 && q.out_dirty == 3 && mapped_bits[0] == 0x7ff && dirty_bits[0] == 0x100 &&
	     dirty_bits[160] == 8 && dirty_bits[383] == 1ULL << 63 && dirty_bits[382] == 0,
	     "each bit is in its place");
	t_eq(dirty_bits[384], ~0ULL, "and none behind the last");

	t_eq(k_map1(grant, w + 50 * MIB, CHUNK, CHUNK, RW | HUGE | TRACK), 0, "2 MiB, tracked");
	t_eq(k_query(grant, 0, w + 50 * MIB, CHUNK, &q), 0, "ask");
	t_ok(q.out_mapped == 512 && !q.out_young && !q.out_dirty, "untouched");
	k_touch(w + 50 * MIB + 77 * PAGE, true);
	t_eq(k_query(grant, DIRTY, w + 50 * MIB, PAGE, &q), -EINVAL, "clear a part of it");
	t_eq(k_query(grant, 0, w + 50 * MIB, PAGE, &q), 0, "ask about a part");
	t_ok(bits_are(1, 1, 1), "dirty");
	t_eq(k_query(grant, YOUNG | DIRTY, w + 50 * MIB, CHUNK, &q), 0, "clear all of it");
	t_ok(q.out_young == 512 && q.out_dirty == 512 && dirty_bits[7] == ~0ULL, "512 were dirty");
	t_eq(k_query(grant, 0, w + 50 * MIB, CHUNK, &q), 0, "ask");
	t_ok(!q.out_young && !q.out_dirty, "none is");

	anon = mmap(NULL, CHUNK, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	t_eq(k_query(grant, 4, w, PAGE, &q), -EOPNOTSUPP, "unknown flag");
	t_eq(k_query(grant, 0, w + PAGE, PAGE, &q), -EINVAL, "address not a multiple of 2 MiB");
	t_eq(k_query(grant, 0, w, 0, &q), -EINVAL, "no bytes");
	t_eq(k_query(grant, 0, w, 100, &q), -EINVAL, "length not aligned");
	t_eq(k_query(grant, 0, w, NOM_QUERY_MAX + PAGE, &q), -EINVAL, "too much");
	t_eq(k_query(grant, 0, w, 96 * MIB + PAGE, &q), -EFAULT, "across the window's end");
	t_eq(k_query(grant, 0, anon, PAGE, &q), -EFAULT, "not a window");
	q.young++;
	t_eq(k_query(grant, 0, w, PAGE, &q), -EINVAL, "bits not aligned");
	q.young--;
	k_touch(w + PAGE, true);
	t_eq(k_query(grant, YOUNG | DIRTY, w, 64 * PAGE, &other), -EFAULT, "bits at a kernel address");
	other.young = (uintptr_t)anon;
	t_eq(k_query(grant, YOUNG | DIRTY, w, 64 * PAGE, &other), -EFAULT, "bits where nothing can be written");
	t_eq(k_query(grant, 0, w, 64 * PAGE, &q), 0, "ask");
	t_eq(dirty_bits[0] & 2, 2, "nothing was forgotten by all this");
	munmap(anon, CHUNK);
	done(96 * MIB);
}

static void tracking_of_others(void)
{
	unsigned int i, seen = 0;

	fresh(CHUNK, CHUNK, PROT_READ | PROT_WRITE);
	k_map1(grant, w, 0, 8 * PAGE, RW | TRACK);
	user_start(w, 4, false);
	for (i = 0; i < 8; i++) {
		k_query(grant, YOUNG | DIRTY, w, 64 * PAGE, &q);
		if (!user_goes_on())
			break;
		k_query(grant, 0, w, 64 * PAGE, &q);
		seen += bits_are(0xff, 0x0f, 0x0f);
	}
	t_eq(seen, 8, "a writer on another core is seen after each clearing");
	user_end();
	t_eq(user.faults, 0, "it meets no fault");
	done(CHUNK);
}

/* --- 512 small entries and one of 2 MiB --- */

static void fold(void)
{
	unsigned int i, wrong = 0;

	fresh(4 * CHUNK, 8 * CHUNK, PROT_READ | PROT_WRITE);
	t_eq(k_map1(grant, w, CHUNK, CHUNK, RW), 0, "map 512 pages");
	for (i = 0; i < 512; i++)
		*(uint32_t *)(w + i * PAGE) = i + 7;
	t_eq(promote(w, CHUNK, 0), 0, "promote");
	t_eq(k_unmap1(grant, w, PAGE, 0), -EINVAL, "they are one entry");
	for (i = 0; i < 512; i++)
		wrong += *(uint32_t *)(w + i * PAGE) != i + 7;
	t_eq(wrong, 0, "of the same memory");
	t_eq(mapped(), CHUNK, "nothing came or went");
	t_eq(k_touch(w + 99 * PAGE, true), 0, "it is writable");
	t_eq(promote(w, CHUNK, 0), 0, "promote what is promoted");
	t_eq(demote(w, CHUNK), 0, "demote");
	t_eq(k_unmap1(grant, w + PAGE, PAGE, 0), 0, "a page can be unmapped");
	t_eq(k_touch(w + PAGE, false), SIGBUS, "it is gone");
	for (i = 2, wrong = 0; i < 512; i++)
		wrong += *(uint32_t *)(w + i * PAGE) != i + 7 + (i == 99);
	t_eq(wrong, 0, "the others are there");
	t_eq(k_touch(w + 100 * PAGE, true), 0, "and writable");
	t_eq(demote(w, CHUNK), 0, "demote what is demoted");
	t_eq(promote(w, CHUNK, 0), -ENOENT, "promote with one missing");
	t_eq(k_touch(w + PAGE, false), SIGBUS, "it still is");
	t_eq(promote(w, CHUNK, FILL), 0, "and fill");
	t_eq(*(uint32_t *)(w + PAGE), 8, "there it is");
	t_eq(mapped(), CHUNK, "the page is counted");

	t_eq(k_map1(grant, w + CHUNK, 0, 63 * PAGE, RO), 0, "map 63 pages read-only");
	t_eq(promote(w + CHUNK, CHUNK, FILL), -ENOENT, "too few to fill");
	t_eq(k_map1(grant, w + 2 * CHUNK - PAGE, CHUNK - PAGE, PAGE, RO), 0, "the 64th");
	t_eq(promote(w + CHUNK, CHUNK, FILL), 0, "that is enough");
	t_eq(k_touch(w + CHUNK + 300 * PAGE, false), 0, "all can be read");
	t_eq(k_touch(w + CHUNK + 300 * PAGE, true), SIGBUS, "not written");

	t_eq(k_map1(grant, w + 2 * CHUNK, PAGE, CHUNK, RW), 0, "512 pages that are not 2 MiB of the grant");
	t_eq(promote(w + 2 * CHUNK, CHUNK, 0), -EINVAL, "they do not make one");
	t_eq(k_touch(w + 2 * CHUNK + 5 * PAGE, true), 0, "and stay");
	k_map1(grant, w + 3 * CHUNK, 0, CHUNK, RW);
	protect(w + 3 * CHUNK + 9 * PAGE, PAGE, RO);
	t_eq(promote(w + 3 * CHUNK, CHUNK, 0), -EINVAL, "two protections");
	protect(w + 3 * CHUNK + 9 * PAGE, PAGE, RW);
	k_unmap1(grant, w + 3 * CHUNK + 9 * PAGE, 2 * PAGE, 0);
	k_map1(grant, w + 3 * CHUNK + 9 * PAGE, 10 * PAGE, PAGE, RW);
	k_map1(grant, w + 3 * CHUNK + 10 * PAGE, 9 * PAGE, PAGE, RW);
	t_eq(promote(w + 3 * CHUNK, CHUNK, FILL), -EINVAL, "two pages in the wrong order");

	t_eq(k_map1(grant, w + 4 * CHUNK, 0, CHUNK, RW | TRACK), 0, "512 pages, tracked");
	k_touch(w + 4 * CHUNK + PAGE, false);
	t_eq(promote(w + 4 * CHUNK, CHUNK, 0), 0, "promote, one of them read");
	t_eq(k_query(grant, 0, w + 4 * CHUNK, CHUNK, &q), 0, "ask");
	t_ok(q.out_young == 512 && q.out_dirty == 0, "young, not dirty");
	t_eq(demote(w + 4 * CHUNK, CHUNK), 0, "demote");
	k_touch(w + 4 * CHUNK, true);
	t_eq(k_query(grant, YOUNG, w + 4 * CHUNK, CHUNK, &q), 0, "write one, ask");
	t_ok(q.out_young == 512 && q.out_dirty == 1, "one of 512 is dirty");
	t_eq(promote(w + 4 * CHUNK, CHUNK, 0), 0, "promote");
	t_eq(k_query(grant, 0, w + 4 * CHUNK, CHUNK, &q), 0, "ask");
	t_ok(q.out_young == 0 && q.out_dirty == 512, "not young, dirty");

	/* where small ones have been there is room for a large one */
	k_map1(grant, w + 5 * CHUNK, 0, 3 * PAGE, RW);
	k_unmap1(grant, w + 5 * CHUNK, CHUNK, 0);
	t_eq(k_map1(grant, w + 5 * CHUNK, 0, CHUNK, RW | HUGE), 0, "2 MiB where small entries were");
	t_eq(k_unmap1(grant, w + 5 * CHUNK, PAGE, 0), -EINVAL, "they are one entry");

	t_eq(promote(w + 6 * CHUNK, CHUNK, FILL), -ENOENT, "nothing there: promote");
	t_eq(demote(w + 6 * CHUNK, CHUNK), -ENOENT, "nothing there: demote");
	t_eq(promote(w + PAGE, CHUNK, 0), -EINVAL, "address not aligned");
	t_eq(promote(w, PAGE, 0), -EINVAL, "length not aligned");
	t_eq(promote(w, 0, 0), -EINVAL, "no bytes");
	t_eq(promote(w, CHUNK, RW), -EOPNOTSUPP, "a flag of map's");
	t_eq(k_range(grant, NOM_MEM_DEMOTE, w, 0, CHUNK, FILL), -EOPNOTSUPP, "demote: a flag of promote's");
	t_eq(promote(w, 16 * CHUNK, 0), -EFAULT, "more than the window");
	done(8 * CHUNK);
}

static unsigned long vm_pte_kib(void)
{
	unsigned long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/self/status", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmPTE: %lu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

/* A missing page for a moment would be an upcall; a lost bit a lost count. */
static void fold_under_use(void)
{
	unsigned long before;
	unsigned int i, wrong = 0;
	uint64_t sum = 0;

	fresh(CHUNK, CHUNK, PROT_READ | PROT_WRITE);
	k_map1(grant, w, 0, CHUNK, RW | TRACK);
	user_start(w, 512, false);
	before = vm_pte_kib();
	for (i = 0; i < 200; i++) {
		wrong += promote(w, CHUNK, 0) != 0;
		wrong += demote(w, CHUNK) != 0;
	}
	t_eq(wrong, 0, "promoted and demoted two hundred times meanwhile");
	t_ok(user_goes_on(), "the thread goes on");
	user_end();
	t_eq(user.faults, 0, "it met no fault");
	for (i = 0; i < 512; i++)
		sum += *(uint64_t *)(w + i * PAGE) - user.rounds + 1 > 2;
	t_eq(sum, 0, "each page has been written in each of %lu rounds", user.rounds);
	t_ok(vm_pte_kib() <= before, "page tables came and went");
	done(CHUNK);
}

int main(void)
{
	uint64_t before;

	k_catch();
	nom = k_open(O_RDWR);
	before = k_mem_free(k_board(nom));
	protection();
	protection_of_others();
	tracking();
	tracking_of_others();
	fold();
	fold_under_use();
	t_ok(k_mem_free(k_board(nom)) == before, "nothing is left over");
	return t_done();
}
