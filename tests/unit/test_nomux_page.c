// SPDX-License-Identifier: MIT
/*
 * The page of counters and knobs: both sides at once, requests, and readers
 * against pages that hold junk, are cut short, or belong to nobody.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <nomux/page.h>
#include <nomux/page_layout.h>
#include <nomux/peek.h>

#include "../../libnomux/src/internal.h"

static struct nomux_page *page;
static struct nomux_peek *peek;

static void path_of(char *path, pid_t pid)
{
	sprintf(path, NOMUX_PL_PATH_FMT, (int)pid);
}

static int setup(void **state)
{
	return nomux_page_create("test app", &page) || nomux_peek_open(getpid(), &peek);
}

static int teardown(void **state)
{
	char path[40];

	nomux_peek_close(peek);
	nomux_page_destroy(page);
	path_of(path, getpid());
	return access(path, F_OK) == 0;		/* nothing is left behind */
}

struct seen {
	char name[32], unit[16], effect[128];
	enum nomux_counter_kind kind;
	uint64_t value;
	int64_t min, max, def, now;
	int nr;
};

static int see_counter(const char *name, const char *unit, enum nomux_counter_kind kind,
		       uint64_t value, void *arg)
{
	struct seen *s = arg;

	assert_true(strlen(name) < sizeof(s->name) && strlen(unit) < sizeof(s->unit));
	strcpy(s->name, name);
	strcpy(s->unit, unit);
	s->kind = kind;
	s->value = value;
	s->nr++;
	return 0;
}

static int see_knob(const char *name, const char *unit, const char *effect, int64_t min,
		    int64_t max, int64_t def, int64_t now, void *arg)
{
	struct seen *s = arg;

	assert_true(strlen(effect) < sizeof(s->effect));
	strcpy(s->name, name);
	strcpy(s->unit, unit);
	strcpy(s->effect, effect);
	s->min = min;
	s->max = max;
	s->def = def;
	s->now = now;
	s->nr++;
	return 0;
}

static int stop_at_second(const char *name, const char *unit, enum nomux_counter_kind kind,
			  uint64_t value, void *arg)
{
	return ++*(int *)arg == 2 ? 55 : 0;
}

static void test_counters(void **state)
{
	struct seen s = { .nr = 0 };
	uint64_t *requests, *active;
	int n = 0;

	assert_int_equal(nomux_page_counter(page, "http.requests", "requests", NOMUX_COUNTER, &requests), 0);
	assert_int_equal(nomux_page_counter(page, "http.active", "connections", NOMUX_GAUGE, &active), 0);
	*requests += 12345678901234ULL;
	*active = 7;
	assert_int_equal(nomux_peek_counters(peek, see_counter, &s), 0);
	assert_int_equal(s.nr, 2);
	assert_string_equal(s.name, "http.active");
	assert_string_equal(s.unit, "connections");
	assert_int_equal(s.kind, NOMUX_GAUGE);
	assert_int_equal(s.value, 7);
	*active = 8;
	nomux_peek_counters(peek, see_counter, &s);
	assert_int_equal(s.value, 8);
	assert_int_equal(nomux_peek_counters(peek, stop_at_second, &n), 55);
	assert_string_equal(nomux_peek_app_name(peek), "test app");
}

static void test_counter_arguments(void **state)
{
	uint64_t *word;
	char name[40];
	int i;

	assert_int_equal(nomux_page_counter(page, "", "x", NOMUX_COUNTER, &word), -EINVAL);
	assert_int_equal(nomux_page_counter(page, NULL, "x", NOMUX_COUNTER, &word), -EINVAL);
	assert_int_equal(nomux_page_counter(page, "UPPER", "x", NOMUX_COUNTER, &word), -EINVAL);
	assert_int_equal(nomux_page_counter(page, "a b", "x", NOMUX_COUNTER, &word), -EINVAL);
	assert_int_equal(nomux_page_counter(page, "a", "\n", NOMUX_COUNTER, &word), -EINVAL);
	assert_int_equal(nomux_page_counter(page, "a", NULL, NOMUX_COUNTER, &word), -EINVAL);
	assert_int_equal(nomux_page_counter(page, "a", "a-unit-that-is-long", NOMUX_COUNTER, &word), -EINVAL);
	assert_int_equal(nomux_page_counter(page, "a-name-of-just-thirty-two-chars.", "x",
					    NOMUX_COUNTER, &word), -EINVAL);
	assert_int_equal(nomux_page_counter(page, "a", "x", 9, &word), -EINVAL);
	assert_int_equal(nomux_page_counter(page, "a", "x", NOMUX_COUNTER, NULL), -EINVAL);
	for (i = 0; i < NOMUX_PL_COUNTERS; i++) {
		sprintf(name, "c%d", i);
		assert_int_equal(nomux_page_counter(page, name, "", NOMUX_COUNTER, &word), 0);
		*word = (uint64_t)i;
	}
	assert_int_equal(nomux_page_counter(page, "c5", "x", NOMUX_COUNTER, &word), -EEXIST);
	assert_int_equal(nomux_page_counter(page, "one-more", "x", NOMUX_COUNTER, &word), -ENOSPC);
}

