/* SPDX-License-Identifier: MIT */
/*
 * vnet: virtio-net in ring 3, one receive and one transmit queue; or several such
 * pairs on one device, each for a thread of its own.
 *
 * The caller owns the loop: it polls, and nothing here runs by itself.  No
 * function of the data path makes a system call, allocates, locks or copies
 * (vnet_tx_copy() says so in its name); what leaves the CPU is at most one
 * doorbell per vnet_tx_flush() or vnet_rx_flush().
 *
 * A turn of the loop:
 *
 *	n = vnet_rx_burst(v, rx, 32);
 *	for (i = 0; i < n; i++) {
 *		handle(rx[i].data, rx[i].len);
 *		vnet_rx_release(v, rx[i].id);
 *	}
 *	vnet_rx_flush(v);
 *	vnet_tx_reap(v, done, arg);
 *	vnet_tx_copy(v, ...);
 *	vnet_tx_flush(v);
 *
 * Threads: all calls on one vnet come from one thread, the one that polls.  Of
 * several pairs each is a vnet, see vnet_pair().
 *
 * Trust: indices, lengths and identifiers written by the device are checked
 * before use.  A device that breaks the protocol is reset, the driver stops
 * and vnet_error() tells the reason; no memory outside the buffers given to
 * the device is read or written on its word.
 */
#ifndef NOMDRV_VNET_H
#define NOMDRV_VNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of virtio 1.3 (5.1.3), for headers of a system that is older than Linux 6.2. */
#ifndef VIRTIO_NET_F_GUEST_USO4
#define VIRTIO_NET_F_GUEST_USO4	54
#define VIRTIO_NET_F_GUEST_USO6	55
#define VIRTIO_NET_F_HOST_USO	56
#endif

struct nomdrv_dev;
struct nomux_core;
struct nomux_ctx;
struct vnet;

#define VNET_PRIV_BYTES		128	/* private area per receive buffer */
#define VNET_FRAME_MAX_BYTES	2034	/* longest frame, Ethernet header included */
#define VNET_RX_SEG_MAX		33	/* buffers of one frame, with MRG_RXBUF */
#define VNET_RX_LARGE_MAX_BYTES	65593	/* longest frame then: 65,535 bytes behind Ethernet, VLAN and IPv6 headers */
#define VNET_TX_SEG_MAX		16	/* segments of one frame */
#define VNET_TSO_SEG_MAX	64	/* segments of a frame that the device cuts up */
#define VNET_USO_MAX		64	/* datagrams that the device cuts from a frame; Linux has long taken no more */
#define VNET_TSO_MAX_BYTES	65549	/* such a frame: 65,535 bytes of IP behind an Ethernet header */
#define VNET_TX_INLINE_BYTES	116	/* a first segment up to here is copied */
#define VNET_MTU_DEFAULT	1500
#define VNET_PAIRS_MAX		16	/* queue pairs of one interface */

/**
 * enum vnet_xdp_mode - how an AF_XDP socket's frames come and go
 * @VNET_XDP_BEST: to be asked for: zero copy if the driver has it, else copy
 * @VNET_XDP_ZERO_COPY: the device writes them to our memory, and sends from it
 * @VNET_XDP_COPY: the program runs in the driver, and the kernel copies
 * @VNET_XDP_GENERIC: the program runs on socket buffers, with drivers that know nothing of it
 */
enum vnet_xdp_mode { VNET_XDP_BEST, VNET_XDP_ZERO_COPY, VNET_XDP_COPY, VNET_XDP_GENERIC };

/**
 * struct vnet_opts - how to open; NULL or zeroes give the defaults
 * @sz: sizeof(struct vnet_opts); fields beyond it count as zero; -E2BIG when
 *	longer than the library knows and not zero there
 * @features_off: mask of feature bits (1 << VIRTIO_NET_F_...) not to negotiate
 * @queue_size: entries per queue, a power of two from 2 to 32768; 0, or more
 *	than the device has: the device's
 * @nr_bufs: receive buffers of 2 KiB, at least the receive queue's size, at
 *	most 32768; 0: twice the queue's size.  What exceeds the queue may be
 *	held by the stack without starving the device.
 * @arena_bytes: memory for vnet_dma_alloc(); 0: 16 MiB
 * @mac: own address; zero: the device's, or a random local one if it has none
 * @wait: hosted mode only: called again and again while a reply of the
 *	back-end is awaited, so that one thread can play both; NULL: poll(2)
 * @wait_arg: handed to @wait
 * @features_on: mask of feature bits to negotiate if offered that change what
 *	the caller sees and are therefore off without being named here ("on
 *	request" in Documentation/userdrivers.rst); any other bit: -EOPNOTSUPP.
 *	VIRTIO_NET_F_MRG_RXBUF: a frame may come as several &struct vnet_rx;
 *	VIRTIO_NET_F_GUEST_TSO4, _TSO6: and be as long as
 *	VNET_RX_LARGE_MAX_BYTES, many TCP segments in one; they need MRG_RXBUF
 *	and GUEST_CSUM and are left out without.
 *	VIRTIO_NET_F_GUEST_USO4, _USO6: the same with UDP datagrams of one size,
 *	the last of which may be shorter, for who splits them again.
 *	VIRTIO_NET_F_CTRL_VQ: a control queue, which the other CTRL features and
 *	VIRTIO_NET_F_GUEST_ANNOUNCE need.  With VIRTIO_NET_F_CTRL_VLAN a device
 *	drops tagged frames until vnet_vlan() lets them in.
 *	VIRTIO_NET_F_MTU, which is negotiated anyway: also an MTU above 2016, with
 *	MRG_RXBUF, which is not asked for if the device's MTU is less.
 *	See vnet_features() for what came of it.
 * @nr_pairs: queue pairs, up to VNET_PAIRS_MAX; 0 or 1: one.  More need
 *	VIRTIO_NET_F_MQ and VIRTIO_NET_F_CTRL_VQ, or opening gives -EOPNOTSUPP;
 *	VIRTIO_NET_F_RSS is used where it is offered.  @nr_bufs and @arena_bytes are
 *	those of each pair.
 * @xdp_mode: vnet_open_xdp() only, as the next ones; enum vnet_xdp_mode, any other value: -EINVAL
 * @xdp_busy_us: the driver is polled by vnet_rx_pending() and vnet_rx_burst(), in a system
 *	call each time that there is nothing, up to so long (SO_BUSY_POLL; with SO_PREFER_BUSY_POLL,
 *	for which the interface wants napi_defer_hard_irqs and gro_flush_timeout); 0: interrupts
 * @xdp_busy_budget: frames a poll (SO_BUSY_POLL_BUDGET); 0: 64
 */
