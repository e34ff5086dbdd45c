// SPDX-License-Identifier: MIT
/*
 * stack_cost - what a request costs in the stack, in instructions
 *
 * usage: stack-cost [CONNECTIONS [REQUESTS [BATCH [csum|none [LOOK [ACTIVE]]]]]]
 *
 * A request of 120 bytes and an answer of 300 on established connections, round
 * robin, BATCH of them per poll.  The device is memory: frames are handed over
 * and taken away without any ring, so what is counted is the stack and a
 * trivial application.  "csum": the device verifies and fills in checksums.
 *
 * LOOK: "offered": others could look at the stack (once per poll, which is often)
 * and nobody does; "trace", "rtt": frames are copied, round trips measured;
 * "table": each poll answers a question with a slice of the table; "-": none of that.
 * "timer": no requests, but as many times the 250 ms after which TCP's timers are due.
 *
 * ACTIVE: so many of the connections take turns, the others are idle.
 *
 * Prints the number of requests served; on standard error how often the device was told
 * of frames meanwhile, and the bytes that nomstack_open() took, of the C library and for
 * DMA.  Count instructions from outside, with
 * tests/perf/stack-cost.sh (callgrind, functions measured*()).
 */
#include <nomstack/look.h>
#include <nomstack/look_layout.h>
#include <nomstack/nomstack.h>
#include <nomdrv/vnet.h>
#include <nomux/clock.h>

#include "cost_peer.h"

#include <linux/virtio_net.h>
#include <stdio.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BUFS 1024
#define FRAME COST_PEER_FRAME
#define ARENA (32u << 20)	/* as much as the largest profile takes, and more */
#define REQUEST 120
#define ANSWER 300

struct vnet {
	uint64_t features;
	uint8_t *arena;
	size_t arena_used;
	uint8_t priv[BUFS][VNET_PRIV_BYTES] __attribute__((aligned(64)));
	uint8_t buf[BUFS][FRAME] __attribute__((aligned(64)));
	struct vnet_rx used[BUFS];
	unsigned nr_used, next, queued;
	uint8_t tx[BUFS][FRAME];
	unsigned tx_len[BUFS];
	unsigned nr_tx;
	void *cookies[BUFS];
	unsigned nr_cookies;
	struct vnet_stats st;
};

static struct vnet dev;
static uint64_t now;

const uint8_t *vnet_mac(const struct vnet *v) { return (const uint8_t *)"\x52\x54\x00\x00\x00\x02"; }
unsigned int vnet_mtu(const struct vnet *v) { return 1500; }
const char *vnet_no_large_receive(const struct vnet *v) { return "not asked for"; }
uint64_t vnet_features(const struct vnet *v) { return v->features; }
const char *vnet_feature_name(unsigned int bit) { return NULL; }
const char *vnet_feature_reason(const struct vnet *v, unsigned int bit) { return "of a test's device"; }
unsigned int vnet_rx_pending(const struct vnet *v) { return v->nr_used; }
unsigned int vnet_rx_room(const struct vnet *v) { return BUFS - v->nr_used; }
unsigned int vnet_rx_size(const struct vnet *v) { return BUFS; }
void *vnet_rx_priv(struct vnet *v, uint16_t id) { return v->priv[id]; }
void vnet_rx_release(struct vnet *v, uint16_t id) { }
void vnet_rx_flush(struct vnet *v) { }
unsigned int vnet_tx_room(const struct vnet *v) { return BUFS - v->nr_tx; }
bool vnet_tx_fits(const struct vnet *v, unsigned int need) { return vnet_tx_room(v) >= need; }
unsigned int vnet_tx_queued(const struct vnet *v) { return v->queued; }
void vnet_tx_flush(struct vnet *v) { v->queued = 0; }
bool vnet_irq_arm(struct vnet *v) { return false; }
void vnet_irq_disarm(struct vnet *v) { }
int vnet_error(const struct vnet *v, const char **reason_out) { return 0; }
const struct vnet_stats *vnet_stats(const struct vnet *v) { return &v->st; }
struct nomux_clock nomux_clock;
int nomux_clock_init(void) { return 0; }
uint64_t nomux__now_ns_slow(void) { return now; }

