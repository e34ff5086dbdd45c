// SPDX-License-Identifier: MIT
/* hostile.c - clients that are slow, greedy, broken or many */
#include "client.h"
#include "suite.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BURST 100
#define GET(path) "GET " path " HTTP/1.1\r\nHost: t\r\n\r\n"

/* Is the server well, for others? */
static const char *well(void)
{
	uint64_t began = now_ms();
	int status = ask_text(GET("/a.txt"));

	if (status != 200)
		return why("another client gets status %d", status);
	return now_ms() - began > 2000 ? "another client waits longer than 2 s" : NULL;
}

/* One byte at a time: the time for a header block is for all of it. */
static const char *t_slowloris(void)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: t\r\nX-Slow: ";
	uint64_t began = now_ms(), limit = (uint64_t)target.idle_s * 1000 + 3000;
	struct client c;
	struct reply r = { 0 };
	const char *bad = "no connection";

	if (!client_open(&c))
		goto out;
	for (size_t i = 0; now_ms() - began < limit; i++) {
		struct pollfd p = { .fd = c.fd, .events = POLLIN };

		client_send(&c, i < sizeof(text) - 1 ? text + i : "x", 1);
		if (poll(&p, 1, 50) > 0)
			break;
	}
	if (now_ms() - began >= limit)
		bad = "still waited for after its time";
	else
		bad = !client_reply(&c, &r, false) ? "not answered" : r.status != 408 ? why("status %d", r.status) : NULL;
	reply_free(&r);
	if (!bad && now_ms() - began < (uint64_t)target.idle_s * 900)
		bad = "too early";
	bad = bad ? bad : client_closed(&c, 1500) ? well() : "not closed";
out:
	client_close(&c);
	return bad;
}

static const char *t_idle(void)
{
	struct client fresh, used;
	struct reply r = { 0 };
	const char *bad = "no connection";

	used.fd = -1;
	if (client_open(&fresh) && client_open(&used)) {
		bad = client_say(&used, GET("/")) && client_reply(&used, &r, false) ? NULL : "no answer";
		reply_free(&r);
		if (!bad && client_closed(&used, target.idle_s * 500))
			bad = "closed before its time";
		if (!bad && (!client_closed(&used, target.idle_s * 1000 + 2000) || !client_closed(&fresh, 2000)))
			bad = "not closed";
	}
	client_close(&fresh);
	client_close(&used);
	return bad ? bad : well();
}

/* A client that asks for much and reads nothing is given up. */
static const char *t_never_reads(void)
{
	struct client c;
	int small = 4096;
	const char *bad = "no connection";

	if (client_open(&c)) {
		setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
		bad = NULL;
		for (int i = 0; i < 32 && client_say(&c, GET("/big.bin")); i++)
			;
		nap_ms(target.idle_s * 1000 + 2000);
		/* What the kernels hold is at most a few MiB of the 32. */
		for (size_t got = 0; !bad; ) {
			ssize_t n = recv(c.fd, c.buf, sizeof(c.buf), MSG_DONTWAIT);

			if (n <= 0)
				break;
			got += (size_t)n;
			if (got > 31u << 20)
				bad = "all of it was sent";
		}
		if (!bad && !client_closed(&c, 2000))
			bad = "not closed";
	}
	client_close(&c);
	return bad ? bad : well();
}

static const char *t_slow_reader(void)
{
	struct client c;
	size_t got = 0;
	const char *bad = "no connection";
	int small = 8192;

	if (client_open(&c)) {
		setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
		bad = client_say(&c, GET("/big.bin") GET("/big.bin")) ? NULL : "cannot send";
		for (uint64_t end = now_ms() + (uint64_t)target.idle_s * 1000 + 3000; !bad && now_ms() < end; nap_ms(100)) {
			ssize_t n = recv(c.fd, c.buf, sizeof(c.buf), 0);

			got += n > 0 ? (size_t)n : 0;
			if (n == 0 || got >= 2u << 20)
				break;
		}
		if (!bad && got < 100000)
			bad = why("%zu bytes: given up although it reads", got);
	}
	bad = bad ? bad : well();
	client_close(&c);
	return bad;
}

/* Far more pipelined requests than fit anywhere, answers read late. */
static const char *t_backpressure(void)
{
	enum { NR = 20000, CHUNK = 500 };
	static const char request[] = GET("/a.txt");
	struct client c;
	struct reply r = { 0 };
	const char *bad = "no connection";
	char *text = malloc(CHUNK * sizeof(request));
	size_t len = 0;
	int sent = 0, got = 0;

	for (int i = 0; i < CHUNK; i++)
		len += (size_t)sprintf(text + len, "%s", request);
	if (client_open(&c)) {
		size_t at = 0;

		bad = NULL;
		/* Write until the path is full, then read an answer, and so on. */
		while (!bad && got < NR) {
			ssize_t n = sent < NR ? send(c.fd, text + at, len - at, MSG_DONTWAIT | MSG_NOSIGNAL) : -1;

			if (n > 0) {
				at += (size_t)n;
				if (at == len) {
					at = 0;
					sent += CHUNK;
				}
				continue;
			}
			if (!client_reply(&c, &r, false) || r.status != 200 || r.body_len != 10)
				bad = why("answer %d of %d: status %d", got, NR, r.status);
			reply_free(&r);
			got++;
		}
	}
	free(text);
	client_close(&c);
	return bad ? bad : well();
}

