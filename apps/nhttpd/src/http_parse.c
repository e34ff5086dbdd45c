// SPDX-License-Identifier: MIT
/*
 * http_parse.c - an HTTP/1.x request, header block only
 *
 * One line at a time: the end of a line is searched from where the last call
 * stopped, and a complete line is read once.  Grammar: RFC 9110, RFC 9112.
 */
#include "http_parse.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

enum { STAGE_REQUEST_LINE, STAGE_FIELDS };
enum { SEEN_HOST = 1, SEEN_LENGTH = 2, SEEN_CODING = 4, SEEN_BLANK = 8 };
enum { OPTION_CLOSE = 1, OPTION_KEEP_ALIVE = 2 };
enum { EXPECT_NONE, EXPECT_CONTINUE, EXPECT_OTHER };

/* Classes of bytes. */
#define TOKEN	1	/* tchar: names of methods and fields */
#define TARGET	2	/* visible ASCII except '#' */
#define VALUE	4	/* field value: HTAB, SP, visible ASCII, obs-text */
#define HOST	8	/* host and port: unreserved, sub-delims, '%', ':', '[', ']' */
#define PATH	16	/* '%', '?', '/', '.': may make a target differ from its decoded form */
#define T	(TOKEN | TARGET | VALUE)
#define H	(TOKEN | TARGET | VALUE | HOST)
#define V	(TARGET | VALUE)

static const uint8_t class_of[256] = {
	['\t'] = VALUE, [' '] = VALUE,
	['!'] = H, ['"'] = V, ['#'] = TOKEN | VALUE, ['$'] = H, ['%'] = H | PATH, ['&' ... '\''] = H,
	['('] = V | HOST, [')'] = V | HOST, ['*'] = H, ['+'] = H, [','] = V | HOST,
	['-'] = H, ['.'] = H | PATH, ['/'] = V | PATH, ['0' ... '9'] = H,
	[':'] = V | HOST, [';'] = V | HOST, ['<'] = V, ['='] = V | HOST, ['>'] = V, ['?'] = V | PATH, ['@'] = V,
	['A' ... 'Z'] = H, ['['] = V | HOST, ['\\'] = V, [']'] = V | HOST,
	['^'] = T, ['_'] = H, ['`'] = T, ['a' ... 'z'] = H,
	['{'] = V, ['|'] = T, ['}'] = V, ['~'] = H,
	[0x80 ... 0xff] = VALUE,
};

#undef T
#undef H
#undef V

