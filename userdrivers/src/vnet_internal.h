/* SPDX-License-Identifier: MIT */
/* What the sources of vnet share. */
#ifndef NOMDRV_VNET_INTERNAL_H
#define NOMDRV_VNET_INTERNAL_H

#include <string.h>
#include <linux/virtio_net.h>

#include "nomdrv/dev.h"
#include "nomdrv/vnet.h"

#include "internal.h"
#include "vdma.h"
#include "vring_packed.h"
#include "vring_split.h"

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5	/* virtio 1.3, 5.1.6 */
#endif

enum { VNET_RXQ, VNET_TXQ, VNET_CTLQ, VNET_NR_QUEUES };

/*
 * A buffer is 2 KiB; the virtio header starts at byte 2 so that the IP header,
 * 12 + 14 bytes later, is aligned to 4.  With VERSION_1 the header always has
 * its num_buffers field (virtio 1.2, 5.1.6).
 */
#define VNET_BUF_BYTES	2048u
#define VNET_BUF_SHIFT	11
#define VNET_BUF_SKIP	2u
#define VNET_HDR_BYTES	((uint32_t)sizeof(struct virtio_net_hdr_v1))
#define VNET_DESC_BYTES	(VNET_BUF_BYTES - VNET_BUF_SKIP)
#define VNET_ETH_BYTES	14u

/*
 * A long chain goes into an indirect table, which takes one descriptor of the ring
 * (virtio 1.2, 2.7.5.3 and 2.8.8).  The table lies in the transmit buffer of the
 * chain's head, behind what is copied there: no memory more, none to be found.
 *
 * From four descriptors on: a frame of a file has two or three (headers, body, a
 * break of memory), and each table costs the device a read more.  The effect is in
 * userdrivers.rst.
 */
#define VNET_TABLE_AT	256u
#define VNET_TABLE_MIN	4u
#define VNET_TABLE_MAX	((VNET_BUF_BYTES - VNET_TABLE_AT) / (unsigned int)sizeof(vring_desc_t))
#define VNET_TABLE_NONE	UINT16_MAX
#define VNET_CTL_BYTES	4096u	/* a command's, answer included */

/*
 * So many interrupts in a row with nothing behind them are no accident: an
 * honest device sends one after a reset, and one for each change of its
 * configuration.
 */
#define VNET_IRQ_EMPTY_MAX	10000u

_Static_assert(sizeof(struct virtio_net_hdr_v1) == 12, "virtio-net header of VERSION_1");
_Static_assert(VNET_DESC_BYTES - 12 == VNET_FRAME_MAX_BYTES, "frame limit of the public header");
_Static_assert(VNET_BUF_SKIP + 12 + VNET_TX_INLINE_BYTES <= VNET_TABLE_AT && VNET_TABLE_AT % 16 == 0, "place of a table");
_Static_assert(sizeof(vring_desc_t) == sizeof(struct vring_packed_desc) &&
	       offsetof(vring_desc_t, len) == offsetof(struct vring_packed_desc, len), "a table's entry, of either kind");
_Static_assert((VNET_BUF_SKIP + 12 + 14) % 4 == 0, "alignment of the IP header");

/*
 * Behind what one pair's thread writes, so that the next allocation, which may be
 * another pair's, begins in another cache line.
 */
#define VNET_APART_BYTES	64u

/* Where a receive buffer is. */
enum vnet_buf_state { VNET_BUF_SPARE, VNET_BUF_POSTED, VNET_BUF_HELD };

/**
 * struct vnet_ctl - the control queue, and what was set by it
 *
 * @q: its ring; @mem: one page for a command and the answer
 * @wait, @wait_arg: of struct vnet_opts: called while an answer is awaited
 * @mac_set: vnet_set_mac() was called
 * @mode, @mode_set: receive modes, and of which the device was told
 * @filter_set, @nr_unicast, @nr_multicast, @addr: of vnet_set_filter()
 * @vlan: bit map
 */
struct vnet_ctl {
	struct virtq q;
	uint8_t *mem;
	void (*wait)(void *arg);
	void *wait_arg;
	bool mac_set, filter_set;
	uint8_t mode, mode_set;
	uint16_t nr_unicast, nr_multicast;
	uint8_t addr[VNET_FILTER_MAX][6];
	uint8_t vlan[4096 / 8];
};

/**
 * struct vnet_auto - when to poll and when to sleep (vnet_auto.c)
 * @min_ns, @max_ns: bounds of stats.auto_spin_ns
 * @idle_since: time of the last work
 * @slept_at: of the sleep that is under way
 * @work: frames seen, at the last turn
 * @refused: vnet_irq_arm() said no since the last sleep began
 */
struct vnet_auto {
	uint64_t min_ns, max_ns, idle_since, slept_at, work;
	bool refused;
};

