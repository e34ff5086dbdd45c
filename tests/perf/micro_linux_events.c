// SPDX-License-Identifier: MIT
/* Linux's half of nom-micro: how a thread hears of events and timers, and switches. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "micro.h"

static void on_event(int sig, siginfo_t *info, void *context)
{
	micro.arrived = nomux_tsc();
}

/* ----------------------------------------------- from oneself to oneself --- */

static int tgkill_self(void)
{
	pid_t pid = getpid(), tid = gettid();
	unsigned int i;

	micro_handle(SIGUSR1, on_event);
	for (i = 0; i < micro.rounds; i++) {
		micro.begun = micro_now();
		syscall(SYS_tgkill, pid, tid, SIGUSR1);
		micro.sample[i] = micro.arrived - micro.begun;
	}
	signal(SIGUSR1, SIG_DFL);
	return 0;
}

/* A byte through a pipe that signals its reader: to the handler's first instructions. */
static int pipe_sigio(void)
{
	struct f_owner_ex owner = { F_OWNER_TID, gettid() };
	unsigned int i;
	char byte = 0;
	int fd[2], err = 0;

	if (pipe2(fd, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	if (fcntl(fd[0], F_SETOWN_EX, &owner) || fcntl(fd[0], F_SETFL, O_NONBLOCK | O_ASYNC))
		err = -errno;
	micro_handle(SIGIO, on_event);
	for (i = 0; i < micro.rounds && !err; i++) {
		micro.begun = micro_now();
		if (write(fd[1], &byte, 1) != 1)
			err = -EIO;
		micro.sample[i] = micro.arrived - micro.begun;
		if (read(fd[0], &byte, 1) != 1)
			err = -EIO;
	}
	signal(SIGIO, SIG_DFL);
	close(fd[0]);
	close(fd[1]);
	return err;
}

/* Without a handler: whoever expects the event reads it. */
static int pipe_write_read(void)
{
	unsigned int i;
	char byte = 0;
	int fd[2], err = 0;
	uint64_t t;

	if (pipe2(fd, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	for (i = 0; i < micro.rounds && !err; i++) {
		t = micro_now();
		if (write(fd[1], &byte, 1) != 1 || read(fd[0], &byte, 1) != 1)
			err = -EIO;
		micro.sample[i] = micro_now() - t;
	}
	close(fd[0]);
	close(fd[1]);
	return err;
}

static int eventfd_self(bool poll)
{
	int fd = eventfd(0, EFD_CLOEXEC), ep = epoll_create1(EPOLL_CLOEXEC), err = 0;
	struct epoll_event ev = { .events = EPOLLIN };
	uint64_t one = 1, t;
	unsigned int i;

	if (fd < 0 || ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev))
		return -errno;
	for (i = 0; i < micro.rounds && !err; i++) {
		t = micro_now();
		if (write(fd, &one, sizeof(one)) != sizeof(one) ||
		    (poll && epoll_wait(ep, &ev, 1, -1) != 1) ||
		    read(fd, &one, sizeof(one)) != sizeof(one))
			err = -EIO;
		micro.sample[i] = micro_now() - t;
	}
	close(fd);
	close(ep);
	return err;
}

static int eventfd_write_read(void)
{
	return eventfd_self(false);
}

static int eventfd_epoll_read(void)
{
	return eventfd_self(true);
}

static int signalfd_read(void)
{
	pid_t pid = getpid(), tid = gettid();
	struct signalfd_siginfo info;
	unsigned int i;
	sigset_t set;
	int fd, err = 0;
	uint64_t t;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd < 0)
		err = -errno;
	for (i = 0; i < micro.rounds && !err; i++) {
		t = micro_now();
		if (syscall(SYS_tgkill, pid, tid, SIGUSR1) || read(fd, &info, sizeof(info)) != sizeof(info))
			err = -EIO;
		micro.sample[i] = micro_now() - t;
	}
	if (fd >= 0)
		close(fd);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	return err;
}

static volatile unsigned int many;

static void on_many(int sig, siginfo_t *info, void *context)
{
	many++;
}

/* Sixteen signals sent while blocked; unblock, all handled. */
static int unblock_16(void)
{
	pid_t pid = getpid(), tid = gettid();
	unsigned int i;
	int sig, err = 0;
	sigset_t set;
	uint64_t t;

	sigemptyset(&set);
	for (sig = SIGRTMIN; sig < SIGRTMIN + 16; sig++) {
		sigaddset(&set, sig);
		micro_handle(sig, on_many);
	}
	for (i = 0; i < micro.rounds && !err; i++) {
		many = 0;
		sigprocmask(SIG_BLOCK, &set, NULL);
		for (sig = SIGRTMIN; sig < SIGRTMIN + 16; sig++)
			syscall(SYS_tgkill, pid, tid, sig);
		t = micro_now();
		sigprocmask(SIG_UNBLOCK, &set, NULL);
		micro.sample[i] = micro_now() - t;
		if (many != 16)
			err = -EIO;
	}
	for (sig = SIGRTMIN; sig < SIGRTMIN + 16; sig++)
		signal(sig, SIG_DFL);
	return err;
}

/* -------------------------------------------------------------- timers --- */

static const struct itimerspec soon = { .it_value.tv_nsec = 1 };

static int timerfd(void)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), err = 0;
	unsigned int i;
	uint64_t n, t;

	if (fd < 0)
		return -errno;
	for (i = 0; i < micro.rounds && !err; i++) {
		t = micro_now();
		if (timerfd_settime(fd, 0, &soon, NULL) || read(fd, &n, sizeof(n)) != sizeof(n))
			err = -EIO;
		micro.sample[i] = micro_now() - t;
	}
	close(fd);
	return err;
}

