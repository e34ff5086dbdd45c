/* SPDX-License-Identifier: MIT */
/*
 * A channel between two processes (thesis 3.7): bulk data in shared memory, a
 * doorbell only when the peer sleeps.
 *
 *	one side		the other, by a unix socket between the two
 *	nomux_ipc_create()	nomux_ipc_accept()
 *	nomux_ipc_reserve()	nomux_ipc_peek()	in place: no copy
 *	nomux_ipc_commit()	nomux_ipc_consume()
 *	nomux_ipc_flush()
 *	nomux_ipc_send()	nomux_ipc_recv()	the same with a copy
 *	nomux_ipc_call()	nomux_ipc_reply()	request and response
 *	nomux_ipc_wait()	nomux_ipc_wait()	sleep
 *
 * Each direction is a ring of slots with one writer and one reader; both sides
 * may do all of the above at any time.  Sending and receiving make no system
 * call, take no lock and allocate nothing.  A side that found nothing to do may
 * sleep in nomux_ipc_wait(): then, and only then, the peer rings its doorbell,
 * a notification when it sleeps on a leased core, a futex otherwise.
 *
 * The peer is not trusted.  The memory is sealed, so that it cannot shrink;
 * each index and length that the peer writes is read once and checked, and a
 * bad one breaks the channel: -EPROTO from then on.  What lies in a slot can
 * change while it is looked at: copy before checking.  A peer may of course be
 * slow, send nonsense, or ring for nothing.
 *
 * Threads: an end of a channel belongs to one thread at a time.  Works without
 * nom, too.
 */
#ifndef NOMUX_IPC_H
#define NOMUX_IPC_H

#include <errno.h>
#include <nomux/api.h>

struct nomux_core;
struct nomux_ctx;

/**
 * struct nomux_ipc_opts - what a channel is like, and how this side sleeps
 * @sz: sizeof(struct nomux_ipc_opts)
 * @nr_slots: messages a ring holds, a power of two from 2 to 65536; 0: 64
 * @slot_bytes: longest message, 1 .. 1 MiB; 0: 496.  A ring may have 32 MiB.
 * @timeout_ns: how long the set-up may take; 0: 5 s
 * @ctx: to ring a peer that sleeps on a leased core; NULL refuses such a peer
 * @core: this side sleeps on this leased core, whose notify_mask has @event;
 *	needs @ctx.  NULL: it sleeps in a futex
 * @event: of @core, for the channel alone; the library sets its handler
 *
 * @nr_slots and @slot_bytes are the creator's to choose: 0 in an accepter's.
 */
struct nomux_ipc_opts {
	size_t sz;
	uint32_t nr_slots;
	uint32_t slot_bytes;
	uint64_t timeout_ns;
	struct nomux_ctx *ctx;
	struct nomux_core *core;
	uint32_t event;
};

/* What a message is; enum nomux_ipc_kind as the peer says it, so anything. */
enum nomux_ipc_kind {
	NOMUX_IPC_MESSAGE,
	NOMUX_IPC_REQUEST,
	NOMUX_IPC_RESPONSE,
};

/* What to wait for. */
#define NOMUX_IPC_MSG	(1U << 0)	/* a message has come */
#define NOMUX_IPC_ROOM	(1U << 1)	/* there is room to send one */

/**
 * struct nomux_ipc_side - one side's words in the shared memory
 * @head: messages this side has sent; owner writes
 * @tail: messages this side has taken out of the peer's ring; owner writes
 * @sleep: NOMUX_IPC_MSG | NOMUX_IPC_ROOM while this side sleeps, also a futex;
 *	the owner stores it, the peer exchanges it with 0 and rings
 * @closed: 1 after nomux_ipc_destroy(); owner writes
 *
 * Both indices run freely and wrap.
 */
struct nomux_ipc_side {
	uint32_t head __attribute__((aligned(64)));
	uint32_t tail __attribute__((aligned(64)));
	uint32_t sleep __attribute__((aligned(64)));
	uint32_t closed;
};