void *vnet_dma_alloc(struct vnet *v, size_t bytes, size_t align)
{
	size_t at = (v->arena_used + align - 1) & ~(align - 1);

	if (at + bytes > ARENA)
		return NULL;
	v->arena_used = at + bytes;
	return v->arena + at;
}

bool vnet_dma_contains(const struct vnet *v, const void *p, size_t bytes)
{
	return (const uint8_t *)p >= v->arena && (const uint8_t *)p + bytes <= v->arena + ARENA;
}

unsigned int vnet_rx_burst(struct vnet *v, struct vnet_rx *out, unsigned int max)
{
	unsigned n = v->nr_used < max ? v->nr_used : max;

	memcpy(out, v->used, n * sizeof(*out));
	v->nr_used -= n;
	if (v->nr_used)
		memmove(v->used, v->used + n, v->nr_used * sizeof(*out));
	return n;
}

static void take(struct vnet *v, const struct vnet_seg *seg, unsigned nr)
{
	uint8_t *to = v->tx[v->nr_tx];
	unsigned i, at = 0;

	for (i = 0; i < nr; i++) {
		memcpy(to + at, seg[i].addr, seg[i].len);
		at += seg[i].len;
	}
	v->tx_len[v->nr_tx++] = at;
	v->queued++;
}

int vnet_tx_copy(struct vnet *v, const struct vnet_seg *seg, unsigned int nr, uint16_t start, uint16_t offset)
{
	take(v, seg, nr);
	return 0;
}

int vnet_tx(struct vnet *v, const struct vnet_tx *tx)
{
	take(v, tx->seg, tx->nr_seg);
	v->cookies[v->nr_cookies++] = tx->cookie;
	return 0;
}

unsigned int vnet_tx_reap(struct vnet *v, vnet_tx_done_fn done, void *arg)
{
	while (v->nr_cookies)
		done(v->cookies[--v->nr_cookies], arg);
	return 0;
}

/* ------------------------------------------------------------------- peer --- */

static struct nomstack *stack;
static char answer[ANSWER];

static void frame(unsigned conn, unsigned flags, unsigned len)
{
	uint16_t id = (uint16_t)(dev.next++ % BUFS);

	len = cost_peer_frame(dev.buf[id], conn, flags, len);
	dev.used[dev.nr_used++] = (struct vnet_rx){ dev.buf[id], len, id, dev.features ? VNET_RX_CSUM_OK : 0 };
}

static void drain(void)
{
	for (unsigned i = 0; i < dev.nr_tx; i++)
		cost_peer_take(dev.tx[i], dev.tx_len[i]);
	dev.nr_tx = 0;
}

static void *on_accept(struct nomstack_conn *c, void *arg) { return arg; }

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	nomstack_tcp_send(c, answer, ANSWER, NOMSTACK_SEND_COPY);
}

static void on_closed(struct nomstack_conn *c, void *arg, int err) { }

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

static uint64_t clock_fn(void *arg) { return now; }

/* The file through which the stack is looked at, when it is. */
static struct nomstack_lk_header *look;
static uint32_t look_kind;	/* 0: nobody asks */

static int look_open(const char *how)
{
	char path[64];
	int fd;

	look_kind = !strcmp(how, "trace") ? NOMSTACK_ASK_TRACE : !strcmp(how, "rtt") ? NOMSTACK_ASK_RTT :
		    !strcmp(how, "table") ? NOMSTACK_ASK_CONNS : 0;
	if (nomstack_look_open(stack, 0))
		return -1;
	snprintf(path, sizeof(path), NOMSTACK_LK_PATH_FMT, (int)getpid());
	fd = open(path, O_RDWR);
	look = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return look == MAP_FAILED ? -1 : 0;
}

