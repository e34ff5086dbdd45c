// SPDX-License-Identifier: MIT
/*
 * The heap of deadlines, timers under a clock that the test moves, calls handed to
 * helpers, the watcher of stalls.
 */
#include <pthread.h>
#include <sys/syscall.h>

#include <nomux/guard.h>
#include <nomux/offload.h>
#include <nomux/preempt.h>
#include <nomux/sync.h>
#include <nomux/timer.h>

#include "../../libnomux/src/heap.h"
#include "nomux_threads.h"

/* ------------------------------------------------------------------ heap --- */

#define NODES 10000

static struct heap_node node[NODES];

static uint64_t next_random(uint64_t *x)
{
	*x = *x * 6364136223846793005ULL + 1442695040888963407ULL;
	return *x >> 33;
}

/* Parents are earlier, parent pointers right, nothing is missing: return the count. */
static uint64_t check_tree(const struct heap_node *n, const struct heap_node *parent)
{
	if (!n)
		return 0;
	assert_ptr_equal(n->parent, parent);
	assert_true(n->in);
	if (parent)
		assert_true(parent->when_ns <= n->when_ns);
	return 1 + check_tree(n->left, n) + check_tree(n->right, n);
}

static void test_heap_random(void **state)
{
	struct heap h = { 0 };
	uint64_t x = 1, last = 0, in = 0;
	struct heap_node *n;
	unsigned int i, k;

	memset(node, 0, sizeof(node));
	for (i = 0; i < 20 * NODES; i++) {
		k = (unsigned int)(next_random(&x) % NODES);
		if (node[k].in) {
			nomux__heap_del(&h, &node[k]);
			in--;
		} else {
			nomux__heap_add(&h, &node[k], next_random(&x) % 5000);
			in++;
		}
		if (i % 5003 == 0)
			assert_int_equal(check_tree(h.root, NULL), in);
	}
	assert_int_equal(h.nr, in);
	assert_int_equal(nomux__heap_first_ns(&h), h.root->when_ns);
	while ((n = nomux__heap_take(&h, UINT64_MAX))) {
		assert_true(n->when_ns >= last);
		last = n->when_ns;
		in--;
	}
	assert_int_equal(in, 0);
	assert_null(h.root);
	assert_int_equal(nomux__heap_first_ns(&h), UINT64_MAX);
}

static void test_heap_equal_ones_in_order(void **state)
{
	struct heap h = { 0 };
	struct heap_node *n;
	unsigned int i;

	memset(node, 0, sizeof(node));
	for (i = 0; i < 100; i++)
		nomux__heap_add(&h, &node[i], i < 50 ? 7 : 3);
	assert_null(nomux__heap_take(&h, 2));
	for (i = 0; i < 100; i++) {
		n = nomux__heap_take(&h, 7);
		assert_ptr_equal(n, &node[(i + 50) % 100]);
	}
}

/* ---------------------------------------------------------------- timers --- */

static struct nomux_clock real_clock;

/* nomux_now_ns() stands still, and moves when the test says so. */
static int fake_clock(void **state)
{
	nomux_clock_init();
	real_clock = nomux_clock;
	nomux_clock = (struct nomux_clock){ .ready = 1, .ns_base = 1000 };
	return 0;
}

static int true_clock(void **state)
{
	nomux_clock = real_clock;
	return 0;
}

static void move_clock(uint64_t ns)
{
	nomux_clock.ns_base += ns;
	nomux_yield();			/* without a leased core timers are seen to here */
}

struct one {
	struct nomux_timer *t;
	uint64_t due_ns, fired_ns;
	unsigned int fired;
};

static uint64_t last_fired_due;

static void on_one(struct nomux_timer *t, void *arg)
{
	struct one *o = arg;

	assert_ptr_equal(t, o->t);
	assert_true(o->due_ns >= last_fired_due);
	last_fired_due = o->due_ns;
	o->fired_ns = nomux_now_ns();
	o->fired++;
}

static void test_ten_thousand_timers(void **state)
{
	static struct one one[NODES];
	struct nomux_thread_stats a = { .sz = sizeof(a) }, b = { .sz = sizeof(b) };
	uint64_t x = 99, step = 1000;
	unsigned int i;

	last_fired_due = 0;
	memset(one, 0, sizeof(one));
	assert_int_equal(nomux_thread_stats(&a), 0);
	for (i = 0; i < NODES; i++) {
		one[i].due_ns = nomux_now_ns() + next_random(&x) % 10000000;
		assert_int_equal(nomux_timer_create(on_one, &one[i], &one[i].t), 0);
		assert_int_equal(nomux_timer_set(one[i].t, one[i].due_ns, NOMUX_TIMER_ABS), 0);
	}
	for (i = 0; i < NODES; i += 7)
		assert_int_equal(nomux_timer_cancel(one[i].t), 0);
	for (i = 0; i < 10001; i++)
		move_clock(step);
	for (i = 0; i < NODES; i++) {
		assert_int_equal(one[i].fired, i % 7 != 0);
		if (!one[i].fired)
			continue;
		assert_true(one[i].fired_ns >= one[i].due_ns);
		assert_true(one[i].fired_ns - one[i].due_ns < step);
	}
	assert_int_equal(nomux_thread_stats(&b), 0);
	assert_int_equal(b.timer_fired - a.timer_fired, NODES - (NODES + 6) / 7);
	assert_int_equal(b.timer_arms, 0);	/* there is no lease */
	for (i = 0; i < NODES; i++)
		nomux_timer_destroy(one[i].t);
}

