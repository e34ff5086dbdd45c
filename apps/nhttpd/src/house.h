/* SPDX-License-Identifier: MIT */
/*
 * house.h - the house thread: signals, ledger, rescans, the wall clock
 *
 * Everything that makes system calls and can wait.  It runs on the cores the
 * process was started on, never on a leased one.
 */
#ifndef NHTTPD_HOUSE_H
#define NHTTPD_HOUSE_H

struct server;

/* house_block_signals - before any thread exists: the house thread takes them all */
void house_block_signals(void);

/* house_clock - set server.wall_offset_ns; house_start() calls it */
void house_clock(struct server *srv);

/**
 * house_start - open the ledger and start the thread
 * @srv: whose counters and price go to the ledger
 * @core, @nr: who serves, and is told of signals: @srv itself, or a server for each
 *	core; the array stays until house_stop()
 *
 * Called by the data thread while it is still on an ordinary core: the house
 * thread inherits where it may run.
 * Return: exit status.
 */
int house_start(struct server *srv, struct server **core, unsigned nr);

/* house_stop - end the thread; the last, partial interval goes to the ledger */
void house_stop(struct server *srv);

#endif
