// SPDX-License-Identifier: MIT
/*
 * The short way through TCP (segments that a connection expects, answers of one
 * segment) and the long one must not be told apart from outside.
 *
 * A random peer and a random application with a fixed seed talk to the stack
 * twice, over IPv4 or IPv6: once what can takes the short way, once nothing does.
 * Both times the stack must send the same segments at the same times and tell the
 * application the same.  The peer sends in order and out of
 * order, twice, and beyond the window; acknowledges all, some, nothing and too
 * much; opens and closes its window; closes, resets.  The application answers in
 * one piece or several, copied or not, pauses, closes when it likes.
 *
 * Each talk has a process of its own, forked from the same one: lwIP's timers go on
 * where the last stack left them.
 */
#include "stack_rig.h"
#include "internal.h"

#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define PORT 9
#define SEEDS 60
#define STEPS 1500
#define LOG_BYTES (4u << 20)
#define ISN 0x40000000u

static struct rig rig;
static struct peer peer;
static struct nomstack_conn *conn;
static uint64_t seed;
static uint32_t iss, sent_end;		/* of the stack: first number, and behind the last it sent */
static uint32_t stack_ack;		/* what it acknowledged last */
static uint32_t got;			/* bytes the application has */
static bool paused, over;
static const uint8_t *dma;

/* What happened, as text, and how many segments took the short way; shared with the children. */
struct record {
	size_t nr;
	uint64_t predicted;
	char text[LOG_BYTES];
};

static struct record *record;

__attribute__((format(printf, 1, 2))) static void event(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (record->nr < LOG_BYTES - 256)
		record->nr += (size_t)vsnprintf(record->text + record->nr, 256, fmt, ap);
	va_end(ap);
}

static unsigned chance(unsigned n)
{
	return (unsigned)(rig_random(&seed) % n);
}

/* What peers and applications do not often: from never to all the time, by the seed. */
static unsigned wildness;
static uint64_t with_seed;

static bool rarely(unsigned n)
{
	return chance(100) < wildness && !chance(n);
}

/* ----------------------------------------------------------- application --- */

static void answer(struct nomstack_conn *c)
{
	unsigned pieces = rarely(3) ? 1 + chance(5) : 1, i;

	for (i = 0; i < pieces; i++) {
		unsigned len = rarely(3) ? 1 + chance(6000) : 1 + chance(300);
		unsigned flags = (rarely(3) ? 0 : NOMSTACK_SEND_COPY) |
				 (i + 1 < pieces && chance(2) ? NOMSTACK_SEND_MORE : 0);
		int rc = nomstack_tcp_send(c, dma + chance(1000), len, flags);

		event("send %u %u: %d, room %u\n", len, flags, rc, nomstack_tcp_room(c));
	}
}

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	conn = c;
	event("accept\n");
	return &rig;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	got += len;
	event("recv %u, %u in all, sum %04x\n", len, got, t_csum(data, len, 0));
	if (chance(5))
		answer(c);
	if (rarely(10)) {
		paused = true;
		nomstack_tcp_pause(c, true);
	}
	if (rarely(100)) {
		event("close: %d\n", nomstack_tcp_close(c));
		conn = NULL;
	} else if (rarely(200)) {
		event("abort\n");
		nomstack_tcp_abort(c);
		conn = NULL;
	}
}

static void on_sent(struct nomstack_conn *c, void *arg, uint32_t acked)
{
	event("sent %u\n", acked);
	if (rarely(4))
		answer(c);
	if (rarely(200)) {
		event("close: %d\n", nomstack_tcp_close(c));
		conn = NULL;
	} else if (rarely(300)) {
		event("abort\n");
		nomstack_tcp_abort(c);
		conn = NULL;
	}
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
	event("closed %d\n", err);
	if (err) {
		conn = NULL;
	} else if (chance(2)) {
		nomstack_tcp_close(c);
		conn = NULL;
	}
}

static const struct nomstack_tcp_ops with_sent = {
	.accept = on_accept, .recv = on_recv, .sent = on_sent, .closed = on_closed,
};
static const struct nomstack_tcp_ops without_sent = {
	.accept = on_accept, .recv = on_recv, .closed = on_closed,
};

/* ------------------------------------------------------------------ peer --- */

static void collect(void)
{
	struct seg s;

	while (rig_tx_pop(&rig, &s.frame)) {
		if (!peer_parse(&peer, &s))
			continue;
		if (s.flags & SYN)
			iss = s.seq;
		event("%llu: flags %02x seq %u ack %u win %u len %u opt %u sum %04x\n",
		      (unsigned long long)rig.now_ns / 1000000, s.flags, s.seq - iss, s.ack - ISN, s.window, s.len,
		      s.opt_len, t_csum(s.data, s.len, 0));
		if ((int32_t)(s.seq + s.len + !!(s.flags & (SYN | FIN)) - sent_end) > 0 || s.flags & SYN)
			sent_end = s.seq + s.len + !!(s.flags & (SYN | FIN));
		if (s.flags & ACK)
			stack_ack = s.ack;
		if (s.flags & RST)
			over = true;
	}
}

