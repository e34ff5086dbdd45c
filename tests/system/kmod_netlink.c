// SPDX-License-Identifier: MIT
/*
 * kmod_netlink: the "nom" generic netlink family - prices and who may set them,
 * dumps of what there is and whose it is, and the news on "changes".  Fills
 * the board with prices, and therefore loads the module anew at its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "lib/kmod.h"
#include "lib/kmod_nl.h"

static int nom, sock, family, group;
static const struct nom_board *board;

static int price_on_board(const char *name, struct nom_board_price *p)
{
	unsigned int i;
	int ret;

	for (i = 0; !(ret = k_board_read(board, NOM_BOARD_PRICES, i, p, sizeof(*p))); i++)
		if (!strcmp(p->name, name))
			return 0;
	return ret;
}

static int set(const char *name, const char *unit, int64_t ucr)
{
	return k_nl_price(sock, family, name, unit, ucr);
}

static void prices(void)
{
	uint64_t changes = k_board_changes(board, NOM_BOARD_PRICES);
	struct nom_board_price p, q;

	t_eq(set("t.new", NULL, 5), -ENOENT, "a new price without a unit");
	t_eq(k_board_changes(board, NOM_BOARD_PRICES), changes, "changes nothing");
	t_eq(set("t.new", "Gbit", 1000000), 0, "with a unit");
	t_eq(price_on_board("t.new", &p), 0, "it is on the board");
	t_ok(!strcmp(p.unit, "Gbit") && p.price_ucr == 1000000 && p.since_ns, "with all of it");
	t_eq(k_board_changes(board, NOM_BOARD_PRICES), changes + 1, "the board counts one change");
	t_eq(set("t.new", NULL, 1000000), 0, "the same again");
	t_eq(price_on_board("t.new", &q), 0, "is there");
	t_ok(!memcmp(&p, &q, sizeof(p)), "and changes nothing");
	t_eq(set("t.new", NULL, 10000000), 0, "another value");
	price_on_board("t.new", &q);
	t_ok(q.price_ucr == 10000000 && q.changes == p.changes + 1 && q.since_ns > p.since_ns,
	     "changes it");
	t_eq(set("t.new", "GiB", 5), -EINVAL, "another unit");
	t_eq(set("t.new", "Gbit", 0), 0, "free of charge");
	t_eq(set("t.new", "Gbit", NOM_PRICE_MAX_UCR), 0, "as expensive as may be");
	t_eq(set("t.new", "Gbit", NOM_PRICE_MAX_UCR + 1), -ERANGE, "more expensive");
	t_eq(set("t.new", "Gbit", -1), -ERANGE, "a negative price");
	t_eq(set("t.new", "Gbit", INT64_MIN), -ERANGE, "the most negative price");
	price_on_board("t.new", &q);
	t_ok(q.price_ucr == NOM_PRICE_MAX_UCR, "what was refused changed nothing");
}

static void names(void)
{
	static const char *const bad_names[] = {
		"", "Upper", "with blank", "slash/", "new\nline", "umlaut\xc3\xa4", "a*", "\x7f", "%n",
	};
	static const char *const bad_units[] = { "", "core hour", "tab\t", "\xc3\xa4", "\x1b[31m" };
	const char *longest = "abcdefghijklmnopqrstu_9", *too_long = "abcdefghijklmnopqrstu_9x";
	struct nom_board_price p;
	struct k_nl_req req;
	unsigned int i;

	for (i = 0; i < sizeof(bad_names) / sizeof(bad_names[0]); i++)
		t_eq(set(bad_names[i], "Gbit", 1), -EINVAL, "bad name %u", i);
	for (i = 0; i < sizeof(bad_units) / sizeof(bad_units[0]); i++)
		t_eq(set("t.unit", bad_units[i], 1), -EINVAL, "bad unit %u", i);
	t_eq(price_on_board("t.unit", &p), -ENOENT, "none of them is on the board");
	t_eq(set(longest, "core-hour", 1), 0, "the longest name");
	t_eq(price_on_board(longest, &p), 0, "is on the board");
	t_eq(set(too_long, "core-hour", 1), -EINVAL, "a longer name");
	t_eq(set("t.unit", "abcdefghijklmnopqrstuvwx", 1), -EINVAL, "a longer unit");

	k_nl_begin(&req, family, NOM_GENL_CMD_SET_PRICE, 0);
	k_nl_put(&req, NOM_GENL_A_PRICE_NAME, "nonul", 5);
	k_nl_str(&req, NOM_GENL_A_PRICE_UNIT, "Gbit");
	k_nl_s64(&req, NOM_GENL_A_PRICE_UCR, 1);
	t_eq(k_nl_talk(sock, &req, NULL, NULL), -EINVAL, "a name without its end");
	k_nl_begin(&req, family, NOM_GENL_CMD_SET_PRICE, 0);
	k_nl_str(&req, NOM_GENL_A_PRICE_NAME, "t.new");
	t_eq(k_nl_talk(sock, &req, NULL, NULL), -EINVAL, "no value");
	k_nl_begin(&req, family, NOM_GENL_CMD_SET_PRICE, 0);
	k_nl_s64(&req, NOM_GENL_A_PRICE_UCR, 1);
	t_eq(k_nl_talk(sock, &req, NULL, NULL), -EINVAL, "no name");
	k_nl_begin(&req, family, NOM_GENL_CMD_SET_PRICE, 0);
	k_nl_str(&req, NOM_GENL_A_PRICE_NAME, "t.new");
	k_nl_put(&req, NOM_GENL_A_PRICE_UCR, "abcd", 4);
	t_ok(k_nl_talk(sock, &req, NULL, NULL) < 0, "half a value");
	k_nl_begin(&req, family, NOM_GENL_CMD_SET_PRICE, 0);
	t_eq(k_nl_talk(sock, &req, NULL, NULL), -EINVAL, "nothing at all");
	k_nl_begin(&req, family, NOM_GENL_CMD_SET_PRICE, 0);
	k_nl_str(&req, NOM_GENL_A_PRICE_NAME, "t.new");
	k_nl_s64(&req, NOM_GENL_A_PRICE_UCR, 1);
	k_nl_s64(&req, NOM_GENL_A_MAX + 1, 1);
	t_eq(k_nl_talk(sock, &req, NULL, NULL), -EINVAL, "an unknown attribute");
	k_nl_begin(&req, family, 99, 0);
	t_eq(k_nl_talk(sock, &req, NULL, NULL), -EOPNOTSUPP, "an unknown command");
	k_nl_begin(&req, family, NOM_GENL_CMD_CORE_NTF, 0);
	t_eq(k_nl_talk(sock, &req, NULL, NULL), -EOPNOTSUPP, "a notification is no command");
}

static void removal(void)
{
	uint64_t changes;
	unsigned int nr = board->section[NOM_BOARD_PRICES].nr;
	struct nom_board_price p;
	struct k_nl_req req;

	t_ok(!set("t.one", "x", 1) && !set("t.two", "y", 2) && !set("t.three", "z", 3), "three more prices");
	changes = k_board_changes(board, NOM_BOARD_PRICES);
	t_eq(k_nl_del_price(sock, family, "t.one"), 0, "take the first of them off the board");
	t_eq(k_board_changes(board, NOM_BOARD_PRICES), changes + 1, "the board counts one change");
	t_eq(board->section[NOM_BOARD_PRICES].nr, nr + 2, "there is one less");
	t_eq(price_on_board("t.one", &p), -ENOENT, "it is gone");
	t_ok(!price_on_board("t.two", &p) && p.price_ucr == 2 && !strcmp(p.unit, "y"), "the second is as it was");
	t_ok(!price_on_board("t.three", &p) && p.price_ucr == 3 && !strcmp(p.unit, "z"), "the third, too");
	t_eq(k_nl_del_price(sock, family, "t.one"), -ENOENT, "once more");
	t_eq(k_board_changes(board, NOM_BOARD_PRICES), changes + 1, "changes nothing");
	t_eq(set("t.one", NULL, 4), -ENOENT, "it has forgotten its unit");
	t_eq(set("t.one", "other", 4), 0, "and may come back with another");
	t_ok(!price_on_board("t.one", &p) && p.changes == 1, "as a new one");
	t_ok(!k_nl_del_price(sock, family, "t.one") && !k_nl_del_price(sock, family, "t.three") &&
	     !k_nl_del_price(sock, family, "t.two"), "all go");
	t_eq(board->section[NOM_BOARD_PRICES].nr, nr, "as many as before");
	t_eq(k_nl_del_price(sock, family, NULL), -EINVAL, "no name");
	t_eq(k_nl_del_price(sock, family, ""), -ENOENT, "an empty one");
	t_eq(k_nl_del_price(sock, family, "abcdefghijklmnopqrstu_9x"), -EINVAL, "one that is too long");
	k_nl_begin(&req, family, NOM_GENL_CMD_DEL_PRICE, 0);
	k_nl_str(&req, NOM_GENL_A_PRICE_NAME, "t.new");
	k_nl_s64(&req, NOM_GENL_A_PRICE_UCR, 1);
	t_eq(k_nl_talk(sock, &req, NULL, NULL), -EINVAL, "an attribute it does not take");
	t_eq(price_on_board("t.new", &p), 0, "what was refused removed nothing");
}

static int unprivileged_removal(void *unused)
{
	int f, g, s;

	if (setgid(65534) || setuid(65534))
		return 200;
	s = k_nl_open(&f, &g);
	return s < 0 ? 201 : -k_nl_del_price(s, f, "t.new");
}

static int unprivileged(void *unused)
{
	int f, g, s;

	if (setgid(65534) || setuid(65534))
		return 200;
	s = k_nl_open(&f, &g);
	if (s < 0)
		return 201;
	return -k_nl_price(s, f, "t.new", "Gbit", 77);
}

static void table_full(void)
{
	unsigned int i, before = board->section[NOM_BOARD_PRICES].nr;
	unsigned int max = board->section[NOM_BOARD_PRICES].max, good = 0;
	char name[NOM_PRICE_NAME_MAX];

	for (i = before; i < max; i++) {
		snprintf(name, sizeof(name), "t.fill.%u", i);
		good += set(name, "x", i) == 0;
	}
	t_eq(good, max - before, "prices until the board is full: %u", max);
	t_eq(set("t.one.more", "x", 1), -ENOSPC, "one more");
	t_eq(set("t.new", NULL, 3), 0, "those on it can still change");
	t_eq(k_nl_del_price(sock, family, "t.fill.7"), 0, "one is removed");
	t_eq(set("t.one.more", "x", 1), 0, "now there is room");
}

/* --- dumps --- */

