// SPDX-License-Identifier: MIT
/*
 * Long frames by way of indirect tables: what reaches an honest device in either
 * kind of ring, what it takes of the ring, what lies in the tables, and a device
 * that lies about them.
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

#include "nomdrv/vnet.h"
#include "../../userdrivers/src/vtrans_fake.h"
#include "../../userdrivers/vhostbe/vhostbe.h"

#define BIT(n)		(1ULL << (n))
#define TABLES		BIT(VIRTIO_RING_F_INDIRECT_DESC)
#define TX		1
#define RING		16
#define PART		100	/* bytes of each part behind the headers */
#define ENTRIES_MAX	112	/* of a table: what a buffer has room for */

/* What this pass has besides: nothing, packed rings, those in order. */
static uint64_t extra;
static struct vhostbe *be;
static struct vnet *v;
static uint8_t *mem, head[54];
static unsigned int came_back;

static void t_step(void *arg)
{
	vhostbe_step(be);
}

static void t_done(void *cookie, void *arg)
{
	came_back++;
}

static void t_open(unsigned int ring, uint64_t off)
{
	struct vnet_opts o = { .sz = sizeof(o), .features_off = off, .queue_size = ring, .arena_bytes = 64 << 10, .wait = t_step };
	struct vhostbe_opts b = { .sz = sizeof(b), .features_on = extra | TABLES };
	char path[64];
	unsigned int i;

	snprintf(path, sizeof(path), "/tmp/test_vnet_table.%d", (int)getpid());
	assert_int_equal(vhostbe_create(path, &b, &be), 0);
	assert_int_equal(vnet_open_vhost_user(path, &o, &v), 0);
	assert_int_equal(vnet_features(v) & TABLES, TABLES & ~off);
	mem = vnet_dma_alloc(v, VNET_TSO_SEG_MAX * PART, 64);
	for (i = 0; i < VNET_TSO_SEG_MAX * PART; i++)
		mem[i] = (uint8_t)(i * 7 + i / PART);
	came_back = 0;
}

static void t_close(void)
{
	assert_null(vhostbe_last_error(be));
	vnet_close(v);
	vhostbe_destroy(be);
}

/* TCP over IPv4, @parts pieces of memory behind the headers, which the device makes packets of again. */
static int t_long(struct vnet *to, uint8_t *from, unsigned int parts)
{
	struct vnet_seg seg[VNET_TSO_SEG_MAX] = { { head, sizeof(head) } };
	struct vnet_tx tx = { .seg = seg, .nr_seg = 1 + parts, .csum_start = 34, .csum_offset = 16,
			      .gso_bytes = PART, .hdr_bytes = sizeof(head), .cookie = head };
	unsigned int i;

	memcpy(head, "\x52\x54\0\0\0\1\x52\x54\0\0\0\2\x08\x00\x45", 15);
	head[16] = (uint8_t)((40 + parts * PART) >> 8);
	head[17] = (uint8_t)(40 + parts * PART);
	head[23] = 6;
	head[46] = 0x50;
	/* Apart and in an order that memory does not have, or two may be taken for one. */
	for (i = 0; i < parts; i++)
		seg[1 + i] = (struct vnet_seg){ from + (parts - 1 - i) * PART, PART };
	return vnet_tx(to, &tx);
}

static void t_arrived(unsigned int parts)
{
	uint8_t got[256];
	unsigned int i;

	for (i = 0; i < parts; i++) {
		assert_int_equal(vhostbe_take(be, got, sizeof(got), NULL), sizeof(head) + PART);
		assert_memory_equal(got + sizeof(head), mem + (parts - 1 - i) * PART, PART);
	}
}

/* Each length there is, several times around the ring. */
static void t_all_lengths(uint64_t off)
{
	unsigned int parts, room;

	t_open(0, off);
	room = vnet_tx_room(v);
	assert_int_equal(room, 256);
	for (parts = 1; parts < VNET_TSO_SEG_MAX; parts++) {
		unsigned int takes = !off && 1 + parts >= 4 ? 1 : 1 + parts;

		assert_int_equal(t_long(v, mem, parts), 0);
		assert_int_equal(vnet_tx_room(v), room - takes);
		vnet_tx_flush(v);
		vhostbe_step(be);
		assert_null(vhostbe_last_error(be));
		t_arrived(parts);
		assert_int_equal(vnet_tx_reap(v, t_done, NULL), takes);
		assert_int_equal(came_back, parts);
		assert_int_equal(vnet_tx_room(v), room);
	}
	assert_int_equal(vhostbe_take(be, head, sizeof(head), NULL), -EAGAIN);
	t_close();
}

