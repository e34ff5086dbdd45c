// SPDX-License-Identifier: MIT
/*
 * test_nomctl_look.c - nomctl's side of looking at a stack, against an application
 * that lies, dies, or says nothing; and the capture file
 */
#include "../../apps/nomctl/src/look.h"
#include "../../apps/nomctl/src/pcap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES 16384u
#define WINDOW 4096u
#define RING 4096u

/* The application: a file of its own shape, a lock that says it lives. */
static struct {
	int fd;
	struct nomstack_lk_header *h;
	uint8_t *window, *ring;
	pthread_t thread;
	volatile bool end;
	void (*answer)(void);
} app;

static char path[64];

static void set_life(bool lives)
{
	struct flock l = { .l_type = lives ? F_WRLCK : F_UNLCK, .l_start = NOMSTACK_LK_LIFE, .l_len = 1 };

	assert_int_equal(fcntl(app.fd, F_OFD_SETLK, &l), 0);
}

static int setup(void **state)
{
	memset(&app, 0, sizeof(app));
	snprintf(path, sizeof(path), NOMSTACK_LK_PATH_FMT, (int)getpid());
	unlink(path);
	app.fd = open(path, O_CREAT | O_EXCL | O_RDWR, 0600);
	assert_true(app.fd >= 0);
	assert_int_equal(ftruncate(app.fd, BYTES), 0);
	app.h = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, app.fd, 0);
	assert_ptr_not_equal(app.h, MAP_FAILED);
	*app.h = (struct nomstack_lk_header){
		.magic = NOMSTACK_LK_MAGIC, .version = NOMSTACK_LK_VERSION, .bytes = BYTES, .pid = (uint32_t)getpid(),
		.window_offset = 4096, .window_bytes = WINDOW, .ring_offset = 8192, .ring_bytes = RING,
	};
	app.window = (uint8_t *)app.h + 4096;
	app.ring = (uint8_t *)app.h + 8192;
	set_life(true);
	return 0;
}

static void *app_main(void *arg)
{
	uint64_t seen = 0, seq;

	while (!app.end) {
		seq = __atomic_load_n(&app.h->ask_seq, __ATOMIC_ACQUIRE);
		if (seq != seen) {
			seen = seq;
			app.h->status = 0;
			app.h->nr = 0;
			app.h->next = NOMSTACK_LK_END;
			app.answer();
			__atomic_store_n(&app.h->done_seq, seq, __ATOMIC_RELEASE);
		}
		usleep(100);
	}
	return NULL;
}

static void run_app(void (*answer)(void))
{
	app.answer = answer;
	app.end = false;
	assert_int_equal(pthread_create(&app.thread, NULL, app_main, NULL), 0);
}

static void stop_app(void)
{
	app.end = true;
	pthread_join(app.thread, NULL);
}

static int teardown(void **state)
{
	munmap(app.h, BYTES);
	close(app.fd);
	unlink(path);
	return 0;
}

static struct nomctl_look *open_look(void)
{
	struct nomctl_look *l = NULL;

	assert_int_equal(nomctl_look_open(getpid(), 0, &l), 0);
	return l;
}

static void refuses(int err)
{
	struct nomctl_look *l = NULL;

	assert_int_equal(nomctl_look_open(getpid(), 0, &l), err);
	assert_null(l);
}

/* ------------------------------------------------------------- opening --- */

static void test_a_file_is_believed_only_if_it_is_right(void **state)
{
	const struct nomstack_lk_header good = *app.h;

	nomctl_look_close(open_look());
#define BAD(field, value, err)	do { app.h->field = (value); refuses(err); *app.h = good; } while (0)
	BAD(magic, 1, -EPROTO);
	BAD(version, NOMSTACK_LK_VERSION + 1, -EPROTO);
	BAD(window_offset, 0, -EPROTO);
	BAD(window_offset, 4097, -EPROTO);
	BAD(window_offset, BYTES, -EPROTO);
	BAD(window_offset, 0xfffffff8u, -EPROTO);
	BAD(window_bytes, 0, -EPROTO);
	BAD(window_bytes, UINT32_MAX, -EPROTO);
	BAD(ring_offset, BYTES - 8, -EPROTO);
	BAD(ring_bytes, 3000, -EPROTO);
	BAD(ring_bytes, 1u << 31, -EPROTO);
	BAD(ring_bytes, 0, -EPROTO);
	BAD(pid, 1, -ENOENT);
	nomctl_look_close(open_look());
	set_life(false);
	refuses(-ENOENT);
	set_life(true);
	assert_int_equal(ftruncate(app.fd, 100), 0);
	refuses(-EPROTO);
	assert_int_equal(ftruncate(app.fd, 64 << 20), 0);
	refuses(-EPROTO);
	assert_int_equal(ftruncate(app.fd, BYTES), 0);
	unlink(path);
	refuses(-ENOENT);
	assert_int_equal(symlink("/dev/zero", path), 0);
	refuses(-EPROTO);
}

