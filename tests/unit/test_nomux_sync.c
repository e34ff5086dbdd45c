// SPDX-License-Identifier: MIT
/* Reader-writer locks, condition variables, semaphores, channels, hosted. */
#include <pthread.h>

#include <nomux/chan.h>
#include <nomux/sync.h>

#include "nomux_threads.h"

/* ------------------------------------------------- reader-writer locks --- */

struct shared {
	struct nomux_rwlock rw;
	int readers, max_readers, writers, bad;
};

static void reader(void *arg)
{
	struct shared *s = arg;

	for (int i = 0; i < 20; i++) {
		assert_int_equal(nomux_rwlock_rdlock(&s->rw), 0);
		s->bad += s->writers;
		if (++s->readers > s->max_readers)
			s->max_readers = s->readers;
		nomux_yield();
		s->readers--;
		assert_int_equal(nomux_rwlock_unlock(&s->rw), 0);
	}
}

static void writer(void *arg)
{
	struct shared *s = arg;

	for (int i = 0; i < 20; i++) {
		assert_int_equal(nomux_rwlock_wrlock(&s->rw), 0);
		s->bad += s->writers++ + s->readers;
		nomux_yield();
		s->writers--;
		assert_int_equal(nomux_rwlock_unlock(&s->rw), 0);
		nomux_yield();
	}
}

static void test_rwlock_shares_and_excludes(void **state)
{
	struct shared s = { .bad = 0 };
	struct nomux_thread *t[6];
	int i;

	assert_int_equal(nomux_rwlock_init(&s.rw), 0);
	for (i = 0; i < 6; i++)
		t[i] = start(i < 4 ? reader : writer, &s);
	for (i = 0; i < 6; i++)
		join(t[i]);
	assert_int_equal(s.bad, 0);
	assert_true(s.max_readers > 1);
	assert_int_equal(nomux_rwlock_destroy(&s.rw), 0);
}

static void read_mark(void *arg)
{
	assert_int_equal(nomux_rwlock_rdlock(arg), 0);
	mark('r');
	assert_int_equal(nomux_rwlock_unlock(arg), 0);
}

static void write_mark(void *arg)
{
	assert_int_equal(nomux_rwlock_wrlock(arg), 0);
	mark('w');
	assert_int_equal(nomux_rwlock_unlock(arg), 0);
}

/* A reader that comes after a writer waits behind it. */
static void test_rwlock_is_fair(void **state)
{
	struct nomux_rwlock rw = { 0 };
	struct nomux_thread *a, *b, *c;

	assert_int_equal(nomux_rwlock_rdlock(&rw), 0);
	a = start(write_mark, &rw);
	b = start(read_mark, &rw);
	c = start(read_mark, &rw);
	nomux_yield();
	assert_string_equal(trace, "");
	assert_int_equal(nomux_rwlock_tryrdlock(&rw), -EBUSY);
	assert_int_equal(nomux_rwlock_unlock(&rw), 0);
	join(a);
	join(b);
	join(c);
	assert_string_equal(trace, "wrr");
}

static void write_and_end(void *arg)
{
	assert_int_equal(nomux_rwlock_wrlock(arg), 0);
}

static void *rwlock_elsewhere(void *arg)
{
	return (void *)(intptr_t)nomux_rwlock_rdlock(arg);
}

