/* SPDX-License-Identifier: MIT */
/*
 * raw_run.h - answers that leave as one frame for the device to cut up
 *
 * VIRTIO_NET_F_HOST_USO (virtio 1.3, 5.1.6.2): UDP datagrams of one size, the last
 * of which may be shorter, to one peer.  The device makes each one's headers from
 * the first's, so those must not differ but in lengths and sums.
 *
 * Short payloads are moved behind that of the first answer, into the buffer that it
 * lies in: one descriptor, and the other buffers are free at once.  Longer ones are
 * sent from where they lie, a descriptor each.
 */
#ifndef NOMSTACK_RAW_RUN_H
#define NOMSTACK_RAW_RUN_H

#include <nomstack/frame.h>
#include <nomstack/raw.h>
#include <nomdrv/vnet.h>

#include <string.h>

#define RAW_RUN_MAX VNET_USO_MAX
#define RAW_RUN_COPY_BYTES 128		/* payloads up to here are moved; a descriptor costs the device as much */
#define RAW_RUN_COOKIE ((uintptr_t)1 << 20)	/* beyond a buffer's number: the cookie of a run */

/**
 * struct raw_run - a frame of several answers
 * @part, @held: the buffers that it lies in
 * @each: payload of each answer but the last, bytes
 */
struct raw_run {
	struct vnet_turn part[RAW_RUN_MAX];
	unsigned held;
	uint16_t each;
};

/* nomstack_raw.c's; @rx and @a: the first answer and those behind it. */
unsigned raw_run_length(const struct vnet_rx *rx, const struct nomstack_raw_answer *a, unsigned nr);
void raw_run_make(struct raw_run *run, struct vnet *v, const struct vnet_rx *rx, const struct nomstack_raw_answer *a, unsigned nr);
int raw_run_send(const struct raw_run *run, struct vnet *v);
/* Buffers given back, from @first on. */
unsigned raw_run_release(struct vnet *v, uint16_t first);

/*
 * Whether two frames in a row are between the same ports: if not, as in a batch of
 * as many peers, there is nothing to join, and that shall cost next to nothing.  A
 * buffer has those bytes, however long its frame is.
 */
static inline bool raw_run_likely(const struct vnet_rx *rx, unsigned nr)
{
	uint32_t before, ports;

	memcpy(&before, (const uint8_t *)rx->data + 34, sizeof(before));
	while (--nr) {
		memcpy(&ports, (const uint8_t *)(++rx)->data + 34, sizeof(ports));
		if (ports == before)
			return true;
		before = ports;
	}
	return false;
}

/* How many of @nr answers, at most @max, above 1, can leave as one frame; 1: the first by itself. */
static inline unsigned raw_run(const struct vnet_rx *rx, const struct nomstack_raw_answer *a, unsigned nr, unsigned max)
{
	/* Most often the next one goes to another peer, which one look at its ports tells. */
	if (nr < 2 || a[1].len > a[0].len || a[1].len <= NOMSTACK_FRAME_UDP_AT ||
	    memcmp((const uint8_t *)rx[0].data + 34, (const uint8_t *)rx[1].data + 34, 4))
		return 1;
	return raw_run_length(rx, a, nr < max ? nr : max);
}

#endif
