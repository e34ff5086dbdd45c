// SPDX-License-Identifier: MIT
/* suite.c - the files that are served, and the well-behaved part of the suite */
#include "suite.h"

#include "client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: t\r\n\r\n"

const char *why(const char *fmt, ...)
{
	static char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return text;
}

static int put(const char *dir, const char *name, size_t bytes)
{
	char path[4200];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	if (!f)
		return -1;
	for (size_t i = 0; i < bytes; i++)
		putc(file_byte(i), f);
	return fclose(f);
}

int make_root(const char *dir)
{
	char path[4200], outside[2048];

	mkdir(dir, 0755);
	snprintf(outside, sizeof(outside), "%s.outside", dir);
	mkdir(outside, 0755);
	snprintf(path, sizeof(path), "%s/sub", dir);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/bare", dir);
	mkdir(path, 0755);
	if (put(dir, "index.html", SMALL_BYTES) || put(dir, "a.txt", 10) || put(dir, "big.bin", BIG_BYTES) ||
	    put(dir, "empty", 0) || put(dir, "sub/index.html", 20) || put(dir, "bare/x", 5) || put(dir, ".secret", 9) ||
	    put(dir, "a b&c.txt", 11) || put(outside, "secret", 6)) {
		fprintf(stderr, "nhttpd-blackbox: cannot write below %s: %s\n", dir, strerror(errno));
		return 1;
	}
	snprintf(path, sizeof(path), "%s/out", dir);
	snprintf(outside, sizeof(outside), "../%s.outside/secret", strrchr(dir, '/') ? strrchr(dir, '/') + 1 : dir);
	unlink(path);
	if (symlink(outside, path))
		return 1;
	snprintf(path, sizeof(path), "%s/passwd", dir);
	unlink(path);
	if (symlink("/etc/passwd", path))
		return 1;
	snprintf(path, sizeof(path), "%s/inside", dir);
	unlink(path);
	return symlink("a.txt", path) != 0;
}

static const char *check_body(const struct reply *r, size_t bytes)
{
	if (r->status != 200)
		return why("status %d", r->status);
	if (r->length != (long)bytes || r->body_len != bytes)
		return why("Content-Length %ld, body %zu, expected %zu", r->length, r->body_len, bytes);
	for (size_t i = 0; i < bytes; i++)
		if (r->body[i] != file_byte(i))
			return why("byte %zu differs", i);
	return NULL;
}

static const char *get_on(struct client *c, const char *request, size_t bytes)
{
	const char *bad = "no answer";
	struct reply r = { 0 };

	if (client_say(c, request) && client_reply(c, &r, false))
		bad = check_body(&r, bytes);
	reply_free(&r);
	return bad;
}

static const char *fetch(const char *request, size_t bytes)
{
	const char *bad = "no connection";
	struct client c;

	if (client_open(&c))
		bad = get_on(&c, request, bytes);
	client_close(&c);
	return bad;
}

static const char *t_get(void)
{
	static const char *const fields[] = { "Date", "Server", "Content-Type", "Last-Modified", "ETag" };
	struct client c;
	struct reply r = { 0 };
	const char *bad = "no answer", *type;

	if (client_open(&c) && client_say(&c, GET("/")) && client_reply(&c, &r, false)) {
		bad = check_body(&r, SMALL_BYTES);
		for (unsigned i = 0; !bad && i < 5; i++)
			if (!reply_field(&r, fields[i]))
				bad = why("no field %s", fields[i]);
		type = reply_field(&r, "Content-Type");
		if (!bad && (!type || strncmp(type, "text/html", 9)))
			bad = why("Content-Type %s", type ? type : "missing");
		if (!bad && strlen(reply_field(&r, "Date")) != 29)
			bad = "Date is not 29 characters";
	}
	reply_free(&r);
	client_close(&c);
	return bad;
}

static const char *t_files(void)
{
	const char *bad = fetch(GET("/empty"), 0);

	bad = bad ? bad : fetch(GET("/a.txt?x=1&y=%zz"), 10);
	bad = bad ? bad : fetch(GET("/a%20b%26c.txt"), 11);
	bad = bad ? bad : fetch(GET("/sub/"), 20);
	bad = bad ? bad : fetch(GET("/sub/../a.txt"), 10);
	bad = bad ? bad : fetch(GET("//./sub//index.html"), 20);
	bad = bad ? bad : fetch(GET("/inside"), 10);
	bad = bad ? bad : fetch("GET http://example.org/a.txt HTTP/1.1\r\nHost: other\r\n\r\n", 10);
	bad = bad ? bad : fetch("\r\n" GET("/a.txt"), 10);
	return bad ? bad : fetch(GET("/big.bin"), BIG_BYTES);
}

