// SPDX-License-Identifier: MIT
/*
 * http.c - libFuzzer target: requests into nhttpd
 *
 * An input is four bytes of options and then what a client sends.  The same
 * bytes go to the parser in one piece and in many, which must come to the same
 * result; and, in pieces, through the state machine of a connection with a
 * network whose room and acknowledgments come and go.
 *
 * What must hold: answers begin as answers do, a file that is sent without a copy
 * does not change, a connection that is held gets nothing, and once the client
 * is gone and time has passed the connection ends.
 */
#include "../../../apps/nhttpd/src/conn.h"
#include "../../../apps/nhttpd/src/server.h"
#include "../../../apps/nhttpd/src/site.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include <nomux/log.h>

#define SECOND 1000000000ull
#define CHECK(x) do { if (!(x)) { fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #x); abort(); } } while (0)

#define OPT_PIECES	3	/* all at once, a byte at a time, up to 64, up to 1500 */
#define OPT_SMALL	4	/* room comes in crumbs */
#define OPT_FAIL	8	/* sending fails once */
#define OPT_LIMITS	16	/* tight limits */
#define OPT_ACKS	32	/* acknowledged between pieces */

static struct {
	uint64_t sent, room;
	bool held, finished, aborted;
	unsigned fail_after;		/* sends; 0: never */
	char begin[9];			/* of what was sent */
	struct { const char *data; uint32_t len; uint64_t sum; } kept[32];
	unsigned nr_kept;
} wire;

static uint64_t sum_of(const char *data, uint32_t len)
{
	uint64_t s = 0;

	while (len--)
		s = s * 31 + (uint8_t)*data++;
	return s;
}

static uint32_t fake_room(struct conn *c)
{
	return wire.aborted ? 0 : (uint32_t)wire.room;
}

static int fake_send(struct conn *c, const void *data, uint32_t len, unsigned flags)
{
	CHECK(len <= wire.room && !wire.finished && !wire.aborted);
	if (wire.fail_after && !--wire.fail_after)
		return -ENOMEM;
	for (uint32_t i = 0; wire.sent + i < sizeof(wire.begin) && i < len; i++)
		wire.begin[wire.sent + i] = ((const char *)data)[i];
	wire.sent += len;
	wire.room -= len;
	if (!(flags & SEND_COPY) && wire.nr_kept < 32) {
		wire.kept[wire.nr_kept].data = data;
		wire.kept[wire.nr_kept].len = len;
		wire.kept[wire.nr_kept++].sum = sum_of(data, len);
	} else {
		volatile uint64_t all = sum_of(data, len);	/* ASan looks at each byte */

		(void)all;
	}
	return 0;
}

static void fake_hold(struct conn *c, bool hold)
{
	wire.held = hold;
}

static void fake_finish(struct conn *c)
{
	CHECK(!wire.finished);
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
static char root[] = "/tmp/fuzz-http.XXXXXX";
static char mem[2][1 << 17];

static void put(const char *name, size_t bytes)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	f = fopen(path, "w");
	CHECK(f);
	for (size_t i = 0; i < bytes; i++)
		putc('a' + (int)(i % 26), f);
	fclose(f);
}

static void quiet(int level, const char *message, void *arg)
{
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static char *args[] = { (char *)"nhttpd", (char *)"--root", root, (char *)"--max-connections", (char *)"3", NULL };
	char err[256], path[128];

	nomux_set_log_fn(quiet, NULL);
	CHECK(mkdtemp(root));
	snprintf(path, sizeof(path), "%s/dir", root);
	CHECK(!mkdir(path, 0755));
	put("index.html", 100);
	put("big", 50000);
	put("a b%c", 10);
	put("dir/index.html", 3);
	CHECK(options_parse(&opt, 5, args, err, sizeof(err)) == OPTIONS_RUN);
	srv.opt = &opt;
	srv.net = &fake_ops;
	srv.in_bytes = 4096;
	for (unsigned i = 0; i < NR_METRICS; i++)
		srv.m.word[i] = &srv.m.private_word[i];
	for (unsigned i = 0; i < NR_KNOBS; i++)
		srv.m.knob[i] = -1;
	CHECK(!conn_table_create(&srv));
	CHECK(!server_load_site(&srv, mem[0], mem[1], sizeof(mem[0])));
	/* It is in memory now. */
	snprintf(path, sizeof(path), "rm -rf %s", root);
	return system(path);
}

struct pieces {
	unsigned mode;
	uint32_t rng;
};

static uint32_t next_piece(struct pieces *p, uint32_t left)
{
	uint32_t n;

	p->rng = p->rng * 1103515245 + 12345;
	switch (p->mode) {
	case 0:
		n = left;
		break;
	case 1:
		n = 1;
		break;
	case 2:
		n = 1 + (p->rng >> 16) % 64;
		break;
	default:
		n = 1 + (p->rng >> 8) % 1500;
	}
	return n < left ? n : left;
}

/*
 * However it is cut, a request is the same request, or refused.  With which
 * status may differ: the first byte of something that is not HTTP is refused
 * (400) before it can be found too long (414).
 */
