// SPDX-License-Identifier: MIT
/*
 * kmod_board: the bulletin board - how it may be mapped, that it says what is,
 * which class a change counts for, and that a reader on one core never sees half
 * of a writer's work on another.
 *
 * Two storms.  First the reader holds the reserved core, and writers on the ordinary
 * one are granted memory and set, move and remove prices as fast as they can.  Then
 * the readers are on the ordinary core, and a writer claims, enters and leaves the
 * reserved one, writing from there, too.
 *
 *	kmod_board [SECONDS]	so long for each storm (2)
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "lib/kmod.h"
#include "lib/kmod_nl.h"

static int nom;
static struct nom_info info;
static int seconds = 2;

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

/* --- which class counts --- */

static uint64_t counted[NOM_BOARD_NR_CLASSES];

/* The classes whose count moved since the last look, a bit each. */
static unsigned int moved(const struct nom_board *b)
{
	unsigned int c, bits = 0;

	for (c = 0; c < NOM_BOARD_NR_CLASSES; c++) {
		bits |= (k_board_changes(b, c) != counted[c]) << c;
		counted[c] = k_board_changes(b, c);
	}
	return bits;
}

static void changes(const struct nom_board *b)
{
	int family, group, sock = k_nl_open(&family, &group), grant;
	struct k_lease l;

	moved(b);
	t_eq(k_nl_price(sock, family, "t.count", "x", 1), 0, "a price comes");
	t_eq(moved(b), 1 << NOM_BOARD_PRICES, "prices changed, and nothing else");
	t_eq(k_nl_price(sock, family, "t.count", "x", 1), 0, "it is set to what it is");
	t_eq(moved(b), 0, "nothing changed");
	t_eq(k_nl_del_price(sock, family, "t.count"), 0, "it goes");
	t_eq(moved(b), 1 << NOM_BOARD_PRICES, "prices changed");
	grant = k_grant(nom, CHUNK);
	t_eq(moved(b), 1 << NOM_BOARD_MEMORY, "a grant: memory changed, and nothing else");
	close(grant);
	t_eq(moved(b), 1 << NOM_BOARD_MEMORY, "its end likewise");
	t_eq(k_claim(nom, NOM_CPU_ANY, 0, &l), 0, "claim a core");
	t_eq(moved(b), 1 << NOM_BOARD_CORES, "cores changed, and nothing else");
	munmap(l.sh, PAGE);
	close(l.fd);
	t_eq(moved(b), 1 << NOM_BOARD_CORES, "its end likewise");
	close(sock);
}

/* --- writers --- */

static const char *const names[] = { "t.keep", "t.comes", "t.board", "t.core" };
#define NR_NAMES	(sizeof(names) / sizeof(names[0]))

static int write_memory(void *unused)
{
	unsigned int n;

	alarm(3 * (unsigned int)seconds + 60);
	for (n = 0;; n++)
		close(k_grant(nom, (1 + n % 3) * CHUNK));
	return 0;
}

/*
 * price_ucr and unit always fit each other, see check_prices().  "t.comes" and
 * "t.keep" come by turns, and "t.keep" thereby moves from record to record; it is
 * never away.
 */
static int write_price(void *unused)
{
	int family, group, sock = k_nl_open(&family, &group);
	int64_t n;

	alarm(3 * (unsigned int)seconds + 60);
	for (n = 1;; n = n % 1000000 + 1) {
		if (k_nl_price(sock, family, "t.keep", "x", n * 1000003) ||
		    k_nl_price(sock, family, "t.comes", "y", n * 1000033) ||
		    k_nl_price(sock, family, "t.board", "x", n * 1000003) ||
		    k_nl_del_price(sock, family, "t.comes"))
			return 1;
		if (n & 1 && (k_nl_price(sock, family, "t.comes", "y", n * 1000033) ||
			      k_nl_del_price(sock, family, "t.board") ||
			      k_nl_del_price(sock, family, "t.comes")))
			return 2;
	}
	return 0;
}