static const char *t_reset_mid_response(void)
{
	for (int i = 0; i < 50; i++) {
		struct client c;

		if (!client_open(&c))
			return "no connection";
		client_say(&c, GET("/big.bin"));
		if (i & 1)
			nap_ms(5);
		if (i % 3 == 0 && recv(c.fd, c.buf, 1000, 0) == 0)
			return "closed by the server";
		client_reset(&c);
	}
	return well();
}

static const char *t_half_requests(void)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: t\r\nUser-Agent: half\r\n\r\n";

	for (size_t cut = 1; cut < sizeof(text) - 1; cut++) {
		struct client c;

		if (!client_open(&c) || !client_send(&c, text, cut))
			return "no connection";
		if (cut % 3 == 0)
			client_reset(&c);
		else if (cut % 3 == 1 && (shutdown(c.fd, SHUT_WR) || !client_closed(&c, 1500)))
			return why("half a request (%zu bytes) and FIN: not closed", cut);
		client_close(&c);
	}
	return well();
}

/* Seeded garbage, pure and as mutations of a valid request. */
static const char *t_garbage(void)
{
	static const char valid[] = "GET /a.txt HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n";
	uint64_t x = 88172645463325252ULL;
	const char *bad = NULL;

	for (int i = 0; !bad && i < 300; i++) {
		char data[512];
		size_t len = sizeof(valid) - 1;
		struct client c;
		struct reply r = { 0 };

		memcpy(data, valid, len);
		for (int j = 0; j < (i % 3 ? 1 + i % 5 : 300); j++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			data[i % 3 ? (x >> 8) % len : (size_t)j] = (char)x;
		}
		if (i % 3 == 0)
			len = 300;
		if (!client_open(&c))
			return "no connection";
		client_send(&c, data, len);
		shutdown(c.fd, SHUT_WR);
		while (!bad && client_reply(&c, &r, false)) {
			if (r.status < 200 || r.status > 505 || (r.status == 200 && r.body_len != 10 && r.body_len != 0 && r.body_len != SMALL_BYTES))
				bad = why("garbage %d: status %d", i, r.status);
			reply_free(&r);
		}
		reply_free(&r);
		if (!bad && !client_closed(&c, 2000))
			bad = why("garbage %d: not closed", i);
		client_close(&c);
	}
	return bad ? bad : well();
}

static const char *many(struct client *c, int nr, int extra)
{
	const char *bad = NULL;

	for (int i = 0; !bad && i < nr; i++)
		if (!client_open(&c[i]))
			bad = why("connection %d of %d is not accepted", i, nr);
	/* In bursts that fit a receive ring: losses are TCP's business, not ours. */
	for (int first = 0; !bad && first < 2 * nr; first += BURST) {
		for (int i = first; !bad && i < first + BURST && i < 2 * nr; i++)
			if (!client_say(&c[i % nr], GET("/")))
				bad = why("connection %d cannot send", i % nr);
		for (int i = first; !bad && i < first + BURST && i < 2 * nr; i++) {
			struct reply r = { 0 };

			if (!client_reply(&c[i % nr], &r, false) || r.status != 200)
				bad = why("connection %d of %d: status %d", i % nr, nr, r.status);
			reply_free(&r);
		}
	}
	for (int i = 0; !bad && i < extra; i++) {
		struct reply r = { 0 };
		struct client more;

		if (!client_open(&more) || !client_reply(&more, &r, false) || r.status != 503)
			bad = why("beyond the limit: status %d", r.status);
		if (!bad && !reply_field(&r, "Retry-After"))
			bad = "503 without Retry-After";
		reply_free(&r);
		if (!bad && !client_closed(&more, 1500))
			bad = "503 and not closed";
		client_close(&more);
	}
	return bad;
}

static const char *t_many(void)
{
	int nr = target.max_connections, extra = 8;
	struct client *c = malloc((size_t)nr * sizeof(*c));
	const char *bad;

	for (int i = 0; i < nr; i++)
		c[i].fd = -1;
	bad = many(c, nr, extra);
	for (int i = 0; i < nr; i++)
		client_close(&c[i]);
	free(c);
	for (int i = 0; !bad && i < 20 && ask_text(GET("/")) != 200; i++)	/* the closed ones have to be noticed */
		nap_ms(100);
	return bad ? bad : well();
}

const struct test suite_hostile[] = {
	{ "hostile: half requests, closed and reset", t_half_requests },
	{ "hostile: reset in the middle of an answer", t_reset_mid_response },
	{ "hostile: garbage and mutations", t_garbage },
	{ "hostile: 20,000 pipelined requests, read late", t_backpressure },
	{ "hostile: a header a byte at a time is ended by 408", t_slowloris },
	{ "hostile: silent connections are closed", t_idle },
	{ "hostile: a client that never reads is given up", t_never_reads },
	{ "hostile: a client that reads slowly is not", t_slow_reader },
	{ "hostile: as many connections as allowed, 503 beyond", t_many },
	{ NULL, NULL },
};
