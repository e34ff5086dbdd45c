// SPDX-License-Identifier: MIT
/*
 * Channels: sleeping, waking, and what follows from a peer that misbehaves.
 * Runs in upcall handlers, too: compiled with -mgeneral-regs-only.
 *
 * No wake-up is lost, as each side first says what it did and then looks at what
 * the other said, with a full barrier in between:
 *
 *	nomux_ipc_flush()		nomux_ipc_wait()
 *	-----------------		----------------
 *	xchg head			xchg sleep
 *	load sleep -> ring		load head -> do not sleep
 *
 * and likewise with tail for one who waits for room.  The doorbell is rung by
 * whoever takes the word "sleep" away: once per sleep.  A peer that takes it away
 * for nothing, or never, costs its victim no more than a look at the ring or the
 * length of the sleep.
 *
 * A side on a leased core sleeps in nomux_wait()'s system call with the socket
 * beside it, and hears at once when that hangs up.  A futex cannot be waited for
 * together with a socket: there the socket is looked at ten times a second.
 */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <time.h>

#include <nomux/notify.h>

#include "ipc_internal.h"

#define LOOK_NS 100000000ULL
#define RING_AGAIN_NS 1000000ULL	/* how long a peer that could not be rung is left alone */

void nomux__ipc_on_event(unsigned int event, uint64_t count, void *arg)
{
	struct ipc_end *e = arg;

	e->rung += count;
}

int nomux__ipc_doorbell(struct ipc_end *e)
{
	long n;

	e->stats.doorbells++;
	if (e->peer_doorbell == IPC_LEASE)
		return nomux_notify(e->ctx, e->peer_handle, e->peer_event);
	n = nomux__syscall3(SYS_futex, (long)(uintptr_t)&e->pub.peers->sleep, FUTEX_WAKE, 1);
	return n < 0 ? (int)n : 0;
}

/*
 * Whoever takes the word away rings, whatever it says by now: between the look
 * and here the peer may have woken and gone to sleep for something else.
 */
int nomux__ipc_ring(struct nomux_ipc *ipc)
{
	uint32_t was = __atomic_exchange_n(&ipc->peers->sleep, 0, __ATOMIC_SEQ_CST);
	int err = 0;

	if (was)
		err = nomux__ipc_doorbell(ipc_end(ipc));
	ipc->ring_for = NOMUX_IPC_MSG;
	if (err) {
		/* It sleeps on: the word goes back, for the next flush to try. */
		__atomic_fetch_or(&ipc->peers->sleep, was, __ATOMIC_SEQ_CST);
		ipc->ring_for |= NOMUX_IPC_ROOM;
	}
	return err == -EAGAIN ? -EBUSY : err;
}

/*
 * The exchange orders reads of the slots before the tail that gives them back,
 * and the tail before the load of sleep.
 */
void nomux__ipc_show_tail(struct nomux_ipc *ipc)
{
	ipc->rx_shown = ipc->rx_tail;
	__atomic_exchange_n(&ipc->mine->tail, ipc->rx_tail, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&ipc->peers->sleep, __ATOMIC_RELAXED) & NOMUX_IPC_ROOM)
		nomux__ipc_ring(ipc);
}

/* The peer has closed: what it sent before that is in head by now. */
int nomux__ipc_last(struct nomux_ipc *ipc)
{
	uint32_t head;

	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	head = __atomic_load_n(&ipc->peers->head, __ATOMIC_ACQUIRE);
	if (head - ipc->rx_tail > ipc->nr_slots)
		return nomux__ipc_break(ipc);
	ipc->rx_head = head;
	return head == ipc->rx_tail ? -EPIPE : 0;
}

/* Full and empty from now on, so that the inline functions need no other test. */
int nomux__ipc_break(struct nomux_ipc *ipc)
{
	ipc->err = -EPROTO;
	ipc->rx_head = ipc->rx_shown = ipc->rx_tail;
	ipc->tx_shown = ipc->tx_head;
	ipc->ring_for = NOMUX_IPC_MSG;
	ipc->tx_tail = ipc->tx_head - ipc->nr_slots;
	return ipc->err;
}

