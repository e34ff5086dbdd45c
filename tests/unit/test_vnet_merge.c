// SPDX-License-Identifier: MIT
/*
 * Receive with MRG_RXBUF and GUEST_TSO: frames in several buffers, through the
 * back-end and from a device that lies about them.  Each test for split and
 * packed rings.
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
#include <linux/virtio_ring.h>

#include "vnet_pair.h"
#include "../../userdrivers/src/vtrans_fake.h"

#define BIT(n)	(1ULL << (n))
#define LARGE	(BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6))
#define FULL	2046u		/* bytes of a buffer that is filled to the end */
#define RX	0

/* What this pass has besides: packed rings, or nothing. */
static uint64_t extra;

static void t_open(struct pair *p, uint64_t on, uint64_t off, unsigned int queue_size)
{
	struct vnet_opts o = { .sz = sizeof(o), .features_on = on, .queue_size = queue_size,
			       .arena_bytes = 128 << 10 };
	struct vhostbe_opts b = { .sz = sizeof(b), .features_on = extra, .features_off = off };

	pair_open(p, "test_vnet_merge", &b, &o);
}

static void t_frame(uint8_t *buf, unsigned int tag, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		buf[i] = (uint8_t)(tag * 31 + i + (i >> 8));
}

/* The frame that starts at @rx is the one of @tag; returns its parts, all released. */
static unsigned int t_expect(struct vnet *v, const struct vnet_rx *rx, unsigned int n, unsigned int tag,
			     size_t len)
{
	static uint8_t want[VNET_RX_LARGE_MAX_BYTES];
	unsigned int i;
	size_t at = 0;

	t_frame(want, tag, len);
	for (i = 0; i < n; i++) {
		assert_true(at + rx[i].len <= len);
		assert_memory_equal(rx[i].data, want + at, rx[i].len);
		assert_true(vnet_dma_contains(v, rx[i].data, rx[i].len));
		at += rx[i].len;
		vnet_rx_release(v, rx[i].id);
		if (!(rx[i].flags & VNET_RX_MORE))
			break;
		assert_int_equal(rx[i + 1].flags & ~VNET_RX_MORE, 0);
	}
	assert_true(i < n);
	assert_int_equal(at, len);
	return i + 1;
}

static void test_vnet_merge_frames_of_all_lengths(void **state)
{
	static const struct { size_t len; unsigned int parts; } f[] = {
		{ 14, 1 }, { 2034, 1 }, { 2035, 2 }, { 4080, 2 }, { 4081, 3 }, { 9018, 5 },
		{ 65549, 33 }, { VNET_RX_LARGE_MAX_BYTES, 33 },
	};
	static uint8_t buf[VNET_RX_LARGE_MAX_BYTES];
	struct vnet_rx rx[VNET_RX_SEG_MAX];
	unsigned int round, i, merged = 0;
	struct pair p;

	t_open(&p, LARGE, 0, 64);
	assert_int_equal(vnet_features(p.v) & LARGE, LARGE);
	for (round = 0; round < 200; round++) {	/* the indices of 64 entries go round many times */
		for (i = 0; i < sizeof(f) / sizeof(f[0]); i++) {
			struct vhostbe_meta meta = {
				.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16,
				.gso_type = i & 1 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6,
				.gso_size = (uint16_t)(1000 + round), .hdr_len = 54,
			};

			t_frame(buf, round + i, f[i].len);
			assert_int_equal(vhostbe_inject(p.be, buf, f[i].len, i < 1 ? NULL : &meta), 0);
			assert_int_equal(vnet_rx_pending(p.v), f[i].parts);
			assert_int_equal(vnet_rx_burst(p.v, rx, VNET_RX_SEG_MAX), f[i].parts);
			assert_int_equal(rx[0].flags, (i < 1 ? 0 : VNET_RX_CSUM_OK | VNET_RX_LARGE) |
					 (f[i].parts > 1 ? VNET_RX_MORE : 0));
			assert_int_equal(((uintptr_t)rx[0].data + 14) % 4, 0);
			if (i >= 1)
				assert_int_equal(vnet_rx_gso_bytes(rx), 1000 + round);
			assert_int_equal(t_expect(p.v, rx, f[i].parts, round + i, f[i].len), f[i].parts);
			merged += f[i].parts > 1;
			vnet_rx_flush(p.v);
			assert_int_equal(vnet_rx_room(p.v), 64);
		}
	}
	assert_int_equal(vnet_stats(p.v)->rx_packets, 200 * 8);
	assert_int_equal(vnet_stats(p.v)->rx_merged, merged);
	assert_int_equal(vnet_stats(p.v)->rx_large, 200 * 7);
	assert_int_equal(vnet_stats(p.v)->rx_bad, 0);
	assert_int_equal(vhostbe_stats(p.be)->calls, 0);
	pair_close(&p);
}

