// SPDX-License-Identifier: MIT
/*
 * <nomstack/raw.h> on the real driver and our vhost-user back-end, one thread
 * playing both sides, with a clock of the test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include <nomdrv/vnet.h>
#include <nomstack/frame.h>
#include <nomstack/raw.h>

#include "bytes.h"
#include "../../userdrivers/vhostbe/vhostbe.h"

#define BIT(n)	(1ULL << (n))
#define RING	64
#define BYTES	100
#define US	1000ull

static uint64_t extra;
static struct vhostbe *be;
static struct vnet *v;
static struct nomstack_raw *r;
static uint64_t now = 1000000000;
/* What the application does, and saw. */
static unsigned seen, batches, largest, asked;
static bool silent, ends, first_seen;
static uint32_t answer_bytes;

static void t_step(void *arg)
{
	vhostbe_step(be);
}

static void on_frames(void *arg, const struct vnet_rx *rx, struct nomstack_raw_answer *a, unsigned nr)
{
	assert_ptr_equal(arg, &seen);
	for (unsigned i = 0; i < nr; i++) {
		uint8_t *f = rx[i].data;

		a[i] = (struct nomstack_raw_answer){ .len = silent ? 0 : answer_bytes };
		f[0] ^= 0xff;
	}
	seen += nr;
	batches++;
	largest = nr > largest ? nr : largest;
}

static bool on_ended(void *arg, const struct vnet_rx *rx, unsigned nr, bool first)
{
	assert_true(nr > 0);
	asked += nr;
	first_seen |= first;
	return ends;
}

static void t_backend(void)
{
	struct vhostbe_opts b = { .sz = sizeof(b), .features_on = extra };
	char path[64];

	snprintf(path, sizeof(path), "/tmp/test_raw.%d", (int)getpid());
	assert_int_equal(vhostbe_create(path, &b, &be), 0);
}

static void t_open(uint64_t on)
{
	struct vnet_opts o = { .sz = sizeof(o), .queue_size = RING, .arena_bytes = 64 << 10, .wait = t_step, .features_on = on };
	char path[64];

	snprintf(path, sizeof(path), "/tmp/test_raw.%d", (int)getpid());
	t_backend();
	assert_int_equal(vnet_open_vhost_user(path, &o, &v), 0);
	seen = batches = largest = asked = 0;
	silent = ends = first_seen = false;
	answer_bytes = BYTES;
}

static void t_open_raw(nomstack_raw_ended_fn ended)
{
	struct nomstack_raw_opts o = { .sz = sizeof(o), .vnet = v, .frames = on_frames, .ended = ended, .arg = &seen };

	assert_int_equal(nomstack_raw_open(&o, &r), 0);
}

/* All buffers are with the device, nothing is under way. */
static void t_close(void)
{
	vhostbe_step(be);
	nomstack_raw_poll(r, now);
	nomstack_raw_poll(r, now);
	vnet_tx_reap(v, NULL, NULL);	/* copies have no cookies; answers' are back */
	assert_int_equal(vnet_rx_room(v) + vnet_rx_pending(v), RING);
	assert_int_equal(vnet_tx_room(v), RING);
	assert_null(vhostbe_last_error(be));
	nomstack_raw_close(r);
	vnet_close(v);
	vhostbe_destroy(be);
}

static void t_inject(unsigned nr)
{
	uint8_t f[BYTES];

	for (unsigned i = 0; i < nr; i++) {
		memset(f, (int)(i & 127), sizeof(f));
		assert_int_equal(vhostbe_inject(be, f, sizeof(f), NULL), 0);
	}
}

/* @nr answers came, the frames of t_inject() with a byte changed. */
static void t_expect(unsigned nr)
{
	uint8_t f[2048], want[BYTES];

	vhostbe_step(be);
	for (unsigned i = 0; i < nr; i++) {
		memset(want, (int)(i & 127), sizeof(want));
		want[0] ^= 0xff;
		assert_int_equal(vhostbe_take(be, f, sizeof(f), NULL), BYTES);
		assert_memory_equal(f, want, BYTES);
	}
	assert_int_equal(vhostbe_take(be, f, sizeof(f), NULL), -EAGAIN);
}

