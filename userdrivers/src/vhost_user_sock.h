/* SPDX-License-Identifier: MIT */
/*
 * The socket to a vhost-user back-end, front-end's side: requests, and replies that
 * are what was asked for.
 *
 * Messages are synchronous.  A back-end that breaks the protocol, or does not answer in
 * time, loses the connection with the first such answer: what comes later could not be
 * told from the reply to the next request.  Each function logs why it fails, but where
 * there is no connection any more.
 */
#ifndef NOMDRV_VHOST_USER_SOCK_H
#define NOMDRV_VHOST_USER_SOCK_H

#include <stdbool.h>
#include <stdint.h>

struct vhu_msg;

/**
 * struct vhu_sock - a connection, or none
 * @fd: -1: none
 * @path: of the back-end's socket
 * @ack: each message is acknowledged
 * @wait, @wait_arg: of struct vnet_opts
 */
struct vhu_sock {
	int fd;
	char path[108];
	bool ack;
	void (*wait)(void *arg);
	void *wait_arg;
};

/* A new connection, the old one closed: 0 or -errno. */
int vhu_sock_connect(struct vhu_sock *s);
void vhu_sock_close(struct vhu_sock *s);
/* Whether the back-end is there, as far as the socket tells. */
bool vhu_sock_alive(struct vhu_sock *s);

/*
 * @request with @size bytes of payload; the reply, into @m, has at least @min.
 * 0, -EPROTO, -ETIMEDOUT, -ECONNRESET, -ENOTCONN or another of the socket's errors.
 */
int vhu_sock_ask(struct vhu_sock *s, struct vhu_msg *m, uint32_t request, uint32_t size, uint32_t min);
/* One without a reply of its own, and with descriptor @fd unless negative; -EPROTO also when it is refused. */
int vhu_sock_tell(struct vhu_sock *s, struct vhu_msg *m, uint32_t request, uint32_t size, int fd);

#endif /* NOMDRV_VHOST_USER_SOCK_H */
