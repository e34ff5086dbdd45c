// SPDX-License-Identifier: MIT
/*
 * Messages of 64 bytes between two threads, and what wakes the one that sleeps:
 * channels (nomux_ipc) beside pipe, unix socket, eventfd and futex (the last two
 * without the message).
 *
 * "ipc-one-way" and "ipc-round-trip" are on one ordinary core: for those that
 * sleep from the sender's call to the first instruction of the receiver behind
 * its own, with the switch between them; for a channel that is polled both ends
 * are the same thread's, and no switch is.  "-cross-core" is between the leased
 * core and an ordinary one.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <nomux/core.h>
#include <nomux/ipc.h>

#include "micro.h"

#define BYTES	64

enum { STOP = 1 };	/* first byte of the last message */

struct link {
	/* fd[side]: what that side reads and writes */
	struct { int in, out; } fd[2];
	uint32_t word[2];		/* futex: something has come for this side */
	struct nomux_ipc *ipc[2];
	int sock[2];
	bool polls[2];			/* instead of sleeping */
	int err;
	const struct kind *kind;
};

struct kind {
	int (*open)(struct link *l);
	int (*join)(struct link *l);	/* the partner's part, in its thread; or NULL */
	int (*send)(struct link *l, int side, const char *msg);
	int (*recv)(struct link *l, int side, char *msg);
	void (*close)(struct link *l);
};

/* ----------------------------------------------------- file descriptors --- */

static int pipe_open(struct link *l)
{
	int a[2], b[2];

	if (pipe2(a, O_CLOEXEC) || pipe2(b, O_CLOEXEC))
		return -errno;
	l->fd[0].out = a[1];
	l->fd[1].in = a[0];
	l->fd[1].out = b[1];
	l->fd[0].in = b[0];
	return 0;
}

static int unix_open(struct link *l)
{
	int s[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s))
		return -errno;
	l->fd[0].in = l->fd[0].out = s[0];
	l->fd[1].in = l->fd[1].out = s[1];
	return 0;
}

static int fd_send(struct link *l, int side, const char *msg)
{
	return write(l->fd[side].out, msg, BYTES) == BYTES ? 0 : -EIO;
}

static int fd_recv(struct link *l, int side, char *msg)
{
	return read(l->fd[side].in, msg, BYTES) == BYTES ? 0 : -EIO;
}

static void fd_close(struct link *l)
{
	for (int side = 0; side < 2; side++) {
		close(l->fd[side].in);
		if (l->fd[side].out != l->fd[side].in)
			close(l->fd[side].out);
	}
}

static int event_open(struct link *l)
{
	l->fd[0].in = l->fd[1].out = eventfd(0, EFD_CLOEXEC);
	l->fd[1].in = l->fd[0].out = eventfd(0, EFD_CLOEXEC);
	return l->fd[0].in < 0 || l->fd[1].in < 0 ? -errno : 0;
}

static int event_send(struct link *l, int side, const char *msg)
{
	uint64_t v = msg[0] == STOP ? 2 : 1;

	return write(l->fd[side].out, &v, sizeof(v)) == sizeof(v) ? 0 : -EIO;
}

static int event_recv(struct link *l, int side, char *msg)
{
	uint64_t v;

	if (read(l->fd[side].in, &v, sizeof(v)) != sizeof(v))
		return -EIO;
	msg[0] = v == 2 ? STOP : 0;
	return 0;
}

static void event_close(struct link *l)
{
	close(l->fd[0].in);
	close(l->fd[1].in);
}

/* --------------------------------------------------------------- futex --- */

static int futex_open(struct link *l)
{
	return 0;
}

static int futex_send(struct link *l, int side, const char *msg)
{
	uint32_t *w = &l->word[!side];

	__atomic_store_n(w, msg[0] == STOP ? 2 : 1, __ATOMIC_SEQ_CST);
	return syscall(SYS_futex, w, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) < 0 ? -errno : 0;
}

static int futex_recv(struct link *l, int side, char *msg)
{
	uint32_t *w = &l->word[side], v;

	while (!(v = __atomic_exchange_n(w, 0, __ATOMIC_SEQ_CST)))
		syscall(SYS_futex, w, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	msg[0] = v == 2 ? STOP : 0;
	return 0;
}

static void futex_close(struct link *l)
{
}

/* ------------------------------------------------------------- channels --- */

static int ipc_open(struct link *l)
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, l->sock) ? -errno : 0;
}

