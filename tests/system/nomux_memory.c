// SPDX-License-Identifier: MIT
/*
 * What an application does with mapped memory through libnomux: protects and asks,
 * in arrays and bitmaps longer than one system call takes, promotes, lays out by
 * colour, returns what it is asked for.  Its pages' physical numbers, which root
 * may read of a DMA view, prove the colours.
 */
#include <fcntl.h>
#include <linux/nom.h>
#include <sys/mman.h>

#include <nomux/board.h>
#include <nomux/colour.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/mem.h>
#include <nomux/upcall.h>

#include "../../libnomux/src/internal.h"
#include "nomux_tap.h"

#define PAGE	4096UL
#define HUGE	(2UL << 20)
#define RO	NOM_MAP_READ
#define RW	(NOM_MAP_READ | NOM_MAP_WRITE)

static struct nomux_ctx *nom;
static struct nomux_core *core;
static struct nomux_mem *mem;
static char *w;

static int one(int (*op)(struct nomux_mem *, struct nom_map_entry *, unsigned int), void *va,
	       uint64_t offset, uint64_t bytes, uint32_t flags)
{
	struct nom_map_entry e = { .va = (uintptr_t)va, .offset = offset, .bytes = bytes, .flags = flags };

	return op(mem, &e, 1);
}

static void fresh(size_t grant_bytes, size_t window_bytes)
{
	T_NEED(nomux_mem_grant(nom, grant_bytes, &mem));
	T_NEED(nomux_mem_window(mem, window_bytes, NULL, (void **)&w));
}

static void test_nodes(void)
{
	t_is(nomux_mem_grant_node(nom, HUGE, 0, &mem), 0, "memory of node 0");
	t_ok(nomux_mem_id(mem), "it has a number");
	nomux_mem_put(mem);
	t_is(nomux_mem_grant_node(nom, HUGE, 7, &mem), -ENOMEM, "of a node without memory");
	t_is(nomux_mem_grant_node(nom, HUGE, ~0U, &mem), -EINVAL, "of no node");
}

/* --- faults, counted --- */

static volatile unsigned int faults;

static int make_writable(struct nom_frame *frame, void *arg)
{
	faults++;
	return one(nomux_mem_protect, (void *)(frame->cr2 & ~(PAGE - 1)), 0, PAGE, RW) == 1 ? 0 : -1;
}

static void test_protect(void)
{
	struct nom_map_entry *e = calloc(1000, sizeof(*e));
	unsigned int i, wrong = 0;

	fresh(2 * HUGE, 2 * HUGE);
	for (i = 0; i < 1000; i++)
		e[i] = (struct nom_map_entry){ .va = (uintptr_t)w + i * PAGE, .offset = i * PAGE,
					       .bytes = PAGE, .flags = RW };
	t_is(nomux_mem_map(mem, e, 1000), 1000, "a thousand pages");
	for (i = 0; i < 1000; i++)
		e[i].flags = RO;
	t_is(nomux_mem_protect(mem, e, 1000), 1000, "a thousand entries: read-only");
	faults = 0;
	for (i = 0; i < 1000; i++)
		*(volatile uint32_t *)(void *)(w + i * PAGE) = i;
	t_is(faults, 1000, "each write is an upcall, whose handler makes the page writable");
	for (i = 0; i < 1000; i++)
		wrong += *(volatile uint32_t *)(void *)(w + i * PAGE) != i;
	t_is(wrong, 0, "and is done then");
	t_is(faults, 1000, "reading is none");
	e[700].flags = 64;
	t_is(nomux_mem_protect(mem, e, 1000), 700, "the 701st is bad: 700 are done");
	t_is(nomux_mem_protect(mem, e + 700, 1), -EOPNOTSUPP, "which says why");
	nomux_mem_put(mem);
	free(e);
}

