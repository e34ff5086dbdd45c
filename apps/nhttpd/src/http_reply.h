/* SPDX-License-Identifier: MIT */
/*
 * http_reply.h - header blocks of answers
 *
 * Every header block begins "HTTP/1.1 NNN reason\r\nDate: ".  For the answer
 * to a plain GET of a file the whole block is made while loading the site and
 * only its date is brought up to date, at HTTP_DATE_OFFSET.
 */
#ifndef NHTTPD_HTTP_REPLY_H
#define NHTTPD_HTTP_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#define HTTP_HEAD_MAX 512	/* longest header block of a file's answer */
#define HTTP_ERROR_MAX 4096	/* longest error or redirect, body included */
#define HTTP_DATE_OFFSET 23	/* "HTTP/1.1 200 OK\r\nDate: " */

struct site_block;

/* What a reply says about the connection, beyond the default of the version. */
enum http_connection { HTTP_DEFAULT, HTTP_SAY_CLOSE, HTTP_SAY_KEEP_ALIVE };

/**
 * http_reply_file - header block for a file
 * @out: room for HTTP_HEAD_MAX
 * @status: 200 or 304
 * @date: HTTP_DATE_BYTES of text, or NULL: to be filled in at HTTP_DATE_OFFSET
 *	(status 200 only)
 * @block: etag, last_modified, body_len
 * @type: media type
 *
 * Return: its length.
 */
uint32_t http_reply_file(char *out, int status, const char *date, const struct site_block *block,
			 const char *type);

/**
 * http_reply_patch - copy of a file's header block with another connection field
 * @out: room for HTTP_HEAD_MAX
 * @block: header block made by http_reply_file(), date up to date
 * @len: its length
 * @connection: what to say
 *
 * Return: length of the copy.
 */
uint32_t http_reply_patch(char *out, const char *block, uint32_t len, enum http_connection connection);

/**
 * http_reply_empty - a complete answer without a body, which has none by its status
 * @out: room for HTTP_HEAD_MAX
 * @status: 204
 * @date: HTTP_DATE_BYTES of text
 * @connection: what to say
 *
 * Return: its length.
 */
uint32_t http_reply_empty(char *out, int status, const char *date, enum http_connection connection);

/**
 * http_reply_error - a complete answer that is not a file
 * @out: room for HTTP_ERROR_MAX
 * @status: 301, 4xx or 5xx
 * @date: HTTP_DATE_BYTES of text
 * @connection: what to say
 * @location: for 301: the decoded path to go to; else NULL
 * @location_len: its length
 * @head_only: leave the body out (HEAD); the length says what it would be
 *
 * Return: its length.
 */
uint32_t http_reply_error(char *out, int status, const char *date, enum http_connection connection,
			  const char *location, uint32_t location_len, bool head_only);

/* http_reason - the reason phrase of a status */
const char *http_reason(int status);

#endif
