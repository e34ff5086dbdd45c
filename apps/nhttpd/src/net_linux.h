/* SPDX-License-Identifier: MIT */
/*
 * net_linux.h - what the parts of the kernel stack's data thread share
 *
 * net_linux.c has the loop and what comes in, net_linux_send.c what goes out,
 * net_linux_open.c the sockets that are listened on.  All of it is one thread's.
 */
#ifndef NHTTPD_NET_LINUX_H
#define NHTTPD_NET_LINUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct conn;
struct net_ops;
struct server;

#define NR_EVENTS 64
#define NR_IOV 32
#define SCRATCH_BYTES 65536
#define READ_BYTES 16384

/* conn.net_flags */
enum { NET_FINISH = 1, NET_ABORT = 2, NET_LISTED = 4, NET_HELD = 8, NET_SHUT = 16 };

/* What the socket did not take; one allocation, only when a peer does not read. */
struct backlog {
	unsigned nr, first;
	struct iovec iov[NR_IOV];
	char data[];
};

struct linux_net {
	struct server *srv;
	int epoll_fd, listen_fd, wake_fd;
	int listen6_fd;			/* -1: none; apart, so that IPv4 is not made dearer */
	bool accept_off;		/* out of kernel memory: accept again after the next tick */
	struct conn *doomed;		/* to be closed at the end of this turn */
	int site_fd;			/* memory file with the site's generations */
	char *site;			/* where it is mapped */
	size_t site_bytes;
	/* what the connection at hand has queued */
	unsigned nr_iov;
	uint32_t scratch_used;
	struct iovec iov[NR_IOV];
	char scratch[SCRATCH_BYTES];
	char in[READ_BYTES];
};

extern struct linux_net net;	/* one loop per process; zeroed */
extern const struct net_ops linux_ops;

/* net_linux_send.c: close @c at the end of this turn. */
void linux_doom(struct conn *c);
/* Write what the connection queued, and what it queues because of that. */
void linux_flush(struct conn *c);
/* The socket takes more: what it did not take before, first. */
void linux_flush_backlog(struct conn *c);

/* net_linux_open.c: listen at --ip, or at all addresses of both versions.  Exit status; @where: for people. */
int linux_open_listener(struct server *srv, char *where, size_t where_bytes);
/* Have epoll report listeners; 0 or -errno. */
int linux_listen_add(void);
/* No more connections. */
void linux_close_listeners(void);

#endif
