/* SPDX-License-Identifier: MIT */
/*
 * nomstack.h - the default private network stack: native zero-copy API
 *
 * One TCP/IP stack (lwIP) over one network device of the application's own
 * (struct vnet).  No socket layer, no thread, no system call: the application
 * calls nomstack_poll() in a loop, and receives its data in callbacks, in the
 * very buffer the device wrote.  Types of lwIP do not appear here.
 *
 * Threads: everything in this header belongs to ONE thread, the one that
 * polls.  lwIP keeps its state in globals, therefore a process has at most
 * one struct nomstack (nomstack_open() says -EBUSY to the second).
 *
 * Lifetime of a connection (struct nomstack_conn): from accept() or
 * nomstack_tcp_connect() until the application calls nomstack_tcp_close() or
 * nomstack_tcp_abort(), or until closed() reports an error; after any of the
 * three the pointer is dead and no callback mentions it again.
 *
 * Knobs and the meaning of the batching delay W: Documentation/stacks.rst.
 */
#ifndef NOMSTACK_NOMSTACK_H
#define NOMSTACK_NOMSTACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef NOMSTACK_API
#define NOMSTACK_API __attribute__((visibility("default")))
#endif

struct vnet;
struct nomstack;
struct nomstack_conn;

/**
 * struct nomstack_opts - how to open a stack
 * @sz: sizeof(struct nomstack_opts); growth of the structure is by size
 * @vnet: the device (borrowed: nomstack_close() leaves it open); opened with
 *	VIRTIO_NET_F_MRG_RXBUF and _GUEST_TSO4 (IPv6: _TSO6) in
 *	&vnet_opts.features_on, it joins what it receives: much cheaper for much at a time
 * @ip4: "ADDRESS/PREFIX", for example "10.0.0.2/24", or "dhcp"
 *	or NULL: no IPv4 (@ip6 must be given then)
 * @gateway: default gateway, or NULL for none (ignored with DHCP)
 * @hostname: sent to the DHCP server, or NULL; borrowed until nomstack_close()
 * @now_ns: monotonic clock in ns, NULL for nomux_now_ns(); tests pass a
 *	controlled one.  The stack has no other source of time.
 * @now_arg: passed to @now_ns
 * @ip6: "ADDRESS/64", for example "fd00::2/64", or "auto": by router advertisements
 *	(RFC 4862), besides a link-local address; or NULL: no IPv6, its frames are dropped
 * @gateway6: router of a fixed IPv6 address, or NULL for none; not with "auto"
 * @follows: another stack is behind the same address and has it (its own options say
 *	how): this one asks for none, tests none and announces none, and is told by
 *	nomstack_follow().  @ip4 and @ip6 then only tell which versions there are.
 */
struct nomstack_opts {
	size_t sz;
	struct vnet *vnet;
	const char *ip4;
	const char *gateway;
	const char *hostname;
	uint64_t (*now_ns)(void *arg);
	void *now_arg;
	const char *ip6;
	const char *gateway6;
	bool follows;
};

/**
 * nomstack_open - bring up the stack on a device
 * @o: options, all borrowed for the call except where said otherwise
 * @out: the stack; give back with nomstack_close()
 *
 * Takes its heap from the device's DMA memory, so that what it queues is sent
 * without a copy.  With a static address the stack answers at once; with
 * "dhcp" see nomstack_wait_address().
 *
 * Return: 0, -EINVAL (an address does not parse, @sz too small), -E2BIG (@sz
 * newer than this library and the unknown part is used), -EBUSY (the process
 * has a stack already), -ENOMEM (DMA memory exhausted), -EIO (device broken).
 */
NOMSTACK_API int nomstack_open(const struct nomstack_opts *o, struct nomstack **out);

/**
 * nomstack_close - abort all connections and take the stack down
 * @s: the stack, or NULL
 *
 * Peers of open connections get a reset.  No callback runs.  Buffers of the
 * receive ring are released, so the device may be closed afterwards.
 */
NOMSTACK_API void nomstack_close(struct nomstack *s);

/**
 * nomstack_restart - restart a device that broke, and go on
 * @s: the stack
 *
 * Connections live: what was under way is lost as on a wire, and TCP sends it
 * again.  Frames that are held stay good.  Not from a callback.
 *
 * Return: as vnet_restart().
 */