struct seen {
	unsigned int nr;
	uint64_t handle, bytes, mapped, total, free_bytes;
	uint32_t state, pid, uid, cores, version;
	char comm[32];
	bool match;
	int64_t ucr;
	uint64_t posts;
};

static void see_core(const struct k_nl_msg *m, void *arg)
{
	struct seen *s = arg;

	/* of several cores keep the one that is leased, if there is one */
	if (s->nr++ && k_nl_u32(m, NOM_GENL_A_STATE) == NOM_CORE_FREE)
		return;
	s->state = k_nl_u32(m, NOM_GENL_A_STATE);
	s->handle = k_nl_u64(m, NOM_GENL_A_HANDLE);
	s->pid = k_nl_u32(m, NOM_GENL_A_PID);
	s->uid = k_nl_u32(m, NOM_GENL_A_UID);
	s->posts = k_nl_u64(m, NOM_GENL_A_POSTS);
	snprintf(s->comm, sizeof(s->comm), "%s", k_nl_string(m, NOM_GENL_A_COMM));
}

static void see_grant(const struct k_nl_msg *m, void *arg)
{
	struct seen *s = arg;

	s->nr++;
	s->bytes += k_nl_u64(m, NOM_GENL_A_MEM_GRANTED);
	s->mapped += k_nl_u64(m, NOM_GENL_A_MEM_MAPPED);
	s->pid = k_nl_u32(m, NOM_GENL_A_PID);
	snprintf(s->comm, sizeof(s->comm), "%s", k_nl_string(m, NOM_GENL_A_COMM));
}

