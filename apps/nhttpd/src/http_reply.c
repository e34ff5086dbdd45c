// SPDX-License-Identifier: MIT
/* http_reply.c - header blocks of answers */
#include "http_reply.h"

#include "http_date.h"
#include "site.h"

#include <stdio.h>
#include <string.h>

#define BLANK_DATE "                             "	/* HTTP_DATE_BYTES */

_Static_assert(sizeof(BLANK_DATE) - 1 == HTTP_DATE_BYTES, "blank date");
_Static_assert(sizeof("HTTP/1.1 200 OK\r\nDate: ") - 1 == HTTP_DATE_OFFSET, "offset of the date");

const char *http_reason(int status)
{
	switch (status) {
	case 200: return "OK";
	case 204: return "No Content";
	case 301: return "Moved Permanently";
	case 304: return "Not Modified";
	case 400: return "Bad Request";
	case 403: return "Forbidden";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 408: return "Request Timeout";
	case 413: return "Content Too Large";
	case 414: return "URI Too Long";
	case 417: return "Expectation Failed";
	case 431: return "Request Header Fields Too Large";
	case 501: return "Not Implemented";
	case 503: return "Service Unavailable";
	case 505: return "HTTP Version Not Supported";
	}
	return "Error";
}

static const char *connection_field(enum http_connection connection)
{
	return connection == HTTP_SAY_CLOSE ? "Connection: close\r\n" :
	       connection == HTTP_SAY_KEEP_ALIVE ? "Connection: keep-alive\r\n" : "";
}

uint32_t http_reply_file(char *out, int status, const char *date, const struct site_block *block, const char *type)
{
	char content[160] = "";

	if (status == 200)
		snprintf(content, sizeof(content), "Content-Type: %s\r\nContent-Length: %llu\r\n", type,
			 (unsigned long long)block->body_len);
	return snprintf(out, HTTP_HEAD_MAX,
			"HTTP/1.1 %d %s\r\nDate: %.29s\r\nServer: nhttpd\r\nLast-Modified: %.29s\r\nETag: %s\r\n%s\r\n",
			status, http_reason(status), date ? date : BLANK_DATE, block->last_modified, block->etag, content);
}

uint32_t http_reply_patch(char *out, const char *block, uint32_t len, enum http_connection connection)
{
	const char *field = connection_field(connection);
	uint32_t n = strlen(field);

	memcpy(out, block, len - 2);
	memcpy(out + len - 2, field, n);
	memcpy(out + len - 2 + n, "\r\n", 2);
	return len + n;
}

uint32_t http_reply_empty(char *out, int status, const char *date, enum http_connection connection)
{
	return snprintf(out, HTTP_HEAD_MAX, "HTTP/1.1 %d %s\r\nDate: %.29s\r\nServer: nhttpd\r\n%s\r\n", status,
			http_reason(status), date, connection_field(connection));
}

/* Percent-encode what may not stand in a Location field. */
static uint32_t encode(char *out, uint32_t room, const char *s, uint32_t len)
{
	static const char digits[] = "0123456789ABCDEF";
	uint32_t n = 0;

	for (; len && n + 3 < room; s++, len--) {
		uint8_t c = *s;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		    (c && strchr("/-._~!$&'()*+,;=:@", c))) {
			out[n++] = c;
		} else {
			out[n++] = '%';
			out[n++] = digits[c >> 4];
			out[n++] = digits[c & 15];
		}
	}
	out[n] = '\0';
	return n;
}

uint32_t http_reply_error(char *out, int status, const char *date, enum http_connection connection,
			  const char *location, uint32_t location_len, bool head_only)
{
	char extra[HTTP_ERROR_MAX - 512] = "", body[64];
	int body_len = snprintf(body, sizeof(body), "%d %s\n", status, http_reason(status));

	if (location) {
		strcpy(extra, "Location: ");
		strcpy(extra + 10 + encode(extra + 10, sizeof(extra) - 16, location, location_len), "\r\n");
	} else if (status == 405) {
		strcpy(extra, "Allow: GET, HEAD\r\n");
	} else if (status == 503) {
		strcpy(extra, "Retry-After: 1\r\n");
	}
	return snprintf(out, HTTP_ERROR_MAX,
			"HTTP/1.1 %d %s\r\nDate: %.29s\r\nServer: nhttpd\r\n%sContent-Type: text/plain; charset=utf-8\r\n"
			"Content-Length: %d\r\n%s\r\n%s",
			status, http_reason(status), date, connection_field(connection), body_len, extra,
			head_only ? "" : body);
}
