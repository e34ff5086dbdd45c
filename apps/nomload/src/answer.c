// SPDX-License-Identifier: MIT
/* answer.c - where an HTTP/1.1 answer ends, and what it said */
#include "answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Value of a field of this name in "Name: value", or NULL */
static const char *value_of(const char *line, const char *name)
{
	size_t n = strlen(name);

	if (strncasecmp(line, name, n) || line[n] != ':')
		return NULL;
	line += n + 1;
	return line + strspn(line, " \t");
}

static int length_of(const char *text, uint64_t *out)
{
	char *end;

	if (*text < '0' || *text > '9')
		return -EPROTO;
	errno = 0;
	*out = strtoull(text, &end, 10);
	return errno || end[strspn(end, " \t")] ? -EPROTO : 0;
}

static int read_head(struct answer *a)
{
	bool sized = false;
	char *save, *line;
	const char *value;

	a->head[a->head_bytes - 4] = '\0';
	if (strlen(a->head) != a->head_bytes - 4)
		return -EPROTO;		/* a NUL in it */
	line = strtok_r(a->head, "\r\n", &save);
	if (!line || strncmp(line, "HTTP/1.", 7) || strlen(line) < 12 || line[8] != ' ')
		return -EPROTO;
	a->close = line[7] == '0';
	a->status = atoi(line + 9);
	if (a->status < 100 || a->status > 599)
		return -EPROTO;
	while ((line = strtok_r(NULL, "\r\n", &save))) {
		if ((value = value_of(line, "Content-Length"))) {
			if (length_of(value, &a->body_left))
				return -EPROTO;
			sized = true;
		} else if (value_of(line, "Transfer-Encoding")) {	/* RFC 9112, 6.3: overrides the length */
			return -EOPNOTSUPP;
		} else if ((value = value_of(line, "Connection"))) {
			a->close = !strncasecmp(value, "close", 5);
		}
	}
	if (a->status < 200 || a->status == 204 || a->status == 304)
		a->body_left = 0;
	else if (!sized)
		return -EOPNOTSUPP;
	return 0;
}

ssize_t answer_feed(struct answer *a, const char *data, size_t n)
{
	size_t used = 0, body;
	int ret;

	if (a->complete) {
		a->head_bytes = 0;
		a->bytes = a->body_left = 0;
		a->status = 0;
		a->complete = a->close = false;
	}
	while (!a->status && used < n) {
		if (a->head_bytes == sizeof(a->head))
			return -EMSGSIZE;
		a->head[a->head_bytes++] = data[used++];
		if (data[used - 1] != '\n' || a->head_bytes < 4 || memcmp(a->head + a->head_bytes - 4, "\r\n\r\n", 4))
			continue;
		ret = read_head(a);
		if (ret)
			return ret;
		if (a->status < 200) {		/* 100 Continue and the like: the answer comes after it */
			a->status = 0;
			a->head_bytes = 0;
		}
	}
	if (a->status) {
		body = n - used < a->body_left ? n - used : a->body_left;
		a->body_left -= body;
		used += body;
		a->complete = !a->body_left;
	}
	a->bytes += used;
	return (ssize_t)used;
}
