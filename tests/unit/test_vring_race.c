// SPDX-License-Identifier: MIT
/*
 * The two races of a ring, on two processors at once, many times; split:
 *
 *	driver				device
 *	avail->idx = new		avail_event = "ring me"
 *	full barrier			full barrier
 *	read avail_event: ring?		read avail->idx: anything new?
 *
 * and the same with used->idx and used_event when the driver arms, or with the
 * flags of descriptors and events of a packed ring.  If both
 * read the old value, the ring stands still for ever.  x86 does reorder a
 * store with a later load, so without its barrier the driver fails here.
 *
 * Rounds start together by a spin on a counter, and end after a time or a
 * number of rounds.  A machine with one processor proves nothing: skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "../../userdrivers/src/vdma.h"
#include "../../userdrivers/src/vring_packed.h"
#include "../../userdrivers/src/vring_split.h"

#define ROUNDS	400000
#define TIME_NS	1500000000LL

struct race {
	struct virtq r;
	struct vdma mem;
	void (*device)(struct race *t);
	/* each on its own cache line */
	uint32_t go __attribute__((aligned(64)));
	uint32_t done __attribute__((aligned(64)));
	bool seen __attribute__((aligned(64)));
	bool stop;
};

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void t_spin(const uint32_t *word, uint32_t until, const bool *stop)
{
	unsigned int n = 0;

	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != until) {
		if (stop && __atomic_load_n(stop, __ATOMIC_RELAXED))
			return;
		if (++n % 4096 == 0)
			sched_yield();	/* the other side may be waiting for this processor */
	}
}

static void t_delay(unsigned int turns)
{
	volatile unsigned int n = turns;

	while (n--)
		;
}

static void *t_device_thread(void *arg)
{
	struct race *t = arg;
	uint32_t round;

	for (round = 1;; round++) {
		t_spin(&t->go, round, &t->stop);
		if (__atomic_load_n(&t->stop, __ATOMIC_RELAXED))
			return NULL;
		t->device(t);
		__atomic_store_n(&t->done, round, __ATOMIC_RELEASE);
	}
}

static void t_run(unsigned int how, void (*device)(struct race *t), void (*prepare)(struct race *t),
		  bool (*driver)(struct race *t))
{
	struct race *t = aligned_alloc(64, (sizeof(*t) + 63) & ~63UL);
	static uint64_t chunk = 1ULL << 30;
	int64_t end = now_ns() + TIME_NS;
	uint32_t round, overlaps = 0, delay = 0;
	pthread_t thread;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		free(t);
		skip();
	}
	memset(t, 0, sizeof(*t));
	t->mem.m = (struct nomdrv_dma){ aligned_alloc(NOMDRV_CHUNK_BYTES, NOMDRV_CHUNK_BYTES),
					NOMDRV_CHUNK_BYTES, &chunk };
	assert_int_equal(vring_create(&t->r, 64, &t->mem), 0);
	vring_reset(&t->r, how);
	t->device = device;
	assert_int_equal(pthread_create(&thread, NULL, t_device_thread, t), 0);
	for (round = 1; round <= ROUNDS && (round % 256 || now_ns() < end); round++) {
		bool told;

		prepare(t);
		t->seen = false;
		__atomic_store_n(&t->go, round, __ATOMIC_RELEASE);
		t_delay(delay + (round * 2654435761u >> 29));
		told = driver(t);
		t_spin(&t->done, round, NULL);
		overlaps += told && t->seen;
		/* Keep the two at the point where now one, now the other comes first. */
		if (!told && delay < 2000)
			delay++;
		else if (told && !t->seen && delay)
			delay--;
		if (!told && !t->seen)
			fail_msg("round %u: neither side saw the other", round);
	}
	__atomic_store_n(&t->stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	print_message("%u rounds, %u with both in time\n", round - 1, overlaps);
	vring_destroy(&t->r);
	free(t->mem.m.va);
	free(t);
}

/* ---------------------------------------------------------------- doorbells --- */

static uint16_t *avail_event(struct race *t)
{
	return (uint16_t *)(uintptr_t)vring_avail_event_word(&t->r);
}

/* The device polls: it wants no doorbell; then goes to sleep. */
static void prepare_announce(struct race *t)
{
	unsigned int d = 0;

	t->r.slot[0].nr = 0;
	vring_post(&t->r, d, d, 1);
	if (t->r.event_idx)
		*avail_event(t) = (uint16_t)(t->r.announced + 0x8000);
	else
		t->r.used->flags = VRING_USED_F_NO_NOTIFY;
}