/* ----------------------------------------------------------- questions --- */

static void no_rows(void)
{
}

static void says_no(void)
{
	app.h->status = -EOPNOTSUPP;
}

static void absurd_status(void)
{
	app.h->status = 7;
}

static void too_many_rows(void)
{
	app.h->nr = WINDOW / 8 + 1;
	app.h->row_bytes = 8;
}

static void rows_that_overflow(void)
{
	app.h->nr = 0x80000000u;
	app.h->row_bytes = 0x80000000u;
}

static void short_rows(void)
{
	app.h->nr = 1;
	app.h->row_bytes = 8;
}

/* Ten rows in slices of three; a newer application's are longer. */
static void ten_rows(void)
{
	uint64_t from = app.h->ask_cursor, n = from + 3 < 10 ? 3 : 10 - from;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t v = from + i;

		memcpy(app.window + i * 24, &v, sizeof(v));
	}
	app.h->nr = (uint32_t)n;
	app.h->row_bytes = 24;
	app.h->next = from + n < 10 ? from + n : NOMSTACK_LK_END;
}

static int add_row(const void *row, void *arg)
{
	uint64_t *sum = arg, v;

	memcpy(&v, row, sizeof(v));
	*sum = *sum * 10 + v;
	return 0;
}

static int end_at_once(const void *row, void *arg)
{
	return 5;
}

static void test_tables_come_slice_by_slice(void **state)
{
	struct nomctl_look *l = open_look();
	uint64_t sum = 0;

	run_app(ten_rows);
	assert_int_equal(nomctl_look_rows(l, 1, 16, 2000, add_row, &sum), 0);
	assert_true(sum == 123456789);
	assert_int_equal(nomctl_look_rows(l, 1, 16, 2000, end_at_once, NULL), 5);
	assert_int_equal(nomctl_look_rows(l, 1, 32, 2000, add_row, &sum), -EPROTO);
	stop_app();
	nomctl_look_close(l);
}

static void test_an_application_that_lies_is_found_out(void **state)
{
	static const struct { void (*answer)(void); int err; } cases[] = {
		{ says_no, -EOPNOTSUPP }, { absurd_status, -EPROTO }, { too_many_rows, -EPROTO },
		{ rows_that_overflow, -EPROTO }, { short_rows, -EPROTO }, { no_rows, 0 },
	};
	struct nomctl_look *l = open_look();
	uint64_t sum;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run_app(cases[i].answer);
		assert_int_equal(nomctl_look_rows(l, 1, 16, 2000, add_row, &sum), cases[i].err);
		stop_app();
		app.h->ask_seq = app.h->done_seq = 0;
	}
	nomctl_look_close(l);
}

static void test_an_application_that_says_nothing_or_dies(void **state)
{
	struct nomctl_look *l = open_look();

	assert_int_equal(nomctl_look_ask(l, NOMSTACK_ASK_RTT, 0, 30), -ETIMEDOUT);
	app.h->done_seq = app.h->ask_seq = 0;
	assert_true(nomctl_look_alive(l));
	set_life(false);
	assert_false(nomctl_look_alive(l));
	assert_int_equal(nomctl_look_ask(l, NOMSTACK_ASK_RTT, 0, 5000), -ENOENT);
	nomctl_look_close(l);
}

static void test_one_asks_at_a_time_and_one_traces(void **state)
{
	struct nomctl_look *a = open_look(), *b = open_look();
	struct flock l = { .l_type = F_WRLCK, .l_start = NOMSTACK_LK_ASK, .l_len = 1 };
	int fd = open(path, O_RDWR);

	assert_int_equal(nomctl_look_trace_begin(a), 0);
	assert_int_equal(nomctl_look_trace_begin(b), -EBUSY);
	nomctl_look_close(a);
	assert_int_equal(nomctl_look_trace_begin(b), 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &l), 0);
	assert_int_equal(nomctl_look_ask(b, NOMSTACK_ASK_RTT, 0, 30), -EBUSY);
	close(fd);
	run_app(no_rows);
	assert_int_equal(nomctl_look_ask(b, NOMSTACK_ASK_RTT, 0, 2000), 0);
	stop_app();
	nomctl_look_close(b);
}

/* ---------------------------------------------------------------- ring --- */

static void ring_put(const void *from, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		app.ring[app.h->head++ & (RING - 1)] = ((const uint8_t *)from)[i];
}

