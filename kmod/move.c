// SPDX-License-Identifier: GPL-2.0-only
/*
 * Moves. A granule is copied while it is mapped and then switched:
 *   1. dirty bits are cleared, and all TLBs flushed: a CPU that cached a dirty leaf would not set the
 *      bit again;
 *   2. copy;
 *   3. the granule is unlinked everywhere, and flushed: now the dirty bits and the counts of
 *      references are final;
 *   4. what was written meanwhile is copied again, what is pinned stays, all else is switched.
 * Whoever touches the granule between 3 and the end waits in its fault.
 */
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "internal.h"

struct batch {
	unsigned int n;
	u16 leaf[GRANULE_PAGES];
	unsigned long from[GRANULE_PAGES], to[GRANULE_PAGES];
	bool bad[GRANULE_PAGES];   /* could not be read */
	bool dirty[GRANULE_PAGES]; /* before the move */
};

/* Leaves that are elsewhere than in @target. */
static void collect(struct granule *g, unsigned int first, unsigned int end, struct pool *target,
		    struct batch *b, struct morsel_move_range *range)
{
	struct frame_memo memo = {};
	unsigned int i;

	b->n = 0;
	for (i = first; i < end; i++) {
		pte_t leaf = READ_ONCE(table_leaves(g->table[TABLE_RW])[i]);

		if (!pte_present(leaf)) {
			range->absent += PAGE_SIZE;
		} else if (frame_pool_near(&memo, pte_pfn(leaf)) == target) {
			range->already += PAGE_SIZE;
		} else {
			b->leaf[b->n] = i;
			b->bad[b->n] = false;
			b->from[b->n++] = pte_pfn(leaf);
		}
	}
}

void move_fail(struct morsel_move_range *range, int r, unsigned int n)
{
	if (n > 0 && !range->result)
		range->result = r;
	range->failed += (u64)n << PAGE_SHIFT;
}

/* Charged frames for as much of the batch as there are; the rest is cut off and counted. */
static void take_frames(struct object *o, struct pool *target, struct batch *b,
			struct morsel_move_range *range)
{
	unsigned int got = 0, i;
	unsigned long pfn;

	if (b->n == GRANULE_PAGES && account_charge(o->account, target->tier, GRANULE_PAGES) == 0) {
		if (frame_get(target, LLFREE_HUGE_ORDER, &pfn) >= 0) {
			for (i = 0; i < GRANULE_PAGES; i++)
				b->to[i] = pfn + i;
			return;
		}
		account_uncharge(o->account, target->tier, GRANULE_PAGES);
	}
	for (; got < b->n; got++) {
		if (account_charge(o->account, target->tier, 1) < 0) {
			move_fail(range, -EDQUOT, b->n - got);
			break;
		}
		if (frame_get(target, 0, &b->to[got]) < 0) {
			account_uncharge(o->account, target->tier, 1);
			move_fail(range, -ENOMEM, b->n - got);
			break;
		}
	}
	b->n = got;
}

static void clear_dirty(struct granule *g, struct batch *b)
{
	struct page *table = g->table[TABLE_RW];
	unsigned int k;

	spin_lock(table_lock(table));
	for (k = 0; k < b->n; k++)
		b->dirty[k] = test_and_clear_bit(_PAGE_BIT_DIRTY,
						 (unsigned long *)&table_leaves(table)[b->leaf[k]]);
	spin_unlock(table_lock(table));
}

/* With object.frames held for writing, and the granule unlinked. After it to[] is what is to be freed. */
static void switch_leaves(struct object *o, struct granule *g, struct pool *target, struct batch *b,
			  struct morsel_move_range *range)
{
	unsigned int k, busy = 0, bad = 0, moved = 0;
	struct frame_memo memo = {};

