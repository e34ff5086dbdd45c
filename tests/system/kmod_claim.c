// SPDX-License-Identifier: MIT
/*
 * kmod_claim: who waits for a core gets it - in order, from the hand of who gives
 * it back, before its deadline or not at all - and who may notify whom.
 * Needs root and a reserved core; all that wait here want the same one.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "lib/kmod.h"

static int nom;
static const struct nom_board *board;
static int cpu;
static volatile int *turn;	/* shared: how many have been served */
static struct k_lease l;	/* children close its descriptor, or it would not end */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static int claim_wait(int core, uint64_t deadline_ns, struct k_lease *out)
{
	struct nom_core_claim c = { .size = sizeof(c), .cpu = core, .flags = NOM_CLAIM_WAIT,
				    .deadline_ns = deadline_ns };

	return k_claim_by(nom, &c, out);
}

static bool asleep(void *pid)
{
	char path[64], text[256], *state;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", *(pid_t *)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n < 0 ? 0 : n] = 0;
	state = strrchr(text, ')');
	return state && state[2] == 'S';
}

static bool is_free(void *unused)
{
	struct nom_board_core c;
	unsigned int i;

	for (i = 0; !k_board_read(board, NOM_BOARD_CORES, i, &c, sizeof(c)); i++)
		if ((int)c.cpu == cpu)
			return c.state == NOM_CORE_FREE;
	return false;
}

static void alone(void)
{
	uint64_t began = now_ns();
	struct k_lease l2;

	t_eq(claim_wait(4095, 0, &l), -ENOENT, "no use in waiting for what is no core");
	t_eq(claim_wait(cpu, 0, &l), 0, "no wait for what is free");
	t_eq(claim_wait(cpu, 1, &l2), -ETIMEDOUT, "a deadline long past");
	t_eq(claim_wait(cpu, now_ns() + 30000000, &l2), -ETIMEDOUT, "a deadline in 30 ms");
	t_ok(now_ns() - began >= 30000000, "not early");
	k_drop(&l);
	t_ok(is_free(NULL), "who has given up is not served");
}

/* --- several that wait --- */

static int wait_for_turn(void *arg)
{
	int number = (int)(intptr_t)arg;

	close(l.fd);
	if (claim_wait(number & 1 ? NOM_CPU_ANY : cpu, 0, &l))
		return 100;
	if ((*turn)++ != number)
		return 101;
	/* every other one works there, the others give the claim back as it is */
	if (number & 2 && (k_enter(&l, 0) || l.sh->cpu != (unsigned int)cpu))
		return 102;
	t_sleep_ms(5);
	return 0;
}

static void queue(void)
{
	enum { N = 8 };
	struct k_lease thief;
	pid_t pid[N];
	int i, bad = 0;

	t_eq(k_claim(nom, cpu, 0, &l), 0, "claim");
	*turn = 0;
	for (i = 0; i < N; i++) {
		pid[i] = t_spawn(wait_for_turn, (void *)(intptr_t)i);
		bad += !t_wait(asleep, &pid[i], 5000);
	}
	t_eq(bad, 0, "%d wait", N);
	t_eq(*turn, 0, "nobody is served while it is held");
	t_eq(k_claim(nom, cpu, 0, &thief), -EBUSY, "who does not wait is told so");
	k_drop(&l);
	for (i = 0; i < 200 && *turn < N; i++) {
		if (!k_claim(nom, cpu, 0, &thief)) {
			if (*turn < N)
				bad++;
			k_drop(&thief);
		}
		t_sleep_ms(1);
	}
	t_eq(bad, 0, "nobody comes in between");
	for (i = 0; i < N; i++)
		t_eq(t_reap(pid[i]), 0, "number %d was served in its turn", i);
	t_ok(t_wait(is_free, NULL, 5000), "then it is free");
}

static int wait_for_ever(void *unused)
{
	close(l.fd);
	signal(SIGUSR1, SIG_IGN);
	return -claim_wait(cpu, 0, &l);
}

static void nothing(int sig)
{
}

static int wait_interrupted(void *unused)
{
	struct sigaction sa = { .sa_handler = nothing };

	close(l.fd);
	sigaction(SIGUSR1, &sa, NULL);
	return -claim_wait(cpu, 0, &l);
}

static int wait_restarted(void *unused)
{
	struct sigaction sa = { .sa_handler = nothing, .sa_flags = SA_RESTART };

	close(l.fd);
	sigaction(SIGUSR1, &sa, NULL);
	return -claim_wait(cpu, 0, &l);
}

