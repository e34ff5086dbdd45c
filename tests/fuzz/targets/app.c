// SPDX-License-Identifier: MIT
/*
 * app.c - the application above a fuzzed stack: what it is sent decides what it does
 *
 * So everything an application may do happens in callbacks and outside of them,
 * in any order: answering copied and not, pausing, closing, aborting, refusing.
 */
#include "device.h"

#include <string.h>

#define CONNS 16

struct app_conn {
	struct nomstack_conn *c;
	bool paused;
};

static struct app_conn conns[CONNS];
static struct nomstack *stack;
static uint8_t *still;		/* memory that is sent from where it lies */

#define STILL_BYTES 4096u

void fuzz_app_reset(struct nomstack *s)
{
	memset(conns, 0, sizeof(conns));
	stack = s;
	still = s ? nomstack_dma_alloc(s, STILL_BYTES) : NULL;
}

unsigned fuzz_app_open(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < CONNS; i++)
		n += conns[i].c != NULL;
	return n;
}

static void do_it(struct app_conn *a, unsigned what, unsigned bytes)
{
	static uint8_t text[4096];
	struct nomstack_conn *c = a->c;

	if (!c)
		return;
	bytes = bytes * 16 % STILL_BYTES;
	switch (what & 15) {
	case 0: case 1: case 2:
		nomstack_tcp_send(c, text, bytes, NOMSTACK_SEND_COPY);
		break;
	case 3: case 4:
		if (still)
			nomstack_tcp_send(c, still, bytes, 0);
		break;
	case 5:
		nomstack_tcp_send(c, text, bytes, NOMSTACK_SEND_COPY | NOMSTACK_SEND_MORE);
		break;
	case 6:
		a->c = NULL;
		nomstack_tcp_close(c);
		break;
	case 7:
		a->c = NULL;
		nomstack_tcp_abort(c);
		break;
	case 8:
		nomstack_tcp_pause(c, a->paused = true);
		break;
	case 9:
		nomstack_tcp_pause(c, a->paused = false);
		break;
	case 10:
		nomstack_knob_set(stack, "nagle", bytes & 16);
		break;
	case 11:
		nomstack_knob_set(stack, "keepalive_s", bytes / 64);
		break;
	case 12:
		nomstack_knob_set(stack, "w_us", bytes * 8);
		break;
	case 13:
		nomstack_knob_set(stack, "batch_max", 1 + bytes / 16 % 64);
		break;
	case 14:
		while (nomstack_tcp_room(c) >= STILL_BYTES && still && nomstack_tcp_send(c, still, STILL_BYTES, 0) == 0)
			;
		break;
	}
}

void fuzz_app_act(unsigned what, unsigned which, unsigned bytes)
{
	do_it(&conns[which % CONNS], what, bytes);
}

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	char peer[32];

	nomstack_tcp_peer(c, peer, sizeof(peer));
	FUZZ_ASSERT(strchr(peer, ':'));
	for (unsigned i = 0; i < CONNS; i++) {
		if (conns[i].c)
			continue;
		conns[i] = (struct app_conn){ .c = c };
		return &conns[i];
	}
	return NULL;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	struct app_conn *a = arg;
	const uint8_t *p = data;
	volatile uint8_t sum = 0;

	FUZZ_ASSERT(a >= conns && a < conns + CONNS && a->c == c && len);
	for (uint32_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + p[i]);
	do_it(a, p[0], len > 1 ? p[1] : 4);
}

static void on_sent(struct nomstack_conn *c, void *arg, uint32_t acked)
{
	struct app_conn *a = arg;

	FUZZ_ASSERT(a->c == c && acked && acked <= 65536);
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
	struct app_conn *a = arg;

	FUZZ_ASSERT(a->c == c);
	a->c = NULL;
	if (!err)
		nomstack_tcp_close(c);
}

const struct nomstack_tcp_ops fuzz_app = {
	.accept = on_accept, .recv = on_recv, .sent = on_sent, .closed = on_closed,
};
