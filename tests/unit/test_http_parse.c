// SPDX-License-Identifier: MIT
/* The request parser: every split, limits, mutations; in memory just as long as the request. */
#include "../../apps/nhttpd/src/http_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct http_limits limits = { 256, 1024, 10 };

/* ASan watches the end of @len bytes. */
static int parse_exact(struct http_parser *p, const char *text, uint32_t len, const struct http_limits *lim)
{
	char *copy = malloc(len ? len : 1);
	int ret;

	memcpy(copy, text, len);
	ret = http_parse(p, copy, len, lim);
	free(copy);
	return ret;
}

static int parse_once(const char *text, struct http_request *req)
{
	struct http_parser p = { 0 };
	int ret = parse_exact(&p, text, strlen(text), &limits);

	if (req)
		*req = p.req;
	return ret;
}

#define H "Host: t\r\n"
#define L "GET / HTTP/1.1\r\n"

static void test_http_parse_understands(void **state)
{
	static const char text[] = "GET /a/b?c HTTP/1.1\r\nHost: x:80\r\nIf-None-Match:  \"e\" \t\r\n"
				   "IF-MODIFIED-SINCE:then\r\nConnection: foo , close\r\nEmpty:\r\n\r\n";
	struct http_request req;

	assert_int_equal(parse_once(text, &req), sizeof(text) - 1);
	assert_int_equal(req.method, HTTP_GET);
	assert_int_equal(req.minor, 1);
	assert_false(req.keep_alive);
	assert_false(req.has_body);
	assert_false(req.plain);
	assert_int_equal(req.target.len, 6);
	assert_memory_equal(text + req.target.off, "/a/b?c", 6);
	assert_int_equal(req.if_none_match.len, 3);
	assert_memory_equal(text + req.if_none_match.off, "\"e\"", 3);
	assert_int_equal(req.if_modified_since.len, 4);
	assert_memory_equal(text + req.if_modified_since.off, "then", 4);
}

static void test_http_parse_knows_plain_targets(void **state)
{
	static const struct {
		const char *target;
		bool plain;
	} cases[] = {
		{ "/", true }, { "/a", true }, { "/a/b.html", true }, { "/a..b", true }, { "/a/", true },
		{ "/a%20b", false }, { "/a?b", false }, { "//a", false }, { "/a//", false }, { "/.a", false },
		{ "/a/..", false }, { "/./a", false },
	};
	struct http_request req;
	char text[128];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		strcpy(text, "GET ");
		strcat(strcat(text, cases[i].target), " HTTP/1.1\r\n" H "\r\n");
		assert_true(parse_once(text, &req) > 0);
		assert_int_equal(req.plain, cases[i].plain);
	}
}

