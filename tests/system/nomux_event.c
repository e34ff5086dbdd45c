// SPDX-License-Identifier: MIT
/*
 * What posts events: the timer, notifications with their permissions, changes
 * of the bulletin board, eventfds.
 */
#include <linux/nom.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nomux/board.h>
#include <nomux/clock.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/mem.h>
#include <nomux/notify.h>
#include <nomux/timer.h>
#include <nomux/upcall.h>

#include "nomux_tap.h"

#define EV_TIMER	0
#define EV_NOTIFY	1
#define EV_HANDLER	11
#define EV_BOARD	2
#define EV_FD		3

static struct nomux_ctx *nom;
static struct nomux_core *core;
static volatile uint64_t got[64];
static volatile uint64_t fired_ns;
static uint64_t rearm_ns;

static void count_event(unsigned int event, uint64_t count, void *arg)
{
	got[event] += count;
}

static void on_timer(unsigned int event, uint64_t count, void *arg)
{
	got[event] += count;
	fired_ns = nomux_now_ns();
	if (rearm_ns)
		nomux_timer_arm(core, event, rearm_ns, 0);
}

/* Spin until the event came, or give up. */
static bool wait_for(unsigned int event, uint64_t nr, uint64_t patience_ns)
{
	uint64_t until = nomux_now_ns() + patience_ns;

	while (got[event] < nr)
		if (nomux_now_ns() > until)
			return false;
	return true;
}

static void test_timer(void)
{
	uint64_t t;

	t = nomux_now_ns();
	T_NEED(nomux_timer_arm(core, EV_TIMER, 2000000, 0));
	t_ok(wait_for(EV_TIMER, 1, 1000000000), "a relative timer fires");
	t_ok(fired_ns - t >= 2000000, "  not before its time");
	printf("# 2000000 ns took %llu\n", (unsigned long long)(fired_ns - t));

	t = nomux_now_ns() + 3000000;
	T_NEED(nomux_timer_arm(core, EV_TIMER, t, NOMUX_TIMER_ABS));
	t_ok(wait_for(EV_TIMER, 2, 1000000000), "an absolute timer fires");
	t_ok(fired_ns + 200000 >= t, "  not before its time, as far as the two clocks agree");
	printf("# %lld ns after it\n", (long long)(fired_ns - t));

	/* Times that a busy machine does not spend between two calls. */
	T_NEED(nomux_timer_arm(core, EV_TIMER, 500000000, 0));
	T_NEED(nomux_timer_arm(core, EV_TIMER, 0, 0));
	t_ok(!wait_for(EV_TIMER, 3, 700000000), "a disarmed timer does not");
	T_NEED(nomux_timer_arm(core, EV_TIMER, 500000000, 0));
	T_NEED(nomux_timer_arm(core, EV_TIMER, 1000000, 0));
	t_ok(wait_for(EV_TIMER, 3, 400000000) && !wait_for(EV_TIMER, 4, 700000000),
	     "arming again replaces");
	T_NEED(nomux_timer_arm(core, EV_TIMER, 1, NOMUX_TIMER_ABS));
	t_ok(wait_for(EV_TIMER, 4, 1000000000), "a time in the past fires at once");
	t_is(nomux_timer_arm(core, EV_TIMER, 1, 8), -EOPNOTSUPP, "an unknown flag: EOPNOTSUPP");

	rearm_ns = 100000;
	T_NEED(nomux_timer_arm(core, EV_TIMER, rearm_ns, 0));
	t_ok(wait_for(EV_TIMER, 1004, 30000000000ULL), "1,000 times, armed again by its handler");
	rearm_ns = 0;
	T_NEED(nomux_timer_arm(core, EV_TIMER, 0, 0));
}

static int in_child(int (*fn)(uint64_t handle), uint64_t handle)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(fn(handle));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

/* Errors as exit status: 0 for none. */
static int notify_1000(uint64_t handle)
{
	struct nomux_ctx *mine;
	int i, err = nomux_open(&mine);

	for (i = 0; i < 1000 && !err; i++)
		err = nomux_notify(mine, handle, EV_NOTIFY);
	return -err;
}

static int notify_other_event(uint64_t handle)
{
	struct nomux_ctx *mine;
	int err = nomux_open(&mine);

	return -(err ? err : nomux_notify(mine, handle, EV_FD));
}

