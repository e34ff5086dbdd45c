/* SPDX-License-Identifier: MIT */
/*
 * internal.h - state shared by the files of the stack; not for outsiders
 *
 * One instance per process: lwIP's lists, pools and timers are globals, and so
 * is the pointer to the one struct nomstack that its hooks need.
 */
#ifndef NOMSTACK_INTERNAL_H
#define NOMSTACK_INTERNAL_H

#include <nomstack/nomstack.h>
#include <nomdrv/vnet.h>

#include "lwip/netif.h"
#include "lwip/pbuf.h"
#include "lwip/tcp.h"
#include "lwip/udp.h"

#include <string.h>

#define NOMSTACK__BATCH_LIMIT 256	/* largest batch_max */
#define NOMSTACK__MAX_CONNS MEMP_NUM_TCP_PCB
#define NOMSTACK__PREDICT_MIN 54	/* headers without options */
#define NOMSTACK__JOIN_MAX 44	/* segments: what a large frame holds */
#define NOMSTACK__BULK_BYTES 1000	/* a frame this long may be one of many */
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* nomstack_ip6.c: how the interface is configured */
struct ip6_config {
	bool on;			/* else every frame of IPv6 is dropped */
	bool autoconf;			/* by router advertisements */
	bool has_addr, has_gateway;	/* fixed ones */
	ip6_addr_t addr, gateway;
};

/* nomstack_segment.c: a TCP segment in a frame */
struct frame_tcp {
	const uint8_t *addrs, *tcp;
	unsigned bytes, hdr_bytes;	/* of the segment, of its header */
	bool v6;
	bool whole;			/* all of it is there */
};

/* In the private area of a receive buffer: lwIP's view of it. */
struct rx_pbuf {
	struct pbuf_custom pc;
	uint16_t id;
};

struct nomstack_conn {
	struct tcp_pcb *pcb;		/* NULL: dead, waits to be recycled */
	const struct nomstack_tcp_ops *ops;
	void *arg;
	struct nomstack *s;
	struct nomstack_conn *next;	/* free, zombie */
	struct nomstack_conn *dirty_next;
	uint32_t unrecved;		/* bytes taken while paused */
	uint32_t spoke_epoch;		/* last epoch in which it delivered data */
	uint32_t heard_gen;		/* receive batch that holds data of it */
	uint32_t answered_gen;		/* transmit batch that holds an answer of it */
	uint64_t last_rx_ns;
	bool heard_push;		/* the newest held segment carries PSH */
	bool paused;
	bool connecting;
	bool dirty;			/* has output to send at the end of the poll */
	bool open;			/* counted in nr_open: the peer may still send */
};

struct listener {
	struct tcp_pcb *pcb;
	const struct nomstack_tcp_ops *ops;
	void *arg;
	struct nomstack *s;
	uint16_t port;
};

struct udp_bind {
	struct udp_pcb *pcb;
	nomstack_udp_fn fn;		/* one of the two is NULL */
	nomstack_udp_any_fn any_fn;
	void *arg;
	struct nomstack *s;
	uint16_t port;
};

#define NOMSTACK__TSO_MAX	44	/* segments of 1460 bytes in 64 KiB */
#define NOMSTACK__TSO_BATCHES	256	/* long frames that the device may have at a time */
#define NOMSTACK__TSO_COOKIE	1u	/* set in a cookie that is a batch, not a pbuf */

/* Segments that left as one frame, until the device is done with them. */
struct tso_batch {
	struct tso_batch *next;		/* free */
	unsigned nr;
	struct pbuf *p[NOMSTACK__TSO_MAX];
};

/* nomstack_tso.c: the frame that is being put together. */
struct tso {
	struct tso_batch *open;		/* NULL: none, and the rest means nothing */
	struct tso_batch *free;
	struct vnet_seg seg[VNET_TSO_SEG_MAX];	/* [0]: hdr */
	unsigned nr_seg;
	unsigned packets;		/* that the device makes of it */
	uint32_t bytes;			/* payload so far */
	uint32_t next_seq;
	uint16_t mss, hdr_bytes, tcp_at;
	bool last;			/* nothing may follow */
	uint8_t hdr[VNET_TX_INLINE_BYTES];
	struct tso_batch batch[NOMSTACK__TSO_BATCHES];
};

