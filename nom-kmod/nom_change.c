// SPDX-License-Identifier: GPL-2.0
/*
 * nom: entries that stay - their protection, and what was touched.
 *
 * Processors set accessed and dirty bits in an entry while it is changed here, so
 * it is changed by compare and exchange, and never absent in between.  TLBs are
 * flushed once for all that is done under one hold of the locks; who has made a
 * change therefore has it in force when the call returns.
 *
 * "Clear the dirty bit" means: a write that comes after the call sets it again.
 * A write during the call may do so or not, but it is in memory when the call
 * returns; so who clears first and copies then misses nothing.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include "nom.h"
#include "nom_trace.h"
#include "nom_window.h"

/* What has to be flushed when the locks are let go. */
struct nom_flush {
	unsigned long start;
	unsigned long end;
};

static void nom_flush_add(struct nom_flush *flush, unsigned long start, unsigned long end)
{
	flush->start = min(flush->start, start);
	flush->end = max(flush->end, end);
}

/* -------------------------------------------------------- protection --- */

static void nom_pte_protect(pte_t *pte, pgprot_t prot)
{
	pte_t old = ptep_get(pte), new;

	do {
		new = pte_modify(old, prot);
	} while (!try_cmpxchg(&pte->pte, &old.pte, new.pte));
}

static void nom_pmd_protect(pmd_t *pmd, pgprot_t prot)
{
	pmd_t old = *pmd, new;

	do {
		new = pmd_modify(old, prot);
	} while (!try_cmpxchg(&pmd->pmd, &old.pmd, new.pmd));
}

/* [addr, next) lies below one entry of the 2 MiB level. */
static int nom_protect_piece(struct mm_struct *mm, unsigned long addr, unsigned long next,
			     pgprot_t prot)
{
	pmd_t *pmd = nom_pmd_find(mm, addr);
	spinlock_t *ptl;
	pte_t *pte;

	if (!pmd || pmd_none(*pmd))
		return 0;
	if (pmd_leaf(*pmd)) {
		if (next - addr != NOM_CHUNK_BYTES)
			return -EINVAL;		/* would change the rest of the entry, too */
		ptl = pmd_lock(mm, pmd);
		nom_pmd_protect(pmd, prot);
		spin_unlock(ptl);
		return 0;
	}
	ptl = pte_lockptr(mm, pmd);
	pte = pte_offset_kernel(pmd, addr);
	spin_lock(ptl);
	for (; addr < next; addr += PAGE_SIZE, pte++)
		if (!pte_none(ptep_get(pte)))
			nom_pte_protect(pte, prot);
	spin_unlock(ptl);
	return 0;
}

static int nom_protect_entry(struct nom_grant *grant, struct mm_struct *mm,
			     const struct nom_map_entry *e, struct vm_area_struct **near,
			     struct nom_flush *flush)
{
	struct vm_area_struct *vma;
	u64 addr, next, end;
	pgprot_t prot;
	int ret;

	if (e->flags & ~(NOM_MAP_READ | NOM_MAP_WRITE | NOM_MAP_EXEC))
		return -EOPNOTSUPP;
	if (e->reserved || !e->bytes || !(e->flags & NOM_MAP_READ) ||
	    (e->va | e->bytes) & (PAGE_SIZE - 1))
		return -EINVAL;
	vma = nom_window_find(grant, mm, e->va, e->bytes, *near);
	if (!vma)
		return -EFAULT;
	*near = vma;
	ret = nom_entry_allowed(vma, e->flags);
	if (ret)
		return ret;

	prot = nom_entry_prot(vma, e->flags);
	end = e->va + e->bytes;
	for (addr = e->va; addr < end && !ret; addr = next) {
		next = nom_piece_end(addr, end);
		if (!nom_pmd_find(mm, addr))
			next = min(end, ALIGN_DOWN(addr, PUD_SIZE) + PUD_SIZE);
		else
			ret = nom_protect_piece(mm, addr, next, prot);
		if (!ret)
			nom_flush_add(flush, addr, next);
		cond_resched();
		if (fatal_signal_pending(current))
			ret = -EINTR;
	}
	return ret;
}