static void test_query(void)
{
	size_t pages = (NOM_QUERY_MAX + 8 * HUGE) / PAGE;	/* two system calls */
	uint64_t *dirty = calloc(pages / 64, 8), *young = calloc(pages / 64, 8);
	struct nomux_mem_bits bits = { .young = young, .dirty = dirty };
	unsigned int i, wrong = 0;

	fresh(HUGE, pages * PAGE);
	for (i = 0; i < 8; i++)
		T_NEED(one(nomux_mem_map, w + i * (pages / 8 - 1) * PAGE, i * PAGE, PAGE, RW | NOM_MAP_TRACK));
	for (i = 0; i < 8; i += 2)
		*(volatile char *)(w + i * (pages / 8 - 1) * PAGE) = 1;
	*(volatile char *)(w + (pages / 8 - 1) * PAGE);
	t_is(nomux_mem_query(mem, w, pages * PAGE, NOM_QUERY_CLEAR_DIRTY, &bits), 0, "ask about more than 1 GiB");
	t_ok(bits.nr_mapped == 8 && bits.nr_young == 5 && bits.nr_dirty == 4, "8 mapped, 5 young, 4 dirty");
	for (i = 0; i < 8; i++) {
		size_t p = i * (pages / 8 - 1);

		wrong += (dirty[p / 64] >> p % 64 & 1) != !(i & 1);
		wrong += (young[p / 64] >> p % 64 & 1) != (i < 2 || !(i & 1));
	}
	t_is(wrong, 0, "the bits are where they should be");
	t_is(nomux_mem_query(mem, w, pages * PAGE, 0, &bits), 0, "ask again");
	t_ok(bits.nr_dirty == 0 && bits.nr_young == 5, "dirty has been cleared");
	bits.young = bits.dirty = NULL;
	*(volatile char *)w = 1;
	t_is(nomux_mem_query(mem, w, pages * PAGE, 0, &bits), 0, "for the numbers alone");
	t_is(bits.nr_dirty, 1, "one");
	t_is(nomux_mem_query(mem, w, (pages + 1) * PAGE, 0, &bits), -EFAULT, "beyond the window");
	t_is(nomux_mem_query(mem, w + PAGE, PAGE, 0, &bits), -EINVAL, "not from a multiple of 2 MiB");
	nomux_mem_put(mem);
	free(dirty), free(young);
}

static void test_promote(void)
{
	fresh(2 * HUGE, 2 * HUGE);
	T_NEED(one(nomux_mem_map, w, 0, 2 * HUGE, RW));
	w[HUGE + 77] = 77;
	t_is(one(nomux_mem_promote, w, 0, 2 * HUGE, 0), 1, "promote 4 MiB");
	t_is(one(nomux_mem_unmap, w, 0, PAGE, 0), -EINVAL, "a page is a part of something now");
	t_is(w[HUGE + 77], 77, "the memory is the same");
	t_is(one(nomux_mem_demote, w, 0, HUGE, 0), 1, "demote the first half");
	t_is(one(nomux_mem_unmap, w, 0, PAGE, 0), 1, "a page can go");
	t_is(one(nomux_mem_promote, w, 0, HUGE, 0), -ENOENT, "not promoted with a hole");
	t_is(one(nomux_mem_promote, w, 0, HUGE, NOM_MAP_FILL), 1, "but with the hole filled");
	nomux_mem_put(mem);
}

/* --- colours --- */

/* Page frame number behind an address, 0: not told. */
static uint64_t pfn_of(const void *va)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	if (pread(fd, &entry, 8, (off_t)((uintptr_t)va / PAGE * 8)) != 8 || !(entry >> 63))
		entry = 0;
	close(fd);
	return entry & ((1ULL << 55) - 1);
}

