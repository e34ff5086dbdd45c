// SPDX-License-Identifier: MIT
/* nom-fuzz: the values of arguments.  See fuzz.h. */
#include <linux/nom.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include "fuzz.h"

static uint32_t nic_bdf;
static unsigned int nr_cpus;
char fz_paths[64][128];
unsigned int fz_nr_paths;
char fz_mmio[NOM_MMIO_NAME_MAX];

void fz_values_init(uint32_t bdf, unsigned int cpus)
{
	nic_bdf = bdf;
	nr_cpus = cpus;
}

static const uint64_t junk[] = {
	0, 1, 2, 7, 8, 63, 64, 65, 127, 4095, 4096, 4097, 0x7fff, 0x10000, 0x1fffff, 0x200000,
	0x7fffffff, 0x80000000, 0xffffffff, 1ULL << 32, 1ULL << 40, (1ULL << 47) - 4096, 1ULL << 47,
	0x7fffffffffffffff, 0x8000000000000000, 0xffff800000000000, 0xffffffff81000000, 0xfffffffffffff000,
	0xffffffffffffffff,
};

static uint64_t any(struct fz_rng *r)
{
	uint64_t v = junk[fz_below(r, sizeof(junk) / sizeof(junk[0]))];

	if (fz_percent(r, 20))
		v = fz_rand(r) >> fz_below(r, 64);
	return v;
}

/*
 * Descriptors: a slot; with bit 8 one of another kind (bits 4-7); with bit 9 junk.
 * Addresses: region, page << 8, odd bytes << 32; with bit 63 the address itself.
 */
#define OTHER_KIND	0x100
#define JUNK_FD		0x200
#define LITERAL		(1ULL << 63)

uint64_t fz_value_make(const struct fz_field *f, struct fz_rng *r)
{
	switch (f->kind) {
	case K_NOM: case K_CORE: case K_GRANT: case K_EVENTFD: case K_NETLINK: case K_MMIO:
		if (fz_percent(r, 4))
			return OTHER_KIND | (1 + fz_below(r, K_NR_FDS - 1)) << 4 | fz_below(r, FZ_SLOTS);
		if (fz_percent(r, 1))
			return JUNK_FD;
		return fz_below(r, 3);
	case K_FD:
		return OTHER_KIND | (1 + fz_below(r, K_NR_FDS - 1)) << 4 | fz_below(r, 3);
	case K_MODE:
		return fz_percent(r, 88) ? 0 : fz_below(r, 12);
	case K_FLAGS:
		if (fz_percent(r, 5))
			return any(r);
		return fz_rand(r) & f->param;
	case K_SMALL:
		return fz_percent(r, 4) ? any(r) : fz_below(r, f->param);
	case K_EVENT:
		/* few, so that what unbinds, masks or posts meets what was bound */
		return fz_percent(r, 6) ? any(r) : fz_below(r, fz_percent(r, 60) ? 2 : NOM_NR_EVENTS);
	case K_CPU:
		if (fz_percent(r, 60))
			return NOM_CPU_ANY;
		return fz_percent(r, 6) ? any(r) : fz_below(r, nr_cpus + 1);
	case K_HANDLE:
		if (fz_percent(r, 85))
			return fz_below(r, FZ_SLOTS);
		return LITERAL | (1 + fz_below(r, 8)) << 16 | fz_below(r, nr_cpus);
	case K_NS:
		return fz_percent(r, 8) ? any(r) : fz_below(r, 2000000) * fz_below(r, 2);
	case K_DEADLINE:	/* so long from when it runs; 0: none */
		return fz_percent(r, 4) ? 0 : fz_below(r, 100000000);
	case K_CHUNKS:
		return fz_percent(r, 8) ? any(r) : FZ_CHUNK * (1 + fz_below(r, fz_percent(r, 90) ? 4 : 128));
	case K_BDF:
		return fz_percent(r, 85) ? nic_bdf : any(r);
	case K_GRANT_OFFSET:
		return fz_percent(r, 8) ? any(r) : FZ_CHUNK * fz_below(r, 4);
	case K_ADDR:
		if (fz_percent(r, 4))
			return LITERAL | any(r);
		return fz_below(r, 4) | (fz_percent(r, 50) ? 0 : fz_below(r, 1024)) << 8 |
		       (fz_percent(r, 90) ? 0 : fz_below(r, 4096)) << 32;
	case K_LEN:
		if (fz_percent(r, 8))
			return any(r);
		if (fz_percent(r, 40))
			return FZ_CHUNK * (1 + fz_below(r, 4));
		return FZ_PAGE << fz_below(r, 8);
	case K_PROT:
		return fz_percent(r, 4) ? any(r) : fz_percent(r, 60) ? PROT_READ | PROT_WRITE : fz_below(r, 8);
	case K_BUFFER:
		return fz_percent(r, 92) ? fz_below(r, 2) : 2 + fz_below(r, 3);
	case K_UPCALL_ADDR:	/* 0: as it should be */
		return fz_percent(r, 94) ? 0 : 1 + fz_below(r, 8);
	case K_PATH: case K_SEED: case K_ENTRIES: case K_NAME:
		return fz_rand(r);
	default:
		return any(r);
	}
}

