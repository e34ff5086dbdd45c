// SPDX-License-Identifier: MIT
/* Header blocks and dates. */
#include "../../apps/nhttpd/src/http_date.h"
#include "../../apps/nhttpd/src/http_reply.h"
#include "../../apps/nhttpd/src/mime.h"
#include "../../apps/nhttpd/src/site.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static const char date[] = "Sun, 06 Nov 1994 08:49:37 GMT";

static void test_http_date_formats(void **state)
{
	static const struct {
		int64_t s;
		const char *text;
	} cases[] = {
		{ 0, "Thu, 01 Jan 1970 00:00:00 GMT" }, { 784111777, date },
		{ 951782400, "Tue, 29 Feb 2000 00:00:00 GMT" }, { 253402300799LL, "Fri, 31 Dec 9999 23:59:59 GMT" },
		{ -5, "Thu, 01 Jan 1970 00:00:00 GMT" }, { INT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT" },
	};
	char out[HTTP_DATE_BYTES];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		http_date_format(out, cases[i].s);
		assert_memory_equal(out, cases[i].text, HTTP_DATE_BYTES);
	}
}

static int parse(const char *text, int64_t *s)
{
	char *copy = malloc(strlen(text) + (*text == 0));
	int ret;

	memcpy(copy, text, strlen(text));
	ret = http_date_parse(copy, strlen(text), s);
	free(copy);
	return ret;
}

static void test_http_date_parses_three_forms(void **state)
{
	static const char *const junk[] = {
		"", "now", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 06 Nix 1994 08:49:37 GMT", "Sun, 32 Nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT ", "Sun, 06 Nov 19x4 08:49:37 GMT",
		"Sunday, 06-Nov-94 08:49:37 UTC", ", 06-Nov-94 08:49:37 GM", "Sun Nov  6 08:49:37 19994", "Sun, 00 Nov 1994 08:49:37 GMT",
	};
	int64_t s = 0;

	assert_int_equal(parse(date, &s), 0);
	assert_int_equal(s, 784111777);
	assert_int_equal(parse("Sunday, 06-Nov-94 08:49:37 GMT", &s), 0);
	assert_int_equal(s, 784111777);
	assert_int_equal(parse("Sun Nov  6 08:49:37 1994", &s), 0);
	assert_int_equal(s, 784111777);
	assert_int_equal(parse("Monday, 01-Jan-29 00:00:00 GMT", &s), 0);
	assert_int_equal(s, 1861920000);
	for (size_t i = 0; i < sizeof(junk) / sizeof(*junk); i++)
		assert_int_equal(parse(junk[i], &s), -EINVAL);
}

static void test_http_date_round_trip(void **state)
{
	char out[HTTP_DATE_BYTES];
	int64_t back;

	for (int64_t s = 0; s < 253402300799LL; s += 86400LL * 365 * 3 + 12345) {
		http_date_format(out, s);
		assert_int_equal(http_date_parse(out, HTTP_DATE_BYTES, &back), 0);
		assert_int_equal(back, s);
	}
}

static struct site_block block = { .body_len = UINT64_MAX, .etag = "\"ffffffffffffffff-ffffffffffffffff\"" };

static void test_http_reply_heads_fit(void **state)
{
	char *out = malloc(HTTP_HEAD_MAX), *patched = malloc(HTTP_HEAD_MAX);
	uint32_t n, m;

	http_date_format(block.last_modified, INT64_MAX);
	n = http_reply_file(out, 200, NULL, &block, "text/markdown; charset=utf-8");
	assert_true(n + sizeof("Connection: keep-alive\r\n") < HTTP_HEAD_MAX);
	assert_memory_equal(out, "HTTP/1.1 200 OK\r\nDate: ", HTTP_DATE_OFFSET);
	memcpy(out + HTTP_DATE_OFFSET, date, HTTP_DATE_BYTES);
	assert_memory_equal(out + HTTP_DATE_OFFSET + HTTP_DATE_BYTES, "\r\n", 2);
	assert_memory_equal(out + n - 4, "\r\n\r\n", 4);
	m = http_reply_patch(patched, out, n, HTTP_SAY_KEEP_ALIVE);
	assert_int_equal(m, n + strlen("Connection: keep-alive\r\n"));
	assert_memory_equal(patched + m - 26, "Connection: keep-alive\r\n\r\n", 26);
	n = http_reply_file(out, 304, date, &block, "");
	assert_non_null(memmem(out, n, "ETag: ", 6));
	assert_null(memmem(out, n, "Content-Length", 14));
	assert_non_null(memmem(out, n, date, HTTP_DATE_BYTES));
	free(out);
	free(patched);
}

static void test_http_reply_errors(void **state)
{
	static const int statuses[] = { 400, 403, 404, 405, 408, 413, 414, 417, 431, 501, 503, 505 };
	char *out = malloc(HTTP_ERROR_MAX), path[SITE_PATH_MAX];
	uint32_t n, h;

	for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
		const char *end;
		long length;

		n = http_reply_error(out, statuses[i], date, HTTP_SAY_CLOSE, NULL, 0, false);
		h = http_reply_error(out, statuses[i], date, HTTP_SAY_CLOSE, NULL, 0, true);
		assert_true(h < n);
		n = http_reply_error(out, statuses[i], date, HTTP_SAY_CLOSE, NULL, 0, false);
		end = memmem(out, n, "\r\n\r\n", 4);
		assert_non_null(end);
		length = strtol((char *)memmem(out, n, "Content-Length: ", 16) + 16, NULL, 10);
		assert_int_equal(length, out + n - end - 4);
		assert_int_equal(atoi(out + 9), statuses[i]);
		assert_string_not_equal(http_reason(statuses[i]), "Error");
	}
	/* a path of nothing but bytes to be escaped is neither cut nor too long */
	memset(path, '\xff', sizeof(path));
	n = http_reply_error(out, 301, date, HTTP_DEFAULT, path, sizeof(path), false);
	assert_true(n < HTTP_ERROR_MAX);
	assert_non_null(memmem(out, n, "Location: %FF%FF", 16));
	assert_non_null(memmem(out, n, "%FF%FF\r\n", 8));
	assert_int_equal(strspn((char *)memmem(out, n, "Location: ", 10) + 10, "%F"), 3 * sizeof(path));
	/* no response splitting */
	n = http_reply_error(out, 301, date, HTTP_DEFAULT, "/a\r\nX: y/", 9, true);
	assert_non_null(memmem(out, n, "Location: /a%0D%0AX:%20y/\r\n", 27));
	free(out);
}

static void test_mime_types(void **state)
{
	assert_string_equal(mime_type("/a/index.HTML"), "text/html; charset=utf-8");
	assert_string_equal(mime_type("/x.tar.gz"), "application/gzip");
	assert_string_equal(mime_type("/noending"), "application/octet-stream");
	assert_string_equal(mime_type("/a.b/c"), "application/octet-stream");
	assert_string_equal(mime_type("/a.htmlx"), "application/octet-stream");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_http_date_formats),
		cmocka_unit_test(test_http_date_parses_three_forms),
		cmocka_unit_test(test_http_date_round_trip),
		cmocka_unit_test(test_http_reply_heads_fit),
		cmocka_unit_test(test_http_reply_errors),
		cmocka_unit_test(test_mime_types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