static void test_http_parse_keep_alive(void **state)
{
	static const struct {
		const char *text;
		bool keep;
	} cases[] = {
		{ L H "\r\n", true }, { L H "Connection: keep-alive\r\n\r\n", true },
		{ L H "Connection: CLOSE\r\n\r\n", false }, { L H "Connection: closed\r\n\r\n", true },
		{ L H "Connection: keep-alive\r\nConnection: close\r\n\r\n", false },
		{ "GET / HTTP/1.0\r\n\r\n", false }, { "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true },
		{ "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false },
		{ "GET / HTTP/1.2\r\n" H "\r\n", true },
	};
	struct http_request req;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(parse_once(cases[i].text, &req), strlen(cases[i].text));
		assert_int_equal(req.keep_alive, cases[i].keep);
	}
}

static void test_http_parse_bodies_and_expectations(void **state)
{
	struct http_request req;

	assert_true(parse_once(L H "Content-Length: 0\r\n\r\n", &req) > 0);
	assert_false(req.has_body);
	assert_true(parse_once(L H "Content-Length: 18446744073709551600\r\n\r\n", &req) > 0);
	assert_true(req.has_body);
	assert_int_equal(parse_once(L H "Content-Length: 18446744073709551610\r\n\r\n", &req), -400);
	assert_true(parse_once(L H "Content-Length: 0005\r\n\r\n", &req) > 0);
	assert_true(req.has_body);
	assert_true(parse_once(L H "Transfer-Encoding: Chunked\r\n\r\n", &req) > 0);
	assert_true(req.has_body);
	assert_true(parse_once(L H "Expect: 100-Continue\r\n\r\n", &req) > 0);
	assert_int_equal(parse_once(L H "Expect: 200-ok\r\n\r\n", &req), -417);
	assert_int_equal(parse_once(L H "Expect: x\r\nExpect: 100-continue\r\n\r\n", &req), -417);
	assert_int_equal(parse_once(L H "Transfer-Encoding: br\r\n\r\n", &req), -501);
}

/* The status must not depend on how the request is cut into pieces. */
static int parse_split(const char *text, uint32_t len, uint32_t first, uint32_t step, struct http_parser *p)
{
	int ret = 0;

	memset(p, 0, sizeof(*p));
	for (uint32_t at = first; ; at += step) {
		if (at > len)
			at = len;
		ret = parse_exact(p, text, at, &limits);
		if (ret || at == len)
			return ret;
	}
}

static const char *const samples[] = {
	L H "\r\n",
	"\r\n" L H "\r\n",
	"HEAD /%41/../x?y HTTP/1.0\r\nConnection: keep-alive\r\nX: \xc3\xa4\t \r\n\r\n",
	"POST / HTTP/1.1\r\n" H "Content-Length: 7\r\n\r\n",
	"GET http://h:1/p HTTP/1.1\r\n" H "If-None-Match: \"a\", \"b\"\r\n\r\n",
	L H "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
	L H "A: b\r\n folded\r\n\r\n",
	L H "A: b\rc\r\n\r\n",
	L "Host: t\n\r\n",
	"GET / HTTP/9.9\r\n\r\n",
	"GET  / HTTP/1.1\r\n\r\n",
	L H H "\r\n",
	"BREW /pot HTTP/1.1\r\n" H "\r\n",
};

static void test_http_parse_every_split(void **state)
{
	for (size_t i = 0; i < sizeof(samples) / sizeof(*samples); i++) {
		uint32_t len = strlen(samples[i]);
		struct http_parser whole = { 0 }, part;
		int expect = parse_exact(&whole, samples[i], len, &limits);

		assert_int_not_equal(expect, 0);
		for (uint32_t first = 0; first <= len; first++) {
			assert_int_equal(parse_split(samples[i], len, first, len, &part), expect);
			assert_int_equal(parse_split(samples[i], len, first, 1, &part), expect);
			if (expect > 0)
				assert_memory_equal(&part.req, &whole.req, sizeof(part.req));
		}
	}
}

static void test_http_parse_leaves_what_follows(void **state)
{
	static const char one[] = L H "\r\n", two[] = L H "\r\nGET /next HTTP/1.1\r\n";
	struct http_parser p = { 0 };

	assert_int_equal(http_parse(&p, two, sizeof(two) - 1, &limits), sizeof(one) - 1);
}

static void test_http_parse_limits(void **state)
{
	char text[4096];
	struct http_parser p;

	/* request line: "GET /xxx HTTP/1.1\r\n" of 256 bytes is in, of 257 out */
	for (int extra = 0; extra < 2; extra++) {
		uint32_t fill = limits.line_bytes - strlen(L) + extra;

		strcpy(text, "GET /");
		memset(text + 5, 'x', fill);
		strcpy(text + 5 + fill, " HTTP/1.1\r\n" H "\r\n");
		memset(&p, 0, sizeof(p));
		assert_int_equal(parse_exact(&p, text, strlen(text), &limits), extra ? -414 : (int)strlen(text));
	}
	/* the whole block, complete or not */
	for (int extra = 0; extra < 2; extra++) {
		uint32_t fill = limits.header_bytes - strlen(L H "X: \r\n\r\n") + extra;

		strcpy(text, L H "X: ");
		memset(text + strlen(text), 'x', fill);
		strcpy(text + strlen(L H "X: ") + fill, "\r\n\r\n");
		memset(&p, 0, sizeof(p));
		assert_int_equal(parse_exact(&p, text, strlen(text), &limits), extra ? -431 : (int)strlen(text));
	}
	memset(text, 'A', sizeof(text));
	memset(&p, 0, sizeof(p));
	assert_int_equal(parse_exact(&p, text, limits.line_bytes, &limits), 0);
	assert_int_equal(parse_exact(&p, text, limits.line_bytes + 1, &limits), -414);
	/* fields */
	strcpy(text, L H);
	for (int i = 1; i < 10; i++)
		strcat(text, "X: y\r\n");
	strcat(text, "\r\n");
	assert_true(parse_once(text, NULL) > 0);
	strcpy(text + strlen(text) - 2, "X: y\r\n\r\n");
	assert_int_equal(parse_once(text, NULL), -431);
}

static void test_http_parse_says_no_at_once(void **state)
{
	struct http_parser p = { 0 };

	assert_int_equal(parse_exact(&p, "\x16\x03\x01", 3, &limits), -400);
	memset(&p, 0, sizeof(p));
	assert_int_equal(parse_exact(&p, "GET / HTTP/2.0\r\n", 16, &limits), -505);
}

/*
 * Mutations with a fixed seed: any outcome that is a documented one will do,
 * but it has to be the same for whole and cut requests, and memory stays ours.
 */
static void test_http_parse_mutations(void **state)
{
	static const char alphabet[] = "\r\n\t :/%.?#*0159aZ\"\\,;\x01\x7f\x80\xff";
	uint64_t x = 0x9e3779b97f4a7c15ULL;
	char text[256];

	for (int round = 0; round < 200000; round++) {
		const char *sample = samples[round % (sizeof(samples) / sizeof(*samples))];
		uint32_t len = strlen(sample);
		struct http_parser a = { 0 }, b;
		int ret, again;

		memcpy(text, sample, len);
		for (int i = 0; i <= round % 3; i++) {
			uint32_t at;

			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			at = (x >> 16) % len;
			switch (x & 3) {
			case 0:
				text[at] = (char)(x >> 48);
				break;
			case 1:
				text[at] = alphabet[(x >> 32) % (sizeof(alphabet) - 1)];
				break;
			case 2:		/* take one out */
				memmove(text + at, text + at + 1, len - at - 1);
				len -= len > 1;
				break;
			case 3:		/* put one in */
				memmove(text + at + 1, text + at, len - at);
				text[at] = alphabet[(x >> 32) % (sizeof(alphabet) - 1)];
				len++;
				break;
			}
		}
		ret = parse_exact(&a, text, len, &limits);
		again = parse_split(text, len, (x >> 40) % (len + 1), 1 + (x >> 50) % 7, &b);
		assert_int_equal(ret, again);
		if (ret < 0) {
			assert_true(ret == -400 || ret == -414 || ret == -417 || ret == -431 || ret == -501 || ret == -505);
		} else if (ret > 0) {
			assert_true((uint32_t)ret <= len);
			assert_true(a.req.target.off + a.req.target.len <= (uint32_t)ret);
			assert_true(a.req.if_none_match.off + a.req.if_none_match.len <= (uint32_t)ret);
			assert_true(a.req.if_modified_since.off + a.req.if_modified_since.len <= (uint32_t)ret);
			assert_memory_equal(text + ret - 4, "\r\n\r\n", 4);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_http_parse_understands),
		cmocka_unit_test(test_http_parse_knows_plain_targets),
		cmocka_unit_test(test_http_parse_keep_alive),
		cmocka_unit_test(test_http_parse_bodies_and_expectations),
		cmocka_unit_test(test_http_parse_every_split),
		cmocka_unit_test(test_http_parse_leaves_what_follows),
		cmocka_unit_test(test_http_parse_limits),
		cmocka_unit_test(test_http_parse_says_no_at_once),
		cmocka_unit_test(test_http_parse_mutations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
