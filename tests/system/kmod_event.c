// SPDX-License-Identifier: MIT
/*
 * kmod_event: what posts events to a lease - bound eventfds, the timer, the
 * board's subscription.  Nobody needs to have entered for that: counts and
 * pending bits are in the shared page, and that is where this test looks.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "lib/kmod.h"

static int nom;
static struct k_lease l;

static uint64_t take(unsigned int event)
{
	__atomic_and_fetch(&l.sh->pending, ~(1ULL << event), __ATOMIC_SEQ_CST);
	return __atomic_exchange_n(&l.sh->count[event], 0, __ATOMIC_SEQ_CST);
}

static bool is_pending(unsigned int event)
{
	return __atomic_load_n(&l.sh->pending, __ATOMIC_SEQ_CST) >> event & 1;
}

static bool has_come(void *event)
{
	return is_pending((uintptr_t)event);
}

static int put(int fd, uint64_t n)
{
	return write(fd, &n, sizeof(n)) == sizeof(n) ? 0 : -errno;
}

static int get(int fd, uint64_t *n)
{
	return read(fd, n, sizeof(*n)) == sizeof(*n) ? 0 : -errno;
}

static int new_eventfd(unsigned int count, int flags)
{
	int fd = eventfd(count, EFD_CLOEXEC | EFD_NONBLOCK | flags);

	if (fd < 0)
		t_bail("eventfd: %s", strerror(errno));
	return fd;
}

static void bind_errors(void)
{
	int fd = new_eventfd(0, 0), other = new_eventfd(0, 0), pipes[2];

	if (pipe(pipes))
		t_bail("pipe");
	t_eq(k_bind(&l, 64, fd), -EINVAL, "bind: event 64");
	t_eq(k_bind(&l, 0, -1), -EBADF, "bind: descriptor -1");
	t_eq(k_bind(&l, 0, 1000), -EBADF, "bind: descriptor 1000");
	t_eq(k_bind(&l, 0, pipes[0]), -EINVAL, "bind: a pipe");
	t_eq(k_bind(&l, 0, l.fd), -EINVAL, "bind: the lease itself");
	t_eq(k_unbind(&l, 1, fd), -ENOENT, "unbind: what is not bound");
	t_eq(k_bind(&l, 1, fd), 0, "bind");
	t_eq(k_bind(&l, 1, fd), -EEXIST, "bind: again");
	t_eq(k_bind(&l, 2, fd), -EEXIST, "bind: the same eventfd to another event");
	t_eq(k_bind(&l, 1, other), 0, "bind: another eventfd to the same event");
	t_eq(k_unbind(&l, 2, fd), -ENOENT, "unbind: wrong event");
	t_eq(k_unbind(&l, 64, fd), -EINVAL, "unbind: event 64");
	t_eq(k_unbind(&l, 1, -1), -EBADF, "unbind: descriptor -1");
	t_eq(k_unbind(&l, 1, pipes[0]), -EINVAL, "unbind: a pipe");
	put(fd, 2);
	put(other, 3);
	t_eq(take(1), 5, "both count in the one event");
	t_eq(k_unbind(&l, 1, fd), 0, "unbind");
	t_eq(k_unbind(&l, 1, fd), -ENOENT, "unbind: again");
	t_eq(k_unbind(&l, 1, other), 0, "unbind: the other");
	close(pipes[0]), close(pipes[1]), close(fd), close(other);
}

static void bind_counts(void)
{
	struct nom_core_stats before, after;
	uint64_t n;
	int fd, dup_fd, i;

	fd = new_eventfd(7, 0);
	t_eq(k_bind(&l, 9, fd), 0, "bind an eventfd that counts 7");
	t_ok(is_pending(9), "pending at once");
	t_eq(take(9), 7, "all 7");
	t_eq(get(fd, &n), -EAGAIN, "the eventfd is drained");

	k_stats(&l, &before);
	for (i = 0; i < 1000; i++)
		put(fd, 1);
	k_stats(&l, &after);
	t_ok(is_pending(9), "a thousand signals: pending");
	t_eq(take(9), 1000, "a thousand signals: counted, none lost");
	t_eq(after.out_posts - before.out_posts, 1000, "a thousand signals: as many posts");
	t_eq(put(fd, 0xfffffffffffffffeULL), 0, "a large value");
	t_eq(take(9), (long)0xfffffffffffffffeULL, "comes through");

	t_eq(k_unbind(&l, 9, fd), 0, "unbind");
	put(fd, 4);
	t_ok(!is_pending(9) && take(9) == 0, "unbound: nothing comes");
	t_eq(get(fd, &n), 0, "unbound: the eventfd counts for itself");
	t_eq(n, 4, "all of it");

	dup_fd = dup(fd);
	t_eq(k_bind(&l, 9, fd), 0, "bind again");
	close(fd);
	put(dup_fd, 1);
	t_eq(take(9), 1, "one descriptor closed, another there: still bound");
	t_eq(k_unbind(&l, 9, dup_fd), 0, "unbind by the other descriptor");
	close(dup_fd);

	fd = new_eventfd(0, EFD_SEMAPHORE);
	t_eq(k_bind(&l, 9, fd), 0, "bind a semaphore");
	put(fd, 5);
	t_eq(take(9), 1, "a semaphore counts one per signal");
	t_eq(k_unbind(&l, 9, fd), 0, "unbind");
	close(fd);
}

static bool can_bind(void *arg)
{
	return k_bind(&l, 0, *(int *)arg) == 0;
}

/* The table of bindings is bounded, and closed eventfds leave it. */
static void bind_bound(void)
{
	int fds[NOM_BINDINGS_MAX + 1], i, good = 0;

	for (i = 0; i <= NOM_BINDINGS_MAX; i++)
		fds[i] = new_eventfd(0, 0);
	for (i = 0; i < NOM_BINDINGS_MAX; i++)
		good += k_bind(&l, i % NOM_NR_EVENTS, fds[i]) == 0;
	t_eq(good, NOM_BINDINGS_MAX, "bind as many as there is room for");
	t_eq(k_bind(&l, 0, fds[NOM_BINDINGS_MAX]), -ENOSPC, "bind one more");
	close(fds[5]);
	t_ok(t_wait(can_bind, &fds[NOM_BINDINGS_MAX], 5000),
	     "closing an eventfd ends its binding");
	put(fds[NOM_BINDINGS_MAX], 1);
	t_eq(take(0), 1, "its place is taken");
	for (i = 0; i <= NOM_BINDINGS_MAX; i++)
		if (i != 5)
			close(fds[i]);
	fds[0] = new_eventfd(0, 0);
	t_ok(t_wait(can_bind, &fds[0], 5000), "closing all of them empties the table");
	close(fds[0]);
}

