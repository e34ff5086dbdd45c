/* SPDX-License-Identifier: MIT */
/*
 * request.h - what is asked and answered, in a datagram's payload
 *
 *	0  "nRQ1" a request, "nRP1" a reply
 *	4  tag, 8 bytes, comes back as it is
 *	12 body, comes back as it is
 *
 * A reply is as long as its request, so that nothing is to be gained by a forged
 * sender's address; and it is no request, so that two of our kind cannot be set
 * against each other.
 */
#ifndef NOMUDP_REQUEST_H
#define NOMUDP_REQUEST_H

#include <stdint.h>
#include <string.h>

#define REQUEST_MIN_BYTES 12
#define REQUEST_MAGIC "nRQ1"
#define REPLY_MAGIC "nRP1"

/* request_answer - turn a request of @bytes into its reply; the reply's length, 0 when it is no request */
static inline uint32_t request_answer(uint8_t *payload, uint32_t bytes)
{
	if (bytes < REQUEST_MIN_BYTES || memcmp(payload, REQUEST_MAGIC, 4))
		return 0;
	memcpy(payload, REPLY_MAGIC, 4);
	return bytes;
}

#endif
