/* SPDX-License-Identifier: MIT */
/*
 * stack_rig.h - the bench on which the network stack is tested
 *
 * A device of our own (it implements nomdrv/vnet.h: a ring of buffers that the
 * test fills, a log of what was announced), a clock that the test turns, and a
 * peer that speaks TCP segment by segment.  The peer is written from the RFCs
 * and shares nothing with lwIP.
 *
 * rig_close() asserts that nothing is left: no pbuf, segment, PCB, heap block
 * or receive buffer.
 */
#ifndef TESTS_STACK_RIG_H
#define TESTS_STACK_RIG_H

#include <nomstack/nomstack.h>
#include <nomdrv/vnet.h>

#include <stdbool.h>
#include <stdint.h>

#define RIG_BUFS 256
#define RIG_FRAME 2048
#define RIG_LOG 4096
#define RIG_TX_FRAME 9248	/* of an MTU of 9216 */

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define PSH 0x08
#define ACK 0x10
#define URG 0x20

#define RIG_IP 0x0a000002u	/* 10.0.0.2, the stack */
#define PEER_IP 0x0a000001u	/* 10.0.0.1 */
#define RIG_IP6 "fd00::2"	/* rig_open6() */
#define PEER_IP6 "fd00::1"

struct rig_frame {
	uint16_t len, csum_start, csum_offset;
	bool zero_copy;
	uint64_t when_ns;
	uint8_t data[RIG_TX_FRAME];
};

struct rig {
	struct vnet *v;
	struct nomstack *s;
	uint64_t now_ns, clock_step_ns;	/* every look at the clock advances it */
	uint32_t peer_ip;
	uint8_t peer_mac[6];
	unsigned arp_requests;		/* answered by the rig */
	unsigned solicitations;		/* of neighbours other than the stack itself, answered by the rig */
	bool mute6;			/* they are not */
};

/* Device side: stack_rig_device.c, or stack_rig_vhost.c (the real driver). */
struct vnet *rig_device_open(struct rig *r, uint64_t features, unsigned tx_ring);
void rig_device_quiet(struct rig *r);	/* before the stack is closed */
void rig_device_close(struct rig *r);	/* asserts that all buffers are back */
bool rig_inject(struct rig *r, const void *frame, unsigned len, unsigned flags);
bool rig_tx_pop(struct rig *r, struct rig_frame *out);	/* ARP and neighbour solicitations are answered on the way */
bool rig_tx_pop_raw(struct rig_frame *out);

/* Of stack_rig_vhost.c only: packets that the device cut from longer frames. */
uint64_t rig_device_pieces(void);
extern uint64_t rig_features_off;	/* not negotiated by rigs that are opened from now on */
void rig_device_mtu(uint16_t mtu);	/* of devices that are opened from now on; 0: what they are without */
void rig_device_replace(void);	/* vhost: the back-end dies, another one takes its place */

/* A frame of several segments of @gso_bytes, as a device joins them; its sum is not made. */
bool rig_inject_large(struct rig *r, const void *frame, unsigned len, unsigned gso_bytes);

/* The same of UDP, with @header_flags and the rest of the virtio header as no device should fill it in. */
bool rig_inject_datagrams(struct rig *r, const void *frame, unsigned len, unsigned gso_bytes, unsigned header_flags);

/* Of stack_rig_device.c only. */
struct rig_device_counts {
	unsigned tx_flushes, rx_flushes, tx_queued, tx_ring, rx_held;
};
struct rig_device_counts rig_device(void);
void rig_tx_hold(bool hold);		/* true: the device does not finish sending */
void rig_tx_fail(bool full);		/* true: the transmit ring is full */
unsigned rig_tx_waiting(void);		/* announced frames not yet popped */

/* The stack, with the knobs of profile "default" whatever it was built with. */
void rig_open(struct rig *r, const char *ip4, uint64_t features);
void rig_open_opts(struct rig *r, const char *ip4, uint64_t features, unsigned tx_ring);
void rig_open6(struct rig *r, uint64_t features);	/* 10.0.0.2/24 and RIG_IP6/64, which is ready */
void rig_open_both(struct rig *r, const char *ip4, const char *ip6, const char *gateway6, uint64_t features);
void rig_open_follower(struct rig *r);	/* both versions; has the addresses that it is told */
void rig_close(struct rig *r);
void rig_run(struct rig *r, unsigned ms);	/* time passes, 1 ms a poll */
void rig_arp(struct rig *r, uint32_t ip, const uint8_t mac[6]);	/* the peer announces itself */
void rig_knob(struct rig *r, const char *name, int64_t v);
struct nomstack_stats rig_stats(struct rig *r);
unsigned rig_pcbs(void);		/* PCBs in use, any state */
uint64_t rig_random(uint64_t *state);

/* Frames. */
uint16_t t_csum(const void *data, unsigned len, uint32_t start);
unsigned t_ip_frame(struct rig *r, uint8_t *f, uint32_t src, uint32_t dst, unsigned proto, const void *body,
		    unsigned len);

unsigned t_ip6_frame(struct rig *r, uint8_t *f, const uint8_t src[16], const uint8_t dst[16], unsigned next,
		     unsigned hops, const void *body, unsigned len);
uint16_t t_csum6(const uint8_t src[16], const uint8_t dst[16], unsigned next, const void *body, unsigned len);
void t_ip6(const char *text, uint8_t out[16]);

/* A TCP segment as the peer sees it. */
struct seg {
	uint16_t sport, dport, window;
	uint32_t seq, ack;
	unsigned flags, len, opt_len;
	const uint8_t *data, *opt;
	struct rig_frame frame;
};

struct peer {
	struct rig *r;
	uint32_t ip;
	uint16_t port, dport;
	uint32_t seq, ack;		/* next to send, next expected */
	uint16_t window;
	unsigned rx_flags;		/* VNET_RX_*, for what it sends */
	unsigned scale;			/* offered in its SYN when not 0; @window is as sent, unscaled */
	bool bad_csum;
	uint16_t mss;			/* offered in its SYN; 0: 1460 */
	bool v6;			/* speaks IPv6 */
	uint8_t ip6[16], to_ip6[16];
};

void peer_init(struct peer *p, struct rig *r, uint16_t port, uint16_t dport);
void peer_init6(struct peer *p, struct rig *r, uint16_t port, uint16_t dport);
unsigned peer_frame(struct peer *p, uint8_t *f, unsigned flags, uint32_t seq, uint32_t ack, const void *data,
		    unsigned len);
void peer_send(struct peer *p, unsigned flags, const void *data, unsigned len);	/* at p->seq, which advances */
void peer_send_at(struct peer *p, unsigned flags, uint32_t seq, const void *data, unsigned len);
bool peer_parse(struct peer *p, struct seg *s);		/* s->frame; false: not for this peer */
bool peer_recv(struct peer *p, struct seg *out);	/* next segment for this peer; sums are checked */
void peer_none(struct peer *p);				/* asserts that nothing comes */
void peer_handshake(struct peer *p);
unsigned peer_recv_data(struct peer *p, void *buf, unsigned max);	/* all that came, acknowledged */

#define t_assert(x) rig_assert(!!(x), #x, __FILE__, __LINE__)
void rig_assert(bool ok, const char *what, const char *file, int line);

#endif
