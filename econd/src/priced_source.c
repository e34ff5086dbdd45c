// SPDX-License-Identifier: MIT
/*
 * priced's price file, watched.
 *
 * inotify on the directory says at once when a writer closed the file or renamed
 * another over it.  A look at its time, size and inode every so often covers what
 * inotify does not see (network and 9p file systems, symbolic links); such a
 * change counts only when two looks agree, so that a file being written is not
 * read half-way.
 */
#include "priced.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a change of contents changes. */
struct signature {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime;
	int error;		/* of stat(2), or 0 */
};

struct priced_source {
	char *path;
	char *base;		/* last component */
	int inotify;		/* -1: none */
	struct signature read;	/* state last acted upon */
	struct signature seen;	/* state at the last look */
};

static struct signature look(const char *path)
{
	struct signature s;
	struct stat st;

	memset(&s, 0, sizeof(s));
	if (stat(path, &st)) {
		s.error = errno;
		return s;
	}
	s.dev = st.st_dev;
	s.ino = st.st_ino;
	s.size = st.st_size;
	s.mtime = st.st_mtim;
	return s;
}

static bool same(const struct signature *a, const struct signature *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec &&
	       a->error == b->error;
}

static int watch_directory(const char *path)
{
	char *copy = strdup(path);
	int fd;

	if (!copy)
		return -1;
	fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (fd >= 0 && inotify_add_watch(fd, dirname(copy), IN_CLOSE_WRITE | IN_MOVED_TO |
					 IN_MOVED_FROM | IN_DELETE) < 0) {
		close(fd);
		fd = -1;
	}
	free(copy);
	return fd;
}

int priced_source_create(const char *path, struct priced_source **source_out)
{
	struct priced_source *s = calloc(1, sizeof(*s));
	const char *slash = strrchr(path, '/');

	if (!s)
		return -ENOMEM;
	s->path = strdup(path);
	s->base = strdup(slash ? slash + 1 : path);
	if (!s->path || !s->base) {
		s->inotify = -1;
		priced_source_destroy(s);
		return -ENOMEM;
	}
	s->inotify = watch_directory(path);
	*source_out = s;
	return 0;
}

void priced_source_destroy(struct priced_source *s)
{
	if (!s)
		return;
	if (s->inotify >= 0)
		close(s->inotify);
	free(s->path);
	free(s->base);
	free(s);
}

int priced_source_fd(const struct priced_source *s)
{
	return s->inotify;
}

/* Take what inotify has; was any of it about our file? */
static bool drain(struct priced_source *s)
{
	char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool ours = false;
	ssize_t got;

	while (s->inotify >= 0 && (got = read(s->inotify, buf, sizeof(buf))) > 0) {
		for (char *p = buf; p < buf + got;) {
			const struct inotify_event *e = (void *)p;

			ours |= (e->mask & IN_Q_OVERFLOW) || (e->len && !strcmp(e->name, s->base));
			p += sizeof(*e) + e->len;
		}
	}
	return ours;
}

int priced_source_check(struct priced_source *s, bool force, struct econ_prices **prices_out,
			char *err, size_t n)
{
	bool told = drain(s) || force;
	struct signature now = look(s->path);
	bool steady = same(&now, &s->seen);
	int ret;

	s->seen = now;
	/* When told, read: two writes of the same length within the clock's tick look
	 * the same to stat(2). */
	if (!told && (!steady || same(&now, &s->read)))
		return 0;
	s->read = now;
	ret = econ_prices_load(s->path, prices_out, err, n);
	return ret ? ret : 1;
}
