// SPDX-License-Identifier: MIT
/*
 * busy_poll.c - have the kernel poll the device instead of waiting for interrupts
 *
 * A server that sleeps in epoll_wait polls there, by epoll's own parameters;
 * the sockets' are for reads that block, and for the preference that the
 * device's instance sees.  A file of its own: <linux/eventpoll.h>, which alone
 * has the parameters, cannot be included beside <sys/epoll.h>.
 */
#include "busy_poll.h"

#include <errno.h>
#include <linux/eventpoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#ifndef SO_PREFER_BUSY_POLL
#define SO_PREFER_BUSY_POLL 69
#endif

#define BUDGET 64	/* packets a poll; more needs a privilege */

int busy_poll_set(int epoll_fd, int listen_fd, unsigned us)
{
	struct epoll_params p = { .busy_poll_usecs = us, .busy_poll_budget = BUDGET, .prefer_busy_poll = 1 };
	int one = 1, value = (int)us;

	if (setsockopt(listen_fd, SOL_SOCKET, SO_BUSY_POLL, &value, sizeof(value)) ||
	    setsockopt(listen_fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, &one, sizeof(one)) ||
	    ioctl(epoll_fd, EPIOCSPARAMS, &p))
		return -errno;
	return 0;
}