static bool all_of(const char *s, uint32_t len, uint8_t class)
{
	while (len && (class_of[(uint8_t)*s] & class)) {
		s++;
		len--;
	}
	return len == 0;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/*
 * Length of the target at @s, which ends at the first byte that cannot be part
 * of it.  *plain_out: it is its own decoded form (saves the copy).
 */
static uint32_t scan_target(const char *s, uint32_t len, bool *plain_out)
{
	bool plain = true;
	uint32_t i;

	for (i = 0; i < len; i++) {
		uint8_t class = class_of[(uint8_t)s[i]];

		if (!(class & TARGET))
			break;
		if ((class & PATH) && (s[i] == '%' || s[i] == '?' || (i && s[i - 1] == '/')))
			plain = false;
	}
	*plain_out = plain;
	return i;
}

static int parse_version(struct http_request *req, const char *s, uint32_t len)
{
	if (len != 8 || memcmp(s, "HTTP/", 5) || !is_digit(s[5]) || s[6] != '.' || !is_digit(s[7]))
		return -400;
	if (s[5] != '1')
		return -505;
	req->minor = s[7] != '0';
	return 0;
}

static enum http_method parse_method(const char *s, uint32_t len)
{
	static const char known[][8] = { "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH" };

	if (len == 3 && !memcmp(s, "GET", 3))
		return HTTP_GET;
	if (len == 4 && !memcmp(s, "HEAD", 4))
		return HTTP_HEAD;
	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (len == strlen(known[i]) && !memcmp(s, known[i], len))
			return HTTP_NOT_ALLOWED;
	return HTTP_UNKNOWN;
}

/*
 * Target forms: "/path?query"; "http://host/path?query", which a server has to
 * take; "*" and "host:port" belong to methods that are not served here, any
 * shape will do for those.
 */
static int parse_target(struct http_request *req, const char *buf, uint32_t off, uint32_t len)
{
	const char *s = buf + off;

	if (len && s[0] == '/') {
		req->target = (struct http_span){ off, len };
		return 0;
	}
	if (len > 7 && !strncasecmp(s, "http://", 7)) {
		uint32_t end = 7;

		while (end < len && s[end] != '/' && s[end] != '?')
			end++;
		if (end == 7 || end == len || s[end] == '?' || !all_of(s + 7, end - 7, HOST))
			return -400;	/* no host, or no path to give a span to */
		req->plain = false;
		return parse_target(req, buf, off + end, len - end);
	}
	if (req->method == HTTP_GET || req->method == HTTP_HEAD)
		return -400;
	req->target = (struct http_span){ off, len };
	return 0;
}

static int parse_request_line(struct http_request *req, const char *buf, uint32_t off, uint32_t len)
{
	const char *s = buf + off, *sp;
	uint32_t method_len, target_len;
	int ret;

	sp = memchr(s, ' ', len);
	if (!sp || sp == s)
		return -400;
	method_len = sp - s;
	if (!all_of(s, method_len, TOKEN))
		return -400;
	req->method = parse_method(s, method_len);
	s = sp + 1;
	len -= method_len + 1;
	target_len = scan_target(s, len, &req->plain);
	if (!target_len || target_len == len || s[target_len] != ' ')
		return -400;
	ret = parse_version(req, s + target_len + 1, len - target_len - 1);
	if (ret)
		return ret;
	return parse_target(req, buf, s - buf, target_len);
}

/* Content-Length: one number, no sign, no list; a second field is refused. */
static int parse_length(struct http_parser *p, const char *s, uint32_t len)
{
	uint64_t n = 0;

	if ((p->seen & SEEN_LENGTH) || !len)
		return -400;
	p->seen |= SEEN_LENGTH;
	for (uint32_t i = 0; i < len; i++) {
		if (!is_digit(s[i]))
			return -400;
		if (n > (UINT64_MAX - 9) / 10)
			return -400;
		n = n * 10 + (s[i] - '0');
	}
	p->length = n;
	return 0;
}

/* Transfer-Encoding: only "chunked" is understood (and its body refused). */
static int parse_coding(struct http_parser *p, const char *s, uint32_t len)
{
	if ((p->seen & SEEN_CODING) || !len)
		return -400;
	p->seen |= SEEN_CODING;
	if (len != 7 || strncasecmp(s, "chunked", 7))
		return -501;
	return 0;
}

static void parse_connection(struct http_parser *p, const char *s, uint32_t len)
{
	while (len) {
		uint32_t n = 0, t;

		while (n < len && s[n] != ',')
			n++;
		for (t = n; t && (s[t - 1] == ' ' || s[t - 1] == '\t'); t--)
			;
		if (t == 5 && !strncasecmp(s, "close", 5))
			p->close_options |= OPTION_CLOSE;
		else if (t == 10 && !strncasecmp(s, "keep-alive", 10))
			p->close_options |= OPTION_KEEP_ALIVE;
		s += n;
		len -= n;
		while (len && (*s == ',' || *s == ' ' || *s == '\t')) {
			s++;
			len--;
		}
	}
}

static int parse_host(struct http_parser *p, const char *s, uint32_t len)
{
	if ((p->seen & SEEN_HOST) || !all_of(s, len, HOST))
		return -400;
	p->seen |= SEEN_HOST;
	return 0;
}

/* Every request has it, mostly alone: no call for four letters. */
static bool is_host(const char *name, uint32_t len)
{
	return len == 4 && (name[0] | 32) == 'h' && (name[1] | 32) == 'o' && (name[2] | 32) == 's' &&
	       (name[3] | 32) == 't';
}

/*
 * The fields that matter, by length: most lines are settled by one compare.
 * A conditional given twice counts as not given: the full answer is right.
 */
static int parse_known_field(struct http_parser *p, const char *buf, const char *name, uint32_t name_len,
			     const char *value, uint32_t len)
{
	struct http_span span = { value - buf, len };

	switch (name_len) {
	case 6:
		if (!strncasecmp(name, "expect", 6))
			p->expect = len == 12 && !strncasecmp(value, "100-continue", 12) && p->expect != EXPECT_OTHER ?
				    EXPECT_CONTINUE : EXPECT_OTHER;
		break;
	case 10:
		if (!strncasecmp(name, "connection", 10))
			parse_connection(p, value, len);
		break;
	case 13:
		if (!strncasecmp(name, "if-none-match", 13))
			p->req.if_none_match = p->req.if_none_match.off ? (struct http_span){ 1, 0 } : span;
		break;
	case 14:
		if (!strncasecmp(name, "content-length", 14))
			return parse_length(p, value, len);
		break;
	case 17:
		if (!strncasecmp(name, "transfer-encoding", 17))
			return parse_coding(p, value, len);
		if (!strncasecmp(name, "if-modified-since", 17))
			p->req.if_modified_since = p->req.if_modified_since.off ? (struct http_span){ 1, 0 } : span;
		break;
	}
	return 0;
}

static int parse_field(struct http_parser *p, const char *buf, uint32_t off, uint32_t len, const struct http_limits *lim)
{
	const char *name = buf + off, *value;
	uint32_t name_len = 0;

	if (++p->nr_fields > lim->nr_fields)
		return -431;
	/* Also catches obs-fold (a line that begins with a blank) and "Name :". */
	while (name_len < len && (class_of[(uint8_t)name[name_len]] & TOKEN))
		name_len++;
	if (!name_len || name_len == len || name[name_len] != ':')
		return -400;
	value = name + name_len + 1;
	len -= name_len + 1;
	while (len && (*value == ' ' || *value == '\t')) {
		value++;
		len--;
	}
	while (len && (value[len - 1] == ' ' || value[len - 1] == '\t'))
		len--;
	if (is_host(name, name_len))
		return parse_host(p, value, len);
	if (!all_of(value, len, VALUE))
		return -400;
	return parse_known_field(p, buf, name, name_len, value, len);
}

/* The header block is complete: rules that need all fields. */
static int finish(struct http_parser *p)
{
	struct http_request *req = &p->req;

	if (req->minor && !(p->seen & SEEN_HOST))
		return -400;
	if (p->seen & SEEN_CODING) {
		if ((p->seen & SEEN_LENGTH) || !req->minor)
			return -400;
		req->has_body = true;
	}
	if (p->length)
		req->has_body = true;
	req->body_bytes = p->length;
	req->wants_continue = p->expect == EXPECT_CONTINUE && req->minor;
	if (p->expect == EXPECT_OTHER)
		return -417;
	req->keep_alive = !(p->close_options & OPTION_CLOSE) &&
			  (req->minor || (p->close_options & OPTION_KEEP_ALIVE));
	return 0;
}

static int too_long(const struct http_parser *p, uint32_t line_end, const struct http_limits *lim)
{
	if (p->stage == STAGE_REQUEST_LINE && line_end - p->line > lim->line_bytes)
		return -414;
	if (line_end > lim->header_bytes)
		return p->stage == STAGE_REQUEST_LINE ? -414 : -431;
	return 0;
}

/* One complete line, its CRLF taken off.  Return: 1 at the end of the block. */
static int parse_line(struct http_parser *p, const char *buf, uint32_t off, uint32_t len, const struct http_limits *lim)
{
	int ret;

	if (p->stage == STAGE_REQUEST_LINE) {
		if (!len) {	/* RFC 9112 2.2: one empty line before a request is forgiven */
			if (p->seen & SEEN_BLANK)
				return -400;
			p->seen |= SEEN_BLANK;
			return 0;
		}
		p->stage = STAGE_FIELDS;
		return parse_request_line(&p->req, buf, off, len);
	}
	if (len)
		return parse_field(p, buf, off, len, lim);
	ret = finish(p);
	return ret ? ret : 1;
}

int http_parse(struct http_parser *p, const char *buf, uint32_t len, const struct http_limits *lim)
{
	for (;;) {
		const char *lf = len > p->scanned ? memchr(buf + p->scanned, '\n', len - p->scanned) : NULL;
		uint32_t off = p->line, end;
		int ret;

		if (!lf) {
			if (!p->scanned && len && *buf != '\r' && !(class_of[(uint8_t)*buf] & TOKEN))
				return -400;	/* not HTTP at all (TLS, say): no need to wait for a line */
			p->scanned = len;
			return too_long(p, len, lim);
		}
		end = lf - buf + 1;
		ret = too_long(p, end, lim);
		if (ret)
			return ret;
		if (end - off < 2 || lf[-1] != '\r')
			return -400;	/* a bare LF ends no line here */
		p->line = p->scanned = end;
		ret = parse_line(p, buf, off, end - off - 2, lim);
		if (ret)
			return ret < 0 ? ret : (int)end;
	}
}