static void parse_both(const char *text, uint32_t len, const struct http_limits *lim, struct pieces cut)
{
	struct http_parser whole = { 0 }, part = { 0 };
	int once = http_parse(&whole, text, len, lim), bit = 0;
	uint32_t have = 0;

	while (have < len && !bit) {
		char *copy;

		have += next_piece(&cut, len - have);
		copy = malloc(have);	/* nothing beyond what has come */
		memcpy(copy, text, have);
		bit = http_parse(&part, copy, have, lim);
		free(copy);
	}
	CHECK(bit == once || (bit < 0 && once < 0));
	if (once <= 0)
		return;
	CHECK((uint32_t)once <= len && (uint32_t)once <= lim->header_bytes);
	CHECK(!memcmp(&whole.req, &part.req, sizeof(whole.req)));
	CHECK(whole.req.target.off + whole.req.target.len <= (uint32_t)once);
	CHECK(whole.req.if_none_match.off + whole.req.if_none_match.len <= (uint32_t)once);
	CHECK(whole.req.if_modified_since.off + whole.req.if_modified_since.len <= (uint32_t)once);
}

static void acknowledge(struct conn *c, uint64_t n)
{
	if (n > c->pending)
		n = c->pending;
	wire.room += n;
	if (!wire.aborted && !wire.finished)
		conn_sent(c, n);
	else
		c->pending -= n;
}

/* The client takes what was sent until the server listens again. */
static void until_it_listens(struct conn *c, unsigned options)
{
	for (unsigned i = 0; wire.held && !wire.aborted; i++) {
		CHECK(i < 1000);
		wire.room += options & OPT_SMALL ? 700 : 8192;
		acknowledge(c, options & OPT_SMALL ? 700 : UINT64_MAX);
	}
}

static void feed(struct conn *c, const char *text, uint32_t len, unsigned options, struct pieces cut)
{
	uint32_t done = 0;

	while (done < len && !wire.aborted) {
		uint32_t n = next_piece(&cut, len - done);
		char *copy;

		if (options & OPT_ACKS)
			acknowledge(c, options & OPT_SMALL ? 700 : UINT64_MAX);
		until_it_listens(c, options);
		if (wire.aborted)
			return;
		if (n > conn_in_room(c))
			n = conn_in_room(c);
		CHECK(n);
		copy = malloc(n);	/* gone right after the call */
		memcpy(copy, text + done, n);
		conn_input(c, copy, n);
		free(copy);
		done += n;
	}
}

static void run(const char *text, uint32_t len, unsigned options, struct pieces cut)
{
	struct conn *c;

	memset(&wire, 0, sizeof(wire));
	wire.room = options & OPT_SMALL ? 5000 : 65536;
	wire.fail_after = options & OPT_FAIL ? 1 + cut.rng % 7 : 0;
	c = conn_open(&srv);
	CHECK(c);
	conn_start(c);
	feed(c, text, len, options, cut);
	for (unsigned i = 0; i < 500 && !wire.aborted && !wire.finished && (c->pending || c->body_left); i++) {
		wire.room += 4096;
		acknowledge(c, 4096);
	}
	if (!wire.aborted && !wire.finished)
		conn_eof(c);
	CHECK(wire.sent < 9 || !memcmp(wire.begin, "HTTP/1.1 ", 9));
	for (unsigned i = 0; i < wire.nr_kept; i++)
		CHECK(sum_of(wire.kept[i].data, wire.kept[i].len) == wire.kept[i].sum);
	/* Nobody keeps a connection for ever. */
	for (unsigned i = 0; i < 10 && !wire.aborted && !wire.finished; i++) {
		srv.now_ns += srv.idle_ns + SECOND;
		conn_sweep(&srv);
	}
	CHECK(wire.aborted || wire.finished);
	conn_gone(c);
	CHECK(!srv.nr_open);
}

/* However it is cut and whenever there is room, as many requests get the same answers. */
static void run_both(const char *text, uint32_t len, unsigned options, struct pieces cut)
{
	static const enum metric counted[] = { M_2XX, M_3XX, M_4XX, M_5XX };
	uint64_t once[4], now;

	run(text, len, options & OPT_LIMITS, (struct pieces){ 0, 0 });
	for (unsigned i = 0; i < 4; i++) {
		once[i] = *srv.m.word[counted[i]];
		*srv.m.word[counted[i]] = 0;
	}
	srv.now_ns = SECOND;
	run(text, len, options, cut);
	for (unsigned i = 0; i < 4; i++) {
		now = *srv.m.word[counted[i]];
		*srv.m.word[counted[i]] = 0;
		CHECK(now == once[i] || options & OPT_FAIL);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pieces cut;
	unsigned options;

	if (size < 4)
		return 0;
	options = data[0];
	cut = (struct pieces){ options & OPT_PIECES, data[1] | (uint32_t)data[2] << 8 | (uint32_t)data[3] << 16 };
	srv.lim = options & OPT_LIMITS ? (struct http_limits){ 64, 256, 5 } : (struct http_limits){ 1024, 3000, 50 };
	srv.idle_ns = 10 * SECOND;
	srv.date_s = -1;
	srv.now_ns = SECOND;
	srv.next_sweep_ns = srv.drain_until_ns = 0;
	server_tick(&srv, SECOND);
	parse_both((const char *)data + 4, (uint32_t)size - 4, &srv.lim, cut);
	run_both((const char *)data + 4, (uint32_t)size - 4, options, cut);
	return 0;
}