/* What of @what can be done now; negative when a message will never come. */
static int ready(struct nomux_ipc *ipc, unsigned int what)
{
	int got = 0, err;

	if (what & NOMUX_IPC_MSG) {
		err = ipc->rx_head != ipc->rx_tail ? 0 : nomux__ipc_more(ipc);
		if (err && err != -EAGAIN)
			return err;
		got |= err ? 0 : NOMUX_IPC_MSG;
	}
	if (what & NOMUX_IPC_ROOM) {
		err = nomux__ipc_room(ipc);
		if (err && err != -EAGAIN)
			return err;
		if (!err && __atomic_load_n(&ipc->peers->closed, __ATOMIC_RELAXED))
			return got ? got : -EPIPE;	/* room, but for nobody */
		got |= err ? 0 : NOMUX_IPC_ROOM;
	}
	return got;
}

/* 0, or -EPIPE when the socket has hung up. */
static int look(const struct ipc_end *e)
{
	struct pollfd p = { .fd = e->sock, .events = POLLRDHUP };
	struct timespec zero = { 0 };
	long n = nomux__syscall5(SYS_ppoll, (long)(uintptr_t)&p, 1, (long)(uintptr_t)&zero, 0, 8);

	return n > 0 ? -EPIPE : 0;
}

int nomux_ipc_check(struct nomux_ipc *ipc)
{
	return ipc->err ? ipc->err : look(ipc_end(ipc));
}

/* Until rung; what the peer does meanwhile is seen by the caller. */
static int sleep_futex(struct ipc_end *e, uint32_t what, uint64_t max_ns)
{
	struct timespec ts = { 0 };
	uint64_t ns;
	long err;

	do {
		ns = max_ns < LOOK_NS ? max_ns : LOOK_NS;
		ts.tv_nsec = (long)ns;
		e->stats.sleeps++;
		err = nomux__syscall5(SYS_futex, (long)(uintptr_t)&e->pub.mine->sleep, FUTEX_WAIT,
				      (long)what, (long)(uintptr_t)&ts, 0);
		if (err != -ETIMEDOUT)
			return 0;
		if (look(e))
			return -EPIPE;
		max_ns -= max_ns == UINT64_MAX ? 0 : ns;
	} while (max_ns);
	return 0;
}

static int sleep_lease(struct ipc_end *e, uint64_t max_ns)
{
	struct pollfd p = { .fd = e->sock, .events = POLLRDHUP };

	e->stats.sleeps++;
	nomux__wait_fds(e->core, max_ns, &p, 1);
	return p.revents ? -EPIPE : 0;
}

int nomux_ipc_wait(struct nomux_ipc *ipc, unsigned int what, uint64_t max_ns)
{
	struct ipc_end *e = ipc_end(ipc);
	bool was_masked = true;
	int got, err = 0;

	if (!what || (what & ~(NOMUX_IPC_MSG | NOMUX_IPC_ROOM)))
		return -EINVAL;
	if (e->core && nomux_core_current() != e->core)
		return -EPERM;
	if (nomux_ipc_flush(ipc) == -EBUSY && max_ns > RING_AGAIN_NS)
		max_ns = RING_AGAIN_NS;
	got = ready(ipc, what);
	if (got || !max_ns)
		return got;

	/* From here on an event ends the sleep, even one before it: nomux_wait(3). */
	if (e->core) {
		was_masked = nomux_masked(e->core);
		nomux_mask(e->core);
	}
	__atomic_exchange_n(&ipc->mine->sleep, what, __ATOMIC_SEQ_CST);
	got = ready(ipc, what);
	if (!got)
		err = e->core ? sleep_lease(e, max_ns) : sleep_futex(e, what, max_ns);
	__atomic_store_n(&ipc->mine->sleep, 0, __ATOMIC_RELAXED);
	if (!was_masked)
		nomux_unmask(e->core);
	if (got)
		return got;
	/* What a dead peer had sent is still to be read. */
	got = ready(ipc, what);
	if (got > 0 && err && !(got & NOMUX_IPC_MSG))
		return -EPIPE;
	return got ? got : err;
}