/**
 * struct vnet_path - a data path that is not virtio's: of a packet socket (vnet_packet.c), of an AF_XDP one (vnet_xdp.c)
 *
 * Called by vnet_*() of the same names, which have found that the interface runs.  Only
 * @tx_reap is called after a stop, too.  @tx has 1 to VNET_TX_SEG_MAX segments, and
 * copies them if it is given no cookie.  @rx_flush has to be where vnet.rxq.nr_free may
 * be other than 0.
 */
struct vnet_path {
	unsigned int (*rx_pending)(const struct vnet *v);
	unsigned int (*rx_burst)(struct vnet *v, struct vnet_rx *out, unsigned int max);
	void (*rx_flush)(struct vnet *v, unsigned int n);
	int (*tx)(struct vnet *v, const struct vnet_seg *seg, unsigned int nr_seg, void *cookie);
	unsigned int (*tx_reap)(struct vnet *v, vnet_tx_done_fn done, void *arg);
	void (*tx_flush)(struct vnet *v);
	bool (*irq_arm)(struct vnet *v);
	void (*irq_disarm)(struct vnet *v);
};

/**
 * struct vnet - an interface
 *
 * @rxq, @rx_base: receive ring; start of the buffers
 * @rx_dma: address of each buffer for the device
 * @rx_state: enum vnet_buf_state of each buffer
 * @rx_spare, @rx_nr_spare: buffers neither posted nor held, most recent last
 * @rx_priv: private areas, out of the device's reach
 * @rx_csum_mask: header flags that stand for a good checksum; 0 without
 *	GUEST_CSUM
 * @txq, @tx_base: transmit ring; a buffer per descriptor, used by the head of
 *	a chain for the header and what is copied
 * @tx_cookie: by head
 * @tx_frame_max, @tx_copy_max: longest frame accepted, bytes; and to be copied
 * @tx_table_min: chains of so many descriptors go into a table; VNET_TABLE_NONE without
 *	INDIRECT_DESC
 * @tx_announced: tx_packets at the last announcement; packed rings only
 * @irq_seen, @rx_seen: interrupts and frames at the last disarming
 * @irq_empty: interrupts in a row that brought nothing
 * @packed: the rings are packed
 * @slow: not the common case of split rings and no error: all that the data
 *	path asks
 * @rx_mrg: MRG_RXBUF was negotiated
 * @rx_take: how frames are taken from a split ring: at most @max structs, of
 *	@pending used entries
 * @rx_gso: bit n: frames of gso_type n were negotiated
 * @path: NULL: virtio's rings; else @slow is set
 * @rx_turn_at: where in a buffer @path has frames, from vnet__rx_buf()
 * @features: as negotiated, for vnet_restart() of a device that forgot
 * @wanted: what would have been, had the device offered it and all that it needs
 * @idle: of vnet_auto()
 * @ctl: control queue, NULL without
 * @config_seen: config_interrupts at the last vnet_config_changed()
 * @event_fn, @event_arg: of vnet_on_event()
 * @root: the device itself: what is done before and after running; @dev is the
 *	same, or with several pairs this one's view of it
 * @mq, @pair: shared with the other pairs, NULL when there is one; which this is
 * @dma: the memory of all pairs, in the first one
 * @error: 0, or -errno until vnet_restart()
 * @reason: why
 */
struct vnet {
	struct virtq rxq;
	uint8_t *rx_base;
	uint64_t *rx_dma;
	uint8_t *rx_state;
	uint16_t *rx_spare;
	uint8_t *rx_priv;
	uint16_t rx_nr_spare, rx_nr_bufs;
	uint8_t rx_csum_mask;

	struct virtq txq;
	uint8_t *tx_base;
	void **tx_cookie;
	uint32_t tx_frame_max, tx_copy_max;
	uint64_t tx_announced;
	uint16_t tx_table_min;
	bool tx_csum, tx_tso, tx_tso6, tx_uso;

	bool slow, packed, rx_mrg;
	uint8_t rx_gso;
	unsigned int (*rx_take)(struct vnet *v, struct vnet_rx *out, unsigned int max, unsigned int pending);
	int error;
	const struct vnet_path *path;
	uint16_t rx_turn_at;
	struct nomdrv_dev *dev;
	uint64_t irq_seen, rx_seen, config_seen, features, wanted;
	unsigned int irq_empty;
	struct vdma mem;
	struct vnet_stats stats;

	uint8_t mac[6];
	uint16_t mtu;
	bool link_up, irq_bound, config_bound;
	int irq_fd, config_fd;
	struct vnet_auto idle;
	struct vnet_ctl *ctl;
	vnet_event_fn event_fn;
	void *event_arg;
	char reason[160];
	struct nomdrv_dev *root;
	struct vnet_mq *mq;
	unsigned int pair;
	struct nomdrv_dma dma;
};

