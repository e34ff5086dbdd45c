/* SPDX-License-Identifier: MIT */
/*
 * conn.h - a connection's life, the same over both stacks
 *
 *	         first byte            request complete, all queued
 *	IDLE ------------------> HEADER ---------------------------> IDLE
 *	  \                        \                \ no room, or a body left
 *	   \ idle too long          \ 408            v
 *	    '---------> CLOSING <----'<----------- BODY --> IDLE
 *
 * A stack calls conn_open(), conn_input(), conn_sent(), conn_eof(),
 * conn_gone(); conn.c calls the stack through struct net_ops.  A request is
 * parsed where it was received; only the unfinished rest of one is kept.
 *
 * Two rules keep a slow or hostile peer cheap: it may take idle_timeout from
 * the first byte of a request to the last of its header block, however it
 * drips; and while its answers have no room, nothing more of it is read.
 */
#ifndef NHTTPD_CONN_H
#define NHTTPD_CONN_H

#include "http_parse.h"

#include <stdbool.h>
#include <stdint.h>

struct server;
struct site;

#define CONN_ROOM_MIN HTTP_ERROR_MAX	/* room for one answer that is not streamed */
#define CONN_SPARE 32			/* slots beyond --max-connections: to say 503 in */

#define SEND_COPY 1	/* may be changed after return */
#define SEND_MORE 2	/* more follows at once */

enum conn_phase { CONN_FREE, CONN_IDLE, CONN_HEADER, CONN_BODY, CONN_CLOSING };

struct conn {
	struct server *srv;
	union {
		void *ptr;	/* nom: struct nomstack_conn, NULL once it is dead */
		int fd;		/* linux */
	} sock;
	void *backlog;		/* linux: what did not go out */
	char *in;		/* rest of the input, in_len bytes */
	uint32_t in_len;
	uint8_t phase;		/* enum conn_phase */
	bool close_after;	/* close once everything is queued */
	bool linger;		/* the peer may still be sending: see net_ops.finish */
	bool eof;		/* the peer sent its FIN */
	bool held;		/* net->hold(c, true) in force */
	bool refused;		/* beyond --max-connections */
	uint8_t net_flags;	/* private to the stack */
	uint64_t since_ns;	/* when the phase began, or BODY made progress */
	uint64_t pending;	/* bytes queued that the stack has not released */
	const char *body;	/* rest of a body, in the site @gen */
	uint64_t body_left;
	uint64_t sink_left;	/* bytes of a request's body still to be thrown away */
	bool sinking;		/* such a request is to be answered behind them */
	uint64_t discarded;	/* bytes read while CLOSING */
	struct site *gen;	/* held while bytes of it are queued */
	struct conn *next;	/* free list, or list of the stack's */
	struct http_parser parser;
};

/**
 * struct net_ops - what a connection asks of its stack
 * @room: bytes that send() takes now; at least CONN_ROOM_MIN or 0 unless a body
 *	is being streamed
 * @send: queue bytes; fits, since room() said so.  Without SEND_COPY they stay
 *	unchanged until conn_sent() has released them.  -errno: connection lost
 * @hold: true: deliver no more input until told otherwise
 * @finish: close in an orderly way once everything queued has gone out;
 *	conn_gone() follows, not from within finish()
 * @abort: reset; conn_gone() follows, not from within abort()
 * @flush: what was queued outside of an event of this connection may leave
 */
struct net_ops {
	uint32_t (*room)(struct conn *c);
	int (*send)(struct conn *c, const void *data, uint32_t len, unsigned flags);
	void (*hold)(struct conn *c, bool hold);
	void (*finish)(struct conn *c);
	void (*abort)(struct conn *c);
	void (*flush)(struct conn *c);
};

/* conn_open - take a slot; NULL: none left, refuse.  Set c->sock, then conn_start(). */
struct conn *conn_open(struct server *srv);

/* conn_start - the socket is set; says 503 and closes when beyond the limit */
void conn_start(struct conn *c);

/* conn_input - bytes arrived, in order, valid during the call */
void conn_input(struct conn *c, const char *data, uint32_t len);

/* conn_in_room - how many bytes conn_input() can take without losing any */
uint32_t conn_in_room(const struct conn *c);

/* conn_sent - @n of the queued bytes are released; goes on with what waited */
void conn_sent(struct conn *c, uint64_t n);

/* conn_eof - the peer will send no more */
void conn_eof(struct conn *c);

/* conn_gone - the socket is dead; frees the slot */
void conn_gone(struct conn *c);

/* conn_finish - close in an orderly way, once everything queued has gone out */
void conn_finish(struct conn *c);

/* conn_give_up - reset */
void conn_give_up(struct conn *c);

/* conn_expire - its time is over: what that means depends on its phase */
void conn_expire(struct conn *c);

/* conn_table.c: all connections of a server.  conn_sweep - timeouts; every 250 ms or so */
void conn_sweep(struct server *srv);

/* conn_close_idle - begin to drain: close what waits for a request */
void conn_close_idle(struct server *srv);

/* conn_abort_all - end of the drain */
void conn_abort_all(struct server *srv);

#endif
