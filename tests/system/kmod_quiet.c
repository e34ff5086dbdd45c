// SPDX-License-Identifier: MIT
/*
 * kmod_quiet: a reserved core is left alone.
 *
 * A leaseholder computes on its core, with events masked and no system call, while
 * the ordinary core makes all the noise that a busy machine makes, one kind after
 * the other.  By the kernel's own accounting (apps/nomctl/src/quiet.c) nothing but
 * the holder may have run there, not for one interrupt; what did is named.
 *
 * Some things reach every core of a Linux 6.12, by design: they are at the end, must
 * be noticed and named - which shows that the accounting sees what it should - and
 * are listed in Documentation/caveats.rst.
 *
 *	kmod_quiet [SECONDS [NAME]]
 *		so long at rest, and in the noise altogether (3); only noise of this name
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <time.h>
#include <unistd.h>
#include "lib/kmod.h"
#include "lib/kmod_nl.h"
#include "../../apps/nomctl/src/quiet.h"

/* What the holder and we share; its page is there before it is needed. */
static struct {
	volatile int spinning, stop;
	volatile unsigned long turns;
} *hall;

static int nom, seconds = 3;
static struct nom_info info;

/* ---------------------------------------------------------- the holder --- */

static int hold(void *unused)
{
	struct k_lease l;

	alarm(0);		/* a timer of its own would be noise of its own */
	if (k_claim(nom, NOM_CPU_ANY, 0, &l) || k_enter(&l, 0))
		return 1;
	hall->spinning = (int)l.sh->cpu + 1;
	while (!hall->stop)
		hall->turns++;
	return k_leave(&l) ? 2 : 0;
}

static bool is_spinning(void *unused)
{
	return hall->spinning;
}

/* ------------------------------------------------------------ the noise --- */

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, text, strlen(text)) < 0)
		t_diag("%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void slurp(const char *path)
{
	static char buf[65536];
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), left = 64;

	while (fd >= 0 && left-- && read(fd, buf, sizeof(buf)) > 0)
		;
	if (fd >= 0)
		close(fd);
}

/* One turn of each; repeated until the time is over. */

static void rest(void)
{
	t_sleep_ms(50);
}

static void processes(void)
{
	static char name[] = "true", *const argv[] = { name, NULL };
	pid_t pids[9];
	int i;

	for (i = 0; i < 8; i++) {
		pids[i] = fork();
		if (!pids[i])
			_exit(0);
	}
	pids[i] = vfork();
	if (!pids[i]) {
		execv("/bin/true", argv);
		_exit(1);
	}
	for (i = 0; i < 9; i++)
		waitpid(pids[i], NULL, 0);
}

static void *thread(void *arg)
{
	char *p = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int i;

	for (i = 0; i < 64; i++)
		p[i * PAGE] = 1;
	mprotect(p, 32 * PAGE, PROT_READ);
	madvise(p, 16 * PAGE, MADV_DONTNEED);
	munmap(p, 64 * PAGE);
	return NULL;
}

static void threads_and_mappings(void)
{
	pthread_t t[8];
	int i, n;

	for (n = 0; n < 8 && !pthread_create(&t[n], NULL, thread, NULL); n++)
		;
	for (i = 0; i < n; i++)
		pthread_join(t[i], NULL);
}

static void files(void)
{
	static char buf[65536];
	char path[64];
	int i, fd;

	for (i = 0; i < 16; i++) {
		snprintf(path, sizeof(path), "/tmp/quiet.%d", i);
		fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
		if (write(fd, buf, sizeof(buf)) < 0 || fsync(fd))
			t_diag("%s: %s", path, strerror(errno));
		close(fd);
		unlink(path);
	}
	sync();
}

static void on_alarm(int sig)
{
}

static void timers(void)
{
	struct itimerspec every = { { 0, 500000 }, { 0, 500000 } };
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), i;
	struct sigevent e = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	uint64_t n;
	timer_t t;

	signal(SIGUSR1, on_alarm);
	timerfd_settime(fd, 0, &every, NULL);
	if (!timer_create(CLOCK_REALTIME, &e, &t))
		timer_settime(t, 0, &every, NULL);
	for (i = 0; i < 20; i++)
		if (read(fd, &n, sizeof(n)) < 0 && errno != EINTR)
			break;
	timer_delete(t);
	close(fd);
}

