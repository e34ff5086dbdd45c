// SPDX-License-Identifier: MIT
/*
 * quiet: see quiet.h.  Counters of the kernel, before and after.
 *
 * Why this is complete: whatever runs on a core other than its holder's own
 * instructions gets there by an interrupt or an exception, or by the scheduler.
 * Each interrupt has a row; what the holder does itself (faults, system calls)
 * is not noise; and if another task has a turn, the holder is switched out, and
 * counts it.  Tasks and trace events only put names to these.  What the kernel
 * itself cannot see is not here either: system management interrupts, and a
 * hypervisor that takes the whole core away.
 */
#include "quiet.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "quiet_internal.h"

#define FILE_MAX	(1U << 18)

int quiet_read(int dir, const char *path, char *buf, size_t n)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t got = 0;

	if (fd < 0)
		return -errno;
	while (len + 1 < n && (got = read(fd, buf + len, n - 1 - len)) > 0)
		len += (size_t)got;
	close(fd);
	buf[len] = '\0';
	return got < 0 ? -errno : (int)len;
}

/* ---------------------------------------------------------------- rows --- */

int quiet_column(const char *head, unsigned int cpu, int *columns_out)
{
	int column = -1, used;
	unsigned int nr;

	for (*columns_out = 0; sscanf(head, " CPU%u%n", &nr, &used) == 1; head += used) {
		if (nr == cpu)
			column = *columns_out;
		++*columns_out;
	}
	return column;
}

bool quiet_row(char *line, int column, int columns, struct quiet_row *row)
{
	char *colon = strchr(line, ':'), *at, *end;

	if (!colon)
		return false;
	*colon = '\0';
	at = colon + 1;
	for (int i = 0; i < columns; i++, at = end) {
		uint64_t v = strtoull(at, &end, 10);

		if (end == at)
			return false;	/* of the machine as a whole: ERR, MIS */
		if (i == column)
			row->count = v;
	}
	snprintf(row->name, sizeof(row->name), "%s", line + strspn(line, " "));
	snprintf(row->text, sizeof(row->text), "%s", at + strspn(at, " "));
	return true;
}

static int read_rows(struct quiet_sample *s, const char *path, enum quiet_kind kind,
		     unsigned int cpu, char *text)
{
	char *save = NULL, *line;
	int column, columns = 0, ret;

	ret = quiet_read(AT_FDCWD, path, text, FILE_MAX);
	if (ret < 0)
		return ret;
	line = strtok_r(text, "\n", &save);
	column = line ? quiet_column(line, cpu, &columns) : -1;
	if (column < 0)
		return -ENOENT;
	while ((line = strtok_r(NULL, "\n", &save))) {
		struct quiet_row *row = quiet_grow((void **)&s->rows, &s->nr_rows, sizeof(*row));

		if (!row)
			return -ENOMEM;
		row->kind = kind;
		if (!quiet_row(line, column, columns, row))
			s->nr_rows--;
	}
	return 0;
}

/* --------------------------------------------------------------- tasks --- */

static uint64_t number_after(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

/* A task that ended meanwhile is no error. */
static bool read_task(int dir, pid_t tgid, struct quiet_task *t, char *text)
{
	char *open_paren, *close_paren, *at;
	int field = 3;

	if (quiet_read(dir, "stat", text, FILE_MAX) <= 0)
		return false;
	open_paren = strchr(text, '(');
	close_paren = strrchr(text, ')');
	if (!open_paren || !close_paren)
		return false;
	t->tgid = tgid;
	t->tid = atoi(text);
	*close_paren = '\0';
	snprintf(t->comm, sizeof(t->comm), "%s", open_paren + 1);
	t->cpu = ~0U;
	for (at = strtok(close_paren + 1, " "); at; at = strtok(NULL, " "), field++) {
		if (field == 22)
			t->started = strtoull(at, NULL, 10);
		else if (field == 39)
			t->cpu = (unsigned int)strtoul(at, NULL, 10);
	}
	if (quiet_read(dir, "status", text, FILE_MAX) <= 0)
		return false;
	t->voluntary = number_after(text, "\nvoluntary_ctxt_switches:");
	t->forced = number_after(text, "\nnonvoluntary_ctxt_switches:");
	return true;
}

static int read_threads(struct quiet_sample *s, int proc, const char *pid, char *text)
{
	char path[64];
	struct dirent *e;
	int fd, ret = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%.16s/task", pid);
	fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d)
		return 0;
	while (!ret && (e = readdir(d))) {
		struct quiet_task *t;
		int dir;

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		dir = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dir < 0)
			continue;
		t = quiet_grow((void **)&s->tasks, &s->nr_tasks, sizeof(*t));
		if (!t)
			ret = -ENOMEM;
		else if (!read_task(dir, atoi(pid), t, text))
			s->nr_tasks--;
		close(dir);
	}
	closedir(d);
	return ret;
}

