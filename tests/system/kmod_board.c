// SPDX-License-Identifier: MIT
/*
 * kmod_board: the bulletin board - how it may be mapped, that it says what is,
 * and that a reader on one core never sees half of a writer's work on another:
 * the reader holds the reserved core, writers on the ordinary one lease nothing
 * but are granted memory and set prices as fast as they can.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "lib/kmod.h"
#include "lib/kmod_nl.h"

static int nom;
static struct nom_info info;

static int map_fails(size_t bytes, int prot, int flags, off_t offset)
{
	void *p = mmap(NULL, bytes, prot, flags, nom, offset);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, bytes);
	return 0;
}

static void mapping(void)
{
	size_t n = info.out_board_bytes;
	char *p;
	int ro;

	t_eq(map_fails(n, PROT_READ, MAP_SHARED, 0), 0, "read-only, shared");
	t_eq(map_fails(PAGE, PROT_READ, MAP_SHARED, 0), 0, "its first page alone");
	t_eq(map_fails(n, PROT_READ | PROT_WRITE, MAP_SHARED, 0), -EPERM, "writable");
	t_eq(map_fails(n, PROT_READ | PROT_EXEC, MAP_SHARED, 0), -EPERM, "executable");
	t_eq(map_fails(n, PROT_READ, MAP_PRIVATE, 0), -EINVAL, "private");
	t_eq(map_fails(n, PROT_READ, MAP_SHARED, PAGE), -EINVAL, "from the second page on");
	t_eq(map_fails(n + PAGE, PROT_READ, MAP_SHARED, 0), -EINVAL, "more than there is");
	p = mmap(NULL, n, PROT_READ, MAP_SHARED, nom, 0);
	t_ok(mprotect(p, n, PROT_READ | PROT_WRITE) && errno == EACCES, "made writable later");
	t_ok(mprotect(p, n, PROT_READ | PROT_EXEC) && errno == EACCES, "made executable later");
	munmap(p, n);
	ro = k_open(O_RDONLY);
	p = mmap(NULL, n, PROT_READ, MAP_SHARED, ro, 0);
	t_ok(p != MAP_FAILED, "through a read-only descriptor");
	munmap(p, n);
	close(ro);
}

static void layout(const struct nom_board *b)
{
	static const unsigned int sizes[] = {
		sizeof(struct nom_board_core), sizeof(struct nom_board_memory),
		sizeof(struct nom_board_device), sizeof(struct nom_board_price),
		sizeof(struct nom_board_reclaim),
	};
	unsigned int i, end, last = sizeof(*b);

	t_eq(b->magic, NOM_BOARD_MAGIC, "magic");
	t_eq(b->version, NOM_BOARD_VERSION, "version");
	t_eq(b->bytes, info.out_board_bytes, "length");
	t_eq(b->nr_classes, NOM_BOARD_NR_CLASSES, "classes");
	for (i = 0; i < NOM_BOARD_NR_CLASSES; i++) {
		end = b->section[i].offset + b->section[i].stride * b->section[i].max;
		t_ok(b->section[i].offset >= last && b->section[i].stride >= sizes[i] &&
		     b->section[i].offset % 8 == 0 && b->section[i].nr <= b->section[i].max &&
		     end <= b->bytes, "section %u: offset %u, %u of %u records", i,
		     b->section[i].offset, b->section[i].nr, b->section[i].max);
		last = end;
	}
	t_eq(b->section[NOM_BOARD_CORES].nr, info.out_nr_cores, "a record per reserved core");
	t_eq(b->section[NOM_BOARD_MEMORY].nr, 1, "one record of memory");
}

/* --- writers --- */

static int write_memory(void *unused)
{
	unsigned int n;

	for (n = 0;; n++)
		close(k_grant(nom, (1 + n % 3) * CHUNK));
	return 0;
}