struct vnet_opts {
	size_t sz;
	uint64_t features_off;
	unsigned int queue_size;
	unsigned int nr_bufs;
	size_t arena_bytes;
	uint8_t mac[6];
	uint8_t reserved[2];
	void (*wait)(void *arg);
	void *wait_arg;
	uint64_t features_on;
	unsigned int nr_pairs;
	unsigned int xdp_mode, xdp_busy_us, xdp_busy_budget;
};

/**
 * vnet_open_vfio - take a virtio-net PCI function and start it
 * @ctx: open context of libnomux (borrowed until vnet_close())
 * @bdf: its address, "0000:00:03.0"
 * @opts: options, or NULL
 * @out: the running interface; unchanged on failure
 *
 * Only modern devices: one with legacy registers alone is refused with a log
 * line that says so (start QEMU with disable-legacy=on).
 *
 * Return: 0, what nomux_vfio_open() returns (-EBUSY: in use or its network
 * interface is up; -EPERM; -ENODEV: no such function; -ENOENT: no vfio-pci),
 * -ENODEV (not virtio-net), -EOPNOTSUPP (legacy device, or one that lacks
 * VIRTIO_F_VERSION_1, or &vnet_opts.nr_pairs queue pairs), -EREMOTEIO (it refuses to
 * use them), -EPROTO (registers that contradict the specification),
 * -ETIMEDOUT (reset does not finish), -ENOMEM, -EINVAL or -E2BIG (options).
 */
int vnet_open_vfio(struct nomux_ctx *ctx, const char *bdf, const struct vnet_opts *opts,
		   struct vnet **out);

/**
 * vnet_open_mmio - take a virtio-net device without PCI and start it
 * @ctx: open context of libnomux (borrowed until vnet_close())
 * @name: of the platform device, "LNRO0005:00"
 * @opts: options, or NULL
 * @out: the running interface; unchanged on failure
 *
 * Always trusted mode.  Version 1, the legacy interface, is refused with a log
 * line that says so (start QEMU with -global virtio-mmio.force-legacy=false).
 *
 * Return: 0, what nomux_mmio_open() returns, -ENODEV (empty slot, not virtio-net),
 * -EOPNOTSUPP (legacy device), -EPROTO (registers that contradict the
 * specification), -ETIMEDOUT (reset does not finish), -ENOMEM, -EINVAL or -E2BIG
 * (options).
 */
int vnet_open_mmio(struct nomux_ctx *ctx, const char *name, const struct vnet_opts *opts,
		   struct vnet **out);

/**
 * vnet_open_vhost_user - hosted mode: connect to a vhost-user back-end
 * @socket_path: its listening Unix socket
 * @opts: options, or NULL
 * @out: the running interface; unchanged on failure
 *
 * The same rings without a virtual machine and without nom: memory is a memfd
 * that the back-end maps too.
 *
 * Return: 0, -errno of connect(2), -ENAMETOOLONG, -EOPNOTSUPP, -EPROTO,
 * -ETIMEDOUT (no reply within 5 s), -ENOMEM, -EINVAL or -E2BIG (options).
 */
int vnet_open_vhost_user(const char *socket_path, const struct vnet_opts *opts,
			 struct vnet **out);