static int notify_as_nobody(uint64_t handle)
{
	struct nomux_ctx *mine;
	int err = nomux_open(&mine);

	if (err || setgid(65534) || setuid(65534))
		return 254;
	return -nomux_notify(mine, handle, EV_NOTIFY);
}

static uint64_t kernel_posts(void)
{
	struct nom_core_stats stats = { 0 };

	nomux_core_stats(core, &stats);
	return stats.out_posts;
}

static void notify_in_handler(unsigned int event, uint64_t count, void *arg)
{
	uint64_t before = got[EV_NOTIFY];

	nomux_notify(nom, nomux_core_handle(core), EV_NOTIFY);
	*(volatile bool *)arg = got[EV_NOTIFY] == before;	/* handlers run masked: not yet */
}

/* Of one's own lease: without the kernel, but with its rules. */
static void test_notify_oneself(void)
{
	uint64_t handle = nomux_core_handle(core), before = got[EV_NOTIFY], posts = kernel_posts();
	volatile bool waited = false;

	t_is(nomux_notify(nom, handle, EV_FD), -EPERM, "one's own event that is not in notify_mask: EPERM");
	nomux_mask(core);
	t_is(nomux_notify(nom, handle, EV_NOTIFY) | nomux_notify(nom, handle, EV_NOTIFY), 0,
	     "two notifications to oneself, masked");
	t_is((long)(got[EV_NOTIFY] - before), 0, "  wait");
	nomux_unmask(core);
	t_is((long)(got[EV_NOTIFY] - before), 2, "  for the unmasking");
	nomux_mask(core);
	nomux_notify(nom, handle, EV_NOTIFY);
	nomux_wait(core, UINT64_MAX);
	t_is((long)(got[EV_NOTIFY] - before), 3, "one keeps nomux_wait() from sleeping");
	nomux_unmask(core);
	nomux_on_event(core, EV_HANDLER, notify_in_handler, (void *)&waited);
	nomux_timer_arm(core, EV_HANDLER, 1, 0);
	t_ok(wait_for(EV_NOTIFY, before + 4, 1000000000) && waited, "one from a handler comes after it");
	t_is((long)(kernel_posts() - posts), 1, "the kernel saw only the timer's");
}

static void test_notify(void)
{
	uint64_t handle = nomux_core_handle(core);

	t_is(nomux_notify(nom, handle, EV_NOTIFY), 0, "a notification to oneself");
	t_is((long)got[EV_NOTIFY], 1, "  is handled before the call returns");
	t_is(in_child(notify_1000, handle), 0, "1,000 notifications by another process");
	t_ok(wait_for(EV_NOTIFY, 1001, 1000000000) && got[EV_NOTIFY] == 1001, "  all arrive");
	t_is(in_child(notify_other_event, handle), EPERM, "an event not in notify_mask: EPERM");
	t_is(in_child(notify_as_nobody, handle), EPERM, "another user: EPERM");
	t_is(nomux_notify(nom, handle + 1000, EV_NOTIFY), -ENOENT, "an unknown lease: ENOENT");
	t_is((long)got[EV_FD], 0, "nothing of that was posted");
}

/* Others may be allowed to look, and no more. */
static int read_only(uint64_t unused)
{
	struct nomux_core *none = NULL;
	struct nomux_mem *mem = NULL;
	struct nomux_ctx *mine;
	static uint64_t board[65536 / 8];

	if (setgid(65534) || setuid(65534) || nomux_open(&mine))
		return 1;
	if (nomux_board_snapshot(mine, board, sizeof(board)))
		return 2;
	if (nomux_core_claim(mine, NULL, &none) != -EPERM || none)
		return 3;
	if (nomux_mem_grant(mine, 2 << 20, &mem) != -EPERM || mem)
		return 4;
	return 0;
}

static int no_access(uint64_t unused)
{
	struct nomux_ctx *mine;

	return setgid(65534) || setuid(65534) ? 255 : -nomux_open(&mine);
}

static void test_access(void)
{
	struct stat st;

	T_NEED(stat(NOM_DEVICE_PATH, &st) ? -errno : 0);
	T_NEED(chmod(NOM_DEVICE_PATH, 0664) ? -errno : 0);
	t_is(in_child(read_only, 0), 0, "who may only read the device reads the board, and no more");
	T_NEED(chmod(NOM_DEVICE_PATH, 0660) ? -errno : 0);
	t_is(in_child(no_access, 0), EACCES, "who may not, does not: EACCES");
	T_NEED(chmod(NOM_DEVICE_PATH, st.st_mode & 07777) ? -errno : 0);
}

