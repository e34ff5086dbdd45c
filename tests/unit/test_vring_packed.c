// SPDX-License-Identifier: MIT
/*
 * The packed ring by itself: when to ring and when to be rung, against each
 * event there can be, and against a device that computes as QEMU 7.2 does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../userdrivers/src/vdma.h"
#include "../../userdrivers/src/vring_packed.h"

static struct vdma mem;

static void t_ring(struct virtq *r, unsigned int size, unsigned int how)
{
	mem.used = 0;
	mem.m.bytes = NOMDRV_CHUNK_BYTES;
	mem.m.va = aligned_alloc(NOMDRV_CHUNK_BYTES, mem.m.bytes);
	mem.m.chunk_dma = calloc(1, sizeof(uint64_t));
	assert_int_equal(vring_create(r, size, &mem), 0);
	vring_reset(r, VRING_PACKED | how);
}

static void t_ring_free(struct virtq *r)
{
	vring_destroy(r);
	free(mem.m.va);
	free(mem.m.chunk_dma);
}

static uint16_t t_off_wrap(const struct virtq *r, unsigned int idx)
{
	return (uint16_t)((idx & r->mask) | (vpacked_wrap(r, idx) ? VPACKED_WRAP : 0));
}

/* The ring as if @old was announced, and @batch chains of one descriptor more queued. */
static void t_queue(struct virtq *r, unsigned int old, unsigned int batch)
{
	unsigned int i;

	vring_reset(r, VRING_PACKED | (r->event_idx ? VRING_EVENT_IDX : 0));
	r->avail_idx = r->announced = r->last_used = (uint16_t)old;
	for (i = 0; i < batch; i++) {
		unsigned int id = vpacked_id(r);

		vpacked_set(r, r->avail_idx, id, 0, 64, 0);
		vpacked_post(r, id, 1);
	}
}

/* Each position in both laps, each batch, each event: only one that is still ahead is no reason to ring. */
static void test_vring_packed_doorbell_unless_the_event_is_ahead(void **state)
{
	unsigned int old, batch, event, quiet = 0;
	struct virtq r;

	t_ring(&r, 8, VRING_EVENT_IDX);
	for (old = 65536 - 16; old < 65536 + 16; old++) {
		for (batch = 1; batch <= 8; batch++) {
			for (event = old - 8; event < old + 8; event++) {
				bool ahead = event - old < 8 && event - old >= batch;

				t_queue(&r, old, batch);
				r.device_event->off_wrap = t_off_wrap(&r, event);
				r.device_event->flags = VRING_PACKED_EVENT_FLAG_DESC;
				assert_int_equal(vpacked_announce(&r), !ahead);
				quiet += ahead;
			}
		}
	}
	assert_int_equal(quiet, 32 * (7 + 6 + 5 + 4 + 3 + 2 + 1));
	t_ring_free(&r);
}

static void test_vring_packed_doorbell_by_flag(void **state)
{
	struct virtq r;

	t_ring(&r, 8, 0);
	t_queue(&r, 5, 8);
	r.device_event->off_wrap = t_off_wrap(&r, 4);
	r.device_event->flags = VRING_PACKED_EVENT_FLAG_ENABLE;
	assert_true(vpacked_announce(&r));
	t_queue(&r, 5, 8);
	r.device_event->flags = VRING_PACKED_EVENT_FLAG_DISABLE;
	assert_false(vpacked_announce(&r));
	/* An event was not negotiated: it can only mean that something is wanted. */
	t_queue(&r, 5, 1);
	r.device_event->off_wrap = t_off_wrap(&r, 8);
	r.device_event->flags = VRING_PACKED_EVENT_FLAG_DESC;
	assert_true(vpacked_announce(&r));
	t_ring_free(&r);
}

/* ------------------------------------------------------- a device like QEMU --- */

/*
 * The transmit side of QEMU 7.2's virtio-net with a packed ring: its own
 * positions within a lap with their wrap counters, notifications asked for and
 * turned down where it does.  A peer takes @room frames; then one frame waits
 * (@async) until the peer has room again.
 */
#define QEMU_BURST	256

struct qemu {
	struct virtq *r;
	uint16_t avail, used, num;
	bool avail_wrap, used_wrap;
	bool bh, async;
	unsigned int room, sent;
};