static int ipc_create(struct link *l)
{
	struct nomux_ipc_opts opts = {
		.sz = sizeof(opts), .slot_bytes = BYTES, .ctx = micro.nom,
		.core = l->polls[0] ? NULL : micro.core, .event = MICRO_EV_IPC,
	};

	return nomux_ipc_create(l->sock[0], &opts, &l->ipc[0]);
}

static int ipc_join(struct link *l)
{
	struct nomux_ipc_opts opts = { .sz = sizeof(opts), .ctx = micro.nom };

	return nomux_ipc_accept(l->sock[1], &opts, &l->ipc[1]);
}

static int ipc_send(struct link *l, int side, const char *msg)
{
	return nomux_ipc_send(l->ipc[side], msg, BYTES);
}

static int ipc_recv(struct link *l, int side, char *msg)
{
	int n;

	while ((n = nomux_ipc_recv(l->ipc[side], msg, BYTES)) == -EAGAIN)
		if (!l->polls[side])
			nomux_ipc_wait(l->ipc[side], NOMUX_IPC_MSG, UINT64_MAX);
	return n < 0 ? n : 0;
}

static void ipc_close(struct link *l)
{
	nomux_ipc_destroy(l->ipc[0]);
	nomux_ipc_destroy(l->ipc[1]);
}

static const struct kind by_pipe = { pipe_open, NULL, fd_send, fd_recv, fd_close };
static const struct kind by_unix = { unix_open, NULL, fd_send, fd_recv, fd_close };
static const struct kind by_eventfd = { event_open, NULL, event_send, event_recv, event_close };
static const struct kind by_futex = { futex_open, NULL, futex_send, futex_recv, futex_close };
static const struct kind by_ipc = { ipc_open, ipc_join, ipc_send, ipc_recv, ipc_close };

/* ---------------------------------------------------------- two threads --- */

static void *partner(void *arg)
{
	struct link *l = arg;
	char msg[BYTES];

	l->err = l->kind->join ? l->kind->join(l) : 0;
	while (!l->err) {
		l->err = l->kind->recv(l, 1, msg);
		micro.arrived = nomux_tsc();
		if (!l->err && msg[0] != STOP)
			l->err = l->kind->send(l, 1, msg);
		if (msg[0] == STOP)
			break;
	}
	return NULL;
}

/* The partner stays on the ordinary core: that of this thread, unless it is leased. */
static int ping_pong(const struct kind *kind, bool poll, bool round_trip)
{
	struct link l = { .kind = kind, .polls = { poll, poll } };
	char msg[BYTES] = { 0 };
	pthread_attr_t attr;
	pthread_t thread;
	unsigned int i;
	cpu_set_t cpus;
	int err;

	err = kind->open(&l);
	if (err)
		return err;
	CPU_ZERO(&cpus);
	CPU_SET((size_t)micro.cpu, &cpus);
	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(cpus), &cpus);
	err = -pthread_create(&thread, &attr, partner, &l);
	pthread_attr_destroy(&attr);
	if (err)
		return err;
	if (kind == &by_ipc)
		err = ipc_create(&l);
	for (i = 0; i < micro.rounds && !err; i++) {
		micro.begun = micro_now();
		err = kind->send(&l, 0, msg);
		if (!err)
			err = kind->recv(&l, 0, msg);
		micro.sample[i] = (round_trip ? micro_now() : micro.arrived) - micro.begun;
	}
	msg[0] = STOP;
	if (!err)
		err = kind->send(&l, 0, msg);
	pthread_join(thread, NULL);
	if (l.ipc[0] || kind != &by_ipc)
		kind->close(&l);
	return err ? err : l.err;
}

