/* SPDX-License-Identifier: MIT */
/*
 * look_layout.h - layout of /dev/shm/nom-<pid>.look: how a stack is looked at
 *
 *	struct nomstack_lk_header
 *	window	at window_offset, window_bytes long	the answer to a question
 *	ring	at ring_offset, ring_bytes long		traced frames
 *
 * Shared memory of the application and whoever looks (nomctl), therefore
 * fixed-width types only.  Each word has one writer, named below.
 *
 * A question: the asker writes ask_kind, ask_cursor and ask_arg, then ask_seq
 * (+1).  The application sees ask_seq change when it next calls
 * nomstack_look(), fills a part of the window, and stores done_seq = ask_seq
 * last (release).  A table is read in slices, so that one with 10,000 rows
 * costs the serving loop no more at a time than a short one: the answer's
 * `next` is the cursor of the next question, NOMSTACK_LK_END after the last
 * slice.  Slices are of different moments: what opens or closes in between may
 * be missing, nothing is shown twice unless it was opened anew.
 *
 * The ring holds struct nomstack_lk_frame, each followed by `bytes` of the
 * frame and padding to 8; a frame may wrap around.  head and tail count bytes
 * and only grow; the place is their value modulo ring_bytes (a power of two).
 * The application writes data, then head (release); who reads takes the data
 * and then writes tail.  A frame without room is counted in lost.
 *
 * Locks (fcntl, F_OFD_SETLK) on single bytes of the file say who is there:
 *	NOMSTACK_LK_LIFE	the application, as long as it lives
 *	NOMSTACK_LK_ASK		an asker, for one question
 *	NOMSTACK_LK_TRACE	who reads the ring
 *
 * Nothing that the asker writes is trusted: see nomstack_look.c.
 */
#ifndef NOMSTACK_LOOK_LAYOUT_H
#define NOMSTACK_LOOK_LAYOUT_H

#include <stdint.h>

#define NOMSTACK_LK_MAGIC	0x4b4c4d4e	/* "NMLK" */
#define NOMSTACK_LK_VERSION	1
#define NOMSTACK_LK_PATH_FMT	"/dev/shm/nom-%d.look"
#define NOMSTACK_LK_PATH_NR_FMT	"/dev/shm/nom-%d-%u.look"	/* of a process's further stacks, from 1 on */
#define NOMSTACK_LK_STACKS_MAX	64u

#define NOMSTACK_LK_WINDOW	(32u << 10)
#define NOMSTACK_LK_RING	(1u << 20)
#define NOMSTACK_LK_BYTES_MAX	(16u << 20)	/* a reader believes no file to be larger */
#define NOMSTACK_LK_END		UINT64_MAX
#define NOMSTACK_LK_SNAP_MAX	4096u		/* bytes of a frame that are kept at most */
#define NOMSTACK_LK_TAP_NS	2000000000u	/* a tap that is not asked for again ends after this */

enum { NOMSTACK_LK_LIFE, NOMSTACK_LK_ASK, NOMSTACK_LK_TRACE };

/* ask_kind */
enum {
	NOMSTACK_ASK_CONNS = 1,	/* rows: struct nomstack_lk_conn */
	NOMSTACK_ASK_FACTS,	/* rows: struct nomstack_lk_fact */
	NOMSTACK_ASK_TRACE,	/* no rows; ask_arg: bytes of each frame, 0: end it; for NOMSTACK_LK_TAP_NS */
	NOMSTACK_ASK_RTT,	/* no rows; measure round trips, for NOMSTACK_LK_TAP_NS */
};

struct nomstack_lk_header {
	/* the application, before anybody can open the file */
	uint32_t magic, version;
	uint32_t bytes, pid;
	uint32_t window_offset, window_bytes;
	uint32_t ring_offset, ring_bytes;
	uint64_t reserved[4];

	/* the asker */
	uint64_t ask_seq __attribute__((aligned(64)));
	uint64_t ask_cursor, ask_arg;
	uint32_t ask_kind, pad0;
	uint64_t tail;			/* who reads the ring */

	/* the application */
	uint64_t done_seq __attribute__((aligned(64)));
	uint64_t next;			/* cursor of the next slice */
	uint64_t now_ns;		/* its clock, nomux_now_ns(), at the answer */
	int32_t status;			/* 0, or -errno: -EOPNOTSUPP for an unknown ask_kind, -EINVAL */
	uint32_t nr, row_bytes;		/* rows in the window */
	uint32_t pad1;
	uint64_t head, lost;		/* of the ring */
};

