// SPDX-License-Identifier: MIT
/*
 * Segments as long as an MTU of 9000 allows: sent from where the data lies, received
 * in several buffers, lost, cut for a path that is narrower, and joined for the
 * device.  The bytes are compared, and what is copied stays short.
 *
 * Real driver, our vhost-user back-end as the device (stack_rig_vhost.c).
 */
#include "stack_rig.h"
#include "bytes.h"
#include "internal.h"
#include "lwip/priv/tcp_priv.h"

#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PORT 7
#define TOTAL (1u << 20)
#define OFFLOAD (1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM)
#define LARGE_FRAME 9248
#define MOST (NOMSTACK_MTU_MAX - 40)	/* MSS, in this profile */

static struct rig rig;
static struct nomstack_conn *conn;
static uint8_t *file;		/* DMA memory */
static uint8_t have[TOTAL];
static uint32_t taken;		/* by the application */
static bool taken_right;

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	return conn = c;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	taken_right = taken_right && taken + len <= TOTAL && !memcmp(file + taken, data, len);
	taken += len;
}

static void on_closed(struct nomstack_conn *c, void *arg, int err) { }

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

static void begin(uint16_t mtu, bool six, uint64_t features)
{
	uint32_t i;

	rig_device_mtu(mtu);
	if (six)
		rig_open6(&rig, features);
	else
		rig_open(&rig, "10.0.0.2/24", features);
	t_assert(nomstack_tcp_listen(rig.s, PORT, 8, &ops, NULL) == 0);
	file = nomstack_dma_alloc(rig.s, TOTAL);
	t_assert(file);
	for (i = 0; i < TOTAL; i++)
		file[i] = (uint8_t)(i * 31 + (i >> 8) * 7);
	taken = 0;
	taken_right = true;
}

static void end(struct peer *p)
{
	struct seg seg;

	peer_send(p, RST | ACK, NULL, 0);
	rig_run(&rig, 1);
	while (peer_recv(p, &seg))
		;
	t_assert(nomstack__heap_failures() == 0);
	rig_close(&rig);
	rig_device_mtu(0);
}

static void peer_of(struct peer *p, bool six, uint16_t mss)
{
	if (six)
		peer_init6(p, &rig, 4000, PORT);
	else
		peer_init(p, &rig, 4000, PORT);
	p->mss = mss;
	p->scale = 4;
	p->window = 16000;
}

/* What peers are told is the MTU's, and what they say bounds it. */
static void mss_is_the_mtus(void **state)
{
	static const struct {
		uint16_t mtu, told, peers, used;
	} mtus[] = {
		{ 0, 1460, 8960, 1460 }, { 1400, 1360, 8960, 1360 }, { 9000, 8960, 8960, 8960 }, { 9000, 8960, 1460, 1460 },
		{ 9000, 8960, 9176, 8960 }, { 9216, MOST, 65535, MOST },
		{ 65535, MOST, 65535, MOST },
	};
	struct peer p;
	struct seg seg;
	unsigned i, six, at, told, used;

	for (i = 0; i < sizeof(mtus) / sizeof(mtus[0]); i++) {
		for (six = 0; six < 2; six++) {
			begin(mtus[i].mtu, six, 0);
			peer_of(&p, six, mtus[i].peers);
			peer_send(&p, SYN, NULL, 0);
			nomstack_poll(rig.s);
			t_assert(peer_recv(&p, &seg) && seg.opt[0] == 2);
			at = six * 20;
			told = (mtus[i].told < MOST ? mtus[i].told : MOST) - at;
			used = mtus[i].used < told ? mtus[i].used : told;
			assert_int_equal(get16(seg.opt + 2), told);
			p.ack = seg.seq + 1;
			peer_send(&p, ACK, NULL, 0);
			nomstack_poll(rig.s);
			assert_int_equal(tcp_mss(conn->pcb), used);
			end(&p);
		}
	}
}