static void inject(unsigned flags, uint32_t seq, uint32_t ack, const void *data, unsigned len)
{
	uint8_t f[RIG_FRAME];

	rig_inject(&rig, f, peer_frame(&peer, f, flags, seq, ack, data, len), peer.rx_flags);
}

static void step(void)
{
	static const uint8_t zeroes[1460];
	uint32_t seq = peer.seq, ack = peer.ack;
	unsigned len = chance(3) ? 1 + chance(200) : 1 + chance(1460);
	unsigned what = chance(100) < wildness ? chance(100) : chance(75);

	/* what was lost, it sends again */
	if (!chance(8))
		seq = peer.seq = stack_ack;
	if (paused && conn && !chance(20)) {
		paused = false;
		nomstack_tcp_pause(conn, false);
	}
	if (!rarely(2))
		peer.ack = ack = sent_end;
	else if (rarely(3))
		ack += chance(3000);	/* some, or more than was ever sent */
	if (rarely(10) && (with_seed % 3 || rarely(10)))
		peer.window = (uint16_t)(chance(3) ? chance(65536) : chance(2) * 2000);
	if (what < 60) {
		inject(ACK | (chance(2) ? PSH : 0), seq, ack, dma + chance(5000), len);
		if (!rarely(5))
			peer.seq += len;	/* else it will send that, or something else, again */
	} else if (what < 80) {
		inject(ACK, seq, ack, NULL, 0);
	} else if (what < 84) {
		inject(ACK, seq + chance(3000), ack, dma, len);
	} else if (what < 88) {
		inject(ACK, seq - chance(3000), ack, dma, len);
	} else if (what < 90) {
		inject(chance(64), seq - 2000 + chance(4000), ack, zeroes, chance(2) * len);
	} else if (what < 91) {
		inject(ACK | FIN, seq, ack, dma, chance(2) * len);
	} else if (what < 93 && conn) {
		answer(conn);
	} else {
		unsigned ms = chance(4) ? chance(20) : chance(1500);

		while (ms--) {
			rig_run(&rig, 1);
			collect();
		}
	}
	if (chance(3)) {
		nomstack_poll(rig.s);
		collect();
	}
}

static void talk(uint64_t with, bool short_way)
{
	bool offload = with & 2, six = with & 4;
	uint64_t features = offload ? 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM : 0;
	unsigned i;

	seed = with * 0x9e3779b97f4a7c15 + 1;
	with_seed = with;
	wildness = with % 20 * 4;
	iss = sent_end = got = 0;
	paused = over = false;
	conn = NULL;
	if (six)
		rig_open6(&rig, features);
	else
		rig_open(&rig, "10.0.0.2/24", features);
	if (!short_way)
		rig.s->predict_min = UINT32_MAX;
	rig_knob(&rig, "rx_join_max", 1);	/* joined, they are acknowledged as one */
	rig_knob(&rig, "nagle", with % 5 == 0);
	rig_knob(&rig, "cc", with / 2 % 2);
	rig_knob(&rig, "w_us", with % 7 == 0 ? 2000 : 0);
	{
		static uint8_t bytes[16384];

		for (i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)(i * 13 + (i >> 8));
		dma = memcpy(nomstack_dma_alloc(rig.s, sizeof(bytes)), bytes, sizeof(bytes));
	}
	t_assert(nomstack_tcp_listen(rig.s, PORT, 8, with & 1 ? &with_sent : &without_sent, NULL) == 0);
	for (i = 0; i < STEPS; i++) {
		if (i == 0 || (!conn && (over || !chance(30)))) {
			/* a connection from another port, once this one is nobody's */
			(six ? peer_init6 : peer_init)(&peer, &rig, (uint16_t)(2000 + i), PORT);
			peer.rx_flags = offload ? VNET_RX_CSUM_OK : 0;
			peer.seq = ISN;
			peer.scale = with % 4 == 3 ? with % 15 : 0;
			if (with % 3 == 0)
				peer.window = (uint16_t)(100 + chance(3000));	/* also the largest it ever had */
			over = false;
			inject(SYN, peer.seq, 0, NULL, 0);
			nomstack_poll(rig.s);
			peer.seq = stack_ack = ISN + 1;
			collect();
			peer.ack = sent_end;
			inject(ACK, peer.seq, peer.ack, NULL, 0);
			nomstack_poll(rig.s);
		}
		step();
	}
	rig_run(&rig, 10);
	collect();
	record->predicted = rig_stats(&rig).tcp_predicted;
	rig_close(&rig);
}

