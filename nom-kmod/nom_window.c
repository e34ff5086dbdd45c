// SPDX-License-Identifier: GPL-2.0
/*
 * nom: address space that shows a grant - windows and DMA views.
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
 *  - 2 MiB entries go through handle_mm_fault() and our ->huge_fault, because
 *    vmf_insert_pfn_pmd() wants the state of a fault.  The grant says who is
 *    inserting what (@huge_task); every other task's fault is refused.
 *  - A page table that is in the way of a 2 MiB entry cannot be freed from
 *    here; if it is empty, it is filled with 512 small entries instead.
 *
 * A window is never split, moved or inherited, so one VMA is one window, from
 * mmap to munmap.  Page table entries in it are added and removed under
 * mmap_lock (read) and the grant's lock; the kernel itself only takes a whole
 * window away (mmap_lock, write) or changes protections (likewise).
 *
 * A *DMA view* maps counted pages that get_user_pages() may pin.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/mm.h>
#include <linux/pfn_t.h>
#include <linux/refcount.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "nom.h"
#include "nom_trace.h"

#define NOM_MAP_BATCH	8	/* entries fetched at once; they are on the stack */
#define NOM_MAP_KNOWN	(NOM_MAP_READ | NOM_MAP_WRITE | NOM_MAP_EXEC | NOM_MAP_HUGE)

/**
 * struct nom_window - what a window's VMA points to
 * @ref: a failing mremap() makes a second VMA for a moment
 * @mapped: bytes mapped, under the grant's lock
 */
struct nom_window {
	refcount_t ref;
	u64 mapped;
};

static struct nom_grant *nom_vma_grant(const struct vm_area_struct *vma)
{
	return vma->vm_file->private_data;
}

/* -------------------------------------------------------------- faults --- */

/* Nothing is mapped there: the application's business. */
static vm_fault_t nom_window_fault(struct vm_fault *vmf)
{
	return VM_FAULT_SIGBUS;
}

static vm_fault_t nom_window_map_pages(struct vm_fault *vmf, pgoff_t start, pgoff_t end)
{
	return VM_FAULT_SIGBUS;
}

static vm_fault_t nom_window_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	struct nom_grant *grant = nom_vma_grant(vmf->vma);
	pfn_t pfn;

	/* only the task that put itself there finds itself there */
	if (READ_ONCE(grant->huge_task) != current)
		return VM_FAULT_SIGBUS;
	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) || order != PMD_ORDER)
		return VM_FAULT_FALLBACK;
	if (!pmd_none(*vmf->pmd))
		return VM_FAULT_SIGBUS;
	grant->huge_done = true;
	pfn = pfn_to_pfn_t(grant->huge_pfn);
	return vmf_insert_pfn_pmd(vmf, pfn, vmf->flags & FAULT_FLAG_WRITE);
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

	if (!refcount_dec_and_test(&window->ref))
		return;
	atomic64_sub(window->mapped, &nom_vma_grant(vma)->extent->mapped);
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

static const struct vm_operations_struct nom_window_ops = {
	.open		= nom_window_open,
	.close		= nom_window_close,
	.may_split	= nom_window_may_split,
	.mremap		= nom_window_mremap,
	.fault		= nom_window_fault,
	.huge_fault	= nom_window_huge_fault,
	.map_pages	= nom_window_map_pages,
	.pfn_mkwrite	= nom_window_fault,
	.access		= nom_window_access,
};

/**
 * nom_window_huge_works - can this machine map 2 MiB at a time?
 */
bool nom_window_huge_works(void)
{
	return IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) && has_transparent_hugepage();
}

/**
 * nom_window_mmap - make a window
 * @grant: whose pages it may show
 * @vma: shared, offset NOM_GRANT_MMAP_WINDOW
 *
 * Return: 0 or -ENOMEM.
 */
