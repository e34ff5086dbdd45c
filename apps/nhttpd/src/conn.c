// SPDX-License-Identifier: MIT
/* conn.c - a connection's life, the same over both stacks */
#include "conn.h"

#include "http_condition.h"
#include "http_reply.h"
#include "server.h"
#include "site.h"

#include <string.h>

#define SINK_MAX_BYTES (64u << 20)
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"
#define SMALL_BYTES 2048		/* answers up to this are copied: one descriptor beats two */
#define LINGER_BYTES (1 << 20)

static void set_phase(struct conn *c, enum conn_phase phase)
{
	c->phase = phase;
	c->since_ns = c->srv->now_ns;
}

static void drop_gen(struct conn *c)
{
	struct site *gen = c->gen;

	c->gen = NULL;
	if (gen && site_put(gen))
		atomic_store_explicit(&c->srv->old_site, gen, memory_order_release);
}

void conn_finish(struct conn *c)
{
	c->in_len = 0;
	c->body_left = 0;
	set_phase(c, CONN_CLOSING);
	c->srv->net->finish(c);
}

void conn_give_up(struct conn *c)
{
	c->in_len = 0;
	c->body_left = 0;
	set_phase(c, CONN_CLOSING);
	c->srv->net->abort(c);
}

static bool send_bytes(struct conn *c, const void *data, uint32_t len, unsigned flags)
{
	c->pending += len;
	metric_add(&c->srv->m, M_BYTES, len);
	if (c->srv->net->send(c, data, len, flags)) {
		conn_give_up(c);
		return false;
	}
	return true;
}

/* Queue what fits of the body.  The end of it is what releases the site. */
static bool push_body(struct conn *c)
{
	while (c->body_left) {
		uint32_t room = c->srv->net->room(c);
		uint32_t n = c->body_left < room ? c->body_left : room;
		const char *body = c->body;

		if (!n)
			return true;
		c->body += n;
		c->body_left -= n;
		c->since_ns = c->srv->now_ns;
		if (!send_bytes(c, body, n, 0))
			return false;
	}
	return true;
}

static void count_status(struct server *srv, int status)
{
	metric_add(&srv->m, status < 300 ? M_2XX : status < 400 ? M_3XX : status < 500 ? M_4XX : M_5XX, 1);
}

static void reply_error(struct conn *c, int status, enum http_connection say, const struct site_entry *moved,
			bool head_only)
{
	struct server *srv = c->srv;
	char location[SITE_PATH_MAX + 1];
	uint32_t n;

	if (moved) {
		memcpy(location, moved->path, moved->path_len);
		location[moved->path_len] = '/';
	}
	n = http_reply_error(srv->scratch, status, srv->date, say, moved ? location : NULL,
			     moved ? moved->path_len + 1 : 0, head_only);
	count_status(srv, status);
	send_bytes(c, srv->scratch, n, SEND_COPY);
}

/*
 * What the peer sends from here on is not to be understood, or not wanted: say
 * why, and close.
 */
static void reject(struct conn *c, int status)
{
	c->close_after = true;
	c->linger = true;
	reply_error(c, status, HTTP_SAY_CLOSE, NULL, false);
}

static void reply_file(struct conn *c, struct site_block *b, enum http_connection say, bool head_only)
{
	struct server *srv = c->srv;
	const char *head = b->head;
	uint32_t len = b->head_len;

	if (b->date_s != srv->date_s) {
		memcpy(b->head + HTTP_DATE_OFFSET, srv->date, HTTP_DATE_BYTES);
		b->date_s = srv->date_s;
	}
	count_status(srv, 200);
	if (say == HTTP_DEFAULT && !head_only && len + b->body_len <= SMALL_BYTES) {
		send_bytes(c, head, len + b->body_len, SEND_COPY);
		return;
	}
	if (say != HTTP_DEFAULT) {
		len = http_reply_patch(srv->scratch, head, len, say);
		head = srv->scratch;
	}
	if (head_only || !b->body_len) {
		send_bytes(c, head, len, SEND_COPY);
		return;
	}
	if (!send_bytes(c, head, len, SEND_COPY | SEND_MORE))
		return;
	c->body = b->head + b->head_len;
	c->body_left = b->body_len;
	if (!c->gen) {
		c->gen = srv->site;
		site_get(c->gen);
	}
	push_body(c);
}

static enum http_connection say_of(struct conn *c)
{
	const struct http_request *req = &c->parser.req;
	bool keep = req->keep_alive && !c->srv->drain_until_ns;

	return !keep ? HTTP_SAY_CLOSE : req->minor ? HTTP_DEFAULT : HTTP_SAY_KEEP_ALIVE;
}

