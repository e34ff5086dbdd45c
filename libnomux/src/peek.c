// SPDX-License-Identifier: MIT
/*
 * Reader's side of the page of counters and knobs.
 *
 * The page belongs to somebody else, who may write anything into it at any
 * time, or cut the file short.  So it is never mapped: each look copies it with
 * pread(2), which cannot fault, into a buffer of bounded size, and all checks
 * and uses are of that copy.  Words that change are read once more by
 * themselves, eight bytes at a time, since a long copy may tear them.  Strings
 * are terminated and made printable: they end up on somebody's terminal.
 */
#include <nomux/peek.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <nomux/page_layout.h>

#include "internal.h"

#define PAGE_MAX_BYTES	(1UL << 20)
#define ENTRIES_MAX	4096U

struct nomux_peek {
	int fd;
	pid_t pid;
	size_t bytes;
	char *copy;			/* of the whole file */
	char app_name[32];
};

static bool full_pread(int fd, void *buf, size_t bytes, uint64_t off)
{
	return pread(fd, buf, bytes, (off_t)off) == (ssize_t)bytes;
}

static void clean_string(char *dst, const char *src, size_t n)
{
	size_t i;

	for (i = 0; i + 1 < n && src[i]; i++)
		dst[i] = src[i] >= ' ' && src[i] <= '~' ? src[i] : '?';
	dst[i] = '\0';
}

/* Is the process that made the page the one that has its pid now? */
static bool writer_alive(const struct nomux_pl_header *h, pid_t pid)
{
	uint64_t start;

	return h->pid == (uint32_t)pid && !nomux__start_time(pid, &start) &&
	       start == h->start_time;
}

/* A page counts only if it is the process's own, not planted by another user. */
static bool owner_matches(int fd, pid_t pid, size_t *bytes_out)
{
	struct stat page, proc;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	if (fstat(fd, &page) || stat(path, &proc) || !S_ISREG(page.st_mode))
		return false;
	if (page.st_uid != proc.st_uid && page.st_uid != 0)
		return false;
	*bytes_out = page.st_size > 0 ? (size_t)page.st_size : 0;
	return true;
}

int nomux_peek_open(pid_t pid, struct nomux_peek **out)
{
	struct nomux_pl_header h;
	struct nomux_peek *peek;
	char path[32];
	int err;

	if (pid <= 0 || !out)
		return -EINVAL;
	peek = calloc(1, sizeof(*peek));
	if (!peek)
		return -ENOMEM;
	peek->pid = pid;
	snprintf(path, sizeof(path), NOMUX_PL_PATH_FMT, (int)pid);
	peek->fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (peek->fd < 0) {
		err = errno == ELOOP ? -EPROTO : -errno;
		goto err_free;
	}
	if (!owner_matches(peek->fd, pid, &peek->bytes)) {
		err = kill(pid, 0) && errno == ESRCH ? -ENOENT : -EPROTO;
		goto err_close;
	}
	err = -EPROTO;
	if (peek->bytes < sizeof(h) || peek->bytes > PAGE_MAX_BYTES ||
	    !full_pread(peek->fd, &h, sizeof(h), 0) ||
	    h.magic != NOMUX_PL_MAGIC || h.version != NOMUX_PL_VERSION)
		goto err_close;
	if (!writer_alive(&h, pid)) {
		err = -ENOENT;
		goto err_close;
	}
	peek->copy = malloc(peek->bytes);
	if (!peek->copy) {
		err = -ENOMEM;
		goto err_close;
	}
	clean_string(peek->app_name, h.app_name, sizeof(peek->app_name));
	*out = peek;
	return 0;

err_close:
	close(peek->fd);
err_free:
	free(peek);
	return err;
}

void nomux_peek_close(struct nomux_peek *peek)
{
	if (!peek)
		return;
	close(peek->fd);
	free(peek->copy);
	free(peek);
}

const char *nomux_peek_app_name(const struct nomux_peek *peek)
{
	return peek->app_name;
}

