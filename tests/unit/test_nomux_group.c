// SPDX-License-Identifier: MIT
/*
 * Groups: several kernel threads share user threads.  Sums and counts come out
 * only if no thread runs twice, on two cores at once, or never.
 */
#include <pthread.h>

#include <nomux/chan.h>
#include <nomux/group.h>
#include <nomux/sync.h>

#include "nomux_threads.h"

#define CORES 3

static struct nomux_group *g;

static int setup(void **state)
{
	return nomux_group_create(NULL, &g);
}

static int teardown(void **state)
{
	return nomux_group_destroy(g);
}

static void *core(void *arg)
{
	return (void *)(intptr_t)nomux_group_run(g);
}

/* Run the group's threads to their end on some cores. */
static void run_on(int cores)
{
	pthread_t thread[8];
	void *ret;
	int i;

	for (i = 0; i < cores; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, core, NULL), 0);
	for (i = 0; i < cores; i++) {
		pthread_join(thread[i], &ret);
		assert_int_equal((intptr_t)ret, 0);
	}
}

/* cmocka's assertions jump off the stack: threads of a group count instead. */
static int bad;

static void check(bool good)
{
	if (!good)
		__atomic_fetch_add(&bad, 1, __ATOMIC_RELAXED);
}

static void check_none_bad(void)
{
	assert_int_equal(__atomic_exchange_n(&bad, 0, __ATOMIC_RELAXED), 0);
}

static int arrived;

/* Goes on only when all of them run at once: so each has a core of its own. */
static void meet(void *arg)
{
	uint64_t limit = nomux_now_ns() + 20000 * MS;

	__atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&arrived, __ATOMIC_SEQ_CST) < CORES && nomux_now_ns() < limit)
		usleep(100);		/* a kernel call: nomux knows nothing of it */
}

/*
 * Run what was created on all cores, and let all of them be there first: a thread
 * created before takes up a core each until they are.
 */
static struct nomux_thread *meeting[CORES];

static void arrange_meeting(void)
{
	arrived = 0;
	for (int i = 0; i < CORES; i++)
		meeting[i] = start_opts(meet, NULL, NULL, 0, g);
}

static void run_together(void)
{
	run_on(CORES);
	for (int i = 0; i < CORES; i++)
		join(meeting[i]);
}

/* ------------------------------------------------------------- spreading --- */

#define TREE_DEPTH 9

struct node {
	unsigned int depth;
	uint64_t sum;
};

static uint32_t tree_flags;

/* Each thread makes two, joins them and adds up. */
static void tree(void *arg)
{
	struct nomux_thread_opts opts = { .sz = sizeof(opts), .flags = tree_flags };
	struct node *n = arg, child[2];
	struct nomux_thread *t[2];
	int i;

	n->sum = 1;
	if (!n->depth)
		return;
	for (i = 0; i < 2; i++) {
		child[i].depth = n->depth - 1;
		check(!nomux_thread_create(tree, &child[i], &opts, &t[i]));
	}
	nomux_yield();
	for (i = 0; i < 2; i++) {
		check(!nomux_join(t[i]));
		n->sum += child[i].sum;
	}
}

static void run_tree(int cores, uint32_t flags)
{
	struct node root = { .depth = TREE_DEPTH };
	struct nomux_thread *t;

	tree_flags = flags;
	t = start_opts(tree, &root, "root", flags, g);
	run_on(cores);
	join(t);
	assert_int_equal(root.sum, (1 << (TREE_DEPTH + 1)) - 1);
	check_none_bad();
}

static void test_tree_on_one_core(void **state)
{
	run_tree(1, 0);
}

static void test_tree_on_cores(void **state)
{
	run_tree(CORES, 0);
	run_tree(CORES, NOMUX_THREAD_MIGRATE);
}

/* ---------------------------------------------------------------- stealing --- */

static void spawn_meeting(void *arg)
{
	struct nomux_thread *t[CORES];
	int i;

	for (i = 0; i < CORES; i++)
		check(!nomux_thread_create(meet, NULL, NULL, &t[i]));
	for (i = 0; i < CORES; i++)
		check(!nomux_join(t[i]));
}

static void test_idle_cores_steal(void **state)
{
	struct nomux_thread *t = start_opts(spawn_meeting, NULL, NULL, 0, g);

	arrived = 0;
	run_on(CORES);
	join(t);
	assert_int_equal(arrived, CORES);
	check_none_bad();
}

