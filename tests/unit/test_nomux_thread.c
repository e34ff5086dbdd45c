// SPDX-License-Identifier: MIT
/* User threads, hosted: order, joining, sleeping, mutexes, deadlock, stacks. */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include <nomux/sync.h>
#include <nomux/tls.h>

#include "nomux_threads.h"

static void three_marks(void *arg)
{
	for (int i = 0; i < 3; i++) {
		mark(*(const char *)arg);
		nomux_yield();
	}
}

static void test_yield_is_round_robin(void **state)
{
	struct nomux_thread *a = start(three_marks, (void *)"a"), *b = start(three_marks, (void *)"b");

	assert_string_equal(trace, "");
	assert_int_equal(nomux_join(a), 0);
	assert_int_equal(nomux_join(b), 0);
	assert_string_equal(trace, "ababab");
}

static void add_one(void *arg)
{
	nomux_yield();
	++*(int *)arg;
}

static void test_many_threads(void **state)
{
	struct nomux_thread *t[500];
	int sum = 0, round, i;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < 500; i++)
			t[i] = start(add_one, &sum);
		for (i = 499; i >= 0; i--)
			assert_int_equal(nomux_join(t[i]), 0);
	}
	assert_int_equal(sum, 1500);
}

/* Callee-saved registers and locals must survive switches, at any depth. */
static unsigned long recurse(unsigned int depth, unsigned long x)
{
	unsigned long a = x * 3, b = x ^ 0x5555, r;

	if (depth == 0)
		return x;
	nomux_yield();
	r = recurse(depth - 1, x + 1);
	nomux_yield();
	return r + a - 3 * x + (b ^ 0x5555) - x;
}

static void run_recursion(void *arg)
{
	unsigned long *p = arg;

	*p = recurse(100, *p);
}

static void test_locals_survive(void **state)
{
	unsigned long v[10];
	struct nomux_thread *t[10];
	int i;

	for (i = 0; i < 10; i++) {
		v[i] = 1000UL * i;
		t[i] = start(run_recursion, &v[i]);
	}
	for (i = 0; i < 10; i++) {
		assert_int_equal(nomux_join(t[i]), 0);
		assert_int_equal(v[i], 1000UL * i + 100);
	}
}

static void sleeper(void *arg)
{
	const char *spec = arg;		/* "c5": mark c after 5 ms */

	nomux_sleep_ns((uint64_t)(spec[1] - '0') * 1000000);
	mark(spec[0]);
}

static void test_sleep_orders_by_time(void **state)
{
	struct nomux_thread *c = start(sleeper, (void *)"c9"), *a = start(sleeper, (void *)"a2"),
			    *b = start(sleeper, (void *)"b5");
	uint64_t begun = nomux_now_ns();

	assert_int_equal(nomux_join(c), 0);
	assert_true(nomux_now_ns() - begun >= 9000000);
	assert_string_equal(trace, "abc");
	assert_int_equal(nomux_join(a), 0);
	assert_int_equal(nomux_join(b), 0);
	begun = nomux_now_ns();
	nomux_sleep_ns(3000000);	/* alone */
	assert_true(nomux_now_ns() - begun >= 3000000);
}

static volatile bool spin_done;

static void spinner(void *arg)
{
	while (!spin_done)
		nomux_yield();
}

static void test_sleepers_wake_while_others_run(void **state)
{
	struct nomux_thread *s = start(spinner, NULL);

	spin_done = false;
	nomux_sleep_ns(2000000);
	spin_done = true;
	assert_int_equal(nomux_join(s), 0);
}

struct locked {
	struct nomux_mutex m;
	int inside, max_inside, total;
};

static void lock_and_yield(void *arg)
{
	struct locked *l = arg;

	for (int i = 0; i < 20; i++) {
		assert_int_equal(nomux_mutex_lock(&l->m), 0);
		if (++l->inside > l->max_inside)
			l->max_inside = l->inside;
		nomux_yield();
		l->total++;
		l->inside--;
		assert_int_equal(nomux_mutex_unlock(&l->m), 0);
	}
}

