/* SPDX-License-Identifier: MIT */
/* What the files of the channel share; not for anybody else. */
#ifndef NOMUX_IPC_INTERNAL_H
#define NOMUX_IPC_INTERNAL_H

#include <nomux/ipc.h>

#include "internal.h"

#define IPC_MAGIC		0x69504349u
#define IPC_VERSION		1u
#define IPC_SLOTS_DEFAULT	64u
#define IPC_SLOTS_MAX		65536u
#define IPC_SLOT_BYTES_DEFAULT	496u		/* with its header 512 */
#define IPC_SLOT_BYTES_MAX	(1u << 20)
#define IPC_RING_BYTES_MAX	(32u << 20)
#define IPC_TIMEOUT_DEFAULT_NS	5000000000ULL

/*
 * Indices begin one round before they wrap: so each channel passes the place
 * where a wrong comparison would show.
 */
#define IPC_FIRST(nr_slots)	(0u - (nr_slots))

/* How a side wants to be rung. */
enum ipc_doorbell { IPC_FUTEX, IPC_LEASE };

/* The shared memory: this page, the creator's ring, the accepter's. */
struct ipc_page {
	struct nomux_ipc_side side[2];
};

_Static_assert(sizeof(struct nomux_ipc_slot) == 16, "slot header, shared with the peer");
_Static_assert(sizeof(struct nomux_ipc_side) == 192, "shared with the peer");
_Static_assert(sizeof(struct ipc_page) <= NOMUX_PAGE_BYTES, "one page");

/* A call under way; tag = generation << 32 | index. */
struct ipc_call {
	void *buf;
	uint32_t cap;
	uint32_t generation;
	int32_t result;		/* -EAGAIN: none yet */
	uint32_t next;		/* of the free ones */
	bool busy;
};

struct ipc_end {
	struct nomux_ipc pub;	/* first: the handle */
	int sock;
	struct ipc_page *page;
	size_t map_bytes;
	/* of the peer */
	enum ipc_doorbell peer_doorbell;
	uint32_t peer_event;
	uint64_t peer_handle;
	/* our own */
	struct nomux_ctx *ctx;
	struct nomux_core *core;	/* NULL: sleeps in a futex */
	uint32_t event;
	bool event_set;
	volatile uint64_t rung;		/* upcalls of our event */
	struct nomux_ipc_stats stats;
	struct ipc_call *call;		/* nr_slots */
	uint32_t call_free;		/* first free one, nr_slots: none */
};

static inline struct ipc_end *ipc_end(struct nomux_ipc *ipc)
{
	return (struct ipc_end *)ipc;
}

/* ipc.c */
int nomux__ipc_send(struct nomux_ipc *ipc, const void *data, size_t bytes, uint32_t kind,
		    uint64_t tag);

/* ipc_wait.c */
int nomux__ipc_doorbell(struct ipc_end *e);
void nomux__ipc_on_event(unsigned int event, uint64_t count, void *arg);

/* ipc_hello.c: what is said over the socket before there is shared memory */
struct ipc_hello {
	uint32_t magic;
	uint32_t version;
	uint32_t bytes;		/* sizeof(struct ipc_hello) */
	int32_t err;		/* -errno: no channel, and why */
	uint32_t nr_slots;	/* creator's */
	uint32_t slot_bytes;	/* creator's */
	uint32_t doorbell;	/* enum ipc_doorbell */
	uint32_t event;
	uint64_t handle;
	uint32_t can_notify;	/* has /dev/nom to ring a lease with */
	uint32_t reserved;
};

int nomux__ipc_say(int sock, const struct ipc_hello *h, int fd, uint64_t deadline_ns);
int nomux__ipc_hear(int sock, struct ipc_hello *h, int *fd_out, uint64_t deadline_ns);
uint64_t nomux__ipc_clock_ns(void);

#endif /* NOMUX_IPC_INTERNAL_H */
