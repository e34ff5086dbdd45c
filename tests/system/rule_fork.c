// SPDX-License-Identifier: MIT
/*
 * Rules of new processes and threads: a lease is one thread's.  Whatever is made
 * of a holder by fork, vfork, clone or posix_spawn has descriptors at most; exec
 * ends the lease, if it succeeds.
 */
#include <pthread.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "rule.h"

static struct nomux_core *core;
static struct nomux_mem *mem;
static volatile uint64_t *window;
static int core_fd;

/* The lease's descriptor, which the library keeps to itself. */
static int find_core_fd(void)
{
	char path[64], link[64];
	int fd;

	for (fd = 3; fd < 64; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, link, sizeof(link) - 1);
		if (n > 0) {
			link[n] = '\0';
			if (strstr(link, "nom-core"))
				return fd;
		}
	}
	return -1;
}

/* Is a touch of the address a fault? */
static int touch_window(void)
{
	return (int)window[0];
}

static int touch_shared(void)
{
	return (int)nomux_core_shared(core)->magic;
}

/* ------------------------------------------------------------------ fork --- */

static int forked(void)
{
	struct nom_core_bind bind = { .size = sizeof(bind), .event = 7 };
	struct nom_core_stats stats = { .size = sizeof(stats) };
	struct nom_core_enter enter = {
		.size = sizeof(enter),
		.regs = { .entry = 4096, .stack_lo = 4096, .stack_hi = 65536 },
	};

	if (nomux_core_current() || sched_getcpu() == (int)rule->word[0])
		return 1;
	if (ioctl(core_fd, NOM_CORE_ENTER, &enter) != -1 || errno != EBUSY)
		return 2;
	if (ioctl(core_fd, NOM_CORE_LEAVE) != -1 || errno != ENXIO)
		return 3;
	if (ioctl(core_fd, NOM_CORE_STATS, &stats))
		return 4;
	/* the descriptor is the right to post: a helper may bind its own eventfd */
	bind.fd = eventfd(0, EFD_CLOEXEC);
	if (ioctl(core_fd, NOM_CORE_BIND, &bind) || ioctl(core_fd, NOM_CORE_UNBIND, &bind))
		return 5;
	rule_post(5);
	return 0;
}

static void test_fork(void)
{
	rule_reset();
	rule->word[0] = (uint64_t)nomux_core_cpu(core);
	t_is(rule_reap(rule_child(forked)), 0,
	     "a child has no lease; of its descriptor it can use what needs none");
	t_is((long)rule->got, 5, "  events it posts are the parent's");
	t_is(rule_reap(rule_child(touch_window)), 1000 + SIGSEGV, "it has not the parent's windows");
	t_is(rule_reap(rule_child(touch_shared)), 1000 + SIGSEGV, "nor the page shared with the kernel");
	t_ok(window[0] == 0x1234 && nomux_core_current() == core, "the parent has all of it");
}

/* ----------------------------------------------------------------- vfork --- */

static int post_while_suspended(void)
{
	rule_wait_phase(1);
	rule_storm(1000);
	rule->word[1] = rule->got;
	rule->phase = 2;
	return 0;
}

static void test_vfork(void)
{
	pid_t poster, pid;

	rule_reset();
	poster = rule_child(post_while_suspended);
	pid = vfork();
	if (!pid) {
		rule->phase = 1;
		while (rule->phase < 2)	/* a system call of our own, no libc */
			syscall(SYS_sched_yield);
		_exit(7);
	}
	t_is(rule_reap(pid), 7, "a child of vfork(2) runs, the holder waits for it");
	t_is(rule_reap(poster), 0, "  events are posted meanwhile");
	t_is((long)rule->word[1], 0, "  and wait, too");
	rule_wait(&rule->got, 1000);	/* what came too fast is held back for a moment */
	t_is((long)rule->got, 1000, "  until it is over: all are handled");
	t_ok(!nomux_masked(core) && sched_getcpu() == nomux_core_cpu(core),
	     "  the lease is as it was");
}

/* ---------------------------------------------------------------- spawn --- */

extern char **environ;

static void test_spawn(void)
{
	char *argv[] = { (char *)"sh", (char *)"-c", (char *)"exit 9", NULL };
	unsigned int i, good = 0;
	pid_t pid, poster;

	rule_reset();
	rule->phase = 1;
	poster = rule_child(post_while_suspended);
	for (i = 0; i < 10; i++)
		if (!posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ))
			good += rule_reap(pid) == 9;
	t_is(good, 10, "a holder spawns ten programs");
	t_is(rule_reap(poster), 0, "  in a storm");
	rule_wait(&rule->got, 1000);
	t_is((long)rule->got, 1000, "  of which it misses nothing");
}

/* --------------------------------------------------------------- threads --- */

