// SPDX-License-Identifier: MIT
/*
 * kmod_mem_reclaim: memory that leaves a grant ahead of its end - returned by its
 * owner, asked for by a notice, taken at the deadline - and what is left of it then
 * in windows, views and pins; nothing of it may reach the next owner.
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "lib/kmod.h"
#include "lib/kmod_nl.h"

#define RW	(NOM_MAP_READ | NOM_MAP_WRITE)
#define HUGE	NOM_MAP_HUGE

static int nom, sock, family, group;
static const struct nom_board *board;

static struct nom_board_memory memory(void)
{
	struct nom_board_memory m;

	if (k_board_read(board, NOM_BOARD_MEMORY, 0, &m, sizeof(m)))
		t_bail("the board cannot be read");
	return m;
}

static bool all_free(void *bytes)
{
	return memory().free_bytes == *(uint64_t *)bytes;
}

static void *view_of(int grant, uint64_t bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, grant, NOM_GRANT_MMAP_DMA);
}

static int give_back(int grant, uint64_t offset, uint64_t bytes)
{
	return k_range(grant, NOM_MEM_RETURN, NULL, offset, bytes, 0);
}

static struct nom_mem_info info_of(int grant)
{
	static uint64_t held[64];
	struct nom_mem_info mi = { .held = (uintptr_t)held, .nr_held = 64 };

	memset(held, 0, sizeof(held));
	if (k_mem_info(grant, &mi))
		t_bail("NOM_MEM_INFO");
	return mi;
}

/* The first chunks that are there, as bits. */
static uint64_t held(int grant)
{
	return *(uint64_t *)(uintptr_t)info_of(grant).held;
}

static int reclaim(uint64_t id, uint64_t bytes, uint32_t ms)
{
	struct k_nl_req req;

	k_nl_begin(&req, family, NOM_GENL_CMD_RECLAIM, 0);
	k_nl_put(&req, NOM_GENL_A_HANDLE, &id, sizeof(id));
	k_nl_put(&req, NOM_GENL_A_MEM_WANTED, &bytes, sizeof(bytes));
	k_nl_put(&req, NOM_GENL_A_DEADLINE_MS, &ms, sizeof(ms));
	return k_nl_talk(sock, &req, NULL, NULL);
}

/* --- returned --- */

static int other_grant;
static char *other_window;

static int touch_returned(void *unused)
{
	signal(SIGBUS, SIG_DFL);
	other_window = k_window(other_grant, CHUNK, PROT_READ | PROT_WRITE);
	if (k_map1(other_grant, other_window, CHUNK, CHUNK, RW | HUGE))
		return 1;
	other_window[0] = 1;
	raise(SIGSTOP);
	other_window[0] = 2;
	return 0;
}