static bool qemu_available(const struct qemu *q)
{
	uint16_t flags = q->r->pdesc[q->avail].flags;
	bool avail = flags & VPACKED_AVAIL, used = flags & VPACKED_USED;

	return avail != used && avail == q->avail_wrap;
}

static void qemu_pop(struct qemu *q)
{
	if (++q->avail == q->num) {
		q->avail = 0;
		q->avail_wrap = !q->avail_wrap;
	}
}

static void qemu_push(struct qemu *q)
{
	struct vring_packed_desc *d = &q->r->pdesc[q->used];

	/* The id is there already: one chain after the other, each of one descriptor. */
	d->flags = q->used_wrap ? VPACKED_AVAIL | VPACKED_USED : 0;
	if (++q->used == q->num) {
		q->used = 0;
		q->used_wrap = !q->used_wrap;
	}
	q->sent++;
}

static void qemu_notification(struct qemu *q, bool on)
{
	if (on)
		q->r->device_event->off_wrap = (uint16_t)(q->avail | q->avail_wrap << 15);
	q->r->device_event->flags = on ? VRING_PACKED_EVENT_FLAG_DESC : VRING_PACKED_EVENT_FLAG_DISABLE;
}

static int qemu_flush(struct qemu *q)
{
	int n = 0;

	if (q->async) {
		qemu_notification(q, false);
		return 0;
	}
	while (n < QEMU_BURST && qemu_available(q)) {
		qemu_pop(q);
		if (!q->room) {
			qemu_notification(q, false);
			q->async = true;
			return -1;
		}
		q->room--;
		qemu_push(q);
		n++;
	}
	return n;
}

static void qemu_kick(struct qemu *q)
{
	if (q->bh)
		return;
	q->bh = true;
	qemu_notification(q, false);
}

static void qemu_run_bh(struct qemu *q)
{
	int n;

	q->bh = false;
	n = qemu_flush(q);
	if (n < 0)
		return;
	if (n < QEMU_BURST) {
		qemu_notification(q, true);
		n = qemu_flush(q);
		if (n <= 0)
			return;
		qemu_notification(q, false);
	}
	q->bh = true;
}

/* The peer has room for @room frames more, and takes the one that waits. */
static void qemu_peer(struct qemu *q, unsigned int room)
{
	q->room += room;
	if (!q->async || !q->room)
		return;
	q->room--;
	q->async = false;
	qemu_push(q);
	qemu_notification(q, true);
	if (qemu_flush(q) < QEMU_BURST)
		return;
	qemu_notification(q, false);
	q->bh = true;
}

static unsigned int t_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (unsigned int)(*seed >> 20);
}

/* Everything announced is sent, if the peer takes it: no doorbell that was needed is missing. */
static void t_like_qemu(unsigned int size, uint64_t seed, unsigned int rounds)
{
	unsigned int announced = 0, bells = 0, i;
	struct qemu q = { .num = (uint16_t)size, .avail_wrap = true, .used_wrap = true };
	struct virtq r;
	uint32_t len;

	t_ring(&r, size, VRING_EVENT_IDX);
	q.r = &r;
	qemu_notification(&q, true);
	while (rounds--) {
		unsigned int left = t_random(&seed) % 4 ? 1 + t_random(&seed) % size : size;

		for (i = 0; i < left && r.nr_free; i++) {
			unsigned int id = vpacked_id(&r);

			vpacked_set(&r, r.avail_idx, id, 0, 64, 0);
			vpacked_post(&r, id, 1);
			announced++;
		}
		if (vring_queued(&r) && vpacked_announce(&r)) {
			qemu_kick(&q);
			bells++;
		}
		if (t_random(&seed) % 2)
			qemu_peer(&q, t_random(&seed) % size);
		if (q.bh && t_random(&seed) % 4)
			qemu_run_bh(&q);
		if (!(t_random(&seed) % 4)) {
			for (i = 0; i < 100 && (q.bh || q.async); i++) {
				qemu_peer(&q, size);
				if (q.bh)
					qemu_run_bh(&q);
			}
			assert_int_equal(q.sent, announced);	/* it sleeps, and has left nothing */
		}
		while (vring_outstanding(&r) && vpacked_is_used(&r, r.last_used)) {
			unsigned int id = vpacked_peek(&r, &len);

			assert_int_not_equal(id, VRING_BAD);
			vpacked_take(&r, id);
			vring_put(&r, id);
		}
	}
	assert_true(bells > 0);
	t_ring_free(&r);
}