static int pipe_one_way(void) { return ping_pong(&by_pipe, false, false); }
static int pipe_round_trip(void) { return ping_pong(&by_pipe, false, true); }
static int unix_one_way(void) { return ping_pong(&by_unix, false, false); }
static int unix_round_trip(void) { return ping_pong(&by_unix, false, true); }
static int eventfd_one_way(void) { return ping_pong(&by_eventfd, false, false); }
static int eventfd_round_trip(void) { return ping_pong(&by_eventfd, false, true); }
static int futex_one_way(void) { return ping_pong(&by_futex, false, false); }
static int futex_round_trip(void) { return ping_pong(&by_futex, false, true); }
static int ipc_asleep_one_way(void) { return ping_pong(&by_ipc, false, false); }
static int ipc_asleep_round_trip(void) { return ping_pong(&by_ipc, false, true); }
static int ipc_polled_round_trip(void) { return ping_pong(&by_ipc, true, true); }
static int ipc_polled_one_way(void) { return ping_pong(&by_ipc, true, false); }

/* ---------------------------------------------- both ends in one thread --- */

static void *accepter(void *arg)
{
	struct link *l = arg;

	l->err = ipc_join(l);
	return NULL;
}

static int both_ends(struct link *l)
{
	pthread_t thread;
	int err;

	*l = (struct link){ .polls = { true, true } };
	err = ipc_open(l);
	if (!err)
		err = -pthread_create(&thread, NULL, accepter, l);
	if (err)
		return err;
	err = ipc_create(l);
	pthread_join(thread, NULL);
	return err ? err : l->err;
}

static int ipc_self(bool round_trip)
{
	char msg[BYTES] = { 0 };
	struct link l;
	unsigned int i;
	uint64_t t;
	int err;

	err = both_ends(&l);
	for (i = 0; i < micro.rounds && !err; i++) {
		t = micro_now();
		err |= ipc_send(&l, 0, msg) | ipc_recv(&l, 1, msg);
		if (round_trip)
			err |= ipc_send(&l, 1, msg) | ipc_recv(&l, 0, msg);
		micro.sample[i] = micro_now() - t;
	}
	if (l.ipc[0])
		ipc_close(&l);
	return err;
}

static int ipc_self_one_way(void) { return ipc_self(false); }
static int ipc_self_round_trip(void) { return ipc_self(true); }

/* No copy: the word is written and read where the message lies. */
static int ipc_in_place(void)
{
	struct nomux_ipc_msg msg;
	volatile uint64_t seen;
	unsigned int i;
	struct link l;
	uint64_t *p, t;
	int err;

	err = both_ends(&l);
	for (i = 0; i < micro.rounds && !err; i++) {
		t = micro_now();
		p = nomux_ipc_reserve(l.ipc[0]);
		if (!p)
			break;
		*p = i;
		nomux_ipc_commit(l.ipc[0], BYTES);
		nomux_ipc_flush(l.ipc[0]);
		err = nomux_ipc_peek(l.ipc[1], &msg);
		if (!err)
			seen = *(const volatile uint64_t *)msg.data;
		nomux_ipc_consume(l.ipc[1]);
		micro.sample[i] = micro_now() - t;
	}
	(void)seen;
	if (l.ipc[0])
		ipc_close(&l);
	return err;
}

/* Sixteen messages in a row, shown at once. */
static int ipc_throughput(void)
{
	char out[BYTES] = { 0 }, in[BYTES];
	unsigned int i, k;
	struct link l;
	uint64_t t;
	void *slot;
	int err;

	err = both_ends(&l);
	for (i = 0; i < micro.rounds && !err; i++) {
		t = micro_now();
		for (k = 0; k < 16; k++) {
			slot = nomux_ipc_reserve(l.ipc[0]);
			if (!slot)
				break;
			memcpy(slot, out, BYTES);
			nomux_ipc_commit(l.ipc[0], BYTES);
		}
		nomux_ipc_flush(l.ipc[0]);
		for (k = 0; k < 16; k++)
			if (nomux_ipc_recv(l.ipc[1], in, BYTES) != BYTES)
				err = -EIO;
		micro.sample[i] = micro_now() - t;
	}
	if (l.ipc[0])
		ipc_close(&l);
	return err;
}

/* Each message one call, as it is sent and as it is read; no switch. */
static int fd_throughput(const struct kind *kind)
{
	char msg[BYTES] = { 0 };
	struct link l = { 0 };
	unsigned int i, k;
	uint64_t t;
	int err;

	err = kind->open(&l);
	for (i = 0; i < micro.rounds && !err; i++) {
		t = micro_now();
		for (k = 0; k < 16; k++)
			err |= kind->send(&l, 0, msg);
		for (k = 0; k < 16 && !err; k++)
			err |= kind->recv(&l, 1, msg);
		micro.sample[i] = micro_now() - t;
	}
	if (!err)
		kind->close(&l);
	return err;
}