static void returned(void)
{
	uint64_t before = memory().free_bytes;
	int grant = k_grant(nom, 4 * CHUNK), pipes[2], next, status;
	char *w = k_window(grant, 8 * CHUNK, PROT_READ | PROT_WRITE), *view, buf[4096];
	unsigned int i, wrong = 0;
	struct nom_mem_info mi;
	struct iovec v;
	pid_t pid;

	view = view_of(grant, 4 * CHUNK);
	for (i = 0; i < 4; i++) {
		k_map1(grant, w + i * CHUNK, i * CHUNK, CHUNK, i == 1 ? RW | HUGE : RW);
		view[i * CHUNK + PAGE] = i + 1;
	}
	/* every other page of the second, in a table with pages of the first */
	for (i = 0; i < 256; i++) {
		k_map1(grant, w + 5 * CHUNK + 2 * i * PAGE, CHUNK + i * PAGE, PAGE, RW);
		k_map1(grant, w + 5 * CHUNK + (2 * i + 1) * PAGE, i * PAGE, PAGE, RW);
	}
	mi = info_of(grant);
	t_ok(mi.out_offsets == 4 * CHUNK && mi.out_bytes == 4 * CHUNK && mi.out_mapped == 5 * CHUNK &&
	     !mi.out_wanted && mi.out_id, "8 MiB, 10 mapped");
	t_eq(held(grant), 15, "all four pieces");

	other_grant = grant;
	pid = t_spawn(touch_returned, NULL);
	t_eq(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status), 1, "a child maps the second");

	t_eq(give_back(grant, CHUNK, CHUNK), 0, "return the second");
	t_eq(memory().free_bytes, before - 3 * CHUNK, "it is free");
	t_eq(held(grant), 13, "three are left");
	mi = info_of(grant);
	t_ok(mi.out_offsets == 4 * CHUNK && mi.out_bytes == 3 * CHUNK && mi.out_mapped == 3 * CHUNK + CHUNK / 2,
	     "and what was mapped of it is not counted");
	t_eq(k_touch(w + CHUNK, true), SIGBUS, "it is not in the window");
	t_eq(k_touch(w, true), 0, "what is before it is");
	t_eq(k_touch(w + 2 * CHUNK, true), 0, "what is behind it is");
	for (i = 0; i < 256; i++) {
		wrong += k_touch(w + 5 * CHUNK + 2 * i * PAGE, true) != SIGBUS;
		wrong += k_touch(w + 5 * CHUNK + (2 * i + 1) * PAGE, true) != 0;
	}
	t_eq(wrong, 0, "its pages are gone from between the others");
	t_eq(k_touch(view + CHUNK + PAGE, true), SIGBUS, "it is not in the view");
	t_eq(view[2 * CHUNK + PAGE], 3, "what is behind it is");
	kill(pid, SIGCONT);
	t_eq(t_reap(pid), 128 + SIGBUS, "nor is it in the child's window");
	t_eq(k_map1(grant, w + CHUNK, CHUNK, PAGE, RW), -ENXIO, "it cannot be mapped");
	t_eq(k_map1(grant, w + CHUNK, CHUNK, CHUNK, RW | HUGE), -ENXIO, "not as 2 MiB either");
	t_eq(k_map1(grant, w + 6 * CHUNK, CHUNK - PAGE, 2 * PAGE, RW), -ENXIO, "nor can a piece across");
	t_eq(k_map1(grant, w + CHUNK, 2 * CHUNK, PAGE, RW), 0, "something else can");

	t_eq(give_back(grant, CHUNK, CHUNK), -ENXIO, "return it again");
	t_eq(give_back(grant, 0, 4 * CHUNK), -ENXIO, "return more, and it");
	t_eq(held(grant), 13, "nothing has changed");
	t_eq(give_back(grant, 0, 0), -EINVAL, "no bytes");
	t_eq(give_back(grant, PAGE, CHUNK), -EINVAL, "offset not aligned");
	t_eq(give_back(grant, 0, PAGE), -EINVAL, "length not aligned");
	t_eq(give_back(grant, 3 * CHUNK, 2 * CHUNK), -EINVAL, "beyond the end");
	t_eq(give_back(grant, ~0ULL << 21, CHUNK), -EINVAL, "far beyond");
	t_eq(k_range(grant, NOM_MEM_RETURN, w, 0, CHUNK, 0), -EINVAL, "an address");
	t_eq(k_range(grant, NOM_MEM_RETURN, NULL, 0, CHUNK, RW), -EOPNOTSUPP, "a flag");

	/* pinned: nobody's, until the pin goes */
	if (pipe(pipes))
		t_bail("pipe");
	v = (struct iovec){ view + 3 * CHUNK, PAGE };
	t_eq(vmsplice(pipes[1], &v, 1, SPLICE_F_NONBLOCK), PAGE, "a page of the fourth is pinned");
	t_eq(give_back(grant, 3 * CHUNK, CHUNK), 0, "return that");
	t_eq(memory().quarantined_bytes, CHUNK, "quarantine");
	t_eq(k_touch(view + 3 * CHUNK, true), SIGBUS, "it is out of the view all the same");
	t_sleep_ms(60);
	t_eq(memory().quarantined_bytes, CHUNK, "for as long as it is pinned");
	t_eq(read(pipes[0], buf, sizeof(buf)), PAGE, "the pin goes");
	before -= 2 * CHUNK;
	t_ok(t_wait(all_free, &before, 5000), "then it is free");
	before += 2 * CHUNK;

	next = k_grant(nom, memory().free_bytes);
	munmap(w, 8 * CHUNK);
	w = k_window(next, memory().total_bytes, PROT_READ);
	mi = info_of(next);
	k_map1(next, w, 0, mi.out_bytes, NOM_MAP_READ | HUGE);
	for (i = 0, wrong = 0; i < mi.out_bytes; i += PAGE)
		wrong += w[i] != 0;
	t_eq(wrong, 0, "the next owner finds zeros");
	munmap(w, memory().total_bytes);
	close(next);

	t_eq(give_back(grant, 0, CHUNK), 0, "return the first");
	t_eq(give_back(grant, 2 * CHUNK, CHUNK), 0, "and the third: all");
	t_ok(memory().free_bytes == before && info_of(grant).out_bytes == 0, "all is free");
	t_eq(k_touch(view, true), SIGBUS, "the view is empty");
	munmap(view, 4 * CHUNK);
	close(grant), close(pipes[0]), close(pipes[1]);
	t_ok(memory().free_bytes == before, "and still after the grant's end");
}

