// SPDX-License-Identifier: MIT
/* site.c - the files below the root, in memory, with their header blocks */
#include "site.h"

#include "http_date.h"
#include "http_reply.h"
#include "mime.h"

#include <nomux/log.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#define DEPTH_MAX 64
#define INDEX_NAME "index.html"

struct site {
	struct site_entry *entry;
	uint32_t nr, room;
	uint32_t *slot;		/* hash table: index + 1 of an entry, 0: empty */
	uint32_t slot_mask;
	uint32_t nr_files, nr_refused;
	uint32_t refs;
	size_t used;
};

/* One load. */
struct walk {
	struct site *site;
	const char *root;
	int root_fd;
	char *mem;
	size_t mem_bytes, need;
	char path[SITE_PATH_MAX + 2];	/* "/a/b", of what is looked at */
	char *err;
	size_t err_bytes;
};

/* Not seeded: nobody but the site's owner chooses what is inserted. */
static uint32_t hash_path(const char *s, uint32_t len)
{
	uint64_t h = len, w;

	for (; len >= 8; s += 8, len -= 8) {
		memcpy(&w, s, 8);
		h = (h ^ w) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 32;
	}
	for (w = 0; len; len--)
		w = w << 8 | (uint8_t)*s++;
	h = (h ^ w) * 0x9e3779b97f4a7c15ULL;
	return h ^ h >> 32;
}