static int read_tasks(struct quiet_sample *s, char *text)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	int ret = 0;

	if (!d)
		return -errno;
	while (!ret && (e = readdir(d)))
		if (isdigit((unsigned char)e->d_name[0]))
			ret = read_threads(s, dirfd(d), e->d_name, text);
	closedir(d);
	return ret;
}

/* -------------------------------------------------------------- samples --- */

void *quiet_grow(void **list, size_t *nr, size_t bytes)
{
	void *more;

	/* room is the next power of two, from 64 on */
	if (!*nr || (*nr >= 64 && !(*nr & (*nr - 1)))) {
		more = realloc(*list, (*nr < 64 ? 64 : *nr * 2) * bytes);
		if (!more)
			return NULL;
		*list = more;
	}
	more = (char *)*list + (*nr)++ * bytes;
	memset(more, 0, bytes);
	return more;
}

static void forget(struct quiet_sample *s)
{
	free(s->rows);
	free(s->tasks);
	memset(s, 0, sizeof(*s));
}

/*
 * Tasks outside, counters inside: what the walk through /proc takes, tens of
 * milliseconds, then lies between the two looks at the counters and at the tasks
 * alike, and nothing is counted that no task could be blamed for.
 */
static int sample(struct quiet *q, struct quiet_sample *s, bool first)
{
	char *text = malloc(FILE_MAX);
	int ret = text ? 0 : -ENOMEM;

	forget(s);
	if (!ret && first)
		ret = read_tasks(s, text);
	if (!ret)
		ret = read_rows(s, "/proc/interrupts", QUIET_INTERRUPT, q->cpu, text);
	if (!ret)
		ret = read_rows(s, "/proc/softirqs", QUIET_SOFTIRQ, q->cpu, text);
	if (!ret && !first)
		ret = read_tasks(s, text);
	free(text);
	return ret;
}

int quiet_open(unsigned int cpu, pid_t holder, struct quiet **out)
{
	struct quiet *q = calloc(1, sizeof(*q));

	if (!q)
		return -ENOMEM;
	q->cpu = cpu;
	q->holder = holder;
	*out = q;
	return 0;
}

void quiet_close(struct quiet *q)
{
	if (!q)
		return;
	quiet_trace_end(q);
	forget(&q->before);
	forget(&q->after);
	free(q->noise);
	free(q->origins);
	free(q);
}

int quiet_begin(struct quiet *q)
{
	q->looked = false;
	return sample(q, &q->before, true);
}

int quiet_look(struct quiet *q)
{
	int ret = sample(q, &q->after, false);

	q->looked = !ret;
	return ret;
}

/* ----------------------------------------------------------- comparison --- */

static int add_noise(struct quiet *q, enum quiet_kind kind, uint64_t count, uint64_t ours,
		     const char *what)
{
	struct quiet_noise *n = quiet_grow((void **)&q->noise, &q->nr_noise, sizeof(*n));

	if (!n)
		return -ENOMEM;
	n->kind = kind;
	n->count = count;
	n->ours = ours < count ? ours : count;
	snprintf(n->what, sizeof(n->what), "%s", what);
	return 0;
}

static const struct quiet_row *same_row(const struct quiet_sample *s, const struct quiet_row *row)
{
	for (size_t i = 0; i < s->nr_rows; i++)
		if (s->rows[i].kind == row->kind && !strcmp(s->rows[i].name, row->name))
			return &s->rows[i];
	return NULL;
}

/* The lease's events come by these rows; so do the interrupts of its devices. */
static uint64_t own_share(const struct quiet_row *row, uint64_t kicks, uint64_t timers)
{
	if (row->kind != QUIET_INTERRUPT)
		return 0;
	if (!strcmp(row->name, "RES"))
		return kicks;
	if (!strcmp(row->name, "LOC"))
		return timers;
	return strstr(row->text, "vfio-") ? UINT64_MAX : 0;
}