/**
 * vnet_open_packet - no device: an AF_PACKET socket on an interface of the kernel's
 * @ifname: an Ethernet interface that is up
 * @opts: options, or NULL; @queue_size is that of both of the socket's rings (1024)
 * @out: the running interface; unchanged on failure
 *
 * For comparison with a device of one's own: the kernel's driver, interrupts and
 * scheduler, and no TCP/IP of the kernel's.  Frames are copied into and out of rings
 * that the kernel has mapped, and vnet_tx_flush() makes a system call.  No offloads,
 * no restart.
 *
 * vnet_mac() is @opts' or one derived from the interface's, not the interface's own:
 * the kernel's stack drops our frames as another station's before it has looked into
 * them, and answers none.  Give the interface no IP address that is ours, or the
 * kernel answers ARP questions for it.  Segments that the interface joins (GRO, large
 * receive) are longer than a slot and dropped, counted in rx_bad: turn that off for
 * TCP (ethtool -K IFNAME gro off lro off).
 *
 * Return: 0, -EAFNOSUPPORT (a kernel without CONFIG_PACKET), -EPERM (needs
 * CAP_NET_RAW), -ENODEV (no such interface), -EPROTOTYPE (not Ethernet), -ENETDOWN (not
 * up), -ENOPROTOOPT (kernel older than 4.20), -EOPNOTSUPP (several queue pairs),
 * -ENOMEM, -EINVAL or -E2BIG (options).
 */
int vnet_open_packet(const char *ifname, const struct vnet_opts *opts, struct vnet **out);

/**
 * vnet_open_xdp - no device: an AF_XDP socket on an interface of the kernel's
 * @ifname: an Ethernet interface that is up, with one receive queue
 * @opts: options, or NULL; @queue_size is that of each of the socket's rings (1024)
 * @out: the running interface; unchanged on failure
 *
 * For comparison, as vnet_open_packet().  The buffers of the interface are the socket's UMEM:
 * frames are received into them, and sent from them (vnet_tx_turn()); others are copied.  A program that is made here and put on the interface
 * until vnet_close() has frames to vnet_mac() and to groups come to us, and leaves the kernel's stack
 * all others; so it sees no broadcasts meanwhile, ARP among them.  The address is as with a packet
 * socket.  No offloads, no restart.  vnet_tx_flush() makes a system call unless the driver is
 * at work anyway (need-wakeup).
 *
 * Return: 0, -EAFNOSUPPORT (a kernel without CONFIG_XDP_SOCKETS or CONFIG_PACKET), -EPERM (needs
 * CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF), -ENODEV (no such interface), -EPROTOTYPE (not
 * Ethernet), -ENETDOWN (not up), -EMSGSIZE (MTU above 1772), -EOPNOTSUPP (several queue
 * pairs, or the mode is not to be had), -EBUSY or -EEXIST (another socket, or another program), -ENOBUFS
 * (memory may not be pinned: RLIMIT_MEMLOCK), -ENOMEM, -EINVAL or -E2BIG (options).
 */
int vnet_open_xdp(const char *ifname, const struct vnet_opts *opts, struct vnet **out);

/** vnet_xdp_mode - which one was had; VNET_XDP_BEST: this is no AF_XDP socket's interface */
enum vnet_xdp_mode vnet_xdp_mode(const struct vnet *v);

/**
 * vnet_create - run the driver on a device of any transport
 * @dev: a constructed or stopped device; owned by the vnet from success on
 * @opts: options, or NULL
 * @out: the running interface; unchanged on failure
 *
 * What the two functions above end in, and where tests bring their own device.
 *
 * Return: as above; on failure @dev stays the caller's, reset or untouched.
 */
int vnet_create(struct nomdrv_dev *dev, const struct vnet_opts *opts, struct vnet **out);

/**
 * vnet_stop - reset the device and keep the memory
 * @v: the interface
 *
 * Nothing is received or sent afterwards.  The cookies of frames that the
 * device still had come back from the next vnet_tx_reap().  Never needed
 * before vnet_close(), except to get those cookies.
 */
void vnet_stop(struct vnet *v);

/** typedef vnet_tx_done_fn - @cookie's memory is the caller's again */
typedef void (*vnet_tx_done_fn)(void *cookie, void *arg);

/**
 * vnet_restart - reset the device and begin again, with the same memory
 * @v: the interface, stopped or not: after NEEDS_RESET, a lost back-end, or
 *	whatever else vnet_error() tells
 * @done: called once for each cookie of a frame that the device had, as by
 *	vnet_tx_reap(); such frames may or may not have been sent
 * @arg: handed to @done
 *
 * Held receive buffers stay held, memory of vnet_dma_alloc() and a bound
 * interrupt stay as they are; frames queued or not yet taken are lost, as on a
 * wire.  Features, queue sizes, address and MTU stay what they were: a device
 * that no longer has them is refused.  How often to try is the caller's
 * business; it is never done unasked.
 *
 * Of several pairs @v is the first; all are restarted, @done gets the cookies of
 * all, and nobody else may use any of them meanwhile.
 *
 * Return: 0 and running, or -EPROTO (the device came back with less), or as
 * vnet_create(); then stopped as before with the reason in vnet_error(), and
 * it may be tried again.
 */
int vnet_restart(struct vnet *v, vnet_tx_done_fn done, void *arg);

/**
 * vnet_close - reset the device, then give memory and function back
 * @v: the interface, or NULL
 *
 * Held receive buffers and memory of vnet_dma_alloc() are gone with it.  Of several
 * pairs @v is the first; all are closed, and nobody may use any of them any more.
 */