static void test_mutex_excludes(void **state)
{
	struct locked l = { .total = 0 };
	struct nomux_thread *t[8];
	int i;

	assert_int_equal(nomux_mutex_init(&l.m), 0);
	for (i = 0; i < 8; i++)
		t[i] = start(lock_and_yield, &l);
	for (i = 0; i < 8; i++)
		assert_int_equal(nomux_join(t[i]), 0);
	assert_int_equal(l.max_inside, 1);
	assert_int_equal(l.total, 160);
	assert_int_equal(nomux_mutex_destroy(&l.m), 0);
}

static void lock_mark(void *arg)
{
	struct nomux_mutex *m = arg;

	assert_int_equal(nomux_mutex_lock(m), 0);
	mark(nomux_thread_name(nomux_self())[0]);
	assert_int_equal(nomux_mutex_unlock(m), 0);
}

static void test_mutex_is_fair(void **state)
{
	static const char *names[] = { "w", "x", "y", "z" };
	struct nomux_thread *t[4];
	struct nomux_mutex m;
	int i;

	nomux_mutex_init(&m);
	assert_int_equal(nomux_mutex_lock(&m), 0);
	for (i = 0; i < 4; i++) {
		struct nomux_thread_opts opts = { .sz = sizeof(opts), .name = names[i] };

		assert_int_equal(nomux_thread_create(lock_mark, &m, &opts, &t[i]), 0);
	}
	nomux_yield();			/* all four queue */
	assert_string_equal(trace, "");
	assert_int_equal(nomux_mutex_unlock(&m), 0);
	for (i = 0; i < 4; i++)
		assert_int_equal(nomux_join(t[i]), 0);
	assert_string_equal(trace, "wxyz");
}

static void test_mutex_misuse(void **state)
{
	struct nomux_mutex m;

	nomux_mutex_init(&m);
	assert_int_equal(nomux_mutex_unlock(&m), -EPERM);
	assert_int_equal(nomux_mutex_trylock(&m), 0);
	assert_int_equal(nomux_mutex_trylock(&m), -EBUSY);
	assert_int_equal(nomux_mutex_lock(&m), -EDEADLK);
	assert_int_equal(nomux_mutex_destroy(&m), -EBUSY);
	assert_int_equal(nomux_mutex_unlock(&m), 0);
	assert_int_equal(nomux_mutex_destroy(&m), 0);
	assert_int_equal(nomux_mutex_init(NULL), -EINVAL);
	assert_int_equal(nomux_mutex_lock(NULL), -EINVAL);
	assert_int_equal(nomux_mutex_trylock(NULL), -EINVAL);
	assert_int_equal(nomux_mutex_unlock(NULL), -EPERM);
	assert_int_equal(nomux_mutex_destroy(NULL), -EINVAL);
}

/* ------------------------------------------------------------- deadlock --- */

struct embrace {
	struct nomux_mutex a, b;
	int err[2];
};

static void take_a_then_b(void *arg)
{
	struct embrace *e = arg;

	nomux_mutex_lock(&e->a);
	nomux_yield();
	e->err[0] = nomux_mutex_lock(&e->b);
	if (!e->err[0])
		nomux_mutex_unlock(&e->b);
	nomux_mutex_unlock(&e->a);
}

static void take_b_then_a(void *arg)
{
	struct embrace *e = arg;

	nomux_mutex_lock(&e->b);
	nomux_yield();
	e->err[1] = nomux_mutex_lock(&e->a);
	if (!e->err[1])
		nomux_mutex_unlock(&e->a);
	nomux_mutex_unlock(&e->b);
}

/* The last to block is told, backs off, and everything goes on. */
static void test_deadlock_is_reported(void **state)
{
	struct embrace e = { .err = { 99, 99 } };
	struct nomux_thread *t, *u;

	log_quiet();
	nomux_mutex_init(&e.a);
	nomux_mutex_init(&e.b);
	t = start(take_a_then_b, &e);
	u = start(take_b_then_a, &e);
	assert_int_equal(nomux_join(t), 0);
	assert_int_equal(nomux_join(u), 0);
	assert_true((e.err[0] == 0 && e.err[1] == -EDEADLK) ||
		    (e.err[1] == 0 && e.err[0] == -EDEADLK));
	assert_true(log_lines >= 3);	/* one, and one per thread that waits */
	log_normal();
}