/* nomstack_reass.c: datagrams that wait for their fragments */
struct reass {
	struct reass_slot *slots;	/* NOMSTACK_REASS_DATAGRAMS of them, or NULL */
	unsigned max, share;	/* knobs: datagrams at a time, of one source */
	uint64_t life_ns;		/* knob: how long one may wait */
	bool timed;			/* a timer runs */
	struct nomstack_fragments st;	/* but @held */
};

struct nomstack {
	struct vnet *v;
	uint64_t (*now_fn)(void *arg);
	void *now_arg;
	uint64_t now_ns;		/* of the current poll */
	uint64_t prev_poll_ns;		/* 0: none, or a sleep lies between, or W was 0 */
	uint64_t gap_ns;		/* decaying maximum of the time between polls, while W > 0 */
	uint64_t look_rx_ns, look_tx_ns;	/* when a batch that waits was last looked at */
	bool said_over;			/* nomstack_next_ns() has said that a delay is over, and no poll came since */
	uint64_t timer_ns;		/* when timers are to be looked at: lwIP's ms ends */

	/* receive: frames taken from the ring and held for W */
	struct vnet_rx *hold;
	unsigned hold_cap, hold_nr, hold_head;
	unsigned ring_size, tx_size, batch_max;
	uint64_t rx_joined;		/* frames that went to TCP with others, see nomstack_rx.c */
	unsigned burst_min;		/* room that the driver wants for a frame */
	bool rx_merges;			/* a frame may lie in several buffers */
	bool hold_way;			/* what the driver gives is not run through the stack in one go */
	bool released;			/* the held batch is on its way, finish it */
	bool hold_ends;			/* a FIN or RST is among the held frames */
	uint64_t hold_since_ns;
	uint64_t w_rx_ns, w_tx_ns;
	uint32_t heard_gen, nr_heard;	/* connections whose input is held, complete */
	unsigned rx_in_stack;		/* buffers that pbufs refer to */
	unsigned rx_unposted;		/* released, not announced to the device */
	unsigned ooseq_share;
	unsigned rx_join_max;		/* segments that are joined; 1: none */
	unsigned predict_min;		/* shorter frames are no candidates for the short way through TCP */

	/* who takes part: see nomstack_batch.c */
	uint32_t epoch, speakers_now, speakers_prev;
	uint64_t epoch_start_ns;
	uint32_t nr_open;

	/* transmit */
	uint64_t tx_since_ns;		/* when the oldest unannounced frame was queued */
	unsigned tx_waiting;		/* frames queued, not announced; segments of a long one each */
	uint32_t answered_gen, nr_answered;
	unsigned zc_outstanding;	/* frames whose pbuf the device still reads */
	unsigned zc_min_bytes;		/* shorter frames are copied */
	unsigned tso_max;		/* segments in a frame; 1: none are joined */
	struct tso tso;
	bool tx_offload;
	bool tso4, tso6, cuts;		/* the device cuts up segments of this version of IP, of either */
	bool uso4, uso6;		/* it may join datagrams */
	bool tx_blocked;		/* a frame met a full ring */
	bool in_timers;
	bool timers_left;		/* TCP's have looked at some of the connections only */
	bool in_poll;			/* callbacks may be running: nothing is recycled */
	bool tap;			/* frames are looked at: nomstack_tap.c */
	bool ip4;			/* else there is no address of IPv4, and there will be none */
	bool dhcp;
	bool follows;			/* the addresses are another stack's */
	bool nagle;			/* for all connections */
	uint32_t keepalive_ms;		/* likewise; 0: none */
	uint32_t icmp_per_s;		/* ICMP messages sent on average; 0: none */
	uint64_t icmp_due_ns;		/* when the next one would be due at that pace */

