// SPDX-License-Identifier: MIT
/*
 * kmod_truth: what sysfs, debugfs and the trace events say of leases and grants is
 * what the module's own interfaces say, to whom it may be said.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>
#include "lib/kmod.h"
#include "lib/kmod_nl.h"

#define SYSFS		"/sys/class/misc/nom/"
#define DEBUGFS		"/sys/kernel/debug/nom/"
#define TRACEFS		"/sys/kernel/tracing/"

static int nom;
static struct nom_info info;
static const struct nom_board *board;

/* A file's text without the last newline, or -errno */
static int slurp(const char *path, char *out, size_t bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = 0;

	out[0] = 0;
	if (fd < 0)
		return -errno;
	while (len + 1 < bytes && (n = read(fd, out + len, bytes - 1 - len)) > 0)
		len += (size_t)n;
	n = n < 0 ? -errno : 0;
	close(fd);
	out[len] = 0;
	if (len && out[len - 1] == '\n')
		out[len - 1] = 0;
	return (int)n;
}

/* sysfs says so? */
static bool says(const char *file, const char *want)
{
	char path[96], text[128];
	int ret;

	snprintf(path, sizeof(path), SYSFS "%s", file);
	ret = slurp(path, text, sizeof(text));
	if (!ret && !strcmp(text, want))
		return true;
	t_diag("%s: %s, not %s", path, ret ? strerror(-ret) : text, want);
	return false;
}

static bool says_number(const char *file, unsigned long long want)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", want);
	return says(file, text);
}

static int error_of(const char *path)
{
	char text[4096];

	return slurp(path, text, sizeof(text));
}

static bool debugfs_has(const char *file, const char *line)
{
	static char text[65536];
	char path[96];

	snprintf(path, sizeof(path), DEBUGFS "%s", file);
	return !slurp(path, text, sizeof(text)) && strstr(text, line);
}

static void the_whole(void)
{
	struct nom_board_memory m;
	char features[32];

	snprintf(features, sizeof(features), "%#llx", (unsigned long long)info.out_features);
	k_board_read(board, NOM_BOARD_MEMORY, 0, &m, sizeof(m));
	t_ok(says_number("version", info.out_version) && says("features", features), "version and features");
	t_ok(says_number("mem_total_bytes", m.total_bytes) && says_number("mem_free_bytes", m.free_bytes) &&
	     says_number("mem_granted_bytes", m.granted_bytes) &&
	     says_number("mem_quarantined_bytes", m.quarantined_bytes), "memory, as on the board");
}

static void a_core_changes_hands(void)
{
	static const char *const none[] = { "handle", "pid", "uid", "comm", "events", "failed" };
	char dir[32], file[64], line[128];
	struct nom_core_stats s;
	unsigned int i, good = 0;
	struct nom_board_core c;
	struct k_lease l;

	k_board_read(board, NOM_BOARD_CORES, 0, &c, sizeof(c));
	snprintf(dir, sizeof(dir), "core%u", c.cpu);
#define FILE_OF(name)	(snprintf(file, sizeof(file), "%s/%s", dir, name), file)
	t_ok(says(FILE_OF("state"), "free"), "a free core");
	for (i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		snprintf(line, sizeof(line), SYSFS "%s/%s", dir, none[i]);
		good += error_of(line) == -ENODATA;
	}
	t_eq(good, i, "has no owner and no counters");

	t_eq(k_claim(nom, (int)c.cpu, 1 << 3, &l), 0, "claim it");
	t_ok(says(FILE_OF("state"), "leased"), "it is leased");
	snprintf(line, sizeof(line), "%#llx", (unsigned long long)l.handle);
	t_ok(says(FILE_OF("handle"), line) && says_number(FILE_OF("pid"), (unsigned int)getpid()) &&
	     says_number(FILE_OF("uid"), 0) && says(FILE_OF("comm"), "kmod_truth"), "by us");
	t_eq(k_enter(&l, 0), 0, "enter");
	t_ok(says(FILE_OF("state"), "running"), "it runs");
	for (i = 0; i < 5; i++)
		k_notify(nom, l.handle, 3);
	k_stats(&l, &s);
	t_ok(s.out_posts == 5 && says_number(FILE_OF("posts"), s.out_posts) &&
	     says_number(FILE_OF("kicks"), s.out_kicks) && says_number(FILE_OF("events"), s.out_events) &&
	     says_number(FILE_OF("traps"), s.out_traps) && says_number(FILE_OF("masked"), s.out_masked) &&
	     says_number(FILE_OF("restarts"), s.out_restarts) && says_number(FILE_OF("failed"), 0),
	     "five posts: the counters are NOM_CORE_STATS'");
	snprintf(line, sizeof(line), "%u running %#llx %d 0 kmod_truth ", c.cpu,
		 (unsigned long long)l.handle, getpid());
	t_ok(debugfs_has("cores", line), "debugfs: %s", line);
	k_leave(&l);
	t_ok(says(FILE_OF("state"), "free"), "it is left, and free");
	munmap(l.sh, PAGE);
	close(l.fd);
}