static void test_knob_arguments(void **state)
{
	char name[40], effect[200];
	int id, i;

	memset(effect, 'e', sizeof(effect) - 1);
	effect[sizeof(effect) - 1] = '\0';
	assert_int_equal(nomux_page_knob(page, "k", "us", effect, 0, 1, 0, &id), -EINVAL);
	assert_int_equal(nomux_page_knob(page, "k", "us", "e", 2, 1, 2, &id), -EINVAL);
	assert_int_equal(nomux_page_knob(page, "k", "us", "e", 0, 5, 6, &id), -EINVAL);
	assert_int_equal(nomux_page_knob(page, "k", "us", "e", 0, 5, 5, NULL), -EINVAL);
	for (i = 0; i < NOMUX_PL_KNOBS; i++) {
		sprintf(name, "k%d", i);
		assert_int_equal(nomux_page_knob(page, name, "us", "e", INT64_MIN, INT64_MAX, i, &id), 0);
		assert_int_equal(id, i);
	}
	assert_int_equal(nomux_page_knob(page, "k1", "us", "e", 0, 1, 0, &id), -EEXIST);
	assert_int_equal(nomux_page_knob(page, "k32", "us", "e", 0, 1, 0, &id), -ENOSPC);
}

/* The application: polls one word, and takes requests when it moves. */
static volatile int stop;
static int taken;
static int64_t in_force[3];
static int ids[3];

static void *application(void *arg)
{
	int64_t value;
	int i;

	while (!stop) {
		if (!nomux_page_knobs_changed(page))
			continue;
		for (i = 0; i < 3; i++)
			if (nomux_page_knob_take(page, ids[i], &value)) {
				in_force[i] = value;
				taken++;
			}
	}
	return NULL;
}

static void *requester(void *arg)
{
	const char *name = arg;
	struct nomux_peek *mine;
	long i, bad = 0;

	if (nomux_peek_open(getpid(), &mine))
		return (void *)1;
	for (i = 0; i < 200; i++)
		bad += nomux_peek_knob_request(mine, name, i % 101, 5000) != 0;
	nomux_peek_close(mine);
	return (void *)bad;
}

static void test_requests(void **state)
{
	static const char *names[] = { "w_us", "w_rx_us", "batch_max" };
	struct seen s = { .nr = 0 };
	pthread_t app, other[3];
	void *bad;
	int i;

	stop = taken = 0;
	for (i = 0; i < 3; i++)
		assert_int_equal(nomux_page_knob(page, names[i], "us", "trades delay for work", 0, 100,
						 50, &ids[i]), 0);
	assert_false(nomux_page_knobs_changed(page));
	assert_int_equal(nomux_peek_knob_request(peek, "w_us", 10, 20), -ETIMEDOUT);
	assert_int_equal(pthread_create(&app, NULL, application, NULL), 0);
	assert_int_equal(nomux_peek_knob_request(peek, "w_us", 75, 5000), 0);
	assert_int_equal(in_force[0], 75);
	nomux_peek_knobs(peek, see_knob, &s);
	assert_int_equal(s.nr, 3);
	assert_string_equal(s.effect, "trades delay for work");
	assert_int_equal(s.max, 100);
	assert_int_equal(s.now, 50);
	assert_int_equal(nomux_peek_knob_request(peek, "w_us", 101, 5000), -ERANGE);
	assert_int_equal(nomux_peek_knob_request(peek, "w_us", -1, 5000), -ERANGE);
	assert_int_equal(nomux_peek_knob_request(peek, "nothing", 1, 5000), -ENOENT);
	assert_int_equal(in_force[0], 75);

	/* Several at a time, some for the same knob: each is answered. */
	for (i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&other[i], NULL, requester, (void *)names[i / 2]), 0);
	for (i = 0; i < 3; i++) {
		pthread_join(other[i], &bad);
		assert_null(bad);
	}
	stop = 1;
	pthread_join(app, NULL);
	/* The one that timed out was taken late, by itself or together with the next. */
	assert_true(taken == 601 || taken == 602);
	nomux_page_knob_set(page, ids[1], 1000);
	nomux_peek_knobs(peek, see_knob, &s);
	assert_false(nomux_page_knobs_changed(page));
}

