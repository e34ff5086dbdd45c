// SPDX-License-Identifier: MIT
/*
 * kmod_mem: grants of reserved memory - how much, whose, with what in it - and
 * windows: what can be mapped where, what a touch of the rest does, and all the
 * things the kernel offers to do to an address range that a window refuses.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include "lib/kmod.h"

#define RW	(NOM_MAP_READ | NOM_MAP_WRITE)
#define RO	NOM_MAP_READ
#define HUGE	NOM_MAP_HUGE

static int nom;
static const struct nom_board *board;

static int call(void *p)
{
	int sig = sigsetjmp(k_out, 1);

	if (sig)
		return -sig;
	return ((int (*)(void))p)();
}

static struct nom_board_memory memory(void)
{
	struct nom_board_memory m;

	if (k_board_read(board, NOM_BOARD_MEMORY, 0, &m, sizeof(m)))
		t_bail("the board cannot be read");
	return m;
}

/* --- grants --- */

static void exhaust(void)
{
	struct nom_board_memory m = memory();
	unsigned int nr = m.total_bytes / CHUNK, i, got = 0;
	int *fds = calloc(nr + 1, sizeof(int)), fd;

	t_ok(m.free_bytes == m.total_bytes, "all memory is free: %llu MiB",
	     (unsigned long long)m.free_bytes >> 20);
	t_eq(k_grant(nom, m.total_bytes + CHUNK), -ENOMEM, "more than there is");
	for (i = 0; i <= nr; i++) {
		fds[i] = k_grant(nom, CHUNK);
		if (fds[i] < 0)
			break;
		got++;
	}
	t_eq(got, nr, "2 MiB at a time: all of it");
	t_eq(fds[got], -ENOMEM, "then no more");
	t_eq(memory().free_bytes, 0, "the board says none is free");
	t_ok(memory().granted_bytes == m.total_bytes, "the board says all is granted");

	/* two chunks far from each other are one grant */
	close(fds[0]);
	close(fds[nr - 1]);
	fd = k_grant(nom, 2 * CHUNK);
	t_ok(fd >= 0, "two pieces make one grant");
	close(fd);
	for (i = 1; i < nr - 1; i++)
		close(fds[i]);
	t_ok(memory().free_bytes == m.total_bytes, "all is free again");
	fd = k_grant(nom, m.total_bytes);
	t_ok(fd >= 0, "all of it in one grant");
	close(fd);
	free(fds);
}

/* Of this machine's nodes; kmod_numa has one with two. */
static void nodes(void)
{
	struct nom_mem_grant g = { .size = sizeof(g), .flags = NOM_GRANT_NODE };
	struct nom_board_memory m = memory();
	int first, fd;

	g.bytes = m.total_bytes;
	t_eq(k_ioctl(nom, NOM_MEM_GRANT, &g), 0, "all memory of node 0");
	t_ok(g.out_id, "the grant has a number");
	close(g.out_grant_fd);
	g.node = 1;
	g.bytes = CHUNK;
	t_eq(k_ioctl(nom, NOM_MEM_GRANT, &g), -ENOMEM, "memory of a node without any");

	/* the rest of node 0 is in two pieces */
	g.node = 0;
	first = k_grant(nom, CHUNK);
	fd = k_grant(nom, CHUNK);
	close(first);
	g.bytes = m.total_bytes - CHUNK;
	t_eq(k_ioctl(nom, NOM_MEM_GRANT, &g), 0, "two pieces of node 0 make a grant");
	t_eq(k_grant(nom, CHUNK), -ENOMEM, "then nothing is left");
	close(fd), close(g.out_grant_fd);
	t_ok(memory().free_bytes == m.total_bytes, "all is free again");
}

static int fill_all(void *unused)
{
	uint64_t bytes = memory().total_bytes, i;
	int grant = k_grant(nom, bytes);
	char *w = k_window(grant, bytes, PROT_READ | PROT_WRITE);

	if (grant < 0 || w == MAP_FAILED || k_map1(grant, w, 0, bytes, RW | HUGE))
		return 1;
	for (i = 0; i < bytes; i += 512)
		*(uint64_t *)(w + i) = 0x5ec2e7;
	return 0;
}

static void zeroed(void)
{
	uint64_t bytes = memory().total_bytes, i, dirty = 0;
	char *w;
	int grant;

	t_eq(t_child(fill_all, NULL), 0, "a process writes to all memory and exits");
	grant = k_grant(nom, bytes);
	w = k_window(grant, bytes, PROT_READ);
	t_eq(k_map1(grant, w, 0, bytes, RO | HUGE), 0, "the next maps all of it");
	for (i = 0; i < bytes; i += 64)
		dirty += *(volatile uint64_t *)(w + i) != 0;
	t_eq(dirty, 0, "and finds zeros");
	munmap(w, bytes);
	close(grant);
}

static int grant_for_ever(void *unused)
{
	for (;;)
		close(k_grant(nom, memory().total_bytes));
	return 0;
}

