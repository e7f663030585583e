// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mappings: the first fault in a GiB links all tables of the object that lie in it into the
 * process's page middle directory; the kernel's invalidations take the links away again before it
 * looks at, or frees, what they lead to.
 */
#include <linux/iommu.h>
#include <linux/log2.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "compat.h"
#include "internal.h"

static pmd_t *find_pmd(struct mm_struct *mm, unsigned long address)
{
	pgd_t *pgd = pgd_offset(mm, address);
	p4d_t *p4d;
	pud_t *pud;

	if (pgd_none(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, address);
	if (p4d_none(*p4d))
		return NULL;
	pud = pud_offset(p4d, address);
	if (pud_none(*pud) || pud_leaf(*pud))
		return NULL;
	return pmd_offset(pud, address);
}

/* Of the granule: a link to its table, or a copy of its leaf. */
static bool is_ours(const struct attach *a, const struct granule *g, pmd_t pmd)
{
	unsigned long leaf = READ_ONCE(g->leaf);
	struct page *table = READ_ONCE(g->table[a->kind]);

	if (pmd_none(pmd))
		return false;
	if (pmd_leaf(pmd))
		return leaf_is_huge(leaf) && pmd_pfn(pmd) == leaf_pfn(leaf);
	return table && pmd_pfn(pmd) == page_to_pfn(table);
}

/* With attach.lock held. Only what is ours: a table that the kernel put there itself stays. */
static unsigned long unlink_range(struct attach *a, unsigned long start, unsigned long end)
{
	unsigned long address = start, next, n = 0;

	while (address < end) {
		pmd_t *pmd = find_pmd(a->mm, address);
		spinlock_t *lock;

		next = min(end, (address & PUD_MASK) + PUD_SIZE);
		if (!pmd) {
			address = next;
			continue;
		}
		lock = pmd_lock(a->mm, pmd);
		for (; address < next; address += PMD_SIZE, pmd++) {
			unsigned long i = a->first + ((address - a->start) >> GRANULE_SHIFT);
			struct granule *g = &a->object->granule[i];

			if (!is_ours(a, g, *pmd))
				continue;
			n++;
			if (!pmd_leaf(*pmd)) {
				set_pmd(pmd, __pmd(0));
				continue;
			}
			/* CPUs set bits in it by themselves. */
			leaf_join(g, native_make_pmd(xchg((pmdval_t *)pmd, 0)));
			a->copies--;
		}
		spin_unlock(lock);
	}
	return n;
}

static bool invalidate(struct mmu_interval_notifier *notifier,
		       const struct mmu_notifier_range *range, unsigned long seq)
{
	struct attach *a = container_of(notifier, struct attach, notifier);
	unsigned long start = max(range->start & PMD_MASK, a->start);
	unsigned long end = range->end >= a->end ? a->end : ALIGN(range->end, PMD_SIZE), n = 0;

	/* Invalidation of less than a granule takes the whole link: the next touch makes it again. */
	spin_lock(&a->lock);
	mmu_interval_set_seq(notifier, seq);
	if (start < end)
		n = unlink_range(a, start, end);
	spin_unlock(&a->lock);
	if (n) {
		atomic64_add(n, &morsel_count.unlinks);
#ifdef MORSEL_BREAK_SECOND_FLUSH
		if (!rwsem_is_locked(&a->object->frames))
#endif
			/* The kernel finds nothing to zap, and so flushes nothing itself. */
			tlb_flush_mm(a->mm);
	}
	return true;
}

static const struct mmu_interval_notifier_ops notifier_ops = {
	.invalidate = invalidate,
};

/* With mmap_lock held for writing. -ENOMEM, -EINTR. */
static int attach(struct vm_area_struct *vma)
{
	struct object *o = vma->vm_file->private_data;
	struct attach *a;
	int r;

	a = morsel_inject() ? NULL : kzalloc(sizeof(*a), GFP_KERNEL_ACCOUNT);
	if (!a)
		return -ENOMEM;
	a->object = o;
	a->mm = vma->vm_mm;
	a->start = vma->vm_start;
	a->end = vma->vm_end;
	a->first = vma->vm_pgoff / GRANULE_PAGES;
	a->kind = vma->vm_flags & VM_WRITE ? TABLE_RW : TABLE_RO;
	spin_lock_init(&a->lock);
	r = morsel_inject() ? -ENOMEM
			    : mmu_interval_notifier_insert_locked(&a->notifier, a->mm, a->start,
								  a->end - a->start, &notifier_ops);
	if (r < 0) {
		kfree(a);
		return r;
	}
	spin_lock(&o->attach_lock);
	list_add(&a->node, &o->attaches);
	spin_unlock(&o->attach_lock);
	/* Faults under the VMA's own lock may look at any time. */
	smp_store_release(&vma->vm_private_data, a);
	return 0;
}

static void count_mapping(struct object *o, int n)
{
	atomic64_add(n, &o->mappings);
	atomic64_add(n, &morsel_count.mappings);
}

/* A copy of a VMA, by fork or mremap: it attaches at its first fault, since this cannot fail. */
static void vma_open(struct vm_area_struct *vma)
{
	vma->vm_private_data = NULL;
	/* MADV_KEEPONFORK cleared it: the kernel must not copy what hangs off the links. */
	vm_flags_set(vma, VM_WIPEONFORK);
	count_mapping(vma->vm_file->private_data, 1);
}

static void vma_close(struct vm_area_struct *vma)
{
	struct object *o = vma->vm_file->private_data;
	struct attach *a = vma->vm_private_data;

	count_mapping(o, -1);
	if (!a)
		return;
	vma->vm_private_data = NULL;
	spin_lock(&o->attach_lock);
	list_del(&a->node);
	spin_unlock(&o->attach_lock);
	mmu_interval_notifier_remove(&a->notifier);
	kfree(a);
}

static int vma_may_split(struct vm_area_struct *vma, unsigned long address)
{
	return -EINVAL;
}

static int vma_mprotect(struct vm_area_struct *vma, unsigned long start, unsigned long end,
			unsigned long flags)
{
	return -EACCES;
}

/* Registering takes mmap_lock for writing, so the fault has to begin anew. */
static vm_fault_t attach_late(struct vm_fault *vmf)
{
	struct mm_struct *mm = vmf->vma->vm_mm;
	unsigned long address = vmf->address;
	struct vm_area_struct *vma;

	if (!(vmf->flags & FAULT_FLAG_ALLOW_RETRY))
		return VM_FAULT_SIGBUS;
	/* Whoever must not wait keeps the lock, and comes again in another way. */
	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;
	release_fault_lock(vmf);
	if (mmap_write_lock_killable(mm))
		return VM_FAULT_RETRY;
	vma = vma_lookup(mm, address);
	/* -EINTR, -ENOMEM: whoever comes again tries again. */
	if (vma && vma->vm_file && vma->vm_file->f_op == &object_fops && !vma->vm_private_data)
		attach(vma);
	mmap_write_unlock(mm);
	return VM_FAULT_RETRY;
}

/* With object.frames held. Does nothing if an invalidation came in between: the fault comes again. */
static void link_gib(struct vm_fault *vmf, struct attach *a, unsigned long seq)
{
	unsigned long start = max(vmf->address & PUD_MASK, a->start);
	unsigned long end = min((vmf->address & PUD_MASK) + PUD_SIZE, a->end), address, n = 0;
	pmd_t *pmd = vmf->pmd - pmd_index(vmf->address) + pmd_index(start);
	spinlock_t *lock;

	spin_lock(&a->lock);
	if (mmu_interval_read_retry(&a->notifier, seq))
		goto unlock;
	lock = pmd_lock(a->mm, pmd);
	for (address = start; address < end; address += PMD_SIZE, pmd++) {
		unsigned long i = a->first + ((address - a->start) >> GRANULE_SHIFT);
		struct granule *g = &a->object->granule[i];
		unsigned long leaf = smp_load_acquire(&g->leaf);
		struct page *table = smp_load_acquire(&g->table[a->kind]);

		if (!pmd_none(*pmd))
			continue;
		if (leaf_is_huge(leaf)) {
			set_pmd(pmd, leaf_copy(leaf, a->kind));
			a->copies++;
		} else if (table) {
			set_pmd(pmd, __pmd(page_to_phys(table) | _PAGE_TABLE));
		} else {
			continue;
		}
		n++;
	}
	spin_unlock(lock);
	atomic64_add(n, &a->object->links);
	atomic64_add(n, &morsel_count.links);
unlock:
	spin_unlock(&a->lock);
}

/* A read-only mapping of a granule that only writers have used: its table is made for all of a GiB. */
static int ready_ro_tables(struct vm_fault *vmf, struct attach *a)
{
	unsigned long start = max(vmf->address & PUD_MASK, a->start);
	unsigned long end = min((vmf->address & PUD_MASK) + PUD_SIZE, a->end), address;

	for (address = start; address < end; address += PMD_SIZE) {
		struct granule *g =
			&a->object->granule[a->first + ((address - a->start) >> GRANULE_SHIFT)];

		if (READ_ONCE(g->table[TABLE_RW]) && !table_get(a->object, g, TABLE_RO))
			return -ENOMEM;
	}
	return 0;
}

static vm_fault_t object_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct object *o = vma->vm_file->private_data;
	struct attach *a = smp_load_acquire(&vma->vm_private_data);
	unsigned long seq;
	int r;

	if (vmf->pgoff >= o->bytes >> PAGE_SHIFT)
		return VM_FAULT_SIGBUS;
	if (!a)
		return attach_late(vmf);
	atomic64_inc(&o->faults);
	atomic64_inc(&morsel_count.faults);
	seq = mmu_interval_read_begin(&a->notifier);
	if (down_read_killable(&o->frames) < 0)
		return VM_FAULT_NOPAGE;
	r = object_fill(o, vmf->pgoff, a->kind, NULL);
	if (r >= 0 && pmd_none(READ_ONCE(*vmf->pmd))) {
		if (a->kind == TABLE_RO)
			r = ready_ro_tables(vmf, a);
		if (r >= 0)
			link_gib(vmf, a, seq);
	}
	up_read(&o->frames);
	if (r == -EHWPOISON)
		return VM_FAULT_HWPOISON;
	/* Out of frames, or over the limit: the process's own affair, not the OOM killer's. */
	return r < 0 ? VM_FAULT_SIGBUS : VM_FAULT_NOPAGE;
}