void vnet_close(struct vnet *v);

/* ---------------------------------------------------------- several pairs --- */
/*
 * With &vnet_opts.nr_pairs above 1 the opened vnet is pair 0, and the others are
 * vnets as well: each has rings, buffers, arena, counters and interrupt of its own,
 * and a thread that polls it.  None of their data path is shared, so that threads
 * need no locks.  Opening, vnet_restart(), vnet_close() and the control queue are
 * pair 0's; what is set there holds for all.  When one stops, it stops the device;
 * the others find out in vnet_check(), with the reason.
 */

/**
 * vnet_no_large_receive - why the device does not join the TCP segments it receives
 * @v: an open interface, or a pair of it
 *
 * Threads: any.
 * Return: NULL when it does (VIRTIO_NET_F_GUEST_TSO4 and what that needs were
 * negotiated); else a static string of 32 bytes at most: the first feature that the
 * device does not offer ("no VIRTIO_NET_F_MRG_RXBUF"), or "not asked for".
 */
const char *vnet_no_large_receive(const struct vnet *v);

/** vnet_nr_pairs - queue pairs, 1 to VNET_PAIRS_MAX */
unsigned int vnet_nr_pairs(const struct vnet *v);

/** vnet_pair - pair @i of the device that @v is a pair of; NULL when there are fewer */
struct vnet *vnet_pair(struct vnet *v, unsigned int i);

/**
 * enum vnet_steering - who decides which pair a received frame comes to
 * @VNET_STEER_ONE: there is one pair
 * @VNET_STEER_AUTO: the device: a flow's frames come to the pair that last sent one
 *	of it, others to any
 * @VNET_STEER_RSS: a keyed hash of addresses and ports of TCP and UDP; all else comes
 *	to pair 0
 */
enum vnet_steering { VNET_STEER_ONE, VNET_STEER_AUTO, VNET_STEER_RSS };
enum vnet_steering vnet_steering(const struct vnet *v);

/** vnet_mac - own Ethernet address, 6 bytes */
const uint8_t *vnet_mac(const struct vnet *v);

/** vnet_mtu - largest IP packet in bytes, 68 to 2016; with MRG_RXBUF to 65535 */
unsigned int vnet_mtu(const struct vnet *v);

/** vnet_features - negotiated feature bits */
uint64_t vnet_features(const struct vnet *v);

/**
 * vnet_feature_reason - why a feature is in use or not
 * @v: the interface
 * @bit: its number, VIRTIO_NET_F_...
 *
 * Return: a few words for people: "negotiated", "the device does not offer it", ...
 */
const char *vnet_feature_reason(const struct vnet *v, unsigned int bit);

/** vnet_feature_name - "VIRTIO_NET_F_CSUM"; NULL: a bit that this driver has no row for */
const char *vnet_feature_name(unsigned int bit);

/** vnet_link_up - link state at the last vnet_check(); true where unknown */
bool vnet_link_up(const struct vnet *v);

/* --------------------------------------------------------- control queue --- */
/*
 * Asked for with VIRTIO_NET_F_CTRL_VQ and the feature that each function names
 * in &vnet_opts.features_on.  They wait for the device's answer, some
 * microseconds where a device is an emulator, and are not for the data path.
 * What was set is set again by vnet_restart().
 *
 * Return, all of them: 0, -EOPNOTSUPP (feature not negotiated), -EINVAL,
 * -EREMOTEIO (the device refused; nothing has changed), -EIO (stopped, also
 * because no answer came within 2 s).
 */

/** vnet_set_mac - own address: one station's, not zero (CTRL_MAC_ADDR) */
int vnet_set_mac(struct vnet *v, const uint8_t mac[6]);

#define VNET_RX_MODE_PROMISC	(1u << 0)	/* all frames */
#define VNET_RX_MODE_ALLMULTI	(1u << 1)	/* all multicast */
#define VNET_RX_MODE_ALLUNI	(1u << 2)	/* all unicast; from here on CTRL_RX_EXTRA */
#define VNET_RX_MODE_NOMULTI	(1u << 3)	/* no multicast */
#define VNET_RX_MODE_NOUNI	(1u << 4)	/* no unicast */
#define VNET_RX_MODE_NOBCAST	(1u << 5)	/* no broadcast */

/**
 * vnet_set_rx_mode - which frames to let in (CTRL_RX)
 * @v: the interface
 * @mode: VNET_RX_MODE_*, all that is to hold from now on
 *
 * One command for each bit that changes; when one is refused, those before it
 * hold.  Until the first call the mode is the device's: QEMU's lets all in.
 */
int vnet_set_rx_mode(struct vnet *v, unsigned int mode);

#define VNET_FILTER_MAX	64

/**
 * vnet_set_filter - further addresses to let in, instead of those before (CTRL_RX)
 * @v: the interface
 * @unicast, @nr_unicast: addresses of single stations besides vnet_mac()
 * @multicast, @nr_multicast: groups; altogether at most VNET_FILTER_MAX
 */
int vnet_set_filter(struct vnet *v, const uint8_t (*unicast)[6], unsigned int nr_unicast,
		    const uint8_t (*multicast)[6], unsigned int nr_multicast);

