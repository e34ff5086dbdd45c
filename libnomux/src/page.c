// SPDX-License-Identifier: MIT
/*
 * Writer's side of the page of counters and knobs; <nomux/page_layout.h> has
 * the protocol.
 *
 * What others write into the page is a request and its sequence numbers.  The
 * knobs' ranges are checked against a private copy: the one in the page is for
 * readers, and could have been changed.
 */
#include <nomux/page.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include <nomux/log.h>
#include <nomux/page_layout.h>

#include "internal.h"

_Static_assert(sizeof(struct nomux_pl_header) == 192, "layout");
_Static_assert(offsetof(struct nomux_pl_header, knob_requests) == 128, "layout");
_Static_assert(sizeof(struct nomux_pl_counter) == 64, "layout");
_Static_assert(sizeof(struct nomux_pl_knob) == 240, "layout");

struct nomux_page {
	struct nomux_pl_header *hdr;
	struct nomux_pl_counter *counter;
	struct nomux_pl_knob *knob;
	size_t bytes;
	uint32_t nr_counters, nr_knobs;
	pid_t pid;			/* a child after fork() must not remove it */
	uint64_t seen_requests;		/* header's knob_requests when all was taken */
	uint64_t checking;		/* the same, while knobs are being polled */
	uint32_t unchecked;		/* knobs not polled since `checking` was read */
	struct {
		int64_t min, max;
		uint64_t seen_seq;
	} own[NOMUX_PL_KNOBS];
	char path[32];
};

static bool name_ok(const char *s, size_t max)
{
	size_t i;

	if (!s || !s[0])
		return false;
	for (i = 0; s[i]; i++)
		if (i == max - 1 || !((s[i] >= 'a' && s[i] <= 'z') ||
				      (s[i] >= '0' && s[i] <= '9') || strchr("_.-", s[i])))
			return false;
	return true;
}

static bool text_ok(const char *s, size_t max)
{
	size_t i;

	if (!s)
		return false;
	for (i = 0; s[i]; i++)
		if (i == max - 1 || (unsigned char)s[i] < ' ' || (unsigned char)s[i] > '~')
			return false;
	return true;
}

/*
 * Made under another name and then linked, so that a reader never sees half a
 * page.  A file of that name is of a dead process that had our pid - unless its
 * start time is ours.
 */
static int page_publish(struct nomux_page *page, const char *temp)
{
	struct nomux_pl_header old;
	uint64_t start;
	int fd, err;

	if (!link(temp, page->path))
		return 0;
	if (errno != EEXIST)
		return -errno;
	err = nomux__start_time(getpid(), &start);
	if (err)
		return err;
	fd = open(page->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0) {
		bool ours = pread(fd, &old, sizeof(old), 0) == (ssize_t)sizeof(old) &&
			    old.magic == NOMUX_PL_MAGIC && old.start_time == start &&
			    old.pid == (uint32_t)getpid();

		close(fd);
		if (ours)
			return -EEXIST;
	}
	return rename(temp, page->path) ? -errno : 0;
}