void fz_keep_fd(struct fz_run *run, enum fz_kind kind, int fd)
{
	if (kind < K_NR_FDS && fd >= 0)
		run->fd[kind][run->next_fd[kind]++ % FZ_SLOTS] = fd;
}

void fz_keep_region(struct fz_run *run, void *addr, size_t bytes, enum fz_kind kind, int fd)
{
	struct fz_region *region = &run->region[__atomic_fetch_add(&run->next_region, 1, __ATOMIC_RELAXED) % FZ_REGIONS];

	*region = (struct fz_region){ addr, bytes, kind, fd };
}

/* The slot'th of that kind, or else any of it; NULL: none.  K_NONE: of any kind. */
struct fz_region *fz_find_region(struct fz_run *run, enum fz_kind kind, unsigned int slot)
{
	struct fz_region *last = NULL;
	unsigned int i;

	for (i = 0; i < FZ_REGIONS; i++) {
		if (!run->region[i].addr || (kind != K_NONE && run->region[i].kind != kind))
			continue;
		last = &run->region[i];
		if (!slot--)
			break;
	}
	return last;
}

static int fd_of(struct fz_run *run, enum fz_kind kind, uint64_t v)
{
	unsigned int i;

	if (v & JUNK_FD)
		return -1;
	if (v & OTHER_KIND)
		kind = (v >> 4 & 15) % K_NR_FDS;
	for (i = 0; i < FZ_SLOTS; i++)
		if (run->fd[kind][(v + i) % FZ_SLOTS] > 0)
			return run->fd[kind][(v + i) % FZ_SLOTS];
	return -1;
}

static uint64_t addr_of(struct fz_run *run, enum fz_kind kind, uint64_t v)
{
	struct fz_region *region;

	if (v & LITERAL)
		return v & ~LITERAL;
	region = fz_find_region(run, kind, v & 0xff);
	if (!region)
		return 0;
	return (uintptr_t)region->addr + (v >> 8 & 0xffffff) * FZ_PAGE % region->bytes + (v >> 32 & 0xfff);
}

static uint64_t upcall_addr_of(struct fz_thread *t, uint64_t which, uint64_t v)
{
	const uint64_t good[] = {
		(uintptr_t)fz_upcall_entry, (uintptr_t)t->stack, (uintptr_t)t->stack + 65536,
		(uintptr_t)fz_restart_start, (uintptr_t)fz_restart_end, (uintptr_t)fz_restart_abort,
	};

	switch (v) {
	case 0:
		return good[which];
	case 1:
		return good[which] + 8;
	case 2:
		return good[which] + (1 << 20);		/* probably not mapped */
	case 3:
		return 0;
	case 4:
		return (1ULL << 47) - 4096;
	case 5:
		return 0xffffffff81000000;
	case 6:
		return addr_of(t->run, K_NONE, 1);
	case 7:
		return (uintptr_t)t->hole;
	default:
		return good[which ^ 1];
	}
}

/*
 * Pages of 4 KiB or 2 MiB: few places, so that pieces meet; around the end of a page
 * table; sometimes anywhere.
 */
