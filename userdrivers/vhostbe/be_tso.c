// SPDX-License-Identifier: MIT
/*
 * vhostbe: segmentation - what a device does to a frame that the driver leaves
 * it to cut up (virtio 1.3, 5.1.6.2; TCP or UDP over IPv4 without IP options, or
 * over IPv6 without extension headers).
 *
 * Each piece gets the headers with its own lengths, IP identification and sums;
 * of TCP its sequence number, and FIN and PSH stand in the last one only.
 */
#include "be.h"

#include <stdbool.h>
#include <string.h>

#define ETH		14u
#define IP		20u
#define IP6		40u
#define UDP		8u
#define TCP_FIN_PSH	0x09
#define UDP_PIECES_MAX	64u	/* what Linux took, when it began to */

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static uint32_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static bool is_udp(const struct virtio_net_hdr_v1 *hdr)
{
	return hdr->gso_type == VIRTIO_NET_HDR_GSO_UDP_L4;
}

/* Of TCP the kind of segmentation tells the version of IP; of UDP the frame does. */
static uint32_t ip_bytes(const struct virtio_net_hdr_v1 *hdr, const uint8_t *f)
{
	if (is_udp(hdr))
		return f[12] == 0x86 ? IP6 : IP;
	return hdr->gso_type == VIRTIO_NET_HDR_GSO_TCPV6 ? IP6 : IP;
}

uint32_t be_tso_headers(const struct virtio_net_hdr_v1 *hdr, const uint8_t *f, uint32_t len)
{
	const uint32_t ip = ip_bytes(hdr, f);

	if (is_udp(hdr))
		return len < ETH + ip + UDP ? 0 : ETH + ip + UDP;
	return len < ETH + ip + 20 ? 0 : ETH + ip + (f[ETH + ip + 12] >> 4) * 4u;
}

const char *be_tso_fault(const struct virtio_net_hdr_v1 *hdr, const uint8_t *f, uint32_t len)
{
	const uint32_t ip = ip_bytes(hdr, f), proto = is_udp(hdr) ? 17 : 6, least = is_udp(hdr) ? UDP : 20;

	if (hdr->gso_type != VIRTIO_NET_HDR_GSO_TCPV4 && hdr->gso_type != VIRTIO_NET_HDR_GSO_TCPV6 && !is_udp(hdr))
		return "of an unknown kind";
	if (!(hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) || !hdr->gso_size)
		return "without a checksum or a size";
	if (len < ETH + ip + least || (ip == IP ?
	    get16(f + 12) != 0x0800 || f[ETH] != 0x45 || f[ETH + 9] != proto :
	    get16(f + 12) != 0x86dd || f[ETH] >> 4 != 6 || f[ETH + 6] != proto))
		return "of what is not TCP or UDP over the IP that it names";
	if (hdr->hdr_len != be_tso_headers(hdr, f, len) || hdr->hdr_len < ETH + ip + least || hdr->hdr_len >= len)
		return "with wrong header length";
	if (hdr->csum_start != ETH + ip || hdr->csum_offset != (is_udp(hdr) ? 6 : 16))
		return "with the checksum elsewhere";
	if (ip == IP ? get16(f + ETH + 2) != len - ETH : get16(f + ETH + 4) != len - ETH - IP6)
		return "with wrong IP length";
	if (is_udp(hdr) && get16(f + ETH + ip + 4) != len - ETH - ip)
		return "with wrong UDP length";
	if (is_udp(hdr) && be_tso_pieces(hdr, len) > UDP_PIECES_MAX)
		return "into too many datagrams";
	return NULL;
}

unsigned int be_tso_pieces(const struct virtio_net_hdr_v1 *hdr, uint32_t len)
{
	return (len - hdr->hdr_len + hdr->gso_size - 1) / hdr->gso_size;
}

uint32_t be_tso_piece(const struct virtio_net_hdr_v1 *hdr, const uint8_t *f, uint32_t len,
		      unsigned int i, uint8_t *out)
{
	uint32_t off = i * (uint32_t)hdr->gso_size, left = len - hdr->hdr_len - off, n, sum = 0, seq;
	const uint32_t ip = ip_bytes(hdr, f), sum_at = ETH + ip + hdr->csum_offset;
	uint8_t *l4 = out + ETH + ip;
	bool last = left <= hdr->gso_size;
	unsigned int k;

	n = last ? left : hdr->gso_size;
	memcpy(out, f, hdr->hdr_len);
	memcpy(out + hdr->hdr_len, f + hdr->hdr_len + off, n);
	if (ip == IP) {
		put16(out + ETH + 2, hdr->hdr_len - ETH + n);
		put16(out + ETH + 4, get16(f + ETH + 4) + i);
		put16(out + ETH + 10, 0);
		for (k = 0; k < IP; k += 2)
			sum += get16(out + ETH + k);
		put16(out + ETH + 10, ~fold(sum));
	} else {
		put16(out + ETH + 4, hdr->hdr_len - ETH - IP6 + n);
	}

	if (is_udp(hdr)) {
		put16(l4 + 4, UDP + n);
	} else {
		seq = get32(f + ETH + ip + 4) + off;
		put16(l4 + 4, seq >> 16);
		put16(l4 + 6, seq);
		if (!last)
			l4[13] &= (uint8_t)~TCP_FIN_PSH;
	}
	/* The pseudo header's sum holds the whole length: take the difference out (RFC 1624). */
	sum = get16(f + sum_at) + (~(len - ETH - ip) & 0xffff) + (hdr->hdr_len - ETH - ip + n);
	put16(out + sum_at, fold(sum));
	vhostbe_csum_complete(out, hdr->hdr_len + n, hdr->csum_start, hdr->csum_offset);
	return hdr->hdr_len + n;
}