int nomux_peek_list(nomux_peek_app_fn fn, void *arg)
{
	struct nomux_peek *peek;
	struct dirent *entry;
	int err = 0;
	DIR *dir;

	if (!fn)
		return -EINVAL;
	dir = opendir("/dev/shm");
	if (!dir)
		return -errno;
	while (!err && (entry = readdir(dir))) {
		char *end;
		long pid;

		if (strncmp(entry->d_name, "nom-", 4) || !isdigit((unsigned char)entry->d_name[4]))
			continue;
		pid = strtol(entry->d_name + 4, &end, 10);
		if (*end || pid <= 0 || pid > INT_MAX || nomux_peek_open((pid_t)pid, &peek))
			continue;
		err = fn((pid_t)pid, peek->app_name, arg);
		nomux_peek_close(peek);
	}
	closedir(dir);
	return err;
}

/* A table of the page, as far as it lies in the copy. */
struct table {
	uint32_t offset, stride, nr;
};

static int refresh(struct nomux_peek *peek, struct nomux_pl_header *h)
{
	if (!full_pread(peek->fd, peek->copy, peek->bytes, 0))
		return -EPROTO;
	memcpy(h, peek->copy, sizeof(*h));
	return h->magic == NOMUX_PL_MAGIC ? 0 : -EPROTO;
}

static struct table bound_table(const struct nomux_peek *peek, uint32_t offset, uint32_t stride,
				uint32_t max, uint32_t nr, size_t entry_bytes)
{
	struct table t = { offset, stride, 0 };
	uint64_t fit;

	if (offset < sizeof(struct nomux_pl_header) || offset >= peek->bytes || (offset & 7) ||
	    stride < entry_bytes || (stride & 7))
		return t;
	if (peek->bytes - offset < entry_bytes)
		return t;
	fit = (peek->bytes - offset - entry_bytes) / stride + 1;
	t.nr = nr < max ? nr : max;
	t.nr = t.nr < ENTRIES_MAX ? t.nr : ENTRIES_MAX;
	t.nr = t.nr < fit ? t.nr : (uint32_t)fit;
	return t;
}

static uint64_t entry_offset(const struct table *t, uint32_t i)
{
	return t->offset + (uint64_t)t->stride * i;
}

int nomux_peek_counters(struct nomux_peek *peek, nomux_peek_counter_fn fn, void *arg)
{
	struct nomux_pl_counter c;
	struct nomux_pl_header h;
	char name[sizeof(c.name)], unit[sizeof(c.unit)];
	struct table t;
	uint32_t i;
	int err;

	if (!peek || !fn)
		return -EINVAL;
	err = refresh(peek, &h);
	if (err)
		return err;
	t = bound_table(peek, h.counter_offset, h.counter_stride, h.counter_max, h.nr_counters,
			sizeof(c));
	for (i = 0; i < t.nr && !err; i++) {
		uint64_t off = entry_offset(&t, i);

		memcpy(&c, peek->copy + off, sizeof(c));
		full_pread(peek->fd, &c.value, sizeof(c.value),
			   off + offsetof(struct nomux_pl_counter, value));
		clean_string(name, c.name, sizeof(name));
		clean_string(unit, c.unit, sizeof(unit));
		err = fn(name, unit, c.kind == NOMUX_GAUGE ? NOMUX_GAUGE : NOMUX_COUNTER, c.value,
			 arg);
	}
	return err;
}

static int knob_table(struct nomux_peek *peek, struct table *t_out)
{
	struct nomux_pl_header h;
	int err;

	err = refresh(peek, &h);
	if (err)
		return err;
	*t_out = bound_table(peek, h.knob_offset, h.knob_stride, h.knob_max, h.nr_knobs,
			     sizeof(struct nomux_pl_knob));
	return 0;
}

int nomux_peek_knobs(struct nomux_peek *peek, nomux_peek_knob_fn fn, void *arg)
{
	struct nomux_pl_knob k;
	char name[sizeof(k.name)], unit[sizeof(k.unit)], effect[sizeof(k.effect)];
	struct table t;
	uint32_t i;
	int err;

	if (!peek || !fn)
		return -EINVAL;
	err = knob_table(peek, &t);
	if (err)
		return err;
	for (i = 0; i < t.nr && !err; i++) {
		uint64_t off = entry_offset(&t, i);

		memcpy(&k, peek->copy + off, sizeof(k));
		full_pread(peek->fd, &k.now, sizeof(k.now),
			   off + offsetof(struct nomux_pl_knob, now));
		clean_string(name, k.name, sizeof(name));
		clean_string(unit, k.unit, sizeof(unit));
		clean_string(effect, k.effect, sizeof(effect));
		err = fn(name, unit, effect, k.min, k.max, k.def, k.now, arg);
	}
	return err;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void nap(void)
{
	struct timespec ts = { .tv_nsec = 1000000 };

	nanosleep(&ts, NULL);
}

/*
 * One requester at a time: a lock on bytes of the file, which the kernel drops
 * should its holder die.
 */
static int lock_bytes(int fd, uint64_t off, size_t bytes, uint64_t deadline_ms)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET,
		.l_start = (off_t)off, .l_len = (off_t)bytes,
	};

	while (fcntl(fd, F_OFD_SETLK, &lock)) {
		if (errno != EAGAIN && errno != EACCES)
			return -errno;
		if (now_ms() >= deadline_ms)
			return -EBUSY;
		nap();
	}
	return 0;
}