static uint64_t place(struct fz_rng *r, bool huge)
{
	if (huge)
		return fz_below(r, 4);
	if (fz_percent(r, 60))
		return fz_below(r, 6);
	return fz_percent(r, 70) ? 508 + fz_below(r, 8) : fz_below(r, 2048);
}

/**
 * fz_map_entries - the array that a K_ENTRIES argument stands for
 *
 * Mostly pages of a window of this process, so that most are carried out.
 */
unsigned int fz_map_entries(struct fz_thread *t, uint64_t seed, uint64_t what, struct nom_map_entry *e, unsigned int max)
{
	struct fz_rng r = { seed };
	unsigned int i, nr = fz_percent(&r, 80) ? 1 + fz_below(&r, 3) : fz_below(&r, max + 1);
	bool huge;

	for (i = 0; i < nr; i++) {
		struct fz_region *w = fz_find_region(t->run, K_GRANT, fz_below(&r, 3));
		uint64_t align;

		huge = fz_percent(&r, 35);
		align = huge ? FZ_CHUNK : FZ_PAGE;
		e[i] = (struct nom_map_entry){
			.va = (w ? (uintptr_t)w->addr : 0) + place(&r, huge) * align,
			.offset = place(&r, huge) * align,
			.bytes = align * (fz_percent(&r, 80) ? 1 + fz_below(&r, 4) : place(&r, huge)),
			.flags = NOM_MAP_READ | (fz_rand(&r) & NOM_MAP_WRITE) | (huge ? NOM_MAP_HUGE : 0),
		};
#ifdef NOM_MAP_TRACK
		if (fz_percent(&r, 20))
			e[i].flags |= fz_percent(&r, 50) ? NOM_MAP_TRACK : NOM_MAP_FILL;
#endif
		if (what == FZ_PIECES_OF_GRANT)
			e[i] = (struct nom_map_entry){ .offset = fz_below(&r, 4) * FZ_CHUNK, .bytes = FZ_CHUNK };
		if (fz_percent(&r, 3))
			e[i].flags ^= 1U << fz_below(&r, 32);
		if (fz_percent(&r, 2))
			e[i].va = any(&r);
		if (fz_percent(&r, 2))
			e[i].offset = any(&r);
		if (fz_percent(&r, 2))
			e[i].bytes = any(&r);
		if (fz_percent(&r, 1))
			e[i].reserved = 1;
	}
	return nr;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/* Mostly as it should be; without an end, one that does not exist, none. */
void fz_name_of(uint64_t v, char *out, unsigned int bytes)
{
	memset(out, 0, bytes);
	switch (v % 16) {
	case 0:
		memset(out, 'x', bytes);
		break;
	case 1:
		memcpy(out, "reg-dummy", sizeof("reg-dummy"));
		break;
	case 2:
		break;
	default:
		memcpy(out, fz_mmio, bytes < sizeof(fz_mmio) ? bytes : sizeof(fz_mmio));
	}
}

static uint64_t buffer_of(struct fz_thread *t, uint64_t v)
{
	switch (v) {
	case 1:
		return (uintptr_t)t->buffer;
	case 2:
		return (uintptr_t)t->hole - 8;
	case 3:
		return 0xffff888000000000;
	case 4:
		return (uintptr_t)t->read_only;
	default:
		return 0;
	}
}

uint64_t fz_value_of(struct fz_thread *t, const struct fz_field *f, uint64_t v)
{
	switch (f->kind) {
	case K_NOM: case K_CORE: case K_GRANT: case K_EVENTFD: case K_NETLINK: case K_MMIO: case K_FD:
		return fd_of(t->run, f->kind, v);
	case K_HANDLE:
		return v & LITERAL ? v & ~LITERAL : t->run->handle[v % FZ_SLOTS];
	case K_ADDR:
		return addr_of(t->run, f->param, v);
	case K_BUFFER:
		return buffer_of(t, v);
	case K_DEADLINE:
		return v ? now_ns() + v : 0;
	case K_UPCALL_ADDR:
		return upcall_addr_of(t, f->param, v);
	default:
		return v;
	}
}