/* A grant that ends in quarantine when it is not whole any more. */
static void rest_in_quarantine(void)
{
	uint64_t before = memory().free_bytes;
	int grant = k_grant(nom, 3 * CHUNK), pipes[2];
	char *view = view_of(grant, 3 * CHUNK), buf[4096];
	struct iovec v = { view, PAGE };

	view[0] = 1;
	if (pipe(pipes) || vmsplice(pipes[1], &v, 1, SPLICE_F_NONBLOCK) != (long)PAGE)
		t_bail("vmsplice");
	t_eq(give_back(grant, CHUNK, CHUNK), 0, "return the second of three");
	munmap(view, 3 * CHUNK);
	close(grant);
	t_eq(memory().quarantined_bytes, 2 * CHUNK, "the grant ends, with a page pinned: two are in quarantine");
	t_eq(memory().free_bytes, before - 2 * CHUNK, "all else is free");
	read(pipes[0], buf, sizeof(buf));
	t_ok(t_wait(all_free, &before, 5000), "then all is");
	t_eq(memory().quarantined_bytes, 0, "and nothing in quarantine");
	close(pipes[0]), close(pipes[1]);
}

/* --- asked for --- */

struct notices {
	unsigned int nr;
	uint64_t wanted;
};

static void see_grant(const struct k_nl_msg *m, void *arg)
{
	struct notices *n = arg;

	if (m->attr[NOM_GENL_A_MEM_WANTED]) {
		n->nr++;
		n->wanted += k_nl_u64(m, NOM_GENL_A_MEM_WANTED);
	}
}

static struct notices dumped(void)
{
	struct notices n = { 0 };
	struct k_nl_req req;

	k_nl_begin(&req, family, NOM_GENL_CMD_GET_GRANTS, NLM_F_DUMP);
	k_nl_talk(sock, &req, see_grant, &n);
	return n;
}

static int notice(uint64_t id, struct nom_board_reclaim *r)
{
	unsigned int i;
	int ret;

	for (i = 0; !(ret = k_board_read(board, NOM_BOARD_RECLAIM, i, r, sizeof(*r))); i++)
		if (r->grant == id)
			return 0;
	return ret;
}

/* The next news of a notice: its state, and the bytes still wanted. */
static int news(int listener, uint64_t id, uint64_t *bytes)
{
	static char buf[8192] __attribute__((aligned(8)));
	struct k_nl_msg m;
	unsigned int i;

	for (i = 0; i < 100; i++) {
		if (k_nl_next(listener, buf, sizeof(buf), &m, 2000))
			return -EAGAIN;
		if (m.cmd != NOM_GENL_CMD_RECLAIM_NTF || k_nl_u64(&m, NOM_GENL_A_HANDLE) != id)
			continue;
		*bytes = k_nl_u64(&m, NOM_GENL_A_MEM_WANTED);
		return k_nl_u32(&m, NOM_GENL_A_STATE);
	}
	return -ENOENT;
}

static int unprivileged(void *id)
{
	if (setgid(65534) || setuid(65534))
		return 200;
	return -reclaim(*(uint64_t *)id, CHUNK, 0);
}

