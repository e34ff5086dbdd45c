// SPDX-License-Identifier: MIT
/*
 * nomstack_raw.c - the raw tier: frames as they come, answers where they lie
 *
 * A buffer is ours from vnet_rx_burst() on.  It goes back at once when its frame
 * is not answered, and from done() when the device has sent the answer in it.
 * The driver has twice as many buffers as the ring has entries, so that answers
 * under way do not starve reception.
 *
 * Holding for W is that of nomstack_batch.c, with what a stack knows of its
 * connections left to the application: never above W, because looking happens at
 * polls only and a batch is let go when the next poll would come too late.
 */
#include "raw_run.h"

#include <nomstack/raw.h>
#include <nomdrv/vnet.h>

#include <errno.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_LIMIT 256u
#define CLOSE_TURNS 100000
#define US 1000
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

struct nomstack_raw {
	struct vnet *v;
	nomstack_raw_fn frames;
	nomstack_raw_ended_fn ended;
	void *arg;
	struct vnet_rx *hold;
	unsigned nr, head, cap;		/* held frames: hold[head] to hold[nr - 1] */
	unsigned batch_max, ring_size;
	unsigned under_way;		/* answers that the device has not sent yet */
	unsigned unposted;		/* taken from the ring, or back, since buffers were last posted */
	bool released;			/* what is held is on its way, finish it */
	bool uso;			/* the device cuts up datagrams */
	unsigned uso_max, run_max;	/* knob; answers in a frame, 1: each leaves by itself */
	unsigned tx_size;
	uint64_t w_ns, since_ns, prev_ns, gap_ns;
	struct nomstack_raw_stats st;
	struct nomstack_raw_answer answer[BATCH_LIMIT];
};

int nomstack_raw_open(const struct nomstack_raw_opts *o, struct nomstack_raw **out)
{
	struct nomstack_raw_opts opts = { 0 };
	const uint8_t *bytes = (const uint8_t *)o;
	const struct nomstack_knob *knobs;
	struct nomstack_raw *r;
	unsigned nr_knobs;

	if (!o || o->sz < offsetof(struct nomstack_raw_opts, ended))
		return -EINVAL;
	for (size_t i = sizeof(opts); i < o->sz; i++)
		if (bytes[i])
			return -E2BIG;
	memcpy(&opts, o, o->sz < sizeof(opts) ? o->sz : sizeof(opts));
	if (!opts.vnet || !opts.frames)
		return -EINVAL;
	if (vnet_error(opts.vnet, NULL))
		return -EIO;
	/* A frame in parts has no place of its own for an answer. */
	if (vnet_features(opts.vnet) & 1ull << VIRTIO_NET_F_MRG_RXBUF)
		return -EOPNOTSUPP;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->ring_size = vnet_rx_size(opts.vnet);
	r->cap = r->ring_size > BATCH_LIMIT ? r->ring_size : BATCH_LIMIT;
	r->hold = calloc(r->cap, sizeof(*r->hold));
	if (!r->hold) {
		free(r);
		return -ENOMEM;
	}
	r->v = opts.vnet;
	r->uso = vnet_features(r->v) & 1ull << VIRTIO_NET_F_HOST_USO;
	r->tx_size = vnet_tx_room(r->v);
	r->frames = opts.frames;
	r->ended = opts.ended;
	r->arg = opts.arg;
	knobs = nomstack_raw_knobs(&nr_knobs);
	for (unsigned i = 0; i < nr_knobs; i++)
		nomstack_raw_knob_set(r, knobs[i].name, knobs[i].def);
	*out = r;
	return 0;
}

/* The device has sent the answer in a buffer. */
static void done(void *cookie, void *arg)
{
	struct nomstack_raw *r = arg;
	uintptr_t first = (uintptr_t)cookie;

	if (unlikely(first & RAW_RUN_COOKIE)) {
		unsigned n = raw_run_release(r->v, (uint16_t)(first & UINT16_MAX));

		r->under_way -= n;
		r->unposted += n;
		return;
	}
	r->under_way--;
	r->unposted++;
	vnet_rx_release(r->v, (uint16_t)(first - 1));
}

void nomstack_raw_close(struct nomstack_raw *r)
{
	if (!r)
		return;
	for (; r->head < r->nr; r->head++)
		vnet_rx_release(r->v, r->hold[r->head].id);
	vnet_tx_flush(r->v);
	for (unsigned i = 0; i < CLOSE_TURNS && r->under_way && !vnet_error(r->v, NULL); i++)
		vnet_tx_reap(r->v, done, r);
	if (r->under_way) {
		/* It reads our buffers no more, and their cookies come back. */
		vnet_stop(r->v);
		vnet_tx_reap(r->v, done, r);
	}
	vnet_rx_flush(r->v);
	free(r->hold);
	free(r);
}

/* ----------------------------------------------------------------- receive --- */

