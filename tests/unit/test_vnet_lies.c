// SPDX-License-Identifier: MIT
/*
 * vnet and a device that lies: each lie alone with all else right, then random
 * ones.  The driver must stop with a reason, have reset the device before it
 * lets go of memory (the fake device aborts otherwise), and neither leak nor
 * touch what is not its own (ASan).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <linux/virtio_config.h>

#include "nomdrv/vnet.h"
#include "../../userdrivers/src/vtrans_fake.h"

#define BIT(n)	(1ULL << (n))
#define RX	0
#define TX	1

static struct vnet *t_create(struct vtrans_fake *f)
{
	struct vnet_opts o = { .sz = sizeof(o), .arena_bytes = 4 << 20 };
	struct vnet *v = NULL;

	assert_int_equal(vnet_create(&f->dev, &o, &v), 0);
	assert_non_null(v);
	return v;
}

static int t_create_err(struct vtrans_fake *f)
{
	struct vnet *v = NULL;
	int err = vnet_create(&f->dev, NULL, &v);

	if (!err) {
		vnet_close(v);
		return 0;
	}
	assert_null(v);
	assert_false(f->dma_live);
	assert_false(f->started);
	nomdrv_dev_destroy(&f->dev);
	return err;
}

/* Stopped once, for good, with a reason that says @word; closing works. */
static void t_stopped(struct vnet *v, struct vtrans_fake *f, const char *word)
{
	const char *why = NULL;
	uint8_t buf[64] = { 0 };
	struct vnet_seg seg = { buf, sizeof(buf) };
	struct vnet_rx rx[8];
	bool destroyed = false;

	assert_int_equal(vnet_error(v, &why), -EIO);
	assert_non_null(why);
	if (!strstr(why, word))
		fail_msg("reason \"%s\" lacks \"%s\"", why, word);
	assert_int_equal(f->resets, 1);
	assert_false(f->started);
	assert_int_equal(vnet_rx_burst(v, rx, 8), 0);
	assert_int_equal(vnet_rx_pending(v), 0);
	assert_int_equal(vnet_tx_copy(v, &seg, 1, 0, 0), -EIO);
	assert_int_equal(vnet_tx_room(v), 0);
	assert_false(vnet_irq_arm(v));
	vnet_rx_flush(v);
	vnet_tx_flush(v);
	vnet_tx_reap(v, NULL, NULL);
	assert_int_equal(vnet_check(v), -EIO);
	f->destroyed = &destroyed;
	vnet_close(v);
	assert_true(destroyed);
}

/* --------------------------------------------------------------- set-up --- */

static void test_vnet_honest_device_works(void **state)
{
	struct vtrans_fake *f = vtrans_fake_create();
	struct vnet *v = t_create(f);
	struct vnet_rx rx;
	uint8_t *buf;
	unsigned int i;

	assert_int_equal(vtrans_fake_avail(f, RX)->idx, 8);
	assert_int_equal(f->kicks[RX], 1);
	for (i = 0; i < 100; i++) {
		uint16_t id = vtrans_fake_avail(f, RX)->ring[i & 7];
		struct vring_desc *d = &vtrans_fake_desc(f, RX)[id];

		assert_int_equal(d->flags, VRING_DESC_F_WRITE);
		assert_int_equal(d->len, 2046);
		buf = vtrans_fake_va(f, d->addr);
		assert_non_null(buf);
		memset(buf, 0, 12);
		memset(buf + 12, (int)i, 100);
		vtrans_fake_use(f, RX, id, 112);
		assert_int_equal(vnet_rx_burst(v, &rx, 1), 1);
		assert_ptr_equal(rx.data, buf + 12);
		assert_int_equal(rx.len, 100);
		vnet_rx_release(v, rx.id);
		vnet_rx_flush(v);
	}
	assert_int_equal(f->resets, 0);
	vnet_close(v);
}

static void test_vnet_bad_queue_sizes_are_refused(void **state)
{
	static const unsigned int sizes[] = { 0, 1, 3, 7, 100, 32769, 65535, 65536, UINT32_MAX };
	unsigned int i, q;

	for (q = 0; q < 2; q++) {
		for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			struct vtrans_fake *f = vtrans_fake_create();

			f->queue_size[q] = sizes[i];
			assert_int_equal(t_create_err(f), -EPROTO);
		}
	}
}

static void test_vnet_smallest_queue_works(void **state)
{
	struct vtrans_fake *f = vtrans_fake_create();
	uint8_t buf[300] = { 0 };
	struct vnet_seg seg = { buf, sizeof(buf) };
	struct vnet_tx tx = { .seg = &seg, .nr_seg = 1 };
	struct vnet_seg two[2];
	struct vnet *v;

	f->queue_size[0] = f->queue_size[1] = 2;
	v = t_create(f);
	assert_int_equal(vnet_tx_copy(v, &seg, 1, 0, 0), 0);
	two[0] = two[1] = (struct vnet_seg){ vnet_dma_alloc(v, 300, 64), 300 };
	tx.seg = two;
	tx.nr_seg = 2;	/* three descriptors: can never be sent */
	assert_int_equal(vnet_tx(v, &tx), -EINVAL);
	tx.nr_seg = 1;
	assert_int_equal(vnet_tx(v, &tx), -EAGAIN);
	vnet_close(v);
}

