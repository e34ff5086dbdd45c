/* SPDX-License-Identifier: GPL-2.0 */
/*
 * nom: windows from inside, for the files that change their entries.
 *
 *	nom_window	the area itself; map and unmap
 *	nom_change	protection; what was touched
 *	nom_fold	512 small entries to one of 2 MiB, and back
 *	nom_revoke	what a grant loses goes out of its windows and views
 *
 * A page table entry in a window is added, removed and exchanged under the
 * grant's lock only; bits of a present one are cleared by atomic operations,
 * because processors set accessed and dirty bits at any time.
 */
#ifndef _NOM_KMOD_WINDOW_H
#define _NOM_KMOD_WINDOW_H

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/refcount.h>
#include <linux/uaccess.h>
#include "nom.h"

#define NOM_MAP_BATCH	8	/* entries fetched at once; they are on the stack */

/**
 * struct nom_window - what a window's VMA points to
 * @ref: a failing mremap() makes a second VMA for a moment
 * @mapped: bytes mapped, under the grant's lock
 */
struct nom_window {
	refcount_t ref;
	u64 mapped;
};

extern const struct vm_operations_struct nom_window_ops;

static inline struct nom_grant *nom_vma_grant(const struct vm_area_struct *vma)
{
	return vma->vm_file->private_data;
}

static inline bool nom_vma_is_window(const struct vm_area_struct *vma)
{
	return vma->vm_ops == &nom_window_ops;
}

/* Pages came into a window, or went; the grant's lock is held. */
static inline void nom_window_account(struct vm_area_struct *vma, s64 bytes)
{
	struct nom_window *window = vma->vm_private_data;

	window->mapped += bytes;
	atomic64_add(bytes, &nom_vma_grant(vma)->extent->mapped);
}

pmd_t *nom_pmd_find(struct mm_struct *mm, unsigned long addr);
pmd_t nom_pmd_get(struct mm_struct *mm, unsigned long addr);
pgprot_t nom_entry_prot(const struct vm_area_struct *vma, u32 flags);
int nom_entry_allowed(const struct vm_area_struct *vma, u32 flags);
struct vm_area_struct *nom_window_find(struct nom_grant *grant, struct mm_struct *mm,
				       u64 addr, u64 bytes, struct vm_area_struct *near);

/* The end of the piece at @addr that lies below one entry of the 2 MiB level. */
static inline u64 nom_piece_end(u64 addr, u64 end)
{
	return min(end, ALIGN_DOWN(addr, NOM_CHUNK_BYTES) + NOM_CHUNK_BYTES);
}

/* ------------------------------------------------- arrays of entries --- */

/*
 * The usual size by plain loads; a string move costs more for so little.  out_done
 * is written ahead of all else: who cannot be told what was done gets nothing done.
 */
static __always_inline int nom_map_fetch(struct nom_mem_map *m, void __user *arg)
{
	struct nom_mem_map __user *u = arg;
	size_t usize;
	int ret;

	if (!user_access_begin(u, sizeof(*u)))
		return -EFAULT;
	unsafe_get_user(m->size, &u->size, efault);
	unsafe_get_user(m->nr, &u->nr, efault);
	unsafe_get_user(m->entries, &u->entries, efault);
	unsafe_get_user(m->flags, &u->flags, efault);
	if (likely(m->size == sizeof(*m))) {
		unsafe_put_user(0, &u->out_done, efault);
		user_access_end();
		return 0;
	}
	user_access_end();
	ret = nom_struct_in(m, sizeof(*m), sizeof(*m), arg, &usize);
	return ret ?: put_user(0, &u->out_done);
efault:
	user_access_end();
	return -EFAULT;
}

static __always_inline int nom_entries_fetch(struct nom_map_entry *e,
					     const struct nom_map_entry __user *u,
					     unsigned int nr)
{
	unsigned int i;

	if (!user_read_access_begin(u, nr * sizeof(*u)))
		return -EFAULT;
	for (i = 0; i < nr; i++) {
		unsafe_get_user(e[i].va, &u[i].va, efault);
		unsafe_get_user(e[i].offset, &u[i].offset, efault);
		unsafe_get_user(e[i].bytes, &u[i].bytes, efault);
		unsafe_get_user(e[i].flags, &u[i].flags, efault);
		unsafe_get_user(e[i].reserved, &u[i].reserved, efault);
	}
	user_read_access_end();
	return 0;
efault:
	user_read_access_end();
	return -EFAULT;
}

/*
 * Take the array of a struct nom_mem_map through @batch, NOM_MAP_BATCH entries
 * at a time.  @batch adds to *done what it carried out.
 */
static __always_inline int nom_for_batches(struct nom_grant *grant, void __user *arg,
		int (*batch)(struct nom_grant *grant, const struct nom_map_entry *e,
			     unsigned int nr, u32 *done))
{
	/* what is read of it is written before; zeroing it would cost 40 instructions */
	struct nom_map_entry e[NOM_MAP_BATCH] __uninitialized;
	struct nom_mem_map __user *u = arg;
	struct nom_mem_map m __uninitialized;
	unsigned int nr;
	u32 done = 0;
	int ret;

	ret = nom_map_fetch(&m, arg);
	if (unlikely(ret))
		return ret;
	if (unlikely(m.flags))
		return -EOPNOTSUPP;
	if (unlikely(!m.nr || m.nr > NOM_MAP_MAX))
		return -EINVAL;

	do {
		nr = min_t(u32, m.nr - done, NOM_MAP_BATCH);
		ret = nom_entries_fetch(e, (struct nom_map_entry __user *)m.entries + done, nr);
		if (unlikely(ret))
			break;
		ret = batch(grant, e, nr, &done);
	} while (!ret && done < m.nr);

	if (put_user(done, &u->out_done))
		return -EFAULT;
	return ret;
}

/*
 * The same for entries that are independent of each other: @one carries one out;
 * *near is nom_window_find()'s.
 */
static __always_inline int nom_for_entries(struct nom_grant *grant,
		const struct nom_map_entry *e, unsigned int nr, u32 *done,
		int (*one)(struct nom_grant *grant, struct mm_struct *mm,
			   const struct nom_map_entry *e, struct vm_area_struct **near))
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *near;
	unsigned int i;
	int ret = 0;

	/* to try first saves the looks for somebody to yield to: 30 instructions */
	if (unlikely(!mmap_read_trylock(mm)))
		mmap_read_lock(mm);
	if (unlikely(!mutex_trylock(&grant->lock)))
		mutex_lock(&grant->lock);
	near = grant->near;
	if (near && unlikely(near->vm_mm != mm))
		near = NULL;
	for (i = 0; i < nr; i++) {
		ret = one(grant, mm, &e[i], &near);
		if (unlikely(ret))
			break;
		++*done;
	}
	grant->near = near;
	mutex_unlock(&grant->lock);
	mmap_read_unlock(mm);
	return ret;
}

#endif /* _NOM_KMOD_WINDOW_H */
