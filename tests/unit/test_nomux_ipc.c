// SPDX-License-Identifier: MIT
/*
 * Channels without nom: both ends here, each in a thread of its own or in a
 * child, or with this test in the place of a peer that breaks every rule.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <nomux/ipc.h>

#include "../../libnomux/src/ipc_internal.h"

#define NS_PER_S	1000000000ULL

/* ---------------------------------------------------------- both ends --- */

struct pair {
	int sock[2];
	struct nomux_ipc *a, *b;
	struct nomux_ipc_opts opts;
	int err;
};

static void *creator(void *arg)
{
	struct pair *p = arg;

	p->err = nomux_ipc_create(p->sock[0], &p->opts, &p->a);
	return NULL;
}

static void pair_open_type(struct pair *p, uint32_t nr_slots, uint32_t slot_bytes, int type)
{
	pthread_t thread;

	*p = (struct pair){ .opts = { .sz = sizeof(p->opts), .nr_slots = nr_slots,
				      .slot_bytes = slot_bytes } };
	assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, p->sock), 0);
	assert_int_equal(pthread_create(&thread, NULL, creator, p), 0);
	assert_int_equal(nomux_ipc_accept(p->sock[1], NULL, &p->b), 0);
	pthread_join(thread, NULL);
	assert_int_equal(p->err, 0);
}

static void pair_open(struct pair *p, uint32_t nr_slots, uint32_t slot_bytes)
{
	pair_open_type(p, nr_slots, slot_bytes, SOCK_STREAM);
}

static void pair_close(struct pair *p)
{
	nomux_ipc_destroy(p->a);
	nomux_ipc_destroy(p->b);
}

static void test_messages_pass_both_ways(void **state)
{
	struct pair p;
	char buf[64];

	for (unsigned int i = 0; i < 2; i++) {
		pair_open_type(&p, 8, 64, i ? SOCK_SEQPACKET : SOCK_STREAM);
		assert_int_equal(nomux_ipc_recv(p.b, buf, sizeof(buf)), -EAGAIN);
		assert_int_equal(nomux_ipc_send(p.a, "hello", 5), 0);
		assert_int_equal(nomux_ipc_send(p.b, "you", 3), 0);
		assert_int_equal(nomux_ipc_recv(p.b, buf, 4), -EMSGSIZE);
		assert_int_equal(nomux_ipc_recv(p.b, buf, sizeof(buf)), 5);
		assert_memory_equal(buf, "hello", 5);
		assert_int_equal(nomux_ipc_recv(p.a, buf, sizeof(buf)), 3);
		assert_int_equal(nomux_ipc_send(p.a, "", 0), 0);
		assert_int_equal(nomux_ipc_recv(p.b, buf, 0), 0);
		assert_int_equal(nomux_ipc_send(p.a, buf, 65), -EMSGSIZE);
		assert_int_equal(nomux_ipc_check(p.a), 0);
		pair_close(&p);
	}
}

static void test_ring_is_full_then_empty(void **state)
{
	struct nomux_ipc_msg msg;
	struct pair p;
	uint32_t i, turn, v;
	void *slot;

	pair_open(&p, 8, 64);
	/* indices wrap after the first eight */
	for (turn = 0; turn < 100; turn++) {
		for (i = 0; i < 8; i++) {
			v = turn * 8 + i;
			assert_int_equal(nomux_ipc_send(p.a, &v, sizeof(v)), 0);
		}
		assert_int_equal(nomux_ipc_send(p.a, &v, sizeof(v)), -EAGAIN);
		assert_null(nomux_ipc_reserve(p.a));
		assert_int_equal(nomux_ipc_commit(p.a, 4), -EAGAIN);
		for (i = 0; i < 8; i++) {
			assert_int_equal(nomux_ipc_peek(p.b, &msg), 0);
			assert_int_equal(msg.bytes, sizeof(v));
			assert_int_equal(msg.kind, NOMUX_IPC_MESSAGE);
			memcpy(&v, msg.data, sizeof(v));
			assert_int_equal(v, turn * 8 + i);
			nomux_ipc_consume(p.b);
		}
		assert_int_equal(nomux_ipc_peek(p.b, &msg), -EAGAIN);
		nomux_ipc_consume(p.b);		/* of nothing: nothing */
	}
	/* committed but not flushed is not seen; several at once are */
	for (i = 0; i < 3; i++) {
		slot = nomux_ipc_reserve(p.a);
		assert_non_null(slot);
		assert_int_equal((uintptr_t)slot & 15, 0);
		assert_int_equal(nomux_ipc_commit(p.a, 1), 0);
	}
	assert_int_equal(nomux_ipc_peek(p.b, &msg), -EAGAIN);
	assert_int_equal(nomux_ipc_flush(p.a), 0);
	for (i = 0; i < 3; i++) {
		assert_int_equal(nomux_ipc_peek(p.b, &msg), 0);
		nomux_ipc_consume(p.b);
	}
	assert_int_equal(nomux_ipc_peek(p.b, &msg), -EAGAIN);
	pair_close(&p);
}

