// SPDX-License-Identifier: MIT
/*
 * Windows above 64 KiB (RFC 7323) in both directions, and how connections share
 * what there is to send from.  What is said and when is up to the scripts of
 * tests/conform (ws_*.seg); this is about amounts.
 */
#include "stack_rig.h"

#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PORT 9
#define MSS 1460u
#define MANY 400
#define TOTAL (1u << 20)

static struct rig rig;
static struct nomstack_conn *conn;
static const uint8_t *file;
static uint64_t got;
static unsigned refused;	/* sends that the stack did not take although it had room */

struct sender {
	struct nomstack_conn *c;
	uint32_t sent;
	bool copy;
};

static struct sender senders[MANY];
static unsigned nr_senders;
static bool small;	/* what is accepted keeps the handshake's window */

static void fill(struct sender *x)
{
	while (x->c) {
		uint32_t room = nomstack_tcp_room(x->c), n = TOTAL - x->sent < room ? TOTAL - x->sent : room;

		if (!n)
			return;
		if (nomstack_tcp_send(x->c, file + x->sent, n, x->copy ? NOMSTACK_SEND_COPY : 0)) {
			refused++;
			return;
		}
		x->sent += n;
	}
}

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	struct sender *x = &senders[nr_senders++];

	conn = c;
	*x = (struct sender){ .c = c, .copy = arg != NULL };
	if (small)
		nomstack_tcp_small_window(c);
	return x;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	got += len;
}

static void on_sent(struct nomstack_conn *c, void *arg, uint32_t acked)
{
	fill(arg);
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
	struct sender *x = arg;

	x->c = NULL;
}

static const struct nomstack_tcp_ops ops = {
	.accept = on_accept, .recv = on_recv, .sent = on_sent, .closed = on_closed,
};

static void shake(struct peer *p, uint16_t port, unsigned scale)
{
	peer_init(p, &rig, port, PORT);
	p->scale = scale;
	p->window = 0xffff;
	peer_handshake(p);
}

static void begin(const struct nomstack_tcp_ops *o, void *arg)
{
	uint8_t *f;
	unsigned i;

	rig_open(&rig, "10.0.0.2/24", 0);
	f = nomstack_dma_alloc(rig.s, TOTAL);
	t_assert(f);
	for (i = 0; i < TOTAL; i++)
		f[i] = (uint8_t)(i * 31 + (i >> 8));
	file = f;
	got = nr_senders = refused = 0;
	t_assert(nomstack_tcp_listen(rig.s, PORT, 255, o, arg) == 0);
}

/* All of the file to a peer that acknowledges each segment, after all have come; returns the most that was under way. */
static uint32_t download(struct peer *p)
{
	uint32_t base = p->ack, most = 0, round, ends[256];
	unsigned i, k, n;
	struct seg s;

	fill(&senders[0]);
	for (i = 0; i < 4000 && p->ack - base < TOTAL; i++) {
		nomstack_poll(rig.s);
		for (n = 0, round = 0; peer_recv(p, &s); n++) {
			t_assert(n < 256 && s.seq == p->ack + round);
			t_assert(!memcmp(s.data, file + (s.seq - base), s.len));
			round += s.len;
			ends[n] = s.seq + s.len;
		}
		most = round > most ? round : most;
		for (k = 0; k < n; k++) {
			p->ack = ends[k];
			peer_send(p, ACK, NULL, 0);
		}
		rig_run(&rig, n ? 0 : 10);
	}
	t_assert(p->ack - base == TOTAL);
	return most;
}

static void more_than_64_k_under_way(void **state)
{
	struct peer p;
	uint32_t most;

	begin(&ops, NULL);
	shake(&p, 3000, 7);
	most = download(&p);
	print_message("# %u bytes under way\n", most);
	t_assert(most > 128 * 1024 && most <= 176 * MSS);
	t_assert(!refused);
	rig_close(&rig);
}

static void no_more_than_64_k_unscaled(void **state)
{
	struct peer p;
	uint32_t most;

	begin(&ops, NULL);
	shake(&p, 3000, 0);
	most = download(&p);
	t_assert(most > 60000 && most <= 65535);
	rig_close(&rig);
}

