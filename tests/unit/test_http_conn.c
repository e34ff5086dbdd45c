// SPDX-License-Identifier: MIT
/*
 * The connection state machine over a network the test plays: room, time and
 * acknowledgments are the test's to give.
 */
#include "../../apps/nhttpd/src/conn.h"
#include "../../apps/nhttpd/src/server.h"
#include "../../apps/nhttpd/src/site.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND 1000000000ULL
#define GET(path) "GET " path " HTTP/1.1\r\nHost: t\r\n\r\n"

static struct {
	char out[1 << 20];
	size_t len;
	uint32_t room;
	bool held, finished, aborted, fail;
	bool zero_copy_changed;
	struct { const char *data; uint32_t len; uint64_t sum; } kept[64];
	unsigned nr_kept;
} wire;

static uint32_t fake_room(struct conn *c)
{
	return wire.room;
}

static uint64_t sum_of(const char *data, uint32_t len)
{
	uint64_t s = 0;

	while (len--)
		s = s * 31 + (uint8_t)*data++;
	return s;
}

static int fake_send(struct conn *c, const void *data, uint32_t len, unsigned flags)
{
	if (wire.fail)
		return -ENOMEM;
	assert_true(len <= wire.room);
	assert_true(wire.len + len <= sizeof(wire.out));
	memcpy(wire.out + wire.len, data, len);
	wire.len += len;
	wire.room -= len;
	if (!(flags & SEND_COPY)) {
		assert_true(wire.nr_kept < 64);
		wire.kept[wire.nr_kept].data = data;
		wire.kept[wire.nr_kept].len = len;
		wire.kept[wire.nr_kept++].sum = sum_of(data, len);
	}
	return 0;
}

static void fake_hold(struct conn *c, bool hold)
{
	wire.held = hold;
}

static void fake_finish(struct conn *c)
{
	wire.finished = true;
}

static void fake_abort(struct conn *c)
{
	wire.aborted = true;
}

static void fake_flush(struct conn *c)
{
}

static const struct net_ops fake_ops = { fake_room, fake_send, fake_hold, fake_finish, fake_abort, fake_flush };

static struct options opt;
static struct server srv;
static char root[64], mem[2][1 << 17];

static void put(const char *name, size_t bytes, char fill)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	f = fopen(path, "w");
	for (size_t i = 0; i < bytes; i++)
		putc(fill, f);
	fclose(f);
}

