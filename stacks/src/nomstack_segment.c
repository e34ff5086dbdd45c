// SPDX-License-Identifier: MIT
/*
 * nomstack_segment.c - where TCP is in a frame, and whose segment it is
 *
 * For those who look at frames beside lwIP: the batching delay and the taps.
 * No length in the frame is trusted.  IPv6 with extension headers is not looked
 * into: nobody sends TCP so.
 */
#include "internal.h"

#include "lwip/priv/tcp_priv.h"
#include "lwip/prot/ethernet.h"
#include "lwip/prot/ip.h"
#include "lwip/prot/ip6.h"

#include <string.h>

#define ETH_BYTES 14

/*
 * @len bytes of a frame are at @f.  True: it is a TCP segment whose header, without
 * options, is among them.  @bytes: of the segment, as IP says.
 */
bool nomstack__frame_tcp(const uint8_t *f, unsigned len, struct frame_tcp *out)
{
	const uint8_t *ip = f + ETH_BYTES;
	unsigned hdr, all;

	if (len < ETH_BYTES + 40)
		return false;
	if (f[12] == 0x08 && f[13] == 0x00 && ip[0] >> 4 == 4) {
		hdr = (ip[0] & 0x0fu) * 4;
		all = (unsigned)ip[2] << 8 | ip[3];
		if (ip[9] != IP_PROTO_TCP || hdr < 20)
			return false;
		out->addrs = ip + 12;
		out->v6 = false;
	} else if (f[12] == 0x86 && f[13] == 0xdd && ip[0] >> 4 == 6) {
		hdr = IP6_HLEN;
		all = hdr + ((unsigned)ip[4] << 8 | ip[5]);
		if (ip[6] != IP6_NEXTH_TCP)
			return false;
		out->addrs = ip + 8;
		out->v6 = true;
	} else {
		return false;
	}
	if (len < ETH_BYTES + hdr + 20 || all < hdr + 20)
		return false;
	out->tcp = ip + hdr;
	out->bytes = all - hdr;
	out->whole = all <= len - ETH_BYTES;
	out->hdr_bytes = (out->tcp[12] >> 4) * 4u;
	return out->hdr_bytes >= 20 && out->hdr_bytes <= out->bytes;
}

/* The connection that @t belongs to, seen from us; NULL: none. */
struct tcp_pcb *nomstack__frame_pcb(const struct frame_tcp *t, bool received)
{
	uint16_t ports[2] = { (uint16_t)(t->tcp[0] << 8 | t->tcp[1]), (uint16_t)(t->tcp[2] << 8 | t->tcp[3]) };
	unsigned us = received ? 1 : 0, peer = !us;

	if (t->v6) {
		ip6_addr_t ip[2];

		memcpy(ip[0].addr, t->addrs, 16);
		memcpy(ip[1].addr, t->addrs + 16, 16);
		return tcp_pcb_hash_find6(&ip[peer], ports[peer], &ip[us], ports[us], NETIF_NO_INDEX);
	}
	return tcp_pcb_hash_find4(nomstack__load32(t->addrs + 4 * peer), ports[peer],
				  nomstack__load32(t->addrs + 4 * us), ports[us], NETIF_NO_INDEX);
}
