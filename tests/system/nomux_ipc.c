// SPDX-License-Identifier: MIT
/*
 * A channel one side of which sleeps on a leased core: rung by notification, only
 * when it sleeps, and never in vain; who may ring, and what a death does.
 *
 * Where two cores are reserved (tests/scripts/nomux_two_cores) both sides do.
 */
#include <linux/nom.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/ipc.h>
#include <nomux/timer.h>
#include <nomux/upcall.h>

#include "nomux_tap.h"

#define EV_BELL		5
#define EV_CLOSED	6	/* not in notify_mask */
#define EV_SHOT		7
#define PINGS		3000
#define POLLED		2000
#define SHOTS		4000
#define NOBODY		65534

static struct nomux_ctx *nom;
static struct nomux_core *core;

static uint64_t posts(void)
{
	struct nom_core_stats stats = { 0 };

	nomux_core_stats(core, &stats);
	return stats.out_posts;
}

/* Sends, waiting for room; false when the channel is over. */
static bool send_word(struct nomux_ipc *ipc, uint32_t v)
{
	int err;

	while ((err = nomux_ipc_send(ipc, &v, sizeof(v))) == -EAGAIN)
		if (nomux_ipc_wait(ipc, NOMUX_IPC_ROOM, UINT64_MAX) < 0)
			return false;
	return !err;
}

static int recv_word(struct nomux_ipc *ipc, uint32_t *v)
{
	int n, ready;

	while ((n = nomux_ipc_recv(ipc, v, sizeof(*v))) == -EAGAIN) {
		ready = nomux_ipc_wait(ipc, NOMUX_IPC_MSG, UINT64_MAX);
		if (ready < 0)
			return ready;
	}
	return n;
}

/* ------------------------------------------------------- the peer's side --- */

enum peer_flags { PEER_NO_NOM = 1, PEER_NOBODY = 2 };

/* The peer sleeps on a core of its own, too, where there is a second one. */
static void peer_lease(struct nomux_ipc_opts *opts)
{
	struct nomux_core_opts o = {
		.sz = sizeof(o), .cpu = NOMUX_CPU_ANY, .notify_mask = 1ULL << EV_BELL,
	};

	if (nomux_core_claim(opts->ctx, &o, &opts->core))
		return;
	opts->event = EV_BELL;
	if (nomux_core_enter(opts->core))
		_exit(1);
	nomux_unmask(opts->core);
	printf("# the peer sleeps on core %d\n", nomux_core_cpu(opts->core));
}

/* What the peer does: echoes; its doorbells so far when it gets a 0. */
static void peer(int sock, unsigned int flags)
{
	struct nomux_ipc_opts opts = { .sz = sizeof(opts) };
	struct nomux_ipc_stats stats;
	struct nomux_ctx *ctx = NULL;
	struct nomux_ipc *ipc;
	uint32_t v;

	if (!(flags & PEER_NO_NOM) && nomux_open(&ctx))
		_exit(1);
	if (flags & PEER_NOBODY && setresuid(NOBODY, NOBODY, NOBODY))
		_exit(1);
	opts.ctx = ctx;
	if (ctx && !flags)
		peer_lease(&opts);
	if (nomux_ipc_accept(sock, &opts, &ipc))
		_exit(2);
	while (recv_word(ipc, &v) == (int)sizeof(v)) {
		nomux_ipc_stats(ipc, &stats);
		if (!send_word(ipc, v ? v : (uint32_t)stats.doorbells))
			break;
	}
	_exit(0);
}

static int meet(unsigned int event, unsigned int flags, struct nomux_ipc **ipc_out, pid_t *pid_out)
{
	struct nomux_ipc_opts opts = {
		.sz = sizeof(opts), .nr_slots = 8, .slot_bytes = 16,
		.ctx = nom, .core = core, .event = event,
	};
	int sock[2], err;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock))
		return -errno;
	*pid_out = fork();
	if (!*pid_out) {
		close(sock[0]);
		alarm(60);
		peer(sock[1], flags);
	}
	close(sock[1]);
	err = nomux_ipc_create(sock[0], &opts, ipc_out);
	if (err)
		close(sock[0]);
	return err;
}