static void see_price(const struct k_nl_msg *m, void *arg)
{
	struct seen *s = arg;

	s->nr++;
	if (!strcmp(k_nl_string(m, NOM_GENL_A_PRICE_NAME), "t.new")) {
		s->match = !strcmp(k_nl_string(m, NOM_GENL_A_PRICE_UNIT), "Gbit");
		s->ucr = k_nl_u64(m, NOM_GENL_A_PRICE_UCR);
	}
}

static void see_info(const struct k_nl_msg *m, void *arg)
{
	struct seen *s = arg;

	s->nr++;
	s->version = k_nl_u32(m, NOM_GENL_A_VERSION);
	s->cores = k_nl_u32(m, NOM_GENL_A_NR_CORES);
	s->total = k_nl_u64(m, NOM_GENL_A_MEM_TOTAL);
	s->free_bytes = k_nl_u64(m, NOM_GENL_A_MEM_FREE);
}

static struct seen ask(uint8_t cmd, uint16_t flags, void (*fn)(const struct k_nl_msg *, void *))
{
	struct seen s = { 0 };
	struct k_nl_req req;
	int ret;

	k_nl_begin(&req, family, cmd, flags);
	ret = k_nl_talk(sock, &req, fn, &s);
	if (ret)
		t_diag("command %u: %s", cmd, strerror(-ret));
	return s;
}