static void *a_thread(void *arg)
{
	struct nom_core_enter enter = {
		.size = sizeof(enter),
		.regs = { .entry = 4096, .stack_lo = 4096, .stack_hi = 65536 },
	};

	if (nomux_core_current() || sched_getcpu() == nomux_core_cpu(core))
		return (void *)1;
	if (ioctl(core_fd, NOM_CORE_ENTER, &enter) != -1 || errno != EBUSY)
		return (void *)2;
	if (ioctl(core_fd, NOM_CORE_LEAVE) != -1 || errno != ENXIO)
		return (void *)3;
	if (window[0] != 0x1234)
		return (void *)4;
	rule_post(20);
	return NULL;
}

static void test_threads(void)
{
	pthread_t thread;
	void *bad;

	rule_reset();
	T_NEED(-pthread_create(&thread, NULL, a_thread, NULL));
	pthread_join(thread, &bad);
	t_is((long)bad, 0, "another thread has the windows, but no lease and no upcalls");
	t_is((long)rule->got, 20, "  events it posts are the holder's");
}

/* -------------------------------------------- a process of the same memory --- */

static int cloned(void *arg)
{
	int bad = 0;

	if (syscall(SYS_ioctl, core_fd, NOM_CORE_LEAVE, 0) != -1)
		bad |= 1;
	if (sched_getcpu() == nomux_core_cpu(core))
		bad |= 2;
	if (window[0] != 0x1234)
		bad |= 4;
	rule_post(30);
	return bad;
}

static void test_clone(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	pid_t pid;

	rule_reset();
	pid = clone(cloned, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
	t_is(rule_reap(pid), 0, "a process that shares the memory has the windows, but no lease");
	t_is((long)rule->got, 30, "  events it posts are the holder's");
}

/* ------------------------------------------------------------------ exec --- */

static int exec_fails(void)
{
	char *argv[] = { (char *)"none", NULL };

	rule_hold(0);
	if (execv("/nowhere/none", argv) != -1 || errno != ENOENT)
		return 1;
	if (execv("/proc/self/status", argv) != -1 || errno != EACCES)
		return 2;
	if (!nomux_core_current() || nomux_masked(nomux_core_current()))
		return 3;
	rule_post(3);
	return rule->got == 3 ? 0 : 4;
}

static int exec_sleeps(void)
{
	char *argv[] = { (char *)"sh", (char *)"-c", (char *)"read x < /dev/null; sleep 30", NULL };

	rule_hold(0);
	rule->phase = 1;
	execv("/bin/sh", argv);
	return 1;
}

static void *exec_in_thread(void *arg)
{
	char *argv[] = { (char *)"sh", (char *)"-c", (char *)"exit 11", NULL };

	rule_wait_phase(1);
	execv("/bin/sh", argv);
	return NULL;
}

static int exec_of_another_thread(void)
{
	pthread_t thread;

	rule_hold(0);
	pthread_create(&thread, NULL, exec_in_thread, NULL);
	rule->phase = 1;
	while (!rule->stop)
		;
	return 1;
}

static void *holder_execs(void *arg)
{
	rule_hold(0);
	exec_in_thread(NULL);
	return NULL;
}

static int exec_of_a_holder_thread(void)
{
	pthread_t thread;

	rule->phase = 1;
	pthread_create(&thread, NULL, holder_execs, NULL);
	while (!rule->stop)
		pause();
	return 1;
}

static void test_exec(void)
{
	pid_t pid;

	rule_reset();
	t_is(rule_reap(rule_child(exec_fails)), 0, "an exec that fails leaves the lease as it is");
	pid = rule_child(exec_sleeps);
	rule_wait_phase(1);
	t_ok(rule_core_free(), "one that succeeds ends it, while the program goes on");
	kill(pid, SIGKILL);
	rule_reap(pid);
	rule_reset();
	t_is(rule_reap(rule_child(exec_of_another_thread)), 11,
	     "another thread's exec kills the holder's thread");
	t_ok(rule_core_free(), "  and the core is free");
	t_is(rule_reap(rule_child(exec_of_a_holder_thread)), 11,
	     "a holder that is not the leader execs");
	t_ok(rule_core_free(), "  and the core is free");
}

int main(void)
{
	void *va;

	rule_begin(60);
	test_exec();
	core = rule_hold(0);
	core_fd = find_core_fd();
	T_NEED(nomux_mem_grant(nom, 2 << 20, &mem));
	T_NEED(nomux_mem_window(mem, 2 << 20, NULL, &va));
	T_NEED(rule_map(mem, va, 0, 4096, NOM_MAP_READ | NOM_MAP_WRITE));
	window = va;
	window[0] = 0x1234;
	t_ok(core_fd >= 0, "the lease's descriptor is found in /proc");
	test_fork();
	test_vfork();
	test_spawn();
	test_threads();
	test_clone();
	T_NEED(nomux_core_release(core));
	nomux_mem_put(mem);
	nomux_close(nom);
	return t_end();
}