static void test_board(void)
{
	uint64_t before = nomux_board_changes(nom, NOM_BOARD_MEMORY);
	struct nom_board_price price;
	struct nomux_mem *mem;

	t_is(nomux_subscribe(core, EV_BOARD, 1ULL << 63), -EOPNOTSUPP, "an unknown class: EOPNOTSUPP");
	T_NEED(nomux_subscribe(core, EV_BOARD, 1ULL << NOM_BOARD_MEMORY));
	T_NEED(nomux_mem_grant(nom, 2 << 20, &mem));
	t_ok(wait_for(EV_BOARD, 1, 1000000000), "a grant changes the board, a subscriber is told");
	t_ok(nomux_board_changes(nom, NOM_BOARD_MEMORY) > before, "  and sees it by one load");
	T_NEED(nomux_subscribe(core, EV_BOARD, 0));
	got[EV_BOARD] = 0;
	nomux_mem_put(mem);
	t_ok(!wait_for(EV_BOARD, 1, 5000000), "not after unsubscribing");
	t_is(nomux_board_price(nom, "no-such-price", &price), -ENOENT, "an unknown price: ENOENT");
}

static void test_eventfd(void)
{
	int a = eventfd(5, EFD_NONBLOCK), b = eventfd(0, EFD_NONBLOCK | EFD_SEMAPHORE);
	uint64_t v = 3;
	int other[2];

	got[EV_FD] = 0;
	T_NEED(nomux_event_bind(core, EV_FD, a));
	t_is((long)got[EV_FD], 5, "what an eventfd held when it was bound counts");
	t_is(nomux_event_bind(core, EV_FD, a), -EEXIST, "bound twice: EEXIST");
	T_NEED(nomux_event_bind(core, EV_FD, b));
	t_is((int)write(a, &v, sizeof(v)), 8, "a count of 3");
	t_is((long)got[EV_FD], 8, "  counts as 3");
	t_is((int)read(a, &v, sizeof(v)), -1, "  and is drained");
	v = 1;
	t_is((int)write(b, &v, sizeof(v)), 8, "a semaphore's");
	t_is((long)got[EV_FD], 9, "  adds to the same event");
	T_NEED(nomux_event_unbind(core, EV_FD, a));
	t_is((int)write(a, &v, sizeof(v)), 8, "unbound, an eventfd");
	t_is((int)read(a, &v, sizeof(v)), 8, "  is an eventfd again");
	T_NEED(pipe(other) ? -errno : 0);
	t_is(nomux_event_bind(core, EV_FD, other[0]), -EINVAL, "not an eventfd: EINVAL");
	t_is(nomux_event_bind(core, EV_FD, 999), -EBADF, "no descriptor: EBADF");
	close(a);
	close(b);
}

int main(void)
{
	struct nomux_core_opts opts = {
		.sz = sizeof(opts), .cpu = NOMUX_CPU_ANY, .notify_mask = 1ULL << EV_NOTIFY,
	};
	int err;

	t_start(120);
	err = nomux_open(&nom);
	if (err) {
		printf("1..0 # SKIP no /dev/nom: %s\n", strerror(-err));
		return T_SKIP;
	}
	T_NEED(nomux_core_claim(nom, &opts, &core));
	T_NEED(nomux_on_event(core, EV_TIMER, on_timer, NULL));
	T_NEED(nomux_on_event(core, EV_NOTIFY, count_event, NULL));
	T_NEED(nomux_on_event(core, EV_BOARD, count_event, NULL));
	T_NEED(nomux_on_event(core, EV_FD, count_event, NULL));
	T_NEED(nomux_core_enter(core));
	nomux_unmask(core);
	test_timer();
	test_notify();
	test_notify_oneself();
	test_access();
	test_board();
	test_eventfd();
	T_NEED(nomux_core_release(core));
	t_is(nomux_notify(nom, 1, EV_NOTIFY), -ENOENT, "a lease that has ended: ENOENT");
	nomux_close(nom);
	return t_end();
}
