/* SPDX-License-Identifier: GPL-2.0 */
/*
 * nom: reserved memory from inside.
 *
 *	nom_pool	chunks of 2 MiB, and which are free
 *	nom_extent	the chunks behind a grant
 *	nom_quarantine	those of grants that ended too early
 */
#ifndef _NOM_KMOD_POOL_H
#define _NOM_KMOD_POOL_H

#include <linux/mutex.h>
#include "nom.h"

/*
 * Which chunks are free; the lists of granted and of quarantined extents, every
 * extent's @link and @told; and the order in which the board hears of changes.
 */
extern struct mutex nom_pool_lock;

/* Chunks that it has. */
static inline unsigned int nom_extent_nr(const struct nom_extent *extent)
{
	return extent->nr - extent->nr_gone;
}

static inline u64 nom_extent_bytes(const struct nom_extent *extent)
{
	return (u64)nom_extent_nr(extent) << NOM_CHUNK_SHIFT;
}

struct page *nom_chunk_page(u32 chunk);
unsigned int nom_pool_nr_free(int node);
void nom_pool_get(struct nom_extent *extent, int node);
void nom_pool_put(struct nom_extent *extent);

void nom_extent_publish(void);
void nom_extent_free(struct nom_extent *extent);

bool nom_quarantine_keep(struct nom_extent *extent);
unsigned int nom_quarantine_nr(void);

#endif /* _NOM_KMOD_POOL_H */