NOMSTACK_API int nomstack_restart(struct nomstack *s);

/**
 * nomstack_restart_begin - what nomstack_restart() does before, for a device of several stacks
 * @s: the stack
 *
 * Stops the queue pair, whereby the device is stopped, and takes back what it had.  When
 * all stacks have done so and none is polled, one thread calls vnet_restart() for the
 * first pair, whose callback gets nothing of theirs any more; after its success each
 * calls nomstack_restart_end().
 */
NOMSTACK_API void nomstack_restart_begin(struct nomstack *s);

/* nomstack_restart_end - the device runs again: go on */
NOMSTACK_API void nomstack_restart_end(struct nomstack *s);

/**
 * nomstack_wait_address - poll until the interface has an address
 * @s: the stack
 * @timeout_ms: give up after this long, 0: look once
 *
 * Static address: returns at once.  DHCP: polls until bound.  An IPv6 address is waited
 * for without IPv4 only: one that is fixed or a router's, until nobody else has claimed it.
 *
 * Return: 0, or -ETIMEDOUT, or -EIO when the device broke.
 */
NOMSTACK_API int nomstack_wait_address(struct nomstack *s, unsigned timeout_ms);

/**
 * nomstack_address - the interface's own address
 * @s: the stack
 * @ip4_be_out: IPv4 address in network byte order; 0.0.0.0 before DHCP is bound
 * @prefix_out: length of the network prefix, or NULL
 *
 * Return: 0, or -EADDRNOTAVAIL while there is none.
 */
NOMSTACK_API int nomstack_address(struct nomstack *s, uint32_t *ip4_be_out, unsigned *prefix_out);

/**
 * nomstack_announce - send gratuitous ARP (RFC 5227, 3): switches and neighbours learn where we are
 *
 * After a link has come back, and when the device asks for it (VNET_EVENT_ANNOUNCE).
 * Return: 0, -EADDRNOTAVAIL (no address yet), -EAGAIN (no room to send).
 */
NOMSTACK_API int nomstack_announce(struct nomstack *s);

/* state of an address of ours */
enum {
	NOMSTACK_ADDR_TENTATIVE = 1,	/* not used yet: it is being found out whether others have it */
	NOMSTACK_ADDR_READY,
	NOMSTACK_ADDR_DEPRECATED,	/* works, and will end */
	NOMSTACK_ADDR_DUPLICATE,	/* somebody else has it: not used */
};

#define NOMSTACK_MAX_IP6 7
#define NOMSTACK_MAX_ADDRESSES (1 + NOMSTACK_MAX_IP6)
#define NOMSTACK_ADDR_TEXT 46	/* bytes that an address takes as text, with its NUL */

/**
 * struct nomstack_addr - an address of IPv4 or IPv6
 * @family: 4 or 6; 0: none
 * @prefix: of an address of ours: bits that its network has in common
 * @state: of an address of ours: NOMSTACK_ADDR_READY, ...
 * @pad: 0
 * @bytes: in network byte order; of IPv4 the first four, the others are 0
 */
struct nomstack_addr {
	uint8_t family, prefix, state, pad;
	uint8_t bytes[16];
};

/**
 * nomstack_addr_parse - an address from text, "10.0.0.1" or "fe80::1"
 * @text: without prefix length, brackets or zone
 * @out: the address
 *
 * Threads: any.  Return: 0 or -EINVAL.
 */
NOMSTACK_API int nomstack_addr_parse(const char *text, struct nomstack_addr *out);

/**
 * nomstack_addr_text - an address as text, IPv6 as RFC 5952 wants it
 * @a: the address
 * @buf: result, always terminated when @n > 0; "?" for no address
 * @n: room in @buf; NOMSTACK_ADDR_TEXT bytes are enough
 *
 * Threads: any.  Return: @buf.
 */
NOMSTACK_API char *nomstack_addr_text(const struct nomstack_addr *a, char *buf, size_t n);

/**
 * nomstack_addresses - all addresses of the interface, whatever their state
 * @s: the stack
 * @out: filled in: IPv4's first, then the link-local one
 * @max: how many fit; NOMSTACK_MAX_ADDRESSES is enough
 *
 * Return: how many.
 */
