// SPDX-License-Identifier: MIT
/*
 * vnet and a device made of random bytes.
 *
 * A program is a string of steps; each step is the device (it uses a buffer
 * honestly, or writes anything anywhere in the rings, headers, status or
 * configuration) or the application (burst, release, send, reap, sleep).
 * Programs are mutated: bytes changed, stretches repeated, two programs
 * joined; what went further than before (more steps before the driver
 * stopped, or a reason not seen yet) is kept and mutated again.
 *
 * After each step must hold: buffers handed out are inside of DMA memory, are
 * held once, and are neither longer than a buffer nor lost; cookies come back
 * once each; a stopped driver has a reason and has reset the device; work is
 * bounded, as the whole program ends.  ASan and UBSan watch the rest.
 *
 * The same seed gives the same programs:
 *
 *	NOM_FUZZ_SEED=7 NOM_FUZZ_SECONDS=3600 build/asan/tests/test_vnet_fuzz
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
#include <time.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "nomdrv/vnet.h"
#include "nomux/log.h"
#include "../../userdrivers/src/vtrans_fake.h"

#define BIT(n)		(1ULL << (n))
#define RX		0
#define TX		1
#define CTL		2
#define STEPS_MAX	400
#define STEP_BYTES	4
#define BYTES_MAX	(STEPS_MAX * STEP_BYTES)
#define KEPT_MAX	64
#define REASONS_MAX	32
#define BUFS		128
#define BURST_MAX	64
#define CTRL		(BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) | \
			 BIT(VIRTIO_NET_F_CTRL_VLAN) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR))
#define MERGE		(BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) | \
			 BIT(VIRTIO_NET_F_GUEST_USO4) | BIT(VIRTIO_NET_F_GUEST_USO6))
#define CUTS		(BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) | \
			 BIT(VIRTIO_NET_F_HOST_USO))
#define COOKIES		4096

struct program {
	unsigned int len;
	uint8_t b[BYTES_MAX];
};

/* One run of a program: both sides' state, and what has to balance. */
struct run {
	struct vtrans_fake *f;
	struct vnet *v;
	int irq_fd;
	bool packed, merge, ctrl;
	uint8_t answer[STEP_BYTES];	/* how commands are answered */
	uint64_t ctl_base;	/* commands before the last restart */
	unsigned int at[2];	/* packed: the device's position in each ring, free-running */
	bool held[BUFS];
	unsigned int nr_held;
	uint8_t *arena;
	unsigned int queued, back;
	uint8_t cookie[COOKIES];	/* 0: unused, 1: with the device, 2: came back */
};

static uint64_t rng = 1;

static uint32_t t_rand(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 16);
}

/* ------------------------------------------------------------- the device --- */

static void honest_header(void *p, unsigned int nr)
{
	const struct virtio_net_hdr_v1 hdr = { .num_buffers = (uint16_t)nr };

	memcpy(p, &hdr, sizeof(hdr));	/* it may have been told to lie anywhere */
}

static void use_honestly_packed(struct run *r, unsigned int q, uint8_t len)
{
	struct vring_packed_desc *ring = vtrans_fake_packed(r->f, q);
	unsigned int at = r->at[q], size = r->f->queue[q].size;
	uint16_t flags = ring[at & (size - 1)].flags;
	void *hdr = vtrans_fake_va(r->f, ring[at & (size - 1)].addr);

	if ((flags & (1u << 7 | 1u << 15)) != (at & size ? 1u << 15 : 1u << 7))
		return;
	if (q == RX && hdr)
		honest_header(hdr, 1);
	while ((ring[r->at[q]++ & (size - 1)].flags & VRING_DESC_F_NEXT) && r->at[q] - at < size)
		;
	vtrans_fake_use_packed(r->f, q, at, ring[(r->at[q] - 1) & (size - 1)].id,
			       q == RX ? 26u + len * 7u : 0);
}