static void test_vnet_table_holds_what_is_long(void **state)
{
	t_all_lengths(0);
}

static void test_vnet_without_tables_a_part_is_a_descriptor(void **state)
{
	t_all_lengths(TABLES);
}

/* Nothing behind the first part is looked at, which may be shorter than any header. */
static void test_vnet_long_frames_need_headers(void **state)
{
	uint8_t *two = malloc(2);
	struct vnet_seg seg[2] = { { two, 2 }, { NULL, PART } };
	struct vnet_tx tx = { .seg = seg, .nr_seg = 2, .csum_start = 34, .csum_offset = 16, .gso_bytes = PART, .hdr_bytes = 2 };

	t_open(0, 0);
	memset(two, 0, 2);
	seg[1].addr = mem;
	assert_int_equal(vnet_tx(v, &tx), -EINVAL);
	assert_int_equal(vnet_tx_queued(v), 0);
	t_close();
	free(two);
}

static void test_vnet_table_a_ring_of_long_frames(void **state)
{
	unsigned int i, round;

	t_open(RING, 0);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < RING; i++) {
			assert_true(vnet_tx_fits(v, 8) == (i + 3 <= RING));
			assert_int_equal(t_long(v, mem, 1 + 3 + i % 8), 0);
		}
		assert_int_equal(t_long(v, mem, 4), -EAGAIN);
		assert_int_equal(vnet_tx_room(v), 0);
		assert_false(vnet_tx_fits(v, 8));
		vnet_tx_flush(v);
		vhostbe_step(be);
		for (i = 0; i < RING; i++)
			t_arrived(1 + 3 + i % 8);
		assert_int_equal(vnet_tx_reap(v, t_done, NULL), RING);
		assert_int_equal(came_back, (round + 1) * RING);
	}
	assert_int_equal(vnet_stats(v)->tx_full, 3);
	/* No longer than the ring all the same (2.7.5.3.1). */
	assert_int_equal(t_long(v, mem, RING - 1), 0);
	assert_int_equal(t_long(v, mem, RING), -EINVAL);
	t_close();
}

/* Short ones and copies between them: each finds its own descriptors again. */
static void test_vnet_table_among_others(void **state)
{
	static const unsigned int parts[] = { 9, 1, 3, 2, 12 };
	unsigned int i, left = RING;
	uint8_t buf[256] = { 0 };
	struct vnet_seg seg = { buf, 60 };

	t_open(RING, 0);
	for (i = 0; i < 5; i++) {
		assert_int_equal(t_long(v, mem, parts[i]), 0);
		assert_int_equal(vnet_tx_copy(v, &seg, 1, 0, 0), 0);
		left -= 1 + (parts[i] < 3 ? 1 + parts[i] : 1);
	}
	assert_int_equal(vnet_tx_room(v), left);
	vnet_tx_flush(v);
	vhostbe_step(be);
	for (i = 0; i < 5; i++) {
		t_arrived(parts[i]);
		assert_int_equal(vhostbe_take(be, buf, sizeof(buf), NULL), 60);
	}
	vnet_tx_reap(v, t_done, NULL);
	assert_int_equal(came_back, 5);
	assert_int_equal(vnet_tx_room(v), RING);
	t_close();
}

static void test_vnet_table_of_received_buffers(void **state)
{
	struct vnet_turn part[5];
	uint8_t got[1024], frame[542];
	struct vnet_rx rx[5];
	uint8_t *f;
	unsigned int i;

	t_open(RING, 0);
	for (i = 0; i < 5; i++) {
		memset(frame, (int)(i + 1), sizeof(frame));
		assert_int_equal(vhostbe_inject(be, frame, sizeof(frame), NULL), 0);
		assert_int_equal(vnet_rx_burst(v, &rx[i], 1), 1);
		part[i] = (struct vnet_turn){ rx[i].id, i ? 42 : 0, i ? 500 : 542 };
	}
	f = rx[0].data;
	memset(f, 0, 42);
	memcpy(f + 12, "\x08\x00\x45", 3);
	f[16] = (28 + 2500) >> 8;
	f[17] = (28 + 2500) & 255;
	f[23] = 17;
	f[38] = (8 + 2500) >> 8;
	f[39] = (8 + 2500) & 255;
	assert_int_equal(vnet_tx_turn_cut(v, part, 5, 34, 6, 500, 42, rx), 0);
	assert_int_equal(vnet_tx_room(v), RING - 1);
	vnet_tx_flush(v);
	vhostbe_step(be);
	for (i = 0; i < 5; i++) {
		assert_int_equal(vhostbe_take(be, got, sizeof(got), NULL), 542);
		assert_int_equal(got[42], i + 1);
		assert_int_equal(got[541], i + 1);
	}
	assert_int_equal(vnet_tx_reap(v, t_done, NULL), 1);
	assert_int_equal(came_back, 1);
	for (i = 0; i < 5; i++)
		vnet_rx_release(v, rx[i].id);
	t_close();
}

