// SPDX-License-Identifier: MIT
/* The split ring by itself: layout, free list, wrap-around, when to ring and when to be rung. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../userdrivers/src/vdma.h"
#include "../../userdrivers/src/vring_split.h"

struct mem {
	struct vdma d;
	size_t nr;
};

static void t_mem(struct mem *m, size_t chunks, bool contiguous)
{
	size_t i;

	m->nr = chunks;
	m->d.used = 0;
	m->d.m.bytes = chunks << NOMDRV_CHUNK_SHIFT;
	m->d.m.va = aligned_alloc(NOMDRV_CHUNK_BYTES, m->d.m.bytes);
	m->d.m.chunk_dma = calloc(chunks, sizeof(uint64_t));
	for (i = 0; i < chunks; i++)
		m->d.m.chunk_dma[i] = (contiguous ? i + 7 : 3 * i + 7) << NOMDRV_CHUNK_SHIFT;
}

static void t_mem_free(struct mem *m)
{
	free(m->d.m.va);
	free(m->d.m.chunk_dma);
}

static void test_vdma_pieces_do_not_cross_a_break(void **state)
{
	struct mem m;
	uint8_t *p, *q;

	t_mem(&m, 3, false);
	p = vdma_alloc_piece(&m.d, 3 << 19, 64);	/* 1.5 MiB */
	q = vdma_alloc_piece(&m.d, 1 << 20, 64);	/* would cross: skips */
	assert_ptr_equal(p, m.d.m.va);
	assert_ptr_equal(q, m.d.m.va + NOMDRV_CHUNK_BYTES);
	assert_true(vdma_is_piece(&m.d, q, 1 << 20));
	assert_false(vdma_is_piece(&m.d, m.d.m.va + NOMDRV_CHUNK_BYTES - 1, 2));
	assert_true(vdma_is_piece(&m.d, m.d.m.va + NOMDRV_CHUNK_BYTES - 2, 2));
	assert_null(vdma_alloc_piece(&m.d, NOMDRV_CHUNK_BYTES + 1, 64));
	assert_null(vdma_alloc_piece(&m.d, 0, 64));
	assert_int_equal(vdma_addr(&m.d, q + 5), (10ULL << NOMDRV_CHUNK_SHIFT) + 5);
	p = vdma_alloc(&m.d, 2 << 20, 1);		/* may cross */
	assert_ptr_equal(p, q + (1 << 20));
	assert_null(vdma_alloc(&m.d, (1 << 20) + 1, 1));
	assert_non_null(vdma_alloc(&m.d, 1 << 20, 1));
	assert_null(vdma_alloc(&m.d, 1, 1));
	t_mem_free(&m);

	t_mem(&m, 2, true);
	assert_non_null(vdma_alloc_piece(&m.d, 3 << 19, 64));
	assert_ptr_equal(vdma_alloc_piece(&m.d, 1 << 20, 64), m.d.m.va + (3 << 19));
	t_mem_free(&m);
}

static void test_vdma_contains_is_exact(void **state)
{
	struct mem m;
	uint8_t *va;

	t_mem(&m, 1, true);
	va = m.d.m.va;
	assert_true(vdma_contains(&m.d, va, NOMDRV_CHUNK_BYTES));
	assert_false(vdma_contains(&m.d, va, NOMDRV_CHUNK_BYTES + 1));
	assert_false(vdma_contains(&m.d, va - 1, 2));
	assert_false(vdma_contains(&m.d, va + NOMDRV_CHUNK_BYTES, 1));
	assert_true(vdma_contains(&m.d, va + NOMDRV_CHUNK_BYTES - 1, 1));
	assert_false(vdma_contains(&m.d, va + 1, SIZE_MAX));
	assert_false(vdma_contains(&m.d, NULL, 1));
	t_mem_free(&m);
}

static void test_vring_layout_is_disjoint_for_all_sizes(void **state)
{
	unsigned int size;

	for (size = 2; size <= 32768; size *= 2) {
		struct virtq r;
		struct mem m;

		t_mem(&m, 2, true);
		assert_int_equal(vring_create(&r, size, &m.d), 0);
		assert_true((uint8_t *)&r.desc[size] <= (uint8_t *)r.avail);
		assert_true((uint8_t *)(vring_used_event_word(&r) + 1) <= (uint8_t *)r.used);
		assert_true((uint8_t *)(vring_avail_event_word(&r) + 1) <= m.d.m.va + m.d.used);
		assert_true(m.d.used <= vring_bytes(size));
		assert_int_equal((uintptr_t)r.desc % 16, 0);
		assert_int_equal((uintptr_t)r.used % 4, 0);
		assert_int_equal(r.nr_free, size);
		vring_destroy(&r);
		t_mem_free(&m);
	}
}