/* Which kernel thread ran each turn of a thread. */
struct path {
	pthread_t first;
	int turns, moved;
};

__attribute__((noipa)) static pthread_t kernel_thread(void)
{
	return pthread_self();
}

static void wander(void *arg)
{
	struct path *p = arg;

	p->first = kernel_thread();
	for (p->turns = 0; p->turns < 2000; p->turns++) {
		nomux_yield();
		p->moved += kernel_thread() != p->first;
	}
}

static void run_wanderers(uint32_t flags, int *moved)
{
	struct nomux_thread *t[20];
	struct path p[20] = { 0 };
	int i;

	*moved = 0;
	arrange_meeting();
	for (i = 0; i < 20; i++)
		t[i] = start_opts(wander, &p[i], NULL, flags, g);
	run_together();
	for (i = 0; i < 20; i++) {
		join(t[i]);
		assert_int_equal(p[i].turns, 2000);
		*moved += p[i].moved;
	}
}

static void test_only_those_who_may_migrate(void **state)
{
	int moved, tries = 50;

	run_wanderers(0, &moved);
	assert_int_equal(moved, 0);
	do {				/* whether they are stolen is up to timing */
		run_wanderers(NOMUX_THREAD_MIGRATE, &moved);
	} while (!moved && --tries);
	assert_true(moved > 0);
}

/* ------------------------------------------------------------------ locks --- */

#define LOCKERS	12
#define TURNS	1000

static struct {
	struct nomux_mutex m;
	struct nomux_rwlock rw;
	struct nomux_cond c;
	struct nomux_sem s;
	struct nomux_chan *chan;
	uint64_t plain, shared, got, sum;
	int turn;
} x;

static void lock_and_add(void *arg)
{
	for (int i = 0; i < TURNS; i++) {
		check(!nomux_mutex_lock(&x.m));
		x.plain++;
		if (i % 64 == 0)
			nomux_yield();
		check(!nomux_mutex_unlock(&x.m));
		if (i % 8 == 0) {
			check(!nomux_rwlock_wrlock(&x.rw));
			x.shared++;
			check(!nomux_rwlock_unlock(&x.rw));
		} else {
			check(!nomux_rwlock_rdlock(&x.rw));
			check(x.shared <= LOCKERS * TURNS);
			check(!nomux_rwlock_unlock(&x.rw));
		}
	}
}

static void test_locks_exclude(void **state)
{
	struct nomux_thread *t[LOCKERS];
	int i;

	memset(&x, 0, sizeof(x));
	arrange_meeting();
	for (i = 0; i < LOCKERS; i++)
		t[i] = start_opts(lock_and_add, NULL, NULL, i % 2 ? NOMUX_THREAD_MIGRATE : 0, g);
	run_together();
	for (i = 0; i < LOCKERS; i++)
		join(t[i]);
	check_none_bad();
	assert_int_equal(x.plain, LOCKERS * TURNS);
	assert_int_equal(x.shared, LOCKERS * TURNS / 8);
	assert_int_equal(nomux_mutex_destroy(&x.m), 0);
	assert_int_equal(nomux_rwlock_destroy(&x.rw), 0);
}

/* Two or more take turns by a condition; sometimes a timeout comes in between. */
static void take_turns(void *arg)
{
	int me = (int)(intptr_t)arg, i;

	for (i = 0; i < 60; i++) {
		check(!nomux_mutex_lock(&x.m));
		while (x.turn % LOCKERS != me) {
			int err = nomux_cond_wait(&x.c, &x.m, i % 3 ? NOMUX_FOREVER : 20000);

			check(!err || err == -ETIMEDOUT);
		}
		x.turn++;
		check(!nomux_cond_broadcast(&x.c));
		check(!nomux_mutex_unlock(&x.m));
	}
}

static void test_conditions_and_timeouts(void **state)
{
	struct nomux_thread *t[LOCKERS];
	intptr_t i;

	memset(&x, 0, sizeof(x));
	for (i = 0; i < LOCKERS; i++)
		t[i] = start_opts(take_turns, (void *)i, NULL, i % 2 ? NOMUX_THREAD_MIGRATE : 0, g);
	run_on(CORES);
	for (i = 0; i < LOCKERS; i++)
		join(t[i]);
	check_none_bad();
	assert_int_equal(x.turn, 60 * LOCKERS);
}