/* Takes the core and gives it back; writes from it meanwhile. */
static int write_cores(void *unused)
{
	int family, group, sock = k_nl_open(&family, &group);
	struct k_lease l;
	int64_t n;

	alarm(3 * (unsigned int)seconds + 60);
	for (n = 1;; n = n % 1000000 + 1) {
		if (k_claim(nom, NOM_CPU_ANY, 0, &l) || k_enter(&l, 0))
			return 1;
		if (k_nl_price(sock, family, "t.core", "x", n * 1000003))
			return 2;
		close(k_grant(nom, CHUNK));
		k_leave(&l);
		munmap(l.sh, PAGE);
		close(l.fd);
	}
	return 0;
}

/* --- the reader --- */

struct tally {
	unsigned long reads, torn, retried, odd;
	uint64_t changes[NOM_BOARD_NR_CLASSES], updated_ns;
	uint64_t copy[2048];
};

static const void *record(const struct nom_board *b, enum nom_board_class c, unsigned int i)
{
	return (const char *)b + b->section[c].offset + i * b->section[c].stride;
}

/* Everything there is, into the tally's copy; false: a writer was there. */
static bool snapshot(const struct nom_board *b, struct tally *t)
{
	uint32_t seq = __atomic_load_n(&b->seq, __ATOMIC_ACQUIRE);
	const volatile uint64_t *from = (const void *)b;
	unsigned int c;
	size_t i, end;

	if (seq & 1) {
		t->odd++;
		return false;
	}
	for (i = 0; i < sizeof(*b) / 8; i++)
		t->copy[i] = from[i];
	for (c = 0; c < NOM_BOARD_NR_CLASSES; c++) {
		const struct nom_board_section *s = &b->section[c];

		/* how many there are may change meanwhile, but not beyond max */
		end = s->offset + (size_t)s->stride * *(volatile const uint32_t *)&s->nr;
		for (i = s->offset / 8; i < end / 8; i++)
			t->copy[i] = from[i];
	}
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (__atomic_load_n(&b->seq, __ATOMIC_RELAXED) == seq)
		return true;
	t->retried++;
	return false;
}

