// SPDX-License-Identifier: MIT
/*
 * Rules of control groups: the freezer stops a holder as SIGSTOP does; cpusets
 * apply before and after a lease, not to the leased core.
 */
#include <sys/mount.h>
#include <sys/stat.h>

#include "rule.h"

static char root[] = "/tmp/rule_cgroup.XXXXXX";
static char group[64];

static int put(const char *dir, const char *file, const char *text)
{
	char path[160];
	int fd, err = 0;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

static int put_number(const char *dir, const char *file, long n)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", n);
	return put(dir, file, text);
}

static bool file_has(const char *file, const char *what)
{
	char path[160], text[512];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", group, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return strstr(text, what);
}

static bool wait_file(const char *file, const char *what)
{
	int patience = 5000;

	while (!file_has(file, what) && patience--)
		rule_sleep_ms(1);
	return file_has(file, what);
}

static void make_group(const char *name)
{
	snprintf(group, sizeof(group), "%s/%s", root, name);
	T_NEED(mkdir(group, 0755) ? -errno : 0);
}

static void end_group(void)
{
	int patience = 1000;

	while (rmdir(group) && patience--)
		rule_sleep_ms(1);
}

/* --------------------------------------------------------------- freezer --- */

static void test_freezer(void)
{
	uint64_t before;
	pid_t pid;

	make_group("frozen");
	rule_reset();
	pid = rule_child(rule_spinning_holder);
	rule_wait_phase(1);
	T_NEED(put_number(group, "cgroup.procs", pid));
	rule_storm(500);
	rule_wait(&rule->got, 500);
	t_is(put(group, "cgroup.freeze", "1"), 0, "a group with a holder that spins is frozen");
	t_ok(wait_file("cgroup.events", "frozen 1"), "  and says so");
	before = rule->got;
	rule_storm(2000);
	rule_sleep_ms(50);
	t_is((long)(rule->got - before), 0, "  no upcall while it is");
	t_ok(wait_file("cgroup.events", "frozen 1"), "  nor do events thaw it");
	t_is(rule_board().state, NOM_CORE_RUNNING, "  the core stays leased");
	t_is(put(group, "cgroup.freeze", "0"), 0, "thawed");
	t_ok(rule_wait(&rule->got, 2500), "  it handles all of them");
	rule->stop = 1;
	t_is(rule_reap(pid), 0, "  with registers as they were");
	t_is((long)rule->got, 2500, "  none twice");

	rule_reset();
	pid = rule_child(rule_spinning_holder);
	rule_wait_phase(1);
	T_NEED(put_number(group, "cgroup.procs", pid));
	put(group, "cgroup.freeze", "1");
	wait_file("cgroup.events", "frozen 1");
	kill(pid, SIGKILL);
	t_is(rule_reap(pid), 1000 + SIGKILL, "a frozen holder can be killed");
	t_ok(rule_core_free(), "  which frees the core");
	end_group();
}

/* --------------------------------------------------------------- cpusets --- */

static int on_the_core(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) || CPU_ISSET(rule->word[0], &set) ||
	       sched_getcpu() == (int)rule->word[0];
}

static int holder_reports(void)
{
	struct nomux_core *core;
	cpu_set_t set;

	rule->phase = 1;
	while (rule->phase < 2)
		sched_yield();
	core = rule_hold(0);
	rule->word[0] = (uint64_t)nomux_core_cpu(core);
	rule->word[5] = (uint64_t)rule_reap(rule_child(on_the_core));
	rule->phase = 3;
	while (!rule->stop)
		rule->word[1] = (uint64_t)sched_getcpu();
	T_NEED(nomux_core_release(core));
	rule->word[2] = (uint64_t)sched_getcpu();
	sched_getaffinity(0, sizeof(set), &set);
	rule->word[3] = (uint64_t)CPU_COUNT(&set);
	rule->word[4] = (uint64_t)CPU_ISSET(rule->word[0], &set);
	return 0;
}

/* Where the holder finds itself, after whatever moves it has had the time to. */
static long where(void)
{
	rule_sleep_ms(100);
	return (long)rule->word[1];
}

static void test_cpuset(void)
{
	pid_t pid;

	if (put(root, "cgroup.subtree_control", "+cpuset")) {
		t_ok(true, "# SKIP no cpuset controller");
		return;
	}
	make_group("ordinary");
	T_NEED(put(group, "cpuset.cpus", "0"));

	/* in before the lease */
	rule_reset();
	pid = rule_child(holder_reports);
	rule_wait_phase(1);
	T_NEED(put_number(group, "cgroup.procs", pid));
	rule->phase = 2;
	t_ok(rule_wait_phase(3), "a process in a cpuset without the core leases and enters it");
	t_is(where(), (long)rule->word[0], "  and is there");
	t_is((long)rule->word[5], 0, "  but not its children");
	T_NEED(put(group, "cpuset.cpus", ""));
	T_NEED(put(group, "cpuset.cpus", "0"));
	t_is(where(), (long)rule->word[0], "a change of the cpuset does not move it");
	rule->stop = 1;
	t_is(rule_reap(pid), 0, "after the lease");
	t_is((long)rule->word[2], 0, "  it is where the cpuset wants it");

	/* in during the lease */
	rule_reset();
	pid = rule_child(holder_reports);
	rule_wait_phase(1);
	rule->phase = 2;
	rule_wait_phase(3);
	t_is(put_number(group, "cgroup.procs", pid), 0, "a holder is put into that cpuset");
	t_is(where(), (long)rule->word[0], "  it stays on its core");
	rule_storm(1000);
	t_ok(rule_wait(&rule->got, 1000), "  and handles its events");
	rule->stop = 1;
	t_is(rule_reap(pid), 0, "after the lease");
	t_is((long)rule->word[2], 0, "  the cpuset has it");
	t_is((long)rule->word[3], 1, "  with one CPU");
	t_is((long)rule->word[4], 0, "  which is not the core");
	end_group();
	put(root, "cgroup.subtree_control", "-cpuset");
}

int main(void)
{
	rule_begin(60);
	T_NEED(mkdtemp(root) ? 0 : -errno);
	if (mount("none", root, "cgroup2", 0, NULL)) {
		rmdir(root);
		printf("1..0 # SKIP no cgroup2\n");
		return T_SKIP;
	}
	test_freezer();
	test_cpuset();
	umount(root);
	rmdir(root);
	nomux_close(nom);
	return t_end();
}