/* state of a connection, names of RFC 9293 */
enum {
	NOMSTACK_LK_CLOSED, NOMSTACK_LK_LISTEN, NOMSTACK_LK_SYN_SENT, NOMSTACK_LK_SYN_RECEIVED,
	NOMSTACK_LK_ESTABLISHED, NOMSTACK_LK_FIN_WAIT_1, NOMSTACK_LK_FIN_WAIT_2, NOMSTACK_LK_CLOSE_WAIT,
	NOMSTACK_LK_CLOSING, NOMSTACK_LK_LAST_ACK, NOMSTACK_LK_TIME_WAIT, NOMSTACK_LK_NR_STATES,
};

#define NOMSTACK_LK_F_APP	1u	/* the application has it: neither half open nor left to end alone */
#define NOMSTACK_LK_F_PAUSED	2u	/* the application takes no data: nomstack_tcp_pause() */
#define NOMSTACK_LK_F_SPEAKS	4u	/* takes part in W: delivered data in the last two epochs of 10 ms */
#define NOMSTACK_LK_F_RECOVERY	8u	/* in fast recovery */
#define NOMSTACK_LK_F_RTT	16u	/* rtt_us and rtt_min_us are known */
#define NOMSTACK_LK_F_IP6	32u	/* of IPv6: the rest of its addresses is in local_ip6, remote_ip6 */
#define NOMSTACK_LK_F_IP_ANY	64u	/* LISTEN: for both versions of IP */

struct nomstack_lk_conn {
	uint32_t local_ip, remote_ip;	/* network byte order */
	uint16_t local_port, remote_port;
	uint8_t state;			/* NOMSTACK_LK_LISTEN, ... */
	uint8_t flags;			/* NOMSTACK_LK_F_* */
	uint8_t retries;		/* of the oldest segment, by timeout; 0: acknowledged since */
	uint8_t dupacks;
	uint32_t recv_q;		/* bytes handed over and not yet given back; LISTEN: half-open ones */
	uint32_t send_q;		/* bytes not acknowledged, sent or not; LISTEN: the backlog */
	uint32_t unacked;		/* of send_q, those sent */
	uint32_t ooseq;			/* bytes received behind a hole */
	uint32_t cwnd, ssthresh, snd_wnd, rcv_wnd;	/* bytes */
	uint32_t mss, rto_ms;
	uint32_t rtt_us, rtt_min_us;	/* smoothed (RFC 6298), least of 150 to 300 s: of one segment in 8 ms, of each while NOMSTACK_ASK_RTT is in force */
	uint32_t resent;		/* segments sent again since the connection was opened */
	uint32_t w_rx_us, w_tx_us;	/* batching delays in force */
	uint32_t idle_ms;		/* since the peer's last data; with NOMSTACK_LK_F_APP only */
	uint8_t snd_scale, rcv_scale;	/* of windows (RFC 7323), of which those above are free */
	uint8_t pad[6];
	uint32_t local_ip6[3], remote_ip6[3];	/* words 1 to 3 of IPv6's addresses; word 0 is local_ip, remote_ip */
};

/* One thing the stack knows about itself. */
struct nomstack_lk_fact {
	char group[16];		/* "rx0": a queue, by its pair's number, "drop", "stack", "knob", "arp", ...; NUL-terminated, as all here */
	char name[32];
	char unit[20];		/* "": a number without, or a text */
	uint32_t is_text;	/* `text` holds it, not `value` */
	uint64_t value;
	char text[48];
};

#define NOMSTACK_LK_FRAME_TX	1u	/* sent; else received */
#define NOMSTACK_LK_FRAME_CSUM	2u	/* the TCP or UDP sum is left to the device, or vouched for by it: it may be missing */

struct nomstack_lk_frame {
	uint32_t bytes;		/* of the frame that follow */
	uint32_t wire_bytes;	/* its whole length */
	uint64_t when_ns;	/* nomux_now_ns(): received: poll that took it; sent: when it was queued */
	uint32_t flags;		/* NOMSTACK_LK_FRAME_* */
	uint32_t reserved;
};

#endif
