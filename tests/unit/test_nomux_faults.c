// SPDX-License-Identifier: MIT
/*
 * Each allocation and each system call fails once, with all others well: the
 * caller gets an error, and nothing stays behind - no memory (the sanitizer
 * looks at the end), no file, no descriptor, no mapping.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <cmocka.h>

#include <nomux/chan.h>
#include <nomux/group.h>
#include <nomux/guard.h>
#include <nomux/ipc.h>
#include <nomux/log.h>
#include <nomux/offload.h>
#include <nomux/page.h>
#include <nomux/peek.h>
#include <nomux/thread.h>
#include <nomux/timer.h>

#include "../../libnomux/src/ipc_internal.h"

/* The linker sends these calls of the library here: see rules.mk. */
static int countdown = -1;

static bool fails_now(int err)
{
	if (countdown < 0 || countdown-- != 0)
		return false;
	errno = err;
	return true;
}

void *__real_calloc(size_t n, size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__real_aligned_alloc(size_t align, size_t bytes);
void *__wrap_aligned_alloc(size_t align, size_t bytes);
int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
void *__real_mmap(void *p, size_t bytes, int prot, int flags, int fd, off_t off);
void *__wrap_mmap(void *p, size_t bytes, int prot, int flags, int fd, off_t off);
int __real_mprotect(void *p, size_t bytes, int prot);
int __wrap_mprotect(void *p, size_t bytes, int prot);
int __real_link(const char *from, const char *to);
int __wrap_link(const char *from, const char *to);
int __real_posix_fallocate(int fd, off_t off, off_t len);
int __wrap_posix_fallocate(int fd, off_t off, off_t len);
int __real_mkostemp(char *template, int flags);
int __wrap_mkostemp(char *template, int flags);
ssize_t __real_pread(int fd, void *buf, size_t n, off_t off);
ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t off);

void *__wrap_calloc(size_t n, size_t bytes)
{
	return fails_now(ENOMEM) ? NULL : __real_calloc(n, bytes);
}

void *__wrap_malloc(size_t bytes)
{
	return fails_now(ENOMEM) ? NULL : __real_malloc(bytes);
}

void *__wrap_aligned_alloc(size_t align, size_t bytes)
{
	return fails_now(ENOMEM) ? NULL : __real_aligned_alloc(align, bytes);
}

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
	return fails_now(EAGAIN) ? EAGAIN : __real_pthread_create(t, a, fn, arg);
}

void *__wrap_mmap(void *p, size_t bytes, int prot, int flags, int fd, off_t off)
{
	return fails_now(ENOMEM) ? MAP_FAILED : __real_mmap(p, bytes, prot, flags, fd, off);
}

int __wrap_mprotect(void *p, size_t bytes, int prot)
{
	return fails_now(ENOMEM) ? -1 : __real_mprotect(p, bytes, prot);
}

int __wrap_link(const char *from, const char *to)
{
	return fails_now(EACCES) ? -1 : __real_link(from, to);
}

int __wrap_posix_fallocate(int fd, off_t off, off_t len)
{
	return fails_now(ENOSPC) ? ENOSPC : __real_posix_fallocate(fd, off, len);
}

int __wrap_mkostemp(char *template, int flags)
{
	return fails_now(EACCES) ? -1 : __real_mkostemp(template, flags);
}

ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t off)
{
	return fails_now(EIO) ? -1 : __real_pread(fd, buf, n, off);
}

struct left {
	unsigned int files, fds, maps;
};

static unsigned int count_dir(const char *path, const char *match)
{
	struct dirent *e;
	unsigned int n = 0;
	DIR *d = opendir(path);

	while (d && (e = readdir(d)))
		n += strstr(e->d_name, match) != NULL;
	if (d)
		closedir(d);
	return n;
}

static struct left look(void)
{
	struct left l = { 0 };
	char line[512], pid[16], perms[5];
	unsigned long lo, hi;
	FILE *f = fopen("/proc/self/maps", "re");

	while (f && fgets(line, sizeof(line), f)) {	/* ours: the page, channels, guards of stacks */
		if (sscanf(line, "%lx-%lx %4s", &lo, &hi, perms) != 3)
			continue;
		l.maps += strstr(line, "/dev/shm/") || strstr(line, "nomux-ipc") || (hi - lo == 4096 && !strcmp(perms, "---p"));
	}
	if (f)
		fclose(f);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	l.files = count_dir("/dev/shm", pid);
	l.fds = count_dir("/proc/self/fd", "");
	return l;
}

