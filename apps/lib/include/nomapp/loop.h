/* SPDX-License-Identifier: MIT */
/*
 * loop.h - what poll loops have in common: marks around work, and when a delay is due
 *
 * A loop's idle turns look at the receive ring and the next deadline; what touches a
 * frame lies between BUSY_BEGIN and BUSY_END: NOPs that tell an instruction counter
 * (scripts/tcg-count) work from waiting.  A busy stretch ends with a poll that found
 * nothing, and that poll counts.
 */
#ifndef NOMAPP_LOOP_H
#define NOMAPP_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#define BUSY_BEGIN() __asm__ __volatile__(".byte 0x0f,0x1f,0x80,0x10,0x4d,0x4f,0x4e" ::: "memory")
#define BUSY_END() __asm__ __volatile__(".byte 0x0f,0x1f,0x80,0x11,0x4d,0x4f,0x4e" ::: "memory")

/**
 * app_due - shall the stack be called for a deadline of its own?
 * @next_ns: how far that is away
 * @w: whether the batching delay W is above 0.  A batch is then let go a little before
 *	its delay ends, since the next look might come too late: be there in time.
 * @turn_ns: of the loop, the last one
 * @gap_ns: how far turns lie apart, decaying maximum; kept here
 */
static inline bool app_due(uint64_t next_ns, bool w, uint64_t turn_ns, uint64_t *gap_ns)
{
	if (!w)
		return !next_ns;
	*gap_ns -= *gap_ns / 64;
	if (turn_ns > *gap_ns)
		*gap_ns = turn_ns;
	return next_ns <= 2 * *gap_ns;
}

#endif
