// SPDX-License-Identifier: MIT
/*
 * cost_peer.c - clients at 10.0.0.1, ports from 10000, of a server at 10.0.0.2:80
 */
#include "../unit/bytes.h"
#include "cost_peer.h"

#include <stdint.h>
#include <string.h>

#define ETH 14
#define IP 20
#define TCP 20
#define PORT 10000u
#define SYN 2

unsigned cost_peer_answer, cost_peer_served;
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

unsigned cost_peer_frame(unsigned char *f, unsigned conn, unsigned flags, unsigned len)
{
	uint8_t *ip = f + ETH, *t = ip + IP;
	unsigned opts = flags & SYN ? 4 : 0, hdr = TCP + opts;

	memcpy(f, "\x52\x54\x00\x00\x00\x02\x52\x54\x00\x00\x00\x01\x08\x00", ETH);
	memset(ip, 0, IP + hdr);
	ip[0] = 0x45;
	put16(ip + 2, IP + hdr + len);
	ip[8] = 64;
	ip[9] = 6;
	put32(ip + 12, 0x0a000001);
	put32(ip + 16, 0x0a000002);
	put16(ip + 10, csum(ip, IP, 0));
	put16(t, PORT + conn);
	put16(t + 2, 80);
	put32(t + 4, seqs[conn]);
	put32(t + 8, acks[conn]);
	t[12] = (uint8_t)(hdr << 2);
	t[13] = (uint8_t)flags;
	put16(t + 14, 65535);
	if (opts)
		memcpy(t + TCP, "\x02\x04\x05\xb4", opts);	/* MSS 1460 */
	memset(t + hdr, 'r', len);
	put16(t + 16, csum(t, hdr + len, 0x0a00 + 1 + 0x0a00 + 2 + 6 + hdr + len));
	seqs[conn] += len + !!(flags & SYN);
	return ETH + IP + hdr + len;
}

void cost_peer_take(const unsigned char *f, unsigned bytes)
{
	unsigned conn, len;

	if (bytes < ETH + IP + TCP || f[12] != 8 || f[13] || f[23] != 6)
		return;
	conn = ((unsigned)f[36] << 8 | f[37]) - PORT;
	len = ((unsigned)f[16] << 8 | f[17]) - IP - (f[46] >> 4) * 4u;
	acks[conn] = get32(f + 38) + len + !!(f[47] & SYN);
	cost_peer_served += len == cost_peer_answer;
}