/* Most of these die while their memory is being zeroed. */
static void killed_on_the_way(void)
{
	uint64_t before = memory().free_bytes;
	unsigned int i, ended = 0, back = 0;
	pid_t pid;

	for (i = 0; i < 20; i++) {
		pid = t_spawn(grant_for_ever, NULL);
		t_sleep_ms(3 + 7 * i);
		kill(pid, SIGKILL);
		ended += t_reap(pid) == 128 + SIGKILL;
		back += memory().free_bytes == before;
	}
	t_eq(ended, 20, "twenty processes killed while memory is granted to them");
	t_eq(back, 20, "each time it came back at once");
}

static void references(void)
{
	uint64_t before = memory().free_bytes;
	int grant = k_grant(nom, CHUNK);
	char *w = k_window(grant, PAGE, PROT_READ | PROT_WRITE), *view;

	t_eq(k_map1(grant, w, 0, PAGE, RW), 0, "map");
	view = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, grant, NOM_GRANT_MMAP_DMA);
	close(grant);
	w[5] = 7;
	t_eq(view[5], 7, "a closed grant: window and view still show it");
	t_ok(memory().free_bytes == before - CHUNK, "and it is not free");
	munmap(w, PAGE);
	t_ok(memory().free_bytes == before - CHUNK, "nor is it with the view alone");
	munmap(view, PAGE);
	t_ok(memory().free_bytes == before, "the last mapping gives it back");
}

/* --- windows --- */

static void small(void)
{
	int grant = k_grant(nom, 2 * CHUNK);
	char *w = k_window(grant, 4 * CHUNK, PROT_READ | PROT_WRITE), *v;
	unsigned int i, wrong = 0;

	t_ok(w != MAP_FAILED, "a window of twice the grant");
	t_ok(k_window(grant, NOM_GRANT_MMAP_DMA + PAGE, PROT_READ) == MAP_FAILED && errno == EINVAL,
	     "no window of more than 1 TiB");
	t_eq((uintptr_t)w % CHUNK, 0, "it is aligned to 2 MiB");
	t_eq(k_touch(w, false), SIGBUS, "read where nothing is mapped");
	t_eq(k_touch(w, true), SIGBUS, "write where nothing is mapped");
	t_eq(k_map1(grant, w, 0, PAGE, RW), 0, "map the first page");
	t_eq(k_touch(w, true), 0, "write there");
	t_eq(w[0], 1, "what is written is there");
	t_eq(k_touch(w + PAGE, false), SIGBUS, "the page after it is not");
	t_eq(k_map1(grant, w, PAGE, PAGE, RW), -EEXIST, "map over it");
	t_eq(k_map1(grant, w + 3 * PAGE, 0, PAGE, RW), 0, "map the page a second time");
	t_eq(w[3 * PAGE], 1, "it is the same page");
	t_eq(k_unmap1(grant, w, PAGE, 0), 0, "unmap the first");
	t_eq(k_touch(w, false), SIGBUS, "it is gone");
	t_eq(w[3 * PAGE], 1, "the second stays");
	t_eq(k_unmap1(grant, w, CHUNK, 0), 0, "unmap more than is mapped");
	t_eq(k_touch(w + 3 * PAGE, false), SIGBUS, "it is gone");
	t_eq(k_unmap1(grant, w, CHUNK, 0), 0, "unmap what is not mapped");

	/* every page of the grant, in reverse, across two page tables */
	for (i = 0; i < 1024; i++)
		wrong += k_map1(grant, w + CHUNK - 64 * PAGE + i * PAGE, (1023 - i) * PAGE, PAGE, RW) != 0;
	for (i = 0; i < 1024; i++)
		*(uint32_t *)(w + CHUNK - 64 * PAGE + i * PAGE + 8) = 1023 - i;
	t_eq(wrong, 0, "1024 pages, in reverse order");
	v = k_window(grant, 2 * CHUNK, PROT_READ);
	t_eq(k_map1(grant, v, 0, 2 * CHUNK, RO), 0, "another window, in order, by one entry");
	for (i = 0; i < 1024; i++)
		wrong += *(uint32_t *)(v + i * PAGE + 8) != i;
	t_eq(wrong, 0, "every page is the one meant");

	/* an entry that fails in its middle leaves nothing */
	t_eq(k_unmap1(grant, v, 2 * CHUNK, 0), 0, "unmap");
	t_eq(k_map1(grant, v + CHUNK + 7 * PAGE, 0, PAGE, RO), 0, "one page in the way");
	t_eq(k_map1(grant, v, 0, 2 * CHUNK, RO), -EEXIST, "map across it");
	t_eq(k_touch(v, false), SIGBUS, "whole or not at all: the beginning is not there");
	t_eq(k_touch(v + CHUNK + 6 * PAGE, false), SIGBUS, "nor is what is just before it");
	t_eq(k_touch(v + CHUNK + 7 * PAGE, false), 0, "what was there is");
	munmap(v, 2 * CHUNK);
	munmap(w, 4 * CHUNK);
	close(grant);
}

static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 };	/* mov $42, %eax; ret */

