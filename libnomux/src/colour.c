// SPDX-License-Identifier: MIT
/* Cache colours: which pages of a grant, and mapping those. */
#include <nomux/colour.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nomux/mem.h>

#include "internal.h"

#define COLOUR_BATCH	64
#define CACHE_INDICES	16	/* of one CPU in sysfs; machines have up to five */

static bool nr_ok(uint32_t nr)
{
	return nr && nr <= NOMUX_COLOURS_MAX && !(nr & (nr - 1));
}

/* -1: there is no such number. */
static long cache_number(unsigned int index, const char *what)
{
	char path[96], text[32];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu0/cache/index%u/%s", index, what);
	return nomux__sysfs_read(path, text, sizeof(text)) < 0 ? -1 : strtol(text, NULL, 10);
}

static bool holds_data(unsigned int index)
{
	char path[96], text[32];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu0/cache/index%u/type", index);
	return nomux__sysfs_read(path, text, sizeof(text)) >= 0 && strcmp(text, "Instruction") != 0;
}

int nomux_colours_of_cache(unsigned int level)
{
	unsigned int i;
	long sets, line;

	if (level < 1 || level > 3)
		return -EINVAL;
	for (i = 0; i < CACHE_INDICES; i++)
		if (cache_number(i, "level") == (long)level && holds_data(i))
			break;
	if (i == CACHE_INDICES)
		return -ENOENT;
	sets = cache_number(i, "number_of_sets");
	line = cache_number(i, "coherency_line_size");
	if (sets <= 0 || line <= 0)
		return -ENOENT;
	if (sets > (1L << 40) / line || (sets & (sets - 1)))
		return -ERANGE;
	if ((unsigned long)(sets * line) <= NOMUX_PAGE_BYTES)
		return 1;
	sets = sets * line / (long)NOMUX_PAGE_BYTES;
	return nr_ok((uint32_t)sets) && sets <= NOMUX_COLOURS_MAX ? (int)sets : -ERANGE;
}

int nomux_colours_only(struct nomux_colours *c, uint32_t nr, uint32_t first, uint32_t count)
{
	uint32_t i;

	if (!c || !nr_ok(nr) || first >= nr || !count || count > nr - first)
		return -EINVAL;
	memset(c, 0, sizeof(*c));
	c->nr = nr;
	for (i = first; i < first + count; i++)
		c->mask[i / 64] |= 1ULL << (i % 64);
	return 0;
}

static bool wanted(const struct nomux_colours *c, uint64_t offset)
{
	uint32_t colour = nomux_colour(offset, c->nr);

	return c->mask[colour / 64] >> (colour % 64) & 1;
}

/*
 * The next pieces to map, neighbours as one; moves *offset, *va and *left on.
 * With less than COLOUR_BATCH pieces the grant has ended, or nothing is left.
 */
static unsigned int next_pieces(const struct nomux_colours *c, uint64_t *offset, uint64_t end,
				uint64_t *va, uint64_t *left, uint32_t flags,
				struct nom_map_entry *e)
{
	unsigned int nr = 0;

	for (; *left && *offset < end; *offset += NOMUX_PAGE_BYTES) {
		struct nom_map_entry *last = nr ? &e[nr - 1] : NULL;

		if (!wanted(c, *offset))
			continue;
		if (last && last->offset + last->bytes == *offset) {
			last->bytes += NOMUX_PAGE_BYTES;
		} else {
			if (nr == COLOUR_BATCH)
				break;
			e[nr++] = (struct nom_map_entry){ .va = *va, .offset = *offset,
							  .bytes = NOMUX_PAGE_BYTES, .flags = flags };
		}
		*va += NOMUX_PAGE_BYTES;
		*left -= NOMUX_PAGE_BYTES;
	}
	return nr;
}

static bool enough(const struct nomux_colours *c, uint64_t offset, uint64_t end, uint64_t left)
{
	for (; left && offset < end; offset += NOMUX_PAGE_BYTES)
		if (wanted(c, offset))
			left -= NOMUX_PAGE_BYTES;
	return !left;
}

int nomux_mem_map_colours(struct nomux_mem *mem, void *va, size_t bytes, uint64_t *offset,
			  const struct nomux_colours *c, uint32_t flags)
{
	struct nom_map_entry e[COLOUR_BATCH];
	uint64_t at, end, to = (uintptr_t)va, left = bytes;
	unsigned int nr;
	int done;

	if (!mem || !offset || !c || !nr_ok(c->nr) || c->reserved || !bytes ||
	    ((uintptr_t)va | bytes | *offset) & (NOMUX_PAGE_BYTES - 1) || flags & NOM_MAP_HUGE)
		return -EINVAL;
	at = *offset;
	end = nomux_mem_bytes(mem);
	if (!enough(c, at, end, left))
		return -ENOSPC;
	while (left) {
		uint64_t from = to;

		nr = next_pieces(c, &at, end, &to, &left, flags, e);
		done = nomux_mem_map(mem, e, nr);
		if (done == (int)nr)
			continue;
		/* all or nothing; the piece that failed tells why */
		if (done > 0) {
			struct nom_map_entry *bad = &e[done];

			done = nomux_mem_map(mem, bad, 1);
			from = bad->va + (done == 1 ? bad->bytes : 0);
		}
		e[0] = (struct nom_map_entry){ .va = (uintptr_t)va, .bytes = from - (uintptr_t)va };
		if (e[0].bytes)
			nomux_mem_unmap(mem, e, 1);
		return done < 0 ? done : -EAGAIN;
	}
	*offset = at;
	return 0;
}