/*
 * Packets in one buffer, which a split ring takes a short way, and what is not that
 * between them, in all orders: each comes once, in its turn, and as what it was sent as.
 */
static void test_vnet_merge_packets_between_large_frames(void **state)
{
	static const size_t lens[3] = { 60, 1514, 5000 };	/* a packet, one of many segments, in three buffers */
	static const unsigned int parts[3] = { 1, 1, 3 };
	static uint8_t buf[5000];
	struct vhostbe_meta large = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 500, .hdr_len = 54,
	};
	unsigned int order, i, at, n, k, kinds[6], total = 0, joined = 0;
	struct vnet_rx rx[VNET_RX_SEG_MAX];
	struct pair p;

	t_open(&p, LARGE, 0, 64);
	for (order = 0; order < 729; order++) {
		for (i = 0, k = order; i < 6; i++, k /= 3) {
			kinds[i] = k % 3;
			t_frame(buf, order + i, lens[kinds[i]]);
			assert_int_equal(vhostbe_inject(p.be, buf, lens[kinds[i]], kinds[i] ? &large : NULL), 0);
			joined += kinds[i] > 0;
			total++;
		}
		n = vnet_rx_burst(p.v, rx, VNET_RX_SEG_MAX);
		for (i = at = 0; i < 6; i++) {
			assert_true(at < n);
			assert_int_equal(rx[at].flags & VNET_RX_LARGE, kinds[i] ? VNET_RX_LARGE : 0);
			assert_int_equal(t_expect(p.v, rx + at, n - at, order + i, lens[kinds[i]]), parts[kinds[i]]);
			at += parts[kinds[i]];
		}
		assert_int_equal(at, n);
		vnet_rx_flush(p.v);
		assert_int_equal(vnet_rx_room(p.v), 64);
	}
	assert_int_equal(vnet_stats(p.v)->rx_packets, total);
	assert_int_equal(vnet_stats(p.v)->rx_large, joined);
	assert_int_equal(vnet_stats(p.v)->rx_bad, 0);
	pair_close(&p);
}

static void test_vnet_merge_tells_why_nothing_is_joined(void **state)
{
	static const struct { uint64_t on, off; const char *why; } c[] = {
		{ LARGE, 0, NULL },
		{ 0, 0, "not asked for" },
		{ BIT(VIRTIO_NET_F_MRG_RXBUF), 0, "not asked for" },
		{ LARGE, BIT(VIRTIO_NET_F_MRG_RXBUF), "no VIRTIO_NET_F_MRG_RXBUF" },
		{ LARGE, BIT(VIRTIO_NET_F_GUEST_CSUM), "no VIRTIO_NET_F_GUEST_CSUM" },
		{ LARGE, BIT(VIRTIO_NET_F_GUEST_TSO4), "no VIRTIO_NET_F_GUEST_TSO4" },
	};
	struct pair p;

	for (unsigned int i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		const char *why;

		t_open(&p, c[i].on, c[i].off, 64);
		why = vnet_no_large_receive(p.v);
		if (c[i].why)
			assert_string_equal(why, c[i].why);
		else
			assert_null(why);
		pair_close(&p);
	}
}

/* No frame is torn at the end of the caller's array. */
static void test_vnet_merge_frame_that_does_not_fit_waits(void **state)
{
	static uint8_t buf[30000];
	struct vnet_rx rx[64];
	unsigned int i, n, at, max;
	struct pair p;

	t_open(&p, LARGE, 0, 0);
	for (max = VNET_RX_SEG_MAX; max < 64; max++) {
		for (i = 0; i < 5; i++) {	/* 15 parts each */
			t_frame(buf, i, sizeof(buf));
			assert_int_equal(vhostbe_inject(p.be, buf, sizeof(buf), NULL), 0);
		}
		for (i = 0; i < 5;) {
			n = vnet_rx_burst(p.v, rx, max);
			assert_int_equal(n, 15 * (max / 15 < 5 - i ? max / 15 : 5 - i));
			for (at = 0; at < n; at += 15)
				assert_int_equal(t_expect(p.v, rx + at, n - at, i++, sizeof(buf)), 15);
		}
		assert_int_equal(vnet_rx_burst(p.v, rx, max), 0);
		vnet_rx_flush(p.v);
	}
	pair_close(&p);
}