static void test_rwlock_misuse(void **state)
{
	struct nomux_rwlock rw;
	struct nomux_thread *t;
	pthread_t thread;
	void *ret;

	assert_int_equal(nomux_rwlock_init(NULL), -EINVAL);
	assert_int_equal(nomux_rwlock_rdlock(NULL), -EINVAL);
	assert_int_equal(nomux_rwlock_wrlock(NULL), -EINVAL);
	assert_int_equal(nomux_rwlock_tryrdlock(NULL), -EINVAL);
	assert_int_equal(nomux_rwlock_trywrlock(NULL), -EINVAL);
	assert_int_equal(nomux_rwlock_unlock(NULL), -EINVAL);
	assert_int_equal(nomux_rwlock_destroy(NULL), -EINVAL);
	assert_int_equal(nomux_rwlock_init(&rw), 0);
	assert_int_equal(nomux_rwlock_unlock(&rw), -EPERM);
	assert_int_equal(nomux_rwlock_tryrdlock(&rw), 0);
	assert_int_equal(nomux_rwlock_trywrlock(&rw), -EBUSY);
	assert_int_equal(nomux_rwlock_destroy(&rw), -EBUSY);
	assert_int_equal(nomux_rwlock_unlock(&rw), 0);
	assert_int_equal(nomux_rwlock_trywrlock(&rw), 0);
	assert_int_equal(nomux_rwlock_tryrdlock(&rw), -EBUSY);
	assert_int_equal(nomux_rwlock_rdlock(&rw), -EDEADLK);
	assert_int_equal(nomux_rwlock_wrlock(&rw), -EDEADLK);
	assert_int_equal(nomux_rwlock_destroy(&rw), -EBUSY);
	assert_int_equal(pthread_create(&thread, NULL, rwlock_elsewhere, &rw), 0);
	pthread_join(thread, &ret);
	assert_int_equal((intptr_t)ret, -EINVAL);
	assert_int_equal(nomux_rwlock_unlock(&rw), 0);
	t = start(write_and_end, &rw);
	join(t);
	assert_int_equal(nomux_rwlock_unlock(&rw), -EPERM);	/* another's */
	log_quiet();
	assert_int_equal(nomux_rwlock_rdlock(&rw), -EDEADLK);
	log_normal();
}

static void read_forever(void *arg)
{
	struct nomux_rwlock *rw = arg;

	assert_int_equal(nomux_rwlock_rdlock(rw), 0);
	nomux_sleep_ns(3 * MS);
	assert_int_equal(nomux_rwlock_unlock(rw), 0);
}

static void try_write(void *arg)
{
	mark(nomux_rwlock_wrlock(arg) == -EDEADLK ? 'd' : 'w');
}

/*
 * A writer gives up (deadlock): the readers that queued behind it go on.  Its
 * thread is the last to block, as main reads and waits for it.
 */
static void test_rwlock_writer_gives_up(void **state)
{
	struct nomux_rwlock rw = { 0 };
	struct nomux_thread *w;

	log_quiet();
	assert_int_equal(nomux_rwlock_rdlock(&rw), 0);
	w = start(try_write, &rw);
	join(w);
	assert_string_equal(trace, "d");
	assert_true(log_lines >= 3);
	assert_int_equal(nomux_rwlock_tryrdlock(&rw), 0);
	assert_int_equal(nomux_rwlock_unlock(&rw), 0);
	assert_int_equal(nomux_rwlock_unlock(&rw), 0);
	join(start(read_forever, &rw));
	assert_int_equal(nomux_rwlock_destroy(&rw), 0);
	log_normal();
}

/* ------------------------------------------------- condition variables --- */

struct box {
	struct nomux_mutex m;
	struct nomux_cond c;
	int full, taken, woken;
};

static void taker(void *arg)
{
	struct box *b = arg;

	assert_int_equal(nomux_mutex_lock(&b->m), 0);
	while (!b->full) {
		assert_int_equal(nomux_cond_wait(&b->c, &b->m, NOMUX_FOREVER), 0);
		b->woken++;
	}
	b->full--;
	b->taken++;
	mark(nomux_thread_name(nomux_self())[0]);
	assert_int_equal(nomux_mutex_unlock(&b->m), 0);
}

static void test_cond_signal_and_broadcast(void **state)
{
	struct box b = { .full = 0 };
	struct nomux_thread *t[4];
	static const char *const names[] = { "w", "x", "y", "z" };
	int i;

	assert_int_equal(nomux_cond_init(&b.c), 0);
	for (i = 0; i < 4; i++)
		t[i] = start_opts(taker, &b, names[i], 0, NULL);
	nomux_yield();
	assert_int_equal(nomux_cond_destroy(&b.c), -EBUSY);
	assert_int_equal(nomux_mutex_lock(&b.m), 0);
	b.full = 1;
	assert_int_equal(nomux_cond_signal(&b.c), 0);
	assert_int_equal(nomux_mutex_unlock(&b.m), 0);
	nomux_yield();
	assert_string_equal(trace, "w");
	assert_int_equal(b.woken, 1);
	b.full = 3;
	assert_int_equal(nomux_cond_broadcast(&b.c), 0);
	for (i = 0; i < 4; i++)
		join(t[i]);
	assert_string_equal(trace, "wxyz");
	assert_int_equal(nomux_cond_signal(&b.c), 0);	/* nobody: not remembered */
	assert_int_equal(nomux_cond_destroy(&b.c), 0);
}