static bool lost_one(void *grant)
{
	return info_of(*(int *)grant).out_bytes <= 2 * CHUNK;
}

static bool lost_two(void *grant)
{
	return info_of(*(int *)grant).out_bytes <= CHUNK;
}

static void met(int listener, struct k_lease *l)
{
	uint64_t before = memory().free_bytes, bytes;
	int grant = k_grant(nom, 4 * CHUNK);
	uint64_t id = info_of(grant).out_id;
	struct nom_board_reclaim r;

	t_eq(reclaim(id, 2 * CHUNK, 400), 0, "4 MiB of 8 are asked back");
	t_eq(l->sh->count[9], 1, "a subscriber gets an event");
	t_eq(notice(id, &r), 0, "the board has the notice");
	t_ok(r.bytes == 2 * CHUNK && r.pid == (uint32_t)getpid() && r.deadline_ns, "with all it should");
	t_ok(news(listener, id, &bytes) == NOM_RECLAIM_ASKED && bytes == 2 * CHUNK, "so has netlink");
	t_ok(dumped().nr == 1 && dumped().wanted == 2 * CHUNK, "the list of grants shows it");
	t_ok(info_of(grant).out_wanted == 2 * CHUNK && info_of(grant).out_deadline_ns == r.deadline_ns,
	     "and the owner can ask");
	t_eq(reclaim(id, CHUNK, 0), -EBUSY, "one notice at a time");
	t_eq(give_back(grant, 0, CHUNK), 0, "half of it is returned");
	t_ok(!notice(id, &r) && r.bytes == CHUNK, "the notice stands, with the rest");
	t_ok(news(listener, id, &bytes) == NOM_RECLAIM_ASKED && bytes == CHUNK, "as told");
	t_eq(give_back(grant, 2 * CHUNK, CHUNK), 0, "the other half is returned");
	t_eq(notice(id, &r), -ENOENT, "the notice is gone");
	t_ok(news(listener, id, &bytes) == NOM_RECLAIM_MET && !bytes, "as told");
	t_eq(l->sh->count[9], 3, "each was an event");
	t_sleep_ms(450);
	t_eq(held(grant), 10, "nothing is taken at the deadline");
	close(grant);
	t_ok(memory().free_bytes == before, "all is free");
}

static void taken(int listener)
{
	uint64_t before = memory().free_bytes, bytes;
	int grant = k_grant(nom, 3 * CHUNK), pipes[2];
	uint64_t id = info_of(grant).out_id;
	char *w = k_window(grant, 3 * CHUNK, PROT_READ | PROT_WRITE), *view, buf[4096];
	struct nom_board_reclaim r;
	struct timespec now;
	struct iovec v;

	k_map1(grant, w, 0, 3 * CHUNK, RW);
	t_eq(reclaim(id, CHUNK, 300), 0, "2 MiB of 6 are asked back");
	t_eq(news(listener, id, &bytes), NOM_RECLAIM_ASKED, "(news)");
	notice(id, &r);
	t_ok(t_wait(lost_one, &grant, 5000), "and taken");
	clock_gettime(CLOCK_MONOTONIC, &now);
	t_ok((uint64_t)now.tv_sec * 1000000000 + now.tv_nsec >= r.deadline_ns, "not before the deadline");
	t_eq(held(grant), 3, "from the end");
	t_ok(news(listener, id, &bytes) == NOM_RECLAIM_TAKEN && !bytes, "as told");
	t_eq(notice(id, &r), -ENOENT, "the notice is gone");
	t_eq(memory().free_bytes, before - 2 * CHUNK, "it is free");
	t_eq(k_touch(w + 2 * CHUNK + 7, true), SIGBUS, "it is not mapped any more");
	t_eq(k_touch(w + 2 * CHUNK - 7, true), 0, "the rest is");
	t_eq(k_map1(grant, w + 2 * CHUNK, 2 * CHUNK, PAGE, RW), -ENXIO, "nor can it be");

	/* what is pinned helps nobody: it is taken last */
	view = view_of(grant, 2 * CHUNK);
	v = (struct iovec){ view + CHUNK, PAGE };
	if (pipe(pipes) || vmsplice(pipes[1], &v, 1, SPLICE_F_NONBLOCK) != (long)PAGE)
		t_bail("vmsplice");
	view[0] = 1;
	t_eq(reclaim(id, CHUNK, 0), 0, "another 2 MiB, at once, the last being pinned");
	t_ok(t_wait(lost_two, &grant, 5000), "taken");
	t_eq(held(grant), 2, "it is what was not pinned");
	t_eq(k_touch(view, true), SIGBUS, "out of the view");
	t_eq(k_touch(view + CHUNK, true), 0, "what is pinned is there");
	t_eq(memory().free_bytes, before - CHUNK, "and what was taken is free");
	read(pipes[0], buf, sizeof(buf));
	t_eq(reclaim(id, CHUNK, 3600000), 0, "the last, in an hour");
	munmap(w, 3 * CHUNK), munmap(view, 2 * CHUNK);
	close(grant);
	t_eq(notice(id, &r), -ENOENT, "the grant ends, and the notice with it");
	while (news(listener, id, &bytes) == NOM_RECLAIM_ASKED || bytes)
		;
	close(pipes[0]), close(pipes[1]);
	t_ok(t_wait(all_free, &before, 5000), "all is free");
}