static void use_honestly(struct run *r, unsigned int q, uint8_t len)
{
	if (r->packed) {
		use_honestly_packed(r, q, len);
		return;
	}
	uint16_t at = vtrans_fake_used(r->f, q)->idx, mask = (uint16_t)(r->f->queue[q].size - 1);
	uint16_t id = vtrans_fake_avail(r->f, q)->ring[at & mask];

	if (vtrans_fake_avail(r->f, q)->idx == at || id > mask)
		return;
	if (q == RX) {
		void *hdr = vtrans_fake_va(r->f, vtrans_fake_desc(r->f, RX)[id].addr);

		if (hdr)
			honest_header(hdr, 1);
	}
	vtrans_fake_use(r->f, q, id, q == RX ? 26u + len * 7u : 0);
}

/* A frame in several buffers, which may be more than are there. */
static void use_merged(struct run *r, uint8_t number, uint8_t len)
{
	unsigned int size = r->f->queue[RX].size, nr = 1 + number % 34u, i;

	for (i = 0; i < nr; i++) {
		unsigned int at = r->packed ? r->at[RX] : vtrans_fake_used(r->f, RX)->idx;
		unsigned int d = at & (size - 1);
		uint32_t bytes = i + 1 < nr ? 2046 : 13u + len * 7u;

		if (!r->packed)
			d = vtrans_fake_avail(r->f, RX)->ring[d] & (size - 1);
		if (!i) {
			void *hdr = vtrans_fake_va(r->f, vtrans_fake_desc(r->f, RX)[d].addr);

			if (hdr)
				honest_header(hdr, nr);
		}
		if (r->packed)
			vtrans_fake_use_packed(r->f, RX, r->at[RX]++, vtrans_fake_packed(r->f, RX)[d].id, bytes);
		else
			vtrans_fake_use(r->f, RX, d, bytes);
	}
}

/* Any two bytes anywhere in the three parts of a ring. */
static void scribble(struct run *r, unsigned int q, const uint8_t *s)
{
	unsigned int n = r->f->queue[q].size;
	uint8_t *part[3] = { r->f->queue[q].desc, r->f->queue[q].avail, r->f->queue[q].used };
	size_t bytes[3] = { n * 16u, 6 + n * 2u, 6 + n * 8u };
	size_t off = (s[1] * 256u + s[2]) % (bytes[s[0] % 3] - 1);

	part[s[0] % 3][off] = s[3];
	if (s[2] & 1)
		part[s[0] % 3][off + 1] = s[1];
}

static void lie(struct run *r, unsigned int q, const uint8_t *s)
{
	struct vring_used *u = vtrans_fake_used(r->f, q);
	static const uint32_t odd[] = { 0, 11, 12, 2046, 2047, 4096, 0x10000, 0x80000000u, UINT32_MAX };
	uint32_t value = odd[s[3] % (sizeof(odd) / sizeof(odd[0]))];

	if (r->packed) {	/* here or further on, with an id or a length out of nowhere */
		unsigned int at = r->at[q] + (s[2] & 8 ? s[3] % 9u : 0);

		vtrans_fake_use_packed(r->f, q, at, s[2] & 1 ? s[3] % 20u : value, s[2] & 2 ? value : 100);
		r->at[q] += s[2] & 4 ? 1 : 0;
		return;
	}
	switch (s[2] % 5) {
	case 0:
		u->idx = (uint16_t)(u->idx + (s[3] & 0x80 ? s[3] : s[3] % 12));
		break;
	case 1:
		vtrans_fake_use(r->f, q, s[3] % 20u, 100);
		break;
	case 2:
		vtrans_fake_use(r->f, q, value, 100);
		break;
	case 3:
		vtrans_fake_use(r->f, q, vtrans_fake_avail(r->f, q)->ring[u->idx & (r->f->queue[q].size - 1)], value);
		break;
	default:
		u->flags = (uint16_t)(s[3] * 257u);
	}
}