static void huge(void)
{
	int grant = k_grant(nom, 2 * CHUNK);
	char *w = k_window(grant, 4 * CHUNK, PROT_READ | PROT_WRITE);
	char *x = k_window(grant, 4 * CHUNK, PROT_READ | PROT_WRITE | PROT_EXEC);
	unsigned int i, wrong = 0;

	t_eq(k_map1(grant, w, 0, CHUNK, RW | HUGE), 0, "map 2 MiB");
	for (i = 0; i < 512; i++)
		*(uint32_t *)(w + i * PAGE) = i + 1;
	t_eq(k_map1(grant, w + 3 * CHUNK, 0, CHUNK, RO), 0, "map the same in 4 KiB entries");
	for (i = 0; i < 512; i++)
		wrong += *(uint32_t *)(w + 3 * CHUNK + i * PAGE) != i + 1;
	t_eq(wrong, 0, "it is the same memory");
	t_eq(k_map1(grant, w, 0, CHUNK, RW | HUGE), -EEXIST, "2 MiB over 2 MiB");
	t_eq(k_map1(grant, w + 5 * PAGE, 0, PAGE, RW), -EEXIST, "4 KiB over 2 MiB");
	t_eq(k_map1(grant, w + 3 * CHUNK, 0, CHUNK, RW | HUGE), -EEXIST, "2 MiB over 4 KiB");
	t_eq(k_unmap1(grant, w + PAGE, PAGE, 0), -EINVAL, "unmap a part of 2 MiB");
	t_eq(k_unmap1(grant, w, CHUNK - PAGE, 0), -EINVAL, "unmap nearly all of it");
	t_eq(k_touch(w + PAGE, true), 0, "it is still there");
	t_eq(k_unmap1(grant, w, CHUNK, 0), 0, "unmap all of it");
	t_eq(k_touch(w + PAGE, true), SIGBUS, "it is gone");

	t_eq(k_map1(grant, w + PAGE, 0, CHUNK, RW | HUGE), -EINVAL, "2 MiB at 4 KiB");
	t_eq(k_map1(grant, w, PAGE, CHUNK, RW | HUGE), -EINVAL, "2 MiB from 4 KiB on");
	t_eq(k_map1(grant, w, 0, PAGE, RW | HUGE), -EINVAL, "4 KiB as 2 MiB");
	t_eq(k_unmap1(grant, w, PAGE, HUGE), -EINVAL, "unmap 4 KiB as 2 MiB");
	t_eq(k_map1(grant, w, CHUNK, CHUNK, RW | HUGE), 0, "the second 2 MiB");
	t_eq(k_map1(grant, w + CHUNK, 0, 2 * CHUNK, RO | HUGE), 0, "two at once, read-only");
	t_eq(*(uint32_t *)(w + CHUNK + 511 * PAGE), 512, "the first of them shows the first");
	t_eq(k_touch(w + CHUNK, true), SIGBUS, "a write there is refused");
	t_eq(k_touch(w + CHUNK, false), 0, "a read is not");

	/* where 4 KiB entries were, their page table is still in the way */
	t_eq(k_unmap1(grant, w + 3 * CHUNK, CHUNK, 0), 0, "unmap 512 small ones");
	t_eq(k_map1(grant, w + 3 * CHUNK, 0, CHUNK, RW | HUGE), 0, "map 2 MiB in their place");
	t_eq(*(uint32_t *)(w + 3 * CHUNK + 100 * PAGE), 101, "it shows the right thing");
	t_eq(k_unmap1(grant, w + 3 * CHUNK, CHUNK, HUGE), 0, "unmap it as it was mapped");
	t_eq(k_touch(w + 3 * CHUNK, false), SIGBUS, "it is gone");

	t_eq(k_map1(grant, x, 0, CHUNK, RW | HUGE), 0, "not executable in an executable window");
	memcpy(x, code, sizeof(code));
	t_eq(call(x), -SIGSEGV, "it cannot be called");
	t_eq(k_unmap1(grant, x, CHUNK, HUGE), 0, "(unmap)");
	t_eq(k_map1(grant, x, 0, CHUNK, RW | HUGE | NOM_MAP_EXEC), 0, "executable there");
	t_eq(call(x), 42, "it can be called");
	t_eq(k_map1(grant, w + 3 * CHUNK, 0, CHUNK, RW | HUGE | NOM_MAP_EXEC), -EPERM,
	     "executable in another window");
	munmap(w, 4 * CHUNK);
	t_eq(k_touch(x, true), 0, "one window ends, the other does not");
	munmap(x, 4 * CHUNK);
	close(grant);
}