static int page_map(struct nomux_page *page, int fd)
{
	char *p;

	page->bytes = ALIGN_UP(sizeof(*page->hdr) + NOMUX_PL_COUNTERS * sizeof(*page->counter) +
			       NOMUX_PL_KNOBS * sizeof(*page->knob), NOMUX_PAGE_BYTES);
	/* Not ftruncate(): without room, a later store would be SIGBUS. */
	if (posix_fallocate(fd, 0, (off_t)page->bytes))
		return -ENOSPC;
	p = mmap(NULL, page->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	page->hdr = (struct nomux_pl_header *)(void *)p;
	page->counter = (struct nomux_pl_counter *)(page->hdr + 1);
	page->knob = (struct nomux_pl_knob *)(page->counter + NOMUX_PL_COUNTERS);
	return 0;
}

static int page_fill_header(struct nomux_page *page, const char *app_name)
{
	struct nomux_pl_header *h = page->hdr;
	int err;

	err = nomux__start_time(page->pid, &h->start_time);
	if (err)
		return err;
	h->magic = NOMUX_PL_MAGIC;
	h->version = NOMUX_PL_VERSION;
	h->bytes = (uint32_t)page->bytes;
	h->pid = (uint32_t)page->pid;
	snprintf(h->app_name, sizeof(h->app_name), "%s", app_name);
	h->counter_offset = sizeof(*h);
	h->counter_stride = sizeof(*page->counter);
	h->counter_max = NOMUX_PL_COUNTERS;
	h->knob_offset = (uint32_t)((char *)page->knob - (char *)h);
	h->knob_stride = sizeof(*page->knob);
	h->knob_max = NOMUX_PL_KNOBS;
	return 0;
}

int nomux_page_create(const char *app_name, struct nomux_page **page_out)
{
	struct nomux_page *page;
	char temp[48], name[32];
	int fd, err;

	if (!app_name || !app_name[0] || !page_out)
		return -EINVAL;
	snprintf(name, sizeof(name), "%s", app_name);
	if (!text_ok(name, sizeof(name)))
		return -EINVAL;
	page = calloc(1, sizeof(*page));
	if (!page)
		return -ENOMEM;
	page->pid = getpid();
	snprintf(page->path, sizeof(page->path), NOMUX_PL_PATH_FMT, (int)page->pid);
	snprintf(temp, sizeof(temp), "/dev/shm/.nom-%d-XXXXXX", (int)page->pid);
	fd = mkostemp(temp, O_CLOEXEC);		/* mode 0600 */
	if (fd < 0) {
		err = -errno;
		goto err_free;
	}
	err = page_map(page, fd);
	close(fd);
	if (err)
		goto err_unlink;
	err = page_fill_header(page, name);
	if (!err)
		err = page_publish(page, temp);
	if (err)
		goto err_unmap;
	unlink(temp);			/* gone already if it was renamed */
	*page_out = page;
	return 0;

err_unmap:
	munmap(page->hdr, page->bytes);
err_unlink:
	unlink(temp);
err_free:
	nomux_log(LOG_WARNING, "nomux: no page of counters in /dev/shm: %s", strerror(-err));
	free(page);
	return err;
}

void nomux_page_destroy(struct nomux_page *page)
{
	if (!page)
		return;
	if (page->pid == getpid())
		unlink(page->path);
	munmap(page->hdr, page->bytes);
	free(page);
}

int nomux_page_counter(struct nomux_page *page, const char *name, const char *unit,
		       enum nomux_counter_kind kind, uint64_t **word_out)
{
	struct nomux_pl_counter *c;
	uint32_t i;

	if (!page || !word_out || (kind != NOMUX_COUNTER && kind != NOMUX_GAUGE) ||
	    !name_ok(name, sizeof(c->name)) || !text_ok(unit, sizeof(c->unit)))
		return -EINVAL;
	for (i = 0; i < page->nr_counters; i++)
		if (!strncmp(page->counter[i].name, name, sizeof(c->name)))
			return -EEXIST;
	if (i == NOMUX_PL_COUNTERS)
		return -ENOSPC;
	c = &page->counter[i];
	c->value = 0;
	c->kind = kind;
	memcpy(c->name, name, strlen(name) + 1);
	memcpy(c->unit, unit, strlen(unit) + 1);
	page->nr_counters = i + 1;
	/* The entry before its number; pairs with the reader's acquire. */
	__atomic_store_n(&page->hdr->nr_counters, i + 1, __ATOMIC_RELEASE);
	*word_out = &c->value;
	return 0;
}

int nomux_page_knob(struct nomux_page *page, const char *name, const char *unit,
		    const char *effect, int64_t min, int64_t max, int64_t def, int *id_out)
{
	struct nomux_pl_knob *k;
	uint32_t i;

	if (!page || !id_out || min > def || def > max || !name_ok(name, sizeof(k->name)) ||
	    !text_ok(unit, sizeof(k->unit)) || !text_ok(effect, sizeof(k->effect)))
		return -EINVAL;
	for (i = 0; i < page->nr_knobs; i++)
		if (!strncmp(page->knob[i].name, name, sizeof(k->name)))
			return -EEXIST;
	if (i == NOMUX_PL_KNOBS)
		return -ENOSPC;
	k = &page->knob[i];
	k->min = min;
	k->max = max;
	k->def = def;
	k->now = def;
	memcpy(k->name, name, strlen(name) + 1);
	memcpy(k->unit, unit, strlen(unit) + 1);
	memcpy(k->effect, effect, strlen(effect) + 1);
	page->own[i].min = min;
	page->own[i].max = max;
	page->nr_knobs = i + 1;
	__atomic_store_n(&page->hdr->nr_knobs, i + 1, __ATOMIC_RELEASE);
	*id_out = (int)i;
	return 0;
}

bool nomux_page_knobs_changed(struct nomux_page *page)
{
	/* Pairs with the requester's release: its req_seq is there to be seen. */
	uint64_t now = __atomic_load_n(&page->hdr->knob_requests, __ATOMIC_ACQUIRE);

	if (__builtin_expect(now == page->seen_requests, 1))
		return false;
	if (!page->unchecked || now != page->checking) {
		page->checking = now;
		page->unchecked = page->nr_knobs == 32 ? UINT32_MAX : (1U << page->nr_knobs) - 1;
		if (!page->unchecked)
			page->seen_requests = now;
	}
	return page->unchecked != 0;
}

bool nomux_page_knob_take(struct nomux_page *page, int id, int64_t *value_out)
{
	struct nomux_pl_knob *k;
	uint64_t seq;
	int64_t value;
	bool valid;

	if (id < 0 || (uint32_t)id >= page->nr_knobs || !value_out)
		return false;
	page->unchecked &= ~(1U << id);
	if (!page->unchecked)
		page->seen_requests = page->checking;
	k = &page->knob[id];
	seq = __atomic_load_n(&k->req_seq, __ATOMIC_ACQUIRE);
	if (seq == page->own[id].seen_seq)
		return false;
	page->own[id].seen_seq = seq;
	value = __atomic_load_n(&k->req_value, __ATOMIC_RELAXED);
	valid = value >= page->own[id].min && value <= page->own[id].max;
	if (valid) {
		__atomic_store_n(&k->now, value, __ATOMIC_RELAXED);
		*value_out = value;
	} else {
		__atomic_store_n(&k->refused, k->refused + 1, __ATOMIC_RELAXED);
	}
	/* The answer before its number; pairs with the requester's acquire. */
	__atomic_store_n(&k->done_seq, seq, __ATOMIC_RELEASE);
	return valid;
}

void nomux_page_knob_set(struct nomux_page *page, int id, int64_t value)
{
	if (!page || id < 0 || (uint32_t)id >= page->nr_knobs)
		return;
	if (value < page->own[id].min)
		value = page->own[id].min;
	if (value > page->own[id].max)
		value = page->own[id].max;
	__atomic_store_n(&page->knob[id].now, value, __ATOMIC_RELAXED);
}
