// SPDX-License-Identifier: MIT
/*
 * Channels: making, offering, taking and closing one.
 *
 * The memory is a memfd that the creator makes and seals against shrinking and
 * growing, so that no side can pull pages from under the other: without that, a
 * peer could have us die of SIGBUS at any load.  It holds a page with each
 * side's words and the two rings, the creator's first.
 *
 *	creator				accepter
 *	hello, memory		->	checks and maps it, rings the creator
 *	rings the accepter	<-	hello
 *	hello			->
 *
 * Ringing here is a rehearsal: whether a side may notify the other's lease shows
 * at set-up and not at the first message that finds the peer asleep.
 */
#include <nomux/ipc.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <syslog.h>
#include <unistd.h>

#include <nomux/log.h>

#include "ipc_internal.h"

#ifndef MFD_NOEXEC_SEAL		/* Linux 6.3 */
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static int opts_read(const struct nomux_ipc_opts *in, bool creator, struct nomux_ipc_opts *out)
{
	*out = (struct nomux_ipc_opts){ .sz = sizeof(*out) };
	if (in) {
		if (in->sz < offsetof(struct nomux_ipc_opts, ctx) || in->sz > 4096)
			return -EINVAL;
		memcpy(out, in, in->sz < sizeof(*out) ? in->sz : sizeof(*out));
	}
	if (!creator && (out->nr_slots || out->slot_bytes))
		return -EINVAL;
	if (!out->nr_slots)
		out->nr_slots = IPC_SLOTS_DEFAULT;
	if (!out->slot_bytes)
		out->slot_bytes = IPC_SLOT_BYTES_DEFAULT;
	if (!out->timeout_ns)
		out->timeout_ns = IPC_TIMEOUT_DEFAULT_NS;
	if (out->core && (!out->ctx || out->event >= NOM_NR_EVENTS))
		return -EINVAL;
	return 0;
}

static int check_sock(int sock)
{
	int domain, type;
	socklen_t n = sizeof(domain);

	if (getsockopt(sock, SOL_SOCKET, SO_DOMAIN, &domain, &n))
		return errno == ENOTSOCK ? -EINVAL : -errno;
	n = sizeof(type);
	if (getsockopt(sock, SOL_SOCKET, SO_TYPE, &type, &n))
		return -errno;
	return domain == AF_UNIX && (type == SOCK_STREAM || type == SOCK_SEQPACKET) ? 0 : -EINVAL;
}

/* Everything that follows from the two numbers; both may be a stranger's. */
static int set_geometry(struct nomux_ipc *ipc, uint32_t nr_slots, uint32_t slot_bytes)
{
	uint32_t stride;

	if (nr_slots < 2 || nr_slots > IPC_SLOTS_MAX || (nr_slots & (nr_slots - 1)) ||
	    !slot_bytes || slot_bytes > IPC_SLOT_BYTES_MAX)
		return -EINVAL;
	stride = (uint32_t)ALIGN_UP(sizeof(struct nomux_ipc_slot) + slot_bytes, 64u);
	if ((uint64_t)nr_slots * stride > IPC_RING_BYTES_MAX)
		return -EINVAL;
	ipc->nr_slots = nr_slots;
	ipc->slot_bytes = slot_bytes;
	ipc->stride = stride;
	ipc->ring_for = NOMUX_IPC_MSG;
	ipc->batch = nr_slots / 4 ? nr_slots / 4 : 1;
	ipc->tx_head = ipc->tx_tail = ipc->tx_shown = IPC_FIRST(nr_slots);
	ipc->rx_head = ipc->rx_tail = ipc->rx_shown = IPC_FIRST(nr_slots);
	return 0;
}

static size_t ring_bytes(const struct nomux_ipc *ipc)
{
	return ALIGN_UP((size_t)ipc->nr_slots * ipc->stride, NOMUX_PAGE_BYTES);
}

static size_t memory_bytes(const struct nomux_ipc *ipc)
{
	return NOMUX_PAGE_BYTES + 2 * ring_bytes(ipc);
}

static int memory_create(struct ipc_end *e, int *fd_out)
{
	size_t bytes = memory_bytes(&e->pub);
	int fd, err;

	fd = memfd_create("nomux-ipc", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)		/* older than the flag, which is no need */
		fd = memfd_create("nomux-ipc", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	/* All of it now: memory that is not there later would be a SIGBUS. */
	err = ftruncate(fd, (off_t)bytes) ? -errno : -posix_fallocate(fd, 0, (off_t)bytes);
	if (!err && fcntl(fd, F_ADD_SEALS, SEALS))
		err = -errno;
	if (err) {
		close(fd);
		return err;
	}
	*fd_out = fd;
	return 0;
}

/* What we were given must be what was said, and stay so. */
static int memory_check(const struct ipc_end *e, int fd)
{
	struct statfs fs;
	struct stat st;
	int seals;

	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & (F_SEAL_SHRINK | F_SEAL_WRITE)) != F_SEAL_SHRINK)
		return -EPROTO;
	/* not of huge pages: there may be none when they are touched */
	if (fstatfs(fd, &fs) || fs.f_type != TMPFS_MAGIC)
		return -EPROTO;
	return fstat(fd, &st) || st.st_size != (off_t)memory_bytes(&e->pub) ? -EPROTO : 0;
}

