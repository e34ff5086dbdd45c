/* SPDX-License-Identifier: MIT */
/* Inside of vhostbe: control (be_ctl.c), rings (be_ring.c), frames (be_net.c, be_port.c). */
#ifndef VHOSTBE_INTERNAL_H
#define VHOSTBE_INTERNAL_H

#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#ifndef VIRTIO_NET_F_HOST_USO	/* headers older than Linux 6.2 */
#define VIRTIO_NET_F_GUEST_USO4	54
#define VIRTIO_NET_F_GUEST_USO6	55
#define VIRTIO_NET_F_HOST_USO	56
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#include "vhost_user_msg.h"
#include "vhostbe.h"

enum { BE_RXQ, BE_TXQ, BE_CTLQ, BE_NR_QUEUES };

/* What the parts of a chain may be. */
enum be_dir { BE_READ, BE_WRITE, BE_BOTH };

#define BE_FDS_MAX	8
#define BE_FIFO_FRAMES	1024
#define BE_IOV_MAX	160
#define BE_HDR_BYTES	((uint32_t)sizeof(struct virtio_net_hdr_v1))

/* A mapped part of the front-end's memory. */
struct be_region {
	uint64_t guest_addr, user_addr, bytes;
	uint8_t *va;		/* of guest_addr */
	void *map;
	size_t map_bytes;
};

/*
 * Device side of a ring, split or packed.  The three pointers are valid while
 * @running.
 * @last_avail, @used_idx: next to take, next to fill; private copies.  Packed:
 *	positions in descriptors, free-running, so that the bit above the
 *	position tells the lap
 * @signalled: used index at the last decision about an interrupt
 * @peeked: packed: descriptors of the chain that was peeked at
 * @batch, @batch_id, @batch_at: IN_ORDER: used chains of which only the last
 *	will be written down, its id, and where
 */
struct be_ring {
	unsigned int num;
	struct vhost_vring_addr addr;
	bool has_addr, enabled, running;
	int kick_fd, call_fd;
	const struct vring_desc *desc;
	const struct vring_avail *avail;
	struct vring_used *used;
	struct vring_packed_desc *pdesc;
	const struct vring_packed_desc_event *driver_event;
	struct vring_packed_desc_event *device_event;
	uint16_t last_avail, used_idx, signalled;
	uint16_t peeked, batch, batch_id, batch_at;
	bool event_idx, packed, in_order, kicked;
};

struct be_frame {
	struct be_frame *next;
	struct vhostbe_meta meta;
	uint32_t len;
	uint8_t data[];
};

/* A part of a chain, here. */
struct be_part {
	uint8_t *va;
	uint32_t len;
	bool write;
};

/* Buffers that one frame may be spread over, with MRG_RXBUF. */
#define BE_MERGE_MAX	64

/* A chain that holds a part of a frame: its id, descriptors, bytes written. */
struct be_used {
	uint16_t id, descs;
	uint32_t written;
};

/* Where frames go; each returns whether the frame was taken (false: try later). */
struct be_port_ops {
	bool cuts;		/* takes frames of TCP that are still to be cut up */
	bool (*tx)(struct vhostbe *be, const struct virtio_net_hdr_v1 *hdr, uint8_t *frame,
		   uint32_t len);
	/* Where the next frame goes, BE_HDR_BYTES of header before it, for tx() to find there;
	   NULL: none may come now.  Without it: be->bounce. */
	uint8_t *(*room)(struct vhostbe *be);
	unsigned int (*poll)(struct vhostbe *be);	/* frames that came in; may be NULL */
	void (*features)(struct vhostbe *be);	/* the front-end has chosen; may be NULL */
};

struct vhostbe {
	char path[108];
	int listen_fd, sock;
	uint64_t offered, features, protocol;
	bool has_features, has_protocol;
	uint32_t flags;
	struct virtio_net_config config;

	/* a message on its way in */
	struct vhu_msg in;
	uint32_t in_len;
	int in_fds[BE_FDS_MAX];
	unsigned int nr_in_fds;

	struct be_region region[VHU_MEM_REGIONS_MAX];
	unsigned int nr_regions;
	struct be_ring ring[BE_NR_QUEUES];

	const struct be_port_ops *port;
	void *port_arg;
	int port_fd;
	bool own_port_fd;
	bool port_cuts_udp;	/* it takes frames of UDP that are still to be cut up, too */
	struct be_frame *fifo, **fifo_tail;
	unsigned int fifo_len;
	uint8_t bounce[BE_HDR_BYTES + VHOSTBE_FRAME_MAX];
	uint8_t piece[VHOSTBE_FRAME_MAX];