static void test_vnet_mtu_is_bounded(void **state)
{
	struct vtrans_fake *f = vtrans_fake_create();
	struct vnet *v;

	f->config.mtu = 67;
	assert_int_equal(t_create_err(f), -EPROTO);
	f = vtrans_fake_create();
	f->config.mtu = 0;
	assert_int_equal(t_create_err(f), -EPROTO);

	f = vtrans_fake_create();
	f->config.mtu = 68;
	v = t_create(f);
	assert_int_equal(vnet_mtu(v), 68);
	vnet_close(v);

	f = vtrans_fake_create();
	f->config.mtu = 2016;
	v = t_create(f);
	assert_int_equal(vnet_mtu(v), 2016);
	vnet_close(v);

	f = vtrans_fake_create();
	f->config.mtu = 9000;
	v = t_create(f);
	assert_int_equal(vnet_mtu(v), 1500);
	assert_false(vnet_features(v) & BIT(VIRTIO_NET_F_MTU));
	vnet_close(v);
}

static void test_vnet_only_known_features_are_negotiated(void **state)
{
	struct vtrans_fake *f = vtrans_fake_create();
	uint64_t bad = BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) |
		BIT(VIRTIO_NET_F_GUEST_UFO) | BIT(VIRTIO_NET_F_MRG_RXBUF) |
		BIT(VIRTIO_NET_F_CTRL_VQ) |
		BIT(VIRTIO_NET_F_GUEST_USO4) | BIT(VIRTIO_NET_F_GUEST_USO6) |
		BIT(VIRTIO_NET_F_HASH_REPORT) | BIT(63) | BIT(50);
	struct vnet *v;

	f->offered = ~0ULL;
	v = t_create(f);
	assert_true(vnet_features(v) & BIT(VIRTIO_NET_F_HOST_USO));
	assert_string_equal(vnet_feature_reason(v, VIRTIO_NET_F_HOST_USO), "negotiated");
	assert_string_equal(vnet_feature_reason(v, VIRTIO_NET_F_GUEST_USO4), "the application did not ask for it, or forbade it");
	assert_string_equal(vnet_feature_reason(v, VIRTIO_NET_F_HASH_REPORT), "the driver does not use it");
	assert_string_equal(vnet_feature_reason(v, 50), "the driver does not use it");
	assert_string_equal(vnet_feature_reason(v, 64), "the device does not offer it");
	assert_int_equal(vnet_features(v) & bad, 0);
	assert_true(vnet_features(v) & BIT(VIRTIO_F_ACCESS_PLATFORM));
	assert_true(vnet_features(v) & BIT(VIRTIO_F_ORDER_PLATFORM));
	assert_true(vnet_features(v) & BIT(VIRTIO_RING_F_EVENT_IDX));
	vnet_close(v);

	/* Segmentation without sums makes no sense, and to join neither, nor without buffers for it. */
	f = vtrans_fake_create();
	f->offered = ~BIT(VIRTIO_NET_F_CSUM);
	v = t_create(f);
	assert_false(vnet_features(v) & (BIT(VIRTIO_NET_F_HOST_USO) | BIT(VIRTIO_NET_F_HOST_TSO6)));
	assert_string_equal(vnet_feature_reason(v, VIRTIO_NET_F_HOST_USO), "needs VIRTIO_NET_F_CSUM, which is not negotiated");
	vnet_close(v);
	f = vtrans_fake_create();
	f->offered = ~(BIT(VIRTIO_NET_F_HOST_USO) | BIT(VIRTIO_NET_F_GUEST_CSUM));
	v = t_create(f);
	assert_string_equal(vnet_feature_reason(v, VIRTIO_NET_F_HOST_USO), "the device does not offer it");
	vnet_close(v);

	f = vtrans_fake_create();
	f->offered &= ~BIT(VIRTIO_F_VERSION_1);
	assert_int_equal(t_create_err(f), -EOPNOTSUPP);
}

static void test_vnet_without_a_mac_makes_a_local_one(void **state)
{
	struct vtrans_fake *f = vtrans_fake_create();
	struct vnet *v;

	f->offered &= ~BIT(VIRTIO_NET_F_MAC);
	v = t_create(f);
	assert_int_equal(vnet_mac(v)[0] & 3, 2);
	vnet_close(v);
}