static void talk_apart(struct record *r, uint64_t with, bool short_way)
{
	int status = -1;
	pid_t pid;

	record = r;
	r->nr = 0;
	r->text[0] = 0;
	pid = fork();
	t_assert(pid >= 0);
	if (!pid) {
		talk(with, short_way);
		_exit(0);
	}
	t_assert(waitpid(pid, &status, 0) == pid);
	if (status)
		print_message("# seed %llu, %s way, ended after\n%s", (unsigned long long)with, short_way ? "short" : "long",
			      r->text + (r->nr > 1500 ? r->nr - 1500 : 0));
	t_assert(status == 0);
}

static void the_same(void **state)
{
	struct record *r = mmap(NULL, 2 * sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t i, all = 0;
	const char *a, *b;

	t_assert(r != MAP_FAILED);
	for (i = 1; i <= SEEDS; i++) {
		talk_apart(&r[0], i, false);
		talk_apart(&r[1], i, true);
		t_assert(r[0].predicted == 0);
		all += r[1].predicted;
		for (a = r[0].text, b = r[1].text; *a && *a == *b; a++, b++)
			;
		if (*a == *b)
			continue;
		while (a > r[0].text && a[-1] != '\n')
			a--, b--;
		fail_msg("seed %llu, %zu bytes of log: the long way says\n%.200s\nthe short way\n%.200s",
			 (unsigned long long)i, (size_t)(a - r[0].text), a, b);
	}
	print_message("# %llu segments took the short way\n", (unsigned long long)all);
	t_assert(all > SEEDS * STEPS / 10);
	munmap(r, 2 * sizeof(*r));
}

static void answer_one(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	t_assert(nomstack_tcp_send(c, data, len, NOMSTACK_SEND_COPY) == 0);
}

static void *accept_one(struct nomstack_conn *c, void *arg)
{
	return &rig;
}

static void closed_one(struct nomstack_conn *c, void *arg, int err)
{
}

static void abort_in_sent(struct nomstack_conn *c, void *arg, uint32_t acked)
{
	nomstack_tcp_abort(c);
}

/* Data comes with the ACK at which the application ends the connection: its buffer goes back to the ring. */
static void data_behind_an_abort_is_freed(void **state)
{
	static const struct nomstack_tcp_ops ops = {
		.accept = accept_one, .recv = answer_one, .sent = abort_in_sent, .closed = closed_one,
	};
	unsigned way;
	struct seg s;

	for (way = 0; way < 2; way++) {
		rig_open(&rig, "10.0.0.2/24", 0);
		if (!way)
			rig.s->predict_min = UINT32_MAX;
		t_assert(nomstack_tcp_listen(rig.s, PORT, 8, &ops, NULL) == 0);
		peer_init(&peer, &rig, 3000, PORT);
		peer_handshake(&peer);
		peer_send(&peer, ACK | PSH, "x", 1);
		nomstack_poll(rig.s);
		t_assert(peer_recv(&peer, &s) && s.len == 1);
		peer.ack = s.seq + 1;
		peer_send(&peer, ACK | PSH, "y", 1);
		nomstack_poll(rig.s);
		t_assert(peer_recv(&peer, &s) && s.flags & RST);
		rig_close(&rig);	/* asserts that all buffers are back */
	}
}

/* The request that a server waits for: always the short way, the first one included. */
static void requests_are_predicted(void **state)
{
	static const struct nomstack_tcp_ops ops = { .accept = accept_one, .recv = answer_one, .closed = closed_one };
	uint8_t byte = 0;
	unsigned i;
	struct seg s;

	rig_open(&rig, "10.0.0.2/24", 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM);
	t_assert(nomstack_tcp_listen(rig.s, PORT, 8, &ops, NULL) == 0);
	peer_init(&peer, &rig, 3000, PORT);
	peer.rx_flags = VNET_RX_CSUM_OK;
	peer_handshake(&peer);
	t_assert(rig_stats(&rig).tcp_predicted == 0);
	for (i = 1; i <= 1000; i++) {
		peer_send(&peer, ACK | PSH, &byte, 1);
		nomstack_poll(rig.s);
		t_assert(peer_recv(&peer, &s) && s.len == 1);
		peer.ack = s.seq + 1;
		t_assert(rig_stats(&rig).tcp_predicted == i);
	}
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same),
		cmocka_unit_test(requests_are_predicted),
		cmocka_unit_test(data_behind_an_abort_is_freed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