static void test_vring_free_list_survives_any_order(void **state)
{
	unsigned int heads[16], nr, round, i;
	struct virtq r;
	struct mem m;
	bool seen[16];

	t_mem(&m, 1, true);
	assert_int_equal(vring_create(&r, 16, &m.d), 0);
	srand(1);
	for (round = 0; round < 2000; round++) {
		nr = 0;
		memset(seen, 0, sizeof(seen));
		while (r.nr_free) {
			unsigned int want = 1 + (unsigned int)rand() % 3, head, tail, d;

			if (want > r.nr_free)
				want = r.nr_free;
			head = tail = d = vring_get(&r);
			assert_false(seen[d]);
			seen[d] = true;
			for (i = 1; i < want; i++) {
				assert_int_equal(r.slot[tail].next, r.free_head);
				tail = vring_get(&r);
				assert_false(seen[tail]);
				seen[tail] = true;
			}
			vring_post(&r, head, tail, want);
			heads[nr++] = head;
		}
		for (i = 0; i < 16; i++)
			assert_true(seen[i]);
		while (nr) {
			unsigned int k = (unsigned int)rand() % nr;

			vring_put(&r, heads[k]);
			heads[k] = heads[--nr];
		}
		assert_int_equal(r.nr_free, 16);
	}
	vring_destroy(&r);
	t_mem_free(&m);
}

/* A device that takes and returns one entry at a time, in step with the driver. */
static void t_use(struct virtq *r, uint32_t id, uint32_t len)
{
	r->used->ring[r->used->idx & r->mask].id = id;
	r->used->ring[r->used->idx & r->mask].len = len;
	r->used->idx++;
}

static void test_vring_indices_wrap(void **state)
{
	struct virtq r;
	struct mem m;
	unsigned int i;

	t_mem(&m, 2, true);
	assert_int_equal(vring_create(&r, 32768, &m.d), 0);
	for (i = 0; i < 200000; i++) {
		unsigned int d = vring_get(&r), head;
		uint32_t len;

		vring_post(&r, d, d, 1);
		assert_int_equal(vring_queued(&r), 1);
		assert_true(vring_announce(&r));
		assert_int_equal(r.avail->idx, (uint16_t)(i + 1));
		assert_int_equal(r.avail->ring[i & r.mask], d);
		assert_int_equal(vring_pending(&r), 0);
		t_use(&r, d, i);
		assert_int_equal(vring_pending(&r), 1);
		head = vring_take(&r, &len);
		assert_int_equal(head, d);
		assert_int_equal(len, i);
		vring_put(&r, head);
		assert_int_equal(vring_outstanding(&r), 0);
	}
	vring_destroy(&r);
	t_mem_free(&m);
}

static void test_vring_refuses_an_index_that_ran_ahead(void **state)
{
	struct virtq r;
	struct mem m;
	unsigned int start, i, k;

	t_mem(&m, 1, true);
	assert_int_equal(vring_create(&r, 8, &m.d), 0);
	for (start = 0; start < 65536 + 16; start += 5) {
		/* Walk the indices on to @start, then have k announced. */
		vring_reset(&r, 0);
		r.avail_idx = r.announced = r.last_used = (uint16_t)start;
		r.avail->idx = r.used->idx = (uint16_t)start;
		for (k = 0; k <= 8; k++) {
			r.used->idx = (uint16_t)(start + k);
			assert_int_equal(vring_pending(&r), k);
			r.used->idx = (uint16_t)(start + k + 1);
			assert_int_equal(vring_pending(&r), VRING_BAD);
			r.used->idx = (uint16_t)(start - 1);
			assert_int_equal(vring_pending(&r), VRING_BAD);
			r.used->idx = (uint16_t)(start + 32768);
			assert_int_equal(vring_pending(&r), VRING_BAD);
			if (k < 8) {
				i = vring_get(&r);
				vring_post(&r, i, i, 1);
				vring_announce(&r);
			}
		}
	}
	vring_destroy(&r);
	t_mem_free(&m);
}

static void test_vring_refuses_bad_ids(void **state)
{
	static const uint32_t bad[] = { 8, 9, 0x10000, 0x10001, UINT32_MAX, 5 /* not outstanding */ };
	struct virtq r;
	struct mem m;
	uint32_t len;
	unsigned int i;

	t_mem(&m, 1, true);
	assert_int_equal(vring_create(&r, 8, &m.d), 0);
	for (i = 0; i < 2; i++)
		vring_post(&r, vring_get(&r), i, 1);
	vring_announce(&r);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		r.used->idx = 0;
		t_use(&r, bad[i], 0);
		assert_int_equal(vring_take(&r, &len), VRING_BAD);
		assert_int_equal(len, bad[i]);
		assert_int_equal(r.last_used, 0);
	}
	/* A middle of a chain is not a head. */
	vring_reset(&r, 0);
	i = vring_get(&r);
	vring_post(&r, i, vring_get(&r), 2);
	vring_announce(&r);
	t_use(&r, r.slot[i].tail, 0);
	assert_int_equal(vring_take(&r, &len), VRING_BAD);
	/* The same head twice. */
	r.used->idx = 0;
	t_use(&r, i, 0);
	assert_int_equal(vring_take(&r, &len), i);
	vring_put(&r, i);
	t_use(&r, i, 0);
	assert_int_equal(vring_take(&r, &len), VRING_BAD);
	vring_destroy(&r);
	t_mem_free(&m);
}