static void test_vnet_impossible_macs_are_refused(void **state)
{
	static const uint8_t macs[][6] = {
		{ 0 }, { 1, 0, 0x5e, 0, 0, 1 }, { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
	};
	struct vnet_opts o = { .sz = sizeof(o), .mac = { 2, 0, 0, 0, 0, 1 } };
	struct vtrans_fake *f;
	struct vnet *v = NULL;
	unsigned int i;

	for (i = 0; i < sizeof(macs) / sizeof(macs[0]); i++) {
		f = vtrans_fake_create();
		memcpy(f->config.mac, macs[i], 6);
		assert_int_equal(t_create_err(f), -EPROTO);
	}
	f = vtrans_fake_create();	/* what the user says counts, not the device's nonsense */
	memset(f->config.mac, 0xff, 6);
	assert_int_equal(vnet_create(&f->dev, &o, &v), 0);
	assert_memory_equal(vnet_mac(v), o.mac, 6);
	vnet_close(v);
}

static void test_vnet_each_failure_of_set_up_leaves_nothing(void **state)
{
	unsigned int op, skip;

	for (op = FAKE_PROBE; op < FAKE_NR_OPS; op++) {
		for (skip = 0; skip < 8; skip++) {
			struct vtrans_fake *f = vtrans_fake_create();
			int err;

			f->fail_op = op;
			f->fail_skip = skip;
			err = t_create_err(f);
			if (!err) {
				assert_true(skip > 0);	/* each function is called at least once */
				break;
			}
			/* A lost device is one the driver stopped itself. */
			assert_int_equal(err, op == FAKE_STATUS ? -EIO : -ENXIO);
		}
	}
}

/* Linked with --wrap: the allocation that is to fail, counted down; -1: none. */
static int fail_alloc = -1;

void *__real_calloc(size_t n, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);

static bool t_alloc_fails(void)
{
	return fail_alloc >= 0 && fail_alloc-- == 0;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return t_alloc_fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return t_alloc_fails() ? NULL : __real_aligned_alloc(align, size);
}

static void test_vnet_each_allocation_that_fails_leaves_nothing(void **state)
{
	int nth, err = -ENOMEM;

	for (nth = 0; err; nth++) {
		struct vtrans_fake *f = vtrans_fake_create();

		fail_alloc = nth;
		err = t_create_err(f);
		fail_alloc = -1;
		if (err)
			assert_int_equal(err, -ENOMEM);
	}
	assert_true(nth > 8);	/* the vnet, memory, two rings, five arrays */
}

/* ---------------------------------------------------------------- receive --- */

static void test_vnet_rx_index_ahead(void **state)
{
	static const unsigned int ahead[] = { 9, 10, 0x7fff, 0x8000, 0xffff };
	unsigned int i;

	for (i = 0; i < sizeof(ahead) / sizeof(ahead[0]); i++) {
		struct vtrans_fake *f = vtrans_fake_create();
		struct vnet *v = t_create(f);
		struct vnet_rx rx[8];

		vtrans_fake_used(f, RX)->idx = (uint16_t)ahead[i];
		assert_int_equal(vnet_rx_pending(v), 1);	/* come and look */
		assert_int_equal(vnet_rx_room(v), 0);
		assert_int_equal(vnet_rx_burst(v, rx, 8), 0);
		t_stopped(v, f, "ran ahead");
	}
}

static void test_vnet_rx_index_ahead_of_what_is_posted(void **state)
{
	struct vtrans_fake *f = vtrans_fake_create();
	struct vnet_opts o = { .sz = sizeof(o), .arena_bytes = 4096, .nr_bufs = 8 };
	struct vnet *v = NULL;
	struct vnet_rx rx[9];
	unsigned int i;

	assert_int_equal(vnet_create(&f->dev, &o, &v), 0);
	for (i = 0; i < 8; i++)
		vtrans_fake_use(f, RX, i, 100);
	assert_int_equal(vnet_rx_burst(v, rx, 8), 8);
	vtrans_fake_use(f, RX, 0, 100);	/* within the ring's size, but nothing is posted */
	assert_int_equal(vnet_rx_burst(v, rx + 8, 1), 0);
	for (i = 0; i < 8; i++)
		vnet_rx_release(v, rx[i].id);	/* held buffers stay good */
	t_stopped(v, f, "ran ahead");
}

static void test_vnet_rx_bad_ids(void **state)
{
	static const uint32_t ids[] = { 8, 100, 0x10000, 0x10000 + 3, UINT32_MAX };
	unsigned int i;

	for (i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		struct vtrans_fake *f = vtrans_fake_create();
		struct vnet *v = t_create(f);
		struct vnet_rx rx[8];

		vtrans_fake_use(f, RX, 2, 100);
		vtrans_fake_use(f, RX, ids[i], 100);
		vtrans_fake_use(f, RX, 3, 100);
		/* The frame before the lie is good. */
		assert_int_equal(vnet_rx_burst(v, rx, 8), 1);
		assert_int_equal(rx[0].len, 88);
		vnet_rx_release(v, rx[0].id);
		t_stopped(v, f, "not outstanding");
	}
}

static void test_vnet_rx_same_id_twice(void **state)
{
	struct vtrans_fake *f = vtrans_fake_create();
	struct vnet *v = t_create(f);
	struct vnet_rx rx[8];

	vtrans_fake_use(f, RX, 5, 100);
	vtrans_fake_use(f, RX, 5, 100);
	assert_int_equal(vnet_rx_burst(v, rx, 8), 1);
	t_stopped(v, f, "not outstanding");	/* rx[0] stays held: close takes it back */
}

static void test_vnet_rx_bad_lengths(void **state)
{
	static const uint32_t lens[] = { 0, 1, 11, 2047, 2048, 4096, 0x80000000u, UINT32_MAX,
					 UINT32_MAX - 11 };
	unsigned int i;

	for (i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		struct vtrans_fake *f = vtrans_fake_create();
		struct vnet *v = t_create(f);
		struct vnet_rx rx[8];

		vtrans_fake_use(f, RX, 1, lens[i]);
		assert_int_equal(vnet_rx_burst(v, rx, 8), 0);
		t_stopped(v, f, "device wrote");
	}
}

static void test_vnet_rx_longest_and_shortest_frame(void **state)
{
	struct vtrans_fake *f = vtrans_fake_create();
	struct vnet *v = t_create(f);
	struct vnet_rx rx[8];

	vtrans_fake_use(f, RX, 1, 2046);
	vtrans_fake_use(f, RX, 2, 12);	/* an empty frame: dropped, no lie */
	vtrans_fake_use(f, RX, 3, 26);
	assert_int_equal(vnet_rx_burst(v, rx, 8), 2);
	assert_int_equal(rx[0].len, VNET_FRAME_MAX_BYTES);
	memset(rx[0].data, 0, rx[0].len);
	assert_int_equal(rx[1].len, 14);
	assert_int_equal(vnet_stats(v)->rx_bad, 1);
	assert_int_equal(vnet_error(v, NULL), 0);
	vnet_close(v);
}

static void test_vnet_rx_offloads_never_negotiated(void **state)
{
	struct vtrans_fake *f = vtrans_fake_create();
	struct virtio_net_hdr_v1 *h;
	struct vnet_rx rx[8];
	struct vnet *v;

	f->offered &= ~BIT(VIRTIO_NET_F_GUEST_CSUM);
	v = t_create(f);
	h = vtrans_fake_va(f, vtrans_fake_desc(f, RX)[0].addr);
	h->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	vtrans_fake_use(f, RX, 0, 100);
	h = vtrans_fake_va(f, vtrans_fake_desc(f, RX)[1].addr);
	h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID;
	h->csum_start = h->csum_offset = 0xffff;
	vtrans_fake_use(f, RX, 1, 100);
	/* Segmentation is dropped; a vouching that was not agreed on counts for nothing. */
	assert_int_equal(vnet_rx_burst(v, rx, 8), 1);
	assert_int_equal(rx[0].flags, 0);
	assert_int_equal(vnet_stats(v)->rx_bad, 1);
	vnet_close(v);
}

/* --------------------------------------------------------------- transmit --- */

static void t_done(void *cookie, void *arg)
{
	(*(unsigned int *)cookie)++;
	if (arg)
		(*(unsigned int *)arg)++;
}

static void t_tx_lie(uint32_t id, unsigned int idx_ahead, const char *word)
{
	struct vtrans_fake *f = vtrans_fake_create();
	struct vnet *v = t_create(f);
	unsigned int cookie = 0, calls = 0, i;
	uint8_t buf[64] = { 0 };
	struct vnet_seg seg = { buf, sizeof(buf) };
	struct vnet_tx tx = { .seg = &seg, .nr_seg = 1, .cookie = &cookie };

	for (i = 0; i < 4; i++)
		assert_int_equal(vnet_tx(v, &tx), 0);
	vnet_tx_flush(v);
	assert_int_equal(vnet_tx(v, &tx), 0);	/* queued, not announced */
	if (idx_ahead)
		vtrans_fake_used(f, TX)->idx = (uint16_t)idx_ahead;
	else
		vtrans_fake_use(f, TX, id, 0);
	/* The cookies come back, each once, although the device lied. */
	vnet_tx_reap(v, t_done, &calls);
	assert_int_equal(calls, 5);
	assert_int_equal(cookie, 5);
	vnet_tx_reap(v, t_done, &calls);
	assert_int_equal(calls, 5);
	t_stopped(v, f, word);
}

static void test_vnet_tx_lies(void **state)
{
	t_tx_lie(8, 0, "not outstanding");
	t_tx_lie(UINT32_MAX, 0, "not outstanding");
	t_tx_lie(6, 0, "not outstanding");
	t_tx_lie(0, 5, "ran ahead");	/* the fifth was never announced */
	t_tx_lie(0, 9, "ran ahead");
	t_tx_lie(0, 0xffff, "ran ahead");
}

static void test_vnet_tx_completes_out_of_order(void **state)
{
	struct vtrans_fake *f = vtrans_fake_create();
	struct vnet *v = t_create(f);
	unsigned int cookie[8] = { 0 }, i;
	uint8_t buf[64] = { 0 };
	struct vnet_seg seg = { buf, sizeof(buf) };
	struct vnet_tx tx = { .seg = &seg, .nr_seg = 1 };

	for (i = 0; i < 8; i++) {
		tx.cookie = &cookie[i];
		assert_int_equal(vnet_tx(v, &tx), 0);
	}
	vnet_tx_flush(v);
	for (i = 8; i-- > 0;) {
		vtrans_fake_use(f, TX, vtrans_fake_avail(f, TX)->ring[i], 0);
		assert_int_equal(vnet_tx_reap(v, t_done, NULL), 1);
		assert_int_equal(cookie[i], 1);
	}
	assert_int_equal(vnet_tx_room(v), 8);
	vnet_close(v);
}

static void test_vnet_tx_splits_at_a_break_of_memory(void **state)
{
	struct vtrans_fake *f = vtrans_fake_create();
	struct vnet *v = t_create(f);
	struct vnet_seg seg = { NULL, 1000 };
	struct vnet_tx tx = { .seg = &seg, .nr_seg = 1 };
	struct vring_desc *d = vtrans_fake_desc(f, TX);
	uint8_t *base, *brk;
	uint16_t id;
	unsigned int i;

	base = vnet_dma_alloc(v, 4 << 20, 1);	/* contains at least one boundary */
	brk = (uint8_t *)(((uintptr_t)base + NOMDRV_CHUNK_BYTES) & ~(NOMDRV_CHUNK_BYTES - 1));
	seg.addr = brk - 400;
	for (i = 0; i < 1000; i++)
		(brk - 400)[i] = (uint8_t)i;
	assert_int_equal(vnet_tx(v, &tx), 0);
	assert_int_equal(vnet_tx_room(v), 5);
	id = vtrans_fake_avail(f, TX)->ring[0];
	assert_int_equal(d[id].len, 12);
	assert_int_equal(d[id].flags, VRING_DESC_F_NEXT);
	id = d[id].next;
	assert_int_equal(d[id].len, 400);
	assert_ptr_equal(vtrans_fake_va(f, d[id].addr), brk - 400);
	assert_int_equal(d[id].flags, VRING_DESC_F_NEXT);
	id = d[id].next;
	assert_int_equal(d[id].len, 600);
	assert_ptr_equal(vtrans_fake_va(f, d[id].addr), brk);
	assert_int_equal(d[id].flags, 0);
	vnet_close(v);

	/* The same where memory continues: one descriptor. */
	f = vtrans_fake_create();
	f->contiguous = true;
	v = t_create(f);
	base = vnet_dma_alloc(v, 4 << 20, 1);
	brk = (uint8_t *)(((uintptr_t)base + NOMDRV_CHUNK_BYTES) & ~(NOMDRV_CHUNK_BYTES - 1));
	seg.addr = brk - 400;
	assert_int_equal(vnet_tx(v, &tx), 0);
	assert_int_equal(vnet_tx_room(v), 6);
	vnet_close(v);
}

/* ----------------------------------------------------------------- packed --- */

static struct vnet *t_create_packed(struct vtrans_fake *f, uint64_t more)
{
	f->offered |= BIT(VIRTIO_F_RING_PACKED) | more;
	return t_create(f);
}

static void test_vnet_in_order_needs_packed(void **state)
{
	struct vtrans_fake *f = vtrans_fake_create();
	struct vnet *v;

	f->offered |= BIT(VIRTIO_F_IN_ORDER);
	v = t_create(f);
	assert_false(vnet_features(v) & BIT(VIRTIO_F_IN_ORDER));
	vnet_close(v);
	f = vtrans_fake_create();
	v = t_create_packed(f, BIT(VIRTIO_F_IN_ORDER));
	assert_true(vnet_features(v) & BIT(VIRTIO_F_IN_ORDER));
	vnet_close(v);
}

static void test_vnet_packed_lies_in_receive(void **state)
{
	static const struct { uint32_t id, len; const char *word; } lie[] = {
		{ 8, 100, "not outstanding" }, { 0xffff, 100, "not outstanding" },
		{ 2, 0, "device wrote" }, { 2, 11, "device wrote" }, { 2, 2047, "device wrote" },
		{ 2, UINT32_MAX, "device wrote" }, { 0, 100, "not outstanding" /* a second time */ },
	};
	unsigned int i;

	for (i = 0; i < sizeof(lie) / sizeof(lie[0]); i++) {
		struct vtrans_fake *f = vtrans_fake_create();
		struct vnet *v = t_create_packed(f, 0);
		struct vnet_rx rx[8];

		vtrans_fake_use_packed(f, RX, 0, 0, 100);
		vtrans_fake_use_packed(f, RX, 1, lie[i].id, lie[i].len);
		vtrans_fake_use_packed(f, RX, 2, 3, 100);
		assert_int_equal(vnet_rx_burst(v, rx, 8), 1);
		assert_int_equal(rx[0].len, 88);
		t_stopped(v, f, lie[i].word);
	}
}

static void test_vnet_packed_device_runs_ahead(void **state)
{
	struct vtrans_fake *f = vtrans_fake_create();
	struct vnet_opts o = { .sz = sizeof(o), .arena_bytes = 4096, .nr_bufs = 8 };
	struct vnet *v = NULL;
	struct vnet_rx rx[16];
	unsigned int i;

	f->offered |= BIT(VIRTIO_F_RING_PACKED);
	assert_int_equal(vnet_create(&f->dev, &o, &v), 0);
	for (i = 0; i < 8; i++)
		vtrans_fake_use_packed(f, RX, i, i, 100);
	assert_int_equal(vnet_rx_pending(v), 8);
	assert_int_equal(vnet_rx_burst(v, rx, 8), 8);
	vtrans_fake_use_packed(f, RX, 8, 0, 100);	/* nothing is posted */
	assert_int_equal(vnet_rx_pending(v), 1);
	assert_int_equal(vnet_rx_room(v), 0);
	assert_int_equal(vnet_rx_burst(v, rx + 8, 8), 0);
	t_stopped(v, f, "ran ahead");

	f = vtrans_fake_create();
	v = t_create_packed(f, 0);
	vtrans_fake_use_packed(f, TX, 0, 0, 0);
	assert_int_equal(vnet_tx_reap(v, NULL, NULL), 0);
	t_stopped(v, f, "ran ahead");
}

static void t_packed_tx_lie(uint64_t more, uint32_t id, bool lie)
{
	struct vtrans_fake *f = vtrans_fake_create();
	struct vnet *v = t_create_packed(f, more);
	unsigned int cookie = 0, calls = 0, i;
	struct vnet_seg seg[2] = { { vnet_dma_alloc(v, 400, 64), 60 } };
	struct vnet_tx tx = { .seg = seg, .nr_seg = 2, .cookie = &cookie };

	seg[1] = (struct vnet_seg){ (const uint8_t *)seg[0].addr + 64, 300 };
	for (i = 0; i < 3; i++)		/* two descriptors each, at 0, 2, 4 */
		assert_int_equal(vnet_tx(v, &tx), 0);
	assert_int_equal(vtrans_fake_packed(f, TX)[0].flags, 0);	/* not announced */
	vnet_tx_flush(v);
	assert_int_equal(vtrans_fake_packed(f, TX)[0].flags, 1u << 7 | VRING_DESC_F_NEXT);
	assert_int_equal(vtrans_fake_packed(f, TX)[1].flags, 1u << 7);
	assert_int_equal(vnet_tx(v, &tx), 0);	/* at 6, queued only */
	vtrans_fake_use_packed(f, TX, 0, id, 0);
	vnet_tx_reap(v, t_done, &calls);
	if (lie) {
		assert_int_equal(calls, 4);
		assert_int_equal(cookie, 4);
		t_stopped(v, f, "not outstanding");
	} else {
		assert_int_equal(vnet_error(v, NULL), 0);
		assert_int_equal(calls, more ? 1 + id / 2 : 1);
		vnet_stop(v);
		vnet_tx_reap(v, t_done, &calls);
		assert_int_equal(calls, 4);
		vnet_close(v);
	}
}

static void test_vnet_packed_lies_in_transmit(void **state)
{
	t_packed_tx_lie(0, 8, true);
	t_packed_tx_lie(0, 0xffff, true);
	t_packed_tx_lie(0, 7, true);
	t_packed_tx_lie(0, 2, false);	/* any chain may be first */
	t_packed_tx_lie(BIT(VIRTIO_F_IN_ORDER), 0, false);
	t_packed_tx_lie(BIT(VIRTIO_F_IN_ORDER), 4, false);	/* and so the two before it */
	t_packed_tx_lie(BIT(VIRTIO_F_IN_ORDER), 1, true);	/* no head */
	t_packed_tx_lie(BIT(VIRTIO_F_IN_ORDER), 6, true);	/* not announced */
}

/* ----------------------------------------------------------------- health --- */

static void test_vnet_needs_reset_stops(void **state)
{
	struct vtrans_fake *f = vtrans_fake_create();
	struct vnet *v = t_create(f);

	assert_int_equal(vnet_check(v), 0);
	f->status_bits = VIRTIO_CONFIG_S_NEEDS_RESET | 0xf;
	assert_int_equal(vnet_check(v), -EIO);
	t_stopped(v, f, "asks for a reset");

	f = vtrans_fake_create();
	v = t_create(f);
	f->status_bits = -EIO;
	assert_int_equal(vnet_check(v), -EIO);
	t_stopped(v, f, "lost");
}

/* One sleep of the application, with @irqs interrupts and, perhaps, a frame. */
static void t_sleep(struct vnet *v, struct vtrans_fake *f, uint64_t irqs, bool frame)
{
	uint16_t at = vtrans_fake_used(f, RX)->idx;
	struct vnet_rx rx;

	assert_true(vnet_irq_arm(v));
	if (frame)
		vtrans_fake_use(f, RX, vtrans_fake_avail(f, RX)->ring[at & 7], 100);
	if (irqs)
		assert_int_equal(write(f->irq_fd, &irqs, sizeof(irqs)), sizeof(irqs));
	vnet_irq_disarm(v);
	if (vnet_rx_burst(v, &rx, 1)) {
		vnet_rx_release(v, rx.id);
		vnet_rx_flush(v);
	}
}

static void test_vnet_interrupts_without_end(void **state)
{
	struct vtrans_fake *f = vtrans_fake_create();
	int fd = f->irq_fd = eventfd(0, EFD_NONBLOCK);
	struct vnet *v = t_create(f);
	unsigned int i;

	/* With frames between them, empty ones are forgiven; sleeps without one count nothing. */
	for (i = 0; i < 30000; i++)
		t_sleep(v, f, i % 3 == 2 ? 0 : 1, i % 9000 == 0);
	for (i = 0; i < 10000; i++)
		t_sleep(v, f, 0, false);
	assert_int_equal(vnet_error(v, NULL), 0);
	t_sleep(v, f, 1, true);
	for (i = 0; !vnet_error(v, NULL); i++)
		t_sleep(v, f, 1, false);
	assert_int_equal(i, 10001);	/* the first came with the frame */
	t_stopped(v, f, "interrupts without end");
	close(fd);

	/* All at once, and more than fit into a counter of 32 bits. */
	f = vtrans_fake_create();
	fd = f->irq_fd = eventfd(0, EFD_NONBLOCK);
	v = t_create(f);
	t_sleep(v, f, 0x100000001ULL, false);
	t_stopped(v, f, "interrupts without end");
	close(fd);
}

/* A frame in: honestly, on either kind of ring, the first one of a run. */
static unsigned int t_first_frame(struct vnet *v, struct vtrans_fake *f, struct vnet_rx *rx)
{
	if (vnet_features(v) & BIT(VIRTIO_F_RING_PACKED))
		vtrans_fake_use_packed(f, RX, 0, vtrans_fake_packed(f, RX)[0].id, 100);
	else
		vtrans_fake_use(f, RX, vtrans_fake_avail(f, RX)->ring[0], 100);
	return vnet_rx_burst(v, rx, 1);
}

static void t_restart(uint64_t more)
{
	struct vtrans_fake *f = vtrans_fake_create();
	struct vnet_opts o = { .sz = sizeof(o), .arena_bytes = 4096, .nr_bufs = 10 };
	unsigned int cookie = 0, calls = 0, round, resets;
	struct vnet_rx held, rx;
	struct vnet *v = NULL;
	struct vnet_seg seg;
	struct vnet_tx tx = { .seg = &seg, .nr_seg = 1, .cookie = &cookie };
	const char *why;

	f->offered |= more;
	assert_int_equal(vnet_create(&f->dev, &o, &v), 0);
	seg = (struct vnet_seg){ vnet_dma_alloc(v, 200, 64), 200 };
	assert_int_equal(t_first_frame(v, f, &held), 1);
	memset(held.data, 0x77, held.len);
	for (round = 1; round < 40; round++) {
		resets = f->resets;
		assert_int_equal(vnet_tx(v, &tx), 0);
		vnet_tx_flush(v);
		assert_int_equal(vnet_tx(v, &tx), 0);	/* queued only */
		f->status_bits = VIRTIO_CONFIG_S_NEEDS_RESET | 0xf;
		assert_int_equal(vnet_check(v), -EIO);
		f->status_bits = 0xf;
		assert_int_equal(vnet_restart(v, t_done, &calls), 0);
		assert_int_equal(f->resets, resets + 1);
		assert_true(f->started);
		assert_int_equal(vnet_error(v, &why), 0);
		assert_null(why);
		/* All cookies are back; nothing is outstanding; the held buffer is still ours. */
		assert_int_equal(calls, 2 * round);
		assert_int_equal(vnet_tx_room(v), 8);
		assert_int_equal(vnet_rx_room(v), 8);
		assert_int_equal(((uint8_t *)held.data)[held.len - 1], 0x77);
		assert_int_equal(vnet_stats(v)->restarts, round);
		assert_int_equal(t_first_frame(v, f, &rx), 1);
		assert_int_not_equal(rx.id, held.id);
		vnet_rx_release(v, round & 1 ? held.id : rx.id);
		if (round & 1)
			held = rx;
		memset(held.data, 0x77, held.len);
		vnet_rx_flush(v);
		assert_int_equal(vnet_rx_room(v), 8);
	}
	/* Also one that runs, and one that its user stopped. */
	assert_int_equal(vnet_restart(v, t_done, &calls), 0);
	vnet_stop(v);
	assert_int_equal(vnet_restart(v, t_done, &calls), 0);
	vnet_rx_release(v, held.id);
	vnet_close(v);
}

static void test_vnet_restart_keeps_what_is_ours(void **state)
{
	t_restart(0);
	t_restart(BIT(VIRTIO_RING_F_EVENT_IDX));
	t_restart(BIT(VIRTIO_F_RING_PACKED));
	t_restart(BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_F_IN_ORDER) | BIT(VIRTIO_RING_F_EVENT_IDX));
}