static void test_cond_times_out(void **state)
{
	struct box b = { .full = 0 };
	uint64_t begun = nomux_now_ns();

	assert_int_equal(nomux_mutex_lock(&b.m), 0);
	assert_int_equal(nomux_cond_wait(&b.c, &b.m, 2 * MS), -ETIMEDOUT);
	assert_true(nomux_now_ns() - begun >= 2 * MS);
	assert_int_equal(nomux_mutex_unlock(&b.m), 0);	/* it was locked again */
	assert_int_equal(nomux_cond_destroy(&b.c), 0);
}

static void signal_later(void *arg)
{
	struct box *b = arg;

	nomux_sleep_ns(MS);
	b->full = 1;
	nomux_cond_signal(&b->c);
}

/* A timeout that is not needed leaves nothing behind. */
static void test_cond_signal_beats_timeout(void **state)
{
	struct box b = { .full = 0 };
	struct nomux_thread *t = start(signal_later, &b);

	assert_int_equal(nomux_mutex_lock(&b.m), 0);
	assert_int_equal(nomux_cond_wait(&b.c, &b.m, 10000 * MS), 0);
	assert_int_equal(nomux_cond_wait(&b.c, &b.m, 7 * MS), -ETIMEDOUT);
	assert_int_equal(nomux_mutex_unlock(&b.m), 0);
	join(t);
}

struct leftover {
	struct box b;
	struct nomux_sem s;
	int cond_err, sem_err;
};

static void wait_twice(void *arg)
{
	struct leftover *l = arg;

	assert_int_equal(nomux_mutex_lock(&l->b.m), 0);
	l->cond_err = nomux_cond_wait(&l->b.c, &l->b.m, 200 * MS);
	assert_int_equal(nomux_mutex_unlock(&l->b.m), 0);
	l->sem_err = nomux_sem_wait(&l->s, NOMUX_FOREVER);
}

/* Nor does it end the thread's next wait. */
static void test_unneeded_timeout_is_gone(void **state)
{
	struct leftover l = { .cond_err = 99, .sem_err = 99 };
	struct nomux_thread *t = start(wait_twice, &l);

	nomux_yield();
	assert_int_equal(nomux_cond_signal(&l.b.c), 0);
	nomux_yield();
	assert_int_equal(l.cond_err, 0);
	nomux_sleep_ns(250 * MS);
	assert_int_equal(l.sem_err, 99);
	assert_int_equal(nomux_sem_post(&l.s), 0);
	join(t);
	assert_int_equal(l.sem_err, 0);
}

static void wait_and_keep(void *arg)
{
	struct box *b = arg;

	assert_int_equal(nomux_mutex_lock(&b->m), 0);
	nomux_cond_signal(&b->c);
}

static void *cond_elsewhere(void *arg)
{
	struct box *b = arg, mine = { .full = 0 };

	if (nomux_mutex_lock(&mine.m) || nomux_cond_wait(&b->c, &mine.m, 1) != -EINVAL ||
	    nomux_cond_signal(&b->c) != -EINVAL)
		return (void *)1;
	return NULL;
}

static void test_cond_misuse(void **state)
{
	struct box b = { .full = 0 };
	struct nomux_thread *t;
	pthread_t thread;
	void *ret;

	assert_int_equal(nomux_cond_init(NULL), -EINVAL);
	assert_int_equal(nomux_cond_signal(NULL), -EINVAL);
	assert_int_equal(nomux_cond_broadcast(NULL), -EINVAL);
	assert_int_equal(nomux_cond_destroy(NULL), -EINVAL);
	assert_int_equal(nomux_cond_wait(NULL, &b.m, 1), -EINVAL);
	assert_int_equal(nomux_cond_wait(&b.c, NULL, 1), -EINVAL);
	assert_int_equal(nomux_cond_wait(&b.c, &b.m, 1), -EPERM);	/* not locked */
	log_quiet();
	assert_int_equal(nomux_mutex_lock(&b.m), 0);
	assert_int_equal(nomux_cond_wait(&b.c, &b.m, NOMUX_FOREVER), -EDEADLK);
	assert_int_equal(nomux_mutex_unlock(&b.m), 0);
	/* The signaller ends with the mutex: there is nobody to give it back. */
	assert_int_equal(nomux_mutex_lock(&b.m), 0);
	t = start(wait_and_keep, &b);
	assert_int_equal(nomux_cond_wait(&b.c, &b.m, NOMUX_FOREVER), -ENOLCK);
	join(t);
	log_normal();
	assert_int_equal(pthread_create(&thread, NULL, cond_elsewhere, &b), 0);
	pthread_join(thread, &ret);
	assert_null(ret);
}