NOMSTACK_API unsigned nomstack_addresses(struct nomstack *s, struct nomstack_addr *out, unsigned max);

/*
 * Several stacks behind one address: nomstack_share.c.  One has the addresses, the
 * others follow it.
 */

#define NOMSTACK_SHARE_BYTES 1514	/* longest frame that is passed on */

/** typedef nomstack_neighbour_fn - @frame concerns other stacks, too; called within nomstack_poll() */
typedef void (*nomstack_neighbour_fn)(void *arg, const void *frame, uint32_t len);

/**
 * nomstack_on_neighbour - what must be passed on to the other stacks
 *
 * @fn gets what the device hands to one queue pair whoever it is for, for
 * nomstack_neighbour() of the other stacks: ARP's answers and announcements, neighbour
 * and router advertisements and redirects, ICMP's errors, DHCP's answers (for the stack
 * that asked).  Questions are not passed on: each would be answered by all.  NULL: nobody.
 */
NOMSTACK_API void nomstack_on_neighbour(struct nomstack *s, nomstack_neighbour_fn fn, void *arg);

/**
 * nomstack_neighbour - take a frame that another stack received
 *
 * Between two polls; callbacks may run.  It is checked as one from the wire is.
 * Return: 0, -EINVAL (too short or long), -ENOMEM.
 */
NOMSTACK_API int nomstack_neighbour(struct nomstack *s, const void *frame, uint32_t len);

/**
 * struct nomstack_config - the addresses that an interface has, and how it routes
 * @ip4_be: 0: none (yet)
 * @mask_be, @gateway_be: with it
 * @ip6_fixed: bit i: @ip6[i] was given by hand
 * @ip6: by place; family 0: none there that can be used
 */
struct nomstack_config {
	uint32_t ip4_be, mask_be, gateway_be, ip6_fixed;
	struct nomstack_addr ip6[NOMSTACK_MAX_IP6];
};

/* nomstack_config - as it is now; equal ones are equal to the byte */
NOMSTACK_API void nomstack_config(struct nomstack *s, struct nomstack_config *out);

/**
 * nomstack_follow - have what another stack has
 * @s: opened with &nomstack_opts.follows
 * @c: of the other one
 *
 * Connections of an address that is gone are aborted, as they are there.  Between two polls.
 */
NOMSTACK_API void nomstack_follow(struct nomstack *s, const struct nomstack_config *c);

/*
 * The loop.
 */

/**
 * nomstack_poll - one iteration: receive, timers, transmit
 * @s: the stack
 *
 * Takes at most one batch (knob batch_max) from the receive ring, or none
 * while the batching delay holds it back, runs it to completion through the
 * stack and the application's callbacks, runs the timers that are due, and
 * announces what was queued for transmission, at once or when the batching
 * delay lets it go.  Never blocks, makes no system call of its own.  Must not
 * be called from a callback.
 *
 * Return: number of packets processed (0: the loop may think of sleeping).
 */
NOMSTACK_API unsigned nomstack_poll(struct nomstack *s);

/**
 * nomstack_flush - announce queued packets now, whatever the batching delay
 * @s: the stack
 */
NOMSTACK_API void nomstack_flush(struct nomstack *s);

/**
 * nomstack_next_ns - how long the stack needs no attention of its own
 * @s: the stack
 *
 * Return: ns until the next protocol timer or the end of a batching delay, 0
 * when one is due, UINT64_MAX when neither is pending.  Bound a sleep by it.
 */
NOMSTACK_API uint64_t nomstack_next_ns(struct nomstack *s);

/**
 * nomstack_idle_prepare - get ready to sleep: announce, arm the interrupt
 * @s: the stack
 *
 * Flushes both rings and arms the device's receive interrupt.
 *
 * Return: true: sleep, for at most nomstack_next_ns(), until the interrupt,
 * and then call nomstack_idle_done().  False: packets came meanwhile (or wait
 * for their batching delay); the interrupt is disarmed again, do not sleep.
 */
NOMSTACK_API bool nomstack_idle_prepare(struct nomstack *s);

/**
 * nomstack_idle_done - awake again: disarm the interrupt
 * @s: the stack
 */
