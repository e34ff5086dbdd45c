// SPDX-License-Identifier: MIT
/*
 * Grants: windows, maps of 4 KiB and 2 MiB, arrays longer than one system call
 * takes, what is refused - and that a killed holder leaves nothing behind.
 */
#include <fcntl.h>
#include <linux/nom.h>
#include <signal.h>
#include <sys/wait.h>

#include <nomux/board.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/mem.h>
#include <nomux/upcall.h>

#include "nomux_tap.h"

#define PAGE	4096UL
#define HUGE	(2UL << 20)
#define RW	(NOM_MAP_READ | NOM_MAP_WRITE)

static struct nomux_ctx *nom;

static int map(struct nomux_mem *m, void *va, uint64_t offset, uint64_t bytes, uint32_t flags)
{
	struct nom_map_entry e = {
		.va = (uintptr_t)va, .offset = offset, .bytes = bytes, .flags = flags,
	};

	return nomux_mem_map(m, &e, 1);
}

static int unmap(struct nomux_mem *m, void *va, uint64_t bytes, uint32_t flags)
{
	struct nom_map_entry e = { .va = (uintptr_t)va, .bytes = bytes, .flags = flags };

	return nomux_mem_unmap(m, &e, 1);
}

/* The board's idea of memory. */
static struct nom_board_memory memory(void)
{
	static uint64_t board[65536 / 8];
	const struct nom_board_memory *m;
	struct nom_board_memory none = { 0 };

	if (nomux_board_snapshot(nom, board, sizeof(board)))
		return none;
	m = nomux_board_record((void *)board, sizeof(board), NOM_BOARD_MEMORY, 0, sizeof(*m));
	return m ? *m : none;
}

static unsigned int core_state(void)
{
	static uint64_t board[65536 / 8];
	const struct nom_board_core *c;

	if (nomux_board_snapshot(nom, board, sizeof(board)))
		return ~0U;
	c = nomux_board_record((void *)board, sizeof(board), NOM_BOARD_CORES, 0, sizeof(*c));
	return c ? c->state : ~0U;
}

static bool all_is(const unsigned char *p, size_t n, unsigned char v)
{
	while (n--)
		if (*p++ != v)
			return false;
	return true;
}

static void test_small_pages(void)
{
	struct nom_map_entry *e = calloc(1000, sizeof(*e));
	struct nomux_mem *m;
	unsigned char *w;
	unsigned int i;
	void *va;

	T_NEED(nomux_mem_grant(nom, 4 * HUGE - 5, &m));
	t_is((long)nomux_mem_bytes(m), 4 * HUGE, "a grant is rounded up to 2 MiB");
	T_NEED(nomux_mem_window(m, 16 * HUGE, NULL, &va));
	w = va;
	t_is((long)((uintptr_t)va % HUGE), 0, "a window is aligned to 2 MiB");
	for (i = 0; i < 1000; i++)	/* upside down, every other page of the window */
		e[i] = (struct nom_map_entry){
			.va = (uintptr_t)w + 2 * PAGE * i, .offset = PAGE * (999 - i),
			.bytes = PAGE, .flags = RW,
		};
	t_is(nomux_mem_map(m, e, 1000), 1000, "1,000 pieces in one call");
	t_ok(all_is(w, PAGE, 0) && all_is(w + 1998 * PAGE, PAGE, 0), "granted memory is zeroed");
	for (i = 0; i < 1000; i++)
		w[2 * PAGE * i] = (unsigned char)i;
	t_is(map(m, w + PAGE, PAGE * 998, PAGE, NOM_MAP_READ), 1, "an offset mapped twice");
	t_is(w[PAGE], 1, "  shows the same memory");
	t_is(map(m, w, 0, PAGE, RW), -EEXIST, "over a mapped page: EEXIST");
	e[600].va = 4096;
	t_is(nomux_mem_unmap(m, e, 1000), 600, "an array with a bad piece is done up to that");
	t_is(map(m, w, 0, PAGE, RW), 1, "what was unmapped can be mapped");
	t_is(map(m, w + 2 * PAGE, 1, PAGE, RW), -EINVAL, "an odd offset: EINVAL");
	t_is(map(m, w + 2 * PAGE, 4 * HUGE, PAGE, RW), -EINVAL, "beyond the grant: EINVAL");
	t_is(map(m, w + 2 * PAGE, 0, PAGE, 1U << 30), -EOPNOTSUPP, "an unknown flag: EOPNOTSUPP");
	t_is(map(m, &i, 0, PAGE, RW) < 0, 1, "not in a window: refused");
	t_is(nomux_mem_map(m, e, 0), -EINVAL, "an empty array: EINVAL");
	t_is(nomux_mem_window(m, HUGE, w, &va), -EEXIST, "a window where something is: EEXIST");
	t_is(nomux_mem_window(m, HUGE, w + 1, &va), -EINVAL, "a crooked hint: EINVAL");
	t_is((int)read(open("/proc/version", O_RDONLY | O_CLOEXEC), w + 15 * HUGE, 10), -1,
	     "read(2) into an unmapped page of a window fails");
	t_is(errno, EFAULT, "  with EFAULT");
	nomux_mem_put(m);
	free(e);
}