	for (k = 0; k < b->n; k++) {
		pte_t old = table_clear(g, b->leaf[k]);
		/* Once: a walker by frame numbers may hold a page for a moment. */
		bool pinned = frame_is_pinned_near(&memo, b->from[k]);

		/* Pins first: what is pinned may be written without a dirty bit. */
		if (pinned) {
			busy++;
		} else if (!b->bad[k] && pte_dirty(old)) {
			atomic64_inc(&morsel_count.move_recopied);
			b->bad[k] = !frame_copy(b->to[k], b->from[k]);
			bad += b->bad[k];
		} else {
			bad += b->bad[k];
		}
		if (b->dirty[k])
			old = pte_mkdirty(old);
		if (pinned || b->bad[k]) {
			table_replace(g, b->leaf[k], b->from[k], old);
			continue;
		}
		table_replace(g, b->leaf[k], b->to[k], old);
		swap(b->from[k], b->to[k]);
		atomic64_dec(&o->in_pool[frame_pool_near(&memo, b->to[k])->id]);
		atomic64_inc(&o->in_pool[target->id]);
		moved++;
	}
	move_fail(range, -EBUSY, busy);
	move_fail(range, -EIO, bad);
	range->moved += (u64)moved << PAGE_SHIFT;
	atomic64_add(moved, &morsel_count.moved);
	atomic64_add(busy, &morsel_count.move_busy);
}

/* With object.change held. */
static void move_granule(struct object *o, unsigned long n, unsigned int first, unsigned int end,
			 struct pool *target, struct batch *b, struct morsel_move_range *range)
{
	struct granule *g = &o->granule[n];
	unsigned int k;
	int r;

	if (leaf_is_huge(READ_ONCE(g->leaf))) {
		if (end - first == GRANULE_PAGES) {
			huge_move(o, n, target, range);
			return;
		}
		if (frame_pool(leaf_pfn(g->leaf)) == target) {
			range->already += (u64)(end - first) << PAGE_SHIFT;
			return;
		}
		r = huge_split(o, n);
		if (r < 0) {
			move_fail(range, r, end - first);
			return;
		}
	}
	if (!g->table[TABLE_RW]) {
		range->absent += (u64)(end - first) << PAGE_SHIFT;
		return;
	}
	collect(g, first, end, target, b, range);
	take_frames(o, target, b, range);
	if (!b->n)
		return;
	clear_dirty(g, b);
#ifndef MORSEL_BREAK_FIRST_FLUSH
	tlb_flush_object(o);
#endif
	for (k = 0; k < b->n; k++)
		b->bad[k] = !frame_copy(b->to[k], b->from[k]);

	down_write(&o->frames);
	object_unlink(o, n, 1);
	switch_leaves(o, g, target, b, range);
	up_write(&o->frames);
	/* Old frames, and the new ones of what stayed: each is charged to its pool's tier. */
	frames_put(b->to, b->n, o->account);
}

int object_move(struct object *o, struct morsel_move_range *range)
{
	u64 page = range->offset >> PAGE_SHIFT, end = (range->offset + range->length) >> PAGE_SHIFT;
	struct pool *target;
	struct batch *b;
	int r;

	r = object_check_range(o, range->offset, range->length);
	if (r < 0)
		return r;
	b = morsel_inject() ? NULL : kmalloc(sizeof(*b), GFP_KERNEL);
	if (!b)
		return -ENOMEM;
	mutex_lock(&morsel_lock);
	target = pool_find(range->pool);
	r = !target ? -ENOENT : pool_is_extents(target) ? -EOPNOTSUPP : 0;
	if (r >= 0)
		target->users++;
	mutex_unlock(&morsel_lock);
	if (r < 0) {
		kfree(b);
		return r;
	}
	r = mutex_lock_killable(&o->change);
	while (r >= 0 && page < end) {
		u64 stop = min(end, (page / GRANULE_PAGES + 1) * GRANULE_PAGES);

		move_granule(o, page / GRANULE_PAGES, page % GRANULE_PAGES,
			     (stop - 1) % GRANULE_PAGES + 1, target, b, range);
		page = stop;
		cond_resched();
		if (page < end && task_sigpending(current))
			r = -EINTR;
		if (r == -EINTR || page == end)
			mutex_unlock(&o->change);
	}
	mutex_lock(&morsel_lock);
	target->users--;
	mutex_unlock(&morsel_lock);
	kfree(b);
	return r;
}