static int memory_map(struct ipc_end *e, int fd, unsigned int side)
{
	size_t bytes = memory_bytes(&e->pub);
	char *p, *ring[2];

	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	/* A child has no end of the channel: it must not write here. */
	if (madvise(p, bytes, MADV_DONTFORK)) {
		munmap(p, bytes);
		return -errno;
	}
	e->page = (struct ipc_page *)(void *)p;
	e->map_bytes = bytes;
	ring[0] = p + NOMUX_PAGE_BYTES;
	ring[1] = ring[0] + ring_bytes(&e->pub);
	e->pub.tx = ring[side];
	e->pub.rx = ring[!side];
	e->pub.mine = &e->page->side[side];
	e->pub.peers = &e->page->side[!side];
	return 0;
}

static int calls_create(struct ipc_end *e)
{
	uint32_t i;

	e->call = calloc(e->pub.nr_slots, sizeof(*e->call));
	if (!e->call)
		return -ENOMEM;
	for (i = 0; i < e->pub.nr_slots; i++)
		e->call[i].next = i + 1;
	return 0;
}

static void end_free(struct ipc_end *e)
{
	if (e->event_set)
		nomux_on_event(e->core, e->event, NULL, NULL);
	if (e->page)
		munmap(e->page, e->map_bytes);
	free(e->call);
	free(e);
}

