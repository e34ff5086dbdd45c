// SPDX-License-Identifier: GPL-2.0
/*
 * nom: address space that shows a grant - windows.
 *
 * A *window* is a VM_PFNMAP area that starts empty.  The application maps pages
 * of its grant into it, page by page or 2 MiB at a time, with the protection it
 * likes; a touch of what is not mapped, or not so, ends in VM_FAULT_SIGBUS,
 * which the core kernel turns into a #PF upcall for a leaseholder.  So the
 * application pages, collects, checkpoints and protects by its own rules.
 *
 *  - The fault path decides nothing and looks nothing up.  ->map_pages exists
 *    so that the kernel calls us under the VMA lock instead of starting over
 *    with the mmap_lock (mm/memory.c, vmf_can_call_fault()), ->huge_fault so
 *    that it does not allocate a page table first.
 *  - ->pfn_mkwrite and ->huge_fault refuse: without them the kernel would make
 *    a read-only entry in a writable window writable by itself.
 *  - 4 KiB entries are written without vmf_insert_pfn_prot(), whose search for
 *    the frame's cache type (write-back here, always) and new walk per page
 *    cost more than all the rest: apply_to_page_range() where a page table is
 *    missing, plain stores under the table's lock where there is one.
 *  - 2 MiB entries are written like small ones; the levels above, where they are
 *    missing, are what a fault leaves behind (handle_mm_fault()).
 *  - An empty page table that is in the way of a 2 MiB entry is exchanged for it
 *    (nom_fold.c).
 *
 * A window is never split, moved or inherited, so one VMA is one window, from
 * mmap to munmap.  Page table entries in it are added and removed under
 * mmap_lock (read) and the grant's lock; only what the grant loses is taken out
 * under the lock of the file's mappings instead of mmap_lock (nom_revoke.c).  The
 * kernel itself only takes a whole window away (mmap_lock, write) or changes
 * protections (likewise).
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include "nom.h"
#include "nom_trace.h"
#include "nom_window.h"

#define NOM_MAP_KNOWN	(NOM_MAP_READ | NOM_MAP_WRITE | NOM_MAP_EXEC | NOM_MAP_HUGE | \
			 NOM_MAP_TRACK)

/* -------------------------------------------------------------- faults --- */

/*
 * Nothing is mapped there: the application's business.  Unless an entry of the
 * 2 MiB level was being exchanged when the processor looked (nom_fold.c): then
 * there is a page, and the access is to be tried again.
 */
static vm_fault_t nom_window_absent(struct vm_fault *vmf)
{
	/* partner: the release in nom_fold_begin() */
	if (likely(!smp_load_acquire(&nom_vma_grant(vmf->vma)->folds)))
		return VM_FAULT_SIGBUS;
	return nom_fold_settled(vmf) ? VM_FAULT_NOPAGE : VM_FAULT_SIGBUS;
}

static vm_fault_t nom_window_fault(struct vm_fault *vmf)
{
	return nom_window_absent(vmf);
}

/* Present and read-only, and written to: the application's business, too. */
static vm_fault_t nom_window_mkwrite(struct vm_fault *vmf)
{
	return VM_FAULT_SIGBUS;
}

static vm_fault_t nom_window_map_pages(struct vm_fault *vmf, pgoff_t start, pgoff_t end)
{
	return nom_window_absent(vmf);
}

static vm_fault_t nom_window_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	return order == PMD_ORDER ? nom_window_absent(vmf) : VM_FAULT_FALLBACK;
}

/* A debugger looks through the page tables, as the application would. */
static int nom_window_access(struct vm_area_struct *vma, unsigned long addr,
			     void *buf, int len, int write)
{
	struct follow_pfnmap_args args = { .vma = vma, .address = addr };
	int ret = -EFAULT;
	void *p;

	len = min_t(int, len, PAGE_SIZE - offset_in_page(addr));
	if (follow_pfnmap_start(&args))
		return -EFAULT;
	p = __va(PFN_PHYS(args.pfn)) + offset_in_page(addr);
	if (!write) {
		memcpy(buf, p, len);
		ret = len;
	} else if (args.writable) {
		memcpy(p, buf, len);
		ret = len;
	}
	follow_pfnmap_end(&args);
	return ret;
}

