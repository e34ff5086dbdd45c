// SPDX-License-Identifier: MIT
/*
 * kmod_costs: what nom.ko's calls cost, in guest instructions; run by kmod_map, in a
 * guest whose clock counts instructions (-icount shift=0).  Prints "name median".
 * The fault handler here is the least there can be: one call, one entry.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "../system/lib/kmod.h"

enum { RUNS = 1000, ARRAY = 64 };

static struct nom_map_entry entry[ARRAY];
static struct nom_mem_map map = { .size = sizeof(map), .nr = 1 };
static char *window;
static int grant;
static uint64_t took[RUNS];

static inline uint64_t now(void)
{
	uint32_t lo, hi;

	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi) :: "memory");
	return (uint64_t)hi << 32 | lo;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void report(const char *name, unsigned int runs)
{
	qsort(took, runs, sizeof(took[0]), by_value);
	printf("%s %lu\n", name, (unsigned long)took[runs / 2]);
}

K_HANDLER static int pager(struct nom_frame *f)
{
	if (f->vector != 14)
		return 1;
	entry[0].va = f->cr2 & ~(PAGE - 1);
	return k_sys3(SYS_ioctl, grant, NOM_MEM_MAP, (long)&map) != 0;
}

static long call(unsigned long cmd)
{
	return k_sys3(SYS_ioctl, grant, cmd, (long)&map);
}

static void check(long ret, const char *what)
{
	if (ret)
		t_bail("%s: %ld", what, ret);
}

static void single(void)
{
	unsigned int i;

	for (i = 0; i < RUNS; i++) {
		entry[0].va = (uintptr_t)window + 64 * MIB + i * PAGE;
		took[i] = now();
		check(call(NOM_MEM_MAP), "map");
		took[i] = now() - took[i];
	}
	report("map-4k", RUNS);
	for (i = 0; i < RUNS; i++) {
		entry[0].va = (uintptr_t)window + 64 * MIB + i * PAGE;
		took[i] = now();
		check(call(NOM_MEM_UNMAP), "unmap");
		took[i] = now() - took[i];
	}
	report("unmap-4k", RUNS);
}

static void array(void)
{
	unsigned int i, k;

	map.nr = ARRAY;
	for (k = 0; k < 15; k++) {
		for (i = 0; i < ARRAY; i++)
			entry[i] = (struct nom_map_entry){
				.va = (uintptr_t)window + 96 * MIB + (k * ARRAY + i) * PAGE,
				.offset = i * PAGE, .bytes = PAGE, .flags = NOM_MAP_READ | NOM_MAP_WRITE };
		took[k] = now();
		check(call(NOM_MEM_MAP), "map an array");
		took[k] = (now() - took[k]) / ARRAY;
	}
	report("map-4k-of-64", 15);
	map.nr = 1;
}

static void huge(void)
{
	unsigned int k;

	for (k = 0; k < 15; k++) {
		entry[0] = (struct nom_map_entry){
			.va = (uintptr_t)window + 128 * MIB + k * 8 * MIB, .bytes = 8 * MIB,
			.flags = NOM_MAP_READ | NOM_MAP_WRITE | NOM_MAP_HUGE };
		took[k] = now();
		check(call(NOM_MEM_MAP), "map 2 MiB entries");
		took[k] = now() - took[k];
	}
	report("map-8m-huge", 15);
}

/* Of what is mapped: 512 pages from 48 MiB on. */
static void changes(void)
{
	struct nom_mem_query q = { .size = sizeof(q), .bytes = 2 * MIB,
				   .flags = NOM_QUERY_CLEAR_YOUNG | NOM_QUERY_CLEAR_DIRTY };
	static uint64_t dirty[8];
	unsigned int i, k;

	entry[0] = (struct nom_map_entry){ .va = (uintptr_t)window + 48 * MIB, .bytes = 2 * MIB,
					   .flags = NOM_MAP_READ | NOM_MAP_WRITE };
	check(call(NOM_MEM_MAP), "map");
	q.va = entry[0].va;
	q.dirty = (uintptr_t)dirty;
	entry[0].bytes = PAGE;
	for (i = 0; i < 512; i++) {
		entry[0].va = (uintptr_t)window + 48 * MIB + i * PAGE;
		entry[0].flags = NOM_MAP_READ;
		took[i] = now();
		check(call(NOM_MEM_PROTECT), "protect");
		took[i] = now() - took[i];
	}
	report("protect-4k", 512);
	entry[0] = (struct nom_map_entry){ .va = q.va, .bytes = 2 * MIB,
					   .flags = NOM_MAP_READ | NOM_MAP_WRITE };
	for (k = 0; k < 15; k++) {
		took[k] = now();
		check(call(NOM_MEM_PROTECT), "protect 2 MiB");
		took[k] = (now() - took[k]) / 512;
	}
	report("protect-4k-of-512", 15);
	for (k = 0; k < 15; k++) {
		for (i = 0; i < 512; i++)
			*(volatile char *)(q.va + i * PAGE) = 1;
		took[k] = now();
		check(k_sys3(SYS_ioctl, grant, NOM_MEM_QUERY, (long)&q), "query");
		took[k] = (now() - took[k]) / 512;
	}
	report("query-4k-of-512", 15);
	entry[0].flags = 0;
	for (k = 0; k < 15; k++) {
		took[k] = now();
		check(call(NOM_MEM_PROMOTE), "promote");
		took[k] = now() - took[k];
		check(call(NOM_MEM_DEMOTE), "demote");
	}
	report("promote", 15);
}

static void faults(void)
{
	unsigned int i;

	entry[0] = (struct nom_map_entry){ .bytes = PAGE, .flags = NOM_MAP_READ | NOM_MAP_WRITE };
	for (i = 0; i < RUNS; i++) {
		took[i] = now();
		*(volatile char *)(window + i * PAGE) = 1;
		took[i] = now() - took[i];
	}
	report("fault-and-map-write", RUNS);
	for (i = 0; i < RUNS; i++) {
		took[i] = now();
		(void)*(volatile char *)(window + 32 * MIB + i * PAGE);
		took[i] = now() - took[i];
	}
	report("fault-and-map-read", RUNS);
}

int main(void)
{
	int nom = k_open(O_RDWR);
	struct k_lease l;

	check(k_claim(nom, NOM_CPU_ANY, 0, &l), "claim");
	grant = k_grant(nom, 8 * MIB);
	window = k_window(grant, 256 * MIB, PROT_READ | PROT_WRITE);
	if (grant < 0 || window == MAP_FAILED)
		t_bail("no grant or no window");
	map.entries = (uintptr_t)entry;
	k_on_trap = pager;
	check(k_enter(&l, 1ULL << 14), "enter");
	faults();
	single();
	array();
	huge();
	changes();
	return 0;
}