static void test_huge_pages(void)
{
	struct nomux_mem *m;
	unsigned char *w;
	uint64_t phys;
	void *va;
	size_t i;

	T_NEED(nomux_mem_grant(nom, 2 * HUGE, &m));
	T_NEED(nomux_mem_window(m, 4 * HUGE, (void *)0x7f0000000000, &va));
	t_ok(va == (void *)0x7f0000000000, "a window where it was asked for");
	w = va;
	t_is(map(m, w, HUGE, HUGE, RW | NOM_MAP_HUGE), 1, "a 2 MiB page");
	for (i = 0; i < HUGE; i += PAGE)
		w[i] = (unsigned char)(i >> 12);
	t_is(map(m, w + HUGE, HUGE, HUGE, RW), 1, "the same as 512 small ones elsewhere");
	for (i = 0; i < HUGE && w[HUGE + i] == (unsigned char)(i >> 12); i += PAGE)
		;
	t_is((long)i, HUGE, "  shows the same memory");
	t_is(map(m, w + 2 * HUGE, PAGE, HUGE, RW | NOM_MAP_HUGE), -EINVAL, "a crooked 2 MiB page: EINVAL");
	t_is(unmap(m, w, HUGE, NOM_MAP_HUGE), 1, "and goes again");
	t_is(nomux_mem_phys(m, 0, 0xffff, &phys), -ENODEV, "an address for no device: ENODEV");
	nomux_mem_put(m);
}

static int fault_count;

/* Unmapped under its user: the fault is the user's again. */
static int on_pf(struct nom_frame *frame, void *arg)
{
	fault_count++;
	return map(arg, (void *)(frame->cr2 & ~(PAGE - 1)), 0, PAGE, RW) == 1 ? 0 : -1;
}

static void test_faults(void)
{
	struct nomux_core *core;
	struct nomux_mem *m;
	volatile char *w;
	void *va;
	int i;

	T_NEED(nomux_mem_grant(nom, HUGE, &m));
	T_NEED(nomux_mem_window(m, HUGE, NULL, &va));
	w = va;
	T_NEED(nomux_core_claim(nom, NULL, &core));
	T_NEED(nomux_on_trap(core, 14, on_pf, m));
	T_NEED(nomux_core_enter(core));
	for (i = 0; i < 1000; i++) {
		w[5] = (char)(w[5] + 1);
		T_NEED(unmap(m, va, PAGE, 0));
	}
	t_is(fault_count, 1000, "a page unmapped and touched 1,000 times faults 1,000 times");
	t_is(w[5], (char)1000, "  and keeps its content");
	T_NEED(nomux_core_release(core));
	nomux_mem_put(m);
}

/* SIGBUS, if nobody handles the fault. */
static void test_sigbus(void)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		struct nomux_mem *m;
		void *va;

		T_NEED(nomux_mem_grant(nom, HUGE, &m));
		T_NEED(nomux_mem_window(m, HUGE, NULL, &va));
		*(volatile char *)va = 1;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	t_ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS,
	     "a touch of an unmapped page without a lease is SIGBUS");
}

/* kill -9 of a process that spins on its core, with memory granted and mapped. */
static void test_kill(void)
{
	struct nom_board_memory before = memory(), during, after;
	struct nomux_core *core;
	int status, pipefd[2], i;
	char byte;
	pid_t pid;

	T_NEED(pipe(pipefd) ? -errno : 0);
	for (i = 0; i < 5; i++) {
		fflush(stdout);
		pid = fork();
		if (!pid) {
			struct nomux_mem *m;
			void *va;

			T_NEED(nomux_mem_grant(nom, 8 * HUGE, &m));
			T_NEED(nomux_mem_window(m, 8 * HUGE, NULL, &va));
			T_NEED(map(m, va, 0, 8 * HUGE, RW | NOM_MAP_HUGE));
			memset(va, 0xee, 8 * HUGE);
			T_NEED(nomux_core_claim(nom, NULL, &core));
			T_NEED(nomux_core_enter(core));
			nomux_unmask(core);
			if (write(pipefd[1], "x", 1) != 1)
				_exit(1);
			for (;;)
				;
		}
		if (read(pipefd[0], &byte, 1) != 1)
			break;
		during = memory();
		if (core_state() != NOM_CORE_RUNNING ||
		    during.granted_bytes != before.granted_bytes + 8 * HUGE)
			break;
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		if (!WIFSIGNALED(status) || nomux_core_claim(nom, NULL, &core))
			break;
		T_NEED(nomux_core_release(core));
	}
	t_is(i, 5, "five holders killed: each time the next lease of the core succeeds at once");
	t_is(core_state(), NOM_CORE_FREE, "the board shows the core as free");
	after = memory();
	t_ok(before.total_bytes && after.free_bytes == before.free_bytes &&
	     after.granted_bytes == before.granted_bytes, "and all memory as it was");
}

static void test_zeroed_for_the_next(void)
{
	struct nom_board_memory all = memory();
	struct nomux_mem *m;
	void *va;

	/* Everything there is, so what the killed ones had is in it. */
	T_NEED(nomux_mem_grant(nom, all.free_bytes, &m));
	T_NEED(nomux_mem_window(m, all.free_bytes, NULL, &va));
	T_NEED(map(m, va, 0, all.free_bytes, NOM_MAP_READ | NOM_MAP_HUGE));
	t_ok(all_is(va, all.free_bytes, 0), "what killed holders wrote is gone");
	t_is((long)memory().free_bytes, 0, "all memory granted");
	t_is(nomux_mem_grant(nom, HUGE, &(struct nomux_mem *){ NULL }), -ENOMEM, "no more: ENOMEM");
	nomux_mem_put(m);
	t_is((long)memory().free_bytes, (long)all.free_bytes, "and given back");
}

int main(void)
{
	int err;

	t_start(150);
	err = nomux_open(&nom);
	if (err) {
		printf("1..0 # SKIP no /dev/nom: %s\n", strerror(-err));
		return T_SKIP;
	}
	test_small_pages();
	test_huge_pages();
	test_faults();
	test_sigbus();
	test_kill();
	test_zeroed_for_the_next();
	nomux_close(nom);
	return t_end();
}