static void test_raw_options_are_checked(void **state)
{
	struct {
		struct nomstack_raw_opts o;
		uint64_t later;
	} big = { .o = { .sz = sizeof(big) } };
	struct nomstack_raw *none = (void *)1;

	t_open(0);
	big.o.vnet = v;
	big.o.frames = on_frames;
	assert_int_equal(nomstack_raw_open(NULL, &none), -EINVAL);
	big.later = 1;
	assert_int_equal(nomstack_raw_open(&big.o, &none), -E2BIG);
	big.o.sz = 8;
	assert_int_equal(nomstack_raw_open(&big.o, &none), -EINVAL);
	big.o.sz = sizeof(big.o);
	big.o.vnet = NULL;
	assert_int_equal(nomstack_raw_open(&big.o, &none), -EINVAL);
	big.o.vnet = v;
	big.o.frames = NULL;
	assert_int_equal(nomstack_raw_open(&big.o, &none), -EINVAL);
	assert_ptr_equal(none, (void *)1);
	/* an older caller's, without what came later */
	big.o.frames = on_frames;
	big.o.arg = &seen;
	big.o.sz = offsetof(struct nomstack_raw_opts, ended);
	assert_int_equal(nomstack_raw_open(&big.o, &r), 0);
	nomstack_raw_close(r);
	nomstack_raw_close(NULL);
	vnet_stop(v);
	assert_int_equal(nomstack_raw_open(&big.o, &none), -EIO);
	vnet_close(v);
	vhostbe_destroy(be);

	t_open(BIT(VIRTIO_NET_F_MRG_RXBUF));
	if (vnet_features(v) & BIT(VIRTIO_NET_F_MRG_RXBUF)) {
		big.o.vnet = v;
		assert_int_equal(nomstack_raw_open(&big.o, &none), -EOPNOTSUPP);
	} else {
		fail_msg("the back-end has no MRG_RXBUF");
	}
	vnet_close(v);
	vhostbe_destroy(be);
}

static void test_raw_answers_a_batch_with_one_doorbell(void **state)
{
	const struct nomstack_raw_stats *st;

	t_open(0);
	t_open_raw(NULL);
	st = nomstack_raw_stats(r);
	for (unsigned turn = 0; turn < 20; turn++) {
		uint64_t bells = vnet_stats(v)->doorbells_tx;

		t_inject(20);
		assert_int_equal(nomstack_raw_poll(r, now), 20);
		assert_int_equal(vnet_stats(v)->doorbells_tx - bells, 1);
		t_expect(20);
		assert_int_equal(nomstack_raw_poll(r, now), 0);
	}
	assert_int_equal(st->batches, 20);
	assert_int_equal(st->frames, 400);
	assert_int_equal(st->answers, 400);
	assert_int_equal(st->announcements, 20);
	assert_int_equal(st->dropped + st->refused + st->ring_full, 0);
	assert_int_equal(vnet_stats(v)->tx_turned, 400);
	assert_int_equal(vnet_stats(v)->tx_copies, 0);
	t_close();
}

static void test_raw_batches_are_bounded(void **state)
{
	t_open(0);
	t_open_raw(NULL);
	assert_int_equal(nomstack_raw_knob_set(r, "batch_max", 8), 0);
	t_inject(20);
	assert_int_equal(nomstack_raw_poll(r, now), 8);
	assert_int_equal(nomstack_raw_poll(r, now), 8);
	assert_int_equal(nomstack_raw_poll(r, now), 4);
	assert_int_equal(largest, 8);
	t_expect(20);
	t_close();
}

