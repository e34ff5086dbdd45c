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
#include <nomstack/raw.h>

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

static void test_raw_knobs_have_ranges(void **state)
{
	const struct nomstack_knob *k;
	unsigned nr;
	int64_t got;

	t_open(0);
	t_open_raw(NULL);
	k = nomstack_raw_knobs(&nr);
	assert_int_equal(nr, 2);
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
		cmocka_unit_test(test_raw_knobs_have_ranges),
	};
	int failed = cmocka_run_group_tests_name("split", tests, NULL, NULL);

	extra = BIT(VIRTIO_F_RING_PACKED);
	return failed + cmocka_run_group_tests_name("packed", tests, NULL, NULL);
}
