// SPDX-License-Identifier: MIT
/*
 * Rules of the end of threads and processes: a lease ends with its thread, not
 * with the thread that leads the process, and any end of the process ends it.
 */
#include <pthread.h>
#include <sys/syscall.h>

#include <nomux/notify.h>

#include "rule.h"

static pthread_t leader;

static void *short_holder(void *arg)
{
	rule_hold(0);
	rule_post(1);
	return NULL;
}

/* Threads that end, one after the other, each with a lease of the same core. */
static void test_thread_exit(void)
{
	unsigned int i, held = 0, freed = 0, at_once = 0;
	pthread_t thread;

	rule_reset();
	for (i = 0; i < 20; i++) {
		T_NEED(-pthread_create(&thread, NULL, short_holder, NULL));
		pthread_join(thread, NULL);
		at_once += rule_board().state == NOM_CORE_FREE;
		held += rule->got == i + 1;
		freed += rule_core_free();
	}
	t_is(held, 20, "20 threads end as holders");
	t_is(freed, 20, "  each time the core is free, while the process goes on");
	t_is(at_once, 20, "  and is so as soon as the thread can be joined, ahead of the rest of its end");
}

static void *holder_without_leader(void *arg)
{
	unsigned long rounds;

	pthread_join(leader, NULL);
	rule_hold(0);
	rule->phase = 1;
	_exit((int)canary_spin(&rule->stop, &rounds));
}

static int leader_exits(void)
{
	pthread_t thread;

	leader = pthread_self();
	if (pthread_create(&thread, NULL, holder_without_leader, NULL))
		return 1;
	syscall(SYS_exit, 0);
	return 1;
}

static void test_leader_exits(void)
{
	char line[256], state = 0;
	char path[64];
	pid_t pid;
	FILE *f;

	rule_reset();
	pid = rule_child(leader_exits);
	t_ok(rule_wait_phase(1), "a holder whose process has lost its leader");
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (f && fgets(line, sizeof(line), f))
		state = strrchr(line, ')')[2];
	if (f)
		fclose(f);
	t_is(state, 'Z', "  which is a zombie");
	t_is(rule_board().pid, pid, "  is still known by its process's number");
	rule_storm(2000);
	t_ok(rule_wait(&rule->got, 2000), "  and handles its events");
	rule->stop = 1;
	t_is(rule_reap(pid), 0, "  with registers as they were");
	t_ok(rule_core_free(), "  until it ends, too");
}

static void *spinning_thread(void *arg)
{
	rule_spinning_holder();
	return NULL;
}

static int ended_by_another_thread(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, spinning_thread, NULL))
		return 1;
	rule_wait_phase(1);
	_exit(5);
}

static volatile uintptr_t address = 8;

static int killed_by_a_fault(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, spinning_thread, NULL))
		return 1;
	rule_wait_phase(1);
	*(volatile char *)address = 1;
	return 2;
}

static int waits(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, spinning_thread, NULL))
		return 1;
	pthread_join(thread, NULL);
	return 2;
}

static void test_process_end(void)
{
	pid_t pid;

	rule_reset();
	t_is(rule_reap(rule_child(ended_by_another_thread)), 5,
	     "exit_group(2) by another thread, while the holder spins");
	t_ok(rule_core_free(), "  frees the core");
	rule_reset();
	t_is(rule_reap(rule_child(killed_by_a_fault)), 1000 + SIGSEGV,
	     "another thread dies of a fault");
	t_ok(rule_core_free(), "  and so does the lease");
	rule_reset();
	pid = rule_child(waits);
	rule_wait_phase(1);
	kill(pid, SIGKILL);
	t_is(rule_reap(pid), 1000 + SIGKILL, "the process is killed, while the holder spins");
	t_ok(rule_core_free(), "  and the core is free");
}

/* Events posted when nobody is there any more reach nobody. */
static void test_post_afterwards(void)
{
	struct nomux_core *core;
	uint64_t old;

	rule_reset();
	core = rule_hold(0);
	old = nomux_core_handle(core);
	T_NEED(nomux_core_release(core));
	rule_post(3);
	core = rule_claim(0);
	t_ok(nomux_core_handle(core) != old, "the next lease has another handle");
	t_is(nomux_notify(nom, old, RULE_NOTIFY), -ENOENT, "  the old one is nobody's");
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
	t_is((long)rule->got, 3, "what a bound eventfd held in between is the next lease's");
	T_NEED(nomux_core_release(core));
}

int main(void)
{
	rule_begin(60);
	test_thread_exit();
	test_leader_exits();
	test_process_end();
	test_post_afterwards();
	nomux_close(nom);
	return t_end();
}
