// SPDX-License-Identifier: GPL-2.0-only
/* What the tables know: accessed and dirty bits, and where frames lie. */
#include <linux/bitmap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"

#define HARVEST_MAX (1ull << 30)
#define RESIDENCY_MAX (64ull << 30)

/* Of one table: sets bits from @at on. */
static void harvest_table(struct page *table, unsigned int first, unsigned int end, u32 flags,
			  unsigned long at, unsigned long *accessed, unsigned long *dirty)
{
	unsigned int i;

	for (i = first; i < end; i++, at++) {
		pte_t *leaf = &table_leaves(table)[i], old = READ_ONCE(*leaf);

		if (!pte_present(old))
			continue;
		if (pte_young(old)) {
			/* Atomic on its own: the kernel's walkers keep bits that they did not mean to change. */
			if (!(flags & MORSEL_HARVEST_KEEP))
				clear_bit(_PAGE_BIT_ACCESSED, (unsigned long *)leaf);
			__set_bit(at, accessed);
		}
		if (pte_dirty(old)) {
			if (flags & MORSEL_HARVEST_CLEAR_DIRTY)
				clear_bit(_PAGE_BIT_DIRTY, (unsigned long *)leaf);
			__set_bit(at, dirty);
		}
	}
}

/* Of a leaf of 2 MiB: its bits are those of all its pages. */
static void harvest_leaf(struct object *o, unsigned long granule, unsigned int pages, u32 flags,
			 unsigned long at, unsigned long *accessed, unsigned long *dirty)
{
	struct granule *g = &o->granule[granule];
	unsigned long clear = 0;

	if (!(flags & MORSEL_HARVEST_KEEP))
		clear |= _PAGE_ACCESSED;
	if (flags & MORSEL_HARVEST_CLEAR_DIRTY)
		clear |= _PAGE_DIRTY;
	object_gather(o, granule, clear);
	if (clear & _PAGE_ACCESSED ? test_and_clear_bit(_PAGE_BIT_ACCESSED, &g->leaf)
				   : test_bit(_PAGE_BIT_ACCESSED, &g->leaf))
		bitmap_set(accessed, at, pages);
	if (clear & _PAGE_DIRTY ? test_and_clear_bit(_PAGE_BIT_DIRTY, &g->leaf)
				: test_bit(_PAGE_BIT_DIRTY, &g->leaf))
		bitmap_set(dirty, at, pages);
}