static bool let_go(struct nomstack_raw *r, unsigned from, uint64_t now_ns)
{
	/* Half the ring: the device can still fill the other half. */
	if (r->nr + r->under_way + vnet_rx_pending(r->v) >= r->ring_size / 2 || vnet_rx_room(r->v) < r->ring_size / 4)
		return true;
	if (r->nr > from && r->ended && r->ended(r->arg, r->hold + from, r->nr - from, !from))
		return true;
	return now_ns - r->since_ns + r->gap_ns > r->w_ns;
}

/* Frames to be handled now, from hold[head] on. */
static unsigned take(struct nomstack_raw *r, uint64_t now_ns)
{
	unsigned from = r->nr, n;

	if (likely(!r->w_ns && !r->nr)) {
		r->nr = vnet_rx_burst(r->v, r->hold, r->batch_max);
		return r->nr;
	}
	if (r->prev_ns) {
		uint64_t gap = now_ns - r->prev_ns;

		r->gap_ns -= r->gap_ns / 64;
		if (gap > r->gap_ns)
			r->gap_ns = gap;
	}
	r->prev_ns = now_ns;
	if (!r->released) {
		n = vnet_rx_burst(r->v, r->hold + from, r->cap - from);
		if (n && !from)
			r->since_ns = now_ns;
		r->nr += n;
		if (!r->nr || (r->w_ns && !let_go(r, from, now_ns)))
			return 0;
		r->released = true;
		if (now_ns - r->since_ns > r->st.delay_max_ns)
			r->st.delay_max_ns = now_ns - r->since_ns;
	}
	n = r->nr - r->head;
	return n < r->batch_max ? n : r->batch_max;
}

/* ---------------------------------------------------------------- transmit --- */

static __attribute__((noinline, cold)) void lost(struct nomstack_raw *r, uint16_t id, int err)
{
	if (err == -EAGAIN)
		r->st.ring_full++;
	else
		r->st.refused++;
	vnet_rx_release(r->v, id);
}

static inline __attribute__((always_inline)) int turn(struct nomstack_raw *r, uint16_t id, const struct nomstack_raw_answer *a)
{
	return vnet_tx_turn(r->v, id, a->len, a->csum_start, a->csum_offset, (void *)((uintptr_t)id + 1));
}

static void make_room(struct nomstack_raw *r)
{
	vnet_tx_flush(r->v);
	vnet_tx_reap(r->v, done, r);
}

/* The device took it not at once. */
static __attribute__((noinline, cold)) int turn_again(struct nomstack_raw *r, uint16_t id, const struct nomstack_raw_answer *a, int err)
{
	if (err == -EAGAIN) {
		make_room(r);
		err = turn(r, id, a);
	}
	if (err)
		lost(r, id, err);
	return err;
}

static inline __attribute__((always_inline)) void answer(struct nomstack_raw *r, uint16_t id, const struct nomstack_raw_answer *a)
{
	int err = turn(r, id, a);

	if (unlikely(err) && turn_again(r, id, a, err))
		return;
	r->under_way++;
	r->st.answers++;
}

static inline __attribute__((always_inline)) void answer_or_drop(struct nomstack_raw *r, const struct vnet_rx *rx,
								 const struct nomstack_raw_answer *a)
{
	if (likely(a->len)) {
		answer(r, rx->id, a);
		return;
	}
	r->st.dropped++;
	vnet_rx_release(r->v, rx->id);
}

/* @nr answers that raw_run() found, from hold[head + at] on, as one frame. */
static __attribute__((noinline)) void answer_run(struct nomstack_raw *r, unsigned at, unsigned nr)
{
	const struct vnet_rx *rx = &r->hold[r->head + at];
	struct raw_run run;
	int err;

	raw_run_make(&run, r->v, rx, &r->answer[at], nr);
	err = raw_run_send(&run, r->v);
	if (unlikely(err == -EAGAIN)) {
		make_room(r);
		err = raw_run_send(&run, r->v);
	}
	if (unlikely(err)) {
		*(err == -EAGAIN ? &r->st.ring_full : &r->st.refused) += nr;
		raw_run_release(r->v, run.part[0].id);
		return;
	}
	r->under_way += run.held;
	r->st.answers += nr;
	r->st.tx_joined += nr;
	r->st.tx_long++;
}

/* Those of a batch, of which some may leave as one frame. */
static __attribute__((noinline)) void answer_all(struct nomstack_raw *r, unsigned nr)
{
	const struct vnet_rx *rx = &r->hold[r->head];
	const struct nomstack_raw_answer *a = r->answer;
	unsigned run;

	for (unsigned i = 0; i < nr; i += run) {
		run = raw_run(&rx[i], &a[i], nr - i, r->run_max);
		if (run > 1)
			answer_run(r, i, run);
		else
			answer_or_drop(r, &rx[i], &a[i]);
	}
}