static void test_vnet_table_comes_back_from_a_stopped_device(void **state)
{
	t_open(RING, 0);
	assert_int_equal(t_long(v, mem, 9), 0);
	vnet_tx_flush(v);
	assert_int_equal(t_long(v, mem, 9), 0);
	vnet_stop(v);
	assert_int_equal(t_long(v, mem, 9), -EIO);
	assert_false(vnet_tx_fits(v, 8));
	assert_int_equal(vnet_tx_reap(v, t_done, NULL), 2);
	assert_int_equal(came_back, 2);
	assert_int_equal(vnet_restart(v, t_done, NULL), 0);
	assert_int_equal(t_long(v, mem, 9), 0);
	vnet_tx_flush(v);
	vhostbe_step(be);
	t_arrived(9);
	t_close();
}

/* ------------------------------------------------- a device of the test's --- */

static struct vtrans_fake *t_fake(unsigned int ring, struct vnet **to)
{
	struct vtrans_fake *f = vtrans_fake_create();
	struct vnet_opts o = { .sz = sizeof(o), .arena_bytes = 4 << 20 };

	f->offered |= extra | TABLES | BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4);
	f->queue_size[0] = f->queue_size[TX] = ring;
	assert_int_equal(vnet_create(&f->dev, &o, to), 0);
	assert_true(vnet_features(*to) & TABLES);
	came_back = 0;
	return f;
}

/* What the ring's descriptor at @at says; entries are of either kind, which differ behind len. */
static struct vring_desc *t_table(struct vtrans_fake *f, unsigned int at, unsigned int nr)
{
	const struct vring_packed_desc *p = &vtrans_fake_packed(f, TX)[at];
	const struct vring_desc *d = vtrans_fake_desc(f, TX);

	if (extra) {
		assert_int_equal(p->flags & ~(1u << 7 | 1u << 15), VRING_DESC_F_INDIRECT);
		assert_int_equal(p->len, nr * 16);
		return vtrans_fake_va(f, p->addr);
	}
	d += vtrans_fake_avail(f, TX)->ring[at];
	assert_int_equal(d->flags, VRING_DESC_F_INDIRECT);	/* not NEXT besides */
	assert_int_equal(d->len, nr * 16);
	return vtrans_fake_va(f, d->addr);
}

/* 2.7.5.3: entries in turn from 1 on, which IN_ORDER wants and no other table; 2.8.8: nothing but address and length. */
static void test_vnet_table_as_the_specification_has_it(void **state)
{
	struct vnet *to;
	struct vtrans_fake *f = t_fake(RING, &to);
	uint8_t *base = vnet_dma_alloc(to, 4 << 20, 1);
	uint8_t *brk = (uint8_t *)(((uintptr_t)base + NOMDRV_CHUNK_BYTES) & ~(NOMDRV_CHUNK_BYTES - 1));
	struct vring_desc *t;
	unsigned int i;

	/* The second of five lies across a break of memory. */
	assert_int_equal(t_long(to, brk - 3 * PART - 40, 5), 0);
	vnet_tx_flush(to);
	t = t_table(f, 0, 7);
	assert_non_null(t);
	for (i = 0; i < 7; i++) {
		static const uint32_t len[7] = { 12 + 54, 100, 40, 60, 100, 100, 100 };

		assert_int_equal(t[i].len, len[i]);
		assert_non_null(vtrans_fake_va(f, t[i].addr));
		assert_int_equal(t[i].flags, !extra && i < 6 ? VRING_DESC_F_NEXT : 0);
		assert_int_equal(t[i].next, !extra && i < 6 ? i + 1 : 0);
	}
	assert_ptr_equal(vtrans_fake_va(f, t[2].addr), brk - 40);
	assert_ptr_equal(vtrans_fake_va(f, t[3].addr), brk);
	assert_int_equal(memcmp((uint8_t *)vtrans_fake_va(f, t[0].addr) + 12, head, sizeof(head)), 0);
	vnet_close(to);
}