static int pipe_throughput(void) { return fd_throughput(&by_pipe); }
static int unix_throughput(void) { return fd_throughput(&by_unix); }

/* As few calls as there may be: sixteen messages in one read and one write. */
static int pipe_bulk(void)
{
	char msg[16 * BYTES] = { 0 };
	struct link l = { 0 };
	unsigned int i;
	uint64_t t;
	int err;

	err = pipe_open(&l);
	for (i = 0; i < micro.rounds && !err; i++) {
		t = micro_now();
		if (write(l.fd[0].out, msg, sizeof(msg)) != sizeof(msg) ||
		    read(l.fd[1].in, msg, sizeof(msg)) != sizeof(msg))
			err = -EIO;
		micro.sample[i] = micro_now() - t;
	}
	fd_close(&l);
	return err;
}

#define CROSS	(MICRO_LEASED | MICRO_TIME_ONLY)

const struct micro_op micro_ipc_ops[] = {
	{ "ipc-one-way/nomux-ipc", "nom", 0, ipc_self_one_way },
	{ "ipc-one-way/nomux-ipc-in-place", "nom", 0, ipc_in_place },
	{ "ipc-one-way/nomux-ipc-asleep", "nom", 0, ipc_asleep_one_way },
	{ "ipc-one-way/futex-wake", "linux", 0, futex_one_way },
	{ "ipc-one-way/eventfd", "linux", 0, eventfd_one_way },
	{ "ipc-one-way/pipe", "linux", 0, pipe_one_way },
	{ "ipc-one-way/unix-socket", "linux", 0, unix_one_way },
	{ "ipc-round-trip/nomux-ipc", "nom", 0, ipc_self_round_trip },
	{ "ipc-round-trip/nomux-ipc-asleep", "nom", 0, ipc_asleep_round_trip },
	{ "ipc-round-trip/futex-wake", "linux", 0, futex_round_trip },
	{ "ipc-round-trip/eventfd", "linux", 0, eventfd_round_trip },
	{ "ipc-round-trip/pipe", "linux", 0, pipe_round_trip },
	{ "ipc-round-trip/unix-socket", "linux", 0, unix_round_trip },
	{ "ipc-one-way-cross-core/nomux-ipc", "nom", CROSS, ipc_polled_one_way },
	{ "ipc-one-way-cross-core/nomux-ipc-asleep", "nom", CROSS, ipc_asleep_one_way },
	{ "ipc-one-way-cross-core/futex-wake", "linux", CROSS, futex_one_way },
	{ "ipc-one-way-cross-core/eventfd", "linux", CROSS, eventfd_one_way },
	{ "ipc-one-way-cross-core/pipe", "linux", CROSS, pipe_one_way },
	{ "ipc-one-way-cross-core/unix-socket", "linux", CROSS, unix_one_way },
	{ "ipc-round-trip-cross-core/nomux-ipc", "nom", CROSS, ipc_polled_round_trip },
	{ "ipc-round-trip-cross-core/nomux-ipc-asleep", "nom", CROSS, ipc_asleep_round_trip },
	{ "ipc-round-trip-cross-core/futex-wake", "linux", CROSS, futex_round_trip },
	{ "ipc-round-trip-cross-core/eventfd", "linux", CROSS, eventfd_round_trip },
	{ "ipc-round-trip-cross-core/pipe", "linux", CROSS, pipe_round_trip },
	{ "ipc-round-trip-cross-core/unix-socket", "linux", CROSS, unix_round_trip },
	{ "ipc-throughput/nomux-ipc", "nom", MICRO_PER_16, ipc_throughput },
	{ "ipc-throughput/pipe", "linux", MICRO_PER_16, pipe_throughput },
	{ "ipc-throughput/pipe-16-a-call", "linux", MICRO_PER_16, pipe_bulk },
	{ "ipc-throughput/unix-socket", "linux", MICRO_PER_16, unix_throughput },
	{ 0 },
};
