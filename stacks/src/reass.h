/* SPDX-License-Identifier: MIT */
/* reass.h - a datagram that waits for its fragments, and how the files of the stack that know it talk */
#ifndef NOMSTACK_REASS_INTERNAL_H
#define NOMSTACK_REASS_INTERNAL_H

#include "internal.h"

#include "lwip/prot/ip4.h"
#include "lwip/prot/ip6.h"

#include <stddef.h>

#define ETH_BYTES 14u
#define FRAG6_BYTES 8u
#define IP4_DATA_MAX (65535u - IP_HLEN)
#define IP6_DATA_MAX (65535u - IP6_HLEN)	/* lwIP has 16 bits for a packet with its header */
#define NR_SLOTS NOMSTACK_REASS_DATAGRAMS	/* signed: a profile may have none, and nothing is less than 0u */
#define REASS_DATA_BYTES 65520u			/* what a packet can carry, in whole blocks */
#define REASS_BLOCKS (REASS_DATA_BYTES / 8)	/* offsets count blocks of 8 bytes */
#define REASS_HEAD_BYTES 64u			/* Ethernet, IPv6 and fragment header: an answer goes out in place */

/* Whose fragments belong together: RFC 791, 3.2; RFC 8200, 4.5. */
struct reass_key {
	uint8_t src[16], dst[16];	/* of IPv4 the first four bytes, others are 0 */
	uint32_t id;
	uint8_t family;			/* 4 or 6 */
	uint8_t proto;			/* IPv4 only, else 0: there the first fragment says it */
	uint8_t zero[2];		/* keys are compared as bytes */
};

enum reass_state {
	REASS_FREE,
	REASS_OPEN,			/* takes fragments */
	REASS_REFUSED,			/* contradicts itself: the rest of it is dropped, until its time is over */
	REASS_GIVEN,			/* whole, or quoted in an error: lwIP has it */
};

/* One datagram, and lwIP's view of it: @pc is the first, so that lwIP can free it by its address. */
struct reass_slot {
	struct pbuf_custom pc;
	uint64_t born_ns;
	struct reass_key key;
	enum reass_state state;
	unsigned nr;			/* fragments in it */
	unsigned blocks;		/* of 8 bytes that are there */
	unsigned end;			/* bytes of the whole, 0: the last fragment has not come */
	unsigned top;			/* where the farthest fragment ends */
	unsigned first_bytes;		/* data of the first fragment, 0: it has not come */
	uint8_t header[40];		/* its IP header */
	uint8_t next;			/* what is in an IPv6 datagram: its fragment header's word */
	uint64_t map[REASS_BLOCKS / 64 + 1];	/* blocks that are there */
	uint8_t room[REASS_HEAD_BYTES + REASS_DATA_BYTES];
};

_Static_assert(NOMSTACK_REASS_DATAGRAMS <= 64, "each fragment looks at all datagrams");
_Static_assert(REASS_HEAD_BYTES >= ETH_BYTES + IP6_HLEN + FRAG6_BYTES && REASS_HEAD_BYTES % 8 == 0,
	       "an answer's headers do not fit in front of the data");
_Static_assert(IP4_DATA_MAX <= REASS_DATA_BYTES && IP6_DATA_MAX <= REASS_DATA_BYTES, "a packet's data does not fit");
_Static_assert(offsetof(struct reass_slot, pc) == 0, "lwIP frees by this address");

/* nomstack_reass.c: the datagram of a key, or NULL; an empty one, NULL while lwIP has all of them */
struct reass_slot *nomstack__reass_find(struct reass *r, const struct reass_key *key);
struct reass_slot *nomstack__reass_take(struct nomstack *s, const struct reass_key *key);
void nomstack__reass_refuse(struct reass *r, struct reass_slot *d, uint64_t *why);
struct pbuf *nomstack__reass_whole(struct nomstack *s, struct reass_slot *d);

#endif
