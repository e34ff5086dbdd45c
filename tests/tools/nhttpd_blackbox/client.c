// SPDX-License-Identifier: MIT
/* client.c - a small HTTP client that can misbehave; every call is bounded in time */
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct target target;

uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

void nap_ms(int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };

	nanosleep(&ts, NULL);
}

static bool wait_for(int fd, short events, uint64_t until_ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	uint64_t now = now_ms();

	return now < until_ms && poll(&p, 1, (int)(until_ms - now)) > 0;
}

bool client_open(struct client *c)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons((uint16_t)target.port) };
	int one = 1, err = 0;
	socklen_t n = sizeof(err);

	c->len = 0;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || inet_pton(AF_INET, target.host, &addr.sin_addr) != 1)
		return false;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(c->fd, (struct sockaddr *)&addr, sizeof(addr)) && errno != EINPROGRESS)
		return false;
	return wait_for(c->fd, POLLOUT, now_ms() + CLIENT_MS) &&
	       !getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &n) && !err;
}

void client_close(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

void client_reset(struct client *c)
{
	struct linger hard = { .l_onoff = 1 };

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	client_close(c);
}

bool client_send(struct client *c, const void *data, size_t len)
{
	uint64_t until = now_ms() + CLIENT_MS;
	const char *p = data;

	while (len) {
		ssize_t n = send(c->fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			return false;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (!wait_for(c->fd, POLLOUT, until)) {
			return false;
		}
	}
	return true;
}

bool client_say(struct client *c, const char *text)
{
	return client_send(c, text, strlen(text));
}

/* More input.  1: some, 0: closed, -1: late or failed. */
static int fill(struct client *c, uint64_t until)
{
	ssize_t n;

	if (c->len == sizeof(c->buf))
		return -1;
	if (!wait_for(c->fd, POLLIN, until))
		return -1;
	n = recv(c->fd, c->buf + c->len, sizeof(c->buf) - c->len, 0);
	if (n <= 0)
		return n < 0 && errno == EAGAIN ? 1 : 0;
	c->len += (size_t)n;
	return 1;
}

static void drop(struct client *c, size_t n)
{
	memmove(c->buf, c->buf + n, c->len - n);
	c->len -= n;
}

const char *reply_field(const struct reply *r, const char *name)
{
	static char value[1024];
	size_t n = strlen(name);

	for (const char *line = strstr(r->head, "\r\n"); line && line[2]; line = strstr(line + 2, "\r\n"))
		if (!strncasecmp(line + 2, name, n) && line[2 + n] == ':') {
			const char *v = line + 3 + n;

			v += strspn(v, " ");
			snprintf(value, sizeof(value), "%.*s", (int)strcspn(v, "\r"), v);
			return value;
		}
	return NULL;
}

static bool take_head(struct client *c, struct reply *r, uint64_t until)
{
	char *end;

	for (;;) {
		end = memmem(c->buf, c->len, "\r\n\r\n", 4);
		if (end)
			break;
		if (fill(c, until) <= 0)
			return false;
	}
	if ((size_t)(end - c->buf) + 5 > sizeof(r->head))
		return false;
	memcpy(r->head, c->buf, (size_t)(end - c->buf) + 2);
	r->head[end - c->buf + 2] = '\0';
	drop(c, (size_t)(end - c->buf) + 4);
	return sscanf(r->head, "HTTP/1.1 %d ", &r->status) == 1;
}

bool client_reply(struct client *c, struct reply *r, bool head_only)
{
	uint64_t until = now_ms() + CLIENT_MS;
	const char *field;

	memset(r, 0, sizeof(*r));
	r->length = -1;
	if (!take_head(c, r, until))
		return false;
	field = reply_field(r, "Content-Length");
	if (field)
		r->length = atol(field);
	if (head_only || r->status == 304 || r->length <= 0)
		return true;
	r->body = malloc((size_t)r->length);
	while (r->body && r->body_len < (size_t)r->length) {
		size_t n = (size_t)r->length - r->body_len;

		if (!c->len && fill(c, until) <= 0)
			return false;
		n = n < c->len ? n : c->len;
		memcpy(r->body + r->body_len, c->buf, n);
		r->body_len += n;
		drop(c, n);
		until = now_ms() + CLIENT_MS;
	}
	return r->body != NULL;
}

void reply_free(struct reply *r)
{
	free(r->body);
	r->body = NULL;
}

bool client_closed(struct client *c, int ms)
{
	uint64_t until = now_ms() + (uint64_t)ms;
	int ret;

	do {
		c->len = 0;
		ret = fill(c, until);
	} while (ret > 0);
	return ret == 0;
}

bool client_finished(struct client *c, int ms)
{
	uint64_t until = now_ms() + (uint64_t)ms;
	ssize_t n;

	do {
		if (!wait_for(c->fd, POLLIN, until))
			return false;
		n = recv(c->fd, c->buf, sizeof(c->buf), 0);
	} while (n > 0);
	return n == 0;
}

int ask(const void *request, size_t len, bool *fin_out)
{
	struct client c;
	struct reply r;
	int status = 0;

	if (client_open(&c) && (client_send(&c, request, len) || true) && client_reply(&c, &r, false)) {
		status = r.status;
		reply_free(&r);
		if (fin_out)
			*fin_out = client_finished(&c, 3000);
	}
	client_close(&c);
	return status;
}

int ask_text(const char *request)
{
	return ask(request, strlen(request), NULL);
}