/* The address is at the same place in descriptors of both kinds. */
static void scribble_header(struct run *r, const uint8_t *s)
{
	uint8_t *hdr = vtrans_fake_va(r->f, vtrans_fake_desc(r->f, RX)[s[1] % r->f->queue[RX].size].addr);

	if (hdr)
		hdr[s[2] % 12] = s[3];
}

static void interrupt(struct run *r, uint8_t n)
{
	uint64_t irqs = n == 255 ? UINT32_MAX : n ? n : 1;
	ssize_t done = write(r->irq_fd, &irqs, sizeof(irqs));

	(void)done;
}

/*
 * Called while the driver waits for an answer: always one, for to wait for none
 * takes two seconds.  True ones mostly; else another id, a used index out of
 * nowhere, or the ring overwritten before.
 */
static void answer(void *arg)
{
	struct run *r = arg;
	const uint8_t *s = r->answer;
	unsigned int mask = r->f->queue[CTL].size - 1;
	/* Where the driver looks for the answer, if the ring is packed: a command takes two. */
	unsigned int at = 2 * (unsigned int)(vnet_stats(r->v)->commands - r->ctl_base);
	struct vring_desc *d = vtrans_fake_desc(r->f, CTL);
	unsigned int id, second;
	uint8_t *byte;

	if (s[1] & 0x40)
		((uint8_t *)d)[s[2] % 64] = s[3];
	if (r->packed) {
		id = vtrans_fake_packed(r->f, CTL)[at & mask].id;
		second = (at + 1) & mask;
	} else {
		id = vtrans_fake_avail(r->f, CTL)->ring[vtrans_fake_used(r->f, CTL)->idx & mask] & mask;
		second = d[id].next & mask;
	}
	byte = vtrans_fake_va(r->f, d[second].addr);
	if (byte)
		*byte = s[1] & 2 ? s[3] : 0;
	if ((s[1] & 0x3c) == 4)
		id = s[3];
	if (r->packed) {
		vtrans_fake_use_packed(r->f, CTL, at, id, 1);
		return;
	}
	vtrans_fake_use(r->f, CTL, id, 1);
	if ((s[1] & 0x3c) == 8)
		vtrans_fake_used(r->f, CTL)->idx = (uint16_t)(s[2] | 1);
}

/* -------------------------------------------------------- the application --- */

static void burst(struct run *r, uint8_t max)
{
	unsigned int room = r->merge ? VNET_RX_SEG_MAX + max % 32u : max % BURST_MAX + 1u;
	unsigned int pending = vnet_rx_pending(r->v), n, i, total = 0;
	struct vnet_rx rx[BURST_MAX];
	bool more = false;

	assert_true(pending <= vnet_rx_size(r->v));
	assert_true(vnet_rx_room(r->v) <= vnet_rx_size(r->v));
	n = vnet_rx_burst(r->v, rx, room);
	assert_true(n <= room);
	for (i = 0; i < n; i++) {
		assert_true(vnet_dma_contains(r->v, rx[i].data, rx[i].len));
		assert_true(rx[i].len >= (more ? 1 : 14) && rx[i].len <= (more ? 2046 : VNET_FRAME_MAX_BYTES));
		total = more ? total + rx[i].len : rx[i].len;
		assert_true(total <= VNET_RX_LARGE_MAX_BYTES);
		more = rx[i].flags & VNET_RX_MORE;
		assert_true(r->merge || !rx[i].flags || rx[i].flags == VNET_RX_CSUM_OK);
		assert_true(rx[i].id < BUFS);
		assert_false(r->held[rx[i].id]);
		r->held[rx[i].id] = true;
		r->nr_held++;
		memset(rx[i].data, 0x5a, rx[i].len);	/* it is ours */
	}
	assert_false(more);	/* no frame is torn */
	assert_true(r->nr_held <= BUFS);
}

