// SPDX-License-Identifier: MIT
/* counters.c - a table of names, an array of words */
#include <nomapp/counters.h>

#include <stdio.h>

void app_counters_private(uint64_t **word, uint64_t *private_word, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		word[i] = &private_word[i];
}

int app_counters_show(struct nomux_page *page, const char *prefix, const struct app_counter *table, unsigned nr,
		      uint64_t **word)
{
	char name[32];
	int ret = 0;

	for (unsigned i = 0; !ret && i < nr; i++) {
		snprintf(name, sizeof(name), "%s%s", prefix, table[i].name);
		ret = nomux_page_counter(page, name, table[i].unit, table[i].kind, &word[i]);
	}
	return ret;
}
