/* SPDX-License-Identifier: MIT */
/* client.h - a small HTTP client that can misbehave; every call is bounded in time */
#ifndef BLACKBOX_CLIENT_H
#define BLACKBOX_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENT_MS 5000		/* longest wait for anything, unless said otherwise */
#define HEAD_BYTES 8192

/* The server under test. */
struct target {
	const char *host;
	int port;
	int idle_s;		/* its --idle-timeout-s */
	int max_connections;
	int header_bytes;
	int line_bytes;
};

extern struct target target;

struct client {
	int fd;
	char buf[65536];	/* received, not yet taken */
	size_t len;
};

struct reply {
	int status;
	char head[HEAD_BYTES];	/* status line and fields, terminated */
	char *body;		/* malloc'ed */
	size_t body_len;	/* what arrived */
	long length;		/* Content-Length, -1: none */
};

bool client_open(struct client *c);
void client_close(struct client *c);
void client_reset(struct client *c);	/* RST instead of FIN */

bool client_send(struct client *c, const void *data, size_t len);
bool client_say(struct client *c, const char *text);

/* One answer; @head_only: no body follows.  false: closed, reset or late. */
bool client_reply(struct client *c, struct reply *r, bool head_only);

/* Has the server closed (FIN or RST) with nothing more to read, within @ms? */
bool client_closed(struct client *c, int ms);

/* The same, but it has to be a FIN: a reset can destroy what is still on its way. */
bool client_finished(struct client *c, int ms);

void reply_free(struct reply *r);

/* Value of a field, in a static buffer; NULL: not there. */
const char *reply_field(const struct reply *r, const char *name);

/* Send on a fresh connection, take one status; 0: none.  @fin_out (may be NULL): was
 * the connection then ended in an orderly way? */
int ask(const void *request, size_t len, bool *fin_out);
int ask_text(const char *request);

uint64_t now_ms(void);
void nap_ms(int ms);

#endif
