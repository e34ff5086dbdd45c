// SPDX-License-Identifier: MIT
/* Asking an application's stack about itself: look.h. */
#include "look.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NAP_NS 200000
#define SLICES_MAX 1000000u	/* nobody has so long a table */

struct nomctl_look {
	int fd;
	uint32_t window_offset, window_bytes, ring_offset, ring_bytes;
	uint64_t tail;
	uint8_t *window;		/* copy */
	uint8_t *ring;			/* copy of what was taken at once */
};

#define WORD(field) offsetof(struct nomstack_lk_header, field)

static bool get(int fd, uint64_t off, void *buf, size_t n)
{
	return pread(fd, buf, n, (off_t)off) == (ssize_t)n;
}

static bool put(int fd, uint64_t off, const void *buf, size_t n)
{
	return pwrite(fd, buf, n, (off_t)off) == (ssize_t)n;
}

static void nap(void)
{
	struct timespec t = { .tv_nsec = NAP_NS };

	nanosleep(&t, NULL);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int lock(int fd, int byte, short type)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	return fcntl(fd, F_OFD_SETLK, &l) ? -errno : 0;
}

bool nomctl_look_alive(const struct nomctl_look *l)
{
	struct flock lk = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = NOMSTACK_LK_LIFE, .l_len = 1 };

	return !fcntl(l->fd, F_OFD_GETLK, &lk) && lk.l_type != F_UNLCK;
}

/* The file counts only if it is the process's own, not planted by another user. */
static bool owner_matches(int fd, pid_t pid, uint64_t *bytes_out)
{
	struct stat file, proc;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	if (fstat(fd, &file) || stat(path, &proc) || !S_ISREG(file.st_mode))
		return false;
	*bytes_out = (uint64_t)file.st_size;
	return file.st_uid == proc.st_uid || file.st_uid == 0;
}

static bool lies_in(uint32_t offset, uint32_t bytes, uint64_t file_bytes)
{
	return offset >= sizeof(struct nomstack_lk_header) && !(offset & 7) && bytes && (uint64_t)offset + bytes <= file_bytes;
}

static int check_header(struct nomctl_look *l, pid_t pid, uint64_t bytes)
{
	struct nomstack_lk_header h;

	if (bytes > NOMSTACK_LK_BYTES_MAX || !get(l->fd, 0, &h, sizeof(h)) || h.magic != NOMSTACK_LK_MAGIC ||
	    h.version != NOMSTACK_LK_VERSION || !lies_in(h.window_offset, h.window_bytes, bytes) ||
	    !lies_in(h.ring_offset, h.ring_bytes, bytes) || (h.ring_bytes & (h.ring_bytes - 1)))
		return -EPROTO;
	/* What a dead process left, or one that is not the file's. */
	if (h.pid != (uint32_t)pid || !nomctl_look_alive(l))
		return -ENOENT;
	l->window_offset = h.window_offset;
	l->window_bytes = h.window_bytes;
	l->ring_offset = h.ring_offset;
	l->ring_bytes = h.ring_bytes;
	return 0;
}

int nomctl_look_open(pid_t pid, unsigned nr, struct nomctl_look **out)
{
	struct nomctl_look *l = calloc(1, sizeof(*l));
	uint64_t bytes;
	char path[40];
	int err;

	if (!l)
		return -ENOMEM;
	if (nr)
		snprintf(path, sizeof(path), NOMSTACK_LK_PATH_NR_FMT, (int)pid, nr);
	else
		snprintf(path, sizeof(path), NOMSTACK_LK_PATH_FMT, (int)pid);
	l->fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (l->fd < 0) {
		err = errno == ELOOP ? -EPROTO : -errno;
		goto err_free;
	}
	err = owner_matches(l->fd, pid, &bytes) ? check_header(l, pid, bytes) : -EPROTO;
	if (err)
		goto err_close;
	l->window = malloc(l->window_bytes);
	l->ring = malloc(l->ring_bytes);
	err = -ENOMEM;
	if (!l->window || !l->ring)
		goto err_close;
	*out = l;
	return 0;

err_close:
	close(l->fd);
	free(l->window);
	free(l->ring);
err_free:
	free(l);
	return err;
}

void nomctl_look_close(struct nomctl_look *l)
{
	if (!l)
		return;
	close(l->fd);		/* and its locks */
	free(l->window);
	free(l->ring);
	free(l);
}

int nomctl_looks_open(pid_t pid, struct nomctl_looks *out)
{
	int err = 0;

	for (out->nr = 0; out->nr < NOMSTACK_LK_STACKS_MAX; out->nr++) {
		err = nomctl_look_open(pid, out->nr, &out->of[out->nr]);
		if (err)
			break;
	}
	if (!err || (err == -ENOENT && out->nr))
		return 0;
	nomctl_looks_close(out);
	return err;
}

void nomctl_looks_close(struct nomctl_looks *l)
{
	while (l->nr)
		nomctl_look_close(l->of[--l->nr]);
}

/* --------------------------------------------------------- questions --- */

struct reply {
	uint64_t next;
	uint32_t nr, row_bytes;
};

/* The lock is held.  Question, then its number (each a system call: ordered). */
static int ask_locked(struct nomctl_look *l, uint32_t kind, uint64_t cursor, uint64_t arg, uint64_t deadline_ms,
		      struct reply *out)
{
	struct nomstack_lk_header h;
	uint64_t seq, done;