/* The reader keeps up; a tap is asked for anew when half of its time is over. */
static void look_ask(void)
{
	look->tail = look->head;
	if (look_kind != NOMSTACK_ASK_CONNS && look->ask_seq && now - look->now_ns < NOMSTACK_LK_TAP_NS / 2)
		return;
	look->ask_kind = look_kind;
	look->ask_cursor = look->next == NOMSTACK_LK_END ? 0 : look->next;
	look->ask_arg = NOMSTACK_LK_SNAP_MAX;
	look->ask_seq++;
}

static size_t allocated(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

/* What is counted. */
__attribute__((noinline)) void measured(void);
void measured(void)
{
	nomstack_poll(stack);
}

__attribute__((noinline)) void measured_look(void);
void measured_look(void)
{
	nomstack_look(stack);
}

/* Nobody asks anything; a walk over connections may take several polls. */
static int timers(unsigned times)
{
	unsigned i, polls = 0;

	for (i = 0; i < times; i++) {
		now += 250000000;
		do {
			measured();
			polls++;
		} while (!nomstack_next_ns(stack));
	}
	fprintf(stderr, "polls %u\n", polls);
	printf("%u\n", times);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned conns = argc > 1 ? (unsigned)atoi(argv[1]) : 1, requests = argc > 2 ? (unsigned)atoi(argv[2]) : 20000;
	unsigned batch = argc > 3 ? (unsigned)atoi(argv[3]) : 1, i, k, n;
	struct nomstack_stats before, after;
	size_t heap, dma;
	int64_t w_us;
	struct nomstack_opts o = { .sz = sizeof(o), .vnet = &dev, .ip4 = "10.0.0.2/24", .now_ns = clock_fn };

	if (argc > 4 && !strcmp(argv[4], "csum"))
		dev.features = 1ull << VIRTIO_NET_F_CSUM;
	dev.arena = aligned_alloc(4096, ARENA);
	heap = allocated();
	now = 1000000000;
	if (!conns || conns > COST_PEER_CONNS || !dev.arena || nomstack_open(&o, &stack))
		return 1;
	heap = allocated() - heap;
	dma = dev.arena_used;
	if (nomstack_tcp_listen(stack, 80, 255, &ops, &dev))
		return 1;
	dev.used[dev.nr_used++] = (struct vnet_rx){ dev.buf[0], cost_peer_arp(dev.buf[0]), 0, 0 };
	nomstack_poll(stack);
	nomstack_knob_get(stack, "w_us", &w_us);
	nomstack_knob_set(stack, "w_us", 0);	/* time stands still meanwhile */
	for (i = 0; i < conns; i++) {
		frame(i, 2, 0);
		nomstack_poll(stack);
		drain();
		frame(i, 16, 0);
		nomstack_poll(stack);
	}
	drain();
	if (argc > 5 && strcmp(argv[5], "-") && strcmp(argv[5], "timer") && look_open(argv[5]))
		return 1;
	if (argc > 6)
		conns = (unsigned)atoi(argv[6]);
	nomstack_knob_set(stack, "w_us", w_us);
	nomstack_stats(stack, &before);
	cost_peer_served = 0;
	cost_peer_answer = ANSWER;
	if (argc > 5 && !strcmp(argv[5], "timer"))
		return timers(requests);
	for (i = 0, n = 0; n < requests; ) {
		for (k = 0; k < batch; k++, n++, i = (i + 1) % conns)
			frame(i, 24, REQUEST);
		now += batch * 10000;	/* 100,000 requests/s: timers take their share */
		if (look_kind)
			look_ask();
		do
			measured();
		while (dev.nr_used || !nomstack_next_ns(stack));	/* more than one batch */
		if (look)
			measured_look();
		drain();
	}
	for (i = 0; cost_peer_served < n && i < 20; i++) {	/* what W holds back */
		now += 10000;
		measured();
		drain();
	}
	nomstack_stats(stack, &after);
	fprintf(stderr, "announcements %llu memory %zu dma %zu\n",
		(unsigned long long)(after.tx_batches - before.tx_batches), heap, dma);
	printf("%u\n", cost_peer_served);
	nomstack_close(stack);
	return cost_peer_served == n ? 0 : 1;
}