static void errors(void)
{
	int grant = k_grant(nom, CHUNK), other = k_grant(nom, CHUNK);
	char *w = k_window(grant, CHUNK, PROT_READ | PROT_WRITE);
	char *r = k_window(grant, CHUNK, PROT_READ), *n = k_window(grant, CHUNK, PROT_NONE);
	char *anon = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct nom_map_entry e = { .va = (uintptr_t)w, .bytes = PAGE, .flags = RW, .reserved = 1 };

	t_eq(k_map(grant, true, &e, 1, NULL), -EINVAL, "map: reserved word");
	t_eq(k_map(grant, false, &e, 1, NULL), -EINVAL, "unmap: reserved word");
	t_eq(k_map1(grant, w, 0, 0, RW), -EINVAL, "map: no bytes");
	t_eq(k_unmap1(grant, w, 0, 0), -EINVAL, "unmap: no bytes");
	t_eq(k_map1(grant, w + 1, 0, PAGE, RW), -EINVAL, "map: address not aligned");
	t_eq(k_map1(grant, w, 1, PAGE, RW), -EINVAL, "map: offset not aligned");
	t_eq(k_map1(grant, w, 0, PAGE + 1, RW), -EINVAL, "map: length not aligned");
	t_eq(k_unmap1(grant, w + 1, PAGE, 0), -EINVAL, "unmap: address not aligned");
	t_eq(k_map1(grant, w, 0, PAGE, 0), -EINVAL, "map: no access at all");
	t_eq(k_map1(grant, w, 0, PAGE, NOM_MAP_WRITE), -EINVAL, "map: write without read");
	t_eq(k_map1(grant, w, 0, PAGE, RW | NOM_MAP_FILL), -EOPNOTSUPP, "map: unknown flag");
	t_eq(k_unmap1(grant, w, PAGE, 1U << 31), -EOPNOTSUPP, "unmap: unknown flag");
	t_eq(k_map1(grant, w, CHUNK, PAGE, RW), -EINVAL, "map: beyond the grant");
	t_eq(k_map1(grant, w, CHUNK - PAGE, 2 * PAGE, RW), -EINVAL, "map: across the grant's end");
	t_eq(k_map1(grant, w, ~0ULL << 12, 2 * PAGE, RW), -EINVAL, "map: offset and length wrap");
	t_eq(k_map1(grant, w, 0, ~0ULL << 12, RW), -EINVAL, "map: 2^64 bytes");
	t_eq(k_unmap1(grant, w, ~0ULL << 12, 0), -EFAULT, "unmap: 2^64 bytes");
	t_eq(k_map1(grant, w + CHUNK - PAGE, 0, 2 * PAGE, RW), -EFAULT, "map: across the window's end");
	t_eq(k_map1(grant, anon, 0, PAGE, RW), -EFAULT, "map: not a window");
	t_eq(k_unmap1(grant, anon, PAGE, 0), -EFAULT, "unmap: not a window");
	t_eq(k_map1(grant, NULL, 0, PAGE, RW), -EFAULT, "map: address 0");
	t_eq(k_map1(grant, (void *)0x7ffffffff000, 0, PAGE, RW), -EFAULT, "map: end of the address space");
	t_eq(k_map1(grant, (void *)0xffff888000000000, 0, PAGE, RW), -EFAULT, "map: a kernel address");
	t_eq(k_map1(grant, (void *)~0xfffUL, 0, PAGE, RW), -EFAULT, "map: the last page of all");
	t_eq(k_map1(other, w, 0, PAGE, RW), -EFAULT, "map: another grant's window");
	t_eq(k_map1(grant, r, 0, PAGE, RW), -EPERM, "map: write in a read-only window");
	t_eq(k_map1(grant, w, 0, PAGE, RO | NOM_MAP_EXEC), -EPERM, "map: exec in one that is not");
	t_eq(k_map1(grant, n, 0, PAGE, RO), -EPERM, "map: read in a window without access");
	t_eq(k_touch(w, false), SIGBUS, "nothing was mapped by all this");
	t_eq(memcmp(anon, anon + PAGE, PAGE), 0, "nor was anything else touched");
	munmap(anon, CHUNK), munmap(r, CHUNK), munmap(n, CHUNK), munmap(w, CHUNK);
	close(grant), close(other);
}