NOMSTACK_API void nomstack_idle_done(struct nomstack *s);

/*
 * TCP.
 */

/**
 * struct nomstack_tcp_ops - what the stack tells a TCP application
 * @accept: a connection was established on a listener.  Returns the argument
 *	of the other callbacks; NULL refuses the connection with a reset.
 *	Required for listeners, unused for nomstack_tcp_connect().
 * @connected: an active open succeeded.  Optional.
 * @recv: @len bytes in order at @data, valid during the call only: they lie
 *	in the receive ring's buffer.  Required.
 * @sent: @acked bytes were acknowledged by the peer: the memory of the oldest
 *	bytes sent without NOMSTACK_SEND_COPY is the application's again, and
 *	there is room.  Optional.
 * @closed: @err 0: the peer sent its FIN; the connection stays writable until
 *	nomstack_tcp_close().  @err -ECONNRESET, -ETIMEDOUT, -ECONNABORTED,
 *	-ECONNREFUSED (active open): the connection is gone, @c is dead when
 *	the callback returns.  Required.
 * @batch_end: all packets of this poll were delivered; called once for every
 *	listener with the argument given to nomstack_tcp_listen().  Optional.
 *
 * Callbacks run inside nomstack_poll(), in the polling thread.  They may call
 * any function of this header except nomstack_poll(), nomstack_open(),
 * nomstack_close() and nomstack_wait_address(); closing or aborting the
 * connection they were called for is allowed.
 */
struct nomstack_tcp_ops {
	void *(*accept)(struct nomstack_conn *c, void *listener_arg);
	void (*recv)(struct nomstack_conn *c, void *arg, const void *data, uint32_t len);
	void (*sent)(struct nomstack_conn *c, void *arg, uint32_t acked);
	void (*closed)(struct nomstack_conn *c, void *arg, int err);
	void (*batch_end)(void *listener_arg);
	void (*connected)(struct nomstack_conn *c, void *arg);
};

/**
 * nomstack_tcp_listen - accept connections on a port, of IPv4 and IPv6
 * @s: the stack
 * @port: TCP port, 1..65535, host byte order
 * @backlog: half-open connections allowed at once; more than the profile allows (255) is cut to that
 * @ops: callbacks (borrowed until nomstack_close())
 * @arg: passed to accept() and batch_end()
 *
 * Return: 0, -EADDRINUSE, -EINVAL, -ENOMEM (NOMSTACK_MAX_LISTENERS reached).
 */
NOMSTACK_API int nomstack_tcp_listen(struct nomstack *s, uint16_t port, unsigned backlog,
				     const struct nomstack_tcp_ops *ops, void *arg);

/**
 * nomstack_tcp_unlisten - stop accepting on a port
 * @s: the stack
 * @port: the port given to nomstack_tcp_listen()
 *
 * Connections accepted before stay; half-open ones are reset.
 *
 * Return: 0 or -ENOENT.
 */
NOMSTACK_API int nomstack_tcp_unlisten(struct nomstack *s, uint16_t port);

/**
 * nomstack_tcp_connect - open a connection to a peer
 * @s: the stack
 * @ip: address of the peer, "10.0.0.1" or "fd00::1"
 * @port: its TCP port, host byte order
 * @ops: callbacks (borrowed while the connection lives)
 * @arg: their argument
 * @out: the connection, at once usable for nomstack_tcp_send() and close
 *
 * Return: 0, -EINVAL, -ENETUNREACH (no route; IPv6: or no address of ours that is ready
 * and can be used for it), -ENOMEM.
 */
NOMSTACK_API int nomstack_tcp_connect(struct nomstack *s, const char *ip, uint16_t port,
				      const struct nomstack_tcp_ops *ops, void *arg,
				      struct nomstack_conn **out);

#define NOMSTACK_SEND_MAX 65535	/* bytes in one nomstack_tcp_send() */

/**
 * nomstack_tcp_room - bytes that nomstack_tcp_send() would take now
 * @c: the connection
 *
 * A connection may queue more than this: ask again after sending.  When many
 * connections queue at once, each gets less.  One with nothing queued has room for
 * two segments, unless more than 500 have come since others took what there was.
 *
 * Return: bytes, at most NOMSTACK_SEND_MAX; 0 when the connection has its share.
 */