static int compare_rows(struct quiet *q, uint64_t kicks, uint64_t timers)
{
	int ret = 0;

	for (size_t i = 0; i < q->after.nr_rows && !ret; i++) {
		const struct quiet_row *now = &q->after.rows[i], *then = same_row(&q->before, now);
		uint64_t count = now->count - (then ? then->count : 0);
		char what[sizeof(q->noise->what)];

		if (!count)
			continue;
		snprintf(what, sizeof(what), "%s%s%s", now->name, *now->text ? " " : "", now->text);
		ret = add_noise(q, now->kind, count, own_share(now, kicks, timers), what);
	}
	return ret;
}

static const struct quiet_task *same_task(const struct quiet_sample *s, const struct quiet_task *t)
{
	for (size_t i = 0; i < s->nr_tasks; i++)
		if (s->tasks[i].tid == t->tid && s->tasks[i].started == t->started)
			return &s->tasks[i];
	return NULL;
}

/* The holder may wait of its own accord, and is then switched out voluntarily. */
static int compare_task(struct quiet *q, const struct quiet_task *now)
{
	const struct quiet_task *then = same_task(&q->before, now);
	uint64_t forced = now->forced - (then ? then->forced : 0);
	uint64_t voluntary = now->voluntary - (then ? then->voluntary : 0);
	bool holds = q->holder && now->tgid == q->holder;
	char what[96];
	int ret = 0;

	if (now->cpu != q->cpu || (!forced && !voluntary))
		return 0;
	snprintf(what, sizeof(what), "%s-%d", now->comm, (int)now->tid);
	if (!holds)
		return add_noise(q, QUIET_TASK, forced + voluntary, 0, what);
	if (forced)
		ret = add_noise(q, QUIET_SWITCHED, forced, 0, what);
	if (!ret && voluntary)
		ret = add_noise(q, QUIET_SWITCHED, voluntary, voluntary, what);
	return ret;
}

/* Each sleep of the holder's has a timer, on its own core (NOM_CORE_WAIT). */
static uint64_t sleeps(const struct quiet *q)
{
	uint64_t nr = 0;

	for (size_t i = 0; i < q->after.nr_tasks; i++) {
		const struct quiet_task *now = &q->after.tasks[i], *then = same_task(&q->before, now);

		if (q->holder && now->tgid == q->holder && now->cpu == q->cpu)
			nr += now->voluntary - (then ? then->voluntary : 0);
	}
	return nr;
}

int quiet_end(struct quiet *q, uint64_t kicks, uint64_t timers)
{
	int ret = q->looked ? 0 : quiet_look(q), trace = quiet_trace_end(q), loud = 0;

	if (ret || trace)
		return ret ? ret : trace;
	q->nr_noise = 0;
	ret = compare_rows(q, kicks, timers + sleeps(q));
	for (size_t i = 0; i < q->after.nr_tasks && !ret; i++)
		ret = compare_task(q, &q->after.tasks[i]);
	if (ret)
		return ret;
	for (size_t i = 0; i < q->nr_noise; i++)
		loud += q->noise[i].count > q->noise[i].ours;
	return loud;
}

const struct quiet_noise *quiet_noise(const struct quiet *q, unsigned int i)
{
	return i < q->nr_noise ? &q->noise[i] : NULL;
}

const struct quiet_origin *quiet_origin(const struct quiet *q, unsigned int i)
{
	return i < q->nr_origins ? &q->origins[i] : NULL;
}

const char *quiet_text(const struct quiet *q, char *buf, size_t n)
{
	static const char *const kinds[] = {
		[QUIET_INTERRUPT] = "", [QUIET_SOFTIRQ] = "softirq ",
		[QUIET_SWITCHED] = "forced switches of ", [QUIET_TASK] = "turns of task ",
	};
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < q->nr_noise; i++) {
		const struct quiet_noise *o = &q->noise[i];

		if (o->count <= o->ours || used >= n)
			continue;
		used += (size_t)snprintf(buf + used, n - used, "%s%" PRIu64 " %s%s", used ? ", " : "",
					 o->count - o->ours, kinds[o->kind], o->what);
	}
	return buf;
}