/* A slot in the shared memory; all of it is the sender's to write. */
struct nomux_ipc_slot {
	uint32_t bytes;
	uint32_t kind;
	uint64_t tag;
	unsigned char data[];
};

/**
 * struct nomux_ipc - an end of a channel; read it through the functions below
 *
 * Public for their sake, hence part of the ABI.  All of it is private memory:
 * what this side knows of indices never comes back from the shared one.
 */
struct nomux_ipc {
	uint32_t tx_head;	/* next slot to fill */
	uint32_t tx_tail;	/* the peer's, when last looked at */
	uint32_t tx_shown;	/* what the peer was shown of tx_head */
	uint32_t rx_tail;	/* next slot to read */
	uint32_t rx_head;	/* the peer's, when last looked at */
	uint32_t rx_shown;	/* what the peer was shown of rx_tail */
	uint32_t nr_slots;
	uint32_t batch;		/* how many slots are given back at once */
	uint32_t stride;	/* from slot to slot */
	uint32_t slot_bytes;
	int32_t err;		/* 0, or why the channel is broken */
	uint32_t ring_for;	/* what of the peer's sleep a flush ends */
	char *tx, *rx;		/* rings, shared */
	struct nomux_ipc_side *mine, *peers;	/* shared */
};

/**
 * struct nomux_ipc_msg - a message where it lies
 * @data: in shared memory: the peer may still write there
 * @bytes: checked: at most slot_bytes
 * @kind: enum nomux_ipc_kind, unchecked
 * @tag: of a request, which its response has to carry
 */
struct nomux_ipc_msg {
	const void *data;
	uint32_t bytes;
	uint32_t kind;
	uint64_t tag;
};

/**
 * struct nomux_ipc_stats - what an end has seen
 * @doorbells: system calls made to wake the peer
 * @sleeps: system calls made to sleep
 * @strays: responses nobody waited for
 */
struct nomux_ipc_stats {
	uint64_t doorbells;
	uint64_t sleeps;
	uint64_t strays;
};

/**
 * nomux_ipc_create - make a channel and offer it to the peer
 * @sock: connected unix socket, stream or seqpacket; on success the channel's,
 *	which closes it: that is how each side hears of the other's death
 * @opts: options, or NULL for defaults
 * @ipc_out: this end; give back with nomux_ipc_destroy()
 *
 * Waits for the peer's nomux_ipc_accept().  Each side that sleeps on a leased
 * core is rung once, so that a missing permission shows now.
 *
 * Return: 0, -ETIMEDOUT, -EPIPE (the peer went away), -EPROTO (it speaks
 * something else), -EINVAL, -EOPNOTSUPP (a side sleeps on a leased core and the
 * other has no @ctx), -EPERM (and may not notify it, see nomux_notify(3)),
 * -ENOMEM, -EMFILE.
 */
NOMUX_API int nomux_ipc_create(int sock, const struct nomux_ipc_opts *opts,
			       struct nomux_ipc **ipc_out);

/**
 * nomux_ipc_accept - take the channel that the peer offers
 * @sock: as for nomux_ipc_create()
 * @opts: likewise, but @nr_slots and @slot_bytes must be 0
 * @ipc_out: this end; give back with nomux_ipc_destroy()
 *
 * Return: as nomux_ipc_create(); -EPROTO, too, for memory that is not sealed
 * or not of the size that was said.
 */
NOMUX_API int nomux_ipc_accept(int sock, const struct nomux_ipc_opts *opts,
			       struct nomux_ipc **ipc_out);

/**
 * nomux_ipc_destroy - close an end
 * @ipc: the end, or NULL
 *
 * The peer still gets what was flushed, then -EPIPE.  Before nomux_core_release()
 * of the core it sleeps on.  A child after fork() has no end, not even to destroy.
 */
NOMUX_API void nomux_ipc_destroy(struct nomux_ipc *ipc);