#define RACE_ROUNDS	12

/* The owner returns 8 chunks at once while 12 fall due: those 8 count, or came too late. */
static void returned_at_the_deadline(void)
{
	unsigned int round, odd = 0, first = 0;
	struct nom_map_entry e[8];
	uint64_t want, before = memory().free_bytes;
	int grant, i;
	char *w;

	for (round = 0; round < RACE_ROUNDS; round++) {
		grant = k_grant(nom, 20 * CHUNK);
		/* ten thousand entries to look through make a return longer than the deadline */
		w = k_window(grant, 20 * CHUNK, PROT_READ | PROT_WRITE);
		k_map1(grant, w, 0, 20 * CHUNK, RW);
		for (i = 0; i < 8; i++)
			e[i] = (struct nom_map_entry){ .offset = i * CHUNK, .bytes = CHUNK };
		reclaim(info_of(grant).out_id, 12 * CHUNK, 1 + round % 4);
		k_array(grant, NOM_MEM_RETURN, e, 8, NULL);
		for (i = 0; i < 500 && info_of(grant).out_wanted; i++)
			t_sleep_ms(1);
		want = info_of(grant).out_bytes;
		first += want == 8 * CHUNK;
		odd += want != 8 * CHUNK && want != 0;
		munmap(w, 20 * CHUNK);
		close(grant);
	}
	t_eq(odd, 0, "no more is taken than is owed (returned ahead of the taking in %u of %u)", first, RACE_ROUNDS);
	t_ok(t_wait(all_free, &before, 5000), "all is free");
}

static void refused(void)
{
	int grants[80], grant = k_grant(nom, 2 * CHUNK), i, nr = 0;
	uint64_t id = info_of(grant).out_id;
	struct nom_board_reclaim r;
	struct k_nl_req req;

	t_eq(reclaim(id + 1000, CHUNK, 0), -ENOENT, "no such grant");
	t_eq(reclaim(id, 3 * CHUNK, 0), -EINVAL, "more than it has");
	t_eq(reclaim(id, ~0ULL << 21, 0), -EINVAL, "much more");
	t_eq(reclaim(id, 0, 0), -EINVAL, "nothing");
	t_eq(reclaim(id, PAGE, 0), -EINVAL, "not a multiple of 2 MiB");
	t_eq(reclaim(id, CHUNK, 3600001), -ERANGE, "a deadline of more than an hour");
	t_eq(t_child(unprivileged, &id), EPERM, "without CAP_SYS_ADMIN");
	k_nl_begin(&req, family, NOM_GENL_CMD_RECLAIM, 0);
	k_nl_put(&req, NOM_GENL_A_HANDLE, &id, sizeof(id));
	t_eq(k_nl_talk(sock, &req, NULL, NULL), -EINVAL, "nothing but the grant");
	t_eq(notice(id, &r), -ENOENT, "no notice by all this");
	t_eq(held(grant), 3, "nor was anything taken");
	for (i = 0; i < 65; i++) {
		grants[i] = k_grant(nom, CHUNK);
		nr += !reclaim(info_of(grants[i]).out_id, CHUNK, 60000);
	}
	t_eq(nr, 64, "as many notices as the board has room for");
	t_eq(reclaim(id, CHUNK, 60000), -ENOSPC, "then no more");
	for (i = 0; i < 65; i++)
		close(grants[i]);
	t_eq(board->section[NOM_BOARD_RECLAIM].nr, 0, "the board is clean");
	t_eq(dumped().nr, 0, "so is the list of grants");
	close(grant);
}