static void release(struct run *r, uint8_t which)
{
	unsigned int i;

	for (i = 0; i < BUFS; i++) {
		unsigned int id = (i + which) % BUFS;

		if (!r->held[id])
			continue;
		r->held[id] = false;
		r->nr_held--;
		vnet_rx_release(r->v, (uint16_t)id);
		if (which & 0x80)
			return;
	}
}

static void transmit(struct run *r, const uint8_t *s)
{
	struct vnet_seg seg[6] = {
		{ r->arena, 40u + s[2] }, { r->arena + 512, 1u + s[3] * 4u }, { r->arena + 2048, 64 },
		{ r->arena + 2400, 64 }, { r->arena + 2200, 1u + s[3] % 100u }, { r->arena + 2600, 64 },
	};
	struct vnet_tx tx = { .seg = seg, .nr_seg = 1 + s[1] % 6u };

	if (s[1] & 0x80) {
		vnet_tx_copy(r->v, seg, 1, s[2] & 1 ? 34 : 0, 16);
		return;
	}
	/* to be cut up: of TCP or UDP, of either version, right or not */
	if (s[1] & 0x40) {
		const bool six = s[2] & 1, udp = s[2] & 2;
		uint8_t *f = r->arena;

		f[12] = six ? 0x86 : 0x08;
		f[13] = six ? 0xdd : 0;
		tx.csum_start = six ? 54 : 34;
		tx.csum_offset = udp ? 6 : 16;
		tx.hdr_bytes = (uint16_t)(tx.csum_start + (udp ? 8 : 20) + (s[2] & 4 ? s[3] % 4 : 0));
		tx.gso_bytes = (uint16_t)(1 + (s[2] >> 3) * 8);
		seg[0].len = tx.hdr_bytes;
	}
	tx.cookie = &r->cookie[r->queued];
	if (r->queued < COOKIES && !vnet_tx(r->v, &tx))
		r->cookie[r->queued++] = 1;
}

static void t_done(void *cookie, void *arg)
{
	struct run *r = arg;
	uint8_t *c = cookie;

	assert_true(c >= r->cookie && c < r->cookie + r->queued);
	assert_int_equal(*c, 1);
	*c = 2;
	r->back++;
}

/* A command, and what is done with its answer: nothing, or it is remembered for a restart. */
static void command(struct run *r, const uint8_t *s)
{
	uint8_t mac[6] = { (uint8_t)(s[2] & 0xfe), 0, 0, 1, s[3], s[2] };
	const uint8_t (*table)[6] = (const void *)mac;
	int err;

	memcpy(r->answer, s, STEP_BYTES);
	switch (s[2] & 3) {
	case 0:
		err = vnet_set_mac(r->v, mac);
		break;
	case 1:
		err = vnet_set_rx_mode(r->v, s[3] & 3);
		break;
	case 2:
		err = vnet_set_filter(r->v, table, 1, NULL, 0);
		break;
	default:
		err = vnet_vlan(r->v, s[3] * 17u, s[1] & 1);
	}
	assert_true(!err || err == -EINVAL || err == -EREMOTEIO || err == -EIO);
	assert_true(err == -EIO || err == -EINVAL || !vnet_error(r->v, NULL));
	assert_true(err != -EIO || vnet_error(r->v, NULL));
}

static void nap(struct run *r)
{
	vnet_irq_arm(r->v);
	vnet_irq_disarm(r->v);
}

/* As an application would; the device is well again, or not. */
static void restart(struct run *r, uint8_t well)
{
	unsigned int id;

	if (well & 1)
		r->f->status_bits = 0xf;
	r->ctl_base = vnet_stats(r->v)->commands;
	memset(r->answer, 0, sizeof(r->answer));	/* what was set is told again, and taken */
	if (vnet_restart(r->v, t_done, r)) {
		assert_false(r->f->started);
		return;
	}
	assert_true(r->f->started);
	assert_int_equal(r->back, r->queued);
	r->at[RX] = r->at[TX] = 0;
	for (id = 0; id < BUFS; id++)
		if (r->held[id])
			memset(vnet_rx_priv(r->v, (uint16_t)id), 0x33, VNET_PRIV_BYTES);
}

