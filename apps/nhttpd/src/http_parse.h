/* SPDX-License-Identifier: MIT */
/*
 * http_parse.h - an HTTP/1.x request, header block only
 *
 * The parser is incremental, bounded and copies nothing: it is given the bytes
 * of a request received so far, from the request's first byte on, and finds
 * out whether the header block is complete.  What it learns it keeps as
 * offsets, so the caller may move the bytes between two calls (from the
 * receive buffer of the device to the connection's own, say) but not change
 * them.  No byte is looked at more than a constant number of times, however
 * the request is cut into pieces.
 *
 * It is strict.  Whatever two parsers could read in two ways is refused with
 * 400, since a proxy in front may have read it the other way: see "Refused"
 * in README.rst.
 */
#ifndef NHTTPD_HTTP_PARSE_H
#define NHTTPD_HTTP_PARSE_H

#include <stdbool.h>
#include <stdint.h>

/**
 * struct http_limits - what a request may cost
 * @line_bytes: longest request line, CRLF included; longer: 414
 * @header_bytes: longest header block, request line included; longer: 431
 * @nr_fields: most field lines; more: 431
 */
struct http_limits {
	uint32_t line_bytes;
	uint32_t header_bytes;
	uint32_t nr_fields;
};

enum http_method {
	HTTP_GET,
	HTTP_HEAD,
	HTTP_NOT_ALLOWED,	/* a method HTTP defines, not for files: 405 */
	HTTP_UNKNOWN,		/* any other token: 501 */
};

/* Where in the request; len 0 means absent or empty. */
struct http_span {
	uint32_t off;
	uint32_t len;
};

/**
 * struct http_request - what the server needs of a request
 * @method: enum http_method
 * @minor: 0 or 1 (a higher minor version counts as 1)
 * @keep_alive: the connection may serve another request after this one
 * @has_body: a body follows the header block (Content-Length > 0 or chunked)
 * @wants_continue: Expect: 100-continue, of HTTP/1.1
 * @body_bytes: Content-Length; 0 with chunked
 * @plain: @target is its own decoded form: no '%', '?', "//" and no segment
 *	that begins with a dot
 * @target: path and query, beginning with '/'
 * @if_modified_since: field value
 * @if_none_match: field value
 */
struct http_request {
	uint8_t method;
	uint8_t minor;
	bool keep_alive;
	bool has_body;
	bool wants_continue;
	bool plain;
	uint64_t body_bytes;
	struct http_span target;
	struct http_span if_modified_since;
	struct http_span if_none_match;
};

/* State between calls; private but for @req, zeroed to begin a request. */
struct http_parser {
	uint32_t line;		/* offset of the line being received */
	uint32_t scanned;	/* bytes searched for its end */
	uint16_t nr_fields;
	uint8_t stage;
	uint8_t seen;		/* fields that may come once only */
	uint8_t close_options;	/* Connection: close, keep-alive */
	uint8_t expect;
	uint64_t length;	/* Content-Length */
	struct http_request req;
};

/**
 * http_parse - look at the bytes of a request received so far
 * @p: state, all zero before the first call of a request
 * @buf: the request from its first byte
 * @len: bytes there; never fewer than in the last call
 * @lim: limits
 *
 * Return: bytes of the header block once it is complete (@p->req is valid
 * then), 0 when more is needed, or the negated status to answer with: -400,
 * -414, -417, -431, -501 or -505.  After an error the bytes that follow
 * cannot be trusted to begin a request: answer and close.
 */
int http_parse(struct http_parser *p, const char *buf, uint32_t len, const struct http_limits *lim);

#endif
