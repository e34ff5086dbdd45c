/* SPDX-License-Identifier: MIT */
/*
 * look.h - asking an application's stack about itself
 *
 * <nomstack/look_layout.h> has the protocol.  The file is another process's,
 * which may write anything into it, or cut it short: it is read with pread(2),
 * which cannot fault, and each count is bounded before use.
 */
#ifndef NOMCTL_LOOK_H
#define NOMCTL_LOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <nomstack/look_layout.h>

struct nomctl_look;

/**
 * nomctl_look_open - open an application's look file
 * @pid: its process
 * @nr: which of its stacks: 0, and one more for each further core
 * @out: give back with nomctl_look_close()
 *
 * Return: 0, -ENOENT (it offers none, or is dead), -EACCES, -EPROTO
 * (malformed, or of another version), -ENOMEM.
 */
int nomctl_look_open(pid_t pid, unsigned nr, struct nomctl_look **out);
void nomctl_look_close(struct nomctl_look *l);

/* All stacks of an application. */
struct nomctl_looks {
	unsigned nr;
	struct nomctl_look *of[NOMSTACK_LK_STACKS_MAX];
};

/* nomctl_looks_open - one or more; as nomctl_look_open() for the first */
int nomctl_looks_open(pid_t pid, struct nomctl_looks *out);
void nomctl_looks_close(struct nomctl_looks *l);

/* Does it still live?  Its lock tells, which the kernel drops with the process. */
bool nomctl_look_alive(const struct nomctl_look *l);

/**
 * nomctl_look_ask - ask something that has no rows
 * @kind: NOMSTACK_ASK_TRACE, NOMSTACK_ASK_RTT
 * @timeout_ms: for the answer
 *
 * Return: 0, -ENOENT (it died), -EBUSY (others ask all the time), -ETIMEDOUT,
 * -EPROTO, or the application's own -errno.
 */
int nomctl_look_ask(struct nomctl_look *l, uint32_t kind, uint64_t arg, unsigned timeout_ms);

/* A row; return other than 0 ends the iteration. */
typedef int (*nomctl_look_fn)(const void *row, void *arg);

/**
 * nomctl_look_rows - ask for a table, slice by slice
 * @kind: NOMSTACK_ASK_CONNS, NOMSTACK_ASK_FACTS
 * @row_bytes: of the struct that @fn expects
 * @timeout_ms: for each slice
 *
 * Return: as nomctl_look_ask(), or what @fn returned if not 0.
 */
int nomctl_look_rows(struct nomctl_look *l, uint32_t kind, size_t row_bytes, unsigned timeout_ms, nomctl_look_fn fn,
		     void *arg);

/* A frame of the ring with the bytes of it that were kept. */
typedef int (*nomctl_look_frame_fn)(const struct nomstack_lk_frame *f, uint8_t *data, void *arg);

/* Be the one who reads the ring: 0, or -EBUSY.  What is in it is skipped. */
int nomctl_look_trace_begin(struct nomctl_look *l);

/**
 * nomctl_look_frames - take what is in the ring
 * @fn: called for each frame; returns other than 0: the end, and it is taken
 *
 * Return: 0, what @fn returned, or -EPROTO.
 */
int nomctl_look_frames(struct nomctl_look *l, nomctl_look_frame_fn fn, void *arg);

/* Frames for which the ring had no room since the trace began. */
uint64_t nomctl_look_lost(const struct nomctl_look *l);

#endif