	struct nomstack_conn *dirty;
	struct nomstack_conn *free_conns, *zombies;
	struct nomstack_conn *conns;
	unsigned batch_end_mask;	/* listeners whose application wants to hear of the end */
	struct listener listeners[NOMSTACK_MAX_LISTENERS];
	struct udp_bind udps[NOMSTACK_MAX_UDP];
	struct ip6_config ip6;
	struct reass reass;
	struct nomstack_stats st;	/* but what nomstack_stats() knows from elsewhere */
	struct nomstack_batches batches;
	uint64_t drop_ip6_off, drop_uso;	/* of st.drop_proto: IPv6 that nobody asked for, joined datagrams that cannot be */
	struct look *look;		/* NULL: not offered to be looked at */
	nomstack_neighbour_fn share_fn;	/* NULL: this stack is alone behind its address */
	void *share_arg;
	struct netif netif;
	uint8_t bounce[VNET_FRAME_MAX_BYTES];	/* a frame in more pieces than the driver takes */
	uint8_t datagram[VNET_FRAME_MAX_BYTES];	/* one of several that came in a frame */
};

extern struct nomstack *nomstack__the;	/* NULL while no stack is open */

/* Headers lie at any address; _be: as the number that they say. */
static inline uint32_t nomstack__load32(const uint8_t *p)
{
	uint32_t x;

	memcpy(&x, p, sizeof(x));
	return x;
}

static inline uint32_t nomstack__load32_be(const uint8_t *p)
{
	return lwip_ntohl(nomstack__load32(p));
}

/* A batch of @n frames, at least one, into a histogram of struct nomstack_batches. */
static inline void nomstack__count_size(uint64_t *bins, unsigned n)
{
	bins[(31 - (unsigned)__builtin_clz(n)) % NOMSTACK_SIZE_BINS]++;
}

/* nomstack_rx.c, nomstack_tx.c */
/* nomstack_share.c: pass on what concerns other stacks; true: them alone */
bool nomstack__share(struct nomstack *s, struct pbuf *p);
void nomstack__rx_frame(struct nomstack *s, const struct vnet_rx *rx);
void nomstack__rx_bulk(struct nomstack *s, const struct vnet_rx *rx, unsigned nr);
void nomstack__rx_free(struct pbuf *p);
void nomstack__rx_input(struct nomstack *s, struct pbuf *p);
err_t nomstack__tx_frame(struct netif *netif, struct pbuf *p);
void nomstack__tx_announce(struct nomstack *s);
void nomstack__tx_reap(struct nomstack *s);
bool nomstack__tx_make_room(struct nomstack *s, unsigned tries);
void nomstack__tx_done(void *cookie, void *arg);
uint16_t nomstack__csum_partial(uint8_t *frame, unsigned len, unsigned tot_len, uint16_t *offset_out);

/* nomstack_uso.c: frames of several datagrams */
bool nomstack__is_uso(const struct vnet_rx *rx);
void nomstack__rx_uso(struct nomstack *s, const struct vnet_rx *rx, unsigned nr, unsigned total);

/* nomstack_tso.c: segmentation offload */
void nomstack__tso_open(struct nomstack *s);
bool nomstack__tso_add(struct nomstack *s, struct pbuf *p, unsigned cut);
void nomstack__tso_flush(struct nomstack *s);
void nomstack__tso_done(struct nomstack *s, void *cookie);

/*
 * Bytes of data in each packet that the device shall cut from @p; 0: it is one
 * packet.  lwIP leaves TCP's checksum to the device and says it in its place, else
 * it puts 0 there.  Only what is sent without a copy, so in several pieces, is long.
 */
static inline unsigned nomstack__tso_wanted(const struct pbuf *p)
{
	const uint8_t *f = p->payload;

	if (likely(!p->next || p->len < NOMSTACK__PREDICT_MIN))
		return 0;
	/* IPv4 with a header of 20 bytes, TCP */
	if ((nomstack__load32(f + 12) & 0xffffff) == 0x450008)
		return f[23] == 6 ? (unsigned)f[50] << 8 | f[51] : 0;
	/* IPv6, TCP */
	if (p->len < NOMSTACK__PREDICT_MIN + 20 || f[12] != 0x86 || f[13] != 0xdd || f[20] != 6)
		return 0;
	return (unsigned)f[70] << 8 | f[71];
}

/* nomstack_reass*.c, nomstack_frag.c: fragments, received and sent */
int nomstack__reass_open(struct nomstack *s);
void nomstack__reass_close(struct nomstack *s);
void nomstack__reass_knobs(struct nomstack *s, unsigned max, unsigned share, uint64_t life_ns);
bool nomstack__frag_wanted(const struct pbuf *p);
err_t nomstack__tx_fragments(struct nomstack *s, const struct pbuf *p);
uint32_t nomstack__frag_id(const uint8_t *dst, unsigned bytes);	/* nomstack_sys.c */