static void arrays(void)
{
	static struct nom_map_entry e[NOM_MAP_MAX + 1];
	int grant = k_grant(nom, 2 * CHUNK);
	char *w = k_window(grant, 4 * CHUNK, PROT_READ | PROT_WRITE), *edge;
	unsigned int i, wrong = 0;
	uint32_t done;

	for (i = 0; i <= NOM_MAP_MAX; i++)
		e[i] = (struct nom_map_entry){ .va = (uintptr_t)w + 2 * i * PAGE,
					       .offset = i * PAGE, .bytes = PAGE, .flags = RW };
	t_eq(k_map(grant, true, e, 0, &done), -EINVAL, "array: none");
	t_eq(k_map(grant, true, e, NOM_MAP_MAX + 1, &done), -EINVAL, "array: one too many");
	t_eq(k_map(grant, true, e, NOM_MAP_MAX, &done), 0, "array: as many as may be");
	t_eq(done, NOM_MAP_MAX, "array: all done");
	for (i = 0; i < NOM_MAP_MAX; i++)
		*(uint32_t *)(w + 2 * i * PAGE) = i;
	for (i = 0; i < NOM_MAP_MAX; i++)
		wrong += k_touch(w + (2 * i + 1) * PAGE, false) != SIGBUS;
	t_eq(wrong, 0, "array: nothing between them");
	t_eq(k_map(grant, false, e, NOM_MAP_MAX, &done), 0, "array: unmap");
	t_eq(done, NOM_MAP_MAX, "array: all done");

	e[300].offset = 3;
	t_eq(k_map(grant, true, e, NOM_MAP_MAX, &done), -EINVAL, "array: the 301st is bad");
	t_eq(done, 300, "array: 300 are done");
	t_eq(k_touch(w + 2 * 299 * PAGE, true), 0, "array: they are in force");
	t_eq(k_touch(w + 2 * 300 * PAGE, true), SIGBUS, "array: the bad one is not");
	t_eq(k_touch(w + 2 * 301 * PAGE, true), SIGBUS, "array: nor what comes after");
	t_eq(k_map(grant, true, e, 2, &done), -EEXIST, "array: they are there");
	t_eq(done, 0, "array: none done");

	edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(edge + PAGE, PAGE);
	memcpy(edge + PAGE - 16 * sizeof(e[0]), &e[400], 16 * sizeof(e[0]));
	t_eq(k_map(grant, true, (void *)(edge + PAGE - 16 * sizeof(e[0])), 32, &done), -EFAULT,
	     "array: ends in a hole");
	t_eq(done, 16, "array: what could be read is done");
	t_eq(k_map(grant, true, (void *)0xffff800000000000, 1, &done), -EFAULT, "array: a kernel pointer");
	t_eq(k_map(grant, true, NULL, 1, &done), -EFAULT, "array: a null pointer");
	t_eq(k_map(grant, true, (void *)(w + 3 * CHUNK), 1, &done), -EFAULT, "array: in an empty window");
	munmap(edge, PAGE);
	munmap(w, 4 * CHUNK);
	close(grant);
}

/* The argument can be read and not written: nothing is done that could not be told. */
static void read_only_argument(void)
{
	static const unsigned long cmds[] = { NOM_MEM_MAP, NOM_MEM_UNMAP, NOM_MEM_RETURN };
	struct nom_mem_map *m = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int grant = k_grant(nom, 2 * CHUNK);
	char *w = k_window(grant, CHUNK, PROT_READ | PROT_WRITE);
	struct nom_map_entry e = { .va = (uintptr_t)w + PAGE, .bytes = PAGE, .flags = RW };
	struct nom_mem_info mi = { 0 };
	unsigned int i, size;

	k_map1(grant, w, 0, PAGE, RW);
	for (i = 0; i < 3; i++) {
		if (cmds[i] == NOM_MEM_UNMAP)
			e = (struct nom_map_entry){ .va = (uintptr_t)w, .bytes = PAGE };
		if (cmds[i] == NOM_MEM_RETURN)
			e = (struct nom_map_entry){ .bytes = CHUNK };
		for (size = sizeof(*m); size <= sizeof(*m) + 8; size += 8) {
			*m = (struct nom_mem_map){ .size = size, .nr = 1, .entries = (uintptr_t)&e };
			mprotect(m, PAGE, PROT_READ);
			t_eq(k_ioctl(grant, cmds[i], m), -EFAULT, "read-only argument of %u bytes, command %u", size, i);
			mprotect(m, PAGE, PROT_READ | PROT_WRITE);
			k_mem_info(grant, &mi);
			t_ok(mi.out_mapped == PAGE && mi.out_bytes == 2 * CHUNK, "nothing was done");
		}
	}
	munmap(w, CHUNK);
	munmap(m, PAGE);
	close(grant);
}

static void protection(void)
{
	int grant = k_grant(nom, CHUNK), pipes[2];
	char *w = k_window(grant, CHUNK, PROT_READ | PROT_WRITE | PROT_EXEC);

	if (pipe(pipes))
		t_bail("pipe");
	t_eq(k_map1(grant, w, 0, PAGE, RO), 0, "a read-only page in a writable window");
	t_eq(k_touch(w, false), 0, "reads");
	t_eq(k_touch(w, true), SIGBUS, "does not write");
	t_eq(k_touch(w, true), SIGBUS, "does not write the second time either");
	t_eq(write(pipes[1], "x", 1), 1, "(a byte in a pipe)");
	t_eq(read(pipes[0], w, 1) < 0 ? -errno : 1, -EFAULT, "read(2) into it");
	t_eq(read(pipes[0], w + PAGE, 1) < 0 ? -errno : 1, -EFAULT, "read(2) where nothing is mapped");
	t_eq(k_map1(grant, w + PAGE, PAGE, PAGE, RW), 0, "a writable page");
	t_eq(read(pipes[0], w + PAGE, 1), 1, "read(2) into that");
	t_eq(w[PAGE], 'x', "arrives");
	t_eq(call(w + PAGE), -SIGSEGV, "it cannot be called");
	memcpy(w + PAGE, code, sizeof(code));
	t_eq(call(w + PAGE), -SIGSEGV, "not with code in it either");
	t_eq(k_map1(grant, w + 2 * PAGE, PAGE, PAGE, RO | NOM_MAP_EXEC), 0, "the page again, executable");
	t_eq(call(w + 2 * PAGE), 42, "that can be called");
	t_eq(k_touch(w + 2 * PAGE, true), SIGBUS, "but not written");

	t_eq(mprotect(w, CHUNK, PROT_READ), 0, "mprotect of a whole window");
	t_eq(k_touch(w + PAGE, true), SIGSEGV, "takes writing away");
	t_eq(k_touch(w + PAGE, false), 0, "not reading");
	t_eq(k_map1(grant, w + 5 * PAGE, 0, PAGE, RW), -EPERM, "bounds what can be mapped");
	t_eq(mprotect(w, CHUNK, PROT_READ | PROT_WRITE), 0, "and back");
	t_eq(k_touch(w + PAGE, true), 0, "a writable page is writable");
	t_eq(k_touch(w, true), SIGBUS, "a read-only page is not");
	munmap(w, CHUNK);
	close(grant), close(pipes[0]), close(pipes[1]);
}

