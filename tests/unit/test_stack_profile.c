// SPDX-License-Identifier: MIT
/*
 * What each profile promises of itself, asked of the stack that was built with it:
 * the knobs after nomstack_open(), how many connections there may be, how much one
 * may have under way, how soon a lost segment is sent again.  The expectations come
 * from the profile's options; the names of profiles are nowhere in here.
 */
#include "stack_rig.h"

#include "lwip/opt.h"
#include "lwip/priv/tcp_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PORT 7
#define MS 1000000ull

static struct rig rig;
static struct nomstack_conn *conn;
static unsigned accepts;

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	accepts++;
	conn = c;
	return &rig;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	t_assert(nomstack_tcp_send(c, data, len, NOMSTACK_SEND_COPY) == 0);
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
}

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

static void begin(void)
{
	accepts = 0;
	rig_open(&rig, "10.0.0.2/24", 0);
	assert_int_equal(nomstack_tcp_listen(rig.s, PORT, 255, &ops, NULL), 0);
}

static void the_knobs_are_the_profiles(void **state)
{
	struct nomstack_opts o = { .sz = sizeof(o), .ip4 = "10.0.0.2/24" };
	const struct { const char *name; int64_t value; } want[] = {
		{ "w_us", NOMSTACK_W_US }, { "w_rx_us", NOMSTACK_W_US }, { "w_tx_us", NOMSTACK_W_US },
		{ "batch_max", NOMSTACK_BATCH_MAX }, { "zc_min_bytes", NOMSTACK_ZC_MIN_BYTES },
		{ "tso_max", NOMSTACK_TSO_MAX }, { "nagle", NOMSTACK_NAGLE },
		{ "keepalive_s", NOMSTACK_KEEPALIVE_S }, { "cc", NOMSTACK_CC },
	};
	const struct nomstack_knob *k;
	unsigned nr, i, j;
	int64_t v;

	begin();
	nomstack_close(rig.s);
	o.vnet = rig.v;
	assert_int_equal(nomstack_open(&o, &rig.s), 0);	/* no knob turned since */
	k = nomstack_knobs(&nr);
	for (i = 0; i < nr; i++) {
		assert_int_equal(nomstack_knob_get(rig.s, k[i].name, &v), 0);
		assert_int_equal(v, k[i].def);
		for (j = 0; j < sizeof(want) / sizeof(want[0]); j++)
			if (!strcmp(want[j].name, k[i].name))
				assert_int_equal(v, want[j].value);
	}
	print_message("# profile %s\n", nomstack_profile());
	t_assert(!strcmp(nomstack_profile(), NOMSTACK_PROFILE_NAME));
	rig_close(&rig);
}

/* As many connections as there are PCBs, each of them answered. */
static void all_connections_are_served(void **state)
{
	struct peer *all = calloc(MEMP_NUM_TCP_PCB, sizeof(*all));
	uint8_t buf[16];
	unsigned i;

	assert_non_null(all);
	begin();
	for (i = 0; i < MEMP_NUM_TCP_PCB; i++) {
		peer_init(&all[i], &rig, (uint16_t)(1024 + i), PORT);
		peer_handshake(&all[i]);
	}
	assert_int_equal(accepts, MEMP_NUM_TCP_PCB);
	assert_int_equal(rig_stats(&rig).tcp_active, MEMP_NUM_TCP_PCB);
	for (i = 0; i < MEMP_NUM_TCP_PCB; i++) {
		peer_send(&all[i], ACK | PSH, "hello", 5);
		nomstack_poll(rig.s);
		assert_int_equal(peer_recv_data(&all[i], buf, sizeof(buf)), 5);
		assert_memory_equal(buf, "hello", 5);
	}
	assert_int_equal(rig_stats(&rig).tcp_refused, 0);
	assert_int_equal(rig_stats(&rig).drop_mem, 0);
	free(all);
	rig_close(&rig);
}

/* What one connection may queue, and does: the profile's send buffer, or what memory there is. */
static void one_connection_may_queue_so_much(void **state)
{
	static uint8_t bytes[NOMSTACK_SEND_MAX];
	struct peer p;
	uint32_t queued = 0, room;

	begin();
	peer_init(&p, &rig, 3000, PORT);
	p.scale = LWIP_WND_SCALE ? 7 : 0;
	peer_handshake(&p);
	while ((room = nomstack_tcp_room(conn))) {
		assert_int_equal(nomstack_tcp_send(conn, bytes, room, NOMSTACK_SEND_COPY), 0);
		queued += room;
		t_assert(queued <= TCP_SND_BUF);
	}
	print_message("# %u bytes of %u queued\n", queued, (unsigned)TCP_SND_BUF);
	t_assert(queued >= (TCP_SND_BUF < 65535 ? TCP_SND_BUF / 2 : 65535));
	if (MEMP_NUM_TCP_PCB >= 2048)		/* the heap is there for more than one */
		t_assert(queued > TCP_SND_BUF - TCP_MSS);
	rig_close(&rig);
}