/** vnet_vlan - let frames of VLAN @vid (0 to 4095) in, or not any more (CTRL_VLAN) */
int vnet_vlan(struct vnet *v, unsigned int vid, bool on);

/** vnet_announce_ack - gratuitous ARP has been sent, see VNET_EVENT_ANNOUNCE (GUEST_ANNOUNCE) */
int vnet_announce_ack(struct vnet *v);

/* ---------------------------------------------- changes of configuration --- */

#define VNET_EVENT_LINK		(1u << 0)	/* vnet_link_up() has changed */
#define VNET_EVENT_ANNOUNCE	(1u << 1)	/* the device asks to be announced, until vnet_announce_ack() */

/** typedef vnet_event_fn - @what: VNET_EVENT_*; called from within vnet_check(), by its caller */
typedef void (*vnet_event_fn)(unsigned int what, void *arg);

/** vnet_on_event - call @fn when vnet_check() finds a change; NULL: nobody */
void vnet_on_event(struct vnet *v, vnet_event_fn fn, void *arg);

/**
 * vnet_config_fd - eventfd that the device signals when its configuration changes
 *
 * For poll(2), then vnet_config_changed().
 * Return: the descriptor (borrowed, non-blocking), or -EOPNOTSUPP (hosted mode,
 * or a device with a single interrupt).
 */
int vnet_config_fd(struct vnet *v);

/**
 * vnet_config_bind - that interrupt becomes an upcall (VFIO)
 *
 * Parameters, return value and the end as of vnet_irq_bind(), with an event of
 * its own; vnet_config_changed() costs no system call then.
 */
int vnet_config_bind(struct vnet *v, struct nomux_core *core, unsigned int event);
void vnet_config_unbind(struct vnet *v);

/**
 * vnet_config_changed - vnet_check(), if the device has signalled a change
 * @v: the interface
 *
 * Without an interrupt for it always false: call vnet_check() from a timer.
 *
 * Return: whether it was called; for what it found see vnet_error().
 */
bool vnet_config_changed(struct vnet *v);

/* ------------------------------------------------------------ DMA memory --- */

/**
 * vnet_dma_alloc - memory that the device can reach
 * @v: the interface
 * @bytes: at least 1
 * @align: a power of two, at most 4096
 *
 * A set-up time allocator: there is no free.  The memory is zeroed and lies in
 * one range of virtual addresses; segments in it may be sent without a copy
 * wherever they start.
 *
 * Return: the memory, or NULL when the arena (&vnet_opts.arena_bytes) is used up.
 */
void *vnet_dma_alloc(struct vnet *v, size_t bytes, size_t align);

/** vnet_dma_contains - whether [p, p + bytes) is reachable for the device */
bool vnet_dma_contains(const struct vnet *v, const void *p, size_t bytes);

/* --------------------------------------------------------------- receive --- */

#define VNET_RX_CSUM_OK	(1u << 0)	/* transport checksum verified, or partial from the same host: do not check it */
#define VNET_RX_MORE	(1u << 1)	/* the frame goes on in the next struct; MRG_RXBUF only */
#define VNET_RX_LARGE	(1u << 2)	/* several TCP segments in one, or UDP datagrams; GUEST_TSO4, _TSO6, _USO4 or _USO6 only */

/**
 * struct vnet_rx - one received frame, or with MRG_RXBUF a part of one
 * @data: the Ethernet frame, in the buffer where the device put it; the IP
 *	header behind it is aligned to 4 bytes.  What follows a part with
 *	VNET_RX_MORE is the rest of the same frame, without a header.
 * @len: its length in bytes, 14 to VNET_FRAME_MAX_BYTES; a later part's 1 to
 *	2046.  All parts together: at most VNET_RX_LARGE_MAX_BYTES.
 * @id: the buffer, for vnet_rx_release() and vnet_rx_priv()
 * @flags: VNET_RX_*; of a later part only VNET_RX_MORE
 */
struct vnet_rx {
	void *data;
	uint32_t len;
	uint16_t id;
	uint16_t flags;
};

/** vnet_rx_pending - used entries not yet taken, 0 to vnet_rx_size() */
unsigned int vnet_rx_pending(const struct vnet *v);

/**
 * vnet_rx_room - buffers that the device may still fill
 *
 * Announced, and not yet seen used: 0 means that the next frame is dropped.
 */
unsigned int vnet_rx_room(const struct vnet *v);

/** vnet_rx_size - entries of the receive queue */
unsigned int vnet_rx_size(const struct vnet *v);

/**
 * vnet_rx_burst - take received frames
 * @v: the interface
 * @out: room for @max frames
 * @max: most frames wanted
 *
 * Each buffer belongs to the caller until vnet_rx_release().  Frames that no
 * driver could use (shorter than an Ethernet header, segmentation that was
 * never negotiated) are counted in rx_bad and recycled.
 *
 * With MRG_RXBUF @max is at least VNET_RX_SEG_MAX (less is the caller's bug and
 * aborts) and no frame is torn: one that does not fit waits for the next call.
 * Each part is released by itself.
 *
 * Return: filled structs in @out; 0 when nothing arrived or the driver has stopped.
 */