/* vnet_create() with a device that is destroyed if there is no interface. */
int vnet__open(struct nomdrv_dev *dev, const struct vnet_opts *o, struct vnet **out);
/* Stop for good: reset the device, keep the reason. */
void vnet__fail(struct vnet *v, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));
/* All buffers but held ones spare; post as many as fit. */
void vnet__rx_fill(struct vnet *v);
/* What the data path does with packed rings (vnet_packed.c), or when stopped. */
unsigned int vnet__rx_pending_slow(const struct vnet *v);
unsigned int vnet__rx_burst_slow(struct vnet *v, struct vnet_rx *out, unsigned int max);
/* Behind the first @got structs of @out. */
unsigned int vnet__rx_burst_mrg(struct vnet *v, struct vnet_rx *out, unsigned int max, unsigned int got);
/* Sets @rx_take, when features are settled. */
void vnet__rx_choose(struct vnet *v);
void vnet__rx_post_packed(struct vnet *v, unsigned int n);
unsigned int vnet__tx_reap_slow(struct vnet *v, vnet_tx_done_fn done, void *arg);
/* All that the device had; it has been reset. */
unsigned int vnet__reap_stopped(struct vnet *v, vnet_tx_done_fn done, void *arg);
/* Why a received frame cannot be, in one place for both rings. */
void vnet__rx_bad_id(struct vnet *v, unsigned int at, uint32_t id) __attribute__((cold));
void vnet__rx_bad_len(struct vnet *v, uint32_t len) __attribute__((cold));
/* Returns 0, so that vnet_rx_burst() can end in it. */
unsigned int vnet__rx_ran_ahead(struct vnet *v) __attribute__((cold));
/* Memory of the control queue, once; -ENOMEM. */
int vnet__ctl_create(struct vnet *v, const struct vnet_opts *o, unsigned int size);
/* One command, answered: 0, -EREMOTEIO (refused), -EIO (stopped). */
int vnet__command(struct vnet *v, unsigned int class, unsigned int cmd, const void *data, unsigned int bytes);
/* Tell a device that was reset what had been set: 0 or an error of the functions that set it. */
int vnet__ctl_restore(struct vnet *v);
/* Features, MTU, address and what follows from them; device reset (vnet_negotiate.c). */
int vnet__negotiate(struct vnet *v, const struct vnet_opts *o);
/* Memory, rings and private state, once; vnet__free() also after a failure (vnet_mem.c). */
int vnet__alloc(struct vnet *v, const struct vnet_opts *o);
void vnet__free(struct vnet *v);
/* Several pairs (vnet_mq.c).  Without: they do nothing, and the number is the index. */
int vnet__mq_choose(struct vnet *v, const struct vnet_opts *o, uint64_t *wanted);
int vnet__mq_create(struct vnet *v, unsigned int nr);
void vnet__mq_destroy(struct vnet *v);
/* The device runs: so do the pairs. */
void vnet__mq_started(struct vnet *v);
/* Which pairs are used, and how flows come to them. */
int vnet__mq_steer(struct vnet *v);
/* This pair has stopped and is about to reset the device; whether another one has. */
void vnet__mq_tell_stop(struct vnet *v);
void vnet__mq_look(struct vnet *v);
/* What the device calls queue VNET_RXQ, _TXQ or _CTLQ of this pair. */
unsigned int vnet__queue_number(const struct vnet *v, unsigned int index);
unsigned int vnet__nr_queues(const struct vnet *v);
struct virtq *vnet__ring(struct vnet *v, unsigned int index);
/* Options with defaults for what the caller's struct lacks: 0, -EINVAL, -E2BIG. */
int vnet__opts(const struct vnet_opts *opts, struct vnet_opts *out);

static inline uint8_t *vnet__rx_buf(const struct vnet *v, unsigned int id)
{
	return v->rx_base + ((size_t)id << VNET_BUF_SHIFT) + VNET_BUF_SKIP;
}

static inline uint8_t *vnet__tx_buf(const struct vnet *v, unsigned int head)
{
	return v->tx_base + ((size_t)head << VNET_BUF_SHIFT) + VNET_BUF_SKIP;
}

static inline vring_desc_t *vnet__tx_table(const struct vnet *v, unsigned int head)
{
	return (void *)(v->tx_base + ((size_t)head << VNET_BUF_SHIFT) + VNET_TABLE_AT);
}

/* Whether a chain of @need descriptors goes into a table. */
static inline bool vnet__tx_tabled(const struct vnet *v, unsigned int need)
{
	return __builtin_expect(need >= v->tx_table_min, 0) && need <= VNET_TABLE_MAX;
}

