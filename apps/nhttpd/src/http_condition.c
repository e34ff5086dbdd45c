// SPDX-License-Identifier: MIT
/* http_condition.c - conditional requests: has the peer got this already? (RFC 9110, 13) */
#include "http_condition.h"

#include "http_date.h"
#include "site.h"

#include <string.h>

static bool etag_matches(const char *list, uint32_t len, const char *etag)
{
	size_t n = strlen(etag);

	if (len == 1 && *list == '*')
		return true;
	while (len) {
		if (len >= 2 && list[0] == 'W' && list[1] == '/') {	/* weak comparison: RFC 9110 13.1.2 */
			list += 2;
			len -= 2;
		}
		if (len >= n && !memcmp(list, etag, n) && (len == n || strchr(", \t", list[n])))
			return true;
		while (len && *list != ',') {
			list++;
			len--;
		}
		while (len && (*list == ',' || *list == ' ' || *list == '\t')) {
			list++;
			len--;
		}
	}
	return false;
}

bool http_not_modified(const struct http_request *req, const char *buf, const struct site_block *b)
{
	int64_t since_s;

	if (req->if_none_match.len)
		return etag_matches(buf + req->if_none_match.off, req->if_none_match.len, b->etag);
	if (!req->if_modified_since.len)
		return false;
	return !http_date_parse(buf + req->if_modified_since.off, req->if_modified_since.len, &since_s) &&
	       b->mtime_s <= since_s;
}