unsigned int vnet_rx_burst(struct vnet *v, struct vnet_rx *out, unsigned int max);

/**
 * vnet_rx_gso_bytes - payload of the segments or datagrams that a large frame is made of
 * @rx: a first part with VNET_RX_LARGE, not yet released
 *
 * To tell how many segments to acknowledge.  The device's word for it, read
 * now: any value, 0 included.
 */
static inline unsigned int vnet_rx_gso_bytes(const struct vnet_rx *rx)
{
	/* gso_size, 4 bytes into the 12 of struct virtio_net_hdr_v1 that lie before the frame. */
	return __atomic_load_n((const uint16_t *)((const uint8_t *)rx->data - 8), __ATOMIC_RELAXED);
}

/**
 * vnet_rx_release - give a buffer back
 * @v: the interface
 * @id: a buffer held since vnet_rx_burst(); any order
 *
 * The device learns of it at the next vnet_rx_flush().  A buffer that is not
 * held is the caller's bug and aborts.
 */
void vnet_rx_release(struct vnet *v, uint16_t id);

/**
 * vnet_rx_priv - the buffer's private area
 *
 * VNET_PRIV_BYTES bytes aligned to 64, outside of the device's reach, at the
 * same address for the life of the vnet, zeroed once; meant for a
 * struct pbuf_custom.
 */
void *vnet_rx_priv(struct vnet *v, uint16_t id);

/** vnet_rx_flush - post and announce released buffers; at most one doorbell */
void vnet_rx_flush(struct vnet *v);

/* -------------------------------------------------------------- transmit --- */

/** struct vnet_seg - a part of a frame: @len bytes (at least 1) at @addr */
struct vnet_seg {
	const void *addr;
	uint32_t len;
};

/**
 * struct vnet_tx - a frame to be sent without a copy
 * @seg: its parts, each within DMA memory, unchanged until reaped
 * @nr_seg: 1 to VNET_TX_SEG_MAX
 * @csum_start: where the device starts to sum, in bytes from the start of the
 *	frame; 0: no offload.  Needs VIRTIO_NET_F_CSUM in vnet_features().
 * @csum_offset: where the sum goes, from @csum_start; the caller has put the
 *	pseudo header's sum there
 * @gso_bytes: 0, or payload per packet: the device cuts the frame into as many
 *	packets as that makes (virtio 1.3, 5.1.6.2): of TCP where @csum_offset is 16,
 *	of UDP where it is 6.  Needs VIRTIO_NET_F_HOST_TSO4, for IPv6 _TSO6, for UDP
 *	_USO; @csum_start; and lengths and pseudo header of the whole.  nr_seg may be
 *	VNET_TSO_SEG_MAX, the length VNET_TSO_MAX_BYTES; of UDP VNET_USO_MAX datagrams
 * @hdr_bytes: with @gso_bytes: Ethernet, IP and TCP or UDP header together
 * @cookie: handed to the function given to vnet_tx_reap(); NULL: none wanted
 *
 * A first part of up to VNET_TX_INLINE_BYTES (protocol headers) is copied beside the
 * virtio header, which saves the device a descriptor; it need not lie in DMA
 * memory.
 */
struct vnet_tx {
	const struct vnet_seg *seg;
	unsigned int nr_seg;
	uint16_t csum_start, csum_offset;
	uint16_t gso_bytes, hdr_bytes;
	void *cookie;
};

/**
 * vnet_tx - queue a frame, not yet announced
 * @v: the interface
 * @tx: the frame; borrowed for the call, the memory it points to until reaped
 *
 * Return: 0, -EAGAIN (queue full: reap, try again), -EINVAL (a segment outside
 * of DMA memory, a frame too long for the MTU, a sum outside of the frame, an
 * offload that is not negotiated or makes no sense), -EIO (stopped, see vnet_error()).  After a failure nothing
 * has changed.
 */
int vnet_tx(struct vnet *v, const struct vnet_tx *tx);

/**
 * vnet_tx_copy - copy a frame into an own buffer and queue it
 *
 * Parameters as in &struct vnet_tx; segments may lie anywhere and are free at
 * return.  Takes one descriptor, and at most VNET_FRAME_MAX_BYTES.
 *
 * Return: as vnet_tx().
 */
int vnet_tx_copy(struct vnet *v, const struct vnet_seg *seg, unsigned int nr_seg,
		 uint16_t csum_start, uint16_t csum_offset);

/**
 * vnet_tx_turn - send a received buffer back, with what was written over the frame in it
 * @v: the interface
 * @id: a buffer held since vnet_rx_burst(); not one of a frame in several parts
 * @len: length of the frame that is in it now, from where the received one began
 * @csum_start, @csum_offset: as in &struct vnet_tx
 * @cookie: handed to the function given to vnet_tx_reap()
 *
 * Nothing is copied, and it takes one descriptor.  The buffer stays held: give it
 * back with vnet_rx_release() when @cookie has come, and leave it alone until
 * then.  One that is not held is the caller's bug and aborts.
 *
 * Return: as vnet_tx().
 */