/* A paused reader takes one window, 176 segments, and gives it back at once. */
static void a_window_arrives_while_paused(void **state)
{
	static uint8_t bytes[MSS];
	struct peer p;
	struct seg s;
	unsigned i;

	begin(&ops, NULL);
	shake(&p, 3000, 7);
	nomstack_tcp_pause(conn, true);
	for (i = 0; i < 200; i++) {
		peer_send(&p, ACK, bytes, sizeof(bytes));
		nomstack_poll(rig.s);
		while (peer_recv(&p, &s))
			;
	}
	t_assert(got == 176 * MSS);
	t_assert(s.window == 0);
	nomstack_tcp_pause(conn, false);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&p, &s) && s.window == 176 * MSS / 4);
	peer_none(&p);
	p.seq = s.ack;
	/* a close with as much unread is an orderly one */
	nomstack_tcp_pause(conn, true);
	for (i = 0; i < 100; i++) {
		peer_send(&p, ACK, bytes, sizeof(bytes));
		nomstack_poll(rig.s);
		while (peer_recv(&p, &s))
			;
	}
	t_assert(got == 276 * MSS);
	nomstack_tcp_close(conn);
	nomstack_poll(rig.s);
	while (peer_recv(&p, &s) && !(s.flags & (FIN | RST)))
		;	/* the window that is open again */
	t_assert((s.flags & (FIN | RST)) == FIN);
	rig_close(&rig);
}

/* Who keeps what arrives while paused need not have room for all of that. */
static void a_small_window_stays_small(void **state)
{
	static uint8_t bytes[MSS];
	struct peer p;
	struct seg s;
	unsigned i, turn;

	small = true;
	begin(&ops, NULL);
	shake(&p, 3000, 7);
	small = false;
	for (turn = 1; turn <= 2; turn++) {
		nomstack_tcp_pause(conn, true);
		for (i = 0; i < 100; i++) {
			peer_send(&p, ACK, bytes, sizeof(bytes));
			nomstack_poll(rig.s);
			while (peer_recv(&p, &s))
				;
		}
		t_assert(got == turn * NOMSTACK_WINDOW_MIN);
		t_assert(s.window == 0);
		nomstack_tcp_pause(conn, false);
		nomstack_poll(rig.s);
		t_assert(peer_recv(&p, &s) && s.window == NOMSTACK_WINDOW_MIN / 4);
		p.seq = s.ack;
	}
	nomstack_tcp_close(conn);
	nomstack_poll(rig.s);
	while (peer_recv(&p, &s) && !(s.flags & (FIN | RST)))
		;
	t_assert((s.flags & (FIN | RST)) == FIN);
	rig_close(&rig);
}

/* 1 MiB each to hundreds that take nothing at first: all get a share, nobody is refused, all end. */
static void share(bool copy)
{
	static struct peer peers[MANY];
	static uint32_t base[MANY];
	struct rig_frame frame;
	uint32_t least = UINT32_MAX, most = 0;
	unsigned i, done, rounds;
	struct seg s;

	begin(&ops, copy ? &rig : NULL);
	for (i = 0; i < MANY; i++) {
		shake(&peers[i], (uint16_t)(3000 + i), 7);
		base[i] = peers[i].ack;
		peers[i].window = 40;	/* 5 KiB */
		peer_send(&peers[i], ACK, NULL, 0);
		nomstack_poll(rig.s);
	}
	t_assert(nr_senders == MANY);
	for (i = 0; i < MANY; i++)
		fill(&senders[i]);
	for (i = 0; i < MANY; i++) {
		least = senders[i].sent < least ? senders[i].sent : least;
		most = senders[i].sent > most ? senders[i].sent : most;
	}
	print_message("# %u to %u bytes queued each\n", least, most);
	t_assert(most == 176 * MSS && least >= 2 * MSS);
	/* from now on they take what comes; whose share was small catches up */
	for (rounds = 0, done = 0; rounds < 100000 && done < MANY; rounds++) {
		nomstack_poll(rig.s);
		while (rig_tx_pop(&rig, &frame)) {
			i = ((unsigned)frame.data[36] << 8 | frame.data[37]) - 3000;
			t_assert(i < MANY);
			s.frame = frame;
			if (!peer_parse(&peers[i], &s) || s.seq != peers[i].ack)
				continue;
			t_assert(!memcmp(s.data, file + (s.seq - base[i]), s.len));
			peers[i].ack += s.len;
			done += s.len && peers[i].ack - base[i] == TOTAL;
			peer_send(&peers[i], ACK, NULL, 0);
			nomstack_poll(rig.s);
		}
		rig_run(&rig, 1);
	}
	t_assert(done == MANY);
	t_assert(!refused);
	t_assert(rig_stats(&rig).drop_mem == 0);
	rig_close(&rig);
}

static void many_share_without_a_copy(void **state)
{
	share(false);
}

static void many_share_with_a_copy(void **state)
{
	share(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(more_than_64_k_under_way),
		cmocka_unit_test(no_more_than_64_k_unscaled),
		cmocka_unit_test(a_window_arrives_while_paused),
		cmocka_unit_test(a_small_window_stays_small),
		cmocka_unit_test(many_share_without_a_copy),
		cmocka_unit_test(many_share_with_a_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