static void memory_comes_and_goes(void)
{
	struct iovec v;
	char line[128];
	int grant, pipes[2];
	char *w, *view;

	grant = k_grant(nom, 2 * CHUNK);
	w = k_window(grant, CHUNK, PROT_READ);
	k_map1(grant, w, 0, 3 * PAGE, NOM_MAP_READ);
	t_ok(says_number("mem_granted_bytes", 2 * CHUNK), "a grant");
	snprintf(line, sizeof(line), " granted %lu %d 0 kmod_truth mapped=%lu", 2 * CHUNK, getpid(), 3 * PAGE);
	t_ok(debugfs_has("grants", line), "debugfs:%s", line);
	munmap(w, CHUNK);

	view = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED, grant, NOM_GRANT_MMAP_DMA);
	view[0] = 1;
	v = (struct iovec){ view, PAGE };
	t_ok(!pipe(pipes) && vmsplice(pipes[1], &v, 1, 0) == (ssize_t)PAGE, "a page of its view goes into a pipe");
	munmap(view, CHUNK);
	close(grant);
	t_ok(says_number("mem_quarantined_bytes", 2 * CHUNK), "the grant ends: quarantine");
	snprintf(line, sizeof(line), " quarantined %lu %d 0 kmod_truth pinned", 2 * CHUNK, getpid());
	t_ok(debugfs_has("grants", line), "debugfs:%s", line);
	close(pipes[0]);
	close(pipes[1]);
}

struct seen {
	unsigned int nr;
	uint32_t cpu, event, flags, cores, bindings;
	uint64_t handle, signals, events, cores_max, bytes;
};

static void see_binding(const struct k_nl_msg *m, void *arg)
{
	struct seen *s = arg;

	s->nr++;
	s->event = k_nl_u32(m, NOM_GENL_A_EVENT);
	s->handle = k_nl_u64(m, NOM_GENL_A_HANDLE);
	s->signals = k_nl_u64(m, NOM_GENL_A_SIGNALS);
	s->events = k_nl_u64(m, NOM_GENL_A_EVENTS);
	s->flags = k_nl_u32(m, NOM_GENL_A_FLAGS);
}

static void see_user(const struct k_nl_msg *m, void *arg)
{
	struct seen *s = arg;

	if (k_nl_u32(m, NOM_GENL_A_UID) != 0)
		return;
	s->nr++;
	s->cores += k_nl_u32(m, NOM_GENL_A_NR_CORES);
	s->bindings += k_nl_u32(m, NOM_GENL_A_NR_BINDINGS);
	s->bytes += k_nl_u64(m, NOM_GENL_A_MEM_GRANTED);
	s->cores_max = k_nl_u64(m, NOM_GENL_A_CORES_MAX);
}

static struct seen ask(uint8_t cmd, void (*fn)(const struct k_nl_msg *, void *))
{
	static int sock = -1, family, group;
	struct seen s = { 0 };
	struct k_nl_req req;

	if (sock < 0)
		sock = k_nl_open(&family, &group);
	k_nl_begin(&req, family, cmd, NLM_F_DUMP);
	if (k_nl_talk(sock, &req, fn, &s))
		s.nr = ~0U;
	return s;
}

/* Bindings of closed eventfds are taken away a moment later. */
static bool as_before(void *before)
{
	struct seen now = ask(NOM_GENL_CMD_GET_USERS, see_user), *b = before;

	return now.cores == b->cores && now.bindings == b->bindings && now.bytes == b->bytes;
}