static void lock_and_end(void *arg)
{
	assert_int_equal(nomux_mutex_lock(arg), 0);
}

/* The owner has ended: who waits for it is told when the last thread ends. */
static void test_lock_of_ended_thread(void **state)
{
	struct nomux_thread *t;
	struct nomux_mutex m;

	log_quiet();
	nomux_mutex_init(&m);
	t = start(lock_and_end, &m);
	nomux_yield();
	assert_int_equal(nomux_mutex_lock(&m), -EDEADLK);
	assert_int_equal(nomux_join(t), 0);
	log_normal();
}

static void lock_sleep_end(void *arg)
{
	assert_int_equal(nomux_mutex_lock(arg), 0);
	nomux_sleep_ns(1000000);	/* meanwhile the main thread queues */
}

static void test_owner_ends_while_main_waits(void **state)
{
	struct nomux_thread *t;
	struct nomux_mutex m;

	log_quiet();
	nomux_mutex_init(&m);
	t = start(lock_sleep_end, &m);
	nomux_yield();
	assert_int_equal(nomux_mutex_lock(&m), -EDEADLK);
	assert_int_equal(nomux_join(t), 0);
	log_normal();
}

static void join_main(void *arg)
{
	*(int *)arg = nomux_join(arg ? nomux_self() : NULL);
}

static void test_join_misuse(void **state)
{
	struct nomux_thread *t;
	int err = 0;

	assert_int_equal(nomux_join(NULL), -EINVAL);
	assert_int_equal(nomux_join(nomux_self()), -EINVAL);
	t = start(join_main, &err);
	assert_int_equal(nomux_join(t), 0);
	assert_int_equal(err, -EDEADLK);
}

/* ------------------------------------------------------------- detaching --- */

static void test_detached_frees_itself(void **state)
{
	struct nomux_thread *t;
	int n = 0, i;

	for (i = 0; i < 100; i++) {	/* before, after and at creation */
		t = start(add_one, &n);
		assert_int_equal(nomux_detach(t), 0);
		nomux_yield();
		nomux_yield();
		t = start_opts(add_one, &n, NULL, NOMUX_THREAD_DETACHED, NULL);
		assert_int_equal(nomux_join(t), -EINVAL);
		assert_int_equal(nomux_detach(t), -EINVAL);
		nomux_yield();
		nomux_yield();
		assert_ptr_equal(start(add_one, &n), t);	/* freed: here it is again */
		nomux_yield();
		nomux_yield();
		assert_int_equal(nomux_detach(t), 0);	/* it has ended */
	}
	assert_int_equal(n, 300);
	assert_int_equal(nomux_detach(NULL), -EINVAL);
	assert_int_equal(nomux_detach(nomux_self()), -EINVAL);
}

static void join_it(void *arg)
{
	assert_int_equal(nomux_join(arg), 0);
	mark('j');
}

static void test_second_joiner_is_refused(void **state)
{
	struct nomux_thread *t, *j;
	int n = 0;

	t = start(add_one, &n);
	j = start(join_it, t);
	nomux_yield();			/* add_one yields, join_it waits for it */
	assert_int_equal(nomux_join(t), -EINVAL);
	assert_int_equal(nomux_detach(t), -EINVAL);
	join(j);
	assert_string_equal(trace, "j");
	assert_int_equal(nomux_join(t), -EINVAL);	/* freed: its memory is kept for the next one */
}

/* Stacks are used again, and hold nothing of their former thread. */
static void test_stacks_are_kept(void **state)
{
	struct nomux_thread *first = start(add_one, &(int){ 0 }), *again;

	join(first);
	again = start(add_one, &(int){ 0 });
	assert_ptr_equal(first, again);
	assert_string_equal(nomux_thread_name(again), "thread");
	join(again);
}

/* ------------------------------------------------------- per-thread values --- */

static unsigned int key;
static int destroyed;

static void destroy(void *value)
{
	destroyed += *(int *)value;
	if (*(int *)value == 100)	/* one that sets its value again */
		assert_int_equal(nomux_tls_set(key, value), 0);
}