static int nom_batch_protect(struct nom_grant *grant, const struct nom_map_entry *e,
			     unsigned int nr, u32 *done)
{
	struct nom_flush flush = { ULONG_MAX, 0 }, all = { ULONG_MAX, 0 };
	struct vm_area_struct *near = NULL;
	struct mm_struct *mm = current->mm;
	struct mmu_notifier_range range;
	unsigned int i;
	int ret = 0;

	mmap_read_lock(mm);
	mutex_lock(&grant->lock);
	/* the notifier is told of one window's range: that of the first entry */
	for (i = 0; i < nr; i++) {
		struct vm_area_struct *vma = nom_window_find(grant, mm, e[i].va, e[i].bytes, near);

		if (!vma || (near && vma != near))
			break;
		near = vma;
		nom_flush_add(&all, e[i].va, e[i].va + e[i].bytes);
	}
	if (!near) {
		ret = nom_protect_entry(grant, mm, &e[0], &near, &flush);
		goto out;
	}
	nr = i;
	nom_change_begin(&range, near, all.start, all.end);
	for (i = 0; i < nr && !ret; i++) {
		ret = nom_protect_entry(grant, mm, &e[i], &near, &flush);
		trace_nom_change(grant->extent->id, "protect", e[i].va, e[i].bytes,
				 e[i].flags, ret);
		*done += !ret;
	}
	nom_change_end(&range, near, flush.start, flush.end);
out:
	mutex_unlock(&grant->lock);
	mmap_read_unlock(mm);
	return ret;
}

/**
 * nom_ioctl_mem_protect - ioctl(NOM_MEM_PROTECT)
 * @grant: the descriptor's
 * @arg: struct nom_mem_map
 *
 * Return: as in the uapi header.
 */
int nom_ioctl_mem_protect(struct nom_grant *grant, void __user *arg)
{
	return nom_for_batches(grant, arg, nom_batch_protect);
}

/* --------------------------------------------------- what was touched --- */

#define NOM_QUERY_PIECE		(32UL << 20)	/* looked at under one hold of the locks */
#define NOM_QUERY_WORDS		(NOM_QUERY_PIECE / PAGE_SIZE / BITS_PER_LONG)

static_assert(IS_ALIGNED(NOM_QUERY_PIECE, NOM_CHUNK_BYTES));

/* The bits of a piece, and what to do. */
struct nom_look {
	u32 flags;
	struct nom_flush flush;
	u64 nr_mapped, nr_young, nr_dirty;
	unsigned long mapped[NOM_QUERY_WORDS];
	unsigned long young[NOM_QUERY_WORDS];
	unsigned long dirty[NOM_QUERY_WORDS];
};

static void nom_look_note(struct nom_look *look, unsigned int bit, unsigned int nr,
			  bool young, bool dirty)
{
	bitmap_set(look->mapped, bit, nr);
	look->nr_mapped += nr;
	if (young) {
		bitmap_set(look->young, bit, nr);
		look->nr_young += nr;
	}
	if (dirty) {
		bitmap_set(look->dirty, bit, nr);
		look->nr_dirty += nr;
	}
}

static bool nom_look_pte(struct nom_look *look, pte_t *pte, unsigned int bit)
{
	pte_t old = ptep_get(pte), new;

	do {
		new = old;
		if (look->flags & NOM_QUERY_CLEAR_YOUNG)
			new = pte_mkold(new);
		if (look->flags & NOM_QUERY_CLEAR_DIRTY)
			new = pte_mkclean(new);
		if (pte_same(new, old))
			break;
	} while (!try_cmpxchg(&pte->pte, &old.pte, new.pte));
	nom_look_note(look, bit, 1, pte_young(old), pte_dirty(old));
	return !pte_same(new, old);
}

static bool nom_look_pmd(struct nom_look *look, pmd_t *pmd, unsigned int bit, unsigned int nr)
{
	pmd_t old = *pmd, new;

	do {
		new = old;
		if (look->flags & NOM_QUERY_CLEAR_YOUNG)
			new = pmd_mkold(new);
		if (look->flags & NOM_QUERY_CLEAR_DIRTY)
			new = pmd_mkclean(new);
		if (pmd_same(new, old))
			break;
	} while (!try_cmpxchg(&pmd->pmd, &old.pmd, new.pmd));
	nom_look_note(look, bit, nr, pmd_young(old), pmd_dirty(old));
	return !pmd_same(new, old);
}

/* [addr, next) lies below one entry of the 2 MiB level; @bit is that of @addr. */
static int nom_look_piece(struct nom_look *look, struct mm_struct *mm, unsigned long addr,
			  unsigned long next, unsigned int bit)
{
	pmd_t *pmd = nom_pmd_find(mm, addr);
	spinlock_t *ptl;
	pte_t *pte;

	if (!pmd || pmd_none(*pmd))
		return 0;
	if (pmd_leaf(*pmd)) {
		if (look->flags && next - addr != NOM_CHUNK_BYTES)
			return -EINVAL;		/* would forget about the rest of the entry */
		ptl = pmd_lock(mm, pmd);
		if (nom_look_pmd(look, pmd, bit, (next - addr) >> PAGE_SHIFT))
			nom_flush_add(&look->flush, addr, next);
		spin_unlock(ptl);
		return 0;
	}
	ptl = pte_lockptr(mm, pmd);
	pte = pte_offset_kernel(pmd, addr);
	spin_lock(ptl);
	for (; addr < next; addr += PAGE_SIZE, pte++, bit++)
		if (!pte_none(ptep_get(pte)) && nom_look_pte(look, pte, bit))
			nom_flush_add(&look->flush, addr, addr + PAGE_SIZE);
	spin_unlock(ptl);
	return 0;
}

