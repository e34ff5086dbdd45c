// SPDX-License-Identifier: MIT
/* conn_table.c - all connections of a server: their slots, their time, their end */
#include "conn.h"

#include "server.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define LINGER_NS 2000000000ULL		/* how long a closed connection may go on talking */

int conn_table_create(struct server *srv)
{
	size_t in_bytes;

	srv->nr_slots = srv->opt->max_connections + CONN_SPARE;
	srv->conn = calloc(srv->nr_slots, sizeof(*srv->conn));
	in_bytes = (size_t)srv->nr_slots * srv->in_bytes;
	/* Pages come into being when a peer first leaves a request unfinished. */
	srv->in = mmap(NULL, in_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!srv->conn || srv->in == MAP_FAILED) {
		free(srv->conn);
		srv->conn = NULL;
		return -ENOMEM;
	}
	for (uint32_t i = srv->nr_slots; i--;) {
		struct conn *c = &srv->conn[i];

		c->srv = srv;
		c->in = srv->in + (size_t)i * srv->in_bytes;
		c->next = srv->free;
		srv->free = c;
	}
	return 0;
}

void conn_table_destroy(struct server *srv)
{
	if (!srv->conn)
		return;
	munmap(srv->in, (size_t)srv->nr_slots * srv->in_bytes);
	free(srv->conn);
	srv->conn = NULL;
}

void conn_sweep(struct server *srv)
{
	for (uint32_t i = 0; i < srv->high_water; i++) {
		struct conn *c = &srv->conn[i];

		if (c->phase != CONN_FREE &&
		    srv->now_ns - c->since_ns > (c->phase == CONN_CLOSING && !c->pending ? LINGER_NS : srv->idle_ns))
			conn_expire(c);
	}
	while (srv->high_water && srv->conn[srv->high_water - 1].phase == CONN_FREE)
		srv->high_water--;
}

void conn_close_idle(struct server *srv)
{
	for (uint32_t i = 0; i < srv->high_water; i++) {
		struct conn *c = &srv->conn[i];

		if (c->phase != CONN_IDLE)
			continue;
		c->linger = c->pending > 0;
		conn_finish(c);
		srv->net->flush(c);
	}
}

void conn_abort_all(struct server *srv)
{
	for (uint32_t i = 0; i < srv->high_water; i++)
		if (srv->conn[i].phase != CONN_FREE)
			conn_give_up(&srv->conn[i]);
}
