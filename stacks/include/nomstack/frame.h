/* SPDX-License-Identifier: MIT */
/*
 * frame.h - Ethernet frames from strangers, and answers in their place
 *
 * For programs on the raw tier (<nomstack/raw.h>): what a frame is, with every
 * length in it checked, and how it is turned round where it lies.  An answer goes
 * to the addresses that the frame came from, so there is no neighbour cache, no
 * routing and nothing that a stranger could fill up.
 *
 * IPv4 and ARP.  Refused, each counted under a name of its own: fragments (RFC 791:
 * whoever sends requests that fit into a frame needs none), IP options, wrong
 * sums, sources that must not be answered (RFC 1122, 3.2.1.3), VLAN tags.
 *
 * Threads: functions without state; any.
 */
#ifndef NOMSTACK_FRAME_H
#define NOMSTACK_FRAME_H

#include <nomstack/nomstack.h>

struct nomstack_raw_answer;
struct vnet_rx;

/* What a frame is; from NOMSTACK_FRAME_SHORT on, why it is nothing to be answered. */
enum nomstack_frame_kind {
	NOMSTACK_FRAME_UDP,		/* a datagram to our address */
	NOMSTACK_FRAME_ECHO,		/* an ICMP echo request to it */
	NOMSTACK_FRAME_ARP,		/* a question for it */
	NOMSTACK_FRAME_SHORT,		/* ends before its headers do, or says that it is longer than it is */
	NOMSTACK_FRAME_OTHER,		/* of a protocol that is not spoken */
	NOMSTACK_FRAME_NOT_OURS,	/* to somebody else, or to all */
	NOMSTACK_FRAME_HEADER,		/* a header that contradicts itself */
	NOMSTACK_FRAME_OPTIONS,		/* an IP header with options */
	NOMSTACK_FRAME_FRAGMENT,	/* of an IP packet */
	NOMSTACK_FRAME_SUM,		/* a wrong checksum */
	NOMSTACK_FRAME_SOURCE,		/* from an address that nobody may have, or from our own */
	NOMSTACK_FRAME_KINDS,
};

/**
 * struct nomstack_frame_self - who we are
 * @mac: own Ethernet address
 * @ip4_be: own IPv4 address, network byte order
 * @net_be, @broadcast_be: first and last address of the network: nobody's; with a
 *	prefix of 31 or 32 bits 0
 */
struct nomstack_frame_self {
	uint8_t mac[6];
	uint32_t ip4_be, net_be, broadcast_be;
};

/**
 * nomstack_frame_self - fill in who we are
 * @self: filled in
 * @mac: own Ethernet address (vnet_mac())
 * @ip4: "ADDRESS/PREFIX", for example "10.0.0.2/24"
 *
 * Return: 0 or -EINVAL (does not parse, or no address for a station).
 */
NOMSTACK_API int nomstack_frame_self(struct nomstack_frame_self *self, const uint8_t mac[6], const char *ip4);

#define NOMSTACK_FRAME_UDP_AT 42	/* the payload of a datagram, from the frame's start: no options */
#define NOMSTACK_FRAME_UDP_MAX 1472	/* bytes of payload in a frame of MTU 1500 */

/**
 * struct nomstack_frame - a frame that was understood
 * @eth: where it starts
 * @payload: UDP: the datagram's; may be written to, up to NOMSTACK_FRAME_UDP_MAX bytes
 * @payload_bytes: how many there are; UDP only
 * @src_ip_be: sender's IPv4 address, network byte order (ARP: 0 in a probe)
 * @src_port, @dst_port: UDP: host byte order
 */
struct nomstack_frame {
	uint8_t *eth;
	uint8_t *payload;
	uint32_t payload_bytes;
	uint32_t src_ip_be;
	uint16_t src_port, dst_port;
};

/**
 * nomstack_frame_read - what is this?
 * @rx: as vnet_rx_burst() gave it: its length is believed, no byte of it is
 * @self: who we are
 * @f: filled in when the result is below NOMSTACK_FRAME_SHORT
 *
 * Sums are computed except where @rx carries VNET_RX_CSUM_OK, and a UDP sum of 0
 * is none (RFC 768).
 *
 * Return: the kind.
 */
NOMSTACK_API enum nomstack_frame_kind nomstack_frame_read(const struct vnet_rx *rx, const struct nomstack_frame_self *self,
							  struct nomstack_frame *f);

/** nomstack_frame_kind_name - a word for counters and messages, "fragment"; NULL above the last kind */
NOMSTACK_API const char *nomstack_frame_kind_name(enum nomstack_frame_kind kind);

/**
 * nomstack_frame_answer_udp - turn a datagram round
 * @f: of kind NOMSTACK_FRAME_UDP; @f->payload holds the answer's
 * @payload_bytes: its length; more than NOMSTACK_FRAME_UDP_MAX: no answer
 * @offload: leave the UDP sum to the device (VIRTIO_NET_F_CSUM)
 * @out: length of the frame and where the device puts the sum, for the raw tier
 *
 * Addresses and ports change places; time to live 64, identification 0, not to be
 * fragmented (RFC 6864).
 */
NOMSTACK_API void nomstack_frame_answer_udp(const struct nomstack_frame *f, uint32_t payload_bytes, bool offload,
					    struct nomstack_raw_answer *out);

/** nomstack_frame_answer_echo - turn an echo request (NOMSTACK_FRAME_ECHO) into its reply (RFC 792) */
NOMSTACK_API void nomstack_frame_answer_echo(const struct nomstack_frame *f, struct nomstack_raw_answer *out);

/** nomstack_frame_answer_arp - turn a question (NOMSTACK_FRAME_ARP) into its answer (RFC 826) */
NOMSTACK_API void nomstack_frame_answer_arp(const struct nomstack_frame *f, const struct nomstack_frame_self *self,
					    struct nomstack_raw_answer *out);

#define NOMSTACK_FRAME_ARP_BYTES 42

/**
 * nomstack_frame_announce - tell the network who has the address (RFC 5227, 3)
 * @frame: room for NOMSTACK_FRAME_ARP_BYTES
 * @self: who we are
 *
 * Neighbours that remember another station by that address correct themselves.
 */
NOMSTACK_API void nomstack_frame_announce(uint8_t frame[NOMSTACK_FRAME_ARP_BYTES], const struct nomstack_frame_self *self);

#endif
