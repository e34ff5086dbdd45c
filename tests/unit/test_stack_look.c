// SPDX-License-Identifier: MIT
/*
 * test_stack_look.c - the stack as others see it: table, facts, trace, round trips
 *
 * The test asks through the file itself, word by word, as nomctl does; what
 * nomctl makes of it is test_nomctl_look.c's.
 */
#include "stack_rig.h"
#include "bytes.h"

#include "internal.h"
#include "look.h"

#include <nomstack/look.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT 80
#define MS 1000000ull

static struct rig rig;
static struct peer peer;
static struct seg seg;
static struct nomstack_conn *last_conn;
static struct nomstack_lk_header *file;
static size_t file_bytes;

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	last_conn = c;
	return c;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len) { }

static void on_closed(struct nomstack_conn *c, void *arg, int err) { }

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

static const char *path(void)
{
	static char text[64];

	snprintf(text, sizeof(text), NOMSTACK_LK_PATH_FMT, (int)getpid());
	return text;
}

static bool six;			/* the next begin() is for IPv6, too */

static void begin_with(uint64_t features)
{
	struct stat st;
	int fd;

	if (six)
		rig_open6(&rig, features);
	else
		rig_open(&rig, "10.0.0.2/24", features);
	assert_int_equal(nomstack_tcp_listen(rig.s, PORT, 200, &ops, NULL), 0);
	assert_int_equal(nomstack_look_open(rig.s, 0), 0);
	fd = open(path(), O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	file_bytes = (size_t)st.st_size;
	file = mmap(NULL, file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(file, MAP_FAILED);
	close(fd);
	assert_int_equal(file->magic, NOMSTACK_LK_MAGIC);
	assert_int_equal(file->bytes, file_bytes);
}

static void begin(void)
{
	begin_with(0);
}

static void end(void)
{
	munmap(file, file_bytes);
	rig_close(&rig);
	assert_int_equal(access(path(), F_OK), -1);
}

static const void *row(unsigned i)
{
	return (const uint8_t *)file + file->window_offset + (size_t)i * file->row_bytes;
}

static void post(uint32_t kind, uint64_t cursor, uint64_t arg)
{
	file->ask_kind = kind;
	file->ask_cursor = cursor;
	file->ask_arg = arg;
	file->ask_seq++;
}

/* Ask, let the stack look, expect this status. */
static void ask(uint32_t kind, uint64_t cursor, uint64_t arg, int status)
{
	post(kind, cursor, arg);
	assert_true(nomstack_look(rig.s));
	assert_int_equal(file->done_seq, file->ask_seq);
	assert_int_equal(file->status, status);
	assert_true((uint64_t)file->nr * file->row_bytes <= file->window_bytes);
}

/* The row of a peer's connection, searched in the whole table. */
static bool find(uint16_t port, struct nomstack_lk_conn *out)
{
	uint64_t cursor = 0;

	do {
		ask(NOMSTACK_ASK_CONNS, cursor, 0, 0);
		for (unsigned i = 0; i < file->nr; i++) {
			memcpy(out, row(i), sizeof(*out));
			if (out->remote_port == port)
				return true;
		}
		cursor = file->next;
	} while (cursor != NOMSTACK_LK_END);
	return false;
}

static struct nomstack_lk_conn conn_of(const struct peer *p)
{
	struct nomstack_lk_conn c;

	if (!find(p->port, &c))
		fail_msg("no row for port %u", p->port);
	return c;
}

static const struct nomstack_lk_fact *find_fact(const char *group, const char *name)
{
	uint64_t cursor = 0;

	do {
		ask(NOMSTACK_ASK_FACTS, cursor, 0, 0);
		for (unsigned i = 0; i < file->nr; i++) {
			const struct nomstack_lk_fact *f = row(i);

			if (!strcmp(f->group, group) && !strcmp(f->name, name))
				return f;
		}
		cursor = file->next;
	} while (cursor != NOMSTACK_LK_END);
	fail_msg("no fact %s %s", group, name);
	return NULL;
}

static uint64_t fact(const char *group, const char *name)
{
	return find_fact(group, name)->value;
}

static const char *text_of(const char *group, const char *name)
{
	return find_fact(group, name)->text;
}

static void connect_port(uint16_t port)
{
	peer_init(&peer, &rig, port, PORT);
	peer_handshake(&peer);
}

/* ---------------------------------------------------------------- file --- */

static void test_look_is_offered_once_and_goes_with_the_stack(void **state)
{
	begin();
	assert_int_equal(nomstack_look_open(rig.s, 0), -EBUSY);
	end();
	begin();	/* and again */
	end();
}

static void test_look_takes_the_place_of_what_a_dead_process_left(void **state)
{
	int fd = open(path(), O_CREAT | O_WRONLY, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "old", 3), 3);
	close(fd);
	begin();
	end();
}

static void test_without_a_question_nothing_happens(void **state)
{
	begin();
	for (int i = 0; i < 5; i++) {
		assert_false(nomstack_look(rig.s));
		rig_run(&rig, 1);
	}
	assert_int_equal(file->done_seq, 0);
	ask(NOMSTACK_ASK_CONNS, 0, 0, 0);
	assert_true(nomstack_look(rig.s));	/* another may follow */
	rig_run(&rig, 30);
	assert_false(nomstack_look(rig.s));
	end();
	/* a stack that offers no look */
	rig_open(&rig, "10.0.0.2/24", 0);
	assert_false(nomstack_look(rig.s));
	rig_close(&rig);
}

static void test_nonsense_is_refused(void **state)
{
	static const uint64_t wild[] = { 1, 7, 1ull << 16, 1ull << 32, 1ull << 63, NOMSTACK_LK_END - 1, NOMSTACK_LK_END };

	begin();
	connect_port(5000);
	ask(0, 0, 0, -EOPNOTSUPP);
	ask(99, 0, 0, -EOPNOTSUPP);
	ask(NOMSTACK_ASK_TRACE, 0, NOMSTACK_LK_SNAP_MAX + 1, -EINVAL);
	for (unsigned i = 0; i < sizeof(wild) / sizeof(wild[0]); i++) {
		ask(NOMSTACK_ASK_CONNS, wild[i], 0, 0);
		ask(NOMSTACK_ASK_FACTS, wild[i], 0, 0);
	}
	assert_int_equal(file->nr, 0);
	assert_int_equal(file->next, NOMSTACK_LK_END);
	end();
}

/* --------------------------------------------------------------- table --- */

static void test_the_table_has_listeners_with_their_backlog(void **state)
{
	struct nomstack_lk_conn c;

	begin();
	ask(NOMSTACK_ASK_CONNS, 0, 0, 0);
	memcpy(&c, row(0), sizeof(c));
	assert_int_equal(c.state, NOMSTACK_LK_LISTEN);
	assert_int_equal(c.local_port, PORT);
	assert_int_equal(c.send_q, 200);
	assert_int_equal(c.recv_q, 0);
	peer_init(&peer, &rig, 4000, PORT);
	peer_send(&peer, SYN, NULL, 0);
	rig_run(&rig, 1);
	ask(NOMSTACK_ASK_CONNS, 0, 0, 0);
	memcpy(&c, row(0), sizeof(c));
	assert_int_equal(c.recv_q, 1);
	c = conn_of(&peer);
	assert_int_equal(c.state, NOMSTACK_LK_SYN_RECEIVED);
	assert_false(c.flags & NOMSTACK_LK_F_APP);
	end();
}

static void test_a_connection_is_described(void **state)
{
	static char data[3000];
	struct nomstack_lk_conn c;

	begin();
	rig_knob(&rig, "w_rx_us", 30);
	rig_knob(&rig, "w_tx_us", 40);
	connect_port(4001);
	rig_run(&rig, 30);
	c = conn_of(&peer);
	assert_int_equal(c.state, NOMSTACK_LK_ESTABLISHED);
	assert_int_equal(lwip_ntohl(c.local_ip), RIG_IP);
	assert_int_equal(lwip_ntohl(c.remote_ip), PEER_IP);
	assert_int_equal(c.local_port, PORT);
	assert_int_equal(c.mss, 1460);
	assert_int_equal(c.snd_wnd, 65535);
	assert_int_equal(c.w_rx_us, 30);
	assert_int_equal(c.w_tx_us, 40);
	assert_int_equal(c.send_q, 0);
	assert_int_equal(c.flags, NOMSTACK_LK_F_APP | NOMSTACK_LK_F_RTT);
	assert_in_range(c.idle_ms, 29, 31);

	nomstack_tcp_pause(last_conn, true);
	peer_send(&peer, ACK | PSH, data, 700);
	peer_send_at(&peer, ACK | PSH, peer.seq + 100, data, 50);	/* behind a hole */
	rig_run(&rig, 1);
	assert_int_equal(nomstack_tcp_send(last_conn, data, sizeof(data), NOMSTACK_SEND_COPY), 0);
	c = conn_of(&peer);
	assert_int_equal(c.recv_q, 700);
	assert_int_equal(c.ooseq, 50);
	assert_int_equal(c.send_q, sizeof(data));
	assert_int_equal(c.unacked, 0);
	assert_int_equal(c.flags, NOMSTACK_LK_F_RTT | NOMSTACK_LK_F_APP | NOMSTACK_LK_F_PAUSED | NOMSTACK_LK_F_SPEAKS);
	rig_run(&rig, 1);
	c = conn_of(&peer);
	assert_int_equal(c.unacked, sizeof(data));
	assert_true(c.cwnd >= 1460);
	assert_int_equal(c.retries, 0);
	rig_run(&rig, 2500);	/* it is not acknowledged: sent again */
	c = conn_of(&peer);
	assert_true(c.retries > 0);
	assert_true(c.rto_ms >= 1000);

	while (peer_recv(&peer, &seg))
		;
	peer.ack += sizeof(data);
	peer_send(&peer, ACK | FIN, NULL, 0);	/* seq of the hole: 100 are missing */
	peer.seq--;
	peer_send(&peer, ACK, data, 150);	/* and are filled */
	peer_send(&peer, ACK | FIN, NULL, 0);
	rig_run(&rig, 1);
	assert_int_equal(conn_of(&peer).state, NOMSTACK_LK_CLOSE_WAIT);
	nomstack_tcp_close(last_conn);
	rig_run(&rig, 1);
	assert_int_equal(conn_of(&peer).state, NOMSTACK_LK_LAST_ACK);
	while (peer_recv(&peer, &seg))
		;
	peer.ack++;
	peer_send(&peer, ACK, NULL, 0);
	rig_run(&rig, 1);
	assert_false(find(4001, &c));
	end();
}

/* Whole addresses, round trips, and what is known of its neighbours. */
static void test_a_connection_of_ip6_is_shown_as_well(void **state)
{
	static const uint8_t us[16] = { 0xfd, [15] = 2 };
	struct nomstack_lk_conn c;

	six = true;
	begin();
	six = false;
	peer_init6(&peer, &rig, 4100, PORT);
	peer_handshake(&peer);
	ask(NOMSTACK_ASK_RTT, 0, 0, 0);
	assert_int_equal(nomstack_tcp_send(last_conn, "x", 1, NOMSTACK_SEND_COPY), 0);
	nomstack_flush(rig.s);
	assert_true(peer_recv(&peer, &seg));
	peer.ack++;
	rig.now_ns += 300000;
	peer_send(&peer, ACK, NULL, 0);
	nomstack_poll(rig.s);
	c = conn_of(&peer);
	assert_int_equal(c.flags & (NOMSTACK_LK_F_IP6 | NOMSTACK_LK_F_APP | NOMSTACK_LK_F_RTT),
			 NOMSTACK_LK_F_IP6 | NOMSTACK_LK_F_APP | NOMSTACK_LK_F_RTT);
	assert_int_equal(c.rtt_us, 300);
	assert_memory_equal(&c.local_ip, us, 4);
	assert_memory_equal(c.local_ip6, us + 4, 12);
	assert_memory_equal(&c.remote_ip, peer.ip6, 4);
	assert_memory_equal(c.remote_ip6, peer.ip6 + 4, 12);
	assert_string_equal(text_of("stack", "address6.0"), "fe80::5054:ff:fe00:2/64");
	assert_string_equal(text_of("stack", "address6.1"), "fd00::2/64");
	assert_string_equal(text_of("stack", "address6.1.is"), "ready");
	assert_string_equal(text_of("nd", "fd00::1"), "52:54:00:00:00:01, reachable");
	/* the listener is of both versions */
	ask(NOMSTACK_ASK_CONNS, 0, 0, 0);
	memcpy(&c, row(0), sizeof(c));
	assert_int_equal(c.state, NOMSTACK_LK_LISTEN);
	assert_int_equal(c.flags, NOMSTACK_LK_F_IP_ANY);
	end();
}

/* lwIP counts such a FIN in snd_nxt only: the queue was 4,294,967,295 bytes long. */
static void test_a_fin_that_went_with_data_leaves_an_empty_queue(void **state)
{
	struct nomstack_lk_conn c;

	begin();
	connect_port(4012);
	assert_int_equal(nomstack_tcp_send(last_conn, "last words", 10, NOMSTACK_SEND_COPY), 0);
	nomstack_tcp_close(last_conn);
	rig_run(&rig, 1);
	assert_true(peer_recv(&peer, &seg));
	assert_int_equal(seg.flags, ACK | PSH | FIN);
	assert_int_equal(conn_of(&peer).send_q, 11);
	peer.ack += 11;
	peer_send(&peer, ACK, NULL, 0);
	rig_run(&rig, 1);
	c = conn_of(&peer);
	assert_int_equal(c.state, NOMSTACK_LK_FIN_WAIT_2);
	assert_int_equal(c.send_q, 0);
	assert_int_equal(c.unacked, 0);
	end();
}

#define MANY 1500

/* Rows by port; returns how many slices it took. */
static unsigned count_rows(uint8_t *seen, void (*between)(unsigned slice))
{
	unsigned slices = 0;
	uint64_t cursor = 0;

	memset(seen, 0, 65536);
	do {
		ask(NOMSTACK_ASK_CONNS, cursor, 0, 0);
		assert_true(file->nr <= NOMSTACK__LOOK_ROWS);
		for (unsigned i = 0; i < file->nr; i++) {
			struct nomstack_lk_conn c;

			memcpy(&c, row(i), sizeof(c));
			seen[c.remote_port]++;
		}
		cursor = file->next;
		if (between && cursor != NOMSTACK_LK_END)
			between(slices);
		assert_true(slices++ < 1000);
	} while (cursor != NOMSTACK_LK_END);
	return slices;
}

static void come_and_go(unsigned slice)
{
	/* one more, and one of those that were there in the beginning less */
	connect_port((uint16_t)(30000 + slice));
	peer_init(&peer, &rig, (uint16_t)(10000 + slice * 2 + 1), PORT);
	peer_send(&peer, RST, NULL, 0);
	peer.seq = 0xfffff000u + peer.port + 1;
	peer_send_at(&peer, RST, peer.seq, NULL, 0);
	nomstack_poll(rig.s);
	while (peer_recv(&peer, &seg))
		;
}

static void test_a_long_table_comes_in_bounded_slices(void **state)
{
	static uint8_t seen[65536];
	unsigned slices, i;

	begin();
	for (i = 0; i < MANY; i++)
		connect_port((uint16_t)(10000 + i));
	slices = count_rows(seen, NULL);
	assert_true(slices >= MANY / NOMSTACK__LOOK_ROWS);
	for (i = 0; i < MANY; i++)
		assert_int_equal(seen[10000 + i], 1);
	/* What is open all the time is in it exactly once, whatever else happens. */
	slices = count_rows(seen, come_and_go);
	for (i = 0; i < MANY; i += 2)
		assert_int_equal(seen[10000 + i], 1);
	for (i = 1; i < MANY; i += 2)
		assert_in_range(seen[10000 + i], i / 2 < slices ? 0 : 1, 1);
	end();
}

/* Small slices: chains that do not fit any more, and some that never do. */
static void test_slices_of_any_size_show_everything_once(void **state)
{
	static struct nomstack_lk_conn out[8];
	static uint8_t seen[65536];
	unsigned i, n, max;

	begin();
	for (i = 0; i < MANY; i++)
		connect_port((uint16_t)(10000 + i));
	for (max = 1; max < 8; max++) {
		uint64_t cursor = 0, next;
		unsigned slices = 0;

		memset(seen, 0, sizeof(seen));
		do {
			memset(&out[max], 0x5a, sizeof(out[max]));
			n = nomstack__look_conns(rig.s, cursor, out, max, &next);
			assert_true(n <= max);
			assert_int_equal(out[max].remote_port, 0x5a5a);	/* not beyond */
			for (i = 0; i < n; i++)
				seen[out[i].remote_port]++;
			assert_true(next == NOMSTACK_LK_END || next > cursor);
			cursor = next;
			assert_true(slices++ < 10000);
		} while (cursor != NOMSTACK_LK_END);
		for (i = 0; i < MANY; i++)
			assert_int_equal(seen[10000 + i], 1);
		assert_int_equal(seen[0], 1);	/* the listener */
	}
	end();
}

/* --------------------------------------------------------------- facts --- */

static void test_drops_have_reasons_and_add_up(void **state)
{
	static const char *const csum[] = { "ip.checksum", "icmp.checksum", "udp.checksum", "tcp.checksum" };
	uint64_t sum = 0;
	uint8_t f[200];
	unsigned n;

	begin();
	connect_port(4002);
	assert_int_equal(fact("drop", "tcp.checksum"), 0);
	peer.bad_csum = true;
	peer_send_at(&peer, ACK | PSH, peer.seq, "x", 1);
	peer.bad_csum = false;
	nomstack_poll(rig.s);
	assert_int_equal(fact("drop", "tcp.checksum"), 1);

	memset(f, 0, sizeof(f));
	n = t_ip_frame(&rig, f, PEER_IP, RIG_IP, 99, "??", 2);	/* no such protocol */
	rig_inject(&rig, f, n, 0);
	f[14 + 10] ^= 0xff;				/* the IP header's sum */
	rig_inject(&rig, f, n, 0);
	nomstack_poll(rig.s);
	assert_int_equal(fact("drop", "ip.unknown_protocol"), 1);
	assert_int_equal(fact("drop", "ip.checksum"), 1);
	peer_send_at(&peer, RST | ACK, peer.seq, NULL, 0);
	peer.dport = 81;				/* nobody listens there */
	peer_send_at(&peer, SYN, 1, NULL, 0);
	nomstack_poll(rig.s);
	assert_int_equal(fact("drop", "tcp.refused"), 1);
	assert_int_equal(fact("drop", "tcp.no_connection"), 1);
	for (unsigned i = 0; i < sizeof(csum) / sizeof(csum[0]); i++)
		sum += fact("drop", csum[i]);
	assert_int_equal(sum, rig_stats(&rig).drop_csum);
	while (rig_tx_pop(&rig, &seg.frame))
		;
	end();
}

/* All of group "drop" whose unit is that of what is on the wire. */
static uint64_t drops_in_all(void)
{
	uint64_t cursor = 0, sum = 0;

	do {
		ask(NOMSTACK_ASK_FACTS, cursor, 0, 0);
		for (unsigned i = 0; i < file->nr; i++) {
			const struct nomstack_lk_fact *f = row(i);

			if (!strcmp(f->group, "drop") && (!strcmp(f->unit, "packets") || !strcmp(f->unit, "segments")))
				sum += f->value;
		}
		cursor = file->next;
	} while (cursor != NOMSTACK_LK_END);
	return sum;
}

static void on_datagram(struct nomstack *s, void *arg, const void *data, uint32_t len, uint32_t ip4_be, uint16_t port) { }

static void test_limits_and_what_nobody_asked_for_are_reasons_of_their_own(void **state)
{
	static const uint8_t echo[12] = { 8, 0, 0, 0, 0, 1, 0, 1 };
	uint8_t f[200], us[16], them[16];
	struct nomstack_stats st;

	begin();
	connect_port(4013);
	t_ip6("fd00::9", them);
	t_ip6("ff02::1", us);
	rig_inject(&rig, f, t_ip6_frame(&rig, f, them, us, 58, 64, echo, sizeof(echo)), 0);	/* no IPv6 here */
	nomstack_poll(rig.s);
	assert_int_equal(fact("drop", "ip6.off"), 1);

	assert_int_equal(fact("drop", "frame.too_long"), 0);

	assert_int_equal(nomstack_udp_bind(rig.s, 53, on_datagram, NULL), 0);
	for (unsigned i = 0; i < 5; i++)	/* one packet waits for a neighbour, the newest */
		assert_int_equal(nomstack_udp_send(rig.s, 53, __builtin_bswap32(0x0a000064), 1000, "x", 1), 0);
	rig_knob(&rig, "icmp_per_s", 0);
	for (unsigned i = 0; i < 3; i++) {
		memcpy(f + 100, echo, sizeof(echo));
		put16(f + 102, 0xffff - (0x800 + 2));
		rig_inject(&rig, f, t_ip_frame(&rig, f, PEER_IP, RIG_IP, 1, f + 100, sizeof(echo)), 0);
		nomstack_poll(rig.s);
	}
	st = rig_stats(&rig);
	assert_int_equal(fact("drop", "arp.limited"), 4);
	assert_int_equal(fact("drop", "icmp.limited"), 3);
	assert_int_equal(fact("drop", "nd.limited"), st.drop_nd);
	assert_int_equal(drops_in_all(), st.drop_csum + st.drop_mem + st.drop_proto + st.drop_arp + st.drop_nd + st.drop_icmp);
	while (rig_tx_pop(&rig, &seg.frame))
		;
	end();
}

static void test_queues_and_the_rest_are_there(void **state)
{
	begin();
	rig_knob(&rig, "batch_max", 17);
	connect_port(4003);
	assert_int_equal(fact("rx0", "size"), vnet_rx_size(rig.v));
	assert_int_equal(fact("rx0", "packets"), vnet_stats(rig.v)->rx_packets);
	assert_int_equal(fact("tx0", "packets"), vnet_stats(rig.v)->tx_packets);
	assert_int_equal(fact("tx0", "room"), vnet_tx_room(rig.v));
	assert_int_equal(fact("rx0.size", "1") + fact("rx0.size", "2 to 3"), fact("rx0", "batches"));
	fact("tx0.size", "32768 to 65535");
	fact("rx0.delay", "0 us");
	fact("tx0.delay", "65536 us and more");
	assert_int_equal(fact("knob", "batch_max"), 17);
	assert_int_equal(fact("stack", "connections"), 1);
	fact("arp", "10.0.0.1");
	fact("batching", "taking_part");
	fact("idle", "sleeps");
	assert_int_equal(fact("stack", "predicted"), rig_stats(&rig).tcp_predicted);
	end();
}

/* The second of a process's stacks has the second queue pair. */
static void test_queues_have_their_pair_s_number(void **state)
{
	static struct nomstack_lk_fact out[NOMSTACK__LOOK_ROWS];
	uint64_t cursor = 0;
	char groups[2000] = "";
	char second[64];

	rig_open(&rig, "10.0.0.2/24", 0);
	assert_int_equal(nomstack_look_open(rig.s, 1), 0);
	snprintf(second, sizeof(second), NOMSTACK_LK_PATH_NR_FMT, (int)getpid(), 1);
	assert_int_equal(access(second, F_OK), 0);
	while (cursor != NOMSTACK_LK_END) {
		if (nomstack__look_facts(rig.s, cursor, out, NOMSTACK__LOOK_ROWS, &cursor))
			snprintf(groups + strlen(groups), sizeof(groups) - strlen(groups), " %s", out[0].group);
	}
	assert_string_equal(groups, " stack rx1 tx1 rx1.size tx1.size rx1.delay tx1.delay drop knob batching fragments idle arp");
	rig_close(&rig);
}

/* --------------------------------------------------------------- trace --- */

static uint64_t tail;

/* The next frame in the ring, or false.  @f: NOMSTACK_LK_SNAP_MAX bytes */
static bool next_frame(struct nomstack_lk_frame *h, uint8_t *f)
{
	const uint8_t *ring = (const uint8_t *)file + file->ring_offset;

	if (tail == file->head)
		return false;
	for (unsigned i = 0; i < sizeof(*h); i++)
		((uint8_t *)h)[i] = ring[(tail + i) & (file->ring_bytes - 1)];
	tail += sizeof(*h);
	assert_true(h->bytes <= NOMSTACK_LK_SNAP_MAX && h->bytes <= h->wire_bytes);
	for (unsigned i = 0; i < h->bytes; i++)
		f[i] = ring[(tail + i) & (file->ring_bytes - 1)];
	tail += (h->bytes + 7) & ~7u;
	file->tail = tail;
	return true;
}

static void trace(uint32_t snap_bytes)
{
	tail = file->tail = file->head;
	ask(NOMSTACK_ASK_TRACE, 0, snap_bytes, 0);
}

static void test_frames_are_traced_as_they_are(void **state)
{
	static uint8_t f[NOMSTACK_LK_SNAP_MAX], sent[RIG_FRAME];
	struct nomstack_lk_frame h;
	unsigned n;

	begin();
	connect_port(4004);
	assert_int_equal(file->head, 0);	/* nobody asked for it */
	trace(NOMSTACK_LK_SNAP_MAX);
	n = peer_frame(&peer, sent, ACK | PSH, peer.seq, peer.ack, "hello", 5);
	rig_inject(&rig, sent, n, VNET_RX_CSUM_OK);
	rig.now_ns += 77;
	nomstack_poll(rig.s);
	assert_true(next_frame(&h, f));
	assert_int_equal(h.bytes, n);
	assert_int_equal(h.wire_bytes, n);
	assert_int_equal(h.flags, NOMSTACK_LK_FRAME_CSUM);
	assert_int_equal(h.when_ns, rig.now_ns);
	assert_memory_equal(f, sent, n);
	while (next_frame(&h, f))
		assert_true(h.flags & NOMSTACK_LK_FRAME_TX);

	while (peer_recv(&peer, &seg))
		;
	assert_int_equal(nomstack_tcp_send(last_conn, "answer", 6, NOMSTACK_SEND_COPY), 0);
	nomstack_poll(rig.s);
	assert_true(peer_recv(&peer, &seg));
	assert_true(next_frame(&h, f));
	assert_int_equal(h.flags, NOMSTACK_LK_FRAME_TX);	/* no offload: the sum is in it */
	assert_int_equal(h.bytes, seg.frame.len);
	assert_memory_equal(f, seg.frame.data, seg.frame.len);
	assert_false(next_frame(&h, f));

	/* only so much of each */
	trace(60);
	peer_send(&peer, ACK | PSH, sent, 1000);
	nomstack_poll(rig.s);
	assert_true(next_frame(&h, f));
	assert_int_equal(h.bytes, 60);
	assert_int_equal(h.wire_bytes, 1054);
	end();
}

static void test_a_frame_without_a_sum_says_so(void **state)
{
	static uint8_t f[NOMSTACK_LK_SNAP_MAX];
	struct nomstack_lk_frame h;

	begin_with(1ull << VIRTIO_NET_F_CSUM);
	connect_port(4005);
	trace(NOMSTACK_LK_SNAP_MAX);
	assert_int_equal(nomstack_tcp_send(last_conn, "answer", 6, NOMSTACK_SEND_COPY), 0);
	nomstack_poll(rig.s);
	assert_true(next_frame(&h, f));
	assert_int_equal(h.flags, NOMSTACK_LK_FRAME_TX | NOMSTACK_LK_FRAME_CSUM);
	end();
}

static void test_a_trace_ends_when_asked_or_by_itself(void **state)
{
	static uint8_t f[NOMSTACK_LK_SNAP_MAX];
	struct nomstack_lk_frame h;
	unsigned n;

	begin();
	connect_port(4006);
	trace(100);
	ask(NOMSTACK_ASK_TRACE, 0, 0, 0);
	peer_send(&peer, ACK | PSH, "a", 1);
	nomstack_poll(rig.s);
	assert_false(next_frame(&h, f));
	assert_ptr_equal(rig.s->netif.linkoutput, nomstack__tx_frame);

	/* whoever asked is dead: the application notices in 2 s */
	trace(100);
	for (n = 0; rig.s->tap && n < 5000; n++) {
		rig_run(&rig, 1);
		nomstack_look(rig.s);
	}
	assert_in_range(n, 1990, 2010);
	assert_ptr_equal(rig.s->netif.linkoutput, nomstack__tx_frame);
	end();
}

static void test_a_full_ring_loses_and_counts(void **state)
{
	static uint8_t f[NOMSTACK_LK_SNAP_MAX], data[1400];
	struct nomstack_lk_frame h;
	unsigned sent = 0, got = 0;
	uint64_t lost;

	begin();
	connect_port(4007);
	trace(NOMSTACK_LK_SNAP_MAX);
	/* more than fits: received ones alone are 1454 bytes each */
	for (sent = 0; sent < 1000; sent++) {
		data[0] = (uint8_t)sent;
		peer_send(&peer, ACK | PSH, data, sizeof(data));
		nomstack_poll(rig.s);
		while (peer_recv(&peer, &seg))
			;
	}
	lost = file->lost;
	assert_true(lost > 0);
	while (next_frame(&h, f))
		if (!(h.flags & NOMSTACK_LK_FRAME_TX))
			assert_int_equal(f[54], (uint8_t)got++);
	assert_in_range(got, 600, 999);
	/* there is room again, across the ring's end */
	for (unsigned i = 0; i < 1000; i++) {
		data[0] = (uint8_t)i;
		peer_send(&peer, ACK | PSH, data, sizeof(data));
		nomstack_poll(rig.s);
		while (peer_recv(&peer, &seg))
			;
		assert_true(next_frame(&h, f));
		assert_int_equal(f[54], (uint8_t)i);
		assert_int_equal(h.bytes, 1454);
		while (next_frame(&h, f))
			;
	}
	assert_int_equal(file->lost, lost);
	assert_true(file->head > 2 * file->ring_bytes);

	/* a reader that lies about what it took */
	file->tail = file->head + 8;
	peer_send(&peer, ACK | PSH, data, sizeof(data));
	nomstack_poll(rig.s);
	assert_int_equal(file->lost > lost, true);
	file->tail = 0;
	peer_send(&peer, ACK | PSH, data, sizeof(data));
	nomstack_poll(rig.s);
	while (peer_recv(&peer, &seg))
		;
	end();
}

/* --------------------------------------------------------- round trips --- */

#define AT_ONCE_US 1	/* the rig's handshake takes no time, and 0 means unknown */

/* A segment out, acknowledged after @us. */
static void round_trip(unsigned us)
{
	assert_int_equal(nomstack_tcp_send(last_conn, "12345678", 8, NOMSTACK_SEND_COPY), 0);
	nomstack_poll(rig.s);
	while (peer_recv(&peer, &seg))
		;
	peer.ack += 8;
	rig.now_ns += us * 1000ull;
	peer_send(&peer, ACK, NULL, 0);
	nomstack_poll(rig.s);
}

static void test_round_trips_are_measured_while_asked_for(void **state)
{
	struct nomstack_lk_conn c;

	begin();
	connect_port(4008);
	round_trip(300);
	assert_int_equal(conn_of(&peer).rtt_us, AT_ONCE_US);	/* of one segment a tick: the handshake's */

	ask(NOMSTACK_ASK_RTT, 0, 0, 0);
	round_trip(800);
	c = conn_of(&peer);
	assert_true(c.flags & NOMSTACK_LK_F_RTT);
	assert_int_equal(c.rtt_us, 800);
	round_trip(400);
	c = conn_of(&peer);
	assert_int_equal(c.rtt_us, (800 * 7 + 400) / 8);
	assert_int_equal(c.rtt_min_us, 400);
	assert_int_equal(c.resent, 0);

	/* asked for again later: anew */
	for (unsigned i = 0; rig.s->tap && i < 5000; i++) {
		rig_run(&rig, 1);
		nomstack_look(rig.s);
	}
	assert_false(rig.s->tap);
	round_trip(100);
	ask(NOMSTACK_ASK_RTT, 0, 0, 0);
	c = conn_of(&peer);		/* what is known unasked, until a segment was watched */
	assert_int_equal(c.rtt_min_us, AT_ONCE_US);
	assert_true(c.rtt_us != 800 && c.rtt_us != (800 * 7 + 400) / 8);
	end();
}

/* Nobody watches: one segment in each tick of 500 ms is timed, smoothed by an eighth. */
static void test_round_trips_are_known_unasked(void **state)
{
	struct nomstack_lk_conn c;

	begin();
	connect_port(4012);
	c = conn_of(&peer);
	assert_true(c.flags & NOMSTACK_LK_F_RTT);
	assert_int_equal(c.rtt_us, AT_ONCE_US);
	rig_run(&rig, 600);
	round_trip(800);
	assert_int_equal(conn_of(&peer).rtt_us, 100);
	round_trip(400);		/* in the same tick */
	assert_int_equal(conn_of(&peer).rtt_us, 100);
	rig_run(&rig, 600);
	round_trip(900);
	c = conn_of(&peer);
	assert_int_equal(c.rtt_us, (100 * 7 + 900) / 8);
	assert_int_equal(c.rtt_min_us, AT_ONCE_US);
	assert_int_equal(c.resent, 0);
	/* One is lost: counted, and what was sent twice is not timed (Karn). */
	rig_run(&rig, 600);
	assert_int_equal(nomstack_tcp_send(last_conn, "12345678", 8, NOMSTACK_SEND_COPY), 0);
	rig_run(&rig, 300);
	while (peer_recv(&peer, &seg))
		;
	assert_int_equal(conn_of(&peer).resent, 1);
	peer.ack += 8;
	peer_send(&peer, ACK, NULL, 0);
	nomstack_poll(rig.s);
	c = conn_of(&peer);
	assert_int_equal(c.resent, 1);
	assert_int_equal(c.rtt_us, (100 * 7 + 900) / 8);
	end();
}

static void test_what_was_sent_twice_is_counted_and_not_timed(void **state)
{
	struct nomstack_lk_conn c;

	begin();
	connect_port(4009);
	ask(NOMSTACK_ASK_RTT, 0, 0, 0);
	assert_int_equal(nomstack_tcp_send(last_conn, "12345678", 8, NOMSTACK_SEND_COPY), 0);
	for (unsigned i = 0; i < 300; i++) {
		rig_run(&rig, 1);
		if (i % 100 == 0)
			ask(NOMSTACK_ASK_RTT, 0, 0, 0);
	}
	while (peer_recv(&peer, &seg))
		;
	c = conn_of(&peer);
	assert_int_equal(c.resent, 1);
	peer.ack += 8;
	peer_send(&peer, ACK, NULL, 0);
	nomstack_poll(rig.s);
	assert_int_equal(conn_of(&peer).rtt_us, AT_ONCE_US);
	round_trip(500);
	assert_int_equal(conn_of(&peer).rtt_us, 500);
	end();
}

static void test_another_connection_in_the_same_place_begins_anew(void **state)
{
	struct nomstack_conn *before;

	begin();
	connect_port(4010);
	before = last_conn;
	ask(NOMSTACK_ASK_RTT, 0, 0, 0);
	round_trip(700);
	assert_int_equal(conn_of(&peer).rtt_us, 700);
	nomstack_tcp_abort(last_conn);
	nomstack_poll(rig.s);
	while (peer_recv(&peer, &seg))
		;
	connect_port(4011);
	assert_ptr_equal(last_conn, before);
	assert_int_equal(conn_of(&peer).rtt_us, AT_ONCE_US);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_look_is_offered_once_and_goes_with_the_stack),
		cmocka_unit_test(test_look_takes_the_place_of_what_a_dead_process_left),
		cmocka_unit_test(test_without_a_question_nothing_happens),
		cmocka_unit_test(test_nonsense_is_refused),
		cmocka_unit_test(test_the_table_has_listeners_with_their_backlog),
		cmocka_unit_test(test_a_connection_is_described),
		cmocka_unit_test(test_a_connection_of_ip6_is_shown_as_well),
		cmocka_unit_test(test_a_fin_that_went_with_data_leaves_an_empty_queue),
		cmocka_unit_test(test_a_long_table_comes_in_bounded_slices),
		cmocka_unit_test(test_slices_of_any_size_show_everything_once),
		cmocka_unit_test(test_drops_have_reasons_and_add_up),
		cmocka_unit_test(test_limits_and_what_nobody_asked_for_are_reasons_of_their_own),
		cmocka_unit_test(test_queues_and_the_rest_are_there),
		cmocka_unit_test(test_queues_have_their_pair_s_number),
		cmocka_unit_test(test_frames_are_traced_as_they_are),
		cmocka_unit_test(test_a_frame_without_a_sum_says_so),
		cmocka_unit_test(test_a_trace_ends_when_asked_or_by_itself),
		cmocka_unit_test(test_a_full_ring_loses_and_counts),
		cmocka_unit_test(test_round_trips_are_measured_while_asked_for),
		cmocka_unit_test(test_round_trips_are_known_unasked),
		cmocka_unit_test(test_what_was_sent_twice_is_counted_and_not_timed),
		cmocka_unit_test(test_another_connection_in_the_same_place_begins_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
