/* SPDX-License-Identifier: MIT */
/*
 * counters.h - an application's counters: a table of names, an array of words
 *
 * Words live on the application's page (nomux/page.h), or in memory of its own where
 * there is no page: whoever counts need not know.  One thread writes a word, with plain
 * stores; everybody else reads.
 */
#ifndef NOMAPP_COUNTERS_H
#define NOMAPP_COUNTERS_H

#include <nomux/page.h>

#include <stdint.h>

struct app_counter {
	const char *name, *unit;
	enum nomux_counter_kind kind;
};

/* app_counters_private - counters work from here on, unseen: @nr words of the caller's */
void app_counters_private(uint64_t **word, uint64_t *private_word, unsigned nr);

/**
 * app_counters_show - put counters on a page, and point their words there
 * @page: theirs
 * @prefix: before each name, "core1." say
 * @table: what they are, and in what unit
 * @nr: how many
 * @word: of each; those that found no room stay what they were
 *
 * Return: 0, or -errno of the page.
 */
int app_counters_show(struct nomux_page *page, const char *prefix, const struct app_counter *table, unsigned nr,
		      uint64_t **word);

static inline uint64_t app_counter_get(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline void app_counter_set(uint64_t *word, uint64_t v)
{
	__atomic_store_n(word, v, __ATOMIC_RELAXED);
}

static inline void app_counter_add(uint64_t *word, uint64_t n)
{
	app_counter_set(word, *word + n);
}

#endif