static char *inherited;

static int touch_inherited(void *unused)
{
	signal(SIGSEGV, SIG_DFL);
	return *(volatile char *)inherited;
}

static void address_space(void)
{
	int grant = k_grant(nom, CHUNK), fd;
	char *w = k_window(grant, CHUNK, PROT_READ | PROT_WRITE), *p, buf[8] = "";
	struct iovec local = { buf, 8 }, remote = { w, 8 };

	t_eq(k_map1(grant, w, 0, 8 * PAGE, RW), 0, "map");
	w[0] = 99;
	t_eq(munmap(w, PAGE) ? -errno : 0, -EINVAL, "munmap of the beginning");
	t_eq(munmap(w + PAGE, PAGE) ? -errno : 0, -EINVAL, "munmap of the middle");
	t_eq(munmap(w + CHUNK - PAGE, PAGE) ? -errno : 0, -EINVAL, "munmap of the end");
	t_eq(mprotect(w, PAGE, PROT_READ) ? -errno : 0, -EINVAL, "mprotect of a part");
	p = mmap(w + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	t_ok(p == MAP_FAILED, "mmap over a part");
	t_ok(mremap(w, CHUNK, 2 * CHUNK, MREMAP_MAYMOVE) == MAP_FAILED, "mremap: grow");
	t_ok(mremap(w, CHUNK, PAGE, 0) == MAP_FAILED, "mremap: shrink");
	p = mmap(NULL, CHUNK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	t_ok(mremap(w, CHUNK, CHUNK, MREMAP_MAYMOVE | MREMAP_FIXED, p) == MAP_FAILED, "mremap: move");
	t_ok(mremap(w, CHUNK, CHUNK, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL) == MAP_FAILED,
	     "mremap: move and leave");
	t_ok(mremap(w, 0, CHUNK, MREMAP_MAYMOVE) == MAP_FAILED, "mremap: duplicate");
	t_eq(k_touch(w, false), 0, "what was mapped is there");
	t_eq(w[0], 99, "unchanged");
	t_eq(k_touch(w + 7 * PAGE, true), 0, "to the last page");
	t_eq(madvise(w, CHUNK, MADV_DOFORK) ? -errno : 0, -EINVAL, "madvise: inherit");
	t_eq(madvise(w, CHUNK, MADV_DONTNEED) ? -errno : 0, -EINVAL, "madvise: drop");
	t_eq(madvise(w, CHUNK, MADV_DODUMP) ? -errno : 0, -EINVAL, "madvise: dump");
	t_eq(madvise(w, CHUNK, 25 /* MADV_COLLAPSE */) ? -errno : 0, -EINVAL, "madvise: collapse");
	inherited = w;
	t_eq(t_child(touch_inherited, NULL), 128 + SIGSEGV, "a child has no window there");
	t_ok(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, grant, 0) == MAP_FAILED && errno == EINVAL,
	     "a private window");
	t_ok(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, grant, PAGE) == MAP_FAILED && errno == EINVAL,
	     "a window at another offset");

	/* a debugger */
	fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	t_eq(pread(fd, buf, 1, (uintptr_t)w), 1, "/proc/self/mem reads it");
	t_eq(buf[0], 99, "right");
	t_eq(pwrite(fd, "abcd", 4, (uintptr_t)w + PAGE - 2), 4, "writes it, across pages");
	t_ok(!memcmp(w + PAGE - 2, "abcd", 4), "right");
	t_eq(pread(fd, buf, 1, (uintptr_t)w + 9 * PAGE) < 0 ? -errno : 1, -EIO, "not where nothing is");
	t_eq(k_unmap1(grant, w, PAGE, 0), 0, "unmap");
	t_eq(k_map1(grant, w, 0, PAGE, RO), 0, "map read-only");
	t_eq(pwrite(fd, "x", 1, (uintptr_t)w) < 0 ? -errno : 1, -EIO, "does not write read-only pages");
	close(fd);
	t_eq(process_vm_readv(getpid(), &local, 1, &remote, 1, 0) < 0 ? -errno : 8, -EFAULT,
	     "process_vm_readv, which would pin it");
	munmap(p, CHUNK);
	t_eq(munmap(w, CHUNK), 0, "munmap of all of it");
	t_eq(k_touch(w, false), SIGSEGV, "it is gone");
	close(grant);
}