static void test_raw_frames_without_an_answer_go_back(void **state)
{
	t_open(0);
	t_open_raw(NULL);
	silent = true;
	for (unsigned turn = 0; turn < 200; turn++) {
		t_inject(RING / 2);
		assert_int_equal(nomstack_raw_poll(r, now), RING / 2);
	}
	t_expect(0);
	assert_int_equal(nomstack_raw_stats(r)->dropped, 100 * RING);
	assert_int_equal(vnet_stats(v)->doorbells_tx, 0);
	t_close();
}

/* An application's mistake costs the answer, not the buffer. */
static void test_raw_answers_that_make_no_sense_are_dropped(void **state)
{
	static const uint32_t bad[] = { 1, 13, 1519, 2048, UINT32_MAX };

	t_open(0);
	t_open_raw(NULL);
	for (unsigned i = 0; i < 100; i++) {
		answer_bytes = bad[i % 5];
		t_inject(10);
		assert_int_equal(nomstack_raw_poll(r, now), 10);
		nomstack_raw_poll(r, now);
	}
	t_expect(0);
	assert_int_equal(nomstack_raw_stats(r)->refused, 1000);
	t_close();
}

/* A device that takes nothing: answers beyond the ring are lost and counted, and no buffer with them. */
static void test_raw_a_full_ring_loses_answers_only(void **state)
{
	t_open(0);
	t_open_raw(NULL);
	for (unsigned turn = 0; turn < 3; turn++) {
		t_inject(RING / 2);		/* delivers without sending what waits */
		assert_int_equal(nomstack_raw_poll(r, now), RING / 2);
		nomstack_raw_poll(r, now);
	}
	assert_int_equal(nomstack_raw_stats(r)->answers, RING);
	assert_int_equal(nomstack_raw_stats(r)->ring_full, RING / 2);
	vhostbe_step(be);
	nomstack_raw_poll(r, now);
	for (unsigned i = 0; i < RING; i++) {
		uint8_t f[2048];

		assert_int_equal(vhostbe_take(be, f, sizeof(f), NULL), BYTES);
	}
	t_close();
}

static void test_raw_sends_of_its_own(void **state)
{
	static const uint8_t f[42] = { 1, 2, 3 };
	uint8_t got[64];

	t_open(0);
	t_open_raw(NULL);
	assert_int_equal(nomstack_raw_send(r, f, sizeof(f)), 0);
	nomstack_raw_poll(r, now);
	vhostbe_step(be);
	assert_int_equal(vhostbe_take(be, got, sizeof(got), NULL), sizeof(f));
	assert_memory_equal(got, f, sizeof(f));
	assert_int_equal(nomstack_raw_send(r, f, 13), -EINVAL);
	t_close();
}

/* ------------------------------------------------------------------------ W --- */

static void test_raw_w_holds_no_longer_than_w(void **state)
{
	t_open(0);
	t_open_raw(NULL);
	assert_int_equal(nomstack_raw_knob_set(r, "w_us", 50), 0);
	for (unsigned i = 0; i < 20; i++)		/* polls lie 2 us apart: known from now on */
		nomstack_raw_poll(r, now += 2 * US);
	for (unsigned turn = 0; turn < 10; turn++) {
		uint64_t start;

		t_inject(3);
		start = now += 2 * US;
		assert_int_equal(nomstack_raw_poll(r, now), 0);
		assert_int_equal(nomstack_raw_next_ns(r, now), 50 * US);
		assert_false(nomstack_raw_idle_prepare(r));
		while (!nomstack_raw_poll(r, now += 2 * US))
			assert_true(now - start < 50 * US);
		assert_true(now - start <= 50 * US);
		assert_true(now - start >= 40 * US);
		assert_int_equal(nomstack_raw_next_ns(r, now), UINT64_MAX);
		t_expect(3);
	}
	assert_int_equal(batches, 10);
	assert_true(nomstack_raw_stats(r)->delay_max_ns <= 50 * US);
	assert_true(nomstack_raw_stats(r)->delay_max_ns >= 40 * US);

	/* W = 0 in the middle of a delay: at once */
	t_inject(2);
	assert_int_equal(nomstack_raw_poll(r, now), 0);
	assert_int_equal(nomstack_raw_knob_set(r, "w_us", 0), 0);
	assert_int_equal(nomstack_raw_poll(r, now), 2);
	t_expect(2);
	t_inject(2);
	assert_int_equal(nomstack_raw_poll(r, now), 2);
	t_expect(2);
	t_close();
}