int nomstack_raw_send(struct nomstack_raw *r, const void *frame, uint32_t len)
{
	struct vnet_seg seg = { frame, len };

	vnet_tx_reap(r->v, done, r);
	return vnet_tx_copy(r->v, &seg, 1, 0, 0);
}

static void handle(struct nomstack_raw *r, unsigned nr)
{
	const struct vnet_rx *rx = &r->hold[r->head];

	r->st.batches++;
	r->st.frames += nr;
	r->unposted += nr;
	r->frames(r->arg, rx, r->answer, nr);
	if (nr > 1 && r->run_max > 1 && raw_run_likely(rx, nr)) {
		answer_all(r, nr);
	} else {
		for (unsigned i = 0; i < nr; i++)
			answer_or_drop(r, &rx[i], &r->answer[i]);
	}
	r->head += nr;
	if (r->head == r->nr) {
		r->head = r->nr = 0;
		r->released = false;
	}
}

unsigned nomstack_raw_poll(struct nomstack_raw *r, uint64_t now_ns)
{
	unsigned nr = take(r, now_ns);

	if (nr)
		handle(r, nr);
	if (vnet_tx_queued(r->v)) {
		r->st.announcements++;
		vnet_tx_flush(r->v);
	}
	/* Buffers in batches; at once when there is nothing else to do. */
	if (r->under_way && (!nr || r->under_way >= r->ring_size / 4))
		vnet_tx_reap(r->v, done, r);
	if (r->unposted && (!nr || r->unposted >= r->ring_size / 8)) {
		r->unposted = 0;
		vnet_rx_flush(r->v);
	}
	return nr;
}

/* -------------------------------------------------------------------- idle --- */

uint64_t nomstack_raw_next_ns(const struct nomstack_raw *r, uint64_t now_ns)
{
	uint64_t end = r->since_ns + r->w_ns;

	if (!r->nr)
		return UINT64_MAX;
	return r->released || now_ns >= end ? 0 : end - now_ns;
}

bool nomstack_raw_idle_prepare(struct nomstack_raw *r)
{
	vnet_tx_flush(r->v);
	if (r->under_way)
		vnet_tx_reap(r->v, done, r);
	r->unposted = 0;
	vnet_rx_flush(r->v);
	return !r->nr && vnet_irq_arm(r->v);
}

void nomstack_raw_idle_done(struct nomstack_raw *r)
{
	vnet_irq_disarm(r->v);
	r->prev_ns = 0;
}

int nomstack_raw_restart(struct nomstack_raw *r)
{
	return vnet_restart(r->v, done, r);
}

const struct nomstack_raw_stats *nomstack_raw_stats(const struct nomstack_raw *r)
{
	return &r->st;
}

/* ------------------------------------------------------------------- knobs --- */

enum { W_US, BATCH_MAX, USO_MAX };

static const struct nomstack_knob table[] = {
	[W_US] = { "w_us", "us", "batching delay W of received frames: more throughput for more latency and jitter", 0, 100000, 0 },
	[BATCH_MAX] = { "batch_max", "packets",
		"frames answered before they are announced: 1 is strict run to completion, more saves doorbells", 1, BATCH_LIMIT, 64 },
	[USO_MAX] = { "uso_max", "datagrams",
		"answers to one peer that leave as one frame for the device to cut up, 1: none; more makes several at a time cheaper",
		1, RAW_RUN_MAX, RAW_RUN_MAX },
};

const struct nomstack_knob *nomstack_raw_knobs(unsigned *nr_out)
{
	*nr_out = sizeof(table) / sizeof(table[0]);
	return table;
}

static int find(const char *name)
{
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (!strcmp(table[i].name, name))
			return (int)i;
	return -ENOENT;
}

int nomstack_raw_knob_set(struct nomstack_raw *r, const char *name, int64_t v)
{
	int i = find(name);

	if (i < 0)
		return i;
	if (v < table[i].min || v > table[i].max)
		return -ERANGE;
	if (i == W_US) {
		r->w_ns = (uint64_t)v * US;
		r->prev_ns = r->gap_ns = 0;	/* polls were not watched with W = 0 */
	} else if (i == BATCH_MAX) {
		r->batch_max = (unsigned)v;
	} else {
		r->uso_max = (unsigned)v;
		/* a frame may take a descriptor for each, and shall leave room for another */
		r->run_max = !r->uso ? 1 : r->uso_max < r->tx_size / 2 ? r->uso_max : r->tx_size / 2;
	}
	return 0;
}

int nomstack_raw_knob_get(const struct nomstack_raw *r, const char *name, int64_t *out)
{
	int i = find(name);

	if (i < 0)
		return i;
	*out = i == W_US ? (int64_t)(r->w_ns / US) : i == BATCH_MAX ? r->batch_max : r->uso_max;
	return 0;
}
