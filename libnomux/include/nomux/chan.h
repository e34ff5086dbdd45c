/* SPDX-License-Identifier: MIT */
/* Channels: items of one size, passed between user threads in order. */
#ifndef NOMUX_CHAN_H
#define NOMUX_CHAN_H

#include <nomux/api.h>

struct nomux_chan;

/**
 * nomux_chan_create - make a channel
 * @item_bytes: size of an item, 1 .. 64 KiB
 * @capacity: items it holds while nobody receives, at most 2^20; 0: a sender
 *	waits for its receiver
 * @out: the channel; give back with nomux_chan_destroy()
 *
 * The first user decides to which kernel thread or group it belongs.
 * Return: 0, -EINVAL, -ENOMEM.
 */
NOMUX_API int nomux_chan_create(size_t item_bytes, size_t capacity, struct nomux_chan **out);

/**
 * nomux_chan_send - send an item, waiting for room
 * @c: channel
 * @item: copied
 * @timeout_ns: longest wait; 0: do not wait; or NOMUX_FOREVER
 *
 * Return: 0, -EAGAIN (full, and @timeout_ns is 0), -ETIMEDOUT, -EPIPE (closed),
 * -EDEADLK, -EINVAL (another kernel thread's or group's).
 */
NOMUX_API int nomux_chan_send(struct nomux_chan *c, const void *item, uint64_t timeout_ns);

/**
 * nomux_chan_recv - receive an item, waiting for one
 * @c: channel
 * @item_out: where it goes
 * @timeout_ns: longest wait; 0: do not wait; or NOMUX_FOREVER
 *
 * Return: 0, -EAGAIN, -ETIMEDOUT, -EPIPE (closed, and nothing is left in it),
 * -EDEADLK, -EINVAL.
 */
NOMUX_API int nomux_chan_recv(struct nomux_chan *c, void *item_out, uint64_t timeout_ns);

/** nomux_chan_close - no more sends; who waits gets -EPIPE; Return: 0, -EINVAL, -EPIPE (was) */
NOMUX_API int nomux_chan_close(struct nomux_chan *c);

/** nomux_chan_destroy - free it, and what is in it; Return: 0, -EBUSY (somebody waits), -EINVAL */
NOMUX_API int nomux_chan_destroy(struct nomux_chan *c);

#endif /* NOMUX_CHAN_H */