static void test_raw_w_ends_when_half_the_ring_is_used(void **state)
{
	unsigned nr, got = 0;

	t_open(0);
	t_open_raw(NULL);
	nomstack_raw_knob_set(r, "w_us", 100000);
	for (nr = 1; nr <= RING && !got; nr++) {
		t_inject(1);
		got = nomstack_raw_poll(r, now += 10);
	}
	assert_int_equal(got, RING / 2);
	assert_int_equal(seen, RING / 2);
	vhostbe_step(be);
	for (nr = 0; nr < RING / 2; nr++) {
		uint8_t f[2048];

		assert_int_equal(vhostbe_take(be, f, sizeof(f), NULL), BYTES);
	}
	t_close();
}

static void test_raw_w_ends_when_the_application_says_so(void **state)
{
	t_open(0);
	t_open_raw(on_ended);
	nomstack_raw_knob_set(r, "w_us", 1000);
	t_inject(2);
	assert_int_equal(nomstack_raw_poll(r, now += 10), 0);
	assert_int_equal(asked, 2);
	assert_true(first_seen);
	assert_int_equal(nomstack_raw_poll(r, now += 10), 0);
	assert_int_equal(asked, 2);		/* nothing new: not asked again */
	ends = true;
	first_seen = false;
	t_inject(1);
	assert_int_equal(nomstack_raw_poll(r, now += 10), 3);
	assert_int_equal(asked, 3);
	assert_false(first_seen);
	nomstack_raw_knob_set(r, "w_us", 0);
	t_inject(1);
	assert_int_equal(nomstack_raw_poll(r, now += 10), 1);
	assert_int_equal(asked, 3);
	t_close();
}

/* A batch larger than batch_max that was let go is not held again. */
static void test_raw_w_a_batch_on_its_way_is_finished(void **state)
{
	t_open(0);
	t_open_raw(NULL);
	nomstack_raw_knob_set(r, "batch_max", 4);
	nomstack_raw_knob_set(r, "w_us", 1000);
	t_inject(10);
	assert_int_equal(nomstack_raw_poll(r, now), 0);
	assert_int_equal(nomstack_raw_poll(r, now += 1001 * US), 4);
	t_inject(1);
	assert_int_equal(nomstack_raw_poll(r, now), 4);
	assert_int_equal(nomstack_raw_next_ns(r, now), 0);
	assert_int_equal(nomstack_raw_poll(r, now), 2);
	assert_int_equal(nomstack_raw_poll(r, now), 0);		/* the eleventh waits */
	assert_int_equal(seen, 10);
	assert_int_equal(nomstack_raw_poll(r, now += 1001 * US), 1);
	t_close();
}

/* ------------------------------------------------------------------ the end --- */

static void test_raw_sleeps_and_wakes(void **state)
{
	t_open(0);
	t_open_raw(NULL);
	assert_true(nomstack_raw_idle_prepare(r));
	nomstack_raw_idle_done(r);
	t_inject(1);
	assert_false(nomstack_raw_idle_prepare(r));
	nomstack_raw_idle_done(r);
	assert_int_equal(nomstack_raw_poll(r, now), 1);
	/* an answer that is queued is announced before sleeping, and its buffer comes back */
	t_expect(1);
	assert_true(nomstack_raw_idle_prepare(r));
	nomstack_raw_idle_done(r);
	assert_int_equal(vnet_tx_room(v), RING);
	t_close();
}

