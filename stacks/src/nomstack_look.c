// SPDX-License-Identifier: MIT
/*
 * nomstack_look.c - the file through which others look at the stack
 *
 * <nomstack/look_layout.h> has the protocol.  What is in the file and written
 * by others is a question: each word is read once, kinds and cursors are
 * checked, and nothing that the stack relies on is read back from there (heads
 * of the ring, offsets).  So a bad asker gets a bad answer, and no more.
 *
 * That the asker is gone is known by silence: a tap ends NOMSTACK_LK_TAP_NS
 * after it was last asked for.
 */
#include "look.h"

#include <nomstack/look.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BUSY_NS 20000000u	/* so long after a question the next one is expected */
#define HEADER_BYTES 4096u
#define RTT_BYTES (NOMSTACK__MAX_CONNS * sizeof(struct rtt))
#define FILE_BYTES (HEADER_BYTES + NOMSTACK_LK_WINDOW + NOMSTACK_LK_RING)

_Static_assert(sizeof(struct nomstack_lk_header) == 192, "layout");
_Static_assert(sizeof(struct nomstack_lk_conn) == 112, "layout");
_Static_assert(sizeof(struct nomstack_lk_fact) == 128, "layout");
_Static_assert(sizeof(struct nomstack_lk_frame) == 24, "layout");
_Static_assert(NOMSTACK__LOOK_ROWS * sizeof(struct nomstack_lk_conn) <= NOMSTACK_LK_WINDOW, "window too small");
_Static_assert(NOMSTACK__LOOK_ROWS * sizeof(struct nomstack_lk_fact) <= NOMSTACK_LK_WINDOW, "window too small");

static int lock_life(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = NOMSTACK_LK_LIFE, .l_len = 1 };

	return fcntl(fd, F_OFD_SETLK, &lock) ? -errno : 0;
}

/* A whole file, of which nobody has seen anything yet. */
static int make_file(struct look *l)
{
	struct nomstack_lk_header *h;
	void *p;
	int err;

	/* Not ftruncate(): without room, a later store would be SIGBUS. */
	err = posix_fallocate(l->fd, 0, FILE_BYTES);
	if (err)
		return -err;
	p = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, l->fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	h = l->hdr = p;
	l->window = (uint8_t *)p + HEADER_BYTES;
	l->ring = l->window + NOMSTACK_LK_WINDOW;
	h->magic = NOMSTACK_LK_MAGIC;
	h->version = NOMSTACK_LK_VERSION;
	h->bytes = FILE_BYTES;
	h->pid = (uint32_t)getpid();
	h->window_offset = HEADER_BYTES;
	h->window_bytes = NOMSTACK_LK_WINDOW;
	h->ring_offset = HEADER_BYTES + NOMSTACK_LK_WINDOW;
	h->ring_bytes = NOMSTACK_LK_RING;
	return lock_life(l->fd);
}