static vm_fault_t object_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	if (order != PMD_ORDER)
		return VM_FAULT_FALLBACK;
	return object_fault(vmf);
}

static const struct vm_operations_struct vm_ops = {
	.open = vma_open,
	.close = vma_close,
	.may_split = vma_may_split,
	.mprotect = vma_mprotect,
	.fault = object_fault,
	.huge_fault = object_huge_fault,
};

int object_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct object *o = file->private_data;
	unsigned long first = vma->vm_pgoff / GRANULE_PAGES;
	int r;

	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EACCES;
	if (!IS_ALIGNED(vma->vm_start | vma->vm_end, PMD_SIZE) || vma->vm_pgoff % GRANULE_PAGES ||
	    first >= o->granules ||
	    (vma->vm_end - vma->vm_start) >> GRANULE_SHIFT > o->granules - first)
		return -EINVAL;
	/* A device that walks this mm's tables by itself would keep what is unlinked. */
	if (mm_valid_pasid(vma->vm_mm))
		return -EBUSY;
	r = attach(vma);
	if (r < 0)
		return r;
	vm_flags_mod(vma, VM_MIXEDMAP | VM_WIPEONFORK | VM_DONTEXPAND | VM_DONTDUMP | VM_HUGEPAGE,
		     VM_MAYEXEC);
	vma->vm_ops = &vm_ops;
	count_mapping(o, 1);
	return 0;
}

