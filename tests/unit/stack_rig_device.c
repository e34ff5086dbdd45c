// SPDX-License-Identifier: MIT
/*
 * stack_rig_device.c - a device of the rig's own behind nomdrv/vnet.h: what is
 * sent and received is at the test's fingertips, and what lies behind a
 * received frame is poisoned
 */
#include "stack_rig.h"

#include <nomux/clock.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

#define ARENA_BYTES ((size_t)32 << 20)
#define TX_QUEUE 4096

struct queued {
	struct vnet_seg seg[VNET_TX_SEG_MAX];
	unsigned nr_seg;
	uint16_t csum_start, csum_offset;
	void *cookie;
	bool zero_copy;
	uint8_t copy[RIG_FRAME];
};

struct vnet {
	uint64_t features, *now_ns;
	uint8_t mac[6];
	uint8_t *arena;
	size_t arena_used;
	/* receive */
	uint8_t (*buf)[RIG_FRAME];
	uint8_t priv[RIG_BUFS][VNET_PRIV_BYTES] __attribute__((aligned(64)));
	uint16_t free[RIG_BUFS];
	bool held[RIG_BUFS];
	unsigned nr_free;
	struct vnet_rx used[RIG_BUFS];
	unsigned used_head, used_tail, nr_held;
	unsigned rx_unposted;		/* released, the device does not know yet */
	/* transmit */
	struct queued *q;
	unsigned q_nr;			/* queued, not announced */
	void *done[TX_QUEUE];
	unsigned nr_done, tx_ring, in_flight;
	bool hold_done, full;
	unsigned tx_flushes, rx_flushes;
	/* log */
	struct rig_frame *log;
	unsigned log_head, log_tail;
	bool deaf;			/* frames that the log has no room for are sent all the same */
	struct vnet_stats st;
};

static struct vnet the_v;

struct vnet *rig_device_open(struct rig *r, uint64_t features, unsigned tx_ring)
{
	struct vnet *v = &the_v;
	unsigned i;

	if (v->buf)
		ASAN_UNPOISON_MEMORY_REGION(v->buf, sizeof(*v->buf) * RIG_BUFS);
	free(v->buf);
	free(v->q);
	free(v->log);
	free(v->arena);
	memset(v, 0, sizeof(*v));
	v->features = features;
	memcpy(v->mac, "\x52\x54\x00\x00\x00\x02", 6);
	v->arena = aligned_alloc(4096, ARENA_BYTES);
	v->buf = malloc(sizeof(*v->buf) * RIG_BUFS);
	v->q = calloc(TX_QUEUE, sizeof(*v->q));
	v->log = calloc(RIG_LOG, sizeof(*v->log));
	v->tx_ring = tx_ring;
	v->now_ns = &r->now_ns;
	for (i = 0; i < RIG_BUFS; i++)
		v->free[v->nr_free++] = (uint16_t)i;
	return v;
}

void rig_device_quiet(struct rig *r)
{
	the_v.hold_done = the_v.full = false;
	the_v.deaf = true;	/* more resets than the log has room for */
}

void rig_device_close(struct rig *r)
{
	t_assert(the_v.nr_held == 0);
	t_assert(the_v.nr_free + (the_v.used_tail - the_v.used_head) == RIG_BUFS);
}

struct rig_device_counts rig_device(void)
{
	return (struct rig_device_counts){ the_v.tx_flushes, the_v.rx_flushes, the_v.q_nr, the_v.in_flight,
					   the_v.nr_held };
}

void rig_tx_hold(bool hold)
{
	the_v.hold_done = hold;
}

void rig_tx_fail(bool full)
{
	the_v.full = full;
}

const uint8_t *vnet_mac(const struct vnet *v)
{
	return v->mac;
}

unsigned int vnet_mtu(const struct vnet *v)
{
	return 1500;
}

const char *vnet_no_large_receive(const struct vnet *v)
{
	return "not asked for";
}

