/* SPDX-License-Identifier: MIT */
/* busy_poll.h - have the kernel poll the device instead of waiting for interrupts */
#ifndef NHTTPD_BUSY_POLL_H
#define NHTTPD_BUSY_POLL_H

/**
 * busy_poll_set - let epoll_wait and reads poll the device
 * @epoll_fd: what the server waits on
 * @listen_fd: accepted sockets inherit from it
 * @us: how long to poll, above 0
 *
 * Polling is preferred to interrupts, which stay off between polls as long as
 * the device's napi_defer_hard_irqs and gro_flush_timeout allow.
 *
 * Return: 0 or -errno; -ENOTTY on a kernel before 6.9, whose epoll cannot be told.
 */
int busy_poll_set(int epoll_fd, int listen_fd, unsigned us);

#endif
