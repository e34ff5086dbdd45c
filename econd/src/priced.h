/* SPDX-License-Identifier: MIT */
/* Inside of priced: a source of prices, and the board they are put on. */
#ifndef PRICED_H
#define PRICED_H

#include <stdbool.h>
#include <stddef.h>

#include <econ/price.h>

/* "priced: ..." on standard error, one line. */
void priced_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* -------------------------------------------------- priced_source.c --- */

struct priced_source;

/* Watch a file.  Without inotify the file is looked at every @poll_ms. */
int priced_source_create(const char *path, struct priced_source **source_out);
void priced_source_destroy(struct priced_source *source);

/* For poll(2); -1 without inotify. */
int priced_source_fd(const struct priced_source *source);

/**
 * priced_source_check - read the file again if it changed
 * @force: read it in any case (SIGHUP, start)
 * @prices_out: set when 1 is returned
 * @err: the reason of a failure
 *
 * Return: 1 (new contents), 0 (nothing to do), -errno (unreadable or malformed;
 * told once for each state of the file, then 0).
 */
int priced_source_check(struct priced_source *source, bool force,
			struct econ_prices **prices_out, char *err, size_t n);

/* ------------------------------------------------- priced_publish.c --- */

struct priced_publisher;

/**
 * priced_publisher_create - connect to the board
 * @dry_run: say what would be done, touch nothing
 *
 * Prices the board has already count as published: they keep their time.
 * Return: 0, -ENODEV (no nom in this kernel), -errno.
 */
int priced_publisher_create(bool dry_run, struct priced_publisher **publisher_out);
void priced_publisher_destroy(struct priced_publisher *publisher);

/* These prices are wanted from now on; nothing is sent yet. */
void priced_publisher_want(struct priced_publisher *publisher, const struct econ_step *step,
			   const char *why);

/**
 * priced_publisher_flush - send what differs from the board
 *
 * One log line for each price that changes or is refused.  When the kernel's nom
 * went away, says so once, and tries again at each call.
 * Return: 0, or the first -errno of this call.
 */
int priced_publisher_flush(struct priced_publisher *publisher);

#endif