static void set_and_get(void *arg)
{
	int mine = *(int *)arg;

	assert_null(nomux_tls_get(key));
	assert_int_equal(nomux_tls_set(key, arg), 0);
	nomux_yield();
	assert_ptr_equal(nomux_tls_get(key), arg);
	assert_int_equal(*(int *)nomux_tls_get(key), mine);
}

static void test_tls_is_per_thread(void **state)
{
	int v[3] = { 1, 10, 100 }, main_value, i;
	struct nomux_thread *t[3];

	destroyed = 0;
	assert_int_equal(nomux_tls_key_create(destroy, &key), 0);
	assert_int_equal(nomux_tls_set(key, &main_value), 0);
	for (i = 0; i < 3; i++)
		t[i] = start(set_and_get, &v[i]);
	for (i = 0; i < 3; i++)
		join(t[i]);
	assert_ptr_equal(nomux_tls_get(key), &main_value);
	assert_int_equal(destroyed, 411);	/* 100 four times, then it is left alone */
	assert_int_equal(nomux_tls_key_delete(key), 0);
}

static void test_tls_keys_run_out(void **state)
{
	unsigned int k[NOMUX_TLS_KEYS], one_more = 99, i;

	for (i = 0; i < NOMUX_TLS_KEYS; i++)
		assert_int_equal(nomux_tls_key_create(NULL, &k[i]), 0);
	assert_int_equal(nomux_tls_key_create(NULL, &one_more), -EAGAIN);
	assert_int_equal(one_more, 99);
	assert_int_equal(nomux_tls_set(k[5], &k), 0);
	assert_int_equal(nomux_tls_key_delete(k[5]), 0);
	assert_null(nomux_tls_get(k[5]));
	assert_int_equal(nomux_tls_set(k[5], &k), -EINVAL);
	assert_int_equal(nomux_tls_key_delete(k[5]), -EINVAL);
	assert_int_equal(nomux_tls_key_create(NULL, &k[5]), 0);
	assert_null(nomux_tls_get(k[5]));	/* the same number, another key */
	for (i = 0; i < NOMUX_TLS_KEYS; i++)
		assert_int_equal(nomux_tls_key_delete(k[i]), 0);
	assert_int_equal(nomux_tls_key_create(NULL, NULL), -EINVAL);
	assert_int_equal(nomux_tls_set(NOMUX_TLS_KEYS, NULL), -EINVAL);
	assert_int_equal(nomux_tls_key_delete(NOMUX_TLS_KEYS), -EINVAL);
	assert_null(nomux_tls_get(NOMUX_TLS_KEYS));
}

static void test_statistics(void **state)
{
	struct nomux_thread_stats a = { .sz = sizeof(a) }, b = { .sz = sizeof(b) };
	int n = 0;

	assert_int_equal(nomux_thread_stats(&a), 0);
	join(start(add_one, &n));
	assert_int_equal(nomux_thread_stats(&b), 0);
	assert_int_equal(b.switches - a.switches, 2);
	b.sz = 1;
	assert_int_equal(nomux_thread_stats(&b), -EINVAL);
	assert_int_equal(nomux_thread_stats(NULL), -EINVAL);
}

/* ------------------------------------------------------ stacks, isolation --- */

static volatile int endless = 1;

static int overflow(int depth)
{
	volatile char big[8192];

	memset((char *)big, depth, sizeof(big));
	if (!endless)
		return 0;
	return overflow(depth + 1) + big[depth % 8192];
}

static void run_overflow(void *arg)
{
	*(volatile int *)arg = overflow(0);
}