static void dumps(void)
{
	enum { GRANTS = 80 };
	struct nom_info info;
	int grants[GRANTS], i;
	struct k_lease l;
	struct seen s;
	char *w;

	k_info(nom, &info);
	s = ask(NOM_GENL_CMD_GET_INFO, 0, see_info);
	t_ok(s.nr == 1 && s.version == NOM_ABI_VERSION && s.cores == info.out_nr_cores &&
	     s.total == info.out_mem_bytes && s.free_bytes == k_mem_free(board), "information");

	s = ask(NOM_GENL_CMD_GET_CORES, NLM_F_DUMP, see_core);
	t_eq(s.nr, info.out_nr_cores, "cores: all of them");
	t_ok(s.state == NOM_CORE_FREE && s.handle == ~0ULL && s.pid == ~0U, "a free one has no owner");
	t_eq(k_claim(nom, NOM_CPU_ANY, 1, &l), 0, "claim");
	k_notify(nom, l.handle, 0);
	s = ask(NOM_GENL_CMD_GET_CORES, NLM_F_DUMP, see_core);
	t_ok(s.state == NOM_CORE_LEASED && s.handle == l.handle, "a leased one: state and handle");
	t_ok(s.pid == (uint32_t)getpid() && s.uid == 0 && !strcmp(s.comm, "kmod_netlink"),
	     "process, user, program: %u %u %s", s.pid, s.uid, s.comm);
	t_eq(s.posts, 1, "and what happened to it");
	munmap(l.sh, PAGE);
	close(l.fd);

	s = ask(NOM_GENL_CMD_GET_GRANTS, NLM_F_DUMP, see_grant);
	t_eq(s.nr, 0, "no grants");
	for (i = 0; i < GRANTS; i++)
		grants[i] = k_grant(nom, CHUNK);
	w = k_window(grants[7], 2 * CHUNK, PROT_READ);
	k_map1(grants[7], w, 0, 5 * PAGE, NOM_MAP_READ);
	k_map1(grants[7], w + CHUNK, 0, CHUNK, NOM_MAP_READ | NOM_MAP_HUGE);
	s = ask(NOM_GENL_CMD_GET_GRANTS, NLM_F_DUMP, see_grant);
	t_ok(s.nr == GRANTS && s.bytes == GRANTS * CHUNK, "%u grants: all of them, once", s.nr);
	t_ok(s.pid == (uint32_t)getpid() && !strcmp(s.comm, "kmod_netlink"), "and whose they are");
	t_eq(s.mapped, 5 * PAGE + CHUNK, "mapped bytes are counted");
	k_unmap1(grants[7], w + PAGE, PAGE, 0);
	t_eq(ask(NOM_GENL_CMD_GET_GRANTS, NLM_F_DUMP, see_grant).mapped, 4 * PAGE + CHUNK, "unmapped ones, too");
	k_unmap1(grants[7], w + CHUNK, CHUNK, 0);
	t_eq(ask(NOM_GENL_CMD_GET_GRANTS, NLM_F_DUMP, see_grant).mapped, 4 * PAGE, "of 2 MiB likewise");
	munmap(w, 2 * CHUNK);
	t_eq(ask(NOM_GENL_CMD_GET_GRANTS, NLM_F_DUMP, see_grant).mapped, 0, "and those of a window that ends");
	for (i = 0; i < GRANTS; i++)
		close(grants[i]);

	s = ask(NOM_GENL_CMD_GET_PRICES, NLM_F_DUMP, see_price);
	t_ok(s.nr == board->section[NOM_BOARD_PRICES].nr && s.match && s.ucr == 3,
	     "%u prices, ours among them", s.nr);
}

