/* SPDX-License-Identifier: MIT */
/* http_date.h - dates of HTTP (RFC 9110 5.6.7), without locale or time zone */
#ifndef NHTTPD_HTTP_DATE_H
#define NHTTPD_HTTP_DATE_H

#include <stdint.h>

#define HTTP_DATE_BYTES 29	/* "Sun, 06 Nov 1994 08:49:37 GMT" */

/**
 * http_date_format - write a date, not terminated
 * @out: room for HTTP_DATE_BYTES
 * @unix_s: seconds since 1970, 0 .. 253402300799 (year 9999); others are clamped
 */
void http_date_format(char *out, int64_t unix_s);

/**
 * http_date_parse - read a date in any of the three forms a server must accept
 * @s: text, not terminated
 * @len: its length
 * @unix_s_out: seconds since 1970
 *
 * Return: 0, or -EINVAL.
 */
int http_date_parse(const char *s, uint32_t len, int64_t *unix_s_out);

#endif