NOMSTACK_API uint32_t nomstack_tcp_room(struct nomstack_conn *c);

#define NOMSTACK_SEND_COPY 1	/* copied before return */
#define NOMSTACK_SEND_MORE 2	/* more follows in this batch: do not push yet */

/**
 * nomstack_tcp_send - queue bytes on a connection
 * @c: the connection
 * @data: the bytes
 * @len: how many; at most nomstack_tcp_room()
 * @flags: NOMSTACK_SEND_*.  Without COPY, @data must stay unchanged until
 *	sent() reported it as acknowledged or the connection is over; it goes
 *	out without a copy when it lies in memory of nomstack_dma_alloc(), and
 *	is copied while being sent otherwise.
 *
 * All or nothing.  The segment leaves when the current callback or poll ends,
 * subject to the batching delay.
 *
 * Return: 0, -EAGAIN (no room now; sent() tells when to retry), -EMSGSIZE
 * (@len larger than NOMSTACK_SEND_MAX), -EPIPE (closed for sending),
 * -EOPNOTSUPP (unknown flag).
 */
NOMSTACK_API int nomstack_tcp_send(struct nomstack_conn *c, const void *data, uint32_t len, unsigned flags);

/**
 * nomstack_tcp_close - finish sending, then close in an orderly way
 * @c: the connection; dead for the caller afterwards, no callback follows
 *
 * What was queued is still delivered; memory sent without NOMSTACK_SEND_COPY
 * must stay unchanged until nomstack_close() or forever (a file cache does).
 *
 * Return: 0; on shortage of memory the connection is aborted and the result
 * is -ENOMEM.
 */
NOMSTACK_API int nomstack_tcp_close(struct nomstack_conn *c);

/**
 * nomstack_tcp_abort - reset the connection
 * @c: the connection; dead for the caller afterwards, no callback follows
 */
NOMSTACK_API void nomstack_tcp_abort(struct nomstack_conn *c);

/**
 * nomstack_tcp_pause - stop or resume taking data of a connection
 * @c: the connection
 * @paused: true: bytes delivered from now on do not reopen the receive window
 *	until resumed, so a peer whose answers the application cannot queue is
 *	slowed down by TCP.  At most one receive window arrives while paused,
 *	and before it what was joined with the segment in whose recv() this was
 *	called, 65,535 bytes at most.
 */
NOMSTACK_API void nomstack_tcp_pause(struct nomstack_conn *c, bool paused);

#define NOMSTACK_WINDOW_MIN 65535

/**
 * nomstack_tcp_small_window - let no more than NOMSTACK_WINDOW_MIN bytes be on their way
 * @c: a connection that is being accepted: from within accept() only
 *
 * The receive window stays what the handshake has announced, instead of growing to
 * what the profile says (RFC 7323): for those who keep what arrives while paused.
 */
NOMSTACK_API void nomstack_tcp_small_window(struct nomstack_conn *c);

/** nomstack_tcp_window - bytes that a peer may have on its way without that: as the profile says */
NOMSTACK_API uint32_t nomstack_tcp_window(void);

/**
 * nomstack_tcp_peer - the peer as text, "10.0.0.1:40000" or "[fd00::1]:40000"
 * @c: the connection
 * @buf: result, always terminated when @n > 0
 * @n: room in @buf; NOMSTACK_ADDR_TEXT + 8 bytes are enough
 */
NOMSTACK_API void nomstack_tcp_peer(struct nomstack_conn *c, char *buf, size_t n);

/**
 * nomstack_tcp_peer_addr - the peer's address and port
 * @c: the connection
 * @addr_out: its address
 * @port_out: its port, host byte order
 *
 * Return: 0, or -ENOTCONN (from closed(), when the connection is gone).
 */
NOMSTACK_API int nomstack_tcp_peer_addr(struct nomstack_conn *c, struct nomstack_addr *addr_out, uint16_t *port_out);

/**
 * nomstack_tcp_idle_ns - since when the peer has been silent
 * @c: the connection
 *
 * Return: ns since the last segment of the peer on this connection, in steps
 * of the stack's 500 ms TCP timer.
 */
NOMSTACK_API uint64_t nomstack_tcp_idle_ns(struct nomstack_conn *c);