	struct vhostbe_rx rx_state;
	struct vhostbe_stats stats;
	bool broken;		/* error holds a reason for this connection to end */
	char error[160];
};

/* The front-end broke the protocol: remember why; the connection ends with the current step. */
void be_fail(struct vhostbe *be, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* be_ctl.c */
unsigned int be_ctl_step(struct vhostbe *be);
void be_disconnect(struct vhostbe *be);
/* Guest or user address to here; NULL when not all of it lies in one region. */
void *be_guest(const struct vhostbe *be, uint64_t addr, uint64_t bytes);
void *be_user(const struct vhostbe *be, uint64_t addr, uint64_t bytes);

/* be_ring.c */
int be_ring_start(struct vhostbe *be, struct be_ring *r);
void be_ring_stop(struct be_ring *r);
/* Entries available, or -1 after be_fail(). */
int be_ring_avail(struct vhostbe *be, struct be_ring *r);
/*
 * The next chain's parts, all of the kind that @dir says.  Returns how
 * many, with the head; or -1 after be_fail().  There must be one available.
 */
int be_ring_peek(struct vhostbe *be, struct be_ring *r, enum be_dir dir, struct be_part *part,
		 uint16_t *head);
/* An indirect table of @nr descriptors, or NULL after be_fail(). */
const void *be_table(struct vhostbe *be, uint64_t addr, uint32_t len, unsigned int *nr);
/* The chain of be_ring_peek() is used; visible after be_ring_publish(). */
void be_ring_use(struct be_ring *r, uint16_t head, uint32_t written);
/* The same for the @n next chains, which hold one frame: all become visible together. */
void be_ring_use_all(struct be_ring *r, const struct be_used *used, unsigned int n);
void be_ring_publish(struct vhostbe *be, struct be_ring *r);
/* Ask for doorbells; true: something became available meanwhile. */
bool be_ring_kicks_on(struct vhostbe *be, struct be_ring *r);
void be_ring_kicks_off(struct be_ring *r);

/* be_packed.c: what the functions above do for packed rings */
int be_packed_avail(struct vhostbe *be, struct be_ring *r);
int be_packed_peek(struct vhostbe *be, struct be_ring *r, enum be_dir dir, struct be_part *part,
		   uint16_t *id);
void be_packed_use(struct be_ring *r, uint16_t id, uint32_t written);
void be_packed_use_all(struct be_ring *r, const struct be_used *used, unsigned int n);
/* What is used is visible; whether the driver wants an interrupt for it. */
bool be_packed_publish(struct be_ring *r, uint16_t old);
bool be_packed_kicks_on(struct be_ring *r);
void be_packed_kicks_off(struct be_ring *r);
/* Where a ring is, as vhost-user counts, and back. */
uint32_t be_packed_base(const struct be_ring *r);
void be_packed_set_base(struct be_ring *r, uint32_t base);

/* be_net.c */
unsigned int be_net_step(struct vhostbe *be);
void be_fifo_clear(struct vhostbe *be);
void be_set_port(struct vhostbe *be, const struct be_port_ops *ops, int fd, bool own);
/* Without publishing; as vhostbe_inject(). */
int be_deliver(struct vhostbe *be, const struct virtio_net_hdr_v1 *hdr, const void *frame,
	       uint32_t len);
extern const struct be_port_ops be_port_queue;

/* be_cmd.c: all commands that are there; how many */
unsigned int be_serve_commands(struct vhostbe *be);

/* be_tso.c */
/* Bytes of headers as the frame itself has them; 0: too short for any. */
uint32_t be_tso_headers(const struct virtio_net_hdr_v1 *hdr, const uint8_t *frame, uint32_t len);
/* Why the frame cannot be cut up, or NULL. */
const char *be_tso_fault(const struct virtio_net_hdr_v1 *hdr, const uint8_t *frame, uint32_t len);
unsigned int be_tso_pieces(const struct virtio_net_hdr_v1 *hdr, uint32_t len);
/* Packet @i of the frame into @out, sums complete; its length. */
uint32_t be_tso_piece(const struct virtio_net_hdr_v1 *hdr, const uint8_t *frame, uint32_t len,
		      unsigned int i, uint8_t *out);

#endif /* VHOSTBE_INTERNAL_H */
