// SPDX-License-Identifier: MIT
/*
 * kmod_lease: leases of reserved cores - who gets one, when it ends, what its
 * descriptor allows at each moment, and who may notify it.  Needs root (it
 * drops it in children) and one reserved core.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lib/kmod.h"

static int nom;
static const struct nom_board *board;

static struct nom_board_core core0(void)
{
	struct nom_board_core c = { .state = 99 };

	k_board_read(board, NOM_BOARD_CORES, 0, &c, sizeof(c));
	return c;
}

static bool is_free(void *unused)
{
	return core0().state == NOM_CORE_FREE;
}

static bool is_running(void *unused)
{
	return core0().state == NOM_CORE_RUNNING;
}

static bool is_leased(void *unused)
{
	return core0().state == NOM_CORE_LEASED;
}

static bool lease_comes_back(const char *what)
{
	struct k_lease l;
	bool good = t_ok(t_wait(is_free, NULL, 5000), "%s: the core is free again", what);
	int ret = k_claim(nom, NOM_CPU_ANY, 0, &l);

	t_eq(ret, 0, "%s: and can be leased", what);
	if (!ret) {
		munmap(l.sh, PAGE);
		close(l.fd);
	}
	return good && !ret;
}

static void claim(void)
{
	uint64_t changes = k_board_changes(board, NOM_BOARD_CORES), first;
	struct k_lease l, other;
	struct nom_board_core c;
	void *p;

	t_eq(k_claim(nom, 0, 0, &l), -ENOENT, "core 0 is not reserved");
	t_eq(k_claim(nom, -2, 0, &l), -ENOENT, "core -2 is none");
	t_eq(k_claim(nom, 1 << 16, 0, &l), -ENOENT, "core 65536 is none");
	t_eq(k_claim(nom, NOM_CPU_ANY, 0, &l), 0, "any core");
	c = core0();
	t_eq(c.state, NOM_CORE_LEASED, "the board says leased");
	t_eq(c.pid, getpid(), "the board says by whom");
	t_eq(c.uid, geteuid(), "the board says by which user");
	t_ok(c.handle == l.handle && l.handle, "the board has the handle");
	t_ok(k_board_changes(board, NOM_BOARD_CORES) > changes, "the board counts the change");
	t_eq(l.sh->magic, NOM_ABI_MAGIC, "shared page: magic");
	t_eq(l.sh->size, sizeof(struct nom_shared), "shared page: size");
	t_eq(l.sh->cpu, c.cpu, "shared page: core");
	t_eq(l.sh->vif, 0, "shared page: events are masked");

	if (board->section[NOM_BOARD_CORES].nr == 1)
		t_eq(k_claim(nom, NOM_CPU_ANY, 0, &other), -EBUSY, "twice: any");
	t_eq(k_claim(nom, c.cpu, 0, &other), -EBUSY, "twice: by number");

	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, l.fd, PAGE);
	t_ok(p == MAP_FAILED && errno == EINVAL, "shared page: no second page");
	p = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, l.fd, 0);
	t_ok(p == MAP_FAILED && errno == EINVAL, "shared page: not two at once");
	p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, l.fd, 0);
	t_ok(p == MAP_FAILED && errno == EINVAL, "shared page: not private");
	p = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, l.fd, 0);
	t_ok(p == MAP_FAILED && errno == EPERM, "shared page: not executable");
	t_ok(mprotect(l.sh, PAGE, PROT_READ | PROT_EXEC) && errno == EACCES,
	     "shared page: not made executable later");

	first = l.handle;
	close(l.fd);
	t_eq(core0().state, NOM_CORE_LEASED, "a mapping of the page keeps the descriptor's file");
	munmap(l.sh, PAGE);
	t_eq(core0().state, NOM_CORE_FREE, "never entered: ends at the last close");
	t_eq(core0().handle, 0, "the board forgets the handle");
	t_eq(k_claim(nom, NOM_CPU_ANY, 0, &l), 0, "again");
	t_ok(l.handle != first, "a handle is not used twice");
	munmap(l.sh, PAGE);
	close(l.fd);
}

static struct k_lease shared;

static void *enter_too(void *unused)
{
	return (void *)(long)k_enter(&shared, 0);
}

static int hold_inherited(void *unused)
{
	char c;

	t_sleep_ms(200);
	/* the shared page is not inherited */
	return mincore(shared.sh, PAGE, (unsigned char *)&c) == 0;
}

