// SPDX-License-Identifier: GPL-2.0-only
/* Mappings: the first fault in a GiB links all that the object has in it; invalidations take the links away again. */
#include <linux/iommu.h>
#include <linux/log2.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "compat.h"
#include "internal.h"

static bool invalidate(struct mmu_interval_notifier *notifier,
		       const struct mmu_notifier_range *range, unsigned long seq)
{
	struct attach *a = container_of(notifier, struct attach, notifier);
	unsigned long start = max(range->start & PMD_MASK, a->start);
	unsigned long end = range->end >= a->end ? a->end : ALIGN(range->end, PMD_SIZE), n = 0;
	bool by_unlinker = READ_ONCE(a->object->unlinker) == current;

	/* Invalidation of less than a granule takes the whole link: the next touch makes it again. */
	spin_lock(&a->lock);
	mmu_interval_set_seq(notifier, seq);
	if (start < end)
		n = link_remove(a, start, end, by_unlinker);
	spin_unlock(&a->lock);
	atomic64_add(n, &morsel_count.unlinks);
	/* The kernel finds nothing to zap, and so flushes nothing itself. The unlinker flushes all at once. */
	if (n && !by_unlinker)
		tlb_flush_mm(a->mm);
	return true;
}

static const struct mmu_interval_notifier_ops notifier_ops = {
	.invalidate = invalidate,
};

/* With mmap_lock held for writing. -ENOMEM, -EINTR. */
static int attach(struct vm_area_struct *vma)
{
	unsigned long gibs = ((vma->vm_end - 1) >> PUD_SHIFT) - (vma->vm_start >> PUD_SHIFT) + 1;
	struct object *o = vma->vm_file->private_data;
	struct attach *a;
	int r;

	a = morsel_inject() ? NULL : kvzalloc(struct_size(a, own, gibs), GFP_KERNEL_ACCOUNT);
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
		kvfree(a);
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
	kvfree(a);
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
			link_make(a, vmf->address, seq);
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
	/* What one fault links lies between such borders: do not lie over one without need. */
	unsigned long most = LINK_WINDOW, at;
	unsigned long align = length < most ? roundup_pow_of_two(length) : most;

	/* mremap comes here too. */
	if (flags & MAP_FIXED && !IS_ALIGNED(address, PMD_SIZE))
		return -EINVAL;
	if (flags & MAP_FIXED || address || align <= PMD_SIZE || length + align < length)
		return thp_get_unmapped_area(file, address, length, offset, flags);
	at = thp_get_unmapped_area(file, 0, length + align, offset, flags);
	if (IS_ERR_VALUE(at))
		return thp_get_unmapped_area(file, address, length, offset, flags);
	/* So that the object's own borders are those of the addresses. */
	return at + (((offset << PAGE_SHIFT) - at) & (align - 1));
}

void object_gather(struct object *o, unsigned long granule, unsigned long clear)
{
	struct attach *a;

	directory_gather(o, granule, clear);
	spin_lock(&o->attach_lock);
	list_for_each_entry(a, &o->attaches, node) {
		if (granule - a->first >= (a->end - a->start) >> GRANULE_SHIFT)
			continue;
		spin_lock(&a->lock);
		if (a->copies)
			link_gather(a, granule, clear);
		spin_unlock(&a->lock);
	}
	spin_unlock(&o->attach_lock);
}

void object_unlink(struct object *o, unsigned long first, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		directory_clear(o, first + i);
	o->unlink_first = first;
	WRITE_ONCE(o->unlinker, current);
	/* KVM, HMM and others that follow the kernel's notifiers see it too. */
	unmap_mapping_range(o->inode->i_mapping, (loff_t)first << GRANULE_SHIFT,
			    (loff_t)count << GRANULE_SHIFT, 1);
	WRITE_ONCE(o->unlinker, NULL);
#ifndef MORSEL_BREAK_SECOND_FLUSH
	tlb_flush_object(o);
#endif
}

void object_relink(struct object *o, unsigned long first, unsigned int count)
{
	struct attach *a;
	unsigned int i;

	for (i = 0; i < count; i++)
		directory_sync(o, first + i);
	spin_lock(&o->attach_lock);
	list_for_each_entry(a, &o->attaches, node) {
		spin_lock(&a->lock);
		for_each_set_bit(i, &a->relink, BITS_PER_LONG)
			link_again(a, first + i);
		a->relink = 0;
		spin_unlock(&a->lock);
	}
	spin_unlock(&o->attach_lock);
}