static void test_vnet_merge_too_few_buffers_drop_the_whole_frame(void **state)
{
	static uint8_t buf[65549];
	struct vnet_rx rx[VNET_RX_SEG_MAX];
	struct pair p;

	t_open(&p, LARGE, 0, 64);
	t_frame(buf, 1, sizeof(buf));
	assert_int_equal(vhostbe_inject(p.be, buf, sizeof(buf), NULL), 0);
	assert_int_equal(vhostbe_inject(p.be, buf, sizeof(buf), NULL), -EAGAIN);	/* 31 left */
	assert_int_equal(vhostbe_inject(p.be, buf, 31 * FULL - 12, NULL), 0);
	assert_int_equal(vnet_rx_burst(p.v, rx, VNET_RX_SEG_MAX), 33);
	t_expect(p.v, rx, 33, 1, sizeof(buf));
	assert_int_equal(vnet_rx_burst(p.v, rx, VNET_RX_SEG_MAX), 31);
	t_expect(p.v, rx, 31, 1, 31 * FULL - 12);
	vnet_rx_flush(p.v);
	assert_int_equal(vhostbe_inject(p.be, buf, sizeof(buf), NULL), 0);
	pair_close(&p);
}

static void test_vnet_merge_is_not_negotiated_unasked(void **state)
{
	static uint8_t buf[3000];
	struct vnet_opts o = { .sz = sizeof(o) };
	struct vnet *v = NULL;
	struct pair p;

	t_open(&p, 0, 0, 0);
	assert_int_equal(vnet_features(p.v) & LARGE, 0);
	assert_int_equal(vhostbe_inject(p.be, buf, sizeof(buf), NULL), -EMSGSIZE);
	pair_close(&p);
	/* Only what is on request can be requested. */
	o.features_on = BIT(VIRTIO_NET_F_GUEST_UFO);
	assert_int_equal(vnet_open_vhost_user("/no", &o, &v), -EOPNOTSUPP);
	o.features_on = LARGE | BIT(63);
	assert_int_equal(vnet_open_vhost_user("/no", &o, &v), -EOPNOTSUPP);
	o.features_on = LARGE;
	assert_int_equal(vnet_open_vhost_user("/no", &o, &v), -ENOENT);
}

static void test_vnet_merge_large_needs_its_company(void **state)
{
	struct pair p;

	t_open(&p, LARGE, BIT(VIRTIO_NET_F_MRG_RXBUF), 0);
	assert_int_equal(vnet_features(p.v) & LARGE, 0);
	pair_close(&p);
	t_open(&p, LARGE, BIT(VIRTIO_NET_F_GUEST_CSUM), 0);
	assert_int_equal(vnet_features(p.v) & LARGE, BIT(VIRTIO_NET_F_MRG_RXBUF));
	pair_close(&p);
	t_open(&p, LARGE, BIT(VIRTIO_NET_F_GUEST_TSO6), 0);
	assert_int_equal(vnet_features(p.v) & LARGE,
			 BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_GUEST_TSO4));
	pair_close(&p);
}

static void test_vnet_merge_large_needs_a_queue_that_holds_a_frame(void **state)
{
	struct vnet_opts o = { .sz = sizeof(o), .features_on = LARGE, .queue_size = 32 };
	struct pair p = { 0 };

	snprintf(p.path, sizeof(p.path), "/tmp/test_vnet_merge.%d", (int)getpid());
	assert_int_equal(vhostbe_create(p.path, NULL, &p.be), 0);
	o.wait = pair_step;
	o.wait_arg = &p.be;
	assert_int_equal(vnet_open_vhost_user(p.path, &o, &p.v), -EINVAL);
	o.features_on = BIT(VIRTIO_NET_F_MRG_RXBUF);
	assert_int_equal(vnet_open_vhost_user(p.path, &o, &p.v), 0);
	pair_close(&p);
}

/* ---------------------------------------------------------- a device that lies --- */

struct liar {
	struct vtrans_fake *f;
	struct vnet *v;
	unsigned int at;	/* where it is in the ring, free-running */
};

