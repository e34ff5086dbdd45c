/* SPDX-License-Identifier: MIT */
/*
 * Where libnomux (and the libraries above it) send what a person should read:
 * one line per failure, "part: what failed, object=id: cause".  Data paths do
 * not log, they count.
 */
#ifndef NOMUX_LOG_H
#define NOMUX_LOG_H

#include <nomux/api.h>

/**
 * typedef nomux_log_fn - receives one message
 * @level: LOG_ERR .. LOG_DEBUG of <syslog.h>
 * @msg: the line, without newline; valid during the call only
 * @arg: what was given to nomux_set_log_fn()
 *
 * Runs in the thread that logs, with no lock held.
 */
typedef void (*nomux_log_fn)(int level, const char *msg, void *arg);

/**
 * nomux_set_log_fn - replace the receiver of messages
 * @fn: receiver, or NULL for the default (stderr)
 * @arg: passed to it
 *
 * Threads: call before other threads use the library.
 *
 * The default writes messages up to LOG_WARNING to stderr; the environment
 * variable NOMUX_LOG=0..7 moves that threshold.  It bounds what a replaced
 * receiver gets as well.
 */
NOMUX_API void nomux_set_log_fn(nomux_log_fn fn, void *arg);

/**
 * nomux_log - log a line
 * @level: LOG_* of <syslog.h>
 * @fmt: printf format, no newline; cut at 512 bytes
 *
 * Threads: any, but never from an upcall handler.  Leaves errno alone.
 */
NOMUX_API void nomux_log(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif /* NOMUX_LOG_H */
