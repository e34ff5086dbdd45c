// SPDX-License-Identifier: MIT
/*
 * nomstack_uso.c - received frames that hold several UDP datagrams
 *
 * With VIRTIO_NET_F_GUEST_USO4 or _USO6, which the application asks for, the device
 * joins datagrams of one sender and one size (virtio 1.3, 5.1.6.4).  Each is given to
 * lwIP as the frame that it was, made of a copy of the headers and of its bytes: UDP
 * delivers datagrams, so unlike TCP's segments they cannot stay joined, and an
 * application's callback gets each in one piece whatever buffers it lay in.
 *
 * Nothing that the device says is believed.  A size of 0, more datagrams than
 * VNET_USO_MAX, one that is longer than any frame, headers that contradict what came:
 * the frame is dropped.  Where its sum begins is not read at all: as of any frame, what
 * is looked at is whether the device vouches for it, since a sum of the whole says
 * nothing of a part; else the frame is dropped, too.
 */
#include "internal.h"
#include "lwip/inet_chksum.h"
#include "lwip/prot/ip.h"
#include "lwip/prot/ip6.h"

#include <string.h>

#define IP_AT 14u
#define UDP_BYTES 8u

static unsigned load16be(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static void store16be(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* Where UDP begins in a frame whose first @len bytes are at @f; 0: it is none of UDP. */
static unsigned udp_at(const uint8_t *f, unsigned len)
{
	if (len < IP_AT + 20 + UDP_BYTES)
		return 0;
	if (f[12] == 0x08 && f[13] == 0x00)
		return f[IP_AT] == 0x45 && f[IP_AT + 9] == IP_PROTO_UDP ? IP_AT + 20 : 0;
	if (f[12] != 0x86 || f[13] != 0xdd || len < IP_AT + IP6_HLEN + UDP_BYTES)
		return 0;
	return f[IP_AT] >> 4 == 6 && f[IP_AT + 6] == IP6_NEXTH_UDP ? IP_AT + IP6_HLEN : 0;
}

bool nomstack__is_uso(const struct vnet_rx *rx)
{
	return udp_at(rx->data, rx->len);
}

/* Datagrams in a frame of @total bytes with UDP at @at, of @each bytes; 0: it cannot be. */
static unsigned datagrams(const struct nomstack *s, const struct vnet_rx *rx, unsigned at, unsigned total, unsigned each)
{
	const uint8_t *f = rx->data;
	const bool six = at != IP_AT + 20;
	const unsigned bytes = total - at;	/* of UDP, header included */
	unsigned payload, nr;

	if (!(six ? s->uso6 : s->uso4) || !(rx->flags & VNET_RX_CSUM_OK) || bytes <= UDP_BYTES || !each)
		return 0;
	if (six ? load16be(f + IP_AT + 4) != bytes : load16be(f + IP_AT + 2) != bytes + 20 || load16be(f + IP_AT + 6) & 0x3fff)
		return 0;
	if (load16be(f + at + 4) != bytes)
		return 0;
	payload = bytes - UDP_BYTES;
	nr = (payload + each - 1) / each;
	if (nr > VNET_USO_MAX || at + UDP_BYTES + LWIP_MIN(each, payload) > VNET_FRAME_MAX_BYTES)
		return 0;
	return nr;
}

/* The datagram in s->datagram, @bytes of payload long, into lwIP. */
static void deliver(struct nomstack *s, unsigned at, unsigned bytes)
{
	uint8_t *f = s->datagram;
	const unsigned len = at + UDP_BYTES + bytes;
	struct pbuf *p;
	uint16_t sum;

	store16be(f + at + 4, UDP_BYTES + bytes);
	if (at == IP_AT + 20) {
		store16be(f + IP_AT + 2, len - IP_AT);
		memset(f + IP_AT + 10, 0, sizeof(sum));
		sum = inet_chksum(f + IP_AT, 20);
		memcpy(f + IP_AT + 10, &sum, sizeof(sum));
	} else {
		store16be(f + IP_AT + 4, UDP_BYTES + bytes);
	}
	/* Nobody keeps it: UDP's callbacks have what they want when they return, and ICMP copies. */
	p = pbuf_alloc(PBUF_RAW, (u16_t)len, PBUF_REF);
	if (!p) {
		lwip_stats.udp.memerr++;
		return;
	}
	p->payload = f;
	p->flags |= PBUF_FLAG_CSUM_OK;
	nomstack__rx_input(s, p);
}

/* A large frame of UDP in @nr buffers, @total bytes; they are given back. */
void nomstack__rx_uso(struct nomstack *s, const struct vnet_rx *rx, unsigned nr, unsigned total)
{
	const unsigned at = udp_at(rx->data, rx->len), hdr = at + UDP_BYTES;
	const unsigned each = vnet_rx_gso_bytes(rx);	/* once: the device may change it */
	unsigned n = datagrams(s, rx, at, total, each), left = total - hdr, part = 0, off = hdr, i;

	if (n) {
		s->st.rx_packets += n - 1;
	} else {
		s->st.drop_proto++;
		s->drop_uso++;
	}
	for (i = 0; i < n; i++) {
		const unsigned bytes = LWIP_MIN(each, left);
		unsigned have = 0;

		memcpy(s->datagram, rx->data, hdr);
		while (have < bytes) {
			unsigned take = LWIP_MIN(bytes - have, rx[part].len - off);

			memcpy(s->datagram + hdr + have, (const uint8_t *)rx[part].data + off, take);
			have += take;
			off += take;
			if (off == rx[part].len) {
				part++;
				off = 0;
			}
		}
		left -= bytes;
		deliver(s, at, bytes);
	}
	s->rx_unposted += nr;
	for (i = 0; i < nr; i++)
		vnet_rx_release(s->v, rx[i].id);
}