/* The device comes back with less, or not at all; later it is well again. */
static void t_no_restart(struct vnet *v, struct vtrans_fake *f, int want, const char *word)
{
	const char *why = NULL;
	struct vnet_rx rx;

	assert_int_equal(vnet_restart(v, NULL, NULL), want);
	assert_false(f->started);
	assert_int_equal(vnet_error(v, &why), -EIO);
	assert_non_null(why);
	if (!strstr(why, word))
		fail_msg("reason \"%s\" lacks \"%s\"", why, word);
	assert_int_equal(vnet_rx_burst(v, &rx, 1), 0);
}

static void test_vnet_restart_of_a_lesser_device_is_refused(void **state)
{
	struct vtrans_fake *f = vtrans_fake_create();
	uint64_t offered = f->offered;
	struct vnet *v = t_create(f);
	struct vnet_rx rx;
	unsigned int op;

	f->offered &= ~BIT(VIRTIO_NET_F_CSUM);
	t_no_restart(v, f, -EPROTO, "no longer offered");
	f->offered = offered | BIT(VIRTIO_NET_F_HOST_TSO4);	/* more is no reason */
	f->queue_size[TX] = 4;
	t_no_restart(v, f, -EPROTO, "queue 1 has 4 entries, had 8");
	f->queue_size[TX] = 16;
	f->config.mtu = 1400;
	t_no_restart(v, f, -EPROTO, "MTU is 1400, was 1500");
	f->config.mtu = 9000;
	f->status_bits = VIRTIO_CONFIG_S_NEEDS_RESET;
	t_no_restart(v, f, -EIO, "asks for a reset");
	f->status_bits = 0xf;
	for (op = FAKE_PROBE; op < FAKE_NR_OPS; op++) {
		if (op == FAKE_DMA_ALLOC)
			continue;	/* the memory is there */
		f->fail_op = op;
		t_no_restart(v, f, op == FAKE_STATUS ? -EIO : -ENXIO,
			     op == FAKE_STATUS ? "lost" : "cannot be brought up");
	}
	f->fail_op = FAKE_NONE;
	assert_int_equal(vnet_restart(v, NULL, NULL), 0);
	assert_int_equal(vnet_mtu(v), 1500);
	assert_int_equal(t_first_frame(v, f, &rx), 1);
	assert_int_equal(vnet_stats(v)->restarts, 1);
	vnet_close(v);
}