/* ---------------------------------------------------------- semaphores --- */

static void take_mark(void *arg)
{
	assert_int_equal(nomux_sem_wait(arg, NOMUX_FOREVER), 0);
	mark(nomux_thread_name(nomux_self())[0]);
}

static void test_sem_counts(void **state)
{
	struct nomux_thread *a, *b;
	struct nomux_sem s;

	assert_int_equal(nomux_sem_init(&s, 2, 0), 0);
	assert_int_equal(nomux_sem_wait(&s, 0), 0);
	assert_int_equal(nomux_sem_wait(&s, NOMUX_FOREVER), 0);
	assert_int_equal(nomux_sem_wait(&s, 0), -EAGAIN);
	assert_int_equal(nomux_sem_wait(&s, MS), -ETIMEDOUT);
	a = start_opts(take_mark, &s, "a", 0, NULL);
	b = start_opts(take_mark, &s, "b", 0, NULL);
	nomux_yield();
	assert_int_equal(nomux_sem_destroy(&s), -EBUSY);
	assert_int_equal(nomux_sem_post(&s), 0);
	assert_int_equal(nomux_sem_wait(&s, 0), -EAGAIN);	/* it is a's */
	nomux_yield();
	assert_string_equal(trace, "a");
	assert_int_equal(nomux_sem_post(&s), 0);
	join(a);
	join(b);
	assert_string_equal(trace, "ab");
	assert_int_equal(nomux_sem_post(&s), 0);		/* nobody waits: kept */
	assert_int_equal(nomux_sem_wait(&s, 0), 0);
	assert_int_equal(nomux_sem_destroy(&s), 0);
}

static void *sem_elsewhere(void *arg)
{
	return (void *)(intptr_t)nomux_sem_post(arg);
}

static void test_sem_misuse(void **state)
{
	struct nomux_sem s;
	pthread_t thread;
	void *ret;

	assert_int_equal(nomux_sem_init(NULL, 0, 0), -EINVAL);
	assert_int_equal(nomux_sem_init(&s, UINT64_MAX, 0), -EINVAL);
	assert_int_equal(nomux_sem_init(&s, 0, 2), -EOPNOTSUPP);
	assert_int_equal(nomux_sem_wait(NULL, 0), -EINVAL);
	assert_int_equal(nomux_sem_post(NULL), -EINVAL);
	assert_int_equal(nomux_sem_destroy(NULL), -EINVAL);
	assert_int_equal(nomux_sem_init(&s, UINT64_MAX / 2, 0), 0);
	assert_int_equal(nomux_sem_post(&s), -EOVERFLOW);
	assert_int_equal(pthread_create(&thread, NULL, sem_elsewhere, &s), 0);
	pthread_join(thread, &ret);
	assert_int_equal((intptr_t)ret, -EINVAL);	/* ours, and not external */
	assert_int_equal(nomux_sem_init(&s, 0, 0), 0);
	log_quiet();
	assert_int_equal(nomux_sem_wait(&s, NOMUX_FOREVER), -EDEADLK);
	log_normal();
}

#define POSTS 1000

static void *poster(void *arg)
{
	for (int i = 0; i < POSTS; i++) {
		nomux_sem_post(arg);
		if (i % 100 == 0)
			usleep(100);	/* let the other side fall asleep */
	}
	return NULL;
}

/* Another kernel thread posts: no deadlock is reported, no post gets lost. */
static void test_sem_posted_from_outside(void **state)
{
	pthread_t thread[2];
	struct nomux_sem s;
	int i;

	log_quiet();
	assert_int_equal(nomux_sem_init(&s, 0, NOMUX_SEM_EXTERNAL), 0);
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, poster, &s), 0);
	for (i = 0; i < 2 * POSTS; i++)
		assert_int_equal(nomux_sem_wait(&s, NOMUX_FOREVER), 0);
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(nomux_sem_wait(&s, MS), -ETIMEDOUT);
	assert_int_equal(log_lines, 0);
	assert_int_equal(nomux_sem_destroy(&s), 0);
	log_normal();
}