/* RFC 1191 and 8201, as in test_stack_pmtu.c. */
static void too_big(uint16_t mtu, const uint8_t *ip)
{
	unsigned hdr = ip[0] >> 4 == 6 ? 40 : 20, n = 8 + hdr + 8;
	uint8_t f[RIG_FRAME], m[64] = { 0 };
	uint16_t sum;

	memcpy(m + 8, ip, hdr + 8);
	if (hdr == 40) {
		m[0] = 2;
		put32(m + 4, mtu);
		sum = t_csum6(ip + 24, ip + 8, 58, m, n);
		memcpy(m + 2, &sum, 2);
		n = t_ip6_frame(&rig, f, ip + 24, ip + 8, 58, 64, m, n);
	} else {
		m[0] = 3, m[1] = 4;
		put16(m + 6, mtu);
		sum = t_csum(m, n, 0);
		memcpy(m + 2, &sum, 2);
		n = t_ip_frame(&rig, f, PEER_IP, RIG_IP, 1, m, n);
	}
	t_assert(rig_inject(&rig, f, n, 0));
	nomstack_poll(rig.s);
}

struct how {
	bool six, offload, copy, odd;	/* odd: in pieces of odd lengths, some copied */
	unsigned loss;			/* one of so many packets; 0: none */
	bool narrow;			/* the path becomes one of 1500, then of 1300 */
};

static void send_file(const struct how *h, uint32_t *sent, uint64_t *dice)
{
	uint32_t room = nomstack_tcp_room(conn), n = TOTAL - *sent < room ? TOTAL - *sent : room;
	unsigned flags = h->copy ? NOMSTACK_SEND_COPY : 0;

	while (n) {
		uint32_t some = n;

		if (h->odd) {
			some = (uint32_t)(1 + rig_random(dice) % 3000);
			some = some < n ? some : n;
			flags = rig_random(dice) % 3 ? 0 : NOMSTACK_SEND_COPY;
			flags |= rig_random(dice) % 2 ? NOMSTACK_SEND_MORE : 0;
		}
		if (nomstack_tcp_send(conn, file + *sent, some, flags))
			return;
		*sent += some;
		room = nomstack_tcp_room(conn);
		n = h->odd ? (TOTAL - *sent < room ? TOTAL - *sent : room) : 0;
	}
}

static void send_all(const struct how *h)
{
	uint64_t dice = 88172645463325252ull;
	uint32_t sent = 0, base, next = 0, longest = 0;
	unsigned ms, mtu;
	struct peer p;
	struct seg seg;

	begin(9000, h->six, h->offload ? OFFLOAD : 0);
	peer_of(&p, h->six, 8960);
	peer_handshake(&p);
	base = p.ack;
	memset(have, 0, sizeof(have));
	for (ms = 0; next < TOTAL && ms < (h->loss ? 600000 : 5000); ms++) {
		send_file(h, &sent, &dice);
		rig_run(&rig, 1);
		mtu = !h->narrow || next < TOTAL / 4 ? 9000 : next < TOTAL / 2 ? 1500 : 1300;
		while (rig_tx_pop(&rig, &seg.frame)) {
			uint32_t at, i;

			if (!peer_parse(&p, &seg))
				continue;
			t_assert(seg.frame.len <= 9000 + 14);
			if (seg.frame.len > mtu + 14) {
				too_big((uint16_t)mtu, seg.frame.data + 14);
				continue;
			}
			longest = seg.len > longest ? seg.len : longest;
			if (h->loss && rig_random(&dice) % h->loss == 0)
				continue;
			at = seg.seq - base;
			t_assert(at + seg.len <= TOTAL && !memcmp(seg.data, file + at, seg.len));
			for (i = 0; i < seg.len; i++)
				have[at + i] = 1;
			while (next < TOTAL && have[next])
				next++;
			p.ack = base + next;
			if (seg.len)
				peer_send(&p, ACK, NULL, 0);
		}
	}
	assert_int_equal(next, TOTAL);
	assert_int_equal(longest, h->copy ? 1460 : h->six ? 8940 : 8960);
	if (h->narrow)
		t_assert(tcp_mss(conn->pcb) == (h->six ? 1240 : 1260));
	rig_run(&rig, 2);
	t_assert(tcp_sndqueuelen(conn->pcb) == 0);
	end(&p);
}

