/* SPDX-License-Identifier: MIT */
/* http_condition.h - conditional requests (RFC 9110, 13) */
#ifndef NHTTPD_HTTP_CONDITION_H
#define NHTTPD_HTTP_CONDITION_H

#include "http_parse.h"

#include <stdbool.h>

struct site_block;

/* http_not_modified - does a condition of @req, which begins at @buf, say that the peer has @b? */
bool http_not_modified(const struct http_request *req, const char *buf, const struct site_block *b);

#endif
