// SPDX-License-Identifier: MIT
/*
 * stack_rig.c - the stack, its clock, and the peer; see stack_rig.h
 */
#include "bytes.h"
#include "stack_rig.h"

#include "internal.h"
#include "lwip/memp.h"
#include "lwip/stats.h"
#include "lwip/priv/tcp_priv.h"

#include <arpa/inet.h>
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

/* ------------------------------------------------------------------- rig --- */

static uint64_t rig_clock(void *arg)
{
	struct rig *r = arg;

	r->now_ns += r->clock_step_ns;
	return r->now_ns;
}

static void open_opts(struct rig *r, struct nomstack_opts o, uint64_t features, unsigned tx_ring)
{
	o.sz = sizeof(o);
	o.hostname = "rig";
	o.now_ns = rig_clock;
	o.now_arg = r;

	if (nomstack__the)
		nomstack_close(nomstack__the);	/* of a test that failed */
	memset(r, 0, sizeof(*r));
	r->now_ns = 1000000000;
	r->v = o.vnet = rig_device_open(r, features, tx_ring);
	r->peer_ip = PEER_IP;
	memcpy(r->peer_mac, "\x52\x54\x00\x00\x00\x01", 6);
	t_assert(nomstack_open(&o, &r->s) == 0);
	/* Tests know when batches go: the knobs of profile "default", in each profile. */
	rig_knob(r, "w_us", 0);
	rig_knob(r, "batch_max", 64);
	rig_knob(r, "keepalive_s", 0);
	rig_knob(r, "tso_max", 44);
	rig_knob(r, "cc", 0);
}

void rig_open_opts(struct rig *r, const char *ip4, uint64_t features, unsigned tx_ring)
{
	open_opts(r, (struct nomstack_opts){ .ip4 = ip4 }, features, tx_ring);
}

void rig_open_both(struct rig *r, const char *ip4, const char *ip6, const char *gateway6, uint64_t features)
{
	open_opts(r, (struct nomstack_opts){ .ip4 = ip4, .ip6 = ip6, .gateway6 = gateway6 }, features, 256);
}

void rig_open_follower(struct rig *r)
{
	open_opts(r, (struct nomstack_opts){ .ip4 = "dhcp", .ip6 = "auto", .follows = true }, 0, 256);
}