static void barriers(void)
{
	static const int commands[] = {
		MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, MEMBARRIER_CMD_PRIVATE_EXPEDITED,
		MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, MEMBARRIER_CMD_GLOBAL_EXPEDITED,
		MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE,
		MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, MEMBARRIER_CMD_GLOBAL,
	};
	unsigned int i;

	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		syscall(SYS_membarrier, commands[i], 0, 0);
}

static void looking_around(void)
{
	static const char *const paths[] = {
		"/proc/interrupts", "/proc/softirqs", "/proc/stat", "/proc/meminfo", "/proc/cpuinfo",
		"/proc/vmstat", "/proc/slabinfo", "/proc/timer_list", "/proc/net/dev", "/proc/mounts",
		"/proc/self/smaps", "/proc/self/numa_maps", "/proc/loadavg", "/proc/uptime",
		"/proc/zoneinfo", "/proc/buddyinfo", "/proc/iomem", "/proc/sched_debug",
		"/sys/devices/system/cpu/cpu1/topology/core_cpus", "/sys/devices/system/cpu/online",
		"/sys/devices/system/cpu/cpu1/cache/index0/size", "/sys/kernel/debug/sched/debug",
		"/sys/devices/system/cpu/cpu1/microcode/version", "/sys/kernel/profiling",
		"/sys/devices/system/clocksource/clocksource0/current_clocksource",
		"/sys/devices/system/cpu/nohz_full", "/sys/devices/system/cpu/cpu1/crash_notes",
	};
	char path[64];
	struct dirent *e;
	unsigned int i;
	DIR *d;

	for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		slurp(paths[i]);
	d = opendir("/proc");
	while (d && (e = readdir(d))) {
		if (e->d_name[0] < '0' || e->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "/proc/%.16s/stat", e->d_name);
		slurp(path);
		snprintf(path, sizeof(path), "/proc/%.16s/status", e->d_name);
		slurp(path);
	}
	if (d)
		closedir(d);
}

static int new_namespaces(void *unused)
{
	return unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS) ? 1 : 0;
}

/* A network namespace's end waits for grace periods and for callbacks. */
static void namespaces(void)
{
	t_child(new_namespaces, NULL);
}

#define CGROUPS	"/sys/fs/cgroup/"

/* With one cpuset there before and after: the first one patches the kernel's text. */
static void groups(void)
{
	char pid[16];

	mkdir(CGROUPS "quiet", 0755);
	snprintf(pid, sizeof(pid), "%d", getpid());
	put(CGROUPS "quiet/cgroup.procs", pid);
	put(CGROUPS "quiet/cpuset.cpus", "0");
	put(CGROUPS "cgroup.procs", pid);
	rmdir(CGROUPS "quiet");
}

static void network(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0), s, i;
	socklen_t len = sizeof(a);
	char buf[4096] = "";

	if (bind(l, (void *)&a, sizeof(a)) || listen(l, 4) || getsockname(l, (void *)&a, &len) ||
	    connect(c, (void *)&a, sizeof(a)))
		t_diag("loopback: %s", strerror(errno));
	s = accept(l, NULL, NULL);
	for (i = 0; i < 16; i++)
		if (write(c, buf, sizeof(buf)) < 0 || read(s, buf, sizeof(buf)) < 0)
			break;
	close(l), close(c), close(s);
}

