// SPDX-License-Identifier: MIT
/* refused.c - requests that must not succeed, each with the status it must get */
#include "client.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define H "Host: t\r\n"
#define L "GET / HTTP/1.1\r\n"

static const struct {
	int status;
	bool stays;		/* the connection serves on */
	const char *request;
} table[] = {
	/* paths */
	{ 404, true, "GET /none HTTP/1.1\r\n" H "\r\n" },
	{ 404, true, "GET /.secret HTTP/1.1\r\n" H "\r\n" },
	{ 404, true, "GET /index.html/ HTTP/1.1\r\n" H "\r\n" },
	{ 403, true, "GET /bare/ HTTP/1.1\r\n" H "\r\n" },
	{ 301, true, "GET /sub HTTP/1.1\r\n" H "\r\n" },
	{ 403, true, "GET /out HTTP/1.1\r\n" H "\r\n" },
	{ 403, true, "GET /passwd HTTP/1.1\r\n" H "\r\n" },
	{ 403, true, "GET /../etc/passwd HTTP/1.1\r\n" H "\r\n" },
	{ 403, true, "GET /.. HTTP/1.1\r\n" H "\r\n" },
	{ 403, true, "GET /sub/../../etc/passwd HTTP/1.1\r\n" H "\r\n" },
	{ 403, true, "GET /%2e%2e/etc/passwd HTTP/1.1\r\n" H "\r\n" },
	{ 403, true, "GET /.%2E%2fetc/passwd HTTP/1.1\r\n" H "\r\n" },
	{ 403, true, "GET /sub/..%2f..%2fetc/passwd HTTP/1.1\r\n" H "\r\n" },
	{ 404, true, "GET /%252e%252e/etc/passwd HTTP/1.1\r\n" H "\r\n" },
	{ 404, true, "GET /..\\..\\etc\\passwd HTTP/1.1\r\n" H "\r\n" },
	{ 400, true, "GET /a.txt%00.html HTTP/1.1\r\n" H "\r\n" },
	{ 400, true, "GET /%zz HTTP/1.1\r\n" H "\r\n" },
	{ 400, true, "GET /% HTTP/1.1\r\n" H "\r\n" },
	{ 400, true, "GET /%4 HTTP/1.1\r\n" H "\r\n" },
	/* methods and bodies */
	{ 405, true, "POST / HTTP/1.1\r\n" H "\r\n" },
	{ 405, true, "OPTIONS * HTTP/1.1\r\n" H "\r\n" },
	{ 405, true, "DELETE /a.txt HTTP/1.1\r\n" H "\r\n" },
	{ 405, false, "PUT /a.txt HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc" },
	{ 501, true, "BREW / HTTP/1.1\r\n" H "\r\n" },
	{ 501, true, "get / HTTP/1.1\r\n" H "\r\n" },
	{ 413, false, L H "Content-Length: 4\r\n\r\nbody" },
	{ 413, false, L H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
	{ 413, false, L H "Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n" },
	{ 417, false, L H "Expect: miracles\r\n\r\n" },
	{ 501, false, L H "Transfer-Encoding: gzip, chunked\r\n\r\n" },
	{ 501, false, L H "Transfer-Encoding: xchunked\r\n\r\n" },
	/* versions */
	{ 505, false, "GET / HTTP/2.0\r\n" H "\r\n" },
	{ 505, false, "GET / HTTP/0.9\r\n" H "\r\n" },
	{ 400, false, "GET / http/1.1\r\n" H "\r\n" },
	{ 400, false, "GET / HTTP/1.10\r\n" H "\r\n" },
	{ 400, false, "GET /\r\n\r\n" },
	{ 400, false, "PRI * HTTP/2\r\n\r\nSM\r\n\r\n" },
	/* what two parsers may read differently */
	{ 400, false, L H "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" },
	{ 400, false, L H "Content-Length: 0\r\nContent-Length: 0\r\n\r\n" },
	{ 400, false, L H "Content-Length: 0, 0\r\n\r\n" },
	{ 400, false, L H "Content-Length: +0\r\n\r\n" },
	{ 400, false, L H "Content-Length: 0x10\r\n\r\n" },
	{ 400, false, L H "Content-Length: \r\n\r\n" },
	{ 400, false, L H "Content-Length: 18446744073709551616\r\n\r\n" },
	{ 400, false, L H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" },
	{ 400, false, "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" },
	{ 400, false, L "\r\n" },
	{ 400, false, L H H "\r\n" },
	{ 400, false, L "Host: a b\r\n\r\n" },
	{ 400, false, L "Host: a/b\r\n\r\n" },
	{ 400, false, L H "X: a\r\n folded\r\n\r\n" },
	{ 400, false, L " X: a\r\n" H "\r\n" },
	{ 400, false, L H "X : a\r\n\r\n" },
	{ 400, false, L H "X\r\n\r\n" },
	{ 400, false, L H ": a\r\n\r\n" },
	{ 400, false, L H "X: a\rb\r\n\r\n" },
	{ 400, false, L H "X: a\x01" "b\r\n\r\n" },
	{ 400, false, "GET / HTTP/1.1\nHost: t\n\n" },
	{ 400, false, L "Host: t\n\r\n" },
	{ 400, false, "GET  / HTTP/1.1\r\n" H "\r\n" },
	{ 400, false, "GET /  HTTP/1.1\r\n" H "\r\n" },
	{ 400, false, " GET / HTTP/1.1\r\n" H "\r\n" },
	{ 400, false, "GET / HTTP/1.1 \r\n" H "\r\n" },
	{ 400, false, "GET\t/ HTTP/1.1\r\n" H "\r\n" },
	{ 400, false, "GET a.txt HTTP/1.1\r\n" H "\r\n" },
	{ 400, false, "GET * HTTP/1.1\r\n" H "\r\n" },
	{ 400, false, "GET /a#b HTTP/1.1\r\n" H "\r\n" },
	{ 400, false, "GET /\x80 HTTP/1.1\r\n" H "\r\n" },
	{ 400, false, "GET http:///a HTTP/1.1\r\n" H "\r\n" },
	{ 400, false, "\r\n\r\n" L H "\r\n" },
	{ 400, false, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" },
};

static const char *check_one(unsigned i)
{
	struct client c;
	struct reply r = { 0 };
	const char *bad = NULL, *said;
	bool got;

	if (!client_open(&c))
		return "no connection";
	got = client_say(&c, table[i].request) && client_reply(&c, &r, false);
	if (!got || r.status != table[i].status)
		bad = why("entry %u: status %d, expected %d", i, r.status, table[i].status);
	said = got ? reply_field(&r, "Connection") : NULL;
	if (!bad && r.status == 405 && (!(said = reply_field(&r, "Allow")) || strcmp(said, "GET, HEAD")))
		bad = "405 without Allow: GET, HEAD";
	if (!bad && r.status == 301 && (!(said = reply_field(&r, "Location")) || strcmp(said, "/sub/")))
		bad = "301 without Location: /sub/";
	if (!bad && !table[i].stays && (!(said = reply_field(&r, "Connection")) || strcmp(said, "close")))
		bad = why("entry %u: does not say Connection: close", i);
	reply_free(&r);
	if (!bad && table[i].stays &&
	    (!client_say(&c, "GET /a.txt HTTP/1.1\r\nHost: t\r\n\r\n") || !client_reply(&c, &r, false) || r.status != 200))
		bad = why("entry %u: the connection does not serve on", i);
	reply_free(&r);
	if (!bad && !table[i].stays) {
		/* The server stops reading for sense, but does not reset what we still read. */
		client_say(&c, "GET /a.txt HTTP/1.1\r\nHost: t\r\n\r\n");
		if (!client_closed(&c, 1500))
			bad = why("entry %u: not closed", i);
	}
	client_close(&c);
	return bad;
}

static const char *t_table(void)
{
	const char *bad = NULL;

	for (unsigned i = 0; !bad && i < sizeof(table) / sizeof(table[0]); i++)
		bad = check_one(i);
	return bad;
}

/* A request of exactly this much, and one byte more. */
static const char *long_request(const char *before, size_t fill, const char *after, int expect)
{
	size_t head = strlen(before), tail = strlen(after);
	char *text = malloc(head + fill + tail);
	int status;

	memcpy(text, before, head);
	memset(text + head, 'x', fill);
	memcpy(text + head + fill, after, tail);
	status = ask(text, head + fill + tail, NULL);
	free(text);
	return status == expect ? NULL : why("%zu bytes: status %d, expected %d", head + fill + tail, status, expect);
}

static const char *t_lengths(void)
{
	size_t line = strlen("GET / HTTP/1.1\r\n"), head = strlen(L H "X: \r\n\r\n");
	const char *bad;

	bad = long_request("GET /", (size_t)target.line_bytes - line, " HTTP/1.1\r\n" H "\r\n", 404);
	bad = bad ? bad : long_request("GET /", (size_t)target.line_bytes - line + 1, " HTTP/1.1\r\n" H "\r\n", 414);
	bad = bad ? bad : long_request("GET /", 100000, "", 414);
	bad = bad ? bad : long_request(L H "X: ", (size_t)target.header_bytes - head, "\r\n\r\n", 200);
	bad = bad ? bad : long_request(L H "X: ", (size_t)target.header_bytes - head + 1, "\r\n\r\n", 431);
	return bad ? bad : long_request(L H "X: ", 100000, "", 431);
}

static const char *t_fields(void)
{
	char text[8192];

	for (int nr = 99; nr <= 101; nr++) {
		size_t len = (size_t)sprintf(text, L H);
		int status;

		for (int i = 1; i < nr; i++)
			len += (size_t)sprintf(text + len, "X-%d: y\r\n", i);
		sprintf(text + len, "\r\n");
		status = ask_text(text);
		if (status != (nr <= 100 ? 200 : 431))
			return why("%d fields: status %d", nr, status);
	}
	return NULL;
}

/* The answer must survive the body that is still being sent. */
static const char *t_long_body(void)
{
	enum { BODY = 400000 };
	const char *bad = NULL;
	char *text = malloc(BODY + 256);
	size_t head = (size_t)sprintf(text, "PUT /a.txt HTTP/1.1\r\n" H "Content-Length: %d\r\n\r\n", BODY);

	memset(text + head, 'x', BODY);
	for (int i = 0; !bad && i < 20; i++) {
		bool fin = false;
		int status = ask(text, head + BODY, &fin);

		if (status != 405)
			bad = why("status %d", status);
		else if (!fin)
			bad = "ended by a reset";
	}
	free(text);
	return bad;
}

const struct test suite_refused[] = {
	{ "refused: malformed, ambiguous, out of the root, not supported", t_table },
	{ "refused: lines and headers one byte too long", t_lengths },
	{ "refused: too many fields", t_fields },
	{ "refused: a body of 400 kB does not cost the answer", t_long_body },
	{ NULL, NULL },
};