/* --- a leaseholder whose memory is taken under its hands --- */

static int lh_grant;
static char *lh_window;
static volatile long lh_ret;
static volatile unsigned int lh_faults;
static struct nom_map_entry lh_entry;
static struct nom_mem_map lh_map = { .size = sizeof(lh_map), .nr = 1, .entries = (uintptr_t)&lh_entry };

K_HANDLER static int pager(struct nom_frame *f)
{
	if (f->vector != 14)
		return 1;
	lh_faults++;
	lh_entry.va = f->cr2 & ~(PAGE - 1);
	lh_entry.offset = lh_entry.va - (uintptr_t)lh_window;
	lh_ret = k_sys3(SYS_ioctl, lh_grant, NOM_MEM_MAP, (long)&lh_map);
	if (lh_ret != -ENXIO)
		return lh_ret != 0;
	/* gone: another page does it */
	lh_entry.offset = 0;
	return k_sys3(SYS_ioctl, lh_grant, NOM_MEM_MAP, (long)&lh_map) != 0;
}

static int taken_by_upcall(void *unused)
{
	volatile char *p;
	struct k_lease l;

	if (k_claim(nom, NOM_CPU_ANY, 0, &l))
		return 1;
	lh_grant = k_grant(nom, 2 * CHUNK);
	lh_window = k_window(lh_grant, 2 * CHUNK, PROT_READ | PROT_WRITE);
	lh_entry = (struct nom_map_entry){ .bytes = PAGE, .flags = RW };
	k_on_trap = pager;
	if (k_enter(&l, 1ULL << 14))
		return 2;
	p = lh_window + CHUNK + 5 * PAGE;
	*p = 17;
	if (lh_faults != 1 || lh_ret)
		return 3;
	if (reclaim(info_of(lh_grant).out_id, CHUNK, 20))
		return 4;
	while (*p == 17)	/* until it is taken, and the first page stands in */
		;
	return lh_faults == 2 && lh_ret == -ENXIO && *p == 0 ? 0 : 5;
}

/* --- everything at once --- */

#define ST_CHUNKS	8

static int st_grant;
static char *st_window, *st_view;
static uint64_t st_id;
static volatile bool st_stop;
static unsigned long st_bad, st_ops;

/* Maps, changes, folds and unmaps at random; holes are all right. */
static void *st_mapper(void *seed)
{
	unsigned int x = (uintptr_t)seed, n = 0;

	for (; !st_stop; n++) {
		unsigned int chunk, page;
		int ret;

		x = x * 1103515245 + 12345;
		chunk = x >> 16 & (ST_CHUNKS - 1);
		page = x >> 19 & 511;
		switch (x >> 28) {
		case 0 ... 3:
			ret = k_map1(st_grant, st_window + chunk * CHUNK, chunk * CHUNK, CHUNK, RW | HUGE);
			break;
		case 4 ... 6:
			ret = k_map1(st_grant, st_window + chunk * CHUNK, chunk * CHUNK, CHUNK, RW);
			break;
		case 7 ... 8:
			ret = k_map1(st_grant, st_window + chunk * CHUNK + page * PAGE,
				     chunk * CHUNK + page * PAGE, PAGE, RW);
			break;
		case 9:
			ret = k_range(st_grant, NOM_MEM_PROMOTE, st_window + chunk * CHUNK, 0, CHUNK, NOM_MAP_FILL);
			break;
		case 10:
			ret = k_range(st_grant, NOM_MEM_DEMOTE, st_window + chunk * CHUNK, 0, CHUNK, 0);
			break;
		case 11:
			ret = k_range(st_grant, NOM_MEM_PROTECT, st_window + chunk * CHUNK, 0, CHUNK, RW);
			break;
		case 12 ... 13:
			ret = give_back(st_grant, chunk * CHUNK, CHUNK);
			break;
		default:
			ret = k_unmap1(st_grant, st_window + chunk * CHUNK, CHUNK, 0);
		}
		if (ret && ret != -EEXIST && ret != -ENXIO && ret != -ENOENT && ret != -EINVAL)
			__atomic_add_fetch(&st_bad, 1, __ATOMIC_RELAXED);
	}
	__atomic_add_fetch(&st_ops, n, __ATOMIC_RELAXED);
	return NULL;
}

