/* SPDX-License-Identifier: MIT */
/*
 * Grants: reserved memory that the application maps page by page, itself.
 *
 * A *grant* is a number of bytes of reserved memory, addressed by offset.  A
 * *window* is address space of any length in which nothing is mapped until
 * nomux_mem_map() says so.  A touch of an unmapped page is a page fault upcall
 * to a thread on a leased core that claimed #PF, and SIGBUS to others.  The
 * same offset may be mapped at several addresses.
 *
 * What is mapped can change its protection and the size of its entries, and tells
 * which pages were accessed and written (nomux_mem_query()): what an application
 * needs to page, to take snapshots and to collect garbage by its own rules.
 *
 * A grant ends with nomux_mem_put(); parts of it can be returned before, also
 * because somebody asks: see nomux_board_reclaim().
 */
#ifndef NOMUX_MEM_H
#define NOMUX_MEM_H

#include <linux/nom.h>
#include <nomux/api.h>

struct nomux_ctx;
struct nomux_mem;

/**
 * nomux_mem_grant - take reserved memory
 * @ctx: context (borrowed)
 * @bytes: > 0; rounded up to a multiple of 2 MiB
 * @mem_out: the grant, zeroed memory; give back with nomux_mem_put()
 *
 * Threads: any.
 * Return: 0, -ENOMEM (not so much left: see the board; boot with nom_mem=),
 * -EINVAL.
 */
NOMUX_API int nomux_mem_grant(struct nomux_ctx *ctx, size_t bytes, struct nomux_mem **mem_out);

/**
 * nomux_mem_grant_node - take reserved memory of one NUMA node
 * @ctx: context (borrowed)
 * @bytes: as nomux_mem_grant()
 * @node: the node all of it is from; that of the core which will use it, say
 * @mem_out: the grant
 *
 * Threads: any.
 * Return: as nomux_mem_grant(); -ENOMEM also if the node has not so much free.
 */
NOMUX_API int nomux_mem_grant_node(struct nomux_ctx *ctx, size_t bytes, unsigned int node,
				   struct nomux_mem **mem_out);

/**
 * nomux_mem_put - give a grant back, its windows included
 * @mem: grant, or NULL
 *
 * Memory whose physical address was told for a device goes back only when that
 * device can no longer master the bus (see nomux_mem_phys()).
 */
NOMUX_API void nomux_mem_put(struct nomux_mem *mem);

/** nomux_mem_bytes - length of the grant as it was granted: offsets go as far */
NOMUX_API size_t nomux_mem_bytes(const struct nomux_mem *mem);

/** nomux_mem_id - what netlink, nomctl and reclaim notices call it */
NOMUX_API uint64_t nomux_mem_id(const struct nomux_mem *mem);

/**
 * nomux_mem_window - address space for this grant
 * @mem: grant
 * @bytes: > 0; rounded up to a multiple of 2 MiB; may exceed the grant
 * @hint: address wanted (multiple of 2 MiB; -EEXIST if it is taken), or NULL
 * @va_out: start of the window, aligned to 2 MiB
 *
 * Windows are undone by nomux_mem_put(), at most NOMUX_MEM_WINDOWS per grant.
 * Return: 0, -ENOMEM, -EEXIST, -EINVAL, -ENOSPC.
 */
NOMUX_API int nomux_mem_window(struct nomux_mem *mem, size_t bytes, void *hint, void **va_out);

#define NOMUX_MEM_WINDOWS	16

/**
 * nomux_mem_map - map pieces of the grant into its windows
 * @mem: grant
 * @e: pieces, see struct nom_map_entry of <linux/nom.h>
 * @nr: how many, any number; NOM_MAP_MAX go into one system call
 *
 * Threads: any, upcall handlers included.  Not all or nothing: on failure the
 * pieces before the failing one are mapped.
 * Return: @nr, or, if the first piece failed, -EINVAL, -EFAULT (va not in a
 * window of this grant), -EEXIST (a page is mapped there), -EPERM, -ENOMEM,
 * -ENXIO (returned, or taken); if a later piece failed, the number of pieces
 * done.
 */
NOMUX_API int nomux_mem_map(struct nomux_mem *mem, struct nom_map_entry *e, unsigned int nr);

/**
 * nomux_mem_unmap - take pieces out of the windows
 * @mem: grant
 * @e: pieces; offset is ignored
 * @nr: how many
 *
 * Return: as nomux_mem_map().
 */
NOMUX_API int nomux_mem_unmap(struct nomux_mem *mem, struct nom_map_entry *e, unsigned int nr);

/**
 * nomux_mem_protect - give what is mapped another protection
 * @mem: grant
 * @e: pieces; flags are NOM_MAP_READ, _WRITE, _EXEC; offset is ignored
 * @nr: how many
 *
 * Pages never vanish meanwhile.  In force for all threads on return.
 * Threads: any, upcall handlers included.
 * Return: as nomux_mem_map().
 */
