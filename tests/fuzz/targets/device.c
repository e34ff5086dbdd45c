// SPDX-License-Identifier: MIT
/* The stack on a device of memory: device.h. */
#include "device.h"

#include "internal.h"

#include "lwip/memp.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/stats.h"

#include <nomux/clock.h>

#include <errno.h>
#include <linux/virtio_net.h>
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BUFS		64u
#define BUF_BYTES	2048u
#define ARENA_BYTES	(640u << 10)
#define TX_RING		64u

struct vnet {
	uint64_t features;
	unsigned arena_used;
	bool held[BUFS], used_up[BUFS];
	struct vnet_rx used[BUFS];
	unsigned head, tail;
	unsigned tx_queued, tx_flying;
	void *cookie[TX_RING];		/* frames sent without a copy, until reaped */
	unsigned nr_cookies;
	uint8_t last[65600];
	unsigned last_bytes;
	struct vnet_stats st;
};

static struct vnet dev;
static uint8_t arena[ARENA_BYTES] __attribute__((aligned(4096)));
static uint8_t buf[BUFS][BUF_BYTES] __attribute__((aligned(64)));
static uint8_t priv[BUFS][VNET_PRIV_BYTES] __attribute__((aligned(64)));
static uint64_t now_ns;

void fuzz_fail(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

/* The stack's secrets: the same in each run, or inputs could not be replayed. */
ssize_t getrandom(void *p, size_t n, unsigned flags)
{
	memset(p, 0x5a, n);
	return (ssize_t)n;
}

/* ------------------------------------------------------ nomdrv/vnet.h --- */

struct nomux_clock nomux_clock;
int nomux_clock_init(void) { return 0; }
uint64_t nomux__now_ns_slow(void) { return now_ns; }

const uint8_t *vnet_mac(const struct vnet *v) { return (const uint8_t *)"\x52\x54\x00\x00\x00\x02"; }
unsigned int vnet_mtu(const struct vnet *v) { return 1500; }
const char *vnet_no_large_receive(const struct vnet *v) { return "not asked for"; }
uint64_t vnet_features(const struct vnet *v) { return v->features; }
const char *vnet_feature_name(unsigned int bit) { return NULL; }
const char *vnet_feature_reason(const struct vnet *v, unsigned int bit) { return "of a test's device"; }
unsigned int vnet_rx_pending(const struct vnet *v) { return v->tail - v->head; }
unsigned int vnet_rx_size(const struct vnet *v) { return BUFS; }
void *vnet_rx_priv(struct vnet *v, uint16_t id) { return priv[id]; }
void vnet_rx_flush(struct vnet *v) { }
bool vnet_irq_arm(struct vnet *v) { return v->head == v->tail; }
void vnet_irq_disarm(struct vnet *v) { }
int vnet_error(const struct vnet *v, const char **reason_out) { return 0; }
const struct vnet_stats *vnet_stats(const struct vnet *v) { return &v->st; }
unsigned int vnet_tx_queued(const struct vnet *v) { return v->tx_queued; }
unsigned int vnet_tx_room(const struct vnet *v) { return TX_RING - v->tx_queued - v->tx_flying; }
bool vnet_tx_fits(const struct vnet *v, unsigned int need) { return vnet_tx_room(v) >= need; }
void vnet_stop(struct vnet *v) {}
int vnet_restart(struct vnet *v, vnet_tx_done_fn done, void *arg) { return 0; }

unsigned int vnet_rx_room(const struct vnet *v)
{
	unsigned n = 0;

	for (unsigned i = 0; i < BUFS; i++)
		n += !v->used_up[i];
	return n;
}

void *vnet_dma_alloc(struct vnet *v, size_t bytes, size_t align)
{
	size_t at = (v->arena_used + align - 1) & ~(align - 1);

	if (at + bytes > ARENA_BYTES)
		return NULL;
	v->arena_used = (unsigned)(at + bytes);
	return arena + at;
}

bool vnet_dma_contains(const struct vnet *v, const void *p, size_t bytes)
{
	return (const uint8_t *)p >= arena && (const uint8_t *)p + bytes <= arena + ARENA_BYTES;
}

unsigned int vnet_rx_burst(struct vnet *v, struct vnet_rx *out, unsigned int max)
{
	unsigned n = 0;

	while (n < max && v->head != v->tail) {
		out[n] = v->used[v->head++ % BUFS];
		v->held[out[n++].id] = true;
	}
	v->st.rx_packets += n;
	return n;
}

void vnet_rx_release(struct vnet *v, uint16_t id)
{
	FUZZ_ASSERT(id < BUFS && v->held[id]);
	v->held[id] = v->used_up[id] = false;
	ASAN_POISON_MEMORY_REGION(buf[id], BUF_BYTES);
}

/* The whole frame is read, as a device does; ASan looks on. */
static int queue(struct vnet *v, const struct vnet_seg *seg, unsigned nr, void *cookie)
{
	unsigned at = 0;

	if (!vnet_tx_room(v))
		return -EAGAIN;
	FUZZ_ASSERT(nr && nr <= VNET_TSO_SEG_MAX);
	for (unsigned i = 0; i < nr; i++) {
		FUZZ_ASSERT(seg[i].len && at + seg[i].len <= sizeof(v->last));
		memcpy(v->last + at, seg[i].addr, seg[i].len);
		at += seg[i].len;
	}
	FUZZ_ASSERT(at >= 14);
	v->last_bytes = at;
	v->tx_queued++;
	if (cookie)
		v->cookie[v->nr_cookies++] = cookie;
	v->st.tx_packets++;
	return 0;
}

int vnet_tx_copy(struct vnet *v, const struct vnet_seg *seg, unsigned int nr, uint16_t start, uint16_t offset)
{
	FUZZ_ASSERT(nr <= VNET_TX_SEG_MAX);
	return queue(v, seg, nr, NULL);
}

int vnet_tx(struct vnet *v, const struct vnet_tx *tx)
{
	FUZZ_ASSERT(tx->nr_seg <= (tx->gso_bytes ? VNET_TSO_SEG_MAX : VNET_TX_SEG_MAX));
	FUZZ_ASSERT(!tx->gso_bytes || v->features & (((const uint8_t *)tx->seg[0].addr)[12] == 0x86 ?
		    1ull << VIRTIO_NET_F_HOST_TSO6 : 1ull << VIRTIO_NET_F_HOST_TSO4));
	return queue(v, tx->seg, tx->nr_seg, tx->cookie);
}

void vnet_tx_flush(struct vnet *v)
{
	v->tx_flying += v->tx_queued;
	v->tx_queued = 0;
}

unsigned int vnet_tx_reap(struct vnet *v, vnet_tx_done_fn done, void *arg)
{
	unsigned n = v->tx_flying;

	if (v->tx_queued)
		return 0;	/* which cookies are whose is not kept */
	v->tx_flying = 0;
	while (v->nr_cookies)
		done(v->cookie[--v->nr_cookies], arg);
	return n;
}

/* ----------------------------------------------------------------- the rig --- */

static uint64_t clock_fn(void *arg)
{
	return now_ns;
}

static void on_datagram(struct nomstack *s, void *arg, const void *data, uint32_t len, const struct nomstack_addr *from,
			uint16_t port)
{
	nomstack_udp_send_to(s, 7, from, port, data, len < 65473 ? len : 65473);	/* more than the MTU: fragments */
}

static void arp_of_peer(void)
{
	static const uint8_t f[60] = "\x52\x54\x00\x00\x00\x02\x52\x54\x00\x00\x00\x01\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02"
				     "\x52\x54\x00\x00\x00\x01\x0a\x00\x00\x01\x52\x54\x00\x00\x00\x02\x0a\x00\x00\x02";

	fuzz_inject(f, sizeof(f), 0);
}

struct nomstack *fuzz_open(uint64_t features, bool dhcp, const char *ip6)
{
	struct nomstack_opts o = { .sz = sizeof(o), .vnet = &dev, .ip4 = dhcp ? "dhcp" : "10.0.0.2/24", .ip6 = ip6,
				   .hostname = "fuzz", .now_ns = clock_fn };
	struct nomstack *s;

	ASAN_UNPOISON_MEMORY_REGION(arena, sizeof(arena));
	memset(&dev, 0, offsetof(struct vnet, last));
	dev.last_bytes = 0;
	memset(&dev.st, 0, sizeof(dev.st));
	dev.features = features;
	ASAN_POISON_MEMORY_REGION(buf, sizeof(buf));
	now_ns = 1000000000;
	FUZZ_ASSERT(nomstack_open(&o, &s) == 0);
	fuzz_app_reset(s);
	FUZZ_ASSERT(nomstack_tcp_listen(s, 80, 4, &fuzz_app, s) == 0);
	FUZZ_ASSERT(nomstack_udp_bind_any(s, 7, on_datagram, NULL) == 0);
	arp_of_peer();
	fuzz_turn(s, 0);
	for (int i = 0; ip6 && i < 4; i++)
		fuzz_turn(s, 1000000000);	/* nobody else has its addresses */
	fuzz_sent(NULL);
	return s;
}

void fuzz_close(struct nomstack *s)
{
	struct nomstack_fragments fr;

	nomstack_fragments(s, &fr);
	FUZZ_ASSERT(fr.held <= NOMSTACK_REASS_DATAGRAMS);
	FUZZ_ASSERT(fr.received >= fr.dropped + 2 * fr.completed + fr.held);
	fuzz_app_reset(NULL);
	nomstack_close(s);
	FUZZ_ASSERT(nomstack__heap_used() == 0);
	FUZZ_ASSERT(!tcp_active_pcbs && !tcp_tw_pcbs && !tcp_bound_pcbs && !tcp_listen_pcbs.pcbs);
	for (unsigned i = 0; i < BUFS; i++)
		FUZZ_ASSERT(!dev.held[i]);
#if MEMP_STATS
	for (unsigned i = 0; i < MEMP_MAX; i++)
		FUZZ_ASSERT(i == MEMP_SYS_TIMEOUT || !lwip_stats.memp[i]->used);
#else
#error "leaks of pools would go unseen: build with __SANITIZE_ADDRESS__"
#endif
}

void fuzz_inject(const void *frame, unsigned len, unsigned flags)
{
	struct vnet *v = &dev;
	unsigned id;

	for (id = 0; id < BUFS && v->used_up[id]; id++)
		;
	if (id == BUFS || len < 14 || len > VNET_FRAME_MAX_BYTES)
		return;
	v->used_up[id] = true;
	ASAN_UNPOISON_MEMORY_REGION(buf[id], 14 + len);
	memcpy(buf[id] + 14, frame, len);
	v->used[v->tail++ % BUFS] = (struct vnet_rx){ buf[id] + 14, len, (uint16_t)id, (uint16_t)flags };
}

void fuzz_turn(struct nomstack *s, uint64_t ns)
{
	now_ns += ns;
	while (nomstack_poll(s))
		;
}

uint64_t fuzz_time(unsigned code)
{
	static const uint64_t ms[16] = { 0, 0, 0, 0, 0, 1, 5, 50, 250, 500, 1000, 1500, 3000, 5000, 20000, 75000 };

	return ms[code & 15] * 1000000;
}

const uint8_t *fuzz_sent(unsigned *len_out)
{
	unsigned n = dev.last_bytes;

	dev.last_bytes = 0;
	if (len_out)
		*len_out = n;
	return n ? dev.last : NULL;
}

/* ------------------------------------------------------------------- sums --- */

static uint32_t sum(const uint8_t *p, unsigned n, uint32_t s)
{
	for (unsigned i = 0; i < n; i++)
		s += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	return s;
}

static void store(uint8_t *at, uint32_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	s = ~s & 0xffff;
	at[0] = (uint8_t)(s >> 8);
	at[1] = (uint8_t)s;
}

/* Where TCP, UDP or ICMPv6 begins in a packet of IPv6 of @n bytes, behind extension headers; 0: nowhere. */
static unsigned behind_headers(const uint8_t *ip, unsigned n, uint8_t *next)
{
	unsigned at = 40;

	*next = ip[6];
	for (unsigned i = 0; i < 8; i++) {
		const uint8_t *hdr = ip + at;

		if (*next != 0 && *next != 43 && *next != 44 && *next != 60)
			return at;
		if (at + 8 > n)
			return 0;
		at += *next == 44 ? 8 : 8 * (1 + hdr[1]);
		*next = hdr[0];
		if (at >= n)
			return 0;
	}
	return 0;
}

static void fix_sums6(uint8_t *ip, unsigned len)
{
	unsigned n = 40 + ((unsigned)ip[4] << 8 | ip[5]), at, off;
	uint8_t next;

	if (n > len)
		return;
	at = behind_headers(ip, n, &next);
	off = next == 6 ? 16 : next == 17 ? 6 : next == 58 ? 2 : 0;
	if (!at || !off || n - at < off + 2)
		return;
	ip[at + off] = ip[at + off + 1] = 0;
	store(ip + at + off, sum(ip + at, n - at, sum(ip + 8, 32, next + n - at)));
}

void fuzz_fix_sums(uint8_t *f, unsigned len)
{
	uint8_t *ip = f + 14, *l4;
	unsigned ihl, bytes, off;

	if (len >= 54 && f[12] == 0x86 && f[13] == 0xdd)
		fix_sums6(ip, len - 14);
	if (len < 34 || f[12] != 8 || f[13] || ip[0] >> 4 != 4)
		return;
	ihl = (ip[0] & 15u) * 4;
	bytes = (unsigned)ip[2] << 8 | ip[3];
	if (ihl < 20 || bytes < ihl || bytes > len - 14)
		return;
	ip[10] = ip[11] = 0;
	store(ip + 10, sum(ip, ihl, 0));
	l4 = ip + ihl;
	bytes -= ihl;
	off = ip[9] == 6 ? 16 : ip[9] == 17 ? 6 : ip[9] == 1 ? 2 : 0;
	if (!off || bytes < off + 2)
		return;
	l4[off] = l4[off + 1] = 0;
	store(l4 + off, sum(l4, bytes, ip[9] == 1 ? 0 : sum(ip + 12, 8, ip[9] + bytes)));
}