/* What has more entries than a table holds goes into the ring. */
static void test_vnet_table_too_small(void **state)
{
	struct vnet_seg seg[VNET_TSO_SEG_MAX] = { { head, sizeof(head) } };
	struct vnet_tx tx = { .seg = seg, .csum_start = 34, .csum_offset = 16, .gso_bytes = PART, .hdr_bytes = sizeof(head) };
	struct vnet *to;
	struct vtrans_fake *f = t_fake(256, &to);
	uint8_t *base = vnet_dma_alloc(to, 4 << 20, 1);
	uint8_t *brk = (uint8_t *)(((uintptr_t)base + NOMDRV_CHUNK_BYTES) & ~(NOMDRV_CHUNK_BYTES - 1));
	unsigned int i;

	for (i = 1; i < VNET_TSO_SEG_MAX; i++)
		seg[i] = (struct vnet_seg){ brk - PART / 2, PART };
	tx.nr_seg = 1 + ENTRIES_MAX / 2;	/* one entry more than there are */
	assert_int_equal(vnet_tx(to, &tx), 0);
	assert_int_equal(vnet_tx_room(to), 256 - (1 + ENTRIES_MAX));
	seg[tx.nr_seg - 1].addr = brk;		/* one that has no break in it */
	assert_int_equal(vnet_tx(to, &tx), 0);
	assert_int_equal(vnet_tx_room(to), 256 - (1 + ENTRIES_MAX) - 1);
	assert_true(vnet_tx_fits(to, 142));
	assert_false(vnet_tx_fits(to, 143));
	vnet_tx_flush(to);
	t_table(f, extra ? 1 + ENTRIES_MAX : 1, ENTRIES_MAX);
	vnet_close(to);
}

/* The table is written over, then used; and then used again, or one that was never sent. */
static void t_lie(uint32_t second)
{
	struct vnet *to;
	struct vtrans_fake *f = t_fake(RING, &to);
	uint8_t *from = vnet_dma_alloc(to, VNET_TSO_SEG_MAX * PART, 64);
	const char *why = NULL;
	unsigned int i;

	for (i = 0; i < 3; i++)
		assert_int_equal(t_long(to, from, 9), 0);
	vnet_tx_flush(to);
	for (i = 0; i < 3; i++)
		memset(t_table(f, i, 10), 0xff, 160);
	if (extra) {
		vtrans_fake_use_packed(f, TX, 0, 0, 0);
	} else {
		memset(vtrans_fake_desc(f, TX), 0xff, 3 * 16);
		vtrans_fake_use(f, TX, 0, 0);
	}
	assert_int_equal(vnet_tx_reap(to, t_done, NULL), 1);
	assert_int_equal(came_back, 1);
	assert_int_equal(vnet_tx_room(to), RING - 2);
	assert_int_equal(vnet_error(to, NULL), 0);
	if (extra)
		vtrans_fake_use_packed(f, TX, 1, second, 0);
	else
		vtrans_fake_use(f, TX, second, 0);
	vnet_tx_reap(to, t_done, NULL);
	assert_int_equal(vnet_error(to, &why), -EIO);
	assert_non_null(strstr(why, "not outstanding"));
	assert_int_equal(came_back, 3);
	vnet_close(to);
}

static void test_vnet_table_and_a_device_that_lies(void **state)
{
	t_lie(0);		/* twice */
	t_lie(5);		/* never sent; an entry of a table, not of the ring */
	t_lie(RING);
	t_lie(0xffff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vnet_table_holds_what_is_long),
		cmocka_unit_test(test_vnet_without_tables_a_part_is_a_descriptor),
		cmocka_unit_test(test_vnet_long_frames_need_headers),
		cmocka_unit_test(test_vnet_table_a_ring_of_long_frames),
		cmocka_unit_test(test_vnet_table_among_others),
		cmocka_unit_test(test_vnet_table_of_received_buffers),
		cmocka_unit_test(test_vnet_table_comes_back_from_a_stopped_device),
		cmocka_unit_test(test_vnet_table_as_the_specification_has_it),
		cmocka_unit_test(test_vnet_table_too_small),
		cmocka_unit_test(test_vnet_table_and_a_device_that_lies),
	};
	int failed = cmocka_run_group_tests_name("split", tests, NULL, NULL);

	extra = BIT(VIRTIO_F_RING_PACKED);
	failed += cmocka_run_group_tests_name("packed", tests, NULL, NULL);
	extra |= BIT(VIRTIO_F_IN_ORDER);
	return failed + cmocka_run_group_tests_name("packed, in order", tests, NULL, NULL);
}