/*
 * UDP.
 */

/**
 * typedef nomstack_udp_fn - a datagram came in
 * @s: the stack
 * @arg: argument given to nomstack_udp_bind()
 * @data: payload, valid during the call only
 * @len: its length in bytes
 * @ip4_be: sender's address, network byte order
 * @port: sender's port, host byte order
 */
typedef void (*nomstack_udp_fn)(struct nomstack *s, void *arg, const void *data, uint32_t len,
				uint32_t ip4_be, uint16_t port);

/**
 * typedef nomstack_udp_any_fn - a datagram came in, of IPv4 or IPv6
 * @s: the stack
 * @arg: argument given to nomstack_udp_bind_any()
 * @data: payload, valid during the call only
 * @len: its length in bytes
 * @from: sender's address, valid during the call only
 * @port: sender's port, host byte order
 */
typedef void (*nomstack_udp_any_fn)(struct nomstack *s, void *arg, const void *data, uint32_t len,
				    const struct nomstack_addr *from, uint16_t port);

/**
 * nomstack_udp_bind_any - receive datagrams of a port, of IPv4 and IPv6
 * @s: the stack
 * @port: local port, host byte order
 * @fn: called for every datagram
 * @arg: its first argument
 *
 * Return: 0, -EINVAL, -EADDRINUSE, -ENOMEM.
 */
NOMSTACK_API int nomstack_udp_bind_any(struct nomstack *s, uint16_t port, nomstack_udp_any_fn fn, void *arg);

/**
 * nomstack_udp_send_to - send one datagram to an address of IPv4 or IPv6
 * @s: the stack
 * @local_port: a port bound with nomstack_udp_bind_any(), or for IPv4 nomstack_udp_bind()
 * @to: the address
 * @port: port, host byte order
 * @data: payload, copied
 * @len: its length, at most 65493 with IPv4 and 65473 with IPv6; more than the MTU holds
 *	leaves in fragments, all or none
 *
 * Return: as nomstack_udp_send(), and -EINVAL (no unicast address, or IPv6 from a port
 * of IPv4 only).
 */
NOMSTACK_API int nomstack_udp_send_to(struct nomstack *s, uint16_t local_port, const struct nomstack_addr *to,
				      uint16_t port, const void *data, uint32_t len);

/**
 * nomstack_udp_bind - receive datagrams of a port, of IPv4
 * @s: the stack
 * @port: local port, host byte order
 * @fn: called for every datagram
 * @arg: its first argument
 *
 * Return: 0, -EADDRINUSE, -ENOMEM.
 */
NOMSTACK_API int nomstack_udp_bind(struct nomstack *s, uint16_t port, nomstack_udp_fn fn, void *arg);

/**
 * nomstack_udp_send - send one datagram
 * @s: the stack
 * @local_port: a port bound with nomstack_udp_bind()
 * @ip4_be: address, network byte order
 * @port: port, host byte order
 * @data: payload, copied
 * @len: its length, at most 65493; more than the MTU holds (1472) leaves in fragments, all or none
 *
 * Return: 0, -ENOENT (port not bound), -EMSGSIZE, -ENETUNREACH, -ENOMEM (also: more than
 * 4 KiB to a neighbour whose address has to be asked for first), -EAGAIN (ring full).
 */
NOMSTACK_API int nomstack_udp_send(struct nomstack *s, uint16_t local_port, uint32_t ip4_be, uint16_t port,
				   const void *data, uint32_t len);

/*
 * Knobs, counters, memory.
 */

/**
 * struct nomstack_knob - one tunable, live: it takes effect within one batch
 * @name: for people and programs, "w_us"
 * @unit: "us", "packets"
 * @effect: one sentence: what it trades for what
 * @min: smallest value accepted
 * @max: largest value accepted
 * @def: value after nomstack_open()
 */
struct nomstack_knob {
	const char *name;
	const char *unit;
	const char *effect;
	int64_t min;
	int64_t max;
	int64_t def;
};

/**
 * nomstack_profile - the profile that the stack was built with
 *
 * "default", or another directory of stacks/profiles: sizes of pools and windows,
 * and the defaults of knobs.
 *
 * Return: its name, static.
 */
NOMSTACK_API const char *nomstack_profile(void);