NOMUX_API int nomux_mem_protect(struct nomux_mem *mem, struct nom_map_entry *e, unsigned int nr);

/**
 * struct nomux_mem_bits - what nomux_mem_query() finds, a bit per 4 KiB page
 * @mapped: is it mapped?  Words of 64 pages, or NULL: not wanted
 * @young: was it accessed?
 * @dirty: was it written to?
 * @nr_mapped: bits set in @mapped, also if that is NULL
 * @nr_young: likewise
 * @nr_dirty: likewise
 */
struct nomux_mem_bits {
	uint64_t *mapped;
	uint64_t *young;
	uint64_t *dirty;
	uint64_t nr_mapped;
	uint64_t nr_young;
	uint64_t nr_dirty;
};

/**
 * nomux_mem_query - which pages were accessed, which written to?
 * @mem: grant
 * @va: in a window of it, multiple of 2 MiB
 * @bytes: multiple of 4 KiB, all in one window
 * @flags: NOM_QUERY_CLEAR_YOUNG, NOM_QUERY_CLEAR_DIRTY: forget it afterwards
 * @bits: the caller sets the pointers
 *
 * Since when: since the page was mapped with NOM_MAP_TRACK (without it, it counts
 * as accessed and written from the start), or was forgotten.  Who clears dirty and
 * reads the pages afterwards misses no write.
 *
 * Threads: any, upcall handlers included.
 * Return: 0, -EINVAL, -EFAULT (not in a window of this grant), -ENOMEM.
 */
NOMUX_API int nomux_mem_query(struct nomux_mem *mem, const void *va, size_t bytes,
			      uint32_t flags, struct nomux_mem_bits *bits);

/**
 * nomux_mem_promote - make one 2 MiB entry of each 512 small ones
 * @mem: grant
 * @e: pieces, multiples of 2 MiB; flags are 0 or NOM_MAP_FILL: from NOM_FOLD_MIN
 *	small ones on, the missing ones are mapped, too; offset is ignored
 * @nr: how many
 *
 * Pages never vanish meanwhile.
 * Return: as nomux_mem_map(); -ENOENT (too few are mapped), -EINVAL (not 2 MiB
 * of the grant in its order, with one protection), -EOPNOTSUPP.
 */
NOMUX_API int nomux_mem_promote(struct nomux_mem *mem, struct nom_map_entry *e, unsigned int nr);

/**
 * nomux_mem_demote - make 512 small entries of each one of 2 MiB
 * @mem: grant
 * @e: pieces, multiples of 2 MiB; flags are 0, offset is ignored
 * @nr: how many
 *
 * For then to unmap, protect or query a part.
 * Return: as nomux_mem_map(); -ENOENT (nothing is mapped), -EOPNOTSUPP.
 */
NOMUX_API int nomux_mem_demote(struct nomux_mem *mem, struct nom_map_entry *e, unsigned int nr);

/**
 * nomux_mem_return - give parts of the grant back for good
 * @mem: grant
 * @e: pieces: offset and bytes, multiples of 2 MiB; va and flags are 0
 * @nr: how many
 *
 * They go out of all windows; their offsets stay unusable.
 * Return: as nomux_mem_map(); -ENXIO (not there any more).
 */
NOMUX_API int nomux_mem_return(struct nomux_mem *mem, struct nom_map_entry *e, unsigned int nr);

/**
 * nomux_mem_info - what a grant has, and what is asked of it
 * @mem: grant
 * @info: see <linux/nom.h>; the caller sets held and nr_held, to 0 or to a bitmap
 *	that tells which 2 MiB are there
 *
 * Return: 0, -EINVAL, -EFAULT, -ENOMEM.
 */
NOMUX_API int nomux_mem_info(struct nomux_mem *mem, struct nom_mem_info *info);

/**
 * nomux_mem_phys - physical address of a 2 MiB piece, for a trusted device
 * @mem: grant
 * @offset: multiple of 2 MiB
 * @bdf: PCI function that will do DMA there: domain << 16 | bus << 8 |
 *	device << 3 | function; it must be bound to vfio-pci
 * @phys_out: the address
 *
 * From here on the grant is quarantined when it ends, until that device can no
 * longer reach it.  nomux_vfio_dma_alloc() does all of this.
 *
 * Return: 0, -EPERM (needs CAP_SYS_RAWIO), -ENODEV, -EBUSY (not bound to
 * vfio-pci), -EINVAL, -EOPNOTSUPP.
 */
NOMUX_API int nomux_mem_phys(struct nomux_mem *mem, uint64_t offset, uint32_t bdf,
			     uint64_t *phys_out);

#endif /* NOMUX_MEM_H */