/* A post of our own is on its way until the scheduler runs. */
static void test_sem_external_post_by_owner(void **state)
{
	struct nomux_sem s;

	assert_int_equal(nomux_sem_init(&s, 0, NOMUX_SEM_EXTERNAL), 0);
	assert_int_equal(nomux_sem_post(&s), 0);
	assert_int_equal(nomux_sem_destroy(&s), -EBUSY);
	assert_int_equal(nomux_sem_wait(&s, NOMUX_FOREVER), 0);
	assert_int_equal(nomux_sem_destroy(&s), 0);
}

/* ------------------------------------------------------------ channels --- */

struct pipe {
	struct nomux_chan *c;
	int nr, sum;
};

static void produce(void *arg)
{
	struct pipe *p = arg;

	for (int i = 1; i <= p->nr; i++)
		assert_int_equal(nomux_chan_send(p->c, &i, NOMUX_FOREVER), 0);
}

static void consume(void *arg)
{
	struct pipe *p = arg;
	int v, last = 0;

	while (!nomux_chan_recv(p->c, &v, NOMUX_FOREVER)) {
		assert_true(v > last);
		last = v;
		p->sum += v;
	}
}

static void run_pipe(size_t capacity, int receivers)
{
	struct pipe p = { .nr = 1000 };
	struct nomux_thread *s, *r[3];
	int i;

	assert_int_equal(nomux_chan_create(sizeof(int), capacity, &p.c), 0);
	for (i = 0; i < receivers; i++)
		r[i] = start(consume, &p);
	s = start(produce, &p);
	join(s);
	assert_int_equal(nomux_chan_close(p.c), 0);
	for (i = 0; i < receivers; i++)
		join(r[i]);
	assert_int_equal(p.sum, 500500);
	assert_int_equal(nomux_chan_destroy(p.c), 0);
}

static void test_chan_carries_in_order(void **state)
{
	run_pipe(0, 1);
	run_pipe(1, 1);
	run_pipe(7, 1);
	run_pipe(2000, 1);
	run_pipe(0, 3);
	run_pipe(5, 3);
}

static void test_chan_items_of_any_size(void **state)
{
	char big[1000], out[1000] = { 0 };
	struct nomux_chan *c;

	memset(big, 7, sizeof(big));
	assert_int_equal(nomux_chan_create(sizeof(big), 2, &c), 0);
	assert_int_equal(nomux_chan_send(c, big, 0), 0);
	big[999] = 8;
	assert_int_equal(nomux_chan_send(c, big, 0), 0);
	assert_int_equal(nomux_chan_send(c, big, 0), -EAGAIN);
	assert_int_equal(nomux_chan_send(c, big, MS), -ETIMEDOUT);
	assert_int_equal(nomux_chan_recv(c, out, 0), 0);
	assert_int_equal(out[999], 7);
	assert_int_equal(nomux_chan_recv(c, out, 0), 0);
	assert_int_equal(out[999], 8);
	assert_int_equal(nomux_chan_recv(c, out, 0), -EAGAIN);
	assert_int_equal(nomux_chan_recv(c, out, MS), -ETIMEDOUT);
	assert_int_equal(nomux_chan_destroy(c), 0);
}

static void send_into_closed(void *arg)
{
	int v = 1;

	mark(nomux_chan_send(arg, &v, NOMUX_FOREVER) == -EPIPE ? 'p' : '?');
}

static void recv_from_closed(void *arg)
{
	int v;

	mark(nomux_chan_recv(arg, &v, NOMUX_FOREVER) == -EPIPE ? 'p' : '?');
}