/* More bindings than one message of a dump has room for. */
static void bindings_and_users(void)
{
	enum { BINDINGS = NOM_BINDINGS_MAX };
	int fds[BINDINGS], i, grant;
	struct seen s, before = ask(NOM_GENL_CMD_GET_USERS, see_user);
	uint64_t three = 3;
	char line[64];
	struct k_lease l;

	t_eq(k_claim(nom, NOM_CPU_ANY, 0, &l), 0, "claim");
	t_eq(ask(NOM_GENL_CMD_GET_BINDINGS, see_binding).nr, 0, "no bindings");
	for (i = 0; i < BINDINGS; i++) {
		fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		k_bind(&l, 7, fds[i]);
	}
	grant = k_grant(nom, CHUNK);
	for (i = 0; i < 2; i++)
		t_ok(write(fds[BINDINGS - 1], &three, sizeof(three)) == sizeof(three), "the last one is signalled");
	s = ask(NOM_GENL_CMD_GET_BINDINGS, see_binding);
	t_eq(s.nr, BINDINGS, "all bindings, once");
	t_ok(s.event == 7 && s.handle == l.handle && s.signals == 2 && s.events == 6 && !s.flags,
	     "the last one, with two signals and six events");
	snprintf(line, sizeof(line), "%u 7 0 2 6 0", (unsigned int)(l.handle & 0xffff));
	t_ok(debugfs_has("bindings", line), "debugfs: %s", line);
	s = ask(NOM_GENL_CMD_GET_USERS, see_user);
	t_ok(s.cores == before.cores + 1 && s.bindings == before.bindings + BINDINGS &&
	     s.bytes == before.bytes + CHUNK, "and what it makes of its user: %u cores, %u bindings",
	     s.cores, s.bindings);
	t_ok(debugfs_has("users", "0 1/"), "debugfs, too");
	for (i = 0; i < BINDINGS; i++)
		close(fds[i]);
	close(grant);
	munmap(l.sh, PAGE);
	close(l.fd);
	t_ok(t_wait(as_before, &before, 5000), "nothing of it is left");
}

static bool all_free(void *unused)
{
	return k_mem_free(board) == info.out_mem_bytes;
}

static int nobody(void *unused)
{
	if (setgid(65534) || setuid(65534))
		return 200;
	if (!says("core1/state", "free"))
		return 1;
	return error_of(DEBUGFS "cores") == -EACCES ? 0 : 2;
}

/* --- trace events --- */

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return good;
}

static void trace_events(void)
{
	static char text[1 << 18];
	char handle[32];
	struct k_lease l;
	int grant;
	char *w;

	if (access(TRACEFS "events/nom", F_OK)) {
		t_skip("this kernel has no trace events");
		return;
	}
	t_ok(put(TRACEFS "trace", "\n") && put(TRACEFS "events/nom/enable", "1"), "trace");
	k_claim(nom, NOM_CPU_ANY, 1 << 3, &l);
	k_enter(&l, 0);
	k_notify(nom, l.handle, 3);
	k_timer(&l, 4, 0, 1000000);
	t_wait(all_free, NULL, 10);
	t_sleep_ms(20);
	k_leave(&l);
	grant = k_grant(nom, CHUNK);
	w = k_window(grant, CHUNK, PROT_READ);
	k_map1(grant, w, 0, PAGE, NOM_MAP_READ);
	k_unmap1(grant, w, PAGE, 0);
	munmap(w, CHUNK);
	close(grant);
	put(TRACEFS "events/nom/enable", "0");
	slurp(TRACEFS "trace", text, sizeof(text));
	snprintf(handle, sizeof(handle), "handle=%#llx ", (unsigned long long)l.handle);
	t_ok(strstr(text, "nom_lease: ") && strstr(text, handle) && strstr(text, "state=leased") &&
	     strstr(text, "state=running") && strstr(text, "state=free"), "nom_lease: leased, running, free");
	t_ok(strstr(text, "event=3 count=1 from notify") && strstr(text, "event=4 count=1 from timer"),
	     "nom_event: by notification, by timer");
	t_ok(strstr(text, "bytes=2097152 granted") && strstr(text, "bytes=2097152 freed"),
	     "nom_grant: granted, freed");
	t_ok(strstr(text, " map va=") && strstr(text, " unmap va="), "nom_map: map, unmap");
	munmap(l.sh, PAGE);
	close(l.fd);
}

int main(void)
{
	nom = k_open(O_RDWR);
	k_info(nom, &info);
	board = k_board(nom);
	the_whole();
	a_core_changes_hands();
	memory_comes_and_goes();
	t_ok(t_wait(all_free, NULL, 5000), "all is free again");
	bindings_and_users();
	t_eq(t_child(nobody, NULL), 0, "anybody reads sysfs, and only root debugfs");
	trace_events();
	return t_done();
}