/* An eventfd that is closed while others write to it and bind it. */
static volatile int stop;

static void *writer(void *arg)
{
	while (!stop)
		put(*(int *)arg, 1);
	return NULL;
}

static void bind_race(void)
{
	pthread_t thread;
	int fd = -1, i;

	pthread_create(&thread, NULL, writer, &fd);
	for (i = 0; i < 2000; i++) {
		int e = new_eventfd(0, 0);

		__atomic_store_n(&fd, e, __ATOMIC_SEQ_CST);
		k_bind(&l, 11, e);
		if (i & 1)
			k_unbind(&l, 11, e);
		__atomic_store_n(&fd, -1, __ATOMIC_SEQ_CST);
		close(e);
	}
	stop = 1;
	pthread_join(thread, NULL);
	take(11);
	fd = new_eventfd(3, 0);
	t_ok(t_wait(can_bind, &fd, 5000), "2000 bindings against a writer: the table is usable");
	t_eq(take(0), 3, "and works");
	close(fd);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static void timer(void)
{
	struct nom_core_timer t = { .size = sizeof(t), .event = 64 };
	uint64_t began = now_ns();

	t_eq(k_ioctl(l.fd, NOM_CORE_TIMER, &t), -EINVAL, "timer: event 64");
	t_eq(k_timer(&l, 20, 0, ~0ULL), -EINVAL, "timer: beyond the clock");
	t_eq(k_timer(&l, 20, 0, 20000000), 0, "timer: 20 ms");
	t_ok(!is_pending(20), "timer: not at once");
	t_ok(t_wait(has_come, (void *)20, 5000), "timer: it comes");
	t_ok(now_ns() - began >= 20000000, "timer: not early");
	t_eq(take(20), 1, "timer: once");
	t_sleep_ms(60);
	t_eq(take(20), 0, "timer: not again");

	t_eq(k_timer(&l, 20, 0, 30000000), 0, "timer: arm");
	t_eq(k_timer(&l, 21, 0, 10000000), 0, "timer: arm another");
	t_ok(t_wait(has_come, (void *)21, 5000), "timer: the later one comes");
	t_sleep_ms(60);
	t_eq(take(20), 0, "timer: the earlier one was replaced");
	take(21);
	t_eq(k_timer(&l, 20, 0, 30000000), 0, "timer: arm");
	t_eq(k_timer(&l, 20, 0, 0), 0, "timer: disarm");
	t_sleep_ms(60);
	t_eq(take(20), 0, "timer: disarmed");
	t_eq(k_timer(&l, 22, NOM_TIMER_ABS, now_ns() + 10000000), 0, "timer: absolute");
	t_ok(t_wait(has_come, (void *)22, 5000), "timer: it comes");
	take(22);
	t_eq(k_timer(&l, 22, NOM_TIMER_ABS, 1), 0, "timer: long past");
	t_ok(t_wait(has_come, (void *)22, 5000), "timer: it comes");
	t_eq(take(22), 1, "timer: once");
}

static void subscribe(void)
{
	const uint64_t memory = 1ULL << NOM_BOARD_MEMORY;
	int grant;

	t_eq(k_subscribe(&l, 30, memory), 0, "subscribe to memory");
	grant = k_grant(nom, CHUNK);
	t_eq(take(30), 1, "a grant is news");
	close(grant);
	t_eq(take(30), 1, "its end is news");
	t_eq(k_subscribe(&l, 31, memory), 0, "subscribe by another event");
	close(k_grant(nom, CHUNK));
	t_eq(take(30), 0, "the first is over");
	t_eq(take(31), 2, "the second counts");
	t_eq(k_subscribe(&l, 31, 1ULL << NOM_BOARD_PRICES), 0, "subscribe to prices");
	close(k_grant(nom, CHUNK));
	t_eq(take(31), 0, "memory is no news then");
	t_eq(k_subscribe(&l, 31, 0), 0, "unsubscribe");
	close(k_grant(nom, CHUNK));
	t_eq(take(31), 0, "no news");
}

/* All of it while somebody runs on the core: delivered or masked, counted. */
static void entered(void)
{
	struct nom_core_stats s;
	int fd = new_eventfd(0, 0), i;

	l.sh->flags = 0;
	t_eq(k_bind(&l, 40, fd), 0, "bind");
	t_eq(k_enter(&l, 0), 0, "enter");
	for (i = 0; i < 100; i++)
		put(fd, 1);
	t_eq(take(40), 100, "masked events are counted");
	t_eq(k_timer(&l, 41, 0, 1000000), 0, "timer");
	t_ok(t_wait(has_come, (void *)41, 5000), "it comes");
	t_eq(k_stats(&l, &s), 0, "statistics");
	t_ok(s.out_events == 0 && s.out_failed == 0, "no upcall while masked");
	t_ok(s.out_masked > 0, "deliveries put off: %llu", (unsigned long long)s.out_masked);
	t_eq(k_timer(&l, 41, 0, 50000000), 0, "timer, still running when the lease ends");
	t_eq(k_leave(&l), 0, "leave");
	put(fd, 6);
	t_eq(l.sh->count[40], 0, "the lease took its bindings along");
	take(41);
	t_sleep_ms(100);
	t_ok(!is_pending(41), "and its timer");
	close(fd);
}

int main(void)
{
	int ret;

	nom = k_open(O_RDWR);
	ret = k_claim(nom, NOM_CPU_ANY, 0, &l);
	if (ret)
		t_bail("NOM_CORE_CLAIM: %s", strerror(-ret));
	bind_errors();
	bind_counts();
	bind_bound();
	bind_race();
	timer();
	subscribe();
	entered();
	return t_done();
}