static void enter(void)
{
	struct nom_core_stats stats;
	cpu_set_t before, after;
	pthread_t thread;
	struct k_lease l, dead;
	pid_t pid;
	void *ret;

	sched_getaffinity(0, sizeof(before), &before);
	t_eq(k_claim(nom, NOM_CPU_ANY, 0, &shared), 0, "claim");
	t_eq(k_leave(&shared), -ENXIO, "leave without having entered");
	t_eq(k_enter(&shared, 1ULL << 2), -EOPNOTSUPP, "enter: a trap nobody may claim (NMI)");
	t_eq(k_enter(&shared, 1ULL << 40), -EOPNOTSUPP, "enter: a trap that is none");
	t_eq(core0().state, NOM_CORE_LEASED, "a failed entry changes nothing");
	t_eq(k_enter(&shared, 0), 0, "enter");
	t_eq(sched_getcpu(), (long)shared.sh->cpu, "we are there");
	t_eq(core0().state, NOM_CORE_RUNNING, "the board says running");
	t_eq(k_enter(&shared, 0), -EBUSY, "enter again");
	pthread_create(&thread, NULL, enter_too, NULL);
	pthread_join(thread, &ret);
	t_eq((long)ret, -EBUSY, "enter from another thread");
	t_eq(k_claim(nom, core0().cpu, 0, &l), -EBUSY, "claim what runs");

	pid = t_spawn(hold_inherited, NULL);
	t_eq(k_stats(&shared, &stats), 0, "statistics");
	t_eq(k_leave(&shared), 0, "leave");
	sched_getaffinity(0, sizeof(after), &after);
	t_ok(CPU_EQUAL(&before, &after) && sched_getcpu() != (int)shared.sh->cpu,
	     "we are back where we may run");
	t_ok(is_free(NULL), "free at once, though a child holds the descriptor");
	t_eq(t_reap(pid), 0, "the child did not inherit the shared page");

	dead = shared;
	t_eq(k_leave(&dead), -ENXIO, "ended: leave");
	t_eq(k_enter(&dead, 0), -ENXIO, "ended: enter");
	t_eq(k_bind(&dead, 0, 0), -ENXIO, "ended: bind");
	t_eq(k_unbind(&dead, 0, 0), -ENXIO, "ended: unbind");
	t_eq(k_timer(&dead, 0, 0, 1), -ENXIO, "ended: timer");
	t_eq(k_subscribe(&dead, 0, 1), -ENXIO, "ended: subscribe");
	t_eq(k_stats(&dead, &stats), 0, "ended: statistics stay");
	t_eq(k_notify(nom, dead.handle, 0), -ENOENT, "ended: the handle is nobody's");
	dead.sh->vif = 1;
	t_eq(dead.sh->magic, NOM_ABI_MAGIC, "ended: the page stays as long as it is mapped");
	t_eq(k_claim(nom, NOM_CPU_ANY, 0, &l), 0, "claim beside an ended lease");
	munmap(dead.sh, PAGE);
	close(dead.fd);
	t_eq(core0().state, NOM_CORE_LEASED, "closing the ended one touches nothing");
	munmap(l.sh, PAGE);
	close(l.fd);
	t_ok(is_free(NULL), "free");
}

/* --- how a holder may end --- */

enum end { RETURN, EXEC, SPIN, SLEEP, SEGV };

struct plan {
	const char *name;
	bool enter, bind, timer, memory, close_fd, thread;
	enum end end;
	int kill;	/* signal from outside, or 0 */
};

static void end(enum end how)
{
	switch (how) {
	case RETURN:
		return;
	case EXEC:
		execl("/proc/self/exe", "kmod_lease", "sleep", NULL);
		_exit(99);
	case SPIN:
		for (;;)
			__asm__ volatile("" ::: "memory");
	case SLEEP:
		for (;;)
			pause();
	case SEGV:
		raise(SIGSEGV);
	}
}

