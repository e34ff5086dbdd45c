// SPDX-License-Identifier: MIT
/* nom-load's reading of answers: where they end, however they are cut, and what is none. */
#include "../../apps/nomload/src/answer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct answer a;

static int fresh(void **state)
{
	memset(&a, 0, sizeof(a));
	return 0;
}

static void test_cut_anywhere(void **state)
{
	static const char two[] = "HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length:  5\r\n\r\nhello"
				  "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
	size_t n = sizeof(two) - 1, first = (size_t)(strstr(two, "hello") + 5 - two);

	for (size_t cut = 1; cut < n; cut++) {
		int seen = 0;

		memset(&a, 0, sizeof(a));
		for (size_t at = 0; at < n;) {
			size_t piece = at < cut ? cut - at : n - at;
			ssize_t used = answer_feed(&a, two + at, piece);

			assert_true(used > 0);
			at += (size_t)used;
			if (!a.complete)
				continue;
			assert_int_equal(a.status, seen ? 404 : 200);
			assert_int_equal(a.close, seen);
			assert_int_equal(a.bytes, seen ? n - first : first);
			seen++;
		}
		assert_int_equal(seen, 2);
	}
}

static void test_without_body(void **state)
{
	const char *text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n";

	assert_int_equal(answer_feed(&a, text, strlen(text)), strlen(text));
	assert_true(a.complete);
	assert_int_equal(a.status, 304);
	text = "HTTP/1.1 204 No Content\r\n\r\n";
	assert_int_equal(answer_feed(&a, text, strlen(text)), strlen(text));
	assert_true(a.complete);
	assert_int_equal(a.status, 204);
	assert_int_equal(a.bytes, strlen(text));
}

/* Version 1.0 closes unless it says otherwise. */
static void test_old_version(void **state)
{
	const char *text = "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n";

	assert_int_equal(answer_feed(&a, text, strlen(text)), strlen(text));
	assert_true(a.complete && a.close);
	text = "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n";
	assert_int_equal(answer_feed(&a, text, strlen(text)), strlen(text));
	assert_true(a.complete && !a.close);
}

static void refused(const char *text, int err)
{
	memset(&a, 0, sizeof(a));
	assert_int_equal(answer_feed(&a, text, strlen(text)), err);
}

static void test_refused(void **state)
{
	char longer[ANSWER_HEAD_BYTES + 2];

	refused("SSH-2.0-x\r\n\r\n", -EPROTO);
	refused("HTTP/1.1 2x0 OK\r\n\r\n", -EPROTO);
	refused("HTTP/1.1 099 OK\r\n\r\n", -EPROTO);
	refused("\r\n\r\n", -EPROTO);
	refused("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", -EPROTO);
	refused("HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\n", -EPROTO);
	refused("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", -EPROTO);
	refused("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", -EOPNOTSUPP);
	refused("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", -EOPNOTSUPP);
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	refused(longer, -EMSGSIZE);
	memset(&a, 0, sizeof(a));
	assert_int_equal(answer_feed(&a, "HTTP/1.1 200 OK\0\r\n\r\n", 20), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_cut_anywhere, fresh),
		cmocka_unit_test_setup(test_without_body, fresh),
		cmocka_unit_test_setup(test_old_version, fresh),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
