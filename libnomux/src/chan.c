// SPDX-License-Identifier: MIT
/*
 * Channels.  Senders wait (it is full), or receivers wait (it is empty), or
 * nobody: never both, so one queue does.  An item goes straight from a sender to a
 * receiver that waits; without capacity that is the only way.
 */
#include <nomux/chan.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "thread_internal.h"

#define ITEM_MAX	(64UL << 10)
#define CAPACITY_MAX	(1UL << 20)

struct nomux_chan {
	void *domain;
	struct nomux_waitq q;		/* senders or receivers; its lock protects the channel */
	size_t item_bytes, capacity;
	size_t first, nr;		/* in the ring */
	bool closed;
	char ring[];
};

int nomux_chan_create(size_t item_bytes, size_t capacity, struct nomux_chan **out)
{
	struct nomux_chan *c;

	if (!out || !item_bytes || item_bytes > ITEM_MAX || capacity > CAPACITY_MAX)
		return -EINVAL;
	c = calloc(1, sizeof(*c) + item_bytes * capacity);
	if (!c)
		return -ENOMEM;
	c->item_bytes = item_bytes;
	c->capacity = capacity;
	*out = c;
	return 0;
}

static void *ring_at(struct nomux_chan *c, size_t i)
{
	return c->ring + (c->first + i < c->capacity ? c->first + i :
			  c->first + i - c->capacity) * c->item_bytes;
}

/* Pointers in words are what most channels carry. */
static void copy(const struct nomux_chan *c, void *to, const void *from)
{
	if (c->item_bytes == sizeof(uint64_t))
		memcpy(to, from, sizeof(uint64_t));
	else
		memcpy(to, from, c->item_bytes);
}

static struct nomux_thread *first_waiter(struct nomux_chan *c, enum wait_kind kind)
{
	return c->q.head && c->q.head->wait_kind == kind ? nomux__q_pop(&c->q) : NULL;
}

/* Return: 0 and whom to wake, -EPIPE, or -EAGAIN: wait. */
static int try_send(struct nomux_chan *c, const void *item, struct nomux_thread **wake)
{
	if (c->closed)
		return -EPIPE;
	*wake = first_waiter(c, WAIT_RECV);
	if (*wake)
		copy(c, (*wake)->wait_item, item);
	else if (c->nr < c->capacity)
		copy(c, ring_at(c, c->nr++), item);
	else
		return -EAGAIN;
	return 0;
}

static int try_recv(struct nomux_chan *c, void *item_out, struct nomux_thread **wake)
{
	if (c->nr) {
		copy(c, item_out, ring_at(c, 0));
		c->first = c->first + 1 < c->capacity ? c->first + 1 : 0;
		c->nr--;
		*wake = first_waiter(c, WAIT_SEND);
		if (*wake)
			copy(c, ring_at(c, c->nr++), (*wake)->wait_item);
		return 0;
	}
	*wake = first_waiter(c, WAIT_SEND);
	if (!*wake)
		return c->closed ? -EPIPE : -EAGAIN;
	copy(c, item_out, (*wake)->wait_item);
	return 0;
}

static int transfer(struct nomux_chan *c, enum wait_kind kind, void *item, uint64_t timeout_ns)
{
	struct nomux_thread *self = nomux_self(), *wake = NULL;
	int err;

	if (!c || !item || !self || !nomux__in_domain(&c->domain, self))
		return -EINVAL;
	nomux__enter(self->sched);
	q_lock(&c->q, self);
	err = kind == WAIT_SEND ? try_send(c, item, &wake) : try_recv(c, item, &wake);
	if (err == -EAGAIN && timeout_ns) {
		self->wait_item = item;
		err = nomux__wait(self, &c->q, kind, c, timeout_ns);	/* unlocks */
	} else {
		q_unlock(&c->q, self);
	}
	if (wake)
		nomux__ready(self->sched, wake);
	nomux__leave(self);
	return err;
}

int nomux_chan_send(struct nomux_chan *c, const void *item, uint64_t timeout_ns)
{
	return transfer(c, WAIT_SEND, (void *)(uintptr_t)item, timeout_ns);
}

int nomux_chan_recv(struct nomux_chan *c, void *item_out, uint64_t timeout_ns)
{
	return transfer(c, WAIT_RECV, item_out, timeout_ns);
}

int nomux_chan_close(struct nomux_chan *c)
{
	struct nomux_thread *self = nomux_self(), *t, *chain = NULL;
	int err = 0;

	if (!c || !self || !nomux__in_domain(&c->domain, self))
		return -EINVAL;
	nomux__enter(self->sched);
	q_lock(&c->q, self);
	if (c->closed)
		err = -EPIPE;
	c->closed = true;
	while ((t = nomux__q_pop(&c->q))) {
		t->wait_err = -EPIPE;
		t->next = chain;
		chain = t;
	}
	q_unlock(&c->q, self);
	nomux__ready_chain(self->sched, chain);
	nomux__leave(self);
	return err;
}

int nomux_chan_destroy(struct nomux_chan *c)
{
	if (!c)
		return -EINVAL;
	if (c->q.head)
		return -EBUSY;
	free(c);
	return 0;
}