static void test_chan_close(void **state)
{
	struct nomux_thread *a, *b;
	struct nomux_chan *c;
	int v = 5;

	assert_int_equal(nomux_chan_create(sizeof(int), 1, &c), 0);
	assert_int_equal(nomux_chan_send(c, &v, 0), 0);
	a = start(send_into_closed, c);
	b = start(send_into_closed, c);
	nomux_yield();
	assert_int_equal(nomux_chan_destroy(c), -EBUSY);
	assert_int_equal(nomux_chan_close(c), 0);
	assert_int_equal(nomux_chan_close(c), -EPIPE);
	join(a);
	join(b);
	assert_string_equal(trace, "pp");
	assert_int_equal(nomux_chan_send(c, &v, 0), -EPIPE);
	v = 0;
	assert_int_equal(nomux_chan_recv(c, &v, 0), 0);	/* what is in it comes out */
	assert_int_equal(v, 5);
	assert_int_equal(nomux_chan_recv(c, &v, NOMUX_FOREVER), -EPIPE);
	assert_int_equal(nomux_chan_destroy(c), 0);

	assert_int_equal(nomux_chan_create(sizeof(int), 1, &c), 0);
	a = start(recv_from_closed, c);
	nomux_yield();
	assert_int_equal(nomux_chan_close(c), 0);
	join(a);
	assert_string_equal(trace, "ppp");
	assert_int_equal(nomux_chan_destroy(c), 0);
}

static void *chan_elsewhere(void *arg)
{
	int v;

	return (void *)(intptr_t)nomux_chan_recv(arg, &v, 0);
}

static void test_chan_misuse(void **state)
{
	struct nomux_chan *c = (void *)1;
	pthread_t thread;
	void *ret;
	int v = 0;

	assert_int_equal(nomux_chan_create(0, 1, &c), -EINVAL);
	assert_int_equal(nomux_chan_create(1 << 20, 1, &c), -EINVAL);
	assert_int_equal(nomux_chan_create(1, SIZE_MAX, &c), -EINVAL);
	assert_int_equal(nomux_chan_create(1, 1, NULL), -EINVAL);
	assert_ptr_equal(c, (void *)1);
	assert_int_equal(nomux_chan_send(NULL, &v, 0), -EINVAL);
	assert_int_equal(nomux_chan_recv(NULL, &v, 0), -EINVAL);
	assert_int_equal(nomux_chan_close(NULL), -EINVAL);
	assert_int_equal(nomux_chan_destroy(NULL), -EINVAL);
	assert_int_equal(nomux_chan_create(sizeof(int), 1, &c), 0);
	assert_int_equal(nomux_chan_send(c, NULL, 0), -EINVAL);
	assert_int_equal(nomux_chan_recv(c, NULL, 0), -EINVAL);
	assert_int_equal(nomux_chan_send(c, &v, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, chan_elsewhere, c), 0);
	pthread_join(thread, &ret);
	assert_int_equal((intptr_t)ret, -EINVAL);
	log_quiet();
	assert_int_equal(nomux_chan_send(c, &v, NOMUX_FOREVER), -EDEADLK);
	assert_int_equal(nomux_chan_recv(c, &v, NOMUX_FOREVER), 0);
	assert_int_equal(nomux_chan_recv(c, &v, NOMUX_FOREVER), -EDEADLK);
	log_normal();
	assert_int_equal(nomux_chan_destroy(c), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_rwlock_shares_and_excludes, clear_trace),
		cmocka_unit_test_setup(test_rwlock_is_fair, clear_trace),
		cmocka_unit_test_setup(test_rwlock_misuse, clear_trace),
		cmocka_unit_test_setup(test_rwlock_writer_gives_up, clear_trace),
		cmocka_unit_test_setup(test_cond_signal_and_broadcast, clear_trace),
		cmocka_unit_test_setup(test_cond_times_out, clear_trace),
		cmocka_unit_test_setup(test_cond_signal_beats_timeout, clear_trace),
		cmocka_unit_test_setup(test_unneeded_timeout_is_gone, clear_trace),
		cmocka_unit_test_setup(test_cond_misuse, clear_trace),
		cmocka_unit_test_setup(test_sem_counts, clear_trace),
		cmocka_unit_test_setup(test_sem_misuse, clear_trace),
		cmocka_unit_test_setup(test_sem_posted_from_outside, clear_trace),
		cmocka_unit_test_setup(test_sem_external_post_by_owner, clear_trace),
		cmocka_unit_test_setup(test_chan_carries_in_order, clear_trace),
		cmocka_unit_test_setup(test_chan_items_of_any_size, clear_trace),
		cmocka_unit_test_setup(test_chan_close, clear_trace),
		cmocka_unit_test_setup(test_chan_misuse, clear_trace),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