static int posix_timer(void)
{
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM };
	unsigned int i;
	timer_t timer;
	int err = 0;

	ev._sigev_un._tid = gettid();
	micro_handle(SIGALRM, on_event);
	if (timer_create(CLOCK_MONOTONIC, &ev, &timer))
		return -errno;
	for (i = 0; i < micro.rounds && !err; i++) {
		micro.arrived = 0;
		micro.begun = micro_now();
		if (timer_settime(timer, 0, &soon, NULL))
			err = -errno;
		while (!err && !micro.arrived)
			;
		micro.sample[i] = micro.arrived - micro.begun;
	}
	timer_delete(timer);
	signal(SIGALRM, SIG_DFL);
	return err;
}

static int nanosleep_1(void)
{
	unsigned int i;
	uint64_t t;

	for (i = 0; i < micro.rounds; i++) {
		t = micro_now();
		nanosleep(&soon.it_value, NULL);
		micro.sample[i] = micro_now() - t;
	}
	return 0;
}

/* ------------------------------------------------------------- threads --- */

static volatile bool stop;

static void *yielder(void *arg)
{
	while (!stop)
		sched_yield();
	return NULL;
}

/* Two threads on one CPU take turns: 16 there and back, so half of it. */
static int pthread_yield_pair(void)
{
	pthread_t thread;
	unsigned int i;
	uint64_t t;
	int err;

	stop = false;
	err = -pthread_create(&thread, NULL, yielder, NULL);
	if (err)
		return err;
	sched_yield();
	for (i = 0; i < micro.rounds; i++) {
		t = micro_now();
		MICRO_16(sched_yield());
		micro.sample[i] = (micro_now() - t) / 2;
	}
	stop = true;
	pthread_join(thread, NULL);
	return 0;
}

const struct micro_op micro_linux_event_ops[] = {
	{ "event-same-core/tgkill", "linux", 0, tgkill_self },
	{ "event-same-core/tgkill-reserved-core", "linux", MICRO_RESERVED, tgkill_self },
	{ "event-same-core/pipe-sigio", "linux", 0, pipe_sigio },
	{ "event-same-core/pipe-write-read", "linux", 0, pipe_write_read },
	{ "event-same-core/eventfd-write-read", "linux", 0, eventfd_write_read },
	{ "event-same-core/eventfd-epoll-read", "linux", 0, eventfd_epoll_read },
	{ "event-same-core/signalfd", "linux", 0, signalfd_read },
	{ "events-pending/unblock-16", "linux", MICRO_PER_16, unblock_16 },
	{ "timer-to-handler/timerfd-read", "linux", 0, timerfd },
	{ "timer-to-handler/posix-timer", "linux", 0, posix_timer },
	{ "timer-to-handler/nanosleep", "linux", 0, nanosleep_1 },
	{ "thread-switch/sched-yield", "linux", MICRO_PER_16, pthread_yield_pair },
	{ 0 },
};