int nomstack_look_open(struct nomstack *s, unsigned nr)
{
	struct look *l;
	char temp[48];
	int err = -ENOMEM;

	if (s->look)
		return -EBUSY;
	if (nr >= NOMSTACK_LK_STACKS_MAX)
		return -EINVAL;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->nr = nr;
	/* Populated: a leased core has no page faults to spare. */
	l->rtt = mmap(NULL, RTT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (l->rtt == MAP_FAILED)
		goto err_free;
	if (nr)
		snprintf(l->path, sizeof(l->path), NOMSTACK_LK_PATH_NR_FMT, (int)getpid(), nr);
	else
		snprintf(l->path, sizeof(l->path), NOMSTACK_LK_PATH_FMT, (int)getpid());
	snprintf(temp, sizeof(temp), "/dev/shm/.nom-%d.look-XXXXXX", (int)getpid());
	l->fd = mkostemp(temp, O_CLOEXEC);	/* mode 0600 */
	if (l->fd < 0) {
		err = -errno;
		goto err_unmap;
	}
	err = make_file(l);
	/* Takes the place of what a dead process of our pid left. */
	if (!err && rename(temp, l->path))
		err = -errno;
	if (err)
		goto err_unlink;
	s->look = l;
	return 0;

err_unlink:
	unlink(temp);
	if (l->hdr)
		munmap(l->hdr, FILE_BYTES);
	close(l->fd);
err_unmap:
	munmap(l->rtt, RTT_BYTES);
err_free:
	free(l);
	return err;
}

/* Called by nomstack_close(). */
void nomstack__look_close(struct nomstack *s)
{
	struct look *l = s->look;

	if (!l)
		return;
	l->trace_until_ns = l->rtt_until_ns = 0;
	nomstack__tap_set(s);
	s->look = NULL;
	/* A child after fork() has the mapping, too, but not the file's name. */
	if (l->hdr->pid == (uint32_t)getpid())
		unlink(l->path);
	munmap(l->hdr, FILE_BYTES);
	close(l->fd);
	munmap(l->rtt, RTT_BYTES);
	free(l);
}

static int ask_trace(struct nomstack *s, uint64_t snap_bytes)
{
	struct look *l = s->look;

	if (snap_bytes > NOMSTACK_LK_SNAP_MAX)
		return -EINVAL;
	if (snap_bytes && !l->trace_until_ns)
		l->lost = 0;
	l->snap_bytes = (uint32_t)snap_bytes;
	l->trace_until_ns = snap_bytes ? s->now_ns + NOMSTACK_LK_TAP_NS : 0;
	nomstack__tap_set(s);
	return 0;
}

static int ask_rtt(struct nomstack *s)
{
	struct look *l = s->look;

	if (!l->rtt_until_ns)
		l->rtt_gen++;		/* what was measured before is void */
	l->rtt_until_ns = s->now_ns + NOMSTACK_LK_TAP_NS;
	nomstack__tap_set(s);
	return 0;
}

static void answer(struct nomstack *s, uint64_t seq)
{
	struct look *l = s->look;
	struct nomstack_lk_header *h = l->hdr;
	uint32_t kind = __atomic_load_n(&h->ask_kind, __ATOMIC_RELAXED);
	uint64_t cursor = __atomic_load_n(&h->ask_cursor, __ATOMIC_RELAXED);
	uint64_t arg = __atomic_load_n(&h->ask_arg, __ATOMIC_RELAXED);
	uint64_t next = NOMSTACK_LK_END;
	uint32_t row_bytes = 0, nr = 0;
	int status = 0;

	switch (kind) {
	case NOMSTACK_ASK_CONNS:
		row_bytes = sizeof(struct nomstack_lk_conn);
		nr = nomstack__look_conns(s, cursor, (void *)l->window, NOMSTACK__LOOK_ROWS, &next);
		break;
	case NOMSTACK_ASK_FACTS:
		row_bytes = sizeof(struct nomstack_lk_fact);
		nr = nomstack__look_facts(s, cursor, (void *)l->window, NOMSTACK__LOOK_ROWS, &next);
		break;
	case NOMSTACK_ASK_TRACE:
		status = ask_trace(s, arg);
		break;
	case NOMSTACK_ASK_RTT:
		status = ask_rtt(s);
		break;
	default:
		status = -EOPNOTSUPP;
	}
	h->status = status;
	h->nr = nr;
	h->row_bytes = row_bytes;
	h->next = next;
	h->now_ns = s->now_ns;
	h->lost = l->lost;
	/* The answer before its number; pairs with the asker's reads, in the other order. */
	__atomic_store_n(&h->done_seq, seq, __ATOMIC_RELEASE);
}

bool nomstack_look(struct nomstack *s)
{
	struct look *l = s->look;
	uint64_t seq;

	if (unlikely(!l))
		return false;
	/* Pairs with the asker's last store: kind, cursor and argument are there. */
	seq = __atomic_load_n(&l->hdr->ask_seq, __ATOMIC_ACQUIRE);
	if (likely(seq == l->seen && !l->busy_until_ns))
		return false;
	s->now_ns = nomstack__clock(s);
	if (seq != l->seen) {
		l->seen = seq;
		answer(s, seq);
		l->busy_until_ns = s->now_ns + BUSY_NS;
	}
	if (l->trace_until_ns && s->now_ns >= l->trace_until_ns)
		l->trace_until_ns = 0;
	if (l->rtt_until_ns && s->now_ns >= l->rtt_until_ns)
		l->rtt_until_ns = 0;
	nomstack__tap_set(s);
	if (s->now_ns >= l->busy_until_ns && !s->tap)
		l->busy_until_ns = 0;
	return s->now_ns < l->busy_until_ns;
}
