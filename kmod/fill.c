// SPDX-License-Identifier: GPL-2.0-only
/* Frames come to objects and go. */
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "internal.h"

/* A charged frame, zeroed. -EDQUOT: only limits were in the way; -ENOMEM. */
static int take(struct object *o, unsigned long granule, struct pool **ret_pool,
		unsigned long *ret_pfn)
{
	struct pool *pools[MORSEL_MAX_TIERS];
	unsigned int n = placement_order(o, granule, 0, pools), i;
	int r, result = -EDQUOT;

	for (i = 0; i < n; i++) {
		struct pool *pool = pools[i];

		r = account_charge(o->account, pool->tier, 1);
		if (r < 0)
			continue;
		r = frame_get(pool, 0, ret_pfn);
		if (r >= 0) {
			frame_zero(*ret_pfn, 0);
			*ret_pool = pool;
			return 0;
		}
		account_uncharge(o->account, pool->tier, 1);
		result = -ENOMEM;
	}
	return result;
}

void object_count_frames(struct object *o, struct pool *pool, long n)
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
	if (o->flags & MORSEL_OBJECT_HUGE) {
		r = huge_fill(o, page, ret_filled);
		if (r <= 0)
			return r;
	}
	if (!table_get(o, g, TABLE_RW))
		return -ENOMEM;
	if (kind == TABLE_RO && !table_get(o, g, TABLE_RO))
		return -ENOMEM;
	leaf = READ_ONCE(table_leaves(g->table[TABLE_RW])[i]);
	if (!pte_none(leaf)) {
		table_fill_ro(g, i);
		return PageHWPoison(pfn_to_page(pte_pfn(leaf))) ? -EHWPOISON : 0;
	}
	r = take(o, granule, &pool, &pfn);
	if (r < 0)
		return r;
	if (!table_fill(g, i, pfn)) { /* another fault was here first */
		frame_put_new(pfn, 0);
		account_uncharge(o->account, pool->tier, 1);
		return 0;
	}
	object_count_frames(o, pool, 1);
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
		for (; page < stop && r >= 0; page++) {
			r = object_fill(o, page, TABLE_RW, &filled);
			/* One page: the first was all of it. */
			if (r >= 0 && leaf_is_huge(o->granule[page / GRANULE_PAGES].leaf))
				page = stop - 1;
		}
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
	u16 leaf = i;
	unsigned long pfn;
	pte_t old;

	table_take(g, &leaf, 1, &old);
	if (!pte_present(old))
		return 0;
	pfn = pte_pfn(old);
	object_count_frames(o, frame_pool(pfn), -1);
	frame_put(pfn, 0, o->account);
	return 1;
}

static void free_tables(struct object *o, struct granule *g)
{
	enum table_kind kind;

	for (kind = 0; kind < TABLE_KINDS; kind++) {
		if (g->table[kind])
			table_free(o, g->table[kind]);
		g->table[kind] = NULL;
	}
}

static int split(struct object *o, unsigned long granule)
{
	struct move_step *s = morsel_inject() ? NULL : kvmalloc(sizeof(*s), GFP_KERNEL);
	int r;

	if (!s)
		return -ENOMEM;
	s->granule = granule;
	r = huge_split(o, s);
	kvfree(s);
	return r;
}

/* What the granule has of [first, end) goes. With object.change held. */
static int evict_granule(struct object *o, unsigned long n, unsigned int first, unsigned int end,
			 u64 *ret_bytes)
{
	struct granule *g = &o->granule[n];
	bool part = end - first < GRANULE_PAGES;
	unsigned int i;
	int r;

	for (;;) {
		if (!g->table[TABLE_RW] && !leaf_is_huge(READ_ONCE(g->leaf)))
			return 0;
		if (part && leaf_is_huge(READ_ONCE(g->leaf))) {
			r = split(o, n);
			if (r < 0)
				return r;
		}
		down_write(&o->frames);
		/* A fault may have made it a page of 2 MiB meanwhile. */
		if (!part || !leaf_is_huge(g->leaf))
			break;
		up_write(&o->frames);
	}
	object_unlink(o, n, 1);
	if (leaf_is_huge(g->leaf)) {
		huge_drop(o, n);
		/* Of a move to single frames that did not come off. */
		free_tables(o, g);
		*ret_bytes += MORSEL_GRANULE;
	} else {
		for (i = first; i < end; i++)
			*ret_bytes += (u64)drop(o, g, i) << PAGE_SHIFT;
		/* So that it can be one page again. */
		if (g->leaf && granule_is_empty(g)) {
			free_tables(o, g);
			g->leaf = 0;
		}
	}
	object_relink(o, n, 1);
	up_write(&o->frames);
	return 0;
}

int object_evict(struct object *o, u64 offset, u64 length, u64 *ret_bytes)
{
	u64 page = offset >> PAGE_SHIFT, end = (offset + length) >> PAGE_SHIFT;
	int r;

	r = mutex_lock_killable(&o->change);
	if (r < 0)
		return r;
	while (page < end && r >= 0) {
		u64 stop = min(end, (page / GRANULE_PAGES + 1) * GRANULE_PAGES);

		r = evict_granule(o, page / GRANULE_PAGES, page % GRANULE_PAGES,
				  (stop - 1) % GRANULE_PAGES + 1, ret_bytes);
		page = stop;
		cond_resched();
		if (r >= 0 && page < end && stop_for_signal(*ret_bytes))
			r = -EINTR;
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

		if (leaf_is_huge(g->leaf))
			huge_drop(o, n);
		for (i = 0; i < GRANULE_PAGES && g->table[TABLE_RW]; i++)
			drop(o, g, i);
		free_tables(o, g);
		cond_resched();
	}
}