static int end_create(const struct nomux_ipc_opts *o, struct ipc_end **e_out)
{
	struct ipc_end *e = calloc(1, sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	e->sock = -1;
	e->ctx = o->ctx;
	e->core = o->core;
	e->event = o->event;
	if (e->core) {
		err = nomux_on_event(e->core, e->event, nomux__ipc_on_event, e);
		if (err) {
			free(e);
			return err;
		}
		e->event_set = true;
	}
	*e_out = e;
	return 0;
}

static struct ipc_hello hello_of(const struct ipc_end *e, int err)
{
	return (struct ipc_hello){
		.magic = IPC_MAGIC, .version = IPC_VERSION, .bytes = sizeof(struct ipc_hello),
		.err = err, .nr_slots = e->pub.nr_slots, .slot_bytes = e->pub.slot_bytes,
		.doorbell = e->core ? IPC_LEASE : IPC_FUTEX, .event = e->event,
		.handle = e->core ? nomux_core_handle(e->core) : 0, .can_notify = e->ctx != NULL,
	};
}

/* How the peer sleeps, and whether each can wake the other; rings it once. */
static int meet(struct ipc_end *e, const struct ipc_hello *h)
{
	if (h->doorbell != IPC_FUTEX && h->doorbell != IPC_LEASE)
		return -EPROTO;
	if (h->doorbell == IPC_LEASE && h->event >= NOM_NR_EVENTS)
		return -EPROTO;
	if ((h->doorbell == IPC_LEASE && !e->ctx) || (e->core && !h->can_notify)) {
		nomux_log(LOG_WARNING, "nomux: no channel: one side sleeps on a leased core, the other has no nom to wake it with");
		return -EOPNOTSUPP;
	}
	e->peer_doorbell = (enum ipc_doorbell)h->doorbell;
	e->peer_event = h->event;
	e->peer_handle = h->handle;
	return e->peer_doorbell == IPC_LEASE ? nomux__ipc_doorbell(e) : 0;
}

/* What both sides do before their first word, and after their last. */
static int shake_begin(int sock, const struct nomux_ipc_opts *opts, bool creates, struct nomux_ipc_opts *o,
		       struct ipc_end **e, uint64_t *deadline)
{
	uint64_t now = nomux__ipc_clock_ns();
	int err;

	err = opts_read(opts, creates, o);
	if (!err)
		err = check_sock(sock);
	if (!err)
		err = end_create(o, e);
	*deadline = o->timeout_ns > UINT64_MAX - now ? UINT64_MAX : now + o->timeout_ns;
	return err;
}

static int shake_end(struct ipc_end *e, int sock, int fd, int err, struct nomux_ipc **ipc_out)
{
	if (fd >= 0)
		close(fd);
	if (err) {
		end_free(e);
		return err;
	}
	e->sock = sock;
	*ipc_out = &e->pub;
	return 0;
}

int nomux_ipc_create(int sock, const struct nomux_ipc_opts *opts, struct nomux_ipc **ipc_out)
{
	struct nomux_ipc_opts o;
	struct ipc_hello h;
	struct ipc_end *e;
	uint64_t deadline;
	unsigned int i;
	int err, fd = -1;

	if (!ipc_out)
		return -EINVAL;
	err = shake_begin(sock, opts, true, &o, &e, &deadline);
	if (err)
		return err;
	err = set_geometry(&e->pub, o.nr_slots, o.slot_bytes);
	if (!err)
		err = memory_create(e, &fd);
	if (!err)
		err = memory_map(e, fd, 0);
	if (!err)
		err = calls_create(e);
	if (err)
		goto out;
	for (i = 0; i < 2; i++)
		e->page->side[i].head = e->page->side[i].tail = IPC_FIRST(e->pub.nr_slots);

	h = hello_of(e, 0);
	err = nomux__ipc_say(sock, &h, fd, deadline);
	if (!err)
		err = nomux__ipc_hear(sock, &h, NULL, deadline);
	if (err)
		goto out;
	err = meet(e, &h);
	h = hello_of(e, err);
	if (err)
		nomux__ipc_say(sock, &h, -1, deadline);		/* as a courtesy */
	else
		err = nomux__ipc_say(sock, &h, -1, deadline);
out:
	return shake_end(e, sock, fd, err, ipc_out);
}

/* The creator's offer, up to the point where it only has to be confirmed. */
static int take_offer(struct ipc_end *e, const struct ipc_hello *h, int fd)
{
	int err;

	if (fd < 0 || set_geometry(&e->pub, h->nr_slots, h->slot_bytes))
		return -EPROTO;
	err = memory_check(e, fd);
	if (!err)
		err = memory_map(e, fd, 1);
	if (!err)
		err = calls_create(e);
	return err ? err : meet(e, h);
}

int nomux_ipc_accept(int sock, const struct nomux_ipc_opts *opts, struct nomux_ipc **ipc_out)
{
	struct nomux_ipc_opts o;
	struct ipc_hello h;
	struct ipc_end *e;
	uint64_t deadline;
	int err, fd = -1;

	if (!ipc_out)
		return -EINVAL;
	err = shake_begin(sock, opts, false, &o, &e, &deadline);
	if (err)
		return err;
	err = nomux__ipc_hear(sock, &h, &fd, deadline);
	if (err)
		goto out;
	err = take_offer(e, &h, fd);
	h = hello_of(e, err);
	if (err) {
		nomux__ipc_say(sock, &h, -1, deadline);
		goto out;
	}
	err = nomux__ipc_say(sock, &h, -1, deadline);
	if (!err)
		err = nomux__ipc_hear(sock, &h, NULL, deadline);
out:
	return shake_end(e, sock, fd, err, ipc_out);
}

void nomux_ipc_destroy(struct nomux_ipc *ipc)
{
	struct ipc_end *e = ipc_end(ipc);

	if (!ipc)
		return;
	/* Behind what was flushed; partner: nomux__ipc_last(). */
	__atomic_exchange_n(&ipc->mine->closed, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&ipc->peers->sleep, __ATOMIC_RELAXED))
		nomux__ipc_ring(ipc);
	/* Also for those who sleep without a doorbell, or hold a copy of the socket. */
	shutdown(e->sock, SHUT_RDWR);
	close(e->sock);
	end_free(e);
}

int nomux__ipc_send(struct nomux_ipc *ipc, const void *data, size_t bytes, uint32_t kind,
		    uint64_t tag)
{
	void *slot;

	if (bytes > ipc->slot_bytes)
		return -EMSGSIZE;
	if (__atomic_load_n(&ipc->peers->closed, __ATOMIC_RELAXED))
		return ipc->err ? ipc->err : -EPIPE;
	slot = nomux_ipc_reserve(ipc);
	if (!slot)
		return ipc->err ? ipc->err : -EAGAIN;
	memcpy(slot, data, bytes);
	nomux_ipc_commit_tagged(ipc, bytes, kind, tag);
	return nomux_ipc_flush(ipc);
}

int nomux_ipc_send(struct nomux_ipc *ipc, const void *data, size_t bytes)
{
	return nomux__ipc_send(ipc, data, bytes, NOMUX_IPC_MESSAGE, 0);
}

int nomux_ipc_recv(struct nomux_ipc *ipc, void *buf, size_t cap)
{
	struct nomux_ipc_msg msg;
	int err;

	err = nomux_ipc_peek(ipc, &msg);
	if (err)
		return err;
	if (msg.bytes > cap)
		return -EMSGSIZE;
	memcpy(buf, msg.data, msg.bytes);
	nomux_ipc_consume(ipc);
	return (int)msg.bytes;
}

void nomux_ipc_stats(const struct nomux_ipc *ipc, struct nomux_ipc_stats *out)
{
	*out = ((const struct ipc_end *)ipc)->stats;
}