static bool is_ours(const char *name)
{
	unsigned int i;

	for (i = 0; i < NR_NAMES; i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

static bool prices_fit(const struct nom_board *b)
{
	unsigned int i, keep = 0;

	for (i = 0; i < b->section[NOM_BOARD_PRICES].nr; i++) {
		const struct nom_board_price *p = record(b, NOM_BOARD_PRICES, i);

		if (!is_ours(p->name))
			continue;	/* left there by others; a torn name would lose "t.keep" */
		if (p->price_ucr % (!strcmp(p->unit, "x") ? 1000003 : 1000033) || !p->price_ucr)
			return false;
		if (p->since_ns > b->updated_ns || p->changes > b->section[NOM_BOARD_PRICES].changes)
			return false;
		keep += !strcmp(p->name, "t.keep");
	}
	return keep == 1;
}

static bool cores_fit(const struct nom_board *b)
{
	unsigned int i;

	for (i = 0; i < b->section[NOM_BOARD_CORES].nr; i++) {
		const struct nom_board_core *c = record(b, NOM_BOARD_CORES, i);

		if (c->state == NOM_CORE_FREE ? c->handle || c->pid :
		    !c->pid || (c->handle & 0xffff) != c->cpu)
			return false;
	}
	return true;
}

static bool fits(const struct nom_board *b, struct tally *t)
{
	const struct nom_board_memory *m = record(b, NOM_BOARD_MEMORY, 0);
	unsigned int c;
	bool good;

	good = m->free_bytes + m->granted_bytes + m->quarantined_bytes == m->total_bytes &&
	       m->total_bytes == info.out_mem_bytes && prices_fit(b) && cores_fit(b) &&
	       b->updated_ns >= t->updated_ns;
	t->updated_ns = b->updated_ns;
	for (c = 0; c < NOM_BOARD_NR_CLASSES; c++) {
		good &= b->section[c].changes >= t->changes[c];
		t->changes[c] = b->section[c].changes;
	}
	return good;
}

static uint64_t all_changes(const struct nom_board *b)
{
	unsigned int c;
	uint64_t n = 0;

	for (c = 0; c < NOM_BOARD_NR_CLASSES; c++)
		n += k_board_changes(b, c);
	return n;
}

static int read_storm(const struct nom_board *b)
{
	static struct tally t;
	uint64_t before = all_changes(b);
	struct timespec t0, t1;
	unsigned int i;

	clock_gettime(CLOCK_MONOTONIC, &t0);
	do {
		for (i = 0; i < 1000; i++) {
			if (!snapshot(b, &t))
				continue;
			t.reads++;
			t.torn += !fits((const void *)t.copy, &t);
		}
		clock_gettime(CLOCK_MONOTONIC, &t1);
		/* a busy host may let reader and writer run by turns for a while */
	} while (t1.tv_sec - t0.tv_sec < seconds ||
		 (t.odd + t.retried < 5 && t1.tv_sec - t0.tv_sec < seconds + 20));
	t_diag("%lu snapshots against %lu changes: %lu met a writer, %lu were overtaken, %lu torn",
	       t.reads, (unsigned long)(all_changes(b) - before), t.odd, t.retried, t.torn);
	/* a test that met no writer has shown nothing */
	return t.torn ? 2 : t.reads < 1000 || all_changes(b) - before < 100 ? 3 :
	       t.odd + t.retried < 5 ? 4 : 0;
}

static int read_from_core(void *unused)
{
	const struct nom_board *b = k_board(nom);
	struct k_lease l;
	int ret;

	alarm((unsigned int)seconds + 30);
	if (k_claim(nom, NOM_CPU_ANY, 0, &l) || k_enter(&l, 0))
		return 1;
	ret = read_storm(b);
	k_leave(&l);
	return ret;
}

static int read_from_anywhere(void *unused)
{
	alarm((unsigned int)seconds + 30);
	return read_storm(k_board(nom));
}

static void stop(pid_t pid, const char *what)
{
	kill(pid, SIGKILL);
	t_eq(t_reap(pid), 128 + SIGKILL, "%s wrote to the end", what);
}

static void storms(void)
{
	int family, group, sock = k_nl_open(&family, &group);
	pid_t memory, price, cores, reader;
	unsigned int i;

	k_nl_price(sock, family, "t.keep", "x", 1000003);
	memory = t_spawn(write_memory, NULL);
	price = t_spawn(write_price, NULL);
	t_eq(t_child(read_from_core, NULL), 0, "from the reserved core: no snapshot is torn");
	stop(memory, "the writer of memory");
	cores = t_spawn(write_cores, NULL);
	reader = t_spawn(read_from_anywhere, NULL);
	t_eq(t_child(read_from_anywhere, NULL), 0, "while it changes hands: none is torn");
	t_eq(t_reap(reader), 0, "nor for another reader");
	stop(cores, "the writer of cores");
	stop(price, "the writer of prices");
	for (i = 0; i < NR_NAMES; i++)
		k_nl_del_price(sock, family, names[i]);
	close(sock);
}

static bool all_free(void *b)
{
	return k_mem_free(b) == info.out_mem_bytes;
}

int main(int argc, char **argv)
{
	const struct nom_board *b;

	if (argc > 1)
		seconds = atoi(argv[1]);
	nom = k_open(O_RDWR);
	k_info(nom, &info);
	mapping();
	b = k_board(nom);
	layout(b);
	changes(b);
	storms();
	t_ok(t_wait(all_free, (void *)b, 5000), "all memory is free again");
	t_ok(!(b->seq & 1), "no update is under way");
	return t_done();
}
