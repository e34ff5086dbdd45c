/* SPDX-License-Identifier: MIT */
/*
 * Layout of /dev/shm/nom-<pid>: shared memory, so fixed-width types only.
 *
 *	struct nomux_pl_header
 *	struct nomux_pl_counter[counter_max]	at counter_offset
 *	struct nomux_pl_knob[knob_max]		at knob_offset
 *
 * Who writes: the application everything, except the words of a knob marked
 * "requester".  An entry is complete before nr_counters / nr_knobs counts it
 * (store-release; readers load-acquire), and its strings never change again.
 *
 * A request: the requester locks the knob's bytes of the file (fcntl,
 * F_OFD_SETLK), stores req_value, adds 1 to req_seq, then adds 1 to the
 * header's knob_requests (with its bytes locked), in this order.  The
 * application compares knob_requests, then each knob's req_seq, with what it
 * saw last (acquire); it stores `now`, or counts `refused`, and then
 * done_seq = req_seq (release).  The requester waits for done_seq and unlocks.
 */
#ifndef NOMUX_PAGE_LAYOUT_H
#define NOMUX_PAGE_LAYOUT_H

#include <stdint.h>

#define NOMUX_PL_MAGIC		0x50584d4e	/* "NMXP" */
#define NOMUX_PL_VERSION	1
#define NOMUX_PL_PATH_FMT	"/dev/shm/nom-%d"

#define NOMUX_PL_COUNTERS	256
#define NOMUX_PL_KNOBS		32

struct nomux_pl_header {
	uint32_t magic;
	uint32_t version;
	uint32_t bytes;			/* of the file */
	uint32_t pid;
	char app_name[32];		/* NUL-terminated */
	uint64_t start_time;		/* of the process: field 22 of /proc/<pid>/stat */
	uint32_t counter_offset;
	uint32_t counter_stride;
	uint32_t counter_max;
	uint32_t nr_counters;		/* release/acquire */
	uint32_t knob_offset;
	uint32_t knob_stride;
	uint32_t knob_max;
	uint32_t nr_knobs;		/* release/acquire */
	uint64_t reserved[5];
	uint64_t knob_requests __attribute__((aligned(64)));	/* requesters add 1 */
	uint64_t pad[7];
};

struct nomux_pl_counter {
	uint64_t value;			/* owner thread; plain 8-byte stores */
	uint32_t kind;			/* enum nomux_counter_kind */
	uint32_t reserved;
	char name[32];
	char unit[16];
};

struct nomux_pl_knob {
	int64_t min, max, def;
	int64_t now;			/* value in force */
	uint64_t done_seq;		/* last request answered */
	uint64_t refused;		/* requests outside the range */
	int64_t req_value;		/* requester */
	uint64_t req_seq;		/* requester */
	char name[32];
	char unit[16];
	char effect[128];
};

#endif /* NOMUX_PAGE_LAYOUT_H */