static void test_colours(void)
{
	struct nomux_colours c;
	unsigned int i, wrong = 0, shown = 0;
	volatile char *view;
	uint64_t offset = 0;

	fresh(4 * HUGE, 8 * HUGE);
	view = nomux__mem_dma_view(mem);
	for (i = 0; i < 4 * HUGE; i += 37 * PAGE) {
		uint64_t pfn;

		view[i] = 1;
		pfn = pfn_of((const char *)view + i);
		shown += pfn != 0;
		wrong += pfn && pfn % 512 != nomux_colour(i, 512);
	}
	t_ok(shown && !wrong, "an offset tells a page's colour: %u physical page numbers", shown);

	/* each page gets its offset's number, by the view */
	for (i = 0; i < 4 * HUGE; i += PAGE)
		*(volatile uint32_t *)(volatile void *)(view + i) = i / PAGE;
	T_NEED(nomux_colours_only(&c, 16, 4, 4));
	t_is(nomux_mem_map_colours(mem, w, 300 * PAGE, &offset, &c, RW), 0, "300 pages of 4 colours of 16");
	for (i = 0, wrong = 0; i < 300; i++) {
		uint32_t page = *(volatile uint32_t *)(void *)(w + i * PAGE);

		wrong += page != i / 4 * 16 + 4 + i % 4;
	}
	t_is(wrong, 0, "they are the first of these, in order, without a gap");
	t_is(offset, (299 / 4 * 16 + 4 + 299 % 4 + 1) * PAGE, "and the next would be behind the last");
	t_is(nomux_mem_map_colours(mem, w + 4 * HUGE, 213 * PAGE, &offset, &c, RW), -ENOSPC,
	     "213 more are too many");
	t_is(nomux_mem_map_colours(mem, w + 4 * HUGE, 212 * PAGE, &offset, &c, RW), 0, "212 are not");
	t_is(*(volatile uint32_t *)(void *)(w + 4 * HUGE), 1200 + 4, "the first of them");
	offset = 0;
	t_is(nomux_mem_map_colours(mem, w + 100 * PAGE, 300 * PAGE, &offset, &c, RW), -EEXIST,
	     "where something is mapped");
	t_is(offset, 0, "nothing is used");
	t_is(one(nomux_mem_unmap, w + 200 * PAGE, 0, PAGE, 0), 1, "(a hole)");
	t_is(nomux_mem_map_colours(mem, w + 200 * PAGE, 2 * PAGE, &offset, &c, RO), -EEXIST,
	     "where the second is in the way");
	faults = 0;
	t_is(one(nomux_mem_map, w + 200 * PAGE, 0, PAGE, RW), 1, "the first was not left behind");
	munmap((void *)(uintptr_t)view, 4 * HUGE);
	nomux_mem_put(mem);
}

/* --- returned, because somebody asks --- */

static volatile unsigned int notices;

static void give_what_is_asked(unsigned int event, uint64_t count, void *arg)
{
	struct nom_board_reclaim r;
	uint64_t *next = arg;

	notices += count;
	while (!nomux_board_reclaim(nom, nomux_mem_id(mem), &r)) {
		if (one(nomux_mem_return, NULL, *next, HUGE, 0) != 1)
			return;
		*next += HUGE;
	}
}

static void test_return(void)
{
	uint64_t held[1] = { 0 }, next = HUGE;
	struct nom_mem_info info = { .held = (uintptr_t)held, .nr_held = 1 };
	char command[96];

	fresh(6 * HUGE, 6 * HUGE);
	T_NEED(one(nomux_mem_map, w, 0, 6 * HUGE, RW | NOM_MAP_HUGE));
	t_is(one(nomux_mem_return, NULL, 0, HUGE, 0), 1, "return the first 2 MiB of 12");
	t_is(nomux_mem_info(mem, &info), 0, "ask what is left");
	t_ok(info.out_bytes == 5 * HUGE && held[0] == 0x3e && info.out_id == nomux_mem_id(mem),
	     "all but the first");
	t_is(one(nomux_mem_map, w, 0, HUGE, RW | NOM_MAP_HUGE), -ENXIO, "that cannot be mapped");
	T_NEED(nomux_on_event(core, 5, give_what_is_asked, &next));
	T_NEED(nomux_subscribe(core, 5, 1ULL << NOM_BOARD_RECLAIM));
	snprintf(command, sizeof(command), "nomctl memory reclaim %llu 4 --deadline 60000 >/dev/null",
		 (unsigned long long)nomux_mem_id(mem));
	t_is(system(command), 0, "nomctl asks for 4 MiB, within a minute");
	nomux_mask(core);
	while (!notices)
		nomux_wait(core, 10000000);
	nomux_unmask(core);
	t_is(nomux_mem_info(mem, &info), 0, "an upcall later");
	t_ok(info.out_bytes == 3 * HUGE && held[0] == 0x38 && !info.out_wanted,
	     "the handler has returned the two it liked best");
	w[4 * HUGE] = 1;
	t_is(w[4 * HUGE], 1, "the rest is as it was");
	nomux_subscribe(core, 5, 0);
	nomux_mem_put(mem);
}

int main(void)
{
	t_start(120);
	if (access(NOM_DEVICE_PATH, F_OK)) {
		printf("1..0 # SKIP no %s\n", NOM_DEVICE_PATH);
		return T_SKIP;
	}
	T_NEED(nomux_open(&nom));
	T_NEED(nomux_core_claim(nom, NULL, &core));
	T_NEED(nomux_on_trap(core, 14, make_writable, NULL));
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
	test_nodes();
	test_protect();
	test_query();
	test_promote();
	test_colours();
	test_return();
	nomux_core_release(core);
	nomux_close(nom);
	return t_end();
}
