/* SPDX-License-Identifier: MIT */
/*
 * The application's page of counters and knobs, writer's side.
 *
 * A file /dev/shm/nom-<pid> (mode 0600) that nomctl maps: it reads counters
 * and requests knob values without the application's help and without a system
 * call on the application's side.  Works with and without nom.  The layout is
 * <nomux/page_layout.h>, the reader's side <nomux/peek.h>.
 *
 * Threads: create entries before the data path starts; afterwards one thread
 * owns each counter and each knob.
 */
#ifndef NOMUX_PAGE_H
#define NOMUX_PAGE_H

#include <nomux/api.h>

struct nomux_page;

enum nomux_counter_kind {
	NOMUX_COUNTER,	/* only grows */
	NOMUX_GAUGE,	/* goes up and down */
};

/**
 * nomux_page_create - make this process's page
 * @app_name: shown by nomctl; cut at 31 characters
 * @page_out: the page; give back with nomux_page_destroy()
 *
 * A file that a dead process of the same pid left is replaced.
 * Return: 0, -EEXIST (this process has one), -EACCES, -ENOSPC, -EINVAL.
 */
NOMUX_API int nomux_page_create(const char *app_name, struct nomux_page **page_out);

/** nomux_page_destroy - unmap and remove the page; NULL is fine */
NOMUX_API void nomux_page_destroy(struct nomux_page *page);

/**
 * nomux_page_counter - add a counter
 * @page: page
 * @name: unique, [a-z0-9_.-], at most 31 characters: "http.requests"
 * @unit: "requests", "bytes", "ns"; at most 15 characters
 * @kind: counter or gauge
 * @word_out: the word; its owner stores to it, one thread, plain 8-byte stores
 *
 * Return: 0, -EEXIST (name taken), -ENOSPC (page full), -EINVAL.
 */
NOMUX_API int nomux_page_counter(struct nomux_page *page, const char *name, const char *unit,
				 enum nomux_counter_kind kind, uint64_t **word_out);

/**
 * nomux_page_knob - add a knob
 * @page: page
 * @name: as for counters: "w_us"
 * @unit: "us"
 * @effect: what it trades, a sentence; at most 127 characters
 * @min: smallest valid value
 * @max: largest valid value
 * @def: value now, and default
 * @id_out: names it in the calls below
 *
 * Return: 0, -EEXIST, -ENOSPC, -EINVAL (a string, or not min <= def <= max).
 */
NOMUX_API int nomux_page_knob(struct nomux_page *page, const char *name, const char *unit,
			      const char *effect, int64_t min, int64_t max, int64_t def,
			      int *id_out);

/**
 * nomux_page_knobs_changed - has anybody requested a knob's value?
 * @page: page
 *
 * One load and one compare, for a poll loop.  True until nomux_page_knob_take()
 * has been called for each knob.
 */
NOMUX_API bool nomux_page_knobs_changed(struct nomux_page *page);

/**
 * nomux_page_knob_take - take a request
 * @page: page
 * @id: knob
 * @value_out: the value, within the knob's range
 *
 * A request outside the range is refused and counted; the requester sees it.
 * Return: true when there was a new, valid request: apply it.
 */
NOMUX_API bool nomux_page_knob_take(struct nomux_page *page, int id, int64_t *value_out);

/**
 * nomux_page_knob_set - the owner changed the knob itself: show it
 * @page: page
 * @id: knob
 * @value: value in force; clamped to the range
 */
NOMUX_API void nomux_page_knob_set(struct nomux_page *page, int id, int64_t value);

#endif /* NOMUX_PAGE_H */