/* --- multicast --- */

static int next(int listener, struct k_nl_msg *m)
{
	static char buf[8192] __attribute__((aligned(8)));
	int ret = k_nl_next(listener, buf, sizeof(buf), m, 2000);

	return ret ? ret : m->cmd;
}

static void news(void)
{
	struct k_nl_msg m = { 0 };
	struct k_lease l;
	int listener, f, g, grant;

	listener = k_nl_open(&f, &g);
	t_eq(k_nl_join(listener, group), 0, "listen to \"changes\"");
	t_eq(set("t.new", NULL, 4), 0, "a price changes");
	t_eq(next(listener, &m), NOM_GENL_CMD_PRICE_NTF, "news of a price");
	t_ok(!strcmp(k_nl_string(&m, NOM_GENL_A_PRICE_NAME), "t.new") &&
	     k_nl_u64(&m, NOM_GENL_A_PRICE_UCR) == 4, "the right one");
	t_eq(k_nl_del_price(sock, family, "t.one.more"), 0, "a price goes");
	t_eq(next(listener, &m), NOM_GENL_CMD_PRICE_DEL_NTF, "news of its end");
	t_ok(!strcmp(k_nl_string(&m, NOM_GENL_A_PRICE_NAME), "t.one.more") &&
	     k_nl_u64(&m, NOM_GENL_A_PRICE_UCR) == 1, "with what it was");
	set("t.new", NULL, 4);
	t_eq(k_claim(nom, NOM_CPU_ANY, 0, &l), 0, "a core is leased");
	t_eq(next(listener, &m), NOM_GENL_CMD_CORE_NTF, "news of a core (and none of a price that stayed)");
	t_ok(k_nl_u32(&m, NOM_GENL_A_STATE) == NOM_CORE_LEASED && k_nl_u64(&m, NOM_GENL_A_HANDLE) == l.handle &&
	     k_nl_u32(&m, NOM_GENL_A_PID) == (uint32_t)getpid(), "leased, by us");
	k_enter(&l, 0);
	t_eq(next(listener, &m), NOM_GENL_CMD_CORE_NTF, "it is entered: news");
	t_eq(k_nl_u32(&m, NOM_GENL_A_STATE), NOM_CORE_RUNNING, "running");
	k_leave(&l);
	t_eq(next(listener, &m), NOM_GENL_CMD_CORE_NTF, "it is left: news");
	t_eq(k_nl_u32(&m, NOM_GENL_A_STATE), NOM_CORE_FREE, "free");
	grant = k_grant(nom, CHUNK);
	t_eq(next(listener, &m), NOM_GENL_CMD_MEM_NTF, "a grant: news of memory");
	t_eq(k_nl_u64(&m, NOM_GENL_A_MEM_GRANTED), CHUNK, "so much is granted");
	close(grant);
	t_eq(next(listener, &m), NOM_GENL_CMD_MEM_NTF, "its end: news");
	t_eq(k_nl_u64(&m, NOM_GENL_A_MEM_GRANTED), 0, "nothing is granted");
	t_eq(next(listener, &m), -EAGAIN, "no more news");
	munmap(l.sh, PAGE);
	close(l.fd);
	close(listener);
}

int main(void)
{
	nom = k_open(O_RDWR);
	board = k_board(nom);
	sock = k_nl_open(&family, &group);
	if (sock < 0)
		t_bail("generic netlink family nom: %s", strerror(-sock));
	prices();
	names();
	t_eq(t_child(unprivileged, NULL), EPERM, "an unprivileged user sets no price");
	t_eq(t_child(unprivileged_removal, NULL), EPERM, "nor removes one");
	removal();
	table_full();
	dumps();
	news();

	close(sock);
	munmap((void *)board, board->bytes);
	close(nom);
	t_eq(k_unload(), 0, "unload the module");
	t_eq(k_load(), 0, "load it again");
	nom = k_open(O_RDONLY);
	board = k_board(nom);
	t_eq(board->section[NOM_BOARD_PRICES].nr, 0, "no prices are left");
	return t_done();
}