static void test_raw_goes_on_after_a_restart(void **state)
{
	t_open(0);
	t_open_raw(NULL);
	nomstack_raw_knob_set(r, "w_us", 1000);
	t_inject(5);
	nomstack_raw_poll(r, now);		/* five held */
	nomstack_raw_knob_set(r, "w_us", 0);
	t_inject(7);
	assert_int_equal(nomstack_raw_poll(r, now), 12);	/* twelve with the device, which goes away */
	vhostbe_destroy(be);
	t_backend();
	vnet_check(v);
	assert_int_not_equal(vnet_error(v, NULL), 0);
	assert_int_equal(nomstack_raw_poll(r, now), 0);
	assert_int_equal(nomstack_raw_restart(r), 0);
	vhostbe_step(be);
	for (unsigned turn = 0; turn < 10; turn++) {
		t_inject(20);
		assert_int_equal(nomstack_raw_poll(r, now), 20);
		t_expect(20);
		nomstack_raw_poll(r, now);
	}
	t_close();
}

/* The device has answers when the tier is closed, and never sends them. */
static void test_raw_close_takes_back_what_the_device_had(void **state)
{
	t_open(0);
	t_open_raw(NULL);
	t_inject(5);
	nomstack_raw_poll(r, now);
	nomstack_raw_close(r);
	assert_int_equal(vnet_error(v, NULL), -ESHUTDOWN);
	vnet_close(v);
	vhostbe_destroy(be);

	/* held ones, and none under way: the device goes on */
	t_open(0);
	t_open_raw(NULL);
	nomstack_raw_knob_set(r, "w_us", 1000);
	t_inject(5);
	nomstack_raw_poll(r, now);
	nomstack_raw_close(r);
	assert_int_equal(vnet_error(v, NULL), 0);
	assert_int_equal(vnet_rx_room(v), RING);
	vnet_close(v);
	vhostbe_destroy(be);
}

/* -------------------------------------------- answers that leave as one frame --- */

#define UDP 42u
static struct nomstack_frame_self self;
static uint64_t pieces_before, frames_before;
static unsigned spoil;		/* of answers, the field that is changed; 0: none */

/* Each datagram comes back as it is, its payload's second byte counted up. */
static void on_datagrams(void *arg, const struct vnet_rx *rx, struct nomstack_raw_answer *a, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		struct nomstack_frame f;

		assert_int_equal(nomstack_frame_read(&rx[i], &self, &f), NOMSTACK_FRAME_UDP);
		f.payload[1]++;
		nomstack_frame_answer_udp(&f, f.payload_bytes, true, &a[i]);
		if (spoil && i % 2)
			f.eth[spoil] ^= 1;
	}
}

static void t_open_datagrams(uint64_t off)
{
	struct vnet_opts o = { .sz = sizeof(o), .queue_size = RING, .arena_bytes = 64 << 10, .wait = t_step, .features_off = off };
	struct nomstack_raw_opts ro = { .sz = sizeof(ro), .frames = on_datagrams };
	char path[64];

	snprintf(path, sizeof(path), "/tmp/test_raw.%d", (int)getpid());
	t_backend();
	assert_int_equal(vnet_open_vhost_user(path, &o, &v), 0);
	ro.vnet = v;
	assert_int_equal(nomstack_raw_open(&ro, &r), 0);
	assert_int_equal(nomstack_frame_self(&self, vnet_mac(v), "10.0.0.2/24"), 0);
	spoil = 0;
}

static uint8_t t_byte(unsigned i, unsigned k)
{
	return (uint8_t)(k == 0 ? i : i * 31 + k * 7 + (k >> 8));
}