static void test_vring_packed_transmit_never_stalls_with_qemu(void **state)
{
	uint64_t seed;

	for (seed = 1; seed < 200; seed++) {
		t_like_qemu(8, seed, 500);
		t_like_qemu(256, seed, 60);
	}
	t_like_qemu(1024, 7, 2000);
}

/*
 * The shortest way there, as seen in a guest: a whole ring, of which one frame
 * had to wait for its peer, then another whole ring.
 */
static void test_vring_packed_second_whole_ring_is_rung_for(void **state)
{
	struct qemu q = { .num = 256, .avail_wrap = true, .used_wrap = true, .room = 100 };
	struct virtq r;
	unsigned int i;

	t_ring(&r, 256, VRING_EVENT_IDX);
	q.r = &r;
	qemu_notification(&q, true);
	t_queue(&r, 0, 256);
	r.device_event->flags = VRING_PACKED_EVENT_FLAG_DESC;
	r.device_event->off_wrap = VPACKED_WRAP;
	assert_true(vpacked_announce(&r));
	qemu_kick(&q);
	qemu_run_bh(&q);
	assert_true(q.async);
	qemu_peer(&q, 1000);
	assert_int_equal(q.sent, 256);
	assert_false(q.bh || q.async);
	/* It asked at 101, and has taken what came behind. */
	assert_int_equal(r.device_event->flags, VRING_PACKED_EVENT_FLAG_DESC);
	assert_int_equal(r.device_event->off_wrap, VPACKED_WRAP | 101);
	for (i = 0; i < 256; i++) {
		uint32_t len;
		unsigned int id = vpacked_peek(&r, &len);

		assert_true(vpacked_is_used(&r, r.last_used));
		vpacked_take(&r, id);
		vring_put(&r, id);
	}
	for (i = 0; i < 256; i++) {
		unsigned int id = vpacked_id(&r);

		vpacked_set(&r, r.avail_idx, id, 0, 64, 0);
		vpacked_post(&r, id, 1);
	}
	assert_true(vpacked_announce(&r));
	t_ring_free(&r);
}

/* ------------------------------------------------------------- interrupts --- */

/*
 * Whether QEMU 7.2 interrupts when its used index goes from @old to @now: an
 * offset within a lap, less one lap when the wrap counters differ, compared as
 * in a split ring; and in any case when it has wrapped, for then it knows not
 * what it has signalled.
 */
static bool qemu_interrupts(const struct virtq *r, unsigned int old, unsigned int now)
{
	uint16_t off_wrap = r->driver_event->off_wrap, was = old & r->mask, is = now & r->mask;
	int off = off_wrap & 0x7fff;

	switch (r->driver_event->flags) {
	case VRING_PACKED_EVENT_FLAG_DISABLE:
		return false;
	case VRING_PACKED_EVENT_FLAG_ENABLE:
		return true;
	}
	if (vpacked_wrap(r, now) != off_wrap >> 15)
		off -= r->size;
	return vpacked_wrap(r, now) != vpacked_wrap(r, old) || vring_need_event((uint16_t)off, is, was);
}

static void test_vring_packed_armed_is_interrupted_by_qemu(void **state)
{
	static const unsigned int how[] = { 0, VRING_EVENT_IDX };
	unsigned int h, at, n;
	struct virtq r;

	for (h = 0; h < 2; h++) {
		t_ring(&r, 8, how[h]);
		for (at = 65536 - 16; at < 65536 + 16; at++) {
			for (n = 1; n <= 8; n++) {
				t_queue(&r, at, 8);
				vpacked_announce(&r);
				assert_false(qemu_interrupts(&r, at, at + n));	/* off, at first */
				assert_true(vpacked_irq_on(&r));
				assert_true(qemu_interrupts(&r, at, at + n));
				vpacked_irq_off(&r);
				assert_false(qemu_interrupts(&r, at, at + n));
			}
		}
		t_ring_free(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vring_packed_doorbell_unless_the_event_is_ahead),
		cmocka_unit_test(test_vring_packed_doorbell_by_flag),
		cmocka_unit_test(test_vring_packed_transmit_never_stalls_with_qemu),
		cmocka_unit_test(test_vring_packed_second_whole_ring_is_rung_for),
		cmocka_unit_test(test_vring_packed_armed_is_interrupted_by_qemu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