/* --- the DMA view, and what is pinned --- */

static bool all_free(void *bytes)
{
	return memory().free_bytes == *(uint64_t *)bytes;
}

static void dma_view(void)
{
	uint64_t before = memory().free_bytes;
	int grant = k_grant(nom, 2 * CHUNK), pipes[2], grant2;
	char *w = k_window(grant, CHUNK, PROT_READ | PROT_WRITE), *view, *p, buf[4096];
	struct iovec v;

	if (pipe(pipes))
		t_bail("pipe");
	view = mmap(NULL, 2 * CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED, grant, NOM_GRANT_MMAP_DMA);
	t_ok(view != MAP_FAILED, "a view of all of it");
	t_eq(k_map1(grant, w, CHUNK, PAGE, RW), 0, "a window on its second half");
	strcpy(w, "through the window");
	t_ok(!strcmp(view + CHUNK, "through the window"), "the view shows it");
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, grant, NOM_GRANT_MMAP_DMA + CHUNK);
	t_ok(p != MAP_FAILED && !strcmp(p, "through the window"), "so does a view of that part");
	munmap(p, PAGE);
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, grant, NOM_GRANT_MMAP_DMA + 2 * CHUNK);
	t_ok(p == MAP_FAILED && errno == EINVAL, "a view beyond the end");
	p = mmap(NULL, 2 * CHUNK, PROT_READ, MAP_SHARED, grant, NOM_GRANT_MMAP_DMA + PAGE);
	t_ok(p == MAP_FAILED && errno == EINVAL, "a view across the end");
	t_eq(k_map1(grant, view, 0, PAGE, RW), -EFAULT, "a view is not a window");
	t_ok(mremap(view, 2 * CHUNK, 4 * CHUNK, MREMAP_MAYMOVE) == MAP_FAILED, "a view does not grow");

	v = (struct iovec){ w, PAGE };
	t_eq(vmsplice(pipes[1], &v, 1, SPLICE_F_NONBLOCK) < 0 ? -errno : 1, -EFAULT,
	     "a window cannot be pinned");
	v = (struct iovec){ view + CHUNK, PAGE };
	t_eq(vmsplice(pipes[1], &v, 1, SPLICE_F_NONBLOCK), PAGE, "a view can");
	munmap(view, 2 * CHUNK);
	munmap(w, CHUNK);
	t_ok(memory().granted_bytes == 2 * CHUNK, "the descriptor still has it");
	close(grant);
	t_ok(memory().quarantined_bytes == 2 * CHUNK, "pinned at the end: quarantine");
	t_ok(memory().free_bytes == before - 2 * CHUNK, "it is not free");
	t_sleep_ms(100);
	t_ok(memory().quarantined_bytes == 2 * CHUNK, "nor later");
	grant2 = k_grant(nom, before - 2 * CHUNK);
	t_ok(grant2 >= 0, "all else can be granted");
	t_eq(k_grant(nom, CHUNK), -ENOMEM, "what is in quarantine cannot");
	close(grant2);
	t_eq(read(pipes[0], buf, sizeof(buf)), PAGE, "the pin goes");
	t_ok(!strcmp(buf, "through the window"), "it had been the page");
	t_ok(t_wait(all_free, &before, 5000), "quarantine is over, all is free");
	close(pipes[0]), close(pipes[1]);
}

/* --- upcalls: the application is its own pager --- */

static int pf_grant;
static char *pf_window;
/* volatile: the handler runs in the middle of any access */
static volatile unsigned int pf_count, pf_write, pf_other;
static volatile struct nom_map_entry pf_entry;
static struct nom_mem_map pf_map;

K_HANDLER static int pager(struct nom_frame *f)
{
	if (f->vector != 14)
		return 1;
	pf_count++;
	pf_write += f->error_code >> 1 & 1;
	pf_entry.va = f->cr2 & ~(pf_entry.bytes - 1);
	pf_entry.offset = pf_entry.va - (uintptr_t)pf_window;
	if (f->error_code & 1) {	/* present: a write to a read-only page */
		pf_other++;
		k_sys3(SYS_ioctl, pf_grant, NOM_MEM_UNMAP, (long)&pf_map);
		pf_entry.flags |= NOM_MAP_WRITE;
	}
	return k_sys3(SYS_ioctl, pf_grant, NOM_MEM_MAP, (long)&pf_map) != 0;
}