/* ----------------------------------------------------------------- a run --- */

static void step(struct run *r, const uint8_t *s)
{
	switch (s[0] & 15) {
	case 2:
		if (r->merge && s[1] & 2) {
			use_merged(r, s[2], s[3]);
			break;
		}
		/* fall through */
	case 0: case 1:
		use_honestly(r, s[1] & 1, s[2]);
		break;
	case 3:
		if (s[1] < 64)
			lie(r, s[1] & 1, s);
		break;
	case 4:
		scribble(r, s[3] & 1, s);
		break;
	case 5:
		scribble_header(r, s);
		break;
	case 6:
		interrupt(r, s[1]);
		break;
	case 7:
		if (s[1] < 8)
			r->f->status_bits = s[2] & 1 ? -EIO : s[2];
		else
			((uint8_t *)&r->f->config)[s[2] % sizeof(r->f->config)] = s[3];
		break;
	case 8: case 9:
		burst(r, s[1]);
		break;
	case 10:
		release(r, s[1]);
		vnet_rx_flush(r->v);
		break;
	case 11: case 12:
		transmit(r, s);
		break;
	case 13:
		vnet_tx_flush(r->v);
		vnet_tx_reap(r->v, t_done, r);
		break;
	case 14:
		if (r->ctrl && s[1] & 1)
			command(r, s);
		else
			nap(r);
		break;
	default:
		vnet_check(r->v);
		if (vnet_error(r->v, NULL))
			restart(r, s[1]);
	}
}

/* Runs a program; returns the steps until the driver stopped, and why it did. */
static unsigned int t_run(const struct program *p, char *why_out, size_t why_bytes)
{
	struct vnet_opts o = { .sz = sizeof(o), .arena_bytes = 8192, .nr_bufs = BUFS };
	static struct run r;
	const char *why = NULL;
	unsigned int i, stopped_at = 0;

	r = (struct run){ .f = vtrans_fake_create() };
	r.f->queue_size[RX] = r.f->queue_size[TX] = 16;
	r.merge = p->b[0] & 8;
	if (r.merge) {
		r.f->queue_size[RX] = 64;
		r.f->offered |= MERGE;
		o.features_on = MERGE;
	}
	r.f->offered |= (p->b[0] & 1 ? BIT(VIRTIO_RING_F_EVENT_IDX) : 0) |
		(p->b[0] & 2 ? BIT(VIRTIO_F_RING_PACKED) : 0) | (p->b[0] & 4 ? BIT(VIRTIO_F_IN_ORDER) : 0);
	if (p->b[0] & 32)
		r.f->offered |= CUTS;
	if (p->b[0] & 64)
		r.f->offered |= BIT(VIRTIO_RING_F_INDIRECT_DESC);
	r.packed = p->b[0] & 2;
	r.ctrl = p->b[0] & 16;
	if (r.ctrl) {
		r.f->offered |= CTRL;
		o.features_on |= CTRL;
		o.wait = answer;
		o.wait_arg = &r;
	}
	r.irq_fd = r.f->irq_fd = eventfd(0, EFD_NONBLOCK);
	assert_int_equal(vnet_create(&r.f->dev, &o, &r.v), 0);
	r.arena = vnet_dma_alloc(r.v, 4096, 64);
	assert_non_null(r.arena);
	for (i = STEP_BYTES; i + STEP_BYTES <= p->len; i += STEP_BYTES) {
		step(&r, p->b + i);
		if (!vnet_error(r.v, &why))
			continue;
		assert_int_equal(vnet_error(r.v, NULL), -EIO);
		assert_non_null(why);
		assert_true(strlen(why) > 10);
		assert_false(r.f->started);
		if (stopped_at)
			continue;
		stopped_at = i / STEP_BYTES;
		snprintf(why_out, why_bytes, "%s", why);
		for (char *c = why_out; *c; c++)	/* the kind, not the numbers */
			*c = strchr("0123456789abcdef", *c) ? '0' : *c;
		for (char *c = why_out; (c = strstr(c, "00"));)
			memmove(c, c + 1, strlen(c));
	}
	vnet_stop(r.v);
	assert_false(r.f->started);
	vnet_tx_reap(r.v, t_done, &r);
	assert_int_equal(r.back, r.queued);
	release(&r, 0);
	vnet_close(r.v);
	close(r.irq_fd);
	return stopped_at ? stopped_at : p->len / STEP_BYTES;
}