static int setup(void **state)
{
	static char *argv[] = { (char *)"nhttpd", (char *)"--root", root, (char *)"--max-connections", (char *)"3",
				(char *)"--idle-timeout-s", (char *)"10", NULL };
	char err[256];

	memset(&wire, 0, sizeof(wire));
	memset(&srv, 0, sizeof(srv));
	strcpy(root, "/tmp/test_http_conn.XXXXXX");
	assert_non_null(mkdtemp(root));
	put("index.html", 100, 'i');
	put("big", 50000, 'b');
	assert_int_equal(options_parse(&opt, 7, argv, err, sizeof(err)), OPTIONS_RUN);
	srv.opt = &opt;
	srv.lim = (struct http_limits){ 256, 1024, 20 };
	srv.idle_ns = 10 * SECOND;
	srv.date_s = -1;
	srv.now_ns = SECOND;
	srv.net = &fake_ops;
	srv.in_bytes = 2048;
	for (unsigned i = 0; i < NR_METRICS; i++)
		srv.m.word[i] = &srv.m.private_word[i];
	for (unsigned i = 0; i < NR_KNOBS; i++)
		srv.m.knob[i] = -1;
	assert_int_equal(conn_table_create(&srv), 0);
	assert_int_equal(server_load_site(&srv, mem[0], mem[1], sizeof(mem[0])), 0);
	server_tick(&srv, SECOND);
	wire.room = 65536;
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	/* Nothing sent without a copy may have changed. */
	for (unsigned i = 0; i < wire.nr_kept; i++)
		assert_true(sum_of(wire.kept[i].data, wire.kept[i].len) == wire.kept[i].sum);
	conn_table_destroy(&srv);
	server_free_site(&srv);
	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

static struct conn *open_conn(void)
{
	struct conn *c = conn_open(&srv);

	assert_non_null(c);
	conn_start(c);
	return c;
}

/* Input from a buffer that is gone right after the call. */
static void input(struct conn *c, const char *text)
{
	char *copy = malloc(strlen(text));

	memcpy(copy, text, strlen(text));
	conn_input(c, copy, strlen(text));
	free(copy);
}

static int answers(void)
{
	int n = 0;

	for (const char *p = wire.out; (p = memmem(p, wire.out + wire.len - p, "HTTP/1.1 ", 9)); p++)
		n++;
	return n;
}

static int last_status(void)
{
	int status = 0;

	for (const char *p = wire.out; (p = memmem(p, wire.out + wire.len - p, "HTTP/1.1 ", 9)); p++)
		status = atoi(p + 9);
	return status;
}

static void test_http_conn_answers_in_pieces(void **state)
{
	static const char text[] = GET("/") GET("/none");
	struct conn *c = open_conn();

	for (size_t i = 0; i < sizeof(text) - 1; i++)
		conn_input(c, text + i, 1);
	assert_int_equal(answers(), 2);
	assert_int_equal(last_status(), 404);
	assert_int_equal(c->phase, CONN_IDLE);
	assert_int_equal(c->in_len, 0);
}

/* Held to the end, the peer's FIN was not read, and the connection stayed for 2 s. */
static void test_http_conn_listens_again_when_it_closes(void **state)
{
	struct conn *c = open_conn();

	wire.room = 8192;
	input(c, "GET /big HTTP/1.0\r\n\r\n");
	assert_true(wire.held);
	while (!wire.finished) {
		assert_true(c->pending > 0);
		wire.room += c->pending;
		conn_sent(c, c->pending);
	}
	assert_false(wire.held);
	assert_true(c->linger);
	assert_true(wire.len > 50000);
}

static void test_http_conn_waits_for_room(void **state)
{
	struct conn *c = open_conn();
	uint64_t out;

	wire.room = 10000;
	input(c, GET("/big") GET("/") GET("/"));
	assert_int_equal(answers(), 1);
	assert_int_equal(wire.len, 10000);
	assert_true(wire.held);
	assert_int_equal(c->phase, CONN_BODY);
	while (c->phase == CONN_BODY) {	/* the peer acknowledges 3000 at a time */
		out = c->pending < 3000 ? c->pending : 3000;
		assert_true(out > 0);
		wire.room += out;
		conn_sent(c, out);
	}
	assert_int_equal(answers(), 3);
	assert_int_equal(last_status(), 200);
	assert_false(wire.held);
	while (c->pending) {
		out = c->pending < 3000 ? c->pending : 3000;
		wire.room += out;
		conn_sent(c, out);
	}
	assert_null(c->gen);
	assert_int_equal(c->phase, CONN_IDLE);
}

static void test_http_conn_bounds_its_input(void **state)
{
	struct conn *c = open_conn();
	char junk[1024];

	wire.room = 0;
	memset(junk, 'x', sizeof(junk));
	input(c, GET("/"));
	assert_int_equal(c->phase, CONN_BODY);
	conn_input(c, junk, sizeof(junk));
	assert_false(wire.aborted);
	conn_input(c, junk, sizeof(junk));	/* more than it may have on its way */
	assert_true(wire.aborted);
}

static void test_http_conn_timeouts(void **state)
{
	struct conn *idle = open_conn(), *slow;

	srv.now_ns += 9 * SECOND;
	conn_sweep(&srv);
	assert_false(wire.finished);
	srv.now_ns += 2 * SECOND;
	conn_sweep(&srv);
	assert_true(wire.finished);
	assert_int_equal(wire.len, 0);
	conn_gone(idle);

	wire.finished = false;
	slow = open_conn();
	input(slow, "GET / HT");
	for (int i = 0; i < 9; i++) {	/* dripping does not help */
		srv.now_ns += SECOND;
		input(slow, "T");
		conn_sweep(&srv);
		assert_false(wire.finished);
	}
	srv.now_ns += 2 * SECOND;
	conn_sweep(&srv);
	assert_int_equal(last_status(), 408);
	assert_true(wire.finished);
	assert_int_equal(*srv.m.word[M_TIMEOUTS], 2);
	/* it goes on talking: for a while */
	conn_sent(slow, slow->pending);
	srv.now_ns += 3 * SECOND;
	conn_sweep(&srv);
	assert_true(wire.aborted);
	conn_gone(slow);
	assert_int_equal(srv.nr_open, 0);
}

static void test_http_conn_progress_counts(void **state)
{
	struct conn *c = open_conn();

	wire.room = 5000;
	input(c, GET("/big"));
	for (int i = 0; i < 5; i++) {
		srv.now_ns += 9 * SECOND;
		wire.room += 100;
		conn_sent(c, 100);
		conn_sweep(&srv);
		assert_false(wire.aborted);
	}
	srv.now_ns += 9 * SECOND;
	conn_sent(c, 0);		/* a look at the socket is no progress */
	srv.now_ns += 2 * SECOND;
	conn_sweep(&srv);
	assert_true(wire.aborted);
}

static void test_http_conn_limit(void **state)
{
	struct conn *a = open_conn(), *b = open_conn(), *over;

	open_conn();
	over = open_conn();
	assert_int_equal(last_status(), 503);
	assert_true(wire.finished);
	assert_true(over->refused);
	conn_gone(over);
	conn_gone(a);
	wire.finished = false;
	a = open_conn();
	assert_false(a->refused);
	input(b, GET("/"));
	assert_int_equal(last_status(), 200);
	for (int i = 0; i < CONN_SPARE; i++)
		open_conn();
	assert_null(conn_open(&srv));
}

static void test_http_conn_send_failure(void **state)
{
	struct conn *c = open_conn();

	wire.fail = true;
	input(c, GET("/") GET("/"));
	assert_true(wire.aborted);
	conn_gone(c);
	assert_int_equal(srv.nr_open, 0);
}

static void test_http_conn_eof(void **state)
{
	struct conn *c = open_conn();

	wire.room = 10000;
	input(c, GET("/big") GET("/"));
	conn_eof(c);
	assert_false(wire.finished);
	while (!wire.finished) {
		assert_true(c->pending > 0);
		wire.room += 4000;
		conn_sent(c, c->pending < 4000 ? c->pending : 4000);
	}
	assert_int_equal(answers(), 2);
	wire.finished = false;
	c = open_conn();
	input(c, "GET / HT");
	conn_eof(c);
	assert_true(wire.finished);
}

/* A rescan during an answer: the old bytes go out to the end, then the new ones. */
static void test_http_conn_rescan(void **state)
{
	struct conn *c = open_conn();
	struct site *old = srv.site, *fresh;
	char err[256];
	size_t at = 0;

	wire.room = 10000;
	input(c, GET("/big"));
	put("big", 50000, 'B');
	assert_int_equal(site_load(root, mem[1], sizeof(mem[1]), &fresh, err, sizeof(err)), 0);
	atomic_store(&srv.next_site, fresh);
	server_tick(&srv, srv.now_ns + 1000000);
	assert_ptr_equal(srv.site, fresh);
	assert_null(atomic_load(&srv.old_site));
	input(c, GET("/big"));
	while (c->pending) {
		wire.room += 4000;
		conn_sent(c, c->pending < 4000 ? c->pending : 4000);
		if (answers() == 1)
			at = wire.len;
	}
	assert_ptr_equal(atomic_load(&srv.old_site), old);
	assert_int_equal(answers(), 2);
	assert_int_not_equal(at, 0);
	assert_null(memchr(wire.out, 'B', at));
	assert_int_equal(wire.out[at - 1], 'b');
	assert_int_equal(wire.out[wire.len - 1], 'B');
}

static void test_http_conn_drain(void **state)
{
	struct conn *idle = open_conn(), *busy = open_conn(), *half = open_conn();

	wire.room = 10000;
	input(busy, GET("/big"));
	input(half, "GET / HTTP/1.1\r\n");
	atomic_store(&srv.stop, STOP_DRAIN);
	assert_false(server_tick(&srv, srv.now_ns + 1000));
	assert_int_equal(idle->phase, CONN_CLOSING);
	assert_int_equal(busy->phase, CONN_BODY);
	conn_gone(idle);
	wire.room = 65536;
	assert_true(open_conn()->refused);
	assert_int_equal(last_status(), 503);
	conn_sent(busy, 10000);
	assert_int_equal(busy->body_left, 0);
	assert_int_equal(busy->phase, CONN_CLOSING);
	wire.len = 0;
	input(half, "Host: t\r\n\r\n");
	assert_int_equal(last_status(), 200);
	assert_non_null(memmem(wire.out, wire.len, "Connection: close", 17));
	assert_int_equal(half->phase, CONN_CLOSING);
	conn_gone(busy);
	conn_gone(half);
	conn_gone(&srv.conn[idle - srv.conn]);
	assert_true(server_tick(&srv, srv.now_ns + 1000));
}

static void test_http_conn_drain_ends(void **state)
{
	open_conn();
	input(&srv.conn[0], "GET /");
	atomic_store(&srv.stop, STOP_DRAIN);
	assert_false(server_tick(&srv, srv.now_ns + 1000));
	assert_false(wire.aborted);
	assert_true(server_tick(&srv, srv.now_ns + 6 * SECOND));
	assert_true(wire.aborted);
}

static void test_http_conn_date_moves_on(void **state)
{
	struct conn *c = open_conn();
	char first[HTTP_DATE_BYTES];

	input(c, GET("/"));
	memcpy(first, wire.out + HTTP_DATE_OFFSET, HTTP_DATE_BYTES);
	wire.len = 0;
	server_tick(&srv, srv.now_ns + SECOND);
	input(c, GET("/"));
	assert_memory_not_equal(first, wire.out + HTTP_DATE_OFFSET, HTTP_DATE_BYTES);
}

#define PUT(path, length) "PUT " path " HTTP/1.1\r\nHost: t\r\nContent-Length: " length "\r\n\r\n"

/* What is sent to the sink is thrown away, however it comes, and answered behind its end. */
static void test_http_conn_sink(void **state)
{
	static const char text[] = PUT("/up", "5") "GET /" GET("/") "POST /up HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc" GET("/none");
	static char body[60000];
	struct conn *c;
	size_t i, step;

	opt.sink = "/up";
	for (step = 1; step < sizeof(text); step += 7) {
		wire.len = 0;
		wire.room = 65536;
		c = open_conn();
		for (i = 0; i < sizeof(text) - 1; i += step)
			conn_input(c, text + i, sizeof(text) - 1 - i < step ? sizeof(text) - 1 - i : step);
		assert_int_equal(answers(), 4);
		assert_int_equal(last_status(), 404);
		assert_memory_equal(wire.out, "HTTP/1.1 204 No Content\r\n", 25);
		assert_int_equal(c->phase, CONN_IDLE);
		assert_int_equal(c->in_len, 0);
		conn_sent(c, 1 << 20);
		conn_gone(c);
	}
	/* more than a connection's buffer; time that passes with progress is no reason to give up */
	wire.len = 0;
	c = open_conn();
	input(c, PUT("/up", "120000"));
	for (i = 0; i < 80; i++) {
		assert_int_equal(answers(), 0);
		conn_input(c, body, 1500);
		server_tick(&srv, srv.now_ns + 9 * SECOND);
		assert_false(wire.aborted || wire.finished);
	}
	assert_int_equal(answers(), 1);
	assert_int_equal(last_status(), 204);
	/* the client waits to be told */
	wire.len = 0;
	input(c, "PUT /up HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
	assert_int_equal(last_status(), 100);
	input(c, "abc");
	assert_int_equal(last_status(), 204);
	/* and when it asks for an end, it gets that behind the answer */
	input(c, "PUT /up HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 3\r\n\r\nab");
	assert_false(wire.finished);
	input(c, "c");
	assert_true(wire.finished);
}

/* Elsewhere, otherwise, or without the option, bodies are refused as ever. */
static void test_http_conn_sink_refuses(void **state)
{
	static const struct { const char *sink, *text; int status; } rows[] = {
		{ NULL, PUT("/up", "5"), 405 },
		{ "/up", PUT("/u", "5"), 405 },
		{ "/up", PUT("/up2", "5"), 405 },
		{ "/up", PUT("/up", "67108865"), 405 },
		{ "/up", "DELETE /up HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\n", 405 },
		{ "/up", "PUT /up HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n", 405 },
		{ "/up", "GET /up HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\n", 413 },
		{ "/up", GET("/up"), 404 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct conn *c = open_conn();

		wire.len = 0;
		wire.room = 65536;
		opt.sink = rows[i].sink;
		input(c, rows[i].text);
		assert_int_equal(last_status(), rows[i].status);
		conn_sent(c, 1 << 20);
		conn_gone(c);
	}
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_http_conn_answers_in_pieces),
		CASE(test_http_conn_waits_for_room),
		CASE(test_http_conn_listens_again_when_it_closes),
		CASE(test_http_conn_bounds_its_input),
		CASE(test_http_conn_timeouts),
		CASE(test_http_conn_progress_counts),
		CASE(test_http_conn_limit),
		CASE(test_http_conn_send_failure),
		CASE(test_http_conn_eof),
		CASE(test_http_conn_rescan),
		CASE(test_http_conn_drain),
		CASE(test_http_conn_drain_ends),
		CASE(test_http_conn_date_moves_on),
		CASE(test_http_conn_sink),
		CASE(test_http_conn_sink_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