static int nom_look(struct nom_grant *grant, struct nom_look *look, u64 va, u64 bytes)
{
	struct mm_struct *mm = current->mm;
	struct mmu_notifier_range range;
	struct vm_area_struct *vma;
	u64 addr, next;
	int ret = 0;

	look->flush = (struct nom_flush){ ULONG_MAX, 0 };
	memset(look->mapped, 0, sizeof(look->mapped));
	memset(look->young, 0, sizeof(look->young));
	memset(look->dirty, 0, sizeof(look->dirty));

	mmap_read_lock(mm);
	mutex_lock(&grant->lock);
	vma = nom_window_find(grant, mm, va, bytes, NULL);
	if (!vma) {
		ret = -EFAULT;
		goto out;
	}
	if (look->flags)
		nom_change_begin(&range, vma, va, va + bytes);
	for (addr = va; addr < va + bytes && !ret; addr = next) {
		next = nom_piece_end(addr, va + bytes);
		ret = nom_look_piece(look, mm, addr, next, (addr - va) >> PAGE_SHIFT);
		cond_resched();
	}
	if (look->flags)
		nom_change_end(&range, vma, look->flush.start, look->flush.end);
out:
	mutex_unlock(&grant->lock);
	mmap_read_unlock(mm);
	return ret;
}

static int nom_look_out(u64 map, u64 page, const unsigned long *bits, u64 nr)
{
	if (!map)
		return 0;
	/* whole words: a piece starts on one, and the last may have bits to spare */
	return copy_to_user(u64_to_user_ptr(map + page / 8), bits,
			    BITS_TO_LONGS(nr) * sizeof(long)) ? -EFAULT : 0;
}

static int nom_query_clear(u64 map, u64 bytes)
{
	u64 words = BITS_TO_LONGS(bytes >> PAGE_SHIFT);

	return map && clear_user(u64_to_user_ptr(map), words * sizeof(long)) ? -EFAULT : 0;
}

/**
 * nom_ioctl_mem_query - ioctl(NOM_MEM_QUERY)
 * @grant: the descriptor's
 * @arg: struct nom_mem_query
 *
 * Return: as in the uapi header.
 */
int nom_ioctl_mem_query(struct nom_grant *grant, void __user *arg)
{
	struct nom_mem_query q;
	struct nom_look *look;
	u64 at, piece;
	size_t usize;
	int ret;

	ret = nom_struct_in(&q, sizeof(q), sizeof(q), arg, &usize);
	if (ret)
		return ret;
	if (q.flags & ~(NOM_QUERY_CLEAR_YOUNG | NOM_QUERY_CLEAR_DIRTY))
		return -EOPNOTSUPP;
	if (!q.bytes || q.bytes > NOM_QUERY_MAX || q.bytes & (PAGE_SIZE - 1) ||
	    q.va & (NOM_CHUNK_BYTES - 1) ||
	    (q.mapped | q.young | q.dirty) & (sizeof(u64) - 1))
		return -EINVAL;
	/* what cannot be written is found out before anything is forgotten */
	if (nom_query_clear(q.mapped, q.bytes) || nom_query_clear(q.young, q.bytes) ||
	    nom_query_clear(q.dirty, q.bytes))
		return -EFAULT;
	look = kzalloc(sizeof(*look), GFP_KERNEL_ACCOUNT);
	if (!look)
		return -ENOMEM;

	look->flags = q.flags;
	for (at = 0; at < q.bytes && !ret; at += piece) {
		u64 page = at >> PAGE_SHIFT, nr;

		piece = min(q.bytes - at, NOM_QUERY_PIECE);
		nr = piece >> PAGE_SHIFT;
		ret = nom_look(grant, look, q.va + at, piece) ?:
		      nom_look_out(q.mapped, page, look->mapped, nr) ?:
		      nom_look_out(q.young, page, look->young, nr) ?:
		      nom_look_out(q.dirty, page, look->dirty, nr);
		if (fatal_signal_pending(current))
			ret = -EINTR;
	}
	trace_nom_change(grant->extent->id, "query", q.va, q.bytes, q.flags, ret);
	if (!ret) {
		q.out_mapped = look->nr_mapped;
		q.out_young = look->nr_young;
		q.out_dirty = look->nr_dirty;
		ret = nom_struct_out(arg, usize, &q, sizeof(q));
	}
	kfree(look);
	return ret;
}