static unsigned int periods;

static void set_again(struct nomux_timer *t, void *arg)
{
	periods++;
	assert_int_equal(nomux_timer_set(t, *(uint64_t *)arg, 0), 0);
}

static void test_callback_sets_again(void **state)
{
	uint64_t period = 100;
	struct nomux_timer *t;
	unsigned int i;

	periods = 0;
	assert_int_equal(nomux_timer_create(set_again, &period, &t), 0);
	assert_int_equal(nomux_timer_set(t, 100, 0), 0);
	for (i = 0; i < 50; i++)
		move_clock(100);
	assert_int_equal(periods, 50);
	period = 0;			/* due at once: the next time round, not for ever */
	move_clock(100);
	assert_int_equal(periods, 51);
	nomux_yield();
	assert_int_equal(periods, 52);
	nomux_timer_destroy(t);
	move_clock(1000);
	assert_int_equal(periods, 52);
}

static void never(struct nomux_timer *t, void *arg)
{
	fail();
}

static void test_timer_misuse(void **state)
{
	struct nomux_timer *t = (void *)1;

	assert_int_equal(nomux_timer_create(NULL, NULL, &t), -EINVAL);
	assert_int_equal(nomux_timer_create(never, NULL, NULL), -EINVAL);
	assert_ptr_equal(t, (void *)1);
	assert_int_equal(nomux_timer_create(never, NULL, &t), 0);
	assert_int_equal(nomux_timer_cancel(t), -ENOENT);
	assert_int_equal(nomux_timer_set(t, 1, 2), -EOPNOTSUPP);
	assert_int_equal(nomux_timer_set(NULL, 1, 0), -EINVAL);
	assert_int_equal(nomux_timer_cancel(NULL), -EINVAL);
	assert_int_equal(nomux_timer_set(t, UINT64_MAX, 0), 0);	/* never, without wrapping */
	move_clock(1ULL << 62);
	assert_int_equal(nomux_timer_cancel(t), 0);
	assert_int_equal(nomux_timer_set(t, UINT64_MAX, NOMUX_TIMER_ABS), 0);
	nomux_timer_destroy(t);		/* set, and gone */
	nomux_timer_destroy(NULL);
}

/* --------------------------------------------------------------- offload --- */

static long add_one(void *arg)
{
	usleep(1000);
	return ++*(int *)arg;
}

static long tid(void *arg)
{
	return syscall(SYS_gettid);
}

static void hand_over(void *arg)
{
	int n = 5;
	long ret = 0;

	assert_int_equal(nomux_offload(add_one, &n, &ret), 0);
	assert_int_equal(n, 6);
	assert_int_equal(ret, 6);
	++*(int *)arg;
}

/* More at once than there are helpers: all get their turn. */
static void test_offload(void **state)
{
	struct nomux_thread *t[3 * NOMUX_OFFLOAD_HELPERS];
	long helper = 0;
	int done = 0, i;

	log_quiet();
	assert_int_equal(nomux_offload(tid, NULL, &helper), 0);
	assert_true(helper > 0 && helper != syscall(SYS_gettid));
	for (i = 0; i < 3 * NOMUX_OFFLOAD_HELPERS; i++)
		t[i] = start(hand_over, &done);
	for (i = 0; i < 3 * NOMUX_OFFLOAD_HELPERS; i++)
		join(t[i]);
	assert_int_equal(done, 3 * NOMUX_OFFLOAD_HELPERS);
	assert_int_equal(log_lines, 0);		/* waiting for a helper is no deadlock */
	log_normal();
	assert_int_equal(nomux_offload(NULL, NULL, NULL), -EINVAL);
	assert_int_equal(nomux_offload(tid, NULL, NULL), 0);
}

static int fd[2];

static long blocking_read(void *arg)
{
	return read(fd[0], arg, 1);
}

static void read_byte(void *arg)
{
	long ret = 0;

	assert_int_equal(nomux_offload(blocking_read, arg, &ret), 0);
	assert_int_equal(ret, 1);
}

static void test_others_go_on_meanwhile(void **state)
{
	struct nomux_thread *t;
	char byte = 0;
	int i;

	assert_int_equal(pipe(fd), 0);
	t = start(read_byte, &byte);
	for (i = 0; i < 100; i++)
		nomux_yield();
	assert_int_equal(byte, 0);
	assert_int_equal(write(fd[1], "x", 1), 1);
	join(t);
	assert_int_equal(byte, 'x');
	close(fd[0]);
	close(fd[1]);
}

