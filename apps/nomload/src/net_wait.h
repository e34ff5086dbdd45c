/* SPDX-License-Identifier: MIT */
/* net_wait.h - what the load's thread waits with: a clock, epoll, and a timer in it */
#ifndef NOMLOAD_NET_WAIT_H
#define NOMLOAD_NET_WAIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#define NET_WAIT_TIMER UINT32_MAX	/* data.u32 of its event */

struct net_wait {
	int epoll_fd, timer_fd;
	uint64_t armed_ns;
};

#define NET_WAIT_INIT { .epoll_fd = -1, .timer_fd = -1 }

uint64_t net_clock_ns(void);
int net_wait_open(struct net_wait *w);		/* 0, or -errno; closed by net_wait_close() in both cases */
void net_wait_close(struct net_wait *w);
void net_wait_until(struct net_wait *w, uint64_t at_ns);
bool net_wait_rang(struct net_wait *w);		/* after its event; false: the timer cannot be read */

#endif