/*
 * A grant that is never anything but zero or the word of its owner: two such
 * processes pass memory to each other, and each finds the other's word if a page
 * is still mapped, or was not zeroed.
 */
static int st_owner(void *arg)
{
	uint64_t word = (uintptr_t)arg | 1ULL << 60;
	pthread_t threads[2];
	unsigned int i, turn;

	family = 0;
	sock = k_nl_open(&family, &group);
	st_grant = k_grant(nom, ST_CHUNKS * CHUNK);
	if (st_grant < 0)
		return 0;		/* the others have it all just now */
	st_id = info_of(st_grant).out_id;
	st_window = k_window(st_grant, ST_CHUNKS * CHUNK, PROT_READ | PROT_WRITE);
	st_view = view_of(st_grant, ST_CHUNKS * CHUNK);
	for (i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, st_mapper, (void *)(word + i));
	for (turn = 0; turn < 1500; turn++) {
		unsigned int at = (turn * 2654435761U >> 8) % (ST_CHUNKS * 512);
		volatile uint64_t *p = (void *)((turn & 4 ? st_view : st_window) + at * PAGE);

		if (!sigsetjmp(k_out, 1)) {
			if (*p && *p != word)
				st_bad++;
			*p = word;
		}
		if (turn % 256 == 0)
			reclaim(st_id, CHUNK, turn / 256 % 4);
	}
	if (word & 2)
		raise(SIGKILL);		/* in the middle of it all */
	st_stop = true;
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	return st_bad ? 1 : 0;
}

static void stress(void)
{
	uint64_t before = memory().free_bytes;
	struct timespec began, now;
	unsigned int rounds = 0, bad = 0, i;
	pid_t pids[3];

	clock_gettime(CLOCK_MONOTONIC, &began);
	do {
		for (i = 0; i < 3; i++)
			pids[i] = t_spawn(st_owner, (void *)(uintptr_t)(4 * rounds + i));
		for (i = 0; i < 3; i++) {
			int ret = t_reap(pids[i]);

			bad += ret && ret != 128 + SIGKILL;
		}
		rounds++;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec - began.tv_sec < 3 && rounds < 100);
	t_eq(bad, 0, "no page of one process was seen by another, in %u rounds of three", rounds);
	t_ok(t_wait(all_free, &before, 5000), "nothing is left over");
}

int main(void)
{
	struct k_lease l;
	int listener;

	k_catch();
	nom = k_open(O_RDWR);
	board = k_board(nom);
	sock = k_nl_open(&family, &group);
	listener = k_nl_open(&family, &group);
	k_nl_join(listener, group);
	if (sock < 0 || k_claim(nom, NOM_CPU_ANY, 0, &l))
		t_bail("no netlink, or no core");
	k_subscribe(&l, 9, 1ULL << NOM_BOARD_RECLAIM);

	returned();
	rest_in_quarantine();
	met(listener, &l);
	taken(listener);
	returned_at_the_deadline();
	refused();
	close(listener);
	munmap(l.sh, PAGE);
	close(l.fd);
	t_eq(t_child(taken_by_upcall, NULL), 0, "a leaseholder gets an upcall for what was taken");
	stress();
	t_eq(board->section[NOM_BOARD_RECLAIM].nr, 0, "no notice is left over");
	return t_done();
}
