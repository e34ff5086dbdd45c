// SPDX-License-Identifier: MIT
/*
 * Demultiplexing of a thousand connections through every way of ending one:
 * each segment must reach its own connection and no other, and the table must
 * agree with lwIP's lists at every step.
 */
#include "stack_rig.h"

#include "internal.h"
#include "lwip/priv/tcp_priv.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define N 1000
#define PORT 80

struct app_conn {
	struct nomstack_conn *c;
	uint32_t said;
	int closed;
};

static struct app_conn conns[N * 4];
static unsigned nr_accepted;
static struct app_conn *last;
static bool refuse;

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	struct app_conn *a;

	if (refuse)
		return NULL;
	a = &conns[nr_accepted++];
	*a = (struct app_conn){ .c = c };
	last = a;
	return a;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	struct app_conn *a = arg;

	assert_ptr_equal(a->c, c);
	assert_int_equal(len, 4);
	memcpy(&a->said, data, 4);
	assert_int_equal(nomstack_tcp_send(c, data, len, NOMSTACK_SEND_COPY), 0);
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
	struct app_conn *a = arg;

	a->closed++;
	if (!err)
		nomstack_tcp_close(c);
}

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

static struct rig rig;
static struct peer peers[N];
static struct seg seg;
static struct app_conn *app_of[N];

/* Every PCB on lwIP's lists is found by its own four-tuple, and nothing else. */
static void check_table(void)
{
	struct tcp_pcb *lists[2] = { tcp_active_pcbs, tcp_tw_pcbs }, *p;

	for (int i = 0; i < 2; i++)
		for (p = lists[i]; p; p = p->next) {
			struct tcp_pcb *found = tcp_pcb_hash_find(&p->remote_ip, p->remote_port, &p->local_ip,
								  p->local_port, NETIF_NO_INDEX);

			t_assert(found == p);
			t_assert(p->hash_pprev && *p->hash_pprev == p);
		}
}

static void say(int i, uint32_t word)
{
	peer_send(&peers[i], ACK | PSH, &word, 4);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&peers[i], &seg));
	t_assert(seg.len == 4 && !memcmp(seg.data, &word, 4));
	peers[i].ack += 4;
	t_assert(app_of[i]->said == word);
}

static void open_one(int i)
{
	peer_handshake(&peers[i]);
	app_of[i] = last;
}

static void open_all(void)
{
	nr_accepted = 0;
	refuse = false;
	rig_open(&rig, "10.0.0.2/24", 0);
	assert_int_equal(nomstack_tcp_listen(rig.s, PORT, 255, &ops, NULL), 0);
	for (int i = 0; i < N; i++) {
		/* Four addresses, ports that repeat: only the pair is unique. */
		peer_init(&peers[i], &rig, (uint16_t)(20000 + i / 4), PORT);
		peers[i].ip = PEER_IP + 10 + (uint32_t)(i % 4);
		if (i < 4) {
			rig_arp(&rig, peers[i].ip, rig.peer_mac);
			while (rig_tx_pop_raw(&seg.frame))
				;
		}
		open_one(i);
	}
	assert_int_equal(nr_accepted, N);
	assert_int_equal(rig_stats(&rig).tcp_active, N);
	check_table();
}

static void shuffle(int *order, uint64_t seed)
{
	for (int i = 0; i < N; i++)
		order[i] = i;
	for (int i = N - 1; i > 0; i--) {
		int k = (int)(rig_random(&seed) % (uint64_t)(i + 1)), t = order[i];

		order[i] = order[k];
		order[k] = t;
	}
}

static void test_each_segment_finds_its_connection(void **state)
{
	int order[N];

	open_all();
	for (int round = 0; round < 3; round++) {
		shuffle(order, 77 + (uint64_t)round);
		for (int k = 0; k < N; k++)
			say(order[k], (uint32_t)(round << 16 | order[k]));
	}
	check_table();
	rig_close(&rig);
}

