/* SPDX-License-Identifier: MIT */
/*
 * Reading another process's page of counters and knobs (nomctl's side).
 *
 * The page is that process's to write: every offset, count and string read
 * from it is bounded before use, whatever it says.
 *
 * Threads: one at a time per struct nomux_peek.
 */
#ifndef NOMUX_PEEK_H
#define NOMUX_PEEK_H

#include <sys/types.h>

#include <nomux/api.h>
#include <nomux/page.h>

struct nomux_peek;

/** typedef nomux_peek_app_fn - one application; a return other than 0 ends the iteration */
typedef int (*nomux_peek_app_fn)(pid_t pid, const char *app_name, void *arg);

/** typedef nomux_peek_counter_fn - one counter; a return other than 0 ends the iteration */
typedef int (*nomux_peek_counter_fn)(const char *name, const char *unit,
				     enum nomux_counter_kind kind, uint64_t value, void *arg);

/** typedef nomux_peek_knob_fn - one knob; a return other than 0 ends the iteration */
typedef int (*nomux_peek_knob_fn)(const char *name, const char *unit, const char *effect,
				  int64_t min, int64_t max, int64_t def, int64_t now, void *arg);

/**
 * nomux_peek_list - iterate over applications that have a page
 * @fn: called for each; pages of dead processes and malformed ones are skipped
 * @arg: passed to it
 *
 * Return: 0, what @fn returned if not 0, -errno of /dev/shm.
 */
NOMUX_API int nomux_peek_list(nomux_peek_app_fn fn, void *arg);

/**
 * nomux_peek_open - map an application's page
 * @pid: its process
 * @out: give back with nomux_peek_close()
 *
 * Return: 0, -ENOENT (no page, or the process is dead), -EACCES (another
 * user's), -EPROTO (malformed, or a version this library does not know).
 */
NOMUX_API int nomux_peek_open(pid_t pid, struct nomux_peek **out);

/** nomux_peek_close - unmap it; NULL is fine */
NOMUX_API void nomux_peek_close(struct nomux_peek *peek);

/** nomux_peek_app_name - what the application calls itself */
NOMUX_API const char *nomux_peek_app_name(const struct nomux_peek *peek);

/** nomux_peek_counters - iterate over counters; Return: 0, or what @fn returned */
NOMUX_API int nomux_peek_counters(struct nomux_peek *peek, nomux_peek_counter_fn fn, void *arg);

/** nomux_peek_knobs - iterate over knobs; Return: 0, or what @fn returned */
NOMUX_API int nomux_peek_knobs(struct nomux_peek *peek, nomux_peek_knob_fn fn, void *arg);

/**
 * nomux_peek_knob_request - ask for a knob's value and wait for the answer
 * @peek: open page
 * @name: knob
 * @value: value wanted
 * @timeout_ms: how long to wait for the application to take it
 *
 * Return: 0 (in force), -ENOENT (no such knob), -ERANGE (outside its range, or
 * refused), -EBUSY (another request is under way), -ETIMEDOUT (the application
 * did not look; it may still take the request later).
 */
NOMUX_API int nomux_peek_knob_request(struct nomux_peek *peek, const char *name, int64_t value,
				      unsigned int timeout_ms);

#endif /* NOMUX_PEEK_H */