/* After round trips that took no time: what a peer may delay its ACKs by, and little more. */
static void a_lost_segment_comes_again_in_time(void **state)
{
	struct peer p;
	struct seg s;
	uint8_t buf[16];
	unsigned i, ms;

	begin();
	peer_init(&p, &rig, 3000, PORT);
	peer_handshake(&p);
	for (i = 0; i < 50; i++) {
		peer_send(&p, ACK | PSH, "?", 1);
		nomstack_poll(rig.s);
		assert_int_equal(peer_recv_data(&p, buf, sizeof(buf)), 1);
		rig_run(&rig, 3);
	}
	peer_send(&p, ACK | PSH, "!", 1);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&p, &s) && s.len == 1);	/* and is lost */
	for (ms = 1; ms < 10000; ms++) {
		rig_run(&rig, 1);
		if (peer_recv(&p, &s))
			break;
	}
	print_message("# again after %u ms\n", ms);
	assert_int_equal(s.len, 1);
	t_assert(ms + 1 >= TCP_RTO_MIN && ms <= TCP_RTO_MIN + 10);
	rig_close(&rig);
}

#define RTT_MS 100
#define RUN_MS 4000

/* ACKs under way to the stack, of every second segment: oldest first. */
static struct {
	struct { unsigned due_ms; uint32_t ack; } q[4096];
	unsigned head, tail;
	uint32_t got;			/* by the peer, in order */
} path;

static void peer_takes(struct peer *p, unsigned now_ms)
{
	bool odd = false;
	struct seg s;

	while (peer_recv(p, &s)) {
		assert_int_equal(s.seq, path.got);
		path.got += s.len;
		odd = !odd;
		if (odd)
			path.tail++;
		path.q[(path.tail - 1) % 4096].due_ms = now_ms + RTT_MS;
		path.q[(path.tail - 1) % 4096].ack = path.got;
		t_assert(path.tail - path.head < 4096);
	}
}

static void acks_arrive(struct peer *p, unsigned now_ms)
{
	unsigned nr = 0;

	while (path.head != path.tail && path.q[path.head % 4096].due_ms <= now_ms) {
		p->ack = path.q[path.head++ % 4096].ack;
		peer_send(p, ACK, NULL, 0);
		if (++nr % 64 == 0)
			nomstack_poll(rig.s);
	}
}

/* On a path of 100 ms a connection has its send buffer under way, if there is memory for it, not less. */
static void a_long_path_is_filled(void **state)
{
	static uint8_t bytes[NOMSTACK_SEND_MAX];
	uint32_t room, half = 0, a_round;
	struct peer p;
	unsigned ms;

	begin();
	rig_knob(&rig, "cc", NOMSTACK_CC);
	peer_init(&p, &rig, 3000, PORT);
	p.scale = LWIP_WND_SCALE ? 7 : 0;
	peer_handshake(&p);
	path.head = path.tail = 0;
	path.got = p.ack;
	for (ms = 0; ms < RUN_MS; ms++) {
		acks_arrive(&p, ms);
		while ((room = nomstack_tcp_room(conn)) &&
		       !nomstack_tcp_send(conn, bytes, room < 16384 ? room : 16384, NOMSTACK_SEND_COPY))
			;
		rig_run(&rig, 1);
		peer_takes(&p, ms);
		if (ms == RUN_MS / 2)
			half = path.got;
	}
	a_round = (path.got - half) / (RUN_MS / 2 / RTT_MS);
	print_message("# a path of %u ms: %u bytes a round trip of at most %u\n", RTT_MS, a_round, (unsigned)TCP_SND_BUF);
	t_assert(a_round > (TCP_SND_BUF < 65535 ? TCP_SND_BUF / 2 : 60000));
	if (MEMP_NUM_TCP_PCB >= 2048)
		t_assert(a_round > TCP_SND_BUF * 9ull / 10);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_knobs_are_the_profiles),
		cmocka_unit_test(all_connections_are_served),
		cmocka_unit_test(one_connection_may_queue_so_much),
		cmocka_unit_test(a_lost_segment_comes_again_in_time),
		cmocka_unit_test(a_long_path_is_filled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