static void t_liar(struct liar *l)
{
	struct vnet_opts o = { .sz = sizeof(o), .features_on = LARGE, .arena_bytes = 8192 };

	*l = (struct liar){ .f = vtrans_fake_create() };
	l->f->queue_size[RX] = 64;
	l->f->offered |= LARGE | extra;
	assert_int_equal(vnet_create(&l->f->dev, &o, &l->v), 0);
}

static struct virtio_net_hdr_v1 *t_hdr(struct liar *l, unsigned int i)
{
	unsigned int d = (l->at + i) & 63;

	if (!extra)
		d = vtrans_fake_avail(l->f, RX)->ring[d];
	/* The address is at the same place in descriptors of both kinds. */
	return vtrans_fake_va(l->f, vtrans_fake_desc(l->f, RX)[d].addr);
}

/* Entry @i of the frame is used, with the id that it has, or with that of entry @as. */
static void t_use_as(struct liar *l, unsigned int i, unsigned int as, uint32_t len)
{
	if (extra)
		vtrans_fake_use_packed(l->f, RX, l->at + i, vtrans_fake_packed(l->f, RX)[(l->at + as) & 63].id, len);
	else
		vtrans_fake_use(l->f, RX, vtrans_fake_avail(l->f, RX)->ring[(l->at + as) & 63], len);
}

/* A frame of @nr buffers, all full but the last, of which @claimed are claimed. */
static void t_send(struct liar *l, unsigned int nr, unsigned int claimed, uint32_t last_len)
{
	struct virtio_net_hdr_v1 *h = t_hdr(l, 0);
	unsigned int i;

	memset(h, 0, sizeof(*h));
	h->num_buffers = (uint16_t)claimed;
	for (i = 0; i < nr; i++)
		t_use_as(l, i, i, i + 1 < nr ? FULL : last_len);
}

static void t_stopped(struct liar *l, const char *word)
{
	struct vnet_rx rx[64];
	const char *why = NULL;

	assert_int_equal(vnet_rx_burst(l->v, rx, 64), 0);
	assert_int_equal(vnet_error(l->v, &why), -EIO);
	if (!strstr(why, word))
		fail_msg("reason \"%s\" lacks \"%s\"", why, word);
	assert_int_equal(l->f->resets, 1);
	/* Nothing is lost: after a restart all buffers are with the device again. */
	assert_int_equal(vnet_restart(l->v, NULL, NULL), 0);
	assert_int_equal(vnet_rx_room(l->v), 64);
	vnet_close(l->v);
}

static void test_vnet_merge_lies_about_the_number(void **state)
{
	static const struct { unsigned int nr, claimed; const char *why; } lie[] = {
		{ 1, 0, "takes 0 buffers" }, { 1, 34, "takes 34 buffers" }, { 40, 34, "takes 34" },
		{ 1, 65535, "takes 65535" }, { 1, 256, "takes 256" }, { 1, 2, "has used 1" },
		{ 2, 3, "has used 2" }, { 32, 33, "has used 32" },
	};
	unsigned int i;

	for (i = 0; i < sizeof(lie) / sizeof(lie[0]); i++) {
		struct liar l;

		t_liar(&l);
		t_send(&l, lie[i].nr, lie[i].claimed, FULL);
		t_stopped(&l, lie[i].why);
	}
}

static void test_vnet_merge_lies_about_lengths(void **state)
{
	static const uint32_t bad[] = { 0, FULL + 1, 4096, 0x10000, 0x80000000u, UINT32_MAX };
	unsigned int i;
	struct liar l;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		t_liar(&l);
		t_send(&l, 3, 3, bad[i]);
		t_stopped(&l, "device wrote");
		t_liar(&l);	/* the first, and only one */
		t_send(&l, 1, 1, bad[i]);
		t_stopped(&l, "device wrote");
	}
	t_liar(&l);	/* less than the header */
	t_send(&l, 1, 1, 11);
	t_stopped(&l, "device wrote 11 bytes");
	for (i = 0; i < 3; i++) {	/* a gap in the middle */
		unsigned int k;

		t_liar(&l);
		t_hdr(&l, 0)->num_buffers = 4;
		for (k = 0; k < 4; k++)
			t_use_as(&l, k, k, k == i ? FULL - 1 : FULL);
		t_stopped(&l, "went on in the next");
	}
	t_liar(&l);	/* each buffer is right, all of them are too many */
	t_send(&l, 33, 33, FULL);
	t_stopped(&l, "frame of 67506 bytes");
	t_liar(&l);	/* the longest */
	t_send(&l, 33, 33, VNET_RX_LARGE_MAX_BYTES + 12 - 32 * FULL + 1);
	t_stopped(&l, "frame of 65594 bytes");
}