/* Datagram @i from 10.0.0.1, @port, with @bytes of payload. */
static void t_datagram(unsigned i, unsigned port, unsigned bytes)
{
	uint8_t f[2034] = { 0 };
	unsigned sum = 0;

	memcpy(f, vnet_mac(v), 6);
	memcpy(f + 6, "\x52\x54\0\0\0\1\x08\0\x45\0", 10);
	put16(f + 16, 28 + bytes);
	memcpy(f + 20, "\x40\0\x40\x11\0\0\x0a\0\0\1\x0a\0\0\2", 14);
	for (unsigned k = 14; k < 34; k += 2)
		sum += get16(f + k);
	put16(f + 24, ~((sum & 0xffff) + (sum >> 16)) & 0xffff);
	put16(f + 34, port);
	put16(f + 36, 7000);
	put16(f + 38, 8 + bytes);	/* no sum: RFC 768 */
	for (unsigned k = 0; k < bytes; k++)
		f[UDP + k] = t_byte(i, k);
	assert_int_equal(vhostbe_inject(be, f, UDP + bytes, NULL), 0);
}

/* The next packet is the answer to t_datagram(@i, @port, @bytes), every sum right. */
static void t_answer(unsigned i, unsigned port, unsigned bytes)
{
	uint8_t got[2048];
	uint32_t sum = 0;

	assert_int_equal(vhostbe_take(be, got, sizeof(got), NULL), UDP + bytes);
	assert_memory_equal(got, "\x52\x54\0\0\0\1", 6);
	assert_int_equal(get16(got + 16), 28 + bytes);
	for (unsigned k = 14; k < 34; k += 2)
		sum += get16(got + k);
	assert_int_equal((sum & 0xffff) + (sum >> 16), 0xffff);
	assert_int_equal(get32(got + 26), 0x0a000002);
	assert_int_equal(get16(got + 36), port);
	assert_int_equal(get16(got + 38), 8 + bytes);
	sum = 0x0a00 + 2 + 0x0a00 + 1 + 17 + 8 + bytes;
	for (unsigned k = 34; k < UDP + bytes; k++)
		sum += k & 1 ? got[k] : (uint32_t)got[k] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	assert_int_equal(sum, 0xffff);
	for (unsigned k = 0; k < bytes; k++)
		assert_int_equal(got[UDP + k], (uint8_t)(t_byte(i, k) + (k == 1)));
}

static void t_poll_all(void)
{
	pieces_before = vhostbe_stats(be)->tx_pieces;
	frames_before = vnet_stats(v)->tx_packets;
	nomstack_raw_poll(r, now);
	vhostbe_step(be);
}

static void t_frames(unsigned frames, unsigned pieces)
{
	uint8_t none[64];

	assert_int_equal(vhostbe_take(be, none, sizeof(none), NULL), -EAGAIN);
	assert_int_equal(vnet_stats(v)->tx_packets - frames_before, frames);
	assert_int_equal(vhostbe_stats(be)->tx_pieces - pieces_before, pieces);
	/* and all buffers come back */
	nomstack_raw_poll(r, now);
	assert_int_equal(vnet_rx_room(v), RING);
}

/* Of any size: copied into one buffer, or sent from where they lie. */
static void test_raw_answers_to_one_peer_leave_as_one_frame(void **state)
{
	static const unsigned sizes[] = { 12, 13, 100, 128, 129, 1000, 1472 };

	t_open_datagrams(0);
	for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		for (unsigned i = 0; i < 10; i++)
			t_datagram(i, 40000, sizes[s]);
		t_poll_all();
		for (unsigned i = 0; i < 10; i++)
			t_answer(i, 40000, sizes[s]);
		t_frames(1, 10);
	}
	assert_int_equal(nomstack_raw_stats(r)->tx_long, sizeof(sizes) / sizeof(sizes[0]));
	assert_int_equal(nomstack_raw_stats(r)->tx_joined, 10 * sizeof(sizes) / sizeof(sizes[0]));
	t_close();
}