static void test_vnet_rings_overwritten_by_the_device(void **state)
{
	struct vtrans_fake *f = vtrans_fake_create();
	struct vnet *v = t_create(f);
	uint8_t buf[64] = { 0 };
	struct vnet_seg seg = { buf, sizeof(buf) };
	struct vnet_rx rx;
	unsigned int i;

	/* It may write to memory it should only read: the driver never reads that back. */
	for (i = 0; i < 200; i++) {
		uint16_t id = vtrans_fake_avail(f, RX)->ring[i & 7];

		memset(vtrans_fake_desc(f, RX), 0xa5, 8 * sizeof(struct vring_desc));
		memset(vtrans_fake_desc(f, TX), 0x5a, 8 * sizeof(struct vring_desc));
		vtrans_fake_use(f, RX, id, 100);
		assert_int_equal(vnet_rx_burst(v, &rx, 1), 1);
		assert_true(vnet_dma_contains(v, rx.data, rx.len));
		vnet_rx_release(v, rx.id);
		vnet_rx_flush(v);
		assert_int_equal(vnet_tx_copy(v, &seg, 1, 0, 0), 0);
		vnet_tx_flush(v);
		vtrans_fake_use(f, TX, vtrans_fake_avail(f, TX)->ring[i & 7], 0);
		assert_int_equal(vnet_tx_reap(v, NULL, NULL), 1);
	}
	assert_int_equal(vnet_error(v, NULL), 0);
	vnet_close(v);
}