void rig_open6(struct rig *r, uint64_t features)
{
	struct rig_frame f;

	rig_open_both(r, "10.0.0.2/24", RIG_IP6 "/64", NULL, features);
	rig_arp(r, r->peer_ip, r->peer_mac);
	rig_run(r, 3000);	/* nobody else has its addresses */
	while (rig_tx_pop_raw(&f))
		;
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

	rig_device_quiet(r);
	nomstack_close(r->s);
	rig_device_close(r);
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

void t_ip6(const char *text, uint8_t out[16])
{
	t_assert(inet_pton(AF_INET6, text, out) == 1);
}

/* The sum over pseudo header and @body, as it goes into a packet. */
uint16_t t_csum6(const uint8_t src[16], const uint8_t dst[16], unsigned next, const void *body, unsigned len)
{
	uint32_t start = next + len;
	unsigned i;

	for (i = 0; i < 16; i += 2)
		start += get16(src + i) + get16(dst + i);
	return t_csum(body, len, start);
}

unsigned t_ip6_frame(struct rig *r, uint8_t *f, const uint8_t src[16], const uint8_t dst[16], unsigned next,
		     unsigned hops, const void *body, unsigned len)
{
	uint8_t *ip = f + 14;

	if (dst[0] == 0xff) {		/* RFC 2464, 7 */
		put16(f, 0x3333);
		memcpy(f + 2, dst + 12, 4);
	} else {
		memcpy(f, vnet_mac(r->v), 6);
	}
	memcpy(f + 6, r->peer_mac, 6);
	put16(f + 12, 0x86dd);
	memmove(ip + 40, body, len);
	put32(ip, 0x60000000);
	put16(ip + 4, len);
	ip[6] = (uint8_t)next;
	ip[7] = (uint8_t)hops;
	memcpy(ip + 8, src, 16);
	memcpy(ip + 24, dst, 16);
	return 14 + 40 + len;
}

/* RFC 4861, 7.2.4: the neighbour that is asked for is at the rig's MAC address. */
static bool answer_solicitation(struct rig *r, const uint8_t *f, unsigned len)
{
	const uint8_t *ip = f + 14, *ns = f + 54, *src = ip + 8;
	uint8_t out[128], na[32] = { 136 };
	static const uint8_t unspecified[16];
	uint16_t sum;

	if (len < 54 + 24 || get16(f + 12) != 0x86dd || ip[6] != 58 || ns[0] != 135 ||
	    !memcmp(src, unspecified, 16))
		return false;
	r->solicitations++;
	if (r->mute6)
		return true;
	na[4] = 0x60;			/* solicited, override */
	memcpy(na + 8, ns + 8, 16);
	na[24] = 2;
	na[25] = 1;
	memcpy(na + 26, r->peer_mac, 6);
	sum = t_csum6(ns + 8, src, 58, na, sizeof(na));
	memcpy(na + 2, &sum, 2);
	rig_inject(r, out, t_ip6_frame(r, out, ns + 8, src, 58, 255, na, sizeof(na)), 0);
	nomstack_poll(r->s);
	return true;
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

		if (answer_solicitation(r, out->data, out->len))
			continue;
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

void peer_init6(struct peer *p, struct rig *r, uint16_t port, uint16_t dport)
{
	peer_init(p, r, port, dport);
	p->v6 = true;
	t_ip6(PEER_IP6, p->ip6);
	t_ip6(RIG_IP6, p->to_ip6);
}

unsigned peer_frame(struct peer *p, uint8_t *f, unsigned flags, uint32_t seq, uint32_t ack, const void *data,
		    unsigned len)
{
	uint8_t *t = f + (p->v6 ? 54 : 34);
	unsigned hdr = !(flags & SYN) ? 20 : p->scale ? 28 : 24;
	uint16_t sum;

	memset(t, 0, 28);
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
		put16(t + 22, p->mss ? p->mss : 1460);
	}
	if (hdr == 28) {
		t[24] = 3;
		t[25] = 3;
		t[26] = (uint8_t)p->scale;
	}
	if (len)
		memmove(t + hdr, data, len);
	sum = p->v6 ? t_csum6(p->ip6, p->to_ip6, 6, t, hdr + len) :
		      t_csum(t, hdr + len, pseudo(p->ip, RIG_IP, 6, hdr + len));
	if (p->bad_csum)
		sum ^= 0x5555;
	memcpy(t + 16, &sum, 2);
	if (p->v6)
		return t_ip6_frame(p->r, f, p->ip6, p->to_ip6, 6, 64, t, hdr + len);
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

static bool find4(struct peer *p, const struct rig_frame *f, const uint8_t **tcp, unsigned *bytes)
{
	const uint8_t *ip = f->data + 14;
	unsigned ip_len;

	if (f->len < 54 || get16(f->data + 12) != 0x0800 || ip[9] != 6)
		return false;
	ip_len = get16(ip + 2);
	t_assert(ip[0] == 0x45);
	t_assert(ip_len + 14 <= f->len);
	t_assert(t_csum(ip, 20, 0) == 0);
	if (get32(ip + 16) != p->ip)
		return false;
	*tcp = ip + 20;
	*bytes = ip_len - 20;
	t_assert(t_csum(*tcp, *bytes, pseudo(RIG_IP, p->ip, 6, *bytes)) == 0);
	return true;
}

static bool find6(struct peer *p, const struct rig_frame *f, const uint8_t **tcp, unsigned *bytes)
{
	const uint8_t *ip = f->data + 14;

	if (f->len < 74 || get16(f->data + 12) != 0x86dd || ip[6] != 6)
		return false;
	t_assert(ip[0] >> 4 == 6);
	*bytes = get16(ip + 4);
	t_assert(*bytes + 54 == f->len);
	if (memcmp(ip + 24, p->ip6, 16))
		return false;
	t_assert(!memcmp(ip + 8, p->to_ip6, 16));
	t_assert(ip[7] == 255 || ip[7] == 64);
	*tcp = ip + 40;
	t_assert(t_csum6(ip + 8, ip + 24, 6, *tcp, *bytes) == 0);
	return true;
}

bool peer_parse(struct peer *p, struct seg *s)
{
	const uint8_t *t;
	unsigned bytes, hdr;

	if (!(p->v6 ? find6(p, &s->frame, &t, &bytes) : find4(p, &s->frame, &t, &bytes)))
		return false;
	t_assert(!memcmp(s->frame.data, p->r->peer_mac, 6));
	s->sport = (uint16_t)get16(t);
	s->dport = (uint16_t)get16(t + 2);
	if (s->sport != p->dport || s->dport != p->port)
		return false;
	s->seq = get32(t + 4);
	s->ack = get32(t + 8);
	hdr = (t[12] >> 4) * 4u;
	t_assert(hdr >= 20 && hdr <= bytes);
	s->flags = t[13];
	s->window = (uint16_t)get16(t + 14);
	s->opt = t + 20;
	s->opt_len = hdr - 20;
	s->data = t + hdr;
	s->len = bytes - hdr;
	return true;
}

bool peer_recv(struct peer *p, struct seg *out)
{
	while (rig_tx_pop(p->r, &out->frame))
		if (peer_parse(p, out))
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
