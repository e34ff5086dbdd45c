// SPDX-License-Identifier: MIT
/*
 * cost_peer.c - clients at 10.0.0.1 or fd00::1, ports from 10000, of a server at
 * 10.0.0.2:80 or [fd00::2]:80
 */
#include "../unit/bytes.h"
#include "cost_peer.h"

#include <stdint.h>
#include <string.h>

#define ETH 14
#define IP 20
#define IP6 40
#define TCP 20
#define SYN 2

unsigned cost_peer_answer, cost_peer_served;
bool cost_peer_six;
static uint32_t seqs[COST_PEER_CONNS], acks[COST_PEER_CONNS];

static uint16_t csum(const uint8_t *p, unsigned len, uint32_t sum)
{
	for (unsigned i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

unsigned cost_peer_arp(unsigned char *f)
{
	memset(f, 0, 60);
	memcpy(f, "\x52\x54\x00\x00\x00\x02\x52\x54\x00\x00\x00\x01\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01"
	       "\x52\x54\x00\x00\x00\x01\x0a\x00\x00\x01\x00\x00\x00\x00\x00\x00\x0a\x00\x00\x02", 42);
	return 60;
}

/* Headers of Ethernet and IPv6, fd00::1 to fd00::2; returns the sum of the pseudo header. */
static uint32_t head6(uint8_t *f, unsigned next, unsigned hops, unsigned bytes)
{
	uint8_t *ip = f + ETH;

	memcpy(f, "\x52\x54\x00\x00\x00\x02\x52\x54\x00\x00\x00\x01\x86\xdd", ETH);
	memset(ip, 0, IP6);
	ip[0] = 0x60;
	put16(ip + 4, bytes);
	ip[6] = (uint8_t)next;
	ip[7] = (uint8_t)hops;
	ip[8] = ip[24] = 0xfd;
	ip[23] = 1;
	ip[39] = 2;
	return 2 * 0xfd00 + 1 + 2 + next + bytes;
}

unsigned cost_peer_nd(unsigned char *f, bool proof)
{
	uint8_t *nd = f + ETH + IP6;
	uint32_t pseudo = head6(f, 58, 255, 32);

	memset(nd, 0, 32);
	nd[0] = proof ? 136 : 135;
	nd[4] = proof ? 0x60 : 0;
	nd[8] = 0xfd;
	nd[23] = proof ? 1 : 2;
	nd[24] = proof ? 2 : 1;
	nd[25] = 1;
	memcpy(nd + 26, f + 6, 6);
	put16(nd + 2, csum(nd, 32, pseudo));
	return ETH + IP6 + 32;
}

/* The same for IPv4. */
static uint32_t head4(uint8_t *f, unsigned bytes)
{
	uint8_t *ip = f + ETH;

	memcpy(f, "\x52\x54\x00\x00\x00\x02\x52\x54\x00\x00\x00\x01\x08\x00", ETH);
	memset(ip, 0, IP);
	ip[0] = 0x45;
	put16(ip + 2, IP + bytes);
	ip[8] = 64;
	ip[9] = 6;
	put32(ip + 12, 0x0a000001);
	put32(ip + 16, 0x0a000002);
	put16(ip + 10, csum(ip, IP, 0));
	return 0x0a00 + 1 + 0x0a00 + 2 + 6 + bytes;
}

unsigned cost_peer_frame(unsigned char *f, unsigned conn, unsigned flags, unsigned len)
{
	unsigned opts = flags & SYN ? 4 : 0, hdr = TCP + opts, at = ETH + (cost_peer_six ? IP6 : IP);
	uint32_t pseudo = cost_peer_six ? head6(f, 6, 64, hdr + len) : head4(f, hdr + len);
	uint8_t *t = f + at;

	memset(t, 0, hdr);
	put16(t, COST_PEER_PORT + conn);
	put16(t + 2, 80);
	put32(t + 4, seqs[conn]);
	put32(t + 8, acks[conn]);
	t[12] = (uint8_t)(hdr << 2);
	t[13] = (uint8_t)flags;
	put16(t + 14, 65535);
	if (opts)
		memcpy(t + TCP, "\x02\x04\x05\xb4", opts);	/* MSS 1460 */
	memset(t + hdr, 'r', len);
	put16(t + 16, csum(t, hdr + len, pseudo));
	seqs[conn] += len + !!(flags & SYN);
	return at + hdr + len;
}

void cost_peer_take(const unsigned char *f, unsigned bytes)
{
	unsigned conn, len;
	const uint8_t *t;

	if (bytes < ETH + IP + TCP)
		return;
	if (f[12] == 8 && !f[13] && f[23] == 6) {
		t = f + ETH + IP;
		len = get16(f + 16) - IP;
	} else if (f[12] == 0x86 && f[13] == 0xdd && f[20] == 6) {
		t = f + ETH + IP6;
		len = get16(f + 18);
	} else {
		return;
	}
	conn = get16(t + 2) - COST_PEER_PORT;
	len -= (t[12] >> 4) * 4u;
	acks[conn] = get32(t + 4) + len + !!(t[13] & SYN);
	cost_peer_served += len == cost_peer_answer;
}