static void test_close_comes_behind_the_last_message(void **state)
{
	struct nomux_ipc_stats stats;
	struct pair p;
	char buf[64];

	pair_open(&p, 4, 64);
	assert_int_equal(nomux_ipc_send(p.a, "last", 4), 0);
	assert_int_equal(nomux_ipc_recv(p.b, buf, sizeof(buf)), 4);
	assert_int_equal(nomux_ipc_recv(p.b, buf, sizeof(buf)), -EAGAIN);
	assert_int_equal(nomux_ipc_send(p.a, "really", 6), 0);
	nomux_ipc_stats(p.a, &stats);
	assert_int_equal(stats.doorbells, 0);	/* nobody slept */
	nomux_ipc_destroy(p.a);
	assert_int_equal(nomux_ipc_wait(p.b, NOMUX_IPC_MSG, NS_PER_S), NOMUX_IPC_MSG);
	assert_int_equal(nomux_ipc_recv(p.b, buf, sizeof(buf)), 6);
	assert_int_equal(nomux_ipc_recv(p.b, buf, sizeof(buf)), -EPIPE);
	assert_int_equal(nomux_ipc_wait(p.b, NOMUX_IPC_MSG, NS_PER_S), -EPIPE);
	assert_int_equal(nomux_ipc_wait(p.b, NOMUX_IPC_ROOM, NS_PER_S), -EPIPE);
	assert_int_equal(nomux_ipc_send(p.b, "x", 1), -EPIPE);
	assert_int_equal(nomux_ipc_check(p.b), -EPIPE);
	nomux_ipc_destroy(p.b);
}

/* ------------------------------------------------------------ sleeping --- */

#define PINGS 4000

static void send_all(struct nomux_ipc *ipc, uint32_t v)
{
	int err;

	while ((err = nomux_ipc_send(ipc, &v, sizeof(v))) == -EAGAIN)
		assert_true(nomux_ipc_wait(ipc, NOMUX_IPC_ROOM, 5 * NS_PER_S) >= 0);
	assert_int_equal(err, 0);
}

static uint32_t recv_one(struct nomux_ipc *ipc)
{
	uint32_t v = 0;
	int n, ready;

	while ((n = nomux_ipc_recv(ipc, &v, sizeof(v))) == -EAGAIN) {
		ready = nomux_ipc_wait(ipc, NOMUX_IPC_MSG, UINT64_MAX);
		assert_true(ready >= 0);
	}
	assert_int_equal(n, sizeof(v));
	return v;
}

static void *echo(void *arg)
{
	struct pair *p = arg;
	uint32_t i;

	for (i = 0; i < PINGS; i++)
		send_all(p->b, recv_one(p->b));
	return NULL;
}

/* Each side always sleeps: a wake-up lost would hang this (the runner's deadline). */
static void test_no_wakeup_is_lost(void **state)
{
	struct nomux_ipc_stats a, b;
	pthread_t thread;
	struct pair p;
	uint32_t i;

	pair_open(&p, 4, 16);
	assert_int_equal(pthread_create(&thread, NULL, echo, &p), 0);
	for (i = 0; i < PINGS; i++) {
		send_all(p.a, i);
		assert_int_equal(recv_one(p.a), i);
	}
	pthread_join(thread, NULL);
	nomux_ipc_stats(p.a, &a);
	nomux_ipc_stats(p.b, &b);
	assert_true(a.sleeps > 0 && b.sleeps > 0);
	/*
	 * At most one for a message.  It may be for who said that it would sleep and
	 * then saw the message, so there can be more of them than sleeps.
	 */
	assert_true(a.doorbells <= PINGS && b.doorbells <= PINGS);
	pair_close(&p);
}

static struct nomux_ipc *alarm_sender;

static void on_alarm(int sig)
{
	nomux_ipc_send(alarm_sender, "!", 1);
}

/* The same with the sender in the place of any instruction of the sleeper. */
static void test_no_instruction_loses_a_wakeup(void **state)
{
	struct itimerspec shot = { 0 };
	struct nomux_ipc_stats stats;
	struct pair p;
	timer_t timer;
	char c;
	int i;

	pair_open(&p, 4, 16);
	alarm_sender = p.a;
	signal(SIGALRM, on_alarm);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, NULL, &timer), 0);
	for (i = 0; i < 20000; i++) {
		shot.it_value.tv_nsec = 1 + i * 37 % 40000;
		assert_int_equal(timer_settime(timer, 0, &shot, NULL), 0);
		while (nomux_ipc_wait(p.b, NOMUX_IPC_MSG, UINT64_MAX) == 0)
			;
		assert_int_equal(nomux_ipc_recv(p.b, &c, 1), 1);
	}
	timer_delete(timer);
	signal(SIGALRM, SIG_DFL);
	nomux_ipc_stats(p.a, &stats);
	assert_true(stats.doorbells > 0 && stats.doorbells < 20000);	/* before and after */
	pair_close(&p);
}

static void *sink(void *arg)
{
	struct pair *p = arg;
	uint32_t i;

	for (i = 0; i < PINGS; i++)
		if (recv_one(p->b) != i)
			p->err = 1;
	return NULL;
}