static int page_by_upcall(void *unused)
{
	struct nom_core_stats s;
	struct k_lease l;
	unsigned int i;

	if (k_claim(nom, NOM_CPU_ANY, 0, &l))
		return 1;
	pf_grant = k_grant(nom, 4 * CHUNK);
	pf_window = k_window(pf_grant, 4 * CHUNK, PROT_READ | PROT_WRITE);
	pf_map = (struct nom_mem_map){ .size = sizeof(pf_map), .nr = 1,
				       .entries = (uintptr_t)&pf_entry };
	pf_entry.bytes = PAGE;
	pf_entry.flags = RO;
	k_on_trap = pager;
	if (k_enter(&l, 1ULL << 14))
		return 2;
	for (i = 0; i < 512; i++)
		if (*(volatile uint32_t *)(pf_window + i * PAGE))
			return 3;
	if (pf_count != 512 || pf_write || pf_other)
		return 4;
	for (i = 0; i < 512; i++) {
		pf_entry.flags = RO;
		*(volatile uint32_t *)(pf_window + i * PAGE) = i;
	}
	if (pf_count != 1024 || pf_other != 512)
		return 5;
	pf_entry.bytes = CHUNK;
	pf_entry.flags = RW | HUGE;
	for (i = 512; i < 2048; i++)
		*(volatile uint32_t *)(pf_window + i * PAGE) = i;
	if (pf_count != 1024 + 3)
		return 6;
	for (i = 0; i < 2048; i++)
		if (*(volatile uint32_t *)(pf_window + i * PAGE) != i)
			return 7;
	/* a leaseholder's other faults are the kernel's, as ever */
	memset(malloc(4 * MIB), 1, 4 * MIB);
	if (pf_count != 1024 + 3 || k_stats(&l, &s) || s.out_traps != pf_count || s.out_failed)
		return 8;
	return k_leave(&l) ? 9 : 0;
}

/* --- many at once --- */

static int st_grant;
static char *st_window;
static volatile bool st_stop;
static unsigned long st_bad, st_ops;

static void *mapper(void *seed)
{
	unsigned int x = (uintptr_t)seed, n = 0;

	while (!st_stop) {
		unsigned int page, nr;
		int ret;

		x = x * 1103515245 + 12345;
		page = x >> 16 & 1023;
		nr = 1 + (x >> 8 & 7);
		if (x >> 28 == 0) {
			page &= 512;
			ret = k_map1(st_grant, st_window + page * PAGE, page * PAGE, CHUNK, RW | HUGE);
		} else if (x >> 27 & 1) {
			ret = k_map1(st_grant, st_window + page * PAGE, page * PAGE,
				     (page + nr > 1024 ? 1 : nr) * PAGE, RW);
		} else if (x >> 26 & 1) {
			ret = k_unmap1(st_grant, st_window + (page & 512) * PAGE, CHUNK, 0);
		} else {
			ret = k_unmap1(st_grant, st_window + page * PAGE, PAGE, 0);
		}
		if (ret && ret != -EEXIST && ret != -EINVAL)
			__atomic_add_fetch(&st_bad, 1, __ATOMIC_RELAXED);
		n++;
	}
	__atomic_add_fetch(&st_ops, n, __ATOMIC_RELAXED);
	return NULL;
}

static int stress(void *unused)
{
	pthread_t threads[3];
	volatile unsigned int turn, seen = 0;
	struct timespec began, now;
	unsigned int i;

	st_grant = k_grant(nom, 2 * CHUNK);
	st_window = k_window(st_grant, 2 * CHUNK, PROT_READ | PROT_WRITE);
	for (i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, mapper, (void *)(uintptr_t)(i + 1));
	clock_gettime(CLOCK_MONOTONIC, &began);
	for (turn = 0;; turn++) {
		volatile uint32_t *p = (void *)(st_window + (turn * 37 & 1023) * PAGE);

		if (!sigsetjmp(k_out, 1)) {
			if (*p && *p != (turn * 37 & 1023) + 1)
				st_bad++;
			*p = (turn * 37 & 1023) + 1;
			seen++;
		}
		/* a window that comes and goes beside it */
		if (turn % 64 == 0) {
			char *w = k_window(st_grant, CHUNK, PROT_READ | PROT_WRITE);

			clock_gettime(CLOCK_MONOTONIC, &now);
			if (now.tv_sec - began.tv_sec > 3)
				break;
			if (w == MAP_FAILED || k_map1(st_grant, w, 0, CHUNK, RW | HUGE))
				st_bad++;
			munmap(w, CHUNK);
		}
	}
	st_stop = true;
	for (i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	t_diag("%lu calls by three threads, %u of %u touches found a page", st_ops, seen, turn);
	return st_bad || !seen || !st_ops;
}

int main(void)
{
	uint64_t before;

	k_catch();
	nom = k_open(O_RDWR);
	board = k_board(nom);
	before = memory().free_bytes;
	exhaust();
	nodes();
	zeroed();
	killed_on_the_way();
	references();
	small();
	huge();
	errors();
	arrays();
	read_only_argument();
	protection();
	address_space();
	dma_view();
	t_eq(t_child(page_by_upcall, NULL), 0, "an application pages for itself, by upcall");
	t_eq(t_child(stress, NULL), 0, "threads map, unmap and touch against each other");
	t_ok(memory().free_bytes == before, "nothing is left over");
	return t_done();
}