static void test_stack_overflow_faults(void **state)
{
	struct nomux_thread_opts opts = { .sz = sizeof(opts), .stack_bytes = 32768 };
	struct nomux_thread *t;
	pid_t pid = fork();
	int status;

	if (!pid) {
		int sum;

		signal(SIGSEGV, SIG_DFL);	/* not the sanitizer's report */
		signal(SIGBUS, SIG_DFL);
		assert_int_equal(nomux_thread_create(run_overflow, &sum, &opts, &t), 0);
		nomux_join(t);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
}

static void check_alignment(void *arg)
{
	/* A misaligned stack makes this movaps fault. */
	float v[4] __attribute__((aligned(16))) = { 1, 2, 3, 4 };

	__asm__ __volatile__("movaps %0, %%xmm0" :: "m" (v) : "xmm0");
	assert_int_equal((uintptr_t)__builtin_frame_address(0) % 16, 0);
	*(bool *)arg = true;
}

static void test_stack_is_aligned(void **state)
{
	bool done = false;

	assert_int_equal(nomux_join(start(check_alignment, &done)), 0);
	assert_true(done);
}

static void *kernel_thread(void *arg)
{
	struct nomux_thread *t, *others = arg;
	int n = 0;

	/* It has a run queue of its own, and no business with another's. */
	if (nomux_join(others) != -EINVAL)
		return (void *)1;
	if (nomux_thread_create(add_one, &n, NULL, &t) || nomux_join(t) || n != 1)
		return (void *)2;
	return NULL;
}

static void test_kernel_threads_are_apart(void **state)
{
	struct nomux_thread *t;
	struct nomux_mutex m;
	pthread_t thread;
	void *ret;
	int n = 0;

	nomux_mutex_init(&m);
	assert_int_equal(nomux_mutex_lock(&m), 0);
	t = start(add_one, &n);
	assert_int_equal(pthread_create(&thread, NULL, kernel_thread, t), 0);
	pthread_join(thread, &ret);
	assert_null(ret);
	assert_int_equal(n, 0);
	assert_int_equal(nomux_join(t), 0);
	nomux_mutex_unlock(&m);
}

static void test_bad_arguments(void **state)
{
	struct nomux_thread_opts opts = { .sz = 1 };
	struct nomux_thread *t = (void *)1;

	assert_int_equal(nomux_thread_create(NULL, NULL, NULL, &t), -EINVAL);
	assert_int_equal(nomux_thread_create(add_one, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(nomux_thread_create(add_one, NULL, &opts, &t), -EINVAL);
	opts.sz = sizeof(opts);
	opts.stack_bytes = 100;
	assert_int_equal(nomux_thread_create(add_one, NULL, &opts, &t), -EINVAL);
	opts.stack_bytes = 1UL << 40;
	assert_int_equal(nomux_thread_create(add_one, NULL, &opts, &t), -EINVAL);
	opts.stack_bytes = 0;
	opts.flags = 1U << 31;
	assert_int_equal(nomux_thread_create(add_one, NULL, &opts, &t), -EOPNOTSUPP);
	assert_ptr_equal(t, (void *)1);
	assert_string_equal(nomux_thread_name(nomux_self()), "main");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_yield_is_round_robin, clear_trace),
		cmocka_unit_test_setup(test_many_threads, clear_trace),
		cmocka_unit_test_setup(test_locals_survive, clear_trace),
		cmocka_unit_test_setup(test_sleep_orders_by_time, clear_trace),
		cmocka_unit_test_setup(test_sleepers_wake_while_others_run, clear_trace),
		cmocka_unit_test_setup(test_mutex_excludes, clear_trace),
		cmocka_unit_test_setup(test_mutex_is_fair, clear_trace),
		cmocka_unit_test_setup(test_mutex_misuse, clear_trace),
		cmocka_unit_test_setup(test_deadlock_is_reported, clear_trace),
		cmocka_unit_test_setup(test_lock_of_ended_thread, clear_trace),
		cmocka_unit_test_setup(test_owner_ends_while_main_waits, clear_trace),
		cmocka_unit_test_setup(test_join_misuse, clear_trace),
		cmocka_unit_test_setup(test_detached_frees_itself, clear_trace),
		cmocka_unit_test_setup(test_second_joiner_is_refused, clear_trace),
		cmocka_unit_test_setup(test_stacks_are_kept, clear_trace),
		cmocka_unit_test_setup(test_tls_is_per_thread, clear_trace),
		cmocka_unit_test_setup(test_tls_keys_run_out, clear_trace),
		cmocka_unit_test_setup(test_statistics, clear_trace),
		cmocka_unit_test_setup(test_stack_overflow_faults, clear_trace),
		cmocka_unit_test_setup(test_stack_is_aligned, clear_trace),
		cmocka_unit_test_setup(test_kernel_threads_are_apart, clear_trace),
		cmocka_unit_test_setup(test_bad_arguments, clear_trace),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