static void test_ending_in_all_ways_among_many(void **state)
{
	int order[N];

	open_all();
	shuffle(order, 5);
	for (int k = 0; k < N; k++) {
		int i = order[k], way = k % 5;
		struct peer *p = &peers[i];

		switch (way) {
		case 0:		/* the peer closes */
			peer_send(p, ACK | FIN, NULL, 0);
			nomstack_poll(rig.s);
			t_assert(peer_recv(p, &seg) && (seg.flags & FIN));
			p->ack++;
			peer_send(p, ACK, NULL, 0);
			break;
		case 1:		/* we close: TIME-WAIT */
			nomstack_tcp_close(app_of[i]->c);
			nomstack_poll(rig.s);
			t_assert(peer_recv(p, &seg) && (seg.flags & FIN));
			p->ack++;
			peer_send(p, ACK | FIN, NULL, 0);
			nomstack_poll(rig.s);
			t_assert(peer_recv(p, &seg) && seg.flags == ACK);
			break;
		case 2:		/* the peer resets */
			peer_send(p, RST | ACK, NULL, 0);
			break;
		case 3:		/* we abort */
			nomstack_tcp_abort(app_of[i]->c);
			nomstack_poll(rig.s);
			t_assert(peer_recv(p, &seg) && (seg.flags & RST));
			break;
		default:	/* stays */
			break;
		}
		nomstack_poll(rig.s);
		if (k % 50 == 0)
			check_table();
	}
	check_table();
	/* One in five is alive, one in five in TIME-WAIT. */
	assert_int_equal(rig_stats(&rig).tcp_active, N / 5);
	assert_int_equal(rig_pcbs(), 2 * N / 5);
	for (int k = 4; k < N; k += 5)
		say(order[k], (uint32_t)k);
	/* TIME-WAIT ends, the living stay. */
	for (int s = 0; s < 6; s++)
		rig_run(&rig, 1000);
	assert_int_equal(rig_pcbs(), N / 5);
	check_table();
	rig_close(&rig);
}

static void test_time_wait_reuse(void **state)
{
	open_all();
	for (int i = 0; i < N; i++) {
		struct peer *p = &peers[i];

		nomstack_tcp_close(app_of[i]->c);
		nomstack_poll(rig.s);
		t_assert(peer_recv(p, &seg) && (seg.flags & FIN));
		p->ack++;
		peer_send(p, ACK | FIN, NULL, 0);
		nomstack_poll(rig.s);
		t_assert(peer_recv(p, &seg));
	}
	assert_int_equal(rig_pcbs(), N);
	assert_int_equal(rig_stats(&rig).tcp_active, 0);

	/* An old SYN (not beyond what was received) opens nothing. */
	peer_send_at(&peers[0], SYN, peers[0].seq - 50, NULL, 0);
	nomstack_poll(rig.s);
	t_assert(peer_recv(&peers[0], &seg));
	t_assert(!(seg.flags & SYN));
	check_table();

	/* A newer one does, at once, on the same four-tuple. */
	for (int i = 0; i < N; i++) {
		peers[i].seq += 1000;
		open_one(i);
		say(i, (uint32_t)i);
	}
	assert_int_equal(nr_accepted, 2 * N);
	assert_int_equal(rig_pcbs(), N);
	check_table();

	/* And so it does when the listener refuses, or is gone: no dangling PCB. */
	for (int i = 0; i < 10; i++) {
		nomstack_tcp_close(app_of[i]->c);
		nomstack_poll(rig.s);
		t_assert(peer_recv(&peers[i], &seg));
		peers[i].ack++;
		peer_send(&peers[i], ACK | FIN, NULL, 0);
		nomstack_poll(rig.s);
		t_assert(peer_recv(&peers[i], &seg));
		peers[i].seq += 1000;
	}
	refuse = true;
	for (int i = 0; i < 5; i++) {
		peer_handshake(&peers[i]);
		t_assert(peer_recv(&peers[i], &seg) && (seg.flags & RST));
	}
	assert_int_equal(nomstack_tcp_unlisten(rig.s, PORT), 0);
	for (int i = 5; i < 10; i++) {
		peer_send(&peers[i], SYN, NULL, 0);
		nomstack_poll(rig.s);
		t_assert(peer_recv(&peers[i], &seg) && (seg.flags & RST));
	}
	assert_int_equal(rig_pcbs(), N - 10);
	check_table();
	rig_close(&rig);
}