static void nom_window_open(struct vm_area_struct *vma)
{
	struct nom_window *window = vma->vm_private_data;

	refcount_inc(&window->ref);
}

static void nom_window_close(struct vm_area_struct *vma)
{
	struct nom_window *window = vma->vm_private_data;
	struct nom_grant *grant = nom_vma_grant(vma);

	mutex_lock(&grant->lock);
	if (grant->near == vma)
		grant->near = NULL;
	mutex_unlock(&grant->lock);
	if (!refcount_dec_and_test(&window->ref))
		return;
	atomic64_sub(window->mapped, &grant->extent->mapped);
	kfree(window);
}

static int nom_window_may_split(struct vm_area_struct *vma, unsigned long addr)
{
	return -EINVAL;
}

static int nom_window_mremap(struct vm_area_struct *vma)
{
	return -EINVAL;
}

const struct vm_operations_struct nom_window_ops = {
	.open		= nom_window_open,
	.close		= nom_window_close,
	.may_split	= nom_window_may_split,
	.mremap		= nom_window_mremap,
	.fault		= nom_window_fault,
	.huge_fault	= nom_window_huge_fault,
	.map_pages	= nom_window_map_pages,
	.pfn_mkwrite	= nom_window_mkwrite,
	.access		= nom_window_access,
};

/**
 * nom_window_mmap - make a window
 * @grant: whose pages it may show
 * @vma: shared, offset NOM_GRANT_MMAP_WINDOW
 *
 * A window's pages have file offsets that mean nothing; they must not be those
 * of a view.
 *
 * Return: 0, -EINVAL (longer than NOM_GRANT_MMAP_DMA) or -ENOMEM.
 */
int nom_window_mmap(struct nom_grant *grant, struct vm_area_struct *vma)
{
	struct nom_window *window;

	if (vma->vm_end - vma->vm_start > NOM_GRANT_MMAP_DMA)
		return -EINVAL;
	window = kzalloc(sizeof(*window), GFP_KERNEL_ACCOUNT);
	if (!window)
		return -ENOMEM;
	refcount_set(&window->ref, 1);
	vma->vm_private_data = window;
	vma->vm_ops = &nom_window_ops;
	/* VM_IO also keeps MADV_DOFORK from undoing VM_DONTCOPY */
	vm_flags_set(vma, VM_PFNMAP | VM_IO | VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP);
	return 0;
}

/* ------------------------------------------------------------- entries --- */

struct nom_pte_ctx {
	struct nom_grant *grant;
	struct mm_struct *mm;
	u64 offset;		/* in the grant, of the next page */
	pgprot_t prot;
	u64 ad;			/* accessed and dirty bits of the entries to set */
	u64 bytes;		/* set, or counted */
};

/* apply_to_page_range(): the page table's lock is held. */
static int nom_pte_set(pte_t *pte, unsigned long addr, void *data)
{
	struct nom_pte_ctx *ctx = data;
	pte_t entry;

	if (!pte_none(ptep_get(pte)))
		return -EEXIST;
	entry = pfn_pte(PHYS_PFN(nom_pool_phys(ctx->grant->extent, ctx->offset)), ctx->prot);
	entry = pte_set_flags(pte_mkspecial(entry), ctx->ad);
	set_pte_at(ctx->mm, addr, pte, entry);
	ctx->offset += PAGE_SIZE;
	ctx->bytes += PAGE_SIZE;
	return 0;
}

/* apply_to_existing_page_range() calls this for what is mapped. */
static int nom_pte_count(pte_t *pte, unsigned long addr, void *data)
{
	struct nom_pte_ctx *ctx = data;

	ctx->bytes += PAGE_SIZE;
	return 0;
}