/* price_ucr and unit always fit each other, see check_price() */
static int write_price(void *unused)
{
	int family, group, sock = k_nl_open(&family, &group);
	int64_t n;

	for (n = 1;; n = n % 1000000 + 1)
		if (k_nl_price(sock, family, "t.board", "x", n * 1000003))
			return 1;
	return 0;
}

/* --- the reader --- */

struct tally {
	unsigned long reads, torn, retried, odd;
	uint64_t first_changes, last_changes;
};

static void check(const struct nom_board *b, struct tally *t)
{
	struct nom_board_memory m;
	struct nom_board_price p;
	uint32_t seq;
	unsigned int i;

	seq = __atomic_load_n(&b->seq, __ATOMIC_ACQUIRE);
	if (seq & 1) {
		t->odd++;
		return;
	}
	memcpy(&m, (char *)b + b->section[NOM_BOARD_MEMORY].offset, sizeof(m));
	memset(&p, 0, sizeof(p));
	for (i = 0; i < b->section[NOM_BOARD_PRICES].nr; i++) {
		memcpy(&p, (char *)b + b->section[NOM_BOARD_PRICES].offset +
		       i * b->section[NOM_BOARD_PRICES].stride, sizeof(p));
		if (!strcmp(p.name, "t.board"))
			break;
	}
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (__atomic_load_n(&b->seq, __ATOMIC_RELAXED) != seq) {
		t->retried++;
		return;
	}
	t->reads++;
	if (m.free_bytes + m.granted_bytes + m.quarantined_bytes != m.total_bytes ||
	    m.total_bytes != info.out_mem_bytes || p.price_ucr % 1000003 ||
	    (p.price_ucr && !p.since_ns))
		t->torn++;
}

static int read_from_core(void *unused)
{
	const struct nom_board *b = k_board(nom);
	struct timespec t0, t1;
	struct tally t = { 0 };
	struct k_lease l;
	unsigned int i;

	if (k_claim(nom, NOM_CPU_ANY, 0, &l) || k_enter(&l, 0))
		return 1;
	t.first_changes = k_board_changes(b, NOM_BOARD_MEMORY) + k_board_changes(b, NOM_BOARD_PRICES);
	clock_gettime(CLOCK_MONOTONIC, &t0);
	do {
		for (i = 0; i < 1000; i++)
			check(b, &t);
		clock_gettime(CLOCK_MONOTONIC, &t1);
	} while (t1.tv_sec - t0.tv_sec < 3);
	t.last_changes = k_board_changes(b, NOM_BOARD_MEMORY) + k_board_changes(b, NOM_BOARD_PRICES);
	k_leave(&l);
	t_diag("%lu reads against %lu changes: %lu met a writer, %lu were overtaken, %lu torn",
	       t.reads, (unsigned long)(t.last_changes - t.first_changes), t.odd, t.retried, t.torn);
	/* a test that met no writer has shown nothing */
	return t.torn ? 2 : t.reads < 1000 || t.odd + t.retried < 5 ||
	       t.last_changes - t.first_changes < 100 ? 3 : 0;
}

static void consistency(void)
{
	pid_t memory = t_spawn(write_memory, NULL), price = t_spawn(write_price, NULL);

	t_eq(t_child(read_from_core, NULL), 0, "no snapshot is torn");
	kill(memory, SIGKILL);
	kill(price, SIGKILL);
	t_eq(t_reap(memory), 128 + SIGKILL, "the writer of memory wrote to the end");
	t_eq(t_reap(price), 128 + SIGKILL, "the writer of prices, too");
}

static bool all_free(void *b)
{
	return k_mem_free(b) == info.out_mem_bytes;
}

int main(void)
{
	const struct nom_board *b;

	nom = k_open(O_RDWR);
	k_info(nom, &info);
	mapping();
	b = k_board(nom);
	layout(b);
	consistency();
	t_ok(t_wait(all_free, (void *)b, 5000), "all memory is free again");
	t_ok(!(b->seq & 1), "no update is under way");
	return t_done();
}