static void files_pass(void **state)
{
	unsigned i;

	for (i = 0; i < 4; i++) {
		struct how h = { .six = i & 1, .offload = i & 2 };

		print_message("# %s, %s\n", h.six ? "IPv6" : "IPv4", h.offload ? "offload" : "no offload");
		send_all(&h);
		h.loss = 40;
		send_all(&h);
		h.narrow = true;
		send_all(&h);
		h.loss = 0;
		send_all(&h);
		h.odd = true;
		send_all(&h);
		h.narrow = false;
		send_all(&h);
		h.loss = 40;
		send_all(&h);
		send_all(&(struct how){ .six = h.six, .offload = h.offload, .copy = true });
	}
}

/* The peer's segments of 8960 bytes, in order and not. */
static void large_segments_are_taken(void **state)
{
	unsigned six, mss;
	uint32_t at;
	struct peer p;
	struct seg seg;

	for (six = 0; six < 2; six++) {
		static uint8_t f[LARGE_FRAME];

		mss = six ? 8940 : 8960;
		begin(9000, six, OFFLOAD);
		peer_of(&p, six, 8960);
		peer_handshake(&p);
		for (at = 0; at + 2 * mss <= TOTAL; at += 2 * mss) {
			unsigned n = peer_frame(&p, f, ACK, p.seq + mss, p.ack, file + at + mss, mss);

			t_assert(rig_inject(&rig, f, n, 0));
			n = peer_frame(&p, f, ACK, p.seq, p.ack, file + at, mss);
			t_assert(rig_inject(&rig, f, n, 0));
			p.seq += 2 * mss;
			rig_run(&rig, 1);
			while (peer_recv(&p, &seg))
				;
		}
		t_assert(taken == at && taken_right && seg.ack == p.seq);
		end(&p);
	}
}

/* A window that holds no whole segment: what fits, after the persist timer. */
static void small_windows_split(void **state)
{
	uint32_t next = 0, base;
	unsigned ms;
	struct peer p;
	struct seg seg;

	begin(9000, false, OFFLOAD);
	peer_of(&p, false, 8960);
	peer_handshake(&p);
	base = p.ack;
	t_assert(nomstack_tcp_send(conn, file, 40000, 0) == 0);
	p.window = 3000 / 16;
	peer_send(&p, ACK, NULL, 0);
	for (ms = 0; next < 40000 && ms < 200000; ms++) {
		rig_run(&rig, 1);
		while (peer_recv(&p, &seg)) {
			if (seg.seq - base != next || !seg.len)
				continue;
			t_assert(!memcmp(seg.data, file + next, seg.len));
			next += seg.len;
			p.ack = base + next;
			peer_send(&p, ACK, NULL, 0);
		}
	}
	assert_int_equal(next, 40000);
	end(&p);
}

/* An echo that a block of the heap holds comes back; a longer one is dropped, and counted. */
static void large_pings_are_answered(void **state)
{
	static uint8_t f[LARGE_FRAME];
	uint8_t m[3900] = { 8 };
	struct rig_frame out;
	struct peer p;
	uint16_t sum;
	unsigned i;

	begin(9000, false, OFFLOAD);
	peer_of(&p, false, 8960);
	peer_handshake(&p);
	for (i = 8; i < sizeof(m); i++)
		m[i] = (uint8_t)(i * 7);
	sum = t_csum(m, sizeof(m), 0);
	memcpy(m + 2, &sum, 2);
	t_assert(rig_inject(&rig, f, t_ip_frame(&rig, f, PEER_IP, RIG_IP, 1, m, sizeof(m)), 0));
	rig_run(&rig, 2);
	t_assert(rig_tx_pop(&rig, &out) && out.len == 34 + sizeof(m) && out.data[34] == 0);
	t_assert(t_csum(out.data + 34, sizeof(m), 0) == 0 && !memcmp(out.data + 42, m + 8, sizeof(m) - 8));
	end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mss_is_the_mtus),
		cmocka_unit_test(files_pass),
		cmocka_unit_test(large_segments_are_taken),
		cmocka_unit_test(small_windows_split),
		cmocka_unit_test(large_pings_are_answered),
	};
	const struct CMUnitTest refused[] = { cmocka_unit_test(mss_is_the_mtus) };

	if (NOMSTACK_MTU_MAX < 9000)	/* a profile without */
		return cmocka_run_group_tests_name("stack_jumbo", refused, NULL, NULL);
	return cmocka_run_group_tests_name("stack_jumbo", tests, NULL, NULL);
}