static int status_of(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---------------------------------------------------------------- tests --- */

static void test_asleep_and_awake(void)
{
	struct nomux_ipc_stats stats;
	struct nomux_ipc *ipc;
	uint64_t before;
	uint32_t i, v, wrong = 0, bells = 0;
	pid_t pid;

	T_NEED(meet(EV_BELL, 0, &ipc, &pid));
	before = posts();
	for (i = 1; i <= PINGS; i++)
		wrong += !send_word(ipc, i) || recv_word(ipc, &v) != (int)sizeof(v) || v != i;
	t_is(wrong, 0, "words come back from another process, both sides asleep in between");
	nomux_ipc_stats(ipc, &stats);
	t_ok(stats.sleeps > 0, "  this side slept on its core (%llu times)", (unsigned long long)stats.sleeps);
	send_word(ipc, 0);
	recv_word(ipc, &bells);
	/* the answer itself may have rung once more */
	v = (uint32_t)(posts() - before);
	t_ok(bells > 1 && v >= bells - 1 && v <= bells + 1,
	     "  the kernel saw as many notifications (%u) as the peer rang (%u, one at set-up)", v, bells);
	t_ok(bells - 1 <= stats.sleeps + 1, "  at most one for each sleep");

	before = posts();
	for (i = 1; i <= POLLED; i++) {
		send_word(ipc, i);
		while (nomux_ipc_recv(ipc, &v, sizeof(v)) == -EAGAIN)
			;		/* awake */
	}
	t_is((long)(posts() - before), 0, "no notification while this side polls");

	kill(pid, SIGKILL);
	status_of(pid);
	nomux_ipc_destroy(ipc);
}

static void *killer(void *arg)
{
	usleep(100000);
	kill(*(pid_t *)arg, SIGKILL);
	return NULL;
}

static void test_death_ends_the_sleep(void)
{
	struct nomux_ipc_stats before, after;
	struct nomux_ipc *ipc;
	pthread_t thread;
	int ready;
	pid_t pid;

	T_NEED(meet(EV_BELL, 0, &ipc, &pid));
	nomux_ipc_stats(ipc, &before);
	T_NEED(-pthread_create(&thread, NULL, killer, &pid));
	do
		ready = nomux_ipc_wait(ipc, NOMUX_IPC_MSG, UINT64_MAX);
	while (!ready);
	nomux_ipc_stats(ipc, &after);
	t_is(ready, -EPIPE, "a peer that is killed ends the sleep");
	t_ok(after.sleeps - before.sleeps <= 2, "  at once: no looking now and then (%llu sleeps)",
	     (unsigned long long)(after.sleeps - before.sleeps));
	pthread_join(thread, NULL);
	status_of(pid);
	nomux_ipc_destroy(ipc);
}

static void *strange_wait(void *arg)
{
	return (void *)(intptr_t)nomux_ipc_wait(arg, NOMUX_IPC_MSG, 1);
}

static void test_who_may(void)
{
	struct nomux_ipc *ipc;
	pthread_t thread;
	void *ret;
	pid_t pid;

	t_is(meet(EV_CLOSED, 0, &ipc, &pid), -EPERM, "an event that the lease did not open is refused at set-up");
	t_is(status_of(pid), 2, "  on both sides");
	t_is(meet(EV_BELL, PEER_NOBODY, &ipc, &pid), -EPERM, "and a peer that may not notify");
	t_is(status_of(pid), 2, "  on both sides");
	t_is(meet(EV_BELL, PEER_NO_NOM, &ipc, &pid), -EOPNOTSUPP, "and one without nom");
	t_is(status_of(pid), 2, "  on both sides");

	T_NEED(meet(EV_BELL, 0, &ipc, &pid));
	T_NEED(-pthread_create(&thread, NULL, strange_wait, ipc));
	pthread_join(thread, &ret);
	t_is((long)(intptr_t)ret, -EPERM, "another thread cannot sleep on this core");
	nomux_ipc_destroy(ipc);
	t_is(status_of(pid), 0, "the peer is told of the end");
}

/* ------------------------------ the sender in the place of any instruction --- */

struct pair {
	int sock[2];
	struct nomux_ipc *far;		/* ordinary, used by the handler */
	int err;
};

static void *far_end(void *arg)
{
	struct nomux_ipc_opts opts = { .sz = sizeof(opts), .ctx = nom };
	struct pair *p = arg;

	p->err = nomux_ipc_accept(p->sock[1], &opts, &p->far);
	return NULL;
}

static void shoot(unsigned int event, uint64_t count, void *arg)
{
	struct pair *p = arg;

	if (nomux_ipc_reserve(p->far) && !nomux_ipc_commit(p->far, 1))
		nomux_ipc_flush(p->far);
}

static void test_no_instruction_loses_a_wakeup(void)
{
	struct nomux_ipc_opts opts = {
		.sz = sizeof(opts), .nr_slots = 4, .slot_bytes = 16,
		.ctx = nom, .core = core, .event = EV_BELL,
	};
	struct nomux_ipc_stats stats;
	struct nomux_ipc *near;
	struct pair p = { 0 };
	unsigned int i, got = 0;
	pthread_t thread;
	char c;

	T_NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p.sock));
	T_NEED(-pthread_create(&thread, NULL, far_end, &p));
	T_NEED(nomux_ipc_create(p.sock[0], &opts, &near));
	pthread_join(thread, NULL);
	T_NEED(p.err);
	nomux_on_event(core, EV_SHOT, shoot, &p);
	for (i = 0; i < SHOTS; i++) {
		nomux_timer_arm(core, EV_SHOT, 1 + i * 97 % 60000, 0);
		while (nomux_ipc_wait(near, NOMUX_IPC_MSG, UINT64_MAX) == 0)
			;
		got += nomux_ipc_recv(near, &c, sizeof(c)) == 1;
	}
	nomux_ipc_stats(p.far, &stats);
	t_is(got, SHOTS, "messages sent by a timer's handler at any instruction all arrive");
	/*
	 * One at set-up.  Where the host starves the thread of QEMU's timers, all come late,
	 * in the sleep; otherwise some are before it and do not ring.
	 */
	t_ok(stats.doorbells > 1 && stats.doorbells <= SHOTS + 1, "  at most one ring for each (%llu rang)",
	     (unsigned long long)stats.doorbells);
	nomux_ipc_destroy(p.far);
	t_is(nomux_ipc_wait(near, NOMUX_IPC_MSG, UINT64_MAX), -EPIPE, "the end is seen");
	nomux_ipc_destroy(near);
	nomux_on_event(core, EV_SHOT, NULL, NULL);
}