static void *hold(void *arg)
{
	const struct plan *p = arg;
	struct k_lease l;
	int fd, grant;
	char *w;

	if (k_claim(nom, NOM_CPU_ANY, ~0ULL, &l))
		_exit(90);
	if (p->bind) {
		fd = eventfd(0, EFD_CLOEXEC);
		if (fd < 0 || k_bind(&l, 3, fd))
			_exit(91);
	}
	if (p->memory) {
		grant = k_grant(nom, CHUNK);
		w = k_window(grant, CHUNK, PROT_READ | PROT_WRITE);
		if (grant < 0 || w == MAP_FAILED ||
		    k_map1(grant, w, 0, PAGE, NOM_MAP_READ | NOM_MAP_WRITE))
			_exit(92);
		w[0] = 1;
	}
	if (p->enter && k_enter(&l, 0))
		_exit(93);
	if (p->timer && k_timer(&l, 5, 0, 1000000000))
		_exit(94);
	if (p->close_fd) {
		close(l.fd);
		munmap(l.sh, PAGE);
	}
	end(p->end);
	return NULL;
}

static int holder(void *arg)
{
	const struct plan *p = arg;
	pthread_t thread;

	if (!p->thread) {
		hold(arg);
		return 0;
	}
	pthread_create(&thread, NULL, hold, arg);
	pthread_join(thread, NULL);
	/* the thread that held it is gone, the process is not */
	t_sleep_ms(500);
	return 0;
}

static void ends(void)
{
	static const struct plan plans[] = {
		{ "exit, claimed only", .end = RETURN },
		{ "exit, entered", .enter = true, .end = RETURN },
		{ "exit of the thread alone", .enter = true, .thread = true, .close_fd = true, .end = RETURN },
		{ "exec, claimed only", .end = EXEC, .kill = SIGTERM },
		{ "exec, entered", .enter = true, .end = EXEC, .kill = SIGTERM },
		{ "fault, entered", .enter = true, .end = SEGV },
		{ "kill -9, claimed only", .end = SLEEP, .kill = SIGKILL },
		{ "kill -9, asleep on the core", .enter = true, .end = SLEEP, .kill = SIGKILL },
		{ "kill -9, spinning", .enter = true, .end = SPIN, .kill = SIGKILL },
		{ "kill -9, spinning, descriptor closed", .enter = true, .close_fd = true, .end = SPIN, .kill = SIGKILL },
		{ "kill -9, with eventfd and timer", .enter = true, .bind = true, .timer = true, .end = SPIN, .kill = SIGKILL },
		{ "kill -9, claimed, with eventfd", .bind = true, .end = SLEEP, .kill = SIGKILL },
		{ "kill -9, with memory mapped", .enter = true, .memory = true, .end = SPIN, .kill = SIGKILL },
		{ "kill -9, with all of it", .enter = true, .bind = true, .timer = true, .memory = true, .end = SPIN, .kill = SIGKILL },
		{ "SIGTERM, spinning", .enter = true, .end = SPIN, .kill = SIGTERM },
	};
	uint64_t memory = k_mem_free(board);
	unsigned int i;
	pid_t pid;
	int ret;

	for (i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
		const struct plan *p = &plans[i];
		bool (*there)(void *) = p->enter ? is_running : is_leased;

		pid = t_spawn(holder, (void *)p);
		if (p->end == SPIN || p->end == SLEEP)
			t_ok(t_wait(there, NULL, 5000), "%s: it is there", p->name);
		if (p->end == EXEC || p->thread)
			t_ok(t_wait(is_free, NULL, 5000), "%s: free while the process lives", p->name);
		if (p->kill)
			kill(pid, p->kill);
		ret = t_reap(pid);
		t_eq(ret, p->kill ? 128 + p->kill : p->end == SEGV ? 128 + SIGSEGV : 0,
		     "%s: how it ended", p->name);
		lease_comes_back(p->name);
		t_eq(k_mem_free(board), memory, "%s: no memory is missing", p->name);
	}
}

/* --- notifications --- */

static int other_user(void *arg)
{
	const struct k_lease *l = arg;

	if (setgid(65534) || setuid(65534))
		return 80;
	return -k_notify(nom, l->handle, 5);
}