/**
 * nomux_ipc_wait - sleep until something can be done
 * @ipc: the end
 * @what: NOMUX_IPC_MSG, NOMUX_IPC_ROOM or both
 * @max_ns: longest sleep; UINT64_MAX: no bound
 *
 * Flushes first.  Returns at once when there is something to do; may return
 * early: check again.  On a leased core, its holder; handlers run meanwhile.
 *
 * Return: NOMUX_IPC_* of what can be done, 0 if nothing can (yet), -EPIPE (the
 * peer is gone and all its messages are read), -EPROTO, -EINVAL, -EPERM (not
 * the holder of the core).
 */
NOMUX_API int nomux_ipc_wait(struct nomux_ipc *ipc, unsigned int what, uint64_t max_ns);

/**
 * nomux_ipc_check - is the peer still there?
 * @ipc: the end
 *
 * For those who only poll: a peer that was killed leaves no word in memory.
 * One system call.
 * Return: 0, -EPIPE, -EPROTO.
 */
NOMUX_API int nomux_ipc_check(struct nomux_ipc *ipc);

/** nomux_ipc_stats - counters of this end */
NOMUX_API void nomux_ipc_stats(const struct nomux_ipc *ipc, struct nomux_ipc_stats *out);

/**
 * nomux_ipc_send - send a copy of a message
 * @ipc: the end
 * @data: the message
 * @bytes: its length, 0 .. slot_bytes
 *
 * Return: 0, -EAGAIN (no room), -EMSGSIZE, -EPROTO, -EPIPE, or what a doorbell
 * failed with (the message is sent all the same): see nomux_ipc_flush().
 */
NOMUX_API int nomux_ipc_send(struct nomux_ipc *ipc, const void *data, size_t bytes);

/**
 * nomux_ipc_recv - take a copy of the next message
 * @ipc: the end
 * @buf: where to
 * @cap: room there
 *
 * Return: the message's length, -EAGAIN (none), -EMSGSIZE (it is longer than
 * @cap, and stays), -EPIPE (none, and the peer has closed), -EPROTO.
 */
NOMUX_API int nomux_ipc_recv(struct nomux_ipc *ipc, void *buf, size_t cap);

/* ------------------------------------------- requests and responses --- */

/**
 * nomux_ipc_call_start - send a request
 * @ipc: the end
 * @req: the request
 * @bytes: its length
 * @buf: where the response goes; the caller's until it has the result
 * @cap: room there
 * @tag_out: names the call
 *
 * As many calls may be under way as a ring has slots; responses may come in
 * any order.
 * Return: 0, -EAGAIN (no room, or that many are under way), or as
 * nomux_ipc_send().
 */
NOMUX_API int nomux_ipc_call_start(struct nomux_ipc *ipc, const void *req, size_t bytes,
				   void *buf, size_t cap, uint64_t *tag_out);

/**
 * nomux_ipc_call_result - has the response come?
 * @ipc: the end
 * @tag: of nomux_ipc_call_start()
 *
 * Takes the responses that are there, of this call or another.
 * Return: the response's length: the call is over; -EMSGSIZE: likewise, but it
 * did not fit (the buffer has its beginning); -EAGAIN: not yet; -EBUSY: not yet,
 * and a request or message of the peer stands first in the ring, to be taken
 * with nomux_ipc_peek(); -ENOENT (no such call), -EPIPE, -EPROTO: no response
 * will come.
 */
NOMUX_API int nomux_ipc_call_result(struct nomux_ipc *ipc, uint64_t tag);

/**
 * nomux_ipc_call_cancel - do not wait for a response any longer
 * @ipc: the end
 * @tag: of nomux_ipc_call_start()
 *
 * A response that comes all the same is dropped.
 * Return: 0, -ENOENT.
 */
NOMUX_API int nomux_ipc_call_cancel(struct nomux_ipc *ipc, uint64_t tag);

/**
 * nomux_ipc_call - send a request and wait for its response
 * @ipc: the end
 * @req: the request
 * @bytes: its length
 * @buf: where the response goes
 * @cap: room there
 * @timeout_ns: longest wait; UINT64_MAX: no bound
 *
 * Polls a while, then sleeps.
 * Return: the response's length, -ETIMEDOUT, or as nomux_ipc_call_start() and
 * nomux_ipc_call_result().
 */