int nom_window_mmap(struct nom_grant *grant, struct vm_area_struct *vma)
{
	struct nom_window *window;

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
	bool write;
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
	entry = pte_mkspecial(pte_mkyoung(entry));
	/* dirty from the start: mprotect() to and fro keeps it writable */
	if (ctx->write)
		entry = pte_mkdirty(entry);
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
static pmd_t *nom_pmd_find(struct mm_struct *mm, unsigned long addr)
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

static pmd_t nom_pmd_get(struct mm_struct *mm, unsigned long addr)
{
	pmd_t *pmd = nom_pmd_find(mm, addr);

	return pmd ? pmdp_get_lockless(pmd) : __pmd(0);
}

static pgprot_t nom_entry_prot(const struct vm_area_struct *vma, u32 flags)
{
	unsigned long vm_flags = vma->vm_flags & ~(VM_WRITE | VM_EXEC);

	/* NOM_MAP_READ is there always, and in the window */
	if (flags & NOM_MAP_WRITE)
		vm_flags |= VM_WRITE;
	if (flags & NOM_MAP_EXEC)
		vm_flags |= VM_EXEC;
	return vm_get_page_prot(vm_flags);
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

static int nom_map_huge(struct vm_area_struct *vma, struct nom_pte_ctx *ctx,
			unsigned long addr)
{
	struct nom_grant *grant = ctx->grant;
	pmd_t pmd = nom_pmd_get(ctx->mm, addr);
	vm_fault_t fault;
	int ret;

	if (pmd_leaf(pmd))
		return -EEXIST;
	if (!pmd_none(pmd)) {
		ret = apply_to_existing_page_range(ctx->mm, addr, NOM_CHUNK_BYTES,
						   nom_pte_refuse, NULL);
		return ret ?: nom_map_small(ctx, addr, NOM_CHUNK_BYTES);
	}

	grant->huge_pfn = PHYS_PFN(nom_pool_phys(grant->extent, ctx->offset));
	grant->huge_done = false;
	WRITE_ONCE(grant->huge_task, current);
	fault = handle_mm_fault(vma, addr, ctx->write ? FAULT_FLAG_WRITE : 0, NULL);
	WRITE_ONCE(grant->huge_task, NULL);
	if (!grant->huge_done)
		return fault & VM_FAULT_OOM ? -ENOMEM : -EOPNOTSUPP;
	if (fault & VM_FAULT_ERROR)
		return fault & VM_FAULT_OOM ? -ENOMEM : -EFAULT;
	ctx->offset += NOM_CHUNK_BYTES;
	ctx->bytes += NOM_CHUNK_BYTES;
	return 0;
}

/*
 * The window of @grant that has all of [addr, addr + bytes), or NULL.  @near is
 * where the entry before was, or NULL.
 */
static struct vm_area_struct *nom_window_find(struct nom_grant *grant,
					      struct mm_struct *mm, u64 addr, u64 bytes,
					      struct vm_area_struct *near)
{
	struct vm_area_struct *vma = near;

	if (!vma || addr < vma->vm_start || addr >= vma->vm_end) {
		vma = vma_lookup(mm, addr);
		if (!vma || vma->vm_ops != &nom_window_ops || nom_vma_grant(vma) != grant)
			return NULL;
	}
	return bytes <= vma->vm_end - addr ? vma : NULL;
}

/* mmap_lock and the grant's lock are held; *near is nom_window_find()'s. */
static int nom_map_entry(struct nom_grant *grant, struct mm_struct *mm,
			 const struct nom_map_entry *e, struct vm_area_struct **near)
{
	unsigned long align = e->flags & NOM_MAP_HUGE ? NOM_CHUNK_BYTES : PAGE_SIZE;
	struct nom_pte_ctx ctx = { .grant = grant, .mm = mm, .offset = e->offset };
	struct vm_area_struct *vma;
	struct nom_window *window;
	u64 total, addr, piece;
	int ret;

	if (unlikely(e->flags & ~NOM_MAP_KNOWN))
		return -EOPNOTSUPP;
	total = (u64)grant->extent->nr << NOM_CHUNK_SHIFT;
	if (unlikely(e->reserved || !e->bytes || !(e->flags & NOM_MAP_READ) ||
		     (e->va | e->offset | e->bytes) & (align - 1) ||
		     e->offset >= total || e->bytes > total - e->offset))
		return -EINVAL;
	vma = nom_window_find(grant, mm, e->va, e->bytes, *near);
	if (unlikely(!vma))
		return -EFAULT;
	*near = vma;
	if (unlikely(!(vma->vm_flags & VM_READ) ||
		     (e->flags & NOM_MAP_WRITE && !(vma->vm_flags & VM_WRITE)) ||
		     (e->flags & NOM_MAP_EXEC && !(vma->vm_flags & VM_EXEC))))
		return -EPERM;
	/* a 2 MiB entry takes its executability from the window */
	if (e->flags & NOM_MAP_HUGE &&
	    !(e->flags & NOM_MAP_EXEC) != !(vma->vm_flags & VM_EXEC))
		return -EOPNOTSUPP;

	ctx.prot = nom_entry_prot(vma, e->flags);
	ctx.write = e->flags & NOM_MAP_WRITE;
	addr = e->va;
	do {
		piece = min(e->va + e->bytes, ALIGN_DOWN(addr, NOM_CHUNK_BYTES) +
			    NOM_CHUNK_BYTES) - addr;
		if (e->flags & NOM_MAP_HUGE)
			ret = nom_map_huge(vma, &ctx, addr);
		else
			ret = nom_map_small(&ctx, addr, piece);
		addr += piece;
		cond_resched();
	} while (!ret && addr < e->va + e->bytes);

	if (unlikely(ret)) {
		/* whole or not at all */
		if (ctx.bytes)
			zap_vma_ptes(vma, e->va, ctx.bytes);
		return ret;
	}
	window = vma->vm_private_data;
	window->mapped += ctx.bytes;
	atomic64_add(ctx.bytes, &grant->extent->mapped);
	return 0;
}

static int nom_unmap_entry(struct nom_grant *grant, struct mm_struct *mm,
			   const struct nom_map_entry *e, struct vm_area_struct **near)
{
	unsigned long align = e->flags & NOM_MAP_HUGE ? NOM_CHUNK_BYTES : PAGE_SIZE;
	struct nom_pte_ctx ctx = { .grant = grant, .mm = mm };
	struct vm_area_struct *vma;
	struct nom_window *window;
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
		next = min(end, ALIGN_DOWN(addr, NOM_CHUNK_BYTES) + NOM_CHUNK_BYTES);
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
	window = vma->vm_private_data;
	window->mapped -= ctx.bytes;
	atomic64_sub(ctx.bytes, &grant->extent->mapped);
	return 0;
}

/* --------------------------------------------------------------- ioctl --- */

/* The usual size by plain loads; a string move costs more for so little. */
static int nom_map_fetch(struct nom_mem_map *m, const void __user *arg)
{
	const struct nom_mem_map __user *u = arg;
	size_t usize;

	if (!user_read_access_begin(u, sizeof(*u)))
		return -EFAULT;
	unsafe_get_user(m->size, &u->size, efault);
	unsafe_get_user(m->nr, &u->nr, efault);
	unsafe_get_user(m->entries, &u->entries, efault);
	unsafe_get_user(m->flags, &u->flags, efault);
	user_read_access_end();
	if (likely(m->size == sizeof(*m)))
		return 0;
	return nom_struct_in(m, sizeof(*m), sizeof(*m), arg, &usize);
efault:
	user_read_access_end();
	return -EFAULT;
}

static int nom_entries_fetch(struct nom_map_entry *e,
			     const struct nom_map_entry __user *u, unsigned int nr)
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

/* Carry out up to NOM_MAP_BATCH entries under one hold of the locks. */
static int nom_map_batch(struct nom_grant *grant, const struct nom_map_entry *e,
			 unsigned int nr, bool map, u32 *done)
{
	struct vm_area_struct *near = NULL;
	struct mm_struct *mm = current->mm;
	unsigned int i;
	int ret = 0;

	mmap_read_lock(mm);
	mutex_lock(&grant->lock);
	for (i = 0; i < nr; i++) {
		if (map)
			ret = nom_map_entry(grant, mm, &e[i], &near);
		else
			ret = nom_unmap_entry(grant, mm, &e[i], &near);
		trace_nom_map(grant->extent->id, map, e[i].va, e[i].offset,
			      e[i].bytes, e[i].flags, ret);
		if (unlikely(ret))
			break;
		++*done;
	}
	mutex_unlock(&grant->lock);
	mmap_read_unlock(mm);
	return ret;
}

/**
 * nom_ioctl_mem_map - ioctl(NOM_MEM_MAP) and ioctl(NOM_MEM_UNMAP)
 * @grant: the descriptor's
 * @arg: struct nom_mem_map
 * @map: which of the two
 *
 * Return: as in the uapi header.
 */
int nom_ioctl_mem_map(struct nom_grant *grant, void __user *arg, bool map)
{
	/* what is read of it is written before; zeroing it would cost 40 instructions */
	struct nom_map_entry batch[NOM_MAP_BATCH] __uninitialized;
	struct nom_mem_map __user *u = arg;
	struct nom_mem_map m;
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
		ret = nom_entries_fetch(batch, (struct nom_map_entry __user *)m.entries + done, nr);
		if (unlikely(ret))
			break;
		ret = nom_map_batch(grant, batch, nr, map, &done);
	} while (!ret && done < m.nr);

	if (put_user(done, &u->out_done))
		return -EFAULT;
	return ret;
}

/* ------------------------------------------------------------ DMA view --- */

static vm_fault_t nom_dma_view_fault(struct vm_fault *vmf)
{
	const struct nom_extent *extent = nom_vma_grant(vmf->vma)->extent;
	u64 offset = ((u64)vmf->pgoff << PAGE_SHIFT) - NOM_GRANT_MMAP_DMA;

	if (offset >> NOM_CHUNK_SHIFT >= extent->nr)
		return VM_FAULT_SIGBUS;
	vmf->page = pfn_to_page(PHYS_PFN(nom_pool_phys(extent, offset)));
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct nom_dma_view_ops = {
	.fault	= nom_dma_view_fault,
};

/**
 * nom_dma_view_mmap - map a part of a grant with counted pages
 * @grant: the grant
 * @vma: shared, offset NOM_GRANT_MMAP_DMA or more
 *
 * Return: 0, or -EINVAL (beyond the grant's end).
 */
int nom_dma_view_mmap(struct nom_grant *grant, struct vm_area_struct *vma)
{
	u64 offset = ((u64)vma->vm_pgoff << PAGE_SHIFT) - NOM_GRANT_MMAP_DMA;
	u64 bytes = vma->vm_end - vma->vm_start;
	u64 total = (u64)grant->extent->nr << NOM_CHUNK_SHIFT;

	if (offset >= total || bytes > total - offset)
		return -EINVAL;
	/* before the first page can be seen; release() reads it last */
	WRITE_ONCE(grant->extent->pinnable, true);
	vma->vm_ops = &nom_dma_view_ops;
	vm_flags_set(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP);
	return 0;
}