int vnet_tx_turn(struct vnet *v, uint16_t id, uint32_t len, uint16_t csum_start,
		 uint16_t csum_offset, void *cookie);

/**
 * struct vnet_turn - a part of a frame in received buffers
 * @id: a buffer held since vnet_rx_burst()
 * @at: where the part begins, in bytes from where the received frame did
 * @len: its bytes, at least 1; up to VNET_FRAME_MAX_BYTES - @at
 */
struct vnet_turn {
	uint16_t id, at;
	uint32_t len;
};

/**
 * vnet_tx_turn_cut - send received buffers back as one frame for the device to cut up
 * @v: the interface
 * @part: its parts; the first begins with all headers, at 0
 * @nr: 1 to VNET_USO_MAX
 * @csum_start, @csum_offset, @gso_bytes, @hdr_bytes: as in &struct vnet_tx
 * @cookie: as in vnet_tx_turn(), once for all: the buffers stay held until it has come
 *
 * Takes a descriptor for each part, and no more.  The frame may exceed the MTU, up to
 * VNET_TSO_MAX_BYTES.
 *
 * Return: as vnet_tx().
 */
int vnet_tx_turn_cut(struct vnet *v, const struct vnet_turn *part, unsigned int nr, uint16_t csum_start,
		     uint16_t csum_offset, uint16_t gso_bytes, uint16_t hdr_bytes, void *cookie);

/**
 * vnet_tx_reap - collect what the device has sent
 * @v: the interface
 * @done: called once for each cookie that is not NULL; may queue frames
 * @arg: handed to @done
 *
 * Return: descriptors that became free.
 */
unsigned int vnet_tx_reap(struct vnet *v, vnet_tx_done_fn done, void *arg);

/**
 * vnet_tx_room - free descriptors
 *
 * vnet_tx_copy() takes one; vnet_tx() takes nr_seg + 1 or fewer, and one more
 * for each segment that crosses 2 MiB where physical memory does not continue.
 */
unsigned int vnet_tx_room(const struct vnet *v);

/**
 * vnet_tx_fits - whether there is room for a frame of up to @need parts
 * @need: one for the headers, and two for each further segment, which may lie across
 *	a break of memory
 *
 * A part takes a descriptor; with VIRTIO_RING_F_INDIRECT_DESC in vnet_features() four
 * or more take one together.
 */
bool vnet_tx_fits(const struct vnet *v, unsigned int need);

/** vnet_tx_queued - frames queued and not announced */
unsigned int vnet_tx_queued(const struct vnet *v);

/** vnet_tx_flush - announce queued frames; at most one doorbell */
void vnet_tx_flush(struct vnet *v);

/* ------------------------------------------------------ idle: interrupts --- */

/**
 * vnet_irq_bind - the receive queue's interrupt becomes an upcall (VFIO)
 * @v: the interface
 * @core: the leased core
 * @event: event number of nomux_event_alloc()
 *
 * Registers the event's function (it only counts); nomux_wait() returns on it.
 *
 * Return: 0, -EOPNOTSUPP (hosted mode, or a device without MSI-X), -EBUSY, or what
 * nomux_event_bind() returns.
 */
int vnet_irq_bind(struct vnet *v, struct nomux_core *core, unsigned int event);

/**
 * vnet_irq_unbind - undo vnet_irq_bind(); vnet_close() does it too
 * @v: the interface
 *
 * One of the two has to happen before the core is released.
 */
void vnet_irq_unbind(struct vnet *v);

/**
 * vnet_irq_fd - eventfd of the receive queue's interrupt, for poll(2)
 *
 * Return: the descriptor (borrowed, non-blocking), or -EOPNOTSUPP.
 */
int vnet_irq_fd(struct vnet *v);

/**
 * vnet_irq_arm - ask for an interrupt at the next received frame
 * @v: the interface
 *
 * Flush first: frames and buffers the device does not know bring none.
 *
 * Return: true: sleep, then vnet_irq_disarm().  False: a frame has arrived
 * meanwhile (or the driver has stopped); interrupts are off, do not sleep.
 */
bool vnet_irq_arm(struct vnet *v);

/** vnet_irq_disarm - interrupts off, poll again; harmless when not armed */
void vnet_irq_disarm(struct vnet *v);

/* ------------------------------------------------------------ automatic --- */
/*
 * Poll while it pays, sleep when it does not.  To sleep and be woken costs some
 * time; to poll for as long as that before sleeping costs at most twice what
 * knowing the future would (ski rental), and where the past tells that nothing
 * comes so soon, polling is cut short:
 *
 *	for (;;) {
 *		turn();
 *		if (!vnet_auto(v, nomux_now_ns(), busy))
 *			continue;
 *		nomux_mask(core);
 *		if (vnet_irq_arm(v))
 *			nomux_wait(core, max_ns);
 *		vnet_irq_disarm(v);
 *		nomux_unmask(core);
 *		vnet_auto_woke(v, nomux_now_ns());
 *	}
 *
 * Whoever has other threads for the core gives it to them where this one
 * sleeps.  Nothing here reads a clock or sleeps by itself.
 */

#define VNET_AUTO_MIN_NS	0
#define VNET_AUTO_MAX_NS	50000