/* The holder of a core is killed; its peer, an ordinary process, hears of it. */
static void test_death_of_the_holder(void)
{
	struct nomux_ipc *ipc;
	int sock[2], ready;
	pid_t pid;

	T_NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock));
	pid = fork();
	if (!pid) {
		struct nomux_core_opts copts = {
			.sz = sizeof(copts), .cpu = NOMUX_CPU_ANY, .notify_mask = 1ULL << EV_BELL,
		};
		struct nomux_ipc_opts opts = { .sz = sizeof(opts), .event = EV_BELL };

		close(sock[0]);
		alarm(60);
		if (nomux_open(&opts.ctx) || nomux_core_claim(opts.ctx, &copts, &opts.core) ||
		    nomux_core_enter(opts.core))
			_exit(1);
		nomux_unmask(opts.core);
		if (nomux_ipc_create(sock[1], &opts, &ipc))
			_exit(2);
		nomux_ipc_send(ipc, "!", 1);
		for (;;)
			nomux_ipc_wait(ipc, NOMUX_IPC_MSG, UINT64_MAX);
	}
	close(sock[1]);
	T_NEED(nomux_ipc_accept(sock[0], &(struct nomux_ipc_opts){ .sz = sizeof(struct nomux_ipc_opts),
								   .ctx = nom }, &ipc));
	while (!nomux_ipc_wait(ipc, NOMUX_IPC_MSG, UINT64_MAX))
		;
	kill(pid, SIGKILL);
	t_is(status_of(pid), 128 + SIGKILL, "the holder of a core is killed in its sleep");
	t_is(nomux_ipc_recv(ipc, (char[1]){ 0 }, 1), 1, "  its last message is read");
	while (!(ready = nomux_ipc_wait(ipc, NOMUX_IPC_MSG, UINT64_MAX)))
		;
	t_is(ready, -EPIPE, "  and then its end is seen");
	/* a doorbell for a lease that has ended: an error, no hang */
	__atomic_store_n(&ipc->peers->sleep, NOMUX_IPC_MSG, __ATOMIC_SEQ_CST);
	t_is(nomux_ipc_send(ipc, "?", 1), -ENOENT, "  ringing it says that there is nobody");
	nomux_ipc_destroy(ipc);
}

int main(void)
{
	struct nomux_core_opts opts = {
		.sz = sizeof(opts), .cpu = NOMUX_CPU_ANY, .notify_mask = 1ULL << EV_BELL,
	};

	t_start(90);
	if (access("/dev/nom", F_OK)) {
		printf("1..0 # SKIP no /dev/nom\n");
		return T_SKIP;
	}
	setvbuf(stdout, NULL, _IONBF, 0);	/* children print, too */
	T_NEED(nomux_open(&nom));
	test_death_of_the_holder();
	T_NEED(nomux_core_claim(nom, &opts, &core));
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
	test_asleep_and_awake();
	test_death_ends_the_sleep();
	test_who_may();
	test_no_instruction_loses_a_wakeup();
	T_NEED(nomux_core_release(core));
	nomux_close(nom);
	return t_end();
}