static void test_vring_doorbell_only_when_asked_for(void **state)
{
	struct virtq r;
	unsigned int d, batch, i;
	uint16_t event;
	struct mem m;

	t_mem(&m, 1, true);
	assert_int_equal(vring_create(&r, 64, &m.d), 0);
	r.used->flags = VRING_USED_F_NO_NOTIFY;
	d = vring_get(&r);
	vring_post(&r, d, d, 1);
	assert_false(vring_announce(&r));
	r.used->flags = 0;
	vring_post(&r, d, d, 1);
	assert_true(vring_announce(&r));

	/* EVENT_IDX: a doorbell exactly when the index passes the one named, around the wrap too. */
	for (batch = 1; batch <= 64; batch *= 4) {
		uint16_t old = (uint16_t)(65536 - batch / 2 - 1);

		for (i = 0; i < 200; i++) {
			bool want;

			event = (uint16_t)(old - 100 + i);
			vring_reset(&r, VRING_EVENT_IDX);
			r.avail_idx = (uint16_t)(old + batch);
			r.announced = old;
			*(uint16_t *)(uintptr_t)vring_avail_event_word(&r) = event;
			want = (uint16_t)(event - old) < batch;
			assert_int_equal(vring_announce(&r), want);
		}
	}
	vring_destroy(&r);
	t_mem_free(&m);
}

/* What the device computes when it has moved its used index from @old to @now. */
static bool t_device_interrupts(const struct virtq *r, uint16_t now, uint16_t old)
{
	return vring_need_event(r->avail->ring[r->size], now, old);
}

static void test_vring_quiet_while_polling_however_late_the_device_looks(void **state)
{
	struct virtq r;
	struct mem m;
	unsigned int i;

	t_mem(&m, 1, true);
	assert_int_equal(vring_create(&r, 256, &m.d), 0);
	vring_reset(&r, VRING_EVENT_IDX);
	for (i = 0; i < 200000; i += 3) {
		uint16_t old = (uint16_t)i, now = (uint16_t)(i + 3);

		/* The device looks before the driver has taken the entries, ... */
		assert_false(t_device_interrupts(&r, now, old));
		r.last_used = now;
		vring_irq_quiet(&r);
		/* ... or only after. */
		assert_false(t_device_interrupts(&r, now, old));
	}
	vring_destroy(&r);
	t_mem_free(&m);
}

static void t_arm(bool event_idx)
{
	struct virtq r;
	unsigned int i;
	struct mem m;

	t_mem(&m, 1, true);
	assert_int_equal(vring_create(&r, 256, &m.d), 0);
	vring_reset(&r, event_idx ? VRING_EVENT_IDX : 0);
	for (i = 0; i < 70000; i++) {
		uint16_t at = (uint16_t)i;

		r.last_used = at;
		r.used->idx = at;
		assert_true(vring_irq_on(&r));
		if (event_idx)
			assert_true(t_device_interrupts(&r, (uint16_t)(at + 1), at));
		else
			assert_int_equal(r.avail->flags, 0);
		vring_irq_off(&r);
		/* One came between the last look and arming: stay awake, stay quiet. */
		r.used->idx = (uint16_t)(at + 1);
		assert_false(vring_irq_on(&r));
		assert_false(r.armed);
		if (event_idx)
			assert_false(t_device_interrupts(&r, (uint16_t)(at + 2), (uint16_t)(at + 1)));
		else
			assert_int_equal(r.avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
	}
	vring_destroy(&r);
	t_mem_free(&m);
}

static void test_vring_arming_closes_the_race(void **state)
{
	t_arm(true);
	t_arm(false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vdma_pieces_do_not_cross_a_break),
		cmocka_unit_test(test_vdma_contains_is_exact),
		cmocka_unit_test(test_vring_layout_is_disjoint_for_all_sizes),
		cmocka_unit_test(test_vring_free_list_survives_any_order),
		cmocka_unit_test(test_vring_indices_wrap),
		cmocka_unit_test(test_vring_refuses_an_index_that_ran_ahead),
		cmocka_unit_test(test_vring_refuses_bad_ids),
		cmocka_unit_test(test_vring_doorbell_only_when_asked_for),
		cmocka_unit_test(test_vring_quiet_while_polling_however_late_the_device_looks),
		cmocka_unit_test(test_vring_arming_closes_the_race),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