/**
 * vnet_auto_set - bounds for polling without work
 * @v: the interface
 * @min_ns: at least so long before each sleep; at first VNET_AUTO_MIN_NS
 * @max_ns: and at most, what a sleep costs; at first VNET_AUTO_MAX_NS
 *
 * Between the two it adapts: a frame that comes within @max_ns of falling
 * asleep doubles the time, a sleep of more than twice @max_ns halves it.
 * @min_ns = @max_ns: no adaption; both 0: interrupts only; both UINT64_MAX:
 * poll only.
 *
 * Return: 0 or -EINVAL (@min_ns above @max_ns).
 */
int vnet_auto_set(struct vnet *v, uint64_t min_ns, uint64_t max_ns);

/**
 * vnet_auto - whether to sleep now
 * @v: the interface
 * @now_ns: any clock that does not go back; the same in each call
 * @busy: the caller has something to do, or waits for room to transmit, of which
 *	no interrupt tells
 *
 * To be called once a turn.  Frames received and queued since the last call are
 * work, too, and so is a sleep that vnet_irq_arm() refused.
 */
bool vnet_auto(struct vnet *v, uint64_t now_ns, bool busy);

/** vnet_auto_woke - the sleep that vnet_auto() allowed is over, or was refused */
void vnet_auto_woke(struct vnet *v, uint64_t now_ns);

/* --------------------------------------------------- health and counters --- */

/**
 * vnet_check - ask the device for its state (one or two register reads)
 * @v: the interface
 *
 * For a slow timer, about once per second: NEEDS_RESET and a lost back-end
 * stop the driver, and vnet_link_up() becomes current.
 *
 * Return: as vnet_error().
 */
int vnet_check(struct vnet *v);

/**
 * vnet_error - whether the driver still runs
 * @v: the interface
 * @reason_out: a sentence for people, or NULL when running; may be NULL
 *
 * Return: 0, or -EIO once the device broke the protocol or asked for a reset,
 * -ESHUTDOWN after vnet_stop().
 */
int vnet_error(const struct vnet *v, const char **reason_out);

/**
 * struct vnet_stats - monotone counters, written by the polling thread
 * @rx_packets: frames handed to the caller
 * @rx_bytes: their bytes, Ethernet header included
 * @rx_bad: frames dropped as unusable
 * @tx_packets: frames queued
 * @tx_bytes: their bytes, Ethernet header included
 * @tx_full: attempts to queue that met a full queue
 * @tx_copies: frames copied by vnet_tx_copy()
 * @tx_turned: frames sent by vnet_tx_turn()
 * @tx_unsure: frames that the device had when it was stopped: sent or not
 * @doorbells_rx: doorbells of the receive queue (new buffers)
 * @doorbells_tx: doorbells of the transmit queue; packet and AF_XDP socket: system calls that send
 * @doorbells_suppressed: flushes with news for which the device wanted none
 * @interrupts: interrupts seen
 * @rx_csum_ok: frames with VNET_RX_CSUM_OK
 * @tx_csum_offload: frames whose sum was left to the device
 * @tx_tso: frames that were left to the device to cut up into TCP packets
 * @tx_uso: the same into UDP datagrams
 * @restarts: of vnet_restart(), successful ones
 * @rx_merged: frames of more than one buffer
 * @rx_large: frames with VNET_RX_LARGE
 * @config_interrupts: changes of configuration that the device signalled
 * @commands: answered on the control queue
 * @rx_others: packet socket: frames for other stations, or with a VLAN tag
 * @rx_lost: packet and AF_XDP socket: frames that found no slot; current after vnet_check()
 * @tx_lost: packet and AF_XDP socket: frames that the interface dropped and said so
 * @busy_polls: AF_XDP socket: system calls in which the driver looked for frames
 * @auto_sleeps: times that vnet_auto() said to sleep: switches from polling
 * @auto_refused: of these, those that vnet_irq_arm() refused, for a frame was there
 * @auto_timeouts: of these, those that ended without a frame
 * @auto_asleep_ns: time between vnet_auto()'s word and vnet_auto_woke()
 * @auto_spin_ns: how long it polls without work now; goes up and down
 */
struct vnet_stats {
	uint64_t rx_packets, rx_bytes, rx_bad;
	uint64_t tx_packets, tx_bytes, tx_full, tx_copies;
	uint64_t doorbells_rx, doorbells_tx, doorbells_suppressed;
	uint64_t interrupts;
	uint64_t rx_csum_ok, tx_csum_offload, tx_tso;
	uint64_t restarts;
	uint64_t rx_merged, rx_large;
	uint64_t config_interrupts, commands;
	uint64_t auto_sleeps, auto_refused, auto_timeouts, auto_asleep_ns, auto_spin_ns;
	uint64_t tx_turned, tx_uso;
	uint64_t tx_unsure;
	uint64_t rx_others, rx_lost, tx_lost;
	uint64_t busy_polls;
};

/** vnet_stats - the live counters */
const struct vnet_stats *vnet_stats(const struct vnet *v);

#ifdef __cplusplus
}
#endif

#endif /* NOMDRV_VNET_H */
