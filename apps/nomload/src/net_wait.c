// SPDX-License-Identifier: MIT
/* net_wait.c - see net_wait.h */
#include "net_wait.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

uint64_t net_clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

int net_wait_open(struct net_wait *w)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = NET_WAIT_TIMER };

	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	w->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (w->epoll_fd < 0 || w->timer_fd < 0 || epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->timer_fd, &ev))
		return -errno;
	return 0;
}

void net_wait_close(struct net_wait *w)
{
	if (w->epoll_fd >= 0)
		close(w->epoll_fd);
	if (w->timer_fd >= 0)
		close(w->timer_fd);
}

void net_wait_until(struct net_wait *w, uint64_t at_ns)
{
	struct itimerspec when = { .it_value = { (time_t)(at_ns / 1000000000ULL), (long)(at_ns % 1000000000ULL) } };

	if (at_ns == w->armed_ns)
		return;
	w->armed_ns = at_ns;
	timerfd_settime(w->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

bool net_wait_rang(struct net_wait *w)
{
	uint64_t drop;

	w->armed_ns = 0;
	return read(w->timer_fd, &drop, sizeof(drop)) >= 0 || errno == EAGAIN;
}