NOMUX_API int nomux_ipc_call(struct nomux_ipc *ipc, const void *req, size_t bytes,
			     void *buf, size_t cap, uint64_t timeout_ns);

/**
 * nomux_ipc_reply - answer a request
 * @ipc: the end
 * @tag: the request's
 * @data: the response
 * @bytes: its length
 *
 * Return: as nomux_ipc_send().
 */
NOMUX_API int nomux_ipc_reply(struct nomux_ipc *ipc, uint64_t tag, const void *data, size_t bytes);

/* ---------------------------------------------------- the data path --- */

/* Out of line: ring the peer, which sleeps; show it what was taken; look for a
 * last message of a peer that has closed; break the channel.
 */
NOMUX_API int nomux__ipc_ring(struct nomux_ipc *ipc);
NOMUX_API void nomux__ipc_show_tail(struct nomux_ipc *ipc);
NOMUX_API int nomux__ipc_last(struct nomux_ipc *ipc);
NOMUX_API int nomux__ipc_break(struct nomux_ipc *ipc);

static inline struct nomux_ipc_slot *nomux__ipc_slot(const struct nomux_ipc *ipc, char *ring,
						     uint32_t index)
{
	return (struct nomux_ipc_slot *)(void *)
		(ring + (size_t)(index & (ipc->nr_slots - 1)) * ipc->stride);
}

/* No room by what is known: look at the peer's tail.  0, -EAGAIN, -EPROTO. */
static inline int nomux__ipc_room(struct nomux_ipc *ipc)
{
	uint32_t tail;

	if (ipc->err)
		return ipc->err;
	if (ipc->rx_shown != ipc->rx_tail)
		nomux__ipc_show_tail(ipc);	/* the peer may wait for it as we do */
	/* The peer has read the slots it gives back; partner: nomux__ipc_show_tail() */
	tail = __atomic_load_n(&ipc->peers->tail, __ATOMIC_ACQUIRE);
	if (ipc->tx_shown - tail > ipc->nr_slots)
		return nomux__ipc_break(ipc);	/* it cannot have read more than was shown */
	ipc->tx_tail = tail;
	return ipc->tx_head - tail < ipc->nr_slots ? 0 : -EAGAIN;
}

/* Nothing to read by what is known: look at the peer's head.  0, -EAGAIN, ... */
static inline int nomux__ipc_more(struct nomux_ipc *ipc)
{
	uint32_t head;

	if (ipc->err)
		return ipc->err;
	if (ipc->rx_shown != ipc->rx_tail)
		nomux__ipc_show_tail(ipc);
	/* The slots are filled; partner: nomux_ipc_flush() */
	head = __atomic_load_n(&ipc->peers->head, __ATOMIC_ACQUIRE);
	if (head - ipc->rx_tail > ipc->nr_slots)
		return nomux__ipc_break(ipc);
	ipc->rx_head = head;
	if (head != ipc->rx_tail)
		return 0;
	return __atomic_load_n(&ipc->peers->closed, __ATOMIC_RELAXED) ? nomux__ipc_last(ipc) : -EAGAIN;
}

/**
 * nomux_ipc_reserve - where the next message may be written
 * @ipc: the end
 *
 * Return: slot_bytes of shared memory, aligned to 16, until nomux_ipc_commit();
 * NULL when there is no room or the channel is broken (nomux_ipc_error()).
 */
static inline void *nomux_ipc_reserve(struct nomux_ipc *ipc)
{
	if (__builtin_expect(ipc->tx_head - ipc->tx_tail >= ipc->nr_slots, 0) &&
	    nomux__ipc_room(ipc))
		return NULL;
	return nomux__ipc_slot(ipc, ipc->tx, ipc->tx_head)->data;
}

/**
 * nomux_ipc_commit_tagged - the reserved slot is filled
 * @ipc: the end
 * @bytes: length of the message
 * @kind: enum nomux_ipc_kind
 * @tag: of a request or response
 *
 * The peer sees it with the next nomux_ipc_flush(), so several cost one.
 * Return: 0, -EMSGSIZE, -EAGAIN (no slot was reserved).
 */
