// SPDX-License-Identifier: MIT
/*
 * self-paging - a program that pages a file for itself, by a policy of its own.
 *
 *	self-paging [--policy keep|lru] [--kernel] [--frames N] [--pages N] [--passes N] FILE
 *
 *	scripts/run-guest -- self-paging /tmp/store
 *
 * The work goes through a store of many pages again and again, from the first to
 * the last, and writes to every eighth of them; there are fewer frames of memory
 * than pages.  For that, "least recently used" is the worst there is: it throws out
 * each page just before it is wanted.  The program knows its own work, and *keeps*
 * what it has, exchanging one frame only.
 *
 * The store is a window; a touch of a page that is not there is an upcall, which
 * makes room and reads the page from the file.  Whether a page that has to go must
 * be written is asked of the processor's dirty bits (nomux_mem_query()).
 *
 * --policy lru does the same work with that policy, and --kernel maps the file and
 * leaves the paging to the kernel, in whatever memory it has to spare:
 * tests/scripts/nomux_paging_guest compares.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/mem.h>
#include <nomux/upcall.h>

enum { TRAP_PF = 14 };
#define PAGE_BYTES	4096UL
#define BLOCK_BYTES	(2UL << 20)	/* what a query starts at a multiple of */
#define WRITE_EVERY	8

static void check(int err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "self-paging: %s: %s\n", what, strerror(-err));
	exit(1);
}

enum policy { KEEP, LRU };

struct pager {
	struct nomux_mem *mem;
	char *store;		/* window: pages of the file, where they are mapped */
	char *frames;		/* window: all of the grant */
	int fd;
	unsigned int nr_frames, used, next;
	unsigned int *page_in;	/* which page a frame holds */
	enum policy policy;
	size_t bytes;
	unsigned long page_ins, page_outs;
};

/* Was the page written to since it was mapped? */
static bool is_dirty(struct pager *p, unsigned int page)
{
	uint64_t word[BLOCK_BYTES / PAGE_BYTES / 64];
	struct nomux_mem_bits bits = { .dirty = word };
	unsigned long offset = page * PAGE_BYTES;
	unsigned int bit = offset % BLOCK_BYTES / PAGE_BYTES;

	/* not knowing, write it */
	if (nomux_mem_query(p->mem, p->store + offset / BLOCK_BYTES * BLOCK_BYTES,
			    (bit + 1) * PAGE_BYTES, 0, &bits))
		return true;
	return word[bit / 64] >> bit % 64 & 1;
}

/*
 * The frame to use next.  First those nobody has used; then, to keep what is there,
 * always the last - or, in turn, the one that was filled longest ago, which is the
 * least recently used one here.
 */
static unsigned int choose(struct pager *p)
{
	if (p->used < p->nr_frames)
		return p->used++;
	if (p->policy == KEEP)
		return p->nr_frames - 1;
	return p->next++ % p->nr_frames;
}

static int evict(struct pager *p, unsigned int frame)
{
	unsigned int page = p->page_in[frame];
	struct nom_map_entry e = { .va = (uintptr_t)p->store + page * PAGE_BYTES, .bytes = PAGE_BYTES };
	bool dirty = is_dirty(p, page);

	/* out of the window first: nothing is written to it any more */
	if (nomux_mem_unmap(p->mem, &e, 1) != 1)
		return -1;
	if (!dirty)
		return 0;
	p->page_outs++;
	return pwrite(p->fd, p->frames + frame * PAGE_BYTES, PAGE_BYTES,
		      (off_t)(page * PAGE_BYTES)) == (ssize_t)PAGE_BYTES ? 0 : -1;
}