static void signals_and_pipes(void)
{
	int fds[2], i;
	char c = 0;
	pid_t pid;

	if (pipe(fds))
		return;
	pid = fork();
	if (!pid) {
		close(fds[1]);
		while (read(fds[0], &c, 1) == 1)
			kill(getppid(), SIGUSR1);
		_exit(0);
	}
	close(fds[0]);
	signal(SIGUSR1, on_alarm);
	for (i = 0; i < 32; i++)
		if (write(fds[1], &c, 1) != 1)
			break;
	close(fds[0]);
	close(fds[1]);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* The module's other users: prices, grants, a core that is taken. */
static void nom_traffic(void)
{
	static int sock = -1, family, group;
	struct k_lease l;
	static int ucr;
	int grant, i;
	char *w;

	if (sock < 0)
		sock = k_nl_open(&family, &group);
	for (i = 0; i < 16; i++)
		k_nl_price(sock, family, "t.quiet", "x", ++ucr);
	grant = k_grant(nom, CHUNK);
	w = k_window(grant, CHUNK, PROT_READ | PROT_WRITE);
	k_map1(grant, w, 0, 8 * PAGE, NOM_MAP_READ | NOM_MAP_WRITE);
	w[PAGE] = 1;
	k_unmap1(grant, w, 8 * PAGE, 0);
	munmap(w, CHUNK);
	close(grant);
	k_claim(nom, NOM_CPU_ANY, 0, &l);
}

static void affinity(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(hall->spinning - 1, &set);
	sched_setaffinity(0, sizeof(set), &set);
	CPU_SET(0, &set);
	sched_setaffinity(0, sizeof(set), &set);
	sched_yield();
}

static void task_counters(void)
{
	struct perf_event_attr a = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(a),
				     .config = PERF_COUNT_SW_CONTEXT_SWITCHES };
	int fd = (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);

	t_sleep_ms(1);
	if (fd >= 0)
		close(fd);
}

static void memory(void)
{
	size_t n = 64 * MIB;
	char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	madvise(p, n / 2, MADV_HUGEPAGE);
	memset(p, 1, n);
	madvise(p, n, MADV_PAGEOUT);
	mlock(p, MIB);
	munmap(p, n);
	put("/proc/sys/vm/drop_caches", "3");
}

/* --- those that reach every core --- */

static void first_cpuset(void)
{
	put(CGROUPS "cgroup.subtree_control", "-cpuset");
	t_sleep_ms(50);
	put(CGROUPS "cgroup.subtree_control", "+cpuset");
}

static void core_counters(void)
{
	struct perf_event_attr a = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(a),
				     .config = PERF_COUNT_SW_CPU_CLOCK };
	int fd = (int)syscall(SYS_perf_event_open, &a, -1, hall->spinning - 1, -1, 0);

	if (fd >= 0)
		close(fd);
}

static void work_on_each_core(void)
{
	put("/proc/sys/vm/stat_refresh", "1");
}

static int big_table(void *unused)
{
	struct rlimit r = { 1048576, 1048576 };

	if (setrlimit(RLIMIT_NOFILE, &r))
		return 1;
	return dup2(0, 1048000) < 0 ? 2 : 0;
}

/* Kernel address space is given back in lots, and every TLB then told. */
static void kernel_mappings(void)
{
	int i;

	for (i = 0; i < 12; i++)
		t_child(big_table, NULL);
}

static const struct noise {
	const char *name;
	void (*make)(void);
	const char *seen;	/* NULL: must not reach the core; else what must be noticed */
	const char *origin;	/* and what trace events must name, if there are any */
} noises[] = {
	{ "at rest", rest, NULL, NULL },
	{ "processes", processes, NULL, NULL },
	{ "threads and mappings", threads_and_mappings, NULL, NULL },
	{ "files", files, NULL, NULL },
	{ "timers", timers, NULL, NULL },
	{ "membarrier", barriers, NULL, NULL },
	{ "reading /proc and /sys", looking_around, NULL, NULL },
	{ "namespaces", namespaces, NULL, NULL },
	{ "control groups", groups, NULL, NULL },
	{ "network", network, NULL, NULL },
	{ "signals and pipes", signals_and_pipes, NULL, NULL },
	{ "other users of nom", nom_traffic, NULL, NULL },
	{ "attempts to come there", affinity, NULL, NULL },
	{ "memory", memory, NULL, NULL },
	{ "the first cpuset", first_cpuset, "CAL ", "call of do_sync_core" },
	{ "counters of a task", task_counters, "CAL ", "call of do_sync_core" },
	{ "counters of the core", core_counters, "CAL ", "call of remote_function" },
	{ "work on each core", work_on_each_core, "kworker/", "work refresh_vm_stats" },
	{ "kernel mappings", kernel_mappings, "CAL ", "flush" },
};
#define NR_NOISES (sizeof(noises) / sizeof(noises[0]))

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Kinds of noise that are not the lease's own, or -errno; what there was as a comment. */
static int look(const struct noise *n, struct quiet *q, double how_long, char *text, size_t bytes)
{
	unsigned long turns = hall->turns, rounds = 0;
	double end;
	int loud;

	loud = quiet_begin(q);
	if (loud)
		return loud;
	end = now_s() + how_long;
	do {
		n->make();
		rounds++;
		/* a busy host may take the holder's whole core away for a while */
	} while ((now_s() < end && !n->seen) || (hall->turns == turns && now_s() < end + 5));
	loud = quiet_end(q, 0, 0);
	quiet_text(q, text, bytes);
	t_diag("%s: %lu times, the holder %lu: %s", n->name, rounds, hall->turns - turns,
	       *text ? text : "quiet");
	return hall->turns == turns ? -ESRCH : loud;
}