static const char *t_head(void)
{
	struct reply g = { 0 }, h = { 0 };
	struct client c;
	const char *bad = "no answer";

	if (client_open(&c) && client_say(&c, "HEAD /big.bin HTTP/1.1\r\nHost: t\r\n\r\n") && client_reply(&c, &h, true) &&
	    client_say(&c, GET("/big.bin")) && client_reply(&c, &g, false)) {
		bad = check_body(&g, BIG_BYTES);
		if (!bad && strcmp(strstr(g.head, "Server:"), strstr(h.head, "Server:")))
			bad = "HEAD and GET differ in their fields";
		reply_free(&g);
		if (!bad && (!client_say(&c, "HEAD /none HTTP/1.1\r\nHost: t\r\n\r\n") || !client_reply(&c, &h, true) ||
			     h.status != 404))
			bad = "HEAD of a missing file";
		if (!bad)
			bad = get_on(&c, GET("/a.txt"), 10);
	}
	client_close(&c);
	return bad;
}

static const char *t_keep_alive(void)
{
	struct client c;
	const char *bad = client_open(&c) ? NULL : "no connection";

	for (int i = 0; !bad && i < 100; i++)
		bad = i & 1 ? get_on(&c, GET("/"), SMALL_BYTES) : get_on(&c, GET("/a.txt"), 10);
	client_close(&c);
	return bad;
}

static const char *pipelined(int nr, size_t chunk)
{
	static const char small[] = GET("/"), other[] = GET("/a.txt");
	char *text = malloc((size_t)nr * sizeof(other));
	struct client c;
	struct reply r;
	const char *bad = NULL;
	size_t len = 0, at = 0;

	for (int i = 0; i < nr; i++)
		len += (size_t)sprintf(text + len, "%s", i & 1 ? other : small);
	if (!client_open(&c))
		bad = "no connection";
	for (; !bad && at < len; at += chunk)
		if (!client_send(&c, text + at, at + chunk < len ? chunk : len - at))
			bad = why("sending failed at byte %zu", at);
	for (int i = 0; !bad && i < nr; i++) {
		if (!client_reply(&c, &r, false))
			bad = why("no answer to request %d", i);
		else
			bad = check_body(&r, i & 1 ? 10 : SMALL_BYTES);
		reply_free(&r);
	}
	client_close(&c);
	free(text);
	return bad;
}

static const char *t_pipeline(void)
{
	return pipelined(100, 1 << 20);
}

static const char *t_split(void)
{
	const char *bad = NULL;

	for (size_t chunk = 1; !bad && chunk <= 41; chunk += 8)
		bad = pipelined(8, chunk);
	return bad;
}

static const char *t_mixed_pipeline(void)
{
	struct client c;
	struct reply r = { 0 };
	const char *bad = "no connection";

	if (client_open(&c) && client_say(&c, GET("/a.txt") GET("/big.bin") "HEAD / HTTP/1.1\r\nHost: t\r\n\r\n" GET("/none")
					  GET("/big.bin") GET("/"))) {
		bad = !client_reply(&c, &r, false) ? "answer 1" : check_body(&r, 10);
		reply_free(&r);
		bad = bad ? bad : !client_reply(&c, &r, false) ? "answer 2" : check_body(&r, BIG_BYTES);
		reply_free(&r);
		bad = bad ? bad : !client_reply(&c, &r, true) || r.status != 200 ? "answer 3" : NULL;
		bad = bad ? bad : !client_reply(&c, &r, false) || r.status != 404 ? "answer 4" : NULL;
		reply_free(&r);
		bad = bad ? bad : !client_reply(&c, &r, false) ? "answer 5" : check_body(&r, BIG_BYTES);
		reply_free(&r);
		bad = bad ? bad : !client_reply(&c, &r, false) ? "answer 6" : check_body(&r, SMALL_BYTES);
		reply_free(&r);
	}
	client_close(&c);
	return bad;
}