static int same_user_claims(void *arg)
{
	int *pipes = arg;
	struct k_lease l;
	char c = 0;

	if (setgid(65534) || setuid(65534) || k_claim(nom, NOM_CPU_ANY, 1ULL << 5, &l))
		return 80;
	if (write(pipes[1], &l.handle, sizeof(l.handle)) != sizeof(l.handle))
		return 81;
	if (read(pipes[2], &c, 1) != 1)
		return 82;
	return l.sh->count[5] == 1 ? 0 : 83;
}

static void notify(void)
{
	int there[2], back[2], ends3[3];
	struct k_lease l;
	uint64_t handle = 0;
	pid_t pid;

	t_eq(k_claim(nom, NOM_CPU_ANY, 1ULL << 5, &l), 0, "claim, event 5 open");
	t_eq(k_notify(nom, l.handle, 5), 0, "notify: our own, open event");
	t_eq(l.sh->count[5], 1, "it is counted");
	t_ok(l.sh->pending == 1ULL << 5, "it is pending");
	t_eq(k_notify(nom, l.handle, 6), -EPERM, "notify: an event that is not open");
	t_eq(k_notify(nom, l.handle, 64), -EINVAL, "notify: event 64");
	t_eq(k_notify(nom, l.handle + (1 << 16), 5), -ENOENT, "notify: the next handle");
	t_eq(k_notify(nom, l.handle - 1, 5), -ENOENT, "notify: another core's handle");
	t_eq(k_notify(nom, 0, 5), -ENOENT, "notify: handle 0");
	t_eq(k_notify(nom, ~0ULL, 5), -ENOENT, "notify: handle -1");
	t_eq(t_child(other_user, &l), EPERM, "notify: another user");
	t_eq(l.sh->count[5], 1, "what was refused is not counted");
	munmap(l.sh, PAGE);
	close(l.fd);

	if (pipe(there) || pipe(back))
		t_bail("pipe");
	ends3[1] = there[1];
	ends3[2] = back[0];
	pid = t_spawn(same_user_claims, ends3);
	t_eq(read(there[0], &handle, sizeof(handle)), sizeof(handle), "another user's lease");
	t_eq(core0().uid, 65534, "the board says so");
	t_eq(k_notify(nom, handle, 5), 0, "notify: root may (CAP_KILL)");
	t_eq(k_notify(nom, handle, 4), -EPERM, "notify: but no event that is not open");
	t_eq(write(back[1], "", 1), 1, "go on");
	t_eq(t_reap(pid), 0, "it arrived");
	close(there[0]), close(there[1]), close(back[0]), close(back[1]);
	lease_comes_back("another user's");
}

/* --- a reserved core that shall go away --- */

static int set_online(int cpu, char state)
{
	char path[80];
	int fd, ret = 0;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, &state, 1) != 1)
		ret = -errno;
	close(fd);
	return ret;
}

static bool is_offline(void *unused)
{
	return core0().state == NOM_CORE_OFFLINE;
}

/* A leased core stays; a free one may go, if the core kernel lets it. */
static void hotplug(void)
{
	int cpu = core0().cpu, ret = set_online(cpu, '0');
	struct k_lease l;

	if (ret == -EBUSY) {
		t_eq(core0().state, NOM_CORE_FREE, "this kernel keeps reserved cores online: free");
	} else {
		t_eq(ret, 0, "a free reserved core goes offline");
		t_ok(is_offline(NULL), "the board says so");
		t_eq(k_claim(nom, cpu, 0, &l), -ENOENT, "it cannot be leased");
		t_eq(set_online(cpu, '1'), 0, "it comes back");
		t_ok(is_free(NULL), "the board says it is free");
	}
	t_eq(k_claim(nom, cpu, 0, &l), 0, "claim");
	t_eq(set_online(cpu, '0'), -EBUSY, "a leased core cannot be taken offline");
	t_eq(core0().state, NOM_CORE_LEASED, "the lease is untouched");
	munmap(l.sh, PAGE);
	close(l.fd);
	lease_comes_back("after that");
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "sleep")) {
		pause();
		return 0;
	}
	nom = k_open(O_RDWR);
	board = k_board(nom);
	if (!is_free(NULL))
		t_bail("core %u is not free: end what holds it", core0().cpu);
	claim();
	enter();
	ends();
	notify();
	hotplug();
	return t_done();
}