/* --------------------------------------------------------------- mutation --- */

static void generate(struct program *p)
{
	unsigned int i;

	p->len = (50 + t_rand() % (STEPS_MAX - 50)) * STEP_BYTES;
	for (i = 0; i < p->len; i++)
		p->b[i] = (uint8_t)t_rand();
}

static void mutate(struct program *p, const struct program *other)
{
	unsigned int n = 1 + t_rand() % 4, from, to, len;

	while (n--) {
		switch (t_rand() % 4) {
		case 0:
			p->b[t_rand() % p->len] = (uint8_t)t_rand();
			break;
		case 1:
			p->b[t_rand() % p->len] ^= (uint8_t)(1u << t_rand() % 8);
			break;
		case 2:		/* repeat a stretch */
			len = (1 + t_rand() % 16) * STEP_BYTES;
			if (2 * len > p->len)
				break;
			from = t_rand() % (p->len - len) / STEP_BYTES * STEP_BYTES;
			to = t_rand() % (p->len - len) / STEP_BYTES * STEP_BYTES;
			memmove(p->b + to, p->b + from, len);
			break;
		default:	/* go on as the other one does */
			from = t_rand() % (p->len < other->len ? p->len : other->len);
			memcpy(p->b + from, other->b + from, other->len - from);
			p->len = other->len;
		}
	}
}

static uint64_t from_env(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void quiet(int level, const char *message, void *arg)
{
}

static void test_vnet_fuzz(void **state)
{
	static struct program kept[KEPT_MAX];
	static char reason[REASONS_MAX][160];
	uint64_t seed = from_env("NOM_FUZZ_SEED", 20261126), seconds = from_env("NOM_FUZZ_SECONDS", 4);
	unsigned int nr_kept = 0, nr_reasons = 0, furthest = 0, i;
	time_t end = time(NULL) + (time_t)seconds;
	uint64_t runs = 0;

	rng = seed ? seed : 1;
	nomux_set_log_fn(quiet, NULL);	/* each stop is logged; there are thousands */
	while (runs < 2000 || time(NULL) < end) {
		static struct program p;
		char why[160] = "";
		unsigned int steps;
		bool news = false;

		if (nr_kept < 8 || t_rand() % 16 == 0) {
			generate(&p);
		} else {
			p = kept[t_rand() % nr_kept];
			mutate(&p, &kept[t_rand() % nr_kept]);
		}
		steps = t_run(&p, why, sizeof(why));
		runs++;
		if (why[0]) {
			for (i = 0; i < nr_reasons && strcmp(reason[i], why); i++)
				;
			if (i == nr_reasons && nr_reasons < REASONS_MAX) {
				strcpy(reason[nr_reasons++], why);
				news = true;
			}
		}
		if (steps > furthest) {
			furthest = steps;
			news = true;
		}
		if (news || nr_kept < 8 || t_rand() % 64 == 0)
			kept[nr_kept < KEPT_MAX ? nr_kept++ : t_rand() % KEPT_MAX] = p;
	}
	print_message("seed %llu: %llu programs, up to %u steps, %u reasons to stop\n",
		      (unsigned long long)seed, (unsigned long long)runs, furthest, nr_reasons);
	/* Not blind: it found each way to stop that there is after opening. */
	assert_true(nr_reasons >= 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vnet_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
