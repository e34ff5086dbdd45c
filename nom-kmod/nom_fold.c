// SPDX-License-Identifier: GPL-2.0
/*
 * nom: folding - 512 small entries to one of 2 MiB, and unfolding.
 *
 * An entry of the 2 MiB level is never exchanged for one of the other kind
 * without a moment in which there is none and every TLB forgets the old one;
 * processors do not like two sizes of one translation at a time.  Who touches the
 * memory in that moment faults, finds no entry, and must not be told that
 * nothing is mapped: the fault handlers look again under the lock that is held
 * meanwhile (nom_fold_settled()).  Grants that never folded skip this.
 *
 * Accessed and dirty bits survive: folding gathers them when no processor can
 * set them any more, unfolding gives them to all 512.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/signal.h>
#include <asm/pgalloc.h>
#include "nom.h"
#include "nom_trace.h"
#include "nom_window.h"

/* Bits in which two entries may differ and still fold. */
#define NOM_FOLD_IGNORE	(_PAGE_ACCESSED | _PAGE_DIRTY_BITS | _PAGE_SOFT_DIRTY)

/* The grant's fault handlers take a second look from here on. */
static void nom_fold_begin(struct nom_grant *grant, struct mmu_notifier_range *range,
			   struct vm_area_struct *vma, unsigned long addr)
{
	/* ahead of the moment without an entry; partner: nom_window_absent() */
	smp_store_release(&grant->folds, 1);
	nom_change_begin(range, vma, addr, addr + NOM_CHUNK_BYTES);
}

/* nom_pmd_break() has flushed. */
static void nom_fold_end(struct mmu_notifier_range *range, struct vm_area_struct *vma)
{
	nom_change_end(range, vma, 0, 0);
}

/**
 * nom_fold_settled - is there a page after all?
 * @vmf: a fault that found none
 *
 * Waits for an exchange that is under way.
 */
bool nom_fold_settled(struct vm_fault *vmf)
{
	struct mm_struct *mm = vmf->vma->vm_mm;
	bool write = vmf->flags & FAULT_FLAG_WRITE;
	bool ret = false;
	spinlock_t *ptl;
	pmd_t pmd;
	pte_t pte;

	ptl = pmd_lock(mm, vmf->pmd);
	pmd = *vmf->pmd;
	if (pmd_leaf(pmd)) {
		ret = !write || pmd_write(pmd);
	} else if (!pmd_none(pmd)) {
		/* the lock keeps the table; an entry may change, as at any time */
		pte = ptep_get(pte_offset_kernel(vmf->pmd, vmf->address));
		ret = pte_present(pte) && (!write || pte_write(pte));
	}
	spin_unlock(ptl);
	return ret;
}

/**
 * nom_fold_empty - exchange an empty page table for a 2 MiB entry
 * @vma: window
 * @addr: multiple of 2 MiB
 * @pmd: points to the table; the caller knows that it is empty
 * @entry: what to put there
 *
 * Context: mmap_lock and the grant's lock are held.
 */
void nom_fold_empty(struct vm_area_struct *vma, unsigned long addr, pmd_t *pmd, pmd_t entry)
{
	struct mmu_notifier_range range;
	spinlock_t *ptl;
	pmd_t old;

	if (!nom_huge_works())		/* nobody calls; for the compiler */
		return;
	nom_fold_begin(nom_vma_grant(vma), &range, vma, addr);
	ptl = pmd_lock(vma->vm_mm, pmd);
	old = nom_pmd_break(vma, addr, pmd);
	set_pmd_at(vma->vm_mm, addr, pmd, entry);
	spin_unlock(ptl);
	nom_fold_end(&range, vma);
	nom_table_free(vma->vm_mm, addr, old);
}

/*
 * How many entries of a table there are, all of one chunk in its order and with
 * one protection.  @first_out is what the entry of the chunk's first page is, or
 * would be.
 */
static int nom_fold_count(pte_t *table, pte_t *first_out)
{
	unsigned int i, nr = 0;
	pteval_t want = 0, got;
	pte_t pte;

	for (i = 0; i < PTRS_PER_PTE; i++) {
		pte = ptep_get(table + i);
		if (pte_none(pte))
			continue;
		got = pte_val(pte_clear_flags(pte, NOM_FOLD_IGNORE)) - ((pteval_t)i << PAGE_SHIFT);
		if (!nr++)
			want = got;
		else if (got != want)
			return -EINVAL;
	}
	*first_out = __pte(want);
	if (nr && !IS_ALIGNED(pte_pfn(*first_out), NOM_CHUNK_PAGES))
		return -EINVAL;
	return nr;
}

/* A 2 MiB entry for what @first is the first page of. */
static pmd_t nom_fold_entry(pte_t first, pteval_t ad)
{
	pmd_t entry = pfn_pmd(pte_pfn(first), pte_pgprot(first));

	return pmd_set_flags(pmd_mkspecial(pmd_mkhuge(entry)), ad);
}