static void sender(void *arg)
{
	for (int i = 1; i <= 1000; i++)
		check(!nomux_chan_send(x.chan, &i, NOMUX_FOREVER));
	check(!nomux_sem_post(&x.s));
}

static void receiver(void *arg)
{
	int v;

	while (!nomux_chan_recv(x.chan, &v, NOMUX_FOREVER)) {
		__atomic_fetch_add(&x.sum, (uint64_t)v, __ATOMIC_RELAXED);
		__atomic_fetch_add(&x.got, 1, __ATOMIC_RELAXED);
	}
}

static void closer(void *arg)
{
	for (int i = 0; i < 4; i++)
		check(!nomux_sem_wait(&x.s, NOMUX_FOREVER));
	check(!nomux_chan_close(x.chan));
}

static void run_channel(size_t capacity)
{
	struct nomux_thread *t[9];
	int i;

	memset(&x, 0, sizeof(x));
	assert_int_equal(nomux_chan_create(sizeof(int), capacity, &x.chan), 0);
	arrange_meeting();
	for (i = 0; i < 9; i++)
		t[i] = start_opts(i == 8 ? closer : i % 2 ? sender : receiver, NULL, NULL,
				  i % 3 ? NOMUX_THREAD_MIGRATE : 0, g);
	run_together();
	for (i = 0; i < 9; i++)
		join(t[i]);
	check_none_bad();
	assert_int_equal(x.got, 4000);
	assert_int_equal(x.sum, 4 * 500500);
	assert_int_equal(nomux_chan_destroy(x.chan), 0);
}

static void test_channels(void **state)
{
	run_channel(0);
	run_channel(16);
}

/* ---------------------------------------------------- from outside, sleep --- */

static void sleepy(void *arg)
{
	uint64_t begun = nomux_now_ns();

	nomux_sleep_ns(3 * MS);
	check(nomux_now_ns() - begun >= 3 * MS);
}

static void test_sleepers(void **state)
{
	struct nomux_thread *t[30];
	int i;

	for (i = 0; i < 30; i++)
		t[i] = start_opts(sleepy, NULL, NULL, i % 2 ? NOMUX_THREAD_MIGRATE : 0, g);
	run_on(CORES);
	for (i = 0; i < 30; i++)
		join(t[i]);
	check_none_bad();
}

static bool sem_made;

static void wait_outside(void *arg)
{
	check(!nomux_sem_init(&x.s, 0, NOMUX_SEM_EXTERNAL));
	__atomic_store_n(&sem_made, true, __ATOMIC_RELEASE);
	for (int i = 0; i < 500; i++)
		check(!nomux_sem_wait(&x.s, NOMUX_FOREVER));
}

static void *post_outside(void *arg)
{
	while (!__atomic_load_n(&sem_made, __ATOMIC_ACQUIRE))
		usleep(100);
	for (int i = 0; i < 500; i++) {
		nomux_sem_post(&x.s);
		if (i % 50 == 0)
			usleep(300);
	}
	return NULL;
}

static int born_outside;

static void count_born(void *arg)
{
	__atomic_fetch_add(&born_outside, 1, __ATOMIC_RELAXED);
}

/* Threads are born while cores come and go. */
static void post_and_start_from_outside(void)
{
	struct nomux_thread *t = start_opts(wait_outside, NULL, NULL, 0, g);
	pthread_t poster, cores[CORES];
	int i;

	sem_made = false;
	born_outside = 0;
	log_quiet();
	assert_int_equal(pthread_create(&poster, NULL, post_outside, NULL), 0);
	for (i = 0; i < CORES; i++)
		assert_int_equal(pthread_create(&cores[i], NULL, core, NULL), 0);
	for (i = 0; i < 100; i++) {
		start_opts(count_born, NULL, NULL, NOMUX_THREAD_DETACHED, g);
		if (i % 20 == 0)
			usleep(500);
	}
	pthread_join(poster, NULL);
	for (i = 0; i < CORES; i++)
		pthread_join(cores[i], NULL);
	run_on(1);			/* who was born when the rest had ended */
	join(t);
	check_none_bad();
	assert_int_equal(born_outside, 100);
	assert_int_equal(log_lines, 0);
	log_normal();
}

static void test_posts_and_threads_from_outside(void **state)
{
	for (int i = 0; i < 10; i++)
		post_and_start_from_outside();
}