/* More connections than PCBs: the oldest in TIME-WAIT makes room, and what is
 * established is left alone. */
static void test_time_wait_is_bounded_by_the_pool(void **state)
{
	struct peer p, keep;

	nr_accepted = 0;
	refuse = false;
	rig_open(&rig, "10.0.0.2/24", 0);
	assert_int_equal(nomstack_tcp_listen(rig.s, PORT, 255, &ops, NULL), 0);
	peer_init(&keep, &rig, 9999, PORT);
	peer_handshake(&keep);
	app_of[0] = last;
	peers[0] = keep;
	for (int i = 0; i < MEMP_NUM_TCP_PCB + 500; i++) {
		nr_accepted = 1;
		peer_init(&p, &rig, (uint16_t)(10000 + i), PORT);
		peer_handshake(&p);
		nomstack_tcp_close(last->c);
		nomstack_poll(rig.s);
		t_assert(peer_recv(&p, &seg) && (seg.flags & FIN));
		p.ack++;
		peer_send(&p, ACK | FIN, NULL, 0);
		nomstack_poll(rig.s);
		t_assert(peer_recv(&p, &seg));
		t_assert(rig_pcbs() <= MEMP_NUM_TCP_PCB);
	}
	assert_int_equal(rig_pcbs(), MEMP_NUM_TCP_PCB);
	say(0, 1234);
	check_table();
	rig_close(&rig);
}

/* All PCBs established: one more is refused by silence, none of them suffers. */
static void test_all_connections_in_use(void **state)
{
	static struct peer all[MEMP_NUM_TCP_PCB + 1];

	nr_accepted = 0;
	refuse = false;
	rig_open(&rig, "10.0.0.2/24", 0);
	assert_int_equal(nomstack_tcp_listen(rig.s, PORT, 255, &ops, NULL), 0);
	for (int i = 0; i < MEMP_NUM_TCP_PCB; i++) {
		peer_init(&all[i], &rig, (uint16_t)(10000 + i), PORT);
		peer_handshake(&all[i]);
	}
	assert_int_equal(nr_accepted, MEMP_NUM_TCP_PCB);
	peer_init(&all[MEMP_NUM_TCP_PCB], &rig, 9999, PORT);
	peer_send(&all[MEMP_NUM_TCP_PCB], SYN, NULL, 0);
	nomstack_poll(rig.s);
	t_assert(!peer_recv(&all[MEMP_NUM_TCP_PCB], &seg));
	assert_int_equal(rig_stats(&rig).tcp_refused, 1);
	assert_int_equal(rig_stats(&rig).tcp_active, MEMP_NUM_TCP_PCB);
	/* One leaves: its place is taken. */
	peer_send(&all[3], RST | ACK, NULL, 0);
	nomstack_poll(rig.s);
	all[MEMP_NUM_TCP_PCB].seq--;
	peer_handshake(&all[MEMP_NUM_TCP_PCB]);
	assert_int_equal(nr_accepted, MEMP_NUM_TCP_PCB + 1);
	check_table();
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_segment_finds_its_connection),
		cmocka_unit_test(test_ending_in_all_ways_among_many),
		cmocka_unit_test(test_time_wait_reuse),
		cmocka_unit_test(test_time_wait_is_bounded_by_the_pool),
		cmocka_unit_test(test_all_connections_in_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