/* Whether the body that follows is for --sink. */
static bool for_sink(struct conn *c, const char *buf)
{
	const struct http_request *req = &c->parser.req;
	const char *path = c->srv->opt->sink;

	return path && req->method == HTTP_NOT_ALLOWED && req->body_bytes && req->body_bytes <= SINK_MAX_BYTES &&
	       (!memcmp(buf, "PUT ", 4) || !memcmp(buf, "POST ", 5)) && req->target.len == strlen(path) &&
	       !memcmp(buf + req->target.off, path, req->target.len);
}

/* The body has been read. */
static void answer_sink(struct conn *c)
{
	struct server *srv = c->srv;
	enum http_connection say = say_of(c);
	uint32_t n = http_reply_empty(srv->scratch, 204, srv->date, say);

	c->sinking = false;
	c->close_after = say == HTTP_SAY_CLOSE;
	count_status(srv, 204);
	send_bytes(c, srv->scratch, n, SEND_COPY);
}

/* The request in c->parser is complete; answer it.  @buf: where it begins. */
static void respond(struct conn *c, const char *buf)
{
	struct server *srv = c->srv;
	const struct http_request *req = &c->parser.req;
	enum http_connection say = say_of(c);
	bool head_only = req->method == HTTP_HEAD;
	const struct site_entry *e;
	int status;

	metric_add(&srv->m, M_REQUESTS, 1);
	if (__builtin_expect(req->has_body, 0)) {
		if (for_sink(c, buf)) {
			c->sinking = true;
			c->sink_left = req->body_bytes;
			if (req->wants_continue)
				send_bytes(c, CONTINUE, sizeof(CONTINUE) - 1, SEND_COPY);
			return;
		}
		reject(c, req->method <= HTTP_HEAD ? 413 : req->method == HTTP_NOT_ALLOWED ? 405 : 501);
		return;
	}
	c->close_after = say == HTTP_SAY_CLOSE;
	if (__builtin_expect(req->method > HTTP_HEAD, 0)) {
		reply_error(c, req->method == HTTP_NOT_ALLOWED ? 405 : 501, say, NULL, false);
		return;
	}
	/* Answers of one connection may come from one generation of the site only. */
	e = site_find(srv->site, buf + req->target.off, req->target.len, req->plain, &status);
	if (!e) {
		reply_error(c, status, say, NULL, head_only);
	} else if (e->kind != SITE_FILE) {
		reply_error(c, e->kind == SITE_MOVED ? 301 : 403, say, e->kind == SITE_MOVED ? e : NULL, head_only);
	} else if ((req->if_none_match.len || req->if_modified_since.len) && http_not_modified(req, buf, e->block)) {
		uint32_t n = http_reply_file(srv->scratch, 304, srv->date, e->block, "");

		if (say != HTTP_DEFAULT) {
			char head[HTTP_HEAD_MAX];

			memcpy(head, srv->scratch, n);
			n = http_reply_patch(srv->scratch, head, n, say);
		}
		count_status(srv, 304);
		send_bytes(c, srv->scratch, n, SEND_COPY);
	} else {
		reply_file(c, e->block, say, head_only);
	}
}

/* Can this connection take another answer now? */
static bool blocked(struct conn *c)
{
	/* A body of an older site still goes out: its end decides first. */
	return c->body_left || (c->gen && c->gen != c->srv->site) || c->srv->net->room(c) < CONN_ROOM_MIN;
}

/* Answer the requests in [data, data + len).  Return: bytes dealt with. */
static uint32_t serve(struct conn *c, const char *data, uint32_t len)
{
	uint32_t used = 0;

	while (used < len) {
		int ret;

		if (blocked(c)) {
			c->phase = CONN_BODY;
			return used;
		}
		if (c->sinking) {
			uint32_t n = len - used < c->sink_left ? len - used : (uint32_t)c->sink_left;

			used += n;
			c->sink_left -= n;
			c->since_ns = c->srv->now_ns;
			if (c->sink_left)
				return used;
			answer_sink(c);
			goto answered;
		}
		ret = http_parse(&c->parser, data + used, len - used, &c->srv->lim);
		if (!ret) {
			if (c->phase != CONN_HEADER)
				set_phase(c, CONN_HEADER);
			return used;
		}
		if (ret < 0) {
			reject(c, -ret);
		} else {
			respond(c, data + used);
			used += ret;
		}
		if (c->sinking) {
			/* its header block is what the answer needs to know */
			if (c->phase == CONN_CLOSING)
				return len;
			set_phase(c, CONN_HEADER);
			continue;
		}
answered:
		if (c->phase == CONN_CLOSING)
			return len;
		memset(&c->parser, 0, sizeof(c->parser));
		set_phase(c, c->body_left ? CONN_BODY : CONN_IDLE);
		if (c->close_after)
			return len;
	}
	return used;
}