static void ring_frame(uint32_t bytes, uint32_t wire_bytes, uint8_t fill)
{
	struct nomstack_lk_frame f = { .bytes = bytes, .wire_bytes = wire_bytes, .when_ns = fill };
	uint8_t data[NOMSTACK_LK_SNAP_MAX];

	memset(data, fill, sizeof(data));
	ring_put(&f, sizeof(f));
	ring_put(data, bytes);
	app.h->head = (app.h->head + 7) & ~7ull;
}

static int check_frame(const struct nomstack_lk_frame *f, uint8_t *data, void *arg)
{
	unsigned *nr = arg;

	assert_int_equal(f->when_ns, ++*nr & 0xff);
	for (uint32_t i = 0; i < f->bytes; i++)
		assert_int_equal(data[i], (uint8_t)f->when_ns);
	return 0;
}

static int stop_at_second(const struct nomstack_lk_frame *f, uint8_t *data, void *arg)
{
	return ++*(unsigned *)arg == 2;
}

static void test_frames_come_in_order_round_the_ring(void **state)
{
	struct nomctl_look *l = open_look();
	unsigned nr = 0;

	ring_frame(100, 100, 9);	/* of before: skipped */
	assert_int_equal(nomctl_look_trace_begin(l), 0);
	assert_int_equal(nomctl_look_frames(l, check_frame, &nr), 0);
	assert_int_equal(nr, 0);
	for (unsigned i = 1; i <= 100; i++) {
		ring_frame(i * 31 % 700, 2000, (uint8_t)i);
		if (i % 3 == 0) {
			assert_int_equal(nomctl_look_frames(l, check_frame, &nr), 0);
			assert_int_equal(nr, i);
			assert_int_equal(app.h->tail, app.h->head);
		}
	}
	assert_int_equal(nomctl_look_frames(l, check_frame, &nr), 0);
	nr = 0;
	for (unsigned i = 0; i < 3; i++)
		ring_frame(50, 50, (uint8_t)i);
	assert_int_equal(nomctl_look_frames(l, stop_at_second, &nr), 1);
	assert_int_equal(app.h->head - app.h->tail, sizeof(struct nomstack_lk_frame) + 56);
	nomctl_look_close(l);
}

static void test_a_ring_that_lies_is_found_out(void **state)
{
	struct nomctl_look *l = open_look();
	uint64_t head;
	unsigned nr = 0;

	assert_int_equal(nomctl_look_trace_begin(l), 0);
#define LIES()	do { assert_int_equal(nomctl_look_frames(l, stop_at_second, &nr), -EPROTO); \
		     app.h->head = head; assert_int_equal(nr, 0); } while (0)
	head = app.h->head;
	app.h->head = head + RING + 8;
	LIES();
	app.h->head = head - 8;
	LIES();
	app.h->head = head + 12;
	LIES();
	app.h->head = head + 16;		/* half a header */
	LIES();
	ring_frame(200, 100, 1);		/* more of it than there is */
	LIES();
	ring_frame(100, 100, 1);
	app.h->head = head + 64;		/* and less than it says */
	LIES();
	((struct nomstack_lk_frame *)(void *)app.ring)->bytes = 0xffffffffu;
	((struct nomstack_lk_frame *)(void *)app.ring)->wire_bytes = 0xffffffffu;
	app.h->head = head + 64;
	LIES();
	nomctl_look_close(l);
}

/* ------------------------------------------------------------- capture --- */

static void test_a_capture_is_what_the_format_says(void **state)
{
	static const uint8_t want[] = {
		0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0,
		3, 0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 0, 9, 0, 0, 0, 'a', 'b', 'c', 'd',
	};
	char name[] = "/tmp/test_nomctl_look-XXXXXX";
	uint8_t got[100];
	struct pcap p;
	int fd = mkstemp(name);

	assert_true(fd >= 0);
	unlink(name);
	assert_int_equal(pcap_begin(&p, fd, 256), 0);
	assert_int_equal(pcap_frame(&p, 3000000005, "abcd", 4, 9), 0);
	assert_int_equal(p.frames, 1);
	assert_int_equal(p.bytes, sizeof(want));
	assert_int_equal(pread(fd, got, sizeof(got), 0), sizeof(want));
	assert_memory_equal(got, want, sizeof(want));
	close(fd);
}

/* No room for the rest of a frame: what is whole stays. */
static void test_a_full_disk_leaves_whole_frames(void **state)
{
	char name[] = "/tmp/test_nomctl_look-XXXXXX";
	static uint8_t data[1000];
	struct rlimit old, limit;
	struct stat st;
	struct pcap p;
	int fd = mkstemp(name), err = 0;

	assert_true(fd >= 0);
	unlink(name);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	limit = old;
	limit.rlim_cur = 5000;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	err = pcap_begin(&p, fd, 4096);
	for (unsigned i = 0; !err && i < 100; i++)
		err = pcap_frame(&p, i, data, sizeof(data), sizeof(data));
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(err, -EFBIG);
	assert_int_equal(p.frames, 4);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 24 + 4 * 1016);
	close(fd);
	fd = open("/dev/full", O_WRONLY);
	if (fd >= 0) {
		assert_int_equal(pcap_begin(&p, fd, 4096), -ENOSPC);
		close(fd);
	}
}

