// SPDX-License-Identifier: MIT
/*
 * stack_rig.c - see stack_rig.h
 */
#include "stack_rig.h"

#include <nomux/clock.h>

#include "internal.h"
#include "lwip/memp.h"
#include "lwip/stats.h"
#include "lwip/priv/tcp_priv.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef RIG_PLAIN
#include <setjmp.h>
#include <cmocka.h>
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

#define ARENA_BYTES ((size_t)16 << 20)
#define TX_QUEUE 4096

void rig_assert(bool ok, const char *what, const char *file, int line)
{
#ifndef RIG_PLAIN
	_assert_true(ok, what, file, line);
#else
	if (!ok) {
		fprintf(stderr, "%s:%d: %s\n", file, line, what);
		exit(1);
	}
#endif
}

uint64_t rig_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

/* ---------------------------------------------------------------- device --- */

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
	struct vnet_stats st;
};

static struct vnet the_v;
struct rig_frame *rig_log;

void rig_device_reset(uint64_t features, unsigned tx_ring)
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
	rig_log = v->log = calloc(RIG_LOG, sizeof(*v->log));
	v->tx_ring = tx_ring;
	for (i = 0; i < RIG_BUFS; i++)
		v->free[v->nr_free++] = (uint16_t)i;
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

uint64_t vnet_features(const struct vnet *v)
{
	return v->features;
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
		struct rig_frame *f = &v->log[v->log_tail++ % RIG_LOG];

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

/* ------------------------------------------------------------------- rig --- */

static uint64_t rig_clock(void *arg)
{
	struct rig *r = arg;

	r->now_ns += r->clock_step_ns;
	return r->now_ns;
}

void rig_open_opts(struct rig *r, const char *ip4, uint64_t features, unsigned tx_ring)
{
	struct nomstack_opts o = { .sz = sizeof(o), .ip4 = ip4, .hostname = "rig", .now_ns = rig_clock, .now_arg = r };

	if (nomstack__the)
		nomstack_close(nomstack__the);	/* of a test that failed */
	memset(r, 0, sizeof(*r));
	rig_device_reset(features, tx_ring);
	r->v = o.vnet = &the_v;
	r->now_ns = 1000000000;
	the_v.now_ns = &r->now_ns;
	r->peer_ip = PEER_IP;
	memcpy(r->peer_mac, "\x52\x54\x00\x00\x00\x01", 6);
	t_assert(nomstack_open(&o, &r->s) == 0);
}

void rig_open(struct rig *r, const char *ip4, uint64_t features)
{
	struct rig_frame f;

	rig_open_opts(r, ip4, features, 256);
	if (strcmp(ip4, "dhcp")) {
		rig_arp(r, r->peer_ip, r->peer_mac);
		while (rig_tx_pop_raw(&f))
			;
	}
}

unsigned rig_pcbs(void)
{
	struct tcp_pcb *p;
	unsigned n = 0;

	for (p = tcp_active_pcbs; p; p = p->next)
		n++;
	for (p = tcp_tw_pcbs; p; p = p->next)
		n++;
	for (p = tcp_bound_pcbs; p; p = p->next)
		n++;
	return n;
}

void rig_close(struct rig *r)
{
	unsigned i;

	rig_tx_hold(false);
	rig_tx_fail(false);
	nomstack_close(r->s);
	t_assert(the_v.nr_held == 0);
	t_assert(the_v.nr_free + (the_v.used_tail - the_v.used_head) == RIG_BUFS);
	t_assert(nomstack__heap_used() == 0);
	t_assert(rig_pcbs() == 0);
#if MEMP_STATS
	for (i = 0; i < MEMP_MAX; i++) {
		/* The cyclic timers stay. */
		if (i == MEMP_SYS_TIMEOUT)
			continue;
		if (lwip_stats.memp[i]->used)
			fprintf(stderr, "pool %u: %u left\n", i, (unsigned)lwip_stats.memp[i]->used);
		t_assert(lwip_stats.memp[i]->used == 0);
	}
#else
	(void)i;
#endif
}

void rig_run(struct rig *r, unsigned ms)
{
	while (ms--) {
		r->now_ns += 1000000;
		nomstack_poll(r->s);
	}
}

void rig_knob(struct rig *r, const char *name, int64_t v)
{
	t_assert(nomstack_knob_set(r->s, name, v) == 0);
}

struct nomstack_stats rig_stats(struct rig *r)
{
	struct nomstack_stats st;

	nomstack_stats(r->s, &st);
	return st;
}

/* ---------------------------------------------------------------- frames --- */

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* RFC 1071, byte by byte; the result goes into a packet as it is. */
uint16_t t_csum(const void *data, unsigned len, uint32_t start)
{
	const uint8_t *p = data;
	uint64_t sum = start;
	unsigned i;

	for (i = 0; i + 1 < len; i += 2)
		sum += get16(p + i);
	if (len & 1)
		sum += (uint64_t)p[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)__builtin_bswap16((uint16_t)~sum);
}

static uint32_t pseudo(uint32_t src, uint32_t dst, unsigned proto, unsigned len)
{
	return (src >> 16) + (src & 0xffff) + (dst >> 16) + (dst & 0xffff) + proto + len;
}

unsigned t_ip_frame(struct rig *r, uint8_t *f, uint32_t src, uint32_t dst, unsigned proto, const void *body,
		    unsigned len)
{
	uint8_t *ip = f + 14;
	uint16_t sum;

	memcpy(f, vnet_mac(r->v), 6);
	memcpy(f + 6, r->peer_mac, 6);
	put16(f + 12, 0x0800);
	memset(ip, 0, 20);
	ip[0] = 0x45;
	put16(ip + 2, 20 + len);
	ip[8] = 64;
	ip[9] = (uint8_t)proto;
	put32(ip + 12, src);
	put32(ip + 16, dst);
	sum = t_csum(ip, 20, 0);
	memcpy(ip + 10, &sum, 2);
	memmove(ip + 20, body, len);
	return 14 + 20 + len;
}

void rig_arp(struct rig *r, uint32_t ip, const uint8_t mac[6])
{
	uint8_t f[60] = { 0 };

	memcpy(f, vnet_mac(r->v), 6);
	memcpy(f + 6, mac, 6);
	put16(f + 12, 0x0806);
	put16(f + 14, 1);
	put16(f + 16, 0x0800);
	f[18] = 6;
	f[19] = 4;
	put16(f + 20, 1);
	memcpy(f + 22, mac, 6);
	put32(f + 28, ip);
	put32(f + 38, RIG_IP);
	rig_inject(r, f, sizeof(f), 0);
	nomstack_poll(r->s);
}

bool rig_tx_pop(struct rig *r, struct rig_frame *out)
{
	while (rig_tx_pop_raw(out)) {
		uint8_t f[60] = { 0 };

		if (get16(out->data + 12) != 0x0806 || get16(out->data + 20) != 1)
			return true;
		r->arp_requests++;
		if (get32(out->data + 38) == get32(out->data + 28))
			continue;	/* gratuitous */
		memcpy(f, vnet_mac(r->v), 6);
		memcpy(f + 6, r->peer_mac, 6);
		memcpy(f + 12, out->data + 12, 8);
		put16(f + 20, 2);
		memcpy(f + 22, r->peer_mac, 6);
		memcpy(f + 28, out->data + 38, 4);
		memcpy(f + 32, out->data + 22, 10);
		rig_inject(r, f, sizeof(f), 0);
		nomstack_poll(r->s);
	}
	return false;
}

/* ------------------------------------------------------------------ peer --- */

void peer_init(struct peer *p, struct rig *r, uint16_t port, uint16_t dport)
{
	memset(p, 0, sizeof(*p));
	p->r = r;
	p->ip = r->peer_ip;
	p->port = port;
	p->dport = dport;
	p->seq = 0xfffff000u + port;	/* wraps soon */
	p->window = 65535;
}

unsigned peer_frame(struct peer *p, uint8_t *f, unsigned flags, uint32_t seq, uint32_t ack, const void *data,
		    unsigned len)
{
	uint8_t *t = f + 34;
	unsigned hdr = flags & SYN ? 24 : 20;
	uint16_t sum;

	memset(t, 0, 24);
	put16(t, p->port);
	put16(t + 2, p->dport);
	put32(t + 4, seq);
	put32(t + 8, ack);
	t[12] = (uint8_t)(hdr << 2);
	t[13] = (uint8_t)flags;
	put16(t + 14, p->window);
	if (flags & SYN) {
		t[20] = 2;
		t[21] = 4;
		put16(t + 22, 1460);
	}
	if (len)
		memmove(t + hdr, data, len);
	sum = t_csum(t, hdr + len, pseudo(p->ip, RIG_IP, 6, hdr + len));
	if (p->bad_csum)
		sum ^= 0x5555;
	memcpy(t + 16, &sum, 2);
	return t_ip_frame(p->r, f, p->ip, RIG_IP, 6, t, hdr + len);
}

void peer_send_at(struct peer *p, unsigned flags, uint32_t seq, const void *data, unsigned len)
{
	uint8_t f[RIG_FRAME];
	unsigned n = peer_frame(p, f, flags, seq, flags & ACK ? p->ack : 0, data, len);

	t_assert(rig_inject(p->r, f, n, p->rx_flags));
}

void peer_send(struct peer *p, unsigned flags, const void *data, unsigned len)
{
	peer_send_at(p, flags, p->seq, data, len);
	p->seq += len + !!(flags & SYN) + !!(flags & FIN);
}

static bool parse(struct peer *p, struct seg *s)
{
	const uint8_t *ip = s->frame.data + 14, *t;
	unsigned ip_len, hdr;

	if (s->frame.len < 54 || get16(s->frame.data + 12) != 0x0800 || ip[9] != 6)
		return false;
	ip_len = get16(ip + 2);
	t_assert(ip[0] == 0x45);
	t_assert(ip_len + 14 <= s->frame.len);
	t_assert(t_csum(ip, 20, 0) == 0);
	t_assert(!memcmp(s->frame.data, p->r->peer_mac, 6));
	if (get32(ip + 16) != p->ip)
		return false;
	t = ip + 20;
	t_assert(t_csum(t, ip_len - 20, pseudo(RIG_IP, p->ip, 6, ip_len - 20)) == 0);
	s->sport = (uint16_t)get16(t);
	s->dport = (uint16_t)get16(t + 2);
	if (s->sport != p->dport || s->dport != p->port)
		return false;
	s->seq = get32(t + 4);
	s->ack = get32(t + 8);
	hdr = (t[12] >> 4) * 4u;
	t_assert(hdr >= 20 && hdr <= ip_len - 20);
	s->flags = t[13];
	s->window = (uint16_t)get16(t + 14);
	s->opt = t + 20;
	s->opt_len = hdr - 20;
	s->data = t + hdr;
	s->len = ip_len - 20 - hdr;
	return true;
}

bool peer_recv(struct peer *p, struct seg *out)
{
	while (rig_tx_pop(p->r, &out->frame))
		if (parse(p, out))
			return true;
	return false;
}

void peer_none(struct peer *p)
{
	static struct seg s;

	nomstack_poll(p->r->s);
	t_assert(!peer_recv(p, &s));
}

void peer_handshake(struct peer *p)
{
	static struct seg s;

	p->ack = 0;
	peer_send(p, SYN, NULL, 0);
	nomstack_poll(p->r->s);
	t_assert(peer_recv(p, &s));
	t_assert(s.flags == (SYN | ACK));
	t_assert(s.ack == p->seq);
	p->ack = s.seq + 1;
	peer_send(p, ACK, NULL, 0);
	nomstack_poll(p->r->s);
}

unsigned peer_recv_data(struct peer *p, void *buf, unsigned max)
{
	static struct seg s;
	unsigned n = 0;

	while (peer_recv(p, &s)) {
		if (!s.len || s.seq != p->ack)
			continue;
		t_assert(n + s.len <= max);
		memcpy((uint8_t *)buf + n, s.data, s.len);
		n += s.len;
		p->ack += s.len;
		peer_send(p, ACK, NULL, 0);
		nomstack_poll(p->r->s);
	}
	return n;
}