unsigned long object_get_area(struct file *file, unsigned long address, unsigned long length,
			      unsigned long offset, unsigned long flags)
{
	/* A GiB of addresses costs one fault: do not lie over the border of two without need. */
	unsigned long align = length < PUD_SIZE ? roundup_pow_of_two(length) : PUD_SIZE, at;

	/* mremap comes here too. */
	if (flags & MAP_FIXED && !IS_ALIGNED(address, PMD_SIZE))
		return -EINVAL;
	if (flags & MAP_FIXED || address || align <= PMD_SIZE || length + align < length)
		return thp_get_unmapped_area(file, address, length, offset, flags);
	at = thp_get_unmapped_area(file, 0, length + align, offset, flags);
	if (IS_ERR_VALUE(at))
		return thp_get_unmapped_area(file, address, length, offset, flags);
	/* So that the object's own borders of GiB are those of the addresses. */
	return at + (((offset << PAGE_SHIFT) - at) & (align - 1));
}

/* With attach.lock held. */
static void gather(struct attach *a, unsigned long granule, unsigned long clear)
{
	struct granule *g = &a->object->granule[granule];
	pmd_t *pmd = find_pmd(a->mm, a->start + ((granule - a->first) << GRANULE_SHIFT));
	spinlock_t *lock;

	if (!pmd)
		return;
	lock = pmd_lock(a->mm, pmd);
	if (pmd_leaf(*pmd) && is_ours(a, g, *pmd))
		leaf_join(g,
			  native_make_pmd(atomic_long_fetch_andnot(clear, (atomic_long_t *)pmd)));
	spin_unlock(lock);
}

void object_gather(struct object *o, unsigned long granule, unsigned long clear)
{
	struct attach *a;

	spin_lock(&o->attach_lock);
	list_for_each_entry(a, &o->attaches, node) {
		if (granule - a->first >= (a->end - a->start) >> GRANULE_SHIFT)
			continue;
		spin_lock(&a->lock);
		if (a->copies)
			gather(a, granule, clear);
		spin_unlock(&a->lock);
	}
	spin_unlock(&o->attach_lock);
}

void object_unlink(struct object *o, unsigned long first, unsigned long count)
{
	/* KVM, HMM and others that follow the kernel's notifiers see it too. */
	unmap_mapping_range(o->inode->i_mapping, (loff_t)first << GRANULE_SHIFT,
			    (loff_t)count << GRANULE_SHIFT, 1);
}