/* Entry @at of @nr; in a packed ring they are taken in turn, and id and flags mean nothing (2.8.8). */
static inline void vnet__table_set(vring_desc_t *table, unsigned int at, unsigned int nr, uint64_t dma, uint32_t len,
				   const bool packed)
{
	const bool linked = !packed && at + 1 < nr;

	table[at] = (vring_desc_t){
		.addr = dma, .len = len,
		.flags = linked ? VRING_DESC_F_NEXT : 0, .next = linked ? (uint16_t)(at + 1) : 0,
	};
}

/* Queue the table of @head, the next free one, with @nr entries. */
static inline void vnet__table_post(struct vnet *v, unsigned int head, unsigned int nr, const bool packed)
{
	struct virtq *r = &v->txq;
	uint64_t dma = vdma_addr(&v->mem, (const uint8_t *)vnet__tx_table(v, head));
	uint32_t len = nr * (uint32_t)sizeof(vring_desc_t);

	if (packed) {
		vpacked_set(r, r->avail_idx, head, dma, len, VRING_DESC_F_INDIRECT);
		vpacked_post(r, head, 1);
	} else {
		vring_get(r);
		vring_set(r, head, dma, len, VRING_DESC_F_INDIRECT, 0);
		vring_post(r, head, head, 1);
	}
}

/*
 * The header's first two bytes, flags and gso_type, are read at once; the
 * device must not write any more, and if it does, any value is handled.
 */
static inline unsigned int vnet__rx_header_word(const uint8_t *hdr)
{
	uint16_t w;

	memcpy(&w, hdr, sizeof(w));
	return w;
}

/* MRG_RXBUF: buffers that the frame takes, as the device says; read once. */
static inline unsigned int vnet__rx_nr_buffers(const uint8_t *hdr)
{
	uint16_t nr;

	memcpy(&nr, hdr + offsetof(struct virtio_net_hdr_v1, num_buffers), sizeof(nr));
	return nr;
}

_Static_assert(VIRTIO_NET_HDR_GSO_TCPV4 < 8 && VIRTIO_NET_HDR_GSO_TCPV6 < 8 && VIRTIO_NET_HDR_GSO_UDP_L4 < 8,
	       "vnet.rx_gso has 8 bits");

/* Whether frames of the gso_type in this header word were negotiated. */
static inline bool vnet__rx_gso_ok(const struct vnet *v, unsigned int word)
{
	unsigned int gso = word >> 8;

	return gso < 8 && (v->rx_gso >> gso & 1);
}

/* Where the sum of TCP and of UDP lies in its header, which tells the two apart. */
#define VNET_CSUM_TCP	16u
#define VNET_CSUM_UDP	6u

/*
 * Whether the device can cut up a frame of @total bytes whose first @len are at @f,
 * as the caller says; its headers are among them.
 */
static inline bool vnet__gso_ok(const struct vnet *v, const uint8_t *f, uint32_t len, uint32_t total, uint16_t csum_start,
				uint16_t csum_offset, uint16_t gso_bytes, uint16_t hdr_bytes)
{
	bool six;

	if (hdr_bytes > len || hdr_bytes >= total || csum_start < VNET_ETH_BYTES + 20 || csum_start >= hdr_bytes)
		return false;
	six = f[12] == 0x86 && f[13] == 0xdd;	/* only now known to be there */
	if (csum_offset == VNET_CSUM_TCP)
		return hdr_bytes >= csum_start + 20 && (six ? v->tx_tso6 : v->tx_tso);
	return csum_offset == VNET_CSUM_UDP && hdr_bytes == csum_start + 8 && v->tx_uso &&
	       total - hdr_bytes <= (uint32_t)gso_bytes * VNET_USO_MAX;
}

/* gso_type, hdr_len and gso_size of such a frame, where the first eight bytes of the header have them. */
static inline uint64_t vnet__gso_word(const uint8_t *f, uint16_t csum_offset, uint16_t gso_bytes, uint16_t hdr_bytes)
{
	uint64_t type = csum_offset == VNET_CSUM_UDP ? VIRTIO_NET_HDR_GSO_UDP_L4 :
			f[12] == 0x86 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;

	return type << 8 | (uint64_t)hdr_bytes << 16 | (uint64_t)gso_bytes << 32;
}

static inline void vnet__spare(struct vnet *v, unsigned int buf)
{
	v->rx_state[buf] = VNET_BUF_SPARE;
	v->rx_spare[v->rx_nr_spare++] = (uint16_t)buf;
}

/* Announce, and ring if the device wants it. */
static inline void vnet__announce(struct vnet *v, unsigned int index, uint64_t *doorbells)
{
	struct virtq *r = index == VNET_RXQ ? &v->rxq : &v->txq;

	if (v->packed ? vpacked_announce(r) : vring_announce(r)) {
		v->dev->ops->kick(v->dev, index);
		++*doorbells;
	} else {
		v->stats.doorbells_suppressed++;
	}
}

#endif /* NOMDRV_VNET_INTERNAL_H */