static void unlock_bytes(int fd, uint64_t off, size_t bytes)
{
	struct flock lock = {
		.l_type = F_UNLCK, .l_whence = SEEK_SET,
		.l_start = (off_t)off, .l_len = (off_t)bytes,
	};

	fcntl(fd, F_OFD_SETLK, &lock);
}

static bool put_word(int fd, uint64_t off, uint64_t value)
{
	return pwrite(fd, &value, sizeof(value), (off_t)off) == (ssize_t)sizeof(value);
}

/* Requesters of all knobs share the bell: each must make it change. */
static int ring_bell(int fd, uint64_t deadline_ms)
{
	const uint64_t off = offsetof(struct nomux_pl_header, knob_requests);
	uint64_t bell;
	int err;

	err = lock_bytes(fd, off, sizeof(bell), deadline_ms);
	if (err)
		return err;
	if (!full_pread(fd, &bell, sizeof(bell), off) || !put_word(fd, off, bell + 1))
		err = -EPROTO;
	unlock_bytes(fd, off, sizeof(bell));
	return err;
}

/* The knob is locked.  Value, then its number, then the bell (each a system call: ordered). */
static int request_locked(struct nomux_peek *peek, uint64_t off, int64_t value,
			  uint64_t deadline_ms)
{
	uint64_t seq, done, refused, refused_before;
	int fd = peek->fd, err;

#define KNOB_WORD(field) (off + offsetof(struct nomux_pl_knob, field))
	if (!full_pread(fd, &seq, sizeof(seq), KNOB_WORD(req_seq)) ||
	    !full_pread(fd, &refused_before, sizeof(refused_before), KNOB_WORD(refused)))
		return -EPROTO;
	seq++;
	if (!put_word(fd, KNOB_WORD(req_value), (uint64_t)value) ||
	    !put_word(fd, KNOB_WORD(req_seq), seq))
		return -EPROTO;
	err = ring_bell(fd, deadline_ms);
	if (err)
		return err;
	for (;;) {
		if (!full_pread(fd, &done, sizeof(done), KNOB_WORD(done_seq)) ||
		    !full_pread(fd, &refused, sizeof(refused), KNOB_WORD(refused)))
			return -EPROTO;
		if (done == seq)
			return refused == refused_before ? 0 : -ERANGE;
		if (now_ms() >= deadline_ms)
			return -ETIMEDOUT;
		nap();
	}
#undef KNOB_WORD
}

int nomux_peek_knob_request(struct nomux_peek *peek, const char *name, int64_t value,
			    unsigned int timeout_ms)
{
	uint64_t deadline_ms = now_ms() + timeout_ms, off;
	struct nomux_pl_knob k;
	char k_name[sizeof(k.name)];
	struct table t;
	uint32_t i;
	int err;

	if (!peek || !name)
		return -EINVAL;
	err = knob_table(peek, &t);
	if (err)
		return err;
	for (i = 0; i < t.nr; i++) {
		off = entry_offset(&t, i);
		memcpy(&k, peek->copy + off, sizeof(k));
		clean_string(k_name, k.name, sizeof(k_name));
		if (strcmp(k_name, name))
			continue;
		if (value < k.min || value > k.max)
			return -ERANGE;
		err = lock_bytes(peek->fd, off, sizeof(k), deadline_ms);
		if (err)
			return err;
		err = request_locked(peek, off, value, deadline_ms);
		unlock_bytes(peek->fd, off, sizeof(k));
		return err;
	}
	return -ENOENT;
}