/* --------------------------------------------------------------- deadlock --- */

static int told;

static void wait_for_nobody(void *arg)
{
	if (nomux_sem_wait(&x.s, NOMUX_FOREVER) == -EDEADLK)
		__atomic_fetch_add(&told, 1, __ATOMIC_RELAXED);
}

static void test_deadlock_over_cores(void **state)
{
	struct nomux_thread *t[4];
	int i;

	memset(&x, 0, sizeof(x));
	told = 0;
	log_quiet();
	for (i = 0; i < 4; i++)
		t[i] = start_opts(wait_for_nobody, NULL, NULL, NOMUX_THREAD_MIGRATE, g);
	run_on(CORES);
	for (i = 0; i < 4; i++)
		join(t[i]);
	assert_int_equal(told, 4);
	assert_true(log_lines >= 4 * 1 + 4 + 3 + 2 + 1);	/* a head line and one per thread left */
	log_normal();
}

static void hold_and_wait(void *arg)
{
	check(!nomux_rwlock_rdlock(&x.rw));
	wait_for_nobody(NULL);
	check(!nomux_rwlock_unlock(&x.rw));
}

static void read_behind(void *arg)
{
	nomux_sleep_ns(2 * MS);		/* the writer queues meanwhile */
	check(nomux_rwlock_tryrdlock(&x.rw) == -EBUSY);
	check(!nomux_rwlock_rdlock(&x.rw));
	check(!nomux_rwlock_unlock(&x.rw));
}

static void write_in_vain(void *arg)
{
	check(nomux_rwlock_wrlock(&x.rw) == -EDEADLK);
}

/* The writer, the youngest, is told; the reader behind it can have the lock then. */
static void test_readers_pass_a_writer_that_gives_up(void **state)
{
	struct nomux_thread *t[3];
	int i;

	memset(&x, 0, sizeof(x));
	told = 0;
	log_quiet();
	t[0] = start_opts(hold_and_wait, NULL, NULL, 0, g);
	t[1] = start_opts(read_behind, NULL, NULL, 0, g);
	t[2] = start_opts(write_in_vain, NULL, NULL, 0, g);
	run_on(1);
	for (i = 0; i < 3; i++)
		join(t[i]);
	check_none_bad();
	assert_int_equal(told, 1);
	log_normal();
}

/* ----------------------------------------------------------------- misuse --- */

static void join_foreign(void *arg)
{
	*(int *)arg = nomux_group_run(g);
}

static void test_misuse(void **state)
{
	struct nomux_group_opts opts = { .sz = 1 };
	struct nomux_group *out = (void *)1;
	struct nomux_thread *t, *mine;
	struct node n = { .depth = 0 };
	int err = 0;

	assert_int_equal(nomux_group_create(&opts, &out), -EINVAL);
	assert_int_equal(nomux_group_create(NULL, NULL), -EINVAL);
	assert_ptr_equal(out, (void *)1);
	assert_int_equal(nomux_group_run(NULL), -EINVAL);
	assert_int_equal(nomux_group_destroy(NULL), -EINVAL);
	assert_int_equal(nomux_group_run(g), 0);	/* no thread: nothing to do */
	t = start_opts(tree, &n, NULL, 0, g);
	assert_int_equal(nomux_group_destroy(g), -EBUSY);
	assert_int_equal(nomux_join(t), -EINVAL);	/* not ours to wait for, and not done */
	mine = start(join_foreign, &err);
	assert_int_equal(nomux_group_run(g), -EBUSY);	/* we have threads of our own */
	join(mine);
	assert_int_equal(err, -EBUSY);			/* and a user thread is no core */
	assert_int_equal(nomux_group_run(g), 0);	/* here works as well */
	join(t);
	assert_int_equal(n.sum, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_tree_on_one_core, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tree_on_cores, setup, teardown),
		cmocka_unit_test_setup_teardown(test_idle_cores_steal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_only_those_who_may_migrate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_locks_exclude, setup, teardown),
		cmocka_unit_test_setup_teardown(test_conditions_and_timeouts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_channels, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sleepers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_posts_and_threads_from_outside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deadlock_over_cores, setup, teardown),
		cmocka_unit_test_setup_teardown(test_readers_pass_a_writer_that_gives_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_misuse, setup, teardown),
	};

	alarm(150);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
