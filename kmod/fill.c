// SPDX-License-Identifier: GPL-2.0-only
/* Frames come to objects and go. */
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "internal.h"

/* 2^order charged frames, zeroed. -EDQUOT: only limits were in the way; -ENOMEM. */
static int take(struct object *o, unsigned long granule, unsigned int order, struct pool **ret_pool,
		unsigned long *ret_pfn)
{
	struct pool *pools[MORSEL_MAX_TIERS];
	unsigned int n = placement_order(o, granule, order, pools), i;
	int r, result = -EDQUOT;

	for (i = 0; i < n; i++) {
		struct pool *pool = pools[i];

		r = account_charge(o->account, pool->tier, 1ul << order);
		if (r < 0)
			continue;
		r = frame_get(pool, order, ret_pfn);
		if (r >= 0) {
			frame_zero(*ret_pfn, order);
			*ret_pool = pool;
			return 0;
		}
		account_uncharge(o->account, pool->tier, 1ul << order);
		result = -ENOMEM;
	}
	return result;
}

static void give_back_new(struct object *o, struct pool *pool, unsigned long pfn,
			  unsigned int order)
{
	frame_put_new(pfn, order);
	account_uncharge(o->account, pool->tier, 1ul << order);
}

static void count_frames(struct object *o, struct pool *pool, long n)
{
	atomic64_add(n, &o->used);
	atomic64_add(n, &o->in_pool[pool->id]);
}

static bool granule_is_empty(const struct granule *g)
{
	unsigned int i;

	for (i = 0; i < GRANULE_PAGES; i++)
		if (!pte_none(READ_ONCE(table_leaves(g->table[TABLE_RW])[i])))
			return false;
	return true;
}

/* All of an empty granule from one piece. False: do it frame by frame. */
static bool fill_huge(struct object *o, unsigned long granule, u64 *ret_filled)
{
	struct granule *g = &o->granule[granule];
	unsigned int i, n = 0;
	struct pool *pool;
	unsigned long pfn;

	if (!(o->flags & MORSEL_OBJECT_HUGE) || o->bytes >> GRANULE_SHIFT <= granule ||
	    !granule_is_empty(g) || take(o, granule, LLFREE_HUGE_ORDER, &pool, &pfn) < 0)
		return false;
	for (i = 0; i < GRANULE_PAGES; i++) {
		if (table_fill(g, i, pfn + i))
			n++;
		else /* another fault was here first */
			give_back_new(o, pool, pfn + i, 0);
	}
	count_frames(o, pool, n);
	if (ret_filled)
		*ret_filled += n;
	return true;
}

int object_fill(struct object *o, u64 page, enum table_kind kind, u64 *ret_filled)
{
	unsigned long granule = page / GRANULE_PAGES, pfn;
	unsigned int i = page % GRANULE_PAGES;
	struct granule *g = &o->granule[granule];
	struct pool *pool;
	pte_t leaf;
	int r;

	/* What no extent covers is not there. */
	if (object_has_extents(o) &&
	    (!g->table[TABLE_RW] || pte_none(READ_ONCE(table_leaves(g->table[TABLE_RW])[i]))))
		return -ENXIO;
	if (!table_get(o, g, TABLE_RW))
		return -ENOMEM;
	if (kind == TABLE_RO && !table_get(o, g, TABLE_RO))
		return -ENOMEM;
	leaf = READ_ONCE(table_leaves(g->table[TABLE_RW])[i]);
	if (!pte_none(leaf)) {
		table_fill_ro(g, i);
		return PageHWPoison(pfn_to_page(pte_pfn(leaf))) ? -EHWPOISON : 0;
	}
	if (fill_huge(o, granule, ret_filled))
		return 0;
	r = take(o, granule, 0, &pool, &pfn);
	if (r < 0)
		return r;
	if (!table_fill(g, i, pfn)) {
		give_back_new(o, pool, pfn, 0);
		return 0;
	}
	count_frames(o, pool, 1);
	if (ret_filled)
		*ret_filled += 1;
	return 0;
}

/*
 * Whoever is told of a signal calls again from the start, so a call does something first. One that ends
 * the process need not wait for that.
 */
static bool stop_for_signal(u64 done)
{
	return done ? task_sigpending(current) : fatal_signal_pending(current);
}

int object_populate(struct object *o, u64 offset, u64 length, u64 *ret_bytes)
{
	u64 page = offset >> PAGE_SHIFT, end = (offset + length) >> PAGE_SHIFT, filled = 0;
	int r = 0;

	/* In steps of a granule, so that a move does not wait for all of it. */
	while (page < end && r >= 0) {
		u64 stop = min(end, (page / GRANULE_PAGES + 1) * GRANULE_PAGES);

		r = down_read_killable(&o->frames);
		if (r < 0)
			break;
		for (; page < stop && r >= 0; page++)
			r = object_fill(o, page, TABLE_RW, &filled);
		up_read(&o->frames);
		cond_resched();
		/* A real signal: signal_pending() is true also when io_uring wants a word with the task. */
		if (r >= 0 && page < end && stop_for_signal(filled))
			r = -EINTR;
	}
	*ret_bytes += filled << PAGE_SHIFT;
	/* The account has counted what its limits refused. */
	return r == -EDQUOT ? -ENOMEM : r;
}

/* The leaf's frame goes. The granule is unlinked everywhere. Frames freed at once. */
static unsigned int drop(struct object *o, struct granule *g, unsigned int i)
{
	pte_t old = table_clear(g, i);
	unsigned long pfn;

	if (!pte_present(old))
		return 0;
	pfn = pte_pfn(old);
	count_frames(o, frame_pool(pfn), -1);
	frame_put(pfn, o->account);
	return 1;
}

int object_evict(struct object *o, u64 offset, u64 length, u64 *ret_bytes)
{
	u64 page = offset >> PAGE_SHIFT, end = (offset + length) >> PAGE_SHIFT;
	int r;

	r = mutex_lock_killable(&o->change);
	if (r < 0)
		return r;
	while (page < end) {
		struct granule *g = &o->granule[page / GRANULE_PAGES];
		u64 stop = min(end, (page / GRANULE_PAGES + 1) * GRANULE_PAGES);

		if (g->table[TABLE_RW]) {
			down_write(&o->frames);
			object_unlink(o, page / GRANULE_PAGES, 1);
			for (; page < stop; page++)
				*ret_bytes += (u64)drop(o, g, page % GRANULE_PAGES) << PAGE_SHIFT;
			up_write(&o->frames);
		}
		page = stop;
		cond_resched();
		if (page < end && stop_for_signal(*ret_bytes)) {
			r = -EINTR;
			break;
		}
	}
	mutex_unlock(&o->change);
	return r;
}

void object_empty(struct object *o)
{
	unsigned long n;
	unsigned int i;

	for (n = 0; n < o->granules; n++) {
		struct granule *g = &o->granule[n];

		if (!g->table[TABLE_RW])
			continue;
		for (i = 0; i < GRANULE_PAGES; i++)
			drop(o, g, i);
		table_free(o, g->table[TABLE_RW]);
		if (g->table[TABLE_RO])
			table_free(o, g->table[TABLE_RO]);
		cond_resched();
	}
}