uint64_t vnet_features(const struct vnet *v)
{
	return v->features;
}

const char *vnet_feature_name(unsigned int bit)
{
	return !bit ? "VIRTIO_NET_F_CSUM" : NULL;
}

const char *vnet_feature_reason(const struct vnet *v, unsigned int bit)
{
	return v->features >> bit & 1 ? "negotiated" : "the device does not offer it";
}

void *vnet_dma_alloc(struct vnet *v, size_t bytes, size_t align)
{
	size_t at = (v->arena_used + align - 1) & ~(align - 1);

	if (at + bytes > ARENA_BYTES)
		return NULL;
	v->arena_used = at + bytes;
	return v->arena + at;
}

bool vnet_dma_contains(const struct vnet *v, const void *p, size_t bytes)
{
	const uint8_t *b = p;

	return b >= v->arena && b + bytes <= v->arena + ARENA_BYTES;
}

unsigned int vnet_rx_pending(const struct vnet *v)
{
	return v->used_tail - v->used_head;
}

unsigned int vnet_rx_room(const struct vnet *v)
{
	return v->nr_free - v->rx_unposted;
}

unsigned int vnet_rx_size(const struct vnet *v)
{
	return RIG_BUFS;
}

unsigned int vnet_rx_burst(struct vnet *v, struct vnet_rx *out, unsigned int max)
{
	unsigned n = 0;

	while (n < max && v->used_head != v->used_tail) {
		out[n] = v->used[v->used_head++ % RIG_BUFS];
		v->held[out[n].id] = true;
		v->nr_held++;
		n++;
	}
	return n;
}

void vnet_rx_release(struct vnet *v, uint16_t id)
{
	t_assert(id < RIG_BUFS && v->held[id]);
	v->held[id] = false;
	v->nr_held--;
	v->free[v->nr_free++] = id;
	v->rx_unposted++;
}

void *vnet_rx_priv(struct vnet *v, uint16_t id)
{
	return v->priv[id];
}

void vnet_rx_flush(struct vnet *v)
{
	v->rx_unposted = 0;
	v->rx_flushes++;
}

static int queue(struct vnet *v, const struct vnet_seg *seg, unsigned nr, uint16_t start, uint16_t offset,
		 void *cookie, bool copy)
{
	struct queued *q;
	unsigned i, at = 0;

	if (v->full || v->in_flight + v->q_nr >= v->tx_ring) {
		v->st.tx_full++;
		return -EAGAIN;
	}
	q = &v->q[v->q_nr++];
	q->nr_seg = nr;
	q->csum_start = start;
	q->csum_offset = offset;
	q->cookie = cookie;
	q->zero_copy = !copy;
	for (i = 0; i < nr; i++) {
		q->seg[i] = seg[i];
		if (copy) {
			t_assert(at + seg[i].len <= RIG_FRAME);
			memcpy(q->copy + at, seg[i].addr, seg[i].len);
			q->seg[i].addr = q->copy + at;
			at += seg[i].len;
		} else {
			t_assert(vnet_dma_contains(v, seg[i].addr, seg[i].len));
		}
	}
	return 0;
}

int vnet_tx(struct vnet *v, const struct vnet_tx *tx)
{
	return queue(v, tx->seg, tx->nr_seg, tx->csum_start, tx->csum_offset, tx->cookie, false);
}

int vnet_tx_copy(struct vnet *v, const struct vnet_seg *seg, unsigned int nr_seg, uint16_t csum_start,
		 uint16_t csum_offset)
{
	return queue(v, seg, nr_seg, csum_start, csum_offset, NULL, true);
}

unsigned int vnet_tx_reap(struct vnet *v, vnet_tx_done_fn done, void *arg)
{
	unsigned n = 0;

	if (v->hold_done)
		return 0;
	while (v->nr_done) {
		void *cookie = v->done[--v->nr_done];

		n++;
		if (cookie)
			done(cookie, arg);
	}
	v->in_flight = 0;
	return n;
}