/* Does the server keep the connection after this request, and say so? */
static const char *keeps(const char *request, bool keep, const char *field)
{
	struct client c;
	struct reply r = { 0 };
	const char *bad = "no answer", *said;

	if (client_open(&c) && client_say(&c, request) && client_reply(&c, &r, false)) {
		said = reply_field(&r, "Connection");
		bad = field && (!said || strcmp(said, field)) ? why("Connection: %s", said ? said : "(none)") : NULL;
		if (!bad && !keep && !client_closed(&c, 1500))
			bad = "not closed";
		if (!bad && keep)
			bad = get_on(&c, GET("/a.txt"), 10);
	}
	reply_free(&r);
	client_close(&c);
	return bad;
}

static const char *t_connection(void)
{
	const char *bad = keeps("GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", false, "close");

	bad = bad ? bad : keeps("GET /big.bin HTTP/1.1\r\nHost: t\r\nconnection: x, Close\r\n\r\n", false, "close");
	bad = bad ? bad : keeps("GET / HTTP/1.0\r\n\r\n", false, "close");
	bad = bad ? bad : keeps("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true, "keep-alive");
	bad = bad ? bad : keeps("GET /none HTTP/1.1\r\nHost: t\r\n\r\n", true, NULL);
	return bad ? bad : keeps("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n", true, NULL);
}

static const char *t_conditional(void)
{
	char request[1024], etag[256], date[64];
	struct client c;
	struct reply r = { 0 };
	const char *bad = "no answer";

	if (!client_open(&c) || !client_say(&c, GET("/")) || !client_reply(&c, &r, false))
		goto out;
	snprintf(etag, sizeof(etag), "%s", reply_field(&r, "ETag"));
	snprintf(date, sizeof(date), "%s", reply_field(&r, "Last-Modified"));
	reply_free(&r);
	for (int i = 0; i < 5; i++) {
		static const int expect[] = { 304, 304, 200, 304, 200 };

		snprintf(request, sizeof(request), "GET / HTTP/1.1\r\nHost: t\r\n%s: %s%s\r\n%s\r\n",
			 i < 3 ? "If-None-Match" : "If-Modified-Since", i == 1 ? "\"x\", W/" : i == 2 ? "\"x\"" : "",
			 i == 2 ? "" : i < 3 ? etag : i == 3 ? date : "Thu, 01 Jan 1970 00:00:01 GMT",
			 i == 2 ? "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n" : "");
		if (!client_say(&c, request) || !client_reply(&c, &r, false) || r.status != expect[i]) {
			bad = why("condition %d: status %d, expected %d", i, r.status, expect[i]);
			goto out;
		}
		reply_free(&r);
	}
	bad = get_on(&c, GET("/a.txt"), 10);
out:
	reply_free(&r);
	client_close(&c);
	return bad;
}

/* A client that has sent its FIN may still read. */
static const char *t_half_close(void)
{
	struct client c;
	struct reply r = { 0 };
	const char *bad = "no answer";

	if (client_open(&c) && client_say(&c, GET("/big.bin") GET("/a.txt")) && !shutdown(c.fd, SHUT_WR) &&
	    client_reply(&c, &r, false)) {
		bad = check_body(&r, BIG_BYTES);
		reply_free(&r);
		bad = bad ? bad : !client_reply(&c, &r, false) ? "no second answer" : check_body(&r, 10);
		bad = bad ? bad : client_closed(&c, 1500) ? NULL : "not closed";
	}
	reply_free(&r);
	client_close(&c);
	return bad;
}

const struct test suite_basic[] = {
	{ "get: status, fields and body", t_get },
	{ "get: names, escapes, dots, links inside, a large file", t_files },
	{ "head: fields of get, no body", t_head },
	{ "keep-alive: 100 requests on a connection", t_keep_alive },
	{ "pipeline: 100 requests in one write, answers in order", t_pipeline },
	{ "pipeline: cut into pieces of 1 to 41 bytes", t_split },
	{ "pipeline: small, large, HEAD and missing mixed", t_mixed_pipeline },
	{ "connection: close and keep-alive, 1.0 and 1.1", t_connection },
	{ "conditional: etag and date", t_conditional },
	{ "half close: answers come after the client's FIN", t_half_close },
	{ NULL, NULL },
};