/* Random used rings; whatever happens, buffers and cookies balance. */
static void test_vnet_random_lies(void **state)
{
	unsigned int round, stopped = 0;

	srand(20260701);
	for (round = 0; round < 300; round++) {
		struct vtrans_fake *f = vtrans_fake_create();
		struct vnet *v = t_create(f);
		unsigned int queued = 0, back = 0, held = 0, cookie = 0, step;
		struct vnet_rx rx[16];
		uint8_t buf[200] = { 0 };
		struct vnet_seg seg[2] = { { buf, 60 }, { vnet_dma_alloc(v, 500, 1), 500 } };
		struct vnet_tx tx = { .seg = seg, .nr_seg = 2, .cookie = &cookie };
		bool held_id[64] = { false };

		for (step = 0; step < 100; step++) {
			unsigned int n, i, q = (unsigned int)rand() & 1;

			if (vnet_tx(v, &tx) == 0)
				queued++;
			vnet_tx_flush(v);
			if (!vnet_error(v, NULL)) {
				uint16_t posted = vtrans_fake_used(f, q)->idx;
				uint16_t id = vtrans_fake_avail(f, q)->ring[posted & 7];
				bool lie = rand() % 64 == 0;

				if (vtrans_fake_avail(f, q)->idx != posted || lie)
					vtrans_fake_use(f, q, lie ? (uint32_t)rand() % 12 : id,
							lie ? (uint32_t)rand() % 4096 :
							26 + (uint32_t)rand() % 1500);
			}
			n = vnet_rx_burst(v, rx, 16);
			for (i = 0; i < n; i++) {
				assert_true(vnet_dma_contains(v, rx[i].data, rx[i].len));
				assert_true(rx[i].len <= VNET_FRAME_MAX_BYTES);
				assert_false(held_id[rx[i].id]);
				held_id[rx[i].id] = true;
				held++;
			}
			for (i = 0; i < 64; i++) {
				if (held_id[i] && rand() % 2) {
					vnet_rx_release(v, (uint16_t)i);
					held_id[i] = false;
					held--;
				}
			}
			vnet_rx_flush(v);
			vnet_tx_reap(v, t_done, &back);
			assert_true(back <= queued);
		}
		stopped += vnet_error(v, NULL) != 0;
		vnet_stop(v);
		vnet_tx_reap(v, t_done, &back);
		assert_int_equal(back, queued);
		assert_int_equal(cookie, queued);
		assert_int_equal(f->resets, 1);
		vnet_close(v);
	}
	/* Both kinds of round happened. */
	assert_true(stopped > 20);
	assert_true(stopped < 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vnet_honest_device_works),
		cmocka_unit_test(test_vnet_bad_queue_sizes_are_refused),
		cmocka_unit_test(test_vnet_smallest_queue_works),
		cmocka_unit_test(test_vnet_mtu_is_bounded),
		cmocka_unit_test(test_vnet_only_known_features_are_negotiated),
		cmocka_unit_test(test_vnet_without_a_mac_makes_a_local_one),
		cmocka_unit_test(test_vnet_impossible_macs_are_refused),
		cmocka_unit_test(test_vnet_each_failure_of_set_up_leaves_nothing),
		cmocka_unit_test(test_vnet_each_allocation_that_fails_leaves_nothing),
		cmocka_unit_test(test_vnet_rx_index_ahead),
		cmocka_unit_test(test_vnet_rx_index_ahead_of_what_is_posted),
		cmocka_unit_test(test_vnet_rx_bad_ids),
		cmocka_unit_test(test_vnet_rx_same_id_twice),
		cmocka_unit_test(test_vnet_rx_bad_lengths),
		cmocka_unit_test(test_vnet_rx_longest_and_shortest_frame),
		cmocka_unit_test(test_vnet_rx_offloads_never_negotiated),
		cmocka_unit_test(test_vnet_tx_lies),
		cmocka_unit_test(test_vnet_tx_completes_out_of_order),
		cmocka_unit_test(test_vnet_tx_splits_at_a_break_of_memory),
		cmocka_unit_test(test_vnet_in_order_needs_packed),
		cmocka_unit_test(test_vnet_packed_lies_in_receive),
		cmocka_unit_test(test_vnet_packed_device_runs_ahead),
		cmocka_unit_test(test_vnet_packed_lies_in_transmit),
		cmocka_unit_test(test_vnet_needs_reset_stops),
		cmocka_unit_test(test_vnet_interrupts_without_end),
		cmocka_unit_test(test_vnet_restart_keeps_what_is_ours),
		cmocka_unit_test(test_vnet_restart_of_a_lesser_device_is_refused),
		cmocka_unit_test(test_vnet_rings_overwritten_by_the_device),
		cmocka_unit_test(test_vnet_random_lies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