unsigned int vnet_tx_room(const struct vnet *v)
{
	return v->full ? 0 : v->tx_ring - v->in_flight - v->q_nr;
}

bool vnet_tx_fits(const struct vnet *v, unsigned int need)
{
	return vnet_tx_room(v) >= need;
}

unsigned int vnet_tx_queued(const struct vnet *v)
{
	return v->q_nr;
}

/* The device reads the frames now, and fills in what it was asked to. */
void vnet_tx_flush(struct vnet *v)
{
	unsigned i, k;

	if (!v->q_nr)
		return;
	v->tx_flushes++;
	for (i = 0; i < v->q_nr; i++) {
		struct queued *q = &v->q[i];
		struct rig_frame *f = &v->log[v->log_tail % RIG_LOG];

		v->log_tail += !v->deaf || v->log_tail - v->log_head < RIG_LOG;
		t_assert(v->log_tail - v->log_head <= RIG_LOG);
		f->len = 0;
		f->csum_start = q->csum_start;
		f->csum_offset = q->csum_offset;
		f->zero_copy = q->zero_copy;
		f->when_ns = *v->now_ns;
		for (k = 0; k < q->nr_seg; k++) {
			t_assert(f->len + q->seg[k].len <= RIG_FRAME);
			memcpy(f->data + f->len, q->seg[k].addr, q->seg[k].len);
			f->len = (uint16_t)(f->len + q->seg[k].len);
		}
		if (q->csum_start) {
			uint16_t sum = t_csum(f->data + q->csum_start, f->len - q->csum_start, 0);

			memcpy(f->data + q->csum_start + q->csum_offset, &sum, 2);
		}
		t_assert(v->nr_done < TX_QUEUE);
		v->done[v->nr_done++] = q->cookie;
		v->in_flight++;
	}
	v->q_nr = 0;
}

bool vnet_irq_arm(struct vnet *v)
{
	return v->used_head == v->used_tail;
}

void vnet_irq_disarm(struct vnet *v)
{
}

int vnet_error(const struct vnet *v, const char **reason_out)
{
	return 0;
}

const struct vnet_stats *vnet_stats(const struct vnet *v)
{
	return &v->st;
}

/* The stack asks for it when it is given no clock; no test here does that. */
struct nomux_clock nomux_clock;

int nomux_clock_init(void)
{
	return 0;
}

uint64_t nomux__now_ns_slow(void)
{
	return 1;
}

bool rig_inject(struct rig *r, const void *frame, unsigned len, unsigned flags)
{
	struct vnet *v = r->v;
	struct vnet_rx *u;
	uint16_t id;

	if (vnet_rx_room(v) == 0)
		return false;
	/* Oldest free first: the unposted ones are at the end. */
	id = v->free[0];
	memmove(v->free, v->free + 1, --v->nr_free * sizeof(v->free[0]));
	u = &v->used[v->used_tail++ % RIG_BUFS];
	t_assert(len <= RIG_FRAME - 16);
	/* Reading beyond the frame is a bug: poisoned until the buffer is free. */
	ASAN_UNPOISON_MEMORY_REGION(v->buf[id], RIG_FRAME);
	u->data = v->buf[id] + 14;
	memcpy(u->data, frame, len);
	ASAN_POISON_MEMORY_REGION(v->buf[id] + 14 + len, RIG_FRAME - 14 - len);
	u->len = len;
	u->id = id;
	u->flags = (uint16_t)flags;
	return true;
}

bool rig_tx_pop_raw(struct rig_frame *out)
{
	struct vnet *v = &the_v;

	if (v->log_head == v->log_tail)
		return false;
	*out = v->log[v->log_head++ % RIG_LOG];
	return true;
}

unsigned rig_tx_waiting(void)
{
	return the_v.log_tail - the_v.log_head;
}