static int page_fault(struct nom_frame *frame, void *arg)
{
	struct pager *p = arg;
	unsigned long offset = (frame->cr2 - (uintptr_t)p->store) & ~(PAGE_BYTES - 1);
	struct nom_map_entry e = { .va = (uintptr_t)p->store + offset, .bytes = PAGE_BYTES,
		.flags = NOM_MAP_READ | NOM_MAP_WRITE | NOM_MAP_TRACK };
	bool full = p->used == p->nr_frames;
	unsigned int f;

	if (frame->cr2 < (uintptr_t)p->store || offset >= p->bytes)
		return -1;
	f = choose(p);
	if (full && evict(p, f))
		return -1;
	if (pread(p->fd, p->frames + f * PAGE_BYTES, PAGE_BYTES, (off_t)offset) != (ssize_t)PAGE_BYTES)
		return -1;
	/* the kernel's page cache shall not be a second memory of the store */
	posix_fadvise(p->fd, (off_t)offset, PAGE_BYTES, POSIX_FADV_DONTNEED);
	p->page_ins++;
	p->page_in[f] = (unsigned int)(offset / PAGE_BYTES);
	e.offset = f * PAGE_BYTES;
	return nomux_mem_map(p->mem, &e, 1) == 1 ? 0 : -1;
}

/* The work, once through: returns the sum of what it read. */
static uint64_t scan(char *store, unsigned int pages)
{
	unsigned int page;
	uint64_t sum = 0;

	for (page = 0; page < pages; page++) {
		volatile uint64_t *word = (volatile uint64_t *)(void *)(store + page * PAGE_BYTES);

		sum += word[0] + word[1];
		if (page % WRITE_EVERY == 0)
			word[1] = word[1] + 1;
	}
	return sum;
}

/* What scan() must find: words 0 are page numbers, words 1 the passes before. */
static uint64_t sum_wanted(uint64_t pages, uint64_t passes)
{
	uint64_t written = (pages + WRITE_EVERY - 1) / WRITE_EVERY;

	return passes * (pages * (pages - 1) / 2) + written * (passes * (passes - 1) / 2);
}

static int make_store(const char *path, unsigned int pages)
{
	uint64_t page[PAGE_BYTES / 8] = { 0 };
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	unsigned int i;

	check(fd < 0 ? -errno : 0, path);
	for (i = 0; i < pages; i++) {
		page[0] = i;
		check(write(fd, page, sizeof(page)) == sizeof(page) ? 0 : -EIO, path);
	}
	check(fsync(fd) ? -errno : 0, path);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	return fd;
}

/* Every eighth page has been written in each pass. */
static bool store_is_right(int fd, unsigned int pages, unsigned int passes)
{
	uint64_t word[2];
	unsigned int i;

	for (i = 0; i < pages; i++)
		if (pread(fd, word, sizeof(word), (off_t)(i * PAGE_BYTES)) != sizeof(word) ||
		    word[0] != i || word[1] != (i % WRITE_EVERY ? 0 : passes))
			return false;
	return true;
}

/* How many pages of the store are in memory. */
static unsigned int nr_resident(char *store, unsigned int pages)
{
	unsigned char *there = malloc(pages);
	unsigned int page, nr = 0;

	check(!there || mincore(store, pages * PAGE_BYTES, there) ? -errno : 0, "mincore");
	for (page = 0; page < pages; page++)
		nr += there[page] & 1;
	free(there);
	return nr;
}

static uint64_t page_by_kernel(int fd, unsigned int pages, unsigned int passes)
{
	size_t bytes = pages * PAGE_BYTES;
	char *store = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	unsigned int pass, resident, most = 0;
	struct rusage before, after;
	uint64_t sum = 0;

	check(store == MAP_FAILED ? -errno : 0, "mmap");
	/* no read-ahead: a page read is a fault that is counted */
	check(madvise(store, bytes, MADV_RANDOM) ? -errno : 0, "madvise");
	getrusage(RUSAGE_SELF, &before);
	for (pass = 0; pass < passes; pass++) {
		sum += scan(store, pages);
		resident = nr_resident(store, pages);
		if (resident > most)
			most = resident;
	}
	getrusage(RUSAGE_SELF, &after);
	printf("the kernel: %lu pages read, %u at once in memory\n",
	       (unsigned long)(after.ru_majflt - before.ru_majflt), most);
	munmap(store, bytes);
	return sum;
}