/* The range in the page was tampered with: the application goes by its own. */
static void test_tampered_range(void **state)
{
	struct nomux_pl_knob k;
	struct nomux_pl_header h;
	char path[40];
	int64_t value = -5;
	int fd, id;
	off_t off;

	assert_int_equal(nomux_page_knob(page, "w", "us", "e", 0, 10, 5, &id), 0);
	path_of(path, getpid());
	fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, &h, sizeof(h), 0), sizeof(h));
	off = h.knob_offset;
	assert_int_equal(pread(fd, &k, sizeof(k), off), sizeof(k));
	k.max = 1000000;
	k.req_value = 999999;
	k.req_seq++;
	h.knob_requests++;
	assert_int_equal(pwrite(fd, &k, sizeof(k), off), sizeof(k));
	assert_int_equal(pwrite(fd, &h, sizeof(h), 0), sizeof(h));
	close(fd);
	assert_true(nomux_page_knobs_changed(page));
	assert_false(nomux_page_knob_take(page, id, &value));
	assert_int_equal(value, -5);
	assert_false(nomux_page_knobs_changed(page));
	assert_false(nomux_page_knob_take(page, -1, &value));
	assert_false(nomux_page_knob_take(page, 1, &value));
}

static void test_one_page_per_process(void **state)
{
	struct nomux_page *second = NULL;

	assert_int_equal(nomux_page_create("again", &second), -EEXIST);
	assert_null(second);
	assert_int_equal(nomux_page_create("", &second), -EINVAL);
	assert_int_equal(nomux_page_create(NULL, &second), -EINVAL);
}

static void test_mode(void **state)
{
	char path[40];
	struct stat st;

	path_of(path, getpid());
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

struct listed {
	pid_t pid;
	bool found;
};

static int find_pid(pid_t pid, const char *name, void *arg)
{
	struct listed *l = arg;

	l->found |= pid == l->pid;
	return 0;
}

static bool is_listed(pid_t pid)
{
	struct listed l = { .pid = pid };

	assert_int_equal(nomux_peek_list(find_pid, &l), 0);
	return l.found;
}

/* A process that was killed leaves its file: nobody must take it for alive. */
static void test_dead_process(void **state)
{
	struct nomux_peek *other = NULL;
	char path[40];
	int status;
	pid_t pid;

	assert_true(is_listed(getpid()));
	pid = fork();
	if (!pid) {
		struct nomux_page *mine;

		if (nomux_page_create("to be killed", &mine))
			_exit(1);
		kill(getpid(), SIGKILL);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status));
	path_of(path, pid);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(nomux_peek_open(pid, &other), -ENOENT);
	assert_false(is_listed(pid));
	unlink(path);
	assert_int_equal(nomux_peek_open(0, &other), -EINVAL);
	assert_int_equal(nomux_peek_open(-1, &other), -EINVAL);
	assert_int_equal(nomux_peek_open(1, &other) == 0, 0);
	assert_null(other);
}

/* ------------------------------------------------------------------ junk --- */

static uint64_t seed = 88172645463325252ULL;