static int harvest(struct object *o, struct morsel_harvest *arg, unsigned long *accessed,
		   unsigned long *dirty)
{
	u64 page = arg->offset >> PAGE_SHIFT, begin = page;
	u64 end = (arg->offset + arg->length) >> PAGE_SHIFT;
	int kind;

	while (page < end) {
		struct granule *g = &o->granule[page / GRANULE_PAGES];
		u64 stop = min(end, (page / GRANULE_PAGES + 1) * GRANULE_PAGES);
		unsigned int first = page % GRANULE_PAGES, last = first + (stop - page), i;

		if (leaf_is_huge(READ_ONCE(g->leaf))) {
			harvest_leaf(o, page / GRANULE_PAGES, stop - page, arg->flags, page - begin,
				     accessed, dirty);
			arg->present_pages += stop - page;
			goto next;
		}
		for (kind = 0; kind < TABLE_KINDS; kind++)
			if (g->table[kind])
				harvest_table(g->table[kind], first, last, arg->flags, page - begin,
					      accessed, dirty);
		if (g->table[TABLE_RW])
			for (i = first; i < last; i++)
				arg->present_pages +=
					pte_present(READ_ONCE(table_leaves(g->table[TABLE_RW])[i]));
	next:
		page = stop;
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

int object_harvest(struct object *o, struct morsel_harvest *arg)
{
	unsigned long bits = arg->length >> PAGE_SHIFT, *accessed, *dirty;
	size_t bytes = BITS_TO_LONGS(bits) * sizeof(long);
	int r;

	if (arg->flags & ~(MORSEL_HARVEST_FLUSH | MORSEL_HARVEST_KEEP | MORSEL_HARVEST_CLEAR_DIRTY))
		return -EINVAL;
	if (arg->length > HARVEST_MAX)
		return -ERANGE;
	r = object_check_range(o, arg->offset, arg->length);
	if (r < 0)
		return r;
	accessed = morsel_inject() ? NULL : kvzalloc(bytes, GFP_KERNEL);
	dirty = morsel_inject() ? NULL : kvzalloc(bytes, GFP_KERNEL);
	r = -ENOMEM;
	if (!accessed || !dirty)
		goto out;
	arg->present_pages = 0;
	r = mutex_lock_killable(&o->change);
	if (r < 0)
		goto out;
	r = harvest(o, arg, accessed, dirty);
	if (arg->flags & (MORSEL_HARVEST_FLUSH | MORSEL_HARVEST_CLEAR_DIRTY))
		tlb_flush_object(o);
	mutex_unlock(&o->change);
	if (r < 0)
		goto out;
	arg->accessed_pages = bitmap_weight(accessed, bits);
	if ((arg->accessed && copy_to_user(u64_to_user_ptr(arg->accessed), accessed, bytes)) ||
	    (arg->dirty && copy_to_user(u64_to_user_ptr(arg->dirty), dirty, bytes)))
		r = -EFAULT;
out:
	kvfree(accessed);
	kvfree(dirty);
	return r;
}

/* The pool of the granule's frames in bytes, and which it is for the caller's map. */
static u8 granule_pools(struct granule *g, unsigned int pages, u64 *pool_bytes)
{
	struct frame_memo memo = {};
	unsigned int i, id;
	int result = -1;

	if (leaf_is_huge(g->leaf)) {
		id = frame_pool_near(&memo, leaf_pfn(g->leaf))->id;
		pool_bytes[id] += (u64)pages << PAGE_SHIFT;
		return id;
	}
	for (i = 0; i < pages; i++) {
		pte_t leaf = __pte(0);

		if (g->table[TABLE_RW])
			leaf = READ_ONCE(table_leaves(g->table[TABLE_RW])[i]);
		if (!pte_present(leaf)) {
			pool_bytes[0] += PAGE_SIZE;
			continue;
		}
		id = frame_pool_near(&memo, pte_pfn(leaf))->id;
		pool_bytes[id] += PAGE_SIZE;
		result = result < 0 || result == id ? (int)id : MORSEL_MIXED;
	}
	return result < 0 ? 0 : result;
}

int object_residency(struct object *o, struct morsel_residency *arg)
{
	u8 __user *to = u64_to_user_ptr(arg->granules);
	u64 page = arg->offset >> PAGE_SHIFT, end;
	int r;

	if (arg->flags || !IS_ALIGNED(arg->offset, MORSEL_GRANULE) ||
	    (!IS_ALIGNED(arg->length, MORSEL_GRANULE) && arg->offset + arg->length != o->bytes))
		return -EINVAL;
	if (arg->length > RESIDENCY_MAX)
		return -ERANGE;
	r = object_check_range(o, arg->offset, arg->length);
	if (r < 0)
		return r;
	memset(arg->pool_bytes, 0, sizeof(arg->pool_bytes));
	end = (arg->offset + arg->length) >> PAGE_SHIFT;
	while (page < end && r >= 0) {
		u64 stop = min(end, page + GRANULE_PAGES);
		u8 pool;

		/* No frame is freed while it is looked up. */
		r = down_read_killable(&o->frames);
		if (r < 0)
			break;
		pool = granule_pools(&o->granule[page / GRANULE_PAGES], stop - page,
				     arg->pool_bytes);
		up_read(&o->frames);
		if (to && put_user(pool, to++))
			r = -EFAULT;
		page = stop;
		cond_resched();
	}
	return r;
}