static const struct site_entry *find_exact(const struct site *site, const char *path, uint32_t len)
{
	uint32_t hash = hash_path(path, len), i = hash & site->slot_mask;

	for (; site->slot[i]; i = (i + 1) & site->slot_mask) {
		const struct site_entry *e = &site->entry[site->slot[i] - 1];

		if (e->hash == hash && e->path_len == len && !memcmp(e->path, path, len))
			return e;
	}
	return NULL;
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 :
	       c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The segment that ends here may be "." or "..": take it back. */
static int end_segment(const char *out, uint32_t *n)
{
	uint32_t len = *n;

	if (len >= 2 && out[len - 1] == '.' && out[len - 2] == '/') {
		*n = len - 1;
	} else if (len >= 3 && out[len - 1] == '.' && out[len - 2] == '.' && out[len - 3] == '/') {
		len -= 3;
		if (!len)
			return -403;
		while (out[len - 1] != '/')
			len--;
		*n = len;
	}
	return 0;
}

int site_normalize(const char *target, uint32_t len, char *out)
{
	uint32_t n = 0;
	int ret;

	for (uint32_t i = 0; i < len && target[i] != '?'; i++) {
		char c = target[i];

		if (c == '%') {
			int hi = i + 2 < len ? hex(target[i + 1]) : -1;
			int lo = i + 2 < len ? hex(target[i + 2]) : -1;

			if (hi < 0 || lo < 0)
				return -400;
			c = hi << 4 | lo;
			if (!c)
				return -400;
			i += 2;
		}
		if (c == '/') {
			ret = end_segment(out, &n);
			if (ret)
				return ret;
			if (n && out[n - 1] == '/')
				continue;
		}
		if (n == SITE_PATH_MAX)
			return -404;
		out[n++] = c;
	}
	ret = end_segment(out, &n);
	return ret ? ret : (int)n;
}

const struct site_entry *site_find(const struct site *site, const char *target, uint32_t len, bool plain,
				   int *status_out)
{
	char path[SITE_PATH_MAX];
	int n;

	*status_out = 404;
	if (plain)
		return find_exact(site, target, len);
	n = site_normalize(target, len, path);
	if (n < 0) {
		*status_out = -n;
		return NULL;
	}
	return find_exact(site, path, n);
}

static int fail(struct walk *w, int ret, const char *what, const char *advice)
{
	snprintf(w->err, w->err_bytes, "%s%s: %s%s%s", w->root, w->path, what, advice ? ": " : "", advice ? advice : "");
	return ret;
}

static int add_entry(struct walk *w, enum site_kind kind, struct site_block *block)
{
	struct site *site = w->site;
	struct site_entry *e;
	char *path = strdup(w->path);

	if (path && site->nr == site->room) {
		uint32_t room = site->room ? 2 * site->room : 64;

		e = realloc(site->entry, room * sizeof(*e));
		if (e) {
			site->entry = e;
			site->room = room;
		}
	}
	if (!path || site->nr == site->room) {
		free(path);
		return fail(w, -ENOMEM, "no memory for the list of files", NULL);
	}
	e = &site->entry[site->nr++];
	*e = (struct site_entry){ .path = path, .path_len = strlen(path), .kind = kind, .block = block };
	e->hash = hash_path(e->path, e->path_len);
	return 0;
}

static int refuse(struct walk *w, const char *why)
{
	nomux_log(LOG_WARNING, "site: not served, path=%s%s: %s (requests get 403)", w->root, w->path, why);
	w->site->nr_refused++;
	return add_entry(w, SITE_FORBIDDEN, NULL);
}

static int open_beneath(struct walk *w, uint64_t flags)
{
	struct open_how how = {
		.flags = flags | O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	for (int tries = 0; tries < 8; tries++) {	/* EAGAIN: something was renamed meanwhile */
		fd = syscall(SYS_openat2, w->root_fd, w->path[1] ? w->path + 1 : ".", &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd < 0 ? -errno : fd;
}

/* Read all of it.  Return: bytes, or -errno; @bytes + 1 when there is more. */
static ssize_t read_all(int fd, char *buf, size_t bytes)
{
	size_t got = 0;
	char more;
	ssize_t n = 1;

	while (got < bytes && n > 0) {
		n = pread(fd, buf + got, bytes - got, got);
		if (n < 0 && errno != EINTR)
			return -errno;
		got += n > 0 ? n : 0;
		n = n < 0 ? 1 : n;
	}
	if (got == bytes && pread(fd, &more, 1, got) == 1)
		got++;
	return got;
}

static int block_fill(struct walk *w, int fd, const struct stat *st, struct site_block *b)
{
	struct site *site = w->site;
	size_t start = (site->used + 63) & ~(size_t)63, bytes = st->st_size;
	ssize_t got;

	b->body_len = bytes;
	b->mtime_s = st->st_mtim.tv_sec;
	snprintf(b->etag, sizeof(b->etag), "\"%llx-%zx\"",
		 (unsigned long long)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec, bytes);
	http_date_format(b->last_modified, b->mtime_s);
	w->need = w->need + 63 + HTTP_HEAD_MAX + bytes;
	if (start > w->mem_bytes || w->mem_bytes - start < HTTP_HEAD_MAX + bytes)
		return -EFBIG;	/* noted in need; the walk goes on to count the rest */
	b->head = w->mem + start;
	b->head_len = http_reply_file(b->head, 200, NULL, b, mime_type(w->path));
	b->date_s = -1;
	got = read_all(fd, b->head + b->head_len, bytes);
	if (got < 0)
		return got;
	if ((size_t)got != bytes)
		return -ESTALE;
	site->used = start + b->head_len + bytes;
	return 0;
}

static int load_file(struct walk *w, struct site_block **block_out)
{
	struct site_block *b;
	struct stat st;
	int fd, ret;

	*block_out = NULL;
	fd = open_beneath(w, 0);
	if (fd == -ENOSYS)
		return fail(w, fd, "this kernel has no openat2(2)", "Linux 5.6 or newer is needed");
	if (fd < 0)
		return refuse(w, fd == -EXDEV ? "the link leads out of the root" : strerror(-fd));
	b = calloc(1, sizeof(*b));
	if (!b) {
		close(fd);
		return fail(w, -ENOMEM, "no memory for the list of files", NULL);
	}
	ret = -ESTALE;
	for (int tries = 0; ret == -ESTALE && tries < 4; tries++) {	/* grew or shrank while being read */
		if (fstat(fd, &st))
			ret = -errno;
		else if (!S_ISREG(st.st_mode))
			ret = -EINVAL;
		else
			ret = block_fill(w, fd, &st, b);
	}
	close(fd);
	if (!ret) {
		w->site->nr_files++;
		ret = add_entry(w, SITE_FILE, b);
		if (ret)
			free(b);
		else
			*block_out = b;
		return ret;
	}
	free(b);
	if (ret == -EFBIG)
		return 0;
	return refuse(w, ret == -EINVAL ? "not a regular file" : ret == -ESTALE ? "keeps changing while being read" :
		      strerror(-ret));
}

static bool skipped(const char *name)
{
	return name[0] == '.' && strcmp(name, ".well-known");
}

static int load_dir(struct walk *w, int depth);

static int load_name(struct walk *w, int dir_fd, const char *name, int depth, struct site_block **index)
{
	size_t base = strlen(w->path);
	struct site_block *block = NULL;
	struct stat st;
	int ret;

	if (base + 1 + strlen(name) > SITE_PATH_MAX - 1) {
		nomux_log(LOG_WARNING, "site: not served, path=%s%s/%s: longer than %d bytes", w->root, w->path, name,
			  SITE_PATH_MAX);
		w->site->nr_refused++;
		return 0;
	}
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : fail(w, -errno, name, strerror(errno));
	snprintf(w->path + base, sizeof(w->path) - base, "%s%s", base == 1 ? "" : "/", name);
	if (S_ISDIR(st.st_mode)) {
		ret = add_entry(w, SITE_MOVED, NULL);
		if (!ret)
			ret = load_dir(w, depth + 1);
	} else if (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode)) {
		ret = load_file(w, &block);
		if (!strcmp(name, INDEX_NAME))
			*index = block;
	} else {
		ret = refuse(w, "not a regular file");
	}
	w->path[base] = '\0';
	return ret;
}

/* w->path names the directory, without a final slash except for the root. */
static int load_dir(struct walk *w, int depth)
{
	struct site_block *index = NULL;
	size_t base = strlen(w->path);
	struct dirent *d;
	DIR *dir;
	int fd, ret = 0;

	if (depth > DEPTH_MAX)
		return fail(w, -ELOOP, "directories nested too deeply", "64 levels are allowed");
	fd = open_beneath(w, O_DIRECTORY | O_NOFOLLOW);
	if (fd == -ENOSYS)
		return fail(w, fd, "this kernel has no openat2(2)", "Linux 5.6 or newer is needed");
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		ret = fd < 0 ? fd : -errno;
		if (fd >= 0)
			close(fd);
		if (!depth)
			return fail(w, ret, "cannot read the root", strerror(-ret));
		nomux_log(LOG_WARNING, "site: not served, path=%s%s/: %s (requests get 403)", w->root, w->path,
			  strerror(-ret));
		w->site->nr_refused++;
	}
	ret = 0;
	while (dir && !ret && (d = readdir(dir)))
		if (!skipped(d->d_name))
			ret = load_name(w, dirfd(dir), d->d_name, depth, &index);
	if (dir)
		closedir(dir);
	if (ret)
		return ret;
	if (base > 1)
		strcpy(w->path + base, "/");
	ret = add_entry(w, index ? SITE_FILE : SITE_FORBIDDEN, index);
	w->path[base] = '\0';
	return ret;
}

static int build_hash(struct site *site)
{
	uint32_t slots = 16;

	while (slots < 2 * site->nr)
		slots *= 2;
	site->slot = calloc(slots, sizeof(*site->slot));
	if (!site->slot)
		return -ENOMEM;
	site->slot_mask = slots - 1;
	for (uint32_t n = 0; n < site->nr; n++) {
		uint32_t i = site->entry[n].hash & site->slot_mask;

		while (site->slot[i])
			i = (i + 1) & site->slot_mask;
		site->slot[i] = n + 1;
	}
	return 0;
}

int site_load(const char *root, void *mem, size_t mem_bytes, struct site **out, char *err, size_t err_bytes)
{
	struct walk *w = calloc(1, sizeof(*w));
	struct site *site = calloc(1, sizeof(*site));
	int ret = -ENOMEM;

	if (!w || !site) {
		snprintf(err, err_bytes, "%s: no memory for the list of files", root);
		goto out;
	}
	*w = (struct walk){ .site = site, .root = root, .mem = mem, .mem_bytes = mem_bytes, .err = err,
			    .err_bytes = err_bytes };
	site->refs = 1;
	w->root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (w->root_fd < 0) {
		ret = fail(w, -errno, "cannot open the root", strerror(errno));
		goto out;
	}
	strcpy(w->path, "/");
	ret = load_dir(w, 0);
	close(w->root_fd);
	if (!ret && w->need > mem_bytes) {
		snprintf(err, err_bytes, "%s: the files need up to %zu bytes of memory, --site-bytes gives %zu: raise it to %zu, or serve less",
			 root, w->need, mem_bytes, w->need);
		ret = -EFBIG;
	}
	if (!ret) {
		ret = build_hash(site);
		if (ret)
			snprintf(err, err_bytes, "%s: no memory for the list of files", root);
	}
out:
	free(w);
	if (ret)
		site_free(site);
	else
		*out = site;
	return ret;
}

void site_free(struct site *site)
{
	if (!site)
		return;
	for (uint32_t i = 0; i < site->nr; i++) {
		const struct site_entry *e = &site->entry[i];

		/* "dir/" borrows the block of its index.html */
		if (e->block && e->path[e->path_len - 1] != '/')
			free(e->block);
		free((char *)e->path);
	}
	free(site->entry);
	free(site->slot);
	free(site);
}

uint32_t site_nr_files(const struct site *site)
{
	return site->nr_files;
}

uint32_t site_nr_refused(const struct site *site)
{
	return site->nr_refused;
}

size_t site_bytes(const struct site *site)
{
	return site->used;
}

void site_get(struct site *site)
{
	site->refs++;
}

bool site_put(struct site *site)
{
	return --site->refs == 0;
}
