// SPDX-License-Identifier: MIT
/*
 * Channels: requests and responses.
 *
 * A request carries a tag, its response the same: the index of the call's place
 * in a table and the place's generation, so that a response to a call that was
 * given up, or one made up by the peer, finds nobody.  A response is copied to
 * where its caller wants it as soon as anybody looks into the ring.
 */
#include <errno.h>
#include <string.h>

#include "ipc_internal.h"

/* How often a call looks before it sleeps: some microseconds. */
#define CALL_POLLS 2000

static uint64_t call_tag(const struct ipc_end *e, uint32_t i)
{
	return (uint64_t)e->call[i].generation << 32 | i;
}

/* The call this tag names, NULL when it names none (any more). */
static struct ipc_call *call_find(struct ipc_end *e, uint64_t tag)
{
	uint32_t i = (uint32_t)tag;

	if (i >= e->pub.nr_slots || !e->call[i].busy || call_tag(e, i) != tag)
		return NULL;
	return &e->call[i];
}

static void call_end(struct ipc_end *e, struct ipc_call *call)
{
	call->busy = false;
	call->generation++;
	call->next = e->call_free;
	e->call_free = (uint32_t)(call - e->call);
}

int nomux_ipc_reply(struct nomux_ipc *ipc, uint64_t tag, const void *data, size_t bytes)
{
	return nomux__ipc_send(ipc, data, bytes, NOMUX_IPC_RESPONSE, tag);
}

int nomux_ipc_call_start(struct nomux_ipc *ipc, const void *req, size_t bytes,
			 void *buf, size_t cap, uint64_t *tag_out)
{
	struct ipc_end *e = ipc_end(ipc);
	uint32_t i = e->call_free;
	struct ipc_call *call;
	int err;

	if (i == ipc->nr_slots)
		return ipc->err ? ipc->err : -EAGAIN;
	call = &e->call[i];
	err = nomux__ipc_send(ipc, req, bytes, NOMUX_IPC_REQUEST, call_tag(e, i));
	if (err)
		return err;
	e->call_free = call->next;
	call->buf = buf;
	call->cap = cap < ipc->slot_bytes ? (uint32_t)cap : ipc->slot_bytes;
	call->result = -EAGAIN;
	call->busy = true;
	*tag_out = call_tag(e, i);
	return 0;
}

/* Give the responses in the ring to their callers: at most a ring of them. */
static int collect(struct ipc_end *e)
{
	struct nomux_ipc *ipc = &e->pub;
	struct nomux_ipc_msg msg;
	struct ipc_call *call;
	uint32_t i;
	int err;

	for (i = 0; i < ipc->nr_slots; i++) {
		err = nomux_ipc_peek(ipc, &msg);
		if (err)
			return err;
		if (msg.kind != NOMUX_IPC_RESPONSE)
			return -EBUSY;
		call = call_find(e, msg.tag);
		if (!call || call->result != -EAGAIN) {
			e->stats.strays++;
		} else {
			memcpy(call->buf, msg.data, msg.bytes < call->cap ? msg.bytes : call->cap);
			call->result = msg.bytes <= call->cap ? (int32_t)msg.bytes : -EMSGSIZE;
		}
		nomux_ipc_consume(ipc);
	}
	return -EAGAIN;
}

int nomux_ipc_call_result(struct nomux_ipc *ipc, uint64_t tag)
{
	struct ipc_end *e = ipc_end(ipc);
	struct ipc_call *call = call_find(e, tag);
	int err = -EAGAIN;

	if (!call)
		return -ENOENT;
	if (call->result == -EAGAIN)
		err = collect(e);
	if (call->result != -EAGAIN)
		err = call->result;
	else if (err == -EAGAIN || err == -EBUSY)
		return err;
	call_end(e, call);
	return err;
}

int nomux_ipc_call_cancel(struct nomux_ipc *ipc, uint64_t tag)
{
	struct ipc_end *e = ipc_end(ipc);
	struct ipc_call *call = call_find(e, tag);

	if (!call)
		return -ENOENT;
	call_end(e, call);
	return 0;
}

int nomux_ipc_call(struct nomux_ipc *ipc, const void *req, size_t bytes,
		   void *buf, size_t cap, uint64_t timeout_ns)
{
	uint64_t tag, now, end = 0;
	unsigned int polls = 0;
	int ret, err;

	ret = nomux_ipc_call_start(ipc, req, bytes, buf, cap, &tag);
	if (ret)
		return ret;
	while ((ret = nomux_ipc_call_result(ipc, tag)) == -EAGAIN) {
		if (++polls < CALL_POLLS)
			continue;
		now = nomux__ipc_clock_ns();
		if (!end)
			end = timeout_ns > UINT64_MAX - now ? UINT64_MAX : now + timeout_ns;
		if (now >= end) {
			ret = -ETIMEDOUT;
			break;
		}
		err = nomux_ipc_wait(ipc, NOMUX_IPC_MSG, end == UINT64_MAX ? UINT64_MAX : end - now);
		if (err < 0) {
			ret = err;
			break;
		}
	}
	if (ret == -ETIMEDOUT || ret == -EBUSY || ret == -EPIPE || ret == -EPERM)
		nomux_ipc_call_cancel(ipc, tag);	/* no harm if it is over */
	return ret;
}