/**
 * nomstack_arena_bytes - DMA memory that a stack of this profile wants to have
 *
 * For arena_bytes of struct vnet_opts: what is queued to be sent, and the driver's own
 * with rings of 256. What an application takes by nomstack_dma_alloc() comes on top.
 * With less the stack makes do with less, down to 512 KiB.
 *
 * Return: bytes.
 */
NOMSTACK_API size_t nomstack_arena_bytes(void);

/**
 * nomstack_knobs - the table of knobs
 * @nr_out: number of entries
 *
 * Contains at least "w_us" (batching delay W of both directions), "w_rx_us",
 * "w_tx_us" and "batch_max".
 *
 * Return: the table, static.
 */
NOMSTACK_API const struct nomstack_knob *nomstack_knobs(unsigned *nr_out);

/**
 * nomstack_knob_set - turn a knob
 * @s: the stack
 * @name: its name
 * @v: the new value
 *
 * Return: 0, -ENOENT (no such knob), -ERANGE (outside min..max; unchanged).
 */
NOMSTACK_API int nomstack_knob_set(struct nomstack *s, const char *name, int64_t v);

/**
 * nomstack_knob_get - read a knob
 * @s: the stack
 * @name: its name
 * @out: the value; "w_us" reads as the larger of the two directions
 *
 * Return: 0 or -ENOENT.
 */
NOMSTACK_API int nomstack_knob_get(struct nomstack *s, const char *name, int64_t *out);

/**
 * struct nomstack_stats - counters since nomstack_open()
 * @rx_batches: batches handed from the ring to the stack
 * @rx_packets: frames in them
 * @tx_batches: announcements to the device
 * @tx_packets: frames in them
 * @delay_max_ns_rx: longest time the oldest frame of a batch was held back,
 *	measured from the poll that saw it first
 * @delay_max_ns_tx: longest time from queueing a frame to announcing it
 * @gap_max_ns_rx: longest time that nobody looked at a received batch that was held for W:
 *	neither nomstack_poll() nor nomstack_next_ns().  @delay_max_ns_rx is W and so much at
 *	most, whatever the application or its host does
 * @gap_max_ns_tx: the same of batches that wait to be sent
 * @tcp_active: connections now open (gauge)
 * @tcp_accepted: connections established on listeners
 * @tcp_refused: connection attempts turned away (backlog, memory, accept()
 *	returned NULL, unknown port)
 * @tcp_retransmits: segments sent again
 * @drop_csum: frames dropped for a wrong IP, TCP, UDP or ICMP checksum
 * @drop_mem: packets or segments dropped for want of memory
 * @drop_proto: frames dropped as malformed, or of an unknown protocol
 * @ip_bad: of @drop_proto, those with a malformed IPv4 header
 * @ip6_bad: of @drop_proto, those with malformed or too many headers of IPv6
 * @arp_requests: ARP requests sent
 * @timers_run: protocol timers run
 * @ooseq_dropped: out-of-order segments dropped, so that a peer cannot hold
 *	the receive ring's buffers
 * @tx_zero_copy: frames sent without a copy
 * @tx_ring_full: frames lost or delayed for want of room in the transmit ring, or
 *	because the device has 256 long ones
 * @tcp_predicted: segments that were what their connection expected next, and took
 *	the short way: nearly all on a busy server whose device vouches for checksums
 * @drop_arp: for a limit of the ARP cache: packets that waited for a neighbour in
 *	vain or gave way to a newer one, neighbours not asked for, or not noted
 * @drop_nd: the same as @drop_arp for IPv6's neighbours, and what routers announced or
 *	redirected that was not taken
 * @drop_icmp: echo requests not answered and errors not sent, for knob icmp_per_s
 * @drop_fragment: of @drop_proto, IP fragments that became part of no datagram: nomstack_fragments()
 * @tx_long: frames that the device cut into segments, and @tx_joined the
 *	segments in them; @tx_packets and @tx_zero_copy count each segment
 */