/* A frame is in the transmit ring, not announced. */
static inline err_t nomstack__tx_queued(struct nomstack *s)
{
	if (!s->tx_waiting++)
		s->tx_since_ns = s->now_ns;
	return ERR_OK;
}

/* nomstack_batch.c: the batching delay */
unsigned nomstack__batch_take(struct nomstack *s);
void nomstack__batch_done(struct nomstack *s, unsigned nr);
void nomstack__batch_tx(struct nomstack *s);
void nomstack__batch_set_w(struct nomstack *s, uint64_t rx_ns, uint64_t tx_ns);
void nomstack__batch_clock(struct nomstack *s);
void nomstack__batch_knobs(struct nomstack *s);
unsigned nomstack__hear(const struct vnet_rx *rx, unsigned bytes, struct nomstack_conn **c_out);
uint64_t nomstack__batch_next_ns(const struct nomstack *s, uint64_t now_ns);
void nomstack__batch_asked(struct nomstack *s, uint64_t now_ns, uint64_t next_ns);

static inline void nomstack__spoke(struct nomstack *s, struct nomstack_conn *c)
{
	if (c->spoke_epoch != s->epoch) {
		c->spoke_epoch = s->epoch;
		s->speakers_now++;
	}
}

static inline void nomstack__answered(struct nomstack *s, struct nomstack_conn *c)
{
	if (c->answered_gen != s->answered_gen) {
		c->answered_gen = s->answered_gen;
		s->nr_answered++;
	}
}

/* nomstack_look.c, nomstack_tap.c: others look at the stack */
void nomstack__look_close(struct nomstack *s);
void nomstack__tap_rx(struct nomstack *s, const struct vnet_rx *rx, unsigned nr);

/* nomstack_tcp*.c, nomstack_udp.c */
struct nomstack_conn *nomstack__conn_of(const struct tcp_pcb *pcb);
void nomstack__tcp_flush(struct nomstack *s);
void nomstack__tcp_push(struct nomstack *s);
void nomstack__tcp_knobs(struct nomstack *s);
void nomstack__tcp_batch_end(struct nomstack *s);
err_t nomstack__on_accept(void *arg, struct tcp_pcb *pcb, err_t err);
void nomstack__listeners_close(struct nomstack *s);
void nomstack__tcp_close_all(struct nomstack *s);
void nomstack__udp_close_all(struct nomstack *s);
int nomstack__errno(err_t err);

/* nomstack_addr.c, nomstack_ip6.c, nomstack_segment.c */
void nomstack__addr_from_lwip(const ip_addr_t *ip, struct nomstack_addr *out);
int nomstack__addr_to_lwip(const struct nomstack_addr *a, ip_addr_t *out);
int nomstack__ip6_parse(const struct nomstack_opts *o, struct ip6_config *cfg);
void nomstack__ip6_netif_init(struct nomstack *s, struct netif *n);
void nomstack__ip6_start(struct nomstack *s);
void nomstack__ip6_started(struct nomstack *s);
bool nomstack__ip6_routed(struct nomstack *s, const ip6_addr_t *dest);
bool nomstack__ip6_ready(struct nomstack *s);
void nomstack__ip6_config(struct nomstack *s, struct nomstack_config *out);
void nomstack__ip6_follow(struct nomstack *s, const struct nomstack_config *c);
bool nomstack__frame_tcp(const uint8_t *f, unsigned len, struct frame_tcp *out);
struct tcp_pcb *nomstack__frame_pcb(const struct frame_tcp *t, bool received);

/* nomstack_heap.c, nomstack_sys.c */
int nomstack__heap_open(struct vnet *v);
void nomstack__heap_close(void);
size_t nomstack__heap_used(void);	/* blocks */
size_t nomstack__heap_segments(void);	/* full-sized segments that would fit */
uint64_t nomstack__heap_failures(void);
void nomstack__sys_open(void);

static inline uint64_t nomstack__clock(const struct nomstack *s)
{
	return s->now_fn(s->now_arg);
}

#endif