/* ---------------------------------------------------------------- stalls --- */

static struct nomux_stall seen;
static unsigned int stalls;

static void on_stall(const struct nomux_stall *s, void *arg)
{
	seen = *s;
	__atomic_fetch_add(&stalls, 1, __ATOMIC_SEQ_CST);
}

static void spin(uint64_t ns)
{
	uint64_t until = nomux_now_ns() + ns;

	while (nomux_now_ns() < until)
		;
}

/* Until it was told of, however late the watcher gets to run, and on for a while. */
static void hog(void *arg)
{
	unsigned int want = *(unsigned int *)arg;
	uint64_t limit = nomux_now_ns() + 20000 * MS;

	while (__atomic_load_n(&stalls, __ATOMIC_SEQ_CST) < want && nomux_now_ns() < limit)
		;
	spin(50 * MS);
}

static void polite(void *arg)
{
	uint64_t until = nomux_now_ns() + *(uint64_t *)arg;

	while (nomux_now_ns() < until)
		nomux_yield();
}

static void test_stalls_are_told_once(void **state)
{
	unsigned int i, none = 0;

	stalls = 0;
	assert_int_equal(nomux_stall_watch(10 * MS, on_stall, NULL), 0);
	for (i = 1; i <= 2; i++) {
		join(start_opts(hog, &i, "hog", 0, NULL));
		assert_int_equal(stalls, i);
		assert_string_equal(seen.name, "hog");
		assert_int_equal(seen.tid, syscall(SYS_gettid));
		assert_true(seen.ns >= 10 * MS);
	}
	assert_int_equal(nomux_stall_watch(0, NULL, NULL), 0);
	join(start(hog, &none));
	assert_int_equal(stalls, 2);		/* it has ended */
}

static void test_no_stall_without_reason(void **state)
{
	uint64_t ns = 60 * MS;
	struct nomux_thread *t, *u;

	stalls = 0;
	assert_int_equal(nomux_stall_watch(25 * MS, on_stall, NULL), 0);
	nomux_sleep_ns(60 * MS);		/* idle */
	usleep(60000);				/* alone: nobody is kept waiting */
	t = start(polite, &ns);
	u = start(polite, &ns);
	join(t);
	join(u);
	assert_int_equal(nomux_stall_watch(0, NULL, NULL), 0);
	/* A machine that lets nobody run for 25 ms may count as one. */
	assert_true(stalls <= 1);
}

static void test_stall_misuse(void **state)
{
	assert_int_equal(nomux_stall_watch(1, NULL, NULL), -EINVAL);
	assert_int_equal(nomux_stall_watch(UINT64_MAX, NULL, NULL), -EINVAL);
	assert_int_equal(nomux_stall_watch(0, NULL, NULL), 0);
}

static void hog_until_logged(void *arg)
{
	uint64_t limit = nomux_now_ns() + 20000 * MS;

	while (!__atomic_load_n(&log_lines, __ATOMIC_SEQ_CST) && nomux_now_ns() < limit)
		;
	spin(20 * MS);
}

static void test_stall_is_logged(void **state)
{

	log_quiet();
	assert_int_equal(nomux_stall_watch(10 * MS, NULL, NULL), 0);
	join(start_opts(hog_until_logged, NULL, "greedy", 0, NULL));
	assert_int_equal(nomux_stall_watch(0, NULL, NULL), 0);
	assert_int_equal(log_lines, 1);
	assert_non_null(strstr(log_last, "thread=greedy"));
	log_normal();
}

/* What needs a leased core says so. */
static void test_refused_without_a_core(void **state)
{
	assert_int_equal(nomux_preempt_start(1000000), -EOPNOTSUPP);
	assert_int_equal(nomux_preempt_start(1), -EINVAL);
	assert_int_equal(nomux_preempt_stop(), -EINVAL);
	assert_int_equal(nomux_resched(), -EINVAL);
	assert_int_equal(nomux_guard_claim(NULL, NULL, NULL), -EINVAL);
	nomux_preempt_off();
	nomux_preempt_on();
	nomux_preempt_on();		/* one too many does nothing */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heap_random),
		cmocka_unit_test(test_heap_equal_ones_in_order),
		cmocka_unit_test_setup_teardown(test_ten_thousand_timers, fake_clock, true_clock),
		cmocka_unit_test_setup_teardown(test_callback_sets_again, fake_clock, true_clock),
		cmocka_unit_test_setup_teardown(test_timer_misuse, fake_clock, true_clock),
		cmocka_unit_test(test_offload),
		cmocka_unit_test(test_others_go_on_meanwhile),
		cmocka_unit_test(test_stalls_are_told_once),
		cmocka_unit_test(test_no_stall_without_reason),
		cmocka_unit_test(test_stall_misuse),
		cmocka_unit_test(test_stall_is_logged),
		cmocka_unit_test(test_refused_without_a_core),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