static inline int nomux_ipc_commit_tagged(struct nomux_ipc *ipc, size_t bytes, uint32_t kind,
					  uint64_t tag)
{
	struct nomux_ipc_slot *slot = nomux__ipc_slot(ipc, ipc->tx, ipc->tx_head);

	if (bytes > ipc->slot_bytes)
		return -EMSGSIZE;
	if (ipc->tx_head - ipc->tx_tail >= ipc->nr_slots)
		return -EAGAIN;
	slot->bytes = (uint32_t)bytes;
	slot->kind = kind;
	slot->tag = tag;
	ipc->tx_head++;
	return 0;
}

/** nomux_ipc_commit - the reserved slot has a message of this length */
static inline int nomux_ipc_commit(struct nomux_ipc *ipc, size_t bytes)
{
	return nomux_ipc_commit_tagged(ipc, bytes, NOMUX_IPC_MESSAGE, 0);
}

/**
 * nomux_ipc_flush - show the peer what was committed; wake it if it sleeps
 * @ipc: the end
 *
 * The exchange orders head before the load of sleep; its partner is in
 * nomux_ipc_wait(), which stores sleep and then looks at head.
 * Return: 0; -EBUSY: the peer sleeps and cannot be rung just now, as its lease
 * had too many notifications: flush again later; or what else the doorbell
 * failed with.  The messages are in the ring all the same.
 */
static inline int nomux_ipc_flush(struct nomux_ipc *ipc)
{
	if (ipc->tx_shown == ipc->tx_head && ipc->ring_for == NOMUX_IPC_MSG)
		return ipc->err;
	ipc->tx_shown = ipc->tx_head;
	__atomic_exchange_n(&ipc->mine->head, ipc->tx_head, __ATOMIC_SEQ_CST);
	if (__builtin_expect(__atomic_load_n(&ipc->peers->sleep, __ATOMIC_RELAXED) & ipc->ring_for, 0))
		return nomux__ipc_ring(ipc);
	return 0;
}

/**
 * nomux_ipc_peek - the next message, where it lies
 * @ipc: the end
 * @msg_out: valid until nomux_ipc_consume()
 *
 * Return: 0, -EAGAIN (none), -EPIPE (none, and the peer has closed), -EPROTO.
 */
static inline int nomux_ipc_peek(struct nomux_ipc *ipc, struct nomux_ipc_msg *msg_out)
{
	const struct nomux_ipc_slot *slot;
	int err;

	if (ipc->rx_head == ipc->rx_tail) {
		err = nomux__ipc_more(ipc);
		if (err)
			return err;
	}
	slot = nomux__ipc_slot(ipc, ipc->rx, ipc->rx_tail);
	/* Once: the peer may change it. */
	msg_out->bytes = __atomic_load_n(&slot->bytes, __ATOMIC_RELAXED);
	if (msg_out->bytes > ipc->slot_bytes) {
		nomux__ipc_break(ipc);
		return -EPROTO;
	}
	msg_out->kind = __atomic_load_n(&slot->kind, __ATOMIC_RELAXED);
	msg_out->tag = __atomic_load_n(&slot->tag, __ATOMIC_RELAXED);
	msg_out->data = slot->data;
	return 0;
}

/**
 * nomux_ipc_consume - done with the message of nomux_ipc_peek()
 * @ipc: the end
 *
 * Slots go back to the peer a quarter of the ring at a time, and when the ring
 * is found empty.
 */
static inline void nomux_ipc_consume(struct nomux_ipc *ipc)
{
	if (ipc->rx_head == ipc->rx_tail)
		return;
	ipc->rx_tail++;
	if (ipc->rx_tail - ipc->rx_shown >= ipc->batch)
		nomux__ipc_show_tail(ipc);
}

/** nomux_ipc_error - 0, or -EPROTO once the peer broke the rules */
static inline int nomux_ipc_error(const struct nomux_ipc *ipc)
{
	return ipc->err;
}

#endif /* NOMUX_IPC_H */