static uint64_t page_by_upcall(struct pager *p, unsigned int pages, unsigned int passes)
{
	struct nomux_core *core;
	struct nomux_ctx *nom;
	struct nom_map_entry all;
	uint64_t sum = 0;
	unsigned int i;

	check(nomux_open(&nom), "open /dev/nom");
	check(nomux_core_claim(nom, NULL, &core), "claim a core");
	check(nomux_mem_grant(nom, p->nr_frames * PAGE_BYTES, &p->mem), "grant");
	check(nomux_mem_window(p->mem, p->bytes, NULL, (void **)&p->store), "window of the store");
	check(nomux_mem_window(p->mem, nomux_mem_bytes(p->mem), NULL, (void **)&p->frames),
	      "window of the frames");
	all = (struct nom_map_entry){ .va = (uintptr_t)p->frames, .bytes = nomux_mem_bytes(p->mem),
		.flags = NOM_MAP_READ | NOM_MAP_WRITE | NOM_MAP_HUGE };
	check(nomux_mem_map(p->mem, &all, 1), "map the frames");
	p->page_in = calloc(p->nr_frames, sizeof(*p->page_in));
	check(p->page_in ? 0 : -ENOMEM, "frames");
	check(nomux_on_trap(core, TRAP_PF, page_fault, p), "claim #PF");
	check(nomux_core_enter(core), "enter the core");
	for (i = 0; i < passes; i++)
		sum += scan(p->store, pages);
	for (i = 0; i < p->used; i++)
		check(evict(p, i), "write the store back");
	check(nomux_core_release(core), "release the core");
	nomux_mem_put(p->mem);
	nomux_close(nom);
	free(p->page_in);
	return sum;
}

static unsigned int number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || !n || n > 1UL << 20) {
		fprintf(stderr, "self-paging: %s is no number from 1 to 1048576\n", text);
		exit(2);
	}
	return (unsigned int)n;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "policy", required_argument, NULL, 'p' }, { "kernel", no_argument, NULL, 'k' },
		{ "frames", required_argument, NULL, 'f' }, { "pages", required_argument, NULL, 'n' },
		{ "passes", required_argument, NULL, 'r' }, { NULL, 0, NULL, 0 },
	};
	struct pager p = { .nr_frames = 512 };
	unsigned int pages = 1024, passes = 4;
	bool kernel = false, bad = false;
	uint64_t sum;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'p' && (!strcmp(optarg, "keep") || !strcmp(optarg, "lru")))
			p.policy = strcmp(optarg, "keep") ? LRU : KEEP;
		else if (c == 'k')
			kernel = true;
		else if (c == 'f')
			p.nr_frames = number(optarg);
		else if (c == 'n')
			pages = number(optarg);
		else if (c == 'r')
			passes = number(optarg);
		else
			bad = true;
	}
	if (bad || optind != argc - 1) {
		fprintf(stderr, "usage: self-paging [--policy keep|lru] [--kernel] [--frames N] "
			"[--pages N] [--passes N] FILE\n");
		return 2;
	}
	p.bytes = pages * PAGE_BYTES;
	p.fd = make_store(argv[optind], pages);
	if (kernel) {
		sum = page_by_kernel(p.fd, pages, passes);
	} else {
		sum = page_by_upcall(&p, pages, passes);
		printf("%s: %lu pages read, %lu written, %u frames, %u pages, %u passes\n",
		       p.policy == KEEP ? "keep" : "lru", p.page_ins, p.page_outs, p.nr_frames,
		       pages, passes);
	}
	if (sum != sum_wanted(pages, passes) || !store_is_right(p.fd, pages, passes)) {
		printf("the store is not what it should be\n");
		return 1;
	}
	printf("every page was as it should be, and so is the file\n");
	close(p.fd);
	return 0;
}