static void device_sleeps(struct race *t)
{
	uint16_t before = t->r.avail_idx - 1;

	if (t->r.event_idx)
		__atomic_store_n(avail_event(t), before, __ATOMIC_RELAXED);
	else
		__atomic_store_n(&t->r.used->flags, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	t->seen = __atomic_load_n(&t->r.avail->idx, __ATOMIC_RELAXED) != before;
}

static bool driver_announces(struct race *t)
{
	return vring_announce(&t->r);
}

static void test_vring_no_doorbell_is_lost(void **state)
{
	t_run(VRING_EVENT_IDX, device_sleeps, prepare_announce, driver_announces);
	t_run(0, device_sleeps, prepare_announce, driver_announces);
}

/* --------------------------------------------------------------- interrupts --- */

static void prepare_arm(struct race *t)
{
	t->r.last_used = t->r.used->idx;
	vring_irq_off(&t->r);
}

/* A frame arrives: used->idx, barrier, is an interrupt wanted? */
static void device_uses(struct race *t)
{
	uint16_t old = t->r.used->idx, now = (uint16_t)(old + 1);

	__atomic_store_n(&t->r.used->idx, now, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (t->r.event_idx)
		t->seen = vring_need_event(__atomic_load_n(vring_used_event_word(&t->r),
							   __ATOMIC_RELAXED), now, old);
	else
		t->seen = !(__atomic_load_n(&t->r.avail->flags, __ATOMIC_RELAXED) &
			    VRING_AVAIL_F_NO_INTERRUPT);
}

/* True: the driver saw the frame and stays awake. */
static bool driver_arms(struct race *t)
{
	return !vring_irq_on(&t->r);
}

static void test_vring_no_interrupt_is_lost(void **state)
{
	t_run(VRING_EVENT_IDX, device_uses, prepare_arm, driver_arms);
	t_run(0, device_uses, prepare_arm, driver_arms);
}

/* ------------------------------------------------------------- packed rings --- */

static uint32_t t_event(const struct vring_packed_desc_event *e)
{
	return __atomic_load_n((const uint32_t *)(const void *)e, __ATOMIC_RELAXED);
}

static void prepare_packed(struct race *t)
{
	vpacked_set(&t->r, t->r.avail_idx, 0, 0, 64, 0);
	t->r.avail_idx++;
	t->r.device_event->flags = VRING_PACKED_EVENT_FLAG_DISABLE;
}

static void device_sleeps_packed(struct race *t)
{
	uint16_t before = t->r.avail_idx - 1, flags;
	uint32_t word = VRING_PACKED_EVENT_FLAG_ENABLE;

	if (t->r.event_idx)
		word = VRING_PACKED_EVENT_FLAG_DESC << 16 | (before & t->r.mask) |
			(vpacked_wrap(&t->r, before) ? VPACKED_WRAP : 0);
	__atomic_store_n((uint32_t *)(void *)t->r.device_event, word, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	flags = __atomic_load_n(&t->r.pdesc[before & t->r.mask].flags, __ATOMIC_RELAXED);
	t->seen = (flags & (VPACKED_AVAIL | VPACKED_USED)) == vpacked_avail_flags(&t->r, before);
}

static bool driver_announces_packed(struct race *t)
{
	return vpacked_announce(&t->r);
}

static void test_vpacked_no_doorbell_is_lost(void **state)
{
	t_run(VRING_PACKED | VRING_EVENT_IDX, device_sleeps_packed, prepare_packed, driver_announces_packed);
	t_run(VRING_PACKED, device_sleeps_packed, prepare_packed, driver_announces_packed);
}

static void prepare_arm_packed(struct race *t)
{
	if (vpacked_is_used(&t->r, t->r.last_used))
		t->r.last_used++;
	vpacked_irq_off(&t->r);
}

static void device_uses_packed(struct race *t)
{
	uint16_t at = t->r.last_used;
	uint32_t word;

	__atomic_store_n(&t->r.pdesc[at & t->r.mask].flags,
			 (uint16_t)(vpacked_wrap(&t->r, at) ? VPACKED_AVAIL | VPACKED_USED : 0),
			 __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	word = t_event(t->r.driver_event);
	if ((word >> 16 & 3) == VRING_PACKED_EVENT_FLAG_DESC)
		t->seen = vpacked_need_event(&t->r, (uint16_t)word, (uint16_t)(at + 1), at);
	else
		t->seen = (word >> 16 & 3) == VRING_PACKED_EVENT_FLAG_ENABLE;
}

static bool driver_arms_packed(struct race *t)
{
	return !vpacked_irq_on(&t->r);
}

static void test_vpacked_no_interrupt_is_lost(void **state)
{
	t_run(VRING_PACKED | VRING_EVENT_IDX, device_uses_packed, prepare_arm_packed, driver_arms_packed);
	t_run(VRING_PACKED, device_uses_packed, prepare_arm_packed, driver_arms_packed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vring_no_doorbell_is_lost),
		cmocka_unit_test(test_vring_no_interrupt_is_lost),
		cmocka_unit_test(test_vpacked_no_doorbell_is_lost),
		cmocka_unit_test(test_vpacked_no_interrupt_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