/* RFC 1071 in another way: 32 bits at a time, folded last. */
static uint16_t l4_sum(const uint8_t *ip)
{
	unsigned ihl = (ip[0] & 15u) * 4, n = (unsigned)(ip[2] << 8 | ip[3]) - ihl;
	uint64_t s = ip[9] + n;

	for (unsigned i = 12; i < 20; i += 2)
		s += (unsigned)(ip[i] << 8 | ip[i + 1]);
	for (unsigned i = 0; i < n; i++)
		s += (uint64_t)ip[ihl + i] << (i & 1 ? 0 : 8);
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)s;
}

static void test_missing_sums_are_filled_in(void **state)
{
	uint8_t f[200], before[200];
	unsigned seed = 1;

	for (unsigned proto = 6; proto <= 17; proto += 11) {
		for (unsigned n = 0; n < 100; n++) {
			unsigned ihl = 20 + n % 3 * 4, ip_bytes = ihl + (proto == 6 ? 20 : 8) + n;

			for (unsigned i = 0; i < sizeof(f); i++) {
				seed = seed * 1103515245 + 12345;
				f[i] = (uint8_t)(seed >> 16);
			}
			f[12] = 8;
			f[13] = 0;
			f[14] = (uint8_t)(0x40 | ihl / 4);
			f[16] = 0;
			f[17] = (uint8_t)ip_bytes;
			f[23] = (uint8_t)proto;
			pcap_fill_csum(f, 14 + ip_bytes + n % 2);
			assert_int_equal(l4_sum(f + 14), 0xffff);
			/* cut short, or no such protocol, or no IPv4: as it was */
			memset(f + 14 + ihl + (proto == 6 ? 16 : 6), 0, 2);
			memcpy(before, f, sizeof(f));
			pcap_fill_csum(f, 14 + ip_bytes - 1);
			pcap_fill_csum(f, 20);
			f[23] = 1;
			pcap_fill_csum(f, 14 + ip_bytes);
			f[23] = (uint8_t)proto;
			f[12] = 0x86;
			pcap_fill_csum(f, 14 + ip_bytes);
			f[12] = 8;
			assert_memory_equal(f, before, sizeof(f));
		}
	}
}

/* The same of IPv6, by a sum of another make: 16-bit words over the pseudo header of RFC 8200, 8.1. */
static void test_missing_sums_of_ip6_are_filled_in(void **state)
{
	uint8_t f[400], before[400];
	unsigned proto, len, i;

	for (proto = 6; proto <= 17; proto += 11) {
		for (len = 20; len < 300; len += 7) {
			uint64_t s = proto + len;

			for (i = 0; i < sizeof(f); i++)
				f[i] = (uint8_t)(i * 29 + len);
			memcpy(f + 12, "\x86\xdd\x60", 3);
			f[18] = (uint8_t)(len >> 8);
			f[19] = (uint8_t)len;
			f[20] = (uint8_t)proto;
			memcpy(before, f, sizeof(f));
			pcap_fill_csum(f, 54 + len - 1);	/* cut short */
			f[12] = 8;
			pcap_fill_csum(f, 54 + len);		/* not what its type says */
			f[12] = 0x86;
			f[20] = 58;
			pcap_fill_csum(f, 54 + len);
			f[20] = (uint8_t)proto;
			assert_memory_equal(f, before, sizeof(f));
			pcap_fill_csum(f, 54 + len);
			for (i = 22; i < 54 + len; i++)
				s += i & 1 ? f[i] : (uint64_t)f[i] << 8;
			assert_int_equal(s % 0xffff, 0);
			i = 54 + (proto == 6 ? 16 : 6);
			memcpy(f + i, before + i, 2);
			assert_memory_equal(f, before, sizeof(f));	/* and nothing else */
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_file_is_believed_only_if_it_is_right, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tables_come_slice_by_slice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_application_that_lies_is_found_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_application_that_says_nothing_or_dies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_asks_at_a_time_and_one_traces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_frames_come_in_order_round_the_ring, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_ring_that_lies_is_found_out, setup, teardown),
		cmocka_unit_test(test_a_capture_is_what_the_format_says),
		cmocka_unit_test(test_a_full_disk_leaves_whole_frames),
		cmocka_unit_test(test_missing_sums_are_filled_in),
		cmocka_unit_test(test_missing_sums_of_ip6_are_filled_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
