/* SPDX-License-Identifier: MIT */
/*
 * Grants: reserved memory that the application maps page by page, itself.
 *
 * A *grant* is a number of bytes of reserved memory, addressed by offset.  A
 * *window* is address space of any length in which nothing is mapped until
 * nomux_mem_map() says so.  A touch of an unmapped page is a page fault upcall
 * to a thread on a leased core that claimed #PF, and SIGBUS to others.  The
 * same offset may be mapped at several addresses.
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
 * nomux_mem_put - give a grant back, its windows included
 * @mem: grant, or NULL
 *
 * Memory whose physical address was told for a device goes back only when that
 * device can no longer master the bus (see nomux_mem_phys()).
 */
NOMUX_API void nomux_mem_put(struct nomux_mem *mem);

/** nomux_mem_bytes - length of the grant */
NOMUX_API size_t nomux_mem_bytes(const struct nomux_mem *mem);

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
 * window of this grant), -EEXIST (a page is mapped there), -EPERM, -ENOMEM;
 * if a later piece failed, the number of pieces done.
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