static void ends(void)
{
	pid_t pid;

	t_eq(k_claim(nom, cpu, 0, &l), 0, "claim");
	pid = t_spawn(wait_for_ever, NULL);
	t_ok(t_wait(asleep, &pid, 5000), "one waits");
	kill(pid, SIGKILL);
	t_eq(t_reap(pid), 128 + SIGKILL, "kill -9 of who waits");
	pid = t_spawn(wait_interrupted, NULL);
	t_ok(t_wait(asleep, &pid, 5000), "another waits");
	kill(pid, SIGUSR1);
	t_eq(t_reap(pid), EINTR, "a signal ends the wait");
	pid = t_spawn(wait_restarted, NULL);
	t_ok(t_wait(asleep, &pid, 5000), "a third waits");
	kill(pid, SIGUSR1);
	t_sleep_ms(50);
	t_ok(asleep(&pid), "with SA_RESTART it goes on");
	k_drop(&l);
	t_eq(t_reap(pid), 0, "and is served");
	t_ok(t_wait(is_free, NULL, 5000), "the dead are not served: it is free");
}

/* The holder dies; the core comes to who waits, through the same door. */
static int hold_and_spin(void *unused)
{
	if (k_claim(nom, cpu, 0, &l) || k_enter(&l, 0))
		return 1;
	*turn = 1;
	for (;;)
		__asm__ volatile("");
}

static bool has_turned(void *unused)
{
	return *turn == 1;
}

static void inherit(void)
{
	pid_t holder, waiter;

	*turn = 0;
	holder = t_spawn(hold_and_spin, NULL);
	t_ok(t_wait(has_turned, NULL, 5000), "somebody spins there");
	waiter = t_spawn(wait_for_ever, NULL);
	t_ok(t_wait(asleep, &waiter, 5000), "one waits");
	kill(holder, SIGKILL);
	t_eq(t_reap(holder), 128 + SIGKILL, "kill -9 of the holder");
	t_eq(t_reap(waiter), 0, "who waited has the core");
	t_ok(t_wait(is_free, NULL, 5000), "then it is free");
}

/* --- who may notify --- */

struct asker {
	int uid;
	uint64_t handle;
	unsigned int event;
};

static int notify_as(void *arg)
{
	const struct asker *a = arg;

	if (setgid(65533) || setuid(a->uid))
		return 126;
	return -k_notify(nom, a->handle, a->event);
}

static int as(int uid, uint64_t handle, unsigned int event)
{
	struct asker a = { uid, handle, event };

	return -t_child(notify_as, &a);
}

static void permissions(void)
{
	struct nom_core_claim c = { .size = sizeof(c), .cpu = cpu, .notify_mask = 1ULL << 5 };

	t_eq(k_claim_by(nom, &c, &l), 0, "claim for root alone");
	t_eq(as(1001, l.handle, 5), -EPERM, "another user may not notify");
	k_drop(&l);
	c.flags = NOM_CLAIM_NOTIFY_UID;
	c.notify_uid = 1001;
	t_eq(k_claim_by(nom, &c, &l), 0, "claim that lets user 1001 in");
	t_eq(as(1001, l.handle, 5), 0, "user 1001 may notify");
	t_eq(as(1001, l.handle, 6), -EPERM, "but no event that is not open");
	t_eq(as(1002, l.handle, 5), -EPERM, "user 1002 may not");
	t_eq(k_notify(nom, l.handle, 5), 0, "the owner may");
	t_eq(l.sh->count[5], 2, "what was allowed has come");
	k_drop(&l);
	c.flags = NOM_CLAIM_NOTIFY_ANY;
	c.notify_uid = 0;
	t_eq(k_claim_by(nom, &c, &l), 0, "claim that lets everybody in");
	t_eq(as(1001, l.handle, 5), 0, "user 1001 may notify");
	t_eq(as(1002, l.handle, 5), 0, "user 1002 may");
	t_eq(as(1002, l.handle, 4), -EPERM, "but no event that is not open");
	k_drop(&l);
}

int main(void)
{
	struct nom_board_core c;

	nom = k_open(O_RDWR);
	board = k_board(nom);
	turn = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (k_board_read(board, NOM_BOARD_CORES, 0, &c, sizeof(c)) || c.state != NOM_CORE_FREE)
		t_bail("the first reserved core is not free");
	cpu = c.cpu;
	alone();
	queue();
	ends();
	inherit();
	permissions();
	return t_done();
}