static uint64_t random64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* All readers, on whatever the file of this process holds now. */
static void read_everything(void)
{
	struct seen s = { .nr = 0 };
	struct nomux_peek *p;

	nomux_peek_counters(peek, see_counter, &s);
	nomux_peek_knobs(peek, see_knob, &s);
	nomux_peek_knob_request(peek, "w", 5, 0);
	assert_true(s.nr <= 8192);
	for (size_t i = 0; i < sizeof(s.name) && s.name[i]; i++)
		assert_true(s.name[i] >= ' ' && s.name[i] <= '~');
	if (!nomux_peek_open(getpid(), &p)) {
		nomux_peek_counters(p, see_counter, &s);
		nomux_peek_close(p);
	}
}

static void test_junk(void **state)
{
	struct nomux_pl_header good, *h;
	char path[40], *buf;
	struct stat st;
	unsigned int round;
	int fd, id;
	uint64_t *word;

	nomux_page_counter(page, "c", "x", NOMUX_COUNTER, &word);
	nomux_page_knob(page, "w", "us", "e", 0, 10, 5, &id);
	path_of(path, getpid());
	fd = open(path, O_RDWR);
	assert_int_equal(fstat(fd, &st), 0);
	buf = malloc((size_t)st.st_size);
	assert_int_equal(pread(fd, buf, (size_t)st.st_size, 0), st.st_size);
	h = (struct nomux_pl_header *)(void *)buf;
	good = *h;
	for (round = 0; round < 300; round++) {
		for (off_t i = (off_t)sizeof(*h); i < st.st_size; i++)
			buf[i] = (char)random64();
		*h = good;
		switch (round % 4) {
		case 0:			/* any header */
			for (size_t i = 0; i < sizeof(*h); i++)
				buf[i] = (char)random64();
			break;
		case 1:			/* the right magic, any tables */
			h->counter_offset = (uint32_t)random64();
			h->counter_stride = (uint32_t)random64();
			h->counter_max = (uint32_t)random64();
			h->nr_counters = (uint32_t)random64();
			h->knob_offset = (uint32_t)random64() & 0xfff8;
			h->knob_stride = (uint32_t)random64() & 0x3f8;
			h->knob_max = UINT32_MAX;
			h->nr_knobs = UINT32_MAX;
			break;
		case 2:			/* as many entries as there could be */
			h->counter_max = h->nr_counters = UINT32_MAX;
			h->counter_stride = 8;
			h->knob_max = h->nr_knobs = UINT32_MAX;
			break;
		case 3:			/* at the very end */
			h->counter_offset = (uint32_t)st.st_size - 64;
			h->nr_counters = 2;
			h->knob_offset = (uint32_t)st.st_size - 240 + (round & 8);
			h->nr_knobs = 3;
			break;
		}
		assert_int_equal(pwrite(fd, buf, (size_t)st.st_size, 0), st.st_size);
		read_everything();
	}
	assert_int_equal(ftruncate(fd, 100), 0);	/* cut short under the reader */
	read_everything();
	assert_int_equal(ftruncate(fd, 0), 0);
	read_everything();
	close(fd);
	free(buf);
}

/* A process with a page of each kind that is not one. */
static void test_not_a_page(void **state)
{
	struct nomux_peek *p = NULL;
	char path[40];
	pid_t pid = fork();
	int fd;

	if (!pid) {
		pause();
		_exit(0);
	}
	path_of(path, pid);
	assert_int_equal(nomux_peek_open(pid, &p), -ENOENT);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(nomux_peek_open(pid, &p), -EPROTO);	/* empty */
	assert_int_equal(ftruncate(fd, 1 << 30), 0);
	assert_int_equal(nomux_peek_open(pid, &p), -EPROTO);	/* huge */
	close(fd);
	unlink(path);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_equal(nomux_peek_open(pid, &p), -EPROTO);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_not_equal(nomux_peek_open(pid, &p), 0);	/* and it does not block */
	unlink(path);
	assert_false(is_listed(pid));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_null(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_counters, setup, teardown),
		cmocka_unit_test_setup_teardown(test_counter_arguments, setup, teardown),
		cmocka_unit_test_setup_teardown(test_knob_arguments, setup, teardown),
		cmocka_unit_test_setup_teardown(test_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tampered_range, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_page_per_process, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mode, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dead_process, setup, teardown),
		cmocka_unit_test_setup_teardown(test_junk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_a_page, setup, teardown),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
