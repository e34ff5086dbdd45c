/* SPDX-License-Identifier: MIT */
/*
 * raw.h - the raw tier: frames as they come, answers where they lie
 *
 * The thinnest of three ways to a network device: no connections, no stack, no
 * copy.  The application gets a batch of frames at once, writes its answers over
 * those that deserve one, and the same buffers go back to the device, with one
 * doorbell for all:
 *
 *	static void on_frames(void *arg, const struct vnet_rx *rx,
 *			      struct nomstack_raw_answer *a, unsigned nr)
 *	{
 *		for (unsigned i = 0; i < nr; i++)
 *			a[i].len = make_answer(rx[i].data, rx[i].len);	// 0: none
 *	}
 *
 *	for (;;)
 *		nomstack_raw_poll(r, nomux_now_ns());
 *
 * <nomstack/frame.h> reads and turns Ethernet, ARP, IPv4, ICMP and UDP.  A device
 * has either a raw tier or a struct nomstack: frames that the application does not
 * want are dropped, not handed on.
 *
 * The batching delay W (thesis 3.6) is that of reception: frames are held until the
 * oldest has waited W, half the ring is used up, or the application says that the
 * input has ended.  There is none of transmission: answers are made of a batch, and
 * leave when it ends, together.
 *
 * Where the device cuts up datagrams (VIRTIO_NET_F_HOST_USO), answers of one batch
 * that follow each other, to one peer and of one size, leave as one frame; on the
 * wire they are what they are without.
 *
 * Threads: everything here belongs to the thread that polls.
 */
#ifndef NOMSTACK_RAW_H
#define NOMSTACK_RAW_H

#include <nomstack/nomstack.h>

struct nomstack_raw;
struct vnet_rx;

/**
 * struct nomstack_raw_answer - what becomes of a received frame
 * @len: 0: nothing, its buffer goes back; else the length of the answer that is in
 *	it now, at the same place, Ethernet header included: 14 to vnet_mtu() + 18,
 *	and at most VNET_FRAME_MAX_BYTES
 * @csum_start, @csum_offset: 0, or where the device computes a sum (as in &struct vnet_tx)
 */
struct nomstack_raw_answer {
	uint32_t len;
	uint16_t csum_start, csum_offset;
};

/**
 * typedef nomstack_raw_fn - frames came in
 * @arg: of &struct nomstack_raw_opts
 * @rx: @nr frames, to be written to; nothing in them is to be believed
 * @a: @nr answers, all fields to be filled in; their contents before are anything
 * @nr: 1 to knob batch_max
 *
 * May call nomstack_raw_send(); frame and buffer are gone when it returns.
 */
typedef void (*nomstack_raw_fn)(void *arg, const struct vnet_rx *rx, struct nomstack_raw_answer *a, unsigned nr);

/**
 * typedef nomstack_raw_ended_fn - has the input ended?
 * @arg: of &struct nomstack_raw_opts
 * @rx: frames that have just joined those that are held
 * @nr: how many, at least 1
 * @first: nothing was held before them
 *
 * Asked while W is not 0.
 *
 * Return: true: nothing more comes before an answer goes out, so do not wait for it.
 */
typedef bool (*nomstack_raw_ended_fn)(void *arg, const struct vnet_rx *rx, unsigned nr, bool first);

/**
 * struct nomstack_raw_opts - how to open
 * @sz: sizeof(struct nomstack_raw_opts); growth of the structure is by size
 * @vnet: the device (borrowed), opened without VIRTIO_NET_F_MRG_RXBUF
 * @frames: called with each batch
 * @ended: asked while W is not 0; NULL: the input is never known to have ended
 * @arg: of both
 */
struct nomstack_raw_opts {
	size_t sz;
	struct vnet *vnet;
	nomstack_raw_fn frames;
	nomstack_raw_ended_fn ended;
	void *arg;
};