static int nom_pte_refuse(pte_t *pte, unsigned long addr, void *data)
{
	return -EEXIST;
}

/*
 * The 2 MiB level's entry for @addr, NULL if there is no such level yet.
 *
 * Page tables below a VMA are freed with the VMA (mmap_lock held for writing),
 * or by khugepaged, which leaves VM_PFNMAP alone.  So with mmap_lock held the
 * tables stay, and with the grant's lock held an entry stays what it is: empty,
 * a table, or a 2 MiB leaf.
 */
pmd_t *nom_pmd_find(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;

	if (pgd_none(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d))
		return NULL;
	pud = pud_offset(p4d, addr);
	if (pud_none(*pud))
		return NULL;
	return pmd_offset(pud, addr);
}

pmd_t nom_pmd_get(struct mm_struct *mm, unsigned long addr)
{
	pmd_t *pmd = nom_pmd_find(mm, addr);

	return pmd ? pmdp_get_lockless(pmd) : __pmd(0);
}

pgprot_t nom_entry_prot(const struct vm_area_struct *vma, u32 flags)
{
	unsigned long vm_flags = vma->vm_flags & ~(VM_WRITE | VM_EXEC);

	/* NOM_MAP_READ is there always, and in the window */
	if (flags & NOM_MAP_WRITE)
		vm_flags |= VM_WRITE;
	if (flags & NOM_MAP_EXEC)
		vm_flags |= VM_EXEC;
	/* accessed or not is nom_entry_ad()'s */
	return __pgprot(pgprot_val(vm_get_page_prot(vm_flags)) & ~_PAGE_ACCESSED);
}

/* Small entries for [addr, addr + bytes), which lies below one page table. */
static int nom_map_small(struct nom_pte_ctx *ctx, unsigned long addr, u64 bytes)
{
	pmd_t *pmd = nom_pmd_find(ctx->mm, addr);
	spinlock_t *ptl;	/* the page table's */
	int ret = 0;
	pte_t *pte;

	if (unlikely(!pmd || pmd_none(*pmd)))
		return apply_to_page_range(ctx->mm, addr, bytes, nom_pte_set, ctx);
	if (unlikely(pmd_leaf(*pmd)))
		return -EEXIST;

	ptl = pte_lockptr(ctx->mm, pmd);
	pte = pte_offset_kernel(pmd, addr);
	spin_lock(ptl);
	for (; bytes && !ret; bytes -= PAGE_SIZE, addr += PAGE_SIZE)
		ret = nom_pte_set(pte++, addr, ctx);
	spin_unlock(ptl);
	return ret;
}

/* One 2 MiB entry at @addr, which is aligned to it. */
static int nom_map_huge(struct vm_area_struct *vma, struct nom_pte_ctx *ctx,
			unsigned long addr)
{
	pmd_t *pmd = nom_pmd_find(ctx->mm, addr);
	spinlock_t *ptl;
	pmd_t entry;
	int ret;

	if (!nom_huge_works())
		return -EOPNOTSUPP;
	if (!pmd) {
		if (handle_mm_fault(vma, addr, 0, NULL) & VM_FAULT_OOM)
			return -ENOMEM;
		pmd = nom_pmd_find(ctx->mm, addr);
		if (!pmd)
			return -ENOMEM;
	}
	if (pmd_leaf(*pmd))
		return -EEXIST;
	if (!pmd_none(*pmd)) {
		ret = apply_to_existing_page_range(ctx->mm, addr, NOM_CHUNK_BYTES,
						   nom_pte_refuse, NULL);
		if (ret)
			return ret;
	}

	entry = pfn_pmd(PHYS_PFN(nom_pool_phys(ctx->grant->extent, ctx->offset)), ctx->prot);
	entry = pmd_set_flags(pmd_mkspecial(pmd_mkhuge(entry)), ctx->ad);
	if (pmd_none(*pmd)) {
		ptl = pmd_lock(ctx->mm, pmd);
		set_pmd_at(ctx->mm, addr, pmd, entry);
		spin_unlock(ptl);
	} else {
		nom_fold_empty(vma, addr, pmd, entry);
	}
	ctx->offset += NOM_CHUNK_BYTES;
	ctx->bytes += NOM_CHUNK_BYTES;
	return 0;
}