/* The same buffer twice in one frame, or one that is not outstanding. */
static void test_vnet_merge_lies_about_ids(void **state)
{
	struct vnet_rx rx[64];
	struct liar l;
	unsigned int i;

	t_liar(&l);
	t_hdr(&l, 0)->num_buffers = 3;
	t_use_as(&l, 0, 0, FULL);
	t_use_as(&l, 1, 1, FULL);
	t_use_as(&l, 2, 0, FULL);
	t_stopped(&l, "not outstanding");

	t_liar(&l);
	t_hdr(&l, 0)->num_buffers = 2;
	t_use_as(&l, 0, 0, FULL);
	if (extra)
		vtrans_fake_use_packed(l.f, RX, 1, 64, FULL);
	else
		vtrans_fake_use(l.f, RX, 64, FULL);
	t_stopped(&l, "not outstanding");

	/* All 64 used, and then one more. */
	t_liar(&l);
	for (i = 0; i < 64; i++)
		t_hdr(&l, i)->num_buffers = 1;
	for (i = 0; i < 64; i++)
		t_use_as(&l, i, i, 100);
	assert_int_equal(vnet_rx_burst(l.v, rx, 64), 64);
	for (i = 0; i < 64; i++)
		vnet_rx_release(l.v, rx[i].id);
	t_use_as(&l, 64, 0, 100);
	t_stopped(&l, "ran ahead");
}

/* What no driver could use is dropped with all its buffers, and the next frame is there. */
static void test_vnet_merge_drops_what_was_not_negotiated(void **state)
{
	static const uint8_t gso[] = { 2, 3, 5, 7, 8, 0x81, 0x84, 0xff };
	struct vnet_rx rx[64];
	struct liar l;
	unsigned int i;

	t_liar(&l);
	for (i = 0; i < sizeof(gso); i++) {
		t_send(&l, 5, 5, 1);
		t_hdr(&l, 0)->gso_type = gso[i];
		l.at += 5;
		t_send(&l, 1, 1, 12 + 13);	/* a runt */
		l.at += 1;
		t_send(&l, 1, 1, 200);		/* in a single buffer */
		t_hdr(&l, 0)->gso_type = gso[i];
		l.at += 1;
		t_send(&l, 2, 2, 1);
		l.at += 2;
		assert_int_equal(vnet_rx_burst(l.v, rx, 64), 2);
		assert_int_equal(rx[0].len, FULL - 12);
		assert_int_equal(rx[1].len, 1);
		vnet_rx_release(l.v, rx[0].id);
		vnet_rx_release(l.v, rx[1].id);
		vnet_rx_flush(l.v);
		assert_int_equal(vnet_rx_room(l.v), 64);
		assert_int_equal(vnet_stats(l.v)->rx_bad, 3 * (i + 1));
	}
	assert_int_equal(vnet_error(l.v, NULL), 0);
	vnet_close(l.v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vnet_merge_frames_of_all_lengths),
		cmocka_unit_test(test_vnet_merge_packets_between_large_frames),
		cmocka_unit_test(test_vnet_merge_tells_why_nothing_is_joined),
		cmocka_unit_test(test_vnet_merge_frame_that_does_not_fit_waits),
		cmocka_unit_test(test_vnet_merge_too_few_buffers_drop_the_whole_frame),
		cmocka_unit_test(test_vnet_merge_is_not_negotiated_unasked),
		cmocka_unit_test(test_vnet_merge_large_needs_its_company),
		cmocka_unit_test(test_vnet_merge_large_needs_a_queue_that_holds_a_frame),
		cmocka_unit_test(test_vnet_merge_lies_about_the_number),
		cmocka_unit_test(test_vnet_merge_lies_about_lengths),
		cmocka_unit_test(test_vnet_merge_lies_about_ids),
		cmocka_unit_test(test_vnet_merge_drops_what_was_not_negotiated),
	};
	int failed = cmocka_run_group_tests_name("split", tests, NULL, NULL);

	extra = BIT(VIRTIO_F_RING_PACKED);
	return failed + cmocka_run_group_tests_name("packed", tests, NULL, NULL);
}