	if (!get(l->fd, WORD(ask_seq), &seq, sizeof(seq)))
		return -EPROTO;
	seq++;
	if (!put(l->fd, WORD(ask_kind), &kind, sizeof(kind)) || !put(l->fd, WORD(ask_cursor), &cursor, sizeof(cursor)) ||
	    !put(l->fd, WORD(ask_arg), &arg, sizeof(arg)) || !put(l->fd, WORD(ask_seq), &seq, sizeof(seq)))
		return -EPROTO;
	for (;;) {
		if (!get(l->fd, WORD(done_seq), &done, sizeof(done)))
			return -EPROTO;
		if (done == seq)
			break;
		if (!nomctl_look_alive(l))
			return -ENOENT;
		if (now_ms() >= deadline_ms)
			return -ETIMEDOUT;
		nap();
	}
	if (!get(l->fd, 0, &h, sizeof(h)))
		return -EPROTO;
	if (h.status)
		return h.status < 0 && h.status > -4096 ? h.status : -EPROTO;
	if ((uint64_t)h.nr * h.row_bytes > l->window_bytes ||
	    !get(l->fd, l->window_offset, l->window, (size_t)h.nr * h.row_bytes))
		return -EPROTO;
	*out = (struct reply){ h.next, h.nr, h.row_bytes };
	return 0;
}

static int ask(struct nomctl_look *l, uint32_t kind, uint64_t cursor, uint64_t arg, unsigned timeout_ms,
	       struct reply *out)
{
	uint64_t deadline_ms = now_ms() + timeout_ms;
	int err;

	while ((err = lock(l->fd, NOMSTACK_LK_ASK, F_WRLCK))) {
		if (err != -EAGAIN && err != -EACCES)
			return err;
		if (now_ms() >= deadline_ms)
			return -EBUSY;
		nap();
	}
	err = ask_locked(l, kind, cursor, arg, deadline_ms, out);
	lock(l->fd, NOMSTACK_LK_ASK, F_UNLCK);
	return err;
}

int nomctl_look_ask(struct nomctl_look *l, uint32_t kind, uint64_t arg, unsigned timeout_ms)
{
	struct reply reply;

	return ask(l, kind, 0, arg, timeout_ms, &reply);
}

int nomctl_look_rows(struct nomctl_look *l, uint32_t kind, size_t row_bytes, unsigned timeout_ms, nomctl_look_fn fn,
		     void *arg)
{
	struct reply reply = { 0 };
	unsigned slices = 0;
	int err = 0;

	do {
		if (slices++ == SLICES_MAX)
			return -EPROTO;
		err = ask(l, kind, reply.next, 0, timeout_ms, &reply);
		if (!err && reply.nr && (reply.row_bytes < row_bytes || reply.row_bytes & 7))
			return -EPROTO;
		for (uint32_t i = 0; !err && i < reply.nr; i++)
			err = fn(l->window + (size_t)i * reply.row_bytes, arg);
	} while (!err && reply.next != NOMSTACK_LK_END);
	return err;
}

/* -------------------------------------------------------------- ring --- */

int nomctl_look_trace_begin(struct nomctl_look *l)
{
	if (lock(l->fd, NOMSTACK_LK_TRACE, F_WRLCK))
		return -EBUSY;
	if (!get(l->fd, WORD(head), &l->tail, sizeof(l->tail)) || !put(l->fd, WORD(tail), &l->tail, sizeof(l->tail)))
		return -EPROTO;
	return 0;
}

uint64_t nomctl_look_lost(const struct nomctl_look *l)
{
	uint64_t lost;

	return get(l->fd, WORD(lost), &lost, sizeof(lost)) ? lost : 0;
}

/* The @n bytes from the tail on, in one piece at l->ring. */
static bool copy_ring(struct nomctl_look *l, uint32_t n)
{
	uint32_t place = (uint32_t)(l->tail & (l->ring_bytes - 1)), first = l->ring_bytes - place;

	if (first > n)
		first = n;
	return get(l->fd, l->ring_offset + place, l->ring, first) &&
	       (first == n || get(l->fd, l->ring_offset, l->ring + first, n - first));
}

int nomctl_look_frames(struct nomctl_look *l, nomctl_look_frame_fn fn, void *arg)
{
	struct nomstack_lk_frame f;
	uint64_t head, at = 0, n;
	int err = 0;

	if (!get(l->fd, WORD(head), &head, sizeof(head)))
		return -EPROTO;
	n = head - l->tail;
	if (n > l->ring_bytes || (n & 7) || (n && !copy_ring(l, (uint32_t)n)))
		return -EPROTO;
	while (!err && at < n) {
		if (n - at < sizeof(f))
			return -EPROTO;
		memcpy(&f, l->ring + at, sizeof(f));
		at += sizeof(f);
		if (f.bytes > NOMSTACK_LK_SNAP_MAX || f.bytes > f.wire_bytes || f.bytes > n - at)
			return -EPROTO;
		err = fn(&f, l->ring + at, arg);
		at += (f.bytes + 7u) & ~7u;
	}
	l->tail += at;
	if (!put(l->fd, WORD(tail), &l->tail, sizeof(l->tail)))
		return -EPROTO;
	return err;
}