/*
 * The window of @grant that has all of [addr, addr + bytes), or NULL.  @near is
 * where the entry before was, or NULL.
 */
struct vm_area_struct *nom_window_find(struct nom_grant *grant, struct mm_struct *mm,
				       u64 addr, u64 bytes, struct vm_area_struct *near)
{
	struct vm_area_struct *vma = near;

	if (!vma || addr < vma->vm_start || addr >= vma->vm_end) {
		vma = vma_lookup(mm, addr);
		if (!vma || !nom_vma_is_window(vma) || nom_vma_grant(vma) != grant)
			return NULL;
	}
	return bytes <= vma->vm_end - addr ? vma : NULL;
}

/* Not more than the window allows; reading is part of every other access. */
int nom_entry_allowed(const struct vm_area_struct *vma, u32 flags)
{
	if (unlikely(!(vma->vm_flags & VM_READ) ||
		     (flags & NOM_MAP_WRITE && !(vma->vm_flags & VM_WRITE)) ||
		     (flags & NOM_MAP_EXEC && !(vma->vm_flags & VM_EXEC))))
		return -EPERM;
	return 0;
}

/*
 * Accessed and dirty bits of a new entry.  Dirty from the start, if it is
 * writable: then no processor need set the bit, and mprotect() of the window to
 * and fro keeps it writable.  NOM_MAP_TRACK leaves both to the processors.
 */
static u64 nom_entry_ad(u32 flags)
{
	if (unlikely(flags & NOM_MAP_TRACK))
		return 0;
	return flags & NOM_MAP_WRITE ? _PAGE_ACCESSED | _PAGE_DIRTY | _PAGE_SOFT_DIRTY :
				       _PAGE_ACCESSED;
}

/* mmap_lock and the grant's lock are held; *near is nom_window_find()'s. */
static int nom_map_entry(struct nom_grant *grant, struct mm_struct *mm,
			 const struct nom_map_entry *e, struct vm_area_struct **near)
{
	unsigned long align = e->flags & NOM_MAP_HUGE ? NOM_CHUNK_BYTES : PAGE_SIZE;
	struct nom_pte_ctx ctx = { .grant = grant, .mm = mm, .offset = e->offset };
	struct vm_area_struct *vma;
	u64 total, addr, next;
	int ret;

	if (unlikely(e->flags & ~NOM_MAP_KNOWN))
		return -EOPNOTSUPP;
	total = (u64)grant->extent->nr << NOM_CHUNK_SHIFT;
	if (unlikely(e->reserved || !e->bytes || !(e->flags & NOM_MAP_READ) ||
		     (e->va | e->offset | e->bytes) & (align - 1) ||
		     e->offset >= total || e->bytes > total - e->offset))
		return -EINVAL;
	if (unlikely(grant->extent->nr_gone) &&
	    !nom_extent_has(grant->extent, e->offset, e->bytes))
		return -ENXIO;
	vma = nom_window_find(grant, mm, e->va, e->bytes, *near);
	if (unlikely(!vma))
		return -EFAULT;
	*near = vma;
	ret = nom_entry_allowed(vma, e->flags);
	if (unlikely(ret))
		return ret;

	ctx.prot = nom_entry_prot(vma, e->flags);
	ctx.ad = nom_entry_ad(e->flags);
	addr = e->va;
	for (;;) {
		next = nom_piece_end(addr, e->va + e->bytes);
		if (e->flags & NOM_MAP_HUGE)
			ret = nom_map_huge(vma, &ctx, addr);
		else
			ret = nom_map_small(&ctx, addr, next - addr);
		addr = next;
		if (ret || addr >= e->va + e->bytes)
			break;
		cond_resched();
	}

	if (unlikely(ret)) {
		/* whole or not at all */
		if (ctx.bytes)
			zap_vma_ptes(vma, e->va, ctx.bytes);
		return ret;
	}
	nom_window_account(vma, ctx.bytes);
	return 0;
}