struct nomstack_stats {
	uint64_t rx_batches, rx_packets, tx_batches, tx_packets;
	uint64_t delay_max_ns_rx, delay_max_ns_tx;
	uint64_t tcp_active, tcp_accepted, tcp_refused, tcp_retransmits;
	uint64_t drop_csum, drop_mem, drop_proto, ip_bad;
	uint64_t arp_requests, timers_run;
	uint64_t ooseq_dropped, tx_zero_copy, tx_ring_full;
	uint64_t tx_long, tx_joined;
	uint64_t tcp_predicted;
	uint64_t drop_arp, drop_icmp, drop_fragment;
	uint64_t drop_nd, ip6_bad;
	uint64_t gap_max_ns_rx, gap_max_ns_tx;
};

/**
 * struct nomstack_fragments - what became of IP fragments since nomstack_open()
 * @held: datagrams that wait for fragments now (gauge)
 * @received: fragments that came, of IPv4 and IPv6
 * @dropped: fragments that became part of no datagram, whatever for. @received is
 *	@dropped, those of datagrams that are held, and those of completed ones
 * @completed: datagrams that were put together
 * @timed_out: datagrams given up after reass_s
 * @gave_way: datagrams given up for a newer one, at reass_max
 * @source_share: datagrams given up for a newer one of their own source, at reass_share
 * @overlap: datagrams refused because fragments overlapped, or were not twice the same
 * @contradiction: datagrams refused for two ends, or data behind the end
 * @too_many: datagrams refused for more fragments than the profile allows
 * @duplicates: fragments that said again what had been said
 * @rest: fragments of datagrams that had been refused
 * @malformed: fragments without data, or whose length is none between two others
 * @too_long: fragments that end behind the longest packet
 * @protocol: fragments of something else than UDP and ICMP
 * @off: fragments that came while reass_max was 0
 * @sent: fragments sent
 */
struct nomstack_fragments {
	uint64_t held, received, dropped, completed;
	uint64_t timed_out, gave_way, source_share;
	uint64_t overlap, contradiction, too_many;
	uint64_t duplicates, rest, malformed, too_long, protocol, off;
	uint64_t sent;
};

/**
 * nomstack_fragments - read the counters of fragments
 * @s: the stack
 * @out: filled in
 */
NOMSTACK_API void nomstack_fragments(struct nomstack *s, struct nomstack_fragments *out);

#define NOMSTACK_SIZE_BINS 16	/* no ring has more than 32768 */
#define NOMSTACK_DELAY_BINS 18

/**
 * struct nomstack_batches - how large batches were, and how long W held them
 * @rx_size: batches handed from the ring to the stack; [i]: of 2^i to 2^(i+1) - 1 frames
 * @tx_size: announcements to the device, likewise
 * @rx_delay: batches received while W was above 0, by the time that their oldest
 *	frame was held back; [0]: less than 1 us, [i]: 2^(i-1) to 2^i - 1 us, the
 *	last one also longer
 * @tx_delay: announcements while W was above 0, by the time since their oldest
 *	frame was queued
 *
 * Of a long frame that the device cuts up each segment counts.  Sizes are of whole
 * batches: batch_max may let a held one through in parts.
 */
struct nomstack_batches {
	uint64_t rx_size[NOMSTACK_SIZE_BINS], tx_size[NOMSTACK_SIZE_BINS];
	uint64_t rx_delay[NOMSTACK_DELAY_BINS], tx_delay[NOMSTACK_DELAY_BINS];
};

/**
 * nomstack_batches - read the histograms; counted since nomstack_open()
 * @s: the stack
 * @out: filled in
 */
NOMSTACK_API void nomstack_batches(struct nomstack *s, struct nomstack_batches *out);

/**
 * nomstack_stats - read the counters
 * @s: the stack
 * @out: filled in
 */
NOMSTACK_API void nomstack_stats(struct nomstack *s, struct nomstack_stats *out);

/**
 * nomstack_dma_alloc - set-up time: memory the device can read
 * @s: the stack
 * @bytes: how much
 *
 * For what is sent often and changes never, such as a file cache: sent from
 * here without a copy.  Never given back before the device is closed.
 *
 * Return: 64-byte aligned memory, or NULL when exhausted.
 */
NOMSTACK_API void *nomstack_dma_alloc(struct nomstack *s, size_t bytes);

#define NOMSTACK_MAX_LISTENERS 8
#define NOMSTACK_MAX_UDP 8

#ifdef __cplusplus
}
#endif

#endif