/* What does not fit into one frame begins the next. */
static void test_raw_runs_are_bounded(void **state)
{
	t_open_datagrams(0);
	for (unsigned i = 0; i < 40; i++)
		t_datagram(i, 40000, 128);
	t_poll_all();
	for (unsigned i = 0; i < 40; i++)
		t_answer(i, 40000, 128);
	t_frames(3, 40);	/* 15 in a buffer, 15, 10 */

	for (unsigned i = 0; i < 60; i++)
		t_datagram(i, 40000, 1472);
	nomstack_raw_knob_set(r, "uso_max", 7);
	t_poll_all();
	for (unsigned i = 0; i < 60; i++)
		t_answer(i, 40000, 1472);
	t_frames(9, 60);

	nomstack_raw_knob_set(r, "uso_max", 64);
	for (unsigned i = 0; i < 60; i++)
		t_datagram(i, 40000, 1472);
	t_poll_all();
	for (unsigned i = 0; i < 60; i++)
		t_answer(i, 40000, 1472);
	t_frames(2, 60);	/* half the ring at a time */

	nomstack_raw_knob_set(r, "uso_max", 1);
	for (unsigned i = 0; i < 20; i++)
		t_datagram(i, 40000, 100);
	t_poll_all();
	for (unsigned i = 0; i < 20; i++)
		t_answer(i, 40000, 100);
	t_frames(20, 0);
	t_close();
}

/* A shorter one ends a frame, a longer one, or one to another, begins one. */
static void test_raw_only_alike_answers_are_joined(void **state)
{
	static const struct { unsigned port, bytes; } in[] = {
		{ 40000, 100 }, { 40000, 100 }, { 40000, 60 },	/* one frame */
		{ 40000, 60 },
		{ 40001, 60 },
		{ 40000, 60 }, { 40000, 60 },			/* one */
		{ 40000, 61 },
		{ 40002, 1000 }, { 40002, 1000 }, { 40002, 1 + UDP },	/* one */
		{ 40003, 1000 }, { 40004, 1000 },
	};
	/* of Ethernet, IPv4 and UDP; 0: none */
	static const unsigned fields[] = { 0, 11, 15, 20, 22, 29, 33, 35, 37 };
	const unsigned nr = sizeof(in) / sizeof(in[0]);

	t_open_datagrams(0);
	for (unsigned i = 0; i < nr; i++)
		t_datagram(i, in[i].port, in[i].bytes);
	t_poll_all();
	for (unsigned i = 0; i < nr; i++)
		t_answer(i, in[i].port, in[i].bytes);
	t_frames(8, 3 + 2 + 3);
	/* what the application made differently is not made alike */
	for (unsigned k = 0; k < sizeof(fields) / sizeof(fields[0]); k++) {
		uint8_t got[2048];

		spoil = fields[k];
		for (unsigned i = 0; i < 6; i++)
			t_datagram(i, 40000, 200);
		t_poll_all();
		for (unsigned i = 0; i < 6; i++)
			assert_int_equal(vhostbe_take(be, got, sizeof(got), NULL), UDP + 200);
		t_frames(spoil ? 6 : 1, spoil ? 0 : 6);
	}
	t_close();
}

static void test_raw_without_the_device_each_leaves_by_itself(void **state)
{
	t_open_datagrams(BIT(VIRTIO_NET_F_HOST_USO));
	assert_string_equal(vnet_feature_reason(v, VIRTIO_NET_F_HOST_USO), "the application did not ask for it, or forbade it");
	for (unsigned i = 0; i < 10; i++)
		t_datagram(i, 40000, 100);
	t_poll_all();
	for (unsigned i = 0; i < 10; i++)
		t_answer(i, 40000, 100);
	t_frames(10, 0);
	t_close();
	t_open_datagrams(BIT(VIRTIO_NET_F_CSUM));
	assert_false(vnet_features(v) & BIT(VIRTIO_NET_F_HOST_USO));
	assert_string_equal(vnet_feature_reason(v, VIRTIO_NET_F_HOST_USO), "needs VIRTIO_NET_F_CSUM, which is not negotiated");
	t_close();
}