static int nom_unmap_entry(struct nom_grant *grant, struct mm_struct *mm,
			   const struct nom_map_entry *e, struct vm_area_struct **near)
{
	unsigned long align = e->flags & NOM_MAP_HUGE ? NOM_CHUNK_BYTES : PAGE_SIZE;
	struct nom_pte_ctx ctx = { .grant = grant, .mm = mm };
	struct vm_area_struct *vma;
	u64 addr, end, next;
	pmd_t pmd;

	if (e->flags & ~NOM_MAP_KNOWN)
		return -EOPNOTSUPP;
	if (e->reserved || !e->bytes || (e->va | e->bytes) & (align - 1))
		return -EINVAL;
	vma = nom_window_find(grant, mm, e->va, e->bytes, *near);
	if (!vma)
		return -EFAULT;
	*near = vma;

	end = e->va + e->bytes;
	for (addr = e->va; addr < end; addr = next) {
		next = nom_piece_end(addr, end);
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
		if (!nom_pmd_find(mm, addr)) {
			next = min(end, ALIGN_DOWN(addr, PUD_SIZE) + PUD_SIZE);
			continue;
		}
		pmd = nom_pmd_get(mm, addr);
		if (pmd_none(pmd))
			continue;
		if (!pmd_leaf(pmd))
			apply_to_existing_page_range(mm, addr, next - addr, nom_pte_count, &ctx);
		else if (next - addr == NOM_CHUNK_BYTES)
			ctx.bytes += NOM_CHUNK_BYTES;
		else
			return -EINVAL;	/* would take the rest of the entry away, too */
	}
	if (!ctx.bytes)
		return 0;
	zap_vma_ptes(vma, e->va, e->bytes);
	nom_window_account(vma, -(s64)ctx.bytes);
	return 0;
}

/* --------------------------------------------------------------- ioctl --- */

static int nom_map_one(struct nom_grant *grant, struct mm_struct *mm,
		       const struct nom_map_entry *e, struct vm_area_struct **near)
{
	int ret = nom_map_entry(grant, mm, e, near);

	trace_nom_map(grant->extent->id, true, e->va, e->offset, e->bytes, e->flags, ret);
	return ret;
}

static int nom_unmap_one(struct nom_grant *grant, struct mm_struct *mm,
			 const struct nom_map_entry *e, struct vm_area_struct **near)
{
	int ret = nom_unmap_entry(grant, mm, e, near);

	trace_nom_map(grant->extent->id, false, e->va, e->offset, e->bytes, e->flags, ret);
	return ret;
}

static int nom_batch_map(struct nom_grant *grant, const struct nom_map_entry *e,
			 unsigned int nr, u32 *done)
{
	return nom_for_entries(grant, e, nr, done, nom_map_one);
}

static int nom_batch_unmap(struct nom_grant *grant, const struct nom_map_entry *e,
			   unsigned int nr, u32 *done)
{
	return nom_for_entries(grant, e, nr, done, nom_unmap_one);
}

/**
 * nom_ioctl_mem_map - ioctl(NOM_MEM_MAP)
 * @grant: the descriptor's
 * @arg: struct nom_mem_map
 *
 * Return: as in the uapi header.
 */
long nom_ioctl_mem_map(struct nom_grant *grant, void __user *arg)
{
	return nom_for_batches(grant, arg, nom_batch_map);
}

/**
 * nom_ioctl_mem_unmap - ioctl(NOM_MEM_UNMAP)
 * @grant: the descriptor's
 * @arg: struct nom_mem_map
 *
 * Return: as in the uapi header.
 */
int nom_ioctl_mem_unmap(struct nom_grant *grant, void __user *arg)
{
	return nom_for_batches(grant, arg, nom_batch_unmap);
}