static void set_hold(struct conn *c, bool hold)
{
	if (hold == c->held)
		return;
	c->held = hold;
	c->srv->net->hold(c, hold);
}

/* After input or output moved: hold, resume, or close. */
static void settle(struct conn *c)
{
	bool last;

	if (c->phase == CONN_CLOSING)
		return;
	last = c->close_after || (c->eof && c->phase != CONN_BODY) ||
	       (c->srv->drain_until_ns && c->phase == CONN_IDLE);
	if (last && !c->body_left) {
		/* Requests it sent meanwhile are lost; the answers on their way must not be. */
		if (c->in_len || c->held || c->srv->drain_until_ns)
			c->linger = true;
		set_hold(c, false);	/* or its FIN would not be heard */
		conn_finish(c);
		return;
	}
	set_hold(c, c->phase == CONN_BODY);
}

static void serve_kept(struct conn *c)
{
	uint32_t used = serve(c, c->in, c->in_len);

	if (c->phase == CONN_CLOSING)
		return;
	c->in_len -= used;
	if (used && c->in_len)
		memmove(c->in, c->in + used, c->in_len);
}

uint32_t conn_in_room(const struct conn *c)
{
	return c->phase == CONN_CLOSING ? c->srv->in_bytes : c->srv->in_bytes - c->in_len;
}

void conn_input(struct conn *c, const char *data, uint32_t len)
{
	uint32_t used;

	if (c->phase == CONN_CLOSING) {
		c->discarded += len;
		if (c->discarded > LINGER_BYTES)
			c->srv->net->abort(c);
		return;
	}
	if (len > conn_in_room(c)) {	/* only a peer that ignores the window gets here */
		conn_give_up(c);
		return;
	}
	if (c->in_len) {
		memcpy(c->in + c->in_len, data, len);
		c->in_len += len;
		serve_kept(c);
	} else {
		used = serve(c, data, len);
		if (used < len && c->phase != CONN_CLOSING) {
			memcpy(c->in, data + used, len - used);
			c->in_len = len - used;
		}
	}
	settle(c);
}

void conn_sent(struct conn *c, uint64_t n)
{
	c->pending -= n < c->pending ? n : c->pending;
	/* Progress; but acknowledgments buy no time for a header block. */
	if (n && c->phase != CONN_HEADER)
		c->since_ns = c->srv->now_ns;
	if (c->phase != CONN_BODY) {
		if (!c->pending && c->gen)
			drop_gen(c);
		return;
	}
	if (c->body_left && !push_body(c))
		return;
	if (!c->pending && !c->body_left && c->gen)
		drop_gen(c);
	if (!c->body_left && !c->close_after && !blocked(c)) {
		set_phase(c, CONN_IDLE);
		if (c->in_len)
			serve_kept(c);
	}
	settle(c);
}

void conn_eof(struct conn *c)
{
	c->eof = true;
	settle(c);
}

struct conn *conn_open(struct server *srv)
{
	struct conn *c = srv->free;
	uint32_t slot;

	if (!c)
		return NULL;
	srv->free = c->next;
	slot = c - srv->conn;
	if (slot >= srv->high_water)
		srv->high_water = slot + 1;
	c->next = NULL;
	c->backlog = NULL;
	c->in_len = 0;
	c->close_after = c->linger = c->eof = c->held = c->sinking = false;
	c->refused = srv->nr_open >= srv->opt->max_connections || srv->drain_until_ns;
	c->net_flags = 0;
	c->pending = c->body_left = c->discarded = 0;
	c->gen = NULL;
	memset(&c->parser, 0, sizeof(c->parser));
	set_phase(c, CONN_IDLE);
	srv->nr_open++;
	metric_set(&srv->m, M_CONNECTIONS, srv->nr_open);
	metric_add(&srv->m, c->refused ? M_REFUSED : M_ACCEPTED, 1);
	return c;
}

void conn_start(struct conn *c)
{
	if (!c->refused)
		return;
	reject(c, 503);
	settle(c);
}

void conn_gone(struct conn *c)
{
	struct server *srv = c->srv;

	drop_gen(c);
	c->phase = CONN_FREE;
	c->next = srv->free;
	srv->free = c;
	srv->nr_open--;
	metric_set(&srv->m, M_CONNECTIONS, srv->nr_open);
}

void conn_expire(struct conn *c)
{
	struct server *srv = c->srv;

	if (c->phase != CONN_CLOSING)
		metric_add(&srv->m, M_TIMEOUTS, 1);
	switch (c->phase) {
	case CONN_IDLE:
		if (c->pending)
			conn_give_up(c);
		else
			conn_finish(c);
		break;
	case CONN_HEADER:
		reject(c, 408);
		settle(c);
		break;
	default:
		conn_give_up(c);
	}
	srv->net->flush(c);
}