/**
 * nomstack_raw_open - bring up the raw tier on a device
 * @o: options, borrowed for the call
 * @out: the tier; give back with nomstack_raw_close()
 *
 * Return: 0, -EINVAL (no device or no function, @sz too small), -E2BIG, -EOPNOTSUPP
 * (frames may come in several buffers: MRG_RXBUF), -ENOMEM, -EIO (device broken).
 */
NOMSTACK_API int nomstack_raw_open(const struct nomstack_raw_opts *o, struct nomstack_raw **out);

/** nomstack_raw_close - give all buffers back; answers under way get a moment; NULL is fine */
NOMSTACK_API void nomstack_raw_close(struct nomstack_raw *r);

/**
 * nomstack_raw_poll - take a batch, have it answered, announce
 * @r: the tier
 * @now_ns: a clock that does not go back (nomux_now_ns()); needed for W only
 *
 * Never blocks, makes no system call.
 *
 * Return: frames handled.
 */
NOMSTACK_API unsigned nomstack_raw_poll(struct nomstack_raw *r, uint64_t now_ns);

/**
 * nomstack_raw_send - send a frame that answers nothing
 * @r: the tier
 * @frame: copied
 * @len: its length
 *
 * Leaves with the current batch, or the next poll.
 *
 * Return: as vnet_tx_copy().
 */
NOMSTACK_API int nomstack_raw_send(struct nomstack_raw *r, const void *frame, uint32_t len);

/** nomstack_raw_next_ns - ns from @now_ns until held frames are let go; UINT64_MAX: none are */
NOMSTACK_API uint64_t nomstack_raw_next_ns(const struct nomstack_raw *r, uint64_t now_ns);

/**
 * nomstack_raw_idle_prepare - announce, arm the receive interrupt
 * @r: the tier
 *
 * Return: true: sleep until the interrupt, and call nomstack_raw_idle_done().
 * False: there is something to do; do not sleep.
 */
NOMSTACK_API bool nomstack_raw_idle_prepare(struct nomstack_raw *r);

/** nomstack_raw_idle_done - awake again; the time since the last poll was no gap between polls */
NOMSTACK_API void nomstack_raw_idle_done(struct nomstack_raw *r);

/**
 * nomstack_raw_restart - restart a device that broke, and go on
 * @r: the tier
 *
 * Frames and answers that the device had are lost, as on a wire.
 *
 * Return: as vnet_restart().
 */
NOMSTACK_API int nomstack_raw_restart(struct nomstack_raw *r);

/**
 * nomstack_raw_knobs - the table of live knobs: "w_us", "batch_max" and "uso_max"
 * @nr_out: number of entries
 */
NOMSTACK_API const struct nomstack_knob *nomstack_raw_knobs(unsigned *nr_out);

/** nomstack_raw_knob_set - 0, -ENOENT (no such knob), -ERANGE (unchanged); in force with the next poll */
NOMSTACK_API int nomstack_raw_knob_set(struct nomstack_raw *r, const char *name, int64_t v);

/** nomstack_raw_knob_get - 0 or -ENOENT */
NOMSTACK_API int nomstack_raw_knob_get(const struct nomstack_raw *r, const char *name, int64_t *out);

/**
 * struct nomstack_raw_stats - counters since nomstack_raw_open()
 * @batches: handed to the application
 * @frames: in them
 * @answers: of these, sent back
 * @dropped: of these, without an answer
 * @refused: answers that could not be sent: a length or sum that makes no sense, or
 *	a device that stopped
 * @ring_full: answers lost because the device does not take any
 * @announcements: batches that queued something
 * @tx_long: frames for the device to cut up, and @tx_joined the answers in them
 * @delay_max_ns: longest time that the oldest frame of a batch was held, from the
 *	poll that saw it first
 */
struct nomstack_raw_stats {
	uint64_t batches, frames, answers, dropped, refused, ring_full, announcements;
	uint64_t delay_max_ns;
	uint64_t tx_long, tx_joined;
};

/** nomstack_raw_stats - the live counters */
NOMSTACK_API const struct nomstack_raw_stats *nomstack_raw_stats(const struct nomstack_raw *r);

#endif