/* Fail the first, second, ... call of each sort until the whole succeeds. */
static unsigned int sweep(int (*make)(void), void (*undo)(void))
{
	struct left before = look(), after;
	unsigned int failures;
	int err;

	for (failures = 0; failures < 100; failures++) {
		countdown = (int)failures;
		err = make();
		if (countdown >= 0) {		/* not reached: nothing failed any more */
			countdown = -1;
			assert_int_equal(err, 0);
			undo();
			break;
		}
		assert_true(err < 0);
		after = look();
		assert_int_equal(after.files, before.files);
		assert_int_equal(after.fds, before.fds);
		assert_int_equal(after.maps, before.maps);
	}
	after = look();
	assert_int_equal(after.files, before.files);
	assert_int_equal(after.fds, before.fds);
	return failures;
}

static struct nomux_page *page;
static struct nomux_peek *peek;
static struct nomux_thread *thread;

static int make_page(void)
{
	return nomux_page_create("faults", &page);
}

static void undo_page(void)
{
	nomux_page_destroy(page);
}

static int make_peek(void)
{
	return nomux_peek_open(getpid(), &peek);
}

static void undo_peek(void)
{
	nomux_peek_close(peek);
}

static void body(void *arg) { }

static int make_thread(void)
{
	return nomux_thread_create(body, NULL, NULL, &thread);
}

static void undo_thread(void)
{
	nomux_join(thread);
}

static struct nomux_ipc *ipc;

/* The peer's answer lies there before it is waited for. */
static int make_ipc(void)
{
	struct ipc_hello h = {
		.magic = IPC_MAGIC, .version = IPC_VERSION, .bytes = sizeof(h), .doorbell = IPC_FUTEX,
	};
	int sock[2], err;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock), 0);
	assert_int_equal(nomux__ipc_say(sock[1], &h, -1, UINT64_MAX), 0);
	err = nomux_ipc_create(sock[0], NULL, &ipc);
	close(sock[1]);
	if (err)
		close(sock[0]);
	return err;
}

static void undo_ipc(void)
{
	nomux_ipc_destroy(ipc);
}

static struct nomux_chan *chan;
static struct nomux_timer *timer;
static struct nomux_group *group;

static int make_chan(void)
{
	return nomux_chan_create(8, 100, &chan);
}

static void undo_chan(void)
{
	nomux_chan_destroy(chan);
}

static void tick(struct nomux_timer *t, void *arg) { }

static int make_timer(void)
{
	return nomux_timer_create(tick, NULL, &timer);
}

static void undo_timer(void)
{
	nomux_timer_destroy(timer);
}

static int make_group(void)
{
	return nomux_group_create(NULL, &group);
}

static void undo_group(void)
{
	nomux_group_destroy(group);
}

static int make_watcher(void)
{
	return nomux_stall_watch(1000000000, NULL, NULL);
}

static void undo_watcher(void)
{
	nomux_stall_watch(0, NULL, NULL);
}

static long no_call(void *arg)
{
	return 0;
}

static int make_offload(void)
{
	return nomux_offload(no_call, NULL, NULL);
}

static void undo_nothing(void) { }

static int make_scheduler(void)
{
	return nomux_self() ? 0 : -ENOMEM;
}

static void drop(int level, const char *msg, void *arg) { }

static void test_page(void **state)
{
	assert_true(sweep(make_page, undo_page) >= 5);
}

static void test_peek(void **state)
{
	assert_int_equal(make_page(), 0);
	assert_true(sweep(make_peek, undo_peek) >= 3);
	undo_page();
}

static void test_thread(void **state)
{
	assert_int_equal(sweep(make_scheduler, undo_nothing), 1);
	assert_int_equal(sweep(make_thread, undo_thread), 2);	/* stack, guard */
}

static void test_thread_things(void **state)
{
	assert_true(sweep(make_chan, undo_chan) >= 1);
	assert_true(sweep(make_timer, undo_timer) >= 1);
	assert_true(sweep(make_group, undo_group) >= 1);
	assert_true(sweep(make_watcher, undo_watcher) >= 1);
	assert_true(sweep(make_offload, undo_nothing) >= 1);	/* the first helper */
}

static void test_ipc(void **state)
{
	assert_true(sweep(make_ipc, undo_ipc) >= 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_page),
		cmocka_unit_test(test_peek),
		cmocka_unit_test(test_thread),
		cmocka_unit_test(test_ipc),
		cmocka_unit_test(test_thread_things),
	};

	alarm(60);
	nomux_set_log_fn(drop, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