static void test_a_full_ring_is_waited_for(void **state)
{
	pthread_t thread;
	struct pair p;
	uint32_t i;

	pair_open(&p, 2, 16);
	assert_int_equal(pthread_create(&thread, NULL, sink, &p), 0);
	for (i = 0; i < PINGS; i++)
		send_all(p.a, i);
	pthread_join(thread, NULL);
	assert_int_equal(p.err, 0);
	pair_close(&p);
}

/* The sleeping word is rung for once, and not at all for one who polls. */
static void test_doorbells_are_counted(void **state)
{
	struct nomux_ipc_stats stats;
	struct nomux_ipc_msg msg;
	struct pair p;
	int i;

	pair_open(&p, 8, 16);
	for (i = 0; i < 1000; i++) {
		assert_int_equal(nomux_ipc_send(p.a, &i, sizeof(i)), 0);
		assert_int_equal(nomux_ipc_peek(p.b, &msg), 0);
		nomux_ipc_consume(p.b);
	}
	nomux_ipc_stats(p.a, &stats);
	assert_int_equal(stats.doorbells, 0);
	__atomic_store_n(&p.b->mine->sleep, NOMUX_IPC_MSG, __ATOMIC_SEQ_CST);
	for (i = 0; i < 5; i++)
		assert_int_equal(nomux_ipc_send(p.a, &i, sizeof(i)), 0);
	nomux_ipc_stats(p.a, &stats);
	assert_int_equal(stats.doorbells, 1);
	/* for room, when a quarter is given back, and not for messages */
	__atomic_store_n(&p.a->mine->sleep, NOMUX_IPC_ROOM, __ATOMIC_SEQ_CST);
	assert_int_equal(nomux_ipc_send(p.b, &i, sizeof(i)), 0);
	nomux_ipc_stats(p.b, &stats);
	assert_int_equal(stats.doorbells, 0);
	for (i = 0; i < 2; i++) {
		assert_int_equal(nomux_ipc_peek(p.b, &msg), 0);
		nomux_ipc_consume(p.b);
	}
	nomux_ipc_stats(p.b, &stats);
	assert_int_equal(stats.doorbells, 1);
	pair_close(&p);
}

/* A lease that may not be notified just now (a limit) is rung by the next flush. */
static int notify_result;
static unsigned int notified;

int __wrap_nomux_notify(struct nomux_ctx *ctx, uint64_t handle, unsigned int event);
int __wrap_nomux_notify(struct nomux_ctx *ctx, uint64_t handle, unsigned int event)
{
	notified++;
	return notify_result;
}

static void test_a_doorbell_that_fails_is_rung_again(void **state)
{
	uint32_t *sleep;
	struct pair p;
	char c;

	pair_open(&p, 8, 16);
	sleep = &p.b->mine->sleep;
	ipc_end(p.a)->peer_doorbell = IPC_LEASE;
	notified = 0;
	notify_result = -EAGAIN;
	*sleep = NOMUX_IPC_MSG;
	assert_int_equal(nomux_ipc_send(p.a, "x", 1), -EBUSY);
	assert_int_equal(*sleep, NOMUX_IPC_MSG);
	assert_int_equal(nomux_ipc_flush(p.a), -EBUSY);
	assert_int_equal(nomux_ipc_wait(p.a, NOMUX_IPC_MSG, UINT64_MAX), 0);	/* to try again */
	assert_int_equal(notified, 3);
	notify_result = 0;
	assert_int_equal(nomux_ipc_flush(p.a), 0);
	assert_int_equal(*sleep, 0);
	assert_int_equal(nomux_ipc_flush(p.a), 0);
	assert_int_equal(notified, 4);
	/* the same for one who waits for room: rung by a flush, too */
	assert_int_equal(nomux_ipc_send(p.b, "y", 1), 0);
	assert_int_equal(nomux_ipc_send(p.b, "y", 1), 0);
	*sleep = NOMUX_IPC_ROOM;
	notify_result = -EAGAIN;
	assert_int_equal(nomux_ipc_recv(p.a, &c, 1), 1);
	assert_int_equal(nomux_ipc_recv(p.a, &c, 1), 1);
	assert_int_equal(notified, 5);
	notify_result = 0;
	assert_int_equal(nomux_ipc_flush(p.a), 0);
	assert_int_equal(notified, 6);
	assert_int_equal(*sleep, 0);
	ipc_end(p.a)->peer_doorbell = IPC_FUTEX;
	pair_close(&p);
}

static void test_sleep_ends_in_time(void **state)
{
	uint64_t begun = nomux__ipc_clock_ns(), took;
	struct pair p;

	pair_open(&p, 8, 16);
	assert_int_equal(nomux_ipc_wait(p.a, NOMUX_IPC_MSG, 0), 0);
	assert_int_equal(nomux_ipc_wait(p.a, NOMUX_IPC_MSG, 250000000), 0);
	took = nomux__ipc_clock_ns() - begun;
	assert_true(took >= 250000000);
	assert_int_equal(nomux_ipc_wait(p.a, NOMUX_IPC_ROOM, UINT64_MAX), NOMUX_IPC_ROOM);
	assert_int_equal(nomux_ipc_wait(p.a, NOMUX_IPC_ROOM | NOMUX_IPC_MSG, UINT64_MAX), NOMUX_IPC_ROOM);
	assert_int_equal(nomux_ipc_wait(p.a, 0, 1), -EINVAL);
	assert_int_equal(nomux_ipc_wait(p.a, 4, 1), -EINVAL);
	pair_close(&p);
}