/* A device that takes nothing: frames of several are lost whole, and their buffers are not. */
static void test_raw_a_full_ring_loses_runs(void **state)
{
	static const unsigned sizes[] = { 100, 1000 };

	for (unsigned s = 0; s < 2; s++) {
		uint8_t got[2048];
		unsigned came = 0, sent = 0;

		t_open_datagrams(0);
		for (unsigned turn = 0; turn < 40; turn++) {
			unsigned room = vnet_rx_room(v);

			for (unsigned i = 0; i < 8 && i < room; i++, sent++)
				t_datagram(i, 40000 + (turn & 1), sizes[s]);
			nomstack_raw_poll(r, now);
		}
		assert_true(sent > RING);
		vhostbe_step(be);
		while (vhostbe_take(be, got, sizeof(got), NULL) >= 0)
			came++;
		nomstack_raw_poll(r, now);
		vhostbe_step(be);
		assert_int_equal(nomstack_raw_stats(r)->answers, came);
		assert_int_equal(came + nomstack_raw_stats(r)->ring_full, sent);
		t_close();
	}
}

static void test_raw_knobs_have_ranges(void **state)
{
	const struct nomstack_knob *k;
	unsigned nr;
	int64_t got;

	t_open(0);
	t_open_raw(NULL);
	k = nomstack_raw_knobs(&nr);
	assert_int_equal(nr, 3);
	for (unsigned i = 0; i < nr; i++) {
		assert_int_equal(nomstack_raw_knob_get(r, k[i].name, &got), 0);
		assert_int_equal(got, k[i].def);
		assert_int_equal(nomstack_raw_knob_set(r, k[i].name, k[i].max + 1), -ERANGE);
		assert_int_equal(nomstack_raw_knob_set(r, k[i].name, k[i].min - 1), -ERANGE);
		assert_int_equal(nomstack_raw_knob_set(r, k[i].name, k[i].max), 0);
		assert_int_equal(nomstack_raw_knob_get(r, k[i].name, &got), 0);
		assert_int_equal(got, k[i].max);
	}
	assert_int_equal(nomstack_raw_knob_set(r, "nagle", 1), -ENOENT);
	assert_int_equal(nomstack_raw_knob_get(r, "nagle", &got), -ENOENT);
	nomstack_raw_knob_set(r, "w_us", 0);
	t_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_raw_options_are_checked),
		cmocka_unit_test(test_raw_answers_a_batch_with_one_doorbell),
		cmocka_unit_test(test_raw_batches_are_bounded),
		cmocka_unit_test(test_raw_frames_without_an_answer_go_back),
		cmocka_unit_test(test_raw_answers_that_make_no_sense_are_dropped),
		cmocka_unit_test(test_raw_a_full_ring_loses_answers_only),
		cmocka_unit_test(test_raw_sends_of_its_own),
		cmocka_unit_test(test_raw_w_holds_no_longer_than_w),
		cmocka_unit_test(test_raw_w_ends_when_half_the_ring_is_used),
		cmocka_unit_test(test_raw_w_ends_when_the_application_says_so),
		cmocka_unit_test(test_raw_w_a_batch_on_its_way_is_finished),
		cmocka_unit_test(test_raw_sleeps_and_wakes),
		cmocka_unit_test(test_raw_goes_on_after_a_restart),
		cmocka_unit_test(test_raw_close_takes_back_what_the_device_had),
		cmocka_unit_test(test_raw_answers_to_one_peer_leave_as_one_frame),
		cmocka_unit_test(test_raw_runs_are_bounded),
		cmocka_unit_test(test_raw_only_alike_answers_are_joined),
		cmocka_unit_test(test_raw_without_the_device_each_leaves_by_itself),
		cmocka_unit_test(test_raw_a_full_ring_loses_runs),
		cmocka_unit_test(test_raw_knobs_have_ranges),
	};
	int failed = cmocka_run_group_tests_name("split", tests, NULL, NULL);

	extra = BIT(VIRTIO_F_RING_PACKED);
	return failed + cmocka_run_group_tests_name("packed", tests, NULL, NULL);
}
