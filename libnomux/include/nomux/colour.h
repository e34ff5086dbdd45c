/* SPDX-License-Identifier: MIT */
/*
 * Cache colours: memory laid out so that parts of it do not evict each other.
 *
 * A cache that is indexed by physical address puts pages of one *colour* into the
 * same sets: colour is the page's number modulo the number of colours, which is the
 * bytes of one way divided by the size of a page.  A grant is made of pieces of
 * 2 MiB, aligned to their size.  So a page's colour is known from its offset in the
 * grant, for up to 512 colours, and no physical address need be told:
 *
 *	colour = offset / 4096 % nr_colours
 *
 * A grant always has pages of all colours; what an application chooses is which of
 * them it maps where.  Pages that are left out are still its own, for data that
 * may be evicted.
 *
 * This holds for caches with plain indices, first and second level mostly.  The
 * last level of many processors spreads addresses over slices by a secret hash;
 * there, colours divide each slice, or nothing.  In a virtual machine physical
 * addresses are the guest's: colours are right if the host backs the guest with
 * pages of 2 MiB.
 */
#ifndef NOMUX_COLOUR_H
#define NOMUX_COLOUR_H

#include <nomux/api.h>

struct nomux_mem;

#define NOMUX_COLOURS_MAX	512	/* pages in 2 MiB */

/**
 * struct nomux_colours - a choice of colours
 * @nr: how many there are; a power of two, 1 .. NOMUX_COLOURS_MAX
 * @mask: a bit per colour: is it wanted?
 */
struct nomux_colours {
	uint32_t nr;
	uint32_t reserved;
	uint64_t mask[NOMUX_COLOURS_MAX / 64];
};

/** nomux_colour - colour of the page at an offset of a grant */
static inline uint32_t nomux_colour(uint64_t offset, uint32_t nr_colours)
{
	return (uint32_t)(offset >> 12) & (nr_colours - 1);
}

/**
 * nomux_colours_of_cache - how many colours a cache of this machine has
 * @level: 1, 2 or 3: the data or unified cache of that level of the first CPU
 *
 * What the firmware says of it: one way's bytes divided by 4096.
 *
 * Return: the number, 1 if all pages are alike there; -ENOENT (no such cache, or
 * nobody says how it is made), -ERANGE (more than NOMUX_COLOURS_MAX, or no power
 * of two), -EINVAL.
 */
NOMUX_API int nomux_colours_of_cache(unsigned int level);

/**
 * nomux_colours_only - choose neighbouring colours
 * @c: set to them
 * @nr: how many there are
 * @first: the first wanted, below @nr
 * @count: how many are wanted, > 0, none beyond the last
 *
 * Return: 0, -EINVAL.
 */
NOMUX_API int nomux_colours_only(struct nomux_colours *c, uint32_t nr, uint32_t first,
				 uint32_t count);

/**
 * nomux_mem_map_colours - map pages of some colours one behind the other
 * @mem: grant
 * @va: where, in a window of it; multiple of 4 KiB
 * @bytes: how much to map there; multiple of 4 KiB
 * @offset: first offset of the grant that may be used; the offset behind the last
 *	that was used, afterwards: the next call goes on there
 * @c: the colours; pages of others are passed over
 * @flags: NOM_MAP_READ, ...; not NOM_MAP_HUGE
 *
 * Threads: any.
 * Return: 0; -ENOSPC (the grant has not so many pages of these colours from @offset
 * on: nothing was mapped), -EINVAL, or as nomux_mem_map(): then nothing is mapped
 * either.
 */
NOMUX_API int nomux_mem_map_colours(struct nomux_mem *mem, void *va, size_t bytes,
				    uint64_t *offset, const struct nomux_colours *c,
				    uint32_t flags);

#endif /* NOMUX_COLOUR_H */