/* ------------------------------------------------------------- deaths --- */

/* A child that is the creator, does @work and then is killed or hangs about. */
static pid_t child_with(struct pair *p, void (*work)(struct nomux_ipc *))
{
	pid_t pid;

	*p = (struct pair){ .opts = { .sz = sizeof(p->opts), .nr_slots = 8, .slot_bytes = 64 } };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p->sock), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		close(p->sock[1]);
		if (nomux_ipc_create(p->sock[0], &p->opts, &p->a))
			_exit(1);
		work(p->a);
		for (;;)
			pause();
	}
	close(p->sock[0]);
	assert_int_equal(nomux_ipc_accept(p->sock[1], NULL, &p->b), 0);
	return pid;
}

static void reap(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void work_none(struct nomux_ipc *ipc)
{
}

static void work_two_and_a_half(struct nomux_ipc *ipc)
{
	nomux_ipc_send(ipc, "one", 3);
	nomux_ipc_send(ipc, "two", 3);
	memset(nomux_ipc_reserve(ipc), 'x', 64);	/* dies in the middle of the third */
}

static void *kill_later(void *arg)
{
	usleep(50000);
	kill(*(pid_t *)arg, SIGKILL);
	return NULL;
}

static void test_a_killed_peer_ends_the_sleep(void **state)
{
	struct pair p;
	pid_t pid = child_with(&p, work_none);
	pthread_t thread;
	int ready;

	assert_int_equal(pthread_create(&thread, NULL, kill_later, &pid), 0);
	while ((ready = nomux_ipc_wait(p.b, NOMUX_IPC_MSG, UINT64_MAX)) == 0)
		;
	assert_int_equal(ready, -EPIPE);
	pthread_join(thread, NULL);
	reap(pid);
	assert_int_equal(nomux_ipc_check(p.b), -EPIPE);
	nomux_ipc_destroy(p.b);
}

static void test_what_a_killed_peer_had_sent_is_read(void **state)
{
	struct pair p;
	pid_t pid = child_with(&p, work_two_and_a_half);
	char buf[64];
	int i;

	while (__atomic_load_n(&p.b->peers->head, __ATOMIC_ACQUIRE) != IPC_FIRST(8) + 2)
		usleep(1000);
	reap(pid);
	for (i = 0; i < 2; i++) {
		assert_int_equal(nomux_ipc_wait(p.b, NOMUX_IPC_MSG, UINT64_MAX), NOMUX_IPC_MSG);
		assert_int_equal(nomux_ipc_recv(p.b, buf, sizeof(buf)), 3);
	}
	assert_int_equal(nomux_ipc_recv(p.b, buf, sizeof(buf)), -EAGAIN);
	assert_int_equal(nomux_ipc_wait(p.b, NOMUX_IPC_MSG, UINT64_MAX), -EPIPE);
	/* and a full ring that nobody will empty ends the sleep, too */
	while (!nomux_ipc_send(p.b, "x", 1))
		;
	assert_int_equal(nomux_ipc_wait(p.b, NOMUX_IPC_ROOM, UINT64_MAX), -EPIPE);
	nomux_ipc_destroy(p.b);
}

static void test_call_of_a_dead_peer_ends(void **state)
{
	struct pair p;
	pid_t pid = child_with(&p, work_none);
	pthread_t thread;
	char buf[8];

	assert_int_equal(pthread_create(&thread, NULL, kill_later, &pid), 0);
	assert_int_equal(nomux_ipc_call(p.b, "?", 1, buf, sizeof(buf), UINT64_MAX), -EPIPE);
	pthread_join(thread, NULL);
	reap(pid);
	nomux_ipc_destroy(p.b);
}

/* ------------------------------------------------------ hostile peers --- */

static void broken_for_good(struct nomux_ipc *ipc)
{
	struct nomux_ipc_msg msg;
	char buf[64];

	assert_int_equal(nomux_ipc_error(ipc), -EPROTO);
	assert_int_equal(nomux_ipc_recv(ipc, buf, sizeof(buf)), -EPROTO);
	assert_int_equal(nomux_ipc_peek(ipc, &msg), -EPROTO);
	assert_int_equal(nomux_ipc_send(ipc, "x", 1), -EPROTO);
	assert_null(nomux_ipc_reserve(ipc));
	assert_int_equal(nomux_ipc_commit(ipc, 1), -EAGAIN);
	assert_int_equal(nomux_ipc_flush(ipc), -EPROTO);
	assert_int_equal(nomux_ipc_wait(ipc, NOMUX_IPC_MSG, UINT64_MAX), -EPROTO);
	assert_int_equal(nomux_ipc_wait(ipc, NOMUX_IPC_ROOM, UINT64_MAX), -EPROTO);
	assert_int_equal(nomux_ipc_check(ipc), -EPROTO);
	assert_int_equal(nomux_ipc_call(ipc, "x", 1, buf, sizeof(buf), UINT64_MAX), -EPROTO);
}

static void test_a_head_that_cannot_be(void **state)
{
	static const uint32_t lies[] = { 9, 100, 0x80000000u, 0xffffffffu };
	struct nomux_ipc_msg msg;
	struct pair p;
	unsigned int i;

	for (i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		pair_open(&p, 8, 64);
		p.b->mine->head += lies[i];
		assert_int_equal(nomux_ipc_peek(p.a, &msg), -EPROTO);
		broken_for_good(p.a);
		pair_close(&p);
	}
	/* eight are possible: the contents are then whatever lies there */
	pair_open(&p, 8, 64);
	p.b->mine->head += 8;
	assert_int_equal(nomux_ipc_peek(p.a, &msg), 0);
	pair_close(&p);
}

static void test_a_tail_that_cannot_be(void **state)
{
	static const uint32_t lies[] = { 1, 9, 0x80000000u, (uint32_t)-9 };
	struct pair p;
	unsigned int i, k;

	for (i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		pair_open(&p, 8, 64);
		for (k = 0; k < 8; k++)
			assert_int_equal(nomux_ipc_send(p.a, "x", 1), 0);
		p.b->mine->tail += 8 + lies[i];		/* more than was sent, or less than none */
		assert_null(nomux_ipc_reserve(p.a));
		broken_for_good(p.a);
		pair_close(&p);
	}
	/* committed slots that nobody was shown cannot have been read */
	pair_open(&p, 8, 64);
	for (k = 0; k < 8; k++) {
		assert_non_null(nomux_ipc_reserve(p.a));
		assert_int_equal(nomux_ipc_commit(p.a, 1), 0);
	}
	p.b->mine->tail += 1;
	assert_null(nomux_ipc_reserve(p.a));
	broken_for_good(p.a);
	pair_close(&p);
}

static void test_a_length_that_cannot_be(void **state)
{
	static const uint32_t lies[] = { 65, 0x7fffffff, 0xffffffffu };
	struct nomux_ipc_slot *slot;
	struct pair p;
	unsigned int i;
	char buf[64];

	for (i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		pair_open(&p, 8, 64);
		slot = nomux__ipc_slot(p.a, p.a->tx, p.a->tx_head);
		assert_int_equal(nomux_ipc_send(p.a, "x", 1), 0);
		slot->bytes = lies[i];
		assert_int_equal(nomux_ipc_recv(p.b, buf, sizeof(buf)), -EPROTO);
		broken_for_good(p.b);
		pair_close(&p);
	}
}

static volatile int stop;

/* All the shared memory is rewritten with noise, all the time. */
static void *scribble(void *arg)
{
	struct pair *p = arg;
	uint32_t *w = (uint32_t *)(void *)ipc_end(p->a)->page;
	size_t i, n = ipc_end(p->a)->map_bytes / sizeof(*w);
	uint32_t x = 12345;

	while (!stop) {
		for (i = 0; i < n; i++) {
			x = x * 1664525u + 1013904223u;
			/* small numbers half of the time: those pass more checks */
			__atomic_store_n(&w[i], x & 0x10000 ? x : x >> 28, __ATOMIC_RELAXED);
		}
	}
	return NULL;
}

/* Whatever it says: no access outside, no endless loop, an error in the end. */
static void test_a_peer_that_writes_garbage(void **state)
{
	char buf[64], out[64] = { 0 };
	unsigned int turn, broken = 0;
	pthread_t thread;
	struct pair p;
	uint64_t tag;
	int i;

	for (turn = 0; turn < 8; turn++) {
		pair_open(&p, 8, 64);
		stop = 0;
		assert_int_equal(pthread_create(&thread, NULL, scribble, &p), 0);
		for (i = 0; i < 1000 && !nomux_ipc_error(p.b); i++) {
			nomux_ipc_recv(p.b, buf, sizeof(buf));
			nomux_ipc_send(p.b, out, 64);
			nomux_ipc_wait(p.b, NOMUX_IPC_MSG | NOMUX_IPC_ROOM, 1000);
			if (!nomux_ipc_call_start(p.b, out, 8, buf, sizeof(buf), &tag)) {
				nomux_ipc_call_result(p.b, tag);
				nomux_ipc_call_cancel(p.b, tag);
			}
		}
		broken += nomux_ipc_error(p.b) == -EPROTO;
		stop = 1;
		pthread_join(thread, NULL);
		nomux_ipc_destroy(p.b);
		nomux_ipc_destroy(p.a);
	}
	assert_true(broken > 0);
}

static void *keep_awake(void *arg)
{
	struct pair *p = arg;

	while (!stop)
		__atomic_store_n(&p->b->mine->sleep, 0, __ATOMIC_RELAXED);
	return NULL;
}

/* A peer that takes the sleep away for nothing costs one system call a time. */
static void test_a_peer_that_never_lets_us_sleep(void **state)
{
	struct nomux_ipc_stats stats;
	pthread_t thread;
	struct pair p;
	int i;

	pair_open(&p, 8, 64);
	stop = 0;
	assert_int_equal(pthread_create(&thread, NULL, keep_awake, &p), 0);
	for (i = 0; i < 100; i++)
		assert_int_equal(nomux_ipc_wait(p.b, NOMUX_IPC_MSG, 50000000), 0);
	stop = 1;
	pthread_join(thread, NULL);
	nomux_ipc_stats(p.b, &stats);
	assert_true(stats.sleeps <= 100);
	pair_close(&p);
}

/* ------------------------------------------------------ calls --- */

static void test_responses_in_any_order(void **state)
{
	uint64_t tag[8], got[8], extra;
	struct nomux_ipc_stats stats;
	struct nomux_ipc_msg msg;
	char buf[8][16], v;
	struct pair p;
	int i;

	pair_open(&p, 8, 16);
	for (i = 0; i < 8; i++) {
		v = (char)('a' + i);
		assert_int_equal(nomux_ipc_call_start(p.a, &v, 1, buf[i], sizeof(buf[i]), &tag[i]), 0);
	}
	assert_int_equal(nomux_ipc_call_start(p.a, &v, 1, buf[0], 1, &extra), -EAGAIN);
	for (i = 0; i < 8; i++) {
		assert_int_equal(nomux_ipc_peek(p.b, &msg), 0);
		assert_int_equal(msg.kind, NOMUX_IPC_REQUEST);
		got[i] = msg.tag;
		nomux_ipc_consume(p.b);
	}
	assert_int_equal(nomux_ipc_call_result(p.a, tag[3]), -EAGAIN);
	for (i = 7; i >= 0; i--) {
		v = (char)('A' + i);
		assert_int_equal(nomux_ipc_reply(p.b, got[i], &v, 1), 0);
	}
	for (i = 0; i < 8; i++) {
		assert_int_equal(nomux_ipc_call_result(p.a, tag[i]), 1);
		assert_int_equal(buf[i][0], 'A' + i);
		assert_int_equal(nomux_ipc_call_result(p.a, tag[i]), -ENOENT);
	}
	/* to a call that was given up, whose place another one has: a stray */
	assert_int_equal(nomux_ipc_call_start(p.a, &v, 1, buf[0], 16, &tag[0]), 0);
	assert_int_equal(nomux_ipc_call_cancel(p.a, tag[0]), 0);
	assert_int_equal(nomux_ipc_call_start(p.a, &v, 1, buf[0], 16, &tag[1]), 0);
	assert_int_equal((uint32_t)tag[0], (uint32_t)tag[1]);
	assert_int_equal(nomux_ipc_reply(p.b, tag[0], "late", 4), 0);
	assert_int_equal(nomux_ipc_call_result(p.a, tag[1]), -EAGAIN);
	assert_int_equal(nomux_ipc_reply(p.b, tag[1], "right", 5), 0);
	assert_int_equal(nomux_ipc_call_result(p.a, tag[1]), 5);
	/* twice the same, and to one that was given up: strays */
	assert_int_equal(nomux_ipc_call_start(p.a, &v, 1, buf[0], 16, &tag[0]), 0);
	assert_int_equal(nomux_ipc_call_start(p.a, &v, 1, buf[1], 16, &tag[1]), 0);
	assert_int_equal(nomux_ipc_call_cancel(p.a, tag[1]), 0);
	assert_int_equal(nomux_ipc_call_cancel(p.a, tag[1]), -ENOENT);
	buf[0][0] = buf[1][0] = '-';
	assert_int_equal(nomux_ipc_reply(p.b, tag[1], "1", 1), 0);
	assert_int_equal(nomux_ipc_reply(p.b, tag[0], "2", 1), 0);
	assert_int_equal(nomux_ipc_reply(p.b, tag[0], "3", 1), 0);
	assert_int_equal(nomux_ipc_reply(p.b, 0xffffffffffffffffULL, "4", 1), 0);
	assert_int_equal(nomux_ipc_reply(p.b, got[0], "5", 1), 0);
	assert_int_equal(nomux_ipc_call_result(p.a, tag[0]), 1);
	assert_int_equal(buf[0][0], '2');
	assert_int_equal(buf[1][0], '-');
	nomux_ipc_stats(p.a, &stats);
	assert_int_equal(stats.strays, 5);
	pair_close(&p);
}

static void test_response_that_does_not_fit(void **state)
{
	char buf[4] = "----";
	struct pair p;
	uint64_t tag;

	pair_open(&p, 8, 16);
	assert_int_equal(nomux_ipc_call_start(p.a, "?", 1, buf, 2, &tag), 0);
	assert_int_equal(nomux_ipc_reply(p.b, tag, "long", 4), 0);
	assert_int_equal(nomux_ipc_call_result(p.a, tag), -EMSGSIZE);
	assert_memory_equal(buf, "lo--", 4);
	/* a message of the peer stands before the response */
	assert_int_equal(nomux_ipc_call_start(p.a, "?", 1, buf, 2, &tag), 0);
	assert_int_equal(nomux_ipc_send(p.b, "!", 1), 0);
	assert_int_equal(nomux_ipc_reply(p.b, tag, "ok", 2), 0);
	assert_int_equal(nomux_ipc_call_result(p.a, tag), -EBUSY);
	assert_int_equal(nomux_ipc_recv(p.a, buf, sizeof(buf)), 1);
	assert_int_equal(nomux_ipc_call_result(p.a, tag), 2);
	assert_int_equal(nomux_ipc_call(p.a, "?", 1, buf, 2, 20000000), -ETIMEDOUT);
	pair_close(&p);
}

static void *serve(void *arg)
{
	struct nomux_ipc_msg msg;
	struct pair *p = arg;
	uint32_t v;
	int ready;

	while ((ready = nomux_ipc_wait(p->b, NOMUX_IPC_MSG, UINT64_MAX)) >= 0) {
		while (!nomux_ipc_peek(p->b, &msg)) {
			memcpy(&v, msg.data, sizeof(v));
			v *= 3;
			nomux_ipc_reply(p->b, msg.tag, &v, sizeof(v));
			nomux_ipc_consume(p->b);
		}
	}
	p->err = ready;
	return NULL;
}

static void test_calls_of_a_server(void **state)
{
	pthread_t thread;
	uint32_t i, v;
	struct pair p;

	pair_open(&p, 8, 16);
	assert_int_equal(pthread_create(&thread, NULL, serve, &p), 0);
	for (i = 0; i < 2000; i++) {
		assert_int_equal(nomux_ipc_call(p.a, &i, sizeof(i), &v, sizeof(v), UINT64_MAX), sizeof(v));
		assert_int_equal(v, 3 * i);
	}
	nomux_ipc_destroy(p.a);
	pthread_join(thread, NULL);
	assert_int_equal(p.err, -EPIPE);
	nomux_ipc_destroy(p.b);
}

/* ---------------------------------------------------------- set-up --- */

static struct ipc_hello good_hello(void)
{
	return (struct ipc_hello){
		.magic = IPC_MAGIC, .version = IPC_VERSION, .bytes = sizeof(struct ipc_hello),
		.nr_slots = 8, .slot_bytes = 48, .doorbell = IPC_FUTEX,
	};
}

#define GOOD_BYTES	(3 * 4096)	/* of its memory: 4096 + 2 * (8 * 64, rounded up) */

static int sealed_memory(off_t bytes, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, bytes), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static unsigned int open_fds(void)
{
	unsigned int n = 0;
	int fd;

	for (fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* What an accepter makes of an offer; the descriptor is closed. */
static int offer(const struct ipc_hello *h, size_t bytes, int fd)
{
	const struct nomux_ipc_opts opts = { .sz = sizeof(opts), .timeout_ns = 50000000 };
	struct nomux_ipc *untouched = (struct nomux_ipc *)0x1234, *ipc = untouched;
	unsigned int before, after;
	int sock[2], err;

	before = open_fds() - (fd >= 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock), 0);
	if (bytes == sizeof(*h))
		assert_int_equal(nomux__ipc_say(sock[0], h, fd, UINT64_MAX), 0);
	else
		assert_int_equal(send(sock[0], h, bytes, 0), bytes);
	if (fd >= 0)
		close(fd);
	if (!h)
		shutdown(sock[0], SHUT_WR);
	err = nomux_ipc_accept(sock[1], &opts, &ipc);
	assert_ptr_equal(ipc, untouched);
	close(sock[0]);
	close(sock[1]);
	after = open_fds();
	assert_int_equal(before, after);
	return err;
}

static void test_offers_that_are_refused(void **state)
{
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW;
	struct ipc_hello h = good_hello();
	int pipe_fds[2];

	/* the good one fails for one reason only: nobody confirms it */
	assert_int_equal(offer(&h, sizeof(h), sealed_memory(GOOD_BYTES, seals)), -ETIMEDOUT);

	assert_int_equal(offer(&h, 7, -1), -ETIMEDOUT);
	assert_int_equal(offer(&h, sizeof(h), -1), -EPROTO);
	assert_int_equal(offer(&h, sizeof(h), sealed_memory(GOOD_BYTES, F_SEAL_GROW)), -EPROTO);
	assert_int_equal(offer(&h, sizeof(h), sealed_memory(GOOD_BYTES, seals | F_SEAL_WRITE)), -EPROTO);
	assert_int_equal(offer(&h, sizeof(h), sealed_memory(GOOD_BYTES - 4096, seals)), -EPROTO);
	assert_int_equal(offer(&h, sizeof(h), sealed_memory(GOOD_BYTES + 4096, seals)), -EPROTO);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(offer(&h, sizeof(h), dup(pipe_fds[0])), -EPROTO);
	close(pipe_fds[0]);
	close(pipe_fds[1]);

	h.magic++;
	assert_int_equal(offer(&h, sizeof(h), sealed_memory(GOOD_BYTES, seals)), -EPROTO);
	h = good_hello();
	h.version++;
	assert_int_equal(offer(&h, sizeof(h), sealed_memory(GOOD_BYTES, seals)), -EPROTO);
	h = good_hello();
	h.bytes++;
	assert_int_equal(offer(&h, sizeof(h), sealed_memory(GOOD_BYTES, seals)), -EPROTO);
	h = good_hello();
	h.err = -EBUSY;
	assert_int_equal(offer(&h, sizeof(h), sealed_memory(GOOD_BYTES, seals)), -EBUSY);
	h.err = 5;
	assert_int_equal(offer(&h, sizeof(h), sealed_memory(GOOD_BYTES, seals)), -EPROTO);
	h = good_hello();
	h.nr_slots = 7;
	assert_int_equal(offer(&h, sizeof(h), sealed_memory(GOOD_BYTES, seals)), -EPROTO);
	h.nr_slots = 0x80000000u;
	assert_int_equal(offer(&h, sizeof(h), sealed_memory(GOOD_BYTES, seals)), -EPROTO);
	h = good_hello();
	h.slot_bytes = 0;
	assert_int_equal(offer(&h, sizeof(h), sealed_memory(GOOD_BYTES, seals)), -EPROTO);
	h.slot_bytes = 0xfffffff0u;
	assert_int_equal(offer(&h, sizeof(h), sealed_memory(GOOD_BYTES, seals)), -EPROTO);
	h = good_hello();
	h.doorbell = 2;
	assert_int_equal(offer(&h, sizeof(h), sealed_memory(GOOD_BYTES, seals)), -EPROTO);
	h.doorbell = IPC_LEASE;		/* and here is no nom to ring it with */
	assert_int_equal(offer(&h, sizeof(h), sealed_memory(GOOD_BYTES, seals)), -EOPNOTSUPP);
}

static void test_options_that_are_refused(void **state)
{
	struct nomux_ipc_opts o = { .sz = sizeof(o) };
	struct nomux_ipc *ipc;
	int sock[2], dgram[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, dgram), 0);
	assert_int_equal(nomux_ipc_create(sock[0], NULL, NULL), -EINVAL);
	assert_int_equal(nomux_ipc_create(-1, NULL, &ipc), -EBADF);
	assert_int_equal(nomux_ipc_create(dgram[0], NULL, &ipc), -EINVAL);
	o.sz = 4;
	assert_int_equal(nomux_ipc_create(sock[0], &o, &ipc), -EINVAL);
	o = (struct nomux_ipc_opts){ .sz = sizeof(o), .nr_slots = 3 };
	assert_int_equal(nomux_ipc_create(sock[0], &o, &ipc), -EINVAL);
	o.nr_slots = 65536;
	o.slot_bytes = 1024;		/* 64 MiB */
	assert_int_equal(nomux_ipc_create(sock[0], &o, &ipc), -EINVAL);
	o.nr_slots = 2;
	o.slot_bytes = (1 << 20) + 1;
	assert_int_equal(nomux_ipc_create(sock[0], &o, &ipc), -EINVAL);
	assert_int_equal(nomux_ipc_accept(sock[0], &o, &ipc), -EINVAL);
	o = (struct nomux_ipc_opts){ .sz = sizeof(o), .core = (struct nomux_core *)&o };
	assert_int_equal(nomux_ipc_create(sock[0], &o, &ipc), -EINVAL);
	o = (struct nomux_ipc_opts){ .sz = sizeof(o), .timeout_ns = 1000000 };
	assert_int_equal(nomux_ipc_create(sock[0], &o, &ipc), -ETIMEDOUT);
	close(sock[1]);
	assert_int_equal(nomux_ipc_create(sock[0], &o, &ipc), -EPIPE);
	close(sock[0]);
	close(dgram[0]);
	close(dgram[1]);
}

/* The memory that comes with an offer cannot be made smaller. */
static void test_memory_is_sealed(void **state)
{
	struct nomux_ipc_opts o = { .sz = sizeof(o), .timeout_ns = 20000000 };
	struct nomux_ipc *ipc;
	struct ipc_hello h;
	int sock[2], fd = -1;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock), 0);
	assert_int_equal(nomux_ipc_create(sock[0], &o, &ipc), -ETIMEDOUT);
	assert_int_equal(nomux__ipc_hear(sock[1], &h, &fd, UINT64_MAX), 0);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(errno, EPERM);
	close(fd);
	close(sock[0]);
	close(sock[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages_pass_both_ways),
		cmocka_unit_test(test_ring_is_full_then_empty),
		cmocka_unit_test(test_close_comes_behind_the_last_message),
		cmocka_unit_test(test_no_wakeup_is_lost),
		cmocka_unit_test(test_no_instruction_loses_a_wakeup),
		cmocka_unit_test(test_a_full_ring_is_waited_for),
		cmocka_unit_test(test_doorbells_are_counted),
		cmocka_unit_test(test_a_doorbell_that_fails_is_rung_again),
		cmocka_unit_test(test_sleep_ends_in_time),
		cmocka_unit_test(test_a_killed_peer_ends_the_sleep),
		cmocka_unit_test(test_what_a_killed_peer_had_sent_is_read),
		cmocka_unit_test(test_call_of_a_dead_peer_ends),
		cmocka_unit_test(test_a_head_that_cannot_be),
		cmocka_unit_test(test_a_tail_that_cannot_be),
		cmocka_unit_test(test_a_length_that_cannot_be),
		cmocka_unit_test(test_a_peer_that_writes_garbage),
		cmocka_unit_test(test_a_peer_that_never_lets_us_sleep),
		cmocka_unit_test(test_responses_in_any_order),
		cmocka_unit_test(test_response_that_does_not_fit),
		cmocka_unit_test(test_calls_of_a_server),
		cmocka_unit_test(test_offers_that_are_refused),
		cmocka_unit_test(test_options_that_are_refused),
		cmocka_unit_test(test_memory_is_sealed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
