/* SPDX-License-Identifier: MIT */
/*
 * layout.h - the file that tcg-lines writes; tests/perf/cores reads it
 *
 * @on is the reader's: 0 to set the table up or to read it, 1 while it counts.
 */
#ifndef TCG_LINES_LAYOUT_H
#define TCG_LINES_LAYOUT_H

#include <stdint.h>

#define LINES_BITS	18
#define LINES		(1u << LINES_BITS)
#define LINES_PROBES	64

struct line {
	uint64_t line;			/* address / 64; 0: free */
	uint64_t writes[2], reads[2];	/* of each vCPU, which alone writes its word */
};

struct lines_file {
	uint64_t on, overflows, pad[6];
	struct line line[LINES];
};

#endif