static int nom_fold(struct nom_grant *grant, struct vm_area_struct *vma,
		    unsigned long addr, bool fill)
{
	struct mm_struct *mm = vma->vm_mm;
	pmd_t *pmd = nom_pmd_find(mm, addr), old;
	struct mmu_notifier_range range;
	spinlock_t *pml, *ptl;
	unsigned int i;
	pteval_t ad = 0;
	pte_t *table, first;
	int nr;

	if (!pmd || pmd_none(*pmd))
		return -ENOENT;
	if (pmd_leaf(*pmd))
		return 0;

	nom_fold_begin(grant, &range, vma, addr);
	pml = pmd_lock(mm, pmd);
	ptl = pte_lockptr(mm, pmd);
	if (ptl != pml)
		spin_lock_nested(ptl, SINGLE_DEPTH_NESTING);
	table = pte_offset_kernel(pmd, addr);
	nr = nom_fold_count(table, &first);
	if (nr >= 0 && nr < (fill ? NOM_FOLD_MIN : PTRS_PER_PTE))
		nr = -ENOENT;
	if (nr > 0) {
		old = nom_pmd_break(vma, addr, pmd);
		for (i = 0; i < PTRS_PER_PTE; i++)
			ad |= pte_val(ptep_get(table + i)) & NOM_FOLD_IGNORE;
		set_pmd_at(mm, addr, pmd, nom_fold_entry(first, ad));
	}
	if (ptl != pml)
		spin_unlock(ptl);
	spin_unlock(pml);
	nom_fold_end(&range, vma);
	if (nr < 0)
		return nr;
	nom_table_free(mm, addr, old);
	nom_window_account(vma, NOM_CHUNK_BYTES - (s64)nr * PAGE_SIZE);
	return 0;
}

static int nom_unfold(struct nom_grant *grant, struct vm_area_struct *vma, unsigned long addr)
{
	struct mm_struct *mm = vma->vm_mm;
	pmd_t *pmd = nom_pmd_find(mm, addr), old, link;
	struct mmu_notifier_range range;
	pgtable_t page;
	spinlock_t *pml;
	unsigned int i;
	pte_t *table, entry;

	if (!pmd || pmd_none(*pmd))
		return -ENOENT;
	if (!pmd_leaf(*pmd))
		return 0;
	page = nom_table_alloc(mm);
	if (!page)
		return -ENOMEM;
	table = page_address(page);

	nom_fold_begin(grant, &range, vma, addr);
	pml = pmd_lock(mm, pmd);
	old = nom_pmd_break(vma, addr, pmd);
	for (i = 0; i < PTRS_PER_PTE; i++) {
		entry = pfn_pte(pmd_pfn(old) + i, pgprot_large_2_4k(pmd_pgprot(old)));
		set_pte_at(mm, addr + i * PAGE_SIZE, table + i, pte_mkspecial(entry));
	}
	/* entries ahead of the table; partner: walkers' dependent loads */
	smp_wmb();
	pmd_populate(mm, &link, page);
	set_pmd_at(mm, addr, pmd, link);
	spin_unlock(pml);
	nom_fold_end(&range, vma);
	return 0;
}

static int nom_fold_range(struct nom_grant *grant, struct mm_struct *mm,
			  const struct nom_map_entry *e, struct vm_area_struct **near,
			  bool fold)
{
	struct vm_area_struct *vma;
	u64 addr;
	int ret;

	if (e->flags & ~(fold ? NOM_MAP_FILL : 0))
		return -EOPNOTSUPP;
	if (e->reserved || !e->bytes || (e->va | e->bytes) & (NOM_CHUNK_BYTES - 1))
		return -EINVAL;
	vma = nom_window_find(grant, mm, e->va, e->bytes, *near);
	if (!vma)
		return -EFAULT;
	*near = vma;
	for (addr = e->va; addr < e->va + e->bytes; addr += NOM_CHUNK_BYTES) {
		if (fold)
			ret = nom_fold(grant, vma, addr, e->flags & NOM_MAP_FILL);
		else
			ret = nom_unfold(grant, vma, addr);
		if (ret)
			return ret;
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

static int nom_fold_one(struct nom_grant *grant, struct mm_struct *mm,
			const struct nom_map_entry *e, struct vm_area_struct **near)
{
	int ret = nom_fold_range(grant, mm, e, near, true);

	trace_nom_change(grant->extent->id, "promote", e->va, e->bytes, e->flags, ret);
	return ret;
}

static int nom_unfold_one(struct nom_grant *grant, struct mm_struct *mm,
			  const struct nom_map_entry *e, struct vm_area_struct **near)
{
	int ret = nom_fold_range(grant, mm, e, near, false);

	trace_nom_change(grant->extent->id, "demote", e->va, e->bytes, e->flags, ret);
	return ret;
}

static int nom_batch_fold(struct nom_grant *grant, const struct nom_map_entry *e,
			  unsigned int nr, u32 *done)
{
	return nom_for_entries(grant, e, nr, done, nom_fold_one);
}

static int nom_batch_unfold(struct nom_grant *grant, const struct nom_map_entry *e,
			    unsigned int nr, u32 *done)
{
	return nom_for_entries(grant, e, nr, done, nom_unfold_one);
}

/**
 * nom_ioctl_mem_promote - ioctl(NOM_MEM_PROMOTE)
 * @grant: the descriptor's
 * @arg: struct nom_mem_map
 *
 * Return: as in the uapi header.
 */
int nom_ioctl_mem_promote(struct nom_grant *grant, void __user *arg)
{
	return nom_huge_works() ? nom_for_batches(grant, arg, nom_batch_fold) : -EOPNOTSUPP;
}

/**
 * nom_ioctl_mem_demote - ioctl(NOM_MEM_DEMOTE)
 * @grant: the descriptor's
 * @arg: struct nom_mem_map
 *
 * Return: as in the uapi header.
 */
int nom_ioctl_mem_demote(struct nom_grant *grant, void __user *arg)
{
	return nom_huge_works() ? nom_for_batches(grant, arg, nom_batch_unfold) : -EOPNOTSUPP;
}
