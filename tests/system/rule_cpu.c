// SPDX-License-Identifier: MIT
/*
 * Rules of CPUs: nobody but the holder itself can move it; the affinity others ask
 * for is in force after the lease.  A leased core cannot be unplugged.
 */
#include "rule.h"

static int set_cpu(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(pid, sizeof(set), &set) ? -errno : 0;
}

static int set_all(pid_t pid)
{
	cpu_set_t set;
	int cpu;

	CPU_ZERO(&set);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		CPU_SET(cpu, &set);
	return sched_setaffinity(pid, sizeof(set), &set) ? -errno : 0;
}

static bool has_only(pid_t pid, int cpu)
{
	cpu_set_t set;

	return !sched_getaffinity(pid, sizeof(set), &set) && CPU_COUNT(&set) == 1 &&
	       CPU_ISSET(cpu, &set);
}

static int holder_looks(void)
{
	struct nomux_core *core = rule_hold(0);
	uint64_t cpu = (uint64_t)nomux_core_cpu(core);
	cpu_set_t set_after;

	rule->word[0] = cpu;
	rule->phase = 1;
	while (!rule->stop) {
		rule->word[1] += (uint64_t)sched_getcpu() != cpu;
		rule->rounds++;
	}
	T_NEED(nomux_core_release(core));
	rule->word[2] = (uint64_t)sched_getcpu();
	sched_getaffinity(0, sizeof(set_after), &set_after);
	rule->word[3] = (uint64_t)CPU_COUNT(&set_after);
	return 0;
}

static void looks_again(void)
{
	uint64_t rounds = rule->rounds;

	rule_wait(&rule->rounds, rounds + 1000);
}

static int write_online(int cpu, const char *text)
{
	char path[64];
	int fd, err = 0;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, 1) != 1)
		err = -errno;
	close(fd);
	return err;
}

static void test_affinity(void)
{
	pid_t pid;

	rule_reset();
	pid = rule_child(holder_looks);
	rule_wait_phase(1);
	t_is(set_all(pid), 0, "a holder is allowed all CPUs");
	looks_again();
	t_ok(has_only(pid, (int)rule->word[0]), "  it is allowed its own, as before");
	t_is(set_cpu(pid, 0), 0, "another one");
	looks_again();
	t_ok(has_only(pid, (int)rule->word[0]), "  as before");
	t_is((long)rule->word[1], 0, "  it was on its core all the time");
	rule_storm(500);
	t_ok(rule_wait(&rule->got, 500), "  and handles its events");
	rule->stop = 1;
	t_is(rule_reap(pid), 0, "after the lease");
	t_is((long)rule->word[2], 0, "  it is where it was sent during the lease");
	t_is((long)rule->word[3], 1, "  and may be nowhere else");
}

/* The holder itself may go and come back; events follow it. */
static void test_own_affinity(void)
{
	struct nomux_core *core;
	int cpu;

	rule_reset();
	core = rule_hold(0);
	cpu = nomux_core_cpu(core);
	t_is(set_cpu(0, 0), 0, "a holder moves itself to an ordinary core");
	t_is(sched_getcpu(), 0, "  it is there");
	rule_post(10);
	t_is((long)rule->got, 10, "  and handles its events there");
	t_is(rule_board().state, NOM_CORE_RUNNING, "  its core stays leased");
	t_is(set_cpu(0, cpu), 0, "and back");
	t_is(sched_getcpu(), cpu, "  it is there again");
	rule_post(10);
	t_is((long)rule->got, 20, "  with its events");
	T_NEED(set_all(0));
	T_NEED(nomux_core_release(core));
	t_ok(sched_getcpu() != cpu, "after the lease it is on an ordinary core");
}

/* A core that nobody holds may go, and come back. */
static void test_unplug_free(void)
{
	struct nomux_core *core = NULL;
	int cpu;

	rule_core_free();
	cpu = (int)rule_board().cpu;
	t_is(write_online(cpu, "0"), 0, "a core that nobody holds is unplugged");
	t_is(rule_board().state, NOM_CORE_OFFLINE, "  the board says so");
	t_is(nomux_core_claim(nom, NULL, &core), -ENOENT, "  and it cannot be claimed: ENOENT");
	t_is(write_online(cpu, "1"), 0, "it comes back");
	t_ok(rule_core_free(), "  is free");
	rule_reset();
	core = rule_hold(0);
	rule_post(10);
	t_is((long)rule->got, 10, "  and as good as before");
	T_NEED(nomux_core_release(core));
}

static void test_unplug(void)
{
	struct nomux_core *core;
	pid_t pid;

	rule_reset();
	core = rule_claim(0);
	t_is(write_online(nomux_core_cpu(core), "0"), -EBUSY, "a claimed core is unplugged: EBUSY");
	T_NEED(nomux_core_release(core));
	pid = rule_child(holder_looks);
	rule_wait_phase(1);
	t_is(write_online((int)rule->word[0], "0"), -EBUSY, "a core whose holder spins: EBUSY");
	looks_again();
	t_is((long)rule->word[1], 0, "  the holder noticed nothing");
	rule_storm(500);
	t_ok(rule_wait(&rule->got, 500), "  and handles its events");
	rule->stop = 1;
	t_is(rule_reap(pid), 0, "  to the end");
}

int main(void)
{
	rule_begin(30);
	test_affinity();
	test_own_affinity();
	test_unplug();
	test_unplug_free();
	nomux_close(nom);
	return t_end();
}