/* Once more, to learn where it comes from. */
static bool look_closer(const struct noise *n, struct quiet *q, double how_long)
{
	const struct quiet_origin *o;
	bool found = false;
	char text[1024];
	unsigned int i;
	int ret;

	ret = quiet_trace(q);
	if (!ret)
		ret = look(n, q, how_long, text, sizeof(text));
	if (ret < 0)
		t_diag("trace: %s", strerror(-ret));
	for (i = 0; (o = quiet_origin(q, i)); i++) {
		t_diag("  %lu x %s", (unsigned long)o->count, o->text);
		found |= n->origin && strstr(o->text, n->origin);
	}
	return found;
}

static void watch(const struct noise *n, struct quiet *q, double how_long, bool trace)
{
	char text[1024] = "";
	int loud;

	/* the first use of a part of the kernel may patch its text, on all cores */
	if (!n->seen) {
		n->make();
		t_sleep_ms(20);
	}
	loud = look(n, q, how_long, text, sizeof(text));
	if (n->seen) {
		t_ok(loud > 0 && strstr(text, n->seen), "%s: noticed, as it must be", n->name);
		if (trace)
			t_ok(look_closer(n, q, how_long), "%s: its origin is named", n->name);
		return;
	}
	if (!t_eq(loud, 0, "%s: the reserved core was left alone", n->name) && trace)
		look_closer(n, q, how_long);
}

int main(int argc, char **argv)
{
	bool trace = !access("/sys/kernel/tracing/events/ipi", F_OK);
	struct quiet *q;
	unsigned int i;
	pid_t pid;

	if (argc > 1)
		seconds = atoi(argv[1]);
	hall = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	hall->turns = 0;
	nom = k_open(O_RDWR);
	k_info(nom, &info);
	pid = t_spawn(hold, NULL);
	if (!t_wait(is_spinning, NULL, 5000))
		t_bail("no leaseholder: %d", t_reap(pid));
	t_sleep_ms(500);	/* the tick goes when the scheduler has seen that it may */
	/*
	 * The holder's last page faults left pages in a list of the core's.  Who empties
	 * all such lists (khugepaged, for one) has a kernel thread do it there: let it be
	 * now.  The holder faults no more.
	 */
	put("/proc/sys/vm/compact_memory", "1");
	t_sleep_ms(50);
	t_diag("core %d, holder %d, %s", hall->spinning - 1, pid,
	       trace ? "with trace events" : "this kernel has no trace events");

	mkdir(CGROUPS "quiet.keep", 0755);
	put(CGROUPS "cgroup.subtree_control", "+cpuset");
	if (quiet_open((unsigned int)hall->spinning - 1, pid, &q))
		t_bail("no memory");
	for (i = 0; i < NR_NOISES; i++)
		if (argc < 3 || strstr(noises[i].name, argv[2]))
			watch(&noises[i], q, i ? (double)seconds / NR_NOISES : seconds, trace);
	quiet_close(q);
	put(CGROUPS "cgroup.subtree_control", "-cpuset");
	rmdir(CGROUPS "quiet.keep");

	hall->stop = 1;
	t_eq(t_reap(pid), 0, "the holder left as it came");
	return t_done();
}
